# SPDX-License-Identifier: Apache-2.0

"""What the tests of the other site share: two clouds, and an application.

Both sites are real Keystone, Nova and Cinder with cinder-backup, over one
store; the hypervisor is fake, and volumes are files. Whoever runs the tests
starts them: RECOVERY_ROOT has ``a`` and ``b``, roots of minicloud, and a
clouds.yaml with siteA and siteB.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import functools
import hashlib
import json
import logging
import os
import pathlib
import random
import subprocess
import sys
import time
from typing import Any
from unittest import mock
import uuid

import minicloud
import openstack
import testtools

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.tests import signals
from osc_quiesce.tests.functional import base as functional

A, B = 'siteA', 'siteB'
MIB = 1024 * 1024
PATIENCE = 300.0  # seconds


def root() -> pathlib.Path:
    """Return the directory of both sites."""
    found = os.environ.get('RECOVERY_ROOT')
    if not found:
        raise RuntimeError('RECOVERY_ROOT is not set')
    return pathlib.Path(found)


def minicloud_of(site: str) -> minicloud.Cloud:
    return minicloud.Cloud(root() / ('a' if site == A else 'b'))


@functools.cache
def cloud(name: str) -> cloud_api.Cloud:
    """Return plain requests to a site.

    :param name: in clouds.yaml, such as ``siteB-member``
    """
    with mock.patch.dict(os.environ, environment(), clear=True):
        return cloud_api.Cloud(openstack.connect(cloud=name))


def environment() -> dict[str, str]:
    """Return the environment of whoever uses both sites."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith('OS_')
    }
    kept['PATH'] = os.pathsep.join(
        [os.path.dirname(sys.executable), os.environ['PATH']]
    )
    return {**kept, 'OS_CLIENT_CONFIG_FILE': str(root() / 'clouds.yaml')}


def data_of(site: str, volume_id: str) -> bytes:
    """Return all that is in a volume."""
    return minicloud_of(site).layout.volume_file(volume_id).read_bytes()


def digest_of(site: str, volume_id: str) -> str:
    """Return a digest of all that is in a volume."""
    return _digest(minicloud_of(site).layout.volume_file(volume_id))


def snapshot_digest(site: str, snapshot_id: str) -> str:
    """Return a digest of all that is in a snapshot."""
    return _digest(minicloud_of(site).layout.snapshot_file(snapshot_id))


def _digest(path: pathlib.Path) -> str:
    with path.open('rb') as stream:
        return hashlib.file_digest(stream, 'sha1').hexdigest()


def snapshot_data(site: str, snapshot_id: str) -> bytes:
    """Return all that is in a snapshot."""
    return minicloud_of(site).layout.snapshot_file(snapshot_id).read_bytes()


def write(site: str, volume_id: str, offset: int, data: bytes) -> None:
    """Write into a volume, as its guest would."""
    path = minicloud_of(site).layout.volume_file(volume_id)
    with open(path, 'r+b') as stream:
        stream.seek(offset)
        stream.write(data)


def remove_points() -> None:
    """Delete all backups and snapshots at both sites.

    Those of site A first: of a store from which site B may only read, Cinder
    deletes a row there when its data are gone.
    """
    end = time.monotonic() + PATIENCE
    while left := _points(A) or _points(B):
        if time.monotonic() > end:
            raise AssertionError(f'not all are deleted: {left}')
        for site, path, _status in left:
            with contextlib.suppress(cloud_api.CloudError):
                cloud(site).volume('DELETE', path)
        time.sleep(0.5)


def _points(site: str) -> list[tuple[str, str, str]]:
    """Return site, path and status of each backup and snapshot."""
    found = {
        'backups': cloud(site).backups(),
        'snapshots': cloud(site).volume('GET', '/snapshots')['snapshots'],
    }
    return [
        (site, f'/{kind}/{each["id"]}', each['status'])
        for kind, rows in found.items()
        for each in rows
    ]


