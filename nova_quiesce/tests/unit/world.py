# SPDX-License-Identifier: Apache-2.0

"""A small cloud in one thread: real databases, and all else by hand.

Nova's objects and our SQL work on two SQLite databases in memory.  Messages to
nova-quiesce wait in a list until a test delivers them, the guest is a model,
threads are calls, and all clocks stand until a test lets time pass.
"""

import contextlib
import datetime
import functools
import unittest
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import sqlalchemy as sa
from nova import context as nova_context
from nova import objects
from nova.compute import power_state
from nova.compute import utils as compute_utils
from nova.db.main import models
from nova.notifications import base as notifications
from oslo_db.sqlalchemy import enginefacade
from oslo_utils import fixture
from oslo_utils import uuidutils

from nova_quiesce import actions
from nova_quiesce import api
from nova_quiesce import exceptions
from nova_quiesce import guest
from nova_quiesce import manager
from nova_quiesce import rpcapi
from nova_quiesce import schema
from nova_quiesce import store
from nova_quiesce import times

CONF = manager.CONF
START = datetime.datetime(2026, 11, 23, 3, 0, 0)
EPOCH = START.replace(tzinfo=datetime.UTC).timestamp()
CELL = mock.Mock(uuid=uuidutils.generate_uuid(), is_cell0=lambda: False)
CELL.name = 'cell1'
#: what julianday() rounds to, with something to spare
MOMENT = 0.001


class Killed(BaseException):
    """The service that is at work dies here."""


class Clock:
    """The clock of the database that holds the table of freezes.

    SQLite asks it instead of the machine: so the statements are the real ones.
    """

    def __init__(self) -> None:
        self.now = EPOCH

    def connect(self, connection: Any, record: object) -> None:
        connection.create_function(
            'julianday', 1, lambda _what: self.now / 86400.0 + 2440587.5)


CLOCK = Clock()


class Bus:
    """Keeps messages until they are delivered.

    :ivar down: whether messages cannot be sent
    """

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, str | None]] = []
        self.down = False

    def _cast(self, method: str, instance_uuid: str, host: str | None,
              ) -> None:
        if self.down:
            raise ConnectionError('the bus is down')
        self.messages.append((method, instance_uuid, host))

    def quiesce_instance(self, context: object, instance_uuid: str,
                         host: str | None) -> None:
        self._cast('quiesce_instance', instance_uuid, host)

    def unquiesce_instance(self, context: object, instance_uuid: str,
                           host: str | None) -> None:
        self._cast('unquiesce_instance', instance_uuid, host)


class Guest:
    """A guest and its nova-compute.

    :ivar on_freeze: called instead of freezing, once each
    :ivar on_thaw: called instead of thawing, once each; what they raise is
        the answer of :class:`nova_quiesce.guest.Guests`
    :ivar calls: which of both was called, with its time-out
    """

    def __init__(self) -> None:
        self.frozen = False
        self.unknown_answers = 0
        self.on_freeze: list[Callable[[], None]] = []
        self.on_thaw: list[Callable[[], None]] = []
        self.calls: list[tuple[str, float]] = []

    def freeze(self, context: Any, instance: Any, timeout: float) -> None:
        self.calls.append(('freeze', timeout))
        if self.on_freeze:
            self.on_freeze.pop(0)()
        else:
            self.frozen = True

    def thaw(self, context: Any, instance: Any, timeout: float) -> None:
        self.calls.append(('thaw', timeout))
        if self.on_thaw:
            self.on_thaw.pop(0)()
        else:
            self.frozen = False

    @property
    def names(self) -> list[str]:
        """What was called, in this order."""
        return [name for name, _timeout in self.calls]


class Notifier:
    """Sends notifications, or holds them up as their broker may.

    :cvar held: those that are held up; None if none is
    """

    held: list[Callable[[], None]] | None = None

    def __call__(self, send: Callable[[], None]) -> None:
        if self.held is None:
            send()
        else:
            self.held.append(send)

    def close(self, timeout: float) -> None:
        pass


class Executor:
    """One that does at once what it is given."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def submit(self, function: Callable[..., Any], *args: Any) -> None:
        function(*args)


def answer(error: Exception) -> Callable[[], None]:
    """Return something to put into a guest's lists that raises an error."""
    def give() -> None:
        raise error
    return give


