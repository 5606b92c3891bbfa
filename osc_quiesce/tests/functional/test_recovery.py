# SPDX-License-Identifier: Apache-2.0

"""No guest stays frozen: deadlines, resets, hung agents, no service."""

import datetime
import time
from typing import Any

from osc_quiesce.tests.functional import base

#: seconds, as configured for these tests
RPC_TIMEOUT = 8
INTERVAL = 1
LIMIT = 3600
#: seconds, a deadline before which a server can be seen quiesced, also if the
#: machine stands still for some of them
DEADLINE = 8

SERVICE = 'nova-quiesce'


class RequestsTest(base.FunctionalTest):
    """A test of what is recorded of requests, and of the table of freezes."""

    def events_of(self, server_id: str, request_id: str) -> dict[str, Any]:
        """Return the events of a request by name, as an admin sees them."""
        answer = base.compute().get(
            '/servers/%s/os-instance-actions/%s' % (server_id, request_id)
        )
        self.assertEqual(200, answer.status_code, answer.text)
        return {
            event['event']: event
            for event in answer.json()['instanceAction']['events']
        }

    def actions(self, server_id: str) -> list[tuple[str, str]]:
        """Return name and request id of each action, oldest first."""
        answer = base.compute().get(
            '/servers/%s/os-instance-actions' % server_id
        )
        self.assertEqual(200, answer.status_code, answer.text)
        return [
            (action['action'], action['request_id'])
            for action in reversed(answer.json()['instanceActions'])
        ]

    def check_all_ended(self, server_id: str) -> None:
        """Assert that every request has ended."""
        for action, request_id in self.actions(server_id):
            if action in ('quiesce', 'unquiesce'):
                events = self.events_of(server_id, request_id)
                self.assertTrue(events, (action, request_id))
                for event in events.values():
                    self.assertTrue(event['finish_time'], event)

    def is_known(self, server_id: str) -> bool:
        """Return whether the server has a row in the table of freezes."""
        return bool(base.freezes(server_id))

    def wait_for_no_row(
        self, server_id: str, seconds: float = base.TIMEOUT
    ) -> None:
        """Wait until the server has no row."""
        self.wait_for(lambda: not self.is_known(server_id),
                      'server %s has no row' % server_id, seconds)

    def times(self, server_id: str) -> list[float]:
        """Return when the guest was frozen and thawed."""
        text = (base.cloud().layout.guests / server_id).read_text()
        return [float(line.split()[1]) for line in text.splitlines()]

    def check_deadline(
        self, server_id: str, request_id: str, deadline: float
    ) -> None:
        """Assert that it is 600 seconds after the guest was frozen.

        The command shows whole seconds.
        """
        event = self.events_of(server_id, request_id)['quiesce_deadline']
        started = datetime.datetime.fromisoformat(event['start_time']).replace(
            tzinfo=datetime.UTC
        )
        self.assertEqual(int(started.timestamp() + 600), int(deadline))
        self.assertLessEqual(self.times(server_id)[0] + 599, deadline)


class RecoveryTest(RequestsTest):
    """A test on the shared cloud with shorter times."""

    OPTIONS = {
        'operation_timeout': RPC_TIMEOUT,
        'sweep_interval': INTERVAL,
        'max_unquiesce_after': LIMIT,
    }


