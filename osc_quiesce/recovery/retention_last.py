# SPDX-License-Identifier: Apache-2.0

"""Which backup sets are the last ones, at this site and at another one.

A site that burns down takes along what only it has registered: so a set may
be old here, and still be one of the last that the other site can restore.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from osc_quiesce.i18n import _
from osc_quiesce.recovery import backup_sets


def older(candidates: Sequence[backup_sets.BackupSet], keep_last: int | None,
          there: Iterable[backup_sets.BackupSet] = ()
          ) -> tuple[list[backup_sets.BackupSet], list[str]]:
    """Return those that are older than the last ones worth keeping.

    A set that is not consistent does not count as one of these, but goes only
    when it is older.

    :param keep_last: None: all of them
    :param there: the sets of the other site, as that has them; the last ones
        of these stay as well
    :returns: also which old ones stay because of that site, as sentences
    """
    if keep_last is None:
        return list(candidates), []
    usable = {s.id for s in there if s.state == backup_sets.CONSISTENT}
    found, why = [], []
    for application in sorted({each.application for each in candidates}):
        own = [s for s in candidates if s.application == application]
        good = _moments(s for s in own if s.state == backup_sets.CONSISTENT)
        if len(good) < keep_last:
            continue
        last = _moments(s for s in own if s.id in usable)[-keep_last:]
        old = [s for s in own if s.created_at < good[-keep_last]]
        spared = [s for s in old
                  if s.id in usable and s.created_at >= last[0]]
        found += [s for s in old if s not in spared]
        if spared:
            why.append(_spared(application, spared))
    return found, why


def _moments(sets: Iterable[backup_sets.BackupSet]) -> list[str]:
    return sorted({each.created_at for each in sets})


def _spared(application: str, sets: Iterable[backup_sets.BackupSet]) -> str:
    return _(
        'Old backup sets of application %(application)s are not deleted, '
        'since they are the last ones that the other site can restore: '
        '%(sets)s. Back up with --to-cloud, so that newer ones are registered '
        'there.') % {
            'application': application,
            'sets': ', '.join(f'{each.name} ({each.id})' for each in sets)}
