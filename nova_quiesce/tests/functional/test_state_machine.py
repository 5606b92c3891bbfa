# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""No interleaving of requests, services, faults and clocks freezes a guest.

A property test: hypothesis makes up what users, services, the message bus,
the guest and the clock do, in any order, and each service can be stopped,
killed or overtaken between any two of its steps.
"""

import os

import hypothesis
from hypothesis import stateful
from hypothesis import strategies

from nova_quiesce.tests.functional import world

HOSTS = ('one', 'two')
PICK = strategies.integers(0, 1000)
AFTER = strategies.sampled_from((None, 3, 60))
FREEZE = strategies.sampled_from(world.FREEZES)
#: what becomes of the first one: most rules of recovery are for one that may
#: come late
FIRST_FREEZE = strategies.sampled_from(
    (*world.FREEZES, 'is held up on the bus', 'is held up on the bus'))
THAW = strategies.sampled_from(world.THAWS)
#: None: without a stop
STEPS = strategies.one_of(strategies.none(), strategies.integers(0, 12))
#: by how many seconds the clock is set. Where something is begun this is part
#: of the same rule: one that comes later mostly finds nothing under way.
CLOCK = strategies.sampled_from((0, -86400, -300, 86400))


class StateMachine(stateful.RuleBasedStateMachine):
    """One server, two services."""

    def __init__(self) -> None:
        super().__init__()
        self.world = world.World()
        for host in HOSTS:
            self.world.start_service(host)

    def teardown(self) -> None:
        try:
            self.world.heal()
            self.world.check_end()
        finally:
            self.world.end()

    def go(self, work: world.Work, steps: int | None) -> None:
        """Let a service work for some steps, or to the end."""
        self.world.report()
        work.go(steps)

    def recover(self, host: int) -> None:
        """Let a service sweep, and do all that comes of it."""
        services = list(self.world.services.values())
        service = services[host % len(services)]
        self.world.guest.thaw = 'works'
        self.go(service.sweep(), None)
        while self.world.bus.messages:
            self.go(service.take(self.world.bus.messages.pop(0)), None)

    def paused(self) -> list[world.Work]:
        """Return what nova-api and services have begun and not ended."""
        return [work for work in (*self.world.asking, *(
            work for service in self.world.services.values()
            for work in service.works)) if not work.done]

    @stateful.initialize(
        after=AFTER, host=PICK, steps=STEPS, freeze=FIRST_FREEZE, thaw=THAW,
        clock=CLOCK,
        locked=strategies.sampled_from(('no', 'no', 'asked', 'at work')))
    def begin(self, after: int | None, host: int, steps: int | None,
              freeze: str, thaw: str, clock: int, locked: str) -> None:
        # What all stories begin with.
        if locked == 'asked':
            self.world.lock(lambda: self.quiesce(after))
        else:
            self.quiesce(after)
        if locked == 'at work':
            self.world.lock(
                lambda: self.deliver(0, host, steps, freeze, thaw, clock))
        else:
            self.deliver(0, host, steps, freeze, thaw, clock)
        if clock:
            self.recover(host)

    # Users ---------------------------------------------------------------

    # Nova's refusals are tested elsewhere: here they would waste steps.

    @stateful.precondition(lambda self: self.world.states() == (
        'active', None))
    @stateful.rule(after=AFTER)
    def quiesce(self, after: int | None) -> None:
        self.world.post({'quiesce': after and {'unquiesce_after': after}})

    @stateful.precondition(lambda self: self.world.states() == (
        'quiesced', None))
    @stateful.rule()
    def unquiesce(self) -> None:
        self.world.post({'unquiesce': None})

    @stateful.precondition(lambda self: self.world.states() in (
        ('active', None), ('quiesced', None)))
    @stateful.rule(after=AFTER, steps=strategies.integers(0, 5))
    def ask_slowly(self, after: int | None, steps: int) -> None:
        self.go(self.world.ask(
            {'unquiesce': None} if self.world.states() == ('quiesced', None)
            else {'quiesce': after and {'unquiesce_after': after}}), steps)

    @stateful.precondition(lambda self: self.world.states() != (
        'active', None))
    @stateful.rule(state=strategies.sampled_from(('active', 'error')))
    def reset(self, state: str) -> None:
        self.world.post({'os-resetState': {'state': state}})

    @stateful.precondition(lambda self: self.world.states() in (
        ('active', None), ('quiesced', None)))
    @stateful.rule(after=AFTER)
    def lock_while_asked(self, after: int | None) -> None:
        if self.world.states() == ('quiesced', None):
            self.world.lock(self.unquiesce)
        else:
            self.world.lock(lambda: self.quiesce(after))

    @stateful.precondition(lambda self: self.paused())
    @stateful.rule(which=PICK, steps=strategies.integers(1, 4))
    def lock_while_at_work(self, which: int, steps: int) -> None:
        self.world.lock(lambda: self.go_on(which, steps))

    @stateful.precondition(lambda self: self.world.bus.messages
                           or self.paused())
    @stateful.rule(really=strategies.integers(0, 3))
    def delete(self, really: int) -> None:
        # Not too often: nothing of interest follows.
        if really == 0:
            self.world.delete()

    # The bus -------------------------------------------------------------

    @stateful.precondition(lambda self: self.world.bus.messages
                           and self.world.services)
    @stateful.rule(message=PICK, host=PICK, steps=STEPS, freeze=FREEZE,
                   thaw=THAW, clock=CLOCK)
    def deliver(self, message: int, host: int, steps: int | None,
                freeze: str, thaw: str, clock: int) -> None:
        self.world.guest.freeze, self.world.guest.thaw = freeze, thaw
        messages = self.world.bus.messages
        services = list(self.world.services.values())
        self.go(services[host % len(services)].take(
            messages.pop(message % len(messages))), steps)
        self.world.set_clock(clock)

    @stateful.precondition(lambda self: self.world.bus.messages)
    @stateful.rule(message=PICK)
    def deliver_again(self, message: int) -> None:
        messages = self.world.bus.messages
        messages.append(messages[message % len(messages)])

    @stateful.precondition(lambda self: self.world.bus.messages)
    @stateful.rule(message=PICK)
    def lose(self, message: int) -> None:
        messages = self.world.bus.messages
        messages.pop(message % len(messages))

    # Services ------------------------------------------------------------

    @stateful.precondition(lambda self: self.world.services)
    @stateful.rule(host=PICK, steps=STEPS)
    def sweep(self, host: int, steps: int | None) -> None:
        services = list(self.world.services.values())
        self.go(services[host % len(services)].sweep(), steps)

    @stateful.precondition(lambda self: self.paused())
    @stateful.rule(which=PICK, steps=STEPS)
    def go_on(self, which: int, steps: int | None) -> None:
        paused = self.paused()
        self.go(paused[which % len(paused)], steps)

    @stateful.precondition(lambda self: self.paused())
    @stateful.rule(which=PICK)
    def kill(self, which: int) -> None:
        # In the middle of something; at rest, it is as if it were not there.
        paused = self.paused()
        work = paused[which % len(paused)]
        if work in self.world.asking:
            self.world.kill_api(work)
        else:
            self.world.kill(next(
                host for host, service in self.world.services.items()
                if work in service.works))

    @stateful.precondition(lambda self: len(self.world.services) < len(HOSTS))
    @stateful.rule()
    def start(self) -> None:
        for host in HOSTS:
            if host not in self.world.services:
                self.world.start_service(host)

    @stateful.precondition(lambda self: self.world.services)
    @stateful.rule(host=PICK)
    def cut_off(self, host: int) -> None:
        """The others take a service for dead, and it works all the same."""
        services = list(self.world.services.values())
        service = services[host % len(services)]
        service.reports = not service.reports

    # The guest -----------------------------------------------------------

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
        self.world.restart_guest()

    @stateful.precondition(lambda self: self.world.guest.on_bus)
    @stateful.rule()
    def arrive(self) -> None:
        self.world.arrive()

    # The clock -----------------------------------------------------------

    @stateful.rule(seconds=strategies.sampled_from((1, 5, 30, 400)))
    def wait(self, seconds: int) -> None:
        self.world.advance(seconds)

    @stateful.precondition(lambda self: self.world.services)
    @stateful.rule(seconds=CLOCK, host=PICK)
    def set_clock(self, seconds: int, host: int) -> None:
        self.world.set_clock(seconds)
        self.recover(host)    # before anything else happens

    @stateful.invariant()
    def no_guest_is_frozen_without_a_mark(self) -> None:
        self.world.check_mark()


#: how many stories; by default a few, and the same ones each time
STORIES = os.environ.get('STORIES')
StateMachine.TestCase.settings = hypothesis.settings(
    max_examples=int(STORIES or 80), stateful_step_count=30, deadline=None,
    derandomize=not STORIES, database=None, print_blob=True,
    suppress_health_check=list(hypothesis.HealthCheck))
StateMachineTest = StateMachine.TestCase
