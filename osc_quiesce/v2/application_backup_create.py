# SPDX-License-Identifier: Apache-2.0

"""``openstack application backup create``.

The promise: with exit code 0 there is a good backup of each volume of the set,
it is registered at the other site if one is named, and all of it is sealed.
Otherwise what is finished is kept, and the same command again continues.
"""

from __future__ import annotations

import argparse
from typing import Any

from osc_lib.command import command
from osc_lib import exceptions as osc_exceptions

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import snapshot_sets
from osc_quiesce.cli import options
from osc_quiesce.i18n import _
from osc_quiesce.recovery import backup
from osc_quiesce.recovery import backup_plan
from osc_quiesce.recovery import backup_preflight
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import bundles
from osc_quiesce.recovery import chains
from osc_quiesce.recovery import mapping as mappings
from osc_quiesce.recovery import registration
from osc_quiesce.v2 import application_backup
from osc_quiesce.v2 import base

PLAN_COLUMNS = (
    'id', 'name', 'application', 'snapshot_set', 'size', 'backups', 'refused')


class CreateApplicationBackup(base.Interruptible,
                              command.ShowOne):
    _description = _(
        'Back up a snapshot set with cinder-backup, and register it at '
        'another site. Everything is checked first. The servers are not '
        'touched. If anything fails, or on Ctrl-C, what is finished is kept, '
        'and the same command again continues.')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('set', metavar='<snapshot-set>', type=base.given,
                            help=_('Snapshot set (name or ID)'))
        parser.add_argument(
            '--name', metavar='<name>', type=base.new_name, help=_(
                'Name of the backup set (default: that of the snapshot set)'))
        self._add_what(parser)
        self._add_site(parser)
        self._add_how(parser)
        return parser

    @staticmethod
    def _add_what(parser: argparse.ArgumentParser) -> None:
        full = parser.add_mutually_exclusive_group()
        full.add_argument('--full', action='store_true',
                          help=_('Make full backups, and no incremental ones'))
        full.add_argument(
            '--full-every', metavar='<n>', type=options.number,
            default=chains.FULL_EVERY,
            help=_('Length of a chain: each <n>th backup of a volume is full '
                   '(default: %d); the first one, and one of a volume that '
                   'has grown, are always full') % chains.FULL_EVERY)
        parser.add_argument(
            '--container', metavar='<container>', type=base.new_name, help=_(
                'Container for the data (default: that of cinder-backup)'))
        parser.add_argument('--delete-snapshots', action='store_true', help=_(
            'Delete the snapshot set once the backup set is sealed'))

    @staticmethod
    def _add_site(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            '--to-cloud', metavar='<cloud>', type=base.given, help=_(
                'Register each backup at this site, a name in clouds.yaml, as '
                'soon as it is there (admin only at both sites by default)'))
        add_mapping(parser)
        parser.add_argument(
            '--bundle', metavar='<file>', type=base.given, help=_(
                'Write what "application backup import" needs into a file '
                '(admin only by default)'))

    @staticmethod
    def _add_how(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            '--parallel', metavar='<n>', type=options.number,
            default=backup.PARALLEL,
            help=_('Number of backups that are made at once (default: %d)')
            % backup.PARALLEL)
        parser.add_argument('--timeout', metavar='<seconds>',
                            type=options.timeout, default=backup.TIMEOUT,
                            help=_('How long to wait for all backups, in '
                                   'seconds (default: %g)') % backup.TIMEOUT)
        parser.add_argument('--dry-run', action='store_true', help=_(
            'Show what would be done and refused, and do nothing'))

    def take_action(self, parsed_args: argparse.Namespace) -> options.Record:
        # An unknown column name must not come to light after the work.
        options.check_columns(self, parsed_args,
                              PLAN_COLUMNS if parsed_args.dry_run
                              else application_backup.SHOW_COLUMNS)
        if parsed_args.to_cloud:
            check_mapping(parsed_args)
        elif parsed_args.mapping or parsed_args.no_target_volumes:
            raise osc_exceptions.CommandError(_(
                '--mapping and --no-target-volumes are of no use without '
                '--to-cloud.'))
        cloud = self._cloud
        destination = self._destination(cloud, parsed_args)
        plan = self._plan(cloud, destination, parsed_args)
        self._check_plan(
            plan.problems, parsed_args.dry_run, _('No backup was made.'))
        if parsed_args.dry_run:
            return PLAN_COLUMNS, _planned(plan)
        made = self._create(cloud, plan, destination, parsed_args)
        return application_backup.SHOW_COLUMNS, application_backup.shown(made)

    def _destination(
        self, cloud: cloud_api.Cloud, parsed_args: argparse.Namespace
    ) -> registration.Destination | None:
        if not parsed_args.to_cloud:
            return None
        return registration.Destination(
            base.connect(parsed_args.to_cloud),
            parsed_args.to_cloud,
            mappings.from_file(parsed_args.mapping) if parsed_args.mapping
            else None,
            bundles.reader(cloud, self._client.timer, {}),
            self._client.timer, options.progress_of(self.app),
            # So that a deletion here does not forget that site.
            lambda backup_id: backup_sets.mark(
                cloud, [{'id': backup_id}],
                {backup_sets.KNOWN_AT: parsed_args.to_cloud}))

    @staticmethod
    def _plan(cloud: cloud_api.Cloud,
              destination: registration.Destination | None,
              parsed_args: argparse.Namespace) -> backup_plan.Plan:
        if parsed_args.bundle:
            bundles.check_path(parsed_args.bundle)
        return backup_preflight.make(
            cloud, parsed_args.set,
            backup_plan.Wish(parsed_args.name or '',
                             1 if parsed_args.full else parsed_args.full_every,
                             parsed_args.container),
            destination, wants_records=bool(parsed_args.bundle))

    def _create(self, cloud: cloud_api.Cloud, plan: backup_plan.Plan,
                destination: registration.Destination | None,
                parsed_args: argparse.Namespace) -> backup_sets.BackupSet:
        timer = self._client.timer
        made = backup.create(
            cloud, plan, timer, parsed_args.parallel, parsed_args.timeout,
            destination, options.progress_of(self.app))
        if parsed_args.bundle:
            bundles.save(bundles.make(cloud, made, timer), parsed_args.bundle)
        if parsed_args.delete_snapshots:
            snapshot_sets.delete(
                cloud, plan.snapshot_set_id, timer)
        return made


