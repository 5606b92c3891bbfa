# SPDX-License-Identifier: Apache-2.0

"""Everything that can be refused is refused before anything is made."""

from __future__ import annotations

from typing import Any

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import metadata
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import points
from osc_quiesce.tests.unit.recovery import restore_base


class TestPlan(restore_base.TestCase):
    def test_there_is_nothing_to_refuse(self) -> None:
        plan = self.plan()
        self.assertEqual([], plan.refusals)
        self.assertTrue(plan.verify)
        self.assertEqual(
            [['db'], ['web']],
            [[server.name for server in stage] for stage in plan.stages],
        )
        self.assertEqual([], self.site.log)

    def test_a_set_that_is_not_consistent(self) -> None:
        for state in 'pending', 'incomplete', 'inconsistent':
            self.state = state
            self.assertIn(f'is {state}, and not consistent', self.refused())
            self.assertEqual([], self.plan(allow_inconsistent=True).refusals)

    def test_servers_that_may_be_missing_unseen_are_warned_of(self) -> None:
        self.state = 'incomplete'
        self.volumes = 5
        [said] = self.plan(allow_inconsistent=True).warnings
        self.assertIn('has copies of 3 of 5 volumes', said)

    def test_a_server_that_is_not_in_the_set(self) -> None:
        self.assertIn(
            '0 servers of backup set nightly (set-id) have the name or ID '
            '"cache"', self.refused(servers=('cache',)),
        )

    def test_servers_can_be_chosen(self) -> None:
        plan = self.plan(servers=('web',))
        self.assertEqual([], plan.refusals)
        self.assertEqual(
            ['web-vda'], [item.wanted.id for item in plan.items])

    def test_a_set_without_records_of_servers(self) -> None:
        self.servers = []
        self.assertIn('is damaged or missing', self.refused())

    def test_a_backup_that_is_missing_or_not_available(self) -> None:
        del self.copies['db-vdb']
        self.assertIn('its backup is not there', self.refused())
        self.site.backup_rows['b-db-vda']['status'] = 'error'
        self.assertIn('backup b-db-vda is error', self.refused())

    def test_a_target_of_another_size(self) -> None:
        self.target('db-vda')['size'] = 2
        plan = self.plan()
        self.assertEqual([], plan.refusals)
        self.assertIn('not registered with a target volume of this site that '
                      'has their size: db-vda', plan.warnings[0])
        self.assertNotIn('web-vda', plan.warnings[0])
        self.assertIn('has their size: db-vda', self.refused(verify=True))
        self.assertEqual([False, True, True], [
            v.verified for v in self.restore().volumes])
        self.assertEqual(('', 2), (self.target('db-vda')['data'],
                                   self.target('db-vda')['size']))
        (made,) = [v for v in self.site.volumes.values() if marks.maker(v)[0]]
        self.assertEqual(('data of db-vda', 1), (made['data'], made['size']))

    def test_a_target_that_has_grown_since_it_was_restored(self) -> None:
        self.restore()
        self.target('db-vda')['size'] = 2
        self.restore()
        self.assertEqual(3, len(self.site.volumes))
        self.target('db-vda')['metadata'][
            marks.PREFIX + marks.RESTORED_AT] = ''
        self.assertIn('volume t-db-vda has 2 GiB, the backup 1',
                      self.refused())

    def test_a_target_that_is_attached(self) -> None:
        self.target('db-vda').update(
            status='in-use', attachments=[{'server_id': 'someone'}])
        self.assertIn('is attached to server someone', self.refused())

    def test_a_target_into_which_nothing_can_be_restored(self) -> None:
        for status in ('maintenance', 'retyping', 'awaiting-transfer',
                       'deleting', 'reserved'):
            self.target('web-vda')['status'] = status
            self.assertIn(f'volume t-web-vda is {status}', self.refused())
        for is_admin, status in ((True, 'error_extending'),
                                 (True, 'error_deleting'),
                                 (False, 'error_restoring')):
            self.site.is_admin = is_admin
            self.target('web-vda')['status'] = status
            self.assertIn(f'target volume t-web-vda is {status}, and was not '
                          'reset', self.refused())

    def test_an_incremental_one_without_a_full_one(self) -> None:
        rows = self.site.backup_rows
        rows['b-web-vda']['is_incremental'] = True
        self.assertIn(
            'Backup b-web-vda of volume web-vda (/dev/vda of server web) is '
            'incremental, and the full one on which it depends is not there.',
            self.refused())
        # That of another volume, or a later one, is not what it depends on.
        self.site.add_backup('t-web-vda', 'later')
        self.assertIn('is not there', self.refused())
        first = self.site.add_backup(
            't-web-vda', 'full', data_timestamp='2025-01-01T00:00:00')
        self.assertEqual([], self.plan().refusals)
        rows[first].update(volume_id='an earlier target',
                           metadata=metadata.ours({'source_volume_id': 'v'}))
        self.assertIn('is not there', self.refused())
        rows['b-web-vda']['metadata'] = metadata.ours(
            {'source_volume_id': 'v'})
        self.assertEqual([], self.plan().refusals)

    def test_a_mapping_that_leaves_out_all_servers(self) -> None:
        self.text += 'servers:\n  db: {exclude: true}\n'
        self.assertEqual([], self.plan().refusals)
        for options in {'servers': ('db',)}, {'servers': ('db',),
                                              'drill': True}:
            self.assertIn('leaves out all servers of backup set nightly',
                          self.refused(**options))

    def test_a_target_that_is_encrypted(self) -> None:
        self.target('db-vda')['encrypted'] = True
        self.assertIn('volume t-db-vda is encrypted: Cinder would restore '
                      'plain data into it', self.refused())

    def test_a_target_with_the_data_of_another_restore(self) -> None:
        self.target('db-vda')['metadata'] = restore_base.taken('t-db-vda')
        self.assertIn('has the data of restore other', self.refused())

    def test_two_volumes_with_one_target(self) -> None:
        old = self.copies['web-vda']
        self.copies['web-vda'] = points.Copy(
            old.id, old.kind, 1, 'available', 't-db-vda')
        for servers in (), ('db',), ('web',):
            self.assertIn(
                'Volumes db-vda (/dev/vda of server db) and web-vda (/dev/vda '
                'of server web) have one target volume, t-db-vda,',
                self.refused(servers=servers))
        # As the message says
        self.target('db-vda')['description'] = ''
        self.restore()
        self.assertEqual('', self.target('db-vda')['data'])

    def test_a_target_that_another_application_has_as_well(self) -> None:
        of_mail = metadata.ours({
            marks.APPLICATION: 'mail', 'source_volume_id': 'mail-vda'})
        self.site.add_backup('t-db-vda', 'mail', metadata=of_mail)
        self.assertIn(
            'db-vda (/dev/vda of server db) and mail-vda of application mail '
            'have one target volume, t-db-vda,', self.refused())
        self.assertEqual([], self.plan(servers=('web',)).refusals)

    def test_a_server_without_anything_to_boot_from(self) -> None:
        self.servers[0]['volumes'][0]['excluded'] = True
        self.assertIn('Server db (db-id) has neither an image nor a volume',
                      self.refused())

    def test_servers_that_run_here_or_at_the_source(self) -> None:
        source = restore_base.FakeSite()
        for site, options in (self.site, {}), (source, {'source': source}):
            site.servers['db-id'] = {
                'id': 'db-id', 'name': 'db', 'status': 'ACTIVE'}
            self.assertIn(
                'Servers of the source are ACTIVE: db (db-id)',
                self.refused(**options),
            )
            self.assertEqual([], self.plan(force=True, **options).refusals)
            self.assertEqual([], self.plan(start=False, **options).refusals)
            for status in 'SHUTOFF', 'SHELVED_OFFLOADED', 'ERROR':
                site.servers['db-id']['status'] = status
                self.assertEqual([], self.plan(**options).refusals)
            # As after a thaw that failed.
            site.servers['db-id']['OS-EXT-STS:power_state'] = 1
            self.assertIn('are ERROR with a running guest: db (db-id)',
                          self.refused(**options))
            site.servers.clear()

    def test_servers_that_may_write_run(self) -> None:
        self.site.servers = {
            'db-id': {'id': 'db-id', 'status': 'VERIFY_RESIZE'},
            'web-id': {'id': 'web-id', 'status': 'PAUSED'}}
        self.assertIn(
            'Servers of the source are PAUSED, VERIFY_RESIZE: db (db-id), '
            'web (web-id). Stop them', self.refused())

    def test_a_source_that_cannot_be_reached_is_no_obstacle(self) -> None:
        source = restore_base.FakeSite()

        def away(*_args: Any) -> None:
            raise cloud_api.CloudError('no route to host')

        source.compute = away  # type: ignore
        with self.assertLogs('osc_quiesce', 'WARNING'):
            self.assertEqual([], self.plan(source=source).refusals)

    def test_several_reasons_at_once(self) -> None:
        self.state = 'pending'
        del self.copies['db-vdb']
        self.text = self.text.replace('m1.small: small', 'm1.small: tiny')
        said = self.refused()
        for reason in 'is pending', 'its backup is not', '"tiny" is not':
            self.assertIn(reason, said)


