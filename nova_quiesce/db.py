# SPDX-License-Identifier: Apache-2.0

"""What is read and written in the tables of a cell, beyond Nova's objects.

Nova's objects save the state of a server and the end of an action in two
transactions, and overwrite what others have written in between.  Here a state
is replaced only if it is the expected one, and several changes are one
transaction.  Nothing in here decides anything.
"""

import contextlib
import dataclasses
from collections.abc import Collection, Iterator
from typing import Any, TypeAlias

import sqlalchemy as sa
from nova import context as nova_context
from nova import exception
from nova import objects
from nova.db.main import api
from nova.db.main import models
from oslo_utils import timeutils

from nova_quiesce import states
from nova_quiesce import times

#: Nova cuts what it stores about an error off at this length.
MAX_DETAILS = 255

#: what Nova calls the results of an event
SUCCESS, ERROR = 'Success', 'Error'

#: vm_state and task_state
Pair: TypeAlias = tuple[str, str | None]


@dataclasses.dataclass(frozen=True)
class ServerStates:
    """The states of a server, where it is, and whose.

    :param host: its compute host; None if it has none
    """

    uuid: str
    vm_state: str
    task_state: str | None
    host: str | None
    project_id: str | None


_STATES = (models.Instance.uuid, models.Instance.vm_state,
           models.Instance.task_state, models.Instance.host,
           models.Instance.project_id)


@dataclasses.dataclass(frozen=True)
class OpenRequest:
    """An instance action whose event has not ended.

    :param event_id: the event; None if it has not begun
    """

    request_id: str
    action: str
    action_id: int
    event_id: int | None


def bound_waits() -> None:
    """Let neither this process nor its databases wait for the other for ever.

    A database that hangs, or has vanished from the network, keeps its
    connections, and PyMySQL waits. If this process vanishes so, the database
    keeps its locks. An operator's own ``read_timeout`` and ``init_command``
    stay.
    """
    sa.event.listen(sa.Engine, 'do_connect', _bound_waits)


def bound_locks() -> None:
    """Let the databases give up the locks of this process if it vanishes.

    For a process with statements of Nova's own, which may wait as ever. A
    pool looks whether a connection is open before it gives it to anybody.
    """
    sa.event.listen(sa.Engine, 'do_connect', _bound_locks)


def _bound_waits(dialect: sa.Dialect, record: Any, arguments: Any,
                 parameters: dict[str, Any]) -> None:
    if dialect.driver == 'pymysql':
        parameters.setdefault('read_timeout', times.READ_TIMEOUT)
        parameters.setdefault(
            'init_command', 'SET SESSION wait_timeout = %d, '
            'innodb_lock_wait_timeout = %d' % (
                times.IDLE_TIMEOUT, times.LOCK_TIMEOUT))


def _bound_locks(dialect: sa.Dialect, record: Any, arguments: Any,
                 parameters: dict[str, Any]) -> None:
    if dialect.driver == 'pymysql':
        parameters.setdefault('init_command', 'SET SESSION wait_timeout = %d'
                              % times.IDLE_TIMEOUT)


@contextlib.contextmanager
def transaction(context: nova_context.RequestContext, instance_uuid: str,
                ) -> Iterator[ServerStates]:
    """Do several things to a server in its cell, all of them or none.

    What is read in it is what is there when it writes: else MySQL would read
    what was there before another one's commit that it then waits for.

    :returns: the states of the server, even if it is deleted
    """
    with api.get_context_manager(context).writer.using(context) as session:
        row = session.execute(sa.select(*_STATES).where(
            models.Instance.uuid == instance_uuid).with_for_update()).first()
        if row is None:
            raise exception.InstanceNotFound(instance_id=instance_uuid)
        yield ServerStates(*row)


@api.pick_context_manager_writer
def move(context: nova_context.RequestContext, instance_uuid: str,
         before: Pair, after: Pair) -> bool:
    """Replace vm_state and task_state of a server if they are as expected.

    :returns: whether they were
    """
    instance = models.Instance
    return bool(context.session.query(instance).filter(
        instance.uuid == instance_uuid, instance.deleted == 0,
        instance.vm_state == before[0],
        instance.task_state.is_(None) if before[1] is None
        else instance.task_state == before[1]).update({
            'vm_state': after[0], 'task_state': after[1],
            'updated_at': timeutils.utcnow()}, synchronize_session=False))


@api.pick_context_manager_writer
def start(context: nova_context.RequestContext, instance_uuid: str,
          action: states.Action) -> bool:
    """Put a server into a task state, and record the context's request.

    Both or neither: a service that finds the state finds the record.

    :returns: whether the server was in the states in which it can be asked
    """
    moved = move(context, instance_uuid, action.before, action.during)
    if moved:
        objects.InstanceAction.action_start(
            context, instance_uuid, action.name, want_result=False)
    return moved


