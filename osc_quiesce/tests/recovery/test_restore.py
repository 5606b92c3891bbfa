# SPDX-License-Identifier: Apache-2.0

"""Restores at another site, with real Cinder, compared byte by byte."""

from __future__ import annotations

import importlib.metadata
import pathlib
import signal
import subprocess
import tempfile
import time
from typing import Any, ClassVar

from osc_quiesce.application import metadata
from osc_quiesce.recovery import marks
from osc_quiesce.tests.recovery import base

A, B = base.A, base.B
VOLUMES = 'db-vda', 'db-vdb', 'web-vda'
#: majors of Cinder that restore an incremental backup into a new volume wrong
WRONG_INTO_NEW = (26, 27, 28)


class RestoreTest(base.RecoveryTest):
    """Backup sets of the one application of all these tests.

    :cvar sets: name of set -> snapshots, by volume
    """

    application: ClassVar[base.Application]
    mapping: ClassVar[str]
    sets: ClassVar[dict[str, dict[str, str]]] = {}

    def setUp(self) -> None:
        super().setUp()
        if not self.sets:
            self._make()
        self.addCleanup(self._clean)

    @classmethod
    def tearDownClass(cls) -> None:
        if cls.sets:
            cls.sets.clear()
            base.remove_points()
        super().tearDownClass()

    def _make(self) -> None:
        """Make a full backup set, and an incremental one with zeros."""
        cls = type(self)
        cls.application = app = base.Application(self)
        folder = pathlib.Path(tempfile.mkdtemp(dir=base.root()))
        RestoreTest.mapping = str(folder / 'mapping.yaml')
        RestoreTest.application = app
        self._back_up('first')
        for volume in VOLUMES:
            app.zero(volume, base.MIB, 2 * base.MIB)
            app.write(volume, 9 * base.MIB, base.MIB)
        self._back_up('second')

    def _back_up(self, name: str) -> None:
        self.sets[name] = self.application.snapshot(name)
        if not pathlib.Path(self.mapping).exists():
            self.openstack(
                B, f'application mapping create {name} --from-cloud {A} '
                f'--output {self.mapping}')
        self.openstack(
            A, f'application backup create {name} --to-cloud {B} '
            f'--mapping {self.mapping}')

    def _clean(self) -> None:
        for each in self.json(B, 'application restore list'):
            self.openstack(B, f'application restore delete {each["ID"]}')

    def restore(
        self, name: str, *options: str, expect: int = 0
    ) -> Any:
        """Return the report of a restore at site B, or what was said."""
        done = self.openstack(
            B,
            f'application restore create {name} --mapping {self.mapping} '
            f'-f json {" ".join(options)}',
            expect=expect,
        )
        return done.stderr if expect else done.data

    def places(self, report: Any) -> dict[str, str]:
        """Return where the volumes were restored, as ``db-vda`` and so on."""
        labels = {id_: k for k, id_ in self.application.volumes.items()}
        return {labels[v['source_id']]: v['id'] for v in report['volumes']}

    def targets(self) -> dict[str, str]:
        """Return the target volumes, as ``db-vda`` and so on."""
        labels = {id_: k for k, id_ in self.application.volumes.items()}
        return {
            labels[marks.target_of(each)]: each['id']
            for each in base.cloud(B).volume('GET', '/volumes/detail')[
                'volumes']
            if marks.target_of(each) in labels
        }

    def assert_equal(self, name: str, places: dict[str, str]) -> None:
        """Check that volumes at B are what snapshots at A are."""
        self.assertEqual(set(VOLUMES), set(places))
        self.assertEqual([], self.different(B, name, places))

    def different(
        self, site: str, name: str, places: dict[str, str]
    ) -> list[str]:
        """Return which volumes are not what snapshots at A are."""
        return [
            volume
            for volume, id_ in places.items()
            if base.data_of(site, id_)
            != base.snapshot_data(A, self.sets[name][volume])
        ]


