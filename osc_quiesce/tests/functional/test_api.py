# SPDX-License-Identifier: Apache-2.0

"""The contract of the API, row by row, with plain HTTP."""

import concurrent.futures
import datetime
import time
from typing import Any

import requests

from osc_quiesce.tests.functional import base

UNKNOWN = '00000000-dead-beef-0000-000000000000'


class TestQuiesce(base.FunctionalTest):
    """POST /servers/{id}/action {"quiesce": null}."""

    def test_accepted_and_at_the_end_quiesced(self) -> None:
        server = self.boot()
        response = self.act(server, {'quiesce': None})
        self.assertEqual(b'', response.content)
        self.assertEqual('QUIESCED', self.wait(server, 'quiesced')['status'])
        self.assertEqual(['frozen'], self.guest_log(server))

    def test_the_request_is_an_instance_action_with_an_event(self) -> None:
        server = self.boot()
        response = self.act(server, {'quiesce': None})
        action = self.action_of(server, response)
        self.assertEqual('quiesce', action['action'])
        self.assertIsNone(action['message'])
        [event] = action['events']
        self.assertEqual('Success', event['result'])
        self.assertTrue(event['host'])
        self.assertLessEqual(event['start_time'], event['finish_time'])

    def test_at_once_task_state_is_quiescing(self) -> None:
        server = self.boot(quiesce='slow:8')
        self.act(server, {'quiesce': None})
        self.assertEqual(('active', 'quiescing'), self.states(server))
        self.wait(server, 'quiesced')

    def test_v2_url(self) -> None:
        server = self.boot()
        nova = base.compute()
        url = '%s/v2/%s/servers/%s/action' % (
            base.url().split('/v2.1')[0],
            nova.get_project_id(),
            server,
        )
        response = nova.post(url, json={'quiesce': None}, microversion=None)
        self.assertEqual(202, response.status_code, response.text)
        self.wait(server, 'quiesced')

    def test_v21_url_with_project_id(self) -> None:
        server = self.boot()
        nova = base.compute()
        url = '%s/v2.1/%s/servers/%s/action' % (
            base.url().split('/v2.1')[0],
            nova.get_project_id(),
            server,
        )
        response = nova.post(url, json={'quiesce': None})
        self.assertEqual(202, response.status_code, response.text)
        self.wait(server, 'quiesced')

    def test_any_microversion(self) -> None:
        server = self.boot()
        for microversion in ('2.1', '2.25', '2.96', 'latest'):
            for action, state in (
                ('quiesce', 'quiesced'),
                ('unquiesce', 'active'),
            ):
                response = base.compute().post(
                    '/servers/%s/action' % server,
                    json={action: None},
                    headers={
                        'X-OpenStack-Nova-API-Version': microversion,
                        'OpenStack-API-Version': 'compute %s' % microversion,
                    },
                    microversion=None,
                )
                self.assertEqual(202, response.status_code, response.text)
                self.wait(server, state)

    def test_of_simultaneous_requests_exactly_one_is_accepted(self) -> None:
        server = self.boot(quiesce='slow:2')
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            codes = sorted(
                pool.map(
                    lambda _number: (
                        base.compute()
                        .post(
                            '/servers/%s/action' % server,
                            json={'quiesce': None},
                        )
                        .status_code
                    ),
                    range(50),
                )
            )
        self.assertEqual([202] + 49 * [409], codes)
        self.wait(server, 'quiesced')
        self.assertEqual(['frozen'], self.guest_log(server))


