# SPDX-License-Identifier: Apache-2.0

"""Freeze, take the snapshots, thaw, check: the making of a snapshot set.

Servers are frozen only while the snapshots are taken. Whatever fails, they are
thawed first, and then the snapshots are deleted.
"""

from collections.abc import Callable, Mapping
import contextlib
import logging
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import contention
from osc_quiesce.application import errors
from osc_quiesce.application import inspector
from osc_quiesce.application import metadata
from osc_quiesce.application import plan as planning
from osc_quiesce.application import snapshot_sets
from osc_quiesce.application import taking
from osc_quiesce import client as quiesce_client
from osc_quiesce import concurrency
from osc_quiesce import errors as quiesce_errors
from osc_quiesce import group
from osc_quiesce.i18n import _
from osc_quiesce import report as reports

LOG = logging.getLogger(__name__)

SEAL_PATIENCE: Final = 60.0  # seconds, for a Cinder that is away


class Kept(errors.ApplicationError):
    """It did not go well, but the set was kept; the message says why."""


def create(client: quiesce_client.Client, cloud: cloud_api.Cloud,
           plan: planning.Plan, timeout: float,
           keep_inconsistent: bool = False,
           progress: group.Progress = lambda sentence: None,
           shield: group.Shield = contextlib.nullcontext,
           ) -> snapshot_sets.SnapshotSet:
    """Make a consistent snapshot set, or none.

    :param timeout: seconds, for each stage, and for all snapshots together
    :param keep_inconsistent: whether to keep a set, marked, of which it is
        not proven that all servers stayed frozen
    :param progress, shield: as for :func:`group.quiesced`
    :returns: a consistent set
    :raises osc_quiesce.errors.QuiesceError: a server could not be frozen, did
        not stay frozen, or could not be thawed
    :raises Kept: the set was kept, and the message says why
    :raises errors.ApplicationError: it cannot be made; nothing is left
    """
    planning.check(plan)
    made = taking.Taking(client, cloud, plan)
    frozen: group.Frozen | None = None
    is_whole = False
    try:
        # Not before the thaw: a request may take long to come to its end.
        with made, contention.quiesced(
                client, cloud, plan, timeout, progress, shield) as frozen:
            progress(_('Taking %d snapshots ...') % len(plan.snapshots))
            made.take(timeout)
            is_whole = True
        frozen.verify()
        _check_volumes(client, cloud, plan)
        client.timer.sleep(0)  # where a signal may stop us
        return _seal(made, frozen.report)
    except Kept:
        raise
    except BaseException as exc:
        with shield():
            if is_whole:
                _keep_if_wanted(made, exc, keep_inconsistent)
            _undo(made, progress)
        raise


def _check_volumes(client: quiesce_client.Client, cloud: cloud_api.Cloud,
                   plan: planning.Plan) -> None:
    """Check that no volume came or went since the plan was made.

    Nova lets no user change the volumes of a quiesced server, and records who
    did before: so this can be asked for when nothing is frozen any more.
    Another server may have got a volume that several may have.
    """

    def check(server: planning.Server) -> None:
        [newest] = client.newest_actions(server, inspector.CHANGES)
        # None: newer actions have taken the place of an old change.
        if newest not in (None, server.newest_change):
            raise errors.ApplicationError(
                _('A volume was attached to server %(server)s, or detached '
                  'from it, by request %(request)s, since its volumes were '
                  'looked at. Try again.') % {
                      'server': server.label, 'request': newest})

    def check_users(volume: Mapping[str, Any]) -> None:
        try:
            shown = client.timer.until_answered(lambda: cloud.volume(
                'GET', f'/volumes/{volume["id"]}'), SEAL_PATIENCE)['volume']
        except cloud_api.CloudError as exc:
            raise errors.ApplicationError(
                _('Could not check whether volume %(volume)s was attached to '
                  'another server: %(why)s. Try again once that works.')
                % {'volume': volume['id'],
                   'why': str(exc).rstrip('.')}) from exc
        users = inspector.strangers(shown, {s.id for s in plan.servers})
        if users:
            raise errors.ApplicationError(
                _('Volume %(volume)s was attached to %(users)s since the '
                  'preflight, which is not frozen. Try again.') % {
                      'volume': volume['id'], 'users': ', '.join(users)})

    concurrency.run_all(check, plan.servers)
    concurrency.run_all(check_users, [
        volume for _server, volume in plan.snapshots if volume['multiattach']])


