# SPDX-License-Identifier: Apache-2.0

"""The part of Neutron's configuration that only Neutron has.

There is one Neutron server and no agent: a mechanism driver of ours
(``minicloud.virt.network``) binds every port to every host. Nobody listens to
messages, so that no message bus is needed, whatever the rest of the cloud has.
"""

from minicloud.layout import Layout

#: The mechanism driver for each choice of ``--driver``.
MECHANISMS = {'fake': 'minicloud', 'libvirt': 'minicloud_bridge'}
#: What nobody has too many of.
QUOTAS = ('network', 'subnet', 'port', 'router', 'floatingip',
          'security_group', 'security_group_rule')


def configuration(layout: Layout, driver: str,
                  host: str) -> dict[str, dict[str, str]]:
    """Return the sections, without the ways to database and Keystone.

    :param driver: the hypervisor, key of :data:`MECHANISMS`
    :param host: name of the host that Neutron is on
    """
    state = layout.state / 'neutron'
    return {
        'DEFAULT': {
            'use_stderr': 'true',
            'state_path': str(state),
            'host': host,
            # Else it writes its command line anew, by which we know it.
            'setproctitle': 'off',
            'auth_strategy': 'keystone',
            'api_paste_config': f'{layout.etc}/neutron-api-paste.ini',
            'core_plugin': 'ml2',
            'service_plugins': 'router',
            'transport_url': 'fake:///',
            # This is how ML2 is told that there are no agents.
            'rpc_workers': '0',
            'rpc_state_report_workers': '0',
            'enable_traditional_dhcp': 'false',
            'dhcp_agent_notification': 'false'},
        'ml2': {
            'type_drivers': 'local,flat,vlan,vxlan',
            'project_network_types': 'vxlan',
            # Its name until 2025.2.
            'tenant_network_types': 'vxlan',
            'mechanism_drivers': MECHANISMS[driver],
            'extension_drivers': 'port_security'},
        'ml2_type_flat': {'flat_networks': '*'},
        'ml2_type_vxlan': {'vni_ranges': '1:1000'},
        'quotas': {f'quota_{name}': '-1' for name in QUOTAS},
        'oslo_messaging_notifications': {'driver': 'noop'},
        # The user's own; need not be there.
        'oslo_policy': {'policy_file': str(
            layout.local / 'neutron-policy.yaml')},
        'oslo_concurrency': {'lock_path': f'{state}/lock'},
    }