class TestWhatHappens(base.FunctionalTest):
    """The table of outcomes."""

    def _refused(self, server: str, reason: str) -> None:
        response = self.act(server, {'quiesce': None})
        action = self.action_of(server, response)
        self.assertEqual(('active', None), self.settle(server))
        self.assertNotIn('fault', self.server(server))
        self.assertEqual('Error', action['message'])
        [event] = action['events']
        self.assertEqual('Error', event['result'])
        self.assertIn(reason, event['details'])

    def test_hypervisor_cannot(self) -> None:
        server = self.boot(quiesce='unsupported')
        self._refused(server, 'hypervisor cannot quiesce')
        self.assertEqual([], self.guest_log(server))

    def test_image_cannot(self) -> None:
        server = self.boot(image='tiny-noagent')
        self._refused(server, 'hw_qemu_guest_agent=yes')
        self.assertEqual([], self.guest_log(server))

    def test_agent_not_connected(self) -> None:
        server = self.boot(quiesce='disconnected')
        self._refused(server, 'QEMU guest agent is not connected')
        self.assertEqual([], self.guest_log(server))

    def test_frozen_by_somebody_else_is_left_as_found(self) -> None:
        server = self.boot(quiesce='frozen')
        self._refused(server, 'frozen by another program')
        self.assertEqual('frozen', self.guest_log(server)[-1])

    def test_a_refused_server_can_be_paused(self) -> None:
        server = self.boot(image='tiny-noagent')
        self._refused(server, 'not enabled')
        self.act(server, {'pause': None})
        self.wait(server, 'paused')

    def test_freeze_failed(self) -> None:
        server = self.boot(quiesce='fail')
        action = self.action_of(server, self.act(server, {'quiesce': None}))
        self.assertEqual(('error', None), self.settle(server))
        shown = self.server(server)
        self.assertEqual('ERROR', shown['status'])
        self.assertIn('Guest agent not available', shown['fault']['message'])
        self.assertEqual('Error', action['events'][0]['result'])
        self.assertIn(
            'Guest agent not available', action['events'][0]['details']
        )
        self.assertEqual('thawed', self.guest_log(server)[-1])

    def test_error_is_shown_only_after_the_attempt_to_thaw(self) -> None:
        server = self.boot(quiesce='fail', unquiesce='slow:8')
        self.act(server, {'quiesce': None})
        time.sleep(1)
        self.assertEqual(('active', 'quiescing'), self.states(server))
        self.assertEqual(('error', None), self.settle(server))
        self.assertEqual(['thawed'], self.guest_log(server))

    def test_freeze_and_thaw_failed(self) -> None:
        server = self.boot(quiesce='fail', unquiesce='fail')
        action = self.action_of(server, self.act(server, {'quiesce': None}))
        self.assertEqual(('error', None), self.settle(server))
        self.assertEqual('Error', action['events'][0]['result'])

    def test_reset_while_freezing_is_thawed(self) -> None:
        server = self.boot(quiesce='slow:4')
        response = self.act(server, {'quiesce': None})
        # Before, nothing is begun: then it takes a minute until that is sure.
        self.wait_for(
            lambda: [state for state, _id in base.freezes(server)] == [
                'freezing'], 'the freeze has begun')
        self.act(server, {'os-resetState': {'state': 'active'}})
        action = self.action_of(server, response)
        self.assertIn('changed by another request',
                      action['events'][0]['details'])
        self.assertEqual(('active', None), self.settle(server))
        self.assertEqual(['frozen', 'thawed'], self.guest_log(server)[:2])
        self.assertEqual('thawed', self.guest_log(server)[-1])

    def test_thawed(self) -> None:
        server = self.boot()
        self.act(server, {'quiesce': None})
        self.wait(server, 'quiesced')
        response = self.act(server, {'unquiesce': None})
        self.assertEqual(b'', response.content)
        self.assertEqual('ACTIVE', self.wait(server, 'active')['status'])
        action = self.action_of(server, response)
        self.assertEqual(
            ('unquiesce', 'Success'),
            (action['action'], action['events'][0]['result']),
        )
        self.assertEqual(['frozen', 'thawed'], self.guest_log(server))

    def test_at_once_task_state_is_unquiescing(self) -> None:
        server = self.boot(unquiesce='slow:8')
        self.act(server, {'quiesce': None})
        self.wait(server, 'quiesced')
        self.act(server, {'unquiesce': None})
        self.assertEqual(('quiesced', 'unquiescing'), self.states(server))
        self.assertEqual('QUIESCED', self.server(server)['status'])
        self.wait(server, 'active')

    def test_thaw_failed(self) -> None:
        server = self.boot(unquiesce='fail')
        self.act(server, {'quiesce': None})
        self.wait(server, 'quiesced')
        action = self.action_of(server, self.act(server, {'unquiesce': None}))
        self.assertEqual(('error', None), self.settle(server))
        self.assertEqual('Error', action['events'][0]['result'])
        self.assertIn('may still be frozen', action['events'][0]['details'])
        self.assertIn(
            'may still be frozen', self.server(server)['fault']['message']
        )


