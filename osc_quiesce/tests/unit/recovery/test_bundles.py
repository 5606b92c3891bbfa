# SPDX-License-Identifier: Apache-2.0

"""A set becomes known elsewhere by a file, even after its site is lost."""

from __future__ import annotations

import json
import os
import pathlib
import tempfile
from typing import Any
from unittest import mock

from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import bundles
from osc_quiesce.recovery import importing
from osc_quiesce.recovery import registration
from osc_quiesce.tests.unit.recovery import backup_base


class TestCase(backup_base.TestCase):
    """Sets monday and tuesday, and a bundle of tuesday."""

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.path = str(self.folder / 'tuesday.json')
        self.create()
        self.take('tuesday')
        self.made = self.create('tuesday')
        self.save()

    def save(self) -> None:
        bundles.save(
            bundles.make(self.cloud, self.find('tuesday'), self.timer),
            self.path,
        )

    def site_b(self, bundle: bundles.Bundle) -> registration.Destination:
        return registration.Destination(
            self.other, 'this site', None, bundle.read, self.timer
        )

    def importing(self) -> tuple[importing.Plan, registration.Destination]:
        bundle = bundles.load(self.path)
        destination = self.site_b(bundle)
        return importing.plan(bundle, destination), destination


class FileTest(TestCase):
    def test_it_has_the_set_and_all_ancestors(self) -> None:
        bundle = bundles.load(self.path)
        self.assertEqual(set(self.a.rows), set(bundle.by_id))
        self.assertEqual(self.made.id, bundle.backup_set.id)
        self.assertEqual(backup_sets.CONSISTENT, bundle.backup_set.state)
        self.assertEqual(self.made.servers, bundle.backup_set.servers)

    def test_nobody_else_may_read_it(self) -> None:
        self.assertEqual(0o600, os.stat(self.path).st_mode & 0o777)

    def test_an_older_one_is_replaced(self) -> None:
        bundles.check_path(self.path)
        self.save()
        self.assertEqual(['tuesday.json'], os.listdir(self.folder))

    def test_another_file_is_not(self) -> None:
        path = self.folder / 'thesis'
        path.write_text('much work')
        with self.assertRaisesRegex(errors.ApplicationError, 'no bundle'):
            bundles.check_path(str(path))

    def test_a_folder_that_is_not_there_is_told_early(self) -> None:
        with self.assertRaisesRegex(errors.ApplicationError, 'no folder'):
            bundles.check_path(str(self.folder / 'x' / 'y'))

    def test_what_is_damaged_is_refused(self) -> None:
        good = json.loads(pathlib.Path(self.path).read_text())
        for text in (
            '',
            '[]',
            '{}',
            json.dumps({**good, 'format': 99}),
            json.dumps({**good, 'records': None}),
            json.dumps({**good, 'records': [1]}),
            json.dumps({**good, 'records': [{'backup_url': '?'}]}),
        ):
            pathlib.Path(self.path).write_text(text)
            with self.subTest(text[:40]), self.assertRaises(
                errors.ApplicationError
            ):
                bundles.load(self.path)

    def test_a_file_that_is_not_there_is_told(self) -> None:
        with self.assertRaisesRegex(
            errors.ApplicationError, 'cannot be read'
        ):
            bundles.load(str(self.folder / 'x'))


