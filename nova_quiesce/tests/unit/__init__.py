# SPDX-License-Identifier: Apache-2.0

"""Unit tests of the server half, without any service."""

from nova import objects

objects.register_all()
