# SPDX-License-Identifier: Apache-2.0

"""A service that stands still in the middle of its work, and goes on later.

As a process that is stopped, or a virtual machine that is paused: the others
do its work when its lease has ended. What it does then must freeze no guest
that nobody knows of, and thaw none that was quiesced anew.
"""

import itertools
import unittest
from collections.abc import Callable

from nova_quiesce import times
from nova_quiesce.tests.functional import world

#: where it stands still: before its last look, before it sends the freeze, and
#: before it sees what has come of it
LOOKS, SENDS, ANSWERED = 'Store.update', 'freeze', 'answer'
#: seconds from one sweep to the next
INTERVAL = 5


class StoryTest(unittest.TestCase):
    """A world with two services, and the usual ways to go on in it."""

    def setUp(self) -> None:
        self.world = world.World()
        self.addCleanup(self.world.end)
        for host in ('one', 'two'):
            self.world.start_service(host)

    def begin(self, host: str, before: str) -> world.Job:
        """Ask for a freeze, and let a service begin with it.

        :param before: the step that it stands still before
        """
        self.quiesce_asked()
        job = self.take(host)
        job.go_before(before)
        return job

    def quiesce_asked(self) -> None:
        """Ask for a freeze; nobody begins with it."""
        self.world.report()
        self.assertEqual(202, self.world.post({'quiesce': None}))

    def take(self, host: str) -> world.Job:
        """Let a service begin with what was asked for last."""
        return self.world.services[host].take(
            self.world.bus.messages.pop(), True)

    def quiesce(self) -> None:
        """Ask for a freeze, and let a service carry it out."""
        self.quiesce_asked()
        self.world.work()
        self.assertEqual(('quiesced', None), self.world.states())
        self.assertTrue(self.world.guest.frozen)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with a tick and a sweep now and then."""
        until = self.world.passed + seconds
        while self.world.passed < until:
            self.world.advance(min(INTERVAL, until - self.world.passed))
            self.world.work()

    def wait_for_no_row(self) -> None:
        """Let time pass until the server has no row."""
        begun = self.world.passed
        while self.world.row() is not None:
            self.assertLess(self.world.passed, begun + 1000)
            self.pass_time(INTERVAL)

    def check_thawed(self) -> None:
        """Assert that nothing is left to do."""
        self.assertFalse(self.world.guest.late)
        self.assertFalse(self.world.guest.frozen)
        self.assertEqual(('active', None), self.world.states())
        self.world.check_end()
        self.assertFalse(self.world.excluded)


class TestLapse(StoryTest):

    def test_a_guest_that_had_ended_its_freeze_proves_nothing(self) -> None:
        for thaw in ('works', 'works, the answer is lost'):
            with self.subTest(thaw):
                self.doCleanups()
                self.setUp()
                request = self.world.new_request_id()
                self.world.report()
                self.assertEqual(202, self.world.post(
                    {'quiesce': {'request_id': request}}))
                self.world.work()
                self.world.guest.thaw = world.TOO_LATE + thaw
                self.assertEqual(202, self.world.post(
                    {'unquiesce': {'request_id': request}}))
                self.take('one').go()
                self.wait_for_no_row()
                self.assertEqual({request}, self.world.guest.lapses)
                self.check_thawed()    # and no law is broken


class TestStandstill(StoryTest):

    def stand_still(self, freeze: str, before: str) -> world.Job:
        """Ask for a freeze, and let a service begin with it.

        :returns: what the service does when it goes on, after the others have
            thawed the guest for the last time
        """
        self.world.guest.freeze = freeze
        job = self.begin('one', before)
        self.pass_time(times.THAW_LEASE)
        self.wait_for_no_row()
        return job

    def test_wherever_it_was_no_guest_stays_frozen(self) -> None:
        for freeze in ('works', 'works, the answer is lost',
                       'is held up on the bus', 'is held up in nova-compute'):
            for before in (LOOKS, SENDS):
                with self.subTest(freeze=freeze, before=before):
                    self.doCleanups()
                    self.setUp()
                    self.stand_still(freeze, before).go()
                    self.world.check()
                    while self.world.guest.late:
                        self.world.arrive(self.world.guest.late[0])
                        self.world.check()
                    self.wait_for_no_row()
                    self.check_thawed()

    def test_a_wait_for_a_lock_leaves_enough_of_the_lease(self) -> None:
        self.quiesce_asked()
        for sends, seconds in (('freeze', world.OPERATION_TIMEOUT),
                               ('thaw', times.THAW_TIMEOUT)):
            with self.subTest(sends):
                job = self.take('one')
                job.go_before(LOOKS)
                self.world.commit = 0, world.LATE
                job.go_before(sends)
                self.assertGreater(self.world.due_in() or 0, seconds)
                job.go()
            if sends == 'freeze':
                self.assertEqual(202, self.world.post({'unquiesce': None}))
        self.check_thawed()

    def test_it_looks_before_it_sends_the_freeze(self) -> None:
        # Nobody else has it, and it is asked for for so long.
        self.quiesce_asked()
        job = self.take('one')
        job.go_before(LOOKS)
        self.pass_time(2 * times.take_up_timeout())
        self.world.guest.freeze = 'is lost on the bus'
        job.go()
        self.assertEqual('is lost on the bus', self.world.guest.freeze)
        self.wait_for_no_row()
        self.check_thawed()

    def test_what_it_sends_too_late_has_a_row_again(self) -> None:
        job = self.stand_still('works', SENDS)
        self.world.guest.thaw = 'is lost on the bus'
        job.go()
        self.assertTrue(self.world.guest.frozen)
        self.assertIsNotNone(self.world.row())
        self.wait_for_no_row()
        self.check_thawed()

    def test_a_later_request_does_not_take_it_for_somebody_elses(
            self) -> None:
        job = self.stand_still('works', SENDS)
        later = self.begin('two', SENDS)
        job.go()
        later.go()
        self.world.check()
        self.wait_for_no_row()
        self.check_thawed()

    def test_nor_does_it_thaw_that_ones_guest_if_its_own_failed(self) -> None:
        for freeze in ('is lost on the bus',
                       'works, and says that it failed'):
            with self.subTest(freeze=freeze):
                self.doCleanups()
                self.setUp()
                job = self.stand_still(freeze, ANSWERED)
                self.quiesce()
                job.go()
                self.assertTrue(self.world.guest.frozen)
                self.assertEqual(('quiesced', None), self.world.states())
                self.world.check()
                self.world.post({'unquiesce': None})
                self.world.work()
                self.check_thawed()

    def test_nor_does_its_freeze_quiesce_a_later_request(self) -> None:
        # Its last look was in time, and a later request is in its state.
        for freeze in ('works', 'is lost on the bus'):
            with self.subTest(freeze=freeze):
                self.doCleanups()
                self.setUp()
                self.world.guest.freeze = freeze
                job = self.begin('one', ANSWERED)
                job.go_before('transaction')
                self.pass_time(times.THAW_LEASE)
                self.wait_for_no_row()
                self.quiesce_asked()
                job.go()
                self.assertEqual(('active', 'quiescing'),
                                 self.world.states())
                self.world.work()
                self.assertEqual(('quiesced', None), self.world.states())
                self.assertTrue(self.world.guest.frozen)
                self.world.check_end()

    def test_a_thaw_that_it_has_not_begun_is_not_lost(self) -> None:
        self.quiesce()
        self.world.post({'unquiesce': None})
        self.take('one').go_before('thaw')
        self.pass_time(times.THAW_LEASE)
        self.assertFalse(self.world.guest.frozen)
        self.check_thawed()

    def test_its_thaw_does_not_end_a_later_request(self) -> None:
        self.quiesce()
        self.world.post({'unquiesce': None})
        # It is taken, and the last look is yet to come.
        job = self.take('one')
        job.go_before(LOOKS)
        self.pass_time(times.THAW_LEASE)
        self.wait_for_no_row()
        self.check_thawed()
        self.quiesce()
        job.go()
        self.assertTrue(self.world.guest.frozen)
        self.assertEqual(('quiesced', None), self.world.states())
        self.world.check()

    def test_nor_does_its_thaw_at_the_deadline_of_the_one_before(
            self) -> None:
        for steps in range(20):
            with self.subTest(steps=steps):
                self.doCleanups()
                self.setUp()
                self.world.report()
                self.world.post({'quiesce': {'unquiesce_after': 3}})
                self.world.work()
                self.world.advance(3)
                job = self.world.services['two'].take(self.world.uuid)
                job.go(steps)
                if job.next == 'thaw':
                    break
                self.pass_time(times.THAW_LEASE)
                self.wait_for_no_row()
                self.check_thawed()
                self.quiesce()
                job.go()
                self.assertTrue(self.world.guest.frozen)
                self.assertEqual(('quiesced', None), self.world.states())
                self.world.check_end()
        self.assertGreater(steps, 3)

    def test_nor_does_its_answer(self) -> None:
        for thaw in ('works', 'fails'):
            with self.subTest(thaw=thaw):
                self.doCleanups()
                self.setUp()
                self.quiesce()
                self.world.post({'unquiesce': None})
                self.world.guest.thaw = thaw
                job = self.take('one')
                job.go_before(ANSWERED)
                self.pass_time(times.THAW_LEASE)
                self.wait_for_no_row()
                self.quiesce_asked()
                job.go()
                self.assertEqual(('active', 'quiescing'),
                                 self.world.states())
                self.pass_time(120)
                self.check_thawed()

    def test_nor_does_it_put_that_one_into_error(self) -> None:
        # It owned the row when it looked for the last time.
        self.quiesce()
        self.world.post({'unquiesce': None})
        self.world.guest.thaw = 'is lost on the bus'
        job = self.take('one')
        job.go_before(ANSWERED)
        job.go_before('transaction')
        self.pass_time(times.THAW_LEASE)
        self.wait_for_no_row()
        self.quiesce()
        job.go()
        self.assertTrue(self.world.guest.frozen)
        self.assertEqual(('quiesced', None), self.world.states())
        self.world.check_end()

    def test_what_it_sends_just_in_time_is_awaited_if_it_dies(self) -> None:
        self.world.guest.freeze = 'is held up on the bus'
        job = self.begin('one', SENDS)
        self.world.advance(times.freeze_lease() - 0.1)
        job.go_before(ANSWERED)
        self.world.kill('one')
        self.assertFalse(self.world.excluded)
        for _look in range(10):
            self.world.advance(0.2)
            self.world.work()
        self.wait_for_no_row()
        self.check_thawed()

    def test_what_it_sends_is_awaited_if_that_is_noted_without_an_answer(
            self) -> None:
        self.world.guest.freeze = 'is held up in nova-compute'
        self.begin('one', SENDS).go()
        self.world.advance(self.world.due_in() or 0)
        [uuid] = self.world.services['two'].due()
        job = self.world.services['two'].take(uuid)
        job.go_before('thaw')
        job.go_before(LOOKS)
        self.world.commit = 0, world.DONE
        job.go()
        self.wait_for_no_row()
        self.check_thawed()

    def test_an_unquiesce_of_the_freeze_before_loses_no_row(self) -> None:
        self.quiesce()
        asked = self.world.ask({'unquiesce': None})
        asked.go_before('Store.want_thaw')
        self.world.post({'unquiesce': None})
        self.world.work()
        self.check_thawed()
        self.world.guest.freeze = 'is held up on the bus'
        self.begin('two', ANSWERED)
        self.world.kill('two')
        asked.go()
        self.wait_for_no_row()
        self.check_thawed()

    def test_one_that_was_interrupted_is_not_thawed_if_it_succeeds(
            self) -> None:
        # Its lease ends, and yet it is the first to save the state.
        job = self.begin('one', ANSWERED)
        job.go_before('transaction')
        self.world.advance(times.THAW_LEASE)
        other = self.world.services['two'].take(self.world.uuid)
        other.go_before('transaction')
        job.go()
        other.go()
        self.world.work()
        self.assertTrue(self.world.guest.frozen)
        self.assertEqual(('quiesced', None), self.world.states())
        self.world.check_end()

    def test_a_server_does_not_stay_in_error_if_it_dies(self) -> None:
        for freeze, steps in itertools.product(
                ('is lost on the bus', 'works'), range(20)):
            with self.subTest(freeze=freeze, steps=steps):
                self.doCleanups()
                self.setUp()
                self.quiesce_asked()
                self.world.guest.freeze = freeze
                self.world.guest.thaw = 'is lost on the bus'
                job = self.take('one')
                if freeze == 'works':
                    # It is thawed, which fails.
                    job.go()
                    self.world.post({'unquiesce': None})
                    job = self.take('one')
                job.go(steps)
                if job.done:
                    continue
                self.world.kill('one')
                self.wait_for_no_row_or(('quiesced', None))
                self.world.check_end()

    def test_an_error_ends_whoever_of_two_saves_it(self) -> None:
        # One undoes a freeze while its lease ends, and the other takes over.
        for freeze, first, second in itertools.product(
                ('works, the answer is lost',
                 'works, and says that it failed'), range(8), range(6)):
            with self.subTest(freeze=freeze, first=first, second=second):
                self.doCleanups()
                self.setUp()
                self.world.guest.freeze = freeze
                self.world.guest.thaw = 'is lost on the bus'
                job = self.begin('one', ANSWERED)
                job.go(first)
                self.world.advance(times.freeze_lease())
                other = self.world.services['two'].take(self.world.uuid)
                other.go(second)
                if not job.done:
                    job.go()
                if not other.done:
                    other.go()
                self.wait_for_no_row()
                self.check_thawed()

    def wait_for_no_row_or(self, states: tuple[str, str | None]) -> None:
        """Let time pass until nothing is under way."""
        begun = self.world.passed
        while self.world.row() is not None and (
                self.world.states() != states):
            self.assertLess(self.world.passed, begun + 1000)
            self.pass_time(INTERVAL)

    def test_a_request_withdrawn_at_any_step_has_an_end(self) -> None:
        request_id = 'req-00000000-0000-0000-0000-000000000001'
        withdrawal = {'unquiesce': {'request_id': request_id}}
        for freeze, service_steps, api_steps in (
                *((freeze, steps, None) for steps in range(12)
                  for freeze in ('works', 'is lost on the bus',
                                 'is refused')),
                *(('works', *steps) for steps in itertools.product(
                    (0, 3), range(6)))):
            with self.subTest(freeze=freeze, service_steps=service_steps,
                              api_steps=api_steps):
                self.doCleanups()
                self.setUp()
                self.world.report()
                self.world.post({'quiesce': {'request_id': request_id}})
                self.world.guest.freeze = freeze
                job = self.take('one')
                job.go(service_steps)
                asked = self.world.ask(withdrawal)
                asked.go(api_steps)
                if not job.done:
                    job.go()
                if not asked.done:
                    asked.go()
                self.world.post(withdrawal)
                self.wait_for_no_row()
                self.check_thawed()

    def check_deleted(self, then: Callable[[world.Job], None]) -> None:
        """Delete the server at each step of a quiesce: the request must end.

        :param then: what happens after that; it is given what was begun
        """
        for steps in range(20):
            with self.subTest(steps=steps):
                self.doCleanups()
                self.setUp()
                self.quiesce_asked()
                job = self.take('one')
                job.go(steps)
                self.world.delete()
                then(job)
                self.world.check_end()
                if job.done:
                    return

    def test_a_server_that_is_deleted_meanwhile_has_an_end(self) -> None:
        def go_on(job: world.Job) -> None:
            job.go()
            self.wait_for_no_row()

        self.check_deleted(go_on)

    def test_so_has_one_if_it_dies_as_well(self) -> None:
        def die(_job: world.Job) -> None:
            self.world.kill('one')
            self.wait_for_no_row()

        self.check_deleted(die)

    def test_so_has_one_if_all_die_and_come_back_much_later(self) -> None:
        def die(_job: world.Job) -> None:
            self.world.kill('one')
            self.world.kill('two')
            self.world.advance(86400)
            self.world.start_service('two')
            self.wait_for_no_row()

        self.check_deleted(die)
