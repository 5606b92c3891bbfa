# SPDX-License-Identifier: Apache-2.0

"""A site with Cinder, Nova and Neutron, and a set that is to be restored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import copy
import dataclasses
import threading
from typing import Any
from urllib import parse
import uuid

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import metadata
from osc_quiesce import http
from osc_quiesce.recovery import mapping as mappings
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import points
from osc_quiesce.recovery import resolved
from osc_quiesce.recovery import restore
from osc_quiesce.recovery import restore_plan
from osc_quiesce.recovery import restore_preflight
from osc_quiesce.recovery import waiting
from osc_quiesce.tests.unit import fakes

#: a service of cinder-backup
UP = {'host': 'b1', 'state': 'up', 'status': 'enabled'}
MAPPING = """\
flavors:
  m1.small: small
networks:
  a-net: {network: b-net}
security_groups:
  web: web
volume_types:
  rbd: ceph
volume_zones:
  nova: none
zones:
  nova: none
keypairs:
  ops: ops
"""


class FakeSite:
    """Stands in for :class:`cloud_api.Cloud`, as far as a restore goes.

    :ivar log: the requests that change something, as "METHOD path"
    :ivar reads: the paths of the others, but for listings
    :ivar hooks: called with each that changes something before it is done
    :ivar restores_to: what the next restores come to, each in its turn
    :ivar deletes_to: what the next deleted volumes become, each in its turn
    :ivar page_size: how many ports Neutron lists at once; None: all
    :ivar builds_to: what the next servers become, each in its turn
    :ivar damage: called with the volume when a restore has ended
    """

    project_id = 'project-b'

    def __init__(self) -> None:
        self.is_admin = True
        self.log: list[str] = []
        self.reads: list[str] = []
        self.hooks: list[Callable[[str], object]] = []
        self.volumes: dict[str, dict[str, Any]] = {}
        self.backup_rows: dict[str, dict[str, Any]] = {}
        self.servers: dict[str, dict[str, Any]] = {}
        self.ports: dict[str, dict[str, Any]] = {}
        self.images: dict[str, dict[str, str]] = {}
        self.messages: list[str] = []
        #: IDs of backups that were deleted while they were made
        self.cancelled: list[str] = []
        self.restores_to: list[str] = []
        self.page_size: int | None = None
        self.deletes_to: list[str] = []
        self.builds_to: list[str] = []
        self.is_slow = False    # so that what is being made is never done
        self.damage: Callable[[dict[str, Any]], object] = lambda volume: None
        self.quotas: dict[str, dict[str, int]] = {}
        self.pools: list[dict[str, Any]] = []
        self.services = [UP]
        self.encrypted_types: list[str] = []
        self._lock = threading.RLock()
        self._number = 0
        self.lists: dict[str, list[dict[str, Any]]] = {
            'flavors': [
                {'id': 'f1', 'name': 'small', 'vcpus': 1, 'ram': 512,
                 'extra_specs': {}},
                {'id': 'f2', 'name': 'big', 'vcpus': 8, 'ram': 8192,
                 'extra_specs': {}},
            ],
            'keypairs': [{'keypair': {'name': 'ops'}}],
            'server_groups': [{'id': 'g1', 'name': 'together'}],
            'images': [{'id': 'i1', 'name': 'cirros'}],
            'networks': [
                {'id': 'n1', 'name': 'b-net'}, {'id': 'n2', 'name': 'other'},
            ],
            'subnets': [
                {'id': 's1', 'name': 'b-sub', 'network_id': 'n1',
                 'cidr': '10.0.0.0/24'},
                {'id': 's2', 'name': 'o-sub', 'network_id': 'n2',
                 'cidr': '192.168.0.0/24'},
            ],
            'security_groups': [{'id': 'sg1', 'name': 'web'}],
            'volume_types': [
                {'id': 't1', 'name': 'ceph',
                 'extra_specs': {'volume_backend_name': 'rbd-b'}},
                {'id': 't2', 'name': 'slow', 'extra_specs': {}},
            ],
            'availabilityZoneInfo': [{'zoneName': 'nova'}],
        }

    # What a Cloud has -----------------------------------------------------

    def backups(self, **filters: str) -> Iterator[dict[str, Any]]:
        query = f'?{parse.urlencode(filters)}' if filters else ''
        yield from self.pages(
            'block_storage', f'/backups/detail{query}', 'backups', None
        )

    def pages(
        self, service: str, path: str, key: str, microversion: str | None
    ) -> Iterator[dict[str, Any]]:
        with self._lock:
            where = parse.urlsplit(path)
            query = dict(parse.parse_qsl(where.query))
            if where.path == '/ports':
                return http.pages(
                    lambda page: self.network('GET', page), path, key)
            if where.path == '/volumes/detail':
                rows = [self._look_at_volume(each, 'status' in query)
                        for each in self.volumes.values()]
            elif where.path == '/servers/detail':
                rows = list(self.servers.values())
            elif where.path == '/backups/detail':
                rows = [
                    self._look_at_backup(each) if 'status' in query and (
                        each['status'] != 'creating' or 'parent_id' in each)
                    else each
                    for each in list(self.backup_rows.values())
                    if query.items() <= each.items()
                ]
            else:
                rows = self.lists[key]
            return iter(copy.deepcopy(rows))

    def volume(
        self, method: str, path: str, json: Any = None, microversion: str = ''
    ) -> dict[str, Any]:
        with self._lock:
            self._note(method, path)
            where = parse.urlsplit(path)
            kind, _, rest = where.path.removeprefix('/').partition('/')
            body = copy.deepcopy(json)
            answer: dict[str, Any] = getattr(
                self, f'_{kind.replace("-", "_")}'
            )(method, *rest.split('/'), body)
            return copy.deepcopy(answer)

    def compute(
        self, method: str, path: str, json: Any = None, microversion: str = ''
    ) -> dict[str, Any]:
        with self._lock:
            self._note(method, path)
            parts = path.removeprefix('/').split('/')
            if parts[0] == 'os-quota-sets':
                return {'quota_set': self.quotas}
            if parts == ['servers']:
                return {'server': copy.deepcopy(self._build(json['server']))}
            server = _row(self.servers, parts[1])
            if method == 'DELETE':
                del self.servers[parts[1]]
                for each in server['os-extended-volumes:volumes_attached']:
                    if each['delete_on_termination']:
                        del self.volumes[each['id']]
                for volume in self.volumes.values():
                    self._detach(volume, parts[1])
            elif method == 'PUT':
                self._attachment(server, parts[3])[
                    'delete_on_termination'
                ] = json['volumeAttachment']['delete_on_termination']
            return {'server': copy.deepcopy(server)}

    def network(
        self, method: str, path: str, json: Any = None
    ) -> dict[str, Any]:
        with self._lock:
            self._note(method, path)
            where = parse.urlsplit(path)
            if where.path.startswith('/quotas'):
                raise cloud_api.NotThere('no such extension', 404)
            if method == 'POST':
                port = {'device_id': '', 'fixed_ips': [],
                        'mac_address': 'fa:16:3e:00:00:01',
                        'security_groups': [],
                        **json['port'], 'id': self._id('port')}
                self.ports[port['id']] = port
                return {'port': copy.deepcopy(port)}
            if method == 'DELETE':
                del self.ports[_row(
                    self.ports, where.path.split('/')[2])['id']]
                return {}
            query = dict(parse.parse_qsl(where.query))
            address = query.pop('fixed_ips', '').removeprefix('ip_address=')
            marker = query.pop('marker', '')
            found = [
                copy.deepcopy(port) for port in self.ports.values()
                if query.items() <= port.items() and (
                    not address or address in [
                        each.get('ip_address')
                        for each in port.get('fixed_ips', ())
                    ]
                )
            ]
            if marker:
                ids = [port['id'] for port in found]
                found = found[ids.index(marker) + 1:]
            if self.page_size is None or len(found) <= self.page_size:
                return {'ports': found}
            return {'ports': found[:self.page_size],
                    'ports_links': [{'rel': 'next', 'href': '...'}]}

    # What tests arrange ---------------------------------------------------

    def add_volume(self, **values: Any) -> dict[str, Any]:
        volume = {
            'id': values.get('id') or self._id('volume'),
            'name': '',
            'description': '',
            'status': 'available',
            'size': 1,
            'volume_type': 'ceph',
            'availability_zone': 'nova',
            'bootable': 'false',
            'metadata': {},
            'attachments': [],
            'created_at': f'2026-01-01T00:00:{len(self.volumes):02}',
            'data': '',
            **values,
        }
        self.volumes[str(volume['id'])] = volume
        return volume

    def add_backup(self, volume_id: str, data: str, **values: Any) -> str:
        backup = {
            'id': values.get('id') or self._id('backup'),
            'volume_id': volume_id,
            'status': 'available',
            'size': 1,
            'metadata': metadata.ours({'backup_set_id': 'set'}),
            'data_timestamp': f'2026-01-01T00:00:{len(self.backup_rows):02}',
            'created_at': '2026-01-01T00:00:00',
            'object_count': 1,
            'data': data,
            'source_metadata': {},
            **values,
        }
        self.backup_rows[backup['id']] = backup
        return str(backup['id'])

    def changes(self) -> list[str]:
        """Return the requests so far that change something, without IDs."""
        return [
            '/'.join(
                part for part in line.split('?')[0].split('/')
                if part not in self.volumes
                and part not in self.backup_rows
                and part not in self.servers
            )
            for line in self.log
        ]

    # Cinder ---------------------------------------------------------------

    def _volumes(
        self, method: str, id_: str = '', *more: Any
    ) -> dict[str, Any]:
        body: Any = more[-1]
        if method == 'POST' and not id_:
            wanted = body['volume']
            types = {e['id']: e['name'] for e in self.lists['volume_types']}
            source = self.volumes.get(wanted.get('source_volid', ''), {})
            if source.get('status', 'available') != 'available':
                raise cloud_api.CloudError('must be available', 400)
            made = self.add_volume(**{
                'data': source.get('data', ''),
                **wanted,
                'volume_type': types.get(
                    wanted.get('volume_type', ''), 'ceph'
                ),
                'status': 'creating',
            })
            made['encrypted'] = made['volume_type'] in self.encrypted_types
            return {'volume': made}
        volume = _row(self.volumes, id_)
        if method == 'DELETE':
            if volume['status'] in (
                    'creating', 'in-use', 'restoring-backup',
                    'error_deleting'):
                raise cloud_api.CloudError('it is in use', 400)
            if self.deletes_to:
                volume['status'] = self.deletes_to.pop(0)
            else:
                del self.volumes[id_]
        elif method == 'PUT' and len(more) == 1:
            volume.update(body['volume'])
        elif more[0] == 'metadata':
            if method == 'PUT':
                volume['metadata'] = {}
            volume['metadata'].update(body['metadata'])
            return {'metadata': dict(volume['metadata'])}
        elif more[0] == 'action':
            self._volume_action(volume, body)
        elif volume['status'] == 'creating' and not self.is_slow:
            volume['status'] = 'available'
            return {'volume': {**volume, 'status': 'creating'}}
        elif 'from' in volume:
            return {'volume': self._look_at_restore(volume)}
        return {'volume': volume}

    def _volume_action(self, volume: Any, body: Any) -> None:
        (action, details), = body.items()
        if action == 'os-reset_status':
            if not self.is_admin:
                raise cloud_api.CloudError('not allowed', 403)
            volume['status'] = details['status']
        elif action == 'os-set_bootable':
            volume['bootable'] = str(details['bootable']).lower()
        elif action == 'os-set_image_metadata':
            volume.setdefault('volume_image_metadata', {}).update(
                details['metadata'])
        elif action == 'os-unset_image_metadata':
            del volume['volume_image_metadata'][details['key']]
        else:
            raise AssertionError(action)

    def _look_at_volume(self, volume: dict[str, Any], is_waited_for: bool,
                        ) -> dict[str, Any]:
        """Return what a listing shows, and let what was begun end after it.
        """
        if 'from' in volume:
            return self._look_at_restore(volume)
        shown = dict(volume)
        if (is_waited_for and volume['status'] == 'creating'
                and not self.is_slow):
            volume['status'] = 'available'
        return shown

    def _look_at_restore(self, volume: dict[str, Any]) -> dict[str, Any]:
        """Return what a GET shows; what it goes on with comes after it.

        Cinder restores one layer after the other, each with its metadata.
        """
        shown = dict(volume)
        backup = self.backup_rows[volume['from']]
        layers = _layers(backup)
        number = volume.setdefault('layers', 0)
        if number < len(layers) - 1:
            if layers[number]:
                volume['metadata'] = dict(layers[number])
            if (not volume['name']
                    or volume['name'].startswith('restore_backup_')):
                volume.update(backup.get('source_name', {}))
            volume['layers'] += 1
        else:
            self._end_restore(volume)
        return shown

    def _end_restore(self, volume: dict[str, Any]) -> None:
        backup = self.backup_rows[volume.pop('from')]
        volume.pop('layers', None)
        backup['status'] = 'available'
        volume['status'] = 'available'
        if self.restores_to:
            volume['status'] = self.restores_to.pop(0)
        if volume['status'] != 'available':
            return
        volume['data'] = backup['data']
        if last := _layers(backup)[-1]:
            volume['metadata'] = dict(last)
        noted = volume['metadata'].get('src_backup_id', backup['id'])
        if backup['volume_id'] != volume['id'] or noted != backup['id']:
            volume['metadata']['src_backup_id'] = backup['id']
        self.damage(volume)

    def _backups(self, method: str, id_: str, *more: Any) -> dict[str, Any]:
        body = more[-1]
        if method == 'POST' and not id_:
            return {'backup': self._begin_proof(body['backup'])}
        backup = _row(self.backup_rows, id_)
        if method == 'DELETE':
            self._delete_backup(backup)
        elif method == 'PUT':
            backup['metadata'] = body['backup']['metadata']
        elif more[0] in ('restore', 'action', 'export_record'):
            self._need_backup_service()
        if more[0] == 'restore':
            volume = _row(self.volumes, body['restore']['volume_id'])
            if volume['status'] != 'available':
                raise cloud_api.CloudError('must be available', 400)
            volume.update({'status': 'restoring-backup', 'from': id_})
            backup['status'] = 'restoring'
        elif more[0] == 'action' and 'os-force_delete' in body:
            self.cancelled.append(id_)
            backup['status'] = 'deleting'
        elif more[0] == 'action':
            backup['becomes'] = body['os-reset_status']['status']
        elif more[0] == 'export_record':
            if backup['status'] != 'available':
                raise cloud_api.CloudError('must be available', 400)
            return _record(backup)
        elif method == 'GET':
            return {'backup': self._look_at_backup(backup)}
        return {'backup': backup}

    def _look_at_backup(self, backup: dict[str, Any]) -> dict[str, Any]:
        """Return what a GET shows, and let what was begun end after it."""
        shown = dict(backup)
        if backup['status'] == 'restoring':
            for volume in self.volumes.values():
                if volume.get('from') == backup['id']:
                    self._look_at_restore(volume)
        elif backup['status'] == 'deleting':
            del self.backup_rows[backup['id']]
        elif backup['status'] == 'creating' and not self.is_slow:
            backup['status'] = 'available'
        elif 'becomes' in backup:
            backup['status'] = backup.pop('becomes')
        return shown

    def _delete_backup(self, backup: dict[str, Any]) -> None:
        if backup['status'] not in ('available', 'error'):
            raise cloud_api.CloudError('must be available or error', 400)
        if any(each.get('parent_id') == backup['id']
               for each in self.backup_rows.values()):
            raise cloud_api.CloudError('Incremental backups exist', 400)
        self._need_backup_service()
        backup['status'] = 'deleting'

    def _need_backup_service(self) -> None:
        if UP not in self.services:
            raise cloud_api.NotThere(
                'Service cinder-backup could not be found.', 404)

    def _begin_proof(self, body: dict[str, Any]) -> dict[str, Any]:
        volume = self.volumes[body['volume_id']]
        parent = max(
            (
                each for each in self.backup_rows.values()
                if each['volume_id'] == volume['id']
                and each['status'] == 'available'
            ),
            key=lambda each: str(each['data_timestamp']),
        )
        id_ = self.add_backup(
            volume['id'], volume['data'], status='creating',
            metadata=body['metadata'],
        )
        made = self.backup_rows[id_]
        made['parent_id'] = parent['id']
        made['object_count'] = int(parent['data'] != volume['data'])
        return made

    def _types(self, _method: str, type_id: str, *_more: Any) -> Any:
        assert self.is_admin
        (name,) = [each['name'] for each in self.lists['volume_types']
                   if each['id'] == type_id]
        return {'provider': 'luks'} if name in self.encrypted_types else {}

    def _messages(self, *_more: Any) -> dict[str, Any]:
        return {'messages': [{'user_message': m} for m in self.messages]}

    def _os_quota_sets(self, *_more: Any) -> dict[str, Any]:
        return {'quota_set': self.quotas}

    def _os_services(self, *_more: Any) -> dict[str, Any]:
        return {'services': self.services}

    def _scheduler_stats(self, *_more: Any) -> dict[str, Any]:
        return {'pools': self.pools}

    # Nova -----------------------------------------------------------------

    def _build(self, wanted: dict[str, Any]) -> dict[str, Any]:
        status = self.builds_to.pop(0) if self.builds_to else 'ACTIVE'
        id_ = str(uuid.uuid4())
        attached = []
        for disk in wanted['block_device_mapping_v2']:
            if disk['source_type'] == 'volume':
                volume = _row(self.volumes, disk['uuid'])
                assert volume['status'] in ('available', 'in-use')
                volume['attachments'].append({'server_id': id_})
                volume['status'] = 'in-use'
                attached.append({
                    'id': disk['uuid'],
                    'delete_on_termination': disk['delete_on_termination'],
                })
        server = {
            **wanted,
            'id': id_,
            'status': status,
            'addresses': {'net': [{'addr': '10.0.0.7'}]}
            if wanted['networks'] != 'none' else {},
            'fault': {'message': 'no valid host'},
            'OS-SRV-USG:launched_at':
            None if status == 'ERROR' else '2026-01-01T00:00:00.000000',
            'os-extended-volumes:volumes_attached': attached,
        }
        self.servers[id_] = server
        return server

    @staticmethod
    def _attachment(server: dict[str, Any], volume: str) -> dict[str, Any]:
        for each in server['os-extended-volumes:volumes_attached']:
            if each['id'] == volume:
                found: dict[str, Any] = each
                return found
        raise cloud_api.NotThere(f'{volume} is not attached', 404)

    @staticmethod
    def _detach(volume: dict[str, Any], server_id: str) -> None:
        left = [
            each for each in volume['attachments']
            if each['server_id'] != server_id
        ]
        if len(left) < len(volume['attachments']):
            volume['attachments'] = left
            volume['status'] = 'in-use' if left else 'available'

    def _note(self, method: str, path: str) -> None:
        if method == 'GET':
            self.reads.append(path)
        else:
            line = f'{method} {path}'
            self.log.append(line)
            for hook in list(self.hooks):
                hook(line)

    def _id(self, kind: str) -> str:
        self._number += 1
        return f'{kind}-{self._number}'


def taken(volume_id: str, restore_id: str = 'x', name: str = 'other',
          **more: str) -> dict[str, str]:
    """Return the metadata of a volume that a restore has."""
    return metadata.ours({
        marks.VOLUME: volume_id, marks.RESTORE_ID: restore_id,
        marks.RESTORE: name, **more})


def take(volume: dict[str, Any], restore_id: str = 'x', **more: str) -> None:
    """Let another restore have a target volume."""
    text = volume['description']
    for key in ';volume_id=', ';osc_quiesce:holder=':
        text = text.partition(key)[0]
    volume.update({
        'description':
        f'{text};osc_quiesce:holder={restore_id};volume_id={volume["id"]}',
        'metadata': taken(volume['id'], restore_id, **more)})


def _layers(backup: dict[str, Any]) -> list[dict[str, str]]:
    """Return the metadata of a volume at each backup of a chain."""
    found: list[dict[str, str]] = backup.get('layers') or [
        backup['source_metadata']] * 2
    return found


def _row(rows: dict[str, dict[str, Any]], id_: str) -> dict[str, Any]:
    if id_ not in rows:
        raise cloud_api.NotThere(f'{id_} is not there', 404)
    return rows[id_]


def _record(backup: dict[str, Any]) -> dict[str, Any]:
    from osc_quiesce.recovery import records

    return {'backup-record': records.encode(records.Record('posix', {
        key: backup.get(key)
        for key in ('id', 'volume_id', 'parent_id', 'size', 'object_count')
    }))}


def manifest(name: str, order: int, *devices: str) -> dict[str, Any]:
    """Return what is recorded of a server with volumes of 1 GiB."""
    return {
        'id': f'{name}-id',
        'name': name,
        'order': order,
        'stage': order,
        'hostname': name,
        'description': None,
        'tags': [],
        'metadata': {'role': name},
        'key_name': 'ops',
        'availability_zone': 'nova',
        'config_drive': False,
        'user_data': None,
        'flavor': {'id': 'a1', 'name': 'm1.small', 'vcpus': 1, 'ram': 512,
                   'disk': 0, 'ephemeral': 0, 'swap': 0, 'extra_specs': {}},
        'image': None,
        'image_properties': {},
        'server_groups': [],
        'ports': [{
            'id': f'{name}-port',
            'name': '',
            'network': {'id': 'a-net-id', 'name': 'a-net'},
            'fixed_ips': [{'ip_address': f'10.0.0.{order + 7}',
                           'subnet': {'id': 'x', 'cidr': '10.0.0.0/24'}}],
            'mac_address': f'fa:16:3e:00:00:0{order}',
            'security_groups': [{'id': 'a-sg', 'name': 'web'}],
            'allowed_address_pairs': [],
            'vnic_type': 'normal',
            'port_security_enabled': True,
            'tag': None,
        }],
        'volumes': [
            {
                'id': f'{name}-{device}',
                'name': device,
                'description': '',
                'device': f'/dev/{device}',
                'size': 1,
                'type': 'rbd',
                'availability_zone': 'nova',
                'boot_index': 0 if device == 'vda' else -1,
                'tag': None,
                'delete_on_termination': device == 'vdb',
                'excluded': False,
                'bootable': device == 'vda',
                'encrypted': False,
                'multiattach': False,
                'image_metadata': {'hw_disk_bus': 'virtio'},
                'metadata': {'owner': name},
            }
            for device in devices
        ],
    }


class TestCase(fakes.TestCase):
    """Two servers, db before web, with backups that were registered here.

    :ivar site: the site where is restored
    :ivar servers: what is recorded of them
    """

    kind = points.BACKUP

    def setUp(self) -> None:
        super().setUp()
        self.site = FakeSite()
        self.cloud: Any = self.site
        self.progress: list[str] = []
        self.servers = [
            manifest('db', 0, 'vda', 'vdb'), manifest('web', 1, 'vda')
        ]
        self.state = 'consistent'
        self.volumes = 0    # as many as there are copies
        self.created_at = '2026-01-01T00:00:00Z'
        self.text = MAPPING
        self.copies: dict[str, points.Copy] = {}
        for server in self.servers:
            for volume in server['volumes']:
                self.register(volume)

    def register(self, volume: dict[str, Any]) -> str:
        """Add a target volume with a backup; return the ID of the volume."""
        target = self.site.add_volume(
            id=f't-{volume["id"]}',
            name=f'shop_{volume["id"]}'.replace('-', '_'),
            description=marks.target_description(volume['id']),
        )
        marks.sign(self.cloud, target)
        self.site.log.clear()
        self.site.add_backup(
            target['id'],
            f'data of {volume["id"]}',
            id=f'b-{volume["id"]}',
            source_metadata=volume['metadata'],
        )
        self.copies[volume['id']] = points.Copy(
            f'b-{volume["id"]}', points.BACKUP, 1, 'available', target['id']
        )
        return str(target['id'])

    def unregister(self, source: str) -> None:
        """Let a backup be known here as it is at the source."""
        old = self.copies[source]
        del self.site.volumes[old.volume_id]
        self.site.backup_rows[old.id]['volume_id'] = source
        self.copies[source] = points.Copy(
            old.id, old.kind, old.size, old.status, source
        )

    @property
    def point(self) -> points.Point:
        return points.Point(
            'set-id',
            'nightly',
            self.kind,
            'shop',
            self.created_at,
            self.state,
            self.servers,
            {source: self._as_it_is(each)
             for source, each in self.copies.items()},
            self.volumes or len(self.copies),
        )

    def _as_it_is(self, known: points.Copy) -> points.Copy:
        row = self.site.backup_rows.get(known.id, {'status': known.status})
        return dataclasses.replace(known, status=row['status'])

    @property
    def mapping(self) -> mappings.Mapping:
        return mappings.from_yaml(self.text, 'mapping.yaml')

    def plan(self, **options: Any) -> restore_plan.Plan:
        return restore_preflight.make(
            self.cloud,
            self.point,
            self.mapping,
            restore_plan.Options(**options),
        )

    def restore(self, check: str = '', **options: Any) -> Any:
        return restore.create(
            self.client,
            self.cloud,
            self.plan(**options),
            restore.Means(
                60.0, 60.0, check=check, progress=self.progress.append
            ),
        )

    def refused(self, **options: Any) -> str:
        """Check that nothing was changed, and return why."""
        before = list(self.site.log)
        said = ' '.join(self.plan(**options).refusals)
        self.assertNotEqual('', said)
        self.assertEqual(before, self.site.log)
        return said

    @property
    def waiter(self) -> waiting.Waiter:
        return waiting.Waiter(self.cloud, self.client.timer, 60.0)

    def target(self, source: str) -> dict[str, Any]:
        return self.site.volumes[f't-{source}']

    def wanted(self, source: str = 'db-vda') -> resolved.Volume:
        return resolved.Volume(
            source, 'shop', 'db', '/dev/vda', 1, 't1', None,
            self.servers[0]['volumes'][0],
        )
