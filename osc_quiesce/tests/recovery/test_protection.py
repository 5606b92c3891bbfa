# SPDX-License-Identifier: Apache-2.0

"""Protection as two real sites have it, its alarm, and what is spared."""

from __future__ import annotations

from concurrent import futures
import json
import subprocess
from typing import Any

from prometheus_client.openmetrics import parser
import yaml

from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import marks
from osc_quiesce.tests.recovery import base
from osc_quiesce.tests.recovery import test_backup

A, B = base.A, base.B


class ProtectionTest(test_backup.BackupTest):
    @property
    def shop(self) -> str:
        return f'shop-{self.app.suffix}'

    def show(self, site: str, options: str = '',
             expect: int = 0) -> dict[str, Any]:
        """Return what a site tells of the application."""
        shown = self.openstack(
            site, f'application protection show --application {self.shop} '
            f'{options} -f json', expect=expect)
        self.said = shown.stderr
        found, = json.loads(shown.stdout)
        self.assertEqual(self.shop, found['application'])
        return dict(found)

    def register(self, name: str = '') -> None:
        """Make a set that is registered at site B."""
        name = name or self.name
        self.take(name)
        self.create(name, self.map(name))

    def mark(self, site: str, **values: str) -> None:
        found = backup_sets.find(base.cloud(site), self.name)
        backup_sets.mark(base.cloud(site), found.backups, values)


class TestShow(ProtectionTest):
    def test_a_registered_set_is_protection_at_both_sites(self) -> None:
        self.assertIsNone(self.show(B)['set'])
        self.register()
        for site in A, B:
            found = self.show(site, '--max-age 3600')
            self.assertEqual(
                (self.name, 1, site == A, B, 3, 3, []),
                tuple(found[key] for key in (
                    'set', 'sets', 'made_here', 'registered', 'next_backups',
                    'next_gib', 'lacks')))
            self.assertLess(found['age'], 600)
            self.assertIsNone(found['worst_gap'])
        second = f'{self.name}-2'
        self.register(second)
        found = self.show(B)
        self.assertEqual((second, 2), (found['set'], found['sets']))
        self.assertGreaterEqual(found['worst_gap'], 1)

    def test_a_set_of_one_site_is_none(self) -> None:
        self.take(self.name)
        self.create(self.name)
        self.assertIsNone(self.show(A, '--max-age 3600', expect=1)['set'])
        self.assertIn('registered at no other site', self.said)

    def test_a_backup_in_error_makes_it_loud(self) -> None:
        self.register()
        site = base.cloud(B)
        backup = backup_sets.find(site, self.name).backups[0]['id']
        for status, expect in (('error', 1), ('available', 0)):
            site.volume('POST', f'/backups/{backup}/action',
                        {'os-reset_status': {'status': status}})
            self.wait(B, 'backup', backup, status)
            self.show(B, '--max-age 3600', expect=expect)
        self.openstack(
            B, f'application protection show --application {self.shop} '
            '--application nothing --max-age 3600', expect=1)

    def test_an_old_set_is_an_alarm(self) -> None:
        self.register()
        self.mark(B, created_at='2020-01-01T00:00:00Z')
        self.show(B, '--max-age 86400', expect=1)
        self.assertIn(self.name, self.said)
        self.assertIn('86400 s are allowed', self.said)
        self.mark(B, created_at='2100-01-01T00:00:00Z')
        self.assertIsNone(self.show(B, '--max-age 86400', expect=1)['set'])
        self.assertIn('in the future', self.said)

    def test_a_restore_that_is_proven_is_told(self) -> None:
        self.register()
        self.assertIsNone(self.show(B)['verified'])
        self.openstack(
            B, f'application restore create {self.name} --mapping '
            f'{self.mapping} --no-start --verify-all --name {self.name}')
        self.addCleanup(self.openstack, B,
                        f'application restore delete {self.name}')
        verified = self.show(B)['verified']
        self.assertRegex(verified, r'^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$')

    def test_a_drill_is_told(self) -> None:
        self.register()
        self.mark(B, **{marks.DRILLED_AT: '2026-11-29T02:00:00Z',
                        marks.DRILL: 'ok', marks.DRILL_RTO: '42'})
        found = self.show(B)
        self.assertEqual(
            ('2026-11-29T02:00:00Z', 'ok', 42.0),
            (found['drilled_at'], found['drill'], found['drill_rto']))

    def test_the_table_fits(self) -> None:
        self.register()
        shown = self.openstack(B, 'application protection show').stdout
        self.assertIn(self.name, shown)
        self.assertLessEqual(max(map(len, shown.splitlines())), 100)

    def test_metrics_are_openmetrics(self) -> None:
        self.register()
        path = self.folder / 'shop.prom'
        self.show(B, f'--openmetrics {path}')
        samples = {
            sample.name: sample.value
            for family in parser.text_string_to_metric_families(
                path.read_text())
            for sample in family.samples
            if sample.labels.get('application') == self.shop}
        self.assertEqual(1.0, samples['osc_quiesce_protection_sets'])

    def test_a_member_of_another_project_sees_none(self) -> None:
        self.register()
        self.assertIsNone(self.show(
            f'{B}-member', '--max-age 3600', expect=1)['set'])

    def test_a_site_that_does_not_answer_is_an_alarm(self) -> None:
        path = base.root() / 'clouds.yaml'
        before = path.read_text()
        self.addCleanup(path.write_text, before)
        clouds = yaml.safe_load(before)
        clouds['clouds']['away'] = {
            **clouds['clouds'][B],
            'block_storage_endpoint_override': 'http://127.0.0.1:9/v3'}
        path.write_text(yaml.safe_dump(clouds))
        for options in '', '--max-age 3600':
            self.openstack(
                'away', f'application protection show {options}', expect=1)


