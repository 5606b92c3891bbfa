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