class TestDeadline(RecoveryTest):
    def test_the_service_thaws_and_says_so(self) -> None:
        server = self.boot()
        response = self.act(
            server, {'quiesce': {'unquiesce_after': DEADLINE}}
        )
        asked = response.headers['x-openstack-request-id']
        self.wait(server, 'quiesced')
        self.wait(server, 'active')
        frozen, thawed = self.times(server)
        self.assertGreaterEqual(thawed - frozen, DEADLINE)
        self.assertLess(thawed - frozen, DEADLINE + 15)
        [*_before, (action, request_id)] = self.actions(server)
        self.assertEqual('unquiesce', action)
        [event] = self.events_of(server, request_id).values()
        self.assertEqual('Success', event['result'])
        self.assertIn('deadline of request %s' % asked, event['details'])
        self.assertFalse(self.is_known(server))
        self.check_all_ended(server)

    def test_its_owner_sees_it(self) -> None:
        server = self.boot(persona='member')
        response = self.act(server, {'quiesce': {'unquiesce_after': 600}})
        asked = response.headers['x-openstack-request-id']
        self.wait(server, 'quiesced')
        self.action_of(server, response)
        answer = base.compute('member').get(
            '/servers/%s/os-instance-actions/%s' % (server, asked)
        )
        [event] = [
            event
            for event in answer.json()['instanceAction']['events']
            if event['event'] == 'quiesce_deadline'
        ]
        deadline = datetime.datetime.fromisoformat(
            event['finish_time']
        ).replace(tzinfo=datetime.UTC)
        self.check_deadline(server, asked, deadline.timestamp())

    def test_asked_for_before_it_is_forgotten(self) -> None:
        server = self.boot()
        self.act(server, {'quiesce': {'unquiesce_after': DEADLINE}})
        self.wait(server, 'quiesced')
        self.act(server, {'unquiesce': None})
        self.wait(server, 'active')
        self.act(server, {'quiesce': None})
        self.wait(server, 'quiesced')
        time.sleep(DEADLINE + 2 * INTERVAL)    # the default is later
        self.assertEqual(('quiesced', None), self.states(server))

    def test_the_longest_is_configured(self) -> None:
        server = self.boot()
        response = self.act(
            server, {'quiesce': {'unquiesce_after': LIMIT + 1}}, expect=400
        )
        self.assertIn('at most 3600', response.text)
        self.act(
            server, {'quiesce': {'unquiesce_after': 10**30}}, expect=400
        )
        self.act(server, {'quiesce': {'unquiesce_after': LIMIT}})
        self.wait(server, 'quiesced')

    def test_the_command_shows_it(self) -> None:
        server = self.boot()
        [row] = self.openstack(
            'server quiesce --wait --unquiesce-after 600 -f json %s' % server
        ).data
        shown = datetime.datetime.fromisoformat(row['Unquiesce At'])
        self.check_deadline(server, row['Request ID'], shown.timestamp())
        self.assertIn(
            row['Unquiesce At'].rstrip('Z'),
            self.openstack('server event show -f json %s %s' % (
                server, row['Request ID'])).stdout,
        )

    def test_the_command_checks_it_before_anything_is_sent(self) -> None:
        server = self.boot()
        for text in ('0', '-5', '1.5', 'soon', ''):
            self.openstack(
                'server quiesce --unquiesce-after=%s %s' % (text, server),
                expect=2,
            )
        result = self.openstack(
            'server quiesce --unquiesce-after %d %s' % (LIMIT + 1, server),
            expect=1,
        )
        self.assertIn('at most 3600', result.stderr)
        self.assertEqual([], self.guest_log(server))


class TestDefaultDeadline(RecoveryTest):
    OPTIONS = {**RecoveryTest.OPTIONS, 'default_unquiesce_after': DEADLINE}

    def test_it_is_used_when_none_is_given(self) -> None:
        server, other = self.boot(), self.boot()
        [row] = self.openstack(
            'server quiesce --wait -f json %s' % server
        ).data
        self.assertTrue(row['Unquiesce At'])
        self.act(other, {'quiesce': {'unquiesce_after': 600}})
        self.wait(server, 'active')
        self.assertEqual(['frozen', 'thawed'], self.guest_log(server))
        self.assertEqual(('quiesced', None), self.settle(other))


class TestReset(RecoveryTest):
    def test_a_reset_thaws_within_seconds(self) -> None:
        for state in ('active', 'error'):
            with self.subTest(state=state):
                server = self.boot()
                self.act(server, {'quiesce': None})
                self.wait(server, 'quiesced')
                self.act(server, {'os-resetState': {'state': state}})
                self.wait_for_no_row(server, 10 + 2 * INTERVAL)
                self.assertEqual((state, None), self.settle(server))
                self.assertEqual(['frozen', 'thawed'], self.guest_log(server))
                self.assertFalse(self.is_known(server))
                *_before, (reset, _), (action, request_id) = self.actions(
                    server
                )
                self.assertEqual(('reset', 'unquiesce'), (
                    reset.lower().replace('state', ''), action))
                [event] = self.events_of(server, request_id).values()
                self.assertIn('The server is %s' % state, event['details'])

    def test_a_reset_of_any_other_server_is_novas(self) -> None:
        server = self.boot()
        self.act(server, {'os-resetState': {'state': 'error'}})
        self.assertEqual(('error', None), self.states(server))
        self.act(server, {'os-resetState': {'state': 'active'}})
        self.assertEqual(('active', None), self.states(server))
        for body in (
            {'os-resetState': {'state': 'quiesced'}},
            {'os-resetState': None},
        ):
            self.act(server, body, expect=400)
        self.act(
            server, {'os-resetState': {'state': 'error'}}, 'member',
            expect=404,
        )

    def test_an_active_server_is_never_frozen(self) -> None:
        # The thaw that follows the reset fails.
        server = self.boot(unquiesce='fail')
        self.act(server, {'quiesce': None})
        self.wait(server, 'quiesced')
        self.act(server, {'os-resetState': {'state': 'active'}})
        self.wait_for(lambda: self.states(server) == ('error', None),
                      'the server is in error again')
        self.assertTrue(self.is_known(server))


