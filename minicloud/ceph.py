# SPDX-License-Identifier: Apache-2.0

"""Ceph as Debian packages it: what is needed of it, and how it is set up.

Nothing here starts anything. What is set up here keeps to the directories of
the cloud and to 127.0.0.1; a Ceph that the machine may have is not touched.
"""

import importlib.machinery
import importlib.util
import pathlib
import socket
import sys
import uuid

from minicloud.errors import MinicloudError
from minicloud.layout import Layout

MON, OSD, MGR = 'ceph-mon', 'ceph-osd', 'ceph-mgr'
MONMAPTOOL = 'monmaptool'
#: Names of the one monitor and the one manager; OSDs have numbers.
MON_ID, OSD_ID, MGR_ID = 'a', '0', 'x'
#: Where Debian keeps Python's modules.
MODULES_FOLDER = pathlib.Path('/usr/lib/python3/dist-packages')
#: Python's modules, in the order in which they need each other.
MODULES = ('rados', 'rbd')
QEMU_MODULE = '/usr/lib/x86_64-linux-gnu/qemu/block-rbd.so'
#: Debian's packages, and the programs or files that show they are there.
PACKAGES: dict[str, tuple[str, ...]] = {
    'ceph-mon': (MON,),
    'ceph-osd': (OSD,),
    'ceph-mgr': (MGR,),
    # Cinder calls it to make volumes of images.
    'ceph-common': ('rbd',),
    'qemu-block-extra': (QEMU_MODULE,),
    'python3-rados': (f'{MODULES_FOLDER}/rados-2.0.0.egg-info/PKG-INFO',),
    'python3-rbd': (f'{MODULES_FOLDER}/rbd-2.0.0.egg-info/PKG-INFO',),
}
#: where Cinder keeps volumes
POOL = 'volumes'
#: bytes of the file in which all is kept; it takes what is used of it
SIZE = 20 << 30
#: What a monitor says first.
BANNER = b'ceph v2\n'
#: seconds for an answer to the question whether a monitor is there
PATIENCE = 5.0


def fsid(layout: Layout) -> str:
    """Return the identity of the cloud's cluster."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, layout.root.as_uri()))


def configuration(layout: Layout, port: int) -> str:
    """Return the content of ceph.conf.

    :param port: of the monitor; others take any that they find free
    """
    home = layout.storage
    sections: dict[str, dict[str, object]] = {
        'global': {
            'fsid': fsid(layout),
            'mon_host': f'v2:127.0.0.1:{port}',
            'ms_bind_msgr1': 'false',
            'public_network': '127.0.0.0/8',
            'auth_cluster_required': 'none',
            'auth_service_required': 'none',
            'auth_client_required': 'none',
            'osd_pool_default_size': 1,
            'osd_pool_default_min_size': 1,
            'osd_crush_chooseleaf_type': 0,
            'osd_pool_default_pg_autoscale_mode': 'off',
            'mon_allow_pool_size_one': 'true',
            'mon_warn_on_pool_no_redundancy': 'false',
            # Each change of its state would wait for more to come.
            'paxos_propose_interval': 0.05,
            'paxos_min_wait': 0.01,
            # Snapshots that have clones need no protection.
            'rbd_default_clone_format': 2,
            'log_to_stderr': 'true',
            'log_file': '',
            'debug_rocksdb': '1/5',
            'admin_socket': '',
            'pid_file': '',
            'crash_dir': home / 'crash'},
        'mon': {
            'mon_data': home / 'mon',
            'mon_cluster_log_file': '',
            # It would warn of, and stop at, a disk that others fill.
            'mon_data_avail_warn': 1,
            'mon_data_avail_crit': 1},
        'mgr': {
            'mgr_data': home / 'mgr',
            'mgr_initial_modules': '',
            # Cinder schedules by its numbers: soon, and often.
            'mgr_stats_period': 1,
            'mgr_tick_period': 1},
        'osd': {
            'osd_data': home / 'osd',
            'bluestore_block_size': SIZE,
            'bluestore_block_create': 'true',
            'bluestore_cache_autotune': 'false',
            'bluestore_cache_size': 64 << 20,
            # It is told its place in the cluster when it is made.
            'osd_crush_update_on_start': 'false',
            'osd_class_update_on_start': 'false'},
        # What they say is what a program that calls them reads.
        'client': {'log_to_stderr': 'false'},
    }
    return '\n'.join(
        f'[{name}]\n' + ''.join(f'{option} = {value}\n'
                                for option, value in options.items())
        for name, options in sections.items())


def _module_file(name: str) -> pathlib.Path | None:
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = MODULES_FOLDER / f'{name}{suffix}'
        if path.exists():
            return path
    return None


def check() -> None:
    """Refuse a Python for which Debian has no modules.

    :raises MinicloudError: in words
    """
    for name in MODULES:
        if _module_file(name) is None:
            there = ', '.join(sorted(
                path.name for path in MODULES_FOLDER.glob(f'{name}.*.so')))
            raise MinicloudError(
                f"Debian's python3-{name} is for another Python ({there}); "
                f'this is {sys.version_info[0]}.{sys.version_info[1]}')


def load_modules() -> None:
    """Make ``rados`` and ``rbd`` importable, and nothing else of Debian's.

    They are not on PyPI, and the other packages in Debian's folder are not
    the ones that this Python has.
    """
    for name in MODULES:
        spec = importlib.util.spec_from_file_location(
            name, _module_file(name))
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)


def answers(port: int) -> bool:
    """Whether a monitor is there."""
    try:
        with socket.create_connection(('127.0.0.1', port),
                                      PATIENCE) as connection:
            return connection.recv(len(BANNER),
                                   socket.MSG_WAITALL) == BANNER
    except OSError:
        return False
