# SPDX-License-Identifier: Apache-2.0

"""Volumes and snapshots as sparse files of one directory.

A copy costs what is in its source: nothing if the source is empty.
"""

import contextlib
import errno
import os
import pathlib

GIGABYTE = 1 << 30


class Files:
    """The files of one directory, by name; sizes are in GiB.

    :param home: the directory; :meth:`make_home` makes it
    """

    def __init__(self, home: pathlib.Path) -> None:
        self.home = home

    def make_home(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> pathlib.Path:
        return self.home / name

    def create(self, name: str, size: int) -> None:
        """Make an empty file, or empty one that is there."""
        with self.path(name).open('wb') as file:
            file.truncate(size * GIGABYTE)

    def copy(self, source: str, name: str, size: int | None = None) -> None:
        """Make a copy, or replace a file by it.

        :param size: of the copy; None for that of the source
        """
        copy(self.path(source), self.path(name))
        if size is not None:
            self.resize(name, size)

    def resize(self, name: str, size: int) -> None:
        os.truncate(self.path(name), size * GIGABYTE)

    def delete(self, name: str) -> None:
        """Delete a file if it is there."""
        self.path(name).unlink(missing_ok=True)

    def occupied(self) -> float:
        """Return the space that all files together occupy, in GiB."""
        total = 0
        for path in self.home.iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_blocks * 512
        return total / GIGABYTE


def copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copy a file; its holes are holes in the copy.

    :param source: the file to read; what is written to it meanwhile may or
        may not be in the copy
    :param target: the file to make, or to replace
    """
    with (source.open('rb', buffering=0) as reader,
          target.open('wb', buffering=0) as writer):
        size = os.fstat(reader.fileno()).st_size
        os.truncate(writer.fileno(), size)
        at = 0
        while at < size:
            try:
                at = os.lseek(reader.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return      # the rest is a hole
                raise
            end = os.lseek(reader.fileno(), at, os.SEEK_HOLE)
            while at < end:
                copied = os.copy_file_range(
                    reader.fileno(), writer.fileno(), end - at, at, at)
                if not copied:
                    return      # the source has become smaller
                at += copied
