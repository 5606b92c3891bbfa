# SPDX-License-Identifier: Apache-2.0

"""Make the virtual environment with tox, or say what is missing for it.

Usage: python3 tools/prepare.py DIRECTORY

Uses nothing but the standard library, since it runs before anything else.
"""

import importlib.util
import os
import pathlib
import subprocess
import sys

OLDEST, NEWEST = (3, 11), (3, 13)
HERE = pathlib.Path(__file__).resolve().parent.parent


def fail(message: str) -> None:
    """End with a message."""
    print('error: %s' % message, file=sys.stderr)
    sys.exit(1)


def main(directory: str) -> None:
    """Make the environment, and check the Debian packages with bindep."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        fail('this is Python %d.%d; %d.%d to %d.%d are supported. Name '
             'another one: make PYTHON=python3.11' % (
                 *sys.version_info[:2], *OLDEST, *NEWEST))
    if not (importlib.util.find_spec('venv')
            and importlib.util.find_spec('ensurepip')):
        fail('this Python cannot make virtual environments: '
             'apt-get install python3-venv')
    bin_directory = pathlib.Path(directory) / 'bin'
    constraints = os.environ.get('TOX_CONSTRAINTS_FILE',
                                 str(HERE / 'constraints/2026.2.txt'))
    subprocess.run([sys.executable, '-m', 'venv', '--clear', directory],
                   check=True)
    installed = subprocess.run(
        [str(bin_directory / 'pip'), 'install', '--quiet',
         '--disable-pip-version-check', '-c', constraints, 'tox', 'tox-uv',
         'bindep'])
    if installed.returncode:
        fail('pip cannot install tox, tox-uv and bindep, see above')
    missing = subprocess.run(
        [str(bin_directory / 'bindep'), '--brief', '--file',
         str(HERE / 'bindep.txt')], capture_output=True, text=True)
    if missing.returncode:
        fail('Debian packages are missing: apt-get install %s' % (
            ' '.join(missing.stdout.split()) or missing.stderr))


if __name__ == '__main__':
    if len(sys.argv) != 2:
        fail('usage: %s DIRECTORY' % sys.argv[0])
    main(sys.argv[1])
