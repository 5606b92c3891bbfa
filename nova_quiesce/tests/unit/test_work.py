# SPDX-License-Identifier: Apache-2.0

"""What happens to a server, row by row of the table in the contract."""

import datetime
from unittest import mock

from nova import objects
from nova.compute import power_state

from nova_quiesce import exceptions
from nova_quiesce import schema
from nova_quiesce import store
from nova_quiesce import thawing
from nova_quiesce import times
from nova_quiesce.tests.unit import world

State = store.State


def lapsed() -> exceptions.GuestError:
    return exceptions.FreezeLapsed(reason='it was too long')


class TestFrozen(world.WorldTest):

    def test_quiesced_and_success(self) -> None:
        request_id = self.quiesce()
        self.assertEqual(('active', 'quiescing'), self.states)
        self.assertEqual(State.ASKED, self.row_state)
        self.deliver()
        self.assertEqual(('Success', None, 'ctl1'), self.event_of(request_id))
        self.assertEqual([], self.faults())
        self.check_at_rest('quiesced', frozen=True)

    def test_the_row_is_freezing_before_a_freeze_is_sent(self) -> None:
        seen: list[object] = []
        self.guest.on_freeze = [lambda: seen.append(self.row)]
        self.quiesce()
        self.deliver()
        [row] = seen
        assert isinstance(row, store.Freeze)
        self.assertEqual(State.FREEZING, row.state)
        self.assertAlmostEqual(
            times.freeze_lease(), (row.due_at or 0) - row.now, places=2)
        self.assertEqual([('freeze', 45.0)], self.guest.calls)

    def test_it_is_notified_as_novas_own_actions_are(self) -> None:
        self.freeze()
        self.unquiesce()
        self.deliver()
        self.assertEqual(
            [('quiesce', 'start'), ('quiesced', None), ('quiesce', 'end'),
             ('unquiesce', 'start'), ('active', None), ('unquiesce', 'end')],
            [each for each in self.notified
             if each[1] not in ('quiescing', 'unquiescing')])

    def test_thawed(self) -> None:
        self.freeze()
        request_id = self.unquiesce()
        self.assertEqual(('quiesced', 'unquiescing'), self.states)
        self.deliver()
        self.assertEqual(('Success', None, 'ctl1'), self.event_of(request_id))
        self.assertEqual([], self.faults())
        self.check_at_rest('active')

    def test_what_nova_writes_of_the_server_meanwhile_is_kept(self) -> None:
        def write(key: str, frozen: bool) -> None:
            found = self.instance
            found.system_metadata[key] = 'x'
            found.save()
            self.guest.frozen = frozen

        self.guest.on_freeze = [lambda: write('b', True)]
        self.guest.on_thaw = [lambda: write('d', False)]
        instance = self.instance
        write('a', False)
        self.api.quiesce(self._context(), instance, 0)
        self.deliver()
        instance = self.instance
        write('c', True)
        self.api.unquiesce(self._context(), instance)
        self.deliver()
        self.assertEqual(('active', None), self.states)
        self.assertEqual({'image_x': 'y', **dict.fromkeys('abcd', 'x')},
                         self.instance.system_metadata)

    def test_without_a_deadline_it_stays_frozen(self) -> None:
        self.freeze()
        self.live(30)
        self.advance(100000)
        self.tick()
        self.check_at_rest('quiesced', frozen=True)


class TestRefused(world.WorldTest):

    def refuse(self, error: exceptions.GuestError, frozen: bool = False,
               ) -> str:
        self.guest.frozen = frozen
        self.guest.on_freeze = [world.answer(error)]
        request_id = self.quiesce()
        self.deliver()
        self.assertEqual(['freeze'], self.guest.names)
        self.assertEqual(('active', None), self.states)
        self.assertIsNone(self.row)
        self.assertEqual([], self.faults())
        self.assertEqual(('Error', error.format_message(), 'ctl1'),
                         self.event_of(request_id))
        self.assertIn(('quiesce', 'error'), self.notified)
        return request_id

    def test_the_guest_cannot_is_active_and_error_with_the_reason(
            self) -> None:
        self.refuse(exceptions.CannotQuiesce(reason='no guest agent'))
        self.check_at_rest('active')

    def test_frozen_by_somebody_else_is_left_as_found(self) -> None:
        self.refuse(exceptions.FrozenByOthers(), frozen=True)
        self.live(60)
        self.assertTrue(self.guest.frozen)

    def test_nobody_took_it_up_is_active_and_nothing_was_sent(self) -> None:
        request_id = self.quiesce()
        self.bus.messages.clear()
        self.advance(times.take_up_timeout() + 1)
        self.tick()
        result, details, host = self.event_of(request_id)
        self.assertEqual(('Error', 'ctl1'), (result, host))
        self.assertIn('No nova-quiesce took', details or '')
        self.assertEqual([], self.guest.calls)
        self.assertEqual([], self.faults())
        self.check_at_rest('active')


