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

"""Make the documentation's table of faults: tools/faults.py JSON FILE."""

import json
import os
import pathlib
import sys

HEAD = """\
.. Made by "make test-faults"; do not edit.

.. list-table::
   :header-rows: 1

   * - killed
     - while the
     - all guests thawed, seconds after the kill
     - longest time a guest was frozen, seconds
     - longest time past its deadline, seconds
"""


def main(source: str, target: str) -> int:
    """Write the table."""
    if not os.path.exists(source):
        print('The tests were skipped; the table stays as it is')
        return 0
    rows = [json.loads(line)
            for line in pathlib.Path(source).read_text().splitlines()]
    if not rows:
        print('no faults were injected', file=sys.stderr)
        return 1
    text = HEAD
    for row in rows:
        text += ''.join('   %s - %s\n' % (mark, cell) for mark, cell in zip(
            '*    ', (row['killed'], row['when'],
                      # Negative: thawed before anything was killed.
                      max(row['thawed_after_kill'], 0),
                      row['longest_frozen'], max(row['past_deadline'], 0)),
            strict=True))
    pathlib.Path(target).write_text(text)
    print('%d faults; longest time past a deadline: %s s' % (
        len(rows), max(max(row['past_deadline'], 0) for row in rows)))
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
