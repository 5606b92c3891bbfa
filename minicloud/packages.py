# SPDX-License-Identifier: Apache-2.0

"""The published packages that a cloud is made of: present, which, where.

Reads installed metadata only; imports none of them.
"""

import importlib.metadata
import importlib.util
import pathlib
import sys

from minicloud.errors import MinicloudError

#: Distributions whose version decides what the databases look like.
SERVICES = ('keystone', 'openstack-placement', 'glance', 'nova', 'cinder')
#: And those of a choice of ``--network``.
NETWORKS: dict[str, tuple[str, ...]] = {'none': (), 'neutron': ('neutron',)}
#: What they need beyond what they themselves require (see README.rst).
HELPERS = ('waitress', 'python-memcached', 'pymysql', 'fixtures',
           'requests')
CLIENTS = ('python-openstackclient',)


def services(network: str) -> tuple[str, ...]:
    """Return the distributions that a cloud is made of.

    :param network: key of :data:`NETWORKS`
    """
    return SERVICES + NETWORKS[network]


def versions(names: tuple[str, ...] = SERVICES) -> dict[str, str]:
    """Return the installed version of each distribution.

    :raises MinicloudError: naming every distribution that is missing
    """
    found: dict[str, str] = {}
    missing: list[str] = []
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        requirements = pathlib.Path(__file__).with_name('requirements.txt')
        raise MinicloudError(
            f'not installed for {sys.executable}: {", ".join(missing)}\n'
            f'  {sys.executable} -m pip install -r {requirements}\n'
            '(with "-c constraints/2026.2.txt" for the versions that this '
            'project is tested with)')
    return found


def check(quiesce: bool, network: str = 'none') -> None:
    """Say which packages are missing, before anything is started.

    :param quiesce: whether Nova is to be given the quiesce actions
    :param network: key of :data:`NETWORKS`
    """
    versions(services(network) + HELPERS + CLIENTS)
    if not quiesce:
        return
    for module in ('nova_quiesce', 'nova_quiesce.api', 'nova_quiesce.cmd'):
        try:
            spec = importlib.util.find_spec(module)
        except ImportError:
            spec = None
        if spec is None:
            raise MinicloudError(
                f'{module} cannot be imported by {sys.executable}: install '
                'it (pip install "osc-quiesce[nova]"), or start a cloud '
                'without it: --without-quiesce')


def shipped_file(distribution: str, name: str) -> pathlib.Path:
    """Return a configuration file that a package brought along.

    :param distribution: for example ``nova``
    :param name: for example ``nova/api-paste.ini``
    """
    for path in importlib.metadata.files(distribution) or ():
        if str(path).endswith(f'etc/{name}'):
            located = pathlib.Path(str(path.locate())).resolve()
            if located.is_file():
                return located
    fallback = pathlib.Path(sys.prefix, 'etc', name)
    if fallback.is_file():
        return fallback
    raise MinicloudError(
        f'the file etc/{name} of the package {distribution} is not there; '
        f'install {distribution} from its published wheel')
