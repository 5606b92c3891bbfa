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

"""The ``[quiesce]`` options of nova.conf.

Read by nova-quiesce.  ``oslo-config-generator --namespace nova_quiesce``
prints a sample.
"""

from oslo_config import cfg

GROUP = cfg.OptGroup(
    'quiesce',
    title='Quiesce options',
    help='How nova-quiesce freezes and thaws guests.')

OPTS = [
    cfg.IntOpt(
        'rpc_timeout',
        default=60,
        min=1,
        help="""
Seconds to wait for nova-compute to freeze or thaw one guest.

A guest agent that does not answer blocks nova-compute's call for as long as it
hangs. After this time nova-quiesce stops waiting and treats the outcome as
unknown, that is, the guest as maybe frozen: it thaws it, and the server ends
in ``error``.
"""),
    cfg.IntOpt(
        'thaw_attempts',
        default=3,
        min=1,
        help="""
How often one request tries to thaw a guest before it is reported as failed.

A thaw can be repeated at will. A second attempt is worth it because a guest's
thaw hook that fails makes the first one look failed although the filesystems
are thawed. An attempt that timed out is not repeated within the request.
"""),
]


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options; repeating it does no harm."""
    conf.register_group(GROUP)
    conf.register_opts(OPTS, group=GROUP)


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """Return the options for oslo-config-generator."""
    return [(GROUP, OPTS)]
