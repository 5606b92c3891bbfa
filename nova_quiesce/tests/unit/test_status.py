# SPDX-License-Identifier: Apache-2.0


import argparse
import contextlib
import io
import json
import os
import pathlib
import re
import tempfile
import types
import unittest
from typing import Any
from unittest import mock

from nova import exception
from nova import objects
from oslo_upgradecheck import upgradecheck

from nova_quiesce import exceptions
from nova_quiesce import manage
from nova_quiesce import register
from nova_quiesce import schema
from nova_quiesce import status
from nova_quiesce import store
from nova_quiesce import times
from nova_quiesce.tests.unit import test_operator_guide
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
        self.format, self.drivers = 'unversioned', ['messagingv2']
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.paste = pathlib.Path(directory.name) / 'api-paste.ini'
        self.paste.write_text(PASTE % status.APP_FACTORY)
        self._patch(mock.patch.object(
            status.time, 'sleep', self._sleep))
        self._patch(mock.patch.object(
            register, 'missing', lambda _hooks: [], create=True))

    def _sleep(self, seconds: float) -> None:
        if seconds:    # SQLAlchemy sleeps, too
            self.live(seconds)

    def run_status(self, *argv: str) -> int:
        """Run a command, and return its exit code."""
        parser = argparse.ArgumentParser()
        status.add_parsers(parser.add_subparsers())
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
                wsgi=types.SimpleNamespace(api_paste_config='api-paste.ini'),
                host='here', quiesce=world.CONF.quiesce,
                register_opts=lambda *args, **kwargs: None,
                notifications=types.SimpleNamespace(
                    notification_format=self.format),
                oslo_messaging_notifications=types.SimpleNamespace(
                    driver=self.drivers),
                service_down_time=world.CONF.service_down_time)
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
        self.freeze(unquiesce_after=60)
        self.sweep('ctl1')
        self.sweep('ctl2')
        self.assertEqual({'SUCCESS'}, {
            result for result, _details in self.check().values()})
        self.assertEqual(0, self.run_status('upgrade', 'check'))
        self.assertIn('Table of freezes', self.stdout.getvalue())

    def test_the_table_is_missing(self) -> None:
        with mock.patch.object(
                schema, 'versions', return_value=(None, '0001')):
            result, details = self.check()['Table of freezes']
        self.assertEqual('FAILURE', result)
        self.assertIn('nova-quiesce-manage db sync', details)

    def test_the_database_does_not_answer(self) -> None:
        with mock.patch.object(
                schema, 'versions', side_effect=OSError('no route')), \
                mock.patch.object(store.Store, 'reports',
                                  side_effect=OSError('no route')):
            found = self.check()
        self.assertEqual('FAILURE', found['Table of freezes'][0])
        self.assertIn('no route', found['Table of freezes'][1])
        self.assertEqual('WARNING', found['nova-quiesce service'][0])

    def test_no_service_is_up(self) -> None:
        self.services.clear()
        self.advance(1000)
        result, details = self.check()['nova-quiesce service']
        self.assertEqual('FAILURE', result)
        self.assertIn('ctl1, ctl2', details)

    def test_one_service_of_several_is_down(self) -> None:
        del self.services['ctl1']
        self.advance(1000)
        result, details = self.check()['nova-quiesce service']
        self.assertEqual('WARNING', result)
        self.assertIn('down on ctl1.', details)

    def test_a_cell_has_not_been_swept_for_a_while(self) -> None:
        self.sweep('ctl1')
        self.advance(1000)
        result, details = self.check()['Sweeps']
        self.assertEqual('WARNING', result)
        self.assertIn(world.CELL.uuid, details)
        self.assertIn('ctl1', details)

    def test_a_cell_has_never_been_swept(self) -> None:
        cell = self.services['ctl1'].cells._get(world.CELL.uuid)
        cell.swept_at = self.passed    # it hangs
        self.sweep('ctl1')
        result, details = self.check()['Sweeps']
        self.assertEqual('WARNING', result)
        self.assertIn('%s on ctl1: never' % world.CELL.uuid, details)

    def test_a_hook_has_not_taken(self) -> None:
        with mock.patch.object(
                register, 'missing', lambda _hooks: ['deletion']):
            result, details = self.check()['Hooks into Nova']
        self.assertEqual('FAILURE', result)
        self.assertIn('deletion', details)

    def test_no_deadline_by_default(self) -> None:
        self.set_option('default_unquiesce_after', 0)
        self.assertEqual('WARNING', self.check()['Default deadline'][0])

    def test_versioned_notifications_need_our_driver(self) -> None:
        for notification_format, drivers, result in (
                ('unversioned', ['messagingv2'], 'SUCCESS'),
                ('both', ['messagingv2'], 'WARNING'),
                ('versioned', ['messagingv2'], 'WARNING'),
                ('versioned', ['messagingv2', 'nova_quiesce'], 'SUCCESS'),
                ('versioned', ['noop'], 'SUCCESS'),
                ('versioned', [], 'SUCCESS')):
            self.format, self.drivers = notification_format, drivers
            with self.subTest(notification_format, drivers=drivers):
                self.assertEqual(result, self.check()['Notifications'][0])

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


