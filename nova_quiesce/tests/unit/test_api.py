# SPDX-License-Identifier: Apache-2.0

"""What a nova-api does with a request, before anybody works on it."""

import contextlib
from typing import Any
from unittest import mock

from nova import exception
from nova.notifications import base as notifications

from nova_quiesce import api
from nova_quiesce import db
from nova_quiesce import exceptions
from nova_quiesce import schema
from nova_quiesce import store
from nova_quiesce import times
from nova_quiesce.tests.unit import world

State = store.State


class TestQuiesce(world.WorldTest):

    def test_the_row_comes_before_the_state_and_both_before_the_hint(
            self) -> None:
        seen: list[object] = []
        begin = self.api._begin_quiesce

        def look(*args: Any) -> None:
            seen.append((self.states, self.row_state))
            begin(*args)

        def send(*args: object) -> None:
            seen.append((self.states, self.row_state))

        with mock.patch.object(self.api, '_begin_quiesce', look), \
                mock.patch.object(self.bus, 'quiesce_instance', send):
            request_id = self.quiesce(unquiesce_after=7)
        self.assertEqual([(('active', None), State.ASKED),
                          (('active', 'quiescing'), State.ASKED)], seen)
        row = self.row
        assert row is not None
        self.assertEqual(
            (request_id, 7, 'project', 'user', 'web', world.CELL.uuid, None),
            (row.request_id, row.unquiesce_after, row.project_id,
             row.user_id, row.server_name, row.cell_uuid, row.owner))
        self.assertAlmostEqual(times.ASK_PAUSE, (row.due_at or 0) - row.now,
                               places=3)

    def test_it_is_refused_in_any_other_state(self) -> None:
        for vm_state, task_state in (
                ('paused', None), ('stopped', None), ('error', None),
                ('quiesced', None), ('active', 'quiescing'),
                ('active', 'rebooting')):
            with self.subTest(vm_state=vm_state, task_state=task_state):
                self.set(vm_state=vm_state, task_state=task_state)
                with self.assertRaises(exception.InstanceInvalidState):
                    self.quiesce()
        self.assertEqual([], self.bus.messages)
        self.assertEqual([], self.actions())
        self.assertIsNone(self.row)

    def test_of_a_server_that_never_ran_it_is_refused(self) -> None:
        self.set(launched_at=None)
        with self.assertRaises(exception.InstanceInvalidState):
            self.quiesce()

    def test_a_locked_server_is_refused_for_a_non_admin(self) -> None:
        self.set(locked=True)
        context = self._context()
        context.is_admin = False
        with self.assertRaises(exception.InstanceIsLocked):
            self.api.quiesce(context, self.instance, 0)
        self.quiesce()

    def test_the_loser_of_a_race_is_refused_and_leaves_nothing(self) -> None:
        for columns, words in (
                ({'task_state': 'rebooting'}, 'task_state rebooting'),
                ({'vm_state': 'paused'}, 'vm_state paused')):
            with self.subTest(words):
                self.set(vm_state='active', task_state=None)
                instance = self.instance
                self.set(**columns)
                with self.assertRaisesRegex(
                        exception.InstanceInvalidState, words):
                    self.api.quiesce(self._context(), instance, 0)
                self.assertIsNone(self.row)
        self.assertEqual([], self.bus.messages)
        self.assertEqual([], self.actions())

    def test_one_whose_deletion_begins_meanwhile_is_refused(self) -> None:
        instance = self.instance
        self.set(task_state='deleting')
        with self.assertRaisesRegex(
                exception.InstanceInvalidState, 'task_state deleting'):
            self.api.quiesce(self._context(), instance, 0)
        self.assertIsNone(self.row)
        self.assertEqual([], self.actions())

    def test_its_state_is_notified_with_the_token_of_the_caller(self) -> None:
        # Nova needs it for the URL of the image.
        instance = self.instance
        instance._context.auth_token = 'token'
        with mock.patch.object(
                notifications, 'send_update_with_states') as send:
            self.api.quiesce(self._context(), instance, 0)
        [[context, *_rest]] = [call.args for call in send.call_args_list]
        self.assertEqual('token', context.auth_token)

    def test_of_two_at_once_exactly_one_is_accepted(self) -> None:
        instance = self.instance
        request_id = self.quiesce()
        with self.assertRaises(exceptions.NotClearedUp):
            self.api.quiesce(self._context(), instance, 0)
        assert self.row is not None
        self.assertEqual(request_id, self.row.request_id)
        self.deliver_all()
        self.check_at_rest('quiesced', frozen=True)

    def test_one_that_lost_a_race_can_be_repeated_with_its_id(self) -> None:
        request_id = world.new_id()
        instance = self.instance
        self.set(task_state='rebooting')
        with self.assertRaises(exception.InstanceInvalidState):
            self.api.quiesce(self._context(), instance, 0, request_id)
        self.set(task_state=None)
        self.quiesce(request_id=request_id)
        self.deliver()
        self.check_at_rest('quiesced', frozen=True)

    def test_not_while_an_earlier_freeze_is_not_cleared_up(self) -> None:
        request_id = world.new_id()
        self.freeze()
        self.set(vm_state='active')    # a reset, and no sweep yet
        with self.assertRaises(exceptions.NotClearedUp):
            self.quiesce(request_id=request_id)
        self.live(6)
        # It has left nothing behind: it may come again.
        self.quiesce(request_id=request_id)
        self.deliver()
        self.check_at_rest('quiesced', frozen=True)


