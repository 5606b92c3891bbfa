# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""The nova-quiesce service: carries out what was asked of it.

Who asks has put the server into a task state and marked it before a message
arrives here.  Whatever happens in here, a freeze ends in one of two ways: the
server is saved as quiesced, or its guest is thawed until a thaw is confirmed,
by this service or, should it die, by another one (:mod:`nova_quiesce.sweep`).

A thaw is confirmed, and the mark dropped, if it succeeded when no freeze of
ours could reach the guest any more.  When that is, the sweep decides.
"""

import functools
import threading
import time
from collections.abc import Callable

import oslo_messaging
import sqlalchemy.exc
from nova import context as nova_context
from nova import exception
from nova import manager
from nova import objects
from nova.compute import power_state
from nova.compute import utils as compute_utils
from nova.compute import vm_states
from oslo_config import cfg
from oslo_db import api as oslo_db_api
from oslo_log import log as logging
from oslo_service import periodic_task

from nova_quiesce import clock
from nova_quiesce import conf
from nova_quiesce import db
from nova_quiesce import events
from nova_quiesce import exceptions
from nova_quiesce import guest
from nova_quiesce import marks
from nova_quiesce import recovery
from nova_quiesce import rpcapi
from nova_quiesce import states
from nova_quiesce import sweep

CONF = cfg.CONF
LOG = logging.getLogger(__name__)

conf.register_opts(CONF)

#: what part of [quiesce]rpc_timeout a freeze may take; the rest is for the
#: thaw that follows one that failed
FREEZE_SHARE = 0.75

#: Events of Nova after which a guest has started anew, and is not frozen.
#: Suspend and resume, and live migration, are not among them.
RESTARTS = (
    'compute_reboot_instance', 'compute_stop_instance',
    'compute_start_instance', 'compute_rebuild_instance',
    'compute_rescue_instance', 'compute_unrescue_instance',
    'compute_finish_resize', 'compute_finish_revert_resize',
    'compute_shelve_instance', 'compute_unshelve_instance')

_Work = Callable[[nova_context.RequestContext, objects.Instance, marks.Mark,
                  'int | None'], None]


class QuiesceManager(manager.Manager):
    """Freezes and thaws guests; any number of these share the work."""

    target = oslo_messaging.Target(version=rpcapi.VERSION)

    def __init__(self, host: str | None = None) -> None:
        super().__init__(host=host, service_name='quiesce')
        self.guests = guest.Guests()
        #: ids of the requests that this process works on
        self._working: set[str] = set()
        self._lock = threading.Lock()
        self.sweep = sweep.Sweep(self.host, self._working.__contains__)

    @periodic_task.periodic_task(
        spacing=CONF.quiesce.deadline_interval, run_immediately=True)
    def _sweep(self, context: nova_context.RequestContext) -> None:
        self.sweep.run(context)

    def quiesce_instance(self, context: nova_context.RequestContext,
                         instance_uuid: str) -> None:
        """Freeze the guest of a server in task_state quiescing."""
        self._carry_out(context, instance_uuid, states.QUIESCE, self._quiesce)

    def unquiesce_instance(self, context: nova_context.RequestContext,
                           instance_uuid: str, reason: str | None = None,
                           ) -> None:
        """Thaw the guest of a server in task_state unquiescing.

        :param reason: why, in words, if no user has asked for it
        """
        self._carry_out(context, instance_uuid, states.UNQUIESCE,
                        functools.partial(self._unquiesce, reason))

    # Accepting a message --------------------------------------------------

    def _carry_out(self, context: nova_context.RequestContext,
                   instance_uuid: str, action: states.Action,
                   work: _Work) -> None:
        request_id = context.request_id
        with self._lock:
            if request_id in self._working:
                LOG.info('Request %s has arrived twice', request_id)
                return
            # From here on the sweep of this service takes the request for
            # one that is being worked on.
            self._working.add(request_id)
        try:
            self._carry_out_in_cell(
                context.elevated(), instance_uuid, action, work)
        except (exception.InstanceMappingNotFound,
                exception.InstanceNotFound):
            LOG.info('Server %(uuid)s is gone, nothing to %(action)s',
                     {'uuid': instance_uuid, 'action': action.name})
        finally:
            self._working.discard(request_id)

    def _carry_out_in_cell(
            self, context: nova_context.RequestContext, instance_uuid: str,
            action: states.Action, work: _Work) -> None:
        mapping = objects.InstanceMapping.get_by_instance_uuid(
            context, instance_uuid)
        with nova_context.target_cell(
                context, mapping.cell_mapping) as cell_context:
            try:
                taken = self._take_up(cell_context, instance_uuid, action)
            except exception.InstanceNotFound:
                self._close_if_not_begun(
                    cell_context, instance_uuid, action, exceptions.Deleted())
                raise
            if taken is None:
                return
            instance, mark, event = taken
            try:
                work(cell_context, instance, mark, event)
            except exception.InstanceNotFound:
                events.finish(cell_context, event, exceptions.Deleted())
                raise

    # A deadlock inside of what Nova repeats itself, in a transaction of ours,
    # shows as one that is to be rolled back.
    @oslo_db_api.wrap_db_retry(
        max_retries=5, retry_on_deadlock=True,
        exception_checker=lambda error: isinstance(
            error, sqlalchemy.exc.PendingRollbackError))
    def _take_up(self, context: nova_context.RequestContext,
                 instance_uuid: str, action: states.Action,
                 ) -> tuple[objects.Instance, marks.Mark, int | None] | None:
        """Make the context's request ours.

        :returns: the server, its mark as it was before, and the event; None
            if nothing is to be done
        """
        while True:
            instance = objects.Instance.get_by_uuid(
                context, instance_uuid,
                expected_attrs=['system_metadata', 'metadata', 'flavor'])
            mark = marks.get(instance) or marks.UNREADABLE
            is_ours = _is_of(mark, context.request_id, action)
            if not is_ours or not self._is_asked(instance, action, mark):
                LOG.warning('Message of %(request)s to %(action)s is out of '
                            'date: vm_state is %(vm_state)s, task_state is '
                            '%(task_state)s, marked: %(mark)s',
                            {'request': context.request_id,
                             'action': action.name,
                             'vm_state': instance.vm_state,
                             'task_state': instance.task_state,
                             'mark': mark}, instance=instance)
                if not is_ours or instance.task_state != action.task_state:
                    self._close_if_not_begun(
                        context, instance_uuid, action,
                        _state_changed(instance))
                # Else somebody else works on it, or will end it.
                return None
            begun, event = self._begin(context, instance, action, mark)
            if begun:
                return instance, mark, event
            # The sweep may have asked for it once more.

    @staticmethod
    def _is_asked(instance: objects.Instance, action: states.Action,
                  mark: marks.Mark) -> bool:
        """Say whether the server still waits for a message of its request.

        It does not if the message was delivered twice, or if the server was
        reset meanwhile. A thaw is never too late; a freeze is when the sweep
        may give the request up.
        """
        if instance.task_state != action.task_state or mark.claimed:
            return False
        return action is states.UNQUIESCE or clock.now() < mark.retry_at

    def _begin(self, context: nova_context.RequestContext,
               instance: objects.Instance, action: states.Action,
               mark: marks.Mark) -> tuple[bool, int | None]:
        """Claim the request, and record that this service works on it.

        Both or none: a request that is claimed has an event that tells by
        whom, and whoever finds that service dead goes on at once.

        :returns: whether it was claimed, and the event
        """
        event: int | None = None

        def work() -> bool:
            nonlocal event
            if not self._claim(instance, action, mark):
                return False
            event = events.start(context, instance.uuid, action, self.host)
            return True

        return db.in_one_transaction(context, work), event

    @staticmethod
    def _claim(instance: objects.Instance, action: states.Action,
               mark: marks.Mark) -> bool:
        """Make the request ours, before anything is sent; only one can."""
        if marks.get(instance) is None:
            return action is states.UNQUIESCE    # a thaw does no harm
        late_until = mark.late_until
        if action is states.QUIESCE:
            late_until = _late_until(mark)
        return marks.replace(
            instance, mark.but(claimed=True, late_until=late_until))

    def _close_if_not_begun(self, context: nova_context.RequestContext,
                            instance_uuid: str, action: states.Action,
                            error: exceptions.GuestError) -> None:
        """End the context's request, unless it was carried out before."""
        for request in db.open_requests(
                context, [instance_uuid], [action.name]):
            # With our host: an attempt of ours, which a deadlock cut off.
            if (request.request_id == context.request_id
                    and request.host in (None, self.host)):
                events.close(context, request, self.host, error)

    # The work -------------------------------------------------------------

    def _quiesce(self, context: nova_context.RequestContext,
                 instance: objects.Instance, mark: marks.Mark,
                 event: int | None) -> None:
        """Freeze.

        :param mark: as it was before this request was claimed
        """
        if not self._is_still_ours(instance, mark):
            events.finish(context, event, _state_changed(instance))
            return
        timeout = CONF.quiesce.rpc_timeout
        end = time.monotonic() + timeout
        try:
            self.guests.freeze(context, instance, FREEZE_SHARE * timeout)
        except exceptions.GuestError as error:
            self._quiesce_failed(context, instance, mark, event, error, end)
            return
        after = mark.unquiesce_after
        mark = mark.but(retry_at=0, late_until=_late_if_answered(mark),
                        deadline=clock.after(after) if after else 0)
        try:
            self._settle(instance, states.QUIESCE, states.Outcome.DONE, mark)
        except exception.InstanceNotFound:
            raise    # deleted, and its guest with it
        except exceptions.StateChanged as error:
            # If it was asked to quiesce anew, the guest is that request's.
            try:
                self._mark_again(instance, mark)
            finally:
                found = marks.get(instance)
                if found is None or found.request_id == mark.request_id:
                    self._thaw_at_once(
                        context, instance, end - time.monotonic())
            events.finish(context, event, error)
            return
        except Exception:
            # The sweep goes on from here as soon as it can.
            self._thaw_at_once(context, instance, end - time.monotonic())
            raise
        if mark.deadline:
            events.announce(context, instance.uuid, self.host, mark.deadline,
                            after)
        events.finish(context, event)
        LOG.info('quiesce done', instance=instance)

    def _is_still_ours(self, instance: objects.Instance, mark: marks.Mark,
                       ) -> bool:
        """Say whether no other service has taken over what we have claimed.

        They have if this one stood still for so long that it was taken for
        dead. No clock would tell: that of a paused machine stands still, too.
        """
        claimed = marks.get(instance)
        if claimed is not None and marks.replace(
                instance, claimed.but(late_until=_late_until(mark))):
            return True
        instance.refresh()
        # Nova may have written it back as it was before the claim.
        found = marks.get(instance)
        return (found is not None and found.request_id == mark.request_id
                and self._is_asked(instance, states.QUIESCE, found)
                and self._claim(instance, states.QUIESCE, found))

    @staticmethod
    def _mark_again(instance: objects.Instance, mark: marks.Mark) -> None:
        """Mark a guest that our freeze may have reached after the last thaw.

        Whoever has taken our request over knows of the freeze, unless this
        service stood still after :meth:`_is_still_ours` and was too late.

        :param instance: as it was just read
        :param mark: that of our request
        """
        while True:
            found = marks.get(instance)
            if found is None and (
                    instance.vm_state == states.QUIESCED or instance.task_state
                    in (states.QUIESCING, states.UNQUIESCING)):
                return    # the sweep sees by its state that it has lost it
            if found is not None and found.late_until and (
                    found.maybe_frozen
                    or found.request_id == mark.request_id):
                return
            after = (found or mark.but(retry_at=0, deadline=0)).but(
                maybe_frozen=True, late_until=_late_until(mark))
            if marks.save(instance, after):
                return
            instance.refresh()

    def _quiesce_failed(self, context: nova_context.RequestContext,
                        instance: objects.Instance, mark: marks.Mark,
                        event: int | None, error: exceptions.GuestError,
                        end: float) -> None:
        """Undo what the freeze may have done.

        :param end: until when, by time.monotonic
        """
        after: marks.Mark | None
        is_still_frozen = (isinstance(error, exceptions.FrozenByOthers)
                           and mark.maybe_frozen)
        if ((is_still_frozen or error.outcome is states.Outcome.FAILED)
                and self._is_anothers(instance, mark)):
            # This service stood still. The guest is that request's; so is
            # what our freeze may have done, or may still do.
            self._mark_again(instance, mark)
            events.finish(context, event, _state_changed(instance))
            return
        timeout = end - time.monotonic()
        if is_still_frozen:
            after, thaw_error = self._thaw(context, instance, mark, timeout)
            error = thaw_error or exceptions.WasStillFrozen()
        elif error.outcome is states.Outcome.FAILED:
            if error.under_way:
                mark = mark.but(late_until=_late_until(mark))
            after, thaw_error = self._thaw(context, instance, mark, timeout)
        elif mark.maybe_frozen or mark.late_until:
            # Nothing was frozen by this request, but perhaps by another.
            after = mark.but(retry_at=0)
        else:
            after = None
        self._conclude(context, instance, states.QUIESCE, event, after, error)

    @staticmethod
    def _is_anothers(instance: objects.Instance, mark: marks.Mark) -> bool:
        """Say whether the guest is a later request's by now.

        If nobody can tell, it is not: a thaw too many does less harm than
        one that is left out.
        """
        try:
            instance.refresh()
        except exception.InstanceNotFound:
            raise
        except Exception:
            LOG.exception('The server cannot be read', instance=instance)
            return False
        found = marks.get(instance)
        if found is None or found.request_id == mark.request_id:
            return False
        # An older mark while our request goes on: Nova wrote it back.
        return (instance.task_state != states.QUIESCING
                or found.asked_at >= mark.asked_at)

    def _unquiesce(self, reason: str | None,
                   context: nova_context.RequestContext,
                   instance: objects.Instance, mark: marks.Mark,
                   event: int | None) -> None:
        """Thaw."""
        # If this service has stood still, the guest may be frozen anew.
        if not marks.is_same(instance):
            instance.refresh()
            found = marks.get(instance)
            if instance.task_state != states.UNQUIESCING or (
                    found is not None and not _is_of(
                        found, context.request_id, states.UNQUIESCE)):
                events.finish(context, event, _state_changed(instance))
                return
        after, error = self._thaw(
            context, instance, mark, CONF.quiesce.rpc_timeout)
        self._conclude(context, instance, states.UNQUIESCE, event, after,
                       error, reason)

    # Thawing --------------------------------------------------------------

    def _thaw(self, context: nova_context.RequestContext,
              instance: objects.Instance, mark: marks.Mark, timeout: float,
              ) -> tuple[marks.Mark | None, exceptions.GuestError | None]:
        """Try to thaw a guest.

        :returns: the mark that the server is to have now, None if the thaw
            is confirmed; and the error, if it failed
        """
        try:
            self.guests.thaw(context, instance, timeout)
        except exceptions.UnquiesceFailed as error:
            if not self._is_restarted(context, instance, mark, error):
                return self._mark_for_retry(mark, error), error
        if mark.late_until:
            late_until = _late_if_answered(mark)
            return mark.but(deadline=0, tries=0, late_until=late_until,
                            retry_at=late_until), None
        return None, None

    @staticmethod
    def _mark_for_retry(mark: marks.Mark, error: exceptions.GuestError,
                        ) -> marks.Mark:
        tries = mark.tries + 1
        retry_at = clock.now() + recovery.retry_pause(tries)
        late_until = _late_if_answered(mark)
        if late_until and error.under_way:
            # nova-compute does not answer: it may have the freeze in hand,
            # and carry it out when it wakes up, together with our next thaw.
            late_until = marks.FOREVER
        return mark.but(deadline=0, tries=tries, late_until=late_until,
                        retry_at=retry_at)

    @staticmethod
    def _is_restarted(context: nova_context.RequestContext,
                      instance: objects.Instance, mark: marks.Mark,
                      error: exceptions.UnquiesceFailed) -> bool:
        """Say whether the guest that was frozen does not exist any more.

        A guest that libvirt calls "not running" may be paused, and frozen.
        What it really is nova-compute keeps in the database.
        """
        if isinstance(error, exceptions.GuestNotRunning):
            found = objects.Instance.get_by_uuid(context, instance.uuid)
            return found.power_state in (
                power_state.NOSTATE, power_state.SHUTDOWN,
                power_state.CRASHED)
        if not mark.asked_at:
            return False    # nobody knows since when it is frozen
        return db.has_event_since(
            context, instance.uuid, RESTARTS, mark.request_id,
            clock.as_datetime(max(mark.asked_at, mark.late_until)))

    def _thaw_at_once(self, context: nova_context.RequestContext,
                      instance: objects.Instance, timeout: float) -> None:
        """Thaw a guest whose state and mark are not ours to change."""
        try:
            self.guests.thaw(context, instance, timeout)
        except exceptions.GuestError as error:
            LOG.error('The guest may be frozen, until a later thaw: %s',
                      error, instance=instance)

    # Ending ---------------------------------------------------------------

    def _conclude(self, context: nova_context.RequestContext,
                  instance: objects.Instance, action: states.Action,
                  event: int | None, after: marks.Mark | None,
                  error: exceptions.GuestError | None,
                  details: str | None = None) -> None:
        """Record how the work ended, then save the state and the mark.

        In this order, since what comes first can be found by the mark should
        this service die in between.
        """
        if after is None:
            self._close_older(context, instance)
        events.finish(context, event, error, details)
        outcome = error.outcome if error else states.Outcome.DONE
        if error is None:
            LOG.info('%s done', action.name, instance=instance)
        else:
            # The user finds it in the instance action.
            LOG.warning('%(action)s: %(error)s',
                        {'action': action.name, 'error': error},
                        instance=instance)
        if (action.end(outcome, instance.vm_state) == vm_states.ERROR
                and instance.vm_state != vm_states.ERROR):
            compute_utils.add_instance_fault_from_exc(
                context, instance, error)
        try:
            self._settle(instance, action, outcome, after)
        except exceptions.StateChanged as changed:
            # Who has changed it sees to the mark.
            LOG.warning('%s', changed, instance=instance)
            if action is states.QUIESCE and after is not None:
                self._mark_again(instance, after)
        except exception.InstanceNotFound:
            LOG.info('Deleted meanwhile', instance=instance)

    def _close_older(self, context: nova_context.RequestContext,
                     instance: objects.Instance) -> None:
        """End all requests before this one, which have lost the server.

        Without the mark nobody could find those whose service has died. If
        one is still being worked on, its service overwrites what we write.
        """
        found = db.open_requests(
            context, [instance.uuid], states.ACTION_NAMES)
        ids = [request.request_id for request in found]
        if context.request_id not in ids:
            return
        for request in found[ids.index(context.request_id) + 1:]:
            events.close(context, request, self.host,
                         _state_changed(instance))

    @staticmethod
    def _settle(instance: objects.Instance, action: states.Action,
                outcome: states.Outcome, mark: marks.Mark | None) -> None:
        """Save the state that an outcome leads to, and the mark.

        :raises StateChanged: if the server is no longer in the state in which
            the work began, or is another request's now; then nothing is
            saved, and the instance read anew
        """
        found = instance.vm_state
        instance.vm_state = action.end(outcome, found)
        instance.task_state = None
        try:
            saved = marks.save(instance, mark, expected_vm_state=[found],
                               expected_task_state=[action.task_state])
        except exception.InstanceUpdateConflict:
            saved = False
        if not saved:
            instance.refresh()
            raise _state_changed(instance)


def _is_of(mark: marks.Mark, request_id: str, action: states.Action) -> bool:
    """Say whether the mark was written by this request."""
    if action is states.QUIESCE:
        return mark.request_id == request_id
    # One that cannot be read says nothing against a thaw.
    return mark.thaw_id in ('', marks.short_id(request_id))


def _state_changed(instance: objects.Instance) -> exceptions.StateChanged:
    return exceptions.StateChanged(
        vm_state=instance.vm_state, task_state=instance.task_state)


def _late_until(mark: marks.Mark) -> int:
    return recovery.late_until(mark, clock.now(), CONF.quiesce.rpc_timeout)


def _late_if_answered(mark: marks.Mark) -> int:
    """Return until when a freeze may come, now that nova-compute answers."""
    return min(mark.late_until,
               clock.now() + recovery.lost_after(CONF.quiesce.rpc_timeout))
