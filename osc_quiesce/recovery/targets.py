# SPDX-License-Identifier: Apache-2.0

"""Target volumes: for each source volume, an empty one at the other site.

It proves mapping, quota, types and permissions long before a disaster, and is
the place into which Cinder restores: only a volume that was there before is
restored right by all releases. Its size is exactly that of the source, since
only then can an incremental backup compare the two; a volume that has grown
gets a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce import concurrency
from osc_quiesce.i18n import _
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import resolved
from osc_quiesce.recovery import site as sites
from osc_quiesce.recovery import waiting
from osc_quiesce import retry

#: of how many a volume may be the target, made at once
_THREADS: Final = 4
#: seconds for a volume to be made
TIMEOUT: Final = 300.0


def ensure(
    site: sites.Site,
    volumes: Iterable[resolved.Volume],
    timer: retry.Timer,
    timeout: float = TIMEOUT,
    progress: Callable[[str], object] = lambda sentence: None,
) -> dict[str, dict[str, Any]]:
    """Return the target volume of each source volume; make what is missing.

    May be repeated as often as one likes.

    :param volumes: such as ``resolution.volumes.values()``
    :param timeout: seconds, for each volume
    :returns: volumes as Cinder shows them, by the ID of the source volume
    :raises errors.ApplicationError: one cannot be made
    """
    wanted = list(volumes)
    there = everything(site.cloud)
    waiter = waiting.Waiter(site.cloud, timer, timeout)
    missing = [v for v in wanted if not find(site, v, there)]
    if missing:
        progress(_('Making %d target volumes ...') % len(missing))

    def one(volume: resolved.Volume) -> dict[str, Any]:
        found = find(site, volume, there)
        if found is None:
            found = make(
                site.cloud, volume, marks.target_description(volume.id),
                {marks.TARGET_OF: volume.id,
                 marks.APPLICATION: volume.application})
        elif marks.target_of(found) != volume.id:
            marks.begin(site.cloud, found, {marks.TARGET_OF: volume.id})
        made = _made(waiter, volume, found)
        marks.sign(site.cloud, made)
        return made

    found = concurrency.run_all(one, wanted, threads=_THREADS)
    return {v.id: each for v, each in zip(wanted, found, strict=True)}


def everything(cloud: cloud_api.Cloud) -> list[dict[str, Any]]:
    """Return all volumes of the project."""
    return list(cloud.pages('block_storage', '/volumes/detail', 'volumes',
                            '3.0'))


def find(site: sites.Site, volume: resolved.Volume,
         there: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the target volume of a source volume, if there is one.

    After a failover the source is itself a target volume: then what it is the
    target of is the place to go back to.

    :param there: all volumes of the project
    """
    origin = marks.get(volume.manifest, marks.TARGET_OF)
    found = [
        dict(each) for each in there
        if (each['id'] == origin and each['size'] == volume.size)
        or (marks.target_of(each) == volume.id and fits(site, volume, each))]
    # The oldest, if two commands at once made one each.
    return min(
        found, key=lambda each: (each['id'] != origin, each['created_at']),
        default=None)


def clashes(targets: Mapping[str, str], labels: Mapping[str, str],
            application: str, backups: Iterable[Mapping[str, Any]]
            ) -> list[str]:
    """Return which volumes share a target volume, a sentence each.

    What is restored of one of them would overwrite what is of the other.

    :param targets: IDs of target volumes, by the IDs of the source volumes of
        an application
    :param labels: what messages call source volumes, by their IDs
    :param backups: those of the site, also of other applications
    """
    sources: dict[str, dict[str, str]] = {}
    for source, target in targets.items():
        sources.setdefault(target, {})[source] = labels.get(source, source)
    for backup in backups:
        source = metadata.get(backup, backup_sets.SOURCE_VOLUME)
        other = metadata.get(backup, marks.APPLICATION)
        target = backup['volume_id']
        # After a failover, a target volume has backups of its own as well.
        if (target in sources and source not in ('', target)
                and other not in ('', application)):
            sources[target].setdefault(
                source, _('%(volume)s of application %(application)s') % {
                    'volume': source, 'application': other})
    return [
        _('Volumes %(sources)s have one target volume, %(target)s, in which '
          'one of them would overwrite the other. If the property %(key)s of '
          'a source volume is wrong, remove it and take another snapshot set. '
          'Without that property and its description, volume %(target)s is no '
          'target volume any more.') % {
              'sources': _(' and ').join(names.values()),
              'target': target,
              'key': marks.PREFIX + marks.TARGET_OF}
        for target, names in sources.items() if len(names) > 1]


