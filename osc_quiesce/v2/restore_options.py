# SPDX-License-Identifier: Apache-2.0

"""The options of ``application restore create`` and ``application drill``."""

from __future__ import annotations

import argparse
import datetime

from osc_quiesce.cli import options
from osc_quiesce.i18n import _
from osc_quiesce.recovery import proof
from osc_quiesce.v2 import base

DEFAULT_TIMEOUT = 600.0  # seconds, for a server
DEFAULT_VOLUME_TIMEOUT = 86400.0  # seconds
DEFAULT_PARALLEL = 4


def add(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add those of ``restore create`` to a parser."""
    parser.add_argument('set', metavar='<backup-set|snapshot-set>',
                        type=base.given,
                        help=_('Backup set or snapshot set (name or ID)'))
    _add_shared(parser)
    _add_what(parser)
    return parser


def add_for_drill(
        parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add those of ``drill`` to a parser."""
    parser.add_argument('set', metavar='<backup-set>', type=base.given,
                        help=_('Backup set (name or ID)'))
    _add_shared(parser)
    parser.add_argument('--keep', action='store_true', help=_(
        'Delete nothing at the end, not even after a failure; "application '
        'restore delete" does that later'))
    return parser


def _add_shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--mapping', metavar='<file>', type=base.given, required=True, help=_(
            'File with the flavor, network and so on at this site for each at '
            'the source; "application mapping create" writes one to fill in'))
    parser.add_argument('--dry-run', action='store_true', help=_(
        'Show what would be done and refused, and do nothing'))
    _add_checks(parser)
    _add_times(parser)


def _add_what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--name', metavar='<name>', type=base.new_name, help=_(
            'Name of the restore (default: that of the set)'))
    parser.add_argument(
        '--server', metavar='<server>', type=base.given,
        action='append', default=[],
        help=_('Restore this server only (name or ID at the source); repeat '
               'the option for several servers'))
    parser.add_argument('--no-start', action='store_true', help=_(
        'Restore the volumes, and make no ports and servers'))
    parser.add_argument('--allow-inconsistent', action='store_true',
                        help=_('Restore a set that is not consistent'))
    parser.add_argument(
        '--from-cloud', metavar='<cloud>', type=base.given, help=_(
            'The site of the source, a name in clouds.yaml: nothing is '
            'restored while its servers run there (any status but SHUTOFF, '
            'shelved, deleted, or ERROR without a guest that runs); a site '
            'that does not answer is no obstacle'))
    parser.add_argument('--force', action='store_true', help=_(
        'Restore although servers of the source run, here or there'))
    parser.add_argument('--failed-at', metavar='<time>', type=_moment, help=_(
        'When the source failed, such as 2026-11-29T02:00:00Z: the RPO is '
        'counted until then; UTC, unless it has an offset (default: now)'))


def _add_checks(parser: argparse.ArgumentParser) -> None:
    verify = parser.add_mutually_exclusive_group()
    verify.add_argument(
        '--verify-all', dest='verify', action='store_true', default=None,
        help=_('Prove that each volume is equal to its backup before a server '
               'is started, and refuse if that cannot be done (default: prove '
               'what can be proven; admin only)'))
    verify.add_argument('--no-verify', dest='verify', action='store_false',
                        help=_('Prove nothing'))
    parser.add_argument(
        '--proof-container', metavar='<container>', type=base.new_name,
        default=proof.CONTAINER,
        help=_('Container for the backups of the proof, which are deleted at '
               'once; this site must be able to write there (default: '
               '%s)') % proof.CONTAINER)
    parser.add_argument('--check', metavar='<command>', default='', help=_(
        'Command for /bin/sh on this machine that is repeated for each '
        'server until it succeeds, or --timeout has passed, before the next '
        'stage is started. It gets OSC_QUIESCE_SERVER, OSC_QUIESCE_SERVER_ID, '
        'OSC_QUIESCE_STAGE, OSC_QUIESCE_ADDRESS and OSC_QUIESCE_ADDRESSES in '
        'its environment'))
    parser.add_argument('--no-agent-check', action='store_true',
                        help=_('Do not test the guest agent of each server by '
                               'quiescing it for a moment'))


def _add_times(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--parallel', metavar='<n>',
                        type=options.number, default=DEFAULT_PARALLEL,
                        help=_('Number of volumes that are restored at once '
                               '(default: %d)') % DEFAULT_PARALLEL)
    parser.add_argument(
        '--timeout', metavar='<seconds>', type=options.timeout,
        default=DEFAULT_TIMEOUT,
        help=_('How long to wait for each server and for its checks, in '
               'seconds (default: %g)') % DEFAULT_TIMEOUT)
    parser.add_argument(
        '--volume-timeout', metavar='<seconds>', type=options.timeout,
        default=DEFAULT_VOLUME_TIMEOUT,
        help=_('How long to wait for each volume to be restored, and to be '
               'verified, in seconds (default: %g)') % DEFAULT_VOLUME_TIMEOUT)


def _moment(text: str) -> datetime.datetime:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(
            _('"%s" is not a time such as 2026-11-29T02:00:00Z') % text
        ) from exc
    if moment.tzinfo is None:
        return moment.replace(tzinfo=datetime.UTC)
    return moment
