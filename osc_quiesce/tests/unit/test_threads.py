# SPDX-License-Identifier: Apache-2.0

import contextlib
import os
import signal
import threading
import time
from typing import Any
import unittest
from unittest import mock

from osc_quiesce.tests import signals
from osc_quiesce import threads


class TestAtOnce(unittest.TestCase):

    def test_what_comes_of_the_items_is_in_their_order(self) -> None:
        self.assertEqual(
            [1, 4, 9], threads.at_once(lambda n: n * n, [1, 2, 3]))

    def test_all_are_under_way_at_the_same_time(self) -> None:
        barrier = threading.Barrier(3, timeout=60)
        threads.at_once(lambda _item: barrier.wait(), 'abc')

    def test_an_error_comes_after_all_have_ended(self) -> None:
        ended = []

        def do(item: str) -> None:
            if item in 'bc':
                raise ValueError(item)
            ended.append(item)

        with self.assertRaisesRegex(ValueError, 'b'):
            threads.at_once(do, 'abcd', threads=1)
        self.assertEqual(['a', 'd'], ended)

    def test_none_begins_after_an_error_if_so_asked(self) -> None:
        begun = []

        def do(item: int) -> None:
            begun.append(item)
            if item == 1:
                raise ValueError

        with self.assertRaises(ValueError):
            threads.at_once(do, range(9), threads=1, stop_at_error=True)
        self.assertEqual([0, 1], begun)

    def test_interrupts_leave_no_thread_behind(self) -> None:
        signals.as_in_terminal(self)
        ended = []

        def do(_item: int) -> None:
            for _number in range(3):
                time.sleep(0.1)
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            ended.append(True)

        try:
            with self.assertRaises(KeyboardInterrupt):
                threads.at_once(do, [1])
            self.assertTrue(ended, 'its thread goes on')
        finally:  # or the signals hit the next test
            while not ended:
                with contextlib.suppress(KeyboardInterrupt):
                    time.sleep(0.1)

    def test_none_begins_after_an_interrupt(self) -> None:
        signals.as_in_terminal(self)
        handled = threading.Event()
        begun = []

        def handle(number: int, frame: Any) -> None:
            handled.set()
            signal.default_int_handler(number, frame)

        signal.signal(signal.SIGINT, handle)

        def do(item: int) -> None:
            begun.append(item)
            os.kill(os.getpid(), signal.SIGINT)
            handled.wait(60)
            time.sleep(0.2)  # what it raises comes a moment later

        with self.assertRaises(KeyboardInterrupt):
            threads.at_once(do, range(9), threads=1)
        self.assertEqual([0], begun)

    def test_an_interrupt_does_not_end_the_wait_for_the_threads(self) -> None:
        has_ended = mock.Mock(
            side_effect=[False, KeyboardInterrupt, False, True])
        with self.assertRaises(KeyboardInterrupt):
            threads._wait_until(has_ended)
        self.assertEqual(4, has_ended.call_count)
