# SPDX-License-Identifier: Apache-2.0

"""Configuration is a pure function of the plan."""

import configparser
import difflib
import json
import pathlib
import tempfile
import unittest
from unittest import mock

from minicloud import config
from minicloud import packages
from minicloud import ports
from minicloud.errors import MinicloudError
from minicloud.layout import Layout

PASTE = """\
# comment
[composite:osapi_compute]
/v2.1/+: openstack_compute_api_v21

[app:osapi_compute_app_v21]
paste.app_factory = nova.api.openstack.compute:APIRouterV21.factory

[app:oscomputeversionapp]
paste.app_factory = nova.api.openstack.compute.versions:Versions.factory
"""


def plan(root: str = '/nowhere/cloud', **kwargs: object) -> config.Plan:
    numbers = {name: 20000 + i for i, name in enumerate(ports.NAMES)}
    settings: dict[str, object] = {
        'layout': Layout(pathlib.Path(root)), 'ports': numbers}
    settings.update(kwargs)
    return config.Plan(**settings)  # type: ignore[arg-type]


def parsed(sections: config.Sections) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(default_section='')
    parser.read_string(config.ini(sections))
    return parser


def changed(before: str, after: str) -> list[str]:
    return [line for line in difflib.ndiff(
        before.splitlines(), after.splitlines()) if line[0] in '+-']


class PasteTest(unittest.TestCase):

    def test_exactly_one_line_differs(self) -> None:
        self.assertEqual(
            ['- paste.app_factory = '
             'nova.api.openstack.compute:APIRouterV21.factory',
             '+ paste.app_factory = nova_quiesce.controllers:app_factory'],
            changed(PASTE, config.with_quiesce(PASTE)))

    def test_exactly_one_line_of_novas_own_file_differs(self) -> None:
        try:
            path = packages.shipped_file('nova', 'nova/api-paste.ini')
        except Exception:
            self.skipTest('nova is not installed')
        own = path.read_text()
        self.assertEqual(2, len(changed(own, config.with_quiesce(own))))

    def test_a_file_without_that_line_is_refused(self) -> None:
        for text in ('', '[app:osapi_compute_app_v21]\n', PASTE + PASTE):
            with self.assertRaisesRegex(MinicloudError, 'one was expected'):
                config.with_quiesce(text)


class RenderTest(unittest.TestCase):

    def test_a_user_may_change_a_line_of_a_file_of_novas(self) -> None:
        name = 'nova-api-paste.ini'
        with tempfile.TemporaryDirectory() as root:
            rendered = plan(root, quiesce=False)
            before = config.render(rendered)[name]
            local = rendered.layout.local / name
            local.parent.mkdir()
            local.write_text('[app:osapi_compute_app_v21]\n'
                             'paste.app_factory = mine\n')
            self.assertEqual('+ paste.app_factory = mine', changed(
                before, config.render(rendered)[name])[1])
            local.write_text('[app:no-such]\npaste.app_factory = mine\n')
            with self.assertRaisesRegex(MinicloudError, '0 lines'):
                config.render(rendered)

    def test_everything_is_below_the_root(self) -> None:
        for render in (config.keystone, config.placement, config.glance,
                       config.nova):
            for options in render(plan()).values():
                for key in ('connection', 'key_repository', 'lock_path',
                            'filesystem_store_datadir', 'state_path'):
                    if key in options:
                        self.assertIn('/nowhere/cloud/state/', options[key])

    def test_services_find_keystone_on_its_port(self) -> None:
        nova = parsed(config.nova(plan()))
        for section in ('keystone_authtoken', 'placement', 'neutron',
                        'cinder', 'keystone', 'service_user'):
            self.assertEqual('http://127.0.0.1:20000/v3',
                             nova.get(section, 'auth_url'))

    def test_wrong_responses_of_nova_are_errors(self) -> None:
        self.assertEqual('error', parsed(config.nova(plan())).get(
            'api', 'response_validation'))

    def test_the_default_driver_and_broker_are_known(self) -> None:
        self.assertIn(plan().driver, config.DRIVERS)
        self.assertIn(plan().broker, config.BROKERS)

    def test_additions_go_over_what_is_rendered(self) -> None:
        self.assertEqual(
            {'a': {'x': '2', 'y': '1'}, 'b': {'z': '3'}},
            config.merge({'a': {'x': '1', 'y': '1'}},
                         {'a': {'x': '2'}, 'b': {'z': '3'}}))

    def test_merging_leaves_its_arguments_alone(self) -> None:
        base = {'a': {'x': '1'}}
        config.merge(base, {'a': {'x': '2'}})
        self.assertEqual({'a': {'x': '1'}}, base)

    def test_additions_that_cannot_be_read_are_named(self) -> None:
        path = mock.Mock(spec=pathlib.Path, **{
            'exists.return_value': True,
            'read_text.return_value': 'no section here'})
        with self.assertRaisesRegex(MinicloudError, 'cannot read'):
            config.read_additions(path)


