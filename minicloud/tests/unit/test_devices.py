# SPDX-License-Identifier: Apache-2.0

"""Taps get into their bridges; nothing of anybody else is touched."""

import pathlib
import subprocess
import tempfile
import time
import unittest
from unittest import mock

from minicloud import devices
from minicloud.errors import MinicloudError
from minicloud.layout import Layout

PORT = '01234567-89ab-cdef-0123-456789abcdef'
NETWORK = 'fedcba98-7654-3210-fedc-ba9876543210'
TAP, BRIDGE = 'tap01234567-89', 'brqfedcba98-76'


class Machine:
    """Stands for the kernel, and for the command ip.

    :param home: stands for /sys/class/net
    """

    def __init__(self, home: pathlib.Path) -> None:
        self.home = home
        self.stuck: set[str] = set()
        self.numbers = 0

    def add(self, name: str, alias: str = '', bridge: bool = False) -> None:
        self.numbers += 1
        (self.home / name).mkdir()
        (self.home / name / 'ifindex').write_text(f'{self.numbers}\n')
        (self.home / name / 'ifalias').write_text(f'{alias}\n')
        if bridge:
            (self.home / name / 'brif').mkdir()

    def names(self) -> set[str]:
        return {path.name for path in self.home.iterdir() if path.is_dir()}

    def delete(self, name: str) -> None:
        for path in self.home.glob(f'*/brif/{name}'):
            path.unlink()
        for path in sorted((self.home / name).rglob('*'), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (self.home / name).rmdir()

    def ip(self, *words: str) -> None:
        match words:
            case 'link', 'add', name, 'type', 'bridge':
                self.add(name, bridge=True)
            case 'link', 'set', name, 'alias', alias:
                (self.home / name / 'ifalias').write_text(alias)
            case 'link', 'set', name, 'master', bridge:
                (self.home / bridge / 'brif' / name).touch()
            case 'link', 'set', name, 'up':
                assert (self.home / name).exists(), words
            case 'link', 'delete', name if name in self.stuck:
                raise MinicloudError('busy')
            case 'link', 'delete', name:
                self.delete(name)
            case _:
                raise AssertionError(words)


class DevicesTest(unittest.TestCase):

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        home = pathlib.Path(directory.name, 'net')
        home.mkdir()
        # Not all that is there is a device.
        (home / 'bonding_masters').touch()
        self.machine = Machine(home)
        self.layout = Layout(pathlib.Path(directory.name, 'cloud'))
        self.layout.devices.mkdir(parents=True)
        for name, value in (('DEVICES', home), ('_ip', self.machine.ip),
                            ('IPV6', pathlib.Path(directory.name))):
            patch = mock.patch.object(devices, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    def plug(self) -> None:
        """Do what is done before a guest starts."""
        devices.expect(self.layout, PORT, NETWORK)
        self.machine.add(TAP)

    def test_names_are_those_of_nova(self) -> None:
        self.assertEqual(TAP, devices.tap_of(PORT))
        self.assertEqual(BRIDGE, devices.bridge_of(NETWORK))
        for name in (TAP, BRIDGE):
            self.assertLessEqual(len(name), 15)    # the kernel's limit

    def test_a_tap_gets_into_the_bridge_of_its_network(self) -> None:
        self.plug()
        self.assertEqual(PORT, devices.connect(self.layout, TAP))
        self.assertTrue(
            (self.machine.home / BRIDGE / 'brif' / TAP).exists())

    def test_a_second_one_gets_into_the_same(self) -> None:
        self.plug()
        devices.connect(self.layout, TAP)
        other = PORT.replace('0123', '4567')
        devices.expect(self.layout, other, NETWORK)
        self.machine.add(devices.tap_of(other))
        devices.connect(self.layout, devices.tap_of(other))
        self.assertEqual({TAP, devices.tap_of(other)}, {
            path.name
            for path in (self.machine.home / BRIDGE / 'brif').iterdir()})

    def test_the_machine_has_no_address_there(self) -> None:
        for name in (TAP, BRIDGE):
            (devices.IPV6 / name).mkdir()
        self.plug()
        devices.connect(self.layout, TAP)
        for name in (TAP, BRIDGE):
            self.assertEqual(
                '1', (devices.IPV6 / name / 'disable_ipv6').read_text())

    def test_somebody_elses_tap_is_left_alone(self) -> None:
        self.machine.add('tap0')
        self.assertIsNone(devices.connect(self.layout, 'tap0'))
        self.assertEqual({'tap0'}, self.machine.names())

    def test_all_of_this_root_goes_and_nothing_else(self) -> None:
        self.machine.add('eth0')
        self.machine.add('brq0', 'minicloud-other', bridge=True)
        self.plug()
        devices.connect(self.layout, TAP)
        devices.remove(self.layout)
        self.assertEqual({'eth0', 'brq0'}, self.machine.names())
        devices.remove(self.layout)

    def test_so_does_a_tap_that_nobody_has_seen_yet(self) -> None:
        self.plug()
        devices.remove(self.layout)
        self.assertEqual(set(), self.machine.names())

    def test_and_what_is_marked_if_the_state_is_gone(self) -> None:
        self.plug()
        devices.connect(self.layout, TAP)
        for path in self.layout.devices.iterdir():
            path.unlink()
        devices.remove(self.layout)
        self.assertEqual(set(), self.machine.names())

    def test_a_device_that_goes_by_itself_is_no_error(self) -> None:
        self.plug()

        def vanished(*_words: str) -> None:
            self.machine.delete(TAP)
            raise MinicloudError('Cannot find device')

        with mock.patch.object(devices, '_ip', vanished):
            devices.remove(self.layout)

    def test_one_that_stays_is_an_error(self) -> None:
        self.plug()
        self.machine.stuck.add(TAP)
        with self.assertRaisesRegex(MinicloudError, 'busy'):
            devices.remove(self.layout)

    def test_a_bridge_goes_with_its_last_tap(self) -> None:
        self.machine.add('brq0', bridge=True)
        self.plug()
        devices.connect(self.layout, TAP)
        devices.remove_empty_bridges(self.layout)
        self.assertIn(BRIDGE, self.machine.names())
        self.machine.delete(TAP)
        devices.remove_empty_bridges(self.layout)
        self.assertEqual({'brq0'}, self.machine.names())

    def test_a_tap_that_is_made_anew_is_another(self) -> None:
        self.machine.add(TAP)
        before = devices.taps()
        self.machine.delete(TAP)
        self.machine.add(TAP)
        self.assertNotEqual(before, devices.taps())

    def test_a_tap_that_is_going_is_gone(self) -> None:
        self.machine.add(TAP)
        (self.machine.home / TAP / 'ifindex').unlink()
        self.assertEqual({}, devices.taps())


class MachineTest(unittest.TestCase):

    def test_a_machine_without_the_command_is_told_the_package(self) -> None:
        with mock.patch('shutil.which', return_value=None):
            with self.assertRaisesRegex(MinicloudError, 'iproute2'):
                devices.check()

    def test_one_without_bridges_is_told_what_the_kernel_says(self) -> None:
        failed = subprocess.CompletedProcess(
            [], 2, '', 'RTNETLINK answers: Operation not supported\n')
        with (mock.patch('shutil.which', return_value='/sbin/ip'),
              mock.patch('subprocess.run', return_value=failed)):
            with self.assertRaisesRegex(MinicloudError, 'not supported'):
                devices.check()

    def test_a_command_that_fails_is_said_whole(self) -> None:
        failed = subprocess.CompletedProcess([], 1, '', 'no such device\n')
        with mock.patch('subprocess.run', return_value=failed):
            with self.assertRaisesRegex(
                    MinicloudError, '^ip link delete x: no such device$'):
                devices._ip('link', 'delete', 'x')

    def test_the_wait_for_a_change_ends(self) -> None:
        changes = devices.Changes()
        self.addCleanup(changes.close)
        began = time.monotonic()
        changes.wait(0.05)
        self.assertLess(time.monotonic() - began, 5)
