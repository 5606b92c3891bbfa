# SPDX-License-Identifier: Apache-2.0

"""What a cloud says and refuses when nothing of it runs."""

import os
import pathlib
import signal
import tempfile
from typing import Any
import unittest
from unittest import mock

from minicloud import cloud
from minicloud import ports
from minicloud import processes
from minicloud import template
from minicloud.cloud import Cloud
from minicloud.config import Settings
from minicloud.errors import MinicloudError
from minicloud.layout import Layout


class CloudTest(unittest.TestCase):

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name, 'cloud')
        self.cloud = Cloud(self.root)

    def save(self, **settings: object) -> None:
        self.cloud.layout.run.mkdir(parents=True)
        processes.write_json(self.cloud.layout.settings, settings)

    def test_a_missing_package_is_said_and_nothing_is_made(self) -> None:
        for settings in ({'broker': 'rabbit'}, {'database': 'mariadb'},
                         {'backup': 'posix'}):
            with mock.patch('shutil.which', return_value=None):
                with self.assertRaisesRegex(MinicloudError, 'apt-get'):
                    self.cloud.up(**settings)  # type: ignore[arg-type]
            self.assertFalse(os.path.exists(self.root))

    def test_several_services_need_a_broker_that_reaches_them(self) -> None:
        for number in (0, 2):
            with self.assertRaisesRegex(MinicloudError, '--broker rabbit'):
                self.cloud.up(quiesce_services=number)
        with self.assertRaisesRegex(MinicloudError, '--broker rabbit'):
            self.cloud.up(quiesce_host='shared')

    def test_several_cells_need_it_too(self) -> None:
        with self.assertRaisesRegex(MinicloudError, '--broker rabbit'):
            self.cloud.up(cells=2)
        self.assertFalse(self.root.exists())

    def test_a_store_without_backups_is_refused(self) -> None:
        with self.assertRaisesRegex(MinicloudError, 'needs --backup'):
            self.cloud.up(store='/nowhere/store')
        self.assertFalse(self.root.exists())

    def test_a_site_has_the_name_of_its_root_or_its_own(self) -> None:
        self.assertEqual('cloud', self.cloud.site_name)
        self.save(site_name='siteB')
        self.assertEqual('siteB', self.cloud.site_name)
        processes.write_json(self.cloud.layout.ports, {
            name: 20000 + number
            for number, name in enumerate(ports.NAMES)})
        self.assertEqual(
            {'siteB', 'siteB-member', 'siteB-reader', 'siteB-other'},
            set(self.cloud.clouds()))

    def test_a_cloud_keeps_its_cells_and_queues_and_network(self) -> None:
        chosen: tuple[tuple[str, Any], ...] = (
            ('cells', 2), ('queues', 'quorum'), ('network', 'neutron'))
        for option, value in chosen:
            layout = Layout(self.root / option)
            layout.state.mkdir(parents=True)
            template.mark_complete(layout, Settings(broker='rabbit'))
            start = cloud._Start(layout, '', Settings(
                broker='rabbit', **{option: value}), False, mock.Mock())
            with self.assertRaisesRegex(
                    MinicloudError, f'"up --{option} {value} --fresh"'):
                start._check_state()

    def test_an_earlier_cloud_had_one_cell_and_classic_queues(self) -> None:
        layout = Layout(self.root)
        layout.state.mkdir(parents=True)
        processes.write_json(layout.complete, {'root': str(self.root)})
        cloud._Start(layout, '', Settings(), False,
                     mock.Mock())._check_state()

    def test_nothing_stays_of_queues_that_keep_their_names(self) -> None:
        self.save()
        self.cloud.layout.marker.write_text('token')
        with tempfile.TemporaryDirectory() as directory:
            counters = pathlib.Path(directory)
            mine = counters / f'{self.cloud.layout.queue_host}_api_qmanager'
            other = counters / 'controller_api_qmanager'
            for path in (mine, other):
                path.touch()
            with mock.patch.object(cloud, 'QUEUE_COUNTERS', counters):
                self.cloud.down()
            self.assertEqual([other], list(counters.iterdir()))

    def test_no_network_device_of_a_guest_stays(self) -> None:
        self.save()
        self.cloud.layout.marker.write_text('token')
        with mock.patch('minicloud.devices.remove') as remove:
            self.cloud.down()
            remove.assert_called_once_with(self.cloud.layout)

    def test_devices_go_while_the_state_knows_them(self) -> None:
        layout = Layout(self.root)
        layout.state.mkdir(parents=True)

        def remove(of: Layout) -> None:
            self.assertTrue(of.state.exists())
            raise MinicloudError('one stays')

        with mock.patch('minicloud.devices.remove', remove):
            with self.assertRaisesRegex(MinicloudError, 'one stays'):
                cloud._Start(layout, '', Settings(), True,
                             mock.Mock())._make_state()

    def test_the_processes_are_those_of_the_last_up(self) -> None:
        self.save(broker='rabbit', computes=2)
        self.assertEqual(
            ('broker', 'identity', 'image', 'api', 'conductor', 'scheduler',
             'compute1', 'compute2', 'quiesce1', 'volume'),
            self.cloud.roles())
        self.assertEqual(
            {(role, 'down') for role in self.cloud.roles()},
            {(status.role, status.state) for status in self.cloud.status()})

    def test_a_name_that_is_no_process_is_refused(self) -> None:
        for ask in (self.cloud.pid, self.cloud.stop, self.cloud.start,
                    lambda role: self.cloud.signal(role, signal.SIGKILL)):
            with self.assertRaisesRegex(MinicloudError, 'is not one of: id'):
                ask('quiesce7')

    def test_a_process_that_does_not_run_has_no_id(self) -> None:
        with self.assertRaisesRegex(MinicloudError, 'image of .* not run'):
            self.cloud.pid('image')

    def test_stopping_what_does_not_run_is_no_error(self) -> None:
        self.cloud.stop('image')

    def test_one_process_does_not_start_without_a_cloud(self) -> None:
        with self.assertRaisesRegex(MinicloudError, 'start it with up'):
            self.cloud.start('image')
        self.assertFalse(self.root.exists())
