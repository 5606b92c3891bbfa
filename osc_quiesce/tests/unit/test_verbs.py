# SPDX-License-Identifier: Apache-2.0

"""What is asked of a server, and what one answer or one look shows."""

from __future__ import annotations

import dataclasses
from typing import Any

from osc_quiesce import errors
from osc_quiesce import model
from osc_quiesce import retry
from osc_quiesce.tests.unit import fakes
from osc_quiesce import verbs

REQUEST = model.new_request_id()
ROW = model.Freeze(
    server_id='web-id',
    server_name='web',
    project_id='a project',
    user_id='a user',
    request_id=REQUEST,
    state='frozen',
    requested_at='2026-01-01T00:00:00Z',
    frozen_at='2026-01-01T00:00:01Z',
    unquiesce_at=None,
    attempts=0,
    error=None,
)


class VerbTest(fakes.TestCase):
    verb: verbs.Verb
    job: verbs.Job

    def see(
        self,
        vm_state: str,
        task_state: str | None = None,
        result: str | None = None,
        details: str | None = None,
        *,
        later: float = 0.0,
        **server: Any,
    ) -> bool:
        """Look at a server, and return whether it got there.

        :param result: of the event of the instance action, with its details
        :param later: seconds after a first look at the same
        """
        action = {
            'request_id': REQUEST,
            'events': [
                {'event': 'it', 'result': result, 'details': details}
            ],
        }
        found = self.nova.add(
            'web',
            vm_state=vm_state,
            task_state=task_state,
            actions=[action],
            **server,
        )
        self.job = verbs.Job(model.Server(found.id), REQUEST, REQUEST)
        is_done = self.verb.look(self.client.api, self.job, 100)
        if later:
            self.assertFalse(is_done)
            is_done = self.verb.look(self.client.api, self.job, 100 + later)
        return is_done

    def in_row(self, **row: Any) -> bool | None:
        self.job = verbs.Job(model.Server('web-id', 'web'), REQUEST)
        return self.verb.in_row(self.job, dataclasses.replace(ROW, **row))

    def ask(self, server: fakes.FakeServer, request_id: str = REQUEST) -> bool:
        self.job = verbs.Job(model.Server(server.id, server.name), request_id)
        return self.verb.ask(self.client.api, self.job)


