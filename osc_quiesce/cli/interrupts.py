# SPDX-License-Identifier: Apache-2.0

"""Signals that ask the command to stop, turned into one ordinary exception.

A handler that raised wherever the signal happens to arrive could lose the
answer to a request that froze a guest. So the handlers here only take a note
and wake up the sleeper: :class:`Interrupted` is raised by :meth:`check` and
:meth:`sleep`, that is between two requests, and never while shielded.
"""

from collections.abc import Iterator
import contextlib
import os
import select
import selectors
import signal
import socket
import sys
import threading
import time
from typing import Any

# Windows has not all of them.
_SIGNALS = tuple(each for each in signal.Signals if each.name in (
    'SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'))


class Interrupted(Exception):
    """The operator, or the system, wants the command to stop."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


def end(exit_code: int, is_interactive: bool = False) -> int:
    """End the process by the signal that an exit code stands for, if any.

    To be called when everything is thawed, and the signals are given back. A
    shell stops its script, or its loop, only if the program has died of the
    signal. That is what would have happened without us; so who handles the
    signal, or types commands in a shell of ours, gets the exit code instead.
    """
    signum = exit_code - 128
    if signum not in _SIGNALS or (is_interactive and signum == signal.SIGINT):
        return exit_code
    usual = (signal.SIG_DFL, signal.default_int_handler)
    if signal.getsignal(signum) in usual and _is_main_thread():
        with contextlib.suppress(AttributeError, OSError, ValueError):
            sys.stdout.flush()
        signal.signal(signum, signal.SIG_DFL)
        signal.raise_signal(signum)
    return exit_code


def may_block(fd: int) -> bool:
    """Return whether a write of a line may block, or stop this process.

    The first is on a stopped terminal, the second in the background if the
    terminal allows no output from there (``stty tostop``).

    :raises OSError: it would fail
    """
    with contextlib.suppress(AttributeError, OSError):  # not our terminal
        if os.tcgetpgrp(fd) != os.getpgrp():
            return True
    return not select.select((), (fd,), (), 0)[1]


def _is_main_thread() -> bool:
    """Return whether Python handles signals in this thread."""
    return threading.current_thread() is threading.main_thread()


class Interrupts:
    """Takes note of the signals between install and restore."""

    def __init__(self) -> None:
        self._first = ''
        self._again = ''
        self._signum: int | None = None
        self._shields = 0
        self._lock = threading.Lock()
        self._before: dict[int, Any] = {}
        self._sockets: tuple[socket.socket, socket.socket] | None = None

    def install(self, first: str, again: str) -> None:
        """Take over the signals that are not ignored (as under nohup).

        :param first: said on stderr at once when the first signal arrives
        :param again: said for each further signal, which changes nothing
        """
        self._first, self._again = first, again
        if not _is_main_thread():
            return
        self._sockets = socket.socketpair()
        for end in self._sockets:
            end.setblocking(False)
        for signum in _SIGNALS:
            # None: a handler that was not installed by Python
            if signal.getsignal(signum) not in (signal.SIG_IGN, None):
                self._before[signum] = signal.signal(signum, self._note)

    def restore(self) -> None:
        """Give the signals back to what handled them before."""
        while self._before:
            signal.signal(*self._before.popitem())
        if self._sockets:
            for end in self._sockets:
                end.close()
            self._sockets = None

    def check(self) -> None:
        """Raise :class:`Interrupted` if a signal arrived."""
        if self._signum is not None and not self._shields:
            raise Interrupted(self._signum)

    def sleep(self, seconds: float) -> None:
        """Sleep, but not longer than until the next signal."""
        self.check()
        if self._sockets is None or self._shields:
            time.sleep(seconds)
        else:
            with selectors.DefaultSelector() as selector:
                selector.register(self._sockets[0], selectors.EVENT_READ)
                selector.select(seconds)
        self.check()

    @contextlib.contextmanager
    def shielded(self) -> Iterator[None]:
        """Let no signal disturb what is done inside, such as thawing.

        Several threads may be inside at once: it ends with the last one.
        """
        with self._lock:
            self._shields += 1
        try:
            yield
        finally:
            with self._lock:
                self._shields -= 1

    def _note(self, signum: int, frame: object) -> None:
        text = self._again if self._signum is not None else self._first
        self._signum = self._signum or signum
        # Not print: the signal may have interrupted a write to stderr. The
        # terminal may be gone or stopped, and the socket full: none matters.
        with contextlib.suppress(OSError):
            if not may_block(2):
                name = signal.Signals(signum).name
                os.write(2, f'{name}: {text}\n'.encode())
        with contextlib.suppress(OSError):
            if self._sockets:
                self._sockets[1].send(b'!')
