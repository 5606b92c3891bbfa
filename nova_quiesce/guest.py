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

"""Freeze and thaw one guest through its nova-compute.

Nova's own RPC methods are used as they are, with two differences: the thaw is
a *call*, so that its result is known (``nova.compute.rpcapi`` only casts it),
and who calls says how long it may take.

What nova-compute answers is put into one of the errors of
:mod:`nova_quiesce.exceptions` by the table :data:`FREEZE_ANSWERS`.  An answer
that is not in the table means that the guest may be frozen.
"""

import dataclasses
import time

import oslo_messaging
import tenacity
from nova import context as nova_context
from nova import exception
from nova import objects
from nova.compute import rpcapi
from oslo_config import cfg
from oslo_log import log as logging
from oslo_messaging import exceptions as messaging_exceptions

from nova_quiesce import exceptions
from nova_quiesce.i18n import _

CONF = cfg.CONF
LOG = logging.getLogger(__name__)

#: seconds that even the last attempt to thaw has
MIN_TIMEOUT = 1.0


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer to a freeze after which nothing of ours is frozen.

    :param raised: the exception that nova-compute answers with
    :param text: what its message must contain; the class alone decides if
        empty
    :param error: what it means to us
    :param reason: what it means, in words for the user
    """

    raised: type[Exception]
    text: str
    error: type[exceptions.GuestError]
    reason: str = ''


# The texts are libvirt's and QEMU's: their codes are too coarse.  Code 86
# (VIR_ERR_AGENT_UNRESPONSIVE), for one, is also the answer of an agent that
# freezes later, when it wakes up.  All were seen with Nova 34, libvirt 9.0.0
# and QEMU 7.2; the exceptions are raised by nova/virt/libvirt/driver.py in
# _can_quiesce and _set_quiesced.
FREEZE_ANSWERS = (
    # Another hypervisor, or virt_type neither kvm nor qemu.
    Answer(exception.InstanceQuiesceNotSupported, '',
           exceptions.CannotQuiesce,
           _("the server's hypervisor cannot quiesce guests")),
    # nova/virt/driver.py: a driver without quiesce.
    Answer(NotImplementedError, '',
           exceptions.CannotQuiesce,
           _("the server's hypervisor cannot quiesce guests")),
    # The image has no property hw_qemu_guest_agent.
    Answer(exception.QemuGuestAgentNotEnabled, '',
           exceptions.CannotQuiesce,
           _("QEMU guest agent is not enabled (the server's image lacks the "
             "property hw_qemu_guest_agent=yes)")),
    # Code 86: agent never started, or gone; nothing was sent to it.
    Answer(exception.InstanceQuiesceFailed,
           'QEMU guest agent is not connected',
           exceptions.CannotQuiesce,
           _('QEMU guest agent is not connected (is it installed and running '
             'in the guest?)')),
    # Code 74 (VIR_ERR_ARGUMENT_UNSUPPORTED): domain without agent channel.
    Answer(exception.InternalError,
           'QEMU guest agent is not configured',
           exceptions.CannotQuiesce,
           _('QEMU guest agent is not configured (the server was started '
             'without an agent channel; reboot it hard)')),
    # Code 55 (VIR_ERR_OPERATION_INVALID): paused or shut off behind Nova.
    Answer(exception.InternalError,
           'domain is not running',
           exceptions.CannotQuiesce,
           _('the guest is not running on the hypervisor, although Nova has '
             'it as active')),
    # Code 1 (VIR_ERR_INTERNAL_ERROR), QEMU's text.
    Answer(exception.InternalError,
           'the agent is in frozen state',
           exceptions.FrozenByOthers),
)


# Code 55, for a guest that is shut off, and for one that is paused, which may
# be frozen all the same.
NOT_RUNNING = 'domain is not running'


class ComputeAPI(rpcapi.ComputeAPI):
    """nova-compute's RPC API, with a bound and with a result for the thaw."""

    def _call(self, context: nova_context.RequestContext,
              instance: objects.Instance, method: str, timeout: float,
              **kwargs: object) -> None:
        if not instance.host:
            # Else any nova-compute would take the message for its own.
            raise exception.InstanceNotFound(instance_id=instance.uuid)
        client = self.router.client(context).prepare(
            server=instance.host, version=self._ver(context, '5.0'),
            timeout=timeout)
        client.call(context, method, instance=instance, **kwargs)

    def quiesce_instance(self, context: nova_context.RequestContext,
                         instance: objects.Instance, timeout: float) -> None:
        """Freeze, and wait for the result for so many seconds."""
        self._call(context, instance, 'quiesce_instance', timeout)

    def unquiesce_instance(self, context: nova_context.RequestContext,
                           instance: objects.Instance, timeout: float,
                           ) -> None:
        """Thaw, and wait for the result for so many seconds."""
        self._call(context, instance, 'unquiesce_instance', timeout,
                   mapping=None)


