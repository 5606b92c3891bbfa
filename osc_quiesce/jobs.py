# SPDX-License-Identifier: Apache-2.0

"""What is noted of one request about one server."""

from collections.abc import Iterator
import dataclasses

from osc_quiesce import errors
from osc_quiesce import model
from osc_quiesce import retry


@dataclasses.dataclass
class Job:
    """One request about one server, and what came of it.

    Times are seconds by the clock of the client.

    :param server: the server, as it was last seen
    :param request_id: the request to quiesce; None if that is not known
    :param action_id: the request that was sent or is waited for; None if there
        was nothing to do, or if it is certain that nothing was accepted
    :param is_accepted: whether the cloud has answered the request
    :ivar begun: when it was its turn
    :ivar asked: when it was first asked; None if it was not
    :ivar ended: when it got there, or failed to; None before
    :ivar error: why it did not get there; None if it did
    :ivar unquiesce_at: when the cloud thaws the server automatically, such as
        ``2026-11-23T03:45:00Z``; None if it does not
    :ivar doubt: of a thaw that got there: why it is not certain that the
        server was frozen by the request until then; None if it is certain
    """

    server: model.Server
    request_id: str | None = None
    action_id: str | None = None
    is_accepted: bool = False
    begun: float = 0.0
    asked: float | None = None
    ended: float | None = None
    error: errors.QuiesceError | None = None
    unquiesce_at: str | None = None
    doubt: str | None = None
    # By the table of freezes, until its thaw; None if that does not tell
    has_held: bool | None = None
    is_busy: bool = False  # a request is under way
    is_alone: bool = False  # the table of freezes does not tell enough
    due: float = 0.0  # the next request
    trouble: errors.QuiesceError | None = None  # with the last request
    at_rest_since: float | None = None  # seen without a task
    pauses: Iterator[float] = dataclasses.field(  # between two requests
        default_factory=retry.pauses)

    @property
    def is_done(self) -> bool:
        """Whether the server got there."""
        return self.ended is not None and self.error is None

    @property
    def seconds(self) -> float:
        """How long was waited until it ended."""
        return 0.0 if self.ended is None else self.ended - self.begun
