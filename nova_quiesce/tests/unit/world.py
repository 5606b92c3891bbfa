# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""A small cloud in one thread: a real cell database, and all else by hand.

Nova's objects and our SQL work on an SQLite database in memory.  Messages to
nova-quiesce wait in a list until a test delivers them, the guest is a model,
and the clock moves when it is told to.
"""

import contextlib
import datetime
import functools
import threading
import unittest
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from nova import context as nova_context
from nova import objects
from nova.compute import power_state
from nova.db.main import models
from oslo_db.sqlalchemy import enginefacade
from oslo_utils import fixture
from oslo_utils import uuidutils

from nova_quiesce import api
from nova_quiesce import conf
from nova_quiesce import events
from nova_quiesce import manager
from nova_quiesce import marks
from nova_quiesce import requests
from nova_quiesce import rpcapi

CONF = manager.CONF
START = datetime.datetime(2026, 11, 23, 3, 0, 0)
CELL = mock.Mock(uuid=uuidutils.generate_uuid(), is_cell0=lambda: False)
CELL.name = 'cell1'


class Killed(BaseException):
    """The service that is at work dies here."""


class Bus:
    """Keeps messages until they are delivered.

    :ivar down: whether messages cannot be sent
    """

    def __init__(self) -> None:
        self.messages: list[tuple[dict[str, Any], str, dict[str, Any]]] = []
        self.down = False

    def _cast(self, context: nova_context.RequestContext, method: str,
              **kwargs: Any) -> None:
        if self.down:
            raise ConnectionError('the bus is down')
        self.messages.append((context.to_dict(), method, kwargs))

    def quiesce_instance(self, context: nova_context.RequestContext,
                         instance_uuid: str) -> None:
        self._cast(context, 'quiesce_instance', instance_uuid=instance_uuid)

    def unquiesce_instance(self, context: nova_context.RequestContext,
                           instance_uuid: str, reason: str | None = None,
                           ) -> None:
        self._cast(context, 'unquiesce_instance',
                   instance_uuid=instance_uuid, reason=reason)


class Guest:
    """A guest and its nova-compute.

    :ivar on_freeze: called instead of freezing, once each
    :ivar on_thaw: called instead of thawing, once each; what they raise is
        the answer of :class:`nova_quiesce.guest.Guests`
    """

    def __init__(self) -> None:
        self.frozen = False
        self.on_freeze: list[Callable[[], None]] = []
        self.on_thaw: list[Callable[[], None]] = []
        self.timeouts: list[float] = []

    def freeze(self, context: Any, instance: Any, timeout: float) -> None:
        self.timeouts.append(timeout)
        if self.on_freeze:
            self.on_freeze.pop(0)()
        else:
            self.frozen = True

    def thaw(self, context: Any, instance: Any, timeout: float) -> None:
        self.timeouts.append(timeout)
        if self.on_thaw:
            self.on_thaw.pop(0)()
        else:
            self.frozen = False


def answer(error: Exception) -> Callable[[], None]:
    """Return something to put into a guest's lists that raises an error."""
    def give() -> None:
        raise error
    return give


def killed() -> None:
    """Let the service that is at work die."""
    raise Killed()


@functools.cache
def _one_database() -> Any:
    facade = enginefacade.transaction_context()
    facade.configure(connection='sqlite://', sqlite_fk=False)
    models.BASE.metadata.create_all(facade.writer.get_engine())
    return facade


def database() -> Any:
    """Return an empty cell database; there is one for all tests."""
    facade = _one_database()
    with facade.writer.get_engine().begin() as connection:
        for table in reversed(models.BASE.metadata.sorted_tables):
            connection.execute(table.delete())
    return facade


class PatientThread(threading.Thread):
    """One whose end is waited for, however busy the machine is.

    The database of a test has no second thread.
    """

    def join(self, timeout: float | None = None) -> None:
        super().join()


