# SPDX-License-Identifier: Apache-2.0

"""The making of a backup set: the loop until all are there and registered.

Nothing is undone. What is finished stays whatever happens, since the next
backups depend on it; what has begun goes on in Cinder without us; and the same
command again continues, from any machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
import contextlib
import logging
from typing import Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.i18n import _
from osc_quiesce.recovery import backup_plan
from osc_quiesce.recovery import backup_preflight
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import backup_tasks
from osc_quiesce.recovery import capacity
from osc_quiesce.recovery import failures
from osc_quiesce.recovery import records
from osc_quiesce.recovery import registration
from osc_quiesce import retry

#: how many backups are made at once, unless one says otherwise
PARALLEL: Final = 4
#: seconds for all of them: reading a volume may take hours
TIMEOUT: Final = 86400.0
#: seconds after which the user is told that it goes on
_NEWS: Final = 30.0

LOG = logging.getLogger(__name__)


class NotDone(errors.ApplicationError):
    """The set is not whole, or not registered; what is finished is kept.

    :param reasons: all of them, a sentence each
    """

    def __init__(self, plan: backup_plan.Plan, reasons: Iterable[str]) -> None:
        super().__init__(
            _('%(reasons)s Backup set %(name)s (%(id)s) is not sealed. What '
              'is finished is kept; the same command again continues.')
            % {'reasons': ' '.join(reasons), 'name': plan.name, 'id': plan.id})


def create(
    cloud: cloud_api.Cloud,
    plan: backup_plan.Plan,
    timer: retry.Timer,
    parallel: int = PARALLEL,
    timeout: float = TIMEOUT,
    destination: registration.Destination | None = None,
    progress: Callable[[str], object] = lambda sentence: None,
) -> backup_sets.BackupSet:
    """Back up what a plan says, until the set is sealed.

    May be repeated as often as one likes, with a new plan each time.

    :param timer: its pauses are where a signal may stop it
    :param parallel: how many backups are made at once
    :param timeout: seconds, for all of them
    :param destination: where each is registered as soon as it is there
    :returns: a consistent set
    :raises NotDone: the set is not sealed
    :raises errors.NotPossible: the plan has problems
    """
    backup_preflight.check(plan)
    # Before target volumes are made: that may take minutes, and the plan ages.
    run = _Run(cloud, plan, timer, parallel, timeout, destination, progress)
    if destination is not None:
        destination.prepare()
    run.make()
    return run.seal()


class _Run:
    """One run of the command."""

    def __init__(self, cloud: cloud_api.Cloud, plan: backup_plan.Plan,
                 timer: retry.Timer, parallel: int, timeout: float,
                 destination: registration.Destination | None,
                 progress: Callable[[str], object]) -> None:
        self._cloud = cloud
        self._plan = plan
        self._timer = timer
        self._parallel = parallel
        self._timeout = timeout
        self._destination = destination
        self._progress = progress
        self._told = ('', 0.0)
        self._knows_driver = False
        maker = backup_tasks.Maker(cloud, plan, timer)
        self._tasks = [
            backup_tasks.Task(maker, item)
            # The longest first, so that none is left alone in the end.
            for item in sorted(plan.items, key=lambda item: -item.size)]

    def make(self) -> None:
        """Go on until each backup is there and registered, or has failed.

        :raises NotDone: not all are
        """
        pauses = retry.pauses()
        self._started = self._moved_at = self._timer.clock()
        while True:
            for task in self._tasks:
                if task.has_ended and not task.is_settled:
                    self._register(task)
            self._start()
            self._tell()
            under_way = [t for t in self._tasks if not t.is_settled]
            if not under_way:
                break
            self._check_time(under_way)
            self._timer.sleep(next(pauses))
            if self._look(under_way):
                pauses = retry.pauses()
                self._moved_at = self._timer.clock()
            self._warn_of_silence()
        reasons = [task.failure for task in self._tasks if task.failure]
        if reasons:
            raise NotDone(self._plan, reasons)

    def _start(self) -> None:
        running = sum(task.is_running for task in self._tasks)
        for task in self._tasks:
            if running >= self._parallel:
                break
            if task.may_begin:
                self._timer.sleep(0)  # where a signal may stop us
                task.begin()
                running += task.is_running

    def _look(self, under_way: Iterable[backup_tasks.Task]) -> bool:
        """Look how far all are, by one listing; return whether any moved."""
        try:
            creating = {each['id'] for each in self._cloud.backups(
                status='creating')}
            return sum(task.look(creating) for task in under_way) > 0
        except cloud_api.CloudError as exc:
            if not exc.is_transient:
                raise
            return False  # it will answer again, or the time will be up

    def _warn_of_silence(self) -> None:
        """Tell the user if a cinder-backup is down, or a request is lost."""
        now = self._timer.clock()
        if now - self._moved_at < capacity.SILENCE:
            return
        self._moved_at = now
        if down := capacity.hosts_down(self._cloud):
            LOG.warning(_(
                'No cinder-backup service is up on %s: start it, or, if this '
                'host is gone, disable its service and back up with --full. '
                'The backups that were begun go on, or are made again.'), down)
            return
        # What fails here is tried again after the same time.
        with contextlib.suppress(cloud_api.CloudError):
            for task in self._tasks:
                task.warn_if_not_begun()

    def _register(self, task: backup_tasks.Task) -> None:
        self._check_driver(task)
        if not task.is_there:
            task.fail(failures.unfinished(task.item.label, task.backup_id))
            return
        if self._destination is not None:
            try:
                self._destination.register(task.backup_id)
            except errors.ApplicationError as exc:
                task.fail(str(exc))
                return
        task.is_registered = True

    def _check_driver(self, task: backup_tasks.Task) -> None:
        """Stop if the driver is of no use, which the first backup tells."""
        if self._knows_driver:
            return
        self._knows_driver = True
        try:
            record = records.export(self._cloud, task.backup_id)
        except cloud_api.CloudError:
            return  # by default only administrators may
        if record.is_of_ceph:
            raise NotDone(self._plan, [failures.ceph()])

    def _check_time(self, under_way: Iterable[backup_tasks.Task]) -> None:
        if self._timer.clock() - self._started > self._timeout:
            raise NotDone(self._plan,
                          [*(t.failure for t in self._tasks if t.failure),
                           *(t.lateness(self._timeout) for t in under_way)])

    def _tell(self) -> None:
        """Tell how far it is, when that has changed, and now and then."""
        there = [task for task in self._tasks if task.is_there]
        text = _('%(there)d of %(all)d backups, %(done)d of %(size)d GiB') % {
            'there': len(there),
            'all': len(self._tasks),
            'done': sum(task.item.size for task in there),
            'size': self._plan.size}
        running = sum(task.is_running for task in self._tasks)
        if running:
            text = _('%(text)s, %(running)d running') % {
                'text': text, 'running': running}
        if self._destination is not None:
            text = _('%(text)s, %(number)d registered at %(site)s') % {
                'text': text,
                'number': sum(task.is_registered for task in self._tasks),
                'site': self._destination.name}
        now = self._timer.clock()
        if text != self._told[0] or now - self._told[1] > _NEWS:
            self._told = (text, now)
            self._progress(_('%(text)s, %(seconds).0f s') % {
                'text': text, 'seconds': now - self._started})

    def seal(self) -> backup_sets.BackupSet:
        """Mark the set as consistent, at both sites, and return it."""
        values = {backup_sets.SEALED: backup_sets.CONSISTENT}
        backups = [{'id': task.backup_id} for task in self._tasks]
        try:
            # One may have been deleted since it was made.
            found = self._find()
            if found.is_whole:
                if self._destination is not None:
                    values[backup_sets.REGISTERED] = self._destination.name
                    # First there: a set sealed here is so there as well.
                    self._destination.seal(self._plan.id, backups, values)
                self._timer.until_answered(
                    lambda: backup_sets.mark(self._cloud, backups, values),
                    cloud_api.PATIENCE)
                found = self._find()
        except errors.ApplicationError as exc:
            raise NotDone(self._plan,
                          [_('All backups are there, but cannot be marked: '
                             '%s.') % str(exc).rstrip('.')]) from exc
        if found.state != backup_sets.CONSISTENT:
            raise NotDone(
                self._plan, [_('The set has become %s.') % found.state])
        return found

    def _find(self) -> backup_sets.BackupSet:
        return self._timer.until_answered(
            lambda: backup_sets.find(self._cloud, self._plan.id),
            cloud_api.PATIENCE)
