# SPDX-License-Identifier: Apache-2.0

"""A rolling update of containers: for a while there are two of one name."""

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

from osc_quiesce.tests.deployments import base
from osc_quiesce.tests.faults import base as faults
from osc_quiesce.tests.functional import base as functional

#: seconds that a guest takes, so that a service is stopped meanwhile
SLOW = 3


class RollingUpdateTest(base.DeploymentsTest):

    def start_old(self) -> 'subprocess.Popen[bytes]':
        """Start the program of the service, and wait until it is there.

        The processes of the cloud itself end at once, as if they were killed.
        """
        layout = functional.cloud().layout
        own = layout.local / 'old.conf'
        own.write_text('[DEFAULT]\nhost = controller1\n')
        self.addCleanup(own.unlink)
        path = layout.log / 'nova-quiesce.log'
        log = path.open('wb')
        self.addCleanup(log.close)
        process = subprocess.Popen(
            [os.path.join(os.path.dirname(sys.executable), 'nova-quiesce'),
             '--config-file', str(layout.etc / 'nova.conf'),
             '--config-file', str(own)],
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        self.addCleanup(self.end, process)
        self.wait_for(lambda: 'Starting quiesce node' in path.read_text(),
                      'nova-quiesce has started', faults.BOUND)
        return process

    @staticmethod
    def end(process: 'subprocess.Popen[bytes]') -> None:
        """End a program and what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def check_none_is_down(self) -> None:
        done = self.shell(
            'nova-quiesce-status --config-file %s upgrade check --json'
            % (functional.cloud().layout.etc / 'nova.conf'))
        checks = json.loads(done.stdout)['checks']
        self.assertEqual({0}, {each['result'] for each in checks}, checks)

    def ask_all(self, servers: list[str], action: dict[str, Any],
                ) -> list[tuple[str, str]]:
        """Ask for an action of each; return these, and their requests."""
        return [(server, self.ask(server, action)) for server in servers]

    def test_two_of_one_name_overlap_and_one_is_stopped(self) -> None:
        cloud = functional.cloud()
        old = self.start_old()
        for role in ('quiesce1', 'quiesce2'):
            self.addCleanup(cloud.start, role)
            cloud.stop(role)
        slow = {'quiesce': 'slow:%d' % SLOW, 'unquiesce': 'slow:%d' % SLOW}
        frozen, others = self.boot_all(1, 2, **slow), self.boot_all(
            1, 2, **slow)
        # By the old one alone.
        requests = self.ask_all(frozen, {'quiesce': None})
        for server in frozen:
            self.wait(server, 'quiesced')
        cloud.start('quiesce1')
        # By any of the two.
        for action, vm_state in (('unquiesce', 'active'),
                                 ('quiesce', 'quiesced')):
            requests += self.ask_all(frozen, {action: None})
            for server in frozen:
                self.wait(server, vm_state)
        # And in the middle of these the old one is told to end.
        requests += self.ask_all(frozen, {'unquiesce': None})
        requests += self.ask_all(others, {'quiesce': None})
        for server in frozen + others:
            self.wait_for(functools.partial(self.work_on, server),
                          'a service has begun')
        old.send_signal(signal.SIGTERM)
        for server, request in requests:
            self.assert_success(server, request)
        self.assertEqual(0, old.wait(faults.BOUND))
        self.check_none_is_down()
        for server in others:
            self.assertIsNone(self.frozen_once(server).ended)
        requests = self.ask_all(others, {'unquiesce': None})
        for server, request in requests:
            self.wait(server, 'active')
            self.assert_success(server, request)
        for server in frozen:
            self.assertEqual([], [
                each for each in self.history(server) if not each.ended])
        self.wait_for_none_listed(frozen + others)
        time.sleep(2 * faults.setting('DEFAULT', 'report_interval'))
        self.check_none_is_down()
