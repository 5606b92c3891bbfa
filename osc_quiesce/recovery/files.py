# SPDX-License-Identifier: Apache-2.0

"""Files that others read: all of it is there, or what was there before."""

from __future__ import annotations

import errno
import os
import pathlib
import tempfile
from typing import Final

#: readable by nobody but its owner
PRIVATE: Final = 0o600
#: readable by everybody
PUBLIC: Final = 0o644


def replace(path: str, text: str, mode: int = PRIVATE) -> None:
    """Write a file, all of it or nothing.

    :param mode: who may read it
    :raises OSError: it cannot be written; what was there is unchanged
    """
    where = pathlib.Path(path)
    if where.exists() and not where.is_file():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    # Readable by nobody else, from the first moment.
    handle, name = tempfile.mkstemp(dir=where.parent, prefix=where.name)
    try:
        with os.fdopen(handle, 'w', encoding='utf-8') as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, mode)
        os.replace(name, where)
    except BaseException:
        os.unlink(name)
        raise
