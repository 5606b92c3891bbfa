# SPDX-License-Identifier: Apache-2.0

"""Two at once, changed mappings, deleted volumes, clocks that are wrong.

That the source still runs is in :mod:`test_restore`, and two backups at once
are in :mod:`test_protection`.
"""

from __future__ import annotations

import datetime
import pathlib
import sqlite3
import subprocess
import tempfile
from typing import Any

from osc_quiesce.application import metadata
from osc_quiesce import model
from osc_quiesce.recovery import marks
from osc_quiesce.tests.recovery import base
from osc_quiesce.tests.recovery import test_restore

A, B = base.A, base.B


class SplitBrainTest(test_restore.RestoreTest):
    def servers(self) -> dict[str, list[dict[str, Any]]]:
        """Return the servers at site B, by the restore that made them."""
        found: dict[str, list[dict[str, Any]]] = {}
        for each in base.cloud(B).compute('GET', '/servers/detail')['servers']:
            if made_by := metadata.get(each, marks.RESTORE):
                found.setdefault(made_by, []).append(each)
        return found

    def assert_restored(self, set_name: str, report: Any,
                        name: str = '') -> None:
        """Check that all is there, and once."""
        self.assert_equal(set_name, self.places(report))
        self.assertEqual({True}, {v['verified'] for v in report['volumes']})
        self.assertEqual(
            sorted((s['id'], 'ACTIVE') for s in report['servers']),
            sorted((s['id'], s['status'])
                   for s in self.servers()[name or set_name]))
        self.assertEqual(2, len(report['servers']))

    def map(self, **changes: str) -> str:
        """Return a mapping with other lines; ``{'tiny: tiny': ...}``."""
        text = pathlib.Path(self.mapping).read_text()
        for old, new in changes.items():
            self.assertIn(old, text)
            text = text.replace(old, new)
        with tempfile.NamedTemporaryFile(
                'w', dir=base.root(), suffix='.yaml', delete=False) as stream:
            stream.write(text)
        return stream.name


