# SPDX-License-Identifier: Apache-2.0

"""What becomes of a request if any one of its commits fails, or kills."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from unittest import mock

from nova import exception
from oslo_db import exception as db_exception
from sqlalchemy import orm

from nova_quiesce import exceptions
from nova_quiesce import store
from nova_quiesce.tests.unit import world

#: what can become of a commit: whether it is done, and what is raised then
HOWS: dict[str, tuple[bool, BaseException]] = {
    'a deadlock': (False, db_exception.DBDeadlock()),
    'the answer is lost, not done': (False, db_exception.DBConnectionError()),
    'the answer is lost, done': (True, db_exception.DBConnectionError()),
    'killed before it': (False, world.Killed()),
    'killed after it': (True, world.Killed()),
}
#: what a user is told, or not
REFUSED = (exception.InstanceInvalidState, exceptions.QuiesceError)
FAILED = (db_exception.DBError, world.Killed)


class TestEveryCommit(world.WorldTest):
    """Whichever commit it is, no guest stays frozen that must be thawed."""

    @contextlib.contextmanager
    def commit(self, number: int, how: str) -> Iterator[list[str]]:
        """Let one of the next commits fail; yield a list of those that did."""
        is_done, error = HOWS[how]
        left = itertools.count()
        struck: list[str] = []
        real = orm.Session.commit

        def commit(session: orm.Session) -> None:
            if next(left) != number:
                real(session)
                return
            struck.append(how)
            if is_done:
                real(session)
            else:
                session.rollback()
            raise error

        with mock.patch.object(orm.Session, 'commit', commit):
            yield struck

    def each(self, story: Callable[[], None], prepare: Callable[[], object],
             ) -> Iterator[None]:
        """Tell a story once for each commit and fault, and yield after it."""
        for how in HOWS:
            for number in itertools.count():
                self.uuid = self.boot()
                self.guest.frozen = False
                self.bus.messages.clear()
                for host in ('ctl1', 'ctl2'):
                    self.restart(host)
                prepare()
                with self.commit(number, how) as struck:
                    with contextlib.suppress(*FAILED):
                        story()
                if not struck:
                    self.assertGreater(number, 3)
                    break
                with self.subTest(how, commit=number):
                    self.calm_down()
                    yield

    def calm_down(self) -> None:
        """Let the services do what is due, until nothing is."""
        for host in ('ctl1', 'ctl2'):
            if host not in self.services:
                self.restart(host)
        for _attempt in range(20):
            self.deliver_all()
            self.sweep()
            self.tick()
            row = self.row
            if not self.states[1] and (
                    row is None or row.state == store.State.FROZEN):
                break
            self.advance(row.due_at - row.now if row and row.due_at else 5)
        if self.states[0] != 'quiesced':
            self.check_at_rest('active')
            return
        self.assertEqual((True, store.State.FROZEN),
                         (self.guest.frozen, self.row_state))

    def test_quiesce(self) -> None:
        def story() -> None:
            self.request_id = world.new_id()
            self.quiesce(request_id=self.request_id)
            self.deliver()

        for _each in self.each(story, lambda: None):
            with contextlib.suppress(exceptions.RequestKnown):
                self.quiesce(request_id=self.request_id)
            self.calm_down()
            if self.guest.frozen:
                self.assertEqual('Success', self.result_of(self.request_id))
                _own, answer = self.unquiesce_request(self.request_id)
                self.assertIsNone(answer)
                self.calm_down()
            self.assertEqual('active', self.states[0])

    def test_unquiesce(self) -> None:
        def story() -> None:
            self.unquiesce()
            self.deliver()

        for _each in self.each(story, self.freeze):
            if self.states[0] == 'quiesced':
                self.unquiesce()
                self.calm_down()
            self.assertEqual('active', self.states[0])

    def test_unquiesce_request(self) -> None:
        def freeze() -> None:
            self.request_id = self.freeze()

        def story() -> None:
            self.unquiesce_request(self.request_id)
            self.deliver()

        for _each in self.each(story, freeze):
            if self.states[0] == 'quiesced':
                _own, answer = self.unquiesce_request(self.request_id)
                self.assertIsNone(answer)
                self.calm_down()
            self.assertEqual('active', self.states[0])

    def test_withdraw(self) -> None:
        # The record comes first: until the row, nothing was withdrawn.
        def story() -> None:
            self.unquiesce_request(self.request_id)
            self.deliver()

        def ask() -> None:
            self.request_id = self.quiesce(request_id=world.new_id())

        for _each in self.each(story, ask):
            with contextlib.suppress(*REFUSED):
                self.unquiesce_request(self.request_id)
            self.calm_down()
            self.assertEqual('active', self.states[0])
