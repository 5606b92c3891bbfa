# SPDX-License-Identifier: Apache-2.0

"""Backups at another site, and restores there: how long, how many requests.

Ours is compared with scripts that do the same with one ``openstack`` command
for each step. Each has an application of its own, with the same amount of
data, so that the backups of both are chains of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import collections
import contextlib
import dataclasses
import functools
import pathlib
import subprocess
import threading

from benchmarks import client
from benchmarks import measure
from benchmarks import sites as both

A, B = both.A, both.B
HERE = pathlib.Path(__file__).parent
BACKUP, RESTORE = HERE / 'backup.sh', HERE / 'restore.sh'
IMPORT = HERE.parent / 'doc/source/samples/import_record.py'
FULL, INCREMENTAL = 'full', 'incremental'
OURS, VERIFIED, SCRIPT = 'ours', 'ours, verified', 'script'
AT_ONCE = 'script, restores at once'
#: of the requests of a run, without polling by one listing
A_VOLUME = measure.Target(15)
MEGABYTES = measure.Target(200)
#: ratios, by what is done
TARGETS = {
    'backup': measure.Target(0.7),
    'restore': measure.Target(0.5),
    'share': measure.Target(0.8, at_most=False),
}


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is measured.

    :param servers: of the application
    :param volumes: of each server
    :param megabytes: MiB in each volume, and MiB of them that are new before
        an incremental backup
    :param rounds: of each kind of backup, and of the restores
    :param many: servers and volumes of each, of the large application
    """

    servers: int
    volumes: int
    megabytes: tuple[int, int]
    rounds: int
    many: tuple[int, int]


class Ours:
    """An application that is backed up and restored by these commands."""

    def __init__(self, sites: both.Sites,
                 application: both.Application) -> None:
        self._sites = sites
        self.application = application
        #: what the runs have cost, by what was done
        self.runs: dict[str, list[client.Run]] = collections.defaultdict(list)
        #: seconds that Cinder has computed meanwhile
        self.cinder: dict[str, list[float]] = collections.defaultdict(list)

    def back_up(self, mode: str) -> float:
        """Back up the newest snapshot set; return the seconds."""
        application = self.application
        return self._run(
            mode, A, 'backup', 'create', application.set,
            '--to-cloud', B, '--mapping', str(application.mapping),
            *(['--full'] if mode == FULL else []))

    def restore(self, way: str) -> float:
        """Restore the newest backup set; return the seconds."""
        application = self.application
        seconds = self._run(
            way, B, 'restore', 'create', application.set,
            '--mapping', str(application.mapping), '--check', 'true',
            '--no-verify' if way == OURS else '--verify-all')
        restored = sum(
            each.is_restore for each in self.runs[way][-1].requests)
        if restored != len(application.volumes):
            raise RuntimeError(f'only {restored} volumes were restored')
        self._sites.openstack(
            B, 'application', 'restore', 'delete', application.set)
        return seconds

    def _run(self, what: str, site: str, *words: str) -> float:
        before = self._sites.cinder_seconds()
        run = client.run(self._sites.folder / 'requests.json', '--os-cloud',
                         site, 'application', *words)
        self.cinder[what].append(self._sites.cinder_seconds() - before)
        self.runs[what].append(run)
        return run.seconds


class Script:
    """One that is backed up and restored by scripts.

    :ivar registered: seconds until all backups were at the other site, by
        mode
    """

    def __init__(self, sites: both.Sites,
                 application: both.Application) -> None:
        self._sites = sites
        self.application = application
        self._targets = [
            sites.apis[B].make_volume(f'target{number}')
            for number in range(len(application.volumes))]
        self._backups: Sequence[str] = ()
        self.registered: dict[str, list[float]] = collections.defaultdict(list)

    def back_up(self, mode: str) -> float:
        """Back up the newest snapshot set; return the seconds."""
        application = self.application
        registered, sealed, backups = self._run(
            str(BACKUP), A, B, application.set, mode, str(IMPORT), *(
                f'{part.snapshot}:{part.volume}:{target}'
                for part, target in zip(
                    application.parts, self._targets, strict=True)))
        self.registered[mode].append(float(registered))
        self._backups = backups.split()
        return float(sealed)

    def restore(self, way: str) -> float:
        """Restore the newest backups; return the seconds."""
        words: dict[str, list[str]] = {}
        for part, backup, target in zip(
                self.application.parts, self._backups, self._targets,
                strict=True):
            words.setdefault(part.server, []).append(f'{backup}:{target}')
        (seconds,) = self._run(
            str(RESTORE), B, 'at-once' if way == AT_ONCE else 'one-by-one',
            'tiny', *(word for server, pairs in words.items()
                      for word in (server, *pairs)))
        self._sites.openstack(B, 'server', 'delete', '--wait', *words)
        self._sites.apis[B].wait_for_volumes(self._targets)
        return float(seconds)

    @staticmethod
    def _run(*command: str) -> list[str]:
        return subprocess.run(
            command, check=True, stdout=subprocess.PIPE,
            text=True).stdout.splitlines()


