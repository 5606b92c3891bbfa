# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import datetime
import os
import signal
import threading
import time
from typing import Any
from unittest import mock

from osc_quiesce import client
from osc_quiesce import consistency
from osc_quiesce import exceptions
from osc_quiesce.tests import signals
from osc_quiesce.tests.unit import fakes
from osc_quiesce import threads


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
        self, **kwargs: Any
    ) -> contextlib.AbstractContextManager[consistency.Frozen]:
        return consistency.quiesced(self.client, self.stages, **kwargs)

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
        self.new_client().unquiesce(server.id)
        self.nova.sleep(server.thaw_seconds)


class TestOrder(TestCase):
    def test_everything_is_frozen_inside_and_thawed_after(self) -> None:
        with self.quiesced():
            self.assertEqual(self.vm_states(), {'quiesced'})
        self.assertEqual(self.vm_states(), {'active'})

    def test_stages_go_forth_and_back_one_after_the_other(self) -> None:
        seen = []

        def hook(request: Any, context: Any) -> None:
            if request.method == 'POST':
                seen.append(
                    (
                        self.nova.log[-1],
                        [
                            server.name
                            for server in self.nova.servers.values()
                            if server.vm_state == 'quiesced'
                        ],
                    )
                )

        self.nova.hooks.append(hook)
        with self.quiesced():
            pass
        self.assertEqual(
            seen,
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
        )

    def test_one_listing_serves_the_servers_of_a_stage(self) -> None:
        for server in self.nova.servers.values():
            server.freeze_seconds = 20
        many = list(self.nova.servers)
        with consistency.quiesced(self.client, [many]):
            self.assertEqual(set(self.nova.gets()), {'GET detail'})
            self.nova.log.clear()
        # Who froze them is asked before the thaw; the states are listed.
        self.assertEqual(
            [line for line in self.nova.gets() if line != 'GET detail'],
            [
                f'GET {name}/os-instance-actions'
                for name in ('db', 'app1', 'app2', 'web')
            ],
        )

    def test_deadlines_are_for_all_or_by_server(self) -> None:
        bodies: list[Any] = []

        def hook(request: Any, context: Any) -> None:
            if request.method == 'POST' and 'quiesce' in request.json():
                bodies.append(request.json()['quiesce'])

        self.nova.hooks.append(hook)
        with self.quiesced(unquiesce_after=90):
            pass
        self.assertEqual(bodies, [{'unquiesce_after': 90}] * 4)
        bodies.clear()
        with self.quiesced(unquiesce_after={self.app2.id: 30}):
            pass
        self.assertEqual(bodies, [None, None, {'unquiesce_after': 30}, None])

    def test_it_says_what_it_does_and_survives_a_deaf_listener(self) -> None:
        said: list[str] = []

        def listen(sentence: str) -> None:
            said.append(sentence)
            raise OSError('the pipe is broken')

        with self.quiesced(progress=listen):
            pass
        self.assertEqual(self.vm_states(), {'active'})
        self.assertEqual(said[0], f'Quiescing {self.db.id} ...')
        self.assertEqual(said[-1], f'Thawing db ({self.db.id}) ...')

    def test_nonsense_is_refused_before_anything_is_asked(self) -> None:
        cases: list[tuple[Any, dict[str, Any]]] = [
            ([], {}),
            ([[self.db.id], []], {}),
            ([[self.db.id], [self.web.id, self.db.id]], {}),
            ([self.db.id], {}),
            ([[self.db.id]], {'unquiesce_after': 0}),
            ([[self.db.id]], {'unquiesce_after': {self.db.id: 1.5}}),
            ([[self.db.id]], {'unquiesce_after': {self.web.id: 10}}),
        ]
        for stages, options in cases:
            with self.subTest(stages=stages, **options):
                with self.assertRaises(ValueError):
                    with consistency.quiesced(self.client, stages, **options):
                        self.fail('the block was entered')
        self.assertEqual(self.nova.log, [])


