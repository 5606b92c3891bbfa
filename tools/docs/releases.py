# SPDX-License-Identifier: Apache-2.0

"""Put the table of releases into a page, from what their tests gave.

Usage: tools/docs/releases.py PAGE RESULT [RESULT ...]

A result is what tools/summary.py wrote; its name is that of the tests. Each
release of constraints/ has a line for each Python, which is "not run" if there
is no result. The day and the commit are those of the newest result and of now.
"""

import datetime
import json
import pathlib
import re
import subprocess
import sys
from typing import Any

CONSTRAINTS = pathlib.Path(__file__).resolve().parents[2] / 'constraints'
PYTHONS = ('3.11', '3.12', '3.13')
#: the packages that are shown
PACKAGES = ('nova', 'python-openstackclient', 'python-novaclient')
LEVELS = ('unit', 'functional')
#: what stands before and after the table
BEGIN, END = '.. releases: begin\n', '.. releases: end\n'


def versions(path: pathlib.Path) -> dict[str, str]:
    """Return the versions of the packages in a file of constraints."""
    found = dict(re.findall(r'^(\S+)==(\S+)$', path.read_text(),
                            re.MULTILINE))
    return {name: found[name] for name in PACKAGES}


def cell(result: dict[str, Any] | None) -> str:
    """Return what some tests gave, in words."""
    if result is None:
        return 'not run'
    return ', '.join('%d %s' % (result[kind], kind)
                     for kind in ('passed', 'failed', 'skipped')
                     if result[kind])


def table(rows: list[list[str]]) -> str:
    """Return rows, of which the first is the head, as a simple table."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    rule = '  '.join('=' * width for width in widths)
    lines = ['  '.join(text.ljust(width) for text, width in zip(
        row, widths)).rstrip() for row in rows]
    return '\n'.join([rule, lines[0], rule, *lines[1:], rule, ''])


def moment(paths: list[pathlib.Path]) -> str:
    """Return a sentence with the day of the newest result and the commit."""
    newest = max((path.stat().st_mtime for path in paths), default=0)
    commit = subprocess.run(
        ['git', 'describe', '--always', '--dirty'], cwd=CONSTRAINTS,
        capture_output=True, text=True).stdout.strip()
    return 'Run on %s, with commit %s.\n\n' % (
        datetime.date.fromtimestamp(newest), commit or 'unknown')


def main(page: pathlib.Path, paths: list[pathlib.Path]) -> int:
    """Write the table, and return 0 if no test failed."""
    found = {}
    failed = 0
    paths = [path for path in paths if path.exists()]
    for path in paths:
        result = json.loads(path.read_text())
        found[(*result['versions'].values(), result['python'],
               path.stem)] = result
        failed += result['failed']
    rows = [['OpenStack', 'Python', 'nova', 'openstackclient', 'novaclient',
             *('%s tests' % level for level in LEVELS)]]
    for constraints in sorted(CONSTRAINTS.glob('*.txt')):
        packages = versions(constraints).values()
        rows += [[constraints.stem, python, *packages, *(
            cell(found.pop((*packages, python, level), None))
            for level in LEVELS)] for python in PYTHONS]
    assert not found, 'of no release: %s' % list(found)
    text = page.read_text()
    pattern = re.compile('(?<=%s\n).*?(?=\n%s)' % (
        re.escape(BEGIN), re.escape(END)), re.DOTALL)
    assert pattern.search(text), '%s has no place for it' % page
    page.write_text(pattern.sub(
        lambda _found: moment(paths) + table(rows), text))
    print(table(rows))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(pathlib.Path(sys.argv[1]),
                  [pathlib.Path(name) for name in sys.argv[2:]]))
