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

"""All cells at once, and which nova-quiesce services are up.

A cell that is down holds nobody up: it is asked for a few seconds, and then
left out for a while, which is longer each time.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

from nova import context as nova_context
from nova import objects
from nova import servicegroup
from oslo_log import log as logging

from nova_quiesce import rpcapi

LOG = logging.getLogger(__name__)

#: seconds that a cell has to answer
PATIENCE = 5.0
#: seconds for which one that did not is left out: the first time, and at most
BREAKS = (5.0, 60.0)


@dataclasses.dataclass(frozen=True)
class Services:
    """The nova-quiesce services that are known.

    :param up: whether it is up, by host
    :param complete: whether every cell has answered
    """

    up: Mapping[str, bool]
    complete: bool

    def any_up(self) -> bool:
        """Say whether anybody would carry a request out."""
        return any(self.up.values())

    def is_dead(self, host: str | None) -> bool:
        """Say whether the service of this host has certainly died."""
        if host is not None and host in self.up:
            return not self.up[host]
        return self.complete    # deleted; else its cell may be down


class Cells:
    """Asks the cells of a cloud, and remembers those that do not answer.

    :param patience: seconds that a cell has to answer
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._servicegroup = servicegroup.API()
        #: until when, and for how long
        self._left_out: dict[str, tuple[float, float]] = {}

    def ask(self, context: nova_context.RequestContext,
            function: Callable[..., Any], *, cell0: bool = False,
            ) -> 'tuple[list[tuple[objects.CellMapping, Any]], bool]':
        """Call a function in every cell at the same time.

        :param function: is called with a context that targets the cell
        :param cell0: whether to ask cell0 too
        :returns: each cell that has answered, with its answer; and whether
            all have
        """
        now = time.monotonic()
        cells = [cell for cell in objects.CellMappingList.get_all(context)
                 if cell0 or not cell.is_cell0()]
        asked = [cell for cell in cells
                 if self._left_out.get(cell.uuid, (now, 0.0))[0] <= now]
        results = nova_context.scatter_gather_cells(
            context, asked, self._patience, function)
        answers = []
        for cell in asked:
            result = results[cell.uuid]
            if not nova_context.is_cell_failure_sentinel(result):
                answers.append((cell, result))
                self._left_out.pop(cell.uuid, None)
                continue
            if isinstance(result, Exception):
                why = str(result) or type(result).__name__
            else:
                why = 'no answer within %g seconds' % self._patience
                first, longest = BREAKS
                _until, pause = self._left_out.get(cell.uuid, (now, 0.0))
                pause = min(max(first, 2 * pause), longest)
                self._left_out[cell.uuid] = (
                    time.monotonic() + pause, pause)
            LOG.warning('Cell %(name)s (%(uuid)s) is left out: %(why)s',
                        {'name': cell.name, 'uuid': cell.uuid, 'why': why})
        return answers, len(answers) == len(cells)

    def services(self, context: nova_context.RequestContext) -> Services:
        """Return the nova-quiesce services of all cells.

        Nova's own rule says which are up. Whether one is disabled does not
        count: it works all the same.
        """
        answers, complete = self.ask(
            context.elevated(), self._find_services, cell0=True)
        up: dict[str, bool] = {}
        for _cell, services in answers:
            for service in services:
                is_up = self._servicegroup.service_is_up(service)
                up[service.host] = is_up or up.get(service.host, False)
        return Services(up, complete)

    @staticmethod
    def _find_services(context: nova_context.RequestContext,
                       ) -> objects.ServiceList:
        return objects.ServiceList.get_by_binary(
            context, rpcapi.BINARY, include_disabled=True)
