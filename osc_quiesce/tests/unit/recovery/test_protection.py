# SPDX-License-Identifier: Apache-2.0

"""What counts as protection, how old it is, and what raises an alarm."""

from __future__ import annotations

import datetime
import math
from typing import Any
import unittest

from prometheus_client import parser as prometheus
from prometheus_client.openmetrics import parser as openmetrics_parser

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import metadata
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import capacity
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import openmetrics
from osc_quiesce.recovery import protection
from osc_quiesce.tests.unit.recovery import backup_base

HOUR = 3600.0
DAY = 24 * HOUR
NO_LIMIT = capacity.Left(None, None, None)


class TestCase(backup_base.TestCase):
    """A set "monday" of the application shop, registered at site B."""

    def setUp(self) -> None:
        super().setUp()
        self.create(destination=self.destination())
        self.here: Any = self.b
        self.now = self.moment('monday') + datetime.timedelta(hours=1)

    def moment(self, name: str) -> datetime.datetime:
        found = protection.moment(self.find(name).created_at)
        assert found is not None
        return found

    def next(self, name: str, after: float, **kwargs: Any) -> None:
        """Make the next set so many seconds after the one before."""
        self.clock.now = max(self.clock.now, self.last_at + after - 60)
        self.take(name)
        self.last_at = self.clock.now - 1
        self.create(name, **{'destination': self.destination(), **kwargs})
        self.now = self.moment(name) + datetime.timedelta(hours=1)

    last_at = 60.0

    def write(self, name: str, **values: str) -> None:
        """Write on all backups of a set, at both sites."""
        for row in self.rows(name):
            row['metadata'].update(metadata.ours(values))

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [row for site in (self.a, self.b) for row in site.rows.values()
                if metadata.get(row, backup_sets.NAME) == name]

    def all(self, *names: str) -> list[protection.Protection]:
        return protection.find(self.here, names, self.now)

    def shop(self) -> protection.Protection:
        found, = self.all('shop')
        return found

    def names(self) -> list[str]:
        return [each.name for each in self.shop().sets]

    def assert_alarm(self, *words: str, max_age: float = DAY) -> None:
        sentence = self.shop().alarm(round(max_age))
        for each in ('shop', *words):
            self.assertIn(each, sentence)

    def assert_quiet(self, max_age: float = DAY) -> None:
        self.assertEqual('', self.shop().alarm(round(max_age)))


class CountTest(TestCase):
    def test_a_set_that_is_registered_counts_at_both_sites(self) -> None:
        for site, is_made_here in ((self.a, True), (self.b, False)):
            self.here = site
            self.assertEqual(['monday'], self.names())
            self.assertEqual(is_made_here, self.shop().is_made_here)
            self.assert_quiet()

    def test_one_that_only_its_own_site_has_does_not(self) -> None:
        self.here = self.a
        self.next('tuesday', DAY, destination=None)
        self.assertEqual(['monday'], self.names())
        self.assert_alarm('monday', 'tuesday', 'registered at no other site')

    def test_one_that_came_by_a_bundle_counts_there(self) -> None:
        self.write('monday', registered='')
        self.assertEqual(['monday'], self.names())
        self.here = self.a
        self.assertEqual([], self.names())

    def test_no_other_state_makes_an_alarm_quiet(self) -> None:
        first = next(row for row in self.rows('monday')
                     if row['project_id'] == 'project-b')
        for change, state in (
                ({'status': 'error'}, 'incomplete'),
                ({'status': 'creating'}, 'incomplete'),
                ({'status': 'deleting'}, 'incomplete'),
                ({'sealed': ''}, 'pending'),
                ({'sealed': 'inconsistent'}, 'inconsistent')):
            with self.subTest(change):
                before = {**first, 'metadata': dict(first['metadata'])}
                if 'status' in change:
                    first.update(change)
                else:
                    first['metadata'].update(metadata.ours(change))
                self.assertEqual([], self.names())
                self.assert_alarm('monday', f'it is {state}')
                first.update(before)
        self.assert_quiet()

    def test_a_set_that_is_gone_makes_it_loud(self) -> None:
        self.b.rows.clear()
        self.assert_alarm('no backup set')
        self.assertEqual([], self.all())

    def test_a_set_that_is_being_restored_counts(self) -> None:
        for row in self.rows('monday'):
            row['status'] = 'restoring'
        self.assert_quiet()

    def test_damage_counts_for_nothing(self) -> None:
        self.write('monday', created_at='yesterday')
        self.assert_alarm('its moment cannot be read')
        self.write('monday', created_at='2026-11-29T00:00:00Z',
                   drilled_at='x', drill='x', drill_rto='x', verified='x')
        self.assertIsNone(self.shop().drill)
        self.assertIsNone(self.shop().verified)


