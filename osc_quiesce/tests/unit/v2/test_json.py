# SPDX-License-Identifier: Apache-2.0

"""What is shown of JSON: keys, types, and a program that reads a set.

That the samples are what the commands print is tested in test_examples.
"""

from __future__ import annotations

from collections.abc import Iterator
import json
import pathlib
import re
import subprocess
import sys
import tempfile
from typing import Any
import unittest

from osc_quiesce.tests.unit.v2 import test_examples
from osc_quiesce.v2 import application_snapshot
from osc_quiesce.v2 import application_backup_create
from osc_quiesce.v2 import application_backup_records
from osc_quiesce.v2 import application_protection
from osc_quiesce.v2 import application_restore_create
from osc_quiesce.v2 import server

DOCS = test_examples.EXAMPLES.parents[1]
SAMPLES = test_examples.SAMPLES
PAGE = (DOCS / 'reference/json.rst').read_text()
#: a table, and what follows up to the next one
TABLE = re.compile(
    r'^=+  =+  =+\nkey +type .*\n=.*\n([\s\S]*?)^=.*\n([\s\S]*?)(?=^=|\Z)',
    re.MULTILINE)
ROW = re.compile(
    r'^``([^`]+)`` +(\w+(?: or null)?)(?:  |$)', re.MULTILINE)
SAMPLE = re.compile(r'/cli/examples/([\w-]+)\.json')
TYPES = {bool: 'boolean', int: 'number', float: 'number', str: 'string',
         list: 'list', dict: 'object', type(None): 'null'}


def sample(name: str) -> Any:
    return json.loads((test_examples.EXAMPLES / f'{name}.json').read_text())


def keys(value: Any, before: str = '') -> Iterator[tuple[str, str]]:
    """Yield each key, as the page calls it, and the type of its value."""
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, dict):
            for key, inner in each.items():
                yield before + key, TYPES[type(inner)]
                if isinstance(inner, list) and not before:
                    yield from keys(inner, f'{key}[].')


def deep_keys(value: Any, before: str = '') -> Iterator[tuple[str, str]]:
    """Yield each key and type, also of all objects and lists inside."""
    if isinstance(value, list):
        for each in value:
            yield from deep_keys(each, before)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield before + key, TYPES[type(inner)]
            mark = '[].' if isinstance(inner, list) else '.'
            yield from deep_keys(inner, before + key + mark)


class TestReadSet(unittest.TestCase):
    """The program that reads the servers of a set."""

    def read(self, *paths: pathlib.Path | str) -> tuple[Any, str]:
        result = subprocess.run(
            [sys.executable, SAMPLES / 'read_set.py', *paths], text=True,
            capture_output=True, check=False, timeout=60)
        return (json.loads(result.stdout) if result.returncode == 0 else None,
                result.stderr)

    def test_it_reads_the_samples(self) -> None:
        for kind, id_ in (('snapshot', '6af613b6-569c-5c22-9c37-2ed93f31d3af'),
                          ('backup', 'id-db')):
            with self.subTest(kind):
                servers, _said = self.read(SAMPLES / f'{kind}-of-set.json')
                self.assertEqual([id_], [each['id'] for each in servers])

    def test_it_stops_at_another_format(self) -> None:
        text = (SAMPLES / 'snapshot-of-set.json').read_text()
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, 'db.json')
            path.write_text(text.replace(
                '"osc_quiesce:format": "2"', '"osc_quiesce:format": "3"'))
            servers, said = self.read(path)
        self.assertIsNone(servers)
        self.assertEqual('The format is 3, and not 2.\n', said)

    def of_a_list(self, kind: str, number: int, *others: dict[str, Any],
                  **changed: Any) -> tuple[Any, str]:
        """Read a set in two pages of a list of Cinder.

        :param number: of the members of the set, which are all alike
        :param others: what else is in the list
        :param changed: what the last member has in place of the others
        """
        one = json.loads((SAMPLES / f'{kind}-of-set.json').read_text())
        key = 'backup_set_id' if kind == 'backup' else 'set_id'
        listed = []
        for index in range(number):
            each = {**one, 'id': str(index), 'metadata': dict(one['metadata'])}
            each['metadata']['osc_quiesce:snapshot_id'] = str(index)
            listed.append(each)
        for name, value in changed.items():
            (listed[-1] if name in one else listed[-1]['metadata'])[
                name if name in one else f'osc_quiesce:{name}'] = value
        listed += others
        with tempfile.TemporaryDirectory() as folder:
            paths = [pathlib.Path(folder, name) for name in 'ab']
            for path, page in zip(paths, (listed[:2], listed[2:])):
                path.write_text(json.dumps({f'{kind}s': page}))
            return self.read(
                '--set', one['metadata'][f'osc_quiesce:{key}'], *paths)

    def test_a_backup_has_everything_that_its_snapshot_had(self) -> None:
        snapshot, backup = (
            json.loads((SAMPLES / f'{kind}-of-set.json').read_text())
            for kind in ('snapshot', 'backup'))
        self.assertLessEqual(
            {key for key in snapshot['metadata']
             if not re.search(r'\.\d+$', key)}, set(backup['metadata']))

    def test_a_set_that_is_whole(self) -> None:
        other = {'id': 'x', 'status': 'error', 'metadata': {}}
        for kind, number in (('snapshot', 4), ('backup', 3)):
            for others in ((), (other, {**other, 'metadata': None})):
                with self.subTest(kind):
                    servers, said = self.of_a_list(kind, number, *others)
                    self.assertEqual('', said)
                    self.assertEqual(1, len(servers))

    def test_the_good_one_of_two_backups_counts(self) -> None:
        one = json.loads((SAMPLES / 'backup-of-set.json').read_text())
        one['metadata']['osc_quiesce:snapshot_id'] = '0'
        servers, said = self.of_a_list(
            'backup', 3, {**one, 'status': 'error',
                          'created_at': '2026-11-29T00:02:00.000000'})
        self.assertEqual(('', 1), (said, len(servers)))
        servers, said = self.of_a_list(
            'backup', 3, status='error', hidden_by='another')
        self.assertEqual(('', 1), (said, len(servers)))

    def test_the_newest_of_two_good_backups_counts(self) -> None:
        one = json.loads((SAMPLES / 'backup-of-set.json').read_text())
        one['metadata'].update({'osc_quiesce:snapshot_id': '0',
                                'osc_quiesce:sealed': ''})
        for minute, is_whole in (('00', True), ('02', False)):
            with self.subTest(minute):
                servers, _said = self.of_a_list('backup', 3, {
                    **one, 'created_at': f'2026-11-29T00:{minute}:00.000000'})
                self.assertEqual(is_whole, servers is not None)

    def test_a_set_that_is_not_whole_or_not_consistent(self) -> None:
        cases: list[tuple[str, int, dict[str, Any]]] = [
            ('snapshot', 3, {}), ('backup', 2, {}),
            ('snapshot', 4, {'status': 'error'}),
            ('backup', 3, {'status': 'error'}),
            ('snapshot', 4, {'consistency': 'pending'}),
            ('backup', 3, {'sealed': ''}),
            ('backup', 3, {'object_count': None}),
            ('backup', 3, {'status': 'deleting', 'hidden_by': 'another'}),
            ('snapshot', 0, {})]
        for kind, number, changed in cases:
            with self.subTest(kind, number=number, **changed):
                servers, said = self.of_a_list(kind, number, **changed)
                self.assertIsNone(servers)
                self.assertRegex(said, r'^Set \S+ is not whole and consistent')


