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
import subprocess
import sys

from benchmarks import measure


def cost(
    results: measure.Results, nova_conf: str, servers: int, frozen: int
) -> None:
    """Measure the sweep.

    :param nova_conf: path of the settings of a cloud; its database gets more
        servers
    :param servers: how many
    :param frozen: how many of these are frozen
    """
    done = subprocess.run(
        [sys.executable, '-m', 'benchmarks.rows', nova_conf,
         str(servers), str(frozen)],
        check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout)
    what = f'sweep, {servers} servers, {frozen} frozen'
    targets = {'none frozen': measure.Target(5),
               'frozen': measure.Target(3 * frozen)}
    for look, of_look in found.items():
        results.add(f'{what}: {look}', 's', of_look['seconds'])
        results.add(f'{what}: {look}, rows read', 'rows', of_look['rows'],
                    targets.get(look))
    results.details['sweep'] = found
