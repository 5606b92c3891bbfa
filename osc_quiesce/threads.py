# SPDX-License-Identifier: Apache-2.0

"""Several requests under way at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
import concurrent.futures
import time
from typing import Final, TypeVar, cast

# As many as a session keeps connections to one host.
THREADS: Final = 10

_T = TypeVar('_T')
_U = TypeVar('_U')


def at_once(
    do: Callable[[_T], _U],
    items: Iterable[_T],
    threads: int = THREADS,
    stop_at_error: bool = False,
) -> list[_U]:
    """Do something with all items in threads, and return what comes of it.

    What has begun comes to its end, whatever happens: also if a signal raises
    here again and again. Then no more items are begun.

    :param do: called with each item
    :param threads: how many at once
    :param stop_at_error: whether to begin with no more items after an error
    :raises Exception: what the first of them in the order of the items has
        raised
    """
    stopped = False
    begun: list[_T] = []
    ended: list[_T] = []

    def one(item: _T) -> _U | None:
        nonlocal stopped
        begun.append(item)  # before it is seen whether to go on
        try:
            return None if stopped else do(item)
        except BaseException:
            if stop_at_error:
                stopped = True
            raise
        finally:
            ended.append(item)

    try:
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            try:
                futures = [pool.submit(one, item) for item in items]
                concurrent.futures.wait(futures)
            finally:
                stopped = True  # where it was interrupted
        return cast(list[_U], [future.result() for future in futures])
    finally:
        _wait_until(lambda: len(ended) == len(begun))


def _wait_until(condition: Callable[[], bool]) -> None:
    """Wait, whatever is raised meanwhile.

    What went on in a thread could freeze a server after all were thawed. The
    pool cannot be relied on to wait: Python 3.11 takes a thread for ended if
    a signal raises while it is joined.
    """
    interrupt: BaseException | None = None
    while True:
        try:
            while not condition():
                time.sleep(0.01)
            break
        except BaseException as error:
            interrupt = interrupt or error
    if interrupt:
        raise interrupt
