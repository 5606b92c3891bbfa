# SPDX-License-Identifier: Apache-2.0

"""Draw the picture of the frozen window: tools/docs/window.py SVG.

It is one run of three real guests with two volumes each, by the times that
Nova has recorded, from benchmarks/results. The servers have the names of the
guides. All snapshots are taken between the last freeze and the first request
to thaw. A unit test compares the picture with the results.
"""

import json
import pathlib
import sys

RESULTS = pathlib.Path(__file__).parents[2] / (
    'benchmarks/results/window-guests.json')
RUN = '3 real guests'
NAMES = ('db', 'app', 'web')
STEPS = ('freezing', 'frozen', 'thawing')
VOLUMES = 6

SIZE = (720, 210)
LEFT, RIGHT = 60, 700      # of the axis of time
TOP, ROW, BAR = 48, 36, 24

HEAD = """\
<?xml version="1.0" encoding="UTF-8"?>
<!-- Made by tools/docs/window.py; do not edit. -->
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" \
height="%d" font-family="sans-serif" font-size="14">
<title>db is frozen first and thawed last; all volumes are snapshotted while \
all three servers are frozen</title>
<style>
text { fill: #24292f } .axis { stroke: #57606a } .small { font-size: 12px }
.freezing { fill: #e8a33d } .frozen { fill: #2f6f9f }
.thawing { fill: #9cc4d8 }
.snapshots { fill: #4f9d4f; fill-opacity: .25; stroke: #4f9d4f }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .axis { stroke: #8b949e } .frozen { fill: #4c93c7 }
.thawing { fill: #5b7f92 } .snapshots { stroke: #7ccf7c }
}
</style>
"""


def picture() -> str:
    """Return the picture, as SVG."""
    found = json.loads(RESULTS.read_text())
    lines = [each['times'] for each in found['details']['time_lines'][RUN]]
    end = max(times[-1] for times in lines)
    scale = (RIGHT - LEFT) / end

    def at(seconds: float) -> float:
        return round(LEFT + seconds * scale, 1)

    bottom = TOP + ROW * len(lines)
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
    middle = (at(frozen) + at(thaw)) / 2
    drawn.append(
        f'<rect class="snapshots" x="{at(frozen)}" y="{TOP - 8}" '
        f'width="{at(thaw) - at(frozen):.1f}" height="{bottom - TOP + 4}"/>\n'
        f'<text x="{middle:.1f}" y="{TOP - 18}" text-anchor="middle">'
        f'snapshots of all {VOLUMES} volumes</text>\n'
        f'<line class="axis" x1="{LEFT}" y1="{bottom + 6}" x2="{RIGHT}" '
        f'y2="{bottom + 6}"/>\n')
    for tick in range(int(end * 2) + 1):
        x = at(tick / 2)
        drawn.append(
            f'<line class="axis" x1="{x}" y1="{bottom + 6}" x2="{x}" '
            f'y2="{bottom + 11}"/>\n<text class="small" x="{x}" '
            f'y="{bottom + 25}" text-anchor="middle">{tick / 2:g} s</text>\n')
    for place, step in enumerate(STEPS):
        x = LEFT + 110 * place
        drawn.append(
            f'<rect class="{step}" x="{x}" y="{bottom + 36}" width="12" '
            f'height="12"/>\n<text class="small" x="{x + 18}" '
            f'y="{bottom + 47}">{step}</text>\n')
    return ''.join([*drawn, '</svg>\n'])


if __name__ == '__main__':
    pathlib.Path(sys.argv[1]).write_text(picture())
