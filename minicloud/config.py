# SPDX-License-Identifier: Apache-2.0

"""The configuration of every service, rendered from a few facts.

Pure functions from a :class:`Plan` to file contents; the only files read are
those that the packages ship, the user's own additions, and the port of a
store. The drivers, brokers, queues, databases, storages, networks and backups
that ``up`` offers are the keys of :data:`DRIVERS`, :data:`BROKERS`,
:data:`QUEUES`, :data:`DATABASES`, :data:`STORAGES`, :data:`NETWORKS` and
:data:`BACKUPS`.
Which processes a cloud has follows from its :class:`Settings`: see
:func:`roles_of`.
"""

from collections.abc import Callable
import configparser
import dataclasses
import hashlib
import json
import pathlib
import re
import sys
import urllib.parse
import uuid

from minicloud import ceph
from minicloud import hypervisor
from minicloud import neutron
from minicloud import packages
from minicloud import personas
from minicloud import ports
from minicloud import servers
from minicloud import swift
from minicloud.errors import MinicloudError
from minicloud.layout import Layout

Sections = dict[str, dict[str, str]]

#: Megabytes of a server's memory, by driver.
MEMORY = {'fake': 64, 'libvirt': 128}


@dataclasses.dataclass(frozen=True)
class Broker:
    """What a choice of ``--broker`` means.

    :param transport_url: of Nova and Cinder, with the names of ports, of
        the address and of the cell in braces
    :param between_processes: whether it carries messages from one process
        to another; if not, all of Nova shares one
    """

    transport_url: str
    between_processes: bool


#: The choices of ``--broker``.
BROKERS: dict[str, Broker] = {
    'memory': Broker('fake:///', between_processes=False),
    # RabbitMQ lets this user in from this machine only.
    'rabbit': Broker('rabbit://guest:guest@{address}:{broker}/{cell}',
                     between_processes=True),
}
#: The choices of ``--queues``, and what each sets for Nova and Cinder.
QUEUES: dict[str, dict[str, str]] = {
    'classic': {},
    # Those of kolla-ansible 2025.2.
    'quorum': {
        'use_queue_manager': 'true',
        'rabbit_quorum_queue': 'true',
        'rabbit_transient_quorum_queue': 'true',
        'rabbit_stream_fanout': 'true',
        'rabbit_qos_prefetch_count': '1'},
}
#: The choices of ``--quiesce-host``: the host of a nova-quiesce service that
#: is a process of its own, with its number in braces.
QUIESCE_HOSTS: dict[str, str] = {
    'own': 'controller{number}', 'shared': 'controller1',
}
#: The choices of ``--database``: the connection, with the quoted path of
#: the file or the socket, and the name of the database, in braces.
DATABASES: dict[str, str] = {
    'sqlite': 'sqlite:///{file}?timeout=60',
    'mariadb': (f'mysql+pymysql://{personas.DATABASE_USER}:'
                f'{personas.PASSWORD}@localhost/{{name}}'
                '?unix_socket={socket}&charset=utf8mb3'),
}
#: What the installation guide changes in Nova's api-paste.ini.
PASTE_CHANGES = {'app:osapi_compute_app_v21': {
    'paste.app_factory': 'nova_quiesce.controllers:app_factory'}}

