# SPDX-License-Identifier: Apache-2.0

"""What can be found out is found out before anything is frozen."""

from collections.abc import Iterator
from typing import Any

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import plan as planning
from osc_quiesce.application import sets
from osc_quiesce.application import spec
from osc_quiesce.tests.unit import fakes

PROJECT = 'shop-project'


class FakeCloud:
    """Nova's and Cinder's answers to those who plan.

    :ivar servers: by id, as Nova shows them
    :ivar volumes: by id, as Cinder shows them
    :ivar services: those of nova-quiesce; None if the caller may not see them
    :ivar hypervisors: their types by name; None if the caller may not see them
    """

    def __init__(self) -> None:
        self.project_id = PROJECT
        self.is_admin = True
        self.servers: dict[str, dict[str, Any]] = {}
        self.attached: dict[str, list[dict[str, Any]]] = {}
        self.volumes: dict[str, dict[str, Any]] = {}
        self.images: dict[str, dict[str, Any]] = {}
        self.ports: dict[str, list[dict[str, Any]]] = {}
        self.quotas: dict[str, Any] | None = {}
        self.services: list[dict[str, Any]] | None = [{'state': 'up'}]
        self.hypervisors: dict[str, str] | None = {}
        self.asked_hypervisors: list[str] = []
        self.taken: list[str] = []

    def compute(self, path: str) -> dict[str, Any]:
        if path.startswith('/os-services'):
            if self.services is None:
                raise cloud_api.CloudError('403')
            return {'services': self.services}
        if path.startswith('/os-hypervisors/detail?hypervisor_hostname_pat'):
            self.asked_hypervisors.append(path.rpartition('=')[2])
            if self.hypervisors is None:
                raise cloud_api.CloudError('403')
            return {
                'hypervisors': [
                    {'hypervisor_hostname': name, 'hypervisor_type': kind}
                    for name, kind in self.hypervisors.items()
                    if path.rpartition('=')[2] in name
                ]
            }
        server, *what = path.removeprefix('/servers/').split('/')
        match what:
            case ['os-volume_attachments']:
                return {'volumeAttachments': self.attached[server]}
            case ['os-interface']:
                if server not in self.ports:
                    raise cloud_api.CloudError('403')
                return {'interfaceAttachments': self.ports[server]}
        return {'server': self.servers[server]}

    def image(self, image_id: str) -> dict[str, Any]:
        if image_id not in self.images:
            raise cloud_api.NotThere('404')
        return self.images[image_id]

    def volume(self, method: str, path: str) -> dict[str, Any]:
        assert method == 'GET', 'a plan changes nothing'
        if path == f'/os-quota-sets/{PROJECT}?usage=True':
            if self.quotas is None:
                raise cloud_api.CloudError('403')
            return {'quota_set': self.quotas}
        return {'volume': self.volumes[path.removeprefix('/volumes/')]}

    def snapshots(self) -> Iterator[dict[str, Any]]:
        for name in self.taken:
            yield {
                'metadata': {
                    f'{sets.PREFIX}set': name,
                    f'{sets.PREFIX}set_id': f'id-of-{name}',
                }
            }


class TestCase(fakes.TestCase):
    """Two servers that boot from volumes; web has a second one."""

    def setUp(self) -> None:
        super().setUp()
        self.cloud = FakeCloud()
        self.db = self.add('db', 'db-root')
        self.web = self.add('web', 'web-root', 'web-data')
        self.application = spec.from_servers('shop', ['db', 'web'])

    def add(self, name: str, *volumes: str) -> dict[str, Any]:
        """Add a server that boots from the first of the volumes."""
        server_id = self.nova.add(name).id
        self.cloud.attached[server_id] = []
        self.cloud.servers[server_id] = {
            'id': server_id,
            'name': name,
            'tenant_id': PROJECT,
            'locked': False,
            'image': '',
            'flavor': {'original_name': 'tiny', 'ephemeral': 0},
            'OS-EXT-STS:vm_state': 'active',
            'OS-EXT-STS:task_state': None,
            'OS-EXT-SRV-ATTR:root_device_name': '/dev/vda',
        }
        for volume in volumes:
            self.attach(server_id, volume)
        return self.cloud.servers[server_id]

    def attach(self, server_id: str, volume: str) -> None:
        attached = self.cloud.attached[server_id]
        attached.append(
            {
                'volumeId': volume,
                'device': '/dev/vd%s' % 'abcdef'[len(attached)],
                'delete_on_termination': False,
            }
        )
        shown = self.cloud.volumes.setdefault(
            volume,
            {
                'id': volume,
                'name': f'name of {volume}',
                'size': 2,
                'volume_type': 'fast',
                'status': 'in-use',
                'attachments': [],
                'volume_image_metadata': {'hw_qemu_guest_agent': 'yes'},
            },
        )
        shown['attachments'].append({'server_id': server_id})

    def boot_from_image(self, server: dict[str, Any], image: str) -> None:
        """Give a server a local root disk in place of its boot volume."""
        server['image'] = {'id': image}
        gone = self.cloud.attached[server['id']].pop(0)
        del self.cloud.volumes[gone['volumeId']]

    def make(self, **kwargs: Any) -> planning.Plan:
        cloud: Any = self.cloud
        return planning.make(
            self.client, cloud, 'nightly', self.application, 120, **kwargs
        )

    def refused(self, *words: str, **kwargs: Any) -> planning.Plan:
        """Check that there is one refusal, with these words in it."""
        plan = self.make(**kwargs)
        self.assertEqual(1, len(plan.refusals), plan.refusals)
        for word in words:
            self.assertIn(word, plan.refusals[0])
        with self.assertRaises(errors.NotPossible):
            planning.check(plan)
        self.assert_only_looked()
        return plan

    def accepted(self, **kwargs: Any) -> planning.Plan:
        plan = self.make(**kwargs)
        self.assertEqual((), plan.refusals)
        planning.check(plan)
        self.assert_only_looked()
        return plan

    def assert_only_looked(self) -> None:
        self.assertEqual(
            {f'POST {planning.NO_SERVER} quiesce'}, set(self.nova.posts())
        )


