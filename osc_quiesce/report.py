# SPDX-License-Identifier: Apache-2.0

"""When the servers of a group were frozen, and whether that is proven."""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import datetime

from osc_quiesce import client as quiesce_client
from osc_quiesce import concurrency
from osc_quiesce import errors
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce import states


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
    :ivar doubt: why it is not certain that it stayed frozen; None if it is
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
    doubt: str | None = dataclasses.field(
        default_factory=lambda: _('it was not seen thawed'))
    error: errors.QuiesceError | None = None


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
        is_left and all(member.doubt is None for member in members))


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
        thaw_request_id=member.thaw_request_id, is_proven=member.doubt is None)


def _known(times: Iterable[float | None]) -> list[float]:
    return [time for time in times if time is not None]


def not_frozen(client: quiesce_client.Client, servers: Sequence[model.Server],
               request_id: str) -> list[errors.QuiesceError]:
    """Return why servers are not frozen by this request at this moment.

    :returns: an error for each server that is not; empty if all are
    """
    ids = [server.id for server in servers]
    try:
        rows = client.freezes(ids, all_projects=True)
    except errors.Forbidden:
        rows = client.freezes(ids)
    frozen = {row.server_id for row in rows
              # A server is quiesced a moment before its row says it.
              if row.request_id == request_id
              and row.state in (states.FREEZING, states.FROZEN)}
    return [errors.NoLongerQuiesced(_('Server %s is not quiesced by this '
                                      'request any more') % server.label,
                                    model.Server(server.id, server.name),
                                    request_id) for server in servers
            if server.id not in frozen]


def doubts(client: quiesce_client.Client,
           thaws: Mapping[model.Server, str]) -> dict[str, str]:
    """Return why servers may not have been frozen until their thaw.

    The guest may say so itself: some give up a freeze after a while.

    :param thaws: server to the id of the request that has thawed it
    :returns: UUID of server to a reason, of those that there is one for
    """

    def doubt(thaw: tuple[model.Server, str]) -> str:
        try:
            result = client.timer.until_answered(lambda: client.api.result(
                *thaw))
        except errors.QuiesceError as exc:
            return exc.why
        if result.result == states.SUCCESS:
            return ''
        return result.reason or _('Nova does not show how its thaw ended')

    reasons = concurrency.run_all(doubt, thaws.items())
    return {server.id: why for server, why in zip(thaws, reasons) if why}
