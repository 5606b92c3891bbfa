# SPDX-License-Identifier: Apache-2.0

"""One backup, from the request until it is there, whatever fails on the way.

A request whose answer was lost is looked for, by snapshot and mark, before it
is sent again: Cinder would make two backups. A backup that has failed because
cinder-backup was restarted is deleted, and made again.
"""

from __future__ import annotations

from collections.abc import Collection
import dataclasses
import logging
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.i18n import _
from osc_quiesce.recovery import backup_plan
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import chains
from osc_quiesce.recovery import failures
from osc_quiesce.recovery import waiting
from osc_quiesce import retry

#: how often one backup is begun in one run
ATTEMPTS: Final = 3
#: seconds after which a request for a backup, without an answer, is lost
LATE_BACKUP_TIME: Final = 15.0
#: seconds after which what was planned may not be so any more
_STALE: Final = 5.0
#: seconds before a request that was put off is sent again, at least
_DEFERRAL: Final = 5.0
#: seconds that reading the reason of a failure may take
_REASON_TIME: Final = 10.0

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Maker:
    """What the tasks of one run have in common."""

    cloud: cloud_api.Cloud
    plan: backup_plan.Plan
    timer: retry.Timer

    @property
    def waiter(self) -> waiting.Waiter:
        return waiting.Waiter(self.cloud, self.timer, _REASON_TIME)

    def request(self, item: backup_plan.Item) -> dict[str, Any]:
        """Ask for a backup, and return what Cinder says of it."""
        body = self.plan.body(item)
        made: dict[str, Any] = self.cloud.volume(
            'POST', '/backups', {'backup': body},
            microversion=cloud_api.BACKUP_MICROVERSION)['backup']
        return {**made, 'status': 'creating', 'metadata': body['metadata']}

    def backups_of(self, item: backup_plan.Item) -> list[dict[str, Any]]:
        """Return all backups of a volume."""
        return list(self.cloud.backups(volume_id=item.volume_id))

    def own(self, item: backup_plan.Item) -> dict[str, Any] | None:
        """Return the backup of this set of a volume, if there is one."""
        for found in backup_sets.group(self.backups_of(item)):
            if found.id == self.plan.id:
                return found.backups[0]
        return None


