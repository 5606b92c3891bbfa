# SPDX-License-Identifier: Apache-2.0

"""The ``nova-quiesce-status`` program: checks, figures, and draining a cloud.

``upgrade check`` is what ``nova-status upgrade check`` is for Nova. ``list``
shows which servers may be frozen, ``metrics`` how many, and ``thaw`` has them
thawed: what must be done before nova_quiesce can be removed.  It is
nova-quiesce that thaws, and that goes on if this program does not.
"""

import argparse
import configparser
import json
import sys
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import prettytable
from nova import context as nova_context
from nova import objects
from oslo_messaging import opts as messaging_opts
from oslo_upgradecheck import upgradecheck

from nova_quiesce import conf
from nova_quiesce import controllers
from nova_quiesce import exceptions
from nova_quiesce import notification_states
from nova_quiesce import register
from nova_quiesce import schema
from nova_quiesce import store
from nova_quiesce import times
from nova_quiesce.i18n import _

CONF = conf.CONF

#: what api-paste.ini has to say, and where
PASTE_SECTION = 'app:osapi_compute_app_v21'
PASTE_OPTION = 'paste.app_factory'
APP_FACTORY = 'nova_quiesce.controllers:app_factory'

#: seconds
DEFAULT_TIMEOUT = 120
PAUSE = 1.0
#: sweeps that may be missed until that is worth a warning
MISSED_SWEEPS = 10
#: exit code of what is not done, besides those of upgradecheck.Code
SOME_LEFT = 1

SUCCESS = upgradecheck.Result(upgradecheck.Code.SUCCESS)


class UpgradeCommands(upgradecheck.UpgradeCommands):
    """The checks of ``upgrade check``."""

    def _check_schema(self) -> upgradecheck.Result:
        try:
            schema.check()
        except exceptions.SchemaMissing as error:
            return _failure(error.format_message())
        except Exception as error:
            return _failure(_('The table of freezes cannot be read: %s') %
                            exceptions.first_line(error))
        return SUCCESS

    def _check_service(self) -> upgradecheck.Result:
        try:
            reports = store.Store(CONF.host).reports()
        except Exception:
            return _warning(_('It cannot be told without the table.'))
        up = {host: age <= CONF.service_down_time
              for host, cell, age, _details in reports if not cell}
        down = sorted(host for host, is_up in up.items() if not is_up)
        if not any(up.values()):
            return _failure(_(
                'No nova-quiesce service is up (down: %s). No server can be '
                'quiesced or unquiesced, and no deadline is kept. Start it '
                'on a controller.') % (', '.join(down) or _('none known')))
        if down:
            return _warning(_(
                'nova-quiesce is down on %s. Start it there; a record is '
                'dropped one day after its last report.') % ', '.join(down))
        return SUCCESS

    def _check_sweeps(self) -> upgradecheck.Result:
        try:
            reports = store.Store(CONF.host).reports()
        except Exception:
            return _warning(_('It cannot be told without the table.'))
        up = {host for host, cell, age, _details in reports
              if not cell and age <= CONF.service_down_time}
        ages = {(host, cell): age for host, cell, age, _details in reports}
        late = []
        for cell in objects.CellMappingList.get_all(
                nova_context.get_admin_context()):
            for host in () if cell.is_cell0() else sorted(up):
                age = ages.get((host, cell.uuid))
                if age is None:
                    late.append(_('%s on %s: never') % (cell.uuid, host))
                elif age > MISSED_SWEEPS * CONF.quiesce.sweep_interval:
                    late.append('%s on %s: %d s' % (cell.uuid, host, age))
        if late:
            return _warning(_(
                'Cells have not been swept to the end for a while: %s. A '
                'reset of a quiesced server is noticed late.') %
                ', '.join(late))
        return SUCCESS

    def _check_hooks(self) -> upgradecheck.Result:
        missing = register.missing(controllers.hooks())
        if missing:
            return _failure(_(
                'This version of nova_quiesce does not fit this Nova: %s')
                % ' '.join(missing))
        return SUCCESS

    def _check_deadline(self) -> upgradecheck.Result:
        if CONF.quiesce.default_unquiesce_after == 0:
            return _warning(_(
                '[quiesce]default_unquiesce_after is 0: a guest that is '
                'quiesced without a deadline stays frozen until it is '
                'unquiesced.'))
        return SUCCESS

    def _check_notifications(self) -> upgradecheck.Result:
        if CONF.notifications.notification_format == 'unversioned':
            return SUCCESS
        drivers = set(CONF.oslo_messaging_notifications.driver)
        if (drivers <= {'noop', notification_states.DRIVER}
                or notification_states.DRIVER in drivers):
            return SUCCESS
        return _warning(_(
            'Notifications are versioned, and [oslo_messaging_notifications]'
            'driver lacks %s: nova-compute and nova-conductor cannot send '
            'those of quiesced servers. Add it, also on compute hosts, and '
            'restart these services.') % notification_states.DRIVER)

    def _check_paste(self) -> upgradecheck.Result:
        name = CONF.wsgi.api_paste_config
        path = CONF.find_file(name)
        if path is None:
            return _warning(_('There is no %s here. Run this check on the '
                              'hosts of nova-api.') % name)
        # Paste knows neither duplicates nor this kind of interpolation.
        paste = configparser.RawConfigParser(strict=False)
        try:
            paste.read(path)
            found = paste.get(PASTE_SECTION, PASTE_OPTION, fallback=None)
        except (configparser.Error, UnicodeDecodeError, OSError) as error:
            return _failure(_('%(path)s cannot be read: %(error)s') % {
                'path': path, 'error': exceptions.first_line(error)})
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
        (_('Table of freezes'), _check_schema),
        (_('nova-quiesce service'), _check_service),
        (_('Sweeps'), _check_sweeps),
        (_('Hooks into Nova'), _check_hooks),
        (_('Default deadline'), _check_deadline),
        (_('Notifications'), _check_notifications),
        (_('API paste configuration'), _check_paste),
    )


