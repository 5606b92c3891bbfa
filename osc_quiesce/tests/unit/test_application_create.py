# SPDX-License-Identifier: Apache-2.0

"""Snapshot sets are made whole or not at all, and found by their metadata."""

import contextlib
from collections.abc import Iterator
import dataclasses
import time
from typing import Any
from unittest import mock

from osc_quiesce import consistency
from osc_quiesce import exceptions
from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import create
from osc_quiesce.application import errors
from osc_quiesce.application import plan as planning
from osc_quiesce.application import sets
from osc_quiesce.tests.unit import fakes

TIMEOUT = 60.0
SLOW = 29.98  # of the timeout, two of these leave less than a pause


class FakeCinder:
    """Keeps snapshots, and tells what Nova says of servers.

    :ivar nova: knows the servers
    :ivar breaks: the volume of which no snapshot can be made
    :ivar marks: what happens when metadata are written, each in its turn
    :ivar lost: the volume whose snapshot gets no answer
    :ivar late: in how many seconds that one is made; None if never
    :ivar users: of volumes, as Cinder shows them
    :ivar statuses: of new snapshots, in their turn, before ``available``
    :ivar away: how the next reads of a path fail; each takes SLOW seconds
    """

    def __init__(self, nova: fakes.FakeNova) -> None:
        self.nova = nova
        self.made: dict[str, dict[str, Any]] = {}
        self.attached: dict[str, list[str]] = {}
        self.breaks = ''
        self.marks: list[cloud_api.CloudError] = []
        self.lost = ''
        self.late: float | None = None
        self.users: dict[str, list[dict[str, Any]]] = {}
        self.statuses: list[str] = []
        self.away: dict[str, list[cloud_api.CloudError]] = {}

    def compute(self, path: str) -> dict[str, Any]:
        self._fail(path)
        _, _, server, *what = path.split('/')
        match what:
            case []:
                return {'server': fakes.view(self.nova.servers[server])}
            case ['os-instance-actions']:
                actions = self.nova.servers[server].actions
                return {'instanceActions': actions[::-1]}
        return {
            'volumeAttachments': [
                {'volumeId': volume} for volume in self.attached[server]
            ]
        }

    def snapshots(self) -> Iterator[dict[str, Any]]:
        for made in self.made.values():
            if made.get('status') == 'creating':
                made['status'] = self._status()
        return iter(list(self.made.values()))

    def volume(
        self, method: str, path: str, json: Any = None
    ) -> dict[str, Any]:
        if method == 'POST' and path == '/snapshots':
            body = json['snapshot']
            if body['volume_id'] == self.breaks:
                raise cloud_api.CloudError('Cinder has no room', 500)
            if body['volume_id'] == self.lost:
                if self.late is not None:
                    self.nova.at(
                        self.nova.now + self.late, lambda: self._make(body)
                    )
                raise cloud_api.CloudError('the connection is gone')
            return {'snapshot': self._make(body)}
        if method == 'POST':
            if self.marks:
                raise self.marks.pop(0)
            self.made[path.split('/')[2]]['metadata'].update(json['metadata'])
            return {}
        if method == 'DELETE':
            del self.made[path.split('/')[2]]
            return {}
        self._fail(path)
        if path.startswith('/volumes/'):
            users = self.users.get(path.split('/')[2], [])
            return {'volume': {'attachments': users}}
        made = self.made[path.split('/')[2]]
        made['status'] = self._status()
        return {'snapshot': made}

    def _fail(self, path: str) -> None:
        if self.away.get(path):
            self.nova.now += SLOW
            raise self.away[path].pop(0)

    def _make(self, body: dict[str, Any]) -> Any:
        made = {
            **body,
            'id': 's-%s' % body['volume_id'],
            'status': self._status(),
            'size': 1,
        }
        self.made[made['id']] = made
        return made

    def _status(self) -> str:
        return self.statuses.pop(0) if self.statuses else 'available'


