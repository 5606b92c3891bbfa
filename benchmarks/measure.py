# SPDX-License-Identifier: Apache-2.0

"""What all benchmarks do with figures: alternate, compare, show, keep.

A figure of one machine says little on another one. So a statement is a ratio
of two things of the same run, measured alternately where that can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
import contextlib
import dataclasses
import datetime
import functools
import hashlib
import json
import os
import pathlib
import statistics
import subprocess
import time
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Target:
    """What the median of a ratio is to be.

    :param limit: the ratio that is still good
    :param at_most: whether less is better
    """

    limit: float
    at_most: bool = True

    def met_by(self, value: float) -> bool:
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        return f'{"<=" if self.at_most else ">="} {self.limit:g}'


@dataclasses.dataclass(frozen=True)
class Line:
    """One row of the table of results.

    :param name: what was measured, such as ``3 servers: ours / limit``
    :param unit: of the values; ``ratio`` if they are ratios
    :param values: one for each repetition
    """

    name: str
    unit: str
    values: tuple[float, ...]
    target: Target | None = None

    @property
    def middle(self) -> float:
        return statistics.median(self.values)

    def row(self) -> tuple[str, ...]:
        verdict = ''
        if self.target:
            met = self.target.met_by(self.middle)
            verdict = 'yes' if met else 'NO'
        return (
            self.name,
            self.unit,
            *(
                f'{pick(self.values):.4g}'
                for pick in (min, statistics.median, max)
            ),
            str(len(self.values)),
            str(self.target or ''),
            verdict,
        )


HEADER = ('what', 'unit', 'min', 'median', 'max', 'n', 'target', 'met')


class Results:
    """What a benchmark has found.

    :param name: of the benchmark
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: list[Line] = []
        #: what plots need besides; JSON types only
        self.details: dict[str, Any] = {}
        #: in UTC
        self.measured = datetime.datetime.now(datetime.UTC).date()
        #: of the code, and the model of the processor; None: not known
        self.commit = commit()
        self.cpu = cpu()

    def add(
        self,
        name: str,
        unit: str,
        values: Iterable[float],
        target: Target | None = None,
    ) -> None:
        self.lines.append(Line(name, unit, tuple(values), target))

    def compare(
        self,
        name: str,
        unit: str,
        series: Mapping[str, Sequence[float]],
        targets: Mapping[tuple[str, str], Target | None],
    ) -> None:
        """Add each series, and the ratios of some.

        :param series: what was measured, by the way it was done
        :param targets: of the ratio of two of the ways, round by round
        """
        for way, values in series.items():
            if values:
                self.add(f'{name}: {way}', unit, values)
        for (one, other), target in targets.items():
            if series.get(one) and series.get(other):
                # The last round may not have had both.
                pairs = zip(series[one], series[other], strict=False)
                self.add(
                    f'{name}: {one} / {other}',
                    'ratio',
                    [a / b for a, b in pairs],
                    target,
                )

    def save(self, directory: pathlib.Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f'{self.name}.json').write_text(
            json.dumps(
                {
                    'benchmark': self.name,
                    'measured': self.measured.isoformat(),
                    'commit': self.commit,
                    'cpu': self.cpu,
                    'lines': [dataclasses.asdict(line) for line in self.lines],
                    'details': self.details,
                },
                indent=1,
            )
            + '\n'
        )

    @classmethod
    def load(cls, path: pathlib.Path) -> Results:
        data = json.loads(path.read_text())
        results = cls(data['benchmark'])
        results.details = data['details']
        results.measured = datetime.date.fromisoformat(data['measured'])
        # Older results do not have them.
        results.commit, results.cpu = data.get('commit'), data.get('cpu')
        for line in data['lines']:
            target = line['target'] and Target(**line['target'])
            results.add(line['name'], line['unit'], line['values'], target)
        return results

    def line(self, name: str, unit: str = 's') -> Line:
        """Return the one line of a name.

        :raises LookupError: unless there is one
        """
        found = [line for line in self.lines
                 if (line.name, line.unit) == (name, unit)]
        if len(found) != 1:
            raise LookupError(f'the results of {self.name} have {len(found)} '
                              f'lines {name!r} in {unit}')
        return found[0]

    def table(self, only_targets: bool = False) -> str:
        """Return the lines as a table of reStructuredText."""
        return table(
            HEADER,
            [
                line.row()
                for line in self.lines
                if line.target or not only_targets
            ],
        )


@functools.cache
def commit(root: pathlib.Path = ROOT) -> str | None:
    """Return the commit that is checked out, if it is a checkout."""
    try:
        done = subprocess.run(
            ['git', '-C', str(root), 'rev-parse', '--short', 'HEAD'],
            check=True, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def cpu(info: pathlib.Path = pathlib.Path('/proc/cpuinfo')) -> str | None:
    """Return the model of the processor, if Linux knows it."""
    with contextlib.suppress(OSError):
        for line in info.read_text().splitlines():
            name, _colon, value = line.partition(':')
            if name.strip() == 'model name':
                return value.strip()
    return None


def dates(several: Iterable[Results]) -> str:
    """Return when results were measured, in words."""
    days = sorted({results.measured for results in several})
    return ' and '.join(f'on {day.day} {day:%B %Y}' for day in days)


def origin(several: Iterable[Results]) -> str:
    """Return of which commits, and on what, results were measured."""
    found = list(several)
    names: dict[str, list[str]] = {}
    for results in found:
        names.setdefault(results.commit or 'not noted', []).append(
            results.name)
    commits = ', '.join(
        commit if len(names) == 1 else f'{commit} ({", ".join(each)})'
        for commit, each in names.items())
    machines = sorted({results.cpu for results in found if results.cpu})
    return f'commit: {commits}; processor: {", ".join(machines) or "?"}'


def digest(path: pathlib.Path) -> str:
    """Return what tells whether a picture is of these results."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a simple table of reStructuredText."""
    widths = [
        max(len(row[column]) for row in (header, *rows))
        for column in range(len(header))
    ]
    rule = '  '.join('=' * width for width in widths)
    lines = [
        '  '.join(cell.ljust(width) for cell, width in zip(row, widths))
        for row in (header, *rows)
    ]
    return '\n'.join(
        line.rstrip() for line in (rule, lines[0], rule, *lines[1:], rule)
    )


def alternately(
    rounds: Mapping[str, int], ways: Mapping[str, Callable[[], float]]
) -> dict[str, list[float]]:
    """Measure several ways of doing the same, in turns.

    :param rounds: how often, by way; those that take long may end before
    :param ways: each returns its figure
    :returns: the figures of each way, in the order of the rounds
    """
    found: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(max(rounds.values())):
        # None is always the one that finds everything warm.
        order = list(ways) if number % 2 == 0 else [*ways][::-1]
        for way in order:
            if number < rounds[way]:
                found[way].append(ways[way]())
    return found


def seconds(do: Callable[[], object]) -> float:
    """Return how long something takes."""
    started = time.monotonic()
    do()
    return time.monotonic() - started


def peak_memory() -> float:
    """Return the largest resident size of this process so far, in MB.

    Not what getrusage says: that is at least the size of the parent.
    """
    for line in pathlib.Path('/proc/self/status').read_text().splitlines():
        name, _colon, value = line.partition(':')
        if name == 'VmHWM':
            return int(value.split()[0]) * 1.024 / 1000
    raise RuntimeError('no VmHWM in /proc/self/status')


def cpu_seconds(pid: int) -> float:
    """Return how long a process has computed so far."""
    fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2]
    ticks = sum(int(field) for field in fields.split()[11:13])
    return ticks / os.sysconf('SC_CLK_TCK')
