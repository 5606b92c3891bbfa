# SPDX-License-Identifier: Apache-2.0

"""Fail, and name what is missing, unless LaTeX can make a PDF here."""

import shutil
import subprocess
import sys

#: programs and files, and the Debian packages that have them
PROGRAMS = {'latexmk': 'latexmk', 'xelatex': 'texlive-xetex',
            'rsvg-convert': 'librsvg2-bin', 'make': 'make'}
FILES = {'tabulary.sty': 'texlive-latex-extra',
         'pzdr.tfm': 'texlive-fonts-recommended',
         'FreeSerif.otf': 'fonts-freefont-otf'}


def has(name: str) -> bool:
    """Return whether LaTeX finds a file."""
    return bool(shutil.which('kpsewhich')) and not subprocess.run(
        ['kpsewhich', name], stdout=subprocess.DEVNULL).returncode


def main() -> int:
    """Print the packages that are missing, and return the exit code."""
    missing = {package for program, package in PROGRAMS.items()
               if not shutil.which(program)}
    missing |= {package for name, package in FILES.items() if not has(name)}
    if missing:
        print('No PDF can be made: missing are the packages %s' %
              ', '.join(sorted(missing)), file=sys.stderr)
    return 1 if missing else 0


if __name__ == '__main__':
    sys.exit(main())