NO_KEY = '0' * 64
#: Files each kind of process depends on; others may change without a
#: restart.
FILES_OF_KIND = {
    'hypervisor': ('libvirtd.conf', 'qemu.conf'),
    'database': ('mariadb.cnf', 'mariadb.sql'),
    'storage': ('ceph.conf',),
    'broker': ('rabbitmq.conf', 'rabbitmq.json'),
    'gate': (),
    'identity': ('keystone.conf', 'placement.conf'),
    'image': ('glance-api.conf', 'glance-api-paste.ini'),
    'api': ('nova.conf', 'nova-api-paste.ini'),
    'conductor': ('nova.conf',),
    'scheduler': ('nova.conf',),
    'compute': ('nova.conf', 'nova-api-paste.ini'),
    'quiesce': ('nova.conf',),
    'volume': ('cinder.conf', 'cinder-api-paste.ini'),
    'backup': ('cinder.conf',),
    'network': ('neutron.conf', 'neutron-api-paste.ini'),
}
#: Kinds of processes that call no other one.
ALONE = ('hypervisor', 'storage', 'database', 'broker')
#: What each kind waits for that uses a broker between processes: nova-api
#: writes down where the broker of the cell is, and nova-compute gets at the
#: database through the conductor.
BEFORE = {
    'api': ('broker',),
    'conductor': ('broker', 'api'),
    'scheduler': ('broker', 'api'),
    'compute': ('broker', 'conductor'),
    'quiesce': ('broker', 'api'),
    'volume': ('broker',),
    # The scheduler is to hear at once that it is there.
    'backup': ('broker', 'volume'),
}
#: The kinds of processes that are Cinder's.
CINDER = ('volume', 'backup')
#: Host name of Nova's services that are not computes.
CONTROLLER = 'controller'
#: The most computes, nova-quiesce services, and cells.
MAXIMUM = 100
#: Bytes of a volume that are one file or object of a backup.
BACKUP_PIECE = 8 << 20
#: What a name in clouds.yaml may be.
SITE_NAME = re.compile('[A-Za-z0-9_.-]+')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What can be chosen about a cloud.

    :param driver: key of :data:`DRIVERS`
    :param broker: key of :data:`BROKERS`
    :param database: key of :data:`DATABASES`
    :param storage: key of :data:`STORAGES`
    :param network: key of :data:`NETWORKS`
    :param queues: key of :data:`QUEUES`
    :param cells: number of cells that hold servers; if there are several,
        each has a database, a message bus and a nova-conductor of its own,
        and one process through which all others reach the first two
    :param computes: number of nova-compute services; each cell has one at
        least
    :param quiesce: whether Nova gets the quiesce actions and their service
    :param quiesce_services: number of nova-quiesce services, if Nova's
        services are processes of their own; else there is one
    :param quiesce_host: key of :data:`QUIESCE_HOSTS`
    :param backup: key of :data:`BACKUPS`; what is not ``none`` gives Cinder
        a backup service, in a process of its own
    :param store: absolute path of the directory where backups are kept; if
        empty, they are kept in the state of the cloud
    :param store_access: what the cloud is to the store, with ``swift``: key
        of ``swift.USERS``
    :param site_name: name of the cloud in clouds.yaml; if empty, it is the
        name of the root directory
    """

    driver: str = 'fake'
    broker: str = 'memory'
    database: str = 'sqlite'
    storage: str = 'fake'
    network: str = 'none'
    queues: str = 'classic'
    cells: int = 1
    computes: int = 1
    quiesce: bool = True
    quiesce_services: int = 1
    quiesce_host: str = 'own'
    backup: str = 'none'
    store: str = ''
    store_access: str = 'owner'
    site_name: str = ''

    def check(self) -> None:
        """Refuse what cannot be.

        :raises MinicloudError: in words
        """
        for option, known in (('driver', DRIVERS), ('broker', BROKERS),
                              ('database', DATABASES),
                              ('storage', STORAGES), ('network', NETWORKS),
                              ('queues', QUEUES),
                              ('quiesce_host', QUIESCE_HOSTS),
                              ('backup', BACKUPS),
                              ('store_access', swift.USERS)):
            if getattr(self, option) not in known:
                raise MinicloudError(
                    f'{option} {getattr(self, option)!r} is not one of: '
                    f'{", ".join(known)}')
        for option, least in (('computes', 1), ('quiesce_services', 0),
                              ('cells', 1)):
            value = getattr(self, option)
            if not isinstance(value, int) or not least <= value <= MAXIMUM:
                raise MinicloudError(
                    f'{option}: {value} is not {least} to {MAXIMUM}')
        if self.site_name and not SITE_NAME.fullmatch(self.site_name):
            raise MinicloudError(
                f'site name {self.site_name!r}: only letters, digits, "_", '
                '"." and "-" may be in it')
        self._check_together()

    def _check_together(self) -> None:
        if self.driver == 'libvirt' and (self.computes, self.cells) != (1, 1):
            raise MinicloudError(
                'there is one libvirtd, so one nova-compute: --computes 1, '
                '--cells 1')
        if self.one_nova and self.cells != 1:
            raise MinicloudError(
                f'with --broker {self.broker} all of Nova shares a process, '
                'one configuration, and one message bus whatever its URL: '
                f'--cells {self.cells} needs --broker rabbit')
        if self.one_nova and self.queues != 'classic':
            raise MinicloudError(
                f'--queues {self.queues} needs --broker rabbit')
        if self.storage == 'ceph' and self.driver != 'libvirt':
            raise MinicloudError(
                'only real guests can use real volumes: --storage ceph '
                'needs --driver libvirt')

        if self.backup in STORED and not self.store:
            raise MinicloudError(
                f'--backup {self.backup} needs --store DIR, a store that '
                '"python -m minicloud store up --root DIR" has made')
        if self.store_access != 'owner' and self.backup != 'swift':
            raise MinicloudError(
                f'--store-access {self.store_access} needs --backup swift')

    @property
    def one_nova(self) -> bool:
        """Whether all of Nova is one process."""
        return not BROKERS[self.broker].between_processes

    @property
    def cinder_broker(self) -> str:
        """What carries Cinder's messages, a key of :data:`BROKERS`.

        A backup service of its own can only be reached through RabbitMQ, even
        if all of Nova shares a process.
        """
        return self.broker if self.backup == 'none' else 'rabbit'

    @property
    def rabbit(self) -> bool:
        """Whether the cloud has a RabbitMQ."""
        return 'rabbit' in (self.broker, self.cinder_broker)


def kind_of(role: str) -> str:
    """Return what a process is one of: ``compute`` for ``compute2``."""
    return role.rstrip('0123456789')


def own_cells(settings: Settings) -> tuple[int, ...]:
    """Return the numbers of the cells that are apart from the top level.

    If there is only one, it shares the database, the message bus and the
    nova-conductor of the top level; else the top level has those of cell0.
    """
    return (tuple(range(1, settings.cells + 1)) if settings.cells > 1
            else ())


def cell_of(settings: Settings, role: str) -> int:
    """Return the number of the cell that a process is in.

    It is 0 for one of the top level, and in a cloud with only one cell.
    """
    kind = kind_of(role)
    number = role.removeprefix(kind)
    if (not own_cells(settings)
            or kind not in ('conductor', 'compute', 'gate') or not number):
        return 0
    return (int(number) - 1) % settings.cells + 1


def cell_file(number: int) -> str:
    """Return what of Nova's configuration is special in a cell."""
    return f'nova-cell{number}.conf'


