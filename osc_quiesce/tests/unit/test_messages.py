# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""The documentation explains only messages that there are."""

import ast
import pathlib
import re
import unittest

import osc_quiesce

CODE = pathlib.Path(osc_quiesce.__file__).parent
COMMANDS = pathlib.Path(__file__).parents[3] / 'doc/source/commands.rst'


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
