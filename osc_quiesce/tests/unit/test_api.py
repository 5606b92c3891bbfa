# SPDX-License-Identifier: Apache-2.0

"""Each request of the API, and what its answers mean."""

from __future__ import annotations

import json
from typing import Any

from keystoneauth1 import adapter as ksa_adapter
from keystoneauth1 import session as ksa_session
from keystoneauth1 import token_endpoint

from osc_quiesce import api as quiesce_api
from osc_quiesce import errors
from osc_quiesce import http
from osc_quiesce import model
from osc_quiesce.tests import contract
from osc_quiesce.tests.unit import fakes


class ApiTest(fakes.TestCase):

    def setUp(self) -> None:
        super().setUp()
        self.session = ksa_session.Session(
            token_endpoint.Token(fakes.ENDPOINT, 'a-token')
        )
        self.adapter = ksa_adapter.Adapter(
            self.session,
            service_type='compute',
            endpoint_override=fakes.ENDPOINT,
        )
        self.api = quiesce_api.QuiesceAPI(self.adapter)
        self.web = self.nova.add('web')
        self.server = model.Server(self.web.id, 'web')
        self.request_id = model.new_request_id()
        self.requests: list[Any] = []
        self.nova.hooks.append(
            lambda request, context: self.requests.append(request)
        )

    def freeze(self) -> None:
        self.api.quiesce(self.server, self.request_id)
        self.nova.sleep(1)
        self.assertEqual('quiesced', self.web.vm_state)


class TestRequests(ApiTest):

    def test_each_states_its_own_microversion(self) -> None:
        self.adapter.default_microversion = '2.99'
        self.api.quiesce(self.server, self.request_id)
        self.api.server(self.server)
        self.api.freezes()
        self.api.result(self.server, self.request_id)
        self.assertEqual(
            ['compute 2.1', 'compute 2.1', 'compute 2.1', 'compute 2.84'],
            [
                request.headers['OpenStack-API-Version']
                for request in self.requests
            ],
        )

    def time_out_of(self, api: quiesce_api.QuiesceAPI) -> float:
        api.server(self.server)
        return float(self.requests[-1].timeout)

    def test_none_waits_for_ever(self) -> None:
        self.assertEqual(http.REQUEST_TIMEOUT, self.time_out_of(self.api))

    def test_the_time_out_is_that_of_the_session(self) -> None:
        self.session.timeout = 5.0
        self.assertEqual(
            5, self.time_out_of(quiesce_api.QuiesceAPI(self.adapter))
        )

    def test_a_shorter_time_out_may_be_set_for_some(self) -> None:
        self.assertEqual(3, self.time_out_of(self.api.within(3)))
        self.assertEqual(
            http.REQUEST_TIMEOUT, self.time_out_of(self.api.within(300))
        )
        self.assertEqual(http.REQUEST_TIMEOUT, self.time_out_of(self.api))

    def test_an_id_is_never_a_path(self) -> None:
        with self.assertRaises(errors.ServerNotFound):
            self.api.server(model.Server('detail?name=web'))
        self.assertIn('/servers/detail%3F', self.requests[0].url)


class TestQuiesce(ApiTest):

    def test_the_action_bears_the_id_of_the_caller(self) -> None:
        self.freeze()
        [action] = self.web.actions
        self.assertEqual(self.request_id, action['request_id'])
        self.assertEqual(
            'Success', self.api.result(self.server, self.request_id).result
        )

    def test_a_request_that_is_repeated_is_one_request(self) -> None:
        for _time in range(3):
            self.api.quiesce(self.server, self.request_id)
        self.freeze()
        self.assertEqual(1, len(self.web.actions))

    def test_another_request_is_refused(self) -> None:
        self.freeze()
        with self.assertRaises(errors.Conflict):
            self.api.quiesce(self.server, model.new_request_id())

    def test_a_page_of_a_proxy_is_no_answer(self) -> None:
        self.answer('POST web quiesce', 200, '<html>Log in</html>')
        with self.assertRaises(errors.Unreachable):
            self.api.quiesce(self.server, self.request_id)

    def test_the_deadline_is_the_callers(self) -> None:
        self.api.quiesce(self.server, self.request_id, unquiesce_after=5)
        self.assertEqual(
            {'quiesce': {
                'request_id': self.request_id, 'unquiesce_after': 5}},
            self.requests[0].json(),
        )
        self.nova.sleep(1)
        self.nova.sleep(6)
        self.assertEqual('active', self.web.vm_state)

    def test_without_a_deadline_none_is_sent(self) -> None:
        self.api.quiesce(self.server, self.request_id)
        self.assertEqual(
            {'quiesce': {'request_id': self.request_id}},
            self.requests[0].json(),
        )


