# SPDX-License-Identifier: Apache-2.0

import functools
import pathlib
import tempfile
import unittest

from benchmarks import measure


class TestMeasure(unittest.TestCase):

    def test_ways_take_turns_and_none_is_always_first(self) -> None:
        turns: list[str] = []

        def way(name: str) -> float:
            turns.append(name)
            return float(len(turns))

        found = measure.alternately(
            {'a': 3, 'b': 3, 'c': 1},
            {name: functools.partial(way, name) for name in 'abc'})
        self.assertEqual('abcbaab', ''.join(turns))
        self.assertEqual({'a': [1, 5, 6], 'b': [2, 4, 7], 'c': [3]}, found)

    def test_a_ratio_is_that_of_one_round(self) -> None:
        results = measure.Results('x')
        results.compare(
            'it', 's', {'a': [2, 9], 'b': [1, 3], 'c': []},
            {('a', 'b'): measure.Target(2.4), ('a', 'c'): None})
        self.assertEqual(
            [('it: a', (2, 9)), ('it: b', (1, 3)), ('it: a / b', (2, 3))],
            [(line.name, line.values) for line in results.lines])

    def test_the_median_is_what_has_to_meet_the_target(self) -> None:
        for target, met in (
                (measure.Target(2), 'yes'), (measure.Target(1.9), 'NO'),
                (measure.Target(2, at_most=False), 'yes'),
                (measure.Target(2.1, at_most=False), 'NO')):
            row = measure.Line('it', 'ratio', (1, 2, 9), target).row()
            self.assertEqual(
                ('it', 'ratio', '1', '2', '9', '3', str(target), met), row)

    def test_what_was_saved_is_what_is_loaded(self) -> None:
        results = measure.Results('x')
        results.add('it', 's', [1.5], measure.Target(2))
        results.add('more', 's', [3])
        results.details['plan'] = {'a': [1]}
        with tempfile.TemporaryDirectory() as directory:
            results.save(pathlib.Path(directory))
            loaded = measure.Results.load(pathlib.Path(directory) / 'x.json')
        self.assertEqual(results.lines, loaded.lines)
        self.assertEqual(results.details, loaded.details)
        self.assertEqual(results.table(), loaded.table())
        self.assertEqual(
            ['it    s     1.5  1.5     1.5  1  <= 2    yes'],
            [line for line in results.table(only_targets=True).splitlines()
             if line.startswith('it')])
