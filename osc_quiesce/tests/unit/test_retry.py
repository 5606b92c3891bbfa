# SPDX-License-Identifier: Apache-2.0

"""How long is waited, and the loop that repeats."""

from __future__ import annotations

import itertools
import unittest

from osc_quiesce import retry


class TestPauses(unittest.TestCase):
    def test_they_are_short_at_first_then_longer_then_the_same(self) -> None:
        pauses = list(itertools.islice(retry.pauses(), 100))
        self.assertLess(pauses[0], 0.1)
        self.assertEqual(sorted(pauses), pauses)
        self.assertLess(pauses[0], pauses[5])
        self.assertEqual(pauses[-2], pauses[-1])
        self.assertLessEqual(pauses[-1], 2)


class TestRepeat(unittest.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 100.0
        self.calls = 0
        self.timer = retry.Timer(lambda: self.now, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def call_until(self, calls: int) -> int:
        """Fail until it is called for the so-manieth time."""
        self.calls += 1
        if self.calls < calls:
            raise ValueError(self.calls)
        return self.calls

    def test_a_call_that_returns_is_made_once(self) -> None:
        self.assertEqual(
            1, self.timer.repeat(lambda: self.call_until(1), lambda exc: 0, 9)
        )
        self.assertEqual(100, self.now)

    def test_trouble_that_may_pass_is_outlasted(self) -> None:
        self.assertEqual(
            5, self.timer.repeat(lambda: self.call_until(5), lambda exc: 0, 9)
        )
        self.assertLess(self.now, 101)

    def test_trouble_that_is_final_ends_it(self) -> None:
        with self.assertRaises(ValueError):
            self.timer.repeat(lambda: self.call_until(5), lambda exc: None, 9)
        self.assertEqual(1, self.calls)

    def test_a_pause_is_at_least_as_long_as_is_asked_for(self) -> None:
        self.timer.repeat(lambda: self.call_until(3), lambda exc: 3, 9)
        self.assertEqual(106, self.now)

    def test_patience_ends_with_the_last_error(self) -> None:
        with self.assertRaises(ValueError) as caught:
            self.timer.repeat(lambda: self.call_until(999), lambda exc: 0, 9)
        self.assertEqual((self.calls,), caught.exception.args)
        self.assertGreater(self.now, 105)
        self.assertLessEqual(self.now, 109)

    def test_a_pause_that_ends_too_late_is_not_begun(self) -> None:
        with self.assertRaises(ValueError):
            self.timer.repeat(lambda: self.call_until(2), lambda exc: 60, 9)
        self.assertEqual(100, self.now)

    def test_what_sleep_raises_ends_it(self) -> None:
        def interrupted(seconds: float) -> None:
            raise KeyboardInterrupt

        timer = retry.Timer(lambda: self.now, interrupted)
        with self.assertRaises(KeyboardInterrupt):
            timer.repeat(lambda: self.call_until(2), lambda exc: 0, 9)
        self.assertEqual(1, self.calls)
