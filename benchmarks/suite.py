# SPDX-License-Identifier: Apache-2.0

"""All benchmarks, each on the cloud of minicloud that it needs.

One cloud after the other: real guests on real volumes; the fake driver with
all of Nova in one process; the fake driver with RabbitMQ, MariaDB and many
servers; and two sites with the fake driver and cinder-backup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any
from unittest import mock

from benchmarks import api
from benchmarks import cli
from benchmarks import cloud as cloud_api
from benchmarks import freeze
from benchmarks import measure
from benchmarks import recovery
from benchmarks import scale
from benchmarks import sites
from benchmarks import sweep
from benchmarks import wait
from benchmarks import window

import minicloud


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is measured."""

    #: rounds of the window by number of servers: ours and the limit, SDK,
    #: script with a wait loop of 5 s, with one of 1 s
    guests: dict[int, tuple[int, int, int, int]]
    fake: dict[int, tuple[int, int, int, int]]
    latency: int
    commands: int
    plugin: int
    services: tuple[int, ...]
    throughput: int
    wait: dict[int, int]
    stages: tuple[int, ...]
    sweep: tuple[int, int]
    gaps: int
    recovery: recovery.Size


FULL = Size(
    guests={1: (4, 1, 1, 1), 3: (6, 1, 3, 1)},
    fake={3: (8, 1, 3, 1), 10: (3, 1, 2, 1)},
    latency=30, commands=10, plugin=60,
    services=(1, 2, 4), throughput=40,
    wait={1: 4, 10: 4, 100: 1, 500: 1},
    stages=(100, 10, 500, 1000), sweep=(10_000, 1_000), gaps=10,
    recovery=recovery.Size(
        servers=3, volumes=2, megabytes=(64, 8), rounds=3, many=(10, 10)),
)
QUICK = Size(
    guests={},
    fake={1: (2, 1, 0, 1)},
    latency=5, commands=2, plugin=2,
    services=(1, 2), throughput=6,
    wait={2: 1, 12: 1},
    stages=(3, 12), sweep=(600, 60), gaps=0,
    recovery=recovery.Size(
        servers=1, volumes=1, megabytes=(4, 1), rounds=1, many=(1, 2)),
)


def say(text: str) -> None:
    print(f'{time.strftime("%H:%M:%S")}  {text}', flush=True)


@contextlib.contextmanager
def running(root: pathlib.Path, **settings: Any) -> Iterator[minicloud.Cloud]:
    """Run a new cloud, and be its administrator."""
    cloud = minicloud.Cloud(root)
    say(f'a cloud: {settings}')
    try:
        cloud.up(fresh=True, **settings)
        with mock.patch.dict(os.environ, cloud.environment()):
            yield cloud
    finally:
        cloud.down()


def rounds(counts: tuple[int, int, int, int]) -> dict[str, int]:
    quick, sdk, script_5, script_1 = counts
    named = {
        window.OURS: quick, window.LIMIT: quick, window.SDK: sdk,
        window.SCRIPT_5: script_5, window.SCRIPT_1: script_1,
    }
    return {way: count for way, count in named.items() if count}


def windows(
    name: str, what: str, cloud: cloud_api.Cloud, servers: Sequence[str],
    sizes: dict[int, tuple[int, int, int, int]],
) -> measure.Results:
    """Measure the window of applications of several sizes.

    :param what: what the servers are, in words
    :param sizes: rounds, see :class:`Size`
    """
    results = measure.Results(name)
    for count, counts in sizes.items():
        window.measure_application(
            results, window.Application(cloud, servers[:count]),
            f'{count} {what}', rounds(counts))
    return results


# -- real guests ------------------------------------------------------------

def guests(root: pathlib.Path, size: Size) -> Iterator[measure.Results]:
    if not size.guests:
        return
    with running(root, driver='libvirt', storage='ceph') as running_cloud:
        cloud = cloud_api.Cloud()
        names = [f'guest{number}' for number in range(max(size.guests))]
        servers = cloud.make_with_volumes(names, real=True)
        consoles = [
            freeze.console_of(running_cloud.layout, server)
            for server in servers]
        for console in consoles:
            freeze.wait_for_writer(console)
        yield windows('window-guests', 'real guests', cloud, servers,
                      size.guests)
        results = measure.Results('freeze')
        freeze.gap(results, cloud, servers[0], consoles[0], size.gaps)
        yield results


# -- the fake driver --------------------------------------------------------

def fake(root: pathlib.Path, size: Size) -> Iterator[measure.Results]:
    with running(root):
        cloud = cloud_api.Cloud()
        names = [f'fake{number}' for number in range(max(size.fake))]
        servers = cloud.make_with_volumes(names, real=False)
        yield windows('window-fake', 'fake guests', cloud, servers, size.fake)
        results = measure.Results('cli')
        cli.commands(results, cloud, servers[0], size.commands)
        cli.plugin(results, size.plugin)
        yield results


