# SPDX-License-Identifier: Apache-2.0

import functools
import json
import pathlib
import subprocess
import tempfile
import unittest
from unittest import mock

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

    def test_the_table_names_commits_and_processors(self) -> None:
        found = []
        for name, commit in ('a', 'abc1234'), ('b', None), ('c', 'abc1234'):
            results = measure.Results(name)
            results.commit, results.cpu = commit, commit and 'Model 1'
            found.append(results)
        self.assertEqual('commit: abc1234 (a, c), not noted (b); processor: '
                         'Model 1', measure.origin(found))
        self.assertEqual('commit: abc1234; processor: Model 1',
                         measure.origin(found[::2]))

    def test_results_name_the_commit_and_the_processor(self) -> None:
        with (
            mock.patch.object(measure, 'commit', return_value='abc1234'),
            mock.patch.object(measure, 'cpu', return_value='Model 1'),
        ):
            results = measure.Results('x')
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / 'x.json'
            results.save(path.parent)
            loaded = measure.Results.load(path)
            self.assertEqual(('abc1234', 'Model 1'),
                             (loaded.commit, loaded.cpu))
            older = json.loads(path.read_text())
            del older['commit'], older['cpu']
            path.write_text(json.dumps(older))
            loaded = measure.Results.load(path)
        self.assertEqual((None, None), (loaded.commit, loaded.cpu))

    def test_the_commit_is_that_of_a_checkout(self) -> None:
        done = subprocess.CompletedProcess([], 0, stdout='abc1234\n')
        for result, expected in (
                (done, 'abc1234'), (FileNotFoundError('git'), None),
                (subprocess.CalledProcessError(128, 'git'), None)):
            measure.commit.cache_clear()
            self.addCleanup(measure.commit.cache_clear)
            with mock.patch('subprocess.run', side_effect=[result]):
                self.assertEqual(expected, measure.commit())

    def test_the_processor_is_the_first_that_linux_lists(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            info = pathlib.Path(directory) / 'cpuinfo'
            self.assertIsNone(measure.cpu(info))
            info.write_text('processor\t: 0\nmodel name\t: Model 1\n'
                            'model name\t: Model 2\n')
            self.assertEqual('Model 1', measure.cpu(info))
            info.write_text('processor\t: 0\n')
            self.assertIsNone(measure.cpu(info))
