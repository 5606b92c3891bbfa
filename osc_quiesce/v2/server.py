# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""``openstack server quiesce`` and ``openstack server unquiesce``.

The promise of ``server quiesce --wait``: either every server is quiesced and
the exit code is 0, or none stays frozen by this command and the exit code is
not 0. Refusals, failures, time-outs, signals and a broken output pipe all go
the same way: thaw what was frozen, the last one first. ``--keep-quiesced``
is the only exception.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import dataclasses
import logging
from typing import Any

from cliff import columns
from osc_lib.command import command
from osc_lib import exceptions as osc_exceptions

from osc_quiesce import client as quiesce_client
from osc_quiesce import exceptions
from osc_quiesce.i18n import _
from osc_quiesce import interrupts
from osc_quiesce import states
from osc_quiesce.v2 import common

LOG = logging.getLogger(__name__)

COLUMNS = ('Name', 'ID', 'Status', 'Seconds', 'Request ID')
# Shown if the cloud thaws one of the servers by itself
DEADLINE_COLUMN = 'Unquiesce At'


class OptionalColumn(columns.FormattableColumn[Any]):
    """A value that may be missing: empty for people, null for machines."""

    def human_readable(self) -> str:
        return '' if self._value is None else str(self._value)


@dataclasses.dataclass
class Row:
    """One server of the command line, and how far the command came."""

    id: str
    name: str
    status: str
    seconds: float | None = None
    request_id: str | None = None
    unquiesce_at: str | None = None
    failed: bool = False

    @property
    def label(self) -> str:
        return exceptions.label(self.id, self.name)

    def see(self, outcome: quiesce_client.Outcome) -> None:
        if isinstance(outcome.error, exceptions.ServerGone) or (
            outcome.server is None and outcome.error is None
        ):
            self.status = 'DELETED'
        elif outcome.server:
            self.status = outcome.server.status
        self.unquiesce_at = None
        if outcome.unquiesce_at:
            self.unquiesce_at = quiesce_client.time_text(outcome.unquiesce_at)

    def cells(self) -> tuple[Any, ...]:
        return (
            self.name,
            self.id,
            self.status,
            OptionalColumn(self.seconds),
            OptionalColumn(self.request_id),
            OptionalColumn(self.unquiesce_at),
        )


class _ServerCommand(command.Lister):
    """What both commands have in common: arguments, table and exit code."""

    columns: tuple[str, ...] = COLUMNS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._exit_code = 0
        self._interrupts = interrupts.Interrupts()

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
            help=_(
                'How long --wait waits for each server, in seconds '
                '(default: %g)'
            )
            % quiesce_client.DEFAULT_TIMEOUT,
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
        try:
            return self._run(parsed_args)
        finally:
            self._interrupts.restore()

    def _run(self, parsed_args: argparse.Namespace) -> int:
        super().run(parsed_args)
        # Whoever reads the table must get it before anything counts as done.
        self.app.stdout.flush()
        try:
            self._interrupts.check()
        except interrupts.Interrupted as exc:
            self._stop(exc)
        return self._exit_code

    def _misused_option(self, parsed_args: argparse.Namespace) -> str | None:
        if parsed_args.timeout is not None and not parsed_args.wait:
            return '--timeout'
        return None

    @property
    def _client(self) -> quiesce_client.Client:
        manager: Any = self.app.client_manager
        client: quiesce_client.Client = manager.server_quiesce
        client.sleep = self._interrupts.sleep
        return client

    def _find(
        self, names: Sequence[str]
    ) -> tuple[list[quiesce_client.Server], int]:
        """Return the servers found, and log and count the names in vain."""
        found = []
        failures = 0
        for name in names:
            try:
                found.append(self._client.find_server(name))
            except exceptions.QuiesceError as exc:
                LOG.error('%s', exc)
                failures += 1
        return found, failures

    def _fail(self, message: str) -> None:
        LOG.error('%s', message)
        self._exit_code = self._exit_code or 1

    def _stop(self, exc: interrupts.Interrupted) -> None:
        self._exit_code = exc.exit_code


