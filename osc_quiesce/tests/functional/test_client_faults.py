# SPDX-License-Identifier: Apache-2.0

"""The commands when what lies between them and Nova goes wrong.

Whatever happens, a command ends in a known state: servers are as its exit
code says, and if it cannot know, it says so.
"""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from typing import Any
import uuid

from osc_quiesce.tests.functional import base
from osc_quiesce.tests.functional import proxy
from osc_quiesce.tests.functional import test_authorization as authorization


class ClientFaultsTest(base.FunctionalTest):
    """The commands talk to Nova through a proxy; the test does not."""

    def setUp(self) -> None:
        super().setUp()
        self.proxy = proxy.Proxy()
        stack = contextlib.ExitStack()
        stack.enter_context(self.proxy)
        self.addCleanup(stack.close)
        self.variables = self.rerouted('compute', self.proxy.url)

    def environment(  # type: ignore[override]
            self, persona: str = 'admin') -> dict[str, str]:
        return {**base.FunctionalTest.environment(persona), **self.variables}

    def quiesced(self, unquiesce: str = '') -> str:
        """Return a new server that is quiesced.

        :param unquiesce: what its guest does when it is thawed
        """
        server = self.boot(unquiesce=unquiesce)
        self.act(server, {'quiesce': None})
        self.wait(server, 'quiesced')
        return server

    def start(self, command: str) -> 'subprocess.Popen[str]':
        """Start a command line in a process of its own."""
        process = subprocess.Popen(
            command.split(), env={**os.environ, **self.environment()},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(self._end, process)
        return process

    @staticmethod
    def _end(process: 'subprocess.Popen[str]') -> None:
        if process.poll() is None:
            process.kill()
        process.communicate()

    def finish(self, process: 'subprocess.Popen[str]', code: int) -> str:
        """Wait for the end of a process, and return what it said."""
        # It may wait for two minutes, and then thaw for two.
        _out, err = process.communicate(timeout=5 * base.TIMEOUT)
        self.assertEqual(code, process.returncode, err)
        self.assertNotIn('Traceback', err)
        return err

    def check(self, server: str, vm_state: str, *log: str) -> None:
        """Check where a server is, and all that its guest saw."""
        self.assertEqual((vm_state, None), self.states(server))
        self.assertEqual(list(log), self.guest_log(server))


class TestLostConnections(ClientFaultsTest):
    """The connection breaks: did the request arrive or not?"""

    def sent(self) -> list[str]:
        """Return the ids of all requests to quiesce that were sent."""
        return [
            json.loads(request.body)['quiesce']['request_id']
            for request in self.proxy.requests('quiesce')
        ]

    def test_a_quiesce_that_did_not_arrive_is_sent_again(self) -> None:
        before, server, after = self.boot(), self.boot(), self.boot()
        self.proxy.on('quiesce', proxy.forward, proxy.drop)
        self.openstack('server quiesce --wait %s %s %s' % (
            before, server, after))
        for each in (before, server, after):
            self.check(each, 'quiesced', 'frozen')
        self.assertEqual(4, len(self.sent()))
        self.assertEqual(1, len(set(self.sent())))

    def test_a_quiesce_that_never_arrives_ends_the_command(self) -> None:
        before, server, after = self.boot(), self.boot('vm-lost'), self.boot()
        self.proxy.on('quiesce', proxy.forward, *[proxy.drop] * 100)
        result = self.openstack('server quiesce --wait %s %s %s' % (
            before, server, after), expect=1)
        for words in ('vm-lost', server, 'no usable answer'):
            self.assertIn(words, result.stderr)
        self.assertNotIn('FROZEN', result.stderr)
        self.check(before, 'active', 'frozen', 'thawed')
        self.check(server, 'active')
        self.check(after, 'active')
        # It is withdrawn: a copy of it that arrives now does nothing.
        self.act(server, {'quiesce': {'request_id': self.sent()[-1]}},
                 expect=409)

    def test_a_quiesce_that_did_arrive_freezes_once(self) -> None:
        server = self.boot()
        self.proxy.on('quiesce', proxy.forward_and_drop)
        [row] = self.openstack(
            'server quiesce --wait -f json %s' % server).data
        self.assertEqual('QUIESCED', row['Status'])
        self.check(server, 'quiesced', 'frozen')
        # The request that it tells of is that one.
        self.assertEqual([row['Request ID']] * 2, self.sent())
        action = base.compute().get('/servers/%s/os-instance-actions/%s' % (
            server, row['Request ID'])).json()['instanceAction']
        self.assertEqual('quiesce', action['action'])

    def test_a_quiesce_that_arrives_after_its_copy(self) -> None:
        server = self.boot()
        self.proxy.on('quiesce', proxy.drop_and_forward(4))
        self.openstack('server quiesce --wait %s' % server)
        time.sleep(5)
        self.check(server, 'quiesced', 'frozen')

    def test_a_quiesce_that_arrives_when_it_was_undone(self) -> None:
        server, bad = self.boot(), self.boot(quiesce='disconnected')
        self.proxy.on('quiesce', proxy.drop_and_forward(20))
        started = time.monotonic()
        self.openstack('server quiesce --wait %s %s' % (server, bad),
                       expect=1)
        time.sleep(max(0, 22 - (time.monotonic() - started)))
        self.check(server, 'active', 'frozen', 'thawed')

    def test_quiesce_without_wait(self) -> None:
        lost, heard = self.boot(), self.boot()
        self.proxy.on('quiesce', proxy.drop, proxy.forward,
                      proxy.forward_and_drop)
        self.openstack('server quiesce %s %s' % (lost, heard))
        for server in (lost, heard):
            self.wait(server, 'quiesced')
            self.check(server, 'quiesced', 'frozen')

    def test_while_waiting(self) -> None:
        server = self.boot(quiesce='slow:8')
        process = self.start('openstack server quiesce --wait %s' % server)
        self.wait(server, 'active', 'quiescing')
        self.proxy.on('GET', proxy.drop, proxy.forward_and_drop, proxy.drop)
        self.finish(process, 0)
        self.check(server, 'quiesced', 'frozen')

    def test_while_looking_for_the_servers(self) -> None:
        server = self.boot('vm-sought')
        self.proxy.on('GET', proxy.drop, proxy.forward_and_drop)
        self.openstack('server quiesce --wait vm-sought')
        self.check(server, 'quiesced', 'frozen')

    def test_unquiesce_did_not_arrive(self) -> None:
        server = self.quiesced()
        self.proxy.on('unquiesce', proxy.drop, proxy.drop)
        self.openstack('server unquiesce --wait %s' % server)
        self.check(server, 'active', 'frozen', 'thawed')
        self.assertEqual(3, len(self.proxy.requests('unquiesce')))

    def test_unquiesce_did_arrive(self) -> None:
        server = self.quiesced()
        self.proxy.on('unquiesce', proxy.forward_and_drop)
        [row] = self.openstack(
            'server unquiesce --wait -f json %s' % server).data
        self.assertEqual('ACTIVE', row['Status'])
        self.check(server, 'active', 'frozen', 'thawed')

    def test_while_thawing_after_a_failure(self) -> None:
        servers = [self.boot(), self.boot()]
        bad = self.boot('vm-bad', quiesce='disconnected')
        self.proxy.on('unquiesce', proxy.drop, proxy.forward_and_drop)
        result = self.openstack('server quiesce --wait %s %s' % (
            ' '.join(servers), bad), expect=1)
        self.assertIn('vm-bad', result.stderr)
        self.assertNotIn('FROZEN', result.stderr)
        for server in servers:
            self.check(server, 'active', 'frozen', 'thawed')


class TestRetryAfter(ClientFaultsTest):
    """429 and 503, from nova-api or from what stands before it."""

    def test_while_waiting(self) -> None:
        for status in (429, 503):
            with self.subTest(status=status):
                server = self.boot(quiesce='slow:8')
                process = self.start('openstack server quiesce --wait %s'
                                     % server)
                self.wait(server, 'active', 'quiescing')
                self.proxy.on('GET', proxy.refuse(status, 2))
                self.finish(process, 0)
                self.check(server, 'quiesced', 'frozen')

    def test_unquiesce(self) -> None:
        for status in (429, 503):
            with self.subTest(status=status):
                server = self.quiesced()
                del self.proxy.seen[:]
                self.proxy.on('unquiesce', proxy.refuse(status, 2),
                              proxy.refuse(status))
                self.openstack('server unquiesce --wait %s' % server)
                self.check(server, 'active', 'frozen', 'thawed')
                times = [request.at for request
                         in self.proxy.requests('unquiesce')]
                self.assertEqual(3, len(times))
                self.assertLessEqual(2, times[1] - times[0])

    def test_while_thawing_after_a_failure(self) -> None:
        server, bad = self.boot(), self.boot(quiesce='disconnected')
        self.proxy.on('unquiesce', proxy.refuse(503, 1), proxy.refuse(429, 1))
        self.openstack('server quiesce --wait %s %s' % (server, bad),
                       expect=1)
        self.check(server, 'active', 'frozen', 'thawed')

    def test_what_a_proxy_answers_to_quiesce_is_no_refusal(self) -> None:
        for status in (429, 503):
            with self.subTest(status=status):
                first, second = self.boot(), self.boot()
                self.proxy.on('quiesce', proxy.forward,
                              proxy.refuse(status), proxy.refuse(status))
                self.openstack('server quiesce --wait %s %s' % (
                    first, second))
                self.check(first, 'quiesced', 'frozen')
                self.check(second, 'quiesced', 'frozen')

    def test_a_quiesce_that_a_proxy_answers_though_it_was_heard(self) -> None:
        server, bad = self.boot(), self.boot(quiesce='disconnected')
        self.proxy.on('quiesce', proxy.forward_and_refuse(503))
        self.openstack('server quiesce --wait %s %s' % (server, bad),
                       expect=1)
        self.check(server, 'active', 'frozen', 'thawed')

    def test_quiesce_is_to_come_back_later(self) -> None:
        server = self.boot()
        self.proxy.on('quiesce', proxy.refuse(503, 1))
        process = self.start('openstack server quiesce --wait %s' % server)
        process.communicate(timeout=base.TIMEOUT)
        self.assertEqual(0, process.returncode)
        self.check(server, 'quiesced', 'frozen')


class TestRestart(ClientFaultsTest):
    """nova-api is stopped, and started again, meanwhile."""

    def test_while_waiting(self) -> None:
        servers = [self.boot(), self.boot(quiesce='slow:8'), self.boot()]
        process = self.start('openstack server quiesce --wait %s'
                             % ' '.join(servers))
        self.wait(servers[1], 'active', 'quiescing')
        # From now on there is no nova-api for the command; the freeze that
        # is under way comes to its end.
        self.proxy.away.set()
        self.wait(servers[1], 'quiesced')
        cloud = base.cloud()
        self.addCleanup(cloud.up)
        cloud.stop('compute')
        cloud.up()
        self.proxy.away.clear()
        self.finish(process, 0)
        for server in servers:
            self.check(server, 'quiesced', 'frozen')

    def test_while_a_freeze_is_under_way(self) -> None:
        # All of Nova dies, with what it was doing. A request that no service
        # has taken up yet would die with the bus, which is in that process,
        # and count as lost only after twice operation_timeout.
        first, last = self.boot(), self.boot()
        server = self.boot('vm-interrupted', quiesce='slow:20')
        process = self.start('openstack server quiesce --wait %s %s %s' % (
            first, server, last))
        self.wait(server, 'active', 'quiescing')
        self.wait_for(lambda: self.work_on(server),
                      'a service has taken the request up')
        cloud = base.cloud()
        self.addCleanup(cloud.up)
        cloud.signal('compute', signal.SIGKILL)
        cloud.up()
        self.assertIn('vm-interrupted', self.finish(process, 1))
        self.check(first, 'active', 'frozen', 'thawed')
        self.check(last, 'active')
        # Once it is certain that no freeze can follow: its lease has to end,
        # and what was sent in it has to expire.
        self.wait_for(lambda: self.states(server) == ('active', None),
                      'the server is active', 2 * base.TIMEOUT)
        self.assertNotEqual(['frozen'], self.guest_log(server)[-1:])


class TestTokens(ClientFaultsTest):
    """The command's token ends before the command does."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        # Nova would go on for minutes with a token that it has seen.
        cloud = base.cloud()
        path = cloud.layout.local / 'nova.conf'
        path.parent.mkdir(exist_ok=True)
        before = path.read_text() if path.exists() else None
        cls.addClassCleanup(cloud.up)
        if before is None:
            cls.addClassCleanup(path.unlink)
        else:
            cls.addClassCleanup(path.write_text, before)
        path.write_text(
            '%s\n[keystone_authtoken]\ntoken_cache_time = -1\n'
            % (before or ''))
        cloud.up()

    def test_at_every_request_to_quiesce_and_after_it(self) -> None:
        servers = [self.boot(), self.boot(), self.boot()]

        def revoke(request: proxy.Request) -> None:
            authorization.revoke(request.token)

        for _server in servers:
            self.proxy.on('quiesce', proxy.first(revoke), proxy.first(
                lambda _request: self.proxy.on('GET', proxy.first(revoke))))
        self.openstack('server quiesce --wait %s' % ' '.join(servers))
        for server in servers:
            self.check(server, 'quiesced', 'frozen')
        tokens = {request.token for request in self.proxy.seen}
        self.assertGreaterEqual(len(tokens), 7)

    def test_while_thawing_after_a_failure(self) -> None:
        servers = [self.boot(), self.boot()]
        bad = self.boot(quiesce='disconnected')
        revoked = proxy.first(
            lambda request: authorization.revoke(request.token))
        # The second one is the first one again, with a new token.
        self.proxy.on('unquiesce', revoked, proxy.forward, revoked)
        result = self.openstack('server quiesce --wait %s %s' % (
            ' '.join(servers), bad), expect=1)
        self.assertNotIn('FROZEN', result.stderr)
        for server in servers:
            self.check(server, 'active', 'frozen', 'thawed')

    def test_and_there_is_no_new_one(self) -> None:
        # The account is closed meanwhile: for two minutes a new token is asked
        # for, and then the command says which server it leaves frozen.
        frozen, server = self.boot('vm-frozen'), self.boot()
        account = self._account()
        self.proxy.on('quiesce', proxy.forward, proxy.first(
            lambda _request: self._close(account)))
        environment = self.environment()
        environment.update(OS_USERNAME=account['name'],
                           OS_PASSWORD=account['name'])
        done = subprocess.run(
            ['openstack', 'server', 'quiesce', '--wait', frozen, server],
            env={**os.environ, **environment}, capture_output=True, text=True,
            timeout=5 * base.TIMEOUT)
        self.assertEqual(1, done.returncode, done.stderr)
        self.assertNotIn('Traceback', done.stderr)
        self.assertIn('vm-frozen (%s) MAY STILL BE FROZEN' % frozen,
                      done.stderr)
        self.assertNotIn('%s) MAY STILL BE FROZEN' % server, done.stderr)
        self.check(frozen, 'quiesced', 'frozen')
        self.check(server, 'active')

    def _account(self) -> dict[str, Any]:
        """Make another administrator."""
        keystone = authorization.keystone()
        name = 'administrator-%s' % uuid.uuid4().hex
        user: dict[str, Any] = keystone.post('/users', json={'user': {
            'name': name, 'password': name, 'domain_id': 'default',
        }}).json()['user']
        self.addCleanup(keystone.delete, '/users/%s' % user['id'])
        [role] = keystone.get('/roles?name=admin').json()['roles']
        keystone.put('/projects/%s/users/%s/roles/%s' % (
            base.compute().get_project_id(), user['id'], role['id']))
        return user

    @staticmethod
    def _close(account: dict[str, Any]) -> None:
        authorization.keystone().patch(
            '/users/%s' % account['id'], json={'user': {'enabled': False}})


class TestSignals(ClientFaultsTest):
    """Signals at bad moments; at good ones, see test_cli."""

    def test_while_a_request_is_not_answered(self) -> None:
        server = self.boot()
        may_answer, has_waited = threading.Event(), threading.Event()

        def keep(handler: Any, request: proxy.Request) -> None:
            handler.ask_nova(request)
            may_answer.wait(base.TIMEOUT)
            has_waited.set()
            handler.cut()

        self.proxy.on('quiesce', keep)
        process = self.start('openstack server quiesce --wait %s' % server)
        self.wait(server, 'quiesced')
        process.send_signal(signal.SIGINT)
        self.finish(process, -signal.SIGINT)
        self.assertFalse(has_waited.is_set(), 'it waits for the answer')
        may_answer.set()
        self.check(server, 'active', 'frozen', 'thawed')

    def test_while_thawing(self) -> None:
        first = self.boot(unquiesce='slow:8')
        second = self.boot(quiesce='slow:8')
        process = self.start('openstack server quiesce --wait %s %s' % (
            first, second))
        self.wait(second, 'active', 'quiescing')
        process.send_signal(signal.SIGTERM)
        self.wait(first, 'quiesced', 'unquiescing')
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGHUP)
        self.assertIn('already stopping', self.finish(
            process, -signal.SIGTERM))
        for server in (first, second):
            self.check(server, 'active', 'frozen', 'thawed')

    def test_while_nova_is_away(self) -> None:
        first, second = self.boot(), self.boot(quiesce='slow:8')
        process = self.start('openstack server quiesce --wait %s %s' % (
            first, second))
        self.wait(second, 'active', 'quiescing')
        self.proxy.away.set()
        process.send_signal(signal.SIGHUP)
        time.sleep(9)    # the freeze ends meanwhile
        self.proxy.away.clear()
        self.finish(process, -signal.SIGHUP)
        for server in (first, second):
            self.check(server, 'active', 'frozen', 'thawed')

    def test_hangup_means_nothing_under_nohup(self) -> None:
        server = self.boot(quiesce='slow:8')
        process = self.start('nohup openstack server quiesce --wait %s'
                             % server)
        self.wait(server, 'active', 'quiescing')
        process.send_signal(signal.SIGHUP)
        self.finish(process, 0)
        self.check(server, 'quiesced', 'frozen')

    def test_while_waiting_for_a_thaw(self) -> None:
        # Thawing goes on without the command.
        server = self.quiesced(unquiesce='slow:8')
        process = self.start('openstack server unquiesce --wait %s' % server)
        self.wait(server, 'quiesced', 'unquiescing')
        process.send_signal(signal.SIGINT)
        self.finish(process, -signal.SIGINT)
        self.wait(server, 'active')
        self.assertEqual(['frozen', 'thawed'], self.guest_log(server))
