# SPDX-License-Identifier: Apache-2.0

"""Restores: all that is known of them is on their volumes and servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
from typing import Any, Final

from osc_quiesce.application import choosing
from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.i18n import _
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import ports
from osc_quiesce.recovery import targets
from osc_quiesce.recovery import waiting

#: all volumes have their data, and all servers that were wanted are active
COMPLETE: Final = 'complete'
INCOMPLETE: Final = 'incomplete'

_ATTACHMENT_MICROVERSION: Final = '2.85'


class NoSuchRestore(errors.ApplicationError):
    """No restore has this name or ID."""


@dataclasses.dataclass(frozen=True)
class Restore:
    """The volumes and servers of one restore, as Cinder and Nova show them."""

    id: str
    volumes: Sequence[Mapping[str, Any]]
    servers: Sequence[Mapping[str, Any]]

    @property
    def name(self) -> str:
        return self._get(marks.RESTORE)

    @property
    def application(self) -> str:
        return self._get(marks.APPLICATION)

    @property
    def set_id(self) -> str:
        """ID of the backup set or snapshot set."""
        return self._get(marks.SET_ID)

    @property
    def restored_at(self) -> str:
        """When the last volume had its data; empty if not all have."""
        times = [marks.get(each, marks.RESTORED_AT) for each in self.volumes]
        return max(times, default='') if all(times) else ''

    @property
    def verified(self) -> int:
        """How many volumes are proven to be equal to their backups."""
        return sum(bool(marks.verified(each)) for each in self.volumes)

    @property
    def state(self) -> str:
        """COMPLETE or INCOMPLETE."""
        active = [s for s in self.servers if s['status'] == 'ACTIVE']
        differs = any(marks.get(each, marks.DIFFERS) for each in self.volumes)
        is_complete = (
            bool(self.restored_at) and not differs
            and len(self.volumes) == self._wanted(marks.VOLUMES)
            and len(active) == self._wanted(marks.SERVERS))
        return COMPLETE if is_complete else INCOMPLETE

    @property
    def needs_set(self) -> bool:
        """Whether it still has to restore or start something.

        Volumes that are missing once a server was started were deleted since.
        """
        if not all(map(self._is_settled, self.volumes)):
            return True
        return (len(self.volumes) < self._wanted(marks.VOLUMES)
                and not any(marks.get(each, marks.STARTED)
                            for each in self.volumes))

    def _is_settled(self, volume: Mapping[str, Any]) -> bool:
        """Return whether all that a restore does with a volume is done."""
        if marks.get(volume, marks.STARTED) or volume['attachments']:
            return True
        # A volume that no server was to have: others may have got theirs.
        return bool(not metadata.number(volume, marks.SERVERS)
                    and marks.get(volume, marks.RESTORED_AT)
                    and not marks.get(volume, marks.DIFFERS))

    def _wanted(self, key: str) -> int:
        """Return a count, as the run with the most servers has written it."""
        return max((metadata.number(each, key) for each in self.volumes
                    if metadata.get(each, marks.RESTORE_ID) == self.id),
                   default=0)

    def _get(self, key: str) -> str:
        for each in [*self.volumes, *self.servers]:
            # What Cinder has copied is of another restore.
            if (metadata.get(each, marks.RESTORE_ID) == self.id
                    and (found := metadata.get(each, key))):
                return found
        return ''


def find_all(cloud: cloud_api.Cloud) -> list[Restore]:
    """Return all restores of the project, by their names."""
    volumes: dict[str, list[dict[str, Any]]] = {}
    servers: dict[str, list[dict[str, Any]]] = {}
    for volume in targets.everything(cloud):
        if owner := marks.owner(volume):
            volumes.setdefault(owner, []).append(volume)
    for server in cloud.pages(
            'compute', '/servers/detail', 'servers',
            waiting.SERVER_MICROVERSION):
        owner = metadata.get(server, marks.RESTORE_ID)
        if owner:
            servers.setdefault(owner, []).append(server)
    found = [
        Restore(
            id_, sorted(volumes.get(id_, ()), key=lambda v: str(v['name'])),
            sorted(servers.get(id_, ()), key=lambda s: (
                metadata.number(s, marks.STAGE), s['name']))) for id_ in {
                    *volumes, *servers}]
    return sorted(found, key=lambda each: (each.name, each.id))


def find(cloud: cloud_api.Cloud, name_or_id: str) -> Restore:
    """Return the restore with this ID, or else with this name.

    :raises NoSuchRestore: there is none
    :raises errors.ApplicationError: there are several
    """
    return choosing.choose(
        find_all(cloud), name_or_id, error=NoSuchRestore,
        none=_('No restore has the name or ID "%s".'),
        several=_('%(count)d restores have the name "%(name)s": %(ids)s.'))


def delete(restore: Restore, waiter: waiting.Waiter) -> None:
    """Delete the servers, ports and volumes of a restore.

    Volumes that it has not made, which are target volumes, stay with their
    data, and are given up; backups are never touched. If something cannot be
    deleted, the rest is; if the ports cannot be listed, nothing is. May be
    repeated as often as one likes.

    :raises errors.ApplicationError: something is left; the message names it
    """
    kept = {each['id'] for each in restore.volumes if marks.target_of(each)
            or marks.maker(each)[0] != restore.id}
    failures: list[str] = []

    def carry_out(step: Callable[..., object], *args: Any) -> bool:
        """Go on if one step fails: the others free what they can."""
        try:
            waiter.repeat(lambda: step(*args), waiter.timeout)
        except cloud_api.NotThere:
            pass
        except errors.ApplicationError as exc:
            failures.append(_('%s.') % exc.fact.rstrip('.'))
            return False
        return True

    # First: when the rest is gone, nothing leads to them any more.
    try:
        its_ports = waiter.repeat(lambda: _ports(waiter.cloud, restore.id))
    except cloud_api.CloudError as exc:
        raise errors.ApplicationError(
            _('Nothing of restore %(name)s (%(id)s) was deleted, since its '
              'ports cannot be listed: %(why)s.') % {
                  'name': restore.name, 'id': restore.id,
                  'why': str(exc).rstrip('.')},
            _('The same command again deletes it.')) from exc
    stuck = {each['id'] for each in restore.servers if not carry_out(
        delete_server, waiter, each, kept)}
    # Again: one whose request got no answer may have appeared since.
    carry_out(lambda: its_ports.update(_ports(waiter.cloud, restore.id)))
    for id_ in sorted(its_ports):
        if not carry_out(waiter.cloud.network, 'DELETE', f'/ports/{id_}'):
            failures.append(_('"openstack port delete %s" deletes that port '
                              'when it can be deleted.') % id_)
    for volume in restore.volumes:
        if not stuck & {a['server_id'] for a in volume['attachments']}:
            carry_out(_release, waiter, volume, kept, restore.id)
    if failures:
        raise errors.ApplicationError(' '.join(failures))


def give_up(cloud: cloud_api.Cloud, volume: Mapping[str, Any],
            restore_id: str) -> None:
    """Let a target volume be free for the next restore.

    If another restore has taken it since, that keeps it.

    :param volume: as Cinder shows it now
    """
    if marks.owner(volume) != restore_id:
        return
    # RESTORED_AT stays: the volume takes up its size.
    marks.erase(cloud, volume, marks.RESTORE, marks.RESTORE_ID, marks.STARTED,
                marks.VERIFIED)
    marks.sign(cloud, volume, '')


def _release(waiter: waiting.Waiter, volume: Mapping[str, Any],
             kept: set[str], restore_id: str) -> None:
    busy = {'attaching', 'detaching', 'in-use', 'reserved'}
    if volume['id'] in kept:
        # Whoever restores into it next waits for a restore under way.
        give_up(waiter.cloud, waiter.volume(volume['id'], busy), restore_id)
    else:
        waiter.volume(volume['id'], {*busy, *waiting.BUSY})
        waiter.delete_volume(volume['id'])


def delete_server(waiter: waiting.Waiter, server: Mapping[str, Any],
                  kept: set[str]) -> None:
    """Delete a server, and none of these volumes with it."""
    cloud, path = waiter.cloud, f'/servers/{server["id"]}'
    for each in server.get('os-extended-volumes:volumes_attached') or ():
        if each['id'] in kept and each.get('delete_on_termination'):
            # One that was detached since is not deleted with the server.
            with contextlib.suppress(cloud_api.NotThere):
                cloud.compute(
                    'PUT', f'{path}/os-volume_attachments/{each["id"]}',
                    {'volumeAttachment': {'volumeId': each['id'],
                                          'delete_on_termination': False}},
                    _ATTACHMENT_MICROVERSION)
    try:
        cloud.compute('DELETE', path)
    except cloud_api.NotThere:
        return

    def look() -> None:
        # Nova may be configured to keep it, with its volumes, for a while.
        if cloud.compute('GET', path)['server']['status'] == 'SOFT_DELETED':
            cloud.compute('POST', f'{path}/action', {'forceDelete': None})

    waiter.gone(look, _('Server %s is still being deleted') % server['id'])


def _ports(cloud: cloud_api.Cloud, restore_id: str) -> set[str]:
    """Return IDs of the ports that a restore has made; none without Neutron.
    """
    try:
        found = list(cloud.pages('network', '/ports', 'ports', None))
    except cloud_api.CloudError as exc:
        if exc.status in (404, 501):
            return set()
        raise
    return {
        each['id'] for each in found
        if (each.get('description') or '').startswith(
            ports.description(restore_id, ''))}
