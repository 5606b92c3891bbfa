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

Read by nova-quiesce and nova-api, and to be the same for both.
``oslo-config-generator --namespace nova_quiesce`` prints a sample.
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
Seconds within which one guest has to be frozen, or thawed.

A guest agent that does not answer blocks nova-compute's call for as long as it
hangs. Three quarters of this time are for the freeze. After that nova-quiesce
stops waiting and treats the outcome as unknown, that is, the guest as maybe
frozen: what is left of the time is for a first attempt to thaw it, and the
server ends in ``error``. Further attempts follow until a thaw is confirmed,
with growing pauses, at most 5 minutes.

A request that no nova-quiesce has taken up within twice this time counts as
lost: one to quiesce is reported as failed, and the guest is thawed; one to
unquiesce is sent again, and once before if the server's deadline passes.
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
    cfg.IntOpt(
        'deadline_interval',
        default=5,
        min=1,
        help="""
Seconds between two searches for guests that have to be thawed.

Each nova-quiesce searches every cell for servers whose deadline has passed,
whose thaw has to be tried again, or whose nova-quiesce has died. The thaw of a
guest begins at most this long after its deadline, if a nova-quiesce is up and
has a thread left, and its cell answers. A search reads the servers that were
quiesced or saved lately, and some of all the others in turn; only the first
one of a service reads all of them. Of servers that are deleted, but not
archived yet, it reads whether a request has been left without an end.
"""),
    cfg.IntOpt(
        'default_unquiesce_after',
        default=0,
        min=0,
        help="""
Seconds after which a guest is thawed if nobody has asked for it before.

It is for requests to quiesce that have no ``unquiesce_after`` of their own. 0
means that such a guest stays frozen until somebody asks to unquiesce it.
"""),
    cfg.IntOpt(
        'max_unquiesce_after',
        default=86400,
        min=1,
        help="""
The longest ``unquiesce_after``, in seconds, that a request may ask for.
"""),
]


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options; repeating it does no harm."""
    conf.register_group(GROUP)
    conf.register_opts(OPTS, group=GROUP)


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """Return the options for oslo-config-generator."""
    return [(GROUP, OPTS)]
