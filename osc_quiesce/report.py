# SPDX-License-Identifier: Apache-2.0

"""When the servers of a group were frozen, and whether that is proven."""

from collections.abc import Iterable, Sequence
import dataclasses
import datetime

from osc_quiesce import errors
from osc_quiesce import model


@dataclasses.dataclass(frozen=True)
class ServerReport:
    """When one server was frozen, as far as the caller can know. UTC.

    :param requested_at: just before it was asked to quiesce; it was not
        frozen before
    :param frozen_at: when it was first seen frozen; it was frozen then, or
        shortly before: an upper bound
    :param thaw_requested_at: just before it was asked to thaw; None before
    :param thawed_at: when it was first seen thawed, or gone: an upper bound;
        None if it was not
    :param seconds: from requested_at to thawed_at: an upper bound of how
        long it was frozen; None without a thawed_at
    :param thaw_request_id: id of the request to thaw it; None if none was
        needed, for example because it was thawed before
    :param is_proven: whether the cloud has confirmed that it was frozen
        without a break until the request to thaw it
    """

    id: str
    name: str
    requested_at: datetime.datetime | None
    frozen_at: datetime.datetime | None
    thaw_requested_at: datetime.datetime | None
    thawed_at: datetime.datetime | None
    seconds: float | None
    thaw_request_id: str | None
    is_proven: bool


@dataclasses.dataclass(frozen=True)
class Report:
    """How long the servers were frozen; durations by a monotonic clock.

    :param servers: each server, in the order of the stages
    :param window: seconds from the first request to quiesce until the last
        thaw was seen: an upper bound of how long any was frozen; None unless
        every thaw was seen
    :param complete: seconds from when the last server was seen frozen until
        just before the first request to thaw: a lower bound of how long all
        were frozen at once, if they are consistent; None before the thaw, and
        if not all were seen frozen
    :param is_consistent: whether it is proven, for every server, that what
        was saved inside the block was saved while all were frozen; False
        before the block is left
    """

    servers: tuple[ServerReport, ...]
    window: float | None
    complete: float | None
    is_consistent: bool


@dataclasses.dataclass
class Member:
    """One server of a group, and how far it came; times are by the clock.

    :ivar server: as it was last seen
    :ivar to_thaw: whether it may be frozen because of this group
    :ivar doubt: why it is not certain that it stayed frozen
    :ivar is_proven: whether that is certain
    :ivar error: why it was not thawed
    """

    server: model.Server
    to_thaw: bool = False
    requested: float | None = None
    frozen: float | None = None
    unquiesce_at: str | None = None
    thaw_requested: float | None = None
    thawed: float | None = None
    thaw_request_id: str | None = None
    doubt: str | None = None
    error: errors.QuiesceError | None = None
    is_proven: bool = False


def make(members: Sequence[Member], zero: datetime.datetime,
         is_left: bool) -> Report:
    """Return what is known of a group so far.

    :param zero: what the clock's zero is in UTC
    :param is_left: whether its block is left
    """
    window = complete = None
    thawed = [m.thawed for m in members]
    if None not in thawed:
        window = max(_known(thawed)) - min(_known(
            m.requested for m in members))
    thaws = _known(m.thaw_requested for m in members)
    frozen = [m.frozen for m in members]
    if thaws and None not in frozen:
        complete = min(thaws) - max(_known(frozen))
    return Report(
        tuple(_of(member, zero) for member in members), window, complete,
        is_left and all(member.is_proven for member in members))


def _of(member: Member, zero: datetime.datetime) -> ServerReport:
    def utc(seconds: float | None) -> datetime.datetime | None:
        if seconds is None:
            return None
        return zero + datetime.timedelta(seconds=seconds)

    seconds = None
    if member.requested is not None and member.thawed is not None:
        seconds = member.thawed - member.requested
    return ServerReport(
        id=member.server.id, name=member.server.name,
        requested_at=utc(member.requested), frozen_at=utc(member.frozen),
        thaw_requested_at=utc(member.thaw_requested),
        thawed_at=utc(member.thawed), seconds=seconds,
        thaw_request_id=member.thaw_request_id, is_proven=member.is_proven)


def _known(times: Iterable[float | None]) -> list[float]:
    return [time for time in times if time is not None]
