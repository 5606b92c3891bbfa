# SPDX-License-Identifier: Apache-2.0

"""A template is used only where it fits."""

import pathlib
import sqlite3
import tempfile
import unittest

from minicloud import sqlite
from minicloud import template
from minicloud.config import Settings
from minicloud.layout import Layout

VERSIONS = {'nova': '34.0.0', 'cinder': '29.0.0'}
SOURCES = {'seed.py': b'one'}


class KeyTest(unittest.TestCase):

    def key(self, root: str = '/a', versions: dict[str, str] = VERSIONS,
            sources: dict[str, bytes] = SOURCES,
            **settings: object) -> str:
        return template.key(
            Layout(pathlib.Path(root)), versions, sources,
            Settings(**settings))  # type: ignore[arg-type]

    def test_the_same_facts_give_the_same_key(self) -> None:
        self.assertEqual(self.key(), self.key())

    def test_another_version_of_a_package_gives_another_key(self) -> None:
        self.assertNotEqual(
            self.key(), self.key(versions={**VERSIONS, 'nova': '34.0.1'}))

    def test_another_source_of_ours_gives_another_key(self) -> None:
        self.assertNotEqual(self.key(), self.key(sources={'seed.py': b'2'}))

    def test_another_root_gives_another_key(self) -> None:
        self.assertNotEqual(self.key(), self.key(root='/b'))

    def test_another_database_gives_another_key(self) -> None:
        self.assertNotEqual(self.key(), self.key(database='mariadb'))

    def test_a_network_service_gives_another_key(self) -> None:
        self.assertNotEqual(self.key(), self.key(network='neutron'))

    def test_another_number_of_cells_gives_another_key(self) -> None:
        self.assertNotEqual(self.key(broker='rabbit'),
                            self.key(broker='rabbit', cells=2))

    def test_number_and_place_of_services_do_not_matter(self) -> None:
        self.assertEqual(self.key(), self.key(
            broker='rabbit', computes=3, quiesce_services=3,
            quiesce=False, quiesce_host='shared', queues='quorum'))

    def test_the_sources_are_there(self) -> None:
        home = pathlib.Path(template.__file__).parent
        for name in template.SOURCES:
            self.assertTrue((home / name).is_file(), name)


class DatabaseTest(unittest.TestCase):

    def test_a_database_in_use_is_copied_whole(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            source = pathlib.Path(directory, 'a.db')
            target = pathlib.Path(directory, 'b.db')
            sqlite.create(source)
            with sqlite3.connect(source) as user:
                user.execute('CREATE TABLE t (x)')
                user.execute('INSERT INTO t VALUES (1)')
            sqlite.copy(source, target)
            user.close()
            with sqlite3.connect(target) as copy:
                rows = copy.execute('SELECT x FROM t').fetchall()
                mode = copy.execute('PRAGMA journal_mode').fetchone()
            copy.close()
        self.assertEqual([(1,)], rows)
        self.assertEqual(('wal',), mode)
