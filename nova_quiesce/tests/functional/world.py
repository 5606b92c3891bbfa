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

"""A cloud of one server, in which everything happens when a test says so.

Real are nova-api's application with our actions in it, Nova's objects, its
databases (SQLite) and its idea of which services are up, and any number of
our managers. In the hands of the test are the message bus, time, the clock
that tells it, the guest, and each step of each service: a service can be
stopped between any two of its steps, go on later, or never.
"""

import dataclasses
import datetime
import json
import logging
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable
from typing import Any
from unittest import mock

import webob
from nova import config as nova_config
from nova import context as nova_context
from nova import exception
from nova import objects
from nova import rpc
from nova.compute import power_state
from nova.db.api import api as api_database
from nova.db.main import api as main_database
from nova.db.main import models
from nova.conf import CONF
from nova.db import migration
from oslo_messaging import exceptions as messaging_exceptions
from oslo_utils import timeutils

from nova_quiesce import api
from nova_quiesce import cells
from nova_quiesce import conf
from nova_quiesce import db
from nova_quiesce import guest
from nova_quiesce import manager
from nova_quiesce import marks
from nova_quiesce import rpcapi

START = datetime.datetime(2026, 1, 1)
RPC_TIMEOUT = 12
#: seconds that a cell has to answer: Nova waits for it in real time, and none
#: is to be left out because the machine stands still
PATIENCE = 300.0
#: what can become of a freeze, and of a thaw
FREEZES = ('works', 'is refused', 'is lost on the bus',
           'is held up on the bus', 'works, the answer is lost',
           'works, and says that it failed')
THAWS = ('works', 'fails', 'is lost on the bus', 'works, the answer is lost')
PROJECT, USER = 'p' * 32, 'u' * 32


class Message:
    """A message from whoever asks to nova-quiesce."""

    def __init__(self, context: nova_context.RequestContext, method: str,
                 arguments: dict[str, Any]) -> None:
        self.context, self.method = context.to_dict(), method
        self.arguments = arguments


class Bus:
    """The message bus: keeps everything until the test delivers it."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def cast(self, context: nova_context.RequestContext, method: str,
             **arguments: Any) -> None:
        """Take the place of oslo.messaging's client."""
        self.messages.append(Message(context, method, arguments))


@dataclasses.dataclass
class Guest:
    """A guest, its agent, and the way to it.

    :ivar frozen: whether its file systems are
    :ivar by_us: whether that was done for a request of ours
    :ivar hung: whether its agent does nothing; what it was told meanwhile it
        does when it is able to, and in this order
    :ivar told: whether a freeze waits for the hung agent
    :ivar on_bus: when freezes that are still on the bus arrive at the latest,
        in :attr:`World.passed`, since brokers do not go by our clock
    :ivar freeze: what becomes of the next freeze
    :ivar thaw: what becomes of the next thaw
    :ivar running: whether there is a guest at all
    """

    frozen: bool = False
    by_us: bool = False
    hung: bool = False
    told: bool = False
    on_bus: list[float] = dataclasses.field(default_factory=list)
    freeze: str = 'works'
    thaw: str = 'works'
    running: bool = True

    def do_freeze(self) -> None:
        if self.running:
            self.frozen = self.by_us = True

    def do_thaw(self) -> None:
        self.frozen = self.by_us = False

    def wake(self) -> None:
        """Have the agent do what it was told."""
        self.hung = False
        if self.told:
            self.do_freeze()
        self.told = False

    def restart(self) -> None:
        """Start anew, thawed."""
        self.frozen = self.by_us = self.hung = self.told = False
        self.running = True


