# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import io
import os
import signal
from typing import Any
from unittest import mock

from keystoneauth1 import session as ksa_session
from keystoneauth1 import token_endpoint
from novaclient import api_versions
from novaclient import client as nova_client
from novaclient import exceptions as nova_exceptions
from novaclient import shell as nova_shell

from osc_quiesce import exceptions
from osc_quiesce import interrupts
from osc_quiesce.tests import signals
from osc_quiesce.tests.unit import fakes


class TestCase(fakes.TestCase):
    """A test with novaclient's own client, and our extension in it."""

    def setUp(self) -> None:
        super().setUp()
        self.extensions = nova_client.discover_extensions('2.1')
        self.novaclient: Any = nova_client.Client(
            '2.1',
            session=ksa_session.Session(
                token_endpoint.Token(fakes.ENDPOINT, 'a-token')
            ),
            endpoint_override=fakes.ENDPOINT,
            extensions=self.extensions,
        )


class TestManager(TestCase):
    def test_novaclient_finds_it_by_its_entry_point(self) -> None:
        self.assertIn('quiesce', [each.name for each in self.extensions])

    def test_servers_are_quiesced_and_unquiesced(self) -> None:
        web = self.nova.add('web')
        request_id = self.novaclient.quiesce.quiesce(web.id, 90)
        self.assertEqual(web.actions[0]['request_id'], request_id)
        self.nova.sleep(1)
        self.assertEqual('quiesced', web.vm_state)
        request_id = self.novaclient.quiesce.unquiesce(web.id)
        self.assertEqual(web.actions[1]['request_id'], request_id)
        self.assertEqual('unquiescing', web.task_state)

    def test_a_server_may_be_one_of_novaclient(self) -> None:
        web = self.nova.add('web')
        self.novaclient.quiesce.quiesce(self.novaclient.servers.get(web.id))
        self.assertEqual('quiescing', web.task_state)

    def test_the_library_underneath_waits(self) -> None:
        web = self.nova.add('web')
        library = self.novaclient.quiesce.library
        library.sleep = self.nova.sleep
        request_id = self.novaclient.quiesce.quiesce(web.id)
        outcome = library.wait_for_quiesced(web.id, request_id)
        self.assertEqual('quiesced', outcome.server.vm_state)

    def test_it_uses_the_endpoint_of_novaclients_client(self) -> None:
        client: Any = nova_client.Client(
            '2.60',
            session=ksa_session.Session(),
            service_type='nova',
            region_name='here',
            endpoint_type='internalURL',
            extensions=self.extensions,
        )
        adapter = client.quiesce.library._adapter
        self.assertEqual(
            ('nova', 'here', 'internalURL'),
            (adapter.service_type, adapter.region_name, adapter.interface),
        )

    def test_a_refusal_is_an_error_of_novaclient_caused_by_ours(self) -> None:
        web = self.nova.add('web', vm_state='paused')
        for status, theirs, ours in (
            (400, nova_exceptions.BadRequest, exceptions.Refused),
            (401, nova_exceptions.Unauthorized, exceptions.Unauthorized),
            (403, nova_exceptions.Forbidden, exceptions.Forbidden),
            (404, nova_exceptions.NotFound, exceptions.ServerNotFound),
            (409, nova_exceptions.Conflict, exceptions.Conflict),
            (
                429,
                nova_exceptions.RateLimit,
                exceptions.ServiceUnavailable,
            ),
            (
                503,
                nova_exceptions.ClientException,
                exceptions.ServiceUnavailable,
            ),
        ):
            with self.subTest(status=status):
                self.answer(
                    'POST web quiesce', status, '{"x": {"message": "no"}}'
                )
                with self.assertRaises(theirs) as caught:
                    self.novaclient.quiesce.quiesce(web.id)
                self.assertEqual(status, caught.exception.code)
                self.assertIn(web.id, str(caught.exception))
                self.assertIs(ours, type(caught.exception.__cause__))

    def test_a_rate_limit_says_when_to_try_again(self) -> None:
        web = self.nova.add('web')
        library = self.novaclient.quiesce.library
        library.sleep, library._clock = self.nova.sleep, self.nova.clock
        self.answer('POST web quiesce', 429, 'no', Retry_After='20', times=99)
        with self.assertRaises(nova_exceptions.RateLimit) as caught:
            self.novaclient.quiesce.quiesce(web.id)
        self.assertEqual(20, caught.exception.retry_after)


