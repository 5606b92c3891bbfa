# SPDX-License-Identifier: Apache-2.0

"""A store apart from all clouds: who may do what in it, and what refuses."""

import configparser
import http.server
import io
import contextlib
import pathlib
import tempfile
import threading
import unittest
from unittest import mock

from minicloud import cli
from minicloud import cloud
from minicloud import config
from minicloud import ports
from minicloud import processes
from minicloud import store
from minicloud import swift
from minicloud.errors import MinicloudError
from minicloud.layout import Layout
from minicloud.tests.unit import test_config

LAYOUT = Layout(pathlib.Path('/nowhere/store'))
NUMBERS = {swift.service(server): 20000 + number
           for number, server in enumerate(swift.SERVERS)}


def parsed(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(default_section='')
    parser.read_string(text)
    return parser


class FilesTest(unittest.TestCase):

    def setUp(self) -> None:
        self.files = {name: parsed(text) for name, text in swift.files(
            LAYOUT, NUMBERS, 'secret').items()}

    def test_each_server_has_a_port_and_all_the_same_directory(self) -> None:
        servers = [self.files[swift.configuration(server)]['DEFAULT']
                   for server in swift.SERVERS]
        self.assertEqual(4, len({own['bind_port'] for own in servers}))
        self.assertEqual({'/nowhere/store/state/devices'},
                         {own['devices'] for own in servers})
        self.assertEqual({'127.0.0.1'}, {own['bind_ip'] for own in servers})

    def test_only_the_owner_administers_the_account(self) -> None:
        users = self.files['proxy-server.conf']['filter:tempauth']
        self.assertEqual('minicloud .admin', users['user_backup_owner'])
        self.assertEqual('minicloud', users['user_backup_reader'])

    def test_a_reader_writes_to_its_own_containers_only(self) -> None:
        self.assertEqual(
            ['reader-backups', 'osc-quiesce-proofs'],
            [name for name, lists in swift.LISTS.items()
             if 'X-Container-Write' in lists])
        for lists in swift.LISTS.values():
            self.assertEqual('backup:reader', lists['X-Container-Read'])

    def test_tokens_survive_a_restart(self) -> None:
        self.assertEqual('secret', self.files['proxy-server.conf'][
            'filter:tempauth']['fernet_key_1'])


class CinderTest(unittest.TestCase):

    def setUp(self) -> None:
        home = tempfile.TemporaryDirectory()
        self.addCleanup(home.cleanup)
        self.root = pathlib.Path(home.name, 'store')
        self.layout = Layout.of(self.root)

    def cinder(self, **settings: object) -> configparser.SectionProxy:
        self.layout.run.mkdir(parents=True, exist_ok=True)
        processes.write_json(self.layout.ports, NUMBERS)
        return test_config.parsed(config.cinder(test_config.plan(
            store=str(self.root), **settings)    # type: ignore[arg-type]
        ))['DEFAULT']

    def test_credentials_are_those_of_the_store(self) -> None:
        options = self.cinder(backup='swift')
        self.assertEqual('single_user', options['backup_swift_auth'])
        self.assertEqual('http://127.0.0.1:20003/auth/v1.0',
                         options['backup_swift_auth_url'])
        self.assertEqual('backup:owner', options['backup_swift_user'])

    def test_a_reader_keeps_its_own_backups_apart(self) -> None:
        owner = self.cinder(backup='swift')
        reader = self.cinder(backup='swift', store_access='reader')
        self.assertEqual('backup:reader', reader['backup_swift_user'])
        self.assertNotEqual(owner['backup_swift_container'],
                            reader['backup_swift_container'])

    def test_the_same_store_speaks_s3(self) -> None:
        self.assertEqual('http://127.0.0.1:20003', self.cinder(
            backup='s3')['backup_s3_endpoint_url'])

    def test_a_store_that_never_was_is_refused(self) -> None:
        for backup in config.STORED:
            with mock.patch('importlib.util.find_spec'):
                with self.assertRaisesRegex(MinicloudError, 'store up'):
                    cloud.Cloud(self.root.with_name('cloud')).up(
                        backup=backup, store=self.root)
        self.assertFalse(self.root.with_name('cloud').exists())

    def test_a_store_is_needed_and_only_swift_has_readers(self) -> None:
        for settings, words in (
                ({'backup': 'swift'}, 'needs --store DIR'),
                ({'backup': 's3'}, 'needs --store DIR'),
                ({'backup': 's3', 'store': '/s', 'store_access': 'reader'},
                 'needs --backup swift')):
            with self.assertRaisesRegex(MinicloudError, words):
                config.Settings(
                    **settings).check()    # type: ignore[arg-type]

    def test_missing_packages_are_named(self) -> None:
        with mock.patch('importlib.util.find_spec', return_value=None):
            for choice, words in (('store', 'requirements-swift.txt'),
                                  ('swift', 'python-swiftclient'),
                                  ('s3', '--no-deps boto3 botocore')):
                with self.assertRaisesRegex(MinicloudError, words):
                    store.check_packages(choice)
            store.check_packages('none', 'posix')


class StoreTest(unittest.TestCase):

    def setUp(self) -> None:
        home = tempfile.TemporaryDirectory()
        self.addCleanup(home.cleanup)
        self.store = store.Store(pathlib.Path(home.name, 'store'))

    def test_what_never_was_is_down(self) -> None:
        self.assertEqual(store.StoreStatus('down', None, 0),
                         self.store.status())
        self.store.down(purge=True)
        self.assertFalse(self.store.layout.root.exists())

    def test_a_cloud_and_a_store_are_not_in_the_same_root(self) -> None:
        layout = self.store.layout
        layout.state.mkdir(parents=True)
        layout.marker.write_text('token')
        layout.complete.touch()
        with mock.patch('importlib.util.find_spec'):
            for verb in ('up', 'down'):
                with self.assertRaisesRegex(MinicloudError, 'of a cloud'):
                    getattr(self.store, verb)()
        layout.complete.unlink()
        layout.store_key.touch()
        other = cloud.Cloud(layout.root)
        for verb in ('up', 'down'):
            with self.assertRaisesRegex(MinicloudError, 'is a store'):
                getattr(other, verb)()

    def test_the_key_stays(self) -> None:
        self.store.layout.state.mkdir(parents=True)
        self.assertEqual(self.store._key(), self.store._key())

    def test_a_file_system_without_attributes_is_refused(self) -> None:
        with mock.patch('os.setxattr', side_effect=OSError(95, 'no way')):
            with self.assertRaisesRegex(MinicloudError, 'no way'):
                self.store._check_attributes()


class AnswersTest(unittest.TestCase):

    def test_a_store_is_known_by_what_it_says(self) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            said = b'OK'

            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(self.said)

            def log_message(self, *_args: object) -> None:
                pass

        with http.server.HTTPServer(('127.0.0.1', 0), Handler) as server:
            threading.Thread(target=server.serve_forever).start()
            self.addCleanup(server.shutdown)
            self.assertTrue(swift.answers(server.server_port))
            Handler.said = b'something else'
            self.assertFalse(swift.answers(server.server_port))
            server.shutdown()
        self.assertFalse(swift.answers(server.server_port))


class CommandLineTest(unittest.TestCase):

    def refused(self, *argv: str) -> str:
        text = io.StringIO()
        with contextlib.redirect_stderr(text):
            with self.assertRaises(SystemExit):
                cli.parse(['store', *argv])
        return text.getvalue()

    def test_a_store_has_a_root_of_its_own(self) -> None:
        self.assertIn('needs --root', self.refused('up'))
        self.assertIn('no --purge',
                      self.refused('up', '--root', '/s', '--purge'))
        self.assertIn('invalid choice', self.refused('sideways'))

    def test_its_state_is_said(self) -> None:
        out = io.StringIO()
        with tempfile.TemporaryDirectory() as home:
            with contextlib.redirect_stdout(out):
                code = cli.main(['store', 'status', '--root', home])
        self.assertEqual(1, code)
        self.assertIn('store  down', out.getvalue())

    def test_ports_may_have_any_names(self) -> None:
        with tempfile.TemporaryDirectory() as home:
            path = pathlib.Path(home, 'ports.json')
            self.assertEqual({}, ports.read(path))
            path.write_text('[]')
            self.assertEqual({}, ports.read(path))
            processes.write_json(path, NUMBERS)
            self.assertEqual(NUMBERS, ports.read(path))
