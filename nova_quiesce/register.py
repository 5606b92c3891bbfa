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

"""Tell Nova's tables about quiesced servers.

An unmodified Nova has tables of all states and services that it knows, and no
hook to add to them.  This module is the only place that adds: each function
says which table, and what goes wrong without it.  All of them can be called
any number of times.
"""

import importlib
import pkgutil
from collections.abc import Iterator

from nova import policy
from nova.api.openstack import common
from nova.api.openstack import wsgi
from nova.api.openstack.compute import routes
from nova.api.openstack.compute import schemas
from nova.objects import fields

from nova_quiesce import policies
from nova_quiesce import states

STATUS = 'QUIESCED'
ACTION_PATH = '/servers/{id}/action'


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
    additions = {'SHELVED_OFFLOADED': STATUS,
                 'shelved_offloaded': states.QUIESCED}
    for info in pkgutil.iter_modules(schemas.__path__):
        module = importlib.import_module(
            '%s.%s' % (schemas.__name__, info.name))
        for values in _enums(vars(module)):
            for known, new in additions.items():
                if known in values and new not in values:
                    values.append(new)


def _enums(namespace: dict[str, object]) -> Iterator[list[object]]:
    """Yield every ``enum`` of the JSON schemas in a module's namespace."""
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
            enum = node.get('enum')
            if isinstance(enum, list):
                yield enum
            stack.extend(node.values())
        elif isinstance(node, (list, tuple)):
            stack.extend(node)


def notifications() -> None:
    """Make states and service valid in this process's notifications.

    Without it the versioned notification of a state change, or of the first
    start of nova-quiesce, raises ``ValueError``.
    """
    for field, values in (
            (fields.InstanceStateField, (states.QUIESCED,)),
            (fields.InstanceTaskStateField,
             (states.QUIESCING, states.UNQUIESCING)),
            (fields.NotificationSourceField, ('nova-quiesce',))):
        enum = field.AUTO_TYPE
        enum._valid_values = (*enum._valid_values, *(
            value for value in values if value not in enum._valid_values))


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


def server_action(controller: type[wsgi.Controller]) -> None:
    """Add a controller to those that answer ``POST /servers/{id}/action``."""
    methods = dict(routes.ROUTE_LIST)[ACTION_PATH]
    _main_controller, action_controllers = methods['POST'][0].args
    if controller not in action_controllers:
        action_controllers.append(controller)
