# SPDX-License-Identifier: Apache-2.0

"""Versioned notifications of a quiesced server, as nova-compute sends them.

Each test starts a process that reads a nova.conf, as Nova's programs do, and
lets Nova's own code notify.  With eventlet or without, what it imports first
decides: so this module must not import Nova.
"""

import configparser
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
from typing import Any
from unittest import mock

from nova_quiesce import compat

ROOT = pathlib.Path(__file__).parents[3]
GROUP = 'oslo.messaging.notify.drivers'
#: seconds
TIMEOUT = 300
STATES = (('active', None), ('quiesced', None), ('quiesced', 'unquiescing'))


def emit(path: str) -> None:
    """Notify of servers in each of the states, and print what was sent.

    This is the other process.

    :param path: its nova.conf
    """
    compat.choose_threads()
    import nova.conf
    from nova import config
    from nova import objects
    config.parse_args(['nova-compute', '--config-file', path])
    nova.conf.CONF.set_override(
        'notify_on_state_change', 'vm_and_task_state', 'notifications')
    objects.register_all()
    from nova.image import glance
    from nova.notifications.objects import instance as payloads
    found: dict[str, Any] = {}
    with mock.patch.object(payloads.BlockDevicePayload, 'from_instance',
                           return_value=None), \
            mock.patch.object(payloads, 'SharePayload', mock.Mock(
                from_instance=mock.Mock(return_value=[])), create=True), \
            mock.patch.object(glance.API, 'generate_image_url',
                              return_value=''), \
            mock.patch.object(objects.Instance, 'get_network_info',
                              return_value=[]):
        for vm_state, task_state in STATES:
            found['%s %s' % (vm_state, task_state)] = _notify(
                vm_state, task_state)
    print(json.dumps(found))


def _notify(vm_state: str, task_state: str | None) -> dict[str, str]:
    """Have Nova notify of a server, and return states by type of event.

    An event whose notification raises an error has that instead.
    """
    from nova import rpc
    from nova.compute import utils
    from nova.notifications import base
    from oslo_messaging.notify import _impl_test
    server = _server(vm_state, task_state)
    before = {'vm_state': 'active', 'task_state': 'quiescing'}
    _impl_test.NOTIFICATIONS.clear()
    failed = {}
    for event, notify in (
            ('instance.exists', lambda: utils.notify_usage_exists(
                rpc.get_notifier('compute'), server._context, server,
                'host')),
            ('instance.update', lambda: base.send_update(
                server._context, before, server)),
            ('instance.reboot.start',
             lambda: utils.notify_about_instance_action(
                 server._context, server, 'host', action='reboot',
                 phase='start'))):
        try:
            notify()
        except ValueError as error:
            failed[event] = type(error).__name__
    return failed | {
        message['event_type']: '%s %s' % (
            message['payload']['nova_object.data']['state'],
            message['payload']['nova_object.data']['task_state'])
        for _context, message, _priority, _retry in _impl_test.NOTIFICATIONS
        if 'nova_object.data' in message['payload']}


def _server(vm_state: str, task_state: str | None) -> Any:
    from nova import context as nova_context
    from nova import objects
    from oslo_utils import uuidutils
    nothing = dict.fromkeys((
        'access_ip_v4', 'access_ip_v6', 'architecture', 'availability_zone',
        'created_at', 'deleted_at', 'kernel_id', 'key_name', 'launched_at',
        'os_type', 'ramdisk_id', 'terminated_at', 'updated_at'))
    server = objects.Instance(
        nova_context.get_admin_context(), id=1,
        uuid=uuidutils.generate_uuid(), vm_state=vm_state,
        task_state=task_state, system_metadata={}, metadata={},
        user_id='user', project_id='project', reservation_id='r-1',
        display_name='web', display_description='', hostname='web',
        host='host', node='host', image_ref='', power_state=1, progress=0,
        locked=False, auto_disk_config=False, deleted=False, cell_name=None,
        instance_type_id=1, memory_mb=1, vcpus=1, root_gb=1, ephemeral_gb=0,
        tags=objects.TagList(), **nothing)
    server.flavor = objects.Flavor(
        id=1, name='tiny', flavorid='1', memory_mb=1, vcpus=1, root_gb=1,
        ephemeral_gb=0, swap=0, rxtx_factor=1.0, vcpu_weight=0,
        disabled=False, is_public=True, extra_specs={}, projects=[],
        description=None)
    return server


