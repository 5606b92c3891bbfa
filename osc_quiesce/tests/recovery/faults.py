# SPDX-License-Identifier: Apache-2.0

"""What can go wrong at a site, or with the command, and is put right again.

Cinder's API, scheduler and volume service are one process of minicloud, and so
is all of Nova.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import dataclasses
import json
import os
import resource
import signal
import subprocess
import time
from typing import Any

import minicloud

from osc_quiesce.tests.faults import base as table
from osc_quiesce.tests.recovery import base

#: seconds after which what was killed is started again
DOWN = 2.0
#: seconds for which something is stopped, or away
AWAY = 8.0
#: bytes, the size at which files of cinder-backup are full: the data of a
#: volume take up more, and logs and databases of Cinder must not
FULL = 5 * base.MIB
#: processes of minicloud, by what they are in the table
ROLES = {
    'cinder-backup': 'backup',
    'cinder-volume, -scheduler and -api': 'volume',
    'nova': 'compute',
    'keystone': 'identity',
    'broker': 'broker',
    'database': 'database',
}
CLIENT = 'client'
STORE = 'store'
POOL = 'pool'
REQUEST = 'request of cinder-backup to cinder-volume'


@dataclasses.dataclass(frozen=True)
class Fault:
    """Something that happens, and passes.

    :param what: a key of ROLES, or one of the constants
    :param how: ``killed``, ``stopped``, ``terminated``, ``away``, ``full`` or
        ``lost``
    """

    what: str
    how: str

    def __str__(self) -> str:
        return f'{self.what} {self.how}'

    def inject(self, site: str, command: subprocess.Popen[str]) -> None:
        """Let it happen at a site, and return when it has passed.

        :param command: the one that is running meanwhile
        """
        _INJECT[self.how](self, base.minicloud_of(site), command)

    def killed(self, cloud: minicloud.Cloud,
               command: subprocess.Popen[str]) -> None:
        if self.what == CLIENT:
            command.kill()
            return
        cloud.signal(ROLES[self.what], signal.SIGKILL)
        time.sleep(DOWN)
        cloud.start(ROLES[self.what])

    def terminated(self, cloud: minicloud.Cloud,
                   command: subprocess.Popen[str]) -> None:
        command.terminate()

    def stopped(self, cloud: minicloud.Cloud,
                command: subprocess.Popen[str]) -> None:
        def send(number: int) -> None:
            if self.what == CLIENT:
                command.send_signal(number)
            else:
                cloud.signal(ROLES[self.what], number)

        send(signal.SIGSTOP)
        try:
            time.sleep(AWAY)
        finally:
            send(signal.SIGCONT)

    def away(self, cloud: minicloud.Cloud,
             command: subprocess.Popen[str]) -> None:
        """Let the store be none, as a file system that is not mounted."""
        store = base.root() / 'store'
        kept = store.with_name('store-away')
        store.rename(kept)
        try:
            store.touch()
            self._wait(command)
        finally:
            store.unlink()
            kept.rename(store)

    def full(self, cloud: minicloud.Cloud,
             command: subprocess.Popen[str]) -> None:
        """Let no file of cinder-backup grow: of the store, or of the pool."""
        pid = cloud.pid(ROLES['cinder-backup'])
        _soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (FULL, hard))
        try:
            self._wait(command)
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))

    def lost(self, cloud: minicloud.Cloud,
             command: subprocess.Popen[str]) -> None:
        """Let cinder-volume and the broker die between request and answer.

        The request asks what to read for a backup, and Cinder sends it once.
        """
        backup, volume, broker = (ROLES[each] for each in (
            'cinder-backup', 'cinder-volume, -scheduler and -api', 'broker'))
        cloud.signal(backup, signal.SIGSTOP)
        try:
            while command.poll() is None and not any(
                    each['status'] == 'creating'
                    for site in (base.A, base.B)
                    for each in base.cloud(site).backups()):
                time.sleep(0.1)
            cloud.signal(volume, signal.SIGKILL)
        finally:
            cloud.signal(backup, signal.SIGCONT)
        time.sleep(DOWN)
        cloud.signal(broker, signal.SIGKILL)
        for role in broker, volume:
            cloud.start(role)

    @staticmethod
    def _wait(command: subprocess.Popen[str]) -> None:
        """Wait until the command has found out, or the time is up."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.wait(10 * AWAY)


_INJECT: dict[str, Callable[
    [Fault, minicloud.Cloud, subprocess.Popen[str]], None]] = {
        'killed': Fault.killed,
        'terminated': Fault.terminated,
        'stopped': Fault.stopped,
        'away': Fault.away,
        'full': Fault.full,
        'lost': Fault.lost}


def of(own: Fault | None) -> list[Fault]:
    """Return all faults that may strike in a phase.

    :param own: one that strikes in this phase only
    """
    found = [Fault(what, how) for what in (*ROLES, CLIENT)
             for how in ('killed', 'stopped')]
    found += [Fault(CLIENT, 'terminated'), Fault(STORE, 'away')]
    return found + ([own] if own else [])


def write(fault: Fault | str, command: str, phase: str, number: int,
          **found: Any) -> None:
    """Write a row of the table in the documentation.

    :param command: such as ``backup create``
    :param number: of the case, which tells the order of the rows
    :param found: what the test has measured
    """
    row = {'killed': str(fault), 'command': command, 'when': phase,
           'step': number, **found}
    if path := os.environ.get(table.TABLE_VARIABLE):
        with open(path, 'a', encoding='utf-8') as stream:
            stream.write(json.dumps(row) + '\n')
