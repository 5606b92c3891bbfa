# SPDX-License-Identifier: Apache-2.0

"""Nova's fake compute driver, with a memory and a guest agent.

Two things that a real hypervisor has and Nova's fake one does not:

* Guests outlive nova-compute. Each is a file below
  ``state/hypervisors/<host>``; a driver that starts finds them again, with
  their power states and frozen or not. Node ids are the same each time.
* Guests have an agent that can be asked to freeze and thaw. It answers as
  Nova's libvirt driver does, and fails in the ways that one fails, chosen by
  the server's metadata (see :data:`QUIESCE`). What really happened in the
  guest is appended to ``state/guests/<uuid>``, one line per freeze or thaw:
  ``frozen <unix time>`` or ``thawed <unix time>``.

Must never decide anything by itself: without metadata every call succeeds.
"""

from collections.abc import Iterator
import contextlib
import json
import os
import pathlib
import threading
import time
from typing import Any
import uuid

from nova.compute import power_state
from nova import exception
from nova.virt import fake

from minicloud import layout

#: Server metadata that chooses what the guest does. The value is a word, of
#: :class:`FakeDriver` or of :data:`REFUSALS` and :data:`FAILURES`, or
#: ``slow:SECONDS``. A slow one does not even begin while the file
#: ``state/guests/<uuid>.hold`` exists.
#:
#: ``frozen:VARIANT`` is a guest that somebody else has frozen, which its agent
#: tells in the words of :data:`FROZEN`. ``:113`` behind a word chooses the
#: code of newer libvirt.
QUIESCE = 'minicloud:quiesce'
UNQUIESCE = 'minicloud:unquiesce'
SPAWN = 'minicloud:spawn'
PAUSE = 'minicloud:pause'

NODE_NAMESPACE = uuid.UUID('6c2c9d8c-8f0a-4d55-9c4f-0a86b2f6a4b1')

FREEZE, THAW = 'guest-fsfreeze-freeze', 'guest-fsfreeze-thaw'
NOT_CONNECTED = (86, 'Guest agent is not responding: QEMU guest agent is not '
                     'connected')
NOT_AVAILABLE = (86, 'Guest agent is not responding: Guest agent not '
                     'available for now')
#: What an agent says without doing anything, to a freeze and to a thaw.
REFUSALS = {
    'blocked': 'Command %s has been disabled: the command is not allowed',
    'disabled': 'The command %s has been disabled for this instance',
    'nocommand': 'The command %s has not been found',
    'novss': 'this feature or command is not currently supported'}
#: What an agent says to a freeze that it has tried, and undone.
FAILURES = {
    'hook': 'fsfreeze hook has failed with status 1',
    'denied': 'failed to open /data: Permission denied',
    'deadlock': 'failed to freeze /: Resource deadlock avoided',
    'unknown': 'the moon is full'}
FROZEN_STATE = 'Command %s has been disabled: the agent is in frozen state'
#: What other agents say to the freeze of a frozen guest, by
#: ``frozen:VARIANT``; since QEMU 9.1, and before 6.0.
FROZEN = {word: REFUSALS[word] for word in ('blocked', 'disabled')}
LAPSED = "couldn't hold writes: fsfreeze is limited up to 10 seconds: "
NOT_RUNNING = (55, 'Requested operation is not valid: domain is not running')
LOCKED = (68, 'Timed out during operation: cannot acquire state change lock '
              '(held by agent=remoteDispatchDomainFSFreeze)')
AGENT_UNRESPONSIVE = 86
#: Seconds that a command waits for the one before it; 30 in libvirt.
LOCK_TIMEOUT = 5.0


def root() -> pathlib.Path:
    """Return the root directory of the cloud that this driver is part of."""
    return pathlib.Path(os.environ['MINICLOUD_ROOT'])