def gate_of(number: int) -> str:
    """Return the process through which a cell is reached."""
    return f'gate{number}'


def database_names(settings: Settings) -> tuple[str, ...]:
    """Return the databases of a cloud."""
    return ('keystone', 'placement', 'glance', 'nova_api', 'nova_cell0',
            *(f'nova_cell{number}'
              for number in range(1, settings.cells + 1)), 'cinder',
            *NETWORKS[settings.network])


def nova_services(settings: Settings) -> dict[str, list[tuple[str, str]]]:
    """Return the processes of Nova, each with its services.

    A service is the name of Nova's program, and the host that it is on.
    """
    control = [(name, CONTROLLER) for name in (
        'nova-api', 'nova-conductor', 'nova-scheduler')]
    conductors = [('nova-conductor', f'conductor{number}')
                  for number in own_cells(settings)]
    most = max(settings.computes, settings.cells)
    computes = [('nova-compute', f'compute{number}')
                for number in range(1, most + 1)]
    if settings.one_nova:
        quiesce = [('nova-quiesce', CONTROLLER)] if settings.quiesce else []
        return {'compute': [*control, *computes, *quiesce]}
    numbers = range(1, settings.quiesce_services + 1 if settings.quiesce
                    else 1)
    return {
        **{name.removeprefix('nova-'): [(name, host)]
           for name, host in control},
        **{host: [(name, host)] for name, host in conductors + computes},
        **{f'quiesce{number}': [('nova-quiesce', QUIESCE_HOSTS[
            settings.quiesce_host].format(number=number))]
           for number in numbers}}


def roles_of(settings: Settings) -> tuple[str, ...]:
    """Return the processes of a cloud, in the order of their start."""
    roles = []
    if settings.driver == 'libvirt':
        roles.append('hypervisor')
    if settings.storage == 'ceph':
        roles.append('storage')
    if settings.database == 'mariadb':
        roles.append('database')
    if settings.rabbit:
        roles.append('broker')
    roles.extend(gate_of(number) for number in own_cells(settings))
    network = ('network',) if settings.network == 'neutron' else ()
    backup = ('backup',) if settings.backup != 'none' else ()
    return (*roles, 'identity', 'image', *network, *nova_services(settings),
            'volume', *backup)


