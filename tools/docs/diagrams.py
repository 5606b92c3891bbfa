# SPDX-License-Identifier: Apache-2.0

"""Draw the diagrams of the documentation that are not made from data.

Usage: python tools/docs/diagrams.py DIRECTORY

It writes ``architecture.svg``, ``sequence.svg`` and ``two-sites.svg``.
"""

import pathlib
import sys
from xml.sax import saxutils

BLUE, YELLOW, RED = '#d9e8f5', '#fdf3d0', '#b00020'


class Drawing:
    """An SVG of boxes, arrows and texts, black on white.

    :param title: for who cannot see it
    """

    def __init__(self, width: int, height: int, title: str) -> None:
        self._lines = [
            '<?xml version="1.0" encoding="UTF-8"?>',
            '<!-- Made by tools/docs/diagrams.py; do not edit. -->',
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} '
            f'{height}" font-family="sans-serif" font-size="14" '
            'text-anchor="middle">',
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="10" refY="5" '
            'markerWidth="8" markerHeight="8" orient="auto-start-reverse">'
            '<path d="M0 0 L10 5 L0 10 z"/></marker></defs>',
            f'<title>{saxutils.escape(title)}</title>',
            '<rect width="100%" height="100%" fill="white"/>']

    def text(self, x: float, y: float, words: str, more: str = '') -> None:
        self._lines.append(
            f'<text x="{x}" y="{y}" {more}>{saxutils.escape(words)}</text>')

    def box(self, x: int, y: int, width: int, height: int, *words: str,
            fill: str = BLUE) -> None:
        """Draw a box; its first line is bold."""
        self._lines.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" '
            f'fill="{fill}" stroke="black"/>')
        for number, line in enumerate(words):
            self.text(x + width / 2, y + 21 + 18 * number, line,
                      '' if number else 'font-weight="bold"')

    def arrow(self, *points: tuple[float, float], words: str = '',
              at: tuple[float, float] | None = None, more: str = '') -> None:
        """Draw an arrow through points, with words above it or elsewhere."""
        path = ' L'.join(f'{x} {y}' for x, y in points)
        self._lines.append(
            f'<path d="M{path}" stroke="black" fill="none" '
            f'marker-end="url(#tip)" {more}/>')
        (x1, y1), (x2, y2) = points[0], points[-1]
        x, y = at or ((x1 + x2) / 2, (y1 + y2) / 2 - 6)
        if words:
            self.text(x, y, words, 'font-size="12"')

    def line(self, x: float, y1: float, y2: float) -> None:
        self._lines.append(
            f'<path d="M{x} {y1} L{x} {y2}" stroke="#808080" '
            'stroke-dasharray="4 4"/>')

    def __str__(self) -> str:
        return '\n'.join([*self._lines, '</svg>', ''])


def architecture() -> Drawing:
    """Who talks to whom, with which credentials, on which host."""
    it = Drawing(900, 450, 'Client half, server half, and Nova')
    it.box(20, 30, 230, 110, 'client', 'openstack server quiesce',
           'openstack application ...', 'nova quiesce', 'Python: osc_quiesce')
    it.box(20, 270, 230, 50, 'Cinder, Neutron, Glance',
           'snapshots, backups, ports', fill='white')
    it.arrow((135, 140), (135, 268), words='token of the user', at=(195, 205))
    it.box(340, 30, 240, 110, 'nova-api', 'nova_quiesce.controllers',
           'nova_quiesce.api: the row first,', 'then the state of the server',
           fill=YELLOW)
    it.arrow((250, 85), (338, 85), words='HTTP, token')
    it.box(340, 205, 190, 50, 'table of freezes', "in Nova's API database",
           fill=YELLOW)
    it.arrow((420, 140), (420, 203), words='row', at=(400, 178))
    it.box(340, 325, 240, 80, 'nova-quiesce, one or more',
           'does what is due:', 'work, thawing, sweep', fill=YELLOW)
    it.arrow((420, 257), (420, 323), words='lease', at=(396, 295),
             more='marker-start="url(#tip)"')
    it.arrow((556, 140), (556, 323), words='hint', at=(572, 235),
             more='stroke-dasharray="6 4"')
    it.box(686, 60, 194, 50, "Nova's cell database", 'state, instance actions',
           fill='white')
    it.arrow((580, 75), (684, 75), words='state, action')
    it.arrow((580, 345), (640, 345), (640, 98), (684, 98))
    it.box(686, 325, 194, 80, 'nova-compute', 'libvirt, QEMU', 'guest agent',
           fill='white')
    it.arrow((580, 380), (684, 380), words="Nova's RPC")
    it.text(450, 438, 'yellow: osc-quiesce; white: unchanged',
            'font-size="12" fill="#505050"')
    return it


