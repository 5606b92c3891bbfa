# SPDX-License-Identifier: Apache-2.0

"""What the commands take, say and print; their work is tested elsewhere."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import tempfile
from typing import Any
from unittest import mock

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import create
from osc_quiesce.application import errors
from osc_quiesce.application import plan as planning
from osc_quiesce.application import sets
from osc_quiesce import consistency
from osc_quiesce import exceptions
from osc_quiesce import interrupts
from osc_quiesce.tests import signals
from osc_quiesce.tests.unit import test_application_create
from osc_quiesce.v2 import application as commands


class Stderr(io.StringIO):
    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self.isatty = lambda: is_terminal  # type: ignore[method-assign]


class TestCase(test_application_create.TestCase):
    """The servers and the plan of the tests of create, and a command."""

    command: type[Any]
    interrupts: Any
    is_terminal = False

    def setUp(self) -> None:
        super().setUp()
        signals.as_in_terminal(self)
        for server in self.plan.servers:
            restore: Any = server.restore
            restore.update(
                {
                    'stage': server.stage,
                    'flavor': {'original_name': 'tiny'},
                    'image': None,
                    'volumes': [
                        {
                            'id': volume.id,
                            'name': volume.name,
                            'device': volume.device,
                            'size': volume.size,
                            'type': volume.type,
                            'boot_index': volume.boot_index,
                            'delete_on_termination': False,
                            'excluded': False,
                        }
                        for volume in server.volumes
                    ],
                }
            )
        self.make = self.patch(
            planning, 'make', mock.Mock(side_effect=lambda *_args: self.plan)
        )
        self.patch(
            cloud_api, 'Cloud', mock.Mock(return_value=self.cinder)
        )
        # The fake clock, in place of the real one that signals interrupt.
        self.patch(interrupts.Interrupts, 'sleep', self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.interrupts.check()
        self.nova.sleep(seconds)
        self.interrupts.check()

    def patch(self, where: Any, name: str, value: Any) -> Any:
        patch = mock.patch.object(where, name, value)
        self.addCleanup(patch.stop)
        return patch.start()

    def run_command(self, *argv: str) -> int:
        """Run the command as the shell does, and return its exit code."""
        app = self.app()
        app.client_manager.sdk_connection = None
        self.stdout = app.stdout
        cmd = self.command(app, None)
        self.interrupts = getattr(cmd, '_interrupts', None)
        self.stderr = Stderr(self.is_terminal)
        with contextlib.redirect_stderr(self.stderr):
            try:
                args = cmd.get_parser('openstack x').parse_args(argv)
            except SystemExit as exc:
                return int(str(exc.code))
            try:
                return int(cmd.run(args))
            except Exception as exc:
                self.errors.lines.append(str(exc))
                return 1

    def printed(self) -> Any:
        return json.loads(self.stdout.getvalue())


class TestCreate(TestCase):
    command = commands.CreateApplicationSnapshot

    def run_create(self, *argv: str) -> int:
        return self.run_command(
            'nightly', '--server', 'db', '--server', 'web', *argv
        )

    def test_there_is_one_row_for_each_volume(self) -> None:
        self.assertEqual(0, self.run_create('-f', 'json'), self.said)
        rows = self.printed()
        self.assertEqual(
            [
                ('db', '/dev/vda', 'db-vda', 's-db-vda', 1, 'available'),
                ('db', '/dev/vdb', 'db-vdb', 's-db-vdb', 1, 'available'),
                ('web', '/dev/vda', 'web-vda', 's-web-vda', 1, 'available'),
                ('web', '/dev/vdb', 'web-vdb', 's-web-vdb', 1, 'available'),
            ],
            [tuple(row.values())[:6] for row in rows],
        )
        self.assertEqual({'active'}, self.vm_states())

    def test_json_has_what_a_restore_needs(self) -> None:
        self.assertEqual(0, self.run_create('-f', 'json'), self.said)
        row = self.printed()[2]
        self.assertEqual(list(commands.MACHINE_COLUMNS), list(row))
        self.assertEqual('consistent', row['Consistency'])
        self.assertEqual('nightly', row['Set Name'])
        self.assertGreater(row['Window'], 0)
        server = row['Server Data']
        self.assertEqual('tiny', server['flavor']['original_name'])
        self.assertEqual(
            ['s-web-vda', 's-web-vdb'],
            [volume['snapshot_id'] for volume in server['volumes']],
        )

    def test_people_get_what_fits_on_a_terminal(self) -> None:
        self.assertEqual(0, self.run_create(), self.said)
        table = self.stdout.getvalue()
        self.assertIn('| Server | Device   | Volume ID |', table)
        self.assertNotIn('Server Data', table)

    def test_unless_they_name_columns(self) -> None:
        self.assertEqual(
            0, self.run_create('-f', 'value', '-c', 'Boot Index'), self.said
        )
        self.assertEqual('0\n-1\n0\n-1\n', self.stdout.getvalue())

    def test_options_reach_the_snapshots_and_the_servers(self) -> None:
        self.assertEqual(
            0,
            self.run_create(
                '--description', 'd', '--property', 'ticket=7', '-f', 'json'
            ),
            self.said,
        )
        cloud: Any = self.cinder
        made = sets.find(cloud, 'nightly')
        self.assertEqual('d', made.description)
        self.assertEqual({'ticket': '7'}, made.properties)

    def planned(self) -> tuple[Any, ...]:
        """Return what a plan was asked for: name and the rest."""
        arguments: tuple[Any, ...] = self.make.call_args.args
        return arguments[2:]

    def test_defaults(self) -> None:
        self.run_create('--dry-run')
        name, application, unquiesce_after, allow_local_disk = self.planned()
        self.assertEqual('nightly', name)
        self.assertEqual('nightly', application.name)
        self.assertEqual(
            ['db', 'web'], [stage[0].server for stage in application.stages]
        )
        self.assertEqual(120, unquiesce_after)
        self.assertFalse(allow_local_disk)

    def test_progress_is_told_on_a_terminal_only(self) -> None:
        self.assertEqual(0, self.run_create())
        self.assertEqual('', self.stderr.getvalue())
        for snapshot in list(self.cinder.made):
            del self.cinder.made[snapshot]
        self.is_terminal = True
        self.assertEqual(0, self.run_create())
        db, web = self.plan.servers
        self.assertEqual(
            [
                f'Quiescing {db.id} ...',
                f'Quiescing {web.id} ...',
                'Taking 4 snapshots ...',
                f'Thawing {web.label} ...',
                f'Thawing {db.label} ...',
            ],
            self.stderr.getvalue().splitlines(),
        )

    def test_a_file_in_place_of_servers(self) -> None:
        with tempfile.NamedTemporaryFile('w', suffix='.yaml') as stream:
            stream.write('name: shop\nstages: [[db, web]]\n')
            stream.flush()
            self.run_command(
                'nightly',
                '--file',
                stream.name,
                '--dry-run',
                '--unquiesce-after',
                '30',
                '--allow-local-disk',
            )
        name, application, unquiesce_after, allow_local_disk = self.planned()
        self.assertEqual(('nightly', 'shop'), (name, application.name))
        self.assertEqual(1, len(application.stages))
        self.assertEqual((30, True), (unquiesce_after, allow_local_disk))

    def test_nonsense_is_refused_before_anything_is_asked(self) -> None:
        for argv in (
            ['x'],
            ['x', '--server', 'db', '--file', 'app.yaml'],
            ['x', '--server', 'db', '--timeout', '0'],
            ['x', '--server', 'db', '--unquiesce-after', '1.5'],
            ['x', '--server', 'db', '--property', 'osc_quiesce:set=y'],
            ['x', '--server', 'db', '--property', 'k=' + 256 * 'v'],
            ['x', '--server', 'db', '--description', 256 * 'd'],
            ['x', '--server', 'db', '-c', 'Colour'],
            [' ', '--server', 'db'],
            [256 * 'x', '--server', 'db'],
            ['x', '--file', '/nowhere/app.yaml'],
        ):
            with self.subTest(argv):
                self.assertNotEqual(0, self.run_command(*argv))
        self.make.assert_not_called()
        self.assertEqual([], self.nova.log)

    def refuse(self) -> None:
        db, web = self.plan.servers
        web = planning.Server(
            **{**vars(web), 'refused': ('is locked', 'is asleep')}
        )
        self.plan = planning.Plan(
            'nightly', 'shop', (db, web), ('There is no room.',)
        )

    def test_every_refusal_is_said_and_nothing_is_done(self) -> None:
        self.refuse()
        self.assertEqual(1, self.run_create())
        for words in ('There is no room.', 'web', 'is locked', 'is asleep'):
            self.assertIn(words, self.said)
        self.assertIn(
            'Nothing was quiesced, and no snapshot was taken.', self.said
        )
        self.assertEqual([], self.nova.posts())
        self.assertEqual({}, self.cinder.made)

    def test_a_dry_run_shows_the_plan_and_does_nothing(self) -> None:
        self.assertEqual(0, self.run_create('--dry-run', '-f', 'json'))
        rows = self.printed()
        self.assertEqual(list(commands.PLAN_COLUMNS), list(rows[0]))
        self.assertEqual(
            ['db-vda', 'db-vdb', 'web-vda', 'web-vdb'],
            [row['Volume ID'] for row in rows],
        )
        self.assertEqual({True}, {row['Snapshot'] for row in rows})
        self.refuse()
        self.assertEqual(1, self.run_create('--dry-run', '-f', 'json'))
        self.assertEqual(
            ['', '', *['is locked; is asleep'] * 2],
            [row['Refused'] for row in self.printed()],
        )
        self.assertEqual([], self.nova.posts())
        self.assertEqual({}, self.cinder.made)

    def test_a_plan_that_cannot_be_made_is_an_error(self) -> None:
        self.make.side_effect = cloud_api.CloudError('Cinder is away')
        self.assertEqual(1, self.run_create())
        self.assertIn('Cinder is away', self.said)

    def test_a_failure_says_why_and_that_there_is_no_set(self) -> None:
        self.cinder.breaks = 'web-vda'
        self.assertEqual(1, self.run_create())
        self.assertIn('Cinder has no room', self.said)
        self.assertIn(
            'No consistent snapshot set "nightly" was made.', self.said
        )
        self.assertEqual({'active'}, self.vm_states())
        self.assertEqual({}, self.cinder.made)

    def test_what_cannot_be_deleted_is_not_denied(self) -> None:
        self.cinder.breaks = 'web-vda'
        error = errors.ApplicationError('Not all snapshots are deleted')
        with mock.patch.object(sets, 'delete', side_effect=error):
            self.assertEqual(1, self.run_create())
        self.assertIn('Not all snapshots are deleted', self.said)
        self.assertIn('No consistent snapshot set', self.said)

    def test_a_thaw_that_failed_as_well_hides_no_cause(self) -> None:
        thaw = consistency.ThawFailed([exceptions.QuiesceError('frozen')])
        thaw.__cause__ = errors.ApplicationError('Cinder has no room')
        with mock.patch.object(create, 'create', side_effect=thaw):
            self.assertEqual(1, self.run_create())
        self.assertIn('Cinder has no room', self.said)
        self.assertIn('MAY STILL BE FROZEN', self.said)

    def test_nor_an_interrupt_its_exit_code(self) -> None:
        thaw = consistency.ThawFailed([exceptions.QuiesceError('frozen')])
        thaw.__cause__ = interrupts.Interrupted(signal.SIGTERM)
        with mock.patch.object(create, 'create', side_effect=thaw):
            self.assertEqual(143, self.run_create())
        self.assertIn('MAY STILL BE FROZEN', self.said)

    def test_a_set_that_is_kept_is_a_failure_all_the_same(self) -> None:
        kept = create.Kept('It is NOT CONSISTENT; it is kept.')
        with mock.patch.object(create, 'create', side_effect=kept) as called:
            self.assertEqual(1, self.run_create('--keep-inconsistent'))
        self.assertTrue(called.call_args.args[6])
        self.assertEqual('It is NOT CONSISTENT; it is kept.', self.said)

    def test_a_signal_thaws_deletes_and_gives_its_own_exit_code(self) -> None:
        handlers = [signal.getsignal(n) for n in signals.SIGNALS]
        for signum, code in zip(signals.SIGNALS, (130, 143, 129), strict=True):
            with self.subTest(signum=signum):
                self.nova.hooks.clear()

                def hook(
                    request: Any, context: Any, signum: int = signum
                ) -> None:
                    if self.nova.log[-1] == 'POST web quiesce':
                        os.kill(os.getpid(), signum)

                self.nova.hooks.append(hook)
                self.assertEqual(code, self.run_create())
                self.assertIn('Interrupted', self.said)
                self.assertEqual({'active'}, self.vm_states())
                self.assertEqual({}, self.cinder.made)
        self.assertEqual(
            handlers, [signal.getsignal(n) for n in signals.SIGNALS]
        )


class TestOthers(TestCase):
    """List, show and delete."""

    def setUp(self) -> None:
        super().setUp()
        self.made = self.create(description='d', properties={'ticket': '7'})

    def test_list_tells_how_consistent_and_how_long(self) -> None:
        self.command = commands.ListApplicationSnapshot
        self.assertEqual(0, self.run_command('-f', 'json'))
        [row] = self.printed()
        self.assertEqual(list(commands.LIST_COLUMNS), list(row))
        self.assertEqual(
            ('nightly', 'shop', 'consistent', 4),
            (
                row['Name'],
                row['Application'],
                row['Consistency'],
                row['Snapshots'],
            ),
        )
        self.assertEqual(self.made.window, row['Window'])

    def test_show_gives_everything_to_programs(self) -> None:
        self.command = commands.ShowApplicationSnapshot
        for name in ('nightly', self.made.id):
            self.assertEqual(0, self.run_command(name, '-f', 'json'))
            shown = self.printed()
            self.assertEqual({'ticket': '7'}, shown['properties'])
            self.assertEqual('d', shown['description'])
            self.assertEqual(4, shown['snapshots'])
            self.assertEqual(4, shown['snapshots_wanted'])
            self.assertTrue(shown['version'])
            self.assertEqual(
                ['db', 'web'], [server['name'] for server in shown['servers']]
            )

    def test_and_a_summary_to_people(self) -> None:
        self.command = commands.ShowApplicationSnapshot
        self.assertEqual(0, self.run_command('nightly'))
        shown = self.stdout.getvalue()
        self.assertIn('1. db (', shown)
        self.assertIn('flavor tiny, image none (boots from volume)', shown)
        self.assertIn(
            '/dev/vdb: volume web-vdb, 1 GiB, snapshot s-web-vdb', shown
        )

    def test_a_snapshot_that_is_gone_is_shown_as_none(self) -> None:
        self.command = commands.ShowApplicationSnapshot
        del self.cinder.made['s-web-vdb']
        self.assertEqual(0, self.run_command('nightly'))
        self.assertIn(
            'volume web-vdb, 1 GiB, snapshot none', self.stdout.getvalue()
        )

    def test_delete_deletes_the_whole_set(self) -> None:
        self.command = commands.DeleteApplicationSnapshot
        self.assertEqual(0, self.run_command('nightly'), self.said)
        self.assertEqual({}, self.cinder.made)

    def test_an_interrupt_of_an_earlier_command_is_forgotten(self) -> None:
        # In an interactive shell, all commands have the same client.
        self.client.sleep = mock.Mock(side_effect=interrupts.Interrupted(2))
        self.command = commands.DeleteApplicationSnapshot
        self.assertEqual(0, self.run_command('nightly'), self.said)
        self.assertEqual({}, self.cinder.made)

    def test_what_is_not_there_is_named(self) -> None:
        for command, more in (
            (commands.ShowApplicationSnapshot, ''),
            (
                commands.DeleteApplicationSnapshot,
                ' If there was one, nothing is left of it.',
            ),
        ):
            self.command = command
            self.errors.lines.clear()
            self.assertEqual(1, self.run_command('weekly'))
            self.assertEqual(
                f'No snapshot set has the name or ID "weekly".{more}',
                self.said,
            )

    def test_cinder_that_does_not_answer_is_an_error(self) -> None:
        error = cloud_api.CloudError('Cinder is away')
        self.patch(self.cinder, 'snapshots', mock.Mock(side_effect=error))
        for command, argv in (
            (commands.ListApplicationSnapshot, ()),
            (commands.ShowApplicationSnapshot, ('nightly',)),
            (commands.DeleteApplicationSnapshot, ('nightly',)),
        ):
            self.command = command
            self.errors.lines.clear()
            self.assertEqual(1, self.run_command(*argv))
            self.assertEqual('Cinder is away', self.said)
