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

"""Stand-ins that the unit tests of the server half share."""

from typing import Any

from nova import context
from nova import exception

from nova_quiesce import marks

UUID = '0fb4a6c2-6d5d-4d67-9d2c-f2d0ef53a1c4'


def get_context(is_admin: bool = True) -> context.RequestContext:
    return context.RequestContext(
        'user', 'project', request_id='req-our-own', is_admin=is_admin)


class Instance:
    """An instance that remembers what was saved, as the database would."""

    def __init__(self, **columns: Any) -> None:
        self.uuid = UUID
        self.project_id = 'project'
        self._context = get_context()
        self.host = 'cmp1'
        self.launched_at = 'once'
        self.locked = False
        self.vm_state = columns.pop('vm_state', 'active')
        self.task_state = columns.pop('task_state', None)
        self.system_metadata = columns.pop('system_metadata', {})
        assert not columns, columns
        self.database = self._row()

    def _row(self) -> dict[str, Any]:
        return {'vm_state': self.vm_state, 'task_state': self.task_state,
                'system_metadata': dict(self.system_metadata)}

    def save(self, expected_vm_state: Any = None,
             expected_task_state: Any = None) -> None:
        for column, expected, error in (
                ('task_state', expected_task_state,
                 exception.UnexpectedTaskStateError),
                ('vm_state', expected_vm_state,
                 exception.InstanceUpdateConflict)):
            if expected and self.database[column] not in expected:
                raise error(instance_uuid=self.uuid,
                            expected={column: expected},
                            actual={column: self.database[column]})
        self.database = self._row()

    def refresh(self) -> None:
        for column, value in self.database.items():
            setattr(self, column, value)

    def replace_mark(self, context: Any, uuid: str, before: str,
                     after: str | None) -> bool:
        """Do what nova_quiesce.db.replace_mark does."""
        stored = self.database['system_metadata']
        if stored.get(marks.KEY) != before:
            return False
        stored.pop(marks.KEY)
        if after is not None:
            stored[marks.KEY] = after
        return True

    @property
    def mark(self) -> marks.Mark | None:
        """The mark in the database."""
        text = self.database['system_metadata'].get(marks.KEY)
        return None if text is None else marks.parse(text)

    def mark_as(self, **fields: Any) -> 'Instance':
        """Store a mark, and return the instance."""
        marks.put(self, marks.Mark(**fields))
        self.database = self._row()
        return self
