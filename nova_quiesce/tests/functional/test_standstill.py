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

"""A service that stands still in the middle of its work, and goes on later.

As a process that is stopped, or a virtual machine that is paused: the others
take it for dead, and do its work. What it does then must freeze no guest that
nobody knows of, and thaw none that was quiesced anew.
"""

import itertools
from collections.abc import Callable

from nova_quiesce.tests.functional import test_clocks
from nova_quiesce.tests.functional import world

#: seconds, of the world's configuration
SERVICE_DOWN_TIME = 60
#: steps after which it has claimed the request
CLAIMED = 2
#: steps after which it has seen that the request is still its own, and only
#: has to send the freeze
LOOKED = 4
#: steps after which the freeze has ended, and it has to look how
ANSWERED = 5


class TestStandstill(test_clocks.ClockTest):

    def begin(self, host: str, steps: int) -> world.Work:
        """Ask for a freeze, and let a service begin with it."""
        self.world.report()
        self.world.post({'quiesce': None})
        work = self.world.services[host].take(self.world.bus.messages.pop())
        work.go(steps)
        return work

    def quiesce(self) -> None:
        """Ask for a freeze, and let a service carry it out."""
        self.world.report()
        self.world.post({'quiesce': None})
        self.deliver()
        self.assertEqual(('quiesced', None), self.world.states())

    def stand_still(self, freeze: str, steps: int) -> world.Work:
        """Ask for a freeze, and let a service begin with it.

        :returns: what the service does when it goes on, after the others have
            thawed the guest for the last time
        """
        self.world.guest.freeze = freeze
        work = self.begin('one', steps)
        self.world.kill('one')
        self.seconds_until_unmarked()
        return work

    def test_wherever_it_was_no_guest_stays_frozen(self) -> None:
        for freeze in ('works', 'works, the answer is lost',
                       'is held up on the bus'):
            for steps in (CLAIMED, LOOKED):
                with self.subTest(freeze=freeze, steps=steps):
                    self.doCleanups()
                    self.setUp()
                    self.stand_still(freeze, steps).go()
                    self.world.check_mark()
                    if self.world.guest.on_bus:
                        self.world.arrive()
                        self.world.check_mark()
                    self.seconds_until_unmarked()
                    self.check_thawed()

    def test_it_looks_before_it_sends_the_freeze(self) -> None:
        self.stand_still('is lost on the bus', CLAIMED).go()
        self.assertEqual('is lost on the bus', self.world.guest.freeze)
        self.assertFalse(self.world.is_marked())
        self.check_thawed()

    def test_if_it_cannot_be_thawed_it_is_marked(self) -> None:
        work = self.stand_still('works', LOOKED)
        self.world.guest.thaw = 'is lost on the bus'
        work.go()
        self.assertTrue(self.world.guest.frozen)
        self.world.check_mark()
        self.seconds_until_unmarked()
        self.check_thawed()

    def test_a_later_request_does_not_take_it_for_somebody_elses(
            self) -> None:
        work = self.stand_still('works', LOOKED)
        self.world.post({'os-resetState': {'state': 'active'}})
        later = self.begin('two', LOOKED)
        work.go()
        later.go()
        self.world.check_mark()
        self.seconds_until_unmarked()
        self.check_thawed()

    def test_nor_does_it_thaw_that_ones_guest_if_its_own_failed(self) -> None:
        for freeze, clock in itertools.product(
                ('is lost on the bus', 'works, and says that it failed'),
                (0, -test_clocks.DAY)):
            with self.subTest(freeze=freeze, clock=clock):
                self.doCleanups()
                self.setUp()
                work = self.stand_still(freeze, ANSWERED)
                self.world.set_clock(clock)
                self.world.post({'os-resetState': {'state': 'active'}})
                self.deliver()
                self.quiesce()
                work.go()
                self.assertTrue(self.world.guest.frozen)
                self.world.check_mark()
                self.world.post({'unquiesce': None})
                self.deliver()
                self.seconds_until_unmarked()
                self.check_thawed('active')

    def test_a_thaw_that_it_has_not_begun_is_not_lost(self) -> None:
        self.world.kill('two')
        self.world.report()
        self.world.post({'quiesce': {'unquiesce_after': 10}})
        self.deliver()
        self.world.post({'unquiesce': None})
        service = self.world.services['one']
        work = service.take(self.world.bus.messages.pop())
        work.go(0)
        self.pass_time(20)    # it is asked for once more, of the same service
        self.assertTrue(self.world.guest.frozen)
        work.go()
        self.check_thawed('active')

    def check_deleted(self, then: Callable[[world.Work], None]) -> None:
        """Delete the server at each step of a quiesce: the request must end.

        :param then: what happens after that; it is given what was begun
        """
        for steps in range(6):
            with self.subTest(steps=steps):
                self.doCleanups()
                self.setUp()
                work = self.begin('one', steps)
                self.world.delete()
                then(work)
                self.world.check_end()

    def test_a_server_that_is_deleted_meanwhile_has_an_end(self) -> None:
        self.check_deleted(lambda work: work.go())

    def test_so_has_one_if_it_dies_as_well(self) -> None:
        def die(_work: world.Work) -> None:
            self.world.kill('one')
            self.pass_time(SERVICE_DOWN_TIME + 2 * test_clocks.INTERVAL)

        self.check_deleted(die)

    def test_so_has_one_if_all_die_and_come_back_much_later(self) -> None:
        def die(_work: world.Work) -> None:
            self.world.kill('one')
            self.world.kill('two')
            self.world.advance(86400)
            self.world.start_service('two')
            self.pass_time(2 * test_clocks.INTERVAL)

        self.check_deleted(die)

    def test_its_thaw_does_not_end_a_later_request(self) -> None:
        self.quiesce()
        self.world.post({'unquiesce': None})
        work = self.world.services['one'].take(self.world.bus.messages.pop())
        work.go(1)    # the claim is written; nothing was looked at since
        self.world.kill('one')
        self.seconds_until_unmarked()
        self.check_thawed('active')
        self.quiesce()
        work.go()
        self.assertTrue(self.world.guest.frozen)
        self.world.check_mark()
