# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Which servers may be frozen, and having them thawed, for an operator.

Asks like everybody else, by a compare-and-swap and a message: it is
nova-quiesce that thaws, and that goes on if this program does not.
"""

import dataclasses
import threading
import time
from collections.abc import Collection, Mapping, Sequence

from nova import context as nova_context
from nova import exception
from nova import objects
from oslo_log import log as logging

from nova_quiesce import cells
from nova_quiesce import db
from nova_quiesce import exceptions
from nova_quiesce import marks
from nova_quiesce import requests
from nova_quiesce import states
from nova_quiesce.i18n import _

LOG = logging.getLogger(__name__)

#: seconds that a cell has to answer; all its servers may have to be read
PATIENCE = 60.0
#: seconds between two looks
PAUSE = 1.0


@dataclasses.dataclass(frozen=True)
class Found:
    """A server that may be frozen, and its cell."""

    server: db.WatchedServer
    cell: objects.CellMapping


@dataclasses.dataclass(frozen=True)
class Sight:
    """The servers that may be frozen, at one moment.

    :param servers: by UUID
    :param complete: whether every cell has answered
    """

    servers: Mapping[str, Found]
    complete: bool


class Drain:
    """Finds servers that may be frozen, and has them thawed."""

    def __init__(self) -> None:
        self._context = nova_context.get_admin_context()
        self._cells = cells.Cells(PATIENCE)
        self._requests = requests.Requests()

    def look(self, wanted: Collection[str] | None = None) -> Sight:
        """Return the servers that may be frozen.

        :param wanted: UUIDs of those that count; by default all
        """
        answers, complete = self._cells.ask(self._context, _look)
        return Sight({server.uuid: Found(server, cell)
                      for cell, servers in answers for server in servers
                      if wanted is None or server.uuid in wanted}, complete)

    def services(self) -> cells.Services:
        """Return the nova-quiesce services of all cells."""
        return self._cells.services(self._context)

    def thaw(self, timeout: float, wanted: Collection[str] | None = None,
             ) -> tuple[int, Sight]:
        """Have servers thawed, and wait for it.

        One whose freeze or thaw is under way is asked when that has ended,
        if it may be frozen then.

        :param timeout: seconds to wait
        :param wanted: UUIDs; by default all that may be frozen
        :returns: how many were thawed, and which are left
        :raises nova.exception.InstanceMappingNotFound: one does not exist;
            none was asked
        :raises NoService: nobody would thaw them; none was asked
        """
        end = time.monotonic() + timeout
        sight = self.look(wanted)
        for uuid in set(wanted or ()) - sight.servers.keys():
            objects.InstanceMapping.get_by_instance_uuid(self._context, uuid)
        if sight.servers and not self.services().any_up():
            raise exceptions.NoService()
        left, thawed = dict(sight.servers), 0
        asked: set[str] = set()
        while left or not sight.complete:
            # One that is asked already is tried again by nova-quiesce, unless
            # it was quiesced anew.
            due = [found for uuid, found in sight.servers.items()
                   if found.server.task_state is None and (
                       uuid not in asked
                       or found.server.vm_state == states.QUIESCED)]
            asked.update(found.server.uuid for found in due)
            # While the bus is down, a message is not sent, nor given up.
            asking = threading.Thread(
                target=self._ask, args=(due,), daemon=True)
            asking.start()
            asking.join(max(0.0, end - time.monotonic()))
            if time.monotonic() >= end:
                break
            time.sleep(PAUSE)
            sight = self.look(wanted)
            if sight.complete:
                thawed += len(left.keys() - sight.servers.keys())
                left = dict(sight.servers)
            else:    # those that were not seen are perhaps frozen
                left.update(sight.servers)
        return thawed, Sight(left, sight.complete)

    def _ask(self, servers: Sequence[Found]) -> None:
        for found in servers:
            try:
                with nova_context.target_cell(
                        self._context, found.cell) as context:
                    self._ask_one(context, found.server.uuid)
            except exception.InstanceNotFound:
                pass    # deleted since
            except Exception as error:
                LOG.warning('Server %(uuid)s could not be asked to thaw: '
                            '%(error)s',
                            {'uuid': found.server.uuid, 'error': error})

    def _ask_one(self, context: nova_context.RequestContext,
                 uuid: str) -> None:
        instance = objects.Instance.get_by_uuid(
            context, uuid,
            expected_attrs=['system_metadata', 'metadata', 'flavor'])
        if (marks.get(instance) is not None
                or instance.vm_state == states.QUIESCED):
            self._requests.thaw(context, instance, _(
                'An administrator has asked for it with nova-quiesce-status'))
        # Else it was thawed since.


def _look(context: nova_context.RequestContext) -> list[db.WatchedServer]:
    return db.watched_servers(
        context, (states.QUIESCED,), (states.QUIESCING, states.UNQUIESCING))
