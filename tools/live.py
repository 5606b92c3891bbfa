# SPDX-License-Identifier: Apache-2.0

"""Run what needs more than Python: tools/live.py NAME [ARGUMENT...].

NAME is one of ``scenario`` (tests with real guests), ``scenario_ceph`` (and
real volumes), ``faults`` (tests that kill the processes of a cloud),
``deployments`` (tests with cells, quorum queues and more), ``tempest`` (our
tests for tempest, with real guests), ``demo`` (with real guests), ``demo-app``
(and real volumes), ``demo-dr`` (and two sites), ``demo-dr-fake`` (without real
guests), ``disaster`` (a site is lost, and the application comes home again),
``bench`` and ``bench-quick`` (the benchmarks).
They need Debian packages, see bindep.txt, and those with real guests need
root. Without them a program says what is missing, and the tests are skipped
with that reason, except where CI is set: there nothing may be skipped.
"""

from collections.abc import Callable
import dataclasses
import functools
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile

from minicloud import hypervisor
from minicloud import layout
from minicloud import servers

HERE = pathlib.Path(__file__).resolve().parent.parent
TESTS = HERE / 'osc_quiesce' / 'tests'
#: where tests write what they have measured of faults
TABLE = pathlib.Path(sys.prefix) / 'faults.jsonl'
#: so that a hung agent does not cost a test minutes
SETTINGS = """\
[DEFAULT]
report_interval = 2
rpc_response_timeout = 15
service_down_time = %d
[quiesce]
operation_timeout = 12
sweep_interval = 2
"""


@dataclasses.dataclass(frozen=True)
class Suite:
    """Tests that run on a cloud of their own.

    :param missing: returns what this machine lacks for it
    :param options: of ``minicloud run``
    :param command: what runs the tests; none for stestr
    :param service_down_time: seconds; short where services die for good. One
        that is there may be late to say so: guests take the processor.
    :param settings: more lines for ``[quiesce]`` of nova.conf
    """

    missing: Callable[[], list[str]]
    options: tuple[str, ...]
    command: tuple[str, ...] = ()
    service_down_time: int = 60
    settings: str = ''


def missing_for_guests(*kinds: str) -> list[str]:
    """Return what is missing, after having built what can be built."""
    lines = hypervisor.missing() + missing_servers(*kinds)
    if not lines and not hypervisor.has_binding():
        subprocess.run(hypervisor.binding_command(
            HERE / 'constraints/2026.2.txt'), check=True)
    return lines


def missing_servers(*kinds: str) -> list[str]:
    """Return the packages that are missing for some programs."""
    packages = servers.missing(kinds)
    return ['packages: apt-get install --no-install-recommends '
            + ' '.join(packages)] if packages else []


SUITES = {
    'scenario': Suite(functools.partial(missing_for_guests, 'rabbit'), (
        '--driver', 'libvirt', '--broker', 'rabbit')),
    'scenario_ceph': Suite(functools.partial(missing_for_guests, 'ceph'), (
        '--driver', 'libvirt', '--storage', 'ceph')),
    'faults': Suite(functools.partial(missing_servers, 'rabbit', 'mariadb'), (
        '--broker', 'rabbit', '--database', 'mariadb',
        '--computes', '2', '--quiesce-services', '2'),
        service_down_time=8),
    'deployments': Suite(
        functools.partial(missing_servers, 'rabbit', 'mariadb'), (
            '--broker', 'rabbit', '--queues', 'quorum',
            '--database', 'mariadb', '--cells', '2',
            '--quiesce-services', '2', '--quiesce-host', 'shared'),
        # So few that a test can occupy all of them.
        settings='threads = 3\n'),
    'tempest': Suite(missing_for_guests, ('--driver', 'libvirt'), (
        str(HERE / 'tools' / 'run_tempest.py'), 'plugin')),
}


def place() -> layout.Layout:
    """Return where the cloud goes: beside the environment, if that fits."""
    root = layout.Layout.of(pathlib.Path(sys.prefix) / 'live')
    if max(len(str(path)) for path in (
            hypervisor.socket_of(root), root.database_socket,
    )) <= layout.SOCKET_PATH_MAX:
        return root
    # A path of sockets has a limit; the same checkout gets the same place.
    name = hashlib.sha256(str(root.root).encode()).hexdigest()[:8]
    return layout.Layout.of(
        pathlib.Path(tempfile.gettempdir()) / f'osc-quiesce-{name}')


def run(name: str, lines: list[str], arguments: list[str]) -> int:
    """Run the tests of a suite, or skip them."""
    command = SUITES[name].command or (
        '-m', 'stestr', '--repo-url', sys.prefix, '--test-path',
        str(TESTS / name), 'run', '--serial')
    tests = [sys.executable, *command, *arguments]
    if lines:
        reason = f'the {name} tests need {"; ".join(lines)}'
        print(f'Skipped: {reason}', flush=True)
        if not SUITES[name].command:
            # For stestr it is an error if no test was successful.
            subprocess.run(tests, env={**os.environ, 'SKIP_REASON': reason})
        return 0
    root = place()
    root.local.mkdir(parents=True, exist_ok=True)
    (root.local / 'nova.conf').write_text(
        SETTINGS % SUITES[name].service_down_time + SUITES[name].settings)
    TABLE.unlink(missing_ok=True)
    # In place of this process, so that it gets the signals and ends the cloud.
    os.execve(
        sys.executable,
        [sys.executable, '-m', 'minicloud', 'run', *SUITES[name].options,
         '--root', str(root.root), '--', *tests],
        {**os.environ, 'FAULTS_TABLE': str(TABLE)})


#: what each program needs, and its command
PROGRAMS: dict[str, tuple[Callable[[], list[str]], list[str]]] = {
    'demo': (missing_for_guests, ['minicloud.demo', '--live']),
    'demo-app': (functools.partial(missing_for_guests, 'ceph'),
                 ['minicloud.demo_app']),
    'demo-dr': (functools.partial(missing_for_guests, 'ceph', 'rabbit'),
                ['minicloud.demo_dr']),
    'demo-dr-fake': (functools.partial(missing_servers, 'rabbit'),
                     ['minicloud.demo_dr', '--fake']),
    'disaster': (functools.partial(missing_for_guests, 'ceph', 'rabbit'),
                 ['minicloud.rounds_dr']),
    'bench': (functools.partial(
        missing_for_guests, 'ceph', 'rabbit', 'mariadb'),
        ['benchmarks', 'all']),
    'bench-quick': (functools.partial(missing_servers, 'rabbit', 'mariadb'),
                    ['benchmarks', 'all', '--quick']),
}


def main(arguments: list[str]) -> int:
    """Run one of them."""
    name, *rest = arguments or ['']
    if name not in (*SUITES, *PROGRAMS):
        print(f'usage: tools/live.py {"|".join((*SUITES, *PROGRAMS))} '
              '[ARGUMENT...]', file=sys.stderr)
        return 2
    lines = SUITES[name].missing() if name in SUITES else PROGRAMS[name][0]()
    if lines and (name in PROGRAMS or os.environ.get('CI')):
        print(f'The {name} needs more than is here:\n  '
              + '\n  '.join(lines), file=sys.stderr)
        return 1
    if name in PROGRAMS:
        os.execv(sys.executable,
                 [sys.executable, '-m', *PROGRAMS[name][1], *rest])
    return run(name, lines, rest)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
