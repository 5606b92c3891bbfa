# SPDX-License-Identifier: Apache-2.0

"""Whose turn it is when several commands want the same servers.

If each is first at one of the servers, each is refused at another one, and
thaws what it had. The command whose first request to quiesce is the oldest may
then try again; the others are told by whom they were refused. All go by what
Nova has recorded of the requests. So commands over the same servers agree on
which one that is; of those that share only some, several may take themselves
for the oldest, and none may get all of its servers.

It waits only while nothing of its own command is frozen, and never for long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import datetime
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import plan as planning
from osc_quiesce.application import sets
from osc_quiesce import client as quiesce_client
from osc_quiesce import consistency
from osc_quiesce import exceptions
from osc_quiesce.i18n import _
from osc_quiesce import states
from osc_quiesce import threads
from osc_quiesce import transport

ATTEMPTS: Final = 3  # to freeze all servers
PATIENCE: Final = 10.0  # seconds, for others to let go of the servers


class TurnLost(errors.ApplicationError):
    """Another command goes first; nothing of ours is left."""


@dataclasses.dataclass(frozen=True, order=True)
class _Request:
    """A request to quiesce, as Nova has recorded it; the oldest is the least.

    Requests of the same moment have some order, and all see the same one.
    """

    started: datetime.datetime
    id: str
    server: str = dataclasses.field(compare=False)


@dataclasses.dataclass(frozen=True)
class _Look:
    """What Nova says of a server.

    :param actions: its instance actions, the newest first
    """

    server: planning.Server
    vm_state: str | None
    task_state: str | None
    actions: list[dict[str, Any]]

    @property
    def is_free(self) -> bool:
        return (self.vm_state, self.task_state) == (states.ACTIVE, None)

    @property
    def is_held(self) -> bool:
        return (
            self.vm_state == states.QUIESCED
            or self.task_state in (states.QUIESCING, states.UNQUIESCING)
        )


@contextlib.contextmanager
def quiesced(
    client: quiesce_client.Client,
    cloud: cloud_api.Cloud,
    plan: planning.Plan,
    timeout: float,
    progress: Callable[[str], object],
    shield: Callable[[], contextlib.AbstractContextManager[Any]],
) -> Iterator[consistency.Frozen]:
    """Freeze the servers of a plan, as :func:`consistency.quiesced` does.

    :raises TurnLost: other commands want the servers, and go first
    """
    turns = _Turns(client, cloud, plan, progress)
    with contextlib.ExitStack() as stack:
        while True:
            try:
                frozen = stack.enter_context(
                    consistency.quiesced(
                        client,
                        plan.stages,
                        timeout,
                        {s.id: s.unquiesce_after for s in plan.servers},
                        progress,
                        shield,
                    )
                )
                break
            except exceptions.Conflict as exc:
                turns.wait(exc)
        yield frozen


class _Turns:
    """Decides whether a command that was refused may try again."""

    def __init__(
        self,
        client: quiesce_client.Client,
        cloud: cloud_api.Cloud,
        plan: planning.Plan,
        progress: Callable[[str], object],
    ) -> None:
        self._client = client
        self._cloud = cloud
        self._plan = plan
        self._progress = progress
        self._refused = 0  # times
        self._own: set[str] = set()  # ids of our requests

    def wait(self, refused: exceptions.Conflict) -> None:
        """Return once the servers can be frozen anew.

        :param refused: why they could not be; nothing of ours is frozen now
        :raises TurnLost: another command goes first, or has the servers
            for too long
        :raises exceptions.Conflict: it was not another request to quiesce
            that was in the way
        :raises errors.ApplicationError: it has become superfluous
        """
        self._refused += 1
        if refused.report:
            self._own.update(
                each.quiesce_request_id
                for each in refused.report.servers
                if each.quiesce_request_id
            )
        deadline = self._client.clock() + PATIENCE
        in_our_way: list[_Request] = []
        for number, pause in enumerate(quiesce_client.pauses()):
            try:
                looks = self._look()
            except cloud_api.CloudError:
                pass  # if Nova is away, nobody else gets on either
            else:
                in_our_way = self._younger(refused, looks)
                if all(look.is_free for look in looks):
                    self._check_again()
                    return
            if self._client.clock() + pause > deadline:
                break
            if not number:
                self._progress(_('Waiting for another command ...'))
            self._client.sleep(pause)
        if not in_our_way:
            raise refused
        raise self._lost(
            max(in_our_way), _('did not let go of it within %g s') % PATIENCE
        ) from refused

    def _look(self) -> list[_Look]:
        def look(server: planning.Server) -> _Look:
            path = f'/servers/{server.id}'
            body = self._cloud.compute(path)['server']
            # After the states: what has ended since has an end here.
            actions = self._cloud.compute(f'{path}/os-instance-actions')
            return _Look(
                server,
                body.get('OS-EXT-STS:vm_state'),
                body.get('OS-EXT-STS:task_state'),
                actions['instanceActions'],
            )

        return threads.at_once(look, self._plan.servers)

    def _younger(
        self, refused: exceptions.Conflict, looks: list[_Look]
    ) -> list[_Request]:
        """Return the requests in our way; raise if it is not our turn."""
        mine = min(
            (
                _request(action, look)
                for look in looks
                for action in look.actions
                if action['request_id'] in self._own
            ),
            default=None,
        )
        others = [
            request
            for look in looks
            for request in self._in_our_way(look, mine)
        ]
        if not others:
            raise refused
        oldest = min(others)
        if mine is None or oldest < mine:
            raise self._lost(oldest, _('came first')) from refused
        if self._refused >= ATTEMPTS:
            raise self._lost(
                max(others),
                _('was in the way of the last of %d attempts') % ATTEMPTS,
            ) from refused
        return others

    def _in_our_way(
        self, look: _Look, mine: _Request | None
    ) -> Iterator[_Request]:
        """Yield what others have quiesced a server by since our first request.

        Until now, or until it was thawed again.
        """
        ended: datetime.datetime | None = None
        for action in look.actions:
            if action['action'] not in (states.QUIESCE, states.UNQUIESCE):
                continue
            request = _request(action, look)
            if (
                action['action'] == states.QUIESCE
                and action.get('message') != 'Error'  # froze nothing
                and request.id not in self._own
            ):
                if ended is None:
                    in_our_way = look.is_held
                else:
                    in_our_way = mine is not None and ended >= mine.started
                if in_our_way:
                    yield request
            ended = request.started

    def _lost(self, other: _Request, what: str) -> TurnLost:
        [label] = [s.label for s in self._plan.servers if s.id == other.server]
        return TurnLost(
            _(
                # Translators: the reason has no subject, such as "came
                # first".
                'Server %(server)s was quiesced by request %(request)s, which '
                '%(what)s. Of this command nothing is left: what it had '
                'quiesced is thawed, and it took no snapshot. Try again later.'
            )
            % {'server': label, 'request': other.id, 'what': what}
        )

    def _check_again(self) -> None:
        """Raise if what we were to make has been made by others meanwhile."""
        found = sets.find_all(self._cloud)
        problems = planning.name_problems(found, self._plan.name)
        if problems:
            raise errors.NotPossible(problems)
        wanted = {volume.id for _server, volume in self._plan.snapshots}
        for each in found:
            if (
                each.id not in self._plan.sets_before
                # Else it came to nothing, and is perhaps being deleted.
                and each.state in (sets.CONSISTENT, sets.PENDING)
                and wanted
                <= {snapshot['volume_id'] for snapshot in each.snapshots}
            ):
                raise TurnLost(
                    _(
                        'Another command has made snapshot set %(name)s '
                        '(%(id)s) of the same volumes meanwhile. Of this '
                        'command nothing is left: what it had quiesced is '
                        'thawed, and it took no snapshot.'
                    )
                    % {'name': each.name, 'id': each.id}
                )


def _request(action: Mapping[str, Any], look: _Look) -> _Request:
    return _Request(
        transport.parse_nova_date(action['start_time']),
        action['request_id'],
        look.server.id,
    )
