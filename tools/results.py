# SPDX-License-Identifier: Apache-2.0

"""Results of tests that were run by stestr: read, counted, compared.

Two runs of the same tests, on a Nova as it is and on one with the quiesce
actions, are to have the same results.
"""

from collections.abc import Iterable
import io
import json
import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import subunit
import testtools

PASSED = 'success'
SKIPPED = 'skip'
#: of a test that a run has no result of
NONE = 'not run'

Results = dict[str, str]


def last(directory: pathlib.Path) -> Results:
    """Return the results of the last run in a directory, by test.

    :param directory: where ``.stestr`` is
    """
    # Without what tempest adds: "name[id-...,smoke]".
    return {re.sub(r'\[[^\]]*\]$', '', test['id']): test['status']
            for test in _last(directory)}


def reasons(directory: pathlib.Path) -> set[str]:
    """Return why tests of the last run in a directory were skipped."""
    return {test['details']['reason'].as_text() for test in _last(directory)
            if test['status'] == SKIPPED}


def _last(directory: pathlib.Path) -> list[dict[str, Any]]:
    stream = subprocess.run(
        ['stestr', '--repo-url', str(directory), 'last', '--subunit'],
        cwd=directory, capture_output=True).stdout
    tests: list[dict[str, Any]] = []
    collector = testtools.StreamToDict(tests.append)
    collector.startTestRun()
    subunit.ByteStreamToStreamResult(io.BytesIO(stream)).run(collector)
    collector.stopTestRun()
    return tests


def counted(results: Results) -> str:
    """Return how many passed, failed and were skipped, in words."""
    values = list(results.values())
    passed, skipped = values.count(PASSED), values.count(SKIPPED)
    return '%d passed, %d failed, %d skipped' % (
        passed, len(values) - passed - skipped, skipped)


def summary(results: Results) -> int:
    """Say how a run ended.

    :returns: 1 if a test failed, if there was none, or if one was skipped
        where CI is set; else 0
    """
    print(counted(results), flush=True)
    if SKIPPED in results.values() and os.environ.get('CI'):
        print('Nothing may be skipped in CI', file=sys.stderr)
        return 1
    return 0 if results and set(results.values()) <= {PASSED, SKIPPED} else 1


def save(path: pathlib.Path, results: Results) -> None:
    """Keep results for :func:`load`."""
    path.write_text(json.dumps(results, indent=1, sort_keys=True))


def listed(path: pathlib.Path) -> list[str]:
    """Return the tests that a file lists; ``#`` begins a remark."""
    lines = (line.partition('#')[0].strip()
             for line in path.read_text().splitlines())
    return [line for line in lines if line]


def load(path: pathlib.Path) -> Results:
    """Return results that were kept."""
    results: Results = json.loads(path.read_text())
    return results


def include(path: pathlib.Path, names: Iterable[str],
            end: str) -> pathlib.Path:
    """Write a list of tests for stestr, and return where it is.

    :param end: regular expression for what follows the name of a test
    """
    path.write_text(''.join(
        '^%s%s\n' % (re.escape(name), end) for name in names))
    return path


def _bare(name: str) -> str:
    """Return the name under which a test is listed, without a scenario."""
    return name.partition('(')[0]


def compare(names: Iterable[str], before: Results, after: Results) -> int:
    """Compare the results of two runs, and say what differs.

    :param names: the tests that were to be run
    :param before: results on a Nova as it is
    :param after: results on a Nova with the quiesce actions
    :returns: 0 if all of them pass without and with; else 1: what fails
        without as well shows nothing, and is not to be listed
    """
    wanted = set(names)
    found = {name for name in (*before, *after) if _bare(name) in wanted}
    missing = wanted - {_bare(name) for name in found}
    rows = [(name, before.get(name, NONE), after.get(name, NONE))
            for name in sorted(found | missing)]
    passed = [name for name, without, _with in rows if without == PASSED]
    broken = [name for name, without, with_ in rows
              if without == PASSED != with_]
    for name, without, with_ in rows:
        if (without, with_) != (PASSED, PASSED):
            print('%s: %s without, %s with quiesce' % (name, without, with_))
    print('%d tests were compared: %d pass without quiesce, and %d of these '
          'do not pass with it' % (len(rows), len(passed), len(broken)),
          flush=True)
    return 0 if rows and len(passed) - len(broken) == len(rows) else 1
