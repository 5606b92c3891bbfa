# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""What the sweep decides: the rules by which no guest stays frozen.

Given what is known of a server that has a mark, :func:`judge` says what has to
be done about it now.  This module must never do any input or output, nor look
at the clock.
"""

import dataclasses
import enum

from nova.compute import vm_states

from nova_quiesce import marks
from nova_quiesce import states

#: seconds until the second attempt to thaw; each further pause is twice as
#: long, up to LONGEST_PAUSE
FIRST_PAUSE = 5
LONGEST_PAUSE = 300

#: Seconds for which a thaw that is past the deadline waits for a service to
#: take it up, before it is asked for once more.
TAKE_UP = 2

#: How far, in seconds, the clocks of two hosts may differ, before a time in a
#: mark is taken for one from before the clock was set back.
CLOCK_DIFFERENCE = 60

#: The guest does not run, and is started anew if it ever runs again.
NOT_RUNNING = frozenset({
    vm_states.STOPPED, vm_states.SHELVED, vm_states.SHELVED_OFFLOADED,
    vm_states.SOFT_DELETED, vm_states.DELETED})

#: The guest does not run now, and goes on later, frozen if it was.
ASLEEP = frozenset({
    vm_states.PAUSED, vm_states.SUSPENDED, vm_states.BUILDING})


class Worker(enum.Enum):
    """What is known of the service that works on a server's request."""

    #: it is up, and has not said that it is done
    ALIVE = 'alive'
    #: it has died, or was restarted
    DEAD = 'dead'
    #: no service has begun
    NOBODY = 'nobody'


class Verdict(enum.Enum):
    """What has to be done about a server that has a mark."""

    #: nothing, at least not now
    WAIT = 'wait'
    #: ask for a thaw: the deadline has passed
    THAW_OVERDUE = 'thaw overdue'
    #: ask for a thaw: the guest may be frozen, and the server says otherwise
    THAW_AGAIN = 'thaw again'
    #: note that no freeze can come late any more: the next thaw is the last
    SETTLE = 'settle'
    #: drop the mark: there is no running guest
    FORGET = 'forget'
    #: nobody carries the quiesce out: report it as failed, and thaw
    INTERRUPT = 'interrupt'
    #: nobody carries the thaw out: let another service do it
    RESUME = 'resume'


@dataclasses.dataclass(frozen=True)
class Sight:
    """A server that has a mark, at one moment.

    :param host: its host; None if it has none
    :param worker: who carries out what the task_state says
    :param watched: for how many seconds the looking service has known, by a
        clock that nobody sets, that a freeze may come late
    """

    mark: marks.Mark
    vm_state: str
    task_state: str | None
    host: str | None
    worker: Worker = Worker.NOBODY
    watched: float = 0.0


def lost_after(rpc_timeout: int) -> int:
    """Return for how many seconds a message of ours may be under way.

    A service that is up and busy takes a message up within ``rpc_timeout``,
    and what it then sends to nova-compute expires after ``rpc_timeout``.
    """
    return 2 * rpc_timeout


def retry_pause(tries: int) -> int:
    """Return the seconds until the next thaw, after so many failures."""
    return min(FIRST_PAUSE * 2 ** min(tries - 1, 10), LONGEST_PAUSE)


def is_due(when: int, now: int, longest: int) -> bool:
    """Say whether a time of a mark has come.

    It has also come if it is further away than it can be: then the clock was
    set back since, and nobody knows better.

    :param longest: how far away it can have been
    """
    return now >= when or when > now + longest + CLOCK_DIFFERENCE


def is_overdue(mark: marks.Mark, now: int) -> bool:
    """Say whether the deadline of a quiesced server has passed."""
    return (mark.deadline != 0
            and is_due(mark.deadline, now, mark.unquiesce_after))


