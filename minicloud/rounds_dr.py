# SPDX-License-Identifier: Apache-2.0

"""``make test-disaster``: an application loses its site and comes home again.

Each round is what ``make demo-dr`` shows, and the way back: a full backup set
and two incremental ones go from site A to site B; all of site A is killed and
its disks are taken away; the application is restored at site B, where every
volume must be proven and hold the data of the last set; then it returns to
site A by its own last set. In odd rounds site A is a new cloud by then; in
even rounds it gets its disks back, with the old servers and volumes. The last
lines are the RPO, the RTO and the seconds of each phase.

``--fake`` takes the fake driver; the other argument is the number of rounds.
"""

import argparse
import datetime
import json
import os
import statistics
import sys
import time

from minicloud import demo
from minicloud import demo_dr

A, B = demo_dr.A, demo_dr.B


class Rounds(demo_dr.Show):
    """The rounds.

    :param count: how many
    """

    def __init__(self, place: demo_dr.Place, kind: type[demo_dr.World],
                 count: int) -> None:
        super().__init__(place, kind)
        self._count = count
        self._figures: dict[str, list[float]] = {}

    def run(self) -> None:
        """Run all rounds, and print what was measured.

        :raises demo.DemoError: if a volume is not what was saved
        """
        self._start_sites()
        world = self._kind(self._tours, self._clouds, self._place.application)
        self._place.application.write_text(demo_dr.APPLICATION)
        world.start()
        try:
            for number in range(1, self._count + 1):
                demo.say(f'Round {number} of {self._count}')
                self._lose_and_restore(world, number)
                self._come_home(world, number)
        finally:
            self._print()

    def _lose_and_restore(self, world: demo_dr.World, number: int) -> None:
        names = [f'round-{number}-{part}' for part in range(3)]
        for name in names:
            if name != names[0]:
                world.change()
            expected = self._protect_from(
                world, name, A, B, fresh=name == names[0])
        if self._place.lost.exists():
            self._tours[A].run(f'rm -r {demo.relative(self._place.lost)}')
        self._lose()
        lost = datetime.datetime.now(datetime.UTC)
        self._restore_at(B, A, names[-1], f'--failed-at '
                         f'{lost:%Y-%m-%dT%H:%M:%SZ}', 'restore at B')
        self._compare(world, expected, names[-1], B)

    def _come_home(self, world: demo_dr.World, number: int) -> None:
        """Return to site A, which is a new cloud or has its old disks."""
        layout = self._clouds[A].layout
        fresh = number % 2 == 1
        demo.say('Site A is a new cloud' if fresh else
                 'Site A has its disks back, and its old servers')
        if not fresh:
            self._tours[A].run(f'mv {demo.relative(self._place.lost)} '
                               f'{demo.relative(layout.state)}')
        self._start_site(A, fresh)
        self._write_clouds()
        # What ran there last is a restore itself, but for the first time.
        tour = self._tours[A]
        for restore in () if fresh else tour.names('application restore'):
            tour.openstack(f'application restore delete {restore}')
        if left := list(tour.servers()):
            tour.openstack('server delete --wait ' + ' '.join(left))
        world.change(B)
        name = f'home-{number}'
        expected = self._protect_from(world, name, B, A, fresh=True)
        self._tours[B].openstack('server stop ' + ' '.join(demo.SERVERS))
        self._restore_at(A, B, name, '', 'restore at A, '
                         + ('a new cloud' if fresh else 'old volumes'))
        self._compare(world, expected, name, A)
        self._tours[B].openstack(
            f'application restore delete round-{number}-2')
        if self._tours[B].servers():
            raise demo.DemoError('servers are left at site B')

    def _protect_from(self, world: demo_dr.World, name: str, here: str,
                      there: str, fresh: bool) -> demo_dr.Data:
        """Take a set, back it up, and return what is in it.

        :param fresh: whether a mapping is to be made
        """
        world.snapshot(name, here)
        expected = world.recorded(name, here)
        mapping = self._place.mapping
        if fresh:
            mapping.unlink(missing_ok=True)
            self._tours[there].openstack(
                f'application mapping create {name} --from-cloud {here} '
                f'--output {demo.relative(mapping)}')
        began = time.monotonic()
        made = self._tours[here].ask(
            f'application backup create {name} --to-cloud {there} '
            f'--mapping {demo.relative(mapping)} --delete-snapshots')
        if made['consistency'] != 'consistent':
            raise demo.DemoError(f'{name} is {made["consistency"]}')
        self._note(f'backup to {there[-1]}, {made["mode"]}',
                   time.monotonic() - began)
        print(f'   | {name}: {made["mode"]}, {made["consistency"]}',
              flush=True)
        return expected

    def _restore_at(self, here: str, there: str, name: str, more: str,
                    what: str) -> None:
        """Restore a set, and note how long each phase takes.

        :param here: the site of the restore
        :param there: that of the source
        :param more: further options of the command
        :param what: it, in words
        """
        report = self._tours[here].ask(
            f'application restore create {name} --mapping '
            f'{demo.relative(self._place.mapping)} --from-cloud {there} '
            f'{more}')
        print(f'   | {json.dumps(report)}', flush=True)
        if more:
            self._note('RPO', report['rpo'])
        self._note(f'{what}: RTO', report['rto'])
        for each in report['phases']:
            self._note(f'{what}: {each["phase"]}', each['seconds'])
        self._tours[here].expect('ACTIVE')
        self._expect_proof(name, here)

    def _compare(self, world: demo_dr.World, expected: demo_dr.Data,
                 name: str, site: str) -> None:
        demo.say(world.question)
        demo_dr.compare(expected, world.found(name, site))
        world.go_on(site)

    def _note(self, what: str, seconds: float) -> None:
        self._figures.setdefault(what, []).append(seconds)

    def _print(self) -> None:
        demo.say('Seconds: median (least to most), number')
        for what, all_of_it in self._figures.items():
            print('   | %-44s %6.1f (%.1f to %.1f), %d' % (
                what, statistics.median(all_of_it), min(all_of_it),
                max(all_of_it), len(all_of_it)), flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run as many rounds as the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument('rounds', nargs='?', type=int, default=1)
    parser.add_argument('--fake', action='store_true')
    parsed = parser.parse_args(arguments)
    root = os.environ.get('MINICLOUD_ROOT', demo_dr.FAKE_ROOT
                          if parsed.fake else demo_dr.ROOT)
    place = demo_dr.Place(root)
    kind = demo_dr.World if parsed.fake else demo_dr.RealWorld
    return demo.perform(
        Rounds(place, kind, parsed.rounds).run, demo_dr.play_on(place),
        [place.of(A), place.of(B)], root)


if __name__ == '__main__':
    sys.exit(main())
