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

"""For how long this service has known that a freeze may come late.

A freeze that nova-compute has not answered may still wait on the message bus,
for as long as the broker keeps it.  Our marks say until when, as a time of
day; but clocks are set, now and then by hours, and no broker cares.  So each
service measures on its own, by a clock that nobody sets, how long ago it first
saw that a freeze may come late.  It remembers nothing of its predecessor: one
that was just started begins to measure anew.
"""

import time
from collections.abc import Iterable

from nova_quiesce import db
from nova_quiesce import marks

#: which freeze may come late: its request, and what the mark says
_Late = tuple[str, int]


class Watch:
    """Remembers since when it has seen that something is under way.

    One for each cell: of servers that it does not see any more it forgets all.
    """

    def __init__(self) -> None:
        self._since: dict[str, tuple[_Late, float]] = {}

    def note(self, servers: Iterable[db.WatchedServer]) -> None:
        """Note to which servers something is under way.

        :param servers: all that may be frozen, as they were just read
        """
        now, found = time.monotonic(), {}
        for server in servers:
            mark = marks.parse(server.mark) if server.mark else marks.Mark()
            if mark.late_until:
                late = _late(mark)
                known, since = self._since.get(server.uuid, (None, now))
                found[server.uuid] = late, since if known == late else now
        self._since = found

    def seconds(self, uuid: str, mark: marks.Mark) -> float:
        """Return for how long that which a server's mark says was seen."""
        late, since = self._since.get(uuid, (None, 0.0))
        return time.monotonic() - since if late == _late(mark) else 0.0


def _late(mark: marks.Mark) -> _Late:
    return mark.request_id, mark.late_until
