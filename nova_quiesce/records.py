# SPDX-License-Identifier: Apache-2.0

"""What becomes of a request, as Nova keeps it and as it is notified.

The server's state and the end of its event are one transaction; notifications
are sent after it.  This module must never send a freeze or a thaw, nor touch
the table of freezes.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from nova import context as nova_context
from nova import objects
from nova.compute import utils as compute_utils
from nova.compute import vm_states
from nova.notifications import base as notifications
from oslo_log import log as logging

from nova_quiesce import actions
from nova_quiesce import conf
from nova_quiesce import db
from nova_quiesce import exceptions
from nova_quiesce import notifier
from nova_quiesce import rpcapi
from nova_quiesce import schema
from nova_quiesce import states
from nova_quiesce import store
from nova_quiesce import times

CONF = conf.CONF
LOG = logging.getLogger(__name__)

ERROR = vm_states.ERROR

_Context: TypeAlias = nova_context.RequestContext


class Records:
    """Saves and notifies what has become of requests.

    :param host: name of this service
    :param notify: sends notifications; by default, they are sent at once
    """

    def __init__(self, host: str,
                 notify: notifier.Notifier | None = None) -> None:
        self._host = host
        self._notify = notify

    @schema.retried
    def save_quiesced(self, cell: _Context, instance: objects.Instance,
                      row: store.Freeze) -> bool:
        """Save that the guest is frozen, and the end of the request."""
        with db.transaction(cell, instance.uuid):
            # A later request may have put the server into the same states.
            request = actions.find_open(cell, instance.uuid, row.request_id)
            if request is None or not db.move(
                    cell, instance.uuid, states.QUIESCE.during,
                    states.UNQUIESCE.before):
                return False
            if row.frozen_at is not None and row.unquiesce_at is not None:
                db.add_event(
                    cell, request.action_id, actions.DEADLINE, self._host,
                    start_time=times.as_datetime(row.frozen_at),
                    finish_time=times.as_datetime(row.unquiesce_at),
                    result=db.SUCCESS)
            actions.finish(
                cell, instance.uuid, self._host, row.request_id, None)
        return True

    def save_failed(self, cell: _Context, instance: objects.Instance,
                    row: store.Freeze, error: exceptions.GuestError,
                    outcome: states.Outcome, is_over: bool = False) -> bool:
        """Save that a quiesce has failed, and the end of the request.

        :param outcome: REFUSED if the server is as before, whatever the error
        :param is_over: whether the guest is not frozen
        :returns: False if the server is not quiescing any more; then the
            request has ended all the same
        """
        before = states.QUIESCE.during
        after = states.QUIESCE.ends[outcome], None

        @schema.retried
        def save() -> tuple[bool, bool]:
            with db.transaction(cell, instance.uuid):
                is_open = actions.find_open(
                    cell, instance.uuid, row.request_id) is not None
                moved = is_open and db.move(
                    cell, instance.uuid, before, after)
                if row.given_up and is_over:
                    actions.finish(cell, instance.uuid, self._host,
                                   row.unquiesce_request_id, None)
                # With its end, nothing else that was asked for goes on.
                actions.finish(cell, instance.uuid, self._host,
                               row.request_id, error,
                               others=error if is_open and is_over else None)
            return is_open, moved

        is_open, moved = save()
        if not is_open:
            return False    # it has ended before
        if moved:
            self.notify_states(cell, instance, before, after)
        if error.outcome is states.Outcome.FAILED:
            compute_utils.add_instance_fault_from_exc(cell, instance, error)
            LOG.error('The quiesce failed: %s', error, instance=instance)
        else:
            # The user finds it in the instance action.
            LOG.info('Nothing was frozen: %s', error, instance=instance)
        self.notify_action(cell, instance, states.QUIESCE, 'error', error)
        return moved

    @schema.retried
    def save_end(self, cell: _Context, instance: objects.Instance,
                 row: store.Freeze, outcome: states.Outcome,
                 error: exceptions.GuestError | None, details: str | None,
                 others: exceptions.GuestError | None,
                 check: Callable[[store.Freeze], None],
                 ) -> tuple[db.Pair, db.Pair] | None:
        """Save the end of a thaw, and of its request, at once.

        A state that was set otherwise in the meantime is kept. Tell of the
        change when the row is settled, too: as long as it is there, the
        server cannot be quiesced again.

        :param check: raises an exception if this must not be saved
        :returns: the states before and after; None if they are kept
        """
        restored = (row.error is not None
                    and CONF.quiesce.restore_after_thaw)
        with db.transaction(cell, instance.uuid) as found:
            check(row)
            before = found.vm_state, found.task_state
            # Nova may have checked the state for createImage before a quiesce.
            kept = (before[1] if before[1] in states.IMAGE_TASK_STATES
                    else None)
            after = states.end_of_thaw(before[0], outcome, restored), kept
            is_kept = before[1] not in (None, kept, *states.TASK_STATES)
            moved = not is_kept and before != after and db.move(
                cell, instance.uuid, before, after)
            actions.finish(
                cell, instance.uuid, self._host,
                row.unquiesce_request_id, error, details, others)
        return (before, after) if moved else None

    def notify_states(self, cell: _Context, instance: objects.Instance,
                      before: db.Pair, after: db.Pair) -> None:
        """Send Nova's notification of a change of state."""
        instance.vm_state, instance.task_state = after
        instance.obj_reset_changes(['vm_state', 'task_state'])
        self._send(
            notifications.send_update_with_states, cell, instance, before[0],
            after[0], before[1], after[1], service=rpcapi.BINARY,
            host=self._host, verify_states=True)

    def notify_action(self, context: _Context, instance: objects.Instance,
                      action: states.Action, phase: str,
                      error: exceptions.GuestError | None = None) -> None:
        """Send Nova's notification of an action."""
        self._send(_notify_action, context, instance, self._host, action.name,
                   phase, error)

    def _send(self, function: Callable[..., None], context: _Context,
              instance: objects.Instance, *args: Any, **kwargs: Any) -> None:

        def send(shown: objects.Instance) -> None:
            with _harmless(shown):
                function(context, shown, *args, **kwargs)

        with _harmless(instance):
            if self._notify is None:
                send(instance)
            else:    # what it is now, whatever it is when that is sent
                self._notify(functools.partial(send, instance.obj_clone()))


@contextlib.contextmanager
def _harmless(instance: objects.Instance) -> Iterator[None]:
    """Log what keeps a notification of a server from being sent."""
    try:
        yield
    except Exception:
        LOG.exception('A notification could not be sent', instance=instance)


def _notify_action(context: _Context, instance: objects.Instance, host: str,
                   name: str, phase: str,
                   error: exceptions.GuestError | None) -> None:
    try:
        if error is not None:
            raise error    # Nova tells where: so it must be raised
        compute_utils.notify_about_instance_action(
            context, instance, host, action=name, phase=phase,
            source=rpcapi.BINARY)
    except exceptions.GuestError:
        compute_utils.notify_about_instance_action(
            context, instance, host, action=name, phase=phase,
            source=rpcapi.BINARY, exception=error)


def state_changed(instance: objects.Instance) -> exceptions.StateChanged:
    """Return the error of a request that another one has overtaken."""
    return exceptions.StateChanged(
        vm_state=instance.vm_state, task_state=instance.task_state)
