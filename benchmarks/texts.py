# SPDX-License-Identifier: Apache-2.0

"""The figures in the texts of the documentation, which are those of results.

Each text is found by its words, and its figures are replaced:
``python -m benchmarks plots`` does that for all. Whether the words are still
true with new figures is for a reader to say.
"""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import itertools
import pathlib
import re

from benchmarks import measure
from benchmarks import wait

ROOT = measure.ROOT
WORDS = ('no', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight',
         'nine', 'ten')
NOTES, SIZING = 'benchmarks/NOTES.rst', 'doc/source/admin/sizing.rst'
RECOVERY = 'benchmarks/RECOVERY.rst'
WINDOW = 'doc/source/user/window.rst'
#: what ``make bench`` measures
ALL = ('api', 'cli', 'freeze', 'recovery', 'scale', 'sweep', 'throughput',
       'volumes', 'wait', 'window-fake', 'window-guests')


@dataclasses.dataclass(frozen=True)
class Text:
    """Some words of a document.

    :param path: of the document
    :param words: with {} for each figure; they begin and end with others
    :param figures: as they are to be
    """

    path: str
    words: str
    figures: tuple[str, ...]

    def find(self, document: str) -> re.Match[str]:
        """Return where these words are, with a group for each figure.

        :raises LookupError: unless they are there once
        """
        # A figure may be words; lines are broken anywhere.
        pattern = r'([^()]{1,80}?)'.join(
            r'\s+'.join(re.escape(word) for word in re.split(r'\s+', part))
            for part in self.words.split('{}'))
        found = list(re.finditer(pattern, document))
        if len(found) != 1:
            raise LookupError(
                f'{self.path} has these words {len(found)} times: '
                f'{self.words}')
        return found[0]

    def differs_in(self, document: str) -> str | None:
        """Return these words with the figures, if a document has others."""
        found = self.find(document)
        if tuple(' '.join(figure.split()) for figure in found.groups()) == (
                self.figures):
            return None
        return self.words.format(*self.figures)

    def put_into(self, document: str) -> str:
        found = self.find(document)
        # From the end, lest what is replaced move what is not yet.
        for number, figure in reversed([*enumerate(self.figures, 1)]):
            if ' '.join(found[number].split()) != figure:
                start, end = found.span(number)
                document = document[:start] + figure + document[end:]
        return document


