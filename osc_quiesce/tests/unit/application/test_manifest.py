# SPDX-License-Identifier: Apache-2.0

"""What is recorded of a server, and with how many requests."""

from __future__ import annotations

import collections
import json
from typing import Any
from unittest import mock

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import manifest
from osc_quiesce.tests.unit import fakes
from osc_quiesce.tests.unit.application import preflight_base

MAC = 'fa:16:3e:00:00:0%d'


class TestCase(preflight_base.TestCase):
    def recorded(self, **kwargs: Any) -> dict[str, Any]:
        """Return what is recorded of web; it is plain JSON."""
        found = dict(self.accepted(**kwargs).servers[1].restore)
        self.assertEqual(found, json.loads(json.dumps(found)))
        return found

    def give_addresses(self, server: fakes.FakeServer) -> None:
        """Let Nova show two interfaces, in two networks."""
        server.shown['addresses'] = {
            f'net{number}': [
                {
                    'addr': f'192.0.2.{number}',
                    'OS-EXT-IPS-MAC:mac_addr': MAC % number,
                    'OS-EXT-IPS:type': 'fixed',
                }
            ]
            for number in (1, 2)
        }
        server.shown['security_groups'] = [
            {'name': 'web'}, {'name': 'default'}, {'name': 'web'}
        ]

    def show_interfaces(self, server: fakes.FakeServer) -> None:
        """Let Nova show its interfaces in detail."""
        self.nova.more[f'/servers/{server.id}/os-interface'] = {
            'interfaceAttachments': [
                {
                    'port_id': f'port{number}',
                    'net_id': f'id-net{number}',
                    'mac_addr': MAC % number,
                    'fixed_ips': [
                        {
                            'ip_address': f'192.0.2.{number}',
                            'subnet_id': 'id-sub',
                        }
                    ],
                    'tag': 'front' if number == 1 else None,
                }
                for number in (2, 1)
            ]
        }

    def show_ports(self, *servers: fakes.FakeServer) -> None:
        """Let Neutron show the same, and more."""
        self.cloud.neutron = {
            '/networks/id-net1': {'network': {'name': 'net1'}},
            '/networks/id-net2': {'network': {'name': 'net2'}},
            '/subnets/id-sub': {
                'subnet': {'name': 'sub', 'cidr': '192.0.2.0/24'}
            },
            '/security-groups/id-web': {'security_group': {'name': 'web'}},
        }
        for server in servers:
            self.cloud.neutron[f'/ports?device_id={server.id}'] = {
                'ports': [
                    {
                        'id': f'port{number}',
                        'name': f'name{number}',
                        'network_id': f'id-net{number}',
                        'mac_address': MAC % number,
                        'fixed_ips': [
                            {
                                'ip_address': f'192.0.2.{number}',
                                'subnet_id': 'id-sub',
                            }
                        ],
                        'security_groups': ['id-web', 'id-hidden'],
                        'allowed_address_pairs': [
                            {'ip_address': '192.0.2.9'}
                        ],
                        'binding:vnic_type': 'normal',
                        'port_security_enabled': True,
                    }
                    for number in (2, 1)
                ]
            }


