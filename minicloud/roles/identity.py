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

"""Keystone, Placement and the network stub, in one process."""

from minicloud import network
from minicloud import roles
from minicloud import sqlite


def run(context: roles.Context) -> None:
    roles.set_environment(
        OS_KEYSTONE_CONFIG_DIR=str(context.layout.etc),
        OS_KEYSTONE_CONFIG_FILES='keystone.conf',
        OS_PLACEMENT_CONFIG_DIR=str(context.layout.etc))
    sqlite.immediate_writers()
    from keystone.wsgi import api as keystone
    context.serve('identity', keystone.application)
    from placement.wsgi import api as placement
    context.serve('placement', placement.application)
    context.serve('network', network.application, threads=4)
