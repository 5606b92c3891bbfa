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

import functools
import itertools
from collections.abc import Sequence
from typing import Any
from unittest import mock

from nova import exception
from nova import objects
from nova.compute import manager as compute_manager
from nova.compute import power_state
from oslo_db import exception as db_exception
import sqlalchemy.exc

from nova_quiesce import clock
from nova_quiesce import db
from nova_quiesce import events
from nova_quiesce import exceptions
from nova_quiesce import manager
from nova_quiesce import marks
from nova_quiesce.tests.unit import world

CANNOT = exceptions.CannotQuiesce(reason='no agent')
FAILED = exceptions.QuiesceFailed(reason='agent not available')
HUNG = exceptions.QuiesceFailed(reason='no answer')
HUNG.under_way = True
NOT_THAWED = exceptions.UnquiesceFailed(reason='locked')
THAW_HUNG = exceptions.UnquiesceFailed(reason='no answer')
THAW_HUNG.under_way = True


class ManagerTest(world.WorldTest):

    def check(self, vm_state: str, error: str | None = None,
              fault: bool = False, marked: bool = False) -> None:
        """Assert the row of the contract's table that came true."""
        self.check_at_rest(vm_state, marked)
        result, details, host = self.event_of(self.request_id)
        self.assertEqual('ctl1', host)
        self.assertEqual('Error' if error else 'Success', result)
        if error:
            self.assertIn(error, details or '')
        self.assertEqual(fault, self.faults() > 0)

    def reboot(self, result: str = 'Success') -> None:
        """Record what Nova records of a hard reboot."""
        context = self._context()
        objects.InstanceAction.action_start(context, self.uuid, 'reboot')
        event = objects.InstanceActionEvent.event_start(
            context, self.uuid, 'compute_reboot_instance', host='cmp1')
        db.finish_event(context, event.id, result, None,
                        clock.as_datetime(clock.now()))

    request_id: str


