# SPDX-License-Identifier: Apache-2.0

"""What a Nova with nova_quiesce answers, the real one and that of unit tests.

Each test runs against both, so that the fake one cannot drift away.
"""

from __future__ import annotations

from typing import Any
import uuid

from osc_quiesce import api
from osc_quiesce import exceptions


class Contract:
    """Tests of a Nova, to be mixed into a test case.

    :ivar api: of this Nova, for an administrator
    """

    api: api.QuiesceAPI

    # Those of unittest; the others are for the subclass to give.
    assertEqual: Any
    assertIn: Any
    assertIsNone: Any
    assertRaises: Any

    def new_server(self, seconds: int = 0) -> str:
        """Return an active server whose guest takes so long to freeze."""
        raise NotImplementedError

    def wait_until(self, server_id: str, vm_state: str) -> None:
        """Wait until a server has this vm_state and no task_state."""
        raise NotImplementedError

    def states_of(self, server_id: str) -> tuple[str, str | None]:
        """Return vm_state and task_state of a server."""
        server = self.api.server(server_id)
        return server['OS-EXT-STS:vm_state'], server['OS-EXT-STS:task_state']

    def test_a_request_that_is_repeated_freezes_once(self) -> None:
        server, request = self.new_server(), api.new_request_id()
        self.api.quiesce(server, request)
        self.api.quiesce(server, request)
        self.wait_until(server, 'quiesced')
        self.api.quiesce(server, request)
        self.assertEqual(('quiesced', None), self.states_of(server))
        self.assertEqual('Success', self.api.result(server, request).result)
        [freeze] = self.api.freezes([server, str(uuid.uuid4())])
        self.assertEqual(
            (server, request, 'frozen', None),
            (freeze.server_id, freeze.request_id, freeze.state, freeze.error),
        )
        with self.assertRaises(exceptions.Conflict):
            self.api.quiesce(server, api.new_request_id())

    def test_a_freeze_ends_once_and_only_by_its_request(self) -> None:
        server, request = self.new_server(), api.new_request_id()
        self.api.quiesce(server, request)
        self.wait_until(server, 'quiesced')
        other = self.api.unquiesce(server, api.new_request_id())
        self.assertEqual('withdrawn', other.state)
        self.assertEqual(('quiesced', None), self.states_of(server))
        thaw = self.api.unquiesce(server, request)
        self.assertIsNone(thaw.state)
        self.wait_until(server, 'active')
        self.assertEqual(
            'Success', self.api.result(server, str(thaw.request_id)).result
        )
        self.assertEqual('ended', self.api.unquiesce(server, request).state)
        self.assertEqual([], self.api.freezes([server]))
        with self.assertRaises(exceptions.Conflict):
            self.api.quiesce(server, request)
        with self.assertRaises(exceptions.Conflict):
            self.api.unquiesce(server)

    def test_a_request_that_is_withdrawn_never_freezes(self) -> None:
        server, request = self.new_server(), api.new_request_id()
        self.assertEqual(
            'withdrawn', self.api.unquiesce(server, request).state
        )
        with self.assertRaises(exceptions.Conflict):
            self.api.quiesce(server, request)
        self.assertEqual(('active', None), self.states_of(server))

    def test_a_freeze_under_way_is_given_up(self) -> None:
        server, request = self.new_server(seconds=2), api.new_request_id()
        self.api.quiesce(server, request)
        self.assertEqual(('active', 'quiescing'), self.states_of(server))
        self.assertIsNone(self.api.unquiesce(server, request).state)
        self.wait_until(server, 'active')
        result = self.api.result(server, request)
        self.assertEqual('Error', result.result)
        self.assertIn('withdrawn', str(result.reason))

    def test_a_deadline_ends_a_freeze(self) -> None:
        server, request = self.new_server(), api.new_request_id()
        self.api.quiesce(server, request, unquiesce_after=3)
        self.wait_until(server, 'quiesced')
        self.wait_until(server, 'active')
        self.assertEqual('ended', self.api.unquiesce(server, request).state)

    def test_a_server_that_is_not_there(self) -> None:
        server, request = str(uuid.uuid4()), api.new_request_id()
        for call in (
            lambda: self.api.quiesce(server, request),
            lambda: self.api.unquiesce(server),
            lambda: self.api.unquiesce(server, request),
            lambda: self.api.server(server),
        ):
            with self.assertRaises(exceptions.ServerNotFound):
                call()
