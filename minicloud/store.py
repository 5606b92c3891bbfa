# SPDX-License-Identifier: Apache-2.0

"""A store of backups apart from all clouds: up, down, status.

It is Swift in one process, in a root directory of its own, to which clouds
are pointed by ``--backup swift --store DIR``.
"""

import base64
from collections.abc import Callable
import dataclasses
import hashlib
import importlib.util
import json
import os
import pathlib
import secrets
import shutil
import sys
import time

from minicloud import config
from minicloud import ports
from minicloud import processes
from minicloud import swift
from minicloud.errors import MinicloudError
from minicloud.layout import Layout

ROLE = 'store'
#: Seconds in which it must have become ready.
START_TIMEOUT = 120.0

Say = Callable[[str], None]


def check_packages(*choices: str) -> None:
    """Say which packages are missing, before anything is made.

    :param choices: keys of ``swift.PACKAGES``, and others, which need none
    :raises MinicloudError: with the command that gets them
    """
    missing = {choice: [
        package for package, module in swift.PACKAGES[choice].items()
        if importlib.util.find_spec(module) is None]
        for choice in choices if choice in swift.PACKAGES}
    if wanted := missing.pop('s3', []):
        # Its requirements contradict OpenStack's constraints.
        raise MinicloudError(
            f'not installed for {sys.executable}: {", ".join(wanted)}\n'
            f'  {sys.executable} -m pip install --no-deps '
            + ' '.join(swift.PACKAGES['s3']))
    if names := [name for found in missing.values() for name in found]:
        requirements = pathlib.Path(__file__).with_name(
            'requirements-swift.txt')
        raise MinicloudError(
            f'not installed for {sys.executable}: {", ".join(names)}\n'
            f'  {sys.executable} -m pip install -r {requirements}')


@dataclasses.dataclass(frozen=True)
class StoreStatus:
    """How a store is.

    :param state: ``up``, ``starting``, ``down``, ``suspended`` (by a
        signal) or ``not answering``
    :param pid: its process id, if it runs
    :param port: where it listens; 0 if it never did
    """

    state: str
    pid: int | None
    port: int


class Store:
    """A store in a directory.

    :param root: the directory; made by :meth:`up` if it is not there
    """

    def __init__(self, root: str | pathlib.Path) -> None:
        self.layout = Layout.of(root)

    def up(self, say: Say = lambda _line: None) -> None:
        """Start it unless it runs; return when it answers.

        :param say: called with a line for each step
        :raises MinicloudError: in words
        """
        check_packages('store')
        with processes.locked(self.layout) as token:
            self._refuse_cloud()
            self._start(token, say)

    def _refuse_cloud(self) -> None:
        if self.layout.complete.exists() or self.layout.settings.exists():
            raise MinicloudError(
                f'{self.layout.root} is the root of a cloud; a store needs '
                'one of its own')

    def _start(self, token: str, say: Say) -> None:
        layout = self.layout
        for directory in (layout.log, layout.run, layout.state):
            directory.mkdir(exist_ok=True)
        self._check_attributes()
        running = processes.find(layout, token).get(ROLE, [])
        whole = [process for process in running
                 if process.ready and not process.suspended]
        if len(whole) == len(running) == 1:
            say('the store is up already')
            return
        processes.stop(running, token)
        reservation = ports.Reservation(ports.read(layout.ports))
        names = [swift.service(server) for server in swift.SERVERS]
        try:
            reservation.reserve(names)
            files = swift.files(layout, reservation.ports, self._key())
            config.write(layout, files)
            processes.write_json(layout.ports, reservation.ports)
            layout.pid_of(ROLE).unlink(missing_ok=True)
            child = processes.Child(
                ROLE, processes.command(ROLE, layout, token, _digest(files)),
                layout.log_of(ROLE), reservation.sockets)
        finally:
            reservation.release()
        try:
            self._wait(child)
        except BaseException:
            child.kill()
            raise
        say(f'the store is up: http://{ports.ADDRESS}:'
            f'{reservation.ports["store"]}')

    def _check_attributes(self) -> None:
        """Refuse a file system on which Swift cannot work."""
        try:
            os.setxattr(self.layout.state, 'user.minicloud', b'1')
        except OSError as error:
            raise MinicloudError(
                f'Swift needs extended attributes, and {self.layout.state} '
                f'is on a file system without them: {error.strerror}')

    def _key(self) -> str:
        """Return what tokens are signed with; the same at each start."""
        path = self.layout.store_key
        key = processes.read_json(path).get('key')
        if not isinstance(key, str):
            key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
            processes.write_json(path, {'key': key})
            path.chmod(0o600)
        return key

    def _wait(self, child: processes.Child) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not processes.ready(self.layout, ROLE):
            code = child.process.poll()
            if code is not None:
                raise child.failure(
                    f'ended while starting (exit code {code})')
            if time.monotonic() > deadline:
                raise child.failure(
                    f'is not ready after {START_TIMEOUT:.0f} s')
            time.sleep(0.05)

    def down(self, *, purge: bool = False,
             say: Say = lambda _line: None) -> None:
        """Stop it. Backups stay.

        :param purge: also delete everything in it
        :param say: called with a line for each step
        """
        if not self.layout.marker.exists():
            return
        with processes.locked(self.layout) as token:
            self._refuse_cloud()
            running = processes.find(self.layout, token).get(ROLE, [])
            processes.stop(running, token)
            for process in running:
                say(f'stopped {ROLE} ({process.pid})')
            self.layout.pid_of(ROLE).unlink(missing_ok=True)
            if purge:
                self._purge()
                say(f'deleted what was in {self.layout.root}')

    def _purge(self) -> None:
        layout = self.layout
        for path in (layout.etc, layout.state, layout.log, layout.run):
            shutil.rmtree(path, ignore_errors=True)
        layout.marker.unlink(missing_ok=True)
        try:
            layout.root.rmdir()
        except OSError:
            pass    # something of the user's is in it

    def signal(self, number: int) -> None:
        """Send a signal to it, as ``Cloud.signal`` does.

        :raises MinicloudError: if it does not run
        """
        token = processes.token_of(self.layout)
        running = processes.find(self.layout, token).get(ROLE, [])
        if not running:
            raise MinicloudError(
                f'the store in {self.layout.root} does not run')
        processes.send(running, token, number)

    def status(self) -> StoreStatus:
        """Say how it is, after asking it."""
        token = processes.token_of(self.layout)
        running = (processes.find(self.layout, token) if token else {}).get(
            ROLE, [])
        port = ports.read(self.layout.ports).get('store', 0)
        if not running:
            return StoreStatus('down', None, port)
        process = running[0]
        if process.suspended:
            state = 'suspended'
        elif not process.ready:
            state = 'starting'
        else:
            state = 'up' if swift.answers(port) else 'not answering'
        return StoreStatus(state, process.pid, port)


def _digest(files: dict[str, str]) -> str:
    text = json.dumps(files, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
