# SPDX-License-Identifier: Apache-2.0

"""The demonstration has colours where they are wanted."""

import contextlib
import io
import os
import unittest
from unittest import mock

from minicloud import demo


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