class TestQuiesce(ManagerTest):

    def _quiesce(self, error: Exception | None = None) -> None:
        if error is not None:
            self.guest.on_freeze.append(world.answer(error))
        self.request_id = self.quiesce()
        self.deliver()

    def _maybe_frozen_before(self, late_until: int = 0) -> None:
        instance = self.instance
        marks.put(instance, marks.Mark('req-before', late_until=late_until))
        instance.save()

    def test_frozen(self) -> None:
        self._quiesce()
        self.check('quiesced', marked=True)
        self.assertTrue(self.guest.frozen)

    def test_before_the_freeze_the_mark_says_that_it_may_come_late(
            self) -> None:
        seen: list[marks.Mark | None] = []
        self.guest.on_freeze.append(lambda: seen.append(self.mark))
        self._quiesce()
        [mark] = seen
        assert mark is not None
        self.assertTrue(mark.claimed)
        self.assertEqual(clock.now() + 120, mark.late_until)

    def test_a_claim_that_nova_has_overwritten_is_made_again(self) -> None:
        claim = manager.QuiesceManager._claim
        claims: list[bool] = []

        def claim_and_lock(instance: objects.Instance, *args: Any) -> bool:
            locked = self.instance    # as it was before the claim
            claims.append(claim(instance, *args))
            if len(claims) == 1:
                marks.put(locked, marks.get(locked))
                locked.save()
            return claims[-1]

        with mock.patch.object(manager.QuiesceManager, '_claim',
                               staticmethod(claim_and_lock)):
            self._quiesce()
        self.assertEqual([True, True], claims)
        self.check('quiesced', marked=True)
        self.assertTrue(self.guest.frozen)

    def test_an_answer_ends_that(self) -> None:
        self._quiesce()
        self.assertEqual(0, self.mark and self.mark.late_until)

    def test_cannot(self) -> None:
        self._quiesce(CANNOT)
        self.check('active', 'Not supported')
        self.assertEqual(1, len(self.guest.timeouts), 'thawed')

    def test_frozen_by_somebody_else_is_left_as_found(self) -> None:
        self.guest.frozen = True
        self._quiesce(exceptions.FrozenByOthers())
        self.check('active', 'frozen by somebody else')
        self.assertTrue(self.guest.frozen)

    def test_frozen_by_ourselves_before_is_thawed(self) -> None:
        self._maybe_frozen_before()
        self.guest.frozen = True
        self._quiesce(exceptions.FrozenByOthers())
        self.check('active', 'thawed now')
        self.assertFalse(self.guest.frozen)

    def test_frozen_by_ourselves_and_not_thawed_stays_marked(self) -> None:
        self._maybe_frozen_before()
        self.guest.on_thaw.append(world.answer(NOT_THAWED))
        self._quiesce(exceptions.FrozenByOthers())
        self.check('error', 'thaw failed', fault=True, marked=True)

    def test_a_refusal_does_not_unmark_what_was_marked_before(self) -> None:
        self._maybe_frozen_before()
        self._quiesce(CANNOT)
        self.check('active', 'Not supported', marked=True)
        self.assertEqual(0, self.mark and self.mark.retry_at)    # at once

    def test_a_freeze_of_an_earlier_request_may_still_come(self) -> None:
        late_until = clock.now() + 50
        self._maybe_frozen_before(late_until)
        self._quiesce()
        self.assertEqual(late_until, self.mark and self.mark.late_until)

    def test_failed_is_thawed(self) -> None:
        self._quiesce(FAILED)
        self.check('error', 'agent not available', fault=True)
        self.assertEqual(2, len(self.guest.timeouts))

    def test_failed_and_not_thawed_stays_marked(self) -> None:
        self.guest.on_thaw.append(world.answer(NOT_THAWED))
        self._quiesce(FAILED)
        self.check('error', 'agent not available', fault=True, marked=True)
        self.assertEqual(clock.now() + 5, self.mark and self.mark.retry_at)

    def test_without_an_answer_one_thaw_is_not_enough(self) -> None:
        self._quiesce(HUNG)
        self.check('error', 'no answer', fault=True, marked=True)
        assert self.mark is not None
        self.assertEqual((clock.now() + 120, clock.now() + 120),
                         (self.mark.late_until, self.mark.retry_at))

    def test_a_hung_agent_costs_one_rpc_timeout_in_all(self) -> None:
        with mock.patch.object(manager.time, 'monotonic',
                               return_value=0.0) as monotonic:
            def hang() -> None:
                monotonic.return_value += self.guest.timeouts[-1]
                raise HUNG
            self.guest.on_freeze.append(hang)
            self._quiesce()
        self.assertEqual([45, 15], self.guest.timeouts)

    def test_reset_while_freezing_is_thawed_and_stays_reset(self) -> None:
        def reset() -> None:
            self.guest.frozen = True
            self.reset()

        self.guest.on_freeze.append(reset)
        self._quiesce()
        self.assertFalse(self.guest.frozen)
        self.deliver_all()
        self.check('active', 'changed by another request', marked=True)
        self.sweep()
        self.advance(120)
        self.sweep()
        self.deliver_all()
        self.check('active', 'changed by another request')

    def test_reset_and_asked_anew_while_freezing_is_left_alone(self) -> None:
        def reset() -> None:
            self.guest.frozen = True
            instance = self.instance
            marks.put(instance, marks.Mark('req-another'))
            instance.vm_state, instance.task_state = 'quiesced', None
            instance.save()

        self.guest.on_freeze.append(reset)
        self._quiesce()
        self.check('quiesced', 'changed by another request', marked=True)
        self.assertTrue(self.guest.frozen)

    def test_a_state_that_cannot_be_saved_is_thawed_at_once(self) -> None:
        with mock.patch.object(manager.QuiesceManager, '_settle',
                               side_effect=ConnectionError('database')), \
                self.assertRaises(ConnectionError):
            self._quiesce()
        self.assertFalse(self.guest.frozen)
        self.sweep()
        self.deliver_all()
        self.assertEqual(('error', None), self.states)

    def test_deleted_while_freezing_is_not_thawed(self) -> None:
        self.request_id = self.quiesce()
        with mock.patch.object(
                manager.QuiesceManager, '_settle',
                side_effect=exception.InstanceNotFound(instance_id='i')):
            self.deliver()
        self.assertEqual(1, len(self.guest.timeouts))
        self.assertIn('deleted', self.event_of(self.request_id)[1] or '')

    def test_a_message_that_arrives_twice_freezes_once(self) -> None:
        for host in ('ctl1', 'ctl2'):
            with self.subTest(second=host):
                self.guest.timeouts.clear()
                self.request_id = self.quiesce()
                self.deliver('ctl1', keep=True)
                self.deliver(host)
                self.check('quiesced', marked=True)
                self.assertEqual(1, len(self.guest.timeouts))
                self.unquiesce()
                self.deliver()

    def test_a_message_that_two_get_at_once_freezes_once(self) -> None:
        self.guest.on_freeze.append(lambda: self.deliver('ctl2'))
        self.request_id = self.quiesce()
        self.deliver('ctl1', keep=True)
        self.check('quiesced', marked=True)
        self.assertEqual(1, len(self.guest.timeouts))

    def test_a_message_that_comes_too_late_freezes_nothing(self) -> None:
        self.quiesce()
        self.advance(120)
        self.deliver()
        self.assertEqual([], self.guest.timeouts)
        self.assertEqual(('active', 'quiescing'), self.states)

    def test_a_message_after_a_reset_freezes_nothing_and_ends(self) -> None:
        self.request_id = self.quiesce()
        self.set(task_state=None)
        self.deliver()
        self.assertEqual([], self.guest.timeouts)
        self.check('active', 'changed by another request', marked=True)

    def test_the_message_of_an_older_request_freezes_nothing(self) -> None:
        older = self.quiesce()
        self.set(task_state=None)
        self.request_id = self.quiesce()
        self.deliver()
        self.assertEqual([], self.guest.timeouts)
        self.assertEqual('Error', self.event_of(older)[0])
        self.deliver()
        self.check('quiesced', marked=True)

    def test_a_server_that_is_gone_freezes_nothing(self) -> None:
        self.quiesce()
        for target, name, error in (
                (objects.InstanceMapping, 'get_by_instance_uuid',
                 exception.InstanceMappingNotFound(uuid='i')),
                (objects.Instance, 'get_by_uuid',
                 exception.InstanceNotFound(instance_id='i'))):
            with mock.patch.object(target, name, side_effect=error):
                self.deliver(keep=True)
        self.assertEqual([], self.guest.timeouts)