class ComputeAPI:
    """nova-compute, as the service sees it: the same calls and answers."""

    def __init__(self, world: 'World') -> None:
        self._world = world

    def quiesce_instance(self, context: nova_context.RequestContext,
                         instance: objects.Instance, timeout: float) -> None:
        guest = self._world.guest
        how, guest.freeze = guest.freeze, 'works'
        if not guest.running:
            raise exception.InternalError(
                '[Error Code 55] domain is not running')
        if how == 'is refused':
            raise exception.QemuGuestAgentNotEnabled()
        if guest.hung:
            guest.told = True
            self._time_out(timeout)
        if how == 'is held up on the bus':
            guest.on_bus.append(self._world.passed + 2 * RPC_TIMEOUT - 1)
            self._time_out(timeout)
        if how == 'is lost on the bus':
            self._time_out(timeout)
        if guest.frozen:
            raise exception.InternalError(
                '[Error Code 1] the agent is in frozen state')
        guest.do_freeze()
        if how == 'works, the answer is lost':
            self._time_out(timeout)
        if how == 'works, and says that it failed':
            raise exception.InstanceQuiesceFailed(
                reason='[Error Code 86] Guest agent not available for now')

    def unquiesce_instance(self, context: nova_context.RequestContext,
                           instance: objects.Instance, timeout: float,
                           ) -> None:
        guest = self._world.guest
        how, guest.thaw = guest.thaw, 'works'
        if not guest.running:
            raise exception.InternalError(
                '[Error Code 55] domain is not running')
        if guest.hung or how == 'is lost on the bus':
            self._time_out(timeout)
        if how == 'fails':
            raise exception.InternalError(
                '[Error Code 68] cannot acquire state change lock')
        guest.do_thaw()
        if how == 'works, the answer is lost':
            self._time_out(timeout)

    def _time_out(self, timeout: float) -> None:
        self._world.advance(timeout)
        raise messaging_exceptions.MessagingTimeout()


class Ended(BaseException):
    """Ends the thread of a service that has died long ago."""


class Work:
    """Something that a service does, step by step.

    It runs in a thread of its own until its next stop, and never at the same
    time as the test.
    """

    current = threading.local()

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._steps = 0
        self._go = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)
        self._dead = False
        self.done = False
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._go.acquire()
        Work.current.work = self
        try:
            if not self._dead:
                self._function()
        except Ended:
            pass
        except Exception as error:
            self.error = error
        finally:
            self.done = True
            self._stopped.release()

    def go(self, steps: int | None = None) -> None:
        """Go on for so many steps, or to the end."""
        self._steps = -1 if steps is None else steps
        self._go.release()
        self._stopped.acquire()
        if self.error is not None:
            raise self.error

    def end(self) -> None:
        """Get rid of the thread, at the very end of a test."""
        if not self.done:
            self._dead = True
            self._go.release()
            self._stopped.acquire()
        self._thread.join()

    @classmethod
    def step(cls) -> None:
        """Mark the place between two steps."""
        work = getattr(cls.current, 'work', None)
        if work is None:
            return
        if work._dead:
            raise Ended()
        if work._steps == 0:
            work._stopped.release()
            work._go.acquire()
            if work._dead:
                raise Ended()
        if work._steps > 0:
            work._steps -= 1