class TestUnquiesce(ApiTest):

    def test_what_the_request_has_frozen_is_thawed(self) -> None:
        self.freeze()
        answer = self.api.unquiesce(self.server, self.request_id)
        self.assertIsNone(answer.state)
        self.assertEqual(
            self.web.actions[-1]['request_id'], answer.request_id
        )
        self.nova.sleep(1)
        self.assertEqual('active', self.web.vm_state)

    def test_what_any_request_has_frozen_is_thawed(self) -> None:
        self.freeze()
        self.api.unquiesce(self.server)
        self.assertEqual({'unquiesce': None}, self.requests[-1].json())
        self.nova.sleep(1)
        self.assertEqual('active', self.web.vm_state)

    def test_a_freeze_under_way_is_given_up(self) -> None:
        self.api.quiesce(self.server, self.request_id)
        self.assertIsNone(
            self.api.unquiesce(self.server, self.request_id).state
        )
        self.nova.sleep(1)
        self.assertEqual('active', self.web.vm_state)
        result = self.api.result(self.server, self.request_id)
        self.assertEqual(
            ('Error', 'withdrawn'), (result.result, result.reason)
        )

    def test_a_request_that_comes_later_is_refused(self) -> None:
        answer = self.api.unquiesce(self.server, self.request_id)
        self.assertEqual('withdrawn', answer.state)
        self.assertTrue(answer.message)
        with self.assertRaises(errors.Conflict):
            self.api.quiesce(self.server, self.request_id)

    def test_what_another_request_has_frozen_is_left(self) -> None:
        self.freeze()
        self.assertEqual(
            'withdrawn',
            self.api.unquiesce(self.server, model.new_request_id()).state,
        )
        self.assertEqual(
            ('quiesced', None), (self.web.vm_state, self.web.task_state)
        )

    def test_a_thaw_of_somebody_else_shows(self) -> None:
        self.freeze()
        self.api.unquiesce(self.server)
        self.assertEqual(
            'thawing', self.api.unquiesce(self.server, self.request_id).state
        )
        self.nova.sleep(1)
        self.assertEqual(
            'ended', self.api.unquiesce(self.server, self.request_id).state
        )

    def test_a_page_of_a_proxy_is_no_answer(self) -> None:
        self.freeze()
        for request_id in (None, self.request_id):
            for text in (
                '<html>Log in</html>', '{}', '{"unquiesce": null}',
                '{"unquiesce": {"state": "ended"}}',
            ):
                with self.subTest(request_id=request_id, text=text):
                    self.answer('POST web unquiesce', 200, text)
                    with self.assertRaises(errors.Unreachable):
                        self.api.unquiesce(self.server, request_id)


