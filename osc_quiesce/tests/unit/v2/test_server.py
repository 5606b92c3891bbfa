# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
from typing import Any
from unittest import mock

from osc_lib import exceptions as osc_exceptions

from osc_quiesce.tests import signals
from osc_quiesce.tests.unit import fakes
from osc_quiesce.v2 import server as commands


class TestCase(fakes.TestCase):
    command: type[commands._ServerCommand]

    def setUp(self) -> None:
        super().setUp()
        # The fake clock, in place of the real one that signals interrupt.
        patch = mock.patch(
            'osc_quiesce.interrupts.Interrupts.sleep', self._sleep
        )
        patch.start()
        self.addCleanup(patch.stop)
        signals.as_in_terminal(self)
        self.handlers = [signal.getsignal(n) for n in signals.SIGNALS]
        self.addCleanup(self._check_handlers)

    def _sleep(self, seconds: float) -> None:
        self.interrupts.check()
        self.nova.sleep(seconds)
        self.interrupts.check()

    def _check_handlers(self) -> None:
        self.assertEqual(
            self.handlers, [signal.getsignal(n) for n in signals.SIGNALS]
        )

    def run_command(self, *argv: str) -> int:
        """Run the command as the shell does, and return its exit code."""
        app = self.app()
        self.stdout = app.stdout
        cmd = self.command(app, None)
        self.interrupts = cmd.command.interrupts
        self.stderr = io.StringIO()
        with contextlib.redirect_stderr(self.stderr):
            try:
                args = cmd.get_parser('openstack server x').parse_args(argv)
            except SystemExit as exc:
                return int(str(exc.code))
            try:
                return cmd.run(args)
            except Exception as exc:
                self.errors.lines.append(str(exc))
                return 1

    def rows(self) -> dict[str, dict[str, Any]]:
        rows = json.loads(self.stdout.getvalue())
        return {row['Name']: row for row in rows}

    def kill_at(self, line: str, signum: int) -> None:
        """Send this process a real signal during each such request."""

        def hook(request: Any, context: Any) -> None:
            if self.nova.log[-1] == line:
                os.kill(os.getpid(), signum)

        self.nova.hooks.append(hook)

    def assert_nothing_frozen(self) -> None:
        self.assertEqual(
            [], [s.name for s in self.nova.servers.values() if s.actions]
        )