class AgeTest(TestCase):
    def test_the_limit_itself_is_no_alarm(self) -> None:
        self.assertEqual(HOUR, self.shop().age)
        self.assert_quiet(HOUR)
        self.assert_alarm('monday', '3600 s old', '3599 s are allowed',
                          max_age=HOUR - 1)

    def test_a_number_of_seconds_is_written_out(self) -> None:
        self.now += datetime.timedelta(days=40)
        self.assert_alarm('3459600 s', '1209600 s', max_age=14 * DAY)

    def test_a_newer_set_that_does_not_count_is_named(self) -> None:
        self.next('tuesday', DAY)
        self.write('tuesday', sealed='')
        self.assertEqual(1, len(self.shop().newer))
        self.assert_alarm('monday', 'tuesday', 'it is pending')

    def test_what_comes_from_the_future_counts_for_nothing(self) -> None:
        # Its clock is an hour ahead, or ours an hour behind.
        self.now = self.moment('monday') - datetime.timedelta(hours=1)
        self.assertEqual([], self.names())
        self.assert_alarm('in the future', 'clocks are wrong')

    def test_nor_does_it_hide_what_counts(self) -> None:
        self.next('tuesday', DAY)
        self.now = self.moment('monday') + datetime.timedelta(hours=1)
        self.assertEqual(['monday'], self.names())
        self.assert_quiet()

    def test_a_second_ahead_is_nothing(self) -> None:
        self.now = self.moment('monday') - datetime.timedelta(seconds=1)
        self.assertEqual(0.0, self.shop().age)
        self.assert_quiet(1)

    def test_the_clock_of_who_asks_counts(self) -> None:
        # An hour behind, a set looks an hour younger: documented.
        self.now = self.moment('monday') + datetime.timedelta(hours=24)
        self.assert_alarm(max_age=23.5 * HOUR)
        self.now -= datetime.timedelta(hours=1)
        self.assert_quiet(23.5 * HOUR)


class GapTest(TestCase):
    def test_one_set_has_none(self) -> None:
        self.assertIsNone(self.shop().worst_gap)

    def test_it_is_that_between_sets_that_count(self) -> None:
        self.next('tuesday', DAY)
        self.next('wednesday', 2 * HOUR)
        self.next('thursday', DAY)
        self.assertEqual(DAY, self.shop().worst_gap)
        self.write('wednesday', sealed='inconsistent')
        self.assertEqual(DAY + 2 * HOUR, self.shop().worst_gap)

    def test_what_is_long_ago_is_over(self) -> None:
        self.next('late', 9 * DAY)
        for number in range(protection.LAST - 2):
            self.next(f's{number}', HOUR)
        self.assertEqual(protection.LAST, len(self.shop().sets))
        self.assertEqual(9 * DAY, self.shop().worst_gap)
        self.next('one-more', HOUR)
        self.assertEqual(HOUR, self.shop().worst_gap)


