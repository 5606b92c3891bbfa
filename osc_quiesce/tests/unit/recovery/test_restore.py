# SPDX-License-Identifier: Apache-2.0

"""A restore: in order, into volumes that exist, and continued when stopped."""

from __future__ import annotations

import collections
from collections.abc import Callable
import contextlib
import copy
import os
import re
import tempfile
import threading
from typing import Any
from unittest import mock

from osc_quiesce import model
from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.recovery import booting
from osc_quiesce.recovery import checking
from osc_quiesce.recovery import filling
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import points
from osc_quiesce.recovery import proof
from osc_quiesce.recovery import restore
from osc_quiesce.recovery import restores
from osc_quiesce.tests.unit.recovery import restore_base
from osc_quiesce.v2 import application_restore_create

SOURCES = 'db-vda', 'db-vdb', 'web-vda'


class TestCase(restore_base.TestCase):
    def assert_restored(self) -> None:
        """Check that each volume has the data of its backup, and its marks."""
        for source in SOURCES:
            volume = self.target(source)
            self.assertEqual(f'data of {source}', volume['data'])
            self.assertEqual(source.split('-')[0], volume['metadata']['owner'])
            for key in (marks.RESTORE_ID, marks.RESTORED_AT):
                self.assertNotEqual('', metadata.get(volume, key))

    def server(self, name: str) -> dict[str, Any]:
        found = [
            each for each in self.site.servers.values()
            if each['name'] == name
        ]
        self.assertEqual(1, len(found))
        return found[0]

    def position(self, line: str) -> int:
        return self.site.changes().index(line)

    def stop_at(self, beginning: str) -> None:
        """Let the command be killed when it sends a request like this."""
        def stop(line: str) -> None:
            if line.startswith(beginning):
                raise KeyboardInterrupt

        self.site.hooks.append(stop)
        with self.assertRaises(KeyboardInterrupt):
            self.restore()
        self.site.hooks.clear()


class TestRestore(TestCase):
    def test_volumes_servers_and_report(self) -> None:
        report = self.restore()
        self.assert_restored()
        self.assertEqual(
            [
                ('db-vda', 't-db-vda', True),
                ('db-vdb', 't-db-vdb', True),
                ('web-vda', 't-web-vda', True),
            ],
            [(v.source_id, v.id, v.verified) for v in report.volumes],
        )
        self.assertEqual(
            [('db', 'ACTIVE', ['10.0.0.7']), ('web', 'ACTIVE', ['10.0.0.7'])],
            [(s.name, s.status, s.addresses) for s in report.servers],
        )
        self.assertEqual(
            ['volumes', 'verification', 'stage 1', 'stage 2'],
            list(report.phases),
        )
        self.assertGreater(report.rpo, 0)
        self.assertEqual(sum(report.phases.values()), report.rto)
        self.assertEqual([1, 1, 2], [
            row['stage'] for row in report.rows()['volumes']])

    def test_what_is_known_is_not_asked_again(self) -> None:
        self.restore()
        reads = collections.Counter(
            path.split('/')[1] for path in self.site.reads)
        self.assertEqual((3 * 4, 3 * 2), (reads['volumes'], reads['backups']))

    def requests(self, volumes: int) -> int:
        """Return how many requests restore so many volumes of a server.

        What lists something is not among them.
        """
        self.setUp()
        self.site.volumes.clear()
        self.site.backup_rows.clear()
        self.copies.clear()
        self.servers = [restore_base.manifest(
            'db', 0, 'vda', *(f'vd{n}' for n in range(1, volumes)))]
        for volume in self.servers[0]['volumes']:
            self.register(volume)
        self.restore()
        return len(self.site.log) + len(self.site.reads)

    def test_a_volume_takes_at_most_15_requests(self) -> None:
        # 13, and for each of these volumes one for its image metadata.
        self.assertEqual(10 * 14, self.requests(30) - self.requests(20))

    def test_a_damaged_moment_only_hides_the_rpo(self) -> None:
        for text in '', 'yesterday':
            self.created_at = text
            report = self.restore()
            self.assertIsNone(report.rpo)
            self.assertEqual(2, len(report.servers))
            self.assertIn(None, application_restore_create.shown(report))

    def test_all_is_verified_before_anything_boots(self) -> None:
        self.restore()
        changes = self.site.changes()
        last_proof = max(
            n for n, line in enumerate(changes) if line == 'POST /backups'
        )
        self.assertLess(last_proof, changes.index('POST /ports'))
        self.assertLess(
            changes.index('POST /ports'), changes.index('POST /servers'))
        for source in SOURCES:
            self.assertNotEqual(
                '', metadata.get(self.target(source), marks.VERIFIED))

    def test_what_is_proven_is_written_on_the_backups(self) -> None:
        self.restore(verify=False, start=False)
        self.assertEqual([''] * 3, self.noted())
        self.restore(verify=True)
        self.assertNotIn('', self.noted())

    def test_what_differs_is_not_called_proven_any_more(self) -> None:
        self.restore(start=False)
        for found in restores.find_all(self.cloud):
            restores.delete(found, self.waiter)

        def damage(volume: dict[str, Any]) -> None:
            if volume['id'] == 't-web-vda':
                volume['data'] = 'other'

        self.site.damage = damage
        with self.assertRaises(proof.NotEqual):
            self.restore()
        self.assertEqual([True, True, False], [bool(n) for n in self.noted()])

    def noted(self) -> list[str]:
        rows = self.site.backup_rows
        return [metadata.get(rows[f'b-{each}'], marks.VERIFIED)
                for each in SOURCES]

    def test_a_restore_does_not_fail_by_what_cannot_be_written(self) -> None:
        def refuse(line: str) -> None:
            if line == 'PUT /backups/b-db-vda':
                raise cloud_api.CloudError('read only', 403)

        self.site.hooks.append(refuse)
        with self.assertLogs('osc_quiesce', 'WARNING') as logs:
            report = self.restore()
        self.assertEqual([True] * 3, [v.verified for v in report.volumes])
        self.assertIn('cannot be written on all of these backups',
                      ' '.join(logs.output))
        self.assertEqual('', self.noted()[0])

    def test_flags_are_set_after_the_restore(self) -> None:
        self.target('db-vda')['volume_image_metadata'] = {'stale': 'x'}
        self.restore()
        boot, data = self.target('db-vda'), self.target('db-vdb')
        self.assertEqual(('true', 'false'),
                         (boot['bootable'], data['bootable']))
        self.assertEqual(
            {'hw_disk_bus': 'virtio'}, boot['volume_image_metadata'])

    def test_a_volume_names_images_of_this_site(self) -> None:
        self.servers[0]['volumes'][0]['image_metadata'] = {
            'kernel_id': 'a-kernel', 'ramdisk_id': ''}
        self.text += 'images: {a-kernel: cirros}\n'
        # Cinder has restored what the backup had.
        self.target('db-vda')['volume_image_metadata'] = {
            'kernel_id': 'a-kernel'}
        self.restore()
        self.assertEqual(
            {'kernel_id': 'i1', 'ramdisk_id': ''},
            self.target('db-vda')['volume_image_metadata'])

    def test_servers_get_all_their_volumes_in_order(self) -> None:
        self.servers[0]['volumes'].reverse()
        self.restore()
        db = self.server('db')
        self.assertEqual(
            [('t-db-vda', 0), ('t-db-vdb', -1)],
            [(d['uuid'], d['boot_index'])
             for d in db['block_device_mapping_v2']],
        )
        self.assertEqual('', db['imageRef'])
        self.assertEqual('db', db['metadata']['role'])
        self.assertEqual('db-id', metadata.get(db, marks.SOURCE))

    def test_volumes_go_with_a_server_only_once_it_is_active(self) -> None:
        self.restore()
        db = self.server('db')
        for disk in db['block_device_mapping_v2']:
            self.assertIs(False, disk['delete_on_termination'])
        self.assertEqual(
            [('t-db-vda', False), ('t-db-vdb', True)],
            [(each['id'], each['delete_on_termination'])
             for each in db['os-extended-volumes:volumes_attached']],
        )

    def test_servers_of_a_stage_that_share_a_volume(self) -> None:
        """Cinder reserves it for one server at a time."""
        shared = self.servers[0]['volumes'][1]
        shared['multiattach'] = True
        self.site.lists['volume_types'][0]['extra_specs'] = {
            'multiattach': '<is> True'}
        self.servers[1].update({
            'order': 0, 'stage': 0,
            'volumes': [*self.servers[1]['volumes'], shared]})
        compute, second = self.site.compute, threading.Event()

        def send(method: str, path: str, *args: Any, **kwargs: Any) -> Any:
            volume = self.target('db-vdb')
            if volume['status'] == 'reserved':
                second.set()
                raise cloud_api.CloudError('it is reserved', 400)
            answer = compute(method, path, *args, **kwargs)
            if (method, path) == ('POST', '/servers'):
                volume['status'] = 'reserved'
                second.wait(0.2)  # would be made now
                volume['status'] = 'in-use'
            return answer

        self.site.compute = send  # type: ignore[method-assign]
        self.restore()
        self.assertEqual(2, len(self.target('db-vdb')['attachments']))

    def test_a_site_without_networks(self) -> None:
        for server in self.servers:
            server['ports'] = None
        self.restore()
        self.assertEqual('none', self.server('db')['networks'])
        self.assertEqual({}, self.site.ports)

    def test_no_start_makes_no_ports_and_servers(self) -> None:
        report = self.restore(start=False)
        self.assert_restored()
        self.assertEqual([], report.servers)
        self.assertEqual({}, self.site.ports)
        self.assertEqual(3, sum(v.verified for v in report.volumes))

    def test_unverified_volumes_are_not_called_verified(self) -> None:
        report = self.restore(verify=False)
        self.assertEqual([False] * 3, [v.verified for v in report.volumes])
        self.assertNotIn('POST /backups', self.site.changes())

    def test_what_a_server_has_cannot_be_verified_any_more(self) -> None:
        self.restore(verify=False)
        with self.assertRaisesRegex(
            proof.NotProven, 'db-vda .* cannot be verified any more'
        ):
            self.restore(verify=True)
        with self.assertLogs('osc_quiesce', 'WARNING'):
            report = self.restore()
        self.assertEqual([False] * 3, [v.verified for v in report.volumes])
        self.assertNotIn('POST /backups', self.site.changes())

    def test_what_a_server_had_is_not_called_verified(self) -> None:
        self.restore()
        self.target('db-vda')['data'] = 'written by the guest'
        for id_, server in list(self.site.servers.items()):
            for each in server['os-extended-volumes:volumes_attached']:
                each['delete_on_termination'] = False
            self.cloud.compute('DELETE', f'/servers/{id_}')
        with self.assertRaisesRegex(
                proof.NotProven, 'db-vda .* a server has it, or had it'):
            self.restore(verify=True)
        with self.assertLogs('osc_quiesce', 'WARNING'):
            report = self.restore()
        # What nobody has written to is proven again.
        self.assertEqual([False, True, True],
                         [v.verified for v in report.volumes])
        self.assertEqual('written by the guest', self.target('db-vda')['data'])

    def test_what_was_in_foreign_use_is_not_called_verified(self) -> None:
        self.restore(start=False)
        # By a rescue server, which has it no more
        self.target('db-vda')['data'] = 'written by the rescuer'
        with self.assertRaisesRegex(
                proof.NotProven, 'db-vda .* a server has it, or had it'):
            self.restore(verify=True)
        with self.assertLogs('osc_quiesce', 'WARNING'):
            report = self.restore()
        self.assertEqual([False, True, True],
                         [v.verified for v in report.volumes])
        (found,) = restores.find_all(self.cloud)
        self.assertEqual(2, found.verified)
        self.assertEqual(
            'written by the rescuer', self.target('db-vda')['data'])

    def test_nor_is_what_a_foreign_server_has(self) -> None:
        self.restore()
        self.target('web-vda')['attachments'] = [{'server_id': 'rescuer'}]
        with self.assertLogs('osc_quiesce', 'WARNING'):
            report = self.restore(start=False)
        self.assertEqual([True, True, False],
                         [v.verified for v in report.volumes])

    def test_an_old_proof_is_not_claimed_without_another(self) -> None:
        self.restore(start=False)
        report = self.restore(verify=False)
        self.assertEqual([False] * 3, [v.verified for v in report.volumes])
        (found,) = restores.find_all(self.cloud)
        self.assertEqual(0, found.verified)

    def test_no_proof_is_claimed_for_what_a_server_had(self) -> None:
        self.restore()
        self.site.servers.clear()
        for volume in self.site.volumes.values():
            volume.update({'attachments': [], 'status': 'available'})
        report = self.restore(verify=False)
        self.assertEqual([False] * 3, [v.verified for v in report.volumes])

    def test_without_targets_volumes_are_made_first(self) -> None:
        self.unregister('db-vda')
        report = self.restore()
        row = report.volumes[0]
        volume = self.site.volumes[row.id]
        self.assertEqual('data of db-vda', volume['data'])
        self.assertFalse(row.verified)
        self.assertLess(
            self.position('POST /volumes'),
            self.site.log.index('POST /backups/b-db-vda/restore'),
        )

    def test_nothing_is_restored_into_an_encrypted_volume(self) -> None:
        self.site.encrypted_types = ['ceph']
        self.site.is_admin = False  # who is not told the type is
        self.unregister('db-vda')
        with self.assertRaisesRegex(
                errors.ApplicationError,
                'is encrypted, as its type ceph wants it'):
            self.restore()
        self.assertIn('is encrypted: Cinder would restore plain data',
                      self.refused())
        self.assertNotIn('POST /backups/b-db-vda/restore', self.site.log)

    def test_a_refused_plan_changes_nothing(self) -> None:
        self.state = 'pending'
        with self.assertRaises(errors.NotPossible):
            self.restore()
        self.assertEqual([], self.site.log)


