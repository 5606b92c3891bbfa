# SPDX-License-Identifier: Apache-2.0

"""What the loop of :mod:`osc_quiesce.polling` works on, and with what result.

A *verb* says what is asked of a server, and how one sees that it is done: see
:mod:`osc_quiesce.verbs`.
"""

from collections.abc import Iterator
import dataclasses
from typing import Final, Protocol

from osc_quiesce import api as quiesce_api
from osc_quiesce import errors
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce import retry


@dataclasses.dataclass(frozen=True)
class Seen:
    """What an answer, or a look, has shown of a server.

    :param done: whether the server got there
    :param server: the server, if it was read
    :param unquiesce_at: when the cloud thaws it by itself
    :param doubt: see :class:`Outcome`
    """

    done: bool = False
    server: model.Server | None = None
    unquiesce_at: str | None = None
    doubt: str | None = None


#: the server is on its way
MOVING: Final = Seen()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How it ended for one server.

    :param server: the server, as it was last seen
    :param request_id: the request to quiesce, if the caller gave one
    :param action_id: the request that was sent or waited for; None if there
        was nothing to do, or if it is certain that nothing was accepted
    :param asked: seconds from the start until it was first asked; None if it
        was not
    :param seconds: seconds from the start until it ended
    :param error: why the state was not reached; None if it was
    :param unquiesce_at: when the cloud thaws the server by itself, such as
        ``2026-11-23T03:45:00Z``; None if it does not
    :param doubt: of a thaw: why it is not certain that the server was frozen
        by the request until then; None if it is certain
    """

    server: model.Server
    request_id: str | None
    action_id: str | None
    asked: float | None
    seconds: float
    error: errors.QuiesceError | None = None
    unquiesce_at: str | None = None
    doubt: str | None = None


@dataclasses.dataclass
class Job:
    """One server, and how far it came.

    :ivar request_id: the request to quiesce; None if that is not known
    :ivar action_id: the request whose instance action tells how it ended
    :ivar is_asked: whether the cloud has answered
    :ivar is_busy: whether a request about it alone is under way
    :ivar is_alone: whether the table of freezes does not tell enough
    :ivar due: when it may be asked, or looked at, next
    :ivar doubt: see :class:`Outcome`
    :ivar trouble: why the last request was of no use
    """

    server: model.Server
    request_id: str | None = None
    action_id: str | None = None
    is_asked: bool = False
    is_busy: bool = False
    is_alone: bool = False
    first_asked: float | None = None
    due: float = 0.0
    at_rest_since: float | None = None
    doubt: str | None = None
    trouble: errors.QuiesceError | None = None
    pauses: Iterator[float] = dataclasses.field(default_factory=retry.pauses)

    def settled(self, now: float, server: model.Server) -> bool:
        """Return whether the server has been without a task for long enough.

        Its state is saved a moment before or after the result of the action,
        and a database may lag behind.
        """
        if server.task_state is not None:
            self.at_rest_since = None
            return False
        if self.at_rest_since is None:
            self.at_rest_since = now
        return now - self.at_rest_since >= retry.SETTLE_TIME


class Verb(Protocol):
    """What is done to servers, and how one sees that it is done.

    :cvar goal: the vm_state that the server is to get into
    :cvar stops_at_error: whether the first error ends it for all; servers
        that were still on their way then have no outcome
    :cvar looks_at_rows: whether even a single server is looked at in the
        table of freezes
    """

    goal: str
    stops_at_error: bool
    looks_at_rows: bool

    def ask(self, api: quiesce_api.QuiesceAPI,
            job: Job) -> tuple[str | None, Seen]:
        """Send the request, once; return its id and what the answer shows."""

    def pause_after(self, error: errors.QuiesceError,
                    seconds: float) -> float | None:
        """Return in how many seconds to ask, or look, again; None if never.

        :param seconds: since it was first asked
        """

    def in_row(self, job: Job, row: model.Freeze | None) -> Seen | None:
        """Return what the table of freezes shows of a server.

        :returns: None if a look at the server itself has to tell
        :raises errors.QuiesceError: the server will not get there
        """

    def look(self, api: quiesce_api.QuiesceAPI, job: Job, now: float) -> Seen:
        """Look at one server.

        :raises errors.Unreachable: this look was of no use
        :raises errors.QuiesceError: the server will not get there
        """


def timed_out(job: Job, goal: str, seconds: float) -> errors.TimedOut:
    """Return the error of a server that did not get there in time."""
    message = _(
        'Server %(server)s did not become %(state)s within %(seconds)g s') % {
            'server': job.server.label, 'state': goal, 'seconds': seconds}
    if job.trouble:
        message = f'{message}: {job.trouble.why}'
    return errors.TimedOut(
        message, job.server, job.action_id or job.request_id)


def gone(job: Job) -> errors.ServerGone:
    """Return the error of a server that is deleted."""
    return errors.ServerGone(
        _('Server %s was deleted') % job.server.label,
        model.Server(job.server.id, job.server.name, 'DELETED'))


def unforeseen(job: Job, exc: Exception) -> errors.QuiesceError:
    """Return an error that holds up no other server."""
    error = errors.QuiesceError(
        _('Server %(server)s: an unforeseen error came: %(why)r') % {
            'server': job.server.label, 'why': exc},
        job.server)
    error.__cause__ = exc
    return error
