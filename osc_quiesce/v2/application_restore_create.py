# SPDX-License-Identifier: Apache-2.0

"""``openstack application restore create``.

The promise: with exit code 0 all volumes have their data, those that can be
proven are, and all servers run. Otherwise nothing is torn down, and the same
command again continues.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import datetime
import logging
from typing import Any

import openstack
from osc_lib.command import command
from osc_lib import exceptions as osc_exceptions

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors as application_errors
from osc_quiesce.application import spec
from osc_quiesce.cli import interrupts
from osc_quiesce.cli import options
from osc_quiesce import errors
from osc_quiesce.i18n import _
from osc_quiesce.recovery import mapping as mappings
from osc_quiesce.recovery import points
from osc_quiesce.recovery import proof
from osc_quiesce.recovery import report as reports
from osc_quiesce.recovery import restore
from osc_quiesce.recovery import restore_plan
from osc_quiesce.recovery import waiting
from osc_quiesce.v2 import application
from osc_quiesce.v2 import application_plan
from osc_quiesce.v2 import application_restore

LOG = logging.getLogger(__name__)

DEFAULT_TIMEOUT = 600.0  # seconds, for a server
DEFAULT_VOLUME_TIMEOUT = 86400.0  # seconds
DEFAULT_PARALLEL = 4

PLAN_COLUMNS = (
    'name',
    'set',
    'application',
    'consistency',
    'verify',
    'plan',
    'refused',
)
REPORT_COLUMNS = (
    'id',
    'name',
    'set',
    'set_id',
    'application',
    'consistency',
    'created_at',
    'rpo',
    'rto',
    'phases',
    'volumes',
    'servers',
)


class CreateApplicationRestore(application.Command, command.ShowOne):
    _description = _(
        'Restore an application from a backup set that is registered at this '
        'site, or from a snapshot set of this site: its volumes, verified '
        'where that is possible, and then its servers, stage by stage. '
        'Everything is checked first. If anything fails, nothing is torn '
        'down, and the same command again continues.'
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._interrupts = interrupts.Interrupts()
        self._exit_code = 0

    def _sleep(self, seconds: float) -> None:
        self._interrupts.sleep(seconds)

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'set',
            metavar='<backup-set or snapshot-set>',
            help=_('Backup set or snapshot set (name or ID)'),
        )
        parser.add_argument(
            '--mapping',
            metavar='<file>',
            required=True,
            help=_(
                'File that says what stands for what at this site; '
                '"application mapping create" writes one to begin with'
            ),
        )
        self._add_what(parser)
        self._add_checks(parser)
        self._add_times(parser)
        return parser

    @staticmethod
    def _add_what(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            '--name',
            metavar='<name>',
            default='',
            help=_('Name of the restore (default: that of the set)'),
        )
        parser.add_argument(
            '--server',
            metavar='<server>',
            action='append',
            default=[],
            help=_(
                'Restore this server only (name or ID at the source); repeat '
                'the option for several servers'
            ),
        )
        parser.add_argument(
            '--no-start',
            action='store_true',
            help=_('Restore the volumes, and make no ports and servers'),
        )
        parser.add_argument(
            '--allow-inconsistent',
            action='store_true',
            help=_('Restore a set that is not consistent'),
        )
        parser.add_argument(
            '--from-cloud',
            metavar='<cloud>',
            help=_(
                'The site of the source, a name in clouds.yaml: if it can be '
                'reached and its servers are ACTIVE, nothing is restored'
            ),
        )
        parser.add_argument(
            '--force',
            action='store_true',
            help=_('Restore although servers of the source are ACTIVE'),
        )
        parser.add_argument(
            '--dry-run',
            action='store_true',
            help=_('Show what would be done and refused, and do nothing'),
        )

    @staticmethod
    def _add_checks(parser: argparse.ArgumentParser) -> None:
        verify = parser.add_mutually_exclusive_group()
        verify.add_argument(
            '--verify',
            dest='verify',
            action='store_true',
            default=None,
            help=_(
                'Prove that each volume is equal to its backup before a '
                'server is started, and refuse if that cannot be done '
                '(default: prove what can be proven; admin only)'
            ),
        )
        verify.add_argument(
            '--no-verify',
            dest='verify',
            action='store_false',
            help=_('Prove nothing'),
        )
        parser.add_argument(
            '--proof-container',
            metavar='<container>',
            default=proof.CONTAINER,
            help=_(
                'Container for the backups that prove it, which are deleted '
                'at once; this site must be able to write there (default: %s)'
            )
            % proof.CONTAINER,
        )
        parser.add_argument(
            '--check',
            metavar='<command>',
            default='',
            help=_(
                'Command for /bin/sh that is repeated until it succeeds, for '
                'each server, before the next stage is started. It gets '
                'OSC_QUIESCE_SERVER, OSC_QUIESCE_SERVER_ID, '
                'OSC_QUIESCE_STAGE, OSC_QUIESCE_ADDRESS and '
                'OSC_QUIESCE_ADDRESSES in its environment'
            ),
        )
        parser.add_argument(
            '--no-agent-check',
            action='store_true',
            help=_(
                'Do not quiesce and unquiesce each server for a moment to see '
                'that the agent in it answers'
            ),
        )

    @staticmethod
    def _add_times(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            '--parallel',
            metavar='<n>',
            type=options.whole_seconds,
            default=DEFAULT_PARALLEL,
            help=_('How many volumes are restored at once (default: %d)')
            % DEFAULT_PARALLEL,
        )
        parser.add_argument(
            '--timeout',
            metavar='<seconds>',
            type=options.timeout,
            default=DEFAULT_TIMEOUT,
            help=_(
                'How long to wait for each server and for its checks, in '
                'seconds (default: %g)'
            )
            % DEFAULT_TIMEOUT,
        )
        parser.add_argument(
            '--volume-timeout',
            metavar='<seconds>',
            type=options.timeout,
            default=DEFAULT_VOLUME_TIMEOUT,
            help=_(
                'How long to wait for each volume to be restored, and to be '
                'verified, in seconds (default: %g)'
            )
            % DEFAULT_VOLUME_TIMEOUT,
        )
        parser.add_argument(
            '--failed-at',
            metavar='<time>',
            type=_moment,
            help=_(
                'When the source failed, such as 2026-11-29T02:00:00Z: the '
                'RPO is counted until then (default: now)'
            ),
        )

    def run(self, parsed_args: argparse.Namespace) -> int:
        # An unknown column name must not come to light after the work.
        options.check_columns(
            self,
            parsed_args,
            PLAN_COLUMNS if parsed_args.dry_run else REPORT_COLUMNS,
        )
        try:
            exit_code = super().run(parsed_args) or self._exit_code
            self.app.stdout.flush()
            return exit_code
        except interrupts.Interrupted as exc:
            LOG.error(
                _(
                    'Interrupted; what was restored is kept, Cinder and Nova '
                    'go on with what they have begun, and the same command '
                    'again continues.'
                )
            )
            return exc.exit_code
        finally:
            self._interrupts.restore()

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], tuple[Any, ...]]:
        if len(parsed_args.name) > spec.LONGEST_NAME:
            raise osc_exceptions.CommandError(
                _('The name must have at most %d characters.')
                % spec.LONGEST_NAME
            )
        cloud = self._cloud
        try:
            if cloud.is_admin and not parsed_args.dry_run:
                proof.recover(
                    waiting.Waiter(
                        cloud, self._client.timer, parsed_args.timeout
                    )
                )
            plan = self._plan(cloud, parsed_args)
            for refusal in plan.refusals:
                LOG.error('%s', refusal)
            if parsed_args.dry_run:
                self._exit_code = 1 if plan.refusals else 0
                return PLAN_COLUMNS, _planned(plan)
            if plan.refusals:
                raise osc_exceptions.CommandError(
                    _('Nothing was restored, and nothing was made.')
                )
            for warning in plan.warnings:
                LOG.warning('%s', warning)
            return REPORT_COLUMNS, _shown(
                self._create(cloud, plan, parsed_args)
            )
        except (
            application_errors.ApplicationError, errors.QuiesceError
        ) as exc:
            raise application.failed(exc) from exc

    @staticmethod
    def _plan(
        cloud: cloud_api.Cloud, parsed_args: argparse.Namespace
    ) -> restore_plan.Plan:
        mapping = mappings.from_file(parsed_args.mapping)
        source = None
        if parsed_args.from_cloud:
            source = connect(parsed_args.from_cloud)
        return restore_plan.make(
            cloud,
            points.find(cloud, parsed_args.set),
            mapping,
            restore_plan.Options(
                name=parsed_args.name,
                servers=tuple(parsed_args.server),
                verify=parsed_args.verify,
                start=not parsed_args.no_start,
                allow_inconsistent=parsed_args.allow_inconsistent,
                force=parsed_args.force,
                parallel=parsed_args.parallel,
                source=source,
            ),
        )

    def _create(
        self,
        cloud: cloud_api.Cloud,
        plan: restore_plan.Plan,
        parsed_args: argparse.Namespace,
    ) -> reports.Report:
        self._interrupts.install(
            _('stopping after the requests under way; nothing is torn down'),
            _('already stopping'),
        )
        return restore.create(
            self._client,
            cloud,
            plan,
            restore.Means(
                timeout=parsed_args.timeout,
                volume_timeout=parsed_args.volume_timeout,
                check=parsed_args.check,
                asks_agents=not parsed_args.no_agent_check,
                container=parsed_args.proof_container,
                failed_at=parsed_args.failed_at,
                progress=options.progress_of(self.app),
                shield=self._interrupts.shielded,
            ),
        )


def connect(name: str) -> cloud_api.Cloud:
    """Return another site.

    :param name: in clouds.yaml
    :raises osc_exceptions.CommandError: there is no such name
    """
    try:
        return cloud_api.Cloud(openstack.connect(cloud=name))
    except Exception as exc:  # of whatever the configuration lacks
        raise osc_exceptions.CommandError(
            _('Cloud %(name)s cannot be used: %(why)s')
            % {'name': name, 'why': exc}
        ) from exc


def _moment(text: str) -> datetime.datetime:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(
            _('"%s" is not a time such as 2026-11-29T02:00:00Z') % text
        ) from exc
    if moment.tzinfo is None:
        return moment.replace(tzinfo=datetime.UTC)
    return moment


def _planned(plan: restore_plan.Plan) -> tuple[Any, ...]:
    """Return the values of PLAN_COLUMNS."""
    return (
        plan.name,
        plan.point.name,
        plan.point.application,
        plan.point.state,
        plan.verify,
        application_restore.Table(
            [
                {
                    'stage': row.stage + 1,
                    'server': row.server,
                    'what': row.what,
                    'source': row.source,
                    'here': row.here,
                    'refused': row.refused,
                }
                for row in plan.rows
            ]
        ),
        application_plan.Sentences(plan.refusals),
    )


def _shown(report: reports.Report) -> tuple[Any, ...]:
    """Return the values of REPORT_COLUMNS."""
    rows = report.rows()
    return (
        report.id,
        report.name,
        report.point.name,
        report.point.id,
        report.point.application,
        report.point.state,
        report.point.created_at,
        round(report.rpo, 1),
        round(report.rto, 1),
        application_restore.Table(
            [
                {'phase': phase, 'seconds': seconds}
                for phase, seconds in rows['phases'].items()
            ]
        ),
        application_restore.Table(rows['volumes']),
        application_restore.Table(rows['servers']),
    )
