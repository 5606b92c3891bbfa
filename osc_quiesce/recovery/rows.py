# SPDX-License-Identifier: Apache-2.0

"""One server, name by name: what it was, what it will be, or why not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import dataclasses
from typing import Any, Final

from osc_quiesce.application import errors
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce.recovery import mapping as mappings
from osc_quiesce.recovery import resolved
from osc_quiesce.recovery import site as sites


#: sections of what must stay apart
_APART: Final = ('networks', 'drill.networks', 'security_groups',
                 'server_groups')


@dataclasses.dataclass(frozen=True)
class Rows:
    """What is known of one server, as it was and as it will be.

    :param restore_id: of the restore, whose own ports are no obstacle
    :param rows: all of them, of all servers
    :param checks_use: whether addresses and MACs must be free now
    :param ids: of what the mapping has by its name, for all servers
    """

    site: sites.Site
    mapping: mappings.Mapping
    manifest: Mapping[str, Any]
    restore_id: str
    rows: list[resolved.Row]
    checks_use: bool = True
    ids: dict[tuple[str, str], str] = dataclasses.field(default_factory=dict)

    def add(self, what: str, source: str, here: str,
            refused: str = '') -> None:
        self.rows.append(resolved.Row(
            int(self.manifest['stage']),
            model.label(self.manifest['id'], self.manifest['name']), what,
            source, here, refused))

    def name(self, section: str, what: str,
             recorded: str | None) -> str | None:
        """Return the name of what stands for something here, if anything."""
        found = self.found(section, what, (recorded,)) if recorded else None
        return found['name'] if found else None

    def found(self, section: str, what: str, names: Iterable[str | None],
              entry: mappings.Entry | None = None,
              text: Any = lambda thing: thing['name'], source: str = '',
              check: Any = lambda thing: '') -> dict[str, Any] | None:
        """Return what stands for something here.

        :param names: ID and name of it at the source
        :param entry: what the mapping says; by default what the section does
        :param text: returns what the row says of what was found
        :param source: what the row says of what it was
        :param check: returns why what was found is of no use, if it is
        :returns: None if it is left out or refused; the row says which
        """
        called = [name for name in names if name]
        if not called:
            return None
        source = source or called[-1]
        entry = entry or self.mapping.entry(section, *called)
        refused = ''
        found = None
        if entry and entry.value == mappings.NONE and (
                section not in mappings.NEEDED):
            self.add(what, source, _('none'))
            return None
        try:
            found = self._look(section, called[-1], entry)
            refused = check(found) or self._ambiguous(section, called)
        except errors.ApplicationError as exc:
            refused = str(exc)
        self.add(what, source, text(found) if found else '', refused)
        return None if refused else found

    def _ambiguous(self, section: str, called: list[str]) -> str:
        """Return why a name is not enough, as a part of a sentence.

        Two networks of one name would become one, with all their servers.
        """
        *ids, name = called
        if not ids or section not in _APART or self.mapping.entry(
                section, *ids):
            return ''
        if self.ids.setdefault((section, name), ids[0]) == ids[0]:
            return ''
        return _('"%(name)s" is the name of several at the source: give the '
                 'ID %(id)s in the mapping') % {'name': name, 'id': ids[0]}

    def _look(self, section: str, called: str,
              entry: mappings.Entry | None) -> dict[str, Any]:
        if entry is None:
            raise errors.ApplicationError(
                _('%(path)s has no %(section)s."%(name)s"') % {
                    'path': self.mapping.path, 'section': section,
                    'name': called})
        if entry.value is None:
            raise errors.ApplicationError(_('%s is empty') % entry.where)
        try:
            return self.site.find(section.rpartition('.')[2], entry.value)
        except errors.ApplicationError as exc:
            raise errors.ApplicationError(f'{entry.where}: {exc}') from exc
