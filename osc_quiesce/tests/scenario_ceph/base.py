# SPDX-License-Identifier: Apache-2.0

"""What the tests on real volumes share."""

import contextlib
import functools
from collections.abc import Iterator

from minicloud import seed
from minicloud.guest import disk as guest_disk
from minicloud.guest import follower

from osc_quiesce.tests.functional import base as functional
from osc_quiesce.tests.scenario import base

#: the disk of a guest on which the records are that others depend on
DISK = follower.DISK
#: what a guest that waits for others is made of
FOLLOWER = seed.IMAGE_FOLLOWER
#: seconds in which Cinder has made a volume
MADE = 180.0


class VolumeTest(base.ScenarioTest):
    """A test whose guests have volumes."""

    # -- volumes ----------------------------------------------------------

    def volume(self, name: str, options: str = '') -> str:
        """Create a volume, deleted after the test, and return its id.

        :param options: of ``openstack volume create``
        """
        made = self.openstack('volume create --size 1 -f json %s %s'
                              % (options, name))
        volume_id = str(made.data['id'])
        self.addCleanup(self.delete, 'volume', volume_id)
        self.wait_for(lambda: self.state('volume', volume_id) == 'available',
                      'volume %s is there' % name, MADE)
        return volume_id

    def snapshot(self, volume_id: str) -> str:
        """Create a snapshot without quiescing anything."""
        made = self.openstack(
            'volume snapshot create --force -f json --volume %s stray'
            % volume_id)
        snapshot_id = str(made.data['id'])
        self.addCleanup(self.delete, 'volume snapshot', snapshot_id)
        self.wait_for(
            lambda: self.state('volume snapshot', snapshot_id) == 'available',
            'snapshot %s is there' % snapshot_id, MADE)
        return snapshot_id

    def state(self, kind: str, identity: str) -> str:
        """Return the status of a volume or a snapshot."""
        return str(self.openstack('%s show -f json -c status %s' % (
            kind, identity)).data['status'])

    def ids(self, kind: str) -> set[str]:
        """Return the ids of all volumes or snapshots."""
        return {row['ID'] for row in self.openstack(
            '%s list -f json' % kind).data}

    def delete(self, kind: str, identity: str) -> None:
        """Delete a volume or a snapshot, and wait until it is gone."""
        if identity not in self.ids(kind):
            return
        self.openstack('%s delete %s' % (kind, identity))
        self.wait_for(lambda: identity not in self.ids(kind),
                      '%s %s is deleted' % (kind, identity), MADE)

    def last_record(self, volume_id: str, snapshot_id: str,
                    whole: bool = True) -> int:
        """Return the number of the last record in a snapshot.

        :param whole: whether the file system must be as after an unmount; if
            not, what its journal holds counts as well
        """
        with guest_disk.of_snapshot(functional.cloud().layout, volume_id,
                                    snapshot_id) as disk:
            self.assertEqual(not whole, disk.needs_recovery())
            if whole:
                code, said = disk.check()
                self.assertEqual(0, code, said)
            else:
                disk.recover()
            return int(disk.records()[-1].split()[0])

    # -- guests -----------------------------------------------------------

    def start_on(self, volumes: dict[str, list[str]],
                 flavor: str = 'tiny') -> list[base.Guest]:
        """Create servers that boot from volumes, and wait for the guests.

        :param volumes: by the names of the servers: the boot volume, and
            those that are attached
        :param flavor: its name
        """
        guests = []
        for name, (boot, *others) in volumes.items():
            mapping = [
                {'boot_index': 0 if volume == boot else -1,
                 'uuid': volume, 'source_type': 'volume',
                 'destination_type': 'volume'}
                for volume in (boot, *others)]
            answer = functional.compute().post('/servers', json={'server': {
                'name': name, 'flavorRef': flavor, 'networks': 'none',
                'block_device_mapping_v2': mapping}})
            self.assertEqual(202, answer.status_code, answer.text)
            server_id = answer.json()['server']['id']
            self.addCleanup(self._delete, server_id)
            guests.append(base.Guest(self, server_id, name))
        for guest in guests:
            self.wait(guest.id, 'active')
            self.wait_for(
                functools.partial(guest.agent_is, 'connected'),
                '%s has started' % guest.name, base.BOOT)
            self.wait_for(functools.partial(has_looked, guest),
                          '%s has its disk' % guest.name, base.BOOT)
        return guests

    @contextlib.contextmanager
    def following(self, guests: list[base.Guest]) -> Iterator[None]:
        """Have each guest follow the one before it."""
        with contextlib.ExitStack() as stack:
            for leader, other in zip(guests, guests[1:], strict=False):
                stack.enter_context(follower.Follower(
                    leader.console, other.console, other.domain))
            yield


def has_looked(guest: base.Guest) -> bool:
    """Say whether a guest knows the last record on its disk."""
    return guest.console.last(DISK) is not None