class BrokerTest(unittest.TestCase):

    def test_one_process_talks_to_itself(self) -> None:
        for render in (config.nova, config.cinder):
            self.assertEqual('fake:///', parsed(render(plan())).get(
                'DEFAULT', 'transport_url'))

    def test_rabbitmq_is_found_on_its_port(self) -> None:
        for render in (config.nova, config.cinder):
            made = plan(broker='rabbit')
            self.assertEqual(
                f'rabbit://guest:guest@127.0.0.1:{made.ports["broker"]}/',
                parsed(render(made)).get('DEFAULT', 'transport_url'))


class BackupTest(unittest.TestCase):

    def cinder(self, **settings: object) -> configparser.SectionProxy:
        return parsed(config.cinder(
            plan(**settings)))['DEFAULT']    # type: ignore[arg-type]

    def test_there_is_none_unless_it_is_asked_for(self) -> None:
        self.assertNotIn('backup_driver', self.cinder())
        self.assertNotIn('backup', config.roles_of(plan()))

    def test_cinder_alone_uses_rabbitmq_for_it(self) -> None:
        made = plan(backup='posix')
        self.assertTrue(self.cinder(backup='posix')[
            'transport_url'].startswith('rabbit://'))
        self.assertEqual('fake:///', parsed(config.nova(made))[
            'DEFAULT']['transport_url'])
        self.assertIn('rabbitmq.conf', config.render(made))
        self.assertEqual(
            ('broker', 'identity', 'image', 'compute', 'volume', 'backup'),
            config.roles_of(made))

    def test_it_starts_after_the_rest_of_cinder(self) -> None:
        for broker in config.BROKERS:
            made = plan(backup='posix', broker=broker)
            self.assertEqual(('broker',), config.before(made, 'volume'))
            self.assertEqual(('broker', 'volume'),
                             config.before(made, 'backup'))

    def test_nova_waits_for_no_broker_that_it_does_not_use(self) -> None:
        self.assertEqual(
            (), config.before(plan(backup='posix'), 'compute'))

    def test_backups_are_in_the_state_or_in_the_store(self) -> None:
        for store, path in (('', '/nowhere/cloud/state/backups'),
                            ('/store', '/store')):
            self.assertEqual(path, self.cinder(
                backup='posix', store=store)['backup_posix_path'])

    def test_pieces_are_whole_blocks(self) -> None:
        self.assertEqual(0, config.BACKUP_PIECE % 32768)


class DatabaseTest(unittest.TestCase):

    def urls(self, made: config.Plan) -> dict[str, str]:
        return {name: config.database_url(made.layout, made.database, name)
                for name in config.database_names(made)}

    def test_each_database_is_a_file_or_a_name(self) -> None:
        for database in config.DATABASES:
            urls = self.urls(plan(database=database))
            self.assertEqual(len(urls), len(set(urls.values())))

    def test_all_services_follow_the_choice(self) -> None:
        for render, section in (
                (config.keystone, 'database'), (config.glance, 'database'),
                (config.placement, 'placement_database'),
                (config.nova, 'database'), (config.nova, 'api_database'),
                (config.cinder, 'database')):
            for database, start in (('sqlite', 'sqlite:////nowhere/cloud/'),
                                    ('mariadb', 'mysql+pymysql://')):
                options = render(plan(database=database))[section]
                self.assertTrue(options['connection'].startswith(start))

    def test_the_socket_may_be_in_an_odd_place(self) -> None:
        url = config.database_url(
            Layout(pathlib.Path('/a b&c')), 'mariadb', 'cinder')
        self.assertIn('?unix_socket=/a%20b%26c/run/mariadb.sock&', url)


