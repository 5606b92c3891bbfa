# SPDX-License-Identifier: Apache-2.0

"""Nova's services: all in one process, or each in one of its own.

The in-memory message bus does not reach beyond a process, so that with it
all are in one. Each service is made the way Nova's own commands make it.
"""

from collections.abc import Callable
import importlib
import os
import shlex
import sys
from typing import Any
import uuid

from minicloud import config
from minicloud import hypervisor
from minicloud import releases
from minicloud import roles
from minicloud import sqlite

#: Modules with the compute drivers that are not Nova's own.
DRIVER_MODULES = {'fake': 'minicloud.virt.fake'}


def make_driver_known(name: str) -> None:
    """Let ``compute_driver = minicloud.X`` be found.

    Nova looks its drivers up under ``nova.virt`` and nowhere else.
    """
    if module := DRIVER_MODULES.get(name):
        sys.modules['nova.virt.minicloud'] = importlib.import_module(module)


def give_identity(context: roles.Context) -> None:
    """Write the node identity without which nova-compute starts only once.

    Its content matters to one host per file only; the driver gives each of
    our hosts an identity of its own.
    """
    path = context.layout.state / 'nova' / 'compute_id'
    if not path.exists():
        # Several processes may be at it: each sees a whole file.
        partial = path.with_name(f'compute_id.{os.getpid()}')
        partial.write_text(str(uuid.uuid4()))
        partial.replace(path)


def prepare_libvirt(context: roles.Context) -> None:
    """Do what Nova's own command does for a real driver, and wait."""
    import nova.conf
    from nova import utils
    import os_brick
    import os_vif
    from oslo_privsep import priv_context

    priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
    os_brick.setup(nova.conf.CONF)
    os_vif.initialize()
    context.wait_for(hypervisor.socket_of(context.layout),
                     'the hypervisor is not ready')


def _cell(number: int) -> Any:
    """Return the mapping of a cell that holds servers.

    :param number: 1 for the first one
    """
    from nova import context as nova_context
    from nova import objects

    mappings = objects.CellMappingList.get_all(
        nova_context.get_admin_context())
    return next(cell for cell in mappings if cell.name == f'cell{number}')


def map_cells(context: roles.Context) -> None:
    """Do what "nova-manage cell_v2 update_cell" does.

    The mappings were made with the broker that the cloud had then, and with
    databases that were not behind gates.
    """
    import nova.conf

    for number in range(1, context.cells + 1):
        cell = _cell(number)
        special = context.special_in_cell(number)
        urls = (
            special.get('DEFAULT', {}).get(
                'transport_url', nova.conf.CONF.transport_url),
            special.get('database', {}).get(
                'connection', nova.conf.CONF.database.connection),
        )
        if (cell.transport_url, cell.database_connection) != urls:
            cell.transport_url, cell.database_connection = urls
            cell.save()


def map_host(host: str, cell: int) -> None:
    """Do what "nova-manage cell_v2 discover_hosts" does, for one host.

    Done before its nova-compute starts, so that no server is refused for
    want of hosts by a cloud that is up.

    :param cell: number of the cell that it is in; 1 for the first one
    """
    from nova import context as nova_context
    from nova import exception
    from nova import objects

    context = nova_context.get_admin_context()
    try:
        objects.HostMapping.get_by_host(context, host)
    except exception.HostMappingNotFound:
        objects.HostMapping(
            context, host=host, cell_mapping=_cell(cell)).create()


def use_conductor() -> None:
    """Do as nova-compute does where it is alone: the database is closed."""
    from nova.conductor import rpcapi
    import nova.conf
    import nova.db.main.api
    from nova.objects import base

    # The nova.conf of a compute host does not have it.
    nova.conf.CONF.set_override('connection', None, group='api_database')
    nova.db.main.api.DISABLE_DB_ACCESS = True
    base.NovaObject.indirection_api = rpcapi.ConductorAPI()


def configure(context: roles.Context) -> None:
    """Read the configuration, as Nova's commands do."""
    from nova import config as nova_config
    import nova.conf
    from nova.db.api import api as api_database
    from nova.db.main import api as main_database
    from oslo_log import log

    files = ['nova.conf']
    if context.cell:
        files.append(config.cell_file(context.cell))
    nova_config.parse_args(
        sys.argv, [context.config(name) for name in files],
        configure_db=False)
    if context.cell and context.role.startswith('conductor'):
        # The nova.conf of a cell's conductor does not have it.
        nova.conf.CONF.set_override('connection', None, group='api_database')
    main_database.configure(nova.conf.CONF)
    api_database.configure(nova.conf.CONF)
    log.setup(nova.conf.CONF, 'nova')


