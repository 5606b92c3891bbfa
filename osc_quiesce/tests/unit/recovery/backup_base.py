# SPDX-License-Identifier: Apache-2.0

"""Two sites with a Cinder each, which see one store, and a snapshot set.

The Cinder here keeps to the rules of the real one that matter for backups:
which backup becomes a parent, what is refused, and what status things get.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
import datetime
import json as json_module
from typing import Any
import unittest
from urllib import parse

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import metadata
from osc_quiesce.application import snapshot_sets
from osc_quiesce.recovery import backup
from osc_quiesce.recovery import backup_plan
from osc_quiesce.recovery import backup_preflight
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import bundles
from osc_quiesce.recovery import records
from osc_quiesce.recovery import registration
from osc_quiesce import retry

#: a service of cinder-backup
UP = {'host': 'b1', 'state': 'up', 'status': 'enabled'}
DRIVER = 'cinder.backup.drivers.posix.PosixBackupDriver'
RESTARTED = 'incomplete backup reset on manager restart'


class Stopped(Exception):
    """A signal came."""


class Clock:
    """Time that passes in pauses only."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[tuple[float, Callable[[], object]]] = []
        self.is_stopped = False

    def __call__(self) -> float:
        return self.now

    def after(self, seconds: float, do: Callable[[], object]) -> None:
        self._timers.append((self.now + seconds, do))

    def sleep(self, seconds: float) -> None:
        if self.is_stopped:
            raise Stopped
        self.now += seconds
        due = [t for t in self._timers if t[0] <= self.now]
        self._timers = [t for t in self._timers if t[0] > self.now]
        for _moment, do in sorted(due, key=lambda timer: timer[0]):
            do()

    @property
    def text(self) -> str:
        moment = datetime.datetime(2026, 11, 29) + datetime.timedelta(
            seconds=self.now
        )
        return moment.strftime('%Y-%m-%dT%H:%M:%S.%f')


