# SPDX-License-Identifier: Apache-2.0

"""The requests that are sent while servers are frozen.

All snapshots are taken at once. Nothing else is sent then.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import concurrent.futures
import contextlib
import itertools
import threading
from typing import Any, Self
import uuid

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import labels
from osc_quiesce.application import metadata
from osc_quiesce.application import plan as planning
from osc_quiesce import client as quiesce_client
from osc_quiesce import concurrency
from osc_quiesce.i18n import _
from osc_quiesce import retry


class Taking:
    """The snapshots of one set, from the first request until all are there.

    As a context manager it lets the requests under way come to their end.

    :ivar set_id: the id of the set
    :ivar has_begun: whether a request was sent
    :ivar snapshots: the ids of the snapshots, once all are known
    :ivar unanswered: ids of volumes of which Cinder may yet make a snapshot
    """

    def __init__(self, client: quiesce_client.Client, cloud: cloud_api.Cloud,
                 plan: planning.Plan) -> None:
        self.client = client
        self.cloud = cloud
        self.plan = plan
        self.set_id = str(uuid.uuid4())
        self._bodies = labels.bodies(plan, self.set_id)
        self._stop = threading.Event()
        # Only threads: else nothing looks at the deadline, nor for signals.
        self._calls = concurrency.Calls(cloud_api.THREADS, may_block=False)
        self._timeout = self._deadline = 0.0
        self.has_begun = False
        self.snapshots: list[str] = []
        self.unanswered: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._stop.set()
        self._calls.__exit__(*exc_info)

    def take(self, timeout: float) -> None:
        """Take all snapshots at once, and wait for them, so many seconds."""
        self._timeout = timeout
        self._deadline = self.client.timer.clock() + timeout
        self.has_begun = True
        try:
            self._take()
        except BaseException:
            self._calls.stop()  # else more begin while servers are thawed
            raise

    def _take(self) -> None:
        requests = [self._begin(self._request, b) for b in self._bodies]
        self._wait(requests)
        made = [(b, r.result()) for b, r in zip(self._bodies, requests)]
        self.snapshots = [snapshot['id'] for _body, snapshot in made]
        self._wait([self._begin(self._watch, made)])

    def _begin(self, call: Callable[[Any], Any],
               item: Any) -> concurrency.Future[Any]:
        try:
            return self._calls.begin(call, item)
        except RuntimeError as exc:
            raise errors.ApplicationError(_(
                'The system started no thread for a request to Cinder: %s. '
                'End other programs, or raise the limit of processes '
                '("ulimit -u"), and try again.') % exc) from exc

    def _wait(self, futures: Sequence[concurrency.Future[Any]]) -> None:
        pending = set(futures)
        while pending:
            done, pending = concurrent.futures.wait(
                pending, 0.1, concurrent.futures.FIRST_EXCEPTION)
            for future in done:
                future.result()
            self.client.timer.sleep(0)  # where a signal may stop us
            if pending and self.client.timer.clock() > self._deadline:
                raise errors.ApplicationError(_(
                    'Not all snapshots were made within %g s.')
                    % self._timeout)

    def _request(self, body: dict[str, Any]) -> dict[str, Any]:
        """Ask for a snapshot, and return what Cinder makes of it."""
        with _failure_of(body):
            try:
                made: dict[str, Any] = self.cloud.volume(
                    'POST', '/snapshots', {'snapshot': body})['snapshot']
            except cloud_api.CloudError as exc:
                if exc.outcome_unknown:
                    self.unanswered.append(body['volume_id'])
                raise
            return made

    def _watch(self, snapshots: Iterable[
            tuple[dict[str, Any], dict[str, Any]]]) -> None:
        """Wait until the storage has all snapshots.

        Cinder says ``available`` as soon as the driver has made it. All are
        needed: so one is waited for after the other, with few requests.

        :param snapshots: what was asked for, and what Cinder made of it
        """
        for body, made in snapshots:
            with _failure_of(body):
                for pause in itertools.chain([0.0], retry.pauses()):
                    if made['status'] == 'available':
                        break
                    if made['status'].startswith('error'):
                        raise errors.ApplicationError(
                            _('its status is %s') % made['status'])
                    if self._stop.wait(pause):
                        return
                    made = self._read(f'/snapshots/{made["id"]}')['snapshot']

    def _read(self, path: str) -> dict[str, Any]:
        """Return what Cinder has at a path, while servers are frozen.

        One answer that does not come is no reason to give up a good set; a
        Cinder that stays away is, at the deadline of the whole step.
        """
        timer = retry.Timer(self.client.timer.clock, self._stop.wait)
        timeouts = itertools.chain(
            [retry.FIRST_ATTEMPT], itertools.repeat(cloud_api.PATIENCE))
        return timer.until_answered(
            lambda: self.cloud.volume(
                'GET', path, timeout=next(timeouts)),
            self._deadline - timer.clock())


@contextlib.contextmanager
def _failure_of(body: Mapping[str, Any]) -> Iterator[None]:
    """Let an error say whose snapshot has failed."""
    try:
        yield
    except errors.ApplicationError as exc:
        raise errors.ApplicationError(
            _('The snapshot of volume %(volume)s of server %(server)s failed: '
              '%(why)s.') % {'volume': body['volume_id'],
                             'server': metadata.get(body, 'server_name'),
                             'why': str(exc).rstrip('.')}) from exc
