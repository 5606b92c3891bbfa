# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable
import json
from typing import Any
import unittest
from unittest import mock

from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import session as ksa_session
from keystoneauth1 import token_endpoint
import requests_mock

from osc_quiesce import client
from osc_quiesce import exceptions
from osc_quiesce import states
from osc_quiesce.tests.unit import fakes
from osc_quiesce import threads
from osc_quiesce import transport


class TestQuiesce(fakes.TestCase):
    def test_an_accepted_request_returns_novas_request_id(self) -> None:
        web = self.nova.add('web')
        self.assertEqual(
            self.client.quiesce(web.id), web.actions[0] and _id(web)
        )
        self.assertEqual(self.nova.log, ['POST web quiesce'])

    def test_a_conflict_carries_novas_own_words_and_is_final(self) -> None:
        web = self.nova.add('web', vm_state='stopped')
        with self.assertRaisesRegex(
            exceptions.Conflict, f'{web.id}.*vm_state stopped'
        ):
            self.client.quiesce(web.id)
        self.assertEqual(self.nova.log, ['POST web quiesce'])

    def test_an_unknown_server_is_not_found(self) -> None:
        with self.assertRaises(exceptions.ServerNotFound):
            self.client.quiesce('7c9a4f2e-0000-0000-0000-000000000000')

    def test_a_refusal_by_policy_says_who_may(self) -> None:
        web = self.nova.add('web')
        self.answer('POST web quiesce', 403, _fault('Policy says no'))
        with self.assertRaisesRegex(
            exceptions.Forbidden, 'Policy says no.*administrators'
        ):
            self.client.quiesce(web.id)

    def test_a_caller_who_is_not_known_is_told_of_credentials(self) -> None:
        web = self.nova.add('web')
        self.answer('POST web quiesce', 401, _fault('Please authenticate'))
        with self.assertRaisesRegex(
            exceptions.Unauthorized, 'Please authenticate.*credentials'
        ):
            self.client.quiesce(web.id)

    def test_a_cloud_without_the_api_is_told_so(self) -> None:
        web = self.nova.add('web')
        self.answer(
            'POST web quiesce', 400, _fault('There is no such action: quiesce')
        )
        with self.assertRaisesRegex(
            exceptions.NotInstalled, 'nova_quiesce is not installed'
        ):
            self.client.quiesce(web.id)

    def test_no_live_service_is_a_refusal_and_not_repeated(self) -> None:
        web = self.nova.add('web')
        self.answer('POST web quiesce', 503, _fault('No nova-quiesce is up'))
        with self.assertRaisesRegex(
            exceptions.ServiceUnavailable, 'No nova-quiesce is up'
        ):
            self.client.quiesce(web.id)
        self.assertEqual(self.nova.log, ['POST web quiesce'])

    def test_it_comes_back_when_it_is_asked_to(self) -> None:
        web = self.nova.add('web')
        self.answer('POST web quiesce', 503, '', times=2, Retry_After='2')
        self.assertEqual(self.client.quiesce(web.id), _id(web))
        self.assertEqual(self.nova.posts(), ['POST web quiesce'] * 3)

    def test_a_lost_answer_is_found_in_the_instance_actions(self) -> None:
        web = self.nova.add('web')
        self.drop('POST web quiesce', heard=True)
        self.assertEqual(self.client.quiesce(web.id), _id(web))
        self.assertEqual(self.nova.posts(), ['POST web quiesce'])

    def test_a_lost_request_is_never_repeated(self) -> None:
        web = self.nova.add('web')
        self.drop('POST web quiesce')
        with self.assertRaisesRegex(
            exceptions.RequestLost, 'no answer came.*may still arrive'
        ):
            self.client.quiesce(web.id)
        self.assertEqual(self.nova.posts(), ['POST web quiesce'])
        self.assertLessEqual(self.nova.now, client.TRACE_PATIENCE)

    def test_a_gateway_timeout_counts_as_a_lost_answer(self) -> None:
        web = self.nova.add('web')
        self.answer('POST web quiesce', 504, '<html>')
        with self.assertRaises(exceptions.RequestLost):
            self.client.quiesce(web.id)
        self.assertEqual(self.nova.posts(), ['POST web quiesce'])

    def test_so_does_what_a_proxy_answers(self) -> None:
        web = self.nova.add('web')
        for status, text in ((404, '<html>'), (200, '<html>log in</html>')):
            with self.subTest(status):
                self.answer('POST web quiesce', status, text)
                with self.assertRaises(exceptions.RequestLost):
                    self.client.quiesce(web.id)

    def test_keystones_refusal_names_the_server(self) -> None:
        web = self.nova.add('web')
        with mock.patch.object(
            self.client._adapter,
            'request',
            side_effect=ksa_exceptions.Unauthorized('Who are you?'),
        ):
            for ask in (self.client.quiesce, self.client.unquiesce):
                with self.assertRaisesRegex(
                    exceptions.Unauthorized,
                    f'Server {web.id} could not be asked: Who are you',
                ):
                    ask(web.id)
            outcome = self.client.thaw({web.id: None})[web.id]
        self.assertIn(web.id, str(outcome.error))

    def test_an_older_action_is_not_taken_for_a_lost_request(self) -> None:
        web = self.nova.add('web')
        self.client.quiesce(web.id)
        self.nova.sleep(60)
        self.drop('POST web quiesce')
        with self.assertRaises(exceptions.RequestLost):
            self.client.quiesce(web.id)


