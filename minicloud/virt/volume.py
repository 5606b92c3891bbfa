# SPDX-License-Identifier: Apache-2.0

"""A volume driver for Cinder that keeps volumes in sparse files.

Each volume is the file ``volume-<id>`` in ``state/volumes``, each snapshot the
file ``snapshot-<id>`` beside it. Servers of the fake hypervisor do not use
their volumes; what is written into the files is in snapshots, clones, images,
backups and restores as it would be elsewhere.

Needs no root, no device and no program. Several servers may have the same
volume, if its type says ``multiattach='<is> True'``.
"""

import contextlib
import pathlib
from typing import Any

from cinder import interface
from cinder.volume import driver
from cinder.volume import volume_utils
from oslo_config import cfg

from minicloud.virt import files

#: How many times its size the pool may promise; Cinder's default.
OVERSUBSCRIPTION = 20.0
OPTIONS = [
    cfg.StrOpt('volumes_path', help='The directory of the volumes.'),
    cfg.IntOpt('capacity_gb', default=0, min=0,
               help='The size of the pool in GiB, as Cinder is told; what is '
                    'free is that less what the files occupy. Nothing fails '
                    'if they occupy more. 0 means infinite.'),
]


@interface.volumedriver
class FakeVolumeDriver(driver.VolumeDriver):    # type: ignore[misc]
    """See the module."""

    VERSION = '1.0'

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(OPTIONS)
        self.files = files.Files(
            pathlib.Path(self.configuration.volumes_path))

    @staticmethod
    def get_driver_options() -> list[Any]:
        return OPTIONS

    def check_for_setup_error(self) -> None:
        self.files.make_home()

    def local_path(self, volume: Any) -> str:
        return str(self.files.path(volume.name))

    # What is made, copied and deleted

    def create_volume(self, volume: Any) -> None:
        self.files.create(volume.name, volume.size)

    def create_volume_from_snapshot(self, volume: Any, snapshot: Any) -> None:
        self.files.copy(snapshot.name, volume.name, volume.size)

    def create_cloned_volume(self, volume: Any, src_vref: Any) -> None:
        self.files.copy(src_vref.name, volume.name, volume.size)

    def extend_volume(self, volume: Any, new_size: int) -> None:
        self.files.resize(volume.name, new_size)

    def delete_volume(self, volume: Any) -> None:
        self.files.delete(volume.name)

    def create_snapshot(self, snapshot: Any) -> None:
        self.files.copy(snapshot.volume.name, snapshot.name)

    def delete_snapshot(self, snapshot: Any) -> None:
        self.files.delete(snapshot.name)

    def revert_to_snapshot(self, context: Any, volume: Any,
                           snapshot: Any) -> None:
        self.files.copy(snapshot.name, volume.name, volume.size)

    # Images, without qemu-img, which Cinder runs as root

    def clone_image(self, context: Any, volume: Any, image_location: Any,
                    image_meta: dict[str, Any], image_service: Any,
                    ) -> tuple[dict[str, Any] | None, bool]:
        if image_meta.get('disk_format') != 'raw':
            return None, False
        with self.files.path(volume.name).open('wb') as file:
            image_service.download(context, image_meta['id'], file)
        self.files.resize(volume.name, volume.size)
        return {}, True

    def copy_volume_to_image(self, context: Any, volume: Any,
                             image_service: Any, image_meta: dict[str, Any],
                             ) -> None:
        volume_utils.upload_volume(context, image_service, image_meta,
                                   self.local_path(volume), volume)

    # Attachments: there is nothing to export

    def ensure_export(self, context: Any, volume: Any) -> None:
        pass

    def create_export(self, context: Any, volume: Any, connector: Any,
                      ) -> None:
        pass

    def remove_export(self, context: Any, volume: Any) -> None:
        pass

    def initialize_connection(self, volume: Any, connector: Any,
                              **kwargs: Any) -> dict[str, Any]:
        read_only = (volume.admin_metadata or {}).get('readonly') == 'True'
        return {'driver_volume_type': 'local',
                'data': {'device_path': self.local_path(volume),
                         'access_mode': 'ro' if read_only else 'rw'}}

    def terminate_connection(self, volume: Any, connector: Any,
                             **kwargs: Any) -> None:
        # Who restores a backup begins with open(path, 'wb'), which does
        # nothing to the size of a device.
        with contextlib.suppress(FileNotFoundError):    # deleted since
            self.files.resize(volume.name, volume.size)

    def _update_volume_stats(self) -> None:
        name = self.configuration.safe_get('volume_backend_name')
        total: int | str = 'infinite'
        free: float | str = 'infinite'
        if size := self.configuration.capacity_gb:
            total, free = size, max(0.0, size - self.files.occupied())
        self._stats = {
            'volume_backend_name': name,
            'vendor_name': 'minicloud',
            'driver_version': self.VERSION,
            'storage_protocol': 'local',
            'pools': [{
                'pool_name': name,
                'total_capacity_gb': total,
                'free_capacity_gb': free,
                'reserved_percentage': 0,
                'multiattach': True,
                'thin_provisioning_support': True,
                'max_over_subscription_ratio': OVERSUBSCRIPTION,
                'filter_function': self.get_filter_function(),
                'goodness_function': self.get_goodness_function()}]}
