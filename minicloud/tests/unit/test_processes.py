# SPDX-License-Identifier: Apache-2.0

"""Only processes of this root are recognised, and only they are ended."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock
import uuid

from minicloud import processes
from minicloud.errors import MinicloudError
from minicloud.layout import Layout

SLEEP = 'import time; time.sleep(60)'
PARENT = '''
import subprocess, sys
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
print(child.pid, flush=True)
child.wait()
'''


class Case(unittest.TestCase):

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.layout = Layout.of(pathlib.Path(directory.name, 'cloud'))
        # Other tests may run beside this one, on the same machine.
        self.token = uuid.uuid4().hex

    def process(self, *argv: str) -> 'subprocess.Popen[bytes]':
        made = subprocess.Popen([sys.executable, '-c', SLEEP, *argv])
        self.addCleanup(made.wait)
        self.addCleanup(made.kill)
        return made

    def wait_for_state(self, pid: int, state: str) -> None:
        deadline = time.monotonic() + 10
        while (found := processes.stat(pid)) is None or found.state != state:
            if time.monotonic() > deadline:
                self.fail(f'{found} where state {state} was expected')
            time.sleep(0.01)

    def ours(self, role: str = 'image') -> 'subprocess.Popen[bytes]':
        argv = processes.command(role, self.layout, self.token, 'd1')
        made = self.process(*argv[argv.index(processes.MODULE):])
        # For a moment a new process has no command line at all.
        while processes.role_in(processes.arguments(made.pid),
                                self.token) is None:
            time.sleep(0.01)
        return made


class RecognitionTest(Case):

    def test_a_command_line_says_role_and_digest(self) -> None:
        argv = processes.command('image', self.layout, 't1', 'd1')
        self.assertEqual(('image', 'd1'), processes.role_in(argv, 't1'))

    def test_another_token_is_another_root(self) -> None:
        argv = processes.command('image', self.layout, 't1', 'd1')
        self.assertIsNone(processes.role_in(argv, 't2'))

    def test_no_token_recognises_nothing(self) -> None:
        argv = processes.command('image', self.layout, '', 'd1')
        self.assertIsNone(processes.role_in(argv, ''))

    def test_a_foreign_command_line_is_not_ours(self) -> None:
        for argv in ([], ['vi', 't1'], [processes.MODULE],
                     [processes.MODULE, 'image', '--token']):
            self.assertIsNone(processes.role_in(argv, 't1'))

    def test_a_live_process_is_found_without_its_pid_file(self) -> None:
        made = self.ours()
        self.assertEqual(
            {'image': [processes.Running('image', made.pid, 'd1', False)]},
            processes.find(self.layout, self.token))

    def test_ready_is_believed_of_the_very_process_only(self) -> None:
        made = self.ours()
        self.layout.run.mkdir(parents=True)
        began = processes.start_time(made.pid)
        assert began is not None
        for start, ready in ((began, True), (began - 1, False)):
            processes.write_json(
                self.layout.pid_of('image'),
                {'pid': made.pid, 'start': start, 'ready': True})
            found = processes.find(self.layout, self.token)['image'][0]
            self.assertIs(ready, found.ready)

    def test_an_ended_process_has_no_start_time(self) -> None:
        made = self.process()
        made.kill()
        made.wait()
        self.assertIsNone(processes.start_time(made.pid))


class StopTest(Case):

    def test_our_process_is_ended(self) -> None:
        made = self.ours()
        processes.stop([processes.Running('image', made.pid, 'd1', True)],
                       self.token)
        self.assertIsNone(processes.start_time(made.pid))

    def test_a_recycled_process_id_is_left_alone(self) -> None:
        foreign = self.process()
        processes.stop([processes.Running('image', foreign.pid, 'd1', True)],
                       self.token)
        self.assertIsNone(foreign.poll())

    def test_a_suspended_process_is_ended(self) -> None:
        made = self.ours()
        os.kill(made.pid, signal.SIGSTOP)
        self.wait_for_state(made.pid, 'T')
        found = processes.find(self.layout, self.token)['image']
        self.assertEqual([True], [process.suspended for process in found])
        processes.stop(found, self.token)
        self.assertIsNone(processes.start_time(made.pid))

    def test_a_process_that_is_gone_is_no_error(self) -> None:
        made = self.process()
        made.kill()
        made.wait()
        processes.stop([processes.Running('image', made.pid, 'd1', True)],
                       self.token)


class SendTest(Case):

    def leader(self) -> tuple[processes.Running, int]:
        """Start a process of ours, first of a session, with a child."""
        argv = processes.command('broker', self.layout, self.token, 'd1')
        made = subprocess.Popen(
            [sys.executable, '-c', PARENT,
             *argv[argv.index(processes.MODULE):]],
            start_new_session=True, stdout=subprocess.PIPE)
        self.addCleanup(made.wait)
        self.addCleanup(self.kill_group, made.pid)
        assert made.stdout
        self.addCleanup(made.stdout.close)
        return (processes.Running('broker', made.pid, 'd1', True),
                int(made.stdout.readline()))

    @staticmethod
    def kill_group(leader: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)

    def test_what_it_has_started_hears_the_signal_too(self) -> None:
        running, child = self.leader()
        processes.send([running], self.token, signal.SIGSTOP)
        for pid in (running.pid, child):
            self.wait_for_state(pid, 'T')
        processes.send([running], self.token, signal.SIGCONT)
        for pid in (running.pid, child):
            self.wait_for_state(pid, 'S')

    def test_all_are_gone_after_sigkill(self) -> None:
        running, child = self.leader()
        processes.send([running], self.token, signal.SIGKILL)
        self.assertEqual([None, None], [
            processes.start_time(pid) for pid in (running.pid, child)])

    def test_others_hear_nothing(self) -> None:
        foreign = self.process()
        processes.send(
            [processes.Running('image', foreign.pid, 'd1', True)],
            self.token, signal.SIGKILL)
        self.assertIsNone(foreign.poll())


class ReadyTest(Case):

    def test_only_a_process_that_lives_is_ready(self) -> None:
        made = self.process()
        self.layout.run.mkdir(parents=True)
        self.assertFalse(processes.ready(self.layout, 'broker'))
        processes.write_json(self.layout.pid_of('broker'), {
            'pid': made.pid, 'start': processes.start_time(made.pid),
            'ready': True})
        self.assertTrue(processes.ready(self.layout, 'broker'))
        made.kill()
        made.wait()
        self.assertFalse(processes.ready(self.layout, 'broker'))


class LockTest(Case):

    def test_the_token_stays(self) -> None:
        with processes.locked(self.layout) as first:
            self.assertTrue(first)
        with processes.locked(self.layout) as second:
            self.assertEqual(first, second)

    def test_a_foreign_directory_is_refused(self) -> None:
        self.layout.root.mkdir()
        (self.layout.root / 'thesis.tex').touch()
        with self.assertRaisesRegex(MinicloudError, 'not made by minicloud'):
            with processes.locked(self.layout):
                self.fail('it was taken')
        self.assertEqual(['thesis.tex'], os.listdir(self.layout.root))

    def test_a_directory_with_local_configuration_is_taken(self) -> None:
        self.layout.local.mkdir(parents=True)
        with processes.locked(self.layout) as token:
            self.assertTrue(token)


class EnvironmentTest(unittest.TestCase):

    def test_the_callers_cloud_and_proxies_do_not_count(self) -> None:
        with unittest.mock.patch.dict(os.environ, {
                'OS_CLOUD': 'x', 'http_proxy': 'x', 'HTTPS_PROXY': 'x'}):
            environment = processes.child_environment()
        for name in ('OS_CLOUD', 'http_proxy', 'HTTPS_PROXY'):
            self.assertNotIn(name, environment)
