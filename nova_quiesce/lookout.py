# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Which servers may be frozen, without reading all servers again and again.

Nova's database has no index that leads to them.  But whoever marks a server
also saves it, and its time of change has an index; and those that were found
once are known.  So a look reads those that were saved lately, those that are
known, and the next few of all servers, in turn: these in case a clock was
wrong, or a mark came some other way.  Only the first looks of a service read
all servers, since it knows none.

A deleted server has lost its mark, but perhaps not come to the end of its
request.  Such servers are found in the same way.
"""

import dataclasses
import time

from nova import context as nova_context
from sqlalchemy import sql

from nova_quiesce import cells
from nova_quiesce import clock
from nova_quiesce import db
from nova_quiesce import states

#: how many servers of all are read by a look, in turn
SLICE = 500
#: seconds by which clocks may differ, or a transaction may take
OVERLAP = 60


@dataclasses.dataclass(frozen=True)
class Sight:
    """What a look has found in a cell.

    :param servers: those that may be frozen
    :param deleted: UUIDs of deleted servers with requests without an end
    """

    servers: list[db.WatchedServer]
    deleted: frozenset[str]


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What is known of a cell after a look.

    :param uuids: the servers that were found
    :param looked_at: when the look began
    :param number: of the row that the next look begins with
    :param complete: whether all servers have been read once
    """

    uuids: frozenset[str] = frozenset()
    looked_at: int = 0
    number: int = 1
    complete: bool = False


class Lookout:
    """Finds servers that may be frozen, and remembers where to look."""

    def __init__(self) -> None:
        self._seen: dict[str | None, _Seen] = {}

    def look(self, context: nova_context.RequestContext) -> Sight:
        """Return what is to be seen in the context's cell.

        What needs something done: the rest comes when it is its turn.
        """
        started, begun = clock.now(), time.monotonic()
        seen = self._seen.get(context.cell_uuid, _Seen())
        found: dict[str, db.WatchedServer] = {}
        deleted: set[str] = set()

        def read(condition: sql.ColumnElement[bool]) -> None:
            for server in db.watched_servers(
                    context, (states.QUIESCED,),
                    (states.QUIESCING, states.UNQUIESCING), condition):
                found[server.uuid] = server
            # Not by a join: it is up to the database where that begins. And
            # not of all at once: there may be many.
            uuids = db.deleted_servers(context, condition)
            for first in range(0, len(uuids), SLICE):
                deleted.update(
                    request.instance_uuid for request in db.open_requests(
                        context, uuids[first:first + SLICE],
                        states.ACTION_NAMES))

        number, complete = seen.number, seen.complete
        while True:
            last = db.last_number(context, number, SLICE)
            read(db.numbered(number, last))
            if last is None:
                number, complete = 1, True
            else:
                number = last + 1
            # A first look goes on, but not until the cell counts as down.
            if complete or time.monotonic() > begun + cells.PATIENCE / 2:
                break
        # These last: what they say is the latest.
        if seen.looked_at:
            read(db.updated_since(
                clock.as_datetime(seen.looked_at - OVERLAP)))
        if left := seen.uuids - found.keys():
            read(db.named(left))
        self._seen[context.cell_uuid] = _Seen(
            frozenset(found.keys() | deleted), started, number, complete)
        return Sight(list(found.values()), frozenset(deleted))