class TestAllOrNothing(TestCase):
    def refused(self, error: type[BaseException], what: str = '') -> None:
        with self.assertRaisesRegex(error, what):
            with self.quiesced():
                self.fail('the block was entered')

    def test_a_server_that_cannot_be_frozen_undoes_all(self) -> None:
        self.app1.freeze_to = ('active', 'Error', 'no agent')
        self.refused(exceptions.NotSupported, 'app1.*no agent')
        self.assertEqual(self.vm_states(), {'active'})
        self.assertEqual(self.asked_to_thaw(), ['app2', 'db'])
        self.assertEqual(self.web.actions, [])

    def test_a_failure_does_not_wait_for_the_others_of_its_stage(
        self,
    ) -> None:
        self.app1.freeze_to = ('active', 'Error', 'no agent')
        self.app2.freeze_seconds = 60
        thawed: list[float] = []

        def hook(request: Any, context: Any) -> None:
            if self.nova.log[-1] == 'POST db unquiesce':
                thawed.append(self.nova.now)

        self.nova.hooks.append(hook)
        self.refused(exceptions.NotSupported)
        self.assertLess(thawed[0], 10)
        self.assertEqual(self.vm_states(), {'active'})
        self.assertEqual(self.asked_to_thaw(), ['db', 'app2'])

    def test_what_another_command_froze_is_left_alone(self) -> None:
        self.new_client().quiesce(self.app2.id)
        self.nova.sleep(1)
        self.refused(exceptions.Conflict, self.app2.id)
        self.assertEqual(self.app2.vm_state, 'quiesced')
        self.assertEqual(self.asked_to_thaw(), ['app1', 'db'])
        self.assertEqual(self.web.actions, [])

    def test_a_server_that_is_to_come_back_later_is_asked_again(self) -> None:
        self.answer('POST app1 quiesce', 503, '{}', Retry_After='7')
        with self.quiesced():
            self.assertEqual(self.vm_states(), {'quiesced'})
        self.assertEqual(self.nova.posts().count('POST app1 quiesce'), 2)
        self.assertEqual(self.nova.posts().count('POST app2 quiesce'), 1)
        self.assertIn(7, self.nova.sleeps)

    def test_but_not_for_longer_than_30_seconds(self) -> None:
        self.answer('POST app1 quiesce', 503, '{}', 99, Retry_After='8')
        self.refused(exceptions.ServiceUnavailable, self.app1.id)
        self.assertLess(self.nova.now, 40)
        self.assertEqual(self.asked_to_thaw(), ['app2', 'db'])

    def test_nobody_waits_to_come_back_if_another_is_refused(self) -> None:
        self.answer('POST app1 quiesce', 503, '{}', Retry_After='20')
        self.answer('POST app2 quiesce', 409, '{}')
        self.refused(exceptions.Conflict, self.app2.id)
        self.assertNotIn(20, self.nova.sleeps)
        self.assertEqual(self.nova.posts().count('POST app1 quiesce'), 1)
        self.assertEqual(self.asked_to_thaw(), ['db'])

    def test_what_others_freeze_after_a_refusal_is_left_alone(self) -> None:
        self.answer('POST app1 quiesce', 503, '{}', Retry_After='20')

        def sleep(seconds: float) -> None:
            self.nova.sleep(seconds)
            if seconds == 20:
                self.new_client().quiesce(self.app1.id)
                self.nova.sleep(1)
                raise KeyboardInterrupt

        self.client.sleep = sleep
        self.refused(KeyboardInterrupt)
        self.assertEqual(self.app1.vm_state, 'quiesced')
        self.assertEqual(self.asked_to_thaw(), ['app2', 'db'])

    def test_a_request_that_got_no_answer_but_arrived_is_thawed(self) -> None:
        self.drop('POST web quiesce', heard=True)
        self.web.freeze_seconds = 1
        # The trace of it is hidden as well
        self.answer('GET web/os-instance-actions', 500, '', times=99)
        self.refused(exceptions.RequestLost, self.web.id)
        self.assertEqual(self.vm_states(), {'active'})
        self.assertEqual(self.asked_to_thaw(), ['web', 'app1', 'app2', 'db'])

    def all_are_asked(self) -> None:
        """Let all requests of a stage be under way when one fails."""
        at_once = threads.at_once
        patch = mock.patch.object(
            threads, 'at_once', lambda do, items, **_kwargs: at_once(do, items)
        )
        patch.start()
        self.addCleanup(patch.stop)

    def test_every_lost_request_of_a_stage_is_named(self) -> None:
        self.all_are_asked()
        for name in ('app1', 'app2'):
            self.drop(f'POST {name} quiesce')
        with self.assertRaises(exceptions.SeveralErrors) as caught:
            with self.quiesced():
                self.fail('entered')
        self.assertEqual(
            {self.app1.id, self.app2.id},
            {error.server_id for error in caught.exception.errors},
        )
        self.assertIn('may still arrive', str(caught.exception))
        self.assertEqual(self.vm_states(), {'active'})

    def test_also_beside_one_that_was_refused(self) -> None:
        self.all_are_asked()
        self.app1.vm_state = 'paused'
        self.drop('POST app2 quiesce')
        with self.assertRaises(exceptions.SeveralErrors) as caught:
            with self.quiesced():
                self.fail('entered')
        self.assertEqual(
            [exceptions.Conflict, exceptions.RequestLost],
            [type(error) for error in caught.exception.errors],
        )
        self.assertEqual(self.db.vm_state, 'active')

    def test_what_others_froze_before_a_lost_request_is_left_alone(
        self,
    ) -> None:
        self.new_client().quiesce(self.app2.id)
        self.nova.sleep(60)
        self.drop('POST app2 quiesce')
        self.refused(exceptions.RequestLost, self.app2.id)
        self.assertEqual(self.app2.vm_state, 'quiesced')
        self.assertEqual(self.asked_to_thaw(), ['app1', 'db'])

    def test_a_freeze_that_comes_after_the_time_is_thawed(self) -> None:
        self.web.freeze_seconds = 40
        with self.assertRaisesRegex(exceptions.TimedOut, 'web'):
            with self.quiesced(timeout=5):
                self.fail('the block was entered')
        self.assertEqual(self.vm_states(), {'active'})
        # The others did not wait for it.
        self.assertEqual(self.asked_to_thaw(), ['app1', 'app2', 'db', 'web'])

    def test_a_signal_while_freezing_thaws_and_shields_the_thaw(self) -> None:
        shielded = False

        @contextlib.contextmanager
        def shield() -> Iterator[None]:
            nonlocal shielded
            shielded = True
            yield
            shielded = False

        def sleep(seconds: float) -> None:
            if self.nova.posts()[-1:] == ['POST app1 quiesce']:
                if not shielded:
                    raise SystemExit(143)
            self.nova.sleep(seconds)

        self.client.sleep = sleep
        with self.assertRaises(SystemExit):
            with self.quiesced(shield=shield):
                self.fail('the block was entered')
        self.assertEqual(self.vm_states(), {'active'})
        self.assertEqual(self.asked_to_thaw(), ['app1', 'db'])
        self.assertEqual(self.app2.actions, [])

    def test_signals_during_a_request_thaw_what_comes_of_it(self) -> None:
        # As Python handles Ctrl-C, and an operator who is impatient.
        signals.as_in_terminal(self)
        handled = threading.Event()

        def handle(number: int, frame: Any) -> None:
            handled.set()
            signal.default_int_handler(number, frame)

        signal.signal(signal.SIGINT, handle)

        real = self.client.quiesce

        def quiesce(server_id: str, *args: Any, **kwargs: Any) -> Any:
            if server_id == self.app1.id:
                for _number in range(2):
                    time.sleep(0.1)
                    handled.clear()
                    os.kill(os.getpid(), signal.SIGINT)
                    handled.wait(60)
                time.sleep(0.1)  # what it raises comes a moment later
            return real(server_id, *args, **kwargs)

        patch = mock.patch.object(self.client, 'quiesce', quiesce)
        patch.start()
        self.addCleanup(patch.stop)
        self.refused(KeyboardInterrupt)
        self.assertEqual(self.vm_states(), {'active'})
        self.assertEqual(self.asked_to_thaw(), ['app1', 'db'])
        self.assertEqual(self.app2.actions, [])