class TestSession(unittest.TestCase):
    def test_no_request_waits_for_ever(self) -> None:
        # Nor one that renews the token, which has only the session's.
        session = ksa_session.Session()
        ours = client.Client(session=session)._adapter.session
        self.assertEqual(transport.REQUEST_TIMEOUT, ours.timeout)
        self.assertIs(session.session, ours.session)
        self.assertIsNone(session.timeout)

    def test_a_timeout_that_was_chosen_stays(self) -> None:
        session = ksa_session.Session(timeout=5)
        self.assertIs(
            session, client.Client(session=session)._adapter.session)

    def test_what_may_pass_is_no_refusal(self) -> None:
        for trouble in (
            OSError('Could not find a suitable TLS CA certificate bundle'),
            ksa_exceptions.InvalidResponse(response=mock.Mock(text='<html>')),
        ):
            adapter = mock.Mock()
            adapter.request.side_effect = trouble
            with self.assertRaises(exceptions.Unreachable):
                transport.send(adapter, 'GET', '/', None)


class TestUnquiesce(fakes.TestCase):
    def test_what_a_proxy_answers_is_no_acceptance(self) -> None:
        web = self.nova.add('web', vm_state='quiesced')
        self.answer('POST web unquiesce', 200, '<html>log in</html>', times=2)
        self.assertEqual(self.client.unquiesce(web.id), _id(web))
        self.assertEqual(self.nova.posts(), ['POST web unquiesce'] * 3)

    def test_a_lost_thaw_is_repeated_until_it_is_answered(self) -> None:
        web = self.nova.add('web', vm_state='quiesced')
        self.drop('POST web unquiesce', times=3)
        self.assertEqual(self.client.unquiesce(web.id), _id(web))
        self.assertEqual(self.nova.posts(), ['POST web unquiesce'] * 4)

    def test_a_thaw_whose_answer_was_lost_is_done_once(self) -> None:
        web = self.nova.add('web', vm_state='quiesced')
        self.drop('POST web unquiesce', heard=True)
        self.assertEqual(self.client.unquiesce(web.id), _id(web))
        self.assertEqual(len(web.actions), 1)

    def test_an_overloaded_api_is_asked_again_when_it_says(self) -> None:
        web = self.nova.add('web', vm_state='quiesced')
        self.answer('POST web unquiesce', 429, '', Retry_After='7')
        self.client.unquiesce(web.id)
        self.assertEqual(self.nova.sleeps, [7])

    def test_a_server_that_is_not_quiesced_is_a_conflict(self) -> None:
        web = self.nova.add('web')
        with self.assertRaises(exceptions.Conflict):
            self.client.unquiesce(web.id)
        self.assertEqual(self.nova.log, ['POST web unquiesce'])

    def test_patience_is_bounded(self) -> None:
        web = self.nova.add('web', vm_state='quiesced')
        self.drop('POST web unquiesce', times=1000)
        with self.assertRaises(exceptions.Unreachable):
            self.client.unquiesce(web.id)
        self.assertLessEqual(self.nova.now, client.PATIENCE)


class TestUnquiesceAfter(fakes.TestCase):
    def bodies(self) -> list[Any]:
        seen: list[Any] = []
        self.nova.hooks.append(
            lambda request, context: (
                seen.append(request.json())
                if request.method == 'POST'
                else None
            )
        )
        return seen

    def test_it_is_sent_and_the_deadline_is_told(self) -> None:
        web = self.nova.add('web', freeze_seconds=0)
        bodies = self.bodies()
        request_id = self.client.quiesce(web.id, unquiesce_after=90)
        outcome = self.client.wait_for_quiesced(web.id, request_id)
        self.assertEqual([{'quiesce': {'unquiesce_after': 90}}], bodies)
        assert outcome.unquiesce_at
        self.assertEqual(
            '2026-01-01T00:01:30Z', client.time_text(outcome.unquiesce_at)
        )

    def test_without_it_nothing_is(self) -> None:
        web = self.nova.add('web', freeze_seconds=0)
        bodies = self.bodies()
        request_id = self.client.quiesce(web.id)
        outcome = self.client.wait_for_quiesced(web.id, request_id)
        self.assertEqual([{'quiesce': None}], bodies)
        self.assertIsNone(outcome.unquiesce_at)

    def test_anything_but_whole_seconds_is_a_mistake(self) -> None:
        web = self.nova.add('web')
        values: list[Any] = [0, -1, 1.5, '60', True]
        for value in values:
            with self.subTest(value=value), self.assertRaises(ValueError):
                self.client.quiesce(web.id, unquiesce_after=value)
        self.assertEqual([], self.nova.log)

    def test_a_deadline_that_has_passed_is_told(self) -> None:
        web = self.nova.add('web', freeze_seconds=0)
        request_id = self.client.quiesce(web.id, unquiesce_after=5)
        self.nova.sleep(1)
        self.nova.sleep(5)
        with self.assertRaisesRegex(
            exceptions.Superseded, 'thawed at 2026-01-01T00:00:06Z'
        ):
            self.client.wait_for_quiesced(web.id, request_id)


