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
from unittest import mock

from nova_quiesce import db
from nova_quiesce import marks
from nova_quiesce import watch

LATE = marks.Mark('req-1', late_until=5000)


class TestWatch(unittest.TestCase):

    def setUp(self) -> None:
        self.now = 100.0
        patch = mock.patch('time.monotonic', lambda: self.now)
        patch.start()
        self.addCleanup(patch.stop)
        self.watch = watch.Watch()

    def note(self, **servers: marks.Mark | None) -> None:
        """Note what servers have which marks, 10 seconds later."""
        self.now += 10
        self.watch.note([
            db.WatchedServer(uuid, 'cmp1', 'error', None,
                             marks.as_text(mark) if mark else None)
            for uuid, mark in servers.items()])

    def test_it_counts_from_the_first_look(self) -> None:
        self.note(one=LATE)
        self.assertEqual(0, self.watch.seconds('one', LATE))
        self.note(one=LATE, two=LATE)
        self.now += 7
        self.assertEqual(17, self.watch.seconds('one', LATE))
        self.assertEqual(7, self.watch.seconds('two', LATE))

    def test_the_rest_of_the_mark_does_not_count(self) -> None:
        self.note(one=LATE)
        tried = LATE.but(tries=2, retry_at=9, thaw_id='e1', claimed=True)
        self.note(one=tried)
        self.assertEqual(10, self.watch.seconds('one', tried))

    def test_another_freeze_counts_anew(self) -> None:
        self.note(one=LATE)
        for other in (LATE.but(request_id='req-2'),
                      LATE.but(late_until=5001),
                      LATE.but(late_until=4000), LATE):
            with self.subTest(other=other):
                self.assertEqual(0, self.watch.seconds('one', other))
                self.note(one=other)
                self.assertEqual(0, self.watch.seconds('one', other))

    def test_what_was_not_seen_in_between_counts_anew(self) -> None:
        without: tuple[dict[str, Any], ...] = (
            {}, {'one': None}, {'one': LATE.but(late_until=0)})
        for servers in without:
            with self.subTest(servers=servers):
                self.note(one=LATE)
                self.note(**servers)
                self.assertEqual(0, self.watch.seconds('one', LATE))
                self.note(one=LATE)
                self.assertEqual(0, self.watch.seconds('one', LATE))

    def test_it_remembers_nothing_else(self) -> None:
        for number in range(1000):
            self.note(**{'server%d' % number: LATE, 'other': marks.Mark()})
        self.assertEqual(1, len(self.watch._since))
