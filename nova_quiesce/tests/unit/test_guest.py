# SPDX-License-Identifier: Apache-2.0

import sys
import time
import unittest
from typing import Any
from unittest import mock

import oslo_messaging
from nova import exception
from oslo_messaging import exceptions as messaging_exceptions
from oslo_messaging._drivers import common

from nova_quiesce import exceptions
from nova_quiesce import guest
from nova_quiesce import states
from nova_quiesce import times

LIBVIRT = 'Error from libvirt while quiescing i: [Error Code %d] %s'
AGENT = "%s: unable to execute QEMU agent command 'guest-fsfreeze-%s': %s"
NOT_RUNNING = 'Requested operation is not valid: domain is not running'
NO_DOMAIN = "Domain not found: no domain with matching uuid 'u' (i)"

#: What agents say that do not allow a freeze, or a thaw.  Each of them in the
#: words of one version: see QEMU's qapi/qmp-dispatch.c.
DISABLED = (
    'The command guest-fsfreeze-%s has been disabled for this instance',
    'The command has been disabled for this instance',    # libvirt's own
    'Command guest-fsfreeze-%s has been disabled',
    'Command guest-fsfreeze-%s has been disabled: the command is not allowed')
NO_COMMAND = (
    'The command guest-fsfreeze-%s has not been found',
    'The command has not been found',    # libvirt's own
    'CommandNotFound',
    'this feature or command is not currently supported',
    'fsfreeze not possible as VSS failed to initialize')
#: What they say after they have tried to freeze, and have undone it.
TRIED = (
    'fsfreeze hook has failed with status 1',
    'failed to open /data: Permission denied',
    'failed to freeze /: Input/output error',
    'Resource deadlock avoided',
    'timeout when try to receive Frozen event from VSS provider',
    'DoSnapshotSet exited without Frozen event: ',
    'failed to start snapshot set: ')
#: What they say to a thaw if Windows has ended the freeze before.
LAPSED = (
    "couldn't hold writes: fsfreeze is limited up to 10 seconds: ",
    'unexpected error in VSS provider: ',
    'failed to do snapshot set: ',
    'timeout when try to receive Frozen event from VSS provider')


def internal(code: int, text: str) -> Exception:
    """Return what Nova makes of most errors of libvirt."""
    return exception.InternalError(LIBVIRT % (code, text))


def unresponsive(text: str) -> Exception:
    """Return what Nova makes of libvirt's VIR_ERR_AGENT_UNRESPONSIVE."""
    return exception.InstanceQuiesceFailed(reason=LIBVIRT % (
        86, 'Guest agent is not responding: ' + text))


def says(text: str, command: str = 'freeze') -> list[Exception]:
    """Return what comes of the words of an agent, by old and new libvirt."""
    if '%s' in text:
        text %= command
    return [internal(code, AGENT % (title, command, text)) for code, title in (
        (1, 'internal error'), (113, 'guest agent command failed'))]


def over_the_bus(error: Exception) -> Exception:
    """Return an exception as it arrives over a real message bus."""
    try:
        raise error
    except Exception:
        sent = common.serialize_remote_exception(sys.exc_info())
    received: Exception = common.deserialize_remote_exception(
        sent, ['nova.exception', 'builtins'])
    return received


class GuestTest(unittest.TestCase):

    def setUp(self) -> None:
        self.compute = self._patch(
            mock.patch.object(guest, 'ComputeAPI')).return_value
        self._patch(mock.patch('time.sleep'))
        self.guests = guest.Guests()
        self.instance: Any = mock.Mock(uuid='u', host='cmp1')
        self.context: Any = mock.Mock()

    def _patch(self, patch: Any) -> Any:
        self.addCleanup(patch.stop)
        return patch.start()


