# SPDX-License-Identifier: Apache-2.0

"""``make demo``: three servers are quiesced in order, and thawed in reverse.

Prints every command of the demonstration before it runs it, so that a reader
can repeat it, and fails if any step does not do what it should.

``make demo-live`` does it with real guests (``--live``): beside the commands
it shows what each guest writes to its disk meanwhile.
"""

from collections.abc import Callable
from collections.abc import Sequence
import json
import os
import pathlib
import shlex
import subprocess
import sys
import threading
import time
from types import TracebackType
from typing import Any

from minicloud import cli
from minicloud import cloud as cloud_module
from minicloud.errors import MinicloudError
from minicloud.guest import console
from minicloud import layout

#: the application: a database, what uses it, and what balances the load
SERVERS = ('demo-db', 'demo-app', 'demo-lb')
LIVE_ROOT = '.minicloud-live'
#: seconds between two looks at the guests
LOOK = 1.0
#: seconds in which a guest has started
BOOT = 120.0


class DemoError(Exception):
    """A step did not do what it should."""


class Demo:
    """Runs commands as an administrator of the cloud.

    :param environment: the environment of the commands
    :param site: name of the cloud in clouds.yaml, if there are several
    """

    def __init__(self, environment: dict[str, str], site: str = '') -> None:
        self._environment = environment
        self._client = f'openstack --os-cloud {site}' if site else 'openstack'

    def run(self, command: str, refused: str = '') -> None:
        """Print a command and run it.

        :param refused: what it must say when it fails, if it has to fail
        :raises DemoError: if it does not end as it should
        """
        print('\n$ %s' % command, flush=True)
        done = subprocess.run(
            shlex.split(command), env=self._environment,
            stderr=subprocess.PIPE if refused else None, text=True)
        if refused:
            print(done.stderr, end='', flush=True)
            if done.returncode == 0:
                raise DemoError('%r was not refused' % command)
            if refused not in done.stderr:
                raise DemoError('%r failed, but not as it should' % command)
        elif done.returncode:
            raise DemoError('%r: exit code %d' % (command, done.returncode))

    def read(self, command: str, output: pathlib.Path | None = None) -> str:
        """Print a command, run it, and return what it prints.

        :param output: file for that; by default it is shown
        :raises DemoError: if it fails
        """
        print('\n$ %s%s' % (command, f' > {relative(output)}' if output
                            else ''), flush=True)
        done = subprocess.run(shlex.split(command), env=self._environment,
                              stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise DemoError('%r: exit code %d' % (command, done.returncode))
        if output:
            output.write_text(done.stdout)
        else:
            print(done.stdout, end='', flush=True)
        return done.stdout

    def openstack(self, command: str, refused: str = '') -> None:
        """The same with a command of ``openstack``, without that word."""
        self.run(f'{self._client} {command}', refused)

    def ask(self, command: str) -> Any:
        """Return what a command answers, which is not shown.

        :param command: without ``openstack``
        :raises DemoError: if it fails
        """
        done = subprocess.run(
            [*shlex.split(f'{self._client} {command}'), '-f', 'json'],
            env=self._environment, capture_output=True, text=True)
        if done.returncode:
            raise DemoError('%s %s: exit code %d: %s' % (
                self._client, command, done.returncode, done.stderr))
        return json.loads(done.stdout)

    def servers(self) -> dict[str, str]:
        """Return the status of each of the demo's servers that exists."""
        return {server['Name']: server['Status']
                for server in self.ask('server list')
                if server['Name'] in SERVERS}

    def id_of(self, name: str) -> str:
        """Return the id of a server."""
        return str(self.ask('server show %s' % name)['id'])

    @staticmethod
    def until(what: str, condition: Callable[[], bool]) -> None:
        """Wait until something is so.

        :param what: it, in words
        :raises DemoError: if it takes too long
        """
        deadline = time.monotonic() + BOOT
        while not condition():
            if time.monotonic() > deadline:
                raise DemoError('after %d s it is not so that %s' % (
                    BOOT, what))
            time.sleep(LOOK)

    def expect(self, status: str) -> None:
        """Check that all of the demo's servers have a status."""
        found = self.servers()
        if found != dict.fromkeys(SERVERS, status):
            raise DemoError('not all servers are %s: %s' % (status, found))


class Watch:
    """Prints once a second what each guest has written to its disk.

    Does nothing if there are no real guests.

    :param consoles: the guests' consoles by the names of their servers
    """

    def __init__(self, consoles: dict[str, console.Console]) -> None:
        self._consoles = consoles
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> 'Watch':
        if self._consoles:
            self._thread.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None,
                 _error: BaseException | None,
                 _traceback: TracebackType | None) -> None:
        self._end.set()
        if self._consoles:
            self._thread.join()

    def counts(self) -> dict[str, int]:
        """Return how many records each guest has written so far."""
        return {name: len(one.records())
                for name, one in self._consoles.items()}

    def wait(self, writing: bool) -> None:
        """Watch for three looks, and check that all guests do as they should.

        :raises DemoError: if one of them writes, or does not
        """
        if not self._consoles:
            return
        before = self.counts()
        time.sleep(3 * LOOK)
        for name, count in self.counts().items():
            if (count > before[name]) != writing:
                raise DemoError('%s %s' % (name, 'writes nothing' if writing
                                           else 'writes while quiesced'))

    def _run(self) -> None:
        before = self.counts()
        while not self._end.wait(LOOK):
            now = self.counts()
            print('   | ' + ''.join(
                '%-10s%-18s' % (name, '%d records' % (count - before[name])
                                if count > before[name] else 'writes nothing')
                for name, count in now.items()), flush=True)
            before = now


