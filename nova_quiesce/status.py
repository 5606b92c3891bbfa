# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""The ``nova-quiesce-status`` program: checks, and draining a cloud.

``upgrade check`` is what ``nova-status upgrade check`` is for Nova. ``list``
shows which servers may be frozen, ``thaw`` has them thawed: what has to be
done before nova_quiesce can be removed.
"""

import argparse
import configparser
import json
import logging
import sys
import traceback
import uuid
from collections.abc import Mapping
from typing import Any

import nova.conf
import prettytable
from nova import config
from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from nova_quiesce import clock
from nova_quiesce import conf
from nova_quiesce import drain
from nova_quiesce import marks
from nova_quiesce import register
from nova_quiesce.i18n import _

CONF = nova.conf.CONF

#: what api-paste.ini has to say, and where
PASTE_SECTION = 'app:osapi_compute_app_v21'
PASTE_OPTION = 'paste.app_factory'
APP_FACTORY = 'nova_quiesce.api:app_factory'

#: seconds
DEFAULT_TIMEOUT = 120
#: exit codes besides those of upgradecheck.Code
SOME_LEFT = 1
BROKEN = 255

SUCCESS = upgradecheck.Result(upgradecheck.Code.SUCCESS)


class UpgradeCommands(upgradecheck.UpgradeCommands):
    """The checks of ``upgrade check``."""

    def __init__(self) -> None:
        super().__init__()
        self._sight: drain.Sight | None = None

    def _check_databases(self) -> upgradecheck.Result:
        try:
            self._sight = drain.Drain().look()
        except Exception as error:
            return _failure(_('The databases cannot be read: %s') %
                            _first_line(error))
        if not self._sight.complete:
            return _failure(_(
                'Not every cell has answered; what has been logged says '
                'which one has not.'))
        return SUCCESS

    def _check_service(self) -> upgradecheck.Result:
        if self._sight is None:
            return _unknown()
        services = drain.Drain().services()
        down = sorted(host for host, up in services.up.items() if not up)
        if not services.any_up():
            return _failure(_(
                'No nova-quiesce service is up (down: %s). Nobody can be '
                'quiesced or unquiesced, and no deadline is kept. Start it '
                'on a controller.') % (', '.join(down) or _('none known')))
        if down:
            return upgradecheck.Result(upgradecheck.Code.WARNING, _(
                'nova-quiesce is down on %s. Start it there, or delete its '
                'record with "openstack compute service delete".')
                % ', '.join(down))
        return SUCCESS

    def _check_marks(self) -> upgradecheck.Result:
        if self._sight is None:
            return _unknown()
        unknown = sorted(
            uuid for uuid, found in self._sight.servers.items()
            if found.server.mark is not None
            and not marks.is_understood(found.server.mark))
        if unknown:
            return _failure(_(
                'Another version of nova_quiesce has marked these servers, '
                'which may be frozen: %s. Thaw them before that version goes '
                'away: "nova-quiesce-status thaw".') % ', '.join(unknown))
        return SUCCESS

    def _check_paste(self) -> upgradecheck.Result:
        name = CONF.wsgi.api_paste_config
        path = CONF.find_file(name)
        if path is None:
            return upgradecheck.Result(upgradecheck.Code.WARNING, _(
                'There is no %s here. Run this check on the hosts of '
                'nova-api.') % name)
        # Paste knows neither duplicates nor this kind of interpolation.
        paste = configparser.RawConfigParser(strict=False)
        try:
            paste.read(path)
            found = paste.get(PASTE_SECTION, PASTE_OPTION, fallback=None)
        except (configparser.Error, UnicodeDecodeError, OSError) as error:
            return _failure(_('%(path)s cannot be read: %(error)s') % {
                'path': path, 'error': _first_line(error)})
        if found != APP_FACTORY:
            return _failure(_(
                '%(path)s does not load the actions: in [%(section)s], '
                '%(option)s is %(found)s, not %(ours)s. Change it and restart '
                'nova-api.') % {
                    'path': path, 'section': PASTE_SECTION,
                    'option': PASTE_OPTION, 'found': found,
                    'ours': APP_FACTORY})
        return SUCCESS

    _upgrade_checks = (
        (_('Databases'), _check_databases),
        (_('nova-quiesce service'), _check_service),
        (_('Marks of servers'), _check_marks),
        (_('API paste configuration'), _check_paste),
    )


def _failure(details: str) -> upgradecheck.Result:
    return upgradecheck.Result(upgradecheck.Code.FAILURE, details)


def _unknown() -> upgradecheck.Result:
    return upgradecheck.Result(upgradecheck.Code.WARNING, _(
        'It cannot be told without the databases.'))


def list_servers() -> int:
    """Show the servers that may be frozen, and return the exit code."""
    sight = drain.Drain().look()
    if CONF.command.json:
        print(json.dumps([_row(each) for each in sight.servers.values()]))
    else:
        _print_table(sight.servers)
    return _incomplete(sight)


def thaw() -> int:
    """Have servers thawed, and return the exit code."""
    command = CONF.command
    if command.all == bool(command.server):
        print(_('Name servers by UUID, or say --all'), file=sys.stderr)
        return 2
    thawed, left = drain.Drain().thaw(
        command.timeout, None if command.all else command.server)
    print(_('Servers that were thawed: %d') % thawed)
    if left.servers:
        print(_('Servers that may still be frozen after %d seconds: %d') % (
            command.timeout, len(left.servers)), file=sys.stderr)
        _print_table(left.servers)
    return _incomplete(left) or (SOME_LEFT if left.servers else 0)


def _incomplete(sight: drain.Sight) -> int:
    if sight.complete:
        return 0
    print(_('Not every cell has answered: there may be more servers'),
          file=sys.stderr)
    return SOME_LEFT


def _row(found: drain.Found) -> dict[str, Any]:
    server = found.server
    mark = marks.Mark() if server.mark is None else marks.parse(server.mark)
    return {
        'uuid': server.uuid,
        'host': server.host,
        'vm_state': server.vm_state,
        'task_state': server.task_state,
        'request': mark.request_id or None,
        'deadline': clock.text(mark.deadline) if mark.deadline else None,
    }


def _print_table(servers: Mapping[str, drain.Found]) -> None:
    table = prettytable.PrettyTable(
        ['UUID', _('Host'), 'vm_state', 'task_state', _('Request'),
         _('Deadline')])
    table.align = 'l'
    for _uuid, found in sorted(servers.items()):
        table.add_row(['-' if value is None else value
                       for value in _row(found).values()])
    print(table)


def _add_parsers(subparsers: Any) -> None:
    upgrade = subparsers.add_parser(
        'upgrade', help=_('Check whether this version can do its work here'))
    upgrade.add_argument('check', choices=['check'])
    upgrade.set_defaults(action=lambda: UpgradeCommands().check())
    listing = subparsers.add_parser(
        'list', help=_('List the servers that may be frozen'))
    listing.set_defaults(action=list_servers)
    for parser in (upgrade, listing):
        parser.add_argument('--json', action='store_true',
                            help=_('Print JSON instead of a table'))
    thawing = subparsers.add_parser(
        'thaw', help=_('Have servers thawed, and wait for it'))
    thawing.add_argument('server', nargs='*', metavar='<uuid>', type=_uuid,
                         help=_('UUIDs of servers'))
    thawing.add_argument('--all', action='store_true',
                         help=_('All servers that may be frozen'))
    thawing.add_argument(
        '--timeout', metavar='<seconds>', type=_seconds,
        default=DEFAULT_TIMEOUT,
        help=_('How long to wait, in seconds (default: %(default)d)'))
    thawing.set_defaults(action=thaw)


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            _('"%s" is not a UUID') % text) from None


def _seconds(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(
            _('"%s" is not a number of whole seconds') % text)
    return int(text)


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def main() -> int:
    """Run the program, and return the exit code."""
    CONF.register_cli_opt(cfg.SubCommandOpt(
        'command', title=_('Commands'), handler=_add_parsers))
    config.parse_args(sys.argv)
    upgradecheck.CONF = CONF    # where it looks for --json
    conf.register_opts(CONF)
    register.notifications()
    if not CONF.debug:
        # Of a cell that does not answer it logs a traceback; we say it too.
        logging.getLogger('nova.context').setLevel(logging.CRITICAL)
    try:
        return int(CONF.command.action())
    except KeyboardInterrupt:
        print(_('Interrupted; who was asked to thaw is thawed all the same'),
              file=sys.stderr)
        return 130
    except Exception as error:
        if CONF.debug:
            traceback.print_exc()
        print(_('ERROR (%(type)s): %(text)s') % {
            'type': type(error).__name__, 'text': _first_line(error)},
            file=sys.stderr)
        return BROKEN
