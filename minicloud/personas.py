# SPDX-License-Identifier: Apache-2.0

"""Who can use the cloud: the names, roles and environments of its users.

The one home of user names, projects and passwords. Everything listens on
127.0.0.1 and holds nothing of value, so that the password may be known.
"""

import dataclasses
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


def openrc(persona: Persona, identity_port: int) -> str:
    """Return the same as a file for a shell to source."""
    lines = [f'# {persona.name}: role {persona.role} in project '
             f'{persona.project}']
    lines.extend(
        f'export {name}={shlex.quote(value)}'
        for name, value in environment(persona, identity_port).items())
    return '\n'.join(lines) + '\n'
