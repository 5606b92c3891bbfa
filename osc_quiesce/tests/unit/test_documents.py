# SPDX-License-Identifier: Apache-2.0

"""Every command is documented, no link is dead, and words are well chosen.

What the pages claim is tested elsewhere: see contributor/testing.rst.
"""

import ast
from collections.abc import Iterator
import configparser
import fnmatch
import functools
import pathlib
import re
import runpy
import tempfile
import textwrap
import unittest

ROOT = pathlib.Path(__file__).parents[3]
DOCS = ROOT / 'doc/source'
TESTING = DOCS / 'contributor/testing.rst'
#: where each of them is in the HTML, whose root is that of DOCS
PROJECTS = {'.': DOCS, 'api-ref': ROOT / 'api-ref/source',
            'releasenotes': ROOT / 'releasenotes/source'}
PACKAGES = ('osc_quiesce', 'nova_quiesce', 'quiesce_tempest_plugin')


@functools.cache
def entry_points(group: str) -> dict[str, str]:
    """Return the entry points of a group, of setup.cfg."""
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    lines = config['entry_points'][group].split('\n')
    pairs = (line.split('=') for line in lines if line)
    return {name.strip(): path.strip() for name, path in pairs}


def documents() -> list[pathlib.Path]:
    """Return all pages and READMEs of the repository."""
    folders = ('benchmarks', 'minicloud', 'tools')
    return [*ROOT.glob('*.rst'), *(ROOT / 'releasenotes/notes').glob('*.yaml'),
            *(path for name in folders
              for path in (ROOT / name).glob('*.rst')),
            *(path for folder in PROJECTS.values()
              for path in folder.rglob('*.rst'))]


def sources() -> list[pathlib.Path]:
    """Return the code that users meet."""
    return [path for name in PACKAGES for path in (ROOT / name).rglob('*.py')
            if 'tests' not in path.parts]


class TestEnvironments(unittest.TestCase):
    def test_what_ci_runs_is_the_same_everywhere(self) -> None:
        makefile = (ROOT / 'Makefile').read_text()
        rules = (ROOT / 'tools/tests.mk').read_text()
        lists = dict(re.findall(r'^(SHORT|TESTS) = (\S+)$', rules, re.M))
        run = set(
            lists['TESTS'].replace('$(SHORT)', lists['SHORT']).split(','))
        starred: set[str] = set()
        for tool, name in re.findall(
                r'``(make|tox run -e) ([\w.,-]+)`` \\\*',
                TESTING.read_text()):
            if tool == 'make':
                [recipe] = re.findall(
                    rf'^{name}: .*\n((?:\t.*\n)+)', makefile, re.M)
                name, = re.findall(
                    r'\.venv/bin/tox run -e (\S+)$', recipe, re.M)
            starred.update(name.split(','))
        self.assertEqual(run, starred)
        config = configparser.ConfigParser(interpolation=None)
        config.read(ROOT / 'tox.ini')
        self.assertEqual(
            run - {'bench-quick'}, set(config['tox']['env_list'].split(',')))

    def test_tox_passes_the_variables_that_are_set(self) -> None:
        config = configparser.ConfigParser(interpolation=None)
        config.read(ROOT / 'tox.ini')
        passed = config['testenv']['pass_env'].split()
        commands = re.findall(
            r'((?:\b[A-Z_]+=\w+ )+)(?:make|\.venv/bin/tox) ',
            ' '.join(TESTING.read_text().split()))
        names = re.findall('([A-Z_]+)=', ''.join(commands))
        self.assertIn('RECORD_SAMPLES', names)
        for name in names:
            with self.subTest(name):
                self.assertTrue(any(
                    fnmatch.fnmatch(name, pattern) for pattern in passed))


class TestCommands(unittest.TestCase):
    def test_every_command_has_a_page_with_an_example(self) -> None:
        pages = {path: path.read_text()
                 for path in (DOCS / 'cli').glob('*.rst')}
        for name in entry_points('openstack.server_quiesce.v2'):
            with self.subTest(name):
                words = name.replace('_', ' ')
                shown = [path for path, text in pages.items() if re.search(
                    f'^   :command: {words}$', text, re.MULTILINE)]
                self.assertEqual(1, len(shown))
                example = f'examples/{name.replace("_", "-")}.txt'
                self.assertIn(f':: {example}\n', pages[shown[0]])
                typed = (DOCS / 'cli' / example).read_text()
                self.assertRegex(typed, rf'\A\$ openstack .*\b{words}\b')

    def test_the_readme_is_short_and_shows_what_the_command_prints(
            self) -> None:
        readme = (ROOT / 'README.rst').read_text()
        example = DOCS / 'cli/examples/application-snapshot-create.txt'
        self.assertIn(textwrap.indent(example.read_text(), '    '), readme)
        self.assertLess(len(readme.splitlines()), 150)

    def test_every_program_has_a_page_with_an_example(self) -> None:
        for name in entry_points('console_scripts'):
            with self.subTest(name):
                text = (DOCS / 'cli' / f'{name}.rst').read_text()
                self.assertRegex(text, rf'(?m)^   \$ {name} ')


