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

"""What the commands share: types of options, and progress."""

from __future__ import annotations

import argparse
import math
import sys

from osc_quiesce.i18n import _


def timeout(text: str) -> float:
    """Return the positive number of seconds that an option gives."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(
            _('"%s" is not a positive number of seconds') % text
        )
    return seconds


def whole_seconds(text: str) -> int:
    """Return the whole number of seconds that an option gives."""
    try:
        seconds = int(text)
    except ValueError:
        seconds = 0
    if seconds < 1:
        raise argparse.ArgumentTypeError(
            _('"%s" is not a whole number of seconds above 0') % text
        )
    return seconds


def progress(message: str) -> None:
    """Say what is done next, on a terminal only."""
    if sys.stderr and sys.stderr.isatty():
        try:
            print(message, file=sys.stderr, flush=True)
        except OSError:
            pass  # the terminal is gone; the servers are not
