# SPDX-License-Identifier: Apache-2.0

"""What stands between a client and nova-api, and goes wrong when told to.

A client uses it in place of nova-api (``compute_endpoint_override``). It
passes everything on as it is, until a test says what is to happen to which
request. It never invents an answer on its own: if nova-api does not answer,
the client's connection is cut.
"""

from collections.abc import Callable
import contextlib
import dataclasses
import http.client
import http.server
import json
import threading
import time
from typing import Any
from urllib import parse

from osc_quiesce.tests.functional import base

#: headers that belong to one connection
_HOP_BY_HOP = ('connection', 'keep-alive', 'transfer-encoding')


@dataclasses.dataclass(frozen=True)
class Request:
    """What a client sent.

    :param kind: the name of the action of a POST, else the method
    :param at: when it came, in seconds of time.monotonic()
    """

    kind: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def token(self) -> str:
        return self.headers.get('X-Auth-Token', '')


#: What is to happen to a request.
Behaviour = Callable[['_Handler', Request], None]


def forward(handler: '_Handler', request: Request) -> None:
    """Pass it on, and its answer back."""
    handler.forward(request)


def drop(handler: '_Handler', request: Request) -> None:
    """Cut the connection; nova-api hears nothing of it."""
    handler.cut()


def forward_and_drop(handler: '_Handler', request: Request) -> None:
    """Let nova-api answer, and cut the connection instead of passing it."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        handler.ask_nova(request)
    handler.cut()


def drop_and_forward(seconds: float) -> Behaviour:
    """Cut the connection; the request reaches nova-api so much later."""
    def behave(handler: '_Handler', request: Request) -> None:
        late = threading.Timer(seconds, handler.ask_nova, (request,))
        late.daemon = True
        late.start()
        handler.cut()
    return behave


def refuse(status: int, retry_after: int | None = None) -> Behaviour:
    """Answer as a load balancer does; nova-api hears nothing of it."""
    def behave(handler: '_Handler', request: Request) -> None:
        headers = {'Content-Type': 'text/html'}
        if retry_after is not None:
            headers['Retry-After'] = str(retry_after)
        handler.answer(status, headers, b'<html>come back later</html>')
    return behave


def forward_and_refuse(status: int) -> Behaviour:
    """Answer as a load balancer does that has lost the answer of nova-api."""
    def behave(handler: '_Handler', request: Request) -> None:
        handler.ask_nova(request)
        refuse(status)(handler, request)
    return behave


def first(do: Callable[[Request], None]) -> Behaviour:
    """Do something, and then pass the request on."""
    def behave(handler: '_Handler', request: Request) -> None:
        do(request)
        handler.forward(request)
    return behave


def answer_after(event: threading.Event) -> Behaviour:
    """Let nova-api answer at once, but pass it only after the event."""
    def behave(handler: '_Handler', request: Request) -> None:
        answer = handler.ask_nova(request)
        event.wait(base.TIMEOUT)
        handler.answer(*answer)
    return behave


class Proxy:
    """A proxy on a port of its own; a context manager.

    :param endpoint: of the service behind it, by default nova-api
    :ivar seen: every request that came, the oldest first
    :ivar away: while set, every connection is cut, as if there were no
        nova-api
    """

    def __init__(self, endpoint: str | None = None) -> None:
        self.seen: list[Request] = []
        self.away = threading.Event()
        self._rules: list[tuple[str, Behaviour]] = []
        self._lock = threading.Lock()
        there = parse.urlsplit(endpoint or base.url())
        self.nova = (there.hostname or '', there.port)
        self._server = http.server.ThreadingHTTPServer(
            ('127.0.0.1', 0), type('Handler', (_Handler,), {'proxy': self}))
        self._server.daemon_threads = True
        self.url = 'http://127.0.0.1:%d%s' % (
            self._server.server_port, there.path)

    def __enter__(self) -> 'Proxy':
        threading.Thread(target=self._server.serve_forever,
                         daemon=True).start()
        return self

    def __exit__(self, *_error: Any) -> None:
        self._server.shutdown()
        self._server.server_close()

    def on(self, kind: str, *behaviours: Behaviour) -> None:
        """Say what happens to the next requests, each in its turn.

        :param kind: ``quiesce``, ``unquiesce`` or a method such as ``GET``
        """
        with self._lock:
            self._rules.extend((kind, behave) for behave in behaviours)

    def requests(self, kind: str) -> list[Request]:
        return [request for request in self.seen if request.kind == kind]

    def take(self, request: Request) -> Behaviour | None:
        """Note a request, and return what is to happen to it."""
        with self._lock:
            self.seen.append(request)
            if self.away.is_set():
                return drop
            for number, (kind, behave) in enumerate(self._rules):
                if kind == request.kind:
                    del self._rules[number]
                    return behave
        return None


class _Handler(http.server.BaseHTTPRequestHandler):
    proxy: Proxy
    protocol_version = 'HTTP/1.1'

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        kind = self.command
        if kind == 'POST' and body:
            kind = next(iter(json.loads(body)))
        request = Request(kind, self.command, self.path,
                          dict(self.headers.items()), body, time.monotonic())
        behave = self.proxy.take(request)
        if behave:
            behave(self, request)
        else:
            self.forward(request)

    do_GET = do_POST = do_PUT = do_DELETE = _handle

    def forward(self, request: Request) -> None:
        """Pass a request to nova-api, and its answer to the client."""
        try:
            answer = self.ask_nova(request)
        except (OSError, http.client.HTTPException):
            self.cut()
            return
        self.answer(*answer)

    def ask_nova(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        """Return the status, the headers and the body of nova-api."""
        connection = http.client.HTTPConnection(
            *self.proxy.nova, timeout=base.TIMEOUT)
        try:
            connection.request(request.method, request.path, request.body,
                               request.headers)
            response = connection.getresponse()
            return (response.status, dict(response.getheaders()),
                    response.read())
        finally:
            connection.close()

    def answer(self, status: int, headers: dict[str, str],
               body: bytes) -> None:
        """Answer the client."""
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in (*_HOP_BY_HOP, 'content-length'):
                self.send_header(name, value)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def cut(self) -> None:
        """End the connection without an answer."""
        self.close_connection = True

    def log_message(self, *_args: Any) -> None:
        """Say nothing: stderr is the command's."""
