# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""What waiting costs, and how late a waiting client notices.

Ours is :meth:`osc_quiesce.client.Client.wait_for`: a listing serves all that
are under way. It is compared with what scripts do: one GET for each server,
every two seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import contextlib
import statistics
import time

from benchmarks import cloud as cloud_api
from benchmarks import measure

from osc_quiesce import states

#: seconds between two looks of a script
INTERVAL = 2.0
OURS, SCRIPT = 'ours', f'GET each, {INTERVAL:g} s'
#: without the one for each server that asks whose request has frozen it
LOOKS = 'requests a second, but one for each server'
FLAT = measure.Target(1.25)

#: a wait: of some servers with their requests; returns when each was seen
Wait = Callable[[Mapping[str, str | None]], dict[str, float]]


def cost(
    results: measure.Results,
    cloud: cloud_api.Cloud,
    servers: Sequence[str],
    frozen_at: Callable[[str], float],
    nobody_works: Callable[[], contextlib.AbstractContextManager[None]],
    rounds: int,
) -> None:
    """Compare requests, bytes and lateness while servers are quiesced.

    :param frozen_at: returns when the guest of a server was last frozen, in
        seconds of the epoch
    :param nobody_works: makes a context in which requests are accepted and
        wait, lest most of many servers be frozen before they are waited for
    """
    waits: dict[str, Wait] = {
        OURS: lambda asked: _ours(cloud, asked),
        SCRIPT: lambda asked: _each(cloud, asked),
    }
    found: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds):
        for way in [*waits] if number % 2 == 0 else [*waits][::-1]:
            with nobody_works():
                asked = {
                    id_: cloud.client.quiesce(id_, 600) for id_ in servers}
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
            if way == OURS:
                costs[LOOKS] = (traffic.requests - len(servers)) / duration
            for what, value in costs.items():
                found.setdefault(what, {}).setdefault(way, []).append(value)
            for id_ in servers:
                cloud.act(id_, 'unquiesce')
            cloud.wait_for_all('ACTIVE', servers)
    for what, series in found.items():
        results.compare(
            f'{len(servers)} servers', what, series, {(OURS, SCRIPT): None})
        results.details.setdefault(what, {})[str(len(servers))] = series


def growth(results: measure.Results, small: int, large: int) -> None:
    """Compare how often our client looks at few servers, and at many."""
    looks = results.details[LOOKS]
    pairs = zip(looks[str(large)][OURS], looks[str(small)][OURS], strict=False)
    results.add(
        f'{large} servers / {small}: {LOOKS}', 'ratio',
        [many / few for many, few in pairs], FLAT)


def _ours(
    cloud: cloud_api.Cloud, asked: Mapping[str, str | None]
) -> dict[str, float]:
    started = time.time()
    outcomes = cloud.client.wait_for(
        asked, states.QUIESCED, timeout=cloud_api.PATIENCE)
    for outcome in outcomes.values():
        if outcome.error:
            raise outcome.error
    return {
        id_: started + outcome.seconds for id_, outcome in outcomes.items()}


def _each(
    cloud: cloud_api.Cloud, asked: Mapping[str, str | None]
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
