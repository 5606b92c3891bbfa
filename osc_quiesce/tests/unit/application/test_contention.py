# SPDX-License-Identifier: Apache-2.0

"""Of two commands over the same servers, exactly one goes first."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import threading
from typing import Any
from unittest import mock

from osc_quiesce.application import contention
from osc_quiesce.application import create
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.application import snapshot_sets
from osc_quiesce import errors as quiesce_errors
from osc_quiesce import model
from osc_quiesce.tests.unit import fakes
from osc_quiesce.tests.unit.application import base

SMALL = 'req-0'  # less than any id of ours, as its UUID has more digits
GREAT = 'req-z'


class TestCase(base.TestCase):
    """Our command quiesces db, then web. Another one is first at web."""

    def setUp(self) -> None:
        super().setUp()
        self.db, self.web = self.nova.servers.values()

    def others_come(
        self,
        request_id: str = GREAT,
        let_go_after: float | None = 1.0,
        before: str = 'Quiescing web',
    ) -> None:
        """Let the others freeze web, just before we say this."""

        def come() -> None:
            self.nova.others(self.web, 'quiesce', request_id)
            if let_go_after is not None:
                self.nova.at(self.nova.now + let_go_after, self.others_thaw)

        self.before(before, come)

    def others_thaw(self) -> None:
        self.nova.others(self.web, 'unquiesce')

    def others_make_a_set(self, status: str = 'available') -> None:
        """Add snapshots of all volumes, in this status."""
        for number, volume in enumerate(
            ('db-vda', 'db-vdb', 'web-vda', 'web-vdb')
        ):
            id_ = f'other-{volume}'
            self.cinder.made[id_] = {
                'id': id_,
                'volume_id': volume,
                'status': status,
                'metadata': {
                    metadata.PREFIX + 'format': snapshot_sets.FORMAT,
                    metadata.PREFIX + 'set_id': 'other-id',
                    metadata.PREFIX + 'set': 'weekly',
                    metadata.PREFIX + 'volumes': '4',
                    metadata.PREFIX + 'order': str(number),
                },
            }

    def lose(self, *words: str) -> contention.LostRace:
        """Check that we lose, and that these words say why."""
        with self.assertRaises(contention.LostRace) as caught:
            self.create()
        said = str(caught.exception)
        for word in (
            *words,
            'This command has unquiesced its servers and taken no snapshot.',
        ):
            self.assertIn(word, said)
        self.assertNotIn('POST /snapshots', self.cinder.log)
        self.assertIsNone(self.db.freeze)
        return caught.exception

    def win(self) -> None:
        self.assertEqual(snapshot_sets.CONSISTENT, self.create().state)
        self.assertEqual({'active'}, self.vm_states())


class WinnerTest(TestCase):
    """Our id is the smaller one."""

    def test_we_try_again_when_the_others_have_let_go(self) -> None:
        self.others_come()
        self.win()
        self.assertEqual(
            [
                'POST db quiesce',
                'POST web quiesce',
                'POST db unquiesce',
                'POST db quiesce',
                'POST web quiesce',
                'POST web unquiesce',
                'POST db unquiesce',
            ],
            self.nova.posts(),
        )

    def test_we_wait_only_while_nothing_of_ours_is_frozen(self) -> None:
        self.others_come()
        freezes: list[str | None] = []
        sleep = self.nova.sleep

        def watch(seconds: float) -> None:
            if seconds and self.progress[-1].startswith('Waiting'):
                freezes.append(self.db.freeze)
            sleep(seconds)

        self.client = self.client.with_sleep(watch)
        self.win()
        self.assertGreater(len(freezes), 1)
        self.assertEqual({None}, set(freezes))

    def test_a_second_attempt_bears_an_id_of_its_own(self) -> None:
        self.others_come()
        self.win()
        ids = [
            action['request_id']
            for action in self.db.actions
            if action['action'] == 'quiesce'
        ]
        self.assertEqual(2, len(set(ids)))

    def test_a_request_of_our_own_that_nova_ends_late_is_no_rival(
        self,
    ) -> None:
        self.others_come()
        attempts = 0

        def late(request: Any, context: Any) -> None:
            nonlocal attempts
            if self.nova.log[-1] != 'POST db quiesce':
                return
            attempts += 1
            if attempts == 2:  # the first one sets the state only now
                self.db.task_state = 'quiescing'
                self.db.actions.append({**self.db.actions[0]})
                self.nova.at(self.nova.now + 1, end)

        def end() -> None:
            self.db.task_state = None

        self.nova.hooks.append(late)
        ids = [f'{SMALL}{number}' for number in range(9)]
        with mock.patch.object(model, 'new_request_id', side_effect=ids):
            self.win()
        self.assertEqual(3, attempts)

    def test_servers_of_a_stage_are_tried_again_as_well(self) -> None:
        self.plan = dataclasses.replace(
            self.plan,
            servers=tuple(
                dataclasses.replace(server, stage=0)
                for server in self.plan.servers
            ),
        )
        self.others_come(before='Quiescing db')
        self.win()

    def test_others_that_came_while_we_planned_are_waited_for(self) -> None:
        db, web = self.plan.servers
        self.plan = dataclasses.replace(self.plan, servers=(
            db, dataclasses.replace(web, newest_quiesce=GREAT)))
        self.others_come()
        self.win()

    def test_others_are_not_waited_for_without_end(self) -> None:
        self.others_come(let_go_after=None)
        self.lose(
            self.plan.servers[1].label, GREAT, 'still held it after 10 s'
        )
        self.assertGreater(self.nova.now, contention.LET_GO_TIME - 2)
        self.assertLess(self.nova.now, 2 * contention.LET_GO_TIME)
        self.assertEqual('quiesced', self.web.vm_state)

    def test_it_is_tried_three_times(self) -> None:
        def hook(request: Any, context: Any) -> None:
            if self.nova.log[-1] == 'POST web quiesce':
                self.nova.others(
                    self.web, 'quiesce', f'{GREAT}{len(self.nova.log)}'
                )
                self.nova.at(self.nova.now + 1, self.others_thaw)

        self.nova.hooks.append(hook)
        self.lose('web', GREAT, 'was in the way of the last of 3 attempts')
        self.assertEqual(3, self.nova.posts().count('POST web quiesce'))

    def test_others_that_made_the_set_meanwhile_have_won(self) -> None:
        self.others_come()
        self.before('Unquiescing db', self.others_make_a_set)
        self.lose('weekly (other-id)')
        self.assertEqual({'active'}, self.vm_states())

    def test_a_set_that_was_there_before_is_in_nobodys_way(self) -> None:
        self.others_come()
        self.others_make_a_set()
        self.plan = dataclasses.replace(
            self.plan, sets_before=frozenset({'other-id'})
        )
        self.win()

    def test_a_set_that_came_to_nothing_is_in_nobodys_way(self) -> None:
        self.others_come()
        self.before(
            'Unquiescing db', lambda: self.others_make_a_set('deleting')
        )
        self.win()

    def test_a_name_that_was_taken_meanwhile_is_refused(self) -> None:
        self.others_come()

        def take() -> None:
            self.cinder.made['other'] = {
                'id': 'other',
                'volume_id': 'v',
                'metadata': {
                    metadata.PREFIX + 'format': snapshot_sets.FORMAT,
                    metadata.PREFIX + 'set_id': 'other-id',
                    metadata.PREFIX + 'set': 'nightly',
                },
            }

        self.before('Unquiescing db', take)
        with self.assertRaisesRegex(
            errors.NotPossible, '"nightly" already'
        ):
            self.create()

    def test_a_nova_that_is_away_is_waited_for(self) -> None:
        self.others_come()
        self.before(
            'Waiting',
            lambda: self.answer(
                'GET web/os-instance-actions', 502, 'away', times=2
            ),
        )
        self.before(
            'Waiting', lambda: self.drop('GET web', times=2)
        )
        self.win()


class LoserTest(TestCase):
    """Their id is the smaller one."""

    def test_it_is_told_by_which_request_it_was_refused(self) -> None:
        self.others_come(SMALL, None)
        error = self.lose(
            f'Server {self.plan.servers[1].label} could not be quiesced: ',
            'vm_state',
            f'Request {SMALL} to quiesce it goes first.',
            'Try again later.',
        )
        self.assertIsInstance(error.__cause__, quiesce_errors.Conflict)
        self.assertEqual(SMALL, self.web.freeze)

    def test_it_does_not_wait(self) -> None:
        self.others_come(SMALL, None)
        waited: list[float] = []
        self.before('Waiting', lambda: waited.append(self.nova.now))
        self.lose('goes first')
        self.assertEqual([self.nova.now], waited)

    def test_others_that_have_let_go_meanwhile_go_first_as_well(self) -> None:
        self.others_come(SMALL, None, before='Quiescing db')
        self.before('Unquiescing db', self.others_thaw)
        self.lose('goes first')

    def test_who_has_nothing_leaves_nothing(self) -> None:
        self.nova.others(self.web, 'quiesce', SMALL)
        self.nova.sleep(1)
        self.plan = dataclasses.replace(
            self.plan, servers=self.plan.servers[1:]
        )
        self.lose(SMALL)
        self.assertEqual('quiesced', self.web.vm_state)
        self.assertEqual(['POST web quiesce'], self.nova.posts())


class NoContestTest(TestCase):
    """It was not another command that was in the way."""

    def check(self, *words: str) -> None:
        with self.assertRaises(quiesce_errors.Conflict) as caught:
            self.create()
        assert caught.exception.server
        self.assertEqual(self.web.id, caught.exception.server.id)
        for word in words:
            self.assertIn(word, str(caught.exception))
        self.assertIsNone(self.db.freeze)

    def test_a_server_that_does_something_else_is_said_as_it_is(
        self,
    ) -> None:
        # Yesterday's requests prove nothing.
        self.nova.others(self.web, 'quiesce', SMALL)
        self.nova.sleep(1)
        self.others_thaw()
        self.nova.sleep(1)

        def reboot() -> None:
            self.web.task_state = 'rebooting'

        self.before('Quiescing web', reboot)
        self.check("Cannot 'quiesce' instance")

    def test_a_server_that_nobody_ever_froze_is_said_as_it_is(self) -> None:
        self.answer(
            'POST web quiesce',
            409,
            '{"conflictingRequest": {"message": "nova-compute is down"}}',
            times=9,
        )
        self.check('nova-compute is down')

    def test_nor_one_that_somebody_froze_long_before(self) -> None:
        self.answer(
            'POST web quiesce',
            409,
            '{"conflictingRequest": {"message": "nova-compute is down"}}',
            times=9,
        )
        for request_id in SMALL, GREAT:
            with self.subTest(request_id):
                self.nova.others(self.web, 'quiesce', request_id)
                self.nova.sleep(1)
                self.others_thaw()
                self.nova.sleep(1)
                db, web = self.plan.servers
                self.plan = dataclasses.replace(self.plan, servers=(
                    db, dataclasses.replace(web, newest_quiesce=request_id)))
                self.check('nova-compute is down')

    def test_an_interrupt_ends_the_wait(self) -> None:
        self.others_come(let_go_after=None)
        self.before('Waiting', self.stop)
        with self.assertRaises(KeyboardInterrupt):
            self.create()
        self.assertIsNone(self.db.freeze)
        self.assertEqual([], self.cinder.log)


class Lockstep:
    """Lets the clock of a Nova move only while every command sleeps."""

    def __init__(self, nova: fakes.FakeNova, commands: int) -> None:
        self._nova = nova
        self._commands = commands
        self._until: list[float] = []
        self._changed = threading.Condition()

    def sleep(self, seconds: float) -> None:
        if not seconds:
            self._nova.sleep(0)
            return
        with self._changed:
            until = self._nova.now + seconds
            self._until.append(until)
            self._changed.notify_all()
            while self._nova.now < until:
                if (
                    len(self._until) == self._commands
                    and until == min(self._until)
                ):
                    self._nova.sleep(until - self._nova.now)
                else:
                    self._changed.wait(1)
            self._until.remove(until)
            self._changed.notify_all()

    def end(self, _future: object) -> None:
        with self._changed:
            self._commands -= 1
            self._changed.notify_all()


class TwoCommandsTest(TestCase):
    """Two commands of ours, at the same moment."""

    def both(self, *orders: tuple[int, int]) -> list[Any]:
        """Let two commands quiesce the servers, each in its order of stages.

        :returns: the set, or the error, of each
        """
        lockstep = Lockstep(self.nova, len(orders))
        calls = []
        with concurrent.futures.ThreadPoolExecutor(len(orders)) as pool:
            for name, order in zip(('nightly', 'weekly'), orders):
                plan = dataclasses.replace(
                    self.plan,
                    name=name,
                    servers=tuple(
                        dataclasses.replace(self.plan.servers[n], stage=stage)
                        for stage, n in enumerate(order)
                    ),
                )
                client = self.new_client().with_sleep(lockstep.sleep)
                calls.append(pool.submit(
                    create.create, client, self.cloud, plan, base.TIMEOUT
                ))
                calls[-1].add_done_callback(lockstep.end)
        return [call.exception() or call.result() for call in calls]

    def check_one_has_won(self, results: list[Any]) -> str:
        """Check the set that was made, and return what the other one says."""
        [won] = [
            result
            for result in results
            if isinstance(result, snapshot_sets.SnapshotSet)
        ]
        [lost] = [result for result in results if result is not won]
        self.assertIsInstance(lost, contention.LostRace, repr(lost))
        self.assertEqual(snapshot_sets.CONSISTENT, won.state)
        self.assertEqual(4, len(self.cinder.made))
        self.assertEqual(
            [won.id], [s.id for s in snapshot_sets.find_all(self.cloud)]
        )
        self.assertEqual({'active'}, self.vm_states())
        return str(lost)

    def test_of_opposite_orders_exactly_one_wins(self) -> None:
        for _attempt in range(4):
            with self.subTest(_attempt):
                self.cinder.made.clear()
                for server in self.nova.servers.values():
                    server.actions.clear()
                results = self.both((0, 1), (1, 0))
                said = self.check_one_has_won(results)
                if 'goes first' not in said:
                    continue  # it came when the other had made the set
                # Each was first at one server; the smaller id goes on.
                first, second = (
                    server.actions[0]['request_id']
                    for server in (self.db, self.web)
                )
                self.assertEqual(
                    first < second,
                    isinstance(results[0], snapshot_sets.SnapshotSet),
                )

    def test_of_the_same_order_exactly_one_wins(self) -> None:
        self.check_one_has_won(self.both((0, 1), (0, 1)))
