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

"""The search for guests that have to be thawed: the last line of defence.

Every nova-quiesce looks again and again at the servers that have a mark, and
at those that have lost theirs; :mod:`nova_quiesce.lookout` finds them.
:mod:`nova_quiesce.recovery` says what has to be done; this module finds out
what that needs to know, and does it.  It asks for thaws like everybody else,
by a compare-and-swap and a message, so any number of services can sweep at
the same time, and none has to wait for a guest.
"""

import collections
import random
from collections.abc import Callable, Collection, Sequence

from nova import context as nova_context
from nova import exception
from nova import objects
from nova.compute import utils as compute_utils
from oslo_config import cfg
from oslo_log import log as logging

from nova_quiesce import cells
from nova_quiesce import clock
from nova_quiesce import db
from nova_quiesce import events
from nova_quiesce import exceptions
from nova_quiesce import lookout
from nova_quiesce import marks
from nova_quiesce import recovery
from nova_quiesce import requests
from nova_quiesce import states
from nova_quiesce import watch
from nova_quiesce.i18n import _

CONF = cfg.CONF
LOG = logging.getLogger(__name__)


class Workers:
    """Knows which requests are being worked on.

    :param host: the host of this service
    :param is_working: says whether this service works on a request; one that
        it does not work on was its predecessor's, before a restart
    """

    def __init__(self, host: str, is_working: Callable[[str], bool],
                 known_cells: cells.Cells) -> None:
        self._host = host
        self._is_working = is_working
        self._cells = known_cells
        self._services: cells.Services | None = None

    def forget(self) -> None:
        """Find out anew which services are up."""
        self._services = None

    def of(self, context: nova_context.RequestContext,
           request: db.OpenRequest | None) -> recovery.Worker:
        """Say what is known of the service that works on a request."""
        if request is None or request.event_id is None:
            return recovery.Worker.NOBODY
        if request.host == self._host:
            alive = self._is_working(request.request_id)
        else:
            services = self._services or self._cells.services(context)
            self._services = services
            alive = not services.is_dead(request.host)
        return recovery.Worker.ALIVE if alive else recovery.Worker.DEAD


