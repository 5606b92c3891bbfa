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


class Trouble(Exception):
    def __init__(self, call: int, retry_after: float | None) -> None:
        super().__init__(call)
        self.is_transient = retry_after is not None
        self.retry_after = retry_after


class TestUntilAnswered(unittest.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 100.0
        self.calls = 0
        self.timer = retry.Timer(lambda: self.now, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def call_until(
        self, calls: int, retry_after: float | None = 0,
        timer: retry.Timer | None = None,
    ) -> int:
        """Make a call that fails until it is made for the so-manieth time.

        :param retry_after: how it fails; None if that is final
        """

        def call() -> int:
            self.calls += 1
            if self.calls < calls:
                raise Trouble(self.calls, retry_after)
            return self.calls

        return (timer or self.timer).until_answered(call, 9)

    def test_a_call_that_returns_is_made_once(self) -> None:
        self.assertEqual(1, self.call_until(1))
        self.assertEqual(100, self.now)

    def test_trouble_that_may_pass_is_outlasted(self) -> None:
        self.assertEqual(5, self.call_until(5))
        self.assertLess(self.now, 101)

    def test_trouble_that_is_final_ends_it(self) -> None:
        with self.assertRaises(Trouble):
            self.call_until(5, None)
        self.assertEqual(1, self.calls)

    def test_a_pause_is_at_least_as_long_as_is_asked_for(self) -> None:
        self.call_until(3, 3)
        self.assertEqual(106, self.now)

    def test_patience_ends_with_the_last_error(self) -> None:
        with self.assertRaises(Trouble) as caught:
            self.call_until(999)
        self.assertEqual((self.calls,), caught.exception.args)
        self.assertGreater(self.now, 105)
        self.assertLessEqual(self.now, 109)

    def test_a_pause_that_ends_too_late_is_not_begun(self) -> None:
        with self.assertRaises(Trouble):
            self.call_until(2, 60)
        self.assertEqual(100, self.now)

    def test_what_sleep_raises_ends_it(self) -> None:
        def interrupted(seconds: float) -> None:
            raise KeyboardInterrupt

        timer = retry.Timer(lambda: self.now, interrupted)
        with self.assertRaises(KeyboardInterrupt):
            self.call_until(2, timer=timer)
        self.assertEqual(1, self.calls)
