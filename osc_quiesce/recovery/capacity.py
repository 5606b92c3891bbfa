# SPDX-License-Identifier: Apache-2.0

"""Whether a site has room for backups, and a service that makes them."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import quotas as quota_rules
from osc_quiesce.i18n import _


def service_problems(cloud: cloud_api.Cloud, site: str) -> list[str]:
    """Return why a site can make no backups, as far as the caller may see.

    Without a service that its scheduler knows of, Cinder not only fails: it
    also damages the status of a volume whose snapshot is to be backed up.

    :param site: what messages call it
    :raises cloud_api.CloudError: Cinder cannot be asked
    """
    up = services_up(cloud)
    if up is None or up:
        return []
    return [
        _('No cinder-backup service is up and enabled at %s: start one, and '
          'wait until "openstack volume service list" shows it as up.') % site]


def services_up(cloud: cloud_api.Cloud) -> int | None:
    """Return how many cinder-backup services are up and enabled.

    :returns: None if the caller may not see them
    :raises cloud_api.CloudError: Cinder cannot be asked
    """
    try:
        services = cloud.volume(
            'GET', '/os-services?binary=cinder-backup')['services']
    except cloud_api.CloudError as exc:
        if exc.status == 403:
            return None  # by default only administrators may
        raise
    return sum(each['state'] == 'up' and each['status'] == 'enabled'
               for each in services)


def quota_problems(cloud: cloud_api.Cloud, needed: Mapping[str, int],
                   site: str) -> list[str]:
    """Return which of Cinder's quotas are too small.

    :param needed: how much of each, such as ``backup_gigabytes``
    :param site: what messages call it
    :raises cloud_api.CloudError: Cinder cannot be asked
    """
    quotas = cloud.volume(
        'GET', f'/os-quota-sets/{cloud.project_id}?usage=True')['quota_set']
    return [_("Cinder's quota %(key)s at %(site)s is too small: %(amount)d "
              'needed, %(left)d of %(limit)d left.') % {
                  **dataclasses.asdict(each), 'site': site}
            for each in quota_rules.shortages(quotas, needed)]