class TestFreezes(ApiTest):

    def test_all_of_a_project_page_by_page(self) -> None:
        self.nova.page = 2
        ids = []
        for number in range(5):
            server = self.nova.add(f'vm{number}')
            self.api.quiesce(model.Server(server.id), self.request_id)
            ids.append(server.id)
        self.nova.sleep(1)
        found = self.api.freezes()
        self.assertEqual(sorted(ids), [each.server_id for each in found])
        self.assertEqual({'frozen'}, {freeze.state for freeze in found})

    def test_some_servers_in_requests_of_bounded_length(self) -> None:
        self.freeze()
        ids = [self.web.id, *(model.new_request_id() for _ in range(249))]
        self.requests.clear()
        [found] = self.api.freezes(ids)
        self.assertEqual(self.request_id, found.request_id)
        self.assertEqual(5, len(self.requests))
        self.assertLess(max(len(r.url) for r in self.requests), 2500)

    def test_what_a_request_has_frozen_takes_one_request(self) -> None:
        self.freeze()
        ids = [self.web.id, *(model.new_request_id() for _ in range(249))]
        self.requests.clear()
        [found] = self.api.freezes(ids, request_id=self.request_id)
        self.assertEqual(self.web.id, found.server_id)
        [request] = self.requests
        self.assertLess(len(request.url), 200)

    def test_none_are_asked_for(self) -> None:
        self.assertEqual([], self.api.freezes([]))
        self.assertEqual([], self.nova.log)

    def test_a_deadline_is_told(self) -> None:
        self.api.quiesce(self.server, self.request_id, unquiesce_after=60)
        self.nova.sleep(1)
        [found] = self.api.freezes()
        self.assertEqual('2026-01-01T00:01:01Z', found.unquiesce_at)

    def test_all_projects_are_for_administrators(self) -> None:
        self.nova.is_admin = False
        with self.assertRaises(errors.Forbidden):
            self.api.freezes(all_projects=True)

    def test_other_projects_are_listed_if_they_are_asked_for(self) -> None:
        self.web.foreign = True
        self.freeze()
        self.assertEqual([], self.api.freezes())
        self.assertEqual(1, len(self.api.freezes(all_projects=True)))

    def test_a_cloud_without_the_api(self) -> None:
        for text in (
            '{"itemNotFound": {"message": "Not found", "code": 404}}',
            '{"message": "The resource could not be found.", "code": '
            '"404 Not Found", "title": "Not Found"}',
        ):
            self.answer('GET /os-quiesce', 404, text)
            with self.assertRaises(errors.NotInstalled):
                self.api.freezes()

    def test_a_page_of_a_proxy_tells_nothing_of_the_api(self) -> None:
        for status, text in (
            (404, '<html>No such page</html>'),
            (200, '<html>Log in</html>'),
            (200, '{}'),
            (200, '{"freezes": [{"server_id": "x"}]}'),
            (200, '{"freezes": [null]}'),
        ):
            with self.subTest(status=status, text=text):
                self.answer('GET /os-quiesce', status, text)
                with self.assertRaises(errors.Unreachable):
                    self.api.freezes()


class TestServer(ApiTest):

    def test_it_is_what_nova_says(self) -> None:
        self.web.fault = 'No valid host'
        self.web.task_state = 'rebooting'
        self.assertEqual(
            model.Server(
                self.web.id, 'web', 'ACTIVE', 'active', 'rebooting',
                'No valid host',
            ),
            self.api.server(model.Server(self.web.id)),
        )

    def test_an_odd_answer_is_an_error_in_words(self) -> None:
        for text in (
            '{}', '{"server": null}', '{"server": {"name": "x"}}', '[]',
            '<html>',
        ):
            with self.subTest(text=text):
                self.answer('GET web', 200, text)
                with self.assertRaisesRegex(
                    errors.Unreachable, r'web \(.*not of Nova'
                ):
                    self.api.server(self.server)

    def test_a_404_of_another_service_is_not_gone(self) -> None:
        self.answer(
            'GET web', 404, '{"error": {"code": 404, "message": "Not here"}}'
        )
        with self.assertRaises(errors.Unreachable):
            self.api.server(self.server)


class TestServers(ApiTest):

    def test_a_listing_is_read_to_its_end(self) -> None:
        self.answer(
            'GET detail',
            200,
            json.dumps(
                {
                    'servers': [{'id': 'x', 'name': 'first'}],
                    'servers_links': [{'rel': 'next', 'href': '...'}],
                }
            ),
        )
        self.assertEqual(
            ['first', 'web'], [s.name for s in self.api.servers({})]
        )
        self.assertIn('marker=x', self.requests[1].url)

    def test_an_odd_answer_is_an_error_in_words(self) -> None:
        for text in ('{}', '{"servers": [{}]}', '{"servers": ["x"]}'):
            with self.subTest(text=text):
                self.answer('GET detail', 200, text)
                with self.assertRaisesRegex(
                    errors.Unreachable, 'not of Nova'
                ):
                    list(self.api.servers({}))


