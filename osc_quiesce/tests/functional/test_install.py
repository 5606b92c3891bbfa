# SPDX-License-Identifier: Apache-2.0

"""What an operator installs, seen from outside."""

import pathlib
import signal
import subprocess
import time
from typing import Any

import fixtures
import minicloud

from osc_quiesce.tests.functional import base


class TestCloudWithoutNovaQuiesce(base.FunctionalTest):
    """A Nova as it is published."""

    plain: minicloud.Cloud

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        root = base.cloud().layout.root
        cls.plain = minicloud.Cloud(root.with_name(root.name + '-plain'))
        cls.addClassCleanup(cls.plain.down, purge=True)
        cls.plain.up(quiesce=False, fresh=True)

    def environment(  # type: ignore[override]
            self, persona: str = 'admin') -> dict[str, str]:
        return {**base.FunctionalTest.environment(persona),
                **self.plain.environment(persona)}

    def test_the_commands_say_that_it_is_not_installed(self) -> None:
        self.openstack('server create --flavor tiny --image tiny --nic none '
                       '--wait vm-plain')
        for verb in ('quiesce', 'quiesce --wait', 'unquiesce',
                     'unquiesce --wait'):
            result = self.openstack('server %s vm-plain' % verb, expect=1)
            self.assertIn('nova_quiesce is not installed', result.stderr)
            self.assertIn('vm-plain', result.stderr)
        services = self.openstack('compute service list -f json').data
        self.assertNotIn('nova-quiesce',
                         [service['Binary'] for service in services])

    def test_an_application_snapshot_is_refused_for_the_same_reason(
            self) -> None:
        self.openstack('server create --flavor tiny --image tiny --nic none '
                       '--wait vm-application')
        self.openstack('volume create --size 1 vol-application')
        self.wait_for(
            lambda: self.openstack(
                'volume show -f json vol-application').data['status']
            == 'available', 'the volume is available')
        self.openstack('server add volume vm-application vol-application')
        for option in ('', '--dry-run'):
            result = self.openstack(
                'application snapshot create x --server vm-application '
                '--allow-local-disk %s' % option, expect=1)
            self.assertIn('This cloud has no quiesce API', result.stderr)
            self.assertNotIn('00000000-0000', result.stderr)
        self.assertEqual(
            [], self.openstack('volume snapshot list -f json').data)

    def test_the_upgrade_check_says_what_is_missing(self) -> None:
        result = self.shell(
            'nova-quiesce-status --config-file %s upgrade check' % (
                self.plain.layout.etc / 'nova.conf'), expect=2)
        said = ' '.join(result.stdout.replace('|', ' ').split())
        self.assertIn('run "nova-quiesce-manage db sync"', said)
        self.assertIn('does not load the actions', said)


class TestService(base.FunctionalTest):
    """The program nova-quiesce."""

    def _services(self, host: str) -> list[dict[str, Any]]:
        return base.compute().get(  # type: ignore[no-any-return]
            '/os-services?binary=nova-quiesce&host=%s' % host
        ).json()['services']

    def test_it_joins_the_cloud_and_stops_when_told(self) -> None:
        host = 'another-controller'
        directory = self.useFixture(fixtures.TempDir()).path
        extra = pathlib.Path(directory) / 'host.conf'
        extra.write_text('[DEFAULT]\nhost = %s\n' % host)
        etc = base.cloud().layout.etc
        process = subprocess.Popen(
            ['nova-quiesce', '--config-file', str(etc / 'nova.conf'),
             '--config-file', str(extra)],
            env=self.environment(), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        self.addCleanup(process.kill)
        end = time.monotonic() + base.TIMEOUT
        while not self._services(host):
            self.assertIsNone(process.poll(), 'it has ended')
            self.assertLess(time.monotonic(), end, 'it does not join')
            time.sleep(0.2)
        [service] = self._services(host)
        self.addCleanup(base.compute().delete,
                        '/os-services/%s' % service['id'])
        self.assertEqual('up', service['state'])
        # Before its first report it may still be starting.
        self.wait_for(lambda: self._services(host)[0]['updated_at'],
                      'it reports')
        process.send_signal(signal.SIGTERM)
        output, _none = process.communicate(timeout=base.TIMEOUT)
        self.assertEqual(0, process.returncode, output)
        self.assertNotIn('Traceback', output)

    def test_samples_of_options_and_rules(self) -> None:
        sample = self.shell(
            'oslo-config-generator --namespace nova_quiesce').stdout
        self.assertIn('[quiesce]', sample)
        self.assertIn('#operation_timeout = 60', sample)
        sample = self.shell(
            'oslopolicy-sample-generator --namespace nova_quiesce').stdout
        for action in ('quiesce', 'unquiesce'):
            self.assertIn('#"os_compute_api:os-quiesce:%s": '
                          '"rule:context_is_admin"' % action, sample)


class TestClientAlone(base.FunctionalTest):
    """The client half in a process of its own."""

    def test_it_imports_no_nova_and_no_server_half(self) -> None:
        result = self.shell('''python -c "
import sys
import osc_quiesce.client, osc_quiesce.plugin, osc_quiesce.v2.server
print([name for name in sys.modules
       if name.split('.')[0] in ('nova', 'nova_quiesce', 'minicloud')])"''')
        self.assertEqual('[]', result.stdout.strip())
