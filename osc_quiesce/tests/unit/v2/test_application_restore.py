# SPDX-License-Identifier: Apache-2.0

"""What the commands of restores and mappings take, say and print."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import pathlib
import signal
import tempfile
from typing import Any
from unittest import mock
import uuid

from osc_lib import exceptions as osc_exceptions

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import points
from osc_quiesce.tests.unit.recovery import restore_base
from osc_quiesce.v2 import application_mapping
from osc_quiesce.v2 import application_restore
from osc_quiesce.v2 import application_restore_create
from osc_quiesce.v2 import base


class TestCase(restore_base.TestCase):
    """A command at the site where is restored."""

    command: type[Any]

    def setUp(self) -> None:
        super().setUp()
        self.with_signals()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / 'm.yaml').write_text(self.text)
        self.patch(cloud_api, 'Cloud', lambda connection: self.site)
        self.patch(points, 'find', self.find)

    def find(self, cloud: Any, name: str) -> points.Point:
        if name not in ('nightly', 'set-id'):
            raise errors.ApplicationError('there is no such set')
        return self.point

    def patch(self, where: Any, name: str, value: Any) -> None:
        patch = mock.patch.object(where, name, value)
        self.addCleanup(patch.stop)
        patch.start()

    def run_command(self, *argv: str) -> int:
        """Run the command as the shell does, and return its exit code."""
        app = self.app()
        app.stdout = self.stdout = io.StringIO()
        app.client_manager.sdk_connection = None
        cmd = self.command(app, None)
        self.stderr = io.StringIO()
        with contextlib.redirect_stderr(self.stderr):
            try:
                args = cmd.get_parser('openstack x').parse_args(argv)
            except SystemExit as exc:
                return int(str(exc.code))
            try:
                return int(cmd.run(args))
            except (osc_exceptions.CommandError, ValueError) as exc:
                self.errors.lines.append(str(exc))
                return 1

    def take_time(self, line: str, seconds: float) -> None:
        """Let each request that looks like this take so long."""

        def take(request: str) -> None:
            if request == line:
                self.nova.now += seconds

        self.site.hooks.append(take)

    def printed(self) -> Any:
        return json.loads(self.stdout.getvalue())

    def path(self, name: str) -> str:
        return str(self.folder / name)


class TestCreate(TestCase):
    command = application_restore_create.CreateApplicationRestore

    def create(self, *argv: str) -> int:
        return self.run_command(
            'nightly', '--mapping', self.path('m.yaml'), *argv)

    def test_the_report_has_volumes_servers_and_times(self) -> None:
        self.take_time('POST /servers', 30)  # each of two
        self.assertEqual(0, self.create('-f', 'json'), self.said)
        shown = self.printed()
        self.assertEqual(
            list(application_restore_create.REPORT_COLUMNS), list(shown))
        self.assertEqual(
            ('nightly', 'set-id', 'shop', 'consistent'),
            tuple(shown[key] for key in (
                'name', 'set_id', 'application', 'consistency')),
        )
        self.assertEqual(
            [(1, 'db', '/dev/vda', True), (1, 'db', '/dev/vdb', True),
             (2, 'web', '/dev/vda', True)],
            [tuple(row[key] for key in (
                'stage', 'server', 'device', 'verified'))
             for row in shown['volumes']],
        )
        self.assertEqual(
            [(1, 'db', 'ACTIVE'), (2, 'web', 'ACTIVE')],
            [(row['stage'], row['name'], row['status'])
             for row in shown['servers']],
        )
        self.assertEqual(
            ['volumes', 'verification', 'stage 1', 'stage 2'],
            [row['phase'] for row in shown['phases']],
        )
        self.assertGreater(self.nova.now, 60)
        self.assertEqual(round(self.nova.now, 1), shown['rto'])

    def test_people_get_tables_without_ids(self) -> None:
        self.assertEqual(0, self.create(), self.said)
        text = self.stdout.getvalue()
        self.assertRegex(text, r'stage  server  device +size  verified')
        self.assertRegex(text, r'1 +db +/dev/vda +1 +yes')
        self.assertRegex(text, r'1 +db +ACTIVE +10\.0\.0\.7')
        for id_ in 'db-vda', 't-db-vda', 'b-db-vda', 'db-id':
            self.assertNotIn(id_, text)
        self.assert_fits(text)

    def test_people_get_both_sides_server_by_server(self) -> None:
        id_, other = str(uuid.uuid4()), str(uuid.uuid4())
        row = {'stage': 1, 'server': f'db ({id_})', 'refused': ''}
        rows = [
            {**row, 'what': 'type of volume /dev/vda', 'source': 'rbd',
             'here': 'ceph'},
            {**row, 'stage': 2, 'server': f'web ({other})', 'what': 'zone',
             'source': 'nova', 'here': '', 'refused': 'it is not there'},
            {**row, 'what': 'volume', 'source': f'/dev/vda ({id_}, 100 GiB)',
             'here': f'volume {other}'},
        ]
        shown = application_restore_create.Rows(rows)
        short, also = id_[:8], other[:8]
        self.assertEqual([
            '                           source                        here',
            f'stage 1: db ({id_})',
            '  type of volume /dev/vda  rbd                           ceph',
            f'  volume                   /dev/vda ({short}, 100 GiB)  volume '
            f'{also}',
            f'stage 2: web ({other})',
            '  zone                     nova                          REFUSED',
        ], shown.human_readable().splitlines())
        self.assertEqual(rows, shown.machine_readable())
        self.assertEqual(0, self.create('--dry-run'), self.said)
        self.assertIn('stage 1: db (db-id)', self.stdout.getvalue())
        self.assert_fits(self.stdout.getvalue())

    def assert_fits(self, text: str) -> None:
        self.assertLessEqual(max(map(len, text.splitlines())), 100)

    def test_refusals_are_wrapped_for_people(self) -> None:
        self.text = '{}'
        (self.folder / 'm.yaml').write_text(self.text)
        self.assertEqual(1, self.create('--dry-run'))
        self.assertIn('REFUSED', self.stdout.getvalue())
        lines = self.stdout.getvalue().splitlines()
        at = next(n for n, line in enumerate(lines)
                  if line.startswith('| refused'))
        self.assertGreater(len(lines[at:]), 10)
        # A path without a blank is not broken.
        name = len(self.path('m.yaml'))
        self.assertLessEqual(max(map(len, lines[at:])), 100 + name)

    def test_a_dry_run_shows_both_sides(self) -> None:
        self.assertEqual(0, self.create('--dry-run', '-f', 'json'), self.said)
        shown = self.printed()
        self.assertEqual(
            list(application_restore_create.PLAN_COLUMNS), list(shown))
        self.assertIn(
            {
                'stage': 1,
                'server': 'db (db-id)',
                'what': 'flavor',
                'source': 'm1.small (1 vCPU, 512 MiB)',
                'here': 'small (1 vCPU, 512 MiB)',
                'refused': '',
            },
            shown['plan'],
        )
        self.assertEqual([], shown['refused'])
        self.assertEqual([], self.site.log)

    def test_a_dry_run_names_what_would_not_be_verified(self) -> None:
        self.site.is_admin = False
        self.assertEqual(0, self.create('--dry-run', '-f', 'json'), self.said)
        self.assertIn('They are not verified.', self.said)

    def test_a_dry_run_fails_if_something_is_refused(self) -> None:
        (self.folder / 'm.yaml').write_text('{}')
        self.assertEqual(1, self.create('--dry-run', '-f', 'json'))
        refused = [
            row['what'] for row in self.printed()['plan'] if row['refused']
        ]
        self.assertIn('flavor', refused)
        self.assertIn('network', refused)

    def test_what_is_refused_changes_nothing(self) -> None:
        (self.folder / 'm.yaml').write_text('{}')
        self.assertEqual(1, self.create())
        self.assertIn('Nothing was restored', self.said)
        self.assertIn('has no flavors."m1.small"', self.said)
        self.assertEqual([], self.site.log)

    def test_a_mapping_with_an_error_names_the_line(self) -> None:
        (self.folder / 'm.yaml').write_text('flavors: 5\n')
        self.assertEqual(1, self.create())
        self.assertIn('m.yaml, line 1: flavors: ', self.said)

    def test_options_reach_the_plan(self) -> None:
        self.assertEqual(
            0,
            self.create('--name', 'other', '--server', 'web', '--no-start',
                        '--no-verify', '-f', 'json'),
            self.said,
        )
        shown = self.printed()
        self.assertEqual('other', shown['name'])
        self.assertEqual(
            ['web'], [row['server'] for row in shown['volumes']])
        self.assertEqual(([], False), (
            shown['servers'], shown['volumes'][0]['verified']))

    def test_a_failure_says_that_the_same_command_goes_on(self) -> None:
        self.site.restores_to = ['error_restoring']
        self.assertEqual(1, self.create('--parallel', '1'))
        self.assertIn('The same command again tries it again.', self.said)

    def test_a_difference_is_said(self) -> None:
        self.site.damage = lambda volume: volume.update(data='x')
        self.assertEqual(1, self.create())
        self.assertIn('DIFFERS', self.said)
        self.assertEqual({}, self.site.servers)

    def test_without_rights_it_is_said_that_nothing_is_verified(self) -> None:
        self.site.is_admin = False
        with self.assertLogs('osc_quiesce', 'WARNING') as logs:
            self.assertEqual(0, self.create('-f', 'json'), self.said)
        self.assertIn('They are not verified', str(logs.output))
        self.assertEqual(
            {False}, {row['verified'] for row in self.printed()['volumes']})

    def test_proofs_that_were_interrupted_are_put_right_first(self) -> None:
        left = self.site.add_backup(
            't-db-vda', 'newer', status='error', metadata=metadata.ours(
                {'backup_set_id': 's', marks.HIDDEN_BY: 'b-db-vda'}))
        self.assertEqual(0, self.create('--dry-run'), self.said)
        self.assertEqual('error', self.site.backup_rows[left]['status'])
        self.assertEqual(0, self.create('--no-verify'), self.said)
        self.assertEqual('available', self.site.backup_rows[left]['status'])

    def test_proofs_of_other_restores_go_on(self) -> None:
        restore_base.take(self.target('db-vda'))
        hidden = self.site.add_backup(
            't-db-vda', 'newer', status='error', metadata=metadata.ours(
                {'backup_set_id': 's', marks.HIDDEN_BY: 'b-db-vda'}))
        made = self.site.add_backup(
            't-db-vda', 'x', status='creating', parent_id='b-db-vda',
            metadata=metadata.ours({marks.PROOF_OF: 'b-db-vda'}))
        before = copy.deepcopy(
            [self.site.backup_rows[id_] for id_ in (hidden, made)])
        self.assertEqual(1, self.create())
        self.assertIn('has the data of restore other (x)', self.said)
        self.assertEqual(before, [
            self.site.backup_rows.get(id_) for id_ in (hidden, made)])

    def test_proofs_of_other_applications_go_on(self) -> None:
        self.site.add_volume(id='other')
        hidden = self.site.add_backup(
            'other', 'newer', status='error', metadata=metadata.ours(
                {'backup_set_id': 's', marks.HIDDEN_BY: 'older'}))
        made = self.site.add_backup(
            'other', 'x', status='creating',
            metadata=metadata.ours({marks.PROOF_OF: 'older'}))
        before = copy.deepcopy(
            [self.site.backup_rows[id_] for id_ in (hidden, made)])
        self.assertEqual(0, self.create(), self.said)
        self.assertEqual(before, [
            self.site.backup_rows.get(id_) for id_ in (hidden, made)])

    def test_a_signal_tears_nothing_down(self) -> None:
        def interrupt(line: str) -> None:
            if line.endswith('/restore'):
                self.site.hooks.clear()
                os.kill(os.getpid(), signal.SIGTERM)

        self.site.hooks.append(interrupt)
        self.assertEqual(143, self.create())
        self.assertIn('the same command again continues', self.said)
        self.assertEqual(3, len(self.site.volumes))
        self.assertEqual(0, self.create(), self.said)

    def test_an_unknown_column_is_refused_before_the_work(self) -> None:
        self.assertNotEqual(0, self.create('-c', 'no_such'))
        self.assertEqual([], self.site.log)

    def test_bad_options(self) -> None:
        for argv in (
            ('--timeout', '0'),
            ('--parallel', '0'),
            ('--failed-at', 'yesterday'),
            ('--verify-all', '--no-verify'),
        ):
            with self.subTest(argv):
                self.assertEqual(2, self.create(*argv))
        self.assertEqual(2, self.create('--name', 'x' * 256))
        self.assertEqual([], self.site.log)

    def test_the_rpo_ends_at_the_failure(self) -> None:
        self.assertEqual(
            0,
            self.create('--failed-at', '2026-01-01T00:01:40Z', '-f', 'json'),
            self.said,
        )
        self.assertEqual(100.0, self.printed()['rpo'])

    def test_a_cloud_that_is_not_configured_is_named(self) -> None:
        self.patch(
            base.openstack, 'connect',
            mock.Mock(side_effect=OSError('no such cloud')),
        )
        self.assertEqual(1, self.create('--from-cloud', 'siteA'))
        self.assertIn('Cloud siteA cannot be used: no such cloud', self.said)


class TestOthers(TestCase):
    command = application_restore.ListApplicationRestore

    def run_other(self, command: type[Any], *argv: str) -> int:
        self.command = command  # type: ignore[misc]
        return self.run_command(*argv)

    def test_list(self) -> None:
        self.restore()
        self.assertEqual(0, self.run_command('-f', 'json'), self.said)
        (row,) = self.printed()
        self.assertEqual(
            ('nightly', 'shop', 'complete', 3, 3, 2),
            tuple(row[key] for key in (
                'Name', 'Application', 'Status', 'Volumes', 'Verified',
                'Servers')),
        )

    def test_show(self) -> None:
        self.restore()
        self.assertEqual(
            0,
            self.run_other(
                application_restore.ShowApplicationRestore,
                'nightly', '-f', 'json',
            ),
            self.said,
        )
        shown = self.printed()
        self.assertEqual(
            ['db-vda', 'db-vdb', 'web-vda'],
            sorted(row['source_id'] for row in shown['volumes']),
        )
        self.assertEqual(
            [(1, 'db'), (2, 'web')],
            [(row['stage'], row['name']) for row in shown['servers']],
        )
        self.assertEqual(0, self.run_other(
            application_restore.ShowApplicationRestore, 'nightly'))
        text = self.stdout.getvalue()
        self.assertRegex(text, 'name +id +status +verified')
        self.assertIn('t-db-vda', text)
        self.assertNotIn('b-db-vda', text)

    def test_delete(self) -> None:
        self.restore()
        delete = application_restore.DeleteApplicationRestore
        self.assertEqual(0, self.run_other(delete, 'nightly'), self.said)
        self.assertEqual({}, self.site.servers)
        self.assertEqual(1, self.run_other(delete, 'nightly', 'other'))
        self.assertIn('It may already have been deleted', self.said)
        self.assertIn('2 of 2 restores failed to delete', self.said)


class TestMapping(TestCase):
    command = application_mapping.CreateApplicationMapping

    def create(self, *argv: str) -> int:
        return self.run_command(
            'nightly', '--output', self.path('new.yaml'), *argv)

    def test_a_file_is_written_with_gaps(self) -> None:
        self.assertEqual(0, self.create('-f', 'json'), self.said)
        shown = self.printed()
        self.assertEqual(
            ['flavors.m1.small', 'networks.a-net', 'volume_types.rbd'],
            shown['empty'],
        )
        text = (self.folder / 'new.yaml').read_text()
        self.assertIn('# Mapping of application shop,\n', text)

    def test_no_file_is_written_over(self) -> None:
        (self.folder / 'new.yaml').write_text('mine')
        self.assertEqual(1, self.create())
        self.assertIn('exists already, and was not changed', self.said)
        self.assertEqual('mine', (self.folder / 'new.yaml').read_text())

    def test_a_file_that_cannot_be_written_is_named(self) -> None:
        self.assertEqual(
            1, self.run_command('nightly', '--output', '/no/such/file'))
        self.assertIn('/no/such/file cannot be written', self.said)

    def test_the_set_may_be_at_another_site(self) -> None:
        other = restore_base.FakeSite()
        asked = []

        def find(cloud: Any, name: str) -> points.Point:
            asked.append(cloud)
            return self.point

        self.patch(points, 'find', find)
        self.patch(
            base, 'connect', lambda name: other)
        self.assertEqual(0, self.create('--from-cloud', 'siteA'), self.said)
        self.assertEqual([other], asked)
