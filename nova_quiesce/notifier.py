# SPDX-License-Identifier: Apache-2.0

"""A thread that sends notifications, in the order of what happened.

A broker that takes none costs more time than the lease of a thaw has.  So no
thread that works on a guest sends one itself.

This module must never know what is sent.
"""

import queue
import threading
import time
from collections.abc import Callable

from oslo_log import log as logging

LOG = logging.getLogger(__name__)

#: notifications that wait, until more are dropped
MOST = 1000


class Notifier:
    """Calls what it is given, one after the other, in a thread of its own."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[Callable[[], None]] = queue.Queue(MOST)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def __call__(self, send: Callable[[], None]) -> None:
        """Have a notification sent; or drop it if too many wait.

        :param send: raises nothing
        """
        with self._lock:
            if self._thread is None:    # not before: the service may fork
                thread = threading.Thread(target=self._run, daemon=True)
                thread.start()
                self._thread = thread
        try:
            self._waiting.put_nowait(send)
        except queue.Full:
            LOG.warning('A notification is dropped: %d wait for the broker '
                        'to take them', MOST)

    def close(self, timeout: float) -> None:
        """Wait until all are sent.

        :param timeout: for how many seconds
        """
        end = time.monotonic() + timeout
        while self._waiting.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.1)

    def _run(self) -> None:
        while True:
            send = self._waiting.get()
            try:
                send()
            finally:
                self._waiting.task_done()
