# SPDX-License-Identifier: Apache-2.0

"""The requests that nova_quiesce adds to nova-api.

Loaded by one line of Nova's api-paste.ini::

    [app:osapi_compute_app_v21]
    paste.app_factory = nova_quiesce.controllers:app_factory

Source of the contract: the Nova blueprint *expose-quiesce-unquiesce-api*.
This module turns HTTP into calls of :mod:`nova_quiesce.api`, with the default
and the limit of the options, and must never decide anything else.
"""

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib import parse

from nova import context as nova_context
from nova import exception
from nova import objects
from nova.api import validation
from nova.api.openstack import common
from nova.api.openstack import compute as nova_api
from nova.api.openstack import wsgi
from nova.api.validation import parameter_types
from nova.compute import api as compute
from oslo_utils import strutils
from webob import exc

from nova_quiesce import api
from nova_quiesce import compat
from nova_quiesce import conf
from nova_quiesce import db
from nova_quiesce import exceptions
from nova_quiesce import policies
from nova_quiesce import register
from nova_quiesce import states
from nova_quiesce import store
from nova_quiesce import times
from nova_quiesce.i18n import _

CONF = conf.CONF

#: where the list of what is frozen is
LIST_PATH = '/os-quiesce'

_REQUEST_ID = {
    'type': 'string',
    'pattern': '^req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$',
}

_quiesce_schema = {
    'type': 'object',
    'properties': {
        states.QUIESCE.name: {
            'type': ['object', 'null'],
            'properties': {
                # At most [quiesce]max_unquiesce_after, which is not known
                # yet when this is read.
                'unquiesce_after': {'type': 'integer', 'minimum': 1},
                'request_id': _REQUEST_ID,
            },
            # Not minProperties: Nova drops unknown ones of /v2 requests.
            'anyOf': [{'required': ['unquiesce_after']},
                      {'required': ['request_id']},
                      {'type': 'null'}],
            'additionalProperties': False,
        },
    },
    'required': [states.QUIESCE.name],
    'additionalProperties': False,
}

_unquiesce_schema = {
    'type': 'object',
    'properties': {
        states.UNQUIESCE.name: {
            'type': ['object', 'null'],
            'properties': {'request_id': _REQUEST_ID},
            'required': ['request_id'],
            'additionalProperties': False,
        },
    },
    'required': [states.UNQUIESCE.name],
    'additionalProperties': False,
}

_unquiesce_response_schema = {
    'type': ['object', 'null'],
    'properties': {
        states.UNQUIESCE.name: {
            'type': 'object',
            'properties': {
                'request_id': {'type': 'string'},
                'state': {'type': 'string'},
                'message': {'type': 'string'},
            },
            'required': ['request_id', 'state', 'message'],
            'additionalProperties': False,
        },
    },
    'additionalProperties': False,
}

_UUID = {'type': 'string', 'format': 'uuid'}

_list_schema = {
    'type': 'object',
    'properties': {
        'server': parameter_types.multi_params(_UUID),
        'request_id': parameter_types.single_param(_REQUEST_ID),
        'all_projects': parameter_types.single_param(
            {'type': 'string', 'maxLength': 5}),
        'limit': parameter_types.single_param(
            {'type': 'string', 'pattern': '^[1-9][0-9]{0,8}$'}),
        'marker': parameter_types.single_param(_UUID),
    },
    'additionalProperties': False,
}

_TEXT_OR_NULL = {'type': ['string', 'null']}
# Nova 2025.1 checks the format of null, too.
_TIME_OR_NULL = {'oneOf': [{'type': 'string', 'format': 'date-time'},
                           {'type': 'null'}]}
_freeze_properties: dict[str, Any] = {
    'server_id': _UUID,
    'server_name': _TEXT_OR_NULL,
    'project_id': _TEXT_OR_NULL,
    'user_id': _TEXT_OR_NULL,
    'request_id': {'type': 'string'},
    'state': {'type': 'string'},
    'requested_at': {'type': 'string', 'format': 'date-time'},
    'frozen_at': _TIME_OR_NULL,
    'unquiesce_at': _TIME_OR_NULL,
    'attempts': {'type': 'integer', 'minimum': 0},
    'error': _TEXT_OR_NULL,
}