def compare(results: measure.Results, sites: both.Sites,
            size: Size) -> Iterator[None]:
    """Compare backups and restores with those of the scripts.

    Yields whenever there are more results.
    """
    ours = Ours(sites, both.Application(
        sites, 'ours', size.servers, size.volumes))
    script = Script(sites, both.Application(
        sites, 'script', size.servers, size.volumes))
    what = f'{size.servers * size.volumes} volumes'
    for mode, megabytes in zip((FULL, INCREMENTAL), size.megabytes,
                               strict=True):
        series = measure.alternately(
            dict.fromkeys((OURS, SCRIPT), size.rounds), {
                way: functools.partial(_back_up, by, mode, megabytes)
                for way, by in ((OURS, ours), (SCRIPT, script))})
        _add_backups(results, f'{what}, backup, {mode}', series,
                     ours, script.registered[mode], mode)
        yield
    series = measure.alternately(
        {**dict.fromkeys((OURS, VERIFIED, SCRIPT), size.rounds), AT_ONCE: 1}, {
            way: functools.partial(by.restore, way)
            for way, by in ((OURS, ours), (VERIFIED, ours),
                            (SCRIPT, script), (AT_ONCE, script))})
    _add_restores(results, f'{what}, restore', series, ours)
    yield


def _back_up(by: Ours | Script, mode: str, megabytes: int) -> float:
    """Back up an application in which so much is new; return the seconds."""
    by.application.write(megabytes)
    by.application.snapshot()
    return by.back_up(mode)


def _add_backups(
    results: measure.Results, what: str, series: dict[str, list[float]],
    ours: Ours, registered: list[float], mode: str,
) -> None:
    results.compare(what, 's', series, {(OURS, SCRIPT): TARGETS['backup']})
    results.add(f'{what}: {SCRIPT}, until registered', 's', registered)
    # The loop seals with one command for each backup and site.
    results.add(f'{what}: {OURS} / {SCRIPT}, until registered', 'ratio', [
        a / b for a, b in zip(series[OURS], registered, strict=True)])
    _add_cinder(results, what, series[OURS], ours.cinder[mode])
    _add_requests(results, what, ours.runs[mode])


def _add_restores(results: measure.Results, what: str,
                  series: dict[str, list[float]], ours: Ours) -> None:
    results.compare(what, 's', series, {
        (OURS, SCRIPT): TARGETS['restore'],
        (VERIFIED, SCRIPT): TARGETS['restore'],
        (OURS, AT_ONCE): None,
        (VERIFIED, AT_ONCE): None})
    for way in OURS, VERIFIED:
        runs = ours.runs[way]
        results.add(f'{what}: {way}, restores of Cinder', 's', [
            run.restoring for run in runs])
        results.add(f'{what}: restores of Cinder / {way}', 'ratio', [
            run.restoring / run.seconds for run in runs],
            TARGETS['share'] if way == OURS else None)
        _add_cinder(results, f'{what}, {way}', series[way], ours.cinder[way])
        _add_requests(results, f'{what}, {way}', runs)


def _add_cinder(results: measure.Results, what: str, seconds: Sequence[float],
                cinder: Sequence[float]) -> None:
    """Add how much of the time Cinder has computed, on all processors."""
    results.add(f'{what}: CPU of Cinder', 's', cinder)
    results.add(f'{what}: CPU of Cinder / {OURS}', 'ratio', [
        a / b for a, b in zip(cinder, seconds, strict=True)])


def _add_requests(results: measure.Results, what: str,
                  runs: Sequence[client.Run], volumes: int = 0) -> None:
    """Add requests and memory.

    :param volumes: how many are to meet the target; 0: no target
    """
    results.add(f'{what}: requests', 'requests', [
        len(run.requests) for run in runs])
    results.add(f'{what}: of them polling by a listing', 'requests', [
        run.listings for run in runs])
    if volumes:
        results.add(f'{what}: other requests for each volume', 'requests', [
            (len(run.requests) - run.listings) / volumes for run in runs],
            A_VOLUME)
    results.add(f'{what}: memory of the client', 'MB', [
        run.megabytes for run in runs], MEGABYTES if volumes else None)
    results.details.setdefault('requests', {})[what] = dict(
        collections.Counter(each.kind for each in runs[-1].requests))


def many(results: measure.Results, sites: both.Sites, size: Size) -> None:
    """Count what many volumes cost, in one full backup and one restore."""
    servers, volumes = size.many
    application = both.Application(sites, 'many', servers, volumes)
    application.snapshot()
    ours = Ours(sites, application)
    count = servers * volumes
    ours.back_up(FULL)
    with _room(sites, application.name):
        ours.restore(VERIFIED)
    for what, way in (('backup, full', FULL), ('restore', VERIFIED)):
        name = f'{count} volumes, {what}'
        seconds = [run.seconds for run in ours.runs[way]]
        results.add(f'{name}: {way}', 's', seconds)
        _add_cinder(results, name, seconds, ours.cinder[way])
        _add_requests(results, name, ours.runs[way], count)


@contextlib.contextmanager
def _room(sites: both.Sites, prefix: str) -> Iterator[None]:
    """Let restored volumes of zeros take up no room meanwhile."""
    ended = threading.Event()

    def save() -> None:
        while not ended.wait(5):
            sites.save_room(prefix)

    thread = threading.Thread(target=save)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
