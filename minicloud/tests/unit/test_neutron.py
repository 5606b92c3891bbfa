# SPDX-License-Identifier: Apache-2.0

"""What a cloud with Neutron has more than one without."""

import ast
import configparser
import pathlib
import sys
import tempfile
from typing import Any
import unittest
from unittest import mock

from minicloud import config
from minicloud import layout
from minicloud import neutron
from minicloud import packages
from minicloud import ports
from minicloud import seed
from minicloud.errors import MinicloudError
from minicloud.roles import network
from minicloud.roles import prepare
from minicloud.tests.unit import test_config
from minicloud.tests.unit import test_roles

FILES = {'neutron.conf', 'neutron-api-paste.ini'}


def plan(root: str = '/nowhere/cloud', **settings: Any) -> config.Plan:
    return test_config.plan(root, network='neutron', **settings)


class ConfigurationTest(unittest.TestCase):

    def made(self, **settings: Any) -> configparser.RawConfigParser:
        return test_config.parsed(config.neutron_server(plan(**settings)))

    def test_all_of_it_is_in_the_root(self) -> None:
        made = self.made()
        for section, option in (('DEFAULT', 'state_path'),
                                ('DEFAULT', 'api_paste_config'),
                                ('database', 'connection'),
                                ('oslo_concurrency', 'lock_path'),
                                ('oslo_policy', 'policy_file')):
            self.assertIn('/nowhere/cloud/', made[section][option])

    def test_it_stays_recognisable(self) -> None:
        self.assertEqual('off', self.made()['DEFAULT']['setproctitle'])

    def test_there_are_no_agents_and_no_messages(self) -> None:
        options = self.made(broker='rabbit')['DEFAULT']
        self.assertEqual('0', options['rpc_workers'])
        self.assertEqual('fake:///', options['transport_url'])

    def test_it_can_log_in_wherever_it_tells_something(self) -> None:
        made = self.made()
        for section in ('nova', 'placement', 'keystone_authtoken'):
            self.assertEqual('http://127.0.0.1:20000/v3',
                             made[section]['auth_url'])
            self.assertEqual('neutron', made[section]['username'])

    def test_projects_get_vxlan_networks_in_every_release(self) -> None:
        made = self.made()['ml2']
        self.assertEqual({'vxlan'}, {made['project_network_types'],
                                     made['tenant_network_types']})

    def test_it_uses_the_database_that_was_chosen(self) -> None:
        self.assertTrue(self.made(database='mariadb')['database'][
            'connection'].startswith('mysql+pymysql://'))

    def test_the_mechanism_of_each_driver_is_an_entry_point(self) -> None:
        parser = configparser.RawConfigParser()
        parser.read(network.PLUGINS / 'minicloud-0.dist-info'
                    / 'entry_points.txt')
        drivers = dict(parser['neutron.ml2.mechanism_drivers'])
        self.assertEqual(set(config.DRIVERS), set(neutron.MECHANISMS))
        self.assertEqual(set(neutron.MECHANISMS.values()), set(drivers))
        source = ast.parse(pathlib.Path(
            network.PLUGINS.parent, 'virt', 'network.py').read_text())
        classes = {node.name for node in source.body
                   if isinstance(node, ast.ClassDef)}
        for value in drivers.values():
            module, _, name = value.partition(':')
            self.assertEqual('minicloud.virt.network', module)
            self.assertIn(name, classes)


