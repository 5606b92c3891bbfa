# SPDX-License-Identifier: Apache-2.0

"""The cost of one sweep, and of one search for due rows, among many servers.

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
    what = f'sweep, {servers} servers'
    targets = {'none frozen': measure.Target(5),
               'frozen': measure.Target(3 * frozen)}
    for look, of_look in found.items():
        state = f'{frozen} {look}' if look.startswith('frozen') else look
        results.add(f'{what}: {state}', 's', of_look['seconds'])
        results.add(f'{what}: {state}, rows read', 'rows', of_look['rows'],
                    targets.get(look))
    results.details['sweep'] = found
