# SPDX-License-Identifier: Apache-2.0

"""The proof that a restored volume is equal to its backup, block by block.

Cinder compares nothing when it restores. But an incremental backup stores what
differs from its parent: if the parent is the backup that was restored, and
there is nothing to store, then every block is equal. Which one the parent is
is never assumed: its export record tells, to administrators.

The parent is the newest available backup of the volume. So to prove an older
one, newer ones of osc-quiesce are put into ``error`` for as long as that
takes. Each is marked before, and every proof begins with putting right what an
interrupted one has left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
import contextlib
import logging
from typing import Any, Final, TypeVar

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.i18n import _
from osc_quiesce.recovery import chains
from osc_quiesce.recovery import failures
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import records
from osc_quiesce.recovery import waiting

LOG = logging.getLogger(__name__)

#: a container of the site's own: that of the backups may be read-only
CONTAINER: Final = 'osc-quiesce-proofs'
#: how often one volume is compared, if that ends early or newer backups come
_ATTEMPTS: Final = 3
#: seconds for a backup to have another status: cinder-backup sets it
_RESET_TIMEOUT: Final = 120.0

_T = TypeVar('_T')


class NotProven(errors.ApplicationError):
    """There is no proof: whether the volume is equal is not known."""


class WrongParent(NotProven):
    """The proof would have compared with another backup."""


class CutShort(NotProven):
    """The comparison ended too early, by what need not happen again."""


class Overtaken(WrongParent):
    """A newer backup has become known while this one was compared."""


class NotEqual(errors.ApplicationError):
    """The volume differs from its backup: it must not be used."""


def recover(waiter: waiting.Waiter, volumes: Collection[str]) -> None:
    """Put right what interrupted proofs have left at a site.

    A backup that is still in ``error`` for a proof cannot be restored.

    :param volumes: IDs of those that are looked at: a proof of another one
        may be under way
    """
    prover = Prover(waiter)
    for volume_id in {each['volume_id'] for each in prover.backups()
                      if metadata.get(each, marks.HIDDEN_BY)}:
        if volume_id in volumes:
            prover.tidy(volume_id)


class Prover:
    """Proves that volumes are equal to the backups restored into them.

    :param container: where the proofs are stored while they are made
    :param shield: as for :func:`osc_quiesce.group.quiesced`
    """

    def __init__(self, waiter: waiting.Waiter, container: str = CONTAINER,
                 shield: Callable[
                     [], contextlib.AbstractContextManager[Any]
                 ] = contextlib.nullcontext) -> None:
        self._waiter = waiter
        self._cloud = waiter.cloud
        self._container = container
        self._shield = shield
        self._resets = waiting.Waiter(
            waiter.cloud, waiter.timer, min(waiter.timeout, _RESET_TIMEOUT))

    def prove(self, volume_id: str, backup_id: str,
              condemn: Callable[[], object] = lambda: None) -> None:
        """Return if a volume is equal to the backup restored into it.

        :param condemn: is called if it is not, before anything else that may
            fail or be interrupted
        :raises NotEqual: it is not
        :raises WrongParent: it was compared with another backup
        :raises NotProven: it could not be compared
        """
        backup = self._waiter.read_backup(backup_id)
        if backup['volume_id'] != volume_id:
            raise WrongParent(_('Volume %(volume)s cannot be compared with '
                                'backup %(backup)s, which is registered as '
                                'one of volume %(other)s.') % {
                                    'volume': volume_id, 'backup': backup_id,
                                    'other': backup['volume_id']})
        self.tidy(volume_id)
        attempt = 1
        while True:
            try:
                with self._newest(volume_id, backup):
                    self._compare(volume_id, backup_id, condemn)
                return
            except (CutShort, Overtaken):
                # Overtaken: the application is backed up, as it should be.
                if attempt == _ATTEMPTS:
                    raise
            except cloud_api.CloudError as exc:
                raise _not_proven(
                    NotProven, volume_id, backup_id, str(exc)) from exc
            attempt += 1

    def tidy(self, volume_id: str) -> None:
        """Remove what an interrupted proof of a volume has left."""
        for each in self.left(volume_id):
            if metadata.get(each, marks.PROOF_OF):
                self._delete(each['id'])
            else:
                self._show(each['id'])

    def left(self, volume_id: str) -> list[dict[str, Any]]:
        """Return the backups of a volume that a proof made or has hidden."""
        return [each for each in self.backups(volume_id)
                if metadata.get(each, marks.PROOF_OF) or metadata.get(
                    each, marks.HIDDEN_BY)]

    def _compare(self, volume_id: str, backup_id: str,
                 condemn: Callable[[], object]) -> None:
        made = self._begin(volume_id, backup_id)
        try:
            made = self._waiter.backup(made['id'], {'creating'})
            if made['status'] != 'available':
                why = failures.reason(made, self._waiter)
                kind = CutShort if failures.is_passing(why) else NotProven
                raise _not_proven(kind, volume_id, backup_id, why)
            self._check(volume_id, backup_id, made)
        except NotEqual:
            with self._shield():
                condemn()
            raise
        finally:
            self._delete(made['id'])

    def _begin(self, volume_id: str, backup_id: str) -> dict[str, Any]:
        body = {'volume_id': volume_id,
                'name': f'proof-of-{backup_id}',
                'container': self._container,
                'incremental': True,
                'metadata': metadata.ours({marks.PROOF_OF: backup_id})}
        try:
            made: dict[str, Any] = self._cloud.volume(
                'POST', '/backups', {'backup': body},
                microversion=cloud_api.BACKUP_MICROVERSION)['backup']
        except cloud_api.CloudError as exc:
            if exc.outcome_unknown:
                for each in self.backups(volume_id):
                    if metadata.get(each, marks.PROOF_OF) == backup_id:
                        return each
            raise
        return made

    def _check(self, volume_id: str, backup_id: str,
               made: Mapping[str, Any]) -> None:
        record = self._repeat(lambda: records.export(self._cloud, made['id']))
        parent = records.parent_id(record)
        if not parent:
            raise WrongParent(_('Volume %(volume)s is not proven to be equal '
                                'to backup %(backup)s: Cinder has compared it '
                                'with no backup, and made a full one. Run the '
                                'same command again, or do without the proof '
                                '(--no-verify).') % {
                                    'volume': volume_id,
                                    'backup': backup_id})
        if parent != backup_id:
            raise Overtaken(_('Volume %(volume)s is not proven to be equal to '
                              'backup %(backup)s: Cinder has compared it with '
                              '%(parent)s, which is newer or was made since. '
                              'Run the same command again.') % {
                                  'volume': volume_id, 'backup': backup_id,
                                  'parent': parent})
        if made['object_count']:
            raise NotEqual(
                _('Volume %(volume)s DIFFERS from backup %(backup)s, which '
                  'was restored into it (%(count)d objects are not equal): '
                  'the stored data or the volume are damaged. Do not use '
                  'it.') % {'volume': volume_id, 'backup': backup_id,
                            'count': made['object_count']},
                _('Run "openstack application backup verify --store", then '
                  'delete the restore and restore again, or restore an older '
                  'set. If the stored data are damaged, make the next backup '
                  'with --full.'))

    @contextlib.contextmanager
    def _newest(self, volume_id: str,
                backup: Mapping[str, Any]) -> Iterator[None]:
        """Let a backup be the newest one of its volume that is available.

        :raises WrongParent: one of another owner is newer, and left alone
        """
        newer = [
            each for each in self.backups(volume_id)
            if each['status'] == 'available' and each['id'] != backup['id']
            and chains.moment(each) >= chains.moment(backup)]
        foreign = [each['id'] for each in newer
                   if not metadata.get(each, 'backup_set_id')]
        if foreign:
            raise WrongParent(
                _('Volume %(volume)s cannot be compared with backup '
                  '%(backup)s: Cinder would compare it with a newer one that '
                  'is none of ours (%(newer)s). Delete that one, or do '
                  'without the proof.') % {
                      'volume': volume_id, 'backup': backup['id'],
                      'newer': ', '.join(foreign)})
        try:
            for each in newer:
                self._hide(each['id'], backup['id'])
            yield
        finally:
            # Also if a signal has raised; and none disturbs it.
            with self._shield():
                for each in newer:
                    self._show(each['id'])

    def _hide(self, backup_id: str, by: str) -> None:
        self._mark(backup_id, metadata.ours({marks.HIDDEN_BY: by}))
        self._reset(backup_id, 'error')

    def _show(self, backup_id: str) -> None:
        """Let a backup be what it was; if that cannot be, tell it."""
        try:
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
            self._repeat(lambda: self._waiter.read_backup(backup_id))
        except cloud_api.CloudError as exc:
            return isinstance(exc, cloud_api.NotThere)
        return False

    def _reset(self, backup_id: str, status: str) -> None:
        self._repeat(lambda: self._cloud.volume(
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

        self._repeat(write)

    def _repeat(self, call: Callable[[], _T]) -> _T:
        return cloud_api.until_answered(self._waiter.timer, call)

    def backups(self, volume_id: str = '') -> list[dict[str, Any]]:
        """Return the backups of a volume; by default of all volumes."""
        filters = {'volume_id': volume_id} if volume_id else {}
        return list(self._cloud.backups(**filters))

    def _ask_to_delete(self, backup_id: str) -> None:
        """Have Cinder delete a proof, or end one that is under way.

        That could take hours, and its volume may be needed now.
        """
        status = self._waiter.read_backup(backup_id)['status']
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

    def _delete(self, backup_id: str) -> None:
        """Delete a proof: one that stays depends on the backup."""
        try:
            self._repeat(lambda: self._ask_to_delete(backup_id))
            self._waiter.gone(
                lambda: self._waiter.read_backup(backup_id),
                _('Backup %s is still being deleted') % backup_id)
        except errors.ApplicationError as exc:
            if self._is_gone(backup_id):
                return
            LOG.error(_('Backup %(id)s, which was only made to compare, is '
                        'not deleted: %(why)s. The next proof of its volume '
                        'tries again; or delete it with "openstack volume '
                        'backup delete %(id)s" when a cinder-backup is up.'),
                      {'id': backup_id, 'why': str(exc).rstrip('.')})


def _not_proven(kind: type[NotProven], volume_id: str, backup_id: str,
                why: str) -> NotProven:
    return kind(
        _('Volume %(volume)s could not be compared with backup %(backup)s: '
          '%(why)s.') % {'volume': volume_id, 'backup': backup_id,
                         'why': why.rstrip('.')},
        _('Restored volumes are kept, and no server was made. The same '
          'command again compares again. If this site cannot write into the '
          'container, name another one with --proof-container; '
          '--no-verify does without the proof.'))
