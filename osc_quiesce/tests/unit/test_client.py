# SPDX-License-Identifier: Apache-2.0

"""The library: quiesce and unquiesce servers, and wait for it."""

from __future__ import annotations

import json
from typing import Any
import unittest

from keystoneauth1 import adapter as ksa_adapter
from keystoneauth1 import session as ksa_session
from keystoneauth1 import token_endpoint
import requests
import requests_mock

from osc_quiesce import client as quiesce_client
from osc_quiesce import errors
from osc_quiesce import model
from osc_quiesce import retry
from osc_quiesce.tests.unit import fakes
from osc_quiesce import verbs

#: how Envoy says that a connection was reset after a request was sent
ENVOY = 'upstream connect error or disconnect/reset before headers'


class TestQuiesce(fakes.TestCase):
    def bodies(self) -> list[Any]:
        """Return the bodies of the requests that will be sent."""
        seen: list[Any] = []
        self.nova.hooks.append(
            lambda request, context: (
                seen.append(request.json())
                if request.method == 'POST'
                else None
            )
        )
        return seen

    def test_an_accepted_request_returns_its_id(self) -> None:
        web = self.nova.add('web')
        request_id = self.client.quiesce(web.id)
        self.assertRegex(request_id, '^req-[0-9a-f-]{36}$')
        self.assertEqual([request_id], ids(web))
        self.assertEqual(['POST web quiesce'], self.nova.log)

    def test_a_caller_may_choose_the_id(self) -> None:
        web = self.nova.add('web')
        chosen = model.new_request_id()
        self.assertEqual(
            chosen, self.client.quiesce(web.id, request_id=chosen)
        )
        self.assertEqual([chosen], ids(web))

    def test_a_lost_answer_is_asked_for_again_and_freezes_once(self) -> None:
        for trouble in ('lost', 'Envoy', 'a proxy'):
            for heard in (False, True):
                with self.subTest(trouble, heard=heard):
                    web = self.nova.add('web')
                    self.nova.hooks.clear()
                    bodies = self.bodies()
                    self.lose(trouble, heard)
                    request_id = self.client.quiesce(web.id)
                    self.assertEqual(
                        [{'quiesce': {'request_id': request_id}}] * 2, bodies
                    )
                    self.assertEqual([request_id], ids(web))
                    self.client.wait_for_quiesced(web.id, request_id)
                    del self.nova.servers[web.id]

    def lose(self, trouble: str, heard: bool) -> None:
        """Have the next request to quiesce come to no usable answer."""
        line = 'POST web quiesce'
        if trouble == 'lost':
            self.drop(line, heard=heard)
        elif trouble == 'Envoy':
            self.answer(line, 503, ENVOY, heard=heard)
        else:
            self.answer(line, 200, '<html>log in</html>', heard=heard)

    def test_an_answer_that_never_comes_may_be_a_freeze(self) -> None:
        web = self.nova.add('web')
        self.drop('POST web quiesce', times=1000, heard=True)
        with self.assertRaisesRegex(
            errors.Unreachable, 'no usable answer.*connection reset'
        ) as caught:
            self.client.quiesce(web.id)
        self.assertLessEqual(self.nova.now, retry.PATIENCE + 3)
        self.assertEqual([caught.exception.request_id], ids(web))

    def test_a_refusal_after_a_lost_answer_does_not_undo_it(self) -> None:
        web = self.nova.add('web')
        self.drop('POST web quiesce', heard=True)
        self.answer('POST web quiesce', 401, fault('unauthorized', 'Who?'))
        with self.assertRaisesRegex(errors.Unreachable, 'Who?') as caught:
            self.client.quiesce(web.id)
        self.assertEqual([caught.exception.request_id], ids(web))

    def test_the_request_of_another_command_is_never_taken_for_ours(
        self,
    ) -> None:
        web = self.nova.add('web')
        other = self.new_client()
        theirs: list[str] = []

        def hook(request: Any, context: Any) -> None:
            if not theirs:
                theirs.append(model.new_request_id())
                other.api.quiesce(model.Server(web.id), theirs[0])
                raise requests.ConnectionError('connection refused')

        self.nova.hooks.append(hook)
        with self.assertRaises(errors.QuiesceError) as caught:
            self.client.quiesce(web.id)
        ours = str(caught.exception.request_id)
        self.nova.sleep(1)
        self.client.unquiesce(web.id, ours)
        self.assertEqual(theirs, ids(web))
        self.assertEqual('quiesced', web.vm_state)

    def test_a_conflict_is_final_and_in_novas_words(self) -> None:
        web = self.nova.add('web', vm_state='stopped')
        with self.assertRaisesRegex(
            errors.Conflict, f'{web.id}.*vm_state stopped'
        ):
            self.client.quiesce(web.id)
        self.assertEqual(['POST web quiesce'], self.nova.log)

    def test_an_error_names_the_server_that_was_found(self) -> None:
        self.nova.add('web', vm_state='stopped')
        with self.assertRaisesRegex(errors.Conflict, r'Server web \('):
            self.client.quiesce(self.client.find_server('web'))

    def test_an_unknown_server_is_not_found(self) -> None:
        with self.assertRaises(errors.ServerNotFound):
            self.client.quiesce('7c9a4f2e-0000-0000-0000-000000000000')

    def test_no_live_service_is_final(self) -> None:
        web = self.nova.add('web')
        self.answer(
            'POST web quiesce', 503,
            fault('serviceUnavailable', 'No nova-quiesce is up'),
        )
        with self.assertRaisesRegex(
            errors.ServiceUnavailable, 'No nova-quiesce is up'
        ):
            self.client.quiesce(web.id)
        self.assertEqual(['POST web quiesce'], self.nova.log)

    def test_it_comes_back_when_it_is_asked_to(self) -> None:
        web = self.nova.add('web')
        self.answer(
            'POST web quiesce', 503, fault('serviceUnavailable', 'Later'),
            times=2, Retry_After='2',
        )
        self.assertEqual([self.client.quiesce(web.id)], ids(web))
        self.assertGreaterEqual(self.nova.now, 4)

    def test_a_deadline_is_sent_and_told(self) -> None:
        web = self.nova.add('web', freeze_seconds=0)
        bodies = self.bodies()
        request_id = self.client.quiesce(web.id, unquiesce_after=90)
        outcome = self.client.wait_for_quiesced(web.id, request_id)
        self.assertEqual(90, bodies[0]['quiesce']['unquiesce_after'])
        self.assertRegex(
            str(outcome.unquiesce_at), r'^2026-01-01T00:01:3\dZ$'
        )

    def test_without_a_deadline_none_is_told(self) -> None:
        web = self.nova.add('web', freeze_seconds=0)
        outcome = self.client.wait_for_quiesced(
            web.id, self.client.quiesce(web.id)
        )
        self.assertIsNone(outcome.unquiesce_at)

    def test_a_deadline_is_a_whole_number_of_seconds(self) -> None:
        web = self.nova.add('web')
        values: list[Any] = [0, -1, 1.5, '60', True]
        for value in values:
            with self.subTest(value=value), self.assertRaises(ValueError):
                self.client.quiesce(web.id, unquiesce_after=value)
        self.assertEqual([], self.nova.log)


