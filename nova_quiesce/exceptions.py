# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""What can go wrong with a guest, in words that reach the user.

The text of each error becomes the ``details`` of the failed event of the
instance action (255 characters at most), and of the instance fault where the
server ends in ``error``.
"""

from nova import exception

from nova_quiesce.i18n import _
from nova_quiesce import states


class GuestError(exception.NovaException):
    """Freezing or thawing a guest did not go well.

    :cvar outcome: the :class:`~nova_quiesce.states.Outcome` it amounts to
    :ivar under_way: whether nova-compute gave no answer, so that what was
        asked of it may still happen
    """

    outcome = states.Outcome.FAILED
    under_way = False


class CannotQuiesce(GuestError):
    """Hypervisor, image or guest cannot: nothing was frozen."""

    outcome = states.Outcome.REFUSED
    msg_fmt = _('Not supported, nothing was frozen: %(reason)s')


class FrozenByOthers(GuestError):
    """The guest was frozen before we asked: whoever did it owns it."""

    outcome = states.Outcome.REFUSED
    msg_fmt = _('The guest had been frozen by somebody else before this '
                'request, and was left frozen: whoever froze it must thaw it')


class WasStillFrozen(GuestError):
    """The guest was frozen by an earlier request of ours: now thawed."""

    outcome = states.Outcome.REFUSED
    msg_fmt = _('The guest was still frozen by an earlier request to quiesce '
                'it; it has been thawed now: try again')


class QuiesceFailed(GuestError):
    """The freeze failed, or its outcome is unknown."""

    msg_fmt = _('The freeze failed or its outcome is unknown: %(reason)s')


class UnquiesceFailed(GuestError):
    """No thaw was confirmed: the guest may still be frozen."""

    msg_fmt = _('The thaw failed, the guest may still be frozen: %(reason)s')


class GuestNotRunning(UnquiesceFailed):
    """There is no running guest that could be thawed."""


class Interrupted(GuestError):
    """Nobody carries the request out any more."""

    msg_fmt = _('%(why)s; the guest, which may be frozen, is being thawed')


class Deleted(GuestError):
    """The server was deleted while the service worked."""

    msg_fmt = _('The server was deleted meanwhile')


class NotSent(GuestError):
    """nova-api could not tell any nova-quiesce of a request."""

    code = 503
    msg_fmt = _('The request could not be sent to nova-quiesce, and nothing '
                'was done to the guest: try again')


class NoService(exception.NovaException):
    """No nova-quiesce is up: nobody would carry a request out."""

    code = 503
    msg_fmt = _('No nova-quiesce service is up: nothing was done to the '
                'server')


class StateChanged(GuestError):
    """Somebody changed the server's state while the service worked."""

    msg_fmt = _('The state of the server was changed by another request '
                'meanwhile (now vm_state %(vm_state)s, task_state '
                '%(task_state)s)')
