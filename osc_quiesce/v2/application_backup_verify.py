# SPDX-License-Identifier: Apache-2.0

"""``openstack application backup verify``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
import logging

from keystoneauth1 import session as ksa_session
from osc_lib.command import command
from osc_lib import exceptions as osc_exceptions

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.cli import options
from osc_quiesce.i18n import _
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import bundles
from osc_quiesce.recovery import records
from osc_quiesce.recovery import stores
from osc_quiesce.recovery import verifying
from osc_quiesce import retry
from osc_quiesce.v2 import application_backup
from osc_quiesce.v2 import base

LOG = logging.getLogger(__name__)

COLUMNS = ('Backup ID', 'Volume ID', 'State', 'Object', 'Problem', 'Remedy')
DEFAULT_PARALLEL = 4


class VerifyApplicationBackup(base.Interruptible, command.Lister):
    _description = _(
        'Verify that a store holds all of a backup set, with all that it '
        'needs, as Cinder has written it: each object is read, unpacked and '
        'compared (admin only by default; with --bundle, Cinder is not '
        'needed). Nothing is changed. Without --store, no data are read, and '
        'nothing is verified.')

    STOPPING = _('stopping')
    STOPPED = _('Interrupted: the set is not verified. The next run begins '
                'with the first backup again.')

    #: with a bundle, there may be no cloud left that could authenticate
    auth_required = False

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = application_backup.with_set(
            super().get_parser(prog_name), nargs='?')
        parser.add_argument(
            '--bundle', metavar='<file>', type=base.given, help=_(
                'Verify the set of a file that "application backup export" '
                'has written, without asking Cinder'))
        parser.add_argument(
            '--store', metavar='<path|URL>', type=base.given, help=_(
                "Where the data are: the directory of cinder-backup's posix, "
                'NFS or GlusterFS driver; https://<host>/v1/<account> of '
                'Swift, which gets the token of this command; or s3://, with '
                'the credentials and the endpoint that AWS_ACCESS_KEY_ID, '
                'AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL name. With '
                '/<container> at the end of the URL, or <bucket> after s3://, '
                'the command reads all backups there, instead of in the '
                'container of each'))
        parser.add_argument('--parallel', metavar='<n>',
                            type=options.number,
                            default=DEFAULT_PARALLEL,
                            help=_('How many volumes are verified at once '
                                   '(default: %d)') % DEFAULT_PARALLEL)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> options.Table:
        options.check_columns(self, parsed_args, COLUMNS)
        if bool(parsed_args.set) == bool(parsed_args.bundle):
            raise osc_exceptions.CommandError(
                _('Name a backup set, or a file with --bundle.'))
        if parsed_args.bundle and not parsed_args.store:
            raise osc_exceptions.CommandError(
                _('With --bundle, name the store of the data with --store.'))
        try:
            report = self._report(parsed_args)
        except cloud_api.CloudError as exc:
            raise osc_exceptions.CommandError(_why(exc)) from exc
        self._exit_code = 0 if report.is_good else 1
        return COLUMNS, [
            (each.backup_id, each.volume_id, each.state, each.object,
             each.problem, each.remedy) for each in report.findings]

    def _report(self, parsed_args: argparse.Namespace) -> verifying.Report:
        timer = retry.Timer(sleep=self._sleep)
        found, read = self._source(parsed_args, timer)
        if found.state != backup_sets.CONSISTENT:
            LOG.warning(_('Backup set %(name)s (%(id)s) is %(state)s.'), {
                'name': found.name, 'id': found.id, 'state': found.state})
        if not parsed_args.store:
            LOG.warning(_('No data were read, and nothing is verified: name '
                          'the store with --store.'))
            return verifying.registered(found, read)
        store = stores.connect(parsed_args.store, self._session)
        report = verifying.verify(found, read, store, timer,
                                  parsed_args.parallel,
                                  options.progress_of(self.app))
        _warn(report)
        return report

    def _source(
        self, parsed_args: argparse.Namespace, timer: retry.Timer
    ) -> tuple[backup_sets.BackupSet, Callable[[str], records.Record]]:
        """Return the set, and what reads records."""
        if parsed_args.bundle:
            bundle = bundles.load(parsed_args.bundle)
            return bundle.backup_set, bundle.read
        self._authenticate()
        cloud = self._cloud
        return (backup_sets.find(cloud, parsed_args.set),
                bundles.reader(cloud, timer, {}))

    def _authenticate(self) -> None:
        """Do what is done for other commands before they begin."""
        self.auth_required = True
        self.app.prepare_to_run_command(self)

    def _session(self) -> ksa_session.Session:
        """Return a session with a token, if one can be had."""
        try:
            self._authenticate()
            session: ksa_session.Session = self.app.client_manager.session
            session.get_token()
        except Exception as exc:  # of whatever the configuration lacks
            LOG.warning(_('The store is asked without a token: %s'), exc)
            return ksa_session.Session()
        return session


def _why(error: cloud_api.CloudError) -> str:
    if error.status == 403:
        return _('Cinder does not give you the records of backups (%s). Ask '
                 'an administrator for a file of "application backup export", '
                 'and use --bundle.') % error
    return str(error)


def _warn(report: verifying.Report) -> None:
    if not report.size:
        LOG.warning(_('Nothing of the set was found in this store: see that '
                      '--store names the right one.'))
    if report.silent:
        LOG.warning(
            _('%(silent)d of %(all)d objects are stored without a checksum, '
              'since they are not compressed, or compressed by zstd. They are '
              'good now; but if they were damaged later, Cinder would restore '
              'them without an error. Verify the set again from time to time, '
              'and restores with --verify-all.'),
            {'silent': report.silent, 'all': report.objects})
