# SPDX-License-Identifier: Apache-2.0

"""Build what is published, and check what is in it and what it installs.

Usage: python tools/check_package.py DIRECTORY CONSTRAINTS

In the directory, which must be empty, are then the sdist and the wheel, and
three virtual environments into which the wheel was installed: one for
``osc-quiesce``, one for ``osc-quiesce[nova]``, and one for the other extras.
"""

import contextlib
import email
import email.message
import email.policy
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import time
import venv
import zipfile
from collections.abc import Iterator

import extract_messages
from babel.messages import pofile

HERE = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ('osc_quiesce', 'nova_quiesce', 'quiesce_tempest_plugin')
ENTRY_POINTS = (
    'console_scripts', 'novaclient.extension', 'openstack.cli.extension',
    'openstack.server_quiesce.v2', 'oslo.config.opts',
    'oslo.messaging.notify.drivers', 'oslo.policy.policies',
    'tempest.test_plugins')
#: PBR makes "test" of test-requirements.txt
EXTRAS = {'nova', 'novaclient', 's3', 'tempest', 'test', 'zstd'}
#: what the programs of these extras say
EXTRAS_SAY = {
    'nova help quiesce': 'usage: nova quiesce ',
    'nova help unquiesce': 'usage: nova unquiesce ',
    'tempest list-plugins': 'quiesce_tests'}
UNIT = 'share/osc-quiesce/nova-quiesce.service'
#: Esperanto: of no country, so that nobody takes it for a translation
LANGUAGE = 'eo'


class Problem(Exception):
    """Something is not as it should be; says what."""


def check(condition: object, otherwise: str) -> None:
    """Raise unless something is so."""
    if not condition:
        raise Problem(otherwise)


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Say what was done, and how long it took."""
    started = time.monotonic()
    yield
    print('%5.1f s  %s' % (time.monotonic() - started, name), flush=True)


def git(*argv: str) -> str:
    """Return what git says about this repository."""
    return subprocess.run(['git', *argv], cwd=HERE, check=True, text=True,
                          capture_output=True).stdout


def tracked() -> set[str]:
    """Return the files of which git knows, and that are there."""
    return {name for name in git('ls-files', '-z').split('\0')
            if name and (HERE / name).exists()}


def copy(directory: pathlib.Path) -> pathlib.Path:
    """Copy the files, as they are now, to a place where nobody builds.

    Other builds write into the source tree at the same time. The copy has the
    history of the repository, from which PBR takes the version.
    """
    tree = directory / 'tree'
    for name in tracked():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(HERE / name, tree / name)
    (tree / '.git').write_text(
        'gitdir: %s\n' % git('rev-parse', '--absolute-git-dir').strip())
    return tree


def pybabel(*argv: object) -> None:
    """Run Babel's program."""
    done = subprocess.run(
        ['pybabel', '--quiet', *map(str, argv)], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True)
    check(not done.returncode, 'pybabel %s: %s' % (argv[0], done.stdout))


def build(directory: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Return the sdist, and the wheel that was made of it."""
    done = subprocess.run(
        [sys.executable, '-m', 'build', '--no-isolation',
         '--outdir', str(directory / 'dist'), str(copy(directory))],
        env={**os.environ, 'GIT_OPTIONAL_LOCKS': '0'},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    check(not done.returncode, 'it cannot be built: %s' % done.stdout)
    [sdist] = (directory / 'dist').glob('*.tar.gz')
    [wheel] = (directory / 'dist').glob('*.whl')
    for made in (sdist, wheel):
        check(made.name.startswith('osc_quiesce-'), 'its name is %s' % made)
    subprocess.run(['twine', '--no-color', 'check', '--strict', str(sdist),
                    str(wheel)], check=True)
    return sdist, wheel


def check_sdist(path: pathlib.Path) -> None:
    """Check that a distributor gets all that is in the repository."""
    with tarfile.open(path) as archive:
        names = {member.name.partition('/')[2]
                 for member in archive.getmembers() if member.isfile()}
    missing = tracked() - names - {'.gitignore'}    # which PBR leaves out
    check(not missing, 'the sdist lacks %s' % sorted(missing))
    more = {name for name in names - tracked()
            if '.egg-info/' not in name} - {'PKG-INFO', 'setup.cfg'}
    check(not more, 'the sdist has %s' % sorted(more))


def check_wheel(path: pathlib.Path) -> None:
    """Check that an operator gets the three packages, and nothing else."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        [info] = {name.partition('/')[0] for name in names
                  if name.partition('/')[0].endswith('.dist-info')}
        metadata: email.message.Message = email.message_from_bytes(
            archive.read('%s/METADATA' % info), policy=email.policy.default)
        entry_points = archive.read('%s/entry_points.txt' % info).decode()
    ours = {name for name in tracked() if name.startswith(
        tuple(package + '/' for package in PACKAGES))}
    check(ours <= names, 'the wheel lacks %s' % sorted(ours - names))
    data = '%s.data/data/%s' % (info.removesuffix('.dist-info'), UNIT)
    check(data in names, 'the wheel lacks %s' % data)
    more = {name for name in names - ours
            if not name.startswith(info + '/')} - {data}
    check(not more, 'the wheel has %s' % sorted(more))
    check(any(name.startswith(info) and name.endswith('/LICENSE')
              for name in names), 'the wheel has no licence')
    check('Apache-2.0' in str(metadata['License'] or '')
          + str(metadata['License-Expression'] or ''),
          'the metadata have no licence')
    check(metadata['Name'] == 'osc-quiesce',
          'the name is %s' % metadata['Name'])
    check(set(metadata.get_all('Provides-Extra', [])) == EXTRAS,
          'the extras are %s' % metadata.get_all('Provides-Extra'))
    for group in ENTRY_POINTS:
        check('[%s]\n' % group in entry_points,
              'the wheel has no entry points %s' % group)


