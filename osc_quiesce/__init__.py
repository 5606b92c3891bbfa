# SPDX-License-Identifier: Apache-2.0

"""Consistent snapshots, backups and restores of applications of many servers.

Their file systems are frozen and thawed through Nova. This package is the
client half, which users install: commands and library. It imports neither Nova
nor the server half, and does no work when imported.
"""


def __getattr__(name: str) -> str:
    # Reading a distribution's metadata costs file accesses that every
    # ``openstack`` command would pay for, so only who asks pays.
    if name != '__version__':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib import metadata

    return metadata.version('osc-quiesce')
