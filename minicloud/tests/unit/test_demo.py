# SPDX-License-Identifier: Apache-2.0

"""What demonstrations print, and what makes them fail."""

import contextlib
import io
import os
import pathlib
import sys
import tempfile
import unittest
from unittest import mock

from minicloud import demo
from minicloud import demo_dr
from minicloud.errors import MinicloudError

#: programs that the tests run
ECHO = f'{sys.executable} -c "print(1)"'
FAIL = f'{sys.executable} -c "import sys; sys.exit(\'not so\')"'


class SayTest(unittest.TestCase):

    def said(self, terminal: bool, **environment: str) -> str:
        out = io.StringIO()
        with (
                mock.patch.object(out, 'isatty', lambda: terminal),
                mock.patch.dict(os.environ, environment),
                contextlib.redirect_stdout(out)):
            if 'NO_COLOR' not in environment:
                os.environ.pop('NO_COLOR', None)
            demo.say('Freeze')
        return out.getvalue()

    def test_a_terminal_has_them(self) -> None:
        self.assertIn('\x1b', self.said(terminal=True))
        self.assertIn('\x1b', self.said(terminal=True, NO_COLOR=''))

    def test_nothing_else_has_them(self) -> None:
        self.assertEqual('\n== Freeze\n', self.said(terminal=False))
        self.assertEqual('\n== Freeze\n',
                         self.said(terminal=True, NO_COLOR='1'))


class OutputTest(unittest.TestCase):
    """Keeps what is printed."""

    def setUp(self) -> None:
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.out = stack.enter_context(
            contextlib.redirect_stdout(io.StringIO()))
        self.error = stack.enter_context(
            contextlib.redirect_stderr(io.StringIO()))
        self.folder = pathlib.Path(
            stack.enter_context(tempfile.TemporaryDirectory()))


class CommandTest(OutputTest):

    def setUp(self) -> None:
        super().setUp()
        self.demo = demo.Demo(dict(os.environ))

    def test_it_is_printed_first(self) -> None:
        self.assertEqual('1\n', self.demo.read(ECHO))
        self.assertEqual(f'\n$ {ECHO}\n1\n', self.out.getvalue())

    def test_what_it_prints_goes_into_a_file(self) -> None:
        path = self.folder / 'file'
        self.demo.read(ECHO, path)
        self.assertEqual('1\n', path.read_text())
        self.assertEqual(f'\n$ {ECHO} > {demo.relative(path)}\n',
                         self.out.getvalue())

    def test_a_failure(self) -> None:
        for run in self.demo.run, self.demo.read:
            self.assertRaises(demo.DemoError, run, FAIL)

    def test_a_refusal(self) -> None:
        self.demo.run(FAIL, refused='not so')
        self.assertIn('not so\n', self.out.getvalue())
        for command, reason in (FAIL, 'why not'), (ECHO, 'not so'):
            self.assertRaises(demo.DemoError, self.demo.run, command, reason)

    def test_a_site_is_named_to_the_client(self) -> None:
        for site, words in ('', ''), ('siteB', '--os-cloud siteB '):
            with mock.patch.object(demo.Demo, 'run') as run:
                demo.Demo({}, site).openstack('server list')
            run.assert_called_once_with(f'openstack {words}server list', '')


class PerformTest(OutputTest):

    def test_settings_are_printed_as_options(self) -> None:
        root = str(self.folder)
        with mock.patch('minicloud.cloud.Cloud.up') as up:
            demo.start(root, {'site_name': 'siteA', 'fresh': ''})
        up.assert_called_once_with(
            site_name='siteA', fresh=True, say=mock.ANY)
        self.assertEqual(
            f'\n$ python -m minicloud up --root {demo.relative(root)} '
            '--site-name siteA --fresh\n', self.out.getvalue())

    def test_how_to_go_on(self) -> None:
        self.assertEqual(0, demo.perform(
            lambda: None, '. there', ['one', 'two'], 'both'))
        self.assertRegex(
            self.out.getvalue(),
            r'Play on: .*; \. there\nTear down: .* --root one\n'
            r' .* down --purge --root two\n +rm -r both\n')

    def test_what_went_wrong(self) -> None:
        for error, code in (
                (demo.DemoError('it broke'), 1),
                (MinicloudError('it broke'), 1), (KeyboardInterrupt(), 130)):
            self.assertEqual(code, demo.perform(
                mock.Mock(side_effect=error), '', []))
        self.assertIn('The demo failed: it broke', self.error.getvalue())
        self.assertNotIn('Tear down', self.out.getvalue())


class ComparisonTest(OutputTest):

    def test_data_that_are_equal(self) -> None:
        demo_dr.compare({('db', 'vda'): '7'}, {('db', 'vda'): '7'})
        self.assertIn('all are equal', self.out.getvalue())

    def test_data_that_are_not(self) -> None:
        for found in {('db', 'vda'): '8'}, {('db', 'vdb'): '7'}, {}:
            self.assertRaises(demo.DemoError, demo_dr.compare,
                              {('db', 'vda'): '7'}, found)

    def test_nothing_is_not_equal(self) -> None:
        self.assertRaises(demo.DemoError, demo_dr.compare, {}, {})
