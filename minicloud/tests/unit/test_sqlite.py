# SPDX-License-Identifier: Apache-2.0

"""Writers of SQLite wait for each other, whoever has their threads."""

import pathlib
import sqlite3
import tempfile
import time
import unittest
from unittest import mock

from minicloud import sqlite


class TestBegin(unittest.TestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = self.enterContext(tempfile.TemporaryDirectory())
        path = pathlib.Path(folder) / 'nova.db'
        sqlite.create(path)
        self.first, self.second = [
            sqlite3.connect(path, timeout=60, isolation_level=None)
            for _number in range(2)]
        self.addCleanup(self.first.close)
        self.addCleanup(self.second.close)
        self.first.execute('CREATE TABLE t (a)')
        self.first.execute('BEGIN IMMEDIATE')

    def test_a_greenthread_lets_the_one_with_the_lock_go_on(self) -> None:
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 3:
                self.first.execute('COMMIT')

        cursor = self.second.cursor()
        with mock.patch.object(time, 'sleep', sleep):
            cursor.execute(sqlite._begin(cursor))
        self.assertEqual(3, len(slept))
        self.assertTrue(self.second.in_transaction)

    def test_it_does_not_wait_for_ever(self) -> None:
        cursor = self.second.cursor()
        with mock.patch.object(sqlite, '_PATIENCE', 0):
            statement = sqlite._begin(cursor)
        self.assertEqual('BEGIN IMMEDIATE', statement)
        with self.assertRaisesRegex(sqlite3.OperationalError, 'locked'):
            cursor.execute(statement)
