# SPDX-License-Identifier: Apache-2.0

"""Everything that can fail in a restore is found out here. It only reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
import dataclasses
from typing import Any

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import metadata
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import chains
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import mapping as mappings
from osc_quiesce.recovery import points
from osc_quiesce.recovery import resolved
from osc_quiesce.recovery import resolving
from osc_quiesce.recovery import restore_plan
from osc_quiesce.recovery import room
from osc_quiesce.recovery import site as sites
from osc_quiesce.recovery import split_brain
from osc_quiesce.recovery import targets


def make(cloud: cloud_api.Cloud, point: points.Point,
         mapping: mappings.Mapping,
         options: restore_plan.Options) -> restore_plan.Plan:
    """Check everything, change nothing, and return a plan.

    :returns: a plan, perhaps with refusals
    :raises cloud_api.CloudError: a service cannot be asked
    """
    prefix = ''
    name = options.name or point.name
    restore_id = marks.restore_id(point.id, cloud.project_id, name)
    if options.drill:
        mapping, prefix = mapping.for_drill(), mapping.drill_prefix
        name = f'{prefix}{name}'
        restore_id = marks.drill_id(point.id, cloud.project_id)
    problems = _state_problems(point, options)
    servers = _chosen(point, options, problems)
    site = sites.Site(cloud)
    resolution = resolving.resolve(site, mapping, servers, point.application,
                                   point.kind == points.BACKUP, restore_id)
    there = {each['id']: each for each in targets.everything(cloud)}
    rows = list(resolution.rows)

    def may_use(target: Mapping[str, Any], copy: points.Copy) -> bool:
        # A drill needs it for the proof only.
        return not options.drill or (
            cloud.is_admin and options.verify is not False
            and restore_plan.is_free(target, restore_id)
            and not restore_plan.is_another_under_way(
                target, copy.status, restore_id))

    items = [item for wanted in resolution.volumes.values() if (item := _item(
        point, wanted, there, restore_id, may_use, options, rows,
        cloud.is_admin))]
    backups = list(cloud.backups()) if point.kind == points.BACKUP else []
    problems += _clashes(point, items, backups)
    problems += _gaps(items, backups, restore_id)
    problems += _server_problems(point, servers, resolution)
    problems += split_brain.problems(cloud, servers, options)
    verify, warnings = _proof(cloud, point, items, options, problems)
    warnings += _lost(point)
    plan = restore_plan.Plan(
        name, restore_id, point, options, resolution, items,
        sorted(rows, key=lambda row: row.stage), problems, verify, warnings,
        prefix,
        *_counts(point, options, resolution, there.values(), restore_id))
    if plan.refusals:
        return plan  # what is wanted is not known well enough
    needs = room.problems(site, _needs(site, plan))
    return dataclasses.replace(plan, problems=[*problems, *needs])


def _state_problems(point: points.Point,
                    options: restore_plan.Options) -> list[str]:
    if point.is_consistent or options.allow_inconsistent:
        return []
    return [_('%(set)s is %(state)s, and not consistent: its copies may not '
              'belong together; --allow-inconsistent accepts that.') % {
                  'set': point.label[:1].upper() + point.label[1:],
                  'state': point.state}]


def _lost(point: points.Point) -> list[str]:
    """Return what may be missing unseen: a server is in its copies only."""
    if len(point.copies) >= point.volumes:
        return []
    return [_('%(set)s has copies of %(there)d of %(all)d volumes: a server '
              'of which all are missing is not known, and not restored.') % {
                  'set': point.label[:1].upper() + point.label[1:],
                  'there': len(point.copies), 'all': point.volumes}]


def _chosen(point: points.Point, options: restore_plan.Options,
            problems: list[str]) -> list[Mapping[str, Any]]:
    """Return what is recorded of the servers that are wanted."""
    if not point.servers:
        problems.append(_('What is recorded of the servers of %s is damaged '
                          'or missing.') % point.label)
    if not options.servers:
        return list(point.servers)
    chosen = []
    for name in options.servers:
        found = [s for s in point.servers if name in (s['id'], s['name'])]
        if len(found) != 1:
            problems.append(
                _('%(count)d servers of %(set)s have the name or ID '
                  '"%(name)s".') % {
                      'count': len(found), 'set': point.label, 'name': name})
        chosen += [server for server in found if server not in chosen]
    return chosen


def _item(point: points.Point, wanted: resolved.Volume,
          there: Mapping[str, Mapping[str, Any]], restore_id: str,
          may_use: Callable[[Mapping[str, Any], points.Copy], bool],
          options: restore_plan.Options, rows: list[resolved.Row],
          may_reset: bool) -> restore_plan.Item | None:
    """Return a volume to fill, with the row that shows it.

    :param may_use: whether a target volume may be restored into
    :param may_reset: whether the user may reset the status of volumes
    """
    copy = point.copies.get(wanted.id)
    if copy is None:
        missing = _('its %s is not there') % point.kind
        rows.append(_row(point, wanted, '', missing))
        return None
    wanted = dataclasses.replace(wanted, size=copy.size)
    target = there.get(copy.volume_id)
    # The first that this restore has made, of which a server may have one.
    own = min((each for each in there.values()
               if marks.is_made_by(each, restore_id, wanted.id)
               and not options.drill),  # which always begins again
              key=lambda each: (not each['attachments'], each['created_at']),
              default=None)
    # A backup that was made here is one of its source, which must not be
    # written over, even if it is the target of what runs elsewhere now. One
    # that has grown since gives way to a new volume, unless it is ours.
    is_target = (not own and point.kind == points.BACKUP
                 and copy.volume_id != wanted.id
                 and bool(target and marks.target_of(target)
                          and (target['size'] == copy.size
                               or marks.owner(target) == restore_id)
                          and may_use(target, copy)))
    volume = target if is_target else own
    item = restore_plan.Item(wanted, copy, volume, is_target)
    here = _('volume %s') % volume['id'] if volume else _('a new volume')
    if volume and options.drill:
        here = _('a clone of volume %s') % volume['id']
    rows.append(_row(
        point, wanted, here, _refusal(item, restore_id, may_reset)))
    return item


def _row(point: points.Point, wanted: resolved.Volume, here: str,
         refused: str) -> resolved.Row:
    server = next(server for server in point.servers if any(
        v['id'] == wanted.id for v in server['volumes']))
    return resolved.Row(
        int(server['stage']), model.label(server['id'], server['name']),
        _('volume'),
        _('%(device)s (%(id)s, %(size)d GiB)') % {
            'device': wanted.device, 'id': wanted.id, 'size': wanted.size},
        here, refused)


def _refusal(item: restore_plan.Item, restore_id: str,
             may_reset: bool) -> str:
    """Return why a volume cannot be filled, as a part of a sentence."""
    copy, volume = item.copy, item.volume
    if volume and item.is_done(volume, restore_id):
        return restore_plan.damage(volume)
    # A backup is "restoring" if this was interrupted: that is waited for.
    if copy.status not in ('available', 'restoring'):
        return _('%(kind)s %(id)s is %(status)s') % {
            'kind': copy.kind, 'id': copy.id, 'status': copy.status}
    if not volume:
        return ''
    if claimed := restore_plan.claimed(volume, restore_id):
        return claimed
    if volume['size'] != copy.size:
        return _('volume %(id)s has %(size)d GiB, the %(kind)s %(wanted)d') % {
            'id': volume['id'],
            'size': volume['size'],
            'kind': copy.kind,
            'wanted': copy.size}
    if copy.kind == points.BACKUP and volume.get('encrypted'):
        return _('volume %s is encrypted: Cinder would restore plain data '
                 'into it, which no server can read') % volume['id']
    users = [each['server_id'] for each in volume['attachments']]
    if users:
        return _('volume %(id)s, into which it would be restored, is attached '
                 'to server %(users)s') % {
                     'id': volume['id'], 'users': ', '.join(users)}
    if restore_plan.is_another_under_way(volume, copy.status, restore_id):
        return _('another backup is being restored into volume %s: run the '
                 'same command again when that has ended') % volume['id']
    return restore_plan.stuck(item, volume, restore_id, may_reset)


def _clashes(point: points.Point, items: Iterable[restore_plan.Item],
             backups: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return which volumes of the set share a target volume that is used.

    Those that are not chosen count: they may have been restored before.

    :param backups: all those of the project
    """
    used = {item.copy.volume_id for item in items if item.is_target}
    labels = {
        volume['id']: resolved.label(
            volume['id'], volume['device'], server['name'])
        for server in point.servers for volume in server['volumes']}
    return targets.clashes(
        {source: copy.volume_id for source, copy in point.copies.items()
         if copy.volume_id in used},
        labels, point.application, backups)


