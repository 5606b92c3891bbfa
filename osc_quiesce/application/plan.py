# SPDX-License-Identifier: Apache-2.0

"""Everything that can fail is found out here, before the first freeze.

It only reads, but for one request that cannot have an effect: to quiesce a
server that cannot exist, which tells whether the cloud has a quiesce API, and
whether servers may stay frozen for as long as is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
import dataclasses
from typing import Any, Final
from urllib import parse
import uuid

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import sets
from osc_quiesce.application import spec
from osc_quiesce import client as quiesce_client
from osc_quiesce import exceptions
from osc_quiesce.i18n import _
from osc_quiesce import states
from osc_quiesce import threads

NO_SERVER: Final = str(uuid.UUID(int=0))

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


@dataclasses.dataclass(frozen=True)
class Volume:
    """A volume of a server, as Nova and Cinder tell of it.

    :param size: GiB
    :param boot_index: 0 for the volume that the server boots from, -1 for
        others
    :param excluded: no snapshot is wanted
    :param multiattach: several servers may have it at the same time
    """

    id: str
    name: str
    device: str
    size: int
    type: str | None
    boot_index: int
    delete_on_termination: bool
    status: str
    excluded: bool = False
    multiattach: bool = False


@dataclasses.dataclass(frozen=True)
class Server:
    """A server of the plan.

    :param stage: number of its stage, from 0
    :param unquiesce_after: seconds
    :param volumes: in the order of their devices
    :param restore: what one needs to make it again, as JSON has it
    :param refused: why it cannot be part of a snapshot set
    """

    id: str
    name: str
    stage: int
    unquiesce_after: int
    volumes: tuple[Volume, ...]
    restore: Mapping[str, Any]
    refused: tuple[str, ...]

    @property
    def label(self) -> str:
        return exceptions.label(self.id, self.name)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be done.

    :param problems: why nothing can be done, apart from what is refused for
        single servers
    :param sets_before: the ids of the snapshot sets that there were
    """

    name: str
    application: str
    servers: tuple[Server, ...]
    problems: tuple[str, ...]
    sets_before: frozenset[str] = frozenset()

    @property
    def stages(self) -> list[list[str]]:
        """The ids of the servers of each stage."""
        numbers = sorted({server.stage for server in self.servers})
        return [
            [server.id for server in self.servers if server.stage == number]
            for number in numbers
        ]

    @property
    def snapshots(self) -> list[tuple[Server, Volume]]:
        """Each volume once, with the first server that it is attached to."""
        found: dict[str, tuple[Server, Volume]] = {}
        for server in self.servers:
            for volume in server.volumes:
                if not volume.excluded:
                    found.setdefault(volume.id, (server, volume))
        return list(found.values())

    @property
    def refusals(self) -> tuple[str, ...]:
        """Every reason why this cannot be done; empty if it can."""
        return self.problems + tuple(
            # Translators: the reason has no subject, such as "is locked".
            _('Server %(server)s %(why)s.')
            % {'server': server.label, 'why': why}
            for server in self.servers
            for why in server.refused
        )


def make(
    client: quiesce_client.Client,
    cloud: cloud_api.Cloud,
    name: str,
    application: spec.Application,
    unquiesce_after: int,
    allow_local_disk: bool = False,
) -> Plan:
    """Look at everything, change nothing, and return what is to be done.

    :param name: of the snapshot set
    :param unquiesce_after: seconds, for servers without a time of their own
    :param allow_local_disk: whether servers with a root or ephemeral disk
        that is not a volume are taken as well
    :returns: a plan, perhaps with refusals
    :raises cloud.CloudError: Nova or Cinder cannot be asked
    """
    longest = max(
        member.unquiesce_after or unquiesce_after
        for member in application.members
    )
    problems = _api_problems(client, cloud, longest)
    found: list[tuple[int, spec.Member, str]] = []
    for number, stage in enumerate(application.stages):
        for member in stage:
            try:
                server_id = client.find_server(member.server).id
            except exceptions.QuiesceError as exc:
                problems.append(str(exc))
                continue
            if server_id in (id_ for _n, _m, id_ in found):
                problems.append(
                    _('Server %s is named twice.')
                    % exceptions.label(server_id, member.server)
                )
                continue
            found.append((number, member, server_id))
    members = frozenset(server_id for _n, _m, server_id in found)
    reader = _Reader(cloud, members, unquiesce_after, allow_local_disk)
    servers = threads.at_once(
        lambda item: reader.read(item[0], *item[1]),
        enumerate(found),
        threads=cloud_api.THREADS,
    )
    plan = Plan(name, application.name, tuple(servers), ())
    if servers and not plan.snapshots:
        problems.append(_('There is no volume to take a snapshot of.'))
    problems += _quota_problems(cloud, plan)
    before = sets.find_all(cloud)
    problems += name_problems(before, name)
    return dataclasses.replace(
        plan,
        problems=tuple(problems),
        sets_before=frozenset(each.id for each in before),
    )


def name_problems(found: Iterable[sets.SnapshotSet], name: str) -> list[str]:
    """Return why a set cannot have this name beside those that there are."""
    if all(each.name != name for each in found):
        return []
    return [
        _(
            'There is a snapshot set "%s" already: choose another name, '
            'or delete it.'
        )
        % name
    ]


