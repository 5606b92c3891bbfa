# SPDX-License-Identifier: Apache-2.0

"""What is written on each snapshot of a set: all that is known of the set."""

from collections.abc import Iterator, Mapping
import importlib.metadata
from typing import Any
import uuid

from osc_quiesce.application import metadata
from osc_quiesce.application import plan as planning
from osc_quiesce.application import snapshot_sets
from osc_quiesce.i18n import _
from osc_quiesce import model


def bodies(plan: planning.Plan, set_id: str) -> list[dict[str, Any]]:
    """Return the bodies of the requests for all snapshots of a set."""
    common = {
        'format': snapshot_sets.FORMAT,
        'version': importlib.metadata.version('osc-quiesce'),
        'set': plan.name,
        'set_id': set_id,
        'application': plan.application,
        'created_at': model.utc_now(),
        'volumes': str(len(plan.snapshots)),
        'consistency': snapshot_sets.PENDING}
    made = []
    for order, (server, volume) in enumerate(plan.snapshots):
        own = {'order': str(order),
               'stage': str(server.stage),
               'server_id': server.id,
               'server_name': server.name,
               'device': volume['device'],
               'boot_index': str(volume['boot_index'])}
        made.append({
            'volume_id': volume['id'],
            'name': metadata.fitting(
                f'{plan.name}_{server.name}_{volume["device"][5:]}'),
            'description': metadata.escape(plan.description),
            'force': True,  # it is in use
            'metadata': {
                **{k: metadata.escape(v) for k, v in plan.properties.items()},
                **metadata.ours(common | own),
                **metadata.pack('servers', _servers(plan, order, server))}})
    return made


def _servers(plan: planning.Plan, order: int,
             server: planning.Server) -> list[Mapping[str, Any]]:
    """Return the manifests that go with a snapshot.

    Those of servers without a snapshot of their own go with the first one.
    """
    with_snapshot = {s.id for s, _volume in plan.snapshots}
    return [s.restore for s in plan.servers if s.id == server.id
            or (order == 0 and s.id not in with_snapshot)]


def unfit(name: str, application: str, description: str,
          properties: Mapping[str, str]) -> Iterator[str]:
    """Yield which texts Cinder would not keep, or we could not tell apart."""
    for key in properties:
        if key.startswith(metadata.PREFIX):
            yield _('Properties that begin with "%s" are reserved.') % (
                metadata.PREFIX)
        elif not metadata.KEY.fullmatch(key):
            yield _('Cinder does not take property "%s": its key may have '
                    'letters of ASCII, digits, spaces and "-_:./", up to 255 '
                    'in all.') % key[:metadata.PIECE]
    texts = {_('The name of the set'): name,
             _('The name of the application'): application,
             _('The description'): description,
             **{_('Property "%s"') % k: v for k, v in properties.items()}}
    for what, text in texts.items():
        if len(metadata.escape(text)) > metadata.PIECE:
            yield _('%(what)s is too long: it may have %(max)d characters, of '
                    'which one outside ASCII counts as 4 to 10, and a '
                    'backslash as 2.') % {'what': what, 'max': metadata.PIECE}


def problems(plan: planning.Plan) -> Iterator[str]:
    """Yield why Cinder would not keep the labels of a set."""
    yield from unfit(
        plan.name, plan.application, plan.description, plan.properties)
    for body in bodies(plan, str(uuid.UUID(int=0))):
        size = metadata.size(body['metadata'])
        if size > metadata.MOST:
            yield _('The record with the snapshot of volume %(volume)s of '
                    'server %(server)s would have %(size)d characters, and '
                    'more than %(max)d could not be restored from a backup: '
                    'its metadata, user data, tags or ports, or the '
                    'properties of the set, are too many.') % {
                        'volume': body['volume_id'],
                        'server': metadata.get(body, 'server_name'),
                        'size': size,
                        'max': metadata.MOST}
