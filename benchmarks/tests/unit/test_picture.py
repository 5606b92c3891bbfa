# SPDX-License-Identifier: Apache-2.0

"""The picture of the window in the documentation is that of the results."""

import pathlib
import runpy
import unittest

ROOT = pathlib.Path(__file__).parents[3]
PICTURE = ROOT / 'doc/source/images/window.svg'


class TestPicture(unittest.TestCase):
    def test_it_is_of_these_results(self) -> None:
        tool = runpy.run_path(str(ROOT / 'tools/docs/window.py'))
        self.assertEqual(
            PICTURE.read_text(), tool['picture'](),
            'run tools/docs/window.py doc/source/images/window.svg')

    def test_it_is_readable_on_dark_pages(self) -> None:
        self.assertIn(
            '@media (prefers-color-scheme: dark)', PICTURE.read_text())
