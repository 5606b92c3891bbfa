# SPDX-License-Identifier: Apache-2.0

"""How well the applications of a project are protected, as one site has it.

All of it is read from the metadata of backups, so it can be asked at either
site. Only what a disaster leaves to restore from counts: a set that is
consistent and known at another site than the one that has made it. Whatever
else there is, and whatever is not known, never makes an alarm quiet.

Ages are those by the clock of the machine that asks. The moment of a set is
that of the machine that has taken the snapshots.
"""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses
import datetime
import itertools
import math
from typing import Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import metadata
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import capacity
from osc_quiesce.recovery import marks

#: how many sets the worst gap is that of
LAST: Final = 30
#: seconds by which clocks may be apart
TOLERANCE: Final = 60.0


@dataclasses.dataclass(frozen=True)
class Drill:
    """The last rehearsal of a restore.

    :param result: ``marks.DRILL_OK`` or ``marks.DRILL_FAILED``
    :param rto: seconds that it took, if it succeeded
    """

    at: datetime.datetime
    result: str
    rto: float | None


@dataclasses.dataclass(frozen=True)
class Protection:
    """What there is of one application.

    :param sets: those that count, the oldest first
    :param newer: those that do not count, and are newer
    :param verified: when all backups of a set were last proven to be equal to
        what was restored of them
    """

    application: str
    sets: tuple[backup_sets.BackupSet, ...]
    newer: tuple[backup_sets.BackupSet, ...]
    verified: datetime.datetime | None
    drill: Drill | None
    is_made_here: bool
    now: datetime.datetime

    @property
    def last(self) -> backup_sets.BackupSet | None:
        return self.sets[-1] if self.sets else None

    @property
    def moment(self) -> datetime.datetime | None:
        """The moment of the last set, to which a restore leads."""
        return moment(self.sets[-1].created_at) if self.sets else None

    @property
    def age(self) -> float | None:
        """Seconds of work that would be lost now."""
        if self.moment is None:
            return None
        return max(0.0, (self.now - self.moment).total_seconds())

    @property
    def worst_gap(self) -> float | None:
        """Seconds between two of the last sets, at most."""
        moments = [when for each in self.sets[-LAST:]
                   if (when := moment(each.created_at))]
        return max(((after - before).total_seconds()
                    for before, after in itertools.pairwise(moments)),
                   default=None)

    def alarm(self, max_age: int) -> str:
        """Return what is wrong, as a sentence; empty if nothing is.

        :param max_age: seconds that the last set may be old
        """
        if self.age is not None and self.age <= max_age:
            return self._drill_alarm()
        values = {'application': self.application,
                  'seconds': max_age,
                  'why': self._why()}
        if self.last is None:
            return _('Application %(application)s has no backup set from '
                     'which it could be restored after a disaster%(why)s: '
                     'back it up, and register the set.') % values
        return _('The last backup set from which application %(application)s '
                 'could be restored after a disaster, %(name)s (%(id)s), is '
                 '%(age)d s old, where %(seconds)d s are allowed%(why)s: back '
                 'the application up.') % {
                     **values, 'name': self.last.name, 'id': self.last.id,
                     'age': math.ceil(self.age or 0)}

    def _drill_alarm(self) -> str:
        if self.drill is None or self.drill.result == marks.DRILL_OK:
            return ''
        return _('The last drill of application %(application)s, on %(when)s, '
                 'has failed, and so may a restore: remove the cause, and '
                 'repeat the drill.') % {
                     'application': self.application,
                     'when': model.utc_text(self.drill.at)}

    def _why(self) -> str:
        """Return why the newest set does not count, as an end of a part."""
        if not self.newer:
            return ''
        newest = self.newer[-1]
        return _(' (%(name)s (%(id)s) does not count: %(why)s)') % {
            'name': newest.name, 'id': newest.id,
            'why': why_not(newest, self.now) or _(
                'it is registered at no other site')}


def moment(text: str) -> datetime.datetime | None:
    """Return a time as we write it; None if it is damaged."""
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def why_not(found: backup_sets.BackupSet, now: datetime.datetime) -> str:
    """Return why a set does not count, as a part of a sentence."""
    if found.state != backup_sets.CONSISTENT:
        return _('it is %s') % found.state
    return wrong_moment(found, now)


