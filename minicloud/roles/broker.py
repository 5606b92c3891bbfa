# SPDX-License-Identifier: Apache-2.0

"""RabbitMQ, with an epmd of its own.

Erlang's epmd tells nodes where others are. RabbitMQ needs one, and would
start one for the whole machine that nobody ends.
"""

import shutil

from minicloud import roles
from minicloud import servers
from minicloud.roles.program import Programs


def run(context: roles.Context) -> None:
    ports = {name: held.getsockname()[1]
             for name, held in context.sockets.items()}
    programs = Programs(
        context, servers.rabbitmq_environment(context.layout, ports))
    home = context.layout.broker
    started = home / 'started'
    if not started.exists():
        # A first start that was interrupted leaves half a database.
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        (home / 'environment').touch()
        (home / 'plugins').write_text('[].\n')
    # They were held for it, which does not take them open.
    for held in context.sockets.values():
        held.close()
    programs.start(servers.EPMD, '-address', '127.0.0.1',
                   '-port', str(ports['broker-epmd']))
    programs.serve('RabbitMQ', programs.start(servers.RABBITMQ),
                   lambda: servers.rabbitmq_answers(ports['broker']))
    started.touch()
