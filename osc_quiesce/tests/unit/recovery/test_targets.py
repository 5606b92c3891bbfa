# SPDX-License-Identifier: Apache-2.0

"""Target volumes: one per source volume, made once and found again."""

from __future__ import annotations

import dataclasses
from typing import Any

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import resolved
from osc_quiesce.recovery import site as sites
from osc_quiesce.recovery import targets
from osc_quiesce.tests.unit.recovery import restore_base


class TestTargets(restore_base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.site.volumes.clear()

    def ensure(self, *volumes: resolved.Volume) -> dict[str, dict[str, Any]]:
        return targets.ensure(
            sites.Site(self.cloud), volumes, self.client.timer, 60.0
        )

    def test_it_is_made_as_the_mapping_wants_it_and_found_again(self) -> None:
        wanted = dataclasses.replace(self.wanted(), size=3, zone='nova')
        made = self.ensure(wanted)['db-vda']
        self.assertEqual('available', made['status'])
        self.assertEqual(
            (3, 'ceph', 'nova', 'shop_db_vda'),
            tuple(made[key] for key in (
                'size', 'volume_type', 'availability_zone', 'name')),
        )
        self.assertEqual('db-vda', metadata.get(made, marks.TARGET_OF))
        again = self.ensure(wanted)['db-vda']
        self.assertEqual(made['id'], again['id'])
        self.assertEqual(1, len(self.site.volumes))

    def test_it_is_found_when_a_restore_has_replaced_its_metadata(
        self,
    ) -> None:
        made = self.ensure(self.wanted())['db-vda']
        self.site.volumes[made['id']]['metadata'] = {'owner': 'db'}
        self.assertEqual(made['id'], self.ensure(self.wanted())['db-vda'][
            'id'])

    def test_a_grown_volume_gets_a_new_one(self) -> None:
        first = self.ensure(self.wanted())['db-vda']
        grown = dataclasses.replace(self.wanted(), size=2)
        second = self.ensure(grown)['db-vda']
        self.assertNotEqual(first['id'], second['id'])
        self.assertEqual(2, second['size'])
        self.assertIn(first['id'], self.site.volumes)

    def test_another_type_gets_a_new_one(self) -> None:
        first = self.ensure(self.wanted())['db-vda']
        other = dataclasses.replace(self.wanted(), type='t2')
        self.assertNotEqual(
            first['id'], self.ensure(other)['db-vda']['id'])

    def test_each_volume_has_its_own(self) -> None:
        made = self.ensure(self.wanted('a'), self.wanted('b'))
        self.assertEqual({'a', 'b'}, set(made))
        self.assertNotEqual(made['a']['id'], made['b']['id'])

    def test_what_was_made_of_an_original_goes_back_to_it(self) -> None:
        self.site.add_volume(id='original')
        wanted = dataclasses.replace(self.wanted(), manifest={
            'metadata': metadata.ours({marks.TARGET_OF: 'original'})})
        found = self.ensure(wanted)['db-vda']
        self.assertEqual('original', found['id'])
        self.assertEqual(
            'db-vda', marks.target_of(self.site.volumes['original']))
        grown = dataclasses.replace(wanted, size=2)
        self.assertNotEqual('original', self.ensure(grown)['db-vda']['id'])

    def test_a_refusal_names_the_volume(self) -> None:
        def refuse(line: str) -> None:
            raise cloud_api.CloudError('quota exceeded', 413)

        self.site.hooks.append(refuse)
        with self.assertRaisesRegex(
            errors.ApplicationError,
            r'No volume was made for volume db-vda \(/dev/vda of server db\): '
            'quota exceeded',
        ):
            self.ensure(self.wanted())

    def test_one_in_error_is_named(self) -> None:
        def fail(line: str) -> None:
            self.site.hooks.clear()
            add = self.site.add_volume

            def broken(**values: Any) -> dict[str, Any]:
                return add(**{**values, 'status': 'error'})

            self.site.add_volume = broken  # type: ignore[method-assign]

        self.site.hooks.append(fail)
        self.site.messages = ['No valid backend.']
        with self.assertRaisesRegex(
            errors.ApplicationError, 'is in error: No valid backend. Delete'
        ):
            self.ensure(self.wanted())
