# SPDX-License-Identifier: Apache-2.0

"""What rows of the table are called, and which rounds are in them."""

import json
import subprocess
import unittest
from unittest import mock

from benchmarks import api
from benchmarks import measure
from benchmarks import scale
from benchmarks import sweep


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


class TestScale(unittest.TestCase):
    def test_sizes_are_in_order_and_compared(self) -> None:
        def stage(command: list[str], **_kwargs: object) -> mock.Mock:
            size = len(command) - 3
            return mock.Mock(stdout=json.dumps({
                's until quiesced': size * size, 's until thawed': size,
                'MB of memory': 50}))

        results = measure.Results('scale')
        with mock.patch('subprocess.run', stage):
            scale.growth(results, ['a', 'b', 'c', 'd'], (2, 1, 4), lambda: 0)
        self.assertEqual(
            ['1 servers', '2 servers', '4 servers'],
            [line.name.partition(': ')[0] for line in results.lines
             if line.unit == 'MB'])
        self.assertEqual((50, 50), results.line(
            '2 servers: memory', 'MB').values)
        self.assertEqual((0,), results.line(
            '4 servers: CPU in the API').values)
        self.assertEqual((2, 2), results.line(
            '4 servers, time for each / that of 2: until quiesced',
            'ratio').values)


class TestSweep(unittest.TestCase):
    def test_a_row_names_how_many_servers_are_frozen(self) -> None:
        found = {look: {'seconds': [1], 'rows': [2]} for look in (
            'none frozen', 'none due', 'frozen', 'frozen, none due')}
        done = subprocess.CompletedProcess([], 0, stdout=json.dumps(found))
        results = measure.Results('sweep')
        with mock.patch('subprocess.run', return_value=done):
            sweep.cost(results, 'nova.conf', 600, 60)
        self.assertEqual(
            [f'sweep, 600 servers: {each}, rows read' for each in (
                'none frozen', 'none due', '60 frozen', '60 frozen, none due')
             ], [line.name for line in results.lines if line.unit == 'rows'])
        self.assertEqual(
            [5, 180],
            [line.target.limit for line in results.lines if line.target])
