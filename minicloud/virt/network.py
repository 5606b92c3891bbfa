# SPDX-License-Identifier: Apache-2.0

"""Mechanism drivers of ML2 that need no agents, for a cloud on one machine.

With both, a port is bound to whatever host it is to be on, as ``tap``: that
is what Nova takes without a program of its own for it. Security groups are
kept, and nothing enforces them.
"""

import os
import threading
import time
from typing import Any

from neutron.db import provisioning_blocks
from neutron_lib.api.definitions import portbindings
from neutron_lib.callbacks import resources
from neutron_lib import constants
from neutron_lib import context as neutron_context
from neutron_lib.plugins.ml2 import api
from oslo_log import log

from minicloud import devices
from minicloud.layout import Layout

LOG = log.getLogger(__name__)

#: seconds after which the taps are looked at even if no change was told
INTERVAL = 5.0


def _complete(context: Any, port_id: str) -> None:
    """Make a port active, as an agent does when it is done with it."""
    provisioning_blocks.provisioning_complete(
        context, port_id, resources.PORT,
        provisioning_blocks.L2_AGENT_ENTITY)


class MechanismDriver(api.MechanismDriver):     # type: ignore[misc]
    """For the fake hypervisor: a port is active as soon as it is bound."""

    #: of a port that has just been bound; None leaves it
    status: str | None = constants.PORT_STATUS_ACTIVE

    def initialize(self) -> None:
        """Do nothing: there is nothing to be ready for."""

    @property
    def connectivity(self) -> str:
        return str(portbindings.CONNECTIVITY_L2)

    def bind_port(self, context: Any) -> None:
        context.set_binding(
            context.segments_to_bind[0][api.ID], portbindings.VIF_TYPE_TAP,
            {portbindings.CAP_PORT_FILTER: False,
             portbindings.VIF_DETAILS_CONNECTIVITY: self.connectivity},
            status=self.status)

    def update_port_postcommit(self, context: Any) -> None:
        # A live migration ends with another binding, which exists already.
        if (context.status == constants.PORT_STATUS_DOWN
                and context.vif_type == portbindings.VIF_TYPE_TAP):
            _complete(context.plugin_context, context.current['id'])


class BridgeMechanismDriver(MechanismDriver):
    """For real guests: a port is active when its tap is in a bridge.

    Nova starts a guest only when that has been told.
    """

    status = None

    def initialize(self) -> None:
        self._layout = Layout.of(os.environ['MINICLOUD_ROOT'])
        threading.Thread(target=self._watch, name='taps',
                         daemon=True).start()

    def bind_port(self, context: Any) -> None:
        # Before Nova is told, so before there is a tap.
        devices.expect(self._layout, context.current['id'],
                       context.current['network_id'])
        super().bind_port(context)

    def create_port_precommit(self, context: Any) -> None:
        # Else it would be active as soon as nobody else has work to do.
        if context.host and (context.current['status']
                             != constants.PORT_STATUS_ACTIVE):
            provisioning_blocks.add_provisioning_component(
                context.plugin_context, context.current['id'],
                resources.PORT, provisioning_blocks.L2_AGENT_ENTITY)

    def update_port_precommit(self, context: Any) -> None:
        if context.host != context.original_host:
            self.create_port_precommit(context)

    def update_port_postcommit(self, context: Any) -> None:
        """Do nothing: the tap decides."""

    def _watch(self) -> None:
        changes = devices.Changes()
        seen: dict[str, str] = {}
        while True:
            try:
                seen = self._look(seen)
                devices.remove_empty_bridges(self._layout)
            except Exception:
                LOG.exception('The network devices are looked at again')
                time.sleep(1)
            changes.wait(INTERVAL)

    def _look(self, seen: dict[str, str]) -> dict[str, str]:
        """Connect the taps that are new.

        :param seen: what this returned last
        :return: the taps that need no more care
        """
        done: dict[str, str] = {}
        for tap, number in devices.taps().items():
            if seen.get(tap) != number:
                try:
                    port = devices.connect(self._layout, tap)
                    if port:
                        _complete(neutron_context.get_admin_context(), port)
                        LOG.info('%s is in its bridge', tap)
                except Exception:
                    # Nova may have deleted it meanwhile.
                    if devices.taps().get(tap) == number:
                        LOG.exception('%s is not in its bridge', tap)
                    continue
            done[tap] = number
        return done
