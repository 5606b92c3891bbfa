# SPDX-License-Identifier: Apache-2.0

"""Tell Nova's tables about quiesced servers.

An unmodified Nova has tables of all states and services that it knows, and no
hook to add to them.  This module, and :mod:`nova_quiesce.notification_states`
for what every service of Nova can load, are the only places that add: each
function says to what, and what goes wrong without it.  All of them can be
called any number of times.  :func:`hooks` has them all, and :func:`missing`
tells whether they did any good.
"""

import functools
import importlib
import pkgutil
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple

from nova import context as nova_context
from nova import objects
from nova import policy
from nova.api.openstack import common
from nova.api.openstack import wsgi
from nova.api.openstack.compute import routes
from nova.api.openstack.compute import schemas
from nova.compute import api as compute
from nova.compute import vm_states
from nova.notifications.objects import base as notification_base
from nova.notifications.objects import instance as instance_notification
from oslo_utils import timeutils

from nova_quiesce import notification_states
from nova_quiesce import policies
from nova_quiesce import states
from nova_quiesce.i18n import _

STATUS = 'QUIESCED'
ACTION_PATH = '/servers/{id}/action'

#: what Nova knows, and what is to be valid wherever that is
_ADDITIONS = {'SHELVED_OFFLOADED': STATUS,
              'shelved_offloaded': states.QUIESCED}


class Hook(NamedTuple):
    """What adds something, what tells whether it took, what is wrong else."""

    add: Callable[[], None]
    took: Callable[[], bool]
    otherwise: str


def status() -> None:
    """Give the vm_state a status, else Nova shows and logs ``UNKNOWN``.

    It also makes ``GET /servers?status=QUIESCED`` a filter.
    """
    common._STATE_MAP[states.QUIESCED] = {'default': STATUS}


def response_schemas() -> None:
    """Make the state valid in Nova's answers.

    With ``[api]response_validation = error`` nova-api would refuse to show a
    quiesced server, and with the default it would log a warning each time.
    The lists are copied for each microversion, so all modules are searched.
    """
    for node in _schemas():
        values = node.get('enum')
        if not isinstance(values, list):
            continue
        for known, new in _ADDITIONS.items():
            if known in values and new not in values:
                values.append(new)


def _schemas() -> Iterator[dict[str, Any]]:
    """Yield every JSON schema of Nova's API, also those within others."""
    for info in pkgutil.iter_modules(schemas.__path__):
        module = importlib.import_module(
            '%s.%s' % (schemas.__name__, info.name))
        yield from _within(vars(module))


def _within(namespace: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every mapping of the JSON schemas in a module's namespace."""
    seen: set[int] = set()
    stack: list[object] = [
        value for name, value in namespace.items()
        if not name.startswith('__') and isinstance(value, dict)]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, dict):
            yield node
            stack.extend(node.values())
        elif isinstance(node, (list, tuple)):
            stack.extend(node)


def policy_rules() -> None:
    """Register the defaults of our policies with Nova's enforcer."""
    policy.init()
    enforcer = policy._ENFORCER
    for rule in policies.list_rules():
        if rule.name not in enforcer.registered_rules:
            enforcer.register_default(rule)
    # The rules were loaded before: without this the defaults only come into
    # force with the next change of the policy file.
    enforcer.load_rules(force_reload=True)


def deletion() -> None:
    """Have a quiesced server leave its state as its deletion begins.

    Else nova-compute, which does not know the state, cannot build the
    versioned notification of the deletion, and the server ends in ``error``.
    """
    delete = compute.API._delete
    if not hasattr(delete, 'leaves_quiesced'):
        compute.API._delete = _leaving_quiesced(delete)


def _leaving_quiesced(delete: Callable[..., None]) -> Callable[..., None]:
    """Return Nova's method that deletes, with servers no longer quiesced.

    It saves the instance with the task_state of the deletion before it does
    anything else, and vm_state goes with that.
    """
    @functools.wraps(delete)
    def _delete(self: compute.API, context: nova_context.RequestContext,
                instance: objects.Instance, *args: Any, **kwargs: Any) -> None:
        if instance.vm_state == states.QUIESCED or (
                # It may be quiesced since this was read. Assigning marks the
                # field dirty, so save() writes it even if it is unchanged.
                instance.vm_state == states.QUIESCE.accepted_in
                and instance.task_state == states.QUIESCE.task_state):
            instance.vm_state = vm_states.ACTIVE
        return delete(self, context, instance, *args, **kwargs)

    _delete.leaves_quiesced = True  # type: ignore[attr-defined]
    return _delete


def server_action(controller: type[wsgi.Controller]) -> None:
    """Add a controller to those that answer ``POST /servers/{id}/action``."""
    action_controllers = _action_controllers()
    if controller not in action_controllers:
        action_controllers.append(controller)


def _action_controllers() -> list[type[wsgi.Controller]]:
    methods = dict(routes.ROUTE_LIST)[ACTION_PATH]
    _main_controller, action_controllers = methods['POST'][0].args
    return action_controllers  # type: ignore[no-any-return]


def route(path: str, controller: type[wsgi.Controller]) -> None:
    """Have a controller answer ``GET`` of a path, by its method ``index``.

    Nova adds the versions of its API, with and without a project, in front.

    :param path: path of a collection that Nova does not have
    """
    for known, methods in routes.ROUTE_LIST:
        if known == path and controller in methods['GET'][0].args:
            return
    factory = functools.partial(routes._create_controller, controller, [])
    routes.ROUTE_LIST = (*routes.ROUTE_LIST,
                         (path, {'GET': [factory, 'index']}))


