# SPDX-License-Identifier: Apache-2.0

"""Freeze and thaw one guest through its nova-compute.

Nova's own RPC methods are used as they are, with two differences: the thaw is
a *call*, so that its result is known (``nova.compute.rpcapi`` only casts it),
and who calls says how long it may take.

What nova-compute answers becomes one of the errors of
:mod:`nova_quiesce.exceptions` by the tables below.
"""

import dataclasses
import re
import time
from collections.abc import Iterable

import oslo_messaging
import tenacity
from nova import context as nova_context
from nova import exception
from nova import objects
from nova.compute import rpcapi
from oslo_log import log as logging
from oslo_messaging import exceptions as messaging_exceptions

from nova_quiesce import exceptions
from nova_quiesce import notification_states
from nova_quiesce import times
from nova_quiesce.i18n import _

LOG = logging.getLogger(__name__)

THAW_ATTEMPTS = 3
#: seconds, for the answer that never comes
OPEN_TIMEOUT = 0.1

#: What libvirt (qemuAgentCheckError) puts before the words of the agent.
AGENT = re.compile(
    "unable to execute QEMU agent command(?: '[^']*')?(?:: )?(.*)", re.DOTALL)
# VIR_ERR_INTERNAL_ERROR; VIR_ERR_AGENT_COMMAND_FAILED in newer libvirt.
AGENT_CODES = (1, 113)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What nova-compute answers to a freeze, or a thaw, that did not work.

    :param reason: what it means, for the user; else the answer's own words
    :param codes: libvirt's error codes, of which Nova puts one into its text
    :param pattern: regular expression for the text: the codes are coarse
    """

    raised: type[Exception]
    error: type[exceptions.GuestError]
    reason: str = ''
    codes: tuple[int, ...] = ()
    pattern: str = ''

    def is_given(self, error: Exception, words: str) -> bool:
        """Return whether it is what an exception with these words says."""
        codes = ['[Error Code %d]' % code for code in self.codes] or ['']
        return (isinstance(error, self.raised)
                and any(code in words for code in codes)
                and re.search(self.pattern, words) is not None)


# Nova's nova/virt/libvirt/driver.py, _set_quiesced, raises the first for
# libvirt's code 86 (VIR_ERR_AGENT_UNRESPONSIVE), and the second for all
# others.  Source of the texts: libvirt's src/qemu/qemu_agent.c and
# qemu_domain.c, or QEMU where a comment names it.  "Seen" means that Nova
# 34.0.0 with libvirt 9.0.0 and QEMU 7.2 gave this answer.
_Failed, _Internal = exception.InstanceQuiesceFailed, exception.InternalError
_Cannot = exceptions.CannotQuiesce

# Paused or shut off behind Nova's back (VIR_ERR_OPERATION_INVALID; seen), or
# gone, as after a reboot of the host (the last is VIR_ERR_NO_DOMAIN).
NOT_RUNNING = Answer(_Internal, _Cannot, _(
    'the guest is not running on the hypervisor, although Nova has it as '
    'active'), (55,), 'domain is not running')
NO_GUEST = Answer(
    exception.InstanceNotFound, _Cannot, NOT_RUNNING.reason)
NO_DOMAIN = Answer(
    _Internal, _Cannot, NOT_RUNNING.reason, (42,), 'Domain not found')
# QEMU's qapi/qmp-dispatch.c; qga/commands-win32.c before and since 9.2.
# libvirt's qemuAgentStringifyErrorClass for agents that give no text.
NO_COMMAND = Answer(_Internal, _Cannot, _(
    'QEMU guest agent cannot freeze (it lacks the command, or Windows lacks '
    'VSS)'), AGENT_CODES,
    r'[Cc]ommand (\S+ )?has not been found|CommandNotFound'
    '|this feature or command is not currently supported'
    '|VSS failed to initialize')

#: The guest can neither be frozen nor thawed, until it is started again.
UNABLE = (
    NO_COMMAND,
    # virt_type neither kvm nor qemu; nova/virt/driver.py: another hypervisor.
    *(Answer(raised, _Cannot, _(
        "the server's hypervisor cannot quiesce guests"))
      for raised in (exception.InstanceQuiesceNotSupported,
                     NotImplementedError)),
    # The image has no property hw_qemu_guest_agent.  Seen.
    Answer(exception.QemuGuestAgentNotEnabled, _Cannot, _(
        "QEMU guest agent is not enabled (the server's image lacks the "
        "property hw_qemu_guest_agent=yes)")),
    # VIR_ERR_ARGUMENT_UNSUPPORTED: the domain has no channel to an agent.
    # Seen from libvirt itself: Nova asks only if the image promises an agent.
    Answer(_Internal, _Cannot, _(
        'QEMU guest agent is not configured (the server was started without '
        'an agent channel; reboot it hard)'),
        (74,), 'QEMU guest agent is not configured'),
)

#: What an answer to a freeze means: the first row that holds.  What is in no
#: row has failed: the guest may be frozen.
FREEZE_ANSWERS = (
    NO_GUEST, NO_DOMAIN, NOT_RUNNING, *UNABLE,
    # Never started or gone (seen), or unusable since an earlier error:
    # nothing was sent.
    Answer(_Failed, _Cannot, _(
        'QEMU guest agent is not connected (is it installed and running in '
        'the guest?)'),
        (86,), 'QEMU guest agent is not (connected|available due to an error)'
    ),
    # And yet it does what it was told when it wakes up.  Seen.  The latter is
    # newer libvirt; 112 is its VIR_ERR_AGENT_COMMAND_TIMEOUT.
    Answer(exception.NovaException, exceptions.QuiesceFailed, _(
        'QEMU guest agent does not answer (Guest agent not available for '
        'now)'), (86, 112),
        "Guest agent not available for now|guest agent didn't respond to"),
    # Agent or guest ended in the middle of it.  Seen.
    Answer(_Failed, exceptions.QuiesceFailed, _(
        'QEMU guest agent has ended in the middle of it (Guest agent '
        'disappeared while executing command)'),
        (86,), 'Guest agent disappeared while executing command'),
    # VIR_ERR_OPERATION_TIMEOUT: another call waits for the agent.  Seen for a
    # thaw, during a freeze.
    Answer(_Internal, exceptions.QuiesceFailed, _(
        'another request to the QEMU guest agent has not ended (cannot '
        'acquire state change lock)'),
        (68,), 'cannot acquire state change lock'),
    # QEMU 6.0 to 9.0.  Seen.
    Answer(_Internal, exceptions.FrozenByOthers, '',
           AGENT_CODES, 'the agent is in frozen state'),
    # A blocked command, or a frozen guest: but for QEMU 6.0 to 9.0 the text is
    # the same ("for this instance" before, "not allowed" since).  A guest that
    # osc-quiesce has frozen is never frozen again, so this one is left as it
    # is.
    Answer(_Internal, _Cannot, _(
        'QEMU guest agent does not allow it (the command is blocked, or '
        'another program has frozen the guest, which was left as it is)'),
        AGENT_CODES, r'[Cc]ommand (\S+ )?has been disabled'),
    # The agent has tried, and has undone it: QEMU's qga/commands-posix.c and
    # qga/vss-win32/requester.cpp.
    Answer(_Internal, exceptions.QuiesceFailed, '', AGENT_CODES,
           'fsfreeze hook has failed|failed to (open|freeze) '
           '|Resource deadlock avoided|Frozen event|snapshot set'),
)

#: The same for a thaw.  What is in no row is tried again.
THAW_ANSWERS = (
    *(dataclasses.replace(row, error=exceptions.GuestNotRunning, reason='')
      for row in (NO_GUEST, NO_DOMAIN, NOT_RUNNING)),
    *(dataclasses.replace(row, error=exceptions.ThawNotPossible, reason='')
      for row in UNABLE),
    # Windows: VSS has ended the freeze before, after 10 seconds or for
    # another reason.  The agent lets go in any case (qga/commands-win32.c).
    Answer(_Internal, exceptions.FreezeLapsed, '', AGENT_CODES,
           'fsfreeze is limited up to|unexpected error in VSS provider'
           '|Frozen event|failed to do snapshot set'),
)


class ComputeAPI(rpcapi.ComputeAPI):
    """nova-compute's RPC API, with a bound and with a result for the thaw."""

    def _call(self, context: nova_context.RequestContext,
              instance: objects.Instance, method: str, timeout: float,
              monitor: float | None = None, **kwargs: object) -> None:
        if not instance.host:
            # Else any nova-compute would take the message for its own.
            raise exception.InstanceNotFound(instance_id=instance.uuid)
        client = self.router.client(context).prepare(
            server=instance.host, version=self._ver(context, '5.0'),
            timeout=timeout, call_monitor_timeout=monitor,
            retry=times.BUS_RETRIES)
        client.call(context, method, instance=instance, **kwargs)

    def open_bus(self, context: nova_context.RequestContext) -> bool:
        """Have the queue for answers from the context's cell made.

        oslo.messaging makes it for the first call, and waits for the broker
        without a bound. A freeze or a thaw that waits so would be sent when
        its lease has ended. So the first call goes to no nova-compute.

        :returns: False if the broker refuses it. Then it refuses a freeze or a
            thaw at once, too, and the end of that tells why.
        """
        client = self.router.client(context).prepare(
            server=notification_states.SOURCE,
            version=self._ver(context, '5.0'), timeout=OPEN_TIMEOUT)
        try:
            client.call(context, 'nothing')
        except messaging_exceptions.MessagingTimeout:
            return True
        except Exception:
            return False
        return True

    def quiesce_instance(self, context: nova_context.RequestContext,
                         instance: objects.Instance, timeout: float) -> None:
        """Freeze, and wait for the result for so many seconds."""
        self._call(context, instance, 'quiesce_instance', timeout)

    def unquiesce_instance(self, context: nova_context.RequestContext,
                           instance: objects.Instance, timeout: float,
                           ) -> None:
        """Thaw, and wait for the result for so many seconds.

        Less if nova-compute gives no sign of life: it has died with it.
        """
        self._call(context, instance, 'unquiesce_instance', timeout,
                   times.CALL_MONITOR_TIMEOUT, mapping=None)


