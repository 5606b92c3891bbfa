# SPDX-License-Identifier: Apache-2.0

"""``make demo-dr``: a site is lost, and its application starts at another.

An application of three servers is snapshotted at site A and backed up, in full
and then incrementally, to a store that site B can read. The restore is
rehearsed at site B. Then all processes of site A are killed and its disks are
taken away, and the application is restored at site B. Prints every command
before it runs it, and fails if what is at site B is not what was in the last
snapshots.

``make demo-dr`` has real guests on real volumes: each finds in its volumes
exactly the records that were in the snapshots. ``make demo-dr-fake``
(``--fake``) needs no root: nobody but the demo writes to the volumes, which
are files, and all of their bytes are compared.
"""

import json
import os
import pathlib
import shlex
import signal
import sys
import time

from minicloud import cloud as cloud_module
from minicloud import demo
from minicloud import demo_app
from minicloud import processes
from minicloud import seed
from minicloud.guest import console

ROOT = '.minicloud-dr'
FAKE_ROOT = '.minicloud-dr-fake'
A, B = 'siteA', 'siteB'
#: names of the sets
FIRST, SECOND = 'nightly-1', 'nightly-2'
APPLICATION = 'name: demo\nstages:\n' + ''.join(
    f'- [{name}]\n' for name in demo.SERVERS)
#: what stands for the data of a volume (a checksum, or the number of the last
#: record), by server and volume
Data = dict[tuple[str, str], str]


class Place:
    """Where everything is.

    :param root: directory of both sites, of the store and of the files
    """

    def __init__(self, root: str) -> None:
        self.root = pathlib.Path(root)
        self.store = self.root / 'store'
        self.lost = self.root / 'lost'
        self.clouds = self.root / 'clouds.yaml'
        self.application = self.root / 'application.yaml'
        self.mapping = self.root / 'mapping.yaml'

    def of(self, site: str) -> str:
        """Return the root of a site."""
        return str(self.root / site)


class World:
    """Servers whose data can be compared: those of the fake driver.

    :param tours: the commands at the sites
    :param clouds: the sites
    :param file: application.yaml
    """

    settings = {'driver': 'fake'}
    #: what the comparison answers
    question = 'Are all bytes those of the snapshots?'

    def __init__(self, tours: dict[str, demo_app.ApplicationDemo],
                 clouds: dict[str, cloud_module.Cloud],
                 file: pathlib.Path) -> None:
        self._tours = tours
        self._clouds = clouds
        self._file = demo.relative(file)
        self._sources: dict[str, tuple[str, str]] = {}

    def start(self) -> None:
        """Make the application at site A, with data."""
        demo_app.start(self._tours[A], other_image=seed.IMAGE_WITH_AGENT)
        demo.say('These guests are fake: the demo writes to their volumes')
        for path in self._volumes().values():
            self._write('urandom', path, megabytes=6, at=1)

    def change(self, site: str = A) -> None:
        """Change a part of the data: some new, some zeros."""
        demo.say('Later: some of the data have changed')
        for path in self._volumes(site).values():
            self._write('urandom', path, megabytes=1, at=9)
            self._write('zero', path, megabytes=1, at=2)

    def snapshot(self, name: str, site: str = A) -> None:
        """Snapshot the application."""
        demo.say('Freeze in order, snapshot all volumes, thaw in reverse')
        self._tours[site].openstack(
            f'application snapshot create {name} --file {self._file} '
            '-c name -c application -c consistency -c window -c snapshots')

    def recorded(self, name: str, site: str = A) -> Data:
        """Return what is in a snapshot set."""
        servers = self._tours[site].ask(
            f'application snapshot show {name}')['servers']
        self._sources = {volume['id']: (server['name'], volume['device'])
                         for server in servers
                         for volume in server['volumes']}
        return self._sums(site, {
            self._sources[volume['id']]:
                self._clouds[site].layout.snapshot_file(volume['snapshot_id'])
            for server in servers for volume in server['volumes']})

    def found(self, restore: str, site: str = B) -> Data:
        """Return what was restored."""
        return self._sums(site, {
            self._sources[volume['source_id']]:
                self._clouds[site].layout.volume_file(volume['id'])
            for volume in self._tours[site].ask(
                f'application restore show {restore}')['volumes']})

    def go_on(self, site: str = B) -> None:
        """See that the application runs on."""

    def _volumes(self, site: str = A) -> dict[str, pathlib.Path]:
        return {
            volume['Name']: self._clouds[site].layout.volume_file(volume['ID'])
            for volume in self._tours[site].ask('volume list')
            if volume['Attached to']}

    def _write(self, what: str, path: pathlib.Path, megabytes: int,
               at: int) -> None:
        self._tours[A].run(
            f'dd if=/dev/{what} of={demo.relative(path)} bs=1M '
            f'count={megabytes} seek={at} conv=notrunc status=none')

    def _sums(self, site: str,
              files: dict[tuple[str, str], pathlib.Path]) -> Data:
        lines = self._tours[site].read('sha256sum ' + ' '.join(
            demo.relative(path) for path in files.values())).splitlines()
        return {key: line.split()[0]
                for key, line in zip(files, lines, strict=True)}


