# SPDX-License-Identifier: Apache-2.0

"""Whose turn it is: hints, ticks, and threads."""

import json
import threading
import time
import unittest
from typing import Any
from unittest import mock

from oslo_db import exception as db_exception
from oslo_service import service as oslo_service

from nova_quiesce import manager
from nova_quiesce import store
from nova_quiesce import times
from nova_quiesce.tests.unit import world


class TestManager(world.WorldTest):

    def test_thaws_have_threads_of_their_own(self) -> None:
        service = self.services['ctl1']
        submitted: list[str] = []
        for name in ('freezes', 'thaws'):
            self._patch(mock.patch.object(
                getattr(service, name), 'submit',
                lambda *args, name=name, **kwargs: submitted.append(name)))
        self.quiesce()
        self.deliver(keep=True)
        self.advance(times.ASK_PAUSE)
        self.tick('ctl1')
        self.assertEqual(['freezes', 'freezes'], submitted)
        submitted.clear()
        for state in (store.State.FREEZING, store.State.FROZEN,
                      store.State.THAWING):
            self.set_row(state=state.value)
            self.tick('ctl1')
        service.unquiesce_instance(self._context(), self.uuid, 'cmp1')
        self.assertEqual(['thaws'] * 4, submitted)

    def test_a_tick_takes_what_is_due_and_nothing_else(self) -> None:
        self.freeze(unquiesce_after=60)
        first, self.uuid = self.uuid, self.boot()
        self.freeze(unquiesce_after=90)
        self.advance(60)
        self.tick()
        self.assertEqual(store.State.FROZEN, self.row_state)
        self.assertIsNone(self.store.get(first))
        self.assertEqual('active', self.instance_of(first).vm_state)

    def test_a_deadline_is_kept_behind_any_number_of_freezes(self) -> None:
        self.set_option('threads', 1)
        self.freeze(unquiesce_after=60)
        frozen = self.uuid
        for _number in range(5):
            self.uuid = self.boot()
            self.quiesce()
        self.bus.messages.clear()
        with mock.patch.object(self.services['ctl1'].freezes, 'submit'):
            self.advance(61)    # all its threads hang
            self.tick('ctl1')
        self.assertIsNone(self.store.get(frozen))

    def test_a_failure_is_not_the_end_of_the_service(self) -> None:
        self.quiesce()
        with mock.patch.object(
                self.services['ctl1'].work, 'do', side_effect=ValueError):
            self.deliver()
        self.assertEqual(0, self.services['ctl1'].freezes.used)
        self.live(times.ASK_PAUSE + 1)
        self.check_at_rest('quiesced', frozen=True)

    def test_it_reports_and_forgets(self) -> None:
        self.sweep()
        [own] = [json.loads(details) for host, cell, _age, details
                 in self.store.reports() if host == 'ctl1' and not cell]
        self.assertTrue(own.pop('process'))
        self.assertEqual(self.services['ctl1'].figures(), own)
        self.assertIn(('ctl1', world.CELL.uuid), [
            (host, cell) for host, cell, _age, _details
            in self.store.reports()])
        with mock.patch.object(store.Store, 'forget') as forget:
            self.sweep()
            forget.assert_not_called()
            self.advance(times.LOG_INTERVAL)
            self.sweep()
            self.sweep()
            self.assertEqual(1, forget.call_count)

    def test_one_that_is_stopped_ends_what_it_has_in_hand(self) -> None:
        pool = self.services['ctl1'].freezes
        done: list[str] = []
        pool._in_hand.add(self.uuid)

        def sleep(seconds: float) -> None:
            done.extend(['a moment'] if seconds else [])    # SQLAlchemy: 0
            if len(done) == 3:
                pool._in_hand.clear()

        with mock.patch.object(manager.time, 'sleep', sleep):
            self.services['ctl1'].graceful_shutdown(10)
        self.assertEqual(3, len(done))
        self.quiesce()
        self.deliver('ctl1')
        self.assertEqual([], self.guest.calls)

    def test_one_that_is_stopped_waits_no_longer_than_it_may(self) -> None:
        pool = self.services['ctl1'].thaws
        pool._in_hand.add(self.uuid)
        self.addCleanup(pool._in_hand.clear)
        began = self.passed

        def sleep(seconds: float) -> None:
            self.passed += seconds

        with mock.patch.object(manager.time, 'sleep', sleep):
            self.services['ctl1'].graceful_shutdown(5)
        self.assertAlmostEqual(5, self.passed - began, delta=0.2)

    def test_one_that_is_stopped_is_not_called_down(self) -> None:
        option = 'graceful_shutdown_timeout'
        if option not in manager.CONF:    # as when oslo.service runs it
            manager.CONF.register_opts([
                each for _group, options in oslo_service.list_opts()
                for each in options if each.name == option])
        # Nova 31 and 32, 33, and 34.
        for host, name, arguments in (('ctl3', 'cleanup_host', ()),
                                      ('ctl4', 'graceful_shutdown', ()),
                                      ('ctl5', 'graceful_shutdown', (10,))):
            with self.subTest(host):
                self.restart(host)
                self.sweep(host)
                getattr(self.services[host], name)(*arguments)
                self.assertNotIn(host, [report[0] for report
                                        in self.store.reports()])

    def test_unless_another_process_of_its_name_goes_on(self) -> None:
        self.sweep('ctl1')
        stopped = self.services['ctl1']
        self.restart('ctl1')
        self.sweep('ctl1')
        stopped.graceful_shutdown(10)
        self.assertIn('ctl1', [report[0] for report in self.store.reports()])

    def test_what_is_due_is_looked_for_even_if_it_cannot_report(self) -> None:
        self.freeze(unquiesce_after=60)
        self.advance(61)
        with mock.patch.object(store.Store, 'report',
                               side_effect=db_exception.DBDeadlock):
            self.assertRaises(db_exception.DBDeadlock,
                              self.services['ctl1']._tick, self._context())
        self.assertFalse(self.guest.frozen)

    def test_unless_another_process_reports_in_turn_with_it(self) -> None:
        self.services.clear()
        self.advance(100)
        self.restart('ctl1')
        stopped = self.services['ctl1']
        for _turn in range(2):
            for self.services['ctl1'] in (
                    manager.QuiesceManager(host='ctl1'), stopped):
                self.sweep('ctl1')
        stopped.graceful_shutdown(10)
        self.assertTrue(self.store.is_any_up(60))

    def test_one_that_has_replaced_another_is_not_called_down(self) -> None:
        self.sweep('ctl1')
        self.restart('ctl1')
        for _turn in range(2):
            self.sweep('ctl1')
        self.services['ctl1'].graceful_shutdown(10)
        self.assertNotIn('ctl1', [report[0] for report
                                  in self.store.reports()])

    def test_one_that_stops_counts_no_more_while_it_ends_its_work(
            self) -> None:
        stopped = self.services.pop('ctl1')
        self.services.clear()
        self.advance(100)
        for _turn in range(2):
            stopped._sweep(self._context())
        self.assertTrue(self.store.is_any_up(60))
        stopped.freezes._in_hand.add(self.uuid)
        up: list[bool] = []

        def sleep(seconds: float) -> None:
            self.passed += seconds
            if seconds:    # SQLAlchemy: 0
                stopped._sweep(self._context())
                stopped.sweep.run(self._context(), world.CELL.uuid)
                up.append(self.store.is_any_up(60))

        with mock.patch.object(manager.time, 'sleep', sleep):
            stopped.graceful_shutdown(0.3)
        self.assertGreater(len(up), 1)
        self.assertFalse(any(up))
        self.assertNotIn('ctl1', [report[0] for report
                                  in self.store.reports()])

    def test_before_it_is_started_it_is_known_to_be_up(self) -> None:
        self.services.clear()
        self.advance(100)
        self.assertFalse(self.store.is_any_up(60))
        self.restart('ctl1')
        self.services['ctl1'].init_host()
        self.assertTrue(self.store.is_any_up(60))

    def test_it_is_known_to_be_up_however_rarely_it_sweeps(self) -> None:
        service = self.services.pop('ctl1')
        self.services.clear()
        service.init_host()
        for _second in range(200):
            self.advance(1)
            service._tick(self._context())
            self.assertTrue(
                self.store.is_any_up(manager.CONF.service_down_time / 2))
        service.graceful_shutdown(0)
        self.advance(100)
        service._tick(self._context())
        self.assertFalse(self.store.is_any_up(60))

    def test_an_answer_in_no_row_is_counted(self) -> None:
        self.guest.unknown_answers = 3
        self.assertEqual(
            3, self.services['ctl1'].figures()['unknown_answers'])

    def test_a_thaw_that_failed_is_counted(self) -> None:
        self.freeze()
        self.guest.on_thaw = [world.answer(world.not_thawed())]
        self.unquiesce()
        self.deliver()
        self.assertEqual(1, self.services['ctl1'].figures()['thaws_failed'])

    def test_guests_that_hang_hold_up_those_of_no_other_host(self) -> None:
        # More than a tick looks up.
        self.set_option('threads', 1)
        self._add_compute_service('cmp2')
        self.compute_hosts.add('cmp2')
        self.restart('ctl1')
        service = self.services['ctl1']
        uuids = []
        for host in (*8 * ('cmp1',), 'cmp2'):
            self.uuid = self.boot(host)
            self.freeze(unquiesce_after=60)
            uuids.append(self.uuid)
        self.advance(61)
        executor = self._patch(mock.patch.object(service.thaws, '_executor'))
        self.tick('ctl1')
        self.assertEqual(['cmp1'], service.thaws.busy)
        self.tick('ctl1')
        self.assertEqual({'cmp1', 'cmp2'}, {
            call.args[1] for call in executor.submit.call_args_list})
        self.assertIn(uuids[-1], [
            call.args[2] for call in executor.submit.call_args_list])


