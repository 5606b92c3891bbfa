# SPDX-License-Identifier: Apache-2.0

"""Several servers frozen together: in stages, all or none, then thawed.

The promise of :func:`quiesced`: the block inside begins when every server was
seen frozen, and ``verify`` tells whether all stayed so. However it is left,
every server that this block froze, or may have frozen, is thawed, the last
stage first. What other requests froze is left alone. It knows no command line
and no storage.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import math
from typing import Any, Final, Self, TypeAlias

from osc_quiesce import client as quiesce_client
from osc_quiesce import concurrency
from osc_quiesce import errors
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce import report as reports
from osc_quiesce import retry
from osc_quiesce import states
from osc_quiesce import verbs

# Servers in a sentence about what is done next: a terminal takes it at once
_NAMED: Final = 10

Progress: TypeAlias = Callable[[str], object]
Shield: TypeAlias = Callable[[], contextlib.AbstractContextManager[Any]]


class Frozen:
    """Servers that are frozen inside the block of :func:`quiesced`.

    As a context manager it freezes nothing on the way in, and on the way out
    thaws what :meth:`quiesce` has frozen.

    :ivar request_id: the id of the request to quiesce, at every server
    """

    def __init__(self, client: quiesce_client.Client,
                 stages: Sequence[Sequence[model.Server | str]],
                 timeout: float = retry.GROUP_TIMEOUT,
                 unquiesce_after: int | Mapping[str, int] | None = None,
                 progress: Progress | None = None,
                 shield: Shield = contextlib.nullcontext) -> None:
        """See :func:`quiesced`."""
        if not 0 < timeout < math.inf:
            raise ValueError(
                f'timeout is {timeout!r}, not a positive number of seconds')
        self.request_id = model.new_request_id()
        self._client = client
        self._timeout = timeout
        self._progress = progress
        self._shield = shield
        checked, self._unquiesce_after = _checked(stages, unquiesce_after)
        self._stages = [
            [reports.Member(verbs.Job(server, self.request_id),
                            verbs.Job(server, self.request_id))
             for server in stage] for stage in checked]
        self._is_left = False

    # What the caller asks -------------------------------------------------

    def quiesce(self) -> None:
        """Freeze the stages, one after the other.

        :raises errors.QuiesceError: why a server could not be frozen
        """
        for stage in self._stages:
            self._say(_('Quiescing %s ...'), [each.server for each in stage])
            self._client.run(verbs.Freezing(self._unquiesce_after),
                             [[member.freeze for member in stage]],
                             self._timeout)
            for member in stage:
                if member.freeze.error:
                    raise member.freeze.error

    def check(self) -> None:
        """Check that every server is frozen by this request now.

        :raises errors.NotConsistent: names each server that is not
        :raises errors.Refused: the caller may not look
        :raises errors.Unreachable: no answer: nothing is known
        """
        ids = [member.id for member in self.members]
        try:
            rows = self._client.freezes(ids, True, self.request_id)
        except errors.Refused:
            rows = self._client.freezes(ids, request_id=self.request_id)
        frozen = {row.server_id for row in rows
                  # A server is quiesced a moment before its row says it.
                  if row.state in (states.FREEZING, states.FROZEN)}
        lost = [errors.NoLongerQuiesced(
            _('Server %s is not quiesced by this request any more')
            % member.server.label,
            model.Server(member.id, member.name), self.request_id)
            for member in self.members if member.id not in frozen]
        if lost:
            raise errors.NotConsistent(lost)

    def keep(self) -> None:
        """Leave the servers that were seen frozen quiesced at the end."""
        for member in self.members:
            member.is_kept = member.freeze.is_done

    def verify(self) -> None:
        """Check that every server stayed frozen until it was thawed.

        To be called when the block is left: it is the thaw that tells, so
        this sends no request.

        :raises errors.NotConsistent: names each server of which it is not
            proven
        :raises RuntimeError: the block is not left yet
        """
        if not self._is_left:
            raise RuntimeError('only the thaw tells whether all stayed frozen')
        doubts = [
            errors.QuiesceError(
                _('Server %(server)s did not stay frozen, or it is not known '
                  'whether it did: %(why)s') % {
                      'server': member.server.label, 'why': member.doubt},
                model.Server(member.id, member.name))
            for member in self.members if not member.is_proven]
        if doubts:
            raise errors.NotConsistent(doubts)

    @property
    def members(self) -> Sequence[reports.Member]:
        """Each server, and how far it came, in the order of the stages."""
        return [member for stage in self._stages for member in stage]

    @property
    def report(self) -> reports.Report:
        """What is known so far: everything, once the block is left."""
        return reports.Report(tuple(self.members))

    # Thawing --------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: object, exc: BaseException | None,
                 traceback: object) -> None:
        self.thaw(exc)

    def thaw(self, exc: BaseException | None = None) -> None:
        """Thaw every server that may be frozen because of this group.

        The end of the block does it; nothing is thawed twice.

        :param exc: what the servers are thawed for, if it is an error
        :raises errors.ThawFailed: servers may still be frozen
        """
        interrupt: BaseException | None = None
        for _attempt in range(2):  # a signal may raise in the first one
            try:
                self._thaw_all()
                break
            except BaseException as error:
                interrupt = interrupt or error
        self._is_left = True
        failed = [
            member.thaw.error or errors.QuiesceError(
                _('Server %s was not seen thawed') % member.server.label,
                member.server,
                self.request_id) for member in self.members if member.to_thaw]
        cause = interrupt or exc
        if failed:
            raise errors.ThawFailed(failed, self.request_id) from cause
        if interrupt:
            raise interrupt

    def _thaw_all(self) -> None:
        """Thaw those that may be frozen because of us."""
        stages = [[member for member in stage if member.to_thaw]
                  for stage in reversed(self._stages)]
        members = [member for stage in stages for member in stage]
        for member in members:
            member.thaw = verbs.Job(member.server, self.request_id)
        with contextlib.ExitStack() as stack:
            # Neither may a failing shield prevent a thaw.
            with contextlib.suppress(Exception):
                stack.enter_context(self._shield())
            self._client.run(
                verbs.Thawing(),
                [[member.thaw for member in stage] for stage in stages],
                max(retry.DEFAULT_TIMEOUT, self._timeout),
                progress=lambda servers: self._say(
                    _('Unquiescing %s ...'), servers))
            concurrency.run_all(self._prove, members)

    def _prove(self, member: reports.Member) -> None:
        """Find out whether a server stayed frozen until its thaw.

        The cloud accepts a thaw by our request only if neither it nor another
        request has ended our freeze. But a guest may tell afterwards that it
        did: some give up a freeze after a while. So one that was not seen
        thawed proves nothing. The table of freezes has what the guest told,
        if the caller may see that; the instance action has it, too.
        """
        thaw = member.thaw
        if (thaw.is_done and thaw.action_id and not thaw.doubt
                and member.freeze.is_done):
            if not thaw.has_held:
                thaw.doubt = self._client.doubt(thaw)
            if thaw.has_held is False and not thaw.doubt:
                thaw.doubt = _('its guest had, or may have, ended the freeze '
                               'before')
            member.is_proven = thaw.doubt is None

    def _say(self, message: str, servers: Sequence[model.Server]) -> None:
        # A failing progress callback must not prevent a thaw.
        with contextlib.suppress(Exception):
            if self._progress:
                named = [each.label for each in servers[:_NAMED]]
                if len(servers) > _NAMED:
                    named.append(_('%d others') % (len(servers) - _NAMED))
                self._progress(message % ', '.join(named))


@contextlib.contextmanager
def quiesced(client: quiesce_client.Client,
             stages: Sequence[Sequence[model.Server | str]],
             timeout: float = retry.GROUP_TIMEOUT,
             unquiesce_after: int | Mapping[str, int] | None = None,
             progress: Progress | None = None,
             shield: Shield = contextlib.nullcontext) -> Iterator[Frozen]:
    """Freeze servers for the time of a ``with`` block, all of them or none.

    The stages are quiesced strictly one after the other, the servers of a
    stage at the same time. If one cannot be, all are thawed, and the error
    names it and the reason. When the block is left, even by an exception, the
    stages are thawed in reverse. A stage delays the thaw of the one before it
    for 3 seconds at most, then order counts less than thawing.

    Data that were saved inside are consistent only if, after the block,
    ``Frozen.report.is_consistent`` is true; if not, :meth:`Frozen.verify`
    raises an error.

    Signals are the caller's: what the client's ``sleep`` raises stops the
    freezing between two requests, and then everything is thawed.

    :param client: used for all requests
    :param stages: the servers of each stage, or their UUIDs
    :param timeout: seconds to wait for each stage to be quiesced; for all
        servers together to be thawed, it is at least 120
    :param unquiesce_after: seconds of being frozen after which the cloud thaws
        a server automatically, for all or by UUID; by default as many as
        the cloud has configured
    :param progress: is told what is done next, in a sentence
    :param shield: makes a context in which the client's ``sleep`` must not
        raise, entered while servers are thawed
    :returns: a context manager, to be entered once, of a :class:`Frozen`
    :raises ValueError: a stage is empty, a server is named twice, timeout is
        no number above 0, or unquiesce_after is no whole number above 0, or
        for a server that is not in a stage; nothing was asked
    :raises errors.QuiesceError: (on entering) a server could not be quiesced;
        all are thawed
    :raises errors.ThawFailed: servers may still be frozen; caused by the
        exception that the block was left with, if any. Raised on entering, it
        is caused by the error of the server that could not be quiesced: there
        is no ``Frozen``, and the block did not run
    """
    with Frozen(client, stages, timeout, unquiesce_after, progress,
                shield) as frozen:
        frozen.quiesce()
        yield frozen


def _checked(
        stages: Sequence[Sequence[model.Server | str]],
        unquiesce_after: int | Mapping[str, int] | None,
        ) -> tuple[list[list[model.Server]], Mapping[str, int]]:
    """Return what the caller wants, checked before anything is asked.

    :returns: the servers of each stage; UUID of server to seconds
    """
    if not stages or not all(stages):
        raise ValueError('there is no stage, or one without a server')
    if any(isinstance(stage, str) for stage in stages):
        raise ValueError('a stage is a string, not a sequence of servers')
    checked = [[model.Server.of(each) for each in stage] for stage in stages]
    ids = [server.id for stage in checked for server in stage]
    for server_id in ids:
        if ids.count(server_id) > 1:
            raise ValueError(f'server {server_id} is named twice')
    if unquiesce_after is None:
        return checked, {}
    if not isinstance(unquiesce_after, Mapping):
        unquiesce_after = dict.fromkeys(ids, unquiesce_after)
    times = {id_.lower(): time for id_, time in unquiesce_after.items()}
    for server_id, seconds in times.items():
        if server_id not in ids:
            raise ValueError(f'server {server_id} is in no stage')
        model.check_unquiesce_after(seconds)
    return checked, times
