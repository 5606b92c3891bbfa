# SPDX-License-Identifier: Apache-2.0

"""Restores as the marks on their volumes and servers say."""

from __future__ import annotations

import copy
from typing import Any
from unittest import mock

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import restores
from osc_quiesce.tests.unit.recovery import restore_base


class TestRestores(restore_base.TestCase):
    def find(self) -> restores.Restore:
        return restores.find(self.cloud, 'nightly')

    def test_it_is_complete_when_all_is_there(self) -> None:
        self.restore()
        found = self.find()
        self.assertEqual(
            ('nightly', 'shop', 'set-id', 'complete', 3),
            (found.name, found.application, found.set_id, found.state,
             found.verified),
        )
        self.assertNotEqual('', found.restored_at)
        self.assertEqual(
            ['db', 'web'], [server['name'] for server in found.servers])
        self.assertEqual(found, restores.find(self.cloud, found.id))

    def test_it_needs_its_set_until_the_last_server_is_made(self) -> None:
        seen: list[bool] = []

        def look(line: str) -> None:
            if line.startswith(('PUT /volumes/t-', 'POST /backups',
                                'DELETE /backups', 'POST /servers')):
                # Nothing is known before the first one.
                seen.extend(found.needs_set for found in restores.find_all(
                    self.cloud))

        self.site.hooks.append(look)
        self.restore(parallel=1)
        self.assertLess(3 * 3, len(seen))
        self.assertEqual({True}, set(seen[:-1]))
        self.assertEqual([False], seen[-1:])
        self.assertFalse(self.find().needs_set)

    def test_without_servers_until_all_is_restored(self) -> None:
        self.restore(start=False, verify=False)
        self.assertFalse(self.find().needs_set)

    def test_one_that_differs_is_to_be_restored_again(self) -> None:
        self.restore(start=False)
        marks.write(self.cloud, 't-db-vda', {marks.DIFFERS: 'now'})
        self.assertTrue(self.find().needs_set)

    def test_of_some_servers_until_these_are_made(self) -> None:
        self.restore(start=False)
        self.restore(servers=('web',))
        self.assertFalse(self.find().needs_set)

    def test_it_is_incomplete_without_a_server(self) -> None:
        self.restore()
        next(iter(self.site.servers.values()))['status'] = 'SHUTOFF'
        self.assertEqual('incomplete', self.find().state)

    def test_what_a_server_had_is_not_called_verified(self) -> None:
        self.restore()
        self.target('db-vdb')['status'] = 'backing-up'  # with its server
        self.target('db-vda').update(
            {'attachments': [], 'status': 'available'})
        self.assertEqual(2, self.find().verified)

    def test_without_servers_it_is_complete_if_none_were_wanted(self) -> None:
        self.restore(start=False)
        self.assertEqual('complete', self.find().state)

    def test_servers_that_were_restored_before_the_others(self) -> None:
        self.restore(servers=('db',))
        self.assertEqual('complete', self.find().state)
        self.site.builds_to = ['ERROR']
        with self.assertRaises(errors.ApplicationError):
            self.restore()
        self.assertEqual('incomplete', self.find().state)
        self.restore()
        self.assertEqual('complete', self.find().state)
        self.restore(servers=('web',))
        self.restore(servers=('web',), start=False)
        self.assertEqual('complete', self.find().state)

    def test_servers_that_were_restored_one_by_one(self) -> None:
        for name in 'db', 'web':
            self.restore(servers=(name,))
            self.assertEqual('complete', self.find().state)
        self.assertEqual(3, len(self.find().volumes))

    def test_none_of_them_is_forgotten(self) -> None:
        self.site.builds_to = ['ERROR']
        with self.assertRaises(errors.ApplicationError):
            self.restore(servers=('db',))
        self.restore(servers=('web',))
        self.assertEqual('incomplete', self.find().state)

    def test_a_server_without_volumes_of_its_own(self) -> None:
        self.servers[1].update({
            'volumes': [], 'image': {'id': 'i1', 'name': 'cirros'}})
        self.text += 'images: {cirros: cirros}\n'
        self.restore(servers=('db',))
        self.restore()
        self.assertEqual('complete', self.find().state)

    def test_volumes_whose_servers_were_not_wanted_at_first(self) -> None:
        self.restore(start=False)
        self.site.builds_to = ['ACTIVE', 'ERROR']
        with self.assertRaises(errors.ApplicationError):
            self.restore()
        self.assertEqual('incomplete', self.find().state)

    def test_one_that_failed_is_found_by_what_it_made(self) -> None:
        self.unregister('db-vda')
        self.site.restores_to = ['error_restoring']
        with self.assertRaises(errors.ApplicationError):
            self.restore(parallel=1)
        (own,) = [v for v in self.site.volumes.values() if marks.maker(v)[0]]
        own['metadata'] = {'owner': 'db'}
        self.assertIn(own, self.find().volumes)
        self.assertEqual('incomplete', self.find().state)

    def test_there_is_none(self) -> None:
        with self.assertRaisesRegex(restores.NoSuchRestore, 'ID "nightly"'):
            self.find()
        self.assertEqual([], restores.find_all(self.cloud))

    def test_deleting_gives_target_volumes_up(self) -> None:
        self.unregister('db-vda')
        self.restore()
        restores.delete(self.find(), self.waiter)
        self.assertEqual({}, self.site.servers)
        self.assertEqual({}, self.site.ports)
        # vdb was to be deleted with its server, and is a target volume.
        self.assertEqual({'t-db-vdb', 't-web-vda'}, set(self.site.volumes))
        self.assertEqual(3, len(self.site.backup_rows))
        self.assertEqual([], restores.find_all(self.cloud))
        self.assertEqual('data of db-vdb', self.target('db-vdb')['data'])

    def test_after_that_the_same_restore_begins_anew(self) -> None:
        self.restore()
        restores.delete(self.find(), self.waiter)
        self.target('db-vda')['data'] = 'written since'
        self.restore()
        self.assertEqual('data of db-vda', self.target('db-vda')['data'])

    def test_what_can_be_deleted_is_even_if_something_cannot(self) -> None:
        for source in 'db-vda', 'web-vda':
            self.unregister(source)
        self.restore()

        def refuse(line: str) -> None:
            if line == f'DELETE /servers/{db["id"]}':
                raise cloud_api.CloudError('it is locked', 409)

        (db,) = [s for s in self.site.servers.values() if s['name'] == 'db']
        self.site.hooks.append(refuse)
        with self.assertRaisesRegex(errors.ApplicationError, 'it is locked'):
            restores.delete(self.find(), self.waiter)
        self.assertEqual([db], list(self.site.servers.values()))
        self.assertEqual({}, self.site.ports)
        self.assertEqual(
            ['db', 'db'],
            [v['metadata']['owner'] for v in self.site.volumes.values()])

    def test_what_cinder_is_at_work_on_is_waited_for(self) -> None:
        self.unregister('db-vda')
        self.site.add_volume(
            id='new', status='creating',
            description=marks.own_description('x', 'db-vda'),
            metadata=metadata.ours(
                {marks.RESTORE_ID: 'x', marks.RESTORE: 'nightly'}))
        restores.delete(self.find(), self.waiter)
        self.assertNotIn('new', self.site.volumes)

    def test_a_target_volume_under_way_is_given_up_at_once(self) -> None:
        restore_base.take(self.target('db-vda'), name='nightly')
        self.target('db-vda').update(
            {'status': 'restoring-backup', 'from': 'b-db-vda'})
        restores.delete(self.find(), self.waiter)
        self.assertEqual([], restores.find_all(self.cloud))

    def test_a_volume_that_cannot_be_deleted_is_told_at_once(self) -> None:
        self.unregister('db-vda')
        self.restore(start=False)
        self.site.deletes_to = ['error_deleting']
        for _again in range(2):
            with self.assertRaisesRegex(
                    errors.ApplicationError,
                    'could not be deleted, and is error_deleting'):
                restores.delete(self.find(), self.waiter)

    def test_one_that_another_restore_has_taken_is_not_given_up(self) -> None:
        self.restore(start=False)
        found = self.find()
        restore_base.take(self.target('db-vda'), **{marks.VERIFIED: 'now'})
        taken = copy.deepcopy(self.target('db-vda'))
        restores.delete(found, self.waiter)
        self.assertEqual(taken, self.target('db-vda'))
        self.assertEqual(
            '', metadata.get(self.target('db-vdb'), marks.RESTORE_ID))

    def test_a_server_goes_though_a_volume_was_detached_from_it(self) -> None:
        self.restore()
        found = self.find()
        (db,) = [s for s in self.site.servers.values() if s['name'] == 'db']
        db['os-extended-volumes:volumes_attached'].clear()
        restores.delete(found, self.waiter)
        self.assertEqual({}, self.site.servers)
        self.assertIn('t-db-vdb', self.site.volumes)

    def test_a_server_that_nova_would_keep_for_a_while_goes_at_once(
            self) -> None:
        self.unregister('db-vda')
        self.restore()
        compute = self.site.compute

        def reclaim_later(method: str, path: str, *args: Any,
                          **kwargs: Any) -> Any:
            """Delete as Nova does with reclaim_instance_interval."""
            id_, _, action = path.removeprefix('/servers/').partition('/')
            if method == 'DELETE':
                self.site.servers[id_]['status'] = 'SOFT_DELETED'
                return {}
            if action == 'action':
                self.assertEqual(({'forceDelete': None},), args)
                return compute('DELETE', f'/servers/{id_}')
            return compute(method, path, *args, **kwargs)

        self.site.compute = reclaim_later  # type: ignore[method-assign]
        restores.delete(self.find(), self.waiter)
        self.assertEqual({}, self.site.servers)
        self.assertEqual({'t-db-vdb', 't-web-vda'}, set(self.site.volumes))

    def test_a_port_that_stays_is_named_and_keeps_no_other_one(self) -> None:
        self.restore()
        first, *_others = self.site.ports

        def refuse(line: str) -> None:
            if line == f'DELETE /ports/{first}':
                raise cloud_api.CloudError('it is the parent of a trunk', 409)

        self.site.hooks.append(refuse)
        with self.assertRaisesRegex(
                errors.ApplicationError, 'it is the parent of a trunk.*'
                f'"openstack port delete {first}"'):
            restores.delete(self.find(), self.waiter)
        self.assertEqual([first], list(self.site.ports))

    def test_nothing_is_deleted_before_the_ports_are_known(self) -> None:
        """Once the rest is gone, no command finds them again."""
        self.restore()
        log = list(self.site.log)
        with mock.patch.object(
                self.site, 'network', side_effect=cloud_api.CloudError(
                    'no answer')), self.assertRaisesRegex(
                        errors.ApplicationError, r'^Nothing of restore '
                        r'nightly \(.*\) was deleted, since .*: no answer\. '
                        r'The same command again .*\.$'):
            restores.delete(self.find(), self.waiter)
        self.assertEqual(log, self.site.log)
        restores.delete(self.find(), self.waiter)
        self.assertEqual({}, self.site.ports)

    def test_a_port_that_appears_late_is_deleted_as_well(self) -> None:
        """Its request got no answer."""
        self.restore()
        late = {**next(iter(self.site.ports.values())), 'id': 'late'}

        def appear(line: str) -> None:
            if line.startswith('DELETE /servers'):
                self.site.ports['late'] = late

        self.site.hooks.append(appear)
        restores.delete(self.find(), self.waiter)
        self.assertEqual({}, self.site.ports)

    def test_a_site_without_a_network_service(self) -> None:
        for server in self.servers:
            server['ports'] = None
        self.restore()
        with mock.patch.object(
                self.site, 'network', side_effect=cloud_api.NoService(
                    'there is none in the catalog')):
            restores.delete(self.find(), self.waiter)
        self.assertEqual({}, self.site.servers)

    def test_no_port_is_left_whatever_the_size_of_pages(self) -> None:
        self.site.ports['others'] = {'id': 'others', 'description': 'x'}
        self.restore()
        self.site.page_size = 1
        restores.delete(self.find(), self.waiter)
        self.assertEqual(['others'], list(self.site.ports))

    def test_deleting_can_be_repeated(self) -> None:
        self.restore()
        found = self.find()
        restores.delete(found, self.waiter)
        restores.delete(found, self.waiter)


