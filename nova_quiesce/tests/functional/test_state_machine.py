# SPDX-License-Identifier: Apache-2.0

"""No interleaving of requests, services and faults breaks a law.

A property test: hypothesis makes up what users, services, the message bus,
the databases, the guest and the clocks do, in any order, and each service and
each nova-api can be stopped, killed or overtaken between any two of its steps.
"""

import atexit
import os
import sys
from typing import Any

import hypothesis
from hypothesis import stateful
from hypothesis import strategies

from nova_quiesce.tests.functional import world

#: names of the processes, and of their hosts: two have the same
HOSTS = {'one': 'one', 'two': 'two', 'twin': 'one'}
PICK = strategies.integers(0, 1000)
AFTER = strategies.sampled_from((None, 3, 60))
#: what becomes of them: they work often enough to come to something
FREEZE = strategies.sampled_from((*world.FREEZES, *4 * ('works',)))
THAW = strategies.sampled_from((*world.THAWS, *2 * ('works',)))
#: None: without a stop
STEPS = strategies.one_of(strategies.none(), strategies.integers(0, 24))
#: by how many seconds the clocks of the hosts are set
CLOCK = strategies.sampled_from((-86400, -300, 86400))
#: what becomes of the next commits: mostly nothing
COMMIT = strategies.one_of(
    strategies.none(), strategies.none(), strategies.tuples(
        strategies.integers(0, 9), strategies.sampled_from(world.COMMITS)))
#: what may befall a service while it works
FAULTS = strategies.tuples(FREEZE, THAW, COMMIT)

Commit = tuple[int, str] | None
Faults = tuple[str, str, Commit]


