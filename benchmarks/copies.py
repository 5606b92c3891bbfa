# SPDX-License-Identifier: Apache-2.0

"""Many servers in little time: copies of one that Nova has made.

``python -m benchmarks.copies NOVA_CONF SERVER COUNT`` copies what Nova's
databases have of a server, and prints the ids of the copies. To boot a
thousand would take longer than to measure them: nova-compute asks Placement
for every other server of its host with each boot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import sys
from typing import Any
import uuid

from nova import config
from nova.db.api import api as api_database
from nova.db.api import models as api_models
from nova.db.main import api as main_database
from nova.db.main import models
import sqlalchemy as sa

#: tables that have one row of a server or several, and the column of its id
TABLES = (
    (main_database, models.Instance, 'uuid'),
    (main_database, models.InstanceExtra, 'instance_uuid'),
    (main_database, models.InstanceInfoCache, 'instance_uuid'),
    (main_database, models.InstanceSystemMetadata, 'instance_uuid'),
    (main_database, models.BlockDeviceMapping, 'instance_uuid'),
    (api_database, api_models.InstanceMapping, 'instance_uuid'),
)
#: what must be different in each row: how to make it
UNIQUE: dict[tuple[type[Any], str], Callable[[], str]] = {
    (models.BlockDeviceMapping, 'uuid'): lambda: str(uuid.uuid4()),
}


def copy(server: str, count: int) -> Sequence[str]:
    """Copy a server, and return the ids of the copies."""
    copies = [str(uuid.uuid4()) for _number in range(count)]
    for database, model, column in TABLES:
        table = model.__table__
        with database.get_engine().begin() as connection:
            rows = connection.execute(
                sa.select(table).where(table.c[column] == server)).mappings()
            new = []
            for row in rows.all():
                kept = {key: row[key] for key in row if key != 'id'}
                unique = [key for key in row if (model, key) in UNIQUE]
                new += [
                    {**kept, **{key: UNIQUE[model, key]() for key in unique},
                     column: each}
                    for each in copies
                ]
            if new:
                connection.execute(sa.insert(table), new)
    return copies


if __name__ == '__main__':
    config.parse_args(['benchmark', '--config-file', sys.argv[1]])
    print(*copy(sys.argv[2], int(sys.argv[3])), sep='\n')
