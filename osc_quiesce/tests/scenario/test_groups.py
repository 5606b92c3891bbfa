# SPDX-License-Identifier: Apache-2.0

"""Several servers: in order, and all at once."""

import statistics
import time

from minicloud.guest import console

from osc_quiesce.tests.scenario import base

CYCLES = 5


class Clock:
    """Tells when something on a guest's console happened, on our clock.

    Guests count from their own start.  What one says arrives here at once or
    somewhat later, so the shortest way of many is the right one.
    """

    def __init__(self, guest: base.Guest) -> None:
        offsets = []
        for _look in range(8):
            before = len(guest.console.beats())
            while len(guest.console.beats()) == before:
                time.sleep(0.01)
            offsets.append(time.monotonic() - guest.console.beats()[-1])
        self.offset = min(offsets)

    def at(self, record: console.Record) -> float:
        """Return when a record was written."""
        return record.at + self.offset


def apart(cycles: list[list[float]], earlier: int, later: int) -> float:
    """Return how many seconds one guest was ahead of another, mostly."""
    return statistics.median(
        times[later] - times[earlier] for times in cycles)


class GroupTest(base.ScenarioTest):

    def test_frozen_in_order_and_thawed_in_reverse(self) -> None:
        guests = self.start('db', 'app', 'lb')
        clocks = [Clock(guest) for guest in guests]
        stopped: list[list[float]] = []
        resumed: list[list[float]] = []
        for _cycle in range(CYCLES):
            self.quiesce(*guests)
            # What was written last may still be on its way, until a heartbeat.
            for guest in guests:
                guest.beat()
            counts = [len(guest.console.records()) for guest in guests]
            asked = time.monotonic()
            self.unquiesce(*reversed(guests))
            for guest in guests:
                guest.assert_writing()
            records = [guest.console.records() for guest in guests]
            seen = list(zip(clocks, records, counts, strict=True))
            last = [clock.at(said[count - 1]) for clock, said, count in seen]
            first = [clock.at(said[count]) for clock, said, count in seen]
            self.assertGreater(min(first), asked)
            db, app, lb = (self.unquiesced_at(guest.id) for guest in guests)
            self.assertTrue(lb < app < db, (lb, app, db))
            stopped.append(last)
            resumed.append(first)
        # A writer may have to wait for the processor, and then another one is
        # seen to write before it: it is the middle of the cycles that counts.
        self.assertGreater(apart(stopped, 0, 1), 0, stopped)
        self.assertGreater(apart(stopped, 1, 2), 0, stopped)
        # One is frozen before the next is asked, which takes longer than this.
        self.assertGreater(apart(stopped, 0, 2), 0.15, stopped)
        # All are asked to thaw, one after the other, and waited for together:
        # two that were asked within milliseconds may overtake each other.
        self.assertGreater(apart(resumed, 2, 0), 0, resumed)

    def test_eight_at_once(self) -> None:
        guests = self.start(*('node%d' % number for number in range(1, 9)))
        names = ' '.join(guest.name for guest in guests)
        self.openstack('server quiesce %s' % names)
        for guest in guests:
            self.wait(guest.id, 'quiesced')
        for guest in guests:
            guest.assert_frozen()
        self.openstack('server unquiesce %s' % names)
        for guest in guests:
            self.wait(guest.id, 'active')
        for guest in guests:
            guest.assert_writing()