class StateMachine(stateful.RuleBasedStateMachine):
    """One server, three services."""

    def __init__(self) -> None:
        super().__init__()
        self.world = world.World()
        for name, host in HOSTS.items():
            self.world.start_service(host, name)

    def teardown(self) -> None:
        try:
            world.SEEN['stories'] += 1
            self.world.heal()
            self.world.check_end()
        except AssertionError as error:
            error.add_note('\n'.join(self.world.trace))
            raise
        finally:
            self.world.end()

    def go(self, job: world.Job, steps: int | None,
           commit: Commit = None) -> None:
        """Let a service work for some steps, or to the end."""
        self.world.report()
        self.world.commit = commit
        job.go(steps)
        self.world.commit = None

    def service(self, number: int) -> world.Service:
        """Pick a service."""
        services = list(self.world.services.values())
        return services[number % len(services)]

    def take(self, host: int, hinted: bool, steps: int | None,
             faults: Faults) -> None:
        """Let a service take the row, and begin to work on it."""
        self.world.guest.freeze, self.world.guest.thaw, commit = faults
        self.go(self.service(host).take(self.world.uuid, hinted), steps,
                commit)

    def paused(self) -> list[world.Job]:
        """Return what nova-api and services have begun and not ended."""
        return [job for job in (*self.world.asking, *(
            job for service in self.world.services.values()
            for job in service.jobs)) if not job.done]

    def quiesce_body(self, after: int | None, chosen: bool) -> dict[str, Any]:
        """Return a new request."""
        details: dict[str, Any] = {}
        if after:
            details['unquiesce_after'] = after
        if chosen:
            details['request_id'] = self.world.new_request_id()
        return {'quiesce': details or None}

    def known(self, which: int) -> str:
        """Return the id of a request that was sent, or will be."""
        known = self.world.known
        row = self.world.row()
        if which % 2 and row is not None and row['request_id'] != 'unknown':
            return str(row['request_id'])
        if not known:
            return self.world.new_request_id()
        # The last ones are of more interest.
        return known[-1 - which % min(len(known), 3)]

    def ask(self, body: dict[str, Any], steps: int | None, commit: Commit,
            ) -> None:
        """Let nova-api begin with a request."""
        self.go(self.world.ask(body), steps, commit)

    @stateful.initialize(after=AFTER, chosen=strategies.booleans(), host=PICK,
                         steps=STEPS, faults=FAULTS)
    def begin(self, after: int | None, chosen: bool, host: int,
              steps: int | None, faults: Faults) -> None:
        # What all stories begin with.
        self.world.report()
        self.world.post(self.quiesce_body(after, chosen))
        self.deliver(0, host, steps, faults)

    # Users ---------------------------------------------------------------

    # Nova's refusals are tested elsewhere: here they would waste steps.

    @stateful.precondition(lambda self: self.world.states() == (
        'active', None))
    @stateful.rule(after=AFTER, chosen=strategies.booleans(), steps=STEPS,
                   commit=COMMIT)
    def quiesce(self, after: int | None, chosen: bool, steps: int | None,
                commit: Commit) -> None:
        self.ask(self.quiesce_body(after, chosen), steps, commit)

    @stateful.precondition(lambda self: self.world.states() is not None
                           and self.world.known)
    @stateful.rule(which=PICK, steps=STEPS, commit=COMMIT)
    def quiesce_again(self, which: int, steps: int | None, commit: Commit,
                      ) -> None:
        """A request is repeated, or a copy of it comes late."""
        self.ask({'quiesce': {'request_id': self.known(which)}}, steps,
                 commit)

    @stateful.precondition(lambda self: self.world.states() == (
        'quiesced', None))
    @stateful.rule(steps=STEPS, commit=COMMIT)
    def unquiesce(self, steps: int | None, commit: Commit) -> None:
        self.ask({'unquiesce': None}, steps, commit)

    @stateful.precondition(lambda self: self.world.row() is not None)
    @stateful.rule(which=PICK, new=strategies.integers(0, 7), steps=STEPS,
                   commit=COMMIT)
    def unquiesce_request(self, which: int, new: int, steps: int | None,
                          commit: Commit) -> None:
        chosen = (self.world.new_request_id() if new == 0
                  else self.known(which))
        self.ask({'unquiesce': {'request_id': chosen}}, steps, commit)

    @stateful.precondition(lambda self: self.world.cell == 'works' and (
        self.world.states() not in (None, ('active', None))))
    @stateful.rule(state=strategies.sampled_from(('active', 'error')))
    def reset(self, state: str) -> None:
        self.world.reset(state)

    # Nova refuses it for a quiesced server, and for one with a task.
    @stateful.precondition(lambda self: self.world.cell == 'works' and (
        self.world.row() is not None and self.world.states() in (
            ('active', None), ('error', None), ('stopped', None))))
    @stateful.rule()
    def stop_or_start(self) -> None:
        if self.world.states() == ('stopped', None):
            self.world.start()
        else:
            self.world.stop()

    @stateful.precondition(lambda self: self.world.row() is not None)
    @stateful.rule(really=strategies.integers(0, 5))
    def delete(self, really: int) -> None:
        # Not too often: nothing of interest follows.
        if really == 0:
            self.world.delete()

    # The bus -------------------------------------------------------------

    @stateful.precondition(lambda self: self.world.bus.messages
                           and self.world.services)
    @stateful.rule(message=PICK, host=PICK, steps=STEPS, faults=FAULTS)
    def deliver(self, message: int, host: int, steps: int | None,
                faults: Faults) -> None:
        messages = self.world.bus.messages
        messages.pop(message % len(messages))
        self.take(host, True, steps, faults)

    @stateful.precondition(lambda self: self.world.services
                           and self.world.row() is not None)
    @stateful.rule(host=PICK, steps=STEPS, faults=FAULTS)
    def deliver_again(self, host: int, steps: int | None, faults: Faults,
                      ) -> None:
        """A hint comes twice, or late."""
        self.take(host, True, steps, faults)

    @stateful.precondition(lambda self: self.world.bus.messages)
    @stateful.rule()
    def lose(self) -> None:
        self.world.bus.messages.pop()

    # Services ------------------------------------------------------------

    @stateful.precondition(lambda self: self.world.services
                           and self.world.due_in() is not None)
    @stateful.rule(host=PICK, steps=STEPS, faults=FAULTS)
    def take_over(self, host: int, steps: int | None, faults: Faults) -> None:
        """Time passes until the row is due, and a tick finds it."""
        self.world.advance(max(self.world.due_in() or 0.0, 0.0))
        for _uuid in self.service(host).due():
            self.take(host, False, steps, faults)

    @stateful.precondition(lambda self: self.world.services and (
        self.world.row() is not None or (self.world.states() or (0, 0))[1]))
    @stateful.rule(host=PICK, steps=STEPS, commit=COMMIT)
    def sweep(self, host: int, steps: int | None, commit: Commit) -> None:
        self.go(self.service(host).sweep(), steps, commit)

    @stateful.precondition(lambda self: self.paused())
    @stateful.rule(which=PICK, steps=STEPS, commit=COMMIT)
    def go_on(self, which: int, steps: int | None, commit: Commit) -> None:
        paused = self.paused()
        self.go(paused[which % len(paused)], steps, commit)

    @stateful.precondition(lambda self: self.paused() and self.world.services
                           and self.world.due_in() is not None)
    @stateful.rule(which=PICK, rounds=strategies.integers(1, 4), host=PICK,
                   faults=FAULTS, again=strategies.booleans(), steps=STEPS)
    def overtake(self, which: int, rounds: int, host: int, faults: Faults,
                 again: bool, steps: int | None) -> None:
        """What stands still goes on after others have done its work."""
        paused = self.paused()
        for _round in range(rounds):
            if self.world.due_in() is not None:
                self.take_over(host, None, faults)
        if again and self.world.states() == ('active', None):
            self.world.report()
            if self.world.cell == 'works':
                self.world.post({'quiesce': None})
                self.deliver_again(host, steps, faults)
        job = paused[which % len(paused)]
        if not job.done:
            self.go(job, steps)

    @stateful.precondition(lambda self: self.paused())
    @stateful.rule(which=PICK)
    def kill(self, which: int) -> None:
        # In the middle of something; at rest, it is as if it were not there.
        paused = self.paused()
        job = paused[which % len(paused)]
        if job in self.world.asking:
            self.world.kill_api(job)
        else:
            self.world.kill(next(
                name for name, service in self.world.services.items()
                if job in service.jobs))

    @stateful.precondition(lambda self: len(self.world.services) < len(HOSTS))
    @stateful.rule()
    def start(self) -> None:
        for name, host in HOSTS.items():
            if name not in self.world.services:
                self.world.start_service(host, name)

    @stateful.precondition(lambda self: self.world.services)
    @stateful.rule(host=PICK)
    def cut_off(self, host: int) -> None:
        """The others take a service for dead, and it works all the same."""
        service = self.service(host)
        service.reports = not service.reports

    # The guest, its host, and the cell -----------------------------------

    @stateful.rule()
    def hang_or_wake(self) -> None:
        if self.world.guest.hung:
            self.world.guest.wake()
        else:
            self.world.guest.hung = True

    @stateful.precondition(lambda self: self.world.guest.frozen
                           or self.world.guest.hung)
    @stateful.rule()
    def restart(self) -> None:
        self.world.guest.restart()

    @stateful.precondition(lambda self: self.world.guest.late)
    @stateful.rule(which=PICK)
    def arrive(self, which: int) -> None:
        late = self.world.guest.late
        self.world.arrive(late[which % len(late)])

    @stateful.rule()
    def compute_goes_down_or_up(self) -> None:
        self.world.compute_up = not self.world.compute_up

    @stateful.rule(how=strategies.sampled_from(world.CELLS))
    def set_cell(self, how: str) -> None:
        self.world.set_cell('works' if self.world.cell != 'works' else how)

    # The clocks ----------------------------------------------------------

    @stateful.rule(seconds=strategies.sampled_from((1, 5, 30, 400)))
    def wait(self, seconds: int) -> None:
        self.world.advance(seconds)

    @stateful.rule(seconds=CLOCK)
    def set_clock(self, seconds: int) -> None:
        self.world.set_clock(seconds)

    @stateful.invariant()
    def the_laws_hold(self) -> None:
        try:
            self.world.check()
        except AssertionError as error:
            error.add_note('\n'.join(self.world.trace))
            raise


