# SPDX-License-Identifier: Apache-2.0

"""The tables of nova_quiesce: where they are, and which version they have.

What a deadlock has rolled back is repeated here for all databases.

This module must never read or write a row.
"""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import alembic.command
import alembic.config
import alembic.migration
import alembic.script
import sqlalchemy as sa
import sqlalchemy.exc
import tenacity
from nova.db.api import api as api_database
from oslo_db import exception as db_exception
from oslo_db.sqlalchemy import enginefacade
from oslo_log import log as logging
from sqlalchemy.ext import compiler
from sqlalchemy.sql import expression

from nova_quiesce import conf
from nova_quiesce import exceptions
from nova_quiesce import times

CONF = conf.CONF
LOG = logging.getLogger(__name__)

MIGRATIONS = pathlib.Path(__file__).with_name('migrations')
VERSION_TABLE = 'quiesce_alembic_version'

metadata = sa.MetaData()
_uuid, _id = sa.String(36), sa.String(255)

#: :class:`nova_quiesce.store.Freeze` tells what the columns mean.
FREEZES = sa.Table(
    'quiesce_freezes', metadata,
    sa.Column('instance_uuid', _uuid, primary_key=True),
    sa.Column('cell_uuid', _uuid, nullable=False),
    sa.Column('project_id', _id, index=True),
    sa.Column('user_id', _id),
    sa.Column('server_name', _id),
    sa.Column('host', _id),
    sa.Column('request_id', _id, nullable=False),
    sa.Column('unquiesce_request_id', _id),
    sa.Column('state', sa.String(16), nullable=False),
    sa.Column('owner', _id),
    sa.Column('due_at', sa.Double, index=True),
    sa.Column('unquiesce_after', sa.Integer, nullable=False),
    sa.Column('requested_at', sa.Double, nullable=False),
    sa.Column('frozen_at', sa.Double),
    sa.Column('thaws', sa.Integer, nullable=False),
    sa.Column('attempts', sa.Integer, nullable=False),
    sa.Column('error', sa.Text),
    mysql_charset='utf8')

#: Requests that have arrived, or were withdrawn before they did (whichever
#: comes first writes the row), and what the thaw has told of the freeze.
REQUESTS = sa.Table(
    'quiesce_requests', metadata,
    sa.Column('instance_uuid', _uuid, primary_key=True),
    sa.Column('request_id', _id, primary_key=True, index=True),
    sa.Column('project_id', _id),
    sa.Column('fate', sa.String(16), nullable=False),
    sa.Column('created_at', sa.Double, nullable=False, index=True),
    mysql_charset='utf8')

#: When each service last swept each cell to the end.  A row with an empty
#: ``cell_uuid`` is its heartbeat: when it was last up.
SWEEPS = sa.Table(
    'quiesce_sweeps', metadata,
    sa.Column('host', _id, primary_key=True),
    sa.Column('cell_uuid', _uuid, primary_key=True),
    sa.Column('swept_at', sa.Double, nullable=False),
    sa.Column('details', sa.Text),
    mysql_charset='utf8')


class now(expression.FunctionElement[float]):
    """The clock of the database, in seconds since 1970."""

    type = sa.Double()
    inherit_cache = True


@compiler.compiles(now, 'sqlite')
def _sqlite(element: now, compiler: Any, **kwargs: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiler.compiles(now, 'mysql')
@compiler.compiles(now, 'mariadb')
def _mysql(element: now, compiler: Any, **kwargs: Any) -> str:
    # Not UNIX_TIMESTAMP(NOW()), which jumps with summer time.
    return ("(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"
            ' / 1000000.0)')


@compiler.compiles(now, 'postgresql')
def _postgresql(element: now, compiler: Any, **kwargs: Any) -> str:
    return '(EXTRACT(EPOCH FROM clock_timestamp())::double precision)'


@functools.cache
def _own_database(connection: str) -> Any:
    database = enginefacade.transaction_context()
    database.configure(
        **{**dict(CONF.api_database.items()), 'connection': connection})
    return database


def facade() -> Any:
    """Return Nova's API database, or the one that was configured."""
    connection = CONF.quiesce.connection
    return (_own_database(connection) if connection
            else api_database.context_manager)


def engine() -> sa.Engine:
    """Return the engine of the database that holds the table."""
    found: sa.Engine = facade().writer.get_engine()
    return found


#: What a transaction raises that a deadlock or a lock has rolled back: the
#: second if a function of Nova has repeated it in vain inside.
ROLLED_BACK = (db_exception.DBDeadlock, sqlalchemy.exc.PendingRollbackError)


def retried(function: Callable[..., Any]) -> Any:
    """Repeat for some seconds what a deadlock or a lock has rolled back."""
    return tenacity.retry(
        retry=tenacity.retry_if_exception_type(ROLLED_BACK),
        stop=tenacity.stop_after_delay(times.RETRY_TIME),
        wait=tenacity.wait_exponential(multiplier=0.05, max=0.5),
        reraise=True)(function)


def insistent(function: Callable[..., Any]) -> Any:
    """Repeat a statement until it succeeds, however long that takes.

    For what has no second chance: without it a guest stays frozen, or a broken
    freeze counts.
    """
    return tenacity.retry(
        wait=tenacity.wait_exponential(multiplier=0.05, max=times.WAIT_PAUSE),
        before_sleep=lambda state: LOG.warning(
            'A statement failed on which a thaw depends; it is repeated: %s',
            state.outcome and state.outcome.exception()))(function)


def _alembic_config() -> alembic.config.Config:
    config = alembic.config.Config()
    config.set_main_option('script_location', str(MIGRATIONS))
    return config


def sync() -> None:
    """Create the tables, or bring them up to date; can be repeated."""
    config = _alembic_config()
    with engine().begin() as connection:
        config.attributes['connection'] = connection
        alembic.command.upgrade(config, 'head')


def versions() -> tuple[str | None, str]:
    """Return the version of the schema that is there, and the newest one."""
    with engine().connect() as connection:
        context = alembic.migration.MigrationContext.configure(
            connection, opts={'version_table': VERSION_TABLE})
        found = context.get_current_revision()
    head = alembic.script.ScriptDirectory.from_config(
        _alembic_config()).get_current_head()
    assert head is not None
    return found, head


def check() -> None:
    """Check that the tables are there, and those of this version.

    :raises SchemaMissing: if they are not; says what to run
    """
    found, wanted = versions()
    if found != wanted:
        raise exceptions.SchemaMissing(found=found or 'none', wanted=wanted)