class TestDeadlock(ManagerTest):
    """The database lets another transaction go first."""

    def test_the_request_is_taken_up_again(self) -> None:
        rolled_back = sqlalchemy.exc.PendingRollbackError('rolled back')
        for target, name, error in (
                (db, 'replace_mark', db_exception.DBDeadlock()),
                (objects.InstanceActionEvent, 'event_start', rolled_back)):
            with self.subTest(name):
                self.doCleanups()
                self.setUp()
                asked = self.quiesce()
                first_fails = mock.Mock(
                    wraps=getattr(target, name), side_effect=itertools.chain(
                        [error], itertools.repeat(mock.DEFAULT)))
                with (mock.patch.object(target, name, first_fails),
                      mock.patch('time.sleep')):
                    self.deliver()
                self.assertGreater(first_fails.call_count, 1)
                self.check_at_rest('quiesced', marked=True)
                self.assertTrue(self.guest.frozen)
                self.assertEqual('Success', self.event_of(asked)[0])


class TestDeadline(ManagerTest):

    def _events(self, request_id: str) -> dict[str, str | None]:
        action = objects.InstanceAction.get_by_request_id(
            self.context, self.uuid, request_id)
        return {event.event: event.details for event
                in objects.InstanceActionEventList.get_by_action(
                    self.context, action.id)}

    def test_it_counts_from_the_freeze_and_is_announced(self) -> None:
        self.guest.on_freeze.append(lambda: self.advance(20))
        self.request_id = self.quiesce(unquiesce_after=100)
        self.deliver()
        self.check('quiesced', marked=True)
        self.assertEqual(clock.now() + 100, self.mark and self.mark.deadline)
        details = self._events(self.request_id)[
            'quiesce_until_2026-11-23T03:02:00Z']
        self.assertIn('2026-11-23T03:02:00Z, 100 seconds', details or '')

    def test_without_one_nothing_is_announced(self) -> None:
        request_id = self.quiesce()
        self.deliver()
        self.assertEqual(['quiesce_quiesce_instance'],
                         list(self._events(request_id)))

    def test_details_are_cut_as_novas_are(self) -> None:
        self.request_id = self.quiesce()
        self.guest.on_freeze.append(world.answer(
            exceptions.CannotQuiesce(reason=300 * 'x')))
        self.deliver()
        self.assertEqual(events.MAX_DETAILS,
                         len(self.event_of(self.request_id)[1] or ''))