class TestList(StatusTest):

    def test_nothing_is_frozen(self) -> None:
        self.assertEqual(0, self.run_status('list', '--json'))
        self.assertEqual([], json.loads(self.stdout.getvalue()))

    def test_what_is_known_of_a_server_is_told(self) -> None:
        request_id = self.freeze(unquiesce_after=60)
        self.assertEqual(0, self.run_status('list', '--json'))
        expected = {
            'uuid': self.uuid, 'name': 'web', 'state': 'frozen',
            'request': request_id, 'frozen_at': '2026-11-23T03:00:00Z',
            'unquiesce_at': '2026-11-23T03:01:00Z', 'attempts': 0,
            'error': None}
        [found] = json.loads(self.stdout.getvalue())
        self.assertEqual(expected.keys(), found.keys())
        for key in ('frozen_at', 'unquiesce_at'):    # it rounds
            found[key] = expected[key]
        self.assertEqual(expected, found)
        self.assertEqual(0, self.run_status('list'))
        self.assertIn(request_id, self.stdout.getvalue())


class TestMetrics(StatusTest):

    def test_figures_as_openmetrics(self) -> None:
        self.freeze(unquiesce_after=60)
        self.sweep('ctl1')
        self.advance(90)
        self.assertEqual(0, self.run_status('metrics'))
        lines = self.stdout.getvalue().splitlines()
        self.assertEqual('# EOF', lines[-1])
        self.assertIn('nova_quiesce_guests{state="frozen"} 1', lines)
        self.assertIn('nova_quiesce_guests{state="thawing"} 0', lines)
        [overdue] = [line.split()[1] for line in lines
                     if line.startswith('nova_quiesce_oldest_overdue')]
        self.assertAlmostEqual(30, float(overdue), delta=1)
        self.assertTrue([line for line in lines if line.startswith(
            'nova_quiesce_last_sweep_seconds{host="ctl1",cell="%s"} '
            % world.CELL.uuid)])
        for line in lines:
            self.assertRegex(line, r'^(# (TYPE \w+ gauge|EOF)|'
                                   r'\w+(\{[^}]*\})? -?[0-9.]+)$')

    def test_the_alerts_are_of_figures_that_are_printed(self) -> None:
        self.freeze()
        self.sweep('ctl1')
        self.run_status('metrics')
        printed = self.stdout.getvalue()
        names = re.findall('^# TYPE (.*) gauge$', printed, re.MULTILINE)
        for rule in test_operator_guide.alerts():
            used = re.findall(r'\bnova_quiesce_\w+', rule['expr'])
            with self.subTest(rule['alert']):
                self.assertLessEqual(set(used), set(names))
                for label in re.findall(r'by \((\w+)\)', rule['expr']):
                    for name in used:
                        self.assertRegex(printed, r'%s\{.*\b%s="' % (
                            name, label))
                for states in re.findall('state=~?"(.*?)"', rule['expr']):
                    for state in states.split('|'):
                        self.assertIn('{state="%s"}' % state, printed)

    def test_what_a_newer_version_has_written(self) -> None:
        self.freeze()
        self.set_row(state='resting')
        self.assertEqual(0, self.run_status('metrics'))
        self.assertIn('nova_quiesce_guests{state="resting"} 1',
                      self.stdout.getvalue().splitlines())
        self.assertEqual(0, self.run_status('list'))
        self.assertIn('resting', self.stdout.getvalue())


