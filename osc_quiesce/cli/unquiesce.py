# SPDX-License-Identifier: Apache-2.0

"""What ``server unquiesce`` does, whichever shell it belongs to.

It thaws whatever can be thawed, and then tells what could not be.
"""

from collections.abc import Sequence
import logging

from osc_quiesce.cli import base
from osc_quiesce.cli import interrupts
from osc_quiesce import client as quiesce_client
from osc_quiesce.i18n import _
from osc_quiesce import retry
from osc_quiesce import states

LOG = logging.getLogger(__name__)


class Unquiesce(base.Command):
    """Thaws servers, as many as can be, whatever fails."""

    def unquiesce(self, names: Sequence[str], *, wait: bool,
                  timeout: float = retry.DEFAULT_TIMEOUT,
                  all_projects: bool = False) -> list[base.Row]:
        """Ask all servers to thaw, and then wait for them together.

        A server that is active already counts as thawed.

        :param names: names or UUIDs
        :param wait: whether to wait until they are thawed
        :param timeout: seconds to wait, for all together
        :param all_projects: whether names are those of all projects
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
            outcomes = client.unquiesce_all(servers, wait, timeout)
        except interrupts.Interrupted as exc:
            self.exit_code = exc.exit_code
            wait = False
            with self._interrupts.shielded():
                outcomes = client.unquiesce_all(servers, wait)
        failures += sum(self._tell(each) for each in outcomes.values())
        if failures:
            self._fail(_('%(failed)d of %(all)d servers failed to '
                         'unquiesce.') % {'failed': failures, 'all': total})
        return [self._row(outcome, wait) for outcome in outcomes.values()]

    @staticmethod
    def _tell(outcome: quiesce_client.Outcome) -> bool:
        """Log what the user has to know; return whether it is a failure."""
        if outcome.error:
            LOG.error('%s', outcome.error)
            return True
        if outcome.action_id is None and outcome.server.vm_state:
            LOG.warning(_('Server %(server)s was not quiesced any more: it is '
                          '%(status)s.'),
                        {'server': outcome.server.label,
                         'status': outcome.server.status})
        return False

    @staticmethod
    def _row(outcome: quiesce_client.Outcome, wait: bool) -> base.Row:
        row = base.Row(outcome.server, outcome.server.status)
        row.request_id = outcome.action_id
        if outcome.error:
            return row
        if wait:
            row.seconds = round(outcome.seconds, 1)
        elif outcome.action_id:
            row.status = states.UNQUIESCING.upper()
        return row
