# SPDX-License-Identifier: Apache-2.0

"""Drills at another site, with real Cinder and Nova, beside the source."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import functools
import signal
import subprocess
from typing import Any

from osc_quiesce.application import metadata
from osc_quiesce.recovery import marks
from osc_quiesce.tests.recovery import base
from osc_quiesce.tests.recovery import test_restore

A, B = base.A, base.B


class TestDrill(test_restore.RestoreTest):
    """The servers at site A are ACTIVE all the time."""

    def setUp(self) -> None:
        super().setUp()
        self.before = self.there()

    def there(self) -> Any:
        """Return what site B has, but for the data of target volumes."""
        site = base.cloud(B)
        volumes = site.volume('GET', '/volumes/detail')['volumes']
        return (
            {each['id']: (each['status'], each['attachments'],
                          metadata.get(each, marks.RESTORE_ID))
             for each in volumes},
            {each['id'] for each in site.compute('GET', '/servers')[
                'servers']},
            {each['id']: (each['status'], metadata.get(each, marks.HIDDEN_BY))
             for each in site.backups()},
        )

    def recorded(self, name: str) -> set[str]:
        """Return what the backups of a set tell of its last drill."""
        return {metadata.get(each, marks.DRILL)
                for each in base.cloud(B).backups()
                if metadata.get(each, 'backup_set') == name}

    def drill(self, name: str, *options: str, expect: int = 0) -> Any:
        """Return the report of a drill at site B."""
        return self.openstack(
            B,
            f'application drill {name} --mapping {self.mapping} -f json '
            f'{" ".join(options)}',
            expect=expect,
        ).data

    @contextlib.contextmanager
    def drilling(self) -> Any:
        """Drill meanwhile, and kill that if it does not end."""
        running = subprocess.Popen(
            ['openstack', '--os-cloud', B, 'application', 'drill', 'second',
             '--mapping', self.mapping, '--verify-all'],
            env=base.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield running
        finally:
            running.kill()
            running.wait()

    def phases(self) -> dict[str, Callable[[], bool]]:
        """Return how one sees that a drill is in a phase."""
        site = base.cloud(B)

        def own() -> list[Any]:
            return [v for v in site.volume('GET', '/volumes/detail')[
                'volumes'] if marks.maker(v)[0]]

        return {
            'restore': lambda: any(
                self.status(B, 'volume', id_) == 'restoring-backup'
                for id_ in self.targets().values()),
            'proof': lambda: any(
                metadata.get(each, marks.PROOF_OF) for each in site.backups()),
            'clones': lambda: bool(own()),
            'servers': lambda: any(
                each['name'].startswith('drill-')
                for each in site.compute('GET', '/servers')['servers']),
        }

    def test_nothing_is_left_but_the_result(self) -> None:
        report = self.drill(
            'second', '--verify-all', '--check',
            "'test -n \"$OSC_QUIESCE_SERVER_ID\"'")
        self.assertEqual(('ok', True), (report['result'], report['deleted']))
        self.assertEqual({True}, {v['verified'] for v in report['volumes']})
        self.assertEqual(
            set(), set(self.targets().values())
            & {v['id'] for v in report['volumes']})
        self.assertEqual(
            [('ACTIVE', 'answered', True)] * 2,
            [(s['status'], s['agent'], s['checked'])
             for s in report['servers']])
        self.assertEqual(
            ['volumes', 'verification', 'clones', 'stage 1', 'stage 2',
             'deletion'], [row['phase'] for row in report['phases']])
        self.assertEqual(self.before, self.there())
        self.assertEqual({'ok'}, self.recorded('second'))
        for server in self.application.servers.values():
            self.assertEqual('ACTIVE', base.cloud(A).compute(
                'GET', f'/servers/{server}')['server']['status'])

    def test_servers_have_the_data_of_the_backups(self) -> None:
        report = self.drill('first', '--keep')
        self.assertEqual(('ok', False), (report['result'], report['deleted']))
        places = self.places(report)
        self.assert_equal('first', places)
        for volume, id_ in places.items():
            found = base.cloud(B).volume('GET', f'/volumes/{id_}')['volume']
            self.assertEqual(('in-use', volume), (
                found['status'], found['metadata']['owner']))
            self.assertEqual(
                'true' if volume.endswith('vda') else 'false',
                found['bootable'])
        self.openstack(
            B, f'application restore delete {report["id"]}')
        self.assertEqual(self.before, self.there())

    def test_a_backup_is_made_beside_it(self) -> None:
        with self.drilling() as running:
            self.until(self.phases()['restore'], 'a restore is under way')
            self.application.write('db-vdb', 3 * base.MIB, base.MIB)
            self._back_up('beside')
            self.assertEqual(0, running.wait(2 * base.PATIENCE))
        (row,) = [
            each for each in self.json(B, 'application backup list')
            if each['Name'] == 'beside']
        self.assertEqual('consistent', row['Consistency'])
        self.assertEqual({'ok'}, self.recorded('second'))
        report = self.drill('beside', '--verify-all')
        self.assertEqual('ok', report['result'])
        # What other tests expect to be the newest set
        self.openstack(A, f'application backup delete beside --to-cloud {B}')
        del self.sets['beside']
        self.assertEqual(self.before, self.there())

    def test_a_check_that_fails(self) -> None:
        report = self.drill(
            'second', '--check', 'false', '--timeout', '20', expect=1)
        self.assertEqual(('failed', None, True), tuple(
            report[key] for key in ('result', 'rto', 'deleted')))
        self.assertEqual(self.before, self.there())
        self.assertEqual({'failed'}, self.recorded('second'))

    def test_a_signal_in_any_phase_leaves_nothing(self) -> None:
        for phase, is_there in self.phases().items():
            with self.drilling() as running:
                self.until(is_there, f'the drill is at its {phase}')
                running.send_signal(signal.SIGTERM)
                self.assertEqual(
                    -signal.SIGTERM, running.wait(2 * base.PATIENCE), phase)
            # Cinder ends a restore that it has begun.
            self.until(lambda: self.there() == self.before,
                       f'nothing is left of a drill stopped at its {phase}')
            for id_ in self.targets().values():
                self.until(
                    functools.partial(self.is_free, id_),
                    f'{id_} is free after a drill stopped at its {phase}')

    def is_free(self, target: str) -> bool:
        return self.status(B, 'volume', target) == 'available'

    def test_a_restore_is_possible_while_servers_of_a_drill_run(self) -> None:
        report = self.drill('first', '--keep')
        self.assertEqual('ok', report['result'])
        restored = self.restore('second', '--force')
        self.assertEqual({True}, {v['verified'] for v in restored['volumes']})
        self.assert_equal('second', self.places(restored))
        self.openstack(B, f'application restore delete {report["id"]}')
        self.assertEqual(
            ['second'],
            [r['Name'] for r in self.json(B, 'application restore list')])
