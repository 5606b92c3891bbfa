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
from unittest import mock

from nova import exception

from nova_quiesce import api
from nova_quiesce import marks
from nova_quiesce.tests.unit import fakes


class TestAPI(unittest.TestCase):

    def setUp(self) -> None:
        patch = mock.patch.object(api.rpcapi, 'QuiesceAPI')
        self.rpcapi = patch.start().return_value
        self.addCleanup(patch.stop)
        patch = mock.patch.object(api.objects.InstanceAction, 'action_start')
        self.action_start = patch.start()
        self.addCleanup(patch.stop)
        self.api = api.API()
        self.context = fakes.get_context(is_admin=True)

    def test_quiesce_marks_in_the_same_save_as_the_state(self) -> None:
        instance = fakes.Instance()
        self.rpcapi.quiesce_instance.side_effect = lambda *args: (
            self.assertEqual(
                ('active', 'quiescing', 'req-our-own'),
                (instance.database['vm_state'],
                 instance.database['task_state'],
                 marks.get(instance).request_id)))  # type: ignore
        self.api.quiesce(self.context, instance)
        self.rpcapi.quiesce_instance.assert_called_once_with(
            self.context, fakes.UUID)
        self.action_start.assert_called_once_with(
            self.context, fakes.UUID, 'quiesce', want_result=False)

    def test_quiesce_is_refused_in_any_other_state(self) -> None:
        for vm_state, task_state in (
                ('paused', None), ('stopped', None), ('error', None),
                ('quiesced', None), ('active', 'quiescing'),
                ('active', 'rebooting')):
            with self.subTest(vm_state=vm_state, task_state=task_state):
                with self.assertRaises(exception.InstanceInvalidState):
                    self.api.quiesce(self.context, fakes.Instance(
                        vm_state=vm_state, task_state=task_state))
        self.rpcapi.quiesce_instance.assert_not_called()
        self.action_start.assert_not_called()

    def test_unquiesce_is_refused_in_any_other_state(self) -> None:
        for vm_state, task_state in (
                ('active', None), ('quiesced', 'unquiescing'),
                ('error', None)):
            with self.subTest(vm_state=vm_state, task_state=task_state):
                with self.assertRaises(exception.InstanceInvalidState):
                    self.api.unquiesce(self.context, fakes.Instance(
                        vm_state=vm_state, task_state=task_state))
        self.rpcapi.unquiesce_instance.assert_not_called()

    def test_quiesce_of_a_server_that_never_ran_is_refused(self) -> None:
        instance = fakes.Instance()
        instance.launched_at = None  # type: ignore
        with self.assertRaises(exception.InstanceInvalidState):
            self.api.quiesce(self.context, instance)

    def test_a_locked_server_is_refused_for_a_non_admin(self) -> None:
        instance = fakes.Instance()
        instance.locked = True
        with self.assertRaises(exception.InstanceIsLocked):
            self.api.quiesce(fakes.get_context(is_admin=False), instance)
        self.api.quiesce(self.context, instance)

    def test_the_loser_of_a_race_is_refused(self) -> None:
        for column, value in (('task_state', 'quiescing'),
                              ('vm_state', 'paused')):
            with self.subTest(column=column):
                instance = fakes.Instance()
                instance.database[column] = value
                with self.assertRaisesRegex(exception.InstanceInvalidState,
                                            '%s %s' % (column, value)):
                    self.api.quiesce(self.context, instance)
        self.rpcapi.quiesce_instance.assert_not_called()

    def test_a_request_that_cannot_be_sent_keeps_an_older_mark(self) -> None:
        before = {marks.KEY: 'anything'}
        instance = fakes.Instance(system_metadata=before)
        self.rpcapi.quiesce_instance.side_effect = RuntimeError('no broker')
        with self.assertRaises(RuntimeError):
            self.api.quiesce(self.context, instance)
        self.assertEqual(before, instance.database['system_metadata'])

    def test_a_request_that_cannot_be_sent_leaves_nothing(self) -> None:
        instance = fakes.Instance()
        self.rpcapi.quiesce_instance.side_effect = RuntimeError('no broker')
        with self.assertRaises(RuntimeError):
            self.api.quiesce(self.context, instance)
        self.assertEqual({'vm_state': 'active', 'task_state': None,
                          'system_metadata': {}}, instance.database)