_list_response_schema = {
    'type': 'object',
    'properties': {
        'freezes': {'type': 'array', 'items': {
            'type': 'object',
            'properties': _freeze_properties,
            'required': list(_freeze_properties),
            'additionalProperties': False,
        }},
        'freezes_links': {'type': 'array', 'items': {
            'type': 'object',
            'properties': {
                'rel': {'type': 'string', 'enum': ['next']},
                'href': {'type': 'string', 'format': 'uri'},
            },
            'required': ['rel', 'href'],
            'additionalProperties': False,
        }},
    },
    'required': ['freezes'],
    'additionalProperties': False,
}

_no_response_schema = {'type': 'null'}


@contextlib.contextmanager
def _http_errors(action: str, server_id: str) -> Iterator[None]:
    """Turn errors into the answers of Nova's own actions."""
    try:
        yield
    except (exception.InstanceIsLocked, exceptions.Conflict) as error:
        raise exc.HTTPConflict(explanation=error.format_message()) from error
    except exception.InstanceInvalidState as error:
        common.raise_http_conflict_for_instance_invalid_state(
            error, action, server_id)
    except exception.InstanceNotFound as error:
        raise exc.HTTPNotFound(explanation=error.format_message()) from error
    except exceptions.Unavailable as error:
        raise exc.HTTPServiceUnavailable(
            explanation=error.format_message()) from error


def _context_of(req: wsgi.Request) -> nova_context.RequestContext:
    context = req.environ['nova.context']
    if context.project_id is None:
        # Nova's own actions end in 500 here if there is such a server.
        raise exc.HTTPForbidden(explanation=_('The token is not for a '
                                              'project'))
    return context


@compat.validated
class QuiesceController(wsgi.Controller):
    """Two more actions of ``POST /servers/{server_id}/action``."""

    def __init__(self) -> None:
        super().__init__()
        self.compute_api = compute.API()
        self.quiesce_api = api.API()

    @wsgi.response(202)
    @wsgi.expected_errors((400, 403, 404, 409, 503))
    @wsgi.action(states.QUIESCE.name)
    @validation.schema(_quiesce_schema)
    @validation.response_body_schema(_no_response_schema)
    def _quiesce(self, req: wsgi.Request, id: str,
                 body: dict[str, Any]) -> None:
        """Flush and freeze the file systems of a server."""
        details = body[states.QUIESCE.name] or {}
        unquiesce_after = _unquiesce_after(details)
        context, server = self._server(req, id, states.QUIESCE)
        with _http_errors(states.QUIESCE.name, id):
            self.quiesce_api.quiesce(
                context, server, unquiesce_after, details.get('request_id'))

    @wsgi.response(202)
    @wsgi.expected_errors((400, 403, 404, 409, 503))
    @wsgi.action(states.UNQUIESCE.name)
    @validation.schema(_unquiesce_schema)
    @validation.response_body_schema(_unquiesce_response_schema)
    def _unquiesce(self, req: wsgi.Request, id: str, body: dict[str, Any],
                   ) -> wsgi.ResponseObject | None:
        """Thaw the file systems of a server."""
        details = body[states.UNQUIESCE.name]
        context, server = self._server(req, id, states.UNQUIESCE)
        with _http_errors(states.UNQUIESCE.name, id):
            if details is None:
                self.quiesce_api.unquiesce(context, server)
                return None
            request_id = details['request_id']
            found = self.quiesce_api.unquiesce_request(
                context, server, request_id)
        if found is None:
            return None
        return wsgi.ResponseObject({states.UNQUIESCE.name: {
            'request_id': request_id, **found}}, code=200)

    def _server(self, req: wsgi.Request, server_id: str,
                action: states.Action,
                ) -> tuple[nova_context.RequestContext, objects.Instance]:
        """Return the context and the server, if the policy allows it."""
        context = _context_of(req)
        server = common.get_instance(self.compute_api, context, server_id)
        context.can(policies.POLICY_ROOT % action.name,
                    target={'user_id': server.user_id,
                            'project_id': server.project_id})
        return context, server


