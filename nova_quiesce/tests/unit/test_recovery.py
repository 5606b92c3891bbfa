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

import unittest
from typing import Any

from nova.compute import task_states
from nova.compute import vm_states

from nova_quiesce import marks
from nova_quiesce import recovery
from nova_quiesce.recovery import Verdict
from nova_quiesce.recovery import Worker

NOW = 1_800_000_000
AGO = NOW - 100_000
TIMEOUT = 60
LOST = 2 * TIMEOUT

#: what it is called, vm_state, task_state, mark, worker, verdict
TABLE: tuple[tuple[str, str, str | None, dict[str, int], Worker, Verdict],
             ...] = (
    ('quiesced, without a deadline',
     'quiesced', None, {}, Worker.NOBODY, Verdict.WAIT),
    ('quiesced, before the deadline',
     'quiesced', None, {'deadline': NOW + 1, 'unquiesce_after': 10},
     Worker.NOBODY, Verdict.WAIT),
    ('quiesced, at the deadline',
     'quiesced', None, {'deadline': NOW, 'unquiesce_after': 10},
     Worker.NOBODY, Verdict.THAW_OVERDUE),
    ('quiesced, the clock was set back since',
     'quiesced', None, {'deadline': NOW + 3600, 'unquiesce_after': 10},
     Worker.NOBODY, Verdict.THAW_OVERDUE),
    ('quiesced, with a mark of the time before',
     'quiesced', None, {'retry_at': NOW + 100}, Worker.NOBODY,
     Verdict.THAW_AGAIN),

    ('active after a reset: at once',
     'active', None, {}, Worker.NOBODY, Verdict.THAW_AGAIN),
    ('active, the deadline means nothing',
     'active', None, {'deadline': NOW + 5, 'unquiesce_after': 10},
     Worker.NOBODY, Verdict.THAW_AGAIN),
    ('in error, before the next attempt',
     'error', None, {'retry_at': NOW + 1}, Worker.NOBODY, Verdict.WAIT),
    ('in error, at the next attempt',
     'error', None, {'retry_at': NOW}, Worker.NOBODY, Verdict.THAW_AGAIN),
    ('in error, the clock was set back since',
     'error', None, {'retry_at': NOW + 3600}, Worker.NOBODY,
     Verdict.THAW_AGAIN),
    ('rescued', 'rescued', None, {}, Worker.NOBODY, Verdict.THAW_AGAIN),
    ('resized', 'resized', None, {}, Worker.NOBODY, Verdict.THAW_AGAIN),

    ('paused', 'paused', None, {}, Worker.NOBODY, Verdict.WAIT),
    ('suspended', 'suspended', None, {}, Worker.NOBODY, Verdict.WAIT),
    ('building', 'building', None, {}, Worker.NOBODY, Verdict.WAIT),

    ('stopped', 'stopped', None, {}, Worker.NOBODY, Verdict.FORGET),
    ('shelved', 'shelved', None, {}, Worker.NOBODY, Verdict.FORGET),
    ('offloaded', 'shelved_offloaded', None, {}, Worker.NOBODY,
     Verdict.FORGET),
    ('soft-deleted', 'soft-delete', None, {}, Worker.NOBODY, Verdict.FORGET),
    ('a freeze under way',
     'active', 'quiescing', {'retry_at': 1}, Worker.ALIVE, Verdict.WAIT),
    ('a freeze whose service has died',
     'active', 'quiescing', {'retry_at': NOW + 9}, Worker.DEAD,
     Verdict.INTERRUPT),
    ('a freeze that a busy service may still take up',
     'active', 'quiescing', {'retry_at': NOW + 1}, Worker.NOBODY,
     Verdict.WAIT),
    ('a freeze that nobody has taken up',
     'active', 'quiescing', {'retry_at': NOW}, Worker.NOBODY,
     Verdict.INTERRUPT),

    ('a thaw under way',
     'quiesced', 'unquiescing', {'retry_at': 1}, Worker.ALIVE, Verdict.WAIT),
    ('a thaw whose service has died',
     'quiesced', 'unquiescing', {'retry_at': NOW + 9}, Worker.DEAD,
     Verdict.RESUME),
    ('a thaw that a busy service may still take up',
     'quiesced', 'unquiescing', {'retry_at': NOW + 1}, Worker.NOBODY,
     Verdict.WAIT),
    ('a thaw, past the deadline, whose message may be lost',
     'quiesced', 'unquiescing',
     {'deadline': NOW, 'retry_at': NOW + 2 * TIMEOUT - 2},
     Worker.NOBODY, Verdict.RESUME),
    ('a thaw, past the deadline, that may be taken up just now',
     'quiesced', 'unquiescing',
     {'deadline': NOW, 'retry_at': NOW + 2 * TIMEOUT - 1},
     Worker.NOBODY, Verdict.WAIT),
    ('a thaw before the deadline',
     'quiesced', 'unquiescing',
     {'deadline': NOW + 1, 'unquiesce_after': 9, 'retry_at': NOW + 9},
     Worker.NOBODY, Verdict.WAIT),
    ('a thaw, past the deadline, that a service has just begun',
     'quiesced', 'unquiescing',
     {'deadline': 1, 'claimed': True, 'retry_at': NOW + 9},
     Worker.NOBODY, Verdict.WAIT),
    ('a thaw, past the deadline, that is under way',
     'quiesced', 'unquiescing', {'deadline': 1, 'retry_at': NOW + 9},
     Worker.ALIVE, Verdict.WAIT),
    ('a thaw that nobody has taken up',
     'error', 'unquiescing', {'retry_at': NOW}, Worker.NOBODY,
     Verdict.RESUME),

    ('being deleted while quiesced',
     'quiesced', 'deleting', {'deadline': 1}, Worker.NOBODY, Verdict.WAIT),
    ('being rebooted', 'error', 'rebooting_hard', {}, Worker.NOBODY,
     Verdict.WAIT),
    ('being migrated', 'active', 'migrating', {}, Worker.NOBODY,
     Verdict.WAIT),
)


