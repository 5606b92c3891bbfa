# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Several servers: in order, and all at once."""

import time

from minicloud.guest import console

from osc_quiesce.tests.scenario import base


class Clock:
    """Tells when something on a guest's console happened, on our clock.

    Guests count from their own start.  What one says arrives here at once or
    somewhat later, so the shortest way of many is the right one.
    """

    def __init__(self, guest: base.Guest) -> None:
        offsets = []
        for _look in range(4):
            before = len(guest.console.beats())
            while len(guest.console.beats()) == before:
                time.sleep(0.01)
            offsets.append(time.monotonic() - guest.console.beats()[-1])
        self.offset = min(offsets)

    def at(self, record: console.Record) -> float:
        """Return when a record was written."""
        return record.at + self.offset


class GroupTest(base.ScenarioTest):

    def test_frozen_in_order_and_thawed_in_reverse(self) -> None:
        guests = self.start('db', 'app', 'lb')
        clocks = [Clock(guest) for guest in guests]
        self.quiesce(*guests)
        for guest in guests:
            guest.assert_frozen()
        # Not before: what was written last may still be on its way.
        counts = [len(guest.console.records()) for guest in guests]
        self.unquiesce(*reversed(guests))
        for guest in guests:
            guest.assert_writing()
        stopped, resumed = [], []
        for guest, clock, count in zip(guests, clocks, counts, strict=True):
            records = guest.console.records()
            stopped.append(clock.at(records[count - 1]))
            resumed.append(clock.at(records[count]))
        self.assertEqual(sorted(stopped), stopped)
        self.assertEqual(sorted(resumed, reverse=True), resumed)
        # Not side by side: one is frozen before the next is asked.
        for earlier, later in zip(stopped, stopped[1:], strict=False):
            self.assertGreater(later - earlier, 0.1)

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
