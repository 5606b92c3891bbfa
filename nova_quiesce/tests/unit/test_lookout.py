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

import contextlib
from collections.abc import Iterator
from unittest import mock

from nova.db.main import models
import sqlalchemy as sa

from nova_quiesce import lookout
from nova_quiesce import marks
from nova_quiesce.tests.unit import world


class TestLookout(world.WorldTest):
    """Of ten servers, three at a time."""

    def setUp(self) -> None:
        super().setUp()
        self._patch(mock.patch.object(lookout, 'SLICE', 3))
        self.uuids = [self.uuid, *(self._boot() for _number in range(9))]
        self.lookout = lookout.Lookout()

    def look(self) -> list[int]:
        """Return the servers that a look finds, by number."""
        with self._target_cell(self._context(), world.CELL) as context:
            sight = self.lookout.look(context)
        return sorted(self.uuids.index(found) for found in (
            *(server.uuid for server in sight.servers), *sight.deleted))

    def mark_silently(self, number: int) -> None:
        """Mark a server, and nothing else: it is not saved."""
        with self.facade.writer.using(self._context()) as session:
            session.add(models.InstanceSystemMetadata(
                instance_uuid=self.uuids[number], key=marks.KEY, value='{}'))

    def quiesce_number(self, number: int) -> None:
        self.uuid = self.uuids[number]
        self.quiesce()
        self.deliver()

    @contextlib.contextmanager
    def read(self) -> Iterator[list[str]]:
        """Yield what is asked of the database meanwhile."""
        asked: list[str] = []

        def ask(_connection: object, _cursor: object, statement: str,
                *_rest: object) -> None:
            if statement != 'BEGIN':
                asked.append(statement)

        engine = self.facade.writer.get_engine()
        sa.event.listen(engine, 'before_cursor_execute', ask)
        try:
            yield asked
        finally:
            sa.event.remove(engine, 'before_cursor_execute', ask)

    def test_the_first_look_finds_them_all(self) -> None:
        for number in (0, 4, 9):
            self.mark_silently(number)
        self.assertEqual([0, 4, 9], self.look())

    def test_a_first_look_that_takes_long_goes_on_the_next_time(self) -> None:
        self.mark_silently(1)
        self.mark_silently(7)
        with mock.patch.object(lookout.cells, 'PATIENCE', -1):
            self.assertEqual([1], self.look())
            self.assertEqual([1], self.look())
            self.assertEqual([1, 7], self.look())

    def test_one_that_was_quiesced_since_is_found_at_once(self) -> None:
        self.look()
        for number in (8, 3):
            self.quiesce_number(number)
        self.assertEqual([3, 8], self.look())

    def test_one_that_is_known_is_found_however_long_it_is_quiesced(
            self) -> None:
        self.quiesce_number(9)
        self.look()
        for _time in range(9):
            self.advance(1000)
            self.assertEqual([9], self.look())

    def test_one_that_was_thawed_is_not_found_any_more(self) -> None:
        self.quiesce_number(9)
        self.look()
        self.unquiesce()
        self.deliver()
        self.assertEqual([], self.look())

    def test_one_that_loses_its_mark_stays_known(self) -> None:
        self.quiesce_number(9)
        self.look()
        self.advance(1000)
        with self.facade.writer.using(self._context()) as session:
            session.query(models.InstanceSystemMetadata).filter_by(
                key=marks.KEY).delete()
        self.assertEqual([9], self.look())

    def test_one_that_was_marked_in_silence_is_found_in_its_turn(self) -> None:
        self.look()
        self.advance(1000)
        self.mark_silently(9)
        found = [self.look() for _time in range(4)]
        self.assertEqual([[], [], [], [9]], found)

    def delete_number(self, number: int) -> None:
        self.uuid = self.uuids[number]
        self.instance.destroy()

    def test_one_that_is_deleted_in_a_request_is_found_at_first(self) -> None:
        self.quiesce_number(4)    # and that has an end
        self.uuid = self.uuids[9]
        self.quiesce()
        self.delete_number(9)
        self.delete_number(4)
        self.assertEqual([9], self.look())
        self.advance(1000)
        self.assertEqual([9], self.look())

    def test_so_is_one_of_which_nobody_knew(self) -> None:
        self.look()
        self.uuid = self.uuids[9]
        self.quiesce()
        self.delete_number(9)
        self.assertEqual([9], self.look())

    def test_so_is_each_of_many(self) -> None:
        self.look()
        for number in range(8):    # more than are asked for at once
            self.uuid = self.uuids[number]
            self.quiesce()
            self.delete_number(number)
        self.assertEqual([*range(8)], self.look())

    def test_rows_that_were_archived_cost_no_turn(self) -> None:
        with self.facade.writer.using(self._context()) as session:
            for number in range(1, 9):
                session.query(models.Instance).filter_by(
                    uuid=self.uuids[number]).delete()
        self.look()
        self.advance(1000)
        self.mark_silently(9)
        self.assertEqual([9], self.look())

    def test_a_later_look_asks_for_few(self) -> None:
        self.quiesce_number(9)
        for _time in range(2):
            self.look()
            self.advance(1000)
        with self.read() as asked:
            self.assertEqual([9], self.look())
        conditions = ['LIMIT']
        for condition in ('instances.id BETWEEN', 'instances.updated_at >=',
                          'instances.uuid IN'):
            conditions += [condition, condition]    # and of deleted servers
        self.assertEqual(len(conditions), len(asked))
        for condition, statement in zip(conditions, asked, strict=True):
            self.assertIn(condition, statement)
