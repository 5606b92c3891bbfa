# SPDX-License-Identifier: Apache-2.0

"""A libvirtd that the machine has already does not notice the cloud."""

import os
import pathlib
import subprocess
from typing import Any

from minicloud import hypervisor

from osc_quiesce.tests.functional import base as functional
from osc_quiesce.tests.scenario import base

MACHINE = 'qemu:///system'
PLACES = (*hypervisor.PLACES, '/run/libvirt')
BYSTANDER = """
<domain type='qemu'>
  <name>bystander</name>
  <memory unit='MiB'>16</memory>
  <os><type>hvm</type></os>
</domain>
"""


def files() -> dict[str, tuple[int, int]]:
    """Return all files of the machine's libvirtd: their sizes and times."""
    found = {}
    for place in PLACES:
        for path in pathlib.Path(place).rglob('*'):
            status = path.lstat()
            found[str(path)] = status.st_size, status.st_mtime_ns
    return found


class LibvirtdTest(base.ScenarioTest):

    def machine(self) -> Any:
        """Return the machine's libvirtd, which is started if need be."""
        import libvirt
        base.connection()  # so that errors are not printed
        try:
            connection = libvirt.open(MACHINE)
        except libvirt.libvirtError:
            environment = {**os.environ, 'PATH': os.pathsep.join(
                (os.environ['PATH'], '/usr/sbin', '/sbin'))}
            daemon = subprocess.Popen(
                ['libvirtd'], env=environment,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.addCleanup(daemon.wait, 20)
            self.addCleanup(daemon.terminate)
            self.wait_for(lambda: self._answers(libvirt),
                          'the libvirtd of the machine answers')
            connection = libvirt.open(MACHINE)
        self.addCleanup(connection.close)
        return connection

    @staticmethod
    def _answers(libvirt: Any) -> bool:
        try:
            libvirt.open(MACHINE).close()
        except libvirt.libvirtError:
            return False
        return True

    def test_what_the_machine_has_is_left_alone(self) -> None:
        theirs = self.machine()
        bystander = theirs.defineXML(BYSTANDER)
        self.addCleanup(bystander.undefine)
        before = files()
        # Ours starts beside it, and does all it does for the cloud.
        base.connection.cache_clear()
        cloud = functional.cloud()
        [compute] = [role for role in cloud.roles() if 'compute' in role]
        # nova-compute calls itself disabled if its libvirtd is gone.
        for role in (compute, 'hypervisor'):
            self.addCleanup(cloud.start, role)
            cloud.stop(role)
        for role in ('hypervisor', compute):
            cloud.start(role)
        self.wait_until_up()
        [guest] = self.start('beside')
        self.quiesce(guest)
        guest.assert_frozen()
        self.unquiesce(guest)
        guest.assert_writing()
        self.assertEqual(['bystander'],
                         [domain.name() for domain in theirs.listAllDomains()])
        self.assertNotIn('bystander', [
            domain.name() for domain in base.connection().listAllDomains()])
        self.assertEqual(before, files())