def judge(vm_state: str, task_state: str | None, mark: dict[str, Any],
          worker: Worker = Worker.NOBODY, host: str | None = 'cmp1',
          watched: float = 0.0) -> Verdict:
    return recovery.judge(
        recovery.Sight(marks.Mark('req-1', **mark), vm_state, task_state,
                       host, worker, watched), NOW, TIMEOUT)


class TestJudge(unittest.TestCase):

    def test_table(self) -> None:
        for name, vm_state, task_state, mark, worker, verdict in TABLE:
            with self.subTest(name):
                self.assertIs(verdict,
                              judge(vm_state, task_state, mark, worker))

    def test_a_server_without_a_host_has_no_guest(self) -> None:
        self.assertIs(Verdict.FORGET, judge('error', None, {}, host=None))

    def test_nova_is_never_interfered_with(self) -> None:
        for name, task_state in vars(task_states).items():
            if name.isupper() and isinstance(task_state, str):
                for vm_state in ('quiesced', 'active', 'error', 'stopped'):
                    with self.subTest(task_state=task_state):
                        self.assertIs(Verdict.WAIT, judge(
                            vm_state, task_state, {'deadline': 1}))

    def test_a_mark_goes_or_is_acted_on_in_every_state_at_last(self) -> None:
        waits = {state for name, state in vars(vm_states).items()
                 if name.isupper() and isinstance(state, str)
                 and judge(state, None, {}) is Verdict.WAIT}
        self.assertEqual({'paused', 'suspended', 'building'}, waits)


class TestPauses(unittest.TestCase):

    def test_they_grow_up_to_five_minutes(self) -> None:
        self.assertEqual(
            [5, 10, 20, 40, 80, 160, 300, 300],
            [recovery.retry_pause(tries) for tries in range(1, 9)])
        self.assertEqual(300, recovery.retry_pause(10_000))


