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
from importlib import metadata
from typing import Any
import unittest

#: Nova's major versions
NOVA = {'2025.1': 31, '2025.2': 32, '2026.1': 33, '2026.2': 34}


def since(release: str, why: str) -> Callable[[Any], Any]:
    """Skip a test with older releases.

    :param release: the first with which it can hold
    :param why: what the older ones do, in words
    """
    installed = int(metadata.version('nova').partition('.')[0])
    return unittest.skipIf(installed < NOVA[release],
                           'before OpenStack %s, %s' % (release, why))
