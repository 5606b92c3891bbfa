# SPDX-License-Identifier: Apache-2.0

"""One server with all that belongs to it, and why it cannot be taken.

It only reads.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib import parse

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import plan
from osc_quiesce.application import record
from osc_quiesce.application import spec
from osc_quiesce import client as quiesce_client
from osc_quiesce import errors
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce import states

# With the flavor in the server, and delete_on_termination in attachments
_COMPUTE_MICROVERSION: Final = '2.79'

# OS-EXT-STS:power_state of a guest that does not run. Source: the server
# concepts in Nova's API guide.
_NOT_RUNNING: Final = {
    3: 'paused',
    4: 'shutdown',
    6: 'crashed',
    7: 'suspended',
}

# What the hypervisors call themselves whose drivers in Nova have no quiesce,
# or refuse it. Source: nova/virt, and _can_quiesce of its libvirt driver.
_CANNOT_QUIESCE: Final = frozenset(
    {'ironic', 'VMware vCenter Server', 'zvm', 'LXC', 'Parallels', 'vz'}
)


# Instance actions that change which volumes a server has
_CHANGES: Final = frozenset({'attach_volume', 'detach_volume', 'swap_volume'})


def newest_change(
    client: quiesce_client.Client, server: model.Server
) -> str | None:
    """Return the id of the newest request that changed a server's volumes."""
    return client.newest_action(server, _CHANGES)


def attached(
    client: quiesce_client.Client, server: model.Server
) -> list[dict[str, Any]]:
    """Return Nova's attachments of a server."""
    found: list[dict[str, Any]] = client.api.read(
        f'/servers/{server.id}/os-volume_attachments',
        server,
        _COMPUTE_MICROVERSION,
    )['volumeAttachments']
    return found


def strangers(
    volume: Mapping[str, Any], members: Collection[str]
) -> list[str]:
    """Return who else has a volume, as Cinder shows it: they are not frozen.

    Only one with multiattach can have several users.

    :param members: the ids of all servers of the application
    """
    users = {
        str(each.get('server_id') or each.get('host_name'))
        for each in volume.get('attachments') or ()
    }
    return sorted(users.difference(members))


def _volume(
    read: Mapping[str, Any],
    part: Mapping[str, Any],
    boots: bool,
    excluded: bool,
) -> plan.Volume:
    """Return what Cinder (read) and Nova (part) tell of a volume."""
    return plan.Volume(
        id=read['id'],
        name=read.get('name') or '',
        device=part['device'] or '',
        size=int(read['size']),
        type=read.get('volume_type'),
        boot_index=0 if boots else -1,
        delete_on_termination=bool(part.get('delete_on_termination')),
        status=read['status'],
        excluded=excluded,
        multiattach=bool(read.get('multiattach')),
    )


