# SPDX-License-Identifier: Apache-2.0

"""What the functional tests share: the cloud, and the verb ``openstack``.

The cloud is started once for all tests, by whoever runs them.  A test makes
the servers that it needs and leaves none behind.
"""

import contextlib
import copy
import dataclasses
import datetime
import functools
import io
import json
import logging
import os
import shlex
import sqlite3
import subprocess
import sys
import time
import unittest
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar
from unittest import mock

import fixtures
import minicloud
import requests
import testtools
from keystoneauth1 import adapter
from keystoneauth1 import loading
from keystoneauth1 import session as keystone_session
from openstackclient import shell
from openstackclient.volume import client as volume_client
from osc_lib import clientmanager

from osc_quiesce.tests import signals

#: with server create's networks=none, and with details of failed events
MICROVERSION = '2.96'
#: set, with the reason, where the tests cannot run
SKIP_VARIABLE = 'SKIP_REASON'
#: seconds for which a state is waited for at most
TIMEOUT = 60.0
#: seconds after which a test, or a cleanup of it, fails instead of going on
LIMIT = 600
#: seconds between two looks, at first and at most
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 0.8
#: seconds, [DEFAULT]report_interval in minicloud
REPORT_INTERVAL = 5


#: what a test class has added to nova.conf of the cloud
_additions = ''


def configure(options: Mapping[str, float]) -> None:
    """Have Nova run with these options of ``[quiesce]``, and no others.

    It is restarted only if it does not: the classes of a module that want the
    same share it.
    """
    global _additions
    lines = ['%s = %s' % option for option in options.items()]
    wanted = '\n'.join(['[quiesce]', *lines, '']) if lines else ''
    if wanted == _additions:
        return
    path = cloud().layout.local / 'nova.conf'
    if wanted:
        path.parent.mkdir(exist_ok=True)
        path.write_text(wanted)
        unittest.addModuleCleanup(configure, {})
    else:
        path.unlink()
    _additions = wanted
    cloud().up()
    for _look in looks():
        if are_all_up():
            return


def looks(seconds: float = TIMEOUT) -> Iterator[None]:
    """Yield whenever it is worth another look, for so many seconds.

    Ever less often, since each look takes the processor from who is waited
    for.
    """
    end = time.monotonic() + seconds
    pause = FIRST_PAUSE
    while time.monotonic() <= end:
        yield
        time.sleep(pause)
        pause = min(1.2 * pause, LONGEST_PAUSE)
    yield


def are_all_up() -> bool:
    """Return whether Nova takes all of its services for alive."""
    answer = compute().get('/os-services')
    return answer.status_code == 200 and all(
        service['state'] == 'up' for service in answer.json()['services'])


@dataclasses.dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def data(self) -> Any:
        """The output of a command with ``-f json``."""
        return json.loads(self.stdout)


def cloud() -> minicloud.Cloud:
    """Return the cloud that the tests run on."""
    root = os.environ.get('MINICLOUD_ROOT')
    if not root:
        raise RuntimeError(
            'MINICLOUD_ROOT is not set: run these tests with "tox -e '
            'functional", or start a cloud with "python -m minicloud up"'
        )
    return minicloud.Cloud(root)


_adapters: dict[str, adapter.Adapter] = {}
_VOLUME_API_VERSIONS = copy.copy(volume_client.API_VERSIONS)


def compute(persona: str = 'admin') -> adapter.Adapter:
    """Return plain HTTP to Nova with a user's token."""
    if persona not in _adapters:
        environment = cloud().environment(persona)
        auth: Any = loading.get_plugin_loader('password').load_from_options(
            auth_url=environment['OS_AUTH_URL'],
            username=environment['OS_USERNAME'],
            password=environment['OS_PASSWORD'],
            project_name=environment['OS_PROJECT_NAME'],
            user_domain_id=environment['OS_USER_DOMAIN_ID'],
            project_domain_id=environment['OS_PROJECT_DOMAIN_ID'],
        )
        _adapters[persona] = adapter.Adapter(
            keystone_session.Session(auth=auth),
            service_type='compute',
            interface='public',
            raise_exc=False,
            default_microversion=MICROVERSION,
        )
    return _adapters[persona]


