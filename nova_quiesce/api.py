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

And what ``os-resetState`` needs, so that no reset leaves a guest frozen.
Loaded by one line of Nova's api-paste.ini::

    [app:osapi_compute_app_v21]
    paste.app_factory = nova_quiesce.api:app_factory

Source of the contract: the Nova blueprint *expose-quiesce-unquiesce-api*.
"""

import time
from collections.abc import Callable
from typing import Any

from nova import context as nova_context
from nova import exception
from nova import objects
from nova.api import validation
from nova.api.openstack import common
from nova.api.openstack import compute as nova_api
from nova.api.openstack import wsgi
from nova.api.openstack.compute import admin_actions
from nova.api.openstack.compute.schemas import admin_actions as admin_schema
from nova.compute import api as compute
from oslo_config import cfg
from oslo_log import log as logging
from webob import exc

from nova_quiesce import cells
from nova_quiesce import compat
from nova_quiesce import conf
from nova_quiesce import exceptions
from nova_quiesce import marks
from nova_quiesce import policies
from nova_quiesce import register
from nova_quiesce import requests
from nova_quiesce import states
from nova_quiesce.i18n import _

CONF = cfg.CONF
LOG = logging.getLogger(__name__)

_quiesce_schema = {
    'type': 'object',
    'properties': {
        states.QUIESCE.name: {
            'type': ['object', 'null'],
            'properties': {
                # At most [quiesce]max_unquiesce_after, which is not known
                # yet when this is read.
                'unquiesce_after': {'type': 'integer', 'minimum': 1},
            },
            'required': ['unquiesce_after'],
            'additionalProperties': False,
        },
    },
    'required': [states.QUIESCE.name],
    'additionalProperties': False,
}

_unquiesce_schema = {
    'type': 'object',
    'properties': {states.UNQUIESCE.name: {'type': 'null'}},
    'required': [states.UNQUIESCE.name],
    'additionalProperties': False,
}

_response_schema = {'type': 'null'}


class API:
    """What nova.compute.api.API would do, had Nova these actions."""

    def __init__(self) -> None:
        self._requests = requests.Requests()
        self._cells = cells.Cells()
        #: when the services have to be looked at again, on the monotonic
        #: clock
        self._look_at = 0.0

    @compute.check_instance_lock
    @compute.check_instance_state(vm_state=[states.QUIESCE.accepted_in])
    def quiesce(self, context: nova_context.RequestContext,
                instance: objects.Instance, unquiesce_after: int) -> None:
        """Have the guest frozen.

        :param unquiesce_after: seconds after which it is thawed; 0 if never
        :raises nova.exception.InstanceInvalidState: if the server is not in
            the right state, or is locked for the caller
        :raises NoService: if nobody would do it
        :raises NotSent: if nobody could be told
        """
        self._check_service(context)
        self._requests.quiesce(context, instance, unquiesce_after)

    @compute.check_instance_lock
    @compute.check_instance_state(vm_state=[states.UNQUIESCE.accepted_in])
    def unquiesce(self, context: nova_context.RequestContext,
                  instance: objects.Instance) -> None:
        """Have the guest thawed.

        :raises nova.exception.InstanceInvalidState: if the server is not in
            the right state, or is locked for the caller
        :raises NoService: if nobody would do it
        :raises NotSent: if nobody could be told
        """
        self._check_service(context)
        self._requests.unquiesce(context, instance)

    def thaw_after_reset(self, context: nova_context.RequestContext,
                         instance: objects.Instance,
                         before: objects.Instance) -> None:
        """Have the guest thawed if it may be frozen, after a reset.

        Never fails: if it cannot be done now, the sweep does it.

        :param instance: as it is after the reset
        :param before: as it was before
        """
        # By its state also if its mark is lost: after the reset nothing
        # else would tell.
        if marks.get(instance) is None and not (
                before.vm_state == states.QUIESCED or before.task_state in (
                    states.QUIESCING, states.UNQUIESCING)):
            return
        try:
            self._requests.thaw(
                context, instance, _('The state of the server was reset'),
                late_freeze=before.task_state == states.QUIESCING)
        except Exception:
            LOG.exception('The thaw after a reset is left to nova-quiesce',
                          instance=instance)

    def _check_service(self, context: nova_context.RequestContext) -> None:
        # No service reports more often, so a look in between tells no more.
        now = time.monotonic()
        if now < self._look_at:
            return
        services = self._cells.services(context)
        if services.any_up():
            self._look_at = now + CONF.report_interval
        elif services.complete:
            # Else one may be up whose cell does not answer just now.
            raise exceptions.NoService()


@compat.validated
class QuiesceController(wsgi.Controller):
    """Two more actions of ``POST /servers/{server_id}/action``."""

    def __init__(self) -> None:
        super().__init__()
        self.compute_api = compute.API()
        self.quiesce_api = API()

    @wsgi.response(202)
    @wsgi.expected_errors((400, 403, 404, 409, 503))
    @wsgi.action(states.QUIESCE.name)
    @validation.schema(_quiesce_schema)
    @validation.response_body_schema(_response_schema)
    def _quiesce(self, req: wsgi.Request, id: str,
                 body: dict[str, Any]) -> None:
        """Flush and freeze the file systems of a server."""
        unquiesce_after = _unquiesce_after(body[states.QUIESCE.name])
        self._act(req, id, states.QUIESCE, self.quiesce_api.quiesce,
                  unquiesce_after)

    @wsgi.response(202)
    @wsgi.expected_errors((403, 404, 409, 503))
    @wsgi.action(states.UNQUIESCE.name)
    @validation.schema(_unquiesce_schema)
    @validation.response_body_schema(_response_schema)
    def _unquiesce(self, req: wsgi.Request, id: str,
                   body: dict[str, Any]) -> None:
        """Thaw the file systems of a quiesced server."""
        self._act(req, id, states.UNQUIESCE, self.quiesce_api.unquiesce)

    def _act(self, req: wsgi.Request, server_id: str, action: states.Action,
             act: Callable[..., None], *details: Any) -> None:
        context = req.environ['nova.context']
        if context.project_id is None:
            # Nova's own actions end in 500 here if there is such a server.
            raise exc.HTTPForbidden(explanation=_(
                'The token is not for a project'))
        server = common.get_instance(self.compute_api, context, server_id,
                                     expected_attrs=['system_metadata'])
        context.can(policies.POLICY_ROOT % action.name,
                    target={'user_id': server.user_id,
                            'project_id': server.project_id})
        try:
            act(context, server, *details)
        except exception.InstanceIsLocked as error:
            raise exc.HTTPConflict(
                explanation=error.format_message()) from error
        except exception.InstanceInvalidState as error:
            common.raise_http_conflict_for_instance_invalid_state(
                error, action.name, server_id)
        except exception.InstanceNotFound as error:
            raise exc.HTTPNotFound(
                explanation=error.format_message()) from error
        except (exceptions.NoService, exceptions.NotSent) as error:
            raise exc.HTTPServiceUnavailable(
                explanation=error.format_message()) from error


def _unquiesce_after(asked: dict[str, int] | None) -> int:
    """Return after how many seconds to thaw; 0 if never."""
    if asked is None:
        return int(CONF.quiesce.default_unquiesce_after)
    # To JSON Schema 60.0 is an integer, too.
    seconds = int(asked['unquiesce_after'])
    most = CONF.quiesce.max_unquiesce_after
    if seconds > most:
        raise exc.HTTPBadRequest(explanation=_(
            'unquiesce_after is %(asked)d seconds; this cloud allows at most '
            '%(most)d ([quiesce]max_unquiesce_after)') % {
                'asked': seconds, 'most': most})
    return seconds


@compat.validated
class ResetController(admin_actions.AdminActionsController):
    """Nova's ``os-resetState``, with what a server that may be frozen needs.

    Whatever state an administrator sets: its guest is thawed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.quiesce_api = API()

    @wsgi.response(202)
    @wsgi.expected_errors(404)
    @wsgi.action('os-resetState')
    @validation.schema(admin_schema.reset_state)
    @validation.response_body_schema(admin_schema.reset_state_response)
    def _reset_state(self, req: wsgi.Request, id: str,
                     body: dict[str, Any]) -> None:
        """Set the state of a server, and thaw it if it may be frozen."""
        context = req.environ['nova.context']
        before = common.get_instance(self.compute_api, context, id)
        super()._reset_state(req, id, body=body)
        try:
            after = common.get_instance(self.compute_api, context, id,
                                        expected_attrs=['system_metadata'])
        except exc.HTTPNotFound:
            return    # deleted since
        self.quiesce_api.thaw_after_reset(context, after, before)


def app_factory(global_config: dict[str, str],
                **local_config: str) -> nova_api.APIRouterV21:
    """Return Nova's own API application with our actions in it.

    A paste.app_factory, called by nova-api when it starts.
    """
    conf.register_opts(CONF)
    register.status()
    register.response_schemas()
    register.notifications()
    register.policy_rules()
    register.server_action(QuiesceController)
    register.server_action(ResetController)
    return nova_api.APIRouterV21.factory(global_config, **local_config)
