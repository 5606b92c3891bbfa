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

import contextlib
import unittest
from typing import Any
from unittest import mock

from nova import exception

from nova_quiesce import exceptions
from nova_quiesce import manager
from nova_quiesce import marks
from nova_quiesce.tests.unit import fakes


class Reporter:
    """Records how the event of an instance action ended."""

    def __init__(self, *args: Any) -> None:
        self.name = args[1]

    def __enter__(self) -> None:
        pass

    def __exit__(self, exc_type: Any, exc_value: Any, exc_tb: Any) -> None:
        Reporter.last = (self.name, exc_value)

    last: tuple[str, Exception | None]


class ManagerTest(unittest.TestCase):

    def setUp(self) -> None:
        with mock.patch.object(manager.guest, 'Guests'), \
                mock.patch('nova.rpc.get_notifier'):
            self.manager = manager.QuiesceManager(host='ctl')
        self.guests: Any = self.manager.guests
        self.context = fakes.get_context()
        self.instance = fakes.Instance(task_state='quiescing')
        marks.put(self.instance, 'req-our-own')  # type: ignore
        self.instance.save()
        patches = (
            mock.patch.object(manager.objects, 'InstanceMapping'),
            mock.patch.object(manager.objects.Instance, 'get_by_uuid',
                              side_effect=lambda *a, **k: self.instance),
            mock.patch.object(manager.nova_context, 'target_cell',
                              lambda *a: contextlib.nullcontext(
                                  self.context)),
            mock.patch.object(manager.compute_utils, 'EventReporter',
                              Reporter),
            mock.patch.object(manager.compute_utils,
                              'add_instance_fault_from_exc'))
        self.fault: Any = [patch.start() for patch in patches][-1]
        self.addCleanup(mock.patch.stopall)

    def check(self, vm_state: str, error: type[Exception] | None = None,
              fault: bool = False, marked: bool = False) -> None:
        """Assert the row of the contract's table that came true."""
        self.assertEqual((vm_state, None), (
            self.instance.database['vm_state'],
            self.instance.database['task_state']))
        self.assertIs(error, error and type(Reporter.last[1]))
        if error is None:
            self.assertIsNone(Reporter.last[1])
        self.assertEqual(fault, self.fault.called)
        self.assertEqual(
            marked, marks.KEY in self.instance.database['system_metadata'])


