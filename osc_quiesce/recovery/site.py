# SPDX-License-Identifier: Apache-2.0

"""What there is at the site where one restores. It only reads.

Each list is read once. Names are looked for exactly: one that is not there, or
that several things have, is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import dataclasses
import threading
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.i18n import _


@dataclasses.dataclass(frozen=True)
class _Kind:
    """Where a list is read.

    :param key: of the list in the answer
    :param name: the key of an item that is its name
    """

    service: str
    path: str
    key: str
    microversion: str | None = None
    name: str = 'name'


_KINDS: Final = {
    'flavors': _Kind(
        # None: all that the caller may use, also those that are not public
        'compute', '/flavors/detail?is_public=None', 'flavors', '2.61'
    ),
    'keypairs': _Kind('compute', '/os-keypairs', 'keypairs', '2.2'),
    'server_groups': _Kind(
        'compute', '/os-server-groups', 'server_groups', '2.64'
    ),
    'zones': _Kind(
        'compute',
        '/os-availability-zone',
        'availabilityZoneInfo',
        '2.1',
        'zoneName',
    ),
    'images': _Kind('image', '/images?limit=100', 'images'),
    'networks': _Kind('network', '/networks', 'networks'),
    'subnets': _Kind('network', '/subnets', 'subnets'),
    'security_groups': _Kind('network', '/security-groups', 'security_groups'),
    'volume_types': _Kind(
        'block_storage', '/types?is_public=None', 'volume_types', '3.0'
    ),
    'volume_zones': _Kind(
        'block_storage',
        '/os-availability-zone',
        'availabilityZoneInfo',
        '3.0',
        'zoneName',
    ),
}

#: statuses with which a cloud without a service answers
_NO_SERVICE: Final = (404, 501)


class Site:
    """The things at a site, by kind: ``flavors``, ``networks`` and so on.

    :ivar cloud: the :class:`cloud_api.Cloud` of the site
    """

    def __init__(self, cloud: cloud_api.Cloud) -> None:
        self.cloud = cloud
        self._lists: dict[str, list[dict[str, Any]]] = {}
        self._encrypts: dict[str, bool] = {}
        self._lock = threading.Lock()

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Return all things of a kind, with ``id`` and ``name``.

        A site without Neutron has no networks.

        :raises cloud_api.CloudError: the service cannot be asked
        """
        with self._lock:
            if kind not in self._lists:
                self._lists[kind] = list(self._read(kind))
            return self._lists[kind]

    def find(self, kind: str, name_or_id: str) -> dict[str, Any]:
        """Return the thing with this ID, or else with exactly this name.

        :raises errors.ApplicationError: there is none, or there are several;
            the message is a part of a sentence
        """
        everything = self.all(kind)
        found = [each for each in everything if each['id'] == name_or_id] or [
            each for each in everything if each['name'] == name_or_id]
        if not found:
            raise errors.ApplicationError(_('"%s" is not there') % name_or_id)
        if len(found) > 1:
            raise errors.ApplicationError(
                _('%(count)d have the name "%(name)s": give the ID (%(ids)s)')
                % {'count': len(found), 'name': name_or_id,
                   'ids': ', '.join(each['id'] for each in found)})
        return found[0]

    def encrypts(self, type_id: str) -> bool:
        """Return whether volumes of a type are encrypted, if one may know it.

        By default, Cinder tells it to administrators only.

        :raises cloud_api.CloudError: Cinder cannot be asked
        """
        if not self.cloud.is_admin:
            return False
        if type_id not in self._encrypts:
            found = self.cloud.volume('GET', f'/types/{type_id}/encryption')
            self._encrypts[type_id] = bool(found)
        return self._encrypts[type_id]

    def _read(self, kind: str) -> Iterable[dict[str, Any]]:
        where = _KINDS[kind]
        try:
            found = list(self.cloud.pages(
                where.service, where.path, where.key, where.microversion))
        except cloud_api.CloudError as exc:
            if where.service == 'network' and exc.status in _NO_SERVICE:
                return []
            raise
        return [_named(each, where.name) for each in found]


def _named(item: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an item as others are, with ``id`` and ``name``."""
    if 'keypair' in item:  # Nova wraps each of them
        item = item['keypair']
    called = item.get(name) or ''
    return {**item, 'id': item.get('id') or called, 'name': called}
