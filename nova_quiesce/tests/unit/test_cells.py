# SPDX-License-Identifier: Apache-2.0

"""A cell that hangs holds up no other one."""

import contextlib
import threading
import time
import unittest
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any
from unittest import mock

from nova import context as nova_context
from nova import exception
from nova import objects
from oslo_db import exception as db_exception

from nova_quiesce import cells
from nova_quiesce import db
from nova_quiesce import guest
from nova_quiesce import times
from nova_quiesce.tests.unit import world


def cell(uuid: str, is_cell0: bool = False) -> Any:
    found = mock.Mock(uuid=uuid, is_cell0=lambda: is_cell0)
    found.name = 'cell ' + uuid
    return found


class TestCells(unittest.TestCase):

    def setUp(self) -> None:
        self.passed = 100.0
        self.go_on = threading.Event()
        self.begun: list[str] = []
        self.ended = threading.Semaphore(0)
        for patch in (
                mock.patch.object(
                    objects.CellMappingList, 'get_all',
                    lambda context: [cell('0', True), cell('hung'),
                                     cell('well')]),
                mock.patch.object(nova_context, 'target_cell', self._target),
                mock.patch('time.monotonic', lambda: self.passed)):
            patch.start()
            self.addCleanup(patch.stop)
        self.cells = cells.Cells()
        self.addCleanup(self._end)

    def _end(self) -> None:
        self.go_on.set()
        for known in self.cells._cells.values():
            known.executor.shutdown()

    @contextlib.contextmanager
    def _target(self, context: object, cell: Any) -> Iterator[object]:
        yield cell

    def _look(self, context: Any, cell_uuid: str) -> None:
        self.begun.append(cell_uuid)
        if cell_uuid == 'hung':
            self.go_on.wait(60)
            return
        self.ended.release()

    def sweep(self) -> None:
        self.cells.sweep(mock.Mock(), self._look)
        self.assertTrue(self.ended.acquire(timeout=60))
        while self.cells._get('well').swept_at is not None:
            threading.Event().wait(0.01)

    def test_at_most_one_sweep_resume_in_a_hung_cell(self) -> None:
        for _sweep in range(4):
            self.sweep()
            self.passed += 2 * times.CELL_TIMEOUT
        self.assertEqual(1, self.begun.count('hung'))
        self.assertEqual(4, self.begun.count('well'))
        self.assertNotIn('0', self.begun)

    def test_it_counts_as_hung_after_a_while(self) -> None:
        self.sweep()
        self.assertFalse(self.cells._get('hung').hung_for)
        self.passed += times.CELL_TIMEOUT + 1
        self.assertTrue(self.cells._get('hung').hung_for)
        self.assertFalse(self.cells._get('well').hung_for)
        self._end()
        self.assertFalse(self.cells._get('hung').hung_for)

    def test_it_counts_as_hung_however_often_it_is_to_be_swept(self) -> None:
        self.sweep()
        self.passed += times.CELL_TIMEOUT + 1
        self.sweep()
        self.assertTrue(self.cells._get('hung').hung_for)

    def test_a_cell_that_fails_is_swept_again(self) -> None:
        with mock.patch.object(self, '_look', side_effect=ValueError):
            self.cells.sweep(mock.Mock(), self._look)
            for known in list(self.cells._cells.values()):
                known.executor.submit(lambda: None).result(60)
                self.assertIsNone(known.swept_at)
        self.sweep()