class TestChecks(TestCase):
    def test_a_command_gets_name_and_addresses(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'out')
            self.restore(
                check='echo $OSC_QUIESCE_STAGE $OSC_QUIESCE_SERVER '
                f'$OSC_QUIESCE_ADDRESS >> {path}'
            )
            with open(path) as stream:
                self.assertEqual(
                    ['1 db 10.0.0.7', '2 web 10.0.0.7'],
                    stream.read().splitlines(),
                )

    def test_it_is_repeated_until_it_succeeds(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'once')
            report = self.restore(
                check=f'test -e {path} || {{ touch {path}; exit 1; }}')
        self.assertEqual([True, True], [s.checked for s in report.servers])

    def test_a_stage_that_fails_stops_later_ones(self) -> None:
        with self.assertRaisesRegex(
            checking.CheckFailed,
            r'The check of server db \(.*\) failed for 60 s: exit code 3, '
            'not yet. .* later stages are not started',
        ):
            self.restore(check='echo not yet; exit 3')
        self.assertEqual(
            ['db'], [s['name'] for s in self.site.servers.values()])


class TestFailures(TestCase):
    def test_a_damaged_volume_boots_nothing(self) -> None:
        def damage(volume: dict[str, Any]) -> None:
            if volume['id'] == 't-web-vda':
                volume['data'] = 'other'

        self.site.damage = damage
        with self.assertRaisesRegex(proof.NotEqual, 't-web-vda DIFFERS'):
            self.restore()
        self.assertEqual({}, self.site.servers)
        self.assertEqual(
            ['', 'x'],
            ['x' if metadata.get(self.target(source), marks.VERIFIED) else ''
             for source in ('web-vda', 'db-vda')],
        )

    def damaged(self, **options: Any) -> None:
        """Restore, so that one volume is found to differ."""
        def damage(volume: dict[str, Any]) -> None:
            if volume['id'] == 't-web-vda':
                volume['data'] = 'other'

        self.site.damage = damage
        with self.assertRaises(proof.NotEqual):
            self.restore(**options)
        self.site.damage = lambda volume: None

    def test_a_damaged_volume_is_refused_by_the_next_run(self) -> None:
        self.damaged()
        self.assertNotEqual(
            '', metadata.get(self.target('web-vda'), marks.DIFFERS))
        for is_admin in True, False:
            self.site.is_admin = is_admin
            said = self.refused()
            self.assertIn('t-web-vda DIFFERS from backup b-web-vda', said)
            self.assertNotIn('t-db-vda', said)
            self.assertRegex(
                said, 'verify --store", then "openstack application restore '
                f'delete {self.plan().restore_id}" and restore again')

    def test_a_damaged_volume_is_used_again_once_it_is_restored_again(
            self) -> None:
        self.damaged()
        restores.delete(restores.find(self.cloud, 'nightly'), self.waiter)
        self.assertEqual(3, sum(v.verified for v in self.restore().volumes))
        self.assertEqual(
            '', metadata.get(self.target('web-vda'), marks.DIFFERS))
        self.assertEqual(2, len(self.site.servers))

    def test_a_damaged_volume_is_part_of_no_complete_restore(self) -> None:
        self.damaged(start=False)
        self.assertEqual(restores.INCOMPLETE, restores.find(
            self.cloud, 'nightly').state)

    def test_a_run_that_began_before_does_not_boot_it(self) -> None:
        def find(line: str) -> None:
            if line.startswith('PUT /volumes/t-web-vda/metadata'):
                begun.append(line)
            elif begun and not found:
                found.append(line)
                self.target('web-vda')['metadata'].update(
                    metadata.ours({marks.DIFFERS: 'now'}))

        begun: list[str] = []
        found: list[str] = []
        self.site.hooks.append(find)
        with self.assertRaisesRegex(
                errors.ApplicationError,
                'No further server was started: volume t-web-vda DIFFERS'):
            self.restore(parallel=1)
        self.assertEqual({}, self.site.servers)
        self.assertEqual({}, self.site.ports)

    def test_a_damaged_volume_is_refused_after_an_interruption(self) -> None:
        def stop(line: str) -> None:
            if line.startswith('DELETE /backups'):
                raise KeyboardInterrupt

        self.site.hooks.append(stop)
        self.site.damage = lambda volume: volume.update(data='other')
        with self.assertRaises(KeyboardInterrupt):
            self.restore(parallel=1)
        self.site.hooks.clear()
        self.assertIn('DIFFERS from backup', self.refused(verify=False))

    def test_a_result_is_written_again_if_the_answer_is_lost(self) -> None:
        failed: set[str] = set()

        def fail(line: str) -> None:
            if 'POST /backups' in self.site.log and line in (
                    'PUT /backups/b-db-vda', 'POST /volumes/t-db-vda/metadata'
            ) and line not in failed:
                failed.add(line)
                raise cloud_api.CloudError('try later', 503)

        self.site.hooks.append(fail)
        report = self.restore()
        self.assertEqual(2, len(failed))
        self.assertEqual([True] * 3, [v.verified for v in report.volumes])
        self.assertNotEqual('', metadata.get(
            self.site.backup_rows['b-db-vda'], marks.VERIFIED))

    def test_that_it_cannot_be_marked_is_told(self) -> None:
        def refuse(line: str) -> None:
            if line == 'POST /volumes/t-web-vda/metadata' and (
                    'POST /backups' in self.site.log):
                raise cloud_api.CloudError('not allowed', 403)

        self.site.hooks.append(refuse)
        with self.assertLogs('osc_quiesce', 'ERROR') as logs:
            self.damaged()
        self.assertIn('t-web-vda DIFFERS from its backup, but that cannot be '
                      'written on it', ' '.join(logs.output))

    def test_cinders_message_tells_why_a_restore_failed(self) -> None:
        self.site.restores_to = ['error_restoring']
        self.site.messages = ['Backup driver failed to restore backup.']
        with self.assertRaisesRegex(
            filling.NotRestored,
            r'it is error_restoring \(Backup driver failed to restore '
            r'backup\)\. The same command again',
        ):
            self.restore(parallel=1)
        # The others are restored all the same.
        self.assertEqual('data of web-vda', self.target('web-vda')['data'])

    def test_a_refusal_of_a_service_tells_how_to_go_on(self) -> None:
        for refused in (
                r'PUT /volumes/t-db-vda',  # before the restore
                r'PUT /volumes/t-.*-vda',  # several at once
                r'PUT /servers/.*'):
            with self.subTest(refused):
                self.setUp()

                def refuse(line: str, pattern: str = refused) -> None:
                    if re.fullmatch(pattern, line):
                        raise cloud_api.CloudError('try later.', 503)

                self.site.hooks.append(refuse)
                with self.assertRaisesRegex(
                        errors.ApplicationError, r'try later\. Nothing is '
                        'torn down; the same command again continues'):
                    self.restore()

    def test_what_may_be_asked_twice_is_if_it_fails_once(self) -> None:
        self.unregister('db-vdb')
        failed: set[str] = set()

        def fail(method: str, path: str, send: Any, *args: Any,
                 **kwargs: Any) -> Any:
            line = f'{method} {path}'
            if line not in failed and (method == 'PUT' or re.match(
                    'POST /volumes/.*/metadata|GET /ports|GET /volumes/',
                    line)):
                failed.add(line)
                raise cloud_api.CloudError('try later', 503)
            return send(method, path, *args, **kwargs)

        plan = self.plan()
        for name in 'volume', 'compute', 'network':
            send = getattr(self.site, name)
            setattr(self.site, name,
                    lambda method, path, *args, send=send, **kwargs: fail(
                        method, path, send, *args, **kwargs))
        restore.create(self.client, self.cloud, plan,
                       restore.Means(60.0, 60.0))
        self.assertEqual(2, len(self.site.servers))
        self.assertLess(10, len(failed))

    def test_a_server_whose_answer_is_lost_may_be_there(self) -> None:
        compute = self.site.compute

        def lose(method: str, path: str, *args: Any, **kwargs: Any) -> Any:
            answer = compute(method, path, *args, **kwargs)
            if (method, path) == ('POST', '/servers'):
                raise cloud_api.CloudError('no answer')
            return answer

        self.site.compute = lose  # type: ignore[method-assign]
        with self.assertRaisesRegex(
                booting.NotBooted, 'It is not known whether a server was made '
                r'for db \(db-id\): no answer\. The same command again'):
            self.restore()
        self.site.compute = compute  # type: ignore[method-assign]
        self.restore()
        self.assertEqual(2, len(self.site.servers))

    def test_a_restore_that_never_ends_tells_what_to_do(self) -> None:
        self.site.backup_rows['b-db-vda']['status'] = 'restoring'
        with self.assertRaisesRegex(
                errors.ApplicationError, 'Backup b-db-vda is still restoring '
                'after 60 s. .*"openstack volume backup set --state available '
                'b-db-vda"'):
            self.restore()

    def test_an_empty_volume_that_is_never_made_tells_what_to_do(self) -> None:
        self.unregister('db-vda')
        self.site.is_slow = True
        for _again in range(2):
            started = self.client.timer.clock()
            with self.assertRaisesRegex(
                    errors.ApplicationError, 'Volume volume-1 is still '
                    'creating after 300 s. It is empty. .*"openstack volume '
                    'delete --force volume-1", and the same command again'):
                restore.create(
                    self.client, self.cloud,
                    self.plan(servers=('db',), verify=False),
                    restore.Means(60.0, 86400.0))
            self.assertLess(self.client.timer.clock() - started, 400)
        self.site.is_slow = False
        del self.site.volumes['volume-1']  # as it says
        self.restore()
        self.assertEqual(2, len(self.site.servers))

    def test_a_server_in_error_keeps_its_volumes(self) -> None:
        self.site.builds_to = ['ERROR']
        with self.assertRaisesRegex(
            booting.NotBooted, 'is ERROR: no valid host. Its volumes are kept'
        ):
            self.restore()
        self.assert_restored()

    def test_a_port_is_made_again_if_the_mapping_has_changed(self) -> None:
        self.site.builds_to = ['ERROR']
        with self.assertRaises(booting.NotBooted):
            self.restore()
        self.text = self.text.replace(
            '{network: b-net}', '{network: other, addresses: new}')
        self.restore()
        self.assertEqual(['n2'] * 2, [
            port['network_id'] for port in self.site.ports.values()])

    def test_a_server_that_nova_has_forgotten_is_the_users(self) -> None:
        self.site.builds_to = ['BUILD']
        with self.assertRaisesRegex(
            errors.ApplicationError,
            'Server (.*) is still BUILD / UNKNOWN after 60 s. .* with '
            r'"openstack server delete \1", which keeps its volumes',
        ):
            self.restore()
        self.assertEqual(['BUILD'], [
            each['status'] for each in self.site.servers.values()])

    def test_a_source_that_comes_back_meanwhile_runs_alone(self) -> None:
        source = restore_base.FakeSite()
        source.servers['db-id'] = {'id': 'db-id', 'status': 'SHUTOFF'}
        source.servers['web-id'] = {'id': 'web-id', 'status': 'ACTIVE'}

        def come_back(line: str) -> None:
            if line.endswith('/restore'):
                source.servers['db-id']['status'] = 'ACTIVE'

        self.site.hooks.append(come_back)
        options: dict[str, Any] = {'source': source, 'servers': ('db',)}
        with self.assertRaisesRegex(
                errors.ApplicationError, 'No server was started. Servers of '
                r'the source are ACTIVE: db \(db-id\)\. Stop them .* The '
                'restored volumes are kept, and the same command again'):
            self.restore(**options)
        self.assertEqual(({}, {}), (self.site.servers, self.site.ports))
        source.servers['db-id']['status'] = 'SHUTOFF'
        self.site.hooks.clear()
        self.assertEqual(1, len(self.restore(**options).servers))

    def test_it_is_asked_neither_by_force_nor_without_servers(self) -> None:
        source = restore_base.FakeSite()
        source.servers['db-id'] = {'id': 'db-id', 'status': 'ACTIVE'}
        self.restore(source=source, start=False)
        self.restore(source=source, force=True)
        self.assertEqual(2, len(self.site.servers))
        self.assertEqual([], source.reads)

    def test_several_failures_are_all_named(self) -> None:
        self.site.restores_to = ['error_restoring'] * 3
        with self.assertRaises(errors.ApplicationError) as caught:
            self.restore()
        for source in SOURCES:
            self.assertIn(source, str(caught.exception))