class TestOddAnswers(fakes.TestCase):
    """Valid JSON that Nova would not answer: of a proxy, for example."""

    def test_they_are_errors_in_words(self) -> None:
        web = self.nova.add('web')
        for text in ('{}', '{"server": null}', '{"server": {"name": "x"}}'):
            with self.subTest(text=text):
                self.answer('GET web', 200, text)
                with self.assertRaisesRegex(
                    exceptions.Unreachable, 'not one of Nova'
                ):
                    self.client.get_server(web.id)

    def test_also_in_a_listing(self) -> None:
        for text in ('{}', '{"servers": [{}]}', '{"servers": ["x"]}'):
            with self.subTest(text=text):
                self.answer('GET detail', 200, text)
                with self.assertRaisesRegex(
                    exceptions.Unreachable, 'not one of Nova'
                ):
                    self.client.find_server('web', patience=0)

    def test_while_waiting_they_are_outlasted(self) -> None:
        web = self.nova.add('web')
        request_id = self.client.quiesce(web.id)
        self.answer('GET web', 200, '{"server": {}}')
        self.answer(
            f'GET web/os-instance-actions/{request_id}',
            200,
            '{"instanceAction": {"events": [{"result": "Success"}]}}',
        )
        outcome = self.client.wait_for_quiesced(web.id, request_id)
        self.assertIsNone(outcome.error)

    def test_while_tracing_a_request_they_are_outlasted(self) -> None:
        web = self.nova.add('web')
        self.drop('POST web quiesce', heard=True)
        self.answer(
            'GET web/os-instance-actions', 200, '{"instanceActions": [{}]}'
        )
        self.assertEqual(self.client.quiesce(web.id), _id(web))


