# SPDX-License-Identifier: Apache-2.0

"""The Python library: quiesce and unquiesce servers, and wait for it.

A request to quiesce bears an id that is chosen here, so it can be repeated,
and undone, without harm. Waiting looks at the server (``GET /servers/{id}``)
and at the instance action of the request; for several servers at once, at the
table of freezes (``GET /os-quiesce``). It knows no command line.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
import time
from typing import Any, Self

from keystoneauth1 import adapter as ksa_adapter
from keystoneauth1 import session as ksa_session

from osc_quiesce import api as quiesce_api
from osc_quiesce import errors
from osc_quiesce import http
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce import polling
from osc_quiesce import retry
from osc_quiesce import states
from osc_quiesce import verbs

Job = verbs.Job
Server = model.Server


class Client:
    """Quiesces and unquiesces servers.

    A server is given as a :class:`.model.Server` (as :meth:`find_server`
    returns it: then errors name it) or as a UUID. Methods that only read
    repeat their request for 10 seconds, then they raise
    :class:`.errors.Unreachable`. They raise :class:`.errors.Refused` if the
    caller may not see it.

    :param session: a :class:`keystoneauth1.session.Session`; needed unless
        an adapter is given
    :param adapter: a :class:`keystoneauth1.adapter.Adapter` of the compute
        endpoint, such as ``connection.compute`` of openstacksdk
    :param clock: returns seconds, never going back
    :param sleep: is called to pause; an exception that it raises ends a wait
    :param adapter_kwargs: for the adapter that is made of the session, such
        as ``region_name``, ``interface`` and ``endpoint_override``
    """

    def __init__(self, session: ksa_session.Session | None = None,
                 adapter: ksa_adapter.Adapter | None = None, *,
                 clock: Callable[[], float] = time.monotonic,
                 sleep: Callable[[float], object] = time.sleep,
                 **adapter_kwargs: Any) -> None:
        adapter = http.adapter_of(session, adapter, **adapter_kwargs)
        self.api = quiesce_api.QuiesceAPI(adapter)
        self.timer = retry.Timer(clock, sleep)

    def with_sleep(self, sleep: Callable[[float], object]) -> Self:
        """Return a client of the same cloud that pauses like this."""
        other = object.__new__(type(self))
        other.api = self.api
        other.timer = retry.Timer(self.timer.clock, sleep)
        return other

    # One request ----------------------------------------------------------

    def quiesce(self, server: Server | str, unquiesce_after: int | None = None,
                request_id: str | None = None) -> str:
        """Ask Nova to freeze the file systems of a server.

        Returns as soon as Nova accepts; see :meth:`wait_for_quiesced`. The
        request is repeated until it is answered, and carried out once. No
        attempt begins later than about 30 seconds after the first.

        :param unquiesce_after: seconds after which the cloud thaws the server
            automatically; by default as many as the cloud has configured
        :param request_id: of the request, ``req-`` and a UUID; a new one by
            default
        :returns: the id of the request
        :raises ValueError: unquiesce_after is not a whole number above 0
        :raises errors.Refused: nothing was changed
        :raises errors.Unreachable: no answer: the server may become quiesced
            all the same; :meth:`unquiesce` by its ``request_id`` undoes that
        """
        if unquiesce_after is not None:
            model.check_unquiesce_after(unquiesce_after)
        server = Server.of(server)
        request_id = request_id or model.new_request_id()
        job = Job(server, request_id)
        self.run(verbs.Freezing({server.id: unquiesce_after}
                                if unquiesce_after else None),
                 [[job]], 2 * retry.PATIENCE, wait=False)
        error = job.error
        if isinstance(error, errors.Refused) and job.action_id:
            error = errors.Unreachable(
                _('Server %(server)s: no usable answer came from Nova, which '
                  'has then refused the same request: %(why)s') % {
                      'server': server.label, 'why': error.why},
                server, why=error.why)
        if error:
            error.request_id = request_id
            raise error
        return request_id

    def unquiesce(self, server: Server | str,
                  request_id: str | None = None) -> model.Unquiesced:
        """Ask Nova to thaw the file systems of a server.

        Returns as soon as Nova answers; see :meth:`wait_for_unquiesced`. The
        request is repeated until it is answered. No attempt begins later than
        about 30 seconds after the first. A server that is not quiesced any
        more is no error.

        :param request_id: of a request to quiesce: only its freeze is ended,
            and if it has never arrived, it is withdrawn; by default, the
            freeze of any request is ended
        :returns: a :class:`.model.Unquiesced`: the id of the thaw, or what the
            request has become; without ``request_id``, ``ended`` may also mean
            that another request is thawing the server
        :raises errors.Refused: nothing was changed
        :raises errors.Unreachable: no usable answer in all that time
        """
        server = Server.of(server)
        if request_id:
            return self.timer.until_answered(
                lambda: self.api.unquiesce(server, request_id), retry.PATIENCE)
        job = self.unquiesce_all([server], wait=False)[server.id]
        if job.error:
            raise job.error
        return model.Unquiesced(
            job.action_id, None if job.action_id else states.ENDED)

    def get_server(self, server: Server | str) -> Server:
        """Return a :class:`.model.Server`: what Nova shows of it.

        :raises errors.ServerNotFound: there is none, or no longer
        """
        return self.timer.until_answered(lambda: self.api.server(Server.of(
            server)))

    def find_server(self, name_or_id: str,
                    all_projects: bool = False) -> Server:
        """Return the server with this UUID, or else with exactly this name.

        :param all_projects: whether to look for the name in all projects, and
            not only in the caller's own
        :raises errors.ServerNotFound: there is none
        :raises errors.AmbiguousName: several have this name
        """
        return self.timer.until_answered(lambda: self.api.find_server(
            name_or_id, all_projects))

    def freezes(self, servers: Collection[str] | None = None,
                all_projects: bool = False,
                request_id: str | None = None) -> list[model.Freeze]:
        """Return what is, or may be, frozen, as :class:`.model.Freeze`.

        :param servers: UUIDs, to leave out all others
        :param all_projects: in all projects, and not only in the caller's own
        :param request_id: of a request to quiesce, to leave out what others
            have frozen, and to add what it had frozen and is thawed. Then
            more than 50 servers leave nothing out
        :raises errors.NotInstalled: the cloud does not have the quiesce API
        """
        return self.timer.until_answered(lambda: self.api.freezes(
            servers, all_projects, request_id))

    def newest_actions(self, server: Server | str,
                       *kinds: Collection[str]) -> list[str | None]:
        """Return the id of a server's newest request of each kind, if any.

        :param kinds: names of instance actions
        :returns: None for a kind that is not among the last 50 requests
        """
        return self.timer.until_answered(lambda: self.api.newest_actions(
            Server.of(server), *kinds))

    def doubt(self, thaw: Job) -> str | None:
        """Return why a guest may not have been frozen until it was thawed.

        :param thaw: a thaw that has ended well
        :returns: what the guest told, or why that is not known; None if all
            is well
        """
        try:
            result = self.timer.until_answered(lambda: self.api.result(
                thaw.server, str(thaw.action_id)))
        except errors.QuiesceError as exc:
            return exc.why
        if result.result == states.SUCCESS:
            return None
        return result.reason or _('Nova does not show how its thaw ended')

    # Waiting --------------------------------------------------------------

    def wait_for_quiesced(self, server: Server | str, request_id: str | None,
                          timeout: float = retry.DEFAULT_TIMEOUT) -> Job:
        """Wait until a server is frozen by the request with this id.

        :param request_id: what :meth:`quiesce` returned
        :param timeout: seconds
        :returns: a :class:`.verbs.Job`: the server as it was last seen
        :raises errors.NotSupported: it cannot be; nothing was frozen
        :raises errors.Failed: the guest may be frozen
        :raises errors.NoLongerQuiesced: it was frozen, and thawed since
        :raises errors.QuiescedByAnother: another request has frozen it
        :raises errors.TimedOut: not in time, but perhaps later
        :raises errors.ServerGone: it was deleted
        :raises errors.Refused: the caller may not look, or no longer
        """
        job = Job(Server.of(server), request_id, request_id, is_accepted=True)
        return self._wait(verbs.Freezing(), job, timeout)

    def wait_for_unquiesced(self, server: Server | str, request_id: str | None,
                            timeout: float = retry.DEFAULT_TIMEOUT) -> Job:
        """Wait until a server is thawed.

        :param request_id: ``request_id`` of what :meth:`unquiesce` returned.
            If that is None, nothing was begun, and only the state of the
            server is looked at
        :param timeout: seconds
        :returns: a :class:`.verbs.Job`: the server as it was last seen
        :raises errors.Failed: the guest may still be frozen
        :raises errors.QuiescedByAnother: it was thawed, and frozen since by
            another request
        :raises errors.TimedOut: not in time, but perhaps later
        :raises errors.ServerGone: it was deleted
        """
        job = Job(Server.of(server), action_id=request_id, is_accepted=True)
        return self._wait(verbs.Unquiescing(), job, timeout)

    def _wait(self, verb: verbs.Verb, job: Job, timeout: float) -> Job:
        self.run(verb, [[job]], timeout)
        if job.error:
            raise job.error
        return job

    # Several servers ------------------------------------------------------

    def unquiesce_all(
            self, servers: Iterable[Server | str], wait: bool = True,
            timeout: float = retry.DEFAULT_TIMEOUT) -> dict[str, Job]:
        """Thaw servers, one after the other, of any request.

        What holds one up delays the next by 3 seconds at most. With ``wait``,
        trouble is outlasted until the time is up, and a refusal for 30
        seconds, unless the server is in the wrong state, locked or gone.
        Without it, trouble is outlasted for 30 seconds, and no refusal.

        :param servers: one that is given twice is thawed once
        :param wait: whether to wait until they are thawed
        :param timeout: seconds, for all together
        :returns: UUID of server to :class:`Job`; errors are in there, and not
            raised
        """
        jobs = {server.id: Job(server) for server in map(Server.of, servers)}
        self.run(verbs.Unquiescing(is_stubborn=wait),
                 [[job] for job in jobs.values()], timeout, wait=wait)
        return jobs

    def run(self, verb: verbs.Verb, stages: Sequence[Sequence[Job]],
            timeout: float, **options: Any) -> None:
        """Ask servers for something, and wait; :mod:`osc_quiesce.group` does.

        :param stages: what came of it is written in there
        :param options: see :class:`osc_quiesce.polling.Poller`
        """
        polling.Poller(
            self.api, self.timer, verb, stages, timeout, **options).run()
