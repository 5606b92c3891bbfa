# SPDX-License-Identifier: Apache-2.0

"""The ``nova-quiesce-manage`` program: the schema of the table of freezes."""

import sys
import traceback
from typing import Any

import nova.conf
from nova import config
from oslo_config import cfg

from nova_quiesce import conf
from nova_quiesce import exceptions
from nova_quiesce import store
from nova_quiesce.i18n import _

CONF = nova.conf.CONF


def sync() -> int:
    """Create the tables, or bring them up to date."""
    store.sync()
    return version()


def version() -> int:
    """Print the version of the schema; 1 if it is not the newest one."""
    found, wanted = store.versions()
    print(_('Version of the table of freezes: %(found)s (newest: %(wanted)s)')
          % {'found': found or _('none'), 'wanted': wanted})
    return 0 if found == wanted else 1


def _add_parsers(subparsers: Any) -> None:
    commands = subparsers.add_parser(
        'db', help=_('The table of freezes')).add_subparsers(required=True)
    for name, action, text in (
            ('sync', sync, _('Create the tables, or bring them up to date')),
            ('version', version, _('Print the version of the schema'))):
        commands.add_parser(name, help=text).set_defaults(action=action)


def main() -> int:
    """Run the program, and return the exit code."""
    CONF.register_cli_opt(cfg.SubCommandOpt(
        'command', title=_('Commands'), handler=_add_parsers))
    config.parse_args(sys.argv)
    conf.register_opts(CONF)
    try:
        return int(CONF.command.action())
    except Exception as error:
        if CONF.debug:
            traceback.print_exc()
        print(_('ERROR: the table of freezes cannot be reached: %s')
              % exceptions.first_line(error), file=sys.stderr)
        return 255