class TestPlan(TestCase):
    def test_stages_and_volumes_are_in_order(self) -> None:
        plan = self.accepted()
        self.assertEqual(
            [[self.db['id']], [self.web['id']]], plan.stages
        )
        self.assertEqual(
            [('db', 'db-root'), ('web', 'web-root'), ('web', 'web-data')],
            [(server.name, volume.id) for server, volume in plan.snapshots],
        )
        self.assertEqual(
            [0, 0, -1],
            [volume.boot_index for _server, volume in plan.snapshots],
        )

    def test_options_of_a_server_count_before_those_of_the_command(
        self,
    ) -> None:
        self.application = spec.Application(
            'shop',
            (
                (
                    spec.Member('db'),
                    spec.Member('web', ('name of web-data',), 60),
                ),
            ),
        )
        plan = self.accepted()
        self.assertEqual([[self.db['id'], self.web['id']]], plan.stages)
        self.assertEqual([120, 60], [s.unquiesce_after for s in plan.servers])
        self.assertEqual(
            ['db-root', 'web-root'], [v.id for _s, v in plan.snapshots]
        )
        self.assertTrue(plan.servers[1].volumes[1].excluded)

    def test_devices_are_sorted_as_disks_are(self) -> None:
        for number, part in enumerate(self.cloud.attached[self.web['id']]):
            part['device'] = ('/dev/vdaa', '/dev/vdz')[number]
        del self.web['OS-EXT-SRV-ATTR:root_device_name']
        plan = self.accepted()
        self.assertEqual(
            ['/dev/vdz', '/dev/vdaa'],
            [volume.device for volume in plan.servers[1].volumes],
        )

    def test_who_may_not_see_the_root_device_gets_the_first_volume(
        self,
    ) -> None:
        del self.web['OS-EXT-SRV-ATTR:root_device_name']
        self.assertEqual(
            [0, -1],
            [v.boot_index for v in self.accepted().servers[1].volumes],
        )

    def test_what_a_restore_needs_is_kept(self) -> None:
        self.web.update(
            {
                'key_name': 'ops',
                'OS-EXT-AZ:availability_zone': 'az1',
                'security_groups': [{'name': 'b'}, {'name': 'a'}],
                'addresses': {'net': [{'addr': '192.0.2.7'}]},
                'metadata': {'role': 'web'},
                'config_drive': 'True',
            }
        )
        self.cloud.ports[self.web['id']] = [
            {'port_id': 'p', 'net_id': 'n', 'mac_addr': 'm', 'fixed_ips': []}
        ]
        restore = self.accepted().servers[1].restore
        for key, value in {
            'order': 1,
            'stage': 1,
            'image': None,
            'flavor': {'original_name': 'tiny', 'ephemeral': 0},
            'key_name': 'ops',
            'availability_zone': 'az1',
            'security_groups': ['a', 'b'],
            'addresses': {'net': [{'addr': '192.0.2.7'}]},
            'metadata': {'role': 'web'},
            'config_drive': True,
        }.items():
            self.assertEqual(value, restore[key], key)
        self.assertEqual('p', restore['ports'][0]['port_id'])
        self.assertEqual(
            ['web-root', 'web-data'], [v['id'] for v in restore['volumes']]
        )

    def test_ports_that_may_not_be_seen_are_no_obstacle(self) -> None:
        self.web['addresses'] = {'net': [{'addr': '192.0.2.7'}]}
        self.assertEqual([], self.accepted().servers[1].restore['ports'])

    def test_a_volume_that_two_servers_share_is_taken_once(self) -> None:
        self.attach(self.db['id'], 'web-data')
        plan = self.accepted()
        self.assertEqual(
            [('db', 'db-root'), ('db', 'web-data'), ('web', 'web-root')],
            [(server.name, volume.id) for server, volume in plan.snapshots],
        )

    def test_everything_that_is_wrong_is_said_at_once(self) -> None:
        self.db['OS-EXT-STS:vm_state'] = 'stopped'
        self.web['locked'] = True
        self.cloud.is_admin = False
        self.cloud.taken = ['nightly']
        self.assertEqual(3, len(self.make().refusals))


