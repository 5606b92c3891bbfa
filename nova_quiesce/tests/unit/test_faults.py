# SPDX-License-Identifier: Apache-2.0

"""Processes that stop anywhere, commits in doubt, messages that are lost."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from nova import exception
from nova import objects
from oslo_db import exception as db_exception
import sqlalchemy.exc

from nova_quiesce import actions
from nova_quiesce import api
from nova_quiesce import db
from nova_quiesce import exceptions
from nova_quiesce import guest
from nova_quiesce import records
from nova_quiesce import store
from nova_quiesce import times
from nova_quiesce.tests.unit import world

State = store.State
#: until all is well again, if a freeze may have been sent
LONG = 63 + 48 + 5


def once(function: Callable[..., Any], error: BaseException, after: bool,
         ) -> Callable[..., Any]:
    """Return a function that raises an error in its first call.

    :param after: whether it has done its work then
    """
    failed: list[bool] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        if failed:
            return function(*args, **kwargs)
        failed.append(True)
        if after:
            function(*args, **kwargs)
        raise error

    return call


class FaultTest(world.WorldTest):

    def fail_once(self, target: object, name: str, error: BaseException,
                  after: bool = False) -> None:
        self._patch(mock.patch.object(target, name, once(
            getattr(target, name), error, after)))

    def lose_commit(self, is_committed: bool) -> None:
        """Let the answer to the next end of a request be lost.

        That is the next but one commit in the cell.
        """
        real = db.transaction
        commits: list[bool] = []

        @contextlib.contextmanager
        def transaction(*args: Any) -> Iterator[db.ServerStates]:
            commits.append(True)
            if len(commits) != 2:
                with real(*args) as found:
                    yield found
                return
            if is_committed:
                with real(*args) as found:
                    yield found
            else:
                with contextlib.suppress(ValueError), real(*args) as found:
                    yield found
                    raise ValueError('roll it back')
            raise db_exception.DBConnectionError()

        self._patch(mock.patch.object(db, 'transaction', transaction))


class TestLostHints(FaultTest):

    def test_a_quiesce_is_found_after_a_pause(self) -> None:
        self.bus.down = True
        self.quiesce()
        self.advance(times.ASK_PAUSE - 1)
        self.tick()
        self.assertEqual([], self.guest.calls)
        self.advance(1)
        self.tick()
        self.check_at_rest('quiesced', frozen=True)

    def test_an_unquiesce_is_found_after_a_pause(self) -> None:
        self.freeze()
        self.bus.down = True
        self.unquiesce()
        self.advance(times.ASK_PAUSE - 1)
        self.tick()
        self.assertTrue(self.guest.frozen)
        self.advance(1)
        self.tick()
        self.check_at_rest('active')

    def test_doubled_and_late_ones_do_no_harm(self) -> None:
        self.quiesce()
        self.deliver('ctl1', keep=True)
        self.deliver('ctl2')
        self.unquiesce()
        self.deliver('ctl1', keep=True)
        self.deliver('ctl2')
        self.assertEqual(['freeze', 'thaw'], self.guest.names)
        self.check_at_rest('active')

    def test_a_late_one_does_not_thaw_what_is_frozen_anew(self) -> None:
        self.freeze()
        self.unquiesce()
        late = self.bus.messages[0]
        self.deliver()
        self.freeze()
        self.bus.messages.append(late)
        self.deliver()
        self.check_at_rest('quiesced', frozen=True)

    def test_a_late_one_does_not_shorten_the_pause_before_the_last_thaw(
            self) -> None:
        def freeze() -> None:
            self.unquiesce_request(asked)
            world.killed()

        self.guest.on_freeze = [freeze]
        asked = self.quiesce()
        self.deliver('ctl1')
        self.advance(times.freeze_lease())
        self.tick('ctl2')
        self.assertEqual(['freeze', 'thaw'], self.guest.names)
        self.deliver('ctl2')    # the hint about the withdrawal
        self.assertEqual(['freeze', 'thaw'], self.guest.names)
        self.live(times.expiry_pause() + 1)
        self.check_at_rest('active')


class TestApiDied(FaultTest):

    def die_before_the_state(self) -> str:
        """Ask for a freeze of which only the row is written."""
        request_id = world.new_id()
        with mock.patch.object(api.API, '_begin_quiesce',
                               side_effect=world.Killed), \
                self.assertRaises(world.Killed):
            self.quiesce(request_id=request_id)
        return request_id

    def test_between_row_and_state(self) -> None:
        self._patch(mock.patch.object(
            api.API, '_begin_quiesce', side_effect=world.Killed))
        with self.assertRaises(world.Killed):
            self.quiesce()
        self.assertEqual(('active', None), self.states)
        self.assertEqual(State.ASKED, self.row_state)
        self.live(times.ASK_GRACE + 2 * times.ASK_PAUSE)
        self.assertEqual([], self.guest.calls)
        self.check_at_rest('active')
        self.assertEqual([], self.actions())

    def test_between_row_and_state_and_the_client_asks_again(self) -> None:
        request_id = self.die_before_the_state()
        self.quiesce(request_id=request_id)
        self.deliver()
        self.assertEqual('Success', self.result_of(request_id))
        self.check_at_rest('quiesced', frozen=True)

    def test_between_row_and_state_and_the_server_is_stopped(self) -> None:
        request_id = self.die_before_the_state()
        self.set(vm_state='stopped')
        with self.assertRaises(exception.InstanceInvalidState):
            self.quiesce(request_id=request_id)
        self.check_at_rest('stopped')
        self.assertEqual([], self.actions())

    def test_between_state_and_action_nothing_is_left_of_both(self) -> None:
        self.fail_once(objects.InstanceAction, 'action_start', world.Killed())
        with self.assertRaises(world.Killed):
            self.quiesce()
        self.assertEqual(('active', None), self.states)
        self.assertEqual([], self.actions())
        self.live(times.ASK_GRACE + 2 * times.ASK_PAUSE)
        self.assertEqual([], self.guest.calls)
        self.check_at_rest('active')

    def test_a_deadlock_of_state_and_action_is_repeated(self) -> None:
        for ask in self.quiesce, self.unquiesce:
            self.fail_once(objects.InstanceAction, 'action_start',
                           db_exception.DBDeadlock(), after=True)
            request_id = ask()
            self.deliver()
            self.assertEqual('Success', self.result_of(request_id))
        self.check_at_rest('active')

    def test_between_state_and_message(self) -> None:
        request_id = world.new_id()
        self.fail_once(api.API, '_hint', world.Killed())
        with self.assertRaises(world.Killed):
            self.quiesce(request_id=request_id)
        self.assertEqual(('active', 'quiescing'), self.states)
        self.live(times.ASK_PAUSE + 1)
        self.assertEqual('Success', self.result_of(request_id))
        self.check_at_rest('quiesced', frozen=True)

    def test_between_the_record_of_a_withdrawal_and_the_row(self) -> None:
        asked = self.quiesce(request_id=world.new_id())
        with mock.patch.object(store.Store, 'want_thaw',
                               side_effect=world.Killed), \
                self.assertRaises(world.Killed):
            self.unquiesce_request(asked)
        self.guest.on_freeze = [world.answer(
            exceptions.CannotQuiesce(reason='no agent'))]
        self.deliver()
        for _id, name, events in self.actions():
            self.assertEqual(['Error'], [event[0] for event in events], name)
        self.check_at_rest('active')

    def test_before_the_state_and_a_copy_is_withdrawn_at_once(self) -> None:
        request_id = self.die_before_the_state()
        real = db.start

        def start(*args: Any) -> bool:
            self.unquiesce_request(request_id)
            self.deliver_all()
            return bool(real(*args))

        with mock.patch.object(db, 'start', start):
            self.quiesce(request_id=request_id)
        self.live(6)
        self.assertEqual('Error', self.result_of(request_id))
        self.check_at_rest('active')

    def test_in_a_refusal_nothing_is_left_of_the_request(self) -> None:
        instance = self.instance
        self.set(task_state='rebooting')
        self.fail_once(store.Store, 'drop', world.Killed())
        with self.assertRaises(world.Killed):
            self.api.quiesce(self._context(), instance, 0, world.new_id())
        self.live(times.ASK_PAUSE + 1)
        self.assertEqual(('active', 'rebooting'), self.states)
        self.assertEqual([], self.guest.calls)
        self.assertEqual([], self.faults())
        self.set(task_state=None)
        self.check_at_rest('active')

    def test_in_an_unquiesce_between_row_and_state(self) -> None:
        self.freeze()
        with mock.patch.object(api.API, '_begin_unquiesce',
                               side_effect=world.Killed), \
                self.assertRaises(world.Killed):
            self.unquiesce()
        self.live(times.ASK_PAUSE + 1)
        self.check_at_rest('active')

    def test_in_an_unquiesce_between_state_and_message(self) -> None:
        self.freeze()
        self.fail_once(api.API, '_hint', world.Killed())
        with self.assertRaises(world.Killed):
            self.unquiesce()
        self.live(times.ASK_PAUSE + 1)
        self.check_at_rest('active')

    def test_in_a_withdrawal_between_action_and_row(self) -> None:
        request_id = self.quiesce()
        self.bus.messages.clear()
        self.fail_once(store.Store, 'want_thaw', world.Killed())
        with self.assertRaises(world.Killed):
            self.unquiesce_request(request_id)
        self.live(times.ASK_PAUSE + 1)
        self.assertEqual(('quiesced', None), self.states)
        self.unquiesce_request(request_id)
        self.deliver_all()
        self.check_at_rest('active')


class TestServiceDied(FaultTest):

    def test_before_it_has_sent_the_freeze(self) -> None:
        self.fail_once(actions, 'begin', world.Killed())
        request_id = self.quiesce()
        self.deliver('ctl1')
        self.assertNotIn('ctl1', self.services)
        self.live(times.THAW_LEASE + 1)
        self.assertEqual('Success', self.result_of(request_id))
        self.check_at_rest('quiesced', frozen=True)

    def test_with_a_freeze_under_way(self) -> None:
        def freeze() -> None:
            self.guest.frozen = True
            world.killed()

        self.guest.on_freeze = [freeze]
        request_id = self.quiesce()
        self.deliver('ctl1')
        self.live(times.freeze_lease() - 2)
        self.assertEqual(['freeze'], self.guest.names)
        self.live(3)
        self.assertEqual(('error', None), self.states)
        result, details, host = self.event_of(request_id)
        self.assertEqual(('Error', 'ctl1'), (result, host))
        self.assertIn('interrupted', details or '')
        self.live(times.expiry_pause() + 1)
        self.assertEqual(1, len(self.faults()))
        self.check_at_rest('active')

    def test_with_a_freeze_under_way_and_nova_sets_error(self) -> None:
        # As nova-compute does at its start if it cannot plug a port; it leaves
        # the task state.
        def freeze() -> None:
            self.guest.frozen = True
            self.set(vm_state='error')
            world.killed()

        self.guest.on_freeze = [freeze]
        request_id = self.quiesce()
        self.deliver('ctl1')
        self.assertEqual(('error', 'quiescing'), self.states)
        self.live(times.freeze_lease() + times.expiry_pause() + 3)
        self.assertEqual('Error', self.result_of(request_id))
        self.check_at_rest('error')

    def test_between_state_and_row(self) -> None:
        self.fail_once(store.Store, 'mark_frozen', world.Killed())
        request_id = self.quiesce()
        self.deliver('ctl1')
        self.assertEqual(('quiesced', None), self.states)
        self.assertEqual(State.FREEZING, self.row_state)
        self.live(times.freeze_lease() + 1)
        self.assertEqual('Success', self.result_of(request_id))
        self.assertEqual(['freeze'], self.guest.names)
        self.check_at_rest('quiesced', frozen=True)

    def test_between_state_and_row_and_it_is_unquiesced_at_once(self) -> None:
        self.fail_once(store.Store, 'mark_frozen', world.Killed())
        request_id = self.quiesce()
        self.deliver('ctl1')
        _own, answer = self.unquiesce_request(request_id)
        self.assertIsNone(answer)
        self.live(times.freeze_lease() + 1)
        self.check_at_rest('active')

    def test_with_a_thaw_under_way(self) -> None:
        self.freeze()
        self.guest.on_thaw = [world.killed]
        request_id = self.unquiesce()
        self.deliver('ctl1')
        self.live(times.THAW_LEASE + 1)
        self.assertEqual('Error', self.result_of(request_id))
        self.check_at_rest('active')

    def test_between_the_end_of_the_thaw_and_the_row(self) -> None:
        self.freeze()
        self.fail_once(store.Store, 'delete', world.Killed())
        request_id = self.unquiesce()
        self.deliver('ctl1')
        self.assertEqual(('active', None), self.states)
        with self.assertRaises(exceptions.NotClearedUp):
            self.quiesce()
        self.live(times.THAW_LEASE + 1)
        self.assertEqual('Success', self.result_of(request_id))
        self.check_at_rest('active')

    def test_between_the_end_of_a_failed_freeze_and_the_row(self) -> None:
        self.guest.on_freeze = [world.answer(
            exceptions.CannotQuiesce(reason='no agent'))]
        self.fail_once(store.Store, 'delete', world.Killed())
        request_id = self.quiesce()
        self.deliver('ctl1')
        self.live(LONG)
        self.assertEqual('Error', self.result_of(request_id))
        self.check_at_rest('active')

    def test_before_it_has_sent_the_thaw_of_a_deadline(self) -> None:
        self.freeze(unquiesce_after=60)
        self.advance(60)
        self.fail_once(store.Store, 'update', world.Killed())
        self.tick('ctl1')
        self.assertNotIn('ctl1', self.services)
        self.live(8)
        self.check_at_rest('active')


class TestLocked(FaultTest):
    """A host of Nova's has vanished, and has locked the server in MySQL."""

    def setUp(self) -> None:
        super().setUp()
        self.is_locked = False
        self.error: Exception = db_exception.DBDeadlock()
        self.looked: list[object] = []
        for name in 'transaction', 'move':
            self._patch(mock.patch.object(
                db, name, self.waiting(getattr(db, name))))

    def waiting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that waits for the lock."""
        def wait(*args: Any) -> Any:
            if self.is_locked:
                self.advance(times.LOCK_TIMEOUT)
                # Another service looks at the same time what is due.
                self.looked += [row.owner for row in self.store.due(1)]
                raise self.error
            return function(*args)

        return wait

    def lock(self) -> None:
        self.is_locked = True

    def test_a_deadline_is_kept_and_told_when_it_is_free(self) -> None:
        self.freeze(unquiesce_after=60)
        self.advance(60)
        self.lock()
        self.guest.on_thaw = [lambda: thawed.append(self.passed)]
        thawed: list[float] = []
        began = self.passed
        with self.assertLogs('nova_quiesce', 'WARNING') as logged:
            self.tick()
        self.assertLess(thawed[0] - began, 10)
        self.assertIn('thawed all the same', logged.output[0])
        self.is_locked = False
        self.live(times.THAW_LEASE + 1)
        [_asked, (_id, name, [(result, details, _host)])] = self.actions()
        self.assertEqual(('unquiesce', 'Error'), (name, result))
        self.assertIn('its end was not saved', details or '')
        self.check_at_rest('active')

    def test_so_it_is_if_nova_has_repeated_a_statement_in_vain(self) -> None:
        self.error = sqlalchemy.exc.PendingRollbackError()
        self.freeze(unquiesce_after=60)
        self.advance(60)
        self.lock()
        self.tick()
        self.assertFalse(self.guest.frozen)

    def test_no_other_service_takes_the_row_before_the_thaw(self) -> None:
        self.freeze(unquiesce_after=60)
        self.advance(60)
        self.lock()
        seen: list[object] = []
        self.guest.on_thaw = [lambda: seen.extend(self.looked)]
        self.tick()
        self.assertEqual(['freeze', 'thaw'], self.guest.names)
        self.assertEqual([], seen)

    def test_a_freeze_that_cannot_be_saved_is_undone(self) -> None:
        def freeze() -> None:
            self.guest.frozen = True
            self.lock()

        self.guest.on_freeze = [freeze]
        request_id = self.quiesce()
        self.deliver()
        self.live(15)
        self.assertFalse(self.guest.frozen)
        self.assertEqual(('active', 'quiescing'), self.states)
        self.is_locked = False
        self.live(times.expiry_pause() + times.THAW_LEASE + 2)
        result, details, _host = self.event_of(request_id)
        self.assertEqual('Error', result)
        self.assertIn('interrupted', details or '')
        self.check_at_rest('active')


class TestSameName(FaultTest):
    """A new process begins while the old one of its name is at work."""

    def start_another(self) -> None:
        self.restart('ctl1')
        self.services['ctl1'].init_host()
        self.live(times.ASK_PAUSE + 1)

    def test_it_leaves_a_freeze_to_who_has_sent_it(self) -> None:
        def freeze() -> None:
            self.guest.frozen = True
            self.start_another()

        self.guest.on_freeze = [freeze]
        request_id = self.quiesce()
        self.deliver('ctl1')
        self.assertEqual('Success', self.result_of(request_id))
        self.assertEqual(['freeze'], self.guest.names)
        self.check_at_rest('quiesced', frozen=True)

    def test_it_leaves_a_thaw_to_who_has_sent_it(self) -> None:
        def thaw() -> None:
            self.start_another()
            self.guest.frozen = False

        self.freeze()
        self.guest.on_thaw = [thaw]
        self.unquiesce()
        self.deliver('ctl1')
        self.assertEqual(['freeze', 'thaw'], self.guest.names)
        self.check_at_rest('active')


class TestStandsStill(FaultTest):

    def test_until_its_cell_answers_it_sends_nothing(self) -> None:
        del self.services['ctl2']

        def wait(_bus: object, _context: object) -> bool:
            self.advance(2 * times.take_up_timeout())
            return True

        with mock.patch.object(guest.ComputeAPI, 'open_bus', wait):
            request_id = self.quiesce()
            self.deliver()
        self.live(times.WAIT_PAUSE + 1)
        self.assertEqual([], self.guest.calls)
        self.assertEqual('Error', self.result_of(request_id))
        self.check_at_rest('active')

    def test_before_the_freeze_was_sent_it_sends_nothing(self) -> None:
        real = actions.begin
        stood: list[bool] = []

        def begin(*args: Any) -> None:
            real(*args)
            if not stood:
                stood.append(True)
                self.advance(times.THAW_LEASE)
                self.tick('ctl2')

        self._patch(mock.patch.object(actions, 'begin', begin))
        self.quiesce()
        self.deliver('ctl1')
        self.assertEqual(['freeze'], self.guest.names)
        self.check_at_rest('quiesced', frozen=True)

    def test_after_it_was_sent_the_guest_is_thawed_once_more(self) -> None:
        def freeze() -> None:
            self.advance(times.freeze_lease())
            self.tick('ctl2')
            self.advance(times.expiry_pause())
            self.tick('ctl2')
            self.assertIsNone(self.row)
            self.guest.frozen = True    # and only now it comes

        self.guest.on_freeze = [freeze]
        request_id = self.quiesce()
        self.deliver('ctl1')
        self.assertEqual('Error', self.result_of(request_id))
        self.assertEqual(State.FREEZING, self.row_state)
        self.live(times.expiry_pause() + 3)
        self.check_at_rest('active')

    def test_after_it_was_sent_another_ones_thaw_is_not_the_last(
            self) -> None:
        def freeze() -> None:
            self.advance(times.freeze_lease())
            self.guest.on_thaw = [answered]
            self.tick('ctl2')

        def answered() -> None:
            self.guest.frozen = True    # by the service that stood still
            self.services['ctl1'].store.reclaim(taken[0])

        self.guest.on_freeze = [freeze]
        self.quiesce()
        assert self.row is not None
        taken = [self.row]
        self.deliver('ctl1')
        self.assertEqual(State.FREEZING, self.row_state)
        self.live(times.expiry_pause() + 3)
        self.check_at_rest('active')

    def test_what_gives_the_late_freeze_a_row_is_repeated(self) -> None:
        def freeze() -> None:
            for _second in range(200):
                self.advance(1)
                self.tick('ctl2')
            self.assertIsNone(self.row)
            self.guest.frozen = True

        reclaim, errors = store.Store.reclaim, [
            db_exception.DBDeadlock(), db_exception.DBConnectionError()]

        def fail_at_first(*args: Any) -> None:
            if errors:
                raise errors.pop()
            reclaim(*args)

        self.guest.on_freeze = [freeze]
        self.quiesce()
        with mock.patch.object(store.Store, 'reclaim', fail_at_first):
            self.deliver('ctl1')
        self.live(times.expiry_pause() + 10)
        self.assertFalse(self.guest.frozen)
        self.assertIsNone(self.row)

    def test_a_withdrawn_freeze_that_failed_ends_its_thaw_too(self) -> None:
        for is_restored in True, False:
            with self.subTest(restore_after_thaw=is_restored):
                self.set_option('restore_after_thaw', is_restored)
                self.uuid = self.boot()
                request_id = self.quiesce(request_id=world.new_id())

                def fail(request_id: str = request_id) -> None:
                    self.unquiesce_request(request_id)
                    raise exceptions.QuiesceFailed(reason='a hook failed')

                self.guest.on_freeze = [fail]
                self.deliver('ctl1')
                self.deliver_all('ctl1')
                self.live(10)
                self.assertIsNone(self.row)
                self.assertEqual([], list(db.open_requests(
                    self._context(), self.uuid)))


class TestCommitInDoubt(FaultTest):
    """QUIESCED with Success is never said of a guest that may be running."""

    def check_never_a_lie(self, request_id: str, seconds: float) -> None:
        for _second in range(int(seconds)):
            if self.states[0] == 'quiesced':
                [event] = [events for found, _name, events in self.actions()
                           if found == request_id]
                if event and event[0][0] == 'Success':
                    self.assertTrue(self.guest.frozen)
            self.live(1)

    def test_committed_the_row_says_frozen_after_all(self) -> None:
        self.lose_commit(is_committed=True)
        request_id = self.quiesce()
        self.deliver()
        self.assertEqual(('quiesced', None), self.states)
        self.assertEqual(State.FREEZING, self.row_state)
        self.assertTrue(self.guest.frozen)
        self.check_never_a_lie(request_id, 3)
        self.assertEqual('Success', self.result_of(request_id))
        self.assertEqual(['freeze'], self.guest.names)
        self.check_at_rest('quiesced', frozen=True)

    def test_committed_and_unquiesced_before_anybody_looks(self) -> None:
        self.lose_commit(is_committed=True)
        request_id = self.quiesce()
        self.deliver()
        own, answer = self.unquiesce_request(request_id)
        self.assertIsNone(answer)
        self.deliver_all()
        self.assertEqual('Success', self.result_of(own))
        self.check_at_rest('active')

    def test_committed_while_another_service_gives_it_up(self) -> None:
        self.guest.on_freeze = [world.killed]
        request_id = self.quiesce()
        self.deliver('ctl1')
        real = records.Records.save_failed

        def late(known: records.Records, cell: Any, *args: Any) -> bool:
            with db.transaction(cell, self.uuid):
                db.move(cell, self.uuid, ('active', 'quiescing'),
                        ('quiesced', None))
                actions.finish(cell, self.uuid, 'ctl1', request_id, None)
            return real(known, cell, *args)

        self.advance(times.freeze_lease())
        with mock.patch.object(records.Records, 'save_failed', late):
            self.tick('ctl2')
        self.live(2)
        self.assertEqual('Success', self.result_of(request_id))
        self.assertEqual([], self.faults())
        self.assertNotIn(('quiesce', 'error'), self.notified)

    def test_not_committed_it_is_an_error_and_thawed(self) -> None:
        self.lose_commit(is_committed=False)
        request_id = self.quiesce()
        self.deliver()
        self.assertEqual(('active', 'quiescing'), self.states)
        self.check_never_a_lie(request_id, 2)
        self.assertEqual(('error', None), self.states)
        self.check_never_a_lie(request_id, times.expiry_pause() + 2)
        self.assertEqual('Error', self.result_of(request_id))
        self.check_at_rest('active')

    def test_of_the_pause_before_the_last_thaw_it_is_never_shorter(
            self) -> None:
        update, failed = store.Store.update, list[object]()

        def fail(own: store.Store, *args: Any, **values: Any) -> object:
            if len(failed) == 1:
                failed.append(values)
                raise db_exception.DBConnectionError()
            found = update(own, *args, **values)
            if not failed and args[1:] == (times.expiry_pause(),):
                failed.append(values)    # it is committed
                raise db_exception.DBConnectionError()
            return found

        self.guest.on_freeze = [world.killed]
        self.quiesce()
        self.deliver('ctl1')
        self.advance(times.freeze_lease())
        with mock.patch.object(store.Store, 'update', fail):
            self.tick('ctl2')
        self.assertEqual(2, len(failed))
        row = self.row
        assert row is not None and row.due_at is not None
        self.assertEqual(State.THAWING, row.state)
        self.assertAlmostEqual(
            times.expiry_pause(), row.due_at - row.now, places=2)

    def check_thaw(self, is_committed: bool) -> None:
        self.freeze()
        self.lose_commit(is_committed)
        request_id = self.unquiesce()
        self.deliver()
        self.live(times.THAW_LEASE + 1)
        # What the guest has told is lost with the commit.
        self.assertEqual('Success' if is_committed else 'Error',
                         self.result_of(request_id))
        self.check_at_rest('active')

    def test_what_is_done_again_is_no_second_action(self) -> None:
        for is_committed in (True, False):
            with self.subTest(is_committed=is_committed):
                before = len(self.actions())
                self.check_thaw(is_committed)
                self.assertEqual(
                    ['quiesce', 'unquiesce'],
                    [name for _id, name, _events in self.actions()[before:]])

    def test_of_a_thaw_committed_it_is_thawed_again(self) -> None:
        self.check_thaw(is_committed=True)

    def test_of_a_thaw_not_committed_it_is_thawed_again(self) -> None:
        self.check_thaw(is_committed=False)


class TestLost(FaultTest):
    """A service that stood still saves nothing for a later request."""

    def check_late(self, on_thaw: list[Callable[[], None]]) -> None:
        real = records.Records.save_end

        def late(*args: Any) -> Any:
            patch.stop()
            self.advance(times.THAW_LEASE + 1)
            self.tick('ctl2')
            self.assertIsNone(self.row)
            self.report()
            self.asked = self.quiesce()
            return real(*args)

        self.freeze()
        self.guest.on_thaw = [world.answer(world.not_thawed()), *on_thaw]
        self.unquiesce()
        self.deliver('ctl1')
        self.assertEqual(('error', None), self.states)
        self.advance(times.retry_pause(1) + 1)
        patch = mock.patch.object(records.Records, 'save_end', late)
        patch.start()
        self.tick('ctl1')
        self.assertEqual(('active', 'quiescing'), self.states)
        self.deliver_all('ctl2')
        self.assertEqual('Success', self.result_of(self.asked))
        self.check_at_rest('quiesced', frozen=True)

    def test_not_that_its_thaw_failed(self) -> None:
        self.check_late([world.answer(world.not_thawed())])

    def test_not_that_its_thaw_is_done(self) -> None:
        self.check_late([])


class TestOneTransaction(FaultTest):

    def test_a_deadlock_in_the_end_of_a_thaw_is_repeated(self) -> None:
        self.freeze()
        self.fail_once(db, 'finish_event', db_exception.DBDeadlock(), True)
        request_id = self.unquiesce()
        self.deliver()
        self.assertEqual('Success', self.result_of(request_id))
        self.check_at_rest('active')
        self.assertEqual(1, self.notified.count(('active', None)))

    def test_a_deadlock_in_the_end_of_a_freeze_is_repeated(self) -> None:
        self.fail_once(db, 'finish_event', db_exception.DBDeadlock(), True)
        self.freeze()
        self.check_at_rest('quiesced', frozen=True)

    def test_the_state_is_not_saved_without_the_event(self) -> None:
        self.freeze()
        self.fail_once(db, 'finish_event', ValueError('no'))
        request_id = self.unquiesce()
        self.deliver()
        self.assertEqual(('quiesced', 'unquiescing'), self.states)
        self.assertIsNone(self.result_of(request_id))
        self.live(times.THAW_LEASE + 1)
        self.check_at_rest('active')

    def test_nothing_is_notified_inside_of_a_transaction(self) -> None:
        # The world looks at each notification; here at Nova's own, too.
        world.CONF.set_override(
            'notify_on_state_change', 'vm_and_task_state', 'notifications')
        self.addCleanup(world.CONF.clear_override, 'notify_on_state_change',
                        'notifications')
        self.guest.on_thaw = [world.answer(world.not_thawed())]
        self.freeze(unquiesce_after=5)
        self.live(5)
        self.assertEqual(('error', None), self.states)
        self.live(10)
        self.check_at_rest('active')
        for expected in (('quiesced', None), ('error', None),
                         ('active', None), ('quiesce', 'end'),
                         ('unquiesce', 'start'), ('unquiesce', 'error')):
            self.assertIn(expected, self.notified)

    def test_a_slow_notification_does_not_keep_a_thawed_server(self) -> None:
        self.freeze()
        there: list[object] = []

        def notify(*_arguments: Any, **_more: Any) -> None:
            if self.states == ('active', None):
                there.append(self.row)

        self.unquiesce()
        with mock.patch.object(
                records.notifications, 'send_update_with_states', notify):
            self.deliver()
        self.assertEqual([None], there)

    def test_a_broker_without_an_end_holds_up_no_thaw(self) -> None:
        self.freeze(unquiesce_after=60)
        self.notified.clear()
        self._patch(mock.patch.object(world.Notifier, 'held', []))
        self.advance(60)
        self.tick()
        self.check_at_rest('active')
        self.assertEqual([], self.notified)
        for send in world.Notifier.held or []:
            send()
        # Each tells what was then, not what is by now.
        self.assertEqual(
            [('quiesced', 'unquiescing'), ('unquiesce', 'start'),
             ('active', None), ('unquiesce', 'end')], self.notified)

    def test_a_notification_for_which_no_thread_starts_does_no_harm(
            self) -> None:
        with mock.patch.object(
                world.Notifier, '__call__',
                side_effect=RuntimeError("can't start new thread")):
            self.freeze()
            self.unquiesce()
            self.deliver()
        self.check_at_rest('active')

    def test_a_notification_that_fails_does_no_harm(self) -> None:
        for name in ('_notify_action', '_notify_states'):
            self.assertTrue(hasattr(self, name))
        with mock.patch.object(
                records.compute_utils, 'notify_about_instance_action',
                side_effect=ValueError('no bus')), mock.patch.object(
                records.notifications, 'send_update_with_states',
                side_effect=ValueError('no bus')):
            self.freeze()
            self.unquiesce()
            self.deliver()
        self.check_at_rest('active')
