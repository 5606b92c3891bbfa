# SPDX-License-Identifier: Apache-2.0

"""Neutron's server; it has no agents, see ``minicloud.virt.network``."""

import pathlib
import sys

from minicloud import releases
from minicloud import roles
from minicloud import sqlite

#: The entry points by which Neutron finds our mechanism drivers.
PLUGINS = pathlib.Path(__file__).parent.parent / 'plugins'


def run(context: roles.Context) -> None:
    roles.set_environment(
        OS_NEUTRON_CONFIG_DIR=str(context.layout.etc),
        OS_NEUTRON_CONFIG_FILES='neutron.conf',
        MINICLOUD_ROOT=str(context.layout.root))
    sys.path.append(str(PLUGINS))
    releases.choose_neutron_threads()
    sqlite.prepare_process()
    from neutron.wsgi import api as neutron
    context.serve('neutron', neutron.application, threads=16)
