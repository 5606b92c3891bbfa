# SPDX-License-Identifier: Apache-2.0

"""Snapshot sets are found, judged and deleted by their metadata."""

from __future__ import annotations

from typing import Any

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.application import snapshot_sets
from osc_quiesce.tests.unit.application import base


class TestCase(base.TestCase):
    """There is a set "nightly", just made."""

    def setUp(self) -> None:
        super().setUp()
        self.made = self.create()

    def find(self, name: str = 'nightly') -> snapshot_sets.SnapshotSet:
        return snapshot_sets.find(self.cloud, name)


class StateTest(TestCase):
    def test_a_set_without_one_of_its_snapshots_is_incomplete(self) -> None:
        del self.cinder.made['s-web-vdb']
        left = self.find()
        self.assertEqual(snapshot_sets.INCOMPLETE, left.state)
        self.assertIsNone(left.servers[1]['volumes'][1]['snapshot_id'])

    def test_a_set_with_a_snapshot_in_error_is_incomplete(self) -> None:
        self.cinder.made['s-web-vdb']['status'] = 'error'
        self.assertEqual(snapshot_sets.INCOMPLETE, self.find().state)

    def test_a_set_that_is_being_backed_up_is_whole(self) -> None:
        for snapshot in self.cinder.made.values():
            snapshot['status'] = 'backing-up'
        self.assertEqual(snapshot_sets.CONSISTENT, self.find().state)
        self.cinder.made['s-web-vdb']['status'] = 'restoring'
        self.assertEqual(snapshot_sets.INCOMPLETE, self.find().state)

    def test_a_set_that_was_never_checked_is_pending(self) -> None:
        for snapshot in self.cinder.made.values():
            snapshot['metadata'][metadata.PREFIX + 'consistency'] = (
                snapshot_sets.PENDING
            )
        self.assertEqual(
            snapshot_sets.PENDING, self.find(self.made.id).state
        )

    def test_a_set_of_which_one_says_inconsistent_is(self) -> None:
        snapshot_sets.mark(
            self.cloud,
            ['s-db-vda'],
            {'consistency': snapshot_sets.INCONSISTENT},
        )
        self.assertEqual(snapshot_sets.INCONSISTENT, self.find().state)

    def test_damaged_metadata_hide_no_set(self) -> None:
        for snapshot in self.cinder.made.values():
            snapshot['metadata'].pop(metadata.PREFIX + 'servers.0', None)
            for key in ('order', 'volumes', 'window', 'complete'):
                snapshot['metadata'][metadata.PREFIX + key] = 'damaged'
        found = self.find()
        self.assertEqual(4, len(found.snapshots))
        self.assertEqual([], found.servers)
        self.assertEqual(0, found.volumes)
        self.assertIsNone(found.window)


class FindTest(TestCase):
    def test_a_set_that_is_not_there_is_named(self) -> None:
        with self.assertRaisesRegex(snapshot_sets.NoSuchSet, '"weekly"'):
            self.find('weekly')

    def test_two_sets_of_one_name_are_told_apart_by_id(self) -> None:
        self.cinder.made['other'] = {
            'id': 'other',
            'volume_id': 'v',
            'status': 'available',
            'metadata': {
                metadata.PREFIX + 'format': snapshot_sets.FORMAT,
                metadata.PREFIX + 'set_id': 'other-set',
                metadata.PREFIX + 'set': 'nightly',
            },
        }
        with self.assertRaisesRegex(errors.ApplicationError, 'other-set'):
            self.find()
        self.assertEqual(self.made.id, self.find(self.made.id).id)

    def test_sets_are_listed_from_the_oldest_on(self) -> None:
        self.cinder.made['other'] = {
            'id': 'other',
            'metadata': {
                metadata.PREFIX + 'format': snapshot_sets.FORMAT,
                metadata.PREFIX + 'set_id': 'other-set',
                metadata.PREFIX + 'created_at': '1999-12-31T23:59:59Z',
            },
        }
        self.assertEqual(
            ['other-set', self.made.id],
            [each.id for each in snapshot_sets.find_all(self.cloud)],
        )


