# SPDX-License-Identifier: Apache-2.0

"""Servers are quiesced and unquiesced, and show it."""

import json
import time
from typing import Any

from tempest import config
from tempest.common import waiters
from tempest.lib import decorators
from tempest.lib import exceptions as lib_exceptions
from tempest.lib.common.utils import data_utils

from quiesce_tempest_plugin.tests import base

CONF = config.CONF
#: seconds: longer than it takes to see that a server is quiesced
DEADLINE = 10


class QuiesceServersTest(base.QuiesceTest):
    """What an administrator sees of it."""

    @classmethod
    def resource_setup(cls) -> None:
        super().resource_setup()
        cls.server = cls.create_server()

    @decorators.attr(type='smoke')
    @decorators.idempotent_id('96e4e53d-7da7-488c-a7de-1a5736efcffb')
    def test_quiesce_and_unquiesce(self) -> None:
        """A server is QUIESCED, and then ACTIVE again."""
        self.quiesce_for_this_test(self.server)
        shown = self.admin_servers_client.show_server(self.server)['server']
        self.assertEqual('quiesced', shown['OS-EXT-STS:vm_state'])
        self.unquiesce(self.server)
        shown = self.admin_servers_client.show_server(self.server)['server']
        self.assertEqual('active', shown['OS-EXT-STS:vm_state'])

    @decorators.idempotent_id('cc34fd14-a03d-4fc4-bbb5-bfb011a4ef59')
    def test_instance_actions(self) -> None:
        """Each request is an instance action with an event."""
        requests = {'quiesce': self.quiesce_for_this_test(self.server),
                    'unquiesce': self.unquiesce(self.server)}
        for action, request in requests.items():
            event = self.event(self.server, request)
            self.assertEqual((action, 'Success'),
                             (event['action'], event['result']))
            self.assertIsNotNone(event['finish_time'])

    @decorators.idempotent_id('aebaf546-0274-4436-8a88-f1ce69936311')
    def test_owner_sees_it(self) -> None:
        """Whoever owns the server sees its status and the action."""
        request = self.quiesce_for_this_test(self.server)
        self.assertEqual('QUIESCED', self.servers_client.show_server(
            self.server)['server']['status'])
        self.assertEqual('quiesce', self.servers_client.show_instance_action(
            self.server, request)['instanceAction']['action'])

    @decorators.idempotent_id('cc375c65-f29d-41fe-b640-a86b18afa5ce')
    def test_list_by_status(self) -> None:
        """Quiesced servers can be listed by their status."""
        self.quiesce_for_this_test(self.server)
        for detail in (False, True):
            for status, expected in (('QUIESCED', [self.server]),
                                     ('quiesced', [self.server]),
                                     ('ACTIVE', [])):
                listed = self.servers_client.list_servers(
                    detail=detail, status=status)['servers']
                self.assertEqual(expected, [server['id'] for server in listed],
                                 status)

    @decorators.idempotent_id('40e75306-7d88-4773-8205-3ad03886a5d2')
    def test_unquiesce_after(self) -> None:
        """The cloud unquiesces a server when its deadline has passed."""
        began = time.monotonic()
        self.addCleanup(self._unquiesce_if_needed, self.server)
        request = self.quiesce(self.server, unquiesce_after=DEADLINE)
        self.wait_for_status(self.server, 'ACTIVE')
        self.assertGreaterEqual(time.monotonic() - began, DEADLINE)
        latest = max(self._actions(''), key=lambda each: each['start_time'])
        action = self._actions('/%s' % latest['request_id'])
        self.assertEqual('unquiesce', action['action'])
        [event] = action['events']
        self.assertEqual('Success', event['result'])
        self.assertIn('deadline of request %s' % request, event['details'])

    def _actions(self, path: str) -> Any:
        # What only a service wants has no user. Nova's schema allows
        # that; tempest's, which its client checks, does not.
        _response, body = self.admin_servers_client.get(
            'servers/%s/os-instance-actions%s' % (self.server, path))
        [answer] = json.loads(body).values()
        return answer

    @decorators.idempotent_id('5d2f6a0e-5f0c-4c39-9a59-0f6f7f0b7c11')
    def test_request_id(self) -> None:
        """A request can be repeated, and only it ends its freeze."""
        request = 'req-%s' % data_utils.rand_uuid()
        self.addCleanup(self._unquiesce_if_needed, self.server)
        for _copy in range(2):
            self.quiesce_client.quiesce_server(
                self.server, request_id=request, unquiesce_after=300)
        self.wait_for_status(self.server, 'QUIESCED')
        self._wait_for_row(request, 'frozen')
        other = 'req-%s' % data_utils.rand_uuid()
        self.assertEqual('withdrawn', self.quiesce_client.unquiesce_request(
            self.server, other))
        self.assertRaises(
            lib_exceptions.Conflict, self.quiesce_client.quiesce_server,
            self.server, request_id=other)
        self.assertIsNone(self.quiesce_client.unquiesce_request(
            self.server, request))
        self.wait_for_status(self.server, 'ACTIVE')
        self._wait_for_row()
        self.assertEqual('ended', self.quiesce_client.unquiesce_request(
            self.server, request))

    def _wait_for_row(self, *expected: str) -> None:
        """Wait until the row has this request and state, or is gone.

        It is written a moment before or after the server.
        """
        end = time.monotonic() + CONF.compute.build_timeout
        while True:
            rows = [(row['request_id'], row['state']) for row in
                    self.quiesce_client.list_freezes(self.server)]
            if rows == ([expected] if expected else []):
                return
            self.assertLess(time.monotonic(), end, rows)
            time.sleep(CONF.compute.build_interval)

    @decorators.idempotent_id('0e4c2d32-d5e7-40af-9506-fa4fcfb2b4ea')
    def test_reset_state(self) -> None:
        """A server whose state is reset can be quiesced again."""
        self.quiesce_for_this_test(self.server)
        self.admin_servers_client.reset_state(self.server, state='active')
        self.wait_for_status(self.server, 'ACTIVE')
        # Not before its guest is thawed, which needs no request.
        end = time.monotonic() + CONF.compute.build_timeout
        while True:
            try:
                self.quiesce(self.server)
                return
            except lib_exceptions.Conflict:
                self.assertLess(time.monotonic(), end)
                time.sleep(CONF.compute.build_interval)

    @decorators.idempotent_id('39e8a788-f62a-406c-94a0-a93acb0aff55')
    def test_delete_quiesced_server(self) -> None:
        """A quiesced server can be deleted."""
        server = self.create_server()
        self.quiesce(server)
        self.servers_client.delete_server(server)
        waiters.wait_for_server_termination(self.servers_client, server)