class TestArguments(TestCase):
    def test_a_timeout_that_is_none_is_refused_before_anything(self) -> None:
        for timeout in (0, -1, float('nan'), float('inf')):
            with self.subTest(timeout), self.assertRaises(ValueError):
                self.quiesced(timeout=timeout)
        self.assertEqual([], self.nova.log)

    def test_a_shield_that_fails_keeps_nobody_frozen(self) -> None:
        def broken() -> Any:
            raise ValueError('signal only works in main thread')

        for shield in (broken, None):
            with self.subTest(shield):
                with self.quiesced(shield=shield):
                    pass
                self.assertEqual(self.vm_states(), {'active'})


class TestThaw(TestCase):
    def test_whatever_is_raised_inside_all_is_thawed(self) -> None:
        for error in (RuntimeError, KeyboardInterrupt, SystemExit):
            with self.subTest(error), self.assertRaises(error):
                with self.quiesced():
                    raise error
            self.assertEqual(self.vm_states(), {'active'})

    def test_a_failed_thaw_keeps_no_other_frozen_and_is_named(self) -> None:
        self.app1.thaw_to = ('error', 'Error', 'agent is gone')
        self.app1.fault = 'agent is gone'
        boom = RuntimeError('boom')
        with self.assertRaisesRegex(
            consistency.ThawFailed, 'app1.*agent is gone.*STILL BE FROZEN'
        ) as caught:
            with self.quiesced() as frozen:
                raise boom
        self.assertIs(caught.exception.__cause__, boom)
        [error] = caught.exception.errors
        self.assertEqual(error.server_id, self.app1.id)
        for server in (self.db, self.app2, self.web):
            self.assertEqual(server.vm_state, 'active')
        self.assertIsNone(frozen.report.window)

    def test_a_slow_thaw_holds_up_others_for_a_short_time_only(self) -> None:
        self.web.thaw_seconds = 30
        with self.quiesced() as frozen:
            pass
        self.assertEqual(self.vm_states(), {'active'})
        db, _app1, _app2, web = frozen.report.servers
        self.assertLess(db.seconds or 99, 2 * client.ORDER_TIME)
        self.assertGreater(web.seconds or 0, 30)
        self.assertEqual(
            web.thaw_request_id, self.web.actions[-1]['request_id']
        )
        self.assertEqual(self.nova.log.count('POST web unquiesce'), 1)

    def test_where_asking_takes_long_listings_serve_the_wait(self) -> None:
        def hook(request: Any, context: Any) -> None:
            if request.method == 'POST':
                self.nova.now += 1

        self.nova.hooks.append(hook)
        many = list(self.nova.servers)
        with consistency.quiesced(self.client, [many]) as frozen:
            self.nova.log.clear()
        self.assertEqual(self.vm_states(), {'active'})
        self.assertEqual(len(self.nova.posts()), len(many))
        # But for the last one, when all others are thawed.
        looks = [line for line in self.nova.gets() if 'actions' not in line]
        self.assertEqual(set(looks), {'GET detail', 'GET web'})
        self.assertEqual(
            [server.actions[-1]['request_id']
             for server in self.nova.servers.values()],
            [row.thaw_request_id for row in frozen.report.servers],
        )

    def test_a_refused_thaw_keeps_no_other_frozen(self) -> None:
        self.answer('POST web unquiesce', 403, '{}', times=99)
        with self.assertRaises(consistency.ThawFailed) as caught:
            with self.quiesced():
                pass
        self.assertEqual(
            [error.server_name for error in caught.exception.errors], ['web']
        )
        self.assertEqual(self.web.vm_state, 'quiesced')
        self.assertEqual(self.db.vm_state, 'active')

    def test_an_interrupt_while_thawing_keeps_nothing_frozen(self) -> None:
        real, left = self.client.thaw, [KeyboardInterrupt()]

        def thaw(*args: Any) -> Any:
            if left:
                raise left.pop()
            return real(*args)

        with mock.patch.object(self.client, 'thaw', thaw):
            with self.assertRaises(KeyboardInterrupt):
                with self.quiesced():
                    pass
        self.assertEqual(self.vm_states(), {'active'})
        self.assertEqual(self.asked_to_thaw(), ['app1', 'app2', 'db', 'web'])

    def test_an_interrupt_of_every_thaw_names_every_server(self) -> None:
        with self.assertRaises(consistency.ThawFailed) as caught:
            with self.quiesced():
                self.client.sleep = mock.Mock(side_effect=KeyboardInterrupt)
        self.assertIsInstance(
            caught.exception.__cause__, KeyboardInterrupt
        )
        self.assertEqual(len(caught.exception.errors), 4)
        self.assertEqual(
            set(self.asked_to_thaw()), {'db', 'app1', 'app2', 'web'}
        )

    def test_a_server_that_is_gone_is_no_failure(self) -> None:
        with self.quiesced():
            del self.nova.servers[self.web.id]
        self.assertEqual(self.vm_states(), {'active'})

    def test_a_server_that_others_froze_again_is_left_alone(self) -> None:
        with self.quiesced() as frozen:
            self.thaw_elsewhere(self.app1)
            self.new_client().quiesce(self.app1.id)
            self.nova.sleep(1)
        self.assertEqual(self.app1.vm_state, 'quiesced')
        self.assertEqual(self.db.vm_state, 'active')
        self.assertIsNone(frozen.report.servers[1].thawed_at)
        self.assertIsNone(frozen.report.window)


