# SPDX-License-Identifier: Apache-2.0

"""What Nova does to servers without a word."""

import dataclasses
from unittest import mock

import sqlalchemy as sa
from nova.db.main import models

from nova_quiesce import db
from nova_quiesce import exceptions
from nova_quiesce import schema
from nova_quiesce import store
from nova_quiesce import sweep
from nova_quiesce import times
from nova_quiesce.tests.unit import world


class TestFrozen(world.WorldTest):

    def test_a_server_that_stays_quiesced_is_left_alone(self) -> None:
        self.freeze()
        before = self.row
        self.sweep()
        after = self.row
        assert before is not None and after is not None
        self.assertEqual(before.due_at, after.due_at)
        self.tick()
        self.check_at_rest('quiesced', frozen=True)

    def test_one_that_does_not_is_due_at_once(self) -> None:
        self.freeze(unquiesce_after=3600)
        for vm_state in ('active', 'error'):
            with self.subTest(vm_state):
                self.set(vm_state=vm_state)
                self.sweep()
                self.assertEqual(1, len(self.store.due(10)))

    def test_one_made_due_for_nothing_keeps_its_deadline(self) -> None:
        for after in (0, 3600):
            with self.subTest(unquiesce_after=after):
                self.freeze(unquiesce_after=after)
                before = self.row
                assert before is not None
                self.store.make_due(self.uuid, store.State.FROZEN)
                self.tick()
                row = self.row
                assert row is not None
                self.assertIsNone(row.owner)
                if after:
                    self.assertAlmostEqual(
                        before.due_at or 0, row.due_at or 0, places=2)
                else:
                    self.assertIsNone(row.due_at)
                self.check_at_rest('quiesced', frozen=True)
                self.unquiesce()
                self.deliver()

    def test_they_are_read_in_portions(self) -> None:
        uuids = []
        for _number in range(5):
            self.freeze()
            uuids.append(self.uuid)
            self.uuid = self.boot()
        self.uuid = sorted(uuids)[-1]
        self.set(vm_state='active')
        read: list[int] = []
        states_of = db.states_of

        def look(context: object, wanted: list[str]) -> object:
            read.append(len(wanted))
            return states_of(context, wanted)

        with mock.patch.object(sweep, 'PORTION', 2), \
                mock.patch.object(db, 'states_of', look):
            self.sweep()
        self.assertEqual([2, 2, 1], read)
        self.assertEqual([self.uuid], [
            row.instance_uuid for row in self.store.due(10)])

    def test_while_none_is_frozen_it_reads_only_what_has_an_index(
            self) -> None:
        engine = self.cell_database.writer.get_engine()
        read: list[str] = []

        def note(_connection: object, _cursor: object, statement: str,
                 *_rest: object) -> None:
            if statement != 'BEGIN':
                read.append(statement)

        sa.event.listen(engine, 'before_cursor_execute', note)
        self.addCleanup(
            sa.event.remove, engine, 'before_cursor_execute', note)
        self.sweep()
        [statement] = read
        self.assertIn('WHERE instances.task_state IN', statement)
        self.assertIn('task_state', [
            index.columns.keys()[0]
            for index in models.Instance.__table__.indexes])

    def test_rows_of_another_cell_are_not_looked_at(self) -> None:
        self.freeze()
        self.set_row(cell_uuid='another')
        self.set(vm_state='active')
        self.sweep()
        self.assertEqual([], self.store.due(10))


