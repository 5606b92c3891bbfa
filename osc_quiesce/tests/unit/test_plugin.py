# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import subprocess
import sys
from types import SimpleNamespace
import unittest
from unittest import mock

from keystoneauth1 import session as ksa_session

from osc_quiesce import plugin


def _modules_after(statement: str) -> set[str]:
    """Return what is loaded in a new interpreter after a statement."""
    code = f'{statement}\nimport sys\nprint("\\n".join(sys.modules))'
    output = subprocess.run(  # noqa: S603
        [sys.executable, '-c', code],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return set(output.split())


class TestPlugin(unittest.TestCase):
    def test_importing_it_imports_nothing_heavy(self) -> None:
        added = _modules_after('import osc_quiesce.plugin') - _modules_after(
            'import typing'
        )
        self.assertEqual(
            {'osc_quiesce', 'osc_quiesce.plugin'},
            {name for name in added if not name.startswith('_')}
            - {'__future__'},
        )

    def test_the_client_half_imports_neither_nova_nor_the_server_half(
        self,
    ) -> None:
        added = _modules_after('import osc_quiesce.v2.server')
        self.assertFalse(
            {name.split('.')[0] for name in added}
            & {'nova', 'nova_quiesce', 'minicloud', 'novaclient'}
        )

    def test_it_adds_no_option(self) -> None:
        parser = argparse.ArgumentParser()
        before = parser.format_help()
        self.assertEqual(
            before, plugin.build_option_parser(parser).format_help()
        )

    def test_the_client_uses_the_clouds_compute_endpoint(self) -> None:
        config = mock.Mock()
        config.get_service_type.return_value = 'compute'
        config.get_service_name.return_value = None
        config.get_region_name.return_value = 'here'
        config.get_interface.return_value = 'internal'
        config.get_endpoint.return_value = 'http://nova.example'
        client = plugin.make_client(
            SimpleNamespace(
                session=ksa_session.Session(),
                sdk_connection=SimpleNamespace(config=config),
            )
        )
        config.get_endpoint.assert_called_with('compute')
        adapter = client._adapter
        self.assertEqual(
            ('compute', 'here', 'internal', 'http://nova.example'),
            (
                adapter.service_type,
                adapter.region_name,
                adapter.interface,
                adapter.endpoint_override,
            ),
        )
