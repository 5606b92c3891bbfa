# SPDX-License-Identifier: Apache-2.0

"""What the command takes, says and prints when it verifies a set."""

from __future__ import annotations

import os
import pathlib
import signal
import time
from typing import Any
from unittest import mock

from keystoneauth1 import session as ksa_session

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.recovery import backup_check
from osc_quiesce.recovery import bundles
from osc_quiesce.recovery import stores
from osc_quiesce.tests.unit.recovery import stored
from osc_quiesce.tests.unit.v2 import test_application_backup
from osc_quiesce.v2 import application_backup_verify as commands

UNIT = 1024  # bytes that stand for a GiB


class TestCase(test_application_backup.TestCase):
    """Sets monday, full, and tuesday, incremental, in a directory."""

    command = commands.VerifyApplicationBackup

    def setUp(self) -> None:
        super().setUp()
        self.patch(backup_check, 'GIB', UNIT)
        self.create()
        self.take('tuesday')
        self.create('tuesday')
        self.cinder = stored.Cinder()
        for row in sorted(
            self.a.rows.values(), key=lambda each: str(each['created_at'])
        ):
            data = b'%-64b' % row['volume_id'].encode() * 16 * row['size']
            parent = self.a.parents[row['id']]
            if parent:
                data = data[:-1] + b'!'
            record = self.cinder.backup(
                row['id'], row['volume_id'], data, parent)
            row.update(
                container=record.data['container'],
                service_metadata=record.data['service_metadata'])
        self.where = self.path('store')
        self.cinder.save(self.where)
        self.ids = {
            (each.name, backup['volume_id']): backup['id']
            for each in map(self.find, ('monday', 'tuesday'))
            for backup in each.backups
        }

    def verify(self, *argv: str) -> Any:
        """Run the command, and return its exit code and rows."""
        warned: list[str] = []

        def warning(text: str, *values: Any) -> None:
            warned.append(text % (values[0] if isinstance(
                values[0], dict) else values) if values else text)

        with mock.patch.object(commands.LOG, 'warning', warning):
            code = self.run_command(*argv, '-f', 'json')
        self.warned = '\n'.join(warned)
        text = self.stdout.getvalue()
        return code, self.printed() if text else []

    def damage(self, set_: str, volume: str) -> str:
        """Flip a bit, and return the name of the object."""
        key = self.cinder.name(self.ids[set_, volume], '-00001')
        path = pathlib.Path(self.where, *key)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        return key[1]

    def bundle(self) -> str:
        path = self.path('bundle.json')
        bundles.save(bundles.make(
            self.cloud, self.find('tuesday'), self.timer), path)
        return path


class VerifyTest(TestCase):
    def test_each_backup_of_each_chain_is_verified(self) -> None:
        code, rows = self.verify('tuesday', '--store', self.where)
        self.assertEqual(0, code, self.errors())
        self.assertEqual(
            {(id_, volume, 'verified') for (_set, volume), id_
             in self.ids.items()},
            {(row['Backup ID'], row['Volume ID'], row['State'])
             for row in rows})
        self.assertEqual(list(commands.COLUMNS), list(rows[0]))

    def test_a_set_of_full_backups_needs_no_others(self) -> None:
        code, rows = self.verify('monday', '--store', self.where)
        self.assertEqual((0, 3), (code, len(rows)))

    def test_a_flipped_bit_makes_it_fail(self) -> None:
        name = self.damage('monday', 'db-vdb')
        code, rows = self.verify('tuesday', '--store', self.where)
        self.assertEqual(1, code)
        wrong = [row for row in rows if row['Problem']]
        self.assertEqual(
            [(self.ids['monday', 'db-vdb'], 'db-vdb', 'damaged', name),
             (self.ids['tuesday', 'db-vdb'], 'db-vdb', 'damaged', '')],
            [tuple(row.values())[:4] for row in wrong])
        self.assertEqual(4, sum(row['State'] == 'verified' for row in rows))

    def test_without_a_store_nothing_is_called_verified(self) -> None:
        code, rows = self.verify('tuesday')
        self.assertEqual(0, code, self.errors())
        self.assertEqual({'not_read'}, {row['State'] for row in rows})
        self.assertEqual(6, len(rows))
        self.assertIn('nothing is verified', self.warned)

    def test_a_parent_that_cinder_does_not_have_is_found(self) -> None:
        del self.a.rows[self.ids['monday', 'web-vda']]
        for options in (), ('--store', self.where):
            code, rows = self.verify('tuesday', *options)
            self.assertEqual(1, code)
            [missing] = [row for row in rows if 'record' in row['Problem']]
            self.assertEqual(
                self.ids['monday', 'web-vda'], missing['Backup ID'])

    def test_a_wrong_store_is_hinted_at(self) -> None:
        os.mkdir(self.path('empty'))
        code, rows = self.verify('monday', '--store', self.path('empty'))
        self.assertEqual((1, 3), (code, len(rows)))
        self.assertIn('see that --store names the right one', self.warned)

    def test_what_could_break_silently_is_warned_of(self) -> None:
        self.verify('monday', '--store', self.where)
        self.assertNotIn('without a checksum', self.warned)
        self.cinder.compression = 'none'
        id_ = self.ids['monday', 'db-vda']
        for key in self.cinder.names(id_):
            os.unlink(pathlib.Path(self.where, *key))
            del self.cinder.objects[key]
        record = self.cinder.backup(id_, 'db-vda', bytes(UNIT))
        self.a.rows[id_]['service_metadata'] = record.data['service_metadata']
        self.cinder.save(self.where)
        code, _rows = self.verify('monday', '--store', self.where)
        self.assertEqual(0, code)
        self.assertIn('4 of 24 objects are stored without a checksum',
                      self.warned)

    def test_a_set_that_is_not_consistent_is_warned_of(self) -> None:
        self.a.rows[self.ids['monday', 'db-vda']]['status'] = 'error'
        code, rows = self.verify('monday')
        self.assertEqual(1, code)
        self.assertIn('is incomplete', self.warned)
        self.assertEqual('Its status is error.', rows[0]['Problem'])

    def test_a_member_is_told_what_to_do(self) -> None:
        self.a.refusals['GET /backups/b'] = [
            cloud_api.CloudError('Policy does not allow it', 403)]
        self.assertEqual((1, []), self.verify('monday'))
        self.assertIn('use --bundle', self.errors())

    def test_progress_is_told_on_a_terminal(self) -> None:
        self.is_terminal = True
        self.verify('monday', '--store', self.where)
        self.assertIn('3 of 3 backups done', self.stderr.getvalue())

    def test_a_signal_stops_it(self) -> None:
        read = stores.Directory.read

        def interrupted(store: Any, *args: str) -> Any:
            # To the main thread, as from outside, and time for it to note it.
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
            return read(store, *args)

        self.patch(stores.Directory, 'read', interrupted)
        code, rows = self.verify(
            'monday', '--store', self.where, '--parallel', '1')
        self.assertEqual((143, []), (code, rows))
        self.assertIn('is not verified', self.errors())

    def test_what_is_asked_must_be_clear(self) -> None:
        for argv, why in (
            ((), 'Name a backup set'),
            (('monday', '--bundle', 'x', '--store', 'y'), 'Name a backup set'),
            (('--bundle', 'x'), 'name the store'),
            (('nothing', '--store', self.where), 'name or ID "nothing"'),
            (('monday', '--store', '/nowhere'), 'is no directory'),
        ):
            with self.subTest(argv):
                self.assertEqual((1, []), self.verify(*argv))
                self.assertIn(why, self.errors())

    def test_an_empty_variable_of_a_script_is_refused(self) -> None:
        for option in '--store', '--bundle':
            with self.subTest(option):
                self.assertEqual((2, []), self.verify('monday', option, ''))


