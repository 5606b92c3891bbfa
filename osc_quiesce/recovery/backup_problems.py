# SPDX-License-Identifier: Apache-2.0

"""Every reason why backups cannot be made at this site, a sentence each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import metadata
from osc_quiesce.i18n import _
from osc_quiesce.recovery import backup_plan
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import capacity
from osc_quiesce.recovery import chains
from osc_quiesce.recovery import failures
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import records


def of_volume(item: backup_plan.Item, snapshot: Mapping[str, Any],
              volume: Mapping[str, Any],
              backups: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return why one volume cannot be backed up.

    :param backups: all those of the volume
    """
    problems = []
    if volume.get('encrypted'):
        problems.append(
            _('Volume %s is encrypted: Cinder can restore it neither at '
              'another site nor into another type. Leave it out of the '
              'snapshot set (exclude_volumes), or move it to a type without '
              'encryption.') % item.label)
    proofs = [e['id'] for e in backups if metadata.get(e, marks.PROOF_OF)]
    if proofs:
        problems.append(
            _('Volume %(volume)s is being compared with a backup, by '
              '%(proof)s, on which this one must not depend: wait until that '
              'is over, or delete it if nothing compares any more.') % {
                  'volume': item.label, 'proof': ', '.join(proofs)})
    if item.found and not failures.may_delete(item.found):
        problems.append(failures.kept(item.label, item.found))
    if (item.found and item.found['status'] == 'available'
            and not item.is_there):
        problems.append(failures.unfinished(item.label, item.found['id']))
    elif snapshot['status'] != 'available' and not item.is_running:
        problems.append(_snapshot_problem(item, snapshot, backups))
    return problems


def _snapshot_problem(item: backup_plan.Item, snapshot: Mapping[str, Any],
                      backups: Iterable[Mapping[str, Any]]) -> str:
    others = [each['id'] for each in backups
              if each.get('snapshot_id') == snapshot['id']
              and each['status'] == 'creating']
    if others:
        return _('Snapshot %(snapshot)s of volume %(volume)s is being backed '
                 'up by %(other)s: wait until that is over.') % {
                     'snapshot': snapshot['id'], 'volume': item.label,
                     'other': ', '.join(others)}
    return _(
        'Snapshot %(snapshot)s of volume %(volume)s is in status %(status)s, '
        'but nothing backs it up: an administrator puts that right with '
        '"openstack volume snapshot set --state available %(snapshot)s".') % {
            'snapshot': snapshot['id'], 'volume': item.label,
            'status': snapshot['status']}


def of_metadata(plan: backup_plan.Plan) -> list[str]:
    problems = []
    for item in plan.items:
        size = metadata.size(plan.body(item)['metadata'])
        if size > metadata.MOST and not item.is_there:
            problems.append(
                _('What is recorded with volume %(volume)s has %(size)d '
                  'characters, and with more than %(most)d no other site can '
                  'import the backup: take the snapshot set with fewer '
                  'properties, or without user data.')
                % {'volume': item.label, 'size': size, 'most': metadata.MOST})
    return problems


def of_quota(cloud: cloud_api.Cloud, plan: backup_plan.Plan) -> list[str]:
    """Return which quotas are too small; an incremental counts as a full."""
    left = [i for i in plan.items if not i.is_there and not i.is_running]
    # Those that failed are deleted first.
    failed = [item for item in left if item.found]
    return capacity.quota_problems(
        cloud,
        {'backups': len(left) - len(failed),
         'backup_gigabytes': sum(item.size for item in left) - sum(
             item.size for item in failed)},
        _('this site'))


def of_registration(cloud: cloud_api.Cloud, site: str,
                    backups: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return which sets another site has that is not the one to have them.

    Only one learns that backups are deleted here; another one would go on to
    call them consistent.

    :param backups: those that this one gets
    """
    return [
        _('Backup set %(name)s (%(id)s), or a part of it, may be registered '
          'at %(there)s. A deletion here reaches one other site only: name '
          'it with --to-cloud %(there)s. If that is an older name of '
          '%(site)s, clouds.yaml may have both. For another site, make a '
          'set that does not need it, with --full and another --name.') % {
              'name': each.name, 'id': each.id, 'there': each.known_at,
              'site': site}
        for each in backup_sets.group(map(dict, backups))
        if each.known_at not in ('', site)
        and not backup_sets.is_of_another_site(each, cloud)]


def of_driver(cloud: cloud_api.Cloud, backups: Iterable[dict[str, Any]],
              needs_records: bool) -> list[str]:
    """Return why the backup driver is of no use, or records cannot be had.

    Only the record of a backup tells which driver it is, and only a request
    for one tells whether the policy allows that: without any backup, neither
    is known.
    """
    found = chains.newest_first(backups)
    there = [each for each in found if each['status'] == 'available'] or found
    if not there:
        return []
    try:
        if records.export(cloud, there[0]['id']).is_of_ceph:
            return [failures.ceph()]
    except cloud_api.CloudError as exc:
        # Cinder looks at the rights first. All else may be so of this backup
        # only, which need not be ours.
        if needs_records and exc.status == 403:
            return [_('%s Without --to-cloud and --bundle it is not needed.')
                    % exc]
    return []
