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
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import chains
from osc_quiesce.recovery import failures
from osc_quiesce.recovery import retention
from osc_quiesce.recovery import waiting
from osc_quiesce import retry

#: seconds for all backups to go: the data of a large one take long
TIMEOUT: Final = 3600.0
#: statuses in which Cinder deletes a backup
_DELETABLE: Final = ('available', 'error')
#: how often one backup is asked to go
_ATTEMPTS: Final = 2


def carry_out(removal: retention.Removal, cloud: cloud_api.Cloud,
              elsewhere: cloud_api.Cloud | None, timer: retry.Timer,
              timeout: float = TIMEOUT,
              progress: Callable[[str], object] = lambda sentence: None
              ) -> None:
    """Delete what is planned, here and then at the other site.

    May be repeated as often as one likes, with a new plan each time.

    :param timeout: seconds, for all backups of a site
    :raises errors.ApplicationError: names what is left, and why
    """
    rows = []
    unsealed = {backup_sets.SEALED: backup_sets.DELETED}
    if elsewhere is not None:
        rows = chains.newest_first(
            each for each in elsewhere.backups() if each['id'] in removal.rows)
        # First, since nothing must look restorable whose data are gone.
        backup_sets.mark(elsewhere, rows, unsealed)
    if not all(map(failures.may_delete, removal.backups)):
        # These go first, and with them the data of others.
        backup_sets.mark(cloud, removal.backups, unsealed)
    delete(cloud, removal.backups, timer, timeout, progress)
    if elsewhere is not None:
        # Only now: their data are gone, and nothing is lost with them.
        delete(elsewhere, rows, timer, timeout, progress)


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
    refused = False
    stuck: set[str] = set()
    for number, backup in enumerate(wanted):
        progress(_('Deleting backups: %(done)d of %(all)d done ...') % {
            'done': number, 'all': len(wanted)})
        if backup['volume_id'] in stuck:
            continue  # what is older has children now
        why, is_refused = _delete_one(cloud, backup['id'], timer, deadline)
        refused = refused or is_refused
        if why:
            left[backup['id']] = why
            stuck.add(backup['volume_id'])
    if left:
        message = _('Not all backups are deleted: %s. The same command again '
                    'continues.') % ', '.join(
                        f'{id_} ({why})' for id_, why in left.items())
        if refused:
            message = _(
                '%s Cinder leaves those whose data it cannot delete in error. '
                'If this site may only read the store, their data are not '
                'touched: an administrator makes them usable again with '
                '"openstack volume backup set --state available".') % message
        raise errors.ApplicationError(message)


def _delete_one(cloud: cloud_api.Cloud, id_: str, timer: retry.Timer,
                deadline: float) -> tuple[str, bool]:
    """Delete a backup.

    :returns: why it is still there, or an empty text; whether that is since
        Cinder cannot delete its data
    """
    asked = 0
    why = ''
    pauses = retry.pauses()
    while True:
        timer.sleep(0)  # where a signal may stop us
        try:
            backup = cloud.volume('GET', f'/backups/{id_}')['backup']
            if backup['status'] in _DELETABLE:
                if asked:
                    why = failures.said(backup) or _(
                        'its status is %s') % backup['status']
                if asked >= _ATTEMPTS:
                    return why.rstrip('.'), True
                waiting.ask_to_delete(cloud, id_)
                asked += 1
            elif backup['status'] != 'deleting':
                return _('its status is %s') % backup['status'], False
        except cloud_api.NotThere:
            return '', False
        except cloud_api.CloudError as exc:
            why = str(exc).rstrip('.')
            if not exc.is_transient:
                return why, False
        if timer.clock() > deadline:
            return why or _('it is still being deleted'), False
        timer.sleep(next(pauses))
