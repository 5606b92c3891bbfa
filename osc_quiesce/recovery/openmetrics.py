# SPDX-License-Identifier: Apache-2.0

"""The protection of applications as OpenMetrics.

There are only gauges, and HELP lines have nothing to escape: so the text is as
well what Prometheus reads, and the textfile collector of its node_exporter.
Times are given as such, not as ages, which would stand still with a file that
is not written any more. What has no value has no sample, but for the moment of
the last set: without one it is 0, so that an alarm on its age goes off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
from typing import Final

from osc_quiesce.recovery import capacity
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import protection

PREFIX: Final = 'osc_quiesce'
_GIB: Final = 1024**3
_UNITS: Final = ('seconds', 'bytes')

#: a value of an application; None: there is none
_Read = Callable[[protection.Protection], float | None]


@dataclasses.dataclass(frozen=True)
class _Gauge:
    """A family of metrics.

    :param name: ends in the unit, if there is one
    """

    name: str
    help: str
    read: _Read


_GAUGES: Final = (
    _Gauge('protection_last_set_timestamp_seconds',
           'Moment of the last set that counts, or 0 if there is none.',
           lambda p: p.moment.timestamp() if p.moment else 0.0),
    _Gauge('protection_sets', 'Number of backup sets that count.',
           lambda p: float(len(p.sets))),
    _Gauge('protection_newer_sets',
           'Number of newer backup sets that do not count.',
           lambda p: float(len(p.newer))),
    _Gauge('protection_worst_gap_seconds',
           'Longest time between two consecutive ones of the last sets.',
           lambda p: p.worst_gap),
    _Gauge('protection_verified_timestamp_seconds',
           'When a whole set was last proven to be equal to its backups.',
           lambda p: p.verified.timestamp() if p.verified else None),
    _Gauge('protection_drill_timestamp_seconds', 'When the last drill was.',
           lambda p: p.drill.at.timestamp() if p.drill else None),
    _Gauge('protection_drill_ok', 'Whether the last drill was ok.',
           lambda p: float(p.drill.result == marks.DRILL_OK)
           if p.drill else None),
    _Gauge('protection_drill_rto_seconds', 'How long the last drill took.',
           lambda p: p.drill.rto if p.drill else None),
    _Gauge('protection_set_size_bytes', 'Size of all volumes of the last set.',
           lambda p: float(p.last.size * _GIB) if p.last else None))


def text(found: Sequence[protection.Protection], left: capacity.Left) -> str:
    """Return all of it, up to the mark of the end."""
    lines = []
    for gauge in _GAUGES:
        lines += _family(gauge.name, gauge.help, [
            ({'application': each.application}, value) for each in found
            if (value := gauge.read(each)) is not None])
    lines += _family('protection_room',
                     'Whether there is room for one more full set.',
                     [({'application': each.application},
                       float(not protection.lacks(each, left)))
                      for each in found if each.last])
    for name, words, amount in (
            ('quota_backups_left',
             'Number of backups that the quota still allows.', left.backups),
            ('quota_backup_left_bytes',
             'Size of backups that the quota still allows.',
             _bytes(left.gigabytes)),
            ('pools_free_bytes',
             'Free size of the pools of volumes.', _bytes(left.pools))):
        lines += _family(name, words, [] if amount is None else [
            ({}, float(amount))])
    return '\n'.join([*lines, '# EOF', ''])


def _bytes(size: float | None) -> float | None:
    return None if size is None else size * _GIB


def _family(name: str, words: str,
            samples: Sequence[tuple[dict[str, str], float]]) -> list[str]:
    if not samples:
        return []
    name = f'{PREFIX}_{name}'
    unit = name.rpartition('_')[2]
    return [f'# TYPE {name} gauge',
            *([f'# UNIT {name} {unit}'] if unit in _UNITS else []),
            f'# HELP {name} {words}',
            *(f'{name}{_labels(labels)} {value!r}'
              for labels, value in samples)]


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ''
    pairs = ','.join(f'{name}="{_escaped(value)}"'
                     for name, value in labels.items())
    return f'{{{pairs}}}'


def _escaped(value: str) -> str:
    return value.replace('\\', r'\\').replace('"', r'\"').replace('\n', r'\n')
