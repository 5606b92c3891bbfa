# SPDX-License-Identifier: Apache-2.0

"""What the commands take, say and print; their work is tested elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import json
import os
import signal
import tempfile
from typing import Any
from unittest import mock

from osc_lib import exceptions as osc_exceptions

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import create
from osc_quiesce.application import errors
from osc_quiesce.application import plan as planning
from osc_quiesce.application import preflight
from osc_quiesce.application import snapshot_sets
from osc_quiesce.cli import interrupts
from osc_quiesce import errors as quiesce_errors
from osc_quiesce.tests import signals
from osc_quiesce.tests.unit import fakes
from osc_quiesce.tests.unit.application import base
from osc_quiesce.v2 import application_snapshot
from osc_quiesce.v2 import application_snapshot_create as commands


class TestCase(base.TestCase):
    """The servers and the plan of the tests of create, and a command."""

    command: type[Any]
    is_terminal = False

    def setUp(self) -> None:
        super().setUp()
        self.with_signals()
        self.make = self.patch(
            preflight, 'make', mock.Mock(side_effect=self._planned)
        )
        self.patch(
            cloud_api, 'Cloud', mock.Mock(return_value=self.cinder)
        )

    def _planned(self, *args: Any) -> planning.Plan:
        description, properties = args[-2:]
        return dataclasses.replace(
            self.plan, description=description, properties=properties
        )

    def patch(self, where: Any, name: str, value: Any) -> Any:
        patch = mock.patch.object(where, name, value)
        self.addCleanup(patch.stop)
        return patch.start()

    def run_command(self, *argv: str) -> int:
        """Run the command as the shell does, and return its exit code."""
        app = self.app()
        app.stdout = self.new_stdout()
        app.client_manager.sdk_connection = None
        self.stdout = app.stdout
        cmd = self.command(app, None)
        self.stderr = fakes.Stderr(self.is_terminal)
        with contextlib.redirect_stderr(self.stderr):
            try:
                args = cmd.get_parser('openstack x').parse_args(argv)
            except SystemExit as exc:
                return int(str(exc.code))
            try:
                return int(cmd.run(args))
            except (
                osc_exceptions.CommandError,
                OSError,
                ValueError,  # of cliff: a column that is not there
            ) as exc:
                self.errors.lines.append(str(exc))
                return 1

    def new_stdout(self) -> io.StringIO:
        """Return what the next command prints to."""
        return io.StringIO()

    def printed(self) -> Any:
        return json.loads(self.stdout.getvalue())


class TestCreate(TestCase):
    command = commands.CreateApplicationSnapshot

    def run_create(self, *argv: str) -> int:
        return self.run_command(
            'nightly', '--server', 'db', '--server', 'web', *argv
        )

    def test_the_set_is_shown_with_what_a_restore_needs(self) -> None:
        self.assertEqual(0, self.run_create('-f', 'json'), self.said)
        made = self.printed()
        self.assertEqual(list(application_snapshot.SHOW_COLUMNS), list(made))
        self.assertEqual('consistent', made['consistency'])
        self.assertEqual('nightly', made['name'])
        self.assertEqual(4, made['snapshots'])
        self.assertGreater(made['window'], 0)
        self.assertEqual(
            [
                ('db', '/dev/vda', 'db-vda', 's-db-vda', 1),
                ('db', '/dev/vdb', 'db-vdb', 's-db-vdb', 1),
                ('web', '/dev/vda', 'web-vda', 's-web-vda', 1),
                ('web', '/dev/vdb', 'web-vdb', 's-web-vdb', 1),
            ],
            [
                (
                    server['name'],
                    *(volume[key] for key in ('device', 'id', 'snapshot_id',
                                              'size')),
                )
                for server in made['servers']
                for volume in server['volumes']
            ],
        )
        for server in made['servers']:
            self.assertEqual('tiny', server['flavor']['name'])
        self.assertEqual({'active'}, self.vm_states())

    def test_people_get_a_summary(self) -> None:
        self.assertEqual(0, self.run_create(), self.said)
        self.assertIn(
            '/dev/vdb: volume web-vdb, 1 GiB, snapshot s-web-vdb',
            self.stdout.getvalue(),
        )

    def test_a_column_can_be_chosen(self) -> None:
        self.assertEqual(
            0, self.run_create('-f', 'value', '-c', 'consistency'), self.said
        )
        self.assertEqual('consistent\n', self.stdout.getvalue())

    def test_options_reach_the_snapshots_and_the_servers(self) -> None:
        self.assertEqual(
            0,
            self.run_create(
                '--description', 'd', '--property', 'ticket=7', '-f', 'json'
            ),
            self.said,
        )
        made = snapshot_sets.find(self.cloud, 'nightly')
        self.assertEqual('d', made.description)
        self.assertEqual({'ticket': '7'}, made.properties)

    def asked(self) -> tuple[Any, ...]:
        """Return what a plan was asked for: name and the rest."""
        arguments: tuple[Any, ...] = self.make.call_args.args
        return arguments[2:]

    def test_defaults(self) -> None:
        self.run_create('--dry-run')
        name, application, *options = self.asked()
        self.assertEqual('nightly', name)
        self.assertEqual('nightly', application.name)
        self.assertEqual(
            ['db', 'web'], [stage[0].server for stage in application.stages]
        )
        self.assertEqual([120, False, False, '', {}], options)

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
                f'Quiescing {db.label} ...',
                f'Quiescing {web.label} ...',
                'Taking 4 snapshots ...',
                f'Unquiescing {web.label} ...',
                f'Unquiescing {db.label} ...',
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
                '--with-user-data',
                '--description',
                'd',
                '--property',
                'k=v',
            )
        name, application, *options = self.asked()
        self.assertEqual(('nightly', 'shop'), (name, application.name))
        self.assertEqual(1, len(application.stages))
        self.assertEqual([30, True, True, 'd', {'k': 'v'}], options)

    def test_nonsense_is_refused_before_anything_is_asked(self) -> None:
        for argv in (
            ['x'],
            ['x', '--server', 'db', '--file', 'app.yaml'],
            ['x', '--server', 'db', '--timeout', '0'],
            ['x', '--server', 'db', '--unquiesce-after', '1.5'],
            ['x', '--server', 'db', '--property', 'osc_quiesce:set=y'],
            ['x', '--server', 'db', '--property', 'k=' + 256 * 'v'],
            ['x', '--server', 'db', '--property', 'owner@site=x'],
            ['x', '--server', 'db', '--property', '(a)=x'],
            ['x', '--server', 'db', '--property', 'цех=x'],
            ['x', '--server', 'db', '--property', 'a\n=x'],
            ['x', '--server', 'db', '--dry-run', '--property', 'k\n=v'],
            ['x', '--server', 'db', '--property', '=v'],
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
        plan = self.printed()
        self.assertEqual(list(application_snapshot.PLAN_COLUMNS), list(plan))
        volumes = [
            volume
            for server in plan['servers']
            for volume in server['volumes']
        ]
        self.assertEqual(
            ['db-vda', 'db-vdb', 'web-vda', 'web-vdb'],
            [volume['id'] for volume in volumes],
        )
        self.assertEqual({True}, {volume['snapshot'] for volume in volumes})
        self.assertEqual([], plan['refused'])
        self.refuse()
        self.assertEqual(1, self.run_create('--dry-run', '-f', 'json'))
        plan = self.printed()
        self.assertEqual(
            [[], ['is locked', 'is asleep']],
            [server['refused'] for server in plan['servers']],
        )
        self.assertEqual(3, len(plan['refused']))
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

    def test_snapshots_that_cannot_be_deleted_are_not_denied(self) -> None:
        self.cinder.breaks = 'web-vda'
        error = errors.ApplicationError('Not all snapshots are deleted')
        with mock.patch.object(snapshot_sets, 'delete', side_effect=error):
            self.assertEqual(1, self.run_create())
        self.assertIn('Not all snapshots are deleted', self.said)
        self.assertIn('No consistent snapshot set', self.said)

    def test_a_thaw_that_failed_as_well_hides_no_cause(self) -> None:
        thaw = quiesce_errors.ThawFailed(
            [quiesce_errors.QuiesceError('frozen')]
        )
        thaw.__cause__ = errors.ApplicationError('Cinder has no room')
        with mock.patch.object(create, 'create', side_effect=thaw):
            self.assertEqual(1, self.run_create())
        self.assertIn('Cinder has no room', self.said)
        self.assertIn('MAY STILL BE FROZEN', self.said)

    def test_a_thaw_that_failed_as_well_hides_no_interrupt(self) -> None:
        thaw = quiesce_errors.ThawFailed(
            [quiesce_errors.QuiesceError('frozen')]
        )
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
        for signum, code in zip(signals.SIGNALS, signals.CODES, strict=True):
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

    def test_a_signal_inside_the_window_leaves_nothing(self) -> None:
        for line in 'POST /snapshots', 'GET /snapshots/s-db-vda':
            for signum, code in (signal.SIGINT, 130), (signal.SIGTERM, 143):
                with self.subTest(line=line, signum=signum):
                    self.errors.lines.clear()
                    self.announced.clear()
                    self.cinder.statuses = ['creating'] * 6

                    def kill(
                        found: str, line: str = line, signum: int = signum
                    ) -> None:
                        if found == line:
                            self.cinder.hooks.clear()
                            os.kill(os.getpid(), signum)

                    self.cinder.hooks.append(kill)
                    self.assertEqual(code, self.run_create())
                    self.assertEqual(
                        'Interrupted; no consistent snapshot set was made.',
                        self.said,
                    )
                    self.assertEqual(1, len(self.announced))
                    self.assert_nothing_is_left()

    def test_a_failed_thaw_leaves_no_set_and_fails(self) -> None:
        _db, web = self.nova.servers.values()
        web.thaw_to = ('error', 'Error', 'the guest does not answer')
        self.assertEqual(1, self.run_create())
        self.assertEqual({}, self.cinder.made)
        for words in ('MAY STILL BE FROZEN', web.id,
                      'No consistent snapshot set "nightly" was made.'):
            self.assertIn(words, self.said)
        self.assertEqual('', self.stdout.getvalue())

    def test_a_lost_race_names_the_other_request(self) -> None:
        _db, web = self.nova.servers.values()
        self.nova.others(web, 'quiesce', 'req-0')
        self.nova.sleep(1)
        self.assertEqual(1, self.run_create())
        for words in (
            'req-0', 'goes first', 'taken no snapshot',
            'No consistent snapshot set "nightly" was made.',
        ):
            self.assertIn(words, self.said)


class TestOutput(TestCase):
    """The set is made, and its table cannot be printed."""

    command = commands.CreateApplicationSnapshot

    def failing(self, *argv: str, **methods: BaseException) -> int:
        """Run the command; methods of its output raise this."""

        def new_stdout() -> io.StringIO:
            stdout = io.StringIO()
            for name, error in methods.items():
                setattr(stdout, name, mock.Mock(side_effect=error))
            return stdout

        with mock.patch.object(self, 'new_stdout', new_stdout):
            return self.run_command('nightly', '--server', 'db', *argv)

    def test_it_is_kept_and_named(self) -> None:
        for methods in (
            {'write': BrokenPipeError(errno.EPIPE, 'Broken pipe')},
            {'write': OSError(errno.ENOSPC, 'No space left on device')},
            {'flush': OSError(errno.ENOSPC, 'No space left on device')},
            {'write': UnicodeEncodeError('ascii', 'ü', 0, 1, 'not ASCII')},
        ):
            with self.subTest(methods):
                self.cinder.made.clear()
                self.errors.lines.clear()
                self.assertEqual(1, self.failing(**methods))
                self.assertEqual({'active'}, self.vm_states())
                made = snapshot_sets.find(self.cloud, 'nightly')
                self.assertEqual(snapshot_sets.CONSISTENT, made.state)
                for words in (
                    f'Snapshot set nightly ({made.id}) is consistent',
                    str(*methods.values()),
                    f'"openstack application snapshot show {made.id}"',
                ):
                    self.assertIn(words, self.said)

    def test_a_plan_that_cannot_be_printed_names_no_set(self) -> None:
        self.assertEqual(
            1,
            self.failing(
                '--dry-run', flush=OSError(errno.ENOSPC, 'No space left')
            ),
        )
        self.assertNotIn('Snapshot set', self.said)
        self.assertEqual({}, self.cinder.made)

    def test_one_that_was_not_made_is_not_named(self) -> None:
        self.cinder.breaks = 'web-vda'
        self.assertEqual(1, self.failing(write=BrokenPipeError()))
        self.assertIn('No consistent snapshot set', self.said)
        self.assertEqual({}, self.cinder.made)


class TestOthers(TestCase):
    """List, show and delete."""

    def setUp(self) -> None:
        super().setUp()
        self.made = self.create(description='d', properties={'ticket': '7'})

    def test_list_tells_how_consistent_and_how_long(self) -> None:
        self.command = application_snapshot.ListApplicationSnapshot
        self.assertEqual(0, self.run_command('-f', 'json'))
        [row] = self.printed()
        self.assertEqual(list(application_snapshot.LIST_COLUMNS), list(row))
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
        self.command = application_snapshot.ShowApplicationSnapshot
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

    def test_show_gives_a_summary_to_people(self) -> None:
        self.command = application_snapshot.ShowApplicationSnapshot
        self.assertEqual(0, self.run_command('nightly'))
        shown = self.stdout.getvalue()
        self.assertIn('1. db (', shown)
        self.assertIn('flavor tiny, image none (boots from volume)', shown)
        self.assertIn(
            '/dev/vdb: volume web-vdb, 1 GiB, snapshot s-web-vdb', shown
        )

    def test_a_snapshot_that_is_gone_is_shown_as_none(self) -> None:
        self.command = application_snapshot.ShowApplicationSnapshot
        del self.cinder.made['s-web-vdb']
        self.assertEqual(0, self.run_command('nightly'))
        self.assertIn(
            'volume web-vdb, 1 GiB, snapshot none', self.stdout.getvalue()
        )

    def test_delete_deletes_the_whole_set(self) -> None:
        self.command = application_snapshot.DeleteApplicationSnapshot
        self.assertEqual(0, self.run_command('nightly'), self.said)
        self.assertEqual({}, self.cinder.made)

        self.assertNotIn('Only', self.said)

    def test_delete_does_not_deny_what_another_project_may_have(
        self,
    ) -> None:
        # Its volume was transferred: no snapshot of it is shown any more.
        del self.cinder.made['s-web-vdb']
        self.command = application_snapshot.DeleteApplicationSnapshot
        self.assertEqual(0, self.run_command('nightly'), self.said)
        self.assertEqual({}, self.cinder.made)
        self.assertIn('Only 3 of the 4 snapshots of set nightly', self.said)
        self.assertIn(
            f'"openstack application snapshot delete {self.made.id}"',
            self.said,
        )

    def test_delete_goes_on_after_a_failure(self) -> None:
        self.command = application_snapshot.DeleteApplicationSnapshot
        self.assertEqual(1, self.run_command('weekly', 'nightly'))
        self.assertEqual({}, self.cinder.made)
        self.assertIn('"weekly"', self.said)
        self.assertIn('1 of 2 snapshot sets failed to delete.', self.said)

    def test_an_interrupt_of_an_earlier_command_is_forgotten(self) -> None:
        # In an interactive shell, all commands have the same client.
        self.client = self.client.with_sleep(
            mock.Mock(side_effect=interrupts.Interrupted(2))
        )
        self.command = application_snapshot.DeleteApplicationSnapshot
        self.assertEqual(0, self.run_command('nightly'), self.said)
        self.assertEqual({}, self.cinder.made)

    def test_a_set_that_is_not_there_is_named(self) -> None:
        for command, more in (
            (application_snapshot.ShowApplicationSnapshot, ''),
            (
                application_snapshot.DeleteApplicationSnapshot,
                ' It may already have been deleted.',
            ),
        ):
            self.command = command
            self.errors.lines.clear()
            self.assertEqual(1, self.run_command('weekly'))
            self.assertIn(
                f'No snapshot set has the name or ID "weekly".{more}',
                self.said,
            )

    def test_cinder_that_does_not_answer_is_an_error(self) -> None:
        error = cloud_api.CloudError('Cinder is away')
        self.patch(self.cinder, 'snapshots', mock.Mock(side_effect=error))
        for command, argv in (
            (application_snapshot.ListApplicationSnapshot, ()),
            (application_snapshot.ShowApplicationSnapshot, ('nightly',)),
            (application_snapshot.DeleteApplicationSnapshot, ('nightly',)),
        ):
            self.command = command
            self.errors.lines.clear()
            self.assertEqual(1, self.run_command(*argv))
            self.assertIn('Cinder is away', self.said)
