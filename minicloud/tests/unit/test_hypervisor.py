# SPDX-License-Identifier: Apache-2.0

"""What is missing is said before anything is made."""

import os
import pathlib
import tempfile
import unittest
from unittest import mock

from minicloud import cloud
from minicloud import hypervisor
from minicloud import layout
from minicloud.errors import MinicloudError


class MissingTest(unittest.TestCase):

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name, 'root')
        patches = (mock.patch.object(os, 'geteuid', return_value=0),
                   mock.patch('shutil.which', return_value='/bin/it'),
                   mock.patch.object(os.path, 'isdir', return_value=True),
                   mock.patch.object(hypervisor, 'has_binding',
                                     return_value=True))
        for patch in patches:
            patch.start()
            self.addCleanup(patch.stop)

    def test_nothing_is_missing(self) -> None:
        self.assertEqual([], hypervisor.missing())

    def test_who_is_not_root_is_told(self) -> None:
        with mock.patch.object(os, 'geteuid', return_value=1000):
            self.assertEqual(['root: this is user 1000'],
                             hypervisor.missing())

    def test_packages_are_named_at_once(self) -> None:
        with (mock.patch('shutil.which', return_value=None),
              mock.patch.object(os.path, 'isdir', return_value=False)):
            [line] = hypervisor.missing()
        self.assertIn('apt-get install --no-install-recommends ', line)
        for package in ('qemu-system-x86', 'libvirt-daemon-system ',
                        'libvirt-daemon-system-sysv', 'qemu-utils', 'lz4'):
            self.assertIn(package, line)

    def test_a_systemd_is_not_replaced(self) -> None:
        with mock.patch('shutil.which', return_value=None):
            [line] = hypervisor.missing()
        self.assertNotIn('sysv', line)

    def test_up_says_it_and_makes_nothing(self) -> None:
        with (mock.patch.object(os, 'geteuid', return_value=1000),
              self.assertRaisesRegex(MinicloudError, 'nothing was changed')):
            cloud.Cloud(self.root).up(driver='libvirt')
        self.assertFalse(self.root.exists())

    def test_the_binding_comes_with_the_command_that_builds_it(self) -> None:
        with (mock.patch.object(hypervisor, 'has_binding',
                                return_value=False),
              mock.patch.object(hypervisor, '_missing_headers',
                                return_value=set()),
              self.assertRaisesRegex(MinicloudError, 'pip install')):
            hypervisor.check(layout.Layout.of(self.root))

    def test_a_root_that_no_socket_fits_into_is_refused(self) -> None:
        deep = layout.Layout.of(self.root / ('x' * 90))
        with self.assertRaisesRegex(MinicloudError, 'choose a shorter'):
            hypervisor.check(deep)


class TrialTest(unittest.TestCase):
    """Whether KVM works is decided by starting a guest, once for each boot."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.layout = layout.Layout.of(self.folder)
        self.layout.kvm_trial.parent.mkdir(parents=True)
        self.qemu = self.folder / 'qemu'
        for name in ('KVM', 'BOOT_ID'):
            path = self.folder / name
            path.write_text('first')
            self.patch(name, path)
        self.patch('QEMU', str(self.qemu))

    def patch(self, name: str, value: object) -> None:
        patch = mock.patch.object(hypervisor, name, value)
        patch.start()
        self.addCleanup(patch.stop)

    def guest(self, *lines: str) -> None:
        """Have QEMU do this in place of a guest."""
        self.qemu.write_text('\n'.join(('#!/bin/sh', *lines)))
        self.qemu.chmod(0o755)

    def virt_type(self) -> str:
        return hypervisor.virt_type(self.layout)

    def test_a_guest_that_speaks(self) -> None:
        self.guest('echo firmware', 'echo GUEST is here', 'exec sleep 60')
        self.assertEqual('kvm', self.virt_type())

    def test_no_device(self) -> None:
        self.guest('echo GUEST is here')
        hypervisor.KVM.unlink()
        self.assertEqual('qemu', self.virt_type())

    def test_firmware_alone_proves_nothing(self) -> None:
        self.guest('echo firmware', 'exit 1')
        self.assertEqual('qemu', self.virt_type())

    def test_a_guest_that_hangs(self) -> None:
        self.guest('echo firmware', 'exec sleep 60')
        self.patch('TRIAL', 0.2)
        self.assertEqual('qemu', self.virt_type())

    def test_a_program_that_cannot_be_run(self) -> None:
        self.assertEqual('qemu', self.virt_type())

    def test_one_trial_for_each_boot(self) -> None:
        self.guest('echo GUEST is here')
        self.virt_type()
        self.guest('exit 1')
        self.assertEqual('kvm', self.virt_type())
        hypervisor.BOOT_ID.write_text('second')
        self.assertEqual('qemu', self.virt_type())
