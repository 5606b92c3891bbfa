# SPDX-License-Identifier: Apache-2.0

"""Check what ``pip install osc-quiesce[nova]`` gives: programs and samples.

To be run by the Python of an environment in which nothing else was installed,
with its programs first in the PATH. No cloud is needed.
"""

import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator

VERSIONS = 'osc-quiesce %s, nova %s' % (
    importlib.metadata.version('osc-quiesce'),
    importlib.metadata.version('nova'))
#: what to run, and what it must say
SAYS = (
    ('nova-quiesce --version', [VERSIONS]),
    ('nova-quiesce --help', ['usage: nova-quiesce', '--config-file']),
    ('nova-quiesce-manage --version', [VERSIONS]),
    ('nova-quiesce-manage --help', ['db']),
    ('nova-quiesce-status --version', [VERSIONS]),
    ('nova-quiesce-status --help', ['upgrade', 'list', 'metrics', 'thaw']),
    ('nova-quiesce-status thaw --help', ['--all', '--timeout <seconds>']),
    ('oslo-config-generator --namespace nova_quiesce',
     ['[quiesce]', *('\n#%s = ' % option for option in (
         'connection', 'operation_timeout', 'sweep_interval',
         'default_unquiesce_after', 'max_unquiesce_after'))]),
    ('oslopolicy-sample-generator --namespace nova_quiesce',
     ['\n#"os_compute_api:os-quiesce:%s": ' % action
      for action in ('quiesce', 'unquiesce', 'list')]),
)
UNIT = 'share/osc-quiesce/nova-quiesce.service'
#: all modules, as nova-api and nova-quiesce would load them
LOAD = """
import importlib, pkgutil
from nova_quiesce import compat
compat.choose_threads()
from nova import objects
objects.register_all()
import nova_quiesce
for info in pkgutil.iter_modules(nova_quiesce.__path__, 'nova_quiesce.'):
    importlib.import_module(info.name)
from nova_quiesce import controllers
print(controllers.app_factory.__name__)
"""


def run(*argv: str) -> tuple[int, str]:
    """Run a program, and return its exit code and what it says."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    return done.returncode, done.stdout


def check_programs() -> Iterator[str]:
    """Yield what a program does not say."""
    for command, texts in SAYS:
        code, said = run(*command.split())
        if code:
            yield '%s ends with %d: %s' % (command, code, said)
        yield from ('%s does not say %r: %s' % (command, text, said)
                    for text in texts if text not in said)


def check_modules() -> Iterator[str]:
    """Yield what cannot be loaded."""
    code, said = run(sys.executable, '-c', LOAD)
    if code or 'app_factory' not in said:
        yield 'not everything can be loaded: %s' % said


def check_unit() -> Iterator[str]:
    """Yield what is wrong with the example for systemd."""
    prefix = pathlib.Path(sys.prefix)
    example = prefix / UNIT
    if not example.exists():
        yield 'there is no %s' % example
        return
    with tempfile.TemporaryDirectory() as directory:
        here = pathlib.Path(directory)
        (here / 'nova.conf').touch()
        unit = here / example.name
        unit.write_text(example.read_text().replace(
            '/usr/bin', str(prefix / 'bin')).replace('/etc/nova', str(here)))
        yield from check_program_of(unit)
        yield from verify(unit)


def check_program_of(unit: pathlib.Path) -> Iterator[str]:
    """Yield why the program of a unit cannot be started."""
    [command] = re.findall('^ExecStart=(.*)$', unit.read_text(), re.MULTILINE)
    code, said = run(*command.split(), '--version')
    if code or VERSIONS not in said:
        yield '"%s" cannot be started: %s' % (command, said)


def verify(unit: pathlib.Path) -> Iterator[str]:
    """Yield what systemd does not like about a unit."""
    if not shutil.which('systemd-analyze'):
        not_verified = 'No systemd-analyze is here: the unit was not verified'
        print(not_verified)
        if os.environ.get('CI'):
            yield not_verified
        return
    code, said = run('systemd-analyze', 'verify', str(unit))
    if code or said:
        yield 'systemd would not take the unit: %s' % said


def main() -> int:
    """Return 0 if all is as it should be."""
    problems = [*check_programs(), *check_modules(), *check_unit()]
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print('%s: programs, samples and the action of nova-api are there' %
              VERSIONS)
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
