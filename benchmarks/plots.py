# SPDX-License-Identifier: Apache-2.0

"""Pictures of what was measured, as PNG files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import pathlib
import statistics

import matplotlib
from matplotlib import pyplot

from benchmarks import measure
from benchmarks import wait

matplotlib.use('Agg')
COLOURS = ('#1f5a7a', '#d98e04', '#5b8c3a', '#9b3a4a', '#777777')
STEPS = (
    ('being frozen', '#f0b860'), ('frozen', '#1f5a7a'),
    ('being thawed', '#9cc4d8'))


def draw(directory: pathlib.Path) -> list[pathlib.Path]:
    """Draw what the results in a directory allow, beside them."""
    drawn = []
    for path in sorted(directory.glob('*.json')):
        results = measure.Results.load(path)
        if picture := PICTURES.get(results.name):
            for name, figure in picture(results).items():
                target = directory / f'{name}.png'
                figure.savefig(target, dpi=110, bbox_inches='tight')
                pyplot.close(figure)
                drawn.append(target)
    return drawn


def _windows(results: measure.Results) -> dict[str, pyplot.Figure]:
    """Draw how long each way took, and the time line of ours."""
    figures = {}
    windows = results.details['windows']
    figure, axes = pyplot.subplots(figsize=(7, 1 + 0.45 * sum(
        map(len, windows.values()))))
    labels, values = [], []
    for what, series in windows.items():
        for way, found in sorted(
                series.items(), key=lambda item: statistics.median(item[1])):
            labels.append(f'{what}: {way}')
            values.append(found)
    for row, found in enumerate(values):
        middle = statistics.median(found)
        axes.barh(row, middle, color=COLOURS[0])
        axes.plot(found, [row] * len(found), '|', color='black')
        axes.text(max(found), row, f'  {middle:.3g} s', va='center')
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel('seconds from the first request to the last thaw')
    figures[results.name] = figure
    for what, rows in results.details['time_lines'].items():
        figure, axes = pyplot.subplots(figsize=(7, 0.8 + 0.35 * len(rows)))
        for row, line in enumerate(rows):
            times = line['times']
            for (name, colour), start, end in zip(STEPS, times, times[1:]):
                axes.barh(row, end - start, left=start, color=colour,
                          label=name if row == 0 else None)
        axes.set_yticks(range(len(rows)), [line['server'] for line in rows])
        axes.invert_yaxis()
        axes.set_xlabel('seconds')
        axes.set_title(f'{what}, by what Nova recorded', fontsize=10)
        axes.legend(loc='upper left', bbox_to_anchor=(1, 1))
        figures[f'time-line-{what.replace(" ", "-")}'] = figure
    return figures


def _curves(
    curves: Mapping[str, Mapping[float, float]], x_label: str, y_label: str
) -> pyplot.Figure:
    figure, axes = pyplot.subplots(figsize=(6, 4))
    for (name, points), colour in zip(curves.items(), COLOURS):
        axes.plot(list(points), list(points.values()), 'o-', label=name,
                  color=colour)
    axes.set_xscale('log')
    axes.set_yscale('log')
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _wait(results: measure.Results) -> dict[str, pyplot.Figure]:
    requests = results.details['requests']
    return {'wait': _curves(
        {way: {int(count): statistics.mean(series[way])
               for count, series in requests.items()}
         for way in (wait.OURS, wait.SCRIPT)},
        'servers', 'requests')}


def _scale(results: measure.Results) -> dict[str, pyplot.Figure]:
    sizes = results.details['sizes']
    return {'scale': _curves(
        {what: {int(size): statistics.median(cost[what] for cost in costs)
                for size, costs in sizes.items()}
         for what in ('s until quiesced', 's until thawed',
                      'requests until quiesced', 's of CPU in the API',
                      'MB of memory')},
        'servers in the stage', 'seconds, requests, megabytes')}


PICTURES: dict[
    str, Callable[[measure.Results], dict[str, pyplot.Figure]]] = {
    'window-guests': _windows, 'window-fake': _windows,
    'wait': _wait, 'scale': _scale,
}
