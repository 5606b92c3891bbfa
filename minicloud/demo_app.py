# SPDX-License-Identifier: Apache-2.0

"""``make demo-app``: an application is snapshotted as it was at one moment.

Three real guests on real volumes depend on each other: the second writes
record n only after the first has made it durable, and the third after the
second. Prints every command before it runs it, and fails if a snapshot set is
not one moment of all three.
"""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import sys

from minicloud import cloud as cloud_module
from minicloud import demo
from minicloud import hypervisor
from minicloud import seed
from minicloud.guest import console
from minicloud.guest import disk as guest_disk
from minicloud.guest import follower

ROOT = '.minicloud-app'
#: name of the set
SET = 'demo-before-upgrade'


class ApplicationDemo(demo.Demo):
    """The demo's commands, and what they have made."""

    def names(self, kind: str) -> list[str]:
        """Return the names of volumes, or of snapshot sets."""
        return [row['Name'] for row in self.ask('%s list' % kind)]

    def sweep(self) -> None:
        """Delete what an earlier demo has left behind."""
        left = {'application snapshot': self.names('application snapshot'),
                'server': list(self.servers()),
                'volume': self.names('volume')}
        if any(left.values()):
            demo.say('An earlier demo has left something behind')
        for kind, names in left.items():
            for name in names:
                wait = '--wait ' if kind == 'server' else ''
                self.openstack('%s delete %s%s' % (kind, wait, name))
        self.until('volumes are gone', lambda: not self.names('volume'))


def start(tour: ApplicationDemo,
          other_image: str = seed.IMAGE_FOLLOWER) -> None:
    """Make the servers, each on a volume, and with another one attached.

    :param other_image: of all but the first
    """
    for number, name in enumerate(demo.SERVERS):
        image = other_image if number else seed.IMAGE_WITH_AGENT
        tour.openstack('volume create -f value -c name --size 1 '
                       '--image %s %s-boot' % (image, name))
        tour.openstack('volume create -f value -c name --size 1 %s-data'
                       % name)
    tour.until('volumes are there', lambda: all(
        row['Status'] == 'available' for row in tour.ask('volume list')))
    for name in demo.SERVERS:
        tour.openstack('server create --flavor tiny --volume %s-boot '
                       '--nic none --wait -f value -c name -c status %s'
                       % (name, name))
        tour.openstack('server add volume -f value -c Device %s %s-data'
                       % (name, name))


@contextlib.contextmanager
def chained(tour: ApplicationDemo,
            cloud: cloud_module.Cloud) -> Iterator[demo.Watch]:
    """Have each server write a record when the one before it has."""
    import libvirt
    domains = libvirt.open(hypervisor.uri(cloud.layout))
    with contextlib.ExitStack() as stack:
        ids = [tour.id_of(name) for name in demo.SERVERS]
        consoles = [console.Console(cloud.layout.console_of(server))
                    for server in ids]
        tour.until('the guests have their disks', lambda: all(
            one.last(follower.DISK) is not None for one in consoles))
        for leader, other, server in zip(
                consoles, consoles[1:], ids[1:], strict=False):
            stack.enter_context(follower.Follower(
                leader, other, domains.lookupByUUIDString(server)))
        demo.say('Each writes a record when the one before it has')
        watch = stack.enter_context(demo.Watch(dict(zip(
            demo.SERVERS, consoles, strict=True))))
        tour.until('all of them write on both disks', lambda: all(
            {record.disk for record in one.records()} == {'vda', 'vdb'}
            for one in consoles))
        yield watch


def check_set(tour: ApplicationDemo, cloud: cloud_module.Cloud,
              name: str) -> dict[tuple[str, str], int]:
    """Look into the snapshots of a set: they must be whole, and one moment.

    :returns: the last record, by server and device
    :raises demo.DemoError: if they are not
    """
    last: dict[tuple[str, str], int] = {}
    logs = []
    for server in tour.ask(f'application snapshot show {name}')['servers']:
        for volume in server['volumes']:
            with guest_disk.of_snapshot(
                    cloud.layout, volume['id'],
                    volume['snapshot_id']) as disk:
                code, said = disk.check()
                if code or disk.needs_recovery():
                    raise demo.DemoError('%s is not whole: %s' % (
                        volume['name'], said))
                number = int(disk.records()[-1].split()[0])
            print('   | %-16s clean, no journal to replay; last record %d'
                  % (volume['name'], number), flush=True)
            device = pathlib.PurePath(volume['device']).name
            last[server['name'], device] = number
            if volume['boot_index'] == 0:
                logs.append(number)
    if logs != sorted(logs, reverse=True):
        raise demo.DemoError('a server is ahead of what it follows: %s' % logs)
    print('   | the order of writes is preserved: %s'
          % ' >= '.join(str(number) for number in logs), flush=True)
    return last


def show(tour: ApplicationDemo, cloud: cloud_module.Cloud) -> None:
    """Run the demonstration."""
    tour.sweep()
    demo.say('Three servers of one application, on volumes')
    start(tour)
    with chained(tour, cloud) as watch:
        servers = ' '.join('--server %s' % name for name in demo.SERVERS)
        demo.say('What would be done')
        tour.openstack('application snapshot create --dry-run %s %s'
                       % (servers, SET))
        demo.say('Freeze in order, snapshot all volumes, thaw in reverse')
        tour.openstack('application snapshot create %s %s' % (servers, SET))
        tour.expect('ACTIVE')
        watch.wait(writing=True)
    demo.say('What is in the snapshots')
    check_set(tour, cloud, SET)
    demo.say('The set, as any other machine sees it')
    tour.openstack('application snapshot list')
    tour.openstack('application snapshot show %s' % SET)
    tour.openstack('application snapshot delete %s' % SET)
    if tour.ask('volume snapshot list'):
        raise demo.DemoError('snapshots are left')


def main() -> int:
    """Start the cloud, show it all, and say how to go on."""
    return demo.play(
        os.environ.get('MINICLOUD_ROOT', ROOT),
        {'driver': 'libvirt', 'storage': 'ceph'},
        lambda environment, cloud: show(ApplicationDemo(environment), cloud))


if __name__ == '__main__':
    sys.exit(main())