class TestThaw(StatusTest):

    def test_all(self) -> None:
        self.freeze()
        self.assertEqual(0, self.run_status('thaw', '--all'))
        self.assertIn('thawed: 1', self.stdout.getvalue())
        self.check_at_rest('active')

    def test_nothing_is_frozen(self) -> None:
        self.assertEqual(0, self.run_status('thaw', '--all'))
        self.assertIn('thawed: 0', self.stdout.getvalue())

    def test_by_uuid_however_it_is_written(self) -> None:
        self.freeze()
        self.assertEqual(0, self.run_status('thaw', self.uuid.upper()))
        self.check_at_rest('active')

    def test_one_whose_thaws_have_failed_for_long_is_thawed_at_once(
            self) -> None:
        self.freeze()
        self.guest.on_thaw = [world.answer(world.not_thawed())] * 17
        self.unquiesce()
        self.deliver()
        while self.guest.on_thaw:
            self.live(1)
        self.assertEqual(0, self.run_status('thaw', '--all', '--timeout', '5'))
        self.check_at_rest('active')

    def test_an_unknown_server_is_an_error(self) -> None:
        with mock.patch.object(
                objects.InstanceMapping, 'get_by_instance_uuid',
                side_effect=exception.InstanceMappingNotFound(uuid='x')), \
                self.assertRaises(exception.InstanceMappingNotFound):
            self.run_status('thaw', self.uuid)

    def test_without_a_service_nobody_would_do_it(self) -> None:
        self.freeze()
        self.services.clear()
        self.advance(1000)
        with self.assertRaises(exceptions.NoService):
            self.run_status('thaw', '--all')

    def test_who_is_left_is_told(self) -> None:
        self.freeze()
        self.assertEqual(
            1, self.run_status('thaw', '--all', '--timeout', '0'))
        self.assertIn('frozen after 0 seconds: 1', self.stderr.getvalue())
        self.assertIn(self.uuid, self.stdout.getvalue())

    def test_usage_errors(self) -> None:
        self.freeze()
        arguments: Any
        for arguments in ([], ['--all', self.uuid], ['web'],
                          ['--all', '--timeout', 'soon'],
                          ['--all', '--timeout=-5']):
            with self.subTest(arguments=arguments):
                self.assertEqual(2, self.run_status('thaw', *arguments))
        self.check_at_rest('quiesced', frozen=True)

    def test_it_ends_within_its_time(self) -> None:
        self.freeze()
        self.guest.on_thaw = [world.answer(world.not_thawed())] * 9
        before = self.passed
        self.assertEqual(
            1, self.run_status('thaw', '--all', '--timeout', '20'))
        self.assertLess(self.passed - before, 20 + 2 * times.TICK)


class TestManage(world.WorldTest):

    def run_manage(self, *argv: str) -> int:
        parser = argparse.ArgumentParser()
        manage.add_parsers(parser.add_subparsers())
        self.stdout = io.StringIO()
        with contextlib.redirect_stdout(self.stdout):
            return int(parser.parse_args(argv).action())

    def test_sync_and_version(self) -> None:
        for command in ('sync', 'version'):
            self.assertEqual(0, self.run_manage('db', command))
            self.assertIn('%s (newest: %s)' % schema.versions(),
                          self.stdout.getvalue())

    def test_another_version(self) -> None:
        with mock.patch.object(
                schema, 'versions', return_value=(None, '0001')):
            self.assertEqual(1, self.run_manage('db', 'version'))
        self.assertIn('none (newest: 0001)', self.stdout.getvalue())


class TestHelp(unittest.TestCase):

    def test_arguments_are_told_as_in_openstackclient(self) -> None:
        commands = argparse.ArgumentParser().add_subparsers()
        status.add_parsers(commands)
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
            status.add_parsers(commands)
            for parser in commands.choices.values():
                for line in parser.format_help().splitlines():
                    self.assertLessEqual(len(line), 80, line)
