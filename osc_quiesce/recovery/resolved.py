# SPDX-License-Identifier: Apache-2.0

"""Servers and volumes as a restore makes them at its site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Final

from osc_quiesce.application import metadata
from osc_quiesce.i18n import _
from osc_quiesce import model

#: keys of the image metadata of a volume with the ID of another image, from
#: which Nova takes the kernel or the RAM disk of a server that boots from it
IMAGE_KEYS: Final = ('kernel_id', 'ramdisk_id')


@dataclasses.dataclass(frozen=True)
class Row:
    """One thing, as it was and as it will be.

    :param stage: number of the stage, from 0
    :param server: its name and ID at the source
    :param what: such as "flavor"
    :param source: what it was
    :param here: what it will be; empty if that is refused
    :param refused: why it cannot be, as a part of a sentence; empty if it can
    """

    stage: int
    server: str
    what: str
    source: str
    here: str
    refused: str = ''

    @property
    def refusal(self) -> str:
        """Why it cannot be, as a sentence."""
        return _('Server %(server)s, %(what)s %(source)s: %(why)s.') % {
            'server': self.server,
            'what': self.what,
            'source': self.source,
            'why': self.refused.rstrip('.')}


@dataclasses.dataclass(frozen=True)
class Volume:
    """A volume of the application.

    :param id: of the source volume
    :param server: name of the first server that has it
    :param size: GiB
    :param type: ID of the volume type here; None if it could not be resolved
    :param zone: availability zone here; None if Cinder is to choose
    :param manifest: what is recorded of it
    :param image_metadata: what it is to have here; None if that is not known
    """

    id: str
    application: str
    server: str
    device: str
    size: int
    type: str | None
    zone: str | None
    manifest: Mapping[str, Any]
    image_metadata: Mapping[str, str] | None = None

    @property
    def name(self) -> str:
        """What a volume that is made for it is called."""
        name = f'{self.application}_{self.server}_{self.device[5:]}'
        # Cinder gives another name to a volume without one, or with this
        # prefix, when it restores into it; and some of its releases damage
        # their row by characters beyond the BMP.
        return metadata.fitting(name)

    @property
    def label(self) -> str:
        """What messages call it."""
        return label(self.id, self.device, self.server)


@dataclasses.dataclass(frozen=True)
class Port:
    """A port to make.

    :param id: of the port at the source
    :param body: of the request that makes it
    :param tag: of the device in the guest, if it has one
    """

    id: str
    body: Mapping[str, Any]
    tag: str | None = None


@dataclasses.dataclass(frozen=True)
class Server:
    """A server to make.

    :param manifest: what is recorded of it
    :param group: ID of its server group here
    :param volumes: recorded volumes in the order of their devices, without
        those that were left out
    :param user_data: in base64
    """

    manifest: Mapping[str, Any]
    flavor: str | None
    image: str | None
    zone: str | None
    keypair: str | None
    group: str | None
    hostname: str | None
    user_data: str | None
    ports: Sequence[Port]
    volumes: Sequence[Mapping[str, Any]]

    @property
    def id(self) -> str:
        return str(self.manifest['id'])

    @property
    def name(self) -> str:
        return str(self.manifest['name'])

    @property
    def stage(self) -> int:
        return int(self.manifest['stage'])

    @property
    def label(self) -> str:
        return model.label(self.id, self.name)


@dataclasses.dataclass(frozen=True)
class Resolution:
    """What a mapping makes of servers at a site.

    :param servers: in the order in which they were frozen
    :param volumes: each once, by the ID of the source volume
    """

    servers: Sequence[Server]
    volumes: Mapping[str, Volume]
    rows: Sequence[Row]

    @property
    def refusals(self) -> list[str]:
        """Every reason why it cannot be, a sentence each."""
        return [row.refusal for row in self.rows if row.refused]


def label(volume_id: str, device: str, server: str) -> str:
    """Return what messages call a volume of a server."""
    return _('%(id)s (%(device)s of server %(server)s)') % {
        'id': volume_id, 'device': device, 'server': server}


def in_order(volumes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return volumes in the order of their devices: vdz before vdaa."""
    return sorted(
        volumes, key=lambda v: (len(v['device'] or ''), v['device'] or ''))
