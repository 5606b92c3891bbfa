# SPDX-License-Identifier: Apache-2.0

"""How the times depend on each other, for every time-out there may be."""

import unittest

from nova_quiesce import times


class TestTimes(unittest.TestCase):

    def setUp(self) -> None:
        self.addCleanup(times.CONF.clear_override, 'operation_timeout',
                        'quiesce')

    def test_what_has_to_hold_of_a_freeze(self) -> None:
        for seconds in range(4, 601):
            times.CONF.set_override('operation_timeout', seconds, 'quiesce')
            with self.subTest(operation_timeout=seconds):
                freeze, undo = times.freeze_timeout(), times.undo_timeout()
                self.assertGreaterEqual(undo, 1)
                self.assertEqual(seconds, freeze + undo)
                self.assertGreater(times.freeze_lease(), freeze)
                self.assertGreater(times.freeze_lease(), freeze + undo)
                self.assertGreater(times.expiry_pause(), freeze)
                self.assertGreater(
                    times.freeze_lease() - times.LOCK_TIMEOUT, freeze + undo)
                self.assertGreater(
                    times.expiry_pause() - times.LOCK_TIMEOUT, freeze)
                self.assertGreater(times.take_up_timeout(), times.ASK_PAUSE)

    def test_what_has_to_hold_of_a_thaw(self) -> None:
        self.assertGreater(times.THAW_LEASE, times.THAW_TIMEOUT)
        self.assertGreater(
            times.THAW_LEASE - times.LOCK_TIMEOUT, times.THAW_TIMEOUT)
        self.assertLess(times.LOCK_TIMEOUT, times.LEASE_MARGIN)
        self.assertLess(times.CALL_MONITOR_TIMEOUT, times.THAW_TIMEOUT)

    def test_what_has_to_hold_of_a_look(self) -> None:
        self.assertGreater(
            times.LOOK_LEASE, times.RETRY_TIME + times.LOCK_TIMEOUT)
        self.assertLess(times.LOOK_LEASE, 10)
        # One that takes a freeze over saves two things before its thaw.
        self.assertGreater(
            times.THAW_LEASE, 2 * (times.RETRY_TIME + times.LOCK_TIMEOUT))

    def test_what_has_to_hold_of_a_statement(self) -> None:
        self.assertGreater(times.READ_TIMEOUT, times.LOCK_TIMEOUT)
        self.assertLess(times.READ_TIMEOUT, times.THAW_LEASE)

    def test_pauses_double_after_a_while_up_to_the_longest(self) -> None:
        steady = times.STEADY_RETRIES
        self.assertEqual({2.0}, {
            times.retry_pause(attempts) for attempts in range(steady + 1)})
        self.assertEqual(
            [4, 8, 16, 32, 60, 60, 60],
            [times.retry_pause(steady + more) for more in range(1, 8)])
        self.assertEqual(60, times.retry_pause(10 ** 6))

    def test_the_message_of_a_thaw_waits_for_a_compute_that_starts(
            self) -> None:
        self.assertLess(times.retry_pause(1) + times.CALL_MONITOR_TIMEOUT,
                        times.THAW_TIMEOUT)

    def test_moments_in_words(self) -> None:
        self.assertIsNone(times.text(None))
        self.assertEqual('1970-01-01T00:00:00Z', times.text(0.0))
        self.assertEqual('2026-11-23T03:45:00Z', times.text(1795405500.9))
        self.assertIsNone(times.as_datetime(1.5).tzinfo)