class RealWorld(World):
    """Those with real guests, on real volumes."""

    settings = {'driver': 'libvirt', 'storage': 'ceph'}
    question = ('Does each guest find in its volumes the last record that was '
                'in the snapshots?')

    def start(self) -> None:
        demo_app.start(self._tours[A])

    def change(self, site: str = A) -> None:
        demo.say('Later: the guests have written more')

    def snapshot(self, name: str, site: str = A) -> None:
        with demo_app.chained(self._tours[site], self._clouds[site]):
            super().snapshot(name, site)
            self._tours[site].expect('ACTIVE')

    def recorded(self, name: str, site: str = A) -> Data:
        return {place: str(last) for place, last in demo_app.check_set(
            self._tours[site], self._clouds[site], name).items()}

    def found(self, restore: str, site: str = B) -> Data:
        consoles = {name: console.Console(self._clouds[
            site].layout.console_of(self._tours[site].id_of(name)))
            for name in demo.SERVERS}
        keys = [(name, device) for name in demo.SERVERS
                for device in ('vda', 'vdb')]
        self._tours[site].until('the guests have their disks', lambda: all(
            consoles[name].found(device) is not None for name, device in keys))
        return {(name, device): str(consoles[name].found(device))
                for name, device in keys}

    def go_on(self, site: str = B) -> None:
        with demo_app.chained(self._tours[site], self._clouds[site]) as watch:
            watch.wait(writing=True)


