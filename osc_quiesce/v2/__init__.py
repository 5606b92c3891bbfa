# SPDX-License-Identifier: Apache-2.0

"""The commands, as ``openstack`` finds them.

For each command of ``openstack``, even one of another package, cliff loads the
entry points of all commands. So this module must never import the module of a
command before that command runs or shows its help.
"""

from __future__ import annotations

import importlib
import typing

if typing.TYPE_CHECKING:
    from osc_lib.command import command

#: each command, and its module
MODULES = {
    'CreateApplicationBackup': 'application_backup_create',
    'DeleteApplicationBackup': 'application_backup',
    'ExportApplicationBackup': 'application_backup_records',
    'ImportApplicationBackup': 'application_backup_records',
    'ListApplicationBackup': 'application_backup',
    'ShowApplicationBackup': 'application_backup',
    'VerifyApplicationBackup': 'application_backup_verify',
    'DrillApplication': 'application_drill',
    'CreateApplicationMapping': 'application_mapping',
    'ShowApplicationProtection': 'application_protection',
    'CreateApplicationRestore': 'application_restore_create',
    'DeleteApplicationRestore': 'application_restore',
    'ListApplicationRestore': 'application_restore',
    'ShowApplicationRestore': 'application_restore',
    'CreateApplicationSnapshot': 'application_snapshot_create',
    'DeleteApplicationSnapshot': 'application_snapshot',
    'ListApplicationSnapshot': 'application_snapshot',
    'ShowApplicationSnapshot': 'application_snapshot',
    'ListQuiescedServer': 'server',
    'QuiesceServer': 'server',
    'UnquiesceServer': 'server',
}


class _Late:
    """A class of a command whose module is imported with its first object."""

    _module: str

    def __new__(  # type: ignore[misc]
            cls, app: typing.Any, app_args: typing.Any,
            cmd_name: str | None = None) -> command.Command:
        module = importlib.import_module(f'{__name__}.{cls._module}')
        made: command.Command = getattr(module, cls.__name__)(
            app, app_args, cmd_name)
        return made

    def __init__(self, app: typing.Any, app_args: typing.Any,
                 cmd_name: str | None = None) -> None:
        """Show cliff which arguments the command takes; never called."""


def __getattr__(name: str) -> type[_Late]:
    if name not in MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return type(name, (_Late,), {'_module': MODULES[name]})
