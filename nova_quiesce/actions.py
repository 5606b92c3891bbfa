# SPDX-License-Identifier: Apache-2.0

"""How requests are recorded: the events of their instance actions.

The action is made where the request arrives, under its id.  The service
that begins to work adds an event.  The end of the event is one transaction
with the change of the server's state, or comes before the row of the table of
freezes goes: so an event without an end always belongs to a row.
"""

from nova import context as nova_context
from nova import objects
from oslo_utils import uuidutils

from nova_quiesce import db
from nova_quiesce import exceptions
from nova_quiesce import schema
from nova_quiesce import states

#: An event of this name tells when a guest was frozen (its start), and when it
#: will be thawed at the latest (its finish).
DEADLINE = 'quiesce_deadline'


def own_context(context: nova_context.RequestContext,
                project_id: str | None, user_id: str | None = None,
                request_id: str | None = None) -> nova_context.RequestContext:
    """Return a context for the record of a request.

    :param context: one that targets the cell
    :param user_id: who asked; None for the service itself
    :param request_id: an existing request; by default a new one
    """
    own = nova_context.RequestContext(
        user_id=user_id, project_id=project_id, is_admin=True,
        request_id=request_id, overwrite=False)
    own.db_connection = context.db_connection
    own.mq_connection = context.mq_connection
    own.cell_uuid = context.cell_uuid
    return own


def new_request_id() -> str:
    """Return an id for a request of the service itself."""
    return 'req-' + str(uuidutils.generate_uuid())


@schema.retried
def record(context: nova_context.RequestContext, instance_uuid: str,
           action: states.Action) -> None:
    """Record the context's request."""
    objects.InstanceAction.action_start(
        context, instance_uuid, action.name, want_result=False)


@schema.retried
def drop(context: nova_context.RequestContext, instance_uuid: str) -> None:
    """Delete the record of a refused request, which no service has begun."""
    db.delete_action(context, instance_uuid, context.request_id)


@schema.retried
def begin(context: nova_context.RequestContext, instance_uuid: str,
          action: states.Action, host: str) -> None:
    """Record that a service works on the context's request.

    If the request was not recorded, because nova-api has died, it is now.  One
    that has ended keeps its one event, even if the work is repeated.
    """
    # Else one that stands still here adds an event when all has ended.
    with db.transaction(context, instance_uuid):
        begin_event(context, instance_uuid, action, host)


def begin_event(context: nova_context.RequestContext, instance_uuid: str,
                action: states.Action, host: str) -> None:
    """Do what :func:`begin` does within a transaction."""
    request = find_open(context, instance_uuid, context.request_id)
    if request is not None and request.event_id is not None:
        # Of a service that does not go on.
        db.adopt_event(context, request.event_id, host)
    elif request is not None:
        db.add_event(context, request.action_id, _name(action.name), host)
    elif db.action_id_of(context, instance_uuid, context.request_id) is None:
        new = objects.InstanceAction.action_start(
            context, instance_uuid, action.name)
        db.add_event(context, new.id, _name(action.name), host)


def find_open(context: nova_context.RequestContext, instance_uuid: str,
              request_id: str | None) -> db.OpenRequest | None:
    """Return a request if it has not ended."""
    for request in db.open_requests(context, instance_uuid):
        if request.request_id == request_id:
            return request
    return None


def finish(context: nova_context.RequestContext, instance_uuid: str,
           host: str, request_id: str | None,
           error: exceptions.GuestError | None, details: str | None = None,
           others: exceptions.GuestError | None = None) -> None:
    """Record the end of a request.

    :param error: why it has failed; None if it has not
    :param details: what there is to say if it has not failed
    :param others: why all other requests that have not ended have failed;
        by default these are left as they are
    """
    for request in db.open_requests(context, instance_uuid):
        why = error if request.request_id == request_id else others
        if request.request_id != request_id and others is None:
            continue
        event_id = request.event_id or db.add_event(
            context, request.action_id, _name(request.action), host)
        text = why.format_message() if why else details
        db.finish_event(context, request.action_id, event_id,
                        db.ERROR if why else db.SUCCESS, text)


def _name(action_name: str) -> str:
    return 'quiesce_%s_instance' % action_name
