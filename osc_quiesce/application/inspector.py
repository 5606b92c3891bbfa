# SPDX-License-Identifier: Apache-2.0

"""One server with all that belongs to it, and why it cannot be taken.

It only reads.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import gatherer
from osc_quiesce.application import guests
from osc_quiesce.application import manifest
from osc_quiesce.application import plan
from osc_quiesce.application import spec
from osc_quiesce import client as quiesce_client
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce import states

# Instance actions that change which volumes a server has
_CHANGES: Final = frozenset({'attach_volume', 'detach_volume', 'swap_volume'})

# migration_status of volumes that are not being migrated: Cinder takes no
# snapshots of others. Only administrators are shown it; everybody is shown a
# retype, in the status. Source: cinder/volume/api.py, _is_volume_migrating
_NOT_MIGRATING: Final = frozenset({
    None, 'none', 'deleting', 'error', 'success'})


def newest_change(client: quiesce_client.Client,
                  server: model.Server) -> str | None:
    """Return the id of the newest request that changed a server's volumes."""
    return client.newest_action(server, _CHANGES)


def attached(client: quiesce_client.Client,
             server: model.Server) -> list[dict[str, Any]]:
    """Return Nova's attachments of a server."""
    found: list[dict[str, Any]] = client.api.read(
        f'/servers/{server.id}/os-volume_attachments', server,
        gatherer.MICROVERSION)['volumeAttachments']
    return found


def strangers(volume: Mapping[str, Any],
              members: Collection[str]) -> list[str]:
    """Return who else has a volume, as Cinder shows it: they are not frozen.

    Only one with multiattach can have several users.

    :param members: the ids of all servers of the application
    """
    users = {str(each.get('server_id') or each.get(
        'host_name')) for each in volume.get('attachments') or ()}
    return sorted(users.difference(members))


def _volume(read: Mapping[str, Any], part: Mapping[str, Any], boots: bool,
            excluded: bool) -> plan.Volume:
    """Return what Cinder (read) and Nova (part) tell of a volume."""
    made = manifest.volume(read, part, 0 if boots else -1, excluded)
    known = {key: made[key] for key in (
        'id', 'name', 'device', 'size', 'type', 'boot_index',
        'delete_on_termination', 'excluded', 'multiattach', 'encrypted')}
    return plan.Volume(**known, status=read['status'], restore=made)


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


