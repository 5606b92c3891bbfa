# SPDX-License-Identifier: Apache-2.0

"""What Nova does to servers without a word: reset, deletion, evacuation.

A sweep of a cell reads the states of just the servers whose guests are frozen,
and makes the rows due of those that are not quiesced.  It also looks for
servers in our task states that have no row, which a nova-api has left behind.
This module must never freeze or thaw: who works on a row that is due does.
"""

from collections.abc import Sequence

from nova import context as nova_context
from oslo_log import log as logging

from nova_quiesce import actions
from nova_quiesce import db
from nova_quiesce import exceptions
from nova_quiesce import states
from nova_quiesce import store

LOG = logging.getLogger(__name__)

#: how many servers are read by one statement
PORTION = 500


class Sweep:
    """Looks at the servers of one cell.

    :param host: name of this service
    """

    def __init__(self, host: str, freezes: store.Store) -> None:
        self._host = host
        self._store = freezes

    def run(self, context: nova_context.RequestContext,
            cell_uuid: str) -> None:
        """Look once at the context's cell."""
        self._look_at_frozen(context, cell_uuid)
        self._look_for_orphans(context, cell_uuid)
        self._store.report('', cell_uuid)

    def _look_at_frozen(self, context: nova_context.RequestContext,
                        cell_uuid: str) -> None:
        marker: str | None = None
        while rows := self._store.find(
                marker=marker, limit=PORTION, cell_uuid=cell_uuid,
                states=(store.State.FROZEN,)):
            marker = rows[-1].instance_uuid
            quiesced = {
                server.uuid for server in db.states_of(
                    context, [row.instance_uuid for row in rows])
                if server.vm_state == states.QUIESCED}
            for row in rows:
                if row.instance_uuid not in quiesced:
                    self._store.make_due(
                        row.instance_uuid, store.State.FROZEN)
            if len(rows) < PORTION:
                break

    def _look_for_orphans(self, context: nova_context.RequestContext,
                          cell_uuid: str) -> None:
        found = db.in_task_state(context, states.TASK_STATES)
        for first in range(0, len(found), PORTION):
            without = self._without_row(found[first:first + PORTION])
            if not without:
                continue
            # The row is written before the state and goes after it. So work
            # that has ended since, and perhaps has begun once more, shows.
            again = db.states_of(context, [each.uuid for each in without])
            for server in self._without_row(
                    [each for each in again if each in without]):
                self._adopt(context, cell_uuid, server)

    def _without_row(self, servers: Sequence[db.ServerStates],
                     ) -> list[db.ServerStates]:
        """Return those of these servers that have no row."""
        known = {row.instance_uuid for row in self._store.find(
            instance_uuids=[server.uuid for server in servers])}
        return [server for server in servers if server.uuid not in known]

    def _adopt(self, context: nova_context.RequestContext, cell_uuid: str,
               server: db.ServerStates) -> None:
        LOG.warning('Server %(uuid)s is in task_state %(state)s and has no '
                    'record of a freeze',
                    {'uuid': server.uuid, 'state': server.task_state})
        if server.task_state == states.UNQUIESCING:
            self._store.insert_thaw(
                instance_uuid=server.uuid, cell_uuid=cell_uuid,
                host=server.host, project_id=server.project_id)
            return
        # Without a row nothing was sent.
        with db.transaction(context, server.uuid):
            if db.move(context, server.uuid,
                       (server.vm_state, server.task_state),
                       (server.vm_state, None)):
                error = exceptions.NotBegun()
                actions.finish(context, server.uuid, self._host, None, error,
                               others=error)
