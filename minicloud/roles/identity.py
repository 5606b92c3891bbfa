# SPDX-License-Identifier: Apache-2.0

"""Keystone, Placement and the network stub, in one process."""

from minicloud import network
from minicloud import roles
from minicloud import sqlite


def run(context: roles.Context) -> None:
    roles.set_environment(
        OS_KEYSTONE_CONFIG_DIR=str(context.layout.etc),
        OS_KEYSTONE_CONFIG_FILES='keystone.conf',
        OS_PLACEMENT_CONFIG_DIR=str(context.layout.etc))
    sqlite.prepare_process()
    from keystone.wsgi import api as keystone
    context.serve('identity', keystone.application)
    from placement.wsgi import api as placement
    context.serve('placement', placement.application)
    context.serve('network', network.application, threads=4)
