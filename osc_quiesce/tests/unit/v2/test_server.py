# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable
import contextlib
import errno
import json
import os
import re
import signal
import time
from typing import Any
from unittest import mock

from osc_lib import exceptions as osc_exceptions
import requests

from osc_quiesce import api
from osc_quiesce.cli import interrupts
from osc_quiesce import concurrency
from osc_quiesce import retry
from osc_quiesce.tests import signals
from osc_quiesce.tests.unit import fakes
from osc_quiesce.v2 import server as commands

NO_AGENT = ('active', 'Error', 'no agent')


class TestCase(fakes.TestCase):
    command: type[Any]
    is_terminal = False

    def setUp(self) -> None:
        super().setUp()
        self.with_signals()
        self.handlers = [signal.getsignal(n) for n in signals.SIGNALS]
        self.addCleanup(self._check_handlers)

    def _check_handlers(self) -> None:
        self.assertEqual(
            self.handlers, [signal.getsignal(n) for n in signals.SIGNALS]
        )

    def run_command(self, *argv: str, app: Any = None) -> int:
        """Run the command as the shell does, and return its exit code.

        :param app: the shell
        """
        app = app or self.app()
        self.stdout = app.stdout
        cmd = self.command(app, None)
        self.stderr = fakes.Stderr(self.is_terminal)
        with contextlib.redirect_stderr(self.stderr):
            try:
                args = cmd.get_parser('openstack server x').parse_args(argv)
            except SystemExit as exc:
                return int(str(exc.code))
            try:
                return int(cmd.run(args))
            except osc_exceptions.CommandError as exc:
                self.errors.lines.append(str(exc))
                return 1

    def rows(self) -> dict[str, dict[str, Any]]:
        rows = json.loads(self.stdout.getvalue())
        return {row['Name']: row for row in rows}

    def at_request(self, line: str, do: Callable[[], object]) -> None:
        """Do something during each request that looks like this."""

        def hook(request: Any, context: Any) -> None:
            if self.nova.log[-1] == line:
                do()

        self.nova.hooks.append(hook)

    def kill_at(self, line: str, signum: int) -> None:
        """Send this process a real signal during each such request."""
        self.at_request(line, lambda: os.kill(os.getpid(), signum))

    def times_of(self, line: str) -> list[float]:
        """Return a list that gets the time of each request like this."""
        times: list[float] = []
        self.at_request(line, lambda: times.append(self.nova.now))
        return times

    def vm_states(self) -> dict[str, str]:
        return {
            server.name: server.vm_state
            for server in self.nova.servers.values()
        }

    def assert_nothing_frozen(self) -> None:
        self.assertEqual(
            [], [s.name for s in self.nova.servers.values() if s.actions]
        )


class TestQuiesce(TestCase):
    """Of both: with --wait, and without."""

    command = commands.QuiesceServer

    def test_the_table_has_one_row_per_server(self) -> None:
        web = self.nova.add('web')
        self.assertEqual(0, self.run_command('web', '--wait', '-f', 'json'))
        self.assertEqual(
            {
                'Name': 'web',
                'ID': web.id,
                'Status': 'QUIESCED',
                'Seconds': 0.3,
                'Request ID': web.actions[0]['request_id'],
                'Unquiesce At': None,
            },
            {**self.rows()['web'], 'Seconds': 0.3},
        )
        self.assertGreater(self.rows()['web']['Seconds'], 0)

    def test_the_columns_are_always_the_same(self) -> None:
        headers = set()
        for number, options in enumerate((
            [],
            ['--wait'],
            ['--unquiesce-after', '90'],
            ['--wait', '--unquiesce-after', '90'],
        )):
            name = f'web{number}'
            self.nova.add(name)
            self.assertEqual(0, self.run_command(name, *options, '-f', 'csv'))
            headers.add(self.stdout.getvalue().splitlines()[0])
        self.assertEqual(
            {'"Name","ID","Status","Seconds","Request ID","Unquiesce At"'},
            headers,
        )

    def test_the_deadline_is_shown_with_wait(self) -> None:
        self.nova.add('a')
        self.assertEqual(0, self.run_command(
            'a', '--wait', '--unquiesce-after', '90', '-f', 'json'))
        self.assertRegex(
            self.rows()['a']['Unquiesce At'], '^2026-01-01T00:01:3.Z$'
        )

    def test_the_column_of_the_deadline_can_always_be_asked_for(self) -> None:
        for column in ('unquiesce_at', 'Unquiesce At', 'unquiesce AT'):
            with self.subTest(column=column):
                self.nova.servers.clear()
                self.nova.add('a')
                self.assertEqual(
                    0,
                    self.run_command(
                        'a', '--wait', '-f', 'json', '-c', column
                    ),
                )
                self.assertEqual(
                    [{'Unquiesce At': None}],
                    json.loads(self.stdout.getvalue()),
                )
                self.assertEqual({'a': 'quiesced'}, self.vm_states())

    def test_an_unknown_column_is_refused_before_the_first_request(
        self,
    ) -> None:
        self.nova.add('a')
        for column in ('Nope', 'unquiesce-at', 'unquiesced_at'):
            for wait in ([], ['--wait']):
                with (
                    self.subTest(column=column, wait=wait),
                    self.assertRaisesRegex(ValueError, 'No recognized column'),
                ):
                    self.run_command('a', *wait, '-c', column)
        self.assertEqual([], self.nova.log)

    def test_what_is_missing_is_empty_in_a_table(self) -> None:
        self.nova.add('web', vm_state='stopped')
        self.assertEqual(1, self.run_command('web', '-f', 'table'))
        self.assertNotIn('None', self.stdout.getvalue())

    def test_whole_seconds_above_0_or_a_usage_error(self) -> None:
        self.nova.add('a')
        for text in ('0', '-1', '1.5', 'soon', ''):
            with self.subTest(text=text):
                self.assertEqual(
                    2, self.run_command('a', f'--unquiesce-after={text}')
                )
                self.assertIn('whole number', self.stderr.getvalue())
        self.assertEqual([], self.nova.log)

    def test_a_timeout_that_is_no_positive_number_is_a_usage_error(
        self,
    ) -> None:
        for text in ('0', '-1', 'nan', 'inf', 'soon'):
            with self.subTest(text=text):
                self.assertEqual(
                    2, self.run_command('a', '--wait', f'--timeout={text}')
                )
                self.assertIn('positive number', self.stderr.getvalue())
        self.assertEqual([], self.nova.log)

    def test_options_of_wait_without_wait_are_usage_errors(self) -> None:
        for option in (['--timeout', '5'], ['--keep-quiesced']):
            with self.subTest(option=option):
                self.assertEqual(2, self.run_command('a', *option))
                self.assertIn(f'{option[0]} requires --wait', self.said)
                self.assertIn('usage: openstack', self.stderr.getvalue())
        self.assertEqual([], self.nova.log)


