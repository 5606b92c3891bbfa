# SPDX-License-Identifier: Apache-2.0

import pathlib
import runpy
import unittest

from nova_quiesce import states

ROOT = pathlib.Path(__file__).parents[3]


class TestTable(unittest.TestCase):

    def test_every_end_of_an_action_is_stable(self) -> None:
        for action in states.ACTIONS:
            for vm_state in action.ends.values():
                self.assertIn(vm_state, ('active', 'quiesced', 'error'))

    def test_unquiesce_takes_back_what_quiesce_did(self) -> None:
        done = states.Outcome.DONE
        self.assertEqual(states.UNQUIESCE.accepted_in,
                         states.QUIESCE.ends[done])
        self.assertEqual(states.QUIESCE.accepted_in,
                         states.UNQUIESCE.ends[done])

    def test_a_refusal_leaves_the_server_where_it_was(self) -> None:
        self.assertEqual(
            states.QUIESCE.accepted_in,
            states.QUIESCE.ends[states.Outcome.REFUSED])

    def test_a_thaw_is_never_refused(self) -> None:
        self.assertNotIn(states.Outcome.REFUSED, states.UNQUIESCE.ends)

    def test_only_confirmed_work_leads_to_quiesced(self) -> None:
        for action in states.ACTIONS:
            for outcome, vm_state in action.ends.items():
                if vm_state == states.QUIESCED:
                    self.assertIs(states.Outcome.DONE, outcome)

    def test_a_thaw_ends_error_only_if_it_stands_for_a_frozen_guest(
            self) -> None:
        done, failed = states.Outcome.DONE, states.Outcome.FAILED
        for vm_state, outcome, restored, expected in (
                ('quiesced', done, False, 'active'),
                ('quiesced', failed, False, 'error'),
                ('error', done, True, 'active'),
                ('error', done, False, 'error'),
                ('error', failed, True, 'error'),
                ('active', done, False, 'active'),
                ('active', failed, False, 'error'),
                ('stopped', done, True, 'stopped'),
                ('stopped', failed, True, 'stopped')):
            with self.subTest(vm_state=vm_state, outcome=outcome):
                self.assertEqual(expected, states.end_of_thaw(
                    vm_state, outcome, restored))

    def test_a_state_is_of_one_kind(self) -> None:
        self.assertFalse(states.NOT_RUNNING & states.ASLEEP)
        for vm_state in ('active', 'quiesced', 'error'):
            self.assertNotIn(vm_state, states.NOT_RUNNING | states.ASLEEP)

    def test_the_picture_in_the_documentation_is_of_this_table(self) -> None:
        tool = runpy.run_path(str(ROOT / 'tools/docs/states.py'))
        self.assertEqual(
            (ROOT / 'doc/source/images/states.svg').read_text(),
            tool['picture'](),
            'run tools/docs/states.py doc/source/images/states.svg')
