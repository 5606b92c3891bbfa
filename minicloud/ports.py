# SPDX-License-Identifier: Apache-2.0

"""Free TCP ports on 127.0.0.1, reserved by holding them.

A port is chosen by binding it. The bound socket is handed to the process
that will listen on it, so that nobody can take it in between.
"""

from collections.abc import Iterable
import json
import pathlib
import random
import socket

from minicloud.errors import MinicloudError

ADDRESS = '127.0.0.1'
#: Which process listens for which service, if it does for any. Nova's API is
#: in the process ``compute`` or ``api``: a cloud has one of the two.
SERVICES: dict[str, tuple[str, ...]] = {
    'identity': ('identity', 'placement', 'network'),
    'image': ('image',),
    'compute': ('compute',),
    'api': ('compute',),
    'volume': ('volume',),
    'network': ('neutron',),
    'broker': ('broker', 'broker-epmd', 'broker-node'),
    'storage': ('storage',),
}
#: The services that not every cloud has.
OPTIONAL = SERVICES['broker'] + SERVICES['storage'] + SERVICES['network']
NAMES = tuple(dict.fromkeys(
    name for names in SERVICES.values() for name in names))


def bind(port: int) -> socket.socket | None:
    """Return a socket bound to the port, or None if somebody has it."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((ADDRESS, port))
        # Two sockets with SO_REUSEADDR may share a bound port: the first
        # to listen owns it.
        sock.listen(128)
    except OSError:
        sock.close()
        return None
    return sock


def candidates() -> Iterable[int]:
    """Yield ports outside the range from which the kernel serves itself."""
    try:
        low = int(pathlib.Path('/proc/sys/net/ipv4/ip_local_port_range')
                  .read_text().split()[0])
    except (OSError, ValueError):
        low = 32768
    first, last = (20000, low) if low >= 24000 else (61000, 65500)
    return random.sample(range(first, last), 200)


class Reservation:
    """The ports of a cloud, and the sockets that hold those not in use.

    :param saved: ports of the last time, preferred if they are still free
    """

    def __init__(self, saved: dict[str, int] | None = None) -> None:
        self.ports: dict[str, int] = dict(saved or {})
        self.sockets: dict[str, socket.socket] = {}

    def reserve(self, names: Iterable[str]) -> None:
        """Hold a port for each name, its old one if possible."""
        for name in names:
            if name in self.sockets:
                continue
            sock = bind(self.ports[name]) if name in self.ports else None
            if sock is None:
                sock = self._any()
            self.sockets[name] = sock
            self.ports[name] = sock.getsockname()[1]

    def _any(self) -> socket.socket:
        taken = set(self.ports.values())
        for port in candidates():
            if port not in taken and (sock := bind(port)):
                return sock
        raise MinicloudError(f'no free TCP port found on {ADDRESS}')

    def release(self, names: Iterable[str] | None = None) -> None:
        """Close held sockets (a child that got one keeps it).

        :param names: whose; default: all
        """
        for name in list(self.sockets if names is None else names):
            self.sockets.pop(name).close()


def read(path: pathlib.Path) -> dict[str, int]:
    """Return ports as they were saved, whatever their names; maybe none."""
    try:
        return {name: int(port)
                for name, port in json.loads(path.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def load(path: pathlib.Path) -> dict[str, int]:
    """Return the saved ports, or nothing if there are none to trust."""
    try:
        saved = json.loads(path.read_text())
        ports = {name: int(saved[name]) for name in NAMES
                 if name in saved or name not in OPTIONAL}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return ports if len(set(ports.values())) == len(ports) else {}