@functools.cache
def flavor_id(name: str = 'tiny') -> str:
    """Return the id of a flavor of the cloud."""
    flavors = compute().get('/flavors').json()['flavors']
    return next(str(flavor['id']) for flavor in flavors
                if flavor['name'] == name)


@functools.cache
def image_id(name: str) -> str:
    """Return the id of an image of the cloud."""
    answer = compute().session.get(
        '/v2/images?name=%s' % name,
        endpoint_filter={'service_type': 'image'})
    return str(answer.json()['images'][0]['id'])


def _forget_clients() -> None:
    """Make the next command log in anew, as a new process would."""
    for attribute in vars(clientmanager.ClientManager).values():
        if isinstance(attribute, clientmanager.ClientCache):
            attribute._handle = None
    # Until OpenStack 2026.1 it is a dictionary, which the first command
    # changes.
    volume_client.API_VERSIONS = copy.copy(_VOLUME_API_VERSIONS)


def url() -> str:
    """Return Nova's endpoint."""
    endpoint = compute().get_endpoint()
    assert endpoint
    return endpoint


@contextlib.contextmanager
def database(name: str = 'nova_cell1') -> Iterator[sqlite3.Connection]:
    """Open a database; by default that of the cell."""
    connection = sqlite3.connect(cloud().layout.database(name), timeout=60)
    with contextlib.closing(connection), connection:
        yield connection


def freezes(server_id: str) -> list[tuple[str, str]]:
    """Return state and request of the row of a server, if it has one."""
    with database('nova_api') as connection:
        return list(connection.execute(
            'SELECT state, request_id FROM quiesce_freezes '
            'WHERE instance_uuid = ?', (server_id,)))


def force_down(binary: str, down: bool) -> None:
    """Make Nova take the services of a kind for dead, or no longer."""
    with database() as connection:
        connection.execute(
            'UPDATE services SET forced_down = ? WHERE binary = ?',
            (down, binary),
        )
    if binary == 'nova-quiesce':
        _silence(down)
    if down:
        time.sleep(REPORT_INTERVAL)  # nova-api does not look more often


def _silence(silent: bool) -> None:
    """Keep the reports of nova-quiesce from being seen, or no longer."""
    with database('nova_api') as connection:
        connection.execute('DROP TRIGGER IF EXISTS silence')
        if silent:
            connection.execute(
                'CREATE TRIGGER silence AFTER UPDATE ON quiesce_sweeps BEGIN '
                'UPDATE quiesce_sweeps SET swept_at = 0; END')
            connection.execute('UPDATE quiesce_sweeps SET swept_at = 0')


