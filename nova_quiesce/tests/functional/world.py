# SPDX-License-Identifier: Apache-2.0

"""A cloud of one server, in which everything happens when a test says so.

Real are nova-api's application with our requests in it, Nova's objects and
databases (SQLite), the table of freezes, and any number of our services.  In
the hands of the test are the hints, time, the clock of the database and that
of the hosts, the guest, each commit, and each step of each service and of each
nova-api: it can be stopped between any two of its steps, go on later, or
never.
"""

import collections
import contextlib
import dataclasses
import datetime
import functools
import json
import logging
import math
import os
import shutil
import sqlite3
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import sqlalchemy as sa
import webob
from nova import config as nova_config
from nova import context as nova_context
from nova import exception
from nova import objects
from nova import rpc
from nova import servicegroup
from nova.compute import power_state
from nova.compute import utils as compute_utils
from nova.conf import CONF
from nova.db import migration
from nova.db.api import api as api_database
from nova.db.main import api as main_database
from nova.db.main import models
from nova.notifications import base as notifications
from oslo_db import exception as db_exception
from oslo_messaging import exceptions as messaging_exceptions
from oslo_utils import timeutils
from sqlalchemy.engine import default

from nova_quiesce import cells
from nova_quiesce import controllers
from nova_quiesce import db
from nova_quiesce import guest as guests
from nova_quiesce import manager
from nova_quiesce import notifier
from nova_quiesce import rpcapi
from nova_quiesce import schema
from nova_quiesce import states
from nova_quiesce import store
from nova_quiesce import times

START = datetime.datetime(2026, 1, 1)
#: what the database's clock tells then: not what those of the hosts tell
DATABASE_START = 1.5e9
OPERATION_TIMEOUT = 12
#: what can become of a freeze, and of a thaw
FREEZES = ('works', 'is refused', 'is lost on the bus',
           'is held up on the bus', 'is held up in nova-compute',
           'works, the answer is lost', 'works, and says that it failed')
#: the guest has ended the freeze itself, before the thaw
TOO_LATE = 'comes too late, and '
THAWS = ('works', 'fails', 'is lost on the bus', 'is held up on the bus',
         'works, the answer is lost', TOO_LATE + 'works',
         TOO_LATE + 'works, the answer is lost')
#: what can become of a commit
DEADLOCK, NOT_DONE, DONE = 'deadlock', 'lost, not done', 'lost, done'
#: its statement has waited for a lock, after it had read the clock
LATE = 'late'
COMMITS = (DEADLOCK, NOT_DONE, DONE, LATE)
#: what can become of the cell's database
CELLS = ('works', 'hangs', 'raises')
HOST = 'compute1'
PROJECT, USER = 'p' * 32, 'u' * 32

#: Why stories were left out, and how many: what is excluded is told.
EXCLUDED: collections.Counter[str] = collections.Counter()
#: What happened in all stories: to see that they come to something.
SEEN: collections.Counter[str] = collections.Counter()


class Bus:
    """The message bus: keeps every hint until the test delivers it."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def cast(self, context: nova_context.RequestContext, method: str,
             instance_uuid: str, host: str | None) -> None:
        """Take the place of oslo.messaging's client."""
        self.messages.append(instance_uuid)


class Ended(BaseException):
    """Ends the thread of a service that has died long ago."""


class Job:
    """Something that a service or a nova-api does, step by step.

    It runs in a thread of its own until its next stop, and never at the same
    time as the test.

    :ivar faulted: whether something was made to fail in it
    :ivar lease_end: until when it owns a row, by the database's clock
    :ivar reclaimed: whether it has put a freeze right that it had sent too
        late
    """

    _current = threading.local()

    def __init__(self, world: 'World', function: Callable[[], object]) -> None:
        self.world = world
        self._function = function
        world.jobs += 1
        self.number = world.jobs
        self._steps = 0
        self._go = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)
        self._dead = False
        self.inside = False
        #: what the next step is
        self.next = ''
        self.done = False
        self.faulted = False
        self.lease_end = math.inf
        self.reclaimed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @classmethod
    def current(cls) -> 'Job | None':
        """Return the job whose thread this is."""
        return getattr(cls._current, 'job', None)

    def _run(self) -> None:
        self._go.acquire()
        Job._current.job = self
        try:
            if not self._dead:
                self._function()
        except Ended:
            pass
        except Exception as error:
            if not self.faulted:
                self.world.violate('unexpected %r' % error, error)
        finally:
            self.done = True
            self._stopped.release()

    def go(self, steps: int | None = None) -> None:
        """Go on for so many steps, or to the end."""
        assert not self.done
        self._steps = -1 if steps is None else steps
        self._go.release()
        self._stopped.acquire()
        self.world.raise_violation()

    def go_before(self, name: str) -> None:
        """Go on until the next step is this one."""
        self.go(0)
        while self.next != name:
            assert not self.done, 'it has no step %s' % name
            self.go(1)

    def end(self) -> None:
        """Get rid of the thread, at the very end of a test."""
        if not self.done:
            self._dead = True
            self._go.release()
            self._stopped.acquire()
        self._thread.join()

    def _stop(self) -> None:
        self._stopped.release()
        self._go.acquire()

    def step(self, name: str, in_cell: bool = False) -> None:
        """Mark the place between two steps.

        :param name: of the one that follows
        :param in_cell: whether it is one in the cell's database
        """
        if self._dead:
            raise Ended()
        self.next = name
        self.world.look()
        if self._steps == 0:
            self._stop()
        while in_cell and self.world.cell == 'hangs' and not self._dead:
            self._stop()
        if self._dead:
            raise Ended()
        if self._steps > 0:
            self._steps -= 1
        if in_cell and self.world.cell == 'raises':
            self.faulted = True
            raise db_exception.DBConnectionError()