class TestWithdrawn(world.WorldTest):

    def check_withdrawn(self, asked: str, withdrawn: str) -> None:
        result, details, _host = self.event_of(asked)
        self.assertEqual('Error', result)
        self.assertIn('withdrawn', details or '')
        self.assertEqual('Success', self.result_of(withdrawn))
        self.assertEqual([], self.faults())
        self.check_at_rest('active')

    def test_before_anything_was_sent(self) -> None:
        asked = self.quiesce()
        withdrawn, answer = self.unquiesce_request(asked)
        self.assertIsNone(answer)
        self.deliver_all()
        self.assertEqual([], self.guest.calls)
        self.check_withdrawn(asked, withdrawn)

    def test_twice_at_once_and_both_requests_have_an_end(self) -> None:
        asked = self.quiesce()
        get = store.Store.get

        def late(own: store.Store, uuid: str) -> object:
            found = get(own, uuid)
            with mock.patch.object(store.Store, 'get', get):
                withdrawn.append(self.unquiesce_request(asked)[0])
            return found

        withdrawn: list[str] = []
        with mock.patch.object(store.Store, 'get', late):
            _second, answer = self.unquiesce_request(asked)
        self.assertEqual('thawing', answer and answer['state'])
        self.deliver_all()
        self.check_withdrawn(asked, withdrawn[0])
        self.assertEqual(2, len(self.actions()))

    def test_before_anything_was_sent_and_all_hints_are_lost(self) -> None:
        asked = self.quiesce()
        withdrawn, _answer = self.unquiesce_request(asked)
        self.bus.messages.clear()
        self.live(times.ASK_PAUSE)
        self.assertEqual([], self.guest.calls)
        self.check_withdrawn(asked, withdrawn)

    def withdraw_while(self, error: exceptions.GuestError | None = None,
                       ) -> tuple[str, str]:
        """Withdraw while a freeze is under way, which ends with an error."""
        found: list[str] = []

        def freeze() -> None:
            self.guest.frozen = error is None
            withdrawn, answer = self.unquiesce_request(asked)
            self.assertIsNone(answer)
            found.append(withdrawn)
            if error is not None:
                raise error

        self.guest.on_freeze = [freeze]
        asked = self.quiesce()
        self.deliver()
        self.deliver_all()
        return asked, found[0]

    def test_while_freezing_it_is_active_after_a_confirmed_thaw(self) -> None:
        asked, withdrawn = self.withdraw_while()
        self.assertEqual(['freeze', 'thaw'], self.guest.names)
        self.check_withdrawn(asked, withdrawn)

    def test_while_freezing_and_the_guest_refuses(self) -> None:
        asked, withdrawn = self.withdraw_while(
            exceptions.CannotQuiesce(reason='no agent'))
        self.assertEqual(['freeze'], self.guest.names)
        self.assertEqual('Error', self.result_of(asked))
        self.assertEqual('Success', self.result_of(withdrawn))
        self.check_at_rest('active')

    def test_while_freezing_and_the_freeze_fails(self) -> None:
        asked, withdrawn = self.withdraw_while(
            exceptions.QuiesceFailed(reason='no'))
        self.assertEqual('Error', self.result_of(asked))
        self.assertEqual('Success', self.result_of(withdrawn))
        self.check_at_rest('active')

    def test_while_a_freeze_that_failed_is_undone(self) -> None:
        withdrawn: list[str] = []
        self.guest.on_freeze = [world.answer(
            exceptions.QuiesceFailed(reason='no'))]
        self.guest.on_thaw = [lambda: withdrawn.append(
            self.unquiesce_request(asked)[0])]
        asked = self.quiesce()
        self.deliver()
        self.deliver_all()
        self.assertEqual('Success', self.result_of(withdrawn[0]))
        self.check_at_rest('active')

    def test_while_freezing_and_the_outcome_is_unknown(self) -> None:
        asked, withdrawn = self.withdraw_while(world.unknown())
        self.assertEqual('error', self.states[0])
        self.live(times.freeze_lease() + times.expiry_pause() + 3)
        self.assertEqual('Error', self.result_of(asked))
        self.assertEqual('Success', self.result_of(withdrawn))
        self.check_at_rest('active')

    def test_when_it_is_frozen_but_not_saved(self) -> None:
        # The withdrawal comes between the guest's answer and the state.
        asked = self.quiesce()
        withdrawn: list[str] = []
        save = self.services['ctl1'].work._records.save_quiesced

        def late(*args: object) -> bool:
            if not withdrawn:
                withdrawn.append(self.unquiesce_request(asked)[0])
            return bool(save(*args))

        with mock.patch.object(
                self.services['ctl1'].work._records, 'save_quiesced', late):
            self.deliver()
        self.live(times.THAW_LEASE)
        self.assertEqual('Success', self.result_of(withdrawn[0]))
        self.check_at_rest('active')


