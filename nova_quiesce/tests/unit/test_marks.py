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

import dataclasses
import unittest
from unittest import mock

from nova_quiesce import db
from nova_quiesce import marks
from nova_quiesce.tests.unit import fakes

LATE = 9999999999    # in the year 2286


class TestMarks(unittest.TestCase):

    def test_a_mark_is_read_as_it_was_written(self) -> None:
        for mark in (
                marks.Mark(request_id='req-1', asked_at=5),
                marks.UNREADABLE.but(claimed=True, retry_at=7),
                marks.Mark('req-1', 1, True, 2, 3, 'e1', True, 4, 5, 6)):
            with self.subTest(mark=mark):
                self.assertEqual(mark, marks.parse(marks.as_text(mark)))

    def test_dropping_leaves_everything_else(self) -> None:
        instance = fakes.Instance(system_metadata={'image_x': 'y'})
        marks.put(instance, marks.Mark('req-1'))
        marks.put(instance, None)
        marks.put(instance, None)
        self.assertIsNone(marks.get(instance))
        self.assertEqual({'image_x': 'y'}, instance.system_metadata)

    def test_a_mark_of_another_version_still_counts(self) -> None:
        for text in ('{"request_id": "req-1", "asked_at": "x", "new": 1}',
                     '{}', '[]', 'not JSON', 'null', '7', ''):
            with self.subTest(text=text):
                mark = marks.get(fakes.Instance(
                    system_metadata={marks.KEY: text}))
                assert mark is not None
                self.assertTrue(mark.maybe_frozen)

    def test_what_another_version_has_added_is_ignored(self) -> None:
        mark = marks.parse('{"request_id": "req-1", "new": 1}')
        self.assertEqual(marks.Mark('req-1'), mark)

    def test_what_this_version_has_written_is_understood(self) -> None:
        for mark in (marks.Mark('req-1', asked_at=5), marks.UNREADABLE,
                     marks.Mark('req-1', 1, True, 2, 3, 'e1', True, 4, 5, 6)):
            self.assertTrue(marks.is_understood(marks.as_text(mark)))
        for text in ('{"request_id":"req-1","new":1}', '{}', 'not JSON',
                     '{"request_id":"req-1","asked_at":"x"}'):
            self.assertFalse(marks.is_understood(text), text)

    def test_the_longest_mark_fits_its_column(self) -> None:
        mark = marks.Mark(
            request_id='req-6e65d1b3-0c9e-4bd4-a0ab-08e1ab8a2ee1',
            asked_at=LATE, maybe_frozen=True, unquiesce_after=LATE,
            deadline=LATE, thaw_id='1b8a2ee1', claimed=True,
            late_until=LATE, tries=99999, retry_at=LATE)
        for field in dataclasses.fields(marks.Mark):
            self.assertNotEqual(field.default, getattr(mark, field.name))
        self.assertLessEqual(len(marks.as_text(mark)), 255)

    def test_of_two_that_replace_a_mark_one_succeeds(self) -> None:
        stored = fakes.Instance().mark_as(request_id='req-1')
        second = fakes.Instance(
            system_metadata=dict(stored.system_metadata))
        with mock.patch.object(db, 'replace_mark', stored.replace_mark):
            self.assertTrue(marks.replace(
                stored, marks.Mark('req-1', claimed=True)))
            self.assertFalse(marks.replace(second, None))
        self.assertTrue(stored.mark and stored.mark.claimed)
