# SPDX-License-Identifier: Apache-2.0

"""Snapshot sets are made whole or not at all."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import create
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.application import plan as planning
from osc_quiesce.application import snapshot_sets
from osc_quiesce import errors as quiesce_errors
from osc_quiesce.tests.unit.application import base


class CreateTest(base.TestCase):
    def test_a_set_is_complete_and_says_all(self) -> None:
        made = self.create(description='d', properties={'ticket': '7'})
        self.assertEqual(snapshot_sets.CONSISTENT, made.state)
        self.assertEqual({'active'}, self.vm_states())
        self.assertEqual(
            ['db-vda', 'db-vdb', 'web-vda', 'web-vdb'],
            [snapshot['volume_id'] for snapshot in made.snapshots],
        )
        self.assertEqual({'ticket': '7'}, made.properties)
        self.assertEqual('d', made.description)
        db, web = made.servers
        self.assertEqual(('db', 'web'), (db['name'], web['name']))
        self.assertEqual('x' * 700, web['metadata']['note'])
        self.assertEqual('s-db-vdb', db['volumes'][1]['snapshot_id'])
        self.assertTrue(made.window and made.window > 0)
        self.assertTrue(made.complete is not None and made.complete >= 0)

    def test_everything_that_cinder_is_given_is_ascii(self) -> None:
        smile = '\U0001f600'
        db, web = self.plan.servers
        restore = {**db.restore, 'name': smile}
        db = dataclasses.replace(db, name=smile * 255, restore=restore)
        self.plan = dataclasses.replace(
            self.plan, name='ü', application=smile, servers=(db, web)
        )
        made = self.create(
            description=smile, properties={'owner': f'C:\\{smile}'}
        )
        for snapshot in made.snapshots:
            self.assertTrue(str(snapshot).isascii(), snapshot)
            self.assertLessEqual(len(snapshot['name']), metadata.PIECE)
        self.assertEqual(
            ('ü', smile, smile),
            (made.name, made.application, made.description),
        )
        self.assertEqual({'owner': f'C:\\{smile}'}, made.properties)
        self.assertEqual(smile, made.servers[0]['name'])

    def test_a_set_keeps_cinders_limit_of_metadata(self) -> None:
        for snapshot in self.create().snapshots:
            for value in snapshot['metadata'].values():
                self.assertLessEqual(len(value), metadata.PIECE)

    def test_a_plan_with_refusals_freezes_nothing(self) -> None:
        self.plan = planning.Plan(
            'nightly', 'shop', self.plan.servers, ('There is no room.',)
        )
        with self.assertRaisesRegex(errors.NotPossible, 'no room'):
            self.create()
        self.assertEqual([], self.nova.log)
        self.assertEqual([], self.cinder.log)

    def test_a_server_that_cannot_be_frozen_leaves_nothing(self) -> None:
        _db, web = self.nova.servers.values()
        web.freeze_to = ('active', 'Error', 'no guest agent')
        with self.assertRaisesRegex(
            quiesce_errors.NotSupported, 'web.*no guest agent'
        ):
            self.create()
        self.assertEqual([], self.cinder.log)
        self.assert_nothing_is_left()

    def test_a_snapshot_that_is_refused_leaves_nothing(self) -> None:
        self.cinder.breaks = 'web-vda'
        with self.assertRaises(errors.ApplicationError) as caught:
            self.create()
        self.assertEqual(
            'The snapshot of volume web-vda of server web failed: '
            'Cinder has no room.',
            str(caught.exception),
        )
        self.assert_nothing_is_left()

    def test_a_snapshot_that_ends_in_error_leaves_nothing(self) -> None:
        self.cinder.statuses = ['creating', 'error']
        with self.assertRaisesRegex(
            errors.ApplicationError, 'its status is error'
        ):
            self.create()
        self.assert_nothing_is_left()

    def test_servers_are_thawed_before_snapshots_are_deleted(self) -> None:
        self.cinder.breaks = 'web-vdb'  # the last: all others have begun
        frozen: list[set[str]] = []

        def look(line: str) -> None:
            if line.startswith('DELETE'):
                frozen.append(self.vm_states())

        self.cinder.hooks.append(look)
        with self.assertRaises(errors.ApplicationError):
            self.create()
        self.assertEqual([{'active'}] * 3, frozen)


class VolumesTest(base.TestCase):
    """What came or went since the plan was made."""

    def setUp(self) -> None:
        super().setUp()
        self.db, self.web = self.nova.servers.values()

    def change(self, action: str = 'attach_volume') -> None:
        """Let somebody change the volumes of web."""
        self.web.actions.append({
            'action': action,
            'request_id': f'req-to-{action}',
            'message': None,
            'events': [],
        })

    def test_one_that_came_or_went_leaves_nothing(self) -> None:
        for action in 'attach_volume', 'detach_volume', 'swap_volume':
            with self.subTest(action):
                self.change(action)
                with self.assertRaises(errors.ApplicationError) as caught:
                    self.create()
                said = str(caught.exception)
                for words in (
                    self.plan.servers[1].label, f'req-to-{action}',
                    'Try again',
                ):
                    self.assertIn(words, said)
                self.assert_nothing_is_left()

    def test_one_that_comes_just_before_the_freeze_is_noticed(self) -> None:
        self.before('Quiescing web', self.change)
        with self.assertRaisesRegex(errors.ApplicationError, 'attach_volume'):
            self.create()
        self.assert_nothing_is_left()

    def test_one_that_came_before_the_plan_is_in_it(self) -> None:
        self.change()
        db, web = self.plan.servers
        self.plan = dataclasses.replace(
            self.plan,
            servers=(
                db,
                dataclasses.replace(web, newest_change='req-to-attach_volume'),
            ),
        )
        # Nova lists the newest actions: in the last round the change is the
        # oldest of them before the command, and not among them after it.
        for others in 0, 47:
            with self.subTest(others):
                for _action in range(others):
                    self.change('reboot')
                self.cinder.made.clear()
                self.assertEqual(snapshot_sets.CONSISTENT, self.create().state)

    def test_other_actions_change_no_volumes(self) -> None:
        self.before('Quiescing web', lambda: self.change('reboot'))
        self.assertEqual(snapshot_sets.CONSISTENT, self.create().state)

    def test_they_are_looked_for_when_nothing_is_frozen(self) -> None:
        states: list[set[str]] = []

        def hook(request: Any, context: Any) -> None:
            if self.nova.log[-1].endswith('/os-instance-actions'):
                states.append(self.vm_states())

        self.nova.hooks.append(hook)
        self.create()
        self.assertEqual([{'active'}] * 2, states)

    def test_a_nova_that_is_away_for_a_moment_costs_no_set(self) -> None:
        self.answer('GET db/os-instance-actions', 502, 'away', times=2)
        self.drop('GET web/os-instance-actions')
        self.assertEqual(snapshot_sets.CONSISTENT, self.create().state)

    def test_a_nova_that_stays_away_leaves_nothing(self) -> None:
        self.answer('GET web/os-instance-actions', 502, 'away', times=99)
        with self.assertRaisesRegex(
            quiesce_errors.Unreachable, 'web.*HTTP 502'
        ):
            self.create()
        self.assert_nothing_is_left()


class SealTest(base.TestCase):
    """Marking a set as consistent."""

    def test_a_cinder_that_is_away_is_waited_for(self) -> None:
        self.cinder.marks = [
            cloud_api.CloudError('away', status)
            for status in (None, 500, 502, 503, 504, 429)
        ]
        self.assertEqual(snapshot_sets.CONSISTENT, self.create().state)

    def test_a_good_set_that_cannot_be_marked_is_kept(self) -> None:
        for error in [cloud_api.CloudError('away', 503)] * 999, [
            cloud_api.CloudError('you may not', 403)
        ]:
            with self.subTest(str(error[0])):
                self.cinder.made.clear()
                self.cinder.marks = list(error)
                started = self.nova.now
                with self.assertRaises(create.Kept) as caught:
                    self.create()
                self.assertEqual({'active'}, self.vm_states())
                self.cinder.marks.clear()
                kept = snapshot_sets.find(self.cloud, 'nightly')
                self.assertEqual(snapshot_sets.PENDING, kept.state)
                said = str(caught.exception)
                for words in (
                    'is consistent',
                    str(error[0]),
                    'shown as pending',
                    'set --property osc_quiesce:consistency=consistent',
                    's-db-vda s-db-vdb s-web-vda s-web-vdb',
                    'application snapshot delete %s' % kept.id,
                ):
                    self.assertIn(words, said)
                self.assertLess(
                    self.nova.now - started, 2 * create.SEAL_PATIENCE
                )
                for snapshot in kept.snapshots:
                    snapshot['metadata']['osc_quiesce:consistency'] = (
                        'consistent'
                    )
                self.assertEqual(snapshot_sets.CONSISTENT, kept.state)

    def test_a_database_that_lags_behind_costs_no_set(self) -> None:
        read, stale = self.cinder.snapshots, [True, True]

        def lagging(wanted: Any) -> Any:
            listed = copy.deepcopy(list(read(wanted)))
            if stale and self.cinder.log.count(
                    'POST /snapshots/s-db-vda/metadata'):
                stale.pop()
                for each in listed:
                    each['metadata']['osc_quiesce:consistency'] = 'pending'
            return iter(listed)

        self.cloud.snapshots = lagging
        self.assertEqual(snapshot_sets.CONSISTENT, self.create().state)
        self.assertEqual([], stale)

    def test_a_set_that_lost_a_snapshot_leaves_nothing(self) -> None:
        self.cinder.marks = [cloud_api.NotThere('it is gone', 404)]
        with self.assertRaisesRegex(cloud_api.NotThere, 'gone'):
            self.create()
        self.assert_nothing_is_left()

    def test_a_set_with_a_snapshot_in_error_leaves_nothing(self) -> None:
        def spoil(line: str) -> None:
            if line.endswith('/metadata'):
                self.cinder.made['s-db-vda']['status'] = 'error'

        self.cinder.hooks.append(spoil)
        with self.assertRaisesRegex(
            errors.ApplicationError, r'nightly \(.*\) is incomplete'
        ):
            self.create()
        self.assert_nothing_is_left()


class UndoTest(base.TestCase):
    """Snapshots of which Cinder has not said what becomes of them."""

    def test_a_snapshot_that_appears_late_is_deleted(self) -> None:
        self.cinder.lost, self.cinder.late = 'db-vdb', 6
        with self.assertRaisesRegex(errors.ApplicationError, 'db-vdb'):
            self.create()
        self.assertGreater(self.nova.now, 6)
        self.assert_nothing_is_left()
        self.assertEqual('', self.said)

    def test_a_snapshot_that_may_appear_even_later_is_told(self) -> None:
        self.cinder.lost = 'db-vdb'
        with self.assertRaises(errors.ApplicationError):
            self.create()
        self.assertIn('snapshot of db-vdb', self.said)
        self.assertIn('"openstack application snapshot delete ', self.said)
        self.assertLess(self.nova.now, 20)

    def test_a_refused_snapshot_is_not_waited_for(self) -> None:
        self.cinder.breaks = 'db-vdb'
        with self.assertRaises(errors.ApplicationError):
            self.create()
        self.assertLess(self.nova.now, 3)
        self.assertEqual('', self.said)


class ConsistencyTest(base.TestCase):
    """The thaws prove it."""

    def setUp(self) -> None:
        super().setUp()
        self.db, self.web = self.nova.servers.values()

    def thaw_db(self) -> None:
        """Let somebody else thaw db when the snapshots are taken."""
        self.before(
            'Taking', lambda: self.nova.others(self.db, 'unquiesce')
        )

    def test_the_proof_costs_no_look_at_who_froze_a_server(self) -> None:
        self.create()
        ids = {
            server.actions[0]['request_id'] for server in (self.db, self.web)
        }
        self.assertEqual(1, len(ids))
        self.assertEqual(
            ['quiesce', 'unquiesce'],
            [action['action'] for action in self.db.actions],
        )

    def test_a_server_that_somebody_thawed_leaves_nothing(self) -> None:
        self.thaw_db()
        with self.assertRaisesRegex(
            quiesce_errors.NotConsistent, 'db.* did not stay frozen'
        ):
            self.create()
        self.assert_nothing_is_left()

    def test_a_server_that_was_thawed_by_its_deadline_leaves_nothing(
        self,
    ) -> None:
        db, web = self.plan.servers
        self.plan = dataclasses.replace(
            self.plan,
            servers=(dataclasses.replace(db, unquiesce_after=5), web),
        )
        self.before('Taking', lambda: self.nova.sleep(6))
        with self.assertRaisesRegex(quiesce_errors.NotConsistent, 'db'):
            self.create()
        self.assert_nothing_is_left()

    def test_a_server_frozen_anew_by_somebody_leaves_theirs_alone(
        self,
    ) -> None:
        def theirs() -> None:
            self.nova.others(self.db, 'unquiesce')
            self.nova.sleep(1)
            self.nova.others(self.db, 'quiesce', 'req-theirs')
            self.nova.sleep(1)

        self.before('Taking', theirs)
        with self.assertRaises(quiesce_errors.NotConsistent):
            self.create()
        self.assertEqual({}, self.cinder.made)
        self.assertEqual('quiesced', self.db.vm_state)
        self.assertEqual('req-theirs', self.db.freeze)

    def test_a_server_that_was_deleted_leaves_nothing(self) -> None:
        def delete() -> None:
            self.db.vm_state = 'deleted'

        self.before('Taking', delete)
        with self.assertRaisesRegex(
            quiesce_errors.NotConsistent, 'db.*it was deleted'
        ):
            self.create()
        self.assertEqual({}, self.cinder.made)
        self.assertEqual('active', self.web.vm_state)

    def test_a_guest_that_says_it_was_not_frozen_leaves_nothing(self) -> None:
        # Its thaw was accepted, and it is active: only the action tells.
        self.web.thaw_to = ('active', 'Error', 'it was thawed inside')
        with self.assertRaisesRegex(
            quiesce_errors.NotConsistent, 'web.*it was thawed inside'
        ):
            self.create()
        self.assert_nothing_is_left()

    def test_a_doubtful_set_is_kept_and_marked_if_that_is_wanted(
        self,
    ) -> None:
        self.thaw_db()
        with self.assertRaisesRegex(create.Kept, 'db.* NOT CONSISTENT'):
            self.create(keep_inconsistent=True)
        kept = snapshot_sets.find(self.cloud, 'nightly')
        self.assertEqual(snapshot_sets.INCONSISTENT, kept.state)
        self.assertEqual(4, len(kept.snapshots))

    def test_a_doubtful_set_that_is_not_whole_is_not_kept(self) -> None:
        self.thaw_db()
        self.cinder.breaks = 'web-vda'
        with self.assertRaisesRegex(errors.ApplicationError, 'no room'):
            self.create(keep_inconsistent=True)
        self.assert_nothing_is_left()

    def fail_thaw(self) -> None:
        """Let the thaw of web be accepted, and fail."""
        self.web.thaw_to = ('error', 'Error', 'the guest does not answer')

    def test_a_failed_thaw_leaves_no_set(self) -> None:
        # A guest that cannot be thawed cannot tell whether it stayed frozen.
        self.fail_thaw()
        with self.assertRaisesRegex(
            quiesce_errors.ThawFailed,
            'web.*the guest does not answer.*STILL BE FROZEN',
        ):
            self.create()
        self.assertEqual({}, self.cinder.made)

    def test_nor_is_it_proven_if_it_is_kept(self) -> None:
        self.fail_thaw()
        with self.assertRaisesRegex(
            create.Kept, 'STILL BE FROZEN.*nightly.* NOT CONSISTENT'
        ):
            self.create(keep_inconsistent=True)
        kept = snapshot_sets.find(self.cloud, 'nightly')
        self.assertEqual(snapshot_sets.INCONSISTENT, kept.state)

    def test_a_failed_thaw_keeps_no_set_that_is_not_whole(self) -> None:
        self.fail_thaw()
        self.cinder.breaks = 'web-vda'
        with self.assertRaises(quiesce_errors.ThawFailed) as caught:
            self.create()
        self.assertIn('no room', str(caught.exception.__cause__))
        self.assertEqual({}, self.cinder.made)
        self.assertEqual('', self.said)

    def test_a_thaw_that_nobody_accepts_keeps_no_set_that_is_not_whole(
        self,
    ) -> None:
        self.answer('POST web unquiesce', 502, 'away', times=9999)
        self.cinder.breaks = 'web-vda'
        with self.assertRaises(quiesce_errors.ThawFailed):
            self.create(keep_inconsistent=True)
        self.assertEqual({}, self.cinder.made)

    def test_a_thaw_that_nobody_accepts_leaves_no_set(self) -> None:
        # It is never known whether web was frozen all the time.
        self.answer('POST web unquiesce', 502, 'away', times=9999)
        with self.assertRaisesRegex(
            quiesce_errors.ThawFailed, 'web.*HTTP 502.*STILL BE FROZEN'
        ):
            self.create()
        self.assertEqual({}, self.cinder.made)

    def test_a_set_without_proof_is_kept_if_that_is_wanted(self) -> None:
        self.answer('POST web unquiesce', 502, 'away', times=9999)
        with self.assertRaisesRegex(
            create.Kept, 'web.*STILL BE FROZEN.*NOT CONSISTENT'
        ):
            self.create(keep_inconsistent=True)
        self.assertEqual(
            snapshot_sets.INCONSISTENT,
            snapshot_sets.find(self.cloud, 'nightly').state,
        )

    def test_a_failed_thaw_makes_no_doubtful_server_proven(self) -> None:
        self.fail_thaw()
        self.thaw_db()
        with self.assertRaisesRegex(quiesce_errors.ThawFailed, 'web'):
            self.create()
        self.assertEqual({}, self.cinder.made)


class InterruptTest(base.TestCase):
    """Ctrl-C and its like."""

    def stop_at(self, line: str) -> None:
        """Stop at the first request, to Nova or Cinder, like this."""

        def hook(found: str) -> None:
            if found == line:
                self.stop()

        self.cinder.hooks.append(hook)
        self.nova.hooks.append(lambda *_args: hook(self.nova.log[-1]))

    def test_it_leaves_nothing_wherever_it_comes(self) -> None:
        for line in (
            'POST db quiesce',
            'POST web quiesce',
            'POST /snapshots',
            'GET /snapshots/s-web-vdb',
            'POST web unquiesce',
            'POST db unquiesce',
            'GET db/os-instance-actions',
        ):
            with self.subTest(line):
                self.nova.hooks.clear()
                self.cinder.hooks.clear()
                self.start_again()
                self.cinder.statuses = ['creating'] * 6
                self.stop_at(line)
                with self.assertRaises(KeyboardInterrupt):
                    self.create()
                self.assert_nothing_is_left()
                self.assertEqual('', self.said)

    def test_it_does_not_disturb_the_deleting(self) -> None:
        self.cinder.breaks = 'web-vda'
        self.stop_at('DELETE /snapshots/s-db-vda')
        with self.assertRaisesRegex(errors.ApplicationError, 'no room'):
            self.create()
        self.assert_nothing_is_left()
