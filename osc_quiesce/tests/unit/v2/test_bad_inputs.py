# SPDX-License-Identifier: Apache-2.0

"""Whatever a user gives: one sentence, and nothing was made."""

from __future__ import annotations

from collections.abc import Iterator
import os
import pathlib
import tempfile
from typing import Any

from osc_quiesce.tests.unit.v2 import test_application_snapshot
from osc_quiesce.tests.unit.v2 import test_application_backup
from osc_quiesce.tests.unit.v2 import test_application_restore
from osc_quiesce.v2 import application_snapshot
from osc_quiesce.v2 import application_backup_create
from osc_quiesce.v2 import application_snapshot_create
from osc_quiesce.v2 import application_mapping
from osc_quiesce.v2 import application_restore
from osc_quiesce.v2 import application_restore_create

LONG = 10_000 * 'x'
CONTROLS = ('a\nb', 'a\tb', '\x1b[31mred', '\x7f', 'a\x85b')
NEW_NAMES = ('', ' ', LONG, *CONTROLS)
GIVEN = ('', LONG)

BOMB = 'a: &a [x, x, x, x, x, x, x, x, x]\n' + ''.join(
    f'{key}: &{key} [{", ".join(9 * ["*" + before])}]\n'
    for before, key in zip('abcdefghij', 'bcdefghijk', strict=True))
TEXTS = {
    'a bomb': BOMB,
    'an alias': 'name: &n a\nstages: [[*n]]\n',
    'itself': 'name: a\nstages: &s [*s]\n',
    'nested': 400 * '[' + 400 * ']',
    'a list as a server': 'name: a\nstages: [[[b]]]\n',
    'deep lists': f'name: a\nstages: {200 * "["}{200 * "]"}\n',
    'no yes': 'name: !!bool x\n',
    'no time': 'name: !!timestamp x\n',
    'no number': 'name: !!int ""\n',
    'nested mappings': ''.join(n * ' ' + 'a:\n' for n in range(900)),
    'two documents': 'name: a\n---\nname: b\n',
    'an object': '!!python/object/apply:os.getcwd []\n',
    'a text': 'no mapping\n',
    'nothing': '',
    'a long key': f'{LONG}: 1\n',
    'a long value': f'name: [{LONG}]\n',
    'a version': '%YAML 9.9\n---\nname: a\n',
    'a control character': 'name: "a\\eb"\nstages: [[a]]\n',
}
BYTES = {
    'not UTF-8': 'name: café\n'.encode('latin-1'),
    'UTF-16': 'name: a\n'.encode('utf-16'),
    'null bytes': bytes(100),
    'too long': b'# ' + 2 * 1024 * 1024 * b'x',
}


def bad_files(folder: str) -> Iterator[str]:
    """Yield paths of what is no file in YAML that anybody could use."""
    yield from (folder, '/nowhere/app.yaml', '-', '/dev/zero', '/dev/null')
    yield folder + '/' + 300 * 'x'
    contents = {**{k: v.encode() for k, v in TEXTS.items()}, **BYTES}
    for name, content in contents.items():
        path = pathlib.Path(folder, name.replace(' ', '-'))
        path.write_bytes(content)
        yield str(path)
    secret = pathlib.Path(folder, 'secret')
    secret.write_text('name: a\nstages: [[a]]\n')
    secret.chmod(0)
    if not os.access(secret, os.R_OK):
        yield str(secret)


class OneSentence:
    """Of a test case with a command."""

    stderr: Any

    def check(self: Any, lines: list[str], *argv: str) -> None:
        """Check that a command says one sentence, and fails."""
        with self.subTest(argv=[each[:40] for each in argv]):
            before = len(lines)
            code = self.run_command(*argv)
            said = lines[before:]
            if code == 2:
                said = [line for line in self.stderr.getvalue().splitlines()
                        if 'error: ' in line]
            self.assertIn(code, (1, 2), said)
            self.assertEqual(1, len(said), said)
            self.assertNotIn('Traceback', said[0])
            if LONG not in argv:  # a path, or a name to look for
                self.assertLess(len(said[0]), 1500)