class TestUnquiesce(fakes.TestCase):
    def test_whatever_request_has_frozen_it(self) -> None:
        web = self.nova.add('web', vm_state='quiesced')
        request_id = self.client.unquiesce(web.id).request_id
        self.assertEqual([request_id], ids(web))
        self.nova.sleep(1)
        self.assertEqual('active', web.vm_state)

    def test_only_what_one_request_has_frozen(self) -> None:
        web = self.nova.add('web')
        request_id = self.client.quiesce(web.id)
        self.nova.sleep(1)
        other = self.client.unquiesce(web.id, model.new_request_id())
        self.assertEqual('withdrawn', other.state)
        self.assertEqual('quiesced', web.vm_state)
        self.assertIsNone(self.client.unquiesce(web.id, request_id).state)
        self.nova.sleep(1)
        self.assertEqual('active', web.vm_state)

    def test_a_lost_thaw_is_repeated_until_it_is_answered(self) -> None:
        for heard in (False, True):
            for request_id in (None, model.new_request_id()):
                with self.subTest(heard=heard, request_id=request_id):
                    web = self.nova.add(
                        'web', vm_state='quiesced', freeze=request_id
                    )
                    self.nova.hooks.clear()
                    self.drop('POST web unquiesce', times=3, heard=heard)
                    self.client.unquiesce(web.id, request_id)
                    self.assertEqual(1, len(web.actions))
                    self.nova.sleep(1)
                    self.assertEqual('active', web.vm_state)

    def test_what_a_proxy_answers_is_no_acceptance(self) -> None:
        web = self.nova.add('web', vm_state='quiesced')
        self.answer('POST web unquiesce', 200, '<html>log in</html>', times=2)
        request_id = self.client.unquiesce(web.id).request_id
        self.assertEqual([request_id], ids(web))

    def test_an_overloaded_api_is_asked_again_when_it_says(self) -> None:
        web = self.nova.add('web', vm_state='quiesced')
        self.answer(
            'POST web unquiesce', 429, fault('overLimit', 'Slowly'),
            Retry_After='3',
        )
        self.client.unquiesce(web.id)
        self.assertEqual(1, len(web.actions))
        self.assertGreaterEqual(self.nova.now, 3)

    def test_a_server_that_is_active_already_is_no_error(self) -> None:
        # Its deadline may have been faster.
        web = self.nova.add('web')
        self.assertIsNone(self.client.unquiesce(web.id).request_id)
        self.assertEqual([], web.actions)

    def test_one_that_was_reset_is_not_thawed_before_its_row_goes(
        self,
    ) -> None:
        for after, is_thawed in ((7, True), (retry.PATIENCE + 7, False)):
            with self.subTest(after):
                web = self.nova.add('web', freeze='req-of-somebody')

                def thaw(web: fakes.FakeServer = web) -> None:
                    web.freeze = None

                started = self.nova.now
                self.nova.at(started + after, thaw)
                if is_thawed:
                    self.client.unquiesce(web.id)
                    self.assertGreaterEqual(self.nova.now, started + after)
                else:
                    with self.assertRaisesRegex(
                        errors.StillThawing, 'web.*may still be frozen'
                    ):
                        self.client.unquiesce(web.id)

    def test_a_server_in_another_state_is_a_conflict(self) -> None:
        web = self.nova.add('web', vm_state='stopped')
        with self.assertRaisesRegex(errors.Conflict, 'vm_state stopped'):
            self.client.unquiesce(web.id)

    def test_patience_is_bounded(self) -> None:
        for request_id in (None, model.new_request_id()):
            with self.subTest(request_id=request_id):
                web = self.nova.add('web', vm_state='quiesced')
                self.drop('POST web unquiesce', times=1000)
                started = self.nova.now
                with self.assertRaises(errors.Unreachable):
                    self.client.unquiesce(web.id, request_id)
                self.assertLessEqual(
                    self.nova.now - started, retry.PATIENCE + 3
                )


