# SPDX-License-Identifier: Apache-2.0

"""Reading a store: again after a fault, told to the user, stopped by a signal.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
import contextlib
import threading
from typing import Final, TypeVar

from osc_quiesce.i18n import _
from osc_quiesce.recovery import chunks
from osc_quiesce.recovery import stores
from osc_quiesce import retry

#: seconds before what could not be read is read again
_PAUSES: Final = (1.0, 5.0, 15.0)
#: seconds between two sentences about the progress
_EVERY: Final = 5.0

_T = TypeVar('_T')


class Reader:
    """Reads a store for all checks of one run.

    :param backups: how many there are
    :param progress: is told what is done, in a sentence
    :ivar size: bytes that were read
    :ivar objects: how many objects with data were found good
    :ivar silent: of them, those that Cinder would restore damaged, without an
        error, if they were
    """

    def __init__(self, store: stores.Store, timer: retry.Timer, backups: int,
                 progress: Callable[[str], object]) -> None:
        self._store = store
        self._timer = timer
        self.size = self.objects = self.silent = 0
        self._backups = backups
        self._progress = progress
        self._lock = threading.Lock()
        self._begin = self._said = timer.clock()
        self._done = self._compared = 0

    def read(self, container: str, name: str) -> Generator[bytes, None, None]:
        """Yield an object in pieces; a signal may stop it at each.

        :raises stores.NotInStore: it is not there
        :raises stores.StoreError: it cannot be read
        """
        with contextlib.closing(self._store.read(container, name)) as pieces:
            for piece in pieces:
                self.rest()
                with self._lock:
                    self.size += len(piece)
                yield piece

    def names(self, container: str, prefix: str) -> set[str]:
        """Return the names of the objects that begin with something."""
        return set(self._store.names(container, prefix))

    def rest(self) -> None:
        """Let a signal stop the run here."""
        self._timer.sleep(0)

    def again(self, call: Callable[[], _T]) -> _T:
        """Return what a call returns, repeated if a read has failed.

        A fault of the network must not count as one of the store.
        """
        for pause in _PAUSES:
            try:
                return call()
            except stores.StoreError as exc:
                if not exc.is_transient:
                    raise
            self._timer.sleep(pause)
        return call()

    def compared(self, size: int) -> None:
        """Count bytes of a volume; a signal may stop the run here."""
        self.rest()
        self._count(size=size)

    def good(self, chunk: chunks.Chunk) -> None:
        """Count an object with data."""
        with self._lock:
            self.objects += 1
            self.silent += chunk.may_break_silently

    def done(self) -> None:
        """Count a backup."""
        self._count(backups=1)

    def _count(self, size: int = 0, backups: int = 0) -> None:
        with self._lock:
            self._compared += size
            self._done += backups
            now = self._timer.clock()
            if now < self._said + _EVERY and not backups:
                return
            self._said = now
            self._progress(
                _('Verifying: %(done)d of %(all)d backups done, %(size).1f '
                  'GiB compared in %(seconds)d s ...') % {
                      'done': self._done, 'all': self._backups,
                      'size': self._compared / 1024 ** 3,
                      'seconds': now - self._begin})
