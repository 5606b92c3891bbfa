# SPDX-License-Identifier: Apache-2.0

"""The table of freezes: which guests may be frozen, and whose turn it is.

A row is both the work item and the lease.  It is committed before a freeze is
sent, only nova_quiesce writes it, and it goes only after a confirmed
thaw, or when it is certain that nothing was frozen or that there is no guest.
A lease is set when a step begins, and never renewed: the step ends within it.
Who may act on a row is decided by one statement (:meth:`Store.take`) against
the database's own clock.

This module must never decide what must be done, and never touch the tables of
Nova.
"""

import dataclasses
import enum
import uuid as uuidlib
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exception
from oslo_db.sqlalchemy import enginefacade

from nova_quiesce import exceptions
from nova_quiesce import schema
from nova_quiesce import times

FREEZES, REQUESTS, SWEEPS = schema.FREEZES, schema.REQUESTS, schema.SWEEPS
now = schema.now


class State(enum.StrEnum):
    """What is known of a guest that has a row."""

    #: a freeze was asked for, and none was sent
    ASKED = 'asked'
    #: a freeze may be under way to the guest
    FREEZING = 'freezing'
    #: the guest is frozen
    FROZEN = 'frozen'
    #: the guest may be frozen, and a thaw is wanted: the next one that
    #: succeeds is the last, since no freeze can follow it
    THAWING = 'thawing'


class Fate(enum.StrEnum):
    """What has become of a request to quiesce."""

    #: it has arrived; its server may have a row
    ARRIVED = 'arrived'
    #: it was withdrawn before it arrived
    WITHDRAWN = 'withdrawn'
    #: its guest is thawed, and was frozen until that thaw as far as it tells
    THAWED = 'thawed'
    #: its guest is thawed, and had, or may have, ended the freeze before
    LAPSED = 'lapsed'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Freeze:
    """A row of the table, and what the database's clock was when it was read.

    :param host: the compute host when it was asked for; None if unknown
    :param state: a :class:`State`, or what a newer version has written
    :param request_id: the request to quiesce
    :param unquiesce_request_id: the request to unquiesce, if there is one
    :param owner: who has taken the row; no other one acts on it before due_at
    :param due_at: when anybody may act on it; None if never
    :param unquiesce_after: seconds until a frozen guest is thawed; 0 if never
    :param thaws: number of thaws that were sent, or were about to be
    :param attempts: number of thaws that failed
    :param error: why the server was put into error; None if it was not
    """

    instance_uuid: str
    cell_uuid: str = ''
    project_id: str | None
    user_id: str | None = None
    server_name: str | None = None
    host: str | None = None
    request_id: str
    unquiesce_request_id: str | None = None
    state: str
    owner: str | None = None
    due_at: float | None = None
    unquiesce_after: int = 0
    requested_at: float
    frozen_at: float | None = None
    thaws: int = 0
    attempts: int = 0
    error: str | None = None
    now: float

    @property
    def unquiesce_at(self) -> float | None:
        """When a frozen guest is thawed without being asked."""
        if self.frozen_at is None or not self.unquiesce_after:
            return None
        return self.frozen_at + self.unquiesce_after

    @property
    def given_up(self) -> bool:
        """Whether a freeze that is not done was withdrawn, or is undone."""
        return (self.unquiesce_request_id is not None
                and self.state in (State.ASKED, State.FREEZING))


class Lost(Exception):
    """A row is not owned any more by who has taken it."""


@enginefacade.transaction_context_provider
class _Context:
    """What oslo.db needs for one transaction."""


def _row(row: Any) -> Freeze:
    return Freeze(**row._mapping)


_SELECT = sa.select(FREEZES, now().label('now'))


def _filtered(query: Any, columns: Any, marker: str | None, limit: int | None,
              project_id: str | None, instance_uuids: Collection[str] | None,
              ) -> Any:
    """Return a query for one page of servers; see :meth:`Store.find`."""
    query = query.order_by(columns.instance_uuid).limit(limit)
    if marker is not None:
        query = query.where(columns.instance_uuid > marker)
    if project_id is not None:
        query = query.where(columns.project_id == project_id)
    if instance_uuids is not None:
        query = query.where(columns.instance_uuid.in_(instance_uuids))
    return query


