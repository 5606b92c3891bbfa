# SPDX-License-Identifier: Apache-2.0

"""Each request of the API, and what its answers mean."""

from __future__ import annotations

from keystoneauth1 import adapter
from keystoneauth1 import session as ksa_session
from keystoneauth1 import token_endpoint

from osc_quiesce import api
from osc_quiesce import exceptions
from osc_quiesce.tests import contract
from osc_quiesce.tests.unit import fakes


class ApiTest(fakes.TestCase):

    def setUp(self) -> None:
        super().setUp()
        self.api = api.QuiesceAPI(
            adapter.Adapter(
                ksa_session.Session(
                    token_endpoint.Token(fakes.ENDPOINT, 'a-token')
                ),
                service_type='compute',
                endpoint_override=fakes.ENDPOINT,
            )
        )
        self.web = self.nova.add('web')
        self.request_id = api.new_request_id()

    def freeze(self) -> None:
        self.api.quiesce(self.web.id, self.request_id)
        self.nova.sleep(1)
        self.assertEqual('quiesced', self.web.vm_state)


class TestQuiesce(ApiTest):

    def test_the_action_bears_the_id_of_the_caller(self) -> None:
        self.freeze()
        [action] = self.web.actions
        self.assertEqual(self.request_id, action['request_id'])
        self.assertEqual(
            'Success', self.api.result(self.web.id, self.request_id).result
        )

    def test_a_request_that_is_repeated_is_one_request(self) -> None:
        for _time in range(3):
            self.api.quiesce(self.web.id, self.request_id)
        self.freeze()
        self.assertEqual(1, len(self.web.actions))

    def test_another_request_is_refused(self) -> None:
        self.freeze()
        with self.assertRaises(exceptions.Conflict):
            self.api.quiesce(self.web.id, api.new_request_id())

    def test_a_page_of_a_proxy_is_no_answer(self) -> None:
        self.answer('POST web quiesce', 200, '<html>Log in</html>')
        with self.assertRaises(exceptions.Unreachable):
            self.api.quiesce(self.web.id, self.request_id)

    def test_the_deadline_is_the_callers(self) -> None:
        self.api.quiesce(self.web.id, self.request_id, unquiesce_after=5)
        self.nova.sleep(1)
        self.nova.sleep(6)
        self.assertEqual('active', self.web.vm_state)


class TestUnquiesce(ApiTest):

    def test_what_the_request_has_frozen_is_thawed(self) -> None:
        self.freeze()
        answer = self.api.unquiesce(self.web.id, self.request_id)
        self.assertIsNone(answer.state)
        self.assertEqual(
            self.web.actions[-1]['request_id'], answer.request_id
        )
        self.nova.sleep(1)
        self.assertEqual('active', self.web.vm_state)

    def test_a_freeze_under_way_is_given_up(self) -> None:
        self.api.quiesce(self.web.id, self.request_id)
        self.assertIsNone(
            self.api.unquiesce(self.web.id, self.request_id).state
        )
        self.nova.sleep(1)
        self.assertEqual('active', self.web.vm_state)
        result = self.api.result(self.web.id, self.request_id)
        self.assertEqual(('Error', 'withdrawn'), (
            result.result, result.reason))

    def test_a_request_that_comes_later_is_refused(self) -> None:
        answer = self.api.unquiesce(self.web.id, self.request_id)
        self.assertEqual('withdrawn', answer.state)
        self.assertTrue(answer.message)
        with self.assertRaises(exceptions.Conflict):
            self.api.quiesce(self.web.id, self.request_id)

    def test_what_another_request_has_frozen_is_left(self) -> None:
        self.freeze()
        self.assertEqual(
            'withdrawn',
            self.api.unquiesce(self.web.id, api.new_request_id()).state,
        )
        self.assertEqual(('quiesced', None), (
            self.web.vm_state, self.web.task_state))

    def test_a_thaw_of_somebody_else_shows(self) -> None:
        self.freeze()
        self.api.unquiesce(self.web.id)
        self.assertEqual(
            'thawing', self.api.unquiesce(self.web.id, self.request_id).state
        )
        self.nova.sleep(1)
        self.assertEqual(
            'ended', self.api.unquiesce(self.web.id, self.request_id).state
        )

    def test_a_page_of_a_proxy_is_no_answer(self) -> None:
        self.freeze()
        for request_id in (None, self.request_id):
            self.answer('POST web unquiesce', 200, '<html>Log in</html>')
            with self.assertRaises(exceptions.Unreachable):
                self.api.unquiesce(self.web.id, request_id)


class TestFreezes(ApiTest):

    def test_all_of_a_project_page_by_page(self) -> None:
        self.nova.page = 2
        for number in range(5):
            server = self.nova.add(f'vm{number}')
            self.api.quiesce(server.id, self.request_id)
        self.nova.sleep(1)
        found = self.api.freezes()
        self.assertEqual(5, len(found))
        self.assertEqual({'frozen'}, {freeze.state for freeze in found})
        self.assertEqual(3, len(self.nova.gets()))

    def test_some_servers_in_one_request_of_bounded_length(self) -> None:
        self.freeze()
        ids = [self.web.id, *(api.new_request_id() for _ in range(249))]
        [found] = self.api.freezes(ids)
        self.assertEqual(self.request_id, found.request_id)
        self.assertEqual(3, len(self.nova.gets()))

    def test_none_are_asked_for(self) -> None:
        self.assertEqual([], self.api.freezes([]))
        self.assertEqual([], self.nova.log)

    def test_all_projects_are_for_administrators(self) -> None:
        self.nova.is_admin = False
        with self.assertRaises(exceptions.Forbidden):
            self.api.freezes(all_projects=True)

    def test_a_cloud_without_the_api(self) -> None:
        for text in (
            '{"itemNotFound": {"message": "Not found", "code": 404}}',
            '{"message": "The resource could not be found.", "code": '
            '"404 Not Found", "title": "Not Found"}',
        ):
            self.answer('GET /os-quiesce', 404, text)
            with self.assertRaises(exceptions.NotInstalled):
                self.api.freezes()
        self.answer(
            'GET /os-quiesce',
            404,
            '<html>No such page</html>',
            Content_Type='text/html',
        )
        with self.assertRaises(exceptions.Unreachable):
            self.api.freezes()


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
