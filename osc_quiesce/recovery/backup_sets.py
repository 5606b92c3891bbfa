# SPDX-License-Identifier: Apache-2.0

"""Backup sets: all that is known of them is in their backups' metadata.

It was written when each backup was begun, and it is in the export records: so
a set can be listed and shown at either site, by anybody who may use the
project's backups, with nothing but Cinder.

A set counts as consistent only if all its backups are there and sealed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
from typing import Any, Final
import uuid

from osc_quiesce.application import choosing
from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.application import snapshot_sets
from osc_quiesce import concurrency
from osc_quiesce.i18n import _
from osc_quiesce.recovery import chains
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import records

NAME: Final = 'backup_set'
ID: Final = 'backup_set_id'
SNAPSHOT: Final = 'snapshot_id'
SOURCE_VOLUME: Final = 'source_volume_id'
SEALED: Final = 'sealed'
#: its value while the site that has made a set deletes it
DELETED: Final = 'deleted'
OWNER: Final = 'owner'
#: name of the cloud where the set is registered as well
REGISTERED: Final = 'registered'
#: on each backup: name of the cloud at which its registration was begun, for
#: its own set or for one that needs it
KNOWN_AT: Final = 'known_at'

CONSISTENT: Final = snapshot_sets.CONSISTENT
INCONSISTENT: Final = snapshot_sets.INCONSISTENT
#: not sealed (yet), for example since the command was interrupted
PENDING: Final = snapshot_sets.PENDING
#: a backup is missing, or cannot be used
INCOMPLETE: Final = snapshot_sets.INCOMPLETE

MIXED: Final = 'mixed'

_NAMESPACE: Final = uuid.UUID('5e0f1f0e-7a0c-5a5f-8d0e-3f6f7c9d2b18')
#: from the most to the least useful, of two backups of one snapshot; of those
#: that are equal, the newest counts
_USE: Final = ('there', 'creating', 'other')
#: so many backups are read one by one; more are listed
_FEW: Final = 8


class NoSuchSet(errors.ApplicationError):
    """No backup set has this name or ID."""


@dataclasses.dataclass(frozen=True)
class BackupSet:
    """The backups of one snapshot set, as one site has them.

    :param backups: one for each volume, in the order of the snapshots
    :param others: more of the same volumes, of which one was made again
    """

    id: str
    backups: tuple[dict[str, Any], ...]
    others: tuple[dict[str, Any], ...] = ()

    @property
    def name(self) -> str:
        return self._get(NAME)

    @property
    def application(self) -> str:
        return self._get('application')

    @property
    def created_at(self) -> str:
        """The moment to which a restore leads, that of the snapshots."""
        return self._get('created_at')

    @property
    def snapshot_set(self) -> str:
        return self._get('set')

    @property
    def snapshot_set_id(self) -> str:
        return self._get('set_id')

    @property
    def owner(self) -> str:
        """ID of the project at the site that has made the set."""
        return self._get(OWNER)

    @property
    def registered(self) -> str:
        return self._get(REGISTERED)

    @property
    def known_at(self) -> str:
        """Name of the cloud that may have rows of these backups, or ''.

        The registration may have been interrupted, or may be that of another
        set, which needs some of them.
        """
        return self.registered or max(
            metadata.get(each, KNOWN_AT) for each in self.everything)

    @property
    def version(self) -> str:
        return self._get('version')

    @property
    def volumes(self) -> int:
        """How many backups the set has when it is complete."""
        return metadata.number(self.backups[0], 'volumes')

    @property
    def size(self) -> int:
        """GiB of all volumes."""
        return sum(each.get('size') or 0 for each in self.backups)

    @property
    def mode(self) -> str:
        """Whether all are full, or all incremental, or some of each."""
        modes = {mode_of(each) for each in self.backups}
        return modes.pop() if len(modes) == 1 else MIXED

    @property
    def is_whole(self) -> bool:
        """Whether there is a good backup of each volume."""
        return len(self.backups) == self.volumes and all(map(
            is_there, self.backups))

    @property
    def state(self) -> str:
        """One of CONSISTENT, INCONSISTENT, PENDING and INCOMPLETE."""
        said = {metadata.get(each, SEALED) for each in self.backups}
        if INCONSISTENT in said:
            return INCONSISTENT
        if not self.is_whole:
            return INCOMPLETE
        return CONSISTENT if said == {CONSISTENT} else PENDING

    @property
    def servers(self) -> list[dict[str, Any]]:
        """What a restore needs of each server, in the order of freezing.

        The volumes of a server have a ``backup_id``; it is None for those
        that were left out, or whose backup is missing.
        """
        by_volume = {metadata.get(each, SOURCE_VOLUME): each['id']
                     for each in self.backups}
        servers: dict[str, dict[str, Any]] = {}
        for backup in self.backups:
            found = metadata.unpack(backup['metadata'], 'servers')
            for server in found or ():
                servers.setdefault(server['id'], server)
        for server in servers.values():
            for volume in server['volumes']:
                volume['backup_id'] = by_volume.get(volume['id'])
        return sorted(servers.values(), key=lambda server: server['order'])

    @property
    def everything(self) -> tuple[dict[str, Any], ...]:
        return self.backups + self.others

    def _get(self, key: str) -> str:
        return metadata.get(self.backups[0], key)


def id_of(snapshot_set_id: str, name: str) -> str:
    """Return the ID of the backup set of a snapshot set with this name.

    The same command again has the same one, and so continues.
    """
    return str(uuid.uuid5(_NAMESPACE, f'{snapshot_set_id}/{name}'))


def is_there(backup: Mapping[str, Any]) -> bool:
    """Return whether the data of a backup are there.

    One that is being restored is, and so is one that a proof has hidden for
    as long as it takes.
    """
    return is_finished(backup) and (
        backup['status'] in ('available', 'restoring') or (
            backup['status'] == 'error'
            and bool(metadata.get(backup, marks.HIDDEN_BY))))


def is_finished(backup: Mapping[str, Any]) -> bool:
    """Return whether Cinder has stored all of a backup.

    Its status does not tell: an administrator may set it to ``available`` at
    any time. All drivers that can be used count the objects last of all, and
    the count goes along when the record is imported.
    """
    return backup.get('object_count') is not None


def status_of(backup: Mapping[str, Any]) -> str:
    """Return what messages call the status of a backup."""
    status: str = backup['status']
    return status if is_finished(backup) or status != 'available' else _(
        'available, but it was not finished')


def mode_of(backup: Mapping[str, Any]) -> str:
    return (
        chains.INCREMENTAL if backup.get('is_incremental') else chains.FULL)


def label(backup: Mapping[str, Any]) -> str:
    """Return what messages call a backup."""
    return _('%(id)s (%(device)s of server %(server)s)') % {
        'id': backup['id'], 'device': metadata.get(backup, 'device'),
        'server': metadata.get(backup, 'server_name')}


def is_of_another_site(found: BackupSet, cloud: cloud_api.Cloud) -> bool:
    """Return whether a set was made elsewhere, and imported here.

    Sites may have the same project IDs, so volumes are looked at as well: an
    import gives backups to target volumes.
    """
    return found.owner != cloud.project_id or any(
        each['volume_id'] != metadata.get(
            each, SOURCE_VOLUME) for each in found.backups)


def group(backups: Iterable[dict[str, Any]]) -> list[BackupSet]:
    """Return the sets that these backups make, the oldest first.

    What another version has written in another format is none of them.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for backup in backups:
        set_id = metadata.get(backup, ID)
        if set_id and metadata.get(backup, 'format') == snapshot_sets.FORMAT:
            groups.setdefault(set_id, []).append(backup)
    found = [_set(set_id, members) for set_id, members in groups.items()]
    return sorted(found, key=lambda s: (s.created_at, s.id))


