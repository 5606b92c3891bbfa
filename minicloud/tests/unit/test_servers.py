# SPDX-License-Identifier: Apache-2.0

"""RabbitMQ and MariaDB: named if missing, alone if there, asked if up."""

import configparser
import contextlib
import json
import os
import pathlib
import socket
import tempfile
import threading
import unittest
from unittest import mock

from minicloud import servers
from minicloud.errors import MinicloudError
from minicloud.layout import Layout

LAYOUT = Layout(pathlib.Path('/nowhere/cloud'))
PORTS = {'broker': 20001, 'broker-epmd': 20002, 'broker-node': 20003}


class CheckTest(unittest.TestCase):

    def refused(self, *names: str, there: tuple[str, ...] = ()) -> str:
        with mock.patch('shutil.which', lambda program, _mode, path: program
                        if program in there else None):
            with self.assertRaises(MinicloudError) as caught:
                servers.check(LAYOUT, names)
        return str(caught.exception)

    def test_the_packages_that_are_missing_are_named(self) -> None:
        message = self.refused('rabbit', 'mariadb')
        self.assertIn('apt-get install', message)
        self.assertTrue(message.endswith(' rabbitmq-server mariadb-server'))

    def test_what_is_there_is_not_asked_for(self) -> None:
        message = self.refused('rabbit', 'mariadb',
                               there=(servers.RABBITMQ, servers.EPMD))
        self.assertTrue(message.endswith(' mariadb-server'))
        self.assertNotIn('rabbitmq', message)

    def test_the_defaults_need_nothing(self) -> None:
        with mock.patch('shutil.which', return_value=None):
            servers.check(LAYOUT, ('memory', 'sqlite'))

    def test_a_root_too_deep_for_a_socket_is_refused(self) -> None:
        deep = Layout(pathlib.Path('/' + 'x' * 100))
        with mock.patch('shutil.which', lambda program, _mode, path: program):
            servers.check(deep, ('rabbit', 'sqlite'))
            with self.assertRaisesRegex(MinicloudError, 'shorter --root'):
                servers.check(deep, ('rabbit', 'mariadb'))


class AloneTest(unittest.TestCase):

    def test_nothing_of_the_users_environment_counts(self) -> None:
        with mock.patch.dict(os.environ, {
                'ERL_FLAGS': '-x', 'RABBITMQ_BASE': '/x', 'HOME': '/x'}):
            environment = servers.rabbitmq_environment(LAYOUT, PORTS)
        self.assertNotIn('ERL_FLAGS', environment)
        self.assertNotIn('RABBITMQ_BASE', environment)
        self.assertEqual(str(LAYOUT.broker), environment['HOME'])

    def test_rabbitmq_has_no_file_outside_the_root(self) -> None:
        environment = servers.rabbitmq_environment(LAYOUT, PORTS)
        for name, value in environment.items():
            if value.startswith('/') and name != 'PATH':
                self.assertTrue(value.startswith('/nowhere/cloud/'), name)

    def test_rabbitmq_lets_its_user_into_all_virtual_hosts(self) -> None:
        definitions = json.loads(servers.rabbitmq_definitions(['cell1']))
        hosts = [host['name'] for host in definitions['vhosts']]
        self.assertEqual(['/', 'cell1'], hosts)
        self.assertEqual(hosts, [permission['vhost'] for permission
                                 in definitions['permissions']])
        self.assertEqual(['guest'], [user['name'] for user
                                     in definitions['users']])

    def test_a_crash_leaves_its_dump_in_the_root(self) -> None:
        self.assertIn('ERL_CRASH_DUMP', servers.rabbitmq_environment(
            LAYOUT, PORTS))

    def test_rabbitmq_has_an_epmd_of_its_own(self) -> None:
        self.assertEqual('20002', servers.rabbitmq_environment(
            LAYOUT, PORTS)['ERL_EPMD_PORT'])

    def test_nothing_listens_for_other_machines(self) -> None:
        environment = servers.rabbitmq_environment(LAYOUT, PORTS)
        self.assertEqual('127.0.0.1', environment['ERL_EPMD_ADDRESS'])
        self.assertIn('inet_dist_use_interface {127,0,0,1}',
                      environment['RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS'])
        self.assertIn('listeners.tcp.1 = 127.0.0.1:20001\n',
                      servers.rabbitmq_configuration(LAYOUT, 20001))
        self.assertIn('skip_networking = 1\n',
                      servers.mariadb_configuration(LAYOUT))

    def test_mariadb_has_no_file_outside_the_root(self) -> None:
        parser = configparser.RawConfigParser()
        parser.read_string(servers.mariadb_configuration(LAYOUT))
        for name in ('datadir', 'socket', 'pid_file', 'tmpdir'):
            self.assertTrue(parser.get('mariadbd', name).startswith(
                '/nowhere/cloud/'), name)

    def test_mariadb_is_told_so_if_root_runs_it(self) -> None:
        for user, said in ((0, True), (1000, False)):
            with mock.patch('os.geteuid', return_value=user):
                text = servers.mariadb_configuration(LAYOUT)
            self.assertIs(said, 'user = root\n' in text)


class AnswerTest(unittest.TestCase):

    @contextlib.contextmanager
    def saying(self, listener: socket.socket, words: bytes):  # type: ignore
        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(words)

        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()
        listener.close()

    def test_rabbitmq_answers_with_its_first_method(self) -> None:
        for words, answers in ((b'\x01\0\0', True),
                               (b'HTTP/1.0 400', False), (b'', False)):
            listener = socket.socket()
            listener.bind(('127.0.0.1', 0))
            with self.saying(listener, words):
                self.assertIs(answers, servers.rabbitmq_answers(
                    listener.getsockname()[1]))

    def test_mariadb_answers_with_its_greeting(self) -> None:
        for words, answers in ((b'J\0\0\0\x0a5.5.5', True),
                               (b'J\0\0\0\xff', False), (b'J', False)):
            with tempfile.TemporaryDirectory() as directory:
                path = pathlib.Path(directory, 'sock')
                listener = socket.socket(socket.AF_UNIX)
                listener.bind(str(path))
                with self.saying(listener, words):
                    self.assertIs(answers, servers.mariadb_answers(path))

    def test_nobody_there_is_no_answer(self) -> None:
        free = socket.socket()
        free.bind(('127.0.0.1', 0))
        self.addCleanup(free.close)
        self.assertFalse(servers.rabbitmq_answers(free.getsockname()[1]))
        self.assertFalse(servers.mariadb_answers(pathlib.Path('/nowhere')))
