# SPDX-License-Identifier: Apache-2.0

"""Guests that depend on each other, as the servers of an application do.

A guest of the image ``tiny-follower`` writes record n to its first disk only
after another guest has made its record n durable. What carries the number
from one to the other is a thread of ours: it reads the console of the one,
and types on that of the other.
"""

import os
import select
import threading
from types import TracebackType
from typing import Any

from minicloud.guest import console

DISK = 'vda'
#: seconds between two looks at the console of the leader
INTERVAL = 0.02
#: how many numbers are typed at a time; a terminal takes 4096 characters
AT_ONCE = 64


class Follower:
    """Has a guest follow another one, from ``with`` to its end.

    :param leader: the console of the guest that goes first
    :param follower: the console of the other
    :param domain: the other's libvirt.virDomain
    """

    def __init__(self, leader: console.Console, follower: console.Console,
                 domain: Any) -> None:
        self._leader = leader
        self._follower = follower
        self._terminal = console.terminal(domain)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> 'Follower':
        self._thread.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None,
                 _error: BaseException | None,
                 _traceback: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        terminal = os.open(self._terminal, os.O_RDWR | os.O_NOCTTY)
        told: int | None = None
        try:
            while not self._end.wait(INTERVAL):
                # What it says must be read, else it waits.
                while select.select([terminal], [], [], 0)[0]:
                    os.read(terminal, 65536)
                if told is None:
                    told = self._follower.last(DISK)
                newest = self._leader.last(DISK)
                if told is None or newest is None or newest <= told:
                    continue
                numbers = range(told + 1, min(newest, told + AT_ONCE) + 1)
                os.write(terminal, b''.join(
                    b'%d\n' % number for number in numbers))
                told = numbers[-1]
        finally:
            os.close(terminal)
