# SPDX-License-Identifier: Apache-2.0

"""Check what ``pip install osc-quiesce`` gives: all commands, and no Nova.

To be run by the Python of an environment in which nothing but osc-quiesce and
python-openstackclient was installed, with its programs first in the PATH.
"""

import contextlib
import functools
import importlib.metadata
import os
import pty
import subprocess
import sys
from collections.abc import Iterator

COMMANDS = ('server quiesce', 'server unquiesce',
            *('application snapshot %s' % verb
              for verb in ('create', 'delete', 'list', 'show')))
FORBIDDEN = ('nova', 'keystone', 'cinder', 'glance', 'oslo.messaging',
             'python-novaclient', 'tempest')
WIDTH = 80
#: too long in the usage of any command with a long name
CLIFFS_OWN = ('[--quote {all,minimal,none,nonnumeric}]',
              '[--sort-ascending | --sort-descending]')
#: what bash does when one types "openstack server qui" and the tab key
COMPLETE = """
_get_comp_words_by_ref() {    # of the package bash-completion
    words=(openstack server qui) cur=qui
}
source /dev/stdin
_openstack
echo "${COMPREPLY[@]}"
"""


@functools.cache
def openstack(*argv: str) -> str:
    """Run the program without a terminal, and return what it says."""
    return subprocess.run(
        ['openstack', *argv], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, 'COLUMNS': str(WIDTH)}).stdout


def on_terminal(*argv: str) -> str:
    """Run the program on a terminal, and return what it shows there."""
    ours, theirs = pty.openpty()
    shown = b''
    with subprocess.Popen(
            ['openstack', *argv], stdin=subprocess.DEVNULL, stdout=theirs,
            stderr=theirs, env={**os.environ, 'PAGER': 'cat', 'NO_COLOR': '1',
                                'TERM': 'xterm-256color'}):
        os.close(theirs)
        with contextlib.suppress(OSError):    # which is the end
            while part := os.read(ours, 4096):
                shown += part
    os.close(ours)
    return shown.decode()


def check_installed() -> Iterator[str]:
    """Yield what is there and must not be."""
    installed = {
        distribution.metadata['Name'].lower()
        for distribution in importlib.metadata.distributions()}
    yield from ('%s is installed' % name for name in FORBIDDEN
                if name in installed)


def check_help(command: str) -> Iterator[str]:
    """Yield what is wrong with the help of a command."""
    noun = command.split()[0]
    if not any(line.strip().startswith(command)
               for line in openstack('help', noun).splitlines()):
        yield '"openstack help %s" lists no %s' % (noun, command)
    shown = openstack('help', *command.split())
    if 'usage: openstack %s' % command not in shown:
        yield 'no help for %s: %s' % (command, shown)
    yield from ('the help of %s does not fit %d columns: %s' % (
        command, WIDTH, line) for line in shown.splitlines()
        if len(line) > WIDTH and line.strip() not in CLIFFS_OWN)
    if '\x1b' in shown:
        yield 'the help of %s has colours where no terminal is' % command


def check_terminal() -> Iterator[str]:
    """Yield what is wrong on a terminal where NO_COLOR is set."""
    shown = on_terminal('server', 'quiesce', '--help')
    if 'usage: openstack server quiesce' not in shown:
        yield 'no help on a terminal: %s' % shown
    if '\x1b' in shown:
        yield 'the help has colours in spite of NO_COLOR: %r' % shown


def check_completion() -> Iterator[str]:
    """Yield what bash would not complete."""
    script = openstack('complete')
    for command in COMMANDS:
        if "cmds_%s='" % command.replace(' ', '_') not in script:
            yield '"openstack complete" does not know %s' % command
    completed = subprocess.run(['bash', '-c', COMPLETE], input=script,
                               capture_output=True, text=True)
    if completed.stdout.split() != ['quiesce']:
        yield 'bash completes "openstack server qui" to %r: %s' % (
            completed.stdout, completed.stderr)


def main() -> int:
    """Return 0 if all is as it should be."""
    problems = [
        *check_installed(),
        *(problem for command in COMMANDS for problem in check_help(command)),
        *check_terminal(),
        *check_completion()]
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print('%s are there, with help and completion; Nova is not' % (
            ', '.join(COMMANDS)))
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