class TestFailed(world.WorldTest):

    def test_failed_and_a_confirmed_thaw_is_active_with_a_fault(self) -> None:
        self.guest.on_freeze = [world.answer(
            exceptions.QuiesceFailed(reason='no'))]
        request_id = self.quiesce()
        self.deliver()
        self.assertEqual([('freeze', 45.0), ('thaw', 15.0)],
                         self.guest.calls)
        self.assertEqual('Error', self.result_of(request_id))
        self.assertEqual(1, len(self.faults()))
        self.check_at_rest('active')

    def test_failed_and_no_thaw_is_error_until_one_is_confirmed(self) -> None:
        self.guest.on_freeze = [world.answer(
            exceptions.QuiesceFailed(reason='no'))]
        self.guest.on_thaw = [world.answer(world.not_thawed())] * 2
        request_id = self.quiesce()
        self.deliver()
        self.assertEqual('Error', self.result_of(request_id))
        self.assertEqual(('error', None), self.states)
        self.assertEqual(State.THAWING, self.row_state)
        self.live(times.retry_pause(1) - 1)
        self.assertEqual(('error', None), self.states)
        self.live(10)
        self.assertEqual(1, len(self.faults()))
        self.check_at_rest('active')

    def test_unknown_is_error_until_the_lease_and_a_pause_are_over(
            self) -> None:
        self.guest.on_freeze = [world.answer(world.unknown())]
        request_id = self.quiesce()
        self.deliver()
        self.assertEqual('Error', self.result_of(request_id))
        self.assertEqual(['freeze', 'thaw'], self.guest.names)
        self.assertEqual(('error', None), self.states)
        self.advance(times.freeze_lease() - 1)
        self.tick()
        self.assertEqual(['freeze', 'thaw'], self.guest.names)
        # Now it comes, late: the last moment at which it can.
        self.guest.frozen = True
        self.advance(1)
        self.tick()
        self.assertEqual(['freeze', 'thaw', 'thaw'], self.guest.names)
        self.assertEqual(('error', None), self.states)
        self.advance(times.expiry_pause() - 1)
        self.tick()
        self.assertEqual(('error', None), self.states)
        # One that had stood still has carried it out meanwhile.
        self.guest.frozen = True
        self.advance(1)
        self.tick()
        self.assertEqual(1, len(self.faults()))
        self.check_at_rest('active')

    def test_unknown_of_a_guest_that_cannot_be_frozen_is_active_again(
            self) -> None:
        # The answer that nothing was frozen was lost.
        self.guest.on_freeze = [world.answer(world.unknown())]
        self.guest.on_thaw = [world.answer(
            exceptions.ThawNotPossible(reason='not enabled'))] * 9
        self.quiesce()
        self.deliver()
        self.live(times.freeze_lease() + times.expiry_pause() + 3)
        self.check_at_rest('active')

    def test_a_guest_that_was_frozen_is_so_even_if_it_cannot_be(self) -> None:
        self.freeze()
        self.guest.on_thaw = [world.answer(
            exceptions.ThawNotPossible(reason='not enabled'))]
        self.unquiesce()
        self.deliver()
        self.assertEqual(('error', None), self.states)
        self.assertEqual(State.THAWING, self.row_state)

    def test_so_is_one_that_is_quiesced_without_a_row(self) -> None:
        self.freeze()
        with self.own_database.writer.get_engine().begin() as connection:
            connection.execute(schema.FREEZES.delete())
        self.guest.on_thaw = [world.answer(
            exceptions.ThawNotPossible(reason='not enabled'))]
        self.unquiesce()
        self.deliver()
        self.assertEqual(('error', None), self.states)
        self.live(3)
        self.check_at_rest('active')

    def test_a_restored_server_can_be_quiesced_again(self) -> None:
        self.guest.on_freeze = [world.answer(world.unknown())]
        self.quiesce()
        self.deliver()
        self.live(times.freeze_lease() + times.expiry_pause() + 3)
        self.freeze()
        self.check_at_rest('quiesced', frozen=True)

    def test_a_thaw_that_failed_is_error_until_one_is_confirmed(self) -> None:
        self.freeze()
        self.guest.on_thaw = [world.answer(world.not_thawed())]
        request_id = self.unquiesce()
        self.deliver()
        result, details, _host = self.event_of(request_id)
        self.assertEqual('Error', result)
        self.assertIn('the agent hangs', details or '')
        self.assertEqual(('error', None), self.states)
        self.assertEqual(1, len(self.faults()))
        self.assertIn(('unquiesce', 'error'), self.notified)
        assert self.row is not None
        self.assertIn('the agent hangs', self.row.error or '')
        self.live(times.retry_pause(1) + 1)
        self.check_at_rest('active')

    def test_thaws_are_repeated_ever_less_often(self) -> None:
        self.freeze()
        self.guest.on_thaw = [world.answer(world.not_thawed())] * 15
        self.unquiesce()
        self.deliver()
        moments = [world.CLOCK.now]
        while self.row is not None:
            self.advance((self.row.due_at or 0) - self.row.now)
            self.tick()
            moments.append(world.CLOCK.now)
        pauses = [round(late - early)
                  for early, late in zip(moments, moments[1:])]
        self.assertEqual([2] * 10 + [4, 8, 16, 32, 60], pauses)
        self.check_at_rest('active')

    def test_however_often_a_thaw_is_repeated_it_is_one_action(self) -> None:
        self.freeze()
        self.guest.on_thaw = [world.answer(world.not_thawed())] * 3
        self.unquiesce()
        self.deliver()
        self.live(5 + 10 + 20 + 3)
        self.check_at_rest('active')
        self.assertEqual(['quiesce', 'unquiesce'],
                         [name for _id, name, _events in self.actions()])
        self.assertEqual(1, len(self.faults()))

    def test_without_restore_after_thaw_it_stays_in_error(self) -> None:
        self.set_option('restore_after_thaw', False)
        self.guest.on_freeze = [
            world.answer(world.unknown()),
            world.answer(exceptions.QuiesceFailed(reason='no'))]
        self.quiesce()
        self.deliver()
        self.live(times.freeze_lease() + times.expiry_pause() + 3)
        self.check_at_rest('error')
        self.set(vm_state='active')
        self.quiesce()
        self.deliver()
        self.check_at_rest('error')

    def test_without_restore_after_thaw_nor_after_a_thaw_that_failed(
            self) -> None:
        self.set_option('restore_after_thaw', False)
        self.freeze()
        self.guest.on_thaw = [world.answer(world.not_thawed())]
        self.unquiesce()
        self.deliver()
        self.live(10)
        self.check_at_rest('error')

    def test_a_freeze_that_lapsed_is_active_and_an_error(self) -> None:
        self.freeze()
        self.guest.frozen = False
        self.guest.on_thaw = [world.answer(lapsed())]
        request_id = self.unquiesce()
        self.deliver()
        self.assertEqual('Error', self.result_of(request_id))
        self.check_at_rest('active')


