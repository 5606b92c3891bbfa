# SPDX-License-Identifier: Apache-2.0

"""Run functional tests of Nova's own, without and with the quiesce actions.

They are those of the installed Nova that tools/nova-compat-tests.txt lists.
Fails if one passes without and not with. All of it is in the directory
``nova-compat`` of the environment.
"""

import os
import pathlib
import shutil
import subprocess
import sys

from minicloud import config
from minicloud import packages

import results

HERE = pathlib.Path(__file__).resolve().parent
TESTS = HERE / 'nova_compat'
LIST = HERE / 'nova-compat-tests.txt'
#: ours, with which there are quiesce actions
CHECK = 'test_nova.QuiesceTest.test_actions_are_there'
WORK = pathlib.Path(sys.prefix) / 'nova-compat'


def run(name: str, paste: str, names: list[str]) -> results.Results:
    """Run tests on a Nova, and return their results.

    :param name: of the run
    :param paste: the text of api-paste.ini
    :param names: the tests
    """
    path = WORK / ('%s-api-paste.ini' % name)
    path.write_text(paste)
    include = results.include(WORK / 'include', names, '$')
    modules = sorted({test.rsplit('.', 2)[0] for test in names
                      if test != CHECK})
    subprocess.run(
        ['stestr', '--repo-url', str(WORK), '--test-path', str(TESTS),
         '--top-dir', str(TESTS), 'run', '--include-list', str(include)],
        cwd=WORK,
        env={**os.environ, 'COMPAT_PASTE': str(path),
             'COMPAT_MODULES': ' '.join(modules)})
    found = results.last(WORK)
    print('%s quiesce: %s' % (name, results.counted(found)), flush=True)
    return found


def main() -> int:
    """Run all, and return the exit code."""
    names = results.listed(LIST)
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    paste = packages.shipped_file('nova', 'nova/api-paste.ini').read_text()
    without = run('without', paste, names)
    with_ = run('with', config.with_quiesce(paste), [*names, CHECK])
    failed = results.compare(names, without, with_)
    if with_.get(CHECK) != results.PASSED:
        print('%s: %s' % (CHECK, with_.get(CHECK, results.NONE)))
        return 1
    return failed


if __name__ == '__main__':
    sys.exit(main())
