# SPDX-License-Identifier: Apache-2.0

"""Waiting for what a site does, and the reasons that it gives for failures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
import contextlib
import dataclasses
import logging
import math
import threading
from typing import Any, Final, TypeVar

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.i18n import _
from osc_quiesce.recovery import capacity
from osc_quiesce.recovery import listings
from osc_quiesce.recovery import records
from osc_quiesce import retry

LOG = logging.getLogger(__name__)

_T = TypeVar('_T')

#: statuses in which Cinder is at work on a volume that no server has; with
#: backing-up, a proof was interrupted
BUSY: Final = frozenset({'creating', 'restoring-backup', 'downloading',
                         'deleting', 'backing-up'})
#: with delete_on_termination of the volumes of a server
SERVER_MICROVERSION: Final = '2.79'
#: statuses of what cinder-backup is at work on
_BACKUP_WORK: Final = {
    listings.VOLUMES: frozenset({'restoring-backup', 'backing-up'}),
    listings.BACKUPS: frozenset({'creating', 'restoring', 'deleting'})}
#: seconds that a listing may be old, at most
_OLDEST: Final = 1.0
#: seconds by which a database of Cinder may lag behind
_LAG: Final = 5.0
#: the first with a filter of messages
_MESSAGES_MICROVERSION: Final = '3.5'


class _Services:
    """Warns if no cinder-backup is up for what is waited for.

    :param clock: returns seconds
    """

    def __init__(self, cloud: cloud_api.Cloud,
                 clock: Callable[[], float]) -> None:
        self._cloud = cloud
        self._clock = clock
        self._lock = threading.Lock()
        self._asked_at = -math.inf
        self._down = ''

    def look(self) -> None:
        """Warn the user, once for all that wait, until that has changed."""
        with self._lock:
            if self._clock() - self._asked_at < capacity.SILENCE:
                return
            self._asked_at = self._clock()
            before, self._down = self._down, capacity.hosts_down(self._cloud)
            down = '' if self._down == before else self._down
        if down:
            LOG.warning(_(
                'No cinder-backup service is up on %s: start it. With a full '
                'pool of volumes, it may seem to be down. What it was at work '
                'on ends only then; if this command fails by that, the same '
                'command again goes on.'), down)


def ask_to_delete(cloud: cloud_api.Cloud, backup_id: str) -> None:
    """Ask Cinder to delete a backup; that it is gone is no error.

    :raises cloud_api.CloudError: Cinder refuses it; also, and then as one
        that may pass, since no cinder-backup is up for it
    """
    try:
        cloud.volume('DELETE', f'/backups/{backup_id}')
    except cloud_api.NotThere as exc:
        # That a service is missing is a 404 as well.
        if records.is_there(cloud, backup_id):
            raise cloud_api.CloudError(records.NO_SERVICE, 503) from exc


@dataclasses.dataclass(frozen=True)
class Waiter:
    """Looks at a site until something is so.

    A look that gets no usable answer is repeated.

    :param timeout: seconds, for each thing that is waited for
    """

    cloud: cloud_api.Cloud
    timer: retry.Timer
    timeout: float
    _listings: listings.Listings = dataclasses.field(init=False, repr=False)
    _services: _Services = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, '_listings', listings.Listings(self.cloud, self.timer.clock))
        object.__setattr__(
            self, '_services', _Services(self.cloud, self.timer.clock))

    def repeat(self, call: Callable[[], _T],
               patience: float = cloud_api.PATIENCE) -> _T:
        """Return what a request returns; see retry.Timer."""
        return self.timer.until_answered(call, patience)

    def until(self, look: Callable[[], _T | None], what: str,
              advice: str = '') -> _T:
        """Return what a look returns, once that is not None.

        :param what: is waited for, as a sentence that says that it is not so
        :param advice: what to do if it does not become so, as sentences
        :raises errors.ApplicationError: it did not become so in time
        """
        deadline = self.timer.clock() + self.timeout
        pauses = retry.pauses()
        while True:
            found = self.repeat(look, deadline - self.timer.clock())
            if found is not None:
                return found
            pause = next(pauses)
            if self.timer.clock() + pause > deadline:
                raise errors.ApplicationError(
                    _('%(what)s after %(seconds)g s.') % {
                        'what': what, 'seconds': self.timeout}, advice)
            self.timer.sleep(pause)

    def volume(self, id_: str, leaves: Collection[str],
               known: Mapping[str, Any] | None = None,
               advice: str = '') -> dict[str, Any]:
        """Return a volume when it has left these statuses.

        :param known: what an answer has just told of it, at least its ID and
            status
        :param advice: as for :meth:`until`
        """
        return self._left(
            listings.VOLUMES, lambda: self.read_volume(id_), leaves, known,
            _('Volume %s') % id_, advice)

    def backup(self, id_: str, leaves: Collection[str],
               known: Mapping[str, Any] | None = None,
               wants_row: bool = True) -> dict[str, Any]:
        """Return a backup when it has left these statuses.

        :param known: as for :meth:`volume`
        :param wants_row: whether to return what it is then; else what was
            known of it
        """
        advice = '' if 'restoring' not in leaves else _(
            'The same command again waits on. If no cinder-backup is at work '
            'on it, an administrator runs "openstack volume backup set '
            '--state available %s", and "openstack volume set --state '
            'available" for its volume; then the same command again restores '
            'it.') % id_
        return self._left(
            listings.BACKUPS, lambda: self.read_backup(id_), leaves, known,
            _('Backup %s') % id_, advice, wants_row)

    def is_restoring(self, backup_id: str) -> bool:
        """Return whether Cinder restored a backup a second ago, or does so."""
        row = {'id': backup_id, 'status': 'restoring'}
        listed = self._listings.has(listings.BACKUPS, row, _OLDEST)
        if listed is None:
            return self.backup(backup_id, ())['status'] == 'restoring'
        return listed

    def server(self, id_: str, known: Mapping[str, Any] | None = None,
               advice: str = '') -> dict[str, Any]:
        """Return a server when Nova does not build it any more.

        :param known: as for :meth:`volume`
        :param advice: as for :meth:`until`
        """
        return self._left(
            listings.SERVERS, lambda: self.cloud.compute(
                'GET', f'/servers/{id_}', microversion=SERVER_MICROVERSION,
            )['server'],
            ('BUILD', 'UNKNOWN'), known, _('Server %s') % id_, advice)

    def restore(self, volume_id: str,
                backup_id: str) -> tuple[dict[str, Any], bool]:
        """Return a volume when Cinder restores no backup into it any more.

        :returns: also whether its status has changed before that of the
            backup, as when Cinder ends a restore. Source: restore_backup in
            cinder/backup/manager.py
        """
        # First: another restore of the backup may have taken it.
        self.backup(backup_id, {'restoring'},
                    {'id': backup_id, 'status': 'restoring'}, wants_row=False)
        found = self.volume(volume_id, ())
        if found['status'] == 'restoring-backup':
            self.timer.sleep(_LAG)
            found = self.volume(volume_id, ())
        is_certain = found['status'] != 'restoring-backup'
        return self.volume(volume_id, {'restoring-backup'}, found), is_certain

    def _left(self, kind: str, read: Callable[[], dict[str, Any]],
              leaves: Collection[str], known: Mapping[str, Any] | None,
              what: str, advice: str = '',
              wants_row: bool = True) -> dict[str, Any]:
        """Return what is read when it has left these statuses.

        :param what: what messages call it
        :param wants_row: else it is not read if a listing tells enough
        """
        started = self.timer.clock()
        before = dict(known or {})
        is_news = known is not None

        def look() -> dict[str, Any] | None:
            nonlocal is_news
            self._watch(kind, before, started)
            waited = self.timer.clock() - started
            if not is_news:
                listed = self._listings.has(
                    kind, before, min(_OLDEST, waited / 10)
                ) if before else None
                if listed:
                    return None
                if listed is False and not wants_row:
                    return before
                before.update(read())
            is_news = False
            return None if before['status'] in leaves else before

        return self.until(look, _('%(what)s is still %(statuses)s') % {
            'what': what, 'statuses': ' / '.join(sorted(leaves))}, advice)

    def _watch(self, kind: str, found: Mapping[str, Any],
               since: float) -> None:
        """Look at the services if cinder-backup has been at work for long."""
        if (self.timer.clock() - since >= capacity.SILENCE
                and found.get('status') in _BACKUP_WORK.get(kind, ())):
            self._services.look()

    def gone(self, read: Callable[[], Any], what: str) -> None:
        """Wait until something is not there any more.

        :param what: says that it is, as a sentence
        """

        def look() -> bool | None:
            try:
                read()
            except cloud_api.NotThere:
                return True
            return None

        self.until(look, what)

    def delete_volume(self, id_: str) -> None:
        """Delete a volume, and return when it is gone.

        :raises errors.ApplicationError: Cinder cannot delete it
        """

        def look() -> bool | None:
            try:
                found = self.read_volume(id_)
            except cloud_api.NotThere:
                return True
            if found['status'] == 'error_deleting':
                raise errors.ApplicationError(
                    _('Volume %(id)s could not be deleted, and is '
                      'error_deleting (%(why)s): when its storage is sound, '
                      'an administrator deletes it with "openstack volume '
                      'delete --force %(id)s", or resets it with "openstack '
                      'volume set --state available %(id)s"; then run the '
                      'same command again.') % {
                          'id': id_, 'why': self.reason(id_).rstrip('.')})
            return None

        if look():
            return
        with contextlib.suppress(cloud_api.NotThere):
            self.cloud.volume('DELETE', f'/volumes/{id_}')
        self.until(look, _('Volume %s is still being deleted') % id_)

    def read_volume(self, id_: str) -> dict[str, Any]:
        found: dict[str, Any] = self.cloud.volume(
            'GET', f'/volumes/{id_}')['volume']
        return found

    def read_backup(self, id_: str) -> dict[str, Any]:
        return records.read(self.cloud, id_)

    def reason(self, *resources: str) -> str:
        """Return what Cinder says of the latest failure of something.

        It is nowhere but in its messages to users.
        """
        for resource in resources:
            try:
                found = self.cloud.volume(
                    'GET',
                    f'/messages?resource_uuid={resource}'
                    '&sort=created_at:desc',
                    microversion=_MESSAGES_MICROVERSION)['messages']
            except cloud_api.CloudError:
                continue
            if found:
                return str(found[0]['user_message'])
        return _('Cinder gives no reason')
