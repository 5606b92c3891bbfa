# SPDX-License-Identifier: Apache-2.0

"""``openstack application backup export | import``.

For sites that cannot reach each other: what makes a backup set known at
another site goes there in a file.
"""

from __future__ import annotations

import argparse
from typing import Any

from osc_lib.command import command

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors as application_errors
from osc_quiesce.cli import options
from osc_quiesce.i18n import _
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import bundles
from osc_quiesce.recovery import importing
from osc_quiesce.recovery import mapping as mappings
from osc_quiesce.recovery import registration
from osc_quiesce.v2 import application_backup
from osc_quiesce.v2 import application_backup_create
from osc_quiesce.v2 import base

EXPORT_COLUMNS = ('file', 'id', 'name', 'application', 'records')
PLAN_COLUMNS = ('id', 'name', 'application', 'records', 'records_missing',
                'size_missing', 'refused')


class ExportApplicationBackup(base.Interruptible,
                              command.ShowOne):
    _description = _('Write into a file what "application backup import" '
                     'needs to make a backup set known at another site (admin '
                     'only by default). It holds no data of volumes.')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = application_backup.with_set(super().get_parser(prog_name))
        parser.add_argument('--output', metavar='<file>', type=base.given,
                            required=True,
                            help=_('File to write'))
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> options.Record:
        cloud = self._cloud
        bundles.check_path(parsed_args.output)
        found = backup_sets.find(cloud, parsed_args.set)
        if found.state != backup_sets.CONSISTENT:
            raise application_errors.ApplicationError(
                _('Backup set %(name)s (%(id)s) is %(state)s: finish it '
                  'first, with the command that has begun it.') % {
                      'name': found.name, 'id': found.id,
                      'state': found.state})
        bundle = bundles.make(cloud, found, self._client.timer)
        bundles.save(bundle, parsed_args.output)
        return EXPORT_COLUMNS, (
            base.printable(parsed_args.output), found.id, found.name,
            found.application, len(bundle.by_id))


class ImportApplicationBackup(base.Interruptible,
                              command.ShowOne):
    _description = _('Make a backup set known at this site, from a file that '
                     '"application backup export" has written (admin only by '
                     'default). The site must see the store with the data.')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('file', metavar='<file>', type=base.given,
                            help=_('File to read'))
        application_backup_create.add_mapping(parser)
        parser.add_argument('--dry-run', action='store_true', help=_(
            'Show what would be done and refused, and do nothing'))
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> options.Record:
        options.check_columns(self, parsed_args,
                              PLAN_COLUMNS if parsed_args.dry_run
                              else application_backup.SHOW_COLUMNS)
        application_backup_create.check_mapping(parsed_args)
        cloud = self._cloud
        bundle = bundles.load(parsed_args.file)
        destination = self._destination(cloud, bundle, parsed_args)
        plan = importing.plan(bundle, destination)
        self._check_plan(
            plan.problems, parsed_args.dry_run, _('Nothing was imported.'))
        if parsed_args.dry_run:
            return PLAN_COLUMNS, _planned(plan)
        made = importing.register(
            plan, destination, options.progress_of(self.app))
        return application_backup.SHOW_COLUMNS, application_backup.shown(made)

    def _destination(
            self, cloud: cloud_api.Cloud, bundle: bundles.Bundle,
            parsed_args: argparse.Namespace) -> registration.Destination:
        return registration.Destination(
            cloud, _('this site'),
            mappings.from_file(parsed_args.mapping) if parsed_args.mapping
            else None,
            bundle.read, self._client.timer, options.progress_of(self.app))


def _planned(plan: importing.Plan) -> tuple[Any, ...]:
    """Return the values of PLAN_COLUMNS."""
    found = plan.bundle.backup_set
    return (found.id, found.name, found.application, len(plan.bundle.by_id),
            len(plan.missing), sum(each.size for each in plan.missing),
            base.Sentences(plan.problems))
