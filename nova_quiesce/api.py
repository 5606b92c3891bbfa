# SPDX-License-Identifier: Apache-2.0

"""Asking for a freeze or a thaw: what nova.compute.api would do.

The row of the table of freezes is written before the server's state, so that
whatever a nova-api leaves undone is found.  This module knows no HTTP; it must
never wait for a guest, or for a message.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import tenacity
from nova import context as nova_context
from nova import exception
from nova import objects
from nova import servicegroup
from nova.compute import api as compute
from oslo_log import log as logging

from nova_quiesce import actions
from nova_quiesce import conf
from nova_quiesce import db
from nova_quiesce import exceptions
from nova_quiesce import records
from nova_quiesce import rpcapi
from nova_quiesce import schema
from nova_quiesce import states
from nova_quiesce import store
from nova_quiesce.i18n import _

CONF = conf.CONF
LOG = logging.getLogger(__name__)

State = store.State
_WHILE_OLD_ROW_GOES = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(exceptions.NotClearedUp),
    stop=tenacity.stop_after_attempt(40), wait=tenacity.wait_fixed(0.05),
    reraise=True)
_BEFORE_FROZEN = (State.ASKED, State.FREEZING)


class API:
    """What can be asked of nova-quiesce.

    As in nova.compute.api, ``InstanceInvalidState`` is raised for a server in
    a state that does not fit, and ``InstanceIsLocked`` for a locked one;
    :class:`~nova_quiesce.exceptions.Unavailable` if no service could do it. A
    thaw by the id of a request is accepted without a service, and waits for
    one.
    """

    def __init__(self) -> None:
        self._store = store.Store(CONF.host)
        self._rpcapi = rpcapi.QuiesceAPI()
        self._records = records.Records(CONF.host)
        self._servicegroup = servicegroup.API()
        #: monotonic time until which a successful check is not repeated
        self._well_until: dict[tuple[str, ...], float] = {}

    # Quiesce --------------------------------------------------------------

    def quiesce(self, context: nova_context.RequestContext,
                instance: objects.Instance, unquiesce_after: int,
                request_id: str | None = None) -> None:
        """Have the guest frozen; nothing happens if this request has come.

        :param unquiesce_after: seconds after which it is thawed; 0 if never
        :param request_id: the caller's; by default that of the context
        :raises Conflict: if it cannot be frozen now
        """
        own_id = request_id or context.request_id
        self._check(('schema',), schema.check)
        try:
            self._check_quiesce(context, instance)
            # The row of a thaw goes a moment after the state has changed.
            _WHILE_OLD_ROW_GOES.copy()(
                self._store.ask,
                request_id=own_id, unquiesce_after=unquiesce_after,
                **_columns(context, instance))
        except (exception.InstanceInvalidState, exception.InstanceIsLocked,
                exceptions.QuiesceError):
            # Looked up only now: few requests come a second time.
            instance.refresh()
            if not self._resume(context, instance, own_id):
                raise
            return
        self._begin_quiesce(context, instance, own_id)

    def _resume(self, context: nova_context.RequestContext,
                instance: objects.Instance, request_id: str) -> bool:
        """Go on with a request that has arrived before.

        :returns: whether it has, and is quiescing or has quiesced
        :raises RequestKnown: if it has ended, or was withdrawn
        """
        # Both rows are inserted in one transaction, so read the request first.
        fate = self._store.fate(instance.uuid, request_id)
        row = self._store.get(instance.uuid)
        if row is not None and row.request_id == request_id:
            if row.given_up or row.state == State.THAWING:
                raise self._ended(instance, request_id)
            if row.state == State.ASKED and not instance.task_state:
                # The nova-api that had it did not come to the state.
                self._begin_quiesce(context, instance, request_id)
            return True
        if fate is None:
            return False
        raise self._ended(instance, request_id)

    def _ended(self, instance: objects.Instance, request_id: str,
               ) -> exceptions.RequestKnown:
        key = {'instance_uuid': instance.uuid, 'request_id': request_id}
        result = (None if self._store.fate(**key) == store.Fate.WITHDRAWN
                  else db.result_of(instance._context, **key))
        if result is None:
            return exceptions.RequestWithdrawn(**key)
        if result[0] == db.SUCCESS:
            how = _('it was unquiesced')
        else:
            how = result[1] or _('it failed')
        return exceptions.RequestEnded(how=how, **key)

    @compute.check_instance_lock
    @compute.check_instance_state(vm_state=[states.QUIESCE.accepted_in])
    def _check_quiesce(self, context: nova_context.RequestContext,
                       instance: objects.Instance) -> None:
        self._check(('service',), self._check_any_service)
        if not instance.host:
            raise exceptions.ComputeDown(instance_uuid=instance.uuid)
        self._check(('compute', instance.host),
                    lambda: self._check_compute(instance))

    def _begin_quiesce(self, context: nova_context.RequestContext,
                       instance: objects.Instance, request_id: str) -> None:
        if self._begin(context, instance, states.QUIESCE, request_id,
                       self._rpcapi.quiesce_instance):
            return
        row = self._store.get(instance.uuid)
        if row is not None and row.request_id == request_id and (
                row.state != State.ASKED
                or instance.task_state == states.QUIESCING):
            return    # another copy of this request was faster
        self._store.drop(instance.uuid, request_id)
        raise _invalid_state(instance, states.QUIESCE)

    def _begin(self, context: nova_context.RequestContext,
               instance: objects.Instance, action: states.Action,
               request_id: str, cast: Callable[..., None]) -> bool:
        """Put the server into its task state, and tell the services.

        :returns: False if its state has changed; then it is read again
        """
        own = actions.own_context(
            instance._context, context.project_id, context.user_id,
            request_id)
        if not schema.retried(db.start)(own, instance.uuid, action):
            instance.refresh()
            return False
        self._records.notify_states(
            instance._context, instance, action.before, action.during)
        self._hint(cast, own, instance)
        return True

    # Unquiesce ------------------------------------------------------------

    @compute.check_instance_lock
    @compute.check_instance_state(vm_state=[states.UNQUIESCE.accepted_in])
    def unquiesce(self, context: nova_context.RequestContext,
                  instance: objects.Instance) -> None:
        """Have the guest of a quiesced server thawed, by any request."""
        self._check(('schema',), schema.check)
        self._check(('service',), self._check_any_service)
        if self._unquiesce(context, instance):
            return
        if not self._store.insert_thaw(
                unquiesce_request_id=context.request_id,
                **_columns(context, instance)):
            # Another request is about to thaw it.
            raise exception.InstanceInvalidState(
                attr='task_state', state=states.UNQUIESCING,
                instance_uuid=instance.uuid, method=states.UNQUIESCE.name)
        self._begin_unquiesce(context, instance)

    def unquiesce_request(self, context: nova_context.RequestContext,
                          instance: objects.Instance, request_id: str,
                          ) -> dict[str, str] | None:
        """Have the guest thawed if this request has frozen it, or will.

        :param request_id: the request to quiesce
        :returns: None if a thaw was begun, or the freeze withdrawn; else what
            the request has become: ``state`` and ``message``
        """
        self._check(('schema',), schema.check)
        self._check_idle(context, instance)
        if self._unquiesce(context, instance, request_id):
            return None
        row = self._store.get(instance.uuid)
        if row is None or row.request_id != request_id:
            if self._store.withdraw(instance.uuid, request_id):
                return {'state': 'withdrawn', 'message': _(
                    'The request has never arrived; if it does, it is '
                    'refused')}
            row = self._store.get(instance.uuid)    # it has arrived since
            if row is None or row.request_id != request_id:
                return self._what_became(instance, request_id)
        if row.state in _BEFORE_FROZEN and not row.given_up and (
                self._withdraw(context, instance, request_id)) and (
                    row.frozen_at is None
                    or instance.task_state == states.QUIESCING):
            return None    # else it was reset since: that proves nothing
        instance.refresh()    # it may be quiesced since
        if self._unquiesce(context, instance, request_id):
            return None
        return self._what_became(instance, request_id)

    def _unquiesce(self, context: nova_context.RequestContext,
                   instance: objects.Instance,
                   request_id: str | None = None) -> bool:
        """Begin the thaw of a quiesced server, if no request has begun it."""
        # Freezing, too: a server is quiesced a moment before its row says it.
        if instance.vm_state != states.QUIESCED or not self._store.want_thaw(
                instance.uuid, context.request_id, State.FREEZING,
                State.FROZEN, request_id=request_id):
            return False
        self._begin_unquiesce(context, instance)
        return True

    def _withdraw(self, context: nova_context.RequestContext,
                  instance: objects.Instance, request_id: str) -> bool:
        """Withdraw a freeze that is not done; return whether it was so."""
        own = actions.own_context(
            instance._context, context.project_id, context.user_id,
            context.request_id)
        # Before a service can find it in the row.
        actions.record(own, instance.uuid, states.UNQUIESCE)
        if self._store.want_thaw(instance.uuid, context.request_id,
                                 *_BEFORE_FROZEN, request_id=request_id):
            self._hint(self._rpcapi.quiesce_instance, own, instance)
            return True
        actions.drop(own, instance.uuid)
        return False

    @compute.check_instance_lock
    def _check_idle(self, context: nova_context.RequestContext,
                    instance: objects.Instance) -> None:
        if instance.task_state not in (None, *states.TASK_STATES):
            raise exception.InstanceInvalidState(
                attr='task_state', state=instance.task_state,
                instance_uuid=instance.uuid, method=states.UNQUIESCE.name)

    def _begin_unquiesce(self, context: nova_context.RequestContext,
                         instance: objects.Instance) -> None:
        if self._begin(context, instance, states.UNQUIESCE,
                       context.request_id, self._rpcapi.unquiesce_instance):
            return
        self._hint(self._rpcapi.unquiesce_instance, context, instance)
        # A service may have found the row, and have begun.
        if instance.task_state != states.UNQUIESCING and db.action_id_of(
                instance._context, instance.uuid, context.request_id) is None:
            raise _invalid_state(instance, states.UNQUIESCE)

    def _what_became(self, instance: objects.Instance, request_id: str,
                     ) -> dict[str, str]:
        row = self._store.get(instance.uuid)
        if row is not None and row.request_id == request_id:
            if row.state not in tuple(State):    # of a newer version
                raise exceptions.NotClearedUp(instance_uuid=instance.uuid)
            return {'state': 'thawing', 'message': _(
                'The guest is being thawed; the server is %s'
            ) % instance.vm_state}
        error = self._ended(instance, request_id)
        is_withdrawn = isinstance(error, exceptions.RequestWithdrawn)
        return {'state': 'withdrawn' if is_withdrawn else 'ended',
                'message': error.format_message()}

    # Looking --------------------------------------------------------------

    def find(self, limit: int, request_id: str | None = None, **which: Any,
             ) -> Sequence[store.Freeze]:
        """Return what is or may be frozen.

        :param request_id: of a request to quiesce: return what it has frozen,
            also if that is thawed
        :param which: see :meth:`.store.Store.find`
        """
        self._check(('schema',), schema.check)
        rows = self._store.find(limit=limit, request_id=request_id, **which)
        if request_id is None:
            return rows
        # After the rows: what is thawed is in the second answer at least.
        ended = self._store.ended(request_id, limit=limit, **which)
        found = {row.instance_uuid: row for row in (*rows, *ended)}
        return [found[uuid] for uuid in sorted(found)][:limit]

    # Checks ---------------------------------------------------------------

    def _check(self, what: tuple[str, ...], check: Callable[[], None],
               ) -> None:
        """Check something that has not been found well a moment ago."""
        # Who dies within this time is found by the lease, or by the call.
        now = time.monotonic()
        if now >= self._well_until.get(what, 0.0):
            check()
            self._well_until[what] = now + CONF.report_interval

    def _check_any_service(self) -> None:
        if not self._store.is_any_up(CONF.service_down_time):
            raise exceptions.NoService()

    def _check_compute(self, instance: objects.Instance) -> None:
        try:
            is_up = self._servicegroup.service_is_up(
                objects.Service.get_by_compute_host(
                    instance._context, instance.host))
        except exception.NotFound:
            is_up = False
        if not is_up:
            raise exceptions.ComputeDown(instance_uuid=instance.uuid)

    @staticmethod
    def _hint(cast: Callable[..., None],
              context: nova_context.RequestContext,
              instance: objects.Instance) -> None:
        try:
            cast(context, instance.uuid, instance.host)
        except Exception as error:
            LOG.warning('No nova-quiesce could be told of server %(uuid)s; '
                        'one finds it within seconds: %(error)s',
                        {'uuid': instance.uuid, 'error': error})


def _columns(context: nova_context.RequestContext,
             instance: objects.Instance) -> dict[str, str | None]:
    """Return what a row tells of its server, and of who has asked."""
    return {
        'instance_uuid': instance.uuid,
        'cell_uuid': instance._context.cell_uuid,
        'project_id': instance.project_id, 'user_id': context.user_id,
        'server_name': instance.display_name, 'host': instance.host}


def _invalid_state(instance: objects.Instance, action: states.Action,
                   ) -> exception.InstanceInvalidState:
    attr = 'task_state' if instance.task_state else 'vm_state'
    return exception.InstanceInvalidState(
        attr=attr, state=getattr(instance, attr),
        instance_uuid=instance.uuid, method=action.name)
