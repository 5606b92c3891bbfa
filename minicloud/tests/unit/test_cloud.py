#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""What a cloud says and refuses when nothing of it runs."""

import os
import pathlib
import signal
import tempfile
import unittest
from unittest import mock

from minicloud import processes
from minicloud.cloud import Cloud
from minicloud.errors import MinicloudError


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
        for settings in ({'broker': 'rabbit'}, {'database': 'mariadb'}):
            with mock.patch('shutil.which', return_value=None):
                with self.assertRaisesRegex(MinicloudError, 'apt-get'):
                    self.cloud.up(**settings)  # type: ignore[arg-type]
            self.assertFalse(os.path.exists(self.root))

    def test_several_services_need_a_broker_that_reaches_them(self) -> None:
        for number in (0, 2):
            with self.assertRaisesRegex(MinicloudError, '--broker rabbit'):
                self.cloud.up(quiesce_services=number)

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
