# SPDX-License-Identifier: Apache-2.0

"""What a service does with one row of the table of freezes, and its guest.

Each function below works on a row that its service owns.  The order is always
the same: the row is written before a freeze is sent; at the end the server's
state and the end of its event are one transaction, and the row goes after it.
A service that stops anywhere in between leaves a row, which another service
takes when the lease has ended.

A thaw is confirmed, and the row goes, if it succeeded when no freeze could
follow any more.  This module must never delete a row otherwise, except if
nothing was sent or if there is no guest.
"""

from collections.abc import Callable
from typing import TypeAlias

from nova import context as nova_context
from nova import exception
from nova import objects
from nova.compute import power_state
from nova.compute import utils as compute_utils
from nova.compute import vm_states
from nova.notifications import base as notifications
from oslo_config import cfg
from oslo_log import log as logging
from oslo_utils import uuidutils

from nova_quiesce import actions
from nova_quiesce import cells
from nova_quiesce import db
from nova_quiesce import exceptions
from nova_quiesce import guest
from nova_quiesce import rpcapi
from nova_quiesce import states
from nova_quiesce import store
from nova_quiesce import times
from nova_quiesce.i18n import _

CONF = cfg.CONF
LOG = logging.getLogger(__name__)

ACTIVE, ERROR = vm_states.ACTIVE, vm_states.ERROR

#: Events of Nova after which a guest has started anew, and is not frozen.
#: Suspend and resume, and live migration, are not among them.
RESTARTS = (
    'compute_reboot_instance', 'compute_stop_instance',
    'compute_start_instance', 'compute_rebuild_instance',
    'compute_rescue_instance', 'compute_unrescue_instance',
    'compute_finish_resize', 'compute_finish_revert_resize',
    'compute_shelve_instance', 'compute_unshelve_instance')

_Context: TypeAlias = nova_context.RequestContext


