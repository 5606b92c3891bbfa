# SPDX-License-Identifier: Apache-2.0

"""The program of the guide to the library, on a Nova that is not there."""

import contextlib
import functools
import io
import pathlib
import runpy
import signal
from types import SimpleNamespace
from typing import Any
from unittest import mock

from keystoneauth1 import adapter
from keystoneauth1 import session
from keystoneauth1 import token_endpoint
import openstack
from openstack.block_storage.v3 import _proxy

from osc_quiesce import client
from osc_quiesce import errors
from osc_quiesce.tests.unit import fakes

PROGRAM = (pathlib.Path(__file__).parents[3]
           / 'doc/source/samples/take_snapshots.py')


class TestProgram(fakes.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.program = runpy.run_path(str(PROGRAM))
        self.stop = self.program['Stop']()
        self.servers = [self.nova.add(name) for name in ('db', 'web')]
        self.volumes = {server.id: 2 for server in self.servers}
        self.storage = mock.create_autospec(_proxy.Proxy, instance=True)
        self.storage.create_snapshot.side_effect = self.snapshot
        self.seen: list[set[str]] = []
        patch = mock.patch.object(openstack, 'connect', self.connect)
        patch.start()
        self.addCleanup(patch.stop)
        # Only for the program, whose sleep moves the clock of the Nova.
        self.program['take'].__globals__.update(
            time=SimpleNamespace(sleep=self.nova.sleep),
            client=SimpleNamespace(Client=functools.partial(
                client.Client, clock=self.nova.clock)))

    def connect(self, cloud: str) -> SimpleNamespace:
        self.assertEqual('siteA', cloud)
        compute: Any = adapter.Adapter(
            session.Session(token_endpoint.Token(fakes.ENDPOINT, 'a-token')),
            endpoint_override=fakes.ENDPOINT)
        compute.volume_attachments = lambda server_id: (
            SimpleNamespace(volume_id=f'{server_id}-{number}')
            for number in range(self.volumes[server_id]))
        return SimpleNamespace(compute=compute, block_storage=self.storage)

    def snapshot(self, **body: Any) -> SimpleNamespace:
        self.seen.append({server.vm_state for server in self.servers})
        return SimpleNamespace(id=f's-{len(self.seen)}', **body)

    def take(self) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.program['take']('siteA', 'noon', ['db', 'web'], self.stop)
        return out.getvalue()

    def left(self) -> tuple[set[str], int]:
        """Return the states of the servers, and the number of snapshots."""
        return ({server.vm_state for server in self.servers},
                self.storage.create_snapshot.call_count
                - self.storage.delete_snapshot.call_count)

    def test_all_are_frozen_while_snapshots_are_taken(self) -> None:
        self.assertRegex(
            self.take(), r'^Snapshots: 4\. .* at most \d\.\d s\.\n$')
        self.assertEqual([{'quiesced'}] * 4, self.seen)
        self.assertEqual(({'active'}, 4), self.left())
        self.assertEqual(
            [('db', 'quiesce'), ('web', 'quiesce'),
             ('web', 'unquiesce'), ('db', 'unquiesce')],
            [tuple(line.split()[1:]) for line in self.nova.posts()])

    def test_a_server_without_volumes_is_refused(self) -> None:
        self.volumes[self.servers[1].id] = 0
        with self.assertRaisesRegex(SystemExit, 'web has no volumes'):
            self.take()
        self.assertEqual([], self.nova.posts())

    def test_a_snapshot_that_fails(self) -> None:
        self.storage.wait_for_status.side_effect = RuntimeError('no space')
        with self.assertRaisesRegex(RuntimeError, 'no space'):
            self.take()
        self.assertEqual(({'active'}, 0), self.left())

    def test_a_server_that_does_not_stay_frozen(self) -> None:
        def thaw(*args: Any, **options: Any) -> None:
            if self.servers[0].vm_state == 'quiesced':
                self.nova.others(self.servers[0], 'unquiesce')
                self.nova.sleep(1)

        self.storage.wait_for_status.side_effect = thaw
        with self.assertRaises(errors.NotConsistent):
            self.take()
        self.assertEqual(({'active'}, 0), self.left())

    def test_a_snapshot_that_cannot_be_deleted_hides_nothing(self) -> None:
        self.storage.wait_for_status.side_effect = RuntimeError('no space')
        self.storage.delete_snapshot.side_effect = RuntimeError('busy')
        told = io.StringIO()
        with contextlib.redirect_stderr(told), self.assertRaisesRegex(
                RuntimeError, 'no space'):
            self.take()
        self.assertEqual(
            [f'Delete snapshot s-{number}: busy' for number in range(1, 5)],
            told.getvalue().splitlines())

    def test_a_server_that_cannot_be_thawed(self) -> None:
        self.servers[0].thaw_to = ('error', 'Error', 'agent is gone')
        with self.assertRaises(errors.ThawFailed):
            self.take()
        self.assertEqual(0, self.left()[1])

    def stop_at(self, line: str) -> None:
        """Send SIGTERM during a request to Nova."""

        def hook(request: Any, context: Any) -> None:
            if line in self.nova.posts():
                self.stop.note(signal.SIGTERM, None)

        self.nova.hooks.append(hook)

    def check_stopped(self, taken: int) -> None:
        with self.assertRaises(SystemExit) as caught:
            self.take()
        self.assertEqual(143, caught.exception.code)
        self.assertEqual(({'active'}, 0), self.left())
        self.assertEqual(taken, self.storage.create_snapshot.call_count)

    def test_sigterm_while_servers_are_being_frozen(self) -> None:
        self.stop_at('POST web quiesce')
        self.check_stopped(0)

    def test_sigterm_while_servers_are_being_thawed(self) -> None:
        self.stop_at('POST web unquiesce')
        self.check_stopped(4)

    def test_sigterm_between_two_snapshots(self) -> None:
        def snapshot(**body: Any) -> SimpleNamespace:
            self.stop.note(signal.SIGTERM, None)
            return self.snapshot(**body)

        self.storage.create_snapshot.side_effect = snapshot
        self.check_stopped(1)

    def test_sigterm_while_snapshots_are_made(self) -> None:
        self.storage.wait_for_status.side_effect = (
            lambda *args, **options: self.stop.note(signal.SIGTERM, None))
        self.check_stopped(4)
