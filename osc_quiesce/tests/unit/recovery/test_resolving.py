# SPDX-License-Identifier: Apache-2.0

"""A mapping at a site: each name becomes an ID, or is refused."""

from __future__ import annotations

import base64
import os
import tempfile

from osc_quiesce.recovery import resolved
from osc_quiesce.recovery import resolving
from osc_quiesce.recovery import site as sites
from osc_quiesce.tests.unit.recovery import restore_base


class TestResolving(restore_base.TestCase):
    def resolve(self) -> resolved.Resolution:
        return resolving.resolve(
            sites.Site(self.cloud), self.mapping, self.servers, 'shop'
        )

    def refusals(self) -> str:
        return ' '.join(self.resolve().refusals)

    def test_everything_is_found(self) -> None:
        found = self.resolve()
        self.assertEqual([], found.refusals)
        db = found.servers[0]
        self.assertEqual(('f1', 'ops', None), (db.flavor, db.keypair, db.zone))
        self.assertEqual(
            {
                'network_id': 'n1',
                'name': '',
                'admin_state_up': True,
                'binding:vnic_type': 'normal',
                'fixed_ips': [{'subnet_id': 's1', 'ip_address': '10.0.0.7'}],
                'mac_address': 'fa:16:3e:00:00:00',
                'security_groups': ['sg1'],
            },
            db.ports[0].body,
        )
        self.assertEqual('t1', found.volumes['db-vdb'].type)
        self.assertEqual('shop_db_vdb', found.volumes['db-vdb'].name)

    def test_a_name_that_is_not_mapped_is_refused(self) -> None:
        self.text = '{}'
        said = self.refusals()
        for section in 'flavors."m1.small"', 'networks."a-net"', (
            'keypairs."ops"'
        ), 'volume_types."rbd"', 'zones."nova"':
            self.assertIn(f'mapping.yaml has no {section}', said)

    def test_what_is_left_empty_is_refused_with_its_line(self) -> None:
        self.text = self.text.replace('m1.small: small', 'm1.small:')
        self.assertIn(
            'Server db (db-id), flavor m1.small (1 vCPU, 512 MiB): '
            'mapping.yaml, line 2 (flavors.m1.small) is empty.',
            self.refusals(),
        )

    def test_what_is_not_there_is_refused(self) -> None:
        self.text = self.text.replace('m1.small: small', 'm1.small: tiny')
        self.assertIn(
            '(flavors.m1.small): "tiny" is not there', self.refusals()
        )

    def test_what_several_things_are_called_is_refused(self) -> None:
        self.site.lists['flavors'].append(
            {'id': 'f3', 'name': 'small', 'vcpus': 1, 'ram': 1}
        )
        self.assertIn('2 have the name "small": give the ID (f1, f3)',
                      self.refusals())

    def test_what_one_needs_cannot_be_none(self) -> None:
        self.text = self.text.replace('m1.small: small', 'm1.small: none')
        self.assertIn('"none" is not there', self.refusals())

    def test_a_server_can_have_a_flavor_of_its_own(self) -> None:
        self.text += 'servers: {db: {flavor: big, hostname: db9}}\n'
        db, web = self.resolve().servers
        self.assertEqual(('f2', 'db9'), (db.flavor, db.hostname))
        self.assertEqual(('f1', 'web'), (web.flavor, web.hostname))

    def test_a_hostname_that_nova_does_not_take_is_refused(self) -> None:
        for name in 'd', 'db.example.org':
            self.servers[0]['hostname'] = name
            self.assertEqual(name, self.resolve().servers[0].hostname)
            self.assertEqual('', self.refusals())
        self.servers[0]['hostname'] = 'caf\xe9'
        self.assertIn('Server db (db-id), hostname caf\xe9: Nova takes only',
                      self.refusals())
        self.text += 'servers: {db: {hostname: cafe}}\n'
        self.assertEqual('', self.refusals())
        self.assertEqual('cafe', self.resolve().servers[0].hostname)

    def test_a_server_can_be_left_out(self) -> None:
        self.text += 'servers: {db: {exclude: true}}\n'
        found = self.resolve()
        self.assertEqual(['web'], [server.name for server in found.servers])
        self.assertEqual(['web-vda'], list(found.volumes))

    def test_addresses_and_macs_can_be_new(self) -> None:
        self.text = self.text.replace(
            '{network: b-net}',
            '{network: other, subnet: o-sub, addresses: new, mac: new}',
        )
        body = self.resolve().servers[0].ports[0].body
        self.assertEqual([{'subnet_id': 's2'}], body['fixed_ips'])
        self.assertNotIn('mac_address', body)

    def test_an_address_that_the_network_does_not_have_is_refused(
        self,
    ) -> None:
        self.text = self.text.replace('network: b-net', 'network: other')
        self.assertIn(
            'address 10.0.0.7 is in no subnet of network other: with '
            '"addresses: new" the server gets another one', self.refusals(),
        )

    def test_an_address_that_is_made_of_a_mac_goes_with_it(self) -> None:
        self.site.lists['subnets'].append({
            'id': 's6', 'name': 'b-sub6', 'network_id': 'n1',
            'cidr': 'fd00::/64', 'ipv6_address_mode': 'slaac'})
        self.servers[0]['ports'][0]['fixed_ips'].append(
            {'ip_address': 'fd00::f816:3eff:fe00:0'})
        self.assertEqual([], self.resolve().refusals)
        self.text = self.text.replace(
            '{network: b-net}', '{network: b-net, mac: new}')
        self.assertIn('address fd00::f816:3eff:fe00:0 is made of the MAC: '
                      'with "mac: new"', self.refusals())

    def test_an_address_that_somebody_has_is_refused(self) -> None:
        self.site.ports['p'] = {
            'id': 'p', 'network_id': 'n1', 'device_id': 'someone',
            'fixed_ips': [{'ip_address': '10.0.0.7'}],
            'mac_address': 'fa:16:3e:00:00:01',
        }
        said = self.refusals()
        self.assertIn('port p (of someone) has address 10.0.0.7 here', said)
        self.assertIn('has MAC fa:16:3e:00:00:01 here', said)

    def test_a_subnet_of_another_network_is_refused(self) -> None:
        self.text = self.text.replace(
            '{network: b-net}', '{network: b-net, subnet: o-sub}'
        )
        self.assertIn('subnet o-sub is of another network', self.refusals())

    def test_two_networks_of_one_name_do_not_become_one(self) -> None:
        port = self.servers[1]['ports'][0]
        port['network'] = {'id': 'second', 'name': 'a-net'}
        port['security_groups'].append({'id': 'second-sg', 'name': 'web'})
        for section, id_, here in (
            ('networks', 'second', '{network: b-net}'),
            ('security_groups', 'second-sg', 'web'),
        ):
            self.assertIn(f'several at the source: give the ID {id_} in',
                          self.refusals())
            self.text = self.text.replace(
                f'{section}:', f'{section}:\n  {id_}: {here}')
        self.assertEqual('', self.refusals())

    def test_a_network_can_be_left_out(self) -> None:
        self.text = self.text.replace('{network: b-net}', 'none')
        self.assertEqual([], self.resolve().refusals)
        self.assertEqual([], self.resolve().servers[0].ports)

    def test_ports_without_security_stay_so(self) -> None:
        self.servers[0]['ports'][0]['port_security_enabled'] = False
        body = self.resolve().servers[0].ports[0].body
        self.assertIs(False, body['port_security_enabled'])
        self.assertEqual([], body['security_groups'])

    def test_a_site_without_neutron_has_no_networks(self) -> None:
        self.site.lists['networks'] = []
        self.assertIn('"b-net" is not there', self.refusals())

    def test_encrypted_volumes_are_refused(self) -> None:
        self.servers[0]['volumes'][1]['encrypted'] = True
        self.assertIn('volume /dev/vdb (db-vdb, 1 GiB): it is encrypted',
                      self.refusals())

    def test_images_of_image_metadata_are_mapped_too(self) -> None:
        for server in self.servers:
            server['volumes'][0]['image_metadata'].update(
                kernel_id='a-kernel', ramdisk_id='a-ramdisk')
        said = self.refusals()
        for name in 'kernel', 'ramdisk':
            self.assertIn(
                f'Server db (db-id), {name}_id of /dev/vda a-{name}: '
                f'mapping.yaml has no images."a-{name}".', said)
            self.assertIn(f'Server web (web-id), {name}_id of /dev/vda', said)
        self.text += 'images: {a-kernel: cirros, a-ramdisk: i1}\n'
        found = self.resolve()
        self.assertEqual([], found.refusals)
        self.assertEqual(
            {'hw_disk_bus': 'virtio', 'kernel_id': 'i1', 'ramdisk_id': 'i1'},
            found.volumes['db-vda'].image_metadata,
        )

    def test_images_of_a_snapshot_are_of_this_site(self) -> None:
        image = self.servers[0]['volumes'][0]['image_metadata']
        image['kernel_id'] = 'a-kernel'
        found = resolving.resolve(
            sites.Site(self.cloud), self.mapping, self.servers, 'shop',
            from_backups=False,
        )
        self.assertEqual([], found.refusals)
        self.assertEqual(image, found.volumes['db-vda'].image_metadata)

    def test_a_type_that_cannot_be_shared_is_refused(self) -> None:
        self.servers[0]['volumes'][1]['multiattach'] = True
        self.assertIn('which type ceph does not allow (multiattach)',
                      self.refusals())
        self.site.lists['volume_types'][0]['extra_specs'] = {
            'multiattach': '<is> True'}
        self.assertEqual('', self.refusals())

    def test_a_type_with_encryption_is_refused(self) -> None:
        self.assertEqual('', self.refusals())
        self.assertEqual(1, self.site.reads.count('/types/t1/encryption'))
        self.site.encrypted_types = ['ceph']
        self.assertIn('volumes of type ceph are encrypted', self.refusals())
        self.site.is_admin = False  # who is not told
        self.assertEqual('', self.refusals())

    def test_what_is_lost_is_named(self) -> None:
        db = self.servers[0]
        db['image'] = {'id': 'a-i', 'name': 'cirros-a'}
        db['flavor'].update(ephemeral=5, swap=64, extra_specs={
            'hw:tpm_version': '2.0', 'pci_passthrough:alias': 'gpu:1'})
        db['image_properties'] = {'hw_firmware_type': 'uefi'}
        db['ports'] = None
        self.text += 'images: {cirros-a: cirros}\n'
        found = self.resolve()
        self.assertEqual([], found.refusals)
        self.assertEqual('i1', found.servers[0].image)
        self.assertEqual(
            ['root disk', 'ephemeral disk', 'swap disk', 'vTPM',
             'UEFI variables', 'device', 'ports'],
            [row.what for row in found.rows if row.here == 'lost'],
        )

    def test_user_data_come_from_the_record_or_from_a_file(self) -> None:
        self.servers[0]['user_data'] = 'cmVjb3JkZWQ='
        self.assertEqual('cmVjb3JkZWQ=', self.resolve().servers[0].user_data)
        self.text += 'servers: {db: {user_data: drop}}\n'
        self.assertIsNone(self.resolve().servers[0].user_data)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'ud')
            self.text = restore_base.MAPPING + (
                f'servers: {{web: {{user_data_file: {path}}}}}\n')
            self.assertIn(f'(servers.web): {path} cannot be read',
                          self.refusals())
            with open(path, 'w') as stream:
                stream.write('#!/bin/sh\n')
            data = self.resolve().servers[1].user_data
            assert data
            self.assertEqual(b'#!/bin/sh\n', base64.b64decode(data))
            with open(path, 'w') as stream:
                stream.write('x' * 60000)
            self.assertIn('longer than Nova takes', self.refusals())

    def test_a_volume_of_several_servers_is_one(self) -> None:
        shared = self.servers[0]['volumes'][1]
        self.servers[1]['volumes'].append(shared)
        found = self.resolve()
        self.assertEqual(
            ['db-vda', 'db-vdb', 'web-vda'], sorted(found.volumes))
        self.assertEqual(
            ['db-vdb', 'web-vda'],
            sorted(v['id'] for v in found.servers[1].volumes))

    def test_vdz_comes_before_vdaa(self) -> None:
        self.assertEqual(
            ['/dev/vda', '/dev/vdz', '/dev/vdaa'],
            [v['device'] for v in resolved.in_order([
                {'device': '/dev/vdaa'}, {'device': '/dev/vdz'},
                {'device': '/dev/vda'}])],
        )
