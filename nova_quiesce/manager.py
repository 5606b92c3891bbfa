# SPDX-License-Identifier: Apache-2.0

"""The nova-quiesce service: whose turn it is, and threads for it.

A message is only a hint to look at a server now.  What was not hinted at, or
is due later, is found by :meth:`QuiesceManager._tick`.  Freezes and thaws have
threads of their own, so that no thaw waits behind a freeze.
"""

import collections
import json
import threading
import time
import uuid
from concurrent import futures
from typing import Any

import oslo_messaging
from nova import context as nova_context
from nova import manager
from oslo_log import log as logging
from oslo_service import periodic_task

from nova_quiesce import cells
from nova_quiesce import conf
from nova_quiesce import notifier
from nova_quiesce import rpcapi
from nova_quiesce import schema
from nova_quiesce import store
from nova_quiesce import sweep
from nova_quiesce import times
from nova_quiesce import work

CONF = conf.CONF
LOG = logging.getLogger(__name__)


class Pool:
    """Threads that work on rows, each on another one.

    The rows of one compute host get at most a quarter of the threads, or four,
    so that guests that hang hold up none of another host, and leave threads to
    their nova-compute.

    :param name: of the threads
    """

    def __init__(self, worker: work.Work, name: str) -> None:
        self._worker = worker
        self._executor = futures.ThreadPoolExecutor(
            CONF.quiesce.threads, thread_name_prefix=name)
        self._most_per_host = min(
            CONF.quiesce.threads, max(4, CONF.quiesce.threads // 4))
        self._lock = threading.Lock()
        self._in_hand: set[str] = set()
        #: by compute host: how many rows have a thread, and which wait
        self._running: collections.Counter[str] = collections.Counter()
        self._waiting: dict[str, list[tuple[str, bool]]] = {}
        self._is_closed = False

    def close(self, timeout: float) -> None:
        """Take nothing more, and wait until what is in hand is done.

        :param timeout: for how many seconds to wait
        """
        with self._lock:
            self._is_closed = True
        end = time.monotonic() + timeout
        while self._in_hand and time.monotonic() < end:
            time.sleep(0.1)

    @property
    def used(self) -> int:
        """How many rows are in hand, or wait for a thread."""
        return len(self._in_hand)

    @property
    def busy(self) -> list[str]:
        """The compute hosts that have more rows in hand than threads."""
        with self._lock:
            return [host for host, rows in self._waiting.items() if rows]

    def submit(self, instance_uuid: str, host: str | None,
               hinted: bool = False) -> None:
        """Have a row worked on, unless that is under way.

        :param host: the compute host of the server, as far as it is known
        """
        with self._lock:
            if self._is_closed or instance_uuid in self._in_hand:
                return    # if it is due after that, a tick finds it
            self._in_hand.add(instance_uuid)
            self._waiting.setdefault(host or '', []).append(
                (instance_uuid, hinted))
        self._run_next(host or '')

    def _run_next(self, host: str) -> None:
        with self._lock:
            if (not self._waiting[host]
                    or self._running[host] == self._most_per_host):
                return
            self._running[host] += 1
            row = self._waiting[host].pop(0)
        self._executor.submit(self._run, host, *row)

    def _run(self, host: str, instance_uuid: str, hinted: bool) -> None:
        try:
            self._worker.do(instance_uuid, hinted)
        except Exception:
            LOG.exception('Work on server %s failed; another attempt follows',
                          instance_uuid)
        finally:
            with self._lock:
                self._in_hand.discard(instance_uuid)
                self._running[host] -= 1
            self._run_next(host)


class QuiesceManager(manager.Manager):
    """Freezes and thaws guests; any number of these share the work."""

    target = oslo_messaging.Target(version=rpcapi.VERSION)

    def __init__(self, host: str | None = None) -> None:
        super().__init__(host=host, service_name='quiesce')
        self.store = store.Store(self.host)
        self.cells = cells.Cells()
        self.notify = notifier.Notifier()
        self.work = work.Work(
            self.host, self.store, self.cells, self.notify)
        self.freezes = Pool(self.work, 'freeze')
        self.thaws = Pool(self.work, 'thaw')
        self.sweep = sweep.Sweep(self.host, self.store)
        #: when it last reported that it is up, and when it last told the log
        self._reported_at = self._logged_at = time.monotonic()
        #: what tells this process from others of its name
        self._process = uuid.uuid4().hex
        self._report = json.dumps({'process': self._process})
        #: whether its last report has replaced that of another process
        self._has_twin = False
        self._is_stopping = False

    def init_host(self, *args: Any, **kwargs: Any) -> None:
        """Check the schema before the service is started.

        :raises SchemaMissing: if the table of freezes is not there
        """
        schema.check()
        self._sweep(nova_context.get_admin_context())

    def graceful_shutdown(self, timeout: float | None = None) -> None:
        """Report that this service is stopped, and end what is in hand.

        :param timeout: for how many seconds to wait for what is in hand; Nova
            33 gives none
        """
        if timeout is None:
            timeout = CONF.graceful_shutdown_timeout
        end = time.monotonic() + timeout
        self._is_stopping = True
        self._retire()
        for pool in (self.freezes, self.thaws):
            pool.close(end - time.monotonic())
        self.notify.close(end - time.monotonic())
        self._retire()    # a sweep that was under way has reported since

    def _retire(self) -> None:
        # Keep the report if a twin runs: that overwrites it within seconds.
        if not self._has_twin:
            self.store.retire(self._report)

    def cleanup_host(self) -> None:
        """Do the same, for Nova 31 and 32."""
        self.graceful_shutdown()

    def quiesce_instance(self, context: nova_context.RequestContext,
                         instance_uuid: str, host: str | None) -> None:
        """Look at a request to quiesce, which may be withdrawn."""
        self.freezes.submit(instance_uuid, host, hinted=True)

    def unquiesce_instance(self, context: nova_context.RequestContext,
                           instance_uuid: str, host: str | None) -> None:
        """Look at a server that was asked to unquiesce."""
        self.thaws.submit(instance_uuid, host, hinted=True)

    @periodic_task.periodic_task(spacing=times.TICK, run_immediately=True)
    def _tick(self, context: nova_context.RequestContext) -> None:
        """Have all rows worked on that are due.

        Those that wait for a thread stay due: so freezes and thaws are looked
        up each on its own, and without those of busy hosts.
        """
        for pool, states in (
                (self.freezes, (store.State.ASKED,)),
                (self.thaws, (store.State.FREEZING, store.State.FROZEN,
                              store.State.THAWING))):
            for row in self.store.due(4 * CONF.quiesce.threads, *states,
                                      busy=pool.busy):
                pool.submit(row.instance_uuid, row.host)
        if (time.monotonic() >= self._reported_at + times.report_pause()
                and not self._is_stopping):
            self._report_up()    # sweeps are rare

    # Read at import: the service names its manager, so that the configuration
    # was read before.
    @periodic_task.periodic_task(spacing=CONF.quiesce.sweep_interval)
    def _sweep(self, context: nova_context.RequestContext) -> None:
        """Report that this service is up, and sweep all cells."""
        if self._is_stopping:
            return
        self._report_up()
        self.cells.sweep(context, self.sweep.run)
        if time.monotonic() > self._logged_at + times.LOG_INTERVAL:
            self._logged_at = time.monotonic()
            self.store.forget()
            counts, overdue = self.store.counts()
            LOG.info('Guests: %(counts)s; the oldest is overdue by '
                     '%(overdue)d s; this service: %(figures)s', {
                         'counts': counts or 'none frozen',
                         'overdue': max(0.0, overdue),
                         'figures': self.figures()})

    def _report_up(self) -> None:
        self._report = json.dumps(
            {'process': self._process, **self.figures()})
        before = self.store.report(self._report)
        self._reported_at = time.monotonic()
        self._has_twin = bool(before) and self._process not in before

    def figures(self) -> dict[str, int]:
        """Return what ``nova-quiesce-status metrics`` shows of a service."""
        return {
            'threads': CONF.quiesce.threads,
            'freezes_in_hand': self.freezes.used,
            'thaws_in_hand': self.thaws.used,
            'thaws_failed': self.work.thawing.failed,
            'unknown_answers': self.work.guests.unknown_answers,
        }