class RecoveryTest(testtools.TestCase):
    """A test on both sites."""

    def setUp(self) -> None:
        super().setUp()
        if reason := os.environ.get(functional.SKIP_VARIABLE):
            self.skipTest(reason)
        signals.as_in_terminal(self)

    # Commands -------------------------------------------------------------

    def openstack(
        self, site: str, command: str, expect: int = 0
    ) -> functional.Result:
        """Run an ``openstack`` command as the user of a site.

        :param expect: the exit code that it must have
        """
        done = subprocess.run(
            ['bash', '-c', f'openstack --os-cloud {site} {command}'],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        )
        self.assertEqual(
            expect, done.returncode,
            f'{command}\n{done.stdout}\n{done.stderr}',
        )
        self.assertNotIn('Traceback', done.stderr)
        return functional.Result(done.returncode, done.stdout, done.stderr)

    def json(self, site: str, command: str) -> Any:
        """Return what a command prints as JSON."""
        return self.openstack(site, f'{command} -f json').data

    # Requests -------------------------------------------------------------

    def until(self, look: Any, what: str) -> Any:
        """Wait until something is so, and return what tells so."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if found := look():
                return found
            time.sleep(0.3)
        self.fail(f'it is not so that {what}')

    def status(self, site: str, kind: str, id_: str) -> str:
        """Return the status of a volume or a backup."""
        found = cloud(site).volume('GET', f'/{kind}s/{id_}')
        return str(found[kind]['status'])

    def wait(
        self, site: str, kind: str, id_: str, status: str = 'available'
    ) -> None:
        self.until(
            lambda: self.status(site, kind, id_) == status,
            f'{kind} {id_} is {status}',
        )


class QuickTest(RecoveryTest):
    """A test that runs commands in its process: a new one takes long."""

    _result: Any = functional.FunctionalTest._result

    @staticmethod
    def environment(_persona: str) -> dict[str, str]:
        return environment()

    def openstack(
        self, site: str, command: str, expect: int = 0
    ) -> functional.Result:
        run: Any = functional.FunctionalTest.openstack
        done: functional.Result = run(
            self, f'--os-cloud {site} {command}', expect=expect
        )
        return done


class Application:
    """Servers at site A, with their volumes.

    :cvar PARTS: the servers, each with the devices of its volumes
    :ivar servers: their IDs, by name
    :ivar volumes: their volumes, by ``db-vda`` and so on
    """

    PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
        ('db', ('vda', 'vdb')), ('web', ('vda',)))

    def __init__(self, test: RecoveryTest) -> None:
        self._test = test
        self.suffix = uuid.uuid4().hex[:6]
        self.random = random.Random(self.suffix)  # noqa: S311
        self.servers: dict[str, str] = {}
        self.volumes: dict[str, str] = {}
        for name, devices in self.PARTS:
            for device in devices:
                self.volumes[f'{name}-{device}'] = self._volume(
                    f'{name}-{device}', device == 'vda')
            self.servers[name] = self._server(name, devices)

    def name(self, server: str) -> str:
        return f'{server}-{self.suffix}'

    def networks(self, server: str) -> Any:
        """Return what Nova is asked for as the networks of a server."""
        return 'none'

    def write(self, volume: str, offset: int, size: int) -> None:
        """Write new random data."""
        write(A, self.volumes[volume], offset, self.random.randbytes(size))

    def zero(self, volume: str, offset: int, size: int) -> None:
        write(A, self.volumes[volume], offset, bytes(size))

    def snapshot(self, name: str) -> dict[str, str]:
        """Take a snapshot set; return IDs of snapshots, by volume."""
        shown = self._test.json(
            A,
            f'application snapshot create {name} '
            f'--server {self.name("db")} --server {self.name("web")}',
        )
        taken = {
            volume['id']: volume['snapshot_id']
            for server in shown['servers'] for volume in server['volumes']
        }
        return {
            label: taken[volume] for label, volume in self.volumes.items()
        }

    def _volume(self, label: str, boots: bool) -> str:
        site = cloud(A)
        made: str = site.volume('POST', '/volumes', {'volume': {
            'size': 1,
            'name': f'{label}-{self.suffix}',
            'metadata': {'owner': label},
        }})['volume']['id']
        self._test.wait(A, 'volume', made)
        write(A, made, 0, self.random.randbytes(6 * MIB))
        if boots:
            for action in (
                {'os-set_bootable': {'bootable': True}},
                {'os-set_image_metadata': {
                    'metadata': {'hw_qemu_guest_agent': 'yes'}}},
            ):
                site.volume('POST', f'/volumes/{made}/action', action)
        return made

    def _server(self, name: str, devices: tuple[str, ...]) -> str:
        site = cloud(A)
        flavors = site.compute('GET', '/flavors')['flavors']
        made: str = site.compute('POST', '/servers', {'server': {
            'name': self.name(name),
            'flavorRef': next(
                each['id'] for each in flavors if each['name'] == 'tiny'),
            'networks': self.networks(name),
            'metadata': {'role': name},
            'block_device_mapping_v2': [
                {
                    'uuid': self.volumes[f'{name}-{device}'],
                    'boot_index': 0 if device == 'vda' else -1,
                    'source_type': 'volume',
                    'destination_type': 'volume',
                }
                for device in devices
            ],
        }}, '2.37')['server']['id']
        self._test.until(
            lambda: site.compute('GET', f'/servers/{made}')[
                'server']['status'] == 'ACTIVE',
            f'{name} is active',
        )
        return made


@contextlib.contextmanager
def stopped(site: str, servers: dict[str, str]) -> Iterator[None]:
    """Let servers be off meanwhile."""
    def wait(status: str) -> None:
        end = time.monotonic() + PATIENCE
        while any(
            cloud(site).compute('GET', f'/servers/{each}')['server'][
                'status'] != status
            for each in servers.values()
        ):
            if time.monotonic() > end:
                raise AssertionError(f'not all are {status}')
            time.sleep(0.3)

    for each in servers.values():
        cloud(site).compute('POST', f'/servers/{each}/action',
                            {'os-stop': None})
    wait('SHUTOFF')
    try:
        yield
    finally:
        for each in servers.values():
            cloud(site).compute('POST', f'/servers/{each}/action',
                                {'os-start': None})
        wait('ACTIVE')


def in_json(path: pathlib.Path) -> Any:
    return json.loads(path.read_text())


logging.getLogger('openstack').setLevel(logging.WARNING)
