# SPDX-License-Identifier: Apache-2.0

"""Ports of restored servers, with a real Neutron at both sites."""

from __future__ import annotations

import pathlib
import tempfile
from typing import Any

from osc_quiesce.tests.recovery import base

A, B = base.A, base.B
NETWORK, SUBNET, GROUP = 'front', 'front-v4', 'web'
ISOLATED = 'isolated'
#: fixed address and MAC of each server's port
PORTS = {'db': ('10.77.0.7', 'fa:16:3e:77:00:07'),
         'web': ('10.77.0.8', 'fa:16:3e:77:00:08')}
#: an address that the servers share, as with VRRP
PAIRS = [{'ip_address': '10.77.0.100', 'mac_address': 'fa:16:3e:77:01:00'}]


def network(site: str, name: str) -> str:
    """Make a network with one subnet, and return its ID."""
    neutron = base.cloud(site).network
    made: str = neutron('POST', '/networks', {'network': {
        'name': name}})['network']['id']
    neutron('POST', '/subnets', {'subnet': {
        'name': f'{name}-v4', 'network_id': made, 'ip_version': 4,
        'cidr': '10.77.0.0/24', 'enable_dhcp': False}})
    return made


def ports(site: str, network_id: str) -> list[dict[str, Any]]:
    """Return the ports of a network, in the order of their addresses."""
    found = base.cloud(site).network(
        'GET', f'/ports?network_id={network_id}')['ports']
    return sorted(found, key=lambda port: str(port['fixed_ips']))


def port(network_id: str, group: str, server: str) -> dict[str, Any]:
    """Return what asks for the port of a server."""
    address, mac = PORTS[server]
    return {'name': f'{server}-port',
            'network_id': network_id,
            'fixed_ips': [{'ip_address': address}],
            'mac_address': mac,
            'security_groups': [group],
            'allowed_address_pairs': PAIRS}


def shown(found: dict[str, Any]) -> dict[str, Any]:
    """Return what a restored port must have in common with its source."""
    return {
        'name': found['name'],
        'address': [ip['ip_address'] for ip in found['fixed_ips']],
        'mac': found['mac_address'],
        'pairs': found['allowed_address_pairs'],
        'status': found['status']}


class Application(base.Application):
    """Two servers with a port each.

    :ivar network: the ID of their network
    """

    def __init__(self, test: base.RecoveryTest) -> None:
        self.network = network(A, NETWORK)
        self._group = security_group(A)
        super().__init__(test)

    def networks(self, server: str) -> Any:
        made = base.cloud(A).network('POST', '/ports', {
            'port': port(self.network, self._group, server)})['port']
        return [{'port': made['id']}]


def security_group(site: str) -> str:
    """Make a security group, and return its ID."""
    made: str = base.cloud(site).network('POST', '/security-groups', {
        'security_group': {'name': GROUP}})['security_group']['id']
    return made


class TestPorts(base.RecoveryTest):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.clean)
        self.network = network(B, NETWORK)
        self.isolated = network(B, ISOLATED)
        self.group = security_group(B)
        self.application = Application(self)
        self.application.snapshot('set')
        folder = pathlib.Path(tempfile.mkdtemp(dir=base.root()))
        self.mapping = folder / 'mapping.yaml'
        self.openstack(
            B, f'application mapping create set --from-cloud {A} '
            f'--output {self.mapping}')
        self.openstack(
            A, f'application backup create set --to-cloud {B} '
            f'--mapping {self.mapping}')

    def clean(self) -> None:
        """Delete restores, servers, ports, networks and groups."""
        for each in self.json(B, 'application restore list'):
            self.openstack(B, f'application restore delete {each["ID"]}')
        base.remove_points()
        for site in A, B:
            cloud = base.cloud(site)
            for each in cloud.compute('GET', '/servers')['servers']:
                cloud.compute('DELETE', f'/servers/{each["id"]}')
            self.until(
                lambda cloud=cloud: not cloud.compute(
                    'GET', '/servers')['servers'], 'no server is left')
            for each in cloud.network('GET', '/ports')['ports']:
                cloud.network('DELETE', f'/ports/{each["id"]}')
            for each in cloud.network('GET', '/networks')['networks']:
                cloud.network('DELETE', f'/networks/{each["id"]}')
            for each in cloud.network(
                    'GET', f'/security-groups?name={GROUP}')[
                        'security_groups']:
                cloud.network('DELETE', f'/security-groups/{each["id"]}')

    def restore(self, *options: str, expect: int = 0) -> Any:
        """Return the report of a restore at site B, or what it said."""
        done = self.openstack(
            B,
            f'application restore create set --mapping {self.mapping} '
            f'--from-cloud {A} --force -f json {" ".join(options)}',
            expect=expect,
        )
        return done.stderr if expect else done.data

    def test_addresses_and_macs_are_kept(self) -> None:
        report = self.restore('--verify-all')
        self.assertEqual(
            [[address] for address, _mac in PORTS.values()],
            [server['addresses'] for server in report['servers']])
        sources = ports(A, self.application.network)
        restored = ports(B, self.network)
        self.assertEqual(
            [shown(each) for each in sources],
            [shown(each) for each in restored])
        self.assertEqual('ACTIVE', restored[0]['status'])
        self.assertEqual(
            [[self.group]] * 2, [each['security_groups'] for each in restored])
        self.assertEqual(
            [server['id'] for server in report['servers']],
            [each['device_id'] for each in restored])
        self.openstack(B, 'application restore delete set')
        self.assertEqual([], ports(B, self.network))

    def test_an_address_that_is_taken(self) -> None:
        taken = base.cloud(B).network('POST', '/ports', {
            'port': port(self.network, self.group, 'web')})['port']['id']
        said = self.restore(expect=1)
        address, mac = PORTS['web']
        for what in f'address {address}', f'MAC {mac}':
            self.assertIn(f'port {taken} (of no server) has {what}', said)
        self.assertEqual([], self.json(B, 'application restore list'))
        self.mapping.write_text(self.mapping.read_text().replace(
            'addresses: keep', 'addresses: new').replace(
                'mac: keep', 'mac: new'))
        report = self.restore()
        self.assertEqual(2, len(report['servers']))
        new = [each for each in ports(B, self.network) if each['id'] != taken]
        self.assertEqual(
            set(), {mac for _address, mac in PORTS.values()}
            & {each['mac_address'] for each in new})
        self.assertEqual(2, len(new))

    def test_a_drill_is_in_the_isolated_network(self) -> None:
        with self.mapping.open('a') as stream:
            stream.write(f'drill:\n  networks:\n    {NETWORK}: {ISOLATED}\n')
        report = self.openstack(
            B, f'application drill set --mapping {self.mapping} --keep '
            '-f json').data
        self.assertEqual('ok', report['result'])
        self.assertEqual([], ports(B, self.network))
        drilled = ports(B, self.isolated)
        self.assertEqual(
            [shown(each)['address'] for each in ports(
                A, self.application.network)],
            [shown(each)['address'] for each in drilled])
        self.assertEqual(
            {server['id'] for server in report['servers']},
            {each['device_id'] for each in drilled})
        self.openstack(B, f'application restore delete {report["id"]}')
        self.assertEqual([], ports(B, self.isolated))
