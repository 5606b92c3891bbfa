# SPDX-License-Identifier: Apache-2.0

"""The command line: ``python -m minicloud VERB``.

Results go to stdout, progress and errors to stderr, in words. Exit codes: 0
done, 1 not done, 2 usage, 128 + n ended by signal n.
"""

import argparse
from collections.abc import Callable
import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
from typing import Any
from typing import NoReturn

from minicloud import cloud as cloud_module
from minicloud import config
from minicloud import personas
from minicloud import releases
from minicloud import store as store_module
from minicloud import swift
from minicloud.errors import MinicloudError

#: those that end a command
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: seconds that an interrupted command has to end by itself
GRACE = 5.0
DEFAULT_ROOT = '.minicloud'

#: verbs that take a command
COMMAND_VERBS = ('exec', 'run')


class Interrupted(BaseException):
    """A signal asked this command to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def count(least: int) -> Callable[[str], int]:
    """Return what reads a number of services."""
    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= config.MAXIMUM:
            raise argparse.ArgumentTypeError(
                f'{value} is not {least} to {config.MAXIMUM}')
        return value
    return number


def _settings_parser() -> argparse.ArgumentParser:
    """Return the parser of what can be chosen about a cloud."""
    kind = argparse.ArgumentParser(add_help=False)
    kind.add_argument(
        '--driver', choices=sorted(config.DRIVERS),
        help='hypervisor (default: fake)')
    kind.add_argument(
        '--broker', choices=sorted(config.BROKERS),
        help='message bus; with rabbit, the services of Nova are processes '
             'of their own (default: memory)')
    kind.add_argument(
        '--database', choices=sorted(config.DATABASES),
        help='of all services (default: sqlite)')
    kind.add_argument(
        '--storage', choices=sorted(config.STORAGES),
        help='of volumes; ceph needs --driver libvirt (default: fake)')
    kind.add_argument(
        '--network', choices=sorted(config.NETWORKS),
        help='service for networks and ports (default: none)')
    kind.add_argument(
        '--queues', choices=sorted(config.QUEUES),
        help='of RabbitMQ; quorum is what kolla-ansible sets '
             '(default: classic)')
    kind.add_argument(
        '--cells', type=count(1), metavar='N',
        help='number of cells that hold servers; several need --broker '
             'rabbit (default: 1)')
    kind.add_argument(
        '--computes', type=count(1), metavar='N',
        help='number of nova-compute services (default: one in each cell)')
    _add_quiesce_settings(kind)
    _add_site_settings(kind)
    kind.add_argument(
        '--release', choices=sorted(releases.RELEASES),
        help='of OpenStack: refuse to start if another one is installed '
             '(default: the installed one)')
    return kind


def _add_quiesce_settings(kind: argparse.ArgumentParser) -> None:
    kind.add_argument(
        '--quiesce-services', type=count(0), metavar='N',
        help='number of nova-quiesce services, with --broker rabbit '
             '(default: 1)')
    kind.add_argument(
        '--quiesce-host', choices=sorted(config.QUIESCE_HOSTS),
        help='whether each of these has a host name of its own '
             '(default: own)')
    quiesce = kind.add_mutually_exclusive_group()
    quiesce.add_argument(
        '--with-quiesce', dest='quiesce', action='store_true', default=None,
        help='give Nova the quiesce actions (default)')
    quiesce.add_argument(
        '--without-quiesce', dest='quiesce', action='store_false',
        default=None, help='Nova as it is, without the quiesce actions')


def _add_site_settings(kind: argparse.ArgumentParser) -> None:
    kind.add_argument(
        '--backup', choices=sorted(config.BACKUPS),
        help='of Cinder; what is not none needs RabbitMQ (default: none)')
    kind.add_argument(
        '--store', metavar='DIR',
        help='where backups are, for one cloud or for several (default: in '
             'the state of the cloud)')
    kind.add_argument(
        '--store-access', choices=sorted(swift.USERS),
        help='what this cloud is to a store of Swift: its owner, or a reader '
             'who cannot delete what the owner has (default: owner)')
    kind.add_argument(
        '--site-name', metavar='NAME',
        help='of this cloud in clouds.yaml (default: that of its root)')


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        '--root', metavar='DIR', default=argparse.SUPPRESS,
        help='where the cloud is (default: $MINICLOUD_ROOT, or '
             f'./{DEFAULT_ROOT})')
    kind = _settings_parser()
    main_parser = argparse.ArgumentParser(
        prog='minicloud', parents=[common],
        description='A real OpenStack on one machine.')
    verbs = main_parser.add_subparsers(dest='verb', required=True,
                                       metavar='VERB')

    up = verbs.add_parser(
        'up', parents=[common, kind], help='start the cloud',
        epilog='What is not given stays as it was at the last "up".')
    up.add_argument('--fresh', action='store_true',
                    help='forget all servers, volumes and users first')

    down = verbs.add_parser('down', parents=[common], help='stop the cloud')
    down.add_argument('--purge', action='store_true',
                      help='and delete everything that it made')

    verbs.add_parser('status', parents=[common],
                     help='say what runs; exit code 0 if all of it does')

    store = verbs.add_parser(
        'store', parents=[common],
        help='a store of backups apart from all clouds')
    store.add_argument('action', choices=sorted(STORE_VERBS),
                       help='what to do with it')
    store.add_argument('--purge', action='store_true',
                       help='with down: and delete everything in it')

    clouds = verbs.add_parser(
        'clouds', help='print a clouds.yaml of one cloud or of several')
    clouds.add_argument(
        '--root', metavar='DIR', action='append', default=argparse.SUPPRESS,
        help='where a cloud is; may be given several times')

    for verb, text in (('openrc', 'print the environment of a user'),
                       ('exec', 'run a command in that environment'),
                       ('run', 'start a fresh cloud, run a command in it, '
                               'and stop it whatever happens')):
        sub = verbs.add_parser(
            verb, parents=[common, kind] if verb == 'run' else [common],
            help=text)
        sub.add_argument('--as', dest='persona', default='admin',
                         choices=sorted(personas.PERSONAS),
                         help='which user (default: admin)')
        if verb in COMMAND_VERBS:
            sub.add_argument('command', nargs='+', metavar='COMMAND',
                             help='after "--"')
    return main_parser


def parse(argv: list[str]) -> argparse.Namespace:
    """Parse a command line; all after the first "--" is the command."""
    command: list[str] = []
    if '--' in argv:
        at = argv.index('--')
        argv, command = argv[:at], argv[at + 1:]
        if command and any(verb in argv for verb in COMMAND_VERBS):
            argv = [*argv, '-']     # stands for the command
    args = parser().parse_args(argv)
    if args.verb in COMMAND_VERBS and command:
        args.command = [*args.command[:-1], *command]
    elif command:
        parser().error(f'{args.verb} takes no command')
    if args.verb == 'store':
        if 'root' not in args:
            parser().error('store needs --root DIR')
        if args.purge and args.action != 'down':
            parser().error(f'store {args.action} takes no --purge')
    if 'root' not in args:
        args.root = os.environ.get('MINICLOUD_ROOT') or DEFAULT_ROOT
    args.roots = args.root if isinstance(args.root, list) else [args.root]
    args.root = args.roots[0]
    return args


def progress(line: str) -> None:
    """Say what is done, if anybody listens."""
    # Whoever has started us may be gone: that must not keep us from cleaning.
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def given(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that the command line says."""
    settings = {field.name: getattr(args, field.name)
                for field in dataclasses.fields(config.Settings)}
    return {name: value for name, value in settings.items()
            if value is not None}


