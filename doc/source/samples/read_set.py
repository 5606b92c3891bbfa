# SPDX-License-Identifier: Apache-2.0

"""Print the servers that are recorded in snapshots or backups of a set.

Usage: read_set.py FILE [FILE ...]
       read_set.py --set UUID FILE [FILE ...]

Each FILE is what "openstack volume snapshot show -f json", or "openstack
volume backup show -f json", has printed for one of them. With --set, each is a
page of Cinder's list of snapshots or backups, and the program fails if the set
with this UUID is not whole and consistent.
"""

import json
import sys

FORMAT = '2'
PREFIX = 'osc_quiesce:'


def read(path):
    with open(path) as stream:
        return json.load(stream)


def members(page, set_id):
    """Return the snapshots or backups of a set that a list of Cinder has."""
    if 'snapshots' in page:
        found, key = page['snapshots'], 'set_id'
    else:
        found, key = page['backups'], 'backup_set_id'
    found = [each for each in found
             if (each['metadata'] or {}).get(PREFIX + key) == set_id]
    for each in found:
        check_format(each['metadata'])
    return found


def check_format(metadata):
    found = metadata.get(PREFIX + 'format')
    if found != FORMAT:
        sys.exit(f'The format is {found}, and not {FORMAT}.')


def is_consistent(members):
    """Return whether these are all of a set, and consistent."""
    good = {}
    # Of two good backups of one snapshot, the newest counts.
    for member in sorted(members, key=lambda each: each['created_at'],
                         reverse=True):
        metadata, status = member['metadata'], member['status']
        if PREFIX + 'backup_set_id' in metadata:
            key, mark = metadata[PREFIX + 'snapshot_id'], 'sealed'
            is_good = member['object_count'] is not None and (
                status in ('available', 'restoring')
                or (status == 'error'
                    and metadata.get(PREFIX + 'hidden_by')))
        else:
            key, mark = member['id'], 'consistency'
            is_good = status in ('available', 'backing-up')
        if is_good:
            good.setdefault(key, (metadata[PREFIX + 'volumes'],
                                  metadata.get(PREFIX + mark)))
    return set(good.values()) == {(str(len(good)), 'consistent')}


def servers_of(metadata):
    """Return what the metadata of one snapshot or backup tell of servers."""
    check_format(metadata)
    pieces = []
    while piece := metadata.get(f'{PREFIX}servers.{len(pieces)}'):
        pieces.append(piece)
    return json.loads(''.join(pieces) or '[]')


if sys.argv[1] == '--set':
    set_id = sys.argv[2]
    shown = [member for path in sys.argv[3:]
             for member in members(read(path), set_id)]
    if not is_consistent(shown):
        sys.exit(f'Set {set_id} is not whole and consistent.')
else:
    shown = [read(path) for path in sys.argv[1:]]
found = {}
for member in shown:
    for server in servers_of(member.get('properties') or member['metadata']):
        found[server['id']] = server
in_order = sorted(found.values(), key=lambda server: server['order'])
json.dump(in_order, sys.stdout, indent=1)
print()
