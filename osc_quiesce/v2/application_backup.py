# SPDX-License-Identifier: Apache-2.0

"""``openstack application backup list | show | delete``."""

from __future__ import annotations

import argparse
import logging
from typing import Any

from cliff import columns
from osc_lib.command import command
from osc_lib import exceptions as osc_exceptions

from osc_quiesce.application import metadata
from osc_quiesce.cli import options
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import deleting
from osc_quiesce.recovery import retention
from osc_quiesce.v2 import base

LOG = logging.getLogger(__name__)

LIST_COLUMNS = (
    'ID', 'Name', 'Application', 'Data Time', 'Consistency', 'Backups')
LONG_COLUMNS = ('Mode', 'Size', 'Snapshot Set', 'Registered', 'Owner')
SHOW_COLUMNS = (
    'id', 'name', 'application', 'snapshot_set', 'snapshot_set_id',
    'data_time', 'consistency', 'mode', 'size', 'owner', 'registered',
    'version', 'backups_wanted', 'backups', 'servers')


class Servers(columns.FormattableColumn[Any]):
    """What a restore needs: a line each for people, all for machines."""

    def human_readable(self) -> str:
        return '\n'.join(
            _('%(order)d. %(label)s, flavor %(flavor)s') % {
                'order': server['order'] + 1,
                'label': model.label(server['id'], server['name']),
                'flavor': server['flavor']['name']} for server in self._value)

    def machine_readable(self) -> list[dict[str, Any]]:
        return list(self._value)


def shown(found: backup_sets.BackupSet) -> tuple[Any, ...]:
    """Return the values of SHOW_COLUMNS."""
    return (
        found.id, found.name, found.application, found.snapshot_set,
        found.snapshot_set_id, found.created_at, found.state, found.mode,
        found.size, found.owner, found.registered or None, found.version,
        found.volumes,
        base.Table([
            {'server': metadata.get(each, 'server_name'),
             'device': metadata.get(each, 'device'),
             'backup_id': each['id'],
             'mode': backup_sets.mode_of(each),
             'size': each['size'],
             'status': each['status'],
             'volume_id': each['volume_id'],
             'source_volume_id': metadata.get(each, backup_sets.SOURCE_VOLUME)}
            for each in found.everything],
            ('server', 'device', 'mode', 'status', 'backup_id')),
        Servers(found.servers))


class ListApplicationBackup(base.Command, command.Lister):
    _description = _('List the backup sets of the project: those made at this '
                     'site, and those registered here.')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('--application', metavar='<name>', type=base.given,
                            help=_('List the sets of this application only'))
        parser.add_argument(
            '--long', action='store_true', help=_('List more columns'))
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> options.Table:
        found = backup_sets.find_all(self._cloud)
        more = LONG_COLUMNS if parsed_args.long else ()
        return (*LIST_COLUMNS, *more), [
            (each.id, each.name, each.application, each.created_at, each.state,
             len(each.backups), each.mode, each.size, each.snapshot_set,
             options.OptionalColumn(each.registered or None),
             each.owner)[: len(LIST_COLUMNS) + len(more)] for each in found
            if parsed_args.application in (None, each.application)]


class ShowApplicationBackup(base.Command, command.ShowOne):
    _description = _(
        'Show a backup set, with all that is needed to restore it.')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        return with_set(super().get_parser(prog_name))

    def take_action(self, parsed_args: argparse.Namespace) -> options.Record:
        found = backup_sets.find(self._cloud, parsed_args.set)
        return SHOW_COLUMNS, shown(found)


