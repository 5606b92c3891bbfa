# SPDX-License-Identifier: Apache-2.0

"""The ports of servers: as they were, or as the mapping wants them."""

from __future__ import annotations

from collections.abc import Mapping
import ipaddress
from typing import Any, Final

from osc_quiesce.application import errors
from osc_quiesce.i18n import _
from osc_quiesce.recovery import mapping as mappings
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import resolved
from osc_quiesce.recovery import rows as tables

#: what the descriptions of our ports begin with
MARK: Final = f'{marks.PREFIX}{marks.RESTORE_ID}='
#: modes of subnets in which Neutron makes all addresses of MACs
_OF_MAC: Final = frozenset({'slaac', 'dhcpv6-stateless'})


def resolve(rows: tables.Rows,
            manifest: Mapping[str, Any]) -> list[resolved.Port]:
    """Return the ports that a server is to have here, in their order."""
    found = [_port(rows, port) for port in manifest.get('ports') or ()]
    return [port for port in found if port]


def _port(rows: tables.Rows, port: Mapping[str, Any]) -> resolved.Port | None:
    network = port['network']
    called = [each for each in (network['id'], network['name']) if each]
    section = rows.mapping.networks
    if section is None:
        rows.add(_('network'), ''.join(called[-1:]), _('none'))
        return None
    entry = rows.mapping.entry(section, *called)
    inner = None
    if entry:
        name = entry.value and entry.value.get('network')
        inner = mappings.Entry(name, entry.where)
    found = rows.found(section, _('network'), called, inner)
    if not found or not entry:
        return None
    body: dict[str, Any] = {
        'network_id': found['id'], 'name': port.get('name') or '',
        'admin_state_up': True}
    if port.get('vnic_type'):
        body['binding:vnic_type'] = port['vnic_type']
    _add_addresses(rows, port, entry, found, body)
    _add_mac(rows, port, entry, found, body)
    _add_security(rows, port, body)
    return resolved.Port(str(port['id']), body, port.get('tag'))


def _add_addresses(rows: tables.Rows, port: Mapping[str, Any],
                   entry: mappings.Entry, network: Mapping[str, Any],
                   body: dict[str, Any]) -> None:
    old = [ip['ip_address'] for ip in port.get('fixed_ips') or ()]
    source = ', '.join(old)
    subnets = [each for each in rows.site.all('subnets')
               if each['network_id'] == network['id']]
    try:
        if entry.get('subnet'):
            subnets = [_subnet(rows, entry, subnets)]
        if entry.get('addresses', mappings.KEEP) == mappings.NEW:
            if entry.get('subnet'):
                body['fixed_ips'] = [{'subnet_id': subnets[0]['id']}]
            if not subnets and old:
                raise errors.ApplicationError(
                    _('network %s has no subnet') % network['name'])
            rows.add(_('address'), source, _('new'))
            return
        body['fixed_ips'] = [
            _fixed(ip, subnets, network, entry) for ip in old]
        _check_free(rows, network, body['fixed_ips'])
    except errors.ApplicationError as exc:
        rows.add(_('address'), source, '', str(exc))
        return
    if port.get('allowed_address_pairs'):
        body['allowed_address_pairs'] = port['allowed_address_pairs']
    rows.add(_('address'), source, source or _('none'))


def _subnet(rows: tables.Rows, entry: mappings.Entry,
            subnets: list[dict[str, Any]]) -> dict[str, Any]:
    try:
        found = rows.site.find('subnets', entry.get('subnet'))
        if found not in subnets:
            raise errors.ApplicationError(
                _('subnet %s is of another network') % found['name'])
    except errors.ApplicationError as exc:
        raise errors.ApplicationError(f'{entry.where}: {exc}') from exc
    return found