class ServerTest(TestCase):
    def test_what_nova_shows_is_kept(self) -> None:
        shown = {
            'key_name': 'ops',
            'description': 'd',
            'tags': ['blue'],
            'metadata': {'role': 'web'},
            'scheduler_hints': {'group': ['g1']},
        }
        self.web.shown.update(shown)
        self.web.shown.update(
            {
                'OS-EXT-AZ:availability_zone': 'az1',
                'OS-EXT-SRV-ATTR:hostname': 'web-1',
                'config_drive': 'True',
                'flavor': {
                    'original_name': 'small',
                    'vcpus': 1,
                    'ram': 512,
                    'disk': 0,
                    'ephemeral': 0,
                    'swap': 64,
                    'extra_specs': {'hw:mem_page_size': 'large'},
                },
            }
        )
        self.nova.more['/flavors'] = {
            'flavors': [
                {'id': '7', 'name': 'large'}, {'id': '8', 'name': 'small'}
            ]
        }
        found = self.recorded()
        for key, value in {
            **shown,
            'id': self.web.id,
            'name': 'web',
            'order': 1,
            'stage': 1,
            'availability_zone': 'az1',
            'hostname': 'web-1',
            'config_drive': True,
            'image': None,
            'image_properties': None,
            'flavor': {
                'id': '8',
                'name': 'small',
                'vcpus': 1,
                'ram': 512,
                'disk': 0,
                'ephemeral': 0,
                'swap': 64,
                'extra_specs': {'hw:mem_page_size': 'large'},
            },
        }.items():
            self.assertEqual(value, found[key], key)

    def test_what_nova_does_not_show_is_none(self) -> None:
        found = self.recorded()
        for key in (
            'hostname',
            'description',
            'tags',
            'key_name',
            'availability_zone',
            'server_groups',
            'scheduler_hints',
        ):
            self.assertIsNone(found[key], key)
        self.assertIsNone(found['flavor']['id'])
        self.assertIsNone(found['flavor']['extra_specs'])
        self.assertEqual([], found['ports'])
        self.assertNotIn('user_data', found)

    def test_user_data_are_kept_only_if_wanted(self) -> None:
        for server in (self.db, self.web):
            server.shown['OS-EXT-SRV-ATTR:user_data'] = 'c2VjcmV0'
        self.assertNotIn('c2VjcmV0', str(self.accepted()))
        self.assertEqual(
            'c2VjcmV0', self.recorded(with_user_data=True)['user_data']
        )

    def test_server_groups_have_names(self) -> None:
        self.web.shown['server_groups'] = ['g1', 'g2']
        unknown = {'id': 'g2', 'name': None, 'policy': None}
        self.assertIn(unknown, self.recorded()['server_groups'])
        known = {'id': 'g1', 'name': 'apart', 'policy': 'anti-affinity'}
        self.nova.more['/os-server-groups'] = {
            'server_groups': [{**known, 'members': [], 'rules': {}}]
        }
        self.assertEqual([known, unknown], self.recorded()['server_groups'])

    def test_the_properties_of_an_image_are_those_of_the_server(self) -> None:
        self.boot_from_image(self.web, 'tiny')
        self.cloud.images['tiny'] = {
            'id': 'tiny',
            'name': 'Tiny',
            'size': 1,
            'os_hidden': False,
            'hw_qemu_guest_agent': 'yes',
            'hw_firmware_type': 'uefi',
        }
        properties = {'hw_qemu_guest_agent': 'yes', 'hw_firmware_type': 'uefi'}
        found = self.recorded(allow_local_disk=True)
        self.assertEqual({'id': 'tiny', 'name': 'Tiny'}, found['image'])
        self.assertEqual(properties, found['image_properties'])
        properties['hw_firmware_type'] = 'bios'
        self.web.shown['image']['properties'] = properties
        found = self.recorded(allow_local_disk=True)
        self.assertEqual(properties, found['image_properties'])

    def test_an_image_that_is_gone_has_no_name(self) -> None:
        self.boot_from_image(self.web, 'gone')
        found = self.recorded(allow_local_disk=True)
        self.assertEqual({'id': 'gone', 'name': None}, found['image'])
        self.assertIsNone(found['image_properties'])


class VolumeTest(TestCase):
    def test_what_a_volume_needs_is_kept(self) -> None:
        self.cloud.volumes['web-data'].update(
            {
                'description': 'data',
                'availability_zone': 'az2',
                'bootable': 'true',
                'encrypted': True,
                'multiattach': True,
                'volume_image_metadata': {'hw_disk_bus': 'scsi'},
                'metadata': {'role': 'db'},
            }
        )
        self.attached(self.web)[1].update(
            {'tag': 'data', 'delete_on_termination': True}
        )
        boot, data = self.recorded()['volumes']
        self.assertEqual(
            {
                'id': 'web-data',
                'name': 'name of web-data',
                'description': 'data',
                'device': '/dev/vdb',
                'size': 2,
                'type': 'fast',
                'availability_zone': 'az2',
                'boot_index': -1,
                'tag': 'data',
                'delete_on_termination': True,
                'excluded': False,
                'bootable': True,
                'encrypted': True,
                'multiattach': True,
                'image_metadata': {'hw_disk_bus': 'scsi'},
                'metadata': {'role': 'db'},
            },
            data,
        )
        self.assertEqual(0, boot['boot_index'])

    def test_bootable_without_an_image(self) -> None:
        read = {'id': 'v', 'size': 1, 'status': 'in-use'}
        part = {'device': None}
        for bootable, shown in (
            (True, 'true'), (True, True), (False, 'false'), (False, None)
        ):
            made = manifest.volume({**read, 'bootable': shown}, part, 0, False)
            self.assertEqual(bootable, made['bootable'])
            self.assertEqual({}, made['image_metadata'])
            self.assertEqual('', made['device'])