def before(settings: Settings, role: str) -> tuple[str, ...]:
    """Return the processes that one waits for, besides the database."""
    kind = kind_of(role)
    roles = []
    if settings.storage == 'ceph' and kind in ('compute', *CINDER):
        roles.append('storage')
    broker = settings.cinder_broker if kind in CINDER else settings.broker
    if BROKERS[broker].between_processes:
        roles.extend(BEFORE.get(kind, ()))
    cell = cell_of(settings, role)
    if kind == 'compute' and cell:
        roles.append(f'conductor{cell}')
    if kind in BEFORE and kind not in CINDER:
        # Who is in no cell calls all of them.
        roles.extend(gate_of(number) for number in own_cells(settings)
                     if cell in (0, number))
    return tuple(roles)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan(Settings):
    """What a cloud is to be.

    :param layout: where it lives
    :param ports: TCP port of each service
    :param virt_type: how QEMU runs guests, ``kvm`` or ``qemu``, with the
        driver libvirt
    """

    layout: Layout
    ports: dict[str, int]
    virt_type: str = ''

    def url(self, service: str, path: str = '') -> str:
        return f'http://127.0.0.1:{self.ports[service]}{path}'


def _auth(plan: Plan, user: str) -> dict[str, str]:
    """Options by which a service logs in."""
    return {
        'auth_url': plan.url('identity', '/v3'),
        'auth_type': 'password',
        'username': user,
        'password': personas.PASSWORD,
        'project_name': personas.SERVICE_PROJECT,
        'user_domain_id': 'default',
        'project_domain_id': 'default',
        'region_name': personas.REGION,
    }


def _token(plan: Plan, user: str) -> dict[str, str]:
    """Options by which a service checks the tokens of its callers."""
    return {
        **_auth(plan, user),
        'www_authenticate_uri': plan.url('identity', '/v3'),
        'service_token_roles': 'service',
        'service_token_roles_required': 'true',
    }


def _service_user(plan: Plan, user: str) -> dict[str, str]:
    return {**_auth(plan, user), 'send_service_user_token': 'true'}


def _database(plan: Plan, name: str, cell: int = 0) -> dict[str, str]:
    options = {'connection': database_url(
        plan.layout, plan.database, name, cell)}
    if plan.database == 'sqlite':
        options['sqlite_synchronous'] = 'false'
    return options


def database_url(layout: Layout, database: str, name: str,
                 cell: int = 0) -> str:
    """Return the connection to a database.

    :param database: key of :data:`DATABASES`
    :param name: one of :func:`database_names`
    :param cell: the one through whose gate it goes; 0 if through none
    """
    socket = layout.gate_socket(cell) if cell else layout.database_socket
    return DATABASES[database].format(
        name=name, file=layout.database(name),
        socket=urllib.parse.quote(str(socket)))


def virtual_host(cell: int) -> str:
    """Return the name of the message bus of a cell, within RabbitMQ."""
    return f'cell{cell}'


def gate_address(number: int) -> str:
    """Return where a cell's gate listens for clients of RabbitMQ.

    The port is that of RabbitMQ itself.
    """
    return f'127.0.1.{number}'


def _transport_url(plan: Plan, broker: str, cell: int = 0) -> str:
    return BROKERS[broker].transport_url.format(
        address=gate_address(cell) if cell else ports.ADDRESS,
        cell=virtual_host(cell) if cell else '', **plan.ports)


def _messages(plan: Plan, broker: str) -> Sections:
    """What Nova or Cinder needs to reach its broker.

    :param broker: key of :data:`BROKERS`
    """
    sections: Sections = {
        'DEFAULT': {'transport_url': _transport_url(plan, broker)},
        'oslo_messaging_notifications': {'driver': 'noop'},
    }
    if broker == 'rabbit':
        rabbit = QUEUES[plan.queues]
        if rabbit:
            # Queues that keep their names are counted outside of the root.
            rabbit = {**rabbit, 'hostname': plan.layout.queue_host}
        # Seconds between attempts: half a minute is long for a test.
        sections['oslo_messaging_rabbit'] = {
            'rabbit_interval_max': '2', **rabbit}
    return sections


