# SPDX-License-Identifier: Apache-2.0

"""What is asked of a server, and how one sees that it is done.

A verb sends one request, decides which answers to it are final, and judges one
look at one server. What it learns it writes into the :class:`Job` of the
server. It never waits and never repeats.

*Freeze cautiously, thaw stubbornly*: a refused freeze is given up, for then
nothing is frozen; a thaw by the request that froze is given up only if the
server is gone, or if the cloud reports that this request does not freeze it or
that the thaw has failed.
"""

from collections.abc import Mapping
from typing import Final

from osc_quiesce import api as quiesce_api
from osc_quiesce import errors
from osc_quiesce.i18n import _
from osc_quiesce import jobs
from osc_quiesce import model
from osc_quiesce import retry
from osc_quiesce import states

Job = jobs.Job

_NO_REASON: Final = _(
    'no reason is given (Nova shows details to administrators only)')
_NOT_QUIESCED: Final = _('Server %(server)s could not be quiesced: %(why)s')
_NOT_UNQUIESCED: Final = _(
    'Server %(server)s could not be unquiesced: %(why)s')
# What the server itself shows: no other nova-api knows better.
_FINAL: Final = (errors.Conflict, errors.ServerNotFound, errors.AmbiguousName,
                 errors.Failed, errors.QuiescedByAnother)


class Verb:
    """What is done to servers, and how one sees that it is done.

    :cvar goal: the vm_state that a server is to get into
    :cvar stops_at_error: whether the first error ends it for all
    :cvar looks_at_rows: whether even a single server is looked at in the
        table of freezes
    """

    goal: str
    stops_at_error = False
    looks_at_rows = False

    def ask(self, api: quiesce_api.QuiesceAPI, job: Job) -> bool:
        """Send the request, once; return whether the server got there."""
        raise NotImplementedError

    def pause_after(self, error: errors.QuiesceError,
                    seconds: float, is_accepted: bool = False) -> float | None:
        """Return in how many seconds to ask, or look, again; None if never.

        :param seconds: since it was first asked; 0 after a look
        :param is_accepted: whether it was a look that has failed
        """
        raise NotImplementedError

    def in_row(self, job: Job, row: model.Freeze | None) -> bool | None:
        """Return whether the table of freezes shows that a server got there.

        :returns: None if a look at the server itself has to tell
        :raises errors.QuiesceError: the server will not get there
        """
        raise NotImplementedError

    def look(self, api: quiesce_api.QuiesceAPI, job: Job, now: float) -> bool:
        """Look at one server, and return whether it got there.

        :raises errors.Unreachable: this look was of no use
        :raises errors.QuiesceError: the server will not get there
        """
        job.server = api.server(job.server)
        if job.server.task_state is not None:  # it is on its way
            job.at_rest_since = None
            return False
        result = model.Result()
        if job.action_id:
            result = api.result(job.server, job.action_id)
        if job.at_rest_since is None:
            job.at_rest_since = now
        return self._judge(
            api, job, result, now - job.at_rest_since >= retry.SETTLE_TIME)

    def _judge(self, api: quiesce_api.QuiesceAPI, job: Job,
               result: model.Result, settled: bool) -> bool:
        """Return whether a server without a task got there.

        :param result: how its request has ended
        :param settled: whether it has been without a task for long enough: its
            state is saved a moment before or after the result of the action,
            and a database may lag behind
        """
        raise NotImplementedError