class TestQuiesce(ManagerTest):

    def _quiesce(self, answer: Exception | None = None) -> None:
        self.guests.freeze.side_effect = answer
        self.manager.quiesce_instance(self.context, fakes.UUID)

    def test_frozen(self) -> None:
        self._quiesce()
        self.check('quiesced', marked=True)
        self.guests.thaw.assert_not_called()
        self.assertEqual('quiesce_quiesce_instance', Reporter.last[0])

    def test_cannot(self) -> None:
        self._quiesce(exceptions.CannotQuiesce(reason='no agent'))
        self.check('active', exceptions.CannotQuiesce)
        self.guests.thaw.assert_not_called()

    def test_frozen_by_somebody_else_is_left_as_found(self) -> None:
        self._quiesce(exceptions.FrozenByOthers())
        self.check('active', exceptions.FrozenByOthers)
        self.guests.thaw.assert_not_called()

    def _maybe_frozen_before(self) -> None:
        marks.put(self.instance, 'req-our-own')  # type: ignore
        self.instance.save()

    def test_frozen_by_ourselves_before_is_thawed(self) -> None:
        self._maybe_frozen_before()
        self._quiesce(exceptions.FrozenByOthers())
        self.check('active', exceptions.WasStillFrozen)
        self.guests.thaw.assert_called_once()

    def test_frozen_by_ourselves_and_not_thawed_stays_marked(self) -> None:
        self._maybe_frozen_before()
        self.guests.thaw.side_effect = exceptions.UnquiesceFailed(reason='x')
        self._quiesce(exceptions.FrozenByOthers())
        self.check('error', exceptions.UnquiesceFailed, fault=True,
                   marked=True)

    def test_a_refusal_does_not_unmark_what_was_marked_before(self) -> None:
        self._maybe_frozen_before()
        self._quiesce(exceptions.CannotQuiesce(reason='no agent'))
        self.check('active', exceptions.CannotQuiesce, marked=True)

    def test_failed_is_thawed(self) -> None:
        self._quiesce(exceptions.QuiesceFailed(reason='hung'))
        self.check('error', exceptions.QuiesceFailed, fault=True)
        self.guests.thaw.assert_called_once()

    def test_failed_and_not_thawed_stays_marked(self) -> None:
        self.guests.thaw.side_effect = exceptions.UnquiesceFailed(reason='x')
        self._quiesce(exceptions.QuiesceFailed(reason='hung'))
        self.check('error', exceptions.QuiesceFailed, fault=True, marked=True)

    def test_an_unexpected_error_is_thawed(self) -> None:
        with self.assertRaises(ZeroDivisionError):
            self._quiesce(ZeroDivisionError())
        self.check('error', ZeroDivisionError, fault=True)
        self.guests.thaw.assert_called_once()

    def test_reset_while_freezing_is_thawed_and_stays_reset(self) -> None:
        def reset(*args: Any) -> None:
            self.instance.database['task_state'] = None

        self.guests.freeze.side_effect = reset
        self.manager.quiesce_instance(self.context, fakes.UUID)
        self.check('active', exceptions.StateChanged)
        self.guests.thaw.assert_called_once()

    def test_reset_and_asked_anew_while_freezing_is_left_alone(self) -> None:
        def reset(*args: Any) -> None:
            other = fakes.Instance(vm_state='quiesced')
            marks.put(other, 'req-another')  # type: ignore
            other.save()
            self.instance.database = other.database

        self.guests.freeze.side_effect = reset
        self.manager.quiesce_instance(self.context, fakes.UUID)
        self.check('quiesced', exceptions.StateChanged, marked=True)
        self.guests.thaw.assert_not_called()

    def test_reset_while_being_refused_leaves_no_mark(self) -> None:
        def reset(*args: Any) -> None:
            self.instance.database['task_state'] = None
            raise exceptions.CannotQuiesce(reason='no agent')

        self.guests.freeze.side_effect = reset
        self.manager.quiesce_instance(self.context, fakes.UUID)
        self.check('active', exceptions.StateChanged)

    def test_deleted_while_freezing_is_not_thawed(self) -> None:
        with mock.patch.object(
                self.instance, 'save',
                side_effect=exception.InstanceNotFound(instance_id='i')):
            self._quiesce()
        self.guests.thaw.assert_not_called()

    def test_a_stale_message_freezes_nothing(self) -> None:
        self.instance.task_state = None
        self._quiesce()
        self.guests.freeze.assert_not_called()

    def test_the_message_of_an_older_request_freezes_nothing(self) -> None:
        marks.put(self.instance, 'req-newer')  # type: ignore
        self._quiesce()
        self.guests.freeze.assert_not_called()

    def test_a_server_without_a_mapping_freezes_nothing(self) -> None:
        manager.objects.InstanceMapping.get_by_instance_uuid.side_effect = (
            exception.InstanceMappingNotFound(uuid='i'))
        self._quiesce()
        self.guests.freeze.assert_not_called()

    def test_a_server_that_is_gone_freezes_nothing(self) -> None:
        with mock.patch.object(
                manager.objects.Instance, 'get_by_uuid',
                side_effect=exception.InstanceNotFound(instance_id='i')):
            self._quiesce()
        self.guests.freeze.assert_not_called()


class TestUnquiesce(ManagerTest):

    def setUp(self) -> None:
        super().setUp()
        self.instance.vm_state = 'quiesced'
        self.instance.task_state = 'unquiescing'
        self.instance.save()

    def test_thawed(self) -> None:
        self.manager.unquiesce_instance(self.context, fakes.UUID)
        self.check('active')

    def test_reset_while_thawing_leaves_no_mark(self) -> None:
        def reset(*args: Any) -> None:
            self.instance.database.update(vm_state='active', task_state=None)

        self.guests.thaw.side_effect = reset
        self.manager.unquiesce_instance(self.context, fakes.UUID)
        self.check('active', exceptions.StateChanged)

    def test_thaw_failed(self) -> None:
        self.guests.thaw.side_effect = exceptions.UnquiesceFailed(reason='x')
        self.manager.unquiesce_instance(self.context, fakes.UUID)
        self.check('error', exceptions.UnquiesceFailed, fault=True,
                   marked=True)
