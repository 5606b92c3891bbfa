# SPDX-License-Identifier: Apache-2.0

"""Make the guest: ``python -m minicloud.guest.build DIRECTORY [CACHE]``.

Downloads Debian packages with ``apt-get download`` (once, into the cache),
takes from them a kernel, the guest agent and busybox, adds the programs in
``src``, and leaves ``vmlinuz`` and ``initrd.img`` in the directory. About
10 s and no network the second time.
"""

from collections.abc import Iterable
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from minicloud.errors import MinicloudError
from minicloud.guest import cpio

SOURCES = pathlib.Path(__file__).with_name('src')
#: depends on the newest kernel of the release
KERNEL_PACKAGE = 'linux-image-cloud-amd64'
#: what the guest's programs are taken from, and their libraries
PACKAGES = ('qemu-guest-agent', 'busybox-static', 'e2fsprogs', 'libc6',
            'libglib2.0-0', 'libnuma1', 'libudev1', 'liburing2',
            'libpcre2-8-0', 'libext2fs2', 'libcom-err2', 'libblkid1',
            'libuuid1')
#: commands that the build needs, and the package of each
TOOLS = {'apt-get': 'apt', 'dpkg': 'dpkg', 'gcc': 'gcc',
         'readelf': 'binutils', 'objcopy': 'binutils', 'lz4': 'lz4'}
LIBRARY_FOLDERS = ('lib/x86_64-linux-gnu', 'usr/lib/x86_64-linux-gnu')
#: kernel modules in the order in which the guest loads them
MODULES = ('virtio_ring', 'virtio', 'virtio_pci_modern_dev',
           'virtio_pci_legacy_dev', 'virtio_pci', 'virtio_console',
           'virtio_blk')
#: and those that it loads only when there is a use for them
SPARE_MODULES = ('libcrc32c', 'xfs', 'button', 'evdev', 'failover',
                 'net_failover', 'virtio_net')
FOLDERS = ('bin', 'sbin', 'lib/modules', 'lib64', 'etc/qemu',
           'etc/acpi/PWRF', 'proc', 'sys', 'dev', 'run', 'mnt', 'usr/bin',
           'usr/sbin')
#: busybox has commands of these names that are not the ones wanted
NOT_BUSYBOX = ('busybox', 'shutdown', 'mke2fs', 'mkfs.ext2', 'init')

KERNEL, RAMDISK = 'vmlinuz', 'initrd.img'
#: The kernel's command line without which the guest is slow or silent.
COMMAND_LINE = (
    'console=ttyS0 quiet tsc=unstable no_timer_check panic=5 noreplace-smp '
    'mitigations=off nokaslr audit=0 apparmor=0 selinux=0 '
    'cryptomgr.notests 8250.nr_uarts=1 rcupdate.rcu_expedited=1 lsm=')


def run(*command: str | pathlib.Path,
        cwd: pathlib.Path | None = None) -> str:
    """Run a tool and return what it printed.

    :raises MinicloudError: with what it said, if it fails
    """
    argv = [str(word) for word in command]
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True,
                          env={**os.environ, 'LC_ALL': 'C'})
    if done.returncode:
        raise MinicloudError(
            f'{" ".join(argv)[:200]}: exit code {done.returncode}\n'
            f'{(done.stderr or done.stdout).strip()[-500:]}')
    return done.stdout