class Inspector:
    """Reads one server with all that belongs to it.

    :param members: the ids of all servers of the application
    """

    def __init__(
        self,
        client: quiesce_client.Client,
        cloud: cloud_api.Cloud,
        members: Collection[str],
        unquiesce_after: int,
        allow_local_disk: bool,
    ) -> None:
        self._client = client
        self._cloud = cloud
        self._members = members
        self._unquiesce_after = unquiesce_after
        self._allow_local_disk = allow_local_disk
        self._is_admin = cloud.is_admin
        self._project_id = cloud.project_id
        # Servers share hypervisors; by name, and None if Nova does not say.
        self._hypervisor_types: dict[str, str | None] = {}

    def read(
        self, order: int, stage: int, member: spec.Member, server_id: str
    ) -> plan.Server:
        body = self._nova(f'/servers/{server_id}', server_id)['server']
        server = model.Server(server_id, body['name'])
        # Before its volumes: what changes them later is newer.
        change = newest_change(self._client, server)
        refused: list[str] = []
        volumes, boot_image = self._volumes(body, server, member, refused)
        refused += self._state_problems(body)
        refused += self._host_problems(body)
        refused += self._disk_problems(body)
        refused += self._image_problems(body, boot_image)
        return plan.Server(
            id=server_id,
            name=body['name'],
            stage=stage,
            unquiesce_after=member.unquiesce_after or self._unquiesce_after,
            volumes=tuple(volumes),
            restore=record.make(
                body, order, stage, volumes, self._ports(body)
            ),
            refused=tuple(refused),
            newest_change=change,
        )

    def _volumes(
        self,
        body: Mapping[str, Any],
        server: model.Server,
        member: spec.Member,
        refused: list[str],
    ) -> tuple[list[plan.Volume], Mapping[str, Any] | None]:
        """Return the volumes, and the image of the one that it boots from.

        :param refused: is given why they cannot be taken
        """
        root = body.get('OS-EXT-SRV-ATTR:root_device_name')
        volumes: list[plan.Volume] = []
        unknown = set(member.exclude_volumes)
        boot_image = None
        for part in sorted(
            attached(self._client, server),
            key=lambda part: (len(part['device'] or ''), part['device'] or ''),
        ):
            read = self._cloud.volume(
                'GET', f'/volumes/{part["volumeId"]}'
            )['volume']
            names = {read['id'], read.get('name')}
            boots = part['device'] == root if root else (
                not body.get('image') and not volumes
            )
            if boots:
                boot_image = read.get('volume_image_metadata')
            excluded = bool(names & set(member.exclude_volumes))
            if not excluded:
                refused += self._sharing_problems(read)
            volumes.append(_volume(read, part, boots, excluded))
            unknown -= names
        refused += [
            _('has no volume "%s" to leave out') % name
            for name in sorted(unknown)
        ]
        refused += [
            _('has volume %(id)s, which is not in-use but %(status)s')
            % {'id': volume.id, 'status': volume.status}
            for volume in volumes
            if not volume.excluded and volume.status != 'in-use'
        ]
        return volumes, boot_image

    def _nova(self, path: str, server_id: str = '') -> dict[str, Any]:
        """GET from Nova."""
        return self._client.api.read(
            path,
            model.Server(server_id) if server_id else None,
            _COMPUTE_MICROVERSION,
        )

    def _sharing_problems(self, volume: Mapping[str, Any]) -> list[str]:
        return [
            _(
                'has volume %(id)s, which is also attached to %(user)s, which '
                'would not be frozen'
            )
            % {'id': volume['id'], 'user': user}
            for user in strangers(volume, self._members)
        ]

    def _state_problems(self, body: Mapping[str, Any]) -> list[str]:
        problems = []
        vm_state = body.get('OS-EXT-STS:vm_state')
        task_state = body.get('OS-EXT-STS:task_state')
        if (vm_state, task_state) != (states.ACTIVE, None):
            problems.append(
                _(
                    'has vm_state %(vm)s, task_state %(task)s, and must have '
                    '%(ok)s and None'
                )
                % {'vm': vm_state, 'task': task_state, 'ok': states.ACTIVE}
            )
        # Nova lets administrators do with locked servers what they like.
        if body.get('locked') and not self._is_admin:
            problems.append(_('is locked: unlock it first'))
        if body['tenant_id'] != self._project_id:
            problems.append(
                _(
                    'is of project %s: snapshots of its volumes must be made '
                    'with a token of that project'
                )
                % body['tenant_id']
            )
        return problems

    def _host_problems(self, body: Mapping[str, Any]) -> list[str]:
        """Look at the host and the guest, as far as Nova shows them."""
        problems = []
        power_state = body.get('OS-EXT-STS:power_state')
        if power_state in _NOT_RUNNING:
            problems.append(
                _(
                    'has power_state %(number)d (%(name)s): its guest must '
                    'be running to be quiesced'
                )
                % {'number': power_state, 'name': _NOT_RUNNING[power_state]}
            )
        if body.get('host_status') == 'DOWN':
            problems.append(
                _(
                    'is on host %s, whose nova-compute is down: nobody could '
                    'quiesce it'
                )
                % body.get('OS-EXT-SRV-ATTR:host')
            )
        hypervisor = body.get('OS-EXT-SRV-ATTR:hypervisor_hostname') or ''
        if hypervisor and hypervisor not in self._hypervisor_types:
            self._hypervisor_types[hypervisor] = self._hypervisor_type(
                hypervisor
            )
        kind = self._hypervisor_types.get(hypervisor)
        if kind in _CANNOT_QUIESCE:
            problems.append(
                _(
                    'is on a hypervisor of type %s, which cannot quiesce '
                    'guests'
                )
                % kind
            )
        return problems

    def _hypervisor_type(self, hostname: str) -> str | None:
        """Return what a hypervisor calls itself; None if Nova does not say."""
        query = parse.urlencode({'hypervisor_hostname_pattern': hostname})
        try:
            found = self._nova(f'/os-hypervisors/detail?{query}')
        except errors.QuiesceError:
            return None
        for each in found['hypervisors']:
            if each['hypervisor_hostname'] == hostname:
                return str(each['hypervisor_type'])
        return None

    def _disk_problems(self, body: Mapping[str, Any]) -> list[str]:
        if self._allow_local_disk:
            return []
        local = []
        if body.get('image'):
            local.append(_('root'))
        if body['flavor'].get('ephemeral'):
            local.append(_('ephemeral'))
        return [
            _(
                'has a local %s disk, not a volume, which would not be in the '
                'snapshots; --allow-local-disk accepts that'
            )
            % disk
            for disk in local
        ]

    def _image_problems(
        self, body: Mapping[str, Any], boot_image: Mapping[str, Any] | None
    ) -> list[str]:
        """Look whether the image says that there is a guest agent.

        Nova decides by the image as it was when the server was made, which
        only the hypervisor's side knows: a boot volume keeps a copy; an image
        that cannot be read says nothing.
        """
        if not boot_image and body.get('image'):
            try:
                boot_image = self._cloud.image(body['image']['id'])
            except cloud_api.CloudError:
                return []
        if not boot_image:
            return []
        agent = str(boot_image.get('hw_qemu_guest_agent', '')).lower()
        if agent in ('true', 'yes', '1', 'on', 't', 'y'):
            return []
        return [
            _(
                'cannot be quiesced: its image does not have the property '
                'hw_qemu_guest_agent=yes'
            )
        ]

    def _ports(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        if not body.get('addresses'):
            return []
        try:
            return [
                {
                    'port_id': port.get('port_id'),
                    'net_id': port.get('net_id'),
                    'mac_addr': port.get('mac_addr'),
                    'fixed_ips': port.get('fixed_ips'),
                }
                for port in self._nova(
                    f'/servers/{body["id"]}/os-interface'
                )['interfaceAttachments']
            ]
        except errors.QuiesceError:
            return []  # the addresses are known all the same
