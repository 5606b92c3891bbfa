# SPDX-License-Identifier: Apache-2.0

"""What ``server unquiesce`` does, whichever shell it belongs to.

It thaws whatever can be thawed, and then tells what could not be.
"""

from collections.abc import Sequence
import dataclasses
import logging

from osc_quiesce import api as quiesce_api
from osc_quiesce.cli import base
from osc_quiesce.cli import interrupts
from osc_quiesce import errors
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce import retry
from osc_quiesce import states
from osc_quiesce import verbs

LOG = logging.getLogger(__name__)


class _Unquiescing(verbs.Unquiescing):
    """Finds each server by its name or UUID just before it is thawed.

    So one that cannot be found holds up the others no more than one that
    cannot be thawed.
    """

    def __init__(self, all_projects: bool, is_stubborn: bool) -> None:
        super().__init__(is_stubborn)
        self._all_projects = all_projects

    def ask(self, api: quiesce_api.QuiesceAPI, job: verbs.Job) -> bool:
        name, is_id = job.server.id, model.is_uuid(job.server.id)
        if not job.server.status:  # it was not found before
            try:
                job.server = (api.within(retry.ORDER_TIME) if is_id else
                              api).find_server(name, self._all_projects)
            except errors.Transient:
                if not is_id:
                    raise
                job.server = model.Server.of(name)  # enough for a thaw
        return super().ask(api, job)


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
        self._interrupts.install(
            _('no longer waiting, but still unquiescing every server ...'),
            _('already stopping; still unquiescing every server'))
        jobs = [verbs.Job(model.Server(name)) for name in dict.fromkeys(names)]
        try:
            self._thaw(jobs, all_projects, wait, timeout)
        except interrupts.Interrupted as exc:
            self.exit_code = exc.exit_code
            wait = False
            jobs = [job if job.is_accepted or job.error
                    else verbs.Job(job.server) for job in jobs]
            with self._interrupts.shielded():
                self._thaw([job for job in jobs
                            if not (job.is_accepted or job.error)],
                           all_projects, wait, retry.DEFAULT_TIMEOUT)
        found: dict[str, verbs.Job] = {}
        for job in jobs:  # a server may be named twice
            found.setdefault(job.server.id, job)
        failures = sum(self._tell(job) for job in found.values())
        if failures:
            self._fail(_('%(failed)d of %(all)d servers failed to '
                         'unquiesce.') % {
                             'failed': failures, 'all': len(found)})
        return [job if wait else self._asked(job) for job in found.values()
                if job.server.status or job.is_accepted]

    def _thaw(self, jobs: Sequence[verbs.Job], all_projects: bool, wait: bool,
              timeout: float) -> None:
        def progress(servers: Sequence[model.Server]) -> None:
            labels = ', '.join(server.label for server in servers)
            self._progress(_('Unquiescing %s ...') % labels)

        self._client().run(
            _Unquiescing(all_projects, is_stubborn=wait),
            [[job] for job in jobs], timeout, wait=wait,
            progress=progress if wait else None)

    @staticmethod
    def _tell(job: verbs.Job) -> bool:
        """Log what the user has to know; return whether it is a failure."""
        if job.error:
            LOG.error('%s', job.error)
            return True
        # One that is still quiesced may be thawed by this very command.
        if job.action_id is None and (
                job.server.vm_state not in (None, states.QUIESCED)):
            LOG.warning(_('Server %(server)s was not quiesced any more: it is '
                          '%(status)s.'),
                        {'server': job.server.label,
                         'status': job.server.status})
        return False

    @staticmethod
    def _asked(job: verbs.Job) -> verbs.Job:
        """Return what is known of a server that is not waited for."""
        server = job.server
        if job.action_id and job.error is None and (
                server.vm_state in (None, states.QUIESCED)):
            server = dataclasses.replace(
                server, status=states.UNQUIESCING.upper())
        return verbs.Job(server, action_id=job.action_id)
