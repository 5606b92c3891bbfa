# SPDX-License-Identifier: Apache-2.0

"""What is sent while servers are frozen."""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from typing import Any
from unittest import mock

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import snapshot_sets
from osc_quiesce.tests.unit.application import base


class WindowTest(base.TestCase):
    """Three servers with two volumes each."""

    def setUp(self) -> None:
        super().setUp()
        last = self.planned(2, 'last')
        self.plan = dataclasses.replace(
            self.plan, servers=(*self.plan.servers, last)
        )
        self.sent: list[str] = []
        self.nova.hooks.append(
            lambda *_args: self.sent.append(self.nova.log[-1])
        )
        self.cinder.hooks.append(self.sent.append)

    def between(self, first: str, last: str) -> list[str]:
        """Return what was sent after one request until another one."""
        return self.sent[self.sent.index(first) + 1:self.sent.index(last) + 1]

    def test_nothing_is_sent_but_what_has_to_be(self) -> None:
        self.cinder.statuses = ['creating'] * 6
        self.create()
        frozen_by = self.nova.servers[self.plan.servers[0].id].actions[0]
        names = ('db', 'web', 'last')
        # Looks at what is being frozen, or thawed: as many as there are.
        looks = {
            'GET /os-quiesce',
            *(f'GET {name}' for name in names),
            *(
                f'GET {name}/os-instance-actions/{frozen_by["request_id"]}'
                for name in names
            ),
        }
        sent = collections.Counter(
            line
            for line in self.between('POST db quiesce', 'POST db unquiesce')
            if line not in looks
        )
        self.assertEqual(
            {
                'POST web quiesce': 1,
                'POST last quiesce': 1,
                'POST /snapshots': 6,
                **{
                    f'GET /snapshots/s-{name}-{device}': 1
                    for name in names
                    for device in ('vda', 'vdb')
                },
                'POST last unquiesce': 1,
                'POST web unquiesce': 1,
                'POST db unquiesce': 1,
            },
            dict(sent),
        )

    def test_nova_is_asked_nothing_while_all_are_frozen(self) -> None:
        self.cinder.statuses = ['creating'] * 6
        self.create()
        self.assertEqual(
            12, len(self.between_freeze_and_thaw()), self.sent
        )

    def between_freeze_and_thaw(self) -> list[str]:
        first = self.sent.index('POST /snapshots')
        last = self.sent.index('POST last unquiesce')
        return self.sent[first:last]

    def test_snapshots_that_are_there_at_once_are_not_looked_at(
        self,
    ) -> None:
        self.create()
        self.assertEqual(
            ['POST /snapshots'] * 6, self.between_freeze_and_thaw()
        )


