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

import threading
from collections.abc import Callable
from typing import Any
from unittest import mock

from nova import context as nova_context
from nova import exception
from nova import objects

from nova_quiesce import drain
from nova_quiesce import exceptions
from nova_quiesce.tests.unit import world

NOT_THAWED = exceptions.UnquiesceFailed(reason='locked')
UNKNOWN = '3b8f2c36-54c1-4b7e-a6a6-9c8a52f0f7c1'


class DrainTest(world.WorldTest):
    """What passes while the program waits is in ``meanwhile``."""

    def setUp(self) -> None:
        super().setUp()
        self.monotonic = 0.0
        self.meanwhile: Callable[[], Any] = self.deliver_all
        self._patch(mock.patch.object(drain, 'time', mock.Mock(
            sleep=self._sleep, monotonic=lambda: self.monotonic)))
        self._patch(mock.patch.object(
            nova_context, 'get_admin_context', self._context))
        self._patch(mock.patch.object(
            drain, 'threading', mock.Mock(Thread=world.PatientThread)))
        self.drain = drain.Drain()

    def _sleep(self, seconds: float) -> None:
        self.monotonic += seconds
        self.advance(seconds)
        self.meanwhile()

    def thaw(self, timeout: float = 5, **kwargs: Any) -> tuple[int, list[str]]:
        """Return how many were thawed, and who is left."""
        thawed, sight = self.drain.thaw(timeout, **kwargs)
        return thawed, list(sight.servers)


class TestLook(DrainTest):

    def test_nothing_is_frozen(self) -> None:
        self.assertEqual(drain.Sight({}, True), self.drain.look())

    def test_a_server_is_there_from_the_request_to_its_thaw(self) -> None:
        self.quiesce()
        [found] = self.drain.look().servers.values()
        self.assertEqual('quiescing', found.server.task_state)
        self.deliver()
        [found] = self.drain.look([self.uuid]).servers.values()
        self.assertEqual('quiesced', found.server.vm_state)
        self.assertEqual({}, self.drain.look([UNKNOWN]).servers)
        self.unquiesce()
        self.deliver()
        self.assertEqual({}, self.drain.look().servers)

    def test_one_that_has_lost_its_mark_is_there(self) -> None:
        self.set(vm_state='quiesced')
        self.assertIn(self.uuid, self.drain.look().servers)

    def test_a_cell_that_does_not_answer_is_told(self) -> None:
        with mock.patch.object(
                nova_context, 'scatter_gather_cells',
                lambda *args: {world.CELL.uuid: ValueError('down')}):
            self.assertEqual(drain.Sight({}, False), self.drain.look())


