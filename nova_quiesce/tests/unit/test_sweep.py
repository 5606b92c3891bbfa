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

from collections.abc import Sequence
from typing import Any
from unittest import mock

from nova import objects
from nova.compute import power_state
from nova.db.main import models

from nova_quiesce import cells
from nova_quiesce import clock
from nova_quiesce import db
from nova_quiesce import events
from nova_quiesce import exceptions
from nova_quiesce import manager
from nova_quiesce import marks
from nova_quiesce.tests.unit import world

NOT_THAWED = exceptions.UnquiesceFailed(reason='locked')
NO_ANSWER = exceptions.QuiesceFailed(reason='no answer')
NO_ANSWER.under_way = True


class TestDeadline(world.WorldTest):

    def test_an_overdue_server_is_thawed_by_a_request_that_says_so(
            self) -> None:
        asked = self.quiesce(unquiesce_after=100)
        self.deliver()
        self.advance(99)
        self.sweep()
        self.assertEqual([], self.bus.messages)
        self.advance(1)
        self.sweep('ctl2')
        self.assertEqual(('quiesced', 'unquiescing'), self.states)
        self.deliver()
        self.check_at_rest('active', marked=False)
        self.assertFalse(self.guest.frozen)
        _quiesce, (request_id, name, [(result, details, _host)]) = (
            self.actions())
        self.assertEqual(('unquiesce', 'Success'), (name, result))
        self.assertEqual(
            'The deadline of request %s, 2026-11-23T03:01:40Z, has passed'
            % asked, details)
        self.assertNotEqual(asked, request_id)

    def test_it_is_never_thawed_too_early(self) -> None:
        self.advance(0.5)
        self.quiesce(unquiesce_after=10)
        self.deliver()
        self.advance(9.9)
        self.sweep()
        self.assertEqual(('quiesced', None), self.states)
        self.advance(1)
        self.sweep()
        self.assertEqual(('quiesced', 'unquiescing'), self.states)

    def test_the_request_belongs_to_the_servers_project_and_to_nobody(
            self) -> None:
        self.quiesce(unquiesce_after=1)
        self.deliver()
        self.advance(1)
        self.sweep()
        [_first, action] = sorted(
            objects.InstanceActionList.get_by_instance_uuid(
                self.context, self.uuid), key=lambda each: each.id)
        self.assertEqual(('project', None),
                         (action.project_id, action.user_id))

    def test_several_services_ask_once(self) -> None:
        self.quiesce(unquiesce_after=1)
        self.deliver()
        self.advance(1)
        get = objects.Instance.get_by_uuid

        def meanwhile(*args: object, **kwargs: object) -> object:
            instance = get(*args, **kwargs)
            patch.stop()
            self.sweep('ctl2')
            return instance

        patch = mock.patch.object(objects.Instance, 'get_by_uuid', meanwhile)
        patch.start()
        self.sweep('ctl1')
        self.assertEqual(1, len(self.bus.messages))

    def test_one_that_was_unquiesced_in_time_is_left_alone(self) -> None:
        self.quiesce(unquiesce_after=10)
        self.deliver()
        self.unquiesce()
        self.deliver()
        self.quiesce()
        self.deliver()
        self.advance(1000)
        self.sweep()
        self.check_at_rest('quiesced', marked=True)

    def test_a_clock_that_was_set_back_does_not_put_it_off(self) -> None:
        self.quiesce(unquiesce_after=10)
        self.deliver()
        self.set_clock(-7200)
        self.sweep()
        self.deliver()
        self.check_at_rest('active', marked=False)

    def test_a_server_without_a_mark_is_not_even_read(self) -> None:
        with mock.patch.object(objects.Instance, 'get_by_uuid') as read:
            self.sweep()
        read.assert_not_called()

    def test_without_a_bus_it_is_tried_again(self) -> None:
        self.quiesce(unquiesce_after=1)
        self.deliver()
        self.advance(1)
        self.bus.down = True
        self.sweep()
        self.assertEqual(('quiesced', 'unquiescing'), self.states)
        self.advance(2)
        self.sweep()
        self.advance(2)
        self.sweep('ctl2')
        self.bus.down = False
        self.advance(2)
        self.sweep()
        self.deliver()
        self.check_at_rest('active', marked=False)
        [_request, _name, [(_result, details, _host)]] = self.actions()[-1]
        self.assertIn('The deadline of request', details)

    def test_trouble_with_one_server_does_not_stop_the_others(self) -> None:
        first, self.uuid = self.uuid, self._boot()
        uuids = (first, self.uuid)
        for self.uuid in uuids:
            self.quiesce(unquiesce_after=1)
            self.deliver()
        self.advance(1)
        look = self.services['ctl1'].sweep._thaw_overdue
        seen = []

        def trouble(context: object, instance: objects.Instance,
                    *args: object) -> None:
            seen.append(instance.uuid)
            if len(seen) == 1:
                raise ZeroDivisionError
            look(context, instance, *args)    # type: ignore[arg-type]

        with mock.patch.dict(self.services['ctl1'].sweep._acts, {
                manager.recovery.Verdict.THAW_OVERDUE: trouble}):
            self.sweep()
        self.assertEqual(set(uuids), set(seen))
        self.assertEqual(1, len(self.bus.messages))


