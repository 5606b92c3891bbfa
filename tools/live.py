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

"""Run what needs real guests: ``tools/live.py scenario|demo [ARGUMENT...]``.

Both need root and the Debian packages of the profile "libvirt" in
bindep.txt. Without them the demo says what is missing, and the scenario
tests are skipped with that reason, except where CI is set: there nothing may
be skipped.
"""

import os
import pathlib
import subprocess
import sys

from minicloud import hypervisor
from minicloud import layout

HERE = pathlib.Path(__file__).resolve().parent.parent
TESTS = HERE / 'osc_quiesce' / 'tests' / 'scenario'
#: nova.conf of the scenario tests' cloud: a hung agent shall not cost them a
#: minute each time
SETTINGS = '[quiesce]\nrpc_timeout = 12\n'


def missing() -> list[str]:
    """Return what is missing, after having built what can be built."""
    lines = hypervisor.missing()
    if not lines and not hypervisor.has_binding():
        subprocess.run(hypervisor.binding_command(HERE / 'constraints.txt'),
                       check=True)
    return lines


def scenario(lines: list[str], arguments: list[str]) -> int:
    """Run the scenario tests on a cloud of their own."""
    tests = [sys.executable, '-m', 'stestr', '--test-path', str(TESTS),
             'run', '--serial', *arguments]
    if lines:
        reason = 'real guests need ' + '; '.join(lines)
        print(f'The scenario tests are skipped: {reason}', flush=True)
        # For stestr it is an error if no test was successful.
        subprocess.run(tests, env={**os.environ, 'SCENARIO_SKIP': reason})
        return 0
    root = layout.Layout.of(pathlib.Path(sys.prefix) / 'live')
    root.local.mkdir(parents=True, exist_ok=True)
    (root.local / 'nova.conf').write_text(SETTINGS)
    return subprocess.run([
        sys.executable, '-m', 'minicloud', 'run', '--driver', 'libvirt',
        '--root', str(root.root), '--', *tests]).returncode


def main(arguments: list[str]) -> int:
    """Run one of the two."""
    what, *rest = arguments or ['']
    if what not in ('scenario', 'demo'):
        print('usage: tools/live.py scenario|demo [ARGUMENT...]',
              file=sys.stderr)
        return 2
    lines = missing()
    if lines and (what == 'demo' or os.environ.get('CI')):
        print('Real guests need more than is here:\n  ' + '\n  '.join(lines),
              file=sys.stderr)
        return 1
    if what == 'scenario':
        return scenario(lines, rest)
    return subprocess.run([sys.executable, '-m', 'minicloud.demo',
                           '--live']).returncode


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