def unknown() -> exceptions.GuestError:
    """Return what a freeze raises that nova-compute has not answered."""
    error = exceptions.QuiesceFailed(reason='no answer')
    error.may_follow = True
    return error


def not_thawed() -> exceptions.GuestError:
    """Return what a thaw raises that was not confirmed."""
    return exceptions.UnquiesceFailed(reason='the agent hangs')


def killed() -> None:
    """Let the service that is at work die."""
    raise Killed()


def _new_database(clock: Clock | None = None) -> Any:
    facade = enginefacade.transaction_context()
    facade.configure(connection='sqlite://', sqlite_fk=False)
    engine = facade.writer.get_engine()
    if clock is not None:
        sa.event.listen(engine, 'connect', clock.connect)
        engine.dispose()
    return facade


@functools.cache
def _databases() -> tuple[Any, Any]:
    cell, own = _new_database(), _new_database(CLOCK)
    models.BASE.metadata.create_all(cell.writer.get_engine())
    with mock.patch.object(schema, 'facade', lambda: own):
        schema.sync()
    return cell, own


def databases() -> tuple[Any, Any]:
    """Return an empty cell database, and an empty one of ours."""
    for facade, metadata in zip(
            _databases(), (models.BASE.metadata, schema.metadata)):
        with facade.writer.get_engine().begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
    return _databases()