def up(cloud: cloud_module.Cloud, args: argparse.Namespace) -> int:
    cloud.up(**given(args), release=args.release, fresh=args.fresh,
             say=progress)
    return 0


def down(cloud: cloud_module.Cloud, args: argparse.Namespace) -> int:
    cloud.down(purge=args.purge, say=progress)
    return 0


def status(cloud: cloud_module.Cloud, args: argparse.Namespace) -> int:
    roles = cloud.status()
    print(f'root: {cloud.layout.root}')
    print(f'OpenStack {releases.installed()}')
    width = max(len(role.role) for role in roles) + 2
    for role in roles:
        ports = ', '.join(f'{name} {port}'
                          for name, port in role.ports.items())
        pid = f'process {role.pid}' if role.pid else ''
        print(f'{role.role:{width}}{role.state:15}{pid:17}{ports}'.rstrip())
    return 0 if all(role.state == 'up' for role in roles) else 1


def openrc(cloud: cloud_module.Cloud, args: argparse.Namespace) -> int:
    print(cloud.openrc(args.persona), end='')
    return 0


def clouds(_cloud: cloud_module.Cloud, args: argparse.Namespace) -> int:
    entries: dict[str, dict[str, object]] = {}
    for root in args.roots:
        cloud = cloud_module.Cloud(root)
        mine = cloud.clouds()
        if both := entries.keys() & mine.keys():
            raise MinicloudError(
                f'{cloud.layout.root} and a cloud before it are both called '
                f'{sorted(both)[0]}: "up --site-name NAME" gives one of them '
                'another name')
        entries.update(mine)
    print(personas.clouds_yaml(entries), end='')
    return 0


def store_up(store: store_module.Store, _args: argparse.Namespace) -> int:
    store.up(say=progress)
    return 0