class TestTakenTargets(TestCase):
    """A plan may be old when its turn comes: others may have the targets."""

    def test_what_another_restore_has_taken_is_left_alone(self) -> None:
        plan = self.plan(name='late')
        self.restore()
        before = copy.deepcopy(self.site.volumes)
        log = list(self.site.log)
        with self.assertRaisesRegex(
            errors.ApplicationError,
            r'db-vda .* was not restored: volume t-db-vda has the data of '
            r'restore nightly \(.*\): .* restore delete .* makes a new plan',
        ):
            restore.create(self.client, self.cloud, plan,
                           restore.Means(60.0, 60.0))
        self.assertEqual(before, self.site.volumes)
        self.assertEqual(log, self.site.log)

    def test_so_it_is_if_that_failed(self) -> None:
        plan = self.plan(name='late')
        restore_base.take(self.target('db-vda'))
        self.target('db-vda')['status'] = 'error_restoring'
        taken = copy.deepcopy(self.target('db-vda'))
        with self.assertRaisesRegex(filling.NotRestored, 'restore other'):
            restore.create(self.client, self.cloud, plan,
                           restore.Means(60.0, 60.0))
        self.assertEqual(taken, self.target('db-vda'))

    def test_one_taken_while_the_backup_was_waited_for(self) -> None:
        self.site.backup_rows['b-db-vda']['status'] = 'restoring'
        taken = restore_base.taken('t-db-vda')

        def sleep(seconds: float) -> None:
            self.nova.sleep(seconds)
            self.target('db-vda')['metadata'] = dict(taken)
            self.site.backup_rows['b-db-vda']['status'] = 'available'

        self.client = self.client.with_sleep(sleep)
        with self.assertRaisesRegex(filling.NotRestored, 'restore other'):
            self.restore()
        self.assertEqual(taken, self.target('db-vda')['metadata'])
        self.assertNotIn('POST /backups/b-db-vda/restore', self.site.log)

    def at_first_read_of_the_backup(self, do: Callable[[], bool]) -> None:
        """Do something before the site is asked for a backup, once.

        :param do: returns whether it was done
        """
        ask, pages = self.site.volume, self.site.pages
        patches = contextlib.ExitStack()
        self.addCleanup(patches.close)

        def volume(method: str, path: str, *args: Any, **kwargs: Any) -> Any:
            if (method, path) == ('GET', '/backups/b-db-vda'):
                again()
            return ask(method, path, *args, **kwargs)

        def listing(service: str, path: str, *args: Any) -> Any:
            if path == '/backups/detail?status=restoring':
                again()
            return pages(service, path, *args)

        def again() -> None:
            patches.close()
            if not do():
                begin()

        def begin() -> None:
            for name, call in ('volume', volume), ('pages', listing):
                patches.enter_context(
                    mock.patch.object(self.site, name, call))

        begin()

    def test_one_taken_while_the_backup_is_restored_once_more(self) -> None:
        taken = restore_base.taken('t-db-vda')
        target = self.target('db-vda')

        def take() -> bool:
            if target.get('data') is None or target['status'] != 'available':
                return False
            restore_base.take(target)
            target.update({'from': 'b-db-vda', 'status': 'restoring-backup'})
            self.site.backup_rows['b-db-vda'].update(
                status='restoring', source_metadata=dict(taken))
            return True

        target['data'] = None
        self.at_first_read_of_the_backup(take)
        with self.assertRaisesRegex(filling.NotRestored, 'restore other'):
            self.restore()
        self.assertEqual('other', metadata.get(target, marks.RESTORE))

    def test_done_by_the_same_command_elsewhere(self) -> None:
        plan = self.plan(parallel=1)
        done = []

        def restore_elsewhere() -> bool:
            restore.create(self.client, self.cloud, plan,
                           restore.Means(60.0, 60.0))
            done.append(copy.deepcopy(self.site.volumes))
            return True

        self.at_first_read_of_the_backup(restore_elsewhere)
        report = restore.create(self.client, self.cloud, plan,
                                restore.Means(60.0, 60.0))
        self.assertEqual([True] * 3, [v.verified for v in report.volumes])
        self.assertEqual(done, [self.site.volumes])

    def test_done_by_the_same_command_while_the_api_was_away(self) -> None:
        for change in ({}, {'status': 'restoring-backup', 'metadata': {},
                            'attachments': []}):
            with self.subTest(change):
                self.setUp()
                self.assert_stays_as_done(change)

    def assert_stays_as_done(self, change: dict[str, Any]) -> None:
        """Let the same command end elsewhere, with this change after it."""
        plan = self.plan(parallel=1)
        target, volume = self.target('db-vda'), self.site.volume
        done: list[dict[str, Any]] = []

        def send(method: str, path: str, *args: Any, **kwargs: Any) -> Any:
            line = f'{method} {path}'
            if done or line != 'PUT /volumes/t-db-vda':
                return volume(method, path, *args, **kwargs)
            self.site.volume = volume  # type: ignore[method-assign]
            restore.create(self.client, self.cloud, plan,
                           restore.Means(60.0, 60.0))
            target.update(change)
            done.append(copy.deepcopy(target))
            raise cloud_api.CloudError('try later', 503)

        self.site.volume = send  # type: ignore[method-assign]
        with (self.assertRaisesRegex(
                filling.NotRestored, 'it is restoring-backup') if change
              else contextlib.nullcontext()):
            restore.create(self.client, self.cloud, plan,
                           restore.Means(60.0, 60.0))
        self.assertEqual(done, [target])
        self.assertEqual(
            1, self.site.log.count('POST /backups/b-db-vda/restore'))

    def under_way(self) -> str:
        """Let another backup be restored into a target; return its ID.

        Its first layer is done, so that no mark tells whose it is.
        """
        other = self.site.add_backup(
            't-db-vda', 'of another set', status='restoring',
            layers=[{}] * 9)  # which takes long
        self.target('db-vda').update(
            {'status': 'restoring-backup', 'from': other, 'metadata': {}})
        return other

    def test_one_into_which_another_backup_is_restored(self) -> None:
        self.under_way()
        self.assertIn('another backup is being restored into volume t-db-vda',
                      self.refused())
        # That of this plan may be what is restored.
        self.site.backup_rows['b-db-vda']['status'] = 'restoring'
        self.assertEqual([], self.plan().refusals)

    def test_one_into_which_another_backup_is_restored_by_now(self) -> None:
        plan = self.plan()
        self.under_way()
        before = copy.deepcopy(self.target('db-vda')['metadata'])
        with self.assertRaisesRegex(
                filling.NotRestored, 'db-vda .* was not restored: another '
                'backup is being restored into volume t-db-vda'):
            restore.create(self.client, self.cloud, plan,
                           restore.Means(60.0, 60.0))
        self.assertEqual(before, self.target('db-vda')['metadata'])
        self.assertNotIn('POST /backups/b-db-vda/restore', self.site.log)

    def test_one_taken_at_the_end_of_its_restore(self) -> None:
        def take(volume: dict[str, Any]) -> None:
            if volume['id'] == 't-db-vda':
                restore_base.take(volume)

        self.site.damage = take
        with self.assertRaisesRegex(filling.NotRestored, 'restore other'):
            self.restore()
        self.assertEqual(restore_base.taken('t-db-vda'),
                         self.target('db-vda')['metadata'])

    def test_one_taken_just_before_it_is_restored(self) -> None:
        volume = self.site.volume

        def take(method: str, path: str, *args: Any, **kwargs: Any) -> Any:
            answer = volume(method, path, *args, **kwargs)
            if (method, path) == ('PUT', '/volumes/t-db-vda'):
                restore_base.take(self.target('db-vda'))
            return answer

        self.site.volume = take  # type: ignore[method-assign]
        with self.assertRaisesRegex(filling.NotRestored, 'restore other'):
            self.restore()
        self.assertNotIn('POST /backups/b-db-vda/restore', self.site.log)

    def begin_elsewhere(self, backup: str) -> None:
        """Let a backup be restored into a target just before ours is."""
        def begin(line: str) -> None:
            if line == 'POST /backups/b-db-vda/restore':
                self.site.hooks.clear()
                self.target('db-vda').update(
                    {'status': 'restoring-backup', 'from': backup})
                self.site.backup_rows[backup]['status'] = 'restoring'

        self.site.hooks.append(begin)

    def test_one_that_another_restore_has_begun_just_before_is_left_to_it(
            self) -> None:
        self.begin_elsewhere(self.site.add_backup(
            't-db-vda', 'of another set', source_metadata={'owner': 'db'}))
        with self.assertRaisesRegex(filling.NotRestored, 'must be available'):
            self.restore(name='late', servers=('db',), start=False)
        self.assertEqual('', marks.owner(self.target('db-vda')))
        late = restores.find(self.cloud, 'late')
        restores.delete(late, self.waiter)
        self.restore(name='first')
        self.assert_restored()

    def test_one_that_the_same_command_has_begun_is_held_for_it(self) -> None:
        self.begin_elsewhere('b-db-vda')
        with self.assertRaisesRegex(filling.NotRestored, 'must be available'):
            self.restore(servers=('db',), start=False)
        self.assertEqual(
            self.plan().restore_id, marks.owner(self.target('db-vda')))
        drill = self.plan(drill=True, force=True).items[0]
        self.assertFalse(drill.is_target)
        self.restore()
        self.assert_restored()

    def test_what_a_server_does_with_its_volumes_delays_no_stage(self) -> None:
        run = checking.Checker.run

        def extend(checker: Any, server: Any, found: Any) -> None:
            if server.name == 'db':
                self.target('db-vda')['status'] = 'extending'
            run(checker, server, found)

        with mock.patch.object(checking.Checker, 'run', extend):
            self.restore()
        self.assertEqual(2, len(self.site.servers))

    def test_a_stage_boots_nothing_that_another_restore_has(self) -> None:
        run = checking.Checker.run
        checked: list[str] = []

        def replace(checker: Any, server: Any, found: Any) -> None:
            if not checked:
                checked.append(server.name)
                restores.delete(
                    restores.find(self.cloud, 'nightly'), self.waiter)
                self.restore(name='older', servers=('web',), start=False)
            run(checker, server, found)

        for volume in self.servers[0]['volumes']:
            volume['delete_on_termination'] = False
        with mock.patch.object(checking.Checker, 'run', replace):
            with self.assertRaisesRegex(
                    errors.ApplicationError, 'No further server was started: '
                    'volume t-db-vda is available, and it is not certain .* '
                    'No further server was started: volume t-web-vda has the '
                    'data of restore older .*same command again'):
                self.restore()
        self.assertEqual({}, self.site.servers)

    def test_a_proof_tells_nothing_of_what_another_restore_has(self) -> None:
        for is_equal in True, False:
            with self.subTest(is_equal=is_equal):
                self.setUp()
                if not is_equal:
                    self.site.damage = lambda volume: volume.update(data='bad')
                self.assert_stays_as_taken()

    def assert_stays_as_taken(self) -> None:
        """Let another restore take a volume while its proof ends."""
        target, volume = self.target('web-vda'), self.site.volume
        taken: list[dict[str, Any]] = []

        def take(method: str, path: str, *args: Any, **kwargs: Any) -> Any:
            answer = volume(method, path, *args, **kwargs)
            if path.endswith('export_record') and not taken:
                restore_base.take(target, **{marks.VERIFIED: ''})
                taken.append(copy.deepcopy(target))
            return answer

        self.site.volume = take  # type: ignore[method-assign]
        with self.assertRaisesRegex(
                proof.NotProven, 'web-vda .* is neither proven nor found to '
                'differ: volume t-web-vda has the data of restore other'):
            self.restore(servers=('web',))
        self.assertEqual(taken, [target])
        self.assertEqual({}, self.site.servers)

    def test_one_listing_tells_it_of_all_volumes(self) -> None:
        listed: list[str] = []
        pages = self.site.pages

        def note(service: str, path: str, *args: Any) -> Any:
            listed.append(path)
            return pages(service, path, *args)

        self.restore(start=False)
        plan = self.plan()
        self.site.pages = note  # type: ignore
        restore.create(
            self.client, self.cloud, plan, restore.Means(60.0, 60.0))
        self.assertEqual(2, listed.count('/volumes/detail'))


