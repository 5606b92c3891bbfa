# SPDX-License-Identifier: Apache-2.0

"""Who can use the cloud: the names, roles and environments of its users.

The one home of user names, projects and passwords. Everything listens on
127.0.0.1 and holds nothing of value, so that the password may be known.
"""

from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import json
import shlex

PASSWORD = 'minicloud'
#: User of the services in MariaDB.
DATABASE_USER = 'minicloud'
REGION = 'RegionOne'
SERVICE_PROJECT = 'service'
#: Users of the services themselves, in the service project.
SERVICE_USERS = ('nova', 'placement', 'glance', 'cinder', 'neutron')

COMPUTE_API_VERSION = '2.96'
VOLUME_API_VERSION = '3.70'


@dataclasses.dataclass(frozen=True)
class Persona:
    """A user with one role in one project of the default domain."""

    name: str
    project: str
    role: str


PERSONAS = {persona.name: persona for persona in (
    Persona('admin', 'admin', 'admin'),
    Persona('member', 'demo', 'member'),
    Persona('reader', 'demo', 'reader'),
    Persona('other', 'other', 'member'),
)}


def environment(persona: Persona, identity_port: int) -> dict[str, str]:
    """Return the ``OS_*`` variables by which a client becomes a persona."""
    return {
        'OS_AUTH_TYPE': 'password',
        'OS_AUTH_URL': f'http://127.0.0.1:{identity_port}/v3',
        'OS_USERNAME': persona.name,
        'OS_PASSWORD': PASSWORD,
        'OS_PROJECT_NAME': persona.project,
        'OS_USER_DOMAIN_ID': 'default',
        'OS_PROJECT_DOMAIN_ID': 'default',
        'OS_IDENTITY_API_VERSION': '3',
        'OS_REGION_NAME': REGION,
        'OS_COMPUTE_API_VERSION': COMPUTE_API_VERSION,
        'OS_VOLUME_API_VERSION': VOLUME_API_VERSION,
    }


def cloud_config(persona: Persona, identity_port: int) -> dict[str, object]:
    """Return the same as an entry of clouds.yaml."""
    return {
        'auth_type': 'password',
        'auth': {
            'auth_url': f'http://127.0.0.1:{identity_port}/v3',
            'username': persona.name,
            'password': PASSWORD,
            'project_name': persona.project,
            'user_domain_id': 'default',
            'project_domain_id': 'default'},
        'region_name': REGION,
        'identity_api_version': '3',
        'compute_api_version': COMPUTE_API_VERSION,
        'volume_api_version': VOLUME_API_VERSION,
    }


def clouds(site: str, identity_port: int) -> dict[str, dict[str, object]]:
    """Return the entries of clouds.yaml for all personas of a cloud.

    :param site: name of the cloud: the administrator's entry has it, those
        of the others have their own name behind it, as in ``site-member``
    """
    return {site if name == 'admin' else f'{site}-{name}':
            cloud_config(persona, identity_port)
            for name, persona in PERSONAS.items()}


def clouds_yaml(entries: dict[str, dict[str, object]]) -> str:
    """Return entries as the text of a clouds.yaml."""
    def lines(values: Mapping[str, object], indent: int) -> Iterator[str]:
        for key, value in values.items():
            if isinstance(value, Mapping):
                yield f'{" " * indent}{key}:'
                yield from lines(value, indent + 2)
            else:
                yield f'{" " * indent}{key}: {json.dumps(value)}'
    return '\n'.join(lines({'clouds': entries}, 0)) + '\n'


def openrc(persona: Persona, identity_port: int) -> str:
    """Return the same as a file for a shell to source."""
    lines = [f'# {persona.name}: role {persona.role} in project '
             f'{persona.project}']
    lines.extend(
        f'export {name}={shlex.quote(value)}'
        for name, value in environment(persona, identity_port).items())
    return '\n'.join(lines) + '\n'
