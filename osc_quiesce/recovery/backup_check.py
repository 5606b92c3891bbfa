# SPDX-License-Identifier: Apache-2.0

"""Whether a store holds one backup as Cinder has written it.

Everything is compared: the metadata with the record, the list of objects and
the list of hashes with the metadata, each object with both, and what the
backup does not hold with the hashes of its parent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
import contextlib
import dataclasses
import tempfile
from typing import Final, TypeVar

from osc_quiesce.i18n import _
from osc_quiesce.recovery import chunks
from osc_quiesce.recovery import reading
from osc_quiesce.recovery import records
from osc_quiesce.recovery import stores
from osc_quiesce.recovery import unpacking

#: all of it was read, and is as it was written
VERIFIED: Final = 'verified'
#: something is wrong
DAMAGED: Final = 'damaged'
#: it could not be read, so nothing is known
UNKNOWN: Final = 'unknown'
#: it is known to Cinder, and was not read
NOT_READ: Final = 'not_read'

GIB: Final = 1024 ** 3
#: blocks of which the hashes are compared at once
_AT_ONCE: Final = 32768

_DATA_LOST: Final = _(
    'Take it from another copy of the store. Without one, do not rely on this '
    'backup and on later ones of its chain: make a full backup.')
_HASHES_LOST: Final = _(
    'A restore does not need it; the next incremental backup and the proof of '
    'a restore do: make a full backup next time.')
#: what to do about what is UNKNOWN
READ_AGAIN: Final = _('Remove the cause, and run the same command again.')

_T = TypeVar('_T')


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is so with a backup, or with one object of it.

    :param volume_id: of the source
    :param object: name of the object, or of the container
    :param problem: what is wrong, as a sentence; empty if nothing is
    :param remedy: what to do about it, as a sentence
    """

    backup_id: str
    volume_id: str
    state: str
    object: str = ''
    problem: str = ''
    remedy: str = ''


