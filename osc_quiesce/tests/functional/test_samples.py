# SPDX-License-Identifier: Apache-2.0

"""The samples of the API reference are what the real API takes and gives."""

import json
import os
import pathlib
import re
from typing import Any

from osc_quiesce.tests.functional import base

SAMPLES = pathlib.Path(__file__).parents[3] / 'doc/source/samples'
#: set to write the answers into the samples, instead of comparing them
RECORD = 'RECORD_SAMPLES'

#: Of these the sample shows the very value, but for ids and times in it; of
#: all others the type.
EXACT = {'status', 'OS-EXT-STS:vm_state', 'OS-EXT-STS:task_state', 'action',
         'event', 'result', 'details', 'code', 'message', 'state'}
UUID = re.compile(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')
TIME = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?')


def shape(value: Any, name: str = '') -> Any:
    """Return what a sample promises of a value."""
    if isinstance(value, dict):
        return {key: shape(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    if name not in EXACT:
        return type(value).__name__
    if isinstance(value, str):
        return TIME.sub('a time', UUID.sub('an id', value))
    return value


class TestSamples(base.FunctionalTest):
    maxDiff = None

    def setUp(self) -> None:
        super().setUp()
        self.server_id = self.boot('db')

    def request(self, name: str) -> Any:
        """Return a request that the documentation shows."""
        return json.loads((SAMPLES / f'{name}-req.json').read_text())

    def check(self, name: str, answer: Any) -> None:
        """Compare an answer with the one that the documentation shows."""
        path = SAMPLES / f'{name}-resp.json'
        if os.environ.get(RECORD):
            path.write_text(json.dumps(answer, indent=4) + '\n')
        self.assertEqual(shape(json.loads(path.read_text())), shape(answer))

    def test_quiesce_and_unquiesce(self) -> None:
        response = self.act(self.server_id, self.request('quiesce'))
        self.assertIn('x-openstack-request-id', response.headers)
        server = self.wait(self.server_id, 'quiesced')
        self.check('server-quiesced', {'server': server})
        answer = self.act(self.server_id, self.request('quiesce'), expect=409)
        self.check('conflict', answer.json())
        self.act(self.server_id, self.request('unquiesce'))
        self.wait(self.server_id, 'active')

    def test_quiesce_with_a_deadline(self) -> None:
        response = self.act(
            self.server_id, self.request('quiesce-unquiesce-after'))
        self.wait(self.server_id, 'quiesced')
        action = self.action(
            self.server_id, response.headers['x-openstack-request-id'],
            deadline=True)
        action['events'].sort(key=lambda event: str(event['start_time']))
        self.check('instance-action', {'instanceAction': action})

    def test_quiesce_with_a_request_id(self) -> None:
        body = self.request('quiesce-request')
        for _copy in range(2):
            self.act(self.server_id, body)
        self.wait(self.server_id, 'quiesced')
        self.act(self.server_id, {'unquiesce': {
            'request_id': body['quiesce']['request_id']}})
        self.wait(self.server_id, 'active')

    def test_unquiesce_by_request(self) -> None:
        answer = self.act(self.server_id, self.request('unquiesce-request'),
                          expect=200)
        self.check('unquiesce-request', answer.json())

    def test_what_is_frozen(self) -> None:
        self.act(self.server_id, self.request('quiesce'))
        self.wait(self.server_id, 'quiesced')
        self.wait_for(lambda: base.freezes(self.server_id)[0][0] == 'frozen',
                      'the row says so')
        answer = base.compute().get(f'/os-quiesce?server={self.server_id}')
        self.assertEqual(200, answer.status_code, answer.text)
        self.check('freezes', answer.json())

    def test_what_a_request_had_frozen(self) -> None:
        body = self.request('quiesce-request')
        self.act(self.server_id, body)
        self.wait(self.server_id, 'quiesced')
        self.act(self.server_id, self.request('unquiesce-request'))
        # Other tests have sent this request, too, to servers of theirs.
        path = '/os-quiesce?server=%s&request_id=%s' % (
            self.server_id, body['quiesce']['request_id'])
        self.wait_for(
            lambda: base.compute().get(path).json()['freezes'][0]['state']
            == 'thawed', 'the list says so')
        self.check('freezes-of-request', base.compute().get(path).json())

    def test_a_longer_deadline_than_allowed(self) -> None:
        body = self.request('quiesce-unquiesce-after')
        body['quiesce']['unquiesce_after'] = 86401
        answer = self.act(self.server_id, body, expect=400)
        self.check('bad-request', answer.json())

    def test_no_service(self) -> None:
        # It is not taken for alive at once: the next test would be refused.
        self.addCleanup(
            self.wait_for,
            lambda: base.compute().post(
                f'/servers/{self.server_id}/action',
                json={'quiesce': None}).status_code != 503,
            'a service is up')
        self.addCleanup(base.force_down, 'nova-quiesce', False)
        base.force_down('nova-quiesce', True)
        answer = self.act(self.server_id, self.request('quiesce'), expect=503)
        self.check('unavailable', answer.json())
