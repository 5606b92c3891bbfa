# SPDX-License-Identifier: Apache-2.0

"""Volumes of the fake storage hold what was written, and little else."""

import pathlib
import tempfile
import unittest

from minicloud import layout
from minicloud.virt import files

GIGABYTE = 1 << 30
MEGABYTE = 1 << 20


class FilesTest(unittest.TestCase):

    def setUp(self) -> None:
        home = tempfile.TemporaryDirectory()
        self.addCleanup(home.cleanup)
        self.layout = layout.Layout.of(home.name)
        self.files = files.Files(self.layout.volumes)
        self.files.make_home()
        self.files.create('volume-v', 1)
        self.file = self.layout.volume_file('v')

    def write(self, data: bytes, at: int) -> None:
        with self.file.open('r+b') as file:
            file.seek(at)
            file.write(data)

    def read(self, path: pathlib.Path, at: int, count: int) -> bytes:
        with path.open('rb') as file:
            file.seek(at)
            return file.read(count)

    def test_a_volume_is_a_sparse_file_of_its_size(self) -> None:
        self.assertEqual(GIGABYTE, self.file.stat().st_size)
        self.assertEqual(0, self.file.stat().st_blocks)

    def test_a_copy_has_what_was_there_before_it(self) -> None:
        at = 700 * MEGABYTE
        self.write(b'before', at)
        self.files.copy('volume-v', 'snapshot-s')
        self.write(b'after!', at)
        snapshot = self.layout.snapshot_file('s')
        self.assertEqual(GIGABYTE, snapshot.stat().st_size)
        self.assertEqual(b'before', self.read(snapshot, at, 6))
        self.assertLess(snapshot.stat().st_blocks * 512, MEGABYTE)
        self.files.copy('snapshot-s', 'volume-v', 1)
        self.assertEqual(b'before', self.read(self.file, at, 6))

    def test_a_copy_is_equal_wherever_there_are_holes(self) -> None:
        size = 4 * MEGABYTE
        with self.file.open('wb') as file:
            for at in (0, MEGABYTE + 17, size - 100_000):
                file.seek(at)
                file.write(b'data' * 25_000)
        self.files.copy('volume-v', 'volume-w')
        self.assertEqual(self.file.read_bytes(),
                         self.layout.volume_file('w').read_bytes())

    def test_a_copy_may_be_larger(self) -> None:
        self.write(b'end', GIGABYTE - 3)
        self.files.copy('volume-v', 'volume-w', 2)
        larger = self.layout.volume_file('w')
        self.assertEqual(2 * GIGABYTE, larger.stat().st_size)
        self.assertEqual(b'end\0', self.read(larger, GIGABYTE - 3, 4))

    def test_a_copy_replaces_all_that_was_there(self) -> None:
        self.write(b'old', 0)
        self.files.create('volume-w', 1)
        self.files.copy('volume-w', 'volume-v')
        self.assertEqual(bytes(3), self.read(self.file, 0, 3))

    def test_what_is_not_there_can_be_deleted(self) -> None:
        for _again in range(2):
            self.files.delete('volume-v')
        self.assertFalse(self.file.exists())

    def test_what_is_occupied_is_what_was_written(self) -> None:
        self.assertEqual(0, self.files.occupied())
        self.write(b'\1' * 16 * MEGABYTE, 0)
        self.assertAlmostEqual(16 / 1024, self.files.occupied(), 3)
