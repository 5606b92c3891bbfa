# SPDX-License-Identifier: Apache-2.0

"""What is asked of a server, and how one sees that it is done.

A verb sends one request, says which answers to it are final, and judges one
look at one server. It never waits and never repeats.

*Freeze cautiously, thaw stubbornly*: a refused freeze is given up, for then
nothing is frozen; a thaw is given up only if the server is gone, if the cloud
says that this request does not freeze it, or if the cloud says that the thaw
has failed.
"""

from collections.abc import Mapping
import dataclasses

from osc_quiesce import api as quiesce_api
from osc_quiesce import errors
from osc_quiesce.i18n import _
from osc_quiesce.jobs import MOVING, Job, Seen
from osc_quiesce import model
from osc_quiesce import retry
from osc_quiesce import states


class Freezing:
    """Freezes servers, each by the request that its job names.

    :param unquiesce_after: UUID of server to seconds after which the cloud
        thaws it by itself; by default as many as the cloud has configured
    """

    goal = states.QUIESCED
    stops_at_error = True
    looks_at_rows = False

    def __init__(self, unquiesce_after: Mapping[str, int] | None = None):
        self._unquiesce_after = unquiesce_after or {}

    def ask(self, api: quiesce_api.QuiesceAPI,
            job: Job) -> tuple[str | None, Seen]:
        try:
            api.quiesce(job.server, str(job.request_id),
                        self._unquiesce_after.get(job.server.id))
        except errors.Unreachable:
            # A refusal of the next attempt says nothing about this one.
            job.action_id = job.request_id
            raise
        return job.request_id, MOVING

    def pause_after(self, error: errors.QuiesceError,
                    seconds: float) -> float | None:
        # A refusal is final, unless the cloud says when to come back.
        if isinstance(error, errors.Unreachable) or (
                isinstance(error, errors.ServiceUnavailable)
                and error.retry_after):
            pause = error.retry_after
            return pause if seconds + pause <= retry.PATIENCE else None
        return None

    def in_row(self, job: Job, row: model.Freeze | None) -> Seen | None:
        if row is None or row.request_id != job.request_id:
            return None
        if row.error:
            raise _failed(job.server, row.error, job.request_id)
        if row.state == states.FROZEN:
            return Seen(True,
                        model.Server(job.server.id,
                                     job.server.name or row.server_name or '',
                                     states.QUIESCED.upper(), states.QUIESCED),
                        row.unquiesce_at)
        return None if row.state == states.THAWING else MOVING

    def look(self, api: quiesce_api.QuiesceAPI, job: Job, now: float) -> Seen:
        server, settled, result = _look_at(api, job, now, job.request_id)
        if server.task_state is not None:
            return Seen(server=server)
        if server.vm_state == states.ERROR:
            raise _failed(server, result.reason, job.request_id)
        if server.vm_state == states.QUIESCED:
            if result.result == states.FAILURE:
                raise errors.QuiescedByAnother(
                    _('Server %s is quiesced by another request; this request '
                      'failed') % server.label,
                    server, job.request_id)
            done = settled or result.result == states.SUCCESS
            return Seen(done, server, result.unquiesce_at)
        if result.result == states.FAILURE:
            raise errors.NotSupported(
                _('Server %(server)s cannot be quiesced: %(why)s') % {
                    'server': server.label,
                    'why': result.reason or _no_reason()},
                server, job.request_id)
        if result.result == states.SUCCESS:
            raise _no_longer(server, job.request_id, result.unquiesce_at)
        if settled:
            raise errors.NotSupported(
                _('Server %s was not quiesced, and its instance action gives '
                  'no reason') % server.label,
                server, job.request_id)
        return Seen(server=server)


