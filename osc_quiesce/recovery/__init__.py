# SPDX-License-Identifier: Apache-2.0

"""Backups of applications, and the other site where they are restored.

Cinder's own backups are the only carrier: all that is known is in the metadata
of backups, volumes and servers, so that the same command again continues from
any machine.
"""