class Freezing(Verb):
    """Freezes servers, each by the request that its job names.

    :param unquiesce_after: UUID of server to seconds after which the cloud
        thaws it automatically; by default as many as the cloud has configured
    """

    goal = states.QUIESCED
    stops_at_error = True

    def __init__(self, unquiesce_after: Mapping[str, int] | None = None):
        self._unquiesce_after = unquiesce_after or {}

    def ask(self, api: quiesce_api.QuiesceAPI, job: Job) -> bool:
        try:
            api.quiesce(job.server, str(job.request_id),
                        self._unquiesce_after.get(job.server.id))
        except errors.Unreachable:
            # A refusal of the next attempt says nothing about this one.
            job.action_id = job.request_id
            raise
        job.action_id = job.request_id
        return False

    def pause_after(self, error: errors.QuiesceError,
                    seconds: float, is_accepted: bool = False) -> float | None:
        if is_accepted and isinstance(error, errors.Transient):
            return min(error.retry_after, retry.LONGEST_DEFERRAL)
        # A refusal is final, unless the cloud says when to come back.
        if isinstance(error, errors.Transient) and (
                error.retry_after or not isinstance(error, errors.Refused)):
            return _within_patience(error.retry_after, seconds)
        return None

    def in_row(self, job: Job, row: model.Freeze | None) -> bool | None:
        if row is None or row.request_id != job.request_id:
            return None
        if row.error:
            raise _row_failed(job, row)
        if row.state == states.FROZEN:
            name = job.server.name or row.server_name or ''
            job.server = model.Server(
                job.server.id, name, states.QUIESCED.upper(), states.QUIESCED)
            job.unquiesce_at = row.unquiesce_at
            return True
        return False if row.state in (states.ASKED, states.FREEZING) else None

    def _judge(self, api: quiesce_api.QuiesceAPI, job: Job,
               result: model.Result, settled: bool) -> bool:
        server = job.server
        if server.vm_state == states.ERROR:
            raise _failed(
                _NOT_UNQUIESCED if result.result == states.SUCCESS
                else _NOT_QUIESCED, server, result.reason, job.request_id)
        if server.vm_state == states.QUIESCED:
            if result.result == states.FAILURE:
                raise errors.QuiescedByAnother(
                    _('Server %s is quiesced by another request; this request '
                      'failed') % server.label,
                    server, job.request_id)
            job.unquiesce_at = result.unquiesce_at
            return settled or result.result == states.SUCCESS
        if result.result == states.FAILURE:
            raise errors.NotSupported(
                _('Server %(server)s cannot be quiesced: %(why)s') % {
                    'server': server.label,
                    'why': result.reason or _NO_REASON},
                server, job.request_id)
        if result.result == states.SUCCESS:
            raise _no_longer(server, job.request_id, result.unquiesce_at)
        if settled:
            raise errors.NotSupported(
                _('Server %s was not quiesced, and its instance action gives '
                  'no reason') % server.label,
                server, job.request_id)
        return False


class Unquiescing(Verb):
    """Thaws servers, even if other requests have frozen them.

    :param is_stubborn: whether trouble is outlasted until the time is up, and
        a refusal for 30 seconds, since it may be that of one of several
        nova-api; else trouble is outlasted for 30 seconds, and no refusal
    """

    goal = states.ACTIVE

    def __init__(self, is_stubborn: bool = True) -> None:
        self._is_stubborn = is_stubborn

    def ask(self, api: quiesce_api.QuiesceAPI, job: Job) -> bool:
        try:
            job.action_id = api.unquiesce(job.server).request_id
        except errors.Conflict:
            # Perhaps an earlier attempt was heard, or somebody was faster.
            job.server = api.server(job.server)
            state = job.server.vm_state, job.server.task_state
            if state == (states.ACTIVE, None):
                _check_thawed(api, job.server)
                return True
            if job.server.task_state != states.UNQUIESCING:
                raise
        return False

    def pause_after(self, error: errors.QuiesceError,
                    seconds: float, is_accepted: bool = False) -> float | None:
        pause = min(getattr(error, 'retry_after', 0.0),
                    retry.LONGEST_DEFERRAL)
        if isinstance(error, errors.Transient):
            return pause if self._is_stubborn else _within_patience(
                pause, seconds)
        if self._is_stubborn and not isinstance(error, _FINAL):
            return _within_patience(pause, seconds)
        return None

    def in_row(self, job: Job, row: model.Freeze | None) -> bool | None:
        if row is None or row.state == states.FROZEN or row.attempts:
            return None
        return False

    def _judge(self, api: quiesce_api.QuiesceAPI, job: Job,
               result: model.Result, settled: bool) -> bool:
        server = job.server
        if server.vm_state == states.ERROR:
            if result.result == states.FAILURE or settled:
                raise _failed(
                    _NOT_UNQUIESCED, server, result.reason, job.action_id)
        elif server.vm_state != states.QUIESCED:
            if result.result == states.SUCCESS:
                return True
            # A database that lags behind may show what was before.
            if result.result is None and not settled:
                return False
            # A user may have reset the state of a server that is frozen.
            _check_thawed(api, server)
            return True
        elif result.result == states.SUCCESS:
            raise errors.QuiescedByAnother(
                _('Server %s was unquiesced, then quiesced again by another '
                  'request') % server.label,
                server, job.action_id)
        elif settled or result.result == states.FAILURE:
            raise _failed(
                _NOT_UNQUIESCED, server, result.reason, job.action_id)
        return False


