# SPDX-License-Identifier: Apache-2.0

"""Freeze, take the snapshots, check, thaw: the making of a snapshot set.

Servers are frozen only for what must be done meanwhile. Whatever fails, they
are thawed first, and then the snapshots are deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import concurrent.futures
import contextlib
import datetime
import functools
import importlib.metadata
import itertools
import logging
import threading
from typing import Any, Final, TypeVar
import uuid

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import plan as planning
from osc_quiesce.application import sets
from osc_quiesce.application import spec
from osc_quiesce.application import turns
from osc_quiesce import client as quiesce_client
from osc_quiesce import consistency
from osc_quiesce.i18n import _

LOG = logging.getLogger(__name__)

SEAL_PATIENCE: Final = 60.0  # seconds, for a Cinder that is away

_T = TypeVar('_T')
_U = TypeVar('_U')


class Kept(errors.ApplicationError):
    """It did not go well, but the set was kept; the message says why."""


def create(
    client: quiesce_client.Client,
    cloud: cloud_api.Cloud,
    plan: planning.Plan,
    timeout: float,
    description: str = '',
    properties: Mapping[str, str] | None = None,
    keep_inconsistent: bool = False,
    progress: Callable[[str], object] = lambda sentence: None,
    shield: Callable[
        [], contextlib.AbstractContextManager[Any]
    ] = contextlib.nullcontext,
) -> sets.SnapshotSet:
    """Make a consistent snapshot set, or none.

    :param client: what its ``sleep`` raises stops everything
    :param timeout: seconds, for each stage, and for all snapshots together
    :param properties: metadata that each snapshot gets
    :param keep_inconsistent: if a server turns out to have been thawed by
        somebody else meanwhile, keep the set and mark it
    :param progress: is told what is done next, in a sentence
    :param shield: makes a context in which ``client.sleep`` must not raise
    :returns: the set; it is consistent
    :raises errors.NotPossible: the plan has refusals; nothing was done
    :raises exceptions.QuiesceError: a server could not be frozen, did not
        stay frozen, or could not be thawed
    :raises turns.TurnLost: another command over these servers goes first
    :raises Kept: the set is not consistent, and was kept because that was
        asked for; or it is, and only the thaw, or marking it, failed
    :raises errors.ApplicationError: Cinder failed, or the servers changed
    """
    planning.check(plan)
    work = _Work(client, cloud, plan, description, properties or {})
    verified = False
    try:
        try:
            with turns.quiesced(
                client, cloud, plan, timeout, progress, shield
            ) as frozen:
                progress(_('Taking %d snapshots ...') % len(plan.snapshots))
                work.take(timeout)
                # Both at the same time, and after the last snapshot.
                others = work.look_for_others(timeout)
                frozen.verify()
                work.wait_for(others, timeout)
                verified = True
        finally:
            # Not before the thaw: a request may take long.
            work.finish()
        client.sleep(0)  # where a signal may stop us
        report = frozen.report
        return work.seal(report.window, report.complete)
    except Kept:
        raise
    except BaseException as exc:
        with shield():
            if keep_inconsistent and _not_consistent(exc):
                work.keep(exc)
            if verified and isinstance(exc, consistency.ThawFailed):
                work.keep_consistent(exc, frozen.report.complete)
            work.undo(progress)
        raise


def _not_consistent(exc: BaseException) -> bool:
    return any(
        isinstance(error, consistency.NotConsistent)
        for error in (exc, exc.__cause__)
    )


class _Work:
    """The snapshots of one set, from the first request to the last."""

    def __init__(
        self,
        client: quiesce_client.Client,
        cloud: cloud_api.Cloud,
        plan: planning.Plan,
        description: str,
        properties: Mapping[str, str],
    ) -> None:
        self._client = client
        self._cloud = cloud
        self._plan = plan
        self._description = description
        self._properties = properties
        self._set_id = str(uuid.uuid4())
        self._created_at = quiesce_client.time_text(
            datetime.datetime.now(datetime.UTC)
        )
        self._stop = threading.Event()
        self._started = False
        self._snapshots: list[str] = []  # their ids, once all are known
        # Volumes of which Cinder may yet make a snapshot
        self._unanswered: list[str] = []
        self._pool = concurrent.futures.ThreadPoolExecutor(cloud_api.THREADS)
        self._bodies = [
            self._body(order, server, volume)
            for order, (server, volume) in enumerate(plan.snapshots)
        ]

    def take(self, timeout: float) -> None:
        """Take all snapshots at once, and wait until they exist.

        Nova lets nobody change the volumes of a quiesced server: so it is
        enough to look at them once while it is frozen.
        """
        deadline = self._client.clock() + timeout
        late = _('Not all snapshots were made within %g s.') % timeout
        requests = [self._start(self._request, b) for b in self._bodies]
        checks = [
            self._start(self._check_volumes, s, deadline)
            for s in self._plan.servers
        ]
        self._wait([*requests, *checks], deadline, late)
        made = [(b, r.result()) for b, r in zip(self._bodies, requests)]
        self._snapshots = [snapshot['id'] for _body, snapshot in made]
        self._wait(
            [self._start(self._watch, made, deadline)], deadline, late
        )

    def look_for_others(
        self, timeout: float
    ) -> list[concurrent.futures.Future[None]]:
        """Begin to look who has volumes that several servers may have."""
        deadline = self._client.clock() + timeout
        return [
            self._start(self._check_users, volume, deadline)
            for _server, volume in self._plan.snapshots
            if volume.multiattach
        ]

    def wait_for(
        self,
        checks: Sequence[concurrent.futures.Future[None]],
        timeout: float,
    ) -> None:
        """Wait until these have ended, and raise what they have raised."""
        self._wait(
            checks,
            self._client.clock() + timeout,
            _('Cinder did not show all volumes within %g s.') % timeout,
        )

    def _wait(
        self,
        futures: Sequence[concurrent.futures.Future[Any]],
        deadline: float,
        late: str,
    ) -> None:
        pending = set(futures)
        while pending:
            done, pending = concurrent.futures.wait(
                pending, 0.1, concurrent.futures.FIRST_EXCEPTION
            )
            for future in done:
                future.result()
            self._client.sleep(0)  # where a signal may stop us
            if pending and self._client.clock() > deadline:
                raise errors.ApplicationError(late)

    def finish(self) -> None:
        """Let the requests under way come to an end."""
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def seal(
        self, window: float | None, complete: float | None
    ) -> sets.SnapshotSet:
        """Mark the set as consistent, and return it as Cinder has it.

        It is, whatever becomes of the marks: if Cinder does not take them for
        a while, the set is kept without.
        """
        try:
            made = self._mark(
                {
                    'consistency': sets.CONSISTENT,
                    'window': '' if window is None else f'{window:.3f}',
                    'complete': '' if complete is None else f'{complete:.3f}',
                }
            )
        except cloud_api.NotThere:
            raise  # a snapshot is gone: it is not a whole set any more
        except cloud_api.CloudError as exc:
            raise Kept(
                _(
                    'Snapshot set %(name)s (%(id)s) is consistent, but Cinder '
                    'does not let it be marked so: %(why)s. It is kept, and '
                    'shown as %(state)s. Mark each of its snapshots with '
                    '"openstack volume snapshot set --property '
                    '%(key)s=%(value)s <snapshot>" (%(snapshots)s), or delete '
                    'it with "openstack application snapshot delete %(id)s".'
                )
                % {
                    'name': self._plan.name,
                    'id': self._set_id,
                    'why': str(exc).rstrip('.'),
                    'state': sets.PENDING,
                    'key': f'{sets.PREFIX}consistency',
                    'value': sets.CONSISTENT,
                    'snapshots': ' '.join(self._snapshots),
                }
            ) from exc
        if made.state != sets.CONSISTENT:
            raise errors.ApplicationError(
                _('Snapshot set %(name)s (%(id)s) is %(state)s.')
                % {'name': made.name, 'id': made.id, 'state': made.state}
            )
        return made

    def keep(self, exc: BaseException) -> None:
        """Mark the set as inconsistent, and raise Kept."""
        try:
            self._mark({'consistency': sets.INCONSISTENT})
        except errors.ApplicationError as error:
            LOG.error(_('The set cannot be marked: %s'), error)
            return
        raise Kept(
            _(
                '%(why)s Snapshot set %(name)s (%(id)s) is NOT CONSISTENT; '
                'it is kept and marked so.'
            )
            % {'why': exc, 'name': self._plan.name, 'id': self._set_id}
        ) from exc

    def keep_consistent(
        self, exc: BaseException, complete: float | None
    ) -> None:
        """Seal the set although a thaw failed, and raise Kept."""
        try:
            self.seal(None, complete)
        except Kept as kept:
            raise Kept(f'{exc} {kept}') from exc
        except errors.ApplicationError as error:
            LOG.error(_('The set cannot be sealed: %s'), error)
            return
        raise Kept(
            _('%(why)s. Snapshot set %(name)s (%(id)s) is consistent.')
            % {
                'why': str(exc).rstrip('.'),
                'name': self._plan.name,
                'id': self._set_id,
            }
        ) from exc

    def undo(self, progress: Callable[[str], object]) -> None:
        """Delete what was made; say what is left, if anything is."""
        if not self._started:
            return
        progress(_('Deleting the snapshots ...'))
        try:
            unseen = sets.delete(
                self._cloud,
                self._set_id,
                self._client.sleep,
                self._client.clock,
                late=self._unanswered,
            )
        except errors.ApplicationError as exc:
            LOG.error('%s', exc)
            return
        if unseen:
            LOG.error(
                _(
                    'Cinder has not answered whether it makes a snapshot of '
                    '%(volumes)s, and none was there so far. If one appears, '
                    '"openstack application snapshot delete %(id)s" deletes '
                    'it.'
                ),
                {'volumes': ', '.join(unseen), 'id': self._set_id},
            )

    def _mark(self, metadata: Mapping[str, str]) -> sets.SnapshotSet:
        """Mark the snapshots, and return the set as Cinder has it then.

        No server is frozen any more: there is time to repeat it.
        """

        def mark() -> sets.SnapshotSet:
            sets.mark(self._cloud, self._snapshots, metadata)
            return sets.find(self._cloud, self._set_id)

        return self._patiently(
            mark, self._client.clock() + SEAL_PATIENCE, self._client.sleep
        )

    def _patiently(
        self,
        do: Callable[[], _T],
        deadline: float,
        wait: Callable[[float], bool | None],
    ) -> _T:
        """Return what this returns, repeated while its trouble may pass.

        :param deadline: by the client's clock; the error is raised then
        :param wait: pauses for so many seconds, and returns whether to end
            with the error
        """
        waits = quiesce_client.pauses()
        while True:
            try:
                return do()
            except cloud_api.CloudError as exc:
                pause = max(next(waits), exc.retry_after)
                if (
                    not exc.may_pass
                    or self._client.clock() + pause > deadline
                    or wait(pause)
                ):
                    raise

    def _read(self, do: Callable[[], _T], deadline: float) -> _T:
        """Return what this reads while servers are frozen.

        One answer that does not come is no reason to give up a good set; a
        Cinder or Nova that stays away is, at the deadline of the whole step.
        """
        return self._patiently(do, deadline, self._stop.wait)

    def _start(
        self, do: Callable[..., _U], *args: Any
    ) -> concurrent.futures.Future[_U]:
        self._started = True
        return self._pool.submit(do, *args)

    def _request(self, body: dict[str, Any]) -> dict[str, Any]:
        """Ask for a snapshot, and return what Cinder makes of it."""
        with _failure_of(body):
            try:
                made: dict[str, Any] = self._cloud.volume(
                    'POST', '/snapshots', {'snapshot': body}
                )['snapshot']
            except cloud_api.CloudError as exc:
                if exc.tells_nothing:
                    self._unanswered.append(body['volume_id'])
                raise
            return made

    def _watch(
        self,
        snapshots: Iterable[tuple[dict[str, Any], dict[str, Any]]],
        deadline: float,
    ) -> None:
        """Wait until the storage has all snapshots.

        Cinder says ``available`` as soon as the driver has made it. All are
        needed: so one is waited for after the other, with few requests.

        :param snapshots: what was asked for, and what Cinder made of it
        """
        for body, made in snapshots:
            with _failure_of(body):
                for pause in itertools.chain([0.0], quiesce_client.pauses()):
                    if made['status'] == 'available':
                        break
                    if made['status'].startswith('error'):
                        raise errors.ApplicationError(
                            _('its status is %s') % made['status']
                        )
                    if self._stop.wait(pause):
                        return
                    read = functools.partial(
                        self._cloud.volume, 'GET', f'/snapshots/{made["id"]}'
                    )
                    made = self._read(read, deadline)['snapshot']

    def _check_volumes(
        self, server: planning.Server, deadline: float
    ) -> None:
        with _not_known(
            _('Whether the volumes of server %s changed meanwhile')
            % server.label
        ):
            parts = self._read(
                lambda: planning.attached(self._cloud, server.id), deadline
            )
        now = {part['volumeId'] for part in parts}
        before = {volume.id for volume in server.volumes}
        if now != before:
            raise errors.ApplicationError(
                _(
                    'The volumes of server %(server)s changed meanwhile: '
                    'gone %(gone)s, new %(new)s. Try again.'
                )
                % {
                    'server': server.label,
                    'gone': ', '.join(sorted(before - now)) or _('none'),
                    'new': ', '.join(sorted(now - before)) or _('none'),
                }
            )

    def _check_users(
        self, volume: planning.Volume, deadline: float
    ) -> None:
        with _not_known(
            _('Whether volume %s was attached to another server meanwhile')
            % volume.id
        ):
            shown = self._read(
                lambda: self._cloud.volume('GET', f'/volumes/{volume.id}'),
                deadline,
            )['volume']
        users = planning.strangers(shown, {s.id for s in self._plan.servers})
        if users:
            raise errors.ApplicationError(
                _(
                    'Volume %(volume)s was attached to %(users)s meanwhile, '
                    'which is not frozen. Try again.'
                )
                % {'volume': volume.id, 'users': ', '.join(users)}
            )

    def _body(
        self, order: int, server: planning.Server, volume: planning.Volume
    ) -> dict[str, Any]:
        plain = {
            'format': sets.FORMAT,
            'version': importlib.metadata.version('osc-quiesce'),
            'set': self._plan.name,
            'set_id': self._set_id,
            'application': self._plan.application,
            'created_at': self._created_at,
            'volumes': str(len(self._plan.snapshots)),
            'consistency': sets.PENDING,
            'order': str(order),
            'stage': str(server.stage),
            'server_id': server.id,
            'server_name': server.name,
            'device': volume.device,
            'boot_index': str(volume.boot_index),
        }
        # Servers without a snapshot of their own go with the first one.
        with_snapshot = {s.id for s, _volume in self._plan.snapshots}
        servers = [
            s.restore
            for s in self._plan.servers
            if s.id == server.id or (order == 0 and s.id not in with_snapshot)
        ]
        name = f'{self._plan.name}_{server.name}_{volume.device[5:]}'
        return {
            'volume_id': volume.id,
            'name': name[: spec.LONGEST_NAME],
            'description': self._description,
            'force': True,  # it is in use
            'metadata': {
                **self._properties,
                **{sets.PREFIX + key: value for key, value in plain.items()},
                **sets.pack('servers', servers),
            },
        }


@contextlib.contextmanager
def _failure_of(body: Mapping[str, Any]) -> Iterator[None]:
    """Let an error say whose snapshot has failed."""
    try:
        yield
    except errors.ApplicationError as exc:
        raise errors.ApplicationError(
            _(
                'The snapshot of volume %(volume)s of server %(server)s '
                'failed: %(why)s.'
            )
            % {
                'volume': body['volume_id'],
                'server': body['metadata'][f'{sets.PREFIX}server_name'],
                'why': str(exc).rstrip('.'),
            }
        ) from exc


@contextlib.contextmanager
def _not_known(what: str) -> Iterator[None]:
    """Let an error say what could not be checked."""
    try:
        yield
    except cloud_api.CloudError as exc:
        raise errors.ApplicationError(
            # Translators: %(what)s is such as "Whether ... changed meanwhile".
            _('%(what)s is not known: %(why)s. Try again once that works.')
            % {'what': what, 'why': str(exc).rstrip('.')}
        ) from exc
