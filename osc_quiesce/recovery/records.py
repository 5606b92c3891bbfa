# SPDX-License-Identifier: Apache-2.0

"""Export records of backups: what makes a backup known at another site.

A record is JSON in base64. It has all that Cinder knows of a backup, our
metadata included, but no data: these stay in the store, which both sites see.
Import honours what was rewritten in it. A record for another volume is one
whose chain goes on there.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
import dataclasses
import json
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.i18n import _

#: what the backup driver of Ceph is called in records
CEPH: Final = 'cinder.backup.drivers.ceph'
#: of a row that was made by an import which then failed
NO_VOLUME: Final = '00000000-0000-0000-0000-000000000000'
#: why Cinder does nothing with a backup that is there, as a part of a sentence
NO_SERVICE: Final = _('no cinder-backup service is up for it, so start one')


@dataclasses.dataclass(frozen=True)
class Record:
    """A record, decoded.

    :param service: name of the driver that has the data
    :param data: the fields of the backup
    """

    service: str
    data: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.data['id'])

    @property
    def volume_id(self) -> str:
        return str(self.data.get('volume_id') or '')

    @property
    def size(self) -> int:
        """GiB, for which the site where it is imported needs quota."""
        return int(self.data.get('size') or 0)

    @property
    def is_of_ceph(self) -> bool:
        return self.service.startswith(CEPH)

    def for_volume(self, volume_id: str) -> Record:
        """Return the record as that of a backup of another volume."""
        return Record(self.service, {**self.data, 'volume_id': volume_id})


def parent_id(record: Record) -> str | None:
    """Return of which backup this one has only the differences, if of any."""
    return record.data.get('parent_id') or None


def decode(body: Mapping[str, Any]) -> Record:
    """Return the record of an answer, or of a bundle.

    :param body: with ``backup_service`` and ``backup_url``
    :raises errors.ApplicationError: it is damaged
    """
    try:
        data = json.loads(base64.b64decode(body['backup_url'], validate=True))
        if not data['id']:
            raise ValueError(_('it has no ID'))
        return Record(str(body['backup_service']), data)
    except (binascii.Error, ValueError, KeyError, TypeError) as exc:
        raise errors.ApplicationError(
            _('The record of a backup is damaged (%s).') % exc) from exc


def encode(record: Record) -> dict[str, str]:
    """Return a record as import and bundles have it."""
    text = json.dumps(dict(record.data))
    return {'backup_service': record.service,
            'backup_url': base64.b64encode(text.encode()).decode()}


def export(cloud: cloud_api.Cloud, backup_id: str) -> Record:
    """Return the record of a backup; administrators only, by default.

    :raises cloud_api.NotThere: there is no such backup
    :raises cloud_api.CloudError: Cinder does not give it
    """
    try:
        answer = cloud.volume('GET', f'/backups/{backup_id}/export_record')
    except cloud_api.NotThere as exc:
        # That a service is missing is a 404 as well.
        if is_there(cloud, backup_id):
            raise cloud_api.CloudError(NO_SERVICE, exc.status) from exc
        raise
    except cloud_api.CloudError as exc:
        if exc.status != 403:
            raise
        raise cloud_api.CloudError(
            _('You may not export the records of backups at this site: that '
              'needs the role admin, unless the policy says otherwise.'),
            403) from exc
    try:
        return decode(answer['backup-record'])
    except (KeyError, errors.ApplicationError) as exc:
        raise cloud_api.CloudError(
            _('the record of backup %(id)s cannot be read: %(why)s') % {
                'id': backup_id, 'why': str(exc).rstrip('.')}) from exc


def is_left(row: Mapping[str, Any]) -> bool:
    """Return whether a backup is what an import that has failed has left.

    Such a row has neither volume nor data, so nothing is lost with it.
    """
    return (row['status'] == 'error' and row['volume_id'] == NO_VOLUME
            and not row.get('container'))


def import_(cloud: cloud_api.Cloud, record: Record) -> dict[str, Any] | None:
    """Ask a site to know a backup; that it is known already is no error.

    The request is our own: that of openstacksdk 4.22.0 goes to a wrong path.

    :returns: the backup, if it is known already
    :raises cloud_api.CloudError: Cinder refuses it
    """
    try:
        cloud.volume('POST', '/backups/import_record',
                     {'backup-record': encode(record)})
    except cloud_api.CloudError as exc:
        if exc.status != 400:
            raise
        # Its words may be translated: so it is looked at.
        there = find(cloud, record.id)
        if there is None:
            raise
        return there
    return None


def is_there(cloud: cloud_api.Cloud, backup_id: str) -> bool:
    """Return whether a site has a backup, of whatever project one may see."""
    return find(cloud, backup_id) is not None


def find(cloud: cloud_api.Cloud, backup_id: str) -> dict[str, Any] | None:
    """Return a backup of a site, or None if it is not there."""
    try:
        return read(cloud, backup_id)
    except cloud_api.NotThere:
        return None


def read(cloud: cloud_api.Cloud, backup_id: str) -> dict[str, Any]:
    """Return a backup of a site, of whatever project one may see.

    :raises cloud_api.NotThere: there is no such backup
    """
    found: dict[str, Any] = cloud.volume(
        'GET', f'/backups/{backup_id}',
        microversion=cloud_api.BACKUP_MICROVERSION)['backup']
    return found


def may_import(cloud: cloud_api.Cloud) -> bool:
    """Return whether the caller may import records.

    A record without an ID is sent, which cannot have an effect: Cinder looks
    at the rights first.

    :raises cloud_api.CloudError: Cinder cannot be asked
    """
    try:
        cloud.volume('POST', '/backups/import_record',
                     {'backup-record': encode(Record('none', {}))})
    except cloud_api.CloudError as exc:
        if exc.status == 403:
            return False
        if exc.status != 400:
            raise
    return True
