# SPDX-License-Identifier: Apache-2.0

"""The picture of the window in the documentation is that of the results."""

import json
import pathlib
import re
import runpy
import unittest

from benchmarks import window

ROOT = pathlib.Path(__file__).parents[3]
PICTURE = ROOT / 'doc/source/images/window.svg'
SAMPLE = ROOT / 'doc/source/samples/instance-action-resp.json'


class TestPicture(unittest.TestCase):
    def test_it_is_of_these_results(self) -> None:
        tool = runpy.run_path(str(ROOT / 'tools/docs/window.py'))
        self.assertEqual(
            PICTURE.read_text(), tool['picture'](),
            'run tools/docs/window.py doc/source/images/window.svg')

    def test_each_server_is_frozen_before_it_is_thawed(self) -> None:
        picture = PICTURE.read_text()
        widths = [float(each) for each in re.findall(
            r'<rect class="\w+" x="[-.\d]+" y="\d+" width="([-.\d]+)"',
            picture)]
        size = float(re.findall(r'viewBox="0 0 (\d+) ', picture)[0])
        # Three steps of three servers, the snapshots, and the legend.
        self.assertEqual(3 * 3 + 1 + 3, len(widths))
        for width in widths:
            self.assertTrue(0 < width < size, width)

    def test_a_deadline_is_not_when_a_server_was_frozen(self) -> None:
        action = json.loads(SAMPLE.read_text())['instanceAction']
        times = window._times([action, action])
        self.assertLess(times[1] - times[0], 1)

    def test_it_is_readable_on_dark_pages(self) -> None:
        self.assertIn(
            '@media (prefers-color-scheme: dark)', PICTURE.read_text())
