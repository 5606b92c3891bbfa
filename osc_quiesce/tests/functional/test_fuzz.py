# SPDX-License-Identifier: Apache-2.0

"""The API takes anything: ten thousand requests, most of them nonsense.

What is sent is chosen by hypothesis, the same at each run. It is well-formed
HTTP, since anything else never gets past the HTTP server to Nova; within
that, everything is tried. Each answer is compared with what the contract
says of this very request, so that nonsense must be refused, not just
survived. At the end nothing may be left of what was refused.

The strategies are plain ones, not made from the schema: the schema of the
actions is tiny, and what matters lies outside it (text that is not JSON, not
UTF-8, a key that is there twice).
"""

import dataclasses
import http.client
import json
from typing import Any, Final
from urllib import parse

import hypothesis
from hypothesis import strategies as st
from minicloud import releases

from osc_quiesce.tests.functional import base

#: one of so many requests is sent with an older release: it is the newest
#: that shows whether our code takes anything
SHARE: Final = 1 if releases.installed() == list(releases.RELEASES)[-1] else 10
#: requests of each test; together more than 10,000
BODIES: Final = 7300 // SHARE
IDS: Final = 1300 // SHARE
HEADERS: Final = 1500 // SHARE
METHODS: Final = 900 // SHARE

#: bytes that Nova takes ([oslo_middleware]max_request_body_size)
LARGEST_BODY: Final = 114688
#: seconds, the default of [quiesce]max_unquiesce_after
LONGEST_FREEZE: Final = 86400
#: Nova reads JSON with a recursive parser, which gives up near 950 levels:
#: see test_nested_too_deeply_for_novas_parser
DEEP: Final = (10, 100, 500)

JSON: Final = 'application/json'
#: what Nova reads as JSON, whatever else is said of it
JSON_TYPES: Final = (
    JSON, 'application/json; charset=utf-16', 'text/plain',
    'application/vnd.openstack.compute+json')
OTHER_TYPES: Final = (
    'application/xml', 'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x')
#: how Nova calls its errors
KINDS: Final = {
    400: 'badRequest',
    403: 'forbidden',
    404: 'itemNotFound',
    406: 'computeFault',
    409: 'conflictingRequest',
    415: 'badMediaType',
    500: 'computeFault',
    503: 'serviceUnavailable',
}
QUIESCE: Final = b'{"quiesce": null}'
UNQUIESCE: Final = b'{"unquiesce": null}'
#: the ways to write the endpoint
ROOTS: Final = ('/v2.1', '/v2', '/v2.1/%(project)s', '/v2/%(project)s')
#: numbers of the servers of a test
SERVERS: Final = (0, 1)
#: accepted, or refused since the server is not in the right state
VALID: Final = {202, 409}

#: what an HTTP header may hold, without what only an HTTP server reads
HEADER_TEXT: Final = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters=(
        '\x7f' + ''.join(map(chr, range(0x80, 0xA0))))), max_size=40)


def fuzz(count: int) -> hypothesis.settings:
    """Return how a test is run: so often, and the same at each run."""
    return hypothesis.settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def request_id(self) -> str | None:
        return self.headers.get('x-openstack-request-id')


class Wire:
    """HTTP to Nova without anything that would mend a request on the way."""

    def __init__(self) -> None:
        there = parse.urlsplit(base.url())
        self._connection = http.client.HTTPConnection(
            there.hostname or '', there.port, timeout=base.TIMEOUT)

    def send(self, method: str, path: str, body: bytes,
             headers: dict[str, str], pieces: int = 0) -> Answer:
        """Send one request, on the connection of the one before it.

        :param pieces: in how many chunks the body is sent; 0 for as a whole
        """
        data: Any = body
        if pieces and body:
            size = -(-len(body) // pieces)
            data = iter([body[start:start + size]
                         for start in range(0, len(body), size)])
            headers = {**headers, 'Transfer-Encoding': 'chunked'}
        self._connection.request(
            method, path, data, headers, encode_chunked=bool(pieces))
        response = self._connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    def close(self) -> None:
        self._connection.close()


# Bodies ---------------------------------------------------------------------

def _joined(opening: str, closing: str) -> Any:
    return lambda parts: opening + ', '.join(parts) + closing


def _members(keys: st.SearchStrategy[str],
             values: st.SearchStrategy[str],
             **sizes: int) -> st.SearchStrategy[str]:
    """Return objects; a key may be there twice, which no dict can have."""
    return st.lists(st.tuples(keys, values).map(': '.join), **sizes).map(
        _joined('{', '}'))


STRINGS = st.one_of(
    st.text().map(json.dumps),
    st.text().map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from((r'"\ud800"', r'"\u0000"', '"null"', '""', '"60"')),
)
SCALARS = st.one_of(
    st.just('null'),
    st.sampled_from(('true', 'false', '0', '1', '-1', '60', '60.0', '1e400',
                     '-1e400', 'NaN', 'Infinity', '-0', '1' + 400 * '0',
                     '9' * 5000, '1E2', '0.1', '86400', '86401',
                     '4294967296')),
    st.integers().map(str),
    st.floats().map(json.dumps),
    STRINGS,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(_joined('[', ']')),
        _members(STRINGS, inner, max_size=4),
    ),
    max_leaves=8,
)
NESTED = st.builds(
    lambda depth, sides, inner: depth * sides[0] + inner + depth * sides[1],
    st.sampled_from(DEEP), st.sampled_from((('[', ']'), ('{"a":', '}'))),
    SCALARS)
