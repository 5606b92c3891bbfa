# SPDX-License-Identifier: Apache-2.0

"""Every reason why not is found before anything is made."""

from __future__ import annotations

import copy
from typing import Any
from unittest import mock

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.application import snapshot_sets
from osc_quiesce.recovery import backup
from osc_quiesce.recovery import backup_plan
from osc_quiesce.recovery import backup_preflight
from osc_quiesce.recovery import backup_problems
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import chains
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import registration
from osc_quiesce.recovery import resolved
from osc_quiesce.recovery import resolving
from osc_quiesce.recovery import targets
from osc_quiesce.tests.unit.recovery import backup_base

FORBIDDEN = cloud_api.CloudError('forbidden', 403)


class TestCase(backup_base.TestCase):
    def assert_refused(self, *words: str, **kwargs: Any) -> None:
        """Check that there is exactly one reason, with these words."""
        problems = self.plan(**kwargs).problems
        self.assertEqual(1, len(problems), problems)
        for each in words:
            self.assertIn(each, problems[0])
        for site in (self.a, self.b):
            self.assertNotIn('POST /backups', site.log)


class ThisSiteTest(TestCase):
    def test_a_good_set_has_no_problems(self) -> None:
        plan = self.plan()
        self.assertEqual((), plan.problems)
        self.assertEqual(('monday', 'shop', 6), (
            plan.name, plan.application, plan.size))

    def test_a_set_that_is_not_there(self) -> None:
        with self.assertRaisesRegex(snapshot_sets.NoSuchSet, '"sunday"'):
            self.plan('sunday')

    def test_a_set_that_is_not_consistent(self) -> None:
        self.a.made.popitem()
        self.assert_refused('Snapshot set monday (set-monday) is incomplete')

    def test_no_service(self) -> None:
        for services in (
            [],
            [{**backup_base.UP, 'state': 'down'}],
            [{**backup_base.UP, 'status': 'disabled'}],
        ):
            self.a.services = services
            self.assert_refused('No cinder-backup service is up')

    def test_services_that_one_may_not_see_are_no_problem(self) -> None:
        self.a.refusals['GET /os-services'] = [FORBIDDEN]
        self.assertEqual((), self.plan().problems)

    def test_quota_of_backups(self) -> None:
        self.a.quota['backups'] = {'limit': 10, 'in_use': 8, 'reserved': 0}
        self.assert_refused('backups', '3 needed, 2 of 10 left')

    def test_quota_of_gigabytes(self) -> None:
        self.a.quota['backup_gigabytes'] = {
            'limit': 5, 'in_use': 0, 'reserved': 0
        }
        self.assert_refused('backup_gigabytes', '6 needed, 5 of 5 left')

    def test_what_is_made_already_needs_no_quota(self) -> None:
        self.create()
        self.a.quota['backups'] = {'limit': 3, 'in_use': 3, 'reserved': 0}
        self.assertEqual((), self.plan().problems)

    def test_an_encrypted_volume(self) -> None:
        self.a.volumes['db-vdb']['encrypted'] = True
        self.assert_refused(
            'Volume db-vdb (/dev/vdb of server db) is encrypted'
        )

    def test_the_driver_of_ceph(self) -> None:
        self.create()
        self.take('tuesday')
        self.a.service = 'cinder.backup.drivers.ceph.CephBackupDriver'
        self.a.log.clear()
        self.assert_refused("is Ceph's", name='tuesday')

    def test_a_name_that_another_set_has(self) -> None:
        self.create(name='monday')
        self.take('tuesday')
        problems = self.plan_named('tuesday', 'monday')
        self.assertIn('There is a backup set "monday"', problems[0])

    def plan_named(self, snapshot_set: str, name: str) -> tuple[str, ...]:
        return backup_preflight.make(
            self.cloud, snapshot_set, backup_plan.Wish(name=name)
        ).problems

    def test_a_name_that_is_too_long(self) -> None:
        self.assertIn(
            '1 to 255 characters', self.plan_named('monday', 256 * 'x')[0]
        )

    def test_a_snapshot_that_somebody_else_backs_up(self) -> None:
        self.a.made['s-monday-db-vda']['status'] = 'backing-up'
        self.a.rows['x'] = {
            'id': 'x',
            'volume_id': 'db-vda',
            'snapshot_id': 's-monday-db-vda',
            'status': 'creating',
            'created_at': self.clock.text,
            'data_timestamp': self.clock.text,
            'metadata': {},
            'project_id': 'project-a',
        }
        self.assert_refused('is being backed up by x')

    def test_a_snapshot_that_nobody_backs_up(self) -> None:
        self.a.made['s-monday-db-vda']['status'] = 'backing-up'
        self.assert_refused(
            '"openstack volume snapshot set --state available '
            's-monday-db-vda"'
        )

    def test_a_proof_that_is_under_way(self) -> None:
        self.a.rows['x'] = {
            'id': 'x',
            'volume_id': 'db-vda',
            'status': 'creating',
            'created_at': self.clock.text,
            'data_timestamp': self.clock.text,
            'metadata': metadata.ours({marks.PROOF_OF: 'y'}),
            'project_id': 'project-a',
        }
        self.assert_refused('is being compared with a backup, by x')

    def test_metadata_that_no_site_could_import(self) -> None:
        for number in range(400):
            self.a.made['s-monday-db-vda']['metadata'][f'k{number}'] = (
                255 * 'x'
            )
        self.assert_refused('characters, and with more than 80000')

    def test_all_reasons_at_once(self) -> None:
        self.a.volumes['db-vdb']['encrypted'] = True
        self.a.volumes['web-vda']['encrypted'] = True
        self.a.services = []
        self.a.quota['backups'] = {'limit': 0, 'in_use': 0, 'reserved': 0}
        self.assertEqual(4, len(self.plan().problems))

    def test_a_cinder_that_cannot_be_asked_is_an_error(self) -> None:
        self.a.refusals['GET /os-quota-sets'] = [
            cloud_api.CloudError('away', 503)
        ]
        with self.assertRaisesRegex(errors.ApplicationError, 'away'):
            self.plan()


