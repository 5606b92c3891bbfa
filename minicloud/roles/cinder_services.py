# SPDX-License-Identifier: Apache-2.0

"""Cinder's services in a process of ours, made as its own commands make them.

To be imported after Cinder's threads are chosen.
"""

import threading
from typing import Any

from cinder import service

_reporting = threading.Lock()


class Service(service.Service):    # type: ignore[misc]
    """One of several in this process, where Cinder expects only one.

    Cinder keeps in its class which service reports that it is up.
    """

    def report_state(self) -> None:
        with _reporting:
            service.Service.service_id = self.origin_service_id
            super().report_state()


def start(**how: Any) -> Service:
    """Start one service, and have it report at once instead of after 10 s.

    :param how: what Cinder's ``Service.create`` takes
    """
    made: Service = Service.create(**how)
    made.start()
    made.report_state()
    print(f'--- {made.binary} on {made.host} is started', flush=True)
    return made