class ReadsTest(base.TestCase):
    """What is read of Cinder while servers are frozen may fail for a while."""

    def share(self) -> None:
        """Let the data of db be on a volume with multiattach."""
        db, web = self.plan.servers
        root, data = db.volumes
        data = {**data, 'multiattach': True}
        db = dataclasses.replace(
            db, restore={**db.restore, 'volumes': [root, data]}
        )
        self.plan = dataclasses.replace(
            self.plan,
            servers=(db, web),
        )
        self.cinder.users['db-vdb'] = [{'server_id': db.id}]

    def test_a_volume_that_somebody_else_got_leaves_nothing(self) -> None:
        self.share()
        self.cinder.users['db-vdb'].append({'server_id': 'stranger'})
        with self.assertRaisesRegex(
            errors.ApplicationError,
            'db-vdb was attached to stranger since the preflight',
        ):
            self.create()
        self.assert_nothing_is_left()

    def test_a_volume_that_somebody_gets_until_the_thaw_leaves_nothing(
        self,
    ) -> None:
        self.share()
        self.cinder.statuses = ['creating'] * 4

        def attach(line: str) -> None:
            if line == 'GET /snapshots/s-db-vdb':
                self.cinder.users['db-vdb'].append({'server_id': 'stranger'})

        self.cinder.hooks.append(attach)
        with self.assertRaisesRegex(errors.ApplicationError, 'stranger'):
            self.create()
        self.assert_nothing_is_left()

    def test_a_cinder_that_does_not_tell_who_has_a_volume(self) -> None:
        error = cloud_api.CloudError('Cinder is away', 503)
        for number in 1, 99:
            with self.subTest(number):
                self.cinder.made.clear()
                self.share()
                self.cinder.away = {'/volumes/db-vdb': [error] * number}
                if number == 1:
                    self.assertEqual(
                        snapshot_sets.CONSISTENT, self.create().state
                    )
                    continue
                with self.assertRaisesRegex(
                    errors.ApplicationError,
                    'whether volume db-vdb was attached.*Cinder is away',
                ):
                    self.create()
                self.assert_nothing_is_left()

    def test_only_volumes_that_others_may_get_are_looked_at(self) -> None:
        self.share()
        self.assertEqual(snapshot_sets.CONSISTENT, self.create().state)
        self.assertEqual(
            ['GET /volumes/db-vdb'],
            [line for line in self.cinder.log if '/volumes' in line],
        )

    def reads(self) -> dict[str, str]:
        """Let all be read that can be: return the paths, and of what."""
        self.share()
        self.cinder.made.clear()
        self.cinder.statuses = ['creating'] * 4
        return {'/snapshots/s-db-vdb': 'volume db-vdb of server db '}

    def test_a_read_that_fails_once_costs_no_set(self) -> None:
        for path in self.reads():
            for status in 503, 429, None:
                with self.subTest(path=path, status=status):
                    self.reads()
                    error = cloud_api.CloudError('away', status)
                    self.cinder.away = {path: [error]}
                    self.assertEqual(
                        snapshot_sets.CONSISTENT, self.create().state
                    )
                    self.assertEqual({path: []}, self.cinder.away)

    def test_a_read_that_hangs_does_not_prolong_the_freeze_for_long(
        self,
    ) -> None:
        for path in self.reads():
            with self.subTest(path=path):
                self.reads()
                self.cinder.silent = {path}
                made = self.create()
                self.assertEqual(snapshot_sets.CONSISTENT, made.state)
                self.assertLess(made.window or 99, 15)

    def test_a_read_that_takes_long_is_waited_for(self) -> None:
        for path in self.reads():
            with self.subTest(path=path):
                self.reads()
                self.cinder.slow = {path: 12.0}
                made = self.create()
                self.assertEqual(snapshot_sets.CONSISTENT, made.state)

    def test_a_read_that_goes_on_failing_ends_at_the_deadline(self) -> None:
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
                self.assertLess(self.nova.now - started, base.TIMEOUT + 5)
                self.assert_nothing_is_left()

    def test_a_read_that_is_refused_is_not_repeated(self) -> None:
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
                self.assert_nothing_is_left()

    def test_a_cinder_that_says_when_to_come_back_is_heard(self) -> None:
        for path in self.reads():
            with self.subTest(path=path):
                self.reads()
                error = cloud_api.CloudError('busy', 503, retry_after=0.3)
                self.cinder.away = {path: [error]}
                started = time.monotonic()
                self.assertEqual(
                    snapshot_sets.CONSISTENT, self.create().state
                )
                self.assertGreaterEqual(time.monotonic() - started, 0.3)

    def test_a_cinder_that_says_to_come_back_too_late_is_given_up(
        self,
    ) -> None:
        for path in self.reads():
            with self.subTest(path=path):
                self.reads()
                error = cloud_api.CloudError(
                    'busy', 503, retry_after=base.TIMEOUT
                )
                self.cinder.away = {path: [error] * 9}
                with self.assertRaisesRegex(errors.ApplicationError, 'busy'):
                    self.create()
                self.assertEqual([error] * 8, self.cinder.away[path])
                self.assert_nothing_is_left()

    def test_snapshots_that_take_a_while_are_waited_for(self) -> None:
        self.cinder.statuses = ['creating'] * 6
        made = self.create()
        self.assertEqual(
            {'available'}, {snapshot['status'] for snapshot in made.snapshots}
        )

    def test_snapshots_that_are_never_there_end_at_the_deadline(self) -> None:
        self.cinder.statuses = ['creating'] * 4 + ['creating'] * 5

        def tick(line: str) -> None:
            if line == 'GET /snapshots/s-db-vda':
                self.cinder.statuses.append('creating')
                self.nova.now += 20

        self.cinder.hooks.append(tick)
        with self.assertRaisesRegex(
            errors.ApplicationError, 'Not all snapshots were made within 60 s'
        ):
            self.create()
        self.cinder.statuses.clear()
        self.assertEqual({'active'}, self.vm_states())


class CallsTest(base.TestCase):
    def test_a_request_under_way_ends_before_snapshots_are_deleted(
        self,
    ) -> None:
        """Else a snapshot would appear when all were deleted."""
        self.cinder.breaks = 'db-vda'
        volume = self.cinder.volume
        begun = threading.Event()

        def slow(method: str, path: str, json: Any = None) -> Any:
            id_ = (json or {}).get('snapshot', {}).get('volume_id')
            if id_ == 'web-vdb':
                begun.set()
                time.sleep(0.3)
            elif id_ == 'db-vda':
                begun.wait(10)
            return volume(method, path, json)

        self.cloud.volume = slow
        with self.assertRaisesRegex(errors.ApplicationError, 'no room'):
            self.create()
        self.assert_nothing_is_left()
        self.assertIn('DELETE /snapshots/s-web-vdb', self.cinder.log)

    def test_no_request_begins_once_one_has_failed(self) -> None:
        """Else a snapshot is taken of a guest that is being thawed."""
        self.cinder.breaks = 'db-vda'
        thawing = threading.Event()
        self.before('Unquiescing', thawing.set)
        volume = self.cinder.volume

        def second(method: str, path: str, json: Any = None) -> Any:
            # The only other thread is free again when the thaw has begun.
            if json and json['snapshot']['volume_id'] == 'db-vdb':
                thawing.wait(10)
            return volume(method, path, json)

        self.cloud.volume = second
        with (
            mock.patch.object(cloud_api, 'THREADS', 1),
            self.assertRaisesRegex(errors.ApplicationError, 'no room'),
        ):
            self.create()
        self.assertLessEqual(self.cinder.log.count('POST /snapshots'), 2)
        self.assert_nothing_is_left()

    def test_without_threads_the_servers_are_thawed_at_once(self) -> None:
        """Else nothing would look at the deadline, nor for signals."""
        patch = mock.patch.object(
            threading.Thread, 'start',
            side_effect=RuntimeError("can't start new thread"))
        self.addCleanup(patch.stop)
        self.before('Taking', patch.start)
        with self.assertRaisesRegex(
            errors.ApplicationError, 'start new thread.*try again'
        ):
            self.create()
        self.assertNotIn('POST /snapshots', self.cinder.log)
        self.assert_nothing_is_left()
