# SPDX-License-Identifier: Apache-2.0

"""What the commands share: types of options, columns, and progress."""

import argparse
from collections.abc import Callable, Sequence
import contextlib
import math
import sys
from typing import Any, TypeAlias

from cliff import columns

from osc_quiesce.cli import interrupts
from osc_quiesce.i18n import _

#: what a command that lists something returns: names of columns, and rows
Table: TypeAlias = tuple[Sequence[str], list[tuple[Any, ...]]]
#: what one that shows something returns: names of fields, and their values
Record: TypeAlias = tuple[Sequence[str], tuple[Any, ...]]


class OptionalColumn(columns.FormattableColumn[Any]):
    """A value that may be missing: empty for people, null for machines."""

    def human_readable(self) -> str:
        return '' if self._value is None else str(self._value)


def timeout(text: str) -> float:
    """Return the positive number of seconds that an option gives."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(
        _('"%s" is not a positive number of seconds') % text)


def number(text: str) -> int:
    """Return the whole number that an option gives, of seconds or of sets."""
    with contextlib.suppress(ValueError):
        if int(text) > 0:
            return int(text)
    raise argparse.ArgumentTypeError(
        _('"%s" is not a whole number above 0') % text)


def check_columns(command: Any, parsed_args: argparse.Namespace,
                  names: Sequence[str]) -> None:
    """Raise now if the user has named a column that will not be there.

    cliff would say so only after the work, when it formats the result; it has
    no public method for this.
    """
    command._generate_columns_and_selector(parsed_args, names)


def progress_of(app: Any) -> Callable[[str], None]:
    """Return what tells the user of a program what is done next."""
    is_quiet = app.options.verbose_level == 0
    return (lambda sentence: None) if is_quiet else progress


def progress(sentence: str) -> None:
    """Say what is done next, on a terminal only."""
    if sys.stderr and sys.stderr.isatty():
        # The terminal may be gone, or stopped by Ctrl-S; the servers are not.
        with contextlib.suppress(OSError):
            if not interrupts.may_block(sys.stderr.fileno()):
                print(sentence, file=sys.stderr, flush=True)
