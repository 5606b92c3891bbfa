# SPDX-License-Identifier: Apache-2.0

"""SQLite for services with many threads.

To open a database costs more than most queries do, and oslo.db opens one for
each transaction. Here connections are kept.

oslo.db begins each transaction as a deferred one. One that reads first and
writes later then fails at once with "database is locked" if another one has
committed in between; no timeout applies. Here writers take the write lock
at their beginning (BEGIN IMMEDIATE), where the timeout of the connection
does apply, and readers stay on their snapshot of the write-ahead log.

Where eventlet has the threads, one that waited in SQLite would stop the one
that has the lock: both would stand still until the timeout. There writers wait
outside of SQLite.
"""

import contextlib
import pathlib
import sqlite3
import sys
import time
from typing import Any

#: seconds to wait for the write lock, as in the URLs of the databases
_PATIENCE = 60


def create(path: pathlib.Path) -> None:
    """Make an empty database with a write-ahead log."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute('PRAGMA journal_mode=WAL')


def copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copy a database, consistently even while it is in use."""
    with contextlib.closing(sqlite3.connect(source, timeout=60)) as old:
        with contextlib.closing(sqlite3.connect(target)) as new:
            old.backup(new)


def prepare_process() -> None:
    """Make oslo.db in this process fit for SQLite with many threads."""
    _keep_connections()
    _immediate_writers()


def _keep_connections() -> None:
    import sqlalchemy
    from sqlalchemy import event
    from sqlalchemy import pool

    create_engine = sqlalchemy.create_engine

    def pooled(url: Any, **options: Any) -> Any:
        keeps = options.get('poolclass') is pool.NullPool and str(
            url).startswith('sqlite')
        if keeps:
            options.update(
                poolclass=pool.QueuePool, pool_size=5, max_overflow=-1)
        engine = create_engine(url, **options)
        if keeps:
            event.listen(engine, 'checkin', _forget_transaction)
        return engine

    sqlalchemy.create_engine = pooled


def _forget_transaction(_connection: Any, record: Any) -> None:
    """Remove oslo.db's mark of a transaction; there is none any more."""
    record.info.pop('in_transaction', None)


def _immediate_writers() -> None:
    """Make oslo.db's writers in this process begin with the write lock."""
    from oslo_db.sqlalchemy import enginefacade
    import sqlalchemy
    from sqlalchemy import event

    factory = enginefacade._TransactionFactory
    create_session = factory._create_session

    def marked(self: Any, mode: Any, bind: Any = None) -> Any:
        if not self._started:
            self._start()
        if mode is enginefacade._WRITER:
            engine = bind if bind is not None else self._writer_engine
            if engine.dialect.name == 'sqlite':
                bind = engine.execution_options(minicloud_writer=True)
        return create_session(self, mode, bind)

    factory._create_session = marked

    @event.listens_for(sqlalchemy.engine.Engine, 'before_cursor_execute',
                       retval=True)
    def begin(conn: Any, cursor: Any, statement: str, parameters: Any,
              context: Any, executemany: bool) -> tuple[str, Any]:
        if (statement == 'BEGIN'
                and conn.get_execution_options().get('minicloud_writer')):
            statement = _begin(cursor) if _is_green() else 'BEGIN IMMEDIATE'
        return statement, parameters


def _is_green() -> bool:
    """Return whether eventlet has the threads of this process."""
    patcher = sys.modules.get('eventlet.patcher')
    return patcher is not None and patcher.is_monkey_patched('time')


def _begin(cursor: Any) -> str:
    """Begin a transaction; return the statement that is left to execute."""
    end = time.monotonic() + _PATIENCE
    cursor.execute('PRAGMA busy_timeout = 0')
    try:
        while time.monotonic() < end:
            try:
                cursor.execute('BEGIN IMMEDIATE')
                return 'SELECT 1'
            except sqlite3.OperationalError as exc:
                if 'locked' not in str(exc):
                    break
                time.sleep(0.01)  # that of eventlet
        return 'BEGIN IMMEDIATE'
    finally:
        cursor.execute(f'PRAGMA busy_timeout = {1000 * _PATIENCE}')
