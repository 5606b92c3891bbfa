# SPDX-License-Identifier: Apache-2.0

"""The network devices of real guests: a tap for each port, in bridges.

Nova makes the tap of a port; here it gets into the bridge of its network.
They are devices of the machine, which outlive all processes. So each is on
record in the state before it exists, and is marked as this root's when it
does: either is enough to find and remove it.

Must never touch a device that is not of this root.
"""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess

from minicloud import processes
from minicloud.errors import MinicloudError
from minicloud.layout import Layout

DEVICES = pathlib.Path('/sys/class/net')
#: the kernel's settings for IPv6, a directory for each device
IPV6 = pathlib.Path('/proc/sys/net/ipv6/conf')
#: what tells of devices that come and go (RTMGRP_LINK of rtnetlink)
LINK_EVENTS = 1
#: Tried in a network namespace that ends with it.
TRIAL = ('ip tuntap add mc0 mode tap && ip link add mc1 type bridge '
         '&& ip link set mc0 master mc1')


def tap_of(port_id: str) -> str:
    """Return the name that Nova gives the tap of a port."""
    return f'tap{port_id[:11]}'


def bridge_of(network_id: str) -> str:
    """Return the name of the bridge of a network."""
    return f'brq{network_id[:11]}'


def check() -> None:
    """Say what is missing for guests that reach each other.

    :raises MinicloudError: saying what this machine does not do
    """
    what = '--driver libvirt --network neutron'
    if shutil.which('ip') is None:
        raise MinicloudError(
            f'{what} needs the command ip; nothing was changed:\n'
            '  apt-get install iproute2')
    trial = subprocess.run(['unshare', '--net', 'sh', '-c', TRIAL],
                           capture_output=True, text=True)
    if trial.returncode:
        raise MinicloudError(
            f'{what} needs taps and bridges, which cannot be made here; '
            f'nothing was changed:\n  {trial.stderr.strip()}')


def expect(layout: Layout, port_id: str, network_id: str) -> None:
    """Put on record that Nova is going to make the tap of a port."""
    processes.write_json(layout.devices / tap_of(port_id), {
        'port': port_id, 'network': network_id})


def taps() -> dict[str, str]:
    """Return all taps of the machine, and what tells one from the next.

    A tap that is made anew has the same name, and another number.
    """
    found = {path.name: _read(path / 'ifindex')
             for path in DEVICES.glob('tap*')}
    return {name: number for name, number in found.items() if number}


def connect(layout: Layout, tap: str) -> str | None:
    """Put a tap into the bridge of its network, which is made if need be.

    :return: the id of the port, or None if the tap is somebody else's
    """
    told = processes.read_json(layout.devices / tap)
    port, network = told.get('port'), told.get('network')
    if not isinstance(port, str) or not isinstance(network, str):
        return None
    _ip('link', 'set', tap, 'alias', layout.device_label)
    bridge = bridge_of(network)
    if not (DEVICES / bridge).exists():
        processes.write_json(layout.devices / bridge, {'network': network})
        _ip('link', 'add', bridge, 'type', 'bridge')
        _ip('link', 'set', bridge, 'alias', layout.device_label)
    for device in (bridge, tap):
        _have_no_address(device)
    _ip('link', 'set', tap, 'master', bridge)
    _ip('link', 'set', bridge, 'up')
    _ip('link', 'set', tap, 'up')
    return port


def remove_empty_bridges(layout: Layout) -> None:
    """Remove the bridges of this root that no tap is in."""
    for name in mine(layout):
        ports = DEVICES / name / 'brif'
        if ports.is_dir() and not any(ports.iterdir()):
            _delete(name)


def mine(layout: Layout) -> list[str]:
    """Return the devices that are there and of this root."""
    return [path.name for path in sorted(DEVICES.glob('*'))
            if (layout.devices / path.name).exists()
            or _read(path / 'ifalias') == layout.device_label]


def remove(layout: Layout) -> None:
    """Remove all devices of this root.

    :raises MinicloudError: if one stays
    """
    for name in mine(layout):
        _delete(name)


class Changes:
    """Waits until a network device comes, goes, or changes."""

    def __init__(self) -> None:
        self._events = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._events.bind((0, LINK_EVENTS))

    def wait(self, seconds: float) -> None:
        """Return at the first change, or after some time.

        :param seconds: the longest time
        """
        self._events.settimeout(seconds)
        # One that was lost, as there were too many, counts as well.
        with contextlib.suppress(OSError):
            self._events.recv(1 << 16)

    def close(self) -> None:
        self._events.close()


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:     # gone meanwhile, or no device at all
        return ''


def _have_no_address(device: str) -> None:
    """Keep the machine itself out of a network of the guests."""
    with contextlib.suppress(FileNotFoundError):
        (IPV6 / device / 'disable_ipv6').write_text('1')


def _delete(device: str) -> None:
    try:
        _ip('link', 'delete', device)
    except MinicloudError:
        if (DEVICES / device).exists():
            raise


def _ip(*words: str) -> None:
    done = subprocess.run(['ip', *words], capture_output=True, text=True,
                          env={**os.environ, 'LC_ALL': 'C'})
    if done.returncode:
        raise MinicloudError(
            f'ip {" ".join(words)}: {done.stderr.strip()}')