class TestThaw(DrainTest):

    def test_nothing_to_do_needs_no_service(self) -> None:
        self.up.clear()
        self.advance(1000)
        self.assertEqual((0, []), self.thaw())

    def test_all_are_thawed_by_a_request_that_says_why(self) -> None:
        self.quiesce()
        self.deliver()
        self.assertEqual((1, []), self.thaw())
        self.assertFalse(self.guest.frozen)
        self.check_at_rest('active', marked=False)
        request_id = self.actions()[-1][0]
        details = self.event_of(request_id)[1]
        self.assertIn('nova-quiesce-status', details or '')

    def test_only_those_named_are_thawed(self) -> None:
        self.quiesce()
        self.deliver()
        other, self.uuid = self.uuid, self._boot()
        self.quiesce()
        self.deliver()
        self.assertEqual((1, []), self.thaw(wanted=[self.uuid]))
        self.check_at_rest('active', marked=False)
        self.assertEqual([other], list(self.drain.look().servers))

    def test_one_that_is_not_frozen_is_not_asked(self) -> None:
        self.assertEqual((0, []), self.thaw(wanted=[self.uuid]))
        self.assertEqual([], self.actions())

    def test_an_unknown_one_is_told_before_any_is_asked(self) -> None:
        self.quiesce()
        self.deliver()
        with (
                mock.patch.object(
                    objects.InstanceMapping, 'get_by_instance_uuid',
                    side_effect=exception.InstanceMappingNotFound(
                        uuid=UNKNOWN)),
                self.assertRaisesRegex(
                    exception.InstanceMappingNotFound, UNKNOWN)):
            self.drain.thaw(5, [self.uuid, UNKNOWN])
        self.check_at_rest('quiesced', marked=True)

    def test_without_a_service_none_is_asked(self) -> None:
        self.quiesce()
        self.deliver()
        self.up.clear()
        self.advance(1000)
        with self.assertRaises(exceptions.NoService):
            self.drain.thaw(5)
        self.check_at_rest('quiesced', marked=True)

    def test_a_freeze_under_way_is_awaited_and_then_thawed(self) -> None:
        self.quiesce()
        self.assertEqual((1, []), self.thaw())
        self.check_at_rest('active', marked=False)

    def test_a_thaw_under_way_is_awaited(self) -> None:
        self.quiesce()
        self.deliver()
        self.unquiesce()
        self.assertEqual((1, []), self.thaw())
        self.assertEqual(['quiesce', 'unquiesce'],
                         [name for _id, name, _events in self.actions()])

    def test_one_that_cannot_be_thawed_is_left(self) -> None:
        self.quiesce()
        self.deliver()
        self.guest.on_thaw = [world.answer(NOT_THAWED)] * 9
        self.assertEqual((0, [self.uuid]), self.thaw())
        self.assertEqual(('error', None), self.states)
        # It is asked once: nova-quiesce itself tries again.
        self.assertEqual(['quiesce', 'unquiesce'],
                         [name for _id, name, _events in self.actions()])

    def test_one_that_nova_quiesce_thaws_at_last_is_not_left(self) -> None:
        def meanwhile() -> None:
            self.deliver_all()
            self.sweep()

        self.meanwhile = meanwhile
        self.quiesce()
        self.deliver()
        self.guest.on_thaw = [world.answer(NOT_THAWED)]
        self.assertEqual((1, []), self.thaw(timeout=60))
        self.assertFalse(self.guest.frozen)

    def test_one_that_is_quiesced_anew_is_asked_anew(self) -> None:
        def meanwhile() -> None:
            self.meanwhile = self.deliver_all
            self.deliver_all()
            self.quiesce()
            self.deliver()

        self.meanwhile = meanwhile
        self.quiesce()
        self.deliver()
        self.assertEqual((1, []), self.thaw())
        self.assertFalse(self.guest.frozen)

    def test_what_could_not_be_sent_is_left_to_nova_quiesce(self) -> None:
        self.quiesce()
        self.deliver()
        self.bus.down = True
        with self.assertLogs('nova_quiesce.drain', 'WARNING') as logged:
            self.assertEqual((0, [self.uuid]), self.thaw(timeout=5))
        self.assertIn(self.uuid, logged.output[0])
        self.assertEqual(('quiesced', 'unquiescing'), self.states)

    def test_a_bus_that_does_not_answer_does_not_hold_it_up(self) -> None:
        self.quiesce()
        self.deliver()
        answered = threading.Event()
        self.addCleanup(answered.set)
        with (
                mock.patch.object(drain, 'threading', threading),
                mock.patch.object(self.drain, '_ask',
                                  lambda _servers: answered.wait(60))):
            self.assertEqual((0, [self.uuid]), self.thaw(timeout=0.5))

    def test_what_is_not_seen_any_more_does_not_count_as_thawed(
            self) -> None:
        self.quiesce()
        self.deliver()

        def meanwhile() -> None:
            patch = mock.patch.object(
                nova_context, 'scatter_gather_cells',
                lambda *args: {world.CELL.uuid: ValueError('down')})
            patch.start()
            self.addCleanup(patch.stop)
            self.meanwhile = lambda: None

        self.meanwhile = meanwhile
        thawed, sight = self.drain.thaw(5)
        self.assertEqual((0, [self.uuid], False),
                         (thawed, list(sight.servers), sight.complete))
