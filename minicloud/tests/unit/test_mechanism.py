# SPDX-License-Identifier: Apache-2.0

"""When a port is active, and what a tap has to do with it."""

import importlib
import pathlib
import sys
import tempfile
from types import SimpleNamespace
from typing import Any
import unittest
from unittest import mock

from minicloud import devices
from minicloud.layout import Layout

MODULE = 'minicloud.virt.network'
PORT = '01234567-89ab-cdef-0123-456789abcdef'
NETWORK = 'fedcba98-7654-3210-fedc-ba9876543210'


class MechanismTest(unittest.TestCase):
    """Neutron is not imported: that changes the whole process."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.layout = Layout(pathlib.Path(directory.name))
        self.layout.devices.mkdir(parents=True)
        self.blocks = mock.Mock(L2_AGENT_ENTITY='L2')
        names = ('neutron', 'neutron.db', 'neutron_lib',
                 'neutron_lib.api', 'neutron_lib.api.definitions',
                 'neutron_lib.callbacks', 'neutron_lib.plugins',
                 'neutron_lib.plugins.ml2', 'oslo_log')
        modules: dict[str, Any] = {name: mock.Mock() for name in names}
        modules['neutron.db'].provisioning_blocks = self.blocks
        modules['neutron_lib'].constants = SimpleNamespace(
            PORT_STATUS_ACTIVE='ACTIVE', PORT_STATUS_DOWN='DOWN')
        modules['neutron_lib.api.definitions'].portbindings = SimpleNamespace(
            CONNECTIVITY_L2='l2', VIF_TYPE_TAP='tap',
            CAP_PORT_FILTER='port_filter',
            VIF_DETAILS_CONNECTIVITY='connectivity')
        modules['neutron_lib.callbacks'].resources = SimpleNamespace(
            PORT='port')
        modules['neutron_lib.plugins.ml2'].api = SimpleNamespace(
            ID='id', MechanismDriver=object)
        for patch in (mock.patch.dict(sys.modules, modules),
                      mock.patch.dict('os.environ', {
                          'MINICLOUD_ROOT': directory.name}),
                      mock.patch('threading.Thread')):
            patch.start()
            self.addCleanup(patch.stop)
        sys.modules.pop(MODULE, None)
        self.module = importlib.import_module(MODULE)

    def port(self, **facts: Any) -> mock.Mock:
        """Return the context that a driver gets for a port."""
        told: dict[str, Any] = {
            'status': 'DOWN', 'vif_type': 'tap', 'host': 'compute1',
            'original_host': 'compute1', 'segments_to_bind': [{'id': 'one'}],
            'current': {'id': PORT, 'network_id': NETWORK,
                        'status': 'DOWN'}}
        return mock.Mock(**{**told, **facts})

    def fake(self) -> Any:
        made = self.module.MechanismDriver()
        made.initialize()
        return made

    def bridge(self) -> Any:
        made = self.module.BridgeMechanismDriver()
        made.initialize()
        return made

    def completed(self) -> list[str]:
        """Return the ports of which it was told that all is done."""
        return [call.args[1] for call
                in self.blocks.provisioning_complete.call_args_list]

    def test_a_port_is_active_when_the_fake_hypervisor_gets_it(self) -> None:
        port = self.port()
        self.fake().bind_port(port)
        segment, vif_type, details = port.set_binding.call_args.args
        self.assertEqual(('one', 'tap', False), (
            segment, vif_type, details['port_filter']))
        self.assertEqual({'status': 'ACTIVE'},
                         port.set_binding.call_args.kwargs)

    def test_and_after_a_live_migration(self) -> None:
        self.fake().update_port_postcommit(self.port())
        self.assertEqual([PORT], self.completed())

    def test_but_not_if_it_is_unbound_or_active_already(self) -> None:
        driver = self.fake()
        for port in (self.port(vif_type='unbound'),
                     self.port(status='ACTIVE')):
            driver.update_port_postcommit(port)
        self.assertEqual([], self.completed())

    def test_a_real_guests_port_is_not_active_when_it_is_bound(self) -> None:
        port = self.port()
        driver = self.bridge()
        driver.bind_port(port)
        self.assertEqual({'status': None}, port.set_binding.call_args.kwargs)
        driver.update_port_postcommit(port)
        self.assertEqual([], self.completed())

    def test_its_tap_is_on_record_before_nova_is_told(self) -> None:
        port = self.port()
        name = devices.tap_of(PORT)
        port.set_binding.side_effect = lambda *_args, **_options: (
            self.assertTrue((self.layout.devices / name).exists()))
        self.bridge().bind_port(port)
        port.set_binding.assert_called_once()

    def test_a_port_that_moves_waits_for_its_tap(self) -> None:
        driver = self.bridge()
        for port, waits in (
                (self.port(original_host=''), True),
                (self.port(), False),
                (self.port(host='', original_host='compute1'), False)):
            self.blocks.add_provisioning_component.reset_mock()
            driver.update_port_precommit(port)
            self.assertEqual(
                waits, self.blocks.add_provisioning_component.called)

    def look(self, seen: dict[str, str], there: dict[str, str],
             **connect: Any) -> dict[str, str]:
        with (mock.patch.object(devices, 'taps', return_value=there),
              mock.patch.object(devices, 'connect', **connect)):
            found: dict[str, str] = self.bridge()._look(seen)
            return found

    def test_a_port_is_active_when_its_tap_is_in_a_bridge(self) -> None:
        self.assertEqual({'tap1': '7'}, self.look(
            {}, {'tap1': '7'}, return_value=PORT))
        self.assertEqual([PORT], self.completed())

    def test_a_tap_is_connected_once(self) -> None:
        self.look({'tap1': '7'}, {'tap1': '7'}, side_effect=AssertionError)
        self.assertEqual([], self.completed())

    def test_and_again_when_it_was_made_anew(self) -> None:
        self.look({'tap1': '7'}, {'tap1': '8'}, return_value=PORT)
        self.assertEqual([PORT], self.completed())

    def test_somebody_elses_tap_makes_nothing_active(self) -> None:
        self.assertEqual({'tap1': '7'}, self.look(
            {}, {'tap1': '7'}, return_value=None))
        self.assertEqual([], self.completed())

    def test_what_failed_is_tried_again(self) -> None:
        self.assertEqual({'tap2': '8'}, self.look(
            {}, {'tap1': '7', 'tap2': '8'},
            side_effect=[OSError('busy'), PORT]))

    def test_only_what_is_still_there_is_complained_of(self) -> None:
        for there, complains in (({'tap1': '7'}, True), ({}, False),
                                 ({'tap1': '8'}, False)):
            self.module.LOG.reset_mock()
            with (mock.patch.object(devices, 'taps',
                                    side_effect=[{'tap1': '7'}, there]),
                  mock.patch.object(devices, 'connect',
                                    side_effect=OSError('no such device'))):
                self.assertEqual({}, self.bridge()._look({}))
            self.assertEqual(complains, self.module.LOG.exception.called)

    def tearDown(self) -> None:
        sys.modules.pop(MODULE, None)
