# SPDX-License-Identifier: Apache-2.0

"""Transactions that MariaDB rolls back, in the middle of requests.

In a Galera cluster any write may be rolled back, since another node has
written the same row; clients see it as a deadlock.  Here another client of the
database brings that about: by locks in another order, which make real
deadlocks, and by triggers, which refuse each kind of write for some times.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pymysql
from minicloud import personas

from osc_quiesce.tests.deployments import base
from osc_quiesce.tests.functional import base as functional

#: rows that the rival writes: InnoDB rolls back who has done less
WEIGHT = 1000
#: how often each kind of write is rolled back; Nova tries five times
CONFLICTS = 2
#: kinds of writes, and their tables
WRITES = (
    ('INSERT', 'nova_api.quiesce_freezes'),
    ('UPDATE', 'nova_api.quiesce_freezes'),
    ('DELETE', 'nova_api.quiesce_freezes'),
    ('INSERT', 'nova_api.quiesce_requests'),
    ('UPDATE', 'nova_cell1.instances'),
    ('INSERT', 'nova_cell1.instance_actions'),
    ('UPDATE', 'nova_cell1.instance_actions'),
    ('INSERT', 'nova_cell1.instance_actions_events'),
    ('UPDATE', 'nova_cell1.instance_actions_events'),
)
EVENT = """\
SELECT event.id FROM nova_cell1.instance_actions_events event
JOIN nova_cell1.instance_actions action ON action.id = event.action_id
WHERE action.request_id = %s"""
WAITS = """\
SELECT COUNT(*) FROM information_schema.innodb_lock_waits waits
JOIN information_schema.innodb_trx trx ON trx.trx_id = waits.blocking_trx_id
WHERE trx.trx_mysql_thread_id = %s"""
TRIGGER = """\
CREATE TRIGGER {database}.rival_{name} BEFORE {write} ON {table} FOR EACH ROW
BEGIN
    UPDATE rival.conflicts SET remaining = remaining - 1
    WHERE name = '{name}' AND remaining > 0;
    IF ROW_COUNT() > 0 THEN
        SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT =
        'Deadlock found when trying to get lock; try restarting transaction';
    END IF;
END"""


class Client:
    """A client of the cloud's MariaDB."""

    def __init__(self) -> None:
        self.connection = pymysql.connect(
            unix_socket=str(functional.cloud().layout.database_socket),
            user=personas.DATABASE_USER, password=personas.PASSWORD)

    def run(self, statement: str, *values: Any) -> Any:
        """Run one statement, and return the first value of its result."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values)
            row = cursor.fetchone()
        return row[0] if row else None

    def deadlocks(self) -> int:
        """Return how many MariaDB has seen."""
        return int(self.run(
            'SELECT VARIABLE_VALUE FROM information_schema.global_status '
            "WHERE VARIABLE_NAME = 'innodb_deadlocks'"))


class DeadlocksTest(base.DeploymentsTest):

    def setUp(self) -> None:
        super().setUp()
        self.other, self.rival = Client(), Client()
        self.other.connection.autocommit(True)
        for client in (self.other, self.rival):
            self.addCleanup(client.connection.close)
        self.addCleanup(self.other.run, 'DROP DATABASE IF EXISTS rival')
        # Which would wait for the rival's transaction if a test has failed.
        self.addCleanup(self.rival.connection.rollback)
        self.other.run('CREATE DATABASE rival')
        self.other.run('CREATE TABLE rival.rows (number INT PRIMARY KEY)')

    @contextlib.contextmanager
    def collision(self, first: tuple[str, Any], second: tuple[str, Any],
                  ) -> Iterator[None]:
        """Have what is begun inside rolled back by a deadlock.

        :param first: gets a lock, for which what is begun comes to wait; a
            statement, and its value
        :param second: waits for a lock that this has then
        """
        before = self.other.deadlocks()
        self.rival.run('INSERT INTO rival.rows SELECT seq '
                       'FROM rival.seq_1_to_1000 WHERE seq <= %s', WEIGHT)
        self.rival.run(*first)
        yield
        thread = self.rival.connection.thread_id()
        self.wait_for(lambda: self.other.run(WAITS, thread),
                      'somebody waits for the rival')
        self.rival.run(*second)
        self.rival.connection.rollback()
        self.assertGreater(self.other.deadlocks(), before)

    def lock_end(self, server: str, request: str,
                 ) -> contextlib.AbstractContextManager[None]:
        """Have the transaction rolled back that ends a request."""
        event = self.wait_for(lambda: self.other.run(EVENT, request),
                              'a service has begun')
        return self.collision(
            ('SELECT id FROM nova_cell1.instance_actions_events '
             'WHERE id = %s FOR UPDATE', event),
            ('SELECT id FROM nova_cell1.instances '
             'WHERE uuid = %s FOR UPDATE', server))

    def test_the_end_of_a_request_is_rolled_back(self) -> None:
        server = self.boot_in(1, quiesce='slow:0', unquiesce='slow:0')
        for action, vm_state in (('quiesce', 'quiesced'),
                                 ('unquiesce', 'active')):
            with contextlib.ExitStack() as rolled_back:
                with self.held(server):
                    request = self.ask(server, {action: None})
                    rolled_back.enter_context(self.lock_end(server, request))
            self.wait(server, vm_state)
            self.assert_success(server, request)
        self.assertIsNotNone(self.frozen_once(server).ended)
        self.wait_for_none_listed([server])

    def test_the_record_of_a_freeze_is_rolled_back(self) -> None:
        server = self.boot_in(1)
        requests: list[str] = []
        thread = threading.Thread(target=lambda: requests.append(
            self.ask(server, {'quiesce': None})))
        with self.collision(
                ('INSERT INTO nova_api.quiesce_freezes (instance_uuid, '
                 'cell_uuid, request_id, state, unquiesce_after, '
                 'requested_at, attempts, thaws) '
                 "VALUES (%s, '', '', '', 0, 0, 0, 0)",
                 server),
                ('SELECT request_id FROM nova_api.quiesce_requests '
                 'WHERE instance_uuid = %s FOR UPDATE', server)):
            thread.start()
        thread.join()
        self.wait(server, 'quiesced')
        [request] = requests
        self.assert_success(server, request)
        self.assertEqual(request,
                         self.listed([server])[server]['request_id'])

    def test_each_kind_of_write_is_rolled_back(self) -> None:
        server = self.boot_in(1)
        self.other.run(
            'CREATE TABLE rival.conflicts (name VARCHAR(64) PRIMARY KEY, '
            'remaining INT) ENGINE=Aria TRANSACTIONAL=0')
        for write, table in WRITES:
            self.refuse(write, table)
        for action, vm_state in (('quiesce', 'quiesced'),
                                 ('unquiesce', 'active')):
            request = self.ask(server, {action: None})
            self.wait(server, vm_state)
            self.assert_success(server, request)
        self.frozen_once(server)
        self.wait_for_none_listed([server])
        self.assertEqual(0, self.other.run(
            'SELECT SUM(remaining) FROM rival.conflicts'))

    def refuse(self, write: str, table: str) -> None:
        """Have one kind of write rolled back for some times."""
        database, _, rest = table.partition('.')
        name = '%s_%s' % (write.lower(), rest)
        self.other.run('INSERT INTO rival.conflicts VALUES (%s, %s)',
                       name, CONFLICTS)
        self.addCleanup(self.other.run, 'DROP TRIGGER %s.rival_%s' % (
            database, name))
        self.other.run(TRIGGER.format(
            database=database, name=name, write=write, table=table))