def _stepwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function whose beginning and end are steps, and nothing inside.

    What is inside of a transaction nobody else can see.
    """
    def stepwise(*args: Any, **kwargs: Any) -> Any:
        if getattr(Work.current, 'inside', False):
            return function(*args, **kwargs)
        Work.step()
        Work.current.inside = True
        try:
            return function(*args, **kwargs)
        finally:
            Work.current.inside = False
            Work.step()

    return stepwise


class Service:
    """A nova-quiesce.

    :ivar reports: whether it tells the others that it is up
    """

    def __init__(self, world: 'World', host: str) -> None:
        self.world, self.host = world, host
        self.reports = True
        self.works: list[Work] = []
        self.manager = manager.QuiesceManager(host=host)
        self._record()

    def _record(self) -> None:
        context = nova_context.get_admin_context()
        try:
            record = objects.Service.get_by_args(
                context, self.host, rpcapi.BINARY)
        except exception.HostBinaryNotFound:
            record = objects.Service(
                context, host=self.host, binary=rpcapi.BINARY,
                topic=rpcapi.TOPIC, report_count=0)
            record.create()
        self.record = record
        self.report()

    def report(self) -> None:
        """Tell the others that it is up."""
        if self.reports:
            self.record.report_count += 1
            self.record.save()

    def start(self, function: Callable[..., None], *args: Any,
              **kwargs: Any) -> Work:
        """Begin to do something; it does the first step when told to."""
        work = Work(lambda: function(*args, **kwargs))
        self.works.append(work)
        return work

    def take(self, message: Message) -> Work:
        """Begin to carry out a message."""
        context = nova_context.RequestContext.from_dict(message.context)
        return self.start(getattr(self.manager, message.method), context,
                          **message.arguments)

    def sweep(self) -> Work:
        """Begin to sweep."""
        return self.start(self.manager.sweep.run,
                          nova_context.get_admin_context())


class Databases:
    """Nova's databases, made once for all tests of a process."""

    _made: 'Databases | None' = None

    @classmethod
    def get(cls) -> 'Databases':
        if cls._made is None:
            cls._made = cls()
        return cls._made

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        nova_config.parse_args(['nova', '--config-file', os.devnull])
        conf.register_opts(CONF)
        main = 'sqlite:///%s/main.db' % self._folder.name
        CONF.set_override('connection', main, 'database')
        CONF.set_override('connection', 'sqlite:///%s/api.db'
                          % self._folder.name, 'api_database')
        for database in ('database', 'api_database'):
            # Nobody reads them after a crash of the machine.
            CONF.set_override('sqlite_synchronous', False, database)
        main_database.configure(CONF)
        api_database.configure(CONF)
        objects.register_all()
        migration.db_sync(database='main')
        migration.db_sync(database='api')
        shutil.copy(self._folder.name + '/main.db',
                    self._folder.name + '/cell0.db')
        for group, name, value in (
                ('quiesce', 'rpc_timeout', RPC_TIMEOUT),
                (None, 'transport_url', 'fake:///'),
                (None, 'service_down_time', 60)):
            CONF.set_override(name, value, group)
        context = nova_context.get_admin_context()
        for cell, cell_uuid in (('cell0', objects.CellMapping.CELL0_UUID),
                                ('cell1', str(uuid.uuid4()))):
            mapping = objects.CellMapping(
                context, uuid=cell_uuid, name=cell, transport_url='fake:///',
                database_connection='sqlite:///%s/cell0.db'
                % self._folder.name if cell == 'cell0' else main)
            mapping.create()
        self.cell = mapping
        rpc.init(CONF)


