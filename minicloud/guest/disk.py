# SPDX-License-Identifier: Apache-2.0

"""What a guest has left on a disk, read without a mount."""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import re
import subprocess
import tempfile

from minicloud import ceph
from minicloud.layout import Layout


class Disk:
    """A disk, or a copy of one, that nobody writes to.

    :param path: its file
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command], capture_output=True, text=True,
            env={**os.environ, 'LC_ALL': 'C',
                 'PATH': os.environ['PATH'] + ':/usr/sbin:/sbin'})

    def needs_recovery(self) -> bool:
        """Say whether its journal has to be replayed at the next mount."""
        done = self._run('dumpe2fs', '-h', str(self.path))
        features = re.search(r'^Filesystem features:(.*)$', done.stdout,
                             re.MULTILINE)
        assert features, done.stderr
        return 'needs_recovery' in features[1].split()

    def check(self) -> tuple[int, str]:
        """Return e2fsck's verdict: 0 for a clean file system, and its words.

        It repairs nothing and replays no journal.
        """
        done = self._run('e2fsck', '-f', '-n', str(self.path))
        return done.returncode, done.stdout + done.stderr

    def recover(self) -> None:
        """Replay the journal, as a mount would."""
        self._run('e2fsck', '-f', '-p', str(self.path))

    def records(self) -> list[str]:
        """Return the lines of the file that the guest has written."""
        done = self._run('debugfs', '-R', 'cat /records', str(self.path))
        return done.stdout.splitlines()


@contextlib.contextmanager
def of_snapshot(layout: Layout, volume_id: str,
                snapshot_id: str) -> Iterator[Disk]:
    """Return a copy of what a snapshot holds, gone after ``with``.

    :param volume_id: Cinder's, with ``--storage ceph``
    :param snapshot_id: Cinder's
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, snapshot_id)
        subprocess.run(
            ['rbd', '-c', layout.etc / 'ceph.conf', '--no-progress', 'export',
             f'{ceph.POOL}/volume-{volume_id}@snapshot-{snapshot_id}', path],
            check=True)
        yield Disk(path)