def _words(error: Exception, waited: float) -> str:
    """Return what an error says, also if it says nothing."""
    if isinstance(error, messaging_exceptions.MessagingTimeout):
        return _('no answer from nova-compute within %g seconds') % round(
            waited, 1)
    if isinstance(error, exception.NovaException):
        text = error.format_message()
    else:
        text = str(error)
    # What came over the message bus has the traceback of the other side
    # behind its text.
    return text.partition('\nTraceback ')[0].strip() or type(error).__name__


def _is_answer(error: BaseException | None) -> bool:
    """Return whether nova-compute answered, so that nothing is under way."""
    return isinstance(error, (exception.NovaException, NotImplementedError,
                              oslo_messaging.RemoteError))


def _meaning(table: Iterable[Answer], error: Exception, words: str,
             ) -> exceptions.GuestError | None:
    """Return what the first row that holds makes of an answer."""
    # All that is before the agent's own words would push them out of an event.
    agent = AGENT.search(words)
    own_words = agent[1].strip(' :') if agent else ''
    for row in table:
        if row.is_given(error, words):
            return row.error(reason=row.reason or own_words or words)
    return None


def _thaw_error(error: Exception, waited: float) -> exceptions.GuestError:
    words = _words(error, waited)
    return (_meaning(THAW_ANSWERS, error, words)
            or exceptions.UnquiesceFailed(reason=words))


