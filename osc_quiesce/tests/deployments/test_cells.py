# SPDX-License-Identifier: Apache-2.0

"""Two cells, and one of them that does not answer."""

import signal
import time

from osc_quiesce.tests.deployments import base
from osc_quiesce.tests.faults import base as faults
from osc_quiesce.tests.functional import base as functional

#: seconds until a deadline, in which servers can be seen quiesced
DEADLINE = 8
#: the same for many servers
LONGER = 20


class BothCellsTest(base.DeploymentsTest):

    def test_one_command_quiesces_servers_of_both_in_order(self) -> None:
        servers = self.boot_all(1, 2, 1, 2)
        self.openstack('server quiesce --wait %s' % ' '.join(servers))
        listed = self.listed(servers)
        self.assertEqual(set(servers), listed.keys())
        self.assertEqual({'frozen'}, {
            freeze['state'] for freeze in listed.values()})
        self.openstack('server unquiesce --wait %s' % ' '.join(servers))
        began = [self.frozen_once(server).began for server in servers]
        self.assertEqual(sorted(began), began)
        for server in servers:
            requests = self.requests(server)
            self.assertEqual(2, len(requests))
            for request in requests:
                self.assert_success(server, request)
        self.wait_for_none_listed(servers)

    def test_a_deadline_is_kept_in_each(self) -> None:
        servers = self.boot_all(*base.CELLS)
        for server in servers:
            self.quiesce(server, DEADLINE)
        for server in servers:
            self.wait(server, 'active')
            self.assert_kept(server, DEADLINE)
            [quiesce, thaw] = self.requests(server)
            self.assert_success(server, quiesce)
            [event] = self.action(server, thaw)['events']
            self.assertEqual('Success', event['result'])
            self.assertIn('deadline of request %s' % quiesce,
                          event['details'])

    def test_a_reset_and_a_deletion_are_noticed_in_each(self) -> None:
        reset, deleted = self.boot_all(1, 2), self.boot_all(1, 2)
        for server in reset + deleted:
            self.quiesce(server, 3600)
        for server in reset:
            self.act(server, {'os-resetState': {'state': 'active'}})
        for server in deleted:
            answer = functional.compute().delete('/servers/%s' % server)
            self.assertEqual(204, answer.status_code, answer.text)
        for server in reset:
            self.wait_until_thawed(server)
            self.assertIsNotNone(self.frozen_once(server).ended)
            self.assert_all_ended(server)
        self.wait_for_none_listed(reset + deleted)


class StoppedCellTest(base.DeploymentsTest):
    """The database and the message bus of one cell are stopped."""

    def stop(self, cell: int, number: int) -> None:
        """Send the way to a cell a signal that stops it."""
        gate = 'gate%d' % cell
        self.addCleanup(functional.cloud().start, gate)
        functional.cloud().signal(gate, number)

    def check_other_cell(self, server: str, late: str) -> None:
        """Servers of the cell that answers are as they always are.

        :param server: is quiesced and unquiesced
        :param late: has a deadline
        """
        self.quiesce(late, DEADLINE)
        began = time.monotonic()
        requests = [self.quiesce(server, 600)]
        self.assertEqual('frozen', self.listed([server])[server]['state'])
        requests.append(self.ask(server, {'unquiesce': None}))
        self.wait(server, 'active')
        self.assertLess(time.monotonic() - began, base.LATE)
        for request in requests:
            self.assert_success(server, request)
        self.wait(late, 'active')
        self.assert_kept(late, DEADLINE)

    def check_after(self, servers: list[str]) -> None:
        """The guests of the cell that was stopped are thawed."""
        for server in servers:
            self.wait_until_thawed(server)
            self.assert_all_ended(server)
        self.wait_for_none_listed(servers)
        self.assert_usable(servers[:2])

    def test_one_that_hangs_holds_up_no_other(self) -> None:
        # More than both services have threads.
        threads = int(2 * faults.setting('quiesce', 'threads'))
        stopped = self.boot_all(*[2] * (threads + 1))
        servers = self.boot_all(1, 1)
        for server in stopped:
            self.ask(server, {'quiesce': {'unquiesce_after': LONGER}})
        for server in stopped:
            self.wait(server, 'quiesced')
        deadline = LONGER + min(
            self.frozen_once(server).began for server in stopped)
        # So late that nobody has found out when the first of them is due.
        time.sleep(max(deadline - 1 - time.time(), 0))
        self.stop(2, signal.SIGSTOP)
        self.check_other_cell(*servers)
        # Past their deadlines, but nobody can be told.
        self.assertIn(None, [
            self.frozen_once(server).ended for server in stopped])
        functional.cloud().signal('gate2', signal.SIGCONT)
        self.check_after(stopped)

    def test_one_that_is_down_holds_up_no_other(self) -> None:
        frozen = self.boot_in(1)
        freezing = self.boot_in(1, quiesce='slow:1')
        servers = self.boot_all(2, 2)
        self.quiesce(frozen, DEADLINE)
        with self.held(freezing):
            self.ask(freezing, {'quiesce': {'unquiesce_after': DEADLINE}})
            self.wait_for(lambda: self.work_on(freezing),
                          'a service has begun')
            self.stop(1, signal.SIGKILL)
        self.check_other_cell(*servers)
        self.assertEqual({frozen, freezing},
                         self.listed([frozen, freezing]).keys())
        functional.cloud().start('gate1')
        self.check_after([frozen, freezing])