class TestBadRequests(base.FunctionalTest):
    """400, 401 and 404."""

    def test_wrong_bodies(self) -> None:
        values: list[Any] = [
            True,
            0,
            '',
            'now',
            [],
            {},
            {'force': True},
            {'unquiesce_after': 0},
            {'unquiesce_after': -1},
            {'unquiesce_after': True},
            {'unquiesce_after': '60'},
            {'unquiesce_after': 1.5},
            {'unquiesce_after': None},
            {'unquiesce_after': 60, 'force': True},
        ]
        server = self.boot()
        for action in ('quiesce', 'unquiesce'):
            for value in values:
                with self.subTest(action=action, value=value):
                    self.act(server, {action: value}, expect=400)
        self.act(server, {'unquiesce': {'unquiesce_after': 60}}, expect=400)
        self.act(server, {'quiesce': None, 'extra': 1}, expect=400)
        self.act(server, {'quiesce': None, 'unquiesce': None}, expect=400)
        self.act(server, {}, expect=400)
        self.act(server, [], expect=400)
        self.assertEqual(('active', None), self.states(server))
        self.assertEqual([], self.guest_log(server))

    def test_without_a_token(self) -> None:
        for token in ({}, {'X-Auth-Token': 'nonsense'}):
            response = requests.post(
                '%s/servers/%s/action'
                % (base.compute().get_endpoint(), UNKNOWN),
                json={'quiesce': None},
                headers=token,
                timeout=30,
            )
            self.assertEqual(401, response.status_code)

    def test_unknown_server(self) -> None:
        for action in ('quiesce', 'unquiesce'):
            self.act(UNKNOWN, {action: None}, expect=404)
            self.act('not-an-id', {action: None}, expect=404)


class TestPolicy(base.FunctionalTest):
    """What an operator can change; the default is in test_authorization."""

    def test_an_operator_can_allow_it_to_members(self) -> None:
        policy = base.cloud().layout.local / 'nova-policy.yaml'
        policy.parent.mkdir(exist_ok=True)
        self.addCleanup(self._settled_policy, policy.write_text, '{}\n')
        server = self.boot(persona='member')
        self._settled_policy(
            policy.write_text,
            ''.join(
                '"os_compute_api:os-quiesce:%s": '
                '"rule:project_member_or_admin"\n' % action
                for action in ('quiesce', 'unquiesce')
            ),
        )
        self.act(server, {'quiesce': None}, 'reader', expect=403)
        self.act(server, {'quiesce': None}, 'member')
        self.wait(server, 'quiesced')
        # Locked by the administrator: not for the member, but for the admin.
        self.act(server, {'lock': None})
        response = self.act(server, {'unquiesce': None}, 'member', expect=409)
        self.assertIn('is locked', response.text)
        self.act(server, {'unlock': None})
        self.act(server, {'unquiesce': None}, 'member')
        self.wait(server, 'active')
        self.act(server, {'lock': None})
        self.act(server, {'quiesce': None}, 'member', expect=409)
        self.act(server, {'quiesce': None})
        self.wait(server, 'quiesced')

    @staticmethod
    def _settled_policy(write: object, text: str) -> None:
        # oslo.policy notices a change by the file's time stamp.
        time.sleep(1.1)
        write(text)  # type: ignore[operator]
        time.sleep(0.1)