class TestShell(TestCase):
    """The commands, parsed as the shell does."""

    def setUp(self) -> None:
        super().setUp()
        self.novaclient.quiesce.library = self.client
        signals.as_in_terminal(self)

        # The fake clock, in place of the real one that signals interrupt.
        def sleep(noted: interrupts.Interrupts, seconds: float) -> None:
            noted.check()
            self.nova.sleep(seconds)
            noted.check()

        patch = mock.patch.object(interrupts.Interrupts, 'sleep', sleep)
        patch.start()
        self.addCleanup(patch.stop)

    def run_nova(self, *argv: str) -> int:
        """Run a command, and return the exit code of the shell."""
        shell: Any = nova_shell.OpenStackComputeShell()
        shell.extensions = self.extensions
        self.stdout, self.stderr = io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(self.stdout),
            contextlib.redirect_stderr(self.stderr),
        ):
            try:
                parser = shell.get_subcommand_parser(
                    api_versions.APIVersion('2.1'), argv=argv
                )
                args = parser.parse_args(argv)
                args.func(self.novaclient, args)
            except SystemExit as exc:
                return int(str(exc.code))
            except Exception as exc:  # what the shell prints, and exits with
                self.errors.lines.append(str(exc))
                return 1
        return 0

    def test_poll_returns_when_it_is_frozen(self) -> None:
        web = self.nova.add('web', freeze_seconds=3)
        self.assertEqual(0, self.run_nova('quiesce', 'web', '--poll'))
        self.assertEqual('quiesced', web.vm_state)
        self.assertEqual(
            f'Server web ({web.id}) is QUIESCED.\n', self.stdout.getvalue()
        )

    def test_poll_tells_when_the_cloud_thaws_it(self) -> None:
        self.nova.add('web')
        self.assertEqual(
            0,
            self.run_nova(
                'quiesce', '--poll', '--unquiesce-after', '60', 'web'
            ),
        )
        self.assertRegex(
            self.stdout.getvalue(),
            r'is QUIESCED\. The cloud thaws it at 2026-01-01T00:01:0\dZ by',
        )

    def test_without_poll_it_returns_at_once(self) -> None:
        web = self.nova.add('web')
        self.assertEqual(0, self.run_nova('quiesce', web.id))
        self.assertEqual('quiescing', web.task_state)
        self.assertEqual(
            f'Request to quiesce server web ({web.id}) has been accepted.\n',
            self.stdout.getvalue(),
        )

    def test_unquiesce(self) -> None:
        web = self.nova.add('web', vm_state='quiesced')
        self.assertEqual(0, self.run_nova('unquiesce', 'web'))
        self.assertEqual('unquiescing', web.task_state)
        self.assertIn('Request to unquiesce', self.stdout.getvalue())
        self.nova.sleep(1)
        web.vm_state = 'quiesced'
        self.assertEqual(0, self.run_nova('unquiesce', 'web', '--poll'))
        self.assertEqual('active', web.vm_state)
        self.assertIn('is ACTIVE.', self.stdout.getvalue())

    def test_what_cannot_be_is_told_and_nothing_is_said_to_be_done(
        self,
    ) -> None:
        self.nova.add('web', freeze_to=('active', 'Error', 'no agent'))
        self.assertEqual(1, self.run_nova('quiesce', 'web', '--poll'))
        self.assertIn('no agent', self.said)
        self.assertEqual('', self.stdout.getvalue())

    def test_a_refusal_is_told(self) -> None:
        self.nova.add('web', vm_state='paused')
        for verb in ('quiesce', 'unquiesce'):
            for option in ([], ['--poll']):
                with self.subTest(verb=verb, option=option):
                    self.errors.lines.clear()
                    self.assertEqual(1, self.run_nova(verb, 'web', *option))
                    self.assertIn('vm_state', self.said)
                    self.assertEqual('', self.stdout.getvalue())

    def test_an_unknown_name_is_told(self) -> None:
        for verb in ('quiesce', 'unquiesce'):
            self.assertEqual(1, self.run_nova(verb, 'nope'))
            self.assertIn('"nope"', self.said)

    def test_one_that_times_out_is_thawed(self) -> None:
        web = self.nova.add('web', freeze_seconds=130)
        self.assertEqual(1, self.run_nova('quiesce', 'web', '--poll'))
        self.assertIn('within 120 s', self.said)
        self.assertEqual('active', web.vm_state)
        self.assertIn('POST web unquiesce', self.nova.posts())

    def test_what_cannot_be_thawed_names_the_command_of_this_shell(
        self,
    ) -> None:
        web = self.nova.add('web', freeze_seconds=1000)
        self.assertEqual(1, self.run_nova('quiesce', 'web', '--poll'))
        self.assertIn(f'try "nova unquiesce {web.id}"', self.said)

    def test_a_signal_thaws_and_gives_its_own_exit_code(self) -> None:
        for signum, code in zip(signals.SIGNALS, (130, 143, 129), strict=True):
            with self.subTest(signum=signum):
                self.nova.hooks.clear()
                web = self.nova.add(f'web{signum}')

                def kill(
                    request: Any, context: Any, signum: int = signum
                ) -> None:
                    if self.nova.log[-1].endswith(' quiesce'):
                        os.kill(os.getpid(), signum)

                self.nova.hooks.append(kill)
                before = signal.getsignal(signum)
                self.assertEqual(
                    code, self.run_nova('quiesce', web.name, '--poll')
                )
                self.assertEqual('active', web.vm_state)
                self.assertEqual(before, signal.getsignal(signum))

    def test_usage_errors(self) -> None:
        self.nova.add('web')
        for arguments in (
            ['quiesce'],
            ['quiesce', 'web', 'app'],
            ['quiesce', 'web', '--unquiesce-after', '0'],
            ['quiesce', 'web', '--unquiesce-after', 'soon'],
            ['unquiesce'],
        ):
            with self.subTest(arguments=arguments):
                self.assertEqual(2, self.run_nova(*arguments))
        self.assertEqual([], self.nova.log)
