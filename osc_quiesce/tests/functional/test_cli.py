# SPDX-License-Identifier: Apache-2.0

"""``openstack server quiesce`` and ``unquiesce``, as operators use them."""

import json
import os
import signal
import subprocess
import time
import uuid

from osc_quiesce.tests.functional import base

COLUMNS = ['Name', 'ID', 'Status', 'Seconds', 'Request ID',
           'Unquiesce At']


class TestQuiesce(base.FunctionalTest):
    """openstack server quiesce."""

    def test_wait_returns_when_it_is_frozen(self) -> None:
        server = self.boot('vm-one')
        [row] = self.openstack(
            'server quiesce --wait -f json %s' % server).data
        self.assertEqual(COLUMNS, list(row))
        self.assertEqual(('vm-one', server, 'QUIESCED'),
                         (row['Name'], row['ID'], row['Status']))
        self.assertGreater(float(row['Seconds']), 0)
        self.assertTrue(row['Request ID'].startswith('req-'))
        self.assertEqual(('quiesced', None), self.states(server))
        self.assertEqual(['frozen'], self.guest_log(server))

    def test_without_wait_it_returns_at_once(self) -> None:
        server = self.boot(quiesce='slow:5')
        [row] = self.openstack('server quiesce -f json %s' % server).data
        self.assertEqual(('active', 'quiescing'), self.states(server))
        self.assertFalse(row['Seconds'])
        self.wait(server, 'quiesced')

    def test_servers_by_name_in_the_order_given(self) -> None:
        names = ['vm-%s' % uuid.uuid4().hex[:8] for _number in range(3)]
        servers = [self.boot(name, quiesce='slow:0.4') for name in names]
        order = [names[2], names[0], names[1]]
        rows = self.openstack(
            'server quiesce --wait -f json %s' % ' '.join(order)).data
        self.assertEqual(order, [row['Name'] for row in rows])
        # Frozen strictly one after the other, as the guests saw it.
        times = {}
        for name, server in zip(names, servers):
            log = base.cloud().layout.guests / server
            times[name] = float(log.read_text().split()[1])
        self.assertEqual(order, sorted(times, key=lambda name: times[name]))
        # A server is asked only when the one before it is quiesced.
        events = [self.action(row['ID'], row['Request ID'])['events'][0]
                  for row in rows]
        for before, after in zip(events, events[1:]):
            self.assertGreaterEqual(after['start_time'],
                                    before['finish_time'][:19])

    def test_table_and_value_output(self) -> None:
        server = self.boot('vm-table')
        table = self.openstack('server quiesce --wait %s' % server).stdout
        for column in COLUMNS:
            self.assertIn(column, table)
        value = self.openstack(
            'server unquiesce --wait -f value -c Name -c Status %s' % server)
        self.assertEqual('vm-table ACTIVE\n', value.stdout)

    def test_one_unknown_name_and_nothing_is_frozen(self) -> None:
        server = self.boot()
        for option in ('', '--wait'):
            result = self.openstack('server quiesce %s %s no-such-server' % (
                option, server), expect=1)
            self.assertIn('no-such-server', result.stderr)
        self.assertEqual(('active', None), self.states(server))
        self.assertEqual([], self.guest_log(server))

    def test_an_ambiguous_name_and_nothing_is_frozen(self) -> None:
        servers = [self.boot('vm-twin') for _number in range(2)]
        result = self.openstack('server quiesce --wait vm-twin', expect=1)
        for server in servers:
            self.assertIn(server, result.stderr)
            self.assertEqual([], self.guest_log(server))

    def test_the_same_server_twice_and_nothing_is_frozen(self) -> None:
        server = self.boot('vm-double')
        self.openstack('server quiesce --wait %s vm-double' % server,
                       expect=1)
        self.assertEqual([], self.guest_log(server))

    def test_not_supported_is_told_with_the_servers_reason(self) -> None:
        server = self.boot('vm-mute', quiesce='disconnected')
        result = self.openstack('server quiesce --wait %s' % server,
                                expect=1)
        for words in ('vm-mute', server,
                      'QEMU guest agent is not connected', 'active'):
            self.assertIn(words, result.stderr)
        self.assertEqual(('active', None), self.states(server))

    def test_failed_is_told_with_the_servers_reason(self) -> None:
        server = self.boot('vm-hung', quiesce='fail')
        result = self.openstack('server quiesce --wait %s' % server,
                                expect=1)
        for words in ('vm-hung', server, 'Guest agent not available',
                      'error'):
            self.assertIn(words, result.stderr)

    def test_timed_out_is_told_and_thawed(self) -> None:
        server = self.boot('vm-slow', quiesce='slow:4')
        result = self.openstack(
            'server quiesce --wait --timeout 1 %s' % server, expect=1)
        self.assertIn('vm-slow', result.stderr)
        self.assertIn('within 1 s', result.stderr)
        self.assertEqual(('active', None), self.settle(server))
        self.assertEqual('thawed', self.guest_log(server)[-1])

    def test_refused_is_told_with_the_state(self) -> None:
        server = self.boot('vm-paused')
        self.act(server, {'pause': None})
        self.wait(server, 'paused')
        for option in ('', '--wait'):
            result = self.openstack(
                'server quiesce %s %s' % (option, server), expect=1)
            for words in ('vm-paused', server, 'paused'):
                self.assertIn(words, result.stderr)

    def test_if_one_fails_the_others_are_thawed_in_reverse(self) -> None:
        first, second = self.boot(), self.boot()
        bad = self.boot('vm-bad', quiesce='disconnected')
        result = self.openstack('server quiesce --wait %s %s %s' % (
            first, second, bad), expect=1)
        self.assertIn('vm-bad', result.stderr)
        for server in (first, second):
            self.assertEqual(('active', None), self.states(server))
            self.assertEqual(['frozen', 'thawed'], self.guest_log(server))
        # In order they are asked; who is busy thaws later.
        self.assertGreater(
            self.unquiesced_at(first), self.unquiesced_at(second))

    def test_keep_quiesced(self) -> None:
        first = self.boot()
        bad = self.boot('vm-bad', quiesce='disconnected')
        self.openstack('server quiesce --wait --keep-quiesced %s %s' % (
            first, bad), expect=1)
        self.assertEqual(('quiesced', None), self.states(first))

    def test_without_wait_every_request_is_sent(self) -> None:
        paused, server = self.boot('vm-paused'), self.boot()
        self.act(paused, {'pause': None})
        self.wait(paused, 'paused')
        result = self.openstack('server quiesce %s %s' % (paused, server),
                                expect=1)
        self.assertIn('vm-paused', result.stderr)
        self.wait(server, 'quiesced')

    def test_usage_errors(self) -> None:
        server = self.boot()
        for arguments in ('', '--timeout 5 %s' % server,
                          '--wait --timeout 0 %s' % server,
                          '--wait --timeout -1 %s' % server,
                          '--wait --timeout nan %s' % server,
                          '--wait --timeout soon %s' % server):
            with self.subTest(arguments=arguments):
                self.openstack('server quiesce %s' % arguments, expect=2)
        self.assertEqual([], self.guest_log(server))

    def test_a_member_is_refused(self) -> None:
        server = self.boot('vm-mine', persona='member')
        result = self.openstack('server quiesce --wait vm-mine', 'member',
                                expect=1)
        self.assertIn(server, result.stderr)
        self.assertIn('administrator', result.stderr)
        result = self.openstack('server quiesce --wait %s' % server, 'other',
                                expect=1)
        self.assertIn(server, result.stderr)
        self.assertEqual([], self.guest_log(server))

    def test_an_administrator_names_servers_of_others_by_id(self) -> None:
        server = self.boot(persona='member')
        self.openstack('server quiesce --wait %s' % server)
        self.assertEqual(('quiesced', None), self.states(server))

    def test_any_compute_api_version(self) -> None:
        server = self.boot()
        for version in ('2.1', '2.60', '2'):
            for verb in ('quiesce', 'unquiesce'):
                self.openstack('--os-compute-api-version %s server %s --wait '
                               '%s' % (version, verb, server))
        self.assertEqual(3 * ['frozen', 'thawed'], self.guest_log(server))


