#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""A real OpenStack on one machine, for demonstrations and tests.

Keystone, Placement, Glance, Nova and Cinder run as published, in a few
processes on 127.0.0.1, and by default without root, a message broker or a
database server.
``python -m minicloud up`` starts them; :class:`Cloud` is the same for Python.

Importing this package imports none of the services.
"""

from minicloud.cloud import Cloud
from minicloud.cloud import RoleStatus
from minicloud.errors import MinicloudError

__all__ = ['Cloud', 'MinicloudError', 'RoleStatus']
