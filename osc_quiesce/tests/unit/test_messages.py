# SPDX-License-Identifier: Apache-2.0

"""The documentation explains only messages that there are."""

import ast
import pathlib
import re
import unittest

import osc_quiesce

CODE = pathlib.Path(osc_quiesce.__file__).parent
COMMANDS = pathlib.Path(__file__).parents[3] / 'doc/source/cli/index.rst'


class TestMessages(unittest.TestCase):
    def test_every_explained_message(self) -> None:
        section = COMMANDS.read_text().partition('Messages\n===')[2]
        explained = re.findall(r'^``([^`]+)``$', section, re.MULTILINE)
        self.assertGreater(len(explained), 6)
        texts = [
            str(node.args[0].value)
            for path in CODE.rglob('*.py')
            if CODE / 'tests' not in path.parents
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == '_'
            and isinstance(node.args[0], ast.Constant)
        ]
        for message in explained:
            with self.subTest(message):
                self.assertTrue([text for text in texts if message in text])
