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

"""How the work on a request is recorded: the events of its instance action.

The action is made by whoever asks, under the id of the request.  The service
that begins to work adds an event, which names its host: as long as the event
has no end, that service is responsible.  The event ends *before* the mark
goes, so that an event that nobody would end can always be found by its mark.
"""

from nova import context as nova_context
from nova import exception
from nova import objects
from oslo_utils import timeutils

from nova_quiesce import clock
from nova_quiesce import db
from nova_quiesce import exceptions
from nova_quiesce import states
from nova_quiesce.i18n import _

#: An event of this name, followed by a time, says until when a guest stays
#: frozen. Users see the names of events, but not all of them see the details.
UNTIL = 'quiesce_until_'

#: Nova cuts what it stores about an error off at this length.
MAX_DETAILS = 255


def service_context(context: nova_context.RequestContext, project_id: str,
                    request_id: str | None = None,
                    ) -> nova_context.RequestContext:
    """Return a context for what the service does of its own accord.

    :param context: one that targets the cell
    :param project_id: the project of the server
    :param request_id: an existing request; by default a new one
    """
    own = nova_context.RequestContext(
        project_id=project_id, is_admin=True, request_id=request_id,
        overwrite=False)
    own.db_connection = context.db_connection
    own.mq_connection = context.mq_connection
    own.cell_uuid = context.cell_uuid
    return own


def start(context: nova_context.RequestContext, instance_uuid: str,
          action: states.Action, host: str) -> int | None:
    """Record that this service begins to work on the context's request.

    If another one had begun, its event becomes ours.

    :returns: the id of the event; None if Nova has no such request
    """
    for request in db.open_requests(context, [instance_uuid], [action.name]):
        if request.request_id == context.request_id and request.event_id:
            db.adopt_event(context, request.event_id, host)
            return request.event_id
    try:
        return objects.InstanceActionEvent.event_start(  # type: ignore
            context, instance_uuid, _name(action.name), host=host).id
    except exception.InstanceActionNotFound:
        return None


def finish(context: nova_context.RequestContext, event_id: int | None,
           error: exceptions.GuestError | None = None,
           details: str | None = None) -> None:
    """Record the end of the work.

    :param error: what went wrong; by default nothing
    :param details: what there is to say if nothing went wrong
    """
    if event_id is None:
        return
    if error is not None:
        details = error.format_message()
    db.finish_event(
        context, event_id, 'Error' if error else 'Success',
        details and details[:MAX_DETAILS], timeutils.utcnow())


def announce(context: nova_context.RequestContext, instance_uuid: str,
             host: str, deadline: int, unquiesce_after: int) -> None:
    """Record until when the guest stays frozen, for everybody to see."""
    try:
        event = objects.InstanceActionEvent.event_start(
            context, instance_uuid, UNTIL + clock.text(deadline), host=host)
    except exception.InstanceActionNotFound:
        return
    finish(context, event.id, details=_(
        'The server will be unquiesced at %(when)s, %(seconds)d seconds '
        'after it was frozen, unless that is asked for before') % {
            'when': clock.text(deadline), 'seconds': unquiesce_after})


def close(context: nova_context.RequestContext, request: db.OpenRequest,
          host: str, error: exceptions.GuestError | None) -> None:
    """Record the end of a request that nobody works on.

    :param host: that of this service
    :param error: why it failed; None if it was done
    """
    event_id = request.event_id
    if event_id is None:
        event_id = objects.InstanceActionEvent.event_start(
            service_context(context, request.project_id, request.request_id),
            request.instance_uuid, _name(request.action), host=host).id
    finish(context, event_id, error)


def _name(action_name: str) -> str:
    return 'quiesce_%s_instance' % action_name