class TestCopies(restore_base.TestCase):
    """Cinder copies marks onto whatever a backup is restored into."""

    def setUp(self) -> None:
        super().setUp()
        self.unregister('db-vda')

    def restore_by_hand(self, volume: dict[str, Any]) -> dict[str, Any]:
        """Return a volume into which a backup of another one is restored."""
        self.site.add_backup(
            volume['id'], 'by hand', id='by-hand',
            source_metadata=dict(volume['metadata']), source_name={
                key: volume[key] for key in ('name', 'description')})
        mine = self.site.add_volume(name='restore_backup_by-hand')
        self.cloud.volume('POST', '/backups/by-hand/restore',
                          {'restore': {'volume_id': mine['id']}})
        return self.waiter.volume(mine['id'], {'restoring-backup'})

    def test_a_copy_of_a_restored_volume_is_never_deleted(self) -> None:
        self.restore(start=False)
        (made,) = [v for v in self.site.volumes.values() if marks.maker(v)[0]]
        copied = self.restore_by_hand(made)
        self.assertEqual(
            (made['name'], made['description']),
            (copied['name'], copied['description']))
        (found,) = restores.find_all(self.cloud)
        self.assertEqual(3, len(found.volumes))
        restores.delete(found, self.waiter)
        self.assertNotIn(made['id'], self.site.volumes)
        self.assertIn(copied['id'], self.site.volumes)

    def test_a_volume_is_signed_before_it_has_data(self) -> None:
        def look(line: str) -> None:
            if line == 'POST /backups/b-db-vda/restore':
                signed.update({
                    each['id'] for each in self.site.volumes.values()
                    if each['description'].endswith(each['id'])})

        signed: set[str] = set()
        self.site.hooks.append(look)
        self.restore(start=False)
        self.assertEqual(set(self.site.volumes), signed)

    def test_a_copy_of_a_target_volume_is_none(self) -> None:
        self.restore(start=False)
        copied = self.restore_by_hand(self.target('db-vdb'))
        self.assertEqual(('', ''), (
            marks.target_of(copied), marks.owner(copied)))

    def test_a_volume_that_was_gone_back_to_is_never_deleted(self) -> None:
        self.restore()
        server = next(s for s in self.site.servers.values()
                      if s['name'] == 'db')
        found = restores.find(self.cloud, 'nightly')
        original = self.site.add_volume(
            id='original', description='mine', status='in-use',
            attachments=[{'server_id': server['id']}],
            metadata=restore_base.taken(
                'original', found.id, 'nightly', owner='x'))
        server['os-extended-volumes:volumes_attached'].append(
            {'id': 'original', 'delete_on_termination': True})
        restores.delete(restores.find(self.cloud, 'nightly'), self.waiter)
        self.assertIs(original, self.site.volumes['original'])
        self.assertEqual('', marks.owner(original))

    def test_marks_of_the_source_do_not_count(self) -> None:
        self.site.backup_rows['b-db-vda']['source_metadata'] = (
            restore_base.taken('db-vda', 'before', 'earlier', **dict.fromkeys(
                (marks.RESTORED_AT, marks.VERIFIED, marks.DIFFERS,
                 marks.TARGET_OF), 'then')))
        self.site.hooks.append(self.stop)
        with self.assertRaises(KeyboardInterrupt):
            self.restore(parallel=1)
        self.site.hooks.clear()
        (own,) = [v for v in self.site.volumes.values() if marks.maker(v)[0]]
        self.assertEqual('before', metadata.get(own, marks.RESTORE_ID))
        (found,) = restores.find_all(self.cloud)
        self.assertEqual((self.plan().restore_id, '', 0), (
            found.id, found.restored_at, found.verified))
        self.restore()
        (found,) = restores.find_all(self.cloud)
        self.assertEqual(('nightly', 'complete', 2), (
            found.name, found.state, found.verified))
        self.assertEqual('', marks.target_of(own))
        restores.delete(found, self.waiter)
        self.assertNotIn(own['id'], self.site.volumes)

    @staticmethod
    def stop(line: str) -> None:
        if line.startswith('POST /volumes/volume-') and 'action' in line:
            raise KeyboardInterrupt
