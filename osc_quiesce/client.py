# SPDX-License-Identifier: Apache-2.0

"""The Python library: quiesce and unquiesce servers, and wait for it.

A thin layer on a keystoneauth adapter of Nova's compute API; it knows no
command line. Its rule is *freeze cautiously, thaw stubbornly*: a request to
quiesce is sent exactly once, a request to unquiesce until it is answered.
Every wait for Nova is bounded.

Source of the API: the Nova blueprint expose-quiesce-unquiesce-api. Waiting
looks at the server (``GET /servers/{id}``) and at the instance action of the
request (``GET /servers/{id}/os-instance-actions/{request_id}``), both in the
Nova API reference.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
import dataclasses
import datetime
import functools
import itertools
import re
import time
from typing import Any, Final, TypeVar
import uuid

from keystoneauth1 import adapter as ksa_adapter
from keystoneauth1 import session as ksa_session
import requests

from osc_quiesce import api
from osc_quiesce import exceptions
from osc_quiesce.i18n import _
from osc_quiesce import states
from osc_quiesce import threads
from osc_quiesce import transport

# All durations are in seconds.
DEFAULT_TIMEOUT: Final = 120.0
PATIENCE: Final = 30.0  # for one request that may be repeated
TRACE_PATIENCE: Final = 10.0  # for the trace of a lost request
SETTLE_TIME: Final = 5.0  # between a state and its action's result
ORDER_TIME: Final = 3.0  # that a freeze under way may hold up other thaws
CLOCKS_DIFFER: Final = 5.0  # by at most so much, within one cloud
REMEMBERED: Final = 8  # requests of ours to one server
FIRST_PAUSE: Final = 0.05
PAUSE_GROWTH: Final = 1.25
LONGEST_PAUSE: Final = 2.0

_ACCEPTED: Final = 202  # what Nova answers to an action
_MICROVERSION: Final = '2.1'  # vm_state, task_state and fault are all here
_ACTIONS_MICROVERSION: Final = '2.84'  # the first with details in events
_LONG_AGO: Final = datetime.datetime.min.replace(tzinfo=datetime.UTC)


@dataclasses.dataclass(frozen=True)
class Server:
    """What Nova says of a server: its names and states, as strings.

    :param fault: the message of its last fault, if it is in error
    """

    id: str
    name: str
    status: str
    vm_state: str | None = None
    task_state: str | None = None
    fault: str | None = None

    @classmethod
    def from_api(cls, body: Mapping[str, Any]) -> Server:
        """Return the server that this part of an answer describes."""
        return cls(
            id=body['id'],
            name=body.get('name') or '',
            status=body.get('status') or '',
            vm_state=body.get('OS-EXT-STS:vm_state'),
            task_state=body.get('OS-EXT-STS:task_state'),
            fault=(body.get('fault') or {}).get('message'),
        )


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How waiting for one server ended.

    :param server: what Nova last said of it; None if it was never seen, or
        if :meth:`Client.thaw` has found it gone
    :param request_id: the request that was waited for; None if unknown
    :param seconds: how long it was waited for
    :param error: why the state was not reached; None if it was
    :param unquiesce_at: when the cloud will thaw the server by itself; None
        if it will not
    :param thaw_request_id: the request to thaw it that :meth:`Client.thaw`
        sent; None if it sent none
    """

    server: Server | None
    request_id: str | None
    seconds: float
    error: exceptions.QuiesceError | None = None
    unquiesce_at: datetime.datetime | None = None
    thaw_request_id: str | None = None


@dataclasses.dataclass(frozen=True)
class _ActionResult:
    result: str | None  # states.SUCCESS, states.FAILURE or None: not known
    reason: str | None = None
    unquiesce_at: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True)
class _Arrival:
    """A server is where it was to get."""

    unquiesce_at: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True)
class _Look:
    """What one look at one server has shown, and when it ended.

    :param at: by the client's clock, in seconds
    """

    at: float
    server: Server | None = None
    arrival: _Arrival | None = None
    error: exceptions.QuiesceError | None = None


