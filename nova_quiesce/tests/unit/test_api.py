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
from typing import Any
from unittest import mock

from nova import exception
from nova.api.validation import validators
from webob import exc

from nova_quiesce import api
from nova_quiesce import cells
from nova_quiesce import clock
from nova_quiesce import exceptions
from nova_quiesce import marks
from nova_quiesce.tests.unit import world


class TestQuiesce(world.WorldTest):

    def test_the_mark_comes_with_the_state_and_before_the_message(
            self) -> None:
        seen: list[Any] = []

        def send(*args: Any) -> None:
            seen.append((self.states, self.mark))

        self.bus.quiesce_instance = send    # type: ignore
        asked = self.quiesce(unquiesce_after=7)
        [(states, mark)] = seen
        self.assertEqual(('active', 'quiescing'), states)
        now = clock.now()
        self.assertEqual(
            marks.Mark(request_id=asked, asked_at=now, unquiesce_after=7,
                       retry_at=now + 120), mark)

    def test_it_is_refused_in_any_other_state(self) -> None:
        for vm_state, task_state in (
                ('paused', None), ('stopped', None), ('error', None),
                ('quiesced', None), ('active', 'quiescing'),
                ('active', 'rebooting')):
            with self.subTest(vm_state=vm_state, task_state=task_state):
                self.set(vm_state=vm_state, task_state=task_state)
                with self.assertRaises(exception.InstanceInvalidState):
                    self.quiesce()
        self.assertEqual([], self.bus.messages)
        self.assertEqual([], self.actions())

    def test_of_a_server_that_never_ran_it_is_refused(self) -> None:
        self.set(launched_at=None)
        with self.assertRaises(exception.InstanceInvalidState):
            self.quiesce()

    def test_a_locked_server_is_refused_for_a_non_admin(self) -> None:
        self.set(locked=True)
        context = self._context()
        context.is_admin = False
        with self.assertRaises(exception.InstanceIsLocked):
            self.api.quiesce(context, self.instance, 0)
        self.quiesce()

    def test_the_loser_of_a_race_is_refused(self) -> None:
        for columns, words in (
                ({'task_state': 'quiescing'}, 'task_state quiescing'),
                ({'vm_state': 'paused'}, 'vm_state paused')):
            with self.subTest(words):
                self.set(vm_state='active', task_state=None)
                instance = self.instance
                self.set(**columns)
                with self.assertRaisesRegex(
                        exception.InstanceInvalidState, words):
                    self.api.quiesce(self.context, instance, 0)
        self.assertEqual([], self.bus.messages)

    def test_a_request_that_cannot_be_sent_leaves_nothing(self) -> None:
        self.bus.down = True
        with self.assertRaises(exceptions.NotSent):
            self.quiesce()
        self.check_at_rest('active', marked=False)
        self.assertIn('could not be sent', self.actions()[0][2][0][1] or '')

    def test_one_that_cannot_be_sent_after_a_reset_says_so(self) -> None:
        def send(*args: Any) -> None:
            self.set(vm_state='error', task_state=None)
            raise ConnectionError('no bus')

        self.bus.quiesce_instance = send    # type: ignore
        with self.assertRaises(exceptions.NotSent):
            self.quiesce()
        # The sweep finds it by its mark.
        self.check_at_rest('error', marked=True)

    def test_one_that_cannot_be_sent_keeps_an_older_mark(self) -> None:
        instance = self.instance
        marks.put(instance, marks.Mark('req-before'))
        instance.save()
        self.bus.down = True
        with self.assertRaises(exceptions.NotSent):
            self.quiesce()
        self.assertEqual(marks.Mark('req-before'), self.mark)
        self.check_at_rest('active', marked=True)

    def test_one_that_was_sent_after_all_stays_marked(self) -> None:
        def send(*args: Any) -> None:
            instance = self.instance
            mark = marks.get(instance)
            assert mark is not None
            marks.replace(instance, mark.but(claimed=True))
            raise ConnectionError('no acknowledgement')

        self.bus.quiesce_instance = send    # type: ignore
        with self.assertRaises(exceptions.NotSent):
            self.quiesce()
        self.assertTrue(self.mark and self.mark.claimed)


