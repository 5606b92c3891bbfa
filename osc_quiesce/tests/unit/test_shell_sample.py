# SPDX-License-Identifier: Apache-2.0

"""Scripts and commands of the guides, with stand-ins for what they call."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import tempfile
import unittest

DOCS = pathlib.Path(__file__).parents[3] / 'doc/source'
SCRIPT = DOCS / 'samples/quiesce-and-snapshot.sh'
#: writes down what it is asked; the test adds what some requests do
OPENSTACK = '''#!/bin/sh
echo "$@" >> "$LOG"
case "$*" in
%s
"volume snapshot create "*) for name; do :; done; echo "id-$name" ;;
"volume snapshot list "*) printf '%%s\\n' id-db-1 id-app-1 id-web-1 ;;
"quiesced server list "*) printf '%%s frozen\\n' db app web ;;
esac
'''
QUIESCE = 'server quiesce --wait --unquiesce-after 120 db app web'
UNQUIESCE = 'server unquiesce --wait web app db'


def _heed_signals() -> None:
    """Undo what a background job inherits: bash traps no ignored signal."""
    for each in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        signal.signal(each, signal.SIG_DFL)


class TestScript(unittest.TestCase):
    def run_script(self, special: str = '') -> tuple[int, list[str]]:
        """Return the exit code, and the requests in their order.

        :param special: a branch of the stand-in's ``case``; $SCRIPT is the
            process of the script, and $LOG the file of the requests
        """
        with tempfile.TemporaryDirectory() as folder:
            path, log = pathlib.Path(folder, 'openstack'), f'{folder}/log'
            path.write_text(OPENSTACK % special)
            path.chmod(0o755)
            pause = pathlib.Path(folder, 'sleep')
            pause.write_text('#!/bin/sh\n')
            pause.chmod(0o755)
            done = subprocess.run(
                ['bash', '-c', 'SCRIPT=$$ exec bash "$0" 1', str(SCRIPT)],
                capture_output=True, check=False, timeout=60, env={
                    **os.environ, 'LOG': log,
                    'PATH': f'{folder}:{os.environ["PATH"]}'},
                preexec_fn=_heed_signals)
            requests = pathlib.Path(log).read_text().splitlines()
        self.assertEqual(QUIESCE, requests[0])
        return done.returncode, requests[1:]

    def test_servers_are_thawed_when_the_snapshots_are_there(self) -> None:
        exit_code, requests = self.run_script()
        self.assertEqual(0, exit_code)
        self.assertEqual(
            [f'volume snapshot create -f value -c id --force '
             f'--volume {name}-disk {name}-1'
             for name in ('app', 'db', 'web')], sorted(requests[:3]))
        self.assertEqual(UNQUIESCE, requests[-1])

    def test_a_refused_quiesce_thaws_no_freeze_of_another_program(
            self) -> None:
        self.assertEqual(
            (1, []), self.run_script('"server quiesce "*) exit 1 ;;'))

    def test_a_snapshot_that_fails(self) -> None:
        exit_code, requests = self.run_script('*app-1) exit 1 ;;')
        self.assertEqual((1, 1), (exit_code, requests.count(UNQUIESCE)))

    def test_only_its_own_snapshots_count(self) -> None:
        exit_code, requests = self.run_script(
            '"volume snapshot list "*) [ -e "$LOG.again" ] && echo id-web-1; '
            "touch \"$LOG.again\"; printf '%s\\n' id-old id-db-1 id-app-1 ;;")
        self.assertEqual(0, exit_code)
        self.assertEqual(2, sum(
            request.startswith('volume snapshot list')
            for request in requests))

    def test_without_a_number_nothing_is_asked(self) -> None:
        done = subprocess.run(['/bin/bash', str(SCRIPT)], capture_output=True,
                              check=False, text=True, timeout=60,
                              env={**os.environ, 'PATH': '/nowhere'})
        self.assertNotEqual(0, done.returncode)
        self.assertIn('Usage: ', done.stderr)
        self.assertNotIn('openstack', done.stderr)

    def test_a_thaw_that_fails_is_repeated(self) -> None:
        exit_code, requests = self.run_script(
            '"server unquiesce "*) [ -e "$LOG.again" ] || '
            '{ touch "$LOG.again"; exit 1; } ;;')
        self.assertEqual((0, 2), (exit_code, requests.count(UNQUIESCE)))
        exit_code, requests = self.run_script(
            '"server unquiesce "*) exit 1 ;;')
        self.assertEqual((1, 5), (exit_code, requests.count(UNQUIESCE)))

    def test_a_server_that_is_not_frozen_any_more(self) -> None:
        exit_code, requests = self.run_script(
            '"quiesced server list "*) echo db frozen ;;')
        self.assertEqual((1, UNQUIESCE), (exit_code, requests[-1]))

    def test_a_signal_that_only_the_script_gets(self) -> None:
        for name in 'INT', 'TERM', 'HUP':
            with self.subTest('while servers are being frozen', name=name):
                exit_code, requests = self.run_script(
                    f'"server quiesce "*) kill -{name} $SCRIPT ;;')
                self.assertEqual((1, [UNQUIESCE]), (exit_code, requests))
            with self.subTest('while snapshots are made', name=name):
                exit_code, requests = self.run_script(
                    f'"volume snapshot list "*) kill -{name} $SCRIPT ;;')
                self.assertEqual((1, UNQUIESCE), (exit_code, requests[-1]))
                self.assertEqual(1, requests.count(UNQUIESCE))

    def test_a_signal_does_not_end_the_thaw(self) -> None:
        for name in 'INT', 'TERM', 'HUP':
            with self.subTest(name):
                exit_code, requests = self.run_script(
                    '*app-1) exit 1 ;; "server unquiesce "*) '
                    f'kill -{name} $SCRIPT; kill -{name} $$; '
                    'echo thawed >>"$LOG" ;;')
                self.assertEqual(
                    (1, [UNQUIESCE, 'thawed']), (exit_code, requests[-2:]))

    def test_a_signal_by_which_quiesce_ends(self) -> None:
        exit_code, requests = self.run_script(
            '"server quiesce "*) kill -TERM $SCRIPT; kill -TERM $$ ;;')
        self.assertEqual(
            (128 + signal.SIGTERM, []), (exit_code, requests))


class TestCheck(unittest.TestCase):
    """A restore runs the command of --check for each server."""

    PAGES = ('user/disaster-recovery.rst', 'cli/application-restore.rst')

    def test_only_the_web_server_must_answer(self) -> None:
        commands = [command for page in self.PAGES for command in re.findall(
            "--check '(.*curl.*)'", (DOCS / page).read_text())]
        self.assertEqual(len(self.PAGES), len(commands))
        for command in commands:
            for curl in True, False:
                for server in 'db', 'app', 'web':
                    with self.subTest(command, curl=curl, server=server):
                        self.assertEqual(
                            curl or server != 'web',
                            self.succeeds(command, server, curl))

    @staticmethod
    def succeeds(command: str, server: str, curl: bool) -> bool:
        """Return whether a check succeeds.

        :param curl: whether curl does, if it gets the address of the server
        """
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, 'curl')
            path.write_text('#!/bin/sh\n[ "$2" = http://192.0.2.7/ ] && %s\n'
                            % str(curl).lower())
            path.chmod(0o755)
            return subprocess.run(
                ['/bin/sh', '-c', command], check=False, timeout=60, env={
                    'OSC_QUIESCE_SERVER': server,
                    'OSC_QUIESCE_ADDRESS': '192.0.2.7',
                    'PATH': f'{folder}:{os.environ["PATH"]}'}).returncode == 0
