# SPDX-License-Identifier: Apache-2.0

"""What the commands of both shells have in common.

What the user has to know of the troubles on the way is logged. It parses no
arguments and prints no results: the shells do.
"""

from collections.abc import Callable
import logging
from typing import TextIO

from osc_quiesce.cli import interrupts
from osc_quiesce import client as quiesce_client

LOG = logging.getLogger(__name__)


class Command:
    """What both commands have in common: finding, signals and exit code.

    Parameters of their methods are options, as their help explains them.

    :param get_client: returns the client
    :param progress: is told what is done next, in a sentence
    :param unquiesce_command: how the user of this shell thaws a server
    :ivar exit_code: what it would be if the command ended now
    """

    def __init__(self, get_client: Callable[[], quiesce_client.Client],
                 progress: Callable[[str], None],
                 unquiesce_command: str) -> None:
        self.exit_code = 0
        self._interrupts = interrupts.Interrupts()
        self._get_client = get_client
        self._progress = progress
        self._unquiesce_command = unquiesce_command

    def run(self, work: Callable[[], object], out: TextIO) -> int:
        """Do the work, tell the user, and return the exit code.

        :param work: calls the one method of the command to call,
            and writes what came of it
        :param out: what it writes to
        """
        try:
            work()
            # A broken pipe must count as a failure.
            out.flush()
            self._interrupts.check()
            self._interrupts.restore()
            # No signal comes after the last look at them.
            self._interrupts.check()
        except BaseException as exc:
            self._undo()
            if not isinstance(exc, interrupts.Interrupted):
                raise
            self.exit_code = exc.exit_code
        finally:
            self._interrupts.restore()
        return self.exit_code

    def _undo(self) -> None:
        """Undo what must not stay if the command does not go well."""

    def _client(self) -> quiesce_client.Client:
        return self._get_client().with_sleep(self._interrupts.sleep)

    def _fail(self, message: str) -> None:
        LOG.error('%s', message)
        self.exit_code = self.exit_code or 1
