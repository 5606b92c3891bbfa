# SPDX-License-Identifier: Apache-2.0

"""The store that real Cinders have written is verified, and damaged."""

from __future__ import annotations

import json
import pathlib
import subprocess
from typing import Any

from osc_quiesce.tests.recovery import base
from osc_quiesce.tests.recovery import test_backup

A, B = base.A, base.B


class TestVerify(test_backup.BackupTest):
    """A full set, and an incremental one, with zeros and random data."""

    def setUp(self) -> None:
        super().setUp()
        self.store = base.root() / 'store'
        first, self.second = f'{self.name}-1', f'{self.name}-2'
        self.take(first)
        self.create(first, self.map(first))
        for volume in 'db-vda', 'db-vdb':
            self.app.zero(volume, base.MIB, base.MIB)
            self.app.write(volume, 4 * base.MIB, base.MIB)
        self.take(self.second)
        self.made = self.create(self.second, self.map(self.second))

    def verify(
        self, site: str = A, what: str = '', expect: int = 0
    ) -> list[dict[str, Any]]:
        """Return the rows of a verification in the store."""
        found: list[dict[str, Any]] = self.openstack(
            site,
            f'application backup verify {what or self.second} '
            f'--store {self.store} -f json',
            expect=expect,
        ).data
        return found

    def objects(self, backup_id: str) -> list[pathlib.Path]:
        """Return the files with data of a backup, the first one first."""
        return sorted(self.store.rglob(f'*_backup_{backup_id}-[0-9]*'))

    def test_both_sites_and_a_bundle_verify_what_cinder_has_written(
        self,
    ) -> None:
        expected = {each['id']: 'verified' for each in self.backups()}
        self.assertEqual(6, len(expected))
        for site in A, B:
            rows = self.verify(site)
            self.assertEqual(
                expected, {row['Backup ID']: row['State'] for row in rows})
            self.assertEqual(
                set(self.app.volumes.values()),
                {row['Volume ID'] for row in rows})
        bundle = self.folder / 'bundle.json'
        self.openstack(
            A, f'application backup export {self.second} --output {bundle}')
        # Without any cloud: as after the loss of both.
        environment = {
            key: value for key, value in base.environment().items()
            if not key.startswith('OS_')
        }
        done = subprocess.run(
            ['openstack', 'application', 'backup', 'verify', '--bundle',
             str(bundle), '--store', str(self.store), '-f', 'json'],
            cwd=self.folder, env=environment, capture_output=True, text=True,
            timeout=base.PATIENCE)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual(
            expected,
            {row['Backup ID']: row['State']
             for row in json.loads(done.stdout)})

    def test_without_the_store_nothing_is_verified(self) -> None:
        done = self.openstack(
            A, f'application backup verify {self.second} -f json')
        self.assertEqual({'not_read'}, {row['State'] for row in done.data})
        self.assertIn('nothing is verified', done.stderr)

    def test_a_flipped_bit_and_what_is_missing_are_found(self) -> None:
        # Each look reads and unpacks three GiB: so there are few.
        backup = next(
            each['backup_id'] for each in self.made['backups']
            if each['device'].endswith('db'))
        path = self.objects(backup)[-1]
        good = path.read_bytes()
        bad = bytearray(good)
        bad[len(bad) // 2] ^= 16
        for damaged in bytes(bad), None:
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            (row,) = [
                row for row in self.verify(expect=1)
                if row['State'] != 'verified'
            ]
            self.assertEqual(
                (backup, 'damaged', path.name),
                (row['Backup ID'], row['State'], row['Object']))
            path.write_bytes(good)
        self.assertEqual(
            {'verified'}, {row['State'] for row in self.verify()})

    def test_damage_of_a_parent_makes_its_children_unusable(self) -> None:
        child = next(
            each for each in self.made['backups']
            if each['device'].endswith('db'))
        parent = self.parent_of(child['backup_id'])
        assert parent is not None
        path = self.objects(parent)[0]
        good = path.read_bytes()
        path.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
        self.assertEqual(
            {parent, child['backup_id']},
            {row['Backup ID'] for row in self.verify(expect=1)
             if row['State'] == 'damaged'})
