# SPDX-License-Identifier: Apache-2.0

"""A process is killed at a step of quiescing three servers.

Whatever was killed, and whenever: no guest stays frozen, no server stays in a
task state, every request has ended, and the servers can be used again.  Each
case is a row of a table in the documentation (see tools/docs/faults.py).
"""

import abc
import configparser
import contextlib
import dataclasses
import functools
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable

from osc_quiesce.tests.functional import base

#: the file to which each case appends its row, as JSON
TABLE_VARIABLE = 'FAULTS_TABLE'
#: seconds in which a client gets to a step, on a busy machine
PATIENCE = 60.0
#: seconds after which what was killed is started again
DOWN = 2.0
#: seconds after the kill in which all must be well again
BOUND = 90.0
#: seconds past the deadline at the most: for the search, for the thaw, and for
#: a busy machine
LATE = 15.0
#: No guest can be thawed without these: so it counts from when they are there
#: again, if that is later.
NEEDED = ('nova-compute', 'broker')


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
    Step('last is being frozen', 2, 'active', 'quiescing'),
    Step('all are frozen', 2, 'quiesced', None),
    Step('last is being thawed', 2, 'quiesced', 'unquiescing'),
    Step('second is being thawed', 1, 'quiesced', 'unquiescing'),
    Step('first is being thawed', 0, 'quiesced', 'unquiescing'),
)


@dataclasses.dataclass(frozen=True)
class Frozen:
    """That a guest was frozen for a time, in seconds since 1970.

    :param ended: None if it still is frozen
    """

    began: float
    ended: float | None


def setting(section: str, option: str) -> float:
    """Return a number of the cloud's nova.conf (see tools/live.py)."""
    parser = configparser.RawConfigParser()
    parser.read(base.cloud().layout.etc / 'nova.conf')
    return parser.getfloat(section, option)


