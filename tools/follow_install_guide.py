# SPDX-License-Identifier: Apache-2.0

"""Follow the installation guide on a cloud that has no nova_quiesce yet.

Usage: tools/follow_install_guide.py DIRECTORY CONSTRAINTS

The commands are those of doc/source/install/install.rst, word by word, except
for placeholders: names of files, of a server and of this package. Prints each
command with its output, and how long all took, which must be less than ten
minutes. Needs RabbitMQ (see bindep.txt), since nova-quiesce runs as a process
of its own.
"""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import check_package

from minicloud import servers

SHOW = 'openstack server show --format json --column status db'
#: seconds from the first command of the guide to a quiesced server, at most
LIMIT = 600
GUIDE = check_package.HERE / 'doc/source/install/install.rst'


def literal(title: str) -> list[str]:
    """Return the lines of a section of the guide that are to be typed."""
    found = re.search(r'^%s\n=+\n(.*?)(?=^\S[^\n]*\n=+\n|\Z)' % title,
                      GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    check_package.check(found, 'the guide has no section "%s"' % title)
    assert found
    blocks = re.findall(r'::(?: ini)?\n\n((?: {4,}\S.*\n)+)', found[1])
    return [line.strip() for block in blocks for line in block.splitlines()]


class Host:
    """A machine with a cloud on it, and with the programs of its Nova."""

    def __init__(self, directory: pathlib.Path, constraints: str) -> None:
        requirements = check_package.HERE / 'minicloud/requirements.txt'
        self.root = directory / 'cloud'
        self._programs = check_package.Environment(
            directory / 'host', constraints, 'pip', '-r',
            str(requirements)).bin
        [packages] = self._programs.parent.glob('lib/python*/site-packages')
        shutil.copytree(check_package.HERE / 'minicloud',
                        packages / 'minicloud')
        #: what stands in the guide, and what it stands for here
        self.says: dict[str, str] = {}
        self.environment = {
            name: value for name, value in os.environ.items()
            if not name.startswith(('PYTHON', 'VIRTUAL_ENV', 'OS_'))}
        self.environment['PIP_QUIET'] = '1'     # who, and from where
        self.environment['PATH'] = '%s:%s' % (
            self._programs, os.environ['PATH'])

    def run(self, command: str) -> str:
        """Run a command, show it and what it says, and return that."""
        started = time.monotonic()
        print('$ %s' % command, flush=True)
        done = subprocess.run(
            ['bash', '-c', self._here(command)], cwd=self.root.parent,
            env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        print('%s(%.1f s, exit code %d)\n' % (
            done.stdout, time.monotonic() - started, done.returncode),
            flush=True)
        check_package.check(
            not done.returncode, 'the guide is of no use: %s' % command)
        return done.stdout

    @contextlib.contextmanager
    def service(self, command: str) -> Iterator[None]:
        """Run a service as long as this lasts, and stop it."""
        print('$ %s &' % command, flush=True)
        with subprocess.Popen(
                ['bash', '-c', 'exec ' + self._here(command)],
                cwd=self.root.parent, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL) as process:
            try:
                yield
            finally:
                process.send_signal(signal.SIGTERM)
        check_package.check(not process.returncode,
                            '%s ended with %d' % (command, process.returncode))

    def openrc(self) -> dict[str, str]:
        """Return the environment of the cloud's administrator."""
        return dict(re.findall(r"^export (OS_\w+)='?([^'\n]*)'?$",
                               self.minicloud('openrc'), re.MULTILINE))

    def minicloud(self, *argv: str) -> str:
        """Run a command of minicloud, and return what it says."""
        done = subprocess.run(
            [str(self._programs / 'python'), '-m', 'minicloud', *argv,
             '--root', str(self.root)], cwd=self.root.parent,
            env=self.environment, text=True, capture_output=True)
        check_package.check(not done.returncode, done.stderr)
        return done.stdout

    def _here(self, command: str) -> str:
        for said, here in self.says.items():
            command = command.replace(said, here)
        return command


def follow(host: Host, wheel: pathlib.Path, constraints: str) -> None:
    """Do what the guide says, from the first command to the last."""
    started = time.monotonic()
    [client] = literal('Client')
    (server, sync, section, option, service, check, quiesce,
     unquiesce) = literal('Controller')
    [thaw] = literal('Removing it')
    host.says = {
        '<upper-constraints.txt>': constraints,
        '<path of the wheel>': str(wheel),
        'dist/osc_quiesce-*.whl': str(wheel),
        '/etc/nova/nova.conf': str(host.root / 'etc/nova.conf'),
        'nova-quiesce-status': 'nova-quiesce-status --config-file %s' % (
            host.root / 'etc/nova.conf'),
        '<server>': 'db'}
    host.run(client)
    host.run(server)
    host.run(sync)
    paste = host.root / 'local/nova-api-paste.ini'
    paste.parent.mkdir(exist_ok=True)
    paste.write_text('%s\n%s\n' % (section, option))
    print('(in nova-api-paste.ini)\n%s\n%s\n' % (section, option))
    with host.service(service):
        print('(nova-api is restarted)\n')
        host.minicloud('up')
        host.run(check)
        host.run(quiesce)
        check_package.check('"QUIESCED"' in host.run(SHOW),
                            'the server is not quiesced')
        seconds = time.monotonic() - started
        print('Quiesced %.0f s after the first command of the guide.\n'
              % seconds)
        check_package.check(seconds < LIMIT, 'that is too long')
        host.run(unquiesce)
        host.run(quiesce)   # and is to be thawed by what removes all
        paste.unlink()
        print('(nova-api-paste.ini is as before, nova-api is restarted)\n')
        host.minicloud('up')
        host.run(thaw)
    host.run('pip uninstall --yes osc-quiesce')
    check_package.check('"ACTIVE"' in host.run(SHOW),
                        'the server is not thawed')


def main(directory: pathlib.Path, constraints: str) -> int:
    """Make the cloud, follow the guide, and return the exit code."""
    if (missing := servers.missing(['rabbit'])) and not os.environ.get('CI'):
        print('SKIPPED: missing are the packages %s' % ', '.join(missing))
        return 0
    try:
        _sdist, wheel = check_package.build(directory)
        host = Host(directory, constraints)
        try:
            host.minicloud('up', '--without-quiesce', '--broker', 'rabbit')
            host.environment.update(host.openrc())
            host.run('openstack server create --flavor tiny --image tiny '
                     '--nic none --wait --format value --column status db')
            follow(host, wheel, constraints)
        finally:
            host.minicloud('down', '--purge')
    except check_package.Problem as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]))