class TestServers(TestCase):
    def test_unknown(self) -> None:
        self.application = spec.from_servers('shop', ['db', 'web', 'nobody'])
        self.refused('"nobody"')

    def test_ambiguous(self) -> None:
        self.add('web')
        self.refused('2 servers have the name "web"')

    def test_named_twice(self) -> None:
        self.application = spec.from_servers('shop', ['db', self.db['id']])
        self.refused('named twice', self.db['id'])

    def test_not_active(self) -> None:
        self.db['OS-EXT-STS:vm_state'] = 'stopped'
        self.refused('db', self.db['id'], 'vm_state stopped')

    def test_guest_that_does_not_run(self) -> None:
        for number, name in ((3, 'paused'), (4, 'shutdown')):
            self.db['OS-EXT-STS:power_state'] = number
            self.refused(self.db['id'], f'power_state {number} ({name})')

    def test_guest_that_runs_as_far_as_is_known(self) -> None:
        for number in (0, 1):
            self.db['OS-EXT-STS:power_state'] = number
            self.accepted()

    def test_host_that_is_down(self) -> None:
        self.db['host_status'] = 'DOWN'
        self.db['OS-EXT-SRV-ATTR:host'] = 'kvm7'
        self.refused(self.db['id'], 'on host kvm7', 'nova-compute is down')

    def test_host_that_takes_no_new_servers(self) -> None:
        self.db['host_status'] = 'MAINTENANCE'
        self.accepted()

    def test_hypervisor_that_cannot(self) -> None:
        self.db['OS-EXT-SRV-ATTR:hypervisor_hostname'] = 'metal1'
        self.cloud.hypervisors = {'metal10': 'QEMU', 'metal1': 'ironic'}
        self.refused(self.db['id'], 'hypervisor of type ironic')

    def test_hypervisor_that_may_be_able(self) -> None:
        self.db['OS-EXT-SRV-ATTR:hypervisor_hostname'] = 'kvm7'
        for hypervisors in ({'kvm7': 'QEMU'}, {'kvm77': 'ironic'}, None):
            self.cloud.hypervisors = hypervisors
            self.accepted()

    def test_a_hypervisor_of_several_servers_is_asked_for_once(self) -> None:
        for server in (self.db, self.web):
            server['OS-EXT-SRV-ATTR:hypervisor_hostname'] = 'kvm7'
        self.accepted()
        self.assertEqual(['kvm7'], self.cloud.asked_hypervisors)

    def test_busy(self) -> None:
        self.db['OS-EXT-STS:task_state'] = 'rebooting'
        self.refused('db', 'task_state rebooting')

    def test_locked(self) -> None:
        self.web['locked'] = True
        self.cloud.is_admin = False
        self.refused('web', 'is locked: unlock it first')

    def test_an_administrator_may_do_it_with_a_locked_one(self) -> None:
        self.web['locked'] = True
        self.accepted()

    def test_of_another_project(self) -> None:
        self.web['tenant_id'] = 'others'
        self.refused('web', 'is of project others')

    def test_root_disk_that_is_no_volume(self) -> None:
        self.boot_from_image(self.web, 'tiny')
        self.cloud.images['tiny'] = {'hw_qemu_guest_agent': 'yes'}
        self.refused('web', 'root disk', '--allow-local-disk')
        self.accepted(allow_local_disk=True)

    def test_ephemeral_disk(self) -> None:
        self.web['flavor']['ephemeral'] = 1
        self.refused('web', 'ephemeral disk', '--allow-local-disk')
        self.accepted(allow_local_disk=True)

    def test_image_without_guest_agent(self) -> None:
        self.boot_from_image(self.web, 'tiny')
        self.cloud.images['tiny'] = {'id': 'tiny'}
        self.refused('web', 'hw_qemu_guest_agent', allow_local_disk=True)

    def test_boot_volume_of_an_image_without_guest_agent(self) -> None:
        image = self.cloud.volumes['web-root']['volume_image_metadata']
        for value in ('no', 'False', ''):
            image['hw_qemu_guest_agent'] = value
            self.refused('web', 'hw_qemu_guest_agent')
        image['hw_qemu_guest_agent'] = 'True'
        self.accepted()

    def test_an_image_that_is_gone_says_nothing(self) -> None:
        self.boot_from_image(self.web, 'gone')
        self.accepted(allow_local_disk=True)