class TestAtOnce(SplitBrainTest):
    """Two people bring the same application back."""

    def at_once(self, *options: str) -> list[str]:
        """Restore in several processes at once; return what each said."""
        running = [
            subprocess.Popen(
                ['openstack', '--os-cloud', B, 'application', 'restore',
                 'create', 'second', '--mapping', self.mapping, '--verify-all',
                 *each.split()],
                env=base.environment(), text=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            for each in options]
        said = [each.communicate(timeout=2 * base.PATIENCE)[1]
                for each in running]
        for each in said:
            self.assertNotIn('Traceback', each)
        return said

    def test_the_same_restore_is_one_restore(self) -> None:
        self.at_once('', '')
        self.assert_restored('second', self.restore('second', '--verify-all'))
        self.assertEqual(['second'], [
            each['Name'] for each in self.json(B, 'application restore list')])

    def test_of_two_restores_none_writes_over_the_other(self) -> None:
        said = ' '.join(self.at_once('--name one', '--name two'))
        self.assertRegex(
            said, 'has taken volume|has the data of restore|is attached')
        # Each has said how to give up the other one.
        found = {each['Name']: each['ID']
                 for each in self.json(B, 'application restore list')}
        if 'two' in found:
            self.openstack(B, f'application restore delete {found["two"]}')
        self.assert_restored(
            'second', self.restore('second', '--verify-all', '--name one'),
            'one')
        self.assertEqual({'one'}, set(self.servers()))


class TestChanges(SplitBrainTest):
    def test_another_mapping_between_runs(self) -> None:
        before = self.restore('second', '--no-start', '--verify-all')
        restored = self.restored_at()
        usual = self.mapping
        self.addCleanup(setattr, test_restore.RestoreTest, 'mapping', usual)
        test_restore.RestoreTest.mapping = self.map(
            **{'tiny: tiny': 'tiny: tiny-two-disks'})
        started = self.restore('second', '--verify-all')
        self.assert_restored('second', started)
        self.assertEqual(self.places(before), self.places(started))
        self.assertEqual(restored, self.restored_at())
        # What is there stays, whatever the mapping says now.
        test_restore.RestoreTest.mapping = usual
        self.assertEqual(
            [s['id'] for s in started['servers']],
            [s['id'] for s in self.restore('second')['servers']])

    def restored_at(self) -> dict[str, str]:
        return {
            each['id']: metadata.get(each, marks.RESTORED_AT)
            for each in base.cloud(B).volume('GET', '/volumes/detail')[
                'volumes']}

    # The last one, since the set has no target volume any more.
    def test_somebody_deletes_a_server_and_its_volume(self) -> None:
        self.restore('second', '--verify-all')
        server = next(each for each in self.servers()['second']
                      if each['name'].startswith('web-'))
        volume = self.targets()['web-vda']
        base.cloud(B).compute('DELETE', f'/servers/{server["id"]}')
        self.wait(B, 'volume', volume)
        base.cloud(B).volume('DELETE', f'/volumes/{volume}')
        self.until(lambda: 'web-vda' not in self.targets(), 'it is deleted')
        (row,) = self.json(B, 'application restore list')
        self.assertEqual('incomplete', row['Status'])
        said = self.restore('second', '--verify-all', expect=1)
        self.assertIn('It cannot be proven', said)
        self.assertIn('Nothing was restored', said)
        report = self.restore('second')
        self.assert_equal('second', self.places(report))
        web = self.application.volumes['web-vda']
        self.assertEqual([web], [
            each['source_id'] for each in report['volumes']
            if not each['verified']])
        self.assertEqual(['ACTIVE'] * 2, [
            each['status'] for each in self.servers()['second']])
        self._clean()
        # The next backup gets a target volume again.
        self._back_up('third')
        self.assert_restored('third', self.restore('third', '--verify-all'))
        self.openstack(A, f'application backup delete third --to-cloud {B}')


class TestClocks(SplitBrainTest):
    """What site A tells of moments is an hour from what it is at site B."""

    def test_it_is_ahead(self) -> None:
        self.back_up_at('ahead', datetime.timedelta(hours=1))
        self.assert_restored('ahead', self.restore('ahead', '--verify-all'))
        # A set of which the moment is still to come must not be the last.
        said = self.openstack(
            A, f'application backup delete first second ahead --keep-last 1 '
            f'--to-cloud {B}', expect=1).stderr
        self.assertIn('future', said)
        self._clean()
        self.openstack(A, f'application backup delete ahead --to-cloud {B}')

    def test_it_is_behind(self) -> None:
        self.back_up_at('behind', -datetime.timedelta(hours=1))
        self.assert_restored('behind', self.restore('behind', '--verify-all'))
        self._clean()
        self.assert_restored('second', self.restore('second', '--verify-all'))
        self._clean()
        self.openstack(A, f'application backup delete behind --to-cloud {B}')

    def back_up_at(self, name: str, later: datetime.timedelta) -> None:
        """Take a set, as if it were later at site A, and back it up."""
        self.application.write('web-vda', 2 * base.MIB, base.MIB)
        self.sets[name] = self.application.snapshot(name)
        site = base.cloud(A)
        path = base.minicloud_of(A).layout.database('cinder')
        with sqlite3.connect(path, timeout=60) as database:
            for id_ in self.sets[name].values():
                database.execute(
                    'UPDATE snapshots SET created_at = '
                    "datetime(created_at, ?) || '.000000' WHERE id = ?",
                    (f'{later.total_seconds():+.0f} seconds', id_))
        now = model.utc_text(datetime.datetime.now(datetime.UTC) + later)
        for id_ in self.sets[name].values():
            site.volume('POST', f'/snapshots/{id_}/metadata', {
                'metadata': metadata.ours({'created_at': now})})
        self.openstack(
            A, f'application backup create {name} --to-cloud {B} '
            f'--mapping {self.mapping}')
