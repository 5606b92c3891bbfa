# SPDX-License-Identifier: Apache-2.0

"""Files in YAML that people write, checked against a schema.

Every error names the file and the line, since that is what one needs to mend
a file.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any, Final

import yaml

from osc_quiesce.application import errors
from osc_quiesce.i18n import _

# Bytes: far more than anybody writes, and less than fills a machine
_MOST: Final = 1024 * 1024
# Characters of what is wrong in a file
_LONGEST: Final = 500


@dataclasses.dataclass(frozen=True)
class Document:
    """A text that is as its schema has it.

    :param path: what errors call the text
    :param data: what is in it
    """

    path: str
    data: Any
    _node: yaml.Node = dataclasses.field(repr=False, compare=False)

    def line(self, where: Sequence[Any]) -> int:
        """Return the line of what is as near to this place as there is.

        :param where: keys, and numbers of items, from the outside in
        """
        node = self._node
        for part in where:
            if isinstance(node, yaml.SequenceNode):
                if not isinstance(part, int):
                    break  # what was written out is not in the file
                node = node.value[part]
            elif isinstance(node, yaml.MappingNode):
                node = next(
                    (value for key, value in node.value if key.value == part),
                    node)
        return int(node.start_mark.line) + 1

    def error(self, where: Sequence[Any], what: str) -> errors.SpecError:
        """Return an error that names the line of a place."""
        return _error(self.path, self.line(where), what)


def read(path: str) -> str:
    """Return the text of a file.

    :raises errors.SpecError: it cannot be read, or is not in UTF-8
    """
    try:
        with open(path, 'rb') as stream:  # a pipe is a file as well
            data = stream.read(_MOST + 1)
    except (OSError, ValueError) as exc:  # also: a path with a null byte
        raise errors.SpecError(_('%(path)s cannot be read: %(why)s') % {
            'path': path, 'why': exc}) from exc
    if len(data) > _MOST:
        raise errors.SpecError(
            _('%(path)s is longer than %(most)d bytes, and is not read.') % {
                'path': path, 'most': _MOST})
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        line = data.count(b'\n', 0, exc.start) + 1
        raise _error(path, line, str(exc)) from exc


def parse(text: str, path: str, schema: Mapping[str, Any],
          prepare: Callable[[Any], object]) -> Document:
    """Return what a text says.

    :param path: what errors call the text
    :param prepare: writes out in the data what may be abbreviated
    :raises errors.SpecError: it is no YAML, or not as the schema has it
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise _error(path, 1, _('there is nothing in it'))
        data = loader.construct_document(node)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = mark.line + 1 if mark else 1
        raise _error(path, line, exc.problem or str(exc)) from exc
    except yaml.reader.ReaderError as exc:
        line = text.count('\n', 0, exc.position) + 1
        raise _error(path, line, exc.reason) from exc
    except RecursionError as exc:
        raise _error(path, 1, _('it is nested too deeply')) from exc
    # It takes long to load, and most commands get no file.
    import jsonschema

    prepare(data)
    document = Document(path, data, node)
    first = min(jsonschema.Draft7Validator(schema).iter_errors(data),
                key=lambda error: document.line(error.absolute_path),
                default=None)
    if first:
        where = '.'.join(map(str, first.absolute_path))
        raise document.error(first.absolute_path, f'{where}: {first.message}'
                             if where else first.message)
    return document


class _Loader(yaml.SafeLoader):
    """Knows the line of each error, and takes no key twice, and no aliases.

    A key is text, whatever it looks like: flavors have IDs such as 1.

    A few lines of aliases could stand for more than any machine holds, or for
    themselves.
    """

    def compose_node(self, parent: yaml.Node | None,
                     index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                None, None, _('aliases such as *%s are not allowed: write it '
                              'out') % event.anchor, event.start_mark)
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as exc:
            raise yaml.constructor.ConstructorError(
                None, None, str(exc), node.start_mark) from exc
        except (AttributeError, LookupError) as exc:  # such as "!!bool x"
            raise yaml.constructor.ConstructorError(
                None, None, _('"%(text)s" does not fit %(tag)s') % {
                    'text': node.value, 'tag': node.tag},
                node.start_mark) from exc

    def construct_mapping(self, node: yaml.MappingNode,
                          deep: bool = False) -> dict[Any, Any]:
        # YAML forbids keys twice; PyYAML silently takes the last one.
        seen = set()
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        for key, _value in pairs:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, _('"%s" is there twice') % key.value,
                        key.start_mark)
                seen.add(key.value)
                if key.tag != 'tag:yaml.org,2002:merge':
                    key.tag = 'tag:yaml.org,2002:str'
        return super().construct_mapping(node, deep)


def _error(path: str, line: int, what: str) -> errors.SpecError:
    if len(what) > _LONGEST:  # it may quote all of the file
        what = f'{what[:_LONGEST // 2]} ... {what[-_LONGEST // 2:]}'
    return errors.SpecError(_('%(path)s, line %(line)d: %(what)s') % {
        'path': path, 'line': line, 'what': what})
