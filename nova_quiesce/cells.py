# SPDX-License-Identifier: Apache-2.0

"""The cells: where a server is, and which of them answer.

At most one sweep is under way in one cell, in an executor of its own, so that
a cell that hangs holds up no other one.  A cell whose sweep has not come back
for a while counts as hung, and nothing else is begun in it.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures

from nova import context as nova_context
from nova import objects
from oslo_log import log as logging

from nova_quiesce import times

LOG = logging.getLogger(__name__)

Sweep = Callable[[nova_context.RequestContext, str], None]


class Cells:
    """The cells of a cloud, as one service knows them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._executors: dict[str, futures.ThreadPoolExecutor] = {}
        #: since when a sweep is under way, on the monotonic clock
        self._sweeping: dict[str, float] = {}

    def is_hung(self, cell_uuid: str) -> bool:
        """Return whether the sweep of a cell has not come back."""
        since = self._sweeping.get(cell_uuid)
        return (since is not None
                and time.monotonic() > since + times.CELL_TIMEOUT)

    def sweep(self, context: nova_context.RequestContext,
              function: Sweep) -> None:
        """Call a function in every cell, and do not wait for it.

        A cell in which it is still under way is left out.

        :param function: is called with a context that targets the cell, and
            the UUID of the cell
        """
        for cell in objects.CellMappingList.get_all(context):
            if cell.is_cell0():
                continue
            with self._lock:
                if cell.uuid in self._sweeping:
                    if self.is_hung(cell.uuid):
                        LOG.warning('Cell %(name)s (%(uuid)s) has not '
                                    'answered for %(seconds)d s',
                                    {'name': cell.name, 'uuid': cell.uuid,
                                     'seconds': time.monotonic()
                                     - self._sweeping[cell.uuid]})
                    continue
                self._sweeping[cell.uuid] = time.monotonic()
                executor = self._executors.setdefault(
                    cell.uuid, futures.ThreadPoolExecutor(max_workers=1))
            executor.submit(self._run, context, cell, function)

    def _run(self, context: nova_context.RequestContext,
             cell: objects.CellMapping, function: Sweep) -> None:
        try:
            with nova_context.target_cell(context, cell) as cell_context:
                function(cell_context, cell.uuid)
        except Exception as error:
            LOG.warning('The sweep of cell %(name)s (%(uuid)s) failed and is '
                        'repeated: %(error)s',
                        {'name': cell.name, 'uuid': cell.uuid,
                         'error': error})
        finally:
            self._sweeping.pop(cell.uuid, None)


@contextlib.contextmanager
def of_server(context: nova_context.RequestContext, instance_uuid: str,
              ) -> Iterator[nova_context.RequestContext]:
    """Return a context that targets the cell of a server.

    :raises nova.exception.InstanceMappingNotFound: if there is no such server
    """
    mapping = objects.InstanceMapping.get_by_instance_uuid(
        context, instance_uuid)
    with nova_context.target_cell(context, mapping.cell_mapping) as targeted:
        yield targeted
