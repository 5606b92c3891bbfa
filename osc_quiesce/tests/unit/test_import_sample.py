# SPDX-License-Identifier: Apache-2.0

"""The program that registers backups, of the guide without our commands."""

import base64
import contextlib
import io
import json
import pathlib
import runpy
import sys
import tempfile
from types import SimpleNamespace
import unittest
from unittest import mock

import openstack
from openstack.block_storage.v3 import _proxy

PROGRAM = (pathlib.Path(__file__).parents[3]
           / 'doc/source/samples/import_record.py')


def answer(status: int, text: str = '') -> SimpleNamespace:
    return SimpleNamespace(ok=status < 400, text=text,
                           json=lambda: {'backup': {'id': 'b-1'}})


class TestProgram(unittest.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.storage = mock.create_autospec(_proxy.Proxy, instance=True)
        self.storage.post.return_value = answer(201)
        self.storage.get.return_value = answer(404)

    def run_program(self, *volume: str) -> tuple[int, str, str]:
        """Return the exit code, and what is printed."""
        record = {'backup_service': 'a.driver', 'backup_url': base64.b64encode(
            b'{"id": "b-1", "volume_id": "v-1"}').decode()}
        out, err = io.StringIO(), io.StringIO()
        with tempfile.NamedTemporaryFile('w', suffix='.json') as stream:
            json.dump(record, stream)
            stream.flush()
            with (mock.patch.object(openstack, 'connect', autospec=True) as
                  connect, mock.patch.object(
                      sys, 'argv', ['program', 'siteB', stream.name, *volume]),
                  contextlib.redirect_stdout(out),
                  contextlib.redirect_stderr(err),
                  self.assertRaises(SystemExit) as ended):
                connect.return_value = SimpleNamespace(
                    block_storage=self.storage)
                runpy.run_path(str(PROGRAM))
        return int(ended.exception.code or 0), out.getvalue(), err.getvalue()

    def test_a_record_is_imported(self) -> None:
        self.assertEqual((0, 'b-1\n', ''), self.run_program('v-2'))
        sent = self.storage.post.call_args.kwargs['json']['backup-record']
        self.assertEqual({'id': 'b-1', 'volume_id': 'v-2'},
                         json.loads(base64.b64decode(sent['backup_url'])))

    def test_a_backup_that_is_there_is_no_failure(self) -> None:
        self.storage.post.return_value = answer(400, 'already there')
        self.storage.get.return_value = answer(200)
        self.assertEqual((0, '', 'b-1 exists already\n'), self.run_program())

    def test_a_refused_record_is_a_failure(self) -> None:
        self.storage.post.return_value = answer(403, 'not allowed')
        self.assertEqual((1, '', 'b-1 not allowed\n'), self.run_program())
