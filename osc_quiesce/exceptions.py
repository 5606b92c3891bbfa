# SPDX-License-Identifier: Apache-2.0

"""What can go wrong, in words.

Every error says what happened, to which server, in which state that server
was last seen, and what to do about it.

::

    QuiesceError
      Refused            Nova said no; the server is as it was
        Conflict         409: not in the right state, or locked
        Unauthorized     401: Keystone's token is missing or not valid
        Forbidden        403
        ServerNotFound   404, or no server has this name
        AmbiguousName    several servers have this name
        NotInstalled     this cloud's nova-api has no quiesce action
        ServiceUnavailable  429 and 503: no live nova-quiesce, or overload
      Unreachable        no usable answer: lost connection, 5xx, not JSON
      RequestLost        sent, but never answered: maybe accepted
      NotSupported       accepted, then found impossible: not frozen
      Failed             the server is in error, or still as it was
      Superseded         undone, or forestalled, by somebody else
      TimedOut           not there yet when the time was up
      ServerGone         deleted meanwhile
      SeveralErrors      of several servers
        NotConsistent    not all are quiesced by our requests any more
        ThawFailed       some may still be frozen
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from osc_quiesce.i18n import _

if TYPE_CHECKING:
    from osc_quiesce import consistency


class QuiesceError(Exception):
    """Base of all errors of this package.

    :param message: what happened, as a sentence without a subject ("was
        refused: ...") if a server is given
    :param server_id: UUID of the server, if the error concerns one
    :param server_name: its name, if known
    :param vm_state: its last known vm_state
    :param task_state: its last known task_state, meaningful only together
        with vm_state
    :param request_id: Nova's id of the request, if it got one
    :ivar report: of a group of servers (:mod:`osc_quiesce.consistency`): what
        is known of all of them
    """

    advice = ''
    report: consistency.Report | None = None

    def __init__(
        self,
        message: str,
        *,
        server_id: str | None = None,
        server_name: str | None = None,
        vm_state: str | None = None,
        task_state: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.server_id = server_id
        self.server_name = server_name
        self.vm_state = vm_state
        self.task_state = task_state
        self.request_id = request_id

    def __str__(self) -> str:
        parts = [self.message]
        if self.server_id:
            parts = [
                # Translators: the message is one that has no subject,
                # such as "was deleted meanwhile".
                _('Server %(server)s %(message)s')
                % {
                    'server': label(self.server_id, self.server_name),
                    'message': self.message,
                }
            ]
        if self.vm_state:
            parts.append(
                _('It was last seen with vm_state %(vm)s, task_state %(task)s')
                % {'vm': self.vm_state, 'task': self.task_state}
            )
        if self.request_id:
            parts.append(_('The request was %s') % self.request_id)
        if self.advice:
            parts.append(self.advice)
        return ' '.join(part.rstrip('.') + '.' for part in parts)


class Refused(QuiesceError):
    """Nova refused the request; the server is as it was."""


class Conflict(Refused):
    """The server is not in the right state, is locked, or never started."""


class Unauthorized(Refused):
    """The cloud does not know the caller, or not any more."""

    advice = _('Check the credentials, or the token, that are used')


class Forbidden(Refused):
    """The caller is not allowed to do this."""

    advice = _('By default only administrators may quiesce and unquiesce')


class ServerNotFound(Refused):
    """There is no such server, or it is not the caller's to see."""

    advice = _(
        'Name servers of other projects by ID, with administrator rights'
    )


class AmbiguousName(Refused):
    """Several servers have this name."""

    advice = _('Name the server by ID')


class NotInstalled(Refused):
    """This cloud has no quiesce API."""

    advice = _(
        'This cloud has no quiesce API: nova_quiesce is not installed on '
        'its nova-api'
    )


class ServiceUnavailable(Refused):
    """No nova-quiesce service is alive, or the API is overloaded.

    :param http_status: 429 or 503
    :param retry_after: seconds to wait before the next attempt, as asked for
        by the server; 0 if it did not say
    """

    http_status = 503
    retry_after = 0.0
    advice = _(
        'Try again later; an administrator can look for nova-quiesce in '
        '"openstack compute service list"'
    )


class Unreachable(QuiesceError):
    """No usable answer: connection lost, 429 or 5xx, or not JSON.

    :param retry_after: seconds to wait before the next attempt, as asked for
        by the server; 0 if it did not say
    """

    retry_after = 0.0


class RequestLost(QuiesceError):
    """The request was sent and never answered, and left no trace so far."""

    advice = _(
        'The request may still arrive: watch the server, and unquiesce it '
        'if it becomes QUIESCED'
    )


class NotSupported(QuiesceError):
    """Hypervisor, image or guest cannot quiesce; nothing was frozen."""


class Failed(QuiesceError):
    """Nova could not finish; a server in error may still be frozen."""

    advice = _(
        'The guest MAY STILL BE FROZEN: the cloud goes on trying to thaw it, '
        'which "openstack server event list" shows. A hard reboot thaws it, '
        'at the latest one some minutes after nova-compute answers again'
    )


class Superseded(QuiesceError):
    """The request was carried out, and then undone by somebody else.

    Or it never was, since somebody else's came first.
    """


class TimedOut(QuiesceError):
    """The state was not reached in time; it may still be reached later."""


class ServerGone(QuiesceError):
    """The server was deleted meanwhile; there is nothing left to thaw."""


class SeveralErrors(QuiesceError):
    """What went wrong with one or several servers.

    :param errors: an error for each of these servers
    """

    def __init__(self, errors: Sequence[QuiesceError]) -> None:
        super().__init__(' '.join(str(error) for error in errors))
        self.errors = tuple(errors)


class NotConsistent(SeveralErrors):
    """Not every server is quiesced by our own request any more."""

    advice = _('What was saved meanwhile is not consistent')


class ThawFailed(SeveralErrors):
    """Servers that were frozen could not be thawed, or may not have been."""

    advice = _(
        'These servers MAY STILL BE FROZEN: try "openstack server unquiesce"'
    )


def label(server_id: str, server_name: str | None) -> str:
    """Return how messages call a server: by name and id."""
    return f'{server_name} ({server_id})' if server_name else server_id
