# SPDX-License-Identifier: Apache-2.0

"""mapping.yaml: every error names the line, and nothing is guessed."""

from __future__ import annotations

import pathlib
import unittest

from osc_quiesce.application import errors
from osc_quiesce.recovery import mapping as mappings


class TestMapping(unittest.TestCase):
    def read(self, text: str) -> mappings.Mapping:
        return mappings.from_yaml(text, 'm.yaml')

    def refused(self, text: str) -> str:
        with self.assertRaises(errors.SpecError) as caught:
            self.read(text)
        return str(caught.exception)

    def test_a_hostname_is_one_that_nova_takes(self) -> None:
        for name in 'a b', '""', '"a\\n"', 'é', 256 * 'a':
            self.assertIn(
                'm.yaml, line 1: servers.db.hostname',
                self.refused(f'servers: {{db: {{hostname: {name}}}}}\n'))
        self.read('servers: {db: {hostname: db-9.example}}\n')

    def test_what_stands_for_a_name_is_found_with_its_line(self) -> None:
        entry = self.read('flavors:\n  small: tiny\n').entry(
            'flavors', 'some-id', 'small'
        )
        assert entry
        self.assertEqual('tiny', entry.value)
        self.assertEqual('m.yaml, line 2 (flavors.small)', entry.where)

    def test_an_id_counts_before_a_name(self) -> None:
        entry = self.read('flavors: {small: a, id-1: b}').entry(
            'flavors', 'id-1', 'small'
        )
        assert entry
        self.assertEqual('b', entry.value)

    def test_a_key_that_looks_like_a_number_is_text(self) -> None:
        mapping = self.read('flavors:\n  1: "2"\n  010: a\nzones: {no: b}\n')
        for section, name, value, line in (
                ('flavors', '1', '2', 2), ('flavors', '010', 'a', 3),
                ('zones', 'no', 'b', 4)):
            entry = mapping.entry(section, name)
            assert entry
            self.assertEqual(value, entry.value)
            self.assertIn(f'line {line} ', entry.where)
        self.assertIn('line 1: "1" is there twice',
                      self.refused('flavors: {1: a, "1": b}'))

    def test_what_is_empty_is_told_from_what_is_missing(self) -> None:
        mapping = self.read('flavors:\n  small:\n')
        entry = mapping.entry('flavors', 'small')
        assert entry
        self.assertIsNone(entry.value)
        self.assertIsNone(mapping.entry('flavors', 'big'))
        self.assertIsNone(mapping.entry('zones', 'nova'))

    def test_a_network_may_be_just_a_name(self) -> None:
        mapping = self.read('networks: {a: b, c: {network: d, mac: new}}')
        for name, network, mac in ('a', 'b', 'keep'), ('c', 'd', 'new'):
            entry = mapping.entry('networks', name)
            assert entry
            self.assertEqual(network, entry.get('network'))
            self.assertEqual(mac, entry.get('mac', 'keep'))

    def test_networks_of_drills_are_their_own(self) -> None:
        mapping = self.read(
            'networks: {a: b}\ndrill:\n  networks: {a: isolated}\n'
        )
        entry = mapping.entry('drill.networks', 'a')
        assert entry
        self.assertEqual('isolated', entry.get('network'))
        self.assertEqual('drill-', mapping.drill_prefix)

    def test_a_drill_has_its_own_networks_or_none(self) -> None:
        mapping = self.read('networks: {a: b}\ndrill: {networks: {a: c}}\n')
        self.assertEqual('networks', mapping.networks)
        self.assertEqual('drill.networks', mapping.for_drill().networks)
        for text in 'networks: {a: b}\n', 'drill: {networks: {}}\n':
            self.assertIsNone(self.read(text).for_drill().networks)

    def test_a_section_without_entries_is_none(self) -> None:
        self.assertIsNone(
            self.read('flavors:\nzones: {}\n').entry('flavors', 'small')
        )

    def test_errors_name_the_line(self) -> None:
        for text, expected in (
            ('flavours: {}', 'm.yaml, line 1: '),
            ('flavors:\n  a: 5\n', 'line 2: flavors.a: '),
            ('networks:\n  a:\n    network: b\n    mac: old\n', 'line 4: '),
            ('networks: {a: {mac: new}}', "'network' is a required"),
            ('servers:\n  db: {exclude: 1}\n', 'line 2: servers.db.exclude'),
            ('flavors: {a: b, a: c}', 'line 1: "a" is there twice'),
            ('drill: {networks:}', 'line 1: drill.networks: '),
            ('[]', 'line 1: '),
            ('', 'line 1: there is nothing in it'),
        ):
            with self.subTest(text):
                self.assertIn(expected, self.refused(text))

    def test_a_file_that_cannot_be_read_is_named(self) -> None:
        with self.assertRaisesRegex(errors.SpecError, '/no/such cannot be'):
            mappings.from_file('/no/such')

    def test_the_example_of_the_documentation_is_right(self) -> None:
        path = pathlib.Path(__file__).parents[4] / (
            'doc/source/samples/mapping.yaml')
        mapping = mappings.from_file(str(path))
        self.assertIsNotNone(mapping.entry('servers', 'db'))
