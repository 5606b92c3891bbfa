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

from collections.abc import Callable, Iterable, Iterator, Mapping
import contextlib
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.i18n import _
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import chains
from osc_quiesce.recovery import failures
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import proof_backups
from osc_quiesce.recovery import records
from osc_quiesce.recovery import waiting

#: a container of the site's own: that of the backups may be read-only
CONTAINER: Final = 'osc-quiesce-proofs'
#: how often one volume is compared, if that ends early or newer backups come
_ATTEMPTS: Final = 3


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
        self._backups = proof_backups.Backups(waiter)

    def prove(self, volume_id: str, backup_id: str,
              condemn: Callable[[], object] = lambda: None) -> None:
        """Return if a volume is equal to the backup restored into it.

        :param condemn: is called if it is not, before anything else that may
            fail or be interrupted
        :raises NotEqual: it is not
        :raises WrongParent: it was compared with another backup
        :raises NotProven: it could not be compared
        """
        there = self._backups.tidy(
            volume_id, self._backups.recent(volume_id))
        backup = next((each for each in there if each['id'] == backup_id),
                      None) or self._waiter.read_backup(backup_id)
        if backup['volume_id'] != volume_id:
            raise WrongParent(_('Volume %(volume)s cannot be compared with '
                                'backup %(backup)s, which is registered as '
                                'one of volume %(other)s.') % {
                                    'volume': volume_id, 'backup': backup_id,
                                    'other': backup['volume_id']})
        attempt = 1
        while True:
            try:
                if attempt > 1:  # others may be there by now
                    self.settle()
                    there = self._backups.tidy(volume_id)
                with self._newest(volume_id, backup, there):
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

    def settle(self) -> None:
        """Wait until nothing is left of the proofs that were made."""
        self._backups.settle()

    def _compare(self, volume_id: str, backup_id: str,
                 condemn: Callable[[], object]) -> None:
        made = self._begin(volume_id, backup_id)
        status = ''
        try:
            record = self._made(volume_id, backup_id, made)
            status = 'available'
            self._check(volume_id, backup_id, record)
        except NotEqual:
            with self._shield():
                condemn()
            raise
        finally:
            self._backups.drop(made['id'], status)

    def _made(self, volume_id: str, backup_id: str,
              made: Mapping[str, Any]) -> records.Record:
        """Return the record of a proof when Cinder has made it.

        :raises NotProven: it could not be made
        """
        id_ = made['id']
        self._waiter.backup(id_, {'creating'}, {**made, 'status': 'creating'},
                            wants_row=False)
        for _attempt in range(2):
            try:
                return self._waiter.repeat(
                    lambda: records.export(self._cloud, id_))
            except cloud_api.CloudError as exc:
                if exc.status != 400:
                    raise
                refused = exc
            found = self._waiter.backup(id_, {'creating'})
            if found['status'] != 'available':
                why = failures.reason(found, self._waiter)
                kind = CutShort if failures.is_passing(why) else NotProven
                raise _not_proven(kind, volume_id, backup_id, why)
        raise refused

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
                for each in self._backups.of(volume_id):
                    if metadata.get(each, marks.PROOF_OF) == backup_id:
                        return each
            raise
        return made

    def _check(self, volume_id: str, backup_id: str,
               record: records.Record) -> None:
        # An administrator may set the status of one that is still being made,
        # or was broken off: nothing is known of what it has not compared.
        if not backup_sets.is_finished(record.data):
            raise _not_proven(CutShort, volume_id, backup_id, _(
                'backup %s, which should compare them, was not '
                'finished') % record.id)
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
        if record.data['object_count'] != 0:
            raise NotEqual(
                _('Volume %(volume)s DIFFERS from backup %(backup)s, which '
                  'was restored into it (%(count)d objects are not equal): '
                  'the stored data or the volume are damaged. Do not use '
                  'it.') % {'volume': volume_id, 'backup': backup_id,
                            'count': record.data['object_count']},
                _('Run "openstack application backup verify --store", then '
                  'delete the restore and restore again, or restore an older '
                  'set. If the stored data are damaged, make the next backup '
                  'with --full.'))

    @contextlib.contextmanager
    def _newest(self, volume_id: str, backup: Mapping[str, Any],
                there: Iterable[Mapping[str, Any]]) -> Iterator[None]:
        """Let a backup be the newest one of its volume that is available.

        :param there: all backups of the volume
        :raises WrongParent: one of another owner is newer, and left alone
        """
        newer = [
            each for each in there
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
        hidden = []
        try:
            for each in newer:
                if self._backups.may_hide(each['id']):
                    hidden.append(each)
                    self._backups.hide(each['id'], backup['id'])
            yield
        finally:
            # Also if a signal has raised; and none disturbs it.
            with self._shield():
                for each in hidden:
                    self._backups.show(each['id'])


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
