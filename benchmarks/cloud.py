# SPDX-License-Identifier: Apache-2.0

"""Plain HTTP to a cloud, counted, and servers to measure with."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import time
from typing import Any

import openstack
import requests as http

from osc_quiesce import client as quiesce_client

MICROVERSION = '2.96'
#: seconds for which a state is waited for at most
PATIENCE = 900.0


@dataclasses.dataclass
class Traffic:
    """HTTP requests, and what their bodies and headers weigh in bytes.

    :ivar looks: those of the requests that look at the states of servers:
        that ask Nova neither to do something nor who has asked for it
    """

    requests: int = 0
    looks: int = 0
    bytes: int = 0

    def count(self, response: http.Response, **_kwargs: Any) -> None:
        self.requests += 1
        if (response.request.method == 'GET'
                and 'os-instance-actions' not in (response.request.url or '')):
            self.looks += 1
        for text in (response.request.body, response.content):
            self.bytes += len(text or b'')
        for headers in (response.request.headers, response.headers):
            self.bytes += sum(len(k) + len(v) + 4 for k, v in headers.items())


class Cloud:
    """A cloud, as the environment or ``clouds.yaml`` names it.

    :param name: in ``clouds.yaml``; None: what the environment says
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        self._http = http.Session()
        self.connection = openstack.connect(cloud=name, session=None)
        self.connection.session.session = self._http
        # With the region, interface and overrides that are configured.
        self._services = {
            service: self.connection.config.get_session_client(service)
            for service in ('compute', 'block-storage')
        }
        self.client = quiesce_client.Client(adapter=self._services['compute'])
        self.nova('GET', '/')  # the token and the catalog

    # -- HTTP -------------------------------------------------------------

    @contextlib.contextmanager
    def counted(self) -> Iterator[Traffic]:
        """Count the requests that are sent meanwhile."""
        traffic = Traffic()
        hooks = self._http.hooks['response']
        hooks.append(traffic.count)
        try:
            yield traffic
        finally:
            hooks.remove(traffic.count)

    def nova(self, method: str, path: str, json: Any = None) -> Any:
        return self._send('compute', method, path, json, MICROVERSION)

    def cinder(self, method: str, path: str, json: Any = None) -> Any:
        return self._send('block-storage', method, path, json)

    def _send(
        self,
        service: str,
        method: str,
        path: str,
        json: Any,
        microversion: str | None = None,
    ) -> Any:
        response = self._services[service].request(
            path,
            method,
            json=json,
            microversion=microversion,
            raise_exc=False,
        )
        if response.status_code >= 400:
            raise RuntimeError(
                f'{method} {path}: {response.status_code} {response.text}'
            )
        return response.json() if response.content else None

    # -- servers ----------------------------------------------------------

    def act(
        self, server_id: str, action: str, details: Any = None
    ) -> None:
        self.nova('POST', f'/servers/{server_id}/action', {action: details})

    def state(self, server_id: str) -> tuple[str, str | None]:
        server = self.nova('GET', f'/servers/{server_id}')['server']
        return server['OS-EXT-STS:vm_state'], server['OS-EXT-STS:task_state']

    def wait(self, server_id: str, vm_state: str) -> None:
        """Wait, asking without pause, for the end of what was asked."""
        deadline = time.monotonic() + PATIENCE
        while (state := self.state(server_id)) != (vm_state, None):
            # Without a task_state it is at rest, somewhere else.
            if time.monotonic() > deadline or state[1] is None:
                raise RuntimeError(
                    f'server {server_id} has vm_state {state[0]}, task_state '
                    f'{state[1]}, and not {vm_state}: see "openstack server '
                    f'event list {server_id}"')

    def wait_for_all(
        self, status: str, servers: Sequence[str], pause: float = 0.2
    ) -> None:
        """Wait until many servers have a status, with few requests."""
        deadline = time.monotonic() + PATIENCE
        wanted = set(servers)
        while left := wanted - set(self.list_servers(status)):
            if time.monotonic() > deadline:
                raise RuntimeError(f'{len(left)} servers are not {status}')
            time.sleep(pause)

    def list_servers(self, status: str = '') -> Iterator[str]:
        """Yield the ids of the project's servers."""
        path = f'/servers?status={status}' if status else '/servers?'
        marker = ''
        while page := self.nova('GET', path + marker)['servers']:
            yield from (server['id'] for server in page)
            marker = f'&marker={page[-1]["id"]}'

    def volumes_of(self, server_id: str) -> list[str]:
        path = f'/servers/{server_id}/os-volume_attachments'
        return [
            part['volumeId']
            for part in self.nova('GET', path)['volumeAttachments']
        ]

    def find(self, name_or_id: str) -> str:
        """Return the id of a server."""
        return self.client.find_server(name_or_id).id

    def actions(self, server_id: str) -> list[dict[str, Any]]:
        """Return the newest instance actions, with their events."""
        path = f'/servers/{server_id}/os-instance-actions'
        found = self.nova('GET', path)['instanceActions'][:2]
        paths = [f'{path}/{action["request_id"]}' for action in found]
        return [self.nova('GET', path)['instanceAction'] for path in paths]

    # -- a cloud of minicloud ---------------------------------------------

    def flavor(self, name: str = 'tiny') -> str:
        flavors = self.nova('GET', '/flavors')['flavors']
        return next(f['id'] for f in flavors if f['name'] == name)

    def image(self, name: str = 'tiny') -> str:
        return self.connection.image.find_image(name, ignore_missing=False).id

    def make_servers(self, count: int, prefix: str = 'vm') -> list[str]:
        """Create servers with a local disk, many with each request."""
        body = {
            'name': prefix,
            'flavorRef': self.flavor(),
            'imageRef': self.image(),
            'networks': 'none',
        }
        before = set(self.list_servers())
        left = count
        while left > 0:
            now = min(left, 100)
            self.nova('POST', '/servers', {'server': {
                **body, 'min_count': now, 'max_count': now}})
            left -= now
        made = [id_ for id_ in self.list_servers() if id_ not in before]
        self.wait_for_all('ACTIVE', made)
        return made

    def make_with_volumes(
        self, names: Sequence[str], real: bool, data: int = 1
    ) -> list[str]:
        """Create servers that boot from a volume and have more of them.

        :param real: whether the volumes have data
        :param data: how many more volumes each server has
        """
        made = []
        for name in names:
            boot = self.make_volume(
                f'{name}-boot', {'imageRef': self.image()} if real else {}
            )
            more = [self.make_volume(f'{name}-data{number}')
                    for number in range(1, data + 1)]
            if not real:
                for action in (
                    {'os-set_bootable': {'bootable': True}},
                    {'os-set_image_metadata': {
                        'metadata': {'hw_qemu_guest_agent': 'yes'}}},
                ):
                    self.cinder('POST', f'/volumes/{boot}/action', action)
            server = self.nova('POST', '/servers', {'server': {
                'name': name,
                'flavorRef': self.flavor(),
                'networks': 'none',
                'block_device_mapping_v2': [
                    {'uuid': volume, 'boot_index': index,
                     'source_type': 'volume', 'destination_type': 'volume'}
                    for volume, index in (
                        (boot, 0), *((each, -1) for each in more))
                ],
            }})['server']['id']
            made.append(server)
        self.wait_for_all('ACTIVE', made)
        return made

    def wait_for_volumes(self, volumes: Collection[str]) -> None:
        """Wait until volumes are available."""
        deadline = time.monotonic() + PATIENCE
        while left := set(volumes) - {
            each['id'] for each in self.cinder(
                'GET', '/volumes/detail?status=available')['volumes']}:
            if time.monotonic() > deadline:
                raise RuntimeError(f'volumes are not available: {left}')
            time.sleep(0.5)

    def make_volume(
        self, name: str, options: Mapping[str, Any] | None = None
    ) -> str:
        """Create a volume of 1 GiB, and wait until it is available.

        :param options: of the request
        """
        volume = self.cinder('POST', '/volumes', {'volume': {
            'size': 1, 'name': name, **(options or {})}})['volume']['id']
        while self.cinder('GET', f'/volumes/{volume}')[
                'volume']['status'] != 'available':
            time.sleep(0.5)
        return str(volume)
