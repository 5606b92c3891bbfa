# SPDX-License-Identifier: Apache-2.0

"""The cells, and which of them answer.

At most one sweep is under way in one cell, in an executor of its own, so that
a cell that hangs holds up no other one.  All that works in a cell asks before
whether it answers: while one thread waits for that, all others go elsewhere.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures

from nova import context as nova_context
from nova import objects
from oslo_db import exception as db_exception
from oslo_log import log as logging

from nova_quiesce import db
from nova_quiesce import exceptions
from nova_quiesce import guest
from nova_quiesce import times

LOG = logging.getLogger(__name__)

Sweep = Callable[[nova_context.RequestContext, str], None]


class NoAnswer(Exception):
    """The database or the bus of a cell does not answer, or refuses to."""


class _Cell:
    """What is known of a cell; all moments are of the monotonic clock.

    :ivar answered_at: when it last answered
    :ivar is_open: whether its message bus has answered
    :ivar asked_at: since when it is being asked; None if it is not
    :ivar swept_at: since when a sweep is under way; None if none is
    """

    def __init__(self) -> None:
        self.asking = threading.Lock()
        self.answered_at = -times.CELL_ANSWER
        self.is_open = False
        self.asked_at: float | None = None
        self.swept_at: float | None = None
        self.executor = futures.ThreadPoolExecutor(max_workers=1)

    @property
    def answers(self) -> bool:
        """Whether it has just answered."""
        return time.monotonic() < self.answered_at + times.CELL_ANSWER

    @property
    def hung_for(self) -> float:
        """For how many seconds its sweep is late; 0 if it is not."""
        if self.swept_at is None:
            return 0
        seconds = time.monotonic() - self.swept_at
        return seconds if seconds > times.CELL_TIMEOUT else 0


class Cells:
    """The cells of a cloud, as one service knows them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cells: dict[str, _Cell] = {}

    def _get(self, cell_uuid: str) -> _Cell:
        with self._lock:
            if cell_uuid not in self._cells:
                self._cells[cell_uuid] = _Cell()
            return self._cells[cell_uuid]

    @contextlib.contextmanager
    def target(self, context: nova_context.RequestContext,
               mapping: objects.CellMapping,
               ) -> Iterator[nova_context.RequestContext]:
        """Return a context that targets a cell.

        :raises NoAnswer: if the cell does not answer, or its database does so
            no longer in the middle of the work
        """
        cell = self._get(mapping.uuid)
        with nova_context.target_cell(context, mapping) as targeted:
            self._ask(targeted, cell)
            try:
                yield targeted
            except db_exception.DBConnectionError as error:
                cell.answered_at = -times.CELL_ANSWER
                LOG.warning('The database of cell %(name)s (%(uuid)s), or of '
                            'the table of freezes, does not answer any more: '
                            '%(error)s',
                            {'name': mapping.name, 'uuid': mapping.uuid,
                             'error': exceptions.first_line(error)})
                raise NoAnswer() from error

    @staticmethod
    def _ask(context: nova_context.RequestContext, cell: _Cell) -> None:
        """Ask whether a cell answers, if it has not just done so.

        At first its message bus, too, which has no bound for its first call.
        One thread waits for the answer as long as it takes, the others at
        most for :data:`times.CELL_ANSWER`. What is wrong with a cell is told
        by its sweeps, once for all its servers.
        """
        if cell.hung_for:
            raise NoAnswer()
        if cell.answers:
            return
        began = cell.asked_at or time.monotonic()
        if not cell.asking.acquire(timeout=max(
                0, began + times.CELL_ANSWER - time.monotonic())):
            raise NoAnswer()
        try:
            cell.asked_at = time.monotonic()
            if not cell.answers:
                db.states_of(context, [''])
                if not cell.is_open:
                    cell.is_open = guest.ComputeAPI().open_bus(context)
                cell.answered_at = time.monotonic()
        except Exception as error:
            raise NoAnswer() from error
        finally:
            cell.asked_at = None
            cell.asking.release()
        if time.monotonic() > began + times.LOOK_LEASE:
            # What was read before is of long ago, and may be another one's.
            raise NoAnswer()

    def sweep(self, context: nova_context.RequestContext,
              function: Sweep) -> None:
        """Call a function in every cell, and do not wait for it.

        A cell in which it is still under way is left out.

        :param function: is called with a context that targets the cell, and
            the UUID of the cell
        """
        for mapping in objects.CellMappingList.get_all(context):
            if mapping.is_cell0():
                continue
            cell = self._get(mapping.uuid)
            if cell.swept_at is None:
                cell.swept_at = time.monotonic()
                cell.executor.submit(
                    self._run, context, mapping, cell, function)
            elif cell.hung_for:
                LOG.warning('Cell %(name)s (%(uuid)s) has not answered for '
                            '%(seconds)d s',
                            {'name': mapping.name, 'uuid': mapping.uuid,
                             'seconds': cell.hung_for})

    @staticmethod
    def _run(context: nova_context.RequestContext,
             mapping: objects.CellMapping, cell: _Cell,
             function: Sweep) -> None:
        try:
            with nova_context.target_cell(context, mapping) as targeted:
                function(targeted, mapping.uuid)
        except Exception as error:
            LOG.warning('The sweep of cell %(name)s (%(uuid)s) failed and is '
                        'repeated: %(error)s',
                        {'name': mapping.name, 'uuid': mapping.uuid,
                         'error': exceptions.first_line(error)})
        finally:
            cell.swept_at = None
