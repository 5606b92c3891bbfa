# SPDX-License-Identifier: Apache-2.0

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