class TestFreezing(VerbTest):
    verb = verbs.Freezing()

    def test_quiesced_with_success_is_there(self) -> None:
        self.assertTrue(self.see('quiesced', None, 'Success'))
        self.assertEqual('QUIESCED', self.job.server.status)

    def test_the_state_may_come_before_the_result(self) -> None:
        self.assertFalse(self.see('quiesced'))

    def test_a_result_that_never_comes_is_not_waited_for(self) -> None:
        self.assertTrue(self.see('quiesced', later=retry.SETTLE_TIME))

    def test_a_task_goes_on(self) -> None:
        for state in ('active', 'quiesced', 'error'):
            with self.subTest(state):
                self.assertFalse(self.see(state, 'quiescing'))

    def test_active_with_a_failure_is_not_supported(self) -> None:
        with self.assertRaisesRegex(
            errors.NotSupported,
            r'Server web \(.*\) cannot be quiesced: no agent\. '
            'It was last seen with vm_state active',
        ):
            self.see('active', None, 'Error', 'no agent')

    def test_a_failure_without_a_reason_tells_who_sees_it(self) -> None:
        with self.assertRaisesRegex(
            errors.NotSupported, 'no reason is given.*administrators'
        ):
            self.see('active', None, 'Error')

    def test_active_without_a_result_waits_for_the_reason(self) -> None:
        self.assertFalse(self.see('active'))

    def test_active_without_a_result_for_long_is_not_supported(self) -> None:
        with self.assertRaisesRegex(
            errors.NotSupported, 'its instance action gives no reason'
        ):
            self.see('active', later=retry.SETTLE_TIME)

    def test_error_has_failed_with_the_reason_of_the_action(self) -> None:
        with self.assertRaisesRegex(errors.Failed, 'nova-quiesce died'):
            self.see('error', None, 'Error', 'nova-quiesce died', fault='x')

    def test_a_failure_tells_whether_it_is_the_freeze_or_the_thaw(
        self,
    ) -> None:
        with self.assertRaisesRegex(errors.Failed, 'could not be quiesced: '):
            self.see('error', None, 'Error', 'no agent')
        with self.assertRaisesRegex(errors.Failed, 'not be unquiesced: '):
            self.see('error', None, 'Success')  # its deadline has passed
        with self.assertRaisesRegex(errors.Failed, 'could not be quiesced: '):
            self.in_row(state='freezing', frozen_at=None, error='no agent')
        with self.assertRaisesRegex(errors.Failed, 'not be unquiesced: '):
            self.in_row(state='thawing', error='no agent')

    def test_error_has_failed_with_the_fault_of_the_server(self) -> None:
        with self.assertRaisesRegex(
            errors.Failed, 'agent timed out.*MAY STILL BE FROZEN'
        ):
            self.see('error', fault='agent timed out')

    def test_active_with_success_was_unquiesced_since(self) -> None:
        with self.assertRaisesRegex(
            errors.NoLongerQuiesced, 'was quiesced, and has been unquiesced'
        ):
            self.see('active', None, 'Success')

    def test_quiesced_with_a_failure_is_by_another_request(self) -> None:
        with self.assertRaisesRegex(
            errors.QuiescedByAnother, 'quiesced by another request'
        ):
            self.see('quiesced', None, 'Error')

    def test_its_own_row_that_says_frozen_is_there(self) -> None:
        self.assertTrue(self.in_row(unquiesce_at='2026-01-01T00:05:00Z'))
        self.assertEqual('quiesced', self.job.server.vm_state)
        self.assertEqual('2026-01-01T00:05:00Z', self.job.unquiesce_at)

    def test_its_own_row_that_says_freezing_goes_on(self) -> None:
        for state in ('asked', 'freezing'):
            self.assertIs(False, self.in_row(state=state))

    def test_its_own_row_with_an_error_has_failed(self) -> None:
        with self.assertRaisesRegex(errors.Failed, 'agent timed out'):
            self.in_row(state='thawing', error='agent timed out')

    def test_other_rows_do_not_tell_enough(self) -> None:
        self.assertIsNone(self.in_row(request_id=model.new_request_id()))
        self.assertIsNone(self.in_row(state='thawing'))
        self.assertIsNone(
            self.verb.in_row(verbs.Job(model.Server('web-id'), REQUEST),
                             None)
        )

    def test_a_refusal_is_final(self) -> None:
        for error in (
            errors.Conflict('no'),
            errors.Forbidden('no'),
            errors.Unauthorized('no'),
            errors.NotInstalled('no'),
            errors.ServiceUnavailable('no service is up'),
        ):
            with self.subTest(error=error):
                self.assertIsNone(self.verb.pause_after(error, 0))

    def test_what_asks_to_come_back_is_asked_again(self) -> None:
        error = errors.ServiceUnavailable('later')
        error.retry_after = 7
        self.assertEqual(7, self.verb.pause_after(error, 0))
        self.assertEqual(7, self.verb.pause_after(error, 20))
        self.assertIsNone(self.verb.pause_after(error, 25))

    def test_a_lost_answer_is_asked_for_again_for_a_while(self) -> None:
        error = errors.Unreachable('lost')
        self.assertEqual(0, self.verb.pause_after(error, 0))
        self.assertEqual(0, self.verb.pause_after(error, retry.PATIENCE))
        self.assertIsNone(self.verb.pause_after(error, retry.PATIENCE + 1))

    def test_a_look_without_an_answer_is_repeated(self) -> None:
        error = errors.ServiceUnavailable('no service is up')
        self.assertEqual(0, self.verb.pause_after(error, 0, True))
        error.retry_after = 100
        self.assertEqual(
            retry.LONGEST_DEFERRAL, self.verb.pause_after(error, 0, True)
        )
        self.assertIsNone(
            self.verb.pause_after(errors.ServerNotFound('no'), 0, True)
        )