class WorldTest(unittest.TestCase):
    """A test with one server, and services ``ctl1`` and ``ctl2``."""

    def setUp(self) -> None:
        self.time = fixture.TimeFixture(START)
        self.time.setUp()
        self.addCleanup(self.time.cleanUp)
        #: seconds that have passed, whatever the clocks say
        self.passed = self.reported = 1000.0
        self.ticks = 0
        CLOCK.now = EPOCH
        self.cell_database, self.own_database = databases()
        self.bus = Bus()
        self.guest = Guest()
        #: what was notified: action and phase, or vm_state and task_state
        self.notified: list[tuple[str | None, str | None]] = []
        #: databases with a transaction open while something was notified
        self.notified_too_early: list[object] = []
        self.addCleanup(
            lambda: self.assertEqual([], self.notified_too_early))
        self.compute_hosts = {'cmp1'}
        self._patch_all()
        self.context = self._context()
        self.services: dict[str, manager.QuiesceManager] = {}
        self._add_compute_service('cmp1')
        for host in ('ctl1', 'ctl2'):
            self.restart(host)
        self.api = api.API()
        self.store = store.Store('test')
        self.uuid = self.boot()
        self.report()

    def _patch_all(self) -> None:
        self._patch(mock.patch('time.monotonic', lambda: self.passed))
        for target, name, new in (
                (schema, 'facade', lambda: self.own_database),
                (rpcapi, 'QuiesceAPI', lambda: self.bus),
                (guest, 'Guests', lambda: self.guest),
                (guest.ComputeAPI, 'open_bus', lambda _bus, context: True),
                (manager.futures, 'ThreadPoolExecutor', Executor),
                (manager.notifier, 'Notifier', Notifier),
                (nova_context, 'target_cell', self._target_cell),
                (nova_context, 'get_admin_context', self._context),
                (objects.CellMappingList, 'get_all', lambda context: [CELL]),
                (objects.CellMapping, 'get_by_uuid',
                 lambda context, uuid: CELL),
                (objects.InstanceMapping, 'get_by_instance_uuid',
                 lambda context, uuid: mock.Mock(cell_mapping=CELL)),
                (compute_utils, 'notify_about_instance_action',
                 self._notify_action),
                (notifications, 'send_update_with_states',
                 self._notify_states)):
            self._patch(mock.patch.object(target, name, new))
        self._patch(mock.patch('nova.rpc.get_notifier'))

    def _patch(self, patch: Any) -> Any:
        self.addCleanup(patch.stop)
        return patch.start()

    def set_option(self, name: str, value: object) -> None:
        """Set an option of ``[quiesce]`` for this test."""
        CONF.set_override(name, value, 'quiesce')
        self.addCleanup(CONF.clear_override, name, 'quiesce')

    # -- the cloud --------------------------------------------------------

    def _context(self) -> nova_context.RequestContext:
        context = nova_context.RequestContext(
            'user', 'project', is_admin=True, overwrite=False)
        context.db_connection = self.cell_database
        context.cell_uuid = CELL.uuid
        return context

    @contextlib.contextmanager
    def _target_cell(self, context: nova_context.RequestContext,
                     cell: object) -> Iterator[nova_context.RequestContext]:
        targeted = nova_context.RequestContext.from_dict(context.to_dict())
        targeted.db_connection = self.cell_database
        targeted.cell_uuid = CELL.uuid
        yield targeted

    def _notify_action(self, context: Any, instance: Any, host: str,
                       action: str, phase: str, **kwargs: Any) -> None:
        self._check_no_transaction()
        self.notified.append((action, phase))

    def _notify_states(self, context: Any, instance: Any, old_vm_state: str,
                       new_vm_state: str, old_task_state: str | None,
                       new_task_state: str | None, *args: Any,
                       **kwargs: Any) -> None:
        self._check_no_transaction()
        self.notified.append((new_vm_state, new_task_state))

    def _check_no_transaction(self) -> None:
        for facade in _databases():
            connection = facade.writer.get_engine().raw_connection()
            if connection.in_transaction:
                self.notified_too_early.append(connection)

    def _add_compute_service(self, host: str) -> None:
        with self.cell_database.writer.using(self.context) as session:
            session.add(models.Service(
                host=host, binary='nova-compute', topic='compute',
                report_count=1, disabled=False, version=1,
                last_seen_up=START, created_at=START))

    def boot(self, host: str = 'cmp1') -> str:
        """Create a server, and return its UUID."""
        uuid: str = uuidutils.generate_uuid()
        instance = objects.Instance(
            self.context, uuid=uuid, host=host, vm_state='active',
            task_state=None, power_state=power_state.RUNNING, locked=False,
            project_id='project', user_id='user', display_name='web',
            launched_at=START, metadata={}, system_metadata={'image_x': 'y'})
        instance.flavor = objects.Flavor(id=1, name='tiny', extra_specs={})
        instance.old_flavor = instance.new_flavor = None
        instance.create()
        return uuid

    def advance(self, seconds: float) -> None:
        """Let time pass, and a moment more; what is up reports."""
        seconds += MOMENT
        self.passed += seconds
        CLOCK.now += seconds
        self.time.advance_time_seconds(seconds)
        if self.passed > self.reported + 10:
            self.reported = self.passed
            self.report()

    def report(self) -> None:
        """Let all services that are up report."""
        service = models.Service.__table__
        with self.cell_database.writer.get_engine().begin() as connection:
            connection.execute(service.update().where(
                service.c.host.in_(self.compute_hosts)).values(
                    last_seen_up=times.as_datetime(CLOCK.now)))
        for each in self.services.values():
            each.store.report(each._report)

    def restart(self, host: str) -> None:
        """Start a service, with nothing in its memory."""
        self.services[host] = manager.QuiesceManager(host=host)

    # -- what users and services do ---------------------------------------

    def instance_of(self, uuid: str) -> objects.Instance:
        """Return a server as it is in the database."""
        return objects.Instance.get_by_uuid(
            self._context(), uuid,
            expected_attrs=['system_metadata', 'metadata', 'flavor'])

    @property
    def instance(self) -> objects.Instance:
        """The server as it is in the database."""
        return self.instance_of(self.uuid)

    @property
    def row(self) -> store.Freeze | None:
        """The server's row in the table of freezes."""
        return self.store.get(self.uuid)

    @property
    def row_state(self) -> str | None:
        """The state of its row."""
        return self.row.state if self.row else None

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

    def set_row(self, **columns: Any) -> None:
        """Change its row, as nobody would."""
        with self.own_database.writer.get_engine().begin() as connection:
            connection.execute(schema.FREEZES.update().where(
                schema.FREEZES.c.instance_uuid == self.uuid).values(**columns))

    def quiesce(self, unquiesce_after: int = 0,
                request_id: str | None = None) -> str:
        """Ask to quiesce, and return the request id."""
        context = self._context()
        self.api.quiesce(context, self.instance, unquiesce_after, request_id)
        return str(request_id or context.request_id)

    def freeze(self, unquiesce_after: int = 0) -> str:
        """Have the server quiesced, and return the request id."""
        request_id = self.quiesce(unquiesce_after, new_id())
        self.deliver()
        self.assertEqual(('quiesced', None), self.states)
        return request_id

    def unquiesce(self) -> str:
        """Ask to unquiesce, and return the request id."""
        context = self._context()
        self.api.unquiesce(context, self.instance)
        return str(context.request_id)

    def unquiesce_request(self, request_id: str,
                          ) -> tuple[str, dict[str, str] | None]:
        """Ask to unquiesce by request; return the own id, and the answer."""
        context = self._context()
        found = self.api.unquiesce_request(context, self.instance, request_id)
        return str(context.request_id), found

    def deliver(self, host: str = 'ctl1', keep: bool = False) -> None:
        """Let a service carry the oldest message out.

        :param keep: whether the message is delivered a second time later
        """
        method, uuid, host_of_server = self.bus.messages[0]
        if not keep:
            del self.bus.messages[0]
        with self._mortal(host):
            getattr(self.services[host], method)(
                self._context(), uuid, host_of_server)

    def deliver_all(self, host: str = 'ctl1') -> None:
        """Let a service carry out all messages."""
        while self.bus.messages:
            self.deliver(host)

    def tick(self, host: str = 'ctl1') -> None:
        """Let a service take all rows that are due."""
        with self._mortal(host):
            self.services[host]._tick(self._context())

    def sweep(self, host: str = 'ctl1') -> None:
        """Let a service look for what Nova has done without a word."""
        self.services[host]._sweep(self._context())

    def live(self, seconds: float) -> None:
        """Let time pass, and the services that are up do what is due."""
        end = CLOCK.now + seconds
        while CLOCK.now < end:
            self.advance(1)
            self.ticks += 1
            for host in list(self.services):
                if self.ticks % CONF.quiesce.sweep_interval == 1:
                    self.sweep(host)
                if self.store.due(1):
                    self.tick(host)

    @contextlib.contextmanager
    def _mortal(self, host: str) -> Iterator[None]:
        try:
            yield
        except Killed:
            del self.services[host]

    # -- what came of it --------------------------------------------------

    def faults(self) -> list[str]:
        """Return the messages of the server's faults."""
        return [fault.message for fault in
                objects.InstanceFaultList.get_by_instance_uuids(
                    self._context(), [self.uuid])]

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
                if row.event != actions.DEADLINE]))
        return found[::-1]

    def deadlines(self) -> list[tuple[datetime.datetime, datetime.datetime]]:
        """Return start and finish of the events that tell a deadline."""
        context = self._context()
        return [
            (row.start_time.replace(tzinfo=None),
             row.finish_time.replace(tzinfo=None))
            for action in objects.InstanceActionList.get_by_instance_uuid(
                context, self.uuid)
            for row in objects.InstanceActionEventList.get_by_action(
                context, action.id) if row.event == actions.DEADLINE]

    def event_of(self, request_id: str) -> tuple[str | None, ...]:
        """Return result, details and host of a request's one event."""
        [found] = [each for each in self.actions() if each[0] == request_id]
        [event] = found[2]
        return event

    def result_of(self, request_id: str) -> str | None:
        """Return the result of a request."""
        return self.event_of(request_id)[0]

    def check_at_rest(self, vm_state: str, frozen: bool = False) -> None:
        """Assert that nothing is under way, and every request has ended.

        :param frozen: whether the guest is, and has a row
        """
        self.assertEqual((vm_state, None), self.states)
        self.assertEqual(frozen, self.guest.frozen)
        self.assertEqual(store.State.FROZEN if frozen else None,
                         self.row_state)
        for request_id, name, found in self.actions():
            self.assertEqual(1, len(found), (request_id, name, found))
            self.assertIn(found[0][0], ('Success', 'Error'), (name, found))
        for service in self.services.values():
            self.assertEqual(
                0, service.freezes.used + service.thaws.used)
            for pool in (service.freezes, service.thaws):
                self.assertEqual(0, pool._running.total())
                self.assertEqual([], pool.busy)
        self.assertEqual({'image_x': 'y'}, self.instance.system_metadata)


def new_id() -> str:
    """Return an id of a request, as a client would choose it."""
    return 'req-' + str(uuidutils.generate_uuid())