class PortTest(TestCase):
    def test_what_neutron_shows_is_kept_in_novas_order(self) -> None:
        self.give_addresses(self.web)
        self.show_interfaces(self.web)
        self.show_ports(self.web)
        first, second = self.recorded()['ports']
        self.assertEqual(
            {
                'id': 'port1',
                'name': 'name1',
                'network': {'id': 'id-net1', 'name': 'net1'},
                'fixed_ips': [
                    {
                        'ip_address': '192.0.2.1',
                        'subnet': {
                            'id': 'id-sub',
                            'name': 'sub',
                            'cidr': '192.0.2.0/24',
                        },
                    }
                ],
                'mac_address': MAC % 1,
                'security_groups': [
                    {'id': 'id-web', 'name': 'web'},
                    {'id': 'id-hidden', 'name': None},
                ],
                'allowed_address_pairs': [{'ip_address': '192.0.2.9'}],
                'vnic_type': 'normal',
                'port_security_enabled': True,
                'tag': 'front',
            },
            first,
        )
        self.assertEqual('port2', second['id'])

    def test_neutron_may_show_them_in_pages(self) -> None:
        self.show_ports(self.web)
        assert self.cloud.neutron is not None
        path = f'/ports?device_id={self.web.id}'
        second, first = self.cloud.neutron[path]['ports']
        self.cloud.neutron[path] = {
            'ports': [second], 'ports_links': [{'rel': 'next'}]}
        self.cloud.neutron[f'{path}&marker=port2'] = {'ports': [first]}
        self.assertEqual({'port1', 'port2'}, {
            port['id'] for port in self.recorded()['ports']})

    def test_without_neutron_there_is_what_nova_shows(self) -> None:
        self.give_addresses(self.web)
        groups = [
            {'id': None, 'name': 'default'}, {'id': None, 'name': 'web'}
        ]
        for interfaces in (False, True):
            if interfaces:
                self.show_interfaces(self.web)
            first, second = self.recorded()['ports']
            self.assertEqual('net1', first['network']['name'])
            self.assertEqual(MAC % 1, first['mac_address'])
            self.assertEqual(
                '192.0.2.1', first['fixed_ips'][0]['ip_address']
            )
            self.assertEqual(groups, first['security_groups'])
            self.assertIsNone(first['port_security_enabled'])
            self.assertEqual(
                'port2' if interfaces else None, second['id']
            )

    def test_a_neutron_that_refuses_is_told_once_and_no_obstacle(
        self,
    ) -> None:
        for server in (self.db, self.web):
            self.give_addresses(server)
        refuse = mock.Mock(side_effect=cloud_api.CloudError('no.', 403))
        with mock.patch.object(self.cloud, 'network', refuse):
            with self.assertLogs('osc_quiesce', 'WARNING') as logs:
                self.assertEqual(2, len(self.recorded()['ports']))
        self.assertEqual(1, len(logs.output), logs.output)
        self.assertIn('Neutron does not show all', logs.output[0])
        self.assertEqual(2, refuse.call_count)

    def test_a_neutron_that_does_not_answer_is_not_asked_again(self) -> None:
        away = mock.Mock(side_effect=cloud_api.CloudError('away'))
        with mock.patch.object(self.cloud, 'network', away), \
                mock.patch.object(cloud_api, 'THREADS', 1), \
                self.assertLogs('osc_quiesce', 'WARNING'):
            self.accepted()
        self.assertEqual(1, away.call_count)


class RequestsTest(TestCase):
    """Before the freeze there is time, but not for ever more requests."""

    def setUp(self) -> None:
        super().setUp()
        for server in (self.db, self.web):
            self.give_addresses(server)
            self.show_interfaces(server)
            server.shown['server_groups'] = ['g1']
        self.show_ports(self.db, self.web)
        self.nova.more['/flavors'] = {'flavors': []}
        self.nova.more['/os-server-groups'] = {'server_groups': []}
        self.enterContext(mock.patch.object(cloud_api, 'THREADS', 1))

    def test_what_servers_share_is_read_once(self) -> None:
        self.accepted()
        counts = collections.Counter(self.nova.gets())
        for path in 'GET /flavors', 'GET /os-server-groups':
            self.assertEqual(1, counts[path], path)
        paths = collections.Counter(self.cloud.network_log)
        self.assertEqual({1}, set(paths.values()), paths)

    def test_requests_for_one_more_server_are_bounded(self) -> None:
        def asked(server: str) -> int:
            self.nova.log.clear()
            self.cloud.network_log.clear()
            plan = self.accepted()
            [id_] = [s.id for s in plan.servers if s.name == server]
            return sum(
                line.startswith(f'GET {server}') for line in self.nova.gets()
            ) + sum(id_ in path for path in self.cloud.network_log)

        # The server, its actions, attachments and interfaces; its ports.
        # The first one shows which microversion there is.
        self.assertEqual([6, 5], [asked('db'), asked('web')])

    def test_an_older_nova_shows_what_it_can(self) -> None:
        newest = '2.90'
        versions: list[str] = []

        def old(request: Any, context: Any) -> str | None:
            version = request.headers.get('OpenStack-API-Version', '')
            asked = version.removeprefix('compute ')
            versions.append(asked)
            if asked and int(asked[2:]) > int(newest[2:]):
                context.status_code = 406
                return json.dumps(
                    {'computeFault': {'message': 'not supported', 'code': 406}}
                )
            return None

        self.nova.hooks.append(old)
        self.accepted()
        self.assertEqual(1, versions.count('2.100'))
        self.assertEqual(1, versions.count('2.98'))
        self.assertEqual(3, versions.count('2.90'))
