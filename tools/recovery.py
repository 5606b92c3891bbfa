# SPDX-License-Identifier: Apache-2.0

"""Run tests of backups and restores on two sites: tools/recovery.py [TEST...].

TEST is a module or more of osc_quiesce.tests.recovery, all by default. The
sites have one store, and are started for this and deleted afterwards. It needs
Debian's package of RabbitMQ. Without it the tests are skipped with that
reason, except where CI is set: there nothing may be skipped.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import minicloud
from minicloud import servers

TESTS = 'osc_quiesce.tests.recovery'


def start(root: pathlib.Path) -> None:
    """Start both sites, and write a clouds.yaml of them."""
    for name in 'a', 'b':
        minicloud.Cloud(root / name).up(
            backup='posix',
            store=root / 'store',
            site_name=f'site{name.upper()}',
            say=lambda line: print(line, flush=True),
        )
    clouds = subprocess.run(
        [sys.executable, '-m', 'minicloud', 'clouds',
         '--root', str(root / 'a'), '--root', str(root / 'b')],
        check=True, capture_output=True, text=True)
    (root / 'clouds.yaml').write_text(clouds.stdout)


def main(arguments: list[str]) -> int:
    """Run the tests, and return the exit code."""
    tests = arguments or ['discover', '-s', TESTS.replace('.', '/'), '-t', '.']
    command = [sys.executable, '-m', 'testtools.run', *tests]
    if packages := servers.missing(['rabbit']):
        reason = f'these tests need the packages {" ".join(packages)}'
        print(f'Skipped: {reason}', flush=True)
        if 'CI' in os.environ:
            return 1
        return subprocess.run(
            command, env={**os.environ, 'SKIP_REASON': reason}).returncode
    with tempfile.TemporaryDirectory(prefix='osc-quiesce-') as folder:
        root = pathlib.Path(folder)
        try:
            start(root)
            return subprocess.run(command, env={
                **os.environ, 'RECOVERY_ROOT': folder}).returncode
        finally:
            for name in 'a', 'b':
                minicloud.Cloud(root / name).down(purge=True)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