class TestWaitForQuiesced(fakes.TestCase):
    def wait(self, server: fakes.FakeServer, timeout: float = 60) -> Any:
        request_id = self.client.quiesce(server.id)
        self.nova.log.clear()
        return self.client.wait_for_quiesced(server.id, request_id, timeout)

    def test_first_look_soon_then_back_off(self) -> None:
        web = self.nova.add('web', freeze_seconds=20)
        self.wait(web)
        self.assertEqual(self.nova.sleeps[:2], [client.FIRST_PAUSE] * 2)
        self.assertEqual(self.nova.sleeps, sorted(self.nova.sleeps))
        self.assertEqual(max(self.nova.sleeps), client.LONGEST_PAUSE)

    def test_no_request_more_than_needed(self) -> None:
        web = self.nova.add('web', freeze_seconds=client.FIRST_PAUSE)
        outcome = self.wait(web)
        self.assertEqual(
            self.nova.log,
            ['GET web', f'GET web/os-instance-actions/{_id(web)}'],
        )
        self.assertAlmostEqual(outcome.seconds, client.FIRST_PAUSE)
        self.assertEqual(outcome.server.status, 'QUIESCED')

    def test_back_to_active_with_an_action_error_is_not_supported(
        self,
    ) -> None:
        web = self.nova.add(
            'web', freeze_to=('active', 'Error', 'QEMU guest agent is off')
        )
        with self.assertRaisesRegex(
            exceptions.NotSupported,
            r'Server web \(.*\) cannot be quiesced: QEMU guest agent is off\. '
            'It was last seen with vm_state active',
        ):
            self.wait(web)

    def test_without_the_details_the_message_is_still_sensible(self) -> None:
        web = self.nova.add('web', freeze_to=('active', 'Error', None))
        with self.assertRaisesRegex(
            exceptions.NotSupported, 'Nova gives the caller no reason'
        ):
            self.wait(web)

    def test_a_server_in_error_failed_with_novas_fault(self) -> None:
        web = self.nova.add(
            'web', freeze_to=('error', None, None), fault='agent timed out'
        )
        with self.assertRaisesRegex(exceptions.Failed, 'agent timed out'):
            self.wait(web)

    def test_the_state_may_come_before_the_action_ends(self) -> None:
        web = self.nova.add('web', freeze_to=('quiesced', None, None))
        self.nova.at(1, lambda: _end(web, 'Success'))
        self.assertIsNone(self.wait(web).error)

    def test_active_before_the_action_ends_waits_for_the_reason(self) -> None:
        web = self.nova.add('web', freeze_to=('active', None, None))
        self.nova.at(1, lambda: _end(web, 'Error', 'no agent'))
        with self.assertRaisesRegex(exceptions.NotSupported, 'no agent'):
            self.wait(web)

    def test_an_action_that_never_ends_is_not_waited_for_for_long(
        self,
    ) -> None:
        web = self.nova.add('web', freeze_to=('quiesced', None, None))
        self.assertLess(self.wait(web).seconds, 10)
        db = self.nova.add('db', freeze_to=('active', None, None))
        with self.assertRaisesRegex(exceptions.NotSupported, 'tells no why'):
            self.wait(db)

    def test_thawed_by_somebody_else_is_superseded(self) -> None:
        web = self.nova.add('web', freeze_to=('active', 'Success', None))
        with self.assertRaisesRegex(
            exceptions.Superseded, 'thawed again by somebody else'
        ):
            self.wait(web)

    def test_frozen_by_somebody_else_is_superseded(self) -> None:
        web = self.nova.add('web', freeze_to=('quiesced', 'Error', None))
        with self.assertRaises(exceptions.Superseded):
            self.wait(web)

    def test_an_interrupted_request_is_reported_when_it_was_thawed(
        self,
    ) -> None:
        web = self.nova.add('web', freeze_seconds=100)
        self.client.quiesce(web.id)

        def interrupt() -> None:
            web.vm_state, web.task_state = 'error', 'unquiescing'

        def thaw() -> None:
            web.task_state = None
            _end(web, 'Error', 'nova-quiesce died')

        self.nova.at(1, interrupt)
        self.nova.at(5, thaw)
        with self.assertRaisesRegex(exceptions.Failed, 'nova-quiesce died'):
            self.client.wait_for_quiesced(web.id, _id(web))
        self.assertGreaterEqual(self.nova.now, 5)

    def test_a_deleted_server_is_gone(self) -> None:
        web = self.nova.add('web', freeze_seconds=9)
        self.nova.at(2, lambda: self.nova.servers.clear())
        with self.assertRaisesRegex(exceptions.ServerGone, r'web \(.*deleted'):
            self.wait(web)

    def test_a_timeout_says_the_state_and_the_request(self) -> None:
        web = self.nova.add('web', freeze_seconds=100)
        with self.assertRaisesRegex(
            exceptions.TimedOut, 'within 10 s.*task_state quiescing.*req-'
        ):
            self.wait(web, timeout=10)
        self.assertAlmostEqual(self.nova.now, 10, delta=0.2)

    def test_lost_connections_and_5xx_are_survived(self) -> None:
        web = self.nova.add('web')
        self.drop('GET web', times=2)
        self.answer('GET web', 503, '')
        self.answer('GET web', 200, '<html>')
        self.assertIsNone(self.wait(web).error)

    def test_retry_after_is_honoured(self) -> None:
        web = self.nova.add('web')
        self.answer('GET web', 429, '', Retry_After='9')
        self.wait(web)
        self.assertIn(9, self.nova.sleeps)

    def test_retry_after_may_be_a_date(self) -> None:
        web = self.nova.add('web')
        self.answer(
            'GET web', 503, '', Retry_After='Thu, 01 Jan 2026 00:00:08 GMT'
        )
        self.wait(web)
        self.assertIn(8, self.nova.sleeps)

    def test_an_api_that_never_comes_back_times_out(self) -> None:
        web = self.nova.add('web')
        self.drop('GET web', times=1000)
        with self.assertRaisesRegex(
            exceptions.TimedOut, 'within 60 s.*connection reset'
        ):
            self.wait(web)


