# SPDX-License-Identifier: Apache-2.0

"""Make a table of faults: tools/docs/faults.py [--whole] TABLE JSON...

Each line of the JSON files is what one test has measured, with the number of
its step; a file that does not exist is of tests that were skipped. With
--whole no table is written then: that of the documentation has all of them.
Faults of a quiesce make one table, those of backups and restores another.
"""

import json
import pathlib
import sys
from typing import Any

HEAD = """\
.. Made by "make %s" or "make test-all"; do not edit.

.. list-table::
   :header-rows: 1

"""
QUIESCE = (
    'killed', 'while the', 'hypervisor',
    'all guests thawed, seconds after the kill',
    'longest time a guest was frozen, seconds',
    'longest time past its deadline, seconds',
    'and after what was killed is there again')
RECOVERY = (
    'fault', 'command', 'while', 'the command itself',
    'the same again, seconds', 'begun again')


def of_quiesce(row: dict[str, Any]) -> list[Any]:
    return [row[name] for name in (
        'killed', 'when', 'hypervisor', 'thawed_after_kill',
        'longest_frozen', 'past_deadline', 'late')]


def of_recovery(row: dict[str, Any]) -> list[Any]:
    command = f'``{row["command"]}``'
    if row['is_failback']:
        command += ' (way back)'
    code = row['code']
    ended = 'ended well' if code == 0 else (
        'was ended' if code < 0 else 'failed')
    if row.get('is_helped'):
        ended += ', once cinder-backup was restarted'
    return [row['killed'], command, row['when'], ended, row['seconds'],
            row['again']]


def main(target: str, *given: str) -> int:
    """Write the table, and say how many rows it has."""
    sources = list(given)
    if target == '--whole':
        target, *sources = sources
        missing = [source for source in sources
                   if not pathlib.Path(source).exists()]
        if missing:
            print('No table is written: %s not there, so these tests were '
                  'skipped' % ', '.join(missing), file=sys.stderr)
            return 1
    rows = [json.loads(line) for source in map(pathlib.Path, sources)
            if source.exists() for line in source.read_text().splitlines()]
    if not rows:
        print('No fault was injected; no table is written')
        return 0
    if 'command' in rows[0]:
        # In the order of the phases.
        rows.sort(key=lambda row: row['step'])
        write(target, 'test-recovery', RECOVERY, map(of_recovery, rows))
        print('%d faults injected into backups and restores; the same command '
              'again took %s s at the most' % (
                  len(rows), max(row['seconds'] for row in rows)))
        return 0
    # By what is killed, and then in the order of the steps.
    rows.sort(key=lambda row: (row['hypervisor'], row['killed'], row['step']))
    write(target, 'test-faults', QUIESCE, map(of_quiesce, rows))
    print('%d faults injected; longest time past a deadline: %s s; after what '
          'was killed is there again: %s s' % (
              len(rows), max(row['past_deadline'] for row in rows),
              max(row['late'] for row in rows)))
    return 0


def write(target: str, goal: str, head: tuple[str, ...], rows: Any) -> None:
    """Write a table.

    :param goal: of make, by which it is made
    """
    text = HEAD % goal
    for cells in (head, *rows):
        text += '   * - %s\n' % '\n     - '.join(map(str, cells))
    pathlib.Path(target).write_text(text)


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
