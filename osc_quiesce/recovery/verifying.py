# SPDX-License-Identifier: Apache-2.0

"""Whether a backup set is whole, with all that it needs.

Cinder compares nothing when it restores. But it has written enough to find
damage before that: the MD5 of each object, and the SHA-256 of each block of
the volume. If each object has its MD5 and its blocks their SHA-256, and all
other blocks have that of the parent, and the same holds for the parent, then
a restore gives the very volume that was backed up.

Only what was read to its end is called verified.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce import concurrency
from osc_quiesce.i18n import _
from osc_quiesce.recovery import backup_check
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import chunks
from osc_quiesce.recovery import reading
from osc_quiesce.recovery import records
from osc_quiesce.recovery import stores
from osc_quiesce import retry

#: from the best to the worst
_STATES: Final = (
    backup_check.VERIFIED, backup_check.UNKNOWN, backup_check.DAMAGED)


@dataclasses.dataclass(frozen=True)
class Line:
    """The backup of one volume, with all that it needs.

    :param records: the oldest first
    :param broken: why there are no more; None if the oldest one is full
    """

    records: tuple[records.Record, ...]
    broken: backup_check.Finding | None = None


@dataclasses.dataclass(frozen=True)
class Report:
    """What was found.

    :param findings: a good backup has one, another one has one for each
        thing that is wrong
    :param size: bytes that were read
    :param objects: how many objects with data are good
    :param silent: of them, those that Cinder would restore damaged, without
        an error, if they were
    """

    findings: tuple[backup_check.Finding, ...]
    size: int = 0
    objects: int = 0
    silent: int = 0

    @property
    def is_good(self) -> bool:
        return not any(each.problem for each in self.findings)


def lines(found: backup_sets.BackupSet,
          read: Callable[[str], records.Record]) -> list[Line]:
    """Return the backups of a set with all that they need.

    :param read: returns a record
    :raises cloud_api.CloudError: the caller may not read records
    """
    return [_line(each, read) for each in found.backups]


def _line(backup: Mapping[str, Any],
          read: Callable[[str], records.Record]) -> Line:
    found: list[records.Record] = []
    wanted: str | None = backup['id']
    while wanted:
        try:
            if wanted in {each.id for each in found}:
                raise errors.ApplicationError(
                    _('Backup %s is its own ancestor.') % wanted)
            found.insert(0, read(wanted))
        except cloud_api.NotThere as exc:
            return _broken(backup, found, wanted, backup_check.DAMAGED, exc)
        except cloud_api.CloudError as exc:
            if exc.status == 403:
                raise
            return _broken(backup, found, wanted, backup_check.UNKNOWN, exc)
        except errors.ApplicationError as exc:
            return _broken(backup, found, wanted, backup_check.DAMAGED, exc)
        wanted = records.parent_id(found[0])
    return Line(tuple(found))


def _broken(backup: Mapping[str, Any], found: Sequence[records.Record],
            wanted: str, state: str, why: Exception) -> Line:
    """Return a line that ends before it should."""
    return Line(tuple(found), backup_check.Finding(
        wanted, metadata.get(backup, backup_sets.SOURCE_VOLUME), state, '',
        _('Its record cannot be read: %s.') % str(why).rstrip('.'),
        backup_check.READ_AGAIN if state == backup_check.UNKNOWN else
        _('Without it, the later backups of the chain cannot be restored: '
          'import it again, or make a full backup.')))


def registered(found: backup_sets.BackupSet,
               read: Callable[[str], records.Record]) -> Report:
    """Return what can be told without a look at any data.

    :param read: returns a record
    :raises cloud_api.CloudError: the caller may not read records
    """
    report = list(_of_set(found))
    for line in lines(found, read):
        if line.broken:
            report.append(line.broken)
        report += [backup_check.Finding(
            each.id, backup_check.source_volume(each), backup_check.NOT_READ)
            for each in line.records]
    return Report(tuple(report))


def verify(found: backup_sets.BackupSet,
           read: Callable[[str], records.Record], store: stores.Store,
           timer: retry.Timer, parallel: int,
           progress: Callable[[str], object]) -> Report:
    """Read all of a set in a store, and return what was found.

    :param read: returns a record
    :param parallel: how many volumes at once
    :raises cloud_api.CloudError: the caller may not read records
    """
    everything = lines(found, read)
    reader = reading.Reader(
        store, timer, sum(len(each.records) for each in everything), progress)
    results = concurrency.run_all(
        lambda line: _verify(reader, line), everything, parallel)
    return Report(
        (*_of_set(found), *(each for result in results for each in result)),
        reader.size, reader.objects, reader.silent)


def _of_set(
        found: backup_sets.BackupSet) -> Sequence[backup_check.Finding]:
    """Return what is wrong with a set as Cinder shows it."""
    remedy = _('Finish the set with the command that has begun it, or make '
               'another one.')
    wrong = [
        backup_check.Finding(
            each['id'], metadata.get(each, backup_sets.SOURCE_VOLUME),
            backup_check.DAMAGED, '',
            _('Its status is %s.') % backup_sets.status_of(each), remedy)
        for each in found.backups if not backup_sets.is_there(each)]
    missing = found.volumes - len(found.backups)
    if missing > 0:
        wrong.append(backup_check.Finding(
            '', '', backup_check.DAMAGED, '',
            _('The set has %(there)d backups of %(wanted)d.') % {
                'there': len(found.backups), 'wanted': found.volumes},
            remedy))
    return wrong


def _verify(reader: reading.Reader,
            line: Line) -> list[backup_check.Finding]:
    """Verify a backup and all that it needs, the oldest first."""
    found: list[backup_check.Finding] = []
    hashes: chunks.Hashes | None = None
    state = backup_check.VERIFIED
    if line.broken:
        found.append(line.broken)
        state = line.broken.state
    for record in line.records:
        check = backup_check.Check(reader, record, hashes)
        try:
            check.run()
        finally:
            if hashes:
                hashes.file.close()
        hashes = check.hashes
        if check.findings:
            found += check.findings
            state = max(state, *(each.state for each in check.findings),
                        key=_STATES.index)
        else:
            found.append(_summary(record, state))
        reader.done()
    if hashes:
        hashes.file.close()
    return found


def _summary(record: records.Record, state: str) -> backup_check.Finding:
    """Return what is so with a backup of which all is good.

    :param state: of what it needs
    """
    volume_id = backup_check.source_volume(record)
    if state == backup_check.VERIFIED:
        return backup_check.Finding(record.id, volume_id, state)
    return backup_check.Finding(
        record.id, volume_id, state, '',
        _('It is good, but an earlier one of its chain is not, or is not '
          'known to be.'),
        _('See that one.'))
