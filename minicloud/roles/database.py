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
