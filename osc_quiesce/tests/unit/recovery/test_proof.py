# SPDX-License-Identifier: Apache-2.0

"""A proof holds only against the backup that was restored."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from typing import Any
from unittest import mock

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import metadata
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import proof
from osc_quiesce.recovery import proof_backups
from osc_quiesce.recovery import waiting
from osc_quiesce.tests.unit.recovery import restore_base

TARGET = 't-db-vda'
BACKUP = 'b-db-vda'


class TestProof(restore_base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.site.volumes[TARGET]['data'] = 'data of db-vda'
        self.prover = proof.Prover(self.waiter)
        self.before = set(self.site.backup_rows)

    def prove(self) -> None:
        try:
            self.prover.prove(TARGET, BACKUP)
        finally:
            self.prover.settle()

    def assert_nothing_is_left(self) -> None:
        self.assertEqual(self.before, set(self.site.backup_rows))
        for backup in self.site.backup_rows.values():
            self.assertEqual('available', backup['status'])
            self.assertEqual('', metadata.get(backup, marks.HIDDEN_BY))

    def test_an_equal_volume_is_proven(self) -> None:
        self.prove()
        self.assert_nothing_is_left()

    def prove_interrupted(self) -> None:
        wait = waiting.Waiter.backup
        with mock.patch.object(
                waiting.Waiter, 'backup', autospec=True) as first:
            def then(*args: Any, **kwargs: Any) -> dict[str, Any]:
                first.side_effect = wait
                raise KeyboardInterrupt

            first.side_effect = then
            with self.assertRaises(KeyboardInterrupt):
                self.prove()

    def test_one_that_is_interrupted_is_cancelled(self) -> None:
        self.site.is_slow = True
        self.prove_interrupted()
        self.assert_nothing_is_left()
        self.assertEqual(1, len(self.site.cancelled))

    def test_one_that_cinder_does_not_cancel_is_waited_for(self) -> None:
        def refuse(line: str) -> None:
            if line.startswith('POST') and line.endswith('/action'):
                raise cloud_api.CloudError('you may not', 403)

        self.site.hooks.append(refuse)
        self.prove_interrupted()
        self.assert_nothing_is_left()

    def test_a_changed_byte_is_found(self) -> None:
        self.site.volumes[TARGET]['data'] = 'Data of db-vda'
        with self.assertRaisesRegex(proof.NotEqual, 'DIFFERS from backup'):
            self.prove()
        self.assert_nothing_is_left()

    def test_an_older_backup_is_proven_beside_newer_ones(self) -> None:
        newer = self.site.add_backup(TARGET, 'newer')
        self.before.add(newer)
        self.prove()
        self.assert_nothing_is_left()

    def test_a_newer_backup_of_somebody_else_is_left_alone(self) -> None:
        self.before.add(
            self.site.add_backup(TARGET, 'newer', id='foreign', metadata={})
        )
        with self.assertRaisesRegex(
            proof.WrongParent, r'none of ours \(foreign\)'
        ):
            self.prove()
        self.assert_nothing_is_left()
        self.assertEqual([], self.site.log)

    def test_another_parent_is_no_proof_even_without_differences(
        self,
    ) -> None:
        self.overtake()
        with self.assertRaisesRegex(proof.WrongParent, 'it with late-3'):
            self.prove()
        self.assert_nothing_is_left()

    def test_a_full_backup_is_no_proof(self) -> None:
        begin = self.site._begin_proof

        def full(body: dict[str, Any]) -> dict[str, Any]:
            made = begin(body)
            made['parent_id'] = None
            return made

        self.site._begin_proof = full  # type: ignore[method-assign]
        with self.assertRaisesRegex(
            proof.WrongParent,
            'has compared it with no backup, and made a full one. Run',
        ):
            self.prove()
        self.assert_nothing_is_left()
        self.assertEqual(1, self.site.log.count('POST /backups'))

    def test_one_that_was_not_finished_proves_nothing(self) -> None:
        # An administrator has set it to available while it was being made.
        fates = [None, None, None]
        begin = self.site._begin_proof

        def broken_off(body: dict[str, Any]) -> dict[str, Any]:
            made = begin(body)
            if fates:
                made['object_count'] = fates.pop()
            return made

        self.site._begin_proof = broken_off  # type: ignore[method-assign]
        with self.assertRaisesRegex(
                proof.NotProven, 'could not be compared .* was not finished'):
            self.prove()
        self.assert_nothing_is_left()
        fates.append(None)
        self.prove()
        self.assert_nothing_is_left()

    def overtake(self, times: int = 100) -> None:
        """Let newer backups be registered whenever a proof begins."""
        def sneak(line: str) -> None:
            if line == 'POST /backups' and len(late) < times:
                late.append(f'late-{len(late) + 1}')
                self.before.add(self.site.add_backup(
                    TARGET, 'data of db-vda', id=late[-1]))

        late: list[str] = []
        self.site.hooks.append(sneak)

    def test_a_backup_that_is_registered_meanwhile_does_no_harm(self) -> None:
        self.overtake(1)
        self.prove()
        self.assert_nothing_is_left()

    def test_a_set_that_is_sealed_meanwhile_stays_so(self) -> None:
        newer = self.site.add_backup(TARGET, 'newer')
        self.before.add(newer)

        def seal(line: str) -> None:
            if line == 'POST /backups':
                self.site.backup_rows[newer]['metadata'].update(
                    metadata.ours({'sealed': 'consistent'}))

        self.site.hooks.append(seal)
        self.prove()
        self.assert_nothing_is_left()
        self.assertEqual('consistent', metadata.get(
            self.site.backup_rows[newer], 'sealed'))

    def test_a_backup_that_is_deleted_meanwhile_does_no_harm(self) -> None:
        newer = self.site.add_backup(TARGET, 'newer')

        def delete(line: str) -> None:
            if line == 'POST /backups':
                del self.site.backup_rows[newer]

        self.site.hooks.append(delete)
        self.prove()
        self.assert_nothing_is_left()

    def test_one_that_is_restored_by_now_is_not_disturbed(self) -> None:
        newer = self.site.add_backup(TARGET, 'newer')
        self.before.add(newer)
        self.prover._backups.recent(TARGET)
        elsewhere = self.site.add_volume(name='elsewhere')
        elsewhere.update(status='restoring-backup', **{'from': newer})
        row = self.site.backup_rows[newer]
        row.update(status='restoring', layers=[{}] * 99)
        self.prover.prove(TARGET, BACKUP)
        self.assertEqual('restoring', row['status'])
        self.assertEqual('', metadata.get(row, marks.HIDDEN_BY))
        for line in f'POST /backups/{newer}/action', f'PUT /backups/{newer}':
            self.assertNotIn(line, self.site.log)

    def test_one_that_is_deleted_by_now_does_no_harm(self) -> None:
        newer = self.site.add_backup(TARGET, 'newer')
        self.prover._backups.recent(TARGET)
        del self.site.backup_rows[newer]
        self.prove()
        self.assert_nothing_is_left()

    def test_a_backup_of_another_volume_proves_nothing(self) -> None:
        self.site.backup_rows[BACKUP]['volume_id'] = 'original'
        with self.assertRaisesRegex(proof.WrongParent, 'of volume original'):
            self.prove()
        self.assertEqual([], self.site.log)

    def test_one_that_fails_proves_nothing(self) -> None:
        begin = self.site._begin_proof

        def failing(body: object) -> object:
            made = begin(body)  # type: ignore[arg-type]
            made.update(status='error', fail_reason='grown since')
            return made

        self.site._begin_proof = failing  # type: ignore
        with self.assertRaisesRegex(proof.NotProven, 'grown since'):
            self.prove()
        self.assert_nothing_is_left()

    def test_one_that_a_restart_has_ended_is_made_again(self) -> None:
        begin = self.site._begin_proof
        left = ['Incomplete backup reset on manager restart',
                "[Errno 17] File exists: '/backups/osc-quiesce-proofs'"]

        def failing(body: object) -> object:
            made = begin(body)  # type: ignore[arg-type]
            if left:
                made.update(status='error', fail_reason=left.pop())
            return made

        self.site._begin_proof = failing  # type: ignore
        self.prove()
        self.assert_nothing_is_left()

    def test_a_refusal_proves_nothing(self) -> None:
        def refuse(line: str) -> None:
            if line == 'POST /backups':
                raise cloud_api.CloudError('read-only store', 400)

        self.site.hooks.append(refuse)
        with self.assertRaisesRegex(proof.NotProven, 'read-only store'):
            self.prove()

    def test_it_uses_a_container_of_its_own(self) -> None:
        bodies: list[Any] = []
        begin = self.site._begin_proof

        def note(body: object) -> object:
            bodies.append(body)
            return begin(body)  # type: ignore[arg-type]

        self.site._begin_proof = note  # type: ignore
        self.prove()
        self.assertEqual('osc-quiesce-proofs', bodies[0]['container'])
        self.assertIs(True, bodies[0]['incremental'])

    def test_what_an_interrupted_one_has_left_is_put_right(self) -> None:
        newer = self.site.add_backup(
            TARGET, 'newer', status='error',
            metadata=metadata.ours(
                {'backup_set_id': 's', marks.HIDDEN_BY: BACKUP}
            ),
        )
        self.before.add(newer)
        self.site.add_backup(
            TARGET, 'x', metadata=metadata.ours({marks.PROOF_OF: BACKUP})
        )
        proof_backups.recover(self.waiter, ['another volume'])
        self.assertEqual('error', self.site.backup_rows[newer]['status'])
        proof_backups.recover(self.waiter, [TARGET])
        self.assert_nothing_is_left()

    def test_but_none_that_is_not_hidden_any_more(self) -> None:
        marked = metadata.ours({'backup_set_id': 's', marks.HIDDEN_BY: BACKUP})
        for status in 'error_deleting', 'restoring':
            self.site.add_backup(
                TARGET, 'x', id=status, status=status, metadata=dict(marked))
        with mock.patch.object(self.site, '_look_at_backup', dict):
            proof_backups.recover(self.waiter, [TARGET])
        for status in 'error_deleting', 'restoring':
            row = self.site.backup_rows[status]
            self.assertEqual(status, row['status'])
            self.assertNotIn('becomes', row)
            self.assertEqual('', metadata.get(row, marks.HIDDEN_BY))

    def test_a_proof_that_was_interrupted_can_be_made_again(self) -> None:
        def stop(line: str) -> None:
            if line == 'POST /backups':
                raise KeyboardInterrupt

        self.before.add(self.site.add_backup(TARGET, 'newer'))
        self.site.hooks.append(stop)
        with self.assertRaises(KeyboardInterrupt):
            self.prove()
        self.site.hooks.clear()
        self.prove()
        self.assert_nothing_is_left()

    def hidden(self, *ids: str) -> None:
        """Let newer backups be hidden while the volume is compared."""
        for id_ in ids:
            self.before.add(self.site.add_backup(TARGET, 'newer', id=id_))

    def test_without_cinder_backup_what_is_left_is_told(self) -> None:
        begin = self.site._begin_proof

        def stop(body: dict[str, Any]) -> dict[str, Any]:
            self.site.services = [{**restore_base.UP, 'state': 'down'}]
            return begin(body)

        self.hidden('newer-1', 'newer-2')
        self.site._begin_proof = stop  # type: ignore[method-assign]
        with self.assertRaisesRegex(
                proof.NotProven, 'could not be compared with backup '
                f'{BACKUP}: no cinder-backup service is up'):
            self.prove()
        for id_ in 'newer-1', 'newer-2':
            self.assertEqual('error', self.site.backup_rows[id_]['status'])
            self.assertIn(
                f'Backup {id_} was put into error for a proof, and may still '
                'be: Service cinder-backup could not be found.', self.said)
            self.assertIn(
                f'"openstack volume backup set --state available {id_}" when '
                'a cinder-backup is up', self.said)
        (left,) = set(self.site.backup_rows) - self.before
        self.assertIn(f'Backup {left}, which was only made to compare, is not '
                      'deleted: no cinder-backup service is up', self.said)
        self.site._begin_proof = begin  # type: ignore[method-assign]
        self.site.services = [restore_base.UP]
        self.prove()
        self.assert_nothing_is_left()

    def test_one_that_stays_hidden_does_not_keep_the_others_so(self) -> None:
        self.hidden('newer-1', 'newer-2')
        reset = self.site._look_at_backup

        def stuck(backup: dict[str, Any]) -> dict[str, Any]:
            if backup['id'] == 'newer-1' and backup['status'] == 'error':
                backup.pop('becomes', None)  # 202, and nothing comes of it
            return reset(backup)

        self.site._look_at_backup = stuck  # type: ignore[method-assign]
        self.site.volumes[TARGET]['data'] = 'damaged'
        with self.assertRaises(proof.NotEqual):
            self.prove()
        self.assertIn('Backup newer-1 was put into error for a proof, and may '
                      'still be: Backup newer-1 is still error', self.said)
        self.assertNotIn('newer-2', self.said)
        self.assertEqual(
            'available', self.site.backup_rows['newer-2']['status'])

    def test_that_it_differs_is_noted_before_anything_else(self) -> None:
        noted: list[str] = []

        def stop(line: str) -> None:
            if line.startswith('DELETE /backups'):
                raise KeyboardInterrupt

        self.site.volumes[TARGET]['data'] = 'damaged'
        self.site.hooks.append(stop)
        with self.assertRaises(KeyboardInterrupt):
            self.prover.prove(TARGET, BACKUP, lambda: noted.append('differs'))
        self.assertEqual(['differs'], noted)
        self.site.hooks.clear()
        self.site.volumes[TARGET]['data'] = 'data of db-vda'
        self.prover.prove(TARGET, BACKUP, lambda: noted.append('again'))
        self.assertEqual(['differs'], noted)

    def test_a_signal_does_not_leave_newer_ones_hidden(self) -> None:
        stopped: list[str] = []
        shields: list[str] = []

        @contextlib.contextmanager
        def shield() -> Iterator[None]:
            shields.append('')
            yield
            shields.pop()

        def sleep(seconds: float) -> None:
            if stopped and not shields:
                raise KeyboardInterrupt
            self.nova.sleep(seconds)

        self.hidden('newer')
        self.site.hooks.append(
            lambda line: stopped.append(line) if line == 'POST /backups'
            else None)
        self.client = self.client.with_sleep(sleep)
        prover = proof.Prover(self.waiter, shield=shield)
        with self.assertRaises(KeyboardInterrupt):
            prover.prove(TARGET, BACKUP)
        self.assertEqual(
            'available', self.site.backup_rows['newer']['status'])

    def test_answers_that_are_lost_once_do_no_harm(self) -> None:
        volume = self.site.volume
        seen: set[str] = set()

        def fail(method: str, path: str, *args: Any, **kwargs: Any) -> Any:
            line = f'{method} {path}'
            if line not in seen and line != 'POST /backups':
                seen.add(line)
                raise cloud_api.CloudError('try later', 503)
            return volume(method, path, *args, **kwargs)

        self.hidden('newer')
        seen.add(f'GET /backups/{BACKUP}')
        self.site.volume = fail  # type: ignore[method-assign]
        self.prove()
        self.assert_nothing_is_left()
        self.assertTrue([line for line in seen if 'export_record' in line])

    def test_a_request_that_fails_on_the_way_is_looked_for(self) -> None:
        volume = self.site.volume

        def fail(method: str, path: str, *args: Any, **kwargs: Any) -> Any:
            answer = volume(method, path, *args, **kwargs)
            if (method, path) == ('POST', '/backups'):
                raise cloud_api.CloudError('MessagingTimeout', 500)
            return answer

        self.site.volume = fail  # type: ignore[method-assign]
        self.prove()
        self.assert_nothing_is_left()

    def test_what_failed_tells_how_to_go_on(self) -> None:
        begin = self.site._begin_proof

        def failing(body: object) -> object:
            made = begin(body)  # type: ignore[arg-type]
            made.update(status='error', fail_reason='403 Forbidden')
            return made

        def refuse(line: str) -> None:
            if line == 'POST /backups':
                raise cloud_api.CloudError('over quota', 413)

        for break_, why in (
            (lambda: setattr(self.site, '_begin_proof', failing), '403'),
            (lambda: self.site.hooks.append(refuse), 'over quota'),
        ):
            break_()
            with self.assertRaisesRegex(
                    proof.NotProven, f'{why}.*no server was made.*'
                    '--proof-container; --no-verify does without'):
                self.prove()