LONG = st.builds(
    lambda size, letter: json.dumps(size * letter, ensure_ascii=False),
    st.sampled_from((1000, 50000, LARGEST_BODY, 300000)),
    st.sampled_from(('a', '\\', '\xe9')))
OPTIONS = _members(
    st.sampled_from(('"unquiesce_after"', '"unquiesce_after"', '"timeout"',
                     '"Unquiesce_after"', '""')),
    VALUES, max_size=3)
ACTIONS = st.sampled_from(('"quiesce"', '"unquiesce"'))
NEAR_ACTIONS = st.sampled_from((
    '"Quiesce"', '"quiesce "', r'"quiesce\u0000"', r'"\u0071uiesce"',
    '"os-quiesce"', '"_quiesce"', '"qui\xe9sce"', '""', '"__class__"',
    '"unquiesce_after"', 'quiesce', "'quiesce'", 'null', '1'))
ANY_VALUE = st.one_of(st.just('null'), st.just('{}'), SCALARS, OPTIONS,
                      VALUES, st.one_of(OPTIONS, NESTED, LONG))
TEXTS = st.one_of(
    _members(ACTIONS, ANY_VALUE, min_size=1, max_size=1),
    _members(ACTIONS, ANY_VALUE, min_size=1, max_size=1),
    _members(st.one_of(ACTIONS, NEAR_ACTIONS), ANY_VALUE, max_size=3),
    _members(STRINGS, VALUES, max_size=3),
    VALUES,
    st.text(),
)


def _encoded(text: str, encoding: str) -> bytes:
    return text.encode(encoding, 'surrogatepass' if 'utf' in encoding
                       else 'replace')


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Return what a body may be: mostly JSON, mostly UTF-8."""
    encoding = draw(st.sampled_from(
        6 * ('utf-8',) + ('utf-8-sig', 'utf-16', 'utf-32', 'latin-1')))
    body = _encoded(draw(TEXTS), encoding)
    if draw(st.integers(0, 5)) == 0:
        # Bytes are lost, or others come in between.
        start = draw(st.integers(0, min(len(body), 40)))
        end = start + draw(st.integers(0, 3))
        body = body[:start] + draw(st.binary(max_size=4)) + body[end:]
    return body


def expected(body: bytes, root: str) -> set[int]:
    """Return what the contract says of a body that an administrator sends.

    :param root: the endpoint; Nova drops unknown options of /v2 requests
    """
    if len(body) > LARGEST_BODY:
        return {413}
    try:
        read = json.loads(body.decode())
    except ValueError:
        return {400}
    if not isinstance(read, dict):
        # Nova finds no action in it: 400 or 404, depending on its length.
        return {400, 404}
    if len(read) == 1:
        [(action, value)] = read.items()
        if action in ('quiesce', 'unquiesce') and value is None:
            return VALID
        if (action == 'quiesce' and isinstance(value, dict)
                and 'unquiesce_after' in value
                and (len(value) == 1 or root.split('/')[1] == 'v2')):
            seconds = value['unquiesce_after']
            # To JSON Schema 60.0 is an integer, too.
            if (type(seconds) is int or type(seconds) is float
                    and seconds.is_integer()) and seconds >= 1:
                return VALID if seconds <= LONGEST_FREEZE else {400}
    return {400}


# Servers --------------------------------------------------------------------

@st.composite
def wrong_ids(draw: st.DrawFn, server_id: str) -> str:
    """Return ids, quoted for a URL, that are not the server's."""
    wrong = draw(st.one_of(
        st.text(max_size=60),
        st.uuids().map(str),
        st.sampled_from((
            '', '.', '..', '../' + server_id, 'x/' + server_id, server_id[:-1],
            server_id + '0', server_id.replace('-', ''), server_id + '\0',
            '{%s}' % server_id, 'urn:uuid:' + server_id, '%', '%%s', '*',
            "' or '1'='1", server_id + "'--", '0', '-1', 'null', 'action',
            'detail', 3000 * 'a', '\U0001f9ca', server_id + '?a=b',
            server_id + '#', server_id + ';x=y'))))
    hypothesis.assume(wrong != server_id)
    return parse.quote(wrong.encode('utf-8', 'surrogatepass'), safe='')


