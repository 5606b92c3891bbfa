# SPDX-License-Identifier: Apache-2.0

"""Whose freeze it is: the rows of the contract, with plain HTTP."""

import concurrent.futures
from typing import Any
import uuid

import requests

from osc_quiesce.tests.functional import base
from osc_quiesce.tests.functional import test_recovery


def new_id() -> str:
    """Return a request id as a caller chooses it."""
    return f'req-{uuid.uuid4()}'


class OwnerTest(test_recovery.RequestsTest):
    """A test of requests that are named by their callers."""

    def quiesce(self, server: str, request_id: str, expect: int = 202,
                **details: Any) -> requests.Response:
        return self.act(server, {'quiesce': {
            'request_id': request_id, **details}}, expect=expect)

    def unquiesce(self, server: str, request_id: str,
                  expect: int = 202) -> requests.Response:
        return self.act(server, {'unquiesce': {'request_id': request_id}},
                        expect=expect)

    def what_became(self, server: str, request_id: str) -> dict[str, str]:
        """Return what unquiesce tells of a request that it cannot end."""
        answer = self.unquiesce(server, request_id, expect=200)
        found: dict[str, str] = answer.json()['unquiesce']
        self.assertEqual(request_id, found.pop('request_id'))
        return found

    def frozen_by(self, server: str) -> str:
        """Quiesce a server, and return the id of the request."""
        request_id = new_id()
        self.quiesce(server, request_id)
        self.wait(server, 'quiesced')
        return request_id

    def result(self, server: str, request_id: str) -> tuple[str, str]:
        """Return result and details of a request when it has ended."""
        [event] = [
            event for event in self.action(server, request_id)['events']
            if event['event'] != 'quiesce_deadline']
        return event['result'], event['details'] or ''


class TestQuiesceIsIdempotent(OwnerTest):

    def test_the_instance_action_is_recorded_under_the_request(self) -> None:
        server = self.boot()
        request_id = self.frozen_by(server)
        self.assertEqual('Success', self.result(server, request_id)[0])
        self.assertEqual(
            'quiesce', self.action(server, request_id)['action'])

    def test_quiescing_by_it_nothing_happens(self) -> None:
        server, request_id = self.boot(quiesce='slow:1'), new_id()
        with self.held(server):
            self.quiesce(server, request_id)
            self.quiesce(server, request_id)
        self.wait(server, 'quiesced')
        self.assertEqual(['frozen'], self.guest_log(server))

    def test_quiesced_by_it_nothing_happens(self) -> None:
        server = self.boot()
        request_id = self.frozen_by(server)
        self.quiesce(server, request_id)
        self.assertEqual(('quiesced', None), self.states(server))
        self.assertEqual(['frozen'], self.guest_log(server))
        self.assertEqual(2, len(self.actions(server)))

    def test_of_simultaneous_copies_all_are_accepted(self) -> None:
        server, request_id = self.boot(), new_id()
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            list(pool.map(lambda _n: self.quiesce(server, request_id),
                          range(10)))
        self.wait(server, 'quiesced')
        self.assertEqual(['frozen'], self.guest_log(server))

    def test_ended_is_409_that_says_so(self) -> None:
        server = self.boot()
        request_id = self.frozen_by(server)
        self.act(server, {'unquiesce': None})
        self.wait(server, 'active')
        answer = self.quiesce(server, request_id, expect=409)
        self.assertIn('it was unquiesced', answer.text)
        self.assertEqual(['frozen', 'thawed'], self.guest_log(server))

    def test_failed_is_409_that_says_why(self) -> None:
        server, request_id = self.boot(image='tiny-noagent'), new_id()
        self.quiesce(server, request_id)
        self.assertEqual(('active', None), self.settle(server))
        answer = self.quiesce(server, request_id, expect=409)
        self.assertIn('agent is not enabled', answer.text)

    def test_withdrawn_is_409_that_says_so(self) -> None:
        server, request_id = self.boot(), new_id()
        self.assertEqual(
            'withdrawn', self.what_became(server, request_id)['state'])
        answer = self.quiesce(server, request_id, expect=409)
        self.assertIn('was withdrawn', answer.text)
        self.assertEqual(('active', None), self.states(server))
        self.assertEqual([], self.guest_log(server))

    def test_with_a_deadline_of_its_own(self) -> None:
        server, request_id = self.boot(), new_id()
        self.quiesce(server, request_id,
                     unquiesce_after=test_recovery.DEADLINE)
        self.wait(server, 'quiesced')
        self.wait(server, 'active')

    def test_not_while_an_earlier_freeze_is_not_cleared_up(self) -> None:
        server = self.boot(unquiesce='fail')
        self.frozen_by(server)
        self.act(server, {'unquiesce': None})
        self.assertEqual(('error', None), self.settle(server))
        self.act(server, {'os-resetState': {'state': 'active'}})
        answer = self.quiesce(server, new_id(), expect=409)
        self.assertTrue('not cleared up' in answer.text
                        or 'vm_state error' in answer.text, answer.text)

    def test_not_while_its_nova_compute_is_down(self) -> None:
        server = self.boot()
        self.addCleanup(base.force_down, 'nova-compute', False)
        base.force_down('nova-compute', True)
        answer = self.quiesce(server, new_id(), expect=409)
        self.assertIn('is down', answer.text)
        self.assertEqual(('active', None), self.states(server))
        self.assertFalse(self.is_known(server))