class TestAskedAgain(world.WorldTest):
    """A request to quiesce that comes again does nothing a second time."""

    def test_asked(self) -> None:
        request_id = self.quiesce(request_id=world.new_id())
        before = self.row
        self.quiesce(request_id=request_id)
        self.assertEqual(before, self.row)
        self.assertEqual(1, len(self.actions()))
        self.deliver_all()
        self.assertEqual(['freeze'], self.guest.names)

    def test_freezing(self) -> None:
        request_id = world.new_id()

        def freeze() -> None:
            self.guest.frozen = True
            self.quiesce(request_id=request_id)

        self.guest.on_freeze = [freeze]
        self.quiesce(request_id=request_id)
        self.deliver_all()
        self.assertEqual(['freeze'], self.guest.names)
        self.check_at_rest('quiesced', frozen=True)

    def test_frozen(self) -> None:
        request_id = self.freeze()
        before = self.row
        self.quiesce(request_id=request_id)
        self.assertEqual(before, self.row)
        self.assertEqual([], self.bus.messages)
        self.check_at_rest('quiesced', frozen=True)

    def test_frozen_and_a_new_request_would_be_refused(self) -> None:
        request_id = self.freeze()
        self.services.clear()
        self.advance(61)
        self.set(locked=True)
        context = self._context()
        context.is_admin = False
        self.api.quiesce(context, self.instance, 0, request_id)
        self.set(locked=False)
        self.quiesce(request_id=request_id)

    def test_two_copies_at_once(self) -> None:
        request_id = world.new_id()
        instance = self.instance
        self.quiesce(request_id=request_id)
        self.api.quiesce(self._context(), instance, 0, request_id)
        self.assertEqual(1, len(self.bus.messages))

    def test_being_thawed(self) -> None:
        request_id = self.freeze()
        self.unquiesce()
        with self.assertRaises(exceptions.RequestKnown):
            self.quiesce(request_id=request_id)

    def test_ended(self) -> None:
        request_id = self.freeze()
        self.unquiesce()
        self.deliver()
        with self.assertRaisesRegex(exceptions.RequestEnded, 'unquiesced'):
            self.quiesce(request_id=request_id)
        self.check_at_rest('active')

    def test_failed(self) -> None:
        self.guest.on_freeze = [world.answer(
            exceptions.CannotQuiesce(reason='no guest agent'))]
        request_id = self.quiesce(request_id=world.new_id())
        self.deliver()
        with self.assertRaisesRegex(
                exceptions.RequestEnded, 'no guest agent'):
            self.quiesce(request_id=request_id)

    def test_withdrawn(self) -> None:
        request_id = self.quiesce(request_id=world.new_id())
        self.unquiesce_request(request_id)
        with self.assertRaisesRegex(exceptions.RequestKnown, 'withdrawn'):
            self.quiesce(request_id=request_id)
        self.deliver_all()
        with self.assertRaisesRegex(exceptions.RequestKnown, 'withdrawn'):
            self.quiesce(request_id=request_id)

    def test_another_server_has_ids_of_its_own(self) -> None:
        request_id = self.freeze()
        self.uuid = self.boot()
        self.quiesce(request_id=request_id)
        self.deliver()
        self.check_at_rest('quiesced', frozen=True)


