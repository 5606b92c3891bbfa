# SPDX-License-Identifier: Apache-2.0

"""Tests of the thread that sends notifications."""

import functools
import threading
import unittest
from unittest import mock

from nova_quiesce import notifier

#: seconds after which a test fails
PATIENCE = 30


class TestNotifier(unittest.TestCase):
    """Notifications are sent in order, and hold up nobody."""

    def setUp(self) -> None:
        super().setUp()
        self.notify = notifier.Notifier()
        self.sent: list[str] = []
        self.broker = threading.Event()
        self.addCleanup(self.broker.set)

    def wait_for_broker(self) -> None:
        self.assertTrue(self.broker.wait(PATIENCE))

    def test_the_caller_does_not_wait(self) -> None:
        self.notify(self.wait_for_broker)
        for what in 'start', 'end':
            self.notify(functools.partial(self.sent.append, what))
        self.assertEqual([], self.sent)
        self.broker.set()
        self.notify.close(PATIENCE)
        self.assertEqual(['start', 'end'], self.sent)

    def test_a_thread_that_does_not_start_is_started_later(self) -> None:
        with mock.patch.object(threading.Thread, 'start',
                               side_effect=RuntimeError('no more threads')):
            for what in 'first', 'second':
                with self.assertRaises(RuntimeError):
                    self.notify(functools.partial(self.sent.append, what))
        self.notify(functools.partial(self.sent.append, 'third'))
        self.notify.close(PATIENCE)
        self.assertEqual(['third'], self.sent)

    def test_the_end_waits_only_as_long_as_it_may(self) -> None:
        self.notify(self.wait_for_broker)
        self.notify(lambda: self.sent.append('late'))
        self.notify.close(0.2)
        self.assertEqual([], self.sent)

    def test_more_than_can_wait_are_dropped_and_told(self) -> None:
        with mock.patch.object(notifier, 'MOST', 2):
            self.notify = notifier.Notifier()
            began = threading.Event()

            def block() -> None:
                began.set()
                self.wait_for_broker()

            self.notify(block)
            self.assertTrue(began.wait(PATIENCE))
            with self.assertLogs(notifier.LOG.logger, 'WARNING') as log:
                for what in 'first', 'second', 'third':
                    self.notify(functools.partial(self.sent.append, what))
        self.assertEqual(1, len(log.output))
        self.assertIn('2 wait for the broker', log.output[0])
        self.broker.set()
        self.notify.close(PATIENCE)
        self.assertEqual(['first', 'second'], self.sent)
