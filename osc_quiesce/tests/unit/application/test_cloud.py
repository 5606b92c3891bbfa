# SPDX-License-Identifier: Apache-2.0

"""What is read from Cinder and Glance over real connections."""

import http.server
import json
import threading
from typing import Any
import unittest
from unittest import mock

from keystoneauth1 import access
from keystoneauth1 import fixture
from keystoneauth1 import session as ksa_session
from keystoneauth1 import token_endpoint
from openstack.config import cloud_region
from openstack.config import defaults
from openstack import connection

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce import concurrency

MANY = 16


class Server(http.server.ThreadingHTTPServer):
    """Answers /together only when as many as MANY have asked."""

    request_queue_size = MANY
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.barrier = threading.Barrier(MANY, timeout=60)
        self.asked: list[str] = []
        self.answers: dict[str, Any] = {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    server: Server

    def do_GET(self) -> None:
        path = self.note()
        if path == '/together':
            self.server.barrier.wait()
        self.answer(
            path,
            *{
                '': (200, version(self.path, self.server.server_port)),
                '/gone': (404, b'{"itemNotFound": {"message": "it is gone"}}'),
                '/lost': (404, b'default backend - 404'),
                '/quoted': (404, b'<html>not {"itemNotFound": {}}</html>'),
                '/broken': (500, b'<html>'),
                '/busy': (429, b'<html>'),
                '/away': (503, b'<html>'),
                '/cut': (504, b'<html>'),
                '/forbidden': (403, b'{"forbidden": {"message": "no"}}'),
                '/html': (200, b'<html>'),
                '/list': (200, b'[]'),
                '/images/tiny': (200, b'{"hw_qemu_guest_agent": "yes"}'),
                '/images/gone': (404, b'{}'),
            }.get(path, (200, json.dumps(self.server.answers.get(
                path.partition('?')[0], {})).encode())),
        )

    def do_POST(self) -> None:
        path = self.note()
        self.rfile.read(int(self.headers['Content-Length']))
        if path == '/cut':
            self.close_connection = True  # heard, and not answered
        else:
            self.answer(path, 503, b'<html>')

    def note(self) -> str:
        """Note what was asked, and return the path without the version."""
        path = self.path.removeprefix('/v3').removeprefix('/v2').rstrip('/')
        self.server.asked.append(f'{self.command} {path}')
        return path

    def answer(self, path: str, status: int, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header('Content-Length', str(len(body)))
        self.send_header('Content-Type', 'application/json')
        if path in ('/busy', '/away'):
            self.send_header('Retry-After', '7')
        self.end_headers()
        self.wfile.write(body)


def version(path: str, port: int) -> bytes:
    """Return what Cinder, or Glance, says of the version at a path."""
    version = {
        'id': 'v3.0' if path.startswith('/v3') else 'v2.9',
        'status': 'CURRENT',
        'version': '3.70' if path.startswith('/v3') else '',
        'min_version': '3.0' if path.startswith('/v3') else '',
        'links': [
            {'rel': 'self', 'href': f'http://127.0.0.1:{port}{path}'}
        ],
    }
    return json.dumps({'versions': [version]}).encode()


class TestCase(unittest.TestCase):
    options: dict[str, Any] = {}
    config: dict[str, Any] = {}

    def setUp(self) -> None:
        super().setUp()
        self.server = server = Server()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        url = 'http://127.0.0.1:%d' % server.server_port
        session = ksa_session.Session(token_endpoint.Token(url, 'a-token'))
        self.addCleanup(lambda: session.session.close())
        region = cloud_region.CloudRegion(
            session=session,
            config={
                **defaults.get_defaults(),
                'block_storage_api_version': '3',
                'block_storage_status_code_retries': 3,
                'block_storage_endpoint_override': f'{url}/v3',
                'image_api_version': '2',
                'image_endpoint_override': f'{url}/v2',
                'network_api_version': '2',
                'network_endpoint_override': url,
                'compute_api_version': '2',
                'compute_endpoint_override': f'{url}/v2',
                **self.config,
            },
            **self.options,
        )
        self.cloud = cloud_api.Cloud(connection.Connection(config=region))

    def get(self, path: str) -> dict[str, Any]:
        return self.cloud.volume('GET', path)


class CloudTest(TestCase):
    def test_many_requests_at_once_cause_no_warnings(self) -> None:
        with self.assertNoLogs('urllib3', 'WARNING'):
            concurrency.run_all(
                self.get,
                ['/together'] * MANY,
                threads=cloud_api.THREADS,
            )

    def test_what_is_gone_is_told_from_other_errors(self) -> None:
        with self.assertRaisesRegex(cloud_api.NotThere, 'it is gone'):
            self.get('/gone')
        for path in ('/lost', '/broken', '/html', '/list'):
            with self.assertRaises(cloud_api.CloudError) as caught:
                self.get(path)
            self.assertNotIsInstance(caught.exception, cloud_api.NotThere)

    def test_nova_alone_is_believed_that_a_server_is_gone(self) -> None:
        with self.assertRaisesRegex(cloud_api.NotThere, 'it is gone'):
            self.cloud.compute('GET', '/gone')
        for path in '/lost', '/quoted':
            with self.subTest(path=path):
                with self.assertRaises(cloud_api.CloudError) as caught:
                    self.cloud.compute('GET', path)
                self.assertNotIsInstance(
                    caught.exception, cloud_api.NotThere
                )
                self.assertTrue(caught.exception.is_transient)

    def test_errors_tell_whether_to_repeat_and_what_became_of_it(
        self,
    ) -> None:
        for path, is_transient, outcome_unknown in (
            ('/gone', False, False),
            ('/lost', True, True),
            ('/forbidden', False, False),
            ('/busy', True, False),
            ('/away', True, True),
            ('/broken', True, True),
            ('/cut', True, True),
            ('/html', True, True),
            ('/list', True, True),
        ):
            with self.subTest(path):
                with self.assertRaises(cloud_api.CloudError) as caught:
                    self.get(path)
                error = caught.exception
                self.assertEqual(
                    (is_transient, outcome_unknown),
                    (error.is_transient, error.outcome_unknown),
                )

    def test_an_answer_without_what_was_asked_for_is_none(self) -> None:
        for read in (
            lambda: self.get('/snapshots/one')['snapshot'],
            lambda: list(self.cloud.snapshots({})),
        ):
            with self.assertRaisesRegex(
                cloud_api.CloudError, 'answer has no "snapshots?"'
            ) as caught:
                read()
            self.assertTrue(caught.exception.outcome_unknown)

    def test_certificates_that_are_just_replaced_are_trouble(self) -> None:
        with mock.patch.object(
            self.cloud._connection.session.session, 'request',
            side_effect=OSError('no bundle of certificates'),
        ), self.assertRaisesRegex(
            cloud_api.CloudError, 'no bundle'
        ) as caught:
            self.get('/list')
        self.assertTrue(caught.exception.is_transient)

    def test_errors_tell_when_to_come_back(self) -> None:
        for path, seconds in ('/busy', 7), ('/away', 7), ('/broken', 0):
            with self.subTest(path):
                with self.assertRaises(cloud_api.CloudError) as caught:
                    self.get(path)
                self.assertEqual(seconds, caught.exception.retry_after)

    def test_snapshots_that_a_lost_filter_adds_are_left_out(self) -> None:
        ours = {'id': 'a', 'metadata': {'k': 'v', 'other': 'w'}}
        listed = [ours, {'id': 'b', 'metadata': {}}, {'id': 'c'}]
        self.server.answers['/snapshots/detail'] = {'snapshots': listed}
        self.assertEqual([ours], list(self.cloud.snapshots({'k': 'v'})))

    def test_a_request_that_may_have_been_heard_is_not_repeated(self) -> None:
        for path, unknown in ('/cut', True), ('/away', True):
            with self.subTest(path):
                with self.assertRaises(cloud_api.CloudError) as caught:
                    self.cloud.volume('POST', path, {'snapshot': {}})
                self.assertEqual(unknown, caught.exception.outcome_unknown)
                self.assertEqual(1, self.server.asked.count(f'POST {path}'))

    def test_images_are_read_with_their_properties(self) -> None:
        self.assertEqual(
            {'hw_qemu_guest_agent': 'yes'}, self.cloud.image('tiny')
        )
        with self.assertRaises(cloud_api.NotThere):
            self.cloud.image('gone')

    def test_networks_are_read(self) -> None:
        self.assertEqual({}, self.cloud.network('GET', '/ports?device_id=a'))
        self.assertIn('GET /ports?device_id=a', self.server.asked)
        with self.assertRaises(cloud_api.NotThere):
            self.cloud.network('GET', '/gone')


class NoServiceTest(TestCase):
    config = {'has_network': False}

    def test_a_service_that_there_is_not_is_told_from_other_errors(
        self,
    ) -> None:
        with self.assertRaises(cloud_api.NoService) as caught:
            self.cloud.network('GET', '/ports')
        self.assertFalse(caught.exception.is_transient)
        self.assertFalse(caught.exception.outcome_unknown)


class RestrictionTest(unittest.TestCase):
    def is_restricted(self, token: fixture.V3Token) -> bool:
        session = mock.Mock(timeout=None)
        session.session.adapters = {}
        session.auth.get_access.return_value = access.create(body=token)
        return cloud_api.Cloud(mock.Mock(session=session)).is_restricted

    def test_access_rules_restrict_and_roles_do_not(self) -> None:
        token = fixture.V3Token()
        self.assertFalse(self.is_restricted(token))
        token.set_application_credential('a')
        self.assertFalse(self.is_restricted(token))
        token.set_application_credential('a', [{
            'service': 'compute', 'method': 'GET', 'path': '/**'}])
        self.assertTrue(self.is_restricted(token))
        token.set_application_credential('a', [])
        self.assertTrue(self.is_restricted(token))


class PagesTest(unittest.TestCase):
    def test_a_list_is_read_to_its_end(self) -> None:
        ways: tuple[dict[str, Any], ...] = (
            {'items_links': [{}]}, {'next': '/items?marker=b'})
        for more in ways:
            with self.subTest(more):
                answers = [
                    {'items': [{'id': 'a'}, {'id': 'b'}], **more},
                    {'items': [{'id': 'c'}]},
                ]
                asked: list[str] = []

                def send(
                    service: str, method: str, path: str, *_rest: Any
                ) -> Any:
                    asked.append(path)  # noqa: B023
                    return answers.pop(0)  # noqa: B023

                cloud = object.__new__(cloud_api.Cloud)
                cloud._send = send  # type: ignore
                found = cloud.pages('image', '/items?limit=2', 'items', None)
                self.assertEqual(
                    ['a', 'b', 'c'], [each['id'] for each in found])
                self.assertEqual(
                    ['/items?limit=2', '/items?limit=2&marker=b'], asked)


class CacheTest(TestCase):
    """A cache that clouds.yaml asks for."""

    options = {
        'cache_class': 'dogpile.cache.memory',
        'cache_expiration_time': 600,
        'cache_expirations': {'block-storage.snapshot': 600},
    }

    def test_the_status_of_a_snapshot_does_not_come_from_it(self) -> None:
        for _look in range(3):
            self.get('/snapshots/one')
        self.assertEqual(3, self.server.asked.count('GET /snapshots/one'))

    def test_several_requests_at_once_do_not_disturb_it(self) -> None:
        together = threading.Barrier(2, timeout=60)
        with mock.patch.object(
            self.cloud._connection._cache, 'delete',
            side_effect=lambda key: together.wait(),
        ):
            self.assertEqual(
                [{}, {}],
                concurrency.run_all(self.get, ['/snapshots/one'] * 2),
            )
