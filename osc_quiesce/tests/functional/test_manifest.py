# SPDX-License-Identifier: Apache-2.0

"""What ``openstack application snapshot`` records, on real services."""

import contextlib
import json
import tempfile
import uuid
from typing import Any

from osc_quiesce.tests.functional import base
from osc_quiesce.tests.functional import test_application

SMILE = '\U0001f600'


class TestManifest(test_application.ApplicationTest):
    """What a set knows of its servers."""

    def of_nova(
        self, method: str, path: str, body: Any, expect: int = 200
    ) -> Any:
        response = base.compute().request(
            path, method, json=body, microversion='2.79', raise_exc=False)
        self.assertEqual(expect, response.status_code, response.text)
        return response.json() if response.content else None

    def test_a_server_with_all_that_it_has(self) -> None:
        server, volume = self.boot_from_volume()
        self.cinder('POST', f'/volumes/{volume}/action', {
            'os-set_image_metadata': {'metadata': {
                'hw_qemu_guest_agent': 'yes', 'hw_firmware_type': 'uefi'}}})
        self.cinder('PUT', f'/volumes/{volume}', {'volume': {
            'metadata': {'role': 'db'}, 'description': f'd {SMILE}'}})
        self.of_nova('PUT', f'/servers/{server}', {'server': {
            'name': 'db caf\xe9', 'description': 'the database'}})
        self.of_nova('PUT', f'/servers/{server}/tags', {'tags': ['blue']})
        made = self.create(
            '--server', server, '--description', SMILE,
            '--property', f"'owner=caf\xe9 {SMILE}'").data
        [snapshot] = self.snapshots()
        self.assertTrue(json.dumps(snapshot, ensure_ascii=False).isascii())
        self.assertEqual(SMILE, made['description'])
        self.assertEqual({'owner': f'caf\xe9 {SMILE}'}, made['properties'])
        [found] = made['servers']
        flavor = base.flavor_id()
        self.assertEqual((flavor, 'tiny'), (
            found['flavor']['id'], found['flavor']['name']))
        self.assertEqual({}, found['flavor']['extra_specs'])
        self.assertEqual('db caf\xe9', found['name'])
        self.assertEqual('the database', found['description'])
        self.assertEqual(['blue'], found['tags'])
        self.assertTrue(found['hostname'])
        self.assertEqual([], found['ports'])
        self.assertEqual([], found['server_groups'])
        self.assertIsNone(found['image'])
        self.assertNotIn('user_data', found)
        [kept] = found['volumes']
        self.assertEqual('uefi', kept['image_metadata']['hw_firmware_type'])
        self.assertEqual('role db', ' '.join(*kept['metadata'].items()))
        self.assertEqual(f'd {SMILE}', kept['description'])
        self.assertEqual(
            (0, True, False, False),
            (kept['boot_index'], kept['bootable'], kept['encrypted'],
             kept['multiattach']))
        self.assertTrue(kept['availability_zone'])

    def test_a_root_device_of_another_name(self) -> None:
        server, _volume = self.boot_from_volume()
        with base.database() as connection:
            connection.execute(
                'UPDATE instances SET root_device_name = ? WHERE uuid = ?',
                ('/dev/sda', server))
        [found] = self.create('--server', server).data['servers']
        self.assertEqual([0], [v['boot_index'] for v in found['volumes']])

    def test_user_data_and_server_group(self) -> None:
        volume = self.volume()
        group = self.of_nova('POST', '/os-server-groups', {'server_group': {
            'name': 'apart', 'policy': 'soft-anti-affinity'}})['server_group']
        self.addCleanup(
            self.of_nova, 'DELETE', f'/os-server-groups/{group["id"]}', None,
            204)
        server: str = self.of_nova('POST', '/servers', {
            'server': {
                'name': 'vm-%s' % uuid.uuid4().hex[:8],
                'flavorRef': base.flavor_id(),
                'imageRef': base.image_id('tiny'),
                'networks': 'none',
                'user_data': 'c2VjcmV0'},
            'os:scheduler_hints': {'group': group['id']}}, 202)['server']['id']
        self.addCleanup(self.discard, server)
        self.wait(server, 'active')
        self.attach(server, volume)
        [found] = self.create('--server', server, '--allow-local-disk',
                              '--with-user-data').data['servers']
        self.assertEqual('c2VjcmV0', found['user_data'])
        self.assertEqual([{'id': group['id'], 'name': 'apart',
                           'policy': 'soft-anti-affinity'}],
                         found['server_groups'])
        self.assertEqual('tiny', found['image']['name'])
        self.assertEqual(
            'yes', found['image_properties']['hw_qemu_guest_agent'])

    def test_the_agent_is_a_property_of_the_server(self) -> None:
        name = 'image-%s' % uuid.uuid4().hex[:8]
        with tempfile.NamedTemporaryFile() as stream:
            stream.write(b'x' * 512)
            stream.flush()
            self.openstack(
                'image create --disk-format raw --container-format bare '
                f'--property hw_qemu_guest_agent=yes --file {stream.name} '
                f'{name}')
        self.addCleanup(self.openstack, f'image delete {name}')
        server, _volumes = self.with_volumes(image=name)
        self.openstack(f'image unset --property hw_qemu_guest_agent {name}')
        [found] = self.create(
            '--server', server, '--allow-local-disk').data['servers']
        self.assertEqual(
            'yes', found['image_properties']['hw_qemu_guest_agent'])

    def test_a_set_is_whole_while_it_is_backed_up(self) -> None:
        server, _volumes = self.with_volumes()
        self.create('--server', server, '--allow-local-disk')
        [snapshot] = self.snapshots()
        with self.backed_up(snapshot['id']):
            shown = self.openstack(
                f'application snapshot show -f json {self.set_name}').data
            self.assertEqual('consistent', shown['consistency'])
            said = self.openstack(
                f'application snapshot delete {self.set_name}', expect=1)
            self.assertIn(
                f'{snapshot["id"]} (it is being backed up', said.stderr)
        self.openstack(f'application snapshot delete {self.set_name}')
        self.assertEqual([], self.snapshots())

    @contextlib.contextmanager
    def backed_up(self, snapshot: str) -> Any:
        """Let a snapshot have the status of one that is being backed up."""

        def set_to(status: str) -> None:
            with base.database('cinder') as connection:
                connection.execute(
                    'UPDATE snapshots SET status = ? WHERE id = ?',
                    (status, snapshot))

        set_to('backing-up')
        try:
            yield
        finally:
            set_to('available')

    def test_a_key_that_cinder_does_not_take(self) -> None:
        server, _volumes = self.with_volumes()
        for key in 'owner@site', '(a)':
            said = self.create(
                '--dry-run', '--server', server, '--allow-local-disk',
                '--property', f"'{key}=x'", expect=1).stderr
            self.assertIn(f'"{key}"', said)
        self.assertEqual([], self.guest_log(server))

    def test_more_than_fits_into_a_backup(self) -> None:
        server, _volumes = self.with_volumes()
        properties = ' '.join(
            f'--property k{number}={"x" * 250}' for number in range(300))
        said = self.create(
            '--dry-run', '--server', server, '--allow-local-disk', properties,
            expect=1).stderr
        self.assertIn('more than 80000 could not be restored', said)
