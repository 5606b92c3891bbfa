# SPDX-License-Identifier: Apache-2.0

"""``openstack server quiesce | unquiesce``, ``quiesced server list``.

Arguments and tables; what is done is in :mod:`osc_quiesce.cli`.
"""

import argparse
import functools
import logging
import sys
from typing import Any

from osc_lib.command import command
from osc_lib import exceptions as osc_exceptions

from osc_quiesce.cli import base
from osc_quiesce.cli import interrupts
from osc_quiesce.cli import options
from osc_quiesce.cli import quiesce
from osc_quiesce.cli import unquiesce
from osc_quiesce import client as quiesce_client
from osc_quiesce import errors
from osc_quiesce.i18n import _
from osc_quiesce import retry
from osc_quiesce import verbs

LOG = logging.getLogger(__name__)

COLUMNS = ('Name', 'ID', 'Status', 'Seconds', 'Request ID')


class _ServerCommand(command.Lister):
    """What both commands have in common: arguments, table and exit code."""

    columns: tuple[str, ...] = COLUMNS
    command: base.Command
    timeout_help = _(
        'How long --wait waits for each server, in seconds (default: %g)')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        self._parser: argparse.ArgumentParser = super().get_parser(prog_name)
        self._parser.add_argument('server', metavar='<server>', nargs='+',
                                  help=_('Server (name or ID)'))
        self._parser.add_argument(
            '--all-projects', action='store_true', help=_(
                'Look for the names in all projects (admin only by default)'))
        self._parser.add_argument('--wait', action='store_true', help=_(
            'Wait until it is done, and check that it is'))
        self._parser.add_argument(
            '--timeout', metavar='<seconds>', type=options.timeout,
            help=self.timeout_help % retry.DEFAULT_TIMEOUT)
        return self._parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        if misused := self._misused_option(parsed_args):
            self._parser.print_usage(sys.stderr)
            LOG.error(_('%s requires --wait'), misused)
            return 2
        if parsed_args.timeout is None:
            parsed_args.timeout = retry.DEFAULT_TIMEOUT
        # An unknown column name must not come to light after a freeze.
        options.check_columns(self, parsed_args, self.columns)
        self.command = self._new_command()
        exit_code = self.command.run(
            functools.partial(super().run, parsed_args), self.app.stdout)
        return interrupts.end(exit_code, self.app.interactive_mode)

    def _new_command(self) -> base.Command:
        raise NotImplementedError

    def _misused_option(self, parsed_args: argparse.Namespace) -> str | None:
        if parsed_args.timeout is not None and not parsed_args.wait:
            return '--timeout'
        return None

    def _client(self) -> quiesce_client.Client:
        manager: Any = self.app.client_manager
        client: quiesce_client.Client = manager.server_quiesce
        return client


class QuiesceServer(_ServerCommand):
    _description = _(
        'Freeze the file systems of servers (admin only by default). With '
        '--wait, servers are quiesced strictly one after the other, in the '
        'order given; if one fails, or on Ctrl-C, SIGTERM or SIGHUP, the '
        'servers quiesced so far are unquiesced in reverse order.')

    columns = (*COLUMNS, 'Unquiesce At')
    command: quiesce.Quiesce

    def _new_command(self) -> base.Command:
        return quiesce.Quiesce(self._client, options.progress_of(self.app),
                               'openstack server unquiesce')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('--unquiesce-after', metavar='<seconds>',
                            type=options.whole_seconds,
                            help=_('Have the cloud unquiesce each server '
                                   'automatically this many seconds after it '
                                   'was quiesced (default: set by the cloud)'))
        parser.add_argument('--keep-quiesced', action='store_true', help=_(
            'With --wait: if a server fails, or the command is interrupted, '
            'leave servers quiesced that already are'))
        return parser

    def _misused_option(self, parsed_args: argparse.Namespace) -> str | None:
        if parsed_args.keep_quiesced and not parsed_args.wait:
            return '--keep-quiesced'
        return super()._misused_option(parsed_args)

    def take_action(self, parsed_args: argparse.Namespace) -> options.Table:
        jobs = self.command.quiesce(
            parsed_args.server, wait=parsed_args.wait,
            timeout=parsed_args.timeout,
            unquiesce_after=parsed_args.unquiesce_after,
            keep=parsed_args.keep_quiesced,
            all_projects=parsed_args.all_projects)
        return self.columns, [(*_cells(job), options.OptionalColumn(
            job.unquiesce_at)) for job in jobs]


class UnquiesceServer(_ServerCommand):
    _description = _(
        'Thaw the file systems of quiesced servers (admin only by default). A '
        'failure of one server does not stop the others.')

    command: unquiesce.Unquiesce
    timeout_help = _('How long --wait waits for all servers together, in '
                     'seconds (default: %g)')

    def _new_command(self) -> base.Command:
        return unquiesce.Unquiesce(self._client, options.progress_of(self.app))

    def take_action(self, parsed_args: argparse.Namespace) -> options.Table:
        jobs = self.command.unquiesce(
            parsed_args.server, wait=parsed_args.wait,
            timeout=parsed_args.timeout, all_projects=parsed_args.all_projects)
        return COLUMNS, [_cells(job) for job in jobs]


class ListQuiescedServer(command.Lister):
    _description = _(
        'List the servers that are quiesced, or whose guests may be frozen.')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('--all-projects', action='store_true', help=_(
            'List those of all projects (admin only by default)'))
        parser.add_argument(
            '--long', action='store_true', help=_('List additional fields'))
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> options.Table:
        manager: Any = self.app.client_manager
        try:
            found = manager.server_quiesce.freezes(
                all_projects=parsed_args.all_projects)
        except errors.QuiesceError as exc:
            raise osc_exceptions.CommandError(str(exc)) from exc
        optional = options.OptionalColumn
        names = ['Name', 'ID', 'State', 'Unquiesce At']
        rows = [[optional(freeze.server_name), freeze.server_id, freeze.state,
                 optional(freeze.unquiesce_at)] for freeze in found]
        if parsed_args.long:
            names += ['Project ID', 'User ID', 'Request ID', 'Requested At',
                      'Frozen At', 'Attempts', 'Error']
            for row, freeze in zip(rows, found):
                row += [optional(freeze.project_id), optional(freeze.user_id),
                        freeze.request_id, freeze.requested_at,
                        optional(freeze.frozen_at), freeze.attempts,
                        optional(freeze.error)]
        return names, [tuple(row) for row in rows]


def _cells(job: verbs.Job) -> tuple[Any, ...]:
    seconds = round(job.seconds, 1) if job.is_done else None
    return (job.server.name, job.server.id, job.server.status,
            options.OptionalColumn(seconds),
            options.OptionalColumn(job.action_id))
