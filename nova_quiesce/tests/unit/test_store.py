# SPDX-License-Identifier: Apache-2.0


"""The table of freezes, on each database that Nova runs with.

SQLite is always there.  MariaDB and PostgreSQL are, if their programs are
installed: a test starts its own servers in a directory of its own.
"""

import contextlib
import dataclasses
import inspect
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time
import unittest
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import sqlalchemy as sa

from nova_quiesce import db
from nova_quiesce import exceptions
from nova_quiesce import schema
from nova_quiesce import store
from nova_quiesce import times

Fate, State = store.Fate, store.State
CELL = '7a1f4d9e-52f7-4c47-8a48-5a1cf2c4b2aa'
UUID = '0fb4a6c2-6d5d-4d67-9d2c-f2d0ef53a1c4'
OTHER = '1fb4a6c2-6d5d-4d67-9d2c-f2d0ef53a1c4'
#: seconds that a server has to start, or to end
PATIENCE = 120
#: of a lease that ends while a test waits
SHORT = 0.3


def program(name: str) -> str | None:
    """Return the path of a server program; Debian hides some."""
    places = [*map(str, pathlib.Path('/usr/lib/postgresql').glob('*/bin')),
              '/usr/sbin', os.environ.get('PATH', '')]
    return shutil.which(name, path=os.pathsep.join(places))


def need(*names: str) -> list[str]:
    """Return the paths of programs, or skip the test."""
    found = [program(name) for name in names]
    missing = [name for name, path in zip(names, found) if path is None]
    if missing:
        reason = '%s not installed' % ', '.join(missing)
        if os.environ.get('CI'):
            raise AssertionError(reason)
        raise unittest.SkipTest(reason)
    return [path for path in found if path is not None]


@contextlib.contextmanager
def directory(user: str | None = None) -> Iterator[pathlib.Path]:
    """Return a directory with a short name: it holds Unix sockets."""
    with tempfile.TemporaryDirectory(dir='/tmp', prefix='q') as name:
        if user is not None:
            shutil.chown(name, user)
        yield pathlib.Path(name)


@contextlib.contextmanager
def running(argv: list[str], log: pathlib.Path, url: str,
            **options: Any) -> Iterator[str]:
    """Run a server until it is not needed any more."""
    with log.open('w') as output, subprocess.Popen(
            argv, stdout=output, stderr=output, **options) as process:
        try:
            engine = sa.create_engine(url)
            end = time.monotonic() + PATIENCE
            while True:
                try:
                    engine.connect().close()
                    break
                except sa.exc.OperationalError:
                    if process.poll() is not None or time.monotonic() > end:
                        raise AssertionError(log.read_text())
                    time.sleep(0.1)
            engine.dispose()
            yield url
        finally:
            process.terminate()
            process.wait(PATIENCE)


@contextlib.contextmanager
def sqlite() -> Iterator[str]:
    with directory() as home:
        yield 'sqlite:///%s' % (home / 'freezes.sqlite')


@contextlib.contextmanager
def mariadb() -> Iterator[str]:
    server, install = need('mariadbd', 'mariadb-install-db')
    with directory() as home:
        options = ['--no-defaults', '--datadir=%s' % (home / 'data')]
        if os.geteuid() == 0:
            options.append('--user=root')
        made = subprocess.run(
            [install, *options, '--auth-root-authentication-method=normal',
             '--skip-test-db'], check=False, capture_output=True, text=True)
        if made.returncode:
            raise RuntimeError(made.stdout + made.stderr)
        socket = home / 's'
        base = 'mysql+pymysql://root@localhost/%%s?unix_socket=%s' % socket
        with running(
                [server, *options, '--socket=%s' % socket, '--skip-networking',
                 '--pid-file=%s' % (home / 'pid'), '--skip-log-bin',
                 '--innodb-buffer-pool-size=32M', '--performance-schema=off'],
                home / 'log', base % 'mysql') as url:
            with sa.create_engine(url).connect() as connection:
                connection.execute(sa.text('CREATE DATABASE quiesce'))
            yield base % 'quiesce'


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    server, initdb = need('postgres', 'initdb')
    # It refuses to be root.
    user = 'postgres' if os.geteuid() == 0 else None
    options: dict[str, Any] = {'user': user} if user else {}
    with directory(user) as home:
        data = home / 'data'
        subprocess.run(
            [initdb, '--no-sync', '--auth=trust', '--username=postgres',
             str(data)], check=True, capture_output=True, cwd=home, **options)
        url = 'postgresql+psycopg2://postgres@/postgres?host=%s' % home
        with running(
                [server, '-D', str(data), '-k', str(home), '-c', 'fsync=off',
                 '-c', 'listen_addresses='], home / 'log', url, cwd=home,
                **options) as url:
            yield url


