# SPDX-License-Identifier: Apache-2.0

"""A backup set is made, or what is finished stays and is used."""

from __future__ import annotations

import collections
import dataclasses
import re
from typing import Any
from unittest import mock

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import metadata
from osc_quiesce.recovery import backup
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import chains
from osc_quiesce.tests.unit.recovery import backup_base

AWAY = cloud_api.CloudError('Cinder is away', 503)


class CreateTest(backup_base.TestCase):
    def test_each_volume_is_backed_up_and_the_set_is_sealed(self) -> None:
        made = self.create()
        self.assertEqual(backup_sets.CONSISTENT, made.state)
        self.assertEqual(
            list(self.SIZES), [each['volume_id'] for each in made.backups]
        )
        self.assertEqual(chains.FULL, made.mode)
        self.assertEqual(6, made.size)

    def test_what_a_restore_needs_is_in_the_metadata(self) -> None:
        made = self.create()
        ids = {each['volume_id']: each['id'] for each in made.backups}
        self.assertEqual(
            [
                ('db', {'db-vda': ids['db-vda'], 'db-vdb': ids['db-vdb']}),
                ('web', {'web-vda': ids['web-vda']}),
            ],
            [
                (
                    server['name'],
                    {v['id']: v['backup_id'] for v in server['volumes']},
                )
                for server in made.servers
            ],
        )
        first = made.backups[0]
        self.assertEqual('monday_0_db_vda', first['name'])
        for key, value in (
            ('backup_set', 'monday'),
            ('backup_set_id', made.id),
            ('snapshot_id', 's-monday-db-vda'),
            ('source_volume_id', 'db-vda'),
            ('owner', 'project-a'),
            ('set_id', 'set-monday'),
            ('order', '0'),
        ):
            self.assertEqual(value, metadata.get(first, key), key)

    def test_the_longest_begin_first_and_not_too_many_at_once(self) -> None:
        self.create(parallel=1)
        self.assertEqual(1, self.a.most)
        self.assertEqual(
            ['db-vdb', 'web-vda', 'db-vda'],
            [row['volume_id'] for row in self.a.rows.values()],
        )

    def test_the_next_set_is_incremental(self) -> None:
        self.create()
        self.take('tuesday')
        made = self.create('tuesday')
        self.assertEqual(chains.INCREMENTAL, made.mode)

    def test_what_is_not_ascii_is_escaped(self) -> None:
        for snapshot in self.a.made.values():
            snapshot['metadata']['note'] = 'büro \U0001f600'
            snapshot['metadata'].update(
                metadata.ours({'server_name': 'd\U0001f600b'})
            )
        made = self.create(name='monday')
        first = made.backups[0]
        for text in (
            first['name'], *first['metadata'], *first['metadata'].values()
        ):
            self.assertTrue(text.isascii(), text)
        self.assertEqual('d\U0001f600b', metadata.get(first, 'server_name'))

    def test_order_and_device_are_in_every_name_of_a_backup(self) -> None:
        for text in 'x', '\u6708', '\U0001f600':
            for snapshot in self.a.made.values():
                snapshot['metadata'].update(
                    metadata.ours({'server_name': 255 * text}))
            plan = dataclasses.replace(self.plan(), name=255 * text)
            start = metadata.escape(text)
            for order, item in enumerate(plan.items):
                name = plan.body(item)['name']
                self.assertLessEqual(len(name), metadata.PIECE)
                self.assertRegex(
                    name, rf'^({re.escape(start)})+_{order}_'
                    rf'({re.escape(start)})+_{item.device[5:]}$')

    def test_a_container_is_handed_on(self) -> None:
        made = self.create(container='shop')
        self.assertEqual(
            {'shop'}, {each['container'] for each in made.backups}
        )

    def test_progress_has_numbers_sizes_and_seconds(self) -> None:
        self.create()
        self.assertEqual(
            '0 of 3 backups, 0 of 6 GiB, 3 running, 0 s', self.said[0]
        )
        self.assertRegex(
            self.said[-1], r'^3 of 3 backups, 6 of 6 GiB, \d+ s$'
        )

    def test_a_plan_with_problems_is_not_begun(self) -> None:
        self.a.services = []
        with self.assertRaisesRegex(Exception, 'No cinder-backup'):
            self.create()
        self.assertEqual([], self.a.posts())