class TestPage(unittest.TestCase):
    def test_each_key_has_its_type(self) -> None:
        checked = set()
        for table, rest in TABLE.findall(PAGE):
            typed = dict(ROW.findall(table))
            names = SAMPLE.findall(rest)
            self.assertTrue(names, table)
            # The servers of sets have a description of their own.
            apart = {key for key in typed if f'\n``{key}[].' not in table}
            shown = {(key, type_) for name in names
                     for key, type_ in keys(sample(name))
                     if key.partition('[')[0] not in apart
                     or '[' not in key}
            for key, type_ in shown:
                with self.subTest(key, samples=names):
                    self.assertIn(type_, typed[key].split(' or '))
            self.assertEqual(set(typed), {key for key, _type in shown}, names)
            checked.update(names)
        self.assertEqual(
            {path.stem for path in test_examples.EXAMPLES.glob('*.json')},
            checked | {'application-protection-show'})

    def test_protection_has_a_table_of_its_own(self) -> None:
        page = (DOCS / 'cli/application-protection.rst').read_text()
        for key in application_protection.KEYS:
            self.assertIn(key, sample('application-protection-show')[0])
            self.assertRegex(page, rf'(?m)^``.*\b{key}``')
        for names, types in re.findall(
                r'(?m)^((?:``\w+``(?:, )?)+) +(\w+(?: or null)?)  ', page):
            for key in re.findall(r'\w+', names):
                if key in application_protection.KEYS:
                    type_ = TYPES[type(sample(
                        'application-protection-show')[0][key])]
                    self.assertIn(type_, types.split(' or '), key)

    def test_every_key_of_a_server(self) -> None:
        page = (DOCS / 'reference/metadata.rst').read_text()
        typed = dict(ROW.findall(page.partition('\nServers of a set\n')[2]
                                 .partition('.. literalinclude')[0]))
        shown = list(deep_keys(json.loads(
            (SAMPLES / 'server-of-set.json').read_text())))
        for key, type_ in shown:
            # What Nova, Cinder and Neutron take from users has any keys.
            if not re.search(
                    r'(metadata|_properties|_hints|_pairs\[\])\.', key):
                with self.subTest(key):
                    self.assertIn(type_, typed[key].split(' or '))
        self.assertLessEqual(set(typed), {key for key, _type in shown})

    def test_every_key_of_a_plan(self) -> None:
        table = PAGE.partition('\nPlans\n')[2]
        for command, names in {
            'snapshot create': application_snapshot.PLAN_COLUMNS,
            'backup create': application_backup_create.PLAN_COLUMNS,
            'backup import': application_backup_records.PLAN_COLUMNS,
            'restore create': application_restore_create.PLAN_COLUMNS,
        }.items():
            row = re.search(rf'^``{command}``([\s\S]*?)(?=^``|^=)',
                            table.replace('``drill``  ', '           '),
                            re.MULTILINE)
            assert row
            with self.subTest(command):
                self.assertEqual(
                    list(names), re.findall('``(.+?)``', row[1]))

    def test_what_a_long_list_has_besides(self) -> None:
        for name in server.LONG_COLUMNS:
            self.assertIn(f'``{name}``', PAGE)