class WorldTest(unittest.TestCase):
    """A test with one server, and services ``ctl1`` and ``ctl2``."""

    def setUp(self) -> None:
        conf.register_opts(CONF)
        self.time = fixture.TimeFixture(START)
        self.time.setUp()
        self.addCleanup(self.time.cleanUp)
        #: seconds that have passed, whatever the clock says
        self.passed = 0.0
        self._patch(mock.patch('time.monotonic', lambda: self.passed))
        self.facade = database()
        self.bus = Bus()
        self.guest = Guest()
        for target, name, new in (
                (rpcapi, 'QuiesceAPI', lambda: self.bus),
                (manager.guest, 'Guests', lambda: self.guest),
                (nova_context, 'target_cell', self._target_cell),
                (nova_context, 'scatter_gather_cells', self._ask_cells),
                (objects.CellMappingList, 'get_all', lambda context: [CELL]),
                (objects.InstanceMapping, 'get_by_instance_uuid',
                 lambda context, uuid: mock.Mock(cell_mapping=CELL))):
            self._patch(mock.patch.object(target, name, new))
        self._patch(mock.patch('nova.rpc.get_notifier'))
        self.context = self._context()
        self.services: dict[str, manager.QuiesceManager] = {}
        self.up = {'ctl1', 'ctl2'}
        for host in sorted(self.up):
            self._add_service_record(host)
            self.restart(host)
        self.api = api.API()
        self.requests = requests.Requests()
        self.uuid = self._boot()

    def _patch(self, patch: Any) -> None:
        patch.start()
        self.addCleanup(patch.stop)

    # -- the cloud --------------------------------------------------------

    def _context(self) -> nova_context.RequestContext:
        context = nova_context.RequestContext(
            'user', 'project', is_admin=True, overwrite=False)
        context.db_connection = self.facade
        return context

    @contextlib.contextmanager
    def _target_cell(self, context: nova_context.RequestContext,
                     cell: object) -> Iterator[nova_context.RequestContext]:
        targeted = nova_context.RequestContext.from_dict(context.to_dict())
        targeted.db_connection = self.facade
        yield targeted

    def _ask_cells(self, context: nova_context.RequestContext, cells: Any,
                   timeout: float, function: Any) -> dict[str, Any]:
        with self._target_cell(context, CELL) as targeted:
            return {CELL.uuid: function(targeted)} if cells else {}

    def _add_service_record(self, host: str) -> None:
        with self.facade.writer.using(self.context) as session:
            session.add(models.Service(
                host=host, binary=rpcapi.BINARY, topic=rpcapi.TOPIC,
                report_count=1, disabled=False, version=1,
                last_seen_up=START, created_at=START))

    def _boot(self) -> str:
        uuid: str = uuidutils.generate_uuid()
        instance = objects.Instance(
            self.context, uuid=uuid, host='cmp1', vm_state='active',
            task_state=None, power_state=power_state.RUNNING, locked=False,
            project_id='project', user_id='user', display_name='web',
            launched_at=START, metadata={}, system_metadata={'image_x': 'y'})
        instance.flavor = objects.Flavor(id=1, name='tiny', extra_specs={})
        instance.old_flavor = instance.new_flavor = None
        instance.create()
        return uuid

    def advance(self, seconds: float) -> None:
        """Let time pass; services that are up report."""
        self.passed += seconds
        self.set_clock(seconds)

    def set_clock(self, seconds: float) -> None:
        """Set the clock forward, or back, while no time passes."""
        self.time.advance_time_seconds(seconds)
        with self.facade.writer.using(self.context) as session:
            for service in session.query(models.Service).filter(
                    models.Service.host.in_(self.up)):
                service.last_seen_up = manager.clock.as_datetime(
                    manager.clock.now())

    def restart(self, host: str) -> None:
        """Start a service, with nothing in its memory."""
        self.services[host] = manager.QuiesceManager(host=host)
        self.up.add(host)

    # -- what users and services do ---------------------------------------

    @property
    def instance(self) -> objects.Instance:
        """The server as it is in the database."""
        return objects.Instance.get_by_uuid(
            self.context, self.uuid,
            expected_attrs=['system_metadata', 'metadata', 'flavor'])

    @property
    def mark(self) -> marks.Mark | None:
        """The server's mark in the database."""
        return marks.get(self.instance)

    @property
    def states(self) -> tuple[str, str | None]:
        """The server's vm_state and task_state in the database."""
        instance = self.instance
        return instance.vm_state, instance.task_state

    def set(self, **columns: Any) -> None:
        """Change the server as somebody else would."""
        instance = self.instance
        for column, value in columns.items():
            setattr(instance, column, value)
        instance.save()

    def quiesce(self, unquiesce_after: int = 0) -> str:
        """Ask to quiesce, and return the request id."""
        self.context = self._context()
        self.api.quiesce(self.context, self.instance, unquiesce_after)
        return str(self.context.request_id)

    def unquiesce(self) -> str:
        """Ask to unquiesce, and return the request id."""
        self.context = self._context()
        self.api.unquiesce(self.context, self.instance)
        return str(self.context.request_id)

    def reset(self, vm_state: str = 'active') -> None:
        """Do what os-resetState does, with our part of it."""
        before = self.instance
        self.set(vm_state=vm_state, task_state=None)
        self.api.thaw_after_reset(self._context(), self.instance, before)

    def deliver(self, host: str = 'ctl1', keep: bool = False) -> None:
        """Let a service carry the oldest message out.

        It may die of it.

        :param keep: whether the message is delivered a second time later
        """
        message = self.bus.messages[0]
        if not keep:
            del self.bus.messages[0]
        told, method, kwargs = message
        context = nova_context.RequestContext.from_dict(told)
        try:
            getattr(self.services[host], method)(context, **kwargs)
        except Killed:
            del self.services[host]
            self.up.discard(host)

    def deliver_all(self, host: str = 'ctl1') -> None:
        """Let a service carry out all messages, and what they lead to."""
        while self.bus.messages:
            self.deliver(host)

    def sweep(self, host: str = 'ctl1') -> None:
        """Let a service look for guests that have to be thawed."""
        self.services[host].sweep.run(nova_context.get_admin_context())

    # -- what came of it --------------------------------------------------

    def faults(self) -> int:
        """Return how many faults of the server were recorded."""
        return len(objects.InstanceFaultList.get_by_instance_uuids(
            self._context(), [self.uuid]))

    def actions(self) -> list[tuple[str, str, list[Any]]]:
        """Return request id, name, and events of each action, oldest first.

        Of each event: result, details, host.
        """
        context = self._context()
        found: list[tuple[str, str, list[Any]]] = []
        for action in objects.InstanceActionList.get_by_instance_uuid(
                context, self.uuid):
            rows = objects.InstanceActionEventList.get_by_action(
                context, action.id)
            found.append((action.request_id, action.action, [
                (row.result, row.details, row.host) for row in rows
                if not row.event.startswith(events.UNTIL)]))
        return found[::-1]

    def event_of(self, request_id: str) -> tuple[str | None, ...]:
        """Return result, details and host of a request's one event."""
        [found] = [each for each in self.actions() if each[0] == request_id]
        [event] = found[2]
        return event

    def check_at_rest(self, vm_state: str, marked: bool) -> None:
        """Assert that nothing is under way, and every request has ended."""
        self.assertEqual((vm_state, None), self.states)
        self.assertEqual(marked, self.mark is not None)
        for request_id, name, found in self.actions():
            self.assertEqual(1, len(found), (request_id, name, found))
            self.assertIn(found[0][0], ('Success', 'Error'))
        self.assertEqual({'image_x': 'y'}, {
            key: value for key, value
            in self.instance.system_metadata.items() if key != marks.KEY})