def _can_be_repeated(error: BaseException) -> bool:
    """Return whether another thaw may succeed, or confirm this one."""
    return (isinstance(error, exceptions.FreezeLapsed)
            or type(error) is exceptions.UnquiesceFailed
            and _is_answer(error.__cause__))


class Guests:
    """The guests of a cloud, seen through its nova-computes."""

    def __init__(self) -> None:
        self._compute = ComputeAPI()
        #: answers to freezes that are in no row
        self.unknown_answers = 0

    def freeze(self, context: nova_context.RequestContext,
               instance: objects.Instance, timeout: float) -> None:
        """Flush and freeze every filesystem of the guest.

        :param timeout: for how many seconds to wait
        :raises CannotQuiesce: if nothing was frozen
        :raises FrozenByOthers: if it was frozen before
        :raises QuiesceFailed: if it may be frozen now, or even later
            (``may_follow``)
        """
        try:
            self._compute.quiesce_instance(context, instance, timeout)
        except Exception as error:
            raise self._freeze_error(error, timeout, instance) from error

    def _freeze_error(self, error: Exception, timeout: float,
                      instance: objects.Instance) -> exceptions.GuestError:
        words = _words(error, timeout)
        failed = _meaning(FREEZE_ANSWERS, error, words)
        if failed is None:
            failed = exceptions.QuiesceFailed(reason=words)
            if _is_answer(error):
                self.unknown_answers += 1
                LOG.warning('The answer to a freeze is in no row: %s', words,
                            instance=instance)
        # An agent that has answered has done with it; any other may wake up.
        failed.may_follow = (isinstance(failed, exceptions.QuiesceFailed)
                             and not AGENT.search(words))
        return failed

    def thaw(self, context: nova_context.RequestContext,
             instance: objects.Instance, timeout: float) -> None:
        """Thaw every filesystem of the guest; harmless if it is thawed.

        Tries it several times, but not once an attempt has timed out.

        :param timeout: for how many seconds to wait, for all attempts
        :raises FreezeLapsed: if it is thawed, but was so before
        :raises ThawedAgain: if it is thawed, but may have been so before
        :raises GuestNotRunning: if there is nothing that could be thawed now
        :raises ThawNotPossible: if it can be neither frozen nor thawed
        :raises UnquiesceFailed: if no thaw was confirmed
        """
        end = time.monotonic() + timeout
        errors: list[exceptions.GuestError] = []

        def attempt() -> None:
            began = time.monotonic()
            try:
                self._compute.unquiesce_instance(
                    context, instance, end - began)
            except Exception as error:
                errors.append(_thaw_error(error, time.monotonic() - began))
                raise errors[-1] from error

        tenacity.Retrying(
            retry=tenacity.retry_if_exception(_can_be_repeated),
            stop=tenacity.stop_after_attempt(THAW_ATTEMPTS)
            | tenacity.stop_after_delay(timeout - times.LAST_ATTEMPT),
            wait=tenacity.wait_exponential(multiplier=0.2, max=2),
            before_sleep=lambda state: LOG.warning(
                'Thaw attempt %d failed, trying again: %s',
                state.attempt_number, errors[-1], instance=instance),
            reraise=True)(attempt)
        # The thaw is confirmed; only an earlier answer tells of the freeze.
        for error in errors:
            if isinstance(error, exceptions.FreezeLapsed):
                raise error
        if errors:
            raise exceptions.ThawedAgain()
