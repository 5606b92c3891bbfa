# SPDX-License-Identifier: Apache-2.0

"""Waiting for what a site does, and the reasons that it gives for failures."""

from __future__ import annotations

from collections.abc import Callable, Collection
import contextlib
import dataclasses
from typing import Any, Final, TypeVar

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.i18n import _
from osc_quiesce import retry

_T = TypeVar('_T')

#: statuses in which Cinder is at work on a volume that no server has; with
#: backing-up, a proof was interrupted
BUSY: Final = frozenset({'creating', 'restoring-backup', 'downloading',
                         'deleting', 'backing-up'})
#: the first with a filter of messages
_MESSAGES_MICROVERSION: Final = '3.5'


@dataclasses.dataclass(frozen=True)
class Waiter:
    """Looks at a site until something is so.

    A look that gets no usable answer is repeated.

    :param timeout: seconds, for each thing that is waited for
    """

    cloud: cloud_api.Cloud
    timer: retry.Timer
    timeout: float

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
            found = self.timer.repeat(
                look, cloud_api.pause_after, deadline - self.timer.clock())
            if found is not None:
                return found
            pause = next(pauses)
            if self.timer.clock() + pause > deadline:
                raise errors.ApplicationError(
                    _('%(what)s after %(seconds)g s.') % {
                        'what': what, 'seconds': self.timeout}, advice)
            self.timer.sleep(pause)

    def volume(self, id_: str, leaves: Collection[str]) -> dict[str, Any]:
        """Return a volume when it has left these statuses."""

        def look() -> dict[str, Any] | None:
            found = self.read_volume(id_)
            return None if found['status'] in leaves else found

        return self.until(look, _('Volume %(id)s is still %(statuses)s') % {
            'id': id_, 'statuses': ' / '.join(sorted(leaves))})

    def backup(self, id_: str, leaves: Collection[str]) -> dict[str, Any]:
        """Return a backup when it has left these statuses."""

        def look() -> dict[str, Any] | None:
            found = self.read_backup(id_)
            return None if found['status'] in leaves else found

        return self.until(look, _('Backup %(id)s is still %(statuses)s') % {
            'id': id_, 'statuses': ' / '.join(sorted(leaves))})

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
        found: dict[str, Any] = self.cloud.volume(
            'GET', f'/backups/{id_}',
            microversion=cloud_api.BACKUP_MICROVERSION)['backup']
        return found

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
