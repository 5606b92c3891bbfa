# SPDX-License-Identifier: Apache-2.0

"""A restore rehearsed beside everything else, and deleted again.

What Cinder restores can be proven in target volumes only. So a drill restores
into them, proves that, and clones them; its servers get the clones, and never
a target volume. Each target volume is given up as soon as it is cloned. Where
nothing can be proven, and where a server or a restore has the target volume,
a drill restores into volumes of its own.

A drill begins again each time: only then does it measure how long a restore
takes. Whatever ends it, it deletes all that it has made, and what an earlier
drill of the same set has left is deleted first. It must never touch a server,
a volume or a port that is not its own.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import snapshot_sets
from osc_quiesce import client as quiesce_client
from osc_quiesce import errors as quiesce_errors
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import filling
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import points
from osc_quiesce.recovery import proof_backups
from osc_quiesce.recovery import report as reports
from osc_quiesce.recovery import restore
from osc_quiesce.recovery import restore_plan
from osc_quiesce.recovery import restores
from osc_quiesce.recovery import targets
from osc_quiesce.recovery import waiting

LOG = logging.getLogger(__name__)

CLONES: Final = 'clones'
DELETION: Final = 'deletion'


@dataclasses.dataclass
class Outcome:
    """What a drill has come to.

    :param failure: what went wrong; None if nothing did
    :param rto: seconds until the last server was ready; None if it was not
    :param is_deleted: whether nothing is left of the drill
    :param is_recorded: whether the backups of the set tell the result
    """

    report: reports.Report
    failure: errors.ApplicationError | quiesce_errors.QuiesceError | None = (
        None)
    rto: float | None = None
    is_deleted: bool = False
    is_recorded: bool = False

    @property
    def result(self) -> str:
        """``marks.DRILL_OK`` or ``marks.DRILL_FAILED``."""
        return marks.DRILL_FAILED if self.failure else marks.DRILL_OK

    @property
    def why(self) -> str:
        """What the failure was, as sentences that are right by now."""
        if isinstance(self.failure, errors.ApplicationError):
            return self.failure.fact
        return str(self.failure or '')


def prepare(waiter: waiting.Waiter, point: points.Point) -> None:
    """Delete what an earlier drill of a set has left.

    Call this before a plan is made.

    :raises errors.ApplicationError: something is still there
    """
    cloud = waiter.cloud
    drill_id = marks.drill_id(point.id, cloud.project_id)
    for each in _found(cloud, drill_id):
        LOG.warning(
            _('Drill %(name)s (%(id)s) is there from before, and is deleted '
              'first.'), {'name': each.name or point.name, 'id': each.id})
        _tidy(each, waiter)
        restores.delete(each, waiter)
    if cloud.is_admin:
        # Proofs of restores that have their volumes may be under way.
        proof_backups.recover(waiter, [
            each['id'] for each in targets.everything(cloud)
            if restore_plan.is_free(each, drill_id)])


def run(client: quiesce_client.Client, cloud: cloud_api.Cloud,
        plan: restore_plan.Plan, means: restore.Means,
        keep: bool = False) -> Outcome:
    """Do what a plan says, delete it again, and record what came of it.

    What cannot be deleted or recorded is said, and is no failure of the drill.
    If it is interrupted, nothing is recorded: it has no result.

    :param keep: whether to delete nothing
    :raises errors.NotPossible: the plan has refusals; nothing was done
    """
    drill = _Drill(client, cloud, plan, means)
    outcome = Outcome(drill.report)
    try:
        drill.rehearse()
        outcome.rto = drill.report.rto
    except (errors.ApplicationError, quiesce_errors.QuiesceError) as exc:
        outcome.failure = exc
    finally:
        # Also if a signal has raised; and none disturbs it.
        with means.shield():
            outcome.is_deleted = drill.clean(keep)
    with means.shield():
        outcome.is_recorded = drill.record(outcome)
    return outcome


class _Drill:
    def __init__(self, client: quiesce_client.Client, cloud: cloud_api.Cloud,
                 plan: restore_plan.Plan, means: restore.Means) -> None:
        self._cloud = cloud
        self._plan = plan
        self._means = means
        self._timer = client.timer
        self._run = restore.Run(client, cloud, plan, means)
        self.report = self._run.report

    def rehearse(self) -> None:
        self._run.fill()
        self._run.prove()
        with self.report.phase(CLONES):
            self._clone()
        self._run.start()

    def _clone(self) -> None:
        """Let the servers get clones of the target volumes."""
        items = [item for item in self._plan.items if item.is_target]
        self._means.progress(_('Cloning %d volumes ...') % len(items))
        waiter = waiting.Waiter(
            self._cloud, self._timer, self._means.volume_timeout)
        filler = filling.Filler(waiter, self._plan, self._means.progress)
        backups = proof_backups.Backups(waiter)

        def clone(item: restore_plan.Item) -> None:
            row = self._run.rows[item.wanted.id]
            target, row.id = row.id, filler.clone(item, row.id)['id']
            # What a proof could not delete is tried again at the end.
            if not any(map(proof_backups.is_left, backups.of(target))):
                restores.give_up(self._cloud, waiter.read_volume(target),
                                 self._plan.restore_id)

        restore.together(clone, items, self._plan.options.parallel)

    def clean(self, keep: bool) -> bool:
        """Delete all of the drill; return whether nothing is left.

        :param keep: whether to delete only what proofs have left
        """
        waiter = waiting.Waiter(
            self._cloud, self._timer, snapshot_sets.DELETE_TIMEOUT)
        steps = (_tidy,) if keep else (_tidy, restores.delete)
        if not keep:
            self._means.progress(_('Deleting the drill ...'))
        why = []
        with self.report.phase(DELETION):
            for step in steps:
                try:
                    for each in waiter.repeat(self._found, waiter.timeout):
                        step(each, waiter)
                except errors.ApplicationError as exc:
                    why.append(_('%s.') % exc.fact.rstrip('.'))
        if keep:
            LOG.warning(
                _('Drill %(name)s is kept. "openstack application restore '
                  'delete %(id)s" deletes it.'),
                {'name': self._plan.name, 'id': self._plan.restore_id})
        if why:
            self._say_what_is_left(' '.join(dict.fromkeys(why)))
        return not why and not keep

    def _say_what_is_left(self, why: str) -> None:
        try:
            left = [f'{kind} {each["name"]} ({each["id"]})'
                    for found in self._found()
                    for kind, things in ((_('server'), found.servers),
                                         (_('volume'), found.volumes))
                    for each in things]
        except cloud_api.CloudError:
            left = []
        LOG.error(
            _('Not all of drill %(name)s is deleted: %(why)s Its servers and '
              'volumes that are left: %(left)s. The same command again '
              'deletes them first; "openstack application restore delete '
              '%(id)s" does only that.'),
            {'name': self._plan.name, 'why': why,
             'left': ', '.join(left) or _('none that can be found'),
             'id': self._plan.restore_id})

    def _found(self) -> list[restores.Restore]:
        return _found(self._cloud, self._plan.restore_id)

    def record(self, outcome: Outcome) -> bool:
        """Write the result on the backups; return whether it is there."""
        point = self._plan.point
        values = {
            marks.DRILLED_AT: model.utc_now(),
            marks.DRILL: outcome.result,
            marks.DRILL_RTO: '' if outcome.rto is None else str(
                round(outcome.rto))}
        try:
            self._timer.until_answered(
                lambda: backup_sets.mark(self._cloud, [
                    {'id': copy.id} for copy in point.copies.values()],
                    values),
                cloud_api.PATIENCE)
        except errors.ApplicationError as exc:
            LOG.error(
                _('The result of the drill, %(result)s, is not recorded with '
                  '%(set)s: %(why)s.'),
                {'result': outcome.result, 'set': point.label,
                 'why': exc.fact.rstrip('.')})
            return False
        return True


def _tidy(found: restores.Restore, waiter: waiting.Waiter) -> None:
    """Remove what an interrupted proof of a drill has left.

    Only of volumes that the drill still has: in others, a restore may be at
    its proof by now.

    :raises errors.ApplicationError: something is still there
    """
    backups = proof_backups.Backups(waiter)
    left: list[dict[str, Any]] = []
    for volume in found.volumes:
        if marks.target_of(volume):
            left += filter(proof_backups.is_left, backups.tidy(volume['id']))
    if left:
        raise errors.ApplicationError(
            _('Proofs have left these backups behind, or in error: %s.')
            % ', '.join(each['id'] for each in left))


def _found(cloud: cloud_api.Cloud, drill_id: str) -> list[restores.Restore]:
    """Return what is there of a drill: one, or none."""
    return [each for each in restores.find_all(cloud) if each.id == drill_id]