class TestUnquiesce(base.FunctionalTest):
    """openstack server unquiesce."""

    def test_wait_returns_when_it_is_thawed(self) -> None:
        server = self.boot('vm-one')
        self.openstack('server quiesce --wait %s' % server)
        [row] = self.openstack(
            'server unquiesce --wait -f json %s' % server).data
        self.assertEqual(('vm-one', server, 'ACTIVE'),
                         (row['Name'], row['ID'], row['Status']))
        self.assertEqual(['frozen', 'thawed'], self.guest_log(server))

    def test_without_wait_it_returns_at_once(self) -> None:
        server = self.boot(unquiesce='slow:5')
        self.openstack('server quiesce --wait %s' % server)
        self.openstack('server unquiesce %s' % server)
        self.assertEqual(('quiesced', 'unquiescing'), self.states(server))
        self.wait(server, 'active')

    def test_it_thaws_everything_it_can_then_reports(self) -> None:
        paused, frozen = self.boot('vm-paused'), self.boot()
        self.act(paused, {'pause': None})
        self.wait(paused, 'paused')
        self.openstack('server quiesce --wait %s' % frozen)
        result = self.openstack('server unquiesce --wait %s %s' % (
            paused, frozen), expect=1)
        self.assertIn('vm-paused', result.stderr)
        self.assertEqual(['frozen', 'thawed'], self.guest_log(frozen))

    def test_a_server_that_is_active_already_is_no_failure(self) -> None:
        server = self.boot('vm-running')
        for option in ('', '--wait'):
            result = self.openstack('server unquiesce %s -f json vm-running'
                                    % option)
            self.assertEqual('ACTIVE', result.data[0]['Status'])
            self.assertIn('vm-running (%s) was not quiesced any more' % server,
                          result.stderr)

    def test_an_unknown_name_does_not_keep_others_frozen(self) -> None:
        server = self.boot()
        self.openstack('server quiesce --wait %s' % server)
        result = self.openstack(
            'server unquiesce --wait no-such-server %s' % server, expect=1)
        self.assertIn('no-such-server', result.stderr)
        self.assertEqual(['frozen', 'thawed'], self.guest_log(server))

    def test_failed_is_told_with_the_servers_reason(self) -> None:
        server = self.boot('vm-stuck', unquiesce='fail')
        self.openstack('server quiesce --wait %s' % server)
        result = self.openstack('server unquiesce --wait %s' % server,
                                expect=1)
        for words in ('vm-stuck', server, 'may still be frozen', 'error'):
            self.assertIn(words, result.stderr)


