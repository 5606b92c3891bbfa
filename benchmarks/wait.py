# SPDX-License-Identifier: Apache-2.0

"""What waiting costs, and how late a waiting client notices.

Ours is :mod:`osc_quiesce.polling`, as :mod:`osc_quiesce.group` waits for a
stage: one look at the table of freezes serves all that are under way. It is
compared with what scripts do: one GET for each server, every two seconds. All
requests of a wait count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import concurrent.futures
import contextlib
import statistics
import time

from benchmarks import cloud as cloud_api
from benchmarks import measure

from osc_quiesce import model
from osc_quiesce import verbs

#: seconds between two looks of a script
INTERVAL = 2.0
OURS, SCRIPT = 'ours', f'GET each, {INTERVAL:g} s'
FLAT = measure.Target(1.25)

#: a wait: of some servers with their requests; returns when each was seen
Wait = Callable[[Mapping[str, str]], dict[str, float]]
#: makes a context in which requests are accepted and wait
NobodyWorks = Callable[[], contextlib.AbstractContextManager[None]]


def cost(
    results: measure.Results,
    cloud: cloud_api.Cloud,
    servers: Sequence[str],
    frozen_at: Callable[[str], float],
    nobody_works: NobodyWorks,
    rounds: int,
) -> None:
    """Compare requests, bytes and lateness while servers are quiesced.

    :param frozen_at: returns when the guest of a server was last frozen, in
        seconds of the epoch
    :param nobody_works: lest most of many servers be frozen before they are
        waited for
    """
    waits: dict[str, Wait] = {
        OURS: lambda asked: _ours(cloud, asked),
        SCRIPT: lambda asked: _each(cloud, asked),
    }
    found: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds):
        for way in [*waits] if number % 2 == 0 else [*waits][::-1]:
            with nobody_works():
                asked = _ask_to_quiesce(cloud, servers)
            # Those that were frozen before cannot be noticed before.
            started = time.time()
            with cloud.counted() as traffic:
                seen = waits[way](asked)
            duration = time.time() - started
            late = [
                seen[id_] - max(frozen_at(id_), started) for id_ in servers]
            costs = {
                'requests': traffic.requests,
                'kB': traffic.bytes / 1000,
                's waited': duration,
                's late, mean': statistics.mean(late),
                's late, maximum': max(late),
            }
            to_thaw = _thaw(cloud, asked)
            if way == OURS:
                costs['requests until thawed'] = to_thaw
            for what, value in costs.items():
                found.setdefault(what, {}).setdefault(way, []).append(value)
    for what, series in found.items():
        results.compare(
            f'{len(servers)} servers', what, series, {(OURS, SCRIPT): None})
        results.details.setdefault(what, {})[str(len(servers))] = series


def growth(
    results: measure.Results,
    cloud: cloud_api.Cloud,
    servers: Sequence[str],
    few: int,
    nobody_works: NobodyWorks,
) -> None:
    """Compare waits for many servers and for few that take the same time.

    :param few: how many of the servers nobody begins to freeze until the
        wait for them takes as long as that for all did
    """
    many = len(servers)
    requests, seconds, begin = _wait_from_before_the_work(
        cloud, servers, 0, nobody_works)
    requests_few, seconds_few, _begin = _wait_from_before_the_work(
        cloud, servers[:few], max(0, seconds - begin), nobody_works)
    for count, found in ((many, (requests, seconds)),
                         (few, (requests_few, seconds_few))):
        what = f'{count} servers, waited for as long: {OURS}'
        for unit, value in zip(('requests', 's waited'), found):
            results.add(what, unit, [value])
    results.add(
        f'{many} servers / {few}, waited for as long: requests a second',
        'ratio', [(requests / seconds) / (requests_few / seconds_few)], FLAT)


def _wait_from_before_the_work(
    cloud: cloud_api.Cloud,
    servers: Sequence[str],
    seconds: float,
    nobody_works: NobodyWorks,
) -> tuple[int, float, float]:
    """Return the requests and the seconds that a wait takes.

    :param seconds: after which those who work are started
    :returns: also how long it took to start them
    """
    with contextlib.ExitStack() as idle:
        idle.enter_context(nobody_works())
        asked = _ask_to_quiesce(cloud, servers)

        def begin_late() -> float:
            time.sleep(seconds)
            return measure.seconds(idle.close)

        with concurrent.futures.ThreadPoolExecutor() as pool:
            begin = pool.submit(begin_late)
            with cloud.counted() as traffic:
                duration = measure.seconds(
                    lambda: _ours(cloud, asked))
    _thaw(cloud, asked)
    return traffic.requests, duration, begin.result()


def _ask_to_quiesce(
    cloud: cloud_api.Cloud, servers: Sequence[str]
) -> dict[str, str]:
    """Quiesce servers by one request, as a group does."""
    request = model.new_request_id()
    return {id_: cloud.client.quiesce(id_, 600, request) for id_ in servers}


def _thaw(cloud: cloud_api.Cloud, asked: Mapping[str, str]) -> int:
    """Thaw servers, and return with how many requests that was waited for."""
    jobs = [verbs.Job(model.Server(id_), request)
            for id_, request in asked.items()]
    with cloud.counted() as traffic:
        cloud.client.run(verbs.Thawing(), [jobs], cloud_api.PATIENCE)
    for job in jobs:
        if job.error:
            raise job.error
    return traffic.requests - len(asked)


def _ours(
    cloud: cloud_api.Cloud,
    asked: Mapping[str, str],
) -> dict[str, float]:
    started = time.time()
    jobs = [verbs.Job(model.Server(id_), request, request, is_accepted=True)
            for id_, request in asked.items()]
    cloud.client.run(verbs.Freezing(), [jobs], cloud_api.PATIENCE)
    for job in jobs:
        if job.error:
            raise job.error
    return {job.server.id: started + job.seconds for job in jobs}


def _each(
    cloud: cloud_api.Cloud, asked: Mapping[str, str]
) -> dict[str, float]:
    seen: dict[str, float] = {}
    while True:
        started = time.monotonic()
        for id_ in asked:
            if id_ not in seen and cloud.state(id_) == ('quiesced', None):
                seen[id_] = time.time()
        if len(seen) == len(asked):
            return seen
        time.sleep(max(0, started + INTERVAL - time.monotonic()))