class TestLostMark(world.WorldTest):
    """Nova has written over the mark, as the lock of a server may do."""

    def lose_mark(self) -> None:
        instance = self.instance
        marks.put(instance, None)
        instance.save()

    def test_a_quiesced_server_is_thawed(self) -> None:
        self.quiesce()
        self.deliver()
        self.lose_mark()
        self.sweep()
        self.assertEqual(('quiesced', 'unquiescing'), self.states)
        self.deliver()
        self.check_at_rest('active', marked=False)
        self.assertFalse(self.guest.frozen)
        self.assertIn('overwritten', self.actions()[-1][2][0][1])

    def test_one_that_is_being_frozen_is_thawed_and_an_error(self) -> None:
        self.quiesce()
        self.lose_mark()
        self.sweep()
        self.assertEqual(('error', 'unquiescing'), self.states)
        self.assertEqual(1, self.faults())
        self.deliver_all()
        self.assertFalse(self.guest.frozen)
        # The freeze may have been on its way.
        self.assertIsNotNone(self.mark)
        self.sweep()
        self.advance(120)
        self.sweep()
        self.deliver_all()
        self.check_at_rest('error', marked=False)

    def test_a_thaw_goes_on(self) -> None:
        self.quiesce()
        self.deliver()
        self.unquiesce()
        self.lose_mark()
        self.bus.messages.clear()
        self.sweep()
        self.deliver()
        self.check_at_rest('active', marked=False)
        self.assertFalse(self.guest.frozen)

    def test_an_older_mark_does_not_hide_a_deadline(self) -> None:
        self.quiesce(unquiesce_after=100)
        older = self.mark
        self.deliver()
        instance = self.instance
        marks.put(instance, older)
        instance.save()
        self.sweep()
        self.deliver()
        self.check_at_rest('active', marked=False)
        self.assertFalse(self.guest.frozen)

    def test_an_older_mark_does_not_hide_a_freeze_under_way(self) -> None:
        self.quiesce()
        older = self.mark
        self.guest.on_freeze.append(world.answer(NO_ANSWER))
        self.deliver()
        instance = self.instance
        marks.put(instance, older)
        instance.save()
        self.advance(120)
        self.sweep()
        self.deliver()
        self.assertEqual(('error', None), self.states)
        self.guest.frozen = True    # the freeze came late
        self.assertIsNotNone(self.mark)
        self.thaw_at_last()

    def test_nor_does_a_lost_one_while_it_is_thawed(self) -> None:
        self.quiesce()
        self.guest.on_freeze.append(world.answer(NO_ANSWER))
        self.guest.on_thaw.append(world.answer(NOT_THAWED))
        self.deliver()
        self.advance(10)
        self.sweep()
        self.assertEqual(('error', 'unquiescing'), self.states)
        self.lose_mark()
        self.sweep()
        self.deliver_all()
        self.guest.frozen = True
        self.assertIsNotNone(self.mark)
        self.thaw_at_last()

    def thaw_at_last(self) -> None:
        """Let no freeze come late any more, and check that it is thawed."""
        self.sweep()
        self.advance(120)
        self.sweep()
        self.deliver_all()
        self.check_at_rest('error', marked=False)
        self.assertFalse(self.guest.frozen)

    def test_a_reset_thaws_it(self) -> None:
        self.quiesce()
        self.deliver()
        self.lose_mark()
        self.reset()
        self.deliver()
        self.check_at_rest('active', marked=False)
        self.assertFalse(self.guest.frozen)

    def test_only_one_service_acts(self) -> None:
        self.quiesce()
        self.deliver()
        self.lose_mark()
        self.sweep('ctl1')
        self.sweep('ctl2')
        self.assertEqual(1, len(self.bus.messages))


