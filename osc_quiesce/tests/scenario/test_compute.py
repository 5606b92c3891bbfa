# SPDX-License-Identifier: Apache-2.0

"""nova-compute is killed at each step of quiescing three real guests.

What it has told libvirt goes on without it: a freeze can be done after its
death, and before or after it is started again.
"""

import contextlib
import time
from collections.abc import Iterator

from osc_quiesce.tests.faults import base as faults
from osc_quiesce.tests.scenario import base

#: seconds without a record after which a guest counts as frozen; its writers
#: write one every twentieth of a second
GAP = 1.0


class ComputeTest(faults.FaultsTest, base.ScenarioTest):

    hypervisor = 'libvirt'
    held_while_killed = True
    # For a console to be told something while all are frozen.
    pause = 5
    # Real guests take longer to freeze, if the machine is busy.
    deadline = 30

    def history(self, server: str) -> list[faults.Frozen]:
        """Return when a guest was frozen, as its writer shows."""
        guest = self.guests[server]
        beat = guest.console.beats()[-1]
        offset = time.time() - beat
        times = [record.at for record in guest.console.records('vda')]
        found = [
            faults.Frozen(one + offset, other + offset)
            for one, other in zip(times, times[1:], strict=False)
            if other - one > GAP]
        if beat - times[-1] > GAP:
            found.append(faults.Frozen(times[-1] + offset, None))
        return found

    @contextlib.contextmanager
    def hold(self, step: faults.Step, server: str) -> Iterator[None]:
        """Have the agent do nothing, so that libvirt waits for it."""
        if step.task_state is None:
            yield
            return
        guest = self.guests[server]
        guest.tell('agent stop')
        try:
            yield
        finally:
            guest.tell('agent continue')

    def kill(self, step: faults.Step) -> None:
        self.wait_until_up()
        guests = self.start('first', 'second', 'last')
        self.guests = {guest.id: guest for guest in guests}
        # From now on libvirt waits for an agent as long as it takes.
        self.quiesce(*guests)
        self.unquiesce(*guests)
        self.inject('nova-compute', step, list(self.guests))


def _add(step: faults.Step) -> None:
    def test(self: ComputeTest) -> None:
        self.kill(step)

    setattr(ComputeTest, 'test_killed_while_' + step.name.replace(' ', '_'),
            test)


for _step in faults.STEPS:
    _add(_step)