def store_down(store: store_module.Store, args: argparse.Namespace) -> int:
    store.down(purge=args.purge, say=progress)
    return 0


def store_status(store: store_module.Store, _args: argparse.Namespace) -> int:
    found = store.status()
    print(f'root: {store.layout.root}')
    pid = f'process {found.pid}' if found.pid else ''
    port = f'port {found.port}' if found.port else ''
    print(f'store  {found.state:15}{pid:17}{port}'.rstrip())
    return 0 if found.state == 'up' else 1


STORE_VERBS: dict[str, Callable[
    [store_module.Store, argparse.Namespace], int]] = {
    'up': store_up, 'down': store_down, 'status': store_status,
}


def store(_cloud: cloud_module.Cloud, args: argparse.Namespace) -> int:
    return STORE_VERBS[args.action](store_module.Store(args.root), args)


def command_environment(cloud: cloud_module.Cloud,
                        persona: str) -> dict[str, str]:
    """Return the environment of a command that uses the cloud."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith('OS_')}
    environment.update(cloud.environment(persona))
    # Somebody may have made one of several clouds.
    environment['OS_CLIENT_CONFIG_FILE'] = os.environ.get(
        'OS_CLIENT_CONFIG_FILE', str(cloud.layout.clouds_yaml))
    environment['MINICLOUD_ROOT'] = str(cloud.layout.root)
    # The commands of the packages that this Python has.
    scripts = str(pathlib.Path(sys.executable).parent)
    environment['PATH'] = os.pathsep.join(
        [scripts, environment.get('PATH', os.defpath)])
    local = [part for part in environment.get('no_proxy', '').split(',')
             if part]
    environment['no_proxy'] = ','.join([*local, '127.0.0.1'])
    environment['NO_PROXY'] = environment['no_proxy']
    return environment


def execute(cloud: cloud_module.Cloud, args: argparse.Namespace) -> int:
    environment = command_environment(cloud, args.persona)
    sys.stdout.flush()
    os.environ['PATH'] = environment['PATH']
    try:
        os.execvpe(args.command[0], args.command, environment)
    except OSError as error:
        raise MinicloudError(f'{args.command[0]}: {error.strerror}')


def run(cloud: cloud_module.Cloud, args: argparse.Namespace) -> int:
    # What an earlier cloud in the root was like does not matter.
    settings = {**dataclasses.asdict(config.Settings()), **given(args)}
    cloud.up(**settings, release=args.release, fresh=True, say=progress)
    try:
        return run_command(args.command,
                           command_environment(cloud, args.persona))
    finally:
        cloud.down(say=progress)


def run_command(command: list[str], environment: dict[str, str]) -> int:
    """Run a command to its end; return its exit code.

    Whatever ends the wait for it also ends the processes that it has started
    and left in its process group, lest they go on with, or even start anew, a
    cloud that is being stopped.  At a terminal it shares our group instead:
    there an interrupt reaches all of them, and they may read what is typed.
    """
    has_group = not os.isatty(0)
    # What is raised before there is a process to end would leave it behind.
    early: list[int] = []
    held_up = [number for number in SIGNALS
               if signal.getsignal(number) == _interrupt]
    for number in held_up:
        signal.signal(number, lambda number, _frame: early.append(number))
    try:
        process = subprocess.Popen(command, env=environment,
                                   process_group=0 if has_group else None)
    finally:
        for number in held_up:
            signal.signal(number, _interrupt)
    try:
        for arrived in early:
            signal.raise_signal(arrived)
        return process.wait()
    finally:
        if has_group:
            _signal_group(process.pid, signal.SIGTERM)
        else:
            process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        if has_group:
            _signal_group(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


VERBS: dict[str, Callable[[cloud_module.Cloud, argparse.Namespace], int]] = {
    'up': up, 'down': down, 'status': status, 'openrc': openrc,
    'clouds': clouds, 'store': store, 'exec': execute, 'run': run,
}


def _interrupt(number: int, _frame: Any) -> NoReturn:
    # Once is enough: cleaning up is not to be interrupted.
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Interrupted(number)


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = parse(sys.argv[1:] if argv is None else argv)
    if args.verb in ('up', 'down', 'run', 'store'):
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _interrupt)
    try:
        return VERBS[args.verb](cloud_module.Cloud(args.root), args)
    except MinicloudError as error:
        print(f'minicloud: {error}', file=sys.stderr)
        return 1
    except OSError as error:
        print(f'minicloud: {error}', file=sys.stderr)
        return 1
    except Interrupted as error:
        print('minicloud: interrupted; what this command had started is '
              'stopped', file=sys.stderr)
        return 128 + error.number
    except KeyboardInterrupt:
        return 130
