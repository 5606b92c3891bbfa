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
            self, server_id: str, unquiesce_after: int | None = None,
    ) -> rest_client.ResponseBody:
        """Have the file systems of a server flushed and frozen.

        :param unquiesce_after: seconds after which it is thawed by itself
        """
        return self.action(server_id, {
            'quiesce': None if unquiesce_after is None
            else {'unquiesce_after': unquiesce_after}})

    def unquiesce_server(self, server_id: str) -> rest_client.ResponseBody:
        """Have the file systems of a quiesced server thawed."""
        return self.action(server_id, {'unquiesce': None})

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
