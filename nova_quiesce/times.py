# SPDX-License-Identifier: Apache-2.0

"""The times that leases depend on, and how they depend on each other.

Durations are in seconds.  Moments are seconds since 1970 by the clock of the
database that holds the table of freezes.  No two clocks are compared, unless
that database is a cluster.  A pause on which no lease depends may be where it
is made.

What has to hold, and why:

- ``freeze_lease > freeze_timeout``: a message to nova-compute expires after
  the time-out of its call.  So no freeze can arrive once its lease has ended.
- ``freeze_lease > freeze_timeout + undo_timeout``: the service that sent a
  freeze has the time to undo it before another one takes it over.
- ``expiry_pause > freeze_timeout``: a freeze that was sent just before the end
  of its lease has expired when the last thaw begins.
- ``THAW_LEASE > THAW_TIMEOUT``: two services do not thaw one guest at once.
- ``LOOK_LEASE > RETRY_TIME + LOCK_TIMEOUT``: a service that does not get the
  lock of the server before a thaw goes on without it, and still owns the row.
- ``LOOK_LEASE < 10``: if a service dies before it sends a thaw, the thaw is at
  most this late.
- ``READ_TIMEOUT > LOCK_TIMEOUT``: a database that waits for a lock is not
  taken for one that is silent.
- ``LOCK_TIMEOUT < LEASE_MARGIN``: in MySQL the time of a statement is that of
  its beginning.  So a wait for a lock shortens the lease that follows.  What
  is left of the margin is for the commit, and for the difference between the
  clocks of a cluster.
- The pauses of ``BUS_RETRIES`` are short against every lease: a message sent
  after its lease would break a later request. (A broker that accepts a message
  and does not confirm it can make each attempt as long as the call.)
- ``CALL_MONITOR_TIMEOUT < THAW_TIMEOUT``: a nova-compute that died with a thaw
  in hand is noticed before the thaw is given up.

This module must never do any input or output.
"""

import datetime

from nova_quiesce import conf

CONF = conf.CONF

#: between two searches for rows that are due
TICK = 1.0
#: kept of a lease for what is written to the databases
LEASE_MARGIN = 3.0
#: for how long a thaw is waited for, and for how long without a sign of life
#: of the nova-compute that has it in hand
THAW_TIMEOUT = 15.0
CALL_MONITOR_TIMEOUT = 5.0
#: of that time, how much must be left for a pause and another attempt
LAST_ATTEMPT = 1.5
#: for how long a service owns a row that it has taken: until it has looked at
#: the server, and sends nothing or sets the lease of what it sends
LOOK_LEASE = 6.0
#: for how long a service owns the row of a thaw that it sends, or of a freeze
#: that was answered
THAW_LEASE = THAW_TIMEOUT + LEASE_MARGIN
#: how often a message is sent again that the bus does not take: after 1 s, and
#: after 3 s.  The default of oslo.messaging is for ever.
BUS_RETRIES = 2
#: until a row that was asked for is found if its message was lost
ASK_PAUSE = 5.0
#: for how long a nova-api may take between the row and the server's state
ASK_GRACE = 60.0
#: until a server is looked at again that Nova is at work on, or whose cell
#: does not answer
WAIT_PAUSE = 5.0
#: until the next thaw after one that failed: at first, and at most.  At first
#: it is shorter than a message lasts, so that a nova-compute that is started
#: again finds one, and thaws at once.
RETRY_PAUSES = (2.0, 60.0)
#: thaws that fail until the pauses grow
STEADY_RETRIES = 10
#: until a cell whose sweep does not come back counts as hung
CELL_TIMEOUT = 5.0
#: for how long work waits for a cell to answer, and for how long an answer
#: holds
CELL_ANSWER = 1.0
#: for how long a statement waits for its answer
READ_TIMEOUT = 10
#: for how long MySQL waits for the next statement: a process that vanished in
#: a transaction must not keep its locks.  A host takes longer to start again.
#: And a connection of a pool of 5 does not rest as long between two sweeps.
IDLE_TIMEOUT = 30
#: for how long a statement waits for a lock in MySQL
LOCK_TIMEOUT = 2
#: for how long a transaction is begun again that a lock or a deadlock has
#: rolled back
RETRY_TIME = 3.0
#: for how long a request id is remembered
REQUEST_MEMORY = 86400.0
#: between two lines in the log that tell how many guests are frozen
LOG_INTERVAL = 60.0


def freeze_timeout() -> float:
    """Return for how long a freeze is waited for."""
    return float(0.75 * CONF.quiesce.operation_timeout)


def undo_timeout() -> float:
    """Return for how long the thaw is waited for that undoes a freeze."""
    return float(CONF.quiesce.operation_timeout - freeze_timeout())


def freeze_lease() -> float:
    """Return for how long a service owns the row of a freeze it sends."""
    return freeze_timeout() + undo_timeout() + LEASE_MARGIN


def expiry_pause() -> float:
    """Return until when no freeze that was sent by now is on its way."""
    return freeze_timeout() + LEASE_MARGIN


def take_up_timeout() -> float:
    """Return after how long a request that no service took up is given up."""
    return float(2 * CONF.quiesce.operation_timeout)


def report_pause() -> float:
    """Return how long after its last report a service is to report again."""
    return float(CONF.service_down_time / 3)


def retry_pause(attempts: int) -> float:
    """Return the pause after so many thaws that failed."""
    first, longest = RETRY_PAUSES
    return min(first * 2 ** min(max(attempts - STEADY_RETRIES, 0), 10),
               longest)


def text(moment: float | None) -> str | None:
    """Return a moment in ISO 8601, such as ``2026-11-23T03:45:00Z``."""
    if moment is None:
        return None
    return as_datetime(moment).isoformat(timespec='seconds') + 'Z'


def as_datetime(moment: float) -> datetime.datetime:
    """Return a moment as Nova's database has it: UTC, without a zone."""
    return datetime.datetime.fromtimestamp(
        moment, datetime.UTC).replace(tzinfo=None)