class TestFreeze(GuestTest):

    def _freeze(self, answer: Exception) -> exceptions.GuestError:
        self.compute.quiesce_instance.side_effect = answer
        with self.assertRaises(exceptions.GuestError) as caught:
            self.guests.freeze(self.context, self.instance, 45)
        return caught.exception

    def _assert(self, answer: Exception, means: type[exceptions.GuestError],
                may_follow: bool = False, known: bool = True,
                ) -> exceptions.GuestError:
        """Assert what an answer means, here and over the bus."""
        for given in (answer, over_the_bus(answer)):
            with self.subTest(answer=given):
                before = self.guests.unknown_answers
                error = self._freeze(given)
                self.assertIs(means, type(error))
                self.assertEqual(may_follow, error.may_follow)
                self.assertEqual(known, self.guests.unknown_answers == before)
                self.assertNotIn('Traceback', str(error))
        return error

    def test_success(self) -> None:
        self.guests.freeze(self.context, self.instance, 45)
        self.compute.quiesce_instance.assert_called_once_with(
            self.context, self.instance, 45)

    def test_nothing_was_frozen(self) -> None:
        for answer, reason in (
                (exception.InstanceQuiesceNotSupported(instance_id='i'),
                 'hypervisor cannot quiesce'),
                (NotImplementedError(), 'hypervisor cannot quiesce'),
                (exception.QemuGuestAgentNotEnabled(), 'hw_qemu_guest_agent'),
                (exception.InstanceNotFound(instance_id='i'), 'not running'),
                (internal(42, NO_DOMAIN), 'not running'),
                (internal(55, NOT_RUNNING), 'not running'),
                (internal(74, 'argument unsupported: '
                              'QEMU guest agent is not configured'),
                 'reboot it hard'),
                (unresponsive('QEMU guest agent is not connected'),
                 'is it installed'),
                (unresponsive('QEMU guest agent is not available due to an '
                              'error'), 'is it installed')):
            error = self._assert(answer, exceptions.CannotQuiesce)
            self.assertIn(reason, str(error))
            self.assertIs(states.Outcome.REFUSED, error.outcome)

    def test_the_agent_has_no_command_to_freeze(self) -> None:
        for text in NO_COMMAND:
            for answer in says(text):
                error = self._assert(answer, exceptions.CannotQuiesce)
                self.assertIn('lacks the command', str(error))

    def test_the_agent_does_not_allow_it(self) -> None:
        for text in DISABLED:
            for answer in says(text):
                error = self._assert(answer, exceptions.CannotQuiesce)
                self.assertIn('blocked, or another program has', str(error))

    def test_frozen_by_somebody_else(self) -> None:
        for answer in says('Command guest-fsfreeze-%s has been disabled: '
                           'the agent is in frozen state'):
            self._assert(answer, exceptions.FrozenByOthers)

    def test_the_agent_has_tried(self) -> None:
        for text in TRIED:
            for answer in says(text):
                error = self._assert(answer, exceptions.QuiesceFailed)
                self.assertEqual(
                    'The freeze failed or its outcome is unknown: '
                    + text.strip(': '), str(error))

    def test_it_may_be_frozen_later(self) -> None:
        for answer in (
                unresponsive('Guest agent not available for now'),
                unresponsive("guest agent didn't respond to synchronization "
                             "within '5' seconds"),
                internal(112, "guest agent command timed out: guest agent "
                              "didn't respond to command within '5' seconds"),
                unresponsive('Guest agent disappeared while executing '
                             'command'),
                internal(68, 'Timed out during operation: cannot acquire '
                             'state change lock (held by agent=remote)')):
            self._assert(answer, exceptions.QuiesceFailed, may_follow=True)

    def test_without_an_answer_it_may_follow(self) -> None:
        for answer in (messaging_exceptions.MessagingTimeout(),
                       messaging_exceptions.MessageDeliveryFailure(),
                       ConnectionResetError(), RuntimeError('anything')):
            with self.subTest(answer=answer):
                error = self._freeze(answer)
                self.assertIs(exceptions.QuiesceFailed, type(error))
                self.assertTrue(error.may_follow)
        self.assertEqual(0, self.guests.unknown_answers)

    def test_an_unknown_answer_may_be_a_freeze(self) -> None:
        for answer in (
                unresponsive('something new'),
                internal(38, 'Unable to write to agent'),
                internal(68, 'no lock'),
                # The code alone does not tell, nor the text alone.
                internal(1, 'internal error: client socket is closed'),
                internal(42, 'something new'),
                internal(55, 'something new'),
                internal(74, 'something new'),
                *(internal(38, text) for text in (
                    NOT_RUNNING, NO_DOMAIN, *NO_COMMAND, *DISABLED, *TRIED,
                    'the agent is in frozen state',
                    'QEMU guest agent is not configured',
                    "guest agent didn't respond to command",
                    'cannot acquire state change lock')),
                *(exception.InstanceQuiesceFailed(reason=LIBVIRT % (38, text))
                  for text in (
                      'QEMU guest agent is not connected',
                      'Guest agent disappeared while executing command'))):
            self._assert(answer, exceptions.QuiesceFailed, may_follow=True,
                         known=False)

    def test_an_unknown_answer_of_an_agent_is_final(self) -> None:
        for answer in (*says('something new'), internal(
                1, "unable to execute QEMU agent command 'guest-x'")):
            self._assert(answer, exceptions.QuiesceFailed, known=False)

    def test_an_unknown_answer_is_told_and_counted(self) -> None:
        with self.assertLogs(guest.LOG.logger, 'WARNING') as logs:
            self._freeze(internal(1, 'something new'))
            self._freeze(oslo_messaging.RemoteError('KeyError', 'x'))
        self.assertIn('something new', logs.output[0])
        self.assertEqual(2, self.guests.unknown_answers)

    def test_a_timeout_is_told_in_seconds(self) -> None:
        error = self._freeze(messaging_exceptions.MessagingTimeout())
        self.assertIn('within 45 seconds', str(error))

    def test_a_message_fits_an_instance_action_event(self) -> None:
        for answer in guest.FREEZE_ANSWERS:
            self.assertLessEqual(
                len(str(answer.error(reason=answer.reason))), 255)


