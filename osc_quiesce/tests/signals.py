# SPDX-License-Identifier: Apache-2.0

"""The signals of a terminal, however the tests were started.

A shell starts what it runs in the background with SIGINT ignored, and nohup
does the same to SIGHUP.  Programs hand that down, and our commands respect
it, as they should.
"""

import signal
import unittest

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
#: the exit codes of commands that they have stopped
CODES = (130, 143, 129, 131)


def as_in_terminal(test: unittest.TestCase) -> None:
    """Let no signal be ignored during a test, nor by what it starts."""
    for number in SIGNALS:
        usual = (
            signal.default_int_handler
            if number == signal.SIGINT
            else signal.SIG_DFL
        )
        test.addCleanup(signal.signal, number, signal.signal(number, usual))
