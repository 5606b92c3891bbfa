# SPDX-License-Identifier: Apache-2.0

"""One server with all that belongs to it, and why it cannot be taken.

It only reads. What Nova does not show is no reason.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib import parse

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import manifest
from osc_quiesce.application import plan
from osc_quiesce.application import spec
from osc_quiesce import client as quiesce_client
from osc_quiesce import concurrency
from osc_quiesce import errors as quiesce_errors
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce import states

#: instance actions that change which volumes a server has
CHANGES: Final = frozenset({'attach_volume', 'detach_volume', 'swap_volume'})

# migration_status of volumes that are not being migrated: Cinder takes no
# snapshots of others. Only administrators are shown it; everybody is shown a
# retype, in the status. Source: cinder/volume/api.py, _is_volume_migrating
_NOT_MIGRATING: Final = frozenset({
    None, 'none', 'deleting', 'error', 'success'})

# OS-EXT-STS:power_state of a guest that does not run. Source: the server
# concepts in Nova's API guide.
_NOT_RUNNING: Final = {
    3: 'paused', 4: 'shutdown', 6: 'crashed', 7: 'suspended'}

# What the hypervisors call themselves whose drivers in Nova have no quiesce,
# or refuse it. Source: nova/virt, and _can_quiesce of its libvirt driver.
_CANNOT_QUIESCE: Final = frozenset({
    'ironic', 'VMware vCenter Server', 'zvm', 'LXC', 'Parallels', 'vz'})

# What Cinder calls the storage whose drivers have Nova make the snapshots of
# volumes in use. Source: the drivers that inherit _create_snapshot_online of
# cinder/volume/drivers/remotefs.py
_SNAPSHOTS_OF_NOVA: Final = frozenset({'nfs', 'quobyte', 'vzstorage'})
_ATTACHMENT_MICROVERSION: Final = '3.27'


def strangers(volume: Mapping[str, Any],
              members: Collection[str]) -> list[str]:
    """Return who else has a volume, as Cinder shows it: they are not frozen.

    Only one with multiattach can have several users.

    :param members: the ids of all servers of the application
    """
    users = {str(each.get('server_id') or each.get(
        'host_name')) for each in volume.get('attachments') or ()}
    return sorted(users.difference(members))


class Inspector:
    """Reads servers, and once what several of them share.

    :param members: the ids of all servers of the application
    """

    def __init__(self, client: quiesce_client.Client, cloud: cloud_api.Cloud,
                 members: Collection[str], unquiesce_after: int,
                 allow_local_disk: bool, with_user_data: bool = False) -> None:
        self._client = client
        self._cloud = cloud
        self._recorder = manifest.Recorder(client, cloud, with_user_data)
        self._once = concurrency.Once()
        self._with_user_data = with_user_data
        self._members = members
        self._unquiesce_after = unquiesce_after
        self._allow_local_disk = allow_local_disk
        self._is_admin = cloud.is_admin
        self._project_id = cloud.project_id

    def read(self, order: int, stage: int, member: spec.Member,
             server_id: str) -> plan.Server:
        body = self._recorder.server(server_id)
        # Before its volumes: what changes them later is newer.
        change, freeze = self._client.newest_actions(
            model.Server(server_id, body['name']), CHANGES, {states.QUIESCE})
        refused: list[str] = []
        volumes, taken = self._volumes(body, member, refused)
        properties = self._properties(body, volumes)
        refused += self._second_freezes(properties, taken)
        refused += self._state_problems(body)
        refused += self._host_problems(body)
        refused += self._disk_problems(body)
        refused += _agent_problems(body, properties)
        refused += self._user_data_problems(body)
        return plan.Server(
            id=server_id, name=body['name'], stage=stage,
            unquiesce_after=member.unquiesce_after or self._unquiesce_after,
            restore=self._recorder.manifest(body, order, stage, volumes),
            refused=tuple(refused), newest_change=change,
            newest_quiesce=freeze)

    def _volumes(self, body: Mapping[str, Any], member: spec.Member,
                 refused: list[str]) -> tuple[list[dict[str, Any]],
                                              list[Mapping[str, Any]]]:
        """Return the manifests of the volumes, in the order of their devices.

        :param refused: is given why they cannot be taken
        :returns: also, as Cinder shows them, those to take snapshots of
        """
        volumes = []
        left_out: dict[str, list[str]] = {
            name: [] for name in member.exclude_volumes}
        attached = self._recorder.nova(
            f'/servers/{body["id"]}/os-volume_attachments', body['id'])
        parts = sorted(attached['volumeAttachments'], key=lambda part: (
            len(part['device'] or ''), part['device'] or ''))
        boot_place = _boot_place(body, parts)
        taken: list[Mapping[str, Any]] = []
        for place, part in enumerate(parts):
            read = self._read_volume(part['volumeId'], refused)
            if read is None:
                continue
            names = left_out.keys() & {read['id'], read.get('name')}
            for name in names:
                left_out[name].append(read['id'])
            if not names:
                refused += self._volume_problems(read)
                taken.append(read)
            volumes.append(manifest.volume(
                read, part, 0 if place == boot_place else -1, bool(names)))
        refused += _name_problems(left_out)
        return volumes, taken

    def _read_volume(self, volume_id: str,
                     refused: list[str]) -> dict[str, Any] | None:
        """Return a volume as Cinder shows it; None if it does not.

        :param refused: is given why it does not
        """
        try:
            read: dict[str, Any] = self._client.timer.until_answered(
                lambda: self._cloud.volume(
                    'GET', f'/volumes/{volume_id}')['volume'])
            return read
        except cloud_api.NotThere:
            refused.append(_('has volume %s, which Cinder does not have, or '
                             'not in this project') % volume_id)
        except cloud_api.CloudError as exc:
            if exc.is_transient:
                raise
            refused.append(
                _('has volume %(id)s, which Cinder does not show: %(why)s') % {
                    'id': volume_id, 'why': str(exc).rstrip('.')})
        return None

    def _volume_problems(self, volume: Mapping[str, Any]) -> Iterator[str]:
        for user in strangers(volume, self._members):
            yield _('has volume %(id)s, which is also attached to %(user)s, '
                    'which would not be frozen') % {
                        'id': volume['id'], 'user': user}
        if volume['status'] != 'in-use':
            yield _('has volume %(id)s, which is not in-use but '
                    '%(status)s') % volume
        if volume.get('migration_status') not in _NOT_MIGRATING:
            yield _('has volume %(id)s, which is being migrated (%(status)s): '
                    'wait until that is over') % {
                        'id': volume['id'],
                        'status': volume['migration_status']}

    def _state_problems(self, body: Mapping[str, Any]) -> Iterator[str]:
        vm_state = body.get('OS-EXT-STS:vm_state')
        task_state = body.get('OS-EXT-STS:task_state')
        if (vm_state, task_state) != (states.ACTIVE, None):
            yield _('has vm_state %(vm)s, task_state %(task)s, and must have '
                    '%(ok)s and None') % {
                        'vm': vm_state, 'task': task_state,
                        'ok': states.ACTIVE}
        # Nova lets administrators do with locked servers what they like.
        if body.get('locked') and not self._is_admin:
            yield _('is locked: unlock it first')
        if body['tenant_id'] != self._project_id:
            yield _('is of project %s: snapshots of its volumes must be made '
                    'with a token of that project') % body['tenant_id']

    def _host_problems(self, body: Mapping[str, Any]) -> Iterator[str]:
        power_state = body.get('OS-EXT-STS:power_state')
        if power_state in _NOT_RUNNING:
            yield _('has power_state %(number)d (%(name)s): its guest must be '
                    'running to be quiesced') % {
                        'number': power_state,
                        'name': _NOT_RUNNING[power_state]}
        if body.get('host_status') == 'DOWN':
            yield _('is on host %s, whose nova-compute is down and cannot '
                    'quiesce it') % body.get('OS-EXT-SRV-ATTR:host')
        hypervisor = body.get('OS-EXT-SRV-ATTR:hypervisor_hostname') or ''
        kind = hypervisor and self._once.read(
            hypervisor, lambda: self._hypervisor_type(hypervisor))
        if kind in _CANNOT_QUIESCE:
            yield _('is on a hypervisor of type %s, which cannot quiesce '
                    'guests') % kind

    def _hypervisor_type(self, hostname: str) -> str | None:
        """Return what a hypervisor calls itself; None if Nova does not say."""
        query = parse.urlencode({'hypervisor_hostname_pattern': hostname})
        try:
            found = self._recorder.nova(f'/os-hypervisors/detail?{query}')
        except quiesce_errors.QuiesceError:
            return None
        for each in found['hypervisors']:
            if each['hypervisor_hostname'] == hostname:
                return str(each['hypervisor_type'])
        return None

    def _disk_problems(self, body: Mapping[str, Any]) -> Iterator[str]:
        if 'original_name' not in body['flavor']:
            yield _('is shown without the sizes of its flavor, so that local '
                    'disks would go unnoticed: let proxies pass the header '
                    'OpenStack-API-Version on to Nova')
        for disk, is_there in ((_('root'), body.get('image')), (
                _('ephemeral'), body['flavor'].get('ephemeral'))):
            if is_there and not self._allow_local_disk:
                yield _('has a local %s disk, not a volume, which would not '
                        'be in the snapshots; --allow-local-disk accepts '
                        'that') % disk

    def _second_freezes(self, properties: Mapping[str, Any] | None,
                        taken: Iterable[Mapping[str, Any]]) -> Iterator[str]:
        """Return of which volumes Nova would not make the snapshots.

        It freezes the guest for them, which fails while that is frozen, and
        goes on without, unless a property of the image forbids that.
        """
        if not _is_yes((properties or {}).get('os_require_quiesce')):
            return
        for volume in taken:
            if (storage := self._storage(volume)) in _SNAPSHOTS_OF_NOVA:
                yield _('has the image property os_require_quiesce=yes, with '
                        'which Nova makes no snapshot of volume %(id)s (on '
                        '%(storage)s) while the guest is frozen: take it off '
                        'the server, whose guest this command freezes '
                        'anyway') % {'id': volume['id'], 'storage': storage}

    def _properties(self, body: Mapping[str, Any], volumes: Iterable[
            Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """Return what a server has of its image; None if that is not known.

        It is not shown of a server that boots from a volume, but that volume
        has a copy.
        """
        if body.get('image'):
            return self._recorder.image_properties(body)
        for volume in volumes:
            if volume['boot_index'] == 0:
                return volume['image_metadata'] or None
        return None

    def _storage(self, volume: Mapping[str, Any]) -> str | None:
        """Return how a volume is attached; None if Cinder does not show it."""
        for each in volume.get('attachments') or ():
            try:
                shown = self._cloud.volume(
                    'GET', f'/attachments/{each["attachment_id"]}',
                    microversion=_ATTACHMENT_MICROVERSION)['attachment']
            except (cloud_api.CloudError, KeyError):
                continue
            if kind := (shown.get('connection_info') or {}).get(
                    'driver_volume_type'):
                return str(kind)
        return None

    def _user_data_problems(self, body: Mapping[str, Any]) -> Iterator[str]:
        if self._with_user_data and 'OS-EXT-SRV-ATTR:user_data' not in body:
            yield _('has user data that only administrators may see, and '
                    '--with-user-data asks for them')


def _name_problems(left_out: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Look whether each name of a volume to leave out is that of one.

    :param left_out: name to the ids of the volumes that bear it
    """
    for name, ids in sorted(left_out.items()):
        if not ids:
            yield _('has no volume "%s" to leave out') % name
        elif len(ids) > 1:
            yield _('has %(count)d volumes "%(name)s": name the one to leave '
                    'out by its ID (%(ids)s)') % {
                        'count': len(ids), 'name': name,
                        'ids': ', '.join(ids)}


