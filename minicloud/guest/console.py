# SPDX-License-Identifier: Apache-2.0

"""What the guest says on its console, and what it can be told there.

The guest's writers and its heartbeat say a line for each thing that they do,
with the seconds since the guest started (see ``src/writer.c``). A gap in the
records while the heartbeat goes on is a frozen file system; a gap in both is
a guest that stands still.
"""

import dataclasses
import os
import pathlib
import re
import select
import time
from typing import Any

RECORD = re.compile(rb'^W (\w+) (\d+) mono=([\d.]+) us=\d+\r?$', re.MULTILINE)
BEAT = re.compile(rb'^H \d+ mono=([\d.]+)\r?$', re.MULTILINE)
START = re.compile(rb'^WRITER (\w+) after (\d+)\r?$', re.MULTILINE)
FAILED = re.compile(rb'^W (\w+) \d+ ERROR .*$', re.MULTILINE)

#: bytes in which the last record mostly is
TAIL = 1 << 14

#: seconds in which the guest does what it is told
PATIENCE = 20.0


@dataclasses.dataclass(frozen=True)
class Record:
    """A record that is on the disk: written, and flushed.

    :param disk: such as ``vda``
    :param number: counted from 1 on each disk
    :param at: seconds since the guest started
    """

    disk: str
    number: int
    at: float


class Console:
    """The log of a guest's console.

    :param path: the file, to which QEMU appends
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def text(self) -> bytes:
        """Return all that the guest has said; nothing before it starts."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b''

    def records(self, disk: str = '') -> list[Record]:
        """Return the records so far, on one disk or on all."""
        return [Record(match[1].decode(), int(match[2]), float(match[3]))
                for match in RECORD.finditer(self.text())
                if not disk or match[1] == disk.encode()]

    def last(self, disk: str) -> int | None:
        """Return the number of the last record on a disk.

        That of an earlier life of the guest, if it has written none in this;
        None before it has looked.
        """
        for text in (self._end(), self.text()):
            for pattern in (RECORD, START):
                found = [int(match[2]) for match in pattern.finditer(text)
                         if match[1] == disk.encode()]
                if found:
                    return found[-1]
        return None

    def found(self, disk: str) -> int | None:
        """Return how many records were on a disk when the guest started.

        None before it has looked.
        """
        for match in START.finditer(self.text()):
            if match[1] == disk.encode():
                return int(match[2])
        return None

    def _end(self) -> bytes:
        """Return the last lines: all is much, and is looked at often."""
        try:
            with self.path.open('rb') as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
                return file.read()
        except FileNotFoundError:
            return b''

    def beats(self) -> list[float]:
        """Return when the heart beat, in seconds since the guest started."""
        return [float(match[1]) for match in BEAT.finditer(self.text())]

    def failures(self) -> list[str]:
        """Return what the writers could not write."""
        return [match[0].decode() for match in FAILED.finditer(self.text())]

    def tell(self, domain: Any, words: str) -> None:
        """Type a line, and return when the guest has done it.

        :param domain: the guest's libvirt.virDomain
        :param words: see ``src/init`` for what the guest knows
        :raises TimeoutError: if it does not say in time that it has
        """
        done = b'did: %s' % words.encode()
        before = self.text().count(done)
        line = os.open(terminal(domain), os.O_RDWR | os.O_NOCTTY)
        deadline = time.monotonic() + PATIENCE
        try:
            os.write(line, words.encode() + b'\n')
            while self.text().count(done) == before:
                if time.monotonic() > deadline:
                    raise TimeoutError(f'the guest does not do: {words}')
                # What it says must be read, else it waits.
                if select.select([line], [], [], 0.05)[0]:
                    os.read(line, 65536)
        finally:
            os.close(line)


def terminal(domain: Any) -> str:
    """Return the pseudo terminal that a guest's console is connected to.

    :param domain: the guest's libvirt.virDomain
    """
    found = re.search(r"<console type='pty' tty='([^']+)'>", domain.XMLDesc())
    assert found is not None
    return found[1]
