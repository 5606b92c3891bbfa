# SPDX-License-Identifier: Apache-2.0

"""What the commands of backups take, say and print."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import pathlib
import signal
import tempfile
from types import SimpleNamespace
from typing import Any
from unittest import mock

from osc_lib import exceptions as osc_exceptions

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import metadata
from osc_quiesce.cli import interrupts
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import bundles
from osc_quiesce.recovery import retention
from osc_quiesce.tests.unit import fakes
from osc_quiesce.tests.unit.recovery import backup_base
from osc_quiesce.v2 import application_backup as commands
from osc_quiesce.v2 import application_backup_create
from osc_quiesce.v2 import application_backup_records
from osc_quiesce.v2 import base


class TestCase(backup_base.TestCase):
    """A command at site A; cloud "B" in clouds.yaml is site B."""

    command: type[Any]
    is_terminal = False

    def setUp(self) -> None:
        super().setUp()
        self.here: Any = self.a
        self.patch(cloud_api, 'Cloud', lambda connection: self.here)
        self.patch(
            base, 'connect', lambda name: self.other
        )
        self.patch(
            interrupts.Interrupts,
            'sleep',
            lambda interrupts, seconds: self.sleep(interrupts, seconds),
        )
        # Or the signal would end the tests.
        self.patch(
            interrupts, 'end', lambda exit_code, is_interactive: exit_code
        )
        self.folder = self.enterContext(tempfile.TemporaryDirectory())

    def patch(self, where: Any, name: str, value: Any) -> None:
        patch = mock.patch.object(where, name, value)
        self.addCleanup(patch.stop)
        patch.start()

    def sleep(self, noted: interrupts.Interrupts, seconds: float) -> None:
        noted.check()
        self.clock.sleep(seconds)
        noted.check()

    def run_command(self, *argv: str) -> int:
        """Run the command as the shell does, and return its exit code."""
        app = mock.Mock()
        app.options.verbose_level = 1
        app.stdout = self.stdout = io.StringIO()
        client = SimpleNamespace(
            with_sleep=lambda sleep: SimpleNamespace(
                timer=type(self.timer)(self.clock, sleep)
            )
        )
        app.client_manager.server_quiesce = client
        cmd = self.command(app, None)
        self.stderr = fakes.Stderr(self.is_terminal)
        with (
            contextlib.redirect_stderr(self.stderr),
            self.assertLogs('osc_quiesce', level='ERROR') as logs,
        ):
            commands.LOG.error('-')  # there must be one line
            self.said = logs.output
            try:
                args = cmd.get_parser('openstack x').parse_args(argv)
            except SystemExit as exc:
                return int(str(exc.code))
            try:
                return int(cmd.run(args))
            except osc_exceptions.CommandError as exc:
                self.said.append(str(exc))
                return 1
            except ValueError:  # of cliff: a column that is not there
                return 1

    def path(self, name: str) -> str:
        return str(pathlib.Path(self.folder) / name)

    def errors(self) -> str:
        return '\n'.join(self.said)

    def printed(self) -> Any:
        return json.loads(self.stdout.getvalue())


class CreateTest(TestCase):
    command = application_backup_create.CreateApplicationBackup

    def test_the_set_is_shown_with_all_backups(self) -> None:
        code = self.run_command('monday', '-f', 'json')
        self.assertEqual(0, code, self.errors())
        made = self.printed()
        self.assertEqual(list(commands.SHOW_COLUMNS), list(made))
        self.assertEqual('consistent', made['consistency'])
        self.assertEqual(3, made['backups_wanted'])
        self.assertEqual(
            [('db', '/dev/vda', 'full', 1, 'available')]
            + [('db', '/dev/vdb', 'full', 3, 'available')]
            + [('web', '/dev/vda', 'full', 2, 'available')],
            [
                tuple(
                    each[key]
                    for key in ('server', 'device', 'mode', 'size', 'status')
                )
                for each in made['backups']
            ],
        )
        self.assertEqual(['db', 'web'], [s['name'] for s in made['servers']])

    def test_people_get_a_summary(self) -> None:
        self.assertEqual(0, self.run_command('monday'), self.errors())
        text = self.stdout.getvalue()
        self.assertIn('1. db (id-db), flavor tiny', text)
        self.assertRegex(text, 'server  device    mode  status     backup id')
        backup = self.find().backups[0]['id']
        self.assertRegex(text, f'db +/dev/vda +full +available +{backup}')
        # In a cloud IDs are longer, and so is "incremental".
        more = 36 - len(backup) + len('incremental') - len('full')
        self.assertLessEqual(max(map(len, text.splitlines())) + more, 100)

    def test_options_reach_the_backups(self) -> None:
        self.create()
        self.take('tuesday')
        code = self.run_command(
            'tuesday', '--name', 'weekly', '--full', '--container', 'shop',
            '--parallel', '1', '-f', 'json',
        )
        self.assertEqual(0, code, self.errors())
        self.assertEqual(('weekly', 'full'), (
            self.printed()['name'], self.printed()['mode']))
        made = self.find('weekly')
        self.assertEqual({'shop'}, {b['container'] for b in made.backups})

    def test_a_dry_run_shows_the_plan_and_does_nothing(self) -> None:
        self.create()
        self.take('tuesday')
        self.a.volumes['db-vdb']['size'] = 4
        self.a.log.clear()
        code = self.run_command('tuesday', '--dry-run', '-f', 'json')
        self.assertEqual(0, code, self.errors())
        self.assertEqual(
            [
                ('db-vda', 1, 'incremental', 'number 2 of a chain'),
                ('db-vdb', 4, 'full',
                 'the volume has grown from 3 to 4 GiB'),
                ('web-vda', 2, 'incremental', 'number 2 of a chain'),
            ],
            [
                tuple(e[k] for k in ('volume_id', 'size', 'mode', 'why'))
                for e in self.printed()['backups']
            ],
        )
        self.assertEqual(
            [], [x for x in self.a.log if not x.startswith('GET')]
        )

    def test_a_dry_run_shows_all_refusals_and_fails(self) -> None:
        self.a.services = []
        self.a.volumes['db-vdb']['encrypted'] = True
        self.assertEqual(
            1, self.run_command('monday', '--dry-run', '-f', 'json')
        )
        self.assertEqual(2, len(self.printed()['refused']))

    def test_what_is_refused_is_not_begun(self) -> None:
        self.a.services = []
        self.assertEqual(1, self.run_command('monday'))
        self.assertIn('No cinder-backup', self.errors())
        self.assertIn('No backup was made.', self.errors())
        self.assertEqual([], self.a.posts())

    def test_it_is_registered_at_the_other_site(self) -> None:
        code = self.run_command(
            'monday', '--to-cloud', 'B', '--no-target-volumes', '-f', 'json'
        )
        self.assertEqual(0, code, self.errors())
        self.assertEqual('B', self.printed()['registered'])
        self.assertEqual(
            backup_sets.CONSISTENT, self.find(site=self.other).state
        )

    def test_a_registration_that_failed_is_not_forgotten(self) -> None:
        self.b.import_fates = ['', 'the store is away']
        self.assertEqual(1, self.run_command(
            'monday', '--to-cloud', 'B', '--no-target-volumes'))
        found = self.find()
        self.assertEqual(('', 'B'), (found.registered, found.known_at))

    def test_a_bundle_is_written(self) -> None:
        path = self.path('bundle')
        code = self.run_command('monday', '--bundle', path)
        self.assertEqual(0, code, self.errors())
        self.assertEqual(
            backup_sets.CONSISTENT, bundles.load(path).backup_set.state
        )

    def test_a_bundle_that_cannot_be_written_is_told_first(self) -> None:
        self.assertEqual(
            1, self.run_command('monday', '--bundle', self.path('x/y'))
        )
        self.assertEqual([], self.a.posts())

    def test_snapshots_are_deleted_once_it_is_sealed(self) -> None:
        code = self.run_command('monday', '--delete-snapshots')
        self.assertEqual(0, code, self.errors())
        self.assertEqual({}, self.a.made)
        # and the same command again has nothing to do
        code = self.run_command('monday', '--delete-snapshots')
        self.assertEqual(0, code, self.errors())

    def test_snapshots_stay_if_it_is_not(self) -> None:
        self.a.fates = ['the disk is full']
        self.assertEqual(1, self.run_command('monday', '--delete-snapshots'))
        self.assertEqual(3, len(self.a.made))

    def test_progress_is_told_on_a_terminal_only(self) -> None:
        self.assertEqual(0, self.run_command('monday'))
        self.assertEqual('', self.stderr.getvalue())
        self.is_terminal = True
        self.assertEqual(0, self.run_command('monday', '--name', 'again'))
        self.assertIn('3 of 3 backups, 6 of 6 GiB', self.stderr.getvalue())

    def test_nonsense_is_refused_before_anything_is_asked(self) -> None:
        for argv in (
            [],
            ['monday', '--full', '--full-every', '3'],
            ['monday', '--full-every', '0'],
            ['monday', '--parallel', '0'],
            ['monday', '--timeout', '-1'],
            ['monday', '-c', 'colour'],
            ['monday', '--to-cloud', 'B'],
            ['monday', '--to-cloud', 'B', '--no-target-volumes',
             '--mapping', 'x'],
            ['monday', '--to-cloud', 'B', '--mapping', '/nowhere'],
        ):
            with self.subTest(argv):
                self.assertNotEqual(0, self.run_command(*argv))
        self.assertEqual([], self.a.log)

    def test_a_signal_stops_it_and_says_what_goes_on(self) -> None:
        self.clock.after(5, lambda: signal.raise_signal(signal.SIGTERM))
        self.patch(interrupts.os, 'write', lambda fd, data: len(data))
        self.assertEqual(143, self.run_command('monday'))
        self.assertIn('the same command again continues', self.errors())
        self.assertEqual(3, len(self.a.rows))
        code = self.run_command('monday')
        self.assertEqual(0, code, self.errors())
        self.assertEqual(3, len(self.a.posts()))


class ListTest(TestCase):
    command = commands.ListApplicationBackup

    def test_sets_are_listed(self) -> None:
        self.create(destination=self.destination())
        self.assertEqual(0, self.run_command('-f', 'json'), self.errors())
        listed = self.printed()
        self.assertEqual([list(commands.LIST_COLUMNS)], [
            list(each) for each in listed
        ])
        self.assertEqual(
            ('monday', 'shop', 'consistent', 3),
            tuple(
                listed[0][key]
                for key in ('Name', 'Application', 'Consistency', 'Backups')
            ),
        )

    def test_they_are_listed_at_the_other_site_as_well(self) -> None:
        self.create(destination=self.destination())
        self.here = self.b
        self.assertEqual(0, self.run_command('--long', '-f', 'json'))
        self.assertEqual(
            ('monday', 'consistent', 'full', 6, 'project-a'),
            tuple(
                self.printed()[0][key]
                for key in ('Name', 'Consistency', 'Mode', 'Size', 'Owner')
            ),
        )

    def test_those_of_one_application(self) -> None:
        self.create()
        self.assertEqual(
            0, self.run_command('--application', 'other', '-f', 'json')
        )
        self.assertEqual([], self.printed())


class ShowTest(TestCase):
    command = commands.ShowApplicationBackup

    def test_a_set_is_shown_at_the_other_site_as_well(self) -> None:
        self.create(destination=self.destination())
        shown = []
        for site in (self.a, self.b):
            self.here = site
            self.assertEqual(0, self.run_command('monday', '-f', 'json'))
            shown.append(self.printed())
        self.assertEqual(shown[0]['servers'], shown[1]['servers'])
        self.assertEqual(shown[0]['backups'], shown[1]['backups'])

    def test_a_set_that_is_not_there(self) -> None:
        self.assertEqual(1, self.run_command('monday'))
        self.assertIn('No backup set', self.errors())


class DeleteTest(TestCase):
    command = commands.DeleteApplicationBackup

    def setUp(self) -> None:
        super().setUp()
        clock = mock.Mock()
        clock.datetime.now.return_value = datetime.datetime(
            2030, 1, 1, tzinfo=datetime.UTC)
        self.patch(retention, 'datetime', clock)
        self.create(destination=self.destination())

    def test_a_set_is_deleted(self) -> None:
        self.assertEqual(
            0, self.run_command('monday', '--other-site-is-gone'),
            self.errors())
        self.assertEqual({}, self.a.rows)
        self.assertEqual(3, len(self.b.rows))

    def test_and_its_rows_at_the_other_site(self) -> None:
        self.assertEqual(
            0, self.run_command('monday', '--to-cloud', 'B'), self.errors()
        )
        self.assertEqual({}, self.b.rows)

    def test_nothing_goes_until_the_other_site_is_named(self) -> None:
        self.take('tuesday')
        self.create('tuesday', full_every=1, destination=self.destination())
        for argv in (['monday'], ['monday', '--dry-run'],
                     ['--application', 'shop', '--keep-last', '1']):
            with self.subTest(argv):
                self.assertEqual(1, self.run_command(*argv))
                self.assertIn('may be registered at B', self.errors())
                self.assertEqual(6, len(self.store))
        self.assertEqual(1, self.run_command(
            'monday', '--to-cloud', 'B', '--other-site-is-gone'))
        self.assertIn('give one of them', self.errors())
        self.assertEqual(6, len(self.store))

    def test_this_site_is_no_other_one(self) -> None:
        self.other = self.a
        self.assertEqual(1, self.run_command('monday', '--to-cloud', 'A'))
        self.assertIn('Cloud A is this site', self.errors())
        self.assertEqual(3, len(self.store))

    def test_warnings_are_told_and_are_no_failure(self) -> None:
        self.take('tuesday')
        self.create('tuesday', full_every=1, destination=self.destination())
        for row in self.b.rows.values():
            if row['snapshot_id'].startswith('s-monday'):
                row['status'] = 'restoring'
        with mock.patch.object(commands.LOG, 'warning') as warning:
            self.assertEqual(0, self.run_command(
                '--application', 'shop', '--keep-last', '1', '--to-cloud',
                'B'))
        self.assertIn('is not deleted while it is needed at the other site',
                      warning.call_args.args[1])

    def test_a_dry_run_unseals_nothing(self) -> None:
        self.run_command('monday', '--to-cloud', 'B', '--dry-run')
        self.assertEqual(
            backup_sets.CONSISTENT, self.find(site=self.other).state)

    def test_a_dry_run_deletes_nothing(self) -> None:
        self.assertEqual(0, self.run_command(
            'monday', '--to-cloud', 'B', '--dry-run'))
        self.assertEqual(3, len(self.stdout.getvalue().splitlines()))
        self.assertEqual(3, len(self.a.rows))

    def test_it_shows_what_only_the_other_site_has(self) -> None:
        self.a.rows.clear()
        self.assertEqual(0, self.run_command(
            'monday', '--to-cloud', 'B', '--dry-run'))
        for id_ in self.b.rows:
            self.assertIn(f'Only at B: backup {id_}\n',
                          self.stdout.getvalue())

    def test_another_site_refuses(self) -> None:
        self.here = self.b
        self.assertEqual(1, self.run_command('monday'))
        self.assertIn('was made at another site', self.errors())
        self.assertIn('Nothing was deleted.', self.errors())
        self.assertEqual(3, len(self.store))
        self.assertEqual(0, self.run_command('monday', '--owner-is-gone'))
        self.assertEqual(set(), self.store)

    def test_the_last_ones_can_be_kept(self) -> None:
        self.take('tuesday')
        self.create('tuesday', full_every=1, destination=self.destination())
        code = self.run_command(
            '--application', 'shop', '--keep-last', '1', '--to-cloud', 'B')
        self.assertEqual(0, code, self.errors())
        self.assertEqual(
            ['tuesday'],
            [each.name for each in backup_sets.find_all(self.cloud)],
        )

    def test_nonsense_is_refused(self) -> None:
        for argv in (
            [],
            ['--application', 'shop'],
            ['--keep-last', '0', 'monday'],
        ):
            with self.subTest(argv):
                self.assertNotEqual(0, self.run_command(*argv))
        self.assertEqual(3, len(self.a.rows))


class RecordsTest(TestCase):
    command: type[Any] = application_backup_records.ExportApplicationBackup

    def setUp(self) -> None:
        super().setUp()
        self.create()

    def export(self) -> str:
        path = self.path('bundle')
        code = self.run_command('monday', '--output', path, '-f', 'json')
        self.assertEqual(0, code, self.errors())
        self.assertEqual(3, self.printed()['records'])
        return path

    def import_(self, *argv: str) -> int:
        self.command = application_backup_records.ImportApplicationBackup
        self.here = self.b
        return self.run_command(*argv, '-f', 'json')

    def test_a_set_goes_to_another_site_in_a_file(self) -> None:
        path = self.export()
        self.a.rows.clear()
        code = self.import_(path, '--no-target-volumes')
        self.assertEqual(0, code, self.errors())
        self.assertEqual('consistent', self.printed()['consistency'])

    def test_a_dry_run_imports_nothing(self) -> None:
        code = self.import_(self.export(), '--no-target-volumes', '--dry-run')
        self.assertEqual(0, code, self.errors())
        self.assertEqual(
            (3, 6),
            tuple(
                self.printed()[key]
                for key in ('records_missing', 'size_missing')
            ),
        )
        self.assertEqual({}, self.b.rows)

    def test_what_is_refused_is_not_begun(self) -> None:
        self.b.services = []
        self.assertEqual(
            1, self.import_(self.export(), '--no-target-volumes')
        )
        self.assertIn('Nothing was imported.', self.errors())
        self.assertEqual({}, self.b.rows)

    def test_there_must_be_a_mapping_or_none(self) -> None:
        self.assertEqual(1, self.import_(self.export()))
        self.assertIn('--no-target-volumes is needed', self.errors())

    def test_a_set_that_is_not_whole_is_not_exported(self) -> None:
        self.a.rows.popitem()
        self.assertEqual(
            1, self.run_command('monday', '--output', self.path('b'))
        )
        self.assertIn('is incomplete', self.errors())

    def test_nor_is_one_that_is_not_sealed(self) -> None:
        for row in self.a.rows.values():
            row['metadata'].update(metadata.ours({'sealed': ''}))
        path = self.path('b')
        self.assertEqual(1, self.run_command('monday', '--output', path))
        self.assertIn('is pending: finish it first', self.errors())
        self.assertFalse(os.path.exists(path))
