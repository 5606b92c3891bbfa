# SPDX-License-Identifier: Apache-2.0

"""A Cinder, and two servers of which snapshot sets are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import datetime
from typing import Any

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import create
from osc_quiesce.application import plan as planning
from osc_quiesce.application import snapshot_sets
from osc_quiesce.tests.unit import fakes

TIMEOUT = 60.0
SLOW = 29.98  # of the timeout, two of these leave less than a pause


class FakeCinder:
    """Keeps snapshots; stands in for :class:`cloud_api.Cloud`.

    :ivar log: the requests so far, as "METHOD path"
    :ivar hooks: called with each of these
    :ivar breaks: the volume of which no snapshot can be made
    :ivar marks: what happens when metadata are written, each in its turn
    :ivar lost: the volume whose snapshot gets no answer
    :ivar late: in how many seconds that one is made; None if never
    :ivar users: of volumes, as Cinder shows them
    :ivar statuses: of new snapshots, in their turn, before ``available``
    :ivar away: how the next reads of a path fail; each takes SLOW seconds
    :ivar silent: paths of which the next read gets no answer in time
    """

    def __init__(self, nova: fakes.FakeNova) -> None:
        self.nova = nova
        self.log: list[str] = []
        self.hooks: list[Callable[[str], object]] = []
        self.made: dict[str, dict[str, Any]] = {}
        self.breaks = ''
        self.marks: list[cloud_api.CloudError] = []
        self.lost = ''
        self.late: float | None = None
        self.users: dict[str, list[dict[str, Any]]] = {}
        self.statuses: list[str] = []
        self.away: dict[str, list[cloud_api.CloudError]] = {}
        self.silent: set[str] = set()
        self.slow: dict[str, float] = {}

    def snapshots(
        self, metadata: Mapping[str, str]
    ) -> Iterator[dict[str, Any]]:
        self._note('GET /snapshots/detail')
        for made in self.made.values():
            if made.get('status') == 'creating':
                made['status'] = self._status()
        return iter([
            made
            for made in self.made.values()
            if metadata.items() <= (made.get('metadata') or {}).items()
        ])

    def volume(
        self,
        method: str,
        path: str,
        json: Any = None,
        timeout: float = cloud_api.PATIENCE,
    ) -> dict[str, Any]:
        self._note(f'{method} {path}')
        if path in self.silent:
            self.silent.remove(path)
            self.nova.now += timeout
            raise cloud_api.CloudError('no answer in time')
        slowness = self.slow.get(path, 0.0)
        self.nova.now += min(slowness, timeout)
        if slowness > timeout:
            raise cloud_api.CloudError('no answer in time')
        if method == 'POST' and path == '/snapshots':
            body = json['snapshot']
            if body['volume_id'] == self.breaks:
                raise cloud_api.CloudError('Cinder has no room', 413)
            if body['volume_id'] == self.lost:
                if self.late is not None:
                    self.nova.at(
                        self.nova.now + self.late, lambda: self._make(body)
                    )
                raise cloud_api.CloudError('the connection is gone')
            return {'snapshot': self._make(body)}
        if method == 'POST':
            if self.marks:
                raise self.marks.pop(0)
            self.made[path.split('/')[2]]['metadata'].update(json['metadata'])
            return {}
        if method == 'DELETE':
            del self.made[path.split('/')[2]]
            return {}
        if self.away.get(path):
            self.nova.now += SLOW
            raise self.away[path].pop(0)
        if path.startswith('/volumes/'):
            users = self.users.get(path.split('/')[2], [])
            return {'volume': {'attachments': users}}
        made = self.made[path.split('/')[2]]
        made['status'] = self._status()
        return {'snapshot': dict(made)}

    def _note(self, line: str) -> None:
        self.log.append(line)
        for hook in list(self.hooks):
            hook(line)

    def _make(self, body: dict[str, Any]) -> Any:
        made = {
            **body,
            'id': 's-%s' % body['volume_id'],
            'status': self._status(),
            'size': 1,
            'created_at': datetime.datetime.now(datetime.UTC).strftime(
                '%Y-%m-%dT%H:%M:%S.%f'),
        }
        self.made[made['id']] = made
        return dict(made)

    def _status(self) -> str:
        return self.statuses.pop(0) if self.statuses else 'available'


class TestCase(fakes.TestCase):
    """Two servers, db and web, with two volumes each, quiesced in turn.

    :ivar progress: the sentences that were said
    """

    def setUp(self) -> None:
        super().setUp()
        self.cinder = FakeCinder(self.nova)
        self.cloud: Any = self.cinder
        self.progress: list[str] = []
        self._before: list[tuple[str, Callable[[], object]]] = []
        self._is_stopped = self._is_shielded = False
        self.client = self.client.with_sleep(self._sleep)
        self.plan = planning.Plan(
            'nightly',
            'shop',
            tuple(self.planned(n, s) for n, s in enumerate(('db', 'web'))),
            (),
        )

    def planned(self, number: int, name: str) -> planning.Server:
        """Add a server, and return it as a plan has it."""
        server = self.nova.add(name)
        volumes = [
            {
                'id': '%s-%s' % (name, device),
                'name': '',
                'device': '/dev/%s' % device,
                'size': 1,
                'type': None,
                'boot_index': 0 if device == 'vda' else -1,
                'delete_on_termination': False,
                'excluded': False,
                'multiattach': False,
                'encrypted': False,
            }
            for device in ('vda', 'vdb')
        ]
        restore = {
            'id': server.id,
            'name': name,
            'order': number,
            'stage': number,
            # Longer than what fits into one value.
            'metadata': {'note': 'x' * 700},
            'flavor': {'id': 'f', 'name': 'tiny'},
            'image': None,
            'volumes': volumes,
        }
        return planning.Server(
            id=server.id,
            name=name,
            stage=number,
            unquiesce_after=120,
            restore=restore,
            refused=(),
        )

    def create(
        self,
        description: str = '',
        properties: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> snapshot_sets.SnapshotSet:
        self.plan = dataclasses.replace(
            self.plan, description=description, properties=properties or {}
        )
        return create.create(
            self.client,
            self.cloud,
            self.plan,
            TIMEOUT,
            progress=self._say,
            shield=self._shield,
            **kwargs,
        )

    def before(self, words: str, do: Callable[[], object]) -> None:
        """Do something when a sentence that begins like this is first said."""
        self._before.append((words, do))

    def stop(self) -> None:
        """Let the next pause that is not shielded raise, as a signal does."""
        self._is_stopped = True

    def start_again(self) -> None:
        """Forget that it was stopped."""
        self._is_stopped = False

    def vm_states(self) -> set[str]:
        return {server.vm_state for server in self.nova.servers.values()}

    def assert_nothing_is_left(self) -> None:
        self.assertEqual({}, self.cinder.made)
        self.assertEqual({'active'}, self.vm_states())

    def _say(self, sentence: str) -> None:
        self.progress.append(sentence)
        for each in list(self._before):
            if sentence.startswith(each[0]):
                self._before.remove(each)
                each[1]()

    def _sleep(self, seconds: float) -> None:
        if self._is_stopped and not self._is_shielded:
            raise KeyboardInterrupt
        self.nova.sleep(seconds)

    @contextlib.contextmanager
    def _shield(self) -> Iterator[None]:
        before, self._is_shielded = self._is_shielded, True
        try:
            yield
        finally:
            self._is_shielded = before
