# SPDX-License-Identifier: Apache-2.0

"""A file with the records of a backup set, for a site that is out of reach.

It holds no data of volumes, but everything else: with it, and the store, a
backup set becomes known at another site even after this one is lost. It is
readable by its owner only, since what is recorded of servers may hold secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
import os
import pathlib
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.i18n import _
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import chains
from osc_quiesce.recovery import files
from osc_quiesce.recovery import records
from osc_quiesce import retry

KIND: Final = 'osc-quiesce-backup-set'
FORMAT: Final = 1


@dataclasses.dataclass(frozen=True)
class Bundle:
    """The records of a set and of all that it needs.

    :param set_id: ID of the backup set
    :param by_id: the records, by the ID of the backup
    """

    set_id: str
    by_id: Mapping[str, records.Record]

    @property
    def backup_set(self) -> backup_sets.BackupSet:
        """The set, as the records tell of it."""
        rows = [_row(each) for each in self.by_id.values()]
        found = [
            each for each in backup_sets.group(rows) if each.id == self.set_id]
        if not found:
            raise errors.ApplicationError(
                _('The bundle has no backup of its set %s.') % self.set_id)
        return found[0]

    def read(self, backup_id: str) -> records.Record:
        """Return the record of a backup.

        :raises errors.ApplicationError: the bundle does not have it
        """
        try:
            return self.by_id[backup_id]
        except KeyError:
            raise errors.ApplicationError(
                _('The bundle has no record of backup %s, on which others of '
                  'it depend.') % backup_id) from None


def _row(record: records.Record) -> dict[str, Any]:
    """Return a backup as Cinder would show it."""
    data = record.data
    return {'id': record.id,
            'status': 'available',
            'size': record.size,
            'object_count': data.get('object_count'),
            'volume_id': record.volume_id,
            'snapshot_id': data.get('snapshot_id'),
            'is_incremental': records.parent_id(record) is not None,
            'created_at': data.get('created_at') or '',
            'data_timestamp': data.get('data_timestamp'),
            'metadata': data.get('metadata') or {}}


def make(cloud: cloud_api.Cloud, found: backup_sets.BackupSet,
         timer: retry.Timer) -> Bundle:
    """Return the bundle of a set; administrators only, by default.

    :raises cloud_api.CloudError: a record cannot be exported
    """
    known: dict[str, records.Record] = {}
    read = reader(cloud, timer, known)
    for backup in found.backups:
        chains.ancestors(backup['id'], read)
    return Bundle(found.id, known)


def reader(cloud: cloud_api.Cloud, timer: retry.Timer,
           known: dict[str, records.Record]
           ) -> Callable[[str], records.Record]:
    """Return what reads records, each of them once.

    :param known: the records so far, by the ID of the backup
    """

    def read(backup_id: str) -> records.Record:
        if backup_id not in known:
            known[backup_id] = timer.until_answered(
                lambda: records.export(cloud, backup_id), cloud_api.PATIENCE)
        return known[backup_id]

    return read


def check_path(path: str) -> None:
    """Check early that a bundle can be written there.

    An older bundle is replaced; nothing else is.

    :raises errors.ApplicationError: it cannot be
    """
    where = pathlib.Path(path)
    try:
        is_there = where.exists()
        is_folder = where.parent.is_dir()
    except OSError as exc:  # such as a name that is too long
        raise _not_written(path, exc) from exc
    if not is_folder or not os.access(where.parent, os.W_OK):
        raise errors.ApplicationError(
            _('%(path)s cannot be written: %(folder)s is no folder that you '
              'may write to.') % {'path': path, 'folder': where.parent})
    if is_there:
        try:
            load(path)
        except errors.ApplicationError as exc:
            raise errors.ApplicationError(
                _('%s is there already and is no bundle: it is not '
                  'replaced.') % path) from exc


def save(bundle: Bundle, path: str) -> None:
    """Write a bundle, all of it or nothing.

    :raises errors.ApplicationError: it cannot be written
    """
    found = bundle.backup_set
    text = json.dumps(
        {'kind': KIND,
         'format': FORMAT,
         'id': found.id,
         'name': found.name,
         'application': found.application,
         'created_at': found.created_at,
         'records': [records.encode(each) for each in bundle.by_id.values()]},
        indent=1)
    try:
        files.replace(path, text + '\n')
    except OSError as exc:
        raise _not_written(path, exc) from exc


def _not_written(path: str, why: OSError) -> errors.ApplicationError:
    return errors.ApplicationError(
        _('The bundle %(path)s cannot be written: %(why)s.') % {
            'path': path, 'why': why})


def load(path: str) -> Bundle:
    """Return the bundle that a file holds.

    :raises errors.ApplicationError: it cannot be read, or is damaged
    """
    where = pathlib.Path(path)
    try:
        if where.exists() and not where.is_file():  # a device has no end
            raise errors.ApplicationError(_('%s is no file.') % path)
        data = json.loads(where.read_text())
    except OSError as exc:
        raise errors.ApplicationError(_('%(path)s cannot be read: %(why)s') % {
            'path': path, 'why': exc}) from exc
    except (ValueError, RecursionError) as exc:
        raise errors.ApplicationError(_('%(path)s is no bundle: %(why)s') % {
            'path': path, 'why': exc}) from exc
    if not isinstance(data, dict) or data.get('kind') != KIND:
        raise errors.ApplicationError(_('%s is no bundle.') % path)
    if data.get('format') != FORMAT:
        raise errors.ApplicationError(
            _('%(path)s is a bundle of format %(format)s, of which this '
              'version knows nothing: use a newer one.') % {
                  'path': path, 'format': data.get('format')})
    found = data.get('records')
    if not isinstance(found, Sequence) or not all(
            isinstance(each, dict) for each in found):
        raise errors.ApplicationError(_('%s has no records.') % path)
    decoded = [records.decode(each) for each in found]
    return Bundle(str(data.get('id')), {each.id: each for each in decoded})
