# SPDX-License-Identifier: Apache-2.0

"""Why a backup has failed, whether it is worth another try, and what to do.

Cinder tells reasons in words only, which are looked at here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
import re
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.i18n import _
from osc_quiesce.recovery import waiting

# Sources: cinder/backup/manager.py, cinder/backup/chunkeddriver.py,
# cinder/scheduler/manager.py and cinder/backup/drivers/ceph.py
_RESTARTED: Final = (
    'incomplete backup reset on manager restart',
    'create backup aborted, expected snapshot status backing-up')
# The restart deletes the temporary volume while cinder-volume makes it, which
# is what cinder-volume tells then.
_NO_TEMPORARY: Final = re.compile(r'volume \S+ could not be found')
# Of several that make a bucket of S3, or a directory, at once, one does.
_DIRECTORY_MADE: Final = '[errno 17] file exists'
_MADE: Final = ('bucketalreadyownedbyyou', _DIRECTORY_MADE)
# The latter is of a volume that has grown since the backup before.
_NEEDS_FULL: Final = ('full backup', 'list index out of range')
_NO_SERVICE: Final = 'service not found for creating backup'
_CEPH: Final = ('rbd', 'errno 17')


def reason(backup: Mapping[str, Any], waiter: waiting.Waiter) -> str:
    """Return why a backup has failed, as far as Cinder tells."""
    return (said(backup) or waiter.reason(backup['id'])).rstrip('.')


def said(backup: Mapping[str, Any]) -> str:
    """Return what a backup itself says of its failure, if anything.

    What comes from another service of Cinder ends with a traceback.
    """
    text = str(backup.get('fail_reason') or '')
    return text.partition('Traceback (most recent call last)')[0].strip()


def is_passing(why: str) -> bool:
    """Return whether another attempt need not fail: nothing is wrong now."""
    return bool(
        _NO_TEMPORARY.match(why.lower())
        or any(words in why.lower() for words in (*_RESTARTED, *_MADE)))


def needs_full(why: str) -> bool:
    """Return whether only a full backup can succeed."""
    return any(words in why.lower() for words in _NEEDS_FULL)


def without_parent(parent_id: str | None) -> str:
    """Return what helps if it is the parent that lets a backup fail.

    Not done unasked: when a whole store is away, as a directory that is not
    mounted, all parents are, and a full backup would go to a wrong place.
    """
    return _('If its parent %s is lost or damaged, but not the whole store, '
             'the same command with --full does without it.') % parent_id


def may_delete(backup: Mapping[str, Any]) -> bool:
    """Return whether deleting a failed backup can harm no other one.

    With Ceph's driver, it deletes the data of the first one of the volume. No
    record tells the driver of a failed backup. So its reason has to, although
    other drivers name RBD too if they cannot read the volume.
    """
    said = (backup.get('fail_reason') or '').lower()
    return _DIRECTORY_MADE in said or not any(
        words in said for words in _CEPH)


def kept(volume: str, backup: Mapping[str, Any]) -> str:
    """Return why a failed backup is left alone."""
    return _(
        'Backup %(id)s of volume %(volume)s has failed (%(why)s). It is not '
        "deleted, since with Ceph's backup driver that would destroy the "
        'first backup of the volume. If cinder-backup has that driver, use '
        'another one; else delete this backup with "openstack volume backup '
        'delete %(id)s".') % {
            'id': backup['id'], 'volume': volume,
            'why': (backup.get('fail_reason') or '').rstrip('.')}


def unfinished(volume: str, backup_id: str) -> str:
    """Return why a backup that is available is of no use."""
    return _(
        'Backup %(id)s of volume %(volume)s is available, but it was not '
        'finished: an administrator has set its status, or the driver of '
        'cinder-backup counts no objects and cannot be used. Wait if '
        'cinder-backup is still making it; else delete it with "openstack '
        'volume backup delete %(id)s".') % {
            'id': backup_id, 'volume': volume}


def ceph() -> str:
    return _(
        "The backup driver of this site is Ceph's: from a snapshot it makes "
        'full backups only, and only one of each volume; a second one fails, '
        'and deleting that one destroys the first. Use another driver of '
        'cinder-backup, such as Swift, S3, NFS or POSIX.')


def damage(cloud: cloud_api.Cloud, why: str, volume_id: str,
           snapshot_id: str) -> str:
    """Return what a failure has damaged, and what puts it right.

    Without a service for the backup, Cinder overwrites the status of the
    volume, and leaves that of the snapshot. Only administrators can help.

    :returns: empty if nothing is known to be damaged
    """
    if _NO_SERVICE not in why.lower():
        return ''
    wrong = []
    try:
        volume = cloud.volume('GET', f'/volumes/{volume_id}')['volume']
        if volume['status'] not in ('available', 'in-use'):
            status = 'in-use' if volume.get('attachments') else 'available'
            wrong.append(
                f'"openstack volume set --state {status} {volume_id}"')
        snapshot = cloud.volume('GET', f'/snapshots/{snapshot_id}')['snapshot']
        if snapshot['status'] != 'available':
            wrong.append('"openstack volume snapshot set --state available '
                         f'{snapshot_id}"')
    except cloud_api.CloudError:
        return ''
    if not wrong:
        return ''
    return _('Cinder has left a wrong status, which an administrator puts '
             'right with %s.') % _(' and ').join(wrong)
