# SPDX-License-Identifier: Apache-2.0

"""Servers by name or UUID."""

import re
import uuid

from osc_quiesce import api as quiesce_api
from osc_quiesce import errors
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce import retry


def find(api: quiesce_api.QuiesceAPI, timer: retry.Timer, name_or_id: str,
         all_projects: bool) -> model.Server:
    """Return a server: see :meth:`osc_quiesce.client.Client.find_server`."""
    if _is_uuid(name_or_id):
        try:
            return timer.until_answered(lambda: api.server(model.Server(
                name_or_id)))
        except errors.ServerNotFound:
            pass  # a name may look like an ID
    # Nova takes the name as a regular expression, found anywhere.
    query = {'name': f'^{re.escape(name_or_id)}$'}
    if all_projects:
        query['all_tenants'] = '1'
    found = timer.until_answered(lambda: [
        server for server in api.servers(query) if server.name == name_or_id])
    if not found:
        raise errors.ServerNotFound(
            _('No server has the name or ID "%s"') % name_or_id)
    if len(found) > 1:
        raise errors.AmbiguousName(
            _('%(count)d servers have the name "%(name)s": %(ids)s') % {
                'count': len(found), 'name': name_or_id,
                'ids': ', '.join(server.id for server in found)})
    return found[0]


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
