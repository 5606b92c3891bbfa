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

"""Check what ``pip install osc-quiesce`` gives: all commands, and no Nova."""

import importlib.metadata
import subprocess
import sys

COMMANDS = ('server quiesce', 'server unquiesce',
            *('application snapshot %s' % verb
              for verb in ('create', 'delete', 'list', 'show')))
FORBIDDEN = ('nova', 'keystone', 'cinder', 'glance', 'oslo.messaging')


def main() -> int:
    """Return 0 if all is as it should be."""
    problems = []
    installed = {
        distribution.metadata['Name'].lower()
        for distribution in importlib.metadata.distributions()}
    problems.extend('%s is installed' % name for name in FORBIDDEN
                    if name in installed)
    for command in COMMANDS:
        noun = command.split()[0]
        listed = subprocess.run(['openstack', 'help', noun],
                                capture_output=True, text=True).stdout
        if not any(line.strip().startswith(command)
                   for line in listed.splitlines()):
            problems.append('"openstack help %s" lists no %s' % (
                noun, command))
        shown = subprocess.run(['openstack', *command.split(), '--help'],
                               capture_output=True, text=True)
        if shown.returncode or 'usage: openstack %s' % command not in (
                shown.stdout):
            problems.append('no help for %s: %s' % (command, shown.stderr))
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print('%s are there, Nova is not' % ', '.join(COMMANDS))
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
