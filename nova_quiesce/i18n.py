# SPDX-License-Identifier: Apache-2.0

"""Translation of the texts that a user of the server half can meet."""

import oslo_i18n

_ = oslo_i18n.TranslatorFactory(domain='nova_quiesce').primary
