# SPDX-License-Identifier: Apache-2.0

"""The command line means what its help says."""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest
from unittest import mock

from minicloud import cli
from minicloud import processes
from minicloud.errors import MinicloudError


class ParseTest(unittest.TestCase):

    def usage_error(self, *argv: str) -> str:
        text = io.StringIO()
        with contextlib.redirect_stderr(text):
            with self.assertRaises(SystemExit) as caught:
                cli.parse(list(argv))
        self.assertEqual(2, caught.exception.code)
        return text.getvalue()

    def test_root_goes_before_or_after_the_verb(self) -> None:
        for argv in (['--root', '/r', 'up'], ['up', '--root', '/r'],
                     ['--root', '/x', 'up', '--root', '/r']):
            self.assertEqual('/r', cli.parse(argv).root)

    def test_root_comes_from_the_environment(self) -> None:
        with mock.patch.dict(os.environ, MINICLOUD_ROOT='/e'):
            self.assertEqual('/e', cli.parse(['up']).root)
            self.assertEqual('/r', cli.parse(['up', '--root', '/r']).root)

    def test_root_is_here_otherwise(self) -> None:
        with mock.patch.dict(os.environ):
            os.environ.pop('MINICLOUD_ROOT', None)
            self.assertEqual('.minicloud', cli.parse(['status']).root)

    def test_what_up_is_not_told_stays_open(self) -> None:
        args = cli.parse(['up'])
        self.assertEqual({}, cli.given(args))
        self.assertIs(False, args.fresh)

    def test_up_and_run_take_the_same_settings(self) -> None:
        options = ['--driver', 'fake', '--broker', 'rabbit', '--database',
                   'mariadb', '--queues', 'quorum', '--cells', '2',
                   '--computes', '3', '--quiesce-services', '0',
                   '--quiesce-host', 'shared', '--without-quiesce',
                   '--backup', 'posix', '--store', '/s', '--site-name', 'B']
        expected = {'driver': 'fake', 'broker': 'rabbit',
                    'database': 'mariadb', 'queues': 'quorum', 'cells': 2,
                    'computes': 3, 'quiesce_services': 0,
                    'quiesce_host': 'shared', 'quiesce': False,
                    'backup': 'posix', 'store': '/s', 'site_name': 'B'}
        for argv in (['up', *options], ['run', *options, '--', 'true']):
            self.assertEqual(expected, cli.given(cli.parse(argv)))

    def test_quiesce_can_be_left_out_and_brought_back(self) -> None:
        self.assertIs(False, cli.parse(['up', '--without-quiesce']).quiesce)
        self.assertIs(True, cli.parse(['up', '--with-quiesce']).quiesce)

    def test_only_what_works_is_offered(self) -> None:
        self.assertIn('invalid choice',
                      self.usage_error('up', '--driver', 'vapour'))
        self.assertIn('invalid choice',
                      self.usage_error('up', '--broker', 'pigeon'))
        self.assertIn('invalid choice',
                      self.usage_error('up', '--database', 'cards'))

    def test_computes_is_a_sensible_number(self) -> None:
        for value in ('0', '-1', 'many', '101'):
            self.usage_error('up', '--computes', value)
        for value in ('-1', 'many', '101'):
            self.usage_error('up', '--quiesce-services', value)

    def test_clouds_takes_several_roots(self) -> None:
        self.assertEqual(['/a', '/b'], cli.parse(
            ['clouds', '--root', '/a', '--root', '/b']).roots)
        self.assertEqual(['/a'], cli.parse(['--root', '/a', 'clouds']).roots)

    def test_a_verb_is_needed(self) -> None:
        self.usage_error()

    def test_the_command_is_left_as_it_is(self) -> None:
        args = cli.parse(['exec', '--as', 'member', '--', 'openstack',
                          '--root', 'x', '--', '-f', 'json'])
        self.assertEqual('member', args.persona)
        self.assertEqual(
            ['openstack', '--root', 'x', '--', '-f', 'json'], args.command)

    def test_exec_needs_a_command(self) -> None:
        self.usage_error('exec')
        self.usage_error('exec', '--')

    def test_other_verbs_take_no_command(self) -> None:
        self.usage_error('up', '--', 'ls')

    def test_unknown_personas_are_refused(self) -> None:
        self.usage_error('openrc', '--as', 'nobody')


