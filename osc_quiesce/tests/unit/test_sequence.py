# SPDX-License-Identifier: Apache-2.0

"""The requests of the API reference, typed into a shell, take a snapshot."""

from __future__ import annotations

import http.server
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import textwrap
import threading
from typing import Any
import unittest

import requests

from osc_quiesce.tests.unit import fakes

PAGE = pathlib.Path(__file__).parents[3] / 'api-ref/source/sequence.rst'


class Handler(http.server.BaseHTTPRequestHandler):
    """Hands each request on to the Nova of the test, a second later."""

    nova: fakes.FakeNova

    def _hand_on(self) -> None:
        self.nova.sleep(1)
        answer = requests.request(
            self.command, fakes.ENDPOINT + self.path, timeout=10,
            headers=dict(self.headers), data=self.rfile.read(
                int(self.headers.get('Content-Length', 0))))
        self.send_response(answer.status_code)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = _hand_on

    def log_message(self, *args: Any) -> None:
        pass


@unittest.skipUnless(shutil.which('curl') and shutil.which('uuidgen'),
                     'curl and uuidgen are needed')
class TestSequence(fakes.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.db = self.nova.add('db')
        server = http.server.HTTPServer(
            ('127.0.0.1', 0), type('Own', (Handler,), {'nova': self.nova}))
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        self.url = f'http://127.0.0.1:{server.server_port}'

    def commands(self) -> list[str]:
        """Return the blocks of commands, with the Nova of the test."""
        blocks = [
            textwrap.dedent(indent + block) for indent, block in re.findall(
                r'::\n\n( +)(\S.*\n(?:\1.*\n)*)', PAGE.read_text())]
        values = {'NOVA': self.url, 'TOKEN': 'a-token', 'SERVER': self.db.id}
        for name, value in values.items():
            blocks[0], found = re.subn(
                rf'(?m)^{name}=.*$', f'{name}={value}', blocks[0])
            self.assertEqual(1, found, name)
        return blocks

    def run_all(self, *blocks: str) -> list[str]:
        """Run these in one shell, and return what each has printed."""
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                ['bash', '-euc', '\necho ----\n'.join(blocks)], cwd=folder,
                capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual('', done.stderr)
        return done.stdout.split('----\n')

    @staticmethod
    def parsed(printed: str) -> tuple[str, Any]:
        """Return the status and the body of an answer."""
        text, status = printed.strip().rsplit('\n', 1)
        return status, json.loads(text)

    def test_every_request(self) -> None:
        setup, quiesce, wait, reason, thaw, proof = self.commands()
        printed = self.run_all(
            setup, quiesce, wait, reason, thaw, wait, proof)[1:]
        self.assertEqual('202', printed[0].strip())
        status, body = self.parsed(printed[1])
        [freeze] = body['freezes']
        self.assertEqual(
            ('200', 'frozen', self.db.id),
            (status, freeze['state'], freeze['server_id']))
        status, body = self.parsed(printed[2])
        self.assertEqual(
            ('200', freeze['request_id']),
            (status, body['instanceAction']['request_id']))
        self.assertEqual('202', printed[3].strip())
        self.assertEqual(('200', {'freezes': []}), self.parsed(printed[4]))
        status, body = self.parsed(printed[5])
        [thawed] = body['freezes']
        self.assertEqual(
            ('200', 'thawed', freeze['request_id']),
            (status, thawed['state'], thawed['request_id']))
        self.assertEqual('active', self.db.vm_state)

    def test_a_request_that_never_arrived_is_withdrawn(self) -> None:
        setup, quiesce, _wait, _reason, thaw, _proof = self.commands()
        printed = self.run_all(setup, thaw, quiesce)[1:]
        status, body = self.parsed(printed[0])
        self.assertEqual(
            ('200', 'withdrawn'), (status, body['unquiesce']['state']))
        status, _body = self.parsed(printed[1])
        self.assertEqual('409', status)
        self.assertEqual('active', self.db.vm_state)
