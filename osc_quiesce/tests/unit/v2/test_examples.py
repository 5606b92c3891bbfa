# SPDX-License-Identifier: Apache-2.0

"""Each example of the command-line reference prints what it shows.

An example is a file: a command behind "$", and its output. The clouds are the
ones of the unit tests, so most IDs are shorter than those of a cloud. If the
environment variable RECORD_EXAMPLES is set, the outputs are written into the
files instead. The same output as JSON is in a second file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import datetime
import io
import itertools
import json
import os
import pathlib
import re
import shlex
from typing import Any
import unittest
from unittest import mock
import uuid

from cliff import lister
from cliff.formatters import json_format

from osc_quiesce import model
from osc_quiesce.recovery import points
from osc_quiesce.tests.unit.application import test_manifest
from osc_quiesce.tests.unit.recovery import restore_base
from osc_quiesce.tests.unit.recovery import test_drill as drill
from osc_quiesce.tests.unit.v2 import test_application_snapshot
from osc_quiesce.tests.unit.v2 import test_application_backup
from osc_quiesce.tests.unit.v2 import test_application_backup_verify
from osc_quiesce.tests.unit.v2 import test_application_protection
from osc_quiesce.tests.unit.v2 import test_application_restore
from osc_quiesce.tests.unit.v2 import test_server
from osc_quiesce.v2 import application_snapshot
from osc_quiesce.v2 import application_backup
from osc_quiesce.v2 import application_backup_create
from osc_quiesce.v2 import application_backup_records
from osc_quiesce.v2 import application_backup_verify
from osc_quiesce.v2 import application_snapshot_create
from osc_quiesce.v2 import application_drill
from osc_quiesce.v2 import application_mapping
from osc_quiesce.v2 import application_protection
from osc_quiesce.v2 import application_restore
from osc_quiesce.v2 import application_restore_create
from osc_quiesce.v2 import base
from osc_quiesce.v2 import server

EXAMPLES = pathlib.Path(__file__).parents[4] / 'doc/source/cli/examples'
SAMPLES = EXAMPLES.parents[1] / 'samples'
RECORD = 'RECORD_EXAMPLES'
#: what differs each time: times of day, seconds, the version
VARIES = re.compile(
    r'\d{4}-\d\d-\d\dT[\d:.]+Z?|\d+\.\d+(\.[.\w]+)?|(?<="age": )\d+')


class Mixin(unittest.TestCase):
    """Runs the examples of one noun, in a cloud of the unit tests."""

    command: Any
    stdout: Any
    run_command: Any

    def setUp(self) -> None:
        numbers = itertools.count()
        patch = mock.patch.object(uuid, 'uuid4', lambda: uuid.uuid5(
            uuid.NAMESPACE_DNS, str(next(numbers))))
        patch.start()
        self.addCleanup(patch.stop)
        super().setUp()

    def example(self, name: str, command: type[Any], *words: str,
                has_json: bool = True) -> None:
        """Run an example, and compare what it prints.

        :param words: with which the command begins
        :param has_json: whether it prints the same as JSON
        """
        path = EXAMPLES / f'{name}.txt'
        typed, _newline, shown = path.read_text().partition('\n')
        self.assertIn(' '.join(words), typed)
        argv = shlex.split(typed.removeprefix('$ '))
        argv = argv[argv.index(words[-1]) + 1:]
        self.command = command
        as_json = io.StringIO()
        with self.also_as_json(command, as_json):
            code = self.run_command(*argv)
        self.assertEqual(0, code, typed)
        self.compare(path, f'{typed}\n', shown, self.stdout.getvalue())
        if has_json and as_json.getvalue():
            self.compare_json(name, as_json.getvalue())

    def plan_of(self, command: type[Any], name: str) -> None:
        """Compare what an example prints as JSON with --dry-run."""
        typed = (EXAMPLES / f'{name}.txt').read_text().partition('\n')[0]
        argv = shlex.split(typed)
        argv = argv[argv.index('create') + 1:]
        self.command = command
        self.assertEqual(0, self.run_command(*argv, '--dry-run', '-f', 'json'))
        self.compare_json(f'{name}-dry-run', self.stdout.getvalue())

    @staticmethod
    @contextlib.contextmanager
    def also_as_json(command: type[Any],
                     stream: io.StringIO) -> Iterator[None]:
        """Let a command also print what it prints with -f json."""
        usual = getattr(command, 'produce_output', None)

        def produce_output(self: Any, parsed_args: Any, names: Any,
                           data: Any) -> Any:
            data = list(data)
            formatter = json_format.JSONFormatter()
            emit = (formatter.emit_list if isinstance(self, lister.Lister)
                    else formatter.emit_one)
            emit(names, data, stream, parsed_args)
            assert usual is not None
            return usual(self, parsed_args, names, data)

        with mock.patch.object(
                command, 'produce_output', produce_output, create=True):
            yield

    def compare_json(self, name: str, printed: str) -> None:
        self.compare_text(EXAMPLES / f'{name}.json', printed)

    def compare_text(self, path: pathlib.Path, printed: str) -> None:
        shown = path.read_text() if path.exists() else ''
        # What is as wide as before in a table is not in JSON.
        self.compare(path, '', shown, re.sub(
            r'0\.0\.1\.dev\d+', '1.0.0', printed))

    def compare_sample(self, name: str, resource: Mapping[str, Any]) -> None:
        """Compare what Cinder holds with what the documentation shows."""
        path = SAMPLES / f'{name}.json'
        kept = {key: resource[key] for key in (
            'id', 'name', 'description', 'status', 'size', 'object_count',
            'created_at', 'volume_id', 'snapshot_id', 'is_incremental',
            'metadata'
        ) if key in resource}
        self.compare_text(path, json.dumps(kept, indent=4) + '\n')

    def compare(self, path: pathlib.Path, typed: str, shown: str,
                printed: str) -> None:
        printed = re.sub(r'0\.0\.1\.dev\d+', self.release, printed)
        if os.environ.get(RECORD):
            path.write_text(typed + printed)
        else:
            self.assertEqual(
                self.lasting(shown), self.lasting(printed),
                f'{path}: {RECORD}=1 records it again')

    @staticmethod
    def release(version: re.Match[str]) -> str:
        """Return the first release, as wide as the version that is run."""
        return '1.0.0'.ljust(len(version[0]))

    @staticmethod
    def lasting(text: str) -> str:
        """Return what is the same each time, whatever its width."""
        return re.sub('[ -]+', ' ', VARIES.sub('~', text))


class TestServer(Mixin, test_server.TestCase):
    def setUp(self) -> None:
        super().setUp()
        for name in ('db', 'app', 'web'):
            self.nova.add(name)

    def test_quiesce_and_unquiesce(self) -> None:
        self.example(
            'server-quiesce', server.QuiesceServer, 'server', 'quiesce')
        self.example(
            'quiesced-server-list', server.ListQuiescedServer,
            'quiesced', 'server', 'list')
        self.example(
            'server-unquiesce', server.UnquiesceServer, 'server', 'unquiesce')


class TestSnapshot(Mixin, test_application_snapshot.TestCase):
    WORDS = ('application', 'snapshot')

    def setUp(self) -> None:
        super().setUp()
        # With --server, the application has the name of the set.
        self.plan = dataclasses.replace(
            self.plan, name='before-upgrade', application='before-upgrade')
        self.cinder.hooks.append(self.take_time)
        for each in self.plan.servers:
            each.restore['metadata'].update(note='short')

    def take_time(self, line: str) -> None:
        if line == 'POST /snapshots':
            self.nova.now += 0.2

    def test_snapshots(self) -> None:
        for verb, command in (
            ('create', application_snapshot_create.CreateApplicationSnapshot),
            ('list', application_snapshot.ListApplicationSnapshot),
            ('show', application_snapshot.ShowApplicationSnapshot),
            ('delete', application_snapshot.DeleteApplicationSnapshot),
        ):
            self.example(
                f'application-snapshot-{verb}', command, *self.WORDS, verb)
            if verb == 'create':
                self.compare_sample(
                    'snapshot-of-set', self.cinder.made['s-db-vda'])

    def test_plan(self) -> None:
        self.plan_of(application_snapshot_create.CreateApplicationSnapshot,
                     'application-snapshot-create')


class TestRecord(Mixin, test_manifest.TestCase):
    def test_all_that_is_recorded_of_a_server(self) -> None:
        self.boot_from_image(self.web, 'tiny')
        self.cloud.images['tiny'] = {
            'id': 'tiny', 'name': 'Tiny', 'hw_qemu_guest_agent': 'yes'}
        self.give_addresses(self.web)
        self.show_interfaces(self.web)
        self.show_ports(self.web)
        self.web.shown.update({
            'server_groups': ['g1'], 'key_name': 'ops', 'tags': ['blue'],
            'description': 'front end', 'metadata': {'role': 'web'},
            'OS-EXT-AZ:availability_zone': 'az1',
            'OS-EXT-SRV-ATTR:hostname': 'web-1',
            'scheduler_hints': {'group': ['g1']},
            'flavor': {
                'original_name': 'small', 'vcpus': 1, 'ram': 512, 'disk': 1,
                'ephemeral': 0, 'swap': 64, 'extra_specs': {}}})
        self.nova.more['/os-server-groups'] = {'server_groups': [
            {'id': 'g1', 'name': 'apart', 'policy': 'anti-affinity'}]}
        self.nova.more['/flavors'] = {'flavors': [
            {'id': '8', 'name': 'small'}]}
        self.compare_text(SAMPLES / 'server-of-set.json', json.dumps(
            self.recorded(allow_local_disk=True), indent=2) + '\n')


class TestBackup(Mixin, test_application_backup.TestCase):
    WORDS = ('application', 'backup')

    def setUp(self) -> None:
        super().setUp()
        self.enterContext(contextlib.chdir(self.folder))

    def test_backups(self) -> None:
        for verb, command in (
            ('create', application_backup_create.CreateApplicationBackup),
            ('list', application_backup.ListApplicationBackup),
            ('show', application_backup.ShowApplicationBackup),
            ('export', application_backup_records.ExportApplicationBackup),
            ('import', application_backup_records.ImportApplicationBackup),
            ('delete', application_backup.DeleteApplicationBackup),
        ):
            self.here = self.b if verb == 'import' else self.a
            self.example(
                f'application-backup-{verb}', command, *self.WORDS, verb)
            if verb == 'create':
                self.compare_sample('backup-of-set', next(
                    each for each in self.a.backups()
                    if each['volume_id'] == 'db-vda'))


class TestVerify(Mixin, test_application_backup_verify.TestCase):
    def test_verification(self) -> None:
        self.enterContext(contextlib.chdir(self.folder))
        self.example(
            'application-backup-verify',
            application_backup_verify.VerifyApplicationBackup,
            'application', 'backup', 'verify')


class TestProtection(Mixin, test_application_protection.TestCase):
    def test_protection(self) -> None:
        days = 24 * test_application_protection.HOUR
        self.age('monday', 7 * test_application_protection.HOUR)
        now = datetime.datetime.now(datetime.UTC)
        past = model.utc_text(now - datetime.timedelta(seconds=5.1 * days))
        self.write('monday', verified=past, drilled_at=past, drill='ok',
                   drill_rto='243')
        self.example(
            'application-protection-show',
            application_protection.ShowApplicationProtection,
            'application', 'protection', 'show', has_json=False)
        # Only the table has other columns.
        self.command = application_protection.ShowApplicationProtection
        self.assertEqual(0, self.run_command('-f', 'json'))
        self.compare_json(
            'application-protection-show', self.stdout.getvalue())


class AtB(Mixin, test_application_restore.TestCase):
    """Site B, with addresses and an ID of the set as those of a cloud."""

    def setUp(self) -> None:
        super().setUp()
        build = self.site._build

        def with_address(wanted: dict[str, Any]) -> dict[str, Any]:
            made = build(wanted)
            made['addresses'] = {'net': [
                {'addr': f'10.0.0.{6 + len(self.site.servers)}'}]}
            return made

        self.site._build = with_address  # type: ignore[method-assign]
        # Site A has lost its servers.
        self.patch(base, 'connect', lambda name: restore_base.FakeSite())

    def find(self, cloud: Any, name: str) -> points.Point:
        self.assertIn(name, ('shop-1', self.point.id))
        return self.point

    @property
    def point(self) -> points.Point:
        return dataclasses.replace(
            super().point, name='shop-1',
            id=str(uuid.uuid5(uuid.NAMESPACE_DNS, 'nightly')))


class TestRestore(AtB):
    WORDS = ('application', 'restore')

    def setUp(self) -> None:
        super().setUp()
        self.enterContext(contextlib.chdir(self.folder))
        os.rename('m.yaml', 'mapping.yaml')

    def test_restores(self) -> None:
        for verb, command in (
            ('create', application_restore_create.CreateApplicationRestore),
            ('list', application_restore.ListApplicationRestore),
            ('show', application_restore.ShowApplicationRestore),
            ('delete', application_restore.DeleteApplicationRestore),
        ):
            self.example(
                f'application-restore-{verb}', command, *self.WORDS, verb)

    def test_plan(self) -> None:
        self.plan_of(application_restore_create.CreateApplicationRestore,
                     'application-restore-create')

    def test_mapping(self) -> None:
        os.remove('mapping.yaml')  # it is written
        self.example(
            'application-mapping-create',
            application_mapping.CreateApplicationMapping,
            'application', 'mapping', 'create')


class TestDrill(AtB, drill.TestCase):
    @property
    def point(self) -> points.Point:
        ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=7)
        return dataclasses.replace(
            super().point, created_at=model.utc_text(ago))

    def test_drill(self) -> None:
        self.patch(points, 'find_backup_set', lambda cloud, name: self.point)
        self.enterContext(contextlib.chdir(self.folder))
        os.rename('m.yaml', 'mapping.yaml')
        self.example(
            'application-drill', application_drill.DrillApplication,
            'application', 'drill')
