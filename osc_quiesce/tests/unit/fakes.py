# SPDX-License-Identifier: Apache-2.0

"""A Nova that answers HTTP requests, and a clock that only sleeping moves."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import datetime
import email.utils
import io
import json
import logging
import os
import re
import threading
import time
from types import SimpleNamespace
from typing import Any
import unittest
from unittest import mock as unittest_mock
from urllib import parse
import uuid

from keystoneauth1 import session as ksa_session
from keystoneauth1 import token_endpoint
import requests
import requests_mock

from osc_quiesce.cli import interrupts
from osc_quiesce import client
from osc_quiesce import concurrency
from osc_quiesce import model
from osc_quiesce.tests import signals

ENDPOINT = 'http://nova.example/v2.1'
EPOCH = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@dataclasses.dataclass
class FakeServer:
    """A server; a POST sets off changes that come after so many seconds.

    :param foreign: whether it is of another project than callers who are no
        administrators; they may look at it all the same
    """

    name: str
    id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    vm_state: str = 'active'
    task_state: str | None = None
    fault: str | None = None
    foreign: bool = False
    freeze_seconds: float = 0.3
    thaw_seconds: float = 0.2
    # What freezing comes to: vm_state, result and details of the event
    freeze_to: tuple[str, str | None, str | None] = (
        'quiesced',
        'Success',
        None,
    )
    thaw_to: tuple[str, str | None, str | None] = ('active', 'Success', None)
    # The request that has frozen it, or is about to; None if none has
    freeze: str | None = None
    frozen_at: str | None = '2026-01-01T00:00:00Z'
    error: str | None = None
    attempts: int = 0
    unquiesce_at: str | None = None
    withdrawn: set[str] = dataclasses.field(default_factory=set)
    # Of requests that had frozen it: thawed or lapsed; and what the next thaw
    # tells, if not its event
    fate: str = ''
    fates: dict[str, str] = dataclasses.field(default_factory=dict)
    # What Nova shows of it besides
    shown: dict[str, Any] = dataclasses.field(default_factory=dict)
    actions: list[dict[str, Any]] = dataclasses.field(default_factory=list)


class FakeNova:
    """What the contract says of Nova with nova_quiesce, over requests_mock.

    :ivar log: the requests so far, as "METHOD name-or-path [action]"
    :ivar hooks: called with each request before it is answered; what one
        returns is the answer, what it raises is the trouble on the way
    :ivar more: what a GET of other paths below /v2.1 is answered; the caller
        may not see those that are not in it
    :ivar page: how many rows a page of ``GET /os-quiesce`` has at the most
    """

    def __init__(self, mock: requests_mock.Mocker) -> None:
        self.servers: dict[str, FakeServer] = {}
        self.now = 0.0
        self.sleeps: list[float] = []
        self.log: list[str] = []
        self.hooks: list[Callable[[Any, Any], Any]] = []
        self.is_admin = True
        self.page = 1000  # servers
        self.more: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._timers: list[tuple[float, Callable[[], object]]] = []
        mock.register_uri(
            requests_mock.ANY,
            re.compile(re.escape(ENDPOINT) + '.*'),
            text=self._text,
        )

    def add(self, name: str, **kwargs: Any) -> FakeServer:
        server = FakeServer(name, **kwargs)
        self.servers[server.id] = server
        return server

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            if seconds:
                self.sleeps.append(seconds)
                self.now += seconds
            self._run_timers()

    def others(self, server: FakeServer, action: str, given: str = '') -> str:
        """Let somebody else ask for something that Nova accepts.

        :param given: id of the request to quiesce; a new one by default
        :returns: id of the request
        """
        context = SimpleNamespace(headers={}, status_code=200)
        with self._lock:
            self._act(
                server, action, {'request_id': given} if given else None,
                context,
            )
        assert context.status_code == 202, 'it is refused'
        return str(context.headers['x-openstack-request-id'])

    def at(self, seconds: float, do: Callable[[], object]) -> None:
        self._timers.append((seconds, do))

    def posts(self) -> list[str]:
        return [line for line in self.log if line.startswith('POST')]

    def gets(self) -> list[str]:
        return [line for line in self.log if line.startswith('GET')]

    def _run_timers(self) -> None:
        due = [timer for timer in self._timers if timer[0] <= self.now]
        self._timers = [t for t in self._timers if t[0] > self.now]
        for _time, do in sorted(due, key=lambda timer: timer[0]):
            do()

    def _text(self, request: Any, context: Any) -> str:
        with self._lock:
            return self._text_of(request, context)

    def line_of(self, request: Any) -> str:
        """Return how the log writes a request."""
        path = parse.urlsplit(request.url).path.removeprefix('/v2.1')
        for server in self.servers.values():
            path = path.replace(server.id, server.name)
        if request.method == 'POST':
            [action] = json.loads(request.body)
            return f'POST {path.split("/")[2]} {action}'
        return f'{request.method} {path.removeprefix("/servers/")}'

    def _text_of(self, request: Any, context: Any) -> str:
        context.headers['Date'] = email.utils.format_datetime(
            EPOCH + datetime.timedelta(seconds=int(self.now)), usegmt=True
        )
        context.headers['Content-Type'] = 'application/json'
        self.log.append(self.line_of(request))
        for hook in list(self.hooks):
            answer = hook(request, context)
            if answer is not None:
                return str(answer)
        body = self._answer(request, context)
        return '' if body is None else json.dumps(body)

    def _answer(self, request: Any, context: Any) -> Any:
        url = parse.urlsplit(request.url)
        if url.path == '/v2.1/os-quiesce':
            return self._freezes(parse.parse_qs(url.query), context)
        path = url.path.removeprefix('/v2.1')
        if request.method == 'GET' and path in self.more:
            return self.more[path]
        if not path.startswith('/servers/'):
            return error(context, 403, 'Policy does not allow it')
        # requests_mock's own attributes are in lower case
        parts = parse.unquote(url.path.removeprefix('/v2.1')).split('/')[2:]
        if parts[0] == 'detail':
            return self._list(dict(parse.parse_qsl(url.query)), context)
        # MySQL compares without regard to case.
        server = self.servers.get(parts[0].lower())
        if server is None or server.vm_state == 'deleted':
            return error(
                context, 404, f'Instance {parts[0]} could not be found.'
            )
        match parts[1:]:
            case []:
                return {'server': view(server)}
            case ['action']:
                [(action, details)] = request.json().items()
                return self._act(server, action, details, context)
            case ['os-instance-actions']:
                [limit] = parse.parse_qs(url.query)['limit']
                return {'instanceActions': server.actions[:-1 - int(limit):-1]}
            case ['os-instance-actions', request_id]:
                for action in server.actions:
                    if action['request_id'] == request_id:
                        return {'instanceAction': action}
        return error(context, 404, 'Action not found')

    def _list(self, query: dict[str, str], context: Any) -> Any:
        if query.get('all_tenants') and not self.is_admin:
            return error(context, 403, 'Policy does not allow it')
        return {
            'servers': [
                view(server)
                for server in self.servers.values()
                if re.search(query.get('name', ''), server.name)
                and server.vm_state != 'deleted'
                and (query.get('all_tenants') or not server.foreign)
            ]
        }

    def _act(
        self, server: FakeServer, action: str, details: Any, context: Any
    ) -> Any:
        given = (details or {}).get('request_id')
        if given and action == 'quiesce':
            if server.freeze == given:
                context.status_code = 202
                return None
            if given in server.withdrawn or any(
                    each['request_id'] == given for each in server.actions):
                return error(
                    context, 409, f'Request {given} has ended or was withdrawn'
                )
        elif given and server.freeze != given:
            became = (
                'ended'
                if any(each['request_id'] == given for each in server.actions)
                else 'withdrawn'
            )
            server.withdrawn.add(given)
            return {
                'unquiesce': {
                    'request_id': given,
                    'state': became,
                    'message': f'The request is {became}',
                }
            }
        elif given and server.task_state == 'quiescing':
            server.withdrawn.add(given)
            record = self._record(server, action, None)
            record['events'][0]['result'] = 'Success'
            context.status_code = 202
            context.headers['x-openstack-request-id'] = record['request_id']
            return None
        elif given and (server.vm_state, server.task_state) != (
            'quiesced', None
        ):
            return {
                'unquiesce': {
                    'request_id': given,
                    'state': 'thawing',
                    'message': 'The guest is being thawed',
                }
            }
        wanted = 'active' if action == 'quiesce' else 'quiesced'
        if (server.vm_state, server.task_state) != (wanted, None):
            return error(
                context,
                409,
                f"Cannot '{action}' instance {server.id} while it is in "
                f'vm_state {server.vm_state}',
            )
        record = self._record(
            server, action, given if action == 'quiesce' else None
        )
        [event] = record['events']
        request_id = record['request_id']
        if action == 'quiesce':
            server.task_state = 'quiescing'
            server.freeze = request_id
            server.error = server.unquiesce_at = server.frozen_at = None
            seconds, to = server.freeze_seconds, server.freeze_to
        else:
            server.task_state = 'unquiescing'
            seconds, to = server.thaw_seconds, server.thaw_to

        def end() -> None:
            server.vm_state, event['result'], event['details'] = to
            if action == 'quiesce' and request_id in server.withdrawn:
                server.vm_state = 'active'
                event['result'], event['details'] = 'Error', 'withdrawn'
            if server.vm_state == 'active':
                if server.freeze and action == 'unquiesce':
                    server.fates[server.freeze] = server.fate or (
                        'thawed' if event['result'] == 'Success' else 'lapsed'
                    )
                server.freeze = None
            elif server.vm_state == 'quiesced':
                server.frozen_at = '2026-01-01T00:00:00Z'
            elif server.vm_state == 'error':
                server.error = event['details'] or 'it failed'
                server.attempts += 1
            record['message'] = 'Error' if event['result'] == 'Error' else None
            server.task_state = None
            seconds = (details or {}).get('unquiesce_after')
            if seconds and server.vm_state == 'quiesced':
                until = EPOCH + datetime.timedelta(seconds=self.now + seconds)
                server.unquiesce_at = model.utc_text(until)
                record['events'].append(
                    {
                        'event': 'quiesce_deadline',
                        'result': 'Success',
                        'details': None,
                        'finish_time': until.replace(tzinfo=None).isoformat(),
                    }
                )
                self.at(self.now + seconds, thaw)

        def thaw() -> None:
            if server.actions[-1] is record:
                [event] = self._record(server, 'unquiesce', None)['events']
                event['result'], event['details'] = 'Success', 'deadline'
                server.vm_state = 'active'
                server.fates[request_id] = 'thawed'
                server.freeze = None

        self.at(self.now + seconds, end)
        context.status_code = 202
        context.headers['x-openstack-request-id'] = request_id
        return None

    def _record(
        self, server: FakeServer, action: str, request_id: str | None
    ) -> dict[str, Any]:
        """Add an instance action with one event, and return it."""
        start = EPOCH + datetime.timedelta(seconds=self.now)
        event: dict[str, Any] = {
            'event': f'quiesce_{action}_instance',
            'result': None,
            'details': None,
        }
        record: dict[str, Any] = {
            'action': action,
            'request_id': request_id or f'req-{uuid.uuid4()}',
            'message': None,
            'user_id': None,
            'start_time': start.replace(tzinfo=None).isoformat(),
            'events': [event],
        }
        server.actions.append(record)
        return record

    def _freezes(self, query: dict[str, list[str]], context: Any) -> Any:
        if 'all_projects' in query and not self.is_admin:
            return error(context, 403, 'Policy does not allow it')
        [marker] = query.get('marker', [''])
        wanted = [each.lower() for each in query.get('server', [])]
        [request] = query.get('request_id', [''])
        found = sorted(
            (
                server
                for server in self.servers.values()
                if (
                    request in (server.freeze, *server.fates)
                    if request
                    else server.freeze
                )
                and server.id > marker
                and (server.id in wanted or not wanted)
                and ('all_projects' in query or not server.foreign)
            ),
            key=lambda server: server.id,
        )
        page = found[: self.page]
        return {
            'freezes': [
                freeze_view(server, request or str(server.freeze))
                for server in page
            ],
            **(
                {'freezes_links': [{'rel': 'next', 'href': 'next page'}]}
                if len(found) > len(page)
                else {}
            ),
        }


def freeze_view(server: FakeServer, request_id: str) -> dict[str, Any]:
    return {
        'server_id': server.id,
        'server_name': server.name,
        'project_id': 'a project',
        'user_id': 'a user',
        'request_id': request_id,
        'state': server.fates.get(request_id) or _row_state(server),
        'requested_at': '2026-01-01T00:00:00Z',
        'frozen_at': server.frozen_at,
        'unquiesce_at': server.unquiesce_at,
        'attempts': server.attempts,
        'error': server.error,
    }


def _row_state(server: FakeServer) -> str:
    if server.task_state == 'quiescing':
        return 'freezing'
    return 'frozen' if server.vm_state == 'quiesced' and (
        server.task_state is None) else 'thawing'


def view(server: FakeServer) -> dict[str, Any]:
    body: dict[str, Any] = {
        'id': server.id,
        'name': server.name,
        'status': server.vm_state.upper(),
        'OS-EXT-STS:vm_state': server.vm_state,
        'OS-EXT-STS:task_state': server.task_state,
    }
    if server.fault:
        body['fault'] = {'message': server.fault}
    return body | server.shown


def error(context: Any, status: int, message: str) -> Any:
    """Return a fault as Nova has it."""
    context.status_code = status
    key = {
        400: 'badRequest',
        401: 'unauthorized',
        403: 'forbidden',
        404: 'itemNotFound',
        409: 'conflictingRequest',
        429: 'overLimit',
        503: 'serviceUnavailable',
    }[status]
    return {key: {'code': status, 'message': message}}


class Stderr(io.StringIO):
    """A stderr that is a terminal, or none."""

    def __init__(self, is_terminal: bool = True) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def fileno(self) -> int:
        return 2  # asked for whether it takes a word


class TestCase(unittest.TestCase):
    """A test with a Nova of its own, and a client of it."""

    def setUp(self) -> None:
        super().setUp()
        self.mock = requests_mock.Mocker()
        self.mock.start()
        self.addCleanup(self.mock.stop)
        self.nova = FakeNova(self.mock)
        # What goes out at once comes in order.
        patch = unittest_mock.patch.object(concurrency, 'THREADS', 1)
        patch.start()
        self.addCleanup(patch.stop)
        self.client = self.new_client()
        self.errors = _Lines()
        log = logging.getLogger('osc_quiesce')
        log.addHandler(self.errors)
        log.propagate = False
        self.addCleanup(log.removeHandler, self.errors)

    def new_client(self) -> client.Client:
        """Return a client that knows of no other one."""
        return client.Client(
            session=ksa_session.Session(
                token_endpoint.Token(ENDPOINT, 'a-token')
            ),
            clock=self.nova.clock,
            sleep=self.nova.sleep,
            endpoint_override=ENDPOINT,
        )

    def with_signals(self) -> None:
        """Let commands take real signals, and wait by the fake clock.

        What they say at once, past ``sys.stderr``, is ``self.announced``.
        """
        signals.as_in_terminal(self)
        self.announced: list[str] = []
        write = os.write

        def announce(fd: int, data: bytes) -> int:
            if fd != 2:
                return write(fd, data)
            self.announced.append(data.decode())
            return len(data)

        def sleep(noted: interrupts.Interrupts, seconds: float) -> None:
            noted.check()
            self.nova.sleep(seconds)
            noted.check()

        for patch in (
            unittest_mock.patch.object(os, 'write', announce),
            unittest_mock.patch.object(interrupts.Interrupts, 'sleep', sleep),
            unittest_mock.patch.object(
                interrupts, 'end', lambda exit_code, is_interactive=False:
                exit_code),
        ):
            patch.start()
            self.addCleanup(patch.stop)

    @property
    def said(self) -> str:
        """All that the commands said to the user."""
        return '\n'.join(self.errors.lines)

    def app(self) -> Any:
        """An application to run commands in."""
        return SimpleNamespace(
            client_manager=SimpleNamespace(server_quiesce=self.client),
            stdout=io.StringIO(),
            options=SimpleNamespace(verbose_level=1),
            interactive_mode=False,
            NAME='openstack',
        )

    def drop(self, line: str, times: int = 1, heard: bool = False) -> None:
        """Lose the connection of the next requests that look like this.

        :param heard: whether Nova gets the request, and only its answer is
            lost
        """
        left = [times]

        def hook(request: Any, context: Any) -> None:
            if self.nova.log[-1] == line and left[0]:
                left[0] -= 1
                if heard:
                    self.nova._answer(request, context)
                raise requests.ConnectionError('connection reset')

        self.nova.hooks.append(hook)

    def hang(self, line: str, seconds: float) -> None:
        """Let the next request that looks like this wait, unheard.

        It holds up no other one, and is lost after its timeout, or when the
        clock has gone so far.
        """
        send, left = requests.Session.send, [seconds]

        def hanging(session: Any, request: Any, **options: Any) -> Any:
            if not left or self.nova.line_of(request) != line:
                return send(session, request, **options)
            until = self.nova.now + min(left.pop(), options['timeout'])
            self.nova.log.append(line)
            give_up = time.monotonic() + 60
            while self.nova.now < until and time.monotonic() < give_up:
                time.sleep(0.005)
            raise requests.ReadTimeout('it took too long')

        patch = unittest_mock.patch.object(requests.Session, 'send', hanging)
        patch.start()
        self.addCleanup(patch.stop)

    def answer(
        self,
        line: str,
        status: int,
        text: str,
        times: int = 1,
        heard: bool = False,
        **headers: str,
    ) -> None:
        """Answer the next requests that look like this one instead.

        :param heard: whether Nova gets the request, and only its answer is
            replaced
        """
        left = [times]

        def hook(request: Any, context: Any) -> str | None:
            if self.nova.log[-1] != line or not left[0]:
                return None
            left[0] -= 1
            if heard:
                self.nova._answer(request, context)
            context.status_code = status
            for name, value in headers.items():
                context.headers[name.replace('_', '-')] = value
            return text

        self.nova.hooks.append(hook)


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