class TestWaitForQuiesced(fakes.TestCase):
    def wait(
        self, server: fakes.FakeServer, timeout: float = 60
    ) -> verbs.Job:
        request_id = self.client.quiesce(server.id)
        return self.client.wait_for_quiesced(server.id, request_id, timeout)

    def test_it_returns_when_the_server_is_quiesced(self) -> None:
        web = self.nova.add('web', freeze_seconds=2)
        outcome = self.wait(web)
        self.assertEqual('QUIESCED', outcome.server.status)
        self.assertEqual(ids(web), [outcome.action_id])
        self.assertAlmostEqual(2, outcome.seconds, delta=1)

    def test_a_guest_that_cannot_tells_why(self) -> None:
        web = self.nova.add(
            'web', freeze_to=('active', 'Error', 'QEMU guest agent is off')
        )
        with self.assertRaisesRegex(
            errors.NotSupported, 'QEMU guest agent is off'
        ):
            self.wait(web)

    def test_a_server_in_error_failed_with_novas_fault(self) -> None:
        web = self.nova.add(
            'web', freeze_to=('error', None, None), fault='agent timed out'
        )
        with self.assertRaisesRegex(errors.Failed, 'agent timed out'):
            self.wait(web)

    def test_the_result_may_come_after_the_state(self) -> None:
        web = self.nova.add('web', freeze_to=('active', None, None))
        self.nova.at(1, lambda: end(web, 'Error', 'no agent'))
        with self.assertRaisesRegex(errors.NotSupported, 'no agent'):
            self.wait(web)

    def test_a_result_that_never_comes_is_not_waited_for_for_long(
        self,
    ) -> None:
        web = self.nova.add('web', freeze_to=('quiesced', None, None))
        self.assertLess(self.wait(web).seconds, 10)

    def test_a_freeze_that_is_undone_is_told_when_it_is(self) -> None:
        web = self.nova.add('web', freeze_seconds=100)
        request_id = self.client.quiesce(web.id)

        def interrupt() -> None:
            web.vm_state, web.task_state = 'error', 'unquiescing'

        def thaw() -> None:
            web.task_state = None
            end(web, 'Error', 'nova-quiesce died')

        self.nova.at(1, interrupt)
        self.nova.at(5, thaw)
        with self.assertRaisesRegex(errors.Failed, 'nova-quiesce died'):
            self.client.wait_for_quiesced(web.id, request_id)
        self.assertGreaterEqual(self.nova.now, 5)

    def test_a_deadline_that_has_passed_is_told(self) -> None:
        web = self.nova.add('web', freeze_seconds=0)
        request_id = self.client.quiesce(web.id, unquiesce_after=5)
        self.nova.sleep(1)
        self.nova.sleep(5)
        with self.assertRaisesRegex(
            errors.NoLongerQuiesced,
            r'its deadline was 2026-01-01T00:00:0\dZ',
        ):
            self.client.wait_for_quiesced(web.id, request_id)

    def test_a_timeout_tells_the_state_and_the_request(self) -> None:
        web = self.nova.add('web', freeze_seconds=100)
        with self.assertRaisesRegex(
            errors.TimedOut, 'within 10 s.*task_state quiescing.*req-'
        ):
            self.wait(web, timeout=10)

    def test_what_sleep_raises_ends_it(self) -> None:
        web = self.nova.add('web', freeze_seconds=100)
        request_id = self.client.quiesce(web.id)

        def interrupted(seconds: float) -> None:
            raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            self.client.with_sleep(interrupted).wait_for_quiesced(
                web.id, request_id
            )
        self.nova.sleep(100)
        self.client.wait_for_quiesced(web.id, request_id)


