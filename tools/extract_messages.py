# SPDX-License-Identifier: Apache-2.0

"""Write the templates for translators: one for each half.

Usage: python tools/extract_messages.py DIRECTORY
"""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent.parent
#: also the names of the packages
DOMAINS = ('osc_quiesce', 'nova_quiesce')


def extract(domain: str, directory: pathlib.Path) -> pathlib.Path:
    """Write the template of one half, and return where it is."""
    directory.mkdir(parents=True, exist_ok=True)
    template = directory.resolve() / ('%s.pot' % domain)
    subprocess.run(
        [sys.executable, '-m', 'babel.messages.frontend', '--quiet',
         'extract', '--mapping', 'tools/babel.cfg', '--no-default-keywords',
         '--keyword', '_', '--add-comments', 'Translators:',
         '--project', 'osc-quiesce',
         '--copyright-holder', 'The osc-quiesce developers',
         '--output', str(template), domain], check=True, cwd=HERE)
    return template


def main(directory: str) -> None:
    """Write both templates."""
    for domain in DOMAINS:
        print(extract(domain, pathlib.Path(directory)))


if __name__ == '__main__':
    main(*sys.argv[1:])