class Guest(fake.FakeInstance):    # type: ignore[misc]
    """A guest that is remembered in a file.

    :param path: the file
    :param name: the instance's name, such as ``instance-00000001``
    :param state: one of nova.compute.power_state
    :param uuid: the instance's id
    :param frozen: whether its file systems are frozen
    """

    def __init__(self, path: pathlib.Path, name: str, state: int,
                 uuid: str, frozen: bool = False) -> None:
        self.path = path
        self.frozen = frozen
        self.hung = False
        self.lock = threading.RLock()
        #: An agent does one thing at a time.
        self.agent = threading.Lock()
        self.name, self.uuid, self._state = name, uuid, state
        self.save()

    @classmethod
    def load(cls, path: pathlib.Path) -> 'Guest':
        return cls(path, **json.loads(path.read_text()))

    @property
    def state(self) -> int:
        return self._state

    @state.setter
    def state(self, value: int) -> None:
        with self.lock:
            self._state = value
            self.save()

    def save(self) -> None:
        partial = self.path.with_suffix('.partial')
        partial.write_text(json.dumps({
            'name': self.name, 'state': self._state, 'uuid': self.uuid,
            'frozen': self.frozen}))
        partial.replace(self.path)

    def set_frozen(self, frozen: bool) -> None:
        """Freeze or thaw, and tell the guest's log."""
        with self.lock:
            self.frozen = frozen
            self.save()
            log = root() / 'state' / 'guests' / self.uuid
            with log.open('a') as lines:
                word = 'frozen' if frozen else 'thawed'
                lines.write(f'{word} {time.time():.3f}\n')

    def restarted(self) -> None:
        """A guest that is started is not frozen."""
        if self.frozen:
            self.set_frozen(False)


class Guests(dict[str, Any]):
    """The guests of one host by instance id; what is put in is kept."""

    def __init__(self, home: pathlib.Path) -> None:
        super().__init__()
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        for path in sorted(home.glob('*.json')):
            super().__setitem__(path.stem, Guest.load(path))

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(value, Guest):
            value = Guest(self.home / f'{key}.json', value.name, value.state,
                          value.uuid)
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        (self.home / f'{key}.json').unlink(missing_ok=True)
        if not list(self.home.parent.glob(f'*/{key}.json')):
            (root() / 'state' / 'guests' / key).unlink(missing_ok=True)


def behaviour(instance: Any, key: str) -> tuple[str, float]:
    """Return the word and the seconds that a server's metadata ask for."""
    value = (instance.metadata or {}).get(key, '')
    word, _, seconds = value.partition(':')
    try:
        return word, float(seconds or 0)
    except ValueError:
        return word, 0.0


def variant_of(instance: Any, key: str) -> str:
    """Return what is behind the word in a server's metadata."""
    value: str = (instance.metadata or {}).get(key, '')
    return value.partition(':')[2]


def be_slow(instance: Any, key: str) -> None:
    """Sleep if the server's metadata say so."""
    word, seconds = behaviour(instance, key)
    if word == 'slow':
        hold = layout.Layout(root()).hold_of(instance.uuid)
        while hold.exists():
            time.sleep(0.02)
        time.sleep(seconds)


def agent_error(command: str, text: str, variant: str = '') -> tuple[int, str]:
    """Return code and text of libvirt for what an agent says.

    :param variant: 113 for those of newer libvirt
    """
    code, title = ((113, 'guest agent command failed') if variant == '113'
                   else (1, 'internal error'))
    if '%s' in text:
        text %= command
    return code, (f"{title}: unable to execute QEMU agent command "
                  f"'{command}': {text}")


def libvirt_error(instance: Any, error: tuple[int, str]) -> Exception:
    """Return what Nova's libvirt driver makes of an error of libvirt."""
    code, text = error
    message = (f'Error from libvirt while quiescing {instance.name}: '
               f'[Error Code {code}] {text}')
    if code == AGENT_UNRESPONSIVE:
        message += (', libvirt cannot connect to the qemu-guest-agent inside '
                    'the instance.')
        failed: Exception = exception.InstanceQuiesceFailed(reason=message)
        return failed
    internal: Exception = exception.InternalError(message)
    return internal


