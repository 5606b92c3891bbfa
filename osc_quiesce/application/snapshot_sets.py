# SPDX-License-Identifier: Apache-2.0

"""Snapshot sets: all that is known of them is in their snapshots' metadata.

There is no file and no database of ours, so a set can be listed, shown and
deleted from any machine by anybody who may use the project's snapshots. A set
counts as consistent only if all its snapshots are there and say so.
"""

from collections.abc import Iterable, Mapping
import dataclasses
import functools
from typing import Any, Final

from osc_quiesce.application import choosing
from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce import concurrency
from osc_quiesce.i18n import _
from osc_quiesce import retry

FORMAT: Final = '2'

#: of snapshots whose data are there
THERE: Final = frozenset({'available', 'backing-up'})

CONSISTENT: Final = 'consistent'
INCONSISTENT: Final = 'inconsistent'
# Not (yet) checked, for example since the command was killed
PENDING: Final = 'pending'
# Snapshots are missing, for example since deleting it was interrupted
INCOMPLETE: Final = 'incomplete'

#: seconds that deleting waits for Cinder
DELETE_TIMEOUT: Final = 300.0
#: seconds for which it repeats what Cinder refuses
REFUSED_TIME: Final = 10.0
#: seconds after which a request for a snapshot, without an answer, is lost
LATE_SNAPSHOT_TIME: Final = 10.0


class NoSuchSet(errors.ApplicationError):
    """No set has this name or ID."""


@dataclasses.dataclass(frozen=True)
class SnapshotSet:
    """The snapshots of one run of ``application snapshot create``.

    :param volumes: how many snapshots the set has when it is complete
    :param window: for how many seconds servers were frozen at most, if known
    :param complete: for how many seconds all were frozen at least, if known
    """

    id: str
    name: str
    application: str
    description: str
    properties: Mapping[str, str]
    created_at: str
    version: str
    volumes: int
    window: float | None
    complete: float | None
    snapshots: tuple[dict[str, Any], ...]

    @property
    def state(self) -> str:
        """One of CONSISTENT, INCONSISTENT, PENDING and INCOMPLETE."""
        said = {metadata.get(s, 'consistency') for s in self.snapshots}
        if INCONSISTENT in said:
            return INCONSISTENT
        if len(self.snapshots) != self.volumes or any(
                s['status'] not in THERE for s in self.snapshots):
            return INCOMPLETE
        return CONSISTENT if said == {CONSISTENT} else PENDING

    @property
    def servers(self) -> list[dict[str, Any]]:
        """What a restore needs of each server, in the order of freezing.

        The volumes of a server have a ``snapshot_id``; it is None for those
        that were left out, or whose snapshot is gone.
        """
        by_volume = {s['volume_id']: s['id'] for s in self.snapshots}
        servers: dict[str, dict[str, Any]] = {}
        for snapshot in self.snapshots:
            packed = metadata.unpack(snapshot['metadata'], 'servers')
            for server in packed or ():
                servers.setdefault(server['id'], server)
        for server in servers.values():
            for volume in server['volumes']:
                volume['snapshot_id'] = by_volume.get(volume['id'])
        return sorted(servers.values(), key=lambda server: server['order'])


def _of(snapshots: Iterable[dict[str, Any]]) -> SnapshotSet:
    """Return the set that these snapshots are."""
    ordered = sorted(snapshots, key=lambda s: metadata.number(s, 'order'))
    first = ordered[0]
    get = functools.partial(metadata.get, first)
    return SnapshotSet(
        id=get('set_id'), name=get('set'), application=get('application'),
        description=metadata.unescape(first.get('description') or ''),
        properties={key: metadata.unescape(value)
                    for key, value in first['metadata'].items()
                    if not key.startswith(metadata.PREFIX)},
        created_at=get('created_at'), version=get('version'),
        volumes=metadata.number(first, 'volumes'),
        window=_seconds(get('window')), complete=_seconds(get('complete')),
        snapshots=tuple(ordered))


def _seconds(text: str) -> float | None:
    """Return a time; None if there is none, or it is damaged."""
    try:
        return float(text)
    except ValueError:
        return None