class TestCase(fakes.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.cinder = FakeCinder(self.nova)
        servers = []
        for number, name in enumerate(('db', 'web')):
            server = self.nova.add(name)
            volumes = tuple(
                planning.Volume(
                    '%s-%s' % (name, device),
                    '',
                    '/dev/%s' % device,
                    1,
                    None,
                    0 if device == 'vda' else -1,
                    False,
                    'in-use',
                )
                for device in ('vda', 'vdb')
            )
            self.cinder.attached[server.id] = [v.id for v in volumes]
            restore = {
                'id': server.id,
                'name': name,
                'order': number,
                # Longer than what fits into one value.
                'metadata': {'note': 'x' * 700},
                'volumes': [{'id': v.id} for v in volumes],
            }
            servers.append(
                planning.Server(
                    server.id, name, number, 120, volumes, restore, ()
                )
            )
        self.plan = planning.Plan('nightly', 'shop', tuple(servers), ())

    def create(self, **kwargs: Any) -> sets.SnapshotSet:
        cloud: Any = self.cinder
        return create.create(self.client, cloud, self.plan, TIMEOUT, **kwargs)

    def vm_states(self) -> set[str]:
        return {server.vm_state for server in self.nova.servers.values()}


class TestCreate(TestCase):
    def test_a_set_is_complete_and_says_all(self) -> None:
        made = self.create(description='d', properties={'ticket': '7'})
        self.assertEqual(sets.CONSISTENT, made.state)
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

    def test_cinders_limit_is_kept(self) -> None:
        for snapshot in self.create().snapshots:
            for value in snapshot['metadata'].values():
                self.assertLessEqual(len(value), sets.PIECE)

    def test_a_plan_with_refusals_freezes_nothing(self) -> None:
        self.plan = planning.Plan(
            'nightly', 'shop', self.plan.servers, ('There is no room.',)
        )
        with self.assertRaisesRegex(errors.NotPossible, 'no room'):
            self.create()
        self.assertEqual([], self.nova.posts())

    def test_a_snapshot_that_fails_leaves_nothing(self) -> None:
        self.cinder.breaks = 'web-vda'
        with self.assertRaises(errors.ApplicationError) as caught:
            self.create()
        said = str(caught.exception)
        for words in ('web-vda', 'server web', 'Cinder has no room'):
            self.assertIn(words, said)
        self.assertEqual({}, self.cinder.made)
        self.assertEqual({'active'}, self.vm_states())

    def test_snapshots_that_take_a_while_are_waited_for(self) -> None:
        self.cinder.statuses = ['creating'] * 6
        made = self.create()
        self.assertEqual(
            {'available'}, {snapshot['status'] for snapshot in made.snapshots}
        )

    def test_a_snapshot_that_ends_in_error_leaves_nothing(self) -> None:
        self.cinder.statuses = ['creating', 'error']
        with self.assertRaisesRegex(
            errors.ApplicationError, 'its status is error'
        ):
            self.create()
        self.assertEqual({}, self.cinder.made)
        self.assertEqual({'active'}, self.vm_states())

    def test_volumes_that_changed_leave_nothing(self) -> None:
        server = self.plan.servers[0]
        self.cinder.attached[server.id] = ['db-vda', 'new']
        with self.assertRaisesRegex(
            errors.ApplicationError, 'gone db-vdb, new new'
        ):
            self.create()
        self.assertEqual({}, self.cinder.made)
        self.assertEqual({'active'}, self.vm_states())

    def test_a_cinder_that_is_away_when_the_set_is_marked_is_waited_for(
        self,
    ) -> None:
        self.cinder.marks = [
            cloud_api.CloudError('away', status)
            for status in (None, 500, 502, 503, 504, 429)
        ]
        self.assertEqual(sets.CONSISTENT, self.create().state)

    def test_a_good_set_that_cannot_be_marked_is_kept(self) -> None:
        for error in [cloud_api.CloudError('away', 503)] * 999, [
            cloud_api.CloudError('you may not', 403)
        ]:
            self.cinder.made.clear()
            self.cinder.marks = list(error)
            with self.assertRaises(create.Kept) as caught:
                self.create()
            self.assertEqual({'active'}, self.vm_states())
            self.cinder.marks.clear()
            cloud: Any = self.cinder
            kept = sets.find(cloud, 'nightly')
            self.assertEqual(sets.PENDING, kept.state)
            said = str(caught.exception)
            for words in (
                'is consistent',
                str(error[0]),
                'shown as pending',
                'snapshot set --property osc_quiesce:consistency=consistent',
                's-db-vda s-db-vdb s-web-vda s-web-vdb',
                'application snapshot delete %s' % kept.id,
            ):
                self.assertIn(words, said)
            self.assertLess(self.nova.now, 2 * create.SEAL_PATIENCE)
            for snapshot in kept.snapshots:
                snapshot['metadata']['osc_quiesce:consistency'] = 'consistent'
            self.assertEqual(sets.CONSISTENT, kept.state)

    def test_one_that_lost_a_snapshot_before_it_was_marked_is_not(
        self,
    ) -> None:
        self.cinder.marks = [cloud_api.NotThere('it is gone', 404)]
        with self.assertRaisesRegex(cloud_api.NotThere, 'gone'):
            self.create()
        self.assertEqual({}, self.cinder.made)

    def test_a_snapshot_that_appears_late_is_deleted(self) -> None:
        self.cinder.lost, self.cinder.late = 'db-vdb', 6
        with self.assertRaisesRegex(errors.ApplicationError, 'db-vdb'):
            self.create()
        self.assertGreater(self.nova.now, 6)
        self.assertEqual({}, self.cinder.made)
        self.assertEqual('', self.said)

    def test_one_that_may_appear_even_later_is_told(self) -> None:
        self.cinder.lost = 'db-vdb'
        with self.assertRaises(errors.ApplicationError):
            self.create()
        self.assertIn('snapshot of db-vdb', self.said)
        self.assertIn('"openstack application snapshot delete ', self.said)
        self.assertLess(self.nova.now, 20)

    def test_what_cinder_has_answered_is_not_waited_for(self) -> None:
        self.cinder.breaks = 'db-vdb'
        with self.assertRaises(errors.ApplicationError):
            self.create()
        self.assertLess(self.nova.now, 3)
        self.assertEqual('', self.said)

    def shared(self) -> None:
        """Let the data of db be on a volume with multiattach."""
        db, web = self.plan.servers
        root, data = db.volumes
        data = dataclasses.replace(data, multiattach=True)
        self.plan = dataclasses.replace(
            self.plan,
            servers=(dataclasses.replace(db, volumes=(root, data)), web),
        )
        self.cinder.users['db-vdb'] = [{'server_id': db.id}]

    def test_a_volume_that_somebody_else_got_leaves_nothing(self) -> None:
        self.shared()
        self.cinder.users['db-vdb'].append({'server_id': 'stranger'})
        with self.assertRaisesRegex(
            errors.ApplicationError, 'db-vdb was attached to stranger'
        ):
            self.create()
        self.assertEqual({}, self.cinder.made)
        self.assertEqual({'active'}, self.vm_states())

    def test_only_volumes_that_others_may_get_are_looked_at(self) -> None:
        self.shared()
        asked = mock.Mock(side_effect=self.cinder.volume)
        with mock.patch.object(self.cinder, 'volume', asked):
            self.assertEqual(sets.CONSISTENT, self.create().state)
        self.assertEqual(
            ['/volumes/db-vdb'],
            [
                call.args[1]
                for call in asked.call_args_list
                if call.args[1].startswith('/volumes')
            ],
        )

    def reads(self) -> dict[str, str]:
        """Let all be read that can be: return the paths, and of what."""
        self.shared()
        self.cinder.statuses = ['creating'] * 4
        db, _web = self.plan.servers
        return {
            '/snapshots/s-db-vdb': 'volume db-vdb of server db ',
            f'/servers/{db.id}/os-volume_attachments': f'server {db.label} ',
            '/volumes/db-vdb': 'volume db-vdb ',
        }

    def test_a_read_that_fails_once_costs_no_set(self) -> None:
        for path in self.reads():
            for status in 503, 429, None:
                with self.subTest(path=path, status=status):
                    self.reads()
                    self.cinder.made.clear()
                    error = cloud_api.CloudError('away', status)
                    self.cinder.away = {path: [error]}
                    self.assertEqual(sets.CONSISTENT, self.create().state)
                    self.assertEqual({path: []}, self.cinder.away)

    def test_one_that_goes_on_failing_does_when_the_time_is_up(self) -> None:
        for path, whose in self.reads().items():
            with self.subTest(path=path):
                self.reads()
                error = cloud_api.CloudError('Cinder is away', 503)
                self.cinder.away = {path: [error] * 9}
                started = self.nova.now
                with self.assertRaises(errors.ApplicationError) as caught:
                    self.create()
                self.assertIn(whose, str(caught.exception))
                self.assertIn('Cinder is away', str(caught.exception))
                self.assertEqual([error] * 7, self.cinder.away[path])
                self.assertLess(self.nova.now - started, TIMEOUT + 5)
                self.assertEqual({}, self.cinder.made)
                self.assertEqual({'active'}, self.vm_states())

    def test_one_that_is_refused_is_not_repeated(self) -> None:
        for path in self.reads():
            with self.subTest(path=path):
                self.reads()
                error = cloud_api.CloudError('you may not', 403)
                self.cinder.away = {path: [error] * 9}
                with self.assertRaisesRegex(
                    errors.ApplicationError, 'you may not'
                ):
                    self.create()
                self.assertEqual([error] * 8, self.cinder.away[path])

    def test_one_comes_back_when_it_is_asked_to_if_there_is_time(
        self,
    ) -> None:
        path, *_rest = self.reads()
        error = cloud_api.CloudError('busy', 429, retry_after=0.3)
        self.cinder.away = {path: [error]}
        started = time.monotonic()
        self.create()
        self.assertGreater(time.monotonic() - started, 0.3)
        self.cinder.made.clear()
        self.reads()
        error = cloud_api.CloudError('busy', 429, retry_after=TIMEOUT)
        self.cinder.away = {path: [error] * 9}
        with self.assertRaisesRegex(errors.ApplicationError, 'busy'):
            self.create()
        self.assertEqual([error] * 8, self.cinder.away[path])

    def not_verified(self) -> Any:
        error = exceptions.QuiesceError('was thawed', server_id='x')
        return mock.patch.object(
            consistency.Frozen,
            'verify',
            side_effect=consistency.NotConsistent([error]),
        )

    def test_an_inconsistent_set_is_deleted(self) -> None:
        with self.not_verified():
            with self.assertRaises(consistency.NotConsistent):
                self.create()
        self.assertEqual({}, self.cinder.made)
        self.assertEqual({'active'}, self.vm_states())

    def test_or_kept_and_marked_if_that_is_asked_for(self) -> None:
        with self.not_verified():
            with self.assertRaisesRegex(create.Kept, 'NOT CONSISTENT'):
                self.create(keep_inconsistent=True)
        cloud: Any = self.cinder
        self.assertEqual(
            sets.INCONSISTENT, sets.find(cloud, 'nightly').state
        )

    def failing_thaw(self) -> Any:
        @contextlib.contextmanager
        def quiesced(*args: Any) -> Iterator[Any]:
            frozen = mock.Mock(report=mock.Mock(complete=1.5))
            yield frozen
            raise consistency.ThawFailed(
                [exceptions.QuiesceError('does not answer', server_id='x')]
            )

        return mock.patch.object(consistency, 'quiesced', quiesced)

    def test_a_consistent_set_survives_a_failed_thaw(self) -> None:
        with self.failing_thaw():
            with self.assertRaises(create.Kept) as caught:
                self.create()
        self.assertIn('does not answer', str(caught.exception))
        self.assertIn('is consistent', str(caught.exception))
        cloud: Any = self.cinder
        made = sets.find(cloud, 'nightly')
        self.assertEqual(sets.CONSISTENT, made.state)
        self.assertIsNone(made.window)

    def test_also_one_that_cannot_be_marked(self) -> None:
        self.cinder.marks = [cloud_api.CloudError('you may not', 403)]
        with self.failing_thaw():
            with self.assertRaises(create.Kept) as caught:
                self.create()
        self.assertIn('does not answer', str(caught.exception))
        self.assertIn('shown as pending', str(caught.exception))
        self.assertEqual(4, len(self.cinder.made))

    def test_but_not_if_a_snapshot_had_failed_before(self) -> None:
        self.cinder.breaks = 'web-vda'
        with self.failing_thaw():
            with self.assertRaises(errors.ApplicationError):
                self.create()
        self.assertEqual({}, self.cinder.made)

    def test_an_interrupt_leaves_nothing(self) -> None:
        take = FakeCinder.volume

        def interrupted(*args: Any, **kwargs: Any) -> Any:
            self.client.sleep = mock.Mock(side_effect=KeyboardInterrupt)
            return take(self.cinder, *args, **kwargs)

        @contextlib.contextmanager
        def shield() -> Iterator[None]:
            self.client.sleep = self.nova.sleep
            yield

        with mock.patch.object(self.cinder, 'volume', interrupted):
            with self.assertRaises(KeyboardInterrupt):
                self.create(shield=shield)
        self.assertEqual({}, self.cinder.made)
        self.assertEqual({'active'}, self.vm_states())


class TestSets(TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.made = self.create()
        self.cloud: Any = self.cinder

    def test_a_snapshot_that_is_gone_makes_it_incomplete(self) -> None:
        del self.cinder.made['s-web-vdb']
        left = sets.find(self.cloud, 'nightly')
        self.assertEqual(sets.INCOMPLETE, left.state)
        self.assertIsNone(left.servers[1]['volumes'][1]['snapshot_id'])

    def test_one_that_was_never_checked_is_pending(self) -> None:
        for snapshot in self.cinder.made.values():
            snapshot['metadata'][sets.PREFIX + 'consistency'] = sets.PENDING
        self.assertEqual(
            sets.PENDING, sets.find(self.cloud, self.made.id).state
        )

    def test_damaged_metadata_hide_no_set(self) -> None:
        for snapshot in self.cinder.made.values():
            snapshot['metadata'].pop(sets.PREFIX + 'servers.0', None)
            for key in ('order', 'volumes', 'window', 'complete'):
                snapshot['metadata'][sets.PREFIX + key] = 'damaged'
        found = sets.find(self.cloud, 'nightly')
        self.assertEqual(4, len(found.snapshots))
        self.assertEqual([], found.servers)
        self.assertEqual(0, found.volumes)
        self.assertIsNone(found.window)

    def test_other_snapshots_are_left_alone(self) -> None:
        self.cinder.made['mine'] = {'id': 'mine', 'metadata': {}}
        self.assertEqual(1, len(sets.find_all(self.cloud)))
        self.delete()
        self.assertEqual(['mine'], list(self.cinder.made))

    def delete(self) -> None:
        sets.delete(
            self.cloud, self.made.id, self.nova.sleep, self.client.clock
        )

    def gone(self, snapshot: str) -> None:
        del self.cinder.made[snapshot]

    def test_deleting_can_be_repeated(self) -> None:
        self.delete()
        self.delete()
        self.assertEqual({}, self.cinder.made)

    def test_what_cannot_be_deleted_is_named(self) -> None:
        with mock.patch.object(
            self.cinder, 'volume', side_effect=cloud_api.CloudError('busy')
        ):
            with self.assertRaisesRegex(
                errors.ApplicationError, r's-db-vda \(busy\)'
            ):
                self.delete()

    def test_one_that_is_being_deleted_is_waited_for(self) -> None:
        del self.cinder.made['s-db-vda']
        going = self.cinder.made['s-db-vdb']
        going['status'] = 'deleting'
        self.nova.at(30, lambda: self.gone(going['id']))
        volume = self.cinder.volume

        def refuse(method: str, path: str, json: Any = None) -> Any:
            self.assertNotIn(going['id'], path)
            return volume(method, path, json)

        with mock.patch.object(self.cinder, 'volume', refuse):
            self.delete()
        self.assertEqual({}, self.cinder.made)

    def test_a_request_to_delete_may_get_no_answer(self) -> None:
        def lose(method: str, path: str, json: Any = None) -> Any:
            # Slow: it is gone long after the answer was missed.
            id_ = path.split('/')[2]
            self.cinder.made[id_]['status'] = 'deleting'
            self.nova.at(
                self.nova.now + 30, lambda: self.gone(id_)
            )
            raise cloud_api.CloudError('the connection is gone')

        with mock.patch.object(self.cinder, 'volume', lose):
            self.delete()
        self.assertEqual({}, self.cinder.made)

    def test_one_that_the_storage_does_not_delete_is_named_soon(self) -> None:
        # As with Ceph, if a volume was cloned from it.
        with mock.patch.object(self.cinder, 'volume', return_value={}):
            with self.assertRaisesRegex(
                errors.ApplicationError, r's-db-vda \(its status is available'
            ):
                self.delete()
        self.assertLess(self.nova.now, 20)

    def test_two_of_the_same_name_are_told_apart_by_id(self) -> None:
        self.cinder.made['other'] = {
            'id': 'other',
            'volume_id': 'v',
            'status': 'available',
            'metadata': {
                sets.PREFIX + 'set_id': 'other-set',
                sets.PREFIX + 'set': 'nightly',
            },
        }
        with self.assertRaisesRegex(errors.ApplicationError, 'other-set'):
            sets.find(self.cloud, 'nightly')
        self.assertEqual(
            self.made.id, sets.find(self.cloud, self.made.id).id
        )
