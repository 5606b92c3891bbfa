# SPDX-License-Identifier: Apache-2.0

"""The one of several things that a user means."""

from collections.abc import Iterable
from typing import Any, TypeVar

from osc_quiesce.application import errors

T = TypeVar('T')


def choose(everything: Iterable[T], name_or_id: str, *, none: str,
           several: str, error: type[errors.ApplicationError]) -> T:
    """Return the one with this ID, or else the one with this name.

    :param everything: things with an ``id`` and a ``name``
    :param none: what to say if there is none, with ``%s`` for what was asked
    :param several: what to say if there are several, with ``%(count)d``,
        ``%(name)s`` and ``%(ids)s``
    :param error: what to raise if there is none
    :raises errors.ApplicationError: there are several
    """
    known: list[Any] = list(everything)
    found = [each for each in known if each.id == name_or_id] or [
        each for each in known if each.name == name_or_id]
    if not found:
        raise error(none % name_or_id)
    if len(found) > 1:
        raise errors.ApplicationError(several % {
            'count': len(found), 'name': name_or_id,
            'ids': ', '.join(each.id for each in found)})
    chosen: T = found[0]
    return chosen
