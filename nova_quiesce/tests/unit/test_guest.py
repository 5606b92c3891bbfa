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

import sys
import time
import unittest
from typing import Any
from unittest import mock

import oslo_messaging
from nova import exception
from nova.conf import CONF
from oslo_messaging import exceptions as messaging_exceptions
from oslo_messaging._drivers import common

from nova_quiesce import conf
from nova_quiesce import exceptions
from nova_quiesce import guest
from nova_quiesce.tests.unit import fakes

LIBVIRT = 'Error from libvirt while quiescing i: [Error Code %d] %s'


class TestGuests(unittest.TestCase):

    def setUp(self) -> None:
        conf.register_opts(CONF)
        patch = mock.patch.object(guest, 'ComputeAPI')
        self.compute = patch.start().return_value
        self.addCleanup(patch.stop)
        patch = mock.patch('time.sleep')
        patch.start()
        self.addCleanup(patch.stop)
        self.guests = guest.Guests()
        self.instance = fakes.Instance()

    def _freeze(self, answer: Exception) -> exceptions.GuestError:
        self.compute.quiesce_instance.side_effect = answer
        with self.assertRaises(exceptions.GuestError) as caught:
            self.guests.freeze(fakes.get_context(), self.instance, 45)
        return caught.exception

    def test_nothing_was_frozen(self) -> None:
        for answer in (
                exception.InstanceQuiesceNotSupported(instance_id='i'),
                NotImplementedError(),
                exception.QemuGuestAgentNotEnabled(),
                exception.InstanceQuiesceFailed(reason=LIBVIRT % (
                    86, 'Guest agent is not responding: '
                        'QEMU guest agent is not connected')),
                exception.InternalError(LIBVIRT % (
                    74, 'argument unsupported: '
                        'QEMU guest agent is not configured')),
                exception.InternalError(LIBVIRT % (
                    55, 'Requested operation is not valid: '
                        'domain is not running'))):
            with self.subTest(answer=answer):
                self.assertIsInstance(self._freeze(answer),
                                      exceptions.CannotQuiesce)

    def test_frozen_by_somebody_else(self) -> None:
        error = self._freeze(exception.InternalError(LIBVIRT % (
            1, "internal error: unable to execute QEMU agent command "
               "'guest-fsfreeze-freeze': Command guest-fsfreeze-freeze has "
               "been disabled: the agent is in frozen state")))
        self.assertIsInstance(error, exceptions.FrozenByOthers)

    def test_unknown_is_treated_as_maybe_frozen(self) -> None:
        for answer in (
                # The same code as "not connected", but the agent may wake up.
                exception.InstanceQuiesceFailed(reason=LIBVIRT % (
                    86, 'Guest agent is not responding: '
                        'Guest agent not available for now')),
                messaging_exceptions.MessagingTimeout(),
                exception.InternalError(LIBVIRT % (68, 'no lock')),
                RuntimeError('anything else')):
            with self.subTest(answer=answer):
                self.assertIsInstance(self._freeze(answer),
                                      exceptions.QuiesceFailed)

    def test_no_traceback_of_the_other_side_reaches_the_user(self) -> None:
        # As it arrives over a real message bus.
        error = exception.InternalError(LIBVIRT % (68, 'no lock'))
        try:
            raise error
        except exception.InternalError:
            sent = common.serialize_remote_exception(sys.exc_info())
        received = common.deserialize_remote_exception(
            sent, ['nova.exception'])
        self.assertIn('Traceback', str(received))
        told = self._freeze(received)
        self.assertIsInstance(told, exceptions.QuiesceFailed)
        self.assertNotIn('Traceback', str(told))
        self.assertIn('no lock', str(told))

    def test_answers_are_known_as_they_arrive_over_the_bus(self) -> None:
        for answer in guest.FREEZE_ANSWERS:
            with self.subTest(answer=answer):
                try:
                    raise answer.raised(answer.text or 'anything')
                except Exception:
                    sent = common.serialize_remote_exception(sys.exc_info())
                received = common.deserialize_remote_exception(
                    sent, ['nova.exception', 'builtins'])
                self.assertIsInstance(self._freeze(received), answer.error)

    def test_a_timeout_is_told_in_seconds(self) -> None:
        error = self._freeze(messaging_exceptions.MessagingTimeout())
        self.assertIn('within 45 seconds', str(error))

    def test_a_message_fits_an_instance_action_event(self) -> None:
        for answer in guest.FREEZE_ANSWERS:
            self.assertLessEqual(
                len(str(answer.error(reason=answer.reason))), 255)

    def test_a_failed_thaw_is_tried_again(self) -> None:
        self.compute.unquiesce_instance.side_effect = [
            exception.InternalError('fsfreeze hook has failed'), None]
        self.guests.thaw(fakes.get_context(), self.instance, 60)
        self.assertEqual(2, self.compute.unquiesce_instance.call_count)

    def test_a_thaw_that_keeps_failing_is_reported(self) -> None:
        self.compute.unquiesce_instance.side_effect = (
            exception.InternalError('no way'))
        with self.assertRaisesRegex(exceptions.UnquiesceFailed, 'no way'):
            self.guests.thaw(fakes.get_context(), self.instance, 60)
        self.assertEqual(CONF.quiesce.thaw_attempts,
                         self.compute.unquiesce_instance.call_count)

    def test_a_hung_agent_costs_one_bounded_wait(self) -> None:
        self.compute.unquiesce_instance.side_effect = (
            messaging_exceptions.MessagingTimeout())
        with self.assertRaises(exceptions.UnquiesceFailed):
            self.guests.thaw(fakes.get_context(), self.instance, 60)
        self.assertEqual(1, self.compute.unquiesce_instance.call_count)

    def test_only_without_an_answer_a_freeze_is_still_under_way(self) -> None:
        for answer, under_way in (
                (messaging_exceptions.MessagingTimeout(), True),
                (messaging_exceptions.MessageDeliveryFailure(), True),
                (ConnectionResetError(), True),
                (exception.InternalError(LIBVIRT % (68, 'no lock')), False),
                (oslo_messaging.RemoteError('KeyError', 'x'), False)):
            with self.subTest(answer=answer):
                self.assertEqual(under_way, self._freeze(answer).under_way)

    def test_a_guest_that_does_not_run_cannot_be_thawed(self) -> None:
        for answer in (
                exception.InstanceNotFound(instance_id='i'),
                exception.InternalError(LIBVIRT % (
                    55, 'Requested operation is not valid: '
                        'domain is not running'))):
            with self.subTest(answer=answer):
                self.compute.unquiesce_instance.side_effect = answer
                with self.assertRaises(exceptions.GuestNotRunning):
                    self.guests.thaw(fakes.get_context(), self.instance, 60)

    def test_the_attempts_to_thaw_share_one_time(self) -> None:
        timeouts = []

        def answer(context: Any, instance: Any, timeout: float) -> None:
            timeouts.append(timeout)
            time.monotonic.return_value += 15    # type: ignore
            raise exception.InternalError('no lock')

        self.compute.unquiesce_instance.side_effect = answer
        with mock.patch('time.monotonic', return_value=0.0), \
                self.assertRaises(exceptions.UnquiesceFailed):
            self.guests.thaw(fakes.get_context(), self.instance, 30)
        self.assertEqual([30, 15], timeouts)


class TestComputeAPI(unittest.TestCase):

    def test_a_server_without_a_host_is_nobodys(self) -> None:
        # A message without a host would reach any nova-compute.
        instance = fakes.Instance()
        instance.host = ''
        api = guest.ComputeAPI.__new__(guest.ComputeAPI)
        with self.assertRaises(exception.InstanceNotFound):
            api.unquiesce_instance(
                fakes.get_context(), instance, 60)    # type: ignore
