# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""The deadline sweep, with ten thousand servers of which some are marked.

``python -m benchmarks.rows NOVA_CONF SERVERS MARKED`` makes the rows in
Nova's database of a cloud that is about to be thrown away, and prints as JSON
what one look costs: the first one of a service, and one later; the rows that
the database has read, and how it found them. The database is MariaDB.
"""

from __future__ import annotations

from collections.abc import Sequence
import copy
import datetime
import functools
import json
import sys
from typing import Any
import uuid

from nova.compute import vm_states
from nova import config
from nova import context as nova_context
from nova.db.main import api
from nova.db.main import models
from nova import objects
from oslo_utils import timeutils
import sqlalchemy as sa

from benchmarks import measure

objects.register_all()  # which modules of nova_quiesce need

from nova_quiesce import lookout  # noqa: E402
from nova_quiesce import marks  # noqa: E402
from nova_quiesce import states  # noqa: E402

INSTANCE_TABLE = models.Instance.__table__
METADATA_TABLE = models.InstanceSystemMetadata.__table__
REPEATS = 5
#: rows of system metadata that a server has; measured with a flavor and an
#: image with few properties
METADATA = 25


class Probe:
    """Counts the rows that MariaDB reads for the statements of a process.

    :param engine: of SQLAlchemy
    :ivar plan: how it finds them, one entry for each table of a statement
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.rows = 0
        self.plan: list[dict[str, Any]] = []

    def __enter__(self) -> Probe:
        sa.event.listen(self._engine, 'before_cursor_execute', self._before)
        sa.event.listen(self._engine, 'after_cursor_execute', self._after)
        return self

    def __exit__(self, *_exc: object) -> None:
        sa.event.remove(self._engine, 'before_cursor_execute', self._before)
        sa.event.remove(self._engine, 'after_cursor_execute', self._after)

    def _before(self, connection: Any, *_rest: Any) -> None:
        connection.info['rows read'] = self._read(connection)

    def _after(self, connection: Any, _cursor: Any, statement: str,
               parameters: Any, *_rest: Any) -> None:
        self.rows += self._read(connection) - connection.info['rows read']
        if statement.startswith('SELECT'):
            cursor = connection.connection.cursor()
            cursor.execute(f'EXPLAIN {statement}', parameters)
            names = [column[0] for column in cursor.description]
            self.plan += [dict(zip(names, row)) for row in cursor.fetchall()]

    @staticmethod
    def _read(connection: Any) -> int:
        cursor = connection.connection.cursor()
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return sum(int(value) for _name, value in cursor.fetchall())


def main(nova_conf: str, servers: int, marked: int) -> dict[str, Any]:
    config.parse_args(['benchmark', '--config-file', nova_conf])
    context = nova_context.get_admin_context()
    engine = api.get_engine()
    found: dict[str, Any] = {}

    def measured(name: str, lookouts: Sequence[lookout.Lookout]) -> None:
        seconds, rows = [], []
        for eye in lookouts:
            # Twice, since the probe takes time; a copy sees the same.
            twin = copy.deepcopy(eye)
            seconds.append(
                measure.seconds(functools.partial(eye.look, context)))
            with Probe(engine) as probe:
                twin.look(context)
            rows.append(probe.rows)
        found[name] = {
            'seconds': seconds, 'rows': rows, 'plan': probe.plan}

    with engine.begin() as connection:
        _make_rows(connection, servers, marked)
    measured('first', [lookout.Lookout() for _number in range(REPEATS)])
    eye = lookout.Lookout()
    eye.look(context)
    measured('later', [eye] * REPEATS)
    with engine.begin() as connection:
        connection.execute(sa.delete(METADATA_TABLE).where(
            METADATA_TABLE.c.key == marks.KEY))
        connection.execute(
            sa.update(INSTANCE_TABLE)
            .where(INSTANCE_TABLE.c.vm_state == states.QUIESCED)
            # Long ago: this is not to be a look at what has just changed.
            .values(vm_state=vm_states.ACTIVE,
                    updated_at=INSTANCE_TABLE.c.updated_at))
    eye.look(context)
    measured('later, none marked', [eye] * REPEATS)
    return found


def _make_rows(connection: Any, servers: int, marked: int) -> None:
    """Make servers as they are a day after they were created."""
    yesterday = timeutils.utcnow() - datetime.timedelta(days=1)
    uuids = [str(uuid.uuid4()) for _number in range(servers)]
    connection.execute(sa.insert(INSTANCE_TABLE), [
        {'uuid': each, 'project_id': 'p' * 32, 'user_id': 'u' * 32,
         'vm_state': 'active', 'host': 'compute1', 'deleted': 0,
         'created_at': yesterday, 'updated_at': yesterday}
        for each in uuids])
    mark = marks.as_text(marks.Mark(request_id=f'req-{uuids[0]}'))
    # A server that is quiesced for long: its deadline is far away.
    wanted = uuids[::servers // marked]
    connection.execute(
        sa.update(INSTANCE_TABLE)
        .where(INSTANCE_TABLE.c.uuid.in_(wanted))
        .values(vm_state=states.QUIESCED))
    # The servers of the cloud, too: nobody has touched them lately.
    connection.execute(
        sa.update(INSTANCE_TABLE).values(updated_at=yesterday))
    connection.execute(sa.insert(METADATA_TABLE), [
        {'instance_uuid': each, 'key': f'image_key_{number}', 'value': 'v',
         'deleted': 0}
        for each in uuids for number in range(METADATA)
    ] + [{'instance_uuid': each, 'key': marks.KEY, 'value': mark,
          'deleted': 0} for each in wanted])


if __name__ == '__main__':
    print(json.dumps(
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])), default=str))