def _before(name: str, in_cell: bool) -> Job | None:
    """Stop before something that nobody else can see the middle of."""
    job = Job.current()
    if job is None or job.inside:
        return None
    job.step(name, in_cell)
    job.world.tell('job %d: %s' % (job.number, name))
    job.inside = True
    return job


def _stepwise(function: Callable[..., Any], in_cell: bool,
              ) -> Callable[..., Any]:
    """Make a function a step."""
    def stepwise(*args: Any, **kwargs: Any) -> Any:
        job = _before(function.__qualname__, in_cell)
        try:
            return function(*args, **kwargs)
        finally:
            if job is not None:
                job.inside = False
                job.world.look()

    return stepwise


def _stepwise_block(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a transaction in the cell a step."""
    @contextlib.contextmanager
    def stepwise(*args: Any, **kwargs: Any) -> Iterator[Any]:
        job = _before(function.__qualname__, in_cell=True)
        try:
            with function(*args, **kwargs) as found:
                yield found
        finally:
            if job is not None:
                job.inside = False
                job.world.look()

    return stepwise


def _leasing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Note until when a job owns the row that it has got."""
    @functools.wraps(function)
    def leasing(*args: Any, **kwargs: Any) -> Any:
        row = function(*args, **kwargs)
        job = Job.current()
        if job is not None and isinstance(row, store.Freeze):
            job.lease_end = (
                math.inf if row.due_at is None else row.due_at)
        return row

    return leasing


@dataclasses.dataclass
class Late:
    """A message to nova-compute that is held up.

    :ivar until: when it arrives at the latest, in :attr:`World.passed`
    :ivar deliver: what happens then
    :ivar job: who has sent it although its lease had ended, if so
    """

    until: float
    deliver: Callable[[], None]
    job: Job | None


@dataclasses.dataclass
class Guest:
    """A guest, its agent, and the way to it.

    :ivar frozen: whether its file systems are
    :ivar request_id: the request that it was last frozen by
    :ivar job: who has frozen it, if its lease had ended before it sent the
        freeze
    :ivar thawed_by: ``us``, ``restart`` or ``itself``: what has ended the last
        freeze
    :ivar has_lapsed: whether it has ended the last freeze itself, as Windows
        does, and has not been thawed since: it tells this once
    :ivar lapses: the requests whose freezes it has ended itself
    :ivar thaws: how many freezes have been ended by us
    :ivar hung: whether its agent does nothing; what it was told meanwhile it
        does when it is able to, and in this order
    :ivar told: the freeze that waits for the hung agent
    :ivar late: messages that are held up
    :ivar freeze: what becomes of the next freeze
    :ivar thaw: what becomes of the next thaw
    :ivar running: whether there is a guest at all
    """

    frozen: bool = False
    request_id: str = ''
    job: Job | None = None
    thawed_by: str = ''
    has_lapsed: bool = False
    lapses: set[str] = dataclasses.field(default_factory=set)
    thaws: int = 0
    hung: bool = False
    told: tuple[str, Job | None] | None = None
    late: list[Late] = dataclasses.field(default_factory=list)
    freeze: str = 'works'
    thaw: str = 'works'
    running: bool = True

    def do_freeze(self, request_id: str, job: Job | None) -> None:
        if self.running and not self.frozen:
            self.frozen, self.request_id, self.job = True, request_id, job
            self.has_lapsed = False
            SEEN['frozen'] += 1

    def do_thaw(self) -> None:
        if self.frozen:
            self.thaws += 1
            self.thawed_by = 'us'
        self.frozen, self.job, self.has_lapsed = False, None, False

    def lapse(self) -> None:
        """End the freeze, as Windows does after ten seconds."""
        self.frozen, self.job, self.has_lapsed = False, None, True
        self.thawed_by = 'itself'
        self.lapses.add(self.request_id)

    def wake(self) -> None:
        """Have the agent do what it was told."""
        self.hung = False
        if self.told:
            self.do_freeze(*self.told)
        self.told = None

    def restart(self) -> None:
        """Start anew, thawed."""
        if self.frozen:
            self.thawed_by = 'restart'
        self.frozen = self.hung = self.has_lapsed = False
        self.lapses.clear()    # who restarts itself tells nothing
        self.told = self.job = None
        self.running = True


class ComputeAPI:
    """nova-compute, as the service sees it: the same calls and answers."""

    def __init__(self, world: 'World') -> None:
        self._world = world

    def open_bus(self, context: nova_context.RequestContext) -> bool:
        """Need no broker."""
        return True

    def quiesce_instance(self, context: nova_context.RequestContext,
                         instance: objects.Instance, timeout: float) -> None:
        job, guest = Job.current(), self._world.guest
        assert job is not None and not job.inside
        job.step('freeze')
        how, guest.freeze = guest.freeze, 'works'
        self._world.tell('job %d: a freeze, which %s' % (job.number, how))
        request_id = str(context.request_id)
        late_job = job if self._world.is_late(job) else None
        self._world.note_sent(request_id, late_job)
        if not guest.running:
            raise exception.InternalError(
                '[Error Code 55] domain is not running')
        if how == 'is refused':
            raise exception.QemuGuestAgentNotEnabled()
        if how == 'is lost on the bus':
            self._time_out(job, timeout)

        def deliver() -> None:
            if guest.hung:
                guest.told = guest.told or (request_id, late_job)
            else:
                guest.do_freeze(request_id, late_job)

        if how.startswith('is held up'):
            guest.late.append(Late(
                math.inf if how.endswith('nova-compute')
                else self._world.passed + timeout, deliver, late_job))
            self._time_out(job, timeout)
        if guest.frozen:
            raise exception.InternalError(
                '[Error Code 1] the agent is in frozen state')
        is_hung = guest.hung
        deliver()
        if is_hung or how == 'works, the answer is lost':
            self._time_out(job, timeout)
        job.step('answer')
        if how == 'works, and says that it failed':
            raise exception.InstanceQuiesceFailed(
                reason='[Error Code 86] Guest agent not available for now')

    def unquiesce_instance(self, context: nova_context.RequestContext,
                           instance: objects.Instance, timeout: float,
                           ) -> None:
        job, guest = Job.current(), self._world.guest
        assert job is not None and not job.inside
        job.step('thaw')
        how, guest.thaw = guest.thaw, 'works'
        self._world.tell('job %d: a thaw, which %s' % (job.number, how))
        if how.startswith(TOO_LATE):
            how = how.removeprefix(TOO_LATE)
            if guest.frozen:
                guest.lapse()
        late_job = job if self._world.is_late(job) else None
        if not guest.running:
            raise exception.InternalError(
                '[Error Code 55] domain is not running')
        if guest.hung or how == 'is lost on the bus':
            self._time_out(job, timeout)
        if how == 'fails':
            raise exception.InternalError(
                '[Error Code 68] cannot acquire state change lock')

        def deliver() -> None:
            if guest.hung:
                return
            self._world.note_thaw(late_job)
            guest.do_thaw()

        has_lapsed = guest.has_lapsed
        if how == 'is held up on the bus':
            guest.late.append(Late(
                self._world.passed + timeout, deliver, None))
            self._time_out(job, timeout)
        deliver()
        for late in guest.late:
            if late.until == math.inf:
                # What had stood still goes on, with both at once.
                late.until = self._world.passed + times.expiry_pause() - 0.1
        if how == 'works, the answer is lost':
            self._time_out(job, timeout)
        job.step('answer')
        if has_lapsed:
            SEEN['lapsed'] += 1
            raise exception.InternalError(
                "[Error Code 1] unable to execute QEMU agent command "
                "'guest-fsfreeze-thaw': couldn't hold writes: fsfreeze is "
                'limited up to 10 seconds')

    def _time_out(self, job: Job, timeout: float) -> None:
        """Wait for an answer in vain, while others go on."""
        until = self._world.passed + timeout
        job.step('answer')
        if self._world.passed < until:
            self._world.advance(until - self._world.passed)
        raise messaging_exceptions.MessagingTimeout()


class Service:
    """A nova-quiesce.

    :ivar reports: whether it tells the others that it is up
    """

    def __init__(self, world: 'World', host: str) -> None:
        self.world, self.host = world, host
        self.reports = True
        self.jobs: list[Job] = []
        self.manager = manager.QuiesceManager(host=host)
        self.report()

    def report(self) -> None:
        """Tell the others that it is up."""
        if self.reports:
            self.manager.store.report('{}')

    def _start(self, function: Callable[[], object]) -> Job:
        job = Job(self.world, function)
        self.jobs.append(job)
        return job

    def take(self, instance_uuid: str, hinted: bool = False) -> Job:
        """Begin to work on a row; the first step is done when told to."""
        return self._start(
            lambda: self.manager.work.do(instance_uuid, hinted))

    def due(self) -> list[str]:
        """Return the servers whose rows a tick finds."""
        return [row.instance_uuid for row in self.manager.store.due(10)]

    def sweep(self) -> Job:
        """Begin to sweep the cell."""
        cell = self.world.databases.cell

        def run() -> None:
            with nova_context.target_cell(
                    nova_context.get_admin_context(), cell) as targeted:
                self.manager.sweep.run(targeted, cell.uuid)

        return self._start(run)


class Databases:
    """Nova's databases, made once for all tests of a process."""

    _made: 'Databases | None' = None
    #: what the database's clock tells
    clock: Callable[[], float]

    @classmethod
    def get(cls) -> 'Databases':
        if cls._made is None:
            cls._made = cls()
        return cls._made

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        nova_config.parse_args(['nova', '--config-file', os.devnull])
        paths = {name: '%s/%s.db' % (self._folder.name, name)
                 for name in ('main', 'api', 'cell0')}
        urls = {name: 'sqlite:///' + path for name, path in paths.items()}
        CONF.set_override('connection', urls['main'], 'database')
        CONF.set_override('connection', urls['api'], 'api_database')
        for database in ('database', 'api_database'):
            # Nobody reads them after a crash of the machine.
            CONF.set_override('sqlite_synchronous', False, database)
        main_database.configure(CONF)
        api_database.configure(CONF)
        objects.register_all()
        sa.event.listen(schema.engine(), 'connect', self._connected)
        migration.db_sync(database='main')
        migration.db_sync(database='api')
        schema.sync()
        shutil.copy(paths['main'], paths['cell0'])
        for group, name, value in (
                ('quiesce', 'operation_timeout', OPERATION_TIMEOUT),
                (None, 'transport_url', 'fake:///'),
                (None, 'service_down_time', 60)):
            CONF.set_override(name, value, group)
        context = nova_context.get_admin_context()
        for cell, cell_uuid in (('cell0', objects.CellMapping.CELL0_UUID),
                                ('main', str(uuid.uuid4()))):
            mapping = objects.CellMapping(
                context, uuid=cell_uuid, name=cell, transport_url='fake:///',
                database_connection=urls[cell])
            mapping.create()
        self.cell = mapping
        objects.Service(
            context, host=HOST, binary='nova-compute', topic='compute',
            report_count=1).create()
        rpc.init(CONF)
        self.main, self.api = (sqlite3.connect(
            paths[name], isolation_level=None, check_same_thread=False)
            for name in ('main', 'api'))

    def _connected(self, connection: Any, _record: Any) -> None:
        connection.create_function(
            'quiesce_now', 0, lambda: self.clock())

    def forget(self, instance_uuid: str) -> None:
        """Leave nothing of a story to the next one."""
        context = nova_context.get_admin_context()
        with main_database.get_context_manager(context).writer.using(
                context) as session:
            actions = session.query(models.InstanceAction).filter_by(
                instance_uuid=instance_uuid)
            for action in actions:
                session.query(models.InstanceActionEvent).filter_by(
                    action_id=action.id).delete()
            actions.delete()
        with schema.engine().begin() as connection:
            for table in (schema.FREEZES, schema.REQUESTS, schema.SWEEPS):
                connection.execute(table.delete())


def _compiled_now(element: Any, compiler: Any, **kwargs: Any) -> str:
    return 'quiesce_now()'


class World:
    """See the module. To be ended with :meth:`end`.

    :ivar passed: how many seconds have passed, whatever the clocks say
    :ivar accepted: ids of the requests that the API has accepted
    :ivar known: ids of requests that users have chosen
    :ivar over: of those, which do not freeze any more, as the API has said
    :ivar given_up: of those, which the API has promised to undo
    :ivar succeeded: how often the guest had been thawed when a request was
        said to have frozen it
    :ivar thaws_of: of requests that were said to have frozen it: those by
        which the API has accepted a thaw
    :ivar excluded: why the laws are not checked in this story
    :ivar is_reset: whether somebody has set the state ``error``
    """

    def __init__(self) -> None:
        self.databases = Databases.get()
        self.passed = 0.0
        self.databases.clock = self.database_now
        self.bus = Bus()
        self.guest = Guest()
        self.services: dict[str, Service] = {}
        self.dead: list[Service] = []
        #: what nova-api has begun, and what it died in the middle of
        self.asking: list[Job] = []
        self.never_asked: list[Job] = []
        self.accepted: list[str] = []
        self.known: list[str] = []
        self.over: set[str] = set()
        self.given_up: set[str] = set()
        self.sent: set[str] = set()
        self.succeeded: dict[str, int] = {}
        self.thaws_of: dict[str, str] = {}
        self.excluded = ''
        self.is_reset = False
        self.compute_up = True
        #: what has happened, for who has to understand a failure
        self.trace: list[str] = []
        self.jobs = 0
        self.cell = 'works'
        self.hung_since = 0.0
        #: what becomes of which of the next commits
        self.commit: tuple[int, str] | None = None
        self._violation: Exception | None = None
        self._looking = False
        self.uuid = ''
        self._patches = list(self._all_patches())
        for patch in self._patches:
            patch.start()
        timeutils.set_time_override(START)
        # Thousands of lines on what goes wrong, as it should.
        logging.disable(logging.CRITICAL)
        self.application = controllers.app_factory({})
        self.uuid = self._boot()

    def _all_patches(self) -> Iterator[Any]:
        yield mock.patch('time.sleep', self.advance)
        yield mock.patch('time.monotonic', lambda: self.passed)
        yield mock.patch.object(
            rpcapi.QuiesceAPI, '__init__',
            lambda client: setattr(client, '_client', self.bus))
        yield mock.patch.object(
            guests, 'ComputeAPI', lambda: ComputeAPI(self))
        yield mock.patch.object(
            notifier.Notifier, '__call__', lambda _self, send: send())
        yield mock.patch.object(
            cells._Cell, 'hung_for', property(
                lambda _cell: self.is_hung() and times.CELL_TIMEOUT))
        yield mock.patch.object(
            servicegroup.API, 'service_is_up',
            lambda _api, _service: self.compute_up)
        for place, name in ((notifications, 'send_update_with_states'),
                            (compute_utils, 'notify_about_instance_action')):
            yield mock.patch.object(place, name, self._notify)
        yield mock.patch.dict(
            schema.now._compiler_dispatcher.specs, sqlite=_compiled_now)
        yield mock.patch.object(
            default.DefaultDialect, 'do_commit', self._do_commit)
        for name in vars(store.Store):
            if name.startswith('_') or name == 'release':
                continue    # what that does is a step of its own
            function = getattr(store.Store, name)
            if name in ('take', 'update'):
                function = _leasing(function)
            if name == 'reclaim':
                function = self._noting_reclaim(function)
            yield mock.patch.object(
                store.Store, name, _stepwise(function, in_cell=False))
        for place, names in (
                (objects.Instance, ('save', 'get_by_uuid', 'refresh')),
                (objects.InstanceAction, ('action_start',)),
                (compute_utils, ('add_instance_fault_from_exc',)),
                (db, ('start', 'move', 'add_event', 'finish_event',
                      'open_requests', 'states_of', 'in_task_state',
                      'result_of'))):
            for name in names:
                yield mock.patch.object(place, name, _stepwise(
                    getattr(place, name), in_cell=True))
        yield mock.patch.object(
            db, 'transaction', _stepwise_block(db.transaction))
        yield mock.patch.object(Bus, 'cast', _stepwise(
            Bus.cast, in_cell=False))

    def _boot(self) -> str:
        context = nova_context.get_admin_context()
        flavor = objects.Flavor(
            name='tiny', memory_mb=64, vcpus=1, root_gb=1, ephemeral_gb=0,
            swap=0, flavorid='tiny', rxtx_factor=1.0, extra_specs={})
        mapping = objects.InstanceMapping(
            context, instance_uuid=str(uuid.uuid4()), project_id=PROJECT,
            user_id=USER, cell_mapping=self.databases.cell)
        mapping.create()
        with nova_context.target_cell(
                context, self.databases.cell) as cell_context:
            instance = objects.Instance(
                cell_context, uuid=mapping.instance_uuid, project_id=PROJECT,
                user_id=USER, vm_state='active', task_state=None,
                power_state=power_state.RUNNING, host=HOST,
                launched_at=timeutils.utcnow(),
                display_name='vm', flavor=flavor, system_metadata={},
                metadata={}, locked=False)
            instance.create()
        return str(mapping.instance_uuid)

    # What is hooked in ----------------------------------------------------

    def _notify(self, *args: Any, **kwargs: Any) -> None:
        job = Job.current()
        if job is not None and job.inside:
            self.violate('a notification inside of a transaction')

    def _do_commit(self, connection: Any) -> None:
        job = Job.current()
        if job is None or self.commit is None:
            connection.commit()
            return
        left, how = self.commit
        if left:
            self.commit = left - 1, how
            connection.commit()
            return
        self.commit = None
        self.tell('job %d: a commit: %s' % (job.number, how))
        SEEN['commit ' + how] += 1
        if how == LATE:
            self.advance(times.LOCK_TIMEOUT)
            connection.commit()
            return
        job.faulted = True
        if how == DONE:
            connection.commit()
        else:
            connection.rollback()
        if how == DEADLOCK:
            raise db_exception.DBDeadlock()
        raise db_exception.DBConnectionError()

    def _noting_reclaim(self, function: Callable[..., Any],
                        ) -> Callable[..., Any]:
        @functools.wraps(function)
        def noting(*args: Any, **kwargs: Any) -> Any:
            answer = function(*args, **kwargs)
            job = Job.current()
            if job is not None:
                job.reclaimed = True
                SEEN['reclaim'] += 1
            return answer

        return noting

    # What is -------------------------------------------------------------

    def database_now(self) -> float:
        """Return what the clock of the database tells."""
        return DATABASE_START + self.passed

    def is_hung(self) -> bool:
        """Return whether the services know that the cell hangs."""
        return (self.cell == 'hangs'
                and self.passed > self.hung_since + times.CELL_TIMEOUT)

    def context(self) -> nova_context.RequestContext:
        """Return an administrator's context, for a new request."""
        return nova_context.RequestContext(
            user_id=USER, project_id=PROJECT, is_admin=True,
            roles=['admin', 'member', 'reader'])

    def instance(self) -> objects.Instance | None:
        """Return the server as it is in the database, if it is."""
        try:
            return objects.Instance.get_by_uuid(
                nova_context.get_admin_context(), self.uuid,
                expected_attrs=['system_metadata'])
        except exception.InstanceNotFound:
            return None

    def states(self) -> tuple[str, str | None] | None:
        """Return vm_state and task_state, if there is a server."""
        found: tuple[str, str | None] | None = self.databases.main.execute(
            'SELECT vm_state, task_state FROM instances '
            'WHERE uuid = ? AND deleted = 0', (self.uuid,)).fetchone()
        return found

    def row(self) -> dict[str, Any] | None:
        """Return the row of the server, if it has one."""
        cursor = self.databases.api.execute(
            'SELECT * FROM quiesce_freezes WHERE instance_uuid = ?',
            (self.uuid,))
        found = cursor.fetchone()
        return found and dict(zip(
            [column[0] for column in cursor.description], found))

    def due_in(self) -> float | None:
        """Return in how many seconds the row is due; None if never."""
        row = self.row()
        if row is None or row['due_at'] is None:
            return None
        return float(row['due_at'] - self.database_now())

    def events(self) -> dict[str, list[tuple[str, str | None, str | None]]]:
        """Return the events of each request to quiesce or unquiesce.

        Each with its name, result and details.
        """
        found: dict[str, list[tuple[str, str | None, str | None]]] = {}
        for request_id, *event in self.databases.main.execute(
                'SELECT a.request_id, e.event, e.result, e.details '
                'FROM instance_actions a '
                'LEFT JOIN instance_actions_events e ON e.action_id = a.id '
                'WHERE a.instance_uuid = ? '
                "AND a.action IN ('quiesce', 'unquiesce') ORDER BY e.id",
                (self.uuid,)):
            events = found.setdefault(request_id, [])
            if event[0] is not None:
                events.append((event[0], event[1], event[2]))
        return found

    # What users do -------------------------------------------------------

    def new_request_id(self) -> str:
        """Choose the id of a request."""
        self.known.append('req-00000000-0000-0000-0000-%012d'
                          % (len(self.known) + 1))
        return self.known[-1]

    def post(self, body: dict[str, Any]) -> int:
        """Send an action to nova-api, and return the status of its answer."""
        name, details = next(iter(body.items()))
        chosen: str | None = (details or {}).get('request_id')
        request = webob.Request.blank(
            '/servers/%s/action' % self.uuid, method='POST',
            content_type='application/json',
            body=json.dumps(body).encode())
        context = self.context()
        request.environ['nova.context'] = context
        was_over = chosen in self.over
        thaws = self.guest.thaws
        success = self.succeeded.get(chosen or '')
        try:
            answer = request.get_response(self.application)
            status = int(answer.status_int)
        except db_exception.DBError:
            status = 500    # what Nova's middleware makes of it
        SEEN['%s %d' % (name + (' R' if chosen else ''), status)] += 1
        if name == 'quiesce' and status == 202:
            self.accepted.append(chosen or str(context.request_id))
            if was_over:
                self.violate('%s is accepted, and was withdrawn or had ended'
                             % chosen)
        elif name == 'unquiesce' and status == 202:
            self.accepted.append(str(context.request_id))
            if chosen:
                self.given_up.add(chosen)
            if chosen and success is not None:
                self.thaws_of[chosen] = str(context.request_id)
            if success is not None and success != thaws:
                self.violate('202 to unquiesce %s, which was thawed before'
                             % chosen)
        elif name == 'unquiesce' and status == 200:
            assert chosen
            state = answer.json['unquiesce']['state']
            SEEN['it was ' + state] += 1
            if state != 'thawing':
                self.over.add(chosen)
        self.tell('%s: %d' % (body, status))
        self.look()
        if Job.current() is None:
            self.raise_violation()
        return status

    def ask(self, body: dict[str, Any]) -> Job:
        """Let nova-api begin with an action, step by step."""
        job = Job(self, lambda: self.post(body))
        self.asking.append(job)
        return job

    def kill_api(self, job: Job) -> None:
        """Let nova-api die in the middle of an action."""
        self.asking.remove(job)
        self.never_asked.append(job)

    def reset(self, state: str) -> None:
        """Set the state of the server."""
        self.is_reset = self.is_reset or state == 'error'
        self.post({'os-resetState': {'state': state}})

    def stop(self) -> None:
        """Have Nova shut the guest down."""
        self.guest.restart()
        self.guest.running = False
        self._set_run('stopped', power_state.SHUTDOWN)

    def start(self) -> None:
        """Have Nova start the guest."""
        self.guest.restart()
        self._set_run('active', power_state.RUNNING)

    def _set_run(self, vm_state: str, power: int) -> None:
        instance = self.instance()
        assert instance is not None
        instance.vm_state, instance.power_state = vm_state, power
        instance.save()
        SEEN[vm_state] += 1
        self.tell('the server is %s' % vm_state)

    def delete(self) -> None:
        """Delete the server, and its guest with it."""
        if instance := self.instance():
            self.guest.running = False
            self.guest.frozen = False
            self.guest.told = None
            instance.destroy()

    # What else happens ---------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Let time pass.

        What is held up arrives at the last moment.
        """
        end = self.passed + seconds
        while first := min(
                (late for late in self.guest.late if late.until <= end),
                key=lambda late: late.until, default=None):
            self._pass(first.until)
            self.arrive(first)
        self._pass(end)

    def _pass(self, until: float) -> None:
        if until > self.passed:
            timeutils.advance_time_seconds(until - self.passed)
            self.passed = until

    def set_clock(self, seconds: float) -> None:
        """Set the clocks of the hosts; no time passes."""
        timeutils.advance_time_seconds(seconds)

    def arrive(self, late: Late) -> None:
        """Let a message that was held up reach the guest."""
        self.guest.late.remove(late)
        late.deliver()
        self.tell('what was held up arrived')
        self.look()

    def set_cell(self, how: str) -> None:
        """Have the cell's database work, or not."""
        self.cell, self.hung_since = how, self.passed

    def report(self) -> None:
        """Let all services tell that they are up."""
        for service in self.services.values():
            service.report()

    def start_service(self, host: str, name: str = '') -> None:
        """Start a nova-quiesce, or start it again.

        :param name: by which the test knows it, if it is not the only one of
            its host
        """
        self.services[name or host] = Service(self, host)

    def kill(self, name: str) -> None:
        """Kill a nova-quiesce, whatever it is doing."""
        service = self.services.pop(name)
        self.dead.append(service)
        self.tell('kill %s, with jobs %s' % (name, [
            job.number for job in service.jobs if not job.done]))
        for job in service.jobs:
            if not job.done and (self.guest.job is job or any(
                    late.job is job for late in self.guest.late) or (
                        self.guest.told and self.guest.told[1] is job)):
                self.exclude('killed after a freeze that it sent too late')

    def exclude(self, why: str) -> None:
        """Check no law in the rest of this story."""
        if not self.excluded:
            self.excluded = why
            EXCLUDED[why] += 1

    # What must be --------------------------------------------------------

    def tell(self, what: str) -> None:
        """Remember what has happened."""
        row = self.row()
        self.trace.append('%7.1f %s   [%s; row: %s; guest: %s%s]' % (
            self.passed, what, self.states(),
            row and '%s, %s, due in %s' % (
                row['state'], row['owner'] and row['owner'][-4:],
                row['due_at'] and round(
                    row['due_at'] - self.database_now(), 1)),
            'frozen' if self.guest.frozen else 'thawed',
            ', hung' if self.guest.hung else ''))

    def violate(self, what: str, cause: BaseException | None = None) -> None:
        """Remember that a law is broken; the test says so when it can."""
        if self._violation is None and not self.excluded:
            self._violation = AssertionError('%s; %s; %s; %s' % (
                what, self.states(), self.row(), self.guest))
            self._violation.__cause__ = cause

    def raise_violation(self) -> None:
        """Raise what :meth:`violate` was told."""
        if self._violation is not None and not self.excluded:
            raise self._violation

    def is_late(self, job: Job) -> bool:
        """Return whether the lease has ended of who sends something."""
        return self.database_now() >= job.lease_end

    def note_sent(self, request_id: str, late_job: Job | None) -> None:
        """Check a freeze that is sent."""
        if request_id in self.sent:
            self.violate('%s is sent again' % request_id)
        self.sent.add(request_id)
        if request_id in self.over and late_job is None:
            self.violate('%s is sent, and was withdrawn' % request_id)
        if late_job:
            SEEN['freeze sent too late'] += 1

    def note_thaw(self, late_job: Job | None) -> None:
        """Look at a thaw that reaches the guest."""
        if late_job and self.guest.frozen and self.is_said_to_be_frozen():
            self.exclude('a thaw that was sent too late')

    def is_said_to_be_frozen(self) -> bool:
        """Return whether a user may rely on it that the guest is frozen."""
        found = self.states()
        return (found is not None and found[0] == states.QUIESCED
                and found[1] != states.UNQUIESCING)

    def look(self) -> None:
        """Look whether all laws hold that hold at each moment."""
        if not self.uuid or self.excluded:
            return
        guest, found = self.guest, self.states()
        if found is None:
            return
        self._look_for_lapses()
        for request_id, events in self.events().items():
            if request_id not in self.succeeded and any(
                    name == 'quiesce_quiesce_instance' and result == 'Success'
                    for name, result, _details in events):
                self.succeeded[request_id] = guest.thaws
                SEEN['quiesced'] += 1
        if guest.frozen:
            excused = guest.job is not None and not (
                guest.job.reclaimed or guest.job.done)
            if not excused and self.row() is None:
                self.violate('law 1: frozen without a row')
            if guest.request_id in self.over and guest.job is None:
                self.violate('frozen by %s, which is over'
                             % guest.request_id)
        elif self.is_said_to_be_frozen() and (
                guest.thawed_by not in ('restart', 'itself')):
            self.violate('law 3: only said to be quiesced')

    def _look_for_lapses(self) -> None:
        """Look whether a freeze is called whole that the guest had ended."""
        for request_id, in self.databases.api.execute(
                'SELECT request_id FROM quiesce_requests '
                "WHERE instance_uuid = ? AND fate = 'thawed'", (self.uuid,)):
            if request_id in self.guest.lapses:
                self.violate('%s is called whole, and had lapsed' % request_id)
        events = self.events() if self.guest.lapses else {}
        for request_id in self.guest.lapses & self.thaws_of.keys():
            if any(result == 'Success' for _name, result, _details
                   in events.get(self.thaws_of[request_id], ())):
                self.violate('the thaw of %s has succeeded, and it had lapsed'
                             % request_id)

    def check(self) -> None:
        """Raise if a law is broken now, or was before."""
        self.look()
        self.raise_violation()

    def heal(self) -> None:
        """Repair all that is broken, and let the services do their work."""
        self.tell('heal')
        self.guest.freeze = self.guest.thaw = 'works'
        self.cell, self.commit, self.compute_up = 'works', None, True
        if self.guest.hung:
            self.guest.wake()
        for late in list(self.guest.late):
            if late.until == math.inf:
                self.arrive(late)
        for job in self.asking:
            if not job.done:
                job.go()
        for service in self.services.values():
            service.reports = True
            for job in service.jobs:
                if not job.done:
                    job.go()
        if not self.services:
            self.start_service('last')
        for _round in range(60):
            self.work()
            if self._is_calm():
                break
            due_in = self.due_in()
            self.advance(5 if due_in is None or self.guest.late
                         else min(max(due_in, 5), 300))

    def work(self) -> None:
        """Let a service do all that there is to do now."""
        self.report()
        service = next(iter(self.services.values()))
        while self.bus.messages:
            service.take(self.bus.messages.pop(0), True).go()
        service.sweep().go()
        for instance_uuid in service.due():
            service.take(instance_uuid).go()
        self.check()

    def _is_calm(self) -> bool:
        """Say whether nothing is under way, and nobody has anything to do."""
        if self.bus.messages or self.guest.late:
            return False
        row, found = self.row(), self.states()
        if found is None:
            return row is None
        due_in = self.due_in()
        return found[1] is None and (
            row is None or row['state'] == 'frozen' and (
                found == (states.QUIESCED, None)) and (
                    due_in is None or due_in > 0))

    def check_end(self) -> None:
        """All is well that is healed."""
        self.check()
        if self.excluded:
            return
        row, found = self.row(), self.states()
        if row is not None:
            assert found is not None, 'deleted, and seen to for ever'
            assert row['state'] == 'frozen', 'a row for ever: %s' % row
            assert row['due_at'] is None or (
                row['due_at'] > self.database_now()), (
                    'past its deadline: %s' % row)
        if found is not None:
            assert found[1] is None, found
            assert self.is_reset or found[0] != 'error', found
            if found[0] == states.QUIESCED:
                assert row is not None, 'quiesced without a row'
            else:
                assert row is None, row
                assert not self.guest.frozen, found
            assert not (self.guest.frozen
                        and self.guest.request_id in self.given_up), (
                            'given up, and frozen: %s' % self.guest)
        self._check_events()

    def _check_events(self) -> None:
        """Every request has ended, well or not."""
        events = self.events()
        for request_id in self.accepted:
            assert events.get(request_id), 'nobody has ended %s' % request_id
        for request_id, found in events.items():
            for name, result, _details in found:
                assert result, '%s of %s has no end' % (name, request_id)
        for request_id, in self.databases.main.execute(
                'SELECT a.request_id FROM instance_actions a '
                "WHERE a.action IN ('quiesce', 'unquiesce') "
                'AND a.instance_uuid = ? AND NOT EXISTS ('
                'SELECT * FROM instance_actions_events e '
                'WHERE e.action_id = a.id)', (self.uuid,)):
            raise AssertionError('an action of %s, without an event'
                                 % request_id)

    def end(self) -> None:
        """Leave nothing behind."""
        self.excluded = self.excluded or 'ended'
        self.cell, self.commit = 'works', None
        for job in (*self.asking, *self.never_asked, *(
                job for service in (*self.services.values(), *self.dead)
                for job in service.jobs)):
            job.end()
        self.delete()
        self.databases.forget(self.uuid)
        for patch in reversed(self._patches):
            patch.stop()
        timeutils.clear_time_override()
        logging.disable(logging.NOTSET)