class ChoiceTest(TestCase):
    def test_each_volume_is_chosen_for_by_itself(self) -> None:
        self.create()
        self.take('tuesday')
        self.a.volumes['db-vdb']['size'] = 4
        plan = self.plan('tuesday')
        self.assertEqual(
            [chains.INCREMENTAL, chains.FULL, chains.INCREMENTAL],
            [item.choice.mode for item in plan.items],
        )
        self.assertIn('from 3 to 4 GiB', plan.items[1].choice.why)
        self.assertEqual(7, plan.size)

    def test_what_is_there_is_shown_as_made_already(self) -> None:
        self.create()
        plan = self.plan()
        self.assertEqual(
            {'made already'}, {item.choice.why for item in plan.items}
        )


class RecordsTest(TestCase):
    """What --to-cloud and --bundle need."""

    def test_one_who_may_not_export(self) -> None:
        self.create()
        self.take('tuesday')
        self.a.log.clear()
        self.a.refusals = {
            f'GET /backups/{id_}/export_record': [FORBIDDEN, FORBIDDEN]
            for id_ in self.a.rows
        }
        self.assertEqual((), self.plan('tuesday').problems)
        self.assert_refused(
            'may not export', name='tuesday', wants_records=True
        )

    def test_the_policy_decides_and_not_the_name_of_a_role(self) -> None:
        self.a.is_admin = False
        self.assertEqual((), self.plan(wants_records=True).problems)
        self.a.fates = ['the disk is full']
        with self.assertRaises(errors.ApplicationError):
            self.create(parallel=1)
        for row in self.a.rows.values():
            row['status'] = 'error'  # so that none has a record
        self.assertEqual((), self.plan(wants_records=True).problems)
        self.a.refusals = {
            f'GET /backups/{id_}/export_record': [FORBIDDEN] * 2
            for id_ in self.a.rows}
        self.assertEqual((), self.plan().problems)
        self.assertIn('may not export', self.plan(
            wants_records=True).problems[0])

    def test_without_a_backup_the_message_comes_with_the_first(self) -> None:
        self.a.is_admin = False
        self.a.refusals = {
            f'GET /backups/b{number}-{volume}/export_record': [FORBIDDEN] * 9
            for number in range(99) for volume in self.SIZES}
        with self.assertRaises(errors.ApplicationError) as caught:
            self.create(destination=self.destination())
        self.assertIn('You may not export the records', str(caught.exception))
        self.a.refusals = {}
        self.a.log.clear()
        made = self.create(destination=self.destination())
        self.assertEqual(backup_sets.CONSISTENT, made.state)
        self.assertEqual([], self.a.posts())

    def test_a_backup_of_others_without_a_record_is_no_obstacle(self) -> None:
        self.create()
        self.a.rows['theirs'] = {
            **next(iter(self.a.rows.values())), 'id': 'theirs',
            'metadata': {}, 'volume_id': 'theirs',
            'data_timestamp': '2030-01-01T00:00:00.000000'}
        self.a.parents['theirs'] = None
        self.take('tuesday')
        for why in (cloud_api.NotThere('no service in its zone', 404),
                    cloud_api.CloudError('another driver', 400),
                    cloud_api.CloudError('broken', 500)):
            self.a.refusals = {'GET /backups/theirs/export_record': [why]}
            self.assertEqual(
                (), self.plan('tuesday', wants_records=True).problems)
            self.assertEqual([[]], list(self.a.refusals.values()))