class TestMessageLost(world.WorldTest):

    def test_a_quiesce_is_given_up_and_thawed(self) -> None:
        asked = self.quiesce()
        self.bus.messages.clear()
        self.advance(119)
        self.sweep()
        self.assertEqual(('active', 'quiescing'), self.states)
        self.advance(1)
        self.sweep()
        self.assertEqual(('error', 'unquiescing'), self.states)
        self.deliver()
        self.check_at_rest('error', marked=True)
        result, details, _host = self.event_of(asked)
        self.assertEqual('Error', result)
        self.assertIn('No nova-quiesce has taken it up', details or '')
        self.assertEqual(1, self.faults())
        self.sweep()
        self.advance(120)
        self.sweep()
        self.deliver()
        self.check_at_rest('error', marked=False)

    def test_an_unquiesce_is_sent_again_under_its_own_id(self) -> None:
        self.quiesce()
        self.deliver()
        asked = self.unquiesce()
        self.bus.messages.clear()
        self.advance(120)
        self.sweep()
        self.sweep('ctl2')
        self.assertEqual(1, len(self.bus.messages))
        self.deliver()
        self.check_at_rest('active', marked=False)
        self.assertEqual('Success', self.event_of(asked)[0])

    def test_no_deadline_waits_for_a_lost_unquiesce(self) -> None:
        self.quiesce(unquiesce_after=10)
        self.deliver()
        asked = self.unquiesce()
        self.bus.messages.clear()
        self.advance(9)
        self.sweep()
        self.assertEqual([], self.bus.messages)
        self.advance(1)
        self.sweep()
        self.sweep('ctl2')
        self.assertEqual(1, len(self.bus.messages))
        self.deliver()
        self.assertFalse(self.guest.frozen)
        self.check_at_rest('active', marked=False)
        self.assertEqual('Success', self.event_of(asked)[0])

    def test_a_deadline_while_the_message_is_in_the_queue_does_no_harm(
            self) -> None:
        self.quiesce(unquiesce_after=10)
        self.deliver()
        asked = self.unquiesce()
        self.advance(10)
        for _sweep in range(3):
            self.sweep()
        self.assertEqual(2, len(self.bus.messages))
        self.deliver('ctl1')
        self.quiesce()
        self.deliver('ctl2')
        self.assertEqual('Success', self.event_of(asked)[0])
        while self.bus.messages:
            self.deliver('ctl2')
        self.check_at_rest('quiesced', marked=True)
        self.assertTrue(self.guest.frozen)

    def test_nobody_interferes_with_who_is_about_to_record_it(self) -> None:
        self.quiesce(unquiesce_after=10)
        self.deliver()
        self.advance(10)
        start = objects.InstanceAction.action_start

        def meanwhile(*args: Any, **kwargs: Any) -> Any:
            self.sweep('ctl2')
            return start(*args, **kwargs)

        with mock.patch.object(objects.InstanceAction, 'action_start',
                               meanwhile):
            self.sweep('ctl1')
        self.deliver_all()
        self.check_at_rest('active', marked=False)
        self.assertEqual(2, len(self.actions()))

    def test_one_that_was_only_late_does_no_harm(self) -> None:
        self.quiesce()
        self.deliver()
        asked = self.unquiesce()
        self.advance(120)
        self.sweep()
        self.deliver_all()
        self.check_at_rest('active', marked=False)
        self.assertEqual('Success', self.event_of(asked)[0])

    def test_a_request_of_a_server_that_was_reset_since_ends(self) -> None:
        self.quiesce()
        self.deliver()
        asked = self.unquiesce()
        self.bus.messages.clear()
        self.reset('error')
        self.deliver_all()
        self.check_at_rest('error', marked=False)
        self.assertEqual('Error', self.event_of(asked)[0])

    def test_the_api_died_before_it_recorded_the_request(self) -> None:
        self.quiesce()
        self.deliver()
        self.unquiesce_and_die()
        self.advance(120)
        self.sweep()
        self.deliver()
        self.check_at_rest('active', marked=False)

    def test_a_deadline_does_not_wait_for_that_either(self) -> None:
        self.quiesce(unquiesce_after=10)
        self.deliver()
        self.unquiesce_and_die()
        self.advance(10)
        self.sweep()
        self.deliver()
        self.check_at_rest('active', marked=False)
        self.assertFalse(self.guest.frozen)

    def unquiesce_and_die(self) -> None:
        """Let nova-api die with a thaw wanted, and nothing sent."""
        with mock.patch.object(objects.InstanceAction, 'action_start',
                               side_effect=world.Killed):
            try:
                self.unquiesce()
            except world.Killed:
                pass


