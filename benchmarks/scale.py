# SPDX-License-Identifier: Apache-2.0

"""How one stage grows: the time, the requests, the memory of the client.

``python -m benchmarks.scale SERVER...`` quiesces one stage, thaws it, and
prints what that cost as JSON: a process of its own for each measurement, so
that its memory is its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
import json
import subprocess
import sys
import time

from benchmarks import cloud as cloud_api
from benchmarks import measure

from osc_quiesce import group

GROWTH = measure.Target(3)
MEGABYTES = measure.Target(200)
#: seconds
TIMEOUT = 1800


def stage(servers: Sequence[str]) -> dict[str, float]:
    """Quiesce servers as one stage, and thaw them."""
    cloud = cloud_api.Cloud()
    started = time.monotonic()
    with cloud.counted() as traffic:
        with group.quiesced(
            cloud.client, [servers], timeout=TIMEOUT, unquiesce_after=TIMEOUT
        ):
            frozen = time.monotonic()
            to_freeze = dataclasses.replace(traffic)
        thawed = time.monotonic()
    return {
        's until quiesced': frozen - started,
        's until thawed': thawed - frozen,
        'requests until quiesced': to_freeze.requests,
        'requests until thawed': traffic.requests - to_freeze.requests,
        'looks until quiesced': to_freeze.looks,
        'looks until thawed': traffic.looks - to_freeze.looks,
        'kB of traffic': traffic.bytes / 1000,
        'MB of memory': measure.peak_memory(),
    }


def growth(
    results: measure.Results,
    servers: Sequence[str],
    sizes: Sequence[int],
    api_seconds: Callable[[], float],
) -> None:
    """Measure stages of several sizes, of the same servers.

    :param sizes: how many servers; the first and the last are compared
    :param api_seconds: returns how long the API has computed so far
    """
    found: dict[int, list[dict[str, float]]] = {}
    # The first on both sides of the others: a cloud gets slower, too.
    for size in (*sizes, sizes[0]):
        before = api_seconds()
        done = subprocess.run(
            [sys.executable, '-m', 'benchmarks.scale', *servers[:size]],
            check=True, stdout=subprocess.PIPE, text=True)
        cost = json.loads(done.stdout)
        cost['s of CPU in the API'] = api_seconds() - before
        found.setdefault(size, []).append(cost)
    for size, costs in sorted(found.items()):
        for what in costs[0]:
            unit, _of, rest = what.partition(' ')
            results.add(
                f'{size} servers: {rest.removeprefix("of ")}', unit,
                [cost[what] for cost in costs],
                MEGABYTES if unit == 'MB' else None)
    small, large = sizes[0], sizes[-1]
    for what in ('s until quiesced', 's until thawed'):
        results.add(
            f'{large} servers, time for each / that of {small}: '
            f'{what.partition(" ")[2]}', 'ratio',
            [
                found[large][0][what] / (large / small) / cost[what]
                for cost in found[small]
            ],
            GROWTH)
    results.details['sizes'] = {
        str(size): found[size] for size in sorted(sizes)}


if __name__ == '__main__':
    print(json.dumps(stage(sys.argv[1:])))
