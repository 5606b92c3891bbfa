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

"""What one search for frozen guests costs, among many servers.

It runs in a process of its own, :mod:`benchmarks.rows`, with Nova's settings.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from benchmarks import measure


def cost(
    results: measure.Results, nova_conf: str, servers: int, marked: int
) -> None:
    """Measure the sweep.

    :param nova_conf: path of the settings of a cloud; its database gets more
        servers
    :param servers: how many
    :param marked: how many of these may be frozen
    """
    done = subprocess.run(
        [sys.executable, '-m', 'benchmarks.rows', nova_conf,
         str(servers), str(marked)],
        check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout)
    what = f'sweep, {servers} servers, {marked} marked'
    for look in ('first', 'later', 'later, none marked'):
        results.add(f'{what}: {look} look', 's', found[look]['seconds'])
        results.add(
            f'{what}: {look} look, rows read', 'rows', found[look]['rows'])
    results.add(
        f'{what}: rows read, later, none marked / first', 'ratio',
        [statistics.median(found['later, none marked']['rows'])
         / statistics.median(found['first']['rows'])],
        measure.Target(0.1))
    results.details['sweep'] = found