def hooks(actions: type[wsgi.Controller], list_path: str,
          listing: type[wsgi.Controller]) -> Iterator[Hook]:
    """Yield all that is added to nova-api.

    :param actions: the controller of the actions of servers
    :param listing: the controller of ``list_path``
    """
    yield Hook(status, _has_status, _(
        'Nova has no status %s for quiesced servers') % STATUS)
    yield Hook(response_schemas, _is_valid_in_answers, _(
        'Answers of Nova that show quiesced servers are not valid'))
    yield Hook(notification_states.register, _is_valid_in_notifications, _(
        'Notifications of quiesced servers are not valid'))
    yield Hook(deletion, _leaves_quiesced, _(
        'The deletion of a quiesced server does not end vm_state %s'
    ) % states.QUIESCED)
    yield Hook(policy_rules, _knows_rules, _(
        'Nova does not know the policy rules of quiesce'))
    yield Hook(
        lambda: server_action(actions), lambda: _takes_actions(actions),
        _('Nova does not take quiesce and unquiesce as actions of servers'))
    yield Hook(
        lambda: route(list_path, listing),
        lambda: _answers(list_path, listing),
        _('Nova does not answer the list of what is quiesced'))


def missing(added: Iterable[Hook]) -> list[str]:
    """Return what this process's Nova does not take of all this.

    It adds everything, and then asks Nova as its own programs do. So it is
    for a process of its own, which has read Nova's configuration.

    :returns: sentences for an operator; none if all is well
    """
    found = []
    for hook in added:
        try:
            hook.add()
            if not hook.took():
                found.append(hook.otherwise + '.')
        except Exception as error:
            reason = ' '.join(str(error).split()).rstrip('.')
            found.append('%s (%s: %s).' % (
                hook.otherwise, type(error).__name__, reason))
    return found


def _has_status() -> bool:
    return (common.status_from_state(states.QUIESCED) == STATUS
            and common.task_and_vm_state_from_status([STATUS.lower()])[0]
            == [states.QUIESCED])


def _is_valid_in_answers() -> bool:
    return not any(_is_valid(node, known) and not _is_valid(node, new)
                   for node in _schemas()
                   for known, new in _ADDITIONS.items())


def _is_valid(node: dict[str, Any], value: str) -> bool:
    """Return whether a schema that restricts a text allows this one.

    It need not be by the list that there is today.
    """
    values, pattern = node.get('enum'), node.get('pattern')
    if isinstance(values, Collection) and value not in values:
        return False
    return not isinstance(pattern, str) or bool(re.search(pattern, value))


def _is_valid_in_notifications() -> bool:
    payload = instance_notification.InstanceActionPayload.fields
    for field, values in (
            (payload['state'], (states.QUIESCED,)),
            (payload['task_state'], states.TASK_STATES),
            (notification_base.EventType.fields['action'],
             states.ACTION_NAMES),
            (notification_base.NotificationPublisher.fields['source'],
             (notification_states.SOURCE,))):
        for value in values:
            field.coerce(None, 'field', value)   # raises ValueError
    return True


def _leaves_quiesced() -> bool:
    """Return whether each way to delete a server ends its being quiesced."""
    begun = []

    class Probe(compute.API):  # type: ignore[misc]
        def __init__(self) -> None:
            """Need no other service."""

        @_leaving_quiesced
        def _delete(self, context: nova_context.RequestContext,
                    instance: objects.Instance, *args: Any,
                    **kwargs: Any) -> None:
            begun.append(instance.obj_get_changes().get('vm_state'))

    for name in ('delete', 'soft_delete', 'force_delete'):
        for vm_state, task_state in (
                (states.QUIESCED, None),
                (states.QUIESCED, states.UNQUIESCING),
                (vm_states.ACTIVE, states.QUIESCING)):
            instance = objects.Instance(
                uuid=str(uuid.uuid4()), locked=False,
                launched_at=timeutils.utcnow(),
                vm_state=vm_state, task_state=task_state)
            instance.obj_reset_changes()
            getattr(Probe(), name)(nova_context.get_admin_context(), instance)
    return (hasattr(compute.API._delete, 'leaves_quiesced')
            and begun == [vm_states.ACTIVE] * 9)


def _knows_rules() -> bool:
    context = nova_context.get_admin_context()
    for rule in policies.list_rules():
        if rule.name not in policy._ENFORCER.rules:
            return False
        # Whom it lets pass is for the operator to say.
        policy.authorize(context, rule.name, {}, do_raise=False)
    return True


def _takes_actions(controller: type[wsgi.Controller]) -> bool:
    resource = wsgi.Resource(None)
    # That of nova-api has connections to everything.
    resource.register_subcontroller_actions(object.__new__(controller))
    return (controller in _action_controllers()
            and resource.wsgi_actions.keys() >= set(states.ACTION_NAMES))


def _answers(path: str, controller: type[wsgi.Controller]) -> bool:
    """Return whether a controller is found by its path among all of Nova's."""
    everything = routes.ROUTE_LIST
    routes.ROUTE_LIST = tuple(
        (known, methods if known == path or isinstance(methods, str)
         # Nova's own controllers need what only nova-api has.
         else {method: [object, found[1]] for method, found in methods.items()}
         ) for known, methods in everything)
    try:
        router = routes.APIRouterV21()
    finally:
        routes.ROUTE_LIST = everything
    for prefix in ('', '/%s' % uuid.uuid4().hex):
        found = router.map.match(prefix + path, {'REQUEST_METHOD': 'GET'})
        if not (found and found['action'] == 'index'
                and isinstance(found['controller'].controller, controller)):
            return False
    return True