class Work:
    """Carries out what rows ask for.

    :param host: name of this service
    """

    def __init__(self, host: str, freezes: store.Store,
                 known_cells: cells.Cells) -> None:
        self._host = host
        self._store = freezes
        self._cells = known_cells
        self.guests = guest.Guests()
        #: thaws that failed since this service was started
        self.thaws_failed = 0
        self._steps: dict[str, Callable[
            [_Context, objects.Instance, store.Freeze], None]] = {
                store.State.ASKED: self._asked,
                store.State.FREEZING: self._interrupted,
                store.State.FROZEN: self._frozen,
                store.State.THAWING: self._thaw}

    def do(self, instance_uuid: str, hinted: bool = False) -> None:
        """Take the row of a server, if it is due, and do what it asks for.

        :param hinted: whether nova-api has sent a message about it
        """
        row = self._store.take(
            instance_uuid, times.THAW_LEASE, hinted=hinted)
        if row is None:
            return    # somebody else has it, or has done it
        try:
            self._do(nova_context.get_admin_context(), row)
        except cells.NoAnswer:
            # What was sent by now counts as unknown.
            self._store.release(row, times.WAIT_PAUSE)

    def _do(self, context: _Context, row: store.Freeze) -> None:
        try:
            with self._cells.of_server(context, row.instance_uuid) as cell:
                instance = objects.Instance.get_by_uuid(
                    cell, row.instance_uuid, expected_attrs=[
                        'system_metadata', 'metadata', 'flavor'])
                self._steps[row.state](cell, instance, row)
        except (exception.InstanceMappingNotFound,
                exception.InstanceNotFound):
            self._gone(context, row)

    # Freezing -------------------------------------------------------------

    def _asked(self, cell: _Context, instance: objects.Instance,
               row: store.Freeze) -> None:
        """Freeze, unless the request is not wanted any more."""
        waited = row.now - row.requested_at
        found = instance.vm_state, instance.task_state
        error: exceptions.GuestError
        if row.withdrawn:
            error = exceptions.Withdrawn()
        elif found == (ACTIVE, states.QUIESCING):
            if waited <= times.take_up_timeout():
                self._freeze(cell, instance, row)
                return
            error = exceptions.NotTakenUp(seconds=waited)
        elif found == (ACTIVE, None) and waited < times.ASK_GRACE:
            # nova-api has not come to the server's state yet.
            self._store.release(row, times.ASK_PAUSE)
            return
        else:
            error = _state_changed(instance)
        if instance.task_state == states.QUIESCING:
            # nova-api may have died before it recorded the request.
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
        self._notify(own, instance, states.QUIESCE, 'start')
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
        current = self._store.reread(row)
        if current is None:
            # It has stood still; the guest may have been thawed before.
            self._store.reclaim(row)
            return
        if current.withdrawn:
            self._thaw_at_once(cell, instance, current)
            return
        try:
            saved = self._save_quiesced(cell, instance, current)
        except Exception:
            # It may be committed all the same: who takes the row next reads
            # it, before anybody thaws.
            self._store.release(current, 0)
            raise
        if not saved:
            instance.refresh()
            self._thaw_at_once(cell, instance, current)
            return
        is_wanted = self._store.frozen(current, current.now)
        self._tell(cell, instance, (ACTIVE, states.QUIESCING),
                   (states.QUIESCED, None))
        self._notify(cell, instance, states.QUIESCE, 'end')
        LOG.info('The guest is frozen', instance=instance)
        if not is_wanted:
            self._thaw_at_once(cell, instance, current)    # withdrawn since

    def _thaw_at_once(self, cell: _Context, instance: objects.Instance,
                      row: store.Freeze) -> None:
        """Undo a freeze that has succeeded and is not wanted any more."""
        thawing = self._store.update(
            row, times.THAW_LEASE, state=store.State.THAWING)
        if thawing is not None:
            self._thaw(cell, instance, thawing)

    @db.retried
    def _save_quiesced(self, cell: _Context, instance: objects.Instance,
                       row: store.Freeze) -> bool:
        """Save that the guest is frozen, and the end of the request."""
        with db.transaction(cell):
            # A later request may have put the server into the same states.
            if not actions.is_open(cell, instance.uuid, row.request_id):
                return False
            if not db.move(cell, instance.uuid, (ACTIVE, states.QUIESCING),
                           (states.QUIESCED, None)):
                return False
            if row.unquiesce_after:
                actions.announce(
                    cell, instance.uuid, self._host, row.request_id,
                    times.as_datetime(row.now),
                    times.as_datetime(row.now + row.unquiesce_after))
            actions.finish(
                cell, instance.uuid, self._host, row.request_id, None)
        return True

    def _freeze_failed(self, cell: _Context, instance: objects.Instance,
                       row: store.Freeze, error: exceptions.GuestError,
                       ) -> None:
        """Undo what the freeze may have done."""
        if error.outcome is states.Outcome.REFUSED:
            self._end_unfrozen(cell, instance, row, error)
            return
        current = self._store.reread(row)
        if current is None:
            self._store.reclaim(row)
            return
        thaw_error = self._try_thaw(cell, instance, times.undo_timeout())
        if self._is_lost(current):
            return
        may_be_frozen = error.may_follow or not _is_thawed(thaw_error)
        is_restored = not may_be_frozen and CONF.quiesce.restore_after_thaw
        ends_in = ACTIVE if is_restored else ERROR
        text: str | None = error.format_message()
        # First: else nobody would know whose the error is. And it may have
        # been withdrawn.
        current = self._store.update(
            current, error=text if may_be_frozen else None)
        if current is None:
            return    # another service goes on with it
        row = current
        if not self._save_failed(cell, instance, row, error, ends_in):
            text = None    # somebody else has set the state
        if not may_be_frozen:
            self._drop(cell, row)
        elif error.may_follow:
            # Not before the end of the lease: a freeze may follow until then.
            self._store.update(row, owner=None, error=text)
        else:
            self._store.release(row, times.retry_pause(1), error=text,
                                state=store.State.THAWING, attempts=1)

    def _end_unfrozen(self, cell: _Context, instance: objects.Instance,
                      row: store.Freeze, error: exceptions.GuestError,
                      ) -> None:
        """End a request that has frozen nothing."""
        current = self._store.reread(row)
        if current is None:
            return
        self._save_failed(cell, instance, current, error, ACTIVE)
        self._drop(cell, current)

    def _drop(self, cell: _Context, row: store.Freeze) -> None:
        """Delete the row of a guest that is not frozen by its request."""
        while not self._store.delete(row):
            current = self._store.reread(row)
            if current is None:
                return
            row = current    # withdrawn in the last moment
            db.retried(actions.finish)(
                cell, row.instance_uuid, self._host,
                row.unquiesce_request_id, None)

    def _save_failed(self, cell: _Context, instance: objects.Instance,
                     row: store.Freeze, error: exceptions.GuestError,
                     vm_state: str) -> bool:
        """Save that a quiesce has failed, and the end of the request.

        :param vm_state: what the server is in after it
        :returns: False if the server is not quiescing any more; then the
            request has ended all the same
        """
        before, after = (ACTIVE, states.QUIESCING), (vm_state, None)

        @db.retried
        def save() -> tuple[bool, bool]:
            with db.transaction(cell):
                is_open = actions.is_open(cell, instance.uuid, row.request_id)
                moved = is_open and db.move(
                    cell, instance.uuid, before, after)
                actions.finish(cell, instance.uuid, self._host,
                               row.request_id, error)
                if row.withdrawn and vm_state == ACTIVE:
                    actions.finish(cell, instance.uuid, self._host,
                                   row.unquiesce_request_id, None)
            return is_open, moved

        is_open, moved = save()
        if not is_open:
            return False    # it has ended before
        if moved:
            self._tell(cell, instance, before, after)
        if error.outcome is states.Outcome.FAILED:
            compute_utils.add_instance_fault_from_exc(cell, instance, error)
            LOG.error('The quiesce failed: %s', error, instance=instance)
        else:
            # The user finds it in the instance action.
            LOG.info('Nothing was frozen: %s', error, instance=instance)
        self._notify(cell, instance, states.QUIESCE, 'error', error)
        return moved

    def _interrupted(self, cell: _Context, instance: objects.Instance,
                     row: store.Freeze) -> None:
        """Go on with a freeze that nobody works on any more.

        If the server is quiesced, the freeze was answered, and nothing but
        its row is missing. Else the guest may be frozen.
        """
        if instance.vm_state == states.QUIESCED and not row.withdrawn:
            self._store.frozen(row, row.now)
            return
        if instance.vm_state == states.QUIESCED:
            self._thaw_at_once(cell, instance, row)
            return
        if self._must_wait(instance, row):
            return
        if instance.task_state == states.QUIESCING:
            error = exceptions.Interrupted()
            current = self._store.update(row, error=error.format_message())
            if current is None:
                return
            if not self._save_failed(cell, instance, current, error, ERROR):
                # It may be quiesced by now. If who had it before has saved
                # an error, that stands for this guest.
                instance.refresh()
                kept = current.error if instance.vm_state == ERROR else None
                self._store.release(current, 0, error=kept)
                return
            row = current
        # Whether its nova-compute is up does not count: that compares clocks,
        # and needs nova-conductor.
        if not self._store.update(row, times.THAW_LEASE):
            return
        thaw_error = self._try_thaw(cell, instance)
        if self._is_lost(row):
            return
        if thaw_error is not None and not _is_thawed(thaw_error):
            self._thaw_failed(cell, instance, row, thaw_error)
            return
        # The next thaw is the last one: until then a freeze that was sent at
        # the end of its lease expires, and a nova-compute that had stood
        # still carries it out. Nobody takes the row before.
        self._store.update(
            row, times.expiry_pause(), state=store.State.THAWING)

    def _is_lost(self, row: store.Freeze) -> bool:
        """Return whether a row was taken over during a thaw.

        If this service has stood still, the guest may have been frozen by
        another request: then this thaw has broken that freeze.
        """
        if self._store.reread(row) is not None:
            return False
        request_id = 'req-' + uuidutils.generate_uuid()
        for found in ((store.State.FROZEN,),
                      (store.State.ASKED, store.State.FREEZING)):
            self._store.want_thaw(row.instance_uuid, request_id, *found)
        return True

    # Thawing --------------------------------------------------------------

    def _frozen(self, cell: _Context, instance: objects.Instance,
                row: store.Freeze) -> None:
        """Thaw a guest past its deadline, or whose server is not quiesced."""
        if instance.vm_state != states.QUIESCED:
            reason = _('The server is %s, and its guest was frozen by request '
                       '%s') % (instance.vm_state, row.request_id)
        elif row.unquiesce_at is not None and row.now >= row.unquiesce_at:
            reason = _('The deadline of request %(request)s, %(when)s, has '
                       'passed') % {'request': row.request_id,
                                    'when': times.text(row.unquiesce_at)}
        else:    # it was made due for nothing
            until = row.unquiesce_at
            if until is None:
                self._store.update(row, owner=None, due_at=None)
            else:
                self._store.release(row, until - row.now)
            return
        self._thaw(cell, instance, row, reason)

    def _thaw(self, cell: _Context, instance: objects.Instance,
              row: store.Freeze, reason: str | None = None) -> None:
        """Thaw a guest that no freeze can reach any more.

        :param reason: why, in words, if no user has asked for it
        """
        if self._must_wait(instance, row):
            return
        if instance.vm_state in states.NOT_RUNNING or not instance.host:
            self._thawed(cell, instance, row, None, _(
                'The guest does not run: vm_state is %s') % instance.vm_state)
            return
        begun = self._begin_thaw(cell, instance, row)
        if begun is None:
            return
        if row.unquiesce_request_id is None and reason is None:
            reason = _('The guest may still be frozen by request %s'
                       ) % row.request_id
        error = self._try_thaw(cell, instance)
        if self._is_lost(begun):
            return
        if error is None or _is_thawed(error):
            self._thawed(cell, instance, begun, error, reason)
        elif self._is_restarted(cell, instance, begun, error):
            self._thawed(cell, instance, begun, None, _(
                'The guest has been started anew since it was frozen'))
        else:
            self._thaw_failed(cell, instance, begun, error)

    def _begin_thaw(self, cell: _Context, instance: objects.Instance,
                    row: store.Freeze) -> store.Freeze | None:
        """Record that a thaw begins: for the server, and as its action."""
        request_id = (row.unquiesce_request_id
                      or 'req-' + uuidutils.generate_uuid())
        own = actions.own_context(cell, row.project_id, None, request_id)
        before = (states.QUIESCED, None)
        after = (states.QUIESCED, states.UNQUIESCING)
        if instance.vm_state == states.QUIESCED and not instance.task_state:
            if db.retried(db.move)(cell, instance.uuid, before, after):
                self._tell(cell, instance, before, after)
        actions.begin(own, instance.uuid, states.UNQUIESCE, self._host)
        self._notify(own, instance, states.UNQUIESCE, 'start')
        # The last look before it is sent, and the beginning of the lease.
        return self._store.update(
            row, times.THAW_LEASE, state=store.State.THAWING,
            unquiesce_request_id=request_id)

    def _thawed(self, cell: _Context, instance: objects.Instance,
                row: store.Freeze, error: exceptions.GuestError | None,
                reason: str | None) -> None:
        """Save that the guest is thawed, and drop its row.

        :param error: what was wrong with the freeze
        """
        others = (exceptions.Withdrawn()
                  if instance.task_state == states.QUIESCING
                  else _state_changed(instance))
        self._save_end(cell, instance, row, states.Outcome.DONE, error,
                       reason, others)
        self._store.delete(row)
        self._notify(cell, instance, states.UNQUIESCE,
                     'error' if error else 'end', error)
        LOG.info('The guest is thawed%s', ': %s' % (error or reason)
                 if error or reason else '', instance=instance)

    def _thaw_failed(self, cell: _Context, instance: objects.Instance,
                     row: store.Freeze, error: exceptions.GuestError,
                     ) -> None:
        """Save that the guest may still be frozen, and try again later."""
        self.thaws_failed += 1
        attempts = row.attempts + 1
        text = row.error
        is_news = instance.vm_state != ERROR and ERROR == states.end_of_thaw(
            instance.vm_state, states.Outcome.FAILED, False)
        if is_news:
            # First: else nobody would know whose the error is.
            text = error.format_message()
            if self._store.update(row, error=text) is None:
                return    # another service goes on with it
        after = self._save_end(
            cell, instance, row, states.Outcome.FAILED, error, None, None)
        if is_news and after == ERROR:
            compute_utils.add_instance_fault_from_exc(cell, instance, error)
            self._notify(cell, instance, states.UNQUIESCE, 'error', error)
        elif is_news:
            text = row.error    # somebody else has set the state
        pause = times.retry_pause(attempts)
        self._store.release(row, pause, attempts=attempts, error=text)
        LOG.error('The thaw failed; the guest may still be frozen, and is '
                  'thawed again in %(pause)d s: %(error)s',
                  {'pause': pause, 'error': error}, instance=instance)

    def _save_end(self, cell: _Context, instance: objects.Instance,
                  row: store.Freeze, outcome: states.Outcome,
                  error: exceptions.GuestError | None, details: str | None,
                  others: exceptions.GuestError | None) -> str | None:
        """Save the end of a thaw, and of its request, at once.

        A state that somebody else has set in the meantime is kept.

        :returns: the vm_state that was saved; None if none was
        """
        restored = (row.error is not None
                    and CONF.quiesce.restore_after_thaw)
        moved: list[tuple[db.Pair, db.Pair]] = []

        @db.retried
        def save() -> None:
            moved.clear()
            with db.transaction(cell):
                for found in db.states_of(cell, [instance.uuid]):
                    before = found.vm_state, found.task_state
                    after = states.end_of_thaw(
                        found.vm_state, outcome, restored), None
                    if before[1] not in (None, *states.TASK_STATES):
                        continue
                    if after[0] == ERROR and before[0] == states.QUIESCED and (
                            not actions.is_open(cell, instance.uuid,
                                                row.unquiesce_request_id)):
                        continue    # thawed since, and quiesced anew
                    if before != after and db.move(
                            cell, instance.uuid, before, after):
                        moved.append((before, after))
                actions.finish(
                    cell, instance.uuid, self._host,
                    row.unquiesce_request_id, error, details, others)

        save()
        for before, after in moved:
            self._tell(cell, instance, before, after)
            return after[0]
        return None

    def _try_thaw(self, cell: _Context, instance: objects.Instance,
                  timeout: float = times.THAW_TIMEOUT,
                  ) -> exceptions.GuestError | None:
        try:
            self.guests.thaw(cell, instance, timeout)
        except exceptions.GuestError as error:
            return error
        return None

    def _must_wait(self, instance: objects.Instance, row: store.Freeze,
                   ) -> bool:
        """Release the row of a server that Nova is at work on."""
        if (instance.task_state in (None, *states.TASK_STATES)
                and instance.vm_state not in states.ASLEEP):
            return False
        self._store.release(row, times.WAIT_PAUSE)
        return True

    @staticmethod
    def _is_restarted(cell: _Context, instance: objects.Instance,
                      row: store.Freeze, error: exceptions.GuestError,
                      ) -> bool:
        """Return whether the guest that was frozen does not exist any more.

        A guest that libvirt calls "not running" may be paused, and frozen.
        What it really is nova-compute keeps in the database.
        """
        if isinstance(error, exceptions.GuestNotRunning):
            found = objects.Instance.get_by_uuid(cell, instance.uuid)
            return found.power_state in (
                power_state.NOSTATE, power_state.SHUTDOWN,
                power_state.CRASHED)
        number = db.action_id_of(
            cell, instance.uuid, row.unquiesce_request_id)
        return number is not None and db.has_event_after(
            cell, instance.uuid, RESTARTS, number)

    # Ending ---------------------------------------------------------------

    def _gone(self, context: _Context, row: store.Freeze) -> None:
        """End the requests of a server that was deleted, and drop its row."""
        try:
            cell = objects.CellMapping.get_by_uuid(context, row.cell_uuid)
        except exception.CellMappingNotFound:
            self._store.delete(row)
            return
        error = exceptions.Deleted()
        with self._cells.target(context, cell) as targeted:
            db.retried(actions.finish)(
                targeted, row.instance_uuid, self._host, row.request_id,
                error, others=error)
        self._store.delete(row)
        LOG.info('Server %s is deleted; its guest is not frozen any more',
                 row.instance_uuid)

    def _tell(self, cell: _Context, instance: objects.Instance,
              before: db.Pair, after: db.Pair) -> None:
        """Send Nova's notification of a change of state."""
        instance.vm_state, instance.task_state = after
        instance.obj_reset_changes(['vm_state', 'task_state'])
        try:
            notifications.send_update_with_states(
                cell, instance, before[0], after[0], before[1], after[1],
                service='nova-quiesce', host=self._host, verify_states=True)
        except Exception:
            LOG.exception('The change of state could not be notified',
                          instance=instance)

    def _notify(self, context: _Context, instance: objects.Instance,
                action: states.Action, phase: str,
                error: exceptions.GuestError | None = None) -> None:
        """Send Nova's notification of an action."""
        try:
            try:
                if error is not None:
                    raise error    # Nova tells where: so it must be raised
                compute_utils.notify_about_instance_action(
                    context, instance, self._host, action=action.name,
                    phase=phase, source=rpcapi.BINARY)
            except exceptions.GuestError:
                compute_utils.notify_about_instance_action(
                    context, instance, self._host, action=action.name,
                    phase=phase, source=rpcapi.BINARY, exception=error)
        except Exception:
            LOG.exception('The action could not be notified',
                          instance=instance)


def _is_thawed(error: exceptions.GuestError | None) -> bool:
    return error is None or error.outcome is states.Outcome.DONE


def _state_changed(instance: objects.Instance) -> exceptions.StateChanged:
    return exceptions.StateChanged(
        vm_state=instance.vm_state, task_state=instance.task_state)