class TestRestore(RestoreTest):
    def test_the_whole_way(self) -> None:
        said = self.restore('second', '--from-cloud', A, expect=1)
        self.assertIn('Servers of the source are ACTIVE', said)
        self.assertEqual([], self.json(B, 'application restore list'))
        with base.stopped(A, self.application.servers):
            report = self.restore(
                'second', '--from-cloud', A, '--check',
                "'test -n \"$OSC_QUIESCE_SERVER_ID\"'")
        self.assertEqual(self.targets(), self.places(report))
        self.assertEqual({True}, {v['verified'] for v in report['volumes']})
        self.assertEqual(
            [(1, 'db', 'ACTIVE', 'answered', True),
             (2, 'web', 'ACTIVE', 'answered', True)],
            [(s['stage'], s['name'].split('-')[0], s['status'], s['agent'],
              s['checked']) for s in report['servers']],
        )
        self.assert_equal('second', self.places(report))
        self.assertGreater(report['rpo'], 0)
        self.assertGreater(report['rto'], 0)
        for volume, id_ in self.places(report).items():
            found = base.cloud(B).volume('GET', f'/volumes/{id_}')['volume']
            self.assertEqual(volume, found['metadata']['owner'])
            self.assertEqual(
                'true' if volume.endswith('vda') else 'false',
                found['bootable'])
        (row,) = self.json(B, 'application restore list')
        self.assertEqual(
            ('second', 'complete', 3, 3, 2),
            tuple(row[k] for k in (
                'Name', 'Status', 'Volumes', 'Verified', 'Servers')))
        again = self.restore('second', '--force')
        self.assertEqual(
            [s['id'] for s in report['servers']],
            [s['id'] for s in again['servers']])
        with base.stopped(B, {'db': again['servers'][0]['id']}):
            said = self.restore('second', '--force', expect=1)
        self.assertIn('is SHUTOFF, and is left as it is', said)
        self.assertEqual(set(VOLUMES), set(self.targets()))
        self.openstack(B, 'application restore delete second')
        self.assertEqual([], self.json(B, 'application restore list'))
        self.assertEqual(set(VOLUMES), set(self.targets()))

    def test_the_naive_way_differs_where_it_is_known_to(self) -> None:
        target = self.targets()['db-vda']
        newest = max(
            base.cloud(B).backups(volume_id=target),
            key=lambda each: str(each['data_timestamp']))
        self.assertTrue(newest['is_incremental'])
        made = base.cloud(B).volume(
            'POST', f'/backups/{newest["id"]}/restore', {'restore': {}},
        )['restore']['volume_id']
        self.addCleanup(
            base.cloud(B).volume, 'DELETE', f'/volumes/{made}')
        self.wait(B, 'volume', made)
        self.wait(B, 'backup', newest['id'])
        is_equal = base.data_of(B, made) == base.snapshot_data(
            A, self.sets['second']['db-vda'])
        major = int(importlib.metadata.version('cinder').split('.')[0])
        self.assertEqual(major not in WRONG_INTO_NEW, is_equal)

    def test_an_older_set_is_proven_beside_a_newer_one(self) -> None:
        report = self.restore('first', '--no-start')
        self.assertEqual({True}, {v['verified'] for v in report['volumes']})
        self.assert_equal('first', self.places(report))
        for each in base.cloud(B).backups():
            self.assertEqual('available', each['status'])
            self.assertEqual('', metadata.get(each, marks.PROOF_OF))
        (again,) = [
            each for each in self.json(B, 'application backup list')
            if each['Name'] == 'second']
        self.assertEqual('consistent', again['Consistency'])

    def test_the_site_of_the_source_is_gone(self) -> None:
        source = base.minicloud_of(A)
        source.down()
        try:
            done = self.openstack(
                B,
                f'application restore create second --mapping {self.mapping} '
                f'--from-cloud {A} -f json')
        finally:
            source.up()
        self.assertIn(
            f'Cloud {A} cannot be asked whether the servers run there (no '
            'usable answer): make sure that they cannot.\n', done.stderr)
        self.assertNotIn('Failed to', done.stderr)
        self.assertNotIn('Errno', done.stderr)
        self.assert_equal('second', self.places(done.data))
        self.assertEqual(
            {True}, {v['verified'] for v in done.data['volumes']})

    def test_a_server_alone(self) -> None:
        report = self.restore(
            'second', '--server', self.application.name('web'), '--force')
        self.assertEqual(
            ['web-vda'], list(self.places(report)))
        self.assertEqual(1, len(report['servers']))


