# SPDX-License-Identifier: Apache-2.0

"""Servers as Debian packages them: present, set up, answering.

Nothing here starts or changes anything. What is set up here keeps to the
directories of the cloud and to 127.0.0.1, needs no root, and shares nothing
with a RabbitMQ, an epmd or a MariaDB that the machine may run: no file, no
port, no variable of the environment. For what Ceph is like, see
:mod:`minicloud.ceph`.
"""

from collections.abc import Collection
from collections.abc import Iterable
import json
import os
import pathlib
import shutil
import socket

from minicloud import ceph
from minicloud import personas
from minicloud.errors import MinicloudError
from minicloud.layout import Layout
from minicloud.layout import SOCKET_PATH_MAX

#: The script itself: what Debian has in the PATH wants to be root.
RABBITMQ = '/usr/lib/rabbitmq/bin/rabbitmq-server'
EPMD = 'epmd'
MARIADB = 'mariadbd'
MARIADB_INSTALL = 'mariadb-install-db'
#: Debian's packages of each choice, and what shows that each is there.
PACKAGES: dict[str, dict[str, tuple[str, ...]]] = {
    'rabbit': {'rabbitmq-server': (RABBITMQ, EPMD)},
    'mariadb': {'mariadb-server': (MARIADB, MARIADB_INSTALL)},
    'ceph': ceph.PACKAGES,
}
#: Where servers are; the PATH of users that are not root may lack some.
PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
#: What an AMQP client says first; RabbitMQ answers with a method frame.
AMQP_HEADER = b'AMQP\0\0\x09\x01'
AMQP_METHOD = b'\x01'
#: The version of the protocol in the greeting of a MariaDB.
MARIADB_PROTOCOL = b'\x0a'
#: seconds for an answer to the question whether a server is there
PATIENCE = 5.0


def missing(names: Collection[str]) -> list[str]:
    """Return Debian's packages that are not there.

    :param names: keys of :data:`PACKAGES`, and others, which need none
    """
    return [package for name in PACKAGES if name in names
            for package, files in PACKAGES[name].items()
            if not all(shutil.which(file, os.F_OK, PATH) for file in files)]


def check(layout: Layout, names: Collection[str]) -> None:
    """Say what is missing, before anything is made.

    :param names: what was chosen as broker, as database and as storage
    :raises MinicloudError: with the command that gets it
    """
    if packages := missing(names):
        raise MinicloudError(
            'programs of this machine are missing; nothing was changed:\n'
            '  apt-get install --no-install-recommends '
            + ' '.join(packages))
    if 'ceph' in names:
        ceph.check()
    if ('mariadb' in names
            and len(str(layout.database_socket)) > SOCKET_PATH_MAX):
        raise MinicloudError(
            f'{layout.database_socket} is longer than the {SOCKET_PATH_MAX} '
            'characters of a Unix socket: choose a shorter --root')


def environment(home: pathlib.Path) -> dict[str, str]:
    """Return an environment without anything of the user's.

    :param home: a directory of the cloud
    """
    return {'PATH': PATH, 'HOME': str(home), 'LC_ALL': 'C.UTF-8'}


def rabbitmq_configuration(layout: Layout, port: int) -> str:
    """Return the content of rabbitmq.conf."""
    return (f'listeners.tcp.1 = 127.0.0.1:{port}\n'
            f'load_definitions = {layout.etc / "rabbitmq.json"}\n'
            'log.console = true\n'
            'log.console.level = info\n'
            'log.file = false\n'
            'vm_memory_high_watermark.absolute = 512MB\n'
            'disk_free_limit.absolute = 50MB\n')


def rabbitmq_definitions(virtual_hosts: Iterable[str]) -> str:
    """Return what RabbitMQ makes if it is not there, at each start.

    :param virtual_hosts: besides the one that is always there
    """
    user = 'guest'
    names = ['/', *virtual_hosts]
    return json.dumps({
        'users': [{'name': user, 'password': user,
                   'tags': 'administrator'}],
        'vhosts': [{'name': name} for name in names],
        'permissions': [{'user': user, 'vhost': name, 'configure': '.*',
                         'write': '.*', 'read': '.*'} for name in names],
    }, indent=1) + '\n'