class TestWaitForUnquiesced(fakes.TestCase):
    def wait(self, server: fakes.FakeServer) -> verbs.Job:
        request_id = self.client.unquiesce(server.id).request_id
        return self.client.wait_for_unquiesced(server.id, request_id)

    def test_it_returns_when_the_server_is_active(self) -> None:
        web = self.nova.add('web', vm_state='quiesced', thaw_seconds=2)
        outcome = self.wait(web)
        self.assertEqual('ACTIVE', outcome.server.status)
        self.assertAlmostEqual(2, outcome.seconds, delta=1)

    def test_one_read_from_before_the_freeze_is_not_believed(self) -> None:
        web = self.nova.add(
            'web', vm_state='quiesced', thaw_seconds=2,
            thaw_to=('quiesced', 'Error', 'no agent'),
        )
        before = fakes.view(fakes.FakeServer('web', web.id))
        self.answer('GET web', 200, json.dumps({'server': before}))
        with self.assertRaisesRegex(errors.Failed, 'no agent'):
            self.wait(web)

    def test_still_quiesced_after_a_failure_has_failed(self) -> None:
        web = self.nova.add(
            'web', vm_state='quiesced', thaw_to=('quiesced', 'Error', 'why')
        )
        with self.assertRaisesRegex(errors.Failed, 'why'):
            self.wait(web)

    def test_a_deleted_server_is_gone(self) -> None:
        web = self.nova.add('web', vm_state='quiesced', thaw_seconds=9)
        self.nova.at(2, self.nova.servers.clear)
        with self.assertRaises(errors.ServerGone):
            self.wait(web)


class TestRun(fakes.TestCase):
    def test_all_are_frozen_by_one_request(self) -> None:
        servers = [self.nova.add(name) for name in ('web', 'db')]
        request_id = model.new_request_id()
        jobs = [verbs.Job(model.Server(s.id), request_id) for s in servers]
        self.client.run(verbs.Freezing({servers[0].id: 60}), [jobs], 60)
        for server, job in zip(servers, jobs):
            self.assertTrue(job.is_done)
            self.assertEqual([request_id], ids(server))
            self.assertEqual('quiesced', server.vm_state)
        self.assertIsNotNone(jobs[0].unquiesce_at)
        self.assertIsNone(jobs[1].unquiesce_at)

    def test_none_is_frozen_after_the_first_error(self) -> None:
        bad = self.nova.add('bad', freeze_to=('active', 'Error', 'no agent'))
        slow = self.nova.add('slow', freeze_seconds=50)
        request_id = model.new_request_id()
        jobs = [
            verbs.Job(model.Server(server.id), request_id)
            for server in (bad, slow)
        ]
        self.client.run(verbs.Freezing(), [jobs], 60)
        self.assertRegex(str(jobs[0].error), 'no agent')
        self.assertIsNone(jobs[1].ended)
        self.client.unquiesce(slow.id, request_id)
        self.nova.sleep(100)
        self.assertEqual('active', slow.vm_state)


