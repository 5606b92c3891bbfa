# SPDX-License-Identifier: Apache-2.0

"""Restoring an application: volumes, proof, ports, servers stage by stage.

Nothing is torn down when something fails: what is there is used by the same
command again, which is what brings an application back soonest. No server is
made before every volume is there and, where that is possible, proven.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
import contextlib
import dataclasses
import datetime
import logging
from typing import Any, Final, TypeVar

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce import client as quiesce_client
from osc_quiesce import concurrency
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce.recovery import booting
from osc_quiesce.recovery import checking
from osc_quiesce.recovery import filling
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import proof
from osc_quiesce.recovery import report as reports
from osc_quiesce.recovery import resolved
from osc_quiesce.recovery import restore_plan
from osc_quiesce.recovery import split_brain
from osc_quiesce.recovery import targets
from osc_quiesce.recovery import verdicts
from osc_quiesce.recovery import waiting

LOG = logging.getLogger(__name__)

_T = TypeVar('_T')
_U = TypeVar('_U')

VOLUMES: Final = 'volumes'
PROOF: Final = 'verification'


@dataclasses.dataclass(frozen=True)
class Means:
    """How a restore is made.

    :param timeout: seconds, for each server and each check
    :param volume_timeout: seconds, for each volume, and for each proof
    :param check: a command for ``/bin/sh -c``; empty for none
    :param container: of the proofs
    :param progress: is told what is done next, in a sentence
    :param shield: as for :func:`osc_quiesce.group.quiesced`
    """

    timeout: float
    volume_timeout: float
    check: str = ''
    asks_agents: bool = True
    container: str = proof.CONTAINER
    failed_at: datetime.datetime | None = None
    progress: Callable[[str], object] = lambda sentence: None
    shield: Callable[
        [], contextlib.AbstractContextManager[Any]
    ] = contextlib.nullcontext


def create(client: quiesce_client.Client, cloud: cloud_api.Cloud,
           plan: restore_plan.Plan, means: Means) -> reports.Report:
    """Do what a plan says, or what is left of it.

    :returns: what was done, and how long it took
    :raises errors.NotPossible: the plan has refusals; nothing was done
    :raises errors.ApplicationError: something failed; the message says what
        to do, mostly to run the same command again
    """
    run = Run(client, cloud, plan, means)
    try:
        run.fill()
        run.prove()
        if plan.options.start:
            run.start()
    except cloud_api.CloudError as exc:
        raise _advised(exc) from exc
    return run.report


class Run:
    """The steps of a restore, in their order.

    :ivar rows: where the volumes are, by the IDs of their sources
    :raises errors.NotPossible: the plan has refusals
    """

    def __init__(self, client: quiesce_client.Client, cloud: cloud_api.Cloud,
                 plan: restore_plan.Plan, means: Means) -> None:
        restore_plan.check(plan)
        self._client = client
        self._cloud = cloud
        self._plan = plan
        self._means = means
        self._clock = client.timer.clock
        self._waiter = waiting.Waiter(
            cloud, client.timer, means.volume_timeout)
        self.rows: dict[str, reports.Volume] = {}
        self._in_use: set[str] = set()
        self._was_in_use: set[str] = set()
        self._claimed: set[str] = set()  # by an earlier run, to be proven
        self.report = reports.Report(
            plan.restore_id, plan.name, plan.point,
            reports.rpo(plan.point.created_at, means.failed_at), self._clock)

    def fill(self) -> None:
        """Restore all volumes."""
        with self.report.phase(VOLUMES):
            self._fill()

    def _fill(self) -> None:
        plan = self._plan
        self._means.progress(
            _('Restoring %(count)d volumes (%(size)d GiB) ...') % {
                'count': len(plan.items),
                'size': sum(item.copy.size for item in plan.items)})
        filler = filling.Filler(self._waiter, plan, self._means.progress)
        found: dict[str, tuple[dict[str, Any], float]] = {}

        def fill(item: restore_plan.Item) -> None:
            started = self._clock()
            volume = filler.fill(item)
            found[item.wanted.id] = volume, self._clock() - started

        # The biggest first: it takes longest.
        together(fill, sorted(plan.items, key=lambda item: -item.copy.size),
                 plan.options.parallel)
        servers = set()
        if any(volume['attachments'] for volume, _seconds in found.values()):
            servers = {each['id'] for each in restore_plan.servers_of(
                self._cloud, plan.restore_id)}
        for item in plan.items:
            self.rows[item.wanted.id] = self._row(
                item, *found[item.wanted.id], servers)
        self.report.volumes = list(self.rows.values())

    def _row(self, item: restore_plan.Item, volume: dict[str, Any],
             seconds: float, servers: set[str]) -> reports.Volume:
        """Return what is known of a volume, and note who may have used it.

        :param servers: IDs of those that this restore has made
        """
        is_verified = marks.is_used_as_verified(volume, servers)
        if marks.get(volume, marks.VERIFIED) and not is_verified:
            self._claimed.add(volume['id'])
        if volume['status'] != 'available':
            self._in_use.add(volume['id'])
        elif (marks.get(volume, marks.STARTED)
                or volume['id'] in self._claimed):
            self._was_in_use.add(volume['id'])
        wanted = item.wanted
        stage = next(server.stage for server in self._plan.resolution.servers
                     if any(v['id'] == wanted.id for v in server.volumes))
        return reports.Volume(stage, wanted.server, wanted.device, wanted.id,
                              volume['id'], item.copy.id, item.copy.size,
                              is_verified, seconds)

    def prove(self) -> None:
        """Prove what the plan wants proven, before any boot."""
        if self._plan.verify:
            with self.report.phase(PROOF):
                self._prove()

    def _prove(self) -> None:
        items = [item for item in self._plan.items if self._is_open(item)]
        self._means.progress(_('Verifying %d volumes ...') % len(items))
        prover = proof.Prover(
            self._waiter, self._means.container, self._means.shield)
        verdict = verdicts.Verdicts(self._waiter, self._plan, self.rows)

        def prove(item: restore_plan.Item) -> None:
            row = self.rows[item.wanted.id]
            started = self._clock()
            was_in_use = row.id in self._was_in_use
            try:
                prover.prove(
                    row.id, item.copy.id,
                    lambda: (verdict.check if was_in_use
                             else verdict.differs)(item))
            except proof.NotEqual:
                if not was_in_use:
                    raise
                self._give_up_proof(item)
                return
            verdict.equal(item)
            row.verified = True
            self._claimed.discard(row.id)
            row.seconds += self._clock() - started
            self._means.progress(
                _('Volume %s is equal to its backup') % item.wanted.label)

        try:
            together(prove, items, self._plan.options.parallel)
        finally:
            verdict.note()
            prover.settle()

    def _is_open(self, item: restore_plan.Item) -> bool:
        """Return whether a volume should be proven, and can be."""
        row = self.rows[item.wanted.id]
        if not item.is_target or row.verified:
            return False
        if row.id not in self._in_use:
            return True
        self._give_up_proof(item)
        return False

    def _withdraw(self, row: reports.Volume) -> None:
        """Remove what an earlier run has claimed, and this one cannot."""
        if row.id in self._claimed:
            values = {marks.VERIFIED: '', marks.STARTED: model.utc_now()}
            self._waiter.repeat(
                lambda: marks.write(self._cloud, row.id, values))
            self._claimed.remove(row.id)

    def _give_up_proof(self, item: restore_plan.Item) -> None:
        self._withdraw(self.rows[item.wanted.id])
        message = _('Volume %s cannot be verified any more: a server has it, '
                    'or had it, and may have written to it.'
                    ) % item.wanted.label
        if self._plan.options.verify:
            raise proof.NotProven(
                message, _('Without --verify-all, the restore goes on.'))
        LOG.warning('%s', message)

    def _check_volumes(self) -> None:
        """Check that all volumes have what was restored, and can be used."""
        there = {each['id']: each for each in self._waiter.repeat(
            lambda: targets.everything(self._cloud))}
        found = []
        for item in self._plan.items:
            id_ = self.rows[item.wanted.id].id
            if why := restore_plan.lost(
                    item, id_, there, self._plan.restore_id
            ) or restore_plan.damage(there[id_]):
                found.append(_('No further server was started: %s.') % why)
        if found:
            raise errors.ApplicationError(' '.join(found), _(
                'The same command again makes a new plan.'))

    def start(self) -> None:
        """Make the servers, one stage after the other."""
        stages = self._plan.stages
        with self._phase(stages[0]):
            self._waiter.repeat(
                lambda: split_brain.check(self._cloud, self._plan))
            booter = booting.Booter(
                waiting.Waiter(
                    self._cloud, self._client.timer, self._means.timeout),
                self._plan,
                {source: row.id for source, row in self.rows.items()})
            checker = checking.Checker(
                self._client, self._means.check, self._means.timeout,
                self._means.asks_agents, self._means.shield)
        for servers in stages:
            self._client.timer.sleep(0)  # where a signal may stop us
            with self._phase(servers):
                self._check_volumes()
                for row in self.rows.values():
                    self._withdraw(row)  # no proof was wanted
                self._means.progress(_('Starting %s ...') % ', '.join(
                    server.name for server in servers))
                together(lambda server: self._start(booter, checker, server),
                         servers, len(servers))

    def _phase(self, servers: Sequence[resolved.Server],
               ) -> contextlib.AbstractContextManager[None]:
        # For programs, and so not translated.
        return self.report.phase(f'stage {servers[0].stage + 1}')

    def _start(self, booter: booting.Booter, checker: checking.Checker,
               server: resolved.Server) -> None:
        started = self._clock()
        found = booter.boot(server)
        row = reports.Server(server.stage, server.name, server.id, found['id'],
                             found['status'], checking.addresses_of(found))
        self.report.servers.append(row)
        row.agent = checker.agent(server, found)
        checker.run(server, found)
        row.checked = bool(self._means.check)
        row.seconds = self._clock() - started


def together(function: Callable[[_T], _U], items: Iterable[_T],
             threads: int) -> list[_U]:
    """Call a function with each item, so many at once; return the results.

    One that fails does not stop the others.

    :raises errors.ApplicationError: all that went wrong, a sentence each
    """
    failures: list[errors.ApplicationError] = []

    def call(item: _T) -> _U | None:
        try:
            return function(item)
        except errors.ApplicationError as exc:
            failures.append(_advised(exc))
            return None

    everything = list(items)
    found = concurrency.run_all(
        call, everything, threads=max(1, min(threads, len(everything) or 1)))
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise errors.ApplicationError(
            ' '.join(each.fact for each in failures),
            # Each advice once
            ' '.join(dict.fromkeys(
                each.advice for each in failures if each.advice))
        ) from failures[0]
    return [each for each in found if each is not None]


def _advised(exc: errors.ApplicationError) -> errors.ApplicationError:
    """Return what went wrong, with advice also for an answer of a service."""
    if not isinstance(exc, cloud_api.CloudError):
        return exc
    return errors.ApplicationError(
        _('%s.') % str(exc).rstrip('.'),
        _('Nothing is torn down; the same command again continues.'))
