# SPDX-License-Identifier: Apache-2.0

"""How long is waited, how often servers are polled, and what repeats a call.

All durations are in seconds, by a clock that never goes back.
"""

from collections.abc import Callable, Iterator
import dataclasses
import time
from typing import Final, TypeVar

#: for which a command waits for servers, unless it is told otherwise
DEFAULT_TIMEOUT: Final = 120.0
#: for which a group waits for each stage, unless it is told otherwise
GROUP_TIMEOUT: Final = 600.0
#: for which a request is repeated that is not answered
PATIENCE: Final = 30.0
#: for which a request that only reads is repeated
READ_PATIENCE: Final = 10.0
#: for which silence is endured at an attempt, unless the last one has failed:
#: another host of the API may be faster
FIRST_ATTEMPT: Final = 10.0
#: for which one server can hold up the thaw of the next one
ORDER_TIME: Final = 3.0
#: for which the cloud can hold up a thaw, or a look, by ``Retry-After``
LONGEST_DEFERRAL: Final = 5.0
#: between a state of a server and the result of the instance action
SETTLE_TIME: Final = 5.0

# Between two looks: short at first, then longer.
_FIRST_PAUSE: Final = 0.05
_PAUSE_GROWTH: Final = 1.25
_LONGEST_PAUSE: Final = 2.0

_T = TypeVar('_T')


def pauses() -> Iterator[float]:
    """Yield pauses between two attempts, or two looks."""
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * _PAUSE_GROWTH, _LONGEST_PAUSE)


@dataclasses.dataclass(frozen=True)
class Timer:
    """The clock by which is waited, and what waits.

    :param clock: returns seconds, never going back
    :param sleep: is called to pause; an exception that it raises ends what
        it is called for, and it is called with 0 where that is safe
    """

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep

    def until_answered(self, call: Callable[[], _T],
                       patience: float = READ_PATIENCE) -> _T:
        """Return what a request returns, repeated as long as that may help.

        It may if the error that it raises has an attribute ``is_transient``
        that is true, and ``retry_after``: the least seconds to wait.

        :param patience: after how many seconds not to repeat it any more
        :raises Exception: what the last attempt has raised
        """
        deadline = self.clock() + patience
        waits = pauses()
        while True:
            try:
                return call()
            except Exception as exc:
                if not getattr(exc, 'is_transient', False):
                    raise
                pause = max(getattr(exc, 'retry_after', 0.0), next(waits))
                if self.clock() + pause > deadline:
                    raise
            self.sleep(pause)
