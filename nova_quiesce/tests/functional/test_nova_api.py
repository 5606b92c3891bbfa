# SPDX-License-Identifier: Apache-2.0

"""nova-api dies, or stands still, in the middle of a request.

Wherever that is: deadlines are kept, and nothing stays in a task_state.
"""

import itertools
from collections.abc import Iterator
from typing import Any

from nova_quiesce import times
from nova_quiesce.tests.functional import test_standstill
from nova_quiesce.tests.functional import world

#: seconds
DEADLINE = 60
#: what was begun is found, and is done
LATE = times.ASK_PAUSE + 2 * test_standstill.INTERVAL


class TestNovaApi(test_standstill.StoryTest):

    def begun(self, body: dict[str, Any], quiesced: bool,
              ) -> Iterator[tuple[int, world.Job]]:
        """Yield the number of steps, and a request after so many of them.

        Each in a new world.

        :param quiesced: whether the server is, with a deadline
        """
        for steps in itertools.count():
            self.doCleanups()
            self.setUp()
            self.world.report()
            if quiesced:
                self.world.post({'quiesce': {'unquiesce_after': DEADLINE}})
                self.world.work()
                self.world.advance(DEADLINE - 5)
            job = self.world.ask(body)
            job.go(steps)
            if job.done:
                break
            yield steps, job
        self.assertGreater(steps, 3)  # row, state, and message

    def test_a_deadline_is_kept_if_it_dies_while_asked_for_a_thaw(
            self) -> None:
        for steps, job in self.begun({'unquiesce': None}, quiesced=True):
            with self.subTest(steps=steps):
                self.world.kill_api(job)
                self.pass_time(5 + LATE)
                self.check_thawed()

    def test_it_goes_on_after_the_deadline(self) -> None:
        for steps, job in self.begun({'unquiesce': None}, quiesced=True):
            with self.subTest(steps=steps):
                self.pass_time(5 + LATE)
                self.assertFalse(self.world.guest.frozen)
                job.go()
                self.pass_time(LATE)
                self.check_thawed()

    def test_a_quiesce_that_it_dies_of_freezes_nothing_for_long(self) -> None:
        for steps, job in self.begun({'quiesce': None}, quiesced=False):
            with self.subTest(steps=steps):
                self.world.kill_api(job)
                self.pass_time(times.ASK_GRACE + LATE)
                if self.world.states() == ('quiesced', None):
                    # It was found without its message.
                    self.assertTrue(self.world.guest.frozen)
                    self.world.post({'unquiesce': None})
                    self.world.work()
                self.check_thawed()

    def test_what_was_not_answered_can_be_asked_again(self) -> None:
        request_id = 'req-00000000-0000-0000-0000-000000000001'
        body = {'quiesce': {'request_id': request_id}}
        for steps, job in self.begun(body, quiesced=False):
            with self.subTest(steps=steps):
                self.world.kill_api(job)
                self.assertEqual(202, self.world.post(body))
                self.pass_time(LATE)
                self.assertEqual(('quiesced', None), self.world.states())
                self.assertEqual(202, self.world.post(body))
                self.assertEqual(202, self.world.post(
                    {'unquiesce': {'request_id': request_id}}))
                self.world.work()
                self.assertEqual(409, self.world.post(body))
                self.check_thawed()
