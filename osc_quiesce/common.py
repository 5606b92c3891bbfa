# SPDX-License-Identifier: Apache-2.0

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
