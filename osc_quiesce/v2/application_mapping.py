# SPDX-License-Identifier: Apache-2.0

"""``openstack application mapping create``."""

from __future__ import annotations

import argparse

from osc_lib.command import command

from osc_quiesce.application import errors as application_errors
from osc_quiesce.cli import options
from osc_quiesce.i18n import _
from osc_quiesce.recovery import points
from osc_quiesce.recovery import site as sites
from osc_quiesce.recovery import skeleton
from osc_quiesce.v2 import base

COLUMNS = ('file', 'application', 'filled', 'empty')


class CreateApplicationMapping(base.Command, command.ShowOne):
    _description = _(
        'Write a mapping file, to restore a backup set at this site. It names '
        'the counterpart of each flavor, network and so on of the source. '
        'Entries that have the same name here are filled in; the others are '
        'empty, with a comment that lists what fits, and a restore is refused '
        'until you fill them in.')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('set', metavar='<backup-set>', type=base.given,
                            help=_('Backup set or snapshot set (name or ID)'))
        parser.add_argument('--output', metavar='<file>', type=base.given,
                            required=True,
                            help=_('File to write, which must not exist yet'))
        parser.add_argument(
            '--from-cloud', metavar='<cloud>', type=base.given, help=_(
                'The site that has the set, a name in clouds.yaml; needed '
                'while the set is not registered at this site'))
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> options.Record:
        cloud = self._cloud
        source = cloud
        if parsed_args.from_cloud:
            source = base.connect(
                parsed_args.from_cloud)
        point = points.find(source, parsed_args.set)
        made = skeleton.make(
            sites.Site(cloud), point.servers,
            _('Mapping of application %(application)s,\nfor '
              '%(set)s.') % {
                  'application': point.application, 'set': point.label})
        _write(parsed_args.output, made.text)
        return COLUMNS, (base.printable(parsed_args.output), point.application,
                         made.filled, base.Sentences(made.empty))


def _write(path: str, text: str) -> None:
    try:
        with open(path, 'x', encoding='utf-8') as stream:
            stream.write(text)
    except FileExistsError as exc:
        raise application_errors.ApplicationError(
            _('%s exists already, and was not changed: name another '
              'file.') % path) from exc
    except OSError as exc:
        raise application_errors.ApplicationError(
            _('%(path)s cannot be written: %(why)s.') % {
                'path': path, 'why': exc}) from exc
