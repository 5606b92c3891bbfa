#!/bin/sh
# What operators do without us: backups one after the other, each registered
# at the other site. "volume backup record import" sends its request to a wrong
# path in python-openstackclient 10.5.0, so import_record.py does it.
# Usage: backup.sh HERE THERE SET full|incremental IMPORT_RECORD_PY
#        SNAPSHOT:VOLUME:TARGET...
# Prints the seconds until all are registered, the seconds until all are
# sealed, and the backups in this order.
set -eu
here=$1 there=$2 set=$3 mode=$4 import=$5
shift 5
option=
[ "$mode" = full ] || option=--incremental
record=$(mktemp)
trap 'rm -f "$record"' EXIT

until_it_is() {    # STATUS COMMAND...
    wanted=$1
    shift
    while status=$("$@" -f value -c status); [ "$status" != "$wanted" ]; do
        case $status in error*) exit 1 ;; esac
        sleep 1
    done
}

since() {
    echo "$(date +%s.%N) $1" | awk '{ print $1 - $2 }'
}

started=$(date +%s.%N)
backups=
for each in "$@"; do
    snapshot=${each%%:*} target=${each##*:}
    volume=${each#*:} volume=${volume%:*}
    backup=$(openstack --os-cloud "$here" volume backup create --force \
        $option --snapshot "$snapshot" -f value -c id "$volume")
    until_it_is available \
        openstack --os-cloud "$here" volume backup show "$backup"
    openstack --os-cloud "$here" volume backup record export -f json \
        "$backup" >"$record"
    python3 "$import" "$there" "$record" "$target" >/dev/null
    until_it_is available \
        openstack --os-cloud "$there" volume backup show "$backup"
    backups="$backups $backup"
done
since "$started"
for cloud in "$there" "$here"; do
    for backup in $backups; do
        openstack --os-cloud "$cloud" --os-volume-api-version 3.43 \
            volume backup set --property set="$set" \
            --property sealed=consistent "$backup"
    done
done
since "$started"
echo "$backups"
