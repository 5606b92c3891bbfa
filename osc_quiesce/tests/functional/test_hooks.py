# SPDX-License-Identifier: Apache-2.0

"""The freeze hooks that the documentation shows, with real databases."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest

from osc_quiesce.tests.functional import base

SAMPLES = pathlib.Path(__file__).parents[3] / 'doc/source/samples'
#: Debian has it where only root looks.
PATH = os.pathsep.join([os.environ.get('PATH', ''), '/usr/sbin'])


class TestPostgreSQL(unittest.TestCase):
    """The hook for PostgreSQL, with a stand-in for its client."""

    def hook(self, argument: str, client: str) -> tuple[str, float]:
        """Run it, and return what the client was asked, and the seconds."""
        with tempfile.TemporaryDirectory() as folder:
            noted = pathlib.Path(folder) / 'noted'
            stand_in = pathlib.Path(folder) / 'psql'
            stand_in.write_text('#!/bin/sh\necho "$*" >> %s\n%s\n' % (
                noted, client))
            stand_in.chmod(0o755)
            began = time.monotonic()
            subprocess.run(
                ['sh', str(SAMPLES / 'fsfreeze-hook-postgresql'), argument],
                env={**os.environ, 'PSQL': str(stand_in)}, check=True,
                capture_output=True)
            seconds = time.monotonic() - began
            return noted.read_text() if noted.exists() else '', seconds

    def test_freeze_asks_for_a_checkpoint(self) -> None:
        asked, _seconds = self.hook('freeze', 'exit 0')
        self.assertEqual('-q -c CHECKPOINT\n', asked)
        asked, _seconds = self.hook('thaw', 'exit 0')
        self.assertEqual('', asked)

    def test_a_database_that_does_not_answer_keeps_nobody_waiting(
            self) -> None:
        self.hook('freeze', 'exit 1')
        _asked, seconds = self.hook('freeze', 'exec sleep 60')
        self.assertLess(seconds, 30)


@unittest.skipUnless(shutil.which('mariadbd', path=PATH),
                     'mariadb-server is not installed: see bindep.txt')
class TestMariaDB(base.FunctionalTest):
    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.socket = self.folder / 'socket'
        self.client = 'mariadb --no-defaults --socket=%s' % self.socket
        self.environ = {**os.environ, 'PATH': PATH, 'CLIENT': self.client,
                        'STATE': str(self.folder / 'hook')}
        user = ['--user=root'] if os.geteuid() == 0 else []
        data = self.folder / 'data'
        subprocess.run(
            ['mariadb-install-db', '--no-defaults', '--datadir=%s' % data,
             '--auth-root-authentication-method=normal',
             '--skip-test-db', *user],
            env=self.environ, check=True, capture_output=True)
        server = subprocess.Popen(
            ['mariadbd', '--no-defaults', '--datadir=%s' % data,
             '--socket=%s' % self.socket, '--skip-networking',
             '--pid-file=%s' % (self.folder / 'pid'), *user],
            env=self.environ, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        self.wait_for(lambda: self.sql('SELECT 1').wait() == 0,
                      'MariaDB answers')
        self.assertEqual(0, self.sql(
            'CREATE DATABASE shop; CREATE TABLE shop.log (number INT)'
        ).wait())

    def sql(self, statement: str) -> 'subprocess.Popen[str]':
        """Begin to carry out a statement."""
        process = subprocess.Popen(
            [*self.client.split(), '--batch', '--skip-column-names',
             '--unbuffered', '--execute', statement],
            env=self.environ, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL)
        assert process.stdout
        self.addCleanup(process.stdout.close)
        return process

    def hook(self, argument: str) -> int:
        """Run the hook as the agent does, and return its exit code."""
        return subprocess.run(
            [SAMPLES / 'fsfreeze-hook-mysql', argument], env=self.environ,
            timeout=base.TIMEOUT, capture_output=True).returncode

    def assert_writes(self) -> None:
        self.assertEqual(
            0,
            self.sql('INSERT INTO shop.log VALUES (1)').wait(base.TIMEOUT))

    def test_nothing_is_written_between_freeze_and_thaw(self) -> None:
        self.assert_writes()
        self.assertEqual(0, self.hook('freeze'))
        insert = self.sql('INSERT INTO shop.log VALUES (2)')
        time.sleep(2)
        self.assertIsNone(insert.poll())
        self.assertEqual(
            '1\n', self.sql('SELECT number FROM shop.log').communicate()[0])
        self.assertEqual(0, self.hook('thaw'))
        self.assertEqual(0, insert.wait(base.TIMEOUT))
        self.assert_writes()
        # The agent may run it again.
        self.assertEqual(0, self.hook('thaw'))
        self.assertEqual([], list(self.folder.glob('hook*')))

    def test_if_it_cannot_lock_it_fails_and_leaves_no_lock(self) -> None:
        busy = self.sql('LOCK TABLES shop.log WRITE; SELECT 1; '
                        'DO SLEEP(30); UNLOCK TABLES')
        assert busy.stdout
        busy.stdout.readline()
        self.assertEqual(1, self.hook('freeze'))
        self.assertEqual(0, busy.wait(60))
        self.assert_writes()

    def test_if_there_is_no_database_it_fails(self) -> None:
        self.environ['CLIENT'] += '-of-nobody'
        self.assertEqual(1, self.hook('freeze'))
