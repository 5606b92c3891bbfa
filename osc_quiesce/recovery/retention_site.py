# SPDX-License-Identifier: Apache-2.0

"""What a site has that matters to a deletion: whose it is, and who is at it.

A site is told from another one by project and volumes, as
:func:`backup_sets.is_of_another_site` does: with one Keystone for both, the
IDs of projects are the same.
"""

from __future__ import annotations

from collections.abc import Collection
import dataclasses
import functools
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import metadata
from osc_quiesce.i18n import _
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import chains
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import restores
from osc_quiesce.recovery import targets

_AT_WORK: Final = ('creating', 'restoring')


@dataclasses.dataclass(frozen=True)
class Site:
    """The backups of a site.

    :param backups: all of the project
    :param sets: those that they make
    :param own: IDs of the sets that count as its own. Of another site, these
        are all but those that the first site has made
    :param remains: of another site, IDs of the sets that the first one has
        made and does not have any more
    :param known: of another site, IDs of the backups that the first one has
    :param restoring: the restores that still need their sets, without
        servers
    """

    project_id: str | None = None
    backups: tuple[dict[str, Any], ...] = ()
    sets: tuple[backup_sets.BackupSet, ...] = ()
    own: frozenset[str] = frozenset()
    remains: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()
    restoring: tuple[restores.Restore, ...] = ()

    @classmethod
    def of(cls, cloud: cloud_api.Cloud, first: Site | None = None) -> Site:
        """Return what a site has.

        :param first: the site where is deleted, if this is another one
        :raises cloud_api.CloudError: Cinder cannot be asked
        """
        backups = tuple(cloud.backups())
        sets = tuple(backup_sets.group(backups))
        made = {s.id for s in sets
                if not backup_sets.is_of_another_site(s, cloud)}
        if first is None:
            return cls(cloud.project_id, backups, sets, frozenset(made),
                       restoring=_restores(cloud))
        foreign = {s.id for s in sets} - first.own
        remains = {s.id for s in sets if s.id in foreign - made
                   and s.owner == first.project_id}
        return cls(cloud.project_id, backups, sets,
                   frozenset(foreign - remains), frozenset(remains),
                   frozenset(each['id'] for each in first.backups),
                   _restores(cloud))

    def left_of(self, application: str | None) -> set[str]:
        """Return the IDs of backups of which a deletion was interrupted.

        The first site has none of their sets any more. What is needed by
        others stays, or is read now.
        """
        left = {each['id'] for s in self.sets for each in s.everything
                if s.id in self.remains and s.application == application
                and metadata.get(each, backup_sets.SEALED)
                == backup_sets.DELETED}
        kept = [each for each in self.backups if each['id'] not in left]
        return left - chains.needed(kept, self.backups) - self.busy

    def dependents(self, going: set[str]) -> list[tuple[str, set[str]]]:
        """Return what only this site has, and the backups that it depends on.

        That the first site does not have a set of its own need not mean that
        it has deleted it: its database may be an older one. It has marked
        what it deletes.

        :param going: IDs of the backups that a command deletes
        :returns: the former as a subject
        """
        def is_only_here(row: dict[str, Any]) -> bool:
            return (row['id'] not in self.known | going and metadata.get(
                row, backup_sets.SEALED) != backup_sets.DELETED)

        in_sets = {each['id'] for s in self.sets for each in s.everything}
        found: list[tuple[str, Collection[dict[str, Any]]]] = []
        for each in self.sets:
            values = {'name': each.name, 'id': each.id}
            if each.id in self.own:
                found.append((_('Backup set %(name)s (%(id)s), made at the '
                                'other site,') % values, each.everything))
            else:
                found.append((_('Backup set %(name)s (%(id)s), of which this '
                                'site lacks backups,') % values,
                              list(filter(is_only_here, each.everything))))
        found += [(_('Backup %s, made at the other site,') % row['id'], (row,))
                  for row in self.backups
                  if row['id'] not in in_sets | self.known
                  and not metadata.get(row, marks.PROOF_OF)]
        return [(label, chains.needed(backups, self.backups))
                for label, backups in found]

    @functools.cached_property
    def busy(self) -> set[str]:
        """IDs of backups of which something is being made or read.

        The whole set of each is among them: a restore comes to the others
        later.
        """
        return chains.needed(
            [each for _what, line in self._at_work for each in line],
            self.backups)

    def at_work(self, ids: Collection[str]) -> list[str]:
        """Return what needs some of these backups now, as parts of a text."""
        return [what for what, line in self._at_work
                if chains.needed(line, self.backups) & set(ids)]

    @functools.cached_property
    def _at_work(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """What is done, and the backups that it needs, with their sets."""
        found = [(_restoring(each), self._needed(each))
                 for each in self.restoring]
        for each in self.backups:
            base = metadata.get(each, marks.PROOF_OF)
            if base or each['status'] in _AT_WORK or metadata.get(
                    each, marks.HIDDEN_BY):
                mine = {each['id'], base}
                found.append((_work(each), [each, *(
                    other for s in self.sets
                    if mine & {b['id'] for b in s.everything}
                    for other in s.everything)]))
        return found

    def _needed(self, restore: restores.Restore) -> list[dict[str, Any]]:
        """Return the backups of the set of a restore.

        While Cinder restores, it may have replaced the name of the set: then
        it can be any set of these volumes.
        """
        places = {each['id'] for each in restore.volumes}
        sources = {marks.source(each) for each in restore.volumes}

        def may_be(found: backup_sets.BackupSet) -> bool:
            if restore.set_id:
                return found.id == restore.set_id
            return any(each['volume_id'] in places or metadata.get(
                each, backup_sets.SOURCE_VOLUME) in sources
                for each in found.everything)

        return [each for s in self.sets if may_be(s) for each in s.everything]


def _restores(cloud: cloud_api.Cloud) -> tuple[restores.Restore, ...]:
    """Return the restores at a site that still need their sets."""
    volumes: dict[str, list[dict[str, Any]]] = {}
    for each in targets.everything(cloud):
        if owner := marks.described_owner(each):
            volumes.setdefault(owner, []).append(each)
    found = (restores.Restore(id_, its, ()) for id_, its in volumes.items())
    return tuple(each for each in found if each.needs_set)


def _restoring(restore: restores.Restore) -> str:
    """Return what a restore is at, as a part of a text."""
    return _('restore %(name)s (%(id)s), which has volumes that were not '
             'restored or given to a server yet: the same command again, for '
             'all servers, does that; if the restore was given up, "openstack '
             'application restore delete %(id)s" there deletes it, with its '
             'servers') % {'name': restore.name or _('of unknown name'),
                           'id': restore.id}


def _work(backup: dict[str, Any]) -> str:
    """Return what is done with a backup, as a part of a text."""
    if metadata.get(backup, marks.PROOF_OF):
        return _('%s, a proof, which you can delete unless a command is '
                 'making it') % backup['id']
    if metadata.get(backup, marks.HIDDEN_BY):
        return _('%s, hidden for a comparison: if that was broken off, the '
                 'next restore or drill of a set with this volume ends '
                 'it') % backup['id']
    return _('%(id)s, status %(status)s') % {
        'id': backup['id'], 'status': backup['status']}