def _tell() -> None:
    """Tell what the stories came to, and which were left out."""
    for name, found in (('seen', world.SEEN), ('excluded', world.EXCLUDED)):
        print('%s: %s' % (name, dict(sorted(found.items()))),
              file=sys.stderr)


#: how many stories; by default a few, and the same ones each time
STORIES = os.environ.get('STORIES')
#: from so many on, they come to each of these
ENOUGH = 60
MUST_BE_SEEN = {'quiesced', 'it was thawing', 'it was withdrawn', 'lapsed'}
if STORIES:
    atexit.register(_tell)
_Test: Any = StateMachine.TestCase
_Test.settings = hypothesis.settings(
    max_examples=int(STORIES or 80), stateful_step_count=30, deadline=None,
    derandomize=not STORIES, database=None, print_blob=True,
    suppress_health_check=list(hypothesis.HealthCheck))


class StateMachineTest(_Test):  # type: ignore[misc]
    """All stories, and what they must have come to."""

    def runTest(self) -> None:
        for counter in (world.SEEN, world.EXCLUDED):
            counter.clear()    # of other tests of this process
        super().runTest()
        stories = world.SEEN['stories']
        self.assertLess(world.EXCLUDED.total(), stories / 2)
        self.assertGreater(world.SEEN['frozen'], stories / 4)
        if stories >= ENOUGH:
            self.assertEqual(set(), MUST_BE_SEEN - set(world.SEEN))


del _Test    # else it is found as another test