class Environment:
    """A virtual environment with nothing but what is installed into it."""

    def __init__(self, path: pathlib.Path, constraints: str,
                 *requirements: str) -> None:
        venv.create(path, symlinks=True)
        self.bin = path / 'bin'
        self._pip('install', '--quiet', '-c', constraints, *requirements)
        self._pip('check')

    def _pip(self, *argv: str) -> None:
        done = subprocess.run(
            # It resolves as pip does, in seconds.
            [sys.executable, '-m', 'uv', 'pip', argv[0],
             '--python', str(self.bin / 'python'), *argv[1:]],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        check(not done.returncode, 'pip %s: %s' % (argv[0], done.stdout))

    def run(self, *argv: str, **environment: str) -> str:
        """Run one of its programs, and return what it says.

        No variable changes where its Python looks for modules.
        """
        clean = {name: value for name, value in os.environ.items()
                 if not name.startswith(('PYTHON', 'VIRTUAL_ENV', 'OS_'))}
        done = subprocess.run(
            [str(self.bin / argv[0]), *argv[1:]], cwd=self.bin,
            env={**clean, **environment,
                 'PATH': '%s:%s' % (self.bin, os.environ['PATH'])},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        return done.stdout + (
            '\nexit code %d\n' % done.returncode if done.returncode else '')

    def check(self, script: str) -> None:
        """Run one of the checks with its Python."""
        said = self.run('python', str(HERE / 'tools' / script))
        check('exit code' not in said, said)
        print(said, end='')


def translate(directory: pathlib.Path) -> dict[str, str]:
    """Make a catalogue of each half, with all texts in brackets.

    Returns the environment in which they are used.
    """
    for domain in extract_messages.DOMAINS:
        template = extract_messages.extract(domain, directory)
        pybabel('init', '-i', template, '-D', domain, '-d', directory,
                '-l', LANGUAGE)
        path = directory / LANGUAGE / 'LC_MESSAGES' / ('%s.po' % domain)
        with path.open('rb') as stream:
            catalog = pofile.read_po(stream, locale=LANGUAGE)
        for message in catalog:
            if message.id:
                message.string = '[[%s]]' % message.id
        check(len(catalog) > 50, 'there is nothing to translate')
        with path.open('wb') as stream:
            pofile.write_po(stream, catalog)
        pybabel('compile', '-D', domain, '-d', directory)
        print('%d texts of %s can be translated' % (len(catalog), domain))
    return {'LANGUAGE': LANGUAGE, 'COLUMNS': '10000', **{
        '%s_LOCALEDIR' % domain.upper(): str(directory)
        for domain in extract_messages.DOMAINS}}


def check_translated(said: str, *texts: str) -> None:
    """Check that these texts are there, and in brackets."""
    for text in texts:
        check('[[%s' % text in said, '"%s" is not translated: %s' % (
            text, said))


def check_client_translated(client: Environment,
                            environment: dict[str, str]) -> None:
    """Check that the client half speaks another language."""
    for command, description in (
            ('server quiesce', 'Freeze the file systems of servers'),
            ('application snapshot create', 'Take a consistent snapshot')):
        check_translated(
            client.run('openstack', 'help', *command.split(), **environment),
            description, 'How long ', 'Have the cloud unquiesce each server')
    check_translated(    # an error
        client.run('openstack', '--os-auth-type', 'none', '--os-endpoint',
                   'http://127.0.0.1:9', 'server', 'quiesce', '--timeout',
                   'soon', 'some-server', **environment),
        '"soon" is not a positive number of seconds]]')


def main(directory: pathlib.Path, constraints: str) -> int:
    """Do everything, and return the exit code."""
    try:
        with step('built'):
            sdist, wheel = build(directory)
        with step('contents checked'):
            check_sdist(sdist)
            check_wheel(wheel)
        with step('messages extracted and translated'):
            environment = translate(directory / 'locale')
        with step('osc-quiesce installed'):
            client = Environment(directory / 'client', constraints,
                                 str(wheel), 'python-openstackclient')
        with step('osc-quiesce checked'):
            client.check('check_client_install.py')
        with step('osc-quiesce checked in another language'):
            check_client_translated(client, environment)
        with step('osc-quiesce[nova] installed'):
            server = Environment(directory / 'nova', constraints,
                                 '%s[nova]' % wheel)
        with step('osc-quiesce[nova] checked'):
            server.check('check_server_install.py')
        with step('osc-quiesce[nova] checked in another language'):
            check_translated(
                server.run('nova-quiesce-status', '--help', **environment),
                'Commands', 'List the servers that may be frozen',
                'Have servers thawed')
        with step('osc-quiesce[novaclient,tempest] installed'):
            extras = Environment(directory / 'extras', constraints,
                                 '%s[novaclient,tempest]' % wheel)
        with step('osc-quiesce[novaclient,tempest] checked'):
            for command, text in EXTRAS_SAY.items():
                said = extras.run(*command.split())
                check(text in said, '%s does not say "%s": %s' % (
                    command, text, said))
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]))
