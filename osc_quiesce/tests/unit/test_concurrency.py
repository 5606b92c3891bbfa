# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable
import concurrent.futures
import contextlib
import os
import signal
import threading
import time
from typing import Any
import unittest
from unittest import mock

from osc_quiesce import concurrency
from osc_quiesce.tests import signals

PATIENCE = 60  # seconds that no test should need


class TestRunAll(unittest.TestCase):
    def test_results_are_in_the_order_of_the_items(self) -> None:
        self.assertEqual(
            [1, 4, 9], concurrency.run_all(lambda n: n * n, [1, 2, 3])
        )

    def test_no_items_give_no_results(self) -> None:
        self.assertEqual([], concurrency.run_all(str, []))

    def test_all_items_are_under_way_at_the_same_time(self) -> None:
        barrier = threading.Barrier(3, timeout=PATIENCE)
        self.assertEqual(
            [0, 1, 2],
            sorted(concurrency.run_all(lambda _item: barrier.wait(), 'abc')),
        )

    def test_no_more_items_are_under_way_than_there_are_threads(self) -> None:
        lock = threading.Lock()
        free = [2]

        def do(_item: int) -> None:
            with lock:
                free[0] -= 1
                self.assertGreaterEqual(free[0], 0)
            time.sleep(0.01)
            with lock:
                free[0] += 1

        concurrency.run_all(do, range(8), threads=2)
        self.assertEqual([2], free)

    def test_the_first_error_comes_when_all_items_have_ended(self) -> None:
        ended = []

        def do(item: str) -> None:
            if item in 'bc':
                raise ValueError(item)
            ended.append(item)

        with self.assertRaisesRegex(ValueError, 'b'):
            concurrency.run_all(do, 'abcd', threads=1)
        self.assertEqual(['a', 'd'], ended)


class TestCalls(unittest.TestCase):
    def test_a_call_returns_its_result_or_raises_its_error(self) -> None:
        with concurrency.Calls() as calls:
            good = calls.begin(divmod, 7, 2)
            bad = calls.begin(divmod, 7, 0)
            self.assertEqual((3, 1), good.result(PATIENCE))
            with self.assertRaises(ZeroDivisionError):
                bad.result(PATIENCE)

    def test_the_block_is_left_when_its_calls_have_ended(self) -> None:
        begun, ended = threading.Event(), []

        def call() -> None:
            begun.set()
            time.sleep(0.1)
            ended.append('call')

        with self.assertRaises(LookupError):
            with concurrency.Calls() as calls:
                calls.begin(call)
                begun.wait(PATIENCE)
                raise LookupError
        self.assertEqual(['call'], ended)

    def test_queued_calls_never_begin_once_the_block_is_left(self) -> None:
        begun: list[int] = []
        may_end = threading.Event()

        def call(number: int) -> None:
            begun.append(number)
            may_end.wait(PATIENCE)

        with concurrency.Calls(threads=1) as calls:
            futures = [calls.begin(call, number) for number in range(9)]
            _wait_until(lambda: bool(begun))
            threading.Timer(0.1, may_end.set).start()
        self.assertEqual([0], begun)
        for future in futures[1:]:
            with self.assertRaises(concurrent.futures.CancelledError):
                future.result(0)

    def test_calls_that_are_not_awaited_hold_up_nothing(self) -> None:
        begun: list[int] = []
        may_end = threading.Event()
        self.addCleanup(may_end.set)

        def call(number: int) -> None:
            begun.append(number)
            may_end.wait(PATIENCE)

        with self.assertRaises(LookupError):
            with concurrency.Calls(threads=1) as calls:
                calls.is_awaited = False
                futures = [calls.begin(call, number) for number in range(2)]
                _wait_until(lambda: bool(begun))
                raise LookupError
        self.assertFalse(futures[0].done())
        self.assertTrue(futures[1].cancelled())

    def test_calls_never_begin_once_they_are_stopped(self) -> None:
        begun: list[int] = []
        with concurrency.Calls() as calls:
            calls.stop()
            future = calls.begin(begun.append, 1)
        self.assertEqual([], begun)
        with self.assertRaises(concurrent.futures.CancelledError):
            future.result(0)


def no_threads() -> contextlib.AbstractContextManager[object]:
    """As at the limit of processes of a container."""
    return mock.patch.object(
        threading.Thread, 'start',
        side_effect=RuntimeError("can't start new thread"))


