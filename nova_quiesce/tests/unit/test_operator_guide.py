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

"""The operator guide names every error, and only log lines that there are."""

import ast
import pathlib
import re
import unittest

from nova_quiesce import exceptions
from nova_quiesce import guest

CODE = pathlib.Path(exceptions.__file__).parent
GUIDE = CODE.parent / 'doc/source/operator.rst'


def in_one_line(text: str) -> str:
    return ' '.join(text.split())


class TestOperatorGuide(unittest.TestCase):

    def setUp(self) -> None:
        super().setUp()
        self.guide = in_one_line(GUIDE.read_text())

    def test_every_error_of_a_request(self) -> None:
        for error in exceptions.GuestError.__subclasses__():
            # What varies is at one end, or behind the first of such.
            fixed = re.split(r' \(?now|%\(\w+\)s', error.msg_fmt)
            for text in fixed[:1] if fixed[0] else fixed[1:]:
                with self.subTest(error=error.__name__):
                    self.assertIn('``%s' % text.strip(), self.guide)

    def test_every_answer_of_nova_compute(self) -> None:
        for answer in guest.FREEZE_ANSWERS:
            if answer.reason:
                self.assertIn('``%s``' % answer.reason, self.guide)

    def test_every_log_line(self) -> None:
        texts = ''.join(
            node.value + '\n' for path in CODE.glob('*.py')
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str))
        for action in ('quiesce', 'unquiesce'):
            texts += '%s done\n%s:\n' % (action, action)
        table = self.guide.partition('* - level')[2].partition('.. _errors')[0]
        rows = re.findall(
            r'\* - (ERROR|WARNING|INFO) - ((?:``[^`]+``(?:, | and )?)+)',
            table)
        self.assertGreater(len(rows), 8)
        self.assertEqual(table.count('* - '), len(rows))
        for _level, lines in rows:
            for line in re.findall('``([^`]+)``', lines):
                self.assertIn(line, texts)
