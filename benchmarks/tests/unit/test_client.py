# SPDX-License-Identifier: Apache-2.0

from http import server
import json
import pathlib
import tempfile
import threading
import unittest
from unittest import mock

import requests

from benchmarks import client

VOLUME = '11111111-2222-3333-4444-555555555555'
OTHER = '11111111-2222-3333-4444-666666666666'


def read(volume: str, at: float, status: str) -> client.Request:
    return client.Request(
        'GET', f'/v3/volumes/{volume}', at, at + 0.1, volume, status)


def restore(volume: str, at: float) -> client.Request:
    return client.Request(
        'POST', f'/v3/backups/{OTHER}/restore', at, at + 0.1, volume)


def listing(query: str) -> client.Request:
    return client.Request('GET', f'/v3/backups/detail{query}', 0, 0)


class TestRun(unittest.TestCase):
    def test_a_listing_that_is_sent_again_is_polling(self) -> None:
        run = client.Run(1, 1, [
            listing(''), listing('?status=creating'),
            listing('?status=creating'), listing('?status=creating'),
            read(VOLUME, 1, 'creating'), read(VOLUME, 2, 'creating')])
        self.assertEqual(2, run.listings)

    def test_a_kind_of_request_has_no_ids(self) -> None:
        self.assertEqual('POST /v3/backups/*/restore',
                         restore(VOLUME, 1).kind)

    def test_a_moment_counts_once_however_many_are_restored(self) -> None:
        run = client.Run(1, 1, [
            restore(VOLUME, 1), restore(OTHER, 2),
            read(VOLUME, 3, 'restoring-backup'),
            read(VOLUME, 4.9, 'available'), read(OTHER, 5.9, 'available'),
            # No volume is restored here.
            restore(VOLUME, 10), read(VOLUME, 10.9, 'error_restoring')])
        self.assertAlmostEqual(5 + 1, run.restoring)


class Handler(server.BaseHTTPRequestHandler):
    """A volume that is being restored, whichever is asked for."""

    def do_GET(self) -> None:
        body = json.dumps({'volume': {'status': 'restoring-backup'}}).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.send_response(202)
        self.send_header('Content-Length', '0')
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


class TestMain(unittest.TestCase):
    def test_each_request_of_a_command_is_recorded(self) -> None:
        def command(arguments: list[str]) -> int:
            where = f'http://127.0.0.1:{there.server_port}/v3'
            requests.post(f'{where}/backups/{OTHER}/restore', json={
                'restore': {'volume_id': VOLUME}}, timeout=60)
            requests.get(f'{where}/volumes/{VOLUME}', timeout=60)
            return len(arguments)

        with (
            server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as there,
            tempfile.TemporaryDirectory() as directory,
            mock.patch('openstackclient.shell.main', command),
        ):
            thread = threading.Thread(target=there.serve_forever)
            thread.start()
            file = pathlib.Path(directory) / 'requests.json'
            self.assertEqual(2, client.main(str(file), ['one', 'two']))
            there.shutdown()
            thread.join()
            found = json.loads(file.read_text())
        self.assertGreater(found['megabytes'], 10)
        self.assertEqual(
            [('POST', VOLUME, ''), ('GET', VOLUME, 'restoring-backup')],
            [(each['method'], each['volume'], each['status'])
             for each in found['requests']])