class TestNotifications(unittest.TestCase):

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        # The entry point as it is now, whatever was installed earlier.
        setup = configparser.ConfigParser()
        setup.read(ROOT / 'setup.cfg')
        metadata = self.directory / 'drivers-0.dist-info'
        metadata.mkdir()
        (metadata / 'METADATA').write_text(
            'Metadata-Version: 2.1\nName: drivers\nVersion: 0\n')
        (metadata / 'entry_points.txt').write_text(
            '[%s]%s\n' % (GROUP, setup['entry_points'][GROUP]))

    def run_python(self, *arguments: str) -> Any:
        """Return the JSON that a process prints."""
        process = subprocess.run(
            (sys.executable, *arguments), capture_output=True, check=False,
            text=True, timeout=TIMEOUT, env={
                **os.environ, 'XDG_CACHE_HOME': str(self.directory),
                'PYTHONPATH': os.pathsep.join(
                    (str(self.directory), str(ROOT)))})
        self.assertEqual(0, process.returncode, process.stderr)
        return json.loads(process.stdout)

    def sent(self, *drivers: str) -> dict[str, dict[str, str]]:
        """Return what a process sends, by state."""
        path = self.directory / 'nova.conf'
        path.write_text('\n'.join((
            '[DEFAULT]', 'transport_url = fake:///',
            '[notifications]', 'notification_format = both',
            '[oslo_messaging_notifications]',
            *('driver = %s' % driver for driver in drivers), '')))
        found: dict[str, dict[str, str]] = self.run_python(
            '-c', 'import sys; from %s import emit; emit(sys.argv[1])'
            % __name__, str(path))
        return found

    def test_all_are_complete_with_the_driver(self) -> None:
        self.assertEqual(
            {state: dict.fromkeys((
                'instance.exists', 'instance.update',
                'instance.reboot.start'), state)
             for state in ('active None', 'quiesced None',
                           'quiesced unquiescing')},
            self.sent('test', 'nova_quiesce'))

    def test_without_it_those_of_a_quiesced_server_are_lost(self) -> None:
        found = self.sent('test')
        self.assertEqual(3, len(found['active None']))
        for state in ('quiesced None', 'quiesced unquiescing'):
            # Nova catches the error of the update itself, and logs it.
            self.assertEqual({'instance.exists': 'ValueError',
                              'instance.reboot.start': 'ValueError'},
                             found[state])

    def test_a_broker_that_takes_none_holds_up_nobody_for_ever(self) -> None:
        path = self.directory / 'nova.conf'
        for line, wanted in (('', range(5)), ('retry = 7', (7,))):
            path.write_text('\n'.join((
                '[oslo_messaging_notifications]', line, '')))
            found = self.run_python('-c', (
                'import json, sys; from nova_quiesce import cmd; '
                'from nova import config; config.parse_args('
                '["nova-quiesce", "--config-file", sys.argv[1]]); '
                'cmd._bound_notifications(); print(json.dumps('
                'cmd.CONF.oslo_messaging_notifications.retry))'), str(path))
            self.assertIn(found, wanted)

    def test_the_driver_loads_next_to_nothing_of_nova(self) -> None:
        # Nova is still reading its configuration when this is imported.
        loaded = self.run_python('-c', (
            'import json, sys; from nova.objects import fields; '
            'before = set(sys.modules); '
            'from nova_quiesce import notification_states; '
            'print(json.dumps(sorted(name for name in '
            'set(sys.modules) - before if name.startswith("nova"))))'))
        self.assertEqual(
            ['nova.compute', 'nova.compute.task_states',
             'nova.compute.vm_states', 'nova_quiesce',
             'nova_quiesce.notification_states', 'nova_quiesce.states'],
            loaded)