class TestUnquiesceByRequest(OwnerTest):

    def test_quiesced_by_it(self) -> None:
        server = self.boot()
        request_id = self.frozen_by(server)
        answer = self.unquiesce(server, request_id)
        self.assertEqual(b'', answer.content)
        self.wait(server, 'active')
        self.assertEqual('Success', self.action_of(
            server, answer)['events'][0]['result'])

    def test_quiescing_by_it(self) -> None:
        server, request_id = self.boot(quiesce='slow:1'), new_id()
        with self.held(server):
            self.quiesce(server, request_id)
            self.wait(server, 'active', 'quiescing')
            self.unquiesce(server, request_id)
        self.assertEqual(('active', None), self.settle(server))
        self.assertNotEqual(['frozen'], self.guest_log(server)[-1:])
        result, details = self.result(server, request_id)
        self.assertEqual('Error', result)
        self.assertIn('withdrawn', details)
        self.wait_for_no_row(server)

    def test_thawed_already(self) -> None:
        server = self.boot()
        request_id = self.frozen_by(server)
        self.act(server, {'unquiesce': None})
        self.wait(server, 'active')
        self.assertEqual(
            'ended', self.what_became(server, request_id)['state'])

    def test_failed(self) -> None:
        server, request_id = self.boot(image='tiny-noagent'), new_id()
        self.quiesce(server, request_id)
        self.settle(server)
        found = self.what_became(server, request_id)
        self.assertEqual('ended', found['state'])
        self.assertIn('agent is not enabled', found['message'])

    def test_quiesced_by_another_request(self) -> None:
        server = self.boot()
        earlier = self.frozen_by(server)
        self.unquiesce(server, earlier)
        self.wait(server, 'active')
        self.frozen_by(server)
        self.assertEqual('ended', self.what_became(server, earlier)['state'])
        self.assertEqual(('quiesced', None), self.states(server))

    def test_never_arrived(self) -> None:
        server, request_id = self.boot(), new_id()
        found = self.what_became(server, request_id)
        self.assertEqual('withdrawn', found['state'])
        self.assertIn('never arrived', found['message'])

    def test_locked_for_the_caller_or_in_a_task_of_novas(self) -> None:
        server = self.boot(pause='slow:8')
        self.act(server, {'pause': None})
        answer = self.unquiesce(server, new_id(), expect=409)
        self.assertIn('task_state pausing', answer.text)
        self.wait(server, 'paused')