class StoreTest:
    """The tests of one database; each begins with empty tables."""

    connect: Callable[[], contextlib.AbstractContextManager[str]]
    servers: contextlib.ExitStack
    url: str

    @classmethod
    def setUpClass(cls) -> None:
        cls.servers = contextlib.ExitStack()
        try:
            cls.url = cls.servers.enter_context(cls.connect())
        except unittest.SkipTest as skipped:
            print('%s skipped: %s' % (cls.__name__, skipped))
            raise
        # [quiesce]connection selects it.
        schema.CONF.set_override('connection', cls.url, 'quiesce')
        cls.servers.callback(
            schema.CONF.clear_override, 'connection', 'quiesce')
        schema.sync()
        cls.servers.callback(schema.engine().dispose)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.servers.close()

    def setUp(self: Any) -> None:
        with schema.engine().begin() as connection:
            for table in schema.metadata.sorted_tables:
                connection.execute(table.delete())
        self.store = store.Store('ctl1')
        self.other = store.Store('ctl2')

    def ask(self: Any, uuid: str = UUID, request_id: str = 'req-1',
            unquiesce_after: int = 0) -> None:
        self.store.ask(
            instance_uuid=uuid, request_id=request_id, cell_uuid=CELL,
            project_id='project', user_id='user', server_name='wéb',
            unquiesce_after=unquiesce_after)

    def take(self: Any, uuid: str = UUID, lease: float = 60) -> store.Freeze:
        row = self.store.take(uuid, lease, hinted=True)
        self.assertIsNotNone(row)
        assert isinstance(row, store.Freeze)
        return row

    def frozen(self: Any, row: store.Freeze, since: float) -> bool:
        return bool(self.store.mark_frozen(
            dataclasses.replace(row, frozen_at=since)))

    # -- the schema -------------------------------------------------------

    def test_it_is_the_one_that_was_configured(self: Any) -> None:
        self.assertEqual(
            sa.make_url(self.url).render_as_string(),
            schema.engine().url.render_as_string())

    def test_the_schema_is_the_newest_and_sync_can_be_repeated(
            self: Any) -> None:
        schema.sync()
        found, wanted = schema.versions()
        self.assertEqual(wanted, found)
        schema.check()

    def test_the_migrations_make_what_the_code_describes(self: Any) -> None:
        found = sa.inspect(schema.engine())
        for table in schema.metadata.sorted_tables:
            self.assertEqual(
                [(column.name, column.nullable) for column in table.columns],
                [(column['name'], column['nullable'])
                 for column in found.get_columns(table.name)])
            self.assertEqual(
                [column.name for column in table.primary_key],
                found.get_pk_constraint(table.name)['constrained_columns'])
            self.assertEqual(
                sorted((index.name, [column.name for column in index.columns])
                       for index in table.indexes),
                sorted((index['name'], index['column_names'])
                       for index in found.get_indexes(table.name)))

    def test_a_table_of_another_version_is_refused(self: Any) -> None:
        version = sa.column('version_num')
        table = sa.table(schema.VERSION_TABLE, version)
        newest = schema.versions()[1]
        with schema.engine().begin() as connection:
            connection.execute(table.update().values(version_num='0000'))
        try:
            with self.assertRaisesRegex(exceptions.SchemaMissing, '0000'):
                schema.check()
        finally:
            with schema.engine().begin() as connection:
                connection.execute(table.update().values(version_num=newest))

    # -- the clock --------------------------------------------------------

    def test_the_clock_is_in_seconds_since_1970(self: Any) -> None:
        with schema.engine().connect() as connection:
            before = time.time()
            now = connection.execute(sa.select(schema.now())).scalar_one()
            after = time.time()
        self.assertIsInstance(now, float)
        self.assertGreater(now, before - 1)
        self.assertLess(now, after + 1)

    def test_it_goes_on_within_a_transaction(self: Any) -> None:
        with schema.engine().begin() as connection:
            first = connection.execute(sa.select(schema.now())).scalar_one()
            time.sleep(0.05)
            second = connection.execute(sa.select(schema.now())).scalar_one()
        self.assertGreater(second, first + 0.03)
        self.assertLess(second, first + 30)

    # -- asking -----------------------------------------------------------

    def test_a_row_is_read_as_it_was_written(self: Any) -> None:
        self.ask(unquiesce_after=7)
        row = self.store.get(UUID)
        self.assertEqual(
            (UUID, CELL, 'project', 'user', 'wéb', 'req-1', None, State.ASKED,
             None, 7, None, 0, None),
            (row.instance_uuid, row.cell_uuid, row.project_id, row.user_id,
             row.server_name, row.request_id, row.unquiesce_request_id,
             row.state, row.owner, row.unquiesce_after, row.frozen_at,
             row.attempts, row.error))
        for moment in (row.due_at, row.requested_at, row.now):
            self.assertIsInstance(moment, float)
        self.assertAlmostEqual(times.ASK_PAUSE, row.due_at - row.requested_at,
                               places=2)
        self.assertIsNone(self.store.get(OTHER))

    def test_a_server_has_one_row_and_a_refusal_leaves_nothing(
            self: Any) -> None:
        self.ask()
        with self.assertRaises(exceptions.NotClearedUp):
            self.ask(request_id='req-2')
        self.assertIsNone(self.store.fate(UUID, 'req-2'))
        self.assertEqual('req-1', self.store.get(UUID).request_id)

    def test_a_request_arrives_once(self: Any) -> None:
        self.ask()
        self.store.delete(self.take())
        with self.assertRaises(exceptions.RequestKnown):
            self.ask()
        self.assertEqual(Fate.ARRIVED, self.store.fate(UUID, 'req-1'))
        self.assertFalse(self.store.withdraw(UUID, 'req-1'))
        self.ask(OTHER)

    def test_one_that_was_withdrawn_never_does(self: Any) -> None:
        self.assertTrue(self.store.withdraw(UUID, 'req-1'))
        self.assertFalse(self.store.withdraw(UUID, 'req-1'))
        self.assertEqual(Fate.WITHDRAWN, self.store.fate(UUID, 'req-1'))
        with self.assertRaises(exceptions.RequestKnown):
            self.ask()
        self.assertIsNone(self.store.get(UUID))

    def test_of_many_at_once_exactly_one_is_asked_for(self: Any) -> None:
        self.check_exactly_one(lambda number: self.ask(
            request_id='req-%d' % number), exceptions.NotClearedUp)

    def test_of_many_copies_at_once_exactly_one_arrives(self: Any) -> None:
        self.check_exactly_one(
            lambda number: self.ask(), exceptions.RequestKnown)

    def check_exactly_one(self: Any, function: Callable[[int], Any],
                          refusal: type[Exception] | None = None) -> None:
        """Call a function in threads, and see that it succeeds only once."""
        won: list[int] = []
        errors: list[BaseException] = []
        barrier = threading.Barrier(6)

        def run(number: int) -> None:
            barrier.wait(PATIENCE)
            try:
                if function(number) is not None or refusal is not None:
                    won.append(number)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=run, args=[number])
                   for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        self.assertEqual(1, len(won), errors)
        for error in errors:
            self.assertIsInstance(error, refusal or ())

    def test_want_thaw_of_a_frozen_one(self: Any) -> None:
        self.ask()
        self.frozen(self.take(), 5.0)
        self.assertFalse(self.store.want_thaw(
            UUID, 'req-2', State.FROZEN, request_id='req-9'))
        self.assertFalse(self.store.want_thaw(UUID, 'req-2', State.ASKED))
        self.assertTrue(self.store.want_thaw(
            UUID, 'req-2', State.FREEZING, State.FROZEN, request_id='req-1'))
        row = self.store.get(UUID)
        self.assertEqual((State.THAWING, None, 'req-2', 5.0), (
            row.state, row.owner, row.unquiesce_request_id, row.frozen_at))
        self.assertFalse(row.given_up)
        self.assertAlmostEqual(
            times.ASK_PAUSE, row.due_at - row.now, delta=1)
        self.assertFalse(self.store.want_thaw(UUID, 'req-3', State.FROZEN))

    def test_want_thaw_of_one_that_is_freezing_withdraws_it(
            self: Any) -> None:
        self.ask()
        row = self.store.update(self.take(), 60, state=State.FREEZING)
        self.assertTrue(self.store.want_thaw(
            UUID, 'req-2', State.ASKED, State.FREEZING, request_id='req-1'))
        current = self.store.reread(row)
        self.assertEqual((State.FREEZING, row.owner, row.due_at), (
            current.state, current.owner, current.due_at))
        self.assertTrue(current.given_up)
        self.assertFalse(self.frozen(row, row.now))

    def test_insert_thaw_only_if_there_is_no_row(self: Any) -> None:
        values = {'instance_uuid': UUID, 'cell_uuid': CELL}
        self.assertTrue(self.store.insert_thaw(**values))
        self.assertFalse(self.store.insert_thaw(**values))
        self.assertEqual(State.THAWING, self.store.get(UUID).state)

    def test_drop_only_what_nobody_has_begun_with(self: Any) -> None:
        self.ask()
        self.store.drop(UUID, 'req-2')
        self.assertIsNotNone(self.store.get(UUID))
        row = self.take()
        self.store.drop(UUID, 'req-1')
        self.assertIsNotNone(self.store.get(UUID))
        self.store.release(row, 5)
        self.store.drop(UUID, 'req-1')
        self.assertIsNone(self.store.get(UUID))

    # -- owning -----------------------------------------------------------

    def test_a_request_that_was_withdrawn_is_not_dropped(self: Any) -> None:
        self.ask()
        self.assertTrue(self.store.want_thaw(
            UUID, 'thaw-1', State.ASKED, request_id='req-1'))
        self.store.drop(UUID, 'req-1')
        self.assertIsNotNone(self.store.get(UUID))
        self.assertEqual(Fate.ARRIVED, self.store.fate(UUID, 'req-1'))

    def test_a_row_is_taken_when_it_is_due(self: Any) -> None:
        self.ask()
        self.assertIsNone(self.store.take(UUID, 60))
        self.store.make_due(UUID, State.ASKED)
        row = self.store.take(UUID, 60)
        self.assertTrue(row.owner.startswith('ctl1/'))
        self.assertAlmostEqual(60, row.due_at - row.now, delta=1)
        self.assertIsNone(self.other.take(UUID, 60))
        self.assertIsNone(self.store.take(UUID, 60))
        self.assertIsNone(self.store.take(OTHER, 60))

    def test_of_many_at_once_exactly_one_takes_it(self: Any) -> None:
        self.ask()
        self.store.make_due(UUID, State.ASKED)
        self.check_exactly_one(lambda number: store.Store(
            'ctl%d' % number).take(UUID, 60))

    def test_a_hint_is_for_what_nobody_has_begun_with(self: Any) -> None:
        self.ask()
        self.assertIsNotNone(self.store.take(UUID, 60, hinted=True))
        self.assertIsNone(self.store.take(UUID, 60, hinted=True))

    def test_a_hint_is_not_for_what_is_frozen_or_has_failed(
            self: Any) -> None:
        self.ask()
        row = self.take()
        self.store.release(row, 60, state=State.THAWING, attempts=1,
                           unquiesce_request_id='req-2')
        self.assertIsNone(self.store.take(UUID, 60, hinted=True))
        self.store.make_due(UUID, State.THAWING)
        self.frozen(self.store.update(
            self.take(), unquiesce_request_id=None), 1.0)
        self.assertIsNone(self.store.take(UUID, 60, hinted=True))

    def test_a_lease_ends_and_who_had_it_can_do_nothing(self: Any) -> None:
        self.ask()
        old = self.take(lease=SHORT)
        time.sleep(SHORT + 0.1)
        # Nobody has taken it: it is still its own.
        self.assertIsNotNone(self.store.reread(old))
        new = self.other.take(UUID, 60)
        self.assertIsNotNone(new)
        self.assertIsNone(self.store.reread(old))
        self.assertIsNone(self.store.update(old, 60, error='no'))
        self.assertFalse(self.store.release(old, 0))
        self.assertFalse(self.frozen(old, 1.0))
        self.assertFalse(self.store.delete(old))
        self.assertEqual(new.owner, self.store.get(UUID).owner)
        self.assertTrue(self.other.delete(new))
        self.assertIsNone(self.store.get(UUID))

    def test_update(self: Any) -> None:
        self.ask()
        row = self.take()
        self.assertEqual(row.due_at, self.store.update(
            row, error='x').due_at)
        changed = self.store.update(row, 100, state=State.FREEZING)
        self.assertEqual((State.FREEZING, 'x', row.owner), (
            changed.state, changed.error, changed.owner))
        self.assertAlmostEqual(100, changed.due_at - changed.now, delta=1)
        self.assertEqual(changed.owner, self.store.reread(row).owner)

    def test_frozen_until_its_deadline_or_for_ever(self: Any) -> None:
        for uuid, after, due_at in ((UUID, 60, 160.0), (OTHER, 0, None)):
            self.ask(uuid, unquiesce_after=after)
            self.assertTrue(self.frozen(self.take(uuid), 100.0))
            row = self.store.get(uuid)
            self.assertEqual(
                (State.FROZEN, None, 100.0, due_at, due_at),
                (row.state, row.owner, row.frozen_at, row.due_at,
                 row.unquiesce_at))
        self.assertEqual(
            [UUID], [row.instance_uuid for row in self.store.due(10)])
        self.assertIsNone(self.store.take(OTHER, 60))

    def test_reclaim_what_another_one_has(self: Any) -> None:
        self.ask()
        old = self.take(lease=0)
        time.sleep(0.05)
        new = self.other.take(UUID, 60)
        self.store.reclaim(old)
        row = self.store.get(UUID)
        self.assertEqual((State.FREEZING, None), (row.state, row.owner))
        self.assertFalse(self.other.delete(new))
        self.assertIsNotNone(self.other.take(UUID, 60))

    def test_reclaim_what_is_gone(self: Any) -> None:
        self.ask()
        old = self.take(lease=0)
        time.sleep(0.05)
        self.other.delete(self.other.take(UUID, 60))
        self.store.reclaim(old)
        row = self.store.get(UUID)
        self.assertEqual(
            (State.FREEZING, None, 'req-1', old.requested_at),
            (row.state, row.owner, row.request_id, row.requested_at))
        self.assertLessEqual(row.due_at, row.now)

    # -- looking ----------------------------------------------------------

    def test_what_is_due_the_oldest_first(self: Any) -> None:
        for uuid, frozen_at in ((UUID, 200.0), (OTHER, 100.0)):
            self.ask(uuid, unquiesce_after=1)
            self.frozen(self.take(uuid), frozen_at)
        self.assertEqual([OTHER, UUID], [
            row.instance_uuid for row in self.store.due(10)])
        self.assertEqual(1, len(self.store.due(1)))

    def test_a_list_in_pages_and_by_what_it_is(self: Any) -> None:
        self.ask(OTHER)
        self.ask(UUID)
        self.frozen(self.take(UUID), 1.0)

        def found(**options: Any) -> list[str]:
            return [row.instance_uuid for row in self.store.find(**options)]

        self.assertEqual([UUID, OTHER], found())
        self.assertEqual([UUID], found(limit=1))
        self.assertEqual([OTHER], found(limit=1, marker=UUID))
        self.assertEqual([], found(project_id='another'))
        self.assertEqual([OTHER], found(instance_uuids=[OTHER, CELL]))
        self.assertEqual([], found(instance_uuids=[]))
        self.assertEqual([UUID], found(states=(State.FROZEN,)))
        self.assertEqual([UUID, OTHER], found(cell_uuid=CELL))
        self.assertEqual([], found(cell_uuid=UUID))
        self.assertEqual([UUID, OTHER], found(request_id='req-1'))
        self.assertEqual([], found(request_id='req-2'))

    def test_what_a_request_had_frozen_and_is_thawed(self: Any) -> None:
        fates = {UUID: Fate.THAWED, OTHER: Fate.LAPSED, CELL: None}
        for uuid, fate in fates.items():
            self.ask(uuid)
            self.assertTrue(self.store.delete(self.take(uuid), fate))

        def found(request_id: str = 'req-1', **options: Any,
                  ) -> list[tuple[str, str]]:
            return [(row.instance_uuid, row.state)
                    for row in self.store.ended(request_id, **options)]

        both = [(UUID, Fate.THAWED), (OTHER, Fate.LAPSED)]
        self.assertEqual(both, found())
        self.assertEqual([], found('req-2'))
        self.assertEqual(both[:1], found(limit=1))
        self.assertEqual(both[1:], found(limit=1, marker=UUID))
        self.assertEqual(both, found(project_id='project'))
        self.assertEqual([], found(project_id='another'))
        self.assertEqual(both[1:], found(instance_uuids=[OTHER, CELL]))
        self.assertEqual(Fate.ARRIVED, self.store.fate(CELL, 'req-1'))

    def test_what_another_one_has_by_now_has_no_fate_yet(self: Any) -> None:
        self.ask()
        old = self.take(lease=0)
        time.sleep(0.05)
        self.other.take(UUID, 60)
        self.assertFalse(self.store.delete(old, Fate.THAWED))
        self.assertEqual(Fate.ARRIVED, self.store.fate(UUID, 'req-1'))

    def test_counts(self: Any) -> None:
        self.assertEqual(({}, 0.0), self.store.counts())
        self.ask(UUID)
        self.ask(OTHER, unquiesce_after=10)
        self.frozen(self.take(OTHER), time.time() - 100)
        counts, overdue = self.store.counts()
        self.assertEqual({State.ASKED: 1, State.FROZEN: 1}, counts)
        self.assertAlmostEqual(90, overdue, delta=5)

    def test_reports(self: Any) -> None:
        self.assertFalse(self.store.is_any_up(60))
        self.store.report('', CELL)
        self.assertFalse(self.store.is_any_up(60))
        self.store.report('{}')
        self.store.report('{"a": 1}')
        self.assertTrue(self.store.is_any_up(60))
        self.assertFalse(self.store.is_any_up(-60))
        found = sorted((host, cell, details) for host, cell, age, details
                       in self.store.reports() if age < 60)
        self.assertEqual(
            [('ctl1', '', '{"a": 1}'), ('ctl1', CELL, '')], found)

    def test_what_is_old_is_forgotten(self: Any) -> None:
        self.ask()
        self.store.report('{}')
        self.store.forget()
        self.assertEqual(Fate.ARRIVED, self.store.fate(UUID, 'req-1'))
        with mock.patch.object(times, 'REQUEST_MEMORY', -60.0):
            self.store.forget()
        self.assertIsNone(self.store.fate(UUID, 'req-1'))
        self.assertEqual([], list(self.store.reports()))
        self.assertIsNotNone(self.store.get(UUID))


