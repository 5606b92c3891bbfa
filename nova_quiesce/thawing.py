# SPDX-License-Identifier: Apache-2.0

"""How a guest that may be frozen is thawed, until that is confirmed.

A thaw is confirmed, and the row goes, if it succeeded when no freeze could
follow any more.  Each function works on a row that its service owns.  This
module must never delete a row otherwise, except if there is no guest.
"""

import contextlib
from collections.abc import Collection, Iterator
from typing import TypeAlias

from nova import context as nova_context
from nova import objects
from nova.compute import power_state
from nova.compute import utils as compute_utils
from nova.compute import vm_states
from oslo_log import log as logging

from nova_quiesce import actions
from nova_quiesce import db
from nova_quiesce import exceptions
from nova_quiesce import guest
from nova_quiesce import records
from nova_quiesce import schema
from nova_quiesce import states
from nova_quiesce import store
from nova_quiesce import times
from nova_quiesce.i18n import _

LOG = logging.getLogger(__name__)

ERROR = vm_states.ERROR

#: Events of Nova after which a guest has started anew, and is not frozen.
#: Suspend and resume, and live migration, are not among them.
RESTARTS = (
    'compute_reboot_instance', 'compute_stop_instance',
    'compute_start_instance', 'compute_rebuild_instance',
    'compute_rescue_instance', 'compute_unrescue_instance',
    'compute_finish_resize', 'compute_finish_revert_resize',
    'compute_shelve_instance', 'compute_unshelve_instance')

_Context: TypeAlias = nova_context.RequestContext