class Check:
    """The check of one backup.

    :param record: that of the backup
    :param parent: the hashes of its parent; None if it has none, or they are
        not known
    :ivar findings: what is wrong, in the order in which it was found
    :ivar hashes: those of the backup, if they are there
    """

    def __init__(self, reader: reading.Reader, record: records.Record,
                 parent: chunks.Hashes | None) -> None:
        self._reader = reader
        self._record = record
        self._parent = parent
        self._prefix = str(record.data.get('service_metadata') or '')
        self._container = str(record.data.get('container') or '')
        self._size = record.size * GIB
        self._is_away = False
        self.findings: list[Finding] = []
        self.hashes: chunks.Hashes | None = None

    def run(self) -> None:
        """Read all of it, and find what is wrong."""
        if not self._prefix or not self._container or self._record.is_of_ceph:
            self._add(UNKNOWN, '', _('It is in no store that can be verified: '
                                     'its driver is %s.')
                      % self._record.service,
                      _('Rehearse a restore of it.'))
            return
        index = self._get(self._metadata, self._index, _DATA_LOST)
        if index is None:
            return
        self._check_ids(index)
        self.hashes = self._get(self._sha256file, self._hashes, _HASHES_LOST)
        if self.hashes:
            self._check_hashes(index, self.hashes)
        unlisted = self._check_names(index)
        known = self.hashes if self._check_extents(index) else None
        differing = 0
        for chunk in index.chunks:
            if self._is_away:
                return  # each of the others would take as long
            differing += self._check_chunk(chunk, known, unlisted)
        if differing:
            # The objects of an incremental backup may be at a wrong offset.
            self._add(DAMAGED, self._sha256file,
                      _('The hashes of %d blocks are not those of the data, '
                        'which have the right MD5.') % differing,
                      _DATA_LOST if index.parent_id else _HASHES_LOST)
        if known and self._parent:
            self._check_rest(index, known, self._parent)

    @property
    def _metadata(self) -> str:
        return f'{self._prefix}_metadata'

    @property
    def _sha256file(self) -> str:
        return f'{self._prefix}_sha256file'

    def _add(self, state: str, name: str, problem: str,
             remedy: str) -> None:
        self.findings.append(Finding(
            self._record.id, source_volume(self._record), state, name, problem,
            remedy))

    def _get(self, name: str, call: Callable[[], _T],
             remedy: str) -> _T | None:
        """Return what comes of an object, or add what is wrong with it."""
        try:
            return self._reader.again(call)
        except stores.NotInStore:
            self._add(DAMAGED, name, _('It is not in the store.'), remedy)
        except unpacking.Damaged as exc:
            self._add(DAMAGED, name, str(exc), remedy)
        except unpacking.NoDecompressor as exc:
            self._add(UNKNOWN, name, str(exc), READ_AGAIN)
        except stores.StoreError as exc:
            self._is_away = exc.is_transient
            self._add(UNKNOWN, name, _('It could not be read: %s.')
                      % str(exc).rstrip('.'), READ_AGAIN)
        return None

    def _read(self, name: str) -> Generator[bytes, None, None]:
        return self._reader.read(self._container, name)

    def _index(self) -> chunks.Index:
        return chunks.index(b''.join(self._read(self._metadata)))

    def _hashes(self) -> chunks.Hashes:
        file = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            with contextlib.closing(self._read(self._sha256file)) as pieces:
                return chunks.hashes(pieces, file)
        except OSError as exc:
            file.close()
            raise stores.StoreError(
                _('the list of hashes does not fit into %(folder)s here '
                  '(%(why)s)') % {
                      'folder': tempfile.gettempdir(), 'why': exc}) from exc
        except BaseException:
            file.close()
            raise

    def _check_ids(self, index: chunks.Index) -> None:
        """See that the metadata are of this backup, and of its volume."""
        of_volume = self._prefix.startswith((
            f'volume_{index.volume_id}_', f'volume_{index.volume_id}/'))
        if index.backup_id != self._record.id or not of_volume:
            self._add(DAMAGED, self._metadata,
                      _('It is of backup %(backup)s of volume %(volume)s.') % {
                          'backup': index.backup_id,
                          'volume': index.volume_id}, _DATA_LOST)
        parent = records.parent_id(self._record)
        if index.parent_id != parent:
            self._add(DAMAGED, self._metadata,
                      _('It says that the parent is %(store)s; the record '
                        'of the backup says %(record)s.') % {
                            'store': index.parent_id or _('none'),
                            'record': parent or _('none')}, _DATA_LOST)

    def _check_hashes(self, index: chunks.Index,
                      found: chunks.Hashes) -> None:
        """See that the list of hashes is of this backup, and whole.

        If it is not, it is not used.
        """
        wanted = -(-self._size // found.block)
        if (found.backup_id, found.volume_id) != (
                index.backup_id, index.volume_id):
            problem = _('It is of backup %(backup)s of volume %(volume)s.') % {
                'backup': found.backup_id, 'volume': found.volume_id}
        elif found.count != wanted:
            problem = _('It has hashes of %(count)d blocks; the volume has '
                        '%(wanted)d.') % {
                            'count': found.count, 'wanted': wanted}
        elif self._parent and self._parent.block != found.block:
            problem = _('Its blocks have %(own)d bytes, those of the parent '
                        '%(parent)d.') % {
                            'own': found.block, 'parent': self._parent.block}
        else:
            return
        self._add(DAMAGED, self._sha256file, problem, _HASHES_LOST)
        found.file.close()
        self.hashes = None

    def _check_names(self, index: chunks.Index) -> set[str]:
        """Return which objects the store does not list.

        Cinder does not restore if it lists others than Cinder has written.
        """
        there = self._get(self._container, lambda: set(
            self._reader.names(self._container, self._prefix)),
            _DATA_LOST)
        if there is None:
            return set()
        wanted = {chunk.name for chunk in index.chunks}
        for name in sorted(
                there - wanted - {self._metadata, self._sha256file}):
            self._add(DAMAGED, name,
                      _('The backup does not have this object, and Cinder '
                        'refuses to restore while it is there.'),
                      _('Find out where it is from, and move it away.'))
        return wanted - there

    def _check_extents(self, index: chunks.Index) -> bool:
        """Return whether the objects are parts of the volume, in order."""
        is_full = index.parent_id is None
        block = self.hashes.block if self.hashes else 1
        end = 0
        for chunk in index.chunks:
            if (not chunk.name.startswith(f'{self._prefix}-')
                    or chunk.length <= 0 or chunk.offset % block
                    or chunk.offset < end or (is_full and chunk.offset > end)):
                self._add(DAMAGED, self._metadata,
                          _('It has object %(name)s at byte %(offset)d of the '
                            'volume, where none can begin: the one before '
                            'ends at %(end)d.') % {
                                'name': chunk.name, 'offset': chunk.offset,
                                'end': end}, _DATA_LOST)
                return False
            end = chunk.end
        if end > self._size or (is_full and end != self._size):
            self._add(DAMAGED, self._metadata,
                      _('Its objects end at byte %(end)d; the volume has '
                        '%(size)d bytes.') % {
                            'end': end, 'size': self._size}, _DATA_LOST)
            return False
        return True

    def _check_chunk(self, chunk: chunks.Chunk, known: chunks.Hashes | None,
                     unlisted: Collection[str]) -> int:
        """Return how many blocks of an object have another hash."""

        def compare() -> int:
            comparison = chunks.Comparison(chunk, known)
            with contextlib.closing(self._read(chunk.name)) as pieces:
                for piece in unpacking.unpacked(pieces, chunk.compression):
                    comparison.add(piece)
                    self._reader.compared(len(piece))
            comparison.end()
            return comparison.differing

        differing = self._get(chunk.name, compare, _DATA_LOST)
        if differing is None:
            return 0
        self._reader.good(chunk)
        if chunk.name in unlisted:  # object stores may list it later
            self._add(UNKNOWN, chunk.name,
                      _('It is there, but the store does not list it, and '
                        'Cinder refuses to restore before it does.'),
                      READ_AGAIN)
        return differing

    def _check_rest(self, index: chunks.Index, own: chunks.Hashes,
                    parent: chunks.Hashes) -> None:
        """See that what the backup does not hold is as in its parent."""
        differing = 0
        begin = 0
        for chunk in (*index.chunks, None):
            end = chunk.offset // own.block if chunk else own.count
            for first in range(begin, end, _AT_ONCE):
                self._reader.rest()
                count = min(_AT_ONCE, end - first)
                differing += chunks.differing(
                    own.get(first, count), parent.get(first, count))
            begin = -(-chunk.end // own.block) if chunk else end
        if differing:
            self._add(DAMAGED, self._sha256file,
                      _('%(count)d blocks that the backup does not hold have '
                        'other hashes than in its parent %(parent)s.') % {
                            'count': differing, 'parent': index.parent_id},
                      _DATA_LOST)


def source_volume(record: records.Record) -> str:
    """Return of which volume a backup was made.

    The record may have been rewritten for a target volume; the names of the
    objects never are.
    """
    prefix = str(record.data.get('service_metadata') or '')
    if prefix.startswith('volume_'):
        return prefix.removeprefix('volume_').split('/')[0].split('_')[0]
    return record.volume_id