def fits(site: sites.Site, volume: resolved.Volume,
         found: Mapping[str, Any]) -> bool:
    """Return whether a volume is as the mapping wants it."""
    return bool(
        found['size'] == volume.size
        and found['status'] not in ('error', 'deleting', 'error_deleting')
        and (volume.type is None
             or found['volume_type'] == site.find('volume_types',
                                                  volume.type)['name'])
        and volume.zone in (None, found['availability_zone']))


def make(cloud: cloud_api.Cloud, volume: resolved.Volume, description: str,
         values: Mapping[str, str], **more: str) -> dict[str, Any]:
    """Ask Cinder for a volume, and return what it says of it.

    One whose answer was lost is found by its description later.

    :param values: our keys
    :param more: of the request, such as ``snapshot_id``
    :raises errors.ApplicationError: Cinder has refused it
    """
    body: dict[str, Any] = {'size': volume.size,
                            'name': volume.name,
                            'description': description,
                            'metadata': metadata.ours(values),
                            **more}
    if volume.type:
        body['volume_type'] = volume.type
    if volume.zone:
        body['availability_zone'] = volume.zone
    try:
        made: dict[str, Any] = cloud.volume(
            'POST', '/volumes', {'volume': body})['volume']
    except cloud_api.CloudError as exc:
        text = (_('It is not known whether a volume was made for volume '
                  '%(volume)s: %(why)s.') if exc.outcome_unknown else
                _('No volume was made for volume %(volume)s: %(why)s.'))
        raise errors.ApplicationError(
            text % {'volume': volume.label, 'why': str(exc).rstrip('.')},
            _('The same command again goes on.')) from exc
    if made.get('encrypted') and more.keys() <= {'name'}:
        # Only administrators may know it before.
        raise errors.ApplicationError(
            _('Volume %(id)s, made for volume %(volume)s, is encrypted, as '
              'its type %(type)s wants it: Cinder would restore plain data '
              'into it, which no server can read.') % {
                  'id': made['id'], 'volume': volume.label,
                  'type': made['volume_type']},
            _('Delete it with "openstack volume delete %s", give another type '
              'in the mapping, and run the same command again.') % made['id'])
    return made


def finished(waiter: waiting.Waiter,
             found: Mapping[str, Any]) -> dict[str, Any]:
    """Return an empty volume when Cinder has made it, which takes seconds."""
    brief = waiting.Waiter(
        waiter.cloud, waiter.timer, min(waiter.timeout, TIMEOUT))
    return brief.volume(found['id'], {'creating'}, found, _(
        'It is empty. If Cinder is not at work on it any more, an '
        'administrator deletes it with "openstack volume delete --force %s", '
        'and the same command again makes another one.') % found['id'])


def _made(waiter: waiting.Waiter, volume: resolved.Volume,
          found: Mapping[str, Any]) -> dict[str, Any]:
    made = finished(waiter, found)
    if made['status'] == 'error':
        raise errors.ApplicationError(
            _('Volume %(id)s, made for volume %(volume)s, is in error: '
              '%(why)s. Delete it with "openstack volume delete %(id)s", and '
              'run the same command again.') % {
                  'id': made['id'], 'volume': volume.label,
                  'why': waiter.reason(made['id']).rstrip('.')})
    return made
