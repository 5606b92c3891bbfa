# SPDX-License-Identifier: Apache-2.0

"""What a guest's console says is understood, and nothing else is."""

import pathlib
import tempfile
import unittest

from minicloud.guest import console

LOG = b'''GUEST 2.56 agent starting on /dev/vport0p1\r
W vda 1 mono=7.051 us=4598\r
H 3 mono=7.100\r
W vdb 1 mono=7.110 us=1000\r
W vda 2 mono=7.112 us=1000\r
W vda 3 ERROR Input/output error\r
H 4 mono=7.601\r
W vda 4 mono=7.7'''


class ConsoleTest(unittest.TestCase):

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name, 'console.log')
        self.console = console.Console(self.path)

    def test_a_guest_that_has_not_started_says_nothing(self) -> None:
        self.assertEqual([], self.console.records())
        self.assertEqual([], self.console.beats())

    def test_records_are_told_by_disk(self) -> None:
        self.path.write_bytes(LOG)
        self.assertEqual(
            [console.Record('vda', 1, 7.051), console.Record('vda', 2, 7.112)],
            self.console.records('vda'))
        self.assertEqual(3, len(self.console.records()))

    def test_what_was_not_written_is_no_record(self) -> None:
        self.path.write_bytes(LOG)
        self.assertEqual(['W vda 3 ERROR Input/output error\r'],
                         self.console.failures())

    def test_the_heart_beats_without_disks(self) -> None:
        self.path.write_bytes(LOG)
        self.assertEqual([7.1, 7.601], self.console.beats())