class TestDeath(world.WorldTest):
    """A service dies; another one, or itself restarted, goes on."""

    def die_while_freezing(self, frozen: bool = True) -> str:
        def die() -> None:
            self.guest.frozen = frozen
            raise world.Killed()

        self.guest.on_freeze.append(die)
        asked = self.quiesce()
        self.deliver('ctl1')
        return asked

    def test_an_interrupted_quiesce_is_thawed_and_an_error(self) -> None:
        asked = self.die_while_freezing()
        self.advance(61)
        self.sweep('ctl2')
        self.assertEqual(('error', 'unquiescing'), self.states)
        self.deliver('ctl2')
        self.assertFalse(self.guest.frozen)
        self.check_at_rest('error', marked=True)
        result, details, host = self.event_of(asked)
        self.assertEqual(('Error', 'ctl1'), (result, host))
        self.assertIn('nova-quiesce on ctl1 died', details or '')
        self.assertEqual(1, self.faults())

    def test_it_is_thawed_again_when_no_freeze_can_come(self) -> None:
        self.die_while_freezing(frozen=False)
        self.advance(61)
        self.sweep('ctl2')
        self.deliver('ctl2')
        self.guest.frozen = True
        self.sweep('ctl2')
        self.advance(120)
        self.sweep('ctl2')
        self.deliver('ctl2')
        self.assertFalse(self.guest.frozen)
        self.check_at_rest('error', marked=False)

    def test_one_that_is_up_is_not_taken_for_dead(self) -> None:
        self.die_while_freezing()
        self.advance(60)    # it reported 60 seconds ago
        self.sweep('ctl2')
        self.assertEqual(('active', 'quiescing'), self.states)

    def test_one_that_is_slow_is_not_taken_for_dead(self) -> None:
        def be_slow() -> None:
            for _second in range(5):
                self.advance(100)
                self.sweep('ctl2')
                self.sweep('ctl1')
            self.guest.frozen = True

        self.guest.on_freeze.append(be_slow)
        self.quiesce()
        self.deliver('ctl1')
        self.check_at_rest('quiesced', marked=True)

    def test_of_a_deleted_server_it_is_ended_for_one_that_died(self) -> None:
        asked = self.die_while_freezing()
        self.instance.destroy()
        self.sweep('ctl2')
        self.assertEqual((None, None, 'ctl1'), self.event_of(asked))
        self.advance(61)
        self.sweep('ctl2')
        result, details, host = self.event_of(asked)
        self.assertEqual(('Error', 'ctl1'), (result, host))
        self.assertIn('deleted', details or '')

    def test_of_a_deleted_server_it_is_left_to_one_that_is_slow(self) -> None:
        seen = []

        def be_slow() -> None:
            self.instance.destroy()
            for host in ('ctl1', 'ctl2'):
                self.sweep(host)
                seen.append(self.event_of(asked))

        self.guest.on_freeze.append(be_slow)
        asked = self.quiesce()
        self.deliver('ctl1')
        self.assertEqual([(None, None, 'ctl1')] * 2, seen)
        self.assertEqual('Error', self.event_of(asked)[0])

    def test_restarted_it_finishes_its_own_work_at_once(self) -> None:
        asked = self.die_while_freezing()
        self.restart('ctl1')
        self.sweep('ctl2')
        self.assertEqual(('active', 'quiescing'), self.states)
        self.sweep('ctl1')
        self.deliver('ctl1')
        self.check_at_rest('error', marked=True)
        self.assertEqual('Error', self.event_of(asked)[0])

    def test_one_whose_record_was_deleted_is_dead(self) -> None:
        self.die_while_freezing()
        with self.facade.writer.using(self.context) as session:
            session.query(models.Service).filter_by(host='ctl1').delete()
        self.sweep('ctl2')
        self.assertEqual(('error', 'unquiescing'), self.states)

    def test_one_whose_cell_does_not_answer_is_not(self) -> None:
        self.die_while_freezing()
        with mock.patch.object(
                cells.Cells, 'services',
                return_value=cells.Services({}, complete=False)):
            self.sweep('ctl2')
        self.assertEqual(('active', 'quiescing'), self.states)

    def test_at_the_beginning_of_an_overdue_thaw(self) -> None:
        for target, name in ((db, 'replace_mark'), (events, 'start'),
                             (self.guest, 'thaw')):
            with self.subTest(name=name):
                self.doCleanups()
                self.setUp()
                target = self.guest if name == 'thaw' else target
                self.quiesce(unquiesce_after=10)
                self.deliver()
                self.advance(10)
                self.sweep()
                self._die_at(target, name)
                self.restart('ctl1')
                self.advance(2)
                self.sweep('ctl1')
                self.deliver_all('ctl1')
                self.check_at_rest('active', marked=False)
                self.assertFalse(self.guest.frozen)
                [_request, _name, [(_result, details, _host)]] = (
                    self.actions()[-1])
                self.assertIn('The deadline of request', details)

    def _die_at(self, target: object, name: str) -> None:
        with mock.patch.object(target, name, side_effect=world.Killed):
            self.deliver('ctl1')

    def _recover(self) -> None:
        for _round in range(4):
            self.advance(121)
            self.sweep('ctl2')
            self.deliver_all('ctl2')

    def test_at_any_point_of_a_quiesce(self) -> None:
        for target, name, vm_state in (
                (db, 'replace_mark', 'error'),
                (events, 'start', 'error'),
                (manager.QuiesceManager, '_settle', 'error'),
                (events, 'announce', 'active'),
                (events, 'finish', 'active')):
            with self.subTest(name=name):
                self.setUp()
                asked = self.quiesce(unquiesce_after=300)
                self._die_at(target, name)
                self._recover()
                self.check_at_rest(vm_state, marked=False)
                self.assertFalse(self.guest.frozen)
                self.assertEqual(
                    'Success' if vm_state == 'active' else 'Error',
                    self.event_of(asked)[0])

    def test_at_any_point_of_a_failed_quiesce(self) -> None:
        for target, name in (
                (db, 'open_requests'), (events, 'finish'),
                (manager.compute_utils, 'add_instance_fault_from_exc'),
                (manager.QuiesceManager, '_settle')):
            with self.subTest(name=name):
                self.setUp()
                asked = self.quiesce()
                self.guest.on_freeze.append(world.answer(
                    exceptions.QuiesceFailed(reason='hung')))
                self._die_at(target, name)
                self._recover()
                self.check_at_rest('error', marked=False)
                self.assertEqual('Error', self.event_of(asked)[0])

    def test_at_any_point_of_an_unquiesce(self) -> None:
        for target, name in (
                (db, 'replace_mark'), (events, 'start'),
                (world.Guest, 'thaw'), (db, 'open_requests'),
                (events, 'finish'), (manager.QuiesceManager, '_settle')):
            with self.subTest(name=name):
                self.setUp()
                self.quiesce()
                self.deliver('ctl1')
                asked = self.unquiesce()
                self._die_at(target, name)
                self._recover()
                self.check_at_rest('active', marked=False)
                self.assertFalse(self.guest.frozen)
                self.assertEqual('Success', self.event_of(asked)[0])

    def test_at_any_point_of_a_sweep(self) -> None:
        for target, name in (
                (objects.InstanceAction, 'action_start'),
                (self.bus.__class__, '_cast'),
                (manager.compute_utils, 'add_instance_fault_from_exc'),
                (events, 'close')):
            with self.subTest(name=name):
                self.setUp()
                asked = self.die_while_freezing()
                self.advance(61)
                with mock.patch.object(target, name,
                                       side_effect=world.Killed):
                    try:
                        self.sweep('ctl2')
                    except world.Killed:
                        self.restart('ctl2')
                self._recover()
                self.check_at_rest('error', marked=False)
                self.assertFalse(self.guest.frozen)
                self.assertEqual('Error', self.event_of(asked)[0])

    def test_again_and_again(self) -> None:
        self.quiesce()
        self.deliver('ctl2')
        asked = self.unquiesce()
        for host in ('ctl1', 'ctl2', 'ctl1'):
            self.guest.on_thaw.append(world.killed)
            self.deliver(host)
            self.restart(host)
            self.sweep(host)
        self.deliver('ctl2')
        self.check_at_rest('active', marked=False)
        self.assertEqual(('Success', 'ctl2'), self.event_of(asked)[::2])


