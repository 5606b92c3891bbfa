# SPDX-License-Identifier: Apache-2.0

"""Who may quiesce what, with Nova's default rules, as one table.

And what somebody may learn of a server that is not theirs: nothing.
"""

import datetime
import time
from typing import Any, Final
import uuid

from keystoneauth1 import adapter
from keystoneauth1 import session as keystone_session
from keystoneauth1.identity import v3
import requests

from osc_quiesce.tests.functional import base

UNKNOWN: Final = '00000000-dead-beef-0000-000000000000'
ACTIONS: Final = ('quiesce', 'unquiesce')

#: By caller, the codes that both actions answer on a server of the caller's
#: project, on one of another project, and on one that does not exist. They
#: are the same in every state of the server, but for the administrator, who
#: is told in which states the server would have to be.
TABLE: Final = {
    'admin': (202, 202, 404),
    'member': (403, 404, 404),
    'reader': (403, 404, 404),
    'other': (403, 404, 404),
    'expired token': (401, 401, 401),
    'revoked token': (401, 401, 401),
    'no token': (401, 401, 401),
}
#: the same for a user without any role, whose token has no project
NO_ROLE: Final = (403, 403, 403)

#: whose project the caller is of, and another one
PROJECTS: Final = {
    'reader': ('member', 'other'),
    'member': ('member', 'other'),
    'other': ('other', 'member'),
}
ADMINS_PROJECTS: Final = ('admin', 'member')


def _v3(persona: str = 'admin', **scope: Any) -> v3.Password:
    environment = base.cloud().environment(persona)
    return v3.Password(
        auth_url=environment['OS_AUTH_URL'],
        username=environment['OS_USERNAME'],
        password=environment['OS_PASSWORD'],
        user_domain_id=environment['OS_USER_DOMAIN_ID'],
        **scope)


def keystone() -> adapter.Adapter:
    """Return plain HTTP to Keystone as its administrator."""
    return adapter.Adapter(
        base.compute().session, service_type='identity', interface='public')


def revoke(token: str) -> None:
    """Make a token worth nothing, as a logout does."""
    keystone().delete('/auth/tokens', headers={'X-Subject-Token': token})


class AuthorizationTest(base.FunctionalTest):
    """A server in each of three projects."""

    def setUp(self) -> None:
        super().setUp()
        self.servers = {project: self.boot(persona=project)
                        for project in ('admin', 'member', 'other')}

    def ask(self, token: str | None, server_id: str, action: str,
            body: Any = None) -> requests.Response:
        return requests.post(
            '%s/servers/%s/action' % (base.url(), server_id),
            json={action: body},
            headers={'X-Auth-Token': token} if token else {},
            timeout=base.TIMEOUT)

    def token(self, caller: str) -> str | None:
        if caller == 'no token':
            return None
        if caller == 'expired token':
            return self._expired()
        if caller == 'revoked token':
            # Not used before: Nova remembers for some minutes, by
            # [keystone_authtoken]token_cache_time, that a token was good.
            token = str(keystone_session.Session(_v3(
                project_name='admin', project_domain_id='default',
            )).get_token())
            revoke(token)
            return token
        return base.compute(caller).get_token()

    def _expired(self) -> str:
        """Return a token of the administrator that was good until now.

        The token of an application credential ends with the credential.
        """
        ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(
            seconds=15)
        home = '/users/%s/application_credentials' % (
            base.compute().get_user_id())
        made = keystone().post(home, json={'application_credential': {
            'name': uuid.uuid4().hex, 'roles': [{'name': 'admin'}],
            'expires_at': ends.strftime('%Y-%m-%dT%H:%M:%S'),
        }}).json()['application_credential']
        self.addCleanup(keystone().delete, '%s/%s' % (home, made['id']))
        token = str(keystone_session.Session(v3.ApplicationCredential(
            auth_url=base.cloud().environment()['OS_AUTH_URL'],
            application_credential_id=made['id'],
            application_credential_secret=made['secret'])).get_token())
        self.assertEqual(
            409, self.ask(token, self.servers['admin'], 'unquiesce')
            .status_code, 'it is not a good token to begin with')
        left = ends - datetime.datetime.now(datetime.UTC)
        time.sleep(max(0.0, left.total_seconds()) + 0.5)
        return token

    def own_foreign_unknown(self, caller: str) -> tuple[str, str, str]:
        own, foreign = PROJECTS.get(caller, ADMINS_PROJECTS)
        return self.servers[own], self.servers[foreign], UNKNOWN