class AgainTest(backup_base.TestCase):
    """The same command again continues."""

    def test_a_whole_set_is_only_shown(self) -> None:
        made = self.create()
        before = len(self.a.posts())
        again = self.create()
        self.assertEqual(made.id, again.id)
        self.assertEqual(before, len(self.a.posts()))

    def test_a_whole_set_needs_its_snapshots_no_more(self) -> None:
        made = self.create()
        self.a.made.popitem()
        self.assertEqual(made.id, self.create().id)
        self.a.made.clear()
        self.assertEqual(made.id, self.create().id)

    def test_what_was_finished_is_used_when_it_was_interrupted(self) -> None:
        def stop() -> None:
            self.clock.is_stopped = True

        self.clock.after(15, stop)
        with self.assertRaises(backup_base.Stopped):
            self.create(parallel=1)
        self.clock.is_stopped = False
        found = self.find()
        self.assertEqual(backup_sets.INCOMPLETE, found.state)
        self.assertEqual(2, len(found.backups))
        made = self.create(parallel=1)
        self.assertEqual(backup_sets.CONSISTENT, made.state)
        self.assertEqual(3, len(self.a.posts()))
        self.assertEqual((), made.others)

    def test_a_set_that_was_never_sealed_is_sealed(self) -> None:
        self.create()
        for row in self.a.rows.values():
            row['metadata'].update(metadata.ours({'sealed': ''}))
        self.assertEqual(backup_sets.PENDING, self.find().state)
        self.assertEqual(backup_sets.CONSISTENT, self.create().state)

    def test_one_that_failed_is_made_again(self) -> None:
        self.a.fates = ['the disk is full']
        with self.assertRaisesRegex(backup.NotDone, 'the disk is full'):
            self.create()
        self.assertEqual(3, len(self.a.posts()))
        made = self.create()
        self.assertEqual(backup_sets.CONSISTENT, made.state)
        self.assertEqual(4, len(self.a.posts()))
        self.assertEqual((), made.others)


