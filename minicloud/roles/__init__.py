# SPDX-License-Identifier: Apache-2.0

"""What the processes of a cloud do, one module per process.

Each has ``run(context)``, which starts its services in this process and
returns what has to be kept alive. Only these modules import OpenStack.
"""

from collections.abc import Callable
import dataclasses
import functools
import os
import pathlib
import socket
import threading
import time
from typing import Any

from minicloud import config
from minicloud import processes
from minicloud.config import Sections
from minicloud.layout import Layout

#: Seconds for which a process waits for the one before it.
PATIENCE = 180.0


@dataclasses.dataclass
class Context:
    """What a process was started with."""

    role: str
    layout: Layout
    token: str
    sockets: dict[str, socket.socket]
    driver: str
    database: str
    storage: str
    #: number of cells that hold servers
    cells: int
    #: number of the cell that this process is in; 0 if it is of the top
    #: level, or if there is only one
    cell: int
    #: whether Nova has the quiesce actions
    quiesce: bool
    #: Nova's services in this process: names of programs, and hosts
    services: list[tuple[str, str]]
    #: the processes that have to be ready before this one goes on
    before: list[str]
    #: what to do, and quickly, when the process is told to end
    at_end: list[Callable[[], None]] = dataclasses.field(
        default_factory=list)

    def config(self, name: str) -> str:
        return str(self.layout.etc / name)

    def special_in_cell(self, number: int) -> Sections:
        """Return what is put over nova.conf in a cell; nothing if all is.

        :param number: 1 for the first cell that holds servers
        """
        if self.cells == 1:
            return {}
        return config.read_additions(
            self.layout.etc / config.cell_file(number))

    def serve(self, name: str, application: Any, threads: int = 8) -> None:
        """Serve a WSGI application on the socket of that name."""
        import waitress
        held = self.sockets[name]
        if not isinstance(held, socket.socket):
            # Services on eventlet have another class of that name by now.
            held = socket.socket(fileno=held.detach())
        server = waitress.create_server(
            application, sockets=[held], threads=threads,
            channel_timeout=600, clear_untrusted_proxy_headers=True,
            # An image may be as large as a volume; waitress' own limit is
            # 1 GiB.
            max_request_body_size=1 << 40)
        threading.Thread(target=server.run, name=f'http-{name}',
                         daemon=True).start()
        print(f'--- {name} listens on port {server.effective_port}',
              flush=True)

    def wait_for(self, path: pathlib.Path, otherwise: str) -> None:
        """Wait until a file is there.

        :param otherwise: what to say if it does not come
        """
        self.wait_until(path.exists, otherwise)

    def wait_for_others(self) -> None:
        """Wait until the services can find each other."""
        self.wait_for(self.layout.catalog,
                      'whoever started this process is gone: no catalog')
        for role in self.before:
            self.wait_until(
                functools.partial(processes.ready, self.layout, role),
                f'{role} is not ready')

    @staticmethod
    def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
        """Wait until something is true.

        :param otherwise: what to say if it does not become true
        """
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f'{otherwise} after {PATIENCE:.0f} s')
            time.sleep(0.05)


def set_environment(**values: str) -> None:
    """Set what a service reads from its environment."""
    os.environ.update(values)
