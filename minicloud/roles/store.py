# SPDX-License-Identifier: Apache-2.0

"""Swift in one process: the proxy, and one each of the servers behind it.

There are one replica and one device, which is a directory. Swift's daemons
(replicator, auditor, updater) are not started.
"""

import os
import socket
import time
from typing import Any
import urllib.request

from minicloud import ports
from minicloud import roles
from minicloud import swift

DEVICE = 'one'


def run(context: roles.Context) -> list[Any]:
    from swift.common import utils
    utils.monkey_patch()
    from swift.common.utils import logs

    # Else it goes to the log of the system.
    logs.get_swift_logger.console_handler4logger = {}
    utils.set_swift_dir(str(context.layout.etc))
    utils.FALLOCATE_RESERVE = 0
    os.environ['TZ'] = 'UTC+0'
    time.tzset()
    (context.layout.state / 'devices' / DEVICE).mkdir(
        parents=True, exist_ok=True)
    numbers = {name: held.getsockname()[1]
               for name, held in context.sockets.items()}
    for server in swift.SERVERS:
        if server != 'proxy':
            _make_ring(context, server, numbers[swift.service(server)])
    served = [_serve(context, server) for server in swift.SERVERS]
    _make_containers(numbers['store'])
    return served


def _make_ring(context: roles.Context, server: str, port: int) -> None:
    """Write down where the only server of its kind is."""
    from swift.common.ring import RingBuilder
    builder = RingBuilder(part_power=4, replicas=1, min_part_hours=0)
    builder.add_dev({
        'region': 1, 'zone': 1, 'device': DEVICE, 'weight': 1.0, 'meta': '',
        'ip': ports.ADDRESS, 'port': port,
        'replication_ip': ports.ADDRESS, 'replication_port': port})
    builder.rebalance()
    builder.get_ring().save(str(context.layout.etc / f'{server}.ring.gz'))


def _serve(context: roles.Context, server: str) -> Any:
    import eventlet
    from swift.common import wsgi
    held = context.sockets[swift.service(server)]
    # The class of that name is eventlet's by now.
    held = socket.socket(fileno=held.detach())
    application = wsgi.loadapp(
        context.config(swift.configuration(server)), {'log_name': server})
    print(f'--- {server} listens on port {held.getsockname()[1]}',
          flush=True)
    return eventlet.spawn(
        eventlet.wsgi.server, held, application, wsgi.NullLogger(),
        protocol=wsgi.SwiftHttpProtocol, socket_timeout=120,
        # S3's clients look at them.
        capitalize_response_headers=False,
        url_length_limit=wsgi.constraints.MAX_REQUEST_LINE)


def _make_containers(port: int) -> None:
    """Make the containers, as their owner, with who may use them."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(
            f'http://{ports.ADDRESS}:{port}/auth/v1.0',
            headers={'X-Auth-User': swift.USERS['owner'],
                     'X-Auth-Key': swift.PASSWORD})) as answer:
        url = answer.headers['X-Storage-Url']
        token = answer.headers['X-Auth-Token']
    for container, lists in swift.LISTS.items():
        opener.open(urllib.request.Request(
            f'{url}/{container}', method='PUT',
            headers={'X-Auth-Token': token, **lists})).close()
