# SPDX-License-Identifier: Apache-2.0

"""What the tests share: servers, and what becomes of a request."""

import time
from typing import Any

import tempest.test
from tempest import config
from tempest.common import waiters
from tempest.lib import exceptions
from tempest.lib.common import api_version_utils
from tempest.lib.common.utils import data_utils
from tempest.lib.common.utils import test_utils

CONF = config.CONF


class QuiesceTest(api_version_utils.BaseMicroversionTest,
                  tempest.test.BaseTestCase):
    """A test with servers of a member of a project, and an administrator."""

    credentials: list[Any] = ['primary', 'admin']
    # Servers without a network, and details of events.
    min_microversion = '2.84'
    max_microversion = 'latest'

    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        for service in ('nova', 'nova_quiesce'):
            if not CONF.service_available[service]:
                raise cls.skipException(
                    '[service_available]%s says no' % service)
        api_version_utils.check_skip_with_microversion(
            cls.min_microversion, cls.max_microversion,
            CONF.compute.min_microversion, CONF.compute.max_microversion)

    @classmethod
    def setup_credentials(cls) -> None:
        cls.set_network_resources()    # none
        super().setup_credentials()

    @classmethod
    def setup_clients(cls) -> None:
        super().setup_clients()
        cls.servers_client = cls.os_primary.servers_client
        cls.admin_servers_client = cls.os_admin.servers_client
        cls.quiesce_client = cls.os_admin.quiesce.QuiesceClient()

    @classmethod
    def resource_setup(cls) -> None:
        super().resource_setup()
        cls.setup_api_microversion_fixture(
            compute_microversion=(
                api_version_utils.select_request_microversion(
                    cls.min_microversion, CONF.compute.min_microversion)))

    @classmethod
    def create_server(cls, image: str | None = None) -> str:
        """Create a server, deleted after the tests of the class.

        :param image: the id of its image; by default one whose servers can
            be quiesced, and then this waits until its guest can be, too
        :returns: the id of the server
        """
        server: str = cls.servers_client.create_server(
            name=data_utils.rand_name(
                prefix=CONF.resource_name_prefix, name=cls.__name__),
            imageRef=(image or CONF.quiesce.image_ref
                      or CONF.compute.image_ref),
            flavorRef=CONF.compute.flavor_ref,
            networks='none')['server']['id']
        cls.addClassResourceCleanup(
            waiters.wait_for_server_termination, cls.servers_client, server)
        cls.addClassResourceCleanup(
            test_utils.call_and_ignore_notfound_exc,
            cls.servers_client.delete_server, server)
        cls.wait_for_status(server, 'ACTIVE')
        if image is None:
            cls._wait_for_guest(server)
        return server

    @classmethod
    def _wait_for_guest(cls, server: str) -> None:
        """Wait until an agent answers: it comes after the server is active."""
        end = time.monotonic() + CONF.compute.build_timeout
        while True:
            request = cls.request_id(cls.quiesce_client.quiesce_server(server))
            if cls.settle(server) == 'QUIESCED':
                break
            if time.monotonic() > end:
                raise exceptions.TimeoutException(
                    'Server %s cannot be quiesced: %s' % (
                        server, cls.event(server, request)['details']))
            time.sleep(CONF.compute.build_interval)
        cls.unquiesce(server)

    @classmethod
    def wait_for_status(cls, server: str, status: str) -> dict[str, Any]:
        """Wait until a server has a status, and return the server."""
        shown: dict[str, Any] = waiters.wait_for_server_status(
            cls.admin_servers_client, server, status)
        return shown

    @classmethod
    def settle(cls, server: str) -> str:
        """Wait until nothing is being done, and return the status."""
        end = time.monotonic() + CONF.compute.build_timeout
        while True:
            shown = cls.admin_servers_client.show_server(server)['server']
            if shown['OS-EXT-STS:task_state'] is None:
                return str(shown['status'])
            if time.monotonic() > end:
                raise exceptions.TimeoutException(
                    'Server %s is still in task_state %s' % (
                        server, shown['OS-EXT-STS:task_state']))
            time.sleep(CONF.compute.build_interval)

    @staticmethod
    def request_id(answer: Any) -> str:
        """Return the id of the request that has been answered."""
        return str(answer.response['x-openstack-request-id'])

    @classmethod
    def event(cls, server: str, request: str) -> dict[str, Any]:
        """Return what a service has done for a request.

        A cloud whose servers have a deadline shows that as a second event.
        """
        action = cls.admin_servers_client.show_instance_action(
            server, request)['instanceAction']
        [event] = [event for event in action['events']
                   if event['event'] != 'quiesce_deadline']
        return dict(event, action=action['action'])

    @classmethod
    def quiesce(cls, server: str, **options: Any) -> str:
        """Quiesce a server, and return the id of the request."""
        answer = cls.quiesce_client.quiesce_server(server, **options)
        cls.wait_for_status(server, 'QUIESCED')
        return cls.request_id(answer)

    @classmethod
    def unquiesce(cls, server: str) -> str:
        """Unquiesce a server, and return the id of the request."""
        answer = cls.quiesce_client.unquiesce_server(server)
        cls.wait_for_status(server, 'ACTIVE')
        return cls.request_id(answer)

    def quiesce_for_this_test(self, server: str) -> str:
        """Quiesce a server that others use too; return the request's id."""
        self.addCleanup(self._unquiesce_if_needed, server)
        return self.quiesce(server)

    def _unquiesce_if_needed(self, server: str) -> None:
        if self.settle(server) == 'QUIESCED':
            self.unquiesce(server)
