# SPDX-License-Identifier: Apache-2.0

"""The manifest of a server: what one needs to make it again, as JSON has it.

It is read from Nova, Glance and Neutron. What the cloud does not show, or not
to the caller, is None, and no obstacle. References have the name beside the
id: at another site only the name means something.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import network
from osc_quiesce import client as quiesce_client
from osc_quiesce import concurrency
from osc_quiesce import errors as quiesce_errors
from osc_quiesce import http
from osc_quiesce import model

# With the flavor in the server, and with tag and delete_on_termination in
# attachments
MICROVERSION: Final = '2.79'
# What is shown of a server besides: its hostname to everybody, the properties
# of its image, its scheduler hints
_SERVER_MICROVERSIONS: Final = ('2.100', '2.98', '2.90', MICROVERSION)

# What Glance keeps besides the properties that Nova reads
_OF_GLANCE: Final = frozenset({'os_hash_algo', 'os_hash_value', 'os_hidden'})
_OF_NOVA: Final = ('hw_', 'img_', 'os_', 'trait:')


class Recorder:
    """Reads what a set records, and once what several servers share.

    A server is given as Nova shows it.

    :param with_user_data: whether to record what may hold secrets
    """

    def __init__(self, client: quiesce_client.Client, cloud: cloud_api.Cloud,
                 with_user_data: bool = False) -> None:
        self._client = client
        self._cloud = cloud
        self._with_user_data = with_user_data
        self._network = network.Network(cloud)
        self._once = concurrency.Once()

    def nova(self, path: str, server_id: str = '',
             microversion: str = MICROVERSION) -> dict[str, Any]:
        """Return what Nova has at a path.

        :param server_id: the server that it is about, for messages
        """
        server = model.Server(server_id) if server_id else None
        return self._client.timer.until_answered(
            lambda: self._client.api.read(path, server, microversion))

    def server(self, server_id: str) -> dict[str, Any]:
        """Return a server, with as much as this Nova can show of it."""
        path = f'/servers/{server_id}'

        def newest() -> str:
            for microversion in _SERVER_MICROVERSIONS[:-1]:
                try:
                    self.nova(path, server_id, microversion)
                except quiesce_errors.Refused as exc:
                    if type(exc) is not quiesce_errors.Refused:
                        raise  # not because of the microversion
                else:
                    return microversion
            return MICROVERSION

        microversion = self._once.read('microversion', newest)
        body: dict[str, Any] = self.nova(
            path, server_id, microversion)['server']
        return body

    def image_properties(self,
                         body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return those that the server has of its image; None if not known.

        They are those of the image at the time when the server was made,
        unless an administrator has changed them since.
        """
        if not body.get('image'):
            return None
        shown: dict[str, Any] | None = body['image'].get('properties')
        image = self._image(body) if shown is None else None
        if image is None:
            return shown
        return {key: value for key, value in image.items()
                if key.startswith(_OF_NOVA) and key not in _OF_GLANCE}

    def manifest(self, body: Mapping[str, Any], order: int, stage: int,
                 volumes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the manifest of a server.

        :param order: its place in the order of freezing, from 0
        :param volumes: see :func:`volume`
        """
        image = None
        if body.get('image'):
            image = {'id': body['image']['id'],
                     'name': (self._image(body) or {}).get('name')}
        made = {
            'id': body['id'],
            'name': body['name'],
            'order': order,
            'stage': stage,
            'hostname': body.get('OS-EXT-SRV-ATTR:hostname'),
            'description': body.get('description'),
            'tags': body.get('tags'),
            'metadata': body.get('metadata') or {},
            'key_name': body.get('key_name'),
            'availability_zone': body.get('OS-EXT-AZ:availability_zone'),
            'config_drive': bool(body.get('config_drive')),
            'flavor': self._flavor(body['flavor']),
            'image': image,
            'image_properties': self.image_properties(body),
            'server_groups': self._server_groups(body),
            'scheduler_hints': body.get('scheduler_hints'),
            'ports': self._ports(body),
            'volumes': volumes}
        if self._with_user_data:
            made['user_data'] = body.get('OS-EXT-SRV-ATTR:user_data')
        return made

    def _image(self, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the image of a server's local disk, as Glance shows it."""
        id_ = body['image']['id']
        return self._once.read(('image', id_), lambda: _if_shown(
            lambda: self._client.timer.until_answered(
                lambda: self._cloud.image(id_))))

    def _flavor(self, shown: Mapping[str, Any]) -> dict[str, Any]:
        name = shown.get('original_name')
        # Nova shows no id.
        flavors = self._listed('/flavors?is_public=None', 'flavors')
        sizes = ('vcpus', 'ram', 'disk', 'ephemeral', 'swap', 'extra_specs')
        return {'id': {each['name']: each['id'] for each in flavors}.get(name),
                'name': name, **{key: shown.get(key) for key in sizes}}

    def _server_groups(self,
                       body: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        ids = body.get('server_groups')
        if not ids:
            return None if ids is None else []
        groups = self._listed('/os-server-groups', 'server_groups')
        known = {each['id']: each for each in groups}
        return [{'id': id_, 'name': known.get(id_, {}).get('name'),
                 'policy': known.get(id_, {}).get('policy')} for id_ in ids]

    def _listed(self, path: str, key: str) -> list[dict[str, Any]]:
        """Return all that Nova lists, read once; nothing if it refuses to."""
        return self._once.read(path, lambda: _if_shown(
            lambda: list(http.pages(self.nova, path, key)))) or []

    def _ports(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the ports in the order of the server's interfaces."""
        ports = self._network.ports(body['id'])
        addresses = body.get('addresses') or {}
        if not ports and not addresses:
            return []
        shown = _if_shown(lambda: self.nova(
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


def volume(read: Mapping[str, Any], part: Mapping[str, Any], boot_index: int,
           excluded: bool) -> dict[str, Any]:
    """Return what one needs to make a volume of a server again.

    :param read: the volume, as Cinder shows it
    :param part: its attachment, as Nova shows it
    :param boot_index: 0 for the volume that the server boots from, else -1
    :param excluded: whether no snapshot is wanted
    """
    return {
        'id': read['id'],
        'name': read.get('name') or '',
        'description': read.get('description') or '',
        'device': part['device'] or '',
        'size': int(read['size']),
        'type': read.get('volume_type'),
        'availability_zone': read.get('availability_zone'),
        'boot_index': boot_index,
        'tag': part.get('tag'),
        'delete_on_termination': bool(part.get('delete_on_termination')),
        'excluded': excluded,
        # Cinder writes it as a text.
        'bootable': str(read.get('bootable')).lower() == 'true',
        'encrypted': bool(read.get('encrypted')),
        'multiattach': bool(read.get('multiattach')),
        'image_metadata': dict(read.get('volume_image_metadata') or {}),
        'metadata': dict(read.get('metadata') or {})}


def _if_shown(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (cloud_api.CloudError, quiesce_errors.QuiesceError):
        return None
