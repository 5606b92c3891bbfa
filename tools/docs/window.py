# SPDX-License-Identifier: Apache-2.0

"""Draw the picture of the frozen window: tools/docs/window.py SVG.

It is one run of three real guests with two volumes each, by the times that
Nova has recorded, from benchmarks/results. The servers have the names of the
guides. All snapshots are taken between the last freeze and the first request
to thaw. ``python -m benchmarks plots`` draws it again; a unit test compares it
with the results.
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).parents[2]
RESULTS = ROOT / 'benchmarks/results/window-guests.json'
PICTURE = ROOT / 'doc/source/images/window.svg'
RUN = '3 real guests'
NAMES = ('db', 'app', 'web')
STEPS = ('freezing', 'frozen', 'thawing')
VOLUMES = 6

SIZE = (720, 236)
LEFT, RIGHT = 72, 690      # of the axis of time
TOP, ROW, BAR = 60, 36, 24

# It has a background of its own: a page may be light where the system is dark.
HEAD = """\
<?xml version="1.0" encoding="UTF-8"?>
<!-- Made by tools/docs/window.py; do not edit. -->
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" \
height="%d" font-family="sans-serif" font-size="15">
<title>db is frozen first and thawed last; all volumes are snapshotted while \
all three servers are frozen</title>
<style>
.page { fill: #ffffff } text { fill: #24292f }
.axis { stroke: #57606a } .small { font-size: 14px }
.freezing { fill: #e8a33d } .frozen { fill: #2f6f9f }
.thawing { fill: #9cc4d8 }
.snapshots { fill: #4f9d4f; fill-opacity: .25; stroke: #3c873c }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117 } text { fill: #e6edf3 }
.axis { stroke: #8b949e } .frozen { fill: #4c93c7 }
.thawing { fill: #5b7f92 } .snapshots { stroke: #7ccf7c }
}
</style>
<rect class="page" width="100%%" height="100%%" rx="6"/>
"""


def picture() -> str:
    """Return the picture, as SVG."""
    found = json.loads(RESULTS.read_text())
    lines = [each['times'] for each in found['details']['time_lines'][RUN]]
    end = max(times[-1] for times in lines)
    scale = (RIGHT - LEFT) / end

    def at(seconds: float) -> float:
        return round(LEFT + seconds * scale, 1)

    drawn = [HEAD % (*SIZE, *SIZE)]
    for row, (name, times) in enumerate(zip(NAMES, lines, strict=True)):
        y = TOP + row * ROW
        drawn.append(
            f'<text x="{LEFT - 12}" y="{y + 17}" text-anchor="end">{name}'
            '</text>\n')
        for step, start, stop in zip(STEPS, times, times[1:], strict=False):
            drawn.append(
                f'<rect class="{step}" x="{at(start)}" y="{y}" '
                f'width="{at(stop) - at(start):.1f}" height="{BAR}"/>\n')
    # The last server is frozen for the shortest time: all are, during that.
    _asked, frozen, thaw, _thawed = lines[-1]
    bottom = TOP + ROW * len(lines)
    drawn.append(
        f'<rect class="snapshots" x="{at(frozen)}" y="{TOP - 8}" '
        f'width="{at(thaw) - at(frozen):.1f}" height="{bottom - TOP + 4}"/>\n'
        f'<text x="{(at(frozen) + at(thaw)) / 2:.1f}" y="{TOP - 18}" '
        f'text-anchor="middle">snapshots of all {VOLUMES} volumes</text>\n')
    ticks = [(at(half / 2), half / 2) for half in range(int(end * 2) + 1)]
    return ''.join([*drawn, *_axis(bottom + 6, ticks), *_legend(bottom + 44),
                    '</svg>\n'])


def _axis(y: int, ticks: list[tuple[float, float]]) -> list[str]:
    return [
        f'<line class="axis" x1="{LEFT}" y1="{y}" x2="{RIGHT}" y2="{y}"/>\n',
        *(f'<line class="axis" x1="{x}" y1="{y}" x2="{x}" y2="{y + 5}"/>\n'
          f'<text class="small" x="{x}" y="{y + 20}" text-anchor="middle">'
          f'{seconds:g} s</text>\n' for x, seconds in ticks)]


def _legend(y: int) -> list[str]:
    return [
        f'<rect class="{step}" x="{x}" y="{y}" width="13" height="13"/>\n'
        f'<text class="small" x="{x + 20}" y="{y + 12}">{step}</text>\n'
        for x, step in ((LEFT + 110 * place, step)
                        for place, step in enumerate(STEPS))]


if __name__ == '__main__':
    pathlib.Path(sys.argv[1]).write_text(picture())
