# SPDX-License-Identifier: Apache-2.0

"""``python -m benchmarks all|window|table|plots``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
import pathlib
import signal
import subprocess
import sys
import tempfile
import textwrap
from typing import NoReturn

from benchmarks import measure

HERE = pathlib.Path(__file__).parent
RESULTS = HERE / 'results'
WINDOW = HERE.parent / 'tools/docs/window.py'
PICTURE = HERE.parent / 'doc/source/images/window.svg'
PARTS = ('guests', 'fake', 'many', 'recovery', 'volumes')


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError('must be a number from 1 on')
    return int(text)


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(
        prog='python -m benchmarks', description=sys.modules['benchmarks']
        .__doc__)
    verbs = whole.add_subparsers(dest='verb', required=True)
    everything = verbs.add_parser(
        'all', help='measure everything, on clouds of minicloud')
    everything.add_argument(
        '--quick', action='store_true', help='little of each, without guests')
    everything.add_argument(
        '--part', choices=PARTS, action='append',
        help='only this (repeat for several)')
    everything.add_argument(
        '--root', type=pathlib.Path, help='where the clouds are made')
    window = verbs.add_parser(
        'window', help='how long servers of a cloud of yours are frozen')
    window.add_argument(
        '--os-cloud', help='in clouds.yaml (default: what the environment '
        'says)')
    window.add_argument(
        '--server', action='append', required=True,
        help='name or ID; repeat, in the order in which they are quiesced')
    window.add_argument(
        '--rounds', type=_count, default=3, help='how often (default: 3)')
    window.add_argument(
        '--script', action='store_true',
        help='also a shell script, which keeps them frozen much longer')
    verbs.add_parser('table', help='show all results that are there')
    verbs.add_parser(
        'plots', help='draw them, write their figures into the documentation, '
        'and show how they meet the targets')
    for verb in (everything, *(verbs.choices[n] for n in ('table', 'plots'))):
        verb.add_argument(
            '--results', type=pathlib.Path, default=RESULTS,
            help='directory of the JSON files (default: %(default)s)')
    return whole


def measure_all(args: argparse.Namespace) -> None:
    # What this imports, other verbs do not need.
    from benchmarks import suite

    with tempfile.TemporaryDirectory(prefix='bench-') as directory:
        suite.run(
            args.results, args.root or pathlib.Path(directory),
            suite.QUICK if args.quick else suite.FULL,
            args.part or list(PARTS))
    summarize(args.results)


def measure_window(args: argparse.Namespace) -> None:
    from keystoneauth1 import exceptions as keystone_exceptions
    from openstack import exceptions as sdk_exceptions

    from benchmarks import cloud as cloud_api
    from benchmarks import window
    from osc_quiesce import errors

    try:
        cloud = cloud_api.Cloud(args.os_cloud)
        application = window.Application(
            cloud, [cloud.find(server) for server in args.server])
        application.check()
        ways = [window.OURS, window.LIMIT]
        if args.script:
            ways.append(window.SCRIPT_5)
        results = measure.Results('window')
        window.measure_application(
            results, application, f'{len(args.server)} servers',
            dict.fromkeys(ways, args.rounds))
    except (RuntimeError, errors.QuiesceError,
            keystone_exceptions.ClientException,
            sdk_exceptions.SDKException) as exc:
        sys.exit(str(exc))    # what was frozen is thawed, or is named in it
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)    # after thawing
    print(results.table())


def summarize(directory: pathlib.Path) -> None:
    """Draw the results, and show and keep the table of the targets.

    The documentation has the results of the repository: its figures and its
    picture of the window follow.
    """
    from benchmarks import plots
    from benchmarks import texts

    plots.draw(directory)
    table = targets(directory)
    (directory / 'targets.rst').write_text(table)
    if directory.resolve() == RESULTS.resolve():
        subprocess.run([sys.executable, WINDOW, PICTURE], check=True)
        texts.write(directory)
    print(table, end='')


def load(directory: pathlib.Path) -> list[measure.Results]:
    return [measure.Results.load(path)
            for path in sorted(directory.glob('*.json'))]


def join(several: Iterable[measure.Results]) -> measure.Results:
    whole = measure.Results('all')
    for results in several:
        whole.lines += results.lines
    return whole


def targets(directory: pathlib.Path) -> str:
    """Return the table of the targets, with the origin of its results."""
    several = load(directory)
    table = join(several).table(only_targets=True)
    head = textwrap.fill(
        f'Measured {measure.dates(several)}; {measure.origin(several)}; n: '
        'rounds.', 79, break_on_hyphens=False)
    return f'{head}\n\n{table}\n'


def _end(number: int, _frame: object) -> NoReturn:
    # So that a cloud is stopped on the way out.
    sys.exit(128 + number)


def main() -> None:
    args = parser().parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    if args.verb == 'all':
        measure_all(args)
    elif args.verb == 'window':
        measure_window(args)
    elif args.verb == 'table':
        print(join(load(args.results)).table())
    else:
        summarize(args.results)


if __name__ == '__main__':
    main()
