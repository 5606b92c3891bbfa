# SPDX-License-Identifier: Apache-2.0

"""``nova-quiesce-status``, as an operator uses it on a controller."""

import json
from typing import Any

from osc_quiesce.tests.functional import base
from osc_quiesce.tests.functional import test_recovery

#: seconds, as configured for these tests
RPC_TIMEOUT = 10


class TestStatus(test_recovery.RecoveryTest):
    OPTIONS = {'operation_timeout': RPC_TIMEOUT, 'sweep_interval': 1}

    def status(self, command: str, expect: int = 0) -> base.Result:
        """Run the program on the cloud's own nova.conf."""
        return self.shell(
            'nova-quiesce-status --config-file %s %s'
            % (base.cloud().layout.etc / 'nova.conf', command),
            expect=expect,
        )

    def listed(self) -> dict[str, dict[str, Any]]:
        """Return what the program lists, by server."""
        rows = json.loads(self.status('list --json').stdout)
        return {row['uuid']: row for row in rows}

    def test_all_checks_succeed(self) -> None:
        server = self.boot()
        self.openstack('server quiesce --wait %s' % server)
        result = self.status('upgrade check')
        self.assertEqual(7, result.stdout.count('Result: Success'))

    def test_who_is_quiesced_is_listed_and_thawed(self) -> None:
        first, second, third = (self.boot() for _number in range(3))
        response = self.act(first, {'quiesce': {'unquiesce_after': 3600}})
        self.wait(first, 'quiesced')
        self.openstack('server quiesce --wait %s' % second)
        # The row of a deleted server may wait for its next thaw.
        listed = self.listed()
        self.assertEqual(
            {first, second}, {first, second, third} & listed.keys()
        )
        row = listed[first]
        self.assertEqual(
            ('frozen', response.headers['x-openstack-request-id']),
            (row['state'], row['request']),
        )
        self.assertTrue(row['name'])
        self.assertTrue(row['unquiesce_at'].startswith('20'))
        table = self.status('list').stdout
        self.assertIn(first, table)

        result = self.status('thaw %s %s' % (second, third))
        self.assertIn('thawed: 1', result.stdout)
        self.assertEqual(('active', None), self.states(second))
        self.assertEqual(['frozen', 'thawed'], self.guest_log(second))
        self.assertEqual(('quiesced', None), self.states(first))
        self.status('thaw --all')
        self.assertEqual(('active', None), self.states(first))
        self.assertEqual({}, self.listed())
        self.assertEqual([], self.guest_log(third))
        [_create, _quiesce, (_name, request_id)] = self.actions(first)
        [event] = self.events_of(first, request_id).values()
        self.assertEqual('Success', event['result'])

    def test_who_cannot_be_thawed_is_left_and_told(self) -> None:
        server = self.boot(unquiesce='fail')
        self.openstack('server quiesce --wait %s' % server)
        result = self.status(
            'thaw --all --timeout %d' % (3 * RPC_TIMEOUT), expect=1
        )
        self.assertIn(server, result.stdout)
        self.assertIn('may still be frozen', result.stderr)
        self.assertIn(server, self.listed())

    def test_usage_errors(self) -> None:
        server = self.boot()
        self.openstack('server quiesce --wait %s' % server)
        for command in ('', 'thaw', 'thaw vm-name', 'thaw --all ' + server):
            self.status(command, expect=2)
        missing = server[:-4] + 'ffff'
        result = self.status('thaw %s %s' % (server, missing), expect=255)
        self.assertIn(missing, result.stderr)
        self.assertEqual(('quiesced', None), self.states(server))