def _gaps(items: Iterable[restore_plan.Item],
          backups: Iterable[Mapping[str, Any]], restore_id: str) -> list[str]:
    """Return which backups are certain to lack what they depend on.

    :param backups: all those of the project
    """
    there = {each['id']: each for each in backups}
    found = []
    for item in items:
        backup = there.get(item.copy.id)
        if not backup or not backup.get('is_incremental') or (
                item.volume and item.is_done(item.volume, restore_id)):
            continue
        # What it needs may be there as backups of an earlier target volume.
        if not any(
                _origins(backup) & _origins(each)
                and chains.moment(each) < chains.moment(backup)
                for each in there.values() if not each.get('is_incremental')):
            found.append(
                _('Backup %(id)s of volume %(volume)s is incremental, and the '
                  'full one on which it depends is not there.') % {
                      'id': backup['id'], 'volume': item.wanted.label})
    return found


def _origins(backup: Mapping[str, Any]) -> set[str]:
    return {backup['volume_id'],
            metadata.get(backup, backup_sets.SOURCE_VOLUME)} - {''}


def _counts(point: points.Point, options: restore_plan.Options,
            resolution: resolved.Resolution,
            there: Iterable[Mapping[str, Any]],
            restore_id: str) -> tuple[int, int]:
    """Return how many volumes and servers a restore has when it is complete.

    Earlier runs may have wanted other servers of the set.
    """
    before = {marks.source(each): each for each in there
              if marks.owner(each) == restore_id}
    started = {source for source, volume in before.items()
               if metadata.number(volume, marks.SERVERS)}
    servers = {server['id'] for server in point.servers
               if started & {volume['id'] for volume in server['volumes']}}
    if options.start:
        servers |= {server.id for server in resolution.servers}

    def known(key: str) -> int:
        """A run that was interrupted has not begun all that it wanted."""
        return max((metadata.number(each, key) for each in before.values()
                    if metadata.get(each, marks.RESTORE_ID) == restore_id),
                   default=0)

    return (max(known(marks.VOLUMES), len({*before, *resolution.volumes})),
            max(known(marks.SERVERS), len(servers)))