class Thawing(Unquiescing):
    """Thaws servers that the requests of their jobs may have frozen."""

    looks_at_rows = True

    def ask(self, api: quiesce_api.QuiesceAPI, job: Job) -> bool:
        try:
            answer = api.unquiesce(job.server, job.request_id)
        except errors.ServerNotFound:
            return _count_as_thawed(job)
        job.action_id = answer.request_id
        if answer.state is None:
            return False
        # Thawing: by its deadline, or by another request.
        job.doubt = answer.message
        return answer.state != states.THAWING

    def pause_after(self, error: errors.QuiesceError,
                    seconds: float, is_accepted: bool = False) -> float | None:
        if isinstance(error, errors.Failed | errors.QuiescedByAnother):
            return None  # the server itself shows it
        # We have frozen it, or may have: that is better evidence than one
        # refusal, of one of several nova-api.
        return min(getattr(error, 'retry_after', 0.0), retry.LONGEST_DEFERRAL)

    def in_row(self, job: Job, row: model.Freeze | None) -> bool | None:
        if row is None or row.request_id != job.request_id:
            return True  # a row goes only after a confirmed thaw
        if row.state in (states.THAWED, states.LAPSED):
            job.has_held = row.state == states.THAWED
            return True
        # The cloud goes on, and it is unknown for how long.
        if row.error:
            raise _row_failed(job, row)
        return False

    def look(self, api: quiesce_api.QuiesceAPI, job: Job, now: float) -> bool:
        # The caller may not list what is frozen.
        try:
            return super().look(api, job, now)
        except errors.ServerNotFound:
            return _count_as_thawed(job)


def _check_thawed(api: quiesce_api.QuiesceAPI, server: model.Server) -> None:
    """Raise if a server has a row, as far as the caller may see it."""
    for all_projects in (True, False):
        try:
            rows = api.freezes([server.id], all_projects)
        except errors.Forbidden:
            continue
        if rows:
            raise errors.StillThawing(
                _('Server %s is not quiesced, but its guest may still be '
                  'frozen, and is being thawed') % server.label, server)
        return


def _within_patience(pause: float, seconds: float) -> float | None:
    return pause if seconds + pause <= retry.PATIENCE else None


def _count_as_thawed(job: Job) -> bool:
    """Take a server that is gone for one that got there."""
    job.server = model.Server(job.server.id, job.server.name, 'DELETED')
    job.doubt = _('it was deleted')
    return True


def _failed(message: str, server: model.Server, reason: str | None,
            request_id: str | None) -> errors.Failed:
    why = reason or server.fault or _NO_REASON
    return errors.Failed(
        message % {'server': server.label, 'why': why}, server, request_id)


def _row_failed(job: Job, row: model.Freeze) -> errors.Failed:
    return _failed(_NOT_UNQUIESCED if row.frozen_at else _NOT_QUIESCED,
                   job.server, row.error, job.request_id)


def _no_longer(server: model.Server, request_id: str | None,
               deadline: str | None) -> errors.NoLongerQuiesced:
    message = _('Server %s was quiesced, and has been unquiesced since') % (
        server.label)
    if deadline:
        message = _('Server %(server)s was quiesced, and has been unquiesced '
                    'since (its deadline was %(deadline)s)') % {
                        'server': server.label, 'deadline': deadline}
    return errors.NoLongerQuiesced(message, server, request_id)
