# SPDX-License-Identifier: Apache-2.0

"""What ``quiesce`` costs more than ``pause``, which Nova has had for long."""

from __future__ import annotations

from collections.abc import Sequence
import concurrent.futures
import functools
import time

from benchmarks import cloud as cloud_api
from benchmarks import measure

ACCEPTED = measure.Target(1.1)
DONE = measure.Target(1.2)
#: an action of ours, Nova's own, and what they end in
PAIRS = (
    (('quiesce', 'quiesced'), ('pause', 'paused')),
    (('unquiesce', 'active'), ('unpause', 'active')),
)


def latency(
    results: measure.Results, cloud: cloud_api.Cloud, server: str, rounds: int
) -> None:
    """Compare how long one request takes, to the answer and to the end."""
    accepted: dict[str, list[float]] = {}
    done: dict[str, list[float]] = {}

    def act(action: str, vm_state: str) -> None:
        started = time.monotonic()
        cloud.act(server, action)
        accepted.setdefault(action, []).append(time.monotonic() - started)
        cloud.wait(server, vm_state)
        done.setdefault(action, []).append(time.monotonic() - started)
        time.sleep(0.2)  # what goes on after the state is reached

    ways = [[pair[kind] for pair in PAIRS] for kind in (0, 1)]
    for number in range(rounds + 1):
        for way in ways if number % 2 else reversed(ways):
            for action, vm_state in way:
                act(action, vm_state)
    for (ours, _end), (novas, _end) in PAIRS:
        for what, found, target in (
            ('until 202', accepted, ACCEPTED),
            ('until done', done, DONE),
        ):
            results.compare(
                f'{ours}, {what}', 's',
                # Without the first round, in which much is loaded.
                {way: found[way][1:] for way in (ours, novas)},
                {(ours, novas): target},
            )


def throughput(
    results: measure.Results,
    cloud: cloud_api.Cloud,
    servers: Sequence[str],
    services: int,
    rounds: int,
) -> None:
    """Measure how many servers a second are quiesced, and thawed.

    :param services: how many nova-quiesce there are
    """
    found: dict[str, list[float]] = {}
    for action, status in (
        ('quiesce', 'QUIESCED'), ('unquiesce', 'ACTIVE')
    ) * (rounds + 1):
        started = time.monotonic()
        act = functools.partial(cloud.act, action=action)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(act, servers))
        cloud.wait_for_all(status, servers)
        found.setdefault(action, []).append(
            len(servers) / (time.monotonic() - started))
    for action, rates in found.items():
        # Without the first round, in which much is loaded.
        results.details.setdefault('throughput', {}).setdefault(
            action, {})[str(services)] = rates[1:]


def add_throughput(results: measure.Results) -> None:
    """Turn what :func:`throughput` has found into lines of the table."""
    for action, by_services in results.details['throughput'].items():
        alone = by_services['1']
        for services, rates in by_services.items():
            results.add(f'{action}, {services} nova-quiesce', 'servers/s',
                        rates)
            if services != '1':
                results.add(
                    f'{action}, {services} nova-quiesce / 1', 'ratio',
                    [a / b for a, b in zip(rates, alone)])