class DeleteTest(TestCase):
    def delete(self) -> None:
        snapshot_sets.delete(self.cloud, self.made.id, self.client.timer)

    def gone(self, snapshot: str) -> None:
        del self.cinder.made[snapshot]

    def test_other_snapshots_are_left_alone(self) -> None:
        self.cinder.made['mine'] = {'id': 'mine', 'metadata': {}}
        self.assertEqual(1, len(snapshot_sets.find_all(self.cloud)))
        self.delete()
        self.assertEqual(['mine'], list(self.cinder.made))

    def test_deleting_can_be_repeated(self) -> None:
        self.delete()
        self.delete()
        self.assertEqual({}, self.cinder.made)

    def test_snapshots_that_cannot_be_deleted_are_named(self) -> None:
        def refuse(*_args: Any) -> Any:
            raise cloud_api.CloudError('busy')

        self.cloud.volume = refuse
        with self.assertRaises(errors.ApplicationError) as caught:
            self.delete()
        said = str(caught.exception)
        for words in (
            's-db-vda (busy)',
            f'Try "openstack application snapshot delete {self.made.id}".',
        ):
            self.assertIn(words, said)

    def test_a_snapshot_that_is_being_backed_up_is_named(self) -> None:
        self.cinder.made['s-db-vdb']['status'] = 'backing-up'
        started = self.nova.now
        with self.assertRaisesRegex(
            errors.ApplicationError,
            r'deleted: s-db-vdb \(it is being backed up: wait',
        ):
            self.delete()
        self.assertLess(self.nova.now, started + 12)
        self.assertEqual(['s-db-vdb'], list(self.cinder.made))
        self.assertNotIn('DELETE /snapshots/s-db-vdb', self.cinder.log)

    def test_a_backup_that_ends_soon_is_waited_for(self) -> None:
        backed_up = self.cinder.made['s-db-vdb']
        backed_up['status'] = 'backing-up'
        self.nova.at(
            self.nova.now + 5,
            lambda: backed_up.update(status='available'),
        )
        self.delete()
        self.assertEqual({}, self.cinder.made)

    def test_a_cinder_that_lists_nothing_for_a_while_is_waited_for(
        self,
    ) -> None:
        snapshots = self.cinder.snapshots
        fails = [cloud_api.CloudError('away', 503)] * 5

        def away(metadata: Any) -> Any:
            if fails:
                raise fails.pop()
            return snapshots(metadata)

        self.cloud.snapshots = away
        self.delete()
        self.assertEqual({}, self.cinder.made)

    def test_a_cinder_that_lists_nothing_any_more_is_told(self) -> None:
        def away(metadata: Any) -> Any:
            raise cloud_api.CloudError('away', 503)

        self.cloud.snapshots = away
        with self.assertRaisesRegex(
            errors.ApplicationError, 'left is not known: away. Try '
        ):
            self.delete()

    def test_a_cinder_that_refuses_to_list_is_told_soon(self) -> None:
        def refuse(metadata: Any) -> Any:
            raise cloud_api.CloudError('the token has expired', 401)

        self.cloud.snapshots = refuse
        started = self.nova.now
        with self.assertRaisesRegex(
            errors.ApplicationError, 'not known: the token has expired. Try '
        ):
            self.delete()
        self.assertLess(self.nova.now - started, 20)

    def test_a_snapshot_that_is_being_deleted_is_waited_for(self) -> None:
        del self.cinder.made['s-db-vda']
        going = self.cinder.made['s-db-vdb']
        going['status'] = 'deleting'
        self.nova.at(30, lambda: self.gone(going['id']))
        self.delete()
        self.assertEqual({}, self.cinder.made)
        self.assertNotIn('DELETE /snapshots/s-db-vdb', self.cinder.log)

    def test_a_request_to_delete_may_get_no_answer(self) -> None:
        def lose(_method: str, path: str) -> Any:
            # Slow: it is gone long after the answer was missed.
            id_ = path.split('/')[2]
            self.cinder.made[id_]['status'] = 'deleting'
            self.nova.at(self.nova.now + 30, lambda: self.gone(id_))
            raise cloud_api.CloudError('the connection is gone')

        self.cloud.volume = lose
        self.delete()
        self.assertEqual({}, self.cinder.made)

    def test_snapshots_that_the_storage_keeps_are_named_soon(self) -> None:
        # As with Ceph, if a volume was cloned from one.
        self.cloud.volume = lambda *_args: {}
        started = self.nova.now
        with self.assertRaisesRegex(
            errors.ApplicationError, r's-db-vda \(its status is available'
        ):
            self.delete()
        self.assertLess(self.nova.now - started, 20)