class TestReset(world.WorldTest):

    def test_a_quiesced_server_is_thawed_at_once(self) -> None:
        for vm_state in ('active', 'error'):
            with self.subTest(vm_state=vm_state):
                self.quiesce()
                self.deliver()
                self.reset(vm_state)
                self.assertEqual((vm_state, 'unquiescing'), self.states)
                self.deliver()
                self.check_at_rest(vm_state, marked=False)
                self.assertFalse(self.guest.frozen)
                self.assertEqual('The state of the server was reset',
                                 self.actions()[-1][2][0][1])
                self.set(vm_state='active')

    def test_if_that_cannot_be_asked_for_the_sweep_does_it(self) -> None:
        self.quiesce()
        self.deliver()
        with mock.patch.object(objects.Instance, 'save',
                               side_effect=ConnectionError('database')):
            self.api.thaw_after_reset(
                self.context, self.instance, self.instance)
        self.set(vm_state='active')
        self.sweep()
        self.deliver()
        self.check_at_rest('active', marked=False)

    def test_a_thaw_that_fails_leaves_no_active_server(self) -> None:
        self.quiesce()
        self.deliver()
        self.guest.on_thaw.append(world.answer(NOT_THAWED))
        self.reset()
        self.deliver()
        self.check_at_rest('error', marked=True)

    def test_an_unmarked_server_is_left_to_nova(self) -> None:
        self.set(vm_state='error')
        self.reset()
        self.check_at_rest('active', marked=False)
        self.assertEqual([], self.bus.messages)

    def test_a_freeze_that_was_on_its_way_is_thawed(self) -> None:
        self.quiesce()
        self.reset()
        self.deliver_all()
        self.check_at_rest('active', marked=True)
        self.guest.frozen = True
        self.sweep()
        self.advance(120)
        self.sweep()
        self.deliver()
        self.check_at_rest('active', marked=False)
        self.assertFalse(self.guest.frozen)


