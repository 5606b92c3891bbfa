# SPDX-License-Identifier: Apache-2.0

"""Several servers frozen together: in stages, all or none, then thawed.

The promise of :func:`quiesced`: the block inside runs only while every server
is frozen, and however it is left, every server that this block froze, or may
have frozen, is asked to thaw, the last stage first. What other commands froze
is left alone. It knows no command line and no storage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import datetime
import functools
import math
from types import TracebackType
from typing import Any

from osc_quiesce import client as quiesce_client
from osc_quiesce import exceptions
from osc_quiesce.i18n import _
from osc_quiesce import states
from osc_quiesce import threads

DEFAULT_TIMEOUT = 600.0  # seconds

NotConsistent = exceptions.NotConsistent
ThawFailed = exceptions.ThawFailed


@dataclasses.dataclass(frozen=True)
class ServerReport:
    """When one server was frozen, as far as the caller can know. UTC.

    :param id: its UUID
    :param name: its name
    :param requested_at: just before it was asked to quiesce; it was not
        frozen before
    :param frozen_at: when it was first seen quiesced; it was frozen then, or
        shortly before: an upper bound
    :param thaw_requested_at: when the thaw of its stage began, just before
        it was asked to; None before that
    :param thawed_at: when it was first seen thawed, or gone, or was seen not
        frozen after a request that was never answered: an upper bound; None
        if it was not, or if somebody else quiesced it again
    :param seconds: from requested_at to thawed_at: an upper bound of how
        long it was frozen; None without a thawed_at
    :param quiesce_request_id: Nova's id of the request to quiesce
    :param thaw_request_id: Nova's id of the request to thaw; None if none
        was needed, for example because it was thawed before
    """

    id: str
    name: str
    requested_at: datetime.datetime | None
    frozen_at: datetime.datetime | None
    thaw_requested_at: datetime.datetime | None
    thawed_at: datetime.datetime | None
    seconds: float | None
    quiesce_request_id: str | None
    thaw_request_id: str | None


@dataclasses.dataclass(frozen=True)
class Report:
    """How long the servers were frozen; durations by a monotonic clock.

    :param servers: each server, in the order of the stages
    :param window: seconds from the first request to quiesce until the last
        thaw was seen: an upper bound of how long any was frozen; None unless
        every thaw was seen
    :param complete: seconds from when the last server was seen frozen until
        just before the first request to thaw: a lower bound of how long all
        were frozen at once, if nobody else thawed one, which
        :meth:`Frozen.verify` tells; None before the thaw, and if not all
        were seen frozen
    """

    servers: tuple[ServerReport, ...]
    window: float | None
    complete: float | None


@dataclasses.dataclass
class _Member:
    """One server, and how far it came; times are those of the clock."""

    id: str
    unquiesce_after: int | None
    name: str = ''
    request_id: str | None = None
    requested: float | None = None
    frozen: float | None = None
    thaw_requested: float | None = None
    thawed: float | None = None
    thaw_request_id: str | None = None
    to_thaw: bool = False  # it may be frozen because of us
    thaw_error: exceptions.QuiesceError | None = None
    lost: exceptions.RequestLost | None = None

    @property
    def label(self) -> str:
        return exceptions.label(self.id, self.name)


class Frozen:
    """Servers that are frozen inside the block of :func:`quiesced`."""

    def __init__(
        self,
        client: quiesce_client.Client,
        stages: Sequence[Sequence[str]],
        timeout: float,
        unquiesce_after: int | Mapping[str, int] | None,
        progress: Callable[[str], object] | None,
        shield: Callable[[], contextlib.AbstractContextManager[Any]],
    ) -> None:
        if not 0 < timeout < math.inf:
            raise ValueError(
                _('timeout has to be a positive number of seconds, not %r')
                % timeout
            )
        self._client = client
        self._timeout = timeout
        self._progress = progress
        self._shield = shield
        self._stages = _members(stages, unquiesce_after)
        # What the clock's zero is in UTC.
        self._zero = datetime.datetime.now(datetime.UTC) - datetime.timedelta(
            seconds=client.clock()
        )

    def verify(self) -> None:
        """Check that every server is still quiesced by our own request.

        Whatever is saved while they are frozen is consistent only if this
        finds so afterwards. Takes one request for each server, and one or
        two more.

        :raises NotConsistent: names each server that is not, or could not be
            checked
        """
        errors = self._client.not_quiesced_by(
            {member.id: member.request_id for member in self._all()}
        )
        if errors:
            raise NotConsistent(errors)

    @property
    def report(self) -> Report:
        """What is known so far: everything, once the block is left."""
        members = self._all()
        window = complete = None
        thawed = [m.thawed for m in members]
        if None not in thawed:
            window = max(_known(thawed)) - min(
                _known(m.requested for m in members)
            )
        thaws = _known(m.thaw_requested for m in members)
        frozen = [m.frozen for m in members]
        if thaws and None not in frozen:
            complete = min(thaws) - max(_known(frozen))
        return Report(
            tuple(self._report_of(member) for member in members),
            window,
            complete,
        )

    def _report_of(self, member: _Member) -> ServerReport:
        seconds = None
        if member.requested is not None and member.thawed is not None:
            seconds = member.thawed - member.requested
        return ServerReport(
            id=member.id,
            name=member.name,
            requested_at=self._utc(member.requested),
            frozen_at=self._utc(member.frozen),
            thaw_requested_at=self._utc(member.thaw_requested),
            thawed_at=self._utc(member.thawed),
            seconds=seconds,
            quiesce_request_id=member.request_id,
            thaw_request_id=member.thaw_request_id,
        )

    def _utc(self, seconds: float | None) -> datetime.datetime | None:
        if seconds is None:
            return None
        return self._zero + datetime.timedelta(seconds=seconds)

    def _all(self) -> list[_Member]:
        return [member for stage in self._stages for member in stage]

    def _say(self, message: str, members: Sequence[_Member]) -> None:
        # Whoever listens must not be able to keep a server frozen.
        with contextlib.suppress(Exception):
            if self._progress:
                self._progress(message % ', '.join(m.label for m in members))

    @contextlib.contextmanager
    def _hold(self) -> Iterator[Frozen]:
        """Freeze on the way in, thaw on the way out: the only way out."""
        try:
            with contextlib.ExitStack() as stack:
                stack.push(self._thaw_the_rest)
                for stage in self._stages:
                    stack.callback(self._thaw_stage, stage)
                    self._quiesce(stage)
                yield self
        except exceptions.QuiesceError as exc:
            exc.report = self.report  # who could not enter has no other
            raise

    def _quiesce(self, stage: list[_Member]) -> None:
        self._say(_('Quiescing %s ...'), stage)
        self._ask_all_to_quiesce(stage)
        started = self._client.clock()
        outcomes = self._client.wait_for(
            {member.id: member.request_id for member in stage},
            states.QUIESCED,
            self._timeout,
            stop_at_error=True,
            ours=False,  # verify asks, when it matters; so does the thaw
        )
        for member in stage:
            outcome = outcomes.get(member.id)
            if outcome and outcome.server:
                member.name = outcome.server.name
            if outcome and not outcome.error:
                member.frozen = started + outcome.seconds
        for outcome in outcomes.values():
            if outcome.error:
                raise outcome.error

    def _ask_all_to_quiesce(self, members: list[_Member]) -> None:
        """Ask at once, and again those that are to come back later.

        Nobody waits to come back once another is refused for good.
        """
        started = self._client.clock()
        while members:
            pauses = threads.at_once(
                functools.partial(self._ask_to_quiesce, started),
                members,
                stop_at_error=True,
            )
            members = [m for m, pause in zip(members, pauses) if pause]
            if members:
                self._client.sleep(max(pauses))

    def _ask_to_quiesce(self, started: float, member: _Member) -> float:
        """Return in how many seconds to ask again; 0 if it was accepted."""
        self._client.sleep(0)  # where a signal may stop us
        member.requested = self._client.clock()
        member.to_thaw = True
        try:
            member.request_id = self._client.quiesce(
                member.id, member.unquiesce_after, patience=0
            )
        except exceptions.Refused as exc:
            # If it is frozen, then by somebody else.
            member.to_thaw = False
            pause = self._client.pause_before_retry(exc, started)
            if not pause:
                raise
            return pause
        except exceptions.RequestLost as exc:
            member.lost = exc
            raise
        return 0.0

    def _thaw_stage(self, stage: list[_Member]) -> None:
        self._thaw(stage, quiesce_client.ORDER_TIME, in_order=False)

    def _thaw(
        self,
        members: Iterable[_Member],
        timeout: float,
        in_order: bool = True,
    ) -> None:
        """Thaw those that may be frozen because of us."""
        left = {member.id: member for member in members if member.to_thaw}
        if not left:
            return
        self._say(_('Thawing %s ...'), list(left.values()))
        started = self._client.clock()
        for member in left.values():
            if member.thaw_requested is None:
                member.thaw_requested = started
        with contextlib.ExitStack() as stack:
            # Nor must who shields.
            with contextlib.suppress(Exception):
                stack.enter_context(self._shield())
            outcomes = self._client.thaw(
                {id_: member.request_id for id_, member in left.items()},
                timeout,
                in_order,
                {
                    id_
                    for id_, m in left.items()
                    if m.frozen is not None and m.thaw_request_id is None
                },
                {
                    id_: m.thaw_request_id
                    for id_, m in left.items()
                    if m.thaw_request_id is not None
                },
            )
        for server_id, outcome in outcomes.items():
            member = left[server_id]
            if outcome.server:
                member.name = outcome.server.name
            if outcome.thaw_request_id:
                member.thaw_request_id = outcome.thaw_request_id
            member.thaw_error = outcome.error
            if outcome.error is None:
                member.thawed = started + outcome.seconds
            # Superseded: it is quiesced by somebody else.
            member.to_thaw = outcome.error is not None and not isinstance(
                outcome.error, exceptions.Superseded
            )

    def _thaw_the_rest(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Try once more, with time, what its own stage did not thaw."""
        interrupt: BaseException | None = None
        try:
            self._thaw(
                reversed(self._all()),
                max(quiesce_client.DEFAULT_TIMEOUT, self._timeout),
            )
        except BaseException as error:
            interrupt = error
        errors = []
        for member in self._all():
            if member.to_thaw:
                failure = member.thaw_error or exceptions.QuiesceError(
                    _('was not seen thawed'), server_id=member.id
                )
                failure.server_name = member.name or failure.server_name
                errors.append(failure)
        # Each request that was never answered may arrive later.
        lost = [
            member.lost
            for member in self._all()
            if member.lost
            and member.thaw_request_id is None
            and member.thaw_error is None
        ]
        cause = interrupt or exc
        if errors:
            raise ThawFailed([*errors, *lost]) from cause
        if lost and lost != [cause]:
            several: list[exceptions.QuiesceError] = [*lost]
            if isinstance(cause, exceptions.QuiesceError):
                several = [cause, *(one for one in lost if one is not cause)]
            raise exceptions.SeveralErrors(several) from cause
        if interrupt:
            raise interrupt


