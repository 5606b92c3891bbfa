# SPDX-License-Identifier: Apache-2.0

"""What is written on volumes and servers, so that a run finds its own again.

A restore into a volume replaces the volume's metadata by those of its source,
if that had any, layer by layer; a description stays if there is a name. So
what must be found again before a restore is complete is in the description as
well: the source of a target volume, or the restore that made the volume, and
the restore that has it.

Whatever a backup of such a volume is restored into, by whatever means, gets
copies of these metadata; a new volume gets the name and description too. So
metadata and description name the volume that they are of: copies do not count.
Copies may come home, with a backup of what was restored elsewhere. So metadata
of a restore count only if the description names the same restore.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
import re
from typing import Any, Final
import uuid

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import metadata

PREFIX: Final = metadata.PREFIX

APPLICATION: Final = 'application'
BACKUP_ID: Final = 'backup_id'
#: on backups: when their set was drilled last, what came of it, in how many
#: seconds the last server was ready; see :mod:`osc_quiesce.recovery.drill`
DRILLED_AT: Final = 'drilled_at'
DRILL: Final = 'drill'
DRILL_RTO: Final = 'drill_rto'
DRILL_OK: Final = 'ok'
DRILL_FAILED: Final = 'failed'
#: on a restored volume: when a proof found that it is not what was backed up
DIFFERS: Final = 'differs'
HIDDEN_BY: Final = 'hidden_by'
PROOF_OF: Final = 'proof_of'
RESTORE: Final = 'restore'
RESTORE_ID: Final = 'restore_id'
RESTORED_AT: Final = 'restored_at'
SERVERS: Final = 'restore_servers'
SET_ID: Final = 'restore_of'
SOURCE: Final = 'source_id'
STAGE: Final = 'stage'
#: on volumes: when a server was to be made that has them, or when they could
#: not be proven any more
STARTED: Final = 'started'
TARGET_OF: Final = 'target_of'
VERIFIED: Final = 'verified'
#: ID of the volume that the metadata are of
VOLUME: Final = 'volume_id'
VOLUMES: Final = 'restore_volumes'

_NAMESPACE: Final = uuid.UUID('a07a3c7f-6a0a-5c0a-9d3a-5d7b8c1b2e46')
_DRILLS: Final = uuid.UUID('c3f0a5d2-61be-5b1e-8d47-0f2b9c7e4a18')
_TARGET: Final = f'{PREFIX}{TARGET_OF}='
_OWN: Final = f'{PREFIX}{RESTORE_ID}='
_OF: Final = f';{SOURCE}='
_HELD: Final = f';{PREFIX}holder='
_ITSELF: Final = f';{VOLUME}='
#: metadata of Cinder's own that it shows among those of users
_SHOWN: Final = ('readonly', 'attached_mode')
#: most characters of a description that leave room for a holder
_ROOM: Final = metadata.PIECE - len(_HELD) - len(_ITSELF) - 2 * 36


def foreign(found: Mapping[str, str] | None) -> dict[str, str]:
    """Return metadata without our keys."""
    return {key: value for key, value in (found or {}).items()
            if not key.startswith(PREFIX)}


def of_user(volume: Mapping[str, Any]) -> dict[str, str]:
    """Return metadata of a volume that may be written back.

    Cinder shows some of its own among them.
    """
    found = volume.get('metadata') or {}
    return {key: value for key, value in found.items() if key not in _SHOWN}


def restore_id(set_id: str, project_id: str | None, name: str) -> str:
    """Return the ID of a restore: the same command again has the same."""
    return str(uuid.uuid5(_NAMESPACE, f'{set_id}/{project_id}/{name}'))


def drill_id(set_id: str, project_id: str | None) -> str:
    """Return the ID of the drill of a set, which no restore has."""
    return str(uuid.uuid5(_DRILLS, f'{set_id}/{project_id}'))


def target_description(volume_id: str) -> str:
    """Return the description of the target volume of a source volume."""
    return f'{_TARGET}{volume_id}'


def own_description(restore: str, volume_id: str) -> str:
    """Return the description of a volume that a restore has made."""
    return f'{_OWN}{restore}{_OF}{volume_id}'


def get(volume: Mapping[str, Any], key: str) -> str:
    """Return one of our keys of a volume; '' if it was copied.

    It was if it is of another volume, or of a restore that does not have this
    one.
    """
    is_own = metadata.get(volume, VOLUME) == volume['id'] and (
        key == TARGET_OF
        or metadata.get(volume, RESTORE_ID) == described_owner(volume))
    return metadata.get(volume, key) if is_own else ''


def _description(volume: Mapping[str, Any]) -> tuple[str, str]:
    """Return the description of a volume, and the restore that has it.

    Both are empty if it is that of another. Until it is signed it names none,
    and nothing can have been copied.
    """
    text, _sign, id_ = (volume.get('description') or '').partition(_ITSELF)
    text, _sign, holder = text.partition(_HELD)
    return (text, holder) if id_ in ('', volume['id']) else ('', '')


def described_owner(volume: Mapping[str, Any]) -> str:
    """Return the ID of the restore that a description names, or ''.

    Cinder does not replace that. Metadata count if it has no room for an ID.
    """
    text, holder = _description(volume)
    if len(text) > _ROOM:
        return _noted_owner(volume)
    return holder or ('' if target_of(volume) else maker(volume)[0])


def _noted_owner(volume: Mapping[str, Any]) -> str:
    if metadata.get(volume, VOLUME) != volume['id']:
        return ''
    return metadata.get(volume, RESTORE_ID)


def target_of(volume: Mapping[str, Any]) -> str:
    """Return of which source volume this is the target volume, or ''."""
    if is_made_as_target(volume):
        return _description(volume)[0].removeprefix(_TARGET)
    found = metadata.get(volume, TARGET_OF)
    if found == volume['id']:
        # Cinder is restoring what goes back to this very volume.
        return metadata.get(volume, VOLUME)
    return get(volume, TARGET_OF)


def is_made_as_target(volume: Mapping[str, Any]) -> bool:
    """Return whether a volume was never anything but a target volume.

    Others are the places to go back to after a failover, with data of theirs.
    """
    return _description(volume)[0].startswith(_TARGET)


def maker(volume: Mapping[str, Any]) -> tuple[str, str]:
    """Return which restore has made a volume, and of which source volume.

    Both are empty if none has.
    """
    found = re.fullmatch(f'{_OWN}(.+?){_OF}(.+)', _description(volume)[0])
    return (found[1], found[2]) if found else ('', '')


def owner(volume: Mapping[str, Any]) -> str:
    """Return the ID of the restore that has a volume, or ''.

    If only the metadata tell one, a person has written it or Cinder has copied
    it: it is heeded, but not while a restore is not complete.
    """
    found = described_owner(volume)
    if found or volume.get('status') in (
            'restoring-backup', 'error_restoring'):
        return found
    return _noted_owner(volume)


def disowned_by(volume: Mapping[str, Any]) -> str:
    """Return the restore that has filled a volume, if that is not told now.

    A user has changed the description since. That of a target volume which no
    restore has is as it should be: then Cinder has copied the metadata, as it
    does while it restores.
    """
    text = volume.get('description') or ''
    is_free = is_made_as_target(volume) and text.endswith(
        f'{_ITSELF}{volume["id"]}')
    is_filled = metadata.get(volume, RESTORED_AT) or metadata.get(
        volume, STARTED)
    found = _noted_owner(volume)
    if (is_free or not is_filled or get(volume, RESTORE_ID)
            or owner(volume) != found):
        return ''
    return found


def is_made_by(volume: Mapping[str, Any], restore: str, source: str) -> bool:
    """Return whether a restore has made a volume, of this source volume."""
    return maker(volume) == (restore, source) or (
        disowned_by(volume) == restore
        and metadata.get(volume, SOURCE) == source)


def described_again(volume: Mapping[str, Any]) -> str:
    """Return a description with which a volume is that of its restore again.

    Whether a target volume was made as one is not known any more.
    """
    text, holder = _description(volume)[0], metadata.get(volume, RESTORE_ID)
    if not target_of(volume):
        text = own_description(holder, metadata.get(volume, SOURCE))
        return f'{text}{_ITSELF}{volume["id"]}'
    return f'{text}{_HELD}{holder}{_ITSELF}{volume["id"]}'


def owner_label(volume: Mapping[str, Any]) -> str:
    """Return what messages call the restore that has a volume."""
    id_ = owner(volume)
    name = metadata.get(volume, RESTORE)
    is_known = name and metadata.get(volume, RESTORE_ID) == id_
    return f'{name} ({id_})' if is_known else id_


def source(volume: Mapping[str, Any]) -> str:
    """Return which volume a restored volume stands for, or ''."""
    return get(volume, SOURCE) or target_of(volume) or maker(volume)[1]


def verified(volume: Mapping[str, Any]) -> str:
    """Return when a volume was proven to be equal to its backup, or ''.

    What its server writes does not count as long as it has the volume: it
    began with what was proven. Without the server, the volume was in use.
    """
    status = volume['status']
    has_server = status in ('reserved', 'attaching') or (
        volume['attachments'] and status != 'detaching')
    if get(volume, STARTED) and not has_server:
        return ''
    return get(volume, VERIFIED)


def is_used_as_verified(volume: Mapping[str, Any],
                        servers: Collection[str]) -> bool:
    """Return whether servers have a volume since it was proven, and no other.

    Nothing tells who has had a volume that none of them has.

    :param servers: IDs of those that the restore has made
    """
    return bool(get(volume, STARTED) and verified(volume) and all(
        each['server_id'] in servers for each in volume['attachments']))


def write(cloud: cloud_api.Cloud, volume_id: str,
          values: Mapping[str, str]) -> None:
    """Add our keys to the metadata of a volume."""
    cloud.volume('POST', f'/volumes/{volume_id}/metadata',
                 {'metadata': metadata.ours(values)})


def begin(cloud: cloud_api.Cloud, volume: Mapping[str, Any],
          values: Mapping[str, str]) -> None:
    """Add our keys to the metadata of a volume that may have copied ones.

    These would count, if only the ID of the volume were added.
    """
    if metadata.get(volume, VOLUME) == volume['id']:
        write(cloud, volume['id'], values)
        return
    cloud.volume('PUT', f'/volumes/{volume["id"]}/metadata', {
        'metadata': {**foreign(of_user(volume)),
                     **metadata.ours({VOLUME: volume['id'], **values})}})


def sign(cloud: cloud_api.Cloud, volume: Mapping[str, Any],
         holder: str | None = None,
         whole: Mapping[str, str] | None = None) -> None:
    """Let a description name the volume that it is of, and who has that.

    To be done before anybody can have backed the volume up.

    :param holder: ID of the restore; '' if none has it any more; None if that
        stays as it is
    :param whole: all metadata of the volume, to be written in one request
        with the description
    """
    before = volume.get('description') or ''
    text, held = _description(volume)
    holder = held if holder is None else holder
    if holder and len(text) <= _ROOM:
        after = f'{text}{_HELD}{holder}{_ITSELF}{volume["id"]}'
    elif text.startswith((_TARGET, _OWN)):
        after = f'{text}{_ITSELF}{volume["id"]}'
    else:
        after = text if held else before
    # With a restore, Cinder describes what has no name like its source.
    name = {'name': volume['id']} if holder and not volume['name'] else {}
    if after != before or name or whole is not None:
        cloud.volume('PUT', f'/volumes/{volume["id"]}', {
            'volume': {'description': after, **name, **(
                {} if whole is None else {'metadata': dict(whole)})}})


def erase(cloud: cloud_api.Cloud, volume: Mapping[str, Any],
          *names: str) -> None:
    """Remove some of our keys from the metadata of a volume."""
    gone = {PREFIX + name for name in names}
    left = {key: value for key, value in of_user(volume).items()
            if key not in gone}
    cloud.volume(
        'PUT', f'/volumes/{volume["id"]}/metadata', {'metadata': left})
