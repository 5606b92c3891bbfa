# SPDX-License-Identifier: Apache-2.0

"""Our keys in the metadata of what Cinder keeps.

Cinder's metadata are strings of at most 255 characters: what is longer is
JSON, cut into numbered pieces. Everything in them is ASCII. Cinder's tables
do not hold every character, and one that they cannot hold makes the request
fail after Cinder has changed the status of the volume or snapshot, which only
an administrator can change back.
"""

from collections.abc import Mapping
import json
import re
from typing import Any, Final

PREFIX: Final = 'osc_quiesce:'
PIECE: Final = 255  # characters in a key, a value, a name; Cinder's limit
#: What Cinder takes as a key
KEY: Final = re.compile(r'[a-zA-Z0-9_:. /-]{1,255}')
#: Characters of all metadata of one snapshot or backup, as JSON. Cinder takes
#: no request of more than 114,688 bytes. The record of a backup is base64 of
#: JSON, which has to be taken at another site.
MOST: Final = 80_000

_ESCAPE: Final = re.compile(r'\\(?:\\|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})')
_PART: Final = re.compile(f'(?:{_ESCAPE.pattern}|.)', re.DOTALL)


def escape(text: str) -> str:
    r"""Return a text in ASCII, such as ``caf\xe9``; see :func:`unescape`."""
    doubled = text.replace('\\', r'\\')
    return doubled.encode('ascii', 'backslashreplace').decode()


def unescape(text: str) -> str:
    """Return what :func:`escape` was given; what it did not write stays.

    So do surrogates, of a command line that was not UTF-8: no terminal, and
    no file, takes them.
    """
    return _ESCAPE.sub(lambda found: _character(found[0]), text)


def _character(escaped: str) -> str:
    if escaped == r'\\':
        return '\\'
    code = int(escaped[2:], 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        return escaped
    return chr(code)


def fitting(text: str, most: int = PIECE) -> str:
    """Return a text escaped, with so much of it as Cinder takes as a value.

    :param most: how many characters
    """
    kept = ''
    for part in _PART.findall(escape(text)):
        if len(kept) + len(part) > most:
            break
        kept += part
    return kept


def ours(values: Mapping[str, str]) -> dict[str, str]:
    """Return metadata that hold short values, as :func:`get` reads them.

    :param values: by their keys without the prefix; of a value that is too
        long, the beginning is kept
    """
    return {PREFIX + key: fitting(value) for key, value in values.items()}


def get(resource: Mapping[str, Any], key: str) -> str:
    """Return one of our keys of a snapshot or backup, or an empty text."""
    text = str((resource.get('metadata') or {}).get(PREFIX + key, ''))
    return unescape(text)


def number(resource: Mapping[str, Any], key: str) -> int:
    """Return one of our keys that is a number; 0 if it is damaged."""
    text = get(resource, key)
    return int(text) if text.isdecimal() else 0


def pack(key: str, value: Any) -> dict[str, str]:
    """Return metadata that hold a value of any length."""
    text = json.dumps(value, separators=(',', ':'))
    pieces = re.findall(f'.{{1,{PIECE}}}', text)  # one line, all ASCII
    return {f'{PREFIX}{key}.{n}': piece for n, piece in enumerate(pieces)}


def unpack(metadata: Mapping[str, str], key: str) -> Any:
    """Return what pack put there, or None if it is not (wholly) there."""
    pieces: list[str] = []
    while (name := f'{PREFIX}{key}.{len(pieces)}') in metadata:
        pieces.append(metadata[name])
    try:
        return json.loads(''.join(pieces))
    except ValueError:
        return None


def size(metadata: Mapping[str, str]) -> int:
    """Return how many characters metadata have as JSON; see ``MOST``."""
    return len(json.dumps(dict(metadata)))