class TestThaw(fakes.TestCase):
    def frozen(self, *names: str, **kwargs: Any) -> list[fakes.FakeServer]:
        """Return servers that one request has frozen."""
        self.request_id = model.new_request_id()
        servers = [self.nova.add(name, **kwargs) for name in names]
        for server in servers:
            self.client.quiesce(server.id, request_id=self.request_id)
        self.nova.sleep(1)
        self.nova.log.clear()
        return servers

    def thaw(
        self, *servers: fakes.FakeServer, timeout: float = 120
    ) -> list[verbs.Job]:
        jobs = [
            verbs.Job(model.Server(server.id), self.request_id)
            for server in servers
        ]
        self.client.run(verbs.Thawing(), [jobs], timeout)
        return jobs

    def test_what_the_request_has_frozen_is_thawed_at_once(self) -> None:
        [web] = self.frozen('web')
        [outcome] = self.thaw(web)
        self.assertIsNone(outcome.error)
        self.assertIsNone(outcome.doubt)
        self.assertEqual(ids(web)[-1], outcome.action_id)
        self.assertEqual('active', web.vm_state)
        self.assertEqual('POST web unquiesce', self.nova.log[0])

    def test_a_freeze_under_way_is_given_up(self) -> None:
        [web] = self.frozen('web', freeze_seconds=10)
        [outcome] = self.thaw(web)
        self.assertIsNone(outcome.error)
        self.assertEqual('active', web.vm_state)
        self.nova.sleep(100)
        self.assertEqual('active', web.vm_state)

    def test_a_request_that_never_arrived_is_withdrawn(self) -> None:
        web = self.nova.add('web')
        self.request_id = model.new_request_id()
        [outcome] = self.thaw(web)
        self.assertIsNone(outcome.error)
        with self.assertRaises(errors.Conflict):
            self.client.quiesce(web.id, request_id=self.request_id)
        self.assertEqual('active', web.vm_state)

    def test_what_another_request_has_frozen_is_left_alone(self) -> None:
        [web] = self.frozen('web')
        self.client.unquiesce(web.id)
        self.nova.sleep(1)
        self.client.quiesce(web.id)
        self.nova.sleep(1)
        [outcome] = self.thaw(web)
        self.assertIsNone(outcome.error)
        self.assertEqual('The request is ended', outcome.doubt)
        self.assertEqual('quiesced', web.vm_state)

    def test_what_its_deadline_thaws_is_awaited_and_doubted(self) -> None:
        [web] = self.frozen('web', thaw_seconds=9)
        self.client.unquiesce(web.id)
        [outcome] = self.thaw(web)
        self.assertIsNone(outcome.error)
        self.assertEqual('The guest is being thawed', outcome.doubt)
        self.assertGreater(outcome.seconds, 5)
        self.assertEqual('active', web.vm_state)

    def test_a_server_that_is_gone_is_no_error(self) -> None:
        [web] = self.frozen('web')
        self.nova.servers.clear()
        [outcome] = self.thaw(web)
        self.assertIsNone(outcome.error)
        self.assertEqual('it was deleted', outcome.doubt)

    def test_a_server_that_goes_meanwhile_is_no_error(self) -> None:
        for is_listed in (True, False):
            with self.subTest(is_listed=is_listed):
                [web] = self.frozen('web', thaw_seconds=9)
                if not is_listed:
                    self.answer(
                        'GET /os-quiesce', 403, fault('forbidden', 'No'),
                        times=1000,
                    )
                self.nova.at(self.nova.now + 2, self.nova.servers.clear)
                [outcome] = self.thaw(web)
                self.assertIsNone(outcome.error)

    def test_a_404_of_another_service_is_not_gone(self) -> None:
        [web] = self.frozen('web')
        self.answer(
            'POST web unquiesce', 404,
            '{"error": {"code": 404, "message": "Could not find it"}}',
        )
        [outcome] = self.thaw(web)
        self.assertIsNone(outcome.error)
        self.assertEqual('active', web.vm_state)

    def test_one_refusal_of_one_nova_api_does_not_end_it(self) -> None:
        for status, key, message in (
            (400, 'badRequest', 'There is no such action: unquiesce'),
            (400, 'badRequest', 'Odd'),
            (401, 'unauthorized', 'Who are you?'),
            (403, 'forbidden', 'Policy says no'),
            (406, 'notAcceptable', 'No such version'),
            (409, 'conflictingRequest', 'Instance is locked'),
            (500, 'computeFault', 'Oh'),
            (503, 'serviceUnavailable', 'No nova-quiesce is up'),
        ):
            for line in ('POST web unquiesce', 'GET /os-quiesce', 'GET web'):
                with self.subTest(status, line=line):
                    [web] = self.frozen('web', thaw_seconds=1)
                    self.nova.hooks.clear()
                    if line == 'GET web':  # is not needed otherwise
                        self.answer(
                            'GET /os-quiesce', 403, fault('forbidden', 'No'),
                            times=1000,
                        )
                    self.answer(line, status, fault(key, message))
                    [outcome] = self.thaw(web)
                    self.assertIsNone(outcome.error)
                    self.assertLess(outcome.seconds, 20)
                    self.assertEqual('active', web.vm_state)
                    self.assertEqual(
                        1, [a['action'] for a in web.actions].count(
                            'unquiesce')
                    )

    def test_refusals_that_last_are_told_when_the_time_is_up(self) -> None:
        [web] = self.frozen('web')
        self.answer(
            'POST web unquiesce', 409,
            fault('conflictingRequest', 'Instance is locked'), times=1000,
        )
        [outcome] = self.thaw(web, timeout=20)
        self.assertIsInstance(outcome.error, errors.TimedOut)
        self.assertRegex(str(outcome.error), 'Instance is locked')
        self.assertLess(len(self.nova.posts()), 100)

    def test_lost_connections_are_outlasted(self) -> None:
        [web] = self.frozen('web')
        self.drop('POST web unquiesce', times=3)
        self.drop('POST web unquiesce', heard=True)
        self.drop('GET /os-quiesce', times=3)
        [outcome] = self.thaw(web)
        self.assertIsNone(outcome.error)
        self.assertEqual('active', web.vm_state)

    def test_a_thaw_that_failed_is_final(self) -> None:
        [web] = self.frozen('web', thaw_to=('error', 'Error', 'no agent'))
        [outcome] = self.thaw(web)
        self.assertIsInstance(outcome.error, errors.Failed)
        self.assertRegex(str(outcome.error), 'no agent')
        self.assertLess(outcome.seconds, 10)

    def test_a_retry_after_of_one_delays_no_other(self) -> None:
        a, b = self.frozen('a', 'b')
        self.answer(
            'POST a unquiesce', 503, fault('serviceUnavailable', 'Later'),
            Retry_After='100',
        )
        outcomes = self.thaw(a, b)
        self.assertLess(outcomes[1].seconds, 2)
        self.assertLess(outcomes[0].seconds, 2 * retry.LONGEST_DEFERRAL)


