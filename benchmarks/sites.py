# SPDX-License-Identifier: Apache-2.0

"""Two sites of minicloud over one store, and applications to back up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import random
import subprocess
from typing import Any
from unittest import mock

from benchmarks import cloud as cloud_api
from benchmarks import measure

import minicloud

A, B = 'siteA', 'siteB'
MIB = 1 << 20
_GIB = 1 << 30
#: the part of each volume that has data, from its begin
_DATA = 256 * MIB


class Sites:
    """Both sites.

    :ivar folder: for files
    :ivar clouds: minicloud's, by name
    :ivar apis: plain HTTP to them, by name
    """

    def __init__(self, folder: pathlib.Path,
                 clouds: dict[str, minicloud.Cloud]) -> None:
        self.folder = folder
        self.clouds = clouds
        self.apis = {name: cloud_api.Cloud(name) for name in clouds}

    def cinder_seconds(self) -> float:
        """Return how long Cinder has computed so far, at both sites."""
        return sum(measure.cpu_seconds(cloud.pid(role))
                   for cloud in self.clouds.values()
                   for role in ('volume', 'backup'))

    def openstack(self, site: str, *words: str) -> str:
        """Run a command, and return what it prints."""
        return subprocess.run(
            ['openstack', '--os-cloud', site, *words],
            check=True, stdout=subprocess.PIPE, text=True).stdout

    def save_room(self, prefix: str) -> None:
        """Give room back that volumes of zeros take up at site B.

        :param prefix: with which their names begin
        """
        for volume in self.apis[B].cinder('GET', '/volumes/detail')['volumes']:
            if (volume['name'] or '').startswith(prefix):
                path = self.clouds[B].layout.volume_file(volume['id'])
                subprocess.run(
                    ['fallocate', '--punch-hole', '--length', str(_GIB),
                     str(path)], check=True)


@contextlib.contextmanager
def running(root: pathlib.Path) -> Iterator[Sites]:
    """Run two new sites, and be the administrator of both."""
    root.mkdir(parents=True, exist_ok=True)
    clouds = {name: minicloud.Cloud(root / name) for name in (A, B)}
    with contextlib.ExitStack() as stack:
        for name, cloud in clouds.items():
            stack.callback(cloud.down)
            cloud.up(fresh=True, backup='posix', store=root / 'store',
                     site_name=name)
        file = root / 'clouds.yaml'
        file.write_text(json.dumps({'clouds': {
            **clouds[A].clouds(), **clouds[B].clouds()}}))
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith('OS_')}
        stack.enter_context(mock.patch.dict(os.environ, {
            **kept, 'OS_CLIENT_CONFIG_FILE': str(file)}, clear=True))
        yield Sites(root, clouds)


@dataclasses.dataclass(frozen=True)
class Part:
    """A volume of an application, in the order of devices."""

    server: str
    volume: str
    snapshot: str


class Application:
    """Servers at site A, each a stage of its own.

    :param name: of it, with which the names of its servers begin
    :param volumes: how many each server has
    :ivar mapping: the file that maps it to site B
    """

    def __init__(self, sites: Sites, name: str, servers: int, volumes: int
                 ) -> None:
        self._sites = sites
        self.name = name
        self._random = random.Random(name)  # noqa: S311
        self._numbers = itertools.count(1)
        names = [f'{name}{number}' for number in range(1, servers + 1)]
        made = sites.apis[A].make_with_volumes(
            names, real=False, data=volumes - 1)
        self._file = sites.folder / f'{name}.yaml'
        self._file.write_text(json.dumps({
            'name': name, 'stages': [[each] for each in names]}))
        self.mapping = sites.folder / f'{name}-mapping.yaml'
        self.volumes = [volume for server in made
                        for volume in sites.apis[A].volumes_of(server)]
        #: the newest snapshot set, and what is in it
        self.set = ''
        self.parts: Sequence[Part] = ()

    def write(self, size: int) -> None:
        """Write new random data into each volume, as guests would.

        :param size: MiB, of which each has its place
        """
        for volume in self.volumes:
            path = self._sites.clouds[A].layout.volume_file(volume)
            with open(path, 'r+b') as stream:
                stream.seek(self._random.randrange(
                    _DATA // MIB - size + 1) * MIB)
                for _number in range(size):
                    stream.write(self._random.randbytes(MIB))

    def snapshot(self) -> str:
        """Take a snapshot set, and return its name."""
        self.set = f'{self.name}-{next(self._numbers)}'
        shown: Any = json.loads(self._sites.openstack(
            A, 'application', 'snapshot', 'create', self.set, '--file',
            str(self._file), '-f', 'json'))
        self.parts = [
            Part(server['name'], volume['id'], volume['snapshot_id'])
            for server in shown['servers'] for volume in server['volumes']]
        if not self.mapping.exists():
            self._sites.openstack(
                B, 'application', 'mapping', 'create', self.set,
                '--from-cloud', A, '--output', str(self.mapping))
        return self.set
