# SPDX-License-Identifier: Apache-2.0

"""What OpenStackClient loads of this package, whatever the command.

Every ``openstack`` command imports this module, so it must never import
anything that is not loaded anyway, nor do any work.
"""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    import argparse

    from osc_quiesce import client

API_NAME = 'server_quiesce'
API_VERSION_OPTION = 'os_server_quiesce_api_version'
API_VERSIONS = {'2': 'osc_quiesce.client.Client'}
DEFAULT_API_VERSION = '2'


def make_client(instance: typing.Any) -> client.Client:
    """Return the client of this cloud's compute endpoint.

    Its adapter is that of OpenStackClient's own compute commands: overrides,
    region and interface are found in the same way.
    ``--os-compute-api-version`` has no influence, since each request states
    the microversion that it needs.

    :param instance: the ``ClientManager`` of OpenStackClient
    """
    from osc_quiesce import client

    return client.Client(adapter=instance.sdk_connection.compute)


def build_option_parser(
        parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Return the parser as it is: there is one version, so no option."""
    return parser
