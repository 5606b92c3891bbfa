#!/bin/sh
# SPDX-License-Identifier: Apache-2.0

# Runs a command in a network of its own; needs root.
#   tools/in_network_namespace.sh COMMAND [ARGUMENT...]
# That network ends, with every bridge and tap in it, when the last process in
# it does.  It is for a machine whose firewall would drop what guests send each
# other, and for whoever wants no device of theirs among his own.  All of
# 127.0.0.1 is inside, so clients have to be there too; there is no way out, not
# for apt-get either.
exec unshare --net --mount --propagation private sh -ec '
    mount -t sysfs sysfs /sys
    mkdir -p /run/netns
    mount -t tmpfs tmpfs /run/netns
    ip link set lo up
    exec "$@"' sh "$@"
