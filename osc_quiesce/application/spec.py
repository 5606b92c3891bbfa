# SPDX-License-Identifier: Apache-2.0

"""What an application is: its servers, in stages, from YAML or options.

The schema is documented in doc/source/user/application-snapshots.rst. Every
error names the line, since that is what one needs to mend a file.
"""

from collections.abc import Iterable, Mapping
import dataclasses
from typing import Any, Final
import unicodedata

from osc_quiesce.application import documents
from osc_quiesce.i18n import _

LONGEST_NAME: Final = 255  # of names, and of metadata, in Cinder

_NAME: Final = {'type': 'string', 'minLength': 1, 'maxLength': LONGEST_NAME}
_MEMBER: Final = {
    'type': 'object',
    'properties': {
        'server': _NAME, 'unquiesce_after': {'type': 'integer', 'minimum': 1},
        'exclude_volumes': {'type': 'array', 'items': _NAME}},
    'required': ['server'],
    'additionalProperties': False}
SCHEMA: Final = {'type': 'object',
                 'properties': {'name': _NAME, 'stages': {
                     'type': 'array', 'minItems': 1, 'items': {
                         'type': 'array', 'minItems': 1, 'items': _MEMBER}}},
                 'required': ['name', 'stages'],
                 'additionalProperties': False}


@dataclasses.dataclass(frozen=True)
class Member:
    """A server of the application.

    :param server: name or UUID
    :param exclude_volumes: names or UUIDs of volumes to leave out
    :param unquiesce_after: seconds; None: as for the whole command
    """

    server: str
    exclude_volumes: tuple[str, ...] = ()
    unquiesce_after: int | None = None


@dataclasses.dataclass(frozen=True)
class Application:
    """Servers in stages: one stage is quiesced after the other."""

    name: str
    stages: tuple[tuple[Member, ...], ...]


def from_servers(name: str, servers: Iterable[str]) -> Application:
    """Return an application whose servers are quiesced one by one."""
    return Application(name, tuple((Member(s),) for s in servers))


def from_file(path: str) -> Application:
    """Return the application that a file describes.

    :raises errors.SpecError: the file cannot be read or is not right
    """
    return from_yaml(documents.read(path), path)


def from_yaml(text: str, path: str) -> Application:
    """Return the application that a text, which errors call so, describes."""
    document = documents.parse(text, path, SCHEMA, _write_out)
    data = document.data
    if not data['name'].strip() or any(unicodedata.category(
            character) == 'Cc' for character in data['name']):
        raise document.error(['name'], _(
            'the name must have letters, and no control characters'))
    return Application(data['name'], tuple(
        tuple(map(_member, stage)) for stage in data['stages']))


def _member(data: Mapping[str, Any]) -> Member:
    # 60.0 is a whole number, too
    seconds = data.get('unquiesce_after')
    return Member(data['server'], tuple(data.get('exclude_volumes', ())),
                  None if seconds is None else int(seconds))


def _write_out(data: Any) -> None:
    """Turn servers of which only the name is given into mappings."""
    stages = data.get('stages') if isinstance(data, dict) else None
    for stage in stages if isinstance(stages, list) else ():
        if isinstance(stage, list):
            stage[:] = [member if isinstance(member, dict)
                        else {'server': member} for member in stage]