def watched(demo: Demo, cloud: cloud_module.Cloud) -> Watch:
    """Wait until the guests have started, and return how to watch them."""
    consoles = {name: console.Console(
        cloud.layout.console_of(demo.id_of(name))) for name in SERVERS}
    demo.until('the guests have started', lambda: all(
        one.records() for one in consoles.values()))
    return Watch(consoles)


def say(text: str) -> None:
    """Print what comes next."""
    print('\n\033[1m== %s\033[0m' % text if sys.stdout.isatty()
          and not os.environ.get('NO_COLOR') else '\n== %s' % text, flush=True)


def show(demo: Demo, cloud: cloud_module.Cloud, live: bool) -> None:
    """Run the demonstration."""
    leftovers = demo.servers()
    if leftovers:
        say('An earlier demo left servers behind')
        demo.openstack('server delete --wait %s' % ' '.join(leftovers))

    say('Three servers of one application')
    for name in SERVERS:
        demo.openstack('server create --flavor tiny --image tiny --nic none '
                       '--wait -f value -c name -c status %s' % name)

    if live:
        say('In each guest a program writes records to the disk, and waits '
            'until they are there')
    with watched(demo, cloud) if live else Watch({}) as watch:
        watch.wait(writing=True)
        say('Freeze their file systems, strictly one after the other')
        demo.openstack('server quiesce --wait %s' % ' '.join(SERVERS))
        demo.openstack('server list -c Name -c Status')
        demo.expect('QUIESCED')
        watch.wait(writing=False)
        demo.openstack('server event list %s' % SERVERS[0])

        say('Here the volumes would be snapshotted; Nova protects the state')
        demo.openstack('server pause %s' % SERVERS[0],
                       refused='while it is in vm_state quiesced')

        say('Thaw them in reverse order')
        demo.openstack('server unquiesce --wait %s'
                       % ' '.join(reversed(SERVERS)))
        watch.wait(writing=True)
        demo.openstack('server list -c Name -c Status')
        demo.expect('ACTIVE')


def relative(path: str | pathlib.Path) -> str:
    """Return a path as somebody here would type it."""
    return os.path.relpath(path)


def start(root: str, settings: dict[str, str]) -> cloud_module.Cloud:
    """Start a cloud.

    :param root: of the cloud
    :param settings: of ``up``, by their names; one without a value is ''
    """
    options = ' '.join(f'--{name.replace("_", "-")} {value}'.rstrip()
                       for name, value in settings.items())
    print('\n$ python -m minicloud up --root %s %s' % (
        relative(root), options), flush=True)
    cloud = cloud_module.Cloud(root)
    cloud.up(say=cli.progress, **{  # type: ignore[arg-type]
        name: value or True for name, value in settings.items()})
    return cloud


def scripts() -> str:
    """Return the directory of the commands of the demo's Python."""
    return str(pathlib.Path(sys.executable).parent)


def environment_with(variables: dict[str, str]) -> dict[str, str]:
    """Return the environment of commands, of OpenStack's variables these."""
    return {
        **{name: value for name, value in os.environ.items()
           if not name.startswith('OS_')},
        **variables, 'PATH': os.pathsep.join([scripts(), os.environ['PATH']])}


def perform(show_it: Callable[[], None], play_on: str,
            roots: Sequence[str], more: str = '') -> int:
    """Show it all, and say how to go on.

    :param show_it: starts what it needs
    :param play_on: what a shell needs for further commands
    :param roots: of the clouds, which are still up then
    :param more: directory of them all, to be deleted after them
    :returns: the exit code
    """
    try:
        show_it()
    except (MinicloudError, DemoError) as error:
        print('The demo failed: %s' % error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('Interrupted; run it again, or "python -m minicloud down"',
              file=sys.stderr)
        return 130
    here = relative(scripts())
    say('How to go on')
    print('Play on:    export PATH=$PWD/%s:$PATH; %s' % (here, play_on))
    commands = [f'{here}/python -m minicloud down --purge --root '
                f'{relative(root)}' for root in roots]
    if more:
        commands.append(f'rm -r {relative(more)}')
    print('Tear down:  ' + ('\n' + ' ' * 12).join(commands))
    return 0


def play(root: str, settings: dict[str, str],
         scene: Callable[[dict[str, str], cloud_module.Cloud], None]) -> int:
    """Start a cloud, show something on it, and say how to go on.

    :param root: of the cloud
    :param settings: of ``up``, by their names
    :param scene: gets the environment of an administrator, and the cloud
    :returns: the exit code
    """
    def show_it() -> None:
        say('A real OpenStack on this machine: Keystone, Placement, Glance, '
            'Nova, Cinder')
        cloud = start(root, settings)
        scene(environment_with(cloud.environment()), cloud)

    openrc = layout.Layout.of(root).openrc_of('admin')
    return perform(show_it, f'. {relative(openrc)}', [root])


def main() -> int:
    """Show it with the guests that the command line asks for."""
    live = '--live' in sys.argv[1:]
    return play(
        os.environ.get('MINICLOUD_ROOT',
                       LIVE_ROOT if live else cli.DEFAULT_ROOT),
        {'driver': 'libvirt' if live else 'fake'},
        lambda environment, cloud: show(Demo(environment), cloud, live))


if __name__ == '__main__':
    sys.exit(main())