class TestUnquiescing(VerbTest):
    verb: verbs.Verb = verbs.Unquiescing()

    def test_active_with_a_result_is_there(self) -> None:
        self.assertTrue(self.see('active', None, 'Success'))

    def test_one_read_that_may_be_stale_is_not_enough(self) -> None:
        self.assertFalse(self.see('active'))
        self.assertTrue(self.see('active', later=retry.SETTLE_TIME))

    def test_active_with_a_row_may_be_frozen(self) -> None:
        # Nova's states were reset, and no thaw is confirmed.
        for result in (None, 'Error'):
            with self.subTest(result=result):
                with self.assertRaisesRegex(
                    errors.StillThawing, 'guest may still be frozen'
                ):
                    self.see('active', None, result, freeze=REQUEST,
                             later=0 if result else retry.SETTLE_TIME)

    def test_a_table_that_cannot_be_read_now_proves_no_thaw(self) -> None:
        self.answer(
            'GET /os-quiesce', 503,
            '{"serviceUnavailable": {"message": "Later"}}', times=2,
        )
        with self.assertRaises(errors.ServiceUnavailable):
            self.see('active', None, 'Error', freeze=REQUEST)

    def test_a_nova_api_that_knows_no_token_proves_no_thaw(self) -> None:
        self.answer('GET /os-quiesce', 401, 'Authentication required', times=2)
        with self.assertRaises(errors.Unauthorized):
            self.see('active', None, 'Error', freeze=REQUEST)

    def test_a_task_goes_on(self) -> None:
        for state in ('active', 'quiesced', 'error'):
            with self.subTest(state):
                self.assertFalse(self.see(state, 'unquiescing'))

    def test_still_quiesced_after_a_failure_has_failed(self) -> None:
        with self.assertRaisesRegex(
            errors.Failed, 'could not be unquiesced: no agent'
        ):
            self.see('quiesced', None, 'Error', 'no agent')

    def test_still_quiesced_for_long_has_failed(self) -> None:
        with self.assertRaises(errors.Failed):
            self.see('quiesced', later=retry.SETTLE_TIME)

    def test_error_has_failed_once_that_is_certain(self) -> None:
        with self.assertRaisesRegex(errors.Failed, 'no agent'):
            self.see('error', None, 'Error', 'no agent')
        with self.assertRaisesRegex(errors.Failed, 'a fault'):
            self.see('error', later=retry.SETTLE_TIME, fault='a fault')

    def test_quiesced_again_is_by_another_request(self) -> None:
        with self.assertRaisesRegex(
            errors.QuiescedByAnother, 'then quiesced again by another request'
        ):
            self.see('quiesced', None, 'Success')

    def test_a_server_that_another_request_thaws_goes_on(self) -> None:
        web = self.nova.add('web', vm_state='quiesced',
                            task_state='unquiescing')
        self.assertFalse(self.ask(web))
        self.assertIsNone(self.job.action_id)

    def test_a_server_that_was_thawed_already_is_there(self) -> None:
        self.assertTrue(self.ask(self.nova.add('web')))
        self.assertIsNone(self.job.action_id)

    def test_any_other_conflict_is_told_in_novas_words(self) -> None:
        web = self.nova.add('web', vm_state='quiesced')
        self.answer(
            'POST web unquiesce', 409,
            '{"conflictingRequest": {"message": "Instance is locked"}}',
        )
        with self.assertRaisesRegex(errors.Conflict, 'Instance is locked'):
            self.ask(web)

    def test_its_row_tells_no_more_than_that_it_goes_on(self) -> None:
        self.assertIs(False, self.in_row(state='thawing'))
        self.assertIsNone(self.in_row(state='frozen'))
        self.assertIsNone(self.in_row(state='thawing', attempts=1))
        self.assertIsNone(
            self.verb.in_row(verbs.Job(model.Server('web-id')), None)
        )

    def test_a_refusal_is_final_unless_it_is_stubborn(self) -> None:
        verb = verbs.Unquiescing(is_stubborn=False)
        for error in (errors.Forbidden('no'), errors.Conflict('no')):
            with self.subTest(error=error):
                self.assertIsNone(verb.pause_after(error, 0))

    def test_trouble_is_outlasted_for_a_while_unless_it_is_stubborn(
        self,
    ) -> None:
        verb = verbs.Unquiescing(is_stubborn=False)
        for error in (
            errors.Unreachable('lost'), errors.ServiceUnavailable('later'),
        ):
            with self.subTest(error=error):
                self.assertEqual(0, verb.pause_after(error, 0))
                self.assertIsNone(verb.pause_after(error, retry.PATIENCE + 1))

    def test_trouble_is_outlasted_until_the_time_is_up(self) -> None:
        for error in (
            errors.Unreachable('lost'),
            errors.ServiceUnavailable('later'),
            errors.StillThawing('it has a row'),
        ):
            with self.subTest(error=error):
                self.assertEqual(0, self.verb.pause_after(error, 10000))

    def test_a_refusal_of_one_nova_api_is_outlasted(self) -> None:
        for error in (
            errors.Refused('400'),
            errors.Unauthorized('401'),
            errors.Forbidden('403'),
            errors.NotInstalled('no such action'),
        ):
            with self.subTest(error=error):
                self.assertEqual(0, self.verb.pause_after(error, 0))
                self.assertIsNone(
                    self.verb.pause_after(error, retry.PATIENCE + 1)
                )

    def test_what_the_server_itself_shows_is_final(self) -> None:
        for error in (
            errors.Conflict('locked'),
            errors.ServerNotFound('no'),
            errors.Failed('no agent'),
            errors.QuiescedByAnother('no'),
        ):
            for is_accepted in (False, True):
                with self.subTest(error=error, is_accepted=is_accepted):
                    self.assertIsNone(
                        self.verb.pause_after(error, 0, is_accepted)
                    )


