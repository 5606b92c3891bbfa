# SPDX-License-Identifier: Apache-2.0

"""What is the same for several servers is read once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
import threading
from typing import Any, TypeVar

_T = TypeVar('_T')


class Shared:
    """What was read so far; threads that want the same wait for one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._found: dict[Hashable, Any] = {}

    def read(self, key: Hashable, read: Callable[[], _T]) -> _T:
        """Return what is read the first time that this key is asked for.

        What is raised is not remembered.
        """
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._found:
                self._found[key] = read()
            found: _T = self._found[key]
            return found