def keystone(plan: Plan) -> Sections:
    state = plan.layout.state / 'keystone'
    return {
        'DEFAULT': {'use_stderr': 'true'},
        'database': _database(plan, 'keystone'),
        'token': {'provider': 'fernet', 'expiration': '86400'},
        'fernet_tokens': {'key_repository': f'{state}/fernet'},
        'fernet_receipts': {'key_repository': f'{state}/receipts'},
        'credential': {'key_repository': f'{state}/credential'},
        'cache': {'enabled': 'true', 'backend': 'dogpile.cache.memory'},
        'identity': {'password_hash_algorithm': 'bcrypt',
                     'password_hash_rounds': '4'},
    }


def placement(plan: Plan) -> Sections:
    return {
        'DEFAULT': {'use_stderr': 'true'},
        'api': {'auth_strategy': 'keystone'},
        'placement_database': _database(plan, 'placement'),
        'keystone_authtoken': _token(plan, 'placement'),
    }


def glance(plan: Plan) -> Sections:
    state = plan.layout.state / 'glance'
    return {
        'DEFAULT': {'use_stderr': 'true',
                    'enabled_backends': 'fs:file',
                    'node_staging_uri': f'file://{state}/staging'},
        'glance_store': {'default_backend': 'fs'},
        'fs': {'filesystem_store_datadir': f'{state}/images'},
        'os_glance_staging_store': {
            'filesystem_store_datadir': f'{state}/staging'},
        'os_glance_tasks_store': {
            'filesystem_store_datadir': f'{state}/tasks'},
        'database': _database(plan, 'glance'),
        'paste_deploy': {
            'flavor': 'keystone',
            'config_file': f'{plan.layout.etc}/glance-api-paste.ini'},
        'keystone_authtoken': _token(plan, 'glance'),
        'oslo_messaging_notifications': {'driver': 'noop'},
    }


def nova(plan: Plan) -> Sections:
    state = plan.layout.state / 'nova'
    sections: Sections = {
        'DEFAULT': {'use_stderr': 'true',
                    'state_path': str(state),
                    'my_ip': '127.0.0.1',
                    'host': CONTROLLER,
                    'update_resources_interval': '0',
                    'heal_instance_info_cache_interval': '-1',
                    'periodic_fuzzy_delay': '5',
                    'report_interval': '5',
                    'cpu_allocation_ratio': '16.0'},
        'wsgi': {
            'api_paste_config': f'{plan.layout.etc}/nova-api-paste.ini'},
        'api': {'auth_strategy': 'keystone', 'response_validation': 'error'},
        'api_database': _database(plan, 'nova_api'),
        'database': _database(
            plan, 'nova_cell0' if own_cells(plan) else 'nova_cell1'),
        'keystone_authtoken': _token(plan, 'nova'),
        'service_user': _service_user(plan, 'nova'),
        'keystone': _auth(plan, 'nova'),
        'placement': _auth(plan, 'placement'),
        'neutron': _auth(plan, 'nova'),
        'cinder': {**_auth(plan, 'nova'),
                   'catalog_info': 'volumev3::publicURL'},
        'glance': {'api_servers': plan.url('image')},
        'key_manager': {'backend': 'nova.keymgr.conf_key_mgr.ConfKeyManager',
                        'fixed_key': NO_KEY},
        'conductor': {'workers': '1'},
        'scheduler': {'workers': '1',
                      'discover_hosts_in_cells_interval': '-1'},
        'filter_scheduler': {'track_instance_changes': 'false'},
        'quota': {'instances': '-1', 'cores': '-1', 'ram': '-1'},
        # The user's own; need not be there, and is in force when written.
        'oslo_policy': {
            'policy_file': str(plan.layout.local / 'nova-policy.yaml')},
        'oslo_concurrency': {'lock_path': f'{state}/lock'},
        'vnc': {'enabled': 'false'},
    }
    return merge(merge(sections, _messages(plan, plan.broker)),
                 DRIVERS[plan.driver](plan))


def nova_cell(plan: Plan, number: int) -> Sections:
    """What is put over nova.conf in a cell."""
    return {
        'DEFAULT': {
            'transport_url': _transport_url(plan, plan.broker, number)},
        'database': _database(plan, f'nova_cell{number}', number),
    }