class TestFate(world.WorldTest):

    def fate(self, request_id: str) -> str | None:
        return self.store.fate(self.uuid, request_id)

    def test_of_a_freeze_until_its_thaw_and_of_one_that_lapsed(self) -> None:
        request_id = self.freeze()
        self.assertEqual('arrived', self.fate(request_id))
        self.unquiesce()
        self.deliver()
        self.assertEqual('thawed', self.fate(request_id))
        request_id = self.freeze()
        self.guest.on_thaw = [world.answer(lapsed())]
        self.unquiesce()
        self.deliver()
        self.assertEqual('lapsed', self.fate(request_id))

    def test_it_is_not_known_while_a_thaw_fails(self) -> None:
        request_id = self.freeze()
        self.guest.on_thaw = [world.answer(world.not_thawed())]
        self.unquiesce()
        self.deliver()
        self.assertEqual('arrived', self.fate(request_id))
        self.live(10)
        self.assertEqual('lapsed', self.fate(request_id))
        self.check_at_rest('active')

    def test_a_lapse_is_not_forgotten_with_the_answer_that_told_it(
            self) -> None:
        # The guest tells once that it had ended the freeze.
        for end in world.answer(world.not_thawed()), world.killed:
            with self.subTest(end):
                request_id = self.freeze()
                self.guest.on_thaw = [end]
                own, answer = self.unquiesce_request(request_id)
                self.assertIsNone(answer)
                self.deliver('ctl1')
                self.live(times.THAW_LEASE + 10)
                self.assertEqual('Error', self.result_of(own))
                self.assertEqual('lapsed', self.fate(request_id))
                self.check_at_rest('active')

    def test_a_guest_that_is_off_tells_nothing(self) -> None:
        request_id = self.freeze()
        self.set(power_state=power_state.SHUTDOWN)
        self.guest.frozen = False
        self.guest.on_thaw = [world.answer(
            exceptions.GuestNotRunning(reason='it is off'))]
        own, _answer = self.unquiesce_request(request_id)
        self.deliver()
        self.assertEqual('Success', self.result_of(own))
        self.assertEqual('lapsed', self.fate(request_id))

    def test_what_was_never_frozen_needs_no_proof(self) -> None:
        self.guest.on_freeze = [world.answer(world.unknown())]
        self.quiesce(request_id=world.new_id())
        self.deliver()
        self.guest.on_thaw = [world.answer(exceptions.ThawedAgain())] * 2
        self.live(times.freeze_lease() + times.expiry_pause() + 3)
        self.check_at_rest('active')
        self.assertEqual('Success', self.actions()[-1][2][-1][0])

    def test_a_guest_that_is_off_by_now_has_told_it_to_nobody(self) -> None:
        for vm_state in 'stopped', 'active':
            with self.subTest(vm_state):
                self.restart('ctl1')
                request_id = self.freeze()
                self.guest.on_thaw = [world.killed]
                own, _answer = self.unquiesce_request(request_id)
                self.deliver('ctl1')
                self.set(vm_state=vm_state, task_state=None,
                         power_state=power_state.SHUTDOWN)
                self.guest.frozen = False
                self.guest.on_thaw = [world.answer(
                    exceptions.GuestNotRunning(reason='it is off'))]
                self.live(times.THAW_LEASE + 10)
                self.assertIsNone(self.row)
                self.assertEqual('lapsed', self.fate(request_id))
                self.assertEqual('Error', self.result_of(own))
                self.set(vm_state='active', power_state=power_state.RUNNING)
                self.guest.on_thaw = []

    def test_of_what_was_not_frozen_and_of_a_deleted_server(self) -> None:
        request_id = self.quiesce(request_id=world.new_id())
        self.unquiesce_request(request_id)
        self.deliver_all()
        self.assertIsNone(self.row)
        self.assertEqual('arrived', self.fate(request_id))
        request_id = self.freeze()
        self.instance.destroy()
        self.live(10)
        self.assertIsNone(self.row)
        self.assertEqual('arrived', self.fate(request_id))


