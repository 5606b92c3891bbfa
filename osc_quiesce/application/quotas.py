# SPDX-License-Identifier: Apache-2.0

"""Which quotas of a project are too small for what a command makes."""

from collections.abc import Iterator, Mapping
import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Shortage:
    """A quota that is too small.

    :param key: its name, such as ``backup_gigabytes``
    :param amount: what is needed
    :param left: what is left of it
    """

    key: str
    amount: int
    left: int
    limit: int


def shortages(quotas: Mapping[str, Any],
              needed: Mapping[str, int]) -> Iterator[Shortage]:
    """Yield the quotas that are too small.

    :param quotas: what a service answers, with what is used of each; a
        negative limit is none
    :param needed: how much of each; one that a service does not have is no
        limit
    """
    for key, amount in needed.items():
        over = left(quotas, key)
        if amount and over is not None and amount > over:
            yield Shortage(key, amount, over, quotas[key]['limit'])


def left(quotas: Mapping[str, Any], key: str) -> int | None:
    """Return how much of a quota is left; None if there is no limit."""
    quota = quotas.get(key)
    if not isinstance(quota, dict) or quota['limit'] < 0:
        return None
    # Neutron calls it "used", and the others "in_use".
    used = quota.get('in_use', quota.get('used', 0))
    return max(0, int(quota['limit'] - used - quota['reserved']))