class TestUnquiesce(world.WorldTest):

    def test_it_is_refused_in_any_other_state(self) -> None:
        for vm_state, task_state in (
                ('active', None), ('quiesced', 'unquiescing'),
                ('error', None)):
            with self.subTest(vm_state=vm_state, task_state=task_state):
                self.set(vm_state=vm_state, task_state=task_state)
                with self.assertRaises(exception.InstanceInvalidState):
                    self.unquiesce()
        self.assertEqual([], self.bus.messages)

    def test_a_request_that_cannot_be_sent_leaves_it_quiesced(self) -> None:
        self.quiesce(unquiesce_after=9)
        self.deliver()
        before = self.mark
        self.bus.down = True
        with self.assertRaises(exceptions.NotSent):
            self.unquiesce()
        self.check_at_rest('quiesced', marked=True)
        self.assertEqual(before, self.mark)


class TestNoService(world.WorldTest):

    def setUp(self) -> None:
        super().setUp()
        self.up.clear()
        self.advance(61)

    def test_nothing_is_marked_or_recorded(self) -> None:
        with self.assertRaisesRegex(exceptions.NoService, 'No nova-quiesce'):
            self.quiesce()
        self.check_at_rest('active', marked=False)
        self.assertEqual([], self.actions())

    def test_nor_can_a_thaw_be_asked_for(self) -> None:
        self.set(vm_state='quiesced')
        with self.assertRaises(exceptions.NoService):
            self.unquiesce()
        self.assertEqual(('quiesced', None), self.states)

    def test_one_may_be_up_in_a_cell_that_does_not_answer(self) -> None:
        unknown = cells.Services({}, complete=False)
        with mock.patch.object(cells.Cells, 'services',
                               return_value=unknown):
            self.quiesce()
        self.assertEqual(1, len(self.bus.messages))

    def test_a_wrong_state_is_told_first(self) -> None:
        self.set(vm_state='paused')
        with self.assertRaises(exception.InstanceInvalidState):
            self.quiesce()

    def test_one_of_several_is_enough(self) -> None:
        self.up.add('ctl2')
        self.advance(1)
        self.quiesce()

    def test_services_are_looked_at_as_often_as_they_report(self) -> None:
        self.up.add('ctl2')
        self.advance(1)
        self.quiesce()
        self.deliver_all()
        self.up.clear()
        self.set_clock(61)    # they are all down now
        self.unquiesce()
        self.deliver_all()
        self.advance(api.CONF.report_interval)
        with self.assertRaises(exceptions.NoService):
            self.quiesce()


class TestBody(unittest.TestCase):

    def setUp(self) -> None:
        api.conf.register_opts(api.CONF)

    def test_what_is_valid(self) -> None:
        validator = validators._SchemaValidator(api._quiesce_schema)
        for value in (None, {'unquiesce_after': 1},
                      {'unquiesce_after': 10 ** 30}):
            validator.validate({'quiesce': value})

    def test_what_is_not(self) -> None:
        validator = validators._SchemaValidator(api._quiesce_schema)
        no_seconds: list[Any] = [0, -1, True, '5', 1.5, None, [], {}]
        for seconds in no_seconds:
            with self.subTest(seconds=seconds), \
                    self.assertRaises(exception.ValidationError):
                validator.validate({'quiesce': {'unquiesce_after': seconds}})
        no_values: list[Any] = [
            {}, {'unquiesce_after': 1, 'x': 1}, True, 'now', 0, []]
        for value in no_values:
            with self.subTest(value=value), \
                    self.assertRaises(exception.ValidationError):
                validator.validate({'quiesce': value})

    def test_the_default_is_the_clouds(self) -> None:
        self.assertEqual(0, api._unquiesce_after(None))
        api.CONF.set_override('default_unquiesce_after', 90, 'quiesce')
        self.addCleanup(api.CONF.clear_override, 'default_unquiesce_after',
                        'quiesce')
        self.assertEqual(90, api._unquiesce_after(None))
        self.assertEqual(5, api._unquiesce_after({'unquiesce_after': 5}))

    def test_more_than_the_cloud_allows_is_refused_in_words(self) -> None:
        self.assertEqual(86400, api._unquiesce_after(
            {'unquiesce_after': 86400}))
        with self.assertRaises(exc.HTTPBadRequest) as caught:
            api._unquiesce_after({'unquiesce_after': 86401})
        self.assertIn('at most 86400', str(caught.exception.explanation))