class DeleteApplicationBackup(base.Interruptible, command.Command):
    _description = _(
        'Delete backup sets that were made at this site, with their data. '
        'Inside a chain of incremental backups the newest goes first, and '
        'nothing goes on which something else depends.')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = with_set(super().get_parser(prog_name), nargs='*')
        parser.add_argument('--application', metavar='<name>', type=base.given,
                            help=_('All sets of this application that were '
                                   'made at this site, with --keep-last'))
        parser.add_argument(
            '--keep-last', metavar='<n>', type=options.number,
            help=_('Of these sets, keep the last <n> consistent ones of each '
                   'application, the last <n> that are consistent at the '
                   'other site, and all backups that they need'))
        parser.add_argument(
            '--to-cloud', metavar='<cloud>', type=base.given, help=_(
                'The other site, a name in clouds.yaml: what is deleted here '
                'is no longer registered there, and with --keep-last, nothing '
                'is deleted if the application runs there now'))
        parser.add_argument(
            '--other-site-is-gone', action='store_true', help=_(
                'Delete sets that are registered at another site, which is '
                'lost, and all backups there that depend on them'))
        parser.add_argument('--owner-is-gone', action='store_true', help=_(
            'Delete sets that another site has made, with the only data, '
            'since that site is lost'))
        parser.add_argument('--timeout', metavar='<seconds>',
                            type=options.timeout, default=deleting.TIMEOUT,
                            help=_('How long to wait for Cinder, in seconds '
                                   '(default: %g)') % deleting.TIMEOUT)
        parser.add_argument('--dry-run', action='store_true', help=_(
            'Show what would be deleted and refused, and do nothing'))
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        if not parsed_args.set and not parsed_args.application:
            raise osc_exceptions.CommandError(_(
                'Name backup sets, or an application.'))
        if parsed_args.application and parsed_args.keep_last is None:
            raise osc_exceptions.CommandError(_(
                'With --application, give the number of sets to keep with '
                '--keep-last.'))
        if parsed_args.to_cloud and parsed_args.other_site_is_gone:
            raise osc_exceptions.CommandError(_(
                'With --other-site-is-gone, --to-cloud has no meaning: give '
                'one of them.'))
        cloud, elsewhere = self._cloud, None
        if parsed_args.to_cloud:
            elsewhere = base.connect(parsed_args.to_cloud)
            if elsewhere.volume_url == cloud.volume_url:
                raise osc_exceptions.CommandError(
                    _('Cloud %s is this site, and not another one.')
                    % parsed_args.to_cloud)
        plan = retention.plan(
            cloud, parsed_args.set, parsed_args.application,
            parsed_args.keep_last, parsed_args.owner_is_gone, elsewhere,
            parsed_args.to_cloud or '', parsed_args.other_site_is_gone)
        self._check(plan, parsed_args)
        if not parsed_args.dry_run:
            deleting.carry_out(
                plan, cloud, elsewhere, self._client.timer,
                parsed_args.timeout, options.progress_of(self.app))

    def _check(self, plan: retention.Removal,
               parsed_args: argparse.Namespace) -> None:
        for warning in plan.warnings:
            LOG.warning('%s', warning)
        self._check_plan(plan.problems, parsed_args.dry_run,
                         _('Nothing was deleted.'))
        if parsed_args.dry_run:
            for backup in plan.backups:
                self.app.stdout.write(
                    _('%(set)s: backup %(backup)s, %(mode)s, %(size)d '
                      'GiB\n') % {
                          'set': metadata.get(backup, backup_sets.NAME),
                          'backup': backup_sets.label(backup),
                          'mode': backup_sets.mode_of(backup),
                          'size': backup.get('size') or 0})
            for id_ in sorted(plan.rows - {e['id'] for e in plan.backups}):
                self.app.stdout.write(
                    _('Only at %(site)s: backup %(id)s\n') % {
                        'site': parsed_args.to_cloud, 'id': id_})


def with_set(parser: argparse.ArgumentParser,
             nargs: str | None = None) -> argparse.ArgumentParser:
    parser.add_argument('set', metavar='<backup-set>', nargs=nargs,
                        type=base.given,
                        help=_('Backup set (name or ID)'))
    return parser
