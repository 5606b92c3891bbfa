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

"""Tests that cannot hold with every release of OpenStack."""

from collections.abc import Callable
from typing import Any
import unittest

from nova_quiesce import compat


def since(release: str, why: str) -> Callable[[Any], Any]:
    """Skip a test with older releases.

    :param release: the first with which it can hold
    :param why: what the older ones do, in words
    """
    return unittest.skipIf(compat.NOVA < compat.RELEASES[release],
                           'before OpenStack %s, %s' % (release, why))
