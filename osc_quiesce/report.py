# SPDX-License-Identifier: Apache-2.0

"""How long the servers of a group were frozen, and whether it is proven."""

from collections.abc import Iterable
import dataclasses

from osc_quiesce import errors
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce import verbs


@dataclasses.dataclass
class Member:
    """One server of a group, and how long it was frozen.

    :ivar freeze: the request to quiesce it, and how far that came
    :ivar thaw: the same of the request to thaw it
    :ivar is_kept: whether :meth:`.group.Frozen.keep` leaves it quiesced
    :ivar is_proven: whether it is thawed, and neither the cloud nor another
        request, nor the guest by its own report, had ended its freeze before
    """

    freeze: verbs.Job
    thaw: verbs.Job
    is_kept: bool = False
    is_proven: bool = False

    @property
    def server(self) -> model.Server:
        """The server, as it was last seen before its thaw."""
        return self.freeze.server

    @property
    def id(self) -> str:
        """Its UUID."""
        return self.server.id

    @property
    def name(self) -> str:
        """Its name; '' if that is not known."""
        return self.server.name

    @property
    def seconds(self) -> float | None:
        """From the first request to quiesce it until it was seen thawed.

        An upper bound of how long it was frozen; None if it was not seen
        thawed.
        """
        asked, thawed = self.freeze.asked, _done(self.thaw)
        return None if asked is None or thawed is None else thawed - asked

    @property
    def to_thaw(self) -> bool:
        """Whether it may be frozen because of its group."""
        is_refused = self.freeze.action_id is None and isinstance(
            self.freeze.error, errors.Refused)
        if self.freeze.asked is None or is_refused or self.is_kept:
            return False
        return not self.thaw.is_done

    @property
    def doubt(self) -> str | None:
        """Why it is not certain that it stayed frozen; None if it is."""
        if self.is_proven:
            return None
        return self.thaw.doubt or _('it was not seen thawed')


@dataclasses.dataclass(frozen=True)
class Report:
    """How long the servers were frozen; durations by a monotonic clock.

    :param servers: each server, in the order of the stages
    """

    servers: tuple[Member, ...]

    @property
    def window(self) -> float | None:
        """Seconds from the first request to quiesce until the last thaw.

        An upper bound of how long any was frozen; None unless every thaw was
        seen.
        """
        thawed = _known(_done(member.thaw) for member in self.servers)
        if len(thawed) < len(self.servers):
            return None
        return max(thawed) - min(_known(m.freeze.asked for m in self.servers))

    @property
    def complete(self) -> float | None:
        """Seconds from when the last was seen frozen until the first thaw.

        A lower bound of how long all were frozen at once, if they are
        consistent; None before the thaw, and if not all were seen frozen.
        """
        thaws = _known(member.thaw.asked for member in self.servers)
        frozen = _known(_done(member.freeze) for member in self.servers)
        if not thaws or len(frozen) < len(self.servers):
            return None
        return min(thaws) - max(frozen)

    @property
    def is_consistent(self) -> bool:
        """Whether it is proven that all were frozen inside the block.

        Then what was saved inside was saved while all were frozen. False
        before the block is left.
        """
        return all(member.is_proven for member in self.servers)


def _done(job: verbs.Job) -> float | None:
    """Return when a job was done, by the clock; None if it was not."""
    return job.ended if job.is_done else None


def _known(times: Iterable[float | None]) -> list[float]:
    return [time for time in times if time is not None]
