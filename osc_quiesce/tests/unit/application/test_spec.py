# SPDX-License-Identifier: Apache-2.0

"""What application.yaml may say, and what is said if it is wrong."""

import tempfile
import textwrap
import unittest

from osc_quiesce.application import errors
from osc_quiesce.application import spec

GOOD = """\
name: shop
stages:
- [db]
- - app1
  - server: app2
    exclude_volumes: [scratch]
    unquiesce_after: 60
"""


class SpecTest(unittest.TestCase):
    def test_all_that_can_be_said(self) -> None:
        self.assertEqual(
            spec.Application(
                'shop',
                (
                    (spec.Member('db'),),
                    (
                        spec.Member('app1'),
                        spec.Member('app2', ('scratch',), 60),
                    ),
                ),
            ),
            spec.from_yaml(GOOD, 'x'),
        )

    def test_servers_alone_are_quiesced_one_by_one(self) -> None:
        application = spec.from_servers('shop', ['b', 'a'])
        self.assertEqual(
            ((spec.Member('b'),), (spec.Member('a'),)), application.stages
        )

    def test_every_error_names_the_line(self) -> None:
        for line, words, text in (
            (1, 'nothing in it', ''),
            (1, "'stages' is a required property", 'name: shop\n'),
            (1, 'name', 'name: 5\nstages: [[a]]\n'),
            (2, 'stages', 'name: shop\nstages: []\n'),
            (3, 'stages.0', 'name: shop\nstages:\n- []\n'),
            (4, 'stages.1.0.server', 'name: a\nstages:\n- [a]\n- [5]\n'),
            (3, 'colour', 'name: a\nstages:\n- [{server: b, colour: red}]\n'),
            (
                5,
                'unquiesce_after',
                'name: a\nstages:\n- - server: b\n'
                '    exclude_volumes: []\n    unquiesce_after: 0\n',
            ),
            (3, '"name" is there twice', 'name: a\nstages: [[a]]\nname: b\n'),
            (2, 'expected', 'name: a\nstages: [[a]\n'),
            (1, 'object', '- a\n'),
            (1, '', '? [a]\n: b\n'),
            (4, 'is not of type', 'name: a\nstages:\n- [a]\n- [[b]]\n'),
            (3, 'aliases', 'name: &a a\nstages:\n- [*a]\n'),
            (1, 'control characters', 'name: "a\\eb"\nstages: [[a]]\n'),
            (4, 'month', 'name: a\nstages:\n- [a]\n- [2026-13-01]\n'),
            (4, 'digits', 'name: a\nstages:\n- [a]\n- [%s]\n' % (5000 * '9')),
            (4, 'not allowed', 'name: a\nstages:\n- [a]\n- ["\1"]\n'),
        ):
            with self.subTest(text):
                with self.assertRaises(errors.SpecError) as caught:
                    spec.from_yaml(textwrap.dedent(text), 'app.yaml')
                said = str(caught.exception)
                self.assertIn('app.yaml, line ', said)
                found = int(said.split('line ')[1].split(':')[0])
                # Where a bracket is missing shows only later.
                self.assertLessEqual(line, found, said)
                self.assertLessEqual(found, line + 1, said)
                self.assertIn(words, said)

    def test_whole_numbers_may_be_written_as_others(self) -> None:
        [[member]] = spec.from_yaml(
            'name: a\nstages: [[{server: b, unquiesce_after: 60.0}]]\n', 'x'
        ).stages
        self.assertIs(int, type(member.unquiesce_after))

    def test_a_file_that_is_not_text_is_an_error_with_a_line(self) -> None:
        with tempfile.NamedTemporaryFile() as stream:
            stream.write(b'name: a\nstages:\n- [\xff]\n')
            stream.flush()
            with self.assertRaisesRegex(errors.SpecError, 'line 3: '):
                spec.from_file(stream.name)

    def test_a_file_that_is_not_there_is_named(self) -> None:
        with self.assertRaisesRegex(errors.SpecError, '/nowhere/app.yaml'):
            spec.from_file('/nowhere/app.yaml')
