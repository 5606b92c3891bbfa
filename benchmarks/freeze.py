# SPDX-License-Identifier: Apache-2.0

"""What our layers add: the gap of a guest's writer, and what the API shows.

The writer of minicloud's guest appends a record every 50 ms and says so on
its console, with the time of the guest's own clock.
"""

from __future__ import annotations

import time

from benchmarks import cloud as cloud_api
from benchmarks import measure

from minicloud.guest import console as guest_console
from minicloud.layout import Layout

from osc_quiesce import group

#: seconds for which the block holds the server frozen
HOLD = 1.0
GUEST, SHOWN, BLOCK = (
    'gap of the writer', 'seconds of the report', 'seconds of the block')


def console_of(layout: Layout, server: str) -> guest_console.Console:
    """Return the console of a guest."""
    return guest_console.Console(layout.console_of(server))


def wait_for_writer(console: guest_console.Console) -> None:
    """Wait until a guest has started and writes."""
    deadline = time.monotonic() + cloud_api.PATIENCE
    while len(console.records()) < 20:
        if time.monotonic() > deadline:
            raise RuntimeError(f'nothing is written: {console.path}')
        time.sleep(1)


def gap(
    results: measure.Results,
    cloud: cloud_api.Cloud,
    server: str,
    console: guest_console.Console,
    rounds: int,
) -> None:
    """Compare what the guest felt with what the caller was told.

    """
    disk = console.records()[-1].disk
    series: dict[str, list[float]] = {GUEST: [], SHOWN: [], BLOCK: []}
    for _number in range(rounds):
        before = len(console.records(disk))
        with group.quiesced(
            cloud.client, [[server]], unquiesce_after=60
        ) as frozen:
            time.sleep(HOLD)
        time.sleep(1)
        times = [record.at for record in console.records(disk)[before - 1:]]
        series[GUEST].append(
            max(b - a for a, b in zip(times, times[1:], strict=False)))
        report = frozen.report
        assert report.complete is not None
        series[SHOWN].append(report.servers[0].seconds or 0)
        series[BLOCK].append(report.complete)
    results.compare(
        f'held for {HOLD:g} s', 's', series,
        {(SHOWN, GUEST): None, (BLOCK, GUEST): None})