class TestStates(base.FunctionalTest):
    """409: any other vm_state or task_state."""

    def _refused(self, server: str, action: str, state: str) -> None:
        response = self.act(server, {action: None}, expect=409)
        message = response.json()['conflictingRequest']['message']
        self.assertIn(
            "Cannot '%s' instance %s while it is in" % (action, server),
            message,
        )
        self.assertIn(state, message)

    def _both_refused_in(self, vm_state: str, action: str,
                         accepted: int = 202) -> None:
        server = self.boot()
        self.act(server, {action: None}, expect=accepted)
        self.wait(server, vm_state)
        self._refused(server, 'quiesce', vm_state)
        self._refused(server, 'unquiesce', vm_state)
        self.assertEqual((vm_state, None), self.states(server))
        self.assertEqual([], self.guest_log(server))

    def test_paused(self) -> None:
        self._both_refused_in('paused', 'pause')

    def test_stopped(self) -> None:
        self._both_refused_in('stopped', 'os-stop')

    def test_suspended(self) -> None:
        self._both_refused_in('suspended', 'suspend')

    def test_shelved(self) -> None:
        self._both_refused_in('shelved_offloaded', 'shelve')

    def test_rescued(self) -> None:
        self._both_refused_in('rescued', 'rescue', accepted=200)

    def test_error(self) -> None:
        server = self.boot()
        self.act(server, {'os-resetState': {'state': 'error'}})
        self._refused(server, 'quiesce', 'error')
        self._refused(server, 'unquiesce', 'error')

    def test_active_cannot_be_unquiesced(self) -> None:
        self._refused(self.boot(), 'unquiesce', 'active')

    def test_building(self) -> None:
        server = self.boot(wait=False, spawn='slow:8')
        self.wait(server, 'building', 'spawning')
        self._refused(server, 'quiesce', 'building')
        self._refused(server, 'unquiesce', 'building')
        self.wait(server, 'active')

    def test_being_paused(self) -> None:
        server = self.boot(pause='slow:8')
        self.act(server, {'pause': None})
        self._refused(server, 'quiesce', 'task_state pausing')
        self.wait(server, 'paused')

    def test_being_quiesced(self) -> None:
        server = self.boot(quiesce='slow:8')
        self.act(server, {'quiesce': None})
        self._refused(server, 'quiesce', 'task_state quiescing')
        self._refused(server, 'unquiesce', 'vm_state active')
        self.wait(server, 'quiesced')

    def test_quiesced(self) -> None:
        server = self.boot()
        self.act(server, {'quiesce': None})
        self.wait(server, 'quiesced')
        self._refused(server, 'quiesce', 'quiesced')
        self.assertEqual(['frozen'], self.guest_log(server))

    def test_being_unquiesced(self) -> None:
        server = self.boot(unquiesce='slow:8')
        self.act(server, {'quiesce': None})
        self.wait(server, 'quiesced')
        self.act(server, {'unquiesce': None})
        self._refused(server, 'unquiesce', 'task_state unquiescing')
        self._refused(server, 'quiesce', 'quiesced')
        self.wait(server, 'active')

    def test_nova_refuses_everything_else_while_quiesced(self) -> None:
        server = self.boot()
        self.act(server, {'quiesce': None})
        self.wait(server, 'quiesced')
        bodies: tuple[dict[str, Any], ...] = (
            {'pause': None},
            {'suspend': None},
            {'os-stop': None},
            {'reboot': {'type': 'SOFT'}},
            {'reboot': {'type': 'HARD'}},
            {'shelve': None},
            {'createImage': {'name': 'i'}},
            {'rescue': None},
            {'os-start': None},
            {'unpause': None},
            {'migrate': None},
            {'os-migrateLive': {'host': None, 'block_migration': 'auto'}},
            {'resize': {'flavorRef': 'tiny'}},
            {'evacuate': {}},
            {'resume': None},
            {'unrescue': None},
            {'unshelve': None},
            {'changePassword': {'adminPass': 'secret'}},
            {'createBackup': {'name': 'b', 'backup_type': 'daily',
                              'rotation': 1}},
            {'rebuild': {'imageRef': base.image_id('tiny')}},
        )
        for body in bodies:
            with self.subTest(body=body):
                self.act(server, body, expect=409)
        self.assertEqual(('quiesced', None), self.states(server))
        self.assertEqual(['frozen'], self.guest_log(server))

    def test_a_quiesced_server_can_be_deleted(self) -> None:
        server = self.boot()
        self.act(server, {'quiesce': None})
        self.wait(server, 'quiesced')
        self._delete(server)


