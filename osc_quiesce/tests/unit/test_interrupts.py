# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import signal
import threading
import unittest

from osc_quiesce import interrupts
from osc_quiesce.tests import signals


class TestInterrupts(unittest.TestCase):
    def setUp(self) -> None:
        super().setUp()
        signals.as_in_terminal(self)
        self.interrupts = interrupts.Interrupts()
        self.interrupts.install('stopping', 'still stopping')
        self.addCleanup(self.interrupts.restore)

    def test_a_signal_wakes_up_the_sleeper(self) -> None:
        killer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM))
        killer.start()
        self.addCleanup(killer.join)
        with self.assertRaises(interrupts.Interrupted) as caught:
            self.interrupts.sleep(3600)
        self.assertEqual(143, caught.exception.exit_code)

    def test_the_first_signal_decides_the_exit_code(self) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGINT)
        with self.assertRaises(interrupts.Interrupted) as caught:
            self.interrupts.check()
        self.assertEqual(129, caught.exception.exit_code)

    def test_nothing_is_raised_while_shielded(self) -> None:
        with self.interrupts.shielded():
            os.kill(os.getpid(), signal.SIGINT)
            self.interrupts.sleep(0)
            self.interrupts.check()
        with self.assertRaises(interrupts.Interrupted):
            self.interrupts.sleep(3600)

    def test_the_handlers_of_before_come_back(self) -> None:
        self.assertNotEqual(
            signal.default_int_handler, signal.getsignal(signal.SIGINT)
        )
        self.interrupts.restore()
        self.assertEqual(
            signal.default_int_handler, signal.getsignal(signal.SIGINT)
        )
