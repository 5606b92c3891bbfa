# SPDX-License-Identifier: Apache-2.0

"""What can go wrong with an application, in words."""

from collections.abc import Sequence


class ApplicationError(Exception):
    """Something cannot be done; the message says what to do about it.

    :param fact: what happened
    :param advice: what is left as it is, and what to do; it is only right as
        long as everything is left as it is
    """

    def __init__(self, fact: str, advice: str = '') -> None:
        super().__init__(f'{fact} {advice}' if advice else fact)
        self.fact = fact
        self.advice = advice


class SpecError(ApplicationError):
    """application.yaml is not valid."""


class NotPossible(ApplicationError):
    """A snapshot set cannot be made; nothing was frozen.

    :param reasons: all of them, a sentence each
    """

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__(' '.join(reasons))