def add_mapping(parser: argparse.ArgumentParser) -> None:
    """Add the options for the volumes of a backup at another site."""
    parser.add_argument('--mapping', metavar='<file>', type=base.given, help=_(
        'File with the volume type, zone and so on at the other site; '
        '"application mapping create" writes one to fill in. Each source '
        'volume gets a target volume there'))
    parser.add_argument('--no-target-volumes', action='store_true', help=_(
        'Register the backups as they are, without target volumes: a restore '
        'cannot be verified then'))


def check_mapping(parsed_args: argparse.Namespace) -> None:
    """Check that there is a mapping or that none is wanted."""
    if bool(parsed_args.mapping) == parsed_args.no_target_volumes:
        raise osc_exceptions.CommandError(_(
            'Either --mapping or --no-target-volumes is needed.'))


def _planned(plan: backup_plan.Plan) -> tuple[Any, ...]:
    """Return the values of PLAN_COLUMNS."""
    return (plan.id, plan.name, plan.application, plan.snapshot_set, plan.size,
            base.Table([
                {'server': item.server,
                 'device': item.device,
                 'volume_id': item.volume_id,
                 'size': item.size,
                 'mode': item.choice.mode,
                 'why': item.choice.why} for item in plan.items],
                ('server', 'device', 'size', 'mode', 'why')),
            base.Sentences(plan.problems))
