# SPDX-License-Identifier: Apache-2.0

"""What a restore has done: where everything is, proven or not, how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import datetime
from typing import Any

from osc_quiesce.recovery import points
from osc_quiesce.recovery import protection


@dataclasses.dataclass
class Volume:
    """A restored volume.

    :param verified: whether it is proven to be equal to its backup
    :param seconds: to restore it, and to prove it
    """

    stage: int
    server: str
    device: str
    source_id: str
    id: str
    copy_id: str
    size: int
    verified: bool = False
    seconds: float = 0.0


@dataclasses.dataclass
class Server:
    """A restored server.

    :param agent: ``answered`` or ``not_asked``
    :param checked: whether the user's command succeeded
    :param seconds: until it was active and checked
    """

    stage: int
    name: str
    source_id: str
    id: str
    status: str
    addresses: list[str]
    agent: str = ''
    checked: bool = False
    seconds: float = 0.0


@dataclasses.dataclass
class Report:
    """What one run of a restore has done.

    :param rpo: seconds from the moment of the set to the failure, or to the
        begin of the restore; None if the moment is damaged
    :param phases: seconds of each, in their order
    """

    id: str
    name: str
    point: points.Point
    rpo: float | None
    clock: Callable[[], float]
    volumes: list[Volume] = dataclasses.field(default_factory=list)
    servers: list[Server] = dataclasses.field(default_factory=list)
    phases: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def rto(self) -> float:
        """Seconds of all phases together."""
        return sum(self.phases.values())

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count how long a phase takes, also if it fails."""
        started = self.clock()
        try:
            yield
        finally:
            self.phases[name] = (
                self.phases.get(name, 0.0) + self.clock() - started)

    def rows(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        return {'phases': {k: round(v, 1) for k, v in self.phases.items()},
                'volumes': [_rounded(each) for each in self.volumes],
                'servers': [_rounded(each) for each in self.servers]}


def rpo(created_at: str,
        failed_at: datetime.datetime | None = None) -> float | None:
    """Return how many seconds of work are lost; None if that is not known.

    :param created_at: the moment of the set, such as ``2026-11-29T02:00:00Z``
    :param failed_at: when the source failed; by default now
    """
    moment = protection.moment(created_at)
    if moment is None:
        return None
    end = failed_at or datetime.datetime.now(datetime.UTC)
    return (end - moment).total_seconds()


def _rounded(row: Volume | Server) -> dict[str, Any]:
    return {
        **dataclasses.asdict(row),
        'stage': row.stage + 1,  # people count from 1
        'seconds': round(row.seconds, 1),
    }
