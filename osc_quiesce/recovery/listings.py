# SPDX-License-Identifier: Apache-2.0

"""Listings by status: one request tells all that wait whether to go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import math
import threading
from typing import Any, Final
from urllib import parse

from osc_quiesce.application import cloud as cloud_api

VOLUMES: Final = 'volumes'
BACKUPS: Final = 'backups'
SERVERS: Final = 'servers'
#: the service, as openstacksdk calls it, and the microversion
_LISTED_BY: Final = {
    VOLUMES: ('block_storage', '3.0'),
    BACKUPS: ('block_storage', cloud_api.BACKUP_MICROVERSION),
    SERVERS: ('compute', None)}


class Listings:
    """Listings by status, each of which serves all that are waited for.

    :param clock: returns seconds
    """

    def __init__(self, cloud: cloud_api.Cloud,
                 clock: Callable[[], float]) -> None:
        self._cloud = cloud
        self._clock = clock
        self._lock = threading.Lock()
        self._found: dict[str, tuple[float, frozenset[str]]] = {}

    def has(self, kind: str, row: Mapping[str, Any],
            age: float) -> bool | None:
        """Return whether something was listed with the status that it had.

        :param kind: what is listed
        :param row: what was read of it before
        :param age: how old the listing may be, in seconds
        :returns: None if there is no listing
        """
        service, microversion = _LISTED_BY[kind]
        path = f'/{kind}/detail?{parse.urlencode({"status": row["status"]})}'
        with self._lock:
            at, ids = self._found.get(path, (-math.inf, frozenset()))
            if at < self._clock() - age:
                at = self._clock()
                try:
                    rows = list(self._cloud.pages(
                        service, path, kind, microversion))
                except cloud_api.CloudError:
                    return None  # a look at it tells more
                # Cinder may ignore a filter that a site does not allow.
                ids = frozenset(each['id'] for each in rows
                                if each['status'] == row['status'])
                self._found[path] = at, ids
        return row['id'] in ids
