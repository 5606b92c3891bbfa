# SPDX-License-Identifier: Apache-2.0

"""``openstack application snapshot`` on real Nova, Cinder and Keystone.

The storage is minicloud's: a volume is a sparse file.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
from typing import Any
import uuid
from collections.abc import Iterator

from osc_quiesce.tests.functional import base
from osc_quiesce.tests.functional import proxy


class ApplicationTest(base.FunctionalTest):
    """Servers with volumes, and a set of a name of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.set_name = 'set-%s' % uuid.uuid4().hex[:8]
        self.overrides: dict[str, str] = {}

    def environment(  # type: ignore[override]
            self, persona: str = 'admin') -> dict[str, str]:
        return {**base.FunctionalTest.environment(persona), **self.overrides}

    @contextlib.contextmanager
    def as_user(self, name: str, password: str) -> Iterator[None]:
        """Run commands as another user of the same project."""
        self.overrides.update(OS_USERNAME=name, OS_PASSWORD=password)
        yield
        del self.overrides['OS_USERNAME'], self.overrides['OS_PASSWORD']

    def cinder(
        self, method: str, path: str, body: Any = None, expect: int = 200
    ) -> Any:
        response = base.compute().session.request(
            self.cinder_url() + path, method, json=body, raise_exc=False)
        self.assertEqual(expect, response.status_code, response.text)
        return response.json() if response.content else None

    @staticmethod
    def cinder_url() -> str:
        url = base.compute().session.get_endpoint(
            service_type='volumev3', interface='public')
        assert url
        return str(url)

    def volume(self, bootable: bool = False, size: int = 1,
               volume_type: str | None = None) -> str:
        """Return the id of a new volume, deleted after the test."""
        volume: str = self.cinder('POST', '/volumes', {'volume': {
            'size': size, 'name': 'vol-%s' % uuid.uuid4().hex[:8],
            'volume_type': volume_type}}, 202)['volume']['id']
        self.addCleanup(self._delete_volume, volume)
        self.wait_for(lambda: self.volume_status(volume) == 'available',
                      'the volume is available')
        if bootable:
            for action in (
                    {'os-set_bootable': {'bootable': True}},
                    {'os-set_image_metadata': {
                        'metadata': {'hw_qemu_guest_agent': 'yes'}}}):
                self.cinder('POST', '/volumes/%s/action' % volume, action)
        return volume

    def shared_type(self) -> str:
        """Return the id of a type whose volumes several servers may have."""
        made: str = self.cinder('POST', '/types', {'volume_type': {
            'name': 'shared-%s' % uuid.uuid4().hex[:8],
            'extra_specs': {'multiattach': '<is> True'}}})['volume_type']['id']
        # A volume is gone only some time after the answer.
        self.addCleanup(
            self.wait_for,
            lambda: base.compute().session.delete(
                '%s/types/%s' % (self.cinder_url(), made),
                raise_exc=False).status_code == 202,
            'type %s is deleted' % made)
        return made

    def volume_status(self, volume: str) -> str:
        return str(self.cinder('GET', '/volumes/%s' % volume)[
            'volume']['status'])

    def _delete_volume(self, volume: str) -> None:
        self.wait_for(
            lambda: self.volume_status(volume) in ('available', 'error'),
            'volume %s is detached' % volume)
        # Also snapshots that a failed test has left.
        self.cinder('DELETE', '/volumes/%s?cascade=True' % volume,
                    expect=202)

    def attach(self, server: str, volume: str) -> None:
        response = base.compute().post(
            '/servers/%s/os-volume_attachments' % server,
            json={'volumeAttachment': {'volumeId': volume}})
        self.assertEqual(200, response.status_code, response.text)
        self.wait_for(lambda: self.volume_status(volume) == 'in-use',
                      'the volume is attached')

    def detach(self, server: str, volume: str) -> None:
        response = base.compute().delete(
            '/servers/%s/os-volume_attachments/%s' % (server, volume))
        self.assertEqual(202, response.status_code, response.text)
        self.wait_for(lambda: self.volume_status(volume) == 'available',
                      'the volume is detached')

    def with_volumes(self, count: int = 1, **kwargs: Any) -> tuple[
            str, list[str]]:
        """Return a server with a local disk and so many volumes."""
        volumes = [self.volume() for _number in range(count)]
        server = self.boot(**kwargs)
        for volume in volumes:
            self.attach(server, volume)
        return server, volumes

    def boot_from_volume(self, flavor: str = '') -> tuple[str, str]:
        volume = self.volume(bootable=True)
        flavors = base.compute().get('/flavors').json()['flavors']
        response = base.compute().post('/servers', json={'server': {
            'name': 'vm-%s' % uuid.uuid4().hex[:8],
            'flavorRef': flavor or next(f['id'] for f in flavors
                                        if f['name'] == 'tiny'),
            'networks': 'none',
            'block_device_mapping_v2': [{
                'uuid': volume, 'boot_index': 0, 'source_type': 'volume',
                'destination_type': 'volume'}]}})
        self.assertEqual(202, response.status_code, response.text)
        server: str = response.json()['server']['id']
        self.addCleanup(self._delete, server)
        self.wait(server, 'active')
        return server, volume

    def create(self, *options: str, expect: int = 0) -> base.Result:
        return self.openstack(
            'application snapshot create %s -f json %s' % (
                self.set_name, ' '.join(options)), expect=expect)

    @staticmethod
    def taken(shown: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the volumes of which a set has a snapshot, each once."""
        found = {volume['id']: volume for server in shown['servers']
                 for volume in server['volumes'] if volume['snapshot_id']}
        return list(found.values())

    def refused(self, *options: str) -> str:
        """Check that nothing is done, and return what was said."""
        result = self.create(*options, expect=1)
        self.assertIn('Nothing was quiesced', result.stderr)
        self.assertEqual([], self.snapshots())
        return result.stderr

    def snapshots(self) -> list[dict[str, Any]]:
        """Return the snapshots that there are of the test's set."""
        return [
            s for s in self.cinder('GET', '/snapshots/detail')['snapshots']
            if s['metadata'].get('osc_quiesce:set') == self.set_name]

    def check_undone(self, *servers: str) -> None:
        """Nothing is frozen any more, and no snapshot is left."""
        for server in servers:
            self.assertEqual(('active', None), self.states(server))
            log = self.guest_log(server)
            self.assertEqual(log.count('frozen'), log.count('thawed'))
        self.assertEqual([], self.snapshots())

    def file(self, text: str) -> str:
        with tempfile.NamedTemporaryFile(
                'w', suffix='.yaml', delete=False) as stream:
            stream.write(text)
        self.addCleanup(os.unlink, stream.name)
        return stream.name

    def cinder_proxy(self) -> proxy.Proxy:
        """Put a proxy between the command and Cinder."""
        stack = contextlib.ExitStack()
        between = stack.enter_context(proxy.Proxy(self.cinder_url()))
        self.addCleanup(stack.close)
        self.overrides.update(self.rerouted('block_storage', between.url))
        return between

    def nova_proxy(self) -> proxy.Proxy:
        stack = contextlib.ExitStack()
        between = stack.enter_context(proxy.Proxy())
        self.addCleanup(stack.close)
        self.overrides.update(self.rerouted('compute', between.url))
        return between


class TestSets(ApplicationTest):
    """What is made, shown and deleted."""

    def test_create_list_show_delete(self) -> None:
        data = self.volume()
        first, boot_volume = self.boot_from_volume()
        self.attach(first, data)
        second, [other] = self.with_volumes()
        made = self.create(
            '--server', first, '--server', second, '--allow-local-disk',
            '--description', 'nightly', '--property', 'ticket=17').data
        taken = self.taken(made)
        self.assertEqual([boot_volume, data, other],
                         [volume['id'] for volume in taken])
        self.assertEqual([0, -1, -1],
                         [volume['boot_index'] for volume in taken])
        self.assertEqual(
            {'available'}, {each['status'] for each in self.snapshots()})
        self.assertGreater(made['window'], 0)
        for server in (first, second):
            self.assertEqual(['frozen', 'thawed'], self.guest_log(server))
        [listed] = [
            s for s in self.openstack(
                'application snapshot list -f json').data
            if s['Name'] == self.set_name]
        self.assertEqual('consistent', listed['Consistency'])
        self.assertEqual(3, listed['Snapshots'])
        shown = self.openstack(
            'application snapshot show -f json %s' % self.set_name).data
        self.assertEqual('nightly', shown['description'])
        self.assertEqual({'ticket': '17'}, shown['properties'])
        self.assertEqual([first, second], [s['id'] for s in shown['servers']])
        self.assertEqual(made, shown)
        self.assertIsNone(shown['servers'][0]['image'])
        self.assertEqual('tiny', shown['servers'][1]['flavor']['name'])
        self.assertIn(first, self.openstack(
            'application snapshot show %s' % listed['ID']).stdout)
        self.openstack('application snapshot delete %s' % self.set_name)
        self.assertEqual([], self.snapshots())
        self.assertIn('may already have been deleted', self.openstack(
            'application snapshot delete %s' % self.set_name,
            expect=1).stderr)

    def test_deleting_ends_well_if_answers_of_cinder_are_lost(self) -> None:
        server, _volumes = self.with_volumes(2)
        self.create('--server', server, '--allow-local-disk')
        between = self.cinder_proxy()
        between.on('DELETE', proxy.forward_and_drop, proxy.drop)
        self.openstack('application snapshot delete %s' % self.set_name)
        self.assertEqual([], self.snapshots())

    def test_a_partial_set_is_incomplete_and_can_be_deleted(self) -> None:
        server, _volumes = self.with_volumes(2)
        made = self.create('--server', server, '--allow-local-disk').data
        self.cinder('DELETE', '/snapshots/%s' % self.taken(made)[0][
            'snapshot_id'], expect=202)
        self.wait_for(lambda: len(self.snapshots()) == 1, 'one is deleted')
        shown = self.openstack(
            'application snapshot show -f json %s' % self.set_name).data
        self.assertEqual('incomplete', shown['consistency'])
        said = self.openstack(
            'application snapshot delete %s' % self.set_name).stderr
        self.assertIn('Only 1 of the 2 snapshots', said)
        self.assertEqual([], self.snapshots())

    def test_a_set_of_which_a_volume_was_transferred(self) -> None:
        server, volumes = self.with_volumes(2)
        made = self.create('--server', server, '--allow-local-disk').data
        self.detach(server, volumes[1])
        transfer = self.cinder('POST', '/os-volume-transfer', {
            'transfer': {'volume_id': volumes[1]}}, 202)['transfer']
        self.openstack('volume transfer request accept %s --auth-key %s' % (
            transfer['id'], transfer['auth_key']), persona='member')
        listed = self.openstack(
            'application snapshot list -f json', persona='member').data
        self.assertEqual(
            [('incomplete', 1)],
            [(each['Consistency'], each['Snapshots']) for each in listed
             if each['ID'] == made['id']])
        self.assertEqual('incomplete', self.openstack(
            'application snapshot show -f json %s' % made['id']).data[
                'consistency'])
        for persona in ('admin', 'member'):
            self.assertIn('Only 1 of the 2 snapshots', self.openstack(
                'application snapshot delete %s' % made['id'],
                persona=persona).stderr)

    def test_a_file_gives_stages_and_options_of_servers(self) -> None:
        first, [wanted, unwanted] = self.with_volumes(2)
        second, [other] = self.with_volumes()
        path = self.file(
            'name: shop\nstages:\n- - server: %s\n'
            '    exclude_volumes: [%s]\n    unquiesce_after: 60\n'
            '- [%s]\n' % (first, unwanted, second))
        made = self.create('--file', path, '--allow-local-disk').data
        self.assertEqual([wanted, other],
                         [volume['id'] for volume in self.taken(made)])
        self.assertEqual([0, 1], [each['stage'] for each in made['servers']])
        self.assertEqual('shop', made['application'])

    def test_another_operator_of_the_project_finds_and_deletes_it(
            self) -> None:
        server, _volumes = self.with_volumes()
        self.create('--server', server, '--allow-local-disk')
        name = 'operator-%s' % uuid.uuid4().hex[:8]
        self.openstack('user create --password secret %s' % name)
        self.addCleanup(self.openstack, 'user delete %s' % name)
        self.openstack('role add --user %s --project %s member' % (
            name, self.environment()['OS_PROJECT_NAME']))
        with self.as_user(name, 'secret'):
            listed = self.openstack('application snapshot list -f json').data
            self.assertIn(self.set_name, [s['Name'] for s in listed])
            shown = self.openstack('application snapshot show -f json %s'
                                   % self.set_name).data
            self.assertEqual(server, shown['servers'][0]['id'])
            self.openstack('application snapshot delete %s' % self.set_name)
        self.assertEqual([], self.snapshots())

    def test_a_volume_of_several_servers_is_taken_once(self) -> None:
        volume = self.volume(volume_type=self.shared_type())
        first, second = self.boot(), self.boot()
        self.attach(first, volume)
        self.attach(second, volume)
        self.assertIn(second, self.refused(
            '--server', first, '--allow-local-disk'))
        made = self.create('--server', first, '--server', second,
                           '--allow-local-disk').data
        [taken] = self.taken(made)
        self.assertEqual(volume, taken['id'])
        self.assertEqual('consistent', made['consistency'])
        self.assertEqual(
            [taken['snapshot_id']] * 2,
            [s['volumes'][0]['snapshot_id'] for s in made['servers']])
        self.openstack('application snapshot delete %s' % self.set_name)

    def test_a_volume_that_another_server_gets_meanwhile(self) -> None:
        volume = self.volume(volume_type=self.shared_type())
        server, other = self.boot(), self.boot()
        self.attach(server, volume)

        def share(_request: proxy.Request) -> None:
            self.attach(other, volume)
            self.wait_for(
                lambda: len(self.cinder('GET', '/volumes/%s' % volume)[
                    'volume']['attachments']) == 2, 'both have it')
        self.cinder_proxy().on('snapshot', proxy.first(share))
        said = self.create('--server', server, '--allow-local-disk',
                           expect=1).stderr
        self.assertIn('Volume %s was attached to %s' % (volume, other), said)
        self.check_undone(server)

    def test_a_dry_run_shows_the_plan_and_changes_nothing(self) -> None:
        server, volumes = self.with_volumes(2)
        plan = self.create('--dry-run', '--server', server,
                           '--allow-local-disk').data
        [planned] = plan['servers']
        self.assertEqual(
            {False}, {each['encrypted'] for each in planned['volumes']})
        self.assertEqual(volumes, [each['id'] for each in planned['volumes']])
        self.assertEqual(([], []), (planned['refused'], plan['refused']))
        plan = self.create('--dry-run', '--server', server, expect=1).data
        [why] = plan['refused']
        self.assertIn('root disk', why)
        self.assertEqual([], self.guest_log(server))
        self.check_undone(server)


class TestRefusals(ApplicationTest):
    """What is found out before anything is frozen."""

    def test_local_disk(self) -> None:
        server, _volumes = self.with_volumes()
        self.assertIn('--allow-local-disk', self.refused('--server', server))
        self.assertEqual([], self.guest_log(server))

    def test_ephemeral_disk(self) -> None:
        response = base.compute().post('/flavors', json={'flavor': {
            'name': 'ephemeral-%s' % uuid.uuid4().hex[:8], 'vcpus': 1,
            'ram': 64, 'disk': 0, 'OS-FLV-EXT-DATA:ephemeral': 1}})
        flavor = response.json()['flavor']['id']
        self.addCleanup(base.compute().delete, '/flavors/%s' % flavor)
        server, _volume = self.boot_from_volume(flavor)
        said = self.refused('--server', server)
        self.assertIn('has a local ephemeral disk', said)
        self.assertNotIn('root', said)
        self.create('--server', server, '--allow-local-disk')

    def test_name_of_two_servers(self) -> None:
        name = 'twin-%s' % uuid.uuid4().hex[:8]
        for _number in range(2):
            self.boot(name=name)
        self.assertIn(name, self.refused('--server', name))

    def test_no_service_is_up(self) -> None:
        server, _volumes = self.with_volumes()
        self.addCleanup(base.force_down, 'nova-quiesce', False)
        base.force_down('nova-quiesce', True)
        self.assertIn('No nova-quiesce service is up', self.refused(
            '--server', server, '--allow-local-disk'))

    def test_host_whose_nova_compute_is_down(self) -> None:
        server, _volumes = self.with_volumes()
        self.addCleanup(base.force_down, 'nova-compute', False)
        base.force_down('nova-compute', True)
        self.assertIn('whose nova-compute is down', self.refused(
            '--server', server, '--allow-local-disk'))
        self.assertEqual([], self.guest_log(server))

    def test_hypervisor_that_cannot_quiesce(self) -> None:
        server, _volumes = self.with_volumes()
        with base.database() as database:
            before = database.execute(
                'SELECT id, hypervisor_type FROM compute_nodes').fetchall()
            database.execute(
                "UPDATE compute_nodes SET hypervisor_type = 'ironic'")
        try:
            said = self.refused('--server', server, '--allow-local-disk')
        finally:
            with base.database() as database:
                for node, kind in before:
                    database.execute(
                        'UPDATE compute_nodes SET hypervisor_type = ? '
                        'WHERE id = ?', (kind, node))
        self.assertIn('hypervisor of type ironic', said)
        self.assertEqual([], self.guest_log(server))

    def test_guest_that_does_not_run(self) -> None:
        server, _volumes = self.with_volumes()
        with base.database() as database:
            database.execute(
                'UPDATE instances SET power_state = 3 WHERE uuid = ?',
                (server,))
        self.assertIn('power_state 3 (paused)', self.refused(
            '--server', server, '--allow-local-disk'))

    def test_no_volume(self) -> None:
        self.assertIn('no volume', self.refused(
            '--server', self.boot(), '--allow-local-disk'))

    def test_unknown_server(self) -> None:
        server, _volumes = self.with_volumes()
        said = self.refused('--server', server, '--server', 'nobody',
                            '--allow-local-disk')
        self.assertIn('"nobody"', said)
        self.assertEqual([], self.guest_log(server))

    def test_server_named_twice(self) -> None:
        server, _volumes = self.with_volumes()
        self.assertIn('named twice', self.refused(
            '--server', server, '--server', server, '--allow-local-disk'))

    def test_server_that_is_not_active(self) -> None:
        server, _volumes = self.with_volumes()
        self.act(server, {'os-stop': None})
        self.wait(server, 'stopped')
        self.assertIn('vm_state stopped', self.refused(
            '--server', server, '--allow-local-disk'))

    def test_image_without_agent(self) -> None:
        server, _volumes = self.with_volumes(image='tiny-noagent')
        self.assertIn('hw_qemu_guest_agent', self.refused(
            '--server', server, '--allow-local-disk'))

    def test_unknown_volume_to_leave_out(self) -> None:
        server, _volumes = self.with_volumes()
        path = self.file('name: a\nstages:\n- - server: %s\n'
                         '    exclude_volumes: [nothing]\n' % server)
        self.assertIn('"nothing"', self.refused(
            '--file', path, '--allow-local-disk'))

    def test_name_that_is_taken(self) -> None:
        server, _volumes = self.with_volumes()
        options = ('--server', server, '--allow-local-disk')
        self.create(*options)
        said = self.create(*options, expect=1).stderr
        self.assertIn('already', said)
        self.assertEqual(1, len(self.snapshots()))

    def test_quotas_of_number_and_of_size(self) -> None:
        server, _volumes = self.with_volumes(2)
        project = base.compute().get_project_id()
        path = '/os-quota-sets/%s' % project
        self.addCleanup(self.cinder, 'PUT', path, {'quota_set': {
            'snapshots': -1, 'gigabytes': -1}})
        for key in ('snapshots', 'gigabytes'):
            used = self.cinder('GET', path + '?usage=True')[
                'quota_set'][key]['in_use']
            self.cinder('PUT', path, {'quota_set': {key: used + 1}})
            self.assertIn("quota %s is too small: 2 needed, 1" % key,
                          self.refused('--server', server,
                                       '--allow-local-disk'))
            self.cinder('PUT', path, {'quota_set': {key: -1}})

    def test_server_of_another_project(self) -> None:
        server = self.boot(persona='member')
        said = self.refused('--server', server, '--allow-local-disk')
        self.assertIn('is of project', said)
        result = self.openstack(
            'application snapshot create x --server %s' % self.boot(),
            persona='member', expect=1)
        self.assertIn('No server has the name or ID', result.stderr)

    def test_server_that_is_locked(self) -> None:
        server = self.boot(persona='member')
        self.act(server, {'lock': None})
        result = self.openstack(
            'application snapshot create x --allow-local-disk --server %s'
            % server, persona='member', expect=1)
        self.assertIn('is locked: unlock it first', result.stderr)
        self.assertIn('Nothing was quiesced', result.stderr)
        self.assertEqual([], self.guest_log(server))

    def test_administrators_need_not_unlock(self) -> None:
        server, _volumes = self.with_volumes()
        self.act(server, {'lock': None})
        self.create('--server', server, '--allow-local-disk')
        self.assertEqual(['frozen', 'thawed'], self.guest_log(server))

    def test_volume_that_is_not_in_use(self) -> None:
        server, [volume] = self.with_volumes()
        path = '/volumes/%s/action' % volume
        self.cinder('POST', path, {
            'os-reset_status': {'status': 'maintenance'}}, 202)
        self.assertIn(
            'volume %s, which is not in-use but maintenance' % volume,
            self.refused('--server', server, '--allow-local-disk'))
        self.cinder('POST', path, {
            'os-reset_status': {'status': 'in-use'}}, 202)

    def test_volume_that_is_being_migrated(self) -> None:
        server, [volume] = self.with_volumes()
        path = '/volumes/%s/action' % volume
        over = ('POST', path, {
            'os-reset_status': {'migration_status': 'none'}}, 202)
        self.addCleanup(self.cinder, *over)
        self.cinder('POST', path, {
            'os-reset_status': {'migration_status': 'migrating'}}, 202)
        # What the refusal saves: a freeze for nothing.
        self.cinder('POST', '/snapshots', {'snapshot': {
            'volume_id': volume, 'force': True}}, 400)
        self.assertIn(
            'volume %s, which is being migrated (migrating)' % volume,
            self.refused('--server', server, '--allow-local-disk'))
        self.assertEqual([], self.guest_log(server))
        self.cinder(*over)
        self.create('--server', server, '--allow-local-disk')

    def test_longer_freeze_than_the_cloud_allows(self) -> None:
        server, _volumes = self.with_volumes()
        self.assertIn('this cloud allows at most', self.refused(
            '--server', server, '--allow-local-disk',
            '--unquiesce-after', '999999999'))

    def test_file_errors_name_the_line(self) -> None:
        path = self.file('name: a\nstages:\n- - server: b\n    speed: 1\n')
        self.assertIn('%s, line 3' % path, self.create(
            '--file', path, expect=1).stderr)


class TestFailures(ApplicationTest):
    """What fails later is undone."""

    def test_cinder_fails_at_the_second_snapshot(self) -> None:
        first, _volumes = self.with_volumes(2)
        second, _volumes = self.with_volumes()
        between = self.cinder_proxy()
        between.on('snapshot', proxy.forward, proxy.refuse(500))
        said = self.create('--server', first, '--server', second,
                           '--allow-local-disk', expect=1).stderr
        self.assertIn('The snapshot of volume', said)
        self.assertIn('No consistent snapshot set', said)
        self.check_undone(first, second)

    def test_snapshot_ends_in_error(self) -> None:
        server, _volumes = self.with_volumes(2)
        between = self.cinder_proxy()

        def fail(handler: Any, request: proxy.Request) -> None:
            answer = handler.ask_nova(request)
            path = '/snapshots/%s' % json.loads(answer[2])['snapshot']['id']
            self.wait_for(
                lambda: self.cinder('GET', path)['snapshot'][
                    'status'] == 'available', 'the snapshot is available')
            self.cinder('POST', path + '/action', {
                'os-reset_status': {'status': 'error'}}, 202)
            handler.answer(*answer)
        between.on('snapshot', fail)
        said = self.create('--server', server, '--allow-local-disk',
                           expect=1).stderr
        self.assertIn('The snapshot of volume', said)
        self.check_undone(server)

    def test_answer_of_cinder_is_lost(self) -> None:
        server, _volumes = self.with_volumes(2)
        between = self.cinder_proxy()
        between.on('snapshot', proxy.forward, proxy.forward_and_drop)
        self.create('--server', server, '--allow-local-disk', expect=1)
        # A second attempt would have made one snapshot too many.
        self.assertEqual(2, len(between.requests('snapshot')))
        self.check_undone(server)

    def test_snapshot_that_cinder_makes_late(self) -> None:
        server, _volumes = self.with_volumes(2)
        made = threading.Event()

        def late(handler: Any, request: proxy.Request) -> None:
            def make() -> None:
                handler.ask_nova(request)
                made.set()
            threading.Timer(4, make).start()
            handler.cut()
        self.cinder_proxy().on('snapshot', proxy.forward, late)
        self.create('--server', server, '--allow-local-disk', expect=1)
        self.assertTrue(made.wait(base.TIMEOUT))
        self.check_undone(server)

    def test_set_is_made_if_cinder_is_away_while_servers_are_frozen(
            self) -> None:
        server, _volumes = self.with_volumes()
        between = self.cinder_proxy()
        between.on('snapshot', proxy.first(
            lambda request: between.on(
                'GET', proxy.refuse(503), proxy.drop, proxy.drop)))
        made = self.create('--server', server, '--allow-local-disk').data
        self.assertEqual('consistent', made['consistency'])
        self.assertEqual(('active', None), self.states(server))
        # These failed before the thaw, and not when the set was marked.
        kinds = [request.kind for request in between.seen]
        frozen = kinds[kinds.index('snapshot'):kinds.index('metadata')]
        self.assertGreater(frozen.count('GET'), 3)

    def test_set_is_marked_when_cinder_is_back(self) -> None:
        server, _volumes = self.with_volumes()
        between = self.cinder_proxy()
        between.on('metadata', proxy.refuse(503), proxy.drop,
                   proxy.forward_and_drop)
        made = self.create('--server', server, '--allow-local-disk').data
        self.assertEqual('consistent', made['consistency'])

    def test_set_that_cannot_be_marked(self) -> None:
        server, _volumes = self.with_volumes(2)
        between = self.cinder_proxy()
        between.on('metadata', *[proxy.refuse(403)] * 2)
        said = self.create('--server', server, '--allow-local-disk',
                           expect=1).stderr
        self.assertEqual(('active', None), self.states(server))

        def consistency() -> Any:
            return self.openstack('application snapshot show -f json %s'
                                  % self.set_name).data['consistency']
        self.assertEqual('pending', consistency())
        # As the message says.
        [command] = re.findall(r'"openstack (.* --property \S+) <', said)
        [snapshots] = re.findall(r'<snapshot>" \(([^)]*)\)', said)
        for snapshot in snapshots.split():
            self.openstack('%s %s' % (command, snapshot))
        self.assertEqual('consistent', consistency())
        [command] = re.findall(
            r'"openstack (application snapshot delete \S+)"', said)
        self.openstack(command)
        self.assertEqual([], self.snapshots())

    def test_server_cannot_be_frozen(self) -> None:
        first, _volumes = self.with_volumes()
        second, _volumes = self.with_volumes(quiesce='disconnected')
        said = self.create('--server', first, '--server', second,
                           '--allow-local-disk', expect=1).stderr
        self.assertIn(second, said)
        self.assertIn('No consistent snapshot set', said)
        self.assertEqual(['frozen', 'thawed'], self.guest_log(first))
        self.check_undone(first, second)

    def test_freeze_that_fails(self) -> None:
        first, _volumes = self.with_volumes()
        second, _volumes = self.with_volumes(quiesce='fail')
        said = self.create('--server', first, '--server', second,
                           '--allow-local-disk', expect=1).stderr
        self.assertIn(second, said)
        self.assertIn('Guest agent not available for now', said)
        self.assertNotEqual(['frozen'], self.guest_log(second)[-1:])
        self.check_undone(first)

    def test_freeze_that_takes_too_long(self) -> None:
        first, _volumes = self.with_volumes()
        second, _volumes = self.with_volumes(quiesce='slow:4')
        said = self.create('--server', first, '--server', second,
                           '--allow-local-disk', '--timeout', '2',
                           expect=1).stderr
        self.assertIn('did not become quiesced within 2 s', said)
        self.check_undone(first, second)

    def test_deadline_that_passes_before_the_snapshots_are_made(self) -> None:
        server, _volumes = self.with_volumes()

        def wait(_request: proxy.Request) -> None:
            self.wait_for(lambda: 'thawed' in self.guest_log(server),
                          'the deadline has passed')
        self.cinder_proxy().on('snapshot', proxy.first(wait))
        said = self.create('--server', server, '--allow-local-disk',
                           '--unquiesce-after', '8', expect=1).stderr
        self.assertIn('did not stay frozen', said)
        self.assertIn('is not consistent', said)
        self.wait(server, 'active')
        self.check_undone(server)

    def test_caller_who_may_not_quiesce(self) -> None:
        server = self.boot(persona='member')
        volume = self.openstack(
            'volume create --size 1 -f json vol-member',
            persona='member').data['id']
        self.wait_for(lambda: self.volume_status(volume) == 'available',
                      'the volume is available')
        self.addCleanup(self.openstack, 'volume delete %s' % volume,
                        persona='member')
        self.openstack('server add volume %s %s' % (server, volume),
                       persona='member')
        self.wait_for(lambda: self.volume_status(volume) == 'in-use',
                      'the volume is attached')
        self.addCleanup(self.openstack, 'server delete --wait %s' % server,
                        persona='member')
        said = self.openstack(
            'application snapshot create x --allow-local-disk --server %s'
            % server, persona='member', expect=1).stderr
        self.assertIn('By default only administrators', said)
        self.assertEqual([], self.guest_log(server))
        self.assertEqual([], self.openstack(
            'volume snapshot list -f json', persona='member').data)

    def test_snapshots_that_take_too_long(self) -> None:
        server, _volumes = self.with_volumes()
        between = self.cinder_proxy()
        going_on = threading.Event()
        between.on('snapshot', proxy.answer_after(going_on))

        def watch() -> None:
            # The thaw does not wait for Cinder.
            self.wait_for(lambda: between.requests('snapshot'), 'asked')
            self.wait_for(lambda: self.states(server) == ('active', None),
                          'the server is thawed')
            going_on.set()
        watcher = threading.Thread(target=watch)
        watcher.start()
        said = self.create('--server', server, '--allow-local-disk',
                           '--timeout', '5', expect=1).stderr
        watcher.join()
        self.assertIn('Not all snapshots were made within 5 s', said)
        self.check_undone(server)

    def test_a_thaw_that_fails_leaves_no_set(self) -> None:
        # The guest cannot tell whether it stayed frozen.
        first, _volumes = self.with_volumes()
        second, _volumes = self.with_volumes(unquiesce='fail')
        said = self.create('--server', first, '--server', second,
                           '--allow-local-disk', expect=1).stderr
        self.assertIn('MAY STILL BE FROZEN', said)
        self.assertIn(second, said)
        self.check_undone(first)

    def test_volume_detached_after_the_preflight(self) -> None:
        server, [volume, _other] = self.with_volumes(2)
        between = self.nova_proxy()
        between.on('quiesce', proxy.forward,
                   proxy.first(lambda _r: self.detach(server, volume)))
        said = self.create('--server', server, '--allow-local-disk',
                           expect=1).stderr
        self.assertIn('detached from it', said)
        self.assertIn(server, said)
        self.check_undone(server)

    def thawed_by_another_request(self, *options: str) -> tuple[str, str]:
        server, _volumes = self.with_volumes()
        between = self.cinder_proxy()

        def thaw(_request: proxy.Request) -> None:
            self.act(server, {'unquiesce': None})
            self.wait(server, 'active')
        between.on('snapshot', proxy.first(thaw))
        said = self.create('--server', server, '--allow-local-disk',
                           *options, expect=1).stderr
        return server, said

    def test_server_thawed_meanwhile(self) -> None:
        server, said = self.thawed_by_another_request()
        self.assertIn('did not stay frozen', said)
        self.check_undone(server)

    def test_inconsistent_set_is_kept_and_marked_if_wanted(self) -> None:
        _server, said = self.thawed_by_another_request('--keep-inconsistent')
        self.assertIn('NOT CONSISTENT', said)
        shown = self.openstack(
            'application snapshot show -f json %s' % self.set_name).data
        self.assertEqual('inconsistent', shown['consistency'])
        self.openstack('application snapshot delete %s' % self.set_name)

    def create_together(
        self, *orders: list[str]
    ) -> list[subprocess.CompletedProcess[str]]:
        """Run commands at the same time, each with servers in its order."""
        results: dict[int, subprocess.CompletedProcess[str]] = {}

        def run(number: int) -> None:
            servers = [w for s in orders[number] for w in ('--server', s)]
            results[number] = subprocess.run(
                ['openstack', 'application', 'snapshot', 'create',
                 '%s-%d' % (self.set_name, number), '--allow-local-disk',
                 *servers],
                env=self.environment(), capture_output=True, text=True,
                timeout=2 * base.TIMEOUT)
        threads = [threading.Thread(target=run, args=(number,))
                   for number in range(len(orders))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [results[number] for number in range(len(orders))]

    def check_one_won(
        self, results: list[subprocess.CompletedProcess[str]], *servers: str
    ) -> subprocess.CompletedProcess[str]:
        """One has made its set, nothing else is left; return the other."""
        said = [r.stderr for r in results]
        self.assertEqual([0, 1], sorted(r.returncode for r in results), said)
        for server in servers:
            self.assertEqual(('active', None), self.states(server))
            log = self.guest_log(server)
            self.assertEqual(['frozen', 'thawed'] * (len(log) // 2), log)
        sets = [s for s in self.openstack(
            'application snapshot list -f json').data
            if s['Name'].startswith(self.set_name)]
        won = [r.returncode for r in results].index(0)
        self.assertEqual(
            [('%s-%d' % (self.set_name, won), 'consistent', len(servers))],
            [(s['Name'], s['Consistency'], s['Snapshots']) for s in sets],
            said)
        self.openstack('application snapshot delete %s' % sets[0]['ID'])
        for result in results:
            self.assertNotIn('Traceback', result.stderr)
        return results[1 - won]

    def test_two_commands_at_once(self) -> None:
        server, _volumes = self.with_volumes(quiesce='slow:6')
        results = self.create_together([server], [server])
        lost = self.check_one_won(results, server)
        self.assertEqual(['frozen', 'thawed'], self.guest_log(server))
        # It may have come to its preflight only then, and on a slow machine
        # the other one has the server for long.
        self.assertRegex(
            lost.stderr, 'goes first|has just made snapshot set|still held it'
            '|Nothing was quiesced')

    def test_of_two_commands_with_opposite_orders_one_wins(self) -> None:
        first, second = [
            self.with_volumes(quiesce='slow:1', unquiesce='slow:1')[0]
            for _number in range(2)]
        for _round in range(3):
            both = threading.Barrier(2)

            def meet(request: proxy.Request, both: Any = both) -> None:
                # Not those of the preflight, which are for no server.
                if first in request.path or second in request.path:
                    both.wait(base.TIMEOUT)
            between = self.nova_proxy()
            between.on('quiesce', *[proxy.first(meet)] * 4)
            lost = self.check_one_won(
                self.create_together([first, second], [second, first]),
                first, second)
            # Neither is refused before both have begun.
            self.assertEqual(2, len({
                r.path for r in between.requests('quiesce')[:4]
                if first in r.path or second in r.path}))
            self.assertRegex(
                lost.stderr, '(%s|%s).* Request req-' % (first, second))
            self.assertIn('has unquiesced its servers', lost.stderr)

    def check_signal(self, signum: int) -> None:
        server, _volumes = self.with_volumes()
        between = self.cinder_proxy()
        going_on = threading.Event()
        self.addCleanup(going_on.set)
        between.on('snapshot', proxy.answer_after(going_on))
        process = subprocess.Popen(
            ['openstack', 'application', 'snapshot', 'create',
             self.set_name, '--server', server, '--allow-local-disk'],
            env=self.environment(), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        self.wait_for(lambda: between.requests('snapshot'),
                      'the snapshot was asked for')
        process.send_signal(signum)
        # The thaw does not wait for Cinder.
        self.wait_for(lambda: self.states(server) == ('active', None),
                      'the server is thawed')
        going_on.set()
        _out, err = process.communicate(timeout=base.TIMEOUT)
        self.assertEqual(-signum, process.returncode, err)
        self.assertNotIn('Traceback', err)
        self.check_undone(server)

    def test_ctrl_c_thaws_and_deletes(self) -> None:
        self.check_signal(signal.SIGINT)

    def test_sigterm_thaws_and_deletes(self) -> None:
        self.check_signal(signal.SIGTERM)

    def test_sighup_thaws_and_deletes(self) -> None:
        self.check_signal(signal.SIGHUP)
