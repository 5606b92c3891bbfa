# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Freeze and thaw the file systems of servers, one or many, through Nova.

This package is the client half: what an operator or a script installs. It
imports neither Nova nor the server half, and does no work when imported.
"""

from __future__ import annotations


def __getattr__(name: str) -> str:
    # Reading a distribution's metadata costs file accesses that every
    # ``openstack`` command would pay for, so only who asks pays.
    if name != '__version__':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib import metadata

    return metadata.version('osc-quiesce')