class TestQuiesceFinds(TestCase):
    """The servers that the names are of, or nothing is frozen."""

    command = commands.QuiesceServer

    def test_one_unknown_name_and_nothing_is_frozen(self) -> None:
        self.nova.add('a')
        for wait in ([], ['--wait']):
            self.assertEqual(1, self.run_command('a', 'nope', *wait))
            self.assertIn('"nope"', self.said)
            self.assertIn('Nothing was quiesced.', self.said)
            self.assert_nothing_frozen()

    def test_one_ambiguous_name_and_nothing_is_frozen(self) -> None:
        self.nova.add('a')
        self.nova.add('b')
        self.nova.add('b')
        self.assertEqual(1, self.run_command('a', 'b'))
        self.assertIn('2 servers have the name "b"', self.said)
        self.assert_nothing_frozen()

    def test_the_same_server_twice_and_nothing_is_frozen(self) -> None:
        web = self.nova.add('web')
        self.assertEqual(1, self.run_command('web', web.id))
        self.assertIn(f'Server web ({web.id}) is named twice', self.said)
        self.assert_nothing_frozen()

    def test_one_in_a_wrong_state_and_nothing_is_frozen_with_wait(
        self,
    ) -> None:
        self.nova.add('a')
        self.nova.add('b', task_state='rebooting')
        self.assertEqual(1, self.run_command('a', 'b', '--wait'))
        self.assertRegex(self.said, r'Server b \(.*task_state rebooting')
        self.assert_nothing_frozen()

    def test_bad_names_are_the_conventional_error_of_the_shell(self) -> None:
        cmd = self.command(self.app(), None)
        args = cmd.get_parser('x').parse_args(['nope'])
        with self.assertRaisesRegex(
            osc_exceptions.CommandError, 'Nothing was quiesced'
        ):
            cmd.run(args)

    def test_all_projects_finds_the_names_of_others(self) -> None:
        theirs = self.nova.add('web', foreign=True)
        self.assertEqual(1, self.run_command('web', '--wait'))
        self.assert_nothing_frozen()
        self.assertEqual(
            0, self.run_command('web', '--wait', '--all-projects')
        )
        self.assertEqual('quiesced', theirs.vm_state)

    def test_all_projects_is_refused_to_who_may_not(self) -> None:
        self.nova.is_admin = False
        self.nova.add('web')
        self.assertEqual(1, self.run_command('web', '--all-projects'))
        self.assertIn('Policy does not allow it', self.said)
        self.assert_nothing_frozen()


class TestQuiesceWithoutWait(TestCase):
    command = commands.QuiesceServer

    def test_every_request_is_sent_and_refusals_logged(self) -> None:
        self.nova.add('a')
        self.nova.add('b', vm_state='stopped')
        self.nova.add('c')
        self.assertEqual(1, self.run_command('a', 'b', 'c', '-f', 'json'))
        self.assertEqual(
            ['POST a quiesce', 'POST b quiesce', 'POST c quiesce'],
            self.nova.posts(),
        )
        self.assertRegex(self.said, r'Server b \(.*vm_state stopped')
        self.assertIn('1 of 3 servers failed to quiesce.', self.said)
        self.assertEqual('QUIESCING', self.rows()['c']['Status'])
        self.assertIsNone(self.rows()['c']['Seconds'])
        self.assertIsNone(self.rows()['b']['Request ID'])

    def test_a_signal_stops_it_and_it_says_what_was_asked(self) -> None:
        a, b, c = (self.nova.add(name) for name in 'abc')
        self.kill_at('POST b quiesce', signal.SIGINT)
        self.assertEqual(130, self.run_command('a', 'b', 'c', '-f', 'json'))
        self.assertEqual(
            ['POST a quiesce', 'POST b quiesce'], self.nova.posts()
        )
        self.assertIn(
            f'Quiesce was requested for: a ({a.id}), b ({b.id}). It was not '
            f'requested, refused or not answered for: c ({c.id}).',
            self.said,
        )
        self.assertEqual(
            b.actions[0]['request_id'], self.rows()['b']['Request ID']
        )

    def test_a_signal_during_the_last_request_counts(self) -> None:
        a = self.nova.add('a')
        self.kill_at('POST a quiesce', signal.SIGTERM)
        self.assertEqual(143, self.run_command('a', '-f', 'json'))
        self.assertEqual(
            a.actions[0]['request_id'], self.rows()['a']['Request ID']
        )

    def test_a_lost_answer_is_asked_for_again(self) -> None:
        a = self.nova.add('a')
        self.drop('POST a quiesce', heard=True)
        self.assertEqual(0, self.run_command('a'))
        self.assertEqual(['POST a quiesce'] * 2, self.nova.posts())
        self.assertEqual(1, len(a.actions))