def late_until(mark: marks.Mark, now: int, rpc_timeout: int) -> int:
    """Return until when a freeze that is sent by now may reach the guest.

    :param mark: the guest's, whose earlier freeze may be under way
    """
    if mark.late_until == marks.FOREVER:
        return marks.FOREVER
    return now + lost_after(rpc_timeout)


def late_freeze_possible(sight: Sight, rpc_timeout: int) -> bool:
    """Say whether a freeze of ours may still reach the guest.

    No time of day counts here: clocks are set, and messages do not care.
    """
    return (sight.mark.late_until != 0
            and sight.watched < lost_after(rpc_timeout))


def is_of_a_beginning(mark: marks.Mark) -> bool:
    """Say whether a mark is from before its freeze was answered.

    If the server has no task_state, Nova wrote it back, over one that may have
    told more of a freeze under way.
    """
    return (not (mark.tries or mark.thaw_id)
            and (mark.claimed or mark.retry_at not in (0, mark.late_until)))


def settled(mark: marks.Mark, now: int, watched: float,
            rpc_timeout: int) -> marks.Mark:
    """Return the mark that is left when no freeze can come late any more.

    A guest that was started anew before that time had passed may have been
    frozen since; one that was started later is not.

    :param watched: as in :class:`Sight`
    """
    passed_at = now - int(watched - lost_after(rpc_timeout))
    return mark.but(late_until=0, retry_at=0,
                    asked_at=max(passed_at, mark.late_until))


def judge(sight: Sight, now: int, rpc_timeout: int) -> Verdict:
    """Say what has to be done about a server.

    :param now: the time, from :func:`nova_quiesce.clock.now`
    :param rpc_timeout: ``[quiesce]rpc_timeout``, in seconds
    """
    mark = sight.mark
    longest = max(LONGEST_PAUSE, lost_after(rpc_timeout))
    due = is_due(mark.retry_at, now, longest)

    if sight.task_state in (states.QUIESCING, states.UNQUIESCING):
        if sight.worker is Worker.ALIVE:
            return Verdict.WAIT
        # Past the deadline a thaw is not waited for as long: a second message
        # does no harm, and is sent once (see Requests.resume).
        asked_at = mark.retry_at - lost_after(rpc_timeout)
        lost = due or (is_overdue(mark, now) and not mark.claimed
                       and now >= asked_at + TAKE_UP)
        if sight.worker is Worker.NOBODY and not lost:
            return Verdict.WAIT
        return (Verdict.INTERRUPT if sight.task_state == states.QUIESCING
                else Verdict.RESUME)
    if sight.task_state is not None:
        return Verdict.WAIT    # Nova is at work on the server

    if sight.vm_state in NOT_RUNNING or sight.host is None:
        # What is still under way may reach a guest that is started again.
        return (Verdict.WAIT if late_freeze_possible(sight, rpc_timeout)
                else Verdict.FORGET)
    if sight.vm_state in ASLEEP:
        return Verdict.WAIT
    # While thaws fail nova-compute may have a freeze in hand, for any time; so
    # it may if the mark that told that is lost.
    settles = (0 < mark.late_until < marks.FOREVER and not mark.tries
               and not is_of_a_beginning(mark)
               and not late_freeze_possible(sight, rpc_timeout))
    if sight.vm_state == states.QUIESCED:
        if mark.retry_at:
            # An older mark than the one that it was saved with: Nova wrote
            # it back. The deadline is lost with the right one.
            return Verdict.THAW_AGAIN
        if is_overdue(mark, now):
            return Verdict.THAW_OVERDUE
        return Verdict.SETTLE if settles else Verdict.WAIT
    if settles:
        return Verdict.SETTLE
    if (mark.late_until and mark.retry_at == mark.late_until
            and not is_of_a_beginning(mark)):
        return Verdict.WAIT    # thawed; what may come late is waited for
    # An ACTIVE server is never frozen, nor is one in any other state.
    return Verdict.THAW_AGAIN if due else Verdict.WAIT