class TestUnquiesceAll(fakes.TestCase):
    def test_all_are_thawed_in_order(self) -> None:
        names = ['web', 'db', 'lb']
        servers = [self.nova.add(n, vm_state='quiesced') for n in names]
        outcomes = self.client.unquiesce_all(server.id for server in servers)
        self.assertEqual({'active'}, {s.vm_state for s in servers})
        self.assertEqual([s.id for s in servers], list(outcomes))
        self.assertEqual(
            [f'POST {name} unquiesce' for name in names], self.nova.posts()
        )

    def test_a_server_that_is_given_twice_is_thawed_once(self) -> None:
        web = self.nova.add('web', vm_state='quiesced')
        db = self.nova.add('db', vm_state='quiesced')
        outcomes = self.client.unquiesce_all(
            [web.id, db.id, web.id.upper(), model.Server(web.id, 'web')])
        self.assertEqual([web.id, db.id], list(outcomes))
        self.assertEqual([None] * 2, [o.error for o in outcomes.values()])
        self.assertEqual(
            ['POST web unquiesce', 'POST db unquiesce'], self.nova.posts())

    def test_without_waiting_all_are_asked(self) -> None:
        servers = [
            self.nova.add(name, vm_state='quiesced', thaw_seconds=60)
            for name in ('web', 'db')
        ]
        self.client.unquiesce_all([s.id for s in servers], wait=False)
        self.assertEqual({'unquiescing'}, {s.task_state for s in servers})
        self.assertLess(self.nova.now, 5)

    def test_one_that_fails_does_not_stop_the_others(self) -> None:
        odd = self.nova.add('odd', vm_state='stopped')
        failed = self.nova.add(
            'failed', vm_state='quiesced', thaw_to=('error', 'Error', 'why')
        )
        fine = self.nova.add('fine', vm_state='quiesced')
        gone = fakes.FakeServer('gone')
        outcomes = self.client.unquiesce_all(
            [odd.id, failed.id, gone.id, fine.id]
        )
        self.assertIsInstance(outcomes[odd.id].error, errors.Conflict)
        self.assertIsInstance(outcomes[failed.id].error, errors.Failed)
        self.assertIsInstance(
            outcomes[gone.id].error, errors.ServerNotFound
        )
        self.assertIsNone(outcomes[fine.id].error)


