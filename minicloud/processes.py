# SPDX-License-Identifier: Apache-2.0

"""Starting, recognising and stopping the processes of one root.

A process belongs to a root if its command line carries the root's random
token; that is read from /proc each time, so that neither a recycled process
id nor a lost pid file can mislead. Signals go through a pidfd, to the very
process that was looked at.

Must never signal anything else.
"""

from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import time
import uuid

from minicloud.errors import MinicloudError
from minicloud.layout import Layout

MODULE = 'minicloud.process'
PATIENCE = 8.0


@dataclasses.dataclass(frozen=True)
class Running:
    """A live process of this root.

    :param role: its name
    :param pid: its process id
    :param digest: what it was started with, see ``config.digest``
    :param ready: whether it has said that its services are started
    :param suspended: whether a signal has stopped it
    """

    role: str
    pid: int
    digest: str
    ready: bool
    suspended: bool = False


def write_json(path: pathlib.Path, data: object) -> None:
    """Write a file so that a reader sees the old or the new, whole."""
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    temporary.write_text(json.dumps(data, indent=1, sort_keys=True) + '\n')
    temporary.replace(path)


def read_json(path: pathlib.Path) -> dict[str, object]:
    """Return what a file of ours says; nothing if it says nothing."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


@dataclasses.dataclass(frozen=True)
class Stat:
    """What the kernel says about a live process.

    :param state: one letter; ``T`` if a signal has stopped it
    :param session: process id of the first process of its session
    :param start: when it started, in the kernel's ticks
    """

    state: str
    session: int
    start: int


def stat(pid: int) -> Stat | None:
    """Return what the kernel says about a process, if it has not ended."""
    try:
        text = pathlib.Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return None
    fields = text.rpartition(')')[2].split()
    if fields[0] in 'ZX':
        return None
    return Stat(fields[0], int(fields[3]), int(fields[19]))


def start_time(pid: int) -> int | None:
    """Return when a process started, in the kernel's ticks."""
    found = stat(pid)
    return found.start if found else None


def arguments(pid: int) -> list[str]:
    """Return the command line of a process, empty if it is gone."""
    try:
        raw = pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()
    except OSError:
        return []
    return raw.decode(errors='replace').split('\0')


def role_in(argv: list[str], token: str) -> tuple[str, str] | None:
    """Return role and digest if a command line is ours, else None.

    :param argv: the command line, as written by :func:`command`
    :param token: the token of the root
    """
    if not token or MODULE not in argv:
        return None
    mine = argv[argv.index(MODULE) + 1:]
    try:
        if mine[mine.index('--token') + 1] != token:
            return None
        return mine[0], mine[mine.index('--digest') + 1]
    except (ValueError, IndexError):
        return None


def find(layout: Layout, token: str) -> dict[str, list[Running]]:
    """Return every live process of this root, by role."""
    found: dict[str, list[Running]] = {}
    for pid in _pids():
        ours = role_in(arguments(pid), token)
        about = stat(pid)
        if ours is None or about is None:
            continue
        role, digest = ours
        told = read_json(layout.pid_of(role))
        ready = (told.get('pid') == pid and told.get('start') == about.start
                 and bool(told.get('ready')))
        found.setdefault(role, []).append(
            Running(role, pid, digest, ready, about.state == 'T'))
    return found


def _pids() -> Iterator[int]:
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            yield int(entry)


def ready(layout: Layout, role: str) -> bool:
    """Whether a process lives that has said that it is ready."""
    told = read_json(layout.pid_of(role))
    pid, start = told.get('pid'), told.get('start')
    return (bool(told.get('ready')) and isinstance(pid, int)
            and start is not None and start_time(pid) == start)


def command(role: str, layout: Layout, token: str, digest: str = '-',
            options: Iterable[str] = ()) -> list[str]:
    """Return the command line of a process of ours."""
    return [sys.executable, '-P', '-m', MODULE, role, '--root',
            str(layout.root), '--token', token, '--digest', digest,
            *options]


def child_environment() -> dict[str, str]:
    """Return an environment in which only our configuration counts."""
    package_home = str(pathlib.Path(__file__).resolve().parent.parent)
    env = {
        name: value for name, value in os.environ.items()
        if not name.startswith('OS_')
        and name.lower() not in ('http_proxy', 'https_proxy', 'all_proxy')}
    paths = [package_home]
    paths.extend(p for p in env.get('PYTHONPATH', '').split(os.pathsep) if p)
    # An extension found in the working directory is found by the services.
    if '' in sys.path or os.getcwd() in sys.path:
        paths.append(os.getcwd())
    env['PYTHONPATH'] = os.pathsep.join(dict.fromkeys(paths))
    env['PYTHONWARNINGS'] = 'ignore'
    return env


