# SPDX-License-Identifier: Apache-2.0

"""What Ceph is told, and what it needs of the machine."""

import configparser
import pathlib
import socket
import threading
import unittest
from unittest import mock

from minicloud import ceph
from minicloud import config
from minicloud.errors import MinicloudError
from minicloud.layout import Layout
from minicloud.tests.unit import test_config

LAYOUT = Layout(pathlib.Path('/nowhere/cloud'))


class ConfigurationTest(unittest.TestCase):

    def test_all_of_it_is_in_the_root_and_on_this_machine(self) -> None:
        parser = configparser.RawConfigParser()
        parser.read_string(ceph.configuration(LAYOUT, 20001))
        self.assertEqual('v2:127.0.0.1:20001', parser['global']['mon_host'])
        for section, option in (('mon', 'mon_data'), ('mgr', 'mgr_data'),
                                ('osd', 'osd_data')):
            self.assertTrue(
                parser[section][option].startswith(str(LAYOUT.root)))

    def test_the_same_root_is_the_same_cluster(self) -> None:
        other = Layout(pathlib.Path('/nowhere/other'))
        self.assertEqual(ceph.fsid(LAYOUT), ceph.fsid(LAYOUT))
        self.assertNotEqual(ceph.fsid(LAYOUT), ceph.fsid(other))

    def test_only_with_real_guests(self) -> None:
        with self.assertRaisesRegex(MinicloudError, '--driver libvirt'):
            config.Settings(storage='ceph').check()
        config.Settings(storage='ceph', driver='libvirt').check()

    def test_cinder_uses_the_storage_that_was_chosen(self) -> None:
        for storage, driver in (('fake', 'FakeVolumeDriver'),
                                ('ceph', 'RBDDriver')):
            parser = test_config.parsed(config.cinder(
                test_config.plan(storage=storage, driver='libvirt')))
            self.assertEqual(storage, parser['DEFAULT']['enabled_backends'])
            self.assertTrue(
                parser[storage]['volume_driver'].endswith(driver))


class MachineTest(unittest.TestCase):

    def test_another_python_is_told_so(self) -> None:
        with mock.patch('importlib.machinery.EXTENSION_SUFFIXES',
                        ['.other.so']):
            with self.assertRaisesRegex(MinicloudError, 'another Python'):
                ceph.check()

    def test_a_monitor_is_known_by_what_it_says(self) -> None:
        for said, is_one in ((ceph.BANNER, True), (b'HTTP/1.1 200', False)):
            with socket.create_server(('127.0.0.1', 0)) as server:
                def serve(said: bytes = said) -> None:
                    connection, _address = server.accept()
                    with connection:
                        connection.sendall(said)

                thread = threading.Thread(target=serve)
                thread.start()
                self.assertEqual(
                    is_one, ceph.answers(server.getsockname()[1]))
                thread.join()

    def test_nobody_is_no_monitor(self) -> None:
        with socket.create_server(('127.0.0.1', 0)) as server:
            port = server.getsockname()[1]
        self.assertFalse(ceph.answers(port))
