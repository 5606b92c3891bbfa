# SPDX-License-Identifier: Apache-2.0

"""RabbitMQ as kolla-ansible sets it up: it dies, and comes back."""

import signal
import subprocess

from minicloud import ports
from minicloud import servers

from osc_quiesce.tests.deployments import base
from osc_quiesce.tests.functional import base as functional

#: seconds until a deadline; after it the broker is there again
DEADLINE = 10


class QueuesTest(base.DeploymentsTest):

    def queues(self, virtual_host: str) -> dict[str, str]:
        """Return the kind of each queue, by name."""
        layout = functional.cloud().layout
        done = subprocess.run(
            ['/usr/lib/rabbitmq/bin/rabbitmqctl', '--quiet', '--vhost',
             virtual_host, 'list_queues', '--no-table-headers', 'name',
             'type'],
            env=servers.rabbitmq_environment(
                layout, ports.load(layout.ports)),
            capture_output=True, text=True, check=True)
        return dict(line.split('\t') for line in done.stdout.splitlines())

    def test_the_broker_dies_while_guests_are_frozen(self) -> None:
        asked, late = self.boot_all(*base.CELLS)
        requests = [self.quiesce(asked, 600)]
        self.quiesce(late, DEADLINE)
        functional.cloud().signal('broker', signal.SIGKILL)
        self.addCleanup(functional.cloud().start, 'broker')
        functional.cloud().start('broker')
        self.wait_until_up()
        self.assertEqual('quorum', self.queues('/')['quiesce'])
        self.assertEqual('quorum', self.queues('cell1')['compute.compute1'])
        self.wait_until_thawed(late)
        self.assertIsNotNone(self.frozen_once(late).ended)
        requests.append(self.ask(asked, {'unquiesce': None}))
        self.wait(asked, 'active')
        for request in requests:
            self.assert_success(asked, request)
        self.assert_all_ended(late)
        self.wait_for_none_listed([asked, late])
        self.assert_usable([asked, late])