class TestThawing(VerbTest):
    verb = verbs.Thawing()

    def test_what_its_request_has_frozen_is_on_its_way(self) -> None:
        web = self.nova.add('web', vm_state='quiesced', freeze=REQUEST)
        self.assertFalse(self.ask(web))
        self.assertEqual(web.actions[-1]['request_id'], self.job.action_id)
        self.assertIsNone(self.job.doubt)

    def test_what_another_request_thaws_is_doubted(self) -> None:
        web = self.nova.add(
            'web', vm_state='quiesced', task_state='unquiescing',
            freeze=REQUEST,
        )
        self.assertFalse(self.ask(web))
        self.assertIsNone(self.job.action_id)
        self.assertEqual('The guest is being thawed', self.job.doubt)

    def test_what_its_request_never_froze_is_done_and_doubted(self) -> None:
        web = self.nova.add('web', vm_state='quiesced', freeze='another')
        self.assertTrue(self.ask(web))
        self.assertEqual('The request is withdrawn', self.job.doubt)
        self.assertEqual('quiesced', web.vm_state)

    def test_a_server_that_is_gone_is_done_and_doubted(self) -> None:
        web = fakes.FakeServer('web')
        self.assertTrue(self.ask(web))
        asked = self.job
        looked_at = verbs.Job(model.Server(web.id, 'web'), REQUEST)
        self.assertTrue(self.verb.look(self.client.api, looked_at, 0))
        for job in (asked, looked_at):
            self.assertEqual(
                ('it was deleted', 'DELETED'), (job.doubt, job.server.status)
            )

    def test_nothing_that_is_refused_ends_it(self) -> None:
        for error in (
            errors.Refused('400'),
            errors.Unauthorized('401'),
            errors.Forbidden('403'),
            errors.NotInstalled('no such action'),
            errors.Conflict('locked'),
            errors.ServiceUnavailable('503'),
            errors.Unreachable('lost'),
            errors.QuiesceError('odd'),
        ):
            with self.subTest(error=error):
                self.assertEqual(0, self.verb.pause_after(error, 10000))

    def test_what_a_look_has_shown_is_final(self) -> None:
        self.assertIsNone(
            self.verb.pause_after(errors.Failed('no agent'), 0, True)
        )
        self.assertEqual(
            0, self.verb.pause_after(errors.Forbidden('403'), 0, True)
        )

    def test_politeness_does_not_outrank_a_frozen_guest(self) -> None:
        error = errors.ServiceUnavailable('later')
        error.retry_after = 100
        self.assertEqual(
            retry.LONGEST_DEFERRAL, self.verb.pause_after(error, 0)
        )

    def test_its_row_goes_when_it_is_thawed(self) -> None:
        job = verbs.Job(model.Server('web-id'), REQUEST)
        self.assertIs(False, self.in_row(state='frozen'))
        self.assertIs(False, self.in_row(state='thawing'))
        self.assertTrue(self.verb.in_row(job, None))
        other = dataclasses.replace(ROW, request_id=model.new_request_id())
        self.assertTrue(self.verb.in_row(job, other))

    def test_its_row_tells_of_a_thaw_that_failed(self) -> None:
        for state in ('freezing', 'thawing'):
            with self.assertRaisesRegex(
                errors.Failed, 'could not be unquiesced: no agent'
            ):
                self.in_row(state=state, error='no agent')
        with self.assertRaisesRegex(errors.Failed, 'could not be quiesced: '):
            self.in_row(state='thawing', frozen_at=None, error='no agent')
        self.assertIs(False, self.in_row(state='thawing', attempts=1))


class TestSettled(fakes.TestCase):
    def test_a_state_counts_when_it_has_stayed_for_a_while(self) -> None:
        web = self.nova.add('web', vm_state='active')
        job = verbs.Job(model.Server(web.id))

        def look(now: float) -> bool:
            return verbs.Unquiescing().look(self.client.api, job, now)

        self.assertFalse(look(100))
        self.assertFalse(look(103))
        web.task_state = 'quiescing'
        self.assertFalse(look(104))
        web.task_state = None
        self.assertFalse(look(106))
        self.assertFalse(look(105.9 + retry.SETTLE_TIME))
        self.assertTrue(look(106 + retry.SETTLE_TIME))
