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

"""Asking for a freeze or a thaw.

Whoever asks changes the server's state and its mark in one compare-and-swap,
records an instance action, and sends a message to nova-quiesce.  Of many that
ask at the same time exactly one succeeds.
"""

from collections.abc import Callable

from nova import context as nova_context
from nova import exception
from nova import objects
from oslo_config import cfg
from oslo_log import log as logging

from nova_quiesce import clock
from nova_quiesce import events
from nova_quiesce import exceptions
from nova_quiesce import marks
from nova_quiesce import recovery
from nova_quiesce import rpcapi
from nova_quiesce import states

CONF = cfg.CONF
LOG = logging.getLogger(__name__)


class Requests:
    """What can be asked of nova-quiesce."""

    def __init__(self) -> None:
        self._rpcapi = rpcapi.QuiesceAPI()

    def quiesce(self, context: nova_context.RequestContext,
                instance: objects.Instance, unquiesce_after: int) -> None:
        """Have the guest frozen.

        :param unquiesce_after: after how many seconds it is to be thawed
            again; 0 if never
        :raises nova.exception.InstanceInvalidState: if the server is in
            another state meanwhile
        :raises NotSent: if no service could be told
        """
        before = marks.get(instance)
        mark = marks.Mark(
            request_id=context.request_id, asked_at=clock.now(),
            maybe_frozen=before is not None, unquiesce_after=unquiesce_after,
            late_until=before.late_until if before else 0,
            retry_at=_lost_at())
        self._ask(context, instance, states.QUIESCE, mark,
                  self._rpcapi.quiesce_instance)

    def unquiesce(self, context: nova_context.RequestContext,
                  instance: objects.Instance) -> None:
        """Have the guest of a quiesced server thawed.

        :raises nova.exception.InstanceInvalidState: if the server is in
            another state meanwhile
        :raises NotSent: if no service could be told
        """
        mark = marks.get(instance) or marks.UNREADABLE
        self._ask(context, instance, states.UNQUIESCE,
                  mark.but(claimed=False, retry_at=_lost_at(),
                           thaw_id=marks.short_id(context.request_id)),
                  self._rpcapi.unquiesce_instance)

    def thaw(self, context: nova_context.RequestContext,
             instance: objects.Instance, reason: str, *,
             vm_state: str | None = None,
             task_state: str | None = None,
             late_freeze: bool = False) -> bool:
        """Have a guest thawed that may be frozen, whoever asked for it.

        :param instance: as it was just read; in any vm_state
        :param reason: why, in words, for the instance action
        :param vm_state: what the server is to be in from now on; by default
            what it is in
        :param task_state: what it must be in
        :param late_freeze: whether a freeze may be under way to the guest
        :returns: False if the server is in another state meanwhile
        """
        own = events.service_context(context, instance.project_id)
        mark = marks.get(instance) or marks.UNREADABLE
        late_until = mark.late_until
        if late_freeze or (instance.vm_state != states.QUIESCED
                           and recovery.is_of_a_beginning(mark)):
            late_until = recovery.late_until(
                mark, clock.now(), CONF.quiesce.rpc_timeout)
        marks.put(instance, mark.but(
            claimed=False, retry_at=_lost_at(), late_until=late_until,
            thaw_id=marks.short_id(own.request_id)))
        found = instance.vm_state
        instance.vm_state = vm_state or found
        instance.task_state = states.UNQUIESCING
        try:
            instance.save(expected_vm_state=[found],
                          expected_task_state=[task_state])
        except exception.InstanceUpdateConflict:
            return False
        LOG.info('Thawing: %s', reason, instance=instance)
        self._send_thaw(own, instance, reason)
        return True

    def resume(self, context: nova_context.RequestContext,
               instance: objects.Instance, mark: marks.Mark,
               request_id: str | None, reason: str | None) -> bool:
        """Have a thaw carried out that nobody carries out any more.

        :param instance: as it was just read, in task_state unquiescing
        :param mark: its mark
        :param request_id: the request for the thaw; None if it has not been
            recorded
        :param reason: why, in words, if no user has asked for it
        :returns: False if somebody else has acted since
        """
        own = events.service_context(context, instance.project_id, request_id)
        # Without its deadline, which would have each sweep do this.
        after = mark.but(claimed=False, retry_at=_lost_at(), deadline=0,
                         thaw_id=marks.short_id(own.request_id))
        if not marks.replace(instance, after):
            return False
        try:
            if request_id is None:
                self._send_thaw(own, instance, reason)
            else:
                self._rpcapi.unquiesce_instance(
                    own, instance.uuid, reason=reason)
        except Exception:
            # Nothing was sent: the next sweep tries it again.
            marks.replace(instance, after.but(deadline=mark.deadline))
            raise
        return True

    def _send_thaw(self, own: nova_context.RequestContext,
                   instance: objects.Instance, reason: str | None) -> None:
        # If one of these fails, the sweep goes on from there.
        objects.InstanceAction.action_start(
            own, instance.uuid, states.UNQUIESCE.name, want_result=False)
        self._rpcapi.unquiesce_instance(own, instance.uuid, reason=reason)

    def _ask(self, context: nova_context.RequestContext,
             instance: objects.Instance, action: states.Action,
             mark: marks.Mark,
             cast: Callable[[nova_context.RequestContext, str], None],
             ) -> None:
        before = marks.get(instance)
        # In the same save as the state: no freeze is sent without it.
        marks.put(instance, mark)
        instance.task_state = action.task_state
        try:
            instance.save(expected_vm_state=[action.accepted_in],
                          expected_task_state=[None])
        except exception.InstanceUpdateConflict as error:
            actual = error.kwargs.get('actual') or {'task_state': 'unknown'}
            attr, state = next(iter(actual.items()))
            raise exception.InstanceInvalidState(
                attr=attr, state=state, instance_uuid=instance.uuid,
                method=action.name) from error
        try:
            objects.InstanceAction.action_start(
                context, instance.uuid, action.name, want_result=False)
            cast(context, instance.uuid)
        except Exception as error:
            LOG.exception('The request could not be sent', instance=instance)
            not_sent = exceptions.NotSent()
            self._take_back(instance, action, mark, before)
            events.finish(
                context,
                events.start(context, instance.uuid, action, CONF.host),
                not_sent)
            raise not_sent from error

    @staticmethod
    def _take_back(instance: objects.Instance, action: states.Action,
                   mark: marks.Mark, before: marks.Mark | None) -> None:
        """Leave nothing undone of a request that could not be sent."""
        # The state first: without it no service begins. Should one have
        # begun all the same, the mark is not the same any more, and stays.
        instance.task_state = None
        try:
            instance.save(expected_task_state=[action.task_state])
        except exception.InstanceUpdateConflict:
            return    # who has changed it sees to the mark
        marks.replace(instance, before, instead_of=mark)


def _lost_at() -> int:
    return clock.now() + recovery.lost_after(CONF.quiesce.rpc_timeout)