class TestVerify(TestCase):
    def test_nothing_happened_in_few_requests(self) -> None:
        with self.quiesced() as frozen:
            before = len(self.nova.log)
            frozen.verify()
            self.assertEqual(
                sorted(self.nova.log[before:]),
                [
                    'GET app1/os-instance-actions',
                    'GET app2/os-instance-actions',
                    'GET db/os-instance-actions',
                    'GET detail',
                    'GET web/os-instance-actions',
                ],
            )

    def test_who_may_not_list_all_projects_can_verify(self) -> None:
        self.nova.is_admin = False
        with self.quiesced() as frozen:
            frozen.verify()
            self.thaw_elsewhere(self.web)
            with self.assertRaises(consistency.NotConsistent):
                frozen.verify()

    def not_consistent(self, frozen: consistency.Frozen) -> set[str | None]:
        with self.assertRaisesRegex(
            consistency.NotConsistent, 'not consistent'
        ) as caught:
            frozen.verify()
        return {error.server_name for error in caught.exception.errors}

    def test_every_server_that_was_thawed_is_named(self) -> None:
        with self.quiesced() as frozen:
            self.thaw_elsewhere(self.db)
            self.thaw_elsewhere(self.app2)
            self.assertEqual(self.not_consistent(frozen), {'db', 'app2'})

    def test_a_thaw_that_is_only_asked_for_counts(self) -> None:
        with self.quiesced() as frozen:
            self.new_client().unquiesce(self.web.id)
            self.assertEqual(self.not_consistent(frozen), {'web'})

    def test_a_thaw_during_the_check_counts(self) -> None:
        with self.quiesced() as frozen:

            def hook(request: Any, context: Any) -> None:
                # Its state was seen before, in the listing.
                if self.nova.log[-1] == 'GET web/os-instance-actions':
                    self.nova.hooks.clear()
                    self.new_client().unquiesce(self.web.id)

            self.nova.hooks.append(hook)
            self.assertEqual(self.not_consistent(frozen), {'web'})

    def test_a_server_that_is_being_deleted_is_not_consistent(self) -> None:
        with self.quiesced() as frozen:
            self.web.task_state = 'deleting'
            self.assertEqual(self.not_consistent(frozen), {'web'})
            self.web.task_state = None

    def test_thawed_and_frozen_again_is_not_consistent(self) -> None:
        with self.quiesced() as frozen:
            self.thaw_elsewhere(self.app1)
            self.new_client().quiesce(self.app1.id)
            self.nova.sleep(1)
            self.assertEqual(self.app1.vm_state, 'quiesced')
            self.assertEqual(self.not_consistent(frozen), {'app1'})

    def test_frozen_but_not_by_us_is_not_consistent(self) -> None:
        # Our request fails, and before that is seen somebody else's freezes.
        self.app1.freeze_to = ('active', 'Error', 'no agent')

        def freeze() -> None:
            self.app1.freeze_seconds = 0
            self.app1.freeze_to = ('quiesced', 'Success', None)
            self.new_client().quiesce(self.app1.id)
            self.nova.sleep(0)

        def hook(request: Any, context: Any) -> None:
            if self.app1.actions and not self.app1.task_state:
                self.nova.hooks.clear()
                freeze()

        self.nova.hooks.append(hook)
        with self.quiesced() as frozen:
            self.assertEqual(self.vm_states(), {'quiesced'})
            self.assertEqual(self.not_consistent(frozen), {'app1'})
        # It is theirs to thaw.
        self.assertEqual(self.app1.vm_state, 'quiesced')
        self.assertEqual(self.asked_to_thaw(), ['web', 'app2', 'db'])
        self.assertIsNone(frozen.report.servers[1].thawed_at)
        self.assertIsNone(frozen.report.window)

    def test_a_deadline_that_passed_is_not_consistent(self) -> None:
        with self.quiesced(unquiesce_after={self.web.id: 20}) as frozen:
            frozen.verify()
            self.nova.sleep(20)
            self.assertEqual(self.not_consistent(frozen), {'web'})

    def test_what_cannot_be_checked_is_not_consistent(self) -> None:
        with self.quiesced() as frozen:
            self.answer('GET db/os-instance-actions', 500, '{}', times=99)
            with self.assertRaisesRegex(
                consistency.NotConsistent, self.db.id
            ):
                frozen.verify()
        self.assertEqual(self.vm_states(), {'active'})

    def test_the_servers_share_the_time_that_checking_may_take(self) -> None:
        with self.quiesced() as frozen:
            for name in ('db', 'app1', 'app2', 'web'):
                line = f'GET {name}/os-instance-actions'
                self.answer(line, 500, '', times=99)
            began = self.nova.now
            with self.assertRaises(consistency.NotConsistent) as caught:
                frozen.verify()
            self.assertLessEqual(
                self.nova.now - began, client.TRACE_PATIENCE
            )
            self.assertEqual(len(caught.exception.errors), 4)
            self.nova.hooks.clear()

    def test_a_short_trouble_is_survived(self) -> None:
        with self.quiesced() as frozen:
            self.drop('GET db/os-instance-actions', times=2)
            self.drop('GET detail')
            frozen.verify()


