# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

import argparse
import contextlib
import io
import json
import os
import pathlib
import tempfile
import types
import unittest
from typing import Any
from unittest import mock

from nova import context as nova_context
from oslo_upgradecheck import upgradecheck

from nova_quiesce import db
from nova_quiesce import drain
from nova_quiesce import status
from nova_quiesce.tests.unit import world

PASTE = """
[composite:osapi_compute]
use = call:nova.api.openstack.urlmap:urlmap_factory
/v2.1: openstack_compute_api_v21

[app:osapi_compute_app_v21]
paste.app_factory = %s
"""
NOVAS = 'nova.api.openstack.compute:APIRouterV21.factory'


class StatusTest(world.WorldTest):
    """The program, from its arguments to its exit code."""

    def setUp(self) -> None:
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.paste = pathlib.Path(directory.name) / 'api-paste.ini'
        self.paste.write_text(PASTE % status.APP_FACTORY)
        self._patch(mock.patch.object(
            nova_context, 'get_admin_context', self._context))
        self._patch(mock.patch.object(
            drain, 'threading', mock.Mock(Thread=world.PatientThread)))
        self._patch(mock.patch.object(drain, 'time', mock.Mock(
            sleep=lambda seconds: self.deliver_all(),
            monotonic=lambda: 0.0)))

    def run_status(self, *argv: str) -> int:
        """Run a command, and return its exit code."""
        parser = argparse.ArgumentParser()
        status._add_parsers(parser.add_subparsers())
        self.stdout, self.stderr = io.StringIO(), io.StringIO()
        with (
                contextlib.redirect_stdout(self.stdout),
                contextlib.redirect_stderr(self.stderr)):
            try:
                command = parser.parse_args(argv)
            except SystemExit as error:
                return int(str(error.code))
            options = types.SimpleNamespace(
                command=command, find_file=lambda name: (
                    str(self.paste) if self.paste.exists() else None),
                wsgi=types.SimpleNamespace(api_paste_config='api-paste.ini'))
            with (
                    mock.patch.object(status, 'CONF', options),
                    mock.patch.object(upgradecheck, 'CONF', options)):
                return int(command.action())


class TestUpgradeCheck(StatusTest):

    def check(self) -> dict[str, tuple[str, str]]:
        """Return result and details of each check."""
        code = self.run_status('upgrade', 'check', '--json')
        checks = json.loads(self.stdout.getvalue())['checks']
        self.assertEqual(max(each['result'] for each in checks), code)
        return {each['check']: (upgradecheck.Code(each['result']).name,
                                each['details']) for each in checks}

    def test_all_is_well(self) -> None:
        self.quiesce(unquiesce_after=60)
        self.deliver()
        self.assertEqual({'SUCCESS'}, {
            result for result, _details in self.check().values()})
        self.assertEqual(0, self.run_status('upgrade', 'check'))
        self.assertIn('Marks of servers', self.stdout.getvalue())

    def test_no_service_is_up(self) -> None:
        self.up.clear()
        self.advance(1000)
        result, details = self.check()['nova-quiesce service']
        self.assertEqual('FAILURE', result)
        self.assertIn('ctl1, ctl2', details)

    def test_one_service_of_several_is_down(self) -> None:
        self.up.remove('ctl1')
        self.advance(1000)
        result, details = self.check()['nova-quiesce service']
        self.assertEqual('WARNING', result)
        self.assertIn('down on ctl1.', details)

    def test_a_mark_of_another_version(self) -> None:
        self.quiesce()
        self.deliver()
        text = self.instance.system_metadata[db.MARK]
        self.set(system_metadata={
            db.MARK: text.replace('{', '{"colour":"blue",')})
        result, details = self.check()['Marks of servers']
        self.assertEqual('FAILURE', result)
        self.assertIn(self.uuid, details)

    def test_the_paste_file_is_novas_own(self) -> None:
        for factory in (NOVAS, ''):
            self.paste.write_text(PASTE % factory)
            result, details = self.check()['API paste configuration']
            self.assertEqual('FAILURE', result)
            self.assertIn(status.APP_FACTORY, details)
            self.assertIn(str(self.paste), details)
        for text in ('', 'not an ini file'):
            self.paste.write_text(text)
            result, details = self.check()['API paste configuration']
            self.assertEqual('FAILURE', result)

    def test_there_is_no_paste_file(self) -> None:
        self.paste.unlink()
        result, _details = self.check()['API paste configuration']
        self.assertEqual('WARNING', result)

    def test_a_cell_does_not_answer(self) -> None:
        with mock.patch.object(
                nova_context, 'scatter_gather_cells',
                lambda *args: {world.CELL.uuid: ValueError('down')}):
            self.assertEqual('FAILURE', self.check()['Databases'][0])

    def test_no_database_answers(self) -> None:
        with mock.patch.object(
                nova_context, 'scatter_gather_cells',
                side_effect=ValueError('no such table')):
            found = self.check()
        self.assertEqual('FAILURE', found['Databases'][0])
        self.assertIn('no such table', found['Databases'][1])
        self.assertEqual('WARNING', found['Marks of servers'][0])


