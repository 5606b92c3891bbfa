# SPDX-License-Identifier: Apache-2.0

"""What a command backs up and how, and every reason why it cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from osc_quiesce.application import metadata
from osc_quiesce.i18n import _
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import chains


@dataclasses.dataclass(frozen=True)
class Wish:
    """What is asked for.

    :param name: of the backup set; that of the snapshot set if empty
    :param full_every: how many backups a chain has at most; 1: all are full
    :param container: where Cinder's driver stores the data; None: its own
        choice
    """

    name: str = ''
    full_every: int = chains.FULL_EVERY
    container: str | None = None


@dataclasses.dataclass(frozen=True)
class Item:
    """One volume of the set.

    :param metadata: of the snapshot, or of a backup that is there
    :param snapshot_id: None if the backup is there and the snapshot is not
    :param size: GiB that the volume has now
    :param choice: how it is backed up
    :param found: the backup that there is of an earlier run, if any
    """

    volume_id: str
    snapshot_id: str | None
    size: int
    metadata: Mapping[str, str]
    choice: chains.Choice
    found: dict[str, Any] | None = None

    @property
    def server(self) -> str:
        return self._get('server_name')

    @property
    def device(self) -> str:
        return self._get('device')

    @property
    def label(self) -> str:
        """What messages call it."""
        return _('%(id)s (%(device)s of server %(server)s)') % {
            'id': self.volume_id, 'device': self.device, 'server': self.server}

    @property
    def is_there(self) -> bool:
        return self.found is not None and backup_sets.is_there(self.found)

    @property
    def is_running(self) -> bool:
        return self.found is not None and self.found['status'] == 'creating'

    def _get(self, key: str) -> str:
        return metadata.get({'metadata': self.metadata}, key)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a command backs up.

    :param id: of the backup set
    :param items: in the order of the snapshots
    :param problems: every reason why it cannot be done; empty if it can
    :param servers: what is recorded of them
    :param site: name of the other one, which will know the backups
    """

    id: str
    name: str
    application: str
    owner: str
    snapshot_set: str
    snapshot_set_id: str
    items: tuple[Item, ...]
    servers: Sequence[Mapping[str, Any]]
    problems: tuple[str, ...] = ()
    container: str | None = None
    site: str = ''

    @property
    def size(self) -> int:
        """GiB of all volumes."""
        return sum(item.size for item in self.items)

    def body(self, item: Item) -> dict[str, Any]:
        """Return the request that backs up a volume."""
        body: dict[str, Any] = {
            'volume_id': item.volume_id,
            'snapshot_id': item.snapshot_id,
            'name': self._backup_name(item),
            'incremental': item.choice.mode == chains.INCREMENTAL,
            'metadata': {
                **{key: _ascii(text) for key, text in item.metadata.items()},
                **metadata.ours(self._own_keys(item))}}
        if self.container is not None:
            body['container'] = self.container
        return body

    def _own_keys(self, item: Item) -> dict[str, str]:
        known_at = {backup_sets.KNOWN_AT: self.site} if self.site else {}
        return {backup_sets.NAME: self.name,
                backup_sets.ID: self.id,
                backup_sets.SNAPSHOT: item.snapshot_id or '',
                backup_sets.SOURCE_VOLUME: item.volume_id,
                backup_sets.SEALED: '',
                backup_sets.OWNER: self.owner,
                **known_at}

    def _backup_name(self, item: Item) -> str:
        """Return a name that tells an operator without our commands enough.

        Set, order and device must be in it, whatever is too long.
        """
        order = metadata.get({'metadata': item.metadata}, 'order')
        return '_'.join(
            metadata.fitting(text, most) for text, most in (
                (self.name, 100), (order, 10), (item.server, 120),
                (item.device[5:], 20)))


def _ascii(text: str) -> str:
    """Return what a user has written on a snapshot, as Cinder takes it.

    What we have written there is ASCII already.
    """
    return text if text.isascii() else metadata.fitting(text)