class TestMarksThatComeHome(TestCase):
    """A backup brings back what was written on a volume when it was made."""

    def setUp(self) -> None:
        super().setUp()
        self.restore(name='first', start=False)
        self.marks = {
            source: copy.deepcopy(self.target(source)['metadata'])
            for source in SOURCES}
        self.first = self.plan(name='first').restore_id
        self.give_up()

    def give_up(self) -> None:
        for found in restores.find_all(self.cloud):
            restores.delete(found, self.waiter)

    def test_they_hold_no_volume(self) -> None:
        """The way back was gone by hand, and each later backup has them."""
        for source in SOURCES:
            self.site.backup_rows[f'b-{source}'][
                'source_metadata'] = self.marks[source]
        for name in 'second', 'third':
            report = self.restore(name=name, start=False)
            self.assertEqual([True] * 3, [v.verified for v in report.volumes])
            self.assert_restored()
            (found,) = restores.find_all(self.cloud)
            self.assertEqual((name, 'complete'), (found.name, found.state))
            self.give_up()
            self.assertEqual([], restores.find_all(self.cloud))

    def fail_half_way(self) -> str:
        """Let the first of two layers, with marks, be all that is restored.

        :returns: ID of the restore
        """
        row = self.site.backup_rows['b-db-vda']
        row['layers'] = [self.marks['db-vda'], {'owner': 'db'}]
        self.site.restores_to = ['error_restoring']
        with self.assertRaises(filling.NotRestored):
            self.restore(name='second', parallel=1, start=False)
        self.assertEqual(self.first, metadata.get(
            self.target('db-vda'), marks.RESTORE_ID))
        return self.plan(name='second').restore_id

    def test_they_do_not_hide_what_a_restore_has_left(self) -> None:
        id_ = self.fail_half_way()
        (found,) = restores.find_all(self.cloud)
        self.assertEqual((id_, '', 3, 'incomplete'), (
            found.id, found.restored_at, len(found.volumes), found.state))
        self.restore(name='second')
        self.assert_restored()
        (found,) = restores.find_all(self.cloud)
        self.assertEqual(('second', 'complete', 3), (
            found.name, found.state, found.verified))

    def test_they_do_not_make_half_restored_data_whole(self) -> None:
        self.fail_half_way()
        self.target('db-vda')['status'] = 'available'  # by an administrator
        self.assertIn('volume t-db-vda has the data of restore',
                      self.refused(name='first'))
        self.give_up()
        report = self.restore(name='first', start=False)
        self.assertEqual([True] * 3, [v.verified for v in report.volumes])
        self.assert_restored()

    def test_nor_if_a_restore_was_given_up_meanwhile(self) -> None:
        self.fail_half_way()
        target = self.target('db-vda')
        target['status'] = 'restoring-backup'
        self.give_up()
        target.update({'status': 'available', 'data': 'of another',
                       'metadata': self.marks['db-vda']})
        self.restore(name='first', start=False)
        self.assert_restored()

    def test_a_place_to_go_back_to_keeps_its_description(self) -> None:
        for text, name in (('mine', ''), ('', 'db'), ('x' * 250, 'db')):
            with self.subTest(text=text):
                target = self.target('db-vda')
                target.update({
                    'description': text, 'name': name,
                    'metadata': metadata.ours({
                        marks.TARGET_OF: 'db-vda', marks.VOLUME: target['id']})
                })
                self.site.backup_rows['b-db-vda'].update({
                    'source_name': {'name': 'db', 'description': 'of another'},
                    'source_metadata':
                    self.marks['db-vda'] if len(text) < 250 else {}})
                self.restore(name='second', start=False)
                self.assertTrue(target['description'].startswith(text))
                self.assertGreaterEqual(255, len(target['description']))
                self.assertEqual('second', metadata.get(
                    target, marks.RESTORE))
                self.assertIn('volume t-db-vda has the data of restore '
                              'second', self.refused(name='third'))
                self.give_up()
                self.assertEqual(text, target['description'])