class TestReport(TestCase):
    def test_the_report_tells_when_and_how_long(self) -> None:
        before = datetime.datetime.now(datetime.UTC)
        with self.quiesced() as frozen:
            self.assertIsNone(frozen.report.window)
            self.assertIsNone(frozen.report.complete)
            self.nova.sleep(10)
        report = frozen.report
        self.assertEqual(
            [server.name for server in report.servers],
            ['db', 'app1', 'app2', 'web'],
        )
        assert report.window and report.complete
        self.assertGreaterEqual(report.complete, 10)
        self.assertLess(report.complete, report.window)
        db, _app1, _app2, web = report.servers
        # The first to be frozen is the last to be thawed.
        self.assertAlmostEqual(db.seconds or 0, report.window)
        assert db.requested_at and db.frozen_at and db.thawed_at
        assert web.frozen_at and web.thaw_requested_at and web.thawed_at
        self.assertLess(
            abs((db.requested_at - before).total_seconds()), 5
        )
        self.assertLess(db.requested_at, db.frozen_at)
        self.assertLess(db.frozen_at, web.frozen_at)
        self.assertLess(web.thaw_requested_at, web.thawed_at)
        self.assertLess(web.thawed_at, db.thawed_at)
        self.assertEqual(
            report.complete,
            (web.thaw_requested_at - web.frozen_at).total_seconds(),
        )
        self.assertEqual(
            [action['request_id'] for action in self.db.actions],
            [db.quiesce_request_id, db.thaw_request_id],
        )

    def test_the_bounds_hold(self) -> None:
        frozen_at: dict[str, float] = {}
        thawed_at: dict[str, float] = {}
        real = self.nova.sleep

        def sleep(seconds: float) -> None:
            real(seconds)
            for server in self.nova.servers.values():
                if server.vm_state == 'quiesced':
                    frozen_at.setdefault(server.id, self.nova.now)
                elif server.id in frozen_at:
                    thawed_at.setdefault(server.id, self.nova.now)

        self.client.sleep = sleep
        with self.quiesced() as frozen:
            self.client.sleep(5)
        report = frozen.report
        for server in report.servers:
            self.assertGreaterEqual(
                server.seconds or 0,
                thawed_at[server.id] - frozen_at[server.id],
            )
        self.assertGreaterEqual(
            report.window or 0,
            max(thawed_at.values()) - min(frozen_at.values()),
        )
        self.assertLessEqual(
            report.complete or 99,
            min(thawed_at.values()) - max(frozen_at.values()),
        )
