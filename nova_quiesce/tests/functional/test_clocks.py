# SPDX-License-Identifier: Apache-2.0

"""What the clocks of the hosts tell does not matter.

Leases and deadlines go by the clock of the database alone.
"""

from nova_quiesce.tests.functional import test_standstill

#: by how many seconds they are set
CLOCKS = (-86400, -300, 86400)
#: seconds
DEADLINE = 60


class TestClocks(test_standstill.StoryTest):

    def test_a_deadline_is_kept(self) -> None:
        for seconds in CLOCKS:
            with self.subTest(seconds=seconds):
                self.doCleanups()
                self.setUp()
                self.world.report()
                self.world.post({'quiesce': {'unquiesce_after': DEADLINE}})
                self.world.work()
                self.world.set_clock(seconds)
                self.pass_time(DEADLINE - 5)
                self.assertEqual(('quiesced', None), self.world.states())
                self.assertTrue(self.world.guest.frozen)
                self.pass_time(10)
                self.check_thawed()

    def test_a_late_freeze_is_awaited(self) -> None:
        for seconds in CLOCKS:
            with self.subTest(seconds=seconds):
                self.doCleanups()
                self.setUp()
                self.world.guest.freeze = 'is held up in nova-compute'
                job = self.begin('one', test_standstill.ANSWERED)
                self.world.set_clock(seconds)
                job.go()
                self.world.set_clock(-2 * seconds)
                self.assertIsNotNone(self.world.row())
                self.world.arrive(self.world.guest.late[0])
                self.world.check()
                self.wait_for_no_row()
                self.check_thawed()
