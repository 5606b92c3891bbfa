# SPDX-License-Identifier: Apache-2.0


"""The arrows between the modules point one way, and functions are short."""

import ast
import pathlib
import subprocess
import sys
import unittest
from collections.abc import Iterator

import nova_quiesce

CODE = pathlib.Path(nova_quiesce.__file__).parent
PACKAGE = 'nova_quiesce'
#: From the leaves to the top: a module imports only what is above it.
LAYERS = (
    {'i18n', 'compat', 'conf', 'states', 'policies'},
    {'exceptions', 'times'},
    {'schema', 'db', 'notification_states', 'notifier', 'rpcapi'},
    {'store'},
    {'actions', 'guest', 'cells'},
    {'records', 'sweep'},
    {'thawing'},
    {'work'},
    {'manager', 'api'},
    {'register'},
    {'controllers', 'status', 'manage'},
    {'cmd'},
)
#: what runs within nova-api only
IN_NOVA_API = {'controllers', 'register'}
#: Programs say what they need where they need it.
MOST_LINES = 50


def modules() -> dict[str, ast.Module]:
    """Return the modules of the server half, without its tests."""
    return {path.stem: ast.parse(path.read_text())
            for path in CODE.glob('*.py') if path.stem != '__init__'}


def imports(module: ast.Module) -> Iterator[str]:
    """Yield the full names of what a module imports, wherever it does."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ('%s.%s' % (node.module, alias.name)
                        for alias in node.names)


def own(module: ast.Module) -> set[str]:
    """Return which of our modules a module imports."""
    return {name.split('.')[1] for name in imports(module)
            if name.startswith(PACKAGE + '.')}


class TestLayout(unittest.TestCase):

    def test_every_module_has_its_place(self) -> None:
        placed = [name for layer in LAYERS for name in layer]
        self.assertEqual(len(placed), len(set(placed)))
        self.assertEqual(set(placed), set(modules()))

    def test_modules_import_only_what_is_nearer_to_the_leaves(self) -> None:
        level = {name: number for number, layer in enumerate(LAYERS)
                 for name in layer}
        for name, module in modules().items():
            for imported in own(module):
                with self.subTest('%s imports %s' % (name, imported)):
                    self.assertLessEqual(level[imported], level[name])

    def test_a_program_can_be_imported_before_novas_objects(self) -> None:
        # They have their names once the configuration was read.
        subprocess.run([sys.executable, '-W', 'ignore', '-c',
                        'from nova_quiesce import cmd'], check=True)

    def test_nobody_imports_in_a_circle(self) -> None:
        left = {name: own(module) for name, module in modules().items()}
        while left:
            leaves = {name for name, needed in left.items()
                      if not needed & set(left)}
            self.assertTrue(leaves, 'a circle: %s' % sorted(left))
            for name in leaves:
                del left[name]

    def test_the_client_half_is_not_known(self) -> None:
        for path in CODE.rglob('*.py'):
            for name in imports(ast.parse(path.read_text())):
                with self.subTest(path=path.name, imported=name):
                    self.assertNotEqual('osc_quiesce', name.split('.')[0])

    def test_only_what_runs_in_nova_api_imports_it(self) -> None:
        for name, module in modules().items():
            found = {imported for imported in imports(module)
                     if (imported + '.').startswith('nova.api.')}
            if name == 'compat':
                found -= {'nova.api.validation'}
            with self.subTest(name, imports=found):
                self.assertTrue(not found or name in IN_NOVA_API)

    def test_the_table_of_freezes_knows_no_table_of_novas(self) -> None:
        for module in ('schema', 'store'):
            self.assertFalse({
                name for name in imports(modules()[module])
                if name.startswith(('nova.db.main', 'nova.objects'))})

    def test_times_and_states_do_no_input_or_output(self) -> None:
        for name in ('times', 'states'):
            found = {each.split('.')[0] for each in imports(modules()[name])
                     if each != PACKAGE + '.conf'}
            self.assertLessEqual(found, {
                'collections', 'dataclasses', 'datetime', 'enum', 'nova',
                'types'})

    def test_no_function_is_longer_than_a_screen(self) -> None:
        for path in CODE.rglob('*.py'):
            if 'tests' in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.FunctionDef):
                    continue
                lines = (node.end_lineno or 0) - node.lineno + 1
                with self.subTest(path=path.name, function=node.name):
                    self.assertLessEqual(lines, MOST_LINES)