class TestDoubts(fakes.TestCase):
    def doubt_of(self, result: str | None, details: str | None) -> str | None:
        """Return what is doubted of a thaw that has ended like this."""
        found = self.nova.add(
            'web', vm_state='quiesced', thaw_to=('active', result, details)
        )
        web = model.Server(found.id, 'web')
        request_id = self.client.unquiesce(web).request_id
        self.nova.sleep(1)
        return self.client.doubt(verbs.Job(web, action_id=request_id))

    def test_a_thaw_that_succeeded_is_not_doubted(self) -> None:
        self.assertIsNone(self.doubt_of('Success', None))

    def test_what_the_guest_says_of_its_freeze_is_told(self) -> None:
        self.assertEqual(
            'it was not frozen any more',
            self.doubt_of('Error', 'it was not frozen any more'),
        )

    def test_a_result_that_is_not_shown_is_a_doubt(self) -> None:
        for result in ('Error', None):
            with self.subTest(result):
                self.assertRegex(
                    str(self.doubt_of(result, None)), 'does not show'
                )

    def test_trouble_is_outlasted(self) -> None:
        self.nova.hooks.append(self.once_lost())
        self.assertIsNone(self.doubt_of('Success', None))

    def test_trouble_that_lasts_is_a_doubt(self) -> None:
        self.nova.hooks.append(self.once_lost(1000))
        self.assertRegex(
            str(self.doubt_of('Success', None)), 'connection reset'
        )

    def once_lost(self, times: int = 1) -> Any:
        left = [times]

        def hook(request: Any, context: Any) -> None:
            if 'os-instance-actions' in request.url and left[0]:
                left[0] -= 1
                raise requests.ConnectionError('connection reset')

        return hook