class TestChangedDescriptions(TestCase):
    """What a restore has restored may be in use, whatever describes it."""

    def setUp(self) -> None:
        super().setUp()
        self.unregister('db-vda')
        self.servers[0]['volumes'][1]['delete_on_termination'] = False
        self.used = [
            self.site.volumes[row.id] for row in self.restore().volumes[:2]]
        for volume in self.used:
            volume.update(data='new', description='of the shop')
        self.cloud.compute('DELETE', f'/servers/{self.server("db")["id"]}')
        self.site.log.clear()

    def test_the_data_are_not_written_over(self) -> None:
        count = len(self.site.volumes)
        for status in 'available', 'error', 'in-use':
            for volume in self.used:
                volume.update(status=status, attachments=[
                    {'server_id': 'x'}] if status == 'in-use' else [])
            said = self.refused()
            for volume in self.used:
                self.assertIn(
                    f'volume {volume["id"]} has what this restore has '
                    'restored, and may have been written to since, but its '
                    'description', said)
        self.assertEqual(count, len(self.site.volumes))

    def test_the_message_tells_how_to_put_it_right(self) -> None:
        found = re.findall(
            r"volume set --description '(.*?)' (.*?)\"", self.refused())
        self.assertEqual([each['id'] for each in self.used],
                         [id_ for _text, id_ in found])
        for text, id_ in found:
            self.site.volumes[id_]['description'] = text
        with self.assertLogs('osc_quiesce', 'WARNING'):
            report = self.restore()
        self.assertEqual([each['id'] for each in self.used],
                         [row.id for row in report.volumes[:2]])
        self.assertEqual(['new'] * 2, [v['data'] for v in self.used])

    def test_it_may_be_changed_after_the_plan(self) -> None:
        texts = [marks.described_again(each) for each in self.used]
        for volume, text in zip(self.used, texts, strict=True):
            volume['description'] = text
        plan = self.plan()
        for volume in self.used:
            volume['description'] = ''
        with self.assertRaisesRegex(
                errors.ApplicationError, 'db-vda .* was not restored: volume '
                '.* has what this restore .* db-vdb .* was not restored'):
            restore.create(self.client, self.cloud, plan,
                           restore.Means(60.0, 60.0))
        self.assertEqual([], self.site.log)

    def test_what_is_given_up_is_free_or_stays(self) -> None:
        restores.delete(restores.find(self.cloud, 'nightly'), self.waiter)
        report = self.restore()
        own, target = self.used
        self.assertEqual('new', own['data'])
        self.assertNotEqual(own['id'], report.volumes[0].id)
        self.assertEqual('data of db-vdb', target['data'])