class TestErrorOfOthers(world.WorldTest):

    def test_set_while_the_freeze_resume_it_is_kept(self) -> None:
        def freeze() -> None:
            self.guest.frozen = True
            self.set(vm_state='error', task_state=None)
            raise world.unknown()

        self.guest.on_freeze = [freeze]
        self.quiesce()
        self.deliver()
        self.live(times.freeze_lease() + times.expiry_pause() + 3)
        self.check_at_rest('error')

    def test_set_while_the_freeze_succeeds_it_is_kept(self) -> None:
        def freeze() -> None:
            self.guest.frozen = True
            self.set(vm_state='error', task_state=None)

        self.guest.on_freeze = [freeze]
        request_id = self.quiesce()
        self.deliver()
        self.live(times.THAW_LEASE + 1)
        self.assertEqual('Error', self.result_of(request_id))
        self.check_at_rest('error')

    def test_a_reset_to_error_is_kept(self) -> None:
        self.freeze()
        self.set(vm_state='error')
        self.live(6)
        self.check_at_rest('error')

    def test_a_reset_to_active_is_kept_and_the_guest_is_thawed(self) -> None:
        request_id = self.freeze()
        self.set(vm_state='active')
        self.live(6)
        self.check_at_rest('active')
        [_asked, (_id, name, [(result, details, _host)])] = self.actions()
        self.assertEqual(('unquiesce', 'Success'), (name, result))
        self.assertIn(request_id, details or '')

    def test_an_active_server_is_never_frozen_for_longer(self) -> None:
        # A thaw that fails after a reset takes the server to error.
        self.freeze()
        self.set(vm_state='active')
        self.guest.on_thaw = [world.answer(world.not_thawed())]
        self.sweep()
        self.tick()
        self.assertEqual(('error', None), self.states)
        self.live(7)
        self.check_at_rest('active')

    def test_a_task_that_nova_begins_while_it_is_thawed_is_kept(self) -> None:
        def thaw() -> None:
            self.guest.frozen = False
            self.set(vm_state='error', task_state='rebuilding')

        self.freeze()
        self.guest.on_thaw = [thaw]    # an evacuation
        request_id = self.unquiesce()
        self.deliver()
        self.assertEqual(('error', 'rebuilding'), self.states)
        self.assertEqual('Success', self.result_of(request_id))
        self.assertIsNone(self.row)

    def test_a_reset_while_it_is_thawed_is_kept(self) -> None:
        def thaw() -> None:
            self.guest.frozen = False
            self.set(vm_state='error', task_state=None)

        self.freeze()
        self.guest.on_thaw = [thaw]
        request_id = self.unquiesce()
        self.deliver()
        self.assertEqual('Success', self.result_of(request_id))
        self.check_at_rest('error')


