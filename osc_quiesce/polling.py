# SPDX-License-Identifier: Apache-2.0

"""Asking servers, and looking at them until each got there.

The one loop that asks and polls servers, whatever is asked for. What a request
is, which answers to it are final, and what a look shows is decided by a
*verb*: see :mod:`osc_quiesce.verbs`.

Every server has a pause of its own: no answer of one server, and no time that
one asks for, delays another one. One server is looked at alone; several
are looked at together: with one request if one request has frozen them, else
with one for fifty.

This module must never know what is asked for.
"""

from collections.abc import Callable, Iterable, Sequence
import concurrent.futures
import functools
import threading
from typing import Any, Final

from osc_quiesce import api as quiesce_api
from osc_quiesce import concurrency
from osc_quiesce import errors
from osc_quiesce import http
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce import retry
from osc_quiesce.verbs import Job, Verb

# Real seconds between two looks at whether a thread has come to its end.
_TICK: Final = 0.05
# Seconds for which a request may go on when the time for all is up.
_GRACE: Final = 1.0


class Poller:
    """Asks servers, and looks at them until each got there.

    The servers of a stage are asked at once, when those of the stages before
    it are done, or three seconds after the one before it: then order counts
    less. With many stages it is less than three seconds, so that all of them
    are asked in the first half of the time.

    :param stages: what came of it is in the jobs
    :param timeout: seconds, for all together
    :param wait: whether to look at all; else a server is done when the cloud
        has accepted the request
    :param progress: is told which servers are asked next
    """

    def __init__(
            self, api: quiesce_api.QuiesceAPI, timer: retry.Timer, verb: Verb,
            stages: Iterable[Sequence[Job]], timeout: float, wait: bool = True,
            progress: Callable[[Sequence[model.Server]], object] | None = None,
            ) -> None:
        self._api = api
        self._timer = timer
        self._verb = verb
        self._timeout = timeout
        self._wait = wait
        self._progress = progress
        self._started = self._released = timer.clock()
        self._waiting = [list(stage) for stage in stages if stage]
        self._asked: list[Job] = []  # those whose turn it was
        self._order_time = min(
            retry.ORDER_TIME, timeout / 2 / (len(self._waiting) or 1))
        self._jobs = [job for stage in self._waiting for job in stage]
        self._looks_at_rows = verb.looks_at_rows or len(self._jobs) > 1
        self._calls: dict[
            concurrency.Future[Any], Callable[[concurrency.Future[Any]], None]
        ] = {}
        self._pauses = retry.pauses()
        self._rows_due = self._started
        self._is_listing = False
        self._listing_fails_since: float | None = None
        self._all_projects = True  # until the cloud refuses that

    def run(self) -> None:
        """Ask and look until all have ended, or an error has stopped it."""
        try:
            with concurrency.Calls() as calls:
                # No silence holds up what is done if a server fails, or after
                # a signal: a freeze that comes late is withdrawn by its thaw.
                calls.is_awaited = False
                while not self._is_over():
                    released = self._release()
                    self._begin_calls(calls)
                    # Later than the requests: what is told may hold it up.
                    if released and self._progress:
                        self._progress([job.server for job in released])
                    self._pause()
                    self._take_ended()
                calls.stop()
                calls.is_awaited = not self._is_stopped()
        finally:
            self._take_ended()  # also what was answered before it was stopped
        if not self._is_stopped():
            for job in self._jobs:
                if job.ended is None:
                    self._end(job, _timed_out(
                        job, self._verb.goal, self._timeout))

    @property
    def _left(self) -> float:
        """Seconds until the time is up."""
        return self._started + self._timeout - self._timer.clock()

    @property
    def _pending(self) -> list[Job]:
        return [job for job in self._asked if job.ended is None]

    def _is_stopped(self) -> bool:
        return self._verb.stops_at_error and any(
            job.error for job in self._jobs)

    def _is_over(self) -> bool:
        return (not (self._pending or self._waiting) or self._left <= 0
                or self._is_stopped())

    def _release(self) -> list[Job]:
        """Let the next stage be asked if it is its turn, and return it."""
        if not self._waiting or (
                self._pending
                and self._timer.clock() < self._released + self._order_time):
            return []
        self._released = self._timer.clock()
        self._pauses = retry.pauses()  # short ones at first, again
        stage = self._waiting.pop(0)
        for job in stage:
            job.begun = self._released
        self._asked.extend(stage)
        return stage

    def _is_in_table(self, job: Job) -> bool:
        """Return whether a server is looked at in the table of freezes."""
        return self._looks_at_rows and job.is_accepted and not job.is_alone

    def _begin_calls(self, calls: concurrency.Calls) -> None:
        now = self._timer.clock()
        together = []
        for job in self._pending:
            if self._is_in_table(job):
                together.append(job)
            elif not job.is_busy and job.due <= now:
                self._begin_one(calls, job, now)
        if together and not self._is_listing and self._rows_due <= now:
            self._is_listing = True
            ids = [job.server.id for job in together]
            requests = {job.request_id for job in together}
            request = requests.pop() if len(requests) == 1 else None
            self._begin(
                calls, together, functools.partial(self._listed, together),
                lambda api: api.freezes(ids, self._all_projects, request))

    def _begin_one(self, calls: concurrency.Calls, job: Job,
                   now: float) -> None:
        """Ask one server, or look at it."""
        job.is_busy = True
        if job.is_accepted:
            call = functools.partial(self._verb.look, job=job, now=now)
        else:
            call = functools.partial(self._verb.ask, job=job)
            job.asked = now if job.asked is None else job.asked
        self._begin(calls, [job], functools.partial(self._take, job), call)

    def _begin(self, calls: concurrency.Calls, jobs: Sequence[Job],
               take: Callable[[concurrency.Future[Any]], None],
               call: Callable[[quiesce_api.QuiesceAPI], Any]) -> None:
        """Begin a call with an API whose requests end with the time.

        :param jobs: of the servers that it is about
        """
        seconds = retry.FIRST_ATTEMPT
        if any(job.trouble for job in jobs):
            seconds = http.REQUEST_TIMEOUT
        thread = threading.get_ident()

        def run() -> Any:
            left = self._left  # it may have waited for a thread
            if left <= 0:
                raise concurrent.futures.CancelledError
            most = min(seconds, left + _GRACE)
            if threading.get_ident() == thread:  # all others wait for it
                most = min(most, retry.ORDER_TIME)
            return call(self._api.within(most))

        self._calls[calls.begin(run)] = take

    def _pause(self) -> None:
        """Wait until there is something to do, or until a call has ended."""
        if self._calls:
            concurrent.futures.wait(
                self._calls, _TICK, concurrent.futures.FIRST_COMPLETED)
            self._timer.sleep(0)  # where a signal may stop it
            return
        due = [self._started + self._timeout]
        if self._waiting:
            due.append(self._released + self._order_time)
        for job in self._pending:
            due.append(self._rows_due if self._is_in_table(job) else job.due)
        self._timer.sleep(max(0.0, min(due) - self._timer.clock()))

    def _take_ended(self) -> None:
        for call in [call for call in self._calls if call.done()]:
            take = self._calls.pop(call)
            never_began = call.cancelled() or isinstance(
                call.exception(), concurrent.futures.CancelledError)
            if not never_began:
                take(call)

    # What came of a call --------------------------------------------------

    def _take(self, job: Job, call: concurrency.Future[bool]) -> None:
        """Take the answer to a request, or to a look, about one server."""
        job.is_busy = False
        now = self._timer.clock()
        try:
            is_done = call.result()
        except errors.QuiesceError as exc:
            self._take_error(job, exc, now)
            return
        except Exception as exc:
            self._take_error(job, _unforeseen(job, exc), now)
            return
        job.trouble = None
        if not job.is_accepted:
            job.is_accepted, job.pauses = True, retry.pauses()
            is_done = is_done or not self._wait
            self._rows_due = min(self._rows_due, now + next(retry.pauses()))
        job.due = now + next(job.pauses)
        if is_done:
            self._end(job)

    def _take_error(self, job: Job, error: errors.QuiesceError,
                    now: float) -> None:
        """Ask, or look, again later, unless this error is final."""
        asked = now if job.is_accepted or job.asked is None else job.asked
        pause = self._verb.pause_after(error, now - asked, job.is_accepted)
        if job.is_accepted and isinstance(error, errors.ServerNotFound):
            error = _deleted(job)
        if pause is None:
            self._end(job, error)
        else:
            job.trouble = error
            job.due = now + max(pause, next(job.pauses))

    def _listed(self, looked_at: Sequence[Job],
                call: concurrency.Future[Any]) -> None:
        self._is_listing = False
        found = [job for job in looked_at if job.ended is None]
        pause = next(self._pauses)
        try:
            rows = {row.server_id: row for row in call.result()}
        except errors.Transient as exc:
            for job in found:
                job.trouble = exc
            pause = max(pause, min(exc.retry_after, retry.LONGEST_DEFERRAL))
            now = self._timer.clock()
            since = self._listing_fails_since = (
                self._listing_fails_since or now)
            # Perhaps only this request fails, as in a proxy.
            self._looks_at_rows = now - since < retry.READ_PATIENCE
        except Exception:
            if self._all_projects:
                self._all_projects, pause = False, 0.0
            else:
                self._looks_at_rows = False  # each is looked at alone
        else:
            self._listing_fails_since = None
            for job in found:
                job.trouble = None
                row = rows.get(job.server.id)
                try:
                    # A row may be that of another project.
                    is_done = None
                    if row or self._all_projects:
                        is_done = self._verb.in_row(job, row)
                except errors.QuiesceError as exc:
                    self._end(job, exc)
                    continue
                job.is_alone = is_done is None
                if is_done:
                    self._end(job)
        self._rows_due = self._timer.clock() + pause

    def _end(self, job: Job, error: errors.QuiesceError | None = None) -> None:
        job.ended, job.error = self._timer.clock(), error


def _timed_out(job: Job, goal: str, seconds: float) -> errors.TimedOut:
    """Return the error of a server that did not get there in time."""
    message = _(
        'Server %(server)s did not become %(state)s within %(seconds)g s') % {
            'server': job.server.label, 'state': goal, 'seconds': seconds}
    if job.trouble:
        message = f'{message}: {job.trouble.why}'
    return errors.TimedOut(
        message, job.server, job.action_id or job.request_id)


def _deleted(job: Job) -> errors.ServerGone:
    """Return the error of a server that is deleted."""
    return errors.ServerGone(
        _('Server %s was deleted') % job.server.label,
        model.Server(job.server.id, job.server.name, 'DELETED'))


def _unforeseen(job: Job, exc: Exception) -> errors.QuiesceError:
    """Return an error that holds up no other server."""
    error = errors.QuiesceError(
        _('Server %(server)s: an unforeseen error came: %(why)r') % {
            'server': job.server.label, 'why': exc},
        job.server)
    error.__cause__ = exc
    return error
