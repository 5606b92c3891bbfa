# SPDX-License-Identifier: Apache-2.0

"""The cloud as one thing: up, down, status, environment.

Knows in which order things are made and what to undo when it goes wrong;
leaves how to the other modules. An ``up`` can be interrupted at any moment,
by any means: the next ``up`` or ``down`` finds what it left behind.
"""

from collections.abc import Callable
from collections.abc import Iterable
import dataclasses
import pathlib
import shutil
import signal
import time
from typing import Any
import urllib.error
import urllib.request

from minicloud import ceph
from minicloud import config
from minicloud import devices
from minicloud import hypervisor
from minicloud import packages
from minicloud import personas
from minicloud import ports
from minicloud import processes
from minicloud import releases
from minicloud import seed
from minicloud import servers
from minicloud import sqlite
from minicloud import store as stores
from minicloud import swift
from minicloud import template
from minicloud.config import Settings
from minicloud.errors import MinicloudError
from minicloud.guest import build
from minicloud.layout import Layout
from minicloud.layout import QUEUE_COUNTERS

#: Seconds in which at least one more process must have become ready.
START_TIMEOUT = 120.0
PREPARE_TIMEOUT = 300.0

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class RoleStatus:
    """How one process of the cloud is.

    :param role: its name
    :param state: ``up``, ``starting``, ``down``, ``suspended`` (by a
        signal) or ``not answering``
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

    def up(self, *, release: str | None = None, fresh: bool = False,
           say: Say = lambda _line: None, **settings: Any) -> None:
        """Start what is not running; return when everything answers.

        What is not given stays as it was at the last time.

        :param release: of OpenStack, which must be the installed one
        :param fresh: forget all servers, volumes and users first
        :param say: called with a line for each step
        :param settings: those of :class:`config.Settings`; ``store`` may be
            any path
        :raises MinicloudError: in words; what this call started is stopped
        """
        if store := settings.get('store'):
            settings['store'] = str(pathlib.Path(store).expanduser().resolve())
        self._refuse_store()
        self._check_machine(self._settings(settings))
        with processes.locked(self.layout) as token:
            chosen = self._settings(settings)
            packages.check(chosen.quiesce, chosen.network)
            found = releases.check(release, chosen.network)
            say(f'OpenStack {found}')
            _Start(self.layout, token, chosen, fresh, say).run()

    def down(self, *, purge: bool = False,
             say: Say = lambda _line: None) -> None:
        """Stop everything that was started for this root.

        :param purge: also delete everything that was made
        :param say: called with a line for each step
        """
        if not self.layout.marker.exists():
            return
        self._refuse_store()
        with processes.locked(self.layout) as token:
            running = [process for group in processes.find(
                self.layout, token).values() for process in group]
            processes.stop(running, token)
            for process in running:
                self.layout.pid_of(process.role).unlink(missing_ok=True)
                say(f'stopped {process.role} ({process.pid})')
            self.layout.catalog.unlink(missing_ok=True)
            devices.remove(self.layout)
            for path in QUEUE_COUNTERS.glob(f'{self.layout.queue_host}_*'):
                path.unlink(missing_ok=True)
            if purge:
                self._purge()
                say(f'deleted what was in {self.layout.root}')

    def roles(self) -> tuple[str, ...]:
        """Return the names of the processes that this cloud has."""
        return config.roles_of(self._settings({}))

    def pid(self, role: str) -> int:
        """Return the process id of one process.

        :param role: one of :meth:`roles`
        :raises MinicloudError: if it does not run
        """
        return self._one(role).pid

    def signal(self, role: str, number: int) -> None:
        """Send a signal to one process, and to the programs it started.

        SIGKILL makes it end like a crash, and this returns when it is gone;
        SIGSTOP suspends it until SIGCONT. ``up`` and :meth:`start` put
        either right.

        :param role: one of :meth:`roles`
        :param number: such as ``signal.SIGKILL``
        :raises MinicloudError: if it does not run
        """
        processes.send([self._one(role)], processes.token_of(self.layout),
                       number)

    def stop(self, role: str) -> None:
        """Stop one process if it runs; ``up`` starts it again.

        :param role: one of :meth:`roles`
        """
        processes.stop(self._running(role), processes.token_of(self.layout))

    def start(self, role: str, say: Say = lambda _line: None) -> None:
        """Start one process unless it runs; leave all others as they are.

        :param role: one of :meth:`roles`
        :param say: called with a line for each step
        :raises MinicloudError: if there is no cloud yet, or it did not start
        """
        self._known(role)
        if not self.layout.complete.exists():
            raise MinicloudError(
                f'there is no cloud in {self.layout.root}: start it with up')
        with processes.locked(self.layout) as token:
            _Start(self.layout, token, self._settings({}), False, say,
                   only=role).run()

    def _known(self, role: str) -> None:
        if role not in self.roles():
            raise MinicloudError(
                f'{role!r} is not one of: {", ".join(self.roles())}')

    def _running(self, role: str) -> list[processes.Running]:
        self._known(role)
        return processes.find(self.layout, processes.token_of(
            self.layout)).get(role, [])

    def _one(self, role: str) -> processes.Running:
        for process in self._running(role):
            return process
        raise MinicloudError(f'{role} of {self.layout.root} does not run')

    def status(self) -> list[RoleStatus]:
        """Say how each process is, after asking it."""
        token = processes.token_of(self.layout)
        running = processes.find(self.layout, token) if token else {}
        saved = ports.load(self.layout.ports)
        result = []
        for role in self.roles():
            mine = {name: saved[name] for name in ports.SERVICES.get(role, ())
                    if name in saved}
            process = next(iter(running.get(role, [])), None)
            if process is None:
                state = 'down'
            elif process.suspended:
                state = 'suspended'
            elif not process.ready:
                state = 'starting'
            elif self._answers(role, mine):
                state = 'up'
            else:
                state = 'not answering'
            result.append(RoleStatus(
                role, state, process.pid if process else None, mine))
        return result

    def _answers(self, role: str, mine: dict[str, int]) -> bool:
        if role == 'broker':
            return servers.rabbitmq_answers(mine.get('broker', 0))
        if role == 'database':
            return servers.mariadb_answers(self.layout.database_socket)
        if role == 'storage':
            return ceph.answers(mine.get('storage', 0))
        return all(_answers(port) for port in mine.values())

    def environment(self, persona: str = 'admin') -> dict[str, str]:
        """Return the ``OS_*`` variables of one of the users.

        :param persona: a name in ``personas.PERSONAS``
        """
        return personas.environment(
            _persona(persona), self._identity_port())

    def openrc(self, persona: str = 'admin') -> str:
        """Return the same as text for a shell."""
        return personas.openrc(_persona(persona), self._identity_port())

    @property
    def site_name(self) -> str:
        """The name of this cloud in clouds.yaml."""
        return _site_name(self.layout, self._settings({}))

    def clouds(self) -> dict[str, dict[str, object]]:
        """Return the entries of all users for clouds.yaml, by name.

        The administrator's is the name of the site; ``SITE-member`` is that
        of the persona ``member``, and so on.
        """
        return personas.clouds(self.site_name, self._identity_port())

    def _identity_port(self) -> int:
        saved = ports.load(self.layout.ports)
        if not saved:
            raise MinicloudError(
                f'there is no cloud in {self.layout.root}: start it with up')
        return saved['identity']

    def _settings(self, given: dict[str, Any]) -> Settings:
        """Return what is given, as before, or by default, in this order.

        :param given: by name; None if it is not given
        """
        known = {field.name for field in dataclasses.fields(Settings)}
        saved = processes.read_json(self.layout.settings)
        chosen: dict[str, Any] = {
            name: value for name, value in saved.items() if name in known}
        chosen.update((name, value) for name, value in given.items()
                      if value is not None)
        settings = Settings(**chosen)
        settings.check()
        if (settings.one_nova
                and (given.get('quiesce_services') not in (None, 1)
                     or given.get('quiesce_host') not in (None, 'own'))):
            raise MinicloudError(
                f'--broker {settings.broker} has one nova-quiesce, in the '
                'process of all of Nova: several need --broker rabbit')
        if given.get('store') and settings.backup == 'none':
            raise MinicloudError(
                f'--store {given["store"]} would have nothing in it: it '
                'needs --backup')
        return settings

    def _refuse_store(self) -> None:
        if self.layout.store_key.exists():
            raise MinicloudError(
                f'{self.layout.root} is a store, not a cloud: it is started '
                'and stopped by "python -m minicloud store"')

    def _check_machine(self, settings: Settings) -> None:
        """Say what this machine lacks, before anything is made."""
        servers.check(self.layout, (
            settings.broker, settings.cinder_broker, settings.database,
            settings.storage))
        stores.check_packages(settings.backup)
        if settings.backup in config.STORED:
            swift.port_of(pathlib.Path(settings.store))
        if settings.driver == 'libvirt':
            hypervisor.check(self.layout)
            if settings.network == 'neutron':
                devices.check()

    def _purge(self) -> None:
        layout = self.layout
        for path in (layout.etc, layout.state, layout.template, layout.log,
                     layout.run, layout.guest, layout.cache,
                     layout.template.with_name('template.partial')):
            shutil.rmtree(path, ignore_errors=True)
        for name in personas.PERSONAS:
            layout.openrc_of(name).unlink(missing_ok=True)
        layout.clouds_yaml.unlink(missing_ok=True)
        layout.marker.unlink(missing_ok=True)
        try:
            layout.root.rmdir()
        except OSError:
            pass    # something of the user's is in it


class _Start:
    """One run of ``up``, under the lock.

    :param only: the only process to start; the others are left alone
    """

    def __init__(self, layout: Layout, token: str, settings: Settings,
                 fresh: bool, say: Say, only: str = '') -> None:
        self.layout = layout
        self.token = token
        self.settings = settings
        self.roles = (only,) if only else config.roles_of(settings)
        self.only = only
        self.fresh = fresh
        self.began = time.monotonic()
        self.progress = self.began
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
        if self.settings.driver == 'libvirt':
            # Whether KVM works is found out with it.
            build.build(self.layout.guest, self.layout.cache)
        self._make_plan()
        missing = [role for role in self.roles if role not in self.running]
        if not missing:
            self._write_access()
            self.say(f'{self.only or "everything"} is up already')
            return
        if 'identity' in missing:
            self.layout.catalog.unlink(missing_ok=True)
        self._write()
        if not self.layout.complete.exists():
            self._make_state()
        for role in missing:
            self._start(role)
            if role == 'database':
                self._wait([role])
        if 'identity' in missing or not self.only:
            self._wait(['identity'])
            seed.catalog(seed.Api(self.plan))
            processes.write_json(self.layout.catalog, self.plan.ports)
        self._wait(self.children)
        self.say(f'{self.only or "the cloud"} is up')

    def _check_state(self) -> None:
        """Refuse a state that these packages might not understand."""
        told = processes.read_json(self.layout.complete)
        if told.get('root') != str(self.layout.root):
            raise MinicloudError(
                f'{self.layout.root} was made as {told.get("root")}; a cloud '
                'cannot be moved. "up --fresh" makes a new one here')
        for option in ('driver', 'database', 'storage', 'network',
                       'cells', 'queues'):
            now = getattr(self.settings, option)
            was = told.get(option, getattr(template.DEFAULTS, option))
            if was != now:
                raise MinicloudError(
                    f'{self.layout.root} was made with --{option} {was}; '
                    f'"up --{option} {now} --fresh" makes a new cloud')
        before = told.get('versions')
        after = packages.versions(packages.services(self.settings.network))
        if isinstance(before, dict) and before != after:
            changes = [f'{name} {before.get(name)} -> {version}'
                       for name, version in after.items()
                       if before.get(name) != version]
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
                    and group[0].ready and not group[0].suspended):
                self.running[role] = group[0]
            elif role in self.roles or not self.only:
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
                     if self.settings.driver == 'libvirt' else '')
        while True:
            self.reservation.reserve(
                name for role in self.roles if role not in self.running
                for name in ports.SERVICES.get(role, ()))
            self.plan = config.Plan(
                layout=self.layout, ports=dict(self.reservation.ports),
                virt_type=virt_type, **dataclasses.asdict(self.settings))
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
        self._write_access()

    def _write_access(self) -> None:
        """Write what clients need, and what the next ``up`` goes by."""
        processes.write_json(self.layout.settings,
                             dataclasses.asdict(self.settings))
        port = self.plan.ports['identity']
        clouds = self.layout.clouds_yaml
        clouds.write_text(personas.clouds_yaml(personas.clouds(
            _site_name(self.layout, self.settings), port)))
        clouds.chmod(0o600)
        for name, persona in personas.PERSONAS.items():
            path = self.layout.openrc_of(name)
            path.write_text(personas.openrc(persona, port))
            path.chmod(0o600)

    def _make_state(self) -> None:
        # The marker first: what is half removed is not a state.
        self.layout.complete.unlink(missing_ok=True)
        # It knows the devices that a crash has left.
        devices.remove(self.layout)
        shutil.rmtree(self.layout.state, ignore_errors=True)
        self.layout.make_state()
        if template.valid(self.layout, self.settings):
            template.restore(self.layout)
            self.say('state restored from the template')
        else:
            self._build_state()
        template.mark_complete(self.layout, self.settings)

    def _build_state(self) -> None:
        from minicloud.roles import prepare
        self.say('making databases from nothing')
        mariadb = self.settings.database == 'mariadb'
        if mariadb:
            self._start('database')
            self._wait(['database'])
        else:
            for name in config.database_names(self.settings):
                sqlite.create(self.layout.database(name))
        parts = prepare.parts(self.settings)
        for part in parts:
            role = f'prepare-{part}'
            self.children[role] = processes.Child(
                role, processes.command(
                    role, self.layout, self.token,
                    options=self._options()),
                self.layout.log_of(role))
        deadline = time.monotonic() + PREPARE_TIMEOUT
        waiting = [f'prepare-{part}' for part in parts]
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
        self._wait(['identity'])
        api = seed.Api(self.plan)
        seed.users(api)
        seed.catalog(api)
        self._wait(['image'])
        seed.images(api, self.layout.guest
                    if self.settings.driver == 'libvirt' else None)
        if mariadb:
            # Its files are whole when it has ended; the others come back
            # to it by themselves.
            self.children.pop('database').kill()
        template.save(self.layout, self.settings)
        self.say('users, catalog and images made; template saved')

    def _options(self) -> list[str]:
        """Return what each process is told of the cloud."""
        return ['--driver', self.plan.driver,
                '--database', self.plan.database,
                '--storage', self.plan.storage,
                '--cells', str(self.plan.cells),
                *(['--quiesce'] if self.plan.quiesce else [])]

    def _start(self, role: str) -> None:
        if role in self.running or role in self.children:
            return
        options = [*self._options(),
                   '--cell', str(config.cell_of(self.plan, role))]
        for name, host in config.nova_services(self.plan).get(role, ()):
            options.extend(('--service', f'{name}@{host}'))
        for other in config.before(self.plan, role):
            options.extend(('--before', other))
        names = ports.SERVICES.get(role, ())
        self.layout.pid_of(role).unlink(missing_ok=True)
        self.children[role] = processes.Child(
            role,
            processes.command(role, self.layout, self.token,
                              self._digest(role), options),
            self.layout.log_of(role),
            {name: self.reservation.sockets[name] for name in names})
        self.reservation.release(names)
        self.progress = time.monotonic()

    def _wait(self, roles: Iterable[str]) -> None:
        """Wait until processes are ready; watch all others meanwhile."""
        started = {role: child for role, child in self.children.items()
                   if not role.startswith('prepare-')}
        wanted = [started[role] for role in roles if role in started]
        while waiting := [child for child in wanted if not child.ready]:
            for child in started.values():
                code = child.process.poll()
                if code is not None:
                    raise child.failure(
                        f'ended while starting (exit code {code})')
                self._look(child)
            if time.monotonic() > self.progress + START_TIMEOUT:
                raise waiting[0].failure(
                    f'is not ready after {START_TIMEOUT:.0f} s')
            time.sleep(0.05)

    def _look(self, child: processes.Child) -> None:
        """See whether a process has become ready."""
        if child.ready:
            return
        told = processes.read_json(self.layout.pid_of(child.role))
        if told.get('pid') == child.process.pid and told.get('ready'):
            child.ready = True
            self.progress = time.monotonic()
            self.say(f'{child.role} is ready')


def _site_name(layout: Layout, settings: Settings) -> str:
    return settings.site_name or layout.root.name.lstrip('.') or 'minicloud'


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