class TestThaw(GuestTest):

    def _thaw(self, *answers: Exception | None) -> None:
        self.compute.unquiesce_instance.side_effect = answers
        self.compute.unquiesce_instance.reset_mock()
        self.guests.thaw(self.context, self.instance, 60)

    def _assert(self, means: type[exceptions.GuestError], attempts: int,
                *answers: Exception | None) -> exceptions.GuestError:
        with self.subTest(answers=answers):
            with self.assertRaises(exceptions.GuestError) as caught:
                self._thaw(*answers)
            self.assertIs(means, type(caught.exception))
            self.assertEqual(
                attempts, self.compute.unquiesce_instance.call_count)
        return caught.exception

    def test_a_failed_thaw_is_tried_again_and_proves_nothing(self) -> None:
        # The guest may have been asked, and does not tell twice of a lapse.
        self._assert(
            exceptions.ThawedAgain, 3,
            *says('fsfreeze hook has failed with status 1', 'thaw'), None)
        self._assert(
            exceptions.ThawedAgain, 2, exception.InstanceQuiesceFailed(
                reason='[Error Code 86] Guest agent disappeared while '
                       'executing command'), None)

    def test_a_thaw_that_keeps_failing_is_reported(self) -> None:
        answer = over_the_bus(exception.InternalError('no way'))
        error = self._assert(exceptions.UnquiesceFailed, guest.THAW_ATTEMPTS,
                             *[answer] * 9)
        self.assertIn('no way', str(error))
        self.assertNotIn('Traceback', str(error))

    def test_neither_code_nor_text_alone_ends_it(self) -> None:
        for answer in (
                internal(42, 'something new'), internal(55, 'something new'),
                *(internal(38, text) for text in (
                    NOT_RUNNING, NO_DOMAIN, *NO_COMMAND, *DISABLED, *LAPSED)),
                *says('something new', 'thaw')):
            self._assert(exceptions.UnquiesceFailed, 3, *[answer] * 3)

    def test_a_hung_agent_costs_one_bounded_wait(self) -> None:
        self._assert(exceptions.UnquiesceFailed, 1,
                     messaging_exceptions.MessagingTimeout())

    def test_a_guest_that_does_not_run_cannot_be_thawed(self) -> None:
        for answer in (exception.InstanceNotFound(instance_id='i'),
                       internal(42, NO_DOMAIN), internal(55, NOT_RUNNING)):
            for given in (answer, over_the_bus(answer)):
                self._assert(exceptions.GuestNotRunning, 1, given)

    def test_an_agent_without_the_command_cannot_thaw(self) -> None:
        for text in NO_COMMAND:
            for answer in says(text, 'thaw'):
                error = self._assert(exceptions.ThawNotPossible, 1, answer)
                self.assertIn(text.partition('%s')[0], str(error))

    def test_what_cannot_freeze_cannot_thaw(self) -> None:
        for answer in (
                exception.InstanceQuiesceNotSupported(instance_id='i'),
                NotImplementedError(), exception.QemuGuestAgentNotEnabled(),
                internal(74, 'argument unsupported: '
                             'QEMU guest agent is not configured')):
            for given in (answer, over_the_bus(answer)):
                self._assert(exceptions.ThawNotPossible, 1, given)

    def test_an_agent_that_does_not_allow_it_may_have_frozen(self) -> None:
        for text in DISABLED:
            for answer in says(text, 'thaw'):
                self._assert(exceptions.UnquiesceFailed, 3, *[answer] * 3)

    def test_the_freeze_had_lapsed(self) -> None:
        for text in LAPSED:
            for answer in says(text, 'thaw'):
                error = self._assert(
                    exceptions.FreezeLapsed, 2, over_the_bus(answer), None)
                self.assertIn(text.strip(': '), str(error))
                self.assertLessEqual(len(str(error)), 255)

    def test_the_freeze_had_lapsed_and_more_went_wrong(self) -> None:
        hook = internal(1, 'fsfreeze hook has failed')
        lapsed = says(LAPSED[0], 'thaw')[0]
        self._assert(exceptions.FreezeLapsed, 3, hook, lapsed, None)
        self._assert(exceptions.FreezeLapsed, 3, lapsed, hook, None)

    def test_lapsed_is_the_only_answer_that_fits_into_the_time(self) -> None:
        # The agent has let go, and its next answer would not tell any more.
        self.compute.unquiesce_instance.side_effect = says(LAPSED[0], 'thaw')
        with self.assertRaises(exceptions.FreezeLapsed):
            self.guests.thaw(self.context, self.instance, 0)

    def test_lapsed_does_not_confirm_what_fails_after_it(self) -> None:
        self._assert(exceptions.UnquiesceFailed, 2,
                     says(LAPSED[0], 'thaw')[0],
                     messaging_exceptions.MessagingTimeout())

    def test_the_attempts_share_one_time(self) -> None:
        timeouts = []

        def answer(context: Any, instance: Any, timeout: float) -> None:
            timeouts.append(timeout)
            time.monotonic.return_value += 15    # type: ignore
            raise exception.InternalError('no lock')

        self.compute.unquiesce_instance.side_effect = answer
        with mock.patch('time.monotonic', return_value=0.0), \
                self.assertRaises(exceptions.UnquiesceFailed):
            self.guests.thaw(self.context, self.instance, 30)
        self.assertEqual([30, 15], timeouts)

    def test_no_attempt_goes_on_after_that_time(self) -> None:
        now, takes, ends = 0.0, 0.0, set()

        def sleep(seconds: float) -> None:
            nonlocal now
            now += seconds

        def answer(context: Any, instance: Any, timeout: float) -> None:
            self.assertGreaterEqual(timeout, 1)
            ends.add(round(now - began + timeout, 6))
            sleep(takes)
            raise exception.InternalError('no lock')

        self.compute.unquiesce_instance.side_effect = answer
        with mock.patch('time.monotonic', lambda: now), \
                mock.patch('time.sleep', sleep):
            for takes in (0, 5, 7, 7.4, 13, 13.4, 14, 14.9):
                began = now
                with self.subTest(takes), \
                        self.assertRaises(exceptions.UnquiesceFailed):
                    self.guests.thaw(self.context, self.instance, 15)
        self.assertEqual({15}, ends)