class SecondSiteTest(TestCase):
    """Of what is deleted here, one other site learns: the set is there."""

    def setUp(self) -> None:
        super().setUp()
        self.create(destination=self.destination())
        self.a.log.clear()
        self.b.log.clear()
        self.c = self.destination(
            'C', backup_base.FakeSite('c', self.clock, self.store))

    def test_a_set_that_is_registered_elsewhere_is_refused(self) -> None:
        self.assert_refused(
            'Backup set monday (', 'or a part of it, may be registered at B',
            'name it with --to-cloud B', 'an older name of C',
            destination=self.c)

    def test_so_is_one_that_needs_such_a_set(self) -> None:
        self.take('tuesday')
        self.assert_refused(
            'Backup set monday (', 'may be registered at B',
            '--full and another', name='tuesday', destination=self.c)
        plan = self.plan('tuesday', self.c, full_every=1)
        self.assertEqual((), plan.problems)

    def test_one_of_which_a_registration_was_interrupted_too(self) -> None:
        for row in self.a.rows.values():
            row['metadata'].update(metadata.ours({'registered': ''}))
        self.assert_refused('may be registered at B', destination=self.c)

    def test_what_another_site_has_made_is_not_looked_at(self) -> None:
        # It is registered at B, which is this site then.
        self.assertEqual([], backup_problems.of_registration(
            self.other, 'A', self.b.backups()))


class OtherSiteTest(TestCase):
    def test_the_same_site_is_no_other_one(self) -> None:
        self.b.volume_url = self.a.volume_url
        self.assert_refused(
            'Cloud B is this site', destination=self.destination()
        )

    def test_this_site_by_another_url(self) -> None:
        # As with "interface: internal" in clouds.yaml.
        self.other = copy.copy(self.a)
        self.other.volume_url = 'http://internal.a.example'
        self.other.project_id = 'another-project'
        self.assert_refused(
            'Cloud B is this site', destination=self.destination())

    def test_one_keystone_for_both_needs_target_volumes(self) -> None:
        self.b.project_id = self.a.project_id
        self.assert_refused(
            'would count as made at B', 'ID project-a at both', '--mapping',
            destination=self.destination())

    def test_no_service_there(self) -> None:
        self.b.services = []
        self.assert_refused(
            'No cinder-backup service is up and enabled at B',
            destination=self.destination(),
        )

    def test_one_who_may_not_import(self) -> None:
        self.b.refusals['POST /backups/import_record'] = [FORBIDDEN]
        self.assert_refused(
            'may not import backups at B', destination=self.destination()
        )

    def test_quota_there_counts_ancestors_that_are_missing(self) -> None:
        self.create()
        self.take('tuesday')
        self.a.log.clear()
        self.b.quota['backups'] = {'limit': 5, 'in_use': 0, 'reserved': 0}
        self.assert_refused(
            'backups at B is too small: 6 needed, 5 of 5 left',
            name='tuesday',
            destination=self.destination(),
        )

    def test_quota_there_does_not_count_what_is_there(self) -> None:
        self.create(destination=self.destination())
        self.take('tuesday')
        self.b.quota['backups'] = {'limit': 3, 'in_use': 0, 'reserved': 0}
        plan = self.plan('tuesday', destination=self.destination())
        self.assertEqual((), plan.problems)