class TestQuiesce(TestCase):
    command = commands.QuiesceServer

    def test_without_wait_every_request_is_sent_and_refusals_logged(
        self,
    ) -> None:
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
            },
            {**self.rows()['web'], 'Seconds': 0.3},
        )
        self.assertGreater(self.rows()['web']['Seconds'], 0)

    def test_the_deadline_is_shown_if_there_is_one(self) -> None:
        self.nova.add('a')
        for option in (['--wait'], []):
            self.assertEqual(
                0,
                self.run_command(
                    'a', *option, '--unquiesce-after', '90', '-f', 'json'
                ),
            )
            at = self.rows()['a'].get('Unquiesce At')
            self.assertEqual(
                bool(option), bool(at and at.startswith('2026-01-01T00:01:3'))
            )
            self.nova.sleep(91)

    def test_the_column_of_the_deadline_can_always_be_asked_for(self) -> None:
        self.nova.add('a')
        self.assertEqual(
            0,
            self.run_command(
                'a', '--wait', '-f', 'json', '-c', 'Name', '-c', 'Unquiesce At'
            ),
        )
        self.assertEqual(
            {'Name': 'a', 'Unquiesce At': None}, self.rows()['a']
        )

    def test_whole_seconds_above_0_or_a_usage_error(self) -> None:
        self.nova.add('a')
        for text in ('0', '-1', '1.5', 'soon', ''):
            with self.subTest(text=text):
                self.assertEqual(
                    2, self.run_command('a', f'--unquiesce-after={text}')
                )
                self.assertIn('whole number', self.stderr.getvalue())
        self.assertEqual([], self.nova.log)

    def test_one_server_is_not_told_of_as_many(self) -> None:
        self.nova.add('a', freeze_to=('active', 'Error', 'no agent'))
        self.assertEqual(1, self.run_command('a', '--wait'))
        self.assertIn('The server was not quiesced.', self.said)

    def test_a_signal_without_wait_stops_and_says_what_was_asked(
        self,
    ) -> None:
        a, b, c = (self.nova.add(name) for name in 'abc')
        self.kill_at('POST b quiesce', signal.SIGINT)
        self.assertEqual(130, self.run_command('a', 'b', 'c', '-f', 'json'))
        self.assertEqual(
            ['POST a quiesce', 'POST b quiesce'], self.nova.posts()
        )
        self.assertIn(
            f'left so: a ({a.id}), b ({b.id}). Not asked, refused, or '
            f'without an answer: c ({c.id})',
            self.said,
        )
        self.assertEqual('ACTIVE', self.rows()['c']['Status'])

    def test_seconds_are_empty_for_people_without_wait(self) -> None:
        self.nova.add('web')
        self.assertEqual(0, self.run_command('web', '-f', 'table'))
        self.assertNotIn('None', self.stdout.getvalue())

    def test_one_unknown_name_and_nothing_is_frozen(self) -> None:
        self.nova.add('a')
        for wait in ([], ['--wait']):
            self.assertEqual(1, self.run_command('a', 'nope', *wait))
            self.assertIn('"nope"', self.said)
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

    def test_with_wait_states_are_checked_before_the_first_freeze(
        self,
    ) -> None:
        self.nova.add('a')
        self.nova.add('b', task_state='rebooting')
        self.assertEqual(1, self.run_command('a', 'b', '--wait'))
        self.assertRegex(self.said, r'Server b \(.*task_state rebooting')
        self.assert_nothing_frozen()

    def test_strictly_one_after_the_other_in_the_order_given(self) -> None:
        for name in 'abc':
            self.nova.add(name, freeze_seconds=3)
        seen: list[list[str]] = []

        def hook(request: Any, context: Any) -> None:
            if request.method == 'POST':
                seen.append([s.vm_state for s in self.nova.servers.values()])

        self.nova.hooks.append(hook)
        self.assertEqual(0, self.run_command('a', 'b', 'c', '--wait'))
        self.assertEqual(
            ['POST a quiesce', 'POST b quiesce', 'POST c quiesce'],
            self.nova.posts(),
        )
        self.assertEqual(['quiesced', 'quiesced', 'active'], seen[2])
        self.assertEqual('', self.stderr.getvalue())

    def test_if_one_fails_those_frozen_are_thawed_in_reverse(self) -> None:
        self.nova.add('a')
        self.nova.add('b')
        self.nova.add('c', freeze_to=('active', 'Error', 'no agent'))
        self.nova.add('d')
        self.assertEqual(
            1, self.run_command('a', 'b', 'c', 'd', '--wait', '-f', 'json')
        )
        self.assertEqual(
            [
                'POST a quiesce',
                'POST b quiesce',
                'POST c quiesce',
                'POST b unquiesce',
                'POST a unquiesce',
            ],
            self.nova.posts(),
        )
        self.assertRegex(self.said, 'Server c .* cannot be .*: no agent')
        self.assertIn('The 4 servers were not quiesced.', self.said)
        self.assertEqual(
            {'ACTIVE'}, {row['Status'] for row in self.rows().values()}
        )

    def test_one_that_times_out_is_thawed_as_soon_as_it_can_be(self) -> None:
        self.nova.add('a')
        b = self.nova.add('b', freeze_seconds=30)
        self.assertEqual(
            1, self.run_command('a', 'b', '--wait', '--timeout', '5')
        )
        self.assertRegex(self.said, r'Server b .*within 5 s')
        self.assertEqual(
            ['POST a unquiesce', 'POST b unquiesce'], self.nova.posts()[2:]
        )
        self.assertEqual('active', b.vm_state)

    def test_a_lost_request_may_arrive_where_others_were_first(self) -> None:
        self.nova.add('slow', freeze_seconds=20)
        web = self.nova.add('web')
        other = self.new_client()
        self.nova.at(2, lambda: other.quiesce(web.id))
        self.nova.at(3, lambda: self.drop('POST web quiesce'))
        self.assertEqual(self.run_command('--wait', 'slow', 'web'), 1)
        self.assertEqual('quiesced', web.vm_state)
        for words in 'left so', 'answered, and may still arrive':
            self.assertIn(words, self.said)

    def test_a_lost_request_that_arrives_late_is_thawed(self) -> None:
        a = self.nova.add('a')
        b = self.nova.add('b')
        self.drop('POST b quiesce')

        def arrive() -> None:
            b.vm_state = 'quiesced'

        self.nova.at(12, arrive)
        self.assertEqual(1, self.run_command('a', 'b', '--wait'))
        self.assertIn('no answer came', self.said)
        self.assertIn('was never answered', self.said)
        self.assertIn('POST b unquiesce', self.nova.posts())
        self.assertEqual(['active'] * 2, [a.vm_state, b.vm_state])

    def test_a_refused_server_is_not_thawed(self) -> None:
        a = self.nova.add('a', vm_state='quiesced')
        self.assertEqual(1, self.run_command('a', '--wait'))
        self.assertEqual([], self.nova.posts())
        self.assertEqual('quiesced', a.vm_state)

    def test_a_proxy_that_finds_nothing_does_not_end_the_thaw(self) -> None:
        a = self.nova.add('a')
        b = self.nova.add('b', freeze_to=('active', 'Error', 'no agent'))
        self.answer('POST a unquiesce', 404, '<html>', times=2)
        self.answer('GET a', 404, '<html>', times=2)
        self.answer('GET b', 404, '<html>', times=2)
        self.assertEqual(1, self.run_command('a', 'b', '--wait'))
        self.assertIn('no agent', self.said)
        self.assertNotIn('deleted', self.said)
        self.assertEqual(['active'] * 2, [a.vm_state, b.vm_state])

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
        for signum, code in zip(signals.SIGNALS, (130, 143, 129), strict=True):
            with self.subTest(signum=signum):
                self.nova.servers.clear()
                self.nova.hooks.clear()
                self.nova.log.clear()
                servers = [self.nova.add(arg) for arg in argv if len(arg) == 1]
                self.kill_at('POST b quiesce', signum)
                self.assertEqual(code, self.run_command(*argv))
                self.assertEqual(thaws, self.nova.posts()[2:])
                self.assertEqual(
                    vm_states, [server.vm_state for server in servers]
                )
                self.assertIn(words, self.said)

    def test_keep_quiesced_thaws_nothing(self) -> None:
        a = self.nova.add('a')
        self.nova.add('b', freeze_to=('active', 'Error', 'no agent'))
        self.assertEqual(
            1, self.run_command('a', 'b', '--wait', '--keep-quiesced')
        )
        self.assertEqual('quiesced', a.vm_state)
        self.assertIn('1 of 2 servers are quiesced, and kept so', self.said)

    def test_keep_quiesced_thaws_one_that_is_not_quiesced_yet(self) -> None:
        self.check_interrupted(
            ['a', 'b', 'c', '--wait', '--keep-quiesced'],
            ['POST b unquiesce'],
            ['quiesced', 'active', 'active'],
            '1 of 3 servers are quiesced, and kept so',
        )

    def test_keep_quiesced_thaws_one_that_was_waited_for_in_vain(
        self,
    ) -> None:
        a = self.nova.add('a')
        b = self.nova.add('b', freeze_seconds=30)
        self.assertEqual(1, self.run_command(
            'a', 'b', '--wait', '--keep-quiesced', '--timeout', '10'))
        self.assertIn('POST b unquiesce', self.nova.posts())
        self.assertEqual(
            ['quiesced', 'active'], [a.vm_state, b.vm_state])

    def test_a_thaw_that_fails_is_shouted_about(self) -> None:
        a = self.nova.add('a', thaw_to=('error', 'Error', 'x'), fault='hook')
        self.nova.add('b', freeze_to=('active', 'Error', 'no agent'))
        self.assertEqual(1, self.run_command('a', 'b', '--wait'))
        self.assertRegex(self.said, r'Server a \(.*hook')
        self.assertRegex(
            self.said, rf'Server a \({a.id}\) failed: .* MAY STILL BE FROZEN'
        )

    def test_a_signal_thaws_and_gives_its_own_exit_code(self) -> None:
        self.check_interrupted(
            ['a', 'b', '--wait'],
            ['POST b unquiesce', 'POST a unquiesce'],
            ['active'] * 2,
            'The 2 servers were not quiesced',
        )

    def test_a_second_signal_does_not_stop_the_thaw(self) -> None:
        a = self.nova.add('a')
        self.kill_at('POST a quiesce', signal.SIGINT)
        self.kill_at('POST a unquiesce', signal.SIGTERM)
        self.assertEqual(130, self.run_command('a', '--wait'))
        self.assertEqual('active', a.vm_state)

    def test_a_signal_after_a_refusal_leaves_alone_what_others_freeze(
        self,
    ) -> None:
        a = self.nova.add('a')
        self.kill_at('POST a quiesce', signal.SIGINT)
        self.answer('POST a quiesce', 503, '{}', Retry_After='20')
        # By somebody else
        self.nova.at(1, lambda: setattr(a, 'vm_state', 'quiesced'))
        self.assertEqual(130, self.run_command('a', '--wait'))
        self.nova.sleep(20)
        self.assertEqual('quiesced', a.vm_state)

    def test_an_ignored_signal_stays_ignored(self) -> None:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            a = self.nova.add('a')
            self.kill_at('POST a quiesce', signal.SIGHUP)
            self.assertEqual(0, self.run_command('a', '--wait'))
            self.assertEqual('quiesced', a.vm_state)
        finally:
            signal.signal(signal.SIGHUP, before)

    def test_a_table_that_nobody_can_read_thaws(self) -> None:
        a = self.nova.add('a')
        app = self.app()
        app.stdout.write = mock.Mock(side_effect=BrokenPipeError)
        cmd = self.command(app, None)
        self.interrupts = cmd.command.interrupts
        args = cmd.get_parser('x').parse_args(['a', '--wait'])
        with self.assertRaises(BrokenPipeError):
            cmd.run(args)
        self.assertEqual('active', a.vm_state)

    def test_an_error_of_our_own_thaws(self) -> None:
        a = self.nova.add('a')
        self.nova.add('b')
        quiesce = self.client.quiesce

        def broken(server_id: str, *args: Any, **kwargs: Any) -> Any:
            if server_id != a.id:
                raise ZeroDivisionError
            return quiesce(server_id, *args, **kwargs)

        with mock.patch.object(self.client, 'quiesce', broken):
            self.assertEqual(1, self.run_command('a', 'b', '--wait'))
        self.assertEqual(
            ['POST a quiesce', 'POST a unquiesce'],
            [post for post in self.nova.posts() if ' a ' in post])
        self.assertEqual('active', a.vm_state)

    def test_an_unknown_column_is_refused_before_the_first_freeze(
        self,
    ) -> None:
        self.nova.add('a')
        self.assertEqual(1, self.run_command('a', '--wait', '-c', 'Nope'))
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
            self.assertEqual(2, self.run_command('a', *option))
            self.assertIn(f'{option[0]} has no meaning without', self.said)
        self.assertEqual([], self.nova.log)


