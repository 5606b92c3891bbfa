# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import signal
from typing import Any
from unittest import mock

from keystoneauth1 import fixture
from keystoneauth1.identity import v3
from keystoneauth1 import session as ksa_session
from keystoneauth1 import token_endpoint
from novaclient import api_versions
from novaclient import client as nova_client
from novaclient import exceptions as nova_exceptions
from novaclient import shell as nova_shell
from osc_lib import exceptions as osc_exceptions
import requests_mock

from osc_quiesce import errors
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
        library = self.novaclient.quiesce.library.with_sleep(self.nova.sleep)
        request_id = self.novaclient.quiesce.quiesce(web.id)
        outcome = library.wait_for_quiesced(web.id, request_id)
        self.assertEqual('quiesced', outcome.server.vm_state)

    def test_unquiesce_of_an_active_server_is_no_error(self) -> None:
        web = self.nova.add('web')
        self.assertIsNone(self.novaclient.quiesce.unquiesce(web.id))

    def test_it_uses_the_endpoint_of_novaclients_client(self) -> None:
        web = self.nova.add('web')
        token = fixture.V3Token()
        service = token.add_service('nova')
        for region, interface, url in (
            ('there', 'internal', 'http://there.example/v2.1'),
            ('here', 'public', 'http://public.example/v2.1'),
            ('here', 'internal', fakes.ENDPOINT),
        ):
            service.add_endpoint(interface, url, region=region)
        token.add_service('compute').add_endpoint(
            'internal', 'http://compute.example/v2.1', region='here'
        )
        with requests_mock.Mocker(real_http=True) as keystone:
            keystone.post(
                'http://keystone.example/v3/auth/tokens',
                json=token,
                headers={'X-Subject-Token': 'a-token'},
            )
            client: Any = nova_client.Client(
                '2.60',
                session=ksa_session.Session(
                    v3.Token('http://keystone.example/v3', 'a-token')
                ),
                service_type='nova',
                region_name='here',
                endpoint_type='internalURL',
                extensions=self.extensions,
            )
            client.quiesce.quiesce(web.id)
        self.assertEqual('quiescing', web.task_state)

    def test_a_refusal_is_an_error_of_novaclient_caused_by_ours(self) -> None:
        web = self.nova.add('web')
        for status, key, theirs, ours in (
            (400, 'badRequest', nova_exceptions.BadRequest, errors.Refused),
            (
                401,
                'unauthorized',
                nova_exceptions.Unauthorized,
                errors.Unauthorized,
            ),
            (403, 'forbidden', nova_exceptions.Forbidden, errors.Forbidden),
            (
                404,
                'itemNotFound',
                nova_exceptions.NotFound,
                errors.ServerNotFound,
            ),
            (
                409,
                'conflictingRequest',
                nova_exceptions.Conflict,
                errors.Conflict,
            ),
            (
                429,
                'overLimit',
                nova_exceptions.RateLimit,
                errors.ServiceUnavailable,
            ),
            (
                503,
                'serviceUnavailable',
                nova_exceptions.ClientException,
                errors.ServiceUnavailable,
            ),
        ):
            with self.subTest(status=status):
                body = json.dumps({key: {'message': 'no'}})
                self.answer('POST web quiesce', status, body)
                with self.assertRaises(theirs) as caught:
                    self.novaclient.quiesce.quiesce(web.id)
                self.assertEqual(status, caught.exception.code)
                self.assertIn(web.id, str(caught.exception))
                self.assertIs(ours, type(caught.exception.__cause__))

    def test_one_that_is_still_being_thawed_is_a_conflict(self) -> None:
        web = self.nova.add('web', freeze='req-of-somebody')
        self.novaclient.quiesce.library = self.client
        with self.assertRaises(nova_exceptions.Conflict) as caught:
            self.novaclient.quiesce.unquiesce(web.id)
        self.assertEqual(409, caught.exception.code)
        self.assertIs(errors.StillThawing, type(caught.exception.__cause__))

    def test_no_answer_is_an_error_of_ours(self) -> None:
        web = self.nova.add('web')
        self.novaclient.quiesce.library = self.client
        self.drop('POST web quiesce', times=1000)
        with self.assertRaises(errors.Unreachable):
            self.novaclient.quiesce.quiesce(web.id)

    def test_a_rate_limit_says_when_to_try_again(self) -> None:
        web = self.nova.add('web')
        body = json.dumps({'overLimit': {'message': 'too much'}})
        self.answer('POST web quiesce', 429, body, Retry_After='60')
        with self.assertRaises(nova_exceptions.RateLimit) as caught:
            self.novaclient.quiesce.quiesce(web.id)
        self.assertEqual(60, caught.exception.retry_after)


class TestShell(TestCase):
    """The commands, parsed as the shell does."""

    def setUp(self) -> None:
        super().setUp()
        self.novaclient.quiesce.library = self.client
        self.with_signals()

    def run_nova(self, *argv: str, stdout: io.StringIO | None = None) -> int:
        """Run a command, and return the exit code of the shell."""
        shell: Any = nova_shell.OpenStackComputeShell()
        shell.extensions = self.extensions
        self.stdout, self.stderr = stdout or io.StringIO(), io.StringIO()
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
            except osc_exceptions.CommandError as exc:  # the shell prints it
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
            r'is QUIESCED\. The cloud thaws it at 2026-01-01T00:01:0\dZ\.',
        )

    def test_without_poll_it_returns_at_once(self) -> None:
        web = self.nova.add('web')
        self.assertEqual(0, self.run_nova('quiesce', web.id))
        self.assertEqual('quiescing', web.task_state)
        self.assertEqual(
            f'Request to quiesce server web ({web.id}) has been accepted.\n',
            self.stdout.getvalue(),
        )

    def test_unquiesce_without_poll_returns_at_once(self) -> None:
        web = self.nova.add('web', vm_state='quiesced')
        self.assertEqual(0, self.run_nova('unquiesce', 'web'))
        self.assertEqual('unquiescing', web.task_state)
        self.assertIn('Request to unquiesce', self.stdout.getvalue())

    def test_unquiesce_with_poll_returns_when_it_is_thawed(self) -> None:
        web = self.nova.add('web', vm_state='quiesced', thaw_seconds=3)
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

    def test_a_name_of_another_project_is_unknown(self) -> None:
        web = self.nova.add('web', foreign=True)
        self.assertEqual(1, self.run_nova('quiesce', 'web'))
        self.assertIn('"web"', self.said)
        self.assertEqual(0, self.run_nova('quiesce', web.id))

    def test_unquiesce_of_an_active_server_succeeds_and_says_so(self) -> None:
        web = self.nova.add('web')
        for option in ([], ['--poll']):
            with self.subTest(option=option):
                self.errors.lines.clear()
                self.assertEqual(0, self.run_nova('unquiesce', 'web', *option))
                self.assertIn(
                    f'Server web ({web.id}) was not quiesced any more: it is '
                    'ACTIVE.',
                    self.said,
                )

    def test_output_that_cannot_be_written_thaws(self) -> None:
        self.nova.add('web')
        for name, error in (
            ('write', BrokenPipeError()),
            ('flush', OSError(errno.ENOSPC, 'No space left on device')),
        ):
            with self.subTest(name=name):
                stdout = io.StringIO()
                setattr(stdout, name, mock.Mock(side_effect=error))
                with self.assertRaises(type(error)):
                    self.run_nova('quiesce', 'web', '--poll', stdout=stdout)
                [web] = self.nova.servers.values()
                self.assertEqual('active', web.vm_state)

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
        for signum, code in zip(signals.SIGNALS, signals.CODES, strict=True):
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
