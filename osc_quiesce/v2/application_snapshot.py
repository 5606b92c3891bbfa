# SPDX-License-Identifier: Apache-2.0

"""``openstack application snapshot list | show | delete``."""

import argparse
from collections.abc import Mapping
import logging
from typing import Any

from cliff import columns
from osc_lib.command import command

from osc_quiesce.application import plan as planning
from osc_quiesce.application import snapshot_sets
from osc_quiesce.cli import options
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce.v2 import base

LOG = logging.getLogger(__name__)

LIST_COLUMNS = ('ID', 'Name', 'Application', 'Created At', 'Consistency',
                'Snapshots', 'Window')
SHOW_COLUMNS = ('id', 'name', 'application', 'description', 'properties',
                'created_at', 'consistency', 'window', 'complete', 'snapshots',
                'snapshots_wanted', 'version', 'servers')
#: of ``create --dry-run``
PLAN_COLUMNS = ('name', 'application', 'snapshots', 'servers', 'refused')


class Servers(columns.FormattableColumn[Any]):
    """What a restore needs: a summary for people, all of it for machines."""

    def human_readable(self) -> str:
        lines = []
        for server in self._value:
            lines.append(
                _('%(order)d. %(label)s, flavor %(flavor)s, image %(image)s')
                % {'order': server['order'] + 1,
                   'label': model.label(server['id'], server['name']),
                   'flavor': server['flavor']['name'],
                   'image': _image(server['image'])})
            for volume in server['volumes']:
                snapshot = volume['snapshot_id'] or _('none')
                lines.append(_volume(volume, _(', snapshot %s') % snapshot))
        return '\n'.join(lines)


class PlannedServers(columns.FormattableColumn[Any]):
    """What would be frozen and saved: a summary for people."""

    def human_readable(self) -> str:
        lines = []
        for server in self._value:
            lines.append(_('stage %(stage)d: %(label)s') % {
                'stage': server['stage'] + 1,
                'label': model.label(server['id'], server['name'])})
            lines += [_volume(volume, '' if volume['snapshot'] else _(
                ', without a snapshot')) for volume in server['volumes']]
        return '\n'.join(lines)


def _volume(volume: Mapping[str, Any], snapshot: str) -> str:
    encrypted = _(', encrypted') if volume['encrypted'] else ''
    return _('   %(device)s: volume %(id)s, %(size)d GiB%(rest)s') % {
        **volume, 'rest': encrypted + snapshot}


def _image(image: Mapping[str, str] | None) -> str:
    if image is None:
        return _('none (boots from volume)')
    return image['name'] or image['id']


def planned(plan: planning.Plan) -> tuple[Any, ...]:
    """Return the values of PLAN_COLUMNS."""
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


def shown(found: snapshot_sets.SnapshotSet) -> tuple[Any, ...]:
    """Return the values of SHOW_COLUMNS."""
    return (found.id, found.name, found.application, found.description,
            found.properties, found.created_at, found.state, found.window,
            found.complete, len(found.snapshots), found.volumes, found.version,
            Servers(found.servers))


class ListApplicationSnapshot(base.Command, command.Lister):
    _description = _('List the snapshot sets of the project.')

    def take_action(self, parsed_args: argparse.Namespace) -> options.Table:
        return LIST_COLUMNS, [
            (s.id, s.name, s.application, s.created_at, s.state,
             len(s.snapshots), s.window)
            for s in snapshot_sets.find_all(self._cloud)]


class ShowApplicationSnapshot(base.Command, command.ShowOne):
    _description = _(
        'Show a snapshot set, with all that is needed to restore it.')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        return _with_set(super().get_parser(prog_name))

    def take_action(self, parsed_args: argparse.Namespace) -> options.Record:
        return SHOW_COLUMNS, shown(snapshot_sets.find(
            self._cloud, parsed_args.set))


class DeleteApplicationSnapshot(base.Command, command.Command):
    _description = _(
        'Delete all snapshots of sets, even if some are already gone.')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        return _with_set(super().get_parser(prog_name), nargs='+')

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        base.delete_each(parsed_args.set, self._delete, _(
            '%(failed)d of %(all)d snapshot sets failed to delete.'))

    def _delete(self, name: str) -> None:
        cloud = self._cloud
        try:
            found = snapshot_sets.find(cloud, name)
        except snapshot_sets.NoSuchSet as exc:
            raise snapshot_sets.NoSuchSet(
                _('%s It may already have been deleted.') % exc) from exc
        snapshot_sets.delete(cloud, found.id, self._client.timer)
        if len(found.snapshots) < found.volumes:
            LOG.warning(
                _('Only %(count)d of the %(all)d snapshots of set %(name)s '
                  '(%(id)s) were there, and are deleted. The others were '
                  'deleted before, or their volumes were transferred to '
                  'another project: there, "openstack application snapshot '
                  'delete %(id)s" deletes them.'),
                {'count': len(found.snapshots), 'all': found.volumes,
                 'name': found.name, 'id': found.id})


def _with_set(parser: argparse.ArgumentParser,
              nargs: str | None = None) -> argparse.ArgumentParser:
    parser.add_argument('set', metavar='<snapshot-set>', nargs=nargs,
                        type=base.given,
                        help=_('Snapshot set (name or ID)'))
    return parser
