# SPDX-License-Identifier: Apache-2.0

"""Which backup sets a command deletes, and every reason why it cannot.

What a kept set needs stays, and what is being made, restored or compared, at
either site. Deleting a backup that was imported deletes the data, which the
other site needs: so only the site that has made a set deletes it, and the old
ones not while the application runs elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import dataclasses
import datetime
from typing import Any

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import metadata
from osc_quiesce.i18n import _
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import chains
from osc_quiesce.recovery import failures
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import protection
from osc_quiesce.recovery import records
from osc_quiesce.recovery import retention_last
from osc_quiesce.recovery import retention_site


@dataclasses.dataclass(frozen=True)
class Removal:
    """What a command deletes.

    :param sets: the sets that go
    :param backups: all of theirs, in the order in which they can be deleted,
        and what imports that failed have left
    :param rows: the IDs of those of which the other site has a row as well
    :param problems: why none of it can be done; empty if it can
    :param warnings: what stays though it is old enough
    """

    sets: tuple[backup_sets.BackupSet, ...]
    backups: tuple[dict[str, Any], ...]
    rows: frozenset[str]
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def plan(cloud: cloud_api.Cloud, names: Sequence[str],
         application: str | None = None, keep_last: int | None = None,
         owner_is_gone: bool = False,
         elsewhere: cloud_api.Cloud | None = None,
         to_cloud: str = '', other_site_is_gone: bool = False,
         now: datetime.datetime | None = None) -> Removal:
    """Return what to delete, and every reason why it cannot be deleted.

    :param names: names or IDs of sets
    :param application: its sets that were made here are included
    :param keep_last: how many consistent ones of these sets stay, of each
        application and at each site, with all that is needed by what stays
    :param owner_is_gone: whether the site that has made a set is lost, so
        that another one may delete it
    :param elsewhere: the other site
    :param to_cloud: its name in clouds.yaml
    :param other_site_is_gone: whether the site that knows them too is lost
    :param now: by default the time of this machine
    :raises errors.ApplicationError: a set is not there, or Cinder is away
    """
    here = retention_site.Site.of(cloud)
    there = retention_site.Site.of(elsewhere, here) if elsewhere else (
        retention_site.Site())
    wanted, gone = _meant(here, there, names, application, owner_is_gone)
    problems = [] if keep_last is None else _moment_problems(wanted, now)
    wanted, spared = retention_last.older(wanted, keep_last, there.sets)
    # A set that is only partly gone here may be whole there.
    known = {s.id for s in wanted} & here.own
    gone |= _ids(s for s in there.sets if s.id in known)
    going, hindered = _going(here, there, wanted, gone, keep_last)
    problems += [] if owner_is_gone else _owner_problems(here, wanted)
    if keep_last is not None:
        problems += _failover_problems(here, there, wanted)
    if not other_site_is_gone:
        problems += _registered_problems(here, wanted, to_cloud)
    if keep_last is None:
        problems += hindered
        hindered = []
    return Removal(
        tuple(wanted), (*chains.newest_first(
            each for each in here.backups if each['id'] in going),
            *_left(here, wanted)),
        frozenset(going | there.left_of(application)),
        tuple(problems), (*hindered, *spared))


def _going(here: retention_site.Site, there: retention_site.Site,
           wanted: list[backup_sets.BackupSet], gone: set[str],
           keep_last: int | None) -> tuple[set[str], list[str]]:
    """Return the backups that go, and why others cannot go now.

    :param gone: the IDs of those that have to go there only
    :param keep_last: None: all of these sets have to go
    """
    going = _ids(wanted) | gone
    needed: list[str] = []
    if keep_last is None:
        needed = [*_needed_problems(here, wanted, going),
                  *_needed_there_problems(there, going)]
    else:
        going = _not_needed(here, there, going)
    busy = here.busy | there.busy
    harmful = _harmful(here, going - busy)
    hindered = [*needed, *_busy_problems(here, there, going),
                *_harm_problems(harmful)]
    if keep_last is not None:
        going -= busy.union(each['id'] for each in harmful)
        going = _not_needed(here, there, going)  # by those either
    return going, hindered


def _harmful(here: retention_site.Site,
             going: set[str]) -> list[dict[str, Any]]:
    """Return those of these with which one that stays would lose its data."""
    staying = {each['volume_id'] for each in here.backups
               if each['id'] not in going and failures.may_delete(each)}
    return [each for each in here.backups
            if each['id'] in going and each['volume_id'] in staying
            and not failures.may_delete(each)]


def _harm_problems(harmful: Iterable[dict[str, Any]]) -> list[str]:
    return [
        _("%s With Ceph's driver, it can only be deleted together with all "
          'others of the volume, by one command.')
        % failures.kept(each['volume_id'], each)
        for each in harmful]


def _left(here: retention_site.Site,
          wanted: Iterable[backup_sets.BackupSet]) -> list[dict[str, Any]]:
    """Return what imports that failed have left of sets of another site.

    Nothing shows to which set such a row belongs; no restore needs it.
    """
    if all(each.is_whole or each.id in here.own for each in wanted):
        return []
    return [each for each in here.backups if records.is_left(each)]


def _not_needed(here: retention_site.Site, there: retention_site.Site,
                going: set[str]) -> set[str]:
    """Return those of these backups on which nothing depends that stays."""
    kept = [each for each in here.backups if each['id'] not in going]
    return going - chains.needed(kept, here.backups).union(
        *(needed for _label, needed in there.dependents(going)))


def _ids(sets: Iterable[backup_sets.BackupSet]) -> set[str]:
    """Return the IDs of all backups of sets."""
    return {each['id'] for found in sets for each in found.everything}


def _meant(
    here: retention_site.Site,
    there: retention_site.Site,
    names: Iterable[str],
    application: str | None,
    owner_is_gone: bool,
) -> tuple[list[backup_sets.BackupSet], set[str]]:
    """Return the sets that are meant, and the backups of those gone here.

    :raises errors.ApplicationError: one is nowhere
    """
    found = []
    gone: set[str] = set()
    for name in names:
        try:
            found.append(backup_sets.choose(here.sets, name))
        except backup_sets.NoSuchSet:
            # Deleted here, but not there yet?
            gone |= _ids([_gone_here(there, name)])
    found += [each for each in here.sets if each.application == application
              and (owner_is_gone or each.id in here.own)]
    return list({s.id: s for s in found}.values()), gone


def _gone_here(there: retention_site.Site,
               name: str) -> backup_sets.BackupSet:
    """Return a set that this site has made, and only the other one has.

    :raises errors.ApplicationError: there is none
    """
    remains = [each for each in there.sets if each.id in there.remains]
    try:
        return backup_sets.choose(remains, name)
    except backup_sets.NoSuchSet as exc:
        raise backup_sets.NoSuchSet(
            _('%s It may already have been deleted.') % exc) from exc


def _moment_problems(sets: Iterable[backup_sets.BackupSet],
                     now: datetime.datetime | None) -> list[str]:
    """Return which sets keep it from being known what the newest ones are.

    One whose moment is wrong counts as newer than those that really are.

    :param now: by default the time of this machine
    """
    now = now or datetime.datetime.now(datetime.UTC)
    return [
        _('Which sets of application %(application)s are the newest is not '
          'known, because of backup set %(name)s (%(id)s), moment '
          '"%(moment)s": %(why)s. Correct the clock of this machine if it is '
          'slow, or else delete that set by its name.') % {
              'application': each.application, 'name': each.name,
              'id': each.id, 'moment': each.created_at, 'why': why}
        for each in sets if (why := protection.wrong_moment(each, now))]


def _busy_problems(here: retention_site.Site, there: retention_site.Site,
                   going: set[str]) -> list[str]:
    """Return which sets cannot go now, since they are needed at a site."""
    return [
        _('Backup set %(name)s (%(id)s) is not deleted while it is needed at '
          '%(site)s (%(work)s): run the same command again when that is '
          'over.') % {'name': each.name, 'id': each.id, 'site': where,
                      'work': '; '.join(site.at_work(ids))}
        for each in (*here.sets, *(s for s in there.sets if s.id not in {
            own.id for own in here.sets}))
        if (ids := _ids([each]) & going)
        for site, where in ((here, _('this site')),
                            (there, _('the other site')))
        if ids & site.busy]


def _owner_problems(here: retention_site.Site,
                    sets: Iterable[backup_sets.BackupSet]) -> list[str]:
    return [
        _('Backup set %(name)s (%(id)s) was made at another site, in project '
          '%(owner)s: deleting it here destroys the only data. Delete it '
          'there. If that site is lost for good, use --owner-is-gone.') % {
              'name': each.name, 'id': each.id, 'owner': each.owner}
        for each in sets if each.id not in here.own]


def _failover_problems(here: retention_site.Site, there: retention_site.Site,
                       wanted: Iterable[backup_sets.BackupSet]) -> list[str]:
    """Return why old sets do not go: the application runs elsewhere now.

    A newer set of another site is there, or is registered here. A set that is
    named goes all the same if nothing needs it, at either site: after the way
    home, all sets of the other site are old ones.
    """
    problems = []
    for application in sorted({
            s.application for s in wanted if s.id in here.own}):
        newest = max(s.created_at for s in here.sets
                     if s.application == application and s.id in here.own)
        foreign = [s for s in here.sets if s.id not in here.own] + [
            s for s in there.sets if s.id in there.own]
        newer = [s for s in foreign if s.application == application
                 and s.created_at > newest]
        if newer:
            problems.append(
                _('The newest backup set of application %(application)s, '
                  '%(name)s (%(id)s), was made at the other site: the '
                  'application seems to run there. Nothing is deleted '
                  'before it is back.') % {
                      'application': application, 'name': newer[0].name,
                      'id': newer[0].id})
    return problems


def _registered_problems(
        here: retention_site.Site,
        wanted: Iterable[backup_sets.BackupSet], to_cloud: str) -> list[str]:
    """Return which sets another site may need, since it knows them.

    What it has made of them may be known only there.

    :param to_cloud: the name of the site that is asked, or empty
    """
    return [
        _('Backup set %(name)s (%(id)s), or a part of it, may be registered '
          'at %(site)s, and newer backups there may have only the '
          'differences to it: name that site with --to-cloud. If it has '
          'another name now, clouds.yaml may have the old one as well. If '
          'it is lost for good, use --other-site-is-gone.') % {
              'name': each.name, 'id': each.id, 'site': each.known_at}
        for each in wanted
        if each.known_at not in ('', to_cloud) and each.id in here.own]


def _needed_there_problems(there: retention_site.Site,
                           going: set[str]) -> list[str]:
    """Return what only the other site has and depends on those to go."""
    return [_('%s has only the differences to a backup that would be deleted: '
              'first delete that set or backup, at the site that has made '
              'it.') % label
            for label, needed in there.dependents(going) if needed & going]


def _needed_problems(here: retention_site.Site,
                     wanted: Iterable[backup_sets.BackupSet],
                     going: set[str]) -> list[str]:
    """Return which sets depend on those that are to go."""
    problems = []
    ids = {each.id for each in wanted}
    ours = _ids(here.sets)
    dependent = [(s.name, chains.needed(s.backups, here.backups))
                 for s in here.sets if s.id not in ids] + [
                     (backup['id'], chains.needed([backup], here.backups))
                     for backup in here.backups if backup['id'] not in ours
                     and not metadata.get(backup, marks.PROOF_OF)]
    for name, needed in dependent:
        if needed & going:
            problems.append(_('%(name)s has only the differences to a backup '
                              'that would be deleted: delete it as well, or '
                              'keep both.') % {'name': name})
    return problems