class TestResume(TestCase):
    def restored(self) -> int:
        """Return how many restores Cinder was asked for."""
        return sum(line.endswith('/restore') for line in self.site.log)

    def test_the_same_command_again_does_nothing_twice(self) -> None:
        first = self.restore()
        log = list(self.site.log)
        second = self.restore()
        self.assertEqual(log, self.site.log)
        self.assertEqual(
            [s.id for s in first.servers], [s.id for s in second.servers])
        self.assertEqual([True] * 3, [v.verified for v in second.volumes])

    def test_every_step_can_be_the_last_of_a_run(self) -> None:
        for beginning in (
            'PUT /volumes/t-db-vda',
            'POST /backups/b-db-vda/restore',
            'POST /volumes/t-db-vda/action',
            'PUT /volumes/t-db-vda/metadata',
            'POST /backups',
            'DELETE /backups',
            'POST /ports',
            'POST /servers',
            'PUT /servers',
        ):
            with self.subTest(beginning):
                self.setUp()
                self.stop_at(beginning)
                report = self.restore()
                self.assert_restored()
                self.assertEqual(2, len(self.site.servers))
                self.assertEqual(2, len(self.site.ports))
                self.assertEqual(3, len(self.site.backup_rows))
                self.assertEqual(
                    [True] * 3, [v.verified for v in report.volumes])

    def test_a_restore_under_way_is_waited_for(self) -> None:
        self.target('db-vda').update(
            {'status': 'restoring-backup', 'from': 'b-db-vda'})
        self.site.backup_rows['b-db-vda']['status'] = 'restoring'
        self.restore()
        self.assert_restored()

    def test_what_the_same_command_elsewhere_restores_is_not_again(
        self,
    ) -> None:
        # A volume that has not started is proven again, at the time of then.
        now = model.utc_now()
        self.enterContext(
            mock.patch.object(model, 'utc_now', return_value=now))
        self.restore(start=False)
        target = self.target('db-vda')
        done = dict(target['metadata'])
        target['metadata'] = {}
        self.site.backup_rows['b-db-vda']['status'] = 'restoring'
        restored = self.restored()

        def sleep(seconds: float) -> None:
            self.nova.sleep(seconds)
            target['metadata'] = dict(done)
            self.site.backup_rows['b-db-vda']['status'] = 'available'

        self.client = self.client.with_sleep(sleep)
        self.restore(start=False)
        self.assertEqual(restored, self.restored())
        self.assertEqual(done, target['metadata'])

    def test_a_proof_under_way_is_waited_for(self) -> None:
        self.stop_at('DELETE /backups')
        busy = self.target('db-vda')
        busy['status'] = 'backing-up'

        def sleep(seconds: float) -> None:
            self.nova.sleep(seconds)
            busy['status'] = 'available'

        self.client = self.client.with_sleep(sleep)
        restored = self.restored()
        self.progress.clear()
        report = self.restore()
        self.assertEqual(restored, self.restored())
        self.assertEqual([True] * 3, [v.verified for v in report.volumes])
        self.assertRegex(
            ' '.join(self.progress), 'Volume t-db-vda is being backed up, .*'
            '"openstack volume backup delete --force proof-of-b-db-vda"')

    def test_servers_that_are_backed_up_are_no_obstacle(self) -> None:
        self.restore()
        for volume in self.site.volumes.values():
            volume['status'] = 'backing-up'
        self.assertEqual([], self.plan().refusals)

    def test_marks_that_cinder_has_put_on_a_volume_are_no_obstacle(
            self) -> None:
        # To go back, what was restored elsewhere is restored here.
        elsewhere = restore_base.taken(
            'db-vda', 'elsewhere', 'nightly', **{
                marks.SOURCE: 't-db-vda', marks.TARGET_OF: 't-db-vda',
                marks.RESTORED_AT: 'then', marks.VERIFIED: 'then'})
        self.site.backup_rows['b-db-vda']['source_metadata'] = {
            'owner': 'db', **elsewhere}
        self.stop_at('POST /volumes/t-db-vda/action')
        self.assertEqual('elsewhere', metadata.get(
            self.target('db-vda'), marks.RESTORE_ID))
        self.assertEqual(
            [True] * 3, [v.verified for v in self.restore().volumes])
        self.assert_restored()
        self.assertEqual('db-vda', metadata.get(
            self.target('db-vda'), marks.SOURCE))

    def test_what_is_available_but_not_marked_is_restored_again(self) -> None:
        # As Cinder marks it even if the restore was cancelled.
        self.target('db-vda')['metadata'] = {'src_backup_id': 'b-db-vda'}
        self.restore()
        self.assertEqual(3, self.restored())

    def test_no_lost_answer_makes_cinder_restore_again(self) -> None:
        volume = self.site.volume
        lost: set[tuple[str, str]] = set()

        def lose(method: str, path: str, *args: Any, **kwargs: Any) -> Any:
            """Lose the first answer of each kind when a restore has ended."""
            end = self.site.backup_rows['b-db-vda']['status'] == 'available'
            if not (end and self.restored() and path.startswith(
                    '/volumes/t-db-vda')) or (method, path) in lost:
                return volume(method, path, *args, **kwargs)
            lost.add((method, path))
            if method == 'PUT':  # it was heard
                volume(method, path, *args, **kwargs)
            raise cloud_api.CloudError('try later', 503)

        self.site.volume = lose  # type: ignore[method-assign]
        report = self.restore(start=False, parallel=1)
        self.assertEqual(3, self.restored())
        self.assertLessEqual(
            {('GET', '/volumes/t-db-vda'),
             ('POST', '/volumes/t-db-vda/action'),
             ('PUT', '/volumes/t-db-vda/metadata')}, lost)
        self.assertEqual([True] * 3, [v.verified for v in report.volumes])
        self.assert_restored()

    def test_what_cannot_be_written_after_the_restore_is_told(self) -> None:
        def refuse(line: str) -> None:
            if line == 'PUT /volumes/t-db-vda/metadata':
                raise cloud_api.CloudError('no such policy', 403)

        self.site.hooks.append(refuse)
        with self.assertRaisesRegex(
                filling.NotRestored, 'db-vda .* was not restored from backup '
                'b-db-vda into volume t-db-vda: the data are there, but not '
                r'the flags and metadata \(no such policy\)\. The same'):
            self.restore()

    def test_a_failed_one_is_reset_by_administrators(self) -> None:
        self.target('db-vda')['status'] = 'error_restoring'
        report = self.restore()
        self.assert_restored()
        self.assertTrue(report.volumes[0].verified)
        self.assertIn('POST /volumes/t-db-vda/action', self.site.log)

    def test_a_cancelled_one_is_reset_too(self) -> None:
        self.target('db-vda').update(
            {'status': 'error', 'os-vol-host-attr:host': 'b@rbd'})
        self.assertTrue(self.restore().volumes[0].verified)

    def test_one_that_was_restored_before_is_left_as_it_is(self) -> None:
        self.restore()
        self.site.servers.clear()
        self.target('db-vda').update(
            {'attachments': [], 'data': 'written by the guest'})
        for is_admin in True, False:
            self.site.is_admin = is_admin
            for status in 'error', 'error_restoring', 'error_extending':
                self.target('db-vda')['status'] = status
                self.assertIn(
                    'db-vda, 1 GiB): volume t-db-vda, which was restored '
                    f'before, is {status}, and is not', self.refused())
        self.assertEqual('written by the guest', self.target('db-vda')['data'])

    def test_one_that_was_never_made_is_made_again(self) -> None:
        self.unregister('db-vda')
        restore_id = self.plan().restore_id
        self.site.add_volume(
            id='stillborn', status='error',
            description=marks.own_description(restore_id, 'db-vda'))
        report = self.restore()
        self.assertNotIn('stillborn', self.site.volumes)
        self.assertEqual(
            'data of db-vda',
            self.site.volumes[report.volumes[0].id]['data'])

    def test_a_failed_target_that_may_not_be_reset_is_kept(self) -> None:
        self.site.is_admin = False
        self.target('db-vda')['status'] = 'error_restoring'
        volumes = set(self.site.volumes)
        self.assertRegex(
            self.refused(), 'its target volume t-db-vda is error_restoring.*'
            '"openstack volume set --state available t-db-vda"')
        self.target('db-vda')['status'] = 'available'  # as it says
        self.restore()
        self.assertEqual(volumes, set(self.site.volumes))
        self.assert_restored()

    def test_a_target_that_fails_after_the_plan_is_kept(self) -> None:
        self.site.is_admin = False
        plan = self.plan()
        self.target('db-vda')['status'] = 'error_restoring'
        with self.assertRaisesRegex(
                filling.NotRestored, 'db-vda .* was not restored: its target '
                'volume t-db-vda is error_restoring'):
            restore.create(self.client, self.cloud, plan,
                           restore.Means(60.0, 60.0))
        self.assertIn('t-db-vda', self.site.volumes)

    def test_a_target_that_was_never_made_is_replaced_once(self) -> None:
        self.target('db-vda')['status'] = 'error'
        self.assertIn('"openstack volume delete t-db-vda"', self.refused())
        del self.site.volumes['t-db-vda']  # as it says
        first, second = (
            [row.id for row in self.restore().volumes] for _again in range(2))
        self.assertEqual(first, second)
        self.assertEqual(set(first), set(self.site.volumes))

    def test_a_failed_one_that_may_not_be_reset_is_made_again(self) -> None:
        self.unregister('db-vda')
        self.site.restores_to = ['error_restoring']
        with self.assertRaises(filling.NotRestored):
            self.restore(parallel=1)
        self.site.is_admin = False
        count = len(self.site.volumes)
        self.restore()
        self.assertEqual(count, len(self.site.volumes))

    def test_one_that_cannot_be_deleted_is_told_at_once(self) -> None:
        self.unregister('db-vda')
        self.site.add_volume(
            id='stillborn', status='error',
            description=marks.own_description(
                self.plan().restore_id, 'db-vda'))
        self.site.deletes_to = ['error_deleting']
        for _again in range(2):
            started = self.client.timer.clock()
            with self.assertRaisesRegex(
                    errors.ApplicationError,
                    'Volume stillborn could not be deleted, and is '
                    'error_deleting .*"openstack volume delete --force '
                    'stillborn".*"openstack volume set --state'):
                self.restore()
            self.assertLess(self.client.timer.clock() - started, 10)

    def test_a_failed_one_without_target_is_found_again(self) -> None:
        self.unregister('db-vda')
        self.site.restores_to = ['error_restoring']
        with self.assertRaises(filling.NotRestored):
            self.restore(parallel=1)
        volumes = set(self.site.volumes)
        self.site.restores_to = []
        self.restore()
        self.assertEqual(volumes, set(self.site.volumes))

    def test_a_server_in_error_is_made_again(self) -> None:
        self.site.builds_to = ['ERROR']
        with self.assertRaises(booting.NotBooted):
            self.restore()
        self.restore()
        self.assertEqual('ACTIVE', self.server('db')['status'])
        self.assertEqual(2, len(self.site.ports))

    def test_a_neighbour_that_does_not_build_holds_up_no_server(self) -> None:
        self.servers[1].update({'order': 0, 'stage': 0})
        self.site.builds_to = ['ERROR', 'BUILD']
        with self.assertRaises(errors.ApplicationError):
            self.restore()
        for _again in range(2):
            self.target('web-vda')['status'] = 'reserved'
            with self.assertRaisesRegex(
                    errors.ApplicationError, '^Server .* is still BUILD '
                    '/ UNKNOWN after 60 s'):
                self.restore()
            self.assertEqual('ACTIVE', self.server('db')['status'])

    def test_a_server_that_has_run_is_left_as_it_is(self) -> None:
        """Its volumes go with it, with what it has written."""
        self.restore()
        for status in ('SHUTOFF', 'PAUSED', 'RESCUE', 'MIGRATING',
                       'VERIFY_RESIZE', 'ERROR'):
            self.server('db')['status'] = status
            log = list(self.site.log)
            with self.assertRaisesRegex(
                    booting.NotBooted, rf'Server db \(.*\), made for db .* is '
                    f'{status}, and is left as it is.*Start it'):
                self.restore()
            self.assertEqual(log, self.site.log)
        self.server('db')['status'] = 'ACTIVE'
        self.restore()

    def test_a_server_without_one_of_its_volumes_is_not_restored(self) -> None:
        for goes_with_it in True, False:
            self.setUp()
            self.servers[0]['volumes'][1]['delete_on_termination'] = (
                goes_with_it)
            self.restore()
            server = self.server('db')
            server['os-extended-volumes:volumes_attached'].pop()
            self.site._detach(self.target('db-vdb'), server['id'])
            with self.assertRaisesRegex(
                    booting.NotBooted, rf'Server db \(.*\), made for db .* '
                    r'does not have volume t-db-vdb \(/dev/vdb\).*"openstack '
                    f'server add volume {server["id"]} t-db-vdb"'):
                self.restore()

    def test_a_volume_that_is_there_is_used_though_a_target_fits_now(
            self) -> None:
        target = self.target('db-vdb')
        target['size'] = 2
        self.restore()
        target['size'] = 1
        log = list(self.site.log)
        self.restore()
        self.assertEqual(log, self.site.log)

    def test_no_volume_goes_with_a_server_that_never_ran(self) -> None:
        self.site.builds_to = ['ERROR']
        with self.assertRaises(booting.NotBooted):
            self.restore()
        for each in self.server('db')['os-extended-volumes:volumes_attached']:
            each['delete_on_termination'] = True
        self.restore()
        self.assert_restored()

    def test_another_restore_of_the_same_backup_is_waited_for(self) -> None:
        self.site.backup_rows['b-db-vda']['status'] = 'restoring'
        self.site.add_volume(
            id='elsewhere', status='restoring-backup', **{'from': 'b-db-vda'})

        def sleep(seconds: float) -> None:
            self.nova.sleep(seconds)
            volume = self.site.volumes['elsewhere']
            if volume['status'] == 'restoring-backup':
                self.site._end_restore(volume)

        self.client = self.client.with_sleep(sleep)
        self.restore()
        self.assert_restored()

    def test_a_lost_answer_is_looked_for(self) -> None:
        volume = self.site.volume

        def lose(method: str, path: str, *args: Any, **kwargs: Any) -> Any:
            answer = volume(method, path, *args, **kwargs)
            if path == '/backups/b-db-vda/restore':
                raise cloud_api.CloudError('the connection is gone')
            return answer

        self.site.volume = lose  # type: ignore[method-assign]
        self.restore()
        self.assert_restored()
        self.assertEqual(3, self.restored())

    def test_what_cinder_never_restored_is_not_called_restored(self) -> None:
        for is_heard, source in (
                (False, 'db-vda'), (True, 'db-vda'), (True, 'db-vdb')):
            with self.subTest(is_heard=is_heard, source=source):
                self.setUp()
                if source == 'db-vdb':  # without metadata, and no target
                    self.unregister(source)
                self.assert_is_noticed(source, is_heard)

    def assert_is_noticed(self, source: str, is_heard: bool) -> None:
        """Lose the message for cinder-backup; an administrator resets."""
        backup = self.site.backup_rows[f'b-{source}']
        backup['source_metadata'] = {}
        volume = self.site.volume
        lost: list[dict[str, Any]] = []

        def lose(method: str, path: str, *args: Any, **kwargs: Any) -> Any:
            if lost or path != f'/backups/{backup["id"]}/restore':
                return volume(method, path, *args, **kwargs)
            lost.append(self.site.volumes[args[0]['restore']['volume_id']])
            lost[0]['status'] = 'restoring-backup'
            backup['status'] = 'restoring'
            if not is_heard:
                raise cloud_api.CloudError('no message can be sent', 500)
            return {}

        def sleep(seconds: float) -> None:
            self.nova.sleep(seconds)
            if lost and 'from' not in lost[0]:
                lost[0]['status'] = backup['status'] = 'available'

        self.site.volume = lose  # type: ignore[method-assign]
        self.client = self.client.with_sleep(sleep)
        with self.assertRaisesRegex(
                filling.NotRestored, f'Volume {source} .*was not restored .*'
                'Cinder has restored nothing into it.* The same command'):
            self.restore(verify=False)
        self.assertEqual({}, self.site.servers)
        report = self.restore(verify=False)
        for row in report.volumes:
            self.assertEqual(f'data of {row.source_id}',
                             self.site.volumes[row.id]['data'])
            self.assertNotIn(
                'src_backup_id', self.site.volumes[row.id]['metadata'])

    def test_what_cinder_has_restored_in_part_is_not_called_restored(
            self) -> None:
        """One layer of a chain is there, with its metadata."""
        backup = self.site.backup_rows['b-db-vda']
        target, volume = self.target('db-vda'), self.site.volume
        slept = [0.0]

        def die(method: str, path: str, *args: Any, **kwargs: Any) -> Any:
            if slept[0] or path != '/backups/b-db-vda/restore':
                return volume(method, path, *args, **kwargs)
            target['metadata'] = dict(backup['source_metadata'])
            target['status'] = 'restoring-backup'
            backup['status'] = 'restoring'
            slept[0] = 0.001
            return {}

        def sleep(seconds: float) -> None:
            self.nova.sleep(seconds)
            slept[0] += seconds if slept[0] else 0.0
            if 20 < slept[0] < 100:  # an administrator resets both
                backup['status'] = 'available'
            if 30 < slept[0] < 100:
                target['status'] = 'available'
                slept[0] = 100

        self.site.volume = die  # type: ignore[method-assign]
        self.client = self.client.with_sleep(sleep)
        with self.assertRaisesRegex(
                filling.NotRestored, 'Volume db-vda .*was not restored .*: '
                'the backup was free again before the volume, .* not all data '
                'may be there. The same command again'):
            self.restore(verify=False)
        self.assertEqual({}, self.site.servers)
        self.restore(verify=False)
        self.assertEqual('data of db-vda', target['data'])