class TestUnquiesce(ManagerTest):

    def setUp(self) -> None:
        super().setUp()
        self.quiesce()
        self.deliver()

    def _unquiesce(self, error: Exception | None = None) -> None:
        if error is not None:
            self.guest.on_thaw.append(world.answer(error))
        self.request_id = self.unquiesce()
        self.deliver()

    def test_thawed(self) -> None:
        self._unquiesce()
        self.check('active')
        self.assertFalse(self.guest.frozen)
        self.assertEqual([45, 60], self.guest.timeouts)

    def test_thaw_failed(self) -> None:
        self._unquiesce(NOT_THAWED)
        self.check('error', 'may still be frozen', fault=True, marked=True)

    def test_the_event_ends_before_the_mark_goes(self) -> None:
        seen: list[str | None] = []
        settle = manager.QuiesceManager._settle

        def look(*args: object) -> None:
            seen.append(self.event_of(self.request_id)[0])
            settle(*args)    # type: ignore[arg-type]

        with mock.patch.object(manager.QuiesceManager, '_settle',
                               staticmethod(look)):
            self._unquiesce()
        self.assertEqual(['Success'], seen)

    def test_reset_while_thawing(self) -> None:
        for vm_state in ('active', 'error'):
            with self.subTest(vm_state=vm_state):
                self.guest.on_thaw.append(
                    functools.partial(self.reset, vm_state))
                self._unquiesce()
                self.deliver_all()
                self.check(vm_state)
                self.assertFalse(self.guest.frozen)
                self.set(vm_state='quiesced')

    def test_a_message_that_two_get_at_once_thaws_once(self) -> None:
        self.guest.on_thaw.append(lambda: self.deliver('ctl2'))
        self.request_id = self.unquiesce()
        self.deliver('ctl1', keep=True)
        self.check('active')
        self.assertEqual(2, len(self.guest.timeouts))

    def test_a_later_request_in_the_same_states_is_left_alone(self) -> None:
        # As after a long stop of this service, in which another one took
        # the request over, and the server was quiesced and unquiesced anew.
        later = marks.Mark('req-later', thaw_id='later')

        def another() -> None:
            instance = self.instance
            marks.put(instance, later)
            instance.save()

        self.guest.on_thaw.append(another)
        self._unquiesce()
        self.assertEqual(('quiesced', 'unquiescing'), (
            self.instance.vm_state, self.instance.task_state))
        self.assertEqual(later, marks.get(self.instance))

    def test_what_others_write_meanwhile_is_kept(self) -> None:
        def lock() -> None:
            instance = self.instance
            instance.system_metadata['locked_reason'] = 'maintenance'
            instance.save()

        self.guest.on_thaw.append(lock)
        self._unquiesce()
        self.assertEqual(('active', None), (
            self.instance.vm_state, self.instance.task_state))
        self.assertIsNone(marks.get(self.instance))
        self.assertEqual('maintenance',
                         self.instance.system_metadata['locked_reason'])

    def test_without_a_mark_it_is_thawed_all_the_same(self) -> None:
        self.request_id = self.unquiesce()
        instance = self.instance
        marks.put(instance, None)
        instance.save()
        self.deliver()
        self.check('active')
        self.assertFalse(self.guest.frozen)