class TestUnquiesce(world.WorldTest):

    def test_it_is_refused_in_any_other_state(self) -> None:
        for vm_state, task_state in (
                ('active', None), ('quiesced', 'unquiescing'),
                ('error', None)):
            with self.subTest(vm_state=vm_state, task_state=task_state):
                self.set(vm_state=vm_state, task_state=task_state)
                with self.assertRaises(exception.InstanceInvalidState):
                    self.unquiesce()
        self.assertEqual([], self.bus.messages)
        self.assertIsNone(self.row)

    def test_a_quiesced_server_without_a_row_is_thawed(self) -> None:
        self.set(vm_state='quiesced')
        self.guest.frozen = True
        request_id = self.unquiesce()
        self.deliver()
        self.assertEqual('Success', self.result_of(request_id))
        self.check_at_rest('active')

    def test_of_two_at_once_one_is_accepted_and_succeeds(self) -> None:
        self.freeze()
        instances = [self.instance, self.instance]
        accepted: list[str] = []
        begin = self.api._begin_unquiesce

        def ask() -> None:
            context = self._context()
            with contextlib.suppress(exception.InstanceInvalidState):
                self.api.unquiesce(context, instances.pop())
                accepted.append(str(context.request_id))

        def slow(*args: Any) -> None:
            if instances:
                ask()    # the other one is faster
            begin(*args)

        with mock.patch.object(self.api, '_begin_unquiesce', slow):
            ask()
        self.deliver_all()
        [request_id] = accepted
        self.assertEqual('Success', self.result_of(request_id))
        self.check_at_rest('active')