def _unquiesce_after(details: dict[str, Any]) -> int:
    """Return after how many seconds to thaw; 0 if never."""
    most: int = CONF.quiesce.max_unquiesce_after
    if 'unquiesce_after' not in details:
        return min(CONF.quiesce.default_unquiesce_after, most)
    # To JSON Schema 60.0 is an integer, too.
    seconds = int(details['unquiesce_after'])
    if seconds > most:
        raise exc.HTTPBadRequest(explanation=_(
            'unquiesce_after is %(asked)d seconds; this cloud allows at most '
            '%(most)d ([quiesce]max_unquiesce_after)') % {
                'asked': seconds, 'most': most})
    return seconds


@compat.validated
class FreezesController(wsgi.Controller):
    """``GET /os-quiesce``: what is or may be frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.quiesce_api = api.API()

    @wsgi.expected_errors((400, 403, 503))
    @validation.query_schema(_list_schema)
    @validation.response_body_schema(_list_response_schema)
    def index(self, req: wsgi.Request) -> dict[str, Any]:
        """List the servers that are or may be frozen by quiesce."""
        context = _context_of(req)
        all_projects = self._wants_all(req)
        context.can(policies.POLICY_ROOT % (
            policies.LIST_ALL if all_projects else policies.LIST),
            target={'project_id': context.project_id})
        limit, marker = common.get_limit_and_marker(req)
        wanted = req.GET.getall('server')
        with _http_errors('list', ''):
            rows = self.quiesce_api.find(
                marker=marker, limit=limit + 1,
                project_id=None if all_projects else context.project_id,
                instance_uuids=wanted or None,
                request_id=req.GET.get('request_id'))
        page = rows[:limit]
        answer: dict[str, Any] = {'freezes': [_shown(row) for row in page]}
        if len(rows) > limit:
            answer['freezes_links'] = [{'rel': 'next', 'href': _next(
                req, page[-1].instance_uuid)}]
        return answer

    @staticmethod
    def _wants_all(req: wsgi.Request) -> bool:
        try:
            return bool(strutils.bool_from_string(
                req.GET.get('all_projects', '0'), strict=True))
        except ValueError as error:
            raise exc.HTTPBadRequest(explanation=str(error)) from error


def _shown(row: store.Freeze) -> dict[str, Any]:
    return {
        'server_id': row.instance_uuid,
        'server_name': row.server_name,
        'project_id': row.project_id,
        'user_id': row.user_id,
        'request_id': row.request_id,
        'state': row.state,
        'requested_at': times.text(row.requested_at),
        'frozen_at': times.text(row.frozen_at),
        'unquiesce_at': times.text(row.unquiesce_at),
        'attempts': row.attempts,
        'error': row.error,
    }


def _next(req: wsgi.Request, marker: str) -> str:
    query = [(name, value) for name, value in req.GET.items()
             if name != 'marker']
    # As in Nova's own links: behind a proxy, [api]compute_link_prefix.
    url = common.ViewBuilder()._update_compute_link_prefix(req.path_url)
    return '%s?%s' % (url, parse.urlencode([*query, ('marker', marker)]))


def hooks() -> Iterator[register.Hook]:
    """Return all that is added to nova-api."""
    return register.hooks(QuiesceController, LIST_PATH, FreezesController)


def app_factory(global_config: dict[str, str],
                **local_config: str) -> nova_api.APIRouterV21:
    """Return Nova's own API application with our requests in it.

    A paste.app_factory, called by nova-api when it starts.
    """
    for hook in hooks():
        hook.add()
    db.bound_locks()
    return nova_api.APIRouterV21.factory(global_config, **local_config)