def _seal(made: taking.Taking,
          report: reports.Report) -> snapshot_sets.SnapshotSet:
    """Mark the set as consistent, and return it as Cinder has it.

    It is, whatever becomes of the marks: if Cinder does not take them for a
    while, the set is kept without.
    """
    try:
        found = _mark(made, {
            'consistency': snapshot_sets.CONSISTENT,
            'window': f'{report.window:.3f}',
            'complete': f'{report.complete:.3f}'})
    except cloud_api.NotThere:
        raise  # a snapshot is gone: it is not a whole set any more
    except cloud_api.CloudError as exc:
        raise Kept(
            _('Snapshot set %(name)s (%(id)s) is consistent, but Cinder does '
              'not let it be marked so: %(why)s. It is kept, and shown as '
              '%(state)s. Mark each of its snapshots with "openstack volume '
              'snapshot set --property %(key)s=%(value)s <snapshot>" '
              '(%(snapshots)s), or delete it with "openstack application '
              'snapshot delete %(id)s".')
            % {'name': made.plan.name,
               'id': made.set_id,
               'why': str(exc).rstrip('.'),
               'state': snapshot_sets.PENDING,
               'key': f'{metadata.PREFIX}consistency',
               'value': snapshot_sets.CONSISTENT,
               'snapshots': ' '.join(made.snapshots)}) from exc
    if found.state != snapshot_sets.CONSISTENT:
        raise errors.ApplicationError(
            _('Snapshot set %(name)s (%(id)s) is %(state)s.') % {
                'name': found.name, 'id': found.id, 'state': found.state})
    return found


def _keep_if_wanted(made: taking.Taking, exc: BaseException,
                    keep_inconsistent: bool) -> None:
    """Keep a set that is not proven, and raise Kept, if that is wanted.

    :param exc: what went wrong when all snapshots had been taken
    """
    if not keep_inconsistent or not isinstance(
            exc, (quiesce_errors.NotConsistent, quiesce_errors.ThawFailed)):
        return
    try:
        _mark(made, {'consistency': snapshot_sets.INCONSISTENT})
    except errors.ApplicationError as error:
        LOG.error(_('The set cannot be marked: %s'), error)
        return
    raise Kept(
        _('%(why)s. Snapshot set %(name)s (%(id)s) is NOT CONSISTENT; it is '
          'kept and marked so.') % {
              'why': str(exc).rstrip('.'), 'name': made.plan.name,
              'id': made.set_id}) from exc


def _undo(made: taking.Taking, progress: Callable[[str], object]) -> None:
    """Delete what was made; say what is left, if anything is."""
    if not made.has_begun:
        return
    progress(_('Deleting the snapshots ...'))
    try:
        unseen = snapshot_sets.delete(
            made.cloud, made.set_id, made.client.timer, late=made.unanswered)
    except errors.ApplicationError as exc:
        LOG.error('%s', exc)
        return
    if unseen:
        LOG.error(_('Cinder has not answered whether it makes a snapshot of '
                    '%(volumes)s, and none was there so far. If one appears, '
                    '"openstack application snapshot delete %(id)s" deletes '
                    'it.'),
                  {'volumes': ', '.join(unseen), 'id': made.set_id})


def _mark(made: taking.Taking,
          marks: Mapping[str, str]) -> snapshot_sets.SnapshotSet:
    """Mark the snapshots, and return the set as Cinder has it then.

    No server is frozen any more: there is time to repeat it.
    """

    def mark() -> snapshot_sets.SnapshotSet:
        snapshot_sets.mark(made.cloud, made.snapshots, marks)
        found = snapshot_sets.find(made.cloud, made.set_id)
        if found.state == snapshot_sets.PENDING:  # a database may lag behind
            raise cloud_api.CloudError(_('it does not show the marks'))
        return found

    return made.client.timer.until_answered(mark, SEAL_PATIENCE)
