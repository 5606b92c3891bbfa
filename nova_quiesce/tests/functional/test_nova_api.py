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

"""nova-api dies, or stands still, in the middle of a request.

Wherever that is: deadlines are kept, and nothing stays in a task_state.
"""

from collections.abc import Iterator
from typing import Any

from nova_quiesce.tests.functional import test_clocks
from nova_quiesce.tests.functional import world

#: seconds
DEADLINE = 60
#: the search, and that a thaw may just have been asked for
LATE = 2 * test_clocks.INTERVAL


class TestNovaApi(test_clocks.ClockTest):

    def begun(self, body: dict[str, Any], quiesced: bool,
              ) -> Iterator[world.Work]:
        """Yield a request after each of its steps, in a new world.

        :param quiesced: whether the server is, with a deadline
        """
        steps = 0
        while True:
            with self.subTest(body=body, steps=steps):
                self.doCleanups()
                self.setUp()
                self.world.report()
                if quiesced:
                    self.world.post({'quiesce': {
                        'unquiesce_after': DEADLINE}})
                    self.deliver()
                    self.pass_time(DEADLINE - 5)
                work = self.world.ask(body)
                work.go(steps)
                if work.done:
                    break
                yield work
            steps += 1
        self.assertGreater(steps, 4)

    def test_a_deadline_is_kept_if_it_dies_while_asked_for_a_thaw(
            self) -> None:
        for work in self.begun({'unquiesce': None}, quiesced=True):
            self.world.kill_api(work)
            self.pass_time(5 + LATE)
            self.assertFalse(self.world.guest.frozen)
            self.check_thawed('active')

    def test_it_goes_on_after_the_deadline(self) -> None:
        for work in self.begun({'unquiesce': None}, quiesced=True):
            self.pass_time(5 + LATE)
            self.assertFalse(self.world.guest.frozen)
            work.go()
            self.deliver()
            self.pass_time(test_clocks.LOST_AFTER + LATE)
            self.check_thawed('active')

    def test_a_quiesce_that_it_dies_of_freezes_nothing_for_long(self) -> None:
        for work in self.begun({'quiesce': None}, quiesced=False):
            self.world.kill_api(work)
            self.pass_time(2 * test_clocks.LOST_AFTER + LATE)
            if self.world.states() == ('quiesced', None):
                # The message was sent; only the answer was not.
                self.world.post({'unquiesce': None})
                self.deliver()
            self.assertFalse(self.world.guest.frozen)
            self.assertFalse(self.world.is_marked())
            self.world.check_end()
