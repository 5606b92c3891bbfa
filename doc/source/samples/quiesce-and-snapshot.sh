#!/bin/bash
# Snapshots of three volumes, while the servers db, app and web are quiesced.
# Not for Windows: this does not notice that a guest has ended the freeze.
# Usage: quiesce-and-snapshot.sh NUMBER
set -e
: "${1:?Usage: quiesce-and-snapshot.sh NUMBER}"
stop='' jobs=''
thaw() {
    trap '' INT TERM HUP             # in openstack, too, while it starts
    for _attempt in 1 2 3 4 5; do
        openstack server unquiesce --wait web app db && return 0
        sleep 5
    done
    exit 1
}
trap 'stop=1' INT TERM HUP           # heeded below, when the thaw is certain
# quiesce --wait itself thaws what it froze if it fails, or on a signal, except
# if it is killed, or in its last moment: then the deadline thaws.
openstack server quiesce --wait --unquiesce-after 120 db app web
trap thaw EXIT                       # even if a command below fails
trap 'exit 1' INT TERM HUP
[ -z "$stop" ]
ids=$(
    for server in db app web; do
        openstack volume snapshot create -f value -c id --force \
            --volume "$server-disk" "$server-$1" &
        jobs+=" $!"
    done
    for job in $jobs; do wait "$job" || exit 1; done
)
end=$((SECONDS + 60))                # for all three, before the deadline
available() { openstack volume snapshot list --status available "$@"; }
until [ "$(available -f value -c ID | grep -cxF "$ids")" = 3 ]; do
    [ $SECONDS -lt $end ]
    sleep 1
done
quiesced() { openstack quiesced server list "$@"; }
frozen='(db|app|web) frozen'
[ "$(quiesced -f value -c Name -c State | grep -cxE "$frozen")" = 3 ]