class FakeSite:
    """A Cinder; stands in for :class:`cloud_api.Cloud`.

    :ivar log: the requests so far, as "METHOD path"
    :ivar refusals: what the next requests of a line are answered with
    :ivar lost: how many of the next answers to POST /backups get lost
    :ivar vanished: how many of the next POST /backups never arrive
    :ivar duration: seconds that a backup takes
    :ivar fates: what becomes of the next backups: a fail_reason, or ''
    :ivar most: how many were made at once
    :ivar reads_only: whether it may not delete what is in the store
    """

    def __init__(self, name: str, clock: Clock, store: set[str]) -> None:
        self.project_id = f'project-{name}'
        self.volume_url = f'http://{name}.example'
        self.is_admin = True
        self.service = DRIVER
        self.clock = clock
        self.store = store
        self.log: list[str] = []
        self.refusals: dict[str, list[cloud_api.CloudError]] = {}
        self.lost = self.vanished = 0
        self.duration = 10.0
        self.fates: list[str] = []
        self.import_fates: list[str] = []
        self.most = 0
        self.reads_only = False
        self.volumes: dict[str, dict[str, Any]] = {}
        self.made: dict[str, dict[str, Any]] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        self.parents: dict[str, str | None] = {}
        self.services = [UP]
        self.quota = {
            key: {'limit': -1, 'in_use': 0, 'reserved': 0}
            for key in ('backups', 'backup_gigabytes', 'volumes', 'gigabytes')
        }
        self.pools: list[dict[str, Any]] = []
        self.messages: dict[str, str] = {}

    # -- what a Cloud has -------------------------------------------------

    def backups(self, **filters: str) -> Iterator[dict[str, Any]]:
        self._note('GET /backups/detail')
        return iter([
            self._view(row)
            for row in self.rows.values()
            if all(row.get(k) == v for k, v in filters.items())
            and row['project_id'] == self.project_id
        ])

    def pages(self, _service: str, path: str, key: str, _microversion: str,
              ) -> Iterator[dict[str, Any]]:
        if key == 'volumes':
            self._note(f'GET {path}')
            return iter([{'description': '', 'attachments': [], **each}
                         for each in self.volumes.values()])
        assert key == 'backups'
        return self.backups(**dict(parse.parse_qsl(path.partition('?')[2])))

    def snapshots(
        self, metadata: Mapping[str, str]
    ) -> Iterator[dict[str, Any]]:
        self._note('GET /snapshots/detail')
        return iter([
            dict(each)
            for each in self.made.values()
            if metadata.items() <= each['metadata'].items()
        ])

    def volume(
        self,
        method: str,
        path: str,
        json: Any = None,
        microversion: str = '',
    ) -> dict[str, Any]:
        self._note(f'{method} {path}')
        where, _mark, query = path.partition('?')
        kind, _slash, rest = where[1:].partition('/')
        kind = kind.replace('-', '_').replace('os_', '')
        answer: dict[str, Any] = getattr(
            self, f'_{method.lower()}_{kind}'
        )(rest, json, dict(parse.parse_qsl(query)))
        return answer

    # -- requests ---------------------------------------------------------

    def _get_services(self, *_: Any) -> Any:
        return {'services': self.services}

    def _get_quota_sets(self, *_: Any) -> Any:
        return {'quota_set': self.quota}

    def _get_scheduler_stats(self, *_: Any) -> Any:
        return {'pools': self.pools}

    def _get_volumes(self, id_: str, *_: Any) -> Any:
        return {'volume': dict(self._get(self.volumes, id_))}

    def _get_snapshots(self, id_: str, *_: Any) -> Any:
        return {'snapshot': dict(self._get(self.made, id_))}

    def _delete_snapshots(self, id_: str, *_: Any) -> Any:
        del self.made[id_]
        return {}

    def _get_messages(self, _rest: str, _json: Any, query: Any) -> Any:
        text = self.messages.get(query['resource_uuid'])
        return {'messages': [{'user_message': text}] if text else []}

    def _get_backups(self, rest: str, *_: Any) -> Any:
        id_, _slash, what = rest.partition('/')
        row = self._get(self.rows, id_)
        if what == 'export_record':
            if row['status'] != 'available':
                raise cloud_api.CloudError(
                    'Backup status must be available', 400)
            self._need_service()
            return {'backup-record': self._record(row)}
        return {'backup': self._view(row)}

    def _put_backups(self, id_: str, json: Any, _query: Any) -> Any:
        self.rows[id_]['metadata'] = dict(json['backup']['metadata'])
        return {}

    def _post_backups(self, rest: str, json: Any, _query: Any) -> Any:
        if rest == 'import_record':
            return self._import(json['backup-record'])
        body = json['backup']
        if self.vanished:
            self.vanished -= 1
            raise cloud_api.CloudError('the connection is gone')
        row = self._begin(body)
        if self.lost:
            self.lost -= 1
            raise cloud_api.CloudError('the connection is gone')
        return {'backup': {'id': row['id'], 'name': row['name']}}

    def _delete_backups(self, id_: str, *_: Any) -> Any:
        row = self._get(self.rows, id_)
        if row['status'] not in ('available', 'error'):
            raise cloud_api.CloudError('must be available or error', 400)
        if id_ in self.parents.values():
            raise cloud_api.CloudError(
                'Incremental backups exist for this backup.', 400
            )
        self._need_service()
        row['status'] = 'deleting'
        self.clock.after(1.0, lambda: self._gone(id_))
        return {}

    # -- what Cinder does -------------------------------------------------

    def _begin(self, body: dict[str, Any]) -> dict[str, Any]:
        snapshot = self._get(self.made, body['snapshot_id'])
        if snapshot['status'] != 'available':
            raise cloud_api.CloudError(
                'Snapshot to be backed up must be available', 400
            )
        same = [
            row for row in self.rows.values()
            if row['volume_id'] == body['volume_id']
            and row['status'] == 'available'
            and row['data_timestamp'] < snapshot['created_at']
        ]
        if body['incremental'] and not same:
            raise cloud_api.CloudError(
                'No backups available to do an incremental backup.', 400
            )
        id_ = f'b{len(self.log)}-{body["volume_id"]}'
        newest = max(same, key=lambda row: row['data_timestamp'], default=None)
        self.parents[id_] = (
            newest['id'] if newest and body['incremental'] else None
        )
        snapshot['status'] = 'backing-up'
        row = {
            **body,
            'id': id_,
            'status': 'creating',
            'created_at': self.clock.text,
            'data_timestamp': snapshot['created_at'],
            'size': self.volumes[body['volume_id']]['size'],
            'object_count': None,
            'fail_reason': None,
            'project_id': self.project_id,
        }
        self.rows[id_] = row
        self.most = max(
            self.most,
            sum(r['status'] == 'creating' for r in self.rows.values()),
        )
        fate = self.fates.pop(0) if self.fates else ''
        self.clock.after(self.duration, lambda: self._end(row, fate))
        return row

    def _end(self, row: dict[str, Any], fate: str) -> None:
        row['status'] = 'error' if fate else 'available'
        if not fate and self.service == DRIVER:  # that of Ceph counts none
            row['object_count'] = 1
        row['fail_reason'] = fate or None
        self.made[row['snapshot_id']]['status'] = 'available'
        if not fate:
            self.store.add(row['id'])

    def _gone(self, id_: str) -> None:
        if self.reads_only and id_ in self.store:
            self.rows[id_].update(
                status='error', fail_reason='[Errno 30] Read-only file system')
            return
        row = self.rows.pop(id_)
        self.parents.pop(id_, None)
        if row['volume_id'] != records.NO_VOLUME:
            self.store.discard(id_)

    def _need_service(self) -> None:
        if UP not in self.services:
            raise cloud_api.NotThere(
                'Service cinder-backup could not be found.', 404)

    def _record(self, row: dict[str, Any]) -> dict[str, str]:
        data = {**row, 'parent_id': self.parents[row['id']]}
        text = json_module.dumps(data).encode()
        return {
            'backup_service': self.service,
            'backup_url': base64.b64encode(text).decode(),
        }

    def _import(self, body: dict[str, str]) -> Any:
        data = json_module.loads(base64.b64decode(body['backup_url']))
        if 'id' not in data:
            raise cloud_api.CloudError('record is missing an id', 400)
        if data['id'] in self.rows:
            raise cloud_api.CloudError('Backup already exists', 400)
        self._need_service()
        row = {
            'id': data['id'],
            'status': 'creating',
            'volume_id': records.NO_VOLUME,
            'container': None,
            'object_count': None,
            'created_at': self.clock.text,
            'metadata': {},
            'project_id': self.project_id,
            'fail_reason': None,
        }
        self.rows[data['id']] = row
        self.parents[data['id']] = data.pop('parent_id')
        fate = self.import_fates.pop(0) if self.import_fates else ''

        def end() -> None:
            if fate:
                row.update(status='error', fail_reason=fate)
            else:
                row.update(
                    {**data, 'status': 'available',
                     'project_id': self.project_id}
                )

        self.clock.after(0.2, end)
        return {'backup': {'id': data['id']}}

    def _view(self, row: dict[str, Any]) -> dict[str, Any]:
        return {
            **row,
            'is_incremental': self.parents.get(row['id']) is not None,
            'metadata': dict(row['metadata']),
        }

    @staticmethod
    def _get(where: dict[str, dict[str, Any]], id_: str) -> dict[str, Any]:
        if id_ not in where:
            raise cloud_api.NotThere(f'{id_} could not be found.', 404)
        return where[id_]

    def _note(self, line: str) -> None:
        self.log.append(line)
        for start, errors in self.refusals.items():
            if line.startswith(start) and errors:
                raise errors.pop(0)

    def posts(self) -> list[str]:
        return [line for line in self.log if line == 'POST /backups']


