# SPDX-License-Identifier: Apache-2.0

"""``openstack application snapshot create``.

The promise: either there is a consistent set of snapshots and
the exit code is 0, or no server stays frozen by this command, no snapshot is
left (but for ``--keep-inconsistent``), and the exit code is not 0. If only a
consistent set could not be marked so, or not be printed, it is kept and named
on stderr, and the exit code is not 0. A server that cannot be thawed is named,
too.
"""

import argparse
import logging

from osc_lib.cli import parseractions
from osc_lib.command import command
from osc_lib import exceptions as osc_exceptions

from osc_quiesce.application import create
from osc_quiesce.application import errors as application_errors
from osc_quiesce.application import labels
from osc_quiesce.application import plan as planning
from osc_quiesce.application import preflight
from osc_quiesce.application import snapshot_sets
from osc_quiesce.application import spec
from osc_quiesce.cli import interrupts
from osc_quiesce.cli import options
from osc_quiesce import errors
from osc_quiesce.i18n import _
from osc_quiesce import retry
from osc_quiesce.v2 import application_snapshot as snapshot
from osc_quiesce.v2 import base

LOG = logging.getLogger(__name__)

DEFAULT_UNQUIESCE_AFTER = 120  # seconds


class CreateApplicationSnapshot(base.Interruptible, command.ShowOne):
    _description = _(
        'Take a consistent snapshot of all volumes of several servers (admin '
        'only by default). Everything is checked first. Then the servers are '
        'quiesced in order, all snapshots are taken at once, and the servers '
        'are thawed in reverse order. If anything fails, or on Ctrl-C, '
        'SIGTERM or SIGHUP, the servers are thawed and the snapshots deleted.')

    STOPPED = _('Interrupted; no consistent snapshot set was made.')
    _made: snapshot_sets.SnapshotSet | None = None

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'name', metavar='<name>', type=base.new_name,
            help=_('Name of the snapshot set'))
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument('--server', metavar='<server>', type=base.given,
                          action='append',
                          help=_('Server (name or ID); repeat the option for '
                                 'several servers, which are quiesced one '
                                 'after the other in this order'))
        what.add_argument('--file', metavar='<file>', type=base.given, help=_(
            'File in YAML that describes the application'))
        self._add_times(parser)
        self._add_options(parser)
        return parser

    @staticmethod
    def _add_times(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            '--timeout', metavar='<seconds>', type=options.timeout,
            default=retry.DEFAULT_TIMEOUT,
            help=_('How long to wait for each stage, and for all snapshots, '
                   'in seconds (default: %g)') % retry.DEFAULT_TIMEOUT)
        parser.add_argument(
            '--unquiesce-after', metavar='<seconds>',
            type=options.number, default=DEFAULT_UNQUIESCE_AFTER,
            help=_('Have the cloud unquiesce each server this many seconds '
                   'after it was quiesced, even if this command dies '
                   '(default: %d)') % DEFAULT_UNQUIESCE_AFTER)

    @staticmethod
    def _add_options(parser: argparse.ArgumentParser) -> None:
        parser.add_argument('--description', metavar='<description>',
                            default='', help=_('Description of the snapshots'))
        parser.add_argument(
            '--property', metavar='<key=value>', dest='properties',
            action=parseractions.KeyValueAction, default={},
            help=_('Metadata of the snapshots (repeat for several)'))
        parser.add_argument('--allow-local-disk', action='store_true', help=_(
            'Accept servers with a root or ephemeral disk that is not a '
            'volume, and so will not be in the snapshots'))
        parser.add_argument('--with-user-data', action='store_true', help=_(
            'Record the user data of the servers as well, which may hold '
            'secrets: all who see the snapshots can read them'))
        parser.add_argument('--dry-run', action='store_true', help=_(
            'Show what would be done and refused, and do nothing'))
        parser.add_argument('--keep-inconsistent', action='store_true', help=_(
            'If it is not proven that every server stayed frozen, keep the '
            'snapshots and mark them, instead of deleting them'))

    def run(self, parsed_args: argparse.Namespace) -> int:
        # An unknown column name must not come to light after a freeze.
        options.check_columns(self, parsed_args,
                              snapshot.PLAN_COLUMNS if parsed_args.dry_run
                              else snapshot.SHOW_COLUMNS)
        try:
            return super().run(parsed_args)
        except Exception as exc:
            if self._made is None:
                raise
            raise osc_exceptions.CommandError(
                _('Snapshot set %(name)s (%(id)s) is consistent, and is kept, '
                  'but it could not be printed: %(why)s. "openstack '
                  'application snapshot show %(id)s" shows it.') % {
                      'name': self._made.name, 'id': self._made.id,
                      'why': exc}) from exc

    def _take_signals(self) -> None:
        pass  # not before there is something to thaw

    def take_action(self, parsed_args: argparse.Namespace) -> options.Record:
        plan = self._plan(parsed_args)
        self._check_plan(plan.refusals, parsed_args.dry_run, _(
            'Nothing was quiesced, and no snapshot was taken.'))
        if parsed_args.dry_run:
            return snapshot.PLAN_COLUMNS, snapshot.planned(plan)
        self._made = self._create(plan, parsed_args)
        return snapshot.SHOW_COLUMNS, snapshot.shown(self._made)

    def _plan(self, parsed_args: argparse.Namespace) -> planning.Plan:
        if parsed_args.file is not None:
            wanted = spec.from_file(parsed_args.file)
        else:
            wanted = spec.from_servers(parsed_args.name, parsed_args.server)
        unfit = list(labels.unfit(
            parsed_args.name, wanted.name, parsed_args.description,
            parsed_args.properties))
        if unfit:
            raise application_errors.NotPossible(unfit)
        return preflight.make(
            self._client, self._cloud, parsed_args.name, wanted,
            parsed_args.unquiesce_after, parsed_args.allow_local_disk,
            parsed_args.with_user_data, parsed_args.description,
            parsed_args.properties)

    def _create(self, plan: planning.Plan,
                parsed_args: argparse.Namespace) -> snapshot_sets.SnapshotSet:
        self._interrupts.install(
            _('stopping, and unquiescing ...'),
            _('already stopping; thawing goes on until it is done'))
        try:
            return create.create(
                self._client, self._cloud, plan, parsed_args.timeout,
                parsed_args.keep_inconsistent, options.progress_of(self.app),
                self._interrupts.shielded)
        except create.Kept:
            raise
        except (application_errors.ApplicationError,
                errors.QuiesceError) as exc:
            if isinstance(exc, errors.ThawFailed) and exc.__cause__:
                if isinstance(exc.__cause__, interrupts.Interrupted):
                    LOG.error('%s', exc)
                    raise exc.__cause__ from exc
                LOG.error('%s', exc.__cause__)
            LOG.error('%s', exc)
            raise osc_exceptions.CommandError(
                _('No consistent snapshot set "%s" was made.') % plan.name
            ) from exc