def source_digest() -> str:
    """Return what changes when the guest has to be built anew."""
    digest = hashlib.sha256()
    for path in sorted([*SOURCES.iterdir(), pathlib.Path(__file__),
                        pathlib.Path(cpio.__file__)]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def missing_tools() -> list[str]:
    """Return the Debian packages whose commands are not there."""
    return sorted({package for command, package in TOOLS.items()
                   if shutil.which(command) is None})


def kernel_package() -> str:
    """Return the name of the package that the newest kernel is in."""
    depends = run('apt-cache', 'depends', KERNEL_PACKAGE)
    found = re.search(r'Depends: (linux-image-\S+)', depends)
    if not found:
        raise MinicloudError(
            f'apt knows no {KERNEL_PACKAGE}: run apt-get update')
    return found.group(1)


def download(names: Iterable[str], cache: pathlib.Path) -> list[pathlib.Path]:
    """Return the packages' files, downloaded if they are not there.

    Half of a download does not count: apt-get works in a folder of its own.
    """
    names = list(names)
    cache.mkdir(parents=True, exist_ok=True)
    absent = [name for name in names if not any(cache.glob(f'{name}_*.deb'))]
    if absent:
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            # As root, apt warns that it cannot drop its privileges there.
            run('apt-get', 'download', '-q', '-o', 'APT::Sandbox::User=root',
                *absent, cwd=pathlib.Path(folder))
            for path in pathlib.Path(folder).glob('*.deb'):
                path.replace(cache / path.name)
    return [max(cache.glob(f'{name}_*.deb')) for name in names]


def libraries(programs: Iterable[pathlib.Path],
              unpacked: pathlib.Path) -> dict[str, pathlib.Path]:
    """Return every library that the programs need, directly or not."""
    found: dict[str, pathlib.Path] = {}
    todo = list(programs)
    while todo:
        for name in re.findall(r'\(NEEDED\).*\[(.*)\]',
                               run('readelf', '-d', todo.pop())):
            if name in found or name.startswith('ld-linux'):
                continue
            for folder in LIBRARY_FOLDERS:
                path = unpacked / folder / name
                if path.exists():
                    found[name] = path
                    todo.append(path)
                    break
            else:
                raise MinicloudError(
                    f'the guest needs the library {name}, which is in none '
                    f'of: {", ".join(PACKAGES)}')
    return found


def _copy(source: pathlib.Path, target: pathlib.Path,
          mode: int = 0o755) -> None:
    shutil.copyfile(source, target)
    target.chmod(mode)


def _modules(unpacked: pathlib.Path, root: pathlib.Path) -> None:
    folder = unpacked / 'lib/modules'
    for name in (*MODULES, *SPARE_MODULES):
        paths = list(folder.rglob(f'{name}.ko'))
        if not paths:
            raise MinicloudError(f'the kernel has no module {name}')
        # Type information of some megabytes, which only debuggers read.
        run('objcopy', '--strip-debug', '-R', '.BTF', paths[0],
            root / 'lib/modules' / f'{name}.ko')
    (root / 'lib/early-modules').write_text(' '.join(MODULES) + '\n')


def tree(unpacked: pathlib.Path, root: pathlib.Path) -> None:
    """Make the guest's file system below a directory."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    busybox = unpacked / 'bin/busybox'
    _copy(busybox, root / 'bin/busybox')
    for name in run(busybox, '--list').split():
        if name not in NOT_BUSYBOX:
            (root / 'bin' / name).symlink_to('busybox')
    for name, target in (('init', 'init'), ('shutdown', 'sbin/shutdown'),
                         ('fsfreeze-hook', 'etc/qemu/fsfreeze-hook'),
                         ('power-button', 'etc/acpi/PWRF/00000080')):
        _copy(SOURCES / name, root / target)
    (root / 'etc/passwd').write_text('root:x:0:0:root:/:/bin/sh\n')
    run('gcc', '-O2', '-s', '-Wall', '-o', root / 'bin/writer',
        SOURCES / 'writer.c')
    _copy(unpacked / 'usr/sbin/qemu-ga', root / 'sbin/qemu-ga')
    _copy(unpacked / 'sbin/mke2fs', root / 'sbin/mke2fs')
    _copy(unpacked / 'etc/mke2fs.conf', root / 'etc/mke2fs.conf', 0o644)
    programs = [root / name for name in (
        'bin/writer', 'sbin/qemu-ga', 'sbin/mke2fs')]
    for name, path in libraries(programs, unpacked).items():
        _copy(path, root / 'lib' / name)
    loader = 'ld-linux-x86-64.so.2'
    _copy(unpacked / LIBRARY_FOLDERS[0] / loader, root / 'lib64' / loader)
    _modules(unpacked, root)


def build(directory: pathlib.Path, cache: pathlib.Path) -> None:
    """Leave kernel and RAM disk in a directory, if they are not there.

    :param directory: written last are the files; a half-made one has none
    :param cache: where downloaded packages are kept
    :raises MinicloudError: in words
    """
    marker = directory / 'source'
    if marker.exists() and marker.read_text() == source_digest():
        return
    if missing := missing_tools():
        raise MinicloudError(
            f'to build the guest: apt-get install {" ".join(missing)}')
    directory.mkdir(parents=True, exist_ok=True)
    marker.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as name:
        unpacked, root = pathlib.Path(name, 'deb'), pathlib.Path(name, 'root')
        for package in download((kernel_package(), *PACKAGES), cache):
            run('dpkg', '-x', package, unpacked)
        tree(unpacked, root)
        archive = pathlib.Path(name, 'archive')
        archive.write_bytes(cpio.pack(root))
        # The kernel knows the old format only; fast to unpack without KVM.
        run('lz4', '-l', '-9', '-f', '-q', archive, directory / RAMDISK)
        [kernel] = (unpacked / 'boot').glob('vmlinuz-*')
        _copy(kernel, directory / KERNEL, 0o644)
    marker.write_text(source_digest())


def main(argv: list[str]) -> int:
    """Build a guest by hand."""
    if not 1 <= len(argv) <= 2:
        print('usage: python -m minicloud.guest.build DIRECTORY [CACHE]',
              file=sys.stderr)
        return 2
    directory = pathlib.Path(argv[0]).resolve()
    cache = (pathlib.Path(argv[1]).resolve() if len(argv) == 2
             else directory / 'cache')
    try:
        build(directory, cache)
    except MinicloudError as error:
        print(f'minicloud.guest.build: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
