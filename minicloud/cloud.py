# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""The cloud as one thing: up, down, status, environment.

Knows in which order things are made and what to undo when it goes wrong;
leaves how to the other modules. An ``up`` can be interrupted at any moment,
by any means: the next ``up`` or ``down`` finds what it left behind.
"""

from collections.abc import Callable
import dataclasses
import pathlib
import shutil
import signal
import time
import urllib.error
import urllib.request

from minicloud import config
from minicloud import hypervisor
from minicloud import packages
from minicloud import personas
from minicloud import ports
from minicloud import processes
from minicloud import seed
from minicloud import sqlite
from minicloud import template
from minicloud.errors import MinicloudError
from minicloud.guest import build
from minicloud.layout import Layout

#: Seconds for which a process may take to become ready.
START_TIMEOUT = 120.0
PREPARE_TIMEOUT = 300.0

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class RoleStatus:
    """How one process of the cloud is.

    :param role: its name
    :param state: ``up``, ``starting``, ``down`` or ``not answering``
    :param pid: its process id, if it runs
    :param ports: where it listens, by service
    """

    role: str
    state: str
    pid: int | None
    ports: dict[str, int]


class Cloud:
    """A cloud in a directory.

    :param root: the directory; made by :meth:`up` if it is not there
    """

    def __init__(self, root: str | pathlib.Path) -> None:
        self.layout = Layout.of(root)

    def up(self, *, driver: str | None = None, broker: str | None = None,
           computes: int | None = None, quiesce: bool | None = None,
           fresh: bool = False, say: Say = lambda _line: None) -> None:
        """Start what is not running; return when everything answers.

        What is not given stays as it was at the last time.

        :param driver: the hypervisor, one of ``config.DRIVERS``
        :param broker: the message bus, one of ``config.BROKERS``
        :param computes: number of nova-compute services (default: 1)
        :param quiesce: whether Nova gets the quiesce actions (default: yes)
        :param fresh: forget all servers, volumes and users first
        :param say: called with a line for each step
        :raises MinicloudError: in words; what this call started is stopped
        """
        if self._settings(driver, broker, computes,
                          quiesce)['driver'] == 'libvirt':
            hypervisor.check(self.layout)
        with processes.locked(self.layout) as token:
            settings = self._settings(driver, broker, computes, quiesce)
            packages.check(bool(settings['quiesce']))
            _Start(self.layout, token, settings, fresh, say).run()

    def down(self, *, purge: bool = False,
             say: Say = lambda _line: None) -> None:
        """Stop everything that was started for this root.

        :param purge: also delete everything that was made
        :param say: called with a line for each step
        """
        if not self.layout.marker.exists():
            return
        with processes.locked(self.layout) as token:
            running = [process for group in processes.find(
                self.layout, token).values() for process in group]
            processes.stop(running, token)
            for process in running:
                say(f'stopped {process.role} ({process.pid})')
            for role in config.ROLES:
                self.layout.pid_of(role).unlink(missing_ok=True)
            self.layout.catalog.unlink(missing_ok=True)
            if purge:
                self._purge()
                say(f'deleted what was in {self.layout.root}')

    def stop(self, role: str) -> None:
        """Stop one process, as if it had crashed; ``up`` starts it again.

        :param role: one of ``config.ROLES``
        """
        token = processes.token_of(self.layout)
        processes.stop(
            processes.find(self.layout, token).get(role, []), token)

    def status(self) -> list[RoleStatus]:
        """Say how each process is, after asking it."""
        token = processes.token_of(self.layout)
        running = processes.find(self.layout, token) if token else {}
        saved = ports.load(self.layout.ports)
        result = []
        driver = processes.read_json(self.layout.settings).get('driver')
        for role in config.roles_of(str(driver or 'fake')):
            mine = {name: saved[name] for name in ports.SERVICES[role]
                    if name in saved}
            process = next(iter(running.get(role, [])), None)
            if process is None:
                state = 'down'
            elif not process.ready:
                state = 'starting'
            elif all(_answers(port) for port in mine.values()):
                state = 'up'
            else:
                state = 'not answering'
            result.append(RoleStatus(
                role, state, process.pid if process else None, mine))
        return result

    def environment(self, persona: str = 'admin') -> dict[str, str]:
        """Return the ``OS_*`` variables of one of the users.

        :param persona: a name in ``personas.PERSONAS``
        """
        return personas.environment(
            _persona(persona), self._identity_port())

    def openrc(self, persona: str = 'admin') -> str:
        """Return the same as text for a shell."""
        return personas.openrc(_persona(persona), self._identity_port())

    def _identity_port(self) -> int:
        saved = ports.load(self.layout.ports)
        if not saved:
            raise MinicloudError(
                f'there is no cloud in {self.layout.root}: start it with up')
        return saved['identity']

    def _settings(self, driver: str | None, broker: str | None,
                  computes: int | None, quiesce: bool | None,
                  ) -> dict[str, object]:
        settings: dict[str, object] = {
            'driver': 'fake', 'broker': 'memory', 'computes': 1,
            'quiesce': True}
        saved = processes.read_json(self.layout.settings)
        settings.update({k: v for k, v in saved.items() if k in settings})
        given = {'driver': driver, 'broker': broker, 'computes': computes,
                 'quiesce': quiesce}
        settings.update({k: v for k, v in given.items() if v is not None})
        for option, known in (('driver', config.DRIVERS),
                              ('broker', config.BROKERS)):
            if settings[option] not in known:
                raise MinicloudError(
                    f'{option} {settings[option]!r} is not one of: '
                    f'{", ".join(known)}')
        count = settings['computes']
        if not isinstance(count, int) or not 1 <= count <= 100:
            raise MinicloudError(f'computes: {count} is not 1 to 100')
        if settings['driver'] == 'libvirt' and count != 1:
            raise MinicloudError(
                'there is one libvirtd, so one nova-compute: --computes 1')
        return settings

    def _purge(self) -> None:
        layout = self.layout
        for path in (layout.etc, layout.state, layout.template, layout.log,
                     layout.run, layout.guest, layout.cache,
                     layout.template.with_name('template.partial')):
            shutil.rmtree(path, ignore_errors=True)
        for name in personas.PERSONAS:
            layout.openrc_of(name).unlink(missing_ok=True)
        layout.marker.unlink(missing_ok=True)
        try:
            layout.root.rmdir()
        except OSError:
            pass    # something of the user's is in it


class _Start:
    """One run of ``up``, under the lock."""

    def __init__(self, layout: Layout, token: str,
                 settings: dict[str, object], fresh: bool, say: Say) -> None:
        self.layout = layout
        self.token = token
        self.settings = settings
        self.driver = str(settings['driver'])
        self.roles = config.roles_of(self.driver)
        self.fresh = fresh
        self.began = time.monotonic()
        self.say = lambda line: say(
            f'{time.monotonic() - self.began:6.1f} s  {line}')
        self.children: dict[str, processes.Child] = {}
        self.running: dict[str, processes.Running] = {}
        self.reservation = ports.Reservation(ports.load(layout.ports))
        self.files: dict[str, str] = {}
        self.plan: config.Plan

    def run(self) -> None:
        try:
            self._run()
        except BaseException:
            for child in self.children.values():
                if child.process.poll() is None:
                    child.signal(signal.SIGTERM)
            for child in self.children.values():
                child.kill()
            raise
        finally:
            self.reservation.release()

    def _run(self) -> None:
        for directory in (self.layout.log, self.layout.run):
            directory.mkdir(exist_ok=True)
        if not self.fresh and self.layout.complete.exists():
            self._check_state()
        self._find_running()
        if self.fresh:
            self.layout.complete.unlink(missing_ok=True)
        if self.driver == 'libvirt':
            # Whether KVM works is found out with it.
            build.build(self.layout.guest, self.layout.cache)
        self._make_plan()
        if len(self.running) == len(self.roles):
            self.say('everything is up already')
            return
        if 'identity' not in self.running:
            self.layout.catalog.unlink(missing_ok=True)
        self._write()
        if not self.layout.complete.exists():
            self._make_state()
        for role in self.roles:
            self._start(role)
        self.reservation.release()
        self._wait('identity')
        seed.catalog(seed.Api(self.plan))
        processes.write_json(self.layout.catalog, self.plan.ports)
        for role in self.roles:
            self._wait(role)
        self.say('the cloud is up')

    def _check_state(self) -> None:
        """Refuse a state that these packages might not understand."""
        told = processes.read_json(self.layout.complete)
        if told.get('root') != str(self.layout.root):
            raise MinicloudError(
                f'{self.layout.root} was made as {told.get("root")}; a cloud '
                'cannot be moved. "up --fresh" makes a new one here')
        made_for = told.get('driver', 'fake')
        if made_for != self.driver:
            raise MinicloudError(
                f'{self.layout.root} was made with --driver {made_for}; '
                f'"up --driver {self.driver} --fresh" makes a new cloud')
        was, now = told.get('versions'), packages.versions()
        if isinstance(was, dict) and was != now:
            changes = [f'{name} {was.get(name)} -> {version}'
                       for name, version in now.items()
                       if was.get(name) != version]
            raise MinicloudError(
                'the packages have changed since this cloud was made ('
                + ', '.join(changes) + '); "up --fresh" makes a new one')

    def _find_running(self) -> None:
        """Sort out what runs: keep what is whole, end what is not."""
        found = processes.find(self.layout, self.token)
        whole = self.layout.complete.exists() and not self.fresh
        discard = []
        for role, group in found.items():
            if (whole and role in self.roles and len(group) == 1
                    and group[0].ready):
                self.running[role] = group[0]
            else:
                discard.extend(group)
        self._discard(discard, 'left over' if not self.fresh else 'fresh')

    def _discard(self, targets: list[processes.Running], why: str) -> None:
        processes.stop(targets, self.token)
        for target in targets:
            self.running.pop(target.role, None)
            self.say(f'stopped {target.role} ({target.pid}): {why}')

    def _make_plan(self) -> None:
        """Find ports, render, and end what runs with other settings."""
        virt_type = (hypervisor.virt_type(self.layout)
                     if self.driver == 'libvirt' else '')
        while True:
            self.reservation.reserve(
                name for role in self.roles if role not in self.running
                for name in ports.SERVICES[role])
            self.plan = config.Plan(
                self.layout, dict(self.reservation.ports),
                driver=self.driver,
                broker=str(self.settings['broker']),
                computes=int(str(self.settings['computes'])),
                quiesce=bool(self.settings['quiesce']),
                virt_type=virt_type)
            self.files = config.render(self.plan)
            stale = [process for role, process in self.running.items()
                     if process.digest != self._digest(role)]
            if not stale:
                return
            self._discard(stale, 'its settings have changed')

    def _digest(self, role: str) -> str:
        return config.digest(self.plan, self.files, role)

    def _write(self) -> None:
        config.write(self.layout, self.files)
        processes.write_json(self.layout.ports, self.plan.ports)
        processes.write_json(self.layout.settings, self.settings)
        for name, persona in personas.PERSONAS.items():
            path = self.layout.openrc_of(name)
            path.write_text(
                personas.openrc(persona, self.plan.ports['identity']))
            path.chmod(0o600)

    def _make_state(self) -> None:
        # The marker first: what is half removed is not a state.
        self.layout.complete.unlink(missing_ok=True)
        shutil.rmtree(self.layout.state, ignore_errors=True)
        self.layout.make_state()
        if template.valid(self.layout, self.driver):
            template.restore(self.layout)
            self.say('state restored from the template')
        else:
            self._build_state()
        template.mark_complete(self.layout, self.driver)

    def _build_state(self) -> None:
        from minicloud.roles import prepare
        self.say('making databases from nothing')
        for name in template.DATABASES:
            sqlite.create(self.layout.database(name))
        for part in prepare.PARTS:
            role = f'prepare-{part}'
            self.children[role] = processes.Child(
                role, processes.command(role, self.layout, self.token,
                                        options=['--driver', self.driver]),
                self.layout.log_of(role))
        deadline = time.monotonic() + PREPARE_TIMEOUT
        waiting = [f'prepare-{part}' for part in prepare.PARTS]
        while waiting:
            for role in list(waiting):
                child = self.children[role]
                code = child.process.poll()
                if code is None and time.monotonic() > deadline:
                    raise child.failure(
                        f'has not ended after {PREPARE_TIMEOUT:.0f} s')
                if code:
                    raise child.failure(f'failed (exit code {code})')
                if code == 0:
                    waiting.remove(role)
                    self.say(f'{role} done')
                    if role == 'prepare-keystone':
                        self._start('identity')
                    elif role == 'prepare-glance':
                        self._start('image')
            time.sleep(0.05)
        self._wait('identity')
        api = seed.Api(self.plan)
        seed.users(api)
        seed.catalog(api)
        self._wait('image')
        seed.images(api, self.layout.guest if self.driver == 'libvirt'
                    else None)
        template.save(self.layout, self.driver)
        self.say('users, catalog and images made; template saved')

    def _start(self, role: str) -> None:
        if role in self.running or role in self.children:
            return
        options = []
        if role == 'compute':
            options = ['--driver', self.plan.driver,
                       '--computes', str(self.plan.computes)]
            if self.plan.quiesce:
                options.append('--quiesce')
        self.layout.pid_of(role).unlink(missing_ok=True)
        self.children[role] = processes.Child(
            role,
            processes.command(role, self.layout, self.token,
                              self._digest(role), options),
            self.layout.log_of(role),
            {name: self.reservation.sockets[name]
             for name in ports.SERVICES[role]})

    def _wait(self, role: str) -> None:
        """Wait until a process is ready; watch all the others meanwhile."""
        child = self.children.get(role)
        if child is None or child.ready:
            return
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            told = processes.read_json(self.layout.pid_of(role))
            if told.get('pid') == child.process.pid and told.get('ready'):
                break
            for other in self.children.values():
                code = other.process.poll()
                if code is not None and other.role in config.ROLES:
                    raise other.failure(
                        f'ended while starting (exit code {code})')
            if time.monotonic() > deadline:
                raise child.failure(
                    f'is not ready after {START_TIMEOUT:.0f} s')
            time.sleep(0.05)
        child.ready = True
        self.say(f'{role} is ready')


def _persona(name: str) -> personas.Persona:
    try:
        return personas.PERSONAS[name]
    except KeyError:
        raise MinicloudError(
            f'{name!r} is not one of: {", ".join(personas.PERSONAS)}')


def _answers(port: int) -> bool:
    """Whether an HTTP server says anything at all there."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(f'http://{ports.ADDRESS}:{port}/', timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