class TestOrphans(world.WorldTest):

    def test_quiescing_without_a_row_is_active_again(self) -> None:
        request_id = self.quiesce()
        self.bus.messages.clear()
        with self.own_database.writer.get_engine().begin() as connection:
            connection.execute(schema.FREEZES.delete())
        self.live(6)
        self.assertEqual('Error', self.result_of(request_id))
        self.assertEqual([], self.guest.calls)
        self.check_at_rest('active')

    def test_unquiescing_without_a_row_is_thawed(self) -> None:
        self.freeze()
        self.unquiesce()
        self.bus.messages.clear()
        with self.own_database.writer.get_engine().begin() as connection:
            connection.execute(schema.FREEZES.delete())
        self.sweep()
        # Its owner sees it, too.
        [row] = self.store.find(project_id='project')
        self.assertEqual(self.uuid, row.instance_uuid)
        self.live(6 + times.ASK_PAUSE)
        self.assertEqual(['freeze', 'thaw'], self.guest.names)
        self.check_at_rest('active')

    def test_one_whose_thaw_ends_while_it_is_looked_at_is_none(self) -> None:
        self.freeze()
        self.unquiesce()
        in_task_state = db.in_task_state

        def look(*args: object) -> object:
            found = in_task_state(*args)  # type: ignore[arg-type]
            self.deliver('ctl2')
            return found

        with mock.patch.object(db, 'in_task_state', look):
            self.sweep()
        self.assertIsNone(self.row)
        self.quiesce()

    def test_one_that_is_asked_again_while_it_is_looked_at_is_none(
            self) -> None:
        self.quiesce()
        in_task_state, states_of = db.in_task_state, db.states_of

        def look(*args: object) -> object:
            found = in_task_state(*args)  # type: ignore[arg-type]
            self.guest.on_freeze = [world.answer(
                exceptions.CannotQuiesce(reason='no agent'))]
            self.deliver('ctl2')
            return found

        def look_again(context: object, uuids: list[str]) -> object:
            if uuids == [self.uuid]:
                self.quiesce()
            return states_of(context, uuids)

        with mock.patch.object(db, 'in_task_state', look), \
                mock.patch.object(db, 'states_of', look_again):
            self.sweep()
        self.assertEqual(('active', 'quiescing'), self.states)

    def test_one_with_a_row_is_none(self) -> None:
        self.quiesce()
        self.sweep()
        self.assertEqual(('active', 'quiescing'), self.states)
        self.deliver()
        self.unquiesce()
        self.sweep()
        self.assertEqual(('quiesced', 'unquiescing'), self.states)
        self.deliver()
        self.check_at_rest('active')

    def test_one_that_has_a_row_by_now_is_none(self) -> None:
        self.set(vm_state='quiesced', task_state='unquiescing')
        with mock.patch.object(store.Store, 'get', return_value=None):
            self.sweep('ctl1')
            self.sweep('ctl2')
        self.assertIsNotNone(self.row)


class TestOfNewerVersion(world.WorldTest):
    """A row in a state that only a newer version knows is left alone."""

    def setUp(self) -> None:
        super().setUp()
        self.request_id = self.freeze(unquiesce_after=60)
        self.set_row(state='resting')
        self.advance(61)

    def test_it_holds_up_no_other_one(self) -> None:
        first, before = self.uuid, self.row
        self.uuid = self.boot()
        self.freeze(unquiesce_after=60)
        self.live(61)
        self.assertEqual(('active', None), self.states)
        self.assertIsNone(self.row)
        self.uuid = first
        row = self.row
        assert row is not None and before is not None
        self.assertEqual(before, dataclasses.replace(row, now=before.now))
        self.assertEqual(('quiesced', None), self.states)

    def test_no_message_and_no_late_freeze_changes_it(self) -> None:
        before = self.row
        assert before is not None
        for name in ('quiesce_instance', 'unquiesce_instance'):
            with self.assertNoLogs('nova_quiesce'):
                getattr(self.services['ctl1'], name)(
                    self._context(), self.uuid, 'cmp1')
        self.store.reclaim(before)
        row = self.row
        assert row is not None
        self.assertEqual(before, dataclasses.replace(row, now=before.now))

    def test_a_request_waits_for_who_knows_it(self) -> None:
        with self.assertRaises(exceptions.NotClearedUp):
            self.unquiesce_request(self.request_id)
        self.set(vm_state='active')
        with self.assertRaises(exceptions.NotClearedUp):
            self.quiesce()

    def test_it_is_counted_and_reported(self) -> None:
        self.assertEqual({'resting': 1}, self.store.counts()[0])
        self.advance(times.LOG_INTERVAL)
        with self.assertLogs('nova_quiesce', 'INFO') as logged:
            self.sweep()
        self.assertIn("'resting': 1", logged.output[-1])