class TestAsking(unittest.TestCase):

    def setUp(self) -> None:
        self.go_on = threading.Event()
        self.asked: list[str] = []
        self.opened: list[str] = []
        for patch in (
                mock.patch.object(nova_context, 'target_cell', self._target),
                mock.patch.object(db, 'states_of', self._answer),
                mock.patch.object(guest.ComputeAPI, 'open_bus', self._open)):
            patch.start()
            self.addCleanup(patch.stop)
        self.cells = cells.Cells()
        self.executor = futures.ThreadPoolExecutor(4)
        self.addCleanup(self.executor.shutdown)
        self.addCleanup(self.go_on.set)

    @contextlib.contextmanager
    def _target(self, context: object, cell: Any) -> Iterator[str]:
        yield cell.uuid

    def _answer(self, context: str, uuids: object) -> None:
        self.asked.append(context)
        if context == 'hung':
            self.go_on.wait(60)
        if context == 'gone':
            raise OSError('no route')

    def _open(self, context: str) -> bool:
        self.opened.append(context)
        if context == 'without a broker':
            self.go_on.wait(60)
        return context != 'refused'

    def enter(self, uuid: str) -> None:
        with self.cells.target(mock.Mock(), cell(uuid.partition('/')[0])):
            pass

    def test_a_cell_that_hangs_costs_one_thread(self) -> None:
        first = self.executor.submit(self.enter, 'hung/1')
        others = [self.executor.submit(self.enter, 'hung/%d' % number)
                  for number in (2, 3, 4)]
        self.executor.submit(self.enter, 'well/1').result(60)
        for other in others:
            self.assertRaises(cells.NoAnswer, other.result, 60)
        self.assertFalse(first.done())
        began = time.monotonic()
        self.assertRaises(cells.NoAnswer, self.enter, 'hung/5')
        self.assertLess(time.monotonic() - began, times.CELL_ANSWER)
        self.assertEqual(1, self.asked.count('hung'))
        self.go_on.set()
        first.result(60)
        self.enter('hung/6')

    def test_one_whose_broker_is_gone_costs_one_thread(self) -> None:
        # The first call of a process waits for it without a bound.
        first = self.executor.submit(self.enter, 'without a broker/1')
        others = [self.executor.submit(self.enter, 'without a broker/2')
                  for _number in range(3)]
        for other in others:
            self.assertRaises(cells.NoAnswer, other.result, 60)
        self.assertFalse(first.done())
        self.go_on.set()
        first.result(60)
        self.enter('without a broker/3')
        self.assertEqual(['without a broker'], self.opened)

    def test_one_that_has_just_answered_is_not_asked_again(self) -> None:
        for number in range(3):
            self.enter('well/%d' % number)
        self.assertEqual(['well'], self.asked)

    def test_one_whose_broker_refuses_is_entered_so_that_it_is_told(
            self) -> None:
        for number in range(2):
            self.enter('refused/%d' % number)
            self.cells._get('refused').answered_at -= times.CELL_ANSWER
        self.assertEqual(['refused', 'refused'], self.opened)

    def test_one_that_fails_is_asked_again(self) -> None:
        for _time in range(2):
            self.assertRaises(cells.NoAnswer, self.enter, 'gone/1')
        self.assertEqual(['gone', 'gone'], self.asked)


class TestHungCell(world.WorldTest):

    def test_nothing_is_begun_in_it_and_the_row_stays(self) -> None:
        self.freeze(unquiesce_after=60)
        service = self.services['ctl1']
        service.cells._get(world.CELL.uuid).swept_at = self.passed
        self.advance(61)
        with mock.patch.object(objects.Instance, 'get_by_uuid',
                               side_effect=AssertionError):
            self.tick('ctl1')
        row = self.row
        assert row is not None
        self.assertIsNone(row.owner)
        self.assertAlmostEqual(times.WAIT_PAUSE, (row.due_at or 0) - row.now,
                               places=2)
        # For another service the cell may be well.
        self.advance(times.WAIT_PAUSE)
        self.tick('ctl2')
        self.check_at_rest('active')


