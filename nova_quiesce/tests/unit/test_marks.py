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

from nova_quiesce import marks
from nova_quiesce.tests.unit import fakes


class TestMarks(unittest.TestCase):

    def test_a_mark_names_the_request(self) -> None:
        instance = fakes.Instance(system_metadata={'image_x': 'y'})
        marks.put(instance, 'req-1')
        mark = marks.get(instance)
        assert mark is not None
        self.assertEqual('req-1', mark.request_id)
        self.assertFalse(mark.maybe_frozen)

    def test_a_second_mark_remembers_the_first(self) -> None:
        instance = fakes.Instance()
        marks.put(instance, 'req-1')
        marks.put(instance, 'req-2')
        mark = marks.get(instance)
        assert mark is not None
        self.assertTrue(mark.maybe_frozen)

    def test_dropping_leaves_everything_else(self) -> None:
        instance = fakes.Instance(system_metadata={'image_x': 'y'})
        marks.put(instance, 'req-1')
        marks.drop(instance)
        marks.drop(instance)
        self.assertIsNone(marks.get(instance))
        self.assertEqual({'image_x': 'y'}, instance.system_metadata)

    def test_a_mark_of_another_version_still_counts(self) -> None:
        for text in ('{"request_id": "req-1", "asked_at": "x", "new": 1}',
                     '{}', '[]', 'not JSON'):
            with self.subTest(text=text):
                mark = marks.get(fakes.Instance(
                    system_metadata={marks.KEY: text}))
                assert mark is not None
                self.assertTrue(mark.maybe_frozen)

    def test_a_mark_fits_its_column(self) -> None:
        instance = fakes.Instance()
        marks.put(instance, 'req-6e65d1b3-0c9e-4bd4-a0ab-08e1ab8a2ee1')
        self.assertLessEqual(len(instance.system_metadata[marks.KEY]), 255)
