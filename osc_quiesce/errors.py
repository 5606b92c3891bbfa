# SPDX-License-Identifier: Apache-2.0

"""The errors that this package raises.

Each tells in whole sentences what happened to which server, what state it is
in, and what to do.
"""

from collections.abc import Sequence

from osc_quiesce.i18n import _
from osc_quiesce import model


class QuiesceError(Exception):
    """Base of all errors of this package.

    :ivar message: what happened, as a sentence that names the server
    :ivar server: the server, as it was last seen; None if unknown
    :ivar request_id: id of the request that the error is about; None if none
    :ivar why: the reason alone, as the cloud has put it; the message by
        default
    """

    advice = ''

    def __init__(self, message: str, server: model.Server | None = None,
                 request_id: str | None = None, why: str = '') -> None:
        super().__init__(message)
        self.message = message
        self.why = why or message
        self.server = server
        self.request_id = request_id

    def __str__(self) -> str:
        parts = [self.message]
        if self.server and self.server.vm_state:
            parts.append(
                _('It was last seen with vm_state %(vm)s, task_state %(task)s')
                % {'vm': self.server.vm_state, 'task': self.server.task_state})
        if self.request_id:
            parts.append(_('The request was %s') % self.request_id)
        if self.advice:
            parts.append(self.advice)
        return ' '.join(part.rstrip('.') + '.' for part in parts)


class Transient(QuiesceError):
    """The same request may well succeed a little later.

    :ivar retry_after: seconds to wait before the next attempt, as asked for
        by the cloud; 0 if it named none
    """

    is_transient = True
    retry_after = 0.0


class Refused(QuiesceError):
    """The cloud refused the request and changed nothing."""


class Conflict(Refused):
    """The server is not in the right state, is locked, or never started.

    Or the request to quiesce has ended, or was withdrawn, before.
    """


class Unauthorized(Refused):
    """The cloud does not know the caller, or not any more."""

    advice = _('Check the credentials, the token or the access rules that are '
               'used')


class Forbidden(Refused):
    """The caller is not allowed to do this."""

    advice = _('By default only administrators may quiesce and unquiesce')


class ServerNotFound(Refused):
    """There is no such server, or the caller may not see it."""


class AmbiguousName(Refused):
    """Several servers have this name."""

    advice = _('Name the server by its ID')


class NotInstalled(Refused):
    """This cloud has no quiesce API."""

    advice = _('This cloud has no quiesce API: nova_quiesce is not installed '
               'on its nova-api')


class StillThawing(Conflict, Transient):
    """The guest may still be frozen, and the cloud is thawing it."""

    advice = _('The cloud repeats the thaw until it is confirmed; "openstack '
               'quiesced server list" lists the server until then')


class ServiceUnavailable(Refused, Transient):
    """Nova has no nova-quiesce that is up (503), or is overloaded (429).

    :ivar http_status: 429 or 503
    """

    http_status = 503
    advice = _('Try again later; an administrator runs "nova-quiesce-status '
               'upgrade check" on a controller')


class Unreachable(Transient):
    """No answer of Nova: silence, a page of a proxy, or another 5xx.

    The request may have been carried out.
    """


class NotSupported(QuiesceError):
    """Hypervisor, image or guest cannot quiesce; nothing was frozen."""


class Failed(QuiesceError):
    """The freeze or the thaw has failed; the guest may be frozen."""

    advice = _(
        'The guest MAY STILL BE FROZEN: the cloud goes on trying to thaw it, '
        'which "openstack server event list" shows. A hard reboot thaws it; '
        'if not, repeat it a few minutes after nova-compute is back')


class NoLongerQuiesced(QuiesceError):
    """The server was quiesced by this request, and unquiesced since."""


class QuiescedByAnother(QuiesceError):
    """The server is quiesced, but by another request."""


class TimedOut(QuiesceError):
    """The state was not reached in time; it may still be reached later.

    :ivar request_id: the request that was waited for: if a server was not
        thawed in time, the id of the thaw, where it is known
    """


class ServerGone(QuiesceError):
    """The server was deleted; there is nothing left to thaw."""


class SeveralErrors(QuiesceError):
    """What went wrong with one or several servers.

    :ivar errors: a tuple with an error for each of these servers
    :ivar request_id: the request to quiesce, if they share one
    """

    def __init__(self, errors: Sequence[QuiesceError],
                 request_id: str | None = None) -> None:
        super().__init__(' '.join(str(error) for error in errors),
                         request_id=request_id)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        # Each of the errors names the request that it is about.
        return f'{self.message} {self.advice}.'


class NotConsistent(SeveralErrors):
    """It is not certain that every server stayed frozen."""

    advice = _('Anything that was saved while the servers were quiesced is '
               'not consistent')


class ThawFailed(SeveralErrors):
    """Servers that were frozen could not be thawed, or may not have been.

    :ivar request_id: the request by which the group has quiesced them:
        :meth:`osc_quiesce.client.Client.unquiesce` with this id thaws no
        server that another request has frozen
    """

    advice = _(
        'These servers MAY STILL BE FROZEN: try "openstack server unquiesce"')
