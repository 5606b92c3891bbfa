# SPDX-License-Identifier: Apache-2.0

"""Everything that is to be recorded of a server, from Nova, Glance, Neutron.

It only reads. What it may not see, or what there is not, is no obstacle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib import parse

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import manifest
from osc_quiesce.application import network
from osc_quiesce.application import shared
from osc_quiesce import client as quiesce_client
from osc_quiesce import errors
from osc_quiesce import model

# With the flavor in the server, and with tag and delete_on_termination in
# attachments
MICROVERSION: Final = '2.79'
# What is shown of a server besides: its hostname to everybody, the properties
# of its image, its scheduler hints
_SERVER_MICROVERSIONS: Final = ('2.100', '2.98', '2.90', MICROVERSION)


class Gatherer:
    """Reads what is to be recorded, and once what several servers share.

    :param with_user_data: whether to record what may hold secrets
    """

    def __init__(self, client: quiesce_client.Client, cloud: cloud_api.Cloud,
                 with_user_data: bool = False) -> None:
        self._client = client
        self._cloud = cloud
        self._with_user_data = with_user_data
        self._network = network.Network(cloud)
        self._shared = shared.Shared()

    def nova(self, path: str, server_id: str = '',
             microversion: str = MICROVERSION) -> dict[str, Any]:
        """Return what Nova has at a path.

        :param server_id: the server that it is about, for messages
        """
        return self._client.api.read(
            path, model.Server(server_id) if server_id else None, microversion)

    def server(self, server_id: str) -> dict[str, Any]:
        """Return a server, with as much as this Nova can show of it."""
        path = f'/servers/{server_id}'

        def newest() -> str:
            for microversion in _SERVER_MICROVERSIONS[:-1]:
                try:
                    self.nova(path, server_id, microversion)
                except errors.Refused as exc:
                    if type(exc) is not errors.Refused:
                        raise  # not because of the microversion
                else:
                    return microversion
            return MICROVERSION

        microversion = self._shared.read('microversion', newest)
        body: dict[str, Any] = self.nova(
            path, server_id, microversion)['server']
        return body

    def image(self, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the image of a server's local disk, as Glance shows it.

        :param body: the server, as Nova shows it
        """
        if not body.get('image'):
            return None
        id_ = body['image']['id']
        return self._shared.read(('image', id_), lambda: self._or_none(
            lambda: self._cloud.image(id_)))

    def image_properties(self,
                         body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return those that the server has of its image; None if not known.

        They are those of the image at the time when the server was made,
        unless an administrator has changed them since.

        :param body: the server, as Nova shows it
        """
        if not body.get('image'):
            return None
        shown: dict[str, Any] | None = body['image'].get('properties')
        if shown is not None:
            return shown
        image = self.image(body)
        return None if image is None else manifest.properties_of(image)

    def manifest(self, body: Mapping[str, Any], order: int, stage: int,
                 volumes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return what one needs to make a server again.

        :param body: the server, as Nova shows it
        :param order: its place in the order of freezing, from 0
        :param volumes: see :func:`manifest.volume`
        """
        image = None
        if body.get('image'):
            image = {'id': body['image']['id'],
                     'name': (self.image(body) or {}).get('name')}
        return manifest.make(
            body, order, stage, volumes,
            flavor_id=self._flavors().get(body['flavor'].get('original_name')),
            image=image, image_properties=self.image_properties(body),
            server_groups=self._server_groups(body), ports=self._ports(body),
            with_user_data=self._with_user_data)

    def _or_none(self,
                 read: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        try:
            return read()
        except (cloud_api.CloudError, errors.QuiesceError):
            return None

    def _flavors(self) -> dict[str | None, str]:
        """Return the ids of flavors by name; Nova shows a server's name."""

        def read() -> dict[str | None, str]:
            found = self._listed('/flavors', 'flavors', is_public='None')
            return {each['name']: each['id'] for each in found}

        return self._shared.read('flavors', read)

    def _server_groups(self,
                       body: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        ids = body.get('server_groups')
        if not ids:
            return None if ids is None else []
        known = self._shared.read('server_groups', lambda: {
            each['id']: each for each in self._listed(
                '/os-server-groups', 'server_groups')})
        return [{'id': id_, 'name': known.get(id_, {}).get('name'),
                 'policy': known.get(id_, {}).get('policy')} for id_ in ids]

    def _listed(self, path: str, key: str,
                **query: str) -> list[dict[str, Any]]:
        """Return all that Nova lists; nothing if it refuses to."""
        found: list[dict[str, Any]] = []
        while True:
            page = self._or_none(lambda: self.nova(
                f'{path}?{parse.urlencode(query)}'))
            new = (page or {}).get(key) or []
            found += new
            if not new or not (page or {}).get(f'{key}_links'):
                return found
            query['marker'] = new[-1]['id']

    def _ports(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the ports in the order of the server's interfaces."""
        ports = self._network.ports(body['id'])
        addresses = body.get('addresses') or {}
        if not ports and not addresses:
            return []
        shown = self._or_none(lambda: self.nova(
            f'/servers/{body["id"]}/os-interface')) or {}
        interfaces = shown.get('interfaceAttachments') or []
        if not ports:
            ports = network.without_neutron(body, interfaces)
        tags = {each.get('port_id'): each.get('tag') for each in interfaces}
        macs = [each.get('OS-EXT-IPS-MAC:mac_addr')
                for several in addresses.values() for each in several]
        for port in ports:
            port['tag'] = tags.get(port['id'])
        return sorted(ports,
                      key=lambda port: macs.index(port['mac_address'])
                      if port['mac_address'] in macs else len(macs))