#: what it is called, vm_state, task_state, mark, verdict before and after
#: this service has known for long enough that a freeze may come late
LATE: tuple[tuple[str, str, str | None, dict[str, int], Verdict, Verdict],
            ...] = (
    ('stopped: it may come after a start',
     'stopped', None, {'late_until': NOW},
     Verdict.WAIT, Verdict.FORGET),
    ('stopped, and nova-compute does not answer',
     'stopped', None, {'late_until': marks.FOREVER, 'tries': 3},
     Verdict.WAIT, Verdict.FORGET),
    ('thawed',
     'error', None, {'late_until': NOW + 5, 'retry_at': NOW + 5},
     Verdict.WAIT, Verdict.SETTLE),
    ('thawed, and the clock was set forward since',
     'error', None, {'late_until': AGO, 'retry_at': AGO},
     Verdict.WAIT, Verdict.SETTLE),
    ('thawed, and the clock was set back since',
     'error', None, {'late_until': NOW + 9999, 'retry_at': NOW + 9999},
     Verdict.WAIT, Verdict.SETTLE),
    ('reset, and never thawed',
     'active', None, {'late_until': NOW + 5},
     Verdict.THAW_AGAIN, Verdict.SETTLE),
    ('not thawed, and to be tried again',
     'error', None, {'late_until': AGO, 'retry_at': NOW, 'tries': 1},
     Verdict.THAW_AGAIN, Verdict.THAW_AGAIN),
    ('nova-compute does not answer',
     'error', None,
     {'late_until': marks.FOREVER, 'retry_at': NOW + 1, 'tries': 1},
     Verdict.WAIT, Verdict.WAIT),
    ('quiesced anew',
     'quiesced', None, {'late_until': NOW + 5},
     Verdict.WAIT, Verdict.SETTLE),
    ('quiesced anew, nova-compute had not answered before',
     'quiesced', None, {'late_until': marks.FOREVER},
     Verdict.WAIT, Verdict.WAIT),
    ('quiesced anew, past the deadline',
     'quiesced', None, {'late_until': NOW + 5, 'deadline': NOW},
     Verdict.THAW_OVERDUE, Verdict.THAW_OVERDUE),
    ('paused',
     'paused', None, {'late_until': NOW}, Verdict.WAIT, Verdict.WAIT),
    ('Nova is at work on it',
     'error', 'rebooting', {'late_until': NOW}, Verdict.WAIT, Verdict.WAIT),
    ('being thawed',
     'error', 'unquiescing', {'late_until': NOW, 'retry_at': NOW + 1},
     Verdict.WAIT, Verdict.WAIT),
)


class TestLateFreeze(unittest.TestCase):

    def test_table(self) -> None:
        for name, vm_state, task_state, mark, before, after in LATE:
            for watched, verdict in ((LOST - 1, before), (LOST, after)):
                with self.subTest(name, watched=watched):
                    self.assertIs(verdict, judge(
                        vm_state, task_state, mark, watched=watched))

    def test_a_start_of_the_guest_before_that_does_not_count(self) -> None:
        for late_until, watched, asked_at in (
                (AGO, LOST, NOW), (NOW + 50, LOST, NOW + 50),
                (AGO, LOST + 7.9, NOW - 7)):
            self.assertEqual(
                marks.Mark('req-1', asked_at=asked_at, tries=2),
                recovery.settled(marks.Mark(
                    'req-1', asked_at=AGO, tries=2, late_until=late_until),
                    NOW, watched, TIMEOUT))

    def test_a_mark_of_a_beginning_is_told_from_all_later_ones(self) -> None:
        asked = marks.Mark('req-1', AGO, retry_at=AGO + LOST)
        claimed = asked.but(claimed=True, late_until=AGO + LOST + 1)
        for mark, told in (
                (asked, True), (claimed, True),
                (claimed.but(late_until=asked.retry_at), True),
                (asked.but(maybe_frozen=True, late_until=AGO), True),
                (asked.but(retry_at=0), False),
                (asked.but(late_until=NOW, retry_at=NOW), False),
                (claimed.but(tries=1), False),
                (asked.but(thaw_id='1b8a2ee1'), False)):
            with self.subTest(mark=mark):
                self.assertEqual(told, recovery.is_of_a_beginning(mark))

    def test_a_mark_of_a_beginning_proves_no_thaw(self) -> None:
        for late_until in (AGO + LOST, AGO + LOST + 1):
            mark = marks.Mark('req-1', AGO, claimed=True,
                              retry_at=AGO + LOST, late_until=late_until)
            for now, verdict in ((AGO + LOST - 1, recovery.Verdict.WAIT),
                                 (AGO + LOST, recovery.Verdict.THAW_AGAIN)):
                self.assertEqual(verdict, recovery.judge(
                    recovery.Sight(mark, 'error', None, 'host', watched=LOST),
                    now, TIMEOUT))

    def test_until_nova_compute_answers_nobody_can_say(self) -> None:
        for late_until, until in ((0, NOW + LOST), (NOW + 9999, NOW + LOST),
                                  (marks.FOREVER, marks.FOREVER)):
            self.assertEqual(until, recovery.late_until(
                marks.Mark(late_until=late_until), NOW, TIMEOUT))