class Store:
    """The statements on the table; each method is one transaction.

    :param host: name of this service; part of what it writes as owner
    """

    def __init__(self, host: str) -> None:
        self._host = host

    @staticmethod
    def _write() -> Any:
        return schema.facade().writer.using(_Context())

    @staticmethod
    def _read() -> Any:
        return schema.facade().reader.using(_Context())

    # Asking ---------------------------------------------------------------

    @schema.retried
    def ask(self, **values: Any) -> None:
        """Insert the row of a request to quiesce.

        :param values: the columns that tell of the request and its server
        :raises RequestKnown: if the request has arrived before, or was
            withdrawn
        :raises NotClearedUp: if the server has a row already
        """
        key = {name: values[name] for name in ('instance_uuid', 'request_id')}
        project_id = values.get('project_id')
        is_known = True
        # No savepoints: a deadlock takes them away, and hides behind that.
        try:
            with self._write() as session:
                session.execute(REQUESTS.insert().values(
                    **key, project_id=project_id, fate=Fate.ARRIVED,
                    created_at=now()))
                is_known = False
                session.execute(FREEZES.insert().values(
                    state=State.ASKED, thaws=0, attempts=0,
                    requested_at=now(), due_at=now() + times.ASK_PAUSE,
                    **values))
        except db_exception.DBDuplicateEntry as error:
            if is_known:
                raise exceptions.RequestKnown(**key) from error
            raise exceptions.NotClearedUp(
                instance_uuid=key['instance_uuid']) from error

    @schema.retried
    def withdraw(self, instance_uuid: str, request_id: str) -> bool:
        """Record that a request must not be carried out if it arrives.

        :returns: False if it has arrived before, or was withdrawn before
        """
        try:
            with self._write() as session:
                session.execute(REQUESTS.insert().values(
                    instance_uuid=instance_uuid, request_id=request_id,
                    fate=Fate.WITHDRAWN, created_at=now()))
        except db_exception.DBDuplicateEntry:
            return False
        return True

    @schema.retried
    def fate(self, instance_uuid: str, request_id: str) -> str | None:
        """Return the :class:`Fate` of a request; None if it is not known."""
        with self._read() as session:
            return session.execute(  # type: ignore[no-any-return]
                sa.select(REQUESTS.c.fate).filter_by(
                    instance_uuid=instance_uuid, request_id=request_id)
            ).scalar()

    @schema.retried
    def want_thaw(self, instance_uuid: str, unquiesce_request_id: str | None,
                  *states: State, request_id: str | None = None) -> bool:
        """Have a guest thawed, by who is told of it, or in a few seconds.

        A row that is frozen turns to thawing; of one that is asked for or
        freezing, the freeze is withdrawn.

        :param states: in which the row may be
        :param request_id: the request to quiesce that it must be of
        :returns: whether there is such a row, and none has asked before
        """
        conditions = [FREEZES.c.instance_uuid == instance_uuid,
                      FREEZES.c.state.in_(states),
                      FREEZES.c.unquiesce_request_id.is_(None)]
        if request_id is not None:
            conditions.append(FREEZES.c.request_id == request_id)
        is_frozen = FREEZES.c.state == State.FROZEN

        def if_frozen(column: Any, value: Any) -> tuple[Any, Any]:
            return column, sa.case((is_frozen, value), else_=column)

        # In this order: MySQL evaluates one after the other.
        statement = FREEZES.update().where(*conditions).ordered_values(
            (FREEZES.c.unquiesce_request_id, unquiesce_request_id),
            if_frozen(FREEZES.c.owner, sa.null()),
            if_frozen(FREEZES.c.due_at, now() + times.ASK_PAUSE),
            if_frozen(FREEZES.c.state, State.THAWING))
        with self._write() as session:
            return bool(session.execute(statement).rowcount)

    @schema.retried
    def insert_thaw(self, **values: Any) -> bool:
        """Insert a row for a guest of which none is known.

        :param values: columns that tell of the server, and who asks
        :returns: False if there is one by now
        """
        try:
            with self._write() as session:
                session.execute(FREEZES.insert().values(
                    state=State.THAWING, request_id='unknown',
                    thaws=0, attempts=0,
                    unquiesce_after=0, requested_at=now(),
                    due_at=now() + times.ASK_PAUSE, **values))
        except db_exception.DBDuplicateEntry:
            return False
        return True

    @schema.retried
    def drop(self, instance_uuid: str, request_id: str) -> None:
        """Forget a request that no service has begun."""
        key = {'instance_uuid': instance_uuid, 'request_id': request_id}
        with self._write() as session:
            if session.execute(FREEZES.delete().filter_by(
                    **key, state=State.ASKED, owner=None,
                    unquiesce_request_id=None)).rowcount:
                session.execute(REQUESTS.delete().filter_by(**key))

    # Owning ---------------------------------------------------------------

    @schema.retried
    def take(self, instance_uuid: str, lease: float, *,
             hinted: bool = False) -> Freeze | None:
        """Become the owner of a row, if it is due.

        :param lease: for how many seconds
        :param hinted: whether nova-api has sent a message about it: then a
            freeze or a thaw that no service has begun is due, too
        :returns: the row; None if it is not there, or not due
        """
        due = FREEZES.c.due_at <= now()
        if hinted:
            due = sa.or_(due, sa.and_(
                FREEZES.c.owner.is_(None), FREEZES.c.attempts == 0, sa.or_(
                    FREEZES.c.state == State.ASKED, sa.and_(
                        FREEZES.c.state == State.THAWING,
                        FREEZES.c.unquiesce_request_id.is_not(None)))))
        owner = '%s/%s' % (self._host, uuidlib.uuid4().hex)
        with self._write() as session:
            if not session.execute(FREEZES.update().where(
                    FREEZES.c.instance_uuid == instance_uuid,
                    FREEZES.c.state.in_(tuple(State)), due).values(
                        owner=owner, due_at=now() + lease)).rowcount:
                return None
            return _row(session.execute(_SELECT.where(
                FREEZES.c.instance_uuid == instance_uuid)).one())

    @schema.retried
    def update(self, freeze: Freeze, due_in: float | None = None,
               **values: Any) -> Freeze | None:
        """Change a row that is still owned by who has taken it.

        :param due_in: seconds until it is due; by default that stays
        :returns: the row as it is now; None if another service has it
        """
        if due_in is not None:
            values['due_at'] = now() + due_in
        with self._write() as session:
            if not session.execute(FREEZES.update().where(
                    *self._is(freeze)).values(**values)).rowcount:
                return None
            return _row(session.execute(_SELECT.where(
                FREEZES.c.instance_uuid == freeze.instance_uuid)).one())

    def release(self, freeze: Freeze, due_in: float, **values: Any) -> bool:
        """Give a row back, to be due after so many seconds.

        :returns: whether it was still owned
        """
        return self.update(freeze, due_in, owner=None, **values) is not None

    @schema.retried
    def mark_frozen(self, freeze: Freeze) -> bool:
        """Note that the guest is frozen, until its deadline.

        :returns: False if another service has it, or it was withdrawn
        """
        after = freeze.unquiesce_after
        since = freeze.now if freeze.frozen_at is None else freeze.frozen_at
        with self._write() as session:
            return bool(session.execute(FREEZES.update().where(
                *self._is(freeze),
                FREEZES.c.unquiesce_request_id.is_(None)).values(
                    state=State.FROZEN, owner=None, frozen_at=since,
                    due_at=since + after if after else None)).rowcount)

    @schema.retried
    def delete(self, freeze: Freeze, fate: Fate | None = None) -> bool:
        """Delete a row that is still owned by who has taken it.

        :param fate: of its request, if its guest is thawed
        :returns: False if it is not, or if a thaw was asked for since
        """
        wanted = FREEZES.c.unquiesce_request_id
        with self._write() as session:
            is_gone = bool(session.execute(FREEZES.delete().where(
                *self._is(freeze), wanted.is_(None)
                if freeze.unquiesce_request_id is None
                else wanted == freeze.unquiesce_request_id)).rowcount)
            if is_gone and fate:
                session.execute(REQUESTS.update().filter_by(
                    instance_uuid=freeze.instance_uuid,
                    request_id=freeze.request_id).values(fate=fate))
        return is_gone

    @schema.retried
    def reread(self, freeze: Freeze) -> Freeze | None:
        """Return the row as it is; None if another service has it."""
        with self._read() as session:
            row = session.execute(_SELECT.where(*self._is(freeze))).first()
        return _row(row) if row else None

    def check(self, freeze: Freeze) -> None:
        """Check that no other service has the row.

        Within a transaction that has the lock of the server, this holds until
        its end: who takes the row later changes the server later, too.

        :raises Lost: if another service has it
        """
        if self.reread(freeze) is None:
            raise Lost()

    @schema.retried
    def reclaim(self, freeze: Freeze) -> None:
        """Have a guest thawed that may be frozen by who owned its row once.

        Its owner now owns the row no longer, so that it cannot go.
        """
        values = {
            'state': State.FREEZING, 'owner': None, 'due_at': now()}
        with self._write() as session:
            found = session.execute(FREEZES.update().where(
                FREEZES.c.instance_uuid == freeze.instance_uuid,
                FREEZES.c.state.in_((State.ASKED, State.FREEZING,
                                     State.THAWING))).values(**values))
            if found.rowcount or session.execute(sa.select(
                    FREEZES.c.state).filter_by(
                        instance_uuid=freeze.instance_uuid)).first():
                return
            columns = {name: getattr(freeze, name)
                       for name in FREEZES.columns.keys()}
            session.execute(FREEZES.insert().values(
                {**columns, **values, 'unquiesce_request_id': None}))

    @staticmethod
    def _is(freeze: Freeze) -> list[sa.ColumnElement[bool]]:
        return [FREEZES.c.instance_uuid == freeze.instance_uuid,
                FREEZES.c.owner == freeze.owner]

    # Looking --------------------------------------------------------------

    @schema.retried
    def get(self, instance_uuid: str) -> Freeze | None:
        """Return the row of a server, if it has one."""
        with self._read() as session:
            row = session.execute(_SELECT.where(
                FREEZES.c.instance_uuid == instance_uuid)).first()
        return _row(row) if row else None

    @schema.retried
    def due(self, limit: int, *states: State,
            busy: Collection[str] = ()) -> list[Freeze]:
        """Return rows that anybody may act on, the oldest first.

        :param states: in which they are; by default in any
        :param busy: compute hosts whose rows are left out
        """
        with self._read() as session:
            return [_row(row) for row in session.execute(_SELECT.where(
                FREEZES.c.due_at <= now(),
                FREEZES.c.state.in_(states or tuple(State)),
                sa.func.coalesce(FREEZES.c.host, '').not_in(busy),
            ).order_by(FREEZES.c.due_at).limit(limit))]

    @schema.retried
    def find(self, *, marker: str | None = None, limit: int | None = None,
             project_id: str | None = None,
             instance_uuids: Collection[str] | None = None,
             cell_uuid: str | None = None, request_id: str | None = None,
             states: Collection[State] = ()) -> Sequence[Freeze]:
        """Return rows, in the order of the UUIDs of their servers.

        :param marker: the UUID after which the page begins
        :param limit: the most rows
        """
        query = _filtered(_SELECT, FREEZES.c, marker, limit, project_id,
                          instance_uuids)
        if cell_uuid is not None:
            query = query.where(FREEZES.c.cell_uuid == cell_uuid)
        if request_id is not None:
            query = query.where(FREEZES.c.request_id == request_id)
        if states:
            query = query.where(FREEZES.c.state.in_(states))
        with self._read() as session:
            return [_row(row) for row in session.execute(query)]

    @schema.retried
    def ended(self, request_id: str, *, marker: str | None = None,
              limit: int | None = None, project_id: str | None = None,
              instance_uuids: Collection[str] | None = None,
              ) -> Sequence[Freeze]:
        """Return what a request had frozen and is thawed, as rows would be.

        :returns: their state is their :class:`Fate`; see :meth:`find`
        """
        query = _filtered(
            sa.select(REQUESTS, now().label('now')).where(
                REQUESTS.c.request_id == request_id,
                REQUESTS.c.fate.in_((Fate.THAWED, Fate.LAPSED))),
            REQUESTS.c, marker, limit, project_id, instance_uuids)
        with self._read() as session:
            return [Freeze(
                instance_uuid=row.instance_uuid, project_id=row.project_id,
                request_id=request_id, state=row.fate,
                requested_at=row.created_at, now=row.now)
                for row in session.execute(query)]

    @schema.retried
    def make_due(self, instance_uuid: str, state: State) -> None:
        """Have a row looked at as soon as possible, unless it is in hand.

        :param state: in which it must be
        """
        with self._write() as session:
            session.execute(FREEZES.update().where(
                FREEZES.c.instance_uuid == instance_uuid,
                FREEZES.c.state == state, FREEZES.c.owner.is_(None),
            ).values(due_at=now()))

    # Services -------------------------------------------------------------

    @schema.retried
    def counts(self) -> tuple[dict[str, int], float]:
        """Return how many rows there are, by state.

        :returns: these, and for how many seconds the oldest row is due
        """
        with self._read() as session:
            rows = session.execute(sa.select(
                FREEZES.c.state, sa.func.count(),
                now() - sa.func.min(FREEZES.c.due_at)).group_by(
                    FREEZES.c.state)).all()
        return ({state: count for state, count, _overdue in rows},
                max((row[2] for row in rows if row[2] is not None),
                    default=0.0))

    @schema.retried
    def report(self, details: str, cell_uuid: str = '') -> str | None:
        """Record that this service is up, or has swept a cell.

        :param details: what others must know of the service
        :param cell_uuid: the cell that was swept to its end
        :returns: the details of the report before; None if there was none
        """
        key = {'host': self._host, 'cell_uuid': cell_uuid}
        values = {'swept_at': now(), 'details': details}
        try:
            with self._write() as session:
                before: str | None = session.execute(sa.select(
                    SWEEPS.c.details).filter_by(**key)).scalar()
                if not session.execute(SWEEPS.update().filter_by(
                        **key).values(**values)).rowcount:
                    session.execute(SWEEPS.insert().values(**key, **values))
        except db_exception.DBDuplicateEntry:
            return None    # another process of its name, at this moment
        return before

    @schema.retried
    def retire(self, details: str) -> None:
        """Delete the reports of this service.

        :param details: those of its last report; if they are others, another
            process of the same name has reported since, and goes on
        """
        own = SWEEPS.delete().filter_by(host=self._host)
        with self._write() as session:
            session.execute(own.filter_by(cell_uuid='', details=details))
            if session.execute(sa.select(SWEEPS.c.host).filter_by(
                    host=self._host, cell_uuid='')).first() is None:
                session.execute(own)

    @schema.retried
    def reports(self) -> list[tuple[str, str, float, str]]:
        """Return host, cell, age in seconds, and details of each report."""
        with self._read() as session:
            return [tuple(row) for row in session.execute(sa.select(
                SWEEPS.c.host, SWEEPS.c.cell_uuid, now() - SWEEPS.c.swept_at,
                SWEEPS.c.details).order_by(SWEEPS.c.host))]

    @schema.retried
    def is_any_up(self, within: float) -> bool:
        """Return whether a service has reported within so many seconds."""
        with self._read() as session:
            return session.execute(sa.select(SWEEPS.c.host).where(
                SWEEPS.c.cell_uuid == '',
                SWEEPS.c.swept_at > now() - within).limit(1)
            ).first() is not None

    @schema.retried
    def forget(self) -> None:
        """Delete what is remembered of requests and services of long ago."""
        before = now() - times.REQUEST_MEMORY
        with self._write() as session:
            session.execute(REQUESTS.delete().where(
                REQUESTS.c.created_at < before))
            session.execute(SWEEPS.delete().where(
                SWEEPS.c.swept_at < before))