class TestTable(AuthorizationTest):
    """The table."""

    def test_who_may(self) -> None:
        tokens = {caller: self.token(caller) for caller in TABLE}
        # Nobody else may, whatever state the server is in ...
        self._check_refusals(tokens)
        # ... the administrator may in the right one.
        self._check_admin(tokens['admin'], 'quiesce', 'quiesced')
        self._check_refusals(tokens)
        self._check_admin(tokens['admin'], 'unquiesce', 'active')
        for server in self.servers.values():
            self.assertEqual(['frozen', 'thawed'], self.guest_log(server))

    def _check_refusals(self, tokens: dict[str, str | None]) -> None:
        for caller, codes in TABLE.items():
            if caller == 'admin':
                continue
            servers = self.own_foreign_unknown(caller)
            for server, code in zip(servers, codes):
                for action in ACTIONS:
                    with self.subTest(caller=caller, server=server,
                                      action=action):
                        response = self.ask(tokens[caller], server, action)
                        self.assertEqual(code, response.status_code,
                                         response.text)
                        if code == 403:
                            # What an operator has to change to allow it.
                            self.assertIn('os_compute_api:os-quiesce:%s'
                                          % action, response.text)

    def _check_admin(self, token: str | None, action: str,
                     vm_state: str) -> None:
        own, foreign, unknown = TABLE['admin']
        for project, server in self.servers.items():
            self.assertEqual(
                own if project == 'admin' else foreign,
                self.ask(token, server, action).status_code, project)
            self.wait(server, vm_state)
        self.assertEqual(unknown, self.ask(token, UNKNOWN, action)
                         .status_code)

    def test_who_may_without_any_role(self) -> None:
        token = self._token_without_role()
        servers = self.own_foreign_unknown('member')
        codes = [tuple(self.ask(token, server, action).status_code
                       for server in servers) for action in ACTIONS]
        self.assertEqual([NO_ROLE, NO_ROLE], codes)

    def _token_without_role(self) -> str:
        name = 'nobody-%s' % uuid.uuid4().hex
        user = keystone().post('/users', json={'user': {
            'name': name, 'password': name, 'domain_id': 'default',
        }}).json()['user']
        self.addCleanup(keystone().delete, '/users/%s' % user['id'])
        return str(keystone_session.Session(v3.Password(
            auth_url=base.cloud().environment()['OS_AUTH_URL'],
            user_id=user['id'], password=name)).get_token())

    def test_without_any_role_nothing_happens(self) -> None:
        token = self._token_without_role()
        for server in self.servers.values():
            self.assertLessEqual(
                400, self.ask(token, server, 'quiesce').status_code)
            self.assertEqual(('active', None), self.states(server))
            self.assertEqual([], self.guest_log(server))


class TestWhatAStrangerLearns(AuthorizationTest):
    """Nothing: a server of others is like one that does not exist."""

    def _seen(self, server: str, action: str, body: Any) -> tuple[Any, ...]:
        """Return an answer without what differs from one to the next."""
        response = self.ask(self.token('other'), server, action, body)
        return (
            response.status_code, response.reason,
            response.text.replace(server, 'ID'),
            {name: value for name, value in response.headers.items()
             if name.lower() not in ('date', 'x-openstack-request-id',
                                     'x-compute-request-id')})

    def _check_like_unknown(self, server: str) -> None:
        for action in ACTIONS:
            for body in (None, {}, 'x', {'unquiesce_after': 1}):
                with self.subTest(action=action, body=body):
                    self.assertEqual(self._seen(UNKNOWN, action, body),
                                     self._seen(server, action, body))

    def test_nothing_in_any_state(self) -> None:
        server = self.servers['member']
        self._check_like_unknown(server)
        self.act(server, {'quiesce': None})
        self._check_like_unknown(server)
        self.wait(server, 'quiesced')
        self._check_like_unknown(server)
        self.act(server, {'lock': None})
        self._check_like_unknown(server)
        self.act(server, {'os-resetState': {'state': 'error'}})
        self._check_like_unknown(server)

    def test_nothing_from_what_can_be_read(self) -> None:
        server = self.servers['member']
        request = self.act(server, {'quiesce': None}).headers[
            'x-openstack-request-id']
        self.wait(server, 'quiesced')
        actions = '/servers/%s/os-instance-actions' % server
        for path in ('/servers/%s' % server, actions,
                     '%s/%s' % (actions, request)):
            with self.subTest(path=path):
                for persona, code in (('other', 404), ('member', 200),
                                      ('reader', 200)):
                    self.assertEqual(
                        code, base.compute(persona).get(path).status_code)
        for persona, seen in (('other', []), ('member', [server]),
                              ('reader', [server])):
            listed = base.compute(persona).get('/servers?status=QUIESCED')
            self.assertEqual(
                seen, [s['id'] for s in listed.json()['servers']])

    def test_the_command_says_the_same_of_both(self) -> None:
        server = self.servers['member']
        for verb in ('quiesce', 'quiesce --wait', 'unquiesce',
                     'unquiesce --wait'):
            foreign, unknown = (
                self.openstack('server %s %s' % (verb, name), 'other',
                               expect=1).stderr.replace(name, 'ID')
                for name in (server, UNKNOWN))
            self.assertEqual(unknown, foreign)
            self.assertIn('No server has the name or ID "ID"', foreign)