class TestVolumes(TestCase):
    def test_none_at_all(self) -> None:
        self.application = spec.from_servers('shop', ['bare'])
        self.add('bare')
        self.refused('no volume to take a snapshot of')

    def test_not_in_use(self) -> None:
        self.cloud.volumes['web-data']['status'] = 'detaching'
        self.refused('web', 'web-data', 'not in-use but detaching')

    def test_that_of_one_that_is_left_out_does_not_matter(self) -> None:
        self.cloud.volumes['web-data']['status'] = 'detaching'
        self.application = spec.Application(
            'shop', ((spec.Member('web', ('web-data',)),),)
        )
        self.accepted()

    def test_attached_to_a_server_that_goes_on_writing(self) -> None:
        self.add('other', 'web-data')
        other = self.cloud.volumes['web-data']['attachments'][1]
        self.refused('web', 'web-data', 'also attached to', other['server_id'])
        self.application = spec.from_servers('shop', ['db', 'web', 'other'])
        self.accepted()
        self.application = spec.Application(
            'shop', ((spec.Member('web', ('web-data',)),),)
        )
        self.accepted()

    def test_unknown_one_to_leave_out(self) -> None:
        self.application = spec.Application(
            'shop', ((spec.Member('web', ('web-data', 'scratch')),),)
        )
        self.refused('web', 'has no volume "scratch" to leave out')


class TestQuota(TestCase):
    def quota(self, limit: int, in_use: int = 0) -> dict[str, int]:
        return {'limit': limit, 'in_use': in_use, 'reserved': 1}

    def test_what_just_fits_is_accepted(self) -> None:
        self.cloud.quotas = {
            'snapshots': self.quota(10, 6),
            'gigabytes': self.quota(20, 13),
            'snapshots_fast': self.quota(-1, 99),
        }
        self.accepted()

    def test_number_size_and_those_of_a_type(self) -> None:
        for key, limit, amount in (
            ('snapshots', 3, 3),
            ('gigabytes', 6, 6),
            ('snapshots_fast', 3, 3),
            ('gigabytes_fast', 6, 6),
        ):
            with self.subTest(key):
                self.cloud.quotas = {key: self.quota(limit)}
                self.refused(
                    f'quota {key} is too small: {amount} needed, '
                    f'{limit - 1} of {limit} left'
                )

    def test_one_that_cannot_be_read(self) -> None:
        self.cloud.quotas = None
        self.refused("Cinder's quota cannot be read")


class TestCloud(TestCase):
    def test_name_that_is_taken(self) -> None:
        self.cloud.taken = ['weekly', 'nightly']
        self.refused('There is a snapshot set "nightly" already')

    def test_no_quiesce_api(self) -> None:
        self.answer(
            f'POST {planning.NO_SERVER} quiesce',
            400,
            '{"badRequest": {"message": "There is no such action: quiesce"}}',
        )
        plan = self.refused('This cloud has no quiesce API')
        self.assertNotIn(planning.NO_SERVER, plan.refusals[0])

    def test_longer_freezes_than_the_cloud_allows(self) -> None:
        self.application = spec.Application(
            'shop', ((spec.Member('db', (), 9999), spec.Member('web')),)
        )
        asked: list[Any] = []

        def hook(request: Any, context: Any) -> str | None:
            if request.method != 'POST':
                return None
            asked.append(request.json())
            context.status_code = 400
            return '{"badRequest": {"message": "at most 3600"}}'

        self.nova.hooks.append(hook)
        self.refused('Every server is left as it was: at most 3600')
        self.assertEqual([{'quiesce': {'unquiesce_after': 9999}}], asked)

    def test_no_service_that_is_up(self) -> None:
        for services in ([], [{'state': 'down'}]):
            self.cloud.services = services
            self.refused('No nova-quiesce service is up')

    def test_who_may_not_see_services_is_not_told(self) -> None:
        self.cloud.services = None
        self.accepted()
