# SPDX-License-Identifier: Apache-2.0

"""The one translator of user-visible text."""

import oslo_i18n

_translators = oslo_i18n.TranslatorFactory(domain='osc_quiesce')

_ = _translators.primary