class World:
    """See the module. To be ended with :meth:`end`.

    :ivar passed: how many seconds have passed, whatever the clock says
    :ivar accepted: ids of the requests that the API has accepted
    :ivar restarted: whether the guest has started anew, behind Nova's back
    """

    def __init__(self) -> None:
        self.databases = Databases.get()
        self.passed = 0.0
        self.bus = Bus()
        self.guest = Guest()
        self.services: dict[str, Service] = {}
        self.dead: list[Service] = []
        #: what nova-api has begun, and what it died in the middle of
        self.asking: list[Work] = []
        self.never_asked: list[Work] = []
        self.accepted: list[str] = []
        self.restarted = False
        #: whether Nova may have written over the mark
        self.overwritten = False
        steps: tuple[tuple[Any, str], ...] = (
            (objects.Instance, 'save'),
            (objects.InstanceAction, 'action_start'), (marks, 'save'),
            (db, 'replace_mark'), (db, 'in_one_transaction'),
            (db, 'finish_event'), (db, 'adopt_event'), (Bus, 'cast'),
            (ComputeAPI, 'quiesce_instance'),
            (ComputeAPI, 'unquiesce_instance'))
        self._patches: list[Any] = [
            mock.patch('time.sleep', self.advance),
            mock.patch('time.monotonic', lambda: self.passed),
            mock.patch.object(rpcapi.QuiesceAPI, '__init__',
                              lambda client: setattr(client, '_client',
                                                     self.bus)),
            mock.patch.object(guest, 'ComputeAPI', lambda: ComputeAPI(self)),
            mock.patch.object(
                cells.Cells.__init__, '__defaults__', (PATIENCE,)),
            *(mock.patch.object(place, name, _stepwise(getattr(place, name)))
              for place, name in steps)]
        for patch in self._patches:
            patch.start()
        timeutils.set_time_override(START)
        # Thousands of lines on what goes wrong, as it should.
        logging.disable(logging.CRITICAL)
        self.application = api.app_factory({})
        self.uuid = self._boot()

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
                power_state=power_state.RUNNING, host='compute1',
                launched_at=timeutils.utcnow(),
                display_name='vm', flavor=flavor, system_metadata={},
                metadata={}, locked=False)
            instance.create()
        return str(mapping.instance_uuid)

    # What is -------------------------------------------------------------

    def context(self) -> nova_context.RequestContext:
        """Return an administrator's context, for a new request."""
        return nova_context.RequestContext(
            user_id=USER, project_id=PROJECT, is_admin=True,
            roles=['admin', 'member', 'reader'])

    def now(self) -> float:
        """Return the time that the clock tells."""
        return float(timeutils.utcnow_ts())

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
        if instance := self.instance():
            return instance.vm_state, instance.task_state
        return None

    def is_marked(self) -> bool:
        """Say whether there is a server that has a mark."""
        instance = self.instance()
        return instance is not None and marks.get(instance) is not None

    def events(self) -> dict[str, list[tuple[str, str | None]]]:
        """Return the events of each request: name and result, if it ended.

        Of those that quiesce and unquiesce.
        """
        context = nova_context.get_admin_context()
        found = {}
        for action in objects.InstanceActionList.get_by_instance_uuid(
                context, self.uuid):
            if action.action not in ('quiesce', 'unquiesce'):
                continue
            found[str(action.request_id)] = [
                (str(event.event), event.result)
                for event in objects.InstanceActionEventList.get_by_action(
                    context, action.id)]
        return found

    # What users do -------------------------------------------------------

    def post(self, body: dict[str, Any]) -> int:
        """Send an action to nova-api, and return the status of its answer."""
        request = webob.Request.blank(
            '/servers/%s/action' % self.uuid, method='POST',
            content_type='application/json',
            body=json.dumps(body).encode())
        context = self.context()
        request.environ['nova.context'] = context
        answer = request.get_response(self.application)
        if answer.status_int == 202 and 'os-resetState' not in body:
            self.accepted.append(str(context.request_id))
        return int(answer.status_int)

    def ask(self, body: dict[str, Any]) -> Work:
        """Let nova-api begin with an action, step by step."""
        work = Work(lambda: self.post(body))
        self.asking.append(work)
        return work

    def kill_api(self, work: Work) -> None:
        """Let nova-api die in the middle of an action."""
        self.asking.remove(work)
        self.never_asked.append(work)

    def lock(self, meanwhile: Callable[[], None]) -> None:
        """Lock the server with a reason, as Nova does.

        It writes back all of the system metadata that it has read.

        :param meanwhile: what happens between the two
        """
        instance = self.instance()
        meanwhile()
        if instance is None:
            return
        instance.system_metadata.update({'locked_reason': str(self.now())})
        self.overwritten = True
        try:
            instance.save()
        except exception.InstanceNotFound:
            pass

    def delete(self) -> None:
        """Delete the server, and its guest with it."""
        if instance := self.instance():
            self.guest.running = False
            self.guest.do_thaw()
            instance.destroy()

    # What else happens ---------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Let time pass.

        A freeze that is held up on the bus arrives at the last moment.
        """
        end = self.passed + seconds
        while self.guest.on_bus and self.guest.on_bus[0] <= end:
            self._pass(self.guest.on_bus[0])
            self.arrive()
        self._pass(end)

    def _pass(self, until: float) -> None:
        self.set_clock(until - self.passed)
        self.passed = until

    def set_clock(self, seconds: float) -> None:
        """Set the clock forward, or back, while no time passes."""
        timeutils.advance_time_seconds(seconds)

    def restart_guest(self) -> None:
        """Let the guest start anew, without a word to Nova."""
        self.restarted = True
        self.guest.restart()

    def arrive(self) -> None:
        """Let a freeze that was held up on the bus reach the guest."""
        self.guest.on_bus.pop(0)
        self.guest.do_freeze()

    def report(self) -> None:
        """Let all services tell that they are up."""
        for service in self.services.values():
            service.report()

    def start_service(self, host: str) -> None:
        """Start a nova-quiesce, or start it again."""
        self.services[host] = Service(self, host)

    def kill(self, host: str) -> None:
        """Kill a nova-quiesce, whatever it is doing."""
        self.dead.append(self.services.pop(host))

    # What must be --------------------------------------------------------

    def check_mark(self) -> None:
        """A guest that is frozen by us has a mark, at each moment.

        Or is in a state by which it is found, if Nova has written over it.
        """
        if self.guest.frozen and self.guest.by_us:
            instance = self.instance()
            assert (instance is None or marks.get(instance) is not None
                    or self.overwritten and (
                        instance.vm_state == 'quiesced' or instance.task_state
                        in ('quiescing', 'unquiescing'))), (
                'frozen without a mark')

    def heal(self) -> None:
        """Repair all that is broken, and let the services do their work."""
        self.guest.freeze = self.guest.thaw = 'works'
        if self.guest.hung:
            self.guest.wake()
        for work in self.asking:
            if not work.done:
                work.go()
        for service in self.services.values():
            service.reports = True
            for work in service.works:
                if not work.done:
                    work.go()
        if not self.services:
            self.start_service('last')
        # Longer than the longest pause between two thaws, and than a request
        # may have to be waited for if the clock was set back.
        for pause in [5] * 4 + [60] * 12:
            self.report()
            self.check_mark()
            while self.bus.messages:
                host = next(iter(self.services))
                self.services[host].take(self.bus.messages.pop(0)).go()
            for service in self.services.values():
                service.sweep().go()
            if self._is_calm():
                break
            self.advance(pause)

    def _is_calm(self) -> bool:
        """Say whether nothing is under way, and nobody has anything to do."""
        instance = self.instance()
        if self.bus.messages or self.guest.on_bus:
            return False
        if instance is None:
            return all(found and all(result for _name, result in found)
                       for found in self.events().values())
        mark = marks.get(instance)
        if instance.task_state is not None:
            return False
        if instance.vm_state == 'quiesced':
            return mark is not None and not (
                mark.deadline or mark.late_until or mark.retry_at)
        return mark is None

    def check_end(self) -> None:
        """All is well that is healed."""
        self.check_mark()
        instance = self.instance()
        if instance is None:
            assert not db.watched_servers(
                nova_context.get_admin_context(), ('quiesced',),
                ('quiescing', 'unquiescing')), 'deleted, and seen to for ever'
            assert not self.bus.messages, 'deleted, and tried again'
            self._check_events()
            return
        states = (instance.vm_state, instance.task_state)
        mark = marks.get(instance)
        assert instance.task_state is None, states
        if instance.vm_state == 'quiesced':
            assert self.guest.frozen or self.restarted, 'only said quiesced'
            assert mark is not None, 'quiesced without a mark'
            assert not mark.deadline or mark.deadline > self.now(), (
                'past its deadline: %s' % mark)
        else:
            assert not (self.guest.frozen and self.guest.by_us), states
            assert mark is None, 'marked for ever: %s' % mark
        self._check_events()

    def _check_events(self) -> None:
        """Every request has ended, well or not."""
        events = self.events()
        for request_id in self.accepted:
            assert events[request_id], 'nobody has ended %s' % request_id
        for request_id, found in events.items():
            for name, result in found:
                assert result, '%s of %s has no end' % (name, request_id)

    def end(self) -> None:
        """Leave nothing behind."""
        for work in (*self.asking, *self.never_asked, *(
                work for service in (*self.services.values(), *self.dead)
                for work in service.works)):
            work.end()
        for record in {service.host: service.record for service in (
                *self.services.values(), *self.dead)}.values():
            record.destroy()
        self.delete()
        # Else the services of the next story would end what this one has not.
        context = nova_context.get_admin_context()
        with main_database.get_context_manager(context).writer.using(
                context) as session:
            actions = session.query(models.InstanceAction).filter_by(
                instance_uuid=self.uuid)
            for action in actions:
                session.query(models.InstanceActionEvent).filter_by(
                    action_id=action.id).delete()
            actions.delete()
        for patch in reversed(self._patches):
            patch.stop()
        timeutils.clear_time_override()
        logging.disable(logging.NOTSET)
