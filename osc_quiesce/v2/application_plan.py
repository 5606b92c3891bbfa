# SPDX-License-Identifier: Apache-2.0

"""What ``openstack application snapshot create --dry-run`` shows."""

from __future__ import annotations

from typing import Any

from cliff import columns

from osc_quiesce.application import plan as planning
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce.v2 import base

COLUMNS = ('name', 'application', 'snapshots', 'servers', 'refused')


class PlannedServers(columns.FormattableColumn[Any]):
    """What would be frozen and saved: a summary for people."""

    def human_readable(self) -> str:
        lines = []
        for server in self._value:
            lines.append(_('stage %(stage)d: %(label)s') % {
                'stage': server['stage'] + 1,
                'label': model.label(server['id'], server['name'])})
            lines += [_('   %(device)s: volume %(id)s, %(size)d '
                        'GiB%(encrypted)s%(left_out)s')
                      % {**volume,
                         'encrypted': _(', encrypted') if volume['encrypted']
                         else '',
                         'left_out': '' if volume['snapshot'] else _(
                             ', without a snapshot')}
                      for volume in server['volumes']]
        return '\n'.join(lines)


def shown(plan: planning.Plan) -> tuple[Any, ...]:
    """Return the values of COLUMNS."""
    taken = {(s.id, v['id']) for s, v in plan.snapshots}
    keys = ('id', 'name', 'device', 'size', 'encrypted')
    servers = [{'id': server.id,
                'name': server.name,
                'stage': server.stage,
                'unquiesce_after': server.unquiesce_after,
                'refused': list(server.refused),
                'volumes': [
                    {**{key: volume[key] for key in keys},
                     'snapshot': (server.id, volume['id']) in taken}
                    for volume in server.volumes]} for server in plan.servers]
    return (plan.name, plan.application, len(plan.snapshots),
            PlannedServers(servers), base.Sentences(plan.refusals))
