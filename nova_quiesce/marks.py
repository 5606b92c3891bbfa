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
"""

import dataclasses
import json

from nova import objects
from oslo_utils import timeutils

#: key in instance.system_metadata
KEY = 'quiesce_mark'


@dataclasses.dataclass(frozen=True)
class Mark:
    """That a guest may be frozen.

    :param request_id: the request that asked for the freeze
    :param asked_at: when it was accepted, ISO 8601, UTC
    :param maybe_frozen: an earlier request of ours may have left the guest
        frozen, so that a guest found frozen may be ours to thaw
    """

    request_id: str
    asked_at: str
    maybe_frozen: bool = False


def put(instance: objects.Instance, request_id: str) -> None:
    """Mark the instance (in memory; the caller saves it)."""
    mark = Mark(request_id=request_id,
                asked_at=timeutils.utcnow().isoformat(timespec='seconds'),
                maybe_frozen=KEY in instance.system_metadata)
    instance.system_metadata = {
        **instance.system_metadata,
        KEY: json.dumps(dataclasses.asdict(mark))}


def get(instance: objects.Instance) -> Mark | None:
    """Return the instance's mark, or None if it has none.

    One that another version has written, and we cannot read in full, still
    says that the guest may be frozen.
    """
    text = instance.system_metadata.get(KEY)
    if text is None:
        return None
    try:
        told = json.loads(text)
        return Mark(request_id=str(told['request_id']),
                    asked_at=str(told['asked_at']),
                    maybe_frozen=bool(told.get('maybe_frozen', True)))
    except (AttributeError, KeyError, TypeError, ValueError):
        return Mark(request_id='', asked_at='', maybe_frozen=True)


def drop(instance: objects.Instance) -> None:
    """Take the mark away (in memory; the caller saves it)."""
    instance.system_metadata = {
        key: value for key, value in instance.system_metadata.items()
        if key != KEY}