def _failure(details: str) -> upgradecheck.Result:
    return upgradecheck.Result(upgradecheck.Code.FAILURE, details)


def _warning(details: str) -> upgradecheck.Result:
    return upgradecheck.Result(upgradecheck.Code.WARNING, details)


def check() -> int:
    """Run the checks, and return the exit code."""
    upgradecheck.CONF = CONF    # where it looks for --json
    for group, options in messaging_opts.list_opts():
        CONF.register_opts(options, group=group)
    return int(UpgradeCommands().check())


def list_servers() -> int:
    """Show the servers that may be frozen, and return the exit code."""
    rows = store.Store(CONF.host).find()
    if CONF.command.json:
        print(json.dumps([_row(row) for row in rows]))
    else:
        _print_table(rows)
    return 0


def metrics() -> int:
    """Print figures as OpenMetrics text, and return the exit code."""
    for line in _metrics():
        print(line)
    return 0


def _gauge(name: str, *samples: tuple[dict[str, str], float],
           ) -> Iterator[str]:
    yield '# TYPE nova_quiesce_%s gauge' % name
    for labels, value in samples:
        yield 'nova_quiesce_%s%s %.12g' % (
            name, labels and '{%s}' % ','.join(
                '%s="%s"' % label for label in labels.items()) or '', value)


def _metrics() -> Iterator[str]:
    own = store.Store(CONF.host)
    counts, overdue = own.counts()
    yield from _gauge('guests', *(
        ({'state': state}, counts.get(state, 0))
        for state in dict.fromkeys([*store.State, *counts])))
    yield from _gauge('oldest_overdue_seconds', ({}, max(0.0, overdue)))
    reports = own.reports()
    yield from _gauge('last_sweep_seconds', *(
        ({'host': host, 'cell': cell}, age)
        for host, cell, age, _details in reports if cell))
    yield from _gauge('last_report_seconds', *(
        ({'host': host}, age)
        for host, cell, age, _details in reports if not cell))
    figures = {host: json.loads(details)
               for host, cell, _age, details in reports if not cell}
    names = {name for values in figures.values() for name in values}
    for name in sorted(names - {'process'}):
        yield from _gauge(name, *(
            ({'host': host}, values[name])
            for host, values in figures.items() if name in values))
    yield '# EOF'


