# SPDX-License-Identifier: Apache-2.0

"""The loop that asks servers, and looks at them until each got there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import threading
import time
from typing import Any
from unittest import mock

import requests

from osc_quiesce import api
from osc_quiesce import errors
from osc_quiesce import model
from osc_quiesce import polling
from osc_quiesce import retry
from osc_quiesce.tests.unit import fakes
from osc_quiesce import verbs

#: for how long a request may go on when the time is up
GRACE = 1.1


class PollerTest(fakes.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.request_id = model.new_request_id()
        #: when each request came
        self.times: dict[str, list[float]] = {}
        self.nova.hooks.append(self._note)

    def _note(self, request: Any, context: Any) -> None:
        self.times.setdefault(self.nova.log[-1], []).append(self.nova.now)

    def frozen(self, *names: str, **kwargs: Any) -> list[fakes.FakeServer]:
        """Return servers that the request has frozen."""
        return [
            self.nova.add(
                name, vm_state='quiesced', freeze=self.request_id, **kwargs
            )
            for name in names
        ]

    def active(self, *names: str, **kwargs: Any) -> list[fakes.FakeServer]:
        return [self.nova.add(name, **kwargs) for name in names]

    def run_in(
        self,
        verb: verbs.Verb,
        stages: Sequence[Sequence[fakes.FakeServer]],
        timeout: float = 60,
        **options: Any,
    ) -> dict[str, verbs.Job]:
        """Return how it ended, by the names of the servers."""
        jobs = [
            [
                verbs.Job(model.Server(s.id, s.name), self.request_id)
                for s in stage
            ]
            for stage in stages
        ]
        polling.Poller(
            self.client.api, self.client.timer, verb, jobs, timeout, **options
        ).run()
        return {
            job.server.name: job
            for stage in jobs
            for job in stage
            if job.ended is not None
        }

    def freeze(
        self,
        servers: Sequence[fakes.FakeServer],
        stops_at_error: bool = False,
        **options: Any,
    ) -> dict[str, verbs.Job]:
        verb = verbs.Freezing()
        verb.stops_at_error = stops_at_error
        return self.run_in(verb, [servers], **options)

    def thaw(
        self, *stages: Sequence[fakes.FakeServer], **options: Any
    ) -> dict[str, verbs.Job]:
        return self.run_in(verbs.Thawing(), stages, **options)

    def silence(self, line: str = '', times: int = 1000) -> None:
        """Leave requests without an answer until they time out.

        :param line: how they look; all by default
        """
        left = [times]

        def hook(request: Any, context: Any) -> None:
            if left[0] and line in self.nova.log[-1]:
                left[0] -= 1
                self.nova.now += request.timeout
                raise requests.ReadTimeout('no answer in time')

        self.nova.hooks.append(hook)

    def assert_no_error(self, outcomes: dict[str, verbs.Job]) -> None:
        self.assertEqual([], [o.error for o in outcomes.values() if o.error])


class TestAsking(PollerTest):
    def test_each_server_is_asked_once(self) -> None:
        servers = self.active('web', 'db')
        outcomes = self.freeze(servers)
        self.assert_no_error(outcomes)
        self.assertEqual(
            ['POST db quiesce', 'POST web quiesce'], sorted(self.nova.posts())
        )
        for outcome in outcomes.values():
            self.assertEqual(self.request_id, outcome.request_id)
            self.assertEqual(self.request_id, outcome.action_id)
            self.assertEqual(0, outcome.asked)

    def test_without_waiting_none_is_looked_at(self) -> None:
        outcomes = self.freeze(self.active('web', 'db'), wait=False)
        self.assert_no_error(outcomes)
        self.assertEqual([], self.nova.gets())

    def test_a_first_attempt_that_hangs_does_not_take_all_the_time(
        self,
    ) -> None:
        [web] = self.active('web')
        self.silence('POST web quiesce', times=1)
        self.assert_no_error(self.freeze([web], timeout=60))
        self.assertLess(self.nova.now, 15)
        self.assertEqual(1, len(web.actions))

    def test_a_first_look_that_hangs_does_not_prolong_a_freeze(self) -> None:
        for line in 'GET /os-quiesce', 'GET web':
            with self.subTest(line):
                servers = self.active('web', *['db'] * (line != 'GET web'))
                self.silence(line, times=1)
                started = self.nova.now
                self.assert_no_error(self.freeze(servers))
                self.assertLess(self.nova.now - started, 15)

    def test_a_patient_session_makes_no_attempt_last_longer(self) -> None:
        self.client.api = api.QuiesceAPI(self.client.api._adapter, 600)
        [web] = self.frozen('web')
        self.silence('POST web unquiesce', times=3)
        self.assert_no_error(self.thaw([web], timeout=120))

    def test_the_pause_that_one_asks_for_is_its_own(self) -> None:
        for name in ('thaw', 'freeze'):
            with self.subTest(name):
                self.times.clear()
                slow, fast = getattr(
                    self, {'thaw': 'frozen', 'freeze': 'active'}[name]
                )('slow', 'fast')
                line = f'POST slow {"un" * (name == "thaw")}quiesce'
                started = self.nova.now
                self.answer(
                    line, 503, '{"serviceUnavailable": {"message": "No"}}',
                    Retry_After='4',
                )
                if name == 'thaw':
                    outcomes = self.thaw([slow, fast])
                else:
                    outcomes = self.freeze([slow, fast])
                self.assert_no_error(outcomes)
                self.assertLess(outcomes['fast'].seconds, 1)
                self.assertGreaterEqual(self.times[line][1] - started, 4)

    def test_a_long_pause_does_not_hold_up_a_thaw(self) -> None:
        [web] = self.frozen('web')
        self.answer(
            'POST web unquiesce', 429,
            '{"overLimit": {"message": "No"}}', times=2, Retry_After='100',
        )
        self.assert_no_error(self.thaw([web]))
        self.assertLess(self.nova.now, 3 * retry.LONGEST_DEFERRAL)

    def test_a_pause_of_a_listing_does_not_hold_up_what_is_to_be_asked(
        self,
    ) -> None:
        first, second = self.frozen('first', 'second', thaw_seconds=9)
        self.answer('GET /os-quiesce', 503, 'later', Retry_After='100')
        self.assert_no_error(self.thaw([first], [second]))
        [asked] = self.times['POST second unquiesce']
        self.assertLess(asked, retry.ORDER_TIME + 1)

    def test_a_long_pause_of_a_listing_does_not_hold_up_a_thaw(self) -> None:
        [web] = self.frozen('web')
        self.answer('GET /os-quiesce', 503, 'later', Retry_After='100')
        outcome = self.thaw([web])['web']
        self.assertIsNone(outcome.error)
        self.assertLess(outcome.seconds, 2 * retry.LONGEST_DEFERRAL)

    def test_a_refusal_after_a_lost_attempt_leaves_a_trace(self) -> None:
        [web] = self.active('web', freeze_seconds=5)
        self.drop('POST web quiesce', heard=True)
        self.answer(
            'POST web quiesce', 401, '{"unauthorized": {"message": "No"}}',
        )
        outcome = self.freeze([web])['web']
        self.assertIsInstance(outcome.error, errors.Unauthorized)
        self.assertEqual(self.request_id, outcome.action_id)
        self.assertEqual('quiescing', web.task_state)

    def test_a_refusal_of_the_first_attempt_leaves_none(self) -> None:
        [web] = self.active('web', task_state='rebooting')
        outcome = self.freeze([web])['web']
        self.assertIsInstance(outcome.error, errors.Conflict)
        self.assertIsNone(outcome.action_id)

    def test_an_unforeseen_error_is_that_of_one_server(self) -> None:
        bad, good = self.active('bad', 'good')

        class Odd(verbs.Freezing):
            stops_at_error = False

            def ask(self, api: Any, job: verbs.Job) -> bool:
                if job.server.name == 'bad':
                    raise RuntimeError('odd')
                return super().ask(api, job)

        outcomes = self.run_in(Odd(), [[bad, good]])
        self.assertRegex(str(outcomes['bad'].error), r'bad \(.*odd')
        self.assertIsNone(outcomes['good'].error)

    def test_an_unforeseen_error_ends_no_thaw(self) -> None:
        for method in 'POST', 'GET':
            with self.subTest(method):
                [web] = self.frozen('web')
                left = [KeyError('odd')] * 3

                def hook(request: Any, context: Any) -> None:
                    if left and request.method == method:  # noqa: B023
                        raise left.pop()  # noqa: B023

                self.nova.hooks.append(hook)
                self.assert_no_error(self.thaw([web]))
                self.assertEqual('active', web.vm_state)


class TestOrder(PollerTest):
    def test_a_stage_waits_for_the_one_before_it(self) -> None:
        first, second = self.frozen('first', 'second', thaw_seconds=1)
        outcomes = self.thaw([first], [second])
        self.assert_no_error(outcomes)
        [asked] = self.times['POST second unquiesce']
        self.assertEqual(outcomes['first'].seconds, asked)
        self.assertEqual(asked, outcomes['second'].asked)

    def test_the_last_stage_is_seen_as_soon_as_the_first(self) -> None:
        names = [f'vm{number}' for number in range(10)]
        servers = self.frozen(*names, thaw_seconds=0.3)
        self.assert_no_error(self.thaw(*[[server] for server in servers]))
        asked = [self.times[f'POST {name} unquiesce'][0] for name in names]
        for before, after in zip(asked, asked[1:]):
            self.assertLess(after - before, 0.6)

    def test_a_slow_stage_delays_the_next_by_3_seconds(self) -> None:
        names = [f'vm{number}' for number in range(5)]
        servers = self.frozen(*names, thaw_seconds=30)
        self.assert_no_error(self.thaw(*[[server] for server in servers]))
        for number, name in enumerate(names):
            [asked] = self.times[f'POST {name} unquiesce']
            self.assertGreaterEqual(asked, retry.ORDER_TIME * number)
            self.assertLess(asked, retry.ORDER_TIME * number + 2)

    def test_however_many_stages_are_slow_all_are_asked(self) -> None:
        names = [f'vm{number}' for number in range(50)]
        servers = self.frozen(*names, thaw_seconds=200)
        self.thaw(*[[server] for server in servers], timeout=120)
        asked = [self.times[f'POST {name} unquiesce'][0] for name in names]
        self.assertEqual(sorted(asked), asked)
        self.assertLess(asked[-1], 65)

    def test_a_freeze_under_way_does_not_hold_up_the_next_thaw(self) -> None:
        slow, web = self.active('slow', 'web', freeze_seconds=40)
        for server in (slow, web):
            self.client.quiesce(server.id, request_id=self.request_id)
        self.nova.sleep(1)
        outcomes = self.thaw([slow], [web], timeout=120)
        self.assert_no_error(outcomes)
        [asked] = self.times['POST web unquiesce']
        self.assertLess(asked - 1, retry.ORDER_TIME + 2)

    def test_a_stage_without_an_answer_delays_the_next_by_3_seconds(
        self,
    ) -> None:
        silent, web = self.frozen('silent', 'web')
        self.drop('POST silent unquiesce', times=1000)
        outcomes = self.thaw([silent], [web])
        self.assertIsInstance(outcomes['silent'].error, errors.TimedOut)
        self.assertIsNone(outcomes['web'].error)
        [asked] = self.times['POST web unquiesce']
        self.assertLess(asked, retry.ORDER_TIME + 2)

    def test_without_threads_one_delays_the_next_by_3_seconds(self) -> None:
        servers = self.frozen('db', 'app')
        self.silence('POST db unquiesce')
        with mock.patch.object(threading.Thread, 'start',
                               side_effect=RuntimeError):
            self.run_in(verbs.Thawing(), [[each] for each in servers])
        first = self.times['POST app unquiesce'][0]
        self.assertLessEqual(first, retry.ORDER_TIME + GRACE)

    def test_it_is_told_which_stage_is_next(self) -> None:
        servers = self.frozen('first', 'second', 'third')
        told: list[list[str]] = []
        self.thaw(
            servers[:1],
            servers[1:],
            progress=lambda stage: told.append([s.name for s in stage]),
        )
        self.assertEqual([['first'], ['second', 'third']], told)

    def test_one_that_is_told_late_holds_up_no_request(self) -> None:
        servers = self.frozen('first', 'second')
        asked: list[list[str]] = []

        def progress(stage: Sequence[model.Server]) -> None:
            for _number in range(20):  # the request is in a thread
                if f'POST {stage[0].name} unquiesce' in self.nova.posts():
                    break
                time.sleep(0.01)
            asked.append(self.nova.posts())

        self.thaw(servers[:1], servers[1:], progress=progress)
        self.assertEqual(
            [['POST first unquiesce'],
             ['POST first unquiesce', 'POST second unquiesce']], asked)


class TestTimeOuts(PollerTest):
    def test_they_hold_if_every_request_hangs(self) -> None:
        for run in (self.thaw, self.freeze):
            for count in (1, 20):
                with self.subTest(run.__name__, count=count):
                    self.nova.hooks[1:] = []
                    self.silence()
                    servers = self.frozen(*map(str, range(count)))
                    started = self.nova.now
                    if run == self.freeze:
                        outcomes = self.freeze(servers, timeout=120)
                    else:
                        outcomes = self.thaw(
                            *[[server] for server in servers], timeout=120
                        )
                    self.assertLessEqual(
                        self.nova.now - started, 120 + GRACE
                    )
                    self.assertEqual(count, len(outcomes))
                    for outcome in outcomes.values():
                        self.assertIsInstance(
                            outcome.error,
                            (errors.TimedOut, errors.Unreachable),
                        )

    def test_they_hold_if_looks_hang(self) -> None:
        for count in (1, 20):
            with self.subTest(count=count):
                self.nova.hooks[1:] = []
                self.silence('GET')
                servers = self.active(*map(str, range(count)))
                started = self.nova.now
                self.freeze(servers, timeout=60)
                self.assertLessEqual(self.nova.now - started, 60 + GRACE)

    def test_they_hold_if_requests_wait_for_a_thread(self) -> None:
        # 20 servers and one thread: all wait behind the first one.
        self.silence('POST')
        servers = self.frozen(*map(str, range(20)))
        self.thaw(servers, timeout=115)
        self.assertLessEqual(self.nova.now, 115 + GRACE)

    def test_a_server_that_does_not_get_there_tells_its_state(self) -> None:
        [web] = self.active('web', freeze_seconds=100)
        error = self.freeze([web], timeout=10)['web'].error
        self.assertIsInstance(error, errors.TimedOut)
        self.assertRegex(
            str(error),
            r'web \(.*did not become quiesced within 10 s.*'
            f'task_state quiescing.*{self.request_id}',
        )
        self.assertAlmostEqual(10, self.nova.now, delta=0.2)

    def test_the_last_trouble_is_told(self) -> None:
        [web] = self.frozen('web')
        self.answer(
            'POST web unquiesce', 409,
            '{"conflictingRequest": {"message": "Instance web is locked"}}',
            times=1000,
        )
        error = self.thaw([web], timeout=10)['web'].error
        self.assertIsInstance(error, errors.TimedOut)
        self.assertRegex(str(error), 'within 10 s: Instance web is locked')

    def test_trouble_that_has_passed_is_not_told(self) -> None:
        [web] = self.active('web', freeze_seconds=100)
        self.drop('POST web quiesce')
        self.drop('GET web')
        error = self.freeze([web], timeout=10)['web'].error
        self.assertNotIn('connection reset', str(error))

    def test_an_interrupt_ends_it(self) -> None:
        [web] = self.active('web', freeze_seconds=100)
        sleep = self.nova.sleep

        def interrupted(seconds: float) -> None:
            sleep(seconds)
            if self.nova.now > 5:
                raise KeyboardInterrupt

        self.client = self.client.with_sleep(interrupted)
        with self.assertRaises(KeyboardInterrupt):
            self.freeze([web])
        self.assertLess(self.nova.now, 10)


class TestStopAtError(PollerTest):
    def test_the_first_error_ends_it_for_all(self) -> None:
        [slow] = self.active('slow', freeze_seconds=40)
        [bad] = self.active('bad', freeze_to=('active', 'Error', 'no agent'))
        outcomes = self.freeze([slow, bad], stops_at_error=True)
        self.assertEqual(['bad'], list(outcomes))
        self.assertIsInstance(outcomes['bad'].error, errors.NotSupported)
        self.assertLess(self.nova.now, 5)

    def test_one_that_got_there_before_is_told(self) -> None:
        [good] = self.active('good')
        [bad] = self.active(
            'bad', freeze_seconds=5, freeze_to=('active', 'Error', 'no agent')
        )
        outcomes = self.freeze([good, bad], stops_at_error=True)
        self.assertEqual({'good', 'bad'}, outcomes.keys())
        self.assertIsNone(outcomes['good'].error)

    def test_without_it_the_others_get_there(self) -> None:
        [slow] = self.active('slow', freeze_seconds=20)
        [bad] = self.active('bad', freeze_to=('active', 'Error', 'no agent'))
        outcomes = self.freeze([slow, bad])
        self.assertIsNone(outcomes['slow'].error)
        self.assertIsInstance(outcomes['bad'].error, errors.NotSupported)


class TestLookingAtOne(PollerTest):
    def test_the_first_look_comes_soon_and_later_ones_rarely(self) -> None:
        [web] = self.active('web', freeze_seconds=60)
        self.assert_no_error(self.freeze([web], timeout=90))
        looks = self.times['GET web']
        self.assertLess(looks[0], 0.5)
        gaps = [b - a for a, b in zip(looks, looks[1:])]
        self.assertLessEqual(max(gaps), 5)
        self.assertLess(len(looks), 50)

    def test_lost_connections_and_odd_answers_are_outlasted(self) -> None:
        [web] = self.active('web')
        self.drop('GET web', times=2)
        self.answer('GET web', 503, '')
        self.answer('GET web', 200, '<html>')
        self.answer('GET web', 200, '{"server": {}}')
        self.answer(
            f'GET web/os-instance-actions/{self.request_id}',
            200,
            '{"instanceAction": {"events": [{"result": "Success"}]}}',
        )
        self.assert_no_error(self.freeze([web]))

    def test_a_pause_that_is_asked_for_is_kept_within_reason(self) -> None:
        for value, least, most in (
            ('3', 3, 5),
            ('Thu, 01 Jan 2026 00:00:03 GMT', 2, 5),
            ('100', retry.LONGEST_DEFERRAL, retry.LONGEST_DEFERRAL + 2),
        ):
            with self.subTest(value):
                self.nova.now = 0.0
                self.times.clear()
                [web] = self.active('web')
                self.answer('GET web', 503, 'later', Retry_After=value)
                self.assert_no_error(self.freeze([web]))
                first, second, *_rest = self.times['GET web']
                self.assertGreaterEqual(second - first, least)
                self.assertLess(second - first, most)

    def test_an_api_that_never_comes_back_times_out(self) -> None:
        [web] = self.active('web')
        self.drop('GET web', times=1000)
        error = self.freeze([web])['web'].error
        self.assertIsInstance(error, errors.TimedOut)
        self.assertRegex(str(error), 'within 60 s: .*connection reset')

    def test_a_deleted_server_is_gone(self) -> None:
        [web] = self.active('web', freeze_seconds=9)
        self.nova.at(2, self.nova.servers.clear)
        error = self.freeze([web])['web'].error
        self.assertIsInstance(error, errors.ServerGone)
        self.assertRegex(str(error), r'web \(.*deleted')
        self.assertNotIn('vm_state', str(error))

    def test_who_may_not_look_any_more_is_told(self) -> None:
        [web] = self.active('web')
        self.answer('GET web', 401, '{"unauthorized": {"message": "No"}}')
        error = self.freeze([web])['web'].error
        self.assertIsInstance(error, errors.Unauthorized)


class TestLookingAtMany(PollerTest):
    def names(self, count: int) -> list[str]:
        return [f'vm{number}' for number in range(count)]

    def test_requests_grow_with_time_and_not_with_servers(self) -> None:
        for count in (10, 100):
            with self.subTest(count=count):
                servers = [
                    self.nova.add(
                        f'vm{number}', freeze_seconds=20 * number / count
                    )
                    for number in range(count)
                ]
                self.nova.log.clear()
                self.assert_no_error(self.freeze(servers))
                self.assertLess(len(self.nova.gets()), 40)
                self.assertEqual({'GET /os-quiesce'}, set(self.nova.gets()))

    def test_many_more_than_a_page_are_found(self) -> None:
        self.nova.page = 7
        servers = self.active(*self.names(40))
        self.assert_no_error(self.freeze(servers))
        self.assert_no_error(self.thaw(servers))
        self.assertEqual({'active'}, {s.vm_state for s in servers})

    def test_who_may_not_list_all_projects_lists_their_own(self) -> None:
        self.nova.is_admin = False
        servers = self.active(*self.names(20), freeze_seconds=3)
        self.assert_no_error(self.freeze(servers))
        self.assertEqual({'GET /os-quiesce'}, set(self.nova.gets()))

    def test_a_server_of_another_project_is_looked_at_by_itself(
        self,
    ) -> None:
        self.nova.is_admin = False
        servers = self.active('mine', 'too', freeze_seconds=3)
        servers += self.active('foreign', freeze_seconds=3, foreign=True)
        self.assert_no_error(self.freeze(servers))
        self.assertIn('GET foreign', self.nova.log)
        self.assertNotIn('GET mine', self.nova.log)

    def test_a_thaw_in_another_project_is_not_taken_for_done(self) -> None:
        for is_admin in (False, True):
            with self.subTest(is_admin=is_admin):
                self.nova.is_admin = is_admin
                if is_admin:  # of which one nova-api knows nothing
                    self.answer(
                        'GET /os-quiesce', 403,
                        '{"forbidden": {"message": "No"}}',
                    )
                servers = self.frozen(
                    'a', 'b', foreign=True, thaw_seconds=9
                )
                outcomes = self.thaw(servers)
                self.assert_no_error(outcomes)
                self.assertEqual(
                    {'active'}, {server.vm_state for server in servers}
                )
                for outcome in outcomes.values():
                    self.assertGreaterEqual(outcome.seconds, 9)

    def test_where_no_listing_is_allowed_each_is_looked_at(self) -> None:
        self.answer(
            'GET /os-quiesce', 403, '{"forbidden": {"message": "No"}}',
            times=1000,
        )
        servers = self.active('a', 'b')
        self.assert_no_error(self.freeze(servers))
        self.assert_no_error(self.thaw(servers))
        self.assertEqual({'active'}, {s.vm_state for s in servers})
        self.assertLess(len(self.nova.gets()), 50)

    def test_where_no_listing_comes_through_each_is_looked_at(self) -> None:
        self.answer('GET /os-quiesce', 504, '', times=1000)
        servers = self.active('a', 'b')
        started = self.nova.now
        self.assert_no_error(self.freeze(servers))
        self.assert_no_error(self.thaw(servers))
        self.assertEqual({'active'}, {s.vm_state for s in servers})
        self.assertLess(self.nova.now - started, 40)

    def test_an_unforeseen_error_of_the_listing_holds_up_no_thaw(self) -> None:
        servers = self.active('a', 'b')
        with mock.patch.object(
                api.QuiesceAPI, 'freezes', side_effect=ValueError('plugin')):
            self.assert_no_error(self.freeze(servers))
            self.assert_no_error(self.thaw(servers))
        self.assertEqual({'active'}, {s.vm_state for s in servers})

    def test_trouble_with_the_listing_is_outlasted(self) -> None:
        trouble: list[Callable[[], None]] = [
            lambda: self.drop('GET /os-quiesce', times=2),
            lambda: self.answer('GET /os-quiesce', 200, '<html>', times=2),
            lambda: self.answer('GET /os-quiesce', 504, '', times=2),
        ]
        for begin in trouble:
            with self.subTest(begin):
                begin()
                servers = self.active('a', 'b')
                started = self.nova.now
                self.assert_no_error(self.freeze(servers))
                self.assert_no_error(self.thaw(servers))
                self.assertLess(self.nova.now - started, 5)

    def test_one_refusal_of_a_page_changes_no_outcome(self) -> None:
        self.nova.page = 1
        servers = self.active('a', 'b', 'c', freeze_seconds=3)
        self.answer(
            'GET /os-quiesce', 400,
            '{"badRequest": {"message": "marker not found"}}',
        )
        self.assert_no_error(self.freeze(servers))

    def test_each_server_has_its_own_outcome(self) -> None:
        [good] = self.active('good')
        [bad] = self.active('bad', freeze_to=('active', 'Error', 'no agent'))
        [broken] = self.active('broken', freeze_to=('error', 'Error', 'died'))
        [gone] = self.active('gone', freeze_seconds=9)

        def delete() -> None:
            gone.vm_state, gone.freeze = 'deleted', None

        self.nova.at(2, delete)
        outcomes = self.freeze([good, bad, broken, gone])
        self.assertEqual(['good', 'bad', 'broken', 'gone'], list(outcomes))
        self.assertIsNone(outcomes['good'].error)
        self.assertIsInstance(outcomes['bad'].error, errors.NotSupported)
        self.assertIsInstance(outcomes['broken'].error, errors.Failed)
        self.assertIsInstance(outcomes['gone'].error, errors.ServerGone)
        self.assertLess(outcomes['good'].seconds, 1)