class BundleTest(TestCase):
    def test_no_cinder_is_needed(self) -> None:
        path = self.bundle()
        self.here = None
        self.damage('tuesday', 'web-vda')
        with mock.patch.object(
            self.command, '_authenticate', side_effect=AssertionError
        ):
            code, rows = self.verify('--bundle', path, '--store', self.where)
        self.assertEqual(1, code)
        self.assertEqual(6, len(rows))
        self.assertEqual(1, sum(bool(row['Problem']) for row in rows))

    def test_a_parent_that_is_not_in_it_is_found(self) -> None:
        path = self.bundle()
        found = bundles.load(path)
        left: Any = dict(found.by_id)
        del left[self.ids['monday', 'db-vda']]
        bundles.save(bundles.Bundle(found.set_id, left), path)
        code, rows = self.verify('--bundle', path, '--store', self.where)
        self.assertEqual(1, code)
        self.assertIn('no record of backup', rows[0]['Problem'])

    def test_a_file_that_is_no_bundle_is_refused(self) -> None:
        path = pathlib.Path(self.path('thesis'))
        path.write_text('much work')
        code, rows = self.verify(
            '--bundle', str(path), '--store', self.where)
        self.assertEqual((1, []), (code, rows))
        self.assertIn('is no bundle', self.errors())


class SessionTest(TestCase):
    """Swift gets the token of the command, if there is one."""

    URL = 'https://swift.example/v1/AUTH_shop'

    def session_of(self, *argv: str, prepare: Any = None) -> Any:
        """Return the session with which Swift is asked."""
        made: list[Any] = []

        def connect(where: str, session: Any) -> stores.Store:
            made.append(session())
            return stores.Directory(self.where)

        self.patch(stores, 'connect', connect)
        self.patch(self.command, '_authenticate', prepare or mock.Mock())
        self.assertEqual(
            0, self.verify(*argv, '--store', self.URL)[0], self.errors())
        return made[0]

    def test_with_a_token(self) -> None:
        session = self.session_of('--bundle', self.bundle())
        session.get_token.assert_called_once_with()

    def test_without_one(self) -> None:
        session = self.session_of(
            '--bundle', self.bundle(),
            prepare=mock.Mock(side_effect=OSError('no clouds.yaml')))
        self.assertIsInstance(session, ksa_session.Session)
        self.assertIn(
            'asked without a token: no clouds.yaml', self.warned)

    def test_the_shell_authenticates_only_then(self) -> None:
        self.assertFalse(self.command.auth_required)
        app = mock.Mock()
        command = self.command(app, None)
        command._authenticate()
        app.prepare_to_run_command.assert_called_once_with(command)
        self.assertTrue(command.auth_required)
