# SPDX-License-Identifier: Apache-2.0

"""Glance, in one process."""

from minicloud import roles
from minicloud import sqlite


def run(context: roles.Context) -> None:
    roles.set_environment(
        OS_GLANCE_CONFIG_DIR=str(context.layout.etc),
        OS_GLANCE_CONFIG_FILES='glance-api.conf',
        OS_GLANCE_DISABLE_EVENTLET_PATCHING='1')
    sqlite.prepare_process()
    from glance.wsgi import api as glance
    context.serve('image', glance.application)
