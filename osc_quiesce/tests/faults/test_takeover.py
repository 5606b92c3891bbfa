# SPDX-License-Identifier: Apache-2.0

"""A nova-quiesce dies for good, and another one does what was its work.

Elsewhere what was killed is back two seconds later, and may finish itself what
it had begun.  Here it stays away until the test is over.  That another one has
taken over is to be seen in the instance actions, which name its host; also
that it has not, where the first one is merely slow.
"""

import signal
import time
from typing import Any

from osc_quiesce.tests.faults import base
from osc_quiesce.tests.functional import base as functional

#: for the table
KILLED = 'nova-quiesce, for good'
#: seconds for messages, states and a guest, on a machine that is busy
MARGIN = 5.0
#: seconds that a slow guest takes, so that a service is killed meanwhile
SLOW = 3


class ServicesTest(base.FakeGuestsTest):
    """A test in which it matters which service does something."""

    def setUp(self) -> None:
        super().setUp()
        self.wait_until_up()

    def ask(self, server: str, action: dict[str, Any]) -> str:
        """Ask for an action, wait for a service to begin; return the id."""
        request = self.act(server, action).headers['x-openstack-request-id']
        self.wait_for(lambda: self.events(server, request),
                      'a service has begun')
        return str(request)

    def events(self, server: str, request: str) -> list[dict[str, Any]]:
        """Return what has become of a request so far."""
        answer = functional.compute().get(
            '/servers/%s/os-instance-actions/%s' % (server, request))
        self.assertEqual(200, answer.status_code, answer.text)
        return answer.json()[  # type: ignore[no-any-return]
            'instanceAction']['events']

    def actions(self, server: str) -> list[dict[str, Any]]:
        """Return the requests to quiesce and unquiesce, oldest first."""
        answer = functional.compute().get(
            '/servers/%s/os-instance-actions' % server)
        self.assertEqual(200, answer.status_code, answer.text)
        return [action for action in reversed(
            answer.json()['instanceActions'])
            if action['action'] in ('quiesce', 'unquiesce')]


class DeadTest(ServicesTest):
    """The service that works on a server is killed, and stays dead."""

    def kill(self, server: str) -> float:
        """Kill the service that works on a server, and say when that was."""
        role = self.role_of('nova-quiesce', server)
        self.addCleanup(functional.cloud().start, role)
        functional.cloud().signal(role, signal.SIGKILL)
        return time.time()

    def wait_for_takeover(self, server: str, vm_state: str, killed_at: float,
                          step: str) -> None:
        """Wait until another service has thawed the guest, soon enough.

        It is when the lease of the first one has ended.
        """
        soon = (base.setting('DEFAULT', 'service_down_time')
                + base.setting('quiesce', 'sweep_interval')
                + SLOW + 2 * MARGIN)
        self.wait_for(lambda: self.is_well(server),
                      'another service has thawed %s' % server,
                      killed_at + soon - time.time())
        self.assertEqual((vm_state, None), self.states(server))
        frozen = self.history(server)
        self.assertEqual(1, len(frozen), frozen)
        self.write(KILLED, step, killed_at, killed_at, frozen)

    def test_in_the_middle_of_a_quiesce(self) -> None:
        server = self.boot(quiesce='slow:%d' % SLOW)
        with self.held(server):
            request = self.ask(server, {'quiesce': {
                'unquiesce_after': self.deadline}})
            [begun] = self.events(server, request)
            killed_at = self.kill(server)
        self.wait_for_takeover(server, 'error', killed_at,
                               'server is being frozen')
        why = 'The nova-quiesce service was interrupted'
        self.assertIn(why, self.server(server)['fault']['message'])
        [event] = self.action(server, request)['events']
        self.assertEqual('Error', event['result'])
        self.assertIn(why, event['details'])
        # The last thaw comes when no freeze can be on its way any more.
        self.wait_for(lambda: self.states(server) == ('active', None),
                      'the server is active again', base.BOUND)
        [_quiesce, thaw] = self.actions(server)
        [event] = self.action(server, thaw['request_id'])['events']
        self.assertEqual('Success', event['result'])
        self.assertNotEqual(begun['host'], event['host'])

    def test_in_the_middle_of_an_unquiesce(self) -> None:
        server = self.boot(unquiesce='slow:%d' % SLOW)
        self.ask(server, {'quiesce': {'unquiesce_after': self.deadline}})
        self.wait(server, 'quiesced')
        with self.held(server):
            request = self.ask(server, {'unquiesce': None})
            [begun] = self.events(server, request)
            killed_at = self.kill(server)
        self.wait_for_takeover(server, 'active', killed_at,
                               'server is being thawed')
        [event] = self.action(server, request)['events']
        # Nobody has heard what the guest has answered.
        self.assertEqual('Error', event['result'])
        self.assertIn('an earlier thaw failed', event['details'])
        self.assertNotEqual(begun['host'], event['host'])
        self.assertEqual(2, len(self.actions(server)))

    def test_before_a_deadline(self) -> None:
        server = self.boot()
        request = self.ask(server, {'quiesce': {
            'unquiesce_after': self.deadline}})
        self.wait(server, 'quiesced')
        dead = self.events(server, request)[0]['host']
        killed_at = self.kill(server)
        self.wait(server, 'active')
        [frozen] = self.history(server)
        late = self.write(
            KILLED, 'server is frozen', killed_at, killed_at, [frozen])
        # Nobody has to find out first that a service is gone.
        self.assertLess(late, base.setting('quiesce', 'sweep_interval')
                        + MARGIN, frozen)
        [_quiesce, thaw] = self.actions(server)
        self.assertIsNone(thaw['user_id'])
        [event] = self.action(server, thaw['request_id'])['events']
        self.assertIn('deadline of request %s' % request, event['details'])
        self.assertNotEqual(dead, event['host'])


