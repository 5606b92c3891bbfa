# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
import contextlib
import json
import os
import signal
import threading
import time
from types import SimpleNamespace
from typing import Any
from unittest import mock

from osc_quiesce import api
from osc_quiesce import client as quiesce_client
from osc_quiesce import concurrency
from osc_quiesce import errors
from osc_quiesce import group
from osc_quiesce.tests import signals
from osc_quiesce.tests.unit import fakes

LISTING = 'GET /os-quiesce'


def fault(status: int, message: str) -> str:
    """Return the body with which Nova itself refuses."""
    return json.dumps(fakes.error(SimpleNamespace(), status, message))


class TestCase(fakes.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.db = self.nova.add('db')
        self.app1 = self.nova.add('app1')
        self.app2 = self.nova.add('app2')
        self.web = self.nova.add('web')
        self.stages = [
            [self.db.id],
            [self.app1.id, self.app2.id],
            [self.web.id],
        ]

    def quiesced(
        self,
        sleep: Callable[[float], object] | None = None,
        **options: Any,
    ) -> contextlib.AbstractContextManager[group.Frozen]:
        client = self.client.with_sleep(sleep) if sleep else self.client
        return group.quiesced(client, self.stages, **options)

    def vm_states(self) -> set[str]:
        return {server.vm_state for server in self.nova.servers.values()}

    def asked_to_thaw(self) -> list[str]:
        return [
            line.split()[1]
            for line in self.nova.posts()
            if line.endswith('unquiesce')
        ]

    def thaw_elsewhere(self, server: fakes.FakeServer) -> None:
        """Thaw a server as another command does."""
        self.nova.others(server, 'unquiesce')
        self.nova.sleep(server.thaw_seconds)

    def freeze_elsewhere(self, server: fakes.FakeServer) -> None:
        """Freeze a server as another command does."""
        self.nova.others(server, 'quiesce')
        self.nova.sleep(server.freeze_seconds)

    def asked_at(self, line: str) -> list[float]:
        """Return a list that gets the time of each request like this."""
        times = []

        def hook(request: Any, context: Any) -> None:
            if self.nova.log[-1] == line:
                times.append(self.nova.now)

        self.nova.hooks.append(hook)
        return times

    def bodies(self, action: str) -> list[Any]:
        """Return a list that gets the details of each such action."""
        bodies = []

        def hook(request: Any, context: Any) -> None:
            if request.method == 'POST' and action in request.json():
                bodies.append(request.json()[action])

        self.nova.hooks.append(hook)
        return bodies

    def unproven(self, frozen: group.Frozen) -> set[str]:
        """Return the names of servers that may not have stayed frozen."""
        self.assertFalse(frozen.report.is_consistent)
        names = {
            server.name or server.id
            for server in frozen.report.servers
            if not server.is_proven
        }
        with self.assertRaisesRegex(
            errors.NotConsistent, 'not consistent'
        ) as caught:
            frozen.verify()
        self.assertEqual(len(names), len(caught.exception.errors))
        for name in names:
            self.assertIn(name, str(caught.exception))
        return names


class TestArguments(TestCase):
    def test_nonsense_is_refused_before_anything_is_asked(self) -> None:
        cases: list[tuple[Any, dict[str, Any]]] = [
            ([], {}),
            ([[self.db.id], []], {}),
            ([[self.db.id], [self.web.id, self.db.id]], {}),
            ([self.db.id], {}),
            ([[self.db.id]], {'unquiesce_after': 0}),
            ([[self.db.id]], {'unquiesce_after': {self.db.id: 1.5}}),
            ([[self.db.id]], {'unquiesce_after': {self.web.id: 10}}),
            ([[self.db.id]], {'timeout': 0}),
            ([[self.db.id]], {'timeout': -1}),
            ([[self.db.id]], {'timeout': float('nan')}),
            ([[self.db.id]], {'timeout': float('inf')}),
        ]
        for stages, options in cases:
            with self.subTest(stages=stages, **options):
                with self.assertRaises(ValueError):
                    with group.quiesced(self.client, stages, **options):
                        self.fail('the block was entered')
        self.assertEqual([], self.nova.log)

    def test_deadlines_are_for_all_or_by_server(self) -> None:
        bodies = self.bodies('quiesce')
        for given, expected in (
            (None, [None] * 4),
            (90, [90] * 4),
            ({self.app2.id: 30}, [None, None, 30, None]),
        ):
            with self.subTest(given):
                bodies.clear()
                with self.quiesced(unquiesce_after=given):
                    pass
                self.assertEqual(
                    expected, [body.get('unquiesce_after') for body in bodies]
                )


class TestOrder(TestCase):
    def test_everything_is_frozen_inside_and_thawed_after(self) -> None:
        with self.quiesced() as frozen:
            self.assertEqual({'quiesced'}, self.vm_states())
        self.assertEqual({'active'}, self.vm_states())
        self.assertTrue(frozen.report.is_consistent)

    def test_stages_go_forth_and_back_one_after_the_other(self) -> None:
        seen = []

        def hook(request: Any, context: Any) -> None:
            if request.method == 'POST':
                frozen = [
                    server.name
                    for server in self.nova.servers.values()
                    if server.vm_state == 'quiesced'
                ]
                seen.append((self.nova.log[-1], frozen))

        self.nova.hooks.append(hook)
        with self.quiesced():
            pass
        self.assertEqual(
            [
                ('POST db quiesce', []),
                ('POST app1 quiesce', ['db']),
                ('POST app2 quiesce', ['db']),
                ('POST web quiesce', ['db', 'app1', 'app2']),
                ('POST web unquiesce', ['db', 'app1', 'app2', 'web']),
                ('POST app1 unquiesce', ['db', 'app1', 'app2']),
                ('POST app2 unquiesce', ['db', 'app1', 'app2']),
                ('POST db unquiesce', ['db']),
            ],
            seen,
        )

    def test_one_request_id_serves_the_whole_group(self) -> None:
        quiesces, unquiesces = self.bodies('quiesce'), self.bodies('unquiesce')
        with self.quiesced() as frozen:
            pass
        self.assertRegex(frozen.request_id, '^req-[0-9a-f-]{36}$')
        only = {'request_id': frozen.request_id}
        self.assertEqual([only] * 4, quiesces)
        self.assertEqual([only] * 4, unquiesces)

    def test_each_group_has_a_request_id_of_its_own(self) -> None:
        with self.quiesced() as first:
            pass
        with self.quiesced() as second:
            pass
        self.assertNotEqual(first.request_id, second.request_id)

    def test_progress_is_told_what_is_done_next(self) -> None:
        said: list[str] = []
        with self.quiesced(progress=said.append):
            said.append('inside')
        self.assertEqual(
            [
                f'Quiescing {self.db.id} ...',
                f'Quiescing {self.app1.id}, {self.app2.id} ...',
                f'Quiescing {self.web.id} ...',
                'inside',
                f'Unquiescing web ({self.web.id}) ...',
                f'Unquiescing app1 ({self.app1.id}), app2 ({self.app2.id}) '
                '...',
                f'Unquiescing db ({self.db.id}) ...',
            ],
            said,
        )

    def test_a_sentence_about_many_servers_is_short(self) -> None:
        for number in range(100):
            self.nova.add(f'vm{number}')
        said: list[str] = []
        with group.quiesced(
            self.client, [list(self.nova.servers)], progress=said.append
        ):
            pass
        self.assertIn('94 others', said[0])
        self.assertLess(max(map(len, said)), 800)

    def test_uuids_may_be_in_upper_case(self) -> None:
        for names in ['DB'], ['A', 'B']:
            with self.subTest(names):
                servers = [self.nova.add(name) for name in names]
                ids = [server.id.upper() for server in servers]
                started = self.nova.now
                with group.quiesced(
                    self.client, [ids], unquiesce_after={ids[0]: 60}
                ) as frozen:
                    self.assertEqual(
                        {'quiesced'}, {s.vm_state for s in servers})
                    self.assertIsNotNone(servers[0].unquiesce_at)
                self.assertLess(self.nova.now - started, 5)
                frozen.verify()


class TestRequests(fakes.TestCase):
    """What is sent while guests are frozen: nothing that need not be."""

    def window_of(self, number: int, **options: Any) -> list[str]:
        """Return what is sent from the first quiesce to the last unquiesce."""
        for index in range(number):
            self.nova.add(f's{index}', freeze_seconds=3, **options)
        with group.quiesced(self.client, [list(self.nova.servers)]):
            before = len(self.nova.log)
            self.nova.sleep(10)
            self.assertEqual(before, len(self.nova.log))
        is_thaw = [line.endswith(' unquiesce') for line in self.nova.log]
        return self.nova.log[:len(is_thaw) - is_thaw[::-1].index(True)]

    def assert_each_is_asked_once(self, number: int) -> None:
        self.assertEqual(
            [f'POST s{index} quiesce' for index in range(number)]
            + [f'POST s{index} unquiesce' for index in range(number)],
            self.nova.posts(),
        )

    def test_one_server_is_looked_at_by_itself(self) -> None:
        window = self.window_of(1)
        self.assert_each_is_asked_once(1)
        for line in window:
            if line.startswith('GET'):
                self.assertRegex(line, '^GET s0(/os-instance-actions/req-.*)?')

    def test_the_servers_of_a_stage_share_every_look(self) -> None:
        for number in (3, 10):
            with self.subTest(number):
                self.nova.servers.clear()
                self.nova.log.clear()
                window = self.window_of(number)
                self.assert_each_is_asked_once(number)
                self.assertEqual(
                    {LISTING},
                    {line for line in window if line.startswith('GET')},
                )

    def test_a_stage_of_ten_takes_no_more_looks_than_one_of_three(
        self,
    ) -> None:
        looks = []
        for number in (3, 10):
            self.nova.servers.clear()
            self.nova.log.clear()
            looks.append(self.window_of(number).count(LISTING))
        self.assertLessEqual(looks[1], looks[0] + 1)

    def test_who_may_not_list_all_projects_shares_looks_as_well(self) -> None:
        self.nova.is_admin = False
        window = self.window_of(3)
        self.assert_each_is_asked_once(3)
        self.assertEqual(
            {LISTING}, {line for line in window if line.startswith('GET')}
        )

    def test_the_look_that_shows_the_thaw_is_the_proof(self) -> None:
        window = self.window_of(3)
        after = self.nova.log[len(window):]
        self.assertEqual({LISTING}, set(after))

    def test_one_request_looks_at_more_servers_than_fit_into_a_url(
        self,
    ) -> None:
        with mock.patch.object(api, 'PORTION', 2):
            looks = self.window_of(5).count(LISTING)
            self.nova.servers.clear()
            self.nova.log.clear()
            self.assertEqual(looks, self.window_of(2).count(LISTING))

    def test_who_may_not_list_asks_each_server_for_its_result(self) -> None:
        self.answer(LISTING, 403, fault(403, 'Not you'), times=999)
        for index in range(3):
            self.nova.add(f's{index}')
        with group.quiesced(self.client, [list(self.nova.servers)]) as frozen:
            self.nova.log.clear()
        frozen.verify()
        thaws = [
            each.actions[-1]['request_id'] for each in
            self.nova.servers.values()
        ]
        for index, thaw in enumerate(thaws):
            self.assertEqual(
                f'GET s{index}/os-instance-actions/{thaw}',
                [line for line in self.nova.log if f' s{index}/' in line][-1],
            )


class FreezingTestCase(TestCase):
    def refused(
        self, error: type[BaseException], what: str = '', **options: Any
    ) -> BaseException:
        with self.assertRaisesRegex(error, what) as caught:
            with self.quiesced(**options):
                self.fail('the block was entered')
        return caught.exception

    def assert_can_never_freeze(
        self, server: fakes.FakeServer, request_id: str
    ) -> None:
        """Let a copy of a request arrive late."""
        with self.assertRaises(errors.Conflict):
            self.client.quiesce(server.id, request_id=request_id)
        self.nova.sleep(server.freeze_seconds)
        self.assertEqual('active', server.vm_state)


class TestAllOrNothing(FreezingTestCase):
    def test_a_freeze_without_an_answer_delays_no_thaw(self) -> None:
        self.app1.vm_state = 'stopped'
        self.hang('POST app2 quiesce', 3600)

        def refuse_later(request: Any, context: Any) -> None:
            until = time.monotonic() + 30
            if self.nova.line_of(request) == 'POST app1 quiesce':
                while ('POST app2 quiesce' not in self.nova.log
                       and time.monotonic() < until):
                    time.sleep(0.005)

        self.nova.hooks.append(refuse_later)
        self.enterContext(mock.patch.object(concurrency, 'THREADS', 10))
        began, real_began = self.nova.now, time.monotonic()
        self.refused(errors.Conflict, self.app1.id)
        self.assertEqual('active', self.db.vm_state)
        self.assertLess(self.nova.now - began, 5)
        self.assertLess(time.monotonic() - real_began, 30)
        self.nova.now += 3600  # the request that hangs is lost
        self.assertEqual('active', self.app2.vm_state)

    def test_a_server_that_cannot_be_frozen_undoes_all(self) -> None:
        self.app1.freeze_to = ('active', 'Error', 'no agent')
        self.refused(errors.NotSupported, 'app1.*no agent')
        self.assertEqual({'active'}, self.vm_states())
        self.assertEqual(['app1', 'app2', 'db'], self.asked_to_thaw())
        self.assertEqual([], self.web.actions)

    def test_a_failed_freeze_does_not_wait_for_others_of_its_stage(
        self,
    ) -> None:
        self.app1.freeze_to = ('active', 'Error', 'no agent')
        self.app2.freeze_seconds = 60
        thawed = self.asked_at('POST db unquiesce')
        self.refused(errors.NotSupported)
        self.assertLess(thawed[0], 10)
        self.assertEqual({'active'}, self.vm_states())

    def test_a_server_that_another_request_froze_is_left_alone(self) -> None:
        self.freeze_elsewhere(self.app2)
        self.refused(errors.Conflict, self.app2.id)
        self.assertEqual('quiesced', self.app2.vm_state)
        self.assertEqual(['app1', 'db'], self.asked_to_thaw())
        self.assertEqual([], self.web.actions)

    def test_a_freeze_that_another_request_replaced_is_left_alone(
        self,
    ) -> None:
        # Our request fails, and before that is seen somebody else's freezes.
        self.app1.freeze_to = ('active', 'Error', 'no agent')

        def hook(request: Any, context: Any) -> None:
            if self.app1.actions and not self.app1.task_state:
                self.nova.hooks.clear()
                self.app1.freeze_to = ('quiesced', 'Success', None)
                self.freeze_elsewhere(self.app1)

        self.nova.hooks.append(hook)
        self.refused(errors.QuiescedByAnother, 'app1')
        self.assertEqual('quiesced', self.app1.vm_state)
        self.assertEqual('active', self.app2.vm_state)
        self.assertEqual('active', self.db.vm_state)

    def test_a_server_that_is_to_come_back_later_is_asked_again(self) -> None:
        asked = self.asked_at('POST app1 quiesce')
        busy = fault(503, 'busy')
        self.answer('POST app1 quiesce', 503, busy, Retry_After='7')
        with self.quiesced():
            self.assertEqual({'quiesced'}, self.vm_states())
        self.assertGreaterEqual(asked[-1] - asked[0], 7)
        self.assertEqual(2, self.nova.posts().count('POST app1 quiesce'))
        self.assertEqual(1, self.nova.posts().count('POST app2 quiesce'))

    def test_a_server_is_asked_for_30_seconds_at_most(self) -> None:
        asked = self.asked_at('POST app1 quiesce')
        busy = fault(503, 'busy')
        self.answer('POST app1 quiesce', 503, busy, 99, Retry_After='8')
        self.refused(errors.ServiceUnavailable, self.app1.id)
        self.assertLessEqual(asked[-1] - asked[0], 30)
        self.assertEqual({'active'}, self.vm_states())
        # Nova itself has said that it did nothing with it.
        self.assertEqual(['app2', 'db'], self.asked_to_thaw())

    def test_a_refusal_ends_the_wait_to_come_back_to_others(self) -> None:
        busy = fault(503, 'busy')
        self.answer('POST app1 quiesce', 503, busy, Retry_After='20')
        self.answer('POST app2 quiesce', 409, fault(409, 'locked'))
        self.refused(errors.Conflict, self.app2.id)
        self.assertLess(self.nova.now, 20)
        self.assertEqual(1, self.nova.posts().count('POST app1 quiesce'))
        self.assertEqual({'active'}, self.vm_states())

    def test_what_others_freeze_after_a_refusal_is_left_alone(self) -> None:
        busy = fault(503, 'busy')
        self.answer('POST app1 quiesce', 503, busy, Retry_After='20')

        def sleep(seconds: float) -> None:
            self.nova.sleep(seconds)
            if seconds > 10:
                self.freeze_elsewhere(self.app1)
                raise KeyboardInterrupt

        self.refused(KeyboardInterrupt, sleep=sleep)
        self.assertEqual('quiesced', self.app1.vm_state)
        self.assertEqual('active', self.app2.vm_state)
        self.assertEqual('active', self.db.vm_state)

    def test_a_freeze_that_comes_after_the_time_is_undone(self) -> None:
        self.web.freeze_seconds = 40
        thawed = self.asked_at('POST db unquiesce')
        self.refused(errors.TimedOut, 'web', timeout=5)
        self.assertEqual({'active'}, self.vm_states())
        self.assertLess(thawed[0], 20)  # the others did not wait for it


class TestLostRequests(FreezingTestCase):
    def test_a_freeze_of_which_the_answer_is_lost_is_seen(self) -> None:
        self.drop('POST web quiesce', heard=True)
        with self.quiesced() as frozen:
            self.assertEqual({'quiesced'}, self.vm_states())
        self.assertEqual({'active'}, self.vm_states())
        self.assertTrue(frozen.report.is_consistent)
        self.assertEqual(
            ['quiesce', 'unquiesce'],
            [action['action'] for action in self.web.actions],
        )

    def test_a_freeze_that_a_proxy_hides_behind_503_is_seen(self) -> None:
        self.answer(
            'POST web quiesce', 503, 'upstream connect error', heard=True
        )
        with self.quiesced() as frozen:
            self.assertEqual({'quiesced'}, self.vm_states())
        self.assertEqual({'active'}, self.vm_states())
        self.assertTrue(frozen.report.is_consistent)

    def test_a_freeze_that_a_proxy_hides_for_good_is_undone(self) -> None:
        self.answer(
            'POST web quiesce', 503, 'upstream connect error', 99, heard=True
        )
        self.refused(errors.Unreachable, self.web.id)
        self.assertEqual(
            ['quiesce', 'unquiesce'],
            [action['action'] for action in self.web.actions],
        )
        self.assertEqual({'active'}, self.vm_states())

    def test_a_request_that_is_lost_is_withdrawn(self) -> None:
        bodies = self.bodies('quiesce')
        self.drop('POST web quiesce', 99)
        self.refused(errors.Unreachable, self.web.id)
        self.assertEqual(
            ['web', 'app1', 'app2', 'db'], self.asked_to_thaw()
        )
        self.nova.hooks.clear()
        self.assert_can_never_freeze(self.web, bodies[0]['request_id'])

    def test_a_request_that_is_lost_and_then_refused_is_withdrawn(
        self,
    ) -> None:
        bodies = self.bodies('quiesce')
        self.drop('POST web quiesce')
        self.answer('POST web quiesce', 409, fault(409, 'image pending'))
        self.refused(errors.Conflict, 'image pending')
        self.assert_can_never_freeze(self.web, bodies[0]['request_id'])

    def test_every_request_of_a_stage_that_is_lost_is_withdrawn(self) -> None:
        bodies = self.bodies('quiesce')
        for name in ('app1', 'app2'):
            self.drop(f'POST {name} quiesce', 99)
        self.refused(errors.Unreachable)
        self.nova.hooks.clear()
        for server in (self.app1, self.app2):
            self.assert_can_never_freeze(server, bodies[0]['request_id'])

    def test_a_lost_request_undoes_no_freeze_of_another(self) -> None:
        self.freeze_elsewhere(self.app2)
        self.drop('POST app2 quiesce')
        self.refused(errors.Conflict, self.app2.id)
        self.assertEqual('quiesced', self.app2.vm_state)
        self.assertEqual('active', self.app1.vm_state)
        self.assertEqual('active', self.db.vm_state)


class TestWaysOut(TestCase):
    def test_an_error_of_any_kind_thaws_everything(self) -> None:
        for error in (RuntimeError, KeyboardInterrupt, SystemExit):
            with self.subTest(error):
                with self.assertRaises(error):
                    with self.quiesced() as frozen:
                        raise error
                self.assertEqual({'active'}, self.vm_states())
                self.assertTrue(frozen.report.is_consistent)

    def test_a_return_thaws_everything(self) -> None:
        def save() -> str:
            with self.quiesced():
                return 'saved'

        self.assertEqual('saved', save())
        self.assertEqual({'active'}, self.vm_states())

    def test_the_thaw_may_come_before_the_end_of_the_block(self) -> None:
        with self.quiesced() as frozen:
            frozen.thaw()
            self.assertEqual({'active'}, self.vm_states())
            frozen.verify()
        self.assertEqual(4, len(self.asked_to_thaw()))

    def test_a_generator_that_is_closed_thaws_everything(self) -> None:
        def save() -> Generator[str, None, None]:
            with self.quiesced():
                yield 'saved'

        saving = save()
        self.assertEqual('saved', next(saving))
        self.assertEqual({'quiesced'}, self.vm_states())
        saving.close()
        self.assertEqual({'active'}, self.vm_states())

    def test_an_interrupt_of_any_pause_thaws_everything(self) -> None:
        # In freezing as well as in thawing, until there is none any more.
        self.stages = [[self.db.id], [self.app1.id, self.web.id]]
        for server in self.nova.servers.values():
            server.freeze_seconds = server.thaw_seconds = 0.1
        for number in range(1, 999):
            left = [number]

            def sleep(seconds: float, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] == 0:
                    raise KeyboardInterrupt
                self.nova.sleep(seconds)

            with self.subTest(number):
                frozen = None
                with contextlib.suppress(KeyboardInterrupt):
                    with self.quiesced(sleep) as frozen:
                        pass
                self.assertEqual({'active'}, self.vm_states())
                self.assertEqual(
                    {None},
                    {each.freeze for each in self.nova.servers.values()},
                )
            if left[0] > 0:
                break
        assert frozen
        self.assertTrue(frozen.report.is_consistent)

    def test_an_interrupt_of_every_pause_names_every_server(self) -> None:
        is_left = False

        def sleep(seconds: float) -> None:
            if is_left:
                raise KeyboardInterrupt
            self.nova.sleep(seconds)

        with self.assertRaises(errors.ThawFailed) as caught:
            with self.quiesced(sleep) as frozen:
                is_left = True
        self.assertIsInstance(caught.exception.__cause__, KeyboardInterrupt)
        self.assertEqual(4, len(caught.exception.errors))
        for server_id in self.nova.servers:
            self.assertIn(server_id, str(caught.exception))
        self.assertFalse(frozen.report.is_consistent)

    def test_a_signal_while_freezing_shields_the_thaw(self) -> None:
        shielded = False

        @contextlib.contextmanager
        def shield() -> Iterator[None]:
            nonlocal shielded
            shielded = True
            yield
            shielded = False

        def sleep(seconds: float) -> None:
            if 'POST app1 quiesce' in self.nova.log and not shielded:
                raise SystemExit(143)
            self.nova.sleep(seconds)

        with self.assertRaises(SystemExit):
            with self.quiesced(sleep, shield=shield):
                self.fail('the block was entered')
        self.assertEqual({'active'}, self.vm_states())
        self.assertFalse(shielded)
        self.assertEqual([], self.web.actions)

    def test_signals_during_a_request_thaw_what_comes_of_it(self) -> None:
        # As Python handles Ctrl-C, and an operator who is impatient.
        signals.as_in_terminal(self)
        handled = threading.Event()

        def handle(number: int, frame: Any) -> None:
            handled.set()
            signal.default_int_handler(number, frame)

        signal.signal(signal.SIGINT, handle)

        def hook(request: Any, context: Any) -> None:
            if self.nova.log[-1] == 'POST app1 quiesce':
                self.nova.hooks.clear()
                for _number in range(2):
                    time.sleep(0.1)
                    handled.clear()
                    os.kill(os.getpid(), signal.SIGINT)
                    handled.wait(60)
                time.sleep(0.1)  # what it raises comes a moment later

        self.nova.hooks.append(hook)
        with self.assertRaises(KeyboardInterrupt):
            with self.quiesced():
                self.fail('the block was entered')
        self.assertEqual({'active'}, self.vm_states())
        self.assertIn('app1', self.asked_to_thaw())
        self.assertEqual([], self.web.actions)

    def test_a_progress_callback_that_fails_keeps_nothing_frozen(
        self,
    ) -> None:
        said: list[str] = []

        def listen(sentence: str) -> None:
            said.append(sentence)
            raise OSError('the pipe is broken')

        with self.quiesced(progress=listen) as frozen:
            pass
        self.assertEqual({'active'}, self.vm_states())
        self.assertTrue(frozen.report.is_consistent)
        self.assertEqual(6, len(said))

    def test_a_shield_that_fails_keeps_nothing_frozen(self) -> None:
        def broken() -> Any:
            raise ValueError('signal only works in main thread')

        for shield in (broken, None):
            with self.subTest(shield):
                with self.quiesced(shield=shield) as frozen:
                    pass
                self.assertEqual({'active'}, self.vm_states())
                self.assertTrue(frozen.report.is_consistent)

    def test_a_shield_that_fails_to_end_keeps_nothing_frozen(self) -> None:
        @contextlib.contextmanager
        def shield() -> Iterator[None]:
            yield
            raise OSError('the terminal is gone')

        with self.assertRaisesRegex(OSError, 'terminal'):
            with self.quiesced(shield=shield) as frozen:
                pass
        self.assertEqual({'active'}, self.vm_states())
        self.assertTrue(frozen.report.is_consistent)

    def test_servers_that_are_kept_stay_quiesced(self) -> None:
        with self.quiesced() as frozen:
            frozen.keep()
        self.assertEqual({'quiesced'}, self.vm_states())
        self.assertEqual([], self.asked_to_thaw())
        self.assertFalse(frozen.report.is_consistent)
        self.assertIsNone(frozen.report.window)

    def test_a_server_on_its_way_is_thawed_though_others_are_kept(
        self,
    ) -> None:
        self.app2.freeze_seconds = 60
        frozen = group.Frozen(self.client, self.stages, timeout=5)
        with self.assertRaisesRegex(errors.TimedOut, self.app2.id), frozen:
            try:
                frozen.quiesce()
            finally:
                frozen.keep()
        self.assertEqual('quiesced', self.db.vm_state)
        self.assertEqual('quiesced', self.app1.vm_state)
        self.assertEqual('active', self.app2.vm_state)
        self.assertEqual(['app2'], self.asked_to_thaw())


class TestThaw(TestCase):
    def test_a_failed_thaw_keeps_no_other_frozen_and_is_named(self) -> None:
        self.app1.thaw_to = ('error', 'Error', 'agent is gone')
        boom = RuntimeError('boom')
        with self.assertRaisesRegex(
            errors.ThawFailed, 'app1.*agent is gone.*STILL BE FROZEN'
        ) as caught:
            with self.quiesced() as frozen:
                raise boom
        self.assertIs(boom, caught.exception.__cause__)
        [error] = caught.exception.errors
        assert error.server
        self.assertEqual(self.app1.id, error.server.id)
        for server in (self.db, self.app2, self.web):
            self.assertEqual('active', server.vm_state)
        self.assertIsNone(frozen.report.window)

    def test_a_thaw_that_fails_when_accepted_is_no_proof(self) -> None:
        # The guest may have ended its freeze long before.
        self.app1.thaw_to = ('error', 'Error', 'agent is gone')
        with self.assertRaises(errors.ThawFailed):
            with self.quiesced() as frozen:
                pass
        self.assertEqual({'app1'}, self.unproven(frozen))

    def test_a_thaw_that_stays_refused_keeps_no_other_frozen(self) -> None:
        said_no = fault(403, 'Policy says no')
        self.answer('POST web unquiesce', 403, said_no, times=999)
        with self.assertRaisesRegex(
            errors.ThawFailed, 'web.*Policy says no'
        ) as caught:
            with self.quiesced() as frozen:
                pass
        self.assertEqual(1, len(caught.exception.errors))
        self.assertEqual(frozen.request_id, caught.exception.request_id)
        self.assertEqual('quiesced', self.web.vm_state)
        for server in (self.db, self.app1, self.app2):
            self.assertEqual('active', server.vm_state)
        self.assertEqual({'web'}, self.unproven(frozen))

    def test_what_failed_to_thaw_can_be_thawed_by_its_request(self) -> None:
        said_no = fault(403, 'Policy says no')
        self.answer('POST web unquiesce', 403, said_no, times=999)
        with self.assertRaises(errors.ThawFailed) as caught:
            with self.quiesced():
                pass
        self.nova.hooks.clear()
        failure = caught.exception
        self.freeze_elsewhere(self.db)
        self.assertEqual('quiesced', self.web.vm_state)
        for error in failure.errors:
            assert error.server
            self.client.unquiesce(error.server, failure.request_id)
        ended = self.client.unquiesce(self.db.id, failure.request_id)
        self.nova.sleep(self.web.thaw_seconds)
        self.assertEqual('active', self.web.vm_state)
        self.assertEqual('ended', ended.state)
        self.assertEqual('quiesced', self.db.vm_state)

    def test_a_thaw_that_is_refused_once_goes_on(self) -> None:
        for server in self.nova.servers.values():
            server.foreign = True
        no_route = fault(400, 'There is no such action: unquiesce')
        for line in ('POST web unquiesce', 'POST app2 unquiesce', LISTING):
            for status, text in (
                (400, no_route),
                (401, fault(401, 'Please authenticate')),
                (403, fault(403, 'Policy says no')),
                (404, '<html>'),
                (500, '{}'),
                (502, '<html>'),
            ):
                with self.subTest(line, status=status):
                    with self.quiesced() as frozen:
                        self.answer(line, status, text)
                    self.nova.hooks.clear()
                    self.assertEqual({'active'}, self.vm_states())
                    self.assertTrue(frozen.report.is_consistent)
                    self.assertIsNotNone(frozen.report.window)

    def test_a_look_that_is_refused_once_does_not_end_a_thaw(self) -> None:
        # Who may not list what is frozen looks at each server by itself.
        for status in (400, 401, 403):
            with self.subTest(status):
                self.web.thaw_seconds = 2
                with self.quiesced() as frozen:
                    self.answer(LISTING, 403, fault(403, 'no'), times=999)
                    self.answer('GET web', status, fault(status, 'no'))
                self.nova.hooks.clear()
                self.assertEqual({'active'}, self.vm_states())
                self.assertTrue(frozen.report.is_consistent)

    def test_a_server_of_another_project_is_seen_thawed(self) -> None:
        # It is in no list that its caller may see.
        self.nova.is_admin = False
        self.web.foreign = True
        self.web.thaw_seconds = 20
        with self.quiesced() as frozen:
            pass
        self.assertEqual({'active'}, self.vm_states())
        self.assertTrue(frozen.report.is_consistent)
        self.assertGreaterEqual(frozen.report.servers[3].seconds or 0, 20)

    def test_a_slow_thaw_delays_the_stage_before_by_3_seconds(self) -> None:
        self.web.thaw_seconds = 30
        asked = self.asked_at('POST app1 unquiesce')
        with self.quiesced() as frozen:
            left = self.nova.now
        self.assertAlmostEqual(3, asked[0] - left, delta=0.5)
        self.assertEqual({'active'}, self.vm_states())
        self.assertGreater(frozen.report.servers[3].seconds or 0, 30)
        self.assertEqual(1, self.nova.log.count('POST web unquiesce'))
        self.assertTrue(frozen.report.is_consistent)

    def test_a_thaw_that_hangs_delays_the_stage_before_by_3_seconds(
        self,
    ) -> None:
        patch = mock.patch.object(concurrency, 'THREADS', 10)
        patch.start()
        self.addCleanup(patch.stop)
        self.hang('POST web unquiesce', 30)

        def sleep(seconds: float) -> None:
            # Time goes by while something hangs.
            self.nova.sleep(seconds or 0.25)

        asked = self.asked_at('POST app1 unquiesce')
        with self.quiesced(sleep) as frozen:
            left = self.nova.now
        self.assertLess(asked[0] - left, 6)  # and not 10
        self.assertEqual({'active'}, self.vm_states())
        self.assertTrue(frozen.report.is_consistent)
        self.assertEqual(2, self.nova.log.count('POST web unquiesce'))

    def test_a_look_that_hangs_delays_the_stage_before_by_3_seconds(
        self,
    ) -> None:
        patch = mock.patch.object(concurrency, 'THREADS', 10)
        patch.start()
        self.addCleanup(patch.stop)

        def sleep(seconds: float) -> None:
            self.nova.sleep(seconds or 0.25)

        asked = self.asked_at('POST app1 unquiesce')
        with self.quiesced(sleep) as frozen:
            left = self.nova.now
            self.hang(LISTING, 10)
        self.assertLess(asked[0] - left, 6)  # and not 10
        self.assertEqual({'active'}, self.vm_states())
        self.assertTrue(frozen.report.is_consistent)

    def test_a_machine_without_threads_holds_up_no_thaw(self) -> None:
        patch = mock.patch.object(
            threading.Thread, 'start',
            side_effect=RuntimeError("can't start new thread"))
        with self.quiesced() as frozen:
            patch.start()
            self.addCleanup(patch.stop)
        self.assertEqual({'active'}, self.vm_states())
        self.assertEqual(['web', 'app1', 'app2', 'db'], self.asked_to_thaw())
        self.assertTrue(frozen.report.is_consistent)

    def test_retry_after_of_one_server_delays_no_other(self) -> None:
        asked = {
            name: self.asked_at(f'POST {name} unquiesce')
            for name in ('app1', 'app2', 'db')
        }
        busy = fault(503, 'busy')
        self.answer('POST app1 unquiesce', 503, busy, Retry_After='100')
        with self.quiesced() as frozen:
            left = self.nova.now
        self.assertLess(asked['app2'][0] - left, 2)
        # Nor does it outrank a frozen guest.
        self.assertLess(asked['app1'][1] - asked['app1'][0], 6)
        self.assertLess(asked['db'][0] - asked['app1'][0], 4)
        self.assertEqual({'active'}, self.vm_states())
        self.assertTrue(frozen.report.is_consistent)

    def test_a_server_that_is_gone_is_no_failure(self) -> None:
        with self.quiesced() as frozen:
            del self.nova.servers[self.web.id]
        self.assertEqual({'active'}, self.vm_states())
        self.assertEqual({'web'}, self.unproven(frozen))

    def test_a_server_that_others_froze_again_is_left_alone(self) -> None:
        with self.quiesced() as frozen:
            self.thaw_elsewhere(self.app1)
            self.freeze_elsewhere(self.app1)
        self.assertEqual('quiesced', self.app1.vm_state)
        self.assertEqual('active', self.db.vm_state)
        self.assertEqual({'app1'}, self.unproven(frozen))


class TestCheck(TestCase):
    def test_one_request_tells_that_all_are_frozen_now(self) -> None:
        with self.quiesced() as frozen:
            self.nova.log.clear()
            frozen.check()
            self.assertEqual([LISTING], self.nova.log)

    def test_every_server_that_is_thawed_is_named(self) -> None:
        with self.quiesced() as frozen:
            self.thaw_elsewhere(self.db)
            self.nova.others(self.app2, 'unquiesce')
            with self.assertRaises(errors.NotConsistent) as caught:
                frozen.check()
        self.assertEqual(2, len(caught.exception.errors))
        for name in ('db', 'app2'):
            self.assertIn(name, str(caught.exception))

    def test_a_freeze_by_another_request_does_not_count(self) -> None:
        with self.quiesced() as frozen:
            self.thaw_elsewhere(self.app1)
            self.freeze_elsewhere(self.app1)
            with self.assertRaisesRegex(errors.NotConsistent, 'app1'):
                frozen.check()

    def test_who_may_not_list_all_projects_can_check(self) -> None:
        self.nova.is_admin = False
        with self.quiesced() as frozen:
            frozen.check()
            self.thaw_elsewhere(self.web)
            with self.assertRaisesRegex(errors.NotConsistent, 'web'):
                frozen.check()

    def test_one_refusal_to_list_all_projects_is_no_thaw(self) -> None:
        for status in (400, 401, 403):
            with self.subTest(status), self.quiesced() as frozen:
                fault = fakes.error(mock.Mock(), status, 'No')
                self.answer(LISTING, status, json.dumps(fault))
                frozen.check()

    def test_no_answer_is_an_error_and_keeps_nothing_frozen(self) -> None:
        with self.assertRaises(errors.Unreachable):
            with self.quiesced() as frozen:
                self.answer(LISTING, 500, '{}', times=99)
                try:
                    frozen.check()
                finally:
                    self.nova.hooks.clear()
        self.assertEqual({'active'}, self.vm_states())


class TestVerify(TestCase):
    def hide_list(self) -> None:
        """Let the caller not see the table of freezes."""
        self.answer(LISTING, 403, fault(403, 'Not you'), times=999)

    def test_a_group_that_stayed_frozen_takes_no_request(self) -> None:
        with self.quiesced() as frozen:
            self.assertFalse(frozen.report.is_consistent)
        self.nova.log.clear()
        frozen.verify()
        self.assertEqual([], self.nova.log)
        self.assertEqual(
            [True] * 4, [row.is_proven for row in frozen.report.servers]
        )

    def test_a_call_inside_the_block_is_an_error_of_the_caller(self) -> None:
        with self.quiesced() as frozen:
            with self.assertRaises(RuntimeError):
                frozen.verify()
        frozen.verify()

    def test_every_server_that_was_thawed_is_named(self) -> None:
        with self.quiesced() as frozen:
            self.thaw_elsewhere(self.db)
            self.thaw_elsewhere(self.app2)
        self.assertEqual({'db', 'app2'}, self.unproven(frozen))

    def test_a_thaw_by_another_that_is_under_way_counts(self) -> None:
        self.web.thaw_seconds = 2
        with self.quiesced() as frozen:
            self.nova.others(self.web, 'unquiesce')
        self.assertEqual({'active'}, self.vm_states())
        self.assertEqual({'web'}, self.unproven(frozen))

    def test_a_deadline_that_passed_inside_counts(self) -> None:
        with self.quiesced(unquiesce_after={self.web.id: 20}) as frozen:
            self.nova.sleep(21)
        self.assertEqual({'active'}, self.vm_states())
        self.assertEqual({'web'}, self.unproven(frozen))
        with self.assertRaisesRegex(
            errors.NotConsistent, 'web.*The request is ended'
        ):
            frozen.verify()

    def test_a_deadline_that_did_not_pass_does_not_count(self) -> None:
        with self.quiesced(unquiesce_after=20) as frozen:
            self.nova.sleep(10)
        frozen.verify()

    def test_a_deadline_that_passed_while_others_froze_counts(self) -> None:
        self.web.freeze_seconds = 30
        with self.quiesced(unquiesce_after={self.db.id: 10}) as frozen:
            pass
        self.assertEqual({'db'}, self.unproven(frozen))

    def test_a_thaw_that_finds_the_freeze_lapsed_counts(self) -> None:
        self.app1.thaw_to = ('active', 'Error', 'the freeze had lapsed')
        with self.quiesced() as frozen:
            pass
        self.assertEqual({'active'}, self.vm_states())
        self.assertEqual({'app1'}, self.unproven(frozen))
        with self.assertRaisesRegex(
            errors.NotConsistent, 'app1.*the freeze had lapsed'
        ):
            frozen.verify()

    def test_a_server_that_was_never_seen_frozen_counts(self) -> None:
        # The cloud confirms that its freeze is given up, and no more.
        self.app2.freeze_seconds = 20
        with self.assertRaises(errors.TimedOut):
            with group.Frozen(self.client, self.stages, timeout=5) as frozen:
                frozen.quiesce()
        self.assertEqual({'active'}, self.vm_states())
        report = frozen.report
        self.assertEqual(
            [True, True, False, False],
            [server.is_proven for server in report.servers],
        )
        self.assertFalse(report.is_consistent)
        self.assertIsNone(report.complete)

    def test_a_guest_that_has_told_nothing_counts(self) -> None:
        # It was off, for example: the thaw itself has succeeded.
        self.app1.fate = 'lapsed'
        with self.quiesced() as frozen:
            pass
        self.assertEqual({'app1'}, self.unproven(frozen))
        with self.assertRaisesRegex(
            errors.NotConsistent, 'app1.*may have, ended the freeze before'
        ):
            frozen.verify()

    def test_a_lapse_of_which_the_reason_is_hidden_counts(self) -> None:
        self.db.thaw_to = ('active', 'Error', 'the freeze had lapsed')

        def hook(request: Any, context: Any) -> str | None:
            if not self.nova.log[-1].startswith(
                'GET db/os-instance-actions/'
            ) or 'unquiesce' not in str(self.db.actions[-1]):
                return None
            context.status_code = 500
            return '{}'

        self.nova.hooks.append(hook)
        with self.quiesced() as frozen:
            pass
        self.assertEqual({'active'}, self.vm_states())
        self.assertEqual({'db'}, self.unproven(frozen))

    def test_a_thaw_of_which_the_answer_is_lost_counts(self) -> None:
        # Perhaps it was this request that thawed it, perhaps not.
        self.drop('POST web unquiesce', heard=True)
        with self.quiesced() as frozen:
            pass
        self.assertEqual({'active'}, self.vm_states())
        self.assertEqual({'web'}, self.unproven(frozen))

    def test_a_proof_that_is_interrupted_proves_nothing(self) -> None:
        self.hide_list()
        with mock.patch.object(
            quiesce_client.Client, 'doubt', side_effect=KeyboardInterrupt
        ):
            with self.assertRaises(KeyboardInterrupt):
                with self.quiesced() as frozen:
                    pass
        self.assertEqual({'active'}, self.vm_states())
        self.assertEqual({'db', 'app1', 'app2', 'web'}, self.unproven(frozen))

    def test_a_short_trouble_does_not_count(self) -> None:
        self.hide_list()
        left = [2]

        def hook(request: Any, context: Any) -> str | None:
            if not left[0] or 'unquiesce' not in str(self.db.actions):
                return None
            if not self.nova.log[-1].startswith('GET db/os-instance-actions'):
                return None
            left[0] -= 1
            context.status_code = 502
            return '<html>'

        self.nova.hooks.append(hook)
        with self.quiesced() as frozen:
            pass
        self.assertEqual([0], left)
        frozen.verify()


class TestReport(TestCase):
    def test_durations_are_in_the_report(self) -> None:
        with self.quiesced() as frozen:
            self.assertIsNone(frozen.report.window)
            self.assertIsNone(frozen.report.complete)
            self.nova.sleep(10)
        report = frozen.report
        self.assertEqual(
            ['db', 'app1', 'app2', 'web'],
            [server.name for server in report.servers],
        )
        assert report.window and report.complete
        self.assertGreaterEqual(report.complete, 10)
        self.assertLess(report.complete, report.window)
        db, *_others, web = report.servers
        # The first to be frozen is the last to be thawed.
        self.assertAlmostEqual(report.window, db.seconds or 0)
        assert web.thaw.asked and web.freeze.ended
        self.assertAlmostEqual(
            report.complete, web.thaw.asked - web.freeze.ended)

    def test_the_actions_of_nova_bear_the_ids_in_the_report(self) -> None:
        with self.quiesced() as frozen:
            pass
        for server, row in zip(
            self.nova.servers.values(), frozen.report.servers
        ):
            self.assertEqual(
                [frozen.request_id, row.thaw.action_id],
                [action['request_id'] for action in server.actions],
            )

    def test_the_durations_are_bounds(self) -> None:
        frozen_at: dict[str, float] = {}
        thawed_at: dict[str, float] = {}

        def sleep(seconds: float) -> None:
            self.nova.sleep(seconds)
            for server in self.nova.servers.values():
                if server.vm_state == 'quiesced':
                    frozen_at.setdefault(server.id, self.nova.now)
                elif server.id in frozen_at:
                    thawed_at.setdefault(server.id, self.nova.now)

        def hook(request: Any, context: Any) -> None:
            if request.method == 'POST':
                self.nova.now += 1  # asking takes long

        self.nova.hooks.append(hook)
        with self.quiesced(sleep) as frozen:
            sleep(5)
        report = frozen.report
        assert report.window and report.complete
        for server in report.servers:
            self.assertGreaterEqual(
                server.seconds or 0,
                thawed_at[server.id] - frozen_at[server.id],
            )
        self.assertGreaterEqual(
            report.window, max(thawed_at.values()) - min(frozen_at.values())
        )
        self.assertLessEqual(
            report.complete, min(thawed_at.values()) - max(frozen_at.values())
        )