class FakeDriver(fake.FakeDriver):    # type: ignore[misc]
    """See the module.

    Its own words for a freeze: ``unsupported``, ``no-agent``, ``gone``,
    ``disconnected``, ``fail``, ``late:SECONDS``; for a thaw: ``fail``, and
    ``lapsed`` for Windows, which has ended the freeze before the first thaw.
    """

    instances: Any

    def init_host(self, host: str) -> None:
        self._host = host
        self._set_nodes([host])
        self.instances = Guests(root() / 'state' / 'hypervisors' / host)

    def get_nodenames_by_uuid(self, refresh: bool = False) -> dict[str, str]:
        return {self._node_id(node): node
                for node in self.get_available_nodes()}

    def get_available_resource(self, nodename: str) -> dict[str, Any]:
        resources: dict[str, Any] = super().get_available_resource(nodename)
        if resources:
            resources['uuid'] = self._node_id(nodename)
        return resources

    @staticmethod
    def _node_id(node: str) -> str:
        return str(uuid.uuid5(NODE_NAMESPACE, node))

    def _guest(self, instance: Any) -> Guest:
        try:
            guest: Guest = self.instances[instance.uuid]
        except KeyError:
            raise exception.InstanceNotFound(instance_id=instance.uuid)
        return guest

    def spawn(self, context: Any, instance: Any, *args: Any,
              **kwargs: Any) -> None:
        be_slow(instance, SPAWN)
        super().spawn(context, instance, *args, **kwargs)

    def power_on(self, context: Any, instance: Any, *args: Any,
                 **kwargs: Any) -> None:
        # Also the way of a reboot.
        super().power_on(context, instance, *args, **kwargs)
        self._guest(instance).restarted()

    def pause(self, instance: Any) -> None:
        be_slow(instance, PAUSE)
        self._guest(instance).state = power_state.PAUSED

    def unpause(self, instance: Any) -> None:
        self._guest(instance).state = power_state.RUNNING

    def suspend(self, context: Any, instance: Any) -> None:
        self._guest(instance).state = power_state.SUSPENDED

    def resume(self, context: Any, instance: Any, *args: Any,
               **kwargs: Any) -> None:
        self._guest(instance).state = power_state.RUNNING

    def quiesce(self, context: Any, instance: Any, image_meta: Any) -> None:
        guest = self._agent_of(instance, image_meta)
        word, seconds = behaviour(instance, QUIESCE)
        variant = variant_of(instance, QUIESCE)
        if word == 'gone':
            raise exception.InstanceNotFound(instance_id=instance.uuid)
        if word in REFUSALS or word in FAILURES:
            raise libvirt_error(instance, agent_error(
                FREEZE, {**REFUSALS, **FAILURES}[word], variant))
        if word == 'disconnected':
            raise libvirt_error(instance, NOT_CONNECTED)
        if word == 'fail':
            raise libvirt_error(instance, NOT_AVAILABLE)
        if word == 'late':
            # The agent is hung, and does what it was told when it wakes.
            guest.hung = True
            late = threading.Timer(seconds, self._wake_up, (instance,))
            late.daemon = True
            late.start()
            raise libvirt_error(instance, NOT_AVAILABLE)
        with self._one_at_a_time(guest, instance):
            be_slow(instance, QUIESCE)
            if word == 'frozen' and not guest.frozen:
                guest.set_frozen(True)    # by somebody in the guest
            if guest.frozen:
                raise libvirt_error(instance, agent_error(
                    FREEZE, FROZEN.get(variant, FROZEN_STATE), variant))
            guest.set_frozen(True)

    def unquiesce(self, context: Any, instance: Any, image_meta: Any) -> None:
        guest = self._agent_of(instance, image_meta)
        word, _ = behaviour(instance, UNQUIESCE)
        variant = variant_of(instance, UNQUIESCE)
        if word == 'fail':
            raise libvirt_error(instance, LOCKED)
        if word in REFUSALS:
            raise libvirt_error(instance, agent_error(
                THAW, REFUSALS[word], variant))
        with self._one_at_a_time(guest, instance):
            be_slow(instance, UNQUIESCE)
            was_frozen = guest.frozen
            guest.set_frozen(False)
            if word == 'lapsed' and was_frozen:
                raise libvirt_error(instance, agent_error(
                    THAW, LAPSED, variant))

    @staticmethod
    @contextlib.contextmanager
    def _one_at_a_time(guest: Guest, instance: Any) -> Iterator[None]:
        if guest.hung:
            raise libvirt_error(instance, NOT_AVAILABLE)
        if not guest.agent.acquire(timeout=LOCK_TIMEOUT):
            raise libvirt_error(instance, LOCKED)
        try:
            yield
        finally:
            guest.agent.release()

    def _agent_of(self, instance: Any, image_meta: Any) -> Guest:
        word, _ = behaviour(instance, QUIESCE)
        if word == 'unsupported':
            raise exception.InstanceQuiesceNotSupported(
                instance_id=instance.uuid, reason='not supported')
        if word == 'no-agent' or not image_meta.properties.get(
                'hw_qemu_guest_agent', False):
            raise exception.QemuGuestAgentNotEnabled()
        guest = self._guest(instance)
        if guest.state != power_state.RUNNING:
            raise libvirt_error(instance, NOT_RUNNING)
        return guest

    def _wake_up(self, instance: Any) -> None:
        guest = self.instances.get(instance.uuid)
        if guest is not None:
            if not guest.frozen:
                guest.set_frozen(True)
            guest.hung = False
