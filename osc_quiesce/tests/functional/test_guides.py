# SPDX-License-Identifier: Apache-2.0

"""The guides are followed: what the documentation says to type, works.

A line that begins with "$" is a command of a guide, one with ">>>" an example
of the library.
"""

import doctest
import importlib.metadata
import io
import pathlib
import re
import shlex
from typing import Any

from osc_quiesce import client
from osc_quiesce.application import spec
from osc_quiesce.tests.functional import base
from osc_quiesce.tests.functional import test_application
from osc_quiesce.tests.functional import test_recovery

DOCS = pathlib.Path(__file__).parents[3] / 'doc/source'
STATUS = 'nova-quiesce-status'
#: That of OpenStack 2025.1 is 7.
OPENSTACKCLIENT = int(
    importlib.metadata.version('python-openstackclient').partition('.')[0])


def commands(guide: str, title: str = '') -> list[str]:
    """Return the commands of a guide, in order.

    :param title: of the section with which to begin; by default the first
    """
    text = (DOCS / guide).read_text()
    start = re.search('^%s$' % re.escape(title), text, re.MULTILINE)
    assert start, title
    return re.findall(r'^ +\$ (.*)$', text[start.end():], re.MULTILINE)


def follow(test: base.FunctionalTest, command: str,
           expect: int = 0) -> base.Result:
    """Run a command of a guide, in this process if no shell is needed."""
    program, _space, arguments = command.partition(' ')
    if program == 'openstack' and not set(arguments) & set('$|>'):
        return test.openstack(arguments, expect=expect)
    return test.shell(command, expect=expect)


class Checker(doctest.OutputChecker):
    """Takes each time and each UUID for the one in the guide."""

    VARIES = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ'
                        '|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return super().check_output(
            self.VARIES.sub('~', want), self.VARIES.sub('~', got), optionflags)


class TestLibrary(base.FunctionalTest):
    """The examples in Python."""

    def examples(self, guide: str, names: dict[str, Any]) -> None:
        """Run all examples of a guide, one after the other."""
        text = (DOCS / guide).read_text()
        example = doctest.DocTestParser().get_doctest(
            text, {**names, 'keystone_session': base.compute().session},
            guide, str(DOCS / guide), 0)
        self.assertTrue(example.examples)
        report = io.StringIO()
        failed, _tried = doctest.DocTestRunner(
            Checker(), optionflags=doctest.NORMALIZE_WHITESPACE).run(
                example, out=report.write)
        self.assertEqual(0, failed, report.getvalue())

    def test_library(self) -> None:
        servers = {name: self.boot(name)
                   for name in ('db', 'app1', 'app2', 'web')}
        seen: list[tuple[str, str | None]] = []

        def make_snapshots() -> None:
            seen.extend(self.states(server) for server in servers.values())

        self.examples('reference/library.rst', {
            **servers, 'server_id': servers['db'],
            'make_snapshots': make_snapshots})
        self.assertEqual([('quiesced', None)] * 4, seen)

    def test_novaclient(self) -> None:
        server = self.boot('web')
        self.examples('reference/novaclient.rst', {})
        self.wait(server, 'active')


class TestOtherTools(test_application.ApplicationTest):
    """Snapshots with other tools, of the guide without our commands.

    The rest of that guide, and the one to disaster recovery, need two sites
    (osc_quiesce.tests.recovery.test_guide).
    """

    SECTION = 'Snapshots with other tools'

    def test_every_command(self) -> None:
        for name in ('db', 'app', 'web'):
            server, volume = self.boot_from_volume()
            base.compute().put('/servers/%s' % server,
                               json={'server': {'name': name}})
            self.cinder('PUT', '/volumes/%s' % volume,
                        {'volume': {'name': '%s-disk' % name}})
        told = commands('user/by-hand.rst', self.SECTION)
        self.assertEqual(1, len(told))
        for command in told:
            # It runs many commands, one after the other.
            self.shell('cd %s && %s' % (
                shlex.quote(str(DOCS / 'samples')), command),
                timeout=5 * base.TIMEOUT)
        snapshots = self.cinder('GET', '/snapshots')['snapshots']
        self.assertEqual(
            {('db-1', 'available'), ('app-1', 'available'),
             ('web-1', 'available')},
            {(each['name'], each['status']) for each in snapshots})
        for server in base.compute().get('/servers/detail').json()['servers']:
            if server['name'] in ('db', 'app', 'web'):
                self.assertEqual('ACTIVE', server['status'])

    def test_the_program_of_the_library(self) -> None:
        server, _volume = self.boot_from_volume()
        told = self.shell(
            'cd %s && python take_snapshots.py envvars noon %s' % (
                shlex.quote(str(DOCS / 'samples')), server)).stdout
        self.assertRegex(told, r'^Snapshots: 1\. ')
        self.assertEqual(
            ['available'],
            [each['status'] for each in self.cinder('GET', '/snapshots')[
                'snapshots'] if each['name'] == 'noon'])
        self.assertEqual(('active', None), self.states(server))

    def test_the_sample_of_an_application(self) -> None:
        application = spec.from_file(str(DOCS / 'samples/application.yaml'))
        self.assertEqual('shop', application.name)
        self.assertEqual([1, 2], [len(s) for s in application.stages])


