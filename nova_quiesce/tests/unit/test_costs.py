# SPDX-License-Identifier: Apache-2.0

"""How many statements and commits a request costs, and Nova's own one."""

import collections
import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import sqlalchemy as sa
from nova import objects
from nova.compute import api as compute

from nova_quiesce.tests.unit import world


class CostTest(world.WorldTest):

    def setUp(self) -> None:
        super().setUp()
        # What is looked up once in a while, or once for ever.
        self.freeze()
        self.unquiesce()
        self.deliver()

    @contextlib.contextmanager
    def counted(self) -> Iterator[collections.Counter[str]]:
        """Count statements and commits, in both databases."""
        found: collections.Counter[str] = collections.Counter()

        def count_statement(*args: Any) -> None:
            found[args[2].partition(' ')[0]] += 1

        def count_commit(_connection: Any) -> None:
            found['COMMIT'] += 1

        listeners = [
            (facade.writer.get_engine(), event, count)
            for facade in (self.cell_database, self.own_database)
            for event, count in (('before_cursor_execute', count_statement),
                                 ('commit', count_commit))]
        for listener in listeners:
            sa.event.listen(*listener)
        try:
            yield found
        finally:
            for listener in listeners:
                sa.event.remove(*listener)
            del found['BEGIN']    # of SQLite only

    def cost_of_nova(self, name: str, vm_state: str) -> dict[str, int]:
        """Return what an action of Nova's own costs in nova-api."""
        self.set(vm_state=vm_state, task_state=None)
        nova = object.__new__(compute.API)
        nova.compute_rpcapi = mock.Mock()
        instance = objects.Instance.get_by_uuid(self._context(), self.uuid)
        with self.counted() as found:
            getattr(nova, name)(self._context(), instance)
        self.set(vm_state='active', task_state=None)
        return dict(found)


class TestUntilAccepted(CostTest):
    """The row is one transaction, the state and the action are another."""

    def test_quiesce(self) -> None:
        context, instance = self._context(), self.instance
        with self.counted() as found:
            self.api.quiesce(context, instance, 0, world.new_id())
        self.assertEqual({'INSERT': 3, 'UPDATE': 1, 'COMMIT': 2}, found)

    def test_unquiesce(self) -> None:
        self.freeze()
        context, instance = self._context(), self.instance
        with self.counted() as found:
            self.api.unquiesce(context, instance)
        self.assertEqual({'INSERT': 1, 'UPDATE': 2, 'COMMIT': 2}, found)

    def test_unquiesce_of_a_request(self) -> None:
        request_id = self.freeze()
        context, instance = self._context(), self.instance
        with self.counted() as found:
            self.api.unquiesce_request(context, instance, request_id)
        self.assertEqual({'INSERT': 1, 'UPDATE': 2, 'COMMIT': 2}, found)

    def test_nova_itself_costs_no_less(self) -> None:
        for name, vm_state in ('pause', 'active'), ('unpause', 'paused'):
            found = self.cost_of_nova(name, vm_state)
            with self.subTest(name):
                self.assertEqual((1, 1, 2), (
                    found['INSERT'], found['UPDATE'], found['COMMIT']))
                self.assertGreaterEqual(found['SELECT'], 2)


class TestUntilDone(CostTest):

    def test_quiesce(self) -> None:
        self.quiesce(unquiesce_after=60)
        with self.counted() as found:
            self.deliver()
        self.assertEqual(('quiesced', None), self.states)
        self.assertEqual(
            {'SELECT': 11, 'UPDATE': 7, 'INSERT': 2, 'COMMIT': 6}, found)

    def test_unquiesce(self) -> None:
        self.freeze()
        self.unquiesce()
        with self.counted() as found:
            self.deliver()
        self.assertEqual(('active', None), self.states)
        self.assertEqual({'SELECT': 12, 'UPDATE': 6, 'INSERT': 1, 'DELETE': 1,
                          'COMMIT': 5}, found)