class Found:
    """Figures of all results of a directory, in words."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._results = {
            path.stem: measure.Results.load(path)
            for path in directory.glob('*.json')}

    def results(self, name: str) -> measure.Results:
        return self._results[name]

    def middle(self, name: str, line: str, form: str, unit: str = 's') -> str:
        return format(self.results(name).line(line, unit).middle, form)

    def runs(self, name: str, line: str, unit: str = 's') -> str:
        count = len(self.results(name).line(line, unit).values)
        word = WORDS[count] if count < len(WORDS) else str(count)
        return f'{word} run{"" if count == 1 else "s"}'

    def spread(self, name: str, line: str, form: str, unit: str = 's'
               ) -> tuple[str, str, str]:
        """Return the median, the minimum and the maximum."""
        found = self.results(name).line(line, unit)
        return (format(found.middle, form), format(min(found.values), form),
                format(max(found.values), form))

    def measured(self, *names: str) -> str:
        """Return when results were measured."""
        return measure.dates(self.results(name) for name in names)

    def picture(self) -> str:
        """Return how long the run took of which there is a picture."""
        lines = self.results('window-guests').details['time_lines']
        return format(max(line['times'][-1] for line in lines['3 real guests']
                          ), '.2f')


def texts(directory: pathlib.Path) -> list[Text]:
    """Return all texts that have figures, with those of a directory."""
    found = Found(directory)
    return [Text(path, words, figures)
            for part in (_front, _window, _sizing, _notes)
            for path, words, figures in part(found)]


_Texts = Iterator[tuple[str, str, tuple[str, ...]]]


def _front(found: Found) -> _Texts:
    guests = 'window-guests'
    ours, sdk, script = (f'3 real guests: {way}'
                         for way in ('ours', 'SDK', 'script, 5 s'))
    yield 'README.rst', 'This run took {} seconds.', (found.picture(),)
    yield ('README.rst',
           'Medians: {} seconds ({}); a shell script takes {} seconds ({}), '
           'openstacksdk {} seconds ({}). The machine', (
               found.middle(guests, ours, '.1f'), found.runs(guests, ours),
               found.middle(guests, script, '.1f'), found.runs(guests, script),
               found.middle(guests, sdk, '.1f'), found.runs(guests, sdk)))
    yield ('README.rst', 'The times were measured {}: see',
           (found.measured(guests),))


def _window(found: Found) -> _Texts:
    guests = 'window-guests'
    ours, limit, sdk, slow, fast = (
        f'3 real guests: {way}' for way in (
            'ours', 'limit', 'SDK', 'script, 5 s', 'script, 1 s'))
    yield (WINDOW,
           'two Ceph volumes each: {} s (plain HTTP without checks: {} s; '
           'medians of {}). With openstacksdk: {} s ({}). With a shell script '
           'that looks every 5 s: {} s ({}); every 1 s: {} s ({}).', (
               found.middle(guests, ours, '.1f'),
               found.middle(guests, limit, '.1f'), found.runs(guests, ours),
               *(figure for way in (sdk, slow, fast) for figure in (
                   found.middle(guests, way, '.1f'),
                   found.runs(guests, way)))))
    yield WINDOW, 'They were measured {}. :doc:`/contributor/benchmarks`', (
        found.measured('window-guests', 'window-fake', 'freeze', 'scale',
                       'wait'),)
    gap = found.results('freeze').line('held for 1 s: gap of the writer')
    yield (WINDOW,
           'held quiesced for 1 s, from the answer "quiesced" to the request '
           'to thaw, leaves a gap of {} s between writes made every 0.05 s '
           '(median; {} to {} s, {} times).', (
               *found.spread('freeze', gap.name, '.2f'),
               str(len(gap.values))))
    yield WINDOW, 'The client reports {} s:', (
        found.middle('freeze', 'held for 1 s: seconds of the report', '.2f'),)
    yield (WINDOW,
           'For 500 servers, osc-quiesce sends {} requests ({} MB), a script '
           '{} ({} MB); it sees a freeze {} s late, the script {} s (means', (
               *itertools.chain(*zip(_both(found, 'requests', '.0f'),
                                     _both(found, 'kB', '.1f', 1000))),
               found.middle('wait', f'500 servers: {wait.OURS}', '.1f',
                            's late, mean'),
               found.middle('wait', f'500 servers: {wait.SCRIPT}', '.0f',
                            's late, mean')))


def _both(found: Found, unit: str, form: str, divisor: float = 1
          ) -> Iterator[str]:
    """Return what a wait for 500 servers takes, and that of a script."""
    for way in (wait.OURS, wait.SCRIPT):
        line = found.results('wait').line(f'500 servers: {way}', unit)
        yield format(line.middle / divisor, form)


def _sizing(found: Found) -> _Texts:
    yield (SIZING,
           'One quiesced {} servers a second, and two of them {}. With more, '
           'nova-api took most of the time, not nova-quiesce (measured {}).', (
               *(found.middle('throughput', f'quiesce, {count} nova-quiesce',
                              '.0f', 'servers/s') for count in (1, 2)),
               found.measured('throughput')))
    yield SIZING, 'the client {} MB for 10 servers, {} MB for 1000.', tuple(
        found.middle('scale', f'{count} servers: memory', '.0f', 'MB')
        for count in (10, 1000))
    yield (SIZING, 'A backup of 100 volumes takes {} MB, a restore {} MB.',
           tuple(found.middle(
               'volumes', f'100 volumes, {what}: memory of the client', '.0f',
               'MB') for what in ('backup, full', 'restore')))


def _notes(found: Found) -> _Texts:
    guests, fake = 'window-guests', 'window-fake'
    real, script = '3 real guests: ', '3 real guests: script, 5 s / ours'
    yield NOTES, 'or ``results/``, measured {}, part by part', (
        found.measured(*ALL),)
    yield (NOTES, 'Three real guests, script / ours: {} ({} to {}, n {}), '
           'target', (*found.spread(guests, script, '.1f', 'ratio'), str(
               len(found.results(guests).line(script, 'ratio').values))))
    ours, limit, slow = (
        found.results(guests).line(real + way).middle
        for way in ('ours', 'limit', 'script, 5 s'))
    yield (NOTES, 'Ours takes {} s. The limit, plain HTTP that polls '
           'without pauses and checks nothing, takes {} s: it', (
               f'{ours:.2f}', f'{limit:.2f}'))
    parts = ('each quiesce', 'snapshots', 'each unquiesce')
    for words, name, what in (
            ('each quiesce takes {} s, the six snapshots together {} s, each '
             'unquiesce {} s', guests, real),
            ('the same requests take {}, {} and {} s', fake,
             '3 fake guests: ')):
        yield NOTES, words, tuple(
            found.middle(name, f'{what}limit, {part}', '.2f')
            for part in parts)
    yield NOTES, 'The script takes {} s, since', (f'{slow:.1f}',)
    cpu, wait_for = '1000 servers: CPU in the API', (
        '500 servers / 10, waited for as long: requests a second')
    yield NOTES, 'CPU in the API {} s for quiesce and thaw', (
        found.middle('scale', cpu, '.1f'),)
    yield NOTES, 'waited for as long {}: the servers of a stage', (
        found.middle('wait', wait_for, '.2f', 'ratio'),)
    yield NOTES, 'Not met, {}: the rest is start-up', (found.middle(
        'recovery', '6 volumes, restore: restores of Cinder / ours', '.2f',
        'ratio'),)
    line = found.results('cli').line(
        'openstack --version: with plugin / without', 'ratio')
    yield (NOTES, 'target 1.02 {} (n {}), missed within the noise: single '
           'rounds range from {} to {}, and', (
               f'{line.middle:.3f}', str(len(line.values)),
               f'{min(line.values):.2f}', f'{max(line.values):.2f}'))
    yield NOTES, 'Met, {}: a restore with proof takes', (found.middle(
        'volumes', '100 volumes, restore: other requests for each volume',
        '.1f', 'requests'),)
    line = found.results(fake).line('3 fake guests: ours / limit', 'ratio')
    yield (NOTES, 'rounds of 3 fake guests range from {} to {} (n {})', (
        f'{min(line.values):.2f}', f'{max(line.values):.2f}',
        str(len(line.values))))
    yield (RECOVERY, 'all at once (ours is {} of that, and {} verified)',
           tuple(found.middle(
               'recovery', f'6 volumes, restore: {ours} / script, restores at '
               'once', '.2f', 'ratio') for ours in ('ours', 'ours, verified')))


def write(results: pathlib.Path, root: pathlib.Path = ROOT) -> None:
    """Put the figures into all texts.

    :param results: their directory
    :param root: of the documents
    """
    for text in texts(results):
        path = root / text.path
        path.write_text(text.put_into(path.read_text()))
