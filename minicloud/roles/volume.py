# SPDX-License-Identifier: Apache-2.0

"""Cinder in one process: API, scheduler, volume."""

import sys
import threading
from typing import Any

from minicloud import ceph
from minicloud import releases
from minicloud import roles
from minicloud import sqlite


def run(context: roles.Context) -> list[Any]:
    if context.storage == 'ceph':
        ceph.load_modules()
    releases.choose_cinder_threads()
    sqlite.prepare_process()
    # Registers command-line options: before the command line is parsed.
    from cinder.cmd import volume as volume_command
    from cinder.common import constants
    from cinder import service
    from cinder.wsgi import wsgi
    from oslo_config import cfg

    context.wait_for_others()
    sys.argv = ['cinder', '--config-file', context.config('cinder.conf')]
    application = wsgi.initialize_application()
    context.serve('volume', application, threads=16)
    services: list[Any] = []
    reporting = threading.Lock()

    class Service(service.Service):
        """One of several in this process, where Cinder expects only one.

        Cinder keeps in its class which service reports that it is up.
        """

        def report_state(self) -> None:
            with reporting:
                service.Service.service_id = self.origin_service_id
                super().report_state()

    def start(made: Any) -> None:
        made.start()
        made.report_state()     # at once instead of after 10 s
        services.append(made)
        print(f'--- {made.binary} on {made.host} is started', flush=True)

    start(Service.create(
        binary=constants.SCHEDULER_BINARY, topic=constants.SCHEDULER_TOPIC))
    for backend in cfg.CONF.enabled_backends:
        cfg.CONF.register_opt(volume_command.host_opt, group=backend)
        start(Service.create(
            host=f'{cfg.CONF.host}@{backend}', service_name=backend,
            binary=constants.VOLUME_BINARY, topic=constants.VOLUME_TOPIC,
            coordination=True))
    return services