class Worker:
    """Blocks until it is told to go on."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.go_on = threading.Event()
        self.begun = threading.Event()

    def do(self, instance_uuid: str, hinted: bool) -> None:
        self.begun.set()
        self.go_on.wait(60)
        self.done.append(instance_uuid)


class TestPool(unittest.TestCase):

    def setUp(self) -> None:
        self.worker = Worker()
        self.pools: list[manager.Pool] = []
        self.addCleanup(self._end)

    def _end(self) -> None:
        self.worker.go_on.set()
        for pool in self.pools:
            pool._executor.shutdown()

    def pool(self, worker: Any) -> manager.Pool:
        self.pools.append(manager.Pool(worker, 'test'))
        return self.pools[-1]

    def test_one_server_is_in_hand_only_once(self) -> None:
        pool = self.pool(self.worker)
        for _attempt in range(3):
            pool.submit('a', 'cmp1')
        self.assertEqual(1, pool.used)
        self._end()
        self.assertEqual(['a'], self.worker.done)
        self.assertEqual(0, pool.used)

    def test_freezes_that_hang_hold_up_no_thaw(self) -> None:
        manager.CONF.set_override('threads', 2, 'quiesce')
        self.addCleanup(manager.CONF.clear_override, 'threads', 'quiesce')
        freezes, other = self.pool(self.worker), Worker()
        thaws = self.pool(other)
        for uuid in 'abc':
            freezes.submit(uuid, 'host of ' + uuid)
        other.go_on.set()
        thaws.submit('d', 'host of a')
        self.assertTrue(other.begun.wait(60))
        self.assertEqual([], self.worker.done)

    def test_of_few_threads_they_get_four_or_all(self) -> None:
        self.addCleanup(manager.CONF.clear_override, 'threads', 'quiesce')
        for threads, most in ((1, 1), (3, 3), (8, 4), (64, 16)):
            manager.CONF.set_override('threads', threads, 'quiesce')
            self.assertEqual(most, self.pool(self.worker)._most_per_host)

    def test_those_of_one_host_get_a_quarter_of_the_threads(self) -> None:
        manager.CONF.set_override('threads', 20, 'quiesce')
        self.addCleanup(manager.CONF.clear_override, 'threads', 'quiesce')
        pool = self.pool(self.worker)
        running = mock.Mock(wraps=pool._executor.submit)
        with mock.patch.object(pool._executor, 'submit', running):
            for uuid in 'abcdefg':
                pool.submit(uuid, 'hung')
            self.assertEqual(5, running.call_count)
            self.assertEqual(['hung'], pool.busy)
            pool.submit('h', 'well')
            self.assertEqual(6, running.call_count)
        self.assertEqual(8, pool.used)
        self.worker.go_on.set()
        deadline = time.monotonic() + 60
        while pool.used and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual(set('abcdefgh'), set(self.worker.done))
        self.assertEqual([], pool.busy)
