# SPDX-License-Identifier: Apache-2.0

"""Cinder but for its backup service, in one process."""

import sys
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
    from cinder.wsgi import wsgi
    from oslo_config import cfg

    from minicloud.roles import cinder_services

    context.wait_for_others()
    sys.argv = ['cinder', '--config-file', context.config('cinder.conf')]
    application = wsgi.initialize_application()
    context.serve('volume', application, threads=16)
    services = [cinder_services.start(
        binary=constants.SCHEDULER_BINARY,
        topic=constants.SCHEDULER_TOPIC)]
    for backend in cfg.CONF.enabled_backends:
        cfg.CONF.register_opt(volume_command.host_opt, group=backend)
        services.append(cinder_services.start(
            host=f'{cfg.CONF.host}@{backend}', service_name=backend,
            binary=constants.VOLUME_BINARY, topic=constants.VOLUME_TOPIC,
            coordination=True))
    return services
