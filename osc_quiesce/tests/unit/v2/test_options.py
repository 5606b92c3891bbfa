# SPDX-License-Identifier: Apache-2.0

"""``openstack`` takes its own options wherever they are in a command line.

One of ours with such a name would be taken away from the command, which would
go on without it and without a word.
"""

from __future__ import annotations

import configparser
import importlib
import pathlib
import unittest
from unittest import mock

from openstackclient import shell

ROOT = pathlib.Path(__file__).parents[4]


class TestOptions(unittest.TestCase):
    def test_none_is_one_of_openstack_itself(self) -> None:
        taken = set(
            shell.OpenStackShell().build_option_parser(
                '', '')._option_string_actions) - {'-h', '--help'}
        setup = configparser.ConfigParser()
        setup.read(ROOT / 'setup.cfg')
        lines = setup['entry_points']['openstack.server_quiesce.v2']
        commands = [line.split('=') for line in lines.split('\n') if line]
        self.assertGreater(len(commands), 15)
        for name, target in commands:
            module, _colon, command = target.strip().partition(':')
            made = getattr(importlib.import_module(module), command)(
                mock.MagicMock(), None)
            ours = set(made.get_parser('')._option_string_actions)
            with self.subTest(name.strip()):
                self.assertEqual(set(), ours & taken)
                # What is abbreviated is taken, too.
                self.assertEqual([], [
                    each for each in ours if len(each) > 2 and any(
                        one.startswith(each) for one in taken)])