def _agent_problems(body: Mapping[str, Any],
                    properties: Mapping[str, Any] | None) -> Iterator[str]:
    """Look whether Nova knows that there is a guest agent.

    Nova decides by the properties that the server has of its image.
    """
    if properties is None or _is_yes(properties.get('hw_qemu_guest_agent')):
        return
    if body.get('image'):
        yield _('cannot be quiesced: its image does not have the property '
                'hw_qemu_guest_agent=yes')
    else:
        yield _('cannot be quiesced: the image of its boot volume does not '
                'have the property hw_qemu_guest_agent=yes (if the server has '
                'it all the same, give it to the volume as well, with '
                '"openstack volume set --image-property '
                'hw_qemu_guest_agent=yes <volume>")')


def _boot_place(body: Mapping[str, Any],
                parts: Sequence[Mapping[str, Any]]) -> int | None:
    """Return which attachment a server boots from; None from a local disk.

    Nova does not show everybody the root device, and it need not be the name
    of any volume's device.
    """
    if body.get('image'):
        return None
    root = body.get('OS-EXT-SRV-ATTR:root_device_name')
    devices = [part['device'] for part in parts]
    return devices.index(root) if root in devices else 0


def _is_yes(value: object) -> bool:
    """Return whether Nova takes a property of an image for a yes."""
    return str(value).lower() in ('true', 'yes', '1', 'on', 't', 'y')