class TroubleTest(backup_base.TestCase):
    def test_a_failure_names_volume_and_reason_and_the_rest_goes_on(
        self,
    ) -> None:
        self.a.fates = ['', 'the disk is full']
        with self.assertRaises(backup.NotDone) as caught:
            self.create()
        said = str(caught.exception)
        for words in (
            'of volume web-vda (/dev/vda of server web) has failed: the disk '
            'is full.',
            'Backup set monday (',
            'is not sealed. What is finished is kept; the same command again '
            'continues.',
        ):
            self.assertIn(words, said)
        self.assertEqual(
            ['available', 'error', 'available'],
            [row['status'] for row in self.a.rows.values()],
        )

    def test_a_reason_may_be_in_the_messages_only(self) -> None:
        self.a.fates = [' ']
        self.a.messages = {
            f'b{number}-db-vdb': 'Driver failed.' for number in range(100)
        }
        with self.assertRaisesRegex(backup.NotDone, 'Driver failed'):
            self.create()

    def test_it_is_made_again_after_a_restart_of_cinder_backup(self) -> None:
        self.a.fates = [backup_base.RESTARTED] * 2
        made = self.create()
        self.assertEqual(backup_sets.CONSISTENT, made.state)
        self.assertEqual(5, len(self.a.posts()))
        self.assertEqual((), made.others)

    def test_so_it_is_if_the_restart_took_its_temporary_volume(self) -> None:
        self.assert_made_again(
            'Volume 1c7f0a4b could not be found.\nTraceback (most recent call '
            'last):\n\n  File ...')

    def test_one_that_made_the_bucket_too_late_is_made_again(self) -> None:
        self.assert_made_again(
            'S3 client error: An error occurred (BucketAlreadyOwnedByYou) '
            'when calling the CreateBucket operation: you already own it.')

    def test_and_one_that_made_a_directory_too_late(self) -> None:
        self.assert_made_again("[Errno 17] File exists: '/backups/ab'")

    def assert_made_again(self, why: str) -> None:
        """Check that a backup that fails by this is made a second time."""
        self.a.fates = [why]
        made = self.create()
        self.assertEqual(backup_sets.CONSISTENT, made.state)
        self.assertEqual(4, len(self.a.posts()))

    def test_one_that_is_said_to_be_available_is_not_taken_for_it(
        self,
    ) -> None:
        # By an administrator, while cinder-backup hangs.
        self.a.duration = 1000.0
        self.clock.after(
            30.0, lambda: self.a.rows[hung()].update(status='available'))

        def hung() -> str:
            return next(id_ for id_ in self.a.rows if id_.endswith('db-vdb'))

        with self.assertRaisesRegex(
            backup.NotDone,
            r'Backup b\S+ of volume db-vdb \(/dev/vdb of server db\) is '
            'available, but it was not finished',
        ):
            self.create(destination=self.destination())
        self.assertNotIn(hung(), self.b.rows)
        self.assertEqual(backup_sets.INCOMPLETE, self.find().state)
        (problem,) = self.plan().problems
        self.assertRegex(problem, 'Wait if cinder-backup is still making it; '
                         f'else delete it with .*backup delete {hung()}"')
        self.assertNotIn('DELETE', ' '.join(self.a.log))
        # It went on, as it may.
        self.clock.sleep(1000.0)
        made = self.create(destination=self.destination())
        self.assertEqual(backup_sets.CONSISTENT, made.state)

    def test_one_that_was_not_finished_becomes_no_parent(self) -> None:
        self.create()
        self.take('tuesday')
        for row in self.a.rows.values():
            row['object_count'] = None
        self.assertEqual(
            {('full', 'the backup before was not finished')},
            {(each.choice.mode, each.choice.why)
             for each in self.plan('tuesday').items})

    def test_tracebacks_of_cinder_are_not_shown(self) -> None:
        self.a.fates = [
            'Driver failed.\nTraceback (most recent call last):\n\n  File ...']
        with self.assertRaisesRegex(
                backup.NotDone, r'has failed: Driver failed\. Backup set'):
            self.create()

    def test_it_is_not_made_again_for_ever(self) -> None:
        self.a.fates = [backup_base.RESTARTED] * 100
        with self.assertRaisesRegex(backup.NotDone, 'manager restart'):
            self.create()
        self.assertEqual(9, len(self.a.posts()))

    def test_cinder_may_want_a_full_one(self) -> None:
        self.create()
        self.take('tuesday')
        self.a.fates = ['Block size has changed. Do a full backup.']
        made = self.create('tuesday')
        self.assertEqual(backup_sets.MIXED, made.mode)
        full = [
            each for each in made.backups if not each['is_incremental']
        ]
        self.assertEqual(['db-vdb'], [each['volume_id'] for each in full])

    def test_a_parent_whose_data_are_gone_is_named(self) -> None:
        # The next night would choose the same one.
        self.create()
        self.take('tuesday')
        self.a.fates = ["[Errno 2] No such file or directory: '/b/x'"]
        parent = next(id_ for id_ in self.a.rows if id_.endswith('db-vdb'))
        with self.assertRaisesRegex(
            backup.NotDone, f"'/b/x'. If its parent {parent} is lost or "
            'damaged, but not the whole store, the same command with --full '
            'does without it',
        ):
            self.create('tuesday')
        made = self.create('tuesday', full_every=1)
        self.assertEqual(backup_sets.CONSISTENT, made.state)
        self.assertEqual(
            ['db-vdb'], [each['volume_id'] for each in made.backups
                         if not each['is_incremental']])

    def test_nor_is_one_if_the_failure_has_another_cause(
        self,
    ) -> None:
        self.a.fates = ['the disk is full']
        with self.assertRaises(backup.NotDone) as caught:
            self.create()
        self.assertNotIn('--full', str(caught.exception))
        self.create()
        self.take('tuesday')
        self.a.fates = [backup_base.RESTARTED] * 100
        with self.assertRaises(backup.NotDone) as caught:
            self.create('tuesday')
        self.assertNotIn('--full', str(caught.exception))

    def test_a_parent_that_has_gone_makes_it_a_full_one(self) -> None:
        self.create()
        self.take('tuesday')
        plan = self.plan('tuesday')
        for row in self.a.rows.values():
            row['status'] = 'restoring'
        made = backup.create(self.cloud, plan, self.timer)
        self.assertEqual(chains.FULL, made.mode)

    def test_the_reason_of_a_refusal_is_told(self) -> None:
        self.a.refusals['POST /backups'] = [
            cloud_api.CloudError('BackupLimitExceeded: 10', 413)
        ]
        with self.assertRaisesRegex(
            backup.NotDone,
            r'refuses to back up snapshot s-monday-db-vdb of volume db-vdb '
            r'\(.*\): BackupLimitExceeded: 10\.',
        ):
            self.create()

    def test_a_cinder_that_is_busy_is_asked_later(self) -> None:
        self.a.refusals['POST /backups'] = [AWAY, AWAY, AWAY, AWAY]
        self.assertEqual(backup_sets.CONSISTENT, self.create().state)

    def test_a_cinder_that_lists_nothing_for_a_while_is_waited_for(
        self,
    ) -> None:
        plan = self.plan()
        self.a.refusals['GET /backups'] = [
            cloud_api.CloudError('the connection is gone')
        ] * 5
        made = backup.create(self.cloud, plan, self.timer)
        self.assertEqual(backup_sets.CONSISTENT, made.state)

    def test_the_time_may_be_up(self) -> None:
        self.a.duration = 1000.0
        with self.assertRaises(backup.NotDone) as caught:
            self.create(parallel=2, timeout=60.0)
        said = str(caught.exception)
        self.assertIn('is still in status creating after 60 s', said)
        self.assertIn(
            'volume db-vda (/dev/vda of server db) was not begun', said
        )

    def test_it_is_told_when_nobody_is_at_work(self) -> None:
        self.a.duration = 300.0
        plan = self.plan()
        for services, where in (
            ([], 'any host'),
            # Cinder gives a child to the host of its parent, up or not.
            ([backup_base.UP, {**backup_base.UP, 'host': 'b2',
                               'state': 'down'}], 'b2'),
        ):
            self.a.services = services
            with self.assertLogs('osc_quiesce', level='WARNING') as logs:
                backup.create(self.cloud, plan, self.timer)
            self.assertIn(f'No cinder-backup service is up on {where}',
                          logs.output[0])
            self.assertLessEqual(len(logs.output), 4)

    def test_it_is_told_once_what_cinder_has_not_begun(self) -> None:
        self.a.duration = 200.0
        with self.assertLogs('osc_quiesce', level='WARNING') as logs:
            self.create(parallel=2)
        self.assertEqual(['db-vda', 'db-vdb', 'web-vda'], sorted(
            re.findall(r'begun to read volume (\S+)', ' '.join(logs.output))))

    def test_a_backup_that_takes_long_is_no_reason_to_warn(self) -> None:
        self.a.duration = 200.0
        for seconds in (1, 201):
            self.clock.after(seconds, lambda: [
                row.update(container='there')
                for row in self.a.rows.values()])
        with self.assertNoLogs('osc_quiesce', level='WARNING'):
            self.create(parallel=2)

    def test_a_backup_that_somebody_deletes_meanwhile_is_told(self) -> None:
        self.clock.after(5, self.a.rows.clear)
        with self.assertRaisesRegex(backup.NotDone, 'deleted while it was'):
            self.create()

    def test_a_failed_one_that_cannot_be_deleted_is_told(self) -> None:
        self.a.fates = ['the disk is full']
        with self.assertRaises(backup.NotDone):
            self.create()
        self.a.refusals['DELETE /backups'] = [
            cloud_api.CloudError('forbidden', 403)
        ]
        with self.assertRaisesRegex(backup.NotDone, 'cannot be deleted'):
            self.create()

    def test_without_a_service_none_is_made_beside_a_failed_one(
            self) -> None:
        self.a.fates = ['the disk is full']
        with self.assertRaises(backup.NotDone):
            self.create()
        plan = self.plan()
        self.a.services = []
        with self.assertRaisesRegex(
                backup.NotDone,
                'cannot be deleted to make it again: no cinder-backup service '
                'is up for it, so start one'):
            backup.create(self.cloud, plan, self.timer)
        self.assertEqual(3, len(self.a.posts()))

    def test_a_wrong_status_that_cinder_leaves_is_told(self) -> None:
        self.a.fates = ['Service not found for creating backup.']

        def damage() -> None:
            self.a.volumes['db-vdb']['status'] = None
            self.a.made['s-monday-db-vdb']['status'] = 'backing-up'

        self.clock.after(10.01, damage)
        self.a.duration = 10.0
        with self.assertRaises(backup.NotDone) as caught:
            self.create()
        self.assertIn(
            '"openstack volume set --state in-use db-vdb" and "openstack '
            'volume snapshot set --state available s-monday-db-vdb"',
            str(caught.exception),
        )


