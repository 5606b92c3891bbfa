# SPDX-License-Identifier: Apache-2.0

"""From nova-api to nova-quiesce: two casts on a topic of their own.

Each is a hint to look at a server now.  One that is lost, late or doubled does
no harm: the work is in the table of freezes.  So a version that one side does
not know needs no cap: its request is found like one whose message was lost.
"""

import functools
from typing import Any

import oslo_messaging
from nova import context as nova_context
from nova import rpc
from nova.objects import base

from nova_quiesce import notification_states
from nova_quiesce import times

#: the program, by which Nova knows its services
BINARY = notification_states.SOURCE
#: topic on which every nova-quiesce listens
TOPIC = 'quiesce'
VERSION = '1.0'


class QuiesceAPI:
    """Client side of the manager's RPC API.

    API version history:

        * 1.0 - Initial version.
    """

    @functools.cached_property
    def _client(self) -> Any:
        # Not before the first message: who only lists has no bus.
        return rpc.get_client(
            oslo_messaging.Target(topic=TOPIC, version=VERSION),
            serializer=base.NovaObjectSerializer()).prepare(
                retry=times.BUS_RETRIES)

    def quiesce_instance(self, context: nova_context.RequestContext,
                         instance_uuid: str, host: str | None) -> None:
        """Have any nova-quiesce look at a freeze that is wanted, or not."""
        self._client.cast(context, 'quiesce_instance',
                          instance_uuid=instance_uuid, host=host)

    def unquiesce_instance(self, context: nova_context.RequestContext,
                           instance_uuid: str, host: str | None) -> None:
        """Have any nova-quiesce look at a server that must be thawed."""
        self._client.cast(context, 'unquiesce_instance',
                          instance_uuid=instance_uuid, host=host)