class TestSQLite(StoreTest, unittest.TestCase):

    connect = staticmethod(sqlite)

    def test_every_method_repeats_what_was_rolled_back(self) -> None:
        for name, method in inspect.getmembers(
                store.Store, inspect.isfunction):
            if name.startswith('_') or name in ('release', 'check'):
                continue    # they are update, and reread
            with self.subTest(name):
                self.assertTrue(hasattr(method, '__wrapped__'))


class TestMariaDB(StoreTest, unittest.TestCase):

    connect = staticmethod(mariadb)

    def test_summer_time_does_not_move_the_clock(self) -> None:
        with schema.engine().connect() as connection:
            for zone in ('+00:00', '+02:00', '-11:00'):
                connection.execute(
                    sa.text('SET time_zone = :zone'), {'zone': zone})
                self.assertAlmostEqual(time.time(), connection.execute(
                    sa.select(schema.now())).scalar_one(), delta=5)

    def test_no_statement_waits_for_ever_for_its_answer(self) -> None:
        self.addCleanup(
            sa.event.remove, sa.Engine, 'do_connect', db._bound_waits)
        db.bound_waits()
        db.bound_waits()    # which does no harm
        for query, seconds in (('', 1), ('&read_timeout=2', 2)):
            engine = sa.create_engine(self.url + query)
            self.addCleanup(engine.dispose)
            with self.subTest(query), mock.patch.object(
                    times, 'READ_TIMEOUT', 1), engine.connect() as connection:
                began = time.monotonic()
                with self.assertRaisesRegex(
                        sa.exc.OperationalError, 'Lost connection'):
                    connection.execute(sa.text('SELECT SLEEP(60)'))
                self.assertLess(time.monotonic() - began, 30)
                self.assertGreaterEqual(time.monotonic() - began, seconds)

    def test_a_process_that_vanishes_keeps_no_lock(self) -> None:
        self.ask()
        self.addCleanup(
            sa.event.remove, sa.Engine, 'do_connect', db._bound_waits)
        db.bound_waits()
        touch = sa.text('UPDATE quiesce_freezes SET attempts = attempts + 1')
        engine = sa.create_engine(self.url, poolclass=sa.pool.NullPool)
        with mock.patch.object(times, 'IDLE_TIMEOUT', 3), mock.patch.object(
                times, 'LOCK_TIMEOUT', 1):
            vanished = engine.connect()
            self.addCleanup(vanished.invalidate)
            vanished.execute(touch)
            with engine.connect() as other:
                # It waits for the lock, not for the time-out of MySQL, 50 s.
                began = time.monotonic()
                with self.assertRaisesRegex(
                        sa.exc.OperationalError, 'Lock wait timeout'):
                    other.execute(touch)
                self.assertLess(time.monotonic() - began, 20)
            time.sleep(4)    # the transaction is still open here
            with engine.begin() as other:
                other.execute(touch)


class TestPostgreSQL(StoreTest, unittest.TestCase):

    connect = staticmethod(postgresql)

    def test_the_zone_of_the_session_does_not_move_the_clock(self) -> None:
        with schema.engine().connect() as connection:
            for zone in ('UTC', 'Europe/Berlin', 'Pacific/Auckland'):
                connection.execute(
                    sa.text("SELECT set_config('TimeZone', :zone, false)"),
                    {'zone': zone})
                self.assertAlmostEqual(time.time(), connection.execute(
                    sa.select(schema.now())).scalar_one(), delta=5)


class TestDefault(unittest.TestCase):

    def test_it_is_novas_api_database(self) -> None:
        self.assertIsNone(schema.CONF.quiesce.connection)
        self.assertIs(schema.api_database.context_manager, schema.facade())