class FunctionalTest(testtools.TestCase):
    """A test on the shared cloud."""

    #: what Nova has in ``[quiesce]``, beside minicloud's own, for these tests
    OPTIONS: ClassVar[Mapping[str, float]] = {}

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        configure(cls.OPTIONS)

    def setUp(self) -> None:
        super().setUp()
        if reason := os.environ.get(SKIP_VARIABLE):
            self.skipTest(reason)
        self.useFixture(fixtures.Timeout(LIMIT, gentle=True))
        signals.as_in_terminal(self)

    # -- the CLI ----------------------------------------------------------

    def rerouted(self, service_type: str, url: str) -> dict[str, str]:
        """Return variables with which commands find a service elsewhere.

        By a file, since clients of OpenStack 2025.1 do not look for it in
        the environment.
        """
        folder = self.useFixture(fixtures.TempDir()).path
        path = os.path.join(folder, 'clouds.yaml')
        with open(path, 'w') as stream:
            json.dump({'clouds': {'rerouted': {
                service_type + '_endpoint_override': url}}}, stream)
        return {'OS_CLOUD': 'rerouted', 'OS_CLIENT_CONFIG_FILE': path}

    def openstack(
        self, command: str, persona: str = 'admin', expect: int = 0
    ) -> Result:
        """Run an ``openstack`` command in this process.

        :param command: the command line without ``openstack``
        :param expect: the exit code that it must have
        """
        _forget_clients()
        out, err = io.StringIO(), io.StringIO()
        root_logger = logging.getLogger()
        handlers, level = list(root_logger.handlers), root_logger.level
        try:
            with (
                mock.patch.dict(
                    os.environ, self.environment(persona), clear=True
                ),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
            ):
                try:
                    code = shell.main(shlex.split(command))
                except SystemExit as error:
                    code = error.code  # type: ignore
        finally:
            root_logger.handlers, root_logger.level = handlers, level
        return self._result(
            command,
            expect,
            Result(int(code or 0), out.getvalue(), err.getvalue()),
        )

    def shell(
        self,
        command: str,
        persona: str = 'admin',
        expect: int = 0,
        timeout: float = 2 * TIMEOUT,
    ) -> Result:
        """Run a command line in a real shell, with ``openstack`` in it."""
        done = subprocess.run(
            ['bash', '-c', command],
            env=self.environment(persona),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return self._result(
            command, expect, Result(done.returncode, done.stdout, done.stderr)
        )

    @staticmethod
    def environment(persona: str = 'admin') -> dict[str, str]:
        """Return the environment of a user who has sourced an openrc."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith('OS_')
        }
        kept['PATH'] = os.pathsep.join(
            [os.path.dirname(sys.executable), os.environ['PATH']]
        )
        return {**kept, **cloud().environment(persona)}

    def _result(self, command: str, expect: int, result: Result) -> Result:
        self.assertEqual(
            expect,
            result.code,
            '%s\n%s\n%s' % (command, result.stdout, result.stderr),
        )
        self.assertNotIn('Traceback', result.stderr)
        return result

    # -- plain HTTP -------------------------------------------------------

    def act(
        self,
        server_id: str,
        body: Any,
        persona: str = 'admin',
        expect: int = 202,
        **kwargs: Any,
    ) -> requests.Response:
        """POST an action and check the answer's code."""
        response = compute(persona).post(
            '/servers/%s/action' % server_id, json=body, **kwargs
        )
        self.assertEqual(expect, response.status_code, response.text)
        return response

    def server(self, server_id: str) -> dict[str, Any]:
        """Return a server as GET shows it."""
        response = compute().get('/servers/%s' % server_id)
        self.assertEqual(200, response.status_code, response.text)
        return response.json()['server']  # type: ignore[no-any-return]

    def states(self, server_id: str) -> tuple[str, str | None]:
        """Return a server's vm_state and task_state."""
        server = self.server(server_id)
        return (server['OS-EXT-STS:vm_state'], server['OS-EXT-STS:task_state'])

    def wait(
        self, server_id: str, vm_state: str, task_state: str | None = None
    ) -> dict[str, Any]:
        """Wait for a state, and return the server.

        An error is not the end: it is left once a thaw is confirmed.
        """
        for _look in looks():
            server = self.server(server_id)
            states = (
                server['OS-EXT-STS:vm_state'],
                server['OS-EXT-STS:task_state'],
            )
            if states == (vm_state, task_state):
                return server
        raise AssertionError('still in %s, not in %s: %s' % (
            states, (vm_state, task_state), server.get('fault')))

    def wait_for(
        self,
        condition: Callable[[], Any],
        what: str,
        seconds: float = TIMEOUT,
    ) -> Any:
        """Wait until something is so, or fail; return what tells so.

        :param what: it, in words
        """
        for _look in looks(seconds):
            if found := condition():
                return found
        self.fail('after %d s it is not so that %s' % (seconds, what))

    def wait_until_up(self) -> None:
        """Wait until Nova takes all of its services for alive."""
        self.wait_for(are_all_up, 'the services are up again')

    def settle(self, server_id: str) -> tuple[str, str | None]:
        """Wait until nothing is being done, and return the states."""
        for _look in looks():
            states = self.states(server_id)
            if states[1] is None:
                return states
        raise AssertionError('still in task_state %s' % states[1])

    def action_of(
        self, server_id: str, response: requests.Response
    ) -> dict[str, Any]:
        """Return the finished instance action of a request."""
        return self.action(
            server_id, response.headers['x-openstack-request-id'])

    def action(self, server_id: str, request_id: str,
               deadline: bool = False) -> dict[str, Any]:
        """Return the instance action of a request when it has ended.

        :param deadline: whether with the event that tells of the deadline
        """

        def look() -> dict[str, Any]:
            answer = compute().get(
                '/servers/%s/os-instance-actions/%s' % (server_id, request_id)
            )
            self.assertEqual(200, answer.status_code, answer.text)
            return answer.json()['instanceAction']  # type: ignore

        def has_ended() -> bool:
            events = look()['events']
            return bool(events) and all(
                event['finish_time'] for event in events
            )

        self.wait_for(has_ended, 'the action of %s has ended' % request_id)
        # Nova reads the events after the action: so this one may be older.
        found = look()
        if not deadline:
            found['events'] = [event for event in found['events']
                               if event['event'] != 'quiesce_deadline']
        return found

    def work_on(self, server_id: str) -> list[dict[str, Any]]:
        """Return the events of the request that the server is busy with.

        Or of the latest one to quiesce or unquiesce, if it is at rest. There
        are none until a service has taken it up. A server is seen in a
        task_state shortly before Nova has the action.
        """
        path = '/servers/%s/os-instance-actions' % server_id
        wanted = {
            'quiescing': ['quiesce'],
            'unquiescing': ['unquiesce'],
        }.get(self.states(server_id)[1] or '', ['quiesce', 'unquiesce'])
        latest = next(
            action
            for action in compute().get(path).json()['instanceActions']
            if action['action'] in ('quiesce', 'unquiesce', 'create')
        )
        if latest['action'] not in wanted:
            return []
        answer = compute().get('%s/%s' % (path, latest['request_id']))
        return answer.json()['instanceAction']['events']  # type: ignore

    def unquiesced_at(self, server_id: str) -> str:
        """Return when a server was last asked to thaw, as Nova writes it."""
        actions = compute().get(
            '/servers/%s/os-instance-actions' % server_id
        ).json()['instanceActions']
        return next(
            str(action['start_time'])
            for action in actions
            if action['action'] == 'unquiesce'
        )

    # -- servers ----------------------------------------------------------

    def boot(
        self,
        name: str | None = None,
        image: str = 'tiny',
        persona: str = 'admin',
        wait: bool = True,
        host: str | None = None,
        **metadata: str,
    ) -> str:
        """Create a server, deleted after the test, and return its id.

        :param host: by default Nova chooses one
        :param metadata: what its guest does, for example
            ``quiesce='slow:2'`` (see minicloud.virt.fake)
        """
        response = compute(persona).post(
            '/servers',
            json={
                'server': {
                    'name': name or 'vm-%s' % uuid.uuid4().hex[:8],
                    'flavorRef': flavor_id(),
                    'imageRef': image_id(image),
                    'networks': 'none',
                    **({'host': host} if host else {}),
                    'metadata': {
                        'minicloud:%s' % key: value
                        for key, value in metadata.items()
                    },
                }
            },
        )
        self.assertEqual(202, response.status_code, response.text)
        server_id: str = response.json()['server']['id']
        self.addCleanup(self.discard, server_id)
        if wait:
            self.wait(server_id, 'active')
        return server_id

    def _delete(self, server_id: str) -> None:
        for _look in looks():
            if compute().delete('/servers/%s' % server_id).status_code == 404:
                return
        self.fail('server %s is not deleted' % server_id)

    def discard(self, server_id: str) -> None:
        """Have a server deleted, and do not wait until it is."""
        for _look in looks():
            if compute().delete(
                    '/servers/%s' % server_id).status_code in (204, 404):
                return
        self.fail('the deletion of server %s is refused' % server_id)

    def guest_log(self, server_id: str) -> list[str]:
        """Return what the guest saw: ``frozen`` and ``thawed``, in order."""
        path = cloud().layout.guests / server_id
        if not path.exists():
            return []
        return [line.split()[0] for line in path.read_text().splitlines()]

    def guest_times(self, server_id: str) -> list[str]:
        """Return when that was, as Nova writes times."""
        path = cloud().layout.guests / server_id
        return [
            datetime.datetime.fromtimestamp(
                float(line.split()[1]), datetime.UTC
            ).strftime('%Y-%m-%dT%H:%M:%S.%f')
            for line in path.read_text().splitlines()
        ]

    @contextlib.contextmanager
    def held(self, server_id: str) -> Iterator[None]:
        """Let a slow guest not begin to freeze, or to thaw, until the end."""
        path = cloud().layout.hold_of(server_id)
        path.touch()
        try:
            yield
        finally:
            path.unlink()