def thaw() -> int:
    """Have servers thawed, and return the exit code."""
    command = CONF.command
    if command.all == bool(command.server):
        print(_('Name servers by UUID, or give --all'), file=sys.stderr)
        return 2
    wanted = None if command.all else [*map(str, command.server)]
    context = nova_context.get_admin_context()
    for each in wanted or ():
        objects.InstanceMapping.get_by_instance_uuid(context, each)
    own = store.Store(CONF.host)
    if own.find(instance_uuids=wanted) and not own.is_any_up(
            CONF.service_down_time):
        raise exceptions.NoService()
    thawed, left = _thaw(own, wanted, command.timeout)
    print(_('Servers that were thawed: %d') % thawed)
    if not left:
        return 0
    print(_('Servers that may still be frozen after %d seconds: %d') % (
        command.timeout, len(left)), file=sys.stderr)
    _print_table(left)
    return SOME_LEFT


def _thaw(own: store.Store, wanted: Collection[str] | None, timeout: float,
          ) -> tuple[int, Sequence[store.Freeze]]:
    """Have servers thawed, and wait for it.

    :returns: how many were thawed, and which are left
    """
    end = time.monotonic() + timeout
    seen: set[str] = set()
    for row in own.find(instance_uuids=wanted, states=[store.State.THAWING]):
        own.make_due(row.instance_uuid, row.state)    # it may pause
    while True:
        left = own.find(instance_uuids=wanted)
        seen.update(row.instance_uuid for row in left)
        if not left or time.monotonic() >= end:
            return len(seen) - len(left), left
        for row in left:
            if row.state == store.State.FROZEN:
                own.want_thaw(row.instance_uuid, None, store.State.FROZEN)
        time.sleep(PAUSE)


def _row(row: store.Freeze) -> dict[str, Any]:
    return {
        'uuid': row.instance_uuid,
        'name': row.server_name,
        'state': row.state,
        'request': row.request_id,
        'frozen_at': times.text(row.frozen_at),
        'unquiesce_at': times.text(row.unquiesce_at),
        'attempts': row.attempts,
        'error': row.error,
    }


def _print_table(rows: Sequence[store.Freeze]) -> None:
    table = prettytable.PrettyTable(
        ['UUID', _('Name'), _('State'), _('Request'), _('Frozen at'),
         _('Unquiesce at'), _('Attempts'), _('Error')])
    table.align = 'l'
    for row in rows:
        table.add_row(['-' if value is None else value
                       for value in _row(row).values()])
    print(table)


def add_parsers(subparsers: Any) -> None:
    """Add the program's commands to its parser."""
    upgrade = subparsers.add_parser(
        'upgrade', help=_('Check whether this version can do its work here'))
    upgrade.add_argument('check', choices=['check'])
    upgrade.set_defaults(action=check)
    listing = subparsers.add_parser(
        'list', help=_('List the servers that may be frozen'))
    listing.set_defaults(action=list_servers)
    subparsers.add_parser(
        'metrics', help=_('Print figures for a monitoring system'),
    ).set_defaults(action=metrics)
    for parser in (upgrade, listing):
        parser.add_argument('--json', action='store_true',
                            help=_('Print JSON instead of a table'))
    thawing = subparsers.add_parser(
        'thaw', help=_('Have servers thawed, and wait for it'))
    thawing.add_argument('server', nargs='*', metavar='<uuid>',
                         type=uuid.UUID,
                         help=_('UUIDs of servers'))
    thawing.add_argument('--all', action='store_true',
                         help=_('All servers that may be frozen'))
    thawing.add_argument(
        '--timeout', metavar='<seconds>', type=_seconds,
        default=DEFAULT_TIMEOUT,
        help=_('How long to wait, in seconds (default: %(default)d)'))
    thawing.set_defaults(action=thaw)


def _seconds(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(
            _('"%s" is not a number of whole seconds') % text)
    return int(text)