class Show:
    """The demonstration.

    :param place: where everything is
    :param kind: of the servers
    """

    def __init__(self, place: Place, kind: type[World]) -> None:
        self._place = place
        self._kind = kind
        self._clouds: dict[str, cloud_module.Cloud] = {}
        self._tours: dict[str, demo_app.ApplicationDemo] = {}

    def run(self) -> None:
        """Show all of it."""
        began = time.monotonic()
        self._start_sites()
        world = self._kind(self._tours, self._clouds, self._place.application)
        demo.say('Three servers of one application at site A, on volumes')
        world.start()
        self._protect(world)
        expected = self._protect_again(world)
        self._drill()
        self._lose()
        self._restore()
        demo.say(world.question)
        compare(expected, world.found(SECOND))
        world.go_on()
        demo.say('How well the application is protected, as site B knows it')
        self._tours[B].openstack('application protection show')
        print('\nIt took %d s' % (time.monotonic() - began), flush=True)

    def _start_sites(self) -> None:
        place = self._place
        shell = demo.Demo(demo.environment_with({}))
        demo.say('Two sites: each a real Keystone, Placement, Glance, Nova '
                 'and Cinder; shared is a directory for backups')
        old = [path for path in (
            place.store, place.lost, place.clouds, place.application,
            place.mapping) if path.exists()]
        if old:
            shell.run('rm -r ' + ' '.join(map(demo.relative, old)))
        for site in A, B:
            self._start_site(site)
        self._write_clouds()
        print('\n$ %s' % play_on(place), flush=True)
        environment = demo.environment_with(
            {'OS_CLIENT_CONFIG_FILE': str(place.clouds.resolve())})
        self._tours = {site: demo_app.ApplicationDemo(environment, site)
                       for site in (A, B)}

    def _start_site(self, site: str, fresh: bool = True) -> None:
        self._clouds[site] = demo.start(self._place.of(site), {
            **self._kind.settings, 'backup': 'posix',
            'store': demo.relative(self._place.store), 'site_name': site,
            **({'fresh': ''} if fresh else {})})

    def _write_clouds(self) -> None:
        demo.Demo(demo.environment_with({})).read(
            'python -m minicloud clouds ' + ' '.join(
                f'--root {demo.relative(self._place.of(site))}'
                for site in (A, B)), output=self._place.clouds)

    def _protect(self, world: World) -> None:
        demo.say('Which server depends on which')
        self._place.application.write_text(APPLICATION)
        self._tours[A].run(f'cat {demo.relative(self._place.application)}')
        world.snapshot(FIRST)
        demo.say('What stands for what at site B: a file to fill in, were the '
                 'names there different')
        mapping = demo.relative(self._place.mapping)
        self._tours[B].openstack(f'application mapping create {FIRST} '
                                 f'--from-cloud {A} --output {mapping}')
        self._tours[B].run(f'cat {mapping}')
        demo.say('Back up the snapshots while the application runs on, and '
                 'register each backup at site B')
        self._back_up(FIRST)

    def _protect_again(self, world: World) -> Data:
        """Return what is in the last set."""
        world.change()
        world.snapshot(SECOND)
        demo.say('What is in these snapshots')
        expected = world.recorded(SECOND)
        demo.say('Back up only the differences')
        self._back_up(SECOND)
        self._tours[A].openstack('application backup list --long '
                                 '-c Name -c Consistency -c Mode -c Backups')
        return expected

    def _back_up(self, name: str) -> None:
        self._tours[A].openstack(
            f'application backup create {name} --to-cloud {B} --mapping '
            f'{demo.relative(self._place.mapping)} -c name -c consistency '
            '-c mode -c size -c registered -c backups')

    def _drill(self) -> None:
        """Rehearse the restore while the application runs on."""
        tour, mapping = self._tours[B], demo.relative(self._place.mapping)
        demo.say('Rehearse: restore it at site B beside the running one, '
                 'prove it, start the servers, and delete them again')
        tour.openstack(f'application drill {SECOND} --mapping {mapping} '
                       '-c name -c result -c rto -c phases -c deleted')
        if tour.servers():
            raise demo.DemoError('the drill has left servers at site B')

    def _lose(self) -> None:
        """Kill all processes of site A, and take its disks away."""
        demo.say('The disaster: all of site A dies at once, and its disks '
                 'are gone')
        layout = self._clouds[A].layout
        token = processes.token_of(layout)
        running = [each for group in processes.find(layout, token).values()
                   for each in group]
        print('\n$ kill -KILL %s' % ' '.join(
            str(each.pid) for each in running), flush=True)
        processes.send(running, token, signal.SIGKILL)
        tour = self._tours[A]
        tour.run(f'mv {demo.relative(layout.state)} '
                 f'{demo.relative(self._place.lost)}')
        tour.openstack('server list', refused='onnection refused')

    def _restore(self) -> None:
        tour = self._tours[B]
        demo.say('What site B knows')
        tour.openstack('application backup list')
        mapping = demo.relative(self._place.mapping)
        demo.say('What would be done there')
        tour.openstack(f'application restore create {SECOND} --mapping '
                       f'{mapping} --from-cloud {A} --dry-run')
        demo.say('Restore the volumes, prove that they are what was backed '
                 'up, start the servers in order')
        tour.openstack(f'application restore create {SECOND} --mapping '
                       f'{mapping} --from-cloud {A}')
        tour.openstack('server list -c Name -c Status')
        tour.expect('ACTIVE')
        self._expect_proof(SECOND, B)

    def _expect_proof(self, restore: str, site: str) -> None:
        volumes = self._tours[site].ask(
            f'application restore show {restore}')['volumes']
        if len(volumes) != 2 * len(demo.SERVERS) or not all(
                volume['verified'] for volume in volumes):
            raise demo.DemoError('not all volumes are proven: %s'
                                 % json.dumps(volumes))


def compare(expected: Data, found: Data) -> None:
    """Print what was saved and what was restored, side by side.

    :raises demo.DemoError: if they are not equal
    """
    for (server, volume), data in expected.items():
        other = found.get((server, volume))
        print('   | %-10s%-15ssaved:    %s\n   | %-25srestored: %s' % (
            server, volume, data, '', other), flush=True)
        if data != other:
            raise demo.DemoError(f'{volume} of {server} is not what it was')
    if not expected:
        raise demo.DemoError('there is nothing to compare')
    print('   | all are equal', flush=True)


def play_on(place: Place) -> str:
    """Return what makes a shell know both sites."""
    return 'export OS_CLIENT_CONFIG_FILE=$PWD/%s' % shlex.quote(
        demo.relative(place.clouds))


def main() -> int:
    """Show it with the guests that the command line asks for."""
    fake = '--fake' in sys.argv[1:]
    place = Place(os.environ.get('MINICLOUD_ROOT',
                                 FAKE_ROOT if fake else ROOT))
    return demo.perform(
        Show(place, World if fake else RealWorld).run,
        f'{play_on(place)}; openstack --os-cloud {B} server list',
        [place.of(A), place.of(B)], str(place.root))


if __name__ == '__main__':
    sys.exit(main())