class CephTest(backup_base.TestCase):
    def test_a_driver_that_is_of_no_use_is_found_by_the_first_one(
        self,
    ) -> None:
        self.a.service = 'cinder.backup.drivers.ceph.CephBackupDriver'
        with self.assertRaisesRegex(backup.NotDone, "is Ceph's"):
            self.create(parallel=1)
        self.assertEqual(1, len(self.a.posts()))

    def test_a_failed_one_that_may_be_of_ceph_is_not_deleted(self) -> None:
        self.a.fates = ['[errno 17] RBD image already exists'] * 3
        with self.assertRaises(backup.NotDone):
            self.create()
        self.assertFalse(
            [line for line in self.a.log if line.startswith('DELETE')]
        )
        problems = ' '.join(self.plan().problems)
        self.assertIn('It is not deleted', problems)
        # Swift's driver names RBD as well, if it cannot read the volume.
        self.assertRegex(
            problems, 'If cinder-backup has that driver.*else delete this '
            'backup with "openstack volume backup delete')


class LostAnswerTest(backup_base.TestCase):
    def test_a_backup_without_an_answer_is_found(self) -> None:
        self.a.lost = 2
        made = self.create()
        self.assertEqual(backup_sets.CONSISTENT, made.state)
        self.assertEqual(3, len(self.a.posts()))
        self.assertEqual((), made.others)

    def test_one_that_a_proxy_answers_in_place_of_cinder_is_found(
        self,
    ) -> None:
        # Envoy does so by 503, by which others say that they are busy.
        post = self.a._post_backups

        def reset(*args: Any) -> Any:
            post(*args)
            raise cloud_api.CloudError('upstream connect error', 503)

        self.a.duration = 300.0
        with mock.patch.object(self.a, '_post_backups', reset):
            self.assertEqual(backup_sets.CONSISTENT, self.create().state)
        self.assertEqual(3, len(self.a.posts()))
        self.assertEqual(3, len(self.a.rows))

    def test_a_request_that_never_arrived_is_sent_again(self) -> None:
        self.a.vanished = 1
        made = self.create()
        self.assertEqual(backup_sets.CONSISTENT, made.state)
        self.assertEqual(4, len(self.a.posts()))

    def test_it_is_not_sent_again_while_the_snapshot_is_taken(self) -> None:
        self.a.vanished = 1
        plan = self.plan()
        self.a.made['s-monday-db-vdb']['status'] = 'backing-up'
        with self.assertRaisesRegex(
            backup.NotDone, 'it is not known whether Cinder backs up'
        ):
            backup.create(self.cloud, plan, self.timer, timeout=120.0)
        self.assertEqual(3, len(self.a.posts()))

    def test_it_is_not_sent_again_for_ever(self) -> None:
        self.a.vanished = 100
        with self.assertRaisesRegex(
            backup.NotDone, 'has not answered 3 requests'
        ):
            self.create()
        self.assertEqual(9, len(self.a.posts()))


