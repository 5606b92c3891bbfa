# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Say again at the end of many environments of tox which tests have failed.

Usage: tools/failures.py

Where several run at the same time, what one of them has printed is far above.
"""

import pathlib
import subprocess
import sys

ENVIRONMENTS = pathlib.Path(__file__).resolve().parent.parent / '.tox'
LINES = 60  # of each environment: the end of a traceback says most


def failing(environment: pathlib.Path, *options: str) -> list[str]:
    """Return the lines that stestr prints of the tests that have failed."""
    return subprocess.run(
        [environment / 'bin' / 'stestr', '--repo-url', environment,
         'failing', *options],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True).stdout.splitlines()


def main() -> int:
    """Print the tracebacks, and then all names."""
    names = []
    for repository in sorted(ENVIRONMENTS.glob('*/.stestr')):
        environment = repository.parent
        failed = failing(environment, '--list')
        if failed:
            print(f'\n{environment.name}:',
                  *failing(environment)[-LINES:], sep='\n')
        names += [f'{environment.name}: {name}' for name in failed]
    print('\nFailed tests:', *names or ['none; see what tox says'],
          sep='\n  ')
    return 0


if __name__ == '__main__':
    sys.exit(main())
