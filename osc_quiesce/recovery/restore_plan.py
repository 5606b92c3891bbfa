# SPDX-License-Identifier: Apache-2.0

"""What a restore is to do, and every reason why it cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import shlex
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import points
from osc_quiesce.recovery import resolved
from osc_quiesce.recovery import waiting

#: statuses of a volume that nobody uses; what an interrupted restore has left
#: is waited for, and mended
_FREE: Final = frozenset({'available', 'restoring-backup', 'error_restoring'})


@dataclasses.dataclass(frozen=True)
class Options:
    """What the user wants.

    :param name: of the restore; by default that of the set
    :param servers: names or IDs of the only servers that are wanted
    :param verify: None: whatever can be proven
    :param start: whether to make servers, and not only volumes
    :param force: whether to restore although the servers run elsewhere
    :param drill: whether this is a rehearsal: under names of its own, in the
        mapping's networks for drills, and no target volume is kept or started
    :param parallel: how many volumes are restored at once
    :param source: the site where the servers ran, if it can be asked
    :param source_name: what the user calls that site
    """

    name: str = ''
    servers: tuple[str, ...] = ()
    verify: bool | None = None
    start: bool = True
    allow_inconsistent: bool = False
    force: bool = False
    drill: bool = False
    parallel: int = 4
    source: cloud_api.Cloud | None = None
    source_name: str = ''


@dataclasses.dataclass(frozen=True)
class Item:
    """A volume to fill.

    :param wanted: with the size of the copy
    :param volume: as Cinder shows it; None if it is made first
    :param is_target: whether it is a target volume, as one of which the
        backup is registered, so that it can be proven
    """

    wanted: resolved.Volume
    copy: points.Copy
    volume: Mapping[str, Any] | None
    is_target: bool

    def is_done(self, volume: Mapping[str, Any], restore_id: str) -> bool:
        """Return whether a volume has all the data of the copy."""
        return bool(
            marks.get(volume, marks.RESTORE_ID) == restore_id
            and marks.get(volume, marks.BACKUP_ID) == self.copy.id
            and marks.get(volume, marks.RESTORED_AT)
            and volume['status'] in (
                'available', 'in-use', 'reserved', 'attaching', 'detaching',
                'backing-up'))


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a restore does.

    :param rows: both sides, side by side
    :param problems: why it cannot be done, apart from what rows refuse
    :param verify: whether the volumes that can be proven are
    :param warnings: what the user should know, a sentence each
    :param prefix: what the names of all that is made begin with
    :param volumes: how many the restore has when it is complete, with those
        of earlier runs that wanted other servers
    :param servers: how many of these it has then
    """

    name: str
    restore_id: str
    point: points.Point
    options: Options
    resolution: resolved.Resolution
    items: Sequence[Item]
    rows: Sequence[resolved.Row]
    problems: Sequence[str]
    verify: bool
    warnings: Sequence[str] = ()
    prefix: str = ''
    volumes: int = 0
    servers: int = 0

    @property
    def refusals(self) -> list[str]:
        """Every reason why this cannot be done; empty if it can."""
        return [
            *self.problems, *(row.refusal for row in self.rows if row.refused)]

    @property
    def stages(self) -> list[list[resolved.Server]]:
        """The servers of each stage."""
        servers = self.resolution.servers
        return [[server for server in servers if server.stage == number]
                for number in sorted({server.stage for server in servers})]

    @property
    def counts(self) -> dict[str, str]:
        """What is written on each volume of how many there are."""
        return {marks.VOLUMES: str(self.volumes),
                marks.SERVERS: str(self.servers)}

    def marks_of(self, item: Item, volume_id: str = '',
                 is_done: bool = False) -> dict[str, str]:
        """Return all that is written on a volume.

        :param volume_id: empty if the volume is not made yet
        """
        values = {marks.APPLICATION: item.wanted.application,
                  marks.RESTORE: self.name,
                  marks.RESTORE_ID: self.restore_id,
                  marks.SET_ID: self.point.id,
                  marks.BACKUP_ID: item.copy.id,
                  marks.SOURCE: item.wanted.id,
                  **self.counts,
                  marks.STARTED: '',
                  marks.VERIFIED: '',
                  marks.DIFFERS: '',
                  marks.TARGET_OF: item.wanted.id if item.is_target else '',
                  marks.RESTORED_AT: model.utc_now() if is_done else ''}
        if volume_id:
            values[marks.VOLUME] = volume_id
        return values


def servers_of(cloud: cloud_api.Cloud,
               restore_id: str) -> list[dict[str, Any]]:
    """Return the servers that a restore has made, as Nova shows them."""
    found = cloud.pages('compute', '/servers/detail', 'servers',
                        waiting.SERVER_MICROVERSION)
    return [each for each in found
            if metadata.get(each, marks.RESTORE_ID) == restore_id]


def is_free(target: Mapping[str, Any], restore_id: str) -> bool:
    """Return whether a drill may restore into a target volume.

    Not if it is the place to go back to after a failover: that has data which
    need not be in any backup.
    """
    return bool(
        marks.is_made_as_target(target) and not target['attachments']
        and target['status'] in _FREE
        and not holder(target, restore_id))


