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


def _late(module: str, name: str) -> type[_Late]:
    return type(name, (_Late,), {'_module': module})


CreateApplicationBackup = _late(
    'application_backup_create', 'CreateApplicationBackup')
DeleteApplicationBackup = _late(
    'application_backup', 'DeleteApplicationBackup')
ExportApplicationBackup = _late(
    'application_backup_records', 'ExportApplicationBackup')
ImportApplicationBackup = _late(
    'application_backup_records', 'ImportApplicationBackup')
ListApplicationBackup = _late('application_backup', 'ListApplicationBackup')
ShowApplicationBackup = _late('application_backup', 'ShowApplicationBackup')
VerifyApplicationBackup = _late(
    'application_backup_verify', 'VerifyApplicationBackup')
DrillApplication = _late('application_drill', 'DrillApplication')
CreateApplicationMapping = _late(
    'application_mapping', 'CreateApplicationMapping')
ShowApplicationProtection = _late(
    'application_protection', 'ShowApplicationProtection')
CreateApplicationRestore = _late(
    'application_restore_create', 'CreateApplicationRestore')
DeleteApplicationRestore = _late(
    'application_restore', 'DeleteApplicationRestore')
ListApplicationRestore = _late('application_restore', 'ListApplicationRestore')
ShowApplicationRestore = _late('application_restore', 'ShowApplicationRestore')
CreateApplicationSnapshot = _late(
    'application_snapshot_create', 'CreateApplicationSnapshot')
DeleteApplicationSnapshot = _late(
    'application_snapshot', 'DeleteApplicationSnapshot')
ListApplicationSnapshot = _late(
    'application_snapshot', 'ListApplicationSnapshot')
ShowApplicationSnapshot = _late(
    'application_snapshot', 'ShowApplicationSnapshot')
ListQuiescedServer = _late('server', 'ListQuiescedServer')
QuiesceServer = _late('server', 'QuiesceServer')
UnquiesceServer = _late('server', 'UnquiesceServer')