class TestRefusals(RestoreTest):
    def test_a_changed_byte_and_a_wrong_parent_are_told_apart(self) -> None:
        report = self.restore('second', '--no-start', '--no-verify')
        self.assertEqual({False}, {v['verified'] for v in report['volumes']})
        target = self.places(report)['db-vdb']
        before = base.data_of(B, target)[5 * base.MIB]
        base.write(B, target, 5 * base.MIB, bytes([before ^ 1]))
        said = self.restore('second', '--no-start', '--verify-all', expect=1)
        self.assertIn(f'Volume {target} DIFFERS from backup', said)
        said = self.restore('second', '--no-start', '--no-verify', expect=1)
        self.assertIn(f'volume {target} DIFFERS from backup', said)
        self.openstack(B, f'application restore delete {report["id"]}')
        self.restore('second', '--no-start', '--no-verify')

        foreign = base.cloud(B).volume('POST', '/backups', {'backup': {
            'volume_id': target, 'name': 'foreign', 'incremental': True,
        }})['backup']['id']
        self.wait(B, 'backup', foreign)
        said = self.restore('second', '--no-start', '--verify-all', expect=1)
        self.assertIn(f'none of ours ({foreign})', said)
        self.assertNotIn('DIFFERS', said)
        base.cloud(B).volume('DELETE', f'/backups/{foreign}')
        self.until(
            lambda: foreign not in [b['id'] for b in base.cloud(B).backups()],
            'the foreign backup is deleted')

        report = self.restore('second', '--no-start', '--verify-all')
        self.assertEqual({True}, {v['verified'] for v in report['volumes']})
        self.assert_equal('second', self.places(report))

    def test_a_gap_in_the_mapping(self) -> None:
        with open(self.mapping) as stream:
            text = stream.read()
        path = self.mapping + '.gap'
        with open(path, 'w') as stream:
            stream.write(text.replace('  tiny: tiny', '  tiny:'))
        said = self.openstack(
            B, f'application restore create second --mapping {path}',
            expect=1).stderr
        self.assertIn('(flavors.tiny) is empty', said)
        self.assertIn('Nothing was restored', said)

    def test_an_incomplete_set(self) -> None:
        newest = max(
            base.cloud(B).backups(volume_id=self.targets()['web-vda']),
            key=lambda each: str(each['data_timestamp']))
        for status in 'error', 'available':
            base.cloud(B).volume(
                'POST', f'/backups/{newest["id"]}/action',
                {'os-reset_status': {'status': status}})
            self.wait(B, 'backup', newest['id'], status)
            if status == 'error':
                said = self.restore('second', expect=1)
        self.assertIn('is incomplete, and not consistent', said)
        self.assertIn(f'backup {newest["id"]} is error', said)


class TestInterruptions(RestoreTest):
    def test_cinder_backup_is_killed(self) -> None:
        cloud = base.minicloud_of(B)
        self._during_a_restore(
            lambda: cloud.signal('backup', signal.SIGKILL))
        cloud.start('backup')
        self.until(self._is_backup_up, 'cinder-backup is up')
        report = self.restore('second', '--no-start')
        self.assertEqual(self.targets(), self.places(report))
        self.assertEqual({True}, {v['verified'] for v in report['volumes']})
        self.assert_equal('second', self.places(report))

    def test_the_command_is_killed(self) -> None:
        self._during_a_restore(lambda: None)
        report = self.restore('second', '--no-start')
        self.assertEqual({True}, {v['verified'] for v in report['volumes']})
        self.assert_equal('second', self.places(report))

    def _during_a_restore(self, do: Any) -> None:
        """Do something while Cinder restores, and kill the command."""
        running = subprocess.Popen(
            ['openstack', '--os-cloud', B, 'application', 'restore', 'create',
             'second', '--mapping', self.mapping, '--no-start'],
            env=base.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        targets = self.targets()
        try:
            self.until(
                lambda: any(
                    self.status(B, 'volume', id_) == 'restoring-backup'
                    for id_ in targets.values()
                ),
                'a restore is under way',
            )
            do()
            time.sleep(1)
        finally:
            running.kill()
            running.wait()

    def _is_backup_up(self) -> bool:
        services = base.cloud(B).volume(
            'GET', '/os-services?binary=cinder-backup')['services']
        settled = not any(
            each['status'] == 'restoring' for each in base.cloud(B).backups())
        return settled and any(each['state'] == 'up' for each in services)


class TestSnapshotSet(RestoreTest):
    def test_at_the_same_site(self) -> None:
        command = (
            f'application restore create {{}} --mapping {self.mapping} '
            '--name again -f json')
        name = 'first'
        shown = self.json(A, f'application snapshot show {name}')
        said = self.openstack(
            A, command.format(shown['id']), expect=1).stderr
        self.assertIn('Servers of the source are ACTIVE', said)
        report = self.openstack(
            A, command.format(shown['id']) + ' --force').data
        self.addCleanup(
            self.openstack, A, 'application restore delete again')
        self.assertEqual([], self.different(A, name, self.places(report)))
        self.assertEqual(
            ['ACTIVE'] * 2, [s['status'] for s in report['servers']])