class TestOtherStates(world.WorldTest):

    def _marked(self, **columns: object) -> None:
        instance = self.instance
        marks.put(instance, marks.Mark('req-1'))
        instance.save()
        self.guest.frozen = True
        self.set(**columns)

    def test_without_a_running_guest_the_mark_goes(self) -> None:
        for vm_state in ('stopped', 'shelved_offloaded', 'soft-delete'):
            with self.subTest(vm_state=vm_state):
                self._marked(vm_state=vm_state)
                self.sweep()
                self.check_at_rest(vm_state, marked=False)
                self.assertEqual([], self.bus.messages)

    def test_a_failed_thaw_changes_no_vm_state_but_active(self) -> None:
        for vm_state, end in (('rescued', 'rescued'), ('resized', 'resized'),
                              ('error', 'error'), ('active', 'error')):
            with self.subTest(vm_state=vm_state):
                self._marked(vm_state=vm_state)
                self.guest.on_thaw.append(world.answer(NOT_THAWED))
                self.sweep()
                self.deliver()
                self.check_at_rest(end, marked=True)

    def test_a_paused_guest_is_thawed_when_it_runs_again(self) -> None:
        self._marked(vm_state='paused', power_state=power_state.PAUSED)
        self.sweep()
        self.check_at_rest('paused', marked=True)
        self.set(vm_state='active')
        self.sweep()
        self.deliver()
        self.check_at_rest('active', marked=False)

    def test_a_deleted_server_leaves_nothing_to_do(self) -> None:
        self.quiesce(unquiesce_after=1)
        self.deliver()
        self.instance.destroy()
        self.advance(100)
        with self.facade.reader.using(self.context):
            self.assertEqual([], db.watched_servers(
                self.context, ('quiesced',), ('quiescing',)))
        self.sweep()
        self.assertEqual([], self.bus.messages)

    def test_a_mark_that_nobody_can_read_is_thawed(self) -> None:
        instance = self.instance
        instance.system_metadata = {
            **instance.system_metadata, marks.KEY: 'nonsense'}
        instance.save()
        self.sweep()
        self.deliver()
        self.check_at_rest('active', marked=False)


