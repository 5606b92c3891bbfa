# SPDX-License-Identifier: Apache-2.0

"""A tiny guest with a real guest agent, built from Debian packages.

:mod:`minicloud.guest.build` makes a kernel and an initial RAM disk, without
root and without mounting anything. What runs in it is in ``src``.
"""