def quiesced(
    client: quiesce_client.Client,
    stages: Sequence[Sequence[str]],
    timeout: float = DEFAULT_TIMEOUT,
    unquiesce_after: int | Mapping[str, int] | None = None,
    progress: Callable[[str], object] | None = None,
    shield: Callable[
        [], contextlib.AbstractContextManager[Any]
    ] = contextlib.nullcontext,
) -> contextlib.AbstractContextManager[Frozen]:
    """Freeze servers for the time of a ``with`` block, all of them or none.

    The stages are quiesced strictly one after the other, the servers of a
    stage at the same time. If one cannot be, all are thawed, and the error
    says which one and why. Each is seen frozen before the block is entered;
    that it is by the request of this block, and stays so, only
    :meth:`Frozen.verify` sees. On the way out, whatever is raised, the stages
    are thawed in reverse. A stage holds up the thaw of the one before it for
    3 seconds at most, then order counts less than thawing; but a request
    under way is waited for, for 30 seconds if the session has no timeout.

    Signals are the caller's: what ``client.sleep`` raises stops the freezing
    between two requests, and then everything is thawed.

    :param client: used for all requests
    :param stages: UUIDs of the servers of each stage
    :param timeout: how many seconds to wait for each stage to be quiesced,
        and, but not less than 120, for the last servers to be thawed
    :param unquiesce_after: after how many seconds of being frozen the cloud
        thaws a server by itself, for all servers or by UUID; None, or a UUID
        that is not there: what the cloud has configured, usually never
    :param progress: is told what is done next, in a sentence
    :param shield: makes a context in which ``client.sleep`` must not raise,
        entered while servers are thawed
    :returns: a context manager, to be entered once, of a :class:`Frozen`
    :raises ValueError: a stage is empty, a server is named twice, timeout is
        no number above 0, or unquiesce_after is no whole number above 0, or
        for a server that is not in a stage; nothing was asked
    :raises exceptions.QuiesceError: (on entering) a server could not be
        quiesced; all are thawed, and its ``report`` says what is known. It
        is a :class:`osc_quiesce.exceptions.SeveralErrors` if requests were
        never answered, and may still arrive: it names all of these servers
    :raises ThawFailed: servers may still be frozen; caused by the exception
        that the block was left with, if any
    """
    return Frozen(
        client, stages, timeout, unquiesce_after, progress, shield
    )._hold()


def _members(
    stages: Sequence[Sequence[str]],
    unquiesce_after: int | Mapping[str, int] | None,
) -> list[list[_Member]]:
    """Check what the caller wants, before anything is asked."""
    if not stages or not all(stages):
        raise ValueError('there is no stage, or one without a server')
    if any(isinstance(stage, str) for stage in stages):
        raise ValueError('a stage is a string, not a sequence of UUIDs')
    ids = [server_id for stage in stages for server_id in stage]
    for server_id in ids:
        if ids.count(server_id) > 1:
            raise ValueError(f'server {server_id} is named twice')
    if isinstance(unquiesce_after, Mapping):
        deadlines: Mapping[str, int] = unquiesce_after
    elif unquiesce_after is not None:
        deadlines = dict.fromkeys(ids, unquiesce_after)
    else:
        deadlines = {}
    for server_id, seconds in deadlines.items():
        if server_id not in ids:
            raise ValueError(f'server {server_id} is in no stage')
        quiesce_client.check_unquiesce_after(seconds)
    return [
        [_Member(server_id, deadlines.get(server_id)) for server_id in stage]
        for stage in stages
    ]


def _known(times: Iterable[float | None]) -> list[float]:
    return [time for time in times if time is not None]