class Unquiescing:
    """Thaws servers, whatever request has frozen them."""

    goal = states.ACTIVE
    stops_at_error = False
    looks_at_rows = False

    def ask(self, api: quiesce_api.QuiesceAPI,
            job: Job) -> tuple[str | None, Seen]:
        try:
            return api.unquiesce(job.server).request_id, MOVING
        except errors.Conflict:
            # Perhaps an earlier attempt was heard, or somebody was faster.
            server = api.server(job.server)
            if server.task_state == states.UNQUIESCING:
                return None, Seen(server=server)
            if (server.vm_state, server.task_state) == (states.ACTIVE, None):
                return None, Seen(True, server)
            raise

    def pause_after(self, error: errors.QuiesceError,
                    seconds: float) -> float | None:
        if not isinstance(
                error, (errors.Unreachable, errors.ServiceUnavailable)):
            return None
        pause = min(error.retry_after, retry.LONGEST_DEFERRAL)
        return pause if seconds + pause <= retry.PATIENCE else None

    def in_row(self, job: Job, row: model.Freeze | None) -> Seen | None:
        if row is None or row.state == states.FROZEN or row.attempts:
            return None
        return MOVING

    def look(self, api: quiesce_api.QuiesceAPI, job: Job, now: float) -> Seen:
        server, settled, result = _look_at(api, job, now, job.action_id)
        if server.task_state is not None:
            return Seen(server=server)
        if server.vm_state == states.ERROR:
            if result.result == states.FAILURE or settled:
                raise _failed(server, result.reason, job.action_id)
        elif server.vm_state != states.QUIESCED:
            # A database that lags behind may show what was before.
            return Seen(settled or result.result is not None, server)
        elif result.result == states.SUCCESS:
            raise errors.QuiescedByAnother(
                _('Server %s was unquiesced, then quiesced again by another '
                  'request') % server.label,
                server, job.action_id)
        elif settled or result.result == states.FAILURE:
            raise _failed(server, result.reason, job.action_id)
        return Seen(server=server)


class Thawing(Unquiescing):
    """Thaws servers that the requests of their jobs may have frozen."""

    looks_at_rows = True

    def ask(self, api: quiesce_api.QuiesceAPI,
            job: Job) -> tuple[str | None, Seen]:
        try:
            answer = api.unquiesce(job.server, job.request_id)
        except errors.ServerNotFound:
            return None, _gone(job.server)
        if answer.state is None:
            return answer.request_id, MOVING
        # Thawing: by its deadline, or by another request.
        job.doubt = answer.message
        return None, Seen(answer.state != states.THAWING, doubt=job.doubt)

    def pause_after(self, error: errors.QuiesceError,
                    seconds: float) -> float | None:
        # We have frozen it, or may have: that is better evidence than one
        # refusal, of one of several nova-api.
        pause: float = getattr(error, 'retry_after', 0.0)
        return min(pause, retry.LONGEST_DEFERRAL)

    def in_row(self, job: Job, row: model.Freeze | None) -> Seen | None:
        if row is not None and row.request_id == job.request_id:
            # The cloud goes on, but nobody knows for how long.
            if row.error:
                raise _failed(job.server, row.error, job.request_id)
            return MOVING
        # A row goes only after a confirmed thaw.
        return Seen(True, doubt=job.doubt)

    def look(self, api: quiesce_api.QuiesceAPI, job: Job, now: float) -> Seen:
        # The caller may not list what is frozen.
        try:
            seen = super().look(api, job, now)
        except errors.ServerNotFound:
            return _gone(job.server)
        return dataclasses.replace(seen, doubt=job.doubt)


def _look_at(
    api: quiesce_api.QuiesceAPI, job: Job, now: float, request_id: str | None
) -> tuple[model.Server, bool, model.Result]:
    """Return a server, whether it has settled, and how a request ended.

    A server with a task is on its way: then the request is not looked at.
    """
    server = api.server(job.server)
    settled = job.settled(now, server)
    result = model.Result()
    if server.task_state is None and request_id:
        result = api.result(server, request_id)
    return server, settled, result


def _gone(server: model.Server) -> Seen:
    """Return what a thaw sees of a server that is gone."""
    gone = model.Server(server.id, server.name, 'DELETED')
    return Seen(True, gone, doubt=_('it was deleted'))


def _no_reason() -> str:
    return _('no reason is given (Nova shows details to administrators only)')


def _failed(server: model.Server, reason: str | None,
            request_id: str | None) -> errors.Failed:
    return errors.Failed(
        _('Server %(server)s could not be quiesced or unquiesced: %(why)s') % {
            'server': server.label,
            'why': reason or server.fault or _no_reason()},
        server, request_id)


def _no_longer(server: model.Server, request_id: str | None,
               deadline: str | None) -> errors.NoLongerQuiesced:
    message = _('Server %s was quiesced, and has been unquiesced since') % (
        server.label)
    if deadline:
        message = _('Server %(server)s was quiesced, and has been unquiesced '
                    'since (its deadline was %(deadline)s)') % {
                        'server': server.label, 'deadline': deadline}
    return errors.NoLongerQuiesced(message, server, request_id)
