# SPDX-License-Identifier: Apache-2.0

"""The figures in the text of the documentation are those of the results."""

import json
import pathlib
import statistics
import unittest

ROOT = pathlib.Path(__file__).parents[3]


def values(benchmark: str, name: str) -> list[float]:
    """Return what was measured under a name."""
    results = json.loads(
        (ROOT / f'benchmarks/results/{benchmark}.json').read_text())
    found: list[float]
    [found] = [line['values'] for line in results['lines']
               if line['name'] == name]
    return found


class TestWindow(unittest.TestCase):
    """Those of the guide to the frozen window."""

    def setUp(self) -> None:
        super().setUp()
        page = ROOT / 'doc/source/user/window.rst'
        self.text = ' '.join(page.read_text().split())

    def test_seconds_of_each_way(self) -> None:
        ours, sdk, script = (
            statistics.median(values('window-guests', f'3 real guests: {way}'))
            for way in ('ours', 'SDK', 'script, 5 s'))
        self.assertIn(
            f'{ours:.1f} s, against {sdk:.1f} s with openstacksdk and '
            f'{script:.0f} s with a shell script', self.text)

    def test_what_the_layers_add(self) -> None:
        gaps = values('freeze', 'held for 1 s: gap of the writer')
        told = values('freeze', 'held for 1 s: seconds of the report')
        self.assertIn(
            f'for {statistics.median(gaps):.2f} s (median of {len(gaps)}; '
            f'{min(gaps):.2f} to {max(gaps):.2f} s', self.text)
        self.assertIn(
            f'reports {statistics.median(told):.2f} s', self.text)
