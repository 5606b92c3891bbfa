# SPDX-License-Identifier: Apache-2.0

"""The arrows between the modules point one way, and all of them are short."""

import ast
from collections.abc import Iterator
import functools
import pathlib
import unittest

import osc_quiesce

CODE = pathlib.Path(osc_quiesce.__file__).parent
PACKAGE = CODE.name
#: From the leaves to the top: a room imports only those of lines before its
#: own. A package is one room; inside it, modules do not import in a circle.
ROOMS = (
    {'states'},
    {'i18n'},
    {'model'},
    {'errors'},
    {'retry'},
    {'jobs'},
    {'concurrency'},
    {'http'},
    {'api'},
    {'verbs'},
    {'polling'},
    {'client'},
    {'report'},
    {'group'},
    {'cli', 'application'},
    {'recovery'},
    {'v2', 'novaclient_extension', 'plugin'},
)
MOST_LINES = 350
MOST_LINES_OF_A_FUNCTION = 50


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Return the modules without their tests, by their names in here."""
    return {
        '.'.join(path.relative_to(CODE).with_suffix('').parts): ast.parse(
            path.read_text())
        for path in CODE.rglob('*.py')
        if path.stem != '__init__' and CODE / 'tests' not in path.parents
    }


def imports(module: ast.Module) -> Iterator[str]:
    """Yield the full names of what a module imports, wherever it does."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = '.' * node.level  # never known, so never allowed
            yield from (
                f'{dots}{node.module}.{alias.name}' for alias in node.names
            )


def own(module: ast.Module) -> set[str]:
    """Return which of our modules a module imports."""
    names = {
        name.removeprefix(PACKAGE + '.')
        for name in imports(module)
        if name.startswith(PACKAGE + '.')
    }
    return {
        name if name in modules() else name.rpartition('.')[0]
        for name in names
    }


def room(module: str) -> str:
    return module.partition('.')[0]


class TestLayout(unittest.TestCase):
    def test_every_module_is_in_a_room(self) -> None:
        rooms = [name for line in ROOMS for name in line]
        self.assertEqual(len(rooms), len(set(rooms)))
        self.assertEqual(set(rooms), set(map(room, modules())))

    def test_rooms_import_only_what_is_nearer_to_the_leaves(self) -> None:
        level = {
            name: number for number, line in enumerate(ROOMS) for name in line
        }
        for name, module in modules().items():
            for imported in own(module):
                with self.subTest(f'{name} imports {imported}'):
                    self.assertIn(imported, modules())
                    if room(imported) != room(name):
                        self.assertLess(
                            level[room(imported)], level[room(name)]
                        )

    def test_nobody_imports_in_a_circle(self) -> None:
        left = {name: own(module) for name, module in modules().items()}
        while left:
            leaves = {
                name for name, needed in left.items() if not needed & set(left)
            }
            self.assertTrue(leaves, f'a circle: {sorted(left)}')
            for name in leaves:
                del left[name]

    def test_neither_nova_nor_the_server_half_is_known(self) -> None:
        for name, module in modules().items():
            for imported in imports(module):
                with self.subTest(f'{name} imports {imported}'):
                    self.assertNotIn(
                        imported.partition('.')[0],
                        ('', 'nova', 'nova_quiesce'),
                    )

    def test_two_modules_of_errors_have_two_names(self) -> None:
        names = {f'{PACKAGE}.application': 'errors', PACKAGE: 'quiesce_errors'}
        for name, module in modules().items():
            if room(name) not in ('application', 'recovery'):
                continue
            for node in ast.walk(module):
                if not isinstance(node, ast.ImportFrom):
                    continue
                for alias in node.names:
                    if alias.name == 'errors':
                        with self.subTest(name):
                            self.assertEqual(
                                names[str(node.module)],
                                alias.asname or alias.name,
                            )

    def test_a_package_names_each_of_its_modules(self) -> None:
        for package in 'application', 'recovery':
            folder = CODE / package
            text = (folder / '__init__.py').read_text()
            for path in folder.glob('[!_]*.py'):
                with self.subTest(package):
                    self.assertIn(f'``{path.stem}``', text)

    def test_no_module_is_too_long(self) -> None:
        for path in CODE.rglob('*.py'):
            if CODE / 'tests' not in path.parents:
                lines = len(path.read_text().splitlines())
                with self.subTest(path=str(path.relative_to(CODE))):
                    self.assertLessEqual(lines, MOST_LINES)

    def test_no_function_is_longer_than_a_screen(self) -> None:
        for name, module in modules().items():
            for node in ast.walk(module):
                if not isinstance(node, ast.FunctionDef):
                    continue
                lines = (node.end_lineno or 0) - node.lineno + 1
                with self.subTest(module=name, function=node.name):
                    self.assertLessEqual(lines, MOST_LINES_OF_A_FUNCTION)