class TestWaitForMany(fakes.TestCase):
    def ask(self, count: int, **kwargs: Any) -> dict[str, str | None]:
        for number in range(count):
            self.nova.add(f'web{number}', vm_state='quiesced', **kwargs)
        asked = {id_: self.client.unquiesce(id_) for id_ in self.nova.servers}
        self.nova.log.clear()
        return asked

    def spread(self, count: int) -> dict[str, str | None]:
        """Ask servers to quiesce of which each takes another time."""
        asked = {}
        for number in range(count):
            seconds = 20 * (number + 1) / count
            server = self.nova.add(f'db{number}', freeze_seconds=seconds)
            asked[server.id] = self.client.quiesce(server.id)
        self.nova.log.clear()
        self.nova.sleeps.clear()
        return asked

    def assert_no_error(self, outcomes: dict[str, client.Outcome]) -> None:
        self.assertFalse([o for o in outcomes.values() if o.error])

    def test_one_listing_serves_many_servers(self) -> None:
        requests = self.ask(50, thaw_seconds=5)
        outcomes = self.client.wait_for(requests, states.ACTIVE)
        self.assertEqual(list(outcomes), list(requests))
        self.assert_no_error(outcomes)
        # Of those under way, and once of those that were.
        self.assertEqual(
            self.nova.log, ['GET detail'] * (len(self.nova.sleeps) + 1)
        )

    def test_requests_grow_with_time_and_not_with_servers(self) -> None:
        for number in (10, 100):
            requests = self.spread(number)
            outcomes = self.client.wait_for(
                requests, states.QUIESCED, ours=False
            )
            self.assert_no_error(outcomes)
            # Look by look, of those under way, and of those that were.
            self.assertLessEqual(
                len(self.nova.log), 2 * len(self.nova.sleeps)
            )
            self.assertLess(len(self.nova.sleeps), 25)

    def test_but_one_for_each_sees_whose_request_froze_it(self) -> None:
        requests = self.spread(10)
        self.client.wait_for(requests, states.QUIESCED)
        self.assertEqual(
            len([line for line in self.nova.log if 'actions' in line]), 10
        )

    def test_who_may_not_list_all_projects_lists_their_own(self) -> None:
        self.nova.is_admin = False
        requests = self.ask(50, thaw_seconds=5)
        self.assert_no_error(self.client.wait_for(requests, states.ACTIVE))
        # The first one, of all projects, was refused.
        self.assertEqual(
            self.nova.log, ['GET detail'] * (len(self.nova.sleeps) + 1)
        )

    def test_what_is_in_no_listing_is_looked_at(self) -> None:
        self.nova.is_admin = False
        requests = self.ask(3, foreign=True)
        self.assert_no_error(self.client.wait_for(requests, states.ACTIVE))
        for name in ('web0', 'web1', 'web2'):
            self.assertIn(f'GET {name}', self.nova.log)

    def test_where_clocks_differ_each_is_looked_at(self) -> None:
        self.nova.clocks_differ = -60
        outcomes = self.client.wait_for(self.ask(3), states.ACTIVE)
        self.assert_no_error(outcomes)
        self.assertLess(self.nova.now, 1)

    def test_another_client_can_wait_as_well(self) -> None:
        requests = self.spread(10)
        other = self.new_client()
        self.assert_no_error(
            other.wait_for(requests, states.QUIESCED, ours=False)
        )
        self.assertLessEqual(len(self.nova.log), 2 * len(self.nova.sleeps))

    def test_where_no_listing_comes_each_is_looked_at_now_and_then(
        self,
    ) -> None:
        requests = self.ask(3, thaw_seconds=5)
        self.drop('GET detail', times=1000)
        outcomes = self.client.wait_for(requests, states.ACTIVE)
        self.assertFalse([o for o in outcomes.values() if o.error])
        self.assertLess(self.nova.now, 15)

    def test_a_slow_look_at_one_does_not_make_another_look_slow(
        self,
    ) -> None:
        requests = self.ask(2)
        self.nova.clocks_differ = -60  # so that each is looked at
        fast, slow = requests

        def get_server(server_id: str) -> client.Server:
            server = look(server_id)
            self.nova.now += 10 if server_id == slow else 0
            return server

        def in_turn(do: Callable[[str], Any], ids: list[str]) -> list[Any]:
            return [do(id_) for id_ in ids]

        look = self.client.get_server
        self.nova.now += 5  # both are thawed
        with (
            mock.patch.object(self.client, 'get_server', get_server),
            mock.patch.object(threads, 'at_once', in_turn),
        ):
            outcomes = self.client.wait_for(requests, states.ACTIVE)
        self.assertLess(outcomes[fast].seconds, 10)
        self.assertGreater(outcomes[slow].seconds, 10)

    def test_each_server_has_its_own_outcome(self) -> None:
        requests = self.ask(3)
        gone, failed, fine = self.nova.servers.values()
        self.nova.at(0.1, lambda: self.nova.servers.__delitem__(gone.id))
        failed.vm_state = 'error'
        failed.task_state = None
        failed.fault = 'thaw failed'
        failed.thaw_to = ('error', 'Error', None)
        outcomes = self.client.wait_for(requests, states.ACTIVE)
        self.assertIsInstance(outcomes[gone.id].error, exceptions.ServerGone)
        self.assertRegex(str(outcomes[failed.id].error), 'thaw failed')
        self.assertIsNone(outcomes[fine.id].error)

    def test_a_deleted_one_is_listed_and_gone(self) -> None:
        requests = self.ask(3)
        gone = next(iter(self.nova.servers.values()))

        def delete() -> None:
            gone.vm_state, gone.task_state = 'deleted', None

        self.nova.at(0.1, delete)
        outcomes = self.client.wait_for(requests, states.ACTIVE)
        self.assertIsInstance(outcomes[gone.id].error, exceptions.ServerGone)
        self.assertNotIn('vm_state deleted', str(outcomes[gone.id].error))
        self.assertEqual(
            len([o for o in outcomes.values() if not o.error]), 2
        )


class TestWaitForUnquiesced(fakes.TestCase):
    def wait(self, server: fakes.FakeServer) -> Any:
        request_id = self.client.unquiesce(server.id)
        self.nova.log.clear()
        return self.client.wait_for_unquiesced(server.id, request_id)

    def test_active_is_thawed_and_needs_no_second_request(self) -> None:
        web = self.nova.add(
            'web', vm_state='quiesced', thaw_seconds=client.FIRST_PAUSE
        )
        self.wait(web)
        self.assertEqual(self.nova.log, ['GET web'])

    def test_still_quiesced_after_an_action_error_has_failed(self) -> None:
        web = self.nova.add(
            'web', vm_state='quiesced', thaw_to=('quiesced', 'Error', 'why')
        )
        with self.assertRaisesRegex(exceptions.Failed, 'why'):
            self.wait(web)

    def test_quiesced_again_by_somebody_else_is_superseded(self) -> None:
        web = self.nova.add(
            'web', vm_state='quiesced', thaw_to=('quiesced', 'Success', None)
        )
        with self.assertRaises(exceptions.Superseded):
            self.wait(web)


