# SPDX-License-Identifier: Apache-2.0

"""The releases of OpenStack that a cloud can be of, and how they differ.

A cloud is of the release whose packages are installed. Nothing else in
minicloud knows which one that is.
"""

import os

from minicloud import packages
from minicloud.errors import MinicloudError

#: Major versions of ``packages.SERVICES``, in that order.
RELEASES = {
    '2025.1': (27, 13, 30, 31, 26),
    '2025.2': (28, 14, 31, 32, 27),
    '2026.1': (29, 15, 32, 33, 28),
    '2026.2': (30, 16, 33, 34, 29),
}
#: And that of Neutron, which not every cloud has.
NEUTRON = {'2025.1': 26, '2025.2': 27, '2026.1': 28, '2026.2': 29}


def installed() -> str:
    """Return the release whose packages are installed.

    :raises MinicloudError: if they are of several, or of none that is known
    """
    versions = packages.versions()
    majors = tuple(int(version.partition('.')[0])
                   for version in versions.values())
    for release, known in RELEASES.items():
        if majors == known:
            return release
    raise MinicloudError(
        'these packages are of no one release of OpenStack: '
        + ', '.join(f'{name} {version}' for name, version in versions.items())
        + f'; known are {", ".join(RELEASES)}')


def check(wanted: str | None, network: str = 'none') -> str:
    """Return the installed release, and refuse any other one.

    :param wanted: its name; None for whatever is installed
    :param network: key of ``packages.NETWORKS``
    :raises MinicloudError: saying which one is installed
    """
    found = installed()
    if wanted not in (None, found):
        raise MinicloudError(
            f'installed is OpenStack {found}, not {wanted}. Each release '
            'needs an environment of its own: install '
            'minicloud/requirements.txt into one, with "-c '
            f'constraints/{wanted}.txt"')
    for name in packages.NETWORKS[network]:
        version = packages.versions((name,))[name]
        if int(version.partition('.')[0]) != NEUTRON[found]:
            raise MinicloudError(
                f'{name} {version} is not of OpenStack {found}, as all else '
                f'is: install {name} with "-c constraints/{found}.txt"')
    return found


def choose_nova_threads() -> None:
    """Have all of Nova's services run with native threads, where they can.

    To be called before anything else of Nova is imported.
    """
    if installed() not in ('2025.1', '2025.2'):
        os.environ['OS_NOVA_DISABLE_EVENTLET_PATCHING'] = '1'
    from nova import monkey_patch   # in 2025.1 that is all
    if installed() == '2025.2':
        monkey_patch.patch()
    elif installed() != '2025.1':
        monkey_patch.patch(backend='threading')


def nova_api_arguments() -> tuple[str, ...]:
    """Return what the functions that make nova-api take.

    Since 2026.1 that is the name of the program besides that of the API.
    """
    if installed() in ('2025.1', '2025.2'):
        return ('osapi_compute',)
    return ('osapi_compute', 'nova-api')


def compute_topics() -> dict[str, str]:
    """Return the names by which messages find nova-compute.

    Since 2026.1 it has a second one.
    """
    from nova.compute import rpcapi
    topics = {'topic': rpcapi.RPC_TOPIC}
    if installed() not in ('2025.1', '2025.2'):
        topics['topic_alt'] = rpcapi.RPC_TOPIC_ALT
    return topics


def choose_cinder_threads() -> None:
    """Have Cinder's services run with native threads, where they can.

    To be called before anything else of Cinder is imported.
    """
    if installed() == '2026.2':
        os.environ['OS_CINDER_DISABLE_EVENTLET_PATCHING'] = '1'
        # Images still go through eventlet's pool, which answers one thread.
        os.environ['EVENTLET_THREADPOOL_SIZE'] = '0'
        from cinder import monkey_patch
        monkey_patch.patch()
    else:
        import eventlet
        eventlet.monkey_patch()


def choose_neutron_threads() -> None:
    """Have Neutron run with native threads.

    To be called before anything else of Neutron is imported. In 2025.1 they
    are all that its server has; since 2026.1 it chooses them itself.
    """
    if installed() == '2025.2':
        from oslo_service import backend
        backend.init_backend(backend.BackendType.THREADING)
