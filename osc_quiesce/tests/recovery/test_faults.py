# SPDX-License-Identifier: Apache-2.0

"""Something goes wrong in each phase, and the same command again ends right.

What was finished is not copied twice, and nothing is left after a deletion.
Each case is a row of a table in the documentation (tools/docs/faults.py). The
usual cases are those of USUAL; RECOVERY_FAULTS=all lets each fault strike in
each phase, which takes hours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import os
import pathlib
import re
import subprocess
import tempfile
import time
from typing import Any, ClassVar
import uuid

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import metadata
from osc_quiesce.recovery import marks
from osc_quiesce.tests.recovery import base
from osc_quiesce.tests.recovery import faults

A, B = base.A, base.B
BACKUP = 'backup create'
RESTORE = 'restore create'
DRILL = 'drill'
#: seconds in which a command has begun to plan
PLANNING = 2.5
#: what a message says if cinder-volume has died with a request of
#: cinder-backup, and an administrator has to restart that
LOST = b'restarts cinder-backup'


class Shop(base.Application):
    PARTS = (('db', ('vda',)), ('web', ('vda',)))


@dataclasses.dataclass(frozen=True)
class Phase:
    """A phase of a command.

    :param look: the method of the test that tells whether it is reached
    :param is_at_source: whether it is the site of the source that is at work
    :param own: a fault that strikes in this phase only
    """

    command: str
    name: str
    look: str
    is_at_source: bool = False
    own: faults.Fault | None = None


FULL_POOL = faults.Fault(faults.POOL, 'full')
PHASES = (
    Phase(BACKUP, 'backups are planned', 'is_planned', True,
          faults.Fault(faults.REQUEST, 'lost')),
    Phase(BACKUP, 'backups are made', 'is_made', True,
          faults.Fault(faults.STORE, 'full')),
    Phase(BACKUP, 'backups are registered', 'is_registered'),
    Phase(BACKUP, 'set is sealed', 'is_sealed'),
    Phase(RESTORE, 'volumes are restored', 'is_restored', False, FULL_POOL),
    Phase(RESTORE, 'volumes are verified', 'is_verified'),
    Phase(RESTORE, 'servers are started', 'is_started'),
    Phase(DRILL, 'volumes are restored', 'is_restored', False, FULL_POOL),
    Phase(DRILL, 'volumes are verified', 'is_verified'),
    Phase(DRILL, 'volumes are cloned', 'is_cloned'),
    Phase(DRILL, 'servers are started', 'is_started'),
)


class FaultsTest(base.QuickTest):
    """Two servers with a volume each, and a set of them at the other site.

    :cvar first: name of the set
    :cvar volumes: of the source, by ``db-vda`` and so on
    :cvar snapshots: of the set, in the same way
    """

    SOURCE, TARGET = A, B
    shop: ClassVar[Shop | None] = None
    first: ClassVar[str]
    mapping: ClassVar[str]
    volumes: ClassVar[dict[str, str]]
    snapshots: ClassVar[dict[str, str]]

    def setUp(self) -> None:
        super().setUp()
        if self.shop is None:
            self.prepare()
        self.name = f'set-{uuid.uuid4().hex[:8]}'

    @classmethod
    def tearDownClass(cls) -> None:
        if cls.shop is not None:
            base.remove_points()
        super().tearDownClass()

    def prepare(self) -> None:
        """Make the application, and back it up."""
        cls = type(self)
        cls.shop = Shop(self)
        cls.volumes = dict(cls.shop.volumes)
        self.protect('first')

    def protect(self, name: str) -> None:
        """Take and register the set that is restored in all cases."""
        cls = type(self)
        assert cls.shop is not None
        cls.first = f'{name}-{cls.shop.suffix}'
        cls.snapshots = self.take(cls.first)
        folder = pathlib.Path(tempfile.mkdtemp(dir=base.root()))
        cls.mapping = str(folder / 'mapping.yaml')
        self.openstack(
            self.TARGET, f'application mapping create {self.first} '
            f'--from-cloud {self.SOURCE} --output {self.mapping}')
        self.openstack(self.SOURCE, self.line(BACKUP, self.first))

    # Commands -------------------------------------------------------------

    def line(self, command: str, name: str) -> str:
        """Return a command that is interrupted, and run again."""
        options = {
            BACKUP: f'--to-cloud {self.TARGET} --parallel 1',
            RESTORE: '--verify-all --timeout 60',
            DRILL: '--verify-all --timeout 60',
        }[command]
        return (f'application {command} {name} --mapping {self.mapping} '
                f'{options} -f json')

    def take(self, name: str) -> dict[str, str]:
        """Take a snapshot set; return IDs of snapshots, by volume."""
        assert self.shop is not None
        servers = ' '.join(
            f'--server {self.shop.name(each)}' for each, _ in Shop.PARTS)
        shown = self.json(
            self.SOURCE, f'application snapshot create {name} {servers}')
        taken = {volume['id']: volume['snapshot_id']
                 for server in shown['servers']
                 for volume in server['volumes']}
        return {label: taken[id_] for label, id_ in self.volumes.items()}

    @contextlib.contextmanager
    def begun(self, site: str, line: str) -> Iterator[subprocess.Popen[str]]:
        """Run a command meanwhile, in a process of its own."""
        with tempfile.TemporaryFile('w+', dir=base.root()) as said:
            running = subprocess.Popen(
                ['openstack', '--os-cloud', site, *line.split()],
                env=base.environment(), text=True,
                stdout=subprocess.DEVNULL, stderr=said)
            self.is_helped = False
            end = time.monotonic() + base.PATIENCE
            try:
                yield running
                while running.poll() is None and time.monotonic() < end:
                    time.sleep(0.1)
                    # The command writes where a file that is read would be.
                    self.help(site, os.pread(said.fileno(), base.MIB, 0))
                has_ended = running.poll() is not None
            finally:
                running.kill()
                running.wait()
                said.seek(0)
                self.said = said.read()
        self.assertTrue(has_ended, f'it has not ended: {self.said}')

    def help(self, site: str, said: bytes) -> None:
        """Do, once, what a message asks an administrator to do."""
        if LOST in said and not self.is_helped:
            self.is_helped = True
            cloud = base.minicloud_of(site)
            cloud.stop('backup')
            cloud.start('backup')

    # Phases ---------------------------------------------------------------

    def made(self, site: str) -> list[dict[str, Any]]:
        """Return the backups of the set that is being made."""
        return [each for each in base.cloud(site).backups()
                if metadata.get(each, 'backup_set') == self.name]

    def targets(self) -> list[dict[str, Any]]:
        """Return the target volumes."""
        return [each for each in base.cloud(self.TARGET).volume(
            'GET', '/volumes/detail')['volumes']
            if marks.target_of(each) in self.volumes.values()]

    def servers(self) -> list[dict[str, Any]]:
        """Return the servers that were made at the site of the target."""
        assert self.shop is not None
        return [each for each in base.cloud(self.TARGET).compute(
            'GET', '/servers/detail')['servers']
            if each['name'].endswith(self.shop.suffix)]

    def is_planned(self) -> bool:
        time.sleep(PLANNING)
        return True

    def is_made(self) -> bool:
        return any(e['status'] == 'creating' for e in self.made(self.SOURCE))

    def is_registered(self) -> bool:
        return bool(self.made(self.TARGET))

    def is_sealed(self) -> bool:
        return len([each for each in self.made(self.TARGET)
                    if each['status'] == 'available']) == len(self.volumes)

    def is_restored(self) -> bool:
        return any(each['status'] == 'restoring-backup'
                   for each in self.targets())

    def is_verified(self) -> bool:
        return any(metadata.get(each, marks.PROOF_OF)
                   for each in base.cloud(self.TARGET).backups())

    def is_cloned(self) -> bool:
        return any(
            marks.maker(each)[1] in self.volumes.values()
            for each in base.cloud(self.TARGET).volume(
                'GET', '/volumes/detail')['volumes'])

    def is_started(self) -> bool:
        return bool(self.servers())

    # What there is ----------------------------------------------------------

    def everything(self) -> Any:
        """Return what both sites and the store have, but for data."""
        store = base.root() / 'store'
        found: list[Any] = [{
            str(path.relative_to(store)) for path in store.rglob('*')
            if path.is_file()}]
        for site in A, B:
            cloud = base.cloud(site)
            found += [
                {each['id']: (each['status'], metadata.get(each, mark))
                 for each in there}
                for mark, there in (
                    (marks.RESTORE_ID, cloud.volume(
                        'GET', '/volumes/detail')['volumes']),
                    (marks.HIDDEN_BY, cloud.backups()),
                    ('', cloud.volume('GET', '/snapshots')['snapshots']),
                    ('', cloud.compute('GET', '/servers/detail')['servers']),
                )]
        return found

    def are_up(self) -> bool:
        """Return whether all services of both sites are there again."""
        return all(
            each['state'] == 'up'
            for site in (A, B)
            for call in (base.cloud(site).volume, base.cloud(site).compute)
            for each in call('GET', '/os-services')['services'])

    def sees(self, look: Callable[[], bool]) -> bool:
        """Look, where a service may be away."""
        try:
            return look()
        except cloud_api.CloudError:
            return False

    def begun_by_cinder(self, site: str, what: str) -> list[str]:
        """Return of which volumes Cinder has begun backups, or restores."""
        log = base.minicloud_of(site).layout.log_of('backup').read_text()
        return re.findall(
            f'{what} backup started, backup: [-0-9a-f]+ volume: ([-0-9a-f]+)',
            log)

    def finished(self, command: str) -> dict[str, list[str]]:
        """Return what is finished: backups, volumes, proofs, servers."""
        if command == BACKUP:
            return {'backups': [each['id'] for each in self.made(self.SOURCE)
                                if each['status'] == 'available']}
        restored = [each for each in self.targets()
                    if metadata.get(each, marks.RESTORE_ID)
                    and metadata.get(each, marks.RESTORED_AT)]
        servers = [each['id'] for each in self.servers()
                   if each['status'] == 'ACTIVE']
        return {
            'restored': [each['id'] for each in restored],
            # What no server of the restore has, others may have had.
            'verified': [each['id'] for each in restored
                         if marks.is_used_as_verified(each, servers)
                         and each['attachments']],
            'servers': servers}

    # The case -------------------------------------------------------------

    def strike(self, phase: Phase, fault: faults.Fault, number: int) -> None:
        """Let a fault strike in a phase, and run the command again."""
        before = self.everything()
        site = self.SOURCE if phase.command == BACKUP else self.TARGET
        name = self.first
        if phase.command == BACKUP:
            name = self.name
            base.write(self.SOURCE, self.volumes['db-vda'], 0,
                       os.urandom(6 * base.MIB))
            self.take(name)
        self.addCleanup(self.clean, phase.command, name)
        line = self.line(phase.command, name)
        creates = len(self.begun_by_cinder(site, 'Create'))
        restores = len(self.begun_by_cinder(site, 'Restore'))
        with self.begun(site, line) as running:
            # What is full was so before.
            if fault.how != 'full':
                self.until(lambda: running.poll() is not None or self.sees(
                    getattr(self, phase.look)), phase.name)
                self.assertIsNone(running.poll(), f'before {phase.name}')
            finished = self.finished(phase.command)
            fault.inject(
                self.SOURCE if phase.is_at_source else self.TARGET, running)
        self.assertNotIn('Traceback', self.said)
        if fault.how in ('stopped', 'full', 'lost'):
            self.assertEqual(
                int(fault.how == 'full'), running.returncode, self.said)
        if fault.how == 'lost':
            self.assertTrue(self.is_helped, self.said)
        self.until(lambda: self.sees(self.are_up), 'all services are up')
        # What Nova has forgotten, the message tells how to delete.
        for advice in re.findall(
                r'"openstack (server delete \S+)"', self.said):
            self.openstack(site, f'{advice} --wait')
        for left in re.findall(
                r'"openstack volume delete --force (\S+)"', self.said):
            if base.cloud(site).volume(
                    'GET', f'/volumes?name={left}')['volumes']:
                self.openstack(site, f'volume delete --force {left}')
        began = time.monotonic()
        report = self.openstack(site, line).data
        seconds = round(time.monotonic() - began)
        created = self.begun_by_cinder(site, 'Create')[creates:]
        restored = self.begun_by_cinder(site, 'Restore')[restores:]
        check = {BACKUP: self.check_backup, RESTORE: self.check_restore,
                 DRILL: self.check_drill}[phase.command]
        check(report, finished, created, restored)
        if phase.command == BACKUP and fault.what in (
                faults.STORE, 'cinder-backup'):
            self.openstack(
                site, f'application backup verify {name} --store '
                f'{base.root() / "store"}')
        self.clean(phase.command, name)
        self.until(lambda: self.everything() == before,
                   'nothing is left of it')
        faults.write(
            fault, phase.command, phase.name, number,
            is_failback=self.SOURCE == B, code=running.returncode,
            is_helped=self.is_helped, seconds=seconds,
            again=len(created if phase.command == BACKUP else restored)
            - len(self.volumes))

    def check_backup(self, report: Any, finished: dict[str, list[str]],
                     created: list[str], _restored: list[str]) -> None:
        self.assertEqual(('consistent', self.TARGET), (
            report['consistency'], report['registered']))
        ids = {each['backup_id'] for each in report['backups']}
        self.assertLessEqual(set(finished['backups']), ids)
        self.assertEqual(len(self.volumes), len(ids))
        for site in A, B:
            self.assertEqual(
                ids, {each['id'] for each in self.made(site)}, site)
            (state,) = [each['Consistency'] for each in self.json(
                site, 'application backup list')
                if each['Name'] == self.name]
            self.assertEqual('consistent', state, site)
        self.assertLessEqual(set(self.volumes.values()), set(created))

    def check_restore(self, report: Any, finished: dict[str, list[str]],
                      created: list[str], restored: list[str]) -> None:
        labels = {id_: label for label, id_ in self.volumes.items()}
        self.assertEqual([True] * len(labels), [
            each['verified'] for each in report['volumes']])
        for each in report['volumes']:
            self.assertEqual(
                base.snapshot_digest(
                    self.SOURCE, self.snapshots[labels[each['source_id']]]),
                base.digest_of(self.TARGET, each['id']))
        self.assertEqual(
            {each['id']: 'ACTIVE' for each in report['servers']},
            {each['id']: each['status'] for each in self.servers()})
        self.assertEqual(len(Shop.PARTS), len(report['servers']))
        self.assertLessEqual(set(finished['servers']), {
            each['id'] for each in report['servers']})
        for id_ in finished['restored']:
            self.assertEqual(1, restored.count(id_), 'restored again')
        for id_ in finished['verified']:
            self.assertEqual(1, created.count(id_), 'verified again')

    def check_drill(self, report: Any, _finished: dict[str, list[str]],
                    _created: list[str], _restored: list[str]) -> None:
        self.assertEqual(
            ('ok', True), (report['result'], report['deleted']))
        self.assertEqual({True}, {v['verified'] for v in report['volumes']})
        self.assertEqual(['ACTIVE'] * len(Shop.PARTS), [
            each['status'] for each in report['servers']])

    def clean(self, command: str, name: str) -> None:
        """Delete what a command has made; a drill does that itself."""
        kinds = {BACKUP: (('backup', f' --to-cloud {self.TARGET}'),
                          ('snapshot', '')),
                 RESTORE: (('restore', ''),)}
        for kind, options in kinds.get(command, ()):
            site = self.TARGET if kind == 'restore' else self.SOURCE
            if name in {each['Name'] for each in self.json(
                    site, f'application {kind} list')}:
                self.openstack(
                    site, f'application {kind} delete {name}{options}')


class TestFaults(FaultsTest):
    """On the way from site A to site B."""


class TestFailback(FaultsTest):
    """On the way back: into the volumes that the application had first."""

    SOURCE, TARGET = B, A

    def prepare(self) -> None:
        cls = type(self)
        cls.SOURCE, cls.TARGET = A, B
        try:
            super().prepare()
            assert cls.shop is not None
            with base.stopped(A, cls.shop.servers):
                report = self.openstack(B, self.line(RESTORE, self.first)).data
        finally:
            cls.SOURCE, cls.TARGET = B, A
        site = base.cloud(A)
        for each in cls.shop.servers.values():
            site.compute('DELETE', f'/servers/{each}')
        for each in cls.shop.volumes.values():
            self.wait(A, 'volume', each)
        labels = {id_: label for label, id_ in cls.volumes.items()}
        cls.volumes = {labels[each['source_id']]: each['id']
                       for each in report['volumes']}
        self.protect('back')


#: the command, a part of the name of its phase, what strikes
USUAL = (
    (TestFaults, BACKUP, 'planned', 'cinder-volume', 'killed'),
    (TestFaults, BACKUP, 'planned', 'request', 'lost'),
    (TestFaults, BACKUP, 'made', 'cinder-backup', 'killed'),
    (TestFaults, BACKUP, 'made', 'cinder-backup', 'stopped'),
    (TestFaults, BACKUP, 'made', 'cinder-volume', 'killed'),
    (TestFaults, BACKUP, 'made', 'store', 'away'),
    (TestFaults, BACKUP, 'made', 'store', 'full'),
    (TestFaults, BACKUP, 'made', 'client', 'killed'),
    (TestFaults, BACKUP, 'registered', 'cinder-backup', 'killed'),
    (TestFaults, BACKUP, 'registered', 'cinder-volume', 'killed'),
    (TestFaults, BACKUP, 'sealed', 'client', 'killed'),
    (TestFaults, RESTORE, 'restored', 'cinder-backup', 'killed'),
    (TestFaults, RESTORE, 'restored', 'cinder-volume', 'killed'),
    (TestFaults, RESTORE, 'restored', 'client', 'stopped'),
    (TestFaults, RESTORE, 'restored', 'pool', 'full'),
    (TestFaults, RESTORE, 'verified', 'cinder-backup', 'killed'),
    (TestFaults, RESTORE, 'verified', 'client', 'killed'),
    (TestFaults, RESTORE, 'started', 'nova', 'killed'),
    (TestFaults, RESTORE, 'started', 'client', 'terminated'),
    (TestFaults, DRILL, 'restored', 'store', 'away'),
    (TestFaults, DRILL, 'restored', 'client', 'killed'),
    (TestFaults, DRILL, 'verified', 'client', 'killed'),
    (TestFaults, DRILL, 'cloned', 'cinder-volume', 'killed'),
    (TestFaults, DRILL, 'cloned', 'client', 'killed'),
    (TestFaults, DRILL, 'started', 'client', 'killed'),
    (TestFaults, DRILL, 'started', 'nova', 'killed'),
    (TestFailback, BACKUP, 'made', 'cinder-backup', 'killed'),
    (TestFailback, RESTORE, 'restored', 'cinder-backup', 'killed'),
    (TestFailback, RESTORE, 'verified', 'client', 'killed'),
)


def _add(kind: type[FaultsTest], phase: Phase, fault: faults.Fault,
         number: int) -> None:
    def test(self: FaultsTest) -> None:
        self.strike(phase, fault, number)

    words = f'{phase.command} {phase.name} {fault}'
    setattr(kind, f'test_{re.sub("[^a-z]+", "_", words)}', test)


def _add_all() -> None:
    cases = [(kind, phase, fault) for kind in (TestFaults, TestFailback)
             for phase in PHASES for fault in faults.of(phase.own)]
    for number, (kind, phase, fault) in enumerate(cases):
        is_usual = any(
            each[:2] == (kind, phase.command) and each[2] in phase.name
            and fault.what.startswith(each[3]) and each[4] == fault.how
            for each in USUAL)
        if is_usual or os.environ.get('RECOVERY_FAULTS') == 'all':
            _add(kind, phase, fault, number)


_add_all()
