# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""The names that Nova and its quiesce API give to states and actions.

The client half's only home of these words. Source: the Nova blueprint
expose-quiesce-unquiesce-api.
"""

from typing import Final

# vm_state
ACTIVE: Final = 'active'
QUIESCED: Final = 'quiesced'
ERROR: Final = 'error'
DELETED: Final = 'deleted'

# task_state
QUIESCING: Final = 'quiescing'
UNQUIESCING: Final = 'unquiescing'

# Names in the body of POST /servers/{id}/action, and of instance actions
QUIESCE: Final = 'quiesce'
UNQUIESCE: Final = 'unquiesce'

# Name of the event whose start is the freeze, and whose finish the deadline
DEADLINE_EVENT: Final = 'quiesce_deadline'

# Result of an instance action's event
SUCCESS: Final = 'Success'
FAILURE: Final = 'Error'