# -- many servers -----------------------------------------------------------

def many(root: pathlib.Path, size: Size) -> Iterator[measure.Results]:
    settings: dict[str, Any] = {
        'broker': 'rabbit', 'database': 'mariadb', 'computes': 3}
    most = max(size.stages)
    with running(root, **settings) as running_cloud:
        cloud = cloud_api.Cloud()
        servers = cloud.make_servers(size.throughput)
        results = measure.Results('api')
        api.latency(results, cloud, servers[0], size.latency)
        yield results
        results = measure.Results('throughput')
        for services in size.services:
            running_cloud.up(**settings, quiesce_services=services)
            api.throughput(results, cloud, servers, services, rounds=3)
        api.add_throughput(results)
        yield results
        running_cloud.up(**settings, quiesce_services=2)
        computes = settings['computes']
        for server in servers[:computes]:
            servers += _copies(
                running_cloud, server, -(-most // computes))
        for number in range(1, computes + 1):
            # It reads what guests it has.
            running_cloud.stop(f'compute{number}')
            running_cloud.start(f'compute{number}')
        results = measure.Results('wait')
        for count, times in size.wait.items():
            wait.cost(
                results, cloud, servers[:count],
                functools.partial(_frozen_at, running_cloud),
                functools.partial(_nobody_works, running_cloud, 2), times)
        some = sorted(count for count in size.wait if count > 1)
        wait.growth(
            results, cloud, servers[:some[-1]], some[0],
            functools.partial(_nobody_works, running_cloud, 2))
        yield results
        results = measure.Results('scale')
        scale.growth(
            results, servers[:most], size.stages,
            functools.partial(measure.cpu_seconds, running_cloud.pid('api')))
        yield results
        results = measure.Results('sweep')
        sweep.cost(
            results, str(running_cloud.layout.etc / 'nova.conf'), *size.sweep)
        yield results


def _copies(cloud: minicloud.Cloud, server: str, count: int) -> list[str]:
    """Copy a server and its guest; nova-compute has to be started anew."""
    done = subprocess.run(
        [sys.executable, '-m', 'benchmarks.copies',
         str(cloud.layout.etc / 'nova.conf'), server, str(count)],
        check=True, stdout=subprocess.PIPE, text=True)
    copies = done.stdout.split()
    [path] = cloud.layout.hypervisors.glob(f'*/{server}.json')
    guest = json.loads(path.read_text())
    for copy in copies:
        path.with_name(f'{copy}.json').write_text(
            json.dumps({**guest, 'uuid': copy, 'name': copy}))
    return copies


@contextlib.contextmanager
def _nobody_works(cloud: minicloud.Cloud, services: int) -> Iterator[None]:
    roles = [f'quiesce{number}' for number in range(1, services + 1)]
    for role in roles:
        cloud.stop(role)
    try:
        yield
    finally:
        for role in roles:
            cloud.start(role)


def _frozen_at(cloud: minicloud.Cloud, server: str) -> float:
    lines = (cloud.layout.guests / server).read_text().splitlines()
    frozen = [line.split()[1] for line in lines if line.startswith('frozen')]
    return float(frozen[-1])


# -- two sites --------------------------------------------------------------

def two_sites(root: pathlib.Path, size: Size) -> Iterator[measure.Results]:
    say('two sites')
    with sites.running(root) as both:
        results = measure.Results('recovery')
        for _more in recovery.compare(results, both, size.recovery):
            yield results


def volumes(root: pathlib.Path, size: Size) -> Iterator[measure.Results]:
    say('two sites, for many volumes')
    with sites.running(root) as both:
        results = measure.Results('volumes')
        recovery.many(results, both, size.recovery)
        yield results


# -- all --------------------------------------------------------------------

#: what runs on a cloud of its own
PARTS: dict[
    str, Callable[[pathlib.Path, Size], Iterator[measure.Results]]] = {
    'guests': guests, 'fake': fake, 'many': many, 'recovery': two_sites,
    'volumes': volumes}


def run(
    directory: pathlib.Path, root: pathlib.Path, size: Size, parts: list[str]
) -> None:
    """Measure, and save each result as soon as it is there.

    :param directory: gets a JSON file for each benchmark
    :param root: where the clouds are made, one after the other
    :param parts: keys of :data:`PARTS`
    """
    for name in parts:
        for results in PARTS[name](root / name, size):
            results.save(directory)
            say(results.name)
            print(results.table(), flush=True)
