# SPDX-License-Identifier: Apache-2.0

"""What the processes of Nova are told of cells, and of the quiesce actions."""

import pathlib
import sys
import tempfile
import threading
from typing import Any
import unittest
from unittest import mock

from minicloud import process
from minicloud import roles
from minicloud.errors import MinicloudError
from minicloud.layout import Layout
from minicloud.roles import compute
from minicloud.roles import hypervisor

TOP = 'rabbit://host/'
DATABASE = 'mysql+pymysql://host/nova_cell'


def context(root: str = '/nowhere/cloud', role: str = 'api',
            **facts: Any) -> roles.Context:
    told: dict[str, Any] = {
        'token': 't', 'sockets': {}, 'driver': 'fake', 'database': 'sqlite',
        'storage': 'fake', 'cells': 1, 'cell': 0, 'quiesce': True,
        'services': [], 'before': []}
    return roles.Context(role=role, layout=Layout(pathlib.Path(root)),
                         **{**told, **facts})


class CommandLineTest(unittest.TestCase):

    def made(self, *options: str) -> roles.Context:
        return process.context_of(process.parse(
            ['compute3', '--root', '/r', '--token', 't', '--digest', 'd',
             *options]))

    def test_a_process_knows_its_cell(self) -> None:
        made = self.made('--cells', '2', '--cell', '1', '--quiesce',
                         '--service', 'nova-compute@compute3')
        self.assertEqual((2, 1, True), (made.cells, made.cell, made.quiesce))
        self.assertEqual([('nova-compute', 'compute3')], made.services)

    def test_there_is_one_cell_otherwise(self) -> None:
        made = self.made()
        self.assertEqual((1, 0, False),
                         (made.cells, made.cell, made.quiesce))


class EndTest(unittest.TestCase):

    def test_who_has_lost_the_root_cleans_up_and_ends(self) -> None:
        made = context()
        cleaned = mock.Mock()
        made.at_end.append(cleaned)
        with (mock.patch('threading.Timer') as timer,
              mock.patch('os._exit', side_effect=SystemExit)):
            with self.assertRaises(SystemExit):
                process._watch(made)
        cleaned.assert_called_once_with()
        # Even if that takes for ever.
        timer.assert_called_once_with(process.PATIENCE, mock.ANY, (0,))
        timer.return_value.start.assert_called_once_with()


class GuestsTest(unittest.TestCase):
    """What becomes of the network devices of guests."""

    def setUp(self) -> None:
        self.ended = threading.Event()
        self.removed = mock.Mock()
        self.exited = threading.Event()
        self.context = context(role='hypervisor', driver='libvirt')
        for target, value in (
                ('subprocess.Popen', mock.Mock(return_value=mock.Mock(
                    wait=self.ended.wait))),
                ('minicloud.devices.remove', self.removed),
                ('minicloud.hypervisor.virt_type', mock.Mock()),
                ('os.kill', lambda *_args: self.ended.set()),
                ('os._exit', lambda _code: self.exited.set())):
            self.patch(mock.patch(target, value))
        for name in ('_binds', '_hidden', '_first_process'):
            self.patch(mock.patch.object(
                hypervisor, name, return_value=['']))
        self.patch(mock.patch.dict(sys.modules, {'libvirt': mock.Mock()}))
        hypervisor.run(self.context)
        # Those of guests that did not end in peace.
        self.removed.assert_called_once_with(self.context.layout)
        self.removed.reset_mock()

    def patch(self, patch: Any) -> None:
        patch.start()
        self.addCleanup(patch.stop)

    def test_they_go_after_the_guests(self) -> None:
        self.removed.side_effect = lambda _layout: self.assertTrue(
            self.ended.is_set())
        for clean in self.context.at_end:
            clean()
        self.removed.assert_called_once_with(self.context.layout)
        # Nobody ends the process before that is done.
        self.assertFalse(self.exited.wait(0.1))

    def test_they_go_too_if_libvirtd_ends_by_itself(self) -> None:
        self.ended.set()
        self.assertTrue(self.exited.wait(10))
        self.removed.assert_called_once_with(self.context.layout)

    def test_one_that_stays_keeps_nothing_from_ending(self) -> None:
        self.removed.side_effect = MinicloudError('busy')
        for clean in self.context.at_end:
            clean()


