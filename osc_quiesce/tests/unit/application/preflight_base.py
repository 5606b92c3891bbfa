# SPDX-License-Identifier: Apache-2.0

"""What Nova, Cinder and Glance say to those who plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.application import plan as planning
from osc_quiesce.application import preflight
from osc_quiesce.application import spec
from osc_quiesce import http
from osc_quiesce.tests.unit import fakes

PROJECT = 'shop-project'


class FakeCloud:
    """Stands in for :class:`cloud_api.Cloud`; nothing can be changed.

    :ivar volumes: by id, as Cinder shows them
    :ivar images: by id, as Glance shows them
    :ivar neutron: what a GET of a path is answered; None without Neutron
    :ivar network_log: the paths that Neutron was asked for
    :ivar quotas: of Cinder; None if they cannot be read
    :ivar taken: names of the snapshot sets that there are
    :ivar rules: the beginnings of what a restricted credential may do, such as
        ``POST /snapshots``; None without restriction
    :ivar storages: how volumes are attached, by the ids of attachments
    """

    def __init__(self) -> None:
        self.project_id = PROJECT
        self.is_admin = True
        self.volumes: dict[str, dict[str, Any]] = {}
        self.images: dict[str, dict[str, Any]] = {}
        self.neutron: dict[str, Any] | None = None
        self.network_log: list[str] = []
        self.quotas: dict[str, Any] | None = {}
        self.quota_status = 503
        self.taken: list[str] = []
        self.rules: list[str] | None = None
        self.storages: dict[str, str] = {}

    @property
    def is_restricted(self) -> bool:
        return self.rules is not None

    def image(self, image_id: str) -> dict[str, Any]:
        if image_id not in self.images:
            raise cloud_api.NotThere('404')
        return self.images[image_id]

    def volume(self, method: str, path: str, json: Any = None,
               microversion: str = '3.0') -> dict[str, Any]:
        no_id = preflight.NO_SERVER.id
        assert method == 'GET' or no_id in path + str(json), (
            'a plan changes nothing')
        if self.rules is not None and not any(
                f'{method} {path}'.startswith(rule) for rule in self.rules):
            raise cloud_api.CloudError(f'401 for {path}', 401)
        if no_id in path + str(json):
            raise cloud_api.NotThere('404', 404)
        if path == f'/os-quota-sets/{PROJECT}?usage=True':
            if self.quotas is None:
                raise cloud_api.CloudError(
                    f'{self.quota_status} is all it says.', self.quota_status)
            return {'quota_set': self.quotas}
        kind, id_ = path.removeprefix('/').split('/')
        there: dict[str, Any] = self.volumes
        if kind == 'attachments':
            there = {key: {'connection_info': {'driver_volume_type': value}}
                     for key, value in self.storages.items()}
        if id_ not in there:
            raise cloud_api.NotThere('404', 404)
        return {kind.removesuffix('s'): there[id_]}

    def network(self, method: str, path: str) -> dict[str, Any]:
        assert method == 'GET', 'a plan changes nothing'
        self.network_log.append(path)
        if self.neutron is None:
            raise cloud_api.NoService('there is none in the catalog')
        if path not in self.neutron:
            raise cloud_api.NotThere('404', 404)
        return self.neutron[path]

    def pages(self, service: str, path: str, key: str,
              microversion: str | None) -> Iterator[dict[str, Any]]:
        assert service == 'network', service
        yield from http.pages(
            lambda where: self.network('GET', where), path, key)

    def snapshots(
        self, wanted: Mapping[str, str]
    ) -> Iterator[dict[str, Any]]:
        for name in self.taken:
            yield {
                'metadata': {
                    f'{metadata.PREFIX}set': name,
                    f'{metadata.PREFIX}set_id': f'id-of-{name}',
                }
            }


class TestCase(fakes.TestCase):
    """Two servers that boot from volumes; web has a second one."""

    def setUp(self) -> None:
        super().setUp()
        self.cloud = FakeCloud()
        self.services([{'state': 'up'}])
        self.db = self.add('db', 'db-root')
        self.web = self.add('web', 'web-root', 'web-data')
        self.application = spec.from_servers('shop', ['db', 'web'])

    def services(self, services: list[dict[str, Any]]) -> None:
        """Let Nova have these nova-quiesce services."""
        self.nova.more['/os-services'] = {'services': services}

    def add(self, name: str, *volumes: str) -> fakes.FakeServer:
        """Add a server that boots from the first of the volumes."""
        server = self.nova.add(
            name,
            shown={
                'tenant_id': PROJECT,
                'locked': False,
                'image': '',
                'flavor': {'original_name': 'tiny', 'ephemeral': 0},
                'OS-EXT-SRV-ATTR:root_device_name': '/dev/vda',
            },
        )
        self.nova.more[
            f'/servers/{server.id}/os-volume_attachments'
        ] = {'volumeAttachments': []}
        for volume in volumes:
            self.attach(server, volume)
        return server

    def attached(self, server: fakes.FakeServer) -> list[dict[str, Any]]:
        """Return Nova's attachments of a server."""
        found: list[dict[str, Any]] = self.nova.more[
            f'/servers/{server.id}/os-volume_attachments'
        ]['volumeAttachments']
        return found

    def attach(self, server: fakes.FakeServer, volume: str) -> None:
        attached = self.attached(server)
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
        shown['attachments'].append({
            'server_id': server.id, 'attachment_id': f'a-{volume}'})

    def boot_from_image(self, server: fakes.FakeServer, image: str) -> None:
        """Give a server a local root disk in place of its boot volume."""
        server.shown['image'] = {'id': image}
        gone = self.attached(server).pop(0)
        del self.cloud.volumes[gone['volumeId']]

    def make(self, **kwargs: Any) -> planning.Plan:
        cloud: Any = self.cloud
        return preflight.make(
            self.client, cloud, 'nightly', self.application, 120, **kwargs
        )

    def refused(self, *words: str, **kwargs: Any) -> str:
        """Check that there is one refusal, a sentence with these words."""
        plan = self.make(**kwargs)
        self.assertEqual(1, len(plan.refusals), plan.refusals)
        [refusal] = plan.refusals
        for word in words:
            self.assertIn(word, refusal)
        self.assertRegex(refusal, r'\A[A-Z0-9].*[^.]\.\Z')
        with self.assertRaises(errors.NotPossible):
            planning.check(plan)
        self.assert_only_looked()
        return refusal

    def accepted(self, **kwargs: Any) -> planning.Plan:
        plan = self.make(**kwargs)
        self.assertEqual((), plan.refusals)
        planning.check(plan)
        self.assert_only_looked()
        return plan

    def assert_only_looked(self) -> None:
        self.assertLessEqual(
            set(self.nova.posts()),
            {f'POST {preflight.NO_SERVER.id} quiesce'},
        )
