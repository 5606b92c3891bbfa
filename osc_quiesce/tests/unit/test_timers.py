# SPDX-License-Identifier: Apache-2.0

"""The timers of the guide to disaster recovery do what it says.

What they run is run here, with a stand-in for ``openstack``; the tests on two
sites run it with the real one.
"""

from __future__ import annotations

import configparser
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile
from typing import Any
import unittest
from unittest import mock

from osc_quiesce.v2 import application_protection

SAMPLES = pathlib.Path(__file__).parents[3] / 'doc/source/samples'
#: where the files are on the machine of the guide
FOLDER = '/etc/osc-quiesce'
#: in which the client is, by the quickstart
PROGRAMS = '/opt/osc-quiesce/bin'
#: what the alarm writes elsewhere
ELSEWHERE = ('/var/lib/prometheus/node-exporter',)
UNITS = ('nightly', 'protection')
#: what the line for cron in the guide runs each month
MONTHLY = f'cd {FOLDER} && sh monthly.sh >/dev/null'

_FIELD = r'(?:\*|[0-9]+(?:-[0-9]+)?(?:,[0-9]+)*)(?:/[0-9]+)?'
_CRON = re.compile(rf'((?:{_FIELD}\s+){{5}})(\S+)\s+(.*)')


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((SAMPLES / name).read_text())
    return parser


def of_systemd(name: str) -> str:
    """Return what a service runs, as a line for a shell."""
    service = unit(f'{name}.service')['Service']
    return f'cd {service["WorkingDirectory"]} && {service["ExecStart"]}'


def of_cron() -> list[str]:
    """Return what the lines of the crontab run."""
    return [found[3] for line in (
        SAMPLES / 'shop.cron').read_text().splitlines()
        if (found := _CRON.fullmatch(line))]


def localized(line: str, folder: pathlib.Path) -> str:
    """Return a line with all its files in one folder."""
    for path in (FOLDER, *ELSEWHERE):
        line = line.replace(path, str(folder))
    return line


