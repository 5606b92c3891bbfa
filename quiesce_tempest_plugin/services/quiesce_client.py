# SPDX-License-Identifier: Apache-2.0

"""Nova's actions quiesce and unquiesce, called as tempest calls Nova."""

import json
from typing import Any

from tempest.lib import exceptions
from tempest.lib.common import rest_client
from tempest.lib.services.compute import base_compute_client


class QuiesceClient(base_compute_client.BaseComputeClient):
    """Service client for quiesce and unquiesce."""

    def quiesce_server(
            self, server_id: str, **options: Any) -> rest_client.ResponseBody:
        """Have the file systems of a server flushed and frozen.

        :param options: ``unquiesce_after``, the seconds after which the cloud
            thaws it, and ``request_id``
        """
        return self.action(server_id, {'quiesce': options or None})

    def unquiesce_server(self, server_id: str) -> rest_client.ResponseBody:
        """Have the file systems of a quiesced server thawed."""
        return self.action(server_id, {'unquiesce': None})

    def unquiesce_request(
            self, server_id: str, request_id: str) -> str | None:
        """Have thawed what a request has frozen.

        :returns: what the request has become; None if a thaw was begun
        """
        response, content = self.post(
            'servers/%s/action' % server_id, json.dumps(
                {'unquiesce': {'request_id': request_id}}))
        self.expected_success([200, 202], response.status)
        return (json.loads(content)['unquiesce']['state']
                if response.status == 200 else None)

    def list_freezes(self, server_id: str) -> list[dict[str, Any]]:
        """Return what is or may be frozen of a server, of any project."""
        response, content = self.get(
            'os-quiesce?server=%s&all_projects=1' % server_id)
        self.expected_success(200, response.status)
        found: list[dict[str, Any]] = json.loads(content)['freezes']
        return found

    def action(self, server_id: str, body: Any) -> rest_client.ResponseBody:
        """POST an action of any body.

        :raises tempest.lib.exceptions.RestClientException: if it is refused
        """
        response, content = self.post(
            'servers/%s/action' % server_id, json.dumps(body))
        self.expected_success(202, response.status)
        if content:
            raise exceptions.InvalidHTTPResponseBody(
                'An accepted action has a body: %r' % content)
        return rest_client.ResponseBody(response)
