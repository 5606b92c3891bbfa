# SPDX-License-Identifier: Apache-2.0

"""The ``nova`` command and novaclient's library, with our extension."""

import os
import signal
import subprocess
import time

from novaclient import client as nova_client
from novaclient import exceptions as nova_exceptions

from osc_quiesce import errors
from osc_quiesce.tests.functional import base


class NovaTest(base.FunctionalTest):
    def nova(
        self, command: str, persona: str = 'admin', expect: int = 0
    ) -> base.Result:
        """Run the ``nova`` command."""
        return self.shell('nova %s' % command, persona, expect)


class TestQuiesce(NovaTest):
    """nova quiesce."""

    def test_poll_returns_when_it_is_frozen(self) -> None:
        server = self.boot('vm-one')
        result = self.nova('quiesce --poll vm-one')
        self.assertIn('Server vm-one (%s) is QUIESCED' % server, result.stdout)
        self.assertEqual(('quiesced', None), self.states(server))
        self.assertEqual(['frozen'], self.guest_log(server))

    def test_without_poll_it_returns_at_once(self) -> None:
        server = self.boot('vm-slow', quiesce='slow:10')
        result = self.nova('quiesce %s' % server)
        self.assertEqual(('active', 'quiescing'), self.states(server))
        self.assertIn('Request to quiesce server vm-slow', result.stdout)
        self.wait(server, 'quiesced')

    def test_the_cloud_thaws_it_after_the_time_given(self) -> None:
        server = self.boot()
        result = self.nova('quiesce --poll --unquiesce-after 10 %s' % server)
        self.assertIn('The cloud thaws it at 20', result.stdout)
        self.wait(server, 'active')

    def test_not_supported_is_told_with_the_servers_reason(self) -> None:
        server = self.boot('vm-mute', quiesce='disconnected')
        result = self.nova('quiesce --poll vm-mute', expect=1)
        for words in ('vm-mute', server, 'agent is not connected'):
            self.assertIn(words, result.stderr)
        self.assertEqual('', result.stdout)

    def test_failed_is_told_with_the_servers_reason(self) -> None:
        server = self.boot('vm-hung', quiesce='fail')
        result = self.nova('quiesce --poll vm-hung', expect=1)
        for words in ('vm-hung', server, 'Guest agent not available'):
            self.assertIn(words, result.stderr)

    def test_what_cannot_be_written_is_thawed(self) -> None:
        server = self.boot()
        result = self.shell(
            'nova quiesce --poll %s >/dev/full; echo $?' % server
        )
        self.assertNotEqual('0\n', result.stdout)
        self.assertEqual(('active', None), self.states(server))
        self.assertEqual(['frozen', 'thawed'], self.guest_log(server))

    def test_an_interrupt_thaws_what_was_frozen(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(signal=number.name):
                server = self.boot(quiesce='slow:8')
                process = subprocess.Popen(
                    ['nova', 'quiesce', '--poll', server],
                    env={**os.environ, **self.environment()},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                self.addCleanup(process.kill)
                self.wait(server, 'active', 'quiescing')
                time.sleep(0.5)
                process.send_signal(number)
                _out, err = process.communicate(timeout=base.TIMEOUT)
                self.assertEqual(-number, process.returncode, err)
                self.assertNotIn('Traceback', err)
                self.assertEqual(('active', None), self.states(server))
                self.assertEqual('thawed', self.guest_log(server)[-1])

    def test_refusals(self) -> None:
        server = self.boot('vm-mine', persona='member')
        result = self.nova('quiesce --poll vm-mine', 'member', expect=1)
        for words in (server, 'administrator'):
            self.assertIn(words, result.stderr)
        result = self.nova('quiesce no-such-server', expect=1)
        self.assertIn('no-such-server', result.stderr)
        self.act(server, {'pause': None})
        self.wait(server, 'paused')
        for option in ('', '--poll'):
            result = self.nova(
                'quiesce %s %s' % (option, server), expect=1
            )
            for words in ('vm-mine', 'paused'):
                self.assertIn(words, result.stderr)
        self.assertEqual([], self.guest_log(server))

    def test_usage_errors(self) -> None:
        for arguments in ('', '--unquiesce-after 0 vm', '--poll vm vm'):
            self.nova('quiesce %s' % arguments, expect=2)

    def test_any_compute_api_version(self) -> None:
        server = self.boot()
        for version in ('2.1', '2.60'):
            for verb in ('quiesce', 'unquiesce'):
                self.nova(
                    '--os-compute-api-version %s %s --poll %s'
                    % (version, verb, server)
                )
        self.assertEqual(2 * ['frozen', 'thawed'], self.guest_log(server))

    def test_both_commands_are_in_the_help(self) -> None:
        for command in ('help', 'help quiesce', 'bash-completion'):
            result = self.nova(command)
            self.assertIn('quiesce', result.stdout)
        self.assertIn('--poll', self.nova('help unquiesce').stdout)


class TestUnquiesce(NovaTest):
    """nova unquiesce."""

    def test_poll_returns_when_it_is_thawed(self) -> None:
        server = self.boot('vm-one')
        self.nova('quiesce --poll vm-one')
        result = self.nova('unquiesce --poll vm-one')
        self.assertEqual(
            'Server vm-one (%s) is ACTIVE.\n' % server, result.stdout
        )
        self.assertEqual(['frozen', 'thawed'], self.guest_log(server))

    def test_without_poll_it_returns_at_once(self) -> None:
        server = self.boot(unquiesce='slow:10')
        self.nova('quiesce --poll %s' % server)
        self.nova('unquiesce %s' % server)
        self.assertEqual(('quiesced', 'unquiescing'), self.states(server))
        self.wait(server, 'active')

    def test_failed_is_told_with_the_servers_reason(self) -> None:
        server = self.boot('vm-stuck', unquiesce='fail')
        self.nova('quiesce --poll vm-stuck')
        result = self.nova('unquiesce --poll vm-stuck', expect=1)
        for words in ('vm-stuck', server, 'may still be frozen'):
            self.assertIn(words, result.stderr)

    def test_a_server_that_is_not_quiesced(self) -> None:
        server = self.boot('vm-running')
        for option in ('', '--poll'):
            self.assertIn(
                server, self.nova('unquiesce %s vm-running' % option).stderr
            )
        self.act(server, {'pause': None})
        self.wait(server, 'paused')
        result = self.nova('unquiesce vm-running', expect=1)
        for words in (server, 'paused'):
            self.assertIn(words, result.stderr)


class TestLibrary(base.FunctionalTest):
    """novaclient.client.Client with our extension."""

    def test_quiesce_wait_and_unquiesce(self) -> None:
        server = self.boot('vm-program')
        nova = nova_client.Client(
            '2.1',
            session=base.compute().session,
            extensions=nova_client.discover_extensions('2.1'),
        )
        found = nova.servers.find(name='vm-program')
        request_id = nova.quiesce.quiesce(found, unquiesce_after=600)
        nova.quiesce.library.wait_for_quiesced(server, request_id)
        self.assertEqual('QUIESCED', nova.servers.get(server).status)
        request_id = nova.quiesce.unquiesce(server)
        nova.quiesce.library.wait_for_unquiesced(server, request_id)
        self.assertEqual(['frozen', 'thawed'], self.guest_log(server))
        self.assertIsNone(nova.quiesce.unquiesce(server))
        nova.servers.pause(server)
        self.wait(server, 'paused')
        error = self.assertRaises(
            nova_exceptions.Conflict, nova.quiesce.unquiesce, server
        )
        self.assertIn('paused', str(error))
        self.assertIsInstance(error.__cause__, errors.Conflict)
