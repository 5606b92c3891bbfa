# SPDX-License-Identifier: Apache-2.0

"""What ``server quiesce`` does, whichever shell it belongs to.

The promise of quiescing and waiting for it: either every server is quiesced by
this command and the exit code is 0, or none stays frozen by it and the exit
code is not 0. Refusals, failures, time-outs, signals and a broken output pipe
all go the same way: thaw what was frozen, the last one first. The only
exception is ``--keep-quiesced``, which keeps the servers that are quiesced. A
server whose freeze is still uncertain is thawed, too.
"""

from collections.abc import Sequence
import dataclasses
import logging

from osc_lib import exceptions as osc_exceptions

from osc_quiesce.cli import base
from osc_quiesce.cli import interrupts
from osc_quiesce import errors
from osc_quiesce import group
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce import retry
from osc_quiesce import states
from osc_quiesce import verbs

LOG = logging.getLogger(__name__)


class Quiesce(base.Command):
    """Freezes servers; thaws them again unless all went well."""

    _frozen: group.Frozen | None = None  # None: there is nothing to undo

    def quiesce(self, names: Sequence[str], *, wait: bool,
                timeout: float = retry.DEFAULT_TIMEOUT,
                unquiesce_after: int | None = None, keep: bool = False,
                all_projects: bool = False) -> list[verbs.Job]:
        """Freeze servers, one after the other.

        Without ``wait``, none is waited for.

        :returns: one for each name
        :raises osc_lib.exceptions.CommandError: a name is unknown or
            ambiguous, or a server cannot be quiesced: nothing was asked
        """
        servers, failures = self._find(names, all_projects)
        for number, server in enumerate(servers):
            if server.id in {each.id for each in servers[:number]}:
                LOG.error(_('Server %s is named twice'), server.label)
                failures += 1
            elif wait and (server.vm_state, server.task_state) != (
                    states.ACTIVE, None):
                LOG.error(_('Server %(server)s cannot be quiesced: its '
                            'vm_state is %(vm)s, its task_state %(task)s; '
                            'they must be %(ok)s and None.'),
                          {'server': server.label,
                           'vm': server.vm_state,
                           'task': server.task_state,
                           'ok': states.ACTIVE})
                failures += 1
        if failures:
            raise osc_exceptions.CommandError(_('Nothing was quiesced.'))
        if not wait:
            return self._ask(servers, unquiesce_after)
        return self._quiesce_in_order(servers, timeout, unquiesce_after, keep)

    def _find(self, names: Sequence[str],
              all_projects: bool) -> tuple[list[model.Server], int]:
        """Return the servers found, and log and count the names in vain."""
        found = []
        failures = 0
        client = self._client()
        for name in names:
            try:
                found.append(client.find_server(name, all_projects))
            except errors.QuiesceError as exc:
                LOG.error('%s', exc)
                failures += 1
        return found, failures

    # Without --wait -------------------------------------------------------

    def _ask(self, servers: list[model.Server],
             unquiesce_after: int | None) -> list[verbs.Job]:
        self._interrupts.install(_('stopping after the request under way ...'),
                                 _('already stopping'))
        client = self._client()
        jobs = [verbs.Job(server) for server in servers]
        failures = 0
        for job in jobs:
            try:
                self._interrupts.check()
                with self._interrupts.shielded():  # else its id is lost
                    job.action_id = client.quiesce(job.server, unquiesce_after)
                job.server = dataclasses.replace(
                    job.server, status=states.QUIESCING.upper())
            except errors.QuiesceError as exc:
                LOG.error('%s', exc)
                failures += 1
            except interrupts.Interrupted as exc:
                self.exit_code = exc.exit_code
                self._tell_what_was_asked(jobs)
                break
        if failures:
            self._fail(_('%(failed)d of %(all)d servers failed to '
                         'quiesce.') % {'failed': failures, 'all': len(jobs)})
        return jobs

    @staticmethod
    def _tell_what_was_asked(jobs: list[verbs.Job]) -> None:
        asked = [job.server.label for job in jobs if job.action_id]
        others = [job.server.label for job in jobs if not job.action_id]
        LOG.error(
            _('Interrupted. Quiesce was requested for: %(asked)s. It was not '
              'requested, refused or not answered for: %(others)s.'),
            {'asked': ', '.join(asked) or _('none'),
             'others': ', '.join(others) or _('none')})

    # With --wait ----------------------------------------------------------

    def _quiesce_in_order(self, servers: list[model.Server], timeout: float,
                          unquiesce_after: int | None,
                          keep: bool) -> list[verbs.Job]:
        self._interrupts.install(
            _('stopping, and unquiescing ...'),
            _('already stopping; unquiescing goes on until it is done'))
        self._frozen = frozen = group.Frozen(
            self._client(), [[server] for server in servers], timeout,
            unquiesce_after, self._progress, self._interrupts.shielded)
        failure: errors.QuiesceError | None = None
        try:
            frozen.quiesce()
            frozen.check()
        except interrupts.Interrupted as exc:
            self.exit_code = exc.exit_code
        except errors.QuiesceError as exc:
            failure = exc
        else:
            return [member.freeze for member in frozen.members]
        if keep:
            frozen.keep()
        self._undo(failure)
        left = [self._left(member.freeze) for member in frozen.members]
        if keep:
            kept = sum(member.is_kept
                       and job.server.status == states.QUIESCED.upper()
                       for member, job in zip(frozen.members, left))
            self._fail(_('%(kept)d of %(all)d servers stay quiesced '
                         '(--keep-quiesced).') % {
                             'kept': kept, 'all': len(servers)})
        elif len(servers) == 1:
            self._fail(_('The server was not quiesced.'))
        else:
            self._fail(_('The %d servers were not quiesced.') % len(servers))
        return left

    def _left(self, job: verbs.Job) -> verbs.Job:
        """Return how a server was left, as Nova has it now, if it does."""
        try:
            status = self._get_client().api.within(
                retry.ORDER_TIME).server(job.server).status
        except errors.ServerNotFound:
            status = 'DELETED'
        except errors.QuiesceError:
            status = ''
        return verbs.Job(dataclasses.replace(job.server, status=status),
                         action_id=job.action_id)

    def _undo(self, failure: errors.QuiesceError | None = None) -> None:
        """Thaw what this command froze, or may have frozen, then say so.

        Not before, since a terminal may hold up what is said.

        :param failure: why it is thawed, if a server is the reason
        """
        frozen, self._frozen = self._frozen, None
        failed: Sequence[errors.QuiesceError] = ()
        if frozen:
            try:
                frozen.thaw()
            except errors.ThawFailed as exc:
                failed = exc.errors
        if failure:
            LOG.error('%s', failure)
        for error in failed:
            if str(error) != str(failure):
                LOG.error('%s', error)
            # One that failed says so itself.
            if error.server and not isinstance(error, errors.Failed):
                LOG.error(_('Server %(server)s MAY STILL BE FROZEN: try '
                            '"%(command)s %(id)s".'),
                          {'server': error.server.label,
                           'command': self._unquiesce_command,
                           'id': error.server.id})
