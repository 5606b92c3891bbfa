# SPDX-License-Identifier: Apache-2.0

"""What is refused, and that it changes nothing."""

import re
from typing import Any

from tempest import config
from tempest.lib import decorators
from tempest.lib import exceptions
from tempest.lib.common.utils import data_utils

from quiesce_tempest_plugin.tests import base

CONF = config.CONF


class QuiesceServersNegativeTest(base.QuiesceTest):
    """What an administrator is refused."""

    @classmethod
    def resource_setup(cls) -> None:
        super().resource_setup()
        cls.server = cls.create_server()

    def assert_refused(self, *actions: str) -> None:
        """Requests of these actions are answered 409, with the action."""
        for action in actions:
            with self.assertRaisesRegex(
                    exceptions.Conflict, "Cannot '%s' instance %s" % (
                        action, re.escape(self.server))):
                self.quiesce_client.action(self.server, {action: None})

    def assert_status(self, status: str) -> None:
        """A server is at rest, and has this status."""
        self.assertEqual(status, self.settle(self.server))

    @decorators.attr(type='negative')
    @decorators.idempotent_id('27e8e853-562d-4ae2-97e1-d4bd3c824a7c')
    def test_unquiesce_active_server(self) -> None:
        """409: a server that is not quiesced is not unquiesced."""
        self.assert_refused('unquiesce')
        self.assert_status('ACTIVE')

    @decorators.attr(type='negative')
    @decorators.idempotent_id('9a7600cd-4ba2-429b-98cc-e2cb5a685b8b')
    def test_quiesce_quiesced_server(self) -> None:
        """409: a quiesced server is not quiesced."""
        self.quiesce_for_this_test(self.server)
        self.assert_refused('quiesce')
        self.assert_status('QUIESCED')

    @decorators.attr(type='negative')
    @decorators.idempotent_id('0500b254-e84f-413d-a4bf-f70e8e702a75')
    def test_paused_server(self) -> None:
        """409: a paused server is neither quiesced nor unquiesced."""
        if not CONF.compute_feature_enabled.pause:
            raise self.skipException('[compute-feature-enabled]pause says no')
        self.servers_client.pause_server(self.server)
        self.addCleanup(self.wait_for_status, self.server, 'ACTIVE')
        self.addCleanup(self.servers_client.unpause_server, self.server)
        self.wait_for_status(self.server, 'PAUSED')
        self.assert_refused('quiesce', 'unquiesce')
        self.assert_status('PAUSED')

    @decorators.attr(type='negative')
    @decorators.idempotent_id('386f6091-5a2f-4d4f-90d1-b697328543c8')
    def test_stopped_server(self) -> None:
        """409: a stopped server is neither quiesced nor unquiesced."""
        self.servers_client.stop_server(self.server)
        self.addCleanup(self._wait_for_guest, self.server)
        self.addCleanup(self.wait_for_status, self.server, 'ACTIVE')
        self.addCleanup(self.servers_client.start_server, self.server)
        self.wait_for_status(self.server, 'SHUTOFF')
        self.assert_refused('quiesce', 'unquiesce')
        self.assert_status('SHUTOFF')

    @decorators.attr(type='negative')
    @decorators.idempotent_id('bff63588-1fe7-4053-a825-96ff9de60c0b')
    def test_quiesced_server_is_left_alone(self) -> None:
        """409: Nova does nothing else to a quiesced server."""
        self.quiesce_for_this_test(self.server)
        for body in (*({action: None} for action in (
                'pause', 'unpause', 'suspend', 'resume', 'os-stop',
                'os-start', 'shelve', 'migrate')),
                {'reboot': {'type': 'SOFT'}}, {'reboot': {'type': 'HARD'}},
                {'rebuild': {'imageRef': CONF.compute.image_ref}}):
            with self.assertRaises(exceptions.Conflict, msg=str(body)):
                self.quiesce_client.action(self.server, body)
        self.assert_status('QUIESCED')

    @decorators.attr(type='negative')
    @decorators.idempotent_id('9470e739-3726-4448-bcd7-1efeeba15c5c')
    def test_bad_bodies(self) -> None:
        """400: a body that the API does not define."""
        values: list[Any] = [
            True, 0, '', 'now', [], {}, {'force': True},
            {'unquiesce_after': 0}, {'unquiesce_after': -1},
            {'unquiesce_after': '60'}, {'unquiesce_after': 1.5},
            {'unquiesce_after': True}, {'unquiesce_after': None},
            {'unquiesce_after': 60, 'force': True}]
        bodies: list[Any] = [
            *({action: value} for action in ('quiesce', 'unquiesce')
              for value in values),
            {'unquiesce': {'unquiesce_after': 60}},
            {'quiesce': None, 'extra': 1},
            {'quiesce': None, 'unquiesce': None}]
        for body in bodies:
            with self.assertRaises(exceptions.BadRequest, msg=str(body)):
                self.quiesce_client.action(self.server, body)
        self.assert_status('ACTIVE')

    @decorators.attr(type='negative')
    @decorators.idempotent_id('fddd12b6-73a5-4f74-8831-8a2a09de470b')
    def test_deadline_too_far(self) -> None:
        """400: a deadline later than the cloud allows, which it says."""
        most = CONF.quiesce.max_unquiesce_after
        with self.assertRaisesRegex(
                exceptions.BadRequest, 'at most %d' % most):
            self.quiesce_client.quiesce_server(
                self.server, unquiesce_after=most + 1)
        self.assert_status('ACTIVE')

    @decorators.attr(type='negative')
    @decorators.idempotent_id('25cd4d2e-831e-4720-ba01-92befe45a602')
    def test_unknown_server(self) -> None:
        """404: there is no such server."""
        unknown = data_utils.rand_uuid()
        self.assertRaises(exceptions.NotFound,
                          self.quiesce_client.quiesce_server, unknown)
        self.assertRaises(exceptions.NotFound,
                          self.quiesce_client.unquiesce_server, unknown)


class QuiesceWithoutAgentTest(base.QuiesceTest):
    """A server that cannot be quiesced."""

    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        if not CONF.quiesce.image_ref_no_agent:
            raise cls.skipException('[quiesce]image_ref_no_agent is not set')

    @decorators.attr(type='negative')
    @decorators.idempotent_id('c9f53b10-83b3-4a93-a170-9e7a3e510609')
    def test_image_without_agent(self) -> None:
        """It stays ACTIVE, and the action says why."""
        server = self.create_server(image=CONF.quiesce.image_ref_no_agent)
        request = self.request_id(self.quiesce_client.quiesce_server(server))
        self.assertEqual('ACTIVE', self.settle(server))
        event = self.event(server, request)
        self.assertEqual('Error', event['result'])
        self.assertIn('hw_qemu_guest_agent=yes', event['details'])