class TestThaw(fakes.TestCase):
    def frozen_again(self) -> tuple[fakes.FakeServer, str | None]:
        """Return a server that somebody else froze, and our own request."""
        web = self.nova.add('web')
        first = self.client.quiesce(web.id)
        self.nova.sleep(1)
        self.client.unquiesce(web.id)
        self.nova.sleep(1)
        self.client.quiesce(web.id)
        self.nova.sleep(1)
        return web, first

    def test_a_freeze_under_way_is_awaited_and_thawed(self) -> None:
        web = self.nova.add('web', freeze_seconds=10)
        request_id = self.client.quiesce(web.id)
        outcome = self.client.thaw({web.id: request_id})[web.id]
        self.assertIsNone(outcome.error)
        self.assertEqual(web.vm_state, 'active')

    def test_one_that_was_seen_quiesced_is_asked_without_a_look(self) -> None:
        web = self.nova.add('web')
        request_id = self.client.quiesce(web.id)
        self.client.wait_for_quiesced(web.id, request_id)
        self.nova.log.clear()
        outcome = self.client.thaw({web.id: request_id}, quiesced=[web.id])[
            web.id
        ]
        self.assertIsNone(outcome.error)
        self.assertEqual(
            self.nova.log[:2],
            ['GET web/os-instance-actions', 'POST web unquiesce'],
        )

    def test_unless_somebody_else_froze_it_since(self) -> None:
        web, first = self.frozen_again()
        outcome = self.client.thaw({web.id: first}, quiesced=[web.id])[web.id]
        self.assertIsInstance(outcome.error, exceptions.Superseded)
        self.assertEqual(web.vm_state, 'quiesced')

    def test_a_thaw_depends_on_no_listing(self) -> None:
        requests = {}
        for name in ('web', 'db'):
            server = self.nova.add(name)
            requests[server.id] = self.client.quiesce(server.id)
        self.nova.sleep(5)
        self.drop('GET detail', times=1000)
        # One of them is seen, and cannot be asked at first.
        self.answer('POST db unquiesce', 409, '{}', times=2)
        started = self.nova.now
        outcomes = self.client.thaw(requests, quiesced=list(requests))
        self.assertFalse([o for o in outcomes.values() if o.error])
        self.assertLess(self.nova.now - started, 5)

    def test_nor_on_who_has_quiesced_it(self) -> None:
        web = self.nova.add('web')
        request_id = self.client.quiesce(web.id)
        self.nova.sleep(5)
        self.answer('GET web/os-instance-actions', 500, '{}', times=1000)
        outcome = self.client.thaw({web.id: request_id}, quiesced=[web.id])[
            web.id
        ]
        self.assertIsNone(outcome.error)
        self.assertEqual(web.vm_state, 'active')

    def test_trouble_with_one_server_does_not_hold_up_another(self) -> None:
        slow = self.nova.add('slow', freeze_seconds=50)
        self.client.quiesce(slow.id)
        web = self.nova.add('web', vm_state='quiesced')
        self.drop('GET slow', times=5)
        thawed_at: list[float] = []

        def hook(request: Any, context: Any) -> None:
            if self.nova.log[-1] == 'POST web unquiesce':
                thawed_at.append(self.nova.now)

        self.nova.hooks.append(hook)
        outcomes = self.client.thaw({slow.id: None, web.id: None})
        self.assertEqual(thawed_at, [0])
        self.assertFalse([o for o in outcomes.values() if o.error])
        self.assertEqual(slow.vm_state, 'active')

    def test_what_somebody_else_froze_since_is_left_alone(self) -> None:
        web, first = self.frozen_again()
        outcome = self.client.thaw({web.id: first})[web.id]
        self.assertIsInstance(outcome.error, exceptions.Superseded)
        self.assertEqual(web.vm_state, 'quiesced')

    def lose(self, server: fakes.FakeServer, heard: bool = False) -> None:
        """Send a request to quiesce that is not answered, and not found."""
        line = 'GET %s/os-instance-actions' % server.name
        self.drop('POST %s quiesce' % server.name, heard=heard)
        self.answer(line, 403, '{}', times=1 if heard else 0)
        # One try to find it; all of them would take until it is too old.
        with mock.patch.object(client, 'TRACE_PATIENCE', 0):
            with self.assertRaises(exceptions.RequestLost):
                self.client.quiesce(server.id)

    def frozen_before(self, seconds: float) -> fakes.FakeServer:
        """Return a server of which others know why it is quiesced."""
        web = self.nova.add('web', freeze_seconds=0)
        self.client.get_server(web.id)  # tells the time of the API
        self.new_client().quiesce(web.id)
        self.nova.sleep(seconds)
        return web

    def test_what_was_frozen_before_a_lost_request_is_left_alone(
        self,
    ) -> None:
        web = self.frozen_before(60)
        self.lose(web)
        outcome = self.client.thaw({web.id: None})[web.id]
        with self.assertRaisesRegex(
            exceptions.Superseded,
            r'web \(.*\) was quiesced by somebody else before .*left so.*'
            'vm_state quiesced',
        ):
            assert outcome.error
            raise outcome.error
        self.assertEqual('quiesced', web.vm_state)
        self.assertNotIn('POST web unquiesce', self.nova.log)

    def test_but_not_if_our_lost_request_arrives_at_last(self) -> None:
        web = self.frozen_before(60)
        self.lose(web)
        late = self.new_client()
        soon = self.nova.now
        self.nova.at(soon + 2, lambda: late.unquiesce(web.id))
        self.nova.at(soon + 3, lambda: late.quiesce(web.id))
        self.assertIsNone(self.client.thaw({web.id: None})[web.id].error)
        self.assertEqual(4, len(web.actions))
        self.assertEqual('active', web.vm_state)

    def thawed_at_once(self, web: fakes.FakeServer) -> None:
        asked_at: list[float] = []

        def hook(request: Any, context: Any) -> None:
            if self.nova.log[-1] == 'POST web unquiesce':
                asked_at.append(self.nova.now)

        self.nova.hooks.append(hook)
        started = self.nova.now
        self.assertIsNone(self.client.thaw({web.id: None})[web.id].error)
        self.assertEqual('active', web.vm_state)
        self.assertLess(asked_at[0] - started, 1)

    def test_what_may_be_our_lost_request_is_thawed(self) -> None:
        web = self.frozen_before(client.CLOCKS_DIFFER - 1)
        self.lose(web)
        self.thawed_at_once(web)

    def test_also_if_its_controllers_clock_is_behind(self) -> None:
        web = self.nova.add('web')
        self.client.get_server(web.id)
        self.nova.sleep(60)
        self.lose(web, heard=True)
        web.actions[-1]['start_time'] = '2026-01-01T00:00:56'
        self.nova.sleep(20)
        self.thawed_at_once(web)

    def test_also_if_a_later_one_was_lost_as_well(self) -> None:
        web = self.nova.add('web')
        self.client.get_server(web.id)
        self.lose(web, heard=True)
        self.nova.sleep(60)
        self.lose(web)
        self.thawed_at_once(web)

    def test_also_if_an_earlier_one_was_answered(self) -> None:
        web = self.nova.add('web')
        self.client.quiesce(web.id)
        self.nova.sleep(60)
        self.lose(web)
        self.thawed_at_once(web)

    def test_also_if_the_time_of_the_api_is_not_known(self) -> None:
        def untimed(request: Any, context: Any) -> None:
            context.headers.update(date)

        for text in '', 'soon':
            date = {'Date': text}
            self.nova.hooks.append(untimed)
            web = self.frozen_before(60)
            self.lose(web)
            self.thawed_at_once(web)
            self.nova.hooks.clear()

    def test_also_if_its_actions_are_not_shown(self) -> None:
        web = self.frozen_before(60)
        self.lose(web)
        for status in 403, 500:
            self.answer('GET web/os-instance-actions', status, '{}', times=9)
        self.thawed_at_once(web)

    def test_an_old_loss_is_none_of_a_later_thaw(self) -> None:
        web = self.nova.add('web')
        self.client.get_server(web.id)
        self.lose(web)
        self.assertIsNone(self.client.thaw({web.id: None})[web.id].error)
        self.new_client().quiesce(web.id)
        self.nova.sleep(60)
        self.lose(web)
        self.assertIsInstance(
            self.client.thaw({web.id: None})[web.id].error,
            exceptions.Superseded,
        )

    def error_after(self, seconds: float, text: str, **kwargs: Any) -> Any:
        """Thaw a server that is quiesced, and return what was wrong.

        :param seconds: from one recorded action to the next
        :param text: a letter for each action that Nova has recorded, in the
            order of their times: O is our request to quiesce, Q that of
            somebody else, U a thaw; o, q and u are requests that failed
        """
        web = self.nova.add('web', freeze_seconds=0, **kwargs)
        request_id = self.client.quiesce(web.id)
        self.nova.sleep(1)
        [ours] = web.actions
        web.actions = [
            {
                **ours,
                'action': 'unquiesce' if letter in 'Uu' else 'quiesce',
                'request_id': (
                    request_id if letter in 'Oo' else f'req-{number}'
                ),
                'message': 'Error' if letter.islower() else None,
                'start_time': f'2026-01-01T00:00:{number * seconds:09.6f}',
            }
            for number, letter in enumerate(text)
        ]
        return self.client.thaw({web.id: request_id})[web.id].error

    def test_what_clocks_that_differ_may_explain_is_thawed(self) -> None:
        for seconds, text in (
            (1, 'OQU'),
            (1, 'OQ'),
            (1, 'OUQU'),
            (1, 'OQUQU'),
            (1, 'OQUQ'),
            (1, 'OqU'),
            (1, 'QUO'),
            (1, 'Oq'),
            (2, 'OQUu'),
        ):
            with self.subTest(text, seconds=seconds):
                self.assertIsNone(self.error_after(seconds, text))

    def test_what_they_do_not_explain_is_left_alone(self) -> None:
        for seconds, text in (
            (1, 'OUQ'),
            (1, 'OUUQ'),
            (1, 'OUQUQ'),
            (1, 'OUqQ'),
            (1, 'oQ'),
            (1, 'oQU'),
            (1, 'Qo'),
            (3, 'OQU'),
            (6, 'OQ'),
            (1, 'UQ'),
        ):
            with self.subTest(text, seconds=seconds):
                self.assertIsInstance(
                    self.error_after(seconds, text), exceptions.Superseded
                )

    def test_what_is_quiesced_after_our_thaw_is_not_thawed_again(self) -> None:
        error = self.error_after(
            1, 'OQ', thaw_to=('quiesced', 'Success', None)
        )
        self.assertIsInstance(error, exceptions.Superseded)
        self.assertEqual(['POST web unquiesce'], self.nova.posts()[1:])

    def test_a_server_that_is_gone_is_no_error(self) -> None:
        outcomes = self.client.thaw({'gone': None})
        self.assertIsNone(outcomes['gone'].error)

    def test_lost_connections_and_refusals_are_outlasted(self) -> None:
        web = self.nova.add('web', vm_state='quiesced')
        self.drop('GET web', times=3)
        self.drop('POST web unquiesce', times=3)
        self.answer('POST web unquiesce', 503, '', times=3)
        self.assertIsNone(self.client.thaw({web.id: None})[web.id].error)
        self.assertEqual(web.vm_state, 'active')