def _set(set_id: str, members: Iterable[dict[str, Any]]) -> BackupSet:
    best: dict[str, dict[str, Any]] = {}
    others = []
    # One was made again: of it, the older was deleted and has no data.
    for backup in sorted(sorted(members, key=_made_at, reverse=True),
                         key=_usefulness):
        snapshot = metadata.get(backup, SNAPSHOT) or backup['id']
        if snapshot in best:
            others.append(backup)
        else:
            best[snapshot] = backup
    return BackupSet(
        set_id,
        tuple(sorted(
            best.values(), key=lambda each: metadata.number(each, 'order'))),
        tuple(others))


def _made_at(backup: Mapping[str, Any]) -> str:
    return str(backup['created_at'])


def _usefulness(backup: Mapping[str, Any]) -> int:
    use = 'there' if is_there(backup) else backup['status']
    return _USE.index(use if use in _USE else 'other')


def find_all(cloud: cloud_api.Cloud) -> list[BackupSet]:
    """Return all backup sets of the project, the oldest first."""
    return group(cloud.backups())


def find(cloud: cloud_api.Cloud, name_or_id: str) -> BackupSet:
    """Return the set with this ID, or else with this name.

    :raises NoSuchSet: there is none
    :raises errors.ApplicationError: there are several
    """
    return choose(find_all(cloud), name_or_id)


def choose(everything: Iterable[BackupSet], name_or_id: str) -> BackupSet:
    """Return the one of these sets with this ID, or else with this name.

    :raises NoSuchSet: there is none
    :raises errors.ApplicationError: there are several
    """
    return choosing.choose(
        everything, name_or_id, error=NoSuchSet,
        none=_('No backup set has the name or ID "%s".'),
        several=_('%(count)d backup sets have the name "%(name)s": '
                  '%(ids)s.'))


def mark(cloud: cloud_api.Cloud, backups: Iterable[Mapping[str, Any]],
         values: Mapping[str, str]) -> None:
    """Add to the metadata of backups, of all at once.

    Cinder can only replace all of them, so they are read again before.
    """
    ids = [each['id'] for each in backups]
    # Each time only as many as can be written at once, for the same reason.
    failures = []
    for first in range(0, len(ids), cloud_api.THREADS):
        try:
            _mark(cloud, ids[first:first + cloud_api.THREADS], values)
        except cloud_api.CloudError as exc:
            failures.append(exc)
    if failures:
        raise failures[0]


def _mark(cloud: cloud_api.Cloud, ids: Sequence[str],
          values: Mapping[str, str]) -> None:
    listed = {} if len(ids) <= _FEW else {
        each['id']: each for each in cloud.backups()}

    def add(backup_id: str) -> None:
        # Only those of the project are listed.
        found = listed.get(backup_id) or records.read(cloud, backup_id)
        there = found.get('metadata') or {}
        wanted = {**there, **metadata.ours(values)}
        if wanted != there:
            cloud.volume('PUT', f'/backups/{backup_id}',
                         {'backup': {'metadata': wanted}},
                         microversion=cloud_api.BACKUP_MICROVERSION)

    concurrency.run_all(add, ids, threads=cloud_api.THREADS)
