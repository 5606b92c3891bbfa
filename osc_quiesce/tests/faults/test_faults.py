# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Each process is killed at each step of quiescing three servers.

Whatever was killed, and whenever: no guest stays frozen, no server stays in a
task state, every request has ended, and the servers can be used again.  Each
case is a row of a table in the documentation (see tools/faults.py).
"""

import dataclasses
import functools
import json
import os
import signal
import subprocess
import time

from osc_quiesce.tests.functional import base

#: the file to which each case appends its row, as JSON
TABLE_VARIABLE = 'FAULTS_TABLE'
#: seconds: --unquiesce-after of the requests
DEADLINE = 10
#: seconds after which what was killed is started again
DOWN = 2.0
#: seconds after the kill in which all must be well again
BOUND = 90.0


@dataclasses.dataclass(frozen=True)
class Step:
    """A moment at which something is killed.

    :param name: it, in words
    :param server: which of the three servers is in these states then
    """

    name: str
    server: int
    vm_state: str
    task_state: str | None


STEPS = (
    Step('first is being frozen', 0, 'active', 'quiescing'),
    Step('second is being frozen', 1, 'active', 'quiescing'),
    Step('all are frozen', 2, 'quiesced', None),
    Step('last is being thawed', 2, 'quiesced', 'unquiescing'),
    Step('first is being thawed', 0, 'quiesced', 'unquiescing'),
)
#: what is killed, in the order of the table
PROCESSES = ('client', 'nova-api', 'nova-quiesce', 'nova-compute', 'broker',
             'database')


@dataclasses.dataclass(frozen=True)
class Frozen:
    """That a guest was frozen for a time, in seconds since 1970.

    :param ended: None if it still is frozen
    """

    began: float
    ended: float | None


def history(server_id: str) -> list[Frozen]:
    """Return when a guest was frozen, as the guest itself tells it."""
    path = base.cloud().layout.guests / server_id
    lines = path.read_text().splitlines() if path.exists() else []
    found: list[Frozen] = []
    for line in lines:
        word, when = line.split()
        is_frozen = bool(found) and found[-1].ended is None
        if word == 'frozen' and not is_frozen:
            found.append(Frozen(float(when), None))
        elif word == 'thawed' and is_frozen:
            found[-1] = Frozen(found[-1].began, float(when))
    return found


class FaultsTest(base.FunctionalTest):

    def inject(self, process: str, step: Step) -> None:
        """Kill a process at a step, and see that all gets well."""
        self.wait_for(self.all_are_up, 'the services are up again')
        servers = [self.boot(quiesce='slow:1', unquiesce='slow:1')
                   for _number in range(3)]
        client = self.client(servers)
        self.wait_for(lambda: self.states(servers[step.server])
                      == (step.vm_state, step.task_state),
                      'the %s' % step.name, 30)
        role = self.role_of(process, servers[step.server])
        killed_at = time.time()
        if role:
            base.cloud().signal(role, signal.SIGKILL)
            time.sleep(DOWN)
            base.cloud().start(role)
        else:
            os.killpg(client.pid, signal.SIGKILL)
        _out, said = client.communicate(timeout=BOUND)
        self.assertNotIn('Traceback', said)
        for server in servers:
            self.wait_for(functools.partial(self.is_well, server),
                          '%s is well, after "%s"' % (server, said),
                          max(killed_at + BOUND - time.time(), 1))
        self.write(process, step, killed_at, servers)
        for server in servers:
            self.assert_all_ended(server)
            self.assert_usable(server)

    def all_are_up(self) -> bool:
        """Say whether Nova takes all of its services for alive."""
        answer = base.compute().get('/os-services')
        return answer.status_code == 200 and all(
            service['state'] == 'up' for service in answer.json()['services'])

    def client(self, servers: list[str]) -> 'subprocess.Popen[str]':
        """Do what an operator's script does, with a pause for snapshots."""
        process = subprocess.Popen(
            ['bash', '-c',
             'openstack server quiesce --wait --unquiesce-after %d %s; '
             'sleep 2; openstack server unquiesce --wait %s' % (
                 DEADLINE, ' '.join(servers), ' '.join(reversed(servers)))],
            env=self.environment(), text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        return process

    def role_of(self, process: str, server: str) -> str:
        """Return the process of the cloud; nothing for the client."""
        if process == 'client':
            return ''
        if process == 'nova-api':
            return 'controller'
        if process == 'nova-compute':
            return str(self.server(server)['OS-EXT-SRV-ATTR:host'])
        if process != 'nova-quiesce':
            return process
        # The one that works on it now, or did so last.
        actions = base.compute().get(
            '/servers/%s/os-instance-actions' % server).json()
        request = actions['instanceActions'][0]['request_id']
        url = '/servers/%s/os-instance-actions/%s' % (server, request)
        self.wait_for(lambda: base.compute().get(url).json()[
            'instanceAction']['events'], 'a service has begun')
        events = base.compute().get(url).json()['instanceAction']['events']
        return str(events[0]['host']).replace('controller', 'quiesce')

    def is_well(self, server: str) -> bool:
        """Say whether a guest is thawed, and Nova done with the server."""
        return (self.states(server) in (('active', None), ('error', None))
                and all(frozen.ended for frozen in history(server)))

    def write(self, process: str, step: Step, killed_at: float,
              servers: list[str]) -> None:
        """Write the row of this case."""
        frozen = [one for server in servers for one in history(server)]
        ended = [one.ended or time.time() for one in frozen]
        row = {
            'killed': process, 'when': step.name,
            'thawed_after_kill': round(max(
                [end - killed_at for end in ended], default=0), 1),
            'longest_frozen': round(max(
                [end - one.began for end, one in zip(
                    ended, frozen, strict=True)], default=0), 1),
            'past_deadline': round(max(
                [end - one.began - DEADLINE for end, one in zip(
                    ended, frozen, strict=True)], default=0), 1),
        }
        if path := os.environ.get(TABLE_VARIABLE):
            with open(path, 'a', encoding='utf-8') as table:
                table.write(json.dumps(row) + '\n')

    def assert_all_ended(self, server: str) -> None:
        """Every request has an end, good or bad."""
        actions = base.compute().get(
            '/servers/%s/os-instance-actions' % server).json()
        for action in actions['instanceActions']:
            url = '/servers/%s/os-instance-actions/%s' % (
                server, action['request_id'])
            events = base.compute().get(url).json()['instanceAction'][
                'events']
            for event in events:
                self.assertIsNotNone(event['finish_time'], events)

    def assert_usable(self, server: str) -> None:
        """It can be quiesced and unquiesced, after the documented command."""
        if self.states(server)[0] == 'error':
            self.act(server, {'os-resetState': {'state': 'active'}})
            self.wait(server, 'active')
        self.act(server, {'quiesce': None})
        self.wait(server, 'quiesced')
        self.act(server, {'unquiesce': None})
        self.wait(server, 'active')


def _add(process: str, step: Step) -> None:
    def test(self: FaultsTest) -> None:
        self.inject(process, step)

    name = '%s killed while %s' % (process, step.name)
    setattr(FaultsTest, 'test_' + name.replace(' ', '_').replace('-', '_'),
            test)


for _process in PROCESSES:
    for _step in STEPS:
        _add(_process, _step)
