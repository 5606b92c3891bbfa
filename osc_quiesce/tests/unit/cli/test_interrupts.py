# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import unittest
from unittest import mock

from osc_quiesce.cli import interrupts
from osc_quiesce.tests import signals


class TestInterrupts(unittest.TestCase):
    def setUp(self) -> None:
        super().setUp()
        signals.as_in_terminal(self)
        # The first words go past sys.stderr.
        patch = mock.patch.object(os, 'write')
        self.write = patch.start()
        self.addCleanup(patch.stop)
        self.interrupts = interrupts.Interrupts()
        self.interrupts.install('stopping', 'still stopping')
        self.addCleanup(self.interrupts.restore)

    @property
    def said(self) -> list[str]:
        return [call.args[1].decode() for call in self.write.mock_calls]

    def test_a_signal_wakes_up_the_sleeper(self) -> None:
        killer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM))
        killer.start()
        self.addCleanup(killer.join)
        with self.assertRaises(interrupts.Interrupted) as caught:
            self.interrupts.sleep(3600)
        self.assertEqual(143, caught.exception.exit_code)

    def test_nothing_is_said_in_the_background_of_a_terminal(self) -> None:
        # It may stop who writes (stty tostop).
        other, ours = os.openpty()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, other)
        for group, expected in (os.getpgrp(), False), (1, True):
            with mock.patch.object(os, 'tcgetpgrp', return_value=group):
                self.assertIs(expected, interrupts.may_block(ours))
        # Not the terminal of this process.
        self.assertFalse(interrupts.may_block(ours))

    def test_the_first_signal_decides_the_exit_code(self) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGINT)
        with self.assertRaises(interrupts.Interrupted) as caught:
            self.interrupts.check()
        self.assertEqual(129, caught.exception.exit_code)

    def test_no_signal_raises_while_shielded(self) -> None:
        with self.interrupts.shielded():
            os.kill(os.getpid(), signal.SIGINT)
            self.interrupts.sleep(0)
            self.interrupts.check()
        with self.assertRaises(interrupts.Interrupted):
            self.interrupts.sleep(3600)

    def test_a_shield_ends_with_the_last_who_is_behind_it(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        with self.interrupts.shielded():
            with self.interrupts.shielded():
                pass
            self.interrupts.check()
        with self.assertRaises(interrupts.Interrupted):
            self.interrupts.check()

    def test_restore_gives_the_signals_back(self) -> None:
        self.assertNotEqual(
            signal.default_int_handler, signal.getsignal(signal.SIGINT)
        )
        self.interrupts.restore()
        self.assertEqual(
            signal.default_int_handler, signal.getsignal(signal.SIGINT)
        )

    def test_restore_forgets_no_signal(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        self.interrupts.restore()
        with self.assertRaises(interrupts.Interrupted) as caught:
            self.interrupts.check()
        self.assertEqual(143, caught.exception.exit_code)

    def test_each_signal_is_answered_at_once(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        self.assertEqual(
            ['SIGTERM: stopping\n', 'SIGINT: still stopping\n'], self.said
        )

    def test_a_terminal_that_is_gone_does_not_matter(self) -> None:
        self.write.side_effect = OSError
        os.kill(os.getpid(), signal.SIGHUP)
        with self.assertRaises(interrupts.Interrupted):
            self.interrupts.check()

    def test_more_signals_than_the_socket_holds_do_not_matter(self) -> None:
        for _number in range(5000):
            signal.raise_signal(signal.SIGTERM)
        with self.assertRaises(interrupts.Interrupted):
            self.interrupts.sleep(3600)

    def test_no_handler_is_installed_in_another_thread(self) -> None:
        self.interrupts.restore()
        handler = signal.getsignal(signal.SIGTERM)
        others = interrupts.Interrupts()
        thread = threading.Thread(target=others.install, args=('', ''))
        thread.start()
        thread.join()
        self.assertEqual(handler, signal.getsignal(signal.SIGTERM))
        others.sleep(0)


class TestBlocked(unittest.TestCase):
    def test_a_stderr_that_takes_no_word_holds_up_nothing(self) -> None:
        ours, theirs = os.pipe()
        self.addCleanup(os.close, ours)
        os.set_blocking(theirs, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(theirs, b'x' * 4096)
        os.set_blocking(theirs, True)
        done = subprocess.run(
            [sys.executable, '-c',
             'import signal; from osc_quiesce.cli import interrupts; '
             'noted = interrupts.Interrupts(); noted.install("first", ""); '
             'signal.raise_signal(signal.SIGTERM); print("goes on")'],
            stdout=subprocess.PIPE, stderr=theirs, timeout=10)
        os.close(theirs)
        self.assertEqual(b'goes on\n', done.stdout)


class TestEnd(unittest.TestCase):
    """How a command ends that was interrupted, as its parent sees it."""

    def setUp(self) -> None:
        signals.as_in_terminal(self)

    def ends(self, call: str, before: str = 'pass') -> int:
        return subprocess.run(  # noqa: S603
            [sys.executable, '-c',
             'import signal, sys; from osc_quiesce.cli import interrupts; '
             f'{before}; print("a table"); sys.exit(interrupts.end({call}))'],
            stdout=subprocess.DEVNULL,
        ).returncode

    def test_it_dies_of_the_signal(self) -> None:
        for signum in signals.SIGNALS:
            with self.subTest(signum.name):
                self.assertEqual(-signum, self.ends(str(128 + signum)))

    def test_it_dies_of_the_signal_also_without_a_stdout(self) -> None:
        self.assertEqual(
            -signal.SIGTERM, self.ends('143', 'sys.stdout = None'))

    def test_what_it_has_printed_is_not_lost(self) -> None:
        done = subprocess.run(
            [sys.executable, '-c',
             'from osc_quiesce.cli import interrupts; '
             'print("a table"); interrupts.end(143)'],
            stdout=subprocess.PIPE,
        )
        self.assertEqual(b'a table\n', done.stdout)

    def test_other_exit_codes_are_left(self) -> None:
        for code in (0, 1, 2, 255):
            with self.subTest(code):
                self.assertEqual(code, interrupts.end(code))

    def test_the_interactive_shell_survives_ctrl_c_alone(self) -> None:
        self.assertEqual(130, interrupts.end(130, is_interactive=True))
        self.assertEqual(-signal.SIGTERM, self.ends('143, True'))

    def test_who_handles_the_signal_gets_the_exit_code(self) -> None:
        for handler in ('signal.SIG_IGN', 'print'):
            with self.subTest(handler):
                self.assertEqual(143, self.ends(
                    '143', f'signal.signal(signal.SIGTERM, {handler})'))

    def test_another_thread_gets_the_exit_code(self) -> None:
        codes: list[int] = []
        thread = threading.Thread(
            target=lambda: codes.append(interrupts.end(143)))
        thread.start()
        thread.join()
        self.assertEqual([143], codes)
