# SPDX-License-Identifier: Apache-2.0

"""Undoing the compression of an object of a backup, in bounded memory."""

from __future__ import annotations

import bz2
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Protocol
import zlib

from osc_quiesce.application import errors
from osc_quiesce.i18n import _

#: bytes of unpacked data at once
PIECE: Final = 1024 * 1024
#: names of no compression
NONE: Final = ('none', 'off', 'no')
ZSTD: Final = 'zstd'


class Damaged(errors.ApplicationError):
    """Something is not as Cinder has written it.

    In the message, "it" is the object.
    """


class NoDecompressor(errors.ApplicationError):
    """A library is missing, so that an object cannot be judged."""


class _Engine(Protocol):
    """What undoes a compression, in the way of Python's :mod:`bz2`."""

    @property
    def eof(self) -> bool:
        """Whether the compressed data have come to their end."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing comes out before more is put in."""

    @property
    def unused_data(self) -> bytes:
        """What was put in after the end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return what comes out, at most that many bytes of it."""


class _Zlib:
    """zlib, in the way of Python's :mod:`bz2`."""

    def __init__(self) -> None:
        self._engine = zlib.decompressobj()

    @property
    def eof(self) -> bool:
        return self._engine.eof

    @property
    def needs_input(self) -> bool:
        return not self._engine.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._engine.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._engine.decompress(
            self._engine.unconsumed_tail + data, max_length)


def _zstd() -> Any:
    try:
        from backports import zstd
    except ImportError as exc:
        raise NoDecompressor(
            _('It is compressed by zstd, for which backports.zstd is missing '
              'here: install "osc-quiesce[zstd]".')) from exc
    return zstd.ZstdDecompressor()


_ENGINES: Final[dict[str, Callable[[], _Engine]]] = {
    'zlib': _Zlib,
    'gzip': _Zlib,
    'bz2': bz2.BZ2Decompressor,
    'bzip2': bz2.BZ2Decompressor,
    ZSTD: _zstd}


def unpacked(pieces: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """Yield what an object holds.

    Data that were compressed come in pieces of at most PIECE bytes, however
    much they were compressed.

    :param compression: what the metadata call it
    :raises Damaged: it cannot be unpacked, or not to its end
    :raises NoDecompressor: a library is missing
    """
    if compression in NONE:
        yield from pieces
        return
    if compression not in _ENGINES:
        raise Damaged(_('It is compressed by "%s", which Cinder does not '
                        'know.') % compression)
    engine = _ENGINES[compression]()
    for piece in pieces:
        if engine.eof:
            raise Damaged(_('It goes on after the end of its data.'))
        yield from _fed(engine, piece)
    if not engine.eof:
        raise Damaged(_('It ends before the end of its data.'))
    if engine.unused_data:
        raise Damaged(_('It goes on after the end of its data.'))


def _fed(engine: _Engine, piece: bytes) -> Iterator[bytes]:
    """Yield what comes out for a piece that is put in."""
    while True:
        try:
            data = engine.decompress(piece, PIECE)
        except Exception as exc:  # of each library another one
            raise Damaged(_('It cannot be decompressed (%s).') % exc) from exc
        yield data
        if engine.eof or engine.needs_input:
            return
        piece = b''