class Child:
    """A process started by this one.

    :param role: what it is to be
    :param argv: its command line
    :param log: file that its output is appended to
    :param sockets: bound sockets by service name, for it to listen on
    """

    def __init__(self, role: str, argv: list[str], log: pathlib.Path,
                 sockets: dict[str, socket.socket] | None = None) -> None:
        self.role = role
        self.log = log
        self.ready = False
        self.offset = log.stat().st_size if log.exists() else 0
        sockets = sockets or {}
        for name, sock in sockets.items():
            argv = [*argv, '--socket', f'{name}={sock.fileno()}']
        with log.open('ab') as output:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, env=child_environment(), cwd='/',
                start_new_session=True,
                pass_fds=[sock.fileno() for sock in sockets.values()])

    def tail(self, lines: int = 30) -> str:
        """Return the last lines that this process wrote."""
        with self.log.open('rb') as log:
            log.seek(self.offset)
            text = log.read().decode(errors='replace')
        kept = [line for line in text.splitlines() if line.strip()]
        return '\n'.join(f'  | {line[:500]}' for line in kept[-lines:])

    def failure(self, what: str) -> MinicloudError:
        return MinicloudError(
            f'{self.role} {what}\nthe last lines of {self.log}:\n'
            f'{self.tail() or "  | (nothing)"}')

    def kill(self) -> None:
        """End the process, by force if it does not listen."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self.process.wait()

    def signal(self, number: int) -> None:
        """Signal the process, not waited for yet, and those it forked."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def stop(targets: Iterable[Running], token: str) -> None:
    """End processes of this root, together, by force after some seconds."""
    targets = list(targets)
    # One that is suspended would not hear of it.
    send([target for target in targets if target.suspended], token,
         signal.SIGCONT)
    with _handles(targets, token) as handles:
        for number in (signal.SIGTERM, signal.SIGKILL):
            _signal(handles, number)
            _wait(handles, PATIENCE)
            if not handles:
                return
        raise MinicloudError(
            'could not end: ' + ', '.join(str(pid) for pid in handles))


def send(targets: Iterable[Running], token: str, number: int) -> None:
    """Send a signal to processes of this root.

    The programs that they have started get it too. After SIGKILL, wait
    until all are gone.
    """
    with _handles(targets, token) as handles:
        with _members(handles) as members:
            # Those before these: who sees its program die may say so.
            _signal(handles, number)
            _signal(members, number)
            if number == signal.SIGKILL:
                _wait(handles, PATIENCE)
                _wait(members, PATIENCE)


@contextlib.contextmanager
def _handles(targets: Iterable[Running], token: str,
             ) -> Iterator[dict[int, int]]:
    """Give a handle for each process that is still of this root."""
    handles: dict[int, int] = {}
    try:
        for target in targets:
            if (handle := _open(target.pid)) is None:
                continue
            handles[target.pid] = handle
            # Only now is it certain that the handle is that process.
            if role_in(arguments(target.pid), token) is None:
                os.close(handles.pop(target.pid))
        yield handles
    finally:
        for handle in handles.values():
            os.close(handle)


@contextlib.contextmanager
def _members(leaders: dict[int, int]) -> Iterator[dict[int, int]]:
    """Give a handle for each other process of the sessions of ours."""
    handles: dict[int, int] = {}
    try:
        for pid in _pids():
            if pid in leaders or (handle := _open(pid)) is None:
                continue
            handles[pid] = handle
            about = stat(pid)
            # As long as the leader lives, its number is nobody else's.
            if (about is None or about.session not in leaders
                    or _ended(leaders[about.session])):
                os.close(handles.pop(pid))
        yield handles
    finally:
        for handle in handles.values():
            os.close(handle)


def _open(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _ended(handle: int) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(0))


def _signal(handles: dict[int, int], number: int) -> None:
    for handle in handles.values():
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)


def _wait(handles: dict[int, int], seconds: float) -> None:
    """Take out and close the handles of those that have ended."""
    deadline = time.monotonic() + seconds
    while handles:
        left = deadline - time.monotonic()
        if left <= 0:
            return
        poll = select.poll()
        for handle in handles.values():
            poll.register(handle, select.POLLIN)
        ended = {fd for fd, _event in poll.poll(left * 1000)}
        for pid, handle in list(handles.items()):
            if handle in ended:
                os.close(handles.pop(pid))
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)


def token_of(layout: Layout) -> str:
    """Return the token of a root, empty if it has none."""
    try:
        return layout.marker.read_text().strip()
    except OSError:
        return ''


@contextlib.contextmanager
def locked(layout: Layout) -> Iterator[str]:
    """Be the only one who works on a root; gives the root's token.

    :raises MinicloudError: if the directory is somebody else's
    """
    if layout.root.exists() and not layout.marker.exists():
        if not layout.root.is_dir():
            raise MinicloudError(f'{layout.root} is not a directory')
        foreign = {entry.name for entry in layout.root.iterdir()}
        foreign -= {layout.local.name, layout.marker.name}
        if foreign and not layout.marker.exists():
            raise MinicloudError(
                f'{layout.root} is not empty and was not made by minicloud; '
                'choose another --root')
    while True:
        try:
            layout.root.mkdir(parents=True, exist_ok=True)
            lock = os.open(layout.marker, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise MinicloudError(f'cannot use {layout.root}: {error}')
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f'another command is at work on {layout.root}: '
                      'waiting for it', file=sys.stderr)
                fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                same = os.path.samestat(os.fstat(lock),
                                        os.stat(layout.marker))
            except FileNotFoundError:
                same = False
            if not same:    # purged while we waited
                continue
            token = os.pread(lock, 100, 0).decode().strip()
            if not token:
                token = uuid.uuid4().hex
                os.pwrite(lock, token.encode() + b'\n', 0)
            yield token
            return
        finally:
            os.close(lock)
