# SPDX-License-Identifier: Apache-2.0

"""Backup sets are found and judged by their metadata."""

from __future__ import annotations

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import marks
from osc_quiesce.tests.unit.recovery import backup_base


class TestCase(backup_base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.made = self.create()
        self.first = self.a.rows[self.made.backups[0]['id']]


class StateTest(TestCase):
    def state(self) -> str:
        return self.find().state

    def test_a_set_without_one_of_its_backups_is_incomplete(self) -> None:
        del self.a.rows[self.first['id']]
        self.assertEqual(backup_sets.INCOMPLETE, self.state())
        self.assertIsNone(
            self.find().servers[0]['volumes'][0]['backup_id']
        )

    def test_a_set_with_a_backup_in_error_is_incomplete(self) -> None:
        self.first['status'] = 'error'
        self.assertEqual(backup_sets.INCOMPLETE, self.state())

    def test_a_set_that_is_being_restored_is_consistent(self) -> None:
        self.first['status'] = 'restoring'
        self.assertEqual(backup_sets.CONSISTENT, self.state())

    def test_a_set_of_which_a_proof_hides_one_is_consistent(self) -> None:
        self.first['status'] = 'error'
        self.first['metadata'].update(metadata.ours({marks.HIDDEN_BY: 'x'}))
        self.assertEqual(backup_sets.CONSISTENT, self.state())

    def test_one_that_is_being_deleted_is_not_hidden_any_more(self) -> None:
        self.first['metadata'].update(metadata.ours({marks.HIDDEN_BY: 'x'}))
        for status in 'deleting', 'error_deleting':
            self.first['status'] = status
            self.assertEqual(backup_sets.INCOMPLETE, self.state())

    def test_a_set_with_a_backup_that_was_not_finished_is_incomplete(
        self,
    ) -> None:
        for status in 'available', 'restoring', 'error':
            self.first.update(status=status, object_count=None)
            self.first['metadata'].update(
                metadata.ours({marks.HIDDEN_BY: 'x'}))
            self.assertEqual(backup_sets.INCOMPLETE, self.state())

    def test_a_set_that_is_not_sealed_is_pending(self) -> None:
        self.first['metadata'].update(metadata.ours({'sealed': ''}))
        self.assertEqual(backup_sets.PENDING, self.state())

    def test_a_set_of_which_one_says_inconsistent_is(self) -> None:
        backup_sets.mark(
            self.cloud, [self.first], {'sealed': backup_sets.INCONSISTENT}
        )
        self.assertEqual(backup_sets.INCONSISTENT, self.state())

    def test_damaged_metadata_hide_no_set(self) -> None:
        for row in self.a.rows.values():
            for key in ('order', 'volumes', 'servers.0', 'snapshot_id'):
                row['metadata'][metadata.PREFIX + key] = 'damaged'
        found = self.find()
        self.assertEqual(0, found.volumes)
        self.assertEqual([], found.servers)

    def test_of_two_backups_of_a_snapshot_the_good_one_counts(self) -> None:
        self.a.rows['double'] = {
            **self.first,
            'id': 'double',
            'status': 'error',
            'created_at': '1999',
        }
        self.a.parents['double'] = None
        found = self.find()
        self.assertEqual(backup_sets.CONSISTENT, found.state)
        self.assertEqual(['double'], [each['id'] for each in found.others])


class FindTest(TestCase):
    def test_a_set_of_another_format_is_none(self) -> None:
        for row in self.a.rows.values():
            row['metadata'].update(metadata.ours({'format': '3'}))
        self.assertEqual([], backup_sets.find_all(self.cloud))

    def test_a_set_that_is_not_there_is_named(self) -> None:
        with self.assertRaisesRegex(backup_sets.NoSuchSet, '"sunday"'):
            self.find('sunday')

    def test_sets_are_listed_from_the_oldest_on(self) -> None:
        self.take('tuesday')
        self.create('tuesday')
        self.assertEqual(
            ['monday', 'tuesday'],
            [each.name for each in backup_sets.find_all(self.cloud)],
        )

    def test_two_sets_of_one_name_are_told_apart_by_id(self) -> None:
        self.a.rows['x'] = {
            **self.first,
            'id': 'x',
            'metadata': {
                **self.first['metadata'],
                **metadata.ours({'backup_set_id': 'other'}),
            },
        }
        with self.assertRaisesRegex(errors.ApplicationError, 'other'):
            self.find()
        self.assertEqual(self.made.id, self.find(self.made.id).id)

    def test_backups_of_others_are_left_alone(self) -> None:
        self.a.rows['x'] = {**self.first, 'id': 'x', 'metadata': {}}
        self.assertEqual(1, len(backup_sets.find_all(self.cloud)))


class MarkTest(TestCase):
    def test_what_is_there_already_is_kept(self) -> None:
        self.first['metadata']['mine'] = 'x'
        backup_sets.mark(self.cloud, [self.first], {'drill': 'ok'})
        self.assertEqual('x', self.first['metadata']['mine'])
        self.assertEqual('ok', metadata.get(self.first, 'drill'))
        self.assertEqual('monday', metadata.get(self.first, 'backup_set'))

    def test_many_are_read_in_one_listing(self) -> None:
        rows = [{**self.first, 'id': f'x{n}', 'metadata': {'mine': f'{n}'}}
                for n in range(20)]
        self.a.rows.update({each['id']: each for each in rows})
        before = len(self.a.log)
        backup_sets.mark(self.cloud, rows, {'drill': 'ok'})
        self.assertEqual([], [
            line for line in self.a.log[before:]
            if line.startswith('GET /backups/x')])
        for number, row in enumerate(rows):
            self.assertEqual(f'{number}', row['metadata']['mine'])
            self.assertEqual('ok', metadata.get(row, 'drill'))

    def test_one_that_is_gone_does_not_keep_the_others_from_it(self) -> None:
        rows = [{**self.first, 'id': f'x{n}', 'metadata': {}}
                for n in range(70)]
        self.a.rows.update({each['id']: each for each in rows[1:]})
        with self.assertRaises(cloud_api.NotThere):
            backup_sets.mark(self.cloud, rows, {'drill': 'ok'})
        self.assertEqual({'ok'}, {
            metadata.get(each, 'drill') for each in rows[1:]})

    def test_nothing_is_written_that_is_there(self) -> None:
        before = len(self.a.log)
        backup_sets.mark(
            self.cloud, [self.first], {'sealed': backup_sets.CONSISTENT}
        )
        self.assertEqual(
            [f'GET /backups/{self.first["id"]}'], self.a.log[before:]
        )


class OwnerTest(TestCase):
    def test_what_was_made_here_is_known(self) -> None:
        self.assertFalse(
            backup_sets.is_of_another_site(self.made, self.cloud)
        )

    def test_another_project_is_another_site(self) -> None:
        self.assertTrue(backup_sets.is_of_another_site(self.made, self.other))

    def test_another_volume_is_another_site(self) -> None:
        self.first['volume_id'] = 'target'
        self.assertTrue(
            backup_sets.is_of_another_site(self.find(), self.cloud)
        )
