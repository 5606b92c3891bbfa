# SPDX-License-Identifier: Apache-2.0

"""What "application protection show" prints, and when it is an alarm."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import stat
from typing import Any

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import metadata
from osc_quiesce import model
from osc_quiesce.recovery import backup_sets
from osc_quiesce.tests.unit.v2 import test_application_backup as backups
from osc_quiesce.v2 import application_protection as commands

HOUR = 3600.0


class TestCase(backups.TestCase):
    """Asked at site B, with a set "monday" of an hour ago."""

    command = commands.ShowApplicationProtection

    def setUp(self) -> None:
        super().setUp()
        self.create(destination=self.destination())
        self.here = self.b
        self.age('monday', HOUR)
        self.b.log.clear()

    def age(self, name: str, seconds: float) -> None:
        moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(
            seconds=seconds)
        self.write(name, created_at=model.utc_text(moment))

    def write(self, name: str, **values: str) -> None:
        for row in self.b.rows.values():
            if metadata.get(row, backup_sets.NAME) == name:
                row['metadata'].update(metadata.ours(values))

    def json(self, *argv: str, code: int = 0) -> list[dict[str, Any]]:
        self.assertEqual(code, self.run_command(*argv, '-f', 'json'),
                         self.errors())
        found: list[dict[str, Any]] = self.printed()
        return found

    def alarms(self) -> list[str]:
        return [line for line in self.said if not line.endswith(':-')]


class ShowTest(TestCase):
    def test_machines_get_everything(self) -> None:
        self.write('monday', verified='2026-11-29T10:00:00Z',
                   drilled_at='2026-11-29T11:00:00Z', drill='ok',
                   drill_rto='61.5')
        self.b.quota['backups'] = {'limit': 9, 'in_use': 3, 'reserved': 0}
        self.b.pools = [{'capabilities': {'free_capacity_gb': 1.5}}]
        found, = self.json()
        self.assertEqual(list(commands.KEYS), list(found))
        self.assertAlmostEqual(HOUR, found.pop('age'), delta=60)
        moment = self.find(site=self.other).created_at
        self.assertEqual(
            {'application': 'shop', 'set': 'monday',
             'set_id': self.find(site=self.other).id, 'data_time': moment,
             'sets': 1, 'newer_sets': 0, 'worst_gap': None,
             'made_here': False, 'registered': 'B',
             'verified': '2026-11-29T10:00:00Z',
             'drilled_at': '2026-11-29T11:00:00Z', 'drill': 'ok',
             'drill_rto': 61.5, 'next_backups': 3, 'next_gib': 6,
             'quota_backups_left': 6, 'quota_gib_left': None,
             'pools_gib_free': 1.5, 'lacks': ['pools']}, found)

    def test_an_application_without_a_set_is_shown_if_it_is_named(
            self) -> None:
        found = self.json('--application', 'bank', '--application', 'shop')
        self.assertEqual(['bank', 'shop'], [e['application'] for e in found])
        self.assertEqual((None, 0), (found[0]['set'], found[0]['sets']))
        self.assertEqual([], self.json('--application', 'bank')[0]['lacks'])

    def test_people_get_a_table(self) -> None:
        self.write('monday', drilled_at='2026-11-29T11:00:00Z',
                   drill='failed')
        self.assertEqual(0, self.run_command())
        text = self.stdout.getvalue()
        for each in (*commands.COLUMNS, 'shop', 'monday', 'failed', 'yes',
                     'registered here', '60 min'):
            self.assertIn(each, text)

    def test_the_table_has_at_most_100_columns(self) -> None:
        self.write('monday', application='x' * 255, backup_set='y' * 255,
                   registered='z' * 255, verified='1999-11-29T11:00:00Z',
                   drilled_at='1999-11-29T11:00:00Z', drill='failed')
        self.b.quota['backups'] = {'limit': 0, 'in_use': 3, 'reserved': 0}
        self.b.pools = [{'capabilities': {'free_capacity_gb': 1.5}}]
        self.age('y' * 255, 89.4 * 60)
        for id_, row in self.b.rows.items():
            self.a.rows[id_]['metadata'] = row['metadata']
        for site in (self.a, self.b):
            self.here = site
            self.run_command()
            self.assertLessEqual(
                max(map(len, self.stdout.getvalue().splitlines())), 100)

    def test_durations_have_at_most_six_characters(self) -> None:
        for seconds, text in (
                (0, '0 s'), (59.4, '59 s'), (60, '1 min'),
                (89.9 * 60, '90 min'), (5400, '2 h'), (47.9 * HOUR, '48 h'),
                (48 * HOUR, '2 d'), (9999 * 24 * HOUR, '9999 d')):
            self.assertEqual(text, commands._duration(seconds))
            self.assertLessEqual(len(text), 6)

    def test_foreign_backups_cost_no_request(self) -> None:
        self.json('--max-age', '86400')
        alone = list(self.b.log)
        self.assertEqual([
            'GET /backups/detail',
            'GET /os-quota-sets/project-b?usage=True',
            'GET /scheduler-stats/get_pools?detail=True'], alone)
        some = next(iter(self.b.rows.values()))
        for number in range(200):
            self.b.rows[f'f{number}'] = {
                **some, 'id': f'f{number}', 'metadata': {}}
        self.b.log.clear()
        self.json('--max-age', '86400')
        self.assertEqual(alone, self.b.log)

    def test_it_changes_nothing(self) -> None:
        self.json('--max-age', '1', code=1)
        self.assertEqual(
            [], [line for line in self.b.log if not line.startswith('GET')])

    def test_nonsense_is_refused(self) -> None:
        for argv in (['--max-age', '0'], ['--max-age', 'x'], ['shop'],
                     ['-c', 'nothing'], ['--openmetrics', ''],
                     ['--application', '']):
            self.assertNotEqual(0, self.run_command(*argv), argv)


class AlarmTest(TestCase):
    def test_a_young_set_is_no_alarm(self) -> None:
        self.json('--max-age', '7200')
        self.assertEqual([], self.alarms())

    def test_an_old_one_is_a_sentence_and_exit_code_1(self) -> None:
        found = self.json('--max-age', '3500', code=1)
        self.assertEqual('shop', found[0]['application'])
        sentence, = self.alarms()
        self.assertIn('application shop', sentence)
        self.assertIn('monday', sentence)

    def test_it_comes_even_if_the_quota_does_not(self) -> None:
        self.age('monday', 2 * HOUR)
        self.b.refusals['GET /os-quota-sets'] = [
            cloud_api.CloudError('the quota is away', 500)]
        self.assertEqual(1, self.run_command('--max-age', '3600'))
        self.assertIn('The last backup set from which application shop',
                      self.alarms()[0])
        self.assertIn('the quota is away', self.errors())

    def test_each_application_has_one(self) -> None:
        self.clock.sleep(5)
        self.take('tuesday', application='bank')
        self.create('tuesday', destination=self.destination())
        self.age('tuesday', 9 * HOUR)
        self.json('--max-age', '7200', code=1)
        self.assertEqual(1, len(self.alarms()))
        self.assertIn('bank', self.alarms()[0])
        self.json('--max-age', '7200', '--application', 'shop')
        self.json('--max-age', '60', code=1)
        self.assertEqual(2, len(self.alarms()))

    def test_one_that_was_never_backed_up_is_an_alarm_if_named(self) -> None:
        self.json('--max-age', '7200', '--application', 'bank', code=1)
        self.assertIn('Application bank has no backup set',
                      self.alarms()[0])

    def test_nothing_at_all_is_one(self) -> None:
        # As in the wrong project, or when all sets are lost.
        self.b.rows.clear()
        self.json('--max-age', '7200', code=1)
        sentence, = self.alarms()
        self.assertIn('No application of this project has a backup set',
                      sentence)
        self.json()

    def test_without_a_limit_nothing_is_an_alarm(self) -> None:
        self.age('monday', 9999 * HOUR)
        self.json('--application', 'bank', '--application', 'shop')

    def test_a_cloud_that_does_not_answer_is_one(self) -> None:
        for line in ('GET /backups', 'GET /os-quota', 'GET /scheduler'):
            with self.subTest(line):
                self.b.refusals[line] = [cloud_api.CloudError('away', 503)]
                self.assertEqual(1, self.run_command('--max-age', '7200'))
                self.assertIn('away', self.errors())


class OpenMetricsTest(TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.file = pathlib.Path(self.path('shop.prom'))

    def test_it_is_written_beside_the_table_and_the_alarm(self) -> None:
        code = self.run_command('--max-age', '60', '--openmetrics',
                                str(self.file))
        self.assertEqual(1, code)
        self.assertIn('monday', self.stdout.getvalue())
        text = self.file.read_text()
        self.assertIn('osc_quiesce_protection_sets{application="shop"} 1.0\n',
                      text)
        self.assertTrue(text.endswith('# EOF\n'))

    def test_everybody_may_read_it(self) -> None:
        self.run_command('--openmetrics', str(self.file))
        self.assertEqual(0o644, stat.S_IMODE(self.file.stat().st_mode))

    def test_it_is_replaced_as_a_whole(self) -> None:
        self.file.write_text('before')
        with self.file.open() as before:
            self.run_command('--openmetrics', str(self.file))
            self.assertEqual('before', before.read())
        self.assertEqual(['shop.prom'], os.listdir(self.folder))

    def test_an_error_leaves_the_old_one(self) -> None:
        self.file.write_text('before')
        self.b.refusals['GET /backups'] = [cloud_api.CloudError('away', 503)]
        self.assertEqual(1, self.run_command('--openmetrics', str(self.file)))
        self.assertEqual('before', self.file.read_text())

    def test_a_file_that_cannot_be_written_is_told(self) -> None:
        for path in (self.path('no/shop.prom'), self.folder, '/dev/null'):
            with self.subTest(path):
                code = self.run_command('--openmetrics', path)
                self.assertEqual(1, code)
                self.assertIn(f'{path} cannot be written', self.errors())

    def test_json_goes_along(self) -> None:
        code = self.run_command('--openmetrics', str(self.file), '-f', 'json')
        self.assertEqual(0, code)
        self.assertEqual(1, len(json.loads(self.stdout.getvalue())))
