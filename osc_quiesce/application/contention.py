# SPDX-License-Identifier: Apache-2.0

"""Which command goes first when several want the same servers.

If each is first at one of the servers, each is refused at another one, and
thaws what it had. Then the command whose request has the smaller id may try
again, and the other one is told by which request it was refused: both see the
same two ids, and no times are compared.

It waits only while nothing of its own command is frozen, and never for long.
"""

from collections.abc import Collection, Iterator
import contextlib
from typing import Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import plan as planning
from osc_quiesce.application import snapshot_sets
from osc_quiesce import client as quiesce_client
from osc_quiesce import errors as quiesce_errors
from osc_quiesce import group
from osc_quiesce.i18n import _
from osc_quiesce import retry
from osc_quiesce import states

ATTEMPTS: Final = 3  # to freeze all servers
LET_GO_TIME: Final = 10.0  # seconds, for another command to let go of a server


class LostRace(errors.ApplicationError):
    """Another command goes first; nothing of ours is left."""


@contextlib.contextmanager
def quiesced(client: quiesce_client.Client, cloud: cloud_api.Cloud,
             plan: planning.Plan, timeout: float, progress: group.Progress,
             shield: group.Shield) -> Iterator[group.Frozen]:
    """Freeze the servers of a plan, as :func:`group.quiesced` does.

    :raises LostRace: another command wants the servers, and goes first
    """
    with contextlib.ExitStack() as stack:
        known = {server.newest_quiesce for server in plan.servers}
        for attempt in range(ATTEMPTS):
            frozen = group.Frozen(
                client, plan.stages, timeout,
                {s.id: s.unquiesce_after for s in plan.servers}, progress,
                shield)
            try:
                with contextlib.ExitStack() as attempted:
                    attempted.enter_context(frozen)
                    frozen.quiesce()
                    stack.push(attempted.pop_all())
                break
            except quiesce_errors.Conflict as exc:
                is_last = attempt == ATTEMPTS - 1
                known.add(frozen.request_id)
                _let_pass(client, frozen.request_id, exc, known, is_last,
                          progress)
                _check_again(cloud, plan)
        yield frozen


def _let_pass(client: quiesce_client.Client, own_id: str,
              refused: quiesce_errors.Conflict, known: Collection[str | None],
              is_last: bool, progress: group.Progress) -> None:
    """Return when the server that refused us can be frozen.

    :param own_id: the id of our request
    :param known: ids of requests to quiesce that cannot have been in the way
    :param is_last: whether this was the last attempt
    :raises LostRace: another command goes first, or has it for too long
    :raises osc_quiesce.errors.Conflict: it was not another request that was in
        the way
    """
    if refused.server is None:
        raise refused
    progress(_('Waiting for another command ...'))
    deadline = client.timer.clock() + LET_GO_TIME
    was_held = False
    for pause in retry.pauses():
        found = client.get_server(refused.server)
        [other] = client.newest_actions(refused.server, {states.QUIESCE})
        is_free = (found.vm_state, found.task_state) == (states.ACTIVE, None)
        is_held = found.vm_state == states.QUIESCED or found.task_state in (
            states.QUIESCING, states.UNQUIESCING)
        was_held = was_held or is_held
        if other is None or not (
                is_held or is_free and (was_held or other not in known)):
            raise refused
        if is_last:
            what = _('was in the way of the last of %d attempts') % ATTEMPTS
        elif other not in known and other < own_id:
            what = _('goes first')
        elif is_free:
            return
        elif client.timer.clock() + pause > deadline:
            what = _('still held it after %g s') % LET_GO_TIME
        else:
            client.timer.sleep(pause)
            continue
        # Translators: what is done has no subject, such as "goes first".
        message = _('Server %(server)s could not be quiesced: %(why)s. '
                    'Request %(request)s to quiesce it %(what)s. This command '
                    'has unquiesced its servers and taken no snapshot. Try '
                    'again later.')
        raise LostRace(message % {
            'server': refused.server.label, 'why': refused.why.rstrip('.'),
            'request': other, 'what': what}) from refused


def _check_again(cloud: cloud_api.Cloud, plan: planning.Plan) -> None:
    """Raise if another command has made the same set since the plan."""
    found = snapshot_sets.find_all(cloud)
    problems = planning.name_problems(found, plan.name)
    if problems:
        raise errors.NotPossible(problems)
    wanted = {volume['id'] for _server, volume in plan.snapshots}
    for each in found:
        volumes = {snapshot['volume_id'] for snapshot in each.snapshots}
        if (each.id not in plan.sets_before and wanted <= volumes
                # Else it came to nothing, and is perhaps being deleted.
                and each.state in (snapshot_sets.CONSISTENT,
                                   snapshot_sets.PENDING)):
            raise LostRace(_('Another command has just made snapshot set '
                             '%(name)s (%(id)s) of the same volumes. This '
                             'command has unquiesced its servers and taken no '
                             'snapshot.') % {'name': each.name, 'id': each.id})
