# SPDX-License-Identifier: Apache-2.0

"""Which backup sets are to be deleted, and every reason why they cannot be.

What a kept set needs stays. Deleting a backup that was imported deletes the
data, which the other site needs: so only the site that has made a set deletes
it, and not while the application runs elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import dataclasses
from typing import Any

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.i18n import _
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import chains
from osc_quiesce.recovery import marks


@dataclasses.dataclass(frozen=True)
class Removal:
    """What is to be deleted.

    :param sets: the sets that go
    :param backups: all of theirs, in the order in which they can be deleted
    :param rows: the IDs of those of which the other site has a row as well
    :param problems: why none of it can be done; empty if it can
    """

    sets: tuple[backup_sets.BackupSet, ...]
    backups: tuple[dict[str, Any], ...]
    rows: frozenset[str]
    problems: tuple[str, ...]


def plan(cloud: cloud_api.Cloud, names: Sequence[str],
         application: str | None = None, keep_last: int | None = None,
         owner_is_gone: bool = False,
         elsewhere: cloud_api.Cloud | None = None) -> Removal:
    """Return what is to be deleted, and every reason why it cannot be.

    :param names: names or IDs of sets
    :param application: all sets of it that were made here are meant as well
    :param keep_last: how many consistent ones of these sets stay, of each
        application, with all that is needed by what stays
    :param owner_is_gone: whether the site that has made a set is lost, so
        that another one may delete it
    :param elsewhere: the other site
    :raises errors.ApplicationError: a set is not there, or Cinder is away
    """
    backups = list(cloud.backups())
    sets = backup_sets.group(backups)
    rows = list(elsewhere.backups()) if elsewhere else []
    there = backup_sets.group(rows)
    wanted, gone = _named(cloud, names, sets, there)
    wanted += [each for each in sets if each.application == application and (
        owner_is_gone or not backup_sets.is_of_another_site(each, cloud))]
    wanted = _older(list({s.id: s for s in wanted}.values()), keep_last)
    going = _ids(wanted)
    problems = [] if owner_is_gone else _owner_problems(cloud, wanted)
    if keep_last is None:
        problems += _needed_problems(sets, backups, wanted, going)
    else:
        kept = [b for b in backups if b['id'] not in going]
        going -= chains.needed(kept, backups)
    problems += _failover_problems(cloud, wanted, sets, there)
    problems += _needed_there_problems(cloud, going, there, rows)
    leaving = chains.newest_first(b for b in backups if b['id'] in going)
    return Removal(tuple(wanted), tuple(leaving),
                   frozenset(going | gone - {each['id'] for each in backups}),
                   tuple(problems + _status_problems(leaving)))


def _ids(sets: Iterable[backup_sets.BackupSet]) -> set[str]:
    """Return the IDs of all backups of sets."""
    return {each['id'] for found in sets for each in found.everything}


def _named(
    cloud: cloud_api.Cloud,
    names: Iterable[str],
    sets: Sequence[backup_sets.BackupSet],
    there: Sequence[backup_sets.BackupSet],
) -> tuple[list[backup_sets.BackupSet], set[str]]:
    """Return the sets that were named, and the backups of those gone here.

    :raises errors.ApplicationError: one is nowhere
    """
    found = []
    gone: set[str] = set()
    for name in names:
        try:
            found.append(backup_sets.choose(sets, name))
        except backup_sets.NoSuchSet:
            # Deleted here, but not there yet?
            gone |= _ids([_gone_here(cloud, there, name)])
    return found, gone


def _gone_here(cloud: cloud_api.Cloud, there: Sequence[backup_sets.BackupSet],
               name: str) -> backup_sets.BackupSet:
    """Return a set that this site has made, and only the other one has.

    :raises errors.ApplicationError: there is none
    """
    own = [each for each in there if each.owner == cloud.project_id]
    try:
        return backup_sets.choose(own, name)
    except backup_sets.NoSuchSet as exc:
        raise backup_sets.NoSuchSet(
            _('%s It may already have been deleted.') % exc) from exc


def _older(candidates: list[backup_sets.BackupSet],
           keep_last: int | None) -> list[backup_sets.BackupSet]:
    """Return those that are older than the last ones worth keeping.

    A set that is not consistent does not count as one of these, but goes only
    when it is older.

    :param keep_last: None: all of them
    """
    if keep_last is None:
        return candidates
    found = []
    for application in sorted({each.application for each in candidates}):
        own = [s for s in candidates if s.application == application]
        good = sorted({
            s.created_at for s in own if s.state == backup_sets.CONSISTENT})
        if len(good) > keep_last:
            found += [s for s in own if s.created_at < good[-keep_last]]
    return found


def _status_problems(backups: Iterable[dict[str, Any]]) -> list[str]:
    return [_('Backup %(backup)s is in status %(status)s: wait until that is '
              'over.') % {'backup': backup_sets.label(each),
                          'status': each['status']} for each in backups
            if each['status'] in ('creating', 'restoring') or marks.get(
                each, marks.HIDDEN_BY)]


def _owner_problems(cloud: cloud_api.Cloud,
                    sets: Iterable[backup_sets.BackupSet]) -> list[str]:
    return [
        _('Backup set %(name)s (%(id)s) was made at another site, in project '
          '%(owner)s: deleting it here destroys the only data. Delete it '
          'there. If that site is lost for good, use --owner-is-gone.') % {
              'name': each.name, 'id': each.id, 'owner': each.owner}
        for each in sets if backup_sets.is_of_another_site(each, cloud)]


def _failover_problems(cloud: cloud_api.Cloud,
                       wanted: Iterable[backup_sets.BackupSet],
                       sets: Sequence[backup_sets.BackupSet],
                       there: Iterable[backup_sets.BackupSet]) -> list[str]:
    """Return why nothing must go: the application runs elsewhere now.

    :param sets: all sets here
    :param there: those of the other site
    """
    problems = []
    for application in sorted({each.application for each in wanted}):
        newest = max(
            s.created_at for s in sets if s.application == application)
        for each in there:
            if (
                    each.application == application
                    and each.owner != cloud.project_id
                    and each.created_at > newest):
                problems.append(
                    _('The newest backup set of application %(application)s, '
                      '%(name)s (%(id)s), was made at the other site: the '
                      'application seems to run there. Nothing is deleted '
                      'before it is back.') % {
                          'application': application, 'name': each.name,
                          'id': each.id})
                break
    return problems


def _needed_there_problems(cloud: cloud_api.Cloud, going: set[str],
                           there: Iterable[backup_sets.BackupSet],
                           rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return which sets made at the other site depend on those to go.

    :param rows: all backups of the other site
    """
    return [_('Backup set %(name)s (%(id)s), made at the other site, has only '
              'the differences to what is to be deleted: delete it there '
              'first.') % {'name': each.name, 'id': each.id} for each in there
            if each.owner != cloud.project_id and chains.needed(each.backups,
                                                                rows) & going]


def _needed_problems(sets: Iterable[backup_sets.BackupSet],
                     backups: Sequence[dict[str, Any]],
                     wanted: Iterable[backup_sets.BackupSet],
                     going: set[str]) -> list[str]:
    """Return which sets depend on those that are to go."""
    problems = []
    ids = {each.id for each in wanted}
    ours = {b['id'] for s in sets for b in s.everything}
    dependent = [(s.name, chains.needed(s.backups, backups)) for s in sets
                 if s.id not in ids] + [
                     (backup['id'], chains.needed([backup], backups))
                     for backup in backups if backup['id'] not in ours
                     and not marks.get(backup, marks.PROOF_OF)]
    for name, needed in dependent:
        if needed & going:
            problems.append(_('%(name)s has only the differences to what is '
                              'to be deleted: delete it as well, or keep '
                              'both.') % {'name': name})
    return problems