class Sweep:
    """Finds what has to be done, and has it done.

    :param host: the host of this service
    :param is_working: says whether this service works on a request
    """

    def __init__(self, host: str, is_working: Callable[[str], bool]) -> None:
        self._host = host
        self._cells = cells.Cells()
        self._lookout = lookout.Lookout()
        #: by cell
        self._watches: dict[str, watch.Watch] = collections.defaultdict(
            watch.Watch)
        self._requests = requests.Requests()
        self.workers = Workers(host, is_working, self._cells)
        self._acts = {
            recovery.Verdict.THAW_OVERDUE: self._thaw_overdue,
            recovery.Verdict.THAW_AGAIN: self._thaw_again,
            recovery.Verdict.FORGET: self._forget,
            recovery.Verdict.INTERRUPT: self._interrupt,
            recovery.Verdict.RESUME: self._resume,
        }

    def run(self, context: nova_context.RequestContext) -> None:
        """Look once at the servers of every cell that may be frozen."""
        self.workers.forget()
        answers, _complete = self._cells.ask(context, self._look)
        for cell, (sight, open_requests) in answers:
            servers = sight.servers
            watched = self._watches[cell.uuid]
            watched.note(servers)
            # Several services that sweep at the same time share the work.
            random.shuffle(servers)
            with nova_context.target_cell(context, cell) as cell_context:
                for server in servers:
                    try:
                        self._see_to(cell_context, server, watched,
                                     open_requests[server.uuid])
                    except exception.InstanceNotFound:
                        pass    # and its mark with it
                    except Exception:
                        LOG.exception('Sweep of server %s failed; it is '
                                      'repeated', server.uuid)
                try:
                    self._end(cell_context, sight.deleted)
                except Exception:
                    LOG.exception('Ending the requests of deleted servers '
                                  'failed; it is repeated')

    def _end(self, context: nova_context.RequestContext,
             deleted: Collection[str]) -> None:
        """End the requests in the middle of which a server was deleted.

        :param deleted: UUIDs of servers whose requests had no end a moment ago
        """
        # They are read once more: their services may have ended them since.
        for request in db.open_requests(
                context, deleted, states.ACTION_NAMES) if deleted else ():
            if (self.workers.of(context, request)
                    is not recovery.Worker.ALIVE):
                events.close(context, request, self._host,
                             exceptions.Deleted())

    def _look(self, context: nova_context.RequestContext) -> tuple[
            lookout.Sight, dict[str, list[db.OpenRequest]]]:
        """Return what a cell shows, and the requests of its servers."""
        sight = self._lookout.look(context)
        found = collections.defaultdict(list)
        if sight.servers:
            for request in db.open_requests(
                    context, [server.uuid for server in sight.servers],
                    states.ACTION_NAMES):
                found[request.instance_uuid].append(request)
        return sight, found

    def _see_to(self, context: nova_context.RequestContext,
                server: db.WatchedServer, watched: watch.Watch,
                open_requests: Sequence[db.OpenRequest]) -> None:
        if server.mark is None:
            self._mark_lost(context, server)
            return
        mark = marks.parse(server.mark)
        request = _request_under_way(server, mark, open_requests)
        worker = self.workers.of(context, request)
        seconds = watched.seconds(server.uuid, mark)
        verdict = recovery.judge(
            recovery.Sight(mark, server.vm_state, server.task_state,
                           server.host, worker, seconds),
            clock.now(), CONF.quiesce.rpc_timeout)
        to_close = [] if server.task_state else [
            each for each in open_requests if self._is_left(context, each)]
        if verdict is recovery.Verdict.WAIT and not to_close:
            return
        instance = _read(context, server)
        if instance is None:
            return
        for each in to_close:
            self._close(context, instance, mark, each)
        if verdict is recovery.Verdict.SETTLE:
            self._settle(context, instance, mark, seconds)
        elif verdict is not recovery.Verdict.WAIT:
            self._acts[verdict](context, instance, mark, request)

    def _mark_lost(self, context: nova_context.RequestContext,
                   server: db.WatchedServer) -> None:
        """Thaw a server that has lost its mark, whatever it is in.

        Nova's requests that change system metadata, such as the lock of a
        server, write all of it back as they have read it.
        """
        instance = _read(context, server)
        if instance is None:
            return
        was_freezing = server.task_state == states.QUIESCING
        error = exceptions.Interrupted(why=_(
            'Another request has overwritten the record of the quiesce'))
        if self._requests.thaw(
                context, instance, error.format_message(),
                vm_state=(states.QUIESCE.ends[states.Outcome.FAILED]
                          if was_freezing else None),
                task_state=server.task_state,
                # One was answered if the server is quiesced; else nobody
                # knows.
                late_freeze=server.vm_state != states.QUIESCED,
                ) and was_freezing:
            compute_utils.add_instance_fault_from_exc(
                context, instance, error)

    def _is_left(self, context: nova_context.RequestContext,
                 request: db.OpenRequest) -> bool:
        """Say whether nobody will end a request of a server at rest."""
        worker = self.workers.of(context, request)
        if worker is recovery.Worker.NOBODY:
            age = clock.now() - clock.from_datetime(request.started_at)
            return age > recovery.lost_after(CONF.quiesce.rpc_timeout)
        return worker is recovery.Worker.DEAD

    def _close(self, context: nova_context.RequestContext,
               instance: objects.Instance, mark: marks.Mark,
               request: db.OpenRequest) -> None:
        """End a request whose service has died after the work was done."""
        done = (instance.vm_state == states.QUIESCED
                and request.request_id == mark.request_id)
        events.close(context, request, self._host,
                     None if done else _interrupted(request))

    def _thaw_overdue(self, context: nova_context.RequestContext,
                      instance: objects.Instance, mark: marks.Mark,
                      request: db.OpenRequest | None) -> None:
        self._requests.thaw(context, instance, _why(mark))

    def _thaw_again(self, context: nova_context.RequestContext,
                    instance: objects.Instance, mark: marks.Mark,
                    request: db.OpenRequest | None) -> None:
        self._requests.thaw(context, instance, _why(mark.but(deadline=0)))

    def _settle(self, context: nova_context.RequestContext,
                instance: objects.Instance, mark: marks.Mark,
                watched: float) -> None:
        if not marks.replace(instance, recovery.settled(
                mark, clock.now(), watched, CONF.quiesce.rpc_timeout)):
            return    # somebody has acted since
        if mark.retry_at == mark.late_until:
            self._thaw_again(context, instance, mark, None)

    def _forget(self, context: nova_context.RequestContext,
                instance: objects.Instance, mark: marks.Mark,
                request: db.OpenRequest | None) -> None:
        # Nobody could find them without the mark.
        for each in db.open_requests(
                context, [instance.uuid], states.ACTION_NAMES):
            self._close(context, instance, mark, each)
        if marks.replace(instance, None):
            LOG.info('Not marked any more: the guest does not run, vm_state '
                     'is %s', instance.vm_state, instance=instance)

    def _interrupt(self, context: nova_context.RequestContext,
                   instance: objects.Instance, mark: marks.Mark,
                   request: db.OpenRequest | None) -> None:
        error = _interrupted(request)
        if not self._requests.thaw(
                context, instance,
                _('Request %s was interrupted') % mark.request_id,
                vm_state=states.QUIESCE.ends[states.Outcome.FAILED],
                task_state=states.QUIESCING, late_freeze=True):
            return    # another service was faster
        compute_utils.add_instance_fault_from_exc(context, instance, error)
        if request is not None:
            events.close(context, request, self._host, error)

    def _resume(self, context: nova_context.RequestContext,
                instance: objects.Instance, mark: marks.Mark,
                request: db.OpenRequest | None) -> None:
        LOG.warning('A thaw has to be taken over: %s', _interrupted(request),
                    instance=instance)
        self._requests.resume(
            context, instance, mark, request.request_id if request else None,
            None if request and request.user_id else _why(mark))


