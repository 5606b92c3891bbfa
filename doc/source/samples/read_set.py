# SPDX-License-Identifier: Apache-2.0

"""Print the servers that are recorded in snapshots or backups of a set.

Usage: read_set.py FILE [FILE ...]

Each FILE is what "openstack volume snapshot show -f json", or "openstack
volume backup show -f json", has printed for one of them.
"""

import json
import sys

FORMAT = '2'


def servers_of(metadata):
    """Return what the metadata of one snapshot or backup tell of servers."""
    found = metadata.get('osc_quiesce:format')
    if found != FORMAT:
        sys.exit(f'The format is {found}, and not {FORMAT}.')
    pieces = []
    while piece := metadata.get(f'osc_quiesce:servers.{len(pieces)}'):
        pieces.append(piece)
    return json.loads(''.join(pieces) or '[]')


found = {}
for path in sys.argv[1:]:
    with open(path) as stream:
        shown = json.load(stream)
    for server in servers_of(shown.get('properties') or shown['metadata']):
        found[server['id']] = server
in_order = sorted(found.values(), key=lambda server: server['order'])
json.dump(in_order, sys.stdout, indent=1)
print()
