# SPDX-License-Identifier: Apache-2.0

"""What the commands look like on a terminal, and where there is none."""

from __future__ import annotations

import argparse
import configparser
import importlib
import os
import pathlib
import pty
import re
import subprocess
import sys
import termios
from types import SimpleNamespace
from typing import Any
import unittest
from unittest import mock

import osc_quiesce

SETUP = pathlib.Path(osc_quiesce.__file__).parents[1] / 'setup.cfg'


def _commands() -> dict[str, Any]:
    """Return the commands of the plugin: those of its entry points."""
    config = configparser.ConfigParser()
    config.read(SETUP)
    lines = config['entry_points']['openstack.server_quiesce.v2'].split('\n')
    commands = {}
    for name, _sign, target in map(str.split, filter(None, lines)):
        module, _colon, attribute = target.partition(':')
        commands[name.replace('_', ' ')] = getattr(
            importlib.import_module(module), attribute
        )
    return commands


COMMANDS = _commands()
# Too long in the usage of any command with a long name
CLIFFS_OWN = (
    '[--quote {all,minimal,none,nonnumeric}]',
    '[--sort-ascending | --sort-descending]',
)
PROGRESS = (
    'from osc_quiesce.cli import options;'
    'options.progress("Unquiescing ...")'
)


def _parser(name: str) -> argparse.ArgumentParser:
    command = COMMANDS[name](SimpleNamespace(), None)
    parser: argparse.ArgumentParser = command.get_parser('openstack ' + name)
    return parser


def _own_arguments(name: str) -> dict[str, str]:
    """Return the arguments of a command with their help.

    But for those that every command has.
    """
    with mock.patch.dict(os.environ, {'COLUMNS': '500'}):
        text = _parser(name).format_help()
    # The help of a long option is in a line of its own.
    sections = re.sub('\n {9,}', '  ', text).split('\n\n')
    return dict(
        line.strip().split('  ', 1)
        for section in sections
        if section.startswith(('positional arguments:', 'options:'))
        for line in section.splitlines()[1:]
        if not line.strip().startswith(('-h,', '--sort-'))
    )


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
                self.assertRegex(
                    command(SimpleNamespace(), None).get_description(),
                    r'^[A-Z].*\.$',
                )
                for help_text in _own_arguments(name).values():
                    self.assertRegex(help_text.strip(), r'^[A-Z].*[^.]$')

    def test_placeholders_look_alike(self) -> None:
        for name in COMMANDS:
            with self.subTest(name=name):
                for argument in _own_arguments(name):
                    for word in argument.split():
                        self.assertRegex(word, '^(<.+>,?|-.*)$')


class TestProgress(unittest.TestCase):
    def test_it_is_said_on_a_terminal(self) -> None:
        self.assertEqual('Unquiescing ...\r\n', _on_terminal('-c', PROGRESS))

    def test_a_terminal_after_ctrl_s_holds_up_nothing(self) -> None:
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, theirs)
        termios.tcflow(theirs, termios.TCOOFF)
        subprocess.run(  # noqa: S603
            [sys.executable, '-c', PROGRESS], check=True, stderr=theirs,
            timeout=10)

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
