# SPDX-License-Identifier: Apache-2.0

"""``openstack application protection show``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
import datetime
import logging
import textwrap
from typing import Any, Final

from osc_lib.command import command
from osc_lib import exceptions as osc_exceptions

from osc_quiesce.cli import options
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce.recovery import capacity
from osc_quiesce.recovery import files
from osc_quiesce.recovery import openmetrics
from osc_quiesce.recovery import protection
from osc_quiesce.v2 import base

LOG = logging.getLogger(__name__)

#: of the table
COLUMNS: Final = ('Application', 'Last Set', 'Age', 'Gap', 'Verified',
                  'Last Drill', 'RTO', 'Room')
#: of all other formats
KEYS: Final = (
    'application', 'set', 'set_id', 'data_time', 'age', 'sets', 'newer_sets',
    'worst_gap', 'made_here', 'registered', 'verified', 'drilled_at', 'drill',
    'drill_rto', 'next_backups', 'next_gib', 'quota_backups_left',
    'quota_gib_left', 'pools_gib_free', 'lacks')
#: characters of a name in a line of the table, which has at most 100
_WIDTHS: Final = (12, 20)
#: seconds of a unit, and from how many of them on it is used
_UNITS: Final = ((86400.0, 'd', 2.0), (3600.0, 'h', 1.5), (60.0, 'min', 1.0))


class ShowApplicationProtection(base.Command, command.Lister):
    _description = _(
        'Show how well the applications of the project are protected, by the '
        'records of this site: run it at the site where they would be '
        'restored. A set counts only if it is consistent, and registered at '
        'another site than the one that has made it. Ages are by the clock of '
        'this machine.')

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._exit_code = 0

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--application', metavar='<name>', type=base.given,
            action='append', default=[],
            help=_('Show this application, even if it has no set (repeat for '
                   'more; default: all that have sets)'))
        parser.add_argument(
            '--max-age', metavar='<seconds>', type=options.number,
            help=_('For alarms: exit with code 1, and name each application '
                   'without a set that is at most this many seconds old, or '
                   'whose last drill has failed'))
        parser.add_argument(
            '--openmetrics', metavar='<file>', type=base.given, help=_(
                'Also write it as OpenMetrics, for the textfile collector of '
                'node_exporter. The file is replaced as a whole, and every '
                'user may read it'))
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        return int(super().run(parsed_args) or self._exit_code)

    def take_action(self, parsed_args: argparse.Namespace) -> options.Table:
        found = protection.find(self._cloud, parsed_args.application)
        if parsed_args.max_age is not None:
            # First, whatever else cannot be told.
            self._raise_alarms(found, parsed_args.max_age)
        left = capacity.left(self._cloud)
        if parsed_args.openmetrics:
            self._write(parsed_args.openmetrics, found, left)
        if parsed_args.formatter == 'table':
            return COLUMNS, [_for_people(each, left) for each in found]
        return KEYS, [_for_machines(each, left) for each in found]

    def _raise_alarms(self, found: Sequence[protection.Protection],
                      max_age: int) -> None:
        sentences = [each.alarm(max_age) for each in found] or [
            _('No application of this project has a backup set at this site: '
              'look whether it is the right project, and back one up.')]
        for sentence in filter(None, sentences):
            LOG.error('%s', sentence)
            self._exit_code = 1

    @staticmethod
    def _write(path: str, found: Sequence[protection.Protection],
               left: capacity.Left) -> None:
        try:
            files.replace(path, openmetrics.text(found, left), files.PUBLIC)
        except OSError as exc:
            raise osc_exceptions.CommandError(
                _('%(path)s cannot be written: %(why)s') % {
                    'path': path, 'why': exc}) from exc


def _for_machines(found: protection.Protection,
                  left: capacity.Left) -> tuple[Any, ...]:
    """Return the values of KEYS."""
    last, drill = found.last, found.drill
    return (
        found.application, last and last.name, last and last.id,
        _text(found.moment), _whole(found.age), len(found.sets),
        len(found.newer), _whole(found.worst_gap),
        found.is_made_here if last else None,
        (last.registered or None) if last else None, _text(found.verified),
        _text(drill.at if drill else None), drill and drill.result,
        drill and drill.rto, last and last.volumes, last and last.size,
        left.backups, left.gigabytes, left.pools,
        protection.lacks(found, left))


def _for_people(found: protection.Protection,
                left: capacity.Left) -> tuple[str, ...]:
    """Return the values of COLUMNS."""
    last, drill = found.last, found.drill
    of_drill = [drill.result, _duration((
        found.now - drill.at).total_seconds())] if drill else []
    return (
        _wrapped(found.application, _WIDTHS[0]),
        '\n'.join(_of_set(found)) if last else _('none'),
        _duration(found.age), _duration(found.worst_gap),
        _duration((found.now - found.verified).total_seconds()
                  if found.verified else None),
        '\n'.join(of_drill), _duration(drill.rto if drill else None),
        '\n'.join(protection.lacks(found, left)) or (
            _('yes') if last else ''))


def _of_set(found: protection.Protection) -> Iterator[str]:
    assert found.last is not None and found.moment is not None  # noqa: S101
    yield _wrapped(found.last.name, _WIDTHS[1])
    yield model.utc_text(found.moment)
    yield _wrapped(_('made here, registered at %s') % found.last.registered
                   if found.is_made_here else _('registered here'),
                   _WIDTHS[1])


def _wrapped(text: str, width: int) -> str:
    return '\n'.join(textwrap.wrap(text, width))


def _text(when: datetime.datetime | None) -> str | None:
    return model.utc_text(when) if when else None


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)


def _duration(seconds: float | None) -> str:
    """Return a time in at most six characters."""
    if seconds is None:
        return ''
    for size, unit, least in _UNITS:
        if seconds >= least * size:
            return f'{seconds / size:.0f} {unit}'
    return f'{seconds:.0f} s'