class TestProcess(base.FunctionalTest):
    """The real program, as scripts call it."""

    def test_a_script_that_checks_exit_codes(self) -> None:
        server = self.boot('vm-script')
        result = self.shell('''
            set -u
            openstack server quiesce --wait -f value -c Status vm-script
            echo quiesce $?
            openstack server quiesce --wait vm-script >/dev/null 2>&1
            echo again $?
            openstack server quiesce >/dev/null 2>&1
            echo usage $?
            openstack server unquiesce --wait -f value -c Status vm-script
            echo unquiesce $?
            openstack server unquiesce --wait no-such-server >/dev/null 2>&1
            echo unknown $?
        ''')
        self.assertEqual(
            ['QUIESCED', 'quiesce 0', 'again 1', 'usage 2', 'ACTIVE',
             'unquiesce 0', 'unknown 1'], result.stdout.splitlines())
        self.assertEqual(['frozen', 'thawed'], self.guest_log(server))

    def test_json_on_stdout_alone(self) -> None:
        server = self.boot()
        # Of any other version the openstack of 2025.1 warns on stderr.
        result = self.shell(
            'openstack --os-compute-api-version 2.1 server quiesce --wait '
            '-f json %s' % server)
        self.assertEqual('QUIESCED', json.loads(result.stdout)[0]['Status'])
        self.assertEqual('', result.stderr)

    def test_an_interrupt_thaws_what_was_frozen(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(signal=number.name):
                first = self.boot()
                second = self.boot(quiesce='slow:8')
                process = subprocess.Popen(
                    ['openstack', 'server', 'quiesce', '--wait', first,
                     second], env={**os.environ, **self.environment()},
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    text=True)
                self.addCleanup(process.kill)
                self.wait(second, 'active', 'quiescing')
                time.sleep(0.5)
                process.send_signal(number)
                _out, err = process.communicate(timeout=base.TIMEOUT)
                self.assertEqual(-number, process.returncode, err)
                for server in (first, second):
                    self.assertEqual(('active', None), self.states(server))
                    self.assertEqual('thawed', self.guest_log(server)[-1])

    def test_an_interrupt_keeps_only_what_is_quiesced(self) -> None:
        first, last = self.boot(), self.boot()
        second = self.boot(quiesce='slow:8')
        process = subprocess.Popen(
            ['openstack', 'server', 'quiesce', '--wait', '--keep-quiesced',
             first, second, last], env={**os.environ, **self.environment()},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        self.wait(second, 'active', 'quiescing')
        process.send_signal(signal.SIGINT)
        _out, err = process.communicate(timeout=base.TIMEOUT)
        self.assertEqual(-signal.SIGINT, process.returncode, err)
        self.assertIn('1 of 3 servers stay quiesced (--keep-quiesced).', err)
        self.assertEqual(('quiesced', None), self.states(first))
        self.assertEqual(['frozen', 'thawed'], self.guest_log(second))
        for server in (second, last):
            self.assertEqual(('active', None), self.states(server))

    def test_both_commands_are_in_the_help(self) -> None:
        result = self.shell('openstack help server; '
                            'openstack server quiesce --help')
        for words in ('server quiesce', 'server unquiesce', '--wait',
                      '--timeout <seconds>'):
            self.assertIn(words, result.stdout)

    def test_other_commands_show_it(self) -> None:
        server = self.boot()
        self.openstack('server quiesce --wait %s' % server)
        listed = self.openstack('server list -f json').data
        self.assertEqual([(server, 'QUIESCED')], [
            (row['ID'], row['Status']) for row in listed])
        events = self.openstack(
            'server event list -f value -c Action %s' % server)
        self.assertEqual(['quiesce', 'create'], events.stdout.split())
        services = self.openstack(
            'compute service list -f json --service nova-quiesce').data
        self.assertEqual({'up'}, {row['State'] for row in services})
