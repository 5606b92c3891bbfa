# SPDX-License-Identifier: Apache-2.0

"""What the commands cost: against ``pause``, and for those who use others.

The same programs are started with a directory of packages that has ours and
one that has not; nothing else differs.
"""

from __future__ import annotations

from collections.abc import Sequence
import functools
import os
import pathlib
import subprocess
import sys
import sysconfig
import tempfile

from benchmarks import cloud as cloud_api
from benchmarks import measure

PAUSE = measure.Target(1.05)
OTHERS = measure.Target(1.02)
WITH, WITHOUT = 'with plugin', 'without'
HERE = pathlib.Path(__file__).resolve().parent.parent


def commands(
    results: measure.Results, cloud: cloud_api.Cloud, server: str, rounds: int
) -> None:
    """Compare ``openstack server quiesce`` with ``server pause``."""

    def timed(action: str, undo: str, vm_state: str) -> float:
        taken = measure.seconds(
            functools.partial(_openstack, 'server', action, server))
        cloud.wait(server, vm_state)
        cloud.act(server, undo)
        cloud.wait(server, 'active')
        return taken

    ways = {
        'server quiesce': lambda: timed('quiesce', 'unquiesce', 'quiesced'),
        'server pause': lambda: timed('pause', 'unpause', 'paused'),
    }
    series = measure.alternately(dict.fromkeys(ways, rounds), ways)
    results.compare(
        'command', 's', series, {('server quiesce', 'server pause'): PAUSE})


def plugin(results: measure.Results, rounds: int) -> None:
    """Compare other commands with the plugin and without it."""
    with tempfile.TemporaryDirectory() as directory:
        here = pathlib.Path(directory)
        places = {
            WITH: _packages(here / 'with', ours=True),
            WITHOUT: _packages(here / 'without', ours=False),
        }
        assert _knows_us(places[WITH]) and not _knows_us(places[WITHOUT])
        for words in (['--version'], ['server', 'list']):
            ways = {
                way: functools.partial(
                    measure.seconds,
                    functools.partial(_openstack_of, place, *words))
                for way, place in places.items()
            }
            for do in ways.values():
                do()    # fills the cache of entry points
            series = measure.alternately(dict.fromkeys(ways, rounds), ways)
            results.compare(
                f'openstack {" ".join(words)}', 's', series,
                {(WITH, WITHOUT): OTHERS})


def _packages(directory: pathlib.Path, ours: bool) -> list[str]:
    """Make a directory of links to all packages but ours, or also to ours."""
    directory.mkdir()
    for package in pathlib.Path(sysconfig.get_path('purelib')).iterdir():
        name = package.name.lower().replace('-', '_')
        if 'osc_quiesce' not in name or (ours and 'editable' not in name):
            (directory / package.name).symlink_to(package)
    return [str(directory), *([str(HERE)] if ours else [])]


def _openstack(*words: str) -> None:
    subprocess.run(['openstack', *words], check=True,
                   stdout=subprocess.DEVNULL)


def _openstack_of(places: Sequence[str], *words: str) -> str:
    # -S: no site-packages, and none of what is linked there.
    return subprocess.run(
        [sys.executable, '-S', '-m', 'openstackclient.shell', *words],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(places)},
        cwd='/', check=True, stdout=subprocess.PIPE, text=True).stdout


def _knows_us(places: Sequence[str]) -> bool:
    return 'server quiesce' in _openstack_of(places, 'help', 'server')
