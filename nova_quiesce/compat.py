# SPDX-License-Identifier: Apache-2.0

"""What differs between the releases of Nova that this runs with.

No other module asks which one it is: the manager has all methods by which they
stop a service. What is here imports Nova only when it is called, so that a
program can import this first.
"""

from importlib import metadata
from typing import TypeVar

#: releases of OpenStack, and the major version of the Nova of each
RELEASES = {'2025.1': 31, '2025.2': 32, '2026.1': 33, '2026.2': 34}
#: that of the installed one
NOVA = int(metadata.version('nova').partition('.')[0])

_T = TypeVar('_T')


def choose_threads() -> None:
    """Have this program run with the threads that Nova's own programs have.

    To be called before anything else of Nova is imported.
    """
    from nova import monkey_patch
    if NOVA >= RELEASES['2026.1']:
        monkey_patch.patch(backend='threading')
    elif NOVA == RELEASES['2025.2']:
        monkey_patch.patch()    # eventlet, by default
    # 2025.1: eventlet, from that import on


def validated(controller: type[_T]) -> type[_T]:
    """Mark a controller as one that validates all requests and responses.

    Tests of Nova's ask for that since 2025.2.
    """
    if NOVA == RELEASES['2025.1']:
        return controller
    from nova.api import validation
    return validation.validated(controller)  # type: ignore[no-any-return]