class TestDeadline(world.WorldTest):

    def test_it_is_thawed_by_an_action_of_the_service(self) -> None:
        asked = self.freeze(unquiesce_after=60)
        frozen_at = world.START
        self.assertEqual(
            [(frozen_at, frozen_at + datetime.timedelta(seconds=60))],
            [(start.replace(microsecond=0), end.replace(microsecond=0))
             for start, end in self.deadlines()])
        self.advance(59)
        self.tick()
        self.check_at_rest('quiesced', frozen=True)
        self.advance(1)
        self.tick()
        self.check_at_rest('active')
        [first, second] = self.actions()
        self.assertEqual(asked, first[0])
        self.assertEqual('unquiesce', second[1])
        [(result, details, host)] = second[2]
        self.assertEqual(('Success', 'ctl1'), (result, host))
        self.assertIn('deadline of request %s' % asked, details)

    def test_it_counts_from_the_freeze_even_if_the_service_dies_then(
            self) -> None:
        self.quiesce(unquiesce_after=60)
        with mock.patch.object(
                store.Store, 'mark_frozen', side_effect=world.Killed):
            self.deliver()
        self.assertEqual('quiesced', self.states[0])
        self.assertNotIn('ctl1', self.services)
        self.advance(times.THAW_LEASE)
        self.tick('ctl2')
        self.assertEqual('frozen', self.row_state)
        self.advance(59 - times.THAW_LEASE)
        self.tick('ctl2')
        self.check_at_rest('quiesced', frozen=True)
        self.advance(1)
        self.tick('ctl2')
        self.check_at_rest('active')

    def test_it_says_so_also_if_the_host_had_to_be_waited_for(self) -> None:
        self.freeze(unquiesce_after=60)
        self.compute_hosts.clear()
        self.advance(70)
        self.tick()
        self.compute_hosts.add('cmp1')
        self.report()
        self.live(times.WAIT_PAUSE + 1)
        self.check_at_rest('active')
        [_first, (_id, _name, [(_result, details, _host)])] = self.actions()
        self.assertIn('deadline', details or '')

    def test_the_event_of_the_deadline_is_of_the_request(self) -> None:
        self.freeze()
        self.assertEqual([], self.deadlines())

    def test_an_old_deadline_does_not_end_a_new_quiesce(self) -> None:
        self.freeze(unquiesce_after=60)
        self.advance(61)
        [overdue] = self.store.due(10)    # and ctl2 stands still
        self.tick('ctl1')
        self.freeze(unquiesce_after=3600)
        self.services['ctl2'].work.do(overdue.instance_uuid)
        self.check_at_rest('quiesced', frozen=True)

    def test_what_an_old_owner_writes_does_not_change_a_new_row(self) -> None:
        self.freeze(unquiesce_after=60)
        self.advance(61)
        old = self.store.take(self.uuid, 1)
        assert old is not None
        self.advance(2)
        self.tick('ctl1')
        self.freeze(unquiesce_after=3600)
        self.assertIsNone(self.store.update(old, state=State.THAWING))
        self.assertFalse(self.store.delete(old))
        self.check_at_rest('quiesced', frozen=True)


