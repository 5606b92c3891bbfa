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

import unittest

from nova.api.openstack import common
from nova.api.openstack.compute import routes
from nova.api.openstack.compute.schemas import servers
from nova.api.openstack.compute.schemas import simple_tenant_usage
from nova.objects import fields

from nova_quiesce import api
from nova_quiesce import compat
from nova_quiesce import register


class TestRegister(unittest.TestCase):

    def test_status_of_a_quiesced_server(self) -> None:
        register.status()
        self.assertEqual('QUIESCED', common.status_from_state('quiesced'))
        vm_states, _task_states = common.task_and_vm_state_from_status(
            ['quiesced'])
        self.assertEqual(['quiesced'], vm_states)

    def test_status_is_valid_once_in_every_answer(self) -> None:
        register.response_schemas()
        register.response_schemas()
        for module, known, new in (
                (servers, 'SHELVED_OFFLOADED', 'QUIESCED'),
                (simple_tenant_usage, 'shelved_offloaded', 'quiesced')):
            found = [enum.count(new) for enum in register._enums(vars(module))
                     if known in enum]
            # Before OpenStack 2026.1 answers may have any status.
            self.assertEqual(
                compat.NOVA >= compat.RELEASES['2026.1'], bool(found))
            self.assertEqual({1}, {1, *found})

    def test_states_are_valid_in_notifications(self) -> None:
        register.notifications()
        register.notifications()
        for field, value in (
                (fields.InstanceStateField, 'quiesced'),
                (fields.InstanceTaskStateField, 'quiescing'),
                (fields.InstanceTaskStateField, 'unquiescing'),
                (fields.NotificationSourceField, 'nova-quiesce')):
            self.assertEqual(
                1, list(field.AUTO_TYPE.valid_values).count(value))
            self.assertEqual(
                value, field().coerce(None, 'some_field', value))

    def test_the_controller_is_added_once(self) -> None:
        register.server_action(api.QuiesceController)
        register.server_action(api.QuiesceController)
        controllers = dict(routes.ROUTE_LIST)[
            register.ACTION_PATH]['POST'][0].args[1]
        self.assertEqual(1, controllers.count(api.QuiesceController))
