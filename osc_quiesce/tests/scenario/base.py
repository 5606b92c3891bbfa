# SPDX-License-Identifier: Apache-2.0

"""What the scenario tests share: servers whose guests can be watched."""

import functools
import re
import time
from collections.abc import Callable
from typing import Any

from minicloud import hypervisor
from minicloud import seed
from minicloud.guest import console

from osc_quiesce.tests.functional import base

#: seconds for which a guest is watched that must not write: it would have
#: written some 20 records, and more until its heart beats again
WATCH = 1.0
#: seconds in which eight guests start on two cores, without KVM
BOOT = 180.0


@functools.cache
def connection() -> Any:
    """Return libvirt, with the guests of the cloud."""
    import libvirt
    # What it raises is enough: it need not print it too.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    return libvirt.open(hypervisor.uri(base.cloud().layout))


class Guest:
    """The guest of a server, seen from outside.

    :param test: the test that it belongs to
    :param server_id: the id of its server
    :param name: the name of its server
    """

    def __init__(self, test: 'ScenarioTest', server_id: str,
                 name: str) -> None:
        self.test = test
        self.id = server_id
        self.name = name
        log = base.cloud().layout.console_of(server_id)
        self.directory = log.parent
        self.console = console.Console(log)

    @property
    def domain(self) -> Any:
        """The guest in libvirt."""
        return connection().lookupByUUIDString(self.id)

    def tell(self, words: str) -> None:
        """Type a line on its console, and wait until it is done."""
        self.console.tell(self.domain, words)

    def agent_is(self, state: str) -> bool:
        """Say whether that is the state of its agent in libvirt.

        :param state: ``connected``, ``disconnected``, or nothing if the
            guest has no channel for one
        """
        import libvirt
        try:
            description = self.domain.XMLDesc()
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return False    # Nova is making it again, for a hard reboot
        found = re.search(r"name='org.qemu.guest_agent.0' state='(\w+)'",
                          description)
        return state == (found[1] if found else '')

    def disks(self) -> set[str]:
        """Return which disks it has written to since it started."""
        return {record.disk for record in self.console.records()}

    def has_started(self, disks: int, agent: str) -> bool:
        """Say whether it writes to its disks, and how its agent is."""
        return len(self.disks()) == disks and self.agent_is(agent)

    def beat(self) -> float:
        """Return a time on the guest's own clock that is after this call.

        What a guest says may arrive late: so the first heartbeat from now
        on may have been before, but the second one was not.
        """
        before = len(self.console.beats())
        self.test.wait_for(lambda: len(self.console.beats()) >= before + 2,
                           'the guest of %s runs' % self.name)
        return self.console.beats()[-1]

    def new_records(self) -> Callable[[], list[console.Record]]:
        """Return what returns the records that it has written since."""
        before = len(self.console.records())
        began = self.beat()
        return lambda: [record for record in self.console.records()[before:]
                        if record.at > began]

    def assert_frozen(self) -> None:
        """It writes nothing anywhere, and yet it runs."""
        written = self.new_records()
        time.sleep(WATCH)
        self.beat()
        self.test.assertEqual([], written())

    def assert_writing(self) -> None:
        """It writes on each of its disks."""
        disks = self.disks()
        self.test.assertNotEqual(set(), disks)
        written = self.new_records()
        self.test.wait_for(
            lambda: {record.disk for record in written()} == disks,
            '%s writes on all of %s' % (self.name, disks))


class ScenarioTest(base.FunctionalTest):
    """A test with real guests."""

    def setUp(self) -> None:
        super().setUp()
        # So long may it take until they are ACTIVE, or gone.
        self.patch(base, 'TIMEOUT', BOOT)

    def start(self, *names: str, image: str = 'tiny', flavor: str = 'tiny',
              agent: str = 'connected') -> list[Guest]:
        """Create servers, deleted after the test, and wait for the guests.

        :param names: of the servers
        :param agent: what libvirt must have of the guest's agent
        """
        disks = 2 if seed.FLAVORS[flavor] else 1
        guests = []
        for name in names:
            made = self.openstack(
                'server create --image %s --flavor %s --nic none -f json %s'
                % (image, flavor, name))
            server_id = made.data['id']
            self.addCleanup(self._delete, server_id)
            guests.append(Guest(self, server_id, name))
        for guest in guests:
            self.wait(guest.id, 'active')
            self.wait_for(functools.partial(guest.has_started, disks, agent),
                          '%s has started' % guest.name, BOOT)
        return guests

    def status(self, guest: Guest) -> str:
        """Return what ``openstack server show`` says."""
        return str(self.openstack('server show -f json -c status %s'
                                  % guest.name).data['status'])

    def quiesce(self, *guests: Guest, expect: int = 0) -> base.Result:
        """Quiesce servers as a user does."""
        return self.openstack(
            'server quiesce --wait -f json %s'
            % ' '.join(guest.name for guest in guests), expect=expect)

    def unquiesce(self, *guests: Guest, expect: int = 0) -> base.Result:
        """Unquiesce servers as a user does."""
        return self.openstack(
            'server unquiesce --wait -f json %s'
            % ' '.join(guest.name for guest in guests), expect=expect)