class TestQuiesceWithWait(TestCase):
    command = commands.QuiesceServer

    def test_strictly_one_after_the_other_in_the_order_given(self) -> None:
        for name in 'cab':
            self.nova.add(name, freeze_seconds=3)
        seen: list[list[str]] = []

        def hook(request: Any, context: Any) -> None:
            if request.method == 'POST':
                seen.append([s.vm_state for s in self.nova.servers.values()])

        self.nova.hooks.append(hook)
        self.assertEqual(0, self.run_command('c', 'a', 'b', '--wait'))
        self.assertEqual(
            ['POST c quiesce', 'POST a quiesce', 'POST b quiesce'],
            self.nova.posts(),
        )
        self.assertEqual(
            [
                ['active'] * 3,
                ['quiesced', 'active', 'active'],
                ['quiesced', 'quiesced', 'active'],
            ],
            seen,
        )
        self.assertEqual('', self.stderr.getvalue())

    def test_one_server_is_not_told_of_as_many(self) -> None:
        self.nova.add('a', freeze_to=NO_AGENT)
        self.assertEqual(1, self.run_command('a', '--wait'))
        self.assertIn('The server was not quiesced.', self.said)

    def test_if_one_fails_those_frozen_are_thawed_in_reverse(self) -> None:
        self.nova.add('a')
        self.nova.add('b')
        self.nova.add('c', freeze_to=NO_AGENT)
        self.nova.add('d')
        self.assertEqual(
            1, self.run_command('a', 'b', 'c', 'd', '--wait', '-f', 'json')
        )
        posts = self.nova.posts()
        self.assertEqual(
            ['POST a quiesce', 'POST b quiesce', 'POST c quiesce'], posts[:3]
        )
        self.assertEqual(
            ['POST b unquiesce', 'POST a unquiesce'],
            [post for post in posts[3:] if ' c ' not in post],
        )
        self.assertNotIn('POST d quiesce', posts)
        self.assertRegex(self.said, 'Server c .* cannot be .*: no agent')
        self.assertIn('The 4 servers were not quiesced.', self.said)
        self.assertEqual(
            {'ACTIVE'}, {row['Status'] for row in self.rows().values()}
        )

    def test_a_status_that_nobody_tells_is_not_waited_for_for_long(
        self,
    ) -> None:
        for name in 'abcd':
            self.nova.add(name)
        self.nova.add('e', freeze_to=NO_AGENT)

        def silence(request: Any, context: Any) -> None:
            if re.fullmatch('GET [a-e]', self.nova.log[-1]):
                self.nova.now += request.timeout
                raise requests.ReadTimeout('no answer in time')

        self.at_request(
            'POST a unquiesce', lambda: self.nova.hooks.append(silence))
        self.assertEqual(1, self.run_command(*'abcde', '--wait'))
        self.assertEqual({'active'}, set(self.vm_states().values()))
        self.assertLess(self.nova.now, 30)

    def test_nothing_is_said_before_all_are_thawed(self) -> None:
        # After Ctrl-S, a terminal takes no word.
        self.nova.add('a')
        self.nova.add('b', freeze_to=NO_AGENT)
        seen: list[dict[str, str]] = []
        with mock.patch.object(
            self.errors, 'emit', lambda record: seen.append(self.vm_states())
        ):
            self.assertEqual(1, self.run_command('a', 'b', '--wait'))
        self.assertEqual({'a': 'active', 'b': 'active'}, seen[0])

    def test_one_that_times_out_is_thawed_as_soon_as_it_can_be(self) -> None:
        self.nova.add('a')
        self.nova.add('b', freeze_seconds=30)
        self.assertEqual(
            1, self.run_command('a', 'b', '--wait', '--timeout', '5')
        )
        self.assertRegex(self.said, r'Server b .*within 5 s')
        self.assertEqual(
            ['POST b unquiesce', 'POST a unquiesce'], self.nova.posts()[2:]
        )
        self.assertEqual({'a': 'active', 'b': 'active'}, self.vm_states())

    def test_one_that_its_deadline_thaws_while_a_later_one_freezes(
        self,
    ) -> None:
        a = self.nova.add('a')
        self.nova.add('b', freeze_seconds=30)
        self.assertEqual(1, self.run_command(
            'a', 'b', '--wait', '--unquiesce-after', '10', '-f', 'json'))
        self.assertIn(
            f'Server a ({a.id}) is not quiesced by this request any more',
            self.said,
        )
        self.assertIn('The 2 servers were not quiesced.', self.said)
        self.assertIn('POST b unquiesce', self.nova.posts())
        self.assertEqual({'a': 'active', 'b': 'active'}, self.vm_states())
        self.assertEqual(
            {'ACTIVE'}, {row['Status'] for row in self.rows().values()}
        )

    def test_one_that_somebody_thaws_while_a_later_one_freezes(self) -> None:
        a = self.nova.add('a')
        self.nova.add('b', freeze_seconds=30)
        self.nova.at(5, lambda: self.nova.others(a, 'unquiesce'))
        self.assertEqual(1, self.run_command('a', 'b', '--wait'))
        self.assertIn(
            f'Server a ({a.id}) is not quiesced by this request any more',
            self.said,
        )
        self.assertIn('POST b unquiesce', self.nova.posts())
        self.assertEqual({'a': 'active', 'b': 'active'}, self.vm_states())

    def test_one_that_somebody_has_quiesced_anew_is_left_so(self) -> None:
        a = self.nova.add('a')
        self.nova.add('b', freeze_seconds=30)
        self.nova.at(5, lambda: self.nova.others(a, 'unquiesce'))
        self.nova.at(10, lambda: self.nova.others(a, 'quiesce'))
        self.assertEqual(1, self.run_command('a', 'b', '--wait'))
        self.assertEqual({'a': 'quiesced', 'b': 'active'}, self.vm_states())

    def test_one_that_is_deleted_while_a_later_one_freezes(self) -> None:
        a = self.nova.add('a')
        self.nova.add('b', freeze_seconds=30)

        def delete() -> None:
            a.vm_state, a.freeze = 'deleted', None

        self.nova.at(5, delete)
        self.assertEqual(
            1, self.run_command('a', 'b', '--wait', '-f', 'json')
        )
        self.assertEqual({'a': 'deleted', 'b': 'active'}, self.vm_states())
        self.assertEqual('DELETED', self.rows()['a']['Status'])

    def test_one_of_which_it_is_not_known_at_the_end_is_thawed(self) -> None:
        self.nova.add('a')
        self.answer('GET /os-quiesce', 500, 'broken', times=1000)
        self.assertEqual(1, self.run_command('a', '--wait'))
        self.assertEqual({'a': 'active'}, self.vm_states())

    def test_a_refused_server_is_not_thawed(self) -> None:
        a = self.nova.add('a')
        # Somebody is faster, after the look at the states.
        self.at_request(
            'POST a quiesce', lambda: self.nova.others(a, 'quiesce')
        )
        self.assertEqual(1, self.run_command('a', '--wait'))
        self.assertEqual(['POST a quiesce'], self.nova.posts())
        self.nova.sleep(1)
        self.assertEqual({'a': 'quiesced'}, self.vm_states())

    def test_a_proxy_that_finds_nothing_does_not_end_the_thaw(self) -> None:
        self.nova.add('a')
        self.nova.add('b', freeze_to=NO_AGENT)
        self.answer('POST a unquiesce', 404, '<html>', times=2)
        self.answer('GET a', 404, '<html>', times=2)
        self.answer('GET b', 404, '<html>', times=2)
        self.assertEqual(1, self.run_command('a', 'b', '--wait'))
        self.assertIn('no agent', self.said)
        self.assertNotIn('deleted', self.said)
        self.assertEqual({'a': 'active', 'b': 'active'}, self.vm_states())

    def test_a_thaw_that_fails_is_shouted_about(self) -> None:
        self.nova.add('a', thaw_to=('error', 'Error', 'hook'))
        self.nova.add('b', freeze_to=NO_AGENT)
        self.assertEqual(1, self.run_command('a', 'b', '--wait'))
        self.assertRegex(self.said, r'Server a \(.*hook.*MAY STILL BE FROZEN')

    def test_a_freeze_that_has_failed_is_told_once(self) -> None:
        self.nova.add('a', freeze_to=('error', 'Error', 'the agent hung'))
        self.assertEqual(1, self.run_command('a', '--wait'))
        self.assertIn('could not be quiesced: the agent hung', self.said)
        self.assertEqual(1, self.said.count('MAY STILL BE FROZEN'))

    def test_a_thaw_that_is_not_answered_names_the_command_to_repeat_it(
        self,
    ) -> None:
        a = self.nova.add('a')
        self.nova.add('b', freeze_to=NO_AGENT)
        self.drop('POST a unquiesce', times=10000)
        self.assertEqual(1, self.run_command('a', 'b', '--wait'))
        self.assertIn(
            f'Server a ({a.id}) MAY STILL BE FROZEN: try "openstack server '
            f'unquiesce {a.id}".',
            self.said,
        )


