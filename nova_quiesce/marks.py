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

"""The mark of a guest that may be frozen.

It lives in ``instance.system_metadata``, where it survives every process.  It
is saved *before* a freeze is sent and dropped only after a confirmed thaw, or
when it is certain that nothing was frozen: a guest without a mark is not
frozen by us.

Who writes it: the API and the sweep together with a change of the server's
state, and the service that carries a request out.  A service has to claim a
request first (:func:`replace`), which only one can, so that a message that is
delivered twice is carried out once.
"""

import dataclasses
import json
from typing import Any

from nova import objects
from nova.db.main import api as main_db

from nova_quiesce import db

#: key in instance.system_metadata
KEY = db.MARK

#: late_until while nova-compute does not answer: nobody can say until when
FOREVER = 9999999999


@dataclasses.dataclass(frozen=True)
class Mark:
    """That a guest may be frozen, and what is to be done about it.

    All times are those of :mod:`nova_quiesce.clock`; 0 stands for never.

    :param request_id: the request that asked for the freeze
    :param asked_at: when it was accepted, or later: a guest that was started
        anew since is not frozen by us
    :param maybe_frozen: an earlier request of ours may have left the guest
        frozen, so that a guest found frozen may be ours to thaw
    :param unquiesce_after: after how many seconds of being frozen the guest
        is thawed without being asked; 0 if never
    :param deadline: when that is
    :param thaw_id: the end of the id of the request that last asked for a
        thaw, see :func:`short_id`
    :param claimed: whether a service has begun to carry out what the server's
        task_state says
    :param late_until: until when a freeze of ours that is still under way may
        reach the guest, as its writer's clock has it. As long as it is set no
        thaw is the last word; what unsets it is not a time of day, but a
        sweep that has seen it for long enough, see
        :mod:`nova_quiesce.watch`
    :param tries: how many thaws in a row have failed
    :param retry_at: when the sweep has to act: with a task_state, when a
        message that no service has got counts as lost; without, when the
        guest is thawed again. The same as late_until if it was thawed, and
        only waits for a freeze that may come late.
    """

    request_id: str = ''
    asked_at: int = 0
    maybe_frozen: bool = False
    unquiesce_after: int = 0
    deadline: int = 0
    thaw_id: str = ''
    claimed: bool = False
    late_until: int = 0
    tries: int = 0
    retry_at: int = 0

    def but(self, **changes: Any) -> 'Mark':
        """Return a mark that differs in this."""
        return dataclasses.replace(self, **changes)


_KINDS = {name: type(value)
          for name, value in dataclasses.asdict(Mark()).items()}

#: What a text says that we cannot read: the guest may be frozen.
UNREADABLE = Mark(maybe_frozen=True)


def short_id(request_id: str) -> str:
    """Return what tells one request from others, and is short."""
    return request_id[-8:]


def as_text(mark: Mark) -> str:
    """Return what is stored: JSON, without what has its default value.

    It fits into the 255 characters of its column.
    """
    told = {field.name: getattr(mark, field.name)
            for field in dataclasses.fields(Mark)
            if getattr(mark, field.name) != field.default}
    return json.dumps({'request_id': mark.request_id, **told},
                      separators=(',', ':'))


def parse(text: str) -> Mark:
    """Return the mark that is stored as this text.

    One that another version has written, and we cannot read, still says that
    the guest may be frozen.
    """
    try:
        told = json.loads(text)
        return Mark(**{
            name: kind(told[name]) for name, kind in _KINDS.items()
            if name in told or name == 'request_id'})
    except (KeyError, TypeError, ValueError):
        return UNREADABLE


def is_understood(text: str) -> bool:
    """Say whether this version can have written a stored text."""
    return as_text(parse(text)) == text


def get(instance: objects.Instance) -> Mark | None:
    """Return the instance's mark, or None if it has none."""
    text = instance.system_metadata.get(KEY)
    return None if text is None else parse(text)


def put(instance: objects.Instance, mark: Mark | None) -> None:
    """Mark the instance, or not, in memory; the caller saves it."""
    others = {key: value for key, value in instance.system_metadata.items()
              if key != KEY}
    if mark is not None:
        others[KEY] = as_text(mark)
    instance.system_metadata = others


def replace(instance: objects.Instance, mark: Mark | None,
            instead_of: Mark | None = None) -> bool:
    """Replace the mark in the database, or drop it, if it is still the same.

    :param instead_of: what it has to be; by default what it was when the
        instance was read or saved
    :returns: whether it was
    """
    before = (as_text(instead_of) if instead_of
              else instance.system_metadata.get(KEY))
    if before is None:
        return False
    after = None if mark is None else as_text(mark)
    if not db.replace_mark(instance._context, instance.uuid, before, after):
        return False
    put(instance, mark)
    return True


def is_same(instance: objects.Instance) -> bool:
    """Say whether the mark in the database is still the instance's.

    This reads much less than all of the instance.
    """
    before = instance.system_metadata.get(KEY)
    found = main_db.instance_system_metadata_get(
        instance._context, instance.uuid)
    return before is not None and found.get(KEY) == before


def save(instance: objects.Instance, mark: Mark | None,
         **expected: Any) -> bool:
    """Save an instance together with its new mark, if the old is still there.

    States alone would not tell a request from a later one that has brought
    the server into the same states. What others have written to its system
    metadata meanwhile is kept.

    :param mark: the new one, None to drop it
    :param expected: what ``instance.save`` is to expect
    :returns: whether the mark was what it was when the instance was read; if
        not, nothing is saved
    :raises nova.exception.InstanceUpdateConflict: the server is in another
        state than expected
    """
    context, before = instance._context, instance.system_metadata.get(KEY)

    def work() -> bool:
        # This comes first: it locks the mark against all who would write it.
        if before is not None and not db.replace_mark(
                context, instance.uuid, before, before):
            return False
        found = main_db.instance_system_metadata_get(context, instance.uuid)
        if found.get(KEY) != before:
            return False
        instance.system_metadata = found
        put(instance, mark)
        instance.save(**expected)
        return True

    return db.in_one_transaction(context, work)
