# SPDX-License-Identifier: Apache-2.0

"""What ``--driver libvirt`` needs of the machine, and where its libvirtd is.

Nothing here starts or changes anything except the trial of KVM, which ends
before its function returns.
"""

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import threading

from minicloud import processes
from minicloud.errors import MinicloudError
from minicloud.guest import build
from minicloud.layout import Layout
from minicloud.layout import SOCKET_PATH_MAX

QEMU = 'qemu-system-x86_64'
#: commands that the hypervisor needs, and the Debian package of each
TOOLS = {'libvirtd': 'libvirt-daemon-system', QEMU: 'qemu-system-x86',
         'qemu-img': 'qemu-utils', 'mkfs.ext4': 'e2fsprogs',
         'unshare': 'util-linux', 'mount': 'mount'}
REQUIREMENTS = pathlib.Path(__file__).with_name('requirements-libvirt.txt')
#: Where libvirtd's paths are compiled in: each gets a directory of ours
#: put over it, in libvirtd's own view of the file system.
PLACES = {'/etc/libvirt': 'etc', '/var/lib/libvirt': 'lib',
          '/var/cache/libvirt': 'cache', '/var/log/libvirt': 'log'}
KVM = pathlib.Path('/dev/kvm')
#: changes whenever the machine boots
BOOT_ID = pathlib.Path('/proc/sys/kernel/random/boot_id')
#: seconds; a guest on a KVM that works says its first word much earlier
TRIAL = 15.0


def socket_of(layout: Layout) -> pathlib.Path:
    """Return where the cloud's own libvirtd listens."""
    return layout.hypervisor_run / 'libvirt' / 'libvirt-sock'


def uri(layout: Layout) -> str:
    """Return how Nova, and virsh, reach the cloud's own libvirtd."""
    return f'qemu+unix:///system?socket={socket_of(layout)}'


def missing() -> list[str]:
    """Return what the machine lacks, as lines that say how to get it."""
    lines = []
    if os.geteuid() != 0:
        lines.append('root: this is user %d' % os.geteuid())
    wanted = {package for command, package in TOOLS.items()
              if not _there(command)}
    wanted.update(build.missing_tools())
    if not all(os.path.isdir(place) for place in PLACES):
        wanted.add('libvirt-daemon-system')
    if not has_binding():
        wanted.update(_missing_headers())
    # Without systemd, this keeps apt from installing it.
    if ('libvirt-daemon-system' in wanted
            and not os.path.isdir('/run/systemd/system')):
        wanted.add('libvirt-daemon-system-sysv')
    if wanted:
        lines.append('packages: apt-get install --no-install-recommends '
                     + ' '.join(sorted(wanted)))
    return lines


def has_binding() -> bool:
    """Say whether this Python has libvirt-python."""
    return importlib.util.find_spec('libvirt') is not None


def binding_command(constraints: pathlib.Path | None = None) -> list[str]:
    """Return the command that builds libvirt-python.

    It is not among minicloud's requirements, since it cannot be built
    without libvirt's headers.
    """
    command = [sys.executable, '-m', 'pip', 'install', '-q', '-r',
               str(REQUIREMENTS)]
    return command + (['-c', str(constraints)] if constraints else [])


def _there(command: str) -> bool:
    # Some belong to the administrator, whose path not everybody has.
    path = os.environ.get('PATH', os.defpath)
    return shutil.which(command, path=f'{path}:/usr/sbin:/sbin') is not None


def _missing_headers() -> set[str]:
    """Return the packages without which libvirt-python cannot be built."""
    wanted = {package for command, package in (
        ('gcc', 'gcc'), ('pkg-config', 'pkg-config')) if not _there(command)}
    if 'pkg-config' in wanted or subprocess.run(
            ['pkg-config', '--exists', 'libvirt']).returncode:
        wanted.add('libvirt-dev')
    if not os.path.exists(os.path.join(sysconfig.get_path('include'),
                                       'Python.h')):
        wanted.add('python3-dev')
    return wanted


def check(layout: Layout) -> None:
    """Say what is missing, before anything is made.

    :raises MinicloudError: with what is missing, and how to get it
    """
    lines = missing()
    if not has_binding():
        lines.append('libvirt-python: ' + ' '.join(binding_command()))
    if lines:
        raise MinicloudError('--driver libvirt needs more than is here; '
                             'nothing was changed:\n  ' + '\n  '.join(lines))
    if len(str(socket_of(layout))) > SOCKET_PATH_MAX:
        raise MinicloudError(
            f'{socket_of(layout)} is longer than the {SOCKET_PATH_MAX} '
            'characters of a Unix socket: choose a shorter --root')


def virt_type(layout: Layout) -> str:
    """Return ``kvm`` if it works here, else ``qemu``; decided by trying.

    A device that can be opened proves nothing, nor does firmware that runs:
    the guest, which must have been built, has to start. The answer is kept
    until the machine boots anew.
    """
    if not KVM.exists():
        return 'qemu'
    boot = BOOT_ID.read_text().strip()
    told = processes.read_json(layout.kvm_trial)
    if told.get('boot') != boot:
        told = {'boot': boot, 'works': _kvm_works(layout)}
        processes.write_json(layout.kvm_trial, told)
    return 'kvm' if told['works'] else 'qemu'


def _kvm_works(layout: Layout) -> bool:
    """Start the guest with KVM, without disks, and wait for its first word."""
    try:
        trial = subprocess.Popen(
            [QEMU, '-accel', 'kvm', '-m', '128', '-nodefaults',
             '-display', 'none', '-no-reboot', '-serial', 'stdio',
             '-kernel', layout.guest / build.KERNEL,
             '-initrd', layout.guest / build.RAMDISK,
             '-append', build.COMMAND_LINE],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL)
    except OSError:
        return False
    timer = threading.Timer(TRIAL, trial.kill)
    timer.start()
    try:
        with trial:
            assert trial.stdout
            try:
                return any(line.startswith(b'GUEST')
                           for line in trial.stdout)
            finally:
                trial.kill()
    finally:
        timer.cancel()