class TwiceAtOnceTest(backup_base.TestCase):
    """The same command runs twice at the same time."""

    def setUp(self) -> None:
        super().setUp()
        self.other_plan = self.plan()

    def begin(self, volume: str) -> None:
        """Let the other command begin with a volume."""
        item, = (e for e in self.other_plan.items if e.volume_id == volume)
        self.a._post_backups('', {'backup': self.other_plan.body(item)}, {})

    def test_what_the_other_one_has_begun_is_waited_for(self) -> None:
        self.clock.after(2.0, lambda: self.begin('web-vda'))
        self.clock.after(2.0, lambda: self.begin('db-vda'))
        made = self.create(parallel=1)
        self.assertEqual(backup_sets.CONSISTENT, made.state)
        self.assertEqual(3, len(self.a.rows))

    def test_so_it_is_if_that_was_a_moment_ago(self) -> None:
        plan = self.plan()
        for volume in self.SIZES:
            self.begin(volume)
        made = backup.create(self.cloud, plan, self.timer)
        self.assertEqual(backup_sets.CONSISTENT, made.state)
        self.assertEqual(3, len(self.a.rows))

    def test_and_if_it_ended_while_target_volumes_were_made(self) -> None:
        there = self.destination()
        plan = self.plan(destination=there)

        def prepare() -> None:
            for volume in self.SIZES:
                self.begin(volume)
            self.clock.sleep(60)

        with mock.patch.object(there, 'prepare', prepare):
            made = backup.create(
                self.cloud, plan, self.timer, destination=there)
        self.assertEqual(backup_sets.CONSISTENT, made.state)
        self.assertEqual(3, len(self.a.rows))


