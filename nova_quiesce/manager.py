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

"""The nova-quiesce service: carries out what the API has accepted.

The API has put the server into a task state and marked it before a message
arrives here.  Whatever happens in here, a freeze ends in one of two ways: the
server is saved as quiesced, or a thaw is tried.
"""

from collections.abc import Callable

import oslo_messaging
from nova import context as nova_context
from nova import exception
from nova import manager
from nova import objects
from nova.compute import utils as compute_utils
from oslo_log import log as logging

from nova_quiesce import exceptions
from nova_quiesce import guest
from nova_quiesce import marks
from nova_quiesce import rpcapi
from nova_quiesce import states

LOG = logging.getLogger(__name__)


class QuiesceManager(manager.Manager):
    """Freezes and thaws guests; any number of these share the work."""

    target = oslo_messaging.Target(version=rpcapi.VERSION)

    def __init__(self, host: str | None = None) -> None:
        super().__init__(host=host, service_name='quiesce')
        self.guests = guest.Guests()

    def quiesce_instance(self, context: nova_context.RequestContext,
                         instance_uuid: str) -> None:
        """Freeze the guest of a server in task_state quiescing."""
        self._carry_out(context, instance_uuid, states.QUIESCE, self._quiesce)

    def unquiesce_instance(self, context: nova_context.RequestContext,
                           instance_uuid: str) -> None:
        """Thaw the guest of a server in task_state unquiescing."""
        self._carry_out(context, instance_uuid, states.UNQUIESCE,
                        self._unquiesce)

    def _carry_out(
            self, context: nova_context.RequestContext, instance_uuid: str,
            action: states.Action,
            work: Callable[[nova_context.RequestContext, objects.Instance],
                           None]) -> None:
        context = context.elevated()
        try:
            mapping = objects.InstanceMapping.get_by_instance_uuid(
                context, instance_uuid)
            with nova_context.target_cell(
                    context, mapping.cell_mapping) as cell_context:
                instance = objects.Instance.get_by_uuid(
                    cell_context, instance_uuid,
                    expected_attrs=['system_metadata', 'metadata', 'flavor'])
                if not self._is_asked(context, instance, action):
                    LOG.warning('Message of %(request)s to %(action)s is out '
                                'of date: task_state is %(state)s, marked by '
                                '%(mark)s',
                                {'request': context.request_id,
                                 'action': action.name,
                                 'state': instance.task_state,
                                 'mark': marks.get(instance)},
                                instance=instance)
                    return
                with compute_utils.EventReporter(
                        cell_context, 'quiesce_%s_instance' % action.name,
                        self.host, instance_uuid):
                    work(cell_context, instance)
                LOG.info('%(action)s done', {'action': action.name},
                         instance=instance)
        except (exception.InstanceMappingNotFound,
                exception.InstanceNotFound):
            LOG.info('Server %(uuid)s is gone, nothing to %(action)s',
                     {'uuid': instance_uuid, 'action': action.name})
        except exceptions.GuestError as error:
            # The user finds it in the instance action.
            LOG.warning('%(action)s of server %(uuid)s: %(error)s',
                        {'action': action.name, 'uuid': instance_uuid,
                         'error': error})

    @staticmethod
    def _is_asked(context: nova_context.RequestContext,
                  instance: objects.Instance,
                  action: states.Action) -> bool:
        """Say whether a message still is what the server waits for.

        It is not if it was delivered twice, or if the server was reset
        meanwhile, perhaps even asked anew.
        """
        if instance.task_state != action.task_state:
            return False
        mark = marks.get(instance)
        return action is not states.QUIESCE or (
            mark is not None and mark.request_id == context.request_id)

    def _quiesce(self, context: nova_context.RequestContext,
                 instance: objects.Instance) -> None:
        mark = marks.get(instance)
        assert mark is not None    # see _is_asked
        try:
            self._freeze(context, instance, mark)
            self._settle(instance, mark, states.QUIESCE, states.Outcome.DONE)
        except exception.InstanceNotFound:
            # Deleted, and its guest with it.
            raise
        except exceptions.GuestError as error:
            if error.outcome is states.Outcome.REFUSED:
                if not mark.maybe_frozen:
                    marks.drop(instance)
                self._settle(instance, mark, states.QUIESCE, error.outcome)
            else:
                self._undo(context, instance, mark, error)
            raise
        except Exception as error:
            self._undo(context, instance, mark, error)
            raise

    def _freeze(self, context: nova_context.RequestContext,
                instance: objects.Instance, mark: marks.Mark) -> None:
        try:
            self.guests.freeze(context, instance)
        except exceptions.FrozenByOthers as error:
            if not mark.maybe_frozen:
                raise
            self.guests.thaw(context, instance)
            marks.drop(instance)
            raise exceptions.WasStillFrozen() from error

    def _undo(self, context: nova_context.RequestContext,
              instance: objects.Instance, mark: marks.Mark,
              error: Exception) -> None:
        """Thaw a guest that may be frozen, after an error."""
        reset = isinstance(error, exceptions.StateChanged)
        if reset and marks.get(instance) not in (mark, None):
            # Asked to quiesce anew: the guest is the new request's.
            return
        try:
            self.guests.thaw(context, instance)
            marks.drop(instance)
        except exceptions.UnquiesceFailed as thaw_error:
            LOG.error('The guest may be frozen: %s', thaw_error,
                      instance=instance)
        if reset:
            # The state that somebody else has set stays.
            instance.save()
            return
        self._settle(instance, mark, states.QUIESCE, states.Outcome.FAILED)
        compute_utils.add_instance_fault_from_exc(context, instance, error)

    def _unquiesce(self, context: nova_context.RequestContext,
                   instance: objects.Instance) -> None:
        mark = marks.get(instance)
        try:
            self.guests.thaw(context, instance)
        except exceptions.GuestError as error:
            self._settle(instance, mark, states.UNQUIESCE, error.outcome)
            compute_utils.add_instance_fault_from_exc(
                context, instance, error)
            raise
        marks.drop(instance)
        self._settle(instance, mark, states.UNQUIESCE, states.Outcome.DONE)

    @staticmethod
    def _settle(instance: objects.Instance, mark: marks.Mark | None,
                action: states.Action, outcome: states.Outcome) -> None:
        """Save the state that an outcome leads to, and whether it is marked.

        :param mark: the mark that the server had when the work began
        :raises StateChanged: if the server is no longer in the action's task
            state; then the instance is read anew, and of what we wanted to
            save only the end of our own mark was saved
        """
        unmarked = marks.get(instance) is None
        instance.vm_state = action.ends[outcome]
        instance.task_state = None
        try:
            instance.save(expected_task_state=[action.task_state])
        except exception.InstanceUpdateConflict as error:
            instance.refresh()
            if unmarked and mark is not None and marks.get(instance) == mark:
                marks.drop(instance)
                instance.save()
            raise exceptions.StateChanged(
                vm_state=instance.vm_state,
                task_state=instance.task_state) from error