class TestKeepQuiesced(TestCase):
    command = commands.QuiesceServer

    def test_those_that_are_quiesced_stay_so(self) -> None:
        self.nova.add('a')
        self.nova.add('b', freeze_to=NO_AGENT)
        self.assertEqual(
            1,
            self.run_command(
                'a', 'b', '--wait', '--keep-quiesced', '-f', 'json'
            ),
        )
        self.assertEqual({'a': 'quiesced', 'b': 'active'}, self.vm_states())
        self.assertNotIn('POST a unquiesce', self.nova.posts())
        self.assertIn(
            '1 of 2 servers stay quiesced (--keep-quiesced).', self.said
        )
        self.assertEqual('QUIESCED', self.rows()['a']['Status'])

    def test_one_that_is_not_quiesced_in_time_is_thawed(self) -> None:
        self.nova.add('a')
        self.nova.add('b', freeze_seconds=30)
        self.assertEqual(1, self.run_command(
            'a', 'b', '--wait', '--keep-quiesced', '--timeout', '10'))
        self.assertIn('POST b unquiesce', self.nova.posts())
        self.assertEqual({'a': 'quiesced', 'b': 'active'}, self.vm_states())

    def test_one_that_was_thawed_meanwhile_is_not_said_to_stay_so(
        self,
    ) -> None:
        self.nova.add('a')
        self.nova.add('b', freeze_seconds=30)
        self.assertEqual(1, self.run_command(
            'a', 'b', '--wait', '--keep-quiesced', '--unquiesce-after', '10'))
        self.assertEqual({'a': 'active', 'b': 'quiesced'}, self.vm_states())
        self.assertIn('1 of 2 servers stay quiesced', self.said)

    def test_a_table_that_nobody_can_read_thaws_all_the_same(self) -> None:
        self.nova.add('a')
        app = self.app()
        app.stdout.write = mock.Mock(side_effect=BrokenPipeError)
        with self.assertRaises(BrokenPipeError):
            self.run_command('a', '--wait', '--keep-quiesced', app=app)
        self.assertEqual({'a': 'active'}, self.vm_states())