class TestGuestThatDoesNotRun(world.WorldTest):

    def test_a_stopped_one_is_not_called(self) -> None:
        for vm_state in ('stopped', 'shelved_offloaded', 'soft-delete'):
            with self.subTest(vm_state):
                self.freeze()
                self.guest.calls.clear()
                self.guest.frozen = False    # it has ended
                self.set(vm_state=vm_state)
                self.live(6)
                self.assertEqual([], self.guest.calls)
                self.check_at_rest(vm_state)
                self.set(vm_state='active')

    def fail_to_freeze(self) -> str:
        """Ask for a freeze, which nobody answers, and for which no thaw is."""
        self.guest.on_freeze = [world.answer(world.unknown())]
        self.guest.on_thaw = [world.answer(world.not_thawed())] * 1000
        request_id = self.quiesce()
        self.deliver()
        self.assertEqual(('error', None), self.states)
        self.assertEqual(State.FREEZING, self.row_state)
        return request_id

    def test_one_that_is_stopped_after_its_freeze_failed(self) -> None:
        self.fail_to_freeze()
        self.live(times.freeze_lease() + 60)
        self.assertEqual(State.FREEZING, self.row_state)
        self.set(vm_state='stopped')
        self.live(times.retry_pause(99) + times.expiry_pause() + 10)
        self.check_at_rest('stopped')
        [_freeze, (_id, name, events)] = self.actions()
        self.assertEqual('unquiesce', name)
        self.assertEqual(['Error'], [result for result, *_rest in events])

    def test_a_paused_one_is_waited_for(self) -> None:
        self.freeze()
        self.set(vm_state='paused')
        self.live(60)
        self.assertEqual(['freeze'], self.guest.names)
        self.assertTrue(self.guest.frozen)
        self.set(vm_state='active')
        self.live(12)
        self.check_at_rest('active')

    def test_one_that_may_go_on_frozen_is_left_as_it_is(self) -> None:
        # In a task of ours, Nova would call a resize that is to be confirmed
        # a failure.
        for vm_state in ('paused', 'suspended', 'building', 'resized'):
            with self.subTest(vm_state):
                self.guest.calls.clear()
                self.freeze()
                self.set(vm_state=vm_state)
                self.live(12)
                self.assertEqual((vm_state, None), self.states)
                self.assertEqual(['freeze'], self.guest.names)
                self.set(vm_state='active')
                self.live(12)
                self.check_at_rest('active')

    def test_one_that_nova_is_at_work_on_is_waited_for(self) -> None:
        self.freeze()
        self.set(vm_state='active', task_state='rebooting_hard')
        self.live(60)
        self.assertEqual(['freeze'], self.guest.names)
        self.set(task_state=None)
        self.live(12)
        self.check_at_rest('active')

    def test_one_whose_image_is_made_is_not_waited_for(self) -> None:
        for task_state in ('image_snapshot', 'image_snapshot_pending',
                           'image_pending_upload', 'image_uploading',
                           'image_backup'):
            with self.subTest(task_state):
                self.freeze()
                self.set(vm_state='active', task_state=task_state)
                self.live(10)
                self.assertFalse(self.guest.frozen)
                self.assertIsNone(self.row)
                self.assertEqual(('active', task_state), self.states)
                self.set(task_state=None)

    def test_one_quiesced_while_its_image_begins_is_active_again(self) -> None:
        # createImage had seen it active, and saves its task_state late.
        self.freeze(unquiesce_after=5)
        self.set(task_state='image_snapshot_pending')
        self.live(10)
        self.assertFalse(self.guest.frozen)
        self.assertIsNone(self.row)
        self.assertEqual(('active', 'image_snapshot_pending'), self.states)

    def test_one_that_was_saved_for_its_image_comes_back_frozen(self) -> None:
        self.freeze()
        self.set(vm_state='active', task_state='image_snapshot',
                 power_state=power_state.SHUTDOWN)
        self.guest.on_thaw = [world.answer(exceptions.GuestNotRunning(
            reason='domain is not running'))] * 99
        self.live(8)
        self.assertEqual(State.THAWING, self.row_state)
        self.guest.on_thaw.clear()
        self.set(task_state=None, power_state=power_state.RUNNING)
        self.live(12)
        self.check_at_rest('active')

    def test_a_paused_one_whose_image_is_made_is_waited_for(self) -> None:
        self.freeze()
        self.set(vm_state='paused', task_state='image_uploading')
        self.live(12)
        self.assertEqual(['freeze'], self.guest.names)
        self.set(vm_state='active', task_state=None)
        self.live(12)
        self.check_at_rest('active')

    def test_one_that_is_off_is_not_frozen(self) -> None:
        self.freeze()
        self.guest.frozen = False
        self.guest.on_thaw = [world.answer(
            exceptions.GuestNotRunning(reason='domain is not running'))]
        self.set(power_state=power_state.SHUTDOWN)
        self.unquiesce()
        self.deliver()
        self.check_at_rest('active')

    def test_one_that_is_suspended_during_its_thaw_comes_back_frozen(
            self) -> None:
        def suspend() -> None:
            self.set(vm_state='suspended', power_state=power_state.SHUTDOWN)
            raise exceptions.GuestNotRunning(reason='domain is not running')

        self.freeze()
        self.set(vm_state='active')
        self.guest.on_thaw = [suspend]
        self.live(12)
        self.assertEqual(('suspended', None), self.states)
        self.assertEqual(State.THAWING, self.row_state)
        self.set(vm_state='active', power_state=power_state.RUNNING)
        self.live(12)
        self.check_at_rest('active')

    def test_one_that_is_paused_behind_novas_back_may_be(self) -> None:
        self.freeze()
        self.guest.on_thaw = [world.answer(
            exceptions.GuestNotRunning(reason='domain is not running'))]
        self.unquiesce()
        self.deliver()
        self.assertEqual(('error', None), self.states)
        self.assertEqual(State.THAWING, self.row_state)

    def test_a_deleted_server_ends_its_requests_and_its_row(self) -> None:
        asked = self.freeze()
        unquiesced = self.unquiesce()
        self.guest.frozen = False
        self.instance.destroy()
        self.deliver()
        self.assertIsNone(self.row)
        self.assertEqual('Success', self.result_of(asked))
        result, details, _host = self.event_of(unquiesced)
        self.assertEqual('Error', result)
        self.assertIn('deleted', details or '')

    def test_one_deleted_before_its_freeze_likewise(self) -> None:
        asked = self.quiesce()
        self.instance.destroy()
        self.deliver()
        self.assertEqual([], self.guest.calls)
        self.assertIsNone(self.row)
        self.assertEqual('Error', self.result_of(asked))

    def test_one_deleted_while_frozen_is_found_by_the_sweep(self) -> None:
        self.freeze()
        self.instance.destroy()
        self.live(6)
        self.assertIsNone(self.row)


