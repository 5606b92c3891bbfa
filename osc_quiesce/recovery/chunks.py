# SPDX-License-Identifier: Apache-2.0

"""How Cinder's drivers that chunk write a backup, and how it is read.

A backup has objects with data of the volume, one object that says what these
are (``_metadata``), and one with the SHA-256 of each block of the whole volume
(``_sha256file``), of an incremental backup, too. Source: cinder/backup/
chunkeddriver.py. All of these are read in pieces but the metadata, which grow
with the number of objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import dataclasses
import hashlib
import json
import re
from typing import IO, Any, Final

from osc_quiesce.i18n import _
from osc_quiesce.recovery import unpacking

VERSION: Final = '1.0.0'
#: bytes of a SHA-256
DIGEST: Final = hashlib.sha256().digest_size
#: bytes of a list of hashes beside the hashes; Cinder limits the texts in it
_MOST_BESIDE: Final = 1024 * 1024
_HASH: Final = re.compile(rb' *"([0-9a-f]{64})"(,?)\n')


@dataclasses.dataclass(frozen=True)
class Chunk:
    """An object with a part of the volume.

    :param offset: bytes from the begin of the volume
    :param length: bytes, once unpacked
    :param md5: of the unpacked data
    """

    name: str
    offset: int
    length: int
    compression: str
    md5: str

    @property
    def end(self) -> int:
        return self.offset + self.length

    @property
    def may_break_silently(self) -> bool:
        """Whether Cinder restores it damaged, without an error.

        It compares no MD5. What is compressed by zlib or bz2 has a checksum in
        it; what Cinder compresses by zstd has none.
        """
        return self.compression in (*unpacking.NONE, unpacking.ZSTD)


@dataclasses.dataclass(frozen=True)
class Index:
    """What the metadata of a backup say.

    :param parent_id: of which backup it has the differences; None if it is
        full
    """

    backup_id: str
    volume_id: str
    parent_id: str | None
    chunks: tuple[Chunk, ...]


def index(text: bytes) -> Index:
    """Return what the metadata of a backup say.

    :raises unpacking.Damaged: they are not metadata of this version
    """
    data = _document(text)
    try:
        if data['volume_meta']:
            json.loads(data['volume_meta'])  # so does a restore
        return Index(
            str(data['backup_id']), str(data['volume_id']),
            data['parent_id'] or None,
            tuple(_chunk(*item) for each in data['objects']
                  for item in each.items()))
    except (AttributeError, LookupError, TypeError, ValueError) as exc:
        raise unpacking.Damaged(
            _('It is not what Cinder writes (%s).') % exc) from exc


def _chunk(name: str, data: dict[str, Any]) -> Chunk:
    offset, length = data['offset'], data['length']
    if not isinstance(offset, int) or not isinstance(length, int):
        raise TypeError(_('not a number'))
    return Chunk(name, offset, length, str(data['compression']).lower(),
                 str(data['md5']))


def _document(text: bytes) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as exc:
        raise unpacking.Damaged(_('It is not JSON (%s).') % exc) from exc
    if not isinstance(data, dict) or data.get('version') != VERSION:
        raise unpacking.Damaged(_('It is not of version %s.') % VERSION)
    return data


@dataclasses.dataclass(frozen=True)
class Hashes:
    """The SHA-256 of each block of a volume, in a file.

    :param block: bytes of a block
    :param count: of blocks
    """

    backup_id: str
    volume_id: str
    block: int
    count: int
    file: IO[bytes]

    def get(self, first: int, count: int) -> bytes:
        """Return the hashes of some blocks, one after the other."""
        self.file.seek(first * DIGEST)
        return self.file.read(count * DIGEST)


def hashes(pieces: Iterable[bytes], file: IO[bytes]) -> Hashes:
    """Return the list of hashes that Cinder has written in JSON.

    Each of them is in a line of its own, so that they need not be in memory,
    as they are while Cinder writes them.

    :param file: where they are kept; nothing is in it yet
    :raises unpacking.Damaged: it is not such a list
    """
    beside = bytearray()
    count = 0
    comma = b','
    for line in _lines(pieces):
        found = _HASH.fullmatch(line)
        if found and comma:
            comma = found[2]
            count += 1
            file.write(bytes.fromhex(found[1].decode()))
            continue
        beside += line
        if len(beside) > _MOST_BESIDE:
            raise unpacking.Damaged(_('It is not what Cinder writes.'))
    file.flush()  # now it turns out whether there was room
    data = _document(bytes(beside))
    block = data.get('chunk_size')
    if data.get('sha256s') != [] or (count and comma) or not (
            isinstance(block, int) and block > 0):
        raise unpacking.Damaged(_('It is not what Cinder writes.'))
    return Hashes(str(data.get('backup_id')), str(data.get('volume_id')),
                  block, count, file)


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    left = b''
    for piece in pieces:
        *lines, left = (left + piece).split(b'\n')
        for line in lines:
            yield line + b'\n'
        if len(left) > _MOST_BESIDE:
            raise unpacking.Damaged(_('It is not what Cinder writes.'))
    yield left


class Comparison:
    """Compares the data of a chunk, piece by piece, with what is known of it.

    :param known: the hashes of the volume, if there are any
    :ivar differing: how many blocks do not have the hash that is known
    """

    def __init__(self, chunk: Chunk, known: Hashes | None) -> None:
        self._chunk = chunk
        self._known = known
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._length = 0
        self._block = bytearray()
        self._number = chunk.offset // known.block if known else 0
        self.differing = 0

    def add(self, piece: bytes) -> None:
        """Take the next piece.

        :raises unpacking.Damaged: there is more than there should be
        """
        self._length += len(piece)
        if self._length > self._chunk.length:
            raise unpacking.Damaged(
                _('It holds more than the %d bytes that it should.')
                % self._chunk.length)
        self._md5.update(piece)
        if self._known:
            self._block += piece
            self._take(self._known)

    def end(self) -> None:
        """Judge the chunk as a whole.

        :raises unpacking.Damaged: it is not what was backed up
        """
        if self._length != self._chunk.length:
            raise unpacking.Damaged(
                _('It holds %(got)d bytes instead of %(length)d.') % {
                    'got': self._length, 'length': self._chunk.length})
        if self._md5.hexdigest() != self._chunk.md5:
            raise unpacking.Damaged(
                _('It holds data other than those backed up: the MD5 '
                  'differs.'))
        if self._known:
            self._take(self._known, is_last=True)

    def _take(self, known: Hashes, is_last: bool = False) -> None:
        """Compare the blocks that are complete."""
        ends = len(self._block)
        if not is_last:
            ends -= ends % known.block
        digests = b''.join(
            hashlib.sha256(self._block[begin:begin + known.block]).digest()
            for begin in range(0, ends, known.block))
        del self._block[:ends]
        count = len(digests) // DIGEST
        self.differing += differing(known.get(self._number, count), digests)
        self._number += count


def differing(one: bytes, other: bytes) -> int:
    """Return how many of the hashes in both differ; what lacks one does."""
    if one == other:
        return 0
    return sum(one[at:at + DIGEST] != other[at:at + DIGEST]
               for at in range(0, max(len(one), len(other)), DIGEST))
