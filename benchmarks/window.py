# SPDX-License-Identifier: Apache-2.0

"""The frozen window: how long an application of several servers stands still.

The servers are quiesced in order, all their volumes are snapshotted, and the
servers are thawed in reverse order: by our command, by a shell script of
``openstack`` commands, by a Python script with openstacksdk, and by plain
HTTP requests without any check, one after the other. The APIs permit that to a
simple program; it is not a lower bound.

The window is what the caller can know: from just before the first server is
asked to quiesce until the last one is seen thawed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import datetime
import functools
import itertools
import json
import os
import pathlib
import subprocess
import time
from typing import Any

from benchmarks import cloud as cloud_api
from benchmarks import measure
from osc_quiesce import states

SCRIPT = pathlib.Path(__file__).with_name('window.sh')
#: seconds after which the cloud thaws what a benchmark that died has frozen
DEADLINE = 600
OURS, LIMIT, SDK = 'ours', 'limit', 'SDK'
SCRIPT_5, SCRIPT_1 = 'script, 5 s', 'script, 1 s'
#: for several servers
TARGETS = {
    (OURS, LIMIT): measure.Target(1.25),
    (SCRIPT_5, OURS): measure.Target(14, at_most=False),
    (SCRIPT_1, OURS): None,
    (SDK, OURS): None,
}

_names = itertools.count(1)
_DETAILS = {'unquiesce_after': DEADLINE}


@dataclasses.dataclass
class Application:
    """Servers to be snapshotted together, in order."""

    cloud: cloud_api.Cloud
    servers: Sequence[str]

    def __post_init__(self) -> None:
        self.volumes = [
            volume
            for server in self.servers
            for volume in self.cloud.volumes_of(server)
        ]
        #: seconds that the parts of the limit have taken, by part
        self.parts: dict[str, list[float]] = {
            'each quiesce': [], 'snapshots': [], 'each unquiesce': []}

    def check(self) -> None:
        """Look whether it can be done, without freezing anything."""
        self._create('bench', '--dry-run')

    # -- the ways ---------------------------------------------------------

    def ours(self) -> float:
        """``openstack application snapshot create``."""
        name = f'bench-{os.getpid()}-{next(_names)}'
        self._create(name)
        try:
            shown = json.loads(self._openstack(
                'application', 'snapshot', 'show', name, '-f', 'json'))
        finally:
            self._openstack('application', 'snapshot', 'delete', name)
        return float(shown['window'])

    def script(self, pause: float) -> float:
        """A shell script, with a wait loop of so many seconds."""
        said = self._run(
            [str(SCRIPT), str(pause), str(DEADLINE), *self.servers, '--',
             *self.volumes]
        ).splitlines()
        self._delete(said[1].split())
        return float(said[0])

    def sdk(self) -> float:
        """Python with openstacksdk, which polls every 2 s by default."""
        compute = self.cloud.connection.compute
        storage = self.cloud.connection.block_storage

        def act(server_id: str, action: str, details: Any, end: str) -> None:
            compute.post(
                f'/servers/{server_id}/action', json={action: details})
            compute.wait_for_server(
                compute.get_server(server_id), status=end, wait=DEADLINE)

        started = time.monotonic()
        with self._undone() as (asked, snapshots):
            for server_id in self.servers:
                asked.append(server_id)
                act(server_id, 'quiesce', _DETAILS, 'QUIESCED')
            made = []
            for volume in self.volumes:
                made.append(storage.create_snapshot(
                    volume_id=volume, force=True, name='bench'))
                snapshots.append(made[-1].id)
            for snapshot in made:
                storage.wait_for_status(
                    snapshot, status='available', wait=DEADLINE)
            for server_id in reversed(self.servers):
                act(server_id, 'unquiesce', None, 'ACTIVE')
                asked.remove(server_id)
            window = time.monotonic() - started
        return window

    def limit(self) -> float:
        """Plain HTTP on one connection, asking without pause."""
        cloud = self.cloud
        started = time.monotonic()
        with self._undone() as (asked, snapshots):
            for server_id in self.servers:
                with self._part('each quiesce'):
                    asked.append(server_id)
                    cloud.act(server_id, 'quiesce', _DETAILS)
                    cloud.wait(server_id, 'quiesced')
            with self._part('snapshots'):
                for volume in self.volumes:
                    snapshots.append(cloud.cinder('POST', '/snapshots', {
                        'snapshot': {'volume_id': volume, 'force': True,
                                     'name': 'bench'}})['snapshot']['id'])
                for snapshot in snapshots:
                    self._wait_for_snapshot(snapshot)
            for server_id in reversed(self.servers):
                with self._part('each unquiesce'):
                    cloud.act(server_id, 'unquiesce')
                    cloud.wait(server_id, 'active')
                    asked.remove(server_id)
            window = time.monotonic() - started
        return window

    def ways(self) -> dict[str, Callable[[], float]]:
        return {
            OURS: self.ours,
            LIMIT: self.limit,
            SDK: self.sdk,
            SCRIPT_5: functools.partial(self.script, 5),
            SCRIPT_1: functools.partial(self.script, 1),
        }

    # -- what they need ---------------------------------------------------

    @contextlib.contextmanager
    def _undone(self) -> Iterator[tuple[list[str], list[str]]]:
        """Thaw the servers and delete the snapshots, however it ends.

        :returns: a list of the servers that may be frozen, and one of the
            snapshots; both are empty, to be filled
        """
        asked: list[str] = []
        snapshots: list[str] = []
        try:
            yield asked, snapshots
        finally:
            outcomes = self.cloud.client.unquiesce_all(reversed(asked))
            self._delete(snapshots)
            for outcome in outcomes.values():
                if outcome.error:
                    raise outcome.error

    @contextlib.contextmanager
    def _part(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.parts[name].append(time.monotonic() - started)

    def _wait_for_snapshot(self, snapshot: str) -> None:
        deadline = time.monotonic() + DEADLINE
        while (status := self.cloud.cinder('GET', f'/snapshots/{snapshot}')[
                'snapshot']['status']) != 'available':
            if status == 'error' or time.monotonic() > deadline:
                raise RuntimeError(f'snapshot {snapshot} is {status}')

    def _delete(self, snapshots: Sequence[str]) -> None:
        for snapshot in snapshots:
            self.cloud.cinder('DELETE', f'/snapshots/{snapshot}')
        deadline = time.monotonic() + DEADLINE
        left = set(snapshots)
        while left & {s['id'] for s in self.cloud.cinder(
                'GET', '/snapshots')['snapshots']}:
            if time.monotonic() > deadline:
                raise RuntimeError(f'snapshots are not deleted: {left}')
            time.sleep(0.5)

    def _create(self, name: str, *options: str) -> None:
        self._openstack(
            'application', 'snapshot', 'create', name, '--allow-local-disk',
            f'--unquiesce-after={DEADLINE}',
            *options, *(f'--server={server}' for server in self.servers),
        )

    def _openstack(self, *words: str) -> str:
        return self._run(['openstack', *words])

    def _run(self, command: Sequence[str]) -> str:
        environment = dict(os.environ)
        if self.cloud.name:
            environment['OS_CLOUD'] = self.cloud.name
        with subprocess.Popen(
            command, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:
            try:
                output, errors = process.communicate()
            except BaseException:
                # Both thaw what they have frozen, and then end.
                process.terminate()
                process.wait()
                raise
        if process.returncode:
            raise RuntimeError(f'{" ".join(command)}: {errors}')
        return output

    def time_line(self) -> list[dict[str, Any]]:
        """Return what Nova recorded of the last window, for each server.

        :returns: the name, and seconds since the first request: when it was
            asked to quiesce, was frozen, was asked to thaw, and was thawed
        """
        found = [
            (server, _times(self.cloud.actions(server)))
            for server in self.servers
        ]
        first = min(times[0] for _server, times in found)
        return [
            {
                'server': self.cloud.client.get_server(server).name,
                'times': [when - first for when in times],
            }
            for server, times in found
        ]


def _times(newest: Sequence[dict[str, Any]]) -> list[float]:
    """Return when the last quiesce and unquiesce began and ended."""
    thaw, freeze = newest
    return [
        _seconds(when)
        for action in (freeze, thaw)
        for when in (
            action['start_time'],
            # One event has a deadline, which lies in the future.
            max(event['finish_time'] for event in action['events']
                if event['event'] != states.DEADLINE_EVENT),
        )
    ]


def _seconds(when: str) -> float:
    return datetime.datetime.fromisoformat(when).timestamp()


def measure_application(
    results: measure.Results,
    application: Application,
    what: str,
    rounds: dict[str, int],
) -> None:
    """Measure all ways for one application.

    :param what: it, in words
    :param rounds: how often each way; ways that are not named are left out
    """
    ways = {way: do for way, do in application.ways().items() if way in rounds}
    time_lines: list[tuple[float, list[dict[str, Any]]]] = []

    def ours() -> float:
        seconds = application.ours()
        time_lines.append((seconds, application.time_line()))
        return seconds

    ways[OURS] = ours
    ways[LIMIT]()  # what is loaded lazily is loaded now
    for values in application.parts.values():
        values.clear()
    series = measure.alternately(rounds, ways)
    several = len(application.servers) > 1
    results.compare(what, 's', series, {
        pair: target if several else None for pair, target in TARGETS.items()})
    for part, values in application.parts.items():
        results.add(f'{what}: {LIMIT}, {part}', 's', values)
    time_lines.sort(key=lambda each: each[0])
    _window, median = time_lines[len(time_lines) // 2]
    results.details.setdefault('time_lines', {})[what] = median
    results.details.setdefault('windows', {})[what] = series
