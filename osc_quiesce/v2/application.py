# SPDX-License-Identifier: Apache-2.0

"""``openstack application snapshot create | list | show | delete``.

The promise of ``create``: either there is a consistent set of snapshots and
the exit code is 0, or no server stays frozen by this command, no snapshot is
left (but for ``--keep-inconsistent``), and the exit code is not 0. If only a
thaw failed, or the set could not be marked as consistent, it is kept, and the
exit code is not 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import logging
import time
from typing import Any

from cliff import columns
from osc_lib.cli import parseractions
from osc_lib.command import command
from osc_lib import exceptions as osc_exceptions

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import create
from osc_quiesce.application import errors as application_errors
from osc_quiesce.application import plan as planning
from osc_quiesce.application import preflight
from osc_quiesce.application import snapshot_sets
from osc_quiesce.application import spec
from osc_quiesce.cli import interrupts
from osc_quiesce.cli import options
from osc_quiesce import client as quiesce_client
from osc_quiesce import errors
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce import retry

LOG = logging.getLogger(__name__)

DEFAULT_UNQUIESCE_AFTER = 120  # seconds

COLUMNS = (
    'Server',
    'Device',
    'Volume ID',
    'Snapshot ID',
    'Size',
    'Status',
    'Window',
)
# What a restore needs besides, for programs; too wide for a terminal
MACHINE_COLUMNS = (
    *COLUMNS,
    'Server ID',
    'Stage',
    'Boot Index',
    'Delete On Termination',
    'Volume Name',
    'Volume Type',
    'Set ID',
    'Set Name',
    'Consistency',
    'Server Data',
)
PLAN_COLUMNS = (
    'Stage',
    'Server',
    'Server ID',
    'Device',
    'Volume ID',
    'Volume Name',
    'Size',
    'Snapshot',
    'Refused',
)
LIST_COLUMNS = (
    'ID',
    'Name',
    'Application',
    'Created At',
    'Consistency',
    'Snapshots',
    'Window',
)


class Servers(columns.FormattableColumn[Any]):
    """What a restore needs: a summary for people, all of it for machines."""

    def human_readable(self) -> str:
        lines = []
        for server in self._value:
            flavor = server['flavor']
            lines.append(
                _('%(order)d. %(label)s, flavor %(flavor)s, image %(image)s')
                % {
                    'order': server['order'] + 1,
                    'label': model.label(server['id'], server['name']),
                    'flavor': flavor.get('original_name'),
                    'image': server['image'] or _('none (boots from volume)'),
                }
            )
            lines += [
                _('   %(device)s: volume %(id)s, %(size)d GiB, snapshot %(s)s')
                % {**volume, 's': volume['snapshot_id'] or _('none')}
                for volume in server['volumes']
            ]
        return '\n'.join(lines)


class _Command:
    """What the four commands have in common."""

    app: Any

    def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    @property
    def _cloud(self) -> cloud_api.Cloud:
        return cloud_api.Cloud(self.app.client_manager.sdk_connection)

    @property
    def _client(self) -> quiesce_client.Client:
        client: quiesce_client.Client = self.app.client_manager.server_quiesce
        return client.with_sleep(self._sleep)


def _failed(exc: Exception) -> osc_exceptions.CommandError:
    return osc_exceptions.CommandError(str(exc))


class CreateApplicationSnapshot(_Command, command.Lister):
    _description = _(
        'Take a consistent snapshot of all volumes of several servers (admin '
        'only by default). Everything is checked first. Then the servers are '
        'quiesced in order, all snapshots are taken at once, and the servers '
        'are thawed in reverse order. If anything fails, or on Ctrl-C, '
        'SIGTERM or SIGHUP, the servers are thawed and the snapshots deleted.'
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._interrupts = interrupts.Interrupts()

    def _sleep(self, seconds: float) -> None:
        self._interrupts.sleep(seconds)

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'name', metavar='<name>', help=_('Name of the snapshot set')
        )
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument(
            '--server',
            metavar='<server>',
            action='append',
            help=_(
                'Server (name or ID); repeat the option for several servers, '
                'which are quiesced one after the other in this order'
            ),
        )
        what.add_argument(
            '--file',
            metavar='<file>',
            help=_('File in YAML that describes the application'),
        )
        parser.add_argument(
            '--timeout',
            metavar='<seconds>',
            type=options.timeout,
            default=retry.DEFAULT_TIMEOUT,
            help=_(
                'How long to wait for each stage, and for all snapshots, in '
                'seconds (default: %g)'
            )
            % retry.DEFAULT_TIMEOUT,
        )
        parser.add_argument(
            '--unquiesce-after',
            metavar='<seconds>',
            type=options.whole_seconds,
            default=DEFAULT_UNQUIESCE_AFTER,
            help=_(
                'Have the cloud thaw each server by itself so many seconds '
                'after it was frozen, if this command cannot (default: %d)'
            )
            % DEFAULT_UNQUIESCE_AFTER,
        )
        parser.add_argument(
            '--description',
            metavar='<description>',
            default='',
            help=_('Description of the snapshots'),
        )
        parser.add_argument(
            '--property',
            metavar='<key=value>',
            dest='properties',
            action=parseractions.KeyValueAction,
            default={},
            help=_('Metadata of the snapshots (repeat for several)'),
        )
        parser.add_argument(
            '--allow-local-disk',
            action='store_true',
            help=_(
                'Accept servers with a root or ephemeral disk that is not a '
                'volume, and so will not be in the snapshots'
            ),
        )
        parser.add_argument(
            '--dry-run',
            action='store_true',
            help=_('Show what would be done and refused, and do nothing'),
        )
        parser.add_argument(
            '--keep-inconsistent',
            action='store_true',
            help=_(
                'If a server turns out not to have stayed frozen, keep the '
                'snapshots and mark them, instead of deleting them'
            ),
        )
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        # An unknown column name must not come to light after a freeze.
        options.check_columns(
            self,
            parsed_args,
            PLAN_COLUMNS if parsed_args.dry_run else _columns(parsed_args),
        )
        self._exit_code = 0
        try:
            return super().run(parsed_args) or self._exit_code
        except interrupts.Interrupted as exc:
            LOG.error(
                _('Interrupted; no consistent snapshot set was made.')
            )
            return exc.exit_code
        finally:
            self._interrupts.restore()

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        self._check_options(parsed_args)
        try:
            plan = self._plan(parsed_args)
        except (
            application_errors.ApplicationError, errors.QuiesceError
        ) as exc:
            raise _failed(exc) from exc
        for refusal in plan.refusals:
            LOG.error('%s', refusal)
        if parsed_args.dry_run:
            self._exit_code = 1 if plan.refusals else 0
            return PLAN_COLUMNS, _plan_rows(plan)
        if plan.refusals:
            raise osc_exceptions.CommandError(
                _('Nothing was quiesced, and no snapshot was taken.')
            )
        shown = _columns(parsed_args)
        return shown, _rows(self._create(plan, parsed_args), len(shown))

    @staticmethod
    def _check_options(parsed_args: argparse.Namespace) -> None:
        for key, value in parsed_args.properties.items():
            if key.startswith(snapshot_sets.PREFIX):
                raise osc_exceptions.CommandError(
                    _('Properties that begin with "%s" are reserved.')
                    % snapshot_sets.PREFIX
                )
            if max(len(key), len(value)) > spec.LONGEST_NAME:
                raise osc_exceptions.CommandError(
                    _('Property "%(key)s" is longer than %(max)d characters.')
                    % {'key': key, 'max': spec.LONGEST_NAME}
                )
        name = parsed_args.name
        if not name.strip() or len(name) > spec.LONGEST_NAME:
            raise osc_exceptions.CommandError(
                _('The name must have 1 to %d characters.')
                % spec.LONGEST_NAME
            )
        if len(parsed_args.description) > spec.LONGEST_NAME:
            raise osc_exceptions.CommandError(
                _('The description must have at most %d characters.')
                % spec.LONGEST_NAME
            )

    def _plan(self, parsed_args: argparse.Namespace) -> planning.Plan:
        if parsed_args.file:
            application = spec.from_file(parsed_args.file)
        else:
            application = spec.from_servers(
                parsed_args.name, parsed_args.server
            )
        return preflight.make(
            self._client,
            self._cloud,
            parsed_args.name,
            application,
            parsed_args.unquiesce_after,
            parsed_args.allow_local_disk,
        )

    def _create(
        self, plan: planning.Plan, parsed_args: argparse.Namespace
    ) -> snapshot_sets.SnapshotSet:
        self._interrupts.install(
            _('stopping after the request under way, and thawing ...'),
            _('already stopping; thawing goes on until it is done'),
        )
        try:
            return create.create(
                self._client,
                self._cloud,
                plan,
                parsed_args.timeout,
                parsed_args.description,
                parsed_args.properties,
                parsed_args.keep_inconsistent,
                options.progress_of(self.app),
                self._interrupts.shielded,
            )
        except create.Kept as exc:
            raise _failed(exc) from exc
        except (
            application_errors.ApplicationError, errors.QuiesceError
        ) as exc:
            if isinstance(exc, errors.ThawFailed) and exc.__cause__:
                if isinstance(exc.__cause__, interrupts.Interrupted):
                    LOG.error('%s', exc)
                    raise exc.__cause__ from exc
                LOG.error('%s', exc.__cause__)
            LOG.error('%s', exc)
            raise osc_exceptions.CommandError(
                _('No consistent snapshot set "%s" was made.') % plan.name
            ) from exc


def _columns(parsed_args: argparse.Namespace) -> tuple[str, ...]:
    # People get what fits on a terminal, unless they name columns.
    if parsed_args.formatter == 'table' and not parsed_args.columns:
        return COLUMNS
    return MACHINE_COLUMNS


def _rows(
    made: snapshot_sets.SnapshotSet, width: int
) -> list[tuple[Any, ...]]:
    servers = {server['id']: server for server in made.servers}
    rows = []
    for snapshot in made.snapshots:
        server = servers[snapshot_sets.get(snapshot, 'server_id')]
        volume = next(
            v for v in server['volumes'] if v['id'] == snapshot['volume_id']
        )
        rows.append(
            (
                server['name'],
                volume['device'],
                volume['id'],
                snapshot['id'],
                snapshot['size'],
                snapshot['status'],
                made.window,
                server['id'],
                server['stage'],
                volume['boot_index'],
                volume['delete_on_termination'],
                volume['name'],
                volume['type'],
                made.id,
                made.name,
                made.state,
                server,
            )[:width]
        )
    return rows


def _plan_rows(plan: planning.Plan) -> list[tuple[Any, ...]]:
    taken = {(s.id, v.id) for s, v in plan.snapshots}
    rows: list[tuple[Any, ...]] = []
    for server in plan.servers:
        start = (server.stage, server.name, server.id)
        refused = '; '.join(server.refused)
        rows += [
            (
                *start,
                volume.device,
                volume.id,
                volume.name,
                volume.size,
                (server.id, volume.id) in taken,
                refused,
            )
            for volume in server.volumes
        ] or [(*start, '', '', '', '', False, refused)]
    return rows


class ListApplicationSnapshot(_Command, command.Lister):
    _description = _('List the snapshot sets of the project.')

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        try:
            found = snapshot_sets.find_all(self._cloud)
        except application_errors.ApplicationError as exc:
            raise _failed(exc) from exc
        return LIST_COLUMNS, [
            (
                s.id,
                s.name,
                s.application,
                s.created_at,
                s.state,
                len(s.snapshots),
                s.window,
            )
            for s in found
        ]


class ShowApplicationSnapshot(_Command, command.ShowOne):
    _description = _(
        'Show a snapshot set, with all that is needed to restore it.'
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        return _with_set(super().get_parser(prog_name))

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Sequence[Any]]:
        try:
            found = snapshot_sets.find(self._cloud, parsed_args.set)
        except application_errors.ApplicationError as exc:
            raise _failed(exc) from exc
        data = {
            'id': found.id,
            'name': found.name,
            'application': found.application,
            'description': found.description,
            'properties': found.properties,
            'created_at': found.created_at,
            'consistency': found.state,
            'window': found.window,
            'complete': found.complete,
            'snapshots': len(found.snapshots),
            'snapshots_wanted': found.volumes,
            'version': found.version,
            'servers': Servers(found.servers),
        }
        return tuple(data), tuple(data.values())


class DeleteApplicationSnapshot(_Command, command.Command):
    _description = _(
        'Delete all snapshots of a set, even if some are already gone.'
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        return _with_set(super().get_parser(prog_name))

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        client, cloud = self._client, self._cloud
        try:
            snapshot_sets.delete(
                cloud,
                snapshot_sets.find(cloud, parsed_args.set).id,
                self._sleep,
                client.timer.clock,
            )
        except snapshot_sets.NoSuchSet as exc:
            raise osc_exceptions.CommandError(
                _('%s It may already have been deleted.') % exc
            ) from exc
        except application_errors.ApplicationError as exc:
            raise _failed(exc) from exc


def _with_set(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument(
        'set', metavar='<name>', help=_('Snapshot set (name or ID)')
    )
    return parser
