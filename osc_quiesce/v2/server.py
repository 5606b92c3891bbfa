# SPDX-License-Identifier: Apache-2.0

"""``openstack server quiesce`` and ``openstack server unquiesce``.

Arguments and tables; what is done is in :mod:`osc_quiesce.commands`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import functools
import logging
from typing import Any

from cliff import columns
from osc_lib.command import command

from osc_quiesce import client as quiesce_client
from osc_quiesce import commands
from osc_quiesce import common
from osc_quiesce.i18n import _

LOG = logging.getLogger(__name__)

COLUMNS = ('Name', 'ID', 'Status', 'Seconds', 'Request ID')
# Shown if the cloud thaws one of the servers by itself
DEADLINE_COLUMN = 'Unquiesce At'


class OptionalColumn(columns.FormattableColumn[Any]):
    """A value that may be missing: empty for people, null for machines."""

    def human_readable(self) -> str:
        return '' if self._value is None else str(self._value)


class _ServerCommand(command.Lister):
    """What both commands have in common: arguments, table and exit code."""

    columns: tuple[str, ...] = COLUMNS
    command: commands.Command
    timeout_help = _(
        'How long --wait waits for each server, in seconds (default: %g)'
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'server',
            metavar='<server>',
            nargs='+',
            help=_(
                'Server (name or ID); servers of other projects by ID only'
            ),
        )
        parser.add_argument(
            '--wait',
            action='store_true',
            help=_('Wait until it is done, and check that it is'),
        )
        parser.add_argument(
            '--timeout',
            metavar='<seconds>',
            type=common.timeout,
            help=self.timeout_help % quiesce_client.DEFAULT_TIMEOUT,
        )
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        misused = self._misused_option(parsed_args)
        if misused:
            LOG.error(_('%s has no meaning without --wait'), misused)
            return 2
        if parsed_args.timeout is None:
            parsed_args.timeout = quiesce_client.DEFAULT_TIMEOUT
        # An unknown column name must not come to light after a freeze.
        self._generate_columns_and_selector(parsed_args, self.columns)
        return self.command.run(
            functools.partial(super().run, parsed_args), self.app.stdout
        )

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
        'order given; if one fails, or on Ctrl-C, SIGTERM or SIGHUP, those '
        'quiesced so far are thawed in reverse order.'
    )

    columns = (*COLUMNS, DEADLINE_COLUMN)
    command: commands.Quiesce

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.command = commands.Quiesce(
            self._client, 'openstack server unquiesce'
        )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--unquiesce-after',
            metavar='<seconds>',
            type=common.whole_seconds,
            help=_(
                'Have the cloud thaw each server by itself so many seconds '
                'after it was frozen, unless it was asked to before '
                '(default: what the cloud has configured, usually never)'
            ),
        )
        parser.add_argument(
            '--keep-quiesced',
            action='store_true',
            help=_(
                'With --wait: if a server fails, or the command is '
                'interrupted, leave those quiesced that are, instead of '
                'thawing them'
            ),
        )
        return parser

    def _misused_option(self, parsed_args: argparse.Namespace) -> str | None:
        if parsed_args.keep_quiesced and not parsed_args.wait:
            return '--keep-quiesced'
        return super()._misused_option(parsed_args)

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        rows = self.command.quiesce(
            parsed_args.server,
            wait=parsed_args.wait,
            timeout=parsed_args.timeout,
            unquiesce_after=parsed_args.unquiesce_after,
            keep=parsed_args.keep_quiesced,
        )
        columns: Sequence[str] = self.columns
        if DEADLINE_COLUMN not in parsed_args.columns and not any(
            row.unquiesce_at for row in rows
        ):
            columns = COLUMNS
        return columns, [_cells(row)[: len(columns)] for row in rows]


class UnquiesceServer(_ServerCommand):
    _description = _(
        'Thaw the file systems of quiesced servers (admin only by default). '
        'Whatever fails, every other server is thawed nevertheless.'
    )

    command: commands.Unquiesce
    timeout_help = _(
        'How long --wait waits for all servers together, in seconds '
        '(default: %g)'
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.command = commands.Unquiesce(self._client)

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        rows = self.command.unquiesce(
            parsed_args.server,
            wait=parsed_args.wait,
            timeout=parsed_args.timeout,
        )
        return COLUMNS, [_cells(row)[: len(COLUMNS)] for row in rows]


def _cells(row: commands.Row) -> tuple[Any, ...]:
    return (
        row.name,
        row.id,
        row.status,
        OptionalColumn(row.seconds),
        OptionalColumn(row.request_id),
        OptionalColumn(row.unquiesce_at),
    )
