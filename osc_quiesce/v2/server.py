# SPDX-License-Identifier: Apache-2.0

"""``openstack server quiesce | unquiesce``, ``quiesced server list``.

Arguments and tables; what is done is in :mod:`osc_quiesce.cli`.
"""

import argparse
from collections.abc import Callable
import functools
import logging
import sys
from typing import Any

from osc_lib.command import command

from osc_quiesce.cli import base
from osc_quiesce.cli import interrupts
from osc_quiesce.cli import options
from osc_quiesce.cli import quiesce
from osc_quiesce.cli import unquiesce
from osc_quiesce.i18n import _
from osc_quiesce import retry
from osc_quiesce.v2 import base as v2_base
from osc_quiesce import verbs

LOG = logging.getLogger(__name__)

COLUMNS = ('Name', 'ID', 'Status', 'Seconds', 'Request ID')
#: of the list, and which part of a freeze is in each
LIST_COLUMNS = {'Name': 'server_name',
                'ID': 'server_id',
                'State': 'state',
                'Unquiesce At': 'unquiesce_at'}
LONG_COLUMNS = {'Project ID': 'project_id',
                'User ID': 'user_id',
                'Request ID': 'request_id',
                'Requested At': 'requested_at',
                'Frozen At': 'frozen_at',
                'Attempts': 'attempts',
                'Error': 'error'}


class _ServerCommand(command.Lister):
    """What both commands have in common: arguments, table and exit code."""

    columns: tuple[str, ...] = COLUMNS
    new_command: Callable[..., base.Command]
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
            'Wait for completion, and verify the result'))
        self._parser.add_argument(
            '--timeout', metavar='<seconds>', type=options.timeout,
            help=self.timeout_help % retry.DEFAULT_TIMEOUT)
        return self._parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        for name in ('keep_quiesced', 'timeout'):
            if getattr(parsed_args, name, None) and not parsed_args.wait:
                self._parser.print_usage(sys.stderr)
                LOG.error(_('--%s requires --wait'), name.replace('_', '-'))
                return 2
        if parsed_args.timeout is None:
            parsed_args.timeout = retry.DEFAULT_TIMEOUT
        # An unknown column name must not come to light after a freeze.
        options.check_columns(self, parsed_args, self.columns)
        manager: Any = self.app.client_manager
        self.command = self.new_command(
            lambda: manager.server_quiesce,
            options.progress_of(self.app), 'openstack server unquiesce')
        exit_code = self.command.run(
            functools.partial(super().run, parsed_args), self.app.stdout)
        return interrupts.end(exit_code, self.app.interactive_mode)


class QuiesceServer(_ServerCommand):
    _description = _(
        'Freeze the file systems of servers (admin only by default). With '
        '--wait, servers are quiesced strictly one after the other, in the '
        'order given; if one fails, or on Ctrl-C, SIGTERM or SIGHUP, the '
        'servers quiesced so far are unquiesced in reverse order.')

    columns = (*COLUMNS, 'Unquiesce At')
    new_command = quiesce.Quiesce
    command: quiesce.Quiesce

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('--unquiesce-after', metavar='<seconds>',
                            type=options.number,
                            help=_('Have the cloud unquiesce each server '
                                   'automatically this many seconds after it '
                                   'was quiesced (default: set by the cloud)'))
        parser.add_argument('--keep-quiesced', action='store_true', help=_(
            'With --wait: if a server fails, or the command is interrupted, '
            'leave servers quiesced that already are'))
        return parser

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

    new_command = unquiesce.Unquiesce
    command: unquiesce.Unquiesce
    timeout_help = _('How long --wait waits for all servers together, in '
                     'seconds (default: %g)')

    def take_action(self, parsed_args: argparse.Namespace) -> options.Table:
        jobs = self.command.unquiesce(
            parsed_args.server, wait=parsed_args.wait,
            timeout=parsed_args.timeout, all_projects=parsed_args.all_projects)
        return COLUMNS, [_cells(job) for job in jobs]


class ListQuiescedServer(v2_base.Command, command.Lister):
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
        found = self._client.freezes(all_projects=parsed_args.all_projects)
        columns = LIST_COLUMNS | (LONG_COLUMNS if parsed_args.long else {})
        return list(columns), [
            tuple(options.OptionalColumn(getattr(freeze, name))
                  for name in columns.values()) for freeze in found]


def _cells(job: verbs.Job) -> tuple[Any, ...]:
    seconds = round(job.seconds, 1) if job.is_done else None
    return (job.server.name, job.server.id, job.server.status,
            options.OptionalColumn(seconds),
            options.OptionalColumn(job.action_id))