def holder(volume: Mapping[str, Any], restore_id: str) -> str:
    """Return which other restore has a volume, or ''."""
    found = marks.owner(volume)
    return '' if found == restore_id else found


def claimed(volume: Mapping[str, Any], restore_id: str) -> str:
    """Return why the data of a volume must not be written over, or ''.

    It is a part of a sentence.
    """
    names = {'id': volume['id'], 'restore': restore_id}
    if found := holder(volume, restore_id):
        return _('volume %(id)s has the data of restore %(name)s: "openstack '
                 'application restore delete %(holder)s" gives it up') % {
                     **names,
                     'name': marks.owner_label(volume),
                     'holder': found}
    if marks.disowned_by(volume) != restore_id:
        return ''
    return _('volume %(id)s has what this restore has restored, and may have '
             'been written to since, but its description, which tells that, '
             'was changed: put it right with "openstack volume set '
             '--description %(text)s %(id)s"; or delete the whole restore, '
             'with its servers: "openstack application restore delete '
             '%(restore)s"') % {
                 **names, 'text': shlex.quote(marks.described_again(volume))}


def is_another_under_way(volume: Mapping[str, Any], copy_status: str,
                         restore_id: str) -> bool:
    """Return whether Cinder may be restoring something else into a volume.

    The metadata tell nothing: after its first layer, they are those of the
    source.

    :param copy_status: of the backup that the plan restores, read before the
        volume
    """
    return (volume['status'] == 'restoring-backup'
            and marks.owner(volume) != restore_id
            and copy_status != 'restoring')


def is_resettable(volume: Mapping[str, Any]) -> bool:
    """Return whether a volume in error may be made available by a reset."""
    # What was never made has no host.
    return volume['status'] == 'error_restoring' or bool(
        volume['status'] == 'error' and volume.get('os-vol-host-attr:host'))


def stuck(item: Item, volume: Mapping[str, Any], restore_id: str,
          may_reset: bool) -> str:
    """Return why nothing can be restored into a volume as it is now, or ''.

    It is a part of a sentence. One that is reset keeps its ID, and with it the
    proof and later backups of differences only: so a target volume is never
    replaced. One that had all its data may have more by now.

    :param may_reset: whether the user may reset what was not
    """
    status = volume['status']
    names = {'id': volume['id'], 'status': status, 'restore': restore_id}
    if status == 'available' or status in waiting.BUSY - {'deleting'}:
        return ''
    if not status.startswith('error'):
        return _('volume %(id)s is %(status)s') % names
    if (marks.get(volume, marks.RESTORE_ID) == restore_id
            and marks.get(volume, marks.RESTORED_AT)):
        return _('volume %(id)s, which was restored before, is %(status)s, '
                 'and is not changed, since it may have new data: when its '
                 'storage works, an administrator resets it with "openstack '
                 'volume set --state available %(id)s"; then run the same '
                 'command again; "openstack application restore delete '
                 '%(restore)s" gives it up') % names
    if not item.is_target or may_reset and is_resettable(volume):
        return ''
    return _('its target volume %(id)s is %(status)s, and was not reset: an '
             'administrator resets it with "openstack volume set --state '
             'available %(id)s", and the same command again restores into it; '
             'if Cinder never made it, delete it with "openstack volume '
             'delete %(id)s": the same command again makes another volume, '
             'which cannot be verified') % names


def damage(volume: Mapping[str, Any]) -> str:
    """Return why a restored volume must not be used, or ''.

    It is a part of a sentence.
    """
    if not marks.get(volume, marks.DIFFERS):
        return ''
    return _('volume %(id)s DIFFERS from backup %(backup)s, which was '
             'restored into it: run "openstack application backup verify '
             '--store", then "openstack application restore delete '
             '%(restore)s" and restore again, or restore an older set') % {
                 'id': volume['id'],
                 'backup': metadata.get(volume, marks.BACKUP_ID),
                 'restore': metadata.get(volume, marks.RESTORE_ID)}


def lost(item: Item, volume_id: str,
         there: Mapping[str, Mapping[str, Any]], restore_id: str) -> str:
    """Return why a volume that was filled has other data by now, or ''.

    It is a part of a sentence.

    :param there: volumes as Cinder shows them now, by their IDs
    """
    volume = there.get(volume_id)
    if volume is None:
        return _('volume %s is not there any more') % volume_id
    if item.is_done(volume, restore_id) or (
            # Its server may do with it what it likes.
            marks.get(volume, marks.RESTORE_ID) == restore_id
            and marks.get(volume, marks.STARTED) and volume['attachments']):
        return ''
    return claimed(volume, restore_id) or _(
        'volume %(id)s is %(status)s, and it is not certain any more that it '
        'has the data of %(kind)s %(copy)s, which was restored into it') % {
            'id': volume_id,
            'status': volume['status'],
            'kind': item.copy.kind,
            'copy': item.copy.id}


def check(plan: Plan) -> None:
    """Raise errors.NotPossible if the plan has refusals."""
    if plan.refusals:
        raise errors.NotPossible(plan.refusals)