class TimersTest(unittest.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory()))
        for script in SAMPLES.glob('*.sh'):
            shutil.copy(script, self.folder)
        (self.folder / 'bin').mkdir()
        self.stand_in(0)

    def stand_in(self, exit_code: int, prints: str = 'as if') -> None:
        """Let openstack write down its arguments."""
        path = self.folder / 'bin/openstack'
        path.write_text(f'#!/bin/sh\necho "$@" >> {self.folder}/log\n'
                        f'echo "{prints}" ; exit {exit_code}\n')
        path.chmod(0o755)

    def run_line(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603
            ['/bin/sh', '-c', localized(line, self.folder)],
            capture_output=True, text=True,
            env={**os.environ,
                 'PATH': f'{self.folder}/bin:{os.environ["PATH"]}'})

    def log(self) -> list[list[str]]:
        """Return the arguments of all commands so far, and forget them."""
        path = self.folder / 'log'
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [shlex.split(line) for line in lines]

    def alarm_of(self, arguments: list[str]) -> Any:
        """Return what the command would be told."""
        self.assertEqual(['--os-cloud', 'siteB', 'application', 'protection',
                          'show'], arguments[:5])
        command = application_protection.ShowApplicationProtection(
            mock.Mock(), None)
        return command.get_parser('x').parse_args(arguments[5:])

    def test_a_recovery_point_has_three_steps(self) -> None:
        for line in of_systemd('nightly'), of_cron()[0]:
            with self.subTest(line):
                self.assertEqual(0, self.run_line(line).returncode)
                self.assertEqual(
                    [['snapshot', 'create'], ['backup', 'create'],
                     ['backup', 'delete']],
                    [each[3:5] for each in self.log()])

    def test_one_that_fails_is_a_failure_and_the_last(self) -> None:
        self.stand_in(1)
        for line in of_systemd('nightly'), of_cron()[0]:
            with self.subTest(line):
                self.assertEqual(1, self.run_line(line).returncode)
                self.assertEqual(1, len(self.log()))

    def test_the_newest_consistent_set_is_drilled(self) -> None:
        self.assertIn(f'   backup  {MONTHLY}\n', (
            SAMPLES.parent / 'user/disaster-recovery.rst').read_text())
        self.stand_in(0, '1 consistent\n2 consistent\n3 pending')
        self.assertEqual(0, self.run_line(MONTHLY).returncode)
        _listed, drilled = self.log()
        self.assertEqual(
            ['drill', '2', '--mapping', 'mapping.yaml'], drilled[3:])

    def test_without_a_consistent_set_nothing_is_drilled(self) -> None:
        for sets in '', '1 pending\n2 incomplete':
            with self.subTest(sets):
                self.stand_in(0, sets)
                done = self.run_line(MONTHLY)
                self.assertEqual(1, done.returncode)
                self.assertIn('no consistent backup set', done.stderr)
                self.assertEqual(1, len(self.log()))

    def test_a_list_that_fails_is_not_one_without_sets(self) -> None:
        self.stand_in(2)
        done = self.run_line(MONTHLY)
        self.assertEqual((2, ''), (done.returncode, done.stderr))
        self.assertEqual(1, len(self.log()))

    def test_the_alarm_is_asked_at_the_other_site(self) -> None:
        for line in of_systemd('protection'), of_cron()[1]:
            with self.subTest(line):
                self.assertEqual(0, self.run_line(line).returncode)
                asked, = self.log()
                told = self.alarm_of(asked)
                self.assertEqual((['shop'], 26 * 3600),
                                 (told.application, told.max_age))
                self.stand_in(1)
                self.assertEqual(1, self.run_line(line).returncode)
                self.stand_in(0)
                self.log()

    def test_the_collector_gets_a_file(self) -> None:
        self.run_line(of_systemd('protection'))
        path = self.alarm_of(self.log()[0]).openmetrics
        self.assertEqual(str(self.folder / 'shop.prom'), path)

    def test_cron_mails_no_tables(self) -> None:
        for line in of_cron():
            self.assertEqual('', self.run_line(line).stdout)

    def test_cron_has_two_lines_and_no_percent_sign(self) -> None:
        self.assertEqual(2, len(of_cron()))
        self.assertNotIn('%', (SAMPLES / 'shop.cron').read_text())

    def test_cron_runs_no_two_at_once(self) -> None:
        lock = self.folder / 'shop.yaml'
        with subprocess.Popen(  # noqa: S603
                ['flock', str(lock), 'sh', '-c', 'echo; cat'],  # noqa: S607
                stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            self.assertNotEqual(0, self.run_line(of_cron()[0]).returncode)
            self.assertEqual([], self.log())
            assert holder.stdin is not None
            holder.stdin.close()

    def test_units_belong_together(self) -> None:
        for name in UNITS:
            service, timer = unit(f'{name}.service'), unit(f'{name}.timer')
            # Another type would have a limit of its own for the start.
            self.assertEqual('oneshot', service['Service']['Type'])
            self.assertEqual(FOLDER, service['Service']['WorkingDirectory'])
            self.assertEqual('true', timer['Timer']['Persistent'])
            self.assertEqual('timers.target', timer['Install']['WantedBy'])
            self.assertNotIn('Install', service)
        self.assertNotIn(
            'TimeoutStartSec', unit('nightly.service')['Service'])

    def test_the_client_is_found_where_the_guide_installs_it(self) -> None:
        for guide in 'user/quickstart.rst', 'install/install.rst':
            self.assertIn(f'export PATH={PROGRAMS}:$PATH',
                          (SAMPLES.parent / guide).read_text())
        path = f'PATH={PROGRAMS}:/usr/bin:/bin'
        for name in UNITS:
            self.assertEqual(
                path, unit(f'{name}.service')['Service']['Environment'])
        self.assertIn(path, (SAMPLES / 'shop.cron').read_text().splitlines())

    @unittest.skipUnless(shutil.which('systemd-analyze'),
                         'systemd-analyze is not there')
    def test_systemd_takes_them(self) -> None:
        for path in SAMPLES.glob('*.service'), SAMPLES.glob('*.timer'):
            for each in path:
                shutil.copy(each, self.folder)
        units = [str(self.folder / f'{name}.{kind}') for name in UNITS
                 for kind in ('service', 'timer')]
        done = subprocess.run(  # noqa: S603
            ['systemd-analyze', 'verify', *units],  # noqa: S607
            capture_output=True, text=True)
        self.assertEqual((0, ''), (done.returncode, done.stderr))

    def test_no_sample_depends_on_how_its_shell_is_started(self) -> None:
        # "sh x.sh" does not read the options in the first line.
        for path in SAMPLES.glob('*.sh'):
            first, *rest = path.read_text().splitlines()
            with self.subTest(path.name):
                self.assertRegex(first, r'^#!/bin/(ba)?sh$')
                self.assertTrue(any(
                    line.startswith(('set -e', 'exec ')) for line in rest))
