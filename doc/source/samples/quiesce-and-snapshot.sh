#!/bin/bash
# Snapshots of three volumes, while the servers db, app and web are quiesced.
# Usage: quiesce-and-snapshot.sh NUMBER
set -e
stop='' jobs=''
thaw() { openstack server unquiesce --wait web app db; }
trap 'stop=1' INT TERM HUP           # heeded below, when the thaw is certain
# quiesce --wait itself thaws what it froze if it fails, or on a signal.
openstack server quiesce --wait --unquiesce-after 120 db app web
trap thaw EXIT                       # even if a command below fails
trap 'exit 1' INT TERM HUP
[ -z "$stop" ]
for server in db app web; do
    openstack volume snapshot create --force --volume "$server-disk" \
        "$server-$1" &
    jobs+=" $!"
done
for job in $jobs; do wait "$job"; done
end=$((SECONDS + 60))                # for all three, before the deadline
available() { openstack volume snapshot list --status available "$@"; }
until [ "$(available -f value -c Name | grep -cxE "(db|app|web)-$1")" = 3 ]; do
    [ $SECONDS -lt $end ]
    sleep 1
done
quiesced() { openstack quiesced server list "$@"; }
frozen='(db|app|web) frozen'
[ "$(quiesced -f value -c Name -c State | grep -cxE "$frozen")" = 3 ]
