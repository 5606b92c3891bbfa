# SPDX-License-Identifier: Apache-2.0

"""Whether servers are, and were, frozen by one request."""

from collections.abc import Mapping, Sequence

from osc_quiesce import client as quiesce_client
from osc_quiesce import concurrency
from osc_quiesce import errors
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce import states


def not_frozen(client: quiesce_client.Client, servers: Sequence[model.Server],
               request_id: str) -> list[errors.QuiesceError]:
    """Return why servers are not frozen by this request at this moment.

    :returns: an error for each server that is not; empty if all are
    """
    ids = [server.id for server in servers]
    try:
        rows = client.freezes(ids, all_projects=True)
    except errors.Forbidden:
        rows = client.freezes(ids)
    frozen = {row.server_id for row in rows
              # A server is quiesced a moment before its row says it.
              if row.request_id == request_id
              and row.state in (states.FREEZING, states.FROZEN)}
    return [errors.NoLongerQuiesced(_('Server %s is not quiesced by this '
                                      'request any more') % server.label,
                                    model.Server(server.id, server.name),
                                    request_id) for server in servers
            if server.id not in frozen]


def doubts(client: quiesce_client.Client,
           thaws: Mapping[model.Server, str]) -> dict[str, str]:
    """Return why servers may not have been frozen until their thaw.

    The guest may say so itself: some give up a freeze after a while.

    :param thaws: server to the id of the request that has thawed it
    :returns: UUID of server to a reason, of those that there is one for
    """

    def doubt(thaw: tuple[model.Server, str]) -> str:
        try:
            result = client.timer.until_answered(lambda: client.api.result(
                *thaw))
        except errors.QuiesceError as exc:
            return exc.why
        if result.result == states.SUCCESS:
            return ''
        return result.reason or _('Nova does not show how its thaw ended')

    reasons = concurrency.run_all(doubt, thaws.items())
    return {server.id: why for server, why in zip(thaws, reasons) if why}
