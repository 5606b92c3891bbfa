# SPDX-License-Identifier: Apache-2.0

"""The sweep, with ten thousand servers of which some are frozen.

``python -m benchmarks.rows NOVA_CONF SERVERS FROZEN`` makes the rows in
Nova's databases of a cloud that is about to be thrown away, and prints as JSON
what one sweep of a cell costs, and one look for what is due: the rows that
the databases have read, and how they found them. The database is MariaDB.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import datetime
import json
import sys
from typing import Any
import uuid

from nova import config
from nova import context as nova_context
from nova.db.main import api
from nova.db.main import models
from nova import objects
from oslo_utils import timeutils
import sqlalchemy as sa

from benchmarks import measure

objects.register_all()  # which modules of nova_quiesce need

from nova_quiesce import schema  # noqa: E402
from nova_quiesce import states  # noqa: E402
from nova_quiesce import store  # noqa: E402
from nova_quiesce import sweep  # noqa: E402

INSTANCE_TABLE = models.Instance.__table__
REPEATS = 5
CELL = 'c' * 36


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


def main(nova_conf: str, servers: int, frozen: int) -> dict[str, Any]:
    config.parse_args(['benchmark', '--config-file', nova_conf])
    context = nova_context.get_admin_context()
    schema.sync()
    engines = [api.get_engine(), schema.engine()]
    freezes = store.Store('benchmark')
    found: dict[str, Any] = {}

    def measured(name: str, look: Callable[[], object]) -> None:
        seconds, rows, plan = [], [], []
        look()
        for _number in range(REPEATS):
            # Twice, since the probe takes time.
            seconds.append(measure.seconds(look))
            with contextlib.ExitStack() as stack:
                probes = [stack.enter_context(Probe(engine))
                          for engine in engines]
                look()
            rows.append(sum(probe.rows for probe in probes))
            plan = [row for probe in probes for row in probe.plan]
        found[name] = {'seconds': seconds, 'rows': rows, 'plan': plan}

    def sweep_once() -> None:
        sweep.Sweep('benchmark', freezes).run(context, CELL)

    uuids = _make_rows(engines[0], servers)
    measured('none frozen', sweep_once)
    measured('none due', lambda: freezes.due(100))
    _freeze(engines, uuids[::servers // frozen])
    measured('frozen', sweep_once)
    measured('frozen, none due', lambda: freezes.due(100))
    return found


def _make_rows(engine: Any, servers: int) -> list[str]:
    """Make servers as they are a day after they were created."""
    yesterday = timeutils.utcnow() - datetime.timedelta(days=1)
    uuids = [str(uuid.uuid4()) for _number in range(servers)]
    with engine.begin() as connection:
        connection.execute(sa.insert(INSTANCE_TABLE), [
            {'uuid': each, 'project_id': 'p' * 32, 'user_id': 'u' * 32,
             'vm_state': 'active', 'host': 'compute1', 'deleted': 0,
             'created_at': yesterday, 'updated_at': yesterday}
            for each in uuids])
    return uuids


def _freeze(engines: list[Any], wanted: list[str]) -> None:
    """Make rows of servers that are quiesced for long."""
    with engines[0].begin() as connection:
        connection.execute(
            sa.update(INSTANCE_TABLE)
            .where(INSTANCE_TABLE.c.uuid.in_(wanted))
            .values(vm_state=states.QUIESCED))
    with engines[1].begin() as connection:
        connection.execute(sa.insert(schema.FREEZES), [
            {'instance_uuid': each, 'cell_uuid': CELL, 'thaws': 0,
             'attempts': 0, 'request_id': 'req-' + each,
             'unquiesce_after': 0, 'requested_at': 0.0,
             'state': store.State.FROZEN.value}
            for each in wanted])


if __name__ == '__main__':
    print(json.dumps(
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])), default=str))
