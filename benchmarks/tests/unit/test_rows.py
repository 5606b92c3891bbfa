# SPDX-License-Identifier: Apache-2.0

"""What rows of the table are called, and which rounds are in them."""

import unittest
from unittest import mock

from benchmarks import api
from benchmarks import measure


class TestThroughput(unittest.TestCase):
    def test_a_first_round_is_dropped(self) -> None:
        results, cloud = measure.Results('throughput'), mock.Mock()
        for services, seconds in ((1, (8, 8, 2, 2, 4, 4)),
                                  (2, (8, 8, 1, 2, 4, 8))):
            clock = mock.Mock(monotonic=mock.Mock(side_effect=[
                when for end in seconds for when in (0, end)]))
            with mock.patch.object(api, 'time', clock):
                api.throughput(
                    results, cloud, ['a', 'b'], services, rounds=2)
        self.assertEqual(
            {'quiesce': {'1': [1, 0.5], '2': [2, 0.5]},
             'unquiesce': {'1': [1, 0.5], '2': [1, 0.25]}},
            results.details['throughput'])
