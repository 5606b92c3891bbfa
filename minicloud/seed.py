# SPDX-License-Identifier: Apache-2.0

"""What is put into a cloud through its own APIs, over plain HTTP.

Users, projects and the catalog through Keystone, images through Glance.
Everything is "ensure": doing it twice changes nothing.
"""

import pathlib
from typing import Any
import uuid

from minicloud import personas
from minicloud.config import Plan
from minicloud.errors import MinicloudError
from minicloud.guest import build

IMAGE_WITH_AGENT = 'tiny'
IMAGE_WITHOUT_AGENT = 'tiny-noagent'
#: the driver libvirt has it: the property is there, the agent is not
IMAGE_AGENT_ABSENT = 'tiny-agent-absent'
#: the driver libvirt has it: the guest writes what another one has written
IMAGE_FOLLOWER = 'tiny-follower'
#: gigabytes of the second disk, by flavor
FLAVORS = {'tiny': 0, 'tiny-two-disks': 1}
#: bytes; the flavor's size is what the guest gets
DISK_SIZE = 1 << 20


def endpoints(plan: Plan) -> dict[tuple[str, str], str]:
    """Return the URL of each service by its name and type."""
    return {
        ('keystone', 'identity'): plan.url('identity', '/v3'),
        ('placement', 'placement'): plan.url('placement'),
        ('glance', 'image'): plan.url('image'),
        ('nova', 'compute'): plan.url('compute', '/v2.1'),
        ('cinder', 'block-storage'): plan.url('volume', '/v3'),
        ('cinderv3', 'volumev3'): plan.url('volume', '/v3/%(project_id)s'),
        ('neutron', 'network'): plan.url(
            'neutron' if plan.network == 'neutron' else 'network'),
    }


class Api:
    """The services of a plan, called as their administrator."""

    def __init__(self, plan: Plan) -> None:
        # Not at the top: services on eventlet patch ssl before they import
        # urllib3, and they run in this package.
        import requests
        self._errors = requests.RequestException
        self.plan = plan
        self.session = requests.Session()
        self.session.trust_env = False
        response = self.request('POST', 'identity', '/v3/auth/tokens', {
            'auth': {
                'identity': {
                    'methods': ['password'],
                    'password': {'user': {
                        'name': 'admin', 'password': personas.PASSWORD,
                        'domain': {'id': 'default'}}}},
                'scope': {'project': {
                    'name': 'admin', 'domain': {'id': 'default'}}}}})
        self.session.headers['X-Auth-Token'] = (
            response.headers['X-Subject-Token'])

    def request(self, method: str, service: str, path: str,
                body: Any = None, data: bytes | None = None,
                ) -> Any:
        """Send one request.

        :raises MinicloudError: if the service says no, or nothing
        """
        headers = {}
        if data is not None:
            headers['Content-Type'] = 'application/octet-stream'
        try:
            response = self.session.request(
                method, self.plan.url(service, path), json=body, data=data,
                headers=headers, timeout=60)
        except self._errors as error:
            raise MinicloudError(f'{service}: {method} {path}: {error}')
        if response.status_code >= 400:
            raise MinicloudError(
                f'{service}: {method} {path}: {response.status_code} '
                f'{response.text[:300]}')
        return response

    def identity(self, collection: str, **query: str) -> list[dict[str, Any]]:
        path = f'/v3/{collection}'
        if query:
            path += '?' + '&'.join(f'{k}={v}' for k, v in query.items())
        found: list[dict[str, Any]] = self.request(
            'GET', 'identity', path).json()[collection]
        return found

    def ensure(self, kind: str, name: str, **body: Any) -> str:
        """Return the id of a thing in Keystone, made if it is not there."""
        found = self.identity(f'{kind}s', name=name)
        if not found:
            found = [self.request(
                'POST', 'identity', f'/v3/{kind}s',
                {kind: {'name': name, **body}}).json()[kind]]
        return str(found[0]['id'])