class Thawing:
    """Thaws guests.

    :param host: name of this service
    """

    def __init__(self, host: str, freezes: store.Store, guests: guest.Guests,
                 known: records.Records) -> None:
        self._host = host
        self._store = freezes
        self._guests = guests
        self._records = known
        #: thaws that failed since this service was started
        self.failed = 0

    def take_over(self, cell: _Context, instance: objects.Instance,
                  row: store.Freeze) -> None:
        """Go on with a freeze that no service works on any more.

        If the server is quiesced, the freeze was answered, and nothing but
        its row is missing. Else the guest may be frozen.
        """
        if instance.vm_state == states.QUIESCED and not row.given_up:
            self._store.mark_frozen(row)
            return
        if instance.vm_state == states.QUIESCED:
            self.thaw_at_once(cell, instance, row)
            return
        if (instance.vm_state, instance.task_state) == states.QUIESCE.during:
            error = exceptions.Interrupted()
            current = self._store.update(
                row, times.THAW_LEASE, error=error.format_message())
            if current is None:
                return
            row = current
            with _even_if_locked(instance):
                if not self._records.save_failed(
                        cell, instance, row, error, states.Outcome.FAILED):
                    # It may be quiesced by now. If who had it before has
                    # saved an error, that stands for this guest.
                    instance.refresh()
                    kept = row.error if instance.vm_state == ERROR else None
                    self._store.release(row, 0, error=kept)
                    return
        # Whether its nova-compute is up does not count: that compares clocks,
        # and needs nova-conductor.
        self.thaw(cell, instance, row)

    def thaw_if_over(self, cell: _Context, instance: objects.Instance,
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
            self._store.mark_frozen(row)
            return
        self.thaw(cell, instance, row, reason)

    def thaw(self, cell: _Context, instance: objects.Instance,
             row: store.Freeze, reason: str | None = None) -> None:
        """Thaw a guest, twice if a freeze may still be on its way to it.

        :param reason: why, in words, if no user has asked for it
        """
        try:
            self._thaw(cell, instance, row, reason)
        except store.Lost:
            pass    # another service goes on with it

    def _thaw(self, cell: _Context, instance: objects.Instance,
              row: store.Freeze, reason: str | None) -> None:
        if self._must_wait(instance, row):
            return
        # A guest that had ended its freeze tells so once.
        again = (exceptions.ThawedAgain()
                 if row.thaws and row.frozen_at is not None else None)
        if instance.vm_state in states.NOT_RUNNING or not instance.host:
            self._thawed(cell, instance, row, again, _(
                'The guest does not run: vm_state is %s') % instance.vm_state)
            return
        begun = self._begin_thaw(cell, instance, row)
        if reason is None and row.frozen_at is None:
            reason = _('The guest may still be frozen by request %s'
                       ) % row.request_id
        error = self.try_thaw(cell, instance)
        if self.rethaw_if_lost(begun):
            return
        if begun.frozen_at is None and isinstance(
                error, exceptions.ThawedAgain):
            error = None    # there is nothing to be proven
        if error is None or error.outcome is states.Outcome.DONE:
            self._thawed(cell, instance, begun, error or again, reason, True)
        elif (isinstance(error, exceptions.ThawNotPossible)
                and begun.frozen_at is None
                and instance.vm_state != states.QUIESCED):
            self._thawed(cell, instance, begun, None, _(
                'The guest cannot be frozen'))
        elif self._is_restarted(cell, instance, begun, error):
            self._thawed(cell, instance, begun, again, _(
                'The guest was started again after it was frozen'))
        else:
            self._thaw_failed(cell, instance, begun, error)

    def thaw_at_once(self, cell: _Context, instance: objects.Instance,
                     row: store.Freeze) -> None:
        """Undo a freeze that has succeeded and is not wanted any more."""
        thawing = self._store.update(
            row, times.THAW_LEASE, state=store.State.THAWING)
        if thawing is not None:
            self.thaw(cell, instance, thawing)

    def _begin_thaw(self, cell: _Context, instance: objects.Instance,
                    row: store.Freeze) -> store.Freeze:
        """Record that a thaw begins: for the server, and as its action.

        :raises Lost: if another service has the row
        """
        request_id = row.unquiesce_request_id or actions.new_request_id()
        own = actions.own_context(cell, row.project_id, None, request_id)
        before, after = states.UNQUIESCE.before, states.UNQUIESCE.during

        @schema.retried
        def save() -> bool:
            with db.transaction(own, instance.uuid):
                # Else it may add an action that nobody ends.
                self._store.check(row)
                actions.begin_event(
                    own, instance.uuid, states.UNQUIESCE, self._host)
                return (instance.vm_state, instance.task_state) == before and (
                    db.move(own, instance.uuid, before, after))

        with _even_if_locked(instance):
            if save():
                self._records.notify_states(cell, instance, before, after)
        self._records.notify_action(own, instance, states.UNQUIESCE, 'start')
        # The last look before it is sent, and the beginning of the lease.
        begun = self._store.update(
            row, times.THAW_LEASE, unquiesce_request_id=request_id,
            thaws=row.thaws + 1,
            state=(store.State.FREEZING if row.state == store.State.FREEZING
                   else store.State.THAWING))
        if begun is None:
            raise store.Lost()
        return begun

    def _thawed(self, cell: _Context, instance: objects.Instance,
                row: store.Freeze, error: exceptions.GuestError | None,
                reason: str | None, has_told: bool = False) -> None:
        """Save that the guest is thawed, and drop its row.

        If a freeze may follow, have it thawed once more instead.

        :param error: what was wrong with the freeze
        :param has_told: whether it has answered, and so told of the freeze
        """
        if row.state == store.State.FREEZING:
            # Until the last thaw, a freeze that was sent at the end of its
            # lease expires, and a nova-compute that had stood still carries it
            # out. Nobody takes the row before.
            self._store.update(
                row, times.expiry_pause(), state=store.State.THAWING)
            return
        found = instance.vm_state, instance.task_state
        others: exceptions.GuestError = records.state_changed(instance)
        if found == states.QUIESCE.during:
            others = (exceptions.Withdrawn() if row.error is None
                      else exceptions.Interrupted())
        change = self._records.save_end(
            cell, instance, row, states.Outcome.DONE, error, reason, others,
            self._store.check)
        fate = (store.Fate.THAWED if has_told and error is None
                else store.Fate.LAPSED)
        self._store.delete(row, None if row.frozen_at is None else fate)
        if change:
            self._records.notify_states(cell, instance, *change)
        self._records.notify_action(
            cell, instance, states.UNQUIESCE, 'error' if error else 'end',
            error)
        LOG.info('The guest is thawed%s', ': %s' % (error or reason)
                 if error or reason else '', instance=instance)

    def _thaw_failed(self, cell: _Context, instance: objects.Instance,
                     row: store.Freeze, error: exceptions.GuestError,
                     ) -> None:
        """Save that the guest may still be frozen, and try again later."""
        self.failed += 1
        attempts = row.attempts + 1
        text = row.error
        is_news = instance.vm_state != ERROR and ERROR == states.end_of_thaw(
            instance.vm_state, states.Outcome.FAILED, False)
        if is_news:
            # Row before state: if this service dies between, the row shows
            # that this error is ours to clear.
            text = error.format_message()
            if self._store.update(row, error=text) is None:
                return    # another service goes on with it
        change = self._records.save_end(
            cell, instance, row, states.Outcome.FAILED, error, None, None,
            self._store.check)
        if change:
            self._records.notify_states(cell, instance, *change)
        if is_news and change and change[1][0] == ERROR:
            compute_utils.add_instance_fault_from_exc(cell, instance, error)
            self._records.notify_action(
                cell, instance, states.UNQUIESCE, 'error', error)
        elif is_news:
            text = row.error    # somebody else has set the state
        pause = times.retry_pause(attempts)
        self._store.release(row, pause, attempts=attempts, error=text)
        LOG.error('The thaw failed; the guest may still be frozen, and is '
                  'thawed again in %(pause)d s: %(error)s',
                  {'pause': pause, 'error': error}, instance=instance)

    def try_thaw(self, cell: _Context, instance: objects.Instance,
                 timeout: float = times.THAW_TIMEOUT,
                 ) -> exceptions.GuestError | None:
        try:
            self._guests.thaw(cell, instance, timeout)
        except exceptions.GuestError as error:
            return error
        return None

    def rethaw_if_lost(self, row: store.Freeze) -> bool:
        """Have a guest thawed again whose row was taken over during a thaw.

        If this service has stood still, the guest may have been frozen by
        another request: then this thaw has broken that freeze, and the guest
        is thawed for that request, too.

        :returns: whether the row was taken over
        """
        if schema.insistent(self._store.reread)(row) is not None:
            return False
        schema.insistent(self._store.want_thaw)(
            row.instance_uuid, actions.new_request_id(),
            store.State.ASKED, store.State.FREEZING, store.State.FROZEN)
        return True

    def _must_wait(self, instance: objects.Instance, row: store.Freeze,
                   ) -> bool:
        """Release the row of a server that Nova is at work on."""
        if not _is_at_work(instance, besides=states.IMAGE_TASK_STATES):
            return False
        self._store.release(row, times.WAIT_PAUSE)
        return True

    @staticmethod
    def _is_restarted(cell: _Context, instance: objects.Instance,
                      row: store.Freeze, error: exceptions.GuestError,
                      ) -> bool:
        """Return whether the guest that was frozen does not exist any more.

        A guest that libvirt calls "not running" may be paused, and frozen.
        What it really is nova-compute keeps in the database. If it was just
        suspended, it comes back frozen.
        """
        if isinstance(error, exceptions.GuestNotRunning):
            found = objects.Instance.get_by_uuid(cell, instance.uuid)
            return not _is_at_work(found) and found.power_state in (
                power_state.NOSTATE, power_state.SHUTDOWN,
                power_state.CRASHED)
        since = row.unquiesce_request_id
        quiesced = db.result_of(cell, instance.uuid, row.request_id)
        if quiesced and quiesced[0] == db.SUCCESS:
            # Nova begins nothing else before a server is quiesced.
            since = row.request_id
        number = db.action_id_of(cell, instance.uuid, since)
        return number is not None and db.has_event_after(
            cell, instance.uuid, RESTARTS, number)


@contextlib.contextmanager
def _even_if_locked(instance: objects.Instance) -> Iterator[None]:
    """Go on if the states of a server cannot be saved.

    A host that has vanished in a transaction of Nova's, such as that of a
    nova-conductor, keeps the lock for hours, and a thaw must not wait so long.
    What is not saved is saved when the thaw is repeated.
    """
    try:
        yield
    except schema.ROLLED_BACK as error:
        LOG.warning('The server is locked in the database; its guest is '
                    'thawed all the same: %s', exceptions.first_line(error),
                    instance=instance)


def _is_at_work(instance: objects.Instance,
                besides: Collection[str] = ()) -> bool:
    """Return whether Nova is at work on a server, or it sleeps, frozen.

    :param besides: task states in which that does not count
    """
    return (instance.task_state not in (None, *states.TASK_STATES, *besides)
            or instance.vm_state in states.ASLEEP)