@api.pick_context_manager_reader
def _servers(context: nova_context.RequestContext,
             condition: sa.ColumnElement[bool]) -> list[ServerStates]:
    return [ServerStates(*row) for row in context.session.query(
        *_STATES).filter(condition, models.Instance.deleted == 0)]


def states_of(context: nova_context.RequestContext,
              instance_uuids: Collection[str]) -> list[ServerStates]:
    """Return the states of those of these servers that are not deleted."""
    return _servers(context, models.Instance.uuid.in_(instance_uuids))


def in_task_state(context: nova_context.RequestContext,
                  task_states: Collection[str]) -> list[ServerStates]:
    """Return the servers in these task states; Nova has an index of them."""
    return _servers(context, models.Instance.task_state.in_(task_states))


@api.pick_context_manager_reader
def open_requests(context: nova_context.RequestContext,
                  instance_uuid: str) -> list[OpenRequest]:
    """Return the requests of a server that have not ended, oldest first."""
    action, event = models.InstanceAction, models.InstanceActionEvent
    rows = context.session.query(
        action.request_id, action.action, action.id, event.id,
    ).outerjoin(
        event, sa.and_(event.action_id == action.id, event.deleted == 0)
    ).filter(
        action.instance_uuid == instance_uuid, action.deleted == 0,
        action.action.in_(states.ACTION_NAMES), event.finish_time.is_(None),
    ).order_by(action.id)
    return [OpenRequest(*row) for row in rows]


@api.pick_context_manager_reader
def action_id_of(context: nova_context.RequestContext, instance_uuid: str,
                 request_id: str) -> int | None:
    """Return the number of the action of a request."""
    action = models.InstanceAction
    found: int | None = context.session.query(sa.func.max(action.id)).filter(
        action.instance_uuid == instance_uuid,
        action.request_id == request_id).scalar()
    return found


@api.pick_context_manager_writer
def delete_action(context: nova_context.RequestContext, instance_uuid: str,
                  request_id: str) -> None:
    """Delete the action of a request that has no event."""
    action, event = models.InstanceAction, models.InstanceActionEvent
    context.session.query(action).filter(
        action.instance_uuid == instance_uuid,
        action.request_id == request_id,
        ~sa.exists().where(event.action_id == action.id)
    ).delete(synchronize_session=False)


@api.pick_context_manager_reader
def result_of(context: nova_context.RequestContext, instance_uuid: str,
              request_id: str) -> tuple[str, str | None] | None:
    """Return result and details of a request; None if it has not ended."""
    action, event = models.InstanceAction, models.InstanceActionEvent
    row = context.session.query(event.result, event.details).join(
        action, action.id == event.action_id).filter(
            action.instance_uuid == instance_uuid,
            action.request_id == request_id,
            event.finish_time.is_not(None)).order_by(event.id).first()
    return (row[0], row[1]) if row else None


@api.pick_context_manager_writer
def add_event(context: nova_context.RequestContext, action_id: int,
              name: str, host: str, **columns: Any) -> int:
    """Add an event to an action, and return its number."""
    row = models.InstanceActionEvent(
        action_id=action_id, event=name, host=host,
        **{'start_time': timeutils.utcnow(), **columns})
    context.session.add(row)
    context.session.flush()
    number: int = row.id
    return number


@api.pick_context_manager_writer
def adopt_event(context: nova_context.RequestContext, event_id: int,
                host: str) -> None:
    """Record that another service works on this event."""
    context.session.query(models.InstanceActionEvent).filter_by(
        id=event_id).update({'host': host}, synchronize_session=False)


@api.pick_context_manager_writer
def finish_event(context: nova_context.RequestContext, action_id: int,
                 event_id: int, result: str, details: str | None) -> None:
    """End an event of an action, by their numbers.

    Nova's own function ends the first event of a name, takes details for
    errors only, and writes a traceback for each error.
    """
    action, event = models.InstanceAction, models.InstanceActionEvent
    now = timeutils.utcnow()
    context.session.query(event).filter_by(id=event_id).update({
        'finish_time': now, 'result': result,
        'details': details and details[:MAX_DETAILS],
    }, synchronize_session=False)
    context.session.query(action).filter_by(id=action_id).update({
        'updated_at': now, **({'message': ERROR} if result == ERROR else {}),
    }, synchronize_session=False)


@api.pick_context_manager_reader
def has_event_after(context: nova_context.RequestContext, instance_uuid: str,
                    events: Collection[str], action_id: int) -> bool:
    """Return whether one of these events of a later action has succeeded.

    :param events: names, such as ``compute_reboot_instance``
    """
    action, event = models.InstanceAction, models.InstanceActionEvent
    return context.session.query(event.id).join(
        action, action.id == event.action_id
    ).filter(
        action.instance_uuid == instance_uuid, event.event.in_(events),
        action.id > action_id, event.result == SUCCESS,
        event.deleted == 0, action.deleted == 0,
    ).first() is not None
