# SPDX-License-Identifier: Apache-2.0

"""Deleting backups, one after the other.

Cinder deletes no backup of which others have the differences: so inside a
chain the newest goes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.i18n import _
from osc_quiesce.recovery import chains
from osc_quiesce import retry

#: seconds for all backups to go: the data of a large one take long
TIMEOUT: Final = 3600.0
#: statuses in which Cinder deletes a backup
_DELETABLE: Final = ('available', 'error')
#: how often one backup is asked to go
_ATTEMPTS: Final = 2


def delete(cloud: cloud_api.Cloud, backups: Iterable[dict[str, Any]],
           timer: retry.Timer, timeout: float = TIMEOUT,
           progress: Callable[[str], object] = lambda sentence: None) -> None:
    """Delete backups one after the other, and wait until each is gone.

    May be repeated as often as one likes.

    :param backups: in the order of :func:`chains.newest_first`
    :param timeout: seconds, for all of them
    :raises errors.ApplicationError: names what is left, and why
    """
    deadline = timer.clock() + timeout
    wanted = list(backups)
    left: dict[str, str] = {}
    stuck: set[str] = set()
    for number, backup in enumerate(wanted):
        progress(_('Deleting backups: %(done)d of %(all)d done ...') % {
            'done': number, 'all': len(wanted)})
        if backup['volume_id'] in stuck:
            continue  # what is older has children now
        why = _delete_one(cloud, backup['id'], timer, deadline)
        if why:
            left[backup['id']] = why
            stuck.add(backup['volume_id'])
    if left:
        raise errors.ApplicationError(
            _('Not all backups are deleted: %s. The same command again '
              'continues.') % ', '.join(
                  f'{id_} ({why})' for id_, why in left.items()))


def _delete_one(cloud: cloud_api.Cloud, id_: str, timer: retry.Timer,
                deadline: float) -> str:
    """Delete a backup; return why it is still there, or an empty text."""
    asked = 0
    why = ''
    pauses = retry.pauses()
    while True:
        timer.sleep(0)  # where a signal may stop us
        try:
            backup = cloud.volume('GET', f'/backups/{id_}')['backup']
            if backup['status'] in _DELETABLE:
                if asked:
                    why = backup.get('fail_reason') or _(
                        'its status is %s') % backup['status']
                if asked >= _ATTEMPTS:
                    return str(why).rstrip('.')
                asked += 1
                cloud.volume('DELETE', f'/backups/{id_}')
            elif backup['status'] != 'deleting':
                return _('its status is %s') % backup['status']
        except cloud_api.NotThere:
            return ''
        except cloud_api.CloudError as exc:
            why = str(exc).rstrip('.')
            if cloud_api.pause_after(exc) is None:
                return why
        if timer.clock() > deadline:
            return why or _('it is still being deleted')
        timer.sleep(next(pauses))


def rows_of(elsewhere: cloud_api.Cloud,
            ids: frozenset[str]) -> list[dict[str, Any]]:
    """Return the rows at another site of backups that are gone here.

    Their data are gone: deleting them there only removes rows that would go
    on to promise a restore.
    """
    return chains.newest_first(
        each for each in elsewhere.backups() if each['id'] in ids)
