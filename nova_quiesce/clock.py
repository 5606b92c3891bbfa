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

"""The one clock of the server half, and how its times are written.

Times are whole seconds since 1970, UTC: they are compared by several services
on several hosts, whose clocks must agree to a second or two.
"""

import datetime
import math

from oslo_utils import timeutils


def now() -> int:
    """Return the time; tests can move it with oslo_utils' TimeFixture."""
    return int(timeutils.utcnow_ts())


def after(seconds: int) -> int:
    """Return the first time by which so many seconds have passed."""
    return math.ceil(timeutils.utcnow_ts(microsecond=True)) + seconds


def text(when: int) -> str:
    """Return a time in ISO 8601, such as ``2026-11-23T03:45:00Z``."""
    return as_datetime(when).isoformat() + 'Z'


def as_datetime(when: int) -> datetime.datetime:
    """Return a time as Nova's database has it: UTC, without a time zone."""
    return datetime.datetime.fromtimestamp(
        when, datetime.UTC).replace(tzinfo=None)


def from_datetime(when: datetime.datetime) -> int:
    """Return a time of Nova's database."""
    return int(when.replace(tzinfo=datetime.UTC).timestamp())