class TestGuestThatDoesNotRun(ManagerTest):
    """libvirt says "not running" of paused guests, too."""

    def _unquiesce(self, state: int) -> None:
        self.quiesce()
        self.deliver()
        self.set(power_state=state)
        self.guest.on_thaw.append(world.answer(
            exceptions.GuestNotRunning(reason='domain is not running')))
        self.request_id = self.unquiesce()
        self.deliver()

    def test_one_that_is_shut_off_is_not_frozen(self) -> None:
        for state in (power_state.SHUTDOWN, power_state.CRASHED,
                      power_state.NOSTATE):
            with self.subTest(state=state):
                self._unquiesce(state)
                self.check('active')

    def test_one_that_is_paused_may_be(self) -> None:
        for state in (power_state.PAUSED, power_state.RUNNING):
            with self.subTest(state=state):
                self._unquiesce(state)
                self.check('error', 'not running', fault=True, marked=True)
                self.set(vm_state='active')


class TestRestartedGuest(ManagerTest):
    """A guest without an agent, which cannot be asked."""

    def setUp(self) -> None:
        super().setUp()
        self.quiesce()
        self.deliver()

    def _unquiesce(self) -> None:
        self.guest.on_thaw.append(world.answer(NOT_THAWED))
        self.request_id = self.unquiesce()
        self.deliver()

    def test_a_reboot_since_has_thawed_it(self) -> None:
        self.advance(10)
        self.reboot()
        self._unquiesce()
        self.check('active')

    def test_a_reboot_that_failed_has_not(self) -> None:
        self.advance(10)
        self.reboot('Error')
        self._unquiesce()
        self.check('error', 'locked', fault=True, marked=True)

    def test_nor_has_one_before_whatever_the_clock_said_then(self) -> None:
        self.unquiesce()
        self.deliver()
        self.set_clock(300)
        self.reboot()
        self.set_clock(-300)
        self.advance(10)
        self.quiesce()
        self.deliver()
        self._unquiesce()
        self.check('error', 'locked', fault=True, marked=True)

    def test_nor_has_one_before_a_freeze_may_have_come(self) -> None:
        self.advance(10)
        self.reboot()
        instance = self.instance
        marks.put(instance, marks.Mark(
            'req-1', late_until=clock.now() + 1))
        instance.save()
        self.advance(5)
        self._unquiesce()
        self.check('error', 'locked', fault=True, marked=True)

    def test_nor_has_one_if_nobody_knows_when_it_was_frozen(self) -> None:
        self.reboot()
        instance = self.instance
        instance.system_metadata[marks.KEY] = 'of another version'
        instance.save()
        self._unquiesce()
        self.check('error', 'locked', fault=True, marked=True)

    def test_the_events_are_novas(self) -> None:
        for name in manager.RESTARTS:
            method = name.removeprefix('compute_')
            self.assertTrue(
                hasattr(compute_manager.ComputeManager, method)
                or hasattr(compute_manager.ComputeManager,
                           method + '_instance'), name)