class TestProofs(restore_base.TestCase):
    def test_without_rights_nothing_is_called_verified(self) -> None:
        self.site.is_admin = False
        plan = self.plan()
        self.assertFalse(plan.verify)
        self.assertIn('Only an administrator can prove', plan.warnings[0])
        self.assertIn('Only an administrator', self.refused(verify=True))
        self.assertEqual([], list(self.plan(verify=False).warnings))

    def test_without_a_target_volume_nothing_can_be_proven(self) -> None:
        self.unregister('db-vda')
        self.assertIn(
            'not registered with a target volume of this site that has their '
            'size: db-vda',
            self.refused(verify=True),
        )
        plan = self.plan()
        self.assertTrue(plan.verify)  # the others
        self.assertIn('db-vda', plan.warnings[0])

    def test_a_volume_that_is_no_target_is_never_restored_into(self) -> None:
        self.target('db-vda')['description'] = 'mine'
        items = {item.wanted.id: item for item in self.plan().items}
        self.assertIsNone(items['db-vda'].volume)
        target = items['db-vdb'].volume
        assert target
        self.assertEqual('t-db-vdb', target['id'])

    def test_a_source_is_never_restored_into(self) -> None:
        """Even if it is the place to go back to from another site."""
        self.unregister('db-vda')
        self.site.add_volume(
            id='db-vda',
            metadata=metadata.ours({marks.TARGET_OF: 'elsewhere',
                                    marks.VOLUME: 'db-vda'}))
        items = {item.wanted.id: item for item in self.plan().items}
        self.assertIsNone(items['db-vda'].volume)
        self.assertFalse(items['db-vda'].is_target)