def rabbitmq_environment(layout: Layout, ports: dict[str, int],
                         ) -> dict[str, str]:
    """Return the environment of RabbitMQ and of its epmd.

    :param ports: those of RabbitMQ, of epmd and between Erlang's nodes, as
        ``broker``, ``broker-epmd`` and ``broker-node``
    """
    home = layout.broker
    return {
        **environment(home),
        'ERL_EPMD_ADDRESS': '127.0.0.1',
        'ERL_EPMD_PORT': str(ports['broker-epmd']),
        'RABBITMQ_NODENAME': 'minicloud@localhost',
        'RABBITMQ_NODE_IP_ADDRESS': '127.0.0.1',
        'RABBITMQ_NODE_PORT': str(ports['broker']),
        'RABBITMQ_DIST_PORT': str(ports['broker-node']),
        'RABBITMQ_CONFIG_FILE': str(layout.etc / 'rabbitmq'),
        # All else that it reads or writes unless it is told otherwise.
        'RABBITMQ_CONFIG_FILES': str(home / 'conf.d' / '*.conf'),
        'RABBITMQ_ADVANCED_CONFIG_FILE': str(home / 'advanced'),
        'RABBITMQ_CONF_ENV_FILE': str(home / 'environment'),
        'RABBITMQ_ENABLED_PLUGINS_FILE': str(home / 'plugins'),
        'RABBITMQ_GENERATED_CONFIG_DIR': str(home / 'generated'),
        'RABBITMQ_MNESIA_BASE': str(home / 'mnesia'),
        'RABBITMQ_PID_FILE': str(home / 'pid'),
        'RABBITMQ_LOG_BASE': str(home / 'log'),
        'RABBITMQ_LOGS': '-',
        'ERL_CRASH_DUMP': str(home / 'erl_crash.dump'),
        # The script then becomes the server instead of starting it; what
        # else the variable allows, -noinput forbids.
        'RABBITMQ_ALLOW_INPUT': '1',
        'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS':
            '-noinput -kernel inet_dist_use_interface {127,0,0,1} '
            '+sbwt none',
    }


def mariadb_configuration(layout: Layout) -> str:
    """Return the content of mariadb.cnf."""
    options: dict[str, object] = {
        'datadir': layout.database_data,
        'socket': layout.database_socket,
        'pid_file': layout.run / 'mariadb.pid',
        'tmpdir': layout.run,
        'skip_networking': 1,
        'skip_log_bin': 1,
        'character_set_server': 'utf8mb3',
        'collation_server': 'utf8mb3_general_ci',
        'max_connections': 1000,
        'performance_schema': 'off',
        'innodb_buffer_pool_size': '256M',
        'innodb_log_file_size': '16M',
        # A commit survives a crash of the server; that of the machine too
        # would cost a write to the disk each time.
        'innodb_flush_log_at_trx_commit': 2,
    }
    if os.geteuid() == 0:
        options['user'] = 'root'
    return '[mariadbd]\n' + ''.join(
        f'{name} = {value}\n' for name, value in options.items())


def mariadb_statements(names: Iterable[str]) -> str:
    """Return what makes the user and the databases if they are not there.

    :param names: of the databases
    """
    user = f"'{personas.DATABASE_USER}'@'localhost'"
    return ''.join(f'{statement};\n' for statement in (
        f"CREATE USER IF NOT EXISTS {user} "
        f"IDENTIFIED BY '{personas.PASSWORD}'",
        f'GRANT ALL ON *.* TO {user}',
        *(f'CREATE DATABASE IF NOT EXISTS {name}' for name in names)))


def rabbitmq_answers(port: int) -> bool:
    """Whether a RabbitMQ is ready for clients there."""
    try:
        with socket.create_connection(('127.0.0.1', port),
                                      PATIENCE) as connection:
            connection.sendall(AMQP_HEADER)
            return connection.recv(1) == AMQP_METHOD
    except OSError:
        return False


def mariadb_answers(path: pathlib.Path) -> bool:
    """Whether a MariaDB is ready for clients there.

    :param path: of its socket
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        try:
            connection.connect(str(path))
            # Four bytes are the length and the number of the packet.
            return connection.recv(5, socket.MSG_WAITALL)[4:] == (
                MARIADB_PROTOCOL)
        except OSError:
            return False
