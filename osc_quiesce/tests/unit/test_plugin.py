# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from types import SimpleNamespace
from typing import Any
import unittest
from urllib import parse

from keystoneauth1 import fixture
from openstack import config as openstack_config
from openstack import connection

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce import client as quiesce_client
from osc_quiesce import errors
from osc_quiesce import model
from osc_quiesce import plugin
from osc_quiesce.tests.unit import fakes

KEYSTONE = 'http://keystone.example/v3'


def _modules_after(statement: str) -> set[str]:
    """Return what is loaded in a new interpreter after a statement."""
    code = f'{statement}\nimport sys\nprint("\\n".join(sys.modules))'
    output = subprocess.run(  # noqa: S603
        [sys.executable, '-c', code],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return set(output.split())


class TestPlugin(unittest.TestCase):
    def test_importing_it_imports_nothing_heavy(self) -> None:
        added = _modules_after('import osc_quiesce.plugin') - _modules_after(
            'import typing'
        )
        self.assertEqual(
            {'osc_quiesce', 'osc_quiesce.plugin'},
            {name for name in added if not name.startswith('_')}
            - {'__future__'},
        )

    def test_loading_all_commands_imports_none(self) -> None:
        added = _modules_after(
            'import stevedore\n'
            'em = stevedore.ExtensionManager("openstack.server_quiesce.v2")\n'
            'assert len(em.names()) > 15, em.names()'
        )
        self.assertEqual(
            {'osc_quiesce', 'osc_quiesce.v2'},
            {name for name in added if name.startswith('osc_quiesce')},
        )

    def test_the_client_half_imports_neither_nova_nor_the_server_half(
        self,
    ) -> None:
        added = _modules_after('import osc_quiesce.v2.server')
        self.assertFalse(
            {name.split('.')[0] for name in added}
            & {'nova', 'nova_quiesce', 'minicloud', 'novaclient'}
        )

    def test_it_adds_no_option(self) -> None:
        parser = argparse.ArgumentParser()
        before = parser.format_help()
        self.assertEqual(
            before, plugin.build_option_parser(parser).format_help()
        )


class TestMakeClient(fakes.TestCase):
    """The client, with a real connection of openstacksdk."""

    def setUp(self) -> None:
        super().setUp()
        self.cache: dict[str, Any] = {}

    def connection(self, **config: Any) -> connection.Connection:
        """Return one of a cloud with two regions and interfaces."""
        token = fixture.V3Token()
        token.set_project_scope()
        service = token.add_service('compute')
        for region, interface, url in (
            ('there', 'public', 'http://there.example/v2.1'),
            ('here', 'public', fakes.ENDPOINT),
            ('here', 'internal', 'http://internal.example/v2.1'),
        ):
            service.add_endpoint(interface, url, region=region)
        self.keystone = self.mock.post(
            f'{KEYSTONE}/auth/tokens',
            json=token,
            headers={'X-Subject-Token': 'a-token'},
        )
        self.mock.get(
            KEYSTONE, json={'version': fixture.V3Discovery(KEYSTONE)}
        )
        version = {
            'id': 'v2.1',
            'status': 'CURRENT',
            'version': '2.96',
            'min_version': '2.1',
            'links': [{'rel': 'self', 'href': fakes.ENDPOINT + '/'}],
        }
        self.mock.get('http://nova.example/', json={'versions': [version]})
        self.nova.more[''] = self.nova.more['/'] = {'version': version}
        file = tempfile.NamedTemporaryFile('w', suffix='.json')
        self.addCleanup(file.close)
        cloud = {
            'auth_type': 'v3token',
            'auth': {
                'auth_url': KEYSTONE,
                'token': 'a-token',
                'project_id': 'a-project',
            },
            'region_name': 'here',
            'interface': 'public',
            **config,
        }
        with file.file:
            json.dump({'clouds': {'cloud': cloud}, 'cache': self.cache}, file)
        result = connection.Connection(
            config=openstack_config.OpenStackConfig(
                config_files=[file.name], load_envvars=False
            ).get_one('cloud')
        )
        self.addCleanup(result.close)
        return result

    def make_client(self, **config: Any) -> quiesce_client.Client:
        client = plugin.make_client(
            SimpleNamespace(sdk_connection=self.connection(**config))
        )
        return client.with_sleep(self.nova.sleep)

    def test_requests_go_to_the_endpoint_of_the_catalog(self) -> None:
        web = self.nova.add('web')
        self.make_client().quiesce(web.id)
        self.assertEqual('quiescing', web.task_state)

    def test_region_and_interface_are_those_of_the_cloud(self) -> None:
        for config, host in (
            ({'region_name': 'there'}, 'there.example'),
            ({'interface': 'internal'}, 'internal.example'),
        ):
            with self.subTest(config=config):
                found = self.mock.get(f'http://{host}/v2.1/os-quiesce',
                                      json={'freezes': []})
                self.assertEqual([], self.make_client(**config).freezes())
                self.assertTrue(found.called)

    def test_an_endpoint_override_is_used_as_it_is(self) -> None:
        web = self.nova.add('web')
        self.make_client(
            region_name='there', compute_endpoint_override=fakes.ENDPOINT
        ).quiesce(web.id)
        self.assertEqual('quiescing', web.task_state)

    def test_an_endpoint_override_may_have_no_version(self) -> None:
        web = self.nova.add('web')
        self.make_client(
            region_name='there',
            compute_endpoint_override='http://nova.example/',
        ).quiesce(web.id)
        self.assertEqual('quiescing', web.task_state)

    def test_no_request_waits_for_ever(self) -> None:
        web = self.nova.add('web')
        client = self.make_client()
        client.find_server('web')
        request_id = client.quiesce(web.id)
        client.wait_for_quiesced(web.id, request_id)
        client.freezes()
        client.unquiesce(web.id)
        seen = {
            f'{request.method} {parse.urlsplit(request.url).path}':
                request.timeout
            for request in self.mock.request_history
            if request.url.startswith(fakes.ENDPOINT)
        }
        self.assertGreater(len(seen), 4)
        for line, timeout in seen.items():
            with self.subTest(line=line):
                self.assertIsNotNone(timeout)
                self.assertLessEqual(timeout, 30)

    def test_no_request_for_a_new_token_waits_for_ever(self) -> None:
        client = self.make_client()
        first = self.keystone.call_count
        self.answer('GET /os-quiesce', 401, 'The token has expired')
        self.assertEqual([], client.freezes())
        self.assertEqual(first + 1, self.keystone.call_count)
        self.assertEqual(30, self.keystone.last_request.timeout)

    def test_a_long_timeout_of_the_cloud_does_not_count(self) -> None:
        client = self.make_client(api_timeout=600)
        self.answer('GET /os-quiesce', 401, 'The token has expired')
        self.assertEqual([], client.freezes())
        self.assertEqual(30, self.keystone.last_request.timeout)
        self.assertEqual(30, self.mock.last_request.timeout)

    def test_nor_does_a_token_for_cinder_for_which_nova_waits(self) -> None:
        cinder = 'http://cinder.example/v3'
        self.mock.get(cinder, status_code=404)
        asked = self.mock.get(f'{cinder}/snapshots/one', status_code=401)
        for config in {}, {'api_timeout': 600}:
            with self.subTest(config):
                cloud = cloud_api.Cloud(self.connection(
                    block_storage_api_version='3',
                    block_storage_endpoint_override=cinder,
                    **config,
                ))
                with self.assertRaises(cloud_api.CloudError):
                    cloud.volume('GET', '/snapshots/one')
                self.assertEqual(2, self.keystone.call_count)
                self.assertEqual(30, self.keystone.last_request.timeout)
                # Cinder itself may need longer.
                self.assertEqual(60, asked.last_request.timeout)

    def test_the_session_of_the_cloud_stays_as_it_is(self) -> None:
        cloud = self.connection()
        plugin.make_client(SimpleNamespace(sdk_connection=cloud)).freezes()
        self.assertIsNone(cloud.session.timeout)
        self.assertIs(cloud.session, cloud.compute.session)

    def test_nothing_comes_from_a_cache(self) -> None:
        web = self.nova.add('web')
        self.cache = {
            'class': 'dogpile.cache.memory',
            'expiration_time': 3600,
            'expiration': {'compute.server': 3600},
        }
        client = self.make_client()
        self.assertEqual('active', client.get_server(web.id).vm_state)
        web.vm_state = 'quiesced'
        self.assertEqual('quiesced', client.get_server(web.id).vm_state)

    def test_the_microversion_of_the_cloud_does_not_matter(self) -> None:
        web = self.nova.add('web')
        client = self.make_client(compute_default_microversion='2.50')
        client.get_server(web.id)
        self.assertEqual(
            '2.1',
            self.mock.last_request.headers['X-OpenStack-Nova-API-Version'],
        )

    def test_no_request_is_repeated_by_the_sdk(self) -> None:
        web = self.nova.add('web')
        self.drop('GET web')
        client = self.make_client(compute_connect_retries=5,
                                  compute_status_code_retries=5)
        with self.assertRaises(errors.Unreachable):
            client.api.server(model.Server(web.id))
        self.assertEqual(['GET web'], self.nova.gets())