class TestFindServer(fakes.TestCase):
    def test_an_id_is_found_with_one_request(self) -> None:
        web = self.nova.add('web')
        self.assertEqual(self.client.find_server(web.id).name, 'web')
        self.assertEqual(self.nova.log, ['GET web'])

    def test_a_name_must_match_exactly(self) -> None:
        self.nova.add('web1')
        odd = self.nova.add('web[1].x')
        self.assertEqual(self.client.find_server('web[1].x').id, odd.id)
        with self.assertRaisesRegex(exceptions.ServerNotFound, '"web"'):
            self.client.find_server('web')

    def test_a_name_that_two_servers_have_is_ambiguous(self) -> None:
        ids = [self.nova.add('web').id for _ in range(2)]
        with self.assertRaisesRegex(exceptions.AmbiguousName, ids[1]):
            self.client.find_server('web')

    def test_a_name_that_looks_like_an_id_is_found(self) -> None:
        name = '7c9a4f2e-0000-0000-0000-000000000000'
        web = self.nova.add(name)
        self.assertEqual(self.client.find_server(name).id, web.id)

    def test_a_name_is_never_part_of_the_path(self) -> None:
        web = self.nova.add('detail')
        self.assertEqual(self.client.find_server('detail').id, web.id)

    def test_the_listing_is_read_to_its_end(self) -> None:
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
        with self.assertRaisesRegex(exceptions.AmbiguousName, web.id):
            self.client.find_server('web')