class ProofTest(TestCase):
    WHEN = '2026-11-29T10:00:00Z'
    LATER = '2026-11-29T11:00:00Z'

    def text(self) -> str:
        found = self.shop().verified
        return found.strftime('%H:%M') if found else ''

    def test_a_set_is_verified_when_all_its_backups_are(self) -> None:
        self.assertEqual('', self.text())
        self.write('monday', verified=self.WHEN)
        self.assertEqual('10:00', self.text())
        row = next(r for r in self.rows('monday')
                   if r['project_id'] == 'project-b')
        row['metadata'].update(metadata.ours({marks.VERIFIED: self.LATER}))
        self.assertEqual('10:00', self.text())
        del row['metadata'][metadata.PREFIX + marks.VERIFIED]
        self.assertEqual('', self.text())

    def test_the_last_proof_of_an_application_counts(self) -> None:
        self.next('tuesday', DAY)
        self.write('monday', verified=self.WHEN)
        self.write('tuesday', verified=self.LATER)
        self.assertEqual('11:00', self.text())

    def test_the_last_drill_counts(self) -> None:
        self.assertIsNone(self.shop().drill)
        self.next('tuesday', DAY)
        self.write('monday', drilled_at=self.LATER, drill='ok',
                   drill_rto='61.5')
        self.write('tuesday', drilled_at=self.WHEN, drill='failed',
                   drill_rto='9')
        drill = self.shop().drill
        assert drill is not None
        self.assertEqual((marks.DRILL_OK, 61.5), (drill.result, drill.rto))

    def test_a_drill_that_has_failed_has_no_rto(self) -> None:
        self.write('monday', drilled_at=self.WHEN, drill='failed',
                   drill_rto='9')
        drill = self.shop().drill
        assert drill is not None
        self.assertEqual(marks.DRILL_FAILED, drill.result)
        self.assert_alarm('last drill', self.WHEN, 'has failed')
        self.assertIsNone(drill.rto)

    def test_what_is_not_ok_on_all_backups_has_failed(self) -> None:
        self.write('monday', drilled_at=self.WHEN, drill='ok', drill_rto='9')
        self.rows('monday')[-1]['metadata'].update(
            metadata.ours({marks.DRILL: 'failed'}))
        drill = self.shop().drill
        assert drill is not None
        self.assertEqual(marks.DRILL_FAILED, drill.result)

    def test_an_rto_that_is_no_number_is_none(self) -> None:
        for text in ('soon', 'nan', 'inf'):
            self.write('monday', drilled_at=self.WHEN, drill='ok',
                       drill_rto=text)
            drill = self.shop().drill
            assert drill is not None
            self.assertIsNone(drill.rto)

    def test_neither_makes_an_alarm_quiet(self) -> None:
        self.write('monday', sealed='', verified=self.WHEN,
                   drilled_at=self.WHEN, drill='ok')
        self.assert_alarm('monday')


class RoomTest(TestCase):
    def lacks(self, **left: Any) -> list[str]:
        return protection.lacks(self.shop(), capacity.Left(
            **{'backups': None, 'gigabytes': None, 'pools': None, **left}))

    def test_a_set_needs_a_backup_of_each_volume_and_all_gigabytes(
            self) -> None:
        self.assertEqual([], self.lacks())
        self.assertEqual([], self.lacks(backups=3, gigabytes=6, pools=6.0))
        self.assertEqual(['quota'], self.lacks(backups=2))
        self.assertEqual(['quota'], self.lacks(gigabytes=5))
        self.assertEqual(['quota', 'pools'], self.lacks(
            gigabytes=5, pools=5.9))

    def test_where_it_runs_no_pool_is_needed(self) -> None:
        self.here = self.a
        self.assertEqual([], self.lacks(pools=0.0))

    def test_what_is_left_is_read_from_quotas_and_pools(self) -> None:
        self.b.quota['backups'] = {'limit': 9, 'in_use': 3, 'reserved': 1}
        self.b.pools = [{'capabilities': {'free_capacity_gb': 1.5}}] * 2
        self.assertEqual(
            capacity.Left(5, None, 3.0), capacity.left(self.other))

    def test_a_quota_that_is_overdrawn_leaves_nothing(self) -> None:
        self.b.quota['backups'] = {'limit': 2, 'in_use': 3, 'reserved': 0}
        self.assertEqual(0, capacity.left(self.other).backups)

    def test_a_pool_that_does_not_tell_is_not_known(self) -> None:
        self.b.pools = [{'capabilities': {'free_capacity_gb': 1.5}},
                        {'capabilities': {'free_capacity_gb': 'unknown'}}]
        self.assertIsNone(capacity.left(self.other).pools)

    def test_a_member_asks_for_no_pools(self) -> None:
        self.b.is_admin = False
        self.assertIsNone(capacity.left(self.other).pools)
        self.assertNotIn('get_pools', ' '.join(self.b.log))

    def test_a_policy_may_keep_pools_from_an_administrator(self) -> None:
        self.b.refusals['GET /scheduler-stats'] = [
            cloud_api.CloudError('no', 403)]
        self.assertIsNone(capacity.left(self.other).pools)
        self.b.refusals['GET /scheduler-stats'] = [
            cloud_api.CloudError('away', 503)]
        with self.assertRaises(cloud_api.CloudError):
            capacity.left(self.other)


