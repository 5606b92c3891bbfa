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

"""How the times depend on each other, for every time-out there may be."""

import unittest

from nova_quiesce import conf
from nova_quiesce import times


class TestTimes(unittest.TestCase):

    def setUp(self) -> None:
        conf.register_opts(times.CONF)
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
                self.assertGreater(times.take_up_timeout(), times.ASK_PAUSE)

    def test_what_has_to_hold_of_a_thaw(self) -> None:
        self.assertGreater(times.THAW_LEASE, times.THAW_TIMEOUT)
        self.assertLess(times.CALL_MONITOR_TIMEOUT, times.THAW_TIMEOUT)

    def test_pauses_double_up_to_the_longest(self) -> None:
        self.assertEqual(
            [5, 5, 10, 20, 40, 80, 160, 300, 300],
            [times.retry_pause(attempts) for attempts in range(9)])
        self.assertEqual(300, times.retry_pause(10 ** 6))

    def test_moments_in_words(self) -> None:
        self.assertIsNone(times.text(None))
        self.assertEqual('1970-01-01T00:00:00Z', times.text(0.0))
        self.assertEqual('2026-11-23T03:45:00Z', times.text(1795405500.9))
        self.assertIsNone(times.as_datetime(1.5).tzinfo)