class TestUnquiesce(TestCase):
    command = commands.UnquiesceServer

    def frozen(self, *names: str, **kwargs: Any) -> list[fakes.FakeServer]:
        return [
            self.nova.add(name, vm_state='quiesced', **kwargs)
            for name in names
        ]

    def test_it_never_stops_at_a_failure(self) -> None:
        self.frozen('a', 'c')
        self.nova.add('b')
        self.assertEqual(1, self.run_command('nope', 'a', 'b', 'c', '--wait'))
        self.assertEqual(
            ['POST a unquiesce', 'POST b unquiesce', 'POST c unquiesce'],
            self.nova.posts(),
        )
        self.assertIn('"nope"', self.said)
        self.assertRegex(self.said, r'Server b \(')
        self.assertIn('2 of 4 servers failed to unquiesce.', self.said)

    def test_with_wait_all_are_asked_and_then_awaited_together(self) -> None:
        servers = self.frozen('a', 'b', 'c', thaw_seconds=3)
        self.assertEqual(
            0, self.run_command('c', 'a', 'b', '--wait', '-f', 'json')
        )
        self.assertEqual(
            ['POST c unquiesce', 'POST a unquiesce', 'POST b unquiesce'],
            self.nova.posts(),
        )
        self.assertEqual({'active'}, {s.vm_state for s in servers})
        self.assertEqual(['c', 'a', 'b'], list(self.rows()))
        self.assertLess(self.nova.now, 6)

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

    def test_on_a_signal_every_server_is_still_asked(self) -> None:
        servers = self.frozen('a', 'b', 'c')
        self.kill_at('POST a unquiesce', signal.SIGTERM)
        self.assertEqual(143, self.run_command('a', 'b', 'c', '--wait'))
        self.assertEqual(3, len(self.nova.posts()))
        self.assertTrue(all(s.actions for s in servers))

    def test_on_a_signal_a_lost_thaw_does_not_hold_up_the_others(
        self,
    ) -> None:
        a, b = self.frozen('a', 'b')
        self.kill_at('POST a unquiesce', signal.SIGINT)
        self.drop('POST a unquiesce', times=1000)
        self.assertEqual(130, self.run_command('a', 'b'))
        self.assertEqual(
            ['POST a unquiesce', 'POST b unquiesce'], self.nova.posts()
        )
        self.assertIn('gave no answer', self.said)


class TestErrors(TestCase):
    command = commands.QuiesceServer

    def test_bad_names_are_the_conventional_error_of_the_shell(self) -> None:
        cmd = self.command(self.app(), None)
        self.interrupts = cmd.command.interrupts
        args = cmd.get_parser('x').parse_args(['nope'])
        with self.assertRaisesRegex(
            osc_exceptions.CommandError, 'Nothing was quiesced'
        ):
            cmd.run(args)