def users(api: Api) -> None:
    """Make the users of the services and the personas."""
    roles = {role['name']: role['id'] for role in api.identity('roles')}
    accounts: list[tuple[str, str, tuple[str, ...]]] = [
        (user, personas.SERVICE_PROJECT, ('admin', 'service'))
        for user in personas.SERVICE_USERS]
    accounts.extend((persona.name, persona.project, (persona.role,))
                    for persona in personas.PERSONAS.values())
    projects = {project: api.ensure('project', project, domain_id='default')
                for project in {account[1] for account in accounts}}
    for user, project, names in accounts:
        user_id = api.ensure('user', user, domain_id='default',
                             password=personas.PASSWORD)
        for name in names:
            api.request(
                'PUT', 'identity', f'/v3/projects/{projects[project]}'
                f'/users/{user_id}/roles/{roles[name]}')


def catalog(api: Api) -> None:
    """Make the catalog say where the services are now."""
    services = {(s['name'], s['type']): s['id']
                for s in api.identity('services')}
    known = {(e['service_id'], e['interface']): e
             for e in api.identity('endpoints')}
    for (name, kind), url in endpoints(api.plan).items():
        service = services.get((name, kind))
        if service is None:
            service = api.ensure('service', name, type=kind)
        for interface in ('public', 'internal', 'admin'):
            endpoint = known.get((service, interface))
            if endpoint is None:
                api.request('POST', 'identity', '/v3/endpoints', {
                    'endpoint': {'service_id': service, 'url': url,
                                 'interface': interface,
                                 'region_id': personas.REGION}})
            elif endpoint['url'] != url:
                api.request('PATCH', 'identity',
                            f'/v3/endpoints/{endpoint["id"]}',
                            {'endpoint': {'url': url}})


def images(api: Api, guest: pathlib.Path | None = None) -> None:
    """Make the images.

    :param guest: where the real guest's kernel and RAM disk are; without
        it, there are two images of a few bytes
    """
    there = {image['name']: image['id'] for image in api.request(
        'GET', 'image', '/v2/images').json()['images']}

    def ensure(name: str, form: str, container: str, data: bytes,
               **properties: str) -> str:
        if name in there:
            return str(there[name])
        image = api.request('POST', 'image', '/v2/images', {
            'name': name, 'visibility': 'public', 'disk_format': form,
            'container_format': container, 'min_disk': 0, 'min_ram': 0,
            **properties}).json()
        api.request('PUT', 'image', f'/v2/images/{image["id"]}/file',
                    data=data)
        return str(image['id'])

    with_agent = {'hw_qemu_guest_agent': 'yes'}
    if guest is None:
        data = b'not a real disk\n'
        ensure(IMAGE_WITH_AGENT, 'raw', 'bare', data, **with_agent)
        ensure(IMAGE_WITHOUT_AGENT, 'raw', 'bare', data)
        return
    # The same at each site: what was recorded of a volume names these IDs.
    kernel = f'{IMAGE_WITH_AGENT}-kernel'
    ramdisk = f'{IMAGE_WITH_AGENT}-ramdisk'
    common = {
        'kernel_id': ensure(
            kernel, 'aki', 'aki', (guest / build.KERNEL).read_bytes(),
            id=str(uuid.uuid5(uuid.NAMESPACE_URL, f'minicloud/{kernel}'))),
        'ramdisk_id': ensure(
            ramdisk, 'ari', 'ari', (guest / build.RAMDISK).read_bytes(),
            id=str(uuid.uuid5(uuid.NAMESPACE_URL, f'minicloud/{ramdisk}'))),
        'hw_disk_bus': 'virtio', 'hw_video_model': 'none'}
    # The guest formats it: a blank disk is all that it wants.
    data = bytes(DISK_SIZE)
    for name, properties, words in (
            (IMAGE_WITH_AGENT, with_agent, ''),
            (IMAGE_WITHOUT_AGENT, {}, ''),
            (IMAGE_AGENT_ABSENT, with_agent, ' agent=absent'),
            (IMAGE_FOLLOWER, with_agent, ' writer=follow')):
        ensure(name, 'raw', 'bare', data, **common, **properties,
               os_command_line=build.COMMAND_LINE + words)