class TestCase(unittest.TestCase):
    """Site A with volumes of two servers, a snapshot set "monday", and B.

    :ivar said: the sentences that were said
    """

    #: GiB, by volume
    SIZES: Mapping[str, int] = {'db-vda': 1, 'db-vdb': 3, 'web-vda': 2}

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.store: set[str] = set()
        self.a = FakeSite('a', self.clock, self.store)
        self.b = FakeSite('b', self.clock, self.store)
        self.cloud: Any = self.a
        self.other: Any = self.b
        self.timer = retry.Timer(self.clock, self.clock.sleep)
        self.said: list[str] = []
        for id_, size in self.SIZES.items():
            self.a.volumes[id_] = {
                'id': id_,
                'size': size,
                'status': 'in-use',
                'encrypted': False,
                'attachments': [{}],
            }
        self.take('monday')

    def take(self, name: str, application: str = 'shop') -> str:
        """Take a snapshot set, and return its ID."""
        self.clock.sleep(60)
        set_id = f'set-{name}'
        for order, volume in enumerate(self.SIZES):
            server, device = volume.split('-')
            self.a.made[f's-{name}-{volume}'] = {
                'id': f's-{name}-{volume}',
                'volume_id': volume,
                'status': 'available',
                'size': self.SIZES[volume],
                'created_at': self.clock.text,
                'metadata': {
                    **metadata.ours({
                        'format': snapshot_sets.FORMAT,
                        'version': '1.0.0',
                        'set': name,
                        'set_id': set_id,
                        'application': application,
                        'created_at': f'{self.clock.text[:19]}Z',
                        'volumes': str(len(self.SIZES)),
                        'order': str(order),
                        'consistency': snapshot_sets.CONSISTENT,
                        'stage': '0',
                        'server_id': f'id-{server}',
                        'server_name': server,
                        'device': f'/dev/{device}',
                        'boot_index': '0' if device == 'vda' else '-1',
                        'window': '2.112',
                        'complete': '0.800',
                    }),
                    **metadata.pack('servers', [self.server(server)]),
                },
            }
        self.clock.sleep(1)
        return set_id

    def server(self, name: str) -> dict[str, Any]:
        return {
            'id': f'id-{name}',
            'name': name,
            'order': ('db', 'web').index(name),
            'stage': 0,
            'flavor': {'name': 'tiny'},
            'volumes': [
                {'id': id_, 'device': f'/dev/{id_[-3:]}', 'size': size}
                for id_, size in self.SIZES.items()
                if id_.startswith(name)
            ],
        }

    def plan(
        self,
        name: str = 'monday',
        destination: Any = None,
        wants_records: bool = False,
        **wish: Any,
    ) -> backup_plan.Plan:
        return backup_preflight.make(
            self.cloud,
            name,
            backup_plan.Wish(**wish),
            destination,
            wants_records,
        )

    def create(
        self,
        name: str = 'monday',
        destination: Any = None,
        parallel: int = backup.PARALLEL,
        timeout: float = 600.0,
        **wish: Any,
    ) -> backup_sets.BackupSet:
        return backup.create(
            self.cloud,
            self.plan(name, destination, **wish),
            self.timer,
            parallel,
            timeout,
            destination,
            self.said.append,
        )

    def destination(self, name: str = 'B', site: Any = None,
                    **kwargs: Any) -> registration.Destination:
        """Return site B, or another one, without target volumes."""
        return registration.Destination(
            site or self.other,
            name,
            None,
            bundles.reader(self.cloud, self.timer, {}),
            self.timer,
            announce=lambda backup_id: backup_sets.mark(
                self.cloud, [{'id': backup_id}],
                {backup_sets.KNOWN_AT: name}),
            **kwargs,
        )

    def find(
        self, name: str = 'monday', site: Any = None
    ) -> backup_sets.BackupSet:
        return backup_sets.find(site or self.cloud, name)