class TestHungAgent(RecoveryTest):
    def test_one_that_hangs_for_longer_than_the_time_out(self) -> None:
        server, other = self.boot(quiesce='slow:20'), self.boot()
        started = time.monotonic()
        response = self.act(server, {'quiesce': None})
        # Others go on meanwhile.
        self.act(other, {'quiesce': None})
        self.wait(other, 'quiesced')
        self.assertEqual(('active', 'quiescing'), self.states(server))
        # The quiesce ends in time, and is reported.
        self.assertEqual(('error', None), self.settle(server))
        self.assertLess(time.monotonic() - started, RPC_TIMEOUT + 10)
        action = self.action_of(server, response)
        self.assertIn(
            'no answer from nova-compute within 6 seconds',
            action['events'][0]['details'],
        )
        # When the agent answers again, the guest is thawed.
        self.wait_for_no_row(server)
        self.assertEqual('frozen', self.guest_log(server)[0])
        self.assertEqual('thawed', self.guest_log(server)[-1])
        self.assertEqual(('active', None), self.settle(server))
        self.check_all_ended(server)

    def test_one_that_freezes_after_libvirt_has_given_up(self) -> None:
        server = self.boot(quiesce='late:10')
        self.act(server, {'quiesce': None})
        self.assertEqual(('error', None), self.settle(server))
        self.assertEqual([], self.guest_log(server))
        self.wait_for_no_row(server)
        self.assertEqual('frozen', self.guest_log(server)[0])
        self.assertEqual('thawed', self.guest_log(server)[-1])
        self.assertEqual(('active', None), self.settle(server))
        self.check_all_ended(server)

    def test_a_reboot_ends_a_thaw_that_cannot_succeed(self) -> None:
        server = self.boot(unquiesce='fail')
        self.act(server, {'quiesce': None})
        self.wait(server, 'quiesced')
        self.act(server, {'unquiesce': None})
        self.assertEqual(('error', None), self.settle(server))
        end = time.monotonic() + base.TIMEOUT
        while (
            base.compute()
            .post(
                '/servers/%s/action' % server,
                json={'reboot': {'type': 'HARD'}},
            )
            .status_code
            != 202
        ):
            self.assertLess(time.monotonic(), end, 'cannot be rebooted')
            time.sleep(0.2)
        self.wait_for_no_row(server)
        self.assertEqual('thawed', self.guest_log(server)[-1])


class TestDeleted(RecoveryTest):
    def test_a_deleted_server_leaves_no_row(self) -> None:
        for freeze, thaw in (('', ''), ('slow:3', ''), ('', 'fail')):
            with self.subTest(freeze=freeze, thaw=thaw):
                server = self.boot(quiesce=freeze, unquiesce=thaw)
                self.act(server, {'quiesce': {'unquiesce_after': DEADLINE}})
                if not freeze:
                    self.wait(server, 'quiesced')
                self._delete(server)
                self.wait_for_no_row(server)
                asked = self.actions(server)
                time.sleep(DEADLINE + INTERVAL + 1)    # past its deadline
                self.assertEqual(asked, self.actions(server))


class TestNoService(RecoveryTest):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(base.force_down, SERVICE, False)

    def test_nothing_is_accepted(self) -> None:
        server, frozen = self.boot(), self.boot()
        self.act(frozen, {'quiesce': None})
        self.wait(frozen, 'quiesced')
        base.force_down(SERVICE, True)
        response = self.act(server, {'quiesce': None}, expect=503)
        self.assertIn('No nova-quiesce service is up', response.text)
        self.act(frozen, {'unquiesce': None}, expect=503)
        self.assertEqual(('active', None), self.states(server))
        self.assertEqual(('quiesced', None), self.states(frozen))
        self.assertFalse(self.is_known(server))
        self.assertEqual(
            ['create'], [name for name, _id in self.actions(server)]
        )

    def test_other_refusals_come_first(self) -> None:
        server = self.boot(persona='member')
        base.force_down(SERVICE, True)
        self.act(server, {'quiesce': {}}, expect=400)
        self.act(server, {'quiesce': None}, 'member', expect=403)
        self.act(server, {'quiesce': None}, 'other', expect=404)
        self.act(server, {'unquiesce': None}, expect=409)

    def test_the_command_says_so(self) -> None:
        server = self.boot('vm-alone')
        base.force_down(SERVICE, True)
        result = self.openstack('server quiesce --wait vm-alone', expect=1)
        for words in (
            'vm-alone',
            server,
            'No nova-quiesce service is up',
            'nova-quiesce-status upgrade check',
        ):
            self.assertIn(words, result.stderr)
