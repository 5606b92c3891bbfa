# SPDX-License-Identifier: Apache-2.0

"""Pictures of what was measured, as PNG files.

Each keeps the digest of the results of which it is: a test finds those that
were not drawn again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import pathlib
import statistics

import matplotlib
from matplotlib import pyplot
from matplotlib import ticker

from benchmarks import measure
from benchmarks import wait
from benchmarks import window

matplotlib.use('Agg')
OURS, OTHERS = '#d9730d', '#8aa0ae'
LABELS = {
    window.OURS: 'osc-quiesce', window.LIMIT: 'plain HTTP (limit)',
    window.SDK: 'openstacksdk', window.SCRIPT_1: 'shell script, 1 s',
    window.SCRIPT_5: 'shell script, 5 s',
    wait.SCRIPT: 'one GET for each',
}
#: the panels of the growth, and the lines in each: of the results, and how
#: they are called
PANELS = {
    'seconds': {'s until quiesced': 'until quiesced',
                's until thawed': 'until thawed',
                's of CPU in the API': 'CPU of nova-api, both'},
    'requests': {'requests until quiesced': 'until quiesced',
                 'requests until thawed': 'until thawed'},
    'megabytes': {'MB of memory': 'memory of the client'},
}


def draw(directory: pathlib.Path) -> list[pathlib.Path]:
    """Draw what the results in a directory allow, beside them."""
    drawn = []
    for path in sorted(directory.glob('*.json')):
        results = measure.Results.load(path)
        if picture := PICTURES.get(results.name):
            target = directory / f'{results.name}.png'
            figure = picture(results)
            figure.savefig(
                target, dpi=130, bbox_inches='tight',
                metadata={'Results': measure.digest(path)})
            pyplot.close(figure)
            drawn.append(target)
    return drawn


def _windows(results: measure.Results) -> pyplot.Figure:
    """Draw how long each way took: a panel for each number of servers."""
    windows = results.details['windows']
    figure, [panels] = pyplot.subplots(
        1, len(windows), figsize=(3.9 * len(windows), 2.3), sharey=True,
        squeeze=False, layout='tight')
    ways = [way for way in LABELS
            if any(way in series for series in windows.values())]
    for axes, (what, series) in zip(panels, windows.items()):
        for row, way in enumerate(ways):
            if found := series.get(way):
                middle = statistics.median(found)
                axes.barh(row, middle,
                          color=OURS if way == window.OURS else OTHERS)
                axes.plot(found, [row] * len(found), '|', color='black')
                axes.text(max(found), row, f'  {middle:.3g} s', va='center')
        axes.set_title(what.replace('1 real guests', '1 real guest'),
                       fontsize=11)
        axes.margins(x=0.3)
        axes.set_xlabel('seconds')
        axes.spines[['top', 'right']].set_visible(False)
    panels[0].set_yticks(range(len(ways)), [LABELS[way] for way in ways])
    panels[0].invert_yaxis()
    return figure


def _curves(
    axes: pyplot.Axes, curves: Mapping[str, Mapping[int, float]], unit: str,
    colours: Sequence[str],
) -> None:
    for (name, points), colour in zip(curves.items(), colours):
        axes.plot(list(points), list(points.values()), 'o-', label=name,
                  color=colour)
    axes.set_xlabel('servers')
    axes.set_title(unit, fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9, loc='upper left')
    axes.spines[['top', 'right']].set_visible(False)


def _wait(results: measure.Results) -> pyplot.Figure:
    figure, axes = pyplot.subplots(figsize=(5, 3))
    requests = results.details['requests']
    _curves(axes, {
        LABELS[way]: {int(count): statistics.mean(series[way])
                      for count, series in requests.items()}
        for way in (wait.OURS, wait.SCRIPT)},
        'requests of a wait', (OURS, OTHERS))
    for axis, scale in ((axes.xaxis, axes.set_xscale),
                        (axes.yaxis, axes.set_yscale)):
        scale('log')
        axis.set_major_formatter(ticker.StrMethodFormatter('{x:g}'))
    return figure


def _scale(results: measure.Results) -> pyplot.Figure:
    """Draw what a stage costs: a panel for each unit."""
    sizes = results.details['sizes']
    figure, panels = pyplot.subplots(
        1, len(PANELS), figsize=(9, 2.9), layout='tight')
    for axes, (unit, lines) in zip(panels, PANELS.items()):
        _curves(axes, {
            name: {int(size): statistics.median(cost[what] for cost in costs)
                   for size, costs in sizes.items()}
            for what, name in lines.items()},
            unit, (OURS, '#1f5a7a', OTHERS))
        # From 0, with room for the legend.
        axes.set_ylim(0, axes.get_ylim()[1] * 1.25)
    return figure


PICTURES: dict[str, Callable[[measure.Results], pyplot.Figure]] = {
    'window-guests': _windows, 'window-fake': _windows,
    'wait': _wait, 'scale': _scale,
}
