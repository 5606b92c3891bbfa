# SPDX-License-Identifier: Apache-2.0

"""Say in one plain line how many tests the last run of stestr had.

Usage: tools/summary.py [FILE]

The file, of JSON, is given that too, and what the tests were run with.

Fails if any test failed, if there was none, or if one was skipped where CI is
set.
"""

import importlib.metadata
import json
import os
import pathlib
import re
import subprocess
import sys

#: What the tests of this environment have said that failed; it may have
#: several runs.
FAILURES = pathlib.Path(sys.prefix, 'failures.txt')
#: the packages of which a release of OpenStack has its own
PACKAGES = ('nova', 'python-openstackclient', 'python-novaclient')


def main(path: str | None = None) -> int:
    """Print the line, write the file, and return the exit code."""
    # Environments that run at the same time keep their results apart.
    shown = subprocess.run(['stestr', '--repo-url', sys.prefix, 'last',
                            '--suppress-attachments'],
                           capture_output=True, text=True).stdout
    count = {word: int(number) for word, number in re.findall(
        r'^ - ([A-Z][A-Za-z ]+): (\d+)$', shown, re.MULTILINE)}
    passed = count.get('Passed', 0) + count.get('Expected Fail', 0)
    failed = count.get('Failed', 0) + count.get('Unexpected Success', 0)
    skipped = count.get('Skipped', 0)
    print('%d passed, %d failed, %d skipped' % (passed, failed, skipped))
    if failed:
        with FAILURES.open('a', encoding='utf-8') as file:
            file.write(shown.partition('output below:')[2].partition(
                'Totals')[0])
    if path:
        pathlib.Path(path).write_text(json.dumps({
            'python': '%d.%d' % sys.version_info[:2],
            'versions': {name: importlib.metadata.version(name)
                         for name in PACKAGES},
            'passed': passed, 'failed': failed, 'skipped': skipped}))
    if skipped and os.environ.get('CI'):
        print('Nothing may be skipped in CI', file=sys.stderr)
        return 1
    return 0 if passed + skipped and not failed else 1


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
