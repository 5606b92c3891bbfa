# SPDX-License-Identifier: Apache-2.0

"""What Cinder has left at a site: quotas, pools, and services of backups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import dataclasses
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import quotas as quota_rules
from osc_quiesce.i18n import _

#: seconds in which nothing has ended, after which to look whether
#: cinder-backup is up
SILENCE: Final = 90.0


@dataclasses.dataclass(frozen=True)
class Left:
    """The room that is left at a site; None: no limit, or not known.

    :param backups: how many more the quota allows
    :param gigabytes: GiB of backups that the quota allows
    :param pools: GiB that are free in the pools of volumes
    """

    backups: int | None
    gigabytes: int | None
    pools: float | None


def left(cloud: cloud_api.Cloud) -> Left:
    """Return the room that is left for backups, and for restoring them.

    Cinder does not tell how full the store of the backups is.

    :raises cloud_api.CloudError: Cinder cannot be asked
    """
    quotas = _quotas(cloud)
    return Left(quota_rules.left(quotas, 'backups'),
                quota_rules.left(quotas, 'backup_gigabytes'),
                free(pools(cloud)))


def _quotas(cloud: cloud_api.Cloud) -> dict[str, Any]:
    found: dict[str, Any] = cloud.volume(
        'GET', f'/os-quota-sets/{cloud.project_id}?usage=True')['quota_set']
    return found


def pools(cloud: cloud_api.Cloud) -> list[dict[str, Any]]:
    """Return the capabilities of the pools of volumes.

    :returns: none if the caller may not see them
    :raises cloud_api.CloudError: Cinder cannot be asked
    """
    if not cloud.is_admin:
        return []
    try:
        found = cloud.volume(
            'GET', '/scheduler-stats/get_pools?detail=True')['pools']
    except cloud_api.CloudError as exc:
        if exc.status == 403:
            return []
        raise
    return [each['capabilities'] for each in found]


def free(pools: Iterable[Mapping[str, Any]],
         backend: str = '') -> float | None:
    """Return how many GiB pools have, if there are any and each of them tells.

    :param backend: name of the only one that counts; empty: all do
    """
    sizes = [each.get('free_capacity_gb') for each in pools
             if backend in ('', each.get('volume_backend_name'))]
    known = [each for each in sizes if isinstance(each, (int, float))]
    return sum(known) if known and len(known) == len(sizes) else None


def service_problems(cloud: cloud_api.Cloud, site: str) -> list[str]:
    """Return why a site can make no backups, as far as the caller may see.

    Without a service that its scheduler knows of, Cinder not only fails: it
    also damages the status of a volume whose snapshot should be backed up.

    :param site: what messages call it
    :raises cloud_api.CloudError: Cinder cannot be asked
    """
    found = services(cloud)
    if found is None or any(found.values()):
        return []
    return [
        _('No cinder-backup service is up and enabled at %s: start one, and '
          'wait until "openstack volume service list" shows it as up. With a '
          'full pool of volumes, it may seem to be down.') % site]


def services(cloud: cloud_api.Cloud) -> dict[str, bool] | None:
    """Return which cinder-backup services are enabled, and whether up.

    :returns: by host; None if the caller may not see them
    :raises cloud_api.CloudError: Cinder cannot be asked
    """
    try:
        found = cloud.volume(
            'GET', '/os-services?binary=cinder-backup')['services']
    except cloud_api.CloudError as exc:
        if exc.status == 403:
            return None  # by default only administrators may
        raise
    return {each['host']: each['state'] == 'up' for each in found
            if each['status'] == 'enabled'}


def hosts_down(cloud: cloud_api.Cloud) -> str:
    """Return on which hosts cinder-backup is enabled, but not up.

    :returns: for messages; empty if there is none, or that is not known
    """
    try:
        found = services(cloud)
    except cloud_api.CloudError:
        return ''
    if found is None:
        return ''    # the caller may not see them
    down = [host for host, is_up in found.items() if not is_up]
    return ', '.join(down) or ('' if found else _('any host'))


def quota_problems(cloud: cloud_api.Cloud, needed: Mapping[str, int],
                   site: str) -> list[str]:
    """Return which of Cinder's quotas are too small.

    :param needed: how much of each, such as ``backup_gigabytes``
    :param site: what messages call it
    :raises cloud_api.CloudError: Cinder cannot be asked
    """
    return [_("Cinder's quota %(key)s at %(site)s is too small: %(amount)d "
              'needed, %(left)d of %(limit)d left.') % {
                  **dataclasses.asdict(each), 'site': site}
            for each in quota_rules.shortages(_quotas(cloud), needed)]
