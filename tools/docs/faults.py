# SPDX-License-Identifier: Apache-2.0

"""Make a table of faults: tools/docs/faults.py [--whole] TABLE JSON...

Each line of the JSON files is what one test has measured, with the number of
its step; a file that does not exist is of tests that were skipped. With
--whole no table is written then: that of the documentation has all of them.
"""

import json
import pathlib
import sys

HEAD = """\
.. Made by "make test-faults" or "make test-all"; do not edit.

.. list-table::
   :header-rows: 1

   * - killed
     - while the
     - hypervisor
     - all guests thawed, seconds after the kill
     - longest time a guest was frozen, seconds
     - longest time past its deadline, seconds
     - and after what was killed is there again
"""


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
    # By what is killed, and then in the order of the steps.
    rows.sort(key=lambda row: (row['hypervisor'], row['killed'], row['step']))
    text = HEAD
    for row in rows:
        cells = [row[name] for name in (
            'killed', 'when', 'hypervisor', 'thawed_after_kill',
            'longest_frozen', 'past_deadline', 'late')]
        text += '   * - %s\n' % '\n     - '.join(map(str, cells))
    pathlib.Path(target).write_text(text)
    print('%d faults injected; longest time past a deadline: %s s; after what '
          'was killed is there again: %s s' % (
              len(rows), max(row['past_deadline'] for row in rows),
              max(row['late'] for row in rows)))
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