def attached(cloud: cloud_api.Cloud, server_id: str) -> list[dict[str, Any]]:
    """Return Nova's attachments of a server."""
    found: list[dict[str, Any]] = cloud.compute(
        f'/servers/{server_id}/os-volume_attachments'
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


def _api_problems(
    client: quiesce_client.Client, cloud: cloud_api.Cloud, unquiesce_after: int
) -> list[str]:
    try:
        client.quiesce(NO_SERVER, unquiesce_after)
    except exceptions.ServerNotFound:
        pass
    except exceptions.QuiesceError as exc:
        by_nova = isinstance(exc, exceptions.Refused) and exc.server_id
        exc.server_id = None
        if not by_nova:
            return [str(exc)]
        # Translators: the message has no subject, such as "is left as it
        # was: ...".
        return [_('Every server %s') % exc]
    try:
        services = cloud.compute('/os-services?binary=nova-quiesce')
    except cloud_api.CloudError:
        return []  # only administrators may see them
    if not any(each['state'] == 'up' for each in services['services']):
        return [
            _('No nova-quiesce service is up: nobody would quiesce anything.')
        ]
    return []


def _quota_problems(cloud: cloud_api.Cloud, plan: Plan) -> list[str]:
    needed: dict[str, int] = {}

    def need(key: str, volume: Volume, amount: int) -> None:
        for quota in (key, f'{key}_{volume.type}'):
            needed[quota] = needed.get(quota, 0) + amount

    for _server, volume in plan.snapshots:
        need('snapshots', volume, 1)
        need('gigabytes', volume, volume.size)
    try:
        quotas = cloud.volume(
            'GET', f'/os-quota-sets/{cloud.project_id}?usage=True'
        )['quota_set']
    except cloud_api.CloudError as exc:
        return [_("Cinder's quota cannot be read: %s") % exc]
    problems = []
    for key, amount in needed.items():
        quota = quotas.get(key)
        if not quota or quota['limit'] < 0:
            continue
        left = quota['limit'] - quota['in_use'] - quota['reserved']
        if amount > left:
            problems.append(
                _(
                    "Cinder's quota %(key)s is too small: %(amount)d needed, "
                    '%(left)d of %(limit)d left.'
                )
                % {
                    'key': key,
                    'amount': amount,
                    'left': max(0, left),
                    'limit': quota['limit'],
                }
            )
    return problems


class _Reader:
    """Reads one server with all that belongs to it.

    :param members: the ids of all servers of the application
    """

    def __init__(
        self,
        cloud: cloud_api.Cloud,
        members: Collection[str],
        unquiesce_after: int,
        allow_local_disk: bool,
    ) -> None:
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
    ) -> Server:
        body = self._cloud.compute(f'/servers/{server_id}')['server']
        refused: list[str] = []
        root = body.get('OS-EXT-SRV-ATTR:root_device_name')
        volumes: list[Volume] = []
        unknown = set(member.exclude_volumes)
        boot_image = None
        for part in sorted(
            attached(self._cloud, server_id),
            key=lambda part: (len(part['device'] or ''), part['device'] or ''),
        ):
            read = self._volume(part['volumeId'])
            names = {read['id'], read.get('name')}
            boots = part['device'] == root if root else (
                not body.get('image') and not volumes
            )
            if boots:
                boot_image = read.get('volume_image_metadata')
            excluded = bool(names & set(member.exclude_volumes))
            if not excluded:
                refused += self._sharing_problems(read)
            volumes.append(
                Volume(
                    id=read['id'],
                    name=read.get('name') or '',
                    device=part['device'] or '',
                    size=int(read['size']),
                    type=read.get('volume_type'),
                    boot_index=0 if boots else -1,
                    delete_on_termination=bool(
                        part.get('delete_on_termination')
                    ),
                    status=read['status'],
                    excluded=excluded,
                    multiattach=bool(read.get('multiattach')),
                )
            )
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
        refused += self._state_problems(body)
        refused += self._host_problems(body)
        refused += self._disk_problems(body)
        refused += self._image_problems(body, boot_image)
        return Server(
            id=server_id,
            name=body['name'],
            stage=stage,
            unquiesce_after=member.unquiesce_after or self._unquiesce_after,
            volumes=tuple(volumes),
            restore=self._restore(body, order, stage, volumes),
            refused=tuple(refused),
        )

    def _volume(self, volume_id: str) -> dict[str, Any]:
        read: dict[str, Any] = self._cloud.volume(
            'GET', f'/volumes/{volume_id}'
        )['volume']
        return read

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
            found = self._cloud.compute(f'/os-hypervisors/detail?{query}')
        except cloud_api.CloudError:
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

    def _restore(
        self,
        body: Mapping[str, Any],
        order: int,
        stage: int,
        volumes: list[Volume],
    ) -> dict[str, Any]:
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
            'ports': self._ports(body),
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
                for port in self._cloud.compute(
                    f'/servers/{body["id"]}/os-interface'
                )['interfaceAttachments']
            ]
        except cloud_api.CloudError:
            return []  # the addresses are known all the same


def check(plan: Plan) -> None:
    """Raise errors.NotPossible if the plan has refusals."""
    if plan.refusals:
        raise errors.NotPossible(plan.refusals)
