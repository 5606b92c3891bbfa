# SPDX-License-Identifier: Apache-2.0

"""The requests of the quiesce API: one method, one request, sent once.

Nothing here waits, repeats a request or remembers one. A request to quiesce
bears an id that the caller chooses, so that the caller may repeat it, ask what
became of it, and have undone what it did, and nothing else.

Source: the API reference of nova_quiesce (``doc/source/api.rst``), and for
``GET /servers`` and ``os-instance-actions`` the Nova API reference.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
import dataclasses
from typing import Any, Final
from urllib import parse
import uuid

from keystoneauth1 import adapter as ksa_adapter
import requests

from osc_quiesce import exceptions
from osc_quiesce.i18n import _
from osc_quiesce import states
from osc_quiesce import transport

#: UUIDs in one request, so that its URL is not too long for a proxy
PORTION: Final = 100

_ACCEPTED: Final = 202
_MICROVERSION: Final = '2.1'
_ACTIONS_MICROVERSION: Final = '2.84'  # the first with details in events


@dataclasses.dataclass(frozen=True)
class Freeze:
    """What the cloud says of a guest that is, or may be, frozen.

    :param request_id: the request to quiesce that has frozen it
    :param state: ``asked``, ``freezing``, ``frozen`` or ``thawing``
    :param unquiesce_at: when the cloud thaws it by itself, such as
        ``2026-11-23T03:45:00Z``; None if it does not, or if the guest is not
        frozen yet
    :param error: why its server is in error; None if it is not
    """

    server_id: str
    server_name: str | None
    project_id: str | None
    request_id: str
    state: str
    unquiesce_at: str | None
    error: str | None


@dataclasses.dataclass(frozen=True)
class Unquiesced:
    """What a request to unquiesce has come to.

    :param request_id: its own id; None if nothing was begun
    :param state: None if a thaw was begun, or the freeze given up; else what
        the request to quiesce has become: ``thawing``, ``ended`` or
        ``withdrawn``
    :param message: the same in the cloud's words; '' if a thaw was begun
    """

    request_id: str | None
    state: str | None = None
    message: str = ''


@dataclasses.dataclass(frozen=True)
class Result:
    """How the instance action of a request has ended.

    :param result: ``states.SUCCESS`` or ``states.FAILURE``; None if it has
        not ended, or is not the caller's to see
    :param reason: why it has failed, if the caller may know
    """

    result: str | None = None
    reason: str | None = None


def new_request_id() -> str:
    """Return an id for a request to quiesce."""
    return f'req-{uuid.uuid4()}'


def result_of(action: Mapping[str, Any]) -> Result:
    """Return how the request of an instance action has ended."""
    events = action.get('events') or []
    results = {event.get('result') for event in events}
    if states.FAILURE in results or action.get('message') == 'Error':
        reasons = [
            event['details']
            for event in events
            if event.get('result') == states.FAILURE and event.get('details')
        ]
        return Result(states.FAILURE, '; '.join(reasons) or None)
    if results == {states.SUCCESS}:
        return Result(states.SUCCESS)
    return Result()


def list_servers(
    read: Callable[[str], Mapping[str, Any]], query: Mapping[str, str]
) -> Iterator[Mapping[str, Any]]:
    """Yield the bodies of servers, page by page.

    :param read: sends a GET of a path, and returns the body of the answer
    """
    query = dict(query)
    while True:
        body = read(f'/servers/detail?{parse.urlencode(query)}')
        with transport.understood():
            page = body['servers']
            links = body.get('servers_links') or []
            is_last = 'next' not in [link.get('rel') for link in links]
        yield from page
        if is_last or not page:
            return
        query['marker'] = page[-1]['id']


class QuiesceAPI:
    """The requests, and what their answers mean.

    Every method raises :class:`exceptions.Refused` if the cloud has refused
    the request and changed nothing, and :class:`exceptions.Unreachable` if
    there was no usable answer: then the request may have been carried out.

    :param adapter: a :class:`keystoneauth1.adapter.Adapter` of the compute
        endpoint
    """

    def __init__(self, adapter: ksa_adapter.Adapter) -> None:
        self._adapter = adapter

    def quiesce(
        self,
        server_id: str,
        request_id: str,
        unquiesce_after: int | None = None,
    ) -> None:
        """Have a server frozen; nothing happens if this request has arrived.

        :param request_id: see :func:`new_request_id`
        :param unquiesce_after: seconds after which the cloud thaws it by
            itself; None: as many as the cloud has configured
        :raises exceptions.Conflict: the server is not in the right state, or
            this request has ended, or was withdrawn, before
        """
        details: dict[str, Any] = {'request_id': request_id}
        if unquiesce_after is not None:
            details['unquiesce_after'] = unquiesce_after
        self._act(server_id, states.QUIESCE, details)

    def unquiesce(
        self, server_id: str, request_id: str | None = None
    ) -> Unquiesced:
        """Have a server thawed.

        :param request_id: only if this request to quiesce has frozen it, or
            will; by default whoever has
        :raises exceptions.Conflict: the server is locked, or Nova is at work
            on it, or, without a request id, it is not quiesced
        """
        response = self._act(
            server_id,
            states.UNQUIESCE,
            {'request_id': request_id} if request_id else None,
        )
        if response.status_code != _ACCEPTED:
            with transport.understood(server_id):
                body = transport.json_of(response, server_id)
                became = body[states.UNQUIESCE]
                return Unquiesced(None, became['state'], became['message'])
        return Unquiesced(response.headers.get('x-openstack-request-id'))

    def freezes(
        self,
        server_ids: Collection[str] | None = None,
        all_projects: bool = False,
    ) -> list[Freeze]:
        """Return what is, or may be, frozen; one request a page.

        :param server_ids: of these servers only
        :param all_projects: in all projects, not just in the caller's
        :raises exceptions.NotInstalled: the cloud does not have this API
        """
        query = [('all_projects', '1')] if all_projects else []
        if server_ids is None:
            return list(self._freezes(query))
        ids = list(server_ids)
        return [
            freeze
            for first in range(0, len(ids), PORTION)
            for freeze in self._freezes(
                query
                + [('server', each) for each in ids[first:first + PORTION]]
            )
        ]

    def server(self, server_id: str) -> Mapping[str, Any]:
        """Return the body of a server.

        :raises exceptions.ServerNotFound: there is none, or no longer
        """
        body = self._read(f'/servers/{transport.quoted(server_id)}', server_id)
        with transport.understood(server_id):
            found: Mapping[str, Any] = body['server']
            return found

    def servers(self, query: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
        """Yield the bodies of servers, page by page."""
        return list_servers(self._read, query)

    def result(self, server_id: str, request_id: str) -> Result:
        """Return how a request has ended.

        Nova shows events to the owner of a server, and their details to
        administrators.
        """
        try:
            body = self._read(
                f'/servers/{transport.quoted(server_id)}/os-instance-actions/'
                f'{transport.quoted(request_id)}',
                server_id,
                _ACTIONS_MICROVERSION,
            )
        except exceptions.Refused:
            return Result()  # not recorded yet, or not for the caller
        with transport.understood(server_id):
            return result_of(body['instanceAction'])

    def _freezes(self, query: list[tuple[str, str]]) -> Iterator[Freeze]:
        while True:
            response = self._get(f'/os-quiesce?{parse.urlencode(query)}')
            if response.status_code == 404 and _is_json(response):
                raise exceptions.NotInstalled(transport.text_of(response))
            transport.raise_for_status(response, None)
            body = transport.json_of(response, None)
            with transport.understood():
                page = [
                    Freeze(**{
                        field.name: item[field.name]
                        for field in dataclasses.fields(Freeze)
                    })
                    for item in body['freezes']
                ]
            yield from page
            if not body.get('freezes_links') or not page:
                return
            query = [each for each in query if each[0] != 'marker']
            query.append(('marker', page[-1].server_id))

    def _act(
        self, server_id: str, action: str, details: Mapping[str, Any] | None
    ) -> requests.Response:
        response = transport.send(
            self._adapter,
            'POST',
            f'/servers/{transport.quoted(server_id)}/action',
            server_id,
            json={action: details},
            microversion=_MICROVERSION,
        )
        transport.raise_for_status(response, server_id)
        # A proxy answers 200 with a page for somebody to log in.
        if response.status_code != _ACCEPTED and not (
            action == states.UNQUIESCE and details
        ):
            raise exceptions.Unreachable(
                _('the answer of the compute endpoint is not one of Nova'),
                server_id=server_id,
            )
        return response

    def _read(
        self,
        path: str,
        server_id: str | None = None,
        microversion: str = _MICROVERSION,
    ) -> dict[str, Any]:
        response = self._get(path, server_id, microversion)
        transport.raise_for_status(response, server_id)
        return transport.json_of(response, server_id)

    def _get(
        self,
        path: str,
        server_id: str | None = None,
        microversion: str = _MICROVERSION,
    ) -> requests.Response:
        return transport.send(
            self._adapter, 'GET', path, server_id, microversion=microversion
        )


def _is_json(response: requests.Response) -> bool:
    return 'json' in response.headers.get('content-type', '')
