# SPDX-License-Identifier: Apache-2.0

"""An archive of a directory tree as the kernel unpacks it at boot.

The format is "newc" of cpio(5). Needs no root: all files belong to root in
the archive, and the two devices without which a first process has no output
are added. Equal trees make equal archives.
"""

import pathlib
import stat

#: name and number of each device
DEVICES = {'dev/console': (5, 1), 'dev/null': (1, 3)}


class _Archive:

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.count = 0

    def add(self, name: str, mode: int, data: bytes = b'',
            device: tuple[int, int] = (0, 0)) -> None:
        self.count += 1
        raw = name.encode() + b'\0'
        fields = (self.count, mode, 0, 0, 1, 0, len(data), 0, 0, *device,
                  len(raw), 0)
        header = b'070701' + b''.join(b'%08X' % field for field in fields)
        for part in (header + raw, data):
            self.parts.append(part + b'\0' * (-len(part) % 4))


def pack(tree: pathlib.Path) -> bytes:
    """Return the archive of everything below a directory."""
    archive = _Archive()
    for path in sorted(tree.rglob('*')):
        name = str(path.relative_to(tree))
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            archive.add(name, 0o120777, str(path.readlink()).encode())
        elif stat.S_ISDIR(mode):
            archive.add(name, 0o040755)
        else:
            archive.add(name, 0o100755 if mode & 0o111 else 0o100644,
                        path.read_bytes())
    for name, device in DEVICES.items():
        archive.add(name, 0o020600, device=device)
    archive.add('TRAILER!!!', 0)
    return b''.join(archive.parts)
