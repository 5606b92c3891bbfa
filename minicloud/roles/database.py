# SPDX-License-Identifier: Apache-2.0

"""MariaDB, with the databases of all services, empty at first."""

import shutil

from minicloud import roles
from minicloud import servers
from minicloud.roles.program import Programs


def _install(context: roles.Context, programs: Programs) -> None:
    """Make MariaDB's own tables."""
    data = context.layout.database_data
    partial = data.with_name(f'{data.name}.partial')
    shutil.rmtree(partial, ignore_errors=True)
    programs.run(
        servers.MARIADB_INSTALL,
        f'--defaults-file={context.config("mariadb.cnf")}',
        f'--datadir={partial}', '--skip-test-db',
        '--auth-root-authentication-method=socket')
    partial.rename(data)


def run(context: roles.Context) -> None:
    layout = context.layout
    programs = Programs(context, servers.environment(layout.state))
    if not layout.database_data.exists():
        _install(context, programs)
    layout.database_socket.unlink(missing_ok=True)
    process = programs.start(
        servers.MARIADB, f'--defaults-file={context.config("mariadb.cnf")}',
        f'--init-file={context.config("mariadb.sql")}')
    programs.serve('MariaDB', process,
                   lambda: servers.mariadb_answers(layout.database_socket))
