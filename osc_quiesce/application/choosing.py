# SPDX-License-Identifier: Apache-2.0

"""The one of several things that a user means."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from osc_quiesce.application import errors


class Named(Protocol):
    """What has an ID, and a name that others may have too."""

    @property
    def id(self) -> str:
        """The ID."""

    @property
    def name(self) -> str:
        """The name."""


T = TypeVar('T', bound=Named)


def choose(everything: Iterable[T], name_or_id: str, *, none: str,
           several: str, error: type[errors.ApplicationError]) -> T:
    """Return the one with this ID, or else the one with this name.

    :param none: what to say if there is none, with ``%s`` for what was asked
    :param several: what to say if there are several, with ``%(count)d``,
        ``%(name)s`` and ``%(ids)s``
    :param error: what to raise if there is none
    :raises errors.ApplicationError: there are several
    """
    known = list(everything)
    found = [each for each in known if each.id == name_or_id] or [
        each for each in known if each.name == name_or_id]
    if not found:
        raise error(none % name_or_id)
    if len(found) > 1:
        raise errors.ApplicationError(several % {
            'count': len(found), 'name': name_or_id,
            'ids': ', '.join(each.id for each in found)})
    return found[0]
