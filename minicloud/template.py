#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

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
from minicloud.guest import build
from minicloud.layout import Layout

DATABASES = ('keystone', 'placement', 'glance', 'nova_api', 'nova_cell0',
             'nova_cell1', 'cinder')
#: Directories of the state that belong to a fresh cloud.
DIRECTORIES = ('keystone', 'glance/images')
#: Sources of ours that decide what the template holds.
SOURCES = ('template.py', 'seed.py', 'personas.py', 'roles/prepare.py')
KEY = 'key.json'


def key(layout: Layout, versions: dict[str, str] | None = None,
        sources: dict[str, bytes] | None = None,
        driver: str = 'fake') -> str:
    """Return what a template has to match to be used.

    :param versions: of the packages; default: those installed
    :param sources: contents by name; default: minicloud's own files
    :param driver: the hypervisor: each has images of its own
    """
    if versions is None:
        versions = packages.versions(
            packages.SERVICES + ('oslo.db', 'SQLAlchemy'))
    if sources is None:
        home = pathlib.Path(__file__).parent
        sources = {name: (home / name).read_bytes() for name in SOURCES}
    facts = {
        'root': str(layout.root),
        'versions': versions,
        'python': list(sys.version_info[:2]),
        'driver': driver,
        'guest': build.source_digest() if driver == 'libvirt' else '',
        'password': personas.PASSWORD,
        'sources': {name: hashlib.sha256(data).hexdigest()
                    for name, data in sources.items()},
    }
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def valid(layout: Layout, driver: str) -> bool:
    """Whether there is a template that fits."""
    told = processes.read_json(layout.template / KEY)
    return told.get('key') == key(layout, driver=driver)


def save(layout: Layout, driver: str) -> None:
    """Make a template of the state, which may be in use."""
    partial = layout.template.with_name('template.partial')
    for path in (partial, layout.template):
        shutil.rmtree(path, ignore_errors=True)
    partial.mkdir()
    for name in DATABASES:
        sqlite.copy(layout.database(name), partial / f'{name}.db')
    for name in DIRECTORIES:
        shutil.copytree(layout.state / name, partial / name)
    processes.write_json(partial / KEY, {'key': key(layout, driver=driver)})
    partial.rename(layout.template)


def restore(layout: Layout) -> None:
    """Make the state a copy of the template (the caller marks it)."""
    shutil.copytree(layout.template, layout.state, dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns(KEY))


def mark_complete(layout: Layout, driver: str) -> None:
    """Say that the state is whole, and what made it."""
    processes.write_json(layout.complete, {
        'root': str(layout.root), 'driver': driver,
        'versions': packages.versions()})
