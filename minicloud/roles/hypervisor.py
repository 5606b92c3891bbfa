# SPDX-License-Identifier: Apache-2.0

"""A libvirtd of the cloud's own, and its guests.

It runs in a mount namespace, where the directories whose paths are compiled
into it are directories of the cloud, so that it and a libvirtd of the
machine never meet; and in a process namespace, so that the kernel ends it
and every guest when this process ends, whatever ended it. Both namespaces
go with their last process, and their mounts with them.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import threading
import time

from minicloud import devices
from minicloud import hypervisor
from minicloud import roles
from minicloud.errors import MinicloudError
from minicloud.roles.program import end_with_parent

#: The first process of the namespaces. It also collects the guests that
#: libvirtd has detached, at once: libvirtd waits until they are gone.
SCRIPT = """\
set -e
while [ "$1" != -- ]; do
    mount --bind "$1" "$2"
    shift 2
done
shift
if [ -e "$1" ]; then
    mount --bind "$1" "$2"
    mount -o remount,bind,ro "$2"
fi
libvirtd --pid-file /run/libvirtd.pid &
wait
echo '--- libvirtd has ended'
"""


def _binds(context: roles.Context) -> list[str]:
    """Make the directories, and return each with the place it covers."""
    layout = context.layout
    run = layout.hypervisor_run
    # Nothing of it outlives the guests.
    shutil.rmtree(run, ignore_errors=True)
    # What libvirtd does not make itself: its socket's place, and that of
    # the locks of consoles.
    for name in ('libvirt', 'lock'):
        (run / name).mkdir(parents=True)
    binds: list[str] = []
    for place, name in hypervisor.PLACES.items():
        path = layout.hypervisor / name
        path.mkdir(parents=True, exist_ok=True)
        binds.extend((str(path), place))
    for name in ('libvirtd.conf', 'qemu.conf'):
        shutil.copyfile(context.config(name), layout.hypervisor / 'etc'
                        / name)
    return [*binds, str(run), '/run']


def _hidden(context: roles.Context) -> str:
    """Return a file to hide KVM behind, or a name of nothing.

    A libvirtd that sees a KVM which does not work asks QEMU for its
    abilities again at every call.
    """
    path = context.layout.hypervisor / 'no-kvm'
    path.unlink(missing_ok=True)
    if (hypervisor.virt_type(context.layout) != 'kvm'
            and hypervisor.KVM.exists()):
        path.touch()
    return str(path)


def _first_process(unshare: int) -> int:
    """Return the namespaces' first process, once there is one."""
    path = pathlib.Path(f'/proc/{unshare}/task/{unshare}/children')
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if children := path.read_text().split():
            return int(children[0])
        time.sleep(0.02)
    raise TimeoutError('unshare has started nothing')


def _remove_devices(context: roles.Context) -> None:
    """Remove the network devices of guests that have ended."""
    try:
        devices.remove(context.layout)
    except MinicloudError as error:
        # The command that ends the cloud tries again, and says so.
        print(f'--- {error}', flush=True)


def run(context: roles.Context) -> subprocess.Popen[bytes]:
    # What guests had that did not end in peace.
    devices.remove(context.layout)
    process = subprocess.Popen(
        ['unshare', '--mount', '--propagation', 'private', '--pid', '--fork',
         '--mount-proc', '--kill-child', 'sh', '-c', SCRIPT, 'sh',
         *_binds(context), '--', _hidden(context), str(hypervisor.KVM)],
        stdin=subprocess.DEVNULL, preexec_fn=end_with_parent(os.getpid()))
    first = _first_process(process.pid)

    ending = threading.Event()

    def end() -> None:
        """End libvirtd and all guests, and remove what they leave."""
        ending.set()
        with contextlib.suppress(ProcessLookupError):
            os.kill(first, signal.SIGKILL)
            process.wait()
        _remove_devices(context)

    context.at_end.append(end)

    def watch() -> None:
        process.wait()
        if not ending.is_set():
            print('--- ending: libvirtd has ended', flush=True)
            _remove_devices(context)
            os._exit(1)

    import libvirt
    deadline = time.monotonic() + roles.PATIENCE
    while True:
        try:
            connection = libvirt.open(hypervisor.uri(context.layout))
            break
        except libvirt.libvirtError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    print(f'--- libvirt {connection.getLibVersion()}, '
          f'virt_type {hypervisor.virt_type(context.layout)}', flush=True)
    connection.close()
    threading.Thread(target=watch, daemon=True).start()
    return process