def wrong_moment(found: backup_sets.BackupSet, now: datetime.datetime) -> str:
    """Return why a set cannot be told to be older or newer than others.

    :returns: a part of a sentence; empty if it can
    """
    when = moment(found.created_at)
    if when is None:
        return _('its moment cannot be read')
    if (when - now).total_seconds() > TOLERANCE:
        return _('its moment, %s, is in the future, so clocks are '
                 'wrong') % model.utc_text(when)
    return ''


def find(
    cloud: cloud_api.Cloud,
    names: Iterable[str] = (),
    now: datetime.datetime | None = None,
) -> list[Protection]:
    """Return what there is of applications, by their names.

    One listing of the backups of the project is all that it takes. Cinder
    cannot filter it by metadata.

    :param names: of applications, also of such that have no sets; by default
        all that have some
    :param now: by default the time of this machine
    """
    wanted = set(names)
    by_name: dict[str, list[backup_sets.BackupSet]] = {
        each: [] for each in wanted}
    for found in backup_sets.find_all(cloud):
        if not wanted or found.application in wanted:
            by_name.setdefault(found.application, []).append(found)
    now = now or datetime.datetime.now(datetime.UTC)
    return [_of(cloud, name, sets, now)
            for name, sets in sorted(by_name.items())]


def lacks(found: Protection, left: capacity.Left) -> list[str]:
    """Return what is too small for one more full set, as a word each.

    The words are for programs, and so not translated.

    At a site that others have registered sets at, that is also the room to
    restore it: a restored volume takes up all of its size.
    """
    if found.last is None:
        return []
    size = found.last.size
    short = []
    if (left.backups is not None and left.backups < found.last.volumes) or (
            left.gigabytes is not None and left.gigabytes < size):
        short.append('quota')
    if not found.is_made_here and left.pools is not None and left.pools < size:
        short.append('pools')
    return short


def _of(cloud: cloud_api.Cloud, application: str,
        sets: list[backup_sets.BackupSet],
        now: datetime.datetime) -> Protection:
    counted = sorted(
        (each for each in sets
         if not why_not(each, now) and _is_registered(each, cloud)),
        # What cannot be read does not count.
        key=lambda each: moment(each.created_at) or now)
    last = counted[-1].created_at if counted else ''
    known = {each.id for each in counted}
    proofs = [when for each in sets if (when := _verified(each))]
    drills = [drill for each in sets if (drill := _drill(each))]
    return Protection(
        application, tuple(counted),
        tuple(each for each in sets
              if each.id not in known and each.created_at > last),
        max(proofs, default=None),
        max(drills, key=lambda drill: drill.at, default=None),
        bool(counted) and not backup_sets.is_of_another_site(
            counted[-1], cloud), now)


def _is_registered(found: backup_sets.BackupSet,
                   cloud: cloud_api.Cloud) -> bool:
    """Return whether another site than the one that has made it knows it."""
    return bool(found.registered) or backup_sets.is_of_another_site(
        found, cloud)


def _verified(found: backup_sets.BackupSet) -> datetime.datetime | None:
    """Return since when all backups of a set are proven."""
    times = [moment(metadata.get(each, marks.VERIFIED))
             for each in found.backups]
    known = [each for each in times if each]
    if len(known) < len(times) or not found.is_whole:
        return None
    return min(known)


def _drill(found: backup_sets.BackupSet) -> Drill | None:
    """Return the last drill of a set, which is written on each backup."""
    at = max((when for each in found.everything
              if (when := moment(metadata.get(each, marks.DRILLED_AT)))),
             default=None)
    if at is None:
        return None
    last = [each for each in found.everything
            if moment(metadata.get(each, marks.DRILLED_AT)) == at]
    if any(metadata.get(each, marks.DRILL) != marks.DRILL_OK for each in last):
        return Drill(at, marks.DRILL_FAILED, None)
    return Drill(at, marks.DRILL_OK,
                 _seconds(metadata.get(last[0], marks.DRILL_RTO)))


def _seconds(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None