class RegisterTest(backup_base.TestCase):
    """Each backup is registered at B as soon as it is there."""

    def test_the_set_is_sealed_at_both_sites(self) -> None:
        made = self.create(destination=self.destination())
        there = self.find(site=self.other)
        self.assertEqual(made.id, there.id)
        self.assertEqual(backup_sets.CONSISTENT, there.state)
        self.assertEqual(made.servers, there.servers)
        self.assertEqual('B', made.registered)
        self.assertIn('3 registered at B', self.said[-1])

    def test_what_is_known_is_not_asked_again(self) -> None:
        plan = self.plan(destination=(there := self.destination()))
        self.a.log.clear()
        self.b.log.clear()
        backup.create(self.cloud, plan, self.timer, destination=there)
        self.assertEqual(
            {'POST /backups': 3, 'GET /backups/*': 6, 'PUT /backups/*': 3,
             'GET /backups/*/export_record': 4}, self.requests(self.a))
        self.assertEqual(
            {'POST /backups/import_record': 3, 'GET /backups/*': 6,
             'PUT /backups/*': 3}, self.requests(self.b))

    @staticmethod
    def requests(site: Any) -> dict[str, int]:
        """Return how many requests a site has had that are no listings."""
        return dict(collections.Counter(
            re.sub(r'/b\d[^/]*', '/*', line) for line in site.log
            if not line.endswith('/detail')))

    def write_back(self, times: int) -> None:
        """Let a proof at B write metadata back that it had read before."""
        put = self.b._put_backups

        def write(id_: str, json: Any, _query: Any) -> Any:
            row = self.b.rows[id_]
            old = dict(row['metadata'])
            answer = put(id_, json, _query)
            if len(written) < times:
                written.append(id_)
                self.clock.after(0.5, lambda: row.update(metadata=old))
            return answer

        written: list[str] = []
        self.b._put_backups = write  # type: ignore[method-assign]

    def test_a_seal_at_b_that_a_proof_there_removes_is_written_again(
            self) -> None:
        self.write_back(times=1)
        made = self.create(destination=self.destination())
        self.clock.sleep(10)
        self.assertEqual(backup_sets.CONSISTENT, made.state)
        self.assertEqual(
            backup_sets.CONSISTENT, self.find(site=self.other).state)

    def test_without_a_seal_at_b_there_is_none_at_a(self) -> None:
        self.write_back(times=1000)
        with self.assertRaisesRegex(
            backup.NotDone,
            'cannot be marked: the set at B is pending, though it was marked '
            '5 times. Backup set .* is not sealed',
        ):
            self.create(destination=self.destination())
        self.assertEqual(backup_sets.PENDING, self.find().state)

    def test_without_all_backups_at_a_there_is_none_at_b(self) -> None:
        # Another program deletes the first, while the others are made.
        self.clock.after(15.0, lambda: self.a.rows.pop(next(iter(
            self.a.rows))))
        with self.assertRaisesRegex(backup.NotDone, 'has become incomplete'):
            self.create(destination=self.destination(), parallel=1)
        self.assertEqual(
            backup_sets.PENDING, self.find(site=self.other).state)

    def test_ancestors_that_are_not_there_yet_go_along(self) -> None:
        self.create()
        self.take('tuesday')
        self.create('tuesday')
        self.take('wednesday')
        self.create('wednesday', destination=self.destination())
        self.assertEqual(set(self.a.rows), set(self.b.rows))
        self.assertEqual(self.a.parents, self.b.parents)

    def test_those_that_are_there_are_not_imported_again(self) -> None:
        self.create(destination=self.destination())
        before = len(self.b.log)
        self.create(destination=self.destination())
        self.assertFalse(
            [line for line in self.b.log[before:] if line.startswith('PUT')]
        )
        # The one request is to see whether one may.
        self.assertEqual(
            1,
            self.b.log[before:].count('POST /backups/import_record'),
        )

    def test_of_one_that_was_made_again_the_new_one_counts(self) -> None:
        for seal in backup_sets.CONSISTENT, '':
            first = self.create(destination=self.destination()).backups[0]
            # It is deleted by others, or by a command that is interrupted.
            del self.a.rows[first['id']]
            self.store.discard(first['id'])
            self.b.rows[first['id']]['metadata'].update(
                metadata.ours({backup_sets.SEALED: seal}))
            self.clock.sleep(60)
            made = self.create(destination=self.destination())
            there = self.find(site=self.other)
            self.assertEqual(backup_sets.CONSISTENT, there.state)
            self.assertEqual([each['id'] for each in made.backups],
                             [each['id'] for each in there.backups])

    def test_an_import_that_fails_leaves_the_set_unsealed(self) -> None:
        self.b.import_fates = ['cannot find backup service']
        with self.assertRaisesRegex(
            backup.NotDone,
            'is not registered at B: cannot find backup service. It is kept',
        ):
            self.create(destination=self.destination())
        self.assertTrue(self.find().is_whole)
        self.assertEqual(backup_sets.PENDING, self.find().state)

    def test_what_it_has_left_is_removed_and_imported_again(self) -> None:
        self.b.import_fates = ['cannot find backup service']
        with self.assertRaises(backup.NotDone):
            self.create(destination=self.destination())
        made = self.create(destination=self.destination())
        self.assertEqual(backup_sets.CONSISTENT, made.state)
        self.assertEqual(set(self.a.rows), self.store)
        self.assertEqual(
            backup_sets.CONSISTENT, self.find(site=self.other).state
        )

    def test_a_row_with_data_is_never_deleted_to_import_it_again(
        self,
    ) -> None:
        made = self.create(destination=self.destination())
        first = made.backups[0]['id']
        self.b.rows[first]['status'] = 'error'
        with self.assertRaisesRegex(
                backup.NotDone, f'backup set --state available {first}"'):
            self.create(destination=self.destination())
        self.assertFalse(
            [line for line in self.b.log if line.startswith('DELETE')]
        )
        self.assertIn(first, self.store)

    def test_nor_is_one_that_another_run_has_imported_since(self) -> None:
        self.b.import_fates = ['cannot find backup service']
        with self.assertRaises(backup.NotDone):
            self.create(destination=self.destination())
        late = self.destination()
        plan = self.plan(destination=late)
        self.create(destination=self.destination())
        before = set(self.store)
        self.b.log.clear()
        made = backup.create(self.cloud, plan, self.timer, destination=late)
        self.assertEqual(backup_sets.CONSISTENT, made.state)
        self.assertFalse(
            [line for line in self.b.log if line.startswith('DELETE')])
        self.assertEqual(before, self.store)

    def test_what_an_import_has_left_in_another_project_is_removed(
            self) -> None:
        self.b.import_fates = ['cannot find backup service'] * 3
        self.b.project_id = 'wrong'
        with self.assertRaises(backup.NotDone):
            self.create(destination=self.destination())
        self.b.project_id = 'project-B'
        made = self.create(destination=self.destination())
        self.assertEqual(backup_sets.CONSISTENT, made.state)

    def test_a_site_that_is_away_for_a_while_is_waited_for(self) -> None:
        destination = self.destination()
        plan = self.plan(destination=destination)
        for line in 'POST /backups/import_record', 'GET /backups/detail':
            self.b.refusals[line] = [AWAY] * 5
        made = backup.create(
            self.cloud, plan, self.timer, destination=destination
        )
        self.assertEqual(backup_sets.CONSISTENT, made.state)

    def test_a_row_of_another_project_is_told(self) -> None:
        made = self.create()
        row = dict(self.a.rows[made.backups[0]['id']])
        self.b.rows[row['id']] = {**row, 'project_id': 'other'}
        self.b.parents[row['id']] = None
        with self.assertRaisesRegex(backup.NotDone, 'in another project'):
            self.create(destination=self.destination())