class TestFuzz(base.FunctionalTest):
    """POST /servers/{id}/action with everything that HTTP can carry."""

    def setUp(self) -> None:
        super().setUp()
        self.wire = Wire()
        self.addCleanup(self.wire.close)
        self.token = str(base.compute().get_token())
        self.project = str(base.compute().get_project_id())
        self.servers = [self.boot() for _number in SERVERS]
        self.sent = 0
        self.accepted: set[str] = set()
        self.refused: set[str] = set()
        self.log = base.cloud().layout.log_of('compute')
        self.log_before = self.log.stat().st_size

    # -- one request -------------------------------------------------------

    def _send(self, method: str, path: str, body: bytes,
              headers: dict[str, str], pieces: int = 0) -> Answer:
        answer = self.wire.send(method, path, body, headers, pieces)
        self.sent += 1
        if answer.request_id:
            (self.accepted if answer.status == 202 else self.refused).add(
                answer.request_id)
        return answer

    def _path(self, server: int | str, root: str = ROOTS[0]) -> str:
        """Return the URL of the n-th server, or of another id."""
        return '%s/servers/%s/action' % (
            root % {'project': self.project},
            self.servers[server] if isinstance(server, int) else server)

    def _headers(self, **more: str) -> dict[str, str]:
        return {'X-Auth-Token': self.token, 'Content-Type': JSON, **more}

    def _check(self, answer: Answer, codes: set[int],
               routed: bool = True) -> None:
        """Check the code of an answer, and its form.

        :param routed: whether the URL leads to a resource of Nova
        """
        what = '%d %s' % (answer.status, answer.body[:300].decode('latin-1'))
        self.assertIn(answer.status, codes, what)
        if answer.status == 202:
            self.assertEqual(b'', answer.body)
            self.assertTrue(answer.request_id)
            return
        if answer.status == 413 or not routed:
            return  # not from Nova's API, but from what stands before it
        self.assertIn(JSON, answer.headers.get('content-type', ''), what)
        error = json.loads(answer.body)
        [kind] = error
        self.assertEqual(answer.status, error[kind]['code'], what)
        self.assertTrue(error[kind]['message'], what)
        if answer.status == 401:
            return  # of the same form, but with Keystone's own name
        self.assertEqual(KINDS[answer.status], kind, what)
        self.assertTrue(answer.request_id, what)

    # -- what is left of it ------------------------------------------------

    def _check_what_is_left(self, count: int) -> None:
        """Check the log, the actions, the states, the guests, the rows.

        :param count: how many requests there should have been
        """
        self.assertLessEqual(count, self.sent)
        with self.log.open('rb') as log:
            log.seek(self.log_before)
            written = log.read().decode(errors='replace')
        self.assertNotIn('Traceback', written)
        known: set[str] = set()
        for server in self.servers:
            self._check_frozen_is_known(server)
            vm_state, _none = self.settle(server)
            if vm_state == 'quiesced':
                # Perhaps thawed just now, by its deadline: then 409.
                base.compute().post('/servers/%s/action' % server,
                                    json={'unquiesce': None})
            self.assertEqual(('active', None), self.settle(server))
            self.assertNotEqual(['frozen'], self.guest_log(server)[-1:])
            self.assertFalse(self._is_known(server))
            for action in self._actions(server):
                known.add(action)
                for event in self.action(server, action)['events']:
                    self.assertEqual('Success', event['result'], event)
        self.assertEqual(set(), self.accepted - known,
                         'accepted, but there is no instance action of it')
        self.assertEqual(set(), self.refused & known,
                         'refused, but there is an instance action of it')

    def _check_frozen_is_known(self, server: str) -> None:
        before = self.guest_log(server)
        known = self._is_known(server)
        if before[-1:] == ['frozen'] and before == self.guest_log(server):
            self.assertTrue(known)

    def _is_known(self, server: str) -> bool:
        return bool(base.freezes(server))

    def _actions(self, server: str) -> list[str]:
        """Return the requests of all instance actions but the creation."""
        found: list[dict[str, Any]] = []
        while True:
            query = {'limit': '500'}
            if found:
                query['marker'] = found[-1]['request_id']
            page = base.compute().get('/servers/%s/os-instance-actions?%s' % (
                server, parse.urlencode(query))).json()['instanceActions']
            if not page:
                break
            found.extend(page)
        return [action['request_id'] for action in found
                if action['action'] != 'create']

    # -- the tests ---------------------------------------------------------

    def test_bodies(self) -> None:
        @fuzz(BODIES)
        @hypothesis.given(
            bodies(), st.sampled_from((0, 0, 0, 1, 2, 7)),
            st.sampled_from(4 * (JSON,) + JSON_TYPES + OTHER_TYPES),
            st.sampled_from(SERVERS), st.sampled_from(ROOTS))
        @hypothesis.example(QUIESCE, 0, JSON, 0, ROOTS[0])
        @hypothesis.example(UNQUIESCE, 0, JSON, 0, ROOTS[0])
        @hypothesis.example(QUIESCE, 3, JSON, 0, ROOTS[0])
        @hypothesis.example(
            b'{"quiesce": 1, "quiesce": null}', 0, JSON, 0, ROOTS[0])
        @hypothesis.example(
            b'{"quiesce": null, "quiesce": 1}', 0, JSON, 0, ROOTS[0])
        @hypothesis.example(b'{"quiesce": 1e400}', 0, JSON, 0, ROOTS[0])
        @hypothesis.example(
            b'{"quiesce": {"unquiesce_after": 60}}', 0, JSON, 0, ROOTS[0])
        @hypothesis.example(
            b'{"quiesce": {"unquiesce_after": 60, "timeout": 1}}', 0, JSON, 0,
            '/v2')
        @hypothesis.example(
            b'{"quiesce": {"unquiesce_after": 60, "timeout": 1}}', 0, JSON, 0,
            '/v2.1')
        @hypothesis.example(b'', 0, JSON, 0, ROOTS[0])
        def check(body: bytes, pieces: int, content_type: str, server: int,
                  root: str) -> None:
            codes = expected(body, root)
            if content_type in OTHER_TYPES and codes != {413}:
                codes = {415}
            answer = self._send(
                'POST', self._path(server, root), body,
                self._headers(**{'Content-Type': content_type}), pieces)
            self._check(answer, codes)

        check()
        self._check_what_is_left(BODIES)

    def test_ids(self) -> None:
        @fuzz(IDS)
        @hypothesis.given(
            wrong_ids(self.servers[0]), st.sampled_from((QUIESCE, UNQUIESCE)),
            st.sampled_from(ROOTS))
        def check(quoted: str, body: bytes, root: str) -> None:
            answer = self._send('POST', self._path(quoted, root), body,
                                self._headers())
            self._check(answer, {404}, routed=(
                '/' not in parse.unquote(quoted) and quoted != ''))

        check()
        self._check_what_is_left(IDS)
        self.assertEqual(set(), self.accepted)

    def test_headers(self) -> None:
        tokens = {
            'admin': self.token,
            'member': str(base.compute('member').get_token()),
            'other': str(base.compute('other').get_token()),
        }
        spoofed = {
            'X-Identity-Status': 'Confirmed', 'X-Roles': 'admin',
            'X-User-Id': base.compute().get_user_id() or '',
            'X-Project-Id': self.project, 'X-Is-Admin-Project': 'True',
            'X-Tenant-Id': self.project, 'X-User': 'admin', 'X-Role': 'admin',
            'X-Service-Roles': 'service,admin',
            'X-Service-Identity-Status': 'Confirmed',
        }
        versions = st.one_of(
            st.builds('compute {}.{}'.format, st.integers(0, 3),
                      st.integers(0, 120)),
            st.sampled_from(('compute latest', 'compute', 'latest', '2.96',
                             'compute 2.' + 60 * '9', 'volume 3.0',
                             'compute 2.96, volume 3.0', 'compute 2.-1')),
            HEADER_TEXT)
        others = st.dictionaries(
            st.sampled_from((
                'Accept', 'Accept-Language', 'Accept-Charset', 'Cookie',
                'User-Agent', 'Referer', 'If-Match', 'If-None-Match',
                'If-Modified-Since', 'If-Unmodified-Since', 'Range', 'Origin',
                'X-Openstack-Request-Id', 'X-Forwarded-For',
                'X-Forwarded-Proto', 'X-Forwarded-Host', 'Forwarded',
                'X-Http-Method-Override', 'X-Service-Catalog', 'Date',
                'Authorization', 'Content-Language', 'Content-Encoding',
                'Content-Md5', 'X-Requested-With')),
            HEADER_TEXT, max_size=4)

        @fuzz(HEADERS)
        @hypothesis.given(
            st.sampled_from(('admin', 'admin', 'member', 'other', '')),
            HEADER_TEXT,
            st.one_of(st.just(JSON), HEADER_TEXT, st.sampled_from((
                'application/xml', 'text/xml', 'application/atom+xml',
                'image/png', '', '/', ';', 'application/json;;;=', '*/*'))),
            st.one_of(st.none(), versions),
            st.dictionaries(st.sampled_from(sorted(spoofed)), st.none(),
                            max_size=4),
            others,
            st.sampled_from((QUIESCE, UNQUIESCE)), st.sampled_from(SERVERS),
            st.sampled_from(ROOTS))
        def check(persona: str, text: str, content_type: str,
                  version: str | None, lies: dict[str, None],
                  more: dict[str, str], body: bytes, server: int,
                  root: str) -> None:
            headers = {'X-Auth-Token': tokens.get(persona, text),
                       'Content-Type': content_type, **more,
                       **{name: spoofed[name] for name in lies}}
            if version is not None:
                headers['OpenStack-API-Version'] = version
            codes = {401}
            if persona:
                codes = VALID
                if persona != 'admin':
                    # 400: not the caller's project in the URL
                    codes = {400 if 'project' in root else 404}
                if version is not None:
                    codes = codes | {400, 406}
                if content_type != JSON:
                    codes = codes | {415}
            answer = self._send('POST', self._path(server, root), body,
                                headers)
            self._check(answer, codes)

        check()
        self._check_what_is_left(HEADERS)

    def test_methods(self) -> None:
        methods = st.one_of(
            st.sampled_from(('GET', 'PUT', 'PATCH', 'DELETE', 'OPTIONS',
                             'TRACE', 'HEAD', 'PROPFIND')),
            st.text('ABCDEFGHIJKLMNOPQRSTUVWXYZ-', min_size=1, max_size=12))

        @fuzz(METHODS)
        @hypothesis.given(methods, st.sampled_from((QUIESCE, b'')),
                          st.sampled_from(('', '/', '.json', '?a=b', '/x')),
                          st.sampled_from(ROOTS))
        def check(method: str, body: bytes, ending: str, root: str) -> None:
            hypothesis.assume(method not in ('POST', 'CONNECT'))
            answer = self._send(method, self._path(0, root) + ending,
                                body, self._headers())
            self._check(answer, {200 if method == 'OPTIONS' else 404},
                        routed=False)

        check()
        self._check_what_is_left(METHODS)
        self.assertEqual(set(), self.accepted)

    def test_nested_too_deeply_for_novas_parser(self) -> None:
        # A limit of Nova itself: its JSON parser, at a depth that depends on
        # the Python, gives up before any action is chosen. So an action of
        # ours answers as one of Nova's own does.
        nested = 50000 * b'[' + 50000 * b']'
        ours, novas = (
            self._send('POST', self._path(0),
                       b'{"%s": %s}' % (action, nested), self._headers())
            for action in (b'quiesce', b'pause'))
        self.assertEqual((novas.status, novas.body), (ours.status, ours.body))
        self._check(ours, {400, 500})
        self.assertEqual(('active', None), self.states(self.servers[0]))
        self.assertEqual([], self.guest_log(self.servers[0]))
