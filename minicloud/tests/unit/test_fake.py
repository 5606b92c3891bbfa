# SPDX-License-Identifier: Apache-2.0

import os
import pathlib
import tempfile
import unittest
from typing import Any
from unittest import mock

import nova_quiesce.tests  # noqa: F401  (chooses Nova's threads, so first)

from nova import exception
from nova.compute import power_state
from nova.virt import fake as nova_fake

from minicloud.virt import fake

IMAGE: Any = mock.Mock(properties={'hw_qemu_guest_agent': True})


class TestFakeDriver(unittest.TestCase):

    def setUp(self) -> None:
        home = tempfile.TemporaryDirectory()
        self.addCleanup(home.cleanup)
        patch = mock.patch.dict(os.environ, {'MINICLOUD_ROOT': home.name})
        patch.start()
        self.addCleanup(patch.stop)
        self.log = pathlib.Path(home.name, 'state', 'guests', 'u')
        self.log.parent.mkdir(parents=True)
        self.driver = fake.FakeDriver(mock.Mock())
        self.driver.init_host('cmp1')
        self.driver.instances['u'] = nova_fake.FakeInstance(
            'instance-1', power_state.RUNNING, 'u')

    def _ask(self, quiesce: str = '', unquiesce: str = '',
             thaw: bool = False) -> str:
        """Return what a freeze or thaw raises, or an empty text."""
        instance: Any = mock.Mock(uuid='u', metadata={
            fake.QUIESCE: quiesce, fake.UNQUIESCE: unquiesce})
        instance.name = 'instance-1'
        ask = self.driver.unquiesce if thaw else self.driver.quiesce
        try:
            ask(mock.Mock(), instance, IMAGE)
        except exception.InternalError as error:
            return str(error)
        return ''

    def _history(self) -> list[str]:
        if not self.log.exists():
            return []
        return [line.split()[0] for line in self.log.open()]

    def test_without_metadata_all_succeeds(self) -> None:
        self.assertEqual('', self._ask())
        self.assertEqual('', self._ask(thaw=True))
        self.assertEqual(['frozen', 'thawed'], self._history())

    def test_an_agent_that_does_not_freeze(self) -> None:
        for word, text in (
                ('blocked', 'Command guest-fsfreeze-freeze has been disabled: '
                            'the command is not allowed'),
                ('disabled', 'The command guest-fsfreeze-freeze has been '
                             'disabled for this instance'),
                ('nocommand', 'The command guest-fsfreeze-freeze has not been '
                              'found'),
                ('novss', 'not currently supported'),
                ('hook', 'fsfreeze hook has failed with status 1'),
                ('denied', 'failed to open /data: Permission denied'),
                ('deadlock', 'Resource deadlock avoided'),
                ('unknown', 'the moon')):
            with self.subTest(word):
                said = self._ask(word)
                self.assertIn(text, said)
                self.assertIn(
                    "[Error Code 1] internal error: unable to execute QEMU "
                    "agent command 'guest-fsfreeze-freeze': ", said)
                self.assertIn(
                    '[Error Code 113] guest agent command failed: unable',
                    self._ask(word + ':113'))
        self.assertEqual([], self._history())

    def test_a_guest_that_is_gone(self) -> None:
        with self.assertRaises(exception.InstanceNotFound):
            self._ask('gone')

    def test_frozen_by_somebody_else(self) -> None:
        for word, text in (
                ('frozen', '[Error Code 1] internal error: unable to execute '
                           "QEMU agent command 'guest-fsfreeze-freeze': "
                           'Command guest-fsfreeze-freeze has been disabled: '
                           'the agent is in frozen state'),
                ('frozen:blocked', 'the command is not allowed'),
                ('frozen:disabled', 'disabled for this instance'),
                ('frozen:113', '[Error Code 113] guest agent command failed: '
                               'unable to execute')):
            with self.subTest(word):
                self.assertIn(text, self._ask(word))
        self.assertEqual(['frozen'], self._history())

    def test_an_agent_that_cannot_thaw(self) -> None:
        self._ask()
        for word, text in (
                ('blocked', 'Command guest-fsfreeze-thaw has been disabled: '
                            'the command is not allowed'),
                ('nocommand', 'The command guest-fsfreeze-thaw has not been '
                              'found'),
                ('fail', 'state change lock')):
            with self.subTest(word):
                self.assertIn(text, self._ask(unquiesce=word, thaw=True))
        self.assertEqual(['frozen'], self._history())

    def test_a_freeze_that_lapses(self) -> None:
        self._ask()
        self.assertIn('limited up to 10 seconds',
                      self._ask(unquiesce='lapsed', thaw=True))
        self.assertEqual('', self._ask(unquiesce='lapsed', thaw=True))
        self.assertEqual(['frozen', 'thawed', 'thawed'], self._history())