class TestViews(base.FunctionalTest):
    """QUIESCED wherever Nova shows a server, under its own schemas."""

    def test_views_and_filters(self) -> None:
        frozen, running = self.boot(), self.boot()
        self.act(frozen, {'quiesce': None})
        self.wait(frozen, 'quiesced')
        nova = base.compute()
        for path in (
            '/servers?status=QUIESCED',
            '/servers?status=quiesced',
            '/servers/detail?status=QUIESCED',
            '/servers/detail?vm_state=quiesced',
        ):
            with self.subTest(path=path):
                response = nova.get(path)
                self.assertEqual(200, response.status_code, response.text)
                self.assertEqual(
                    [frozen], [s['id'] for s in response.json()['servers']]
                )
        listed = {
            s['id']: s['status']
            for s in nova.get('/servers/detail').json()['servers']
        }
        self.assertEqual('QUIESCED', listed[frozen])
        self.assertEqual('ACTIVE', listed[running])

    def test_every_microversion_shows_it(self) -> None:
        server = self.boot()
        self.act(server, {'quiesce': None})
        self.wait(server, 'quiesced')
        for minor in (1, 3, 9, 16, 19, 26, 47, 63, 71, 75, 90, 96):
            for path in ('/servers/%s' % server, '/servers/detail'):
                response = base.compute().get(
                    path, microversion='2.%d' % minor
                )
                with self.subTest(path=path, minor=minor):
                    self.assertEqual(200, response.status_code, response.text)
                    self.assertIn('QUIESCED', response.text)

    def test_usage(self) -> None:
        server = self.boot()
        self.act(server, {'quiesce': None})
        self.wait(server, 'quiesced')
        nova = base.compute()
        # Usage leaves out what began in the second in which it is asked.
        time.sleep(1.1)
        now = datetime.datetime.now(datetime.UTC)
        start, end = (
            (now + datetime.timedelta(hours=hours)).strftime(
                '%Y-%m-%dT%H:%M:%S')
            for hours in (-1, 1))
        response = nova.get('/os-simple-tenant-usage/%s?start=%s&end=%s' % (
            nova.get_project_id(), start, end))
        self.assertEqual(200, response.status_code, response.text)
        self.assertIn('quiesced', response.text)

    def test_other_views_of_a_quiesced_server(self) -> None:
        server = self.boot()
        self.act(server, {'quiesce': None})
        self.wait(server, 'quiesced')
        for path in (
            'os-instance-actions',
            'os-security-groups',
            'metadata',
            'ips',
            'topology',
        ):
            response = base.compute().get('/servers/%s/%s' % (server, path))
            self.assertEqual(200, response.status_code, path)

    def test_the_service_is_listed(self) -> None:
        services = (
            base.compute()
            .get('/os-services?binary=nova-quiesce')
            .json()['services']
        )
        self.assertTrue(services)
        for service in services:
            self.assertEqual(
                ('up', 'enabled'), (service['state'], service['status'])
            )
