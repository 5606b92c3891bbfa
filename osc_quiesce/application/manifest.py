# SPDX-License-Identifier: Apache-2.0

"""What one needs to make a server again, as JSON has it.

What the cloud does not show, or not to the caller, is None. References have
the name beside the id: at another site only the name means something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

# What Glance keeps besides the properties that Nova reads
_OF_GLANCE: Final = frozenset({'os_hash_algo', 'os_hash_value', 'os_hidden'})
_OF_NOVA: Final = ('hw_', 'img_', 'os_', 'trait:')


def make(
    body: Mapping[str, Any],
    order: int,
    stage: int,
    volumes: Sequence[Mapping[str, Any]],
    flavor_id: str | None,
    image: Mapping[str, Any] | None,
    image_properties: Mapping[str, Any] | None,
    server_groups: Sequence[Mapping[str, Any]] | None,
    ports: Sequence[Mapping[str, Any]],
    with_user_data: bool,
) -> dict[str, Any]:
    """Return the manifest of a server.

    :param body: the server, as Nova shows it
    :param order: its place in the order of freezing, from 0
    :param volumes: see :func:`volume`
    :param with_user_data: whether to record what may hold secrets
    """
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
        'flavor': _flavor(body['flavor'], flavor_id),
        'image': None if image is None else dict(image),
        'image_properties': image_properties,
        'server_groups': server_groups,
        'scheduler_hints': body.get('scheduler_hints'),
        'ports': ports,
        'volumes': volumes,
    }
    if with_user_data:
        made['user_data'] = body.get('OS-EXT-SRV-ATTR:user_data')
    return made


def _flavor(shown: Mapping[str, Any], id_: str | None) -> dict[str, Any]:
    sizes = ('vcpus', 'ram', 'disk', 'ephemeral', 'swap')
    return {
        'id': id_,
        'name': shown.get('original_name'),
        **{key: shown.get(key) for key in sizes},
        'extra_specs': shown.get('extra_specs'),
    }


def volume(
    read: Mapping[str, Any],
    part: Mapping[str, Any],
    boot_index: int,
    excluded: bool,
) -> dict[str, Any]:
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
        'metadata': dict(read.get('metadata') or {}),
    }


def properties_of(image: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties of an image, as Glance shows it, for Nova."""
    return {
        key: value
        for key, value in image.items()
        if key.startswith(_OF_NOVA) and key not in _OF_GLANCE
    }
