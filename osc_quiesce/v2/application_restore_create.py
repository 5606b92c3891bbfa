# SPDX-License-Identifier: Apache-2.0

"""``openstack application restore create``.

The promise: with exit code 0 all volumes have their data, those that can be
proven are, and all servers run. Otherwise nothing is torn down, and the same
command again continues.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import contextlib
import dataclasses
import logging
import re
from typing import Any, Final

from cliff import columns
from osc_lib.command import command

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.cli import options
from osc_quiesce.i18n import _
from osc_quiesce.recovery import mapping as mappings
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import points
from osc_quiesce.recovery import proof_backups
from osc_quiesce.recovery import report as reports
from osc_quiesce.recovery import restore
from osc_quiesce.recovery import restore_plan
from osc_quiesce.recovery import restore_preflight
from osc_quiesce.recovery import targets
from osc_quiesce.recovery import waiting
from osc_quiesce.v2 import base
from osc_quiesce.v2 import restore_options

LOG = logging.getLogger(__name__)

PLAN_COLUMNS = (
    'name', 'set', 'application', 'consistency', 'verify', 'plan', 'refused')
REPORT_COLUMNS = ('id', 'name', 'set', 'set_id', 'application', 'consistency',
                  'created_at', 'rpo', 'rto', 'phases', 'volumes', 'servers')


# Of a UUID, what people need not read to tell one from the other
_REST: Final = re.compile(
    r'(?<=\b[0-9a-f]{8})(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}')


class Rows(columns.FormattableColumn[Any]):
    """Both sides of a plan: server by server, with short IDs, for people."""

    def human_readable(self) -> str:
        if not self._value:
            return ''
        servers: dict[str, list[list[str]]] = {}
        for row in self._value:
            head = _('stage %(stage)d: %(server)s') % row
            here = _('REFUSED') if row['refused'] else row['here']
            servers.setdefault(head, []).append([
                _REST.sub('', text)
                for text in (f'  {row["what"]}', row['source'], here)])
        lines = base.aligned([['', _('source'), _('here')], *(
            row for rows in servers.values() for row in rows)])
        shown = [lines.pop(0)]
        for head, rows in servers.items():
            shown += [head, *lines[:len(rows)]]
            del lines[:len(rows)]
        return '\n'.join(shown)

    def machine_readable(self) -> list[dict[str, Any]]:
        return list(self._value)


class Planned(base.Interruptible, command.ShowOne):
    """A command that makes a plan of a restore, and carries it out.

    :cvar COLUMNS: of the result
    :cvar REFUSED: says that nothing was done, since the plan has refusals
    """

    COLUMNS: tuple[str, ...]
    REFUSED: str

    def take_action(self, parsed_args: argparse.Namespace) -> options.Record:
        # An unknown column name must not come to light after the work.
        options.check_columns(
            self, parsed_args,
            PLAN_COLUMNS if parsed_args.dry_run else self.COLUMNS)
        cloud = self._cloud
        plan = self._plan(cloud, parsed_args)
        self._check_plan(plan.refusals, parsed_args.dry_run, self.REFUSED)
        for warning in plan.warnings:
            LOG.warning('%s', warning)
        if parsed_args.dry_run:
            return PLAN_COLUMNS, planned(plan)
        return self.COLUMNS, self._carry_out(cloud, plan, parsed_args)

    def _plan(self, cloud: cloud_api.Cloud,
              parsed_args: argparse.Namespace) -> restore_plan.Plan:
        raise NotImplementedError

    def _carry_out(self, cloud: cloud_api.Cloud, plan: restore_plan.Plan,
                   parsed_args: argparse.Namespace) -> tuple[Any, ...]:
        """Return the values of COLUMNS."""
        raise NotImplementedError


class CreateApplicationRestore(Planned):
    _description = _(
        'Restore an application from a backup set that is registered at this '
        'site or was made here, or from a snapshot set of this site: its '
        'volumes, verified where that is possible, and then its servers, '
        'stage by stage. Everything is checked first. If anything fails, '
        'nothing is torn down, and the same command again continues.')

    COLUMNS = REPORT_COLUMNS
    REFUSED = _('Nothing was restored, and nothing was made.')
    STOPPING = _(
        'stopping after the requests under way; nothing is torn down')
    STOPPED = _('Interrupted; what was restored is kept, Cinder and Nova go '
                'on with what they have begun, and the same command again '
                'continues.')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        return restore_options.add(super().get_parser(prog_name))

    def _point(self, cloud: cloud_api.Cloud,
               parsed_args: argparse.Namespace) -> points.Point:
        point = points.find(cloud, parsed_args.set)
        if not cloud.is_admin or parsed_args.dry_run:
            return point
        # Of other volumes, and by other restores, proofs may be under way.
        restore_id = marks.restore_id(
            point.id, cloud.project_id, parsed_args.name or point.name)
        held = {each['id'] for each in targets.everything(cloud)
                if restore_plan.holder(each, restore_id)}
        proof_backups.recover(
            waiting.Waiter(cloud, self._client.timer, parsed_args.timeout),
            {copy.volume_id for copy in point.copies.values()} - held)
        return points.find(cloud, point.id)

    def _plan(self, cloud: cloud_api.Cloud,
              parsed_args: argparse.Namespace) -> restore_plan.Plan:
        mapping = mappings.from_file(parsed_args.mapping)
        point = self._point(cloud, parsed_args)
        source = None
        if parsed_args.from_cloud:
            source = base.connect(parsed_args.from_cloud)
        return restore_preflight.make(
            cloud, point, mapping,
            restore_plan.Options(
                name=parsed_args.name or '', servers=tuple(parsed_args.server),
                verify=parsed_args.verify, start=not parsed_args.no_start,
                allow_inconsistent=parsed_args.allow_inconsistent,
                force=parsed_args.force, parallel=parsed_args.parallel,
                source=source, source_name=parsed_args.from_cloud or ''))

    def _carry_out(self, cloud: cloud_api.Cloud, plan: restore_plan.Plan,
                   parsed_args: argparse.Namespace) -> tuple[Any, ...]:
        how = dataclasses.replace(
            means(self.app, parsed_args, self._interrupts.shielded),
            failed_at=parsed_args.failed_at)
        return shown(restore.create(self._client, cloud, plan, how))


def means(app: Any, parsed_args: argparse.Namespace,
          shield: Callable[[], contextlib.AbstractContextManager[Any]]
          ) -> restore.Means:
    """Return what the options say of how to restore."""
    return restore.Means(
        timeout=parsed_args.timeout, volume_timeout=parsed_args.volume_timeout,
        check=parsed_args.check, asks_agents=not parsed_args.no_agent_check,
        container=parsed_args.proof_container,
        progress=options.progress_of(app), shield=shield)


def planned(plan: restore_plan.Plan) -> tuple[Any, ...]:
    """Return the values of PLAN_COLUMNS."""
    return (plan.name, plan.point.name, plan.point.application,
            plan.point.state, plan.verify,
            Rows([
                {'stage': row.stage + 1,
                 'server': row.server,
                 'what': row.what,
                 'source': row.source,
                 'here': row.here,
                 'refused': row.refused} for row in plan.rows]),
            base.Sentences(plan.refusals))


def shown(report: reports.Report) -> tuple[Any, ...]:
    """Return the values of REPORT_COLUMNS."""
    rows = report.rows()
    return (
        report.id, report.name, report.point.name, report.point.id,
        report.point.application, report.point.state, report.point.created_at,
        None if report.rpo is None else round(report.rpo, 1),
        round(report.rto, 1),
        base.Table([
            {'phase': phase, 'seconds': seconds}
            for phase, seconds in rows['phases'].items()]),
        base.Table(rows['volumes'], (
            'stage', 'server', 'device', 'size', 'verified', 'seconds')),
        base.Table(rows['servers'], (
            'stage', 'name', 'status', 'addresses', 'agent', 'checked',
            'seconds')))
