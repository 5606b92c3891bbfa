# SPDX-License-Identifier: Apache-2.0

"""Servers that are not Python, as children of a process of ours.

The kernel ends them when the process ends, whatever ended that; the process
ends when its server does. What one process has started is gone before the
next one in its role starts the same.
"""

from collections.abc import Callable
import ctypes
import fcntl
import os
import signal
import subprocess
import threading

from minicloud import roles

PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> Callable[[], None]:
    """Return what a new process does to end when its parent does.

    :param parent: process id of the one that starts it
    """
    def tell_the_kernel() -> None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:    # it was quicker
            os._exit(1)

    return tell_the_kernel


class Programs:
    """The programs of one process; waits until its forerunner's are gone.

    :param context: of the process
    :param environment: of each program
    """

    def __init__(self, context: roles.Context,
                 environment: dict[str, str]) -> None:
        self.context = context
        self.environment = environment
        # Every program has it open, so that the last one to end unlocks it.
        self._lock = os.open(context.layout.lock_of(context.role),
                             os.O_RDWR | os.O_CREAT, 0o600)
        context.wait_until(self._locked,
                           'what was started earlier has not ended')

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def start(self, *argv: str) -> 'subprocess.Popen[bytes]':
        """Start a program that ends with this process."""
        process = subprocess.Popen(
            argv, env=self.environment, stdin=subprocess.DEVNULL,
            pass_fds=[self._lock], preexec_fn=end_with_parent(os.getpid()))

        def end() -> None:
            process.terminate()
            process.wait()

        # The last one started is the first one to end.
        self.context.at_end.insert(0, end)
        return process

    def run(self, *argv: str) -> None:
        """Run a program to its end.

        :raises RuntimeError: if it fails
        """
        if code := self.start(*argv).wait():
            raise RuntimeError(f'{" ".join(argv)} has failed: {code}')

    def serve(self, name: str, process: 'subprocess.Popen[bytes]',
              answers: Callable[[], bool]) -> None:
        """Wait until a server answers; from then on, end with it.

        :param name: of the program, for the log
        :param answers: whether it is ready for its clients
        """
        def ready() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f'{name} has ended: {process.returncode}')
            return answers()

        self.context.wait_until(ready, f'{name} does not answer')
        ending = threading.Event()
        self.context.at_end.insert(0, ending.set)

        def watch() -> None:
            code = process.wait()
            if not ending.is_set():
                print(f'--- ending: {name} has ended: {code}', flush=True)
                os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