class ChoiceTest(unittest.TestCase):

    def test_without_neutron_all_is_as_it_was(self) -> None:
        made = test_config.plan()
        self.assertEqual('none', made.network)
        self.assertFalse(FILES & set(config.render(made)))
        self.assertNotIn('network', config.roles_of(made))
        self.assertNotIn('neutron', config.database_names(made))
        self.assertEqual(prepare.PARTS, prepare.parts(made))
        self.assertEqual(packages.SERVICES, packages.services('none'))
        self.assertEqual(made.url('network'),
                         seed.endpoints(made)['neutron', 'network'])

    def test_with_it_there_is_more(self) -> None:
        made = plan()
        self.assertIn('network', config.roles_of(made))
        self.assertIn('neutron', config.database_names(made))
        self.assertEqual((*prepare.PARTS, 'neutron'), prepare.parts(made))
        self.assertEqual(made.url('neutron'),
                         seed.endpoints(made)['neutron', 'network'])

    def test_its_files_are_rendered_and_the_users_go_over_them(self) -> None:
        try:
            packages.versions(packages.services('neutron'))
        except MinicloudError:
            self.skipTest('neutron is not installed')
        with tempfile.TemporaryDirectory() as root:
            made = plan(root)
            before = config.render(made)
            self.assertLess(FILES, set(before))
            made.layout.local.mkdir()
            (made.layout.local / 'neutron.conf').write_text(
                '[ml2]\nmechanism_drivers = openvswitch\n')
            after = config.render(made)
        self.assertEqual({'neutron.conf'}, {
            name for name in after if after[name] != before[name]})
        self.assertIn('mechanism_drivers = openvswitch',
                      after['neutron.conf'])
        self.assertEqual({'network'}, {
            role for role in config.roles_of(made)
            if config.digest(made, before, role)
            != config.digest(made, after, role)})

    def test_a_missing_package_is_said(self) -> None:
        with mock.patch.dict(packages.NETWORKS,
                             {'neutron': ('no-such-package',)}):
            with self.assertRaisesRegex(MinicloudError, 'no-such-package'):
                packages.check(False, 'neutron')

    def test_an_earlier_cloud_has_no_port_for_it(self) -> None:
        with tempfile.TemporaryDirectory() as root:
            path = pathlib.Path(root, 'ports.json')
            path.write_text(str({
                name: 20000 + i for i, name in enumerate(ports.NAMES)
                if name not in ports.OPTIONAL}).replace("'", '"'))
            self.assertNotIn('neutron', ports.load(path))
            self.assertIn('identity', ports.load(path))


class RoleTest(unittest.TestCase):

    def test_the_server_finds_its_files_and_our_drivers(self) -> None:
        api = mock.Mock()
        searched: list[str] = []
        made = test_roles.context(role='network')
        with (mock.patch.dict(sys.modules, {
                'neutron': mock.Mock(), 'neutron.wsgi': mock.Mock(api=api)}),
              mock.patch.dict('os.environ'),
              mock.patch.object(sys, 'path', searched),
              mock.patch('minicloud.releases.choose_neutron_threads'),
              mock.patch('minicloud.sqlite.prepare_process'),
              mock.patch.object(made, 'serve') as serve):
            network.run(made)
        self.assertEqual([str(network.PLUGINS)], searched)
        serve.assert_called_once_with(
            'neutron', api.application, threads=16)


class DefaultRulesTest(unittest.TestCase):

    def test_they_are_those_of_the_migration(self) -> None:
        rules = mock.Mock()
        modules = {'neutron': mock.Mock(), 'neutron.objects': mock.Mock(
            securitygroup_default_rules=rules)}
        with mock.patch.dict(sys.modules, modules):
            prepare._rules_of_security_groups(mock.sentinel.admin)
        made = [call.kwargs for call
                in rules.SecurityGroupDefaultRule.call_args_list]
        self.assertEqual(4, len(made))
        self.assertTrue(all(rule['used_in_default_sg'] for rule in made))
        # A group that a user makes lets all out, and nobody in.
        self.assertEqual(
            {('egress', 'IPv4', None), ('egress', 'IPv6', None)},
            {(rule['direction'], rule['ethertype'], rule['remote_group_id'])
             for rule in made if rule['used_in_non_default_sg']})


class LayoutTest(unittest.TestCase):

    def test_a_device_is_of_one_root_only(self) -> None:
        labels = {layout.Layout.of(f'/nowhere/{name}').device_label
                  for name in ('one', 'two')}
        self.assertEqual(2, len(labels))