def fake(_plan: Plan) -> Sections:
    """What ``--driver fake`` adds to nova.conf."""
    return {'DEFAULT': {'compute_driver': 'minicloud.FakeDriver'}}


def libvirt(plan: Plan) -> Sections:
    """What ``--driver libvirt`` adds to nova.conf."""
    return {
        'DEFAULT': {'compute_driver': 'libvirt.LibvirtDriver',
                    'pointer_model': 'ps2mouse',
                    'force_raw_images': 'true',
                    'default_ephemeral_format': 'ext4',
                    'resume_guests_state_on_host_boot': 'true',
                    # In a container libvirt may see less than there is.
                    'reserved_host_memory_mb': '0',
                    'ram_allocation_ratio': '4.0'},
        'spice': {'enabled': 'false'},
        'libvirt': {'connection_uri': hypervisor.uri(plan.layout),
                    'virt_type': plan.virt_type,
                    'cpu_mode': 'none',
                    'images_type': 'raw',
                    'hw_machine_type': 'x86_64=pc',
                    'inject_partition': '-2'},
        **_as_root('nova_sys_admin', 'privsep_osbrick',
                   'vif_plug_ovs_privileged',
                   'vif_plug_linux_bridge_privileged'),
    }


def _as_root(*contexts: str) -> Sections:
    """Let a service, which runs as root here, need no rootwrap and no sudo.

    :param contexts: of oslo.privsep
    """
    return dict.fromkeys(contexts, {
        'helper_command':
            str(pathlib.Path(sys.executable).with_name('privsep-helper'))})


#: What each choice of ``--driver`` adds to nova.conf.
DRIVERS: dict[str, Callable[[Plan], Sections]] = {
    'fake': fake, 'libvirt': libvirt,
}


def libvirtd(plan: Plan) -> dict[str, str]:
    """Return the files of libvirtd: no system service around it is used."""
    return {
        'libvirtd.conf': (
            'unix_sock_group = "root"\n'
            'unix_sock_rw_perms = "0700"\n'
            'auth_unix_ro = "none"\n'
            'auth_unix_rw = "none"\n'
            f'host_uuid = "{_host_uuid(plan)}"\n'
            'log_outputs = "2:stderr"\n'),
        'qemu.conf': (
            'user = "root"\n'
            'group = "root"\n'
            'dynamic_ownership = 0\n'
            'remember_owner = 0\n'
            'security_driver = "none"\n'
            'namespaces = [ ]\n'
            'cgroup_controllers = [ ]\n'
            # QEMU writes the console logs itself: no virtlogd.
            'stdio_handler = "file"\n'
            'max_processes = 0\n'),
    }