class TestAdapter(fakes.TestCase):
    def test_each_request_states_its_own_microversion(self) -> None:
        web = self.nova.add('web', freeze_seconds=0)
        seen: list[tuple[str, str]] = []
        self.nova.hooks.append(
            lambda request, context: seen.append(
                (request.method, request.headers['OpenStack-API-Version'])
            )
        )
        self.client._adapter.default_microversion = '2.99'
        self.client.wait_for_quiesced(web.id, self.client.quiesce(web.id))
        self.assertEqual(
            seen,
            [
                ('POST', 'compute 2.1'),
                ('GET', 'compute 2.1'),
                ('GET', 'compute 2.84'),
            ],
        )

    def test_every_request_has_a_timeout(self) -> None:
        web = self.nova.add('web')
        seen: list[float] = []
        self.nova.hooks.append(
            lambda request, context: seen.append(request.timeout)
        )
        self.client.get_server(web.id)
        self.assertEqual(seen, [transport.REQUEST_TIMEOUT])

    def test_a_session_or_an_adapter_is_needed(self) -> None:
        with self.assertRaises(TypeError):
            client.Client()

    def test_a_versioned_endpoint_needs_no_discovery(self) -> None:
        with requests_mock.Mocker() as mock:
            mock.get(
                'http://other.example/v2.1/servers/x',
                json={'server': {'id': 'x', 'name': 'n', 'status': 'ACTIVE'}},
            )
            session = ksa_session.Session(
                token_endpoint.Token('http://other.example/v2.1', 'a-token')
            )
            client.Client(session=session).get_server('x')
            self.assertEqual(mock.call_count, 1)


def _id(server: fakes.FakeServer) -> str:
    return str(server.actions[-1]['request_id'])


def _end(
    server: fakes.FakeServer, result: str, details: str | None = None
) -> None:
    server.actions[-1]['events'][0].update(result=result, details=details)


def _fault(message: str) -> str:
    return json.dumps({'badRequest': {'message': message}})