class TestThawUntilConfirmed(ManagerTest):
    """After a freeze without an answer."""

    def _marks_until_dropped(self, answers: Sequence[Exception | None],
                             ) -> list[int]:
        """Return at which seconds the guest was asked to thaw.

        :param answers: those of the thaws; then they succeed
        """
        self.guest.on_freeze.append(world.answer(HUNG))
        self.guest.on_thaw = [
            world.answer(error) if error else lambda: None
            for error in answers]
        start = clock.now()
        asked = []
        self.request_id = self.quiesce()
        thaw = self.guest.thaw

        def noted(*args: object) -> None:
            asked.append(clock.now() - start)
            thaw(*args)    # type: ignore[arg-type]

        with mock.patch.object(self.guest, 'thaw', noted):
            self.deliver()
            while self.mark is not None and len(asked) < 30:
                self.advance(5)
                self.sweep('ctl2')
                self.deliver_all()
        self.assertEqual(('error', None), self.states)
        return asked

    def test_again_when_no_freeze_can_come_any_more(self) -> None:
        # The sweep first saw at 5 that one may come.
        self.assertEqual([0, 125], self._marks_until_dropped([None]))

    def test_with_growing_pauses(self) -> None:
        # The sixth succeeds, and is known to be late enough at 160.
        self.assertEqual(
            [0, 5, 15, 35, 75, 155, 160],
            self._marks_until_dropped(5 * [NOT_THAWED]))

    def test_longer_if_nova_compute_does_not_answer(self) -> None:
        self.assertEqual(
            [0, 5, 15, 35, 35 + 125],
            self._marks_until_dropped(3 * [THAW_HUNG]))

    def test_until_it_answers_nobody_can_say_for_how_long(self) -> None:
        self.guest.on_freeze.append(world.answer(HUNG))
        self.guest.on_thaw.append(world.answer(THAW_HUNG))
        self.request_id = self.quiesce()
        self.deliver()
        self.assertEqual(marks.FOREVER, self.mark and self.mark.late_until)
        for answer in (NOT_THAWED, None):
            with self.subTest(answer=answer):
                if answer:
                    self.guest.on_thaw.append(world.answer(answer))
                self.advance(10)
                self.sweep()
                self.deliver()
                assert self.mark is not None
                self.assertLessEqual(self.mark.late_until, clock.now() + 120)

    def test_however_long_it_does_not_answer(self) -> None:
        # Even if a sweep has seen all of that time.
        self.guest.on_freeze.append(world.answer(HUNG))
        self.guest.on_thaw = [world.answer(THAW_HUNG)] * 9
        self.request_id = self.quiesce()
        self.deliver()
        while self.guest.on_thaw:
            self.advance(5)
            self.sweep()
            self.deliver_all()
        self.advance(300)
        self.sweep()
        self.deliver()
        self.assertFalse(self.guest.frozen)
        self.assertIsNotNone(self.mark)
        self._check_that_a_late_freeze_is_thawed()    # both were in its hands

    def test_a_guest_frozen_late_is_thawed(self) -> None:
        self.guest.on_freeze.append(world.answer(HUNG))
        self.request_id = self.quiesce()
        self.deliver()
        self._check_that_a_late_freeze_is_thawed()

    def _check_that_a_late_freeze_is_thawed(self) -> None:
        self.guest.frozen = True
        self.sweep()
        self.advance(120)
        self.sweep()
        self.deliver()
        self.assertFalse(self.guest.frozen)
        self.check('error', 'no answer', fault=True)

    def test_a_guest_that_was_started_before_may_be_frozen_since(
            self) -> None:
        self.guest.on_freeze.append(world.answer(HUNG))
        self.request_id = self.quiesce()
        self.deliver()
        self.sweep()
        self.set_clock(86400)
        self.reboot()
        self.advance(120)
        self.guest.on_thaw.append(world.answer(NOT_THAWED))
        self.sweep()
        self.deliver()
        self.check('error', 'no answer', fault=True, marked=True)

    def test_a_reboot_when_none_can_come_any_more_ends_it(self) -> None:
        # Also into a guest that cannot be thawed, having no agent.
        self.guest.on_freeze.append(world.answer(HUNG))
        self.guest.on_thaw = [world.answer(NOT_THAWED)] * 99
        self.quiesce()
        self.deliver()
        for _second in range(0, 200, 5):
            self.advance(5)
            self.sweep()
            self.deliver_all()
        self.assertIsNotNone(self.mark)
        self.reboot()
        self.set(vm_state='active')
        left = len(self.guest.on_thaw)
        for _second in range(0, 300, 5):
            self.advance(5)
            self.sweep()
            self.deliver_all()
        self.assertIsNone(self.mark)
        self.assertEqual(('active', None), self.states)
        self.assertEqual(2, left - len(self.guest.on_thaw))

    def test_the_fault_is_recorded_once(self) -> None:
        self._marks_until_dropped(5 * [NOT_THAWED])
        self.assertEqual(1, self.faults())
