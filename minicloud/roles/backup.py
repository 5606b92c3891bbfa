# SPDX-License-Identifier: Apache-2.0

"""Cinder's backup service, in a process of its own: it can fail alone."""

import shlex
import sys
import time
from typing import Any

from minicloud import ceph
from minicloud import releases
from minicloud import roles
from minicloud import sqlite

#: Seconds for which the store may be silent before the service starts
#: without it, which is then looked for again and again.
PATIENCE = 15.0


def connector_properties(*_args: Any, **_kwargs: Any) -> dict[str, Any]:
    """Return what os-brick would find out about this machine.

    Volumes are files, or reached through librbd: nobody asks for more. To
    find out what initiators there are takes root, and may write below /etc.
    """
    from oslo_config import cfg
    return {'platform': 'x86_64', 'os_type': sys.platform,
            'ip': cfg.CONF.my_ip, 'host': cfg.CONF.host,
            'multipath': False}


def run(context: roles.Context) -> list[Any]:
    if context.storage == 'ceph':
        ceph.load_modules()
    releases.choose_cinder_threads()
    sqlite.prepare_process()
    # Registers options: before the configuration is read.
    from cinder.cmd import backup as command
    from cinder.common import constants
    from cinder import context as cinder_context
    from cinder import objects
    from cinder import utils
    from cinder import version
    from cinder.volume import volume_utils
    import os_brick
    from oslo_config import cfg
    from oslo_log import log
    from oslo_privsep import priv_context

    from minicloud.roles import cinder_services

    context.wait_for_others()
    objects.register_all()
    cfg.CONF(['--config-file', context.config('cinder.conf')],
             project='cinder', version=version.version_string())
    log.set_defaults(default_log_levels=log.get_default_log_levels()
                     + command._EXTRA_DEFAULT_LOG_LEVELS)
    log.setup(cfg.CONF, 'cinder')
    priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
    os_brick.setup(cfg.CONF)
    volume_utils.brick_get_connector_properties = connector_properties
    service = cinder_services.start(
        binary=constants.BACKUP_BINARY, service_name='backup',
        coordination=True, process_number=1,
        semaphore=utils.semaphore_factory(
            cfg.CONF.backup_max_operations, cfg.CONF.backup_workers))
    # The driver looks for its store in a thread. What the scheduler has been
    # told before the store was found, it would be told again in a minute.
    deadline = time.monotonic() + PATIENCE
    while not service.manager.is_working() and time.monotonic() < deadline:
        time.sleep(0.05)
    service.manager.publish_service_capabilities(
        cinder_context.get_admin_context())
    service.report_state()
    return [service]