class TestFindServer(fakes.TestCase):
    def test_an_id_is_found_with_one_request(self) -> None:
        web = self.nova.add('web')
        self.assertEqual('web', self.client.find_server(web.id).name)
        self.assertEqual(['GET web'], self.nova.log)

    def test_a_name_must_match_exactly(self) -> None:
        self.nova.add('web1')
        odd = self.nova.add('web[1].x')
        self.assertEqual(odd.id, self.client.find_server('web[1].x').id)
        with self.assertRaisesRegex(errors.ServerNotFound, '"web"'):
            self.client.find_server('web')

    def test_a_name_that_two_servers_have_is_ambiguous(self) -> None:
        ids = [self.nova.add('web').id for _ in range(2)]
        with self.assertRaisesRegex(errors.AmbiguousName, ids[1]):
            self.client.find_server('web')

    def test_a_name_that_looks_like_an_id_is_found(self) -> None:
        name = '7c9a4f2e-0000-0000-0000-000000000000'
        web = self.nova.add(name)
        self.assertEqual(web.id, self.client.find_server(name).id)

    def test_a_name_is_never_part_of_the_path(self) -> None:
        web = self.nova.add('detail')
        self.assertEqual(web.id, self.client.find_server('detail').id)

    def test_a_name_of_another_project_is_found_if_that_is_asked_for(
        self,
    ) -> None:
        web = self.nova.add('web', foreign=True)
        with self.assertRaises(errors.ServerNotFound):
            self.client.find_server('web')
        self.assertEqual(
            web.id, self.client.find_server('web', all_projects=True).id
        )

    def test_a_second_one_on_a_later_page_is_ambiguous(self) -> None:
        web = self.nova.add('web')
        self.answer(
            'GET detail',
            200,
            json.dumps(
                {
                    'servers': [{'id': 'x', 'name': 'web'}],
                    'servers_links': [{'rel': 'next', 'href': '...'}],
                }
            ),
        )
        with self.assertRaisesRegex(errors.AmbiguousName, web.id):
            self.client.find_server('web')

    def test_trouble_is_outlasted_for_a_while(self) -> None:
        web = self.nova.add('web')
        self.drop('GET detail', times=2)
        self.answer('GET detail', 200, '{"servers": [{}]}')
        self.assertEqual(web.id, self.client.find_server('web').id)
        self.drop('GET detail', times=1000)
        with self.assertRaises(errors.Unreachable):
            self.client.find_server('web')
        self.assertLess(self.nova.now, 2 * retry.READ_PATIENCE)


class TestFreezes(fakes.TestCase):
    def test_trouble_is_outlasted(self) -> None:
        web = self.nova.add('web', vm_state='quiesced', freeze='req-x')
        self.drop('GET /os-quiesce', times=2)
        [freeze] = self.client.freezes()
        self.assertEqual(web.id, freeze.server_id)

    def test_a_cloud_without_the_api_is_told_at_once(self) -> None:
        self.answer(
            'GET /os-quiesce', 404, '{"title": "Not Found"}', times=1000
        )
        with self.assertRaises(errors.NotInstalled):
            self.client.freezes()
        self.assertEqual(0, self.nova.now)


class TestAdapter(unittest.TestCase):
    URL = 'http://other.example/v2.1'

    def setUp(self) -> None:
        super().setUp()
        self.mock = requests_mock.Mocker()
        self.mock.start()
        self.addCleanup(self.mock.stop)
        self.mock.get(
            f'{self.URL}/servers/x',
            json={'server': {'id': 'x', 'name': 'n', 'status': 'ACTIVE'}},
        )
        self.session = ksa_session.Session(
            token_endpoint.Token(self.URL, 'a-token')
        )

    def test_a_session_or_an_adapter_is_needed(self) -> None:
        with self.assertRaises(TypeError):
            quiesce_client.Client()

    def test_a_versioned_endpoint_needs_no_discovery(self) -> None:
        quiesce_client.Client(session=self.session).get_server('x')
        self.assertEqual(1, self.mock.call_count)

    def test_a_version_may_be_chosen(self) -> None:
        choices: list[dict[str, Any]] = [
            {'version': '2.1'},
            {'min_version': '2.1'},
            {'max_version': '2.latest'},
        ]
        for chosen in choices:
            with self.subTest(chosen):
                quiesce_client.Client(
                    session=self.session, **chosen
                ).get_server('x')

    def test_an_adapter_may_be_given(self) -> None:
        adapter = ksa_adapter.Adapter(
            self.session, endpoint_override=self.URL
        )
        client = quiesce_client.Client(adapter=adapter)
        self.assertEqual('n', client.get_server('x').name)

    def test_no_request_waits_for_ever(self) -> None:
        for timeout, expected in ((None, 30), (5, 5)):
            self.session.timeout = timeout
            quiesce_client.Client(session=self.session).get_server('x')
            self.assertEqual(expected, self.mock.last_request.timeout)
            self.assertEqual(timeout, self.session.timeout)


def ids(server: fakes.FakeServer) -> list[str]:
    """Return the ids of the requests that Nova has accepted."""
    return [str(action['request_id']) for action in server.actions]


def end(
    server: fakes.FakeServer, result: str, details: str | None = None
) -> None:
    server.actions[-1]['events'][0].update(result=result, details=details)


def fault(key: str, message: str) -> str:
    """Return the body with which Nova says that something is wrong."""
    return json.dumps({key: {'message': message}})
