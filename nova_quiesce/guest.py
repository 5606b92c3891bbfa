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


NOT_RUNNING = 'domain is not running'


@dataclasses.dataclass(frozen=True)
class Answer:
    """What nova-compute answers to a freeze, or a thaw, that did not work.

    :param raised: the exception
    :param error: what it means to us: that we cannot, or that it failed
    :param reason: what it means, in words for the user
    :param code: libvirt's error code, which Nova puts into the message; None
        if it is not libvirt that answers
    :param text: what the message must contain too, since libvirt's codes are
        coarse
    """

    raised: type[Exception]
    error: type[exceptions.GuestError]
    reason: str
    code: int | None = None
    text: str = ''

    def is_given(self, error: Exception, words: str) -> bool:
        """Say whether it is what an exception with these words says."""
        return (isinstance(error, self.raised) and self.text in words
                and (self.code is None
                     or '[Error Code %d]' % self.code in words))


# Source of the exceptions: nova/virt/libvirt/driver.py, _can_quiesce and
# _set_quiesced, which raises InstanceQuiesceFailed for code 86 and
# InternalError for all others.  Source of the texts: libvirt's
# src/qemu/qemu_agent.c and qemu_domain.c, and QEMU's guest agent where said.
# Each was seen, with Nova 34.0.0, libvirt 9.0.0 and QEMU 7.2, except where
# said.  What is not in the table has failed: the guest may be frozen.
FREEZE_ANSWERS = (
    # Another hypervisor, or virt_type neither kvm nor qemu.  Not seen.
    Answer(exception.InstanceQuiesceNotSupported, exceptions.CannotQuiesce,
           _("the server's hypervisor cannot quiesce guests")),
    # nova/virt/driver.py: a driver without quiesce.  Not seen.
    Answer(NotImplementedError, exceptions.CannotQuiesce,
           _("the server's hypervisor cannot quiesce guests")),
    # The image has no property hw_qemu_guest_agent.
    Answer(exception.QemuGuestAgentNotEnabled, exceptions.CannotQuiesce,
           _("QEMU guest agent is not enabled (the server's image lacks the "
             "property hw_qemu_guest_agent=yes)")),
    # VIR_ERR_AGENT_UNRESPONSIVE: never started, or gone; nothing was sent.
    Answer(exception.InstanceQuiesceFailed, exceptions.CannotQuiesce,
           _('QEMU guest agent is not connected (is it installed and running '
             'in the guest?)'),
           code=86, text='QEMU guest agent is not connected'),
    # The same code, and yet it does what it was told when it wakes up.
    Answer(exception.InstanceQuiesceFailed, exceptions.QuiesceFailed,
           _('QEMU guest agent does not answer (Guest agent not available '
             'for now)'),
           code=86, text='Guest agent not available for now'),
    # The same code: the agent or the guest ended in the middle of it.
    Answer(exception.InstanceQuiesceFailed, exceptions.QuiesceFailed,
           _('QEMU guest agent has ended in the middle of it (Guest agent '
             'disappeared while executing command)'),
           code=86, text='Guest agent disappeared while executing command'),
    # VIR_ERR_ARGUMENT_UNSUPPORTED: the domain has no channel to an agent.
    # Seen from libvirt itself: Nova asks only if the image promises an agent.
    Answer(exception.InternalError, exceptions.CannotQuiesce,
           _('QEMU guest agent is not configured (the server was started '
             'without an agent channel; reboot it hard)'),
           code=74, text='QEMU guest agent is not configured'),
    # VIR_ERR_OPERATION_INVALID: paused or shut off behind Nova's back.
    Answer(exception.InternalError, exceptions.CannotQuiesce,
           _('the guest is not running on the hypervisor, although Nova has '
             'it as active'),
           code=55, text=NOT_RUNNING),
    # VIR_ERR_INTERNAL_ERROR, with the text of QEMU's guest agent.
    Answer(exception.InternalError, exceptions.FrozenByOthers, '',
           code=1, text='the agent is in frozen state'),
    # VIR_ERR_OPERATION_TIMEOUT: another call waits for the agent.  Seen for a
    # thaw, during a freeze.
    Answer(exception.InternalError, exceptions.QuiesceFailed,
           _('another request to the QEMU guest agent has not ended (cannot '
             'acquire state change lock)'),
           code=68, text='cannot acquire state change lock'),
)

# VIR_ERR_OPERATION_INVALID again: shut off, or paused and frozen all the same.
NOTHING_TO_THAW = Answer(
    exception.InternalError, exceptions.GuestNotRunning, '',
    code=55, text=NOT_RUNNING)


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
        if answer.is_given(error, words):
            return answer.error(reason=answer.reason)
    failed = exceptions.QuiesceFailed(reason=words)
    failed.under_way = not _is_answer(error)
    return failed


def _thaw_error(error: Exception, timeout: float,
                ) -> exceptions.UnquiesceFailed:
    words = _words(error, timeout)
    if (isinstance(error, exception.InstanceNotFound)
            or NOTHING_TO_THAW.is_given(error, words)):
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