class CellsTest(unittest.TestCase):

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = directory.name
        etc = pathlib.Path(self.root, 'etc')
        etc.mkdir()
        for number in (1, 2):
            (etc / f'nova-cell{number}.conf').write_text(
                f'[DEFAULT]\ntransport_url = {TOP}cell{number}\n'
                f'[database]\nconnection = {DATABASE}{number}\n')

    def urls_after_start(self, cells: int) -> list[str]:
        mappings = {number: mock.Mock(transport_url='fake:///')
                    for number in range(1, cells + 1)}
        conf = mock.Mock(**{'CONF.transport_url': TOP,
                            'CONF.database.connection': DATABASE + '1'})
        modules = {'nova': mock.Mock(conf=conf), 'nova.conf': conf}
        with (mock.patch.dict(sys.modules, modules),
              mock.patch.object(compute, '_cell', mappings.get)):
            compute.map_cells(context(self.root, cells=cells))
        for number, mapping in mappings.items():
            mapping.save.assert_called_once_with()
            self.assertEqual(f'{DATABASE}{number}',
                             mapping.database_connection)
        return [mapping.transport_url for mapping in mappings.values()]

    def test_nova_is_told_the_bus_of_each_cell(self) -> None:
        self.assertEqual([TOP + 'cell1', TOP + 'cell2'],
                         self.urls_after_start(2))

    def test_what_an_earlier_cloud_left_does_not_count(self) -> None:
        self.assertEqual([TOP], self.urls_after_start(1))

    def parsed(self, **facts: Any) -> tuple[list[str], mock.Mock]:
        nova = mock.MagicMock()
        modules = {'nova': nova, 'nova.conf': nova.conf,
                   'nova.db.api': nova.db.api, 'nova.db.main': nova.db.main,
                   'oslo_log': mock.Mock()}
        with mock.patch.dict(sys.modules, modules):
            compute.configure(context(self.root, cells=2, **facts))
        _argv, files = nova.config.parse_args.call_args.args
        return ([pathlib.Path(file).name for file in files],
                nova.conf.CONF.set_override)

    def test_the_file_of_the_cell_is_read_last(self) -> None:
        files, override = self.parsed(role='compute2', cell=2)
        self.assertEqual(['nova.conf', 'nova-cell2.conf'], files)
        override.assert_not_called()

    def test_a_conductor_of_a_cell_has_no_api_database(self) -> None:
        _files, override = self.parsed(role='conductor1', cell=1)
        override.assert_called_once_with(
            'connection', None, group='api_database')

    def test_that_of_the_top_level_has(self) -> None:
        files, override = self.parsed(role='conductor')
        self.assertEqual(['nova.conf'], files)
        override.assert_not_called()


class TablesTest(unittest.TestCase):

    def calls(self, quiesce: bool) -> list[str]:
        done = mock.Mock()
        wsgi_app = mock.Mock(**{
            'init_global_data': done.read, 'init_application': done.serve})
        schema = mock.Mock(**{'sync': done.sync})
        modules = {'nova': mock.Mock(), 'nova.api': mock.Mock(),
                   'nova.api.openstack': mock.Mock(wsgi_app=wsgi_app),
                   'nova_quiesce': mock.Mock(schema=schema)}
        with (mock.patch.dict(sys.modules, modules),
              mock.patch.object(compute, 'map_cells'),
              mock.patch('minicloud.releases.nova_api_arguments',
                         return_value=())):
            compute.make_application(context(quiesce=quiesce))
        return [call[0] for call in done.mock_calls]

    def test_they_are_made_before_nova_answers(self) -> None:
        self.assertEqual(['read', 'sync', 'serve'], self.calls(True))

    def test_a_cloud_without_the_actions_has_none(self) -> None:
        self.assertEqual(['read', 'serve'], self.calls(False))
