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

"""The actions ``quiesce`` and ``unquiesce`` of nova-api.

Loaded by one line of Nova's api-paste.ini::

    [app:osapi_compute_app_v21]
    paste.app_factory = nova_quiesce.api:app_factory

Source of the contract: the Nova blueprint *expose-quiesce-unquiesce-api*.
"""

from collections.abc import Callable
from typing import Any

from nova import context as nova_context
from nova import exception
from nova import objects
from nova.api import validation
from nova.api.openstack import common
from nova.api.openstack import compute as nova_api
from nova.api.openstack import wsgi
from nova.compute import api as compute
from oslo_utils import excutils
from webob import exc

from nova_quiesce import marks
from nova_quiesce import policies
from nova_quiesce import register
from nova_quiesce import rpcapi
from nova_quiesce import states


def _request_schema(action: states.Action) -> dict[str, Any]:
    return {
        'type': 'object',
        'properties': {action.name: {'type': 'null'}},
        'required': [action.name],
        'additionalProperties': False,
    }


_response_schema = {'type': 'null'}


class API:
    """What nova.compute.api.API would do, had Nova these actions."""

    def __init__(self) -> None:
        self._rpcapi = rpcapi.QuiesceAPI()

    @compute.check_instance_lock
    @compute.check_instance_state(vm_state=[states.QUIESCE.accepted_in])
    def quiesce(self, context: nova_context.RequestContext,
                instance: objects.Instance) -> None:
        """Have the guest frozen.

        :raises nova.exception.InstanceInvalidState: if the server is not in
            the right state, or is locked for the caller
        """
        self._request(context, instance, states.QUIESCE,
                      self._rpcapi.quiesce_instance)

    @compute.check_instance_lock
    @compute.check_instance_state(vm_state=[states.UNQUIESCE.accepted_in])
    def unquiesce(self, context: nova_context.RequestContext,
                  instance: objects.Instance) -> None:
        """Have the guest thawed.

        :raises nova.exception.InstanceInvalidState: if the server is not in
            the right state, or is locked for the caller
        """
        self._request(context, instance, states.UNQUIESCE,
                      self._rpcapi.unquiesce_instance)

    @staticmethod
    def _request(
            context: nova_context.RequestContext, instance: objects.Instance,
            action: states.Action,
            cast: Callable[[nova_context.RequestContext, str], None]) -> None:
        before = instance.system_metadata
        if action is states.QUIESCE:
            # In the same save as the state: no freeze is sent without it.
            marks.put(instance, context.request_id)
        instance.task_state = action.task_state
        try:
            # One compare-and-swap in the database: of many simultaneous
            # requests exactly one gets past this line.
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
        except Exception:
            # Nothing was asked for.  Should the message arrive all the same,
            # the service ignores it, since the task state is gone.
            with excutils.save_and_reraise_exception():
                instance.system_metadata = before
                instance.task_state = None
                instance.save(expected_task_state=[action.task_state])


@validation.validated
class QuiesceController(wsgi.Controller):
    """Two more actions of ``POST /servers/{server_id}/action``."""

    def __init__(self) -> None:
        super().__init__()
        self.compute_api = compute.API()
        self.quiesce_api = API()

    @wsgi.response(202)
    @wsgi.expected_errors((404, 409))
    @wsgi.action(states.QUIESCE.name)
    @validation.schema(_request_schema(states.QUIESCE))
    @validation.response_body_schema(_response_schema)
    def _quiesce(self, req: wsgi.Request, id: str,
                 body: dict[str, Any]) -> None:
        """Flush and freeze the file systems of a server."""
        self._act(req, id, states.QUIESCE, self.quiesce_api.quiesce)

    @wsgi.response(202)
    @wsgi.expected_errors((404, 409))
    @wsgi.action(states.UNQUIESCE.name)
    @validation.schema(_request_schema(states.UNQUIESCE))
    @validation.response_body_schema(_response_schema)
    def _unquiesce(self, req: wsgi.Request, id: str,
                   body: dict[str, Any]) -> None:
        """Thaw the file systems of a quiesced server."""
        self._act(req, id, states.UNQUIESCE, self.quiesce_api.unquiesce)

    def _act(self, req: wsgi.Request, server_id: str, action: states.Action,
             act: Callable[[nova_context.RequestContext, objects.Instance],
                           None]) -> None:
        context = req.environ['nova.context']
        server = common.get_instance(self.compute_api, context, server_id,
                                     expected_attrs=['system_metadata'])
        context.can(policies.POLICY_ROOT % action.name,
                    target={'user_id': server.user_id,
                            'project_id': server.project_id})
        try:
            act(context, server)
        except exception.InstanceIsLocked as error:
            raise exc.HTTPConflict(
                explanation=error.format_message()) from error
        except exception.InstanceInvalidState as error:
            common.raise_http_conflict_for_instance_invalid_state(
                error, action.name, server_id)
        except exception.InstanceNotFound as error:
            raise exc.HTTPNotFound(
                explanation=error.format_message()) from error


def app_factory(global_config: dict[str, str],
                **local_config: str) -> nova_api.APIRouterV21:
    """Return Nova's own API application with our actions in it.

    A paste.app_factory, called by nova-api when it starts.
    """
    register.status()
    register.response_schemas()
    register.notifications()
    register.policy_rules()
    register.server_action(QuiesceController)
    return nova_api.APIRouterV21.factory(global_config, **local_config)
