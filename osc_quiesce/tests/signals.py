# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""The signals of a terminal, however the tests were started.

A shell starts what it runs in the background with SIGINT ignored, and nohup
does the same to SIGHUP.  Programs hand that down, and our commands respect
it, as they should.
"""

import signal
import unittest

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def as_in_terminal(test: unittest.TestCase) -> None:
    """Let no signal be ignored during a test, nor by what it starts."""
    for number in SIGNALS:
        usual = (
            signal.default_int_handler
            if number == signal.SIGINT
            else signal.SIG_DFL
        )
        test.addCleanup(signal.signal, number, signal.signal(number, usual))
