# SPDX-License-Identifier: Apache-2.0

"""Gives restored volumes the properties of their sources, but not the data.

A restore replaces the metadata of a volume, and sets neither the bootable flag
nor the image metadata reliably. So all of that is written afterwards, and the
mark that says that the data are complete last.

A status does not tell whether Cinder has restored anything: an administrator
may have reset it. So a marker that a restore removes or overwrites is written
first. If the source had metadata, the restore of the first layer of a chain
removes it; if not, Cinder corrects it at the end. Source: restore_backup in
cinder/backup/manager.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import metadata
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import points
from osc_quiesce.recovery import resolved

#: the key with which Cinder notes what it has restored
_NOTE: Final = 'src_backup_id'


def prepare(cloud: cloud_api.Cloud, volume: Mapping[str, Any],
            values: Mapping[str, str]) -> None:
    """Write what is there before a restore.

    :param volume: as Cinder shows it now
    :param values: our keys
    """
    _sign(cloud, volume, values, {
        **marks.of_user(volume), _NOTE: 'none', **metadata.ours(values)})


def is_restored(volume: Mapping[str, Any], copy: points.Copy) -> bool:
    """Return whether Cinder has restored a backup since :func:`prepare`.

    Of a volume's own backup, it may be a part only, if a status was reset.
    """
    note = volume['metadata'].get(_NOTE)
    # Of a volume's own backup, Cinder only corrects one that is there.
    return bool(note == copy.id
                or (note is None and copy.volume_id == volume['id']))


def furnish(cloud: cloud_api.Cloud, wanted: resolved.Volume,
            volume: Mapping[str, Any], values: Mapping[str, str],
            ) -> dict[str, str]:
    """Write what is not right yet; may be repeated as often as one likes.

    :param volume: as Cinder shows it now
    :param values: our keys
    :returns: the metadata that the volume has now
    """
    recorded = wanted.manifest
    _set_image_metadata(cloud, wanted.image_metadata, volume)
    bootable = bool(recorded.get('bootable', recorded.get('boot_index') == 0))
    if bootable != (volume['bootable'] == 'true'):
        act(cloud, volume, 'os-set_bootable', {'bootable': bootable})
    _sign(cloud, volume, values)
    # Last, since it says that all is done.
    written: dict[str, str] = cloud.volume(
        'PUT', f'/volumes/{volume["id"]}/metadata', {
            'metadata': {**marks.foreign(marks.of_user(recorded)),
                         **metadata.ours(values)}})['metadata']
    return written


def _sign(cloud: cloud_api.Cloud, volume: Mapping[str, Any],
          values: Mapping[str, str],
          whole: Mapping[str, str] | None = None) -> None:
    """Describe which restore has a volume; of what it has made, that is told.
    """
    marks.sign(cloud, volume, values[marks.RESTORE_ID] if values[
        marks.TARGET_OF] else None, whole)


def act(cloud: cloud_api.Cloud, volume: Mapping[str, Any], action: str,
        details: Any) -> None:
    """Ask Cinder for an action on a volume."""
    cloud.volume('POST', f'/volumes/{volume["id"]}/action', {action: details})


def _set_image_metadata(cloud: cloud_api.Cloud,
                        wanted: Mapping[str, str] | None,
                        volume: Mapping[str, Any]) -> None:
    if wanted is None:
        return  # not known: those of the moment of the backup stay
    there = volume.get('volume_image_metadata') or {}
    for key in sorted(set(there) - set(wanted)):
        act(cloud, volume, 'os-unset_image_metadata', {'key': key})
    if wanted.items() - there.items():
        act(cloud, volume, 'os-set_image_metadata', {'metadata': dict(wanted)})
