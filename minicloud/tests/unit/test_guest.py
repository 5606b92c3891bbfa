# SPDX-License-Identifier: Apache-2.0

"""The guest's archive is what the kernel expects, and the same each time."""

import pathlib
import tempfile
import unittest
from unittest import mock

from minicloud.errors import MinicloudError
from minicloud.guest import build
from minicloud.guest import cpio


def names(archive: bytes) -> list[str]:
    """Return the names in an archive, as cpio(5) says to read it."""
    found, at = [], 0
    while at < len(archive):
        fields = [int(archive[at + 6 + 8 * i:at + 14 + 8 * i], 16)
                  for i in range(13)]
        size, length = fields[6], fields[11]
        found.append(archive[at + 110:at + 110 + length - 1].decode())
        at += -(-(110 + length) // 4) * 4
        at += -(-size // 4) * 4
    return found


class ArchiveTest(unittest.TestCase):

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tree = pathlib.Path(folder.name)
        (self.tree / 'bin').mkdir()
        (self.tree / 'bin/sh').write_bytes(b'odd')
        (self.tree / 'bin/ls').symlink_to('sh')

    def test_everything_is_in_it_with_the_devices(self) -> None:
        self.assertEqual(
            ['bin', 'bin/ls', 'bin/sh', 'dev/console', 'dev/null',
             'TRAILER!!!'], names(cpio.pack(self.tree)))

    def test_times_and_owners_make_no_difference(self) -> None:
        before = cpio.pack(self.tree)
        (self.tree / 'bin/sh').write_bytes(b'odd')
        self.assertEqual(before, cpio.pack(self.tree))


class BuildTest(unittest.TestCase):

    def test_missing_tools_are_named_by_their_package(self) -> None:
        with (mock.patch('shutil.which', return_value=None),
              tempfile.TemporaryDirectory() as folder):
            target = pathlib.Path(folder, 'guest')
            with self.assertRaisesRegex(
                    MinicloudError, 'apt-get install apt binutils dpkg gcc'):
                build.build(target, pathlib.Path(folder, 'cache'))
            self.assertFalse(target.exists())

    def test_a_tool_that_fails_is_quoted(self) -> None:
        with self.assertRaisesRegex(MinicloudError, 'exit code 3\nno'):
            build.run('sh', '-c', 'echo no >&2; exit 3')

    def test_its_programs_are_there(self) -> None:
        for name in ('init', 'shutdown', 'fsfreeze-hook', 'power-button',
                     'writer.c'):
            self.assertTrue((build.SOURCES / name).is_file(), name)
