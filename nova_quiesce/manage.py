# SPDX-License-Identifier: Apache-2.0

"""The ``nova-quiesce-manage`` program: the schema of the table of freezes."""

from typing import Any

from nova_quiesce import schema
from nova_quiesce.i18n import _


def sync() -> int:
    """Create the tables, or bring them up to date."""
    schema.sync()
    return version()


def version() -> int:
    """Print the version of the schema; 1 if it is not the newest one."""
    found, wanted = schema.versions()
    print(_('Version of the table of freezes: %(found)s (newest: %(wanted)s)')
          % {'found': found or _('none'), 'wanted': wanted})
    return 0 if found == wanted else 1


def add_parsers(subparsers: Any) -> None:
    """Add the program's commands to its parser."""
    commands = subparsers.add_parser(
        'db', help=_('The table of freezes')).add_subparsers(required=True)
    for name, action, text in (
            ('sync', sync, _('Create the tables, or bring them up to date')),
            ('version', version, _('Print the version of the schema'))):
        commands.add_parser(name, help=text).set_defaults(action=action)