class Task:
    """The backup of one volume.

    :ivar failure: why it is given up, as a sentence; empty if it is not
    :ivar is_registered: whether it is known wherever it should be
    """

    def __init__(self, maker: Maker, item: backup_plan.Item) -> None:
        self._maker = maker
        self.item = item
        self._planned_at = maker.timer.clock()
        self._backup = item.found
        self._attempts = 0
        self._deletions = 0
        self._not_before = 0.0
        self._lost_at: float | None = None
        self._warned_of = ''
        self.failure = ''
        self.is_registered = False

    @property
    def backup_id(self) -> str:
        assert self._backup is not None
        return str(self._backup['id'])

    @property
    def is_there(self) -> bool:
        return self._backup is not None and backup_sets.is_there(self._backup)

    @property
    def has_ended(self) -> bool:
        """Whether Cinder shows it as available, finished or not."""
        return self.is_there or (
            self._backup is not None and self._backup['status'] == 'available')

    @property
    def is_running(self) -> bool:
        """Whether Cinder makes it, or may be making it."""
        return self._lost_at is not None or (
            self._backup is not None and self._backup['status'] == 'creating')

    @property
    def is_settled(self) -> bool:
        """Whether nothing more will become of it in this run."""
        return bool(self.failure) or (self.is_there and self.is_registered)

    @property
    def may_begin(self) -> bool:
        return (not self.failure and not self.is_running and not self.is_there
                and not (self._backup and self._backup['status'] == 'deleting')
                and self._now >= self._not_before)

    @property
    def _now(self) -> float:
        return self._maker.timer.clock()

    def fail(self, why: str) -> None:
        """Give it up."""
        self.failure = why

    def begin(self) -> None:
        """Ask for the backup, or first for the end of one that has failed."""
        if self._backup is not None:
            self._delete(self._backup)
            return
        self._attempts += 1
        try:
            if self._now - self._planned_at > _STALE:
                # Another command may have made it while this one waited.
                self._backup = self._maker.own(self.item)
                if self._backup is not None:
                    return
            self._backup = self._maker.request(self.item)
        except cloud_api.CloudError as exc:
            self._refused(exc)

    def _refused(self, exc: cloud_api.CloudError) -> None:
        if exc.status in (429, 503):
            # Mostly, a service is busy or away, maybe for long: that costs no
            # attempt. If a proxy has lost an answer, the backup is found: it
            # is looked for after _STALE seconds, which this takes at least.
            self._attempts -= 1
            self._put_off(exc.retry_after)
        elif exc.outcome_unknown:
            self._lost_at = self._now
        elif exc.status == 400 and self._is_solved():
            pass
        else:
            self.fail(
                _('Cinder refuses to back up snapshot %(snapshot)s of volume '
                  '%(volume)s: %(why)s.') % {
                      'snapshot': self.item.snapshot_id,
                      'volume': self.item.label, 'why': str(exc).rstrip('.')})

    def _put_off(self, seconds: float = 0.0) -> None:
        self._not_before = self._now + max(seconds, _DEFERRAL)

    def _is_solved(self) -> bool:
        """Return whether a refusal has a reason that is gone.

        A request that was taken for lost may have come through, or the parent
        is not there any more.
        """
        self._backup = self._maker.own(self.item)
        if self._backup is not None:
            return True
        if self.item.choice.mode == chains.FULL or self._is_last:
            return False
        backups = self._maker.backups_of(self.item)
        if self.item.choice.parent_id in {each['id'] for each in backups
                                          if each['status'] == 'available'}:
            return False
        self._make_full(_('its parent is not available any more'))
        return True

    @property
    def _is_last(self) -> bool:
        return self._attempts >= ATTEMPTS

    def _make_full(self, why: str) -> None:
        self.item = dataclasses.replace(
            self.item, choice=chains.Choice(chains.FULL, why))

    def _delete(self, backup: dict[str, Any]) -> None:
        """Ask for the end of a backup that has failed."""
        self._deletions += 1
        if self._deletions > ATTEMPTS:
            self.fail(
                _('Backup %(id)s of volume %(volume)s has failed, and is not '
                  'gone after %(count)d requests to delete it: %(why)s.') % {
                      'id': backup['id'],
                      'volume': self.item.label,
                      'count': ATTEMPTS,
                      'why': failures.reason(backup, self._maker.waiter)})
            return
        if not failures.may_delete(backup):
            self.fail(failures.kept(self.item.label, backup))
            return
        try:
            waiting.ask_to_delete(self._maker.cloud, backup['id'])
        except cloud_api.CloudError as exc:
            if exc.is_transient and self._deletions < ATTEMPTS:
                self._put_off(exc.retry_after)
                return
            self.fail(_('Backup %(id)s of volume %(volume)s has failed, and '
                        'cannot be deleted to make it again: %(why)s.') % {
                            'id': backup['id'], 'volume': self.item.label,
                            'why': str(exc).rstrip('.')})
        else:
            self._backup = {**backup, 'status': 'deleting'}

    def look(self, creating: Collection[str]) -> bool:
        """Look how far it is; return whether that has changed.

        :param creating: the IDs of all backups that are being made
        """
        if self.failure or self.is_there:
            return False
        if self._lost_at is not None:
            return self._look_for_lost()
        if self._backup is None or self._backup['id'] in creating:
            return False
        before = self._backup['status']
        try:
            self._backup = self._maker.waiter.read_backup(self._backup['id'])
        except cloud_api.NotThere:
            if before != 'deleting':
                self.fail(_('Backup %(id)s of volume %(volume)s was deleted '
                            'while it was being made.') % {
                                'id': self._backup['id'],
                                'volume': self.item.label})
            self._backup = None
            return True
        if self._backup['status'].startswith('error') and not self.is_there:
            self._failed(self._backup)
        return bool(self._backup['status'] != before)

    def warn_if_not_begun(self) -> None:
        """Warn the user, once, if Cinder shows no work on a backup.

        cinder-backup asks cinder-volume what to read, and waits for ever if
        cinder-volume dies before it has answered. A backup that is being
        read has a container.

        :raises cloud_api.CloudError: Cinder does not answer
        """
        if (self._backup is None or self._backup['status'] != 'creating'
                or self._backup['id'] == self._warned_of):
            return
        found = self._maker.waiter.read_backup(self._backup['id'])
        if found['status'] == 'creating' and not found.get('container'):
            self._warned_of = found['id']
            LOG.warning(_(
                'Cinder has not begun to read volume %(volume)s for backup '
                '%(id)s. If the logs of cinder-volume and cinder-backup show '
                'no work on it, the request is lost: an administrator '
                'restarts cinder-backup, and this command makes the backup '
                'again. If Cinder has left a temporary volume, "openstack '
                'volume delete --force backup-vol-%(volume_id)s" deletes it, '
                'once no backup of the volume is being made.'),
                {'volume': self.item.label, 'id': found['id'],
                 'volume_id': self.item.volume_id})

    def _look_for_lost(self) -> bool:
        """Look for what became of a request without an answer."""
        assert self._lost_at is not None
        self._backup = self._maker.own(self.item)
        if self._backup is not None:
            self._lost_at = None
            return True
        if self._now - self._lost_at < LATE_BACKUP_TIME:
            return False
        snapshot = self._maker.cloud.volume(
            'GET', f'/snapshots/{self.item.snapshot_id}')['snapshot']
        if snapshot['status'] != 'available':
            return False  # it may yet appear, or its status is wrong
        # Should the request arrive after all, one of both is refused: Cinder
        # backs up a snapshot once at a time.
        self._lost_at = None
        if self._is_last:
            self.fail(_('Cinder has not answered %(count)d requests to back '
                        'up snapshot %(snapshot)s of volume %(volume)s, and '
                        'no backup of it has appeared.') % {
                            'count': self._attempts,
                            'snapshot': self.item.snapshot_id,
                            'volume': self.item.label})
        return True

    def _failed(self, backup: dict[str, Any]) -> None:
        """Judge a backup that has failed: once more, or never."""
        if self._attempts == 0:
            return  # of an earlier run: it is made again
        why = failures.reason(backup, self._maker.waiter)
        if not self._is_last and failures.may_delete(backup):
            if failures.is_passing(why):
                return
            if (
                    failures.needs_full(why)
                    and self.item.choice.mode == chains.INCREMENTAL):
                self._make_full(_('Cinder asks for a full backup'))
                return
        advice = failures.damage(self._maker.cloud, why, self.item.volume_id,
                                 self.item.snapshot_id or '')
        if not advice and not failures.is_passing(why) and (
                self.item.choice.mode == chains.INCREMENTAL):
            advice = failures.without_parent(self.item.choice.parent_id)
        self.fail(_('Backup %(id)s of volume %(volume)s has failed: %(why)s.')
                  % {'id': backup['id'], 'volume': self.item.label,
                     'why': why} + (f' {advice}' if advice else ''))

    def lateness(self, seconds: float) -> str:
        """Return how far it was when the time was up, and what to do."""
        values = {'volume': self.item.label,
                  'seconds': seconds,
                  'snapshot': self.item.snapshot_id,
                  'id': self._backup['id'] if self._backup else '',
                  'status': self._backup['status'] if self._backup else ''}
        if self._lost_at is not None:
            return _('After %(seconds)g s it is not known whether Cinder '
                     'backs up snapshot %(snapshot)s of volume %(volume)s: no '
                     'backup has appeared, but the snapshot is not available. '
                     'If no cinder-backup is at work on it, an administrator '
                     'puts that right with "openstack volume snapshot set '
                     '--state available %(snapshot)s".') % values
        if self._backup is None:
            return _('The backup of volume %(volume)s was not begun within '
                     '%(seconds)g s.') % values
        return _('Backup %(id)s of volume %(volume)s is still in status '
                 '%(status)s after %(seconds)g s. Cinder goes on with it; if '
                 'its cinder-backup service has died, a start of that service '
                 'ends it.') % values