class TestSnapshots(TestCase):
    """From a snapshot set of the same site: volumes made of snapshots."""

    kind = points.SNAPSHOT

    def setUp(self) -> None:
        super().setUp()
        self.site.volumes.clear()
        self.site.backup_rows.clear()
        self.copies = {
            source: points.Copy(
                f's-{source}', points.SNAPSHOT, 1, 'available', source)
            for source in SOURCES
        }

    def test_volumes_are_made_of_snapshots(self) -> None:
        report = self.restore()
        self.assertEqual(
            [f's-{source}' for source in SOURCES],
            [self.site.volumes[v.id]['snapshot_id'] for v in report.volumes],
        )
        for volume in self.site.volumes.values():
            self.assertTrue(volume['description'].endswith(volume['id']))
        self.assertEqual(2, len(self.site.servers))
        self.assertEqual(0, self.restored())

    def test_a_proof_that_cannot_be_made_is_refused(self) -> None:
        with self.assertRaisesRegex(errors.NotPossible, 'cannot be proven'):
            self.restore(verify=True)
        self.assertEqual({}, self.site.volumes)

    def test_one_that_is_in_error_later_is_left_as_it_is(self) -> None:
        report = self.restore(start=False)
        volume = self.site.volumes[report.volumes[0].id]
        for late in False, True:
            plan = self.plan(start=False)
            volume['status'] = 'error'
            with self.assertRaisesRegex(
                    filling.NotRestored if late else errors.NotPossible,
                    'is not changed'):
                restore.create(
                    self.client, self.cloud,
                    plan if late else self.plan(start=False),
                    restore.Means(60.0, 60.0))
            self.assertIn(volume['id'], self.site.volumes)
            volume['status'] = 'available'

    def test_again_makes_no_more(self) -> None:
        self.stop_at('POST /ports')
        self.restore()
        self.assertEqual(3, len(self.site.volumes))

    def test_again_goes_on_though_servers_have_the_volumes(self) -> None:
        self.site.builds_to = ['ACTIVE', 'ERROR']
        with self.assertRaises(booting.NotBooted):
            self.restore()
        self.restore()
        log = list(self.site.log)
        self.restore()
        self.assertEqual(log, self.site.log)
        self.assertEqual('ACTIVE', self.server('web')['status'])

    def restored(self) -> int:
        return sum(line.endswith('/restore') for line in self.site.log)
