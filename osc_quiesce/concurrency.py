# SPDX-License-Identifier: Apache-2.0

"""Several requests under way at once."""

import collections
from collections.abc import Callable, Hashable, Iterable
import concurrent.futures
import contextlib
import functools
import threading
import time
from typing import Any, Final, Self, TypeVar

#: as many as a session keeps connections to one host
THREADS: Final = 10
#: seconds between two looks whether calls have ended
_GLANCE: Final = 1.0

_T = TypeVar('_T')
_U = TypeVar('_U')
Future = concurrent.futures.Future


class Calls:
    """Calls in threads, in a ``with`` block.

    What has begun comes to its end before the block is left, whatever is
    raised, even if a signal raises again and again: a request that went on in
    a thread could do harm after what it was sent for. What has not begun by
    then never begins.

    :param threads: how many at once; THREADS by default
    :param may_block: whether a call is made in the calling thread if the
        system allows no new one: else beginning it raises RuntimeError
    :ivar is_awaited: whether what has begun comes to its end before the block
        is left
    """

    def __init__(self, threads: int | None = None,
                 may_block: bool = True) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(threads or THREADS)
        self._may_block = may_block
        self.is_awaited = True
        self._stopped = False
        self._waiting: collections.deque[
            tuple[Future[Any], Callable[[], Any]]] = collections.deque()
        self._begun: list[object] = []
        self._ended: list[object] = []

    def begin(self, call: Callable[..., _T], *args: Any) -> Future[_T]:
        """Begin a call as soon as a thread is free."""
        future: Future[_T] = Future()
        self._waiting.append((future, functools.partial(call, *args)))
        try:
            self._pool.submit(self._make_next)
        except RuntimeError:  # can't start new thread
            if not self._may_block:
                raise
            self._make_next()
        return future

    def _make_next(self) -> None:
        """Make the call that has waited longest, if one still waits."""
        try:
            self._begun.append(None)  # before it is seen whether to go on
            future, call = self._waiting.popleft()
            if self._stopped:
                future.cancel()
            else:
                _settle(future, call)
        except IndexError:  # the calling thread has made it
            pass
        finally:
            self._ended.append(None)

    def stop(self) -> None:
        """Begin no more calls."""
        self._stopped = True
        with contextlib.suppress(IndexError):
            while True:
                self._waiting.popleft()[0].cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if not self.is_awaited:
            self.stop()
            self._pool.shutdown(wait=False)
            return
        try:
            self.stop()
            self._pool.shutdown(cancel_futures=True)
        finally:
            self._wait()

    def _wait(self) -> None:
        """Wait, even if something is raised in this time.

        The pool cannot be relied on to wait: Python 3.11 takes a thread for
        ended if a signal raises while it is joined.
        """
        interrupt: BaseException | None = None
        while True:
            try:
                self.stop()
                while len(self._ended) < len(self._begun):
                    time.sleep(0.01)
                break
            except BaseException as error:
                interrupt = interrupt or error
        if interrupt:
            raise interrupt


def _settle(future: Future[_T], call: Callable[[], _T]) -> None:
    """Make a call, and note in a future what came of it."""
    try:
        result = call()
    except BaseException as exc:
        future.set_exception(exc)
        if not isinstance(exc, Exception):  # a signal, in the main thread
            raise
    else:
        future.set_result(result)


def run_all(function: Callable[[_T], _U], items: Iterable[_T],
            threads: int | None = None) -> list[_U]:
    """Call a function with each item, in threads, and return the results.

    :param threads: as for :class:`Calls`
    :returns: in the order of the items
    :raises Exception: what the first of the items, in their order, has raised;
        all are called nevertheless
    """
    with Calls(threads) as calls:
        futures = [calls.begin(function, item) for item in items]
        # Not without a limit: a signal that arrives just before the main
        # thread begins to wait is not handled until it ends.
        while concurrent.futures.wait(futures, _GLANCE).not_done:
            pass
    return [future.result() for future in futures]


class Once:
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
