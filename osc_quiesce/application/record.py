# SPDX-License-Identifier: Apache-2.0

"""What one needs to make a server again, as JSON has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from osc_quiesce.application import plan


def make(
    body: Mapping[str, Any],
    order: int,
    stage: int,
    volumes: Sequence[plan.Volume],
    ports: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return the record of a server.

    :param body: the server, as Nova shows it
    :param order: its place in the order of freezing, from 0
    """
    return {
        'id': body['id'],
        'name': body['name'],
        'order': order,
        'stage': stage,
        'flavor': dict(body['flavor']),
        'image': (body.get('image') or {}).get('id'),
        'availability_zone': body.get('OS-EXT-AZ:availability_zone'),
        'key_name': body.get('key_name'),
        'security_groups': sorted(
            {group['name'] for group in body.get('security_groups') or ()}
        ),
        'config_drive': bool(body.get('config_drive')),
        'description': body.get('description'),
        'metadata': body.get('metadata') or {},
        'addresses': body.get('addresses') or {},
        'ports': ports,
        'volumes': [
            {
                'id': volume.id,
                'name': volume.name,
                'device': volume.device,
                'size': volume.size,
                'type': volume.type,
                'boot_index': volume.boot_index,
                'delete_on_termination': volume.delete_on_termination,
                'excluded': volume.excluded,
            }
            for volume in volumes
        ],
    }
