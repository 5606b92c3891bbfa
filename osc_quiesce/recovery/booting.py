# SPDX-License-Identifier: Apache-2.0

"""Servers made again: with their ports, and their volumes in their order.

No volume is deleted with a server that fails to build: what a server wants of
its volumes is set when it is active. A server that has run is never deleted:
its volumes may have data that no backup has, and may go with it.
"""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
import functools
import threading
from typing import Any, Final
from urllib import parse

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import ports
from osc_quiesce.recovery import resolved
from osc_quiesce.recovery import restore_plan
from osc_quiesce.recovery import restores
from osc_quiesce.recovery import waiting

#: with the hostname of a server, which may have dots, or one letter; with
#: delete_on_termination of an attachment, and tags
_MICROVERSION: Final = '2.94'
_LONGEST_NAME: Final = 255


class NotBooted(errors.ApplicationError):
    """A server does not run; the message says why, and what to do."""


class Booter:
    """Makes the ports and servers of a restore.

    :param volumes: the ID of the restored volume, by that of its source
    """

    def __init__(self, waiter: waiting.Waiter, plan: restore_plan.Plan,
                 volumes: Mapping[str, str]) -> None:
        self._waiter = waiter
        self._cloud = waiter.cloud
        self._plan = plan
        self._volumes = volumes
        self._turn = threading.Lock()
        self._there = {
            metadata.get(each, marks.SOURCE): each
            for each in restore_plan.servers_of(self._cloud, plan.restore_id)}

    def boot(self, server: resolved.Server) -> dict[str, Any]:
        """Return a server, as Nova shows it, when it is active.

        :raises NotBooted: it did not become so
        """
        # Cinder reserves a shared volume for one server at a time.
        is_shared = any(each.get('multiattach') for each in server.volumes)
        with self._turn if is_shared else contextlib.nullcontext():
            self._waiter.timer.sleep(0)  # where a signal may stop us
            return self._boot(server)

    def _boot(self, server: resolved.Server) -> dict[str, Any]:
        found = self._there.get(server.id)
        if found:
            found = self._settled(found['id'])
            if _never_ran(found):
                self._discard(server, found)
                found = None
        if not found:
            made = self._make(server, [self._port(p) for p in server.ports])
            found = self._settled(
                made['id'], {'id': made['id'], 'status': 'BUILD'})
        if found['status'] != 'ACTIVE':
            raise self._not_booted(server, found)
        self._waiter.repeat(functools.partial(self._finish, server, found))
        return found

    def _settled(self, id_: str, known: Mapping[str, Any] | None = None,
                 ) -> dict[str, Any]:
        """Return a server when Nova is not at work on it any more."""
        return self._waiter.server(id_, known, _(
            'The same command again goes on waiting. If Nova was restarted, '
            'it may have forgotten the server: delete it with "openstack '
            'server delete %s", which keeps its volumes, and run the same '
            'command again.') % id_)

    def _not_booted(self, server: resolved.Server,
                    found: Mapping[str, Any]) -> NotBooted:
        names = {'server': model.label(found['id'], found['name']),
                 'source': server.label,
                 'status': found['status']}
        if _never_ran(found):
            return NotBooted(
                _('Server %(server)s, made for %(source)s, is %(status)s: '
                  '%(why)s.') % {
                      **names,
                      'why': (found.get('fault') or {}).get('message', _(
                          'Nova gives no reason')).rstrip('.')},
                _('Its volumes are kept; the same command again makes it '
                  'again.'))
        return NotBooted(
            _('Server %(server)s, made for %(source)s, is %(status)s, and is '
              'left as it is, since its volumes may have data that no backup '
              'has.') % names,
            _('Start it, so that it is ACTIVE, and run the same command '
              'again; or delete the restore with "openstack application '
              'restore delete %s".') % self._plan.restore_id)

    def _discard(self, server: resolved.Server,
                 found: Mapping[str, Any]) -> None:
        """Delete a server of ours that never ran, and no volume with it."""
        restores.delete_server(
            self._waiter, found, set(self._volumes.values()))
        for volume in server.volumes:
            self._waiter.volume(
                self._volumes[volume['id']], {'detaching', 'reserved'})

    def _port(self, port: resolved.Port) -> str:
        """Return the ID of a port; make it if it is not there yet."""
        description = ports.description(self._plan.restore_id, port.id)
        query = parse.urlencode({'description': description})
        found = self._waiter.repeat(
            lambda: self._cloud.network('GET', f'/ports?{query}'))['ports']
        for each in found:
            if each['device_id'] or ports.fits(each, port.body):
                return str(each['id'])
            # It is of an earlier run, and the mapping has changed.
            self._cloud.network('DELETE', f'/ports/{each["id"]}')
        try:
            made = self._cloud.network('POST', '/ports', {'port': {
                **port.body,
                'name': self._named(port.body['name']),
                'description': description}})['port']
        except cloud_api.CloudError as exc:
            raise NotBooted(
                _('The port that stands for port %(port)s was not made: '
                  '%(why)s.') % {
                      'port': port.id, 'why': str(exc).rstrip('.')},
                _('The same command again goes on.')) from exc
        return str(made['id'])

    def _make(self, server: resolved.Server,
              port_ids: list[str]) -> dict[str, Any]:
        # First: if the answer is lost, a guest may write to them all the same.
        now = model.utc_now()
        for volume in server.volumes:
            self._waiter.repeat(functools.partial(
                marks.write, self._cloud, self._volumes[volume['id']],
                {marks.STARTED: now}))
        body = {'server': self._body(server, port_ids)}
        if server.group:
            body['os:scheduler_hints'] = {'group': server.group}
        try:
            made: dict[str, Any] = self._cloud.compute(
                'POST', '/servers', body, _MICROVERSION)['server']
        except cloud_api.CloudError as exc:
            text = (_('It is not known whether a server was made for '
                      '%(server)s: %(why)s.') if exc.outcome_unknown else
                    _('No server was made for %(server)s: %(why)s.'))
            raise NotBooted(
                text % {'server': server.label, 'why': str(exc).rstrip('.')},
                _('The same command again goes on.')) from exc
        return made

    def _body(self, server: resolved.Server,
              port_ids: list[str]) -> dict[str, Any]:
        recorded = server.manifest
        optional = {'availability_zone': server.zone,
                    'key_name': server.keypair,
                    'hostname': server.hostname,
                    'user_data': server.user_data,
                    'description': recorded.get('description'),
                    'tags': recorded.get('tags'),
                    'config_drive': recorded.get('config_drive')}
        return {
            'name': self._named(server.name),
            'flavorRef': server.flavor,
            'imageRef': server.image or '',
            'block_device_mapping_v2': self._disks(server),
            'networks': [{'port': id_, **(
                {'tag': port.tag} if port.tag else {})} for id_, port in zip(
                    port_ids, server.ports, strict=True)] or 'none',
            'metadata': {**marks.foreign(recorded.get('metadata')),
                         **metadata.ours({
                             marks.APPLICATION: self._plan.point.application,
                             marks.RESTORE: self._plan.name,
                             marks.RESTORE_ID: self._plan.restore_id,
                             marks.SET_ID: self._plan.point.id,
                             marks.SOURCE: server.id,
                             marks.STAGE: str(server.stage)})},
            **{k: v for k, v in optional.items() if v}}

    def _named(self, name: str) -> str:
        return f'{self._plan.prefix}{name}'[:_LONGEST_NAME] if name else ''

    def _disks(self, server: resolved.Server) -> list[dict[str, Any]]:
        """Return the disks: Nova names devices by the order of this list."""
        disks: list[dict[str, Any]] = []
        if server.image:
            disks.append({'uuid': server.image,
                          'source_type': 'image',
                          'destination_type': 'local',
                          'boot_index': 0,
                          'delete_on_termination': True})
        for volume in server.volumes:
            boots = volume.get('boot_index') == 0 and not server.image
            disks.append({
                'uuid': self._volumes[volume['id']],
                'source_type': 'volume',
                'destination_type': 'volume',
                'boot_index': 0 if boots else -1,
                'delete_on_termination': False,
                **({'tag': volume['tag']} if volume.get('tag') else {})})
        return disks

    def _finish(self, server: resolved.Server,
                found: Mapping[str, Any]) -> None:
        """Set which volumes go with a server, now that it is active.

        :raises NotBooted: it does not have one of them
        """
        there = {
            each['id']: each['delete_on_termination']
            for each in found['os-extended-volumes:volumes_attached']}
        for volume in server.volumes:
            id_ = self._volumes[volume['id']]
            if id_ not in there:
                raise NotBooted(
                    _('Server %(server)s, made for %(source)s, does not have '
                      'volume %(id)s (%(device)s).') % {
                          'server': model.label(found['id'], found['name']),
                          'source': server.label,
                          'id': id_, 'device': volume['device']},
                    _('Attach it with "openstack server add volume %(server)s '
                      '%(id)s", and run the same command again.') % {
                          'server': found['id'], 'id': id_})
            if volume.get('delete_on_termination') and not there[id_]:
                self._cloud.compute(
                    'PUT',
                    f'/servers/{found["id"]}/os-volume_attachments/{id_}',
                    {'volumeAttachment': {
                        'volumeId': id_, 'delete_on_termination': True}},
                    _MICROVERSION)


def _never_ran(server: Mapping[str, Any]) -> bool:
    """Return whether Nova has failed to build a server."""
    return server['status'] == 'ERROR' and (
        server.get('OS-SRV-USG:launched_at', '') is None)
