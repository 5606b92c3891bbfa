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

"""A clock that is set while a freeze is under way: what must come of it.

The stories that :mod:`test_state_machine` may or may not make up.
"""

import unittest

from nova_quiesce.tests.functional import world

#: seconds
DAY = 86400
#: seconds for which a late freeze has to be looked for
LOST_AFTER = 2 * world.RPC_TIMEOUT
#: seconds from one sweep to the next
INTERVAL = 5


class ClockTest(unittest.TestCase):
    """A server whose freeze is held up on the bus; its clock is set then."""

    def setUp(self) -> None:
        self.world = world.World()
        self.addCleanup(self.world.end)
        for host in ('one', 'two'):
            self.world.start_service(host)

    def freeze(self) -> None:
        """Ask for a freeze, which is held up."""
        self.world.guest.freeze = 'is held up on the bus'
        self.world.report()
        self.world.post({'quiesce': None})
        self.deliver()

    def deliver(self) -> None:
        """Have every message carried out."""
        while self.world.bus.messages:
            self.world.report()
            host = next(iter(self.world.services))
            self.world.services[host].take(
                self.world.bus.messages.pop(0)).go()
            self.world.check_mark()

    def sweep(self) -> None:
        """Have every service sweep, and what comes of it."""
        self.world.report()
        for service in self.world.services.values():
            service.sweep().go()
        self.deliver()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with a sweep now and then."""
        for _second in range(0, round(seconds), INTERVAL):
            self.world.advance(INTERVAL)
            self.sweep()

    def seconds_until_unmarked(self) -> float:
        """Let time pass until the server has no mark, and return how long."""
        begun = self.world.passed
        while self.world.is_marked():
            self.assertLess(self.world.passed, begun + 1000)
            self.pass_time(INTERVAL)
        return self.world.passed - begun

    def check_thawed(self, vm_state: str = 'error') -> None:
        """Assert that nothing is left to do."""
        self.assertFalse(self.world.guest.on_bus)
        self.assertFalse(self.world.guest.frozen)
        self.assertEqual((vm_state, None), self.world.states())
        self.world.check_end()


class TestLateFreeze(ClockTest):

    def test_it_is_thawed_whenever_the_clock_is_set(self) -> None:
        for seconds in (-DAY, DAY):
            for when in (0, 10):
                with self.subTest(seconds=seconds, when=when):
                    self.doCleanups()
                    self.setUp()
                    self.freeze()
                    self.pass_time(when)
                    self.world.set_clock(seconds)
                    self.sweep()
                    self.assertTrue(self.world.is_marked())
                    self.world.arrive()
                    self.world.check_mark()
                    self.seconds_until_unmarked()
                    self.check_thawed()

    def test_it_is_looked_for_no_longer_than_without_that(self) -> None:
        for seconds in (-DAY, -300, 0, DAY):
            with self.subTest(seconds=seconds):
                self.doCleanups()
                self.setUp()
                self.freeze()
                self.world.set_clock(seconds)
                self.assertLessEqual(self.seconds_until_unmarked(),
                                     LOST_AFTER + 2 * INTERVAL)
                self.check_thawed()

    def test_a_service_that_starts_then_looks_for_it_itself(self) -> None:
        self.freeze()
        for host in ('one', 'two'):
            self.world.kill(host)
        self.world.set_clock(DAY)
        self.world.start_service('three')
        self.sweep()
        self.assertTrue(self.world.is_marked())
        self.world.arrive()
        self.assertLessEqual(self.seconds_until_unmarked(),
                             LOST_AFTER + 2 * INTERVAL)
        self.check_thawed()

    def test_clocks_of_hosts_that_differ_do_not_hide_it(self) -> None:
        # The mark is of a host whose clock is a day late.
        self.world.set_clock(-DAY)
        self.freeze()
        self.world.set_clock(DAY)
        self.sweep()
        self.assertTrue(self.world.is_marked())
        self.world.arrive()
        self.seconds_until_unmarked()
        self.check_thawed()

    def test_a_server_that_was_stopped_meanwhile_stays_marked(self) -> None:
        self.freeze()
        self.set_vm_state('stopped')
        self.world.set_clock(DAY)
        self.sweep()
        self.assertTrue(self.world.is_marked())
        self.set_vm_state('active')
        self.world.arrive()
        self.world.check_mark()
        self.seconds_until_unmarked()
        self.check_thawed('active')

    def set_vm_state(self, vm_state: str) -> None:
        """Change the server's state as Nova would."""
        instance = self.world.instance()
        assert instance is not None
        instance.vm_state = vm_state
        instance.save()

    def test_a_message_too_late_for_a_service_stays_so(self) -> None:
        # A clock that is set back does not revive what was given up.
        self.world.post({'quiesce': None})
        message = self.world.bus.messages.pop()
        self.world.advance(LOST_AFTER)
        self.sweep()
        self.world.set_clock(-300)
        self.world.bus.messages.append(message)
        self.deliver()
        self.assertFalse(self.world.guest.frozen)
        self.seconds_until_unmarked()
        self.check_thawed()