class QuiesceServer(_ServerCommand):
    _description = _(
        'Freeze the file systems of servers (admin only by default). With '
        '--wait, servers are quiesced strictly one after the other, in the '
        'order given; if one fails, or on Ctrl-C, SIGTERM or SIGHUP, those '
        'quiesced so far are thawed in reverse order.'
    )

    columns = (*COLUMNS, DEADLINE_COLUMN)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What may be frozen because of this command, in order.
        self._to_thaw: dict[str, Row] = {}
        self._thaw_timeout = quiesce_client.DEFAULT_TIMEOUT
        self._unquiesce_after: int | None = None

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
                'With --wait: if a server fails, leave those quiesced that '
                'are, instead of thawing them'
            ),
        )
        return parser

    def _misused_option(self, parsed_args: argparse.Namespace) -> str | None:
        if parsed_args.keep_quiesced and not parsed_args.wait:
            return '--keep-quiesced'
        return super()._misused_option(parsed_args)

    def _run(self, parsed_args: argparse.Namespace) -> int:
        try:
            exit_code = super()._run(parsed_args)
            if exit_code == 0:
                self._to_thaw.clear()
            return exit_code
        finally:
            self._thaw()

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        self._unquiesce_after = parsed_args.unquiesce_after
        servers = self._find_all(parsed_args.server)
        if parsed_args.wait:
            self._check_states(servers)
        rows = [Row(s.id, s.name, s.status) for s in servers]
        if parsed_args.wait:
            self._thaw_timeout = max(self._thaw_timeout, parsed_args.timeout)
            self._quiesce_in_order(
                rows, parsed_args.timeout, parsed_args.keep_quiesced
            )
        else:
            self._quiesce_at_once(rows)
        columns: Sequence[str] = self.columns
        if DEADLINE_COLUMN not in parsed_args.columns and not any(
            row.unquiesce_at for row in rows
        ):
            columns = COLUMNS
        return columns, [row.cells()[: len(columns)] for row in rows]

    def _find_all(self, names: Sequence[str]) -> list[quiesce_client.Server]:
        servers, failures = self._find(names)
        seen: dict[str, str] = {}
        for server in servers:
            if server.id in seen:
                LOG.error(
                    _('Server %s is named twice'),
                    exceptions.label(server.id, server.name),
                )
                failures += 1
            seen[server.id] = server.name
        if failures:
            raise osc_exceptions.CommandError(_('Nothing was quiesced.'))
        return servers

    def _check_states(self, servers: list[quiesce_client.Server]) -> None:
        bad = [
            server
            for server in servers
            if (server.vm_state, server.task_state) != (states.ACTIVE, None)
        ]
        for server in bad:
            LOG.error(
                _(
                    'Server %(server)s cannot be quiesced: its vm_state is '
                    '%(vm)s, its task_state %(task)s; they must be %(ok)s '
                    'and None.'
                ),
                {
                    'server': exceptions.label(server.id, server.name),
                    'vm': server.vm_state,
                    'task': server.task_state,
                    'ok': states.ACTIVE,
                },
            )
        if bad:
            raise osc_exceptions.CommandError(_('Nothing was quiesced.'))

    def _quiesce_at_once(self, rows: list[Row]) -> None:
        self._interrupts.install(
            _('stopping after the request under way ...'),
            _('already stopping'),
        )
        failures = 0
        for row in rows:
            try:
                self._interrupts.check()
                row.request_id = self._client.quiesce(
                    row.id, self._unquiesce_after
                )
                row.status = states.QUIESCING.upper()
            except exceptions.QuiesceError as exc:
                exc.server_name = row.name
                LOG.error('%s', exc)
                failures += 1
            except interrupts.Interrupted as exc:
                self._stop(exc)
                self._tell_what_was_asked(rows)
                break
        if failures:
            self._fail(
                _('%(failed)d of %(all)d servers failed to quiesce.')
                % {'failed': failures, 'all': len(rows)}
            )

    @staticmethod
    def _tell_what_was_asked(rows: list[Row]) -> None:
        asked = [row.label for row in rows if row.request_id]
        others = [row.label for row in rows if not row.request_id]
        LOG.error(
            _(
                'Interrupted. Asked to quiesce, and left so: %(asked)s. Not '
                'asked, refused, or without an answer: %(others)s.'
            ),
            {
                'asked': ', '.join(asked) or _('none'),
                'others': ', '.join(others) or _('none'),
            },
        )

    def _quiesce_in_order(
        self, rows: list[Row], timeout: float, keep: bool
    ) -> None:
        self._interrupts.install(
            _('stopping after the request under way, and thawing ...'),
            _('already stopping; thawing goes on until it is done'),
        )
        done = 0
        try:
            for row in rows:
                self._interrupts.check()
                self._quiesce(row, timeout, keep)
                done += 1
            return
        except interrupts.Interrupted as exc:
            self._stop(exc)
        except exceptions.QuiesceError as exc:
            exc.server_name = row.name
            row.failed = isinstance(exc, exceptions.Failed)
            LOG.error('%s', exc)
        self._thaw()
        if keep:
            self._fail(
                _('%(done)d of %(all)d servers are quiesced, and kept so.')
                % {'done': done, 'all': len(rows)}
            )
        elif len(rows) == 1:
            self._fail(_('The server was not quiesced.'))
        else:
            self._fail(_('The %d servers were not quiesced.') % len(rows))

    def _quiesce(self, row: Row, timeout: float, keep: bool) -> None:
        common.progress(_('Quiescing %s ...') % row.label)
        if not keep:
            self._to_thaw[row.id] = row
        try:
            row.request_id = self._client.quiesce(
                row.id, self._unquiesce_after
            )
        except exceptions.Refused:
            # Not frozen by us: if it is frozen, it is somebody else's.
            self._to_thaw.pop(row.id, None)
            raise
        outcome = self._client.wait_for(
            {row.id: row.request_id}, states.QUIESCED, timeout
        )[row.id]
        row.see(outcome)
        if outcome.error:
            raise outcome.error
        row.seconds = round(outcome.seconds, 1)

    def _thaw(self) -> None:
        """Thaw what this command froze or may have frozen, last one first."""
        if not self._to_thaw:
            return
        rows = dict(reversed(self._to_thaw.items()))
        self._to_thaw.clear()
        common.progress(
            _('Thawing %s ...') % ', '.join(row.label for row in rows.values())
        )
        try:
            with self._interrupts.shielded():
                outcomes = self._client.thaw(
                    {id_: row.request_id for id_, row in rows.items()},
                    self._thaw_timeout,
                )
        except Exception:
            for row in rows.values():
                self._warn(row)
            raise
        for server_id, outcome in outcomes.items():
            row = rows[server_id]
            row.see(outcome)
            row.seconds = None
            error = outcome.error
            if error is None:
                if row.request_id is None:
                    LOG.error(
                        _(
                            'The request to quiesce server %s was never '
                            'answered, and may still arrive: unquiesce it if '
                            'it becomes QUIESCED.'
                        ),
                        row.label,
                    )
                continue
            error.server_name = row.name
            if isinstance(error, exceptions.Failed):
                # Its own advice says more; and it was perhaps logged before.
                if not row.failed:
                    LOG.error('%s', error)
                continue
            LOG.error('%s', error)
            if not isinstance(error, exceptions.Superseded):
                self._warn(row)

    @staticmethod
    def _warn(row: Row) -> None:
        LOG.error(
            _(
                'Server %(label)s MAY STILL BE FROZEN: try "openstack server '
                'unquiesce %(id)s".'
            ),
            {'label': row.label, 'id': row.id},
        )


