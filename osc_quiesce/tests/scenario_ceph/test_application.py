# SPDX-License-Identifier: Apache-2.0

"""Snapshot sets of an application whose servers depend on each other.

Guest 2 writes record n only after guest 1 has made its record n durable, and
guest 3 only after guest 2.  So at each moment log 3 is not ahead of log 2,
nor log 2 of log 1; a set of snapshots that says otherwise is no moment.
"""

import functools
import os
from typing import Any

from osc_quiesce.tests.scenario import base as scenario
from osc_quiesce.tests.scenario_ceph import base

NAMES = ('db', 'app', 'lb')
#: how many sets are taken; and, without quiescing, how many at the most until
#: one is found that is no moment
SETS = int(os.environ.get('APPLICATION_SETS', 3))
CONTROLS = int(os.environ.get('APPLICATION_CONTROLS', 5))


class ApplicationTest(base.VolumeTest):
    """Three guests, each on a volume of its own, and with one attached."""

    def setUp(self) -> None:
        super().setUp()
        self.volumes: dict[str, list[str]] = {}
        for name in NAMES:
            image = 'tiny' if name == NAMES[0] else base.FOLLOWER
            self.volumes[name] = [
                self.volume('%s-boot' % name, '--image %s' % image),
                self.volume('%s-data' % name)]
        self.guests = self.start_on(self.volumes)
        self.addCleanup(self.delete_snapshots)
        self.wait_for(
            lambda: all(guest.has_started(2, 'connected') or guest.disks()
                        == {'vdb'} for guest in self.guests),
            'all have both volumes', scenario.BOOT)

    def delete_snapshots(self) -> None:
        """Delete what a test that failed has left."""
        for snapshot in self.ids('volume snapshot'):
            self.delete('volume snapshot', snapshot)

    def assert_all_write(self) -> None:
        """Each guest writes on its first disk."""
        before = [guest.console.last(base.DISK) or 0 for guest in self.guests]
        self.wait_for(
            lambda: all((guest.console.last(base.DISK) or 0) > number + 5
                        for guest, number in zip(
                            self.guests, before, strict=True)),
            'the whole application is at work', scenario.BOOT)

    def create(self, name: str) -> dict[str, Any]:
        """Take a set, and return what ``show`` says of it."""
        self.openstack('application snapshot create %s %s' % (
            name, ' '.join('--server %s' % each for each in NAMES)))
        shown: dict[str, Any] = self.openstack(
            'application snapshot show -f json %s' % name).data
        return shown

    def logs(self, shown: dict[str, Any]) -> list[int]:
        """Return the last record of each guest in a set, in their order.

        The file systems of all volumes are whole.
        """
        found = []
        for server in shown['servers']:
            boot, data = server['volumes']
            found.append(self.last_record(boot['id'], boot['snapshot_id']))
            self.last_record(data['id'], data['snapshot_id'])
        return found

    def test_every_set_is_a_moment_and_can_be_restored(self) -> None:
        with self.following(self.guests):
            self.assert_all_write()
            for number in range(SETS):
                name = 'set%d' % number
                shown = self.create(name)
                self.assertEqual('consistent', shown['consistency'])
                logs = self.logs(shown)
                self.assertEqual(sorted(logs, reverse=True), logs)
                self.assert_all_write()
                if number < SETS - 1:
                    self.openstack('application snapshot delete %s' % name)
            # Nothing but the last set is left.
            self.assertEqual(
                {volume['snapshot_id'] for server in shown['servers']
                 for volume in server['volumes']},
                self.ids('volume snapshot'))
            for guest in self.guests:
                self.assertEqual('ACTIVE', self.status(guest))
        self.assert_restores(shown, logs)
        self.openstack('application snapshot delete %s' % name)
        self.assertEqual(set(), self.ids('volume snapshot'))

    def assert_restores(self, shown: dict[str, Any],
                        logs: list[int]) -> None:
        """The application goes on from the record where it was frozen."""
        guests, volumes = [], []
        for server in sorted(shown['servers'], key=lambda one: one['order']):
            # The one to boot from is the first, then as the devices are.
            mine = [
                self.volume('%s-restored' % volume['name'],
                            '--snapshot %s' % volume['snapshot_id'])
                for volume in sorted(
                    server['volumes'], key=lambda one: (
                        one['boot_index'] != 0, one['device']))]
            volumes += mine
            guests += self.start_on(
                {'%s-restored' % server['name']: mine},
                server['flavor']['name'])
        with self.following(guests):
            for guest, last in zip(guests, logs, strict=True):
                self.wait_for(functools.partial(
                    guest.console.records, base.DISK),
                    '%s goes on' % guest.name, scenario.BOOT)
                self.assertEqual(
                    last + 1, guest.console.records(base.DISK)[0].number)
        # The clones need their snapshots no longer.
        for guest in guests:
            self._delete(guest.id)
        for volume in volumes:
            self.delete('volume', volume)

    def test_without_quiescing_a_set_is_no_moment(self) -> None:
        """The control: the test above can fail."""
        found = tried = 0
        with self.following(self.guests):
            self.assert_all_write()
            for _number in range(CONTROLS):
                tried += 1
                logs = []
                taken = [self.snapshot(self.volumes[name][0])
                         for name in NAMES]
                for name, snapshot in zip(NAMES, taken, strict=True):
                    logs.append(self.last_record(
                        self.volumes[name][0], snapshot, whole=False))
                found += logs != sorted(logs, reverse=True)
                if found and 'APPLICATION_CONTROLS' not in os.environ:
                    break
        print('%d of %d sets without quiescing were no moment'
              % (found, tried))
        self.assertGreater(found, 0)