class NoneTest(ServicesTest):
    """All services are killed."""

    def test_nothing_is_accepted_until_one_is_back(self) -> None:
        frozen, other = self.boot(), self.boot()
        self.ask(frozen, {'quiesce': {'unquiesce_after': self.deadline}})
        self.wait(frozen, 'quiesced')
        cloud = functional.cloud()
        roles = [role for role in cloud.roles() if role.startswith('quiesce')]
        self.assertEqual(2, len(roles))
        for role in roles:
            self.addCleanup(cloud.start, role)
            cloud.signal(role, signal.SIGKILL)
        # Nova calls them down, and nova-api looks again.
        time.sleep(base.setting('DEFAULT', 'service_down_time')
                   + base.setting('DEFAULT', 'report_interval') + MARGIN)
        for server, action in ((other, 'quiesce'), (frozen, 'unquiesce')):
            refused = self.act(server, {action: None}, expect=503)
            self.assertIn('No nova-quiesce service is up', refused.text)
        self.assertEqual(('active', None), self.states(other))
        self.assertEqual(('quiesced', None), self.states(frozen))
        cloud.start(roles[0])
        self.wait(frozen, 'active')    # at its deadline
        cloud.start(roles[1])
        self.wait_until_up()
        self.act(other, {'quiesce': None})
        self.wait(other, 'quiesced')


class SharedTest(ServicesTest):
    """Two services share the work."""

    def test_each_does_some_of_it_and_nothing_is_done_twice(self) -> None:
        servers = [self.boot() for _number in range(8)]
        requests = [
            self.ask(server, {'quiesce': {'unquiesce_after': self.deadline}})
            for server in servers]
        hosts = {event['host']
                 for server, request in zip(servers, requests, strict=True)
                 for event in self.events(server, request)}
        self.assertEqual(2, len(hosts), hosts)
        # Both find the deadlines; one of them thaws.
        for server in servers:
            self.wait(server, 'active')
            self.assertEqual(
                ['quiesce', 'unquiesce'],
                [action['action'] for action in self.actions(server)])
            self.assertEqual(['frozen', 'thawed'], self.guest_log(server))


class SlowTest(ServicesTest):
    """The service that works on a server takes its time, and is alive."""

    def assert_not_disturbed(self, server: str, request: str,
                             host: str) -> None:
        """A request is ended by the service that has begun it."""
        [event] = self.action(server, request)['events']
        self.assertEqual(('Success', host), (event['result'], event['host']))

    def test_a_guest_is_slow(self) -> None:
        # The thaw takes longer than Nova does to call a dead service down.
        server = self.boot(quiesce='slow:4', unquiesce='slow:9')
        for action, vm_state in (('quiesce', 'quiesced'),
                                 ('unquiesce', 'active')):
            request = self.ask(server, {action: None})
            [begun] = self.events(server, request)
            self.wait(server, vm_state)
            self.assert_not_disturbed(server, request, begun['host'])
        self.assertEqual(2, len(self.actions(server)))
        self.assertEqual(['frozen', 'thawed'], self.guest_log(server))

    def test_a_service_is_suspended_for_a_moment(self) -> None:
        server = self.boot(quiesce='slow:2')
        with self.held(server):
            request = self.ask(server, {'quiesce': None})
            [begun] = self.events(server, request)
            role = self.role_of('nova-quiesce', server)
            self.addCleanup(functional.cloud().signal, role, signal.SIGCONT)
            functional.cloud().signal(role, signal.SIGSTOP)
        # The other one looks meanwhile; Nova still calls this one up.
        time.sleep(1.5 * base.setting('quiesce', 'sweep_interval'))
        self.assertEqual(('active', 'quiescing'), self.states(server))
        functional.cloud().signal(role, signal.SIGCONT)
        self.wait(server, 'quiesced')
        self.assert_not_disturbed(server, request, begun['host'])
        self.assertEqual(1, len(self.actions(server)))
        self.assertEqual(['frozen'], self.guest_log(server))
