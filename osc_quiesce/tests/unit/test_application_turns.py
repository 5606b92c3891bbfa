# SPDX-License-Identifier: Apache-2.0

"""Of several commands that want the same servers, the oldest goes first."""

from collections.abc import Callable
import dataclasses
from types import SimpleNamespace
from typing import Any
from unittest import mock

from osc_quiesce import consistency
from osc_quiesce import exceptions
from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import sets
from osc_quiesce.application import turns
from osc_quiesce.tests.unit import fakes
from osc_quiesce.tests.unit import test_application_create


class TurnsTest(test_application_create.TestCase):
    """Our command quiesces db, then web. Another one is first at web."""

    def setUp(self) -> None:
        super().setUp()
        self.db, self.web = self.nova.servers.values()

    def others(self, server: fakes.FakeServer, action: str) -> str:
        """Let another command ask for something, and return its request."""
        context = SimpleNamespace(headers={}, status_code=200)
        self.nova._act(server, action, None, context)
        self.assertEqual(202, context.status_code)
        return str(context.headers['x-openstack-request-id'])

    def before(self, line: str, do: Callable[[], Any]) -> None:
        """Do something just before the first request like this is heard."""
        done: list[Any] = []

        def hook(request: Any, context: Any) -> None:
            if self.nova.log[-1] == line and not done:
                done.append(do())

        self.nova.hooks.append(hook)

    def others_thaw(self) -> None:
        self.others(self.web, 'unquiesce')

    def others_come(self, let_go_after: float | None = 1.0) -> None:
        """Let the other one be first at web, and younger than us."""

        def come() -> None:
            self.nova.now += 0.1
            self.others(self.web, 'quiesce')
            if let_go_after is not None:
                self.nova.at(self.nova.now + let_go_after, self.others_thaw)

        self.before('POST web quiesce', come)

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
                    sets.PREFIX + 'set_id': 'other-id',
                    sets.PREFIX + 'set': 'weekly',
                    sets.PREFIX + 'volumes': '4',
                    sets.PREFIX + 'order': str(number),
                },
            }

    def lost(self, *words: str) -> turns.TurnLost:
        with self.assertRaises(turns.TurnLost) as caught:
            self.create()
        for word in words:
            self.assertIn(word, str(caught.exception))
        self.assertEqual({}, self.cinder.made)
        self.assertEqual('active', self.db.vm_state)
        return caught.exception

    def test_who_is_older_tries_again_when_the_others_have_let_go(
        self,
    ) -> None:
        self.others_come()
        frozen: list[bool] = []
        sleep = self.nova.sleep

        def watch(seconds: float) -> None:
            if self.nova.log and self.nova.log[-1] == 'looked':
                frozen.append(self.db.vm_state != 'active')
            sleep(seconds)

        look = turns._Turns._look

        def looked(each: turns._Turns) -> Any:
            self.nova.log.append('looked')
            return look(each)

        self.client.sleep = watch
        with mock.patch.object(turns._Turns, '_look', looked):
            self.assertEqual(sets.CONSISTENT, self.create().state)
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
        # It waits only while nothing is frozen.
        self.assertEqual({False}, set(frozen))

    def test_who_is_younger_is_told_by_whom_it_was_refused(self) -> None:
        first: list[str] = []

        def come() -> None:
            first.append(self.others(self.web, 'quiesce'))
            self.nova.now += 1

        self.before('POST db quiesce', come)
        slept = len(self.nova.sleeps)
        error = self.lost(self.web.id, 'web', 'came first', 'is thawed')
        self.assertIn(first[0], str(error))
        self.assertIsInstance(error.__cause__, exceptions.Conflict)
        self.assertEqual('quiesced', self.web.vm_state)
        # Not longer than its own freeze and thaw.
        self.assertLess(sum(self.nova.sleeps[slept:]), 2)

    def test_also_if_the_older_one_has_let_go_meanwhile(self) -> None:
        def come() -> None:
            self.others(self.web, 'quiesce')
            self.nova.now += 1

        self.before('POST db quiesce', come)
        self.before('POST db unquiesce', self.others_thaw)
        self.lost('came first')

    def test_the_first_request_of_the_others_counts_wherever_it_was(
        self,
    ) -> None:
        last = self.nova.add('last')
        self.cinder.attached[last.id] = []
        self.plan = dataclasses.replace(
            self.plan,
            servers=(
                *self.plan.servers,
                dataclasses.replace(
                    self.plan.servers[0], id=last.id, name='last', stage=2
                ),
            ),
        )

        def come() -> None:
            self.others(last, 'quiesce')
            self.nova.now += 1

        self.before('POST db quiesce', come)
        # Where we are refused, their request is younger than ours.
        self.others_come(None)
        self.lost('last', 'came first')

    def at_the_same_moment(self, request_id: str) -> None:
        """Let requests of this id, and of ours, have begun at once."""

        def come() -> None:
            self.others(self.web, 'quiesce')
            self.nova.at(self.nova.now + 1, self.others_thaw)
            [action] = self.web.actions
            action['request_id'] = request_id
            action['start_time'] = self.db.actions[0]['start_time']

        self.before('POST web quiesce', come)

    def test_of_requests_of_the_same_moment_the_id_decides(self) -> None:
        self.at_the_same_moment('req-0')
        self.lost('req-0, which came first')

    def test_and_it_decides_the_other_way_for_the_others(self) -> None:
        self.at_the_same_moment('req-z')
        self.assertEqual(sets.CONSISTENT, self.create().state)

    def test_nobody_is_waited_for_without_end(self) -> None:
        self.others_come(None)
        self.lost('web', 'did not let go of it within 10 s')
        self.assertLess(self.nova.now, 2 * turns.PATIENCE)

    def test_who_has_nothing_does_not_wait(self) -> None:
        request = self.others(self.db, 'quiesce')
        self.nova.sleep(1)
        with self.assertRaises(turns.TurnLost) as caught:
            self.create()
        self.assertIn(f'{request}, which came first', str(caught.exception))
        self.assertEqual('quiesced', self.db.vm_state)
        self.assertLess(self.nova.now, 1.1)

    def test_what_is_no_other_request_is_said_as_it_is(self) -> None:
        # As it was yesterday, and left no trace of its end.
        self.others(self.web, 'quiesce')
        self.nova.sleep(1)
        self.web.vm_state = 'active'
        self.nova.sleep(1)

        def reboot() -> None:
            self.web.task_state = 'rebooting'

        self.before('POST web quiesce', reboot)
        with self.assertRaises(exceptions.Conflict) as caught:
            self.create()
        self.assertEqual(self.web.id, caught.exception.server_id)

    def test_servers_of_a_stage_that_are_asked_at_once(self) -> None:
        self.plan = dataclasses.replace(
            self.plan,
            servers=tuple(
                dataclasses.replace(server, stage=0)
                for server in self.plan.servers
            ),
        )
        self.others_come()
        self.assertEqual(sets.CONSISTENT, self.create().state)

    def test_it_is_tried_three_times(self) -> None:
        def hook(request: Any, context: Any) -> None:
            if self.nova.log[-1] == 'POST web quiesce':
                self.others(self.web, 'quiesce')
                self.nova.at(self.nova.now + 1, self.others_thaw)

        self.nova.hooks.append(hook)
        self.lost('web', 'was in the way of the last of 3 attempts')
        self.assertEqual(3, self.nova.posts().count('POST web quiesce'))

    def test_who_has_got_the_servers_after_all_has_made_the_set(self) -> None:
        self.others_come()

        self.others_make_a_set()
        self.plan = dataclasses.replace(
            self.plan, sets_before=frozenset({'other-id'})
        )
        self.create()  # it was there before
        for snapshot in list(self.cinder.made):
            del self.cinder.made[snapshot]
        self.nova.hooks.clear()
        self.others_come()
        self.before('POST db unquiesce', self.others_make_a_set)
        self.plan = dataclasses.replace(self.plan, sets_before=frozenset())
        with self.assertRaisesRegex(turns.TurnLost, r'weekly \(other-id\)'):
            self.create()
        self.assertEqual({'active'}, self.vm_states())

    def test_a_set_that_came_to_nothing_is_in_nobodys_way(self) -> None:
        self.others_come()

        self.before(
            'POST db unquiesce', lambda: self.others_make_a_set('deleting')
        )
        self.assertEqual(sets.CONSISTENT, self.create().state)

    def test_a_second_attempt_through_a_host_whose_clock_is_late(
        self,
    ) -> None:
        self.others_come()

        def record_earlier(request: Any, context: Any) -> None:
            asked = [a for a in self.db.actions if a['action'] == 'quiesce']
            if self.nova.log[-1] == 'POST web quiesce' and len(asked) == 2:
                asked[1]['start_time'] = '2000-01-01T00:00:00.000000'

        self.nova.hooks.append(record_earlier)
        self.assertEqual(sets.CONSISTENT, self.create().state)
        self.assertEqual({'active'}, self.vm_states())

    def test_a_name_that_was_taken_meanwhile_is_refused(self) -> None:
        self.others_come()

        def take() -> None:
            self.cinder.made['other'] = {
                'id': 'other',
                'volume_id': 'v',
                'metadata': {
                    sets.PREFIX + 'set_id': 'other-id',
                    sets.PREFIX + 'set': 'nightly',
                },
            }

        self.before('POST db unquiesce', take)
        with self.assertRaisesRegex(
            errors.NotPossible, '"nightly" already'
        ):
            self.create()

    def test_a_nova_that_is_away_is_waited_for(self) -> None:
        self.others_come()
        compute = self.cinder.compute
        fails = [cloud_api.CloudError('Nova is away')] * 3

        def away(path: str) -> dict[str, Any]:
            if path.endswith('os-instance-actions') and fails:
                raise fails.pop()
            return compute(path)

        with mock.patch.object(self.cinder, 'compute', away):
            self.assertEqual(sets.CONSISTENT, self.create().state)

    def test_an_interrupt_ends_the_wait(self) -> None:
        self.others_come(None)

        def interrupted(sentence: str) -> None:
            if 'Waiting for another command' in sentence:
                self.client.sleep = mock.Mock(side_effect=KeyboardInterrupt)

        with self.assertRaises(KeyboardInterrupt):
            self.create(progress=interrupted)
        self.assertEqual('active', self.db.vm_state)
        self.assertEqual({}, self.cinder.made)


class TestReport(fakes.TestCase):
    def test_an_error_of_a_group_tells_what_was_asked_before(self) -> None:
        db = self.nova.add('db')
        web = self.nova.add('web', vm_state='stopped')
        with self.assertRaises(exceptions.Conflict) as caught:
            with consistency.quiesced(self.client, [[db.id], [web.id]]):
                self.fail('web cannot be quiesced')
        assert caught.exception.report
        first, second = caught.exception.report.servers
        self.assertEqual(
            db.actions[0]['request_id'], first.quiesce_request_id
        )
        self.assertTrue(first.seconds)
        self.assertIsNone(caught.exception.report.complete)
        self.assertIsNone(second.quiesce_request_id)