def _read(context: nova_context.RequestContext, server: db.WatchedServer,
          ) -> objects.Instance | None:
    """Return the instance, unless somebody has acted since it was seen."""
    instance = objects.Instance.get_by_uuid(
        context, server.uuid,
        expected_attrs=['system_metadata', 'metadata', 'flavor'])
    if (instance.system_metadata.get(marks.KEY), instance.vm_state,
            instance.task_state) != (
                server.mark, server.vm_state, server.task_state):
        return None
    return instance


def _request_under_way(server: db.WatchedServer, mark: marks.Mark,
                       open_requests: Sequence[db.OpenRequest],
                       ) -> db.OpenRequest | None:
    """Return the request that has brought the server into its task_state."""
    for request in open_requests:
        if server.task_state == states.QUIESCING:
            found = request.request_id == mark.request_id
        else:
            found = (server.task_state == states.UNQUIESCING and mark.thaw_id
                     == marks.short_id(request.request_id))
        if found:
            return request
    return None


def _why(mark: marks.Mark) -> str:
    """Return why a guest is thawed for which no user has asked."""
    if recovery.is_overdue(mark, clock.now()):
        return _('The deadline of request %(request)s, %(when)s, has passed'
                 ) % {'request': mark.request_id,
                      'when': clock.text(mark.deadline)}
    return _('The guest may still be frozen by request %s') % mark.request_id


def _interrupted(request: db.OpenRequest | None) -> exceptions.Interrupted:
    if request is not None and request.event_id is not None:
        why = _('nova-quiesce on %s died, or was restarted, in the middle of '
                'it') % request.host
    else:
        why = _('No nova-quiesce has taken it up')
    return exceptions.Interrupted(why=why)