class SnapshotTest(OneSentence, test_application_snapshot.TestCase):
    command = application_snapshot_create.CreateApplicationSnapshot

    def test_nothing_is_asked_for_nonsense(self) -> None:
        lines = self.errors.lines
        for name in NEW_NAMES:
            self.check(lines, name, '--server', 'db')
        for server in GIVEN:
            self.check(lines, 'x', '--server', server)
        self.check(lines, 'x', '--server', 'db', '--description', LONG)
        for text in ('', 'x', '=x', f'{LONG}=x', f'k={LONG}', 'k\x1b=x'):
            self.check(lines, 'x', '--server', 'db', '--property', text)
        for path in (*GIVEN, *bad_files(self.enterContext(
                tempfile.TemporaryDirectory()))):
            self.check(lines, 'x', '--file', path)
        self.make.assert_not_called()
        self.assertEqual([], self.nova.log)
        self.assertEqual([], self.cinder.log)

    def test_an_empty_name_is_none_of_a_set(self) -> None:
        self.create()
        for command in (application_snapshot.ShowApplicationSnapshot,
                        application_snapshot.DeleteApplicationSnapshot):
            self.command = command  # type: ignore[assignment]
            self.check(self.errors.lines, '')
        self.assertEqual(4, len(self.cinder.made))


class BackupTest(OneSentence, test_application_backup.TestCase):
    command = application_backup_create.CreateApplicationBackup

    def bad(self, *argv: str) -> None:
        lines: list[str] = []
        run = self.run_command

        def run_command(*argv: str) -> int:
            code = run(*argv)
            lines.extend(self.said[1:])
            return code

        self.run_command = run_command  # type: ignore[method-assign]
        try:
            self.check(lines, *argv)
        finally:
            del self.run_command  # type: ignore[method-assign]

    def test_nothing_is_made_of_nonsense(self) -> None:
        for name in (*GIVEN, 'nobody', *CONTROLS):
            self.bad(name)
        for name in NEW_NAMES:
            self.bad('monday', '--name', name)
            self.bad('monday', '--container', name)
        for cloud in GIVEN:
            self.bad('monday', '--to-cloud', cloud, '--no-target-volumes')
        for path in GIVEN:
            self.bad('monday', '--bundle', path)
        for path in (self.folder, '/dev/zero', '/nowhere/b.json',
                     self.path(300 * 'x')):
            self.bad('monday', '--bundle', path)
        for path in (*GIVEN, *bad_files(self.folder)):
            self.bad('monday', '--to-cloud', 'B', '--mapping', path)
        # It would go nowhere.
        self.bad('monday', '--mapping', self.path('an-alias'))
        self.bad('monday', '--no-target-volumes')
        self.assertEqual([], self.a.posts())
        self.assertEqual([], self.other.posts())


class RestoreTest(OneSentence, test_application_restore.TestCase):
    command = application_restore_create.CreateApplicationRestore

    def test_nothing_is_made_of_nonsense(self) -> None:
        lines = self.errors.lines
        good = ('nightly', '--mapping', self.path('m.yaml'))
        for name in (*GIVEN, 'nobody', *CONTROLS):
            self.check(lines, name, *good[1:])
        for name in NEW_NAMES:
            self.check(lines, *good, '--name', name)
            self.check(lines, *good, '--proof-container', name)
        for text in GIVEN:
            self.check(lines, *good, '--server', text)
            self.check(lines, *good, '--from-cloud', text)
        for text in ('', 'yesterday', LONG, '2026-13-01'):
            self.check(lines, *good, '--failed-at', text)
        for path in (*GIVEN, *bad_files(str(self.folder))):
            self.check(lines, 'nightly', '--mapping', path)
        self.assertEqual([], self.site.log)

    def test_an_empty_name_is_none_of_a_restore(self) -> None:
        for command in (application_restore.ShowApplicationRestore,
                        application_restore.DeleteApplicationRestore):
            self.command = command  # type: ignore[assignment]
            self.check(self.errors.lines, '')


class MappingTest(OneSentence, test_application_restore.TestCase):
    command = application_mapping.CreateApplicationMapping

    def test_nothing_is_written_for_nonsense(self) -> None:
        lines = self.errors.lines
        path = self.path('new.yaml')
        for name in (*GIVEN, 'nobody', *CONTROLS):
            self.check(lines, name, '--output', path)
        for cloud in GIVEN:
            self.check(lines, 'nightly', '--output', path,
                       '--from-cloud', cloud)
        for wrong in (*GIVEN, str(self.folder), '/nowhere/x', '/dev/null',
                      self.path('m.yaml'), self.path(300 * 'x')):
            self.check(lines, 'nightly', '--output', wrong)
        self.assertFalse(os.path.exists(path))

    def test_a_path_of_any_bytes_can_be_printed(self) -> None:
        path = self.path(os.fsdecode(b'm\xff.yaml'))
        self.assertEqual(
            0, self.run_command('nightly', '--output', path), self.said)
        self.assertIn('m\\udcff.yaml', self.stdout.getvalue())
        self.stdout.getvalue().encode()
        self.assertTrue(os.path.exists(path))