def make_application(context: roles.Context) -> Any:
    """Read the configuration, and return Nova's API."""
    from nova.api.openstack import wsgi_app

    wsgi_app.init_global_data(
        [context.config('nova-api-paste.ini'),
         context.config('nova.conf')], *releases.nova_api_arguments())
    map_cells(context)
    if context.quiesce:
        from nova_quiesce import schema
        # At each start: what an earlier version left is brought up to date.
        schema.sync()
    return wsgi_app.init_application(*releases.nova_api_arguments())


def _import_services(programs: set[str]) -> None:
    """Import Nova, which takes seconds.

    Not the services' managers: these read options while they are imported.
    """
    if 'nova-api' in programs:
        import nova.api.openstack.wsgi_app  # noqa: F401
    import nova.conductor.rpcapi
    import nova.scheduler.rpcapi
    import nova.service  # noqa: F401
    if 'nova-compute' in programs:
        import nova.virt.fake  # noqa: F401
    if 'nova-quiesce' in programs:
        import nova_quiesce.cmd  # noqa: F401


def run(context: roles.Context) -> list[Any]:
    roles.set_environment(
        OS_NOVA_CONFIG_DIR=str(context.layout.etc),
        # In this order: the application is loaded from the first one.
        OS_NOVA_CONFIG_FILES='nova-api-paste.ini;nova.conf',
        MINICLOUD_ROOT=str(context.layout.root))
    programs = {name for name, _host in context.services}
    hosts = {host for _name, host in context.services}
    releases.choose_nova_threads()
    sqlite.prepare_process()
    _import_services(programs)
    import nova.conf
    from nova import objects

    context.wait_for_others()
    application = None
    if 'nova-api' in programs:
        application = make_application(context)
    else:
        configure(context)
    objects.register_all()
    for name, host in context.services:
        if name == 'nova-compute':
            map_host(host, context.cell or 1)
    if programs == {'nova-compute'}:
        use_conductor()
    objects.Service.enable_min_version_cache()
    if len(hosts) == 1:
        nova.conf.CONF.set_override('host', *hosts)
    if 'nova-compute' in programs:
        make_driver_known(context.driver)
        give_identity(context)
        if context.driver == 'libvirt':
            prepare_libvirt(context)
    services: list[Any] = []
    starters = _starters(context, application, services)
    for name, host in context.services:
        starters[name](host)
    return services


def _starters(context: roles.Context, application: Any,
              services: list[Any]) -> dict[str, Callable[[str], None]]:
    """Return what starts a service on a host, by the name of its program.

    :param application: Nova's API
    :param services: what was started is appended
    """
    from nova.conductor import rpcapi as conductor_rpcapi
    import nova.conf
    from nova.scheduler import rpcapi as scheduler_rpcapi
    from nova import service

    def start(made: Any) -> None:
        made.start()
        # Its first report, which Nova sends after 5 s: until then a service
        # that was stopped for a while would count as down.
        made.service_ref.report_count += 1
        made.service_ref.save()
        services.append(made)
        print(f'--- {made.binary} on {made.host} is started', flush=True)

    def start_compute(host: str) -> None:
        # Parts of nova-compute take its name from here, not from Service.
        nova.conf.CONF.set_override('host', host)
        start(service.Service.create(
            binary='nova-compute', host=host, **releases.compute_topics()))

    def start_quiesce(host: str) -> None:
        from nova_quiesce import cmd
        start(cmd.create_service(host))

    return {
        'nova-api': lambda _host: context.serve(
            'compute', application, threads=16),
        'nova-conductor': lambda host: start(service.Service.create(
            binary='nova-conductor', host=host,
            topic=conductor_rpcapi.RPC_TOPIC)),
        'nova-scheduler': lambda host: start(service.Service.create(
            binary='nova-scheduler', host=host,
            topic=scheduler_rpcapi.RPC_TOPIC)),
        'nova-compute': start_compute,
        'nova-quiesce': start_quiesce,
    }