class Inspector:
    """Reads one server with all that belongs to it.

    :param members: the ids of all servers of the application
    """

    def __init__(self, client: quiesce_client.Client, cloud: cloud_api.Cloud,
                 members: Collection[str], unquiesce_after: int,
                 allow_local_disk: bool, with_user_data: bool = False) -> None:
        self._client = client
        self._cloud = cloud
        self._gatherer = gatherer.Gatherer(client, cloud, with_user_data)
        self._guests = guests.Guests(self._gatherer, cloud)
        self._with_user_data = with_user_data
        self._members = members
        self._unquiesce_after = unquiesce_after
        self._allow_local_disk = allow_local_disk
        self._is_admin = cloud.is_admin
        self._project_id = cloud.project_id

    def read(self, order: int, stage: int, member: spec.Member,
             server_id: str) -> plan.Server:
        body = self._gatherer.server(server_id)
        server = model.Server(server_id, body['name'])
        # Before its volumes: what changes them later is newer.
        change = newest_change(self._client, server)
        refused: list[str] = []
        volumes, boot_image = self._volumes(body, server, member, refused)
        refused += self._state_problems(body)
        refused += self._guests.host_problems(body)
        refused += self._disk_problems(body)
        refused += self._guests.agent_problems(body, boot_image)
        refused += self._user_data_problems(body)
        return plan.Server(
            id=server_id, name=body['name'], stage=stage,
            unquiesce_after=member.unquiesce_after or self._unquiesce_after,
            volumes=tuple(volumes),
            restore=self._gatherer.manifest(
                body, order, stage, [volume.restore for volume in volumes]),
            refused=tuple(refused), newest_change=change)

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
        volumes: list[plan.Volume] = []
        unknown = set(member.exclude_volumes)
        boot_image = None
        parts = sorted(attached(self._client, server), key=lambda part: (
            len(part['device'] or ''), part['device'] or ''))
        boot_place = _boot_place(body, parts)
        taken: list[Mapping[str, Any]] = []
        for place, part in enumerate(parts):
            read = self._read_volume(part['volumeId'], refused)
            if read is None:
                continue
            names = {read['id'], read.get('name')}
            boots = place == boot_place
            if boots:
                boot_image = read.get('volume_image_metadata')
            excluded = bool(names & set(member.exclude_volumes))
            if not excluded:
                refused += self._volume_problems(read)
                taken.append(read)
            volumes.append(_volume(read, part, boots, excluded))
            unknown -= names
        refused += [_('has no volume "%s" to leave out') % name
                    for name in sorted(unknown)]
        refused += self._guests.second_freezes(body, boot_image, taken)
        return volumes, boot_image

    def _read_volume(self, volume_id: str,
                     refused: list[str]) -> dict[str, Any] | None:
        """Return a volume as Cinder shows it; None if it does not.

        :param refused: is given why it does not
        """
        try:
            read: dict[str, Any] = self._cloud.volume(
                'GET', f'/volumes/{volume_id}')['volume']
        except cloud_api.NotThere:
            refused.append(_('has volume %s, which Cinder does not have, or '
                             'not in this project') % volume_id)
        except cloud_api.CloudError as exc:
            if exc.is_transient:
                raise
            refused.append(
                _('has volume %(id)s, which Cinder does not show: %(why)s') % {
                    'id': volume_id, 'why': str(exc).rstrip('.')})
        else:
            return read
        return None

    def _volume_problems(self, volume: Mapping[str, Any]) -> list[str]:
        problems = [
            _('has volume %(id)s, which is also attached to %(user)s, which '
              'would not be frozen') % {'id': volume['id'], 'user': user}
            for user in strangers(volume, self._members)]
        if volume['status'] != 'in-use':
            problems.append(
                _('has volume %(id)s, which is not in-use but %(status)s') % {
                    'id': volume['id'], 'status': volume['status']})
        if volume.get('migration_status') not in _NOT_MIGRATING:
            problems.append(
                _('has volume %(id)s, which is being migrated (%(status)s): '
                  'wait until that is over') % {
                      'id': volume['id'],
                      'status': volume['migration_status']})
        return problems

    def _state_problems(self, body: Mapping[str, Any]) -> list[str]:
        problems = []
        vm_state = body.get('OS-EXT-STS:vm_state')
        task_state = body.get('OS-EXT-STS:task_state')
        if (vm_state, task_state) != (states.ACTIVE, None):
            problems.append(
                _('has vm_state %(vm)s, task_state %(task)s, and must have '
                  '%(ok)s and None') % {
                      'vm': vm_state, 'task': task_state, 'ok': states.ACTIVE})
        # Nova lets administrators do with locked servers what they like.
        if body.get('locked') and not self._is_admin:
            problems.append(_('is locked: unlock it first'))
        if body['tenant_id'] != self._project_id:
            problems.append(
                _('is of project %s: snapshots of its volumes must be made '
                  'with a token of that project') % body['tenant_id'])
        return problems

    def _disk_problems(self, body: Mapping[str, Any]) -> list[str]:
        if self._allow_local_disk:
            return []
        local = []
        if body.get('image'):
            local.append(_('root'))
        if body['flavor'].get('ephemeral'):
            local.append(_('ephemeral'))
        return [_('has a local %s disk, not a volume, which would not be in '
                  'the snapshots; --allow-local-disk accepts '
                  'that') % disk for disk in local]

    def _user_data_problems(self, body: Mapping[str, Any]) -> list[str]:
        if self._with_user_data and 'OS-EXT-SRV-ATTR:user_data' not in body:
            return [_('has user data that only administrators may see, and '
                      '--with-user-data asks for them')]
        return []