class TestRestarted(world.WorldTest):
    """A guest that was started anew, by the order of Nova's actions.

    The clock of nova-compute tells nothing.
    """

    def reboot(self, clock: int) -> None:
        """Have Nova reboot the server.

        :param clock: by how many seconds that of nova-compute is wrong
        """
        context = self._context()
        name = 'compute_reboot_instance'
        self.time.advance_time_seconds(clock)
        objects.InstanceAction.action_start(
            context, self.uuid, 'reboot', want_result=False)
        objects.InstanceActionEvent.event_start(
            context, self.uuid, name, want_result=False)
        objects.InstanceActionEvent.event_finish(
            context, self.uuid, name, want_result=False)
        self.time.advance_time_seconds(-clock)

    def fail_to_thaw(self) -> None:
        self.guest.on_thaw = [world.answer(world.not_thawed())] * 2
        self.unquiesce()
        self.deliver()
        self.assertEqual(('error', None), self.states)

    def test_since_its_thaw_was_begun_it_is_not_frozen(self) -> None:
        self.freeze()
        self.fail_to_thaw()
        self.guest.frozen = False
        self.reboot(clock=-86400)
        self.live(times.retry_pause(1) + 1)
        self.assertEqual(['freeze', 'thaw', 'thaw'], self.guest.names)
        self.check_at_rest('active')

    def test_since_it_was_quiesced_it_is_not_frozen_either(self) -> None:
        # As after an evacuation: the guest boots, and its agent is not up.
        self.freeze()
        self.set(vm_state='active')
        self.guest.frozen = False
        self.reboot(clock=-86400)
        self.guest.on_thaw = [world.answer(world.not_thawed())] * 2
        self.live(10)
        self.assertEqual(['freeze', 'thaw'], self.guest.names)
        self.check_at_rest('active')
        self.assertEqual([], self.faults())

    def test_after_its_freeze_failed_it_needs_no_agent(self) -> None:
        self.guest.on_freeze = [world.answer(world.unknown())]
        self.guest.on_thaw = [world.answer(world.not_thawed())] * 1000
        self.quiesce()
        self.deliver()
        self.live(times.freeze_lease() + 30)
        self.assertEqual(('error', None), self.states)
        self.reboot(clock=0)
        self.set(vm_state='active')
        faults = self.faults()
        self.live(times.retry_pause(99) + times.expiry_pause() + 10)
        self.check_at_rest('active')
        self.assertEqual(faults, self.faults())

    def test_before_it_was_frozen_it_may_be(self) -> None:
        self.reboot(clock=86400)
        self.freeze()
        self.fail_to_thaw()
        self.live(times.retry_pause(1) + 1)
        self.assertEqual(('error', None), self.states)
        self.assertEqual(State.THAWING, self.row_state)


class TestHosts(world.WorldTest):
    """One compute host holds up no other one."""

    def test_one_that_counts_as_down_is_called_all_the_same(self) -> None:
        # Its conductor is gone, or a clock is off.
        self.freeze(unquiesce_after=10)
        self.compute_hosts.clear()
        self.advance(100)
        self.guest.on_thaw = [world.answer(world.not_thawed())]
        self.live(2)
        self.assertEqual(('error', None), self.states)
        self.live(times.retry_pause(1) + 1)
        self.check_at_rest('active')


class TestPlaces(world.WorldTest):

    def test_a_thaw_has_its_own_timeout(self) -> None:
        self.freeze()
        self.unquiesce()
        self.deliver()
        self.assertEqual(('thaw', times.THAW_TIMEOUT), self.guest.calls[-1])

    def test_events_of_nova_that_start_a_guest_anew_exist(self) -> None:
        from nova.compute import manager
        for name in thawing.RESTARTS:
            with self.subTest(name):
                method = name.removeprefix('compute_')
                self.assertTrue(hasattr(manager.ComputeManager, method))