class TestWindow(test_application.ApplicationTest):
    """The command with which one measures a cloud of one's own."""

    COMMAND = 'cd %s && python -m benchmarks window --rounds 1 ' % shlex.quote(
        str(DOCS.parents[1]))

    def test_it_measures_and_leaves_nothing_behind(self) -> None:
        servers = [self.boot_from_volume()[0] for _server in range(2)]
        # It runs many commands, one after the other.
        told = self.shell(self.COMMAND + ' '.join(
            '--server %s' % server for server in servers),
            timeout=5 * base.TIMEOUT).stdout
        for line in ('2 servers: ours', '2 servers: limit',
                     '2 servers: ours / limit'):
            self.assertRegex(told, r'(?m)^%s +\w+ +\d' % line)
        self.assertEqual([], self.cinder('GET', '/snapshots')['snapshots'])
        for server in servers:
            self.assertEqual(('active', None), self.states(server))

    def test_a_server_that_cannot_be_quiesced_is_named(self) -> None:
        server = self.boot(image='tiny-noagent')
        told = self.shell(self.COMMAND + '--server %s' % server, expect=1)
        self.assertIn('hw_qemu_guest_agent', told.stderr)
        self.assertEqual('', told.stdout)


class TestStaysFrozen(test_recovery.RecoveryTest):
    """A guest that stays frozen: the page of the administrator guide."""

    OPTIONS = {'operation_timeout': 10, 'sweep_interval': 1}
    #: what cannot succeed for this server
    FAILS = ('server unquiesce', STATUS + ' thaw')

    def test_every_step(self) -> None:
        server = self.boot('web', unquiesce='fail')
        quiesce = client.Client(session=base.compute().session)
        quiesce.wait_for_quiesced(server, quiesce.quiesce(server))
        listed = []
        steps = commands('admin/stays-frozen.rst')
        for step in steps:
            command = step.replace(STATUS, '%s --config-file %s' % (
                STATUS, base.cloud().layout.etc / 'nova.conf'))
            if OPENSTACKCLIENT < 8:
                command = command.replace(' --auto-approve', '')
            if 'reboot' in step:
                # Again, if a thaw is being tried.
                self.shell('until %s; do sleep 1; done' % step)
                # The pause after the last thaw may be a long one.
                self.wait_for_no_row(server, 2 * base.TIMEOUT)
                self.wait(server, 'active')
                continue
            if ' thaw ' in step:
                command += ' --timeout 30'
            result = follow(self, command, expect=int(
                any(words in step for words in self.FAILS)))
            if step == STATUS + ' list':
                listed.append(server in result.stdout)
        self.assertEqual([True, False], listed)
        self.assertEqual(('active', None), self.states(server))

    def test_who_is_quiesced_for_long(self) -> None:
        server = self.boot()
        self.openstack('server quiesce --wait %s' % server)
        for year, found in (('2020', False), ('2200', True)):
            listed = self.openstack(
                'server list --all-projects -f json '
                '--changes-before %s-01-01T00:00:00Z' % year).data
            self.assertEqual(found, (server, 'QUIESCED') in [
                (row['ID'], row['Status']) for row in listed])
