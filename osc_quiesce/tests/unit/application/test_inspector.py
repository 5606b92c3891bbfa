# SPDX-License-Identifier: Apache-2.0

"""What is found out about each server before anything is frozen."""

from __future__ import annotations

from typing import Any
from unittest import mock

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import spec
from osc_quiesce.tests.unit.application import preflight_base


class ServerTest(preflight_base.TestCase):
    def hypervisors(self, types: dict[str, str]) -> None:
        """Let Nova show these hypervisors: name to type."""
        self.nova.more['/os-hypervisors/detail'] = {
            'hypervisors': [
                {'hypervisor_hostname': name, 'hypervisor_type': kind}
                for name, kind in types.items()
            ]
        }

    def test_one_that_is_not_active_is_refused(self) -> None:
        self.db.vm_state = 'stopped'
        self.refused('db', self.db.id, 'vm_state stopped')

    def test_a_guest_that_does_not_run_is_refused(self) -> None:
        for number, name in ((3, 'paused'), (4, 'shutdown')):
            self.db.shown['OS-EXT-STS:power_state'] = number
            self.refused(self.db.id, f'power_state {number} ({name})')

    def test_a_guest_that_runs_as_far_as_is_known_is_accepted(self) -> None:
        for number in (0, 1):
            self.db.shown['OS-EXT-STS:power_state'] = number
            self.accepted()

    def test_a_host_that_is_down_is_refused(self) -> None:
        self.db.shown['host_status'] = 'DOWN'
        self.db.shown['OS-EXT-SRV-ATTR:host'] = 'kvm7'
        self.refused(self.db.id, 'on host kvm7', 'nova-compute is down')

    def test_a_host_that_takes_no_new_servers_is_accepted(self) -> None:
        self.db.shown['host_status'] = 'MAINTENANCE'
        self.accepted()

    def test_a_hypervisor_that_cannot_quiesce_is_refused(self) -> None:
        self.db.shown['OS-EXT-SRV-ATTR:hypervisor_hostname'] = 'metal1'
        self.hypervisors({'metal10': 'QEMU', 'metal1': 'ironic'})
        self.refused(self.db.id, 'hypervisor of type ironic')

    def test_a_hypervisor_that_may_be_able_is_accepted(self) -> None:
        self.db.shown['OS-EXT-SRV-ATTR:hypervisor_hostname'] = 'kvm7'
        self.accepted()  # who may not see hypervisors
        for hypervisors in {'kvm7': 'QEMU'}, {'kvm77': 'ironic'}:
            self.hypervisors(hypervisors)
            self.accepted()

    def test_a_hypervisor_of_several_servers_is_asked_for_once(self) -> None:
        for server in (self.db, self.web):
            server.shown['OS-EXT-SRV-ATTR:hypervisor_hostname'] = 'kvm7'
        # Else two threads may ask at the same moment.
        with mock.patch.object(cloud_api, 'THREADS', 1):
            self.accepted()
        self.assertEqual(
            1, self.nova.log.count('GET /os-hypervisors/detail')
        )

    def test_one_with_a_task_is_refused(self) -> None:
        self.db.task_state = 'rebooting'
        self.refused('db', 'task_state rebooting')

    def test_a_locked_one_is_refused(self) -> None:
        self.web.shown['locked'] = True
        self.cloud.is_admin = False
        self.refused('web', 'is locked: unlock it first')

    def test_a_locked_one_of_an_administrator_is_accepted(self) -> None:
        self.web.shown['locked'] = True
        self.accepted()

    def test_one_of_another_project_is_refused(self) -> None:
        self.web.shown['tenant_id'] = 'others'
        self.refused('web', 'is of project others')

    def test_a_root_disk_that_is_no_volume_is_refused(self) -> None:
        self.boot_from_image(self.web, 'tiny')
        self.cloud.images['tiny'] = {'hw_qemu_guest_agent': 'yes'}
        self.refused('web', 'root disk', '--allow-local-disk')
        self.accepted(allow_local_disk=True)

    def test_an_ephemeral_disk_is_refused(self) -> None:
        self.web.shown['flavor']['ephemeral'] = 1
        self.refused('web', 'ephemeral disk', '--allow-local-disk')
        self.accepted(allow_local_disk=True)

    def test_one_that_is_not_shown_as_asked_for_is_refused(self) -> None:
        # As Nova shows it to those whose proxy drops the microversion.
        self.web.shown['flavor'] = {'id': '7', 'links': []}
        for allow_local_disk in False, True:
            self.refused(
                'web', 'OpenStack-API-Version',
                allow_local_disk=allow_local_disk)

    def test_an_image_without_guest_agent_is_refused(self) -> None:
        self.boot_from_image(self.web, 'tiny')
        self.cloud.images['tiny'] = {'id': 'tiny'}
        self.refused('web', 'hw_qemu_guest_agent', allow_local_disk=True)

    def test_a_boot_volume_without_guest_agent_is_refused(self) -> None:
        image = self.cloud.volumes['web-root']['volume_image_metadata']
        for value in ('no', 'False', ''):
            image['hw_qemu_guest_agent'] = value
            self.refused('web', 'hw_qemu_guest_agent')
        image['hw_qemu_guest_agent'] = 'True'
        self.accepted()

    def test_the_remedy_for_a_boot_volume_is_named(self) -> None:
        image = self.cloud.volumes['web-root']['volume_image_metadata']
        image['hw_qemu_guest_agent'] = 'no'
        self.refused('web', 'openstack volume set --image-property')

    def test_the_properties_of_the_server_count_before_the_image(
        self,
    ) -> None:
        self.boot_from_image(self.web, 'tiny')
        self.cloud.images['tiny'] = {'id': 'tiny'}
        shown = self.web.shown['image']
        shown['properties'] = {'hw_qemu_guest_agent': 'yes'}
        self.accepted(allow_local_disk=True)
        self.cloud.images['tiny']['hw_qemu_guest_agent'] = 'yes'
        shown['properties'] = {}
        self.refused('web', 'hw_qemu_guest_agent', allow_local_disk=True)

    def test_user_data_that_may_not_be_seen_are_refused_if_wanted(
        self,
    ) -> None:
        for server in (self.db, self.web):
            server.shown['OS-EXT-SRV-ATTR:user_data'] = None
        self.accepted(with_user_data=True)
        del self.web.shown['OS-EXT-SRV-ATTR:user_data']
        self.accepted()
        self.refused('web', '--with-user-data', with_user_data=True)

    def test_an_image_that_is_gone_is_accepted(self) -> None:
        self.boot_from_image(self.web, 'gone')
        self.accepted(allow_local_disk=True)


