# SPDX-License-Identifier: Apache-2.0

"""While a server is quiesced nothing is written, and nothing is lost."""

import pathlib
import subprocess
import tempfile

from minicloud.guest import disk as guest_disk

from osc_quiesce.tests.scenario import base


class WriterTest(base.ScenarioTest):
    """A guest with two disks writes records all the time."""

    def setUp(self) -> None:
        super().setUp()
        [self.guest] = self.start('two-disks', flavor='tiny-two-disks')
        self.assertEqual({'vda', 'vdb'}, self.guest.disks())

    def disks(self) -> dict[str, guest_disk.Disk]:
        """Return the guest's disks."""
        return {'vda': guest_disk.Disk(self.guest.directory / 'disk'),
                'vdb': guest_disk.Disk(self.guest.directory / 'disk.eph0')}

    def copies(self) -> dict[str, guest_disk.Disk]:
        """Copy the guest's disks as a storage system would."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        copies = {}
        for name, disk in self.disks().items():
            copies[name] = guest_disk.Disk(pathlib.Path(folder.name, name))
            subprocess.run(['cp', '--sparse=always', disk.path,
                            copies[name].path], check=True)
        return copies

    def last(self, name: str) -> int:
        """Return the number of the last record that the guest spoke of."""
        return self.guest.console.records(name)[-1].number

    def assert_whole(self, disk: guest_disk.Disk, name: str,
                     last: int) -> None:
        """Each record up to a number is there, once and whole."""
        numbers = []
        for line in disk.records():
            self.assertRegex(line, r'^\d+ \d+\.\d{6} \d+\.\d{6}$')
            numbers.append(int(line.split()[0]))
        self.assertEqual(list(range(1, len(numbers) + 1)), numbers)
        self.assertGreaterEqual(len(numbers), last, name)

    def test_nothing_is_written_while_quiesced_and_nothing_is_lost(
            self) -> None:
        self.quiesce(self.guest)
        self.assertEqual('QUIESCED', self.status(self.guest))
        self.guest.assert_frozen()
        self.unquiesce(self.guest)
        self.assertEqual('ACTIVE', self.status(self.guest))
        self.guest.assert_writing()
        self.openstack('server stop %s' % self.guest.name)
        self.wait(self.guest.id, 'stopped')
        self.assertEqual([], self.guest.console.failures())
        for name, disk in self.disks().items():
            code, said = disk.check()
            self.assertEqual(0, code, said)
            self.assertFalse(disk.needs_recovery())
            self.assert_whole(disk, name, self.last(name))

    def test_a_copy_of_a_quiesced_disk_needs_no_recovery(self) -> None:
        self.quiesce(self.guest)
        copies = self.copies()
        last = {name: self.last(name) for name in copies}
        self.unquiesce(self.guest)
        for name, disk in copies.items():
            self.assertFalse(disk.needs_recovery(), name)
            code, said = disk.check()
            self.assertEqual(0, code, said)
            self.assert_whole(disk, name, last[name])

    def test_a_copy_without_quiescing_does_need_it(self) -> None:
        for name, disk in self.copies().items():
            self.assertTrue(disk.needs_recovery(), name)