def sequence() -> Drawing:
    """One quiesce and its thaw, and what happens when something fails."""
    it = Drawing(900, 630, 'One quiesce, its thaw, and what can fail')
    places = {'client': 90, 'nova-api': 280, 'nova-quiesce': 480,
              'nova-compute': 670, 'guest agent': 825}
    for name, x in places.items():
        it.box(x - 65, 15, 130, 32, name)
        it.line(x, 47, 480)
    client, api, service, compute, agent = places.values()
    for y, start, end, words in (
            (80, client, api, 'quiesce, request id'),
            (110, api, client, '202: row, then quiescing'),
            (140, api, service, 'hint (or found in the table)'),
            (170, service, compute, 'quiesce_instance'),
            (200, compute, agent, 'freeze'),
            (230, compute, service, 'done'),
            (310, client, api, 'unquiesce, same id'),
            (340, api, client, '202: it was kept frozen'),
            (370, api, service, 'hint'),
            (400, service, compute, 'unquiesce_instance'),
            (430, compute, agent, 'thaw'),
            (460, compute, service, 'done: active, row deleted')):
        it.arrow((start, y), (end, y), words=words)
    it.box(60, 246, 800, 30,
           'quiesced: the client has polled, and takes the snapshots')
    for number, words in enumerate((
            'No answer to a request: the client repeats it with its id, and '
            'withdraws it at the end.',
            'A service dies: its lease ends, and another one takes the row.',
            'The freeze fails, or its outcome is unknown: the guest is thawed '
            'until that is confirmed.',
            'The client dies: the deadline (unquiesce_after) makes the row '
            'due, and the guest is thawed.',
            'The thaw fails: the server is in error, and the thaw is repeated '
            'until it is confirmed.')):
        it.text(60, 515 + 25 * number, words,
                f'font-size="13" fill="{RED}" style="text-anchor: start"')
    return it


def two_sites() -> Drawing:
    """Backup, and restore after the loss of a site."""
    it = Drawing(900, 440, 'Backup at one site, restore at the other')
    it.box(20, 20, 380, 300, 'siteA', fill='white')
    it.box(500, 20, 380, 300, 'siteB', fill='white')
    it.box(50, 60, 320, 48, 'db, app, web', 'servers and volumes')
    it.arrow((150, 108), (150, 148), words='1. application snapshot create',
             at=(248, 133))
    it.box(50, 150, 320, 48, 'snapshot set', 'frozen in order: one moment')
    it.arrow((150, 198), (150, 248), words='2. application backup create',
             at=(242, 228))
    it.box(50, 250, 320, 48, 'backup set', "Cinder's backups, incremental")
    it.box(340, 370, 220, 48, 'store that both sites see',
           'directory, Swift, S3')
    it.arrow((210, 298), (210, 394), (338, 394), words='data', at=(274, 388))
    it.arrow((370, 274), (528, 274), words='3. records')
    it.box(530, 250, 300, 48, 'registered backup set',
           'as backups of the target volumes')
    it.arrow((640, 248), (640, 200), words='4. application restore create',
             at=(736, 230))
    it.arrow((560, 394), (856, 394), (856, 174), (832, 174), words='data',
             at=(690, 388))
    it.box(530, 150, 300, 48, 'target volumes',
           'proven equal to the backups')
    it.arrow((640, 148), (640, 110), words='5. boot, check, agents answer',
             at=(738, 134))
    it.box(530, 60, 300, 48, 'db, app, web', 'made again, stage by stage')
    return it


def main(directory: str) -> None:
    """Write all diagrams."""
    for name, draw in (('architecture', architecture), ('sequence', sequence),
                       ('two-sites', two_sites)):
        pathlib.Path(directory, f'{name}.svg').write_text(str(draw()))


if __name__ == '__main__':
    main(*sys.argv[1:])