class TestRoom(restore_base.TestCase):
    def test_quotas(self) -> None:
        for source in list(self.copies):
            self.unregister(source)
        none = {'limit': 1, 'in_use': 1, 'reserved': 0}
        self.site.quotas = {
            'volumes': none, 'gigabytes_ceph': none, 'instances': none,
            'cores': {'limit': -1, 'in_use': 0, 'reserved': 0},
            'ram': {'limit': 1023, 'in_use': 0, 'reserved': 0},
        }
        said = self.refused()
        for reason in (
            "Cinder's quota volumes at this site is too small: 3 needed, "
            '0 of 1 left.',
            "Cinder's quota gigabytes_ceph at this site is too small: 3",
            'The quota instances is too small: 2 needed',
            'The quota ram is too small: 1024 needed, 1023 of 1023 left.',
        ):
            self.assertIn(reason, said)

    def test_proofs_need_a_quota_of_backups(self) -> None:
        self.site.quotas = {
            'backup_gigabytes': {'limit': 4, 'in_use': 3, 'reserved': 0}}
        self.assertIn('backup_gigabytes at this site is too small: 3 needed',
                      self.refused())
        self.assertEqual([], self.plan(verify=False).refusals)
        self.assertEqual([], self.plan(parallel=1).refusals)

    def test_targets_that_are_there_take_up_their_size_too(self) -> None:
        self.site.pools = [
            {'capabilities': {'volume_backend_name': 'rbd-b',
                              'free_capacity_gb': 2}},
            {'capabilities': {'volume_backend_name': 'other',
                              'free_capacity_gb': 100}},
        ]
        self.assertIn(
            'The pools of rbd-b have room for 2 GiB, and restored volumes '
            'take up 3 GiB.', self.refused(),
        )
        self.target('db-vda')['metadata'] = metadata.ours(
            {marks.RESTORED_AT: 'before', marks.VOLUME: 't-db-vda'})
        self.assertEqual([], self.plan().refusals)

    def test_pools_that_do_not_tell_are_no_obstacle(self) -> None:
        self.site.pools = [
            {'capabilities': {'volume_backend_name': 'rbd-b',
                              'free_capacity_gb': 'unknown'}}]
        self.assertEqual([], self.plan().refusals)

    def test_without_cinder_backup_nothing_can_be_restored(self) -> None:
        for state, status in ('down', 'enabled'), ('up', 'disabled'):
            self.site.services = [
                {**restore_base.UP, 'state': state, 'status': status}]
            self.assertIn('No cinder-backup service is up and enabled at this '
                          'site', self.refused())
