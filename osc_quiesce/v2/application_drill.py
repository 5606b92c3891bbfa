# SPDX-License-Identifier: Apache-2.0

"""``openstack application drill``.

The promise: with exit code 0 the application was restored beside everything
else, its servers ran and passed the checks, nothing of that is left, and the
backups tell the result. Whatever ends the command, it first deletes what it
has made.
"""

from __future__ import annotations

import argparse
import logging
from typing import Any

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.cli import interrupts
from osc_quiesce.i18n import _
from osc_quiesce.recovery import drill
from osc_quiesce.recovery import mapping as mappings
from osc_quiesce.recovery import points
from osc_quiesce.recovery import restore_plan
from osc_quiesce.recovery import restore_preflight
from osc_quiesce.recovery import waiting
from osc_quiesce.v2 import application_restore_create as restore_create
from osc_quiesce.v2 import restore_options

LOG = logging.getLogger(__name__)


class DrillApplication(restore_create.Planned):
    _description = _(
        'Rehearse the restore of an application from a backup set that is '
        'registered at this site: restore and verify its volumes, start its '
        'servers with clones of them, stage by stage and under other names, '
        'in the networks that the mapping has for drills, or in none, check '
        'them, and delete all of that again. The source and its protection '
        'go on. The result is recorded with the backups.')

    COLUMNS = (*restore_create.REPORT_COLUMNS, 'result', 'deleted')
    REFUSED = _('Nothing was rehearsed, and nothing was made.')
    STOPPING = _('stopping after the requests under way, and deleting what '
                 'the drill has made ...')
    STOPPED = _('Interrupted; the drill has no result, and none is recorded. '
                'What it had made is deleted, but for what was named before.')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        return restore_options.add_for_drill(super().get_parser(prog_name))

    def _plan(self, cloud: cloud_api.Cloud,
              parsed_args: argparse.Namespace) -> restore_plan.Plan:
        mapping = mappings.from_file(parsed_args.mapping)
        point = points.find_backup_set(cloud, parsed_args.set)
        if not parsed_args.dry_run:
            drill.prepare(waiting.Waiter(
                cloud, self._client.timer, parsed_args.volume_timeout), point)
            # What was left may have been in the way of what is looked at.
            point = points.find_backup_set(cloud, point.id)
        return restore_preflight.make(
            cloud, point, mapping, restore_plan.Options(
                verify=parsed_args.verify, parallel=parsed_args.parallel,
                # The source is to be alive.
                force=True, drill=True))

    def _carry_out(self, cloud: cloud_api.Cloud, plan: restore_plan.Plan,
                   parsed_args: argparse.Namespace) -> tuple[Any, ...]:
        if parsed_args.keep:
            self.STOPPED = _('Interrupted; the drill has no result, and none '
                             'is recorded. What it had made is kept.')
        outcome = drill.run(
            self._client, cloud, plan,
            restore_create.means(
                self.app, parsed_args, self._interrupts.shielded),
            parsed_args.keep)
        self._conclude(outcome, parsed_args.keep)
        return _shown(outcome)

    def _conclude(self, outcome: drill.Outcome, keep: bool) -> None:
        """Say what went wrong, and choose the exit code."""
        done = outcome.is_recorded and (keep or outcome.is_deleted)
        self._exit_code = 0 if done else 1
        if outcome.failure:
            self._exit_code = 1
            LOG.error(_('The drill has failed: %s'), outcome.why)
        try:
            self._interrupts.check()
        except interrupts.Interrupted as exc:
            # It came too late to stop the drill, but a loop of a shell stops.
            self._exit_code = exc.exit_code


def _shown(outcome: drill.Outcome) -> tuple[Any, ...]:
    """Return the values of the columns of a drill."""
    shown = dict(zip(restore_create.REPORT_COLUMNS, restore_create.shown(
        outcome.report), strict=True))
    shown['rto'] = None if outcome.rto is None else round(outcome.rto, 1)
    return (*shown.values(), outcome.result, outcome.is_deleted)