def _server_problems(point: points.Point, wanted: list[Mapping[str, Any]],
                     resolution: resolved.Resolution) -> list[str]:
    if wanted and not resolution.servers:
        return [_('The mapping leaves out all servers of %s that are wanted.')
                % point.label]
    return [_('Server %s has neither an image nor a volume in the set to boot '
              'from.') % server.label for server in resolution.servers
            if not server.manifest.get('image') and all(
                v.get('boot_index') != 0 for v in server.volumes)]


def _proof(cloud: cloud_api.Cloud, point: points.Point,
           items: Iterable[restore_plan.Item], options: restore_plan.Options,
           problems: list[str]) -> tuple[bool, list[str]]:
    """Return whether to prove what can be proven, and what to say of it."""
    if point.kind != points.BACKUP:
        if options.verify:
            problems.append(_('A restore of a snapshot set cannot be proven: '
                              'leave --verify-all out.'))
        return False, []
    if options.verify is False:
        return False, []
    why = []
    if not cloud.is_admin:
        why.append(_('Only an administrator can prove that restored volumes '
                     'are equal to their backups (the export record of a '
                     'backup tells what was compared).'))
    unproven = ', '.join(
        item.wanted.label for item in items if not item.is_target)
    if unproven and not options.drill:
        why.append(_('It cannot be proven that these volumes are restored '
                     'right, since their backups are not registered with a '
                     'target volume of this site that has their size: %s.')
                   % unproven)
    elif unproven and cloud.is_admin:
        why.append(_('It cannot be proven that these volumes are restored '
                     'right, since they have no target volume of their size '
                     'at this site that no server and no restore has: %s.')
                   % unproven)
    if options.verify:
        problems += why
        return not why, []
    can = cloud.is_admin and any(item.is_target for item in items)
    return can, [_('%s They are not verified.') % each for each in why]


def _needs(site: sites.Site, plan: restore_plan.Plan) -> room.Needs:
    """Return what needs room and is not there yet."""
    to_fill = [item for item in plan.items if not (
        item.volume and item.is_done(item.volume, plan.restore_id))]
    started = {
        metadata.get(each, marks.SOURCE) for each in restore_plan.servers_of(
            site.cloud, plan.restore_id)}
    servers = [server for server in plan.resolution.servers
               if plan.options.start and server.id not in started]
    return room.Needs(
        to_make=[item.wanted for item in to_fill
                 if not item.volume or plan.options.drill],
        to_thicken=[item.wanted for item in to_fill if not item.volume
                    or not marks.get(item.volume, marks.RESTORED_AT)],
        servers=servers,
        proofs=sorted((i.wanted.size for i in plan.items if i.is_target),
                      reverse=True)[: plan.options.parallel] if plan.verify
        else (),
        needs_backup_service=plan.point.kind == points.BACKUP and bool(
            to_fill))
