# SPDX-License-Identifier: Apache-2.0

"""Chooses full or incremental, predicts Cinder's parent, and finds dependents.

Which backup Cinder takes as the parent of an incremental one is predicted here
by its own rule; which one it was, only the export record tells. All of this is
plain computation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import datetime
from typing import Any, Final

from osc_quiesce.application import metadata
from osc_quiesce.i18n import _
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import records

FULL: Final = 'full'
INCREMENTAL: Final = 'incremental'

#: of how many backups a chain is at most, unless one says otherwise
FULL_EVERY: Final = 7


@dataclasses.dataclass(frozen=True)
class Choice:
    """How one volume is backed up.

    :param mode: FULL or INCREMENTAL
    :param why: why not the other one, as a part of a sentence
    :param parent_id: of which backup the differences are taken
    """

    mode: str
    why: str
    parent_id: str | None = None


def moment(backup: Mapping[str, Any]) -> datetime.datetime:
    """Return from when the data of a backup, or of a snapshot, are."""
    return _time(backup.get('data_timestamp') or backup['created_at'])


def _time(text: object) -> datetime.datetime:
    found = datetime.datetime.fromisoformat(str(text))
    if found.tzinfo is None:
        found = found.replace(tzinfo=datetime.UTC)
    return found


def parent_for(
    snapshot: Mapping[str, Any], backups: Iterable[Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """Return the backup that Cinder takes as the parent, if there is one.

    Source: ``API.create`` in cinder/backup/api.py.

    :param backups: all those of the volume in the project
    """
    taken = moment(snapshot)
    return max((each for each in backups if each['status'] == 'available'
                and moment(each) < taken),
               key=moment, default=None)


def line_of(backup: Mapping[str, Any],
            backups: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return a backup with all that it may need, the newest first.

    Parents are not shown to everybody. Since each was once the newest one, a
    backup needs none that is older than the last full one before it. But a
    full one of an older snapshot may have been made later, and is no parent.

    :param backups: all those of the volume in the project
    """
    older = sorted((each for each in backups if moment(each) < moment(backup)),
                   key=moment, reverse=True)
    found = [backup]
    for each in older:
        if _is_first(found):
            break
        if each['status'] not in ('creating', 'error', 'deleting') or (
                metadata.get(each, marks.HIDDEN_BY)):
            found.append(each)
    return found


def _is_first(line: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the last of these backups needs no other one."""
    *younger, last = line
    return not last.get('is_incremental') and all(
        _time(last['created_at']) < _time(each['created_at'])
        for each in younger)


def choose(snapshot: Mapping[str, Any], volume: Mapping[str, Any],
           backups: Sequence[Mapping[str, Any]],
           full_every: int = FULL_EVERY) -> Choice:
    """Return how to back up a snapshot.

    :param volume: as Cinder shows it now
    :param backups: all those of the volume in the project
    :param full_every: how many backups a chain has at most; 1: always full
    """
    if full_every == 1:
        return Choice(FULL, _('as asked for'))
    parent = parent_for(snapshot, backups)
    if parent is None:
        return Choice(FULL, _('there is no earlier backup'))
    if parent.get('object_count') is None:
        # It is available only since an administrator has said so.
        return Choice(FULL, _('the backup before was not finished'))
    if any(_is_passed_over(each, parent, snapshot) for each in backups):
        return Choice(FULL, _('a later full backup is in use now'))
    if parent['size'] != volume['size']:
        return Choice(FULL,
                      _('the volume has grown from %(old)d to %(new)d GiB') % {
                          'old': parent['size'], 'new': volume['size']})
    length = len(line_of(parent, backups))
    if length >= full_every:
        return Choice(FULL, _('the chain has %d backups') % length)
    return Choice(INCREMENTAL,
                  _('number %(number)d of a chain') % {'number': length + 1},
                  parent['id'])


def _is_passed_over(backup: Mapping[str, Any], parent: Mapping[str, Any],
                    snapshot: Mapping[str, Any]) -> bool:
    """Return whether a full backup will look like what differences are of.

    Cinder takes only what is available. So if a later one is not, but will be
    again, :func:`line_of` would end at it, and the real parent could go.
    """
    return (not backup.get('is_incremental')
            and moment(parent) <= moment(backup) < moment(snapshot)
            and (backup['status'] in ('creating', 'restoring')
                 or bool(metadata.get(backup, marks.HIDDEN_BY))))


def ancestors(backup_id: str,
              read: Callable[[str], records.Record]) -> list[records.Record]:
    """Return the record of a backup and of all that it needs, oldest first.

    :param read: returns a record
    """
    found: list[records.Record] = []
    wanted: str | None = backup_id
    while wanted and wanted not in {each.id for each in found}:
        found.insert(0, read(wanted))
        wanted = records.parent_id(found[0])
    return found


def needed(kept: Iterable[Mapping[str, Any]],
           backups: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the IDs of backups without which those kept are worth nothing.

    :param backups: all those of the project
    :returns: those kept among them
    """
    by_volume: dict[str, list[Mapping[str, Any]]] = {}
    for each in backups:
        by_volume.setdefault(each['volume_id'], []).append(each)
    return {each['id'] for backup in kept for each in line_of(
        backup, by_volume.get(backup['volume_id'], ()))}


def newest_first(backups: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return backups in the order in which they can be deleted."""
    return sorted(backups, key=moment, reverse=True)
