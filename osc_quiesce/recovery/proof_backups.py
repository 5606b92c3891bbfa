# SPDX-License-Identifier: Apache-2.0

"""The backups that a proof makes, and those that it hides.

Each is marked, so that the next proof of its volume puts right what an
interrupted one has left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
import contextlib
import logging
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.i18n import _
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import waiting

LOG = logging.getLogger(__name__)

#: seconds for a backup to have another status: cinder-backup sets it
_RESET_TIMEOUT: Final = 120.0


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
        self._resets = waiting.Waiter(
            waiter.cloud, waiter.timer, min(waiter.timeout, _RESET_TIMEOUT))

    def of(self, volume_id: str = '') -> list[dict[str, Any]]:
        """Return the backups of a volume; by default of all volumes."""
        filters = {'volume_id': volume_id} if volume_id else {}
        return list(self._cloud.backups(**filters))

    def tidy(self, volume_id: str) -> list[dict[str, Any]]:
        """Remove what an interrupted proof of a volume has left.

        :returns: the backups of the volume that are there then
        """
        there = self.of(volume_id)
        left = [each for each in there if is_left(each)]
        for each in left:
            if metadata.get(each, marks.PROOF_OF):
                self.delete(each['id'])
            else:
                self.show(each['id'])
        return self.of(volume_id) if left else there

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
        self._resets.backup(backup_id, {other})  # it is a cast

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

    def delete(self, backup_id: str, status: str = '') -> None:
        """Delete a proof: one that stays depends on the backup.

        :param status: of the backup, as it was read a moment ago
        """
        try:
            self._waiter.repeat(
                lambda: self._begin_to_delete(backup_id, status))
            self._wait_until_gone(backup_id)
        except errors.ApplicationError as exc:
            if self._is_gone(backup_id):
                return
            LOG.error(_('Backup %(id)s, which was only made to compare, is '
                        'not deleted: %(why)s. The next proof of its volume '
                        'tries again; or delete it with "openstack volume '
                        'backup delete %(id)s" when a cinder-backup is up.'),
                      {'id': backup_id, 'why': str(exc).rstrip('.')})

    def _begin_to_delete(self, backup_id: str, status: str) -> None:
        try:
            self._ask_to_delete(backup_id, status)
        except cloud_api.CloudError as exc:
            if not status or exc.status != 400:
                raise
            self._ask_to_delete(backup_id)  # it has changed since

    def _wait_until_gone(self, backup_id: str) -> None:
        with contextlib.suppress(cloud_api.NotThere):
            self._waiter.backup(backup_id, {'deleting'}, {
                'id': backup_id, 'status': 'deleting'})
            self._waiter.gone(
                lambda: self._waiter.read_backup(backup_id),
                _('Backup %s is still being deleted') % backup_id)