class CellsTest(unittest.TestCase):

    def made(self, **settings: object) -> config.Plan:
        return plan(broker='rabbit', cells=2,
                    **settings)  # type: ignore[arg-type]

    def test_one_cell_shares_all_with_the_top_level(self) -> None:
        self.assertEqual((), config.own_cells(plan()))
        self.assertNotIn('nova-cell1.conf', config.render(plan()))
        self.assertIn('nova_cell1', config.nova(plan())[
            'database']['connection'])

    def test_each_cell_has_a_database_and_a_bus(self) -> None:
        for database in config.DATABASES:
            made = self.made(database=database)
            self.assertIn('nova_cell2', config.database_names(made))
            parts = [config.nova(made), config.nova_cell(made, 1),
                     config.nova_cell(made, 2)]
            for section, option in (('database', 'connection'),
                                    ('DEFAULT', 'transport_url')):
                self.assertEqual(3, len({
                    part[section][option] for part in parts}))
            self.assertIn('nova_cell0', parts[0]['database']['connection'])
            self.assertTrue(parts[2]['DEFAULT']['transport_url'].endswith(
                f':{made.ports["broker"]}/cell2'))

    def test_rabbitmq_makes_what_the_urls_name(self) -> None:
        files = config.render(self.made())
        self.assertEqual(['/', 'cell1', 'cell2'], [
            host['name'] for host in json.loads(
                files['rabbitmq.json'])['vhosts']])

    def test_a_user_may_change_one_cell(self) -> None:
        with tempfile.TemporaryDirectory() as root:
            made = self.made(root=root)
            before = config.render(made)
            made.layout.local.mkdir()
            (made.layout.local / 'nova-cell2.conf').write_text(
                '[DEFAULT]\ndebug = true\n')
            after = config.render(made)
        self.assertEqual(
            ['nova-cell2.conf'],
            [name for name in after if after[name] != before[name]])

    def test_hosts_are_spread_over_the_cells(self) -> None:
        settings = config.Settings(broker='rabbit', cells=2, computes=3)
        self.assertEqual(
            {'api': 0, 'conductor': 0, 'scheduler': 0,
             'conductor1': 1, 'conductor2': 2, 'compute1': 1, 'compute2': 2,
             'compute3': 1, 'quiesce1': 0},
            {role: config.cell_of(settings, role)
             for role in config.nova_services(settings)})

    def test_each_cell_has_one_host_at_least(self) -> None:
        self.assertIn('compute2', config.nova_services(
            config.Settings(broker='rabbit', cells=2)))

    def test_with_one_cell_nothing_is_in_a_cell_of_its_own(self) -> None:
        for broker in config.BROKERS:
            settings = config.Settings(broker=broker, computes=2)
            for role in config.roles_of(settings):
                self.assertEqual(0, config.cell_of(settings, role))

    def test_a_compute_needs_the_conductor_of_its_cell(self) -> None:
        settings = config.Settings(broker='rabbit', cells=2, computes=4)
        self.assertIn('conductor2', config.before(settings, 'compute4'))
        self.assertNotIn('conductor1', config.before(settings, 'compute4'))

    def test_a_cell_is_reached_through_its_gate(self) -> None:
        made = self.made(database='mariadb')
        cell = config.nova_cell(made, 2)
        self.assertIn('@127.0.1.2:', cell['DEFAULT']['transport_url'])
        self.assertIn('/run/cell2.sock', cell['database']['connection'])
        for options in config.nova(made).values():
            for value in options.values():
                self.assertNotIn('127.0.1.', value)
                self.assertNotIn('/run/cell', value)

    def test_all_wait_for_the_gates_that_they_go_through(self) -> None:
        settings = config.Settings(broker='rabbit', cells=2)

        def gates(role: str) -> list[str]:
            return [other for other in config.before(settings, role)
                    if config.kind_of(other) == 'gate']

        for role in ('api', 'scheduler', 'quiesce1'):
            self.assertEqual(['gate1', 'gate2'], gates(role))
        for role in ('conductor2', 'compute2'):
            self.assertEqual(['gate2'], gates(role))
        self.assertEqual([], gates('volume'))