class TestList(StatusTest):

    def test_nothing_is_frozen(self) -> None:
        self.assertEqual(0, self.run_status('list', '--json'))
        self.assertEqual([], json.loads(self.stdout.getvalue()))

    def test_what_is_known_of_a_server_is_told(self) -> None:
        request_id = self.quiesce(unquiesce_after=60)
        self.deliver()
        self.assertEqual(0, self.run_status('list', '--json'))
        expected = {
            'uuid': self.uuid, 'host': 'cmp1', 'vm_state': 'quiesced',
            'task_state': None, 'request': request_id,
            'deadline': '2026-11-23T03:01:00Z'}
        self.assertEqual([expected], json.loads(self.stdout.getvalue()))
        self.assertEqual(0, self.run_status('list'))
        for value in expected.values():
            self.assertIn(value or '-', self.stdout.getvalue())

    def test_one_without_a_mark_is_there(self) -> None:
        self.set(vm_state='quiesced')
        self.assertEqual(0, self.run_status('list', '--json'))
        [row] = json.loads(self.stdout.getvalue())
        self.assertEqual((self.uuid, None, None),
                         (row['uuid'], row['request'], row['deadline']))

    def test_a_cell_that_does_not_answer_is_a_failure(self) -> None:
        with mock.patch.object(
                nova_context, 'scatter_gather_cells',
                lambda *args: {world.CELL.uuid: ValueError('down')}):
            self.assertEqual(1, self.run_status('list'))
        self.assertIn('Not every cell', self.stderr.getvalue())


class TestThaw(StatusTest):

    def test_all(self) -> None:
        self.quiesce()
        self.deliver()
        self.assertEqual(0, self.run_status('thaw', '--all'))
        self.assertIn('thawed: 1', self.stdout.getvalue())
        self.check_at_rest('active', marked=False)

    def test_by_uuid_however_it_is_written(self) -> None:
        self.quiesce()
        self.deliver()
        self.assertEqual(0, self.run_status('thaw', self.uuid.upper()))
        self.check_at_rest('active', marked=False)

    def test_who_is_left_is_told(self) -> None:
        self.quiesce()
        self.deliver()
        self.assertEqual(
            1, self.run_status('thaw', '--all', '--timeout', '0'))
        self.assertIn('frozen after 0 seconds: 1', self.stderr.getvalue())
        self.assertIn(self.uuid, self.stdout.getvalue())

    def test_usage_errors(self) -> None:
        self.quiesce()
        self.deliver()
        arguments: Any
        for arguments in ([], ['--all', self.uuid], ['web'],
                          ['--all', '--timeout', 'soon'],
                          ['--all', '--timeout=-5']):
            with self.subTest(arguments=arguments):
                self.assertEqual(2, self.run_status('thaw', *arguments))
        self.check_at_rest('quiesced', marked=True)


class TestHelp(unittest.TestCase):

    def test_arguments_are_told_as_in_openstackclient(self) -> None:
        commands = argparse.ArgumentParser().add_subparsers()
        status._add_parsers(commands)
        told = [*commands._choices_actions]
        for parser in commands.choices.values():
            told += [action for action in parser._actions
                     if action.dest not in ('help', 'check')]
        self.assertLess(5, len(told))
        for action in told:
            self.assertRegex(action.help or '', '^[A-Z].*[^.]$')

    def test_it_fits_80_columns(self) -> None:
        with mock.patch.dict(os.environ, {'COLUMNS': '80'}):
            commands = argparse.ArgumentParser().add_subparsers()
            status._add_parsers(commands)
            for parser in commands.choices.values():
                for line in parser.format_help().splitlines():
                    self.assertLessEqual(len(line), 80, line)
