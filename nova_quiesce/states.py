# SPDX-License-Identifier: Apache-2.0

"""The one table of states and transitions.

What the API accepts, what the service leaves behind, and the picture in the
documentation derive from the two :class:`Action` rows below.

A server is asked in ``accepted_in`` with no task state.  It carries
``task_state`` while the service works, and what came of the work
(:class:`Outcome`) decides the vm_state that it ends in.  A server that ends in
``error`` also gets an instance fault, and leaves ``error`` as soon as a thaw
is confirmed that no freeze can follow.

This module must never do any input or output.
"""

import dataclasses
import enum
import types
from collections.abc import Mapping

from nova.compute import task_states
from nova.compute import vm_states

#: vm_state of a server whose guest is frozen
QUIESCED = 'quiesced'
#: task_state while a freeze was asked for and is not yet done
QUIESCING = 'quiescing'
#: task_state while a thaw was asked for and is not yet done
UNQUIESCING = 'unquiescing'


class Outcome(enum.Enum):
    """What came of the work that an action asks for."""

    #: confirmed by the guest agent
    DONE = 'done'
    #: this request froze nothing, and the guest is as it was found, or thawed
    #: if an earlier request had left it frozen
    REFUSED = 'refused'
    #: it failed, or nobody can say: the guest may be frozen
    FAILED = 'failed'


@dataclasses.dataclass(frozen=True)
class Action:
    """One row of the table.

    :param name: name of the action in the API, in instance actions and in
        policies
    :param accepted_in: the vm_state in which a server can be asked
    :param task_state: the task_state while the service works
    :param ends: the vm_state for each possible outcome
    """

    name: str
    accepted_in: str
    task_state: str
    ends: Mapping[Outcome, str]

    @property
    def before(self) -> tuple[str, None]:
        """vm_state and task_state in which a server can be asked."""
        return self.accepted_in, None

    @property
    def during(self) -> tuple[str, str]:
        """Those while the service works."""
        return self.accepted_in, self.task_state


QUIESCE = Action(
    name='quiesce',
    accepted_in=vm_states.ACTIVE,
    task_state=QUIESCING,
    ends=types.MappingProxyType({
        Outcome.DONE: QUIESCED,
        Outcome.REFUSED: vm_states.ACTIVE,
        Outcome.FAILED: vm_states.ERROR,
    }))

UNQUIESCE = Action(
    name='unquiesce',
    accepted_in=QUIESCED,
    task_state=UNQUIESCING,
    ends=types.MappingProxyType({
        Outcome.DONE: vm_states.ACTIVE,
        Outcome.FAILED: vm_states.ERROR,
    }))

ACTIONS = (QUIESCE, UNQUIESCE)
ACTION_NAMES = tuple(action.name for action in ACTIONS)
TASK_STATES = frozenset(action.task_state for action in ACTIONS)

#: The guest does not run, and starts thawed if it ever runs again.
NOT_RUNNING = frozenset({
    vm_states.STOPPED, vm_states.SHELVED, vm_states.SHELVED_OFFLOADED,
    vm_states.SOFT_DELETED, vm_states.DELETED})

#: The guest does not run now, and goes on later, frozen if it was; or Nova
#: has not ended what it does with the server.
ASLEEP = frozenset({
    vm_states.PAUSED, vm_states.SUSPENDED, vm_states.BUILDING,
    vm_states.RESIZED})

#: Tasks of Nova during which a guest can be thawed: it stays on its host. An
#: upload takes an hour.
IMAGE_TASK_STATES = frozenset({
    task_states.IMAGE_SNAPSHOT, task_states.IMAGE_SNAPSHOT_PENDING,
    task_states.IMAGE_PENDING_UPLOAD, task_states.IMAGE_UPLOADING,
    task_states.IMAGE_BACKUP})


def end_of_thaw(vm_state: str, outcome: Outcome, restored: bool) -> str:
    """Return the vm_state of a server after a thaw.

    The service also thaws servers in other states than the API accepts, for
    example after a reset. Such a server keeps its state, but it is not
    ``active`` while its guest is frozen.

    :param vm_state: its state before
    :param restored: whether ``error`` stands for a frozen guest, and ends
        with it
    """
    if vm_state == UNQUIESCE.accepted_in:
        return UNQUIESCE.ends[outcome]
    if outcome is Outcome.FAILED and vm_state == vm_states.ACTIVE:
        return vm_states.ERROR
    if outcome is Outcome.DONE and vm_state == vm_states.ERROR and restored:
        return vm_states.ACTIVE
    return vm_state