class TestCells(world.WorldTest):

    def test_a_cell_that_is_down_does_not_stop_the_others(self) -> None:
        self.quiesce(unquiesce_after=1)
        self.deliver()
        self.advance(1)
        self._sweep_with(ConnectionError('refused'))
        self.deliver()
        self.check_at_rest('active', marked=False)

    def test_one_that_hangs_is_not_asked_again_for_a_while(self) -> None:
        silence = world.nova_context.did_not_respond_sentinel
        first, second, *later = self._sweep_with(silence, (0, 1, 6, 8))
        self.assertIn('down', first)
        self.assertNotIn('down', second)
        # The second pause is longer.
        self.assertEqual([True, False], ['down' in cells for cells in later])

    def test_one_that_refuses_is_asked_again_at_once(self) -> None:
        _first, second = self._sweep_with(ConnectionError('refused'))
        self.assertIn('down', second)

    def _sweep_with(self, failure: object, seconds: Sequence[float] = (0, 1),
                    ) -> list[list[str]]:
        """Sweep, with a second cell; return which cells were asked.

        :param seconds: when
        """
        down = mock.Mock(uuid='down', is_cell0=lambda: False)
        asked: list[list[str]] = []

        def ask(context: Any, found: list[mock.Mock], *args: Any,
                ) -> dict[str, object]:
            asked.append([cell.uuid for cell in found])
            return {**self._ask_cells(context, [world.CELL], *args),
                    'down': failure}

        self._patch(mock.patch.object(objects.CellMappingList, 'get_all',
                                      lambda context: [down, world.CELL]))
        self._patch(mock.patch.object(world.nova_context,
                                      'scatter_gather_cells', ask))
        for now in seconds:
            with mock.patch.object(
                    cells.time, 'monotonic', return_value=now):
                self.sweep()
        return asked

    def test_services_of_every_cell_count(self) -> None:
        services = self.services['ctl1'].sweep._cells.services(self.context)
        self.assertEqual({'ctl1': True, 'ctl2': True}, services.up)
        self.assertTrue(services.complete)
        self.up.clear()
        self.advance(61)
        services = self.services['ctl1'].sweep._cells.services(self.context)
        self.assertFalse(services.any_up())

    def test_times_of_the_database_are_ours(self) -> None:
        when = clock.now()
        self.assertEqual(when, clock.from_datetime(clock.as_datetime(when)))