class TestResult(ApiTest):

    def result_of(self, **action: Any) -> model.Result:
        self.answer(
            f'GET web/os-instance-actions/{self.request_id}',
            200,
            json.dumps({'instanceAction': action}),
        )
        return self.api.result(self.server, self.request_id)

    def test_a_failure_tells_why(self) -> None:
        for details, reason in ((['no agent'], 'no agent'),
                                ([None], None),
                                (['a', 'b'], 'a; b')):
            with self.subTest(details):
                self.assertEqual(
                    model.Result('Error', reason),
                    self.result_of(
                        events=[
                            {'result': 'Error', 'details': each}
                            for each in details
                        ]
                    ),
                )

    def test_a_failure_without_events_is_one(self) -> None:
        self.assertEqual(
            model.Result('Error'),
            self.result_of(events=[], message='Error'),
        )

    def test_what_has_not_ended_has_no_result(self) -> None:
        for events in (
            [],
            None,
            [{'result': None}],
            [{'result': 'Success'}, {'result': None}],
        ):
            with self.subTest(events=events):
                self.assertEqual(
                    model.Result(), self.result_of(events=events)
                )

    def test_a_deadline_is_told(self) -> None:
        for text in ('2026-01-01T00:01:30', '2026-01-01T00:01:30.000000Z'):
            with self.subTest(text):
                self.assertEqual(
                    model.Result(
                        'Success', unquiesce_at='2026-01-01T00:01:30Z'
                    ),
                    self.result_of(
                        events=[
                            {'event': 'quiesce', 'result': 'Success'},
                            {
                                'event': 'quiesce_deadline',
                                'result': 'Success',
                                'finish_time': text,
                            },
                        ]
                    ),
                )

    def test_what_the_caller_may_not_see_has_no_result(self) -> None:
        self.freeze()
        for status in (403, 404):
            with self.subTest(status):
                self.answer(
                    f'GET web/os-instance-actions/{self.request_id}',
                    status,
                    '{"%s": {"message": "No"}}'
                    % {403: 'forbidden', 404: 'itemNotFound'}[status],
                )
                self.assertEqual(
                    model.Result(),
                    self.api.result(self.server, self.request_id),
                )

    def test_an_odd_answer_is_an_error_in_words(self) -> None:
        for events in (
            'x',
            [{'result': 'Success'}],
            [{'result': 'Success', 'event': 'quiesce_deadline'}],
        ):
            with self.subTest(events=events):
                with self.assertRaisesRegex(
                    errors.Unreachable, 'not of Nova'
                ):
                    self.result_of(events=events)


class TestNewestActions(ApiTest):

    def test_only_some_kinds_count(self) -> None:
        self.freeze()
        self.api.unquiesce(self.server)
        self.assertEqual(
            [None, self.request_id],
            self.api.newest_actions(self.server, {'reboot'}, {'quiesce'}),
        )

    def test_it_does_not_read_all_that_ever_happened(self) -> None:
        self.api.newest_actions(self.server, {'quiesce'})
        [limit] = self.requests[-1].qs['limit']
        self.assertLessEqual(int(limit), 100)

    def test_an_odd_answer_is_an_error_in_words(self) -> None:
        for text in ('{}', '{"instanceActions": [{}]}'):
            with self.subTest(text=text):
                self.answer('GET web/os-instance-actions', 200, text)
                with self.assertRaisesRegex(
                    errors.Unreachable, 'not of Nova'
                ):
                    self.api.newest_actions(self.server, {'quiesce'})


class TestFakeNova(contract.Contract, ApiTest):
    """The Nova of these tests keeps to the contract of the real one."""

    def new_server(self, seconds: int = 0) -> str:
        return self.nova.add('a server', freeze_seconds=seconds or 0.3).id

    def wait_until(self, server_id: str, vm_state: str) -> None:
        for _second in range(10):
            if self.states_of(server_id) == (vm_state, None):
                return
            self.nova.sleep(1)
        self.fail(f'server {server_id} is not {vm_state}')
