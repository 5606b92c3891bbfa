# SPDX-License-Identifier: Apache-2.0

"""What can go wrong, in words that reach the user.

The text of an error of a guest becomes the ``details`` of the failed event of
the instance action (255 characters at most), and of the instance fault if the
server ends in ``error``.
"""

from nova import exception

from nova_quiesce import states
from nova_quiesce.i18n import _


class QuiesceError(exception.NovaException):
    """What the server half raises."""


class GuestError(QuiesceError):
    """A freeze or a thaw of a guest did not succeed.

    :cvar outcome: the :class:`~nova_quiesce.states.Outcome` it amounts to
    :ivar may_follow: whether the guest may be frozen later than this error
    """

    outcome = states.Outcome.FAILED
    may_follow = False


class CannotQuiesce(GuestError):
    """Hypervisor, image or guest cannot: nothing was frozen."""

    outcome = states.Outcome.REFUSED
    msg_fmt = _('Not supported, nothing was frozen: %(reason)s')


class FrozenByOthers(GuestError):
    """The guest was frozen before the request: its owner is another."""

    outcome = states.Outcome.REFUSED
    msg_fmt = _('The guest had been frozen by another program before this '
                'request, and was left frozen: that program must thaw it')


class Withdrawn(GuestError):
    """A request to unquiesce came before the guest was frozen."""

    outcome = states.Outcome.REFUSED
    msg_fmt = _('The request was withdrawn; the guest is not frozen by it')


class NotTakenUp(GuestError):
    """No service took the request up in time: nothing was sent."""

    outcome = states.Outcome.REFUSED
    msg_fmt = _('No nova-quiesce took the request up within %(seconds)d '
                'seconds; nothing was frozen')


class QuiesceFailed(GuestError):
    """The freeze failed, or its outcome is unknown."""

    msg_fmt = _('The freeze failed or its outcome is unknown: %(reason)s')


class FreezeLapsed(GuestError):
    """The guest is thawed, but its freeze had ended before the thaw."""

    outcome = states.Outcome.DONE
    msg_fmt = _('The guest is thawed, but it had already ended the freeze: '
                '%(reason)s')


class ThawedAgain(GuestError):
    """The guest is thawed, and only an earlier thaw could tell of its freeze.

    A guest that had ended the freeze says so once.
    """

    outcome = states.Outcome.DONE
    msg_fmt = _('The guest is thawed, but it is not known whether it was '
                'frozen until then: an earlier thaw failed, or its end was '
                'not saved')


class UnquiesceFailed(GuestError):
    """No thaw was confirmed: the guest may still be frozen."""

    msg_fmt = _('The thaw failed, the guest may still be frozen: %(reason)s')


class GuestNotRunning(UnquiesceFailed):
    """There is no running guest that could be thawed."""


class ThawNotPossible(UnquiesceFailed):
    """Hypervisor, image or guest can neither freeze nor thaw."""


class Interrupted(GuestError):
    """The service that carried the freeze out does so no longer."""

    msg_fmt = _('The nova-quiesce service was interrupted in the middle of '
                'the freeze; the guest, which may be frozen, is being thawed')


class Deleted(GuestError):
    """The server was deleted while the request was carried out."""

    msg_fmt = _('The server was deleted before the request had ended')


class StateChanged(GuestError):
    """Another request changed the server's state in the meantime."""

    outcome = states.Outcome.REFUSED
    msg_fmt = _('The state of the server was changed by another request '
                '(now vm_state %(vm_state)s, task_state %(task_state)s)')


class NotBegun(GuestError):
    """The server is not, or no longer, to be quiesced by the request."""

    outcome = states.Outcome.REFUSED
    msg_fmt = _('nova-api stopped before it had passed the request on, or the '
                'state of the server was reset: nothing was frozen')


class Conflict(QuiesceError):
    """The server is not in the right condition; nothing was changed."""

    code = 409


class RequestKnown(Conflict):
    """A request of this id has arrived before, or was withdrawn."""

    msg_fmt = _('Request %(request_id)s to quiesce server %(instance_uuid)s '
                'is known already')


class RequestWithdrawn(RequestKnown):
    """The request was withdrawn before it arrived."""

    msg_fmt = _('Request %(request_id)s to quiesce server %(instance_uuid)s '
                'was withdrawn; send a new request with an id of its own')


class RequestEnded(RequestKnown):
    """The request was carried out, or has failed, before."""

    msg_fmt = _('Request %(request_id)s to quiesce server %(instance_uuid)s '
                'has ended (%(how)s); send a new request with an id of its '
                'own')


class NotClearedUp(Conflict):
    """The guest may still be frozen by an earlier request."""

    msg_fmt = _('An earlier request to quiesce server %(instance_uuid)s is '
                'not cleared up yet: its guest may still be frozen, and is '
                'being thawed. Try again later')


class ComputeDown(Conflict):
    """No service could freeze the guest."""

    msg_fmt = _('The nova-compute service of server %(instance_uuid)s is '
                'down: nothing was done to the server. Try again later')


class Unavailable(QuiesceError):
    """The cloud cannot carry requests out now; nothing was changed."""

    code = 503


class NoService(Unavailable):
    """No nova-quiesce is up."""

    msg_fmt = _('No nova-quiesce service is up: nothing was done to the '
                'server')


class SchemaMissing(Unavailable):
    """The table of freezes is not there, or is of another version."""

    msg_fmt = _('The table of freezes has version %(found)s instead of '
                '%(wanted)s: run "nova-quiesce-manage db sync"')


def first_line(error: Exception) -> str:
    """Return what an error says, without what SQLAlchemy has below it."""
    return (str(error).splitlines() or [type(error).__name__])[0]