class TestRefusingCell(world.WorldTest):
    """A cell whose database refuses connections, or ends them."""

    ERROR = db_exception.DBConnectionError(OSError(
        'refused\nBackground on this error at: https://sqlalche.me'))

    def lines(self, work: Callable[[], None]) -> list[str]:
        """Return what is logged, which has no traceback."""
        with self.assertLogs('nova_quiesce', 'WARNING') as logged:
            work()
        for record in logged.records:
            self.assertEqual('WARNING', record.levelname)
            self.assertIsNone(record.exc_info)
            self.assertNotIn('\n', record.getMessage())
        return [record.getMessage() for record in logged.records]

    def check_waits(self) -> None:
        row = self.row
        assert row is not None
        self.assertIsNone(row.owner)
        self.assertAlmostEqual(times.WAIT_PAUSE, (row.due_at or 0) - row.now,
                               places=2)

    def test_its_rows_wait_and_one_line_names_it(self) -> None:
        uuids = []
        for _number in range(3):
            self.freeze(unquiesce_after=60)
            uuids.append(self.uuid)
            self.uuid = self.boot()
        self.advance(61)

        def work() -> None:
            self.tick()
            self.sweep()

        with mock.patch.object(db, 'states_of', side_effect=self.ERROR):
            [line] = self.lines(work)
        self.assertIn('cell1 (%s)' % world.CELL.uuid, line)
        for self.uuid in uuids:
            self.check_waits()
        self.advance(times.WAIT_PAUSE)
        self.tick()
        for self.uuid in uuids:
            self.assertEqual(('active', None), self.states)
            self.assertIsNone(self.row)

    def test_so_does_one_whose_work_it_has_interrupted(self) -> None:
        for place, name in ((objects.Instance, 'get_by_uuid'),
                            (db, 'open_requests'), (db, 'finish_event')):
            with self.subTest(name):
                self.freeze(unquiesce_after=60)
                self.advance(61)
                with mock.patch.object(place, name, side_effect=self.ERROR):
                    [line] = self.lines(self.tick)
                self.assertIn('cell1 (%s)' % world.CELL.uuid, line)
                self.check_waits()
                self.assertFalse(self.services['ctl1'].cells._get(
                    world.CELL.uuid).answers)
                self.advance(times.WAIT_PAUSE)
                self.tick()
                self.check_at_rest('active')

    def test_so_does_one_whose_server_is_gone(self) -> None:
        self.freeze(unquiesce_after=60)
        self.advance(61)
        with mock.patch.object(
                objects.InstanceMapping, 'get_by_instance_uuid',
                side_effect=exception.InstanceMappingNotFound(uuid='x')):
            with mock.patch.object(db, 'states_of', side_effect=self.ERROR):
                self.tick()
            self.check_waits()
            self.advance(times.WAIT_PAUSE)
            self.tick()
        self.assertIsNone(self.row)

    def test_a_freeze_that_it_has_interrupted_is_undone(self) -> None:
        self.guest.on_freeze = [world.answer(world.unknown())]
        request_id = self.quiesce()
        with mock.patch.object(db, 'finish_event', side_effect=self.ERROR):
            self.lines(self.deliver)
        self.check_waits()
        self.live(times.WAIT_PAUSE + times.expiry_pause() + 3)
        self.assertEqual(['freeze', 'thaw', 'thaw', 'thaw'],
                         self.guest.names)
        self.assertEqual('Error', self.result_of(request_id))
        self.check_at_rest('active')


class TestMoved(world.WorldTest):

    def test_a_server_is_looked_for_where_it_is_now(self) -> None:
        # Where it was there may be a hidden copy.
        self.freeze(unquiesce_after=60)
        self.set_row(cell_uuid='where it was')
        self.advance(61)
        targeted: list[object] = []

        def target(context: Any, cell: object) -> Any:
            targeted.append(cell)
            return self._target_cell(context, cell)

        with mock.patch.object(nova_context, 'target_cell', target), \
                mock.patch.object(objects.CellMapping, 'get_by_uuid',
                                  side_effect=AssertionError):
            self.tick()
        self.assertEqual([world.CELL], targeted)
        self.check_at_rest('active')
