# SPDX-License-Identifier: Apache-2.0

"""The ports of servers, as Neutron shows them, or else Nova.

It only reads.
"""

from collections.abc import Callable, Mapping, Sequence
import logging
from typing import Any, TypeVar
from urllib import parse

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce import concurrency
from osc_quiesce.i18n import _

LOG = logging.getLogger(__name__)

_T = TypeVar('_T')


class Network:
    """Neutron; each network, subnet and security group is read once.

    A cloud need not have one, and the caller need not be allowed to see all:
    what cannot be seen is None.
    """

    def __init__(self, cloud: cloud_api.Cloud) -> None:
        self._cloud = cloud
        self._once = concurrency.Once()
        self._is_away = False
        self._was_told = False

    def ports(self, server_id: str) -> list[dict[str, Any]] | None:
        """Return the ports of a server; None if Neutron does not show them."""
        path = '/ports?%s' % parse.urlencode({'device_id': server_id})
        found = self._asked(lambda: list(
            self._cloud.pages('network', path, 'ports', None)))
        if found is None:
            return None
        return [self._port(port) for port in found]

    def _port(self, port: Mapping[str, Any]) -> dict[str, Any]:
        return {
            'id': port.get('id'),
            'name': port.get('name') or '',
            'network': self._named('networks', port.get('network_id')),
            'fixed_ips': [{'ip_address': ip.get('ip_address'),
                           'subnet': self._named(
                               'subnets', ip.get('subnet_id'),
                               'cidr')} for ip in port.get('fixed_ips') or ()],
            'mac_address': port.get('mac_address'),
            'security_groups': [self._named('security-groups', id_)
                                for id_ in port.get('security_groups') or ()],
            'allowed_address_pairs': list(
                port.get('allowed_address_pairs') or ()),
            'vnic_type': port.get('binding:vnic_type'),
            'port_security_enabled': port.get('port_security_enabled'),
            'tag': None}

    def _named(self, path: str, id_: str | None, *more: str) -> dict[str, Any]:
        """Return id, name and more attributes of what has this id."""
        names = ('name', *more)
        if id_ is None:
            return {'id': None, **dict.fromkeys(names)}
        found = self._once.read(
            (path, id_), lambda: self._asked(
                lambda: self._cloud.network(
                    'GET', f'/{path}/{parse.quote(id_)}')))
        # In answers it is "security_group".
        shown = (found or {}).get(path[:-1].replace('-', '_')) or {}
        return {'id': id_, **{name: shown.get(name) for name in names}}

    def _asked(self, ask: Callable[[], _T]) -> _T | None:
        if self._is_away:
            return None
        try:
            return ask()
        except cloud_api.NoService:
            self._is_away = True
        except cloud_api.NotThere:
            pass
        except cloud_api.CloudError as exc:
            # One that does not answer is not waited for again.
            self._is_away = exc.status is None
            if not self._was_told:
                self._was_told = True
                LOG.warning(_('Neutron does not show all data of the ports of '
                              'the servers, so the set records less: %s.'),
                            str(exc).rstrip('.'))
        return None


def without_neutron(body: Mapping[str, Any],
                    interfaces: Sequence[Mapping[str, Any]],
                    ) -> list[dict[str, Any]]:
    """Return ports, as far as Nova shows them.

    :param body: the server, as Nova shows it
    :param interfaces: those of the server, as Nova shows them, if it does
    """
    labels: dict[str | None, str] = {}
    ips: dict[str | None, list[str]] = {}
    for label, addresses in (body.get('addresses') or {}).items():
        for each in addresses:
            mac = each.get('OS-EXT-IPS-MAC:mac_addr')
            if each.get('OS-EXT-IPS:type') != 'floating':
                labels[mac] = label
                ips.setdefault(mac, []).append(each['addr'])
    if not interfaces:
        interfaces = [{'mac_addr': mac, 'fixed_ips': [
            {'ip_address': ip} for ip in each]} for mac, each in ips.items()]
    # Nova names them of all ports together.
    groups = {group['name'] for group in body.get('security_groups') or ()}
    return [{'id': port.get('port_id'),
             'name': None,
             'network': {'id': port.get('net_id'),
                         'name': labels.get(port.get('mac_addr'))},
             'fixed_ips': [
                 {'ip_address': ip.get('ip_address'),
                  'subnet': {'id': ip.get('subnet_id'), 'name': None,
                             'cidr': None}}
                 for ip in port.get('fixed_ips') or ()],
             'mac_address': port.get('mac_addr'),
             'security_groups': [
                 {'id': None, 'name': name} for name in sorted(groups)],
             'allowed_address_pairs': None,
             'vnic_type': None,
             'port_security_enabled': None,
             'tag': None} for port in interfaces]