class TestSignals(TestCase):
    """Of quiesce with --wait."""

    command = commands.QuiesceServer

    def check_interrupted(
        self,
        argv: list[str],
        thaws: list[str],
        vm_states: list[str],
        words: str,
    ) -> None:
        """Interrupt a command, by each signal, while server b is asked.

        :param argv: its arguments; names of servers have one letter
        :param thaws: the requests after those to quiesce a and b
        :param vm_states: where the servers end
        :param words: what is said
        """
        for signum, code in zip(signals.SIGNALS, signals.CODES, strict=True):
            with self.subTest(signum=signum):
                self.nova.servers.clear()
                self.nova.hooks.clear()
                self.nova.log.clear()
                for arg in argv:
                    if len(arg) == 1:
                        self.nova.add(arg)
                self.kill_at('POST b quiesce', signum)
                self.assertEqual(code, self.run_command(*argv))
                self.assertEqual(thaws, self.nova.posts()[2:])
                self.assertEqual(vm_states, list(self.vm_states().values()))
                self.assertIn(words, self.said)

    def test_a_signal_thaws_and_gives_its_own_exit_code(self) -> None:
        self.check_interrupted(
            ['a', 'b', '--wait'],
            ['POST b unquiesce', 'POST a unquiesce'],
            ['active'] * 2,
            'The 2 servers were not quiesced',
        )

    def test_keep_quiesced_thaws_one_that_is_not_quiesced_yet(self) -> None:
        self.check_interrupted(
            ['a', 'b', 'c', '--wait', '--keep-quiesced'],
            ['POST b unquiesce'],
            ['quiesced', 'active', 'active'],
            '1 of 3 servers stay quiesced',
        )

    def test_a_signal_is_answered_at_once(self) -> None:
        self.nova.add('a')
        self.kill_at('POST a quiesce', signal.SIGHUP)
        self.assertEqual(129, self.run_command('a', '--wait'))
        self.assertEqual(
            ['SIGHUP: stopping, and unquiescing ...\n'],
            self.announced,
        )

    def test_a_second_signal_does_not_stop_the_thaw(self) -> None:
        self.nova.add('a')
        self.kill_at('POST a quiesce', signal.SIGINT)
        self.kill_at('POST a unquiesce', signal.SIGTERM)
        self.assertEqual(130, self.run_command('a', '--wait'))
        self.assertEqual({'a': 'active'}, self.vm_states())
        self.assertEqual(
            'SIGTERM: already stopping; unquiescing goes on until it is '
            'done\n',
            self.announced[1],
        )

    def test_a_signal_while_a_failure_is_undone_does_not_stop_the_thaw(
        self,
    ) -> None:
        self.nova.add('a')
        self.nova.add('b', freeze_to=NO_AGENT)
        self.kill_at('POST a unquiesce', signal.SIGTERM)
        self.assertEqual(143, self.run_command('a', 'b', '--wait'))
        self.assertEqual({'a': 'active', 'b': 'active'}, self.vm_states())

    def test_a_request_without_an_answer_is_withdrawn(self) -> None:
        a = self.nova.add('a')
        lost: list[Any] = []

        def lose(request: Any, context: Any) -> None:
            if self.nova.log[-1] == 'POST a quiesce' and not lost:
                lost.append(request)
                os.kill(os.getpid(), signal.SIGINT)
                raise requests.ConnectionError('connection reset')

        self.nova.hooks.append(lose)
        self.assertEqual(130, self.run_command('a', '--wait'))
        self.assertIn('POST a unquiesce', self.nova.posts())
        # It arrives after all.
        answer = requests.post(lost[0].url, json=lost[0].json(), timeout=5)
        self.assertEqual(409, answer.status_code)
        self.nova.sleep(60)
        self.assertEqual([], a.actions)
        self.assertEqual({'a': 'active'}, self.vm_states())

    def test_a_request_that_was_never_sent_is_withdrawn_too(self) -> None:
        self.nova.add('a', freeze_seconds=30)
        self.nova.add('b')
        self.nova.at(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
        self.assertEqual(143, self.run_command('a', 'b', '--wait'))
        self.assertNotIn('POST b quiesce', self.nova.posts())
        self.assertEqual({'a': 'active', 'b': 'active'}, self.vm_states())

    def test_a_signal_after_a_refusal_leaves_alone_what_others_freeze(
        self,
    ) -> None:
        a = self.nova.add('a')
        body = json.dumps({'serviceUnavailable': {'message': 'not now'}})
        self.answer('POST a quiesce', 503, body, Retry_After='20')
        self.nova.at(1, lambda: self.nova.others(a, 'quiesce'))
        self.nova.at(5, lambda: os.kill(os.getpid(), signal.SIGINT))
        self.assertEqual(130, self.run_command('a', '--wait'))
        self.nova.sleep(20)
        self.assertEqual({'a': 'quiesced'}, self.vm_states())

    def test_an_ignored_signal_stays_ignored(self) -> None:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            self.nova.add('a')
            self.kill_at('POST a quiesce', signal.SIGHUP)
            self.assertEqual(0, self.run_command('a', '--wait'))
            self.assertEqual({'a': 'quiesced'}, self.vm_states())
        finally:
            signal.signal(signal.SIGHUP, before)

    def test_a_signal_while_the_table_is_written_thaws(self) -> None:
        self.nova.add('a')
        app = self.app()
        app.stdout.flush = lambda: os.kill(os.getpid(), signal.SIGTERM)
        self.assertEqual(143, self.run_command('a', '--wait', app=app))
        self.assertEqual({'a': 'active'}, self.vm_states())

    def test_a_signal_after_the_last_look_is_pythons_own_and_thaws(
        self,
    ) -> None:
        self.nova.add('a')
        check = interrupts.Interrupts.check
        killed: list[bool] = []

        def last_check(noted: interrupts.Interrupts) -> None:
            check(noted)
            is_held = signal.getsignal(signal.SIGINT) == noted._note
            if self.stdout.getvalue() and not is_held and not killed:
                killed.append(True)
                os.kill(os.getpid(), signal.SIGINT)

        with (
            mock.patch.object(interrupts.Interrupts, 'check', last_check),
            self.assertRaises(KeyboardInterrupt),
        ):
            self.run_command('a', '--wait')
        self.assertEqual([], self.announced)
        self.assertEqual({'a': 'active'}, self.vm_states())

    def test_a_command_that_went_well_thaws_nothing_after_its_end(
        self,
    ) -> None:
        self.nova.add('a')
        self.assertEqual(0, self.run_command('a', '--wait'))
        with self.assertRaises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        self.assertEqual([], self.announced)
        self.assertEqual(['POST a quiesce'], self.nova.posts())


class TestOutput(TestCase):
    """Of quiesce with --wait, where nobody reads it."""

    command = commands.QuiesceServer

    def test_a_table_that_cannot_be_written_thaws(self) -> None:
        for name, error in (
            ('write', BrokenPipeError()),
            ('flush', BrokenPipeError()),
            ('write', OSError(errno.ENOSPC, 'No space left on device')),
            ('flush', OSError(errno.ENOSPC, 'No space left on device')),
            ('write', OSError(errno.EIO, 'Input/output error')),
            ('write', ValueError('I/O operation on closed file')),
        ):
            with self.subTest(name=name, error=error):
                self.nova.servers.clear()
                self.nova.add('a')
                self.nova.add('b')
                app = self.app()
                setattr(app.stdout, name, mock.Mock(side_effect=error))
                with self.assertRaises(type(error)):
                    self.run_command('a', 'b', '--wait', app=app)
                self.assertEqual(
                    {'a': 'active', 'b': 'active'}, self.vm_states()
                )

    def test_a_signal_does_not_stop_the_thaw_that_follows(self) -> None:
        self.nova.add('a')
        # A terminal that is closed breaks the output, and sends SIGHUP.
        self.kill_at('POST a unquiesce', signal.SIGHUP)
        app = self.app()
        app.stdout.write = mock.Mock(side_effect=OSError(errno.EIO, 'gone'))
        # Not the default, which would end this process.
        handler = mock.Mock()
        signal.signal(signal.SIGHUP, handler)
        self.handlers = [signal.getsignal(n) for n in signals.SIGNALS]
        with self.assertRaises(OSError):
            self.run_command('a', '--wait', app=app)
        self.assertEqual({'a': 'active'}, self.vm_states())
        handler.assert_not_called()

    def test_no_signal_comes_between_the_trouble_and_the_thaw(self) -> None:
        self.nova.add('a')
        handler = mock.Mock()  # the default would end this process
        signal.signal(signal.SIGHUP, handler)
        self.handlers = [signal.getsignal(n) for n in signals.SIGNALS]
        app = self.app()
        restore = interrupts.Interrupts.restore

        def restored(noted: interrupts.Interrupts) -> None:
            restore(noted)
            if self.vm_states()['a'] != 'active':
                os.kill(os.getpid(), signal.SIGHUP)

        for late in (
            mock.Mock(side_effect=OSError(errno.EIO, 'gone')),
            lambda: os.kill(os.getpid(), signal.SIGTERM),
        ):
            app.stdout.flush = late
            with (
                mock.patch.object(interrupts.Interrupts, 'restore', restored),
                contextlib.suppress(OSError),
            ):
                self.assertEqual(
                    143, self.run_command('a', '--wait', app=app))
            self.assertEqual({'a': 'active'}, self.vm_states())
            handler.assert_not_called()

    def test_an_error_of_our_own_thaws(self) -> None:
        self.nova.add('a')
        self.nova.add('b', freeze_seconds=30)

        def fail() -> None:
            raise ZeroDivisionError

        self.nova.at(5, fail)
        with self.assertRaises(ZeroDivisionError):
            self.run_command('a', 'b', '--wait')
        self.assertEqual({'a': 'active', 'b': 'active'}, self.vm_states())

    def test_an_error_of_our_own_in_a_request_thaws(self) -> None:
        a = self.nova.add('a')
        self.nova.add('b')
        quiesce = api.QuiesceAPI.quiesce

        def broken(own: Any, server: Any, *args: Any) -> None:
            if server.id != a.id:
                raise ZeroDivisionError
            quiesce(own, server, *args)

        with mock.patch.object(api.QuiesceAPI, 'quiesce', broken):
            self.assertEqual(1, self.run_command('a', 'b', '--wait'))
        self.assertIn('ZeroDivisionError', self.said)
        self.assertEqual({'a': 'active', 'b': 'active'}, self.vm_states())


class TestProgress(TestCase):
    command = commands.QuiesceServer
    is_terminal = True

    def setUp(self) -> None:
        super().setUp()
        self.a = self.nova.add('a')
        self.b = self.nova.add('b', freeze_to=NO_AGENT)

    def test_each_step_is_said_on_a_terminal(self) -> None:
        self.assertEqual(1, self.run_command('a', 'b', '--wait'))
        self.assertEqual(
            [
                f'Quiescing a ({self.a.id}) ...',
                f'Quiescing b ({self.b.id}) ...',
                f'Unquiescing b ({self.b.id}) ...',
                f'Unquiescing a ({self.a.id}) ...',
            ],
            self.stderr.getvalue().splitlines(),
        )

    def test_nothing_is_said_with_quiet(self) -> None:
        app = self.app()
        app.options.verbose_level = 0
        self.assertEqual(1, self.run_command('a', 'b', '--wait', app=app))
        self.assertEqual('', self.stderr.getvalue())

    def test_nothing_is_said_where_there_is_no_terminal(self) -> None:
        self.is_terminal = False
        self.assertEqual(1, self.run_command('a', 'b', '--wait'))
        self.assertEqual('', self.stderr.getvalue())

    def test_a_terminal_that_is_gone_stops_nothing(self) -> None:
        write = mock.Mock(side_effect=OSError(errno.EIO, 'gone'))
        with mock.patch.object(fakes.Stderr, 'write', write):
            self.assertEqual(0, self.run_command('a', '--wait'))
        write.assert_called()
        self.assertEqual('quiesced', self.a.vm_state)


class TestUnquiesce(TestCase):
    command = commands.UnquiesceServer

    def frozen(self, *names: str, **kwargs: Any) -> list[fakes.FakeServer]:
        return [
            self.nova.add(name, vm_state='quiesced', **kwargs)
            for name in names
        ]

    def test_it_never_stops_at_a_failure(self) -> None:
        self.frozen('a', 'c')
        self.nova.add('b', vm_state='paused')
        self.assertEqual(1, self.run_command('nope', 'a', 'b', 'c', '--wait'))
        self.assertEqual(
            ['POST a unquiesce', 'POST b unquiesce', 'POST c unquiesce'],
            self.nova.posts(),
        )
        self.assertIn('"nope"', self.said)
        self.assertRegex(self.said, r'Server b \(.*vm_state paused')
        self.assertIn('2 of 4 servers failed to unquiesce.', self.said)
        self.assertEqual(
            {'a': 'active', 'b': 'paused', 'c': 'active'}, self.vm_states()
        )

    def test_a_name_that_is_no_text_stops_no_other_thaw(self) -> None:
        self.frozen('a')
        self.assertEqual(1, self.run_command(os.fsdecode(b'\xff'), 'a'))
        self.assertEqual(['POST a unquiesce'], self.nova.posts())
        self.assertIn('No server has the name or ID "\udcff"', self.said)

    def test_servers_without_an_answer_delay_the_others_by_3_seconds(
        self,
    ) -> None:
        slow = self.frozen(*[f'slow{number}' for number in range(4)])
        self.frozen('good')
        good = self.times_of('POST good unquiesce')
        send, give_up = requests.Session.send, time.monotonic() + 5

        def hanging(session: Any, request: Any, **options: Any) -> Any:
            if 'slow' not in self.nova.line_of(request):
                return send(session, request, **options)
            until = self.nova.now + options['timeout']
            while self.nova.now < until and time.monotonic() < give_up:
                time.sleep(0.005)
            raise requests.ReadTimeout('it took too long')

        with (
            mock.patch.object(requests.Session, 'send', hanging),
            mock.patch.object(concurrency, 'THREADS', 10),
            mock.patch.object(
                interrupts.Interrupts, 'sleep',
                lambda noted, seconds: self.nova.sleep(seconds or 1)),
        ):
            self.assertEqual(1, self.run_command(
                *[server.id for server in slow], 'good'))
        self.assertLess(good[0], 4 * (retry.ORDER_TIME + 1))
        self.assertIn('4 of 5 servers failed to unquiesce.', self.said)

    def test_a_server_that_cannot_be_looked_at_is_thawed_by_its_id(
        self,
    ) -> None:
        for options in ([], ['--wait']):
            with self.subTest(options):
                [a] = self.frozen('a')
                self.drop('GET a', times=100)
                self.at_request('POST a unquiesce', self.nova.hooks.clear)
                self.assertEqual(
                    0, self.run_command(a.id, *options, '-f', 'json'))
                self.assertEqual('unquiesce', a.actions[0]['action'])
                [row] = json.loads(self.stdout.getvalue())
                self.assertEqual(a.id, row['ID'])

    def test_a_name_that_cannot_be_found_out_stops_no_other_thaw(self) -> None:
        good, _web = self.frozen('good', 'web')
        times = self.times_of('POST good unquiesce')
        self.drop('GET detail', times=1000)
        self.assertEqual(1, self.run_command('web', good.id, '--wait'))
        self.assertLess(times[0], retry.ORDER_TIME + 2)
        self.assertRegex(self.said, 'Server web .*connection reset')
        self.assertIn('1 of 2 servers failed to unquiesce.', self.said)

    def test_a_thaw_that_may_be_its_own_is_not_told_as_anothers(self) -> None:
        self.frozen('a', thaw_seconds=5)
        self.drop('POST a unquiesce', heard=True)
        self.assertEqual(0, self.run_command('a'))
        self.assertEqual('', self.said)

    def test_after_a_signal_no_server_is_asked_twice(self) -> None:
        self.frozen('a', 'b', thaw_seconds=5)
        self.kill_at('POST a unquiesce', signal.SIGINT)
        self.assertEqual(
            130, self.run_command('a', 'b', '--wait', '-f', 'json'))
        self.assertEqual('', self.said)
        self.assertEqual(
            ['POST a unquiesce', 'POST b unquiesce'], self.nova.posts())
        self.assertEqual(
            ['UNQUIESCING'] * 2,
            [row['Status'] for row in self.rows().values()])

    def test_a_server_with_two_names_is_told_once(self) -> None:
        [a] = self.frozen('a')
        self.assertEqual(
            0, self.run_command('a', a.id, '--wait', '-f', 'json'))
        self.assertEqual('', self.said)
        self.assertEqual(1, len(json.loads(self.stdout.getvalue())))

    def test_a_server_that_is_active_already_counts_as_thawed(self) -> None:
        web = self.nova.add('web')
        for wait in ([], ['--wait']):
            with self.subTest(wait=wait):
                self.errors.lines.clear()
                self.assertEqual(
                    0, self.run_command('web', *wait, '-f', 'json')
                )
                self.assertEqual(
                    f'Server web ({web.id}) was not quiesced any more: it is '
                    'ACTIVE.',
                    self.said,
                )
                row = self.rows()['web']
                self.assertEqual('ACTIVE', row['Status'])
                self.assertIsNone(row['Request ID'])

    def test_a_server_that_is_being_thawed_already_is_waited_for(
        self,
    ) -> None:
        [a] = self.frozen('a', thaw_seconds=3)
        self.nova.others(a, 'unquiesce')
        self.assertEqual(0, self.run_command('a', '--wait', '-f', 'json'))
        self.assertEqual('ACTIVE', self.rows()['a']['Status'])

    def test_with_wait_trouble_is_outlasted_until_the_time_is_up(
        self,
    ) -> None:
        body = json.dumps(fakes.error(mock.Mock(), 503, 'No service is up'))
        for timeout, code in (('600', 0), ('60', 1)):
            with self.subTest(timeout=timeout):
                self.nova.servers.clear()
                self.nova.hooks.clear()
                self.frozen('a')
                self.answer('POST a unquiesce', 503, body, times=1000)
                self.nova.at(self.nova.now + 300, self.nova.hooks.clear)
                started = self.nova.now
                self.assertEqual(code, self.run_command(
                    'a', '--wait', '--timeout', timeout))
                self.assertLess(self.nova.now - started, 310)
        self.assertIn('within 60 s: No service is up', self.said)

    def test_with_wait_one_refusal_leaves_no_guest_frozen(self) -> None:
        for line in ('POST a unquiesce', 'GET a'):
            for status in (400, 401, 403):
                with self.subTest(line=line, status=status):
                    self.nova.servers.clear()
                    self.nova.hooks.clear()
                    [a] = self.frozen('a')
                    body = json.dumps(fakes.error(mock.Mock(), status, 'No'))
                    self.answer(line, status, body)
                    self.assertEqual(0, self.run_command('a', '--wait'))
                    self.assertEqual('active', a.vm_state)

    def test_who_may_not_thaw_is_told_soon(self) -> None:
        self.frozen('a')
        body = json.dumps(fakes.error(mock.Mock(), 403, 'Policy: no'))
        self.answer('POST a unquiesce', 403, body, times=1000)
        for options, seconds in (([], 1), (['--wait'], 35)):
            with self.subTest(options):
                self.nova.now = 0
                self.assertEqual(1, self.run_command('a', *options))
                self.assertIn('Policy: no', self.said)
                self.assertLess(self.nova.now, seconds)

    def test_a_server_that_is_reset_is_not_thawed_before_its_guest(
        self,
    ) -> None:
        # Its nova-compute is down.
        [a] = self.frozen('a', freeze='req-ours', thaw_seconds=1000)

        def reset() -> None:
            a.vm_state, a.task_state = 'active', None

        self.nova.at(5, reset)
        self.assertEqual(1, self.run_command('a', '--wait', '--timeout', '30'))
        self.assertRegex(self.said, 'within 30 s: .*may still be frozen')

    def test_with_wait_all_are_asked_and_then_awaited_together(self) -> None:
        self.frozen('a', 'b', 'c', thaw_seconds=3)
        self.assertEqual(
            0, self.run_command('c', 'a', 'b', '--wait', '-f', 'json')
        )
        self.assertEqual(
            ['POST c unquiesce', 'POST a unquiesce', 'POST b unquiesce'],
            self.nova.posts(),
        )
        self.assertEqual({'active'}, set(self.vm_states().values()))
        self.assertEqual(['c', 'a', 'b'], list(self.rows()))
        self.assertEqual('', self.said)

    def test_without_wait_it_returns_when_all_are_asked(self) -> None:
        a, _b = self.frozen('a', 'b', thaw_seconds=30)
        self.assertEqual(0, self.run_command('a', 'b', '-f', 'json'))
        self.assertEqual(
            ['POST a unquiesce', 'POST b unquiesce'], self.nova.posts()
        )
        row = self.rows()['a']
        self.assertEqual('UNQUIESCING', row['Status'])
        self.assertEqual(a.actions[0]['request_id'], row['Request ID'])

    def test_a_server_named_twice_is_thawed_once(self) -> None:
        self.frozen('a')
        self.assertEqual(0, self.run_command('a', 'a'))
        self.assertEqual(['POST a unquiesce'], self.nova.posts())

    def test_a_failed_thaw_is_reported_with_the_reason(self) -> None:
        self.frozen('a', thaw_to=('error', 'Error', 'hook failed'))
        self.frozen('b')
        self.assertEqual(1, self.run_command('a', 'b', '--wait', '-f', 'json'))
        self.assertRegex(self.said, r'Server a \(.*hook failed')
        self.assertEqual('ERROR', self.rows()['a']['Status'])
        self.assertEqual('ACTIVE', self.rows()['b']['Status'])

    def test_all_projects_finds_the_names_of_others(self) -> None:
        [theirs] = self.frozen('web', foreign=True)
        self.assertEqual(1, self.run_command('web', '--wait'))
        self.assertEqual([], self.nova.posts())
        self.assertEqual(
            0, self.run_command('web', '--wait', '--all-projects')
        )
        self.assertEqual('active', theirs.vm_state)

    def test_a_timeout_without_wait_is_a_usage_error(self) -> None:
        self.assertEqual(2, self.run_command('a', '--timeout', '5'))
        self.assertIn('--timeout requires --wait', self.said)
        self.assertEqual([], self.nova.log)

    def test_an_unknown_column_is_refused_before_the_first_request(
        self,
    ) -> None:
        # It is a column of quiesce.
        with self.assertRaisesRegex(ValueError, 'No recognized column'):
            self.run_command('a', '-c', 'Unquiesce At')
        self.assertEqual([], self.nova.log)

    def test_a_terminal_that_is_gone_stops_nothing(self) -> None:
        self.is_terminal = True
        self.frozen('a')
        write = mock.Mock(side_effect=OSError(errno.EIO, 'gone'))
        with mock.patch.object(fakes.Stderr, 'write', write):
            self.assertEqual(0, self.run_command('a', '--wait'))
        write.assert_called()
        self.assertEqual({'a': 'active'}, self.vm_states())

    def test_on_a_signal_every_server_is_still_asked(self) -> None:
        for signum, code in zip(signals.SIGNALS, signals.CODES, strict=True):
            for wait in ([], ['--wait']):
                with self.subTest(signum=signum, wait=wait):
                    self.nova.servers.clear()
                    self.nova.hooks.clear()
                    servers = self.frozen('a', 'b', 'c')
                    self.kill_at('POST a unquiesce', signum)
                    self.assertEqual(
                        code, self.run_command('a', 'b', 'c', *wait)
                    )
                    self.assertEqual(
                        [1, 1, 1], [len(s.actions) for s in servers]
                    )

    def test_on_a_signal_a_lost_thaw_does_not_hold_up_the_others(
        self,
    ) -> None:
        self.frozen('a', 'b')
        self.kill_at('POST a unquiesce', signal.SIGINT)
        self.drop('POST a unquiesce', times=1000)
        self.assertEqual(130, self.run_command('a', 'b'))
        self.assertIn('POST b unquiesce', self.nova.posts())
        self.assertRegex(self.said, 'Server a .*connection reset')
        self.assertIn('1 of 2 servers failed to unquiesce.', self.said)


class TestListQuiesced(TestCase):
    command = commands.ListQuiescedServer

    def setUp(self) -> None:
        super().setUp()
        self.ours = self.nova.add('ours')
        self.theirs = self.nova.add('theirs', foreign=True)
        self.nova.add('running')
        for server in (self.ours, self.theirs):
            self.nova.others(server, 'quiesce')
        self.nova.sleep(1)

    def test_those_of_the_project_are_listed(self) -> None:
        self.assertEqual(0, self.run_command('-f', 'json'))
        self.assertEqual(
            {
                'ours': {
                    'Name': 'ours',
                    'ID': self.ours.id,
                    'State': 'frozen',
                    'Unquiesce At': None,
                }
            },
            self.rows(),
        )

    def test_all_projects_lists_all(self) -> None:
        self.assertEqual(0, self.run_command('--all-projects', '-f', 'json'))
        self.assertEqual({'ours', 'theirs'}, set(self.rows()))

    def test_all_projects_is_refused_to_who_may_not(self) -> None:
        self.nova.is_admin = False
        self.assertEqual(1, self.run_command('--all-projects'))
        self.assertIn('Policy does not allow it', self.said)

    def test_long_lists_all_that_is_known(self) -> None:
        self.ours.attempts, self.ours.error = 3, 'no such guest'
        self.assertEqual(0, self.run_command('--long', '-f', 'json'))
        row = self.rows()['ours']
        self.assertEqual(
            {
                'Name': 'ours',
                'ID': self.ours.id,
                'State': 'frozen',
                'Unquiesce At': None,
                'Project ID': 'a project',
                'User ID': 'a user',
                'Request ID': self.ours.freeze,
                'Requested At': '2026-01-01T00:00:00Z',
                'Frozen At': '2026-01-01T00:00:00Z',
                'Attempts': 3,
                'Error': 'no such guest',
            },
            row,
        )

    def test_what_is_missing_is_empty_in_a_table(self) -> None:
        self.assertEqual(0, self.run_command('--long', '-f', 'table'))
        self.assertNotIn('None', self.stdout.getvalue())

    def test_a_long_list_is_read_page_by_page(self) -> None:
        self.nova.page = 1
        self.assertEqual(0, self.run_command('--all-projects', '-f', 'json'))
        self.assertEqual({'ours', 'theirs'}, set(self.rows()))

    def test_a_cloud_without_the_api_is_told(self) -> None:
        self.answer('GET /os-quiesce', 404, '{"title": "Not Found"}')
        self.assertEqual(1, self.run_command())
        self.assertIn('This cloud has no quiesce API', self.said)
