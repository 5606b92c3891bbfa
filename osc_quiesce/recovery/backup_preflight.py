# SPDX-License-Identifier: Apache-2.0

"""What a command backs up and how, found out before anything is made.

It only reads, but for one request at the other site that cannot have an
effect: to import a record without an ID, which tells whether the caller may.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.application import snapshot_sets
from osc_quiesce.application import spec
from osc_quiesce import concurrency
from osc_quiesce.i18n import _
from osc_quiesce.recovery import backup_plan
from osc_quiesce.recovery import backup_problems
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import capacity
from osc_quiesce.recovery import chains
from osc_quiesce.recovery import registration


def make(cloud: cloud_api.Cloud, snapshot_set: str, wish: backup_plan.Wish,
         destination: registration.Destination | None = None,
         wants_records: bool = False) -> backup_plan.Plan:
    """Check everything, change nothing, and return a plan.

    :param snapshot_set: name or ID
    :param destination: where to register the backups as well
    :param wants_records: whether records are exported without that
    :returns: a plan, perhaps with problems
    :raises snapshot_sets.NoSuchSet: there is no such set, nor a whole backup
        set of it
    :raises errors.ApplicationError: a site cannot be asked
    """
    backups = list(cloud.backups())
    reader = _Reader(cloud, snapshot_set, wish, backups)
    plan = reader.plan()
    problems = reader.problems
    problems += backup_problems.of_metadata(plan)
    problems += capacity.service_problems(cloud, _('this site'))
    problems += backup_problems.of_quota(cloud, plan)
    problems += backup_problems.of_driver(
        cloud, backups, wants_records or destination is not None)
    if destination is not None:
        if (destination.cloud.volume_url == cloud.volume_url
                or destination.has_volume(_telling(plan))):
            problems.append(_('Cloud %s is this site, and not another one.')
                            % destination.name)
        else:
            known, lines = destination.known(), _lines(plan, backups)
            problems += backup_problems.of_registration(
                cloud, destination.name,
                [each for id_, each in lines.items() if id_ not in known
                 or metadata.get(each, backup_sets.ID) == plan.id])
            problems += destination.problems(_need(plan, lines, known))
            plan = _with_full(dataclasses.replace(
                plan, site=destination.name), backups, destination)
    return dataclasses.replace(plan, problems=tuple(problems))


class _Reader:
    """Turns what there is into a plan.

    :ivar problems: why it cannot be carried out
    """

    def __init__(self, cloud: cloud_api.Cloud, snapshot_set: str,
                 wish: backup_plan.Wish,
                 backups: Sequence[dict[str, Any]]) -> None:
        self._cloud = cloud
        self._wanted = snapshot_set
        self._wish = wish
        self._backups = backups
        self._sets = backup_sets.group(backups)
        self.problems: list[str] = []

    def plan(self) -> backup_plan.Plan:
        try:
            snapshots = snapshot_sets.find(self._cloud, self._wanted)
        except snapshot_sets.NoSuchSet:
            return self._of_backups(self._whole())
        name = self._wish.name or snapshots.name
        id_ = backup_sets.id_of(snapshots.id, name)
        before = next((s for s in self._sets if s.id == id_), None)
        if before is not None and before.is_whole:
            # Its snapshots are not needed any more.
            return self._of_backups(before)
        self._check_name(name, id_)
        self._check_set(snapshots)
        return backup_plan.Plan(
            id_, name, snapshots.application, self._cloud.project_id or '',
            snapshots.name, snapshots.id, self._items(snapshots, before),
            snapshots.servers, container=self._wish.container)

    def _whole(self) -> backup_sets.BackupSet:
        """Return the whole backup set of a snapshot set that is gone."""
        found = [each for each in self._sets
                 if self._wanted in (each.snapshot_set, each.snapshot_set_id)
                 and each.name == (self._wish.name or each.snapshot_set)
                 and each.is_whole and not backup_sets.is_of_another_site(
                     each, self._cloud)]
        if len(found) != 1:
            raise snapshot_sets.NoSuchSet(
                _('No snapshot set has the name or ID "%s".') % self._wanted)
        return found[0]

    def _of_backups(self, found: backup_sets.BackupSet) -> backup_plan.Plan:
        return backup_plan.Plan(
            found.id, found.name, found.application, found.owner,
            found.snapshot_set, found.snapshot_set_id,
            tuple(
                backup_plan.Item(
                    metadata.get(backup, backup_sets.SOURCE_VOLUME), None,
                    backup['size'], backup['metadata'], _made_already(backup),
                    backup) for backup in found.backups),
            found.servers, container=self._wish.container)

    def _check_name(self, name: str, id_: str) -> None:
        if not name.strip() or len(name) > spec.LONGEST_NAME:
            self.problems.append(_('The name must have 1 to %d characters.')
                                 % spec.LONGEST_NAME)
        if any(s.name == name and s.id != id_ for s in self._sets):
            self.problems.append(
                _('There is a backup set "%s" of another snapshot set '
                  'already: choose another name, or delete it.') % name)

    def _check_set(self, snapshots: snapshot_sets.SnapshotSet) -> None:
        if snapshots.state != snapshot_sets.CONSISTENT:
            self.problems.append(
                _('Snapshot set %(name)s (%(id)s) is %(state)s, and only a '
                  'consistent one is worth a backup: take another one.') % {
                      'name': snapshots.name, 'id': snapshots.id,
                      'state': snapshots.state})

    def _items(
        self,
        snapshots: snapshot_sets.SnapshotSet,
        before: backup_sets.BackupSet | None,
    ) -> tuple[backup_plan.Item, ...]:
        found = {metadata.get(each, backup_sets.SNAPSHOT): each
                 for each in (before.backups if before else ())}
        volumes = concurrency.run_all(
            self._volume, [each['volume_id'] for each in snapshots.snapshots],
            threads=cloud_api.THREADS)
        return tuple(self._item(snapshot, volume, found.get(snapshot['id']))
                     for snapshot, volume in zip(
                         snapshots.snapshots, volumes, strict=True))

    def _volume(self, volume_id: str) -> dict[str, Any]:
        volume: dict[str, Any] = self._cloud.volume(
            'GET', f'/volumes/{volume_id}')['volume']
        return volume

    def _item(self, snapshot: Mapping[str, Any], volume: Mapping[str, Any],
              found: dict[str, Any] | None) -> backup_plan.Item:
        same = [each for each in self._backups
                if each['volume_id'] == volume['id']]
        size = volume['size']
        if found and (
                backup_sets.is_there(found) or found['status'] == 'creating'):
            choice = _made_already(found)
            size = found['size']  # the volume may have grown since
        else:
            choice = chains.choose(
                snapshot, volume, same, self._wish.full_every)
        item = backup_plan.Item(volume['id'], snapshot['id'], size,
                                snapshot.get('metadata') or {}, choice, found)
        if not item.is_there:
            self.problems += backup_problems.of_volume(
                item, snapshot, volume, same)
        return item


def _telling(plan: backup_plan.Plan) -> list[str]:
    """Return of which volumes one tells whether a site has all of them.

    One with a snapshot is there, wherever the others are.
    """
    there = [each.volume_id for each in plan.items if each.snapshot_id]
    return there[:1] or [each.volume_id for each in plan.items]


def _made_already(backup: Mapping[str, Any]) -> chains.Choice:
    return chains.Choice(
        backup_sets.mode_of(backup),
        _('being made already') if backup['status'] == 'creating' else _(
            'made already'))


def _lines(plan: backup_plan.Plan,
           backups: Sequence[dict[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return what there is of a set, and what the set needs, by their IDs."""
    return {each['id']: each for item in plan.items
            for each in _line(item, backups)}


