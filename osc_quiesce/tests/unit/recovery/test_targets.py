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

    def test_its_description_names_it(self) -> None:
        made = self.ensure(self.wanted())['db-vda']
        copied = {**self.site.volumes[made['id']], 'id': 'a copy'}
        self.assertEqual('db-vda', marks.target_of(made))
        self.assertEqual('', marks.target_of(copied))
        log = list(self.site.log)
        self.ensure(self.wanted())
        self.assertEqual(log, self.site.log)

    def test_an_original_that_has_copied_marks(self) -> None:
        self.site.add_volume(id='original', metadata={
            'owner': 'db', **restore_base.taken('another')})
        wanted = dataclasses.replace(self.wanted(), manifest={
            'id': 'db-vda', 'metadata': metadata.ours(
                {marks.TARGET_OF: 'original', marks.VOLUME: 'db-vda'})})
        found = self.site.volumes[self.ensure(wanted)['db-vda']['id']]
        self.assertEqual(('original', 'db-vda', ''), (
            found['id'], marks.target_of(found), marks.owner(found)))
        self.assertEqual('db', found['metadata']['owner'])

    def test_a_copy_has_not_the_target_of_its_original(self) -> None:
        self.site.add_volume(id='original')
        wanted = dataclasses.replace(self.wanted(), manifest={
            'id': 'db-vda', 'metadata': metadata.ours(
                {marks.TARGET_OF: 'original', marks.VOLUME: 'another'})})
        self.assertNotEqual('original', self.ensure(wanted)['db-vda']['id'])

    def test_an_original_is_one_while_cinder_restores_into_it(self) -> None:
        # The metadata are those of the volume that goes back to it.
        volume = {'id': 'original', 'metadata': restore_base.taken(
            'db-vda', **{marks.TARGET_OF: 'original'})}
        self.assertEqual(('db-vda', ''), (
            marks.target_of(volume), marks.owner(volume)))

    def test_one_that_a_restore_has_made_can_be_given_up(self) -> None:
        volume = {'id': 'made', 'metadata': restore_base.taken(
            'made', '', **{marks.TARGET_OF: 'db-vda'}),
            'description': marks.own_description('x', 'db-vda')}
        self.assertEqual('', marks.owner(volume))
        volume['metadata'] = {}
        self.assertEqual('x', marks.owner(volume))

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
            'id': 'db-vda', 'metadata': metadata.ours(
                {marks.TARGET_OF: 'original', marks.VOLUME: 'db-vda'})})
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
