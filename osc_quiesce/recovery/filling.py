# SPDX-License-Identifier: Apache-2.0

"""Volumes filled with the data of their copies, and made as they were.

Cinder always restores into a volume that is there: into a new one, some of its
releases restore an incremental backup wrong.

Each step finds out where an earlier run has come to, so that the same command
again continues.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import dataclasses
import threading
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.i18n import _
from osc_quiesce.recovery import furnishing
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import points
from osc_quiesce.recovery import restore_plan
from osc_quiesce.recovery import targets
from osc_quiesce.recovery import waiting

#: seconds for which writing what is no data is tried: Cinder's API may be
#: started again just then
_PATIENCE: Final = 600.0


class NotRestored(errors.ApplicationError):
    """A volume does not have its data; the message says what to do."""


class Filler:
    """Fills the volumes of a restore.

    :param progress: is told what is done, in a sentence
    """

    def __init__(self, waiter: waiting.Waiter, plan: restore_plan.Plan,
                 progress: Callable[[str], object]) -> None:
        self._waiter = waiter
        self._cloud = waiter.cloud
        self._plan = plan
        self._progress = progress
        self._lock = threading.Lock()
        self._ready = 0

    def fill(self, item: restore_plan.Item) -> dict[str, Any]:
        """Return a volume when it has all the data of its copy.

        :raises NotRestored: it has not
        """
        if item.copy.kind == points.SNAPSHOT:
            volume = self._from_snapshot(item)
        else:
            volume = self._from_backup(item)
        with self._lock:
            self._ready += 1
            self._progress(
                _('%(ready)d of %(all)d volumes are restored: %(volume)s') % {
                    'ready': self._ready, 'all': len(self._plan.items),
                    'volume': item.wanted.label})
        return volume

    def clone(self, item: restore_plan.Item,
              volume_id: str) -> dict[str, Any]:
        """Return a clone of a volume that has all the data of its copy.

        :raises NotRestored: there is none
        """
        found = self._waiter.volume(volume_id, {'backing-up'})  # after a proof
        why = restore_plan.lost(
            item, volume_id, {volume_id: found}, self._plan.restore_id)
        if why:
            raise NotRestored(
                _('Volume %(volume)s was not cloned: %(why)s.') % {
                    'volume': item.wanted.label, 'why': why})
        # Cinder gives a clone the type and zone of what it is a clone of.
        wanted = dataclasses.replace(item.wanted, type=None, zone=None)
        own = dataclasses.replace(item, wanted=wanted, is_target=False)
        volume = self._make(own, source_volid=volume_id)
        self._check(own, volume)
        return self._furnish(own, volume)

    def _from_snapshot(self, item: restore_plan.Item) -> dict[str, Any]:
        """Return a volume made of a snapshot: its data are those of it."""
        found = item.volume or self._make(item, snapshot_id=item.copy.id)
        volume = self._waiter.volume(found['id'], waiting.BUSY)
        if volume['status'].startswith('error'):
            self._check_not_stuck(item, volume, may_reset=False)
            self._waiter.delete_volume(volume['id'])
            volume = self._make(item, snapshot_id=item.copy.id)
        if item.is_done(volume, self._plan.restore_id):
            return self._recounted(volume)
        self._check(item, volume)
        return self._furnish(item, volume)

    def _from_backup(self, item: restore_plan.Item) -> dict[str, Any]:
        found = item.volume or self._make(item)
        # Before the volume, which then tells what has become of it since.
        is_restoring = self._waiter.is_restoring(item.copy.id)
        seen = self._check_not_taken(item, found['id'])
        if seen['status'] == 'creating':
            seen = targets.finished(self._waiter, seen)
        elif seen['status'] == 'backing-up':
            self._progress(
                _('Volume %(id)s is being backed up, as an interrupted proof '
                  'does; waiting until that ends, which may take hours. If it '
                  'is one that no run waits for, an administrator ends it '
                  'with "openstack volume backup delete --force '
                  'proof-of-%(backup)s" ...') % {
                      'id': seen['id'], 'backup': item.copy.id})
        # If a run was interrupted, Cinder may still be at it.
        volume = self._waiter.volume(found['id'], waiting.BUSY, seen)
        if item.is_done(volume, self._plan.restore_id):
            return self._recounted(volume)
        self._check_holder(item, volume)
        if volume['status'].startswith('error'):
            volume = self._mended(item, volume)
        self._check(item, volume)
        if is_restoring or volume != seen:
            # One is restored once at a time. It may take hours until then, and
            # the same command elsewhere may be what has done it.
            self._waiter.backup(item.copy.id, {'restoring'})
            volume = self._waiter.volume(volume['id'], waiting.BUSY)
            if item.is_done(volume, self._plan.restore_id):
                return self._recounted(volume)
            self._check_holder(item, volume)
        return self._furnish(item, self._restore(item, volume))

    def _make(self, item: restore_plan.Item, **more: str) -> dict[str, Any]:
        """Have Cinder make a volume; return it when that has ended."""
        description = marks.own_description(
            self._plan.restore_id, item.wanted.id)
        name = metadata.escape(self._plan.prefix) + item.wanted.name
        made = targets.make(
            self._cloud, item.wanted, description,
            self._plan.marks_of(item), name=name[:metadata.PIECE], **more)
        if not more:
            made = targets.finished(self._waiter, made)
        return self._waiter.volume(made['id'], waiting.BUSY, made)

    def _recounted(self, volume: dict[str, Any]) -> dict[str, Any]:
        """Return a volume that an earlier run has filled, with our counts."""
        if any(metadata.get(volume, key) != value
               for key, value in self._plan.counts.items()):
            marks.write(self._cloud, volume['id'], self._plan.counts)
        return volume

    def _check(self, item: restore_plan.Item, volume: Mapping[str, Any],
               *blamed: str) -> None:
        """Check that a volume is available.

        :param blamed: IDs of what may tell the reason rather than the volume
        """
        if volume['status'] != 'available':
            raise self._failure(
                item, volume, _('it is %(status)s (%(why)s)') % {
                    'status': volume['status'],
                    'why': self._waiter.reason(*blamed, volume['id']).rstrip(
                        '.')})

    def _check_not_taken(self, item: restore_plan.Item,
                         volume_id: str) -> dict[str, Any]:
        """Return a volume if Cinder restores nothing else into it now.

        :raises NotRestored: it does, or may do so
        """
        volume = self._waiter.volume(volume_id, ())
        if volume['status'] != 'restoring-backup':
            return volume
        status = self._waiter.backup(item.copy.id, ())['status']
        volume = self._waiter.volume(volume_id, ())
        if restore_plan.is_another_under_way(
                volume, status, self._plan.restore_id):
            raise NotRestored(
                _('Volume %(volume)s was not restored: another backup is '
                  'being restored into volume %(id)s.') % {
                      'volume': item.wanted.label, 'id': volume_id},
                _('Run the same command again when that has ended.'))
        return volume

    def _check_not_stuck(self, item: restore_plan.Item,
                         volume: Mapping[str, Any], may_reset: bool) -> None:
        """Check that a volume can be restored into, or may be made again."""
        why = restore_plan.stuck(
            item, volume, self._plan.restore_id, may_reset)
        if why:
            raise NotRestored(
                _('Volume %(volume)s was not restored: %(why)s.') % {
                    'volume': item.wanted.label, 'why': why})

    def _check_holder(self, item: restore_plan.Item,
                      volume: Mapping[str, Any]) -> None:
        """Check that a volume has no data that must not be written over."""
        claimed = restore_plan.claimed(volume, self._plan.restore_id)
        if claimed:
            raise NotRestored(
                _('Volume %(volume)s was not restored: %(why)s.') % {
                    'volume': item.wanted.label, 'why': claimed},
                _('That was not so when the plan was made. Its data are left '
                  'alone; the same command again makes a new plan.'))

    def _mended(self, item: restore_plan.Item,
                volume: Mapping[str, Any]) -> dict[str, Any]:
        """Return a volume that can be restored into, for one in error."""
        self._check_not_stuck(item, volume, may_reset=True)
        if self._reset(volume):
            return self._waiter.volume(volume['id'], {volume['status']})
        self._check_not_stuck(item, volume, may_reset=False)
        self._waiter.delete_volume(volume['id'])
        return self._make(item)

    def _reset(self, volume: Mapping[str, Any]) -> bool:
        """Make a volume in error available; return whether that was done.

        The policy decides who may; by default only administrators.
        """
        if not restore_plan.is_resettable(volume):
            return False
        try:
            furnishing.act(self._cloud, volume, 'os-reset_status',
                           {'status': 'available'})
        except cloud_api.CloudError as exc:
            if exc.status != 403:
                raise
            return False
        return True

    def _restore(self, item: restore_plan.Item,
                 volume: Mapping[str, Any]) -> dict[str, Any]:
        """Have Cinder restore; return the volume when the data are there."""
        backup, lost = item.copy.id, _('it was reset')
        if done := self._prepare(item, volume):
            return done
        # Of two that write at once, the last one has it.
        self._check_holder(item, self._waiter.volume(volume['id'], ()))
        try:
            self._cloud.volume('POST', f'/backups/{backup}/restore',
                               {'restore': {'volume_id': volume['id']}})
        except cloud_api.CloudError as exc:
            if not exc.outcome_unknown:
                self._let_go(item, volume['id'])
                raise self._failure(item, volume, str(exc)) from exc
            lost = str(exc).rstrip('.')
        found, is_certain = self._waiter.restore(volume['id'], backup)
        self._check(item, found, backup)
        if not is_certain:
            raise self._failure(item, found, _(
                'the backup was free again before the volume, so it was '
                'reset, or another backup was restored as well, and not all '
                'data may be there'))
        if not furnishing.is_restored(found, item.copy):
            raise self._failure(item, found, _(
                'Cinder has restored nothing into it (%s)') % lost)
        return found

    def _prepare(self, item: restore_plan.Item,
                 volume: Mapping[str, Any]) -> dict[str, Any] | None:
        """Write what is there before a restore.

        :param volume: as it was read a moment ago
        :returns: the volume if the same command elsewhere has restored it
            while this was tried: its marks must stay
        """
        id_, known = volume['id'], [dict(volume)]

        def write() -> dict[str, Any] | None:
            found = known.pop() if known else self._waiter.read_volume(id_)
            if item.is_done(found, self._plan.restore_id):
                return found
            self._check_holder(item, found)
            self._check(item, found)
            furnishing.prepare(
                self._cloud, found, self._plan.marks_of(item, id_))
            return None

        return self._waiter.repeat(write)

    def _let_go(self, item: restore_plan.Item, volume_id: str) -> None:
        """Leave a target volume to a restore that was quicker, if one was.

        What restores the backup of this plan may be the same command.
        """
        found = self._waiter.volume(volume_id, ())
        if (found['status'] == 'restoring-backup'
                and marks.owner(found) == self._plan.restore_id
                and self._waiter.backup(
                    item.copy.id, ())['status'] != 'restoring'):
            self._waiter.repeat(lambda: marks.sign(self._cloud, found, ''))

    def _failure(self, item: restore_plan.Item, volume: Mapping[str, Any],
                 why: str) -> NotRestored:
        return NotRestored(
            _('Volume %(volume)s was not restored from %(kind)s %(copy)s into '
              'volume %(id)s: %(why)s.') % {
                  'volume': item.wanted.label,
                  'kind': item.copy.kind,
                  'copy': item.copy.id,
                  'id': volume['id'],
                  'why': why.rstrip('.')},
            _('The same command again tries it again.'))

    def _furnish(self, item: restore_plan.Item,
                 volume: dict[str, Any]) -> dict[str, Any]:
        """Make a restored volume what its source was, but for the data.

        Hours of copying are not to be lost with one answer.

        :param volume: as it was read a moment ago
        """
        id_, known = volume['id'], [volume]

        def write() -> dict[str, Any]:
            found = known.pop() if known else self._waiter.read_volume(id_)
            if item.is_done(found, self._plan.restore_id):
                return found  # only the last answer was lost
            self._check_holder(item, found)
            self._check(item, found)
            return {**found, 'metadata': furnishing.furnish(
                self._cloud, item.wanted, found,
                self._plan.marks_of(item, found['id'], is_done=True))}

        try:
            return self._waiter.repeat(write, _PATIENCE)
        except cloud_api.CloudError as exc:
            raise self._failure(item, volume, _(
                'the data are there, but not the flags and metadata (%s)'
            ) % str(exc).rstrip('.')) from exc
