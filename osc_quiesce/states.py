# SPDX-License-Identifier: Apache-2.0

"""The names that Nova and its quiesce API give to states and actions.

The client half's only home of these words. Source: the Nova blueprint
expose-quiesce-unquiesce-api.
"""

from typing import Final

# vm_state
ACTIVE: Final = 'active'
QUIESCED: Final = 'quiesced'
ERROR: Final = 'error'

# task_state
QUIESCING: Final = 'quiescing'
UNQUIESCING: Final = 'unquiescing'

# What becomes of a freeze, in GET /os-quiesce and answers to unquiesce
ASKED: Final = 'asked'
FREEZING: Final = 'freezing'
FROZEN: Final = 'frozen'
THAWING: Final = 'thawing'
THAWED: Final = 'thawed'
LAPSED: Final = 'lapsed'
ENDED: Final = 'ended'

# Names in the body of POST /servers/{id}/action, and of instance actions
QUIESCE: Final = 'quiesce'
UNQUIESCE: Final = 'unquiesce'

# Name of the event whose start is the freeze, and whose finish the deadline
DEADLINE_EVENT: Final = 'quiesce_deadline'

# Result of an instance action's event
SUCCESS: Final = 'Success'
FAILURE: Final = 'Error'