class QueuesTest(unittest.TestCase):

    def rabbit(self, **settings: object) -> dict[str, str]:
        return config.nova(plan(
            broker='rabbit', **settings,  # type: ignore[arg-type]
        ))['oslo_messaging_rabbit']

    def test_nothing_is_said_of_classic_ones(self) -> None:
        self.assertEqual({'rabbit_interval_max': '2'}, self.rabbit())

    def test_quorum_ones_are_those_of_kolla(self) -> None:
        options = self.rabbit(queues='quorum')
        for name in ('rabbit_quorum_queue', 'rabbit_transient_quorum_queue',
                     'rabbit_stream_fanout', 'use_queue_manager'):
            self.assertEqual('true', options[name])

    def test_names_of_queues_are_of_one_cloud_only(self) -> None:
        self.assertNotEqual(
            self.rabbit(queues='quorum')['hostname'],
            self.rabbit(queues='quorum', root='/nowhere/2')['hostname'])


class SettingsTest(unittest.TestCase):

    def refused(self, **settings: object) -> str:
        with self.assertRaises(MinicloudError) as caught:
            config.Settings(**settings).check()  # type: ignore[arg-type]
        return str(caught.exception)

    def test_what_is_not_there_is_refused(self) -> None:
        for option in ('driver', 'broker', 'database', 'network', 'queues',
                       'quiesce_host', 'backup'):
            self.assertIn("'vapour' is not one of: ",
                          self.refused(**{option: 'vapour'}))

    def test_numbers_have_limits(self) -> None:
        self.assertIn('is not 1 to 100', self.refused(computes=0))
        self.assertIn('is not 0 to 100', self.refused(quiesce_services=101))
        config.Settings(broker='rabbit', quiesce_services=0).check()

    def test_the_name_of_a_site_is_a_word(self) -> None:
        self.assertIn("site name 'a b'", self.refused(site_name='a b'))
        config.Settings(site_name='site-B.2').check()

    def test_there_is_one_libvirtd(self) -> None:
        self.assertIn('--computes 1',
                      self.refused(driver='libvirt', computes=2))
        self.assertIn('--cells 1', self.refused(
            driver='libvirt', broker='rabbit', cells=2))

    def test_one_process_has_one_cell_and_no_queues(self) -> None:
        self.assertIn('--cells 2 needs --broker rabbit',
                      self.refused(cells=2))
        self.assertIn('--queues quorum needs --broker rabbit',
                      self.refused(queues='quorum'))
        config.Settings(broker='rabbit', cells=2, queues='quorum').check()


