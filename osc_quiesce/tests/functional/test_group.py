# SPDX-License-Identifier: Apache-2.0

"""Groups of servers, frozen by the library on a real Nova."""

import threading
from typing import Any

from osc_quiesce import client
from osc_quiesce import errors
from osc_quiesce import group
from osc_quiesce.tests.functional import base
from osc_quiesce.tests.functional import proxy


class TestRequests(base.FunctionalTest):
    """What is sent, whatever the size of a stage."""

    def test_inside_the_window_each_server_is_asked_twice(self) -> None:
        between = self.enterContext(proxy.Proxy())
        quiesce = client.Client(
            session=base.compute().session, endpoint_override=between.url
        )
        stage = [
            self.boot(quiesce='slow:2', unquiesce='slow:2') for _ in range(5)
        ]
        with group.quiesced(quiesce, [stage]) as frozen:
            self.assertEqual(
                {('quiesced', None)}, {self.states(id_) for id_ in stage}
            )
        frozen.verify()
        seen = [(r.method, r.path.split('?')[0]) for r in between.seen]
        posts = [path for method, path in seen if method == 'POST']
        self.assertEqual(2 * len(stage), len(posts))
        # All looks are shared, and the last one is the proof.
        looks = {path for method, path in seen if method == 'GET'}
        self.assertEqual(['os-quiesce'], [p.split('/')[-1] for p in looks])

    def test_one_that_is_deleted_is_gone(self) -> None:
        quiesce = client.Client(session=base.compute().session)
        gone, *others = servers = [self.boot() for _ in range(3)]
        with group.quiesced(quiesce, [servers]):
            self._delete(gone)
            outcomes = quiesce.unquiesce_all(servers)
        self.assertIsInstance(
            outcomes[gone].error, (errors.ServerGone, errors.ServerNotFound)
        )
        for server in others:
            self.assertIsNone(outcomes[server].error)


