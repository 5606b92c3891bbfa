# SPDX-License-Identifier: Apache-2.0

"""A prepared state, so that a fresh cloud needs no database migrations.

The template is valid for the exact packages, the root directory and the
parts of minicloud that made it; its key says which. Both directions end with
the marker file, so that a half-made copy is never taken for a whole one.
"""

import hashlib
import json
import pathlib
import shutil
import sys

from minicloud import packages
from minicloud import personas
from minicloud import processes
from minicloud import sqlite
from minicloud.config import database_names
from minicloud.config import Settings
from minicloud.guest import build
from minicloud.layout import DATABASE_DATA
from minicloud.layout import Layout

#: Directories of the state that belong to a fresh cloud.
DIRECTORIES = ('keystone', 'glance/images')
#: Sources of ours that decide what the template holds.
SOURCES = ('template.py', 'seed.py', 'personas.py', 'roles/prepare.py',
           'servers.py')
KEY = 'key.json'
DEFAULTS = Settings()


def key(layout: Layout, versions: dict[str, str] | None = None,
        sources: dict[str, bytes] | None = None,
        settings: Settings = DEFAULTS) -> str:
    """Return what a template has to match to be used.

    The broker is not in it: what in the databases names it is put right at
    each start. Nor is the storage, which starts empty, nor are the quiesce
    actions: their tables are made when nova-api starts.

    :param versions: of the packages; default: those installed
    :param sources: contents by name; default: minicloud's own files
    :param settings: each driver has images of its own, each database a
        format, each cell a database, and so has a network service
    """
    if versions is None:
        versions = packages.versions(
            packages.services(settings.network) + ('oslo.db', 'SQLAlchemy'))
    if sources is None:
        home = pathlib.Path(__file__).parent
        sources = {name: (home / name).read_bytes() for name in SOURCES}
    facts = {
        'root': str(layout.root),
        'versions': versions,
        'python': list(sys.version_info[:2]),
        'driver': settings.driver,
        'database': settings.database,
        'network': settings.network,
        'cells': settings.cells,
        'guest': (build.source_digest() if settings.driver == 'libvirt'
                  else ''),
        'password': personas.PASSWORD,
        'sources': {name: hashlib.sha256(data).hexdigest()
                    for name, data in sources.items()},
    }
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def valid(layout: Layout, settings: Settings) -> bool:
    """Whether there is a template that fits."""
    told = processes.read_json(layout.template / KEY)
    return told.get('key') == key(layout, settings=settings)


def save(layout: Layout, settings: Settings) -> None:
    """Make a template of the state.

    SQLite may be in use meanwhile, MariaDB must have been stopped.
    """
    partial = layout.template.with_name('template.partial')
    for path in (partial, layout.template):
        shutil.rmtree(path, ignore_errors=True)
    partial.mkdir()
    directories = list(DIRECTORIES)
    if settings.database == 'mariadb':
        directories.append(DATABASE_DATA)
    else:
        for name in database_names(settings):
            sqlite.copy(layout.database(name), partial / f'{name}.db')
    for name in directories:
        shutil.copytree(layout.state / name, partial / name)
    processes.write_json(partial / KEY,
                         {'key': key(layout, settings=settings)})
    partial.rename(layout.template)


def restore(layout: Layout) -> None:
    """Make the state a copy of the template (the caller marks it)."""
    shutil.copytree(layout.template, layout.state, dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns(KEY))


def mark_complete(layout: Layout, settings: Settings) -> None:
    """Say that the state is whole, and what made it."""
    processes.write_json(layout.complete, {
        'root': str(layout.root), 'driver': settings.driver,
        'database': settings.database, 'storage': settings.storage,
        'network': settings.network,
        'cells': settings.cells, 'queues': settings.queues,
        'versions': packages.versions(
            packages.services(settings.network))})
