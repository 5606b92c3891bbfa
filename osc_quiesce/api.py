# SPDX-License-Identifier: Apache-2.0

"""The requests of the quiesce API: one method, one request, sent once.

Nothing here waits, repeats a request or remembers one. A request to quiesce
bears an id that the caller chooses, so that the caller may repeat it, ask what
became of it, and have undone what it did, and nothing else.

Source: the API reference of nova_quiesce (``api-ref/source/index.rst``), and
for ``GET /servers`` and ``os-instance-actions`` the Nova API reference.
"""

from collections.abc import Collection, Iterator, Mapping
import contextlib
import dataclasses
import datetime
import re
from typing import Any, Final, Self
from urllib import parse

from keystoneauth1 import adapter as ksa_adapter
import requests

from osc_quiesce import errors
from osc_quiesce import http
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce import states

#: UUIDs in one request, so that its URL is not too long for any server: with
#: uWSGI's defaults, all headers have 4096 bytes
PORTION: Final = 50

_ACCEPTED: Final = 202
_MICROVERSION: Final = '2.1'  # vm_state, task_state and fault are all here
_ACTIONS_MICROVERSION: Final = '2.84'  # the first with details in events


class QuiesceAPI:
    """The requests, and what their answers mean.

    Every method raises :class:`errors.Refused` if the cloud has refused the
    request and changed nothing, and :class:`errors.Unreachable` if there was
    no usable answer: then the request may have been carried out.

    :param adapter: of the compute endpoint
    :param timeout: seconds for one request; by default that of the session
    """

    def __init__(self, adapter: ksa_adapter.Adapter,
                 timeout: float | None = None) -> None:
        self._adapter = adapter
        self._timeout: float = (
            timeout or getattr(adapter.session, 'timeout',
                               None) or http.REQUEST_TIMEOUT)

    def within(self, seconds: float) -> Self:
        """Return the same, which waits so long for a part of an answer."""
        return type(self)(self._adapter, min(seconds, self._timeout))

    def quiesce(self, server: model.Server, request_id: str,
                unquiesce_after: int | None = None) -> None:
        """Have a server frozen; nothing happens if this request has arrived.

        :param request_id: see :func:`model.new_request_id`
        :param unquiesce_after: as for :meth:`.client.Client.quiesce`
        :raises errors.Conflict: the server is not in the right state, or this
            request has ended, or was withdrawn, before
        """
        details: dict[str, Any] = {'request_id': request_id}
        if unquiesce_after is not None:
            details['unquiesce_after'] = unquiesce_after
        self._act(server, states.QUIESCE, details)

    def unquiesce(self, server: model.Server,
                  request_id: str | None = None) -> model.Unquiesced:
        """Have a server thawed.

        :param request_id: as for :meth:`.client.Client.unquiesce`
        :raises errors.Conflict: the server is locked, or Nova is at work on
            it, or, without a request id, it is not quiesced
        """
        response = self._act(
            server, states.UNQUIESCE,
            {'request_id': request_id} if request_id else None)
        if response.status_code != _ACCEPTED:
            with http.parsing(server):
                became = http.json_of(response)[states.UNQUIESCE]
                return model.Unquiesced(
                    None, became['state'], became['message'])
        return model.Unquiesced(response.headers.get('x-openstack-request-id'))

    def freezes(self, server_ids: Collection[str] | None = None,
                all_projects: bool = False,
                request_id: str | None = None) -> list[model.Freeze]:
        """Return what :meth:`.client.Client.freezes` does."""
        query = [('all_projects', '1')] if all_projects else []
        ids = None if server_ids is None else list(server_ids)
        if request_id is not None:
            query.append(('request_id', request_id))
            if ids and len(ids) > PORTION:
                ids = None  # what it has frozen is one list
        if ids is None:
            return list(self._freezes(query))
        return [freeze for first in range(0, len(ids), PORTION)
                for freeze in self._freezes(query + [
                    ('server', each) for each in ids[first:first + PORTION]])]

    def server(self, server: model.Server) -> model.Server:
        """Return what :meth:`.client.Client.get_server` does."""
        body = self.read(f'/servers/{http.quoted(server.id)}', server)
        with http.parsing(server):
            return model.Server.from_api(body['server'])

    def find_server(self, name_or_id: str,
                    all_projects: bool = False) -> model.Server:
        """Return what :meth:`.client.Client.find_server` does.

        It takes two requests if there is no server with this UUID.
        """
        # A name may look like an ID, and most do not.
        if model.is_uuid(name_or_id):
            with contextlib.suppress(errors.ServerNotFound):
                return self.server(model.Server.of(name_or_id))
        # Nova takes the name as a regular expression, found anywhere.
        query = {'name': f'^{re.escape(name_or_id)}$'}
        if all_projects:
            query['all_tenants'] = '1'
        found = []
        with contextlib.suppress(UnicodeEncodeError):  # no server is called so
            found = [server for server in self.servers(
                query, model.Server(name_or_id)) if server.name == name_or_id]
        if not found:
            raise errors.ServerNotFound(
                _('No server has the name or ID "%s"') % name_or_id)
        if len(found) > 1:
            raise errors.AmbiguousName(
                _('%(count)d servers have the name "%(name)s": %(ids)s') % {
                    'count': len(found), 'name': name_or_id,
                    'ids': ', '.join(server.id for server in found)})
        return found[0]

    def servers(self, query: Mapping[str, str],
                wanted: model.Server | None = None) -> Iterator[model.Server]:
        """Yield servers, page by page.

        :param query: filters of ``GET /servers/detail``
        :param wanted: the server that is looked for, for messages
        """
        path = f'/servers/detail?{parse.urlencode(query)}'
        with http.parsing(wanted):
            for item in http.pages(
                    lambda path: self.read(path, wanted), path, 'servers'):
                yield model.Server.from_api(item)

    def result(self, server: model.Server, request_id: str) -> model.Result:
        """Return how a request has ended.

        Nova shows events to the owner of a server, and their details to
        administrators.
        """
        try:
            body = self.read(
                f'/servers/{http.quoted(server.id)}/os-instance-actions/'
                f'{http.quoted(request_id)}',
                server, _ACTIONS_MICROVERSION)
        except errors.ServiceUnavailable:
            raise
        except errors.Refused:
            return model.Result()  # not recorded yet, or not for the caller
        with http.parsing(server):
            return _result_of(body['instanceAction'])

    def newest_actions(self, server: model.Server,
                       *kinds: Collection[str]) -> list[str | None]:
        """Return what :meth:`.client.Client.newest_actions` does."""
        actions = self.read(
            f'/servers/{http.quoted(server.id)}/os-instance-actions?limit=50',
            server, _ACTIONS_MICROVERSION)
        with http.parsing(server):
            return [next((str(each['request_id'])
                          for each in actions['instanceActions']
                          if each['action'] in names), None)
                    for names in kinds]

    def read(self, path: str, server: model.Server | None = None,
             microversion: str = _MICROVERSION) -> dict[str, Any]:
        """Return the JSON object that Nova has at a path.

        :param server: the server that it is about, for messages
        """
        response = http.send(self._adapter, 'GET', path, server,
                             microversion=microversion, timeout=self._timeout)
        return http.json_of(response, server)

    def _freezes(self, query: list[tuple[str, str]]) -> Iterator[model.Freeze]:
        path = f'/os-quiesce?{parse.urlencode(query)}'
        names = [field.name for field in dataclasses.fields(model.Freeze)]
        try:
            with http.parsing():
                for item in http.pages(
                        self.read, path, 'freezes', 'server_id'):
                    yield model.Freeze(**{name: item[name] for name in names})
        except errors.ServerNotFound as exc:
            raise errors.NotInstalled(exc.message) from exc

    def _act(self, server: model.Server, action: str,
             details: Mapping[str, Any] | None) -> requests.Response:
        response = http.send(
            self._adapter, 'POST', f'/servers/{http.quoted(server.id)}/action',
            server, json={action: details}, microversion=_MICROVERSION,
            timeout=self._timeout)
        # A proxy answers 200 with a page for somebody to log in.
        if response.status_code != _ACCEPTED and not (
                action == states.UNQUIESCE and details):
            raise http.not_of_nova(server)
        return response


def _result_of(action: Mapping[str, Any]) -> model.Result:
    """Return how the request of an instance action has ended."""
    events = action.get('events') or []
    results = {event.get('result') for event in events}
    if states.FAILURE in results or action.get('message') == 'Error':
        reasons = [
            event['details'] for event in events
            if event.get('result') == states.FAILURE and event.get('details')]
        return model.Result(states.FAILURE, '; '.join(reasons) or None)
    if results != {states.SUCCESS}:
        return model.Result()
    for event in events:
        if event['event'] == states.DEADLINE_EVENT:
            when = datetime.datetime.fromisoformat(
                event['finish_time'].removesuffix('Z')
            ).replace(tzinfo=datetime.UTC)
            return model.Result(
                states.SUCCESS, unquiesce_at=model.utc_text(when))
    return model.Result(states.SUCCESS)