class TestRetention(ProtectionTest):
    def test_what_the_other_site_is_at_work_on_is_spared(self) -> None:
        self.register()
        backup = backup_sets.find(base.cloud(B), self.name).backups[0]
        self.mark(B, **{marks.HIDDEN_BY: backup['id']})
        delete = f'application backup delete {self.name} --to-cloud {B}'
        self.assertIn('is needed at the other site', self.refused(delete))
        self.assertEqual({self.name: 'consistent'}, self.states(A))
        self.mark(B, **{marks.HIDDEN_BY: ''})
        self.openstack(A, delete)
        self.assertEqual(({}, {}), (self.states(A), self.states(B)))

    def test_retention_leaves_it_and_goes_on(self) -> None:
        names = [f'{self.name}-{number}' for number in range(1, 4)]
        for name in names:
            self.take(name)
            self.create(name, '--full', self.map(name))
        self.name = names[0]
        self.mark(B, **{marks.HIDDEN_BY: 'x'})
        said = self.openstack(
            A, f'application backup delete --application {self.shop} '
            f'--keep-last 1 --to-cloud {B}').stderr
        self.assertIn(names[0], said)
        for site in A, B:
            self.assertEqual(
                {names[0]: 'consistent', names[2]: 'consistent'},
                self.states(site))

    def test_a_backup_that_somebody_made_there_keeps_what_it_needs(
            self) -> None:
        self.register()
        target = backup_sets.find(
            base.cloud(B), self.name).backups[0]['volume_id']
        made = base.cloud(B).volume('POST', '/backups', {'backup': {
            'volume_id': target, 'incremental': True, 'name': 'by-hand',
        }})['backup']['id']
        self.wait(B, 'backup', made)
        self.assertIn(f'Backup {made}, made at the other site', self.refused(
            f'application backup delete {self.name} --to-cloud {B}'))
        self.assertEqual({self.name: 'consistent'}, self.states(A))


class TestAtOnce(ProtectionTest):
    """Two commands back up one application at the same time."""

    def at_once(self, *names: str) -> list[int]:
        """Back up snapshot sets, all at once; return the exit codes."""
        def create(name: str) -> int:
            return subprocess.run(
                ['openstack', '--os-cloud', A, 'application', 'backup',
                 'create', name], env=base.environment(),
                capture_output=True, timeout=2 * base.PATIENCE).returncode

        with futures.ThreadPoolExecutor(len(names)) as pool:
            return list(pool.map(create, names))

    def test_two_sets_are_both_good_and_can_be_deleted(self) -> None:
        names = [f'{self.name}-{number}' for number in range(1, 4)]
        for name in names:
            self.take(name)
        self.create(names[0])
        self.assertEqual([0, 0], self.at_once(*names[1:]))
        self.assertEqual(dict.fromkeys(names, 'consistent'), self.states(A))
        self.openstack(A, f'application backup delete {" ".join(names)}')
        self.assertEqual([], self.backups())

    def test_the_same_set_twice_is_one_good_set(self) -> None:
        self.take(self.name)
        self.at_once(self.name, self.name)
        self.create(self.name)
        self.assertEqual({self.name: 'consistent'}, self.states(A))
