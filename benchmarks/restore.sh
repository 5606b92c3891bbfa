#!/bin/sh
# What operators do without us: a command for each step, and the usual loops.
# Usage: restore.sh CLOUD one-by-one|at-once FLAVOR
#        SERVER BACKUP:VOLUME... [SERVER BACKUP:VOLUME...]...
# Restores each backup into its volume, then makes the servers in this order
# and checks each before the next one. The first volume of a server is the one
# it boots from. Prints the seconds.
set -eu
export OS_CLOUD="$1"
way=$2 flavor=$3
shift 3

until_it_is() {    # STATUS COMMAND...
    wanted=$1
    shift
    while status=$("$@" -f value -c status); [ "$status" != "$wanted" ]; do
        case $status in [Ee][Rr][Rr][Oo][Rr]*) exit 1 ;; esac
        sleep 1
    done
}

boot() {    # the server, if there is one, with its disks
    [ -n "$server" ] || return 0
    # Several options: shellcheck disable=SC2086
    openstack server create --wait --flavor "$flavor" --nic none $disks \
        "$server" >/dev/null
    until_it_is ACTIVE openstack server show "$server"
}

started=$(date +%s.%N)
for word in "$@"; do
    case $word in *:*) ;; *) continue ;; esac
    openstack volume backup restore --force "${word%:*}" "${word#*:}" >/dev/null
    [ "$way" = at-once ] ||
        until_it_is available openstack volume show "${word#*:}"
done
server= index=
for word in "$@"; do
    case $word in *:*) ;; *) index=0; continue ;; esac
    [ "$way" = one-by-one ] ||
        until_it_is available openstack volume show "${word#*:}"
    [ "$index" != 0 ] || openstack volume set --bootable "${word#*:}"
    index=-1
done
for word in "$@"; do
    case $word in
        *:*)
            disks="$disks --block-device uuid=${word#*:},source_type=volume"
            disks="$disks,destination_type=volume,boot_index=$index"
            index=-1
            ;;
        *)
            boot
            server=$word disks='' index=0
            ;;
    esac
done
boot
echo "$(date +%s.%N) $started" | awk '{ print $1 - $2 }'
