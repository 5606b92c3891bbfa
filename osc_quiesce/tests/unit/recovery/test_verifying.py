# SPDX-License-Identifier: Apache-2.0

"""What the store holds is compared, and all damage in it is found."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import json
import random
import tempfile
import tracemalloc
from typing import Any
import unittest
from unittest import mock

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.recovery import backup_check
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import bundles
from osc_quiesce.recovery import chunks
from osc_quiesce.recovery import records
from osc_quiesce.recovery import stores
from osc_quiesce.recovery import unpacking
from osc_quiesce.recovery import verifying
from osc_quiesce import retry
from osc_quiesce.tests.unit.recovery import backup_base
from osc_quiesce.tests.unit.recovery import stored

FULL, MIDDLE, NEWEST, OTHER = 'full-1', 'incr-2', 'incr-3', 'full-4'
UNIT = 1024  # bytes that stand for a GiB
DRIVERS = ('posix.PosixBackupDriver', 'swift.SwiftBackupDriver')


class TestCase(unittest.TestCase):
    """A chain of three backups of one volume, and a full one of another."""

    def setUp(self) -> None:
        super().setUp()
        patch = mock.patch.object(backup_check, 'GIB', UNIT)
        self.addCleanup(patch.stop)
        patch.start()
        self.clock = backup_base.Clock()
        self.timer = retry.Timer(self.clock, self.clock.sleep)
        self.said: list[str] = []
        self.random = random.Random(1)  # noqa: S311
        self.write()

    def write(self, **options: Any) -> None:
        self.cinder = stored.Cinder(**options)
        self.store = stored.Memory(self.cinder)
        # Text, zeros, and what cannot be compressed.
        self.data = bytearray(
            b'all work and no play ' * 16 + bytes(300)
            + self.random.randbytes(2 * UNIT - 300 - 336))
        self.cinder.backup(FULL, 'v1', bytes(self.data))
        self.data[70:80] = b'0123456789'
        self.data[700:1100] = bytes(400)
        self.cinder.backup(MIDDLE, 'v1', bytes(self.data), FULL)
        self.data[2 * UNIT - 1] ^= 1
        self.cinder.backup(NEWEST, 'v1', bytes(self.data), MIDDLE)
        self.cinder.backup(OTHER, 'v2', bytes(UNIT))

    def set_of(self, *ids: str) -> backup_sets.BackupSet:
        """Return a set, as Cinder shows it."""
        return backup_sets.group([
            {
                'id': each,
                'status': 'available',
                'object_count': 1,
                'created_at': '2026-11-29',
                'volume_id': self.cinder.records[each].volume_id,
                'metadata': metadata.ours({
                    'format': '2',
                    'backup_set_id': 'set',
                    'backup_set': 'monday',
                    'sealed': 'consistent',
                    'snapshot_id': f's-{each}',
                    'source_volume_id':
                        self.cinder.records[each].volume_id,
                    'volumes': str(len(ids)),
                    'order': str(order),
                }),
            }
            for order, each in enumerate(ids)
        ])[0]

    def read(self, backup_id: str) -> records.Record:
        try:
            return self.cinder.records[backup_id]
        except KeyError:
            raise errors.ApplicationError(
                f'no record of {backup_id}') from None

    def verify(self, *ids: str) -> verifying.Report:
        return verifying.verify(
            self.set_of(*ids or (NEWEST, OTHER)), self.read, self.store,
            self.timer, 2, self.said.append)

    def states(self, report: verifying.Report) -> dict[str, str]:
        return {each.backup_id: each.state for each in report.findings}

    def wrong(
        self, *ids: str, state: str = backup_check.DAMAGED
    ) -> list[backup_check.Finding]:
        """Return what is wrong, without what follows from it."""
        report = self.verify(*ids)
        self.assertFalse(report.is_good)
        found = [
            each for each in report.findings
            if each.problem and 'It is good' not in each.problem
        ]
        for each in found:
            self.assertEqual(state, each.state, each)
            self.assertTrue(each.remedy, each)
        return found

    def change(self, key: tuple[str, str], **values: Any) -> None:
        """Change what JSON in the store says."""
        data = json.loads(self.cinder.objects[key])
        data.update(values)
        self.cinder.objects[key] = json.dumps(
            data, sort_keys=True, indent=2).encode()

    def metadata_of(self, id_: str) -> Any:
        return json.loads(
            self.cinder.objects[self.cinder.name(id_, '_metadata')])


class GoodTest(TestCase):
    def assert_good(self) -> verifying.Report:
        self.assertEqual(bytes(self.data), self.cinder.restore(NEWEST))
        report = self.verify()
        self.assertEqual(
            dict.fromkeys((FULL, MIDDLE, NEWEST, OTHER), 'verified'),
            self.states(report), report)
        self.assertEqual(4, len(report.findings))
        self.assertTrue(report.is_good)
        return report

    def test_a_set_with_all_that_it_needs_is_verified(self) -> None:
        for driver in DRIVERS:
            for compression in ('zlib', 'bz2', 'gzip', 'bzip2', 'none'):
                with self.subTest(driver=driver, compression=compression):
                    self.write(driver=driver, compression=compression)
                    self.assert_good()

    @stored.needs_zstd
    def test_zstd_is_read(self) -> None:
        self.write(compression='zstd')
        self.assert_good()

    def test_sizes_need_not_fit(self) -> None:
        for block, chunk in (48, 96), (1, 3), (100, 2000), (4096, 4096):
            with self.subTest(block=block, chunk=chunk):
                self.write(block=block, chunk=chunk)
                self.assert_good()

    def test_an_incremental_backup_may_hold_nothing(self) -> None:
        self.cinder.backup('incr-5', 'v1', bytes(self.data), NEWEST)
        self.assertEqual(
            [], self.metadata_of('incr-5')['objects'])
        self.assertTrue(self.verify('incr-5').is_good)

    def test_every_object_is_read_once(self) -> None:
        self.assert_good()
        self.assertEqual({1}, set(self.store.reads.values()))
        self.assertEqual(
            {name for _container, name in self.cinder.objects},
            set(self.store.reads))

    def test_a_record_may_be_rewritten_for_a_target_volume(self) -> None:
        for id_, record in self.cinder.records.items():
            self.cinder.records[id_] = record.for_volume('target')
        report = self.assert_good()
        self.assertEqual(
            ['v1', 'v1', 'v1', 'v2'],
            [each.volume_id for each in report.findings])

    def test_a_chain_may_go_on_with_another_volume(self) -> None:
        self.cinder.backup('incr-5', 'v9', bytes(self.data), NEWEST)
        self.assertTrue(self.verify('incr-5').is_good)

    def test_what_could_break_silently_is_counted(self) -> None:
        report = self.assert_good()
        chunked = [
            said for id_ in self.cinder.records
            for each in self.metadata_of(id_)['objects']
            for said in each.values()
        ]
        self.assertEqual(len(chunked), report.objects)
        self.assertEqual(
            sum(each['compression'] == 'none' for each in chunked),
            report.silent)
        self.assertTrue(0 < report.silent < report.objects)
        self.assertEqual(
            sum(map(len, self.cinder.objects.values())), report.size)

    def test_progress_is_told(self) -> None:
        self.assert_good()
        self.assertIn('Verifying: 4 of 4 backups done, ', self.said[-1])
        self.assertEqual(4, len(self.said))


class DamageTest(TestCase):
    #: of how many bytes one is flipped
    EVERY = 41

    def test_one_bit_in_any_data_is_found(self) -> None:
        """Or else a restore gives the right data nevertheless."""
        compressions = ['zlib', 'bz2', 'none']
        if stored.zstd:
            compressions.append('zstd')
        for compression in compressions:
            self.write(compression=compression)
            for what in '-00001', '-00003', '-00007':
                self.flip(compression, self.cinder.name(FULL, what))

    def test_one_bit_in_what_is_said_of_them_is_found(self) -> None:
        """Or else a restore gives the right data nevertheless."""
        for id_ in FULL, NEWEST:
            for what in '_metadata', '_sha256file':
                self.flip('zlib', self.cinder.name(id_, what))

    def flip(self, compression: str, key: tuple[str, str]) -> None:
        good = self.cinder.objects[key]
        for at in range(self.random.randrange(self.EVERY), len(good),
                        self.EVERY):
            bad = bytearray(good)
            bad[at] ^= 1 << self.random.randrange(8)
            self.cinder.objects[key] = bytes(bad)
            with self.subTest(compression, object=key[1], byte=at):
                if self.verify(NEWEST).is_good:
                    self.assertEqual(
                        bytes(self.data), self.cinder.restore(NEWEST))
        self.cinder.objects[key] = good

    def test_a_flipped_bit_is_told_with_its_object(self) -> None:
        for compression, why in (
            ('none', 'the MD5 differs'), ('zlib', 'cannot be decompressed'),
        ):
            with self.subTest(compression):
                self.write(compression=compression)
                key = self.cinder.name(MIDDLE, '-00001')
                data = bytearray(self.cinder.objects[key])
                data[-1] ^= 1
                self.cinder.objects[key] = bytes(data)
                [found] = self.wrong()
                self.assertEqual(
                    (MIDDLE, 'v1', key[1]),
                    (found.backup_id, found.volume_id, found.object))
                self.assertIn(why, found.problem)
                self.assertIn('another copy', found.remedy)

    def test_what_needs_a_damaged_backup_is_not_verified(self) -> None:
        del self.cinder.objects[self.cinder.name(MIDDLE, '-00001')]
        report = self.verify()
        self.assertEqual(
            {FULL: 'verified', MIDDLE: 'damaged', NEWEST: 'damaged',
             OTHER: 'verified'},
            self.states(report))
        self.assertIn('an earlier one', report.findings[2].problem)

    def test_any_object_that_is_missing_is_named(self) -> None:
        for driver in DRIVERS:
            self.write(driver=driver)
            for id_ in FULL, MIDDLE, NEWEST:
                for key in self.cinder.names(id_):
                    with self.subTest(object=key):
                        kept = self.cinder.objects.pop(key)
                        [found] = self.wrong()
                        self.assertEqual(
                            (id_, key[1]), (found.backup_id, found.object))
                        self.assertEqual(
                            'It is not in the store.', found.problem)
                        self.cinder.objects[key] = kept

    def test_what_is_cut_off_or_goes_on_is_found(self) -> None:
        compressions = ['zlib', 'bz2', 'none']
        if stored.zstd:
            compressions.append('zstd')
        for compression in compressions:
            self.write(compression=compression)
            for key in self.cinder.names(FULL):
                good = self.cinder.objects[key]
                for bad in (
                    good[:-1], good[:len(good) // 2], b'', good + b'x',
                    good + good,
                ):
                    self.cinder.objects[key] = bad
                    with self.subTest(compression, key=key, size=len(bad)):
                        found = self.wrong()
                        self.assertEqual(key[1], found[0].object)
                self.cinder.objects[key] = good

    def test_an_object_too_many_is_found(self) -> None:
        container, name = self.cinder.name(FULL, '-99999')
        self.cinder.objects[container, name] = b'?'
        with self.assertRaises(ValueError):
            self.cinder.restore(FULL)
        [found] = self.wrong()
        self.assertEqual(name, found.object)
        self.assertIn('Cinder refuses to restore', found.problem)

    def test_metadata_of_something_else_are_found(self) -> None:
        key = self.cinder.name(MIDDLE, '_metadata')
        good = self.cinder.objects[key]
        listed = self.metadata_of(MIDDLE)['objects']
        for values in (
            {'version': '2.0.0'}, {'backup_id': 'x'}, {'volume_id': 'x'},
            {'parent_id': None}, {'parent_id': OTHER}, {'objects': None},
            {'objects': listed[1:]}, {'objects': listed[:-1]},
            {'objects': [*listed, *listed]}, {'volume_meta': '{'},
            {'objects': [{'other-00001': said} for each in listed
                         for said in each.values()]},
        ):
            with self.subTest(**values):
                self.change(key, **values)
                wrong = [each.object for each in self.wrong()]
                if 'objects' not in values:
                    self.assertIn(key[1], wrong)
                self.cinder.objects[key] = good

    def test_objects_must_be_in_order_and_in_the_volume(self) -> None:
        key = self.cinder.name(FULL, '_metadata')
        good = self.cinder.objects[key]
        listed = self.metadata_of(FULL)['objects']
        names = [next(iter(each)) for each in listed]

        def with_(number: int, **values: Any) -> list[Any]:
            return [
                {name: {**each[name], **values}} if at == number else each
                for at, (name, each) in enumerate(zip(names, listed))
            ]

        for objects in (
            list(reversed(listed)), listed[1:], listed[:-1],
            with_(1, offset=0), with_(1, offset=320), with_(1, offset=-256),
            with_(7, offset=1 << 40), with_(0, length=0),
            with_(0, length=-5), with_(0, offset='0'),
            with_(3, compression='rot13'), with_(3, md5='0' * 32),
        ):
            with self.subTest(objects=objects):
                self.change(key, objects=objects)
                self.assertTrue(self.wrong())
                self.cinder.objects[key] = good

    def test_hashes_that_are_not_those_of_the_data_are_found(self) -> None:
        key = self.cinder.name(FULL, '_sha256file')
        listed = json.loads(self.cinder.objects[key])['sha256s']
        listed[3] = listed[0]
        self.change(key, sha256s=listed)
        # The next one holds other blocks, but not this one.
        first, second = self.wrong(MIDDLE)
        self.assertEqual((FULL, key[1]), (first.backup_id, first.object))
        self.assertIn('hashes of 1 blocks', first.problem)
        self.assertIn('A restore does not need it', first.remedy)
        self.assertIn('other hashes than in its parent', second.problem)

    def test_a_list_of_hashes_that_is_of_no_use_is_found(self) -> None:
        key = self.cinder.name(NEWEST, '_sha256file')
        good = self.cinder.objects[key]
        listed = json.loads(good)['sha256s']
        values: dict[str, Any]
        for values in (
            {'version': '2'}, {'backup_id': 'x'}, {'volume_id': 'x'},
            {'chunk_size': 0}, {'chunk_size': 'x'}, {'chunk_size': 32},
            {'sha256s': listed[1:]}, {'sha256s': None},
            {'sha256s': [*listed, listed[0]]}, {'sha256s': {}},
        ):
            with self.subTest(**values):
                self.change(key, **values)
                self.assertEqual(
                    {key[1]}, {each.object for each in self.wrong()})
                self.cinder.objects[key] = good

    def test_hashes_must_be_as_many_as_there_are_blocks(self) -> None:
        key = self.cinder.name(OTHER, '_sha256file')
        listed = json.loads(self.cinder.objects[key])['sha256s']
        for hashes in [*listed, listed[0]], listed[1:], []:
            self.change(key, sha256s=hashes)
            with self.subTest(count=len(hashes)):
                [found] = self.wrong(OTHER)
                self.assertIn('; the volume has 16', found.problem)

    def test_hashes_must_be_json(self) -> None:
        key = self.cinder.name(OTHER, '_sha256file')
        good = self.cinder.objects[key]
        for old, new in (b'",\n    "', b'"\n    "'), (b'"\n  ]', b'",\n  ]'):
            self.assertIn(old, good)
            self.cinder.objects[key] = good.replace(old, new, 1)
            with self.assertRaises(ValueError):
                json.loads(self.cinder.objects[key])
            self.assertEqual(key[1], self.wrong(OTHER)[0].object)

    def test_an_object_at_a_wrong_place_is_found(self) -> None:
        key = self.cinder.name(NEWEST, '_metadata')
        good = self.cinder.objects[key]
        [(name, said)] = [
            item for each in self.metadata_of(NEWEST)['objects']
            for item in each.items()]
        for offset in said['offset'] - 64, said['offset'] - 1:
            self.change(key, objects=[{name: {**said, 'offset': offset}}])
            with self.subTest(offset=offset):
                wrong = self.wrong()
                for found in wrong:
                    self.assertIn('Take it from another copy', found.remedy)
                if offset % 64:
                    self.assertIn('none can begin', wrong[0].problem)
            self.cinder.objects[key] = good

    def test_a_parent_with_other_data_is_found(self) -> None:
        """Such as a copy of another store, in which it was made again."""
        other = stored.Cinder()
        data = bytearray(self.data)
        data[1500] ^= 1
        other.backup(FULL, 'v1', bytes(data))
        for key in self.cinder.names(FULL):
            self.cinder.objects[key] = other.objects[key]
        [found] = self.wrong()
        self.assertEqual(MIDDLE, found.backup_id)
        self.assertIn(f'in its parent {FULL}', found.problem)

    def test_the_store_and_the_record_must_have_the_same_parent(self) -> None:
        record = self.cinder.records[NEWEST]
        self.cinder.records[NEWEST] = records.Record(
            record.service, {**record.data, 'parent_id': FULL})
        found = self.wrong()
        self.assertIn(
            f'the parent is {MIDDLE}; the record of the backup says {FULL}',
            found[0].problem)

    def test_a_parent_without_a_record_is_told(self) -> None:
        del self.cinder.records[FULL]
        report = self.verify()
        self.assertEqual(
            {FULL: 'damaged', MIDDLE: 'damaged', NEWEST: 'damaged',
             OTHER: 'verified'},
            self.states(report))
        self.assertIn(f'no record of {FULL}', report.findings[0].problem)

    def test_a_chain_that_goes_in_a_circle_is_told(self) -> None:
        record = self.cinder.records[FULL]
        self.cinder.records[FULL] = records.Record(
            record.service, {**record.data, 'parent_id': NEWEST})
        self.assertIn('its own ancestor', self.wrong()[0].problem)

    def test_a_volume_that_is_larger_is_not_restored_whole(self) -> None:
        record = self.cinder.records[OTHER]
        self.cinder.records[OTHER] = records.Record(
            record.service, {**record.data, 'size': 2})
        self.assertIn('end at byte 1024; the volume has 2048', ' '.join(
            each.problem for each in self.wrong(OTHER)))

    def test_a_set_that_lacks_a_backup_is_told(self) -> None:
        found = self.set_of(NEWEST, OTHER)
        found = dataclasses.replace(found, backups=found.backups[:1])
        report = verifying.verify(
            found, self.read, self.store, self.timer, 1, self.said.append)
        self.assertFalse(report.is_good)
        self.assertIn('1 backups of 2', report.findings[0].problem)

    def test_a_backup_of_ceph_cannot_be_verified(self) -> None:
        record = self.cinder.records[OTHER]
        self.cinder.records[OTHER] = records.Record(
            records.CEPH, record.data)
        [found] = self.wrong(OTHER, state=backup_check.UNKNOWN)
        self.assertIn(records.CEPH, found.problem)


class UnreadTest(TestCase):
    """What could not be read is neither good nor damaged."""

    def break_(
        self, what: str, *failures: Exception
    ) -> str:
        name = self.cinder.name(MIDDLE, what)[1]
        self.store.failures[name] = list(failures)
        return name

    def test_a_fault_of_the_network_is_tried_again(self) -> None:
        for what in '_metadata', '_sha256file', '-00001':
            lost = stores.StoreError('lost', is_transient=True)
            name = self.break_(what, lost, lost, lost)
            with self.subTest(name):
                self.assertTrue(self.verify().is_good)
                self.assertEqual([], self.store.failures[name])

    def test_a_fault_that_stays_is_told(self) -> None:
        for what in '_metadata', '_sha256file', '-00001':
            name = self.break_(
                what, *[stores.StoreError('lost', is_transient=True)] * 9)
            with self.subTest(name):
                [found] = self.wrong(state=backup_check.UNKNOWN)
                self.assertEqual(name, found.object)
                self.assertIn('could not be read: lost', found.problem)
                self.assertIn('same command again', found.remedy)
                self.assertEqual(
                    {FULL: 'verified', MIDDLE: 'unknown', NEWEST: 'unknown',
                     OTHER: 'verified'},
                    self.states(self.verify()))
            self.store.failures.clear()

    def test_a_store_that_goes_away_is_not_waited_for_again(self) -> None:
        """For each of many objects, that could take days."""
        lost = stores.StoreError('lost', is_transient=True)
        self.break_('-00001', *[lost] * 4)
        [found] = self.wrong(state=backup_check.UNKNOWN)
        later = self.cinder.name(MIDDLE, '-00002')
        self.assertIn(later, self.cinder.objects)
        self.assertNotIn(later[1], self.store.reads)

    def test_a_full_disk_is_no_damage(self) -> None:
        file = mock.Mock()
        file.write.side_effect = OSError(28, 'No space left on device')
        with mock.patch.object(tempfile, 'TemporaryFile', return_value=file):
            found = self.wrong(state=backup_check.UNKNOWN)
        self.assertIn('No space left on device', found[0].problem)
        file.close.assert_called_with()

    def test_what_is_refused_is_not_tried_again(self) -> None:
        name = self.break_('-00001', stores.StoreError('Forbidden'))
        self.wrong(state=backup_check.UNKNOWN)
        self.assertEqual(1, self.store.reads[name])

    def test_a_store_that_lists_nothing_is_told(self) -> None:
        container = self.cinder.name(MIDDLE, '')[0]
        self.store.failures[container] = [stores.StoreError('Forbidden')]
        [found] = self.wrong(state=backup_check.UNKNOWN)
        self.assertEqual((MIDDLE, container), (found.backup_id, found.object))

    def test_an_object_that_is_not_listed_yet_is_no_damage(self) -> None:
        late = self.cinder.name(FULL, '-00001')[1]
        names = self.store.names
        with mock.patch.object(self.store, 'names', lambda *where: (
                each for each in names(*where) if each != late)):
            [found] = self.wrong(state=backup_check.UNKNOWN)
        self.assertEqual((FULL, late), (found.backup_id, found.object))
        self.assertIn('does not list it', found.problem)
        self.assertTrue(self.verify().is_good)

    def test_damage_counts_more_than_silence(self) -> None:
        del self.cinder.objects[self.cinder.name(FULL, '-00001')]
        self.break_('-00001', stores.StoreError('Forbidden'))
        self.assertEqual('damaged', self.states(self.verify())[NEWEST])

    def test_a_library_that_is_missing_is_told(self) -> None:
        self.change(
            self.cinder.name(OTHER, '_metadata'),
            objects=[
                {name: {**said, 'compression': 'zstd'}}
                for each in self.metadata_of(OTHER)['objects']
                for name, said in each.items()
            ])
        with mock.patch.dict('sys.modules', {'backports': None}):
            found = self.wrong(OTHER, state=backup_check.UNKNOWN)
        self.assertIn('osc-quiesce[zstd]', found[0].problem)

    def test_a_signal_stops_it(self) -> None:
        self.clock.is_stopped = True
        with self.assertRaises(backup_base.Stopped):
            self.verify()
        self.assertEqual(
            {'_metadata'}, {name[-9:] for name in self.store.reads})


class RegisteredTest(TestCase):
    def report(self) -> verifying.Report:
        return verifying.registered(self.set_of(NEWEST, OTHER), self.read)

    def test_nothing_is_called_verified_that_was_not_read(self) -> None:
        report = self.report()
        self.assertTrue(report.is_good)
        self.assertEqual(
            dict.fromkeys((FULL, MIDDLE, NEWEST, OTHER), 'not_read'),
            self.states(report))

    def test_a_parent_that_is_not_registered_is_told(self) -> None:
        del self.cinder.records[FULL]
        report = self.report()
        self.assertFalse(report.is_good)
        self.assertEqual(
            {FULL: 'damaged', MIDDLE: 'not_read', NEWEST: 'not_read',
             OTHER: 'not_read'},
            self.states(report))

    def test_a_cinder_that_fails_is_no_damage(self) -> None:
        with mock.patch.object(self, 'read', side_effect=cloud_api.CloudError(
                'must be available', 400)):
            self.assertEqual(
                {NEWEST: 'unknown', OTHER: 'unknown'},
                self.states(self.report()))

    def test_a_service_that_is_down_is_no_damage(self) -> None:
        clock = backup_base.Clock()
        site: Any = backup_base.FakeSite('a', clock, set())
        site.rows.update({each['id']: each for each in self.set_of(
            NEWEST, OTHER).backups})
        site.services = []
        report = verifying.registered(
            self.set_of(NEWEST, OTHER),
            bundles.reader(site, retry.Timer(clock, clock.sleep), {}))
        self.assertEqual(
            {NEWEST: 'unknown', OTHER: 'unknown'}, self.states(report))
        for each in report.findings:
            self.assertIn('no cinder-backup service is up', each.problem)
            self.assertIn('run the same command again', each.remedy)

    def test_who_may_not_read_records_is_told(self) -> None:
        with mock.patch.object(self, 'read', side_effect=cloud_api.CloudError(
                'Forbidden', 403)), self.assertRaises(cloud_api.CloudError):
            self.report()

    def test_a_backup_that_is_not_available_is_told(self) -> None:
        found = self.set_of(NEWEST, OTHER)
        found.backups[1]['status'] = 'error'
        report = verifying.registered(found, self.read)
        self.assertEqual(
            (OTHER, 'Its status is error.'),
            (report.findings[0].backup_id, report.findings[0].problem))


class MemoryTest(unittest.TestCase):
    """However much there is, little of it is in memory."""

    SIZE = 96 * 1024 * 1024
    MOST = 12 * 1024 * 1024  # bytes

    def setUp(self) -> None:
        super().setUp()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)

    def peak(self) -> int:
        return tracemalloc.get_traced_memory()[1]

    def zeros(self, compression: str) -> bytes:
        packed = stored.COMPRESS[compression](bytes(self.SIZE))
        tracemalloc.reset_peak()
        return packed

    def unpack(self, compression: str) -> None:
        packed = self.zeros(compression)
        pieces = (
            packed[at:at + stores.PIECE]
            for at in range(0, len(packed), stores.PIECE))
        size = most = 0
        for piece in unpacking.unpacked(pieces, compression):
            size += len(piece)
            most = max(most, len(piece))
        self.assertEqual(self.SIZE, size)
        self.assertLessEqual(most, unpacking.PIECE)
        self.assertLess(self.peak(), self.MOST)

    def test_zlib(self) -> None:
        self.unpack('zlib')

    def test_bz2(self) -> None:
        self.unpack('bz2')

    @stored.needs_zstd
    def test_zstd(self) -> None:
        self.unpack('zstd')

    def test_what_does_not_fit_is_not_lost(self) -> None:
        data = bytes(range(50)) * 7 + bytes(1000)
        for compression, pack in stored.COMPRESS.items():
            packed = pack(data)
            single = [packed[at:at + 1] for at in range(len(packed))]
            for size in 1, 7, 50, 1350:
                for pieces in [packed], single:
                    with self.subTest(
                        compression, size=size, pieces=len(pieces)
                    ), mock.patch.object(unpacking, 'PIECE', size):
                        self.assertEqual(data, b''.join(
                            unpacking.unpacked(pieces, compression)))

    def test_blocks_are_not_kept(self) -> None:
        chunk = chunks.Chunk('x', 0, self.SIZE, 'none', '')
        known = chunks.Hashes('b', 'v', 32768, 0, mock.Mock(
            read=lambda size: bytes(size)))
        comparison = chunks.Comparison(chunk, known)
        for _number in range(self.SIZE // stores.PIECE):
            comparison.add(bytes(stores.PIECE))
        self.assertEqual(self.SIZE // 32768, comparison.differing)
        self.assertLess(self.peak(), self.MOST)

    def test_hashes_are_in_a_file(self) -> None:
        count = 200_000

        def pieces() -> Iterator[bytes]:
            yield b'{\n  "chunk_size": 32768,\n  "sha256s": [\n'
            for number in range(count):
                comma = b',' if number < count - 1 else b''
                yield b'    "%064x"%b\n' % (number, comma)
            yield b'  ],\n  "version": "1.0.0"\n}'

        with open('/dev/null', 'wb') as file:
            found = chunks.hashes(pieces(), file)
        self.assertEqual(count, found.count)
        self.assertLess(self.peak(), 1024 * 1024)

    def test_a_line_without_end_is_not_kept(self) -> None:
        with self.assertRaises(unpacking.Damaged):
            chunks.hashes((bytes(stores.PIECE) for _ in range(96)),
                          mock.Mock())
        self.assertLess(self.peak(), self.MOST)
