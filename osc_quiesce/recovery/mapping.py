# SPDX-License-Identifier: Apache-2.0

"""mapping.yaml: the counterpart of each thing at the site of a restore.

The schema is documented in doc/source/reference/mapping.rst. Everything is
named by name or ID. What is left empty is refused, and so is what is not
there: nothing is ever guessed. The word ``none`` leaves something out.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from osc_quiesce.application import documents
from osc_quiesce.application import spec
from osc_quiesce.i18n import _

NONE: Final = 'none'
KEEP: Final = 'keep'
NEW: Final = 'new'
DROP: Final = 'drop'

#: sections in which a name stands for a name
PLAIN: Final = ('flavors', 'images', 'security_groups', 'volume_types',
                'volume_zones', 'zones', 'keypairs', 'server_groups')
#: those of them in which ``none`` is no answer
NEEDED: Final = frozenset({'flavors', 'images', 'volume_types'})

#: What Nova takes since microversion 2.94. Source: fqdn in
#: nova/api/validation/parameter_types.py
HOSTNAME: Final = r'\A[a-zA-Z0-9-._]{1,255}\Z'

_NAME: Final = {
    'type': ['string', 'null'], 'minLength': 1, 'maxLength': spec.LONGEST_NAME}
_WORD: Final = {'enum': [KEEP, NEW]}
_NETWORK: Final = {'type': ['object', 'null'],
                   'properties': {'network': _NAME,
                                  'subnet': _NAME,
                                  'addresses': _WORD,
                                  'mac': _WORD},
                   'required': ['network'],
                   'additionalProperties': False}
_NETWORKS: Final = {'type': 'object', 'additionalProperties': _NETWORK}
_SERVER: Final = {
    'type': 'object',
    'properties': {
        'flavor': _NAME,
        'hostname': {'type': 'string', 'pattern': HOSTNAME},
        'exclude': {'type': 'boolean'},
        'user_data': {'enum': [KEEP, DROP]},
        'user_data_file': {'type': 'string', 'minLength': 1}},
    'additionalProperties': False}
SCHEMA: Final = {
    'type': 'object',
    'properties': {
        **{section: {'type': 'object',
                     'additionalProperties': _NAME} for section in PLAIN},
        'networks': _NETWORKS,
        'servers': {'type': 'object', 'additionalProperties': _SERVER},
        'drill': {'type': 'object',
                  'properties': {'networks': _NETWORKS, 'prefix': {
                      'type': 'string', 'minLength': 1, 'maxLength': 100}},
                  'additionalProperties': False}},
    'additionalProperties': False}


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a section says of one thing.

    :param value: None if it was left empty
    :param where: file, line and key, for messages
    """

    value: Any
    where: str

    def get(self, key: str, default: Any = None) -> Any:
        """Return one key of what is a mapping itself."""
        return self.value.get(key, default)


@dataclasses.dataclass(frozen=True)
class Mapping:
    """A mapping.yaml that is as the schema has it.

    :param is_for_drill: whether ports are those of a drill
    """

    document: documents.Document
    is_for_drill: bool = False

    def entry(self, section: str, *names: str | None) -> Entry | None:
        """Return what a section says of a thing; None if nothing.

        :param section: with a dot for one in another, ``drill.networks``
        :param names: what it may be called, such as its ID and its name; the
            first that is there counts
        """
        keys = section.split('.')
        found = self.document.data
        for key in keys:
            found = found.get(key) or {}
        for name in names:
            if name and name in found:
                where = _('%(path)s, line %(line)d (%(section)s.%(name)s)') % {
                    'path': self.document.path,
                    'line': self.document.line([*keys, name]),
                    'section': section,
                    'name': name}
                return Entry(found[name], where)
        return None

    @property
    def path(self) -> str:
        return self.document.path

    @property
    def networks(self) -> str | None:
        """The section of the networks; None if servers get no ports."""
        if not self.is_for_drill:
            return 'networks'
        drill = self.document.data.get('drill') or {}
        return 'drill.networks' if drill.get('networks') else None

    def for_drill(self) -> Mapping:
        """Return what this says of a drill."""
        return dataclasses.replace(self, is_for_drill=True)

    @property
    def drill_prefix(self) -> str:
        """What the names of all that a drill makes begin with."""
        drill = self.document.data.get('drill') or {}
        return str(drill.get('prefix', 'drill-'))


def from_file(path: str) -> Mapping:
    """Return the mapping that a file describes.

    :raises errors.SpecError: the file cannot be read or is not right; the
        message names the file and the line
    """
    return from_yaml(documents.read(path), path)


def from_yaml(text: str, path: str) -> Mapping:
    """Return the mapping that a text describes.

    :param path: what errors call the text
    :raises errors.SpecError: as from_file
    """
    return Mapping(documents.parse(text, path, SCHEMA, _write_out))


def _write_out(data: Any) -> None:
    """Turn networks of which only the name is given into mappings.

    A section without entries is none, and no error.
    """
    if not isinstance(data, dict):
        return
    for section in [key for key in data if data[key] is None]:
        data[section] = {}
    for owner in (data, data.get('drill')):
        networks = owner.get('networks') if isinstance(owner, dict) else None
        if isinstance(networks, dict):
            for name, value in networks.items():
                if isinstance(value, str):
                    networks[name] = {'network': value}
