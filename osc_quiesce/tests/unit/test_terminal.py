# SPDX-License-Identifier: Apache-2.0

"""What the commands look like on a terminal, and where there is none."""

from __future__ import annotations

import argparse
import os
import pty
import subprocess
import sys
from types import SimpleNamespace
from typing import Any
import unittest
from unittest import mock

from osc_quiesce.v2 import application
from osc_quiesce.v2 import server

COMMANDS: dict[str, Any] = {
    'server quiesce': server.QuiesceServer,
    'server unquiesce': server.UnquiesceServer,
    'application snapshot create': application.CreateApplicationSnapshot,
    'application snapshot delete': application.DeleteApplicationSnapshot,
    'application snapshot list': application.ListApplicationSnapshot,
    'application snapshot show': application.ShowApplicationSnapshot,
}
# Too long in the usage of any command with a long name
CLIFFS_OWN = (
    '[--quote {all,minimal,none,nonnumeric}]',
    '[--sort-ascending | --sort-descending]',
)
PROGRESS = 'from osc_quiesce import common; common.progress("Thawing ...")'


def _parser(name: str) -> argparse.ArgumentParser:
    command = COMMANDS[name](SimpleNamespace(), None)
    parser: argparse.ArgumentParser = command.get_parser('openstack ' + name)
    return parser


def _own_arguments(name: str) -> list[argparse.Action]:
    """Return the arguments of a command, but for those of every command."""
    parser = _parser(name)
    return [
        action
        for group in (parser._positionals, parser._optionals)
        for action in group._group_actions
        if action.dest not in ('help', 'sort_columns', 'sort_direction')
    ]


def _on_terminal(*argv: str, **environment: str) -> str:
    """Run Python with a terminal as stderr, and return what arrives there."""
    ours, theirs = pty.openpty()
    try:
        subprocess.run(  # noqa: S603
            [sys.executable, *argv],
            check=True,
            stderr=theirs,
            env={**os.environ, 'TERM': 'xterm-256color', **environment},
        )
        return os.read(ours, 10000).decode()
    finally:
        os.close(ours)
        os.close(theirs)


class TestHelp(unittest.TestCase):
    def test_it_fits_80_columns(self) -> None:
        for name in COMMANDS:
            with (
                self.subTest(name=name),
                mock.patch.dict(os.environ, {'COLUMNS': '80'}),
            ):
                for line in _parser(name).format_help().splitlines():
                    if line.strip() not in CLIFFS_OWN:
                        self.assertLessEqual(len(line), 80, line)

    def test_commands_are_told_in_sentences_and_arguments_are_not(
        self,
    ) -> None:
        """As in OpenStackClient."""
        for name, command in COMMANDS.items():
            with self.subTest(name=name):
                self.assertRegex(command._description, r'^[A-Z].*\.$')
                for action in _own_arguments(name):
                    self.assertRegex(action.help or '', r'^[A-Z].*[^.]$')

    def test_placeholders_look_alike(self) -> None:
        for name in COMMANDS:
            with self.subTest(name=name):
                for action in _own_arguments(name):
                    if action.nargs != 0:
                        self.assertRegex(str(action.metavar), '^<.+>$')


class TestProgress(unittest.TestCase):
    def test_it_is_said_on_a_terminal(self) -> None:
        self.assertEqual('Thawing ...\r\n', _on_terminal('-c', PROGRESS))

    def test_nothing_is_said_where_there_is_none(self) -> None:
        done = subprocess.run(  # noqa: S603
            [sys.executable, '-c', PROGRESS], check=True, capture_output=True
        )
        self.assertEqual((b'', b''), (done.stdout, done.stderr))

    def test_it_has_no_colour(self) -> None:
        for environment in ({}, {'NO_COLOR': '1'}, {'FORCE_COLOR': '1'}):
            with self.subTest(environment=environment):
                said = _on_terminal('-c', PROGRESS, **environment)
                self.assertNotIn('\x1b', said)
