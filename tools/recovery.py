# SPDX-License-Identifier: Apache-2.0

"""Run tests of backups and restores on two sites.

Usage: tools/recovery.py [--swift | --s3] [TEST...]

TEST is a module or more of osc_quiesce.tests.recovery, all by default. The
sites have one store, a directory, Swift, or Swift through its S3 API, and are
started for this and deleted afterwards. Of Swift, site B may only read what
site A has made; so tests in which site B deletes it do not work there.

It needs Debian's package of RabbitMQ. Without it the tests are skipped with
that reason, except where CI is set: there nothing may be skipped.
"""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import minicloud
from minicloud import servers
from minicloud import store

TESTS = 'osc_quiesce.tests.recovery'
#: whether each fault is to strike in each phase, those of the database too
ALL_FAULTS = os.environ.get('RECOVERY_FAULTS') == 'all'
#: where tests write what they have measured of faults
TABLE = pathlib.Path(sys.prefix) / 'faults.jsonl'


def say(line: str) -> None:
    print(line, flush=True)


def start(root: pathlib.Path, backup: str = 'posix',
          database: str = 'sqlite') -> None:
    """Start both sites, and write a clouds.yaml of them.

    :param backup: the kind of store, ``posix``, ``swift`` or ``s3``
    :param database: ``sqlite``, or ``mariadb``, which can be killed
    """
    if backup != 'posix':
        store.Store(root / 'store').up(say)
    for name, access in ('a', 'owner'), ('b', 'reader'):
        minicloud.Cloud(root / name).up(
            network='neutron',
            backup=backup,
            store=root / 'store',
            store_access=access if backup == 'swift' else None,
            database=database,
            site_name=f'site{name.upper()}',
            say=say,
        )
    clouds = subprocess.run(
        [sys.executable, '-m', 'minicloud', 'clouds',
         '--root', str(root / 'a'), '--root', str(root / 'b')],
        check=True, capture_output=True, text=True)
    (root / 'clouds.yaml').write_text(clouds.stdout)


def main(arguments: list[str]) -> int:
    """Run the tests, and return the exit code."""
    stores = [each[2:] for each in arguments if each in ('--swift', '--s3')]
    backup = stores[0] if stores else 'posix'
    tests = [each for each in arguments if not each.startswith('--')] or [
        'discover', '-s', TESTS.replace('.', '/'), '-t', '.']
    command = [sys.executable, '-m', 'testtools.run', *tests]
    database = 'mariadb' if ALL_FAULTS else 'sqlite'
    if packages := servers.missing(['rabbit', database]):
        reason = f'these tests need the packages {" ".join(packages)}'
        print(f'Skipped: {reason}', flush=True)
        if 'CI' in os.environ:
            return 1
        return subprocess.run(
            command, env={**os.environ, 'SKIP_REASON': reason}).returncode
    with tempfile.TemporaryDirectory(prefix='osc-quiesce-') as folder:
        root = pathlib.Path(folder)
        try:
            start(root, backup, database)
            TABLE.unlink(missing_ok=True)
            return subprocess.run(command, env={
                **os.environ, 'FAULTS_TABLE': str(TABLE),
                'RECOVERY_ROOT': folder}).returncode
        finally:
            for name in 'a', 'b':
                minicloud.Cloud(root / name).down(purge=True)
            if backup != 'posix':
                store.Store(root / 'store').down(purge=True)


if __name__ == '__main__':
    # Like Ctrl-C: else both sites would stay.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