class TestUnquiesceRequest(world.WorldTest):

    def test_quiesced_by_it_a_thaw_is_begun(self) -> None:
        request_id = self.freeze()
        own, answer = self.unquiesce_request(request_id)
        self.assertIsNone(answer)
        self.assertEqual(('quiesced', 'unquiescing'), self.states)
        self.deliver()
        self.assertEqual('Success', self.result_of(own))
        self.check_at_rest('active')

    def test_quiescing_by_it_the_freeze_is_given_up(self) -> None:
        request_id = self.quiesce()
        _own, answer = self.unquiesce_request(request_id)
        self.assertIsNone(answer)
        assert self.row is not None
        self.assertTrue(self.row.given_up)

    def test_withdrawn_a_second_time(self) -> None:
        request_id = self.quiesce()
        self.unquiesce_request(request_id)
        _own, answer = self.unquiesce_request(request_id)
        self.assertIsNotNone(answer)
        self.deliver_all()
        self.check_at_rest('active')

    def test_being_thawed(self) -> None:
        request_id = self.freeze()
        self.unquiesce()
        _own, answer = self.unquiesce_request(request_id)
        assert answer is not None
        self.assertEqual('thawing', answer['state'])

    def test_thawed_already(self) -> None:
        request_id = self.freeze()
        self.unquiesce()
        self.deliver()
        _own, answer = self.unquiesce_request(request_id)
        assert answer is not None
        self.assertEqual('ended', answer['state'])
        self.assertIn('unquiesced', answer['message'])

    def test_failed(self) -> None:
        self.guest.on_freeze = [world.answer(
            exceptions.CannotQuiesce(reason='no guest agent'))]
        request_id = self.quiesce()
        self.deliver()
        _own, answer = self.unquiesce_request(request_id)
        assert answer is not None
        self.assertEqual('ended', answer['state'])
        self.assertIn('no guest agent', answer['message'])

    def test_quiesced_by_another_request(self) -> None:
        other = self.freeze()
        self.unquiesce()
        self.deliver()
        self.freeze()
        _own, answer = self.unquiesce_request(other)
        assert answer is not None
        self.assertEqual('ended', answer['state'])
        self.check_at_rest('quiesced', frozen=True)

    def test_never_arrived_and_a_copy_that_comes_later_is_refused(
            self) -> None:
        request_id = world.new_id()
        _own, answer = self.unquiesce_request(request_id)
        assert answer is not None
        self.assertEqual('withdrawn', answer['state'])
        _own, again = self.unquiesce_request(request_id)
        assert again is not None
        self.assertEqual('withdrawn', again['state'])
        with self.assertRaises(exceptions.RequestWithdrawn):
            self.quiesce(request_id=request_id)
        self.assertEqual([], self.actions())
        self.check_at_rest('active')

    def test_never_arrived_and_quiesced_by_another_one(self) -> None:
        self.freeze()
        _own, answer = self.unquiesce_request(world.new_id())
        assert answer is not None
        self.assertEqual('withdrawn', answer['state'])
        self.check_at_rest('quiesced', frozen=True)

    def test_locked(self) -> None:
        request_id = self.freeze()
        self.set(locked=True)
        context = self._context()
        context.is_admin = False
        with self.assertRaises(exception.InstanceIsLocked):
            self.api.unquiesce_request(context, self.instance, request_id)

    def test_in_a_task_of_novas(self) -> None:
        request_id = self.freeze()
        self.set(task_state='deleting')
        with self.assertRaises(exception.InstanceInvalidState):
            self.unquiesce_request(request_id)

    def test_reset_since_it_is_no_proof(self) -> None:
        request_id = self.freeze()
        self.set(vm_state='active')
        _own, answer = self.unquiesce_request(request_id)
        self.assertIsNotNone(answer)
        self.live(6)
        self.check_at_rest('active')

    def test_reset_since_and_its_row_does_not_say_frozen_yet(self) -> None:
        request_id = self.quiesce()
        with mock.patch.object(store.Store, 'mark_frozen',
                               side_effect=world.Killed):
            self.deliver('ctl1')
        self.assertEqual(('quiesced', None), self.states)
        self.set(vm_state='active')
        own, answer = self.unquiesce_request(request_id)
        assert answer is not None
        self.assertEqual('thawing', answer['state'])
        self.live(times.THAW_LEASE + times.expiry_pause() + 2)
        self.assertEqual('Error', self.result_of(own))
        self.check_at_rest('active')

    def test_quiesced_since_the_server_was_read(self) -> None:
        request_id = self.quiesce()
        instance = self.instance
        self.deliver()
        context = self._context()
        self.assertIsNone(
            self.api.unquiesce_request(context, instance, request_id))
        self.deliver()
        self.assertEqual('Success', self.result_of(context.request_id))
        self.check_at_rest('active')

    def test_a_service_may_begin_before_the_state_is_saved(self) -> None:
        real = db.start

        def late(*args: Any) -> bool:
            with mock.patch.object(db, 'start', real):
                self.live(times.ASK_PAUSE + 1)
            return bool(real(*args))

        def thaw() -> None:
            self.guest.frozen = False

        for on_thaw, result in (thaw, 'Success'), (world.killed, 'Error'):
            request_id = self.freeze()
            self.guest.on_thaw = [on_thaw]
            with mock.patch.object(db, 'start', late):
                own, answer = self.unquiesce_request(request_id)
            self.assertIsNone(answer)
            self.live(times.THAW_LEASE)
            self.deliver_all('ctl2')
            self.assertEqual(result, self.result_of(own))
            self.check_at_rest('active')

    def test_quiesced_but_its_row_does_not_say_so_yet(self) -> None:
        answers: list[tuple[str, dict[str, str] | None]] = []
        frozen = store.Store.mark_frozen

        def slow(*args: object) -> object:
            answers.append(self.unquiesce_request(request_id))
            return frozen(*args)

        request_id = self.quiesce()
        with mock.patch.object(store.Store, 'mark_frozen', slow):
            self.deliver()
        [(own, answer)] = answers
        self.assertIsNone(answer)
        self.deliver_all()
        self.assertEqual('Success', self.result_of(own))
        self.check_at_rest('active')


