# SPDX-License-Identifier: Apache-2.0

"""A test on a cloud that is built as large ones are.

It has two cells, each with a database, a message bus, a nova-conductor and a
nova-compute of its own; RabbitMQ with quorum queues; MariaDB; and two
nova-quiesce of one host name, as containers have it in a rolling update.
"""

import functools
from typing import Any

from osc_quiesce.tests.faults import base
from osc_quiesce.tests.functional import base as functional

#: the cells that hold servers
CELLS = (1, 2)
#: seconds past its deadline in which a guest is thawed, on a busy machine
LATE = base.LATE


class DeploymentsTest(base.FakeGuestsTest):

    def setUp(self) -> None:
        super().setUp()
        self.wait_until_up()

    def boot_in(self, cell: int, wait: bool = True, **metadata: str) -> str:
        """Create a server in a cell, as ``boot`` does."""
        return self.boot(wait=wait, host='compute%d' % cell, **metadata)

    def boot_all(self, *cells: int, **metadata: str) -> list[str]:
        """Create a server in each of these cells."""
        servers = [self.boot_in(cell, wait=False, **metadata)
                   for cell in cells]
        for server in servers:
            self.wait(server, 'active')
        return servers

    def ask(self, server: str, action: dict[str, Any]) -> str:
        """Ask for an action, and return the id of the request."""
        answer = self.act(server, action)
        return str(answer.headers['x-openstack-request-id'])

    def quiesce(self, server: str, unquiesce_after: int) -> str:
        """Quiesce a server, and return the id of the request."""
        request = self.ask(
            server, {'quiesce': {'unquiesce_after': unquiesce_after}})
        self.wait(server, 'quiesced')
        return request

    def listed(self, servers: list[str]) -> dict[str, dict[str, Any]]:
        """Return what GET /os-quiesce tells of servers."""
        answer = functional.compute().get('/os-quiesce', params={
            'server': servers})
        self.assertEqual(200, answer.status_code, answer.text)
        return {freeze['server_id']: freeze
                for freeze in answer.json()['freezes']}

    def wait_for_none_listed(self, servers: list[str]) -> None:
        self.wait_for(lambda: not self.listed(servers),
                      'none of %s is listed' % servers, base.BOUND)

    def wait_until_thawed(self, server: str) -> None:
        """Wait until a guest is thawed, and Nova done with the server."""
        self.wait_for(functools.partial(self.is_well, server),
                      '%s is thawed' % server, base.BOUND)

    def frozen_once(self, server: str) -> base.Frozen:
        """Return when a guest was frozen; that was once."""
        history = self.history(server)
        self.assertEqual(1, len(history), history)
        return history[0]

    def assert_kept(self, server: str, deadline: int,
                    late: float = LATE) -> None:
        """A guest was frozen once, until its deadline."""
        frozen = self.frozen_once(server)
        assert frozen.ended
        self.assertGreaterEqual(frozen.ended - frozen.began, deadline - 0.5)
        self.assertLess(frozen.ended - frozen.began, deadline + late)

    def assert_success(self, server: str, request: str) -> None:
        """A request has one event, and that ended well."""
        events = self.action(server, request)['events']
        self.assertEqual(['Success'], [event['result'] for event in events],
                         events)

    def requests(self, server: str) -> list[str]:
        """Return the ids of the requests to quiesce and unquiesce."""
        answer = functional.compute().get(
            '/servers/%s/os-instance-actions' % server)
        self.assertEqual(200, answer.status_code, answer.text)
        return [str(action['request_id']) for action in reversed(
            answer.json()['instanceActions'])
            if action['action'] in ('quiesce', 'unquiesce')]
