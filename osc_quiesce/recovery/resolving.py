# SPDX-License-Identifier: Apache-2.0

"""Every name of a mapping, looked for at the site: an ID, or a refusal.

It only reads, and it finds all refusals at once.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
import re
from typing import Any, Final

from osc_quiesce.application import documents
from osc_quiesce.application import errors
from osc_quiesce.i18n import _
from osc_quiesce.recovery import losses
from osc_quiesce.recovery import mapping as mappings
from osc_quiesce.recovery import ports
from osc_quiesce.recovery import resolved
from osc_quiesce.recovery import rows as tables
from osc_quiesce.recovery import site as sites

#: most bytes of user data in Nova, in base64
_MOST_USER_DATA: Final = 65535


def resolve(site: sites.Site, mapping: mappings.Mapping,
            servers: Iterable[Mapping[str, Any]], application: str,
            from_backups: bool = True, restore_id: str = '',
            checks_use: bool = True) -> resolved.Resolution:
    """Return what the mapping makes of servers at this site.

    :param servers: what is recorded of them
    :param from_backups: whether volumes are restored from backups, and not
        made from snapshots, whose type and zone Cinder prescribes
    :param restore_id: of the restore; its own ports are no obstacle
    :param checks_use: whether addresses and MACs must be free now: for a
        backup they need not be, since a restore may be running already
    :raises cloud_api.CloudError: a service cannot be asked
    """
    resolver = _Resolver(
        site, mapping, application, from_backups, restore_id, checks_use)
    made = [resolver.server(each) for each in sorted(
        servers, key=lambda server: server['order'])]
    return resolved.Resolution(
        [server for server in made if server], resolver.volumes, resolver.rows)


class _Resolver:
    def __init__(self, site: sites.Site, mapping: mappings.Mapping,
                 application: str, from_backups: bool, restore_id: str,
                 checks_use: bool) -> None:
        self._site = site
        self._mapping = mapping
        self._application = application
        self._from_backups = from_backups
        self._restore_id = restore_id
        self._checks_use = checks_use
        self._ids: dict[tuple[str, str], str] = {}
        self.rows: list[resolved.Row] = []
        self.volumes: dict[str, resolved.Volume] = {}

    def server(self, manifest: Mapping[str, Any]) -> resolved.Server | None:
        """Return a server as it will be here; None if it is left out."""
        rows = tables.Rows(self._site, self._mapping, manifest,
                           self._restore_id, self.rows, self._checks_use,
                           self._ids)
        own = self._mapping.entry('servers', manifest['id'], manifest['name'])
        if own and own.get('exclude'):
            rows.add(_('server'), manifest['name'], _('left out'))
            return None
        volumes = self._volumes(rows, manifest)
        made = resolved.Server(
            manifest, flavor=self._flavor(rows, manifest, own),
            image=self._image(rows, manifest),
            zone=rows.name(
                'zones', _('zone'), manifest.get('availability_zone')),
            keypair=rows.name(
                'keypairs', _('key pair'), manifest.get('key_name')),
            group=self._group(rows, manifest),
            hostname=self._hostname(rows, manifest, own),
            user_data=self._user_data(rows, manifest, own),
            ports=ports.resolve(rows, manifest), volumes=volumes)
        for what, lost in losses.of(manifest):
            rows.add(what, lost, _('lost'))
        return made

    def _hostname(self, rows: tables.Rows, manifest: Mapping[str, Any],
                  own: mappings.Entry | None) -> str | None:
        mapped: str | None = own.get('hostname') if own else None
        recorded: str | None = manifest.get('hostname')
        if not mapped and recorded and not re.search(
                mappings.HOSTNAME, recorded):
            # Nova makes such ones of names, and takes none of them.
            rows.add(_('hostname'), recorded, '', _(
                'Nova takes only letters of ASCII, digits and "-._" there: '
                'servers.<server>.hostname of the mapping gives another one'))
        return mapped or recorded

    def _flavor(self, rows: tables.Rows, manifest: Mapping[str, Any],
                own: mappings.Entry | None) -> str | None:
        recorded = manifest['flavor']
        found = rows.found(
            'flavors', _('flavor'), (recorded.get('id'), recorded['name']),
            mappings.Entry(own.get('flavor'),
                           own.where) if own and own.get('flavor') else None,
            losses.flavor_text, losses.flavor_text(recorded))
        return found['id'] if found else None

    def _image(self, rows: tables.Rows,
               manifest: Mapping[str, Any]) -> str | None:
        image = manifest.get('image')
        if not image:
            return None
        found = rows.found(
            'images', _('image'), (image.get('id'), image.get('name')))
        return found['id'] if found else None

    def _group(self, rows: tables.Rows,
               manifest: Mapping[str, Any]) -> str | None:
        groups = manifest.get('server_groups') or ()
        found = [
            rows.found(
                'server_groups',
                _('server group'),
                (group['id'], group.get('name')),
            )
            for group in groups  # Nova lets a server be in one at most
        ]
        return next((group['id'] for group in found if group), None)

    def _user_data(self, rows: tables.Rows, manifest: Mapping[str, Any],
                   own: mappings.Entry | None) -> str | None:
        what = _('user data')
        recorded: str | None = manifest.get('user_data')
        source = _('recorded') if recorded else _('not recorded')
        path = own and own.get('user_data_file')
        if own and path:
            try:
                text = documents.read(path)
            except errors.SpecError as exc:
                rows.add(what, source, '', f'{own.where}: {exc}')
                return None
            data = base64.b64encode(text.encode()).decode()
            if len(data) > _MOST_USER_DATA:
                rows.add(
                    what, source, '',
                    _('%(path)s is longer than Nova takes (%(most)d bytes in '
                      'base64)') % {'path': path, 'most': _MOST_USER_DATA})
                return None
            rows.add(what, source, path)
            return data
        dropped = own is not None and own.get('user_data') == mappings.DROP
        if recorded:
            rows.add(what, source, _('left out') if dropped else source)
        return None if dropped else recorded

    def _volumes(self, rows: tables.Rows,
                 manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        taken = []
        for volume in resolved.in_order(manifest['volumes']):
            if volume.get('excluded'):
                rows.add(_('volume'), _source_of(volume), _('not in the set'))
                continue
            taken.append(volume)
            if volume['id'] not in self.volumes:
                self.volumes[volume['id']] = self._volume(
                    rows, manifest, volume)
        return taken

    def _volume(self, rows: tables.Rows, manifest: Mapping[str, Any],
                volume: Mapping[str, Any]) -> resolved.Volume:
        kind = zone = None
        if self._from_backups:
            kind = rows.found(
                'volume_types', _('type of volume %s') % volume['device'],
                (volume.get('type'),),
                check=lambda found: (self._encryption_problem(found)
                                     or _sharing_problem(volume, found)))
            zone = rows.name(
                'volume_zones', _('zone of volume %s') % volume['device'],
                volume.get('availability_zone'))
            if volume.get('encrypted'):
                rows.add(_('volume'), _source_of(volume), '',
                         _('it is encrypted, and neither its key nor its type '
                           'can be restored at another site'))
        return resolved.Volume(
            volume['id'], self._application, manifest['name'],
            volume['device'] or '/dev/vd?', int(volume['size']),
            kind['id'] if kind else None, zone, volume,
            self._image_metadata(rows, volume))

    def _encryption_problem(self, found: Mapping[str, Any]) -> str:
        """Return why plain data cannot be restored into volumes of a type."""
        if not self._site.encrypts(found['id']):
            return ''
        return _('volumes of type %s are encrypted: Cinder would restore '
                 'plain data into them, which no server can read'
                 ) % found['name']

    def _image_metadata(
            self, rows: tables.Rows,
            volume: Mapping[str, Any]) -> Mapping[str, str] | None:
        """Return the image metadata with the IDs of images of this site."""
        recorded: Mapping[str, str] | None = volume.get('image_metadata')
        if not recorded or not self._from_backups:
            return recorded  # snapshots are of this site
        made = dict(recorded)
        for key in resolved.IMAGE_KEYS:
            found = rows.found(
                'images', _('%(key)s of %(device)s') % {
                    'key': key, 'device': volume['device']},
                (recorded.get(key),))
            if found:
                made[key] = found['id']
        return made


def _source_of(volume: Mapping[str, Any]) -> str:
    return _('%(device)s (%(id)s, %(size)d GiB)') % {
        'device': volume['device'], 'id': volume['id'], 'size': volume['size']}


def _sharing_problem(volume: Mapping[str, Any],
                     found: Mapping[str, Any]) -> str:
    """Return why volumes of a type cannot be shared as a volume was.

    Cinder shows what a type can to administrators only.
    """
    specs = found.get('extra_specs')
    if (
            volume.get('multiattach') and specs is not None
            and 'true' not in str(specs.get('multiattach', '')).lower()):
        return _('several servers have the volume, which type %s does not '
                 'allow (multiattach)') % found['name']
    return ''
