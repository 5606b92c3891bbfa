# SPDX-License-Identifier: Apache-2.0

"""The backups that a proof makes, and those that it hides.

Each is marked, so that the next proof of its volume puts right what an
interrupted one has left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
import contextlib
import logging
import math
import threading
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.i18n import _
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import waiting

LOG = logging.getLogger(__name__)

#: seconds for a backup to have another status, or to be gone: cinder-backup
#: sees to it
_BRIEF: Final = 120.0
#: seconds for which one listing serves the proofs that begin
_RECENT: Final = 30.0
_NOT_DELETED: Final = _(
    'Backup %(id)s, which was only made to compare, is not deleted: %(why)s. '
    'The next proof of its volume tries again; or delete it with "openstack '
    'volume backup delete %(id)s" when a cinder-backup is up.')


def recover(waiter: waiting.Waiter, volumes: Collection[str]) -> None:
    """Put right what interrupted proofs have left at a site.

    A backup that is still in ``error`` for a proof cannot be restored.

    :param volumes: IDs of those that are looked at: a proof of another one
        may be under way
    """
    found = Backups(waiter)
    for volume_id in {each['volume_id'] for each in found.of()
                      if metadata.get(each, marks.HIDDEN_BY)}:
        if volume_id in volumes:
            found.tidy(volume_id)


def is_left(backup: Mapping[str, Any]) -> bool:
    """Return whether a proof has made a backup, or hides it."""
    return bool(metadata.get(backup, marks.PROOF_OF)
                or metadata.get(backup, marks.HIDDEN_BY))


class Backups:
    """The backups of a site, as far as proofs change them."""

    def __init__(self, waiter: waiting.Waiter) -> None:
        self._waiter = waiter
        self._cloud = waiter.cloud
        self._brief = waiting.Waiter(
            waiter.cloud, waiter.timer, min(waiter.timeout, _BRIEF))
        self._lock = threading.Lock()
        self._listed: tuple[float, list[dict[str, Any]]] = (-math.inf, [])
        self._dropped: set[str] = set()

    def recent(self, volume_id: str) -> list[dict[str, Any]]:
        """Return the backups that a volume had half a minute ago, or has."""
        with self._lock:
            now = self._waiter.timer.clock()
            if now - self._listed[0] > _RECENT:
                self._listed = now, self.of()
            return [each for each in self._listed[1]
                    if each['volume_id'] == volume_id]

    def of(self, volume_id: str = '') -> list[dict[str, Any]]:
        """Return the backups of a volume; by default of all volumes."""
        filters = {'volume_id': volume_id} if volume_id else {}
        return list(self._cloud.backups(**filters))

    def tidy(self, volume_id: str,
             there: list[dict[str, Any]] | None = None,
             ) -> list[dict[str, Any]]:
        """Remove what an interrupted proof of a volume has left.

        :param there: its backups, if they are known
        :returns: the backups of the volume that are there then
        """
        if there is None:
            there = self.of(volume_id)
        left = [each for each in there if is_left(each)]
        for each in left:
            if metadata.get(each, marks.PROOF_OF):
                self.delete(each['id'])
            else:
                self.show(each['id'])
        return self.of(volume_id) if left else there

    def may_hide(self, backup_id: str) -> bool:
        """Return whether a backup is still available.

        If it is being restored by now, Cinder would cancel that.
        """
        try:
            found = self._waiter.repeat(
                lambda: self._waiter.read_backup(backup_id))
        except cloud_api.NotThere:
            return False
        return bool(found['status'] == 'available')

    def hide(self, backup_id: str, by: str) -> None:
        self._mark(backup_id, metadata.ours({marks.HIDDEN_BY: by}))
        self._reset(backup_id, 'error')

    def show(self, backup_id: str) -> None:
        """Let a backup be what it was; if that cannot be, tell it.

        One that is being restored or deleted is left alone.
        """
        try:
            status = self._waiter.repeat(
                lambda: self._waiter.read_backup(backup_id))['status']
            if status in ('error', 'available'):  # it may not be hidden yet
                self._reset(backup_id, 'available')
            self._mark(backup_id, {})
        except errors.ApplicationError as exc:
            if self._is_gone(backup_id):
                return  # deleted while it was hidden
            LOG.error(_('Backup %(id)s was put into error for a proof, and '
                        'may still be: %(why)s. The next proof of its volume '
                        'tries again; or an administrator runs "openstack '
                        'volume backup set --state available %(id)s" when a '
                        'cinder-backup is up.'),
                      {'id': backup_id, 'why': str(exc).rstrip('.')})

    def _is_gone(self, backup_id: str) -> bool:
        """Return whether a backup is not there any more.

        Whatever else is asked of it is answered 404 without a cinder-backup
        that is up, too.
        """
        try:
            self._waiter.repeat(lambda: self._waiter.read_backup(backup_id))
        except cloud_api.CloudError as exc:
            return isinstance(exc, cloud_api.NotThere)
        return False

    def _reset(self, backup_id: str, status: str) -> None:
        self._waiter.repeat(lambda: self._cloud.volume(
            'POST', f'/backups/{backup_id}/action',
            {'os-reset_status': {'status': status}}))
        other = {'available': 'error', 'error': 'available'}[status]
        self._brief.backup(backup_id, {other})  # it is a cast

    def _mark(self, backup_id: str, more: Mapping[str, str]) -> None:
        def write() -> None:
            # Read again: its set may have been sealed since the proof began.
            found = self._waiter.read_backup(backup_id).get('metadata') or {}
            kept = {key: value for key, value in found.items()
                    if key != marks.PREFIX + marks.HIDDEN_BY}
            self._cloud.volume('PUT', f'/backups/{backup_id}',
                               {'backup': {'metadata': {**kept, **more}}},
                               microversion=cloud_api.BACKUP_MICROVERSION)

        self._waiter.repeat(write)

    def _ask_to_delete(self, backup_id: str, status: str = '') -> None:
        """Have Cinder delete a proof, or end one that is under way.

        That could take hours, and its volume may be needed now.

        :param status: of the backup; it is read by default
        """
        status = status or self._waiter.read_backup(backup_id)['status']
        if status == 'creating':
            try:
                self._cloud.volume('POST', f'/backups/{backup_id}/action',
                                   {'os-force_delete': {}})
                return
            except cloud_api.CloudError as exc:
                LOG.debug('Proof %s is not cancelled: %s', backup_id, exc)
                self._waiter.backup(backup_id, {'creating'})
        if status != 'deleting':
            waiting.ask_to_delete(self._cloud, backup_id)

    def delete(self, backup_id: str,
               waiter: waiting.Waiter | None = None) -> None:
        """Delete a proof: one that stays depends on the backup.

        :param waiter: tells how long to wait
        """
        try:
            self._waiter.repeat(lambda: self._begin_to_delete(backup_id, ''))
            self._wait_until_gone(backup_id, waiter or self._waiter)
        except errors.ApplicationError as exc:
            self._tell_left(backup_id, exc)

    def drop(self, backup_id: str, status: str) -> None:
        """Have a proof deleted; :meth:`settle` waits until it is gone."""
        try:
            self._waiter.repeat(
                lambda: self._begin_to_delete(backup_id, status))
        except errors.ApplicationError as exc:
            self._tell_left(backup_id, exc)
        else:
            with self._lock:
                self._dropped.add(backup_id)

    def settle(self) -> None:
        """Wait until all proofs that were dropped are gone.

        Not for long: whatever is left then, the next proof removes.
        """
        with self._lock:
            dropped, self._dropped = self._dropped, set()

        def look() -> bool | None:
            deleting = {each['id'] for each in self._cloud.backups(
                status='deleting') if each['status'] == 'deleting'}
            return None if dropped & deleting else True

        if not dropped:
            return
        try:
            self._brief.until(look, _('It is still being deleted'))
            left = {each['id'] for each in self._waiter.repeat(self.of)}
        except errors.ApplicationError as exc:
            for backup_id in sorted(dropped):
                self._tell_left(backup_id, exc)
            return
        for backup_id in sorted(dropped & left):
            self.delete(backup_id, self._brief)  # once more

    def _tell_left(self, backup_id: str,
                   why: errors.ApplicationError) -> None:
        if not self._is_gone(backup_id):
            LOG.error(_NOT_DELETED, {
                'id': backup_id, 'why': str(why).rstrip('.')})

    def _begin_to_delete(self, backup_id: str, status: str) -> None:
        try:
            self._ask_to_delete(backup_id, status)
        except cloud_api.CloudError as exc:
            if not status or exc.status != 400:
                raise
            self._ask_to_delete(backup_id)  # it has changed since

    @staticmethod
    def _wait_until_gone(backup_id: str, waiter: waiting.Waiter) -> None:
        with contextlib.suppress(cloud_api.NotThere):
            waiter.backup(backup_id, {'deleting'}, {
                'id': backup_id, 'status': 'deleting'})
            waiter.gone(
                lambda: waiter.read_backup(backup_id),
                _('Backup %s is still being deleted') % backup_id)
