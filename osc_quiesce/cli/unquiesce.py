# SPDX-License-Identifier: Apache-2.0

"""What ``server unquiesce`` does, whichever shell it belongs to.

It thaws whatever can be thawed, and then tells what could not be.
"""

from collections.abc import Sequence
import dataclasses
import logging

from osc_quiesce.cli import base
from osc_quiesce.cli import interrupts
from osc_quiesce.i18n import _
from osc_quiesce import retry
from osc_quiesce import states
from osc_quiesce import verbs

LOG = logging.getLogger(__name__)


class Unquiesce(base.Command):
    """Thaws servers, as many as can be, whatever fails."""

    def unquiesce(self, names: Sequence[str], *, wait: bool,
                  timeout: float = retry.DEFAULT_TIMEOUT,
                  all_projects: bool = False) -> list[verbs.Job]:
        """Thaw servers, one after the other.

        One delays the next for 3 seconds at most. A server that is active
        already counts as thawed, if its guest cannot be frozen.

        :returns: one for each server that was found
        """
        servers, failures = self._find(names, all_projects)
        # A server that is named twice is thawed once.
        servers = list({server.id: server for server in servers}.values())
        total = len(servers) + failures
        self._interrupts.install(
            _('no longer waiting, but still unquiescing every server ...'),
            _('already stopping; still unquiescing every server'))
        if servers and wait:
            labels = ', '.join(server.label for server in servers)
            self._progress(_('Unquiescing %s ...') % labels)
        client = self._client()
        try:
            jobs = client.unquiesce_all(servers, wait, timeout).values()
        except interrupts.Interrupted as exc:
            self.exit_code = exc.exit_code
            wait = False
            with self._interrupts.shielded():
                jobs = client.unquiesce_all(servers, wait).values()
        failures += sum(self._tell(job) for job in jobs)
        if failures:
            self._fail(_('%(failed)d of %(all)d servers failed to '
                         'unquiesce.') % {'failed': failures, 'all': total})
        return list(jobs) if wait else [self._asked(job) for job in jobs]

    @staticmethod
    def _tell(job: verbs.Job) -> bool:
        """Log what the user has to know; return whether it is a failure."""
        if job.error:
            LOG.error('%s', job.error)
            return True
        if job.action_id is None and job.server.vm_state:
            LOG.warning(_('Server %(server)s was not quiesced any more: it is '
                          '%(status)s.'),
                        {'server': job.server.label,
                         'status': job.server.status})
        return False

    @staticmethod
    def _asked(job: verbs.Job) -> verbs.Job:
        """Return what is known of a server that is not waited for."""
        server = job.server
        if job.action_id and job.error is None:
            server = dataclasses.replace(
                server, status=states.UNQUIESCING.upper())
        return verbs.Job(server, action_id=job.action_id)