def _words(error: Exception, timeout: float) -> str:
    """Return what an error says, also if it says nothing."""
    if isinstance(error, messaging_exceptions.MessagingTimeout):
        return _('no answer from nova-compute within %g seconds') % round(
            timeout, 1)
    if isinstance(error, exception.NovaException):
        text = error.format_message()
    else:
        text = str(error)
    # What came over the message bus has the traceback of the other side
    # behind its text.
    return text.partition('\nTraceback ')[0].strip() or type(error).__name__


def _is_answer(error: Exception) -> bool:
    """Say whether nova-compute answered, so that nothing is under way."""
    return isinstance(error, (exception.NovaException, NotImplementedError,
                              oslo_messaging.RemoteError))


def _freeze_error(error: Exception, timeout: float) -> exceptions.GuestError:
    words = _words(error, timeout)
    for answer in FREEZE_ANSWERS:
        if isinstance(error, answer.raised) and answer.text in words:
            return answer.error(reason=answer.reason)
    failed = exceptions.QuiesceFailed(reason=words)
    failed.under_way = not _is_answer(error)
    return failed


def _thaw_error(error: Exception, timeout: float,
                ) -> exceptions.UnquiesceFailed:
    words = _words(error, timeout)
    if isinstance(error, exception.InstanceNotFound) or (
            isinstance(error, exception.InternalError)
            and NOT_RUNNING in words):
        return exceptions.GuestNotRunning(reason=words)
    failed = exceptions.UnquiesceFailed(reason=words)
    failed.under_way = not _is_answer(error)
    return failed


class Guests:
    """The guests of a cloud, seen through its nova-computes."""

    def __init__(self) -> None:
        self._compute = ComputeAPI()

    def freeze(self, context: nova_context.RequestContext,
               instance: objects.Instance, timeout: float) -> None:
        """Flush and freeze every filesystem of the guest.

        :param timeout: for how many seconds to wait
        :raises CannotQuiesce: if nothing was frozen
        :raises FrozenByOthers: if it was frozen before
        :raises QuiesceFailed: if it may be frozen now
        """
        try:
            self._compute.quiesce_instance(context, instance, timeout)
        except Exception as error:
            raise _freeze_error(error, timeout) from error

    def thaw(self, context: nova_context.RequestContext,
             instance: objects.Instance, timeout: float) -> None:
        """Thaw every filesystem of the guest; harmless if it is thawed.

        Tries it several times, but not once an attempt has timed out.

        :param timeout: for how many seconds to wait, for all attempts
        :raises GuestNotRunning: if there is nothing that could be thawed now
        :raises UnquiesceFailed: if no thaw was confirmed
        """
        end = time.monotonic() + timeout
        retry = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_answer)
            & tenacity.retry_if_not_exception_type(
                exception.InstanceNotFound),
            stop=tenacity.stop_after_attempt(CONF.quiesce.thaw_attempts)
            | tenacity.stop_after_delay(timeout),
            wait=tenacity.wait_exponential(multiplier=0.2, max=2),
            before_sleep=lambda attempt: LOG.warning(
                'Thaw attempt %d failed, trying again',
                attempt.attempt_number, instance=instance),
            reraise=True)
        try:
            for attempt in retry:
                with attempt:
                    left = max(end - time.monotonic(), MIN_TIMEOUT)
                    self._compute.unquiesce_instance(context, instance, left)
        except Exception as error:
            raise _thaw_error(error, timeout) from error