class TestList(OwnerTest):
    """GET /os-quiesce."""

    def listed(self, query: str = '', persona: str = 'admin',
               expect: int = 200) -> dict[str, Any]:
        answer = base.compute(persona).get('/os-quiesce' + query)
        self.assertEqual(expect, answer.status_code, answer.text)
        return answer.json()  # type: ignore[no-any-return]

    def test_what_is_or_may_be_frozen(self) -> None:
        server = self.boot('vm-listed')
        request_id = new_id()
        self.quiesce(server, request_id, unquiesce_after=600)
        self.wait(server, 'quiesced')
        self.wait_for(lambda: self.listed(f'?server={server}')['freezes'][
            0]['state'] == 'frozen', 'it is listed as frozen')
        [found] = self.listed(f'?server={server}')['freezes']
        self.assertEqual(
            (server, 'vm-listed', request_id, 0, None),
            tuple(found[name] for name in (
                'server_id', 'server_name', 'request_id', 'attempts',
                'error')))
        for name in ('project_id', 'user_id', 'requested_at', 'frozen_at',
                     'unquiesce_at'):
            self.assertTrue(found[name], name)
        self.unquiesce(server, request_id)
        self.wait_for_no_row(server)
        self.assertEqual(
            [], self.listed(f'?server={server}')['freezes'])

    def test_what_a_request_has_frozen_also_if_it_is_thawed(self) -> None:
        request_id = new_id()
        servers = sorted(self.boot(persona='member') for _number in range(2))
        for server in servers:
            self.quiesce(server, request_id)
            self.wait(server, 'quiesced')
        self.unquiesce(servers[0], request_id)
        self.wait_for_no_row(servers[0])
        self.frozen_by(self.boot())

        def seen(query: str = '', persona: str = 'admin',
                 ) -> list[tuple[str, str]]:
            answer = self.listed(f'?request_id={request_id}{query}', persona)
            return [(row['server_id'], row['state'])
                    for row in answer['freezes']]

        both = [(servers[0], 'thawed'), (servers[1], 'frozen')]
        self.wait_for(lambda: seen('&all_projects=1') == both,
                      'both are listed')
        self.assertEqual(both, seen(persona='member'))
        self.assertEqual([], seen(persona='other'))
        self.assertEqual(both[1:], seen(f'&server={servers[1]}'
                                        '&all_projects=1'))
        self.assertEqual(both[:1], seen('&limit=1&all_projects=1'))
        self.assertEqual(both[1:], seen(
            f'&limit=1&all_projects=1&marker={servers[0]}'))

    def test_in_pages_and_of_several_servers(self) -> None:
        servers = sorted(self.boot() for _number in range(3))
        for server in servers:
            self.frozen_by(server)
        query = '?' + '&'.join(f'server={server}' for server in servers)
        found: list[str] = []
        page = self.listed(query + '&limit=2')
        while True:
            found += [row['server_id'] for row in page['freezes']]
            if 'freezes_links' not in page:
                break
            [link] = page['freezes_links']
            self.assertEqual('next', link['rel'])
            page = self.listed('?' + link['href'].partition('?')[2])
        self.assertEqual(servers, found)

    def test_the_policy(self) -> None:
        server = self.boot(persona='member')
        self.frozen_by(server)

        def seen(query: str, persona: str) -> bool:
            return server in [row['server_id'] for row in self.listed(
                query, persona)['freezes']]

        self.assertTrue(seen('', 'member'))
        self.assertTrue(seen('', 'reader'))
        self.assertFalse(seen('', 'other'))
        self.assertTrue(seen('?all_projects=1', 'admin'))
        self.listed('?all_projects=1', 'member', expect=403)

    def test_bad_queries(self) -> None:
        for query in ('?limit=x', '?limit=0', '?server=x', '?marker=x',
                      '?all_projects=maybe', '?unknown=1', '?request_id=x'):
            with self.subTest(query=query):
                self.listed(query, expect=400)