class TestWithoutThreads(unittest.TestCase):
    def test_every_call_is_made_once(self) -> None:
        made = []

        def do(item: int) -> int:
            made.append(item)
            return -item

        with no_threads():
            self.assertEqual(
                [0, -1, -2], concurrency.run_all(do, range(3)))
        self.assertEqual([0, 1, 2], made)

    def test_an_error_is_that_of_its_call(self) -> None:
        with concurrency.Calls() as calls, no_threads():
            bad = calls.begin(divmod, 7, 0)
            good = calls.begin(divmod, 7, 2)
        self.assertEqual((3, 1), good.result(0))
        with self.assertRaises(ZeroDivisionError):
            bad.result(0)

    def test_threads_that_come_later_make_no_call_again(self) -> None:
        made: list[int] = []
        with concurrency.Calls() as calls:
            with no_threads():
                calls.begin(made.append, 1)
            calls.begin(made.append, 2).result(PATIENCE)
        self.assertEqual([1, 2], made)

    def test_an_interrupt_is_raised_where_it_arrives(self) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        with concurrency.Calls() as calls, no_threads():
            with self.assertRaises(KeyboardInterrupt):
                calls.begin(interrupt)

    def test_calls_that_must_not_block_are_refused(self) -> None:
        made: list[int] = []
        with concurrency.Calls(may_block=False) as calls, no_threads():
            with self.assertRaisesRegex(RuntimeError, 'start new thread'):
                calls.begin(made.append, 1)
        self.assertEqual([], made)


class TestSignals(unittest.TestCase):
    def setUp(self) -> None:
        super().setUp()
        signals.as_in_terminal(self)
        self.handled = threading.Event()

        def handle(number: int, frame: Any) -> None:
            self.handled.set()
            signal.default_int_handler(number, frame)

        signal.signal(signal.SIGINT, handle)

    def interrupt(self) -> None:
        """Have KeyboardInterrupt raised in the main thread."""
        self.handled.clear()
        os.kill(os.getpid(), signal.SIGINT)
        self.handled.wait(PATIENCE)
        time.sleep(0.1)  # what it raises comes a moment later

    def test_signals_again_and_again_leave_no_call_behind(self) -> None:
        ended = []

        def do(_item: int) -> None:
            for _number in range(4):
                self.interrupt()
            ended.append(True)

        try:
            with self.assertRaises(KeyboardInterrupt):
                concurrency.run_all(do, [1])
            self.assertEqual([True], ended)
        finally:  # or the signals hit the next test
            while not ended:
                with contextlib.suppress(KeyboardInterrupt):
                    time.sleep(0.1)

    def test_a_signal_that_wakes_up_nobody_is_handled(self) -> None:
        """As one does that comes just before the main thread waits."""
        handled = threading.Event()
        before = signal.signal(
            signal.SIGUSR1, lambda signum, frame: handled.set())
        self.addCleanup(signal.signal, signal.SIGUSR1, before)

        def do(item: int) -> bool:
            time.sleep(0.2)  # until the main thread waits
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
            return handled.wait(PATIENCE / 6)

        self.assertEqual([True], concurrency.run_all(do, [1]))

    def test_no_call_begins_after_a_signal(self) -> None:
        begun = []

        def do(item: int) -> None:
            begun.append(item)
            self.interrupt()

        with self.assertRaises(KeyboardInterrupt):
            concurrency.run_all(do, range(9), threads=1)
        self.assertEqual([0], begun)


class TestOnce(unittest.TestCase):
    def test_of_many_threads_one_reads(self) -> None:
        reads: list[str] = []
        together = threading.Barrier(8)
        known = concurrency.Once()

        def read(key: str) -> str:
            reads.append(key)
            return key.upper()

        def ask(number: int) -> str:
            together.wait(30)
            key = 'ab'[number % 2]
            return known.read(key, lambda: read(key))

        found = concurrency.run_all(ask, range(8), threads=8)
        self.assertEqual('ABABABAB', ''.join(found))
        self.assertEqual(['a', 'b'], sorted(reads))

    def test_nothing_is_remembered_of_a_failure(self) -> None:
        known = concurrency.Once()
        with self.assertRaises(ZeroDivisionError):
            known.read('key', lambda: 1 // 0)
        self.assertIsNone(known.read('key', lambda: None))
        self.assertIsNone(known.read('key', lambda: 1 // 0))


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError('it took too long')
        time.sleep(0.01)
