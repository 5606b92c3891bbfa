# SPDX-License-Identifier: Apache-2.0

"""What goes wrong with guests, made to go wrong with real ones.

Each ends in the state of the contract's table, with a message in words,
within a bounded time; and the server is usable afterwards, or after the
documented command.
"""

import contextlib
import subprocess
import time
from collections.abc import Iterator

from osc_quiesce.tests.functional import base as functional
from osc_quiesce.tests.scenario import base

#: seconds: [quiesce]operation_timeout of the cloud that these tests run on
RPC_TIMEOUT = 12.0
#: seconds in which a user is told, when nothing has to be waited for
SOON = 20.0
#: seconds after which the service has tried once more to thaw
RETRY = 60.0


class FaultTest(base.ScenarioTest):

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Fail if what is done takes longer."""
        began = time.monotonic()
        yield
        self.assertLess(time.monotonic() - began, seconds)

    def refused(self, guest: base.Guest, reason: str) -> None:
        """Quiescing is refused, with a reason, and the server stays."""
        with self.within(SOON):
            result = self.quiesce(guest, expect=1)
        self.assertIn(guest.id, result.stderr)
        self.assertIn(reason, result.stderr)
        self.assertEqual('ACTIVE', self.status(guest))

    def fails_to_thaw(self, guest: base.Guest, reason: str) -> None:
        """Unquiescing fails with a reason, and the server says so."""
        with self.within(SOON):
            result = self.unquiesce(guest, expect=1)
        self.assertIn(guest.id, result.stderr)
        self.assertIn('may still be frozen', result.stderr)
        self.assertIn(reason, result.stderr)
        self.assertEqual('ERROR', self.status(guest))

    def recovers(self, guest: base.Guest) -> None:
        """The service thaws the guest, and the documented command helps."""
        before = len(guest.console.records())
        self.wait_for(lambda: len(guest.console.records()) > before,
                      'the service thaws %s' % guest.name, RETRY)
        self.put_back(guest)

    def put_back(self, guest: base.Guest) -> None:
        """Do what the operator guide says once the guest is thawed.

        Until the service knows that, it tries to thaw it now and then, and
        refuses what comes just at that moment.
        """
        self.shell('%s thaw --timeout 100 %s' % (
            self.status_command(), guest.id))
        self.openstack('server set --auto-approve --state active %s'
                       % guest.name)
        self.wait(guest.id, 'active')
        self.usable(guest)

    def reboot_hard(self, guest: base.Guest) -> None:
        """Do what always helps: again while a thaw is being tried.

        With --wait the command would give up at once: it sees ERROR.
        """
        before = len(guest.console.records())
        self.insist('openstack server reboot --hard %s' % guest.name)
        self.wait_for(lambda: len(guest.console.records()) > before
                      and guest.agent_is('connected'),
                      'it has started again', base.BOOT)

    def usable(self, guest: base.Guest) -> None:
        """The server can be quiesced and unquiesced."""
        self.quiesce(guest)
        guest.assert_frozen()
        self.unquiesce(guest)
        guest.assert_writing()

    def insist(self, command: str) -> None:
        """Repeat a command until it succeeds."""
        self.shell('for attempt in $(seq 20); do %s && exit; sleep 1; done; '
                   'exit 1' % command)

    @staticmethod
    def status_command() -> str:
        """Return the command for operators, without its arguments."""
        return 'nova-quiesce-status --config-file %s' % (
            functional.cloud().layout.etc / 'nova.conf')

    def maybe_frozen(self) -> str:
        """Return what it says of servers that may be frozen."""
        return self.shell('%s list' % self.status_command()).stdout

    def test_image_without_the_property(self) -> None:
        [guest] = self.start('plain', image='tiny-noagent', agent='')
        self.refused(guest, 'QEMU guest agent is not enabled')
        guest.assert_writing()

    def test_agent_never_started(self) -> None:
        [guest] = self.start('silent', image='tiny-agent-absent',
                             agent='disconnected')
        self.refused(guest, 'QEMU guest agent is not connected')
        guest.assert_writing()

    def test_agent_ended(self) -> None:
        [guest] = self.start('ended')
        guest.tell('agent off')
        self.wait_for(lambda: guest.agent_is('disconnected'), 'it is gone')
        self.refused(guest, 'QEMU guest agent is not connected')
        guest.assert_writing()
        guest.tell('agent on')
        self.wait_for(lambda: guest.agent_is('connected'), 'it is back')
        self.usable(guest)

    def test_agent_hung(self) -> None:
        guest, other = self.start('hung', 'other')
        # From now on libvirt waits for this agent, and for ever.
        self.usable(guest)
        guest.tell('agent stop')
        with self.within(RPC_TIMEOUT + 2 * SOON):
            hangs = subprocess.Popen(
                ['openstack', 'server', 'quiesce', '--wait', guest.name],
                env=self.environment(), text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.wait_for(lambda: self.states(guest.id)[1] == 'quiescing',
                          'it was asked')
            # Nobody else has to wait for it.
            self.act(other.id, {'quiesce': None})
            self.wait(other.id, 'quiesced')
            self.assertEqual(('active', 'quiescing'), self.states(guest.id))
            self.act(other.id, {'unquiesce': None})
            self.wait(other.id, 'active')
            _stdout, said = hangs.communicate()
        self.assertEqual(1, hangs.returncode, said)
        self.assertIn(guest.id, said)
        self.assertIn('no answer from nova-compute', said)
        self.assertEqual('ERROR', self.status(guest))
        # It does what it was told as soon as it is able to: that is the
        # freeze that everybody has given up.
        guest.tell('agent continue')
        self.recovers(guest)

    def test_agent_hung_for_good(self) -> None:
        [guest] = self.start('hopeless')
        self.usable(guest)
        guest.tell('agent stop')
        with self.within(RPC_TIMEOUT + SOON):
            said = self.quiesce(guest, expect=1).stderr
        self.assertIn('no answer from nova-compute', said)
        self.reboot_hard(guest)
        # A thaw that came before the agent had started has failed.
        self.put_back(guest)

    def test_agent_hung_from_the_start(self) -> None:
        [guest] = self.start('never')
        guest.tell('agent stop')
        # libvirt, which has not spoken with it yet, gives up by itself.
        with self.within(RPC_TIMEOUT + SOON):
            said = self.quiesce(guest, expect=1).stderr
        self.assertIn(guest.id, said)
        self.assertIn('Guest agent not available for now', said)
        self.assertEqual('ERROR', self.status(guest))
        guest.tell('agent continue')
        self.recovers(guest)

    def test_agent_killed_while_frozen(self) -> None:
        [guest] = self.start('killed')
        self.quiesce(guest)
        before = guest.console.text().count(b'agent starting')
        guest.tell('agent kill')
        # For a while libvirt may have the one that was killed as connected.
        self.wait_for(
            lambda: guest.console.text().count(b'agent starting') > before
            and guest.agent_is('connected'), 'another agent is there')
        guest.assert_frozen()
        with self.within(SOON):
            self.unquiesce(guest)
        guest.assert_writing()

    def test_agent_gone_while_frozen(self) -> None:
        [guest] = self.start('gone')
        self.quiesce(guest)
        guest.tell('agent off')
        self.wait_for(lambda: guest.agent_is('disconnected'), 'it is gone')
        self.fails_to_thaw(guest, 'QEMU guest agent is not connected')
        guest.assert_frozen()
        guest.tell('agent on')
        self.recovers(guest)

    def test_guest_paused_behind_novas_back(self) -> None:
        [guest] = self.start('paused')
        guest.domain.suspend()
        self.refused(guest, 'the guest is not running on the hypervisor')
        guest.domain.resume()
        guest.assert_writing()
        self.usable(guest)

    def test_guest_paused_while_frozen(self) -> None:
        [guest] = self.start('paused-later')
        self.quiesce(guest)
        guest.domain.suspend()
        self.fails_to_thaw(guest, 'domain is not running')
        guest.domain.resume()
        self.recovers(guest)

    def test_guest_frozen_behind_novas_back(self) -> None:
        [guest] = self.start('theirs')
        guest.domain.fsFreeze()
        self.refused(guest, 'frozen by another program')
        # Whoever froze it owns it.
        guest.assert_frozen()
        guest.domain.fsThaw()
        guest.assert_writing()
        self.usable(guest)

    def test_guest_thawed_behind_novas_back(self) -> None:
        [guest] = self.start('thawed')
        self.quiesce(guest)
        guest.domain.fsThaw()
        guest.assert_writing()
        with self.within(SOON):
            self.unquiesce(guest)
        self.assertEqual('ACTIVE', self.status(guest))
        guest.assert_writing()

    def test_guest_rebooted_while_frozen(self) -> None:
        [guest] = self.start('rebooted')
        self.quiesce(guest)
        for kind in ('--soft', '--hard'):
            said = self.openstack('server reboot %s %s' % (kind, guest.name),
                                  expect=1).stderr
            self.assertIn('vm_state quiesced', said)
        guest.assert_frozen()
        guest.tell('reboot')
        before = len(guest.console.records())
        self.wait_for(lambda: len(guest.console.records()) > before
                      and guest.agent_is('connected'),
                      'it has started again, thawed', base.BOOT)
        with self.within(SOON):
            self.unquiesce(guest)
        self.assertEqual('ACTIVE', self.status(guest))
        self.usable(guest)

    def test_guest_stopped_while_frozen(self) -> None:
        [guest] = self.start('stopped')
        self.quiesce(guest)
        said = self.openstack('server stop %s' % guest.name, expect=1).stderr
        self.assertIn('vm_state quiesced', said)
        guest.assert_frozen()
        guest.domain.destroy()
        # It might as well be paused, and frozen.
        self.fails_to_thaw(guest, 'domain is not running')
        self.reboot_hard(guest)
        self.put_back(guest)

    def test_guest_deleted_while_frozen(self) -> None:
        [guest] = self.start('deleted')
        self.quiesce(guest)
        with self.within(SOON):
            self.openstack('server delete --wait %s' % guest.name)
        said = self.openstack('server show %s' % guest.name, expect=1).stderr
        self.assertIn(guest.name, said)
        self.assertNotIn(guest.id, [
            domain.UUIDString()
            for domain in base.connection().listAllDomains()])
        self.assertNotIn(guest.id, self.maybe_frozen())