def _host_uuid(plan: Plan) -> str:
    """Return an identity of the hypervisor that stays with the root."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, plan.layout.root.as_uri()))


def cinder(plan: Plan) -> Sections:
    state = plan.layout.state / 'cinder'
    sections: Sections = {
        'DEFAULT': {'use_stderr': 'true',
                    'state_path': str(state),
                    'my_ip': '127.0.0.1',
                    'host': CONTROLLER,
                    'auth_strategy': 'keystone',
                    'api_paste_config':
                        f'{plan.layout.etc}/cinder-api-paste.ini',
                    'resource_query_filters_file': str(
                        packages.shipped_file(
                            'cinder', 'cinder/resource_filters.json')),
                    'scheduler_driver_init_wait_time': '1',
                    'periodic_fuzzy_delay': '5',
                    'enabled_backends': plan.storage,
                    'glance_api_servers': plan.url('image'),
                    'quota_volumes': '-1', 'quota_snapshots': '-1',
                    'quota_gigabytes': '-1', 'quota_backups': '-1',
                    'quota_backup_gigabytes': '-1',
                    **BACKUPS[plan.backup](plan)},
        **STORAGES[plan.storage](plan),
        'database': _database(plan, 'cinder'),
        'keystone_authtoken': _token(plan, 'cinder'),
        'service_user': _service_user(plan, 'cinder'),
        'nova': {**_auth(plan, 'cinder'), 'interface': 'internal'},
        'key_manager': {'backend': 'cinder.keymgr.conf_key_mgr.ConfKeyManager',
                        'fixed_key': NO_KEY},
        'oslo_concurrency': {'lock_path': f'{state}/lock'},
        'coordination': {'backend_url': f'file://{state}/coordination'},
    }
    return merge(sections, _messages(plan, plan.cinder_broker))


def neutron_server(plan: Plan) -> Sections:
    """What is in neutron.conf."""
    return {
        **neutron.configuration(plan.layout, plan.driver, CONTROLLER),
        'database': _database(plan, 'neutron'),
        'keystone_authtoken': _token(plan, 'neutron'),
        # It tells Nova what becomes of ports, and Placement of segments.
        'nova': _auth(plan, 'neutron'),
        'placement': _auth(plan, 'neutron'),
    }


def fake_storage(plan: Plan) -> Sections:
    """What ``--storage fake`` adds to cinder.conf."""
    return {'fake': {
        'volume_backend_name': 'fake',
        'volume_driver': 'minicloud.virt.volume.FakeVolumeDriver',
        'volumes_path': str(plan.layout.volumes)}}


def ceph_storage(plan: Plan) -> Sections:
    """What ``--storage ceph`` adds to cinder.conf."""
    return {
        'ceph': {
            'volume_backend_name': 'ceph',
            'volume_driver': 'cinder.volume.drivers.rbd.RBDDriver',
            'rbd_ceph_conf': str(plan.layout.etc / 'ceph.conf'),
            'rbd_pool': ceph.POOL,
            # Without it, a call waits for ever for a Ceph that is down.
            'rados_connect_timeout': '5'},
        # To convert images, and to attach what is backed up.
        **_as_root('cinder_sys_admin', 'privsep_osbrick')}


def no_backup(_plan: Plan) -> dict[str, str]:
    """What ``--backup none`` adds to cinder.conf."""
    return {}


def posix_backup(plan: Plan) -> dict[str, str]:
    """What ``--backup posix`` adds to cinder.conf."""
    return {
        'backup_driver': 'cinder.backup.drivers.posix.PosixBackupDriver',
        'backup_posix_path': plan.store or str(plan.layout.backups),
        # Memory of cinder-backup: some ten times that, for each backup at
        # work.
        'backup_file_size': str(BACKUP_PIECE)}


def swift_backup(plan: Plan) -> dict[str, str]:
    """What ``--backup swift`` adds to cinder.conf."""
    return {
        **swift.swift_options(swift.port_of(pathlib.Path(plan.store)),
                              plan.store_access),
        'backup_swift_object_size': str(BACKUP_PIECE)}


def s3_backup(plan: Plan) -> dict[str, str]:
    """What ``--backup s3`` adds to cinder.conf."""
    return {
        **swift.s3_options(swift.port_of(pathlib.Path(plan.store))),
        'backup_s3_object_size': str(BACKUP_PIECE)}


#: What each choice of ``--storage`` adds to cinder.conf. Each makes one
#: backend, of its own name.
STORAGES: dict[str, Callable[[Plan], Sections]] = {
    'fake': fake_storage, 'ceph': ceph_storage,
}
#: What each choice of ``--backup`` adds to cinder.conf, section DEFAULT.
BACKUPS: dict[str, Callable[[Plan], dict[str, str]]] = {
    'none': no_backup, 'posix': posix_backup, 'swift': swift_backup,
    's3': s3_backup,
}
#: Those that need a store that runs.
STORED = ('swift', 's3')


#: The choices of ``--network``, and the packages, and databases, of each.
#: Without any, a stub answers that there are no networks.
NETWORKS: dict[str, tuple[str, ...]] = packages.NETWORKS


def merge(sections: Sections, additions: Sections) -> Sections:
    """Return sections with the additions put over them."""
    merged = {name: dict(options) for name, options in sections.items()}
    for name, options in additions.items():
        merged.setdefault(name, {}).update(options)
    return merged


def read_additions(path: pathlib.Path) -> Sections:
    """Return the user's own options for one file, if there are any."""
    if not path.exists():
        return {}
    parser = configparser.RawConfigParser(default_section='', strict=False)
    parser.optionxform = str    # type: ignore[assignment,method-assign]
    try:
        parser.read_string(path.read_text())
    except (OSError, configparser.Error) as error:
        raise MinicloudError(f'cannot read {path}: {error}')
    return {name: dict(parser[name]) for name in parser.sections()}


