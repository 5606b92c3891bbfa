# SPDX-License-Identifier: Apache-2.0

"""``openstack application restore list | show | delete``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from osc_lib.command import command

from osc_quiesce.application import metadata
from osc_quiesce.application import snapshot_sets
from osc_quiesce.cli import options
from osc_quiesce.i18n import _
from osc_quiesce.recovery import checking
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import restores
from osc_quiesce.recovery import waiting
from osc_quiesce.v2 import base

LIST_COLUMNS = ('ID', 'Name', 'Application', 'Status', 'Volumes', 'Verified',
                'Servers', 'Restored At')
SHOW_COLUMNS = ('id', 'name', 'application', 'set_id', 'status', 'restored_at',
                'verified', 'volumes', 'servers')


class ListApplicationRestore(base.Command, command.Lister):
    _description = _('List the restores of the project at this site.')

    def take_action(self, parsed_args: argparse.Namespace) -> options.Table:
        found = restores.find_all(self._cloud)
        return LIST_COLUMNS, [
            (each.id, each.name, each.application, each.state,
             len(each.volumes), each.verified, len(each.servers),
             each.restored_at) for each in found]


class ShowApplicationRestore(base.Command, command.ShowOne):
    _description = _(
        'Show a restore: its volumes and servers, and what is verified.')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        return _with_restore(super().get_parser(prog_name))

    def take_action(self, parsed_args: argparse.Namespace) -> options.Record:
        found = restores.find(self._cloud, parsed_args.restore)
        return SHOW_COLUMNS, (
            found.id, found.name, found.application, found.set_id, found.state,
            found.restored_at, found.verified,
            base.Table([_volume(each) for each in found.volumes],
                       ('name', 'id', 'status', 'verified')),
            base.Table([_server(each) for each in found.servers],
                       ('stage', 'name', 'id', 'status', 'addresses')))


class DeleteApplicationRestore(base.Command, command.Command):
    _description = _(
        'Delete the servers, ports and volumes of restores. Target volumes '
        'are given up, and stay; backups are never deleted.')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        return _with_restore(super().get_parser(prog_name), nargs='+')

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        base.delete_each(parsed_args.restore, self._delete, _(
            '%(failed)d of %(all)d restores failed to delete.'))

    def _delete(self, name: str) -> None:
        cloud = self._cloud
        try:
            found = restores.find(cloud, name)
        except restores.NoSuchRestore as exc:
            raise restores.NoSuchRestore(
                _('%s It may already have been deleted.') % exc) from exc
        restores.delete(found, waiting.Waiter(
            cloud, self._client.timer, snapshot_sets.DELETE_TIMEOUT))


def _volume(volume: Mapping[str, Any]) -> dict[str, Any]:
    return {
        'name': volume['name'],
        'id': volume['id'],
        'size': volume['size'],
        'source_id': marks.source(volume),
        'copy_id': marks.get(volume, marks.BACKUP_ID),
        'status': volume['status'],
        'restored_at': marks.get(volume, marks.RESTORED_AT),
        'verified': marks.verified(volume)}


def _server(server: Mapping[str, Any]) -> dict[str, Any]:
    return {'stage': metadata.number(server, marks.STAGE) + 1,
            'name': server['name'],
            'id': server['id'],
            'source_id': metadata.get(server, marks.SOURCE),
            'status': server['status'],
            'addresses': checking.addresses_of(server)}


def _with_restore(parser: argparse.ArgumentParser,
                  nargs: str | None = None) -> argparse.ArgumentParser:
    parser.add_argument('restore', metavar='<restore>', nargs=nargs,
                        type=base.given,
                        help=_('Restore (name or ID)'))
    return parser
