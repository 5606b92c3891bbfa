# SPDX-License-Identifier: Apache-2.0

"""Where things are below the root directory of a cloud.

Nothing here touches the file system except to make a directory that the
caller asked for; all other modules ask this one for their paths.
"""

import dataclasses
import pathlib
import uuid

#: The marker of a root directory; also the lock file and the home of the
#: token by which processes of this root are recognised.
MARKER = '.minicloud'
#: the longest path of a Unix socket
SOCKET_PATH_MAX = 107
#: where oslo.messaging counts the queues that keep their names
QUEUE_COUNTERS = pathlib.Path('/dev/shm')    # noqa: S108
#: MariaDB's directory, in the state and in the template.
DATABASE_DATA = 'mariadb'


@dataclasses.dataclass(frozen=True)
class Layout:
    """The paths of one cloud.

    :param root: absolute path of the root directory
    """

    root: pathlib.Path

    @classmethod
    def of(cls, root: str | pathlib.Path) -> 'Layout':
        """Return the layout of ``root``, which need not exist."""
        return cls(pathlib.Path(root).expanduser().resolve())

    @property
    def marker(self) -> pathlib.Path:
        return self.root / MARKER

    @property
    def etc(self) -> pathlib.Path:
        """Rendered configuration: written by every ``up``."""
        return self.root / 'etc'

    @property
    def local(self) -> pathlib.Path:
        """The user's own additions to the configuration: never written."""
        return self.root / 'local'

    @property
    def state(self) -> pathlib.Path:
        """Databases, images, keys, and the fake hypervisor's guests."""
        return self.root / 'state'

    @property
    def complete(self) -> pathlib.Path:
        """Written last: without it ``state`` is an interrupted attempt."""
        return self.state / 'complete.json'

    @property
    def guests(self) -> pathlib.Path:
        """What the guests saw: ``frozen`` and ``thawed``, with the time."""
        return self.state / 'guests'

    def hold_of(self, server_id: str) -> pathlib.Path:
        """While it exists, a slow guest of the fake hypervisor waits."""
        return self.guests / f'{server_id}.hold'

    @property
    def hypervisors(self) -> pathlib.Path:
        """What the fake hypervisors remember, one directory per host."""
        return self.state / 'hypervisors'

    @property
    def hypervisor(self) -> pathlib.Path:
        """What libvirtd keeps: definitions of guests, its cache."""
        return self.state / 'libvirt'

    def console_of(self, server_id: str) -> pathlib.Path:
        """What a real guest has said on its console."""
        return self.state / 'nova' / 'instances' / server_id / 'console.log'

    @property
    def hypervisor_run(self) -> pathlib.Path:
        """libvirtd's /run: its sockets; empty at each of its starts."""
        return self.run / 'libvirt'

    @property
    def broker(self) -> pathlib.Path:
        """What RabbitMQ keeps."""
        return self.state / 'rabbitmq'

    @property
    def queue_host(self) -> str:
        """The host in names of queues that stay: of no other root."""
        return f'minicloud-{uuid.uuid5(uuid.NAMESPACE_URL, str(self.root))}'

    @property
    def devices(self) -> pathlib.Path:
        """The network devices of the guests, a file for each."""
        return self.state / 'neutron' / 'devices'

    @property
    def device_label(self) -> str:
        """What marks a network device of this root, for ``ip link``."""
        return self.queue_host

    @property
    def storage(self) -> pathlib.Path:
        """What Ceph keeps: all volumes."""
        return self.state / 'ceph'

    @property
    def volumes(self) -> pathlib.Path:
        """The files of volumes and of snapshots, without Ceph."""
        return self.state / 'volumes'

    def volume_file(self, volume_id: str) -> pathlib.Path:
        """The data of a volume, without Ceph: as large as the volume."""
        return self.volumes / f'volume-{volume_id}'

    def snapshot_file(self, snapshot_id: str) -> pathlib.Path:
        """The data of a snapshot, without Ceph."""
        return self.volumes / f'snapshot-{snapshot_id}'

    @property
    def backups(self) -> pathlib.Path:
        """Backups, unless they are kept in a store elsewhere."""
        return self.state / 'backups'

    @property
    def store_key(self) -> pathlib.Path:
        """What a store signs its tokens with; no cloud has that."""
        return self.state / 'store.json'

    @property
    def database_data(self) -> pathlib.Path:
        """What MariaDB keeps: all databases."""
        return self.state / DATABASE_DATA

    @property
    def database_socket(self) -> pathlib.Path:
        """Where MariaDB listens."""
        return self.run / 'mariadb.sock'

    def gate_socket(self, cell: int) -> pathlib.Path:
        """Where the gate of a cell listens for clients of MariaDB."""
        return self.run / f'cell{cell}.sock'

    @property
    def guest(self) -> pathlib.Path:
        """The tiny guest's kernel and RAM disk."""
        return self.root / 'guest'

    @property
    def kvm_trial(self) -> pathlib.Path:
        """Whether the guest starts with KVM, and when that was tried."""
        return self.guest / 'kvm.json'

    @property
    def cache(self) -> pathlib.Path:
        """Downloaded Debian packages, unless they are kept elsewhere."""
        return self.root / 'cache'

    @property
    def template(self) -> pathlib.Path:
        """A copy of the state as it was before the first server."""
        return self.root / 'template'

    @property
    def log(self) -> pathlib.Path:
        return self.root / 'log'

    @property
    def run(self) -> pathlib.Path:
        return self.root / 'run'

    @property
    def ports(self) -> pathlib.Path:
        return self.run / 'ports.json'

    @property
    def settings(self) -> pathlib.Path:
        """The options of the last ``up``, for the next one."""
        return self.run / 'settings.json'

    @property
    def catalog(self) -> pathlib.Path:
        """Exists once the Keystone catalog says where the services are."""
        return self.run / 'catalog.json'

    def log_of(self, role: str) -> pathlib.Path:
        return self.log / f'{role}.log'

    def pid_of(self, role: str) -> pathlib.Path:
        return self.run / f'{role}.json'

    @property
    def clouds_yaml(self) -> pathlib.Path:
        """This cloud's entries for clouds.yaml."""
        return self.root / 'clouds.yaml'

    def openrc_of(self, persona: str) -> pathlib.Path:
        suffix = '' if persona == 'admin' else f'-{persona}'
        return self.root / f'openrc{suffix}'

    def lock_of(self, role: str) -> pathlib.Path:
        """Held by all programs that a process has started."""
        return self.run / f'{role}.lock'

    def database(self, name: str) -> pathlib.Path:
        """The file of a database of SQLite's."""
        return self.state / f'{name}.db'

    def make_state(self) -> None:
        """Make the directories that the services expect to find."""
        for name in ('nova/instances', 'nova/lock', 'cinder/lock',
                     'cinder/coordination', 'glance/images',
                     'glance/staging', 'glance/tasks', 'keystone',
                     'guests', 'hypervisors', 'volumes', 'backups',
                     'neutron/devices', 'neutron/lock'):
            (self.state / name).mkdir(parents=True, exist_ok=True)
