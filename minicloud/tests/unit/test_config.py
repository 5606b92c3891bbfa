# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Configuration is a pure function of the plan."""

import configparser
import difflib
import pathlib
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
             '+ paste.app_factory = nova_quiesce.api:app_factory'],
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


class DigestTest(unittest.TestCase):

    files = dict.fromkeys(
        (name for names in config.FILES_OF_ROLE.values() for name in names),
        'text')

    def test_the_same_plan_needs_no_restart(self) -> None:
        for role in config.ROLES:
            self.assertEqual(config.digest(plan(), self.files, role),
                             config.digest(plan(), self.files, role))

    def test_more_computes_concern_the_compute_process_only(self) -> None:
        concerned = [
            role for role in config.ROLES
            if config.digest(plan(), self.files, role)
            != config.digest(plan(computes=2), self.files, role)]
        self.assertEqual(['compute'], concerned)

    def test_a_moved_port_concerns_all(self) -> None:
        moved = dict(plan().ports, image=1)
        for role in config.ROLES:
            self.assertNotEqual(
                config.digest(plan(), self.files, role),
                config.digest(plan(ports=moved), self.files, role))
