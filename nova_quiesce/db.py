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

"""What we need of Nova's cell database and Nova's objects do not offer.

Every function is one short transaction in the cell that its context is
targeted at.  Nothing here decides anything.
"""

import dataclasses
import datetime
from collections.abc import Callable, Collection

from nova import context as nova_context
from nova.db.main import api
from nova.db.main import models
from sqlalchemy import sql

#: key of the mark in instance_system_metadata
MARK = 'quiesce_mark'


@dataclasses.dataclass(frozen=True)
class WatchedServer:
    """A server that has a mark, or should have one, as the sweep sees it.

    :param mark: the stored text; None if it has none
    """

    uuid: str
    host: str | None
    vm_state: str
    task_state: str | None
    mark: str | None


@dataclasses.dataclass(frozen=True)
class OpenRequest:
    """A request whose instance action has no event, or one without an end.

    :param project_id: that of who has asked for it
    :param user_id: who that was; None if no user has asked
    :param started_at: when it was accepted
    :param event_id: its event; None while no service has begun
    :param host: that of the service that works on it
    """

    instance_uuid: str
    request_id: str
    action: str
    project_id: str
    user_id: str | None
    started_at: datetime.datetime
    event_id: int | None
    host: str | None


def named(uuids: Collection[str]) -> sql.ColumnElement[bool]:
    """Return the condition that a server is one of these."""
    return models.Instance.uuid.in_(uuids)


def updated_since(when: datetime.datetime) -> sql.ColumnElement[bool]:
    """Return the condition that a server was saved after that."""
    return models.Instance.updated_at >= when


def numbered(first: int, last: int | None) -> sql.ColumnElement[bool]:
    """Return the condition that the number of a server's row is in there.

    :param last: None: whatever is higher
    """
    number = models.Instance.id
    return number >= first if last is None else number.between(first, last)


@api.pick_context_manager_reader
def last_number(context: nova_context.RequestContext, first: int,
                count: int) -> int | None:
    """Return the number of the last of so many servers' rows.

    Numbers of rows that were archived are free, and may be many.

    :param first: the number that they begin with, or a lower one
    :param count: how many rows
    :returns: None if there are not as many
    """
    number = models.Instance.id
    last: int | None = context.session.query(number).filter(
        number >= first,
    ).order_by(number).offset(count - 1).limit(1).scalar()
    return last


@api.pick_context_manager_reader
def watched_servers(context: nova_context.RequestContext,
                    vm_states: Collection[str],
                    task_states: Collection[str],
                    *conditions: sql.ColumnElement[bool],
                    ) -> list[WatchedServer]:
    """Return every server that has a mark, or is in one of these states.

    Nova has no index of keys of metadata, nor of vm_states: without further
    conditions every server is read.

    :param conditions: those that hold for the servers
    """
    metadata, instance = models.InstanceSystemMetadata, models.Instance
    rows = context.session.query(
        instance.uuid, instance.host, instance.vm_state, instance.task_state,
        metadata.value,
    ).outerjoin(
        metadata, sql.and_(metadata.instance_uuid == instance.uuid,
                           metadata.key == MARK, metadata.deleted == 0)
    ).filter(
        instance.deleted == 0, *conditions,
        sql.or_(metadata.value.is_not(None),
                instance.vm_state.in_(vm_states),
                instance.task_state.in_(task_states)))
    return [WatchedServer(*row) for row in rows]


@api.pick_context_manager_reader
def deleted_servers(context: nova_context.RequestContext,
                    *conditions: sql.ColumnElement[bool]) -> list[str]:
    """Return the UUIDs of deleted servers that are not archived yet.

    :param conditions: those that hold for the servers
    """
    instance = models.Instance
    return [uuid for (uuid,) in context.session.query(instance.uuid).filter(
        instance.deleted != 0, *conditions)]


@api.pick_context_manager_writer
def replace_mark(context: nova_context.RequestContext, instance_uuid: str,
                 before: str, after: str | None) -> bool:
    """Replace a mark, or delete it, if it is still as it was.

    :returns: whether it was; of several callers with the same ``before``,
        exactly one is told so
    """
    metadata = models.InstanceSystemMetadata
    rows = context.session.query(metadata).filter(
        metadata.instance_uuid == instance_uuid, metadata.key == MARK,
        metadata.value == before, metadata.deleted == 0)
    if after is None:
        # As Nova does with system metadata: the row goes.
        found = rows.delete(synchronize_session=False)
    else:
        found = rows.update({'value': after}, synchronize_session=False)
    return bool(found)


@api.pick_context_manager_writer
def in_one_transaction(context: nova_context.RequestContext,
                       work: Callable[[], bool]) -> bool:
    """Do several things in the database, all of them or none.

    :param work: uses the same context for all of them
    :returns: what it returns
    """
    return work()


@api.pick_context_manager_reader
def open_requests(context: nova_context.RequestContext,
                  instance_uuids: Collection[str],
                  actions: Collection[str]) -> list[OpenRequest]:
    """Return the requests of these servers that have not ended, newest first.

    :param actions: names of instance actions
    """
    action, event = models.InstanceAction, models.InstanceActionEvent
    rows = context.session.query(
        action.instance_uuid, action.request_id, action.action,
        action.project_id, action.user_id, action.start_time, event.id,
        event.host,
    ).outerjoin(
        event, sql.and_(event.action_id == action.id, event.deleted == 0)
    ).filter(
        action.instance_uuid.in_(instance_uuids), action.action.in_(actions),
        action.deleted == 0, event.finish_time.is_(None),
    ).order_by(action.id.desc())
    return [OpenRequest(*row) for row in rows]


@api.pick_context_manager_writer
def adopt_event(context: nova_context.RequestContext, event_id: int,
                host: str) -> None:
    """Say that another service works on this event now."""
    context.session.query(models.InstanceActionEvent).filter_by(
        id=event_id).update({'host': host}, synchronize_session=False)


@api.pick_context_manager_writer
def finish_event(context: nova_context.RequestContext, event_id: int,
                 result: str, details: str | None,
                 when: datetime.datetime) -> None:
    """End an event, by its id.

    Nova's own function ends the first event of a name, takes details for
    errors only, and writes a traceback for each error.
    """
    event = context.session.get(models.InstanceActionEvent, event_id)
    if event is None:
        return
    event.update({'finish_time': when, 'result': result, 'details': details})
    action = context.session.get(models.InstanceAction, event.action_id)
    action.update({'updated_at': when})
    if result == 'Error':
        action.update({'message': 'Error'})


@api.pick_context_manager_reader
def has_event_since(context: nova_context.RequestContext, instance_uuid: str,
                    events: Collection[str], request_id: str,
                    when: datetime.datetime) -> bool:
    """Say whether one of these events came after a request, and succeeded.

    It began later than that by its host's clock, too, and was asked for later
    whatever the clocks say.

    :param events: names, such as ``compute_reboot_instance``
    """
    action, event = models.InstanceAction, models.InstanceActionEvent
    number: int | None = context.session.query(sql.func.max(action.id)).filter(
        action.instance_uuid == instance_uuid,
        action.request_id == request_id,
    ).scalar()
    return context.session.query(event.id).join(
        action, action.id == event.action_id
    ).filter(
        action.instance_uuid == instance_uuid, event.event.in_(events),
        action.id > (number or 0),
        event.result == 'Success', event.start_time > when,
        event.deleted == 0, action.deleted == 0,
    ).first() is not None
