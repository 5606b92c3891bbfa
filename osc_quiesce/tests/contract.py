# SPDX-License-Identifier: Apache-2.0

"""What a Nova with nova_quiesce answers, the real one and that of unit tests.

Each test runs against both, so that the fake one cannot drift away.
"""

from __future__ import annotations

from typing import Any
import uuid

from osc_quiesce import api as quiesce_api
from osc_quiesce import errors
from osc_quiesce import model


class Contract:
    """Tests of a Nova, to be mixed into a test case.

    :ivar api: of this Nova, for an administrator
    """

    api: quiesce_api.QuiesceAPI

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
        server = self.api.server(model.Server(server_id))
        return str(server.vm_state), server.task_state

    def _new(self, seconds: int = 0) -> tuple[model.Server, str]:
        """Return an active server, and a request that it has not had."""
        return model.Server(self.new_server(seconds)), model.new_request_id()

    def test_a_request_that_is_repeated_freezes_once(self) -> None:
        server, request = self._new()
        self.api.quiesce(server, request)
        self.api.quiesce(server, request)
        self.wait_until(server.id, 'quiesced')
        self.api.quiesce(server, request)
        self.assertEqual(('quiesced', None), self.states_of(server.id))
        self.assertEqual('Success', self.api.result(server, request).result)
        ids = [server.id, str(uuid.uuid4())]
        for wanted in None, request:
            [freeze] = self.api.freezes(ids, request_id=wanted)
            self.assertEqual(
                (server.id, request, 'frozen', None),
                (
                    freeze.server_id,
                    freeze.request_id,
                    freeze.state,
                    freeze.error,
                ),
            )
        self.assertRaises(
            errors.Conflict, self.api.quiesce, server, model.new_request_id()
        )

    def test_a_freeze_ends_once_and_only_by_its_request(self) -> None:
        server, request = self._new()
        self.api.quiesce(server, request)
        self.wait_until(server.id, 'quiesced')
        other_request = model.new_request_id()
        other = self.api.unquiesce(server, other_request)
        self.assertEqual('withdrawn', other.state)
        self.assertEqual(('quiesced', None), self.states_of(server.id))
        thaw = self.api.unquiesce(server, request)
        self.assertIsNone(thaw.state)
        self.wait_until(server.id, 'active')
        self.assertEqual(
            'Success', self.api.result(server, str(thaw.request_id)).result
        )
        self.assertEqual('ended', self.api.unquiesce(server, request).state)
        self.assertEqual([], self.api.freezes([server.id]))
        [freeze] = self.api.freezes([server.id], request_id=request)
        self.assertEqual(
            (server.id, request, 'thawed'),
            (freeze.server_id, freeze.request_id, freeze.state),
        )
        self.assertEqual([], self.api.freezes(request_id=other_request))
        self.assertRaises(errors.Conflict, self.api.quiesce, server, request)
        self.assertRaises(errors.Conflict, self.api.unquiesce, server)

    def test_a_request_that_is_withdrawn_never_freezes(self) -> None:
        server, request = self._new()
        self.assertEqual(
            'withdrawn', self.api.unquiesce(server, request).state
        )
        self.assertRaises(errors.Conflict, self.api.quiesce, server, request)
        self.assertEqual(('active', None), self.states_of(server.id))

    def test_a_freeze_under_way_is_given_up(self) -> None:
        server, request = self._new(seconds=2)
        self.api.quiesce(server, request)
        self.assertEqual(('active', 'quiescing'), self.states_of(server.id))
        self.assertIsNone(self.api.unquiesce(server, request).state)
        self.wait_until(server.id, 'active')
        result = self.api.result(server, request)
        self.assertEqual('Error', result.result)
        self.assertIn('withdrawn', str(result.reason))

    def test_a_deadline_ends_a_freeze(self) -> None:
        server, request = self._new()
        self.api.quiesce(server, request, unquiesce_after=3)
        self.wait_until(server.id, 'quiesced')
        self.wait_until(server.id, 'active')
        self.assertEqual('ended', self.api.unquiesce(server, request).state)

    def test_a_server_that_is_not_there(self) -> None:
        server = model.Server(str(uuid.uuid4()))
        request = model.new_request_id()
        for call in (
            lambda: self.api.quiesce(server, request),
            lambda: self.api.unquiesce(server),
            lambda: self.api.unquiesce(server, request),
            lambda: self.api.server(server),
        ):
            self.assertRaises(errors.ServerNotFound, call)
