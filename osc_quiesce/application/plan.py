# SPDX-License-Identifier: Apache-2.0

"""The plan of a snapshot set, and every reason why it cannot be made."""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
from typing import Any

from osc_quiesce.application import errors
from osc_quiesce.application import snapshot_sets
from osc_quiesce.i18n import _
from osc_quiesce import model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Server(model.Server):
    """A server of the plan.

    :param stage: number of its stage, from 0
    :param unquiesce_after: seconds
    :param restore: its manifest: see :mod:`.manifest`
    :param refused: why it cannot be part of a snapshot set
    :param newest_change: id of the newest request that has attached or
        detached a volume; None if there was none
    :param newest_quiesce: the same of the newest request to quiesce
    """

    stage: int
    unquiesce_after: int
    restore: Mapping[str, Any]
    refused: tuple[str, ...]
    newest_change: str | None = None
    newest_quiesce: str | None = None

    @property
    def volumes(self) -> Sequence[Mapping[str, Any]]:
        """The manifests of its volumes, in the order of their devices."""
        found: Sequence[Mapping[str, Any]] = self.restore['volumes']
        return found


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a command freezes and takes snapshots of.

    :param name: of the snapshot set
    :param problems: why nothing can be done, apart from what is refused for
        single servers
    :param description: of the snapshots
    :param properties: metadata that each snapshot gets
    :param sets_before: the ids of the snapshot sets that there were
    """

    name: str
    application: str
    servers: tuple[Server, ...]
    problems: tuple[str, ...] = ()
    description: str = ''
    properties: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sets_before: frozenset[str] = frozenset()

    @property
    def stages(self) -> list[list[Server]]:
        """The servers of each stage."""
        numbers = sorted({server.stage for server in self.servers})
        return [[s for s in self.servers if s.stage == number]
                for number in numbers]

    @property
    def snapshots(self) -> list[tuple[Server, Mapping[str, Any]]]:
        """Each volume once, with the first server that it is attached to."""
        found: dict[str, tuple[Server, Mapping[str, Any]]] = {}
        for server in self.servers:
            for volume in server.volumes:
                if not volume['excluded']:
                    found.setdefault(volume['id'], (server, volume))
        return list(found.values())

    @property
    def refusals(self) -> tuple[str, ...]:
        """Every reason why this cannot be done; empty if it can."""
        return self.problems + tuple(
            # Translators: the reason has no subject, such as "is locked".
            _('Server %(server)s %(why)s.') % {
                'server': server.label, 'why': why}
            for server in self.servers for why in server.refused)


def name_problems(found: Iterable[snapshot_sets.SnapshotSet],
                  name: str) -> list[str]:
    """Return why a set cannot have this name beside those that there are."""
    if all(each.name != name for each in found):
        return []
    return [_('There is a snapshot set "%s" already: choose another name, or '
              'delete it.') % name]


def check(plan: Plan) -> None:
    """Raise errors.NotPossible if the plan has refusals."""
    if plan.refusals:
        raise errors.NotPossible(plan.refusals)
