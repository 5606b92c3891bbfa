# SPDX-License-Identifier: Apache-2.0

"""``openstack``, with a record of what it sends and of its memory.

``python -m benchmarks.client FILE ARGUMENT...`` runs the command, and writes
the requests and the peak memory of the process into FILE, as JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import json
import pathlib
import re
import subprocess
import sys
import time
from typing import Any
from unittest import mock
from urllib import parse

import requests

from benchmarks import measure

_ID = re.compile(r'[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}')
#: what a request is about, where it asks for a volume or restores into one
_VOLUME = re.compile(r'/volumes/([^/?]+)$')
_RESTORE = re.compile(r'/backups/[^/]+/restore$')


@dataclasses.dataclass(frozen=True)
class Request:
    """A request.

    :param path: with the query, without the host
    :param started: seconds of the epoch
    :param volume: ID of the volume that is read, or restored into
    :param status: of the volume that is read
    """

    method: str
    path: str
    started: float
    ended: float
    volume: str = ''
    status: str = ''

    @property
    def kind(self) -> str:
        """What it is, whatever it is about."""
        return f'{self.method} {_ID.sub("*", self.path)}'

    @property
    def is_restore(self) -> bool:
        return self.method == 'POST' and bool(_RESTORE.search(self.path))


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run of a command has cost.

    :param seconds: from its start to its end
    :param megabytes: the largest resident size of the process
    """

    seconds: float
    megabytes: float
    requests: Sequence[Request]

    @property
    def listings(self) -> int:
        """How often a listing was sent again, which is polling."""
        seen: set[str] = set()
        again = 0
        for each in self.requests:
            if each.method == 'GET' and not _ID.search(each.path):
                again += each.path in seen
                seen.add(each.path)
        return again

    @property
    def restoring(self) -> float:
        """Seconds in which at least one volume was being restored."""
        spans: list[tuple[float, float]] = []
        for number, asked in enumerate(self.requests):
            if asked.is_restore:
                ended = next(
                    each.ended for each in self.requests[number:]
                    if each.volume == asked.volume and each.status not in (
                        '', 'restoring-backup'))
                spans.append((asked.started, ended))
        total, until = 0.0, 0.0
        for start, end in sorted(spans):
            total += max(0.0, end - max(start, until))
            until = max(until, end)
        return total


def run(file: pathlib.Path, *arguments: str) -> Run:
    """Run a command in a process of its own.

    :param file: is written, and read again
    :raises subprocess.CalledProcessError: the command has failed
    """
    started = time.monotonic()
    subprocess.run(
        [sys.executable, '-m', 'benchmarks.client', str(file), *arguments],
        check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    found = json.loads(file.read_text())
    return Run(seconds, found['megabytes'], [
        Request(**each) for each in found['requests']])


def _record(prepared: requests.PreparedRequest, started: float,
            response: requests.Response) -> Request:
    where = parse.urlsplit(prepared.url or '')
    path = where.path + (f'?{where.query}' if where.query else '')
    found = _VOLUME.search(path) if prepared.method == 'GET' else None
    volume, status = '', ''
    if found and response.ok and 'volume' in response.json():
        volume = found[1]
        status = response.json()['volume']['status']
    elif prepared.method == 'POST' and _RESTORE.search(path):
        volume = json.loads(prepared.body or '{}')['restore']['volume_id']
    return Request(prepared.method or '', path, started, time.time(), volume,
                   status)


def main(file: str, arguments: list[str]) -> int:
    """Run a command in this process, and return its exit code."""
    # Loaded here, as part of what the command costs.
    from openstackclient import shell

    records: list[Request] = []
    send = requests.Session.send

    def recorded(self: requests.Session, request: requests.PreparedRequest,
                 **kwargs: Any) -> requests.Response:
        started = time.time()
        response = send(self, request, **kwargs)
        records.append(_record(request, started, response))
        return response

    with mock.patch.object(requests.Session, 'send', recorded):
        code: int = shell.main(arguments)
    pathlib.Path(file).write_text(json.dumps({
        'megabytes': measure.peak_memory(),
        'requests': [dataclasses.asdict(each) for each in sorted(
            records, key=lambda each: each.started)]}))
    return code


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], sys.argv[2:]))
