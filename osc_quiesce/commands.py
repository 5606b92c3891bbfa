# SPDX-License-Identifier: Apache-2.0

"""What a command does to servers, whichever shell it belongs to.

The promise of quiescing and waiting for it: either every server is quiesced
and the exit code is 0, or none stays frozen by this command and the exit code
is not 0. Refusals, failures, time-outs, signals and a broken output pipe all
go the same way: thaw what was frozen, the last one first. Being told to keep
what is quiesced is the only exception; a server of which nobody knows yet
whether it will be is thawed all the same.

What the user has to know of the troubles on the way is logged. It parses no
arguments and prints no results: the shells do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
import logging
from typing import TextIO

from osc_lib import exceptions as osc_exceptions

from osc_quiesce import client as quiesce_client
from osc_quiesce import common
from osc_quiesce import exceptions
from osc_quiesce.i18n import _
from osc_quiesce import interrupts
from osc_quiesce import states

LOG = logging.getLogger(__name__)


@dataclasses.dataclass
class Row:
    """One server of the command line, and how far the command came.

    :param status: what Nova last said, or what was asked of it
    :param seconds: how long it took; None if it is not known
    :param request_id: Nova's id of the request; None if it got none
    :param unquiesce_at: when the cloud thaws it by itself; None if it does not
    :param failed: whether its own error said that it may be frozen
    """

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


class Command:
    """What both commands have in common: finding, signals and exit code.

    :param get_client: returns the client, the same each time
    :ivar exit_code: what it would be if the command ended now
    """

    def __init__(
        self, get_client: Callable[[], quiesce_client.Client]
    ) -> None:
        self.interrupts = interrupts.Interrupts()
        self.exit_code = 0
        self._get_client = get_client

    def run(self, work: Callable[[], object], out: TextIO) -> int:
        """Do the work, tell the user, and return the exit code.

        :param work: calls the one method of the command that is to be
            called, and writes what came of it
        :param out: what it writes to
        """
        try:
            return self._run(work, out)
        finally:
            self.interrupts.restore()

    def _run(self, work: Callable[[], object], out: TextIO) -> int:
        work()
        # Whoever reads it must get it before anything counts as done.
        out.flush()
        try:
            self.interrupts.check()
        except interrupts.Interrupted as exc:
            self._stop(exc)
        return self.exit_code

    @property
    def _client(self) -> quiesce_client.Client:
        client = self._get_client()
        client.sleep = self.interrupts.sleep
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
        self.exit_code = self.exit_code or 1

    def _stop(self, exc: interrupts.Interrupted) -> None:
        self.exit_code = exc.exit_code


class Quiesce(Command):
    """Freezes servers; thaws them again unless all went well.

    :param unquiesce_command: how the user of this shell thaws a server
    """

    def __init__(
        self,
        get_client: Callable[[], quiesce_client.Client],
        unquiesce_command: str,
    ) -> None:
        super().__init__(get_client)
        self._unquiesce_command = unquiesce_command
        # What may be frozen because of this command, in order.
        self._to_thaw: dict[str, Row] = {}
        self._thaw_timeout = quiesce_client.DEFAULT_TIMEOUT
        self._unquiesce_after: int | None = None

    def _run(self, work: Callable[[], object], out: TextIO) -> int:
        try:
            exit_code = super()._run(work, out)
            if exit_code == 0:
                self._to_thaw.clear()
            return exit_code
        finally:
            self._thaw()

    def quiesce(
        self,
        names: Sequence[str],
        *,
        wait: bool,
        timeout: float = quiesce_client.DEFAULT_TIMEOUT,
        unquiesce_after: int | None = None,
        keep: bool = False,
    ) -> list[Row]:
        """Freeze servers: one after the other, or all at once.

        :param names: names or UUIDs
        :param wait: whether to wait until each is quiesced, and only then to
            ask the next one
        :param timeout: how many seconds to wait for each
        :param unquiesce_after: see :meth:`osc_quiesce.client.Client.quiesce`
        :param keep: whether those quiesced stay so if one fails, or if the
            command is interrupted
        :returns: one for each name
        :raises osc_lib.exceptions.CommandError: a name is unknown or
            ambiguous, or a server cannot be waited for: nothing was asked
        """
        self._unquiesce_after = unquiesce_after
        servers = self._find_all(names)
        if wait:
            self._check_states(servers)
        rows = [Row(s.id, s.name, s.status) for s in servers]
        if wait:
            self._thaw_timeout = max(self._thaw_timeout, timeout)
            self._quiesce_in_order(rows, timeout, keep)
        else:
            self._quiesce_at_once(rows)
        return rows

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
        self.interrupts.install(
            _('stopping after the request under way ...'),
            _('already stopping'),
        )
        failures = 0
        for row in rows:
            try:
                self.interrupts.check()
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
        self.interrupts.install(
            _('stopping after the request under way, and thawing ...'),
            _('already stopping; thawing goes on until it is done'),
        )
        done = 0
        try:
            for row in rows:
                self.interrupts.check()
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
        started = self._client.clock()
        while pause := self._ask(row, started):
            self._client.sleep(pause)
        outcome = self._client.wait_for(
            {row.id: row.request_id}, states.QUIESCED, timeout
        )[row.id]
        row.see(outcome)
        if outcome.error:
            raise outcome.error
        row.seconds = round(outcome.seconds, 1)
        if keep:
            self._to_thaw.pop(row.id)

    def _ask(self, row: Row, started: float) -> float:
        """Return in how many seconds to ask again; 0 if it was accepted."""
        self._to_thaw[row.id] = row
        try:
            row.request_id = self._client.quiesce(
                row.id, self._unquiesce_after, patience=0
            )
        except exceptions.Refused as exc:
            # Not frozen by us: if it is frozen, it is somebody else's.
            self._to_thaw.pop(row.id, None)
            pause = self._client.pause_before_retry(exc, started)
            if not pause:
                raise
            return pause
        return 0.0

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
            with self.interrupts.shielded():
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
            may_arrive = row.request_id is None and (
                error is None or isinstance(error, exceptions.Superseded)
            )
            if may_arrive:
                LOG.error(
                    _(
                        'The request to quiesce server %s was never '
                        'answered, and may still arrive: unquiesce it if '
                        'it becomes QUIESCED.'
                    ),
                    row.label,
                )
            if error is None:
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

    def _warn(self, row: Row) -> None:
        LOG.error(
            _(
                'Server %(label)s MAY STILL BE FROZEN: try "%(command)s '
                '%(id)s".'
            ),
            {
                'label': row.label,
                'command': self._unquiesce_command,
                'id': row.id,
            },
        )


class Unquiesce(Command):
    """Thaws servers, as many as can be, whatever fails."""

    def unquiesce(
        self,
        names: Sequence[str],
        *,
        wait: bool,
        timeout: float = quiesce_client.DEFAULT_TIMEOUT,
    ) -> list[Row]:
        """Ask all servers to thaw, and then wait for them together.

        :param names: names or UUIDs
        :param wait: whether to wait until they are thawed
        :param timeout: how many seconds to wait, for all together
        :returns: one for each server that was found
        """
        servers, failures = self._find(names)
        # A server that is named twice is thawed once.
        rows = {s.id: Row(s.id, s.name, s.status) for s in servers}
        total = len(rows) + failures
        self.interrupts.install(
            _('not waiting any longer; every server is asked to thaw ...'),
            _('already stopping; every server is asked to thaw'),
        )
        asked = self._ask(list(rows.values()))
        failures += len(rows) - len(asked)
        if wait and asked:
            try:
                failures += self._wait(asked, timeout)
            except interrupts.Interrupted as exc:
                self._stop(exc)
        if failures:
            self._fail(
                _('%(failed)d of %(all)d servers failed to unquiesce.')
                % {'failed': failures, 'all': total}
            )
        return list(rows.values())

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