class TestNobodyIsThere(world.WorldTest):

    def test_no_service_is_up_and_nothing_is_recorded(self) -> None:
        self.services.clear()
        self.advance(61)
        with self.assertRaises(exceptions.NoService):
            self.quiesce()
        self.set(vm_state='quiesced')
        with self.assertRaises(exceptions.NoService):
            self.unquiesce()
        self.assertEqual(('quiesced', None), self.states)
        self.assertEqual([], self.actions())
        self.assertIsNone(self.row)

    def test_one_of_several_is_enough(self) -> None:
        del self.services['ctl1']
        self.advance(61)
        self.quiesce()

    def test_a_wrong_state_is_told_first(self) -> None:
        self.services.clear()
        self.advance(61)
        self.set(vm_state='paused')
        with self.assertRaises(exception.InstanceInvalidState):
            self.quiesce()

    def test_the_compute_host_is_down_and_nothing_is_recorded(self) -> None:
        self.compute_hosts.clear()
        self.advance(61)
        with self.assertRaises(exceptions.ComputeDown):
            self.quiesce()
        self.check_at_rest('active')
        self.assertEqual([], self.actions())

    def test_a_server_without_a_host_likewise(self) -> None:
        self.set(host=None)
        with self.assertRaises(exceptions.ComputeDown):
            self.quiesce()

    def test_a_compute_host_of_any_name_is_looked_at(self) -> None:
        for host in ('schema', 'nova-quiesce', 'service', 'compute'):
            self.uuid = self.boot(host)
            with self.subTest(host), self.assertRaises(exceptions.ComputeDown):
                self.quiesce()

    def test_services_are_looked_at_as_often_as_they_report(self) -> None:
        with mock.patch.object(
                store.Store, 'is_any_up', return_value=True) as is_any_up:
            self.freeze()
            self.unquiesce()
            self.assertEqual(1, is_any_up.call_count)
            self.deliver()
            self.advance(api.CONF.report_interval)
            self.freeze()
            self.assertEqual(2, is_any_up.call_count)

    def test_the_table_is_missing(self) -> None:
        with mock.patch.object(
                schema, 'versions', return_value=(None, '0001')), \
                self.assertRaisesRegex(
                    exceptions.SchemaMissing, 'nova-quiesce-manage db sync'):
            self.quiesce()

    def test_the_table_is_missing_for_a_request_with_an_id(self) -> None:
        with mock.patch.object(schema, 'versions', return_value=(None, '1')):
            with self.assertRaises(exceptions.SchemaMissing):
                self.quiesce(request_id=world.new_id())
            with self.assertRaises(exceptions.SchemaMissing):
                self.unquiesce_request(world.new_id())
        self.assertIsNone(self.row)
        with mock.patch.object(
                schema, 'versions', return_value=(None, '0001')), \
                self.assertRaises(exceptions.SchemaMissing):
            self.services['ctl1'].init_host()

    def test_a_thaw_by_request_is_accepted_all_the_same(self) -> None:
        request_id = self.freeze()
        self.services.clear()
        self.advance(61)
        _own, answer = self.unquiesce_request(request_id)
        self.assertIsNone(answer)
        self.restart('ctl1')
        self.deliver('ctl1')
        self.check_at_rest('active')