class RolesTest(unittest.TestCase):

    def test_the_memory_of_one_process_holds_all_of_nova(self) -> None:
        settings = config.Settings(computes=2, quiesce_services=3)
        self.assertEqual(('identity', 'image', 'compute', 'volume'),
                         config.roles_of(settings))
        self.assertEqual(
            {'compute': [('nova-api', 'controller'),
                         ('nova-conductor', 'controller'),
                         ('nova-scheduler', 'controller'),
                         ('nova-compute', 'compute1'),
                         ('nova-compute', 'compute2'),
                         ('nova-quiesce', 'controller')]},
            config.nova_services(settings))

    def test_a_broker_lets_them_be_processes_of_their_own(self) -> None:
        settings = config.Settings(
            broker='rabbit', computes=2, quiesce_services=3)
        self.assertEqual(
            ('broker', 'identity', 'image', 'api', 'conductor', 'scheduler',
             'compute1', 'compute2', 'quiesce1', 'quiesce2', 'quiesce3',
             'volume'),
            config.roles_of(settings))
        self.assertEqual(
            {'api': [('nova-api', 'controller')],
             'conductor': [('nova-conductor', 'controller')],
             'scheduler': [('nova-scheduler', 'controller')],
             'compute1': [('nova-compute', 'compute1')],
             'compute2': [('nova-compute', 'compute2')],
             'quiesce1': [('nova-quiesce', 'controller1')],
             'quiesce2': [('nova-quiesce', 'controller2')],
             'quiesce3': [('nova-quiesce', 'controller3')]},
            config.nova_services(settings))

    def test_services_may_share_the_name_of_their_host(self) -> None:
        services = config.nova_services(config.Settings(
            broker='rabbit', quiesce_services=2, quiesce_host='shared'))
        self.assertEqual(
            [[('nova-quiesce', 'controller1')]] * 2,
            [services['quiesce1'], services['quiesce2']])

    def test_each_cell_has_a_conductor(self) -> None:
        settings = config.Settings(broker='rabbit', cells=2)
        self.assertEqual(
            ('broker', 'gate1', 'gate2', 'identity', 'image', 'api',
             'conductor', 'scheduler', 'conductor1', 'conductor2',
             'compute1', 'compute2', 'quiesce1', 'volume'),
            config.roles_of(settings))
        self.assertEqual([('nova-conductor', 'conductor2')],
                         config.nova_services(settings)['conductor2'])

    def test_there_may_be_no_nova_quiesce(self) -> None:
        for settings in (
                config.Settings(broker='rabbit', quiesce_services=0),
                config.Settings(broker='rabbit', quiesce=False),
                config.Settings(quiesce=False)):
            programs = [name for group in config.nova_services(
                settings).values() for name, _host in group]
            self.assertNotIn('nova-quiesce', programs)
            self.assertIn('nova-compute', programs)

    def test_servers_start_before_their_clients(self) -> None:
        settings = config.Settings(
            driver='libvirt', broker='rabbit', database='mariadb')
        roles = config.roles_of(settings)
        self.assertEqual(('hypervisor', 'database', 'broker'), roles[:3])
        for role in roles:
            for other in config.before(settings, role):
                self.assertLess(roles.index(other), roles.index(role))

    def test_all_of_nova_starts_after_its_api(self) -> None:
        settings = config.Settings(broker='rabbit')

        def before(role: str) -> set[str]:
            nearest = config.before(settings, role)
            return {*nearest, *(farther for other in nearest
                                for farther in before(other))}

        for role in config.nova_services(settings):
            if role != 'api':
                self.assertIn('api', before(role))
        self.assertIn('conductor', before('compute1'))

    def test_with_one_process_nothing_waits_for_another(self) -> None:
        settings = config.Settings()
        for role in config.roles_of(settings):
            self.assertEqual((), config.before(settings, role))

    def test_a_service_has_a_place(self) -> None:
        for broker in config.BROKERS:
            for role in config.roles_of(config.Settings(
                    broker=broker, backup='posix')):
                self.assertIn(config.kind_of(role), config.FILES_OF_KIND)


class DigestTest(unittest.TestCase):

    files = dict.fromkeys(
        [*(name for names in config.FILES_OF_KIND.values()
           for name in names), 'nova-cell1.conf', 'nova-cell2.conf'],
        'text')

    def concerned(self, before: config.Plan,
                  after: config.Plan) -> list[str]:
        return [role for role in config.roles_of(before)
                if config.digest(before, self.files, role)
                != config.digest(after, self.files, role)]

    def test_the_same_plan_needs_no_restart(self) -> None:
        self.assertEqual([], self.concerned(plan(), plan()))

    def test_more_computes_concern_the_compute_process_only(self) -> None:
        self.assertEqual(['compute'],
                         self.concerned(plan(), plan(computes=2)))

    def test_more_processes_concern_none_that_run(self) -> None:
        self.assertEqual([], self.concerned(
            plan(broker='rabbit'),
            plan(broker='rabbit', computes=2, quiesce_services=2)))

    def test_what_is_special_in_a_cell_concerns_it_and_the_api(self) -> None:
        made = plan(broker='rabbit', cells=2, computes=3)
        after = {**self.files, 'nova-cell1.conf': 'other'}
        self.assertEqual(
            ['gate1', 'api', 'conductor1', 'compute1', 'compute3'],
            [role for role in config.roles_of(made)
             if config.digest(made, self.files, role)
             != config.digest(made, after, role)])

    def test_another_store_concerns_cinder_only(self) -> None:
        before, after = (plan(backup='posix', store=store)
                         for store in ('/one', '/other'))
        files = config.render(before), config.render(after)
        self.assertEqual(['volume', 'backup'], [
            role for role in config.roles_of(before)
            if config.digest(before, files[0], role)
            != config.digest(after, files[1], role)])

    def test_a_moved_port_concerns_all_that_call_others(self) -> None:
        for settings in ({}, {'broker': 'rabbit', 'database': 'mariadb'}):
            before = plan(**settings)
            after = plan(ports=dict(before.ports, image=1), **settings)
            self.assertEqual(
                [role for role in config.roles_of(before)
                 if role not in config.ALONE],
                self.concerned(before, after))