def _line(item: backup_plan.Item,
          backups: Sequence[dict[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the backup of a volume if it is there, and what it needs."""
    there = item.found if item.is_there else next(
        (e for e in backups if e['id'] == item.choice.parent_id), None)
    same = [e for e in backups if e['volume_id'] == item.volume_id]
    return chains.line_of(there, same) if there else []


def _with_full(plan: backup_plan.Plan, backups: Sequence[dict[str, Any]],
               destination: registration.Destination) -> backup_plan.Plan:
    """Return a plan with full backups where the other site needs them."""
    choice = chains.Choice(
        chains.FULL, _('the earlier ones are of another volume at %s')
        % destination.name)
    return dataclasses.replace(plan, items=tuple(
        dataclasses.replace(item, choice=choice)
        if item.choice.parent_id and destination.needs_full(
            item.volume_id, [e['id'] for e in _line(item, backups)]) else item
        for item in plan.items))


def _need(plan: backup_plan.Plan, lines: Mapping[str, Mapping[str, Any]],
          known: set[str]) -> registration.Need:
    """Return what the other site has to take.

    :param lines: what there is of the set, and what it needs
    :param known: the IDs of the backups that it knows
    """
    missing = [item.size for item in plan.items if not item.is_there]
    missing += [each['size'] for id_, each in lines.items()
                if id_ not in known]
    return registration.Need(
        plan.application, plan.owner, plan.servers,
        {item.volume_id: item.size for item in plan.items}, len(missing),
        sum(missing))


def check(plan: backup_plan.Plan) -> None:
    """Raise errors.NotPossible if the plan has problems."""
    if plan.problems:
        raise errors.NotPossible(plan.problems)