class Client:
    """Quiesces and unquiesces servers.

    :param session: a :class:`keystoneauth1.session.Session`; needed unless
        an adapter is given
    :param adapter: a :class:`keystoneauth1.adapter.Adapter` of the compute
        endpoint, used as it is
    :param clock: returns seconds, never going back
    :param sleep: sleeps for so many seconds; what it raises ends a wait, and
        may be replaced at any time through the attribute of this name
    :param adapter_kwargs: for the adapter that is made of the session, such
        as ``region_name``, ``interface`` and ``endpoint_override``
    """

    def __init__(
        self,
        session: ksa_session.Session | None = None,
        adapter: ksa_adapter.Adapter | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        **adapter_kwargs: Any,
    ) -> None:
        if adapter is None:
            if session is None:
                raise TypeError('a session or an adapter is needed')
            if session.timeout is None:
                session = transport.bounded(session)
            adapter_kwargs.setdefault('service_type', 'compute')
            if not adapter_kwargs.get('endpoint_override'):
                # Lets the catalog name the endpoint without its version.
                adapter_kwargs.setdefault('min_version', '2')
                adapter_kwargs.setdefault('max_version', '2.latest')
            adapter = ksa_adapter.Adapter(
                session, client_name='osc-quiesce', **adapter_kwargs
            )
        self._adapter = adapter
        self._clock = clock
        self.sleep = sleep
        self._sees_all_projects = True  # until Nova says otherwise
        # By server: when it was last known to be, or about to be, under way.
        self._under_way_at: dict[str, float] = {}
        # By server: our last requests that Nova has accepted, and those of
        # them that came before the newest one to quiesce. Nova's times need
        # not tell: its hosts have clocks of their own.
        self._own: dict[str, collections.deque[str]] = {}
        self._outdated: dict[str, frozenset[str]] = {}
        # By server: a time, by any clock of the cloud, before we sent the
        # first request to quiesce of which it is not known what became.
        self._lost_since: dict[str, datetime.datetime] = {}
        # What our clock's zero is by the API's clock, once it told the time.
        self._api_told_time = False
        self._zero = datetime.datetime.now(datetime.UTC) - datetime.timedelta(
            seconds=clock()
        )

    @property
    def clock(self) -> Callable[[], float]:
        """Returns seconds, never going back: the time that waits go by."""
        return self._clock

    # Asking ---------------------------------------------------------------

    def quiesce(
        self,
        server_id: str,
        unquiesce_after: int | None = None,
        patience: float = PATIENCE,
    ) -> str | None:
        """Ask Nova to freeze the file systems of a server.

        Returns as soon as Nova accepts; see :meth:`wait_for_quiesced`. The
        request is sent once, and again only if Nova has refused it for the
        time being and said when to come back (``Retry-After``). If no answer
        comes, the server's instance actions are searched for it, for up to 10
        seconds: if it is there it was accepted, and its id is returned as if
        nothing had happened.

        :param server_id: UUID of the server
        :param unquiesce_after: after how many seconds of being frozen the
            cloud thaws the server if nobody has asked for it before; by
            default what the cloud has configured, usually never
        :param patience: for how many seconds to come back if Nova asks for
            that; 0: :meth:`pause_before_retry` tells when to
        :returns: Nova's id of the request, ``req-...``; None in the unlikely
            case that the answer has none
        :raises ValueError: unquiesce_after is not a whole number above 0
        :raises exceptions.Refused: nothing was changed
        :raises exceptions.RequestLost: no answer and no trace: the server
            may become quiesced all the same; :meth:`thaw` deals with it
        """
        details = None
        if unquiesce_after is not None:
            check_unquiesce_after(unquiesce_after)
            details = {'unquiesce_after': unquiesce_after}
        sent = self._clock()
        # Not afterwards: our clock may have stood still with the machine.
        since = (
            self._api_time(sent - CLOCKS_DIFFER)
            if self._api_told_time
            else _LONG_AGO
        )
        try:
            return self._ask_to_quiesce(server_id, details, patience)
        except exceptions.Unreachable as exc:
            self._lost_since.setdefault(server_id, since)
            request_id = self._trace(server_id, states.QUIESCE, sent)
            if request_id:
                return self._noted(server_id, states.QUIESCE, request_id)
            raise exceptions.RequestLost(
                _('was asked to quiesce, but no answer came: %s')
                % exc.message,
                server_id=server_id,
            ) from exc

    def _ask_to_quiesce(
        self, server_id: str, details: dict[str, int] | None, patience: float
    ) -> str | None:
        """Send the request, and again if Nova asks to come back later."""
        started = self._clock()
        while True:
            try:
                return self._act(server_id, states.QUIESCE, details)
            except exceptions.ServiceUnavailable as exc:
                pause = self.pause_before_retry(exc, started, patience)
                if not pause:
                    raise
                self.sleep(pause)

    def pause_before_retry(
        self,
        refused: exceptions.Refused,
        started: float,
        patience: float = PATIENCE,
    ) -> float:
        """Return in how many seconds to ask to quiesce again; 0: not at all.

        For who has to know, while waiting, that nothing was accepted so far.

        :param refused: what :meth:`quiesce` raised
        :param started: when it was first asked, by :attr:`clock`
        :param patience: for how many seconds after that it may be asked
        """
        pause: float = getattr(refused, 'retry_after', 0.0)
        return pause if self._clock() + pause <= started + patience else 0.0

    def unquiesce(
        self, server_id: str, patience: float = PATIENCE
    ) -> str | None:
        """Ask Nova to thaw the file systems of a server.

        Returns as soon as Nova accepts; see :meth:`wait_for_unquiesced`. A
        thaw does no harm when it is repeated, so it is, until Nova answers.

        :param server_id: UUID of the server
        :param patience: for how many seconds to repeat a request that gets
            no usable answer, or one of 429 and 5xx
        :returns: Nova's id of the request, as in :meth:`quiesce`
        :raises exceptions.Refused: nothing was changed
        :raises exceptions.Unreachable: no usable answer in all that time
        """
        started = self._clock()
        lost = False
        waits = pauses()
        while True:
            try:
                return self._act(server_id, states.UNQUIESCE)
            except exceptions.Conflict:
                # Perhaps an earlier attempt was heard after all.
                request_id = lost and self._trace(
                    server_id, states.UNQUIESCE, started
                )
                if request_id:
                    return request_id
                raise
            except (
                exceptions.Unreachable,
                exceptions.ServiceUnavailable,
            ) as exc:
                lost = lost or isinstance(exc, exceptions.Unreachable)
                pause = max(next(waits), exc.retry_after)
                if self._clock() + pause > started + patience:
                    raise
                self.sleep(pause)

    # Looking --------------------------------------------------------------

    def get_server(self, server_id: str) -> Server:
        """Return what Nova says of a server, from a single request.

        :param server_id: UUID of the server
        :raises exceptions.ServerNotFound: there is none, or no longer
        :raises exceptions.Refused: the caller may not see it
        :raises exceptions.Unreachable: no usable answer
        """
        body = self._read(f'/servers/{transport.quoted(server_id)}', server_id)
        with transport.understood(server_id):
            return Server.from_api(body['server'])

    def not_quiesced_by(
        self,
        quiesce_requests: Mapping[str, str | None],
        patience: float = TRACE_PATIENCE,
    ) -> list[exceptions.QuiesceError]:
        """Return why servers are not quiesced by these requests any more.

        A server still is if its states say so, and its newest instance
        action of the two verbs is the request to quiesce that is given here.
        One that cannot be checked counts as one that is not. Takes one
        request for each server, and one for the states of all of them if the
        caller may list them.

        :param quiesce_requests: UUID of server to what :meth:`quiesce`
            returned
        :param patience: for how many seconds, for all together, to repeat a
            request that gets no usable answer
        :returns: an error for each server that is not; empty if all are
        """
        deadline = self._clock() + patience

        def patiently(read: Callable[..., _T], *args: object) -> _T:
            # Servers are frozen: the time is for all of them together.
            return self._patiently(
                functools.partial(read, *args), deadline - self._clock()
            )

        listed = self._list_quiesced(quiesce_requests)

        def error_of(
            item: tuple[str, str | None],
        ) -> exceptions.QuiesceError | None:
            server_id, request_id = item
            try:
                server = listed.get(server_id) or patiently(
                    self.get_server, server_id
                )
                # After the state: a thaw since then shows here.
                newest = patiently(
                    self._newest_request,
                    server_id,
                    (states.QUIESCE, states.UNQUIESCE),
                )
            except exceptions.QuiesceError as exc:
                exc.server_id = server_id
                return exc
            if server.vm_state != states.QUIESCED:
                message = _('is not quiesced any more')
            elif server.task_state is not None:
                message = _('is about to leave its quiesced state')
            elif request_id is None or newest != request_id:
                message = _(
                    'is quiesced, but its newest request, as far as the '
                    'caller may know, is not ours but %s'
                ) % (newest or _('unknown'))
            else:
                return None
            return _error(exceptions.Superseded, server, message, request_id)

        errors = threads.at_once(error_of, quiesce_requests.items())
        return [error for error in errors if error]

    def find_server(
        self, name_or_id: str, patience: float = TRACE_PATIENCE
    ) -> Server:
        """Return the server with this UUID, or else with exactly this name.

        Names are looked up in the caller's own project.

        :param name_or_id: UUID or name
        :param patience: for how many seconds to repeat a request that gets
            no usable answer
        :raises exceptions.ServerNotFound: there is none
        :raises exceptions.AmbiguousName: several have this name
        :raises exceptions.Refused: the caller may not look
        :raises exceptions.Unreachable: no usable answer in all that time
        """
        if _is_uuid(name_or_id):
            try:
                return self._patiently(
                    lambda: self.get_server(name_or_id), patience
                )
            except exceptions.ServerNotFound:
                pass  # a name may look like an ID
        # Nova takes the name as a regular expression, found anywhere.
        query = {'name': f'^{re.escape(name_or_id)}$'}
        found = self._patiently(
            lambda: [
                server
                for server in self._list(query)
                if server.name == name_or_id
            ],
            patience,
        )
        if not found:
            raise exceptions.ServerNotFound(
                _('No server has the name or ID "%s"') % name_or_id
            )
        if len(found) > 1:
            raise exceptions.AmbiguousName(
                _('%(count)d servers have the name "%(name)s": %(ids)s')
                % {
                    'count': len(found),
                    'name': name_or_id,
                    'ids': ', '.join(server.id for server in found),
                }
            )
        return found[0]

    # Waiting --------------------------------------------------------------

    def wait_for_quiesced(
        self,
        server_id: str,
        request_id: str | None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Outcome:
        """Wait until a server is frozen by the request with this id.

        :param server_id: UUID of the server
        :param request_id: what :meth:`quiesce` returned
        :param timeout: how many seconds to wait at most
        :raises exceptions.NotSupported: it cannot be; nothing was frozen
        :raises exceptions.Failed: the server is in error
        :raises exceptions.Superseded: it was frozen, and thawed since
        :raises exceptions.TimedOut: not in time, but perhaps later
        :raises exceptions.ServerGone: it was deleted
        :raises exceptions.Refused: the caller may not look, or no longer
        """
        return self._wait_for_one(
            server_id, request_id, states.QUIESCED, timeout
        )

    def wait_for_unquiesced(
        self,
        server_id: str,
        request_id: str | None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Outcome:
        """Wait until a server is thawed.

        Parameters and errors are those of :meth:`wait_for_quiesced`, with
        the request that :meth:`unquiesce` returned.
        """
        return self._wait_for_one(
            server_id, request_id, states.ACTIVE, timeout
        )

    def wait_for(
        self,
        requests_by_server: Mapping[str, str | None],
        vm_state: str,
        timeout: float = DEFAULT_TIMEOUT,
        stop_at_error: bool = False,
        ours: bool = True,
    ) -> dict[str, Outcome]:
        """Wait until each server got there, or certainly will not.

        While several are under way, a look at all of them takes a listing of
        those, and one of what has changed since the look before.

        :param requests_by_server: UUID of server to request id
        :param vm_state: ``states.QUIESCED`` or ``states.ACTIVE``
        :param timeout: how many seconds to wait at most, for all together
        :param stop_at_error: whether the first error ends the wait for all;
            those that were still under way are then not in the answer
        :param ours: whether a server counts as quiesced only if it is by the
            request given here: seeing that takes one more request for each
            server, when it has arrived. Otherwise ``unquiesce_at`` stays
            unknown, and whose request it was is left to
            :meth:`not_quiesced_by` and to :meth:`thaw`.
        :returns: UUID of server to :class:`Outcome`, of every server; errors
            are in there, and not raised
        """
        if vm_state == states.QUIESCED:
            step: _Step = functools.partial(self._wait_frozen, ours)
            moving = states.QUIESCING
        else:
            step, moving = self._wait_thawed, states.UNQUIESCING
        return self._watch(
            requests_by_server,
            vm_state,
            timeout,
            step,
            moving,
            stop_at_error=stop_at_error,
        )

    def thaw(
        self,
        quiesce_requests: Mapping[str, str | None],
        timeout: float = DEFAULT_TIMEOUT,
        in_order: bool = True,
        quiesced: Collection[str] = (),
        asked: Mapping[str, str] | None = None,
    ) -> dict[str, Outcome]:
        """Make sure that servers do not stay frozen by these requests.

        Deals with every state in which a request to quiesce can have left a
        server, also with one that is not finished yet. One that was never
        answered is waited for, for 5 seconds; it may arrive even later.

        :param quiesce_requests: UUID of server to what :meth:`quiesce`
            returned, or to None if it did not return. A server is left alone
            that somebody else has quiesced again since, or, if there is no
            id, had certainly quiesced before.
        :param timeout: after how many seconds to begin no further look, for
            all together; a request under way may take as long as the session
            lets it, 30 seconds if that has no timeout, and ten are under way
            at once, or one if in_order
        :param in_order: whether to ask the servers in the order given, and
            then to wait for them together: one that cannot be asked yet,
            since its freeze is under way, holds up those after it for 3
            seconds at most; then order counts less than thawing. Otherwise
            all are asked at the same time.
        :param quiesced: UUIDs of those that were seen quiesced: they are
            asked without another look, so that they stay frozen for less
            long
        :param asked: UUID of server to the ``thaw_request_id`` of an earlier
            call that did not see it thawed: it is asked again only if that
            was in vain
        :returns: UUID of server to :class:`Outcome`, of every server; errors
            are in there, and not raised. A server that is gone is no error.
        """
        thaw_requests: dict[str, str | None] = dict(asked or {})
        outcomes = self._watch(
            quiesce_requests,
            states.ACTIVE,
            timeout,
            functools.partial(self._thaw_if_frozen, thaw_requests),
            states.UNQUIESCING,
            begin=functools.partial(
                self._thaw_unseen, thaw_requests, quiesced
            ),
            begun=thaw_requests,
            in_order=in_order,
        )
        for server_id, outcome in outcomes.items():
            outcome = dataclasses.replace(
                outcome, thaw_request_id=thaw_requests.get(server_id)
            )
            if isinstance(outcome.error, exceptions.ServerGone):
                outcome = dataclasses.replace(outcome, server=None, error=None)
            if outcome.error is None or isinstance(
                outcome.error, exceptions.Superseded
            ):
                self._lost_since.pop(server_id, None)  # dealt with
            outcomes[server_id] = outcome
        return outcomes

    def _wait_for_one(
        self,
        server_id: str,
        request_id: str | None,
        vm_state: str,
        timeout: float,
    ) -> Outcome:
        outcome = self.wait_for({server_id: request_id}, vm_state, timeout)[
            server_id
        ]
        if outcome.error:
            raise outcome.error
        return outcome

    def _watch(
        self,
        requests_by_server: Mapping[str, str | None],
        vm_state: str,
        timeout: float,
        step: _Step,
        moving: str,
        begin: Callable[[str, str | None], bool] | None = None,
        begun: Iterable[str] = (),
        in_order: bool = False,
        stop_at_error: bool = False,
    ) -> dict[str, Outcome]:
        """Look at servers again and again until a step ends each of them.

        :param vm_state: what they are to become; for messages
        :param step: is given a server, its request id, and whether its state
            had time to settle; returns its arrival, or None while it has not
            arrived; raises if it will not, or if this look was of no use
        :param moving: task_state of servers that need no step
        :param begin: is given a server's UUID and its request id, once, and
            returns whether that makes the first look superfluous
        :param begun: those that have begun before
        :param in_order: whether a freeze under way holds up those after it
        :param stop_at_error: whether to leave out what is still under way
            when the first error is seen
        """
        started = self._clock()
        pending = dict(requests_by_server)
        last: dict[str, Server] = {}
        at_rest_since: dict[str, float] = {}
        begun = set(begun)
        outcomes: dict[str, Outcome] = {}
        trouble: exceptions.QuiesceError | None = None
        waits = pauses()
        missed = False  # whether the last listings did not come

        def end(
            server_id: str,
            at: float,
            error: exceptions.QuiesceError | None = None,
            unquiesce_at: datetime.datetime | None = None,
        ) -> None:
            outcomes[server_id] = Outcome(
                server=last.get(server_id),
                request_id=pending.pop(server_id),
                seconds=at - started,
                error=error,
                unquiesce_at=unquiesce_at,
            )
            if not isinstance(error, exceptions.TimedOut):
                self._under_way_at.pop(server_id, None)

        def look_at(server_id: str) -> _Look:
            server = None
            try:
                if begin and server_id not in begun:
                    begun.add(server_id)
                    if begin(server_id, pending[server_id]):
                        return _Look(self._clock())
                server = listed.get(server_id) or self.get_server(server_id)
                now = self._clock()
                if server.task_state is not None:
                    at_rest_since.pop(server_id, None)
                settled = now - at_rest_since.setdefault(server_id, now)
                arrival = step(
                    server, pending[server_id], settled >= SETTLE_TIME
                )
                # When all looks have ended, the first of many is old.
                return _Look(self._clock(), server, arrival)
            except exceptions.QuiesceError as exc:
                return _Look(self._clock(), server, error=exc)

        if not begin:  # what was only just asked for cannot be done yet
            self.sleep(min(FIRST_PAUSE, timeout))
        while True:
            pause = next(waits)
            trouble = None
            looked = self._clock()
            under_way: dict[str, Server] = {}
            listed: dict[str, Server] = {}
            if not begin or begun:
                try:
                    under_way = self._list_under_way(pending, moving)
                    listed = self._list_changed(
                        pending.keys() - under_way.keys()
                    )
                    missed = False
                except exceptions.QuiesceError as exc:
                    trouble = exc
                    pause = max(pause, getattr(exc, 'retry_after', 0.0))
                    # A cloud in trouble is spared a request for each server,
                    # every other time. But a thaw depends on no listing.
                    missed = not missed
                    if missed and not begin:
                        under_way = {**last, **under_way}
            last.update(under_way)
            ids = [id_ for id_ in pending if id_ not in under_way]
            looks: Iterable[_Look]
            if in_order:
                looks = map(look_at, ids)
            else:
                looks = threads.at_once(look_at, ids)
            for server_id, look in zip(ids, looks):
                if look.server:
                    last[server_id] = look.server
                if look.arrival:
                    end(
                        server_id,
                        look.at,
                        unquiesce_at=look.arrival.unquiesce_at,
                    )
                elif isinstance(
                    look.error,
                    (exceptions.Unreachable, exceptions.ServiceUnavailable),
                ):
                    trouble = look.error
                    pause = max(pause, look.error.retry_after)
                elif isinstance(look.error, exceptions.ServerNotFound):
                    end(
                        server_id,
                        look.at,
                        _error(
                            exceptions.ServerGone,
                            last.get(server_id) or server_id,
                            _('was deleted meanwhile'),
                        ),
                    )
                elif look.error:
                    end(server_id, look.at, look.error)
                if (
                    in_order
                    and server_id in pending
                    and server_id in last
                    and last[server_id].task_state == states.QUIESCING
                    and self._clock() < started + ORDER_TIME
                ):
                    break
            left = started + timeout - self._clock()
            if not pending or left <= 0:
                break
            if stop_at_error and any(o.error for o in outcomes.values()):
                return outcomes
            # Looking is not to be most of what the cloud has to do.
            pause = max(pause, min(self._clock() - looked, LONGEST_PAUSE))
            self.sleep(min(pause, left))

        for server_id in list(pending):
            message = _('did not become %(state)s within %(seconds)g s') % {
                'state': vm_state,
                'seconds': timeout,
            }
            if trouble:
                message += f': {trouble.message}'
            end(
                server_id,
                self._clock(),
                _error(
                    exceptions.TimedOut,
                    last.get(server_id) or server_id,
                    message,
                    pending[server_id],
                ),
            )
        return {id_: outcomes[id_] for id_ in requests_by_server}

    # Judging one look at one server ---------------------------------------

    def _wait_frozen(
        self,
        ours: bool,
        server: Server,
        request_id: str | None,
        settled: bool,
    ) -> _Arrival | None:
        if server.task_state is not None:
            return None
        if server.vm_state == states.ERROR:
            raise self._failed(server, request_id)
        if server.vm_state == states.QUIESCED and not ours:
            return _Arrival()
        action = self._action_result(server.id, request_id)
        if server.vm_state == states.QUIESCED:
            if action.result == states.FAILURE:
                raise _error(
                    exceptions.Superseded,
                    server,
                    _('is quiesced, but by somebody else: our request failed'),
                    request_id,
                )
            if settled or action.result == states.SUCCESS:
                return _Arrival(action.unquiesce_at)
            return None
        if action.result == states.FAILURE:
            raise _error(
                exceptions.NotSupported,
                server,
                _('cannot be quiesced: %s')
                % (action.reason or _('Nova gives the caller no reason')),
                request_id,
            )
        if action.result == states.SUCCESS:
            message = _('was quiesced, but was thawed again by somebody else')
            if action.unquiesce_at:
                message = _(
                    'was quiesced, but was thawed again; it was to be thawed '
                    'at %s at the latest'
                ) % time_text(action.unquiesce_at)
            raise _error(exceptions.Superseded, server, message, request_id)
        if settled:
            raise _error(
                exceptions.NotSupported,
                server,
                _('was not quiesced, and its instance action tells no why'),
                request_id,
            )
        return None

    def _wait_thawed(
        self, server: Server, request_id: str | None, settled: bool
    ) -> _Arrival | None:
        if server.task_state == states.UNQUIESCING:
            return None
        if server.vm_state == states.ERROR:
            raise self._failed(server, request_id)
        if server.vm_state != states.QUIESCED:
            return _Arrival()
        if server.task_state is not None:
            return None
        action = self._action_result(server.id, request_id)
        if action.result == states.SUCCESS:
            raise _error(
                exceptions.Superseded,
                server,
                _('was thawed, but was quiesced again by somebody else'),
                request_id,
            )
        if settled or action.result == states.FAILURE:
            raise self._failed(server, request_id, action)
        return None

    def _thaw_unseen(
        self,
        asked: dict[str, str | None],
        quiesced: Collection[str],
        server_id: str,
        quiesce_request: str | None,
    ) -> bool:
        """Ask a server to thaw if it was seen quiesced, without a look at it.

        :returns: whether it was asked; if not, a look has to tell more
        """
        if (
            server_id not in quiesced
            or self._newest_request(server_id) != quiesce_request
        ):
            return False
        try:
            asked[server_id] = self._act(server_id, states.UNQUIESCE)
        except exceptions.Conflict:
            return False
        return True

    def _thaw_if_frozen(
        self,
        asked: dict[str, str | None],
        server: Server,
        quiesce_request: str | None,
        settled: bool,
    ) -> _Arrival | None:
        if server.task_state in (states.QUIESCING, states.UNQUIESCING):
            return None
        if server.vm_state == states.ERROR:
            raise self._failed(server, None)
        if server.vm_state != states.QUIESCED:
            # A request that was never answered may still be on its way.
            if quiesce_request is not None or settled:
                return _Arrival()
            return None
        try:
            is_theirs = quiesce_request and self._was_quiesced_again(
                server.id, quiesce_request
            )
        except exceptions.Unreachable:
            # When in doubt it is frozen because of us.
            if not settled:
                raise
            is_theirs = False
        if is_theirs:
            raise _error(
                exceptions.Superseded,
                server,
                _('was thawed, and quiesced again by somebody else: left so'),
                quiesce_request,
            )
        if quiesce_request is None and self._was_refused(server.id):
            if not settled:
                return None  # as above: it may be thawed, and ours arrive
            raise _error(
                exceptions.Superseded,
                server,
                _(
                    'was quiesced by somebody else before our request, which '
                    'was never answered: left so'
                ),
            )
        try:
            asked[server.id] = self._act(server.id, states.UNQUIESCE)
        except exceptions.Conflict:
            pass  # its state has changed since: the next look will tell
        return None

    def _was_quiesced_again(
        self, server_id: str, quiesce_request: str
    ) -> bool:
        """Return whether somebody else has quiesced it since our request.

        The times in Nova's records are by the clocks of its hosts, so a
        request of somebody else that came before ours may seem to have come
        after it. Then the records tell of an order that cannot be: that the
        server was quiesced twice without a thaw in between, or thawed at
        last. When in doubt it is frozen because of us.
        """
        later: list[dict[str, Any]] = []
        ours = None
        for action in self._recorded(
            server_id, (states.QUIESCE, states.UNQUIESCE)
        ):
            if action.get('request_id') == quiesce_request:
                ours = action
                break
            # One that failed has changed nothing.
            if action.get('message') != 'Error':
                later.insert(0, action)
        if ours and ours.get('message') == 'Error':
            return True
        names = [states.QUIESCE, *(action['action'] for action in later)]
        if states.QUIESCE not in names[1:]:
            return False
        own = self._own.get(server_id, ())
        # Thawed by us: what comes before our request is left out.
        if ours is None or any(
            action.get('request_id') in own for action in later
        ):
            return True
        if names[-1] == states.QUIESCE and all(
            states.UNQUIESCE in pair for pair in itertools.pairwise(names)
        ):
            return True
        with transport.understood(server_id):
            first, last = (
                transport.parse_nova_date(action['start_time'])
                for action in (ours, later[-1])
            )
        # Else clocks that differ do not explain it.
        return (last - first).total_seconds() > CLOCKS_DIFFER

    def _was_refused(self, server_id: str) -> bool:
        """Return whether Nova cannot have accepted our lost request so far.

        That is certain only if all requests to quiesce this server are older:
        Nova records one before it freezes, and refuses it if it is quiesced.
        When in doubt it may be frozen because of us.
        """
        lost_since = self._lost_since.get(server_id)
        if lost_since is None:
            return False
        try:
            newest = self._recorded(server_id)[:1]
            with transport.understood(server_id):
                return any(
                    action['request_id'] not in self._own.get(server_id, ())
                    and transport.parse_nova_date(action['start_time'])
                    < lost_since
                    for action in newest
                )
        except exceptions.Unreachable:
            return False

    def _failed(
        self,
        server: Server,
        request_id: str | None,
        action: _ActionResult | None = None,
    ) -> exceptions.QuiesceError:
        action = action or self._action_result(server.id, request_id)
        return _error(
            exceptions.Failed,
            server,
            _('failed: %s')
            % (
                action.reason
                or server.fault
                or _('Nova gives the caller no reason')
            ),
            request_id,
        )

    # Requests -------------------------------------------------------------

    def _act(
        self,
        server_id: str,
        action: str,
        details: dict[str, int] | None = None,
    ) -> str | None:
        """Send one request, once, and return its id."""
        self._under_way_at[server_id] = self._clock()
        response = self._send(
            'POST',
            f'/servers/{transport.quoted(server_id)}/action',
            server_id,
            json={action: details},
            microversion=_MICROVERSION,
        )
        if response.status_code in (429, 503):
            # Nova, or what stands before it, did not even begin.
            error = exceptions.ServiceUnavailable(
                _('is left as it was: %s') % transport.text_of(response),
                server_id=server_id,
            )
            error.http_status = response.status_code
            error.retry_after = transport.retry_after(response)
            raise error
        transport.raise_for_status(response, server_id)
        if response.status_code != _ACCEPTED:
            # Such as the page of a proxy that wants somebody to log in.
            raise exceptions.Unreachable(
                _('the answer of the compute endpoint is not one of Nova'),
                server_id=server_id,
            )
        headers = response.headers
        return self._noted(
            server_id,
            action,
            headers.get('x-openstack-request-id')
            or headers.get('x-compute-request-id'),
        )

    def _noted(
        self, server_id: str, action: str, request_id: str | None
    ) -> str | None:
        """Remember a request that Nova has accepted, and return its id."""
        own = self._own.setdefault(
            server_id, collections.deque(maxlen=REMEMBERED)
        )
        if action == states.QUIESCE:
            self._outdated[server_id] = frozenset(own)
            self._lost_since.pop(server_id, None)  # it was not frozen
        if request_id:
            own.append(request_id)
        return request_id

    def _list_under_way(
        self, pending: Collection[str], task_state: str
    ) -> dict[str, Server]:
        """Return those with this task_state, as far as one listing tells."""
        if len(pending) < 2 or not self._sees_all_projects:
            return {}
        now = self._clock()
        query = {'all_tenants': '1', 'task_state': task_state}
        try:
            listed = list(self._list(query))
        except exceptions.Refused:
            listed = []
            self._sees_all_projects = False
        # For others than administrators Nova silently ignores this filter.
        if any(server.task_state != task_state for server in listed):
            self._sees_all_projects = False
        under_way = {
            server.id: server
            for server in listed
            if server.id in pending and server.task_state == task_state
        }
        self._under_way_at.update(dict.fromkeys(under_way, now))
        return under_way

    def _list_changed(self, wanted: Collection[str]) -> dict[str, Server]:
        """Return those that have changed since they were last under way.

        As far as one listing tells: who is not in there may have changed all
        the same, if clocks differ by more than they should. Nova lists what
        was deleted, too; that is left out.
        """
        times = [
            at
            for at in map(self._under_way_at.get, wanted)
            if at is not None
        ]
        if len(times) < 2:
            return {}
        since = time_text(self._api_time(min(times) - CLOCKS_DIFFER))
        try:
            listed = self._list_visible({'changes-since': since})
        except exceptions.Refused:
            return {}
        return {
            server.id: server
            for server in listed
            if server.id in wanted and server.vm_state != states.DELETED
        }

    def _list_quiesced(self, wanted: Collection[str]) -> dict[str, Server]:
        """Return those that are quiesced, as far as one listing tells."""
        if len(wanted) < 2:
            return {}
        query = {'status': states.QUIESCED.upper()}
        try:
            return {server.id: server for server in self._list_visible(query)}
        except exceptions.QuiesceError:
            return {}

    def _list_visible(self, query: dict[str, str]) -> list[Server]:
        """Return servers of all projects, or else of the caller's own."""
        if self._sees_all_projects:
            try:
                return list(self._list({'all_tenants': '1', **query}))
            except exceptions.Forbidden:
                self._sees_all_projects = False
        return list(self._list(query))

    def _list(self, query: dict[str, str]) -> Iterator[Server]:
        """Yield servers page by page."""
        for body in api.list_servers(self._read, query):
            with transport.understood():
                server = Server.from_api(body)
            yield server

    def _action_result(
        self, server_id: str, request_id: str | None
    ) -> _ActionResult:
        """Return how the instance action of a request ended, if it did."""
        if not request_id:
            return _ActionResult(None)
        try:
            body = self._read(
                f'/servers/{transport.quoted(server_id)}/os-instance-actions/'
                f'{transport.quoted(request_id)}',
                server_id,
                _ACTIONS_MICROVERSION,
            )
        except exceptions.Refused:
            return _ActionResult(None)  # not recorded, or not for the caller
        with transport.understood(server_id):
            return self._judge_action(body['instanceAction'])

    @staticmethod
    def _judge_action(action: Mapping[str, Any]) -> _ActionResult:
        result = api.result_of(action)
        if result.result != states.SUCCESS:
            return _ActionResult(result.result, result.reason)
        deadlines = [
            transport.parse_nova_date(event['finish_time'])
            for event in action['events']
            if event['event'] == states.DEADLINE_EVENT
        ]
        return _ActionResult(
            states.SUCCESS, unquiesce_at=next(iter(deadlines), None)
        )

    def _actions(self, server_id: str) -> list[dict[str, Any]]:
        """Return the instance actions, newest first."""
        body = self._read(
            f'/servers/{transport.quoted(server_id)}/os-instance-actions',
            server_id,
            _ACTIONS_MICROVERSION,
        )
        with transport.understood(server_id):
            actions: list[dict[str, Any]] = body['instanceActions'] or []
            actions.sort(key=lambda a: str(a['start_time']), reverse=True)
        return actions

    def _newest_request(
        self, server_id: str, names: Collection[str] = (states.QUIESCE,)
    ) -> str | None:
        """Return the id of the newest action with one of these names."""
        for action in self._recorded(server_id, names):
            return action.get('request_id')
        return None

    def _recorded(
        self, server_id: str, names: Collection[str] = (states.QUIESCE,)
    ) -> list[dict[str, Any]]:
        """Return the actions with these names, as far as they are shown.

        The newest first, without those of ours that are certainly older.
        """
        try:
            actions = self._actions(server_id)
        except exceptions.Refused:
            return []
        outdated = self._outdated.get(server_id, frozenset())
        return [
            action
            for action in actions
            if action.get('action') in names
            and action.get('request_id') not in outdated
        ]

    def _trace(
        self, server_id: str, action_name: str, sent: float
    ) -> str | None:
        """Return the id under which Nova recorded a request of ours, if any.

        Nova does not record the id that a caller gives to a request. So the
        newest action of this name is taken for ours, if the same user
        started it, not before our request was sent by the API's own clock.

        :param sent: when it was sent, by this client's clock
        """

        def find() -> str | None:
            try:
                actions = self._actions(server_id)
            except exceptions.Refused:
                return None
            user_id = self._adapter.get_user_id()
            # Two seconds: the Date header has no fractions, and the clocks
            # of several controllers may differ a little.
            not_before = self._api_time(sent - 2)
            with transport.understood(server_id):
                for action in actions:
                    if (
                        action.get('action') == action_name
                        and action['request_id']
                        not in self._own.get(server_id, ())
                        and (not user_id or action.get('user_id') == user_id)
                        and transport.parse_nova_date(action['start_time'])
                        >= not_before
                    ):
                        return action['request_id']
            return None

        deadline = self._clock() + TRACE_PATIENCE
        waits = pauses()
        while True:
            try:
                request_id = find()
                pause = next(waits)
            except exceptions.Unreachable as exc:
                request_id = None
                pause = max(next(waits), exc.retry_after)
            if request_id or self._clock() + pause > deadline:
                return request_id
            self.sleep(pause)

    def _patiently(self, read: Callable[[], _T], patience: float) -> _T:
        """Return what a read returns, repeating it while it is of no use."""
        deadline = self._clock() + patience
        waits = pauses()
        while True:
            try:
                return read()
            except exceptions.Unreachable as exc:
                pause = max(next(waits), exc.retry_after)
                if self._clock() + pause > deadline:
                    raise
                self.sleep(pause)

    def _read(
        self,
        path: str,
        server_id: str | None = None,
        microversion: str = _MICROVERSION,
    ) -> dict[str, Any]:
        response = self._send(
            'GET', path, server_id, microversion=microversion
        )
        transport.raise_for_status(response, server_id)
        return transport.json_of(response, server_id)

    def _send(
        self, method: str, path: str, server_id: str | None, **kwargs: Any
    ) -> requests.Response:
        response = transport.send(
            self._adapter, method, path, server_id, **kwargs
        )
        date = transport.parse_http_date(response.headers.get('date'))
        if date:
            self._zero = date - datetime.timedelta(seconds=self._clock())
            self._api_told_time = True
        return response

    def _api_time(self, at: float) -> datetime.datetime:
        """Return what the API's clock shows at a time of our clock."""
        return self._zero + datetime.timedelta(seconds=at)


_T = TypeVar('_T')
_Step = Callable[[Server, 'str | None', bool], '_Arrival | None']


def check_unquiesce_after(seconds: int) -> None:
    """Raise ValueError unless this is a whole number of seconds above 0."""
    if type(seconds) is not int or seconds < 1:
        raise ValueError(
            f'unquiesce_after is {seconds!r}, not a whole '
            'number of seconds above 0'
        )


def time_text(when: datetime.datetime) -> str:
    """Return how messages and tables write a time, in UTC."""
    return when.astimezone(datetime.UTC).strftime('%Y-%m-%dT%H:%M:%SZ')


def pauses() -> Iterator[float]:
    """Yield pauses between two looks: short at first, then longer."""
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE)


def _error(
    error_class: type[exceptions.QuiesceError],
    server: Server | str,
    message: str,
    request_id: str | None = None,
) -> exceptions.QuiesceError:
    if isinstance(server, str):
        return error_class(message, server_id=server, request_id=request_id)
    return error_class(
        message,
        server_id=server.id,
        server_name=server.name,
        vm_state=server.vm_state,
        task_state=server.task_state,
        request_id=request_id,
    )


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
