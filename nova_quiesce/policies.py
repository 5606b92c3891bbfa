# SPDX-License-Identifier: Apache-2.0

"""Who may quiesce, unquiesce, and see what is frozen.

Both actions are for administrators by default.
``oslopolicy-sample-generator --namespace nova_quiesce`` prints a sample; the
rules go into Nova's own policy file.
"""

from nova.policies import base
from oslo_policy import policy

from nova_quiesce import states

POLICY_ROOT = 'os_compute_api:os-quiesce:%s'
LIST = 'list'
LIST_ALL = 'list:all_projects'

_DESCRIPTIONS = {
    states.QUIESCE.name: 'Flush and freeze the file systems of a server',
    states.UNQUIESCE.name: 'Thaw the file systems of a quiesced server',
}


def list_rules() -> list[policy.DocumentedRuleDefault]:
    """Return the defaults."""
    return [
        *(policy.DocumentedRuleDefault(
            name=POLICY_ROOT % action.name,
            check_str=base.ADMIN,
            description=_DESCRIPTIONS[action.name],
            operations=[{
                'method': 'POST',
                'path': '/servers/{server_id}/action (%s)' % action.name,
            }],
            scope_types=['project'])
            for action in states.ACTIONS),
        policy.DocumentedRuleDefault(
            name=POLICY_ROOT % LIST,
            check_str=base.PROJECT_READER_OR_ADMIN,
            description='List the servers of a project that may be frozen',
            operations=[{'method': 'GET', 'path': '/os-quiesce'}],
            scope_types=['project']),
        policy.DocumentedRuleDefault(
            name=POLICY_ROOT % LIST_ALL,
            check_str=base.ADMIN,
            description='List the servers of all projects that may be frozen',
            operations=[{'method': 'GET',
                         'path': '/os-quiesce?all_projects=1'}],
            scope_types=['project']),
    ]
