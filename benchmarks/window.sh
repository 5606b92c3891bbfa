#!/bin/sh
# What operators do without us: a command for each step, and the usual loops.
# Usage: window.sh PAUSE DEADLINE SERVER... -- VOLUME...
# Prints the seconds from the first freeze being asked for to the last thaw
# being seen, and the snapshots.
set -eu
pause=$1 deadline=$2
shift 2
servers=
while [ "$1" != -- ]; do
    servers="$servers $1"
    shift
done
shift

frozen= snapshots=
undo() {
    trap '' INT TERM HUP
    for server in $frozen; do
        openstack server unquiesce "$server" >&2 || :
    done
    for snapshot in $snapshots; do
        openstack volume snapshot delete "$snapshot" >&2 || :
    done
}
trap undo EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

until_it_is() {    # STATUS COMMAND...
    wanted=$1 end=$(($(date +%s) + deadline))
    shift
    while status=$("$@" -f value -c status); [ "$status" != "$wanted" ]; do
        case $status in [Ee][Rr][Rr][Oo][Rr]) exit 1 ;; esac
        [ "$(date +%s)" -lt "$end" ] || exit 1
        sleep "$pause"
    done
}

started=$(date +%s.%N)
for server in $servers; do
    frozen="$server $frozen"
    openstack server quiesce --unquiesce-after "$deadline" "$server" >/dev/null
    until_it_is QUIESCED openstack server show "$server"
done
for volume in "$@"; do
    snapshots="$snapshots $(openstack volume snapshot create --force \
        --volume "$volume" -f value -c id bench-script)"
done
for snapshot in $snapshots; do
    until_it_is available openstack volume snapshot show "$snapshot"
done
for server in $frozen; do
    openstack server unquiesce "$server" >/dev/null
    until_it_is ACTIVE openstack server show "$server"
    frozen=${frozen#"$server "}
done
trap - EXIT
echo "$(date +%s.%N) $started" | awk '{ print $1 - $2 }'
echo "$snapshots"