class VolumeTest(preflight_base.TestCase):
    def test_devices_are_sorted_as_disks_are(self) -> None:
        for number, part in enumerate(self.attached(self.web)):
            part['device'] = ('/dev/vdaa', '/dev/vdz')[number]
        del self.web.shown['OS-EXT-SRV-ATTR:root_device_name']
        plan = self.accepted()
        self.assertEqual(
            ['/dev/vdz', '/dev/vdaa'],
            [volume['device'] for volume in plan.servers[1].volumes],
        )

    def test_who_may_not_see_the_root_device_gets_the_first_volume(
        self,
    ) -> None:
        del self.web.shown['OS-EXT-SRV-ATTR:root_device_name']
        self.assertEqual(
            [0, -1],
            [v['boot_index'] for v in self.accepted().servers[1].volumes],
        )

    def boot_indexes(self, **kwargs: Any) -> list[int]:
        return [
            volume['boot_index']
            for volume in self.accepted(**kwargs).servers[1].volumes
        ]

    def test_a_root_device_of_another_name_is_no_obstacle(self) -> None:
        for root in '/dev/sda', None, '':
            self.web.shown['OS-EXT-SRV-ATTR:root_device_name'] = root
            self.assertEqual([0, -1], self.boot_indexes())
        self.web.shown['OS-EXT-SRV-ATTR:root_device_name'] = '/dev/vdb'
        self.assertEqual([-1, 0], self.boot_indexes())

    def test_devices_without_names_are_no_obstacle(self) -> None:
        for part in self.attached(self.web):
            part['device'] = None
        for root in '/dev/vda', None:
            self.web.shown['OS-EXT-SRV-ATTR:root_device_name'] = root
            self.assertEqual([0, -1], self.boot_indexes())

    def test_no_volume_boots_a_server_with_a_local_root_disk(self) -> None:
        self.boot_from_image(self.web, 'gone')
        self.attached(self.web)[0]['device'] = '/dev/vda'
        self.assertEqual([-1], self.boot_indexes(allow_local_disk=True))

    def test_encryption_is_known(self) -> None:
        self.cloud.volumes['web-data']['encrypted'] = True
        self.assertEqual(
            [False, True],
            [v['encrypted'] for v in self.accepted().servers[1].volumes],
        )

    def test_one_that_is_not_in_use_is_refused(self) -> None:
        self.cloud.volumes['web-data']['status'] = 'detaching'
        self.refused('web', 'web-data', 'not in-use but detaching')

    def test_one_that_is_being_migrated_is_refused(self) -> None:
        for status in 'starting', 'migrating', 'completing', 'target:x':
            self.cloud.volumes['web-data']['migration_status'] = status
            self.refused('web', self.web.id, 'web-data',
                         f'is being migrated ({status})')

    def test_one_that_has_been_migrated_is_accepted(self) -> None:
        for status in None, 'none', 'success', 'error', 'deleting':
            self.cloud.volumes['web-data']['migration_status'] = status
            self.accepted()

    def test_one_that_is_being_retyped_is_refused(self) -> None:
        self.cloud.volumes['web-data']['status'] = 'retyping'
        self.refused('web', 'web-data', 'not in-use but retyping')

    def test_one_that_cinder_does_not_show_is_refused_with_others(
        self,
    ) -> None:
        del self.cloud.volumes['web-data']
        self.refused('web', self.web.id, 'web-data',
                     'which Cinder does not have')
        self.db.vm_state = 'stopped'
        self.assertEqual(2, len(self.make().refusals))

    def test_one_that_the_caller_may_not_see_is_refused_with_others(
        self,
    ) -> None:
        self.cloud.rules = [
            'GET /volumes/db', 'GET /volumes/web-root', 'GET /snapshots',
            'GET /os-quota-sets', 'POST ', 'DELETE ']
        self.refused('web', 'web-data', 'which Cinder does not show: 401')
        self.db.vm_state = 'stopped'
        self.assertEqual(2, len(self.make().refusals))

    def test_one_of_which_nova_would_make_no_snapshot_is_refused(
        self,
    ) -> None:
        image = self.cloud.volumes['web-root']['volume_image_metadata']
        image['os_require_quiesce'] = 'yes'
        self.accepted()  # storage is not shown
        self.cloud.storages = {'a-web-root': 'rbd', 'a-web-data': 'rbd'}
        self.accepted()
        for storage in 'nfs', 'quobyte', 'vzstorage':
            self.cloud.storages['a-web-data'] = storage
            self.refused('web', self.web.id, 'os_require_quiesce=yes',
                         'web-data', storage)
        self.application = spec.Application(
            'shop', ((spec.Member('web', ('web-data',)),),)
        )
        self.accepted()
        self.application = spec.from_servers('shop', ['web'])
        image['os_require_quiesce'] = 'no'
        self.accepted()

    def test_nova_looks_at_the_image_of_a_local_disk_as_well(self) -> None:
        self.boot_from_image(self.web, 'tiny')
        self.cloud.images['tiny'] = {
            'hw_qemu_guest_agent': 'yes', 'os_require_quiesce': 'true'}
        self.cloud.storages = {'a-web-data': 'nfs'}
        self.refused('web', 'os_require_quiesce=yes', 'web-data',
                     allow_local_disk=True)

    def test_the_state_of_one_that_is_left_out_does_not_matter(self) -> None:
        self.cloud.volumes['web-data'].update(
            status='detaching', migration_status='migrating')
        self.application = spec.Application(
            'shop', ((spec.Member('web', ('web-data',)),),)
        )
        self.accepted()

    def test_one_of_a_server_that_goes_on_writing_is_refused(self) -> None:
        other = self.add('other', 'web-data')
        self.refused('web', 'web-data', 'also attached to', other.id)
        self.application = spec.from_servers('shop', ['db', 'web', 'other'])
        self.accepted()
        self.application = spec.Application(
            'shop', ((spec.Member('web', ('web-data',)),),)
        )
        self.accepted()

    def test_an_unknown_one_to_leave_out_is_refused(self) -> None:
        self.application = spec.Application(
            'shop', ((spec.Member('web', ('web-data', 'scratch')),),)
        )
        self.refused('web', 'has no volume "scratch" to leave out')

    def test_a_name_of_several_to_leave_out_is_refused(self) -> None:
        self.attach(self.web, 'web-logs')
        for volume in 'web-data', 'web-logs':
            self.cloud.volumes[volume]['name'] = 'data'
        self.application = spec.Application(
            'shop', ((spec.Member('web', ('data',)),),)
        )
        self.refused('web', 'has 2 volumes "data"', 'web-data, web-logs')
        self.application = spec.Application(
            'shop', ((spec.Member('web', ('web-data', 'web-logs')),),)
        )
        self.accepted()

    def test_the_newest_change_of_volumes_is_noted(self) -> None:
        for number, action in enumerate(
            ('attach_volume', 'swap_volume', 'detach_volume', 'reboot')
        ):
            self.web.actions.append(
                {'action': action, 'request_id': f'req-{number}'}
            )
        self.assertEqual(
            [None, 'req-2'],
            [server.newest_change for server in self.accepted().servers],
        )

    def test_changes_are_looked_for_before_the_volumes(self) -> None:
        # What comes in between is then newer than what was noted.
        self.accepted()
        self.assertLess(
            self.nova.log.index('GET web/os-instance-actions'),
            self.nova.log.index('GET web/os-volume_attachments'),
        )
