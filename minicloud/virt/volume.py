# SPDX-License-Identifier: Apache-2.0

"""Cinder's fake volume driver, with one more capability.

It stores nothing, but goes through all states. Several servers may have the
same volume, if its type says ``multiattach='<is> True'``.
"""

from cinder.tests import fake_driver


class FakeVolumeDriver(
        fake_driver.FakeLoggingVolumeDriver):    # type: ignore[misc]

    def _update_volume_stats(self) -> None:
        super()._update_volume_stats()
        for pool in self._stats['pools']:
            pool['multiattach'] = True
