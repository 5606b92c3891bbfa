# SPDX-License-Identifier: Apache-2.0

"""Every process is killed at every step, with guests that are not real.

Those of nova-compute are also done with real guests, see
:mod:`osc_quiesce.tests.scenario.test_compute`; with all others, the guest
cannot tell the difference.  nova-scheduler is not killed: it chooses hosts for
new servers, and has no part in a quiesce.
"""

from osc_quiesce.tests.faults import base

#: what is killed
PROCESSES = ('client', 'nova-api', 'nova-conductor', 'nova-quiesce',
             'nova-compute', 'broker', 'database')


class EveryProcessTest(base.FakeGuestsTest):

    def kill(self, process: str, step: base.Step) -> None:
        self.wait_until_up()
        servers = [self.boot(quiesce='slow:1', unquiesce='slow:1', wait=False)
                   for _number in range(3)]
        for server in servers:
            self.wait(server, 'active')
        self.inject(process, step, servers)


def _add(process: str, step: base.Step) -> None:
    def test(self: EveryProcessTest) -> None:
        self.kill(process, step)

    name = '%s killed while %s' % (process, step.name)
    setattr(EveryProcessTest,
            'test_' + name.replace(' ', '_').replace('-', '_'), test)


for _process in PROCESSES:
    for _step in base.STEPS:
        _add(_process, _step)
