# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib
import inspect
from typing import Any
import unittest
from unittest import mock

from osc_quiesce import v2


class TestLateCommand(unittest.TestCase):
    def test_an_object_is_one_of_the_command_and_knows_its_name(self) -> None:
        late: list[Any] = [getattr(v2, name) for name in v2.MODULES]
        self.assertGreater(len(late), 15)
        for each in late:
            with self.subTest(each.__name__):
                self.assertIn(
                    'cmd_name', inspect.getfullargspec(each.__init__).args)
                made = each(mock.MagicMock(), None, cmd_name='some words')
                module = importlib.import_module(
                    f'osc_quiesce.v2.{each._module}')
                self.assertIs(getattr(module, each.__name__), type(made))
                self.assertEqual('some words', made.cmd_name)