class UnquiesceServer(_ServerCommand):
    _description = _(
        'Thaw the file systems of quiesced servers (admin only by default). '
        'Whatever fails, every other server is thawed nevertheless.'
    )

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        servers, failures = self._find(parsed_args.server)
        # A server that is named twice is thawed once.
        rows = {s.id: Row(s.id, s.name, s.status) for s in servers}
        total = len(rows) + failures
        self._interrupts.install(
            _('not waiting any longer; every server is asked to thaw ...'),
            _('already stopping; every server is asked to thaw'),
        )
        asked = self._ask(list(rows.values()))
        failures += len(rows) - len(asked)
        if parsed_args.wait and asked:
            try:
                failures += self._wait(asked, parsed_args.timeout)
            except interrupts.Interrupted as exc:
                self._stop(exc)
        if failures:
            self._fail(
                _('%(failed)d of %(all)d servers failed to unquiesce.')
                % {'failed': failures, 'all': total}
            )
        return COLUMNS, [
            row.cells()[: len(COLUMNS)] for row in rows.values()
        ]

    def _ask(self, rows: list[Row]) -> list[Row]:
        """Ask every server to thaw, and return those that accepted."""
        asked = []
        for row in rows:
            try:
                row.request_id = self._client.unquiesce(row.id)
                row.status = states.UNQUIESCING.upper()
                asked.append(row)
            except exceptions.QuiesceError as exc:
                exc.server_name = row.name
                LOG.error('%s', exc)
            except interrupts.Interrupted as exc:
                # It was asked once, without an answer; now the next one.
                LOG.error(_('Server %s gave no answer.'), row.label)
                self._stop(exc)
        return asked

    def _wait(self, rows: list[Row], timeout: float) -> int:
        """Wait until all are thawed, and return how many failed."""
        common.progress(
            _('Unquiescing %s ...') % ', '.join(row.label for row in rows)
        )
        failures = 0
        outcomes = self._client.wait_for(
            {row.id: row.request_id for row in rows}, states.ACTIVE, timeout
        )
        for row in rows:
            outcome = outcomes[row.id]
            row.see(outcome)
            if outcome.error:
                outcome.error.server_name = row.name
                LOG.error('%s', outcome.error)
                failures += 1
            else:
                row.seconds = round(outcome.seconds, 1)
        return failures
