# SPDX-License-Identifier: Apache-2.0

"""What is read from Nova and Cinder over real connections."""

import http.server
import threading
from types import SimpleNamespace
from typing import Any
import unittest

from keystoneauth1 import adapter
from keystoneauth1 import session as ksa_session
from keystoneauth1 import token_endpoint

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce import threads

MANY = 16


class Server(http.server.ThreadingHTTPServer):
    """Answers /together only when as many as MANY have asked."""

    request_queue_size = MANY
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.barrier = threading.Barrier(MANY, timeout=60)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self) -> None:
        if self.path == '/together':
            server: Any = self.server
            server.barrier.wait()
        status, body = {
            '/gone': (404, b'{"itemNotFound": {"message": "it is gone"}}'),
            '/broken': (500, b'<html>'),
            '/busy': (429, b'<html>'),
            '/cut': (504, b'<html>'),
            '/forbidden': (403, b'{"forbidden": {"message": "no"}}'),
            '/html': (200, b'<html>'),
            '/list': (200, b'[]'),
        }.get(self.path, (200, b'{}'))
        self.send_response_only(status)
        self.send_header('Content-Length', str(len(body)))
        self.send_header('Content-Type', 'application/json')
        if self.path == '/busy':
            self.send_header('Retry-After', '7')
        self.end_headers()
        self.wfile.write(body)


class CloudTest(unittest.TestCase):
    def setUp(self) -> None:
        super().setUp()
        server = Server()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        url = 'http://127.0.0.1:%d' % server.server_port
        session = ksa_session.Session(token_endpoint.Token(url, 'a-token'))
        compute = adapter.Adapter(
            session, 'compute', endpoint_override=url, raise_exc=False
        )
        self.addCleanup(lambda: session.session.close())
        self.cloud = cloud_api.Cloud(
            SimpleNamespace(session=session, compute=compute)
        )

    def test_many_requests_at_once_cause_no_warnings(self) -> None:
        with self.assertNoLogs('urllib3', 'WARNING'):
            threads.at_once(
                self.cloud.compute,
                ['/together'] * MANY,
                threads=cloud_api.THREADS,
            )

    def test_what_is_gone_is_told_from_other_errors(self) -> None:
        with self.assertRaisesRegex(cloud_api.NotThere, 'it is gone'):
            self.cloud.compute('/gone')
        for path in ('/broken', '/html', '/list'):
            with self.assertRaises(cloud_api.CloudError) as caught:
                self.cloud.compute(path)
            self.assertNotIsInstance(caught.exception, cloud_api.NotThere)

    def test_errors_tell_whether_to_repeat_and_what_became_of_it(
        self,
    ) -> None:
        for path, may_pass, tells_nothing in (
            ('/gone', False, False),
            ('/forbidden', False, False),
            ('/busy', True, False),
            ('/broken', True, False),
            ('/cut', True, True),
            ('/html', True, True),
            ('/list', True, True),
        ):
            with self.subTest(path):
                with self.assertRaises(cloud_api.CloudError) as caught:
                    self.cloud.compute(path)
                error = caught.exception
                self.assertEqual(
                    (may_pass, tells_nothing),
                    (error.may_pass, error.tells_nothing),
                )

    def test_errors_tell_when_to_come_back(self) -> None:
        for path, seconds in ('/busy', 7), ('/broken', 0):
            with self.subTest(path):
                with self.assertRaises(cloud_api.CloudError) as caught:
                    self.cloud.compute(path)
                self.assertEqual(seconds, caught.exception.retry_after)
