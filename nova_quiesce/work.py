# SPDX-License-Identifier: Apache-2.0

"""What a service does with one row of the table of freezes, and its guest.

Each function below works on a row that its service owns.  The order is always
the same: the row is written before a freeze is sent; at the end the server's
state and the end of its event are one transaction, and the row goes after it.
A service that stops anywhere in between leaves a row, which another service
takes when the lease has ended.

This module must never delete a row, except if nothing is frozen by it or if
there is no server.  What thaws is :mod:`nova_quiesce.thawing`.
"""

from collections.abc import Callable
from typing import TypeAlias

from nova import context as nova_context
from nova import exception
from nova import objects
from oslo_log import log as logging

from nova_quiesce import actions
from nova_quiesce import cells
from nova_quiesce import conf
from nova_quiesce import exceptions
from nova_quiesce import guest
from nova_quiesce import notifier
from nova_quiesce import records
from nova_quiesce import schema
from nova_quiesce import states
from nova_quiesce import store
from nova_quiesce import thawing
from nova_quiesce import times

CONF = conf.CONF
LOG = logging.getLogger(__name__)

_Context: TypeAlias = nova_context.RequestContext


class Work:
    """Carries out what rows ask for.

    :param host: name of this service
    :param notify: sends notifications
    """

    def __init__(self, host: str, freezes: store.Store,
                 known_cells: cells.Cells,
                 notify: notifier.Notifier) -> None:
        self._host = host
        self._store = freezes
        self._cells = known_cells
        self.guests = guest.Guests()
        self._records = records.Records(host, notify)
        self.thawing = thawing.Thawing(
            host, freezes, self.guests, self._records)
        self._steps: dict[str, Callable[
            [_Context, objects.Instance, store.Freeze], None]] = {
                store.State.ASKED: self._freeze_if_wanted,
                store.State.FREEZING: self.thawing.take_over,
                store.State.FROZEN: self.thawing.thaw_if_over,
                store.State.THAWING: self.thawing.thaw}

    def do(self, instance_uuid: str, hinted: bool = False) -> None:
        """Take the row of a server, if it is due, and do what it asks for.

        :param hinted: whether nova-api has sent a message about it
        """
        row = self._store.take(
            instance_uuid, times.LOOK_LEASE, hinted=hinted)
        if row is None:
            return    # somebody else has it, or has done it
        try:
            self._do(nova_context.get_admin_context(), row)
        except cells.NoAnswer:
            # What was sent by now counts as unknown. So no pause before the
            # last thaw is shortened: if there is one, it begins again.
            kept = {'state': row.state
                    } if row.state == store.State.FREEZING else {}
            self._store.release(row, times.WAIT_PAUSE, **kept)

    def _do(self, context: _Context, row: store.Freeze) -> None:
        try:
            mapping = objects.InstanceMapping.get_by_instance_uuid(
                context, row.instance_uuid).cell_mapping
            with self._cells.target(context, mapping) as cell:
                instance = objects.Instance.get_by_uuid(
                    cell, row.instance_uuid, expected_attrs=[
                        'system_metadata', 'metadata', 'flavor'])
                self._steps[row.state](cell, instance, row)
        except (exception.InstanceMappingNotFound,
                exception.InstanceNotFound):
            self._end_deleted(context, row)

    def _freeze_if_wanted(self, cell: _Context, instance: objects.Instance,
                          row: store.Freeze) -> None:
        """Freeze, unless the request is not wanted any more."""
        waited = row.now - row.requested_at
        found = instance.vm_state, instance.task_state
        error: exceptions.GuestError
        if row.given_up:
            error = exceptions.Withdrawn()
        elif found == states.QUIESCE.during:
            if waited <= times.take_up_timeout():
                self._freeze(cell, instance, row)
                return
            error = exceptions.NotTakenUp(seconds=waited)
        elif found == states.QUIESCE.before:
            if waited < times.ASK_GRACE:
                # nova-api has not come to the server's state yet.
                self._store.release(row, times.ASK_PAUSE)
                return
            error = exceptions.NotBegun()
        else:
            error = records.state_changed(instance)
        if instance.task_state == states.QUIESCING:
            # An earlier request that stood still may have set the state.
            actions.begin(
                actions.own_context(cell, row.project_id, row.user_id,
                                    row.request_id),
                instance.uuid, states.QUIESCE, self._host)
        self._end_unfrozen(cell, instance, row, error)

    def _freeze(self, cell: _Context, instance: objects.Instance,
                row: store.Freeze) -> None:
        own = actions.own_context(
            cell, row.project_id, row.user_id, row.request_id)
        actions.begin(own, instance.uuid, states.QUIESCE, self._host)
        self._records.notify_action(own, instance, states.QUIESCE, 'start')
        # The last look before it is sent, and the beginning of the lease.
        sent = self._store.update(
            row, times.freeze_lease(), state=store.State.FREEZING)
        if sent is None:
            return    # this service has stood still: it is another one's
        try:
            self.guests.freeze(own, instance, times.freeze_timeout())
        except exceptions.GuestError as error:
            self._freeze_failed(cell, instance, sent, error)
        else:
            self._freeze_done(cell, instance, sent)

    def _freeze_done(self, cell: _Context, instance: objects.Instance,
                     row: store.Freeze) -> None:
        # The deadline counts from here, even if this service ends now.
        current = self._store.update(
            row, times.THAW_LEASE, frozen_at=store.now())
        if current is None:
            # It has stood still; the guest may have been thawed before.
            schema.insistent(self._store.reclaim)(row)
            return
        if current.given_up:
            self.thawing.thaw_at_once(cell, instance, current)
            return
        try:
            saved = self._records.save_quiesced(cell, instance, current)
        except Exception:
            # It may be committed all the same: who takes the row next reads
            # it, before anybody thaws.
            self._store.release(current, 0)
            raise
        if not saved:
            instance.refresh()
            self.thawing.thaw_at_once(cell, instance, current)
            return
        is_wanted = self._store.mark_frozen(current)
        self._records.notify_states(
            cell, instance, states.QUIESCE.during, states.UNQUIESCE.before)
        self._records.notify_action(cell, instance, states.QUIESCE, 'end')
        LOG.info('The guest is frozen', instance=instance)
        if not is_wanted:
            # Withdrawn since.
            self.thawing.thaw_at_once(cell, instance, current)

    def _freeze_failed(self, cell: _Context, instance: objects.Instance,
                       row: store.Freeze, error: exceptions.GuestError,
                       ) -> None:
        """Undo what the freeze may have done."""
        if error.outcome is states.Outcome.REFUSED:
            self._end_unfrozen(cell, instance, row, error)
            return
        current = self._store.reread(row)
        if current is None:
            schema.insistent(self._store.reclaim)(row)
            return
        thaw_error = self.thawing.try_thaw(
            cell, instance, times.undo_timeout())
        if self.thawing.rethaw_if_lost(current):
            return
        if error.may_follow or (
                thaw_error and thaw_error.outcome is not states.Outcome.DONE):
            self._keep_for_thaw(cell, instance, current, error)
        else:
            self._end_unfrozen(
                cell, instance, current, error,
                states.Outcome.REFUSED if CONF.quiesce.restore_after_thaw
                else states.Outcome.FAILED)

    def _keep_for_thaw(self, cell: _Context, instance: objects.Instance,
                       row: store.Freeze, error: exceptions.GuestError,
                       ) -> None:
        """End a request whose guest may be frozen; its row stays."""
        text: str | None = error.format_message()
        # Row before state: if this service dies between, the row shows that
        # this error is ours to clear. And it may have been withdrawn.
        current = self._store.update(row, error=text)
        if current is None:
            return    # another service goes on with it
        if not self._records.save_failed(
                cell, instance, current, error, states.Outcome.FAILED):
            text = None    # somebody else has set the state
        if error.may_follow:
            # Not before the end of the lease: a freeze may follow until then.
            self._store.update(current, owner=None, error=text)
        else:
            self._store.release(current, times.retry_pause(1), error=text,
                                state=store.State.THAWING, attempts=1)

    def _end_unfrozen(self, cell: _Context, instance: objects.Instance,
                      row: store.Freeze, error: exceptions.GuestError,
                      ends_as: states.Outcome = states.Outcome.REFUSED,
                      ) -> None:
        """End a request whose guest is not frozen by it."""
        current = self._store.reread(row)
        if current is None:
            return
        self._records.save_failed(
            cell, instance, current, error, ends_as, is_over=True)
        self._drop(cell, current)

    def _drop(self, cell: _Context, row: store.Freeze) -> None:
        """Delete the row of a guest that is not frozen by its request."""
        while not self._store.delete(row):
            current = self._store.reread(row)
            if current is None:
                return
            row = current    # withdrawn in the last moment
            schema.retried(actions.finish)(
                cell, row.instance_uuid, self._host,
                row.unquiesce_request_id, None)

    def _end_deleted(self, context: _Context, row: store.Freeze) -> None:
        """End the requests of a server that was deleted, and drop its row."""
        try:
            cell = objects.CellMapping.get_by_uuid(context, row.cell_uuid)
        except exception.CellMappingNotFound:
            self._store.delete(row)
            return
        error = exceptions.Deleted()
        with self._cells.target(context, cell) as targeted:
            schema.retried(actions.finish)(
                targeted, row.instance_uuid, self._host, row.request_id,
                error, others=error)
        self._store.delete(row)
        LOG.info('Server %s is deleted; its guest is not frozen any more',
                 row.instance_uuid)
