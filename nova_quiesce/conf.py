# SPDX-License-Identifier: Apache-2.0

"""The ``[quiesce]`` options of nova.conf.

Read by nova-quiesce and nova-api, and to be the same for both.
``oslo-config-generator --namespace nova_quiesce`` prints a sample.
"""

import nova.conf
from oslo_config import cfg

GROUP = cfg.OptGroup(
    'quiesce',
    title='Quiesce options',
    help='How nova-quiesce freezes and thaws guests.')

OPTS = [
    cfg.StrOpt(
        'connection',
        secret=True,
        help="""
Connection to the database that holds the table of freezes.

By default it is Nova's API database, ``[api_database]connection``. The
other options of that section hold for this database as well.
``nova-quiesce-manage db sync`` creates the table.
"""),
    cfg.IntOpt(
        'operation_timeout',
        default=60,
        min=4,
        help="""
Maximum time in seconds to freeze one guest.

A guest agent that does not answer blocks nova-compute's call for as long as it
hangs. Three quarters of this time are for the freeze. After that nova-quiesce
stops waiting, and treats the guest as maybe frozen. The last quarter is for a
first attempt to thaw it. Attempts of 15 seconds follow until a thaw is
confirmed, with pauses of at most a minute.

A request to quiesce that no nova-quiesce has taken up within twice this time
is given up; nothing is sent to its guest.
"""),
    cfg.IntOpt(
        'sweep_interval',
        default=5,
        min=1,
        help="""
Seconds between two sweeps.

A sweep reads the states of the servers whose guests are frozen, and looks for
those that were reset, deleted or evacuated. Deadlines do not depend on it:
nova-quiesce looks for due work every second.
"""),
    cfg.IntOpt(
        'threads',
        default=64,
        min=1,
        help="""
Number of guests that one nova-quiesce freezes at the same time.

Thaws have the same number of threads, so they never wait behind freezes. The
guests of one compute host get at most a quarter of each, or four. So a host
whose guest agents hang delays no other host.
"""),
    cfg.IntOpt(
        'default_unquiesce_after',
        default=300,
        min=0,
        help="""
Seconds after the freeze at which a guest is thawed, unless a request to
unquiesce it comes before.

The default for requests to quiesce without ``unquiesce_after``. With 0, such a
guest stays frozen until a request to unquiesce it comes.
"""),
    cfg.IntOpt(
        'max_unquiesce_after',
        default=86400,
        min=1,
        help="""
The longest ``unquiesce_after``, in seconds, that a request may have.

It limits ``default_unquiesce_after`` as well, unless that is 0.
"""),
    cfg.BoolOpt(
        'restore_after_thaw',
        default=True,
        help="""
Whether a server whose freeze or thaw has failed becomes active again.

Such a server is in ``error`` while its guest may be frozen. By default it is
``active`` again as soon as a thaw is confirmed, unless its state was set
otherwise. If this is false, it stays in ``error`` until an administrator
resets it.
"""),
]


CONF = nova.conf.CONF
CONF.register_opts(OPTS, group=GROUP)


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """Return the options for oslo-config-generator."""
    return [(GROUP, OPTS)]