def find_all(cloud: cloud_api.Cloud) -> list[SnapshotSet]:
    """Return all sets of the project, the oldest first."""
    groups: dict[str, list[dict[str, Any]]] = {}
    # Cinder leaves out what other programs have made.
    for snapshot in cloud.snapshots({metadata.PREFIX + 'format': FORMAT}):
        if set_id := metadata.get(snapshot, 'set_id'):
            groups.setdefault(set_id, []).append(snapshot)
    return sorted(map(_of, groups.values()),
                  key=lambda s: (s.created_at, s.id))


def find(cloud: cloud_api.Cloud, name_or_id: str) -> SnapshotSet:
    """Return the set with this ID, or else with this name.

    :raises NoSuchSet: there is none
    :raises errors.ApplicationError: there are several
    """
    return choosing.choose(
        find_all(cloud), name_or_id, error=NoSuchSet,
        none=_('No snapshot set has the name or ID "%s".'),
        several=_('%(count)d snapshot sets have the name "%(name)s": '
                  '%(ids)s.'))


def mark(cloud: cloud_api.Cloud, snapshot_ids: Iterable[str],
         values: Mapping[str, str]) -> None:
    """Add to the metadata of snapshots, of all at once."""
    body = {'metadata': metadata.ours(values)}
    concurrency.run_all(
        lambda id_: cloud.volume('POST', f'/snapshots/{id_}/metadata', body),
        snapshot_ids, threads=cloud_api.THREADS)


def delete(cloud: cloud_api.Cloud, set_id: str, timer: retry.Timer,
           late: Iterable[str] = ()) -> list[str]:
    """Delete all snapshots of a set, and wait until they are gone.

    May be repeated as often as one likes.

    :param late: ids of volumes of which a snapshot may yet appear: it is
        waited for, for 10 seconds
    :returns: those of them of which none has appeared
    :raises errors.ApplicationError: names what is left, and why
    """
    started = timer.clock()
    asked: set[str] = set()
    why: dict[str, str] = {}
    unseen = set(late)
    while True:
        seconds = timer.clock() - started
        try:
            left = list(cloud.snapshots({metadata.PREFIX + 'set_id': set_id}))
        except cloud_api.CloudError as exc:
            if seconds > (
                    DELETE_TIMEOUT if exc.is_transient else REFUSED_TIME):
                raise errors.ApplicationError(
                    _('Whether snapshots of set %(id)s are left is not known: '
                      '%(why)s. Try "openstack application snapshot delete '
                      '%(id)s".') % {
                          'id': set_id, 'why': str(exc).rstrip('.')}) from exc
            timer.sleep(1.0)
            continue
        unseen.difference_update(s['volume_id'] for s in left)
        if not left and (not unseen or seconds > LATE_SNAPSHOT_TIME):
            return sorted(unseen)
        _ask_to_delete(cloud, left, asked, why)
        # What fails now may succeed a little later.
        hopeless = all(s['id'] in why for s in left)
        if left and seconds > (REFUSED_TIME if hopeless else DELETE_TIMEOUT):
            raise errors.ApplicationError(
                _('Not all snapshots of set %(id)s are deleted: %(left)s. Try '
                  '"openstack application snapshot delete %(id)s".') % {
                      'id': set_id,
                      'left': ', '.join('%s (%s)' % (s['id'], why.get(
                          s['id'], s['status'])) for s in left)})
        timer.sleep(0.3)


def _ask_to_delete(cloud: cloud_api.Cloud, left: Iterable[Mapping[str, Any]],
                   asked: set[str], why: dict[str, str]) -> None:
    """Ask Cinder to delete what it was not asked for yet.

    :param asked: ids of the snapshots that it was asked for
    :param why: why snapshots are not deleted, by their ids
    """
    for snapshot in left:
        id_, status = snapshot['id'], snapshot['status']
        if status == 'deleting':
            why.pop(id_, None)  # heard, also if no answer came
        elif status == 'backing-up':
            asked.discard(id_)
            why[id_] = _('it is being backed up: wait until that has ended')
        elif id_ in asked:
            why[id_] = _('its status is %s') % status
        elif status != 'creating':
            try:
                cloud.volume('DELETE', f'/snapshots/{id_}')
                asked.add(id_)
                why.pop(id_, None)
            except cloud_api.NotThere:
                pass
            except cloud_api.CloudError as exc:
                why[id_] = str(exc)
