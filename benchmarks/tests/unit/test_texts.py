# SPDX-License-Identifier: Apache-2.0

"""What the documentation has of the results is of these results."""

import pathlib
import re
import unittest

from benchmarks import __main__ as program
from benchmarks import measure
from benchmarks import texts

ROOT = pathlib.Path(__file__).parents[3]
RESULTS = ROOT / 'benchmarks/results'
AGAIN = 'run "python -m benchmarks plots", which needs matplotlib'
#: figures that can only have been measured
FIGURE = re.compile(
    r'\b\d+\.\d+\s(?:s|seconds)\b|\b\d+\s(?:MB|kB)\b'
    r'|\b\d+\sservers\sa\ssecond\b')


class TestTexts(unittest.TestCase):
    def test_figures_are_those_of_the_results(self) -> None:
        for text in texts.texts(RESULTS):
            with self.subTest(text.path, words=text.words):
                self.assertIsNone(text.differs_in(
                    (ROOT / text.path).read_text()), AGAIN)

    def test_no_figure_is_of_no_results(self) -> None:
        known = texts.texts(RESULTS)
        for path in (ROOT / 'README.rst', *(ROOT / 'doc/source').rglob(
                '*.rst'), *(ROOT / 'api-ref/source').rglob('*.rst')):
            name = str(path.relative_to(ROOT))
            document = path.read_text()
            for text in known:
                if text.path == name:
                    start, end = text.find(path.read_text()).span()
                    document = (document[:start] + '~' * (end - start)
                                + document[end:])
            with self.subTest(name):
                self.assertEqual([], FIGURE.findall(document))

    def test_another_figure_is_found_and_replaced(self) -> None:
        text = texts.Text('x.rst', 'takes {} s, the median of {}.',
                          ('2.1', 'six runs'))
        old = 'It takes 2.0 s,\n  the median of\n  three runs. More.'
        new = 'It takes 2.1 s,\n  the median of\n  six runs. More.'
        self.assertEqual('takes 2.1 s, the median of six runs.',
                         text.differs_in(old))
        self.assertEqual(new, text.put_into(old))
        self.assertIsNone(text.differs_in(new))
        self.assertEqual(new, text.put_into(new))

    def test_words_that_are_not_there_are_no_success(self) -> None:
        text = texts.Text('x.rst', 'takes {} s.', ('2.1',))
        for document in ('It lasts 2.1 s.', 'takes 2.1 s. It takes 2.1 s.'):
            with self.assertRaises(LookupError):
                text.differs_in(document)


class TestPictures(unittest.TestCase):
    def test_plots_are_of_these_results(self) -> None:
        drawn = sorted(RESULTS.glob('*.png'))
        self.assertEqual(
            ['scale', 'wait', 'window-fake', 'window-guests'],
            [path.stem for path in drawn])
        for path in drawn:
            with self.subTest(path.name):
                self.assertIn(
                    measure.digest(path.with_suffix('.json')).encode(),
                    path.read_bytes(), AGAIN)

    def test_the_table_is_of_these_results(self) -> None:
        self.assertEqual((RESULTS / 'targets.rst').read_text(),
                         program.targets(RESULTS), AGAIN)
