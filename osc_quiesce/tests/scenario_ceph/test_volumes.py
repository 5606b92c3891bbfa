# SPDX-License-Identifier: Apache-2.0

"""A snapshot of a quiesced server's volumes needs no recovery."""

from osc_quiesce.tests.scenario import base as scenario
from osc_quiesce.tests.scenario_ceph import base


class VolumesTest(base.VolumeTest):
    """A guest that has booted from a volume, with another attached."""

    def setUp(self) -> None:
        super().setUp()
        self.volumes = {'vda': self.volume('boot', '--image tiny'),
                        'vdb': self.volume('data')}
        [self.guest] = self.start_on({'vm': [self.volumes['vda']]})
        self.openstack('server add volume vm data')
        self.wait_for(lambda: self.guest.disks() == {'vda', 'vdb'},
                      'the guest writes on both volumes', scenario.BOOT)

    def test_only_quiesced_it_needs_no_recovery_and_lacks_nothing(
            self) -> None:
        self.quiesce(self.guest)
        self.guest.assert_frozen()
        said = {disk: self.guest.console.last(disk) for disk in self.volumes}
        taken = {disk: self.snapshot(volume)
                 for disk, volume in self.volumes.items()}
        self.unquiesce(self.guest)
        self.guest.assert_writing()
        for disk, volume in self.volumes.items():
            self.assertEqual(
                said[disk], self.last_record(volume, taken[disk]), disk)
        # The control: with a writer at work there always is a journal.
        for disk, volume in self.volumes.items():
            self.assertLess(said[disk], self.last_record(
                volume, self.snapshot(volume), whole=False), disk)
