# SPDX-License-Identifier: Apache-2.0

"""What the command of drills takes, says and prints, and how it ends."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.recovery import points
from osc_quiesce.tests.unit.recovery import test_drill
from osc_quiesce.tests.unit.v2 import test_application_restore
from osc_quiesce.v2 import application_drill
from osc_quiesce.v2 import application_restore
from osc_quiesce.v2 import application_restore_create


class TestDrill(test_application_restore.TestCase, test_drill.TestCase):
    command: type[Any] = application_drill.DrillApplication

    def setUp(self) -> None:
        super().setUp()
        self.patch(points, 'find_backup_set', self.find_backup_set)

    def find_backup_set(self, cloud: Any, name: str) -> points.Point:
        if name not in ('nightly', 'set-id'):
            raise errors.ApplicationError('there is no such set')
        return self.point

    def run_drill(self, *argv: str) -> int:
        return self.run_command(
            'nightly', '--mapping', self.path('m.yaml'), *argv)

    def signal_at(self, beginning: str, signum: int, after: str = '') -> None:
        """Send a signal with a request.

        :param after: a request that comes before; by default any
        """
        seen: list[str] = []

        def send(line: str) -> None:
            seen.append(line)
            if line.startswith(beginning) and any(
                    each.startswith(after) for each in seen):
                self.site.hooks.clear()
                os.kill(os.getpid(), signum)

        self.site.hooks.append(send)

    def test_the_report_has_result_and_times(self) -> None:
        self.take_time('POST /servers', 30)  # each of two
        self.take_time('DELETE /volumes/volume-4', 500)
        self.assertEqual(0, self.run_drill('-f', 'json'), self.said)
        shown = self.printed()
        self.assertEqual(list(self.command.COLUMNS), list(shown))
        self.assertEqual(
            ('drill-nightly', 'ok', True),
            tuple(shown[key] for key in ('name', 'result', 'deleted')))
        self.assertGreater(shown['rto'], 60)
        self.assertEqual(round(self.nova.now - 500, 1), shown['rto'])
        self.assertEqual(
            ['volumes', 'verification', 'clones', 'stage 1', 'stage 2',
             'deletion'], [row['phase'] for row in shown['phases']])
        self.assertEqual(
            [(True, 'db'), (True, 'db'), (True, 'web')],
            [(row['verified'], row['server']) for row in shown['volumes']])
        self.assertEqual(['db', 'web'], [s['name'] for s in shown['servers']])
        self.assert_nothing_is_left()

    def test_a_failure_is_reported_and_said(self) -> None:
        self.assertEqual(1, self.run_drill(
            '--check', 'false', '--timeout', '5', '-f', 'json'))
        shown = self.printed()
        self.assertEqual(('failed', None, True), tuple(
            shown[key] for key in ('result', 'rto', 'deleted')))
        self.assertIn('The drill has failed: The check of server drill-db',
                      self.said)
        self.assert_nothing_is_left()

    def test_keep(self) -> None:
        self.assertEqual(0, self.run_drill('--keep', '-f', 'json'), self.said)
        self.assertEqual(('ok', False), tuple(
            self.printed()[key] for key in ('result', 'deleted')))
        self.assertEqual(2, len(self.site.servers))
        self.command = application_restore.DeleteApplicationRestore
        self.assertEqual(0, self.run_command('drill-nightly'), self.said)
        self.assert_nothing_is_left()

    def test_what_is_left_is_no_success(self) -> None:
        self.refuse('DELETE /servers', cloud_api.CloudError('locked', 409))
        self.assertEqual(1, self.run_drill('-f', 'json'))
        self.assertEqual(('ok', False), tuple(
            self.printed()[key] for key in ('result', 'deleted')))
        self.assertIn('Not all of drill drill-nightly is deleted', self.said)

    def test_a_result_that_is_not_recorded_is_no_success(self) -> None:
        self.refuse('PUT /backups', cloud_api.CloudError('no', 403))
        self.assertEqual(1, self.run_drill('-f', 'json'))
        self.assertEqual('ok', self.printed()['result'])
        self.assertIn('is not recorded', self.said)

    def test_a_dry_run_changes_nothing(self) -> None:
        self.assertEqual(0, self.run_drill('--dry-run', '-f', 'json'),
                         self.said)
        shown = self.printed()
        self.assertEqual(
            list(application_restore_create.PLAN_COLUMNS), list(shown))
        here = [row['here'] for row in shown['plan']]
        self.assertIn('a clone of volume t-db-vda', here)
        self.assertIn('isolated', here)
        self.assertEqual([], self.site.log)

    def test_what_is_refused_changes_nothing(self) -> None:
        (self.folder / 'm.yaml').write_text('{}')
        self.assertEqual(1, self.run_drill())
        self.assertIn('Nothing was rehearsed', self.said)
        self.assertEqual([], self.site.log)
        self.assertEqual({('', '', '')}, self.recorded())

    def test_an_unknown_set(self) -> None:
        self.assertEqual(1, self.run_command(
            'other', '--mapping', self.path('m.yaml')))
        self.assertIn('there is no such set', self.said)

    def test_options_of_restores_that_make_no_drill(self) -> None:
        for option in '--no-start', '--force', '--server=db':
            with self.subTest(option):
                self.assertEqual(2, self.run_drill(option))
        self.assertNotEqual(0, self.run_drill('-c', 'no_such'))
        self.assertEqual([], self.site.log)

    def test_a_signal_in_any_phase_leaves_nothing(self) -> None:
        for beginning in test_drill.STEPS[:8]:
            for signum in signal.SIGINT, signal.SIGTERM:
                with self.subTest(beginning, signum=signum):
                    self.setUp()
                    self.signal_at(beginning, signum)
                    self.assertEqual(128 + signum, self.run_drill())
                    self.assertIn('the drill has no result', self.said)
                    self.assertEqual('', self.stdout.getvalue())
                    self.assert_nothing_is_left()
                    self.assertEqual({('', '', '')}, self.recorded())

    def test_a_signal_tells_whether_what_was_made_is_kept(self) -> None:
        for options, end in ((), 'is deleted'), (('--keep',), 'is kept'):
            with self.subTest(options):
                self.setUp()
                self.signal_at('POST /servers', signal.SIGTERM)
                self.assertEqual(143, self.run_drill(*options))
                self.assertIn(f'What it had made {end}', str(self.said))

    def test_a_signal_at_the_end_disturbs_nothing(self) -> None:
        for beginning in test_drill.STEPS[8:]:
            with self.subTest(beginning):
                self.setUp()
                # The proof writes on backups, too.
                self.signal_at(
                    beginning, signal.SIGTERM, after='DELETE /servers')
                self.assertEqual(143, self.run_drill('-f', 'json'))
                self.assertEqual('ok', self.printed()['result'])
                self.assert_nothing_is_left()
                self.assertEqual({'ok'}, {row[0] for row in self.recorded()})

    def test_a_signal_ends_a_check_that_hangs(self) -> None:
        started = time.monotonic()
        self.assertEqual(143, self.run_drill(
            '--check', f'kill -TERM {os.getpid()}; exec sleep 60'))
        self.assertLess(time.monotonic() - started, 30)
        self.assert_nothing_is_left()

    def test_the_marks_that_others_read(self) -> None:
        self.assertEqual(0, self.run_drill(), self.said)
        written = self.site.backup_rows['b-db-vda']['metadata']
        self.assertEqual('ok', written['osc_quiesce:drill'])
        self.assertRegex(written['osc_quiesce:drilled_at'],
                         r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$')
        self.assertRegex(written['osc_quiesce:drill_rto'], r'^\d+$')
        self.assertEqual(metadata.get(
            self.site.backup_rows['b-web-vda'], 'drill'), 'ok')
