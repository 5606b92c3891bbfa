# SPDX-License-Identifier: Apache-2.0

"""A mapping.yaml to begin with: what has the same name here is filled in.

The rest is left empty, with a comment of what fits, and is refused until
the user fills it in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
from typing import Any, Final

import yaml

from osc_quiesce.i18n import _
from osc_quiesce.recovery import losses
from osc_quiesce.recovery import mapping as mappings
from osc_quiesce.recovery import resolved
from osc_quiesce.recovery import site as sites

#: of how many things that fit the comment tells
_MOST: Final = 8


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """A mapping.yaml that is not complete yet.

    :param text: all of it
    :param filled: how many names stand for something
    :param empty: what is left to fill in, such as ``flavors.m1.small``
    """

    text: str
    filled: int
    empty: Sequence[str]


def make(site: sites.Site, servers: Iterable[Mapping[str, Any]],
         title: str) -> Skeleton:
    """Return what the user fills in to restore servers at a site.

    :param servers: what is recorded of them
    :param title: of what this is the mapping
    :raises cloud_api.CloudError: a service cannot be asked
    """
    writer = _Writer(site)
    writer.lines += [f'# {line}' for line in title.splitlines()]
    recorded = list(servers)
    for section, wanted in _wanted(recorded):
        writer.section(section, wanted)
    writer.lines += ['', '# servers:']
    for server in recorded:
        name = _scalar(str(server['name']))
        # Translators: an example in YAML
        writer.lines.append(
            _('#   %s: {flavor: small, exclude: false}') % name)
    return Skeleton(
        '\n'.join(writer.lines) + '\n', writer.filled, tuple(writer.empty))


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """A name that something here must stand for.

    :param note: what is recorded of it
    :param fits: whether something here could stand for it
    :param key: what it has in common with what is the same here
    """

    name: str
    note: str = ''
    fits: Callable[[Mapping[str, Any]], bool] = lambda thing: True
    key: str = 'name'


def _wanted(
    servers: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[str, list[_Wanted]]]:
    """Yield each section with what is wanted of it, each name once."""
    found: dict[str, dict[str, _Wanted]] = {}
    for server in servers:
        for section, name, *more in _names(server):
            if name:
                found.setdefault(section, {}).setdefault(
                    str(name), _Wanted(str(name), *more))
    for section in ('flavors', 'images', 'networks', *(
            s for s in mappings.PLAIN if s not in ('flavors', 'images'))):
        if section in found:
            yield section, list(found[section].values())


def _names(server: Mapping[str, Any]) -> Iterator[Any]:
    """Yield sections and names of what a server needs, with what fits."""
    flavor = server['flavor']
    yield ('flavors', flavor['name'], losses.flavor_text(flavor),
           _fits_flavor(flavor))
    yield 'images', _name(server.get('image'))
    for port in server.get('ports') or ():
        yield 'networks', _name(port.get('network'))
        if port.get('port_security_enabled') is not False:
            for group in port.get('security_groups') or ():
                yield 'security_groups', _name(group)
    for volume in server['volumes']:
        if not volume.get('excluded'):
            yield 'volume_types', volume.get('type')
            yield 'volume_zones', volume.get('availability_zone')
            image = volume.get('image_metadata') or {}
            for key in resolved.IMAGE_KEYS:
                yield ('images', image.get(key),
                       _('%(key)s of server %(server)s') % {
                           'key': key, 'server': server['name']},
                       _is_kernel, 'id')
    yield 'zones', server.get('availability_zone')
    yield 'keypairs', server.get('key_name')
    for group in server.get('server_groups') or ():
        yield 'server_groups', _name(group)


def _name(thing: Mapping[str, Any] | None) -> str | None:
    return (thing.get('name') or thing.get('id')) if thing else None


def _fits_flavor(
        flavor: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], bool]:
    def fits(here: Mapping[str, Any]) -> bool:
        return all(
            here[key] >= (flavor.get(key) or 0) for key in ('vcpus', 'ram'))

    return fits


def _is_kernel(image: Mapping[str, Any]) -> bool:
    return image.get('container_format') in ('aki', 'ari')


class _Writer:
    def __init__(self, site: sites.Site) -> None:
        self._site = site
        self.lines: list[str] = []
        self.filled = 0
        self.empty: list[str] = []

    def section(self, section: str, wanted: Sequence[_Wanted]) -> None:
        self.lines += ['', f'{section}:']
        if section not in mappings.NEEDED:
            self.lines[-1] += _('  # none: leave it out')
        for each in wanted:
            self._entry(section, each)

    def _entry(self, section: str, wanted: _Wanted) -> None:
        there = self._site.all(section)
        same = [each for each in there if each[wanted.key] == wanted.name]
        name = _scalar(wanted.name)
        if len(same) == 1:
            self.filled += 1
            value = name
            comment = ''
        else:
            self.empty.append(f'{section}.{wanted.name}')
            value = ''
            comment = self._comment(wanted, there)
        if section == 'networks':
            self.lines += [f'  {name}:', _line('    network', value, comment),
                           _('    addresses: keep  # or new'),
                           _('    mac: keep  # or new')]
        else:
            self.lines.append(_line(f'  {name}', value, comment))

    def _comment(self, wanted: _Wanted,
                 there: Sequence[Mapping[str, Any]]) -> str:
        fit = sorted({e['name'] or e['id'] for e in there if wanted.fits(e)})
        more = ', ...' if len(fit) > _MOST else ''
        text = _('%(note)sfits: %(names)s') % {
            'note': f'{wanted.note}; ' if wanted.note else '',
            'names': ', '.join(fit[:_MOST]) + more if fit else _('nothing')}
        # A name may have a line of its own in it.
        return '  # ' + ' '.join(text.split())


def _line(key: str, value: str, comment: str) -> str:
    return f'{key}:' + (f' {value}' if value else '') + comment


def _scalar(text: str) -> str:
    """Return a text as a key or value in YAML."""
    # Only ASCII and what YAML can escape.
    written: str = yaml.safe_dump(text, width=10**6)
    return written.removesuffix('...\n').strip()