class TestComputeAPI(unittest.TestCase):

    def test_a_server_without_a_host_is_nobodys(self) -> None:
        # A message without a host would reach any nova-compute.
        instance: Any = mock.Mock(uuid='u', host='')
        context: Any = mock.Mock()
        api = guest.ComputeAPI.__new__(guest.ComputeAPI)
        with self.assertRaises(exception.InstanceNotFound):
            api.unquiesce_instance(context, instance, 60)

    def test_the_first_call_to_a_cell_asks_no_nova_compute(self) -> None:
        api = guest.ComputeAPI.__new__(guest.ComputeAPI)
        router = mock.Mock()
        prepare = router.client.return_value.prepare
        for answer, is_open in (
                (messaging_exceptions.MessagingTimeout, True),
                # Of amqp, and of kombu: a password that is wrong.
                (OSError('(403) ACCESS_REFUSED'), False)):
            prepare.reset_mock()
            prepare.return_value.call.side_effect = answer
            with mock.patch.object(guest.ComputeAPI, 'router', router), \
                    mock.patch.object(api, '_ver', return_value='5.0'):
                self.assertEqual(is_open, api.open_bus(mock.Mock()))
            prepare.assert_called_once_with(
                server='nova-quiesce', version='5.0',
                timeout=guest.OPEN_TIMEOUT)

    def test_a_message_that_is_not_taken_is_given_up_within_the_lease(
            self) -> None:
        api = guest.ComputeAPI.__new__(guest.ComputeAPI)
        router = mock.Mock()
        prepare = router.client.return_value.prepare
        instance: Any = mock.Mock(uuid='u', host='cmp1')
        with mock.patch.object(guest.ComputeAPI, 'router', router), \
                mock.patch.object(api, '_ver', return_value='5.0'):
            api.quiesce_instance(mock.Mock(), instance, 45)
            api.unquiesce_instance(mock.Mock(), instance, 15)
        for call in prepare.call_args_list:
            # oslo.messaging sends it again after 1, 3, 5 ... seconds.
            pauses = sum(range(1, 2 * call.kwargs['retry'], 2))
            self.assertLess(pauses, times.THAW_LEASE / 2)
            self.assertGreater(pauses, 0)
