# SPDX-License-Identifier: Apache-2.0

"""Draw the documentation's picture of the states: tools/docs/states.py SVG.

The states, the arrows and the states of a row come from nova_quiesce/states.py
and nova_quiesce/store.py.  The documentation is built without Nova, so the
picture is kept in the repository; a unit test compares it with the table.
"""

import pathlib
import sys
from collections.abc import Iterator

from nova.compute import vm_states

from nova_quiesce import states
from nova_quiesce import store

#: a vm_state and a task_state
State = tuple[str, str | None]

Row = store.State
#: In which states the row in the table of freezes is; without one, there is
#: no row.
ROWS: dict[State, tuple[store.State, ...]] = {
    (vm_states.ACTIVE, states.QUIESCING): (Row.ASKED, Row.FREEZING),
    (states.QUIESCED, None): (Row.FROZEN,),
    (states.QUIESCED, states.UNQUIESCING): (Row.THAWING,),
    (vm_states.ERROR, None): (Row.FREEZING, Row.THAWING),
}

#: A withdrawn freeze ends like one that was refused, after a confirmed thaw
#: if it was sent.
NAMES = {states.Outcome.REFUSED: 'refused or withdrawn'}
ASKED = {'unquiesce': 'unquiesce, or the deadline'}

WIDTH, HEIGHT = 170, 70    # of a box
#: Where the boxes stand: the states of both actions clockwise, and what else
#: there is in the middle.
PLACES = ((120, 50), (620, 50), (620, 290), (120, 290), (370, 170))
SIZE = (740, 370)
AT_REST, UNDER_WAY = '#d9e8f5', 'white'
APART = 12    # half the distance of two arrows between the same boxes

HEAD = """\
<?xml version="1.0" encoding="UTF-8"?>
<!-- Made by tools/docs/states.py; do not edit. -->
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" \
font-family="sans-serif" font-size="14" text-anchor="middle">
<defs><marker id="tip" viewBox="0 0 10 10" refX="10" refY="5" \
markerWidth="8" markerHeight="8" orient="auto">\
<path d="M0 0 L10 5 L0 10 z"/></marker></defs>
<rect width="100%%" height="100%%" fill="white"/>
"""


def arrows() -> Iterator[tuple[State, State, str]]:
    """Yield every transition of the table, and what it is called."""
    for action in states.ACTIONS:
        start = (action.accepted_in, None)
        busy = (action.accepted_in, action.task_state)
        yield start, busy, ASKED.get(action.name, action.name)
        for outcome, vm_state in action.ends.items():
            yield busy, (vm_state, None), NAMES.get(outcome, outcome.value)
    # The thaws that follow a failure.
    after = states.end_of_thaw(
        vm_states.ERROR, states.Outcome.DONE, restored=True)
    yield (vm_states.ERROR, None), (after, None), 'thaw confirmed'


def places() -> dict[State, tuple[int, int]]:
    """Return where each state stands.

    :raises ValueError: if the table has outgrown this picture
    """
    found: list[State] = []
    for action in states.ACTIONS:
        found += [(action.accepted_in, None),
                  (action.accepted_in, action.task_state)]
    for _start, end, _name in arrows():
        if end not in found:
            found.append(end)
    return dict(zip(found, PLACES, strict=True))


def _box(state: State, place: tuple[int, int]) -> str:
    x, y = place
    vm_state, task_state = state
    lines = ['<rect x="%d" y="%d" width="%d" height="%d" rx="8" fill="%s" '
             'stroke="black"/>' % (
                 x - WIDTH // 2, y - HEIGHT // 2, WIDTH, HEIGHT,
                 AT_REST if task_state is None else UNDER_WAY),
             '<text x="%d" y="%d" font-weight="bold">%s</text>' % (
                 x, y - 14, vm_state),
             '<text x="%d" y="%d">%s</text>' % (x, y + 5, task_state or '-')]
    row = ' or '.join(ROWS.get(state, ())) or 'none'
    lines.append('<text x="%d" y="%d" font-size="12" fill="#505050">'
                 'row: %s</text>' % (x, y + 25, row))
    return '\n'.join(lines)


def _arrow(start: tuple[int, int], end: tuple[int, int], name: str,
           shift: int) -> str:
    """Return a line from the edge of one box to that of another.

    :param shift: to its left, to make room for one that comes back
    """
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = (dx * dx + dy * dy) ** 0.5
    # What part of the way is inside of a box.
    inside = min(WIDTH / 2 / abs(dx) if dx else 1,
                 HEIGHT / 2 / abs(dy) if dy else 1)
    aside = (dy / length * shift, -dx / length * shift)
    ends = [(start[0] + part * dx + aside[0], start[1] + part * dy + aside[1])
            for part in (inside, 1 - inside)]
    x, y = ((ends[0][i] + ends[1][i]) / 2 for i in (0, 1))
    if not dy:    # above the line, or below one that was shifted down
        y += 18 if aside[1] > 0 else -8
    else:    # to the right of it: below one that rises, above one that falls
        x, y = x + 8, y + (4 if not dx else 12 if dx * dy < 0 else -4)
    return (
        '<line x1="%.0f" y1="%.0f" x2="%.0f" y2="%.0f" stroke="black" '
        'marker-end="url(#tip)"/>\n<text x="%.0f" y="%.0f" '
        'font-style="italic"%s>%s</text>' % (
            *ends[0], *ends[1], x, y, ' text-anchor="start"' if dy else '',
            name))


def _legend() -> str:
    return '\n'.join(
        f'<rect x="{x}" y="346" width="14" height="14" rx="3" fill="{fill}" '
        f'stroke="black"/>\n<text x="{x + 22}" y="358" font-size="12" '
        f'text-anchor="start">{text}</text>'
        for x, fill, text in ((35, AT_REST, 'at rest'),
                              (125, UNDER_WAY, 'under way')))


def picture() -> str:
    """Return the picture, as SVG."""
    where, found = places(), list(arrows())
    pairs = {(start, end) for start, end, _name in found}
    parts = [HEAD % SIZE + '<title>States of a server</title>']
    parts += [_box(state, place) for state, place in where.items()]
    parts += [_arrow(where[start], where[end], name,
                     APART if (end, start) in pairs else 0)
              for start, end, name in found]
    return '\n'.join([*parts, _legend(), '</svg>', ''])


if __name__ == '__main__':
    pathlib.Path(sys.argv[1]).write_text(picture())
