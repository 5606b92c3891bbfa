# SPDX-License-Identifier: Apache-2.0

"""What a proof has found, written where later runs and users look for it.

A client may stand still for hours, and its restore may be deleted in this
time: nothing must be written on a volume that another restore has by then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import logging

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import proof
from osc_quiesce.recovery import report as reports
from osc_quiesce.recovery import restore_plan
from osc_quiesce.recovery import waiting

LOG = logging.getLogger(__name__)


class Verdicts:
    """Writes what proofs have found.

    :param rows: where the volumes are, by the IDs of their sources
    """

    def __init__(self, waiter: waiting.Waiter, plan: restore_plan.Plan,
                 rows: Mapping[str, reports.Volume]) -> None:
        self._waiter = waiter
        self._cloud = waiter.cloud
        self._plan = plan
        self._rows = rows
        self._proven: list[str] = []  # IDs of backups

    def check(self, item: restore_plan.Item) -> None:
        """Check that a volume has what this restore has restored into it.

        :raises proof.NotProven: it has not
        """
        id_ = self._rows[item.wanted.id].id
        found = self._waiter.repeat(lambda: self._waiter.read_volume(id_))
        why = restore_plan.lost(
            item, id_, {id_: found}, self._plan.restore_id)
        if why:
            raise proof.NotProven(
                _('Volume %(volume)s is neither proven nor found to differ: '
                  '%(why)s.') % {'volume': item.wanted.label, 'why': why},
                _('The same command again makes a new plan.'))

    def equal(self, item: restore_plan.Item) -> None:
        """Note that a volume is equal to its backup.

        :raises proof.NotProven: it is not that of this restore any more
        """
        self.check(item)
        values = {marks.VERIFIED: model.utc_now(), marks.STARTED: ''}
        self._waiter.repeat(lambda: marks.write(
            self._cloud, self._rows[item.wanted.id].id, values))
        self._proven.append(item.copy.id)

    def note(self) -> None:
        """Write on the backups that were proven that they were."""
        if self._proven:
            self._note(self._proven, model.utc_now())

    def differs(self, item: restore_plan.Item) -> None:
        """Let no later run use a volume that differs from its backup.

        :raises proof.NotProven: it is not that of this restore any more
        """
        volume_id = self._rows[item.wanted.id].id
        values = {marks.DIFFERS: model.utc_now()}
        try:
            self.check(item)
            self._waiter.repeat(
                lambda: marks.write(self._cloud, volume_id, values))
        except cloud_api.CloudError as exc:
            LOG.error(
                _('Volume %(id)s DIFFERS from its backup, but that cannot be '
                  'written on it, so that the same command again may use it: '
                  '%(why)s. Delete the restore with "openstack application '
                  'restore delete %(restore)s".'),
                {'id': volume_id, 'why': str(exc).rstrip('.'),
                 'restore': self._plan.restore_id})
        self._note([item.copy.id], '')

    def _note(self, ids: Sequence[str], when: str) -> None:
        """Write on backups what proofs found; no restore fails by that."""
        try:
            self._waiter.repeat(lambda: backup_sets.mark(
                self._cloud, [{'id': id_} for id_ in ids],
                {marks.VERIFIED: when}))
        except cloud_api.CloudError as exc:
            LOG.warning(
                _('What the proof has found cannot be written on all of these '
                  'backups, so "application protection show" may not have it: '
                  '%(ids)s (%(why)s)'), {'ids': ', '.join(ids), 'why': exc})
