# SPDX-License-Identifier: Apache-2.0

"""What an application is: its servers, in stages, from YAML or options.

The schema is documented in doc/source/application.rst. Every error names the
line, since that is what one needs to mend a file.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import pathlib
from typing import Any, Final

import jsonschema
import yaml

from osc_quiesce.application import errors
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

    @property
    def members(self) -> tuple[Member, ...]:
        return tuple(member for stage in self.stages for member in stage)


def from_servers(name: str, servers: Iterable[str]) -> Application:
    """Return an application whose servers are quiesced one by one."""
    return Application(name, tuple((Member(s),) for s in servers))


def from_file(path: str) -> Application:
    """Return the application that a file describes.

    :raises errors.SpecError: the file cannot be read or is not right; the
        message names the file and the line
    """
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as exc:
        raise errors.SpecError(_('%(path)s cannot be read: %(why)s') % {
            'path': path, 'why': exc}) from exc
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        line = data.count(b'\n', 0, exc.start) + 1
        raise _error(path, line, str(exc)) from exc
    return from_yaml(text, path)


def from_yaml(text: str, path: str) -> Application:
    """Return the application that a text describes.

    :param path: what errors call the text
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise errors.SpecError(
                _('%s, line 1: there is nothing in it') % path)
        _refuse_duplicate_keys(node, path)
        data = loader.construct_document(node)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = mark.line + 1 if mark else 1
        raise _error(path, line, exc.problem or str(exc)) from exc
    except yaml.reader.ReaderError as exc:
        line = text.count('\n', 0, exc.position) + 1
        raise _error(path, line, exc.reason) from exc
    except RecursionError as exc:
        raise _error(path, 1, str(exc)) from exc
    _write_out(data)
    found = sorted(jsonschema.Draft7Validator(SCHEMA).iter_errors(data),
                   key=lambda error: _line(node, error.absolute_path))
    if found:
        where = '.'.join(str(part) for part in found[0].absolute_path)
        what = found[0].message
        raise _error(path, _line(node, found[0].absolute_path),
                     f'{where}: {what}' if where else what)
    return _application(data)


def _application(data: Any) -> Application:
    """Return the application that checked data describe."""
    return Application(data['name'], tuple(
        tuple(
            Member(
                member['server'], tuple(member.get('exclude_volumes', ())),
                # 60.0 is a whole number, too
                int(member['unquiesce_after']) if 'unquiesce_after' in member
                else None) for member in stage) for stage in data['stages']))


class _Loader(yaml.SafeLoader):
    """Knows the line also of what only looks like a date or a number."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as exc:
            raise yaml.constructor.ConstructorError(
                None, None, str(exc), node.start_mark) from exc


def _write_out(data: Any) -> None:
    """Turn servers of which only the name is given into mappings."""
    stages = data.get('stages') if isinstance(data, dict) else None
    for stage in stages if isinstance(stages, list) else ():
        if isinstance(stage, list):
            stage[:] = [member if isinstance(member, dict)
                        else {'server': member} for member in stage]


def _refuse_duplicate_keys(node: yaml.Node, path: str) -> None:
    # YAML forbids them; PyYAML silently takes the last one.
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _error(path, key.start_mark.line + 1,
                                 _('"%s" is there twice') % key.value)
                seen.add(key.value)
            _refuse_duplicate_keys(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_duplicate_keys(value, path)


def _line(node: yaml.Node, where: Sequence[Any]) -> int:
    """Return the line of what is as near to this place as the file has it."""
    for part in where:
        if isinstance(node, yaml.SequenceNode):
            node = node.value[part]
        elif isinstance(node, yaml.MappingNode):
            node = next(
                (value for key, value in node.value if key.value == part),
                node)
    return int(node.start_mark.line) + 1


def _error(path: str, line: int, what: str) -> errors.SpecError:
    return errors.SpecError(_('%(path)s, line %(line)d: %(what)s') % {
        'path': path, 'line': line, 'what': what})