class OpenMetricsTest(TestCase):
    def text(self, left: capacity.Left = NO_LIMIT, *names: str) -> str:
        return openmetrics.text(self.all(*names), left)

    def samples(self, text: str) -> dict[tuple[str, str], float]:
        """Return what a strict parser reads, by metric and application."""
        return {
            (sample.name.removeprefix('osc_quiesce_'),
             sample.labels.get('application', '')): sample.value
            for family in openmetrics_parser.text_string_to_metric_families(
                text) for sample in family.samples}

    def test_all_values_are_there(self) -> None:
        self.next('tuesday', DAY)
        self.write('monday', verified='2026-11-29T10:00:00Z',
                   drilled_at='2026-11-29T11:00:00Z', drill='ok',
                   drill_rto='61.5')
        found = self.samples(self.text(capacity.Left(7, 5, 4.5)))
        gib = 1024.0**3
        self.assertEqual({
            ('protection_last_set_timestamp_seconds', 'shop'):
                self.moment('tuesday').timestamp(),
            ('protection_sets', 'shop'): 2.0,
            ('protection_newer_sets', 'shop'): 0.0,
            ('protection_worst_gap_seconds', 'shop'): DAY,
            ('protection_verified_timestamp_seconds', 'shop'): 1795946400.0,
            ('protection_drill_timestamp_seconds', 'shop'): 1795950000.0,
            ('protection_drill_ok', 'shop'): 1.0,
            ('protection_drill_rto_seconds', 'shop'): 61.5,
            ('protection_set_size_bytes', 'shop'): 6 * gib,
            ('protection_room', 'shop'): 0.0,
            ('quota_backups_left', ''): 7.0,
            ('quota_backup_left_bytes', ''): 5 * gib,
            ('pools_free_bytes', ''): 4.5 * gib,
        }, found)

    def test_an_application_without_a_set_is_as_old_as_can_be(self) -> None:
        found = self.samples(self.text(NO_LIMIT, 'shop', 'bank'))
        self.assertEqual(
            0.0, found['protection_last_set_timestamp_seconds', 'bank'])
        self.assertEqual(0.0, found['protection_sets', 'bank'])
        self.assertNotIn(('protection_room', 'bank'), found)

    def test_nothing_at_all_is_still_openmetrics(self) -> None:
        self.b.rows.clear()
        self.assertEqual('# EOF\n', self.text())

    def test_labels_are_escaped(self) -> None:
        name = 'a "b" \\n\\ \n{c="d"} é'
        self.write('monday', application=name)
        text = self.text()
        self.assertIn(('protection_sets', name), self.samples(text))
        self.assertEqual(text.count('\n'), len(text.splitlines()))

    def test_units_are_the_ends_of_names(self) -> None:
        for line in self.text(capacity.Left(1, 1, 1.0)).splitlines():
            if line.startswith('# UNIT'):
                _mark, _word, name, unit = line.split()
                self.assertTrue(name.endswith(f'_{unit}'), line)

    def test_the_textfile_collector_reads_it_as_well(self) -> None:
        self.write('monday', application='a "b" \\ \n')
        text = self.text(capacity.Left(1, 1, 1.0))
        families = list(prometheus.text_string_to_metric_families(text))
        self.assertEqual({'gauge'}, {each.type for each in families})
        labels = [sample.labels for each in families
                  for sample in each.samples]
        self.assertIn({'application': 'a "b" \\ \n'}, labels)
        for each in families:
            for sample in each.samples:
                self.assertIsNone(sample.timestamp)  # it would be refused
                self.assertTrue(math.isfinite(sample.value))


class MomentTest(unittest.TestCase):
    def test_a_time_without_a_zone_is_utc(self) -> None:
        self.assertEqual(
            protection.moment('2026-11-29T02:00:00Z'),
            protection.moment('2026-11-29T02:00:00.000000'))