class MainTest(unittest.TestCase):

    def run_main(self, *argv: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out):
            with contextlib.redirect_stderr(err):
                code = cli.main(list(argv))
        return code, out.getvalue(), err.getvalue()

    def test_an_error_is_words_and_exit_code_1(self) -> None:
        failing = mock.Mock(side_effect=MinicloudError('no such luck'))
        with mock.patch.dict(cli.VERBS, status=failing):
            code, out, err = self.run_main('status')
        self.assertEqual((1, '', 'minicloud: no such luck\n'),
                         (code, out, err))

    def test_clouds_of_the_same_name_are_refused(self) -> None:
        cloud = mock.Mock(**{'clouds.return_value': {'site': {}}})
        with mock.patch('minicloud.cloud.Cloud', return_value=cloud):
            code, _out, err = self.run_main(
                'clouds', '--root', '/a', '--root', '/b')
        self.assertEqual(1, code)
        self.assertIn('both called site', err)

    def test_run_forgets_what_an_earlier_cloud_was_like(self) -> None:
        cloud = mock.Mock()
        cloud.environment.return_value = {}
        cloud.layout.root = '/nowhere'
        args = cli.parse(['run', '--computes', '2', '--', 'true'])
        self.assertEqual(0, cli.run(cloud, args))
        given = cloud.up.call_args.kwargs
        self.assertEqual((True, 2, 'memory', 'sqlite'), (
            given['fresh'], given['computes'], given['broker'],
            given['database']))
        cloud.down.assert_called_once()

    def test_an_interrupted_run_leaves_no_process_of_its_command(
            self) -> None:
        # The command's child outlives its parent, and ignores a first request.
        code = textwrap.dedent("""\
            import os, sys
            from minicloud import cli
            signals = cli.signal
            signals.signal(signals.SIGTERM, cli._interrupt)
            try:
                cli.run_command(sys.argv[1:], dict(os.environ))
            except cli.Interrupted:
                sys.exit(9)
            """)
        command = ('(trap "" TERM; echo $BASHPID; exec sleep 1000) & wait')
        with subprocess.Popen(
                [sys.executable, '-c', code, 'bash', '-c', command],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                text=True) as process:
            assert process.stdout is not None
            child = int(process.stdout.readline())
            process.terminate()
            self.assertEqual(9, process.wait(30))
        # It has been killed; a busy machine needs time to be done with it.
        deadline = time.monotonic() + 30
        while ((found := processes.stat(child)) and found.state != 'Z'
                and time.monotonic() < deadline):
            time.sleep(0.05)
        self.assertIn(found and found.state, (None, 'Z'))

    def test_nor_does_one_that_is_interrupted_while_it_starts(self) -> None:
        code = textwrap.dedent("""\
            import os, sys
            from minicloud import cli
            cli.signal.signal(cli.signal.SIGTERM, cli._interrupt)
            start = cli.subprocess.Popen
            def interrupted(*args, **kwargs):
                process = start(*args, **kwargs)
                print(process.pid, flush=True)
                os.kill(os.getpid(), cli.signal.SIGTERM)
                return process
            cli.subprocess.Popen = interrupted
            try:
                cli.run_command(sys.argv[1:], dict(os.environ))
            except cli.Interrupted:
                sys.exit(9)
            """)
        ended = subprocess.run(
            [sys.executable, '-c', code, 'sh', '-c', 'exec sleep 60 >&-'],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.assertEqual(9, ended.returncode)
        self.assertIsNone(processes.stat(int(ended.stdout)))

    def test_nobody_has_to_listen(self) -> None:
        stream = mock.Mock(write=mock.Mock(side_effect=BrokenPipeError))
        with contextlib.redirect_stderr(stream):
            cli.progress('stopped')
        stream.write.assert_called()

    def test_openrc_without_a_cloud_says_so(self) -> None:
        with tempfile.TemporaryDirectory() as root:
            code, _, err = self.run_main('openrc', '--root', root)
        self.assertEqual(1, code)
        self.assertIn('there is no cloud in', err)

    def test_down_without_a_cloud_does_nothing(self) -> None:
        with tempfile.TemporaryDirectory() as root:
            path = os.path.join(root, 'cloud')
            with mock.patch('signal.signal'):
                code, _, _ = self.run_main('down', '--root', path)
            self.assertEqual(0, code)
            self.assertFalse(os.path.exists(path))

    def test_status_without_a_cloud_is_not_up(self) -> None:
        with tempfile.TemporaryDirectory() as root:
            code, out, _ = self.run_main('status', '--root', root)
        self.assertEqual(1, code)
        self.assertIn('identity  down', out)

    def test_status_says_the_release(self) -> None:
        with (tempfile.TemporaryDirectory() as root,
              mock.patch('minicloud.releases.installed',
                         return_value='2025.1')):
            _, out, _ = self.run_main('status', '--root', root)
        self.assertIn('OpenStack 2025.1\n', out)