class ImportTest(TestCase):
    def test_the_set_is_known_then(self) -> None:
        plan, destination = self.importing()
        self.assertEqual((), plan.problems)
        self.assertEqual(6, len(plan.missing))
        self.a.rows.clear()  # the site is lost
        made = importing.register(plan, destination)
        self.assertEqual(backup_sets.CONSISTENT, made.state)
        self.assertEqual(self.made.servers, made.servers)

    def test_what_is_known_already_is_left_alone(self) -> None:
        importing.register(*self.importing())
        plan, destination = self.importing()
        self.assertEqual((), plan.missing)
        importing.register(plan, destination)
        self.assertEqual(6, len(self.b.rows))

    def seal(self, value: str, backups: int) -> None:
        for each in self.made.backups[:backups]:
            self.b.rows[each['id']]['metadata'].update(
                metadata.ours({backup_sets.SEALED: value}))

    def test_what_was_never_sealed_there_is_sealed(self) -> None:
        # Of a registration that was interrupted; the set was finished later.
        importing.register(*self.importing())
        for backups in 1, 3:
            self.seal('', backups)
            made = importing.register(*self.importing())
            self.assertEqual(backup_sets.CONSISTENT, made.state)

    def test_what_its_own_site_deletes_is_not(self) -> None:
        importing.register(*self.importing())
        self.seal(backup_sets.DELETED, 1)
        with self.assertRaisesRegex(
                errors.ApplicationError, r'tuesday \(.*\) is pending after '
                r'the import\. If its own site deletes it, .* again\.$'):
            importing.register(*self.importing())

    def test_what_its_bundle_has_unsealed_is_not(self) -> None:
        for row in self.a.rows.values():
            row['metadata'].update(metadata.ours({backup_sets.SEALED: ''}))
        self.save()
        with self.assertRaisesRegex(
                errors.ApplicationError, r'tuesday \(.*\) is pending'):
            importing.register(*self.importing())
        self.assertNotIn('PUT', ''.join(self.b.log))

    def test_marks_that_do_not_stay_are_told_in_a_sentence(self) -> None:
        importing.register(*self.importing())
        self.seal('', 3)
        self.b._put_backups = lambda *_: {}  # type: ignore[method-assign]
        with self.assertRaisesRegex(
                errors.ApplicationError, r'^Backup set tuesday \(.*\) is '
                'registered at this site, but cannot be marked: the set .* '
                r'again\.$'):
            importing.register(*self.importing())

    def test_quota_is_checked_before(self) -> None:
        self.b.quota['backups'] = {'limit': 5, 'in_use': 0, 'reserved': 0}
        plan, _destination = self.importing()
        self.assertIn('6 needed, 5 of 5 left', plan.problems[0])

    def test_one_keystone_for_both_needs_target_volumes(self) -> None:
        self.b.project_id = self.a.project_id
        plan, _destination = self.importing()
        problem, = plan.problems
        self.assertIn('would count as made at this site', problem)

    def test_its_own_site_needs_none(self) -> None:
        self.other = self.a
        plan, _destination = self.importing()
        self.assertEqual((), plan.problems)

    def test_nor_does_it_get_target_volumes(self) -> None:
        self.other = self.a
        bundle = bundles.load(self.path)
        destination = self.site_b(bundle)
        destination._mapping = mock.Mock()
        problem, = importing.plan(bundle, destination).problems
        for words in ('Backup set tuesday (', 'is of volumes of this site',
                      '--no-target-volumes'):
            self.assertIn(words, problem)

    def test_a_set_that_is_not_whole_is_refused(self) -> None:
        self.without(self.made.backups[0]['id'])
        plan, _destination = self.importing()
        self.assertIn('2 of the 3 backups', plan.problems[0])

    def test_nor_is_one_with_a_backup_that_was_not_finished(self) -> None:
        self.a.rows[self.made.backups[0]['id']]['object_count'] = None
        self.save()
        plan, _destination = self.importing()
        self.assertIn('2 of the 3 backups', plan.problems[0])

    def test_nor_one_that_needs_such_a_backup(self) -> None:
        self.a.rows[self.find().backups[0]['id']]['object_count'] = None
        self.save()
        plan, destination = self.importing()
        with self.assertRaisesRegex(
                errors.ApplicationError, 'available, but it was not finished'):
            importing.register(plan, destination)

    def test_a_bundle_without_an_ancestor_is_refused(self) -> None:
        self.without(self.find().backups[0]['id'])
        with self.assertRaisesRegex(
            errors.ApplicationError, 'no record of backup'
        ):
            self.importing()

    def without(self, backup_id: str) -> None:
        """Take a record out of the bundle."""
        bundle = bundles.load(self.path)
        left: Any = dict(bundle.by_id)
        del left[backup_id]
        bundles.save(bundles.Bundle(bundle.set_id, left), self.path)
