# SPDX-License-Identifier: Apache-2.0

"""Backups in a store, written and restored as Cinder does it.

Nothing of ours is used here. Source: cinder/backup/chunkeddriver.py, and the
drivers posix and swift.
"""

from __future__ import annotations

import bz2
from collections.abc import Callable, Generator, Iterator
import hashlib
import json
import pathlib
from typing import Any
import unittest
import zlib

from osc_quiesce.recovery import records
from osc_quiesce.recovery import stores

try:
    from backports import zstd
except ImportError:
    zstd = None

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    'zlib': zlib.compress, 'gzip': zlib.compress,
    'bz2': bz2.compress, 'bzip2': bz2.compress,
}
DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    'zlib': zlib.decompress, 'gzip': zlib.decompress,
    'bz2': bz2.decompress, 'bzip2': bz2.decompress,
    'none': bytes,
}
if zstd:
    COMPRESS['zstd'] = zstd.compress
    DECOMPRESS['zstd'] = zstd.decompress

needs_zstd = unittest.skipUnless(zstd, 'backports.zstd is not installed')

DRIVER = 'cinder.backup.drivers.%s'


class Cinder:
    """A cinder-backup.

    :param block: bytes of which the differences are found
    :param chunk: bytes of an object, at most
    :ivar objects: all that is in the store, by container and name
    :ivar records: of the backups, by their IDs
    """

    def __init__(
        self,
        driver: str = 'posix.PosixBackupDriver',
        compression: str = 'zlib',
        block: int = 64,
        chunk: int = 256,
        size_unit: int = 1024,
    ) -> None:
        self.driver = driver
        self.compression = compression
        self.block = block
        self.chunk = chunk
        self.size_unit = size_unit
        self.objects: dict[tuple[str, str], bytes] = {}
        self.records: dict[str, records.Record] = {}

    def backup(
        self,
        id_: str,
        volume_id: str,
        data: bytes,
        parent: str | None = None,
        **more: Any,
    ) -> records.Record:
        """Back up a volume with these data."""
        container, prefix = self._place(id_, volume_id)
        before = self._hashes(parent) if parent else None
        now = [
            hashlib.sha256(data[at:at + self.block]).hexdigest()
            for at in range(0, len(data), self.block)
        ]
        listed: list[dict[str, Any]] = []
        for offset, part in self._extents(data, now, before):
            name = f'{prefix}-{len(listed) + 1:05d}'
            algorithm, stored = self._packed(part)
            self.objects[container, name] = stored
            listed.append({name: {
                'offset': offset,
                'length': len(part),
                'compression': algorithm,
                'md5': hashlib.md5(part, usedforsecurity=False).hexdigest(),
            }})
        common = {
            'version': '1.0.0',
            'backup_id': id_,
            'volume_id': volume_id,
            'backup_name': f'name of {id_}',
            'backup_description': None,
            'created_at': '2026-11-29 02:00:00+00:00',
        }
        self._write(container, f'{prefix}_sha256file', {
            **common, 'chunk_size': self.block, 'sha256s': now})
        self._write(container, f'{prefix}_metadata', {
            **common, 'objects': listed, 'parent_id': parent,
            'volume_meta': json.dumps({'version': 2})})
        record = records.Record(DRIVER % self.driver, {
            'id': id_,
            'volume_id': volume_id,
            'parent_id': parent,
            'container': container,
            'service_metadata': prefix,
            'size': len(data) // self.size_unit,
            'object_count': len(listed),
            'metadata': {},
            **more,
        })
        self.records[id_] = record
        return record

    def restore(self, id_: str) -> bytes:
        """Return what a restore writes into a volume, or raise."""
        data = bytearray()
        for record in self._chain(id_):
            container, prefix = self._where(record.id)
            metadata = self._read(container, f'{prefix}_metadata')
            if metadata['version'] != '1.0.0':
                raise ValueError('No support to restore backup version')
            names = [name for each in metadata['objects'] for name in each]
            there = [
                name for where, name in self.objects
                if where == container and name.startswith(prefix)
                and not name.endswith(('_metadata', '_sha256file'))
            ]
            if sorted(names) != sorted(there):
                raise ValueError('actual object list does not match')
            for each in metadata['objects']:
                name, said = next(iter(each.items()))
                part = DECOMPRESS[said['compression'].lower()](
                    self.objects[container, name])
                end = said['offset'] + len(part)
                data.extend(bytes(max(0, end - len(data))))
                data[said['offset']:end] = part
            if metadata['volume_meta']:
                json.loads(metadata['volume_meta'])
        return bytes(data)

    def names(self, id_: str) -> list[tuple[str, str]]:
        """Return all objects of a backup: metadata, hashes, data."""
        container, prefix = self._where(id_)
        return [
            key for key in sorted(self.objects)
            if key[0] == container and key[1].startswith(prefix)
        ]

    def name(self, id_: str, what: str) -> tuple[str, str]:
        """Return where something of a backup is.

        :param what: such as ``_metadata`` or ``-00001``
        """
        container, prefix = self._where(id_)
        return container, prefix + what

    def save(self, path: str) -> None:
        """Write all of it into a directory."""
        for (container, name), data in self.objects.items():
            where = pathlib.Path(path) / container / name
            where.parent.mkdir(parents=True, exist_ok=True)
            where.write_bytes(data)

    def _place(self, id_: str, volume_id: str) -> tuple[str, str]:
        moment = f'202611290200{len(self.records):02d}'
        if self.driver.startswith('posix'):
            return (
                f'{id_[0:2]}/{id_[2:4]}/{id_}',
                f'volume_{volume_id}_{moment}_backup_{id_}',
            )
        return (
            'volumebackups',
            f'volume_{volume_id}/{moment}/az_nova_backup_{id_}',
        )

    def _where(self, id_: str) -> tuple[str, str]:
        data = self.records[id_].data
        return data['container'], data['service_metadata']

    def _chain(self, id_: str) -> list[records.Record]:
        found = [self.records[id_]]
        while found[0].data['parent_id']:
            found.insert(0, self.records[found[0].data['parent_id']])
        return found

    def _extents(
        self, data: bytes, now: list[str], before: list[str] | None
    ) -> Iterator[tuple[int, bytes]]:
        for begin in range(0, len(data), self.chunk):
            end = min(begin + self.chunk, len(data))
            if before is None:
                yield begin, data[begin:end]
                continue
            start = None
            for at in range(begin, end, self.block):
                number = at // self.block
                if now[number] != before[number]:
                    start = at if start is None else start
                elif start is not None:
                    yield start, data[start:at]
                    start = None
            if start is not None:
                yield start, data[start:end]

    def _packed(self, data: bytes) -> tuple[str, bytes]:
        if self.compression == 'none':
            return 'none', data
        packed = COMPRESS[self.compression](data)
        if len(packed) >= len(data):
            return 'none', data
        return self.compression, packed

    def _hashes(self, id_: str) -> list[str]:
        found: list[str] = self._read(
            *self.name(id_, '_sha256file'))['sha256s']
        return found

    def _write(self, container: str, name: str, data: Any) -> None:
        self.objects[container, name] = json.dumps(
            data, sort_keys=True, indent=2).encode()

    def _read(self, container: str, name: str) -> Any:
        return json.loads(self.objects[container, name])


class Memory:
    """A store that has what a Cinder has written.

    :param piece: bytes that are read at once
    :ivar failures: what the next reads of an object raise, by its name
    :ivar reads: how often each object was read
    """

    def __init__(self, cinder: Cinder, piece: int = 50) -> None:
        self._cinder = cinder
        self._piece = piece
        self.failures: dict[str, list[Exception]] = {}
        self.reads: dict[str, int] = {}

    def names(self, container: str, prefix: str) -> Iterator[str]:
        self._fail(container)
        for where, name in self._cinder.objects:
            if where == container and name.startswith(prefix):
                yield name

    def read(
        self, container: str, name: str
    ) -> Generator[bytes, None, None]:
        self.reads[name] = self.reads.get(name, 0) + 1
        data = self._cinder.objects.get((container, name))
        if data is None:
            raise stores.NotInStore(f'{name} is not there')
        for at in range(0, len(data), self._piece):
            yield data[at:at + self._piece]
        self._fail(name)

    def _fail(self, name: str) -> None:
        if self.failures.get(name):
            raise self.failures[name].pop(0)