def _fixed(address: str, subnets: list[dict[str, Any]],
           network: Mapping[str, Any],
           entry: mappings.Entry) -> dict[str, str]:
    """Return what asks for an address in the one subnet that has it."""
    for subnet in subnets:
        if ipaddress.ip_address(address) in ipaddress.ip_network(
                subnet['cidr'], strict=False):
            if entry.get('mac') == mappings.NEW and _OF_MAC & {
                    subnet.get('ipv6_address_mode'),
                    subnet.get('ipv6_ra_mode')}:
                raise errors.ApplicationError(
                    _('address %(address)s is made of the MAC: with "mac: '
                      '%(new)s", addresses must be "%(new)s" as well') % {
                          'address': address, 'new': mappings.NEW})
            return {'subnet_id': subnet['id'], 'ip_address': address}
    raise errors.ApplicationError(
        _('address %(address)s is in no subnet of network %(network)s: with '
          '"addresses: %(new)s" the server gets another one') % {
              'address': address, 'network': network['name'],
              'new': mappings.NEW})


def _check_free(rows: tables.Rows, network: Mapping[str, Any],
                fixed_ips: list[dict[str, str]]) -> None:
    """Check that no other port has an address, as far as one may see ports."""
    for fixed in fixed_ips:
        _check_unused(rows,
                      f'network_id={network["id"]}'
                      f'&fixed_ips=ip_address%3D{fixed["ip_address"]}',
                      _('address %s') % fixed['ip_address'])


def _add_mac(rows: tables.Rows, port: Mapping[str, Any], entry: mappings.Entry,
             network: Mapping[str, Any], body: dict[str, Any]) -> None:
    mac = port.get('mac_address')
    if not mac:
        return
    if entry.get('mac', mappings.KEEP) == mappings.NEW:
        rows.add(_('MAC'), mac, _('new'))
        return
    body['mac_address'] = mac
    try:
        _check_unused(rows, f'network_id={network["id"]}&mac_address={mac}',
                      _('MAC %s') % mac)
    except errors.ApplicationError as exc:
        rows.add(_('MAC'), mac, '', str(exc))
        return
    rows.add(_('MAC'), mac, mac)


def _check_unused(rows: tables.Rows, query: str, what: str) -> None:
    if not rows.checks_use:
        return
    found = [
        each for each in rows.site.cloud.pages(
            'network', f'/ports?{query}', 'ports', None)
        if not rows.restore_id
        or not (each.get('description') or '').startswith(
            f'{MARK}{rows.restore_id}')]
    if found:
        raise errors.ApplicationError(
            _('port %(port)s (of %(owner)s) has %(what)s here') % {
                'port': found[0]['id'],
                'owner': found[0].get('device_id') or _('no server'),
                'what': what})


def _add_security(rows: tables.Rows, port: Mapping[str, Any],
                  body: dict[str, Any]) -> None:
    if port.get('port_security_enabled') is False:
        body['port_security_enabled'] = False
        body['security_groups'] = []
        return
    groups = port.get('security_groups')
    if groups is None:
        return  # not known: the default one of the project
    found = [rows.found('security_groups', _('security group'), (
        group.get('id'), group.get('name'))) for group in groups]
    body['security_groups'] = sorted({g['id'] for g in found if g})


def fits(port: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """Return whether a port is as one would be made now.

    :param port: as Neutron has it
    :param body: of the request that would make it
    """
    fixed = body.get('fixed_ips')
    groups = body.get('security_groups')
    return (port['network_id'] == body['network_id']
            and body.get('mac_address', port['mac_address']).lower()
            == port['mac_address']
            and (groups is None or groups == sorted(port['security_groups']))
            and (fixed is None or len(fixed) == len(port['fixed_ips'])
                 and all(any(wanted.items() <= each.items()
                             for each in port['fixed_ips'])
                         for wanted in fixed)))


def description(restore_id: str, port_id: str) -> str:
    """Return the description by which a port of a restore is found again."""
    return f'{MARK}{restore_id};port_id={port_id}'
