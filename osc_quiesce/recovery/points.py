# SPDX-License-Identifier: Apache-2.0

"""What a restore starts from: a backup set, or a snapshot set of this site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.application import snapshot_sets
from osc_quiesce.i18n import _
from osc_quiesce.recovery import backup_sets

BACKUP: Final = 'backup'
SNAPSHOT: Final = 'snapshot'


@dataclasses.dataclass(frozen=True)
class Copy:
    """The copy of one volume.

    :param kind: BACKUP or SNAPSHOT
    :param size: GiB
    :param volume_id: of which volume Cinder has it as a copy; for a backup
        that was registered here this is the target volume
    """

    id: str
    kind: str
    size: int
    status: str
    volume_id: str


@dataclasses.dataclass(frozen=True)
class Point:
    """A set of copies of one moment.

    :param created_at: the moment, as Cinder writes times
    :param state: ``consistent``, ``pending``, ``incomplete`` or
        ``inconsistent``
    :param servers: what is recorded of them, in the order of freezing
    :param copies: by the ID of the source volume
    :param volumes: how many copies there are if none is missing
    """

    id: str
    name: str
    kind: str
    application: str
    created_at: str
    state: str
    servers: Sequence[Mapping[str, Any]]
    copies: Mapping[str, Copy]
    volumes: int

    @property
    def is_consistent(self) -> bool:
        return self.state == snapshot_sets.CONSISTENT

    @property
    def label(self) -> str:
        """What messages call it."""
        return _('%(kind)s set %(name)s (%(id)s)') % {
            'kind': self.kind, 'name': self.name, 'id': self.id}


def find(cloud: cloud_api.Cloud, name_or_id: str) -> Point:
    """Return the backup set or snapshot set of this name or ID.

    :raises errors.ApplicationError: there is none, or there are several
    """
    found = []
    for look in (find_backup_set, _of_snapshots):
        try:
            found.append(look(cloud, name_or_id))
        except (backup_sets.NoSuchSet, snapshot_sets.NoSuchSet):
            pass
    if not found:
        raise errors.ApplicationError(
            _('No backup set and no snapshot set has the name or ID "%s". '
              '"openstack application backup list" shows those that are '
              'registered at this site.') % name_or_id)
    if len(found) > 1:
        raise errors.ApplicationError(
            _('"%(name)s" is %(sets)s: give the ID.') % {
                'name': name_or_id,
                'sets': _(' and ').join(each.label for each in found)})
    return found[0]


def find_backup_set(cloud: cloud_api.Cloud, name_or_id: str) -> Point:
    """Return the backup set of this name or ID.

    :raises errors.ApplicationError: there is none, or there are several
    """
    found = backup_sets.find(cloud, name_or_id)
    return Point(found.id, found.name, BACKUP, found.application,
                 found.created_at, found.state, found.servers, {
                     metadata.get(each, 'source_volume_id'): Copy(
                         each['id'], BACKUP, int(each['size']), each['status'],
                         each['volume_id']) for each in found.backups},
                 found.volumes)


def _of_snapshots(cloud: cloud_api.Cloud, name_or_id: str) -> Point:
    found = snapshot_sets.find(cloud, name_or_id)
    return Point(
        found.id, found.name, SNAPSHOT, found.application, found.created_at,
        found.state, found.servers,
        {each['volume_id']: Copy(each['id'], SNAPSHOT, int(each['size']),
                                 each['status'], each['volume_id'])
         for each in found.snapshots}, found.volumes)