class TargetVolumesTest(TestCase):
    """With a mapping, each source volume gets a target volume."""

    def setUp(self) -> None:
        super().setUp()
        self.volumes = {
            id_: resolved.Volume(
                id_, 'shop', id_[:-4], f'/dev/{id_[-3:]}', size, 't', None, {}
            )
            for id_, size in self.SIZES.items()
        }
        self.rows: list[resolved.Row] = []
        self.there: dict[str, dict[str, Any]] = {}
        for where, name, value in (
            (
                resolving,
                'resolve',
                lambda *args, **kwargs: resolved.Resolution(
                    [], self.volumes, self.rows
                ),
            ),
            (targets, 'everything', lambda cloud: []),
            (targets, 'find', lambda site, v, there: self.there.get(v.id)),
            (targets, 'ensure', self.ensure),
        ):
            patch: Any = mock.patch.object(where, name, value)
            self.addCleanup(patch.stop)
            patch.start()
        self.made: list[resolved.Volume] = []

    def ensure(
        self, site: Any, volumes: Any, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        self.made = list(volumes)
        return {v.id: {'id': f'target-{v.id}', 'size': v.size,
                       **self.there.get(v.id, {})} for v in self.made}

    def destination(self, name: str = 'B', site: Any = None,
                    **kwargs: Any) -> registration.Destination:
        made = super().destination(name, site, **kwargs)
        made._mapping = mock.Mock()
        return made

    def test_they_are_enough_with_one_keystone_for_both(self) -> None:
        self.b.project_id = self.a.project_id
        self.assertEqual((), self.plan(
            destination=self.destination()).problems)

    def test_what_the_mapping_lacks(self) -> None:
        self.rows = [
            resolved.Row(0, 'db', 'flavor', 'big', '', 'is not there')
        ]
        self.assert_refused(
            'flavor big: is not there', destination=self.destination()
        )

    def test_quota_there_counts_target_volumes_that_are_missing(self) -> None:
        self.there = {'db-vda': {'id': 't'}}
        self.b.quota['gigabytes'] = {'limit': 4, 'in_use': 0, 'reserved': 0}
        self.assert_refused(
            'gigabytes at B is too small: 5 needed, 4 of 4 left',
            destination=self.destination(),
        )

    def test_two_volumes_with_one_target_are_refused(self) -> None:
        self.there = {id_: {'id': 't'} for id_ in ('db-vda', 'web-vda')}
        self.assert_refused(
            'db-vda (/dev/vda of server db) and web-vda (/dev/vda of server '
            'web) have one target volume, t,', destination=self.destination())
        self.assertEqual([], self.made)

    def test_so_is_one_of_another_application(self) -> None:
        self.there = {'db-vda': {'id': 't'}}
        self.create(destination=super().destination())
        for row in self.b.rows.values():
            if row['volume_id'] == 'web-vda':
                row['volume_id'] = 't'
                row['metadata'].update(metadata.ours({'application': 'mail'}))
        self.take('tuesday')
        self.a.log.clear()
        self.assert_refused(
            'db-vda (/dev/vda of server db) and web-vda of application mail '
            'have one target volume, t,', name='tuesday',
            destination=self.destination())

    def test_records_are_those_of_the_target_volumes(self) -> None:
        self.create(destination=self.destination())
        self.assertEqual(
            {f'target-{id_}' for id_ in self.SIZES},
            {row['volume_id'] for row in self.b.rows.values()},
        )
        there = self.find(site=self.other)
        self.assertEqual(
            set(self.SIZES),
            {
                volume['id']
                for server in there.servers
                for volume in server['volumes']
                if volume['backup_id']
            },
        )

    def modes(self, name: str, destination: Any) -> dict[str, str]:
        """Take a set and back it up, and return how."""
        self.take(name)
        return {each['volume_id']: backup_sets.mode_of(each) for each in
                self.create(name, destination=destination).backups}

    def test_a_new_target_begins_with_a_full_one(self) -> None:
        self.create(destination=self.destination())
        self.there = {id_: {'id': f'target-{id_}'} for id_ in self.SIZES}
        # Another type is mapped, or the target volume was deleted.
        del self.there['db-vda']
        self.assertEqual(
            {'db-vda': 'full', 'db-vdb': 'incremental',
             'web-vda': 'incremental'},
            self.modes('tuesday', self.destination()))
        for row in self.b.rows.values():
            if metadata.get(row, 'backup_set') == 'tuesday':
                row['volume_id'] = row['volume_id'].replace(
                    'target-db-vda', 'new')
        self.there['db-vda'] = {'id': 'new'}
        self.assertEqual(
            {'incremental'},
            set(self.modes('wednesday', self.destination()).values()))

    def test_so_does_the_first_one_with_or_without_targets(self) -> None:
        self.create(destination=super().destination())
        self.there = {id_: {'id': f'target-{id_}'} for id_ in self.SIZES}
        plain = super().destination
        for name, destination, mode in (
                ('tuesday', self.destination(), 'full'),
                ('wednesday', self.destination(), 'incremental'),
                ('thursday', plain(), 'full'),
                ('friday', plain(), 'incremental')):
            self.assertEqual(
                {mode}, set(self.modes(name, destination).values()), name)

    def test_a_chain_that_is_not_there_yet_goes_on(self) -> None:
        self.create()
        self.assertEqual(
            {'incremental'},
            set(self.modes('tuesday', self.destination()).values()))

    def test_a_target_has_the_size_that_the_volume_has_now(self) -> None:
        self.a.volumes['db-vda']['size'] = 9
        self.create(destination=self.destination())
        self.assertEqual(
            {'db-vda': 9, 'db-vdb': 3, 'web-vda': 2},
            {volume.id: volume.size for volume in self.made},
        )

    def test_a_backup_that_is_larger_than_its_target_is_not_registered(
            self) -> None:
        destination = self.destination()
        plan = self.plan(destination=destination)
        self.a.volumes['db-vda']['size'] = 9
        with self.assertRaises(errors.ApplicationError) as caught:
            backup.create(self.cloud, plan, self.timer, 1, 600.0, destination)
        for words in ('it has 9 GiB', 'target-db-vda has 1 GiB',
                      'is kept where it is'):
            self.assertIn(words, str(caught.exception))
        self.assertEqual({'target-db-vdb', 'target-web-vda'}, {
            row['volume_id'] for row in self.b.rows.values()})
        self.assertEqual(backup_sets.PENDING, self.find().state)

    def test_the_same_command_again_makes_it_another_target(self) -> None:
        self.test_a_backup_that_is_larger_than_its_target_is_not_registered()
        self.a.volumes['db-vda']['size'] = 12
        made = self.create(destination=self.destination())
        self.assertEqual(
            {'db-vda': 9, 'db-vdb': 3, 'web-vda': 2},
            {volume.id: volume.size for volume in self.made})
        self.assertEqual('B', made.registered)

    def test_so_it_does_if_another_backup_is_still_to_be_made(self) -> None:
        self.a.fates = ['', 'the disk is full']
        with self.assertRaises(errors.ApplicationError):
            self.create(destination=self.destination(), parallel=1)
        self.a.volumes['db-vdb']['size'] = 12
        self.assertEqual(
            backup_sets.CONSISTENT,
            self.create(destination=self.destination()).state)
        self.assertEqual(
            {'db-vda': 1, 'db-vdb': 3, 'web-vda': 2},
            {volume.id: volume.size for volume in self.made})