def ini(sections: Sections) -> str:
    """Return sections as the text of a configuration file."""
    blocks = []
    for name, options in sections.items():
        lines = [f'{key} = {value}' for key, value in options.items()]
        blocks.append('\n'.join([f'[{name}]', *lines]))
    return '\n\n'.join(blocks) + '\n'


def replace_options(text: str, changes: Sections, name: str) -> str:
    """Return the text of a file with the values of some options changed.

    All else of it stays, the comments too.

    :param changes: the new values
    :param name: of the file, for the error
    :raises MinicloudError: if an option is not there exactly once
    """
    section = ''
    lines = text.splitlines(keepends=True)
    found = {(section, option): 0
             for section, options in changes.items() for option in options}
    for number, line in enumerate(lines):
        if line.strip().startswith('['):
            section = line.strip().strip('[]')
        option = line.partition('=')[0].strip()
        if (section, option) in found:
            lines[number] = f'{option} = {changes[section][option]}\n'
            found[section, option] += 1
    for (section, option), count in found.items():
        if count != 1:
            raise MinicloudError(f'{name} has {count} lines {option} in '
                                 f'[{section}] where one was expected')
    return ''.join(lines)


def with_quiesce(paste: str) -> str:
    """Return Nova's api-paste.ini with the one line changed.

    :param paste: the text that Nova ships
    """
    return replace_options(paste, PASTE_CHANGES, "Nova's api-paste.ini")


def render(plan: Plan) -> dict[str, str]:
    """Return the content of every file in ``etc``."""
    files: dict[str, str] = {}
    for name, sections in (('keystone.conf', keystone(plan)),
                           ('placement.conf', placement(plan)),
                           ('glance-api.conf', glance(plan)),
                           ('nova.conf', nova(plan)),
                           *((cell_file(number), nova_cell(plan, number))
                             for number in own_cells(plan)),
                           ('cinder.conf', cinder(plan)),
                           *((f'{name}.conf', neutron_server(plan))
                             for name in NETWORKS[plan.network])):
        additions = read_additions(plan.layout.local / name)
        files[name] = ini(merge(sections, additions))
    for package in ('glance', 'nova', 'cinder', *NETWORKS[plan.network]):
        shipped = ('glance/glance-api-paste.ini' if package == 'glance'
                   else f'{package}/api-paste.ini')
        name = f'{package}-api-paste.ini'
        text = packages.shipped_file(package, shipped).read_text()
        if package == 'nova' and plan.quiesce:
            text = with_quiesce(text)
        files[name] = replace_options(
            text, read_additions(plan.layout.local / name), name)
    files.update(_programs(plan))
    return files


def _programs(plan: Plan) -> dict[str, str]:
    """Return the files of the servers that are not Python."""
    files: dict[str, str] = {}
    if plan.driver == 'libvirt':
        files.update(libvirtd(plan))
    if plan.storage == 'ceph':
        files['ceph.conf'] = ceph.configuration(
            plan.layout, plan.ports['storage'])
    if plan.database == 'mariadb':
        files['mariadb.cnf'] = servers.mariadb_configuration(plan.layout)
        files['mariadb.sql'] = servers.mariadb_statements(
            database_names(plan))
    if plan.rabbit:
        files['rabbitmq.conf'] = servers.rabbitmq_configuration(
            plan.layout, plan.ports['broker'])
        files['rabbitmq.json'] = servers.rabbitmq_definitions(
            virtual_host(number) for number in own_cells(plan))
    return files


def digest(plan: Plan, files: dict[str, str], role: str) -> str:
    """Return what changes when a process has to be started anew."""
    kind = kind_of(role)
    names = ports.SERVICES.get(role, ()) if kind in ALONE else plan.ports
    facts: list[object] = [{name: plan.ports[name] for name in names}]
    facts.extend(files[name] for name in FILES_OF_KIND[kind])
    if kind == 'api':    # tells the database where the cells are
        facts.extend(files[cell_file(number)] for number in own_cells(plan))
    elif cell := cell_of(plan, role):
        facts.append(files[cell_file(cell)])
    if role in (services := nova_services(plan)):
        facts.extend((plan.driver, services[role]))
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write(layout: Layout, files: dict[str, str]) -> None:
    """Write the files; they hold passwords, so for the owner only."""
    layout.etc.mkdir(exist_ok=True)
    layout.etc.chmod(0o700)
    for name, text in files.items():
        (layout.etc / name).write_text(text)
