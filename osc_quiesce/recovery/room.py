# SPDX-License-Identifier: Apache-2.0

"""Whether a site has room for a restore: quotas and pools.

A volume that was restored takes up all of its size, even if the source was
thin; and a pool that fills up looks like a cinder-backup that has died.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import quotas as quota_rules
from osc_quiesce.i18n import _
from osc_quiesce.recovery import capacity
from osc_quiesce.recovery import resolved
from osc_quiesce.recovery import site as sites


@dataclasses.dataclass(frozen=True)
class Needs:
    """What is not there yet.

    :param to_make: volumes to make
    :param to_thicken: volumes that do not take up their size yet
    :param servers: to make
    :param proofs: GiB of the backups that proofs make at the same time
    """

    to_make: Sequence[resolved.Volume]
    to_thicken: Sequence[resolved.Volume]
    servers: Sequence[resolved.Server]
    proofs: Sequence[int]
    needs_backup_service: bool


def problems(site: sites.Site, needs: Needs) -> list[str]:
    """Return every reason why there is not enough room, a sentence each."""
    found = [*_of_volume_quota(site, _volume_needs(site, needs)),
             *_of_quota(site, 'compute', _server_needs(site, needs)),
             *_of_quota(site, 'network', {
                 'port': sum(len(server.ports) for server in needs.servers)})]
    # A restore may well succeed though this cannot be asked.
    with contextlib.suppress(cloud_api.CloudError):
        found += _of_pools(site, needs)
    if needs.needs_backup_service:
        with contextlib.suppress(cloud_api.CloudError):
            found += capacity.service_problems(site.cloud, _('this site'))
    return found


def _volume_needs(site: sites.Site, needs: Needs) -> dict[str, int]:
    needed: dict[str, int] = {}

    def need(key: str, amount: int) -> None:
        needed[key] = needed.get(key, 0) + amount

    for volume in needs.to_make:
        kind = ''
        if volume.type:
            kind = site.find('volume_types', volume.type)['name']
        for suffix in ('', f'_{kind}') if kind else ('',):
            need(f'volumes{suffix}', 1)
            need(f'gigabytes{suffix}', volume.size)
    if needs.proofs:
        need('backups', len(needs.proofs))
        need('backup_gigabytes', sum(needs.proofs))
    return needed


def _server_needs(site: sites.Site, needs: Needs) -> dict[str, int]:
    flavors = [site.find('flavors', server.flavor) for server in needs.servers
               if server.flavor]
    return {'instances': len(needs.servers),
            'cores': sum(flavor['vcpus'] for flavor in flavors),
            'ram': sum(flavor['ram'] for flavor in flavors)}


def _of_volume_quota(site: sites.Site,
                     needed: Mapping[str, int]) -> list[str]:
    if not needed:
        return []
    try:
        return capacity.quota_problems(site.cloud, needed, _('this site'))
    except cloud_api.CloudError as exc:
        return [_unread('block_storage', exc)]


def _of_quota(site: sites.Site, service: str,
              needed: Mapping[str, int]) -> list[str]:
    """Return which quotas of Nova or Neutron are too small."""
    needed = {key: amount for key, amount in needed.items() if amount}
    if not needed:
        return []
    cloud, project = site.cloud, site.cloud.project_id
    try:
        if service == 'compute':
            quotas = cloud.compute(
                'GET', f'/os-quota-sets/{project}/detail')['quota_set']
        else:
            quotas = cloud.network(
                'GET', f'/quotas/{project}/details.json')['quota']
    except cloud_api.CloudError as exc:
        if service == 'network' and exc.status in (403, 404, 501):
            return []  # an extension that a cloud need not have
        return [_unread(service, exc)]
    return [_('The quota %(key)s is too small: %(amount)d needed, %(left)d of '
              '%(limit)d left.') % dataclasses.asdict(each)
            for each in quota_rules.shortages(quotas, needed)]


def _unread(service: str, why: cloud_api.CloudError) -> str:
    return _('The quota of %(service)s cannot be read: %(why)s.') % {
        'service': service, 'why': str(why).rstrip('.')}


def _of_pools(site: sites.Site, needs: Needs) -> list[str]:
    """Look whether pools have room for volumes of their full sizes."""
    pools = capacity.pools(site.cloud)
    wanted: dict[str, int] = {}
    for volume in needs.to_thicken:
        backend = ''
        if volume.type:
            specs = site.find('volume_types', volume.type)
            backend = (specs.get('extra_specs') or {}).get(
                'volume_backend_name', '')
        for each in {'', backend}:
            wanted[each] = wanted.get(each, 0) + volume.size
    found = []
    for backend, size in sorted(wanted.items()):
        # Without a pool, or with one that does not tell, nothing is known.
        free = capacity.free(pools, backend)
        if free is not None and free < size:
            found.append(_('The pools of %(backend)s have room for %(free).0f '
                           'GiB, and restored volumes take up %(size)d '
                           'GiB.') % {'backend': backend or _('all backends'),
                                      'free': free, 'size': size})
    return found
