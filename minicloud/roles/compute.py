#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""Nova in one process: API, conductor, scheduler, computes, nova-quiesce.

They share a process because the in-memory message bus does not reach
further. Each service is made the way Nova's own commands make it.
"""

import importlib
import shlex
import sys
from typing import Any
import uuid

from minicloud import hypervisor
from minicloud import roles
from minicloud import sqlite

#: Modules with the compute drivers that are not Nova's own.
DRIVER_MODULES = {'fake': 'minicloud.virt.fake'}
CONTROLLER = 'controller'


def compute_host(number: int) -> str:
    """Return the host name of the n-th nova-compute, counted from 1."""
    return f'compute{number}'


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
        path.write_text(str(uuid.uuid4()))


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


def run(context: roles.Context) -> list[Any]:
    roles.set_environment(
        OS_NOVA_CONFIG_DIR=str(context.layout.etc),
        # In this order: the application is loaded from the first one.
        OS_NOVA_CONFIG_FILES='nova-api-paste.ini;nova.conf',
        OS_NOVA_DISABLE_EVENTLET_PATCHING='1',
        MINICLOUD_ROOT=str(context.layout.root))
    from nova import monkey_patch
    monkey_patch.patch(backend='threading')
    sqlite.immediate_writers()
    from nova.api.openstack import wsgi_app
    from nova.compute import rpcapi as compute_rpcapi
    from nova.conductor import rpcapi as conductor_rpcapi
    import nova.conf
    from nova import context as nova_context
    from nova import objects
    from nova.objects import host_mapping
    from nova.scheduler import rpcapi as scheduler_rpcapi
    from nova import service
    import nova.virt.fake  # noqa: F401  slow to import: before the wait

    context.wait_for_catalog()
    application = wsgi_app.init_application('osapi_compute', 'nova-api')
    objects.register_all()
    objects.Service.enable_min_version_cache()
    context.serve('compute', application, threads=16)
    services: list[Any] = []

    def start(made: Any) -> None:
        made.start()
        # Its first report, which Nova sends after 5 s: until then a service
        # that was stopped for a while would count as down.
        made.service_ref.report_count += 1
        made.service_ref.save()
        services.append(made)
        print(f'--- {made.binary} on {made.host} is started', flush=True)

    start(service.Service.create(
        binary='nova-conductor', host=CONTROLLER,
        topic=conductor_rpcapi.RPC_TOPIC))
    start(service.Service.create(
        binary='nova-scheduler', host=CONTROLLER,
        topic=scheduler_rpcapi.RPC_TOPIC))
    make_driver_known(context.driver)
    give_identity(context)
    if context.driver == 'libvirt':
        prepare_libvirt(context)
    for number in range(1, context.computes + 1):
        host = compute_host(number)
        # Parts of nova-compute take its name from here, not from Service.
        nova.conf.CONF.set_override('host', host)
        start(service.Service.create(
            binary='nova-compute', host=host,
            topic=compute_rpcapi.RPC_TOPIC,
            topic_alt=compute_rpcapi.RPC_TOPIC_ALT))
    if context.quiesce:
        from nova_quiesce import cmd
        start(cmd.create_service(CONTROLLER))
    # What "nova-manage cell_v2 discover_hosts" does.
    host_mapping.discover_hosts(nova_context.get_admin_context())
    return services