class FaultsTest(base.FunctionalTest, metaclass=abc.ABCMeta):
    """A test on a cloud whose services are processes of their own.

    :cvar hypervisor: the cloud's, for the table
    :cvar held_while_killed: whether the server stays in its step until what
        was killed is there again
    :cvar pause: seconds between quiesce and unquiesce
    :cvar deadline: seconds, ``--unquiesce-after`` of the requests: longer than
        it takes to quiesce all
    """

    hypervisor: str
    held_while_killed: bool
    pause = 3
    deadline = 15

    @abc.abstractmethod
    def history(self, server: str) -> list[Frozen]:
        """Return when a guest was frozen, as seen from outside of Nova."""

    @abc.abstractmethod
    def hold(self, step: Step, server: str,
             ) -> contextlib.AbstractContextManager[None]:
        """Make the server stay in a step."""

    def inject(self, process: str, step: Step, servers: list[str]) -> None:
        """Kill a process at a step, and see that all gets well.

        :param servers: ids of three servers
        """
        began = time.time()
        server = servers[step.server]
        with contextlib.ExitStack() as held:
            if step.vm_state == 'active':
                held.enter_context(self.hold(step, server))
            client = self.client(servers)
            if step.vm_state == 'quiesced':
                self.wait_for(
                    lambda: self.states(servers[-1]) == ('quiesced', None),
                    'all are frozen', PATIENCE)
                held.enter_context(self.hold(step, server))
            self.wait_for(lambda: self.states(server)
                          == (step.vm_state, step.task_state),
                          'the %s' % step.name, PATIENCE)
            role = self.role_of(process, server)
            if not self.held_while_killed:
                held.close()
            killed_at = time.time()
            if role:
                base.cloud().signal(role, signal.SIGKILL)
                time.sleep(DOWN)
                base.cloud().start(role)
            else:
                os.killpg(client.pid, signal.SIGKILL)
            back_at = time.time() if process in NEEDED else killed_at
        _out, said = client.communicate(timeout=BOUND)
        self.assertNotIn('Traceback', said)
        for server in servers:
            self.wait_for(functools.partial(self.is_well, server),
                          '%s is well, after "%s"' % (server, said),
                          max(killed_at + BOUND - time.time(), 1))
        frozen = [one for server in servers for one in self.history(server)
                  if one.ended is None or one.ended > began]
        late = self.write(process, step.name, killed_at, back_at, frozen)
        self.assertLess(late, LATE, frozen)
        for server in servers:
            self.assert_all_ended(server)
        self.assert_usable(servers)

    def client(self, servers: list[str]) -> 'subprocess.Popen[str]':
        """Do what an operator's script does, with a pause for snapshots."""
        process = subprocess.Popen(
            ['bash', '-c',
             'openstack server quiesce --wait --unquiesce-after %d %s; '
             'sleep %d; openstack server unquiesce --wait %s' % (
                 self.deadline, ' '.join(servers), self.pause,
                 ' '.join(reversed(servers)))],
            env=self.environment(), text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        return process

    def role_of(self, process: str, server: str) -> str:
        """Return the process of the cloud; nothing for the client."""
        if process == 'client':
            return ''
        if process in ('nova-api', 'nova-conductor'):
            return process.removeprefix('nova-')
        if process == 'nova-compute':
            return str(self.server(server)['OS-EXT-SRV-ATTR:host'])
        if process != 'nova-quiesce':
            return process
        # The one that works on it now, or did so last.
        events = self.wait_for(
            lambda: self.work_on(server), 'a service has begun')
        return str(events[0]['host']).replace('controller', 'quiesce')

    def is_well(self, server: str) -> bool:
        """Say whether a guest is thawed, and Nova done with the server."""
        return (self.states(server) in (('active', None), ('error', None))
                and all(frozen.ended for frozen in self.history(server)))

    def write(self, process: str, step: str, killed_at: float,
              back_at: float, frozen: list[Frozen]) -> float:
        """Write the row of this case.

        :param step: its name
        :param back_at: when what was killed was there again
        :returns: the longest time, in seconds, past a deadline, or past that
            moment if it is later
        """
        spans = [(one.began, one.ended or time.time()) for one in frozen]

        def longest(seconds: Iterable[float]) -> float:
            return round(max([0, *seconds]), 1)

        late = longest(end - max(began + self.deadline, back_at)
                       for began, end in spans)
        names = [each.name for each in STEPS]
        row = {
            'killed': process, 'when': step,
            'step': names.index(step) if step in names else len(names),
            'hypervisor': self.hypervisor,
            'thawed_after_kill': longest(
                end - killed_at for _began, end in spans),
            'longest_frozen': longest(end - began for began, end in spans),
            'past_deadline': longest(
                end - began - self.deadline for began, end in spans),
            'late': late,
        }
        if path := os.environ.get(TABLE_VARIABLE):
            with open(path, 'a', encoding='utf-8') as table:
                table.write(json.dumps(row) + '\n')
        return late

    def assert_all_ended(self, server: str) -> None:
        """Every request gets an end, good or bad.

        One that was lost is closed when it cannot arrive any more.
        """
        self.wait_for(lambda: self.all_have_ended(server),
                      'every request of %s has ended' % server, BOUND)

    def all_have_ended(self, server: str) -> bool:
        """Say whether every request has an event, and every event an end."""
        url = '/servers/%s/os-instance-actions' % server
        for action in base.compute().get(url).json()['instanceActions']:
            if action['action'] not in ('quiesce', 'unquiesce'):
                continue
            events = base.compute().get(
                '%s/%s' % (url, action['request_id'])).json()[
                    'instanceAction']['events']
            if not events or not all(
                    event['finish_time'] for event in events):
                return False
        return True

    def assert_usable(self, servers: list[str]) -> None:
        """They can be quiesced and unquiesced.

        Those in ERROR after the documented command, and all of them as soon
        as Nova has noticed that what was killed is there again.
        """
        self.wait_until_up()
        for server in servers:
            if self.states(server)[0] == 'error':
                self.act(server, {'os-resetState': {'state': 'active'}})
                self.wait(server, 'active')
        for action, vm_state in (('quiesce', 'quiesced'),
                                 ('unquiesce', 'active')):
            for server in servers:
                # A guest that a freeze may still reach is thawed once more,
                # and a nova-compute that is not back on the bus fails it.
                self.wait_for(functools.partial(
                    self.reaches, server, action, vm_state),
                    '%s is %s' % (server, vm_state), BOUND)

    def reaches(self, server: str, action: str, vm_state: str) -> bool:
        """Say whether a server is in a state, and ask for it if it rests."""
        states = self.states(server)
        if states == (vm_state, None):
            return True
        if states in (('active', None), ('quiesced', None)):
            base.compute().post(
                '/servers/%s/action' % server, json={action: None})
        return False


class FakeGuestsTest(FaultsTest):
    """A test with guests that are not real."""

    hypervisor = 'fake'
    held_while_killed = False

    def hold(self, step: Step, server: str,
             ) -> contextlib.AbstractContextManager[None]:
        if step.task_state is None:
            return contextlib.nullcontext()
        return self.held(server)

    def history(self, server: str) -> list[Frozen]:
        """Return when a guest was frozen, as the guest itself tells it."""
        path = base.cloud().layout.guests / server
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