class TestGroup(base.FunctionalTest):
    def setUp(self) -> None:
        super().setUp()
        self.client = client.Client(session=base.compute().session)

    def assert_active(self, *server_ids: str) -> None:
        for server_id in server_ids:
            self.assertEqual(('active', None), self.states(server_id))
            self.assertNotEqual(['frozen'], self.guest_log(server_id)[-1:])

    def times(self, server_id: str) -> dict[str, tuple[str, str]]:
        """Return when each action of a server began and ended."""
        actions = base.compute().get(
            '/servers/%s/os-instance-actions' % server_id
        ).json()['instanceActions']
        times = {}
        for action in actions:
            if action['action'] in ('quiesce', 'unquiesce'):
                done = self.action(server_id, action['request_id'])
                times[action['action']] = (
                    action['start_time'],
                    max(event['finish_time'] for event in done['events']),
                )
        return times

    def test_stages_in_order_frozen_inside_and_thawed_in_reverse(self) -> None:
        db, app1, app2, web = (self.boot() for _ in range(4))
        servers = (db, app1, app2, web)
        with group.quiesced(
            self.client, [[db], [app1, app2], [web]], unquiesce_after=60
        ) as frozen:
            for server in servers:
                self.assertEqual(('quiesced', None), self.states(server))
                self.assertEqual(['frozen'], self.guest_log(server))
        frozen.verify()
        for server in servers:
            self.assertEqual(['frozen', 'thawed'], self.guest_log(server))
        self.assert_active(*servers)
        times = {server: self.times(server) for server in servers}
        for first, then in ((db, app1), (db, app2), (app1, web), (app2, web)):
            # What Nova shows of the end of a quiesce may come later.
            [frozen_at, _thawed_at] = self.guest_times(first)
            self.assertLess(frozen_at, times[then]['quiesce'][0])
            self.assertLessEqual(
                times[then]['unquiesce'][1], times[first]['unquiesce'][0]
            )
        report = frozen.report
        self.assertEqual(list(servers), [row.id for row in report.servers])
        for row in report.servers:
            assert row.thaw.action_id
            self.assertGreater(row.seconds, 0)
            self.assertEqual(
                'unquiesce',
                self.action(row.id, row.thaw.action_id)['action'],
            )
        self.assertGreaterEqual(report.window, report.complete)

    def test_the_servers_of_a_stage_freeze_at_the_same_time(self) -> None:
        slow = [self.boot(quiesce='slow:6') for _ in range(3)]
        with group.quiesced(self.client, [slow]) as frozen:
            pass
        self.assertLess(frozen.report.window, 18)
        begun = [self.times(server)['quiesce'] for server in slow]
        self.assertLess(max(t[0] for t in begun), min(t[1] for t in begun))
        self.assert_active(*slow)

    def test_one_that_cannot_be_frozen_leaves_none_frozen(self) -> None:
        db, fine, broken, never = (
            self.boot(),
            self.boot(),
            self.boot(quiesce='disconnected'),
            self.boot(),
        )
        error = self.assertRaises(
            errors.NotSupported,
            self.enter,
            [[db], [fine, broken], [never]],
        )
        self.assertEqual(broken, error.server.id)
        self.assert_active(db, fine, broken, never)
        self.assertEqual([], self.guest_log(never))
        self.assertEqual(['frozen', 'thawed'], self.guest_log(db))

    def test_what_another_command_froze_stays_as_it_is(self) -> None:
        db, foreign = self.boot(), self.boot()
        self.act(foreign, {'quiesce': None})
        self.wait(foreign, 'quiesced')
        error = self.assertRaises(
            errors.Conflict, self.enter, [[db], [foreign]]
        )
        self.assertEqual(foreign, error.server.id)
        self.assertEqual(('quiesced', None), self.states(foreign))
        self.assertEqual(['frozen'], self.guest_log(foreign))
        self.assert_active(db)
        self.act(foreign, {'unquiesce': None})
        self.wait(foreign, 'active')

    def test_of_two_groups_over_the_same_servers_one_wins(self) -> None:
        one, two = self.boot(quiesce='slow:1'), self.boot()
        entered = threading.Event()
        leave = threading.Event()
        ends: list[Any] = []

        def first() -> None:
            with group.quiesced(self.client, [[one, two]]) as frozen:
                entered.set()
                leave.wait(base.TIMEOUT)
            frozen.verify()
            ends.append(frozen.report)

        thread = threading.Thread(target=first)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(leave.set)
        self.assertTrue(entered.wait(base.TIMEOUT))
        self.assertRaises(errors.Conflict, self.enter, [[two], [one]])
        leave.set()
        thread.join()
        self.assertIsNotNone(ends[0].window)
        self.assert_active(one, two)
        for server in (one, two):
            self.assertEqual(['frozen', 'thawed'], self.guest_log(server))

    def test_one_that_cannot_be_thawed_keeps_no_other_frozen(self) -> None:
        db, stuck, web = (
            self.boot(),
            self.boot(unquiesce='fail'),
            self.boot(),
        )
        boom = RuntimeError('boom')
        error = self.assertRaises(
            errors.ThawFailed, self.enter, [[db], [stuck], [web]], boom
        )
        self.assertIs(boom, error.__cause__)
        self.assertEqual([stuck], [e.server.id for e in error.errors])
        self.assertIn('MAY STILL BE FROZEN', str(error))
        self.assert_active(db, web)

    def test_a_freeze_that_takes_too_long_is_thawed_in_the_end(self) -> None:
        # So long that db is frozen in time on a busy machine, too.
        db, slow = self.boot(), self.boot(quiesce='slow:20')
        error = self.assertRaises(
            errors.TimedOut, self.enter, [[db], [slow]], timeout=10
        )
        self.assertEqual(slow, error.server.id)
        self.assert_active(db, slow)

    def test_verify_sees_a_thaw_by_another_request(self) -> None:
        db, web = self.boot(), self.boot()
        with group.quiesced(self.client, [[db], [web]]) as frozen:
            self.act(web, {'unquiesce': None})
            self.wait(web, 'active')
        error = self.assertRaises(errors.NotConsistent, frozen.verify)
        self.assertEqual([web], [e.server.id for e in error.errors])
        self.assertFalse(frozen.report.is_consistent)
        self.assert_active(db, web)

    def test_a_freeze_by_another_request_is_left_as_it_is(self) -> None:
        db, web = self.boot(), self.boot()
        with group.quiesced(self.client, [[db], [web]]) as frozen:
            self.act(web, {'unquiesce': None})
            self.wait(web, 'active')
            self.act(web, {'quiesce': None})
            self.wait(web, 'quiesced')
        self.assertRaises(errors.NotConsistent, frozen.verify)
        self.assertEqual(('quiesced', None), self.states(web))
        self.assert_active(db)
        self.act(web, {'unquiesce': None})
        self.wait(web, 'active')

    def test_verify_sees_a_deadline_that_passed(self) -> None:
        db, web = self.boot(), self.boot()
        with group.quiesced(
            self.client, [[db], [web]], unquiesce_after={web: 8}
        ) as frozen:
            self.wait(web, 'active')
        error = self.assertRaises(errors.NotConsistent, frozen.verify)
        self.assertIn(web, str(error))
        self.assert_active(db, web)

    def test_verify_sees_a_guest_that_has_given_up_the_freeze(self) -> None:
        db, windows = self.boot(), self.boot(unquiesce='lapsed')
        with group.quiesced(self.client, [[db], [windows]]) as frozen:
            pass
        error = self.assertRaises(errors.NotConsistent, frozen.verify)
        self.assertEqual([windows], [e.server.id for e in error.errors])
        self.assert_active(db, windows)

    def test_a_server_deleted_inside_keeps_no_other_frozen(self) -> None:
        db, web = self.boot(), self.boot()
        with group.quiesced(self.client, [[db], [web]]) as frozen:
            self._delete(web)
        self.assertRaises(errors.NotConsistent, frozen.verify)
        self.assert_active(db)

    def enter(
        self,
        stages: list[list[str]],
        error: BaseException | None = None,
        **options: Any,
    ) -> None:
        """Freeze a group, and raise an error inside."""
        with group.quiesced(self.client, stages, **options):
            raise error or AssertionError('the block was entered')