def page_of(target: str) -> pathlib.Path | None:
    """Return the source of a page of the HTML, whose root is ".."."""
    first, _slash, rest = target.partition('/')
    folder = PROJECTS.get(first if rest else '.')
    if folder is None or first == '.':
        folder, rest = DOCS, target
    path = folder / f'{rest or target}.rst'
    return path if path.exists() else None


def anchors(text: str) -> set[str]:
    """Return the anchors that sphinx makes of labels and titles."""
    titles = re.findall(r'^(\S.*)\n([=~-])\2{3,}$', text, re.MULTILINE)
    names = [title for title, _rule in titles]
    names += re.findall(r'^\.\. _([^:]+):$', text, re.MULTILINE)
    return {re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')
            for name in names}


class TestLinks(unittest.TestCase):
    """What ``make docs`` does not find: links between its three parts."""

    def test_links_between_parts(self) -> None:
        found = 0
        for folder in PROJECTS.values():
            for path in folder.rglob('*.rst'):
                for target, anchor in re.findall(
                        r'<([\w./-]+)\.html(?:#([\w-]+))?>', path.read_text()):
                    found += 1
                    with self.subTest(path=str(path), target=target):
                        page = page_of(target.removeprefix('../'))
                        self.assertIsNotNone(page)
                        if anchor and page:
                            self.assertIn(anchor, anchors(page.read_text()))
        self.assertGreater(found, 3)

    def test_links_that_differ_in_html(self) -> None:
        for path in documents():
            for name, kind in re.findall(
                    r'^\.\. _[^:]+: ([\w./-]+)\.(rst|html)$',
                    path.read_text(), re.MULTILINE):
                with self.subTest(path=str(path), name=name):
                    self.assertEqual(kind == 'html', DOCS in path.parents)
                    self.assertTrue((path.parent / f'{name}.rst').exists())

    def test_files_that_are_named(self) -> None:
        name = re.compile(
            r'(?<![/\w])(?:doc|api-ref|tools|releasenotes|benchmarks'
            r'|minicloud)/[\w./-]*\w')
        paths = [*documents(), *sources(), ROOT / 'Makefile', ROOT / 'tox.ini',
                 *(ROOT / 'tools').rglob('*.py')]
        for path in paths:
            for target in set(name.findall(path.read_text())):
                if 'build' in target.split('/'):
                    continue
                with self.subTest(path=str(path), target=target):
                    self.assertTrue(
                        (ROOT / target).exists()
                        or (path.parent / target).exists()
                        or (DOCS / target).exists()
                        or page_of(target.removesuffix('.html')))


def texts(path: pathlib.Path) -> Iterator[str]:
    """Yield the docstrings, messages and help texts of a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
            yield ast.get_docstring(node) or ''
        if (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
                and node.func.id == '_'
                and isinstance(node.args[0], ast.Constant)):
            yield str(node.args[0].value)


class TestDiagrams(unittest.TestCase):
    def test_they_are_what_the_tool_draws(self) -> None:
        tool = runpy.run_path(str(ROOT / 'tools/docs/diagrams.py'))
        with tempfile.TemporaryDirectory() as folder:
            tool['main'](folder)
            for drawn in pathlib.Path(folder).iterdir():
                self.assertEqual(
                    (DOCS / 'images' / drawn.name).read_text(),
                    drawn.read_text(),
                    'run tools/docs/diagrams.py doc/source/images')


class TestWords(unittest.TestCase):
    """The lists of HACKING.rst."""

    def setUp(self) -> None:
        super().setUp()
        text = (ROOT / 'HACKING.rst').read_text()
        blocks = re.findall(r'::\n\n((?:    \S.*\n)+)', text)
        self.everywhere, self.in_documents = (
            [line.strip().split('  ')[0] for line in block.splitlines()]
            for block in blocks[-2:])
        self.assertIn('whoever', self.everywhere)

    def check(self, path: pathlib.Path, text: str, words: list[str]) -> None:
        found = re.findall(
            rf'.{{0,40}}\b(?:{"|".join(words)})\b.{{0,20}}',
            ' '.join(text.split()), re.IGNORECASE)
        with self.subTest(str(path)):
            self.assertEqual([], found)

    def test_documents(self) -> None:
        for path in documents():
            if path.name != 'HACKING.rst':
                self.check(path, path.read_text(),
                           self.everywhere + self.in_documents)

    def test_messages_help_and_docstrings(self) -> None:
        for path in sources():
            self.check(path, '\n'.join(texts(path)), self.everywhere)
