# SPDX-License-Identifier: Apache-2.0

"""What the answers to one HTTP request mean."""

from __future__ import annotations

import email.utils
import json
from typing import Any
import unittest
from unittest import mock

from keystoneauth1 import adapter as ksa_adapter
from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1.identity import v3
from keystoneauth1 import session as ksa_session
from keystoneauth1 import token_endpoint
import requests
import requests_mock

from osc_quiesce import errors
from osc_quiesce import http
from osc_quiesce import model
from osc_quiesce.tests.unit import fakes

PATH = '/servers/web-id/action'
URL = fakes.ENDPOINT + PATH
WEB = model.Server('web-id', 'web')


class HttpTest(unittest.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.mock = requests_mock.Mocker()
        self.mock.start()
        self.addCleanup(self.mock.stop)
        self.adapter = ksa_adapter.Adapter(
            ksa_session.Session(
                token_endpoint.Token(fakes.ENDPOINT, 'a-token')
            ),
            service_type='compute',
            # http.send must not heed these
            connect_retries=3,
            status_code_retries=3,
        )

    def send(
        self, method: str = 'POST', server: model.Server | None = WEB
    ) -> requests.Response:
        return http.send(self.adapter, method, PATH, server)

    def error_of(
        self,
        status: int,
        text: str,
        method: str = 'POST',
        server: model.Server | None = WEB,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """Return the error that an answer is turned into."""
        self.mock.register_uri(
            method, URL, status_code=status, text=text, headers=headers or {}
        )
        with self.assertRaises(errors.QuiesceError) as caught:
            self.send(method, server)
        self.assertEqual(1, self.mock.call_count)
        self.mock.reset_mock()
        return caught.exception


class TestRefusals(HttpTest):
    def test_nova_refuses_in_its_own_words(self) -> None:
        for status, key, expected in (
            (400, 'badRequest', errors.Refused),
            (401, 'unauthorized', errors.Unauthorized),
            (403, 'forbidden', errors.Forbidden),
            (404, 'itemNotFound', errors.ServerNotFound),
            (409, 'conflictingRequest', errors.Conflict),
            (429, 'overLimit', errors.ServiceUnavailable),
            (503, 'serviceUnavailable', errors.ServiceUnavailable),
        ):
            with self.subTest(status):
                error = self.error_of(status, fault(key, 'It is so.'))
                self.assertIs(expected, type(error))
                # Access rules may lack just this request.
                why = ('It is so (POST /v2.1/servers/web-id/action)'
                       if status == 401 else 'It is so.')
                self.assertEqual(
                    f'Server web (web-id) was not changed: {why}',
                    error.message,
                )
                self.assertEqual(why, error.why)
                self.assertEqual(WEB, error.server)

    def test_a_refusal_to_show_does_not_speak_of_changes(self) -> None:
        error = self.error_of(403, fault('forbidden', 'No.'), 'GET')
        self.assertEqual(
            'Server web (web-id) could not be read: No.', error.message
        )

    def test_a_refusal_about_no_server_is_what_nova_says(self) -> None:
        error = self.error_of(403, fault('forbidden', 'No.'), server=None)
        self.assertEqual('No.', error.message)

    def test_a_refusal_by_policy_tells_who_may(self) -> None:
        error = self.error_of(403, fault('forbidden', 'Policy says no'))
        self.assertRegex(str(error), 'Policy says no.*administrators')

    def test_unknown_credentials_are_to_be_checked(self) -> None:
        error = self.error_of(401, fault('unauthorized', 'Who are you?'))
        self.assertRegex(str(error), 'Who are you?.*credentials')

    def test_every_answer_is_wanted_in_json(self) -> None:
        self.mock.register_uri(requests_mock.ANY, URL, status_code=202)
        for method in ('GET', 'POST'):
            self.send(method)
            self.assertEqual(
                'application/json', self.mock.last_request.headers['Accept']
            )

    def test_a_cloud_without_the_api_is_told_so(self) -> None:
        for status, text in (
            (400, fault('badRequest', 'There is no such action: quiesce')),
            (404, '{"message": "...", "title": "Not Found"}'),
        ):
            with self.subTest(status):
                error = self.error_of(status, text)
                self.assertIsInstance(error, errors.NotInstalled)
                self.assertIn('nova_quiesce is not installed', str(error))

    def test_no_live_service_tells_when_to_come_back(self) -> None:
        for status, key in ((429, 'overLimit'), (503, 'serviceUnavailable')):
            with self.subTest(status):
                error = self.error_of(status, fault(key, 'Later'))
                self.assertEqual(0, error.retry_after)
                error = self.error_of(
                    status, fault(key, 'Later'), headers={'Retry-After': '7'}
                )
                self.assertEqual(7, error.retry_after)
                self.assertEqual(status, error.http_status)


class TestUnusableAnswers(HttpTest):
    """What tells nothing of what became of the request."""

    def test_errors_that_are_not_of_nova(self) -> None:
        for status, text in (
            # Envoy, if the connection was reset after the request was sent
            (503, 'upstream connect error or disconnect/reset before headers'),
            (503, '{"message": "no healthy upstream"}'),
            (502, '<html>Bad Gateway</html>'),
            (504, '<html>Gateway Time-out</html>'),
            (429, 'Too many requests'),
            (404, '<html>No such page</html>'),
            (404, ''),
            (400, '<html>Bad Request</html>'),
            (403, '<html>Access denied by the firewall</html>'),
            (408, ''),
            (409, '{"message": "a conflict of a gateway"}'),
            # Keystone, or another service, behind a path that is misrouted
            (404, fault('error', 'Could not find server: web')),
            (404, '{"NeutronError": {"message": "Router not found"}}'),
        ):
            with self.subTest(status=status, text=text):
                error = self.error_of(status, text)
                self.assertIsInstance(error, errors.Unreachable)
                self.assertRegex(
                    str(error), r'Server web \(web-id\): no usable answer'
                )

    def test_an_internal_error_is_told_in_novas_words(self) -> None:
        error = self.error_of(
            500, fault('computeFault', 'Unexpected API Error.')
        )
        self.assertIsInstance(error, errors.Unreachable)
        self.assertEqual(
            'Server web (web-id): Nova answered with an internal error: '
            'Unexpected API Error.',
            str(error),
        )

    def test_a_proxy_may_tell_when_to_come_back(self) -> None:
        error = self.error_of(
            503, 'overload', headers={'Retry-After': '7'}
        )
        self.assertIsInstance(error, errors.Unreachable)
        self.assertEqual(7, error.retry_after)

    def test_a_lost_connection_is_not_tried_again(self) -> None:
        for trouble in (
            requests.ConnectionError('connection reset'),
            requests.ReadTimeout('no answer in time'),
            requests.exceptions.SSLError('bad certificate'),
            requests.exceptions.ChunkedEncodingError('half an answer'),
        ):
            with self.subTest(trouble=trouble):
                self.mock.post(URL, exc=trouble)
                with self.assertRaises(errors.Unreachable) as caught:
                    self.send()
                self.assertIn('web-id', str(caught.exception))
                self.assertEqual(1, self.mock.call_count)
                self.mock.reset_mock()

    def test_text_is_no_json_object(self) -> None:
        for text in ('<html>log in</html>', '', '[]', 'null', '"text"'):
            with self.subTest(text=text):
                self.mock.get(URL, text=text)
                with self.assertRaisesRegex(
                    errors.Unreachable, r'web \(web-id\).*not of Nova'
                ):
                    http.json_of(self.send('GET'), WEB)

    def test_json_that_lacks_something_is_an_error_in_words(self) -> None:
        for part in ('id', 'vm_state'):
            with (
                self.subTest(part),
                self.assertRaisesRegex(errors.Unreachable, 'not of Nova'),
                http.parsing(),
            ):
                body: dict[str, str] = {}
                body[part]


class TestRetryAfter(HttpTest):
    """How long an answer asks to wait."""

    def seconds(self, value: str, **headers: str) -> float:
        error = self.error_of(
            503, 'later', headers={'Retry-After': value, **headers}
        )
        return float(error.retry_after)

    def test_seconds(self) -> None:
        self.assertEqual(7, self.seconds('7'))
        self.assertEqual(0, self.seconds('0'))

    def test_a_date_counts_from_that_of_the_answer(self) -> None:
        now = 'Thu, 01 Jan 2026 00:00:00 GMT'
        for value, expected in (
            ('Thu, 01 Jan 2026 00:00:08 GMT', 8),
            ('Wed, 31 Dec 2025 23:59:52 GMT', 0),
        ):
            with self.subTest(value):
                self.assertEqual(expected, self.seconds(value, Date=now))

    def test_a_date_without_another_one_counts_from_now(self) -> None:
        value = email.utils.formatdate(usegmt=True)
        for date in ('', 'soon'):
            with self.subTest(date=date):
                self.assertLess(self.seconds(value, Date=date), 60)

    def test_what_is_no_time_asks_for_nothing(self) -> None:
        for value in (
            '', 'soon', '-7', '1.5', '²', '٣', '7 s',
            'Thu, 01 Jan 99999 00:00:00 GMT',
            'Thu, 01 Jan 2026 00:00:00 +99999999999999999999',
        ):
            with self.subTest(value):
                response = mock.Mock(headers={'retry-after': value})
                self.assertEqual(0, http.retry_after(response))


class TestKeystone(unittest.TestCase):
    """What goes wrong before the request is sent: it needs a token."""

    def error_of(self, trouble: Exception) -> errors.QuiesceError:
        session = mock.Mock(**{'request.side_effect': trouble})
        adapter = ksa_adapter.Adapter(session)
        with self.assertRaises(errors.QuiesceError) as caught:
            http.send(adapter, 'POST', PATH, WEB)
        self.assertIn('web-id', str(caught.exception))
        return caught.exception

    def test_its_refusal_names_the_server(self) -> None:
        error = self.error_of(ksa_exceptions.Unauthorized('Who are you?'))
        self.assertIsInstance(error, errors.Unauthorized)
        self.assertRegex(
            str(error), 'could not be sent: Who are you?.*credentials'
        )

    def test_what_may_pass_is_no_refusal(self) -> None:
        for trouble in (
            ksa_exceptions.HttpError('Slowly', http_status=429),
            ksa_exceptions.InternalServerError('Oh'),
            ksa_exceptions.ServiceUnavailable('Later'),
            ksa_exceptions.ConnectFailure('connection refused'),
            ksa_exceptions.ConnectTimeout('no answer'),
            ksa_exceptions.InvalidResponse(response=mock.Mock(text='<html>')),
            OSError('Could not find a suitable TLS CA certificate bundle'),
        ):
            with self.subTest(trouble=trouble):
                self.assertIsInstance(
                    self.error_of(trouble), errors.Unreachable
                )

    def test_what_could_not_be_sent_has_changed_nothing(self) -> None:
        for trouble in (
            ksa_exceptions.DiscoveryFailure('no versions'),
            ksa_exceptions.EndpointNotFound('no compute endpoint'),
            ksa_exceptions.MissingAuthPlugin('no plugin'),
        ):
            with self.subTest(trouble=trouble):
                self.assertIsInstance(self.error_of(trouble), errors.Refused)

    def test_a_keystone_out_of_reach_is_an_error_of_ours(self) -> None:
        auth = v3.Password(
            'http://keystone.example/v3', username='me', password='secret'
        )
        adapter = ksa_adapter.Adapter(
            ksa_session.Session(auth), endpoint_override=fakes.ENDPOINT
        )
        with requests_mock.Mocker() as mocker:
            mocker.post(
                'http://keystone.example/v3/auth/tokens',
                exc=requests.ConnectionError('connection refused'),
            )
            with self.assertRaisesRegex(errors.Unreachable, 'web-id'):
                http.send(adapter, 'POST', PATH, WEB)


class TestBounded(unittest.TestCase):
    def test_a_request_for_a_token_does_not_wait_for_ever(self) -> None:
        session = ksa_session.Session(
            v3.Password(
                'http://keystone.example/v3', username='me', password='secret'
            )
        )
        with requests_mock.Mocker() as mocker:
            mocker.post(
                'http://keystone.example/v3/auth/tokens', status_code=401
            )
            with self.assertRaises(ksa_exceptions.Unauthorized):
                http.bounded(session).get_token()
            [request] = mocker.request_history
        self.assertEqual(http.REQUEST_TIMEOUT, request.timeout)

    def test_the_session_of_others_stays_as_it_was(self) -> None:
        session = ksa_session.Session()
        http.bounded(session)
        self.assertIsNone(session.timeout)


class TestQuoted(unittest.TestCase):
    def test_a_name_is_never_a_path(self) -> None:
        self.assertEqual('..%2Fdetail%3Fa', http.quoted('../detail?a'))


def fault(key: str, message: str) -> str:
    """Return the body with which Nova says that something is wrong."""
    return json.dumps({key: {'message': message}})
