# SPDX-License-Identifier: Apache-2.0

"""Records are read, rewritten, exported and imported."""

from __future__ import annotations

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.recovery import records
from osc_quiesce.tests.unit.recovery import backup_base


class CodeTest(backup_base.TestCase):
    def test_a_record_for_another_volume_differs_in_that_only(self) -> None:
        before = records.Record(
            'driver', {'id': 'b', 'volume_id': 'v', 'parent_id': 'p'}
        )
        after = records.decode(records.encode(before.for_volume('w')))
        self.assertEqual(
            {'id': 'b', 'volume_id': 'w', 'parent_id': 'p'}, after.data
        )
        self.assertEqual('driver', after.service)
        self.assertEqual('p', records.parent_id(after))

    def test_what_is_damaged_is_refused(self) -> None:
        for url in ('???', 'e30=', 'bnVsbA==', 'eyJ'):
            with self.subTest(url), self.assertRaisesRegex(
                errors.ApplicationError, 'is damaged'
            ):
                records.decode({'backup_service': 'x', 'backup_url': url})


class ExportTest(backup_base.TestCase):
    def test_a_missing_service_is_no_missing_backup(self) -> None:
        first = self.create().backups[0]['id']
        self.a.services = [{**backup_base.UP, 'status': 'disabled'}]
        with self.assertRaisesRegex(
                cloud_api.CloudError, 'no cinder-backup service') as caught:
            records.export(self.cloud, first)
        self.assertNotIsInstance(caught.exception, cloud_api.NotThere)
        with self.assertRaises(cloud_api.NotThere):
            records.export(self.cloud, 'another')


class ImportTest(backup_base.TestCase):
    def test_a_backup_that_is_known_already_is_no_error(self) -> None:
        made = self.create()
        record = records.export(self.cloud, made.backups[0]['id'])
        records.import_(self.other, record)
        records.import_(self.other, record)
        self.assertEqual([record.id], list(self.b.rows))

    def test_another_refusal_is_an_error(self) -> None:
        record = records.Record(backup_base.DRIVER, {'id': 'x'})
        self.b.refusals['POST /backups/import_record'] = [
            cloud_api.CloudError('is nonsense', 400)
        ]
        with self.assertRaisesRegex(cloud_api.CloudError, 'is nonsense'):
            records.import_(self.other, record)

    def test_the_request_to_see_whether_one_may_has_no_effect(self) -> None:
        self.assertTrue(records.may_import(self.other))
        self.assertEqual({}, self.b.rows)
        self.b.refusals['POST /backups/import_record'] = [
            cloud_api.CloudError('forbidden', 403)
        ]
        self.assertFalse(records.may_import(self.other))
